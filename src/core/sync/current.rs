//! Which task the calling thread acts for: the one it entered, else that of the job it runs, else its own.

use super::exit;
use super::parker::Parker;
use super::task::{self, Kind, TaskId};
use crate::core::error::{self, Error, Result};
use crate::core::name::Name;
use crate::core::node::Stage;
use crate::core::worker::{self, Role};
use crate::sys::sync::thread_local;
use crate::sys::thread;
use crate::sys::thread_exit::ExitKey;
use std::cell::Cell;
use std::ffi::c_void;

/// How far the thread is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    No,
    Watched,
    /// The destructors of its keys run.
    Ending,
}

thread_local! {
    // The answer of `current`, where it is known already; never the thread's own on a worker of a cache, whose jobs have others.
    static NOW: Cell<TaskId> = const { Cell::new(TaskId::NONE) };
}
thread_local! {
    static ENTERED: Cell<TaskId> = const { Cell::new(TaskId::NONE) };
}
thread_local! {
    static OWN: Cell<TaskId> = const { Cell::new(TaskId::NONE) };
}
thread_local! {
    static WATCH: Cell<Watch> = const { Cell::new(Watch::No) };
}

/// The C library runs the destructors of a thread's keys in up to four rounds. The thread's task exits late, since other runtimes'
/// destructors may still use locks as this thread; but not in the last round, in which thread sanitizers take themselves down.
const LAST_ROUND: usize = 3;

/// A thread-local's destructor, which the C library runs before those of the keys: it notes that all their rounds are to come.
struct BeforeKeys;

impl Drop for BeforeKeys {
    fn drop(&mut self) {
        ROUNDS_TO_COME.with(|r| r.set(true));
    }
}

thread_local! {
    static ROUNDS_TO_COME: Cell<bool> = const { Cell::new(false) };
}
#[cfg(not(any(loom, shuttle)))]
std::thread_local! {
    static BEFORE_KEYS: BeforeKeys = const { BeforeKeys };
}

static END: ExitKey = ExitKey::new(round);

unsafe extern "C" fn round(number: *mut c_void) {
    let number = number as usize;
    // A thread that came here first inside a key's destructor has nobody knows how many rounds left.
    if number < LAST_ROUND && ROUNDS_TO_COME.with(Cell::get) {
        END.set(std::ptr::without_provenance(number + 1));
        return;
    }
    WATCH.with(|w| w.set(Watch::Ending));
    super::completions::thread_ends();
    NOW.with(Cell::take);
    let own = OWN.with(Cell::take);
    if own != TaskId::NONE {
        exit::of_ending_thread(own);
    }
    Parker::give_back();
}

/// Has the thread's end noticed.
pub fn watch_end() {
    if WATCH.with(Cell::get) == Watch::No {
        WATCH.with(|w| w.set(Watch::Watched));
        #[cfg(not(any(loom, shuttle)))]
        let _ = BEFORE_KEYS.try_with(|_| ());
        END.set(std::ptr::without_provenance(1));
    }
}

pub fn is_ending() -> bool {
    WATCH.with(Cell::get) == Watch::Ending
}

/// The task of the calling thread, made if there is none yet.
///
/// # Errors
/// NOMEM; STALE in the very end of a thread.
#[inline]
pub fn current() -> Result<TaskId> {
    match NOW.with(Cell::get) {
        TaskId::NONE => find(),
        now => Ok(now),
    }
}

/// The same, if it costs nothing to know.
#[inline]
pub fn known() -> TaskId {
    NOW.with(Cell::get)
}

fn find() -> Result<TaskId> {
    let entered = ENTERED.with(Cell::get);
    if entered != TaskId::NONE {
        return Ok(entered);
    }
    if let Some(of_job) = of_job() {
        return of_job;
    }
    let own = match OWN.with(Cell::get) {
        TaskId::NONE => make_own()?,
        own => own,
    };
    if worker::find(|w| (w.role == Role::Cached).then_some(())).is_none() {
        NOW.with(|now| now.set(own));
    }
    Ok(own)
}

/// On a worker that runs a job: that job's task.
fn of_job() -> Option<Result<TaskId>> {
    worker::find(|w| {
        // In a fork child, too, the job goes on that forked.
        let node = (w.role == Role::Cached).then(|| w.node.get()).flatten()?;
        let job = node.current.get()?;
        // While the job's task exits, callbacks of others act for the thread.
        if node.stage.get() != Stage::Working || node.ending.get() {
            return None;
        }
        let known = node.task.get();
        if known != TaskId::NONE {
            return Some(Ok(known));
        }
        let name = match job.name.is_none() {
            true => w.name.get(),
            false => job.name,
        };
        let begun = task::begin(Kind::Job, name);
        Some(begun.inspect(|&id| node.task.set(id)))
    })
}

#[cold]
fn make_own() -> Result<TaskId> {
    if is_ending() {
        return Err(Error::new(
            error::STALE,
            "the calling thread has ended but for its destructors, and its task has exited",
        ));
    }
    let id = task::begin(Kind::Thread, Name::found(&thread::name()))?;
    OWN.with(|own| own.set(id));
    watch_end();
    Ok(id)
}

/// Makes `task` the calling thread's, or none; gives what was entered before.
///
/// # Errors
/// As [`task::check`].
pub fn enter(task: TaskId) -> Result<TaskId> {
    if task != TaskId::NONE {
        task::check(task)?.entered_here();
    }
    NOW.with(|now| now.set(task));
    Ok(ENTERED.with(|entered| entered.replace(task)))
}

/// A job has ended: what it entered is not the next one's.
pub fn leave_all() {
    if NOW.with(Cell::get) != TaskId::NONE {
        NOW.with(|now| now.set(TaskId::NONE));
        ENTERED.with(|entered| entered.set(TaskId::NONE));
    }
}
