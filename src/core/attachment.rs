//! Starting hooks on a thread, calling them around its jobs, and exiting them.
//!
//! Everything here runs on the thread concerned. Between two callbacks the work is done in a `step` (see `panic.rs`), and
//! the functions that call the host keep only plain data in their frames.

use super::cache::State;
use super::callback::{ExitFn, Opaque, Outcome, StartFn};
use super::error::{self, Error};
use super::hook::{self, Hook, Left, Phase};
use super::job::Needs;
use super::panic::step;
use super::trace;
use super::worker::{Role, Worker};
use crate::sys::sync::AtomicU64;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A hook that is started on a thread.
pub struct Attachment {
    pub hook: Arc<Hook>,
    pub slot: Opaque,
    /// `before_job` has succeeded, or is not there, for the running job.
    in_job: bool,
}

/// Whether a job may run here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    Yes,
    /// The detail is in the worker's `failure`.
    Failed(i32, i32),
    /// A RETIRE hook was removed: this thread must end, and the job go elsewhere.
    Retire,
}

enum Pick {
    Start {
        id: u64,
        on_start: Option<StartFn>,
        user: Opaque,
        optional: bool,
    },
    Complete,
    Gone(i32, i32),
}

/// Makes the thread fit for a job: exits hooks that were removed, starts those that the job needs.
///
/// `named` are the hooks of a job with `Needs::Named`; `jobs` is the worker's count of jobs with the usual needs.
#[inline]
pub fn prepare(
    worker: &Worker,
    needs: Needs,
    named: &[Arc<Hook>],
    jobs: Option<&'static AtomicU64>,
) -> Ready {
    let generation = worker.cache().hook_generation();
    if needs == Needs::Usual && worker.ready.get() == generation {
        return Ready::Yes;
    }
    prepare_slow(worker, generation, needs, named, jobs)
}

#[cold]
fn prepare_slow(
    worker: &Worker,
    generation: u64,
    needs: Needs,
    named: &[Arc<Hook>],
    jobs: Option<&'static AtomicU64>,
) -> Ready {
    if worker.checked.get() != generation && drop_removed(worker, &|_| {}) {
        return Ready::Retire;
    }
    match needs {
        Needs::Nothing => Ready::Yes,
        Needs::Leftover { .. } => Ready::Yes,
        Needs::Usual | Needs::Named => attach(worker, Wanted { needs, named }, jobs),
    }
}

/// Which hooks an attaching thread is after.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    needs: Needs,
    /// With `Needs::Named` these; with `Needs::Nothing` the EAGER ones.
    named: &'a [Arc<Hook>],
}

impl<'a> Wanted<'a> {
    fn next(
        self,
        state: &'a State,
        after: u64,
        has: impl Fn(&Hook) -> bool,
    ) -> Option<&'a Arc<Hook>> {
        let all: &[Arc<Hook>] = match self.needs {
            Needs::Named => self.named,
            _ => &state.hooks,
        };
        // By id, which is the order of registration.
        all.iter()
            .filter(|h| h.id > after && !has(h))
            .filter(|h| match self.needs {
                Needs::Usual => !h.is(hook::LAZY),
                Needs::Named => true,
                Needs::Nothing | Needs::Leftover { .. } => h.is(hook::EAGER),
            })
            .min_by_key(|h| h.id)
    }
}

/// Starts what is missing, and exits nothing: for a thread that enters, maybe in the middle of a job that needs a hook whose
/// removal has begun.
pub fn start_missing(
    worker: &Worker,
    needs: Needs,
    named: &[Arc<Hook>],
    jobs: Option<&'static AtomicU64>,
) -> Ready {
    match needs {
        Needs::Nothing => Ready::Yes,
        _ => attach(worker, Wanted { needs, named }, jobs),
    }
}

/// Starts the EAGER hooks, as idle workers are told to. Failures are counted and left for the first job to report.
pub fn attach_eager(worker: &Worker, jobs: Option<&'static AtomicU64>) {
    let wanted = Wanted {
        needs: Needs::Nothing,
        named: &[],
    };
    attach(worker, wanted, jobs);
}

fn attach(worker: &Worker, wanted: Wanted<'_>, jobs: Option<&'static AtomicU64>) -> Ready {
    let before = worker.attachments.borrow().len();
    let mut after = 0;
    let mut complete = true;
    loop {
        let picked = step(|| pick(worker, wanted, after, complete, jobs));
        let (id, on_start, user, optional) = match picked {
            Ok(Pick::Complete) => return Ready::Yes,
            Ok(Pick::Start {
                id,
                on_start,
                user,
                optional,
            }) => (id, on_start, user, optional),
            Ok(Pick::Gone(status, code)) => {
                undo(worker, before);
                return Ready::Failed(status, code);
            }
            Err(Error { status, .. }) => {
                undo(worker, before);
                return Ready::Failed(status, 0);
            }
        };
        let mut slot = std::ptr::null_mut();
        let code = on_start.map_or(0, |f| {
            enter_callback(worker, trace::Kind::Start, id);
            let code = f.call(user.0, worker, &mut slot);
            leave_callback(worker);
            code
        });
        after = id;
        if let Ok(Some(hook)) = step(|| Ok(conclude_start(worker, code, Opaque(slot)))) {
            free(worker, hook);
        }
        if code != 0 {
            if optional && wanted.needs != Needs::Named {
                complete = false;
                continue;
            }
            undo(worker, before);
            return Ready::Failed(error::HOOK_FAILED, code);
        }
    }
}

/// Chooses the next hook to start and enters the worker in its list, in one go under the lock.
fn pick(
    worker: &Worker,
    wanted: Wanted<'_>,
    after: u64,
    complete: bool,
    jobs: Option<&'static AtomicU64>,
) -> error::Result<Pick> {
    let cache = worker.cache();
    let mut state = cache.lock();
    let attachments = worker.attachments.borrow();
    let next = wanted.next(&state, after, |h| {
        attachments.iter().any(|a| a.hook.id == h.id)
    });
    let Some(hook) = next.cloned() else {
        // Read under the lock that every change of it is made under.
        let generation = cache.hook_generation();
        // A hook whose removal began while it started here is still attached: then the next job looks again.
        if wanted.needs == Needs::Usual && complete && worker.checked.get() == generation {
            worker.ready.set(generation);
        }
        return Ok(Pick::Complete);
    };
    drop(attachments);
    if !hook.admit(&mut state, worker.id.get(), jobs) {
        let (status, code, why) = match hook.phase(&mut state) {
            Phase::Forked => (
                error::FORKED,
                error::FORKED,
                "belongs to the parent process",
            ),
            _ => (error::HOOK_FAILED, error::CLOSED, "was unregistered"),
        };
        *worker.failure.borrow_mut() = format!("hook '{}', which the job needs, {why}", hook.name);
        return Ok(Pick::Gone(status, code));
    }
    let picked = Pick::Start {
        id: hook.id,
        on_start: hook.callbacks.on_start,
        user: hook.callbacks.user,
        optional: hook.is(hook::OPTIONAL),
    };
    *worker.starting.borrow_mut() = Some(hook);
    Ok(picked)
}

/// After `on_start`: the hook, if the start failed and this thread is to free the hook's user data.
fn conclude_start(worker: &Worker, code: i32, slot: Opaque) -> Option<Arc<Hook>> {
    let cache = worker.cache();
    let hook = worker.starting.take()?;
    let mut state = cache.lock();
    if code == 0 {
        hook.started(&mut state);
        drop(state);
        worker
            .brackets
            .set(worker.brackets.get() + u32::from(hook.brackets_jobs()));
        worker.attachments.borrow_mut().push(Attachment {
            hook,
            slot,
            in_job: false,
        });
        return None;
    }
    state.counts.hook_failures += 1;
    hook.left(&mut state, worker.id.get(), Left::NotStarted);
    cache.note_change(&mut state);
    *worker.failure.borrow_mut() = format!(
        "hook '{}': on_start returned {code} on {}",
        hook.name,
        worker.name.get().as_str()
    );
    hook.take_free(&mut state).then_some(hook)
}

/// Frees the user data of a hook that this thread was the last to let go of. The hook is kept by the worker and not in this frame,
/// which lies below the host's function.
fn free(worker: &Worker, hook: Arc<Hook>) {
    let last = Arc::as_ptr(&hook);
    worker.freeing.borrow_mut().push(hook);
    // SAFETY: `freeing` holds the hook until it is popped below.
    unsafe { &*last }.free_user();
    let freed = worker.freeing.borrow_mut().pop();
    drop(freed);
}

/// Around each callback of a hook.
fn enter_callback(worker: &Worker, kind: trace::Kind, hook_id: u64) {
    trace::begin(worker, kind, hook_id);
    worker.in_callback.set(worker.in_callback.get() + 1);
}

fn leave_callback(worker: &Worker) {
    worker.in_callback.set(worker.in_callback.get() - 1);
    trace::end(worker);
}

/// Exits what was started since there were `keep` attachments, in reverse.
fn undo(worker: &Worker, keep: usize) {
    // An exit callback of ours may clear or replace the reason.
    let reason = std::mem::ManuallyDrop::new(worker.failure.take());
    while worker.attachments.borrow().len() > keep {
        let last = worker.attachments.borrow().len() - 1;
        detach(worker, last);
    }
    *worker.failure.borrow_mut() = std::mem::ManuallyDrop::into_inner(reason);
}

/// Exits every hook, the last started first.
pub fn detach_all(worker: &Worker) {
    undo(worker, 0);
    worker.ready.set(0);
}

/// Exits the hooks whose removal has begun. True if the thread must end for it; then nothing was exited yet.
///
/// `last` is called, under the lock, in the moment in which the last of them is gone. So a worker that was idle can line up
/// again in one go with its detaching, and who waits for the removal finds it ready for a job. From then on the worker may be
/// sent new orders, so this returns at once: a removal that begins later comes with an order of its own.
pub fn drop_removed(worker: &Worker, last: &dyn Fn(&mut State)) -> bool {
    loop {
        let found = step(|| {
            let cache = worker.cache();
            let mut state = cache.lock();
            let attachments = worker.attachments.borrow();
            if attachments
                .iter()
                .any(|a| must_end_for(worker, &a.hook) && is_leaving(&mut state, a))
            {
                return Ok((None, true));
            }
            let index = attachments.iter().rposition(|a| is_leaving(&mut state, a));
            if index.is_none() {
                worker.checked.set(cache.hook_generation());
            }
            Ok((index, false))
        });
        let index = match found {
            Ok((_, true)) => return true,
            Ok((Some(index), _)) => index,
            Ok((None, _)) | Err(_) => return false,
        };
        let done = Cell::new(false);
        detach_then(worker, index, |state| {
            let attachments = worker.attachments.borrow();
            if !attachments.iter().any(|a| is_leaving(state, a)) {
                worker.checked.set(worker.cache().hook_generation());
                last(state);
                done.set(true);
            }
        });
        if done.get() && !cfg!(selv_mutant = "line_up_twice") {
            return false;
        }
    }
}

fn is_leaving(state: &mut State, attachment: &Attachment) -> bool {
    attachment.hook.phase(state) != Phase::Active
}

/// Whether an EAGER hook waits to be started here.
pub fn misses_eager(worker: &Worker, state: &State) -> bool {
    let attachments = worker.attachments.borrow();
    state
        .hooks
        .iter()
        .any(|h| h.is(hook::EAGER) && !attachments.iter().any(|a| a.hook.id == h.id))
}

/// Whether the thread is the cache's to end, and this hook's runtime lets go of it only then.
fn must_end_for(worker: &Worker, hook: &Hook) -> bool {
    worker.role == Role::Cached && hook.is(hook::RETIRE)
}

/// Exits one hook on this thread.
pub fn detach(worker: &Worker, index: usize) {
    detach_then(worker, index, |_| {});
}

fn detach_then(worker: &Worker, index: usize, then: impl FnOnce(&mut State)) {
    let (id, callbacks, slot) = {
        let attachments = worker.attachments.borrow();
        let a = &attachments[index];
        (a.hook.id, a.hook.callbacks, a.slot)
    };
    if let Some(on_exit) = callbacks.on_exit {
        enter_callback(worker, trace::Kind::Exit, id);
        on_exit.call(callbacks.user.0, worker, slot.0);
        leave_callback(worker);
    }
    let to_free = step(|| {
        let position = worker
            .attachments
            .borrow()
            .iter()
            .position(|a| a.hook.id == id)
            .expect("only this function takes one away");
        let attachment = worker.attachments.borrow_mut().remove(position);
        let hook = attachment.hook;
        worker
            .brackets
            .set(worker.brackets.get() - u32::from(hook.brackets_jobs()));
        let cache = worker.cache();
        let mut state = cache.lock();
        if must_end_for(worker, &hook) {
            hook.left(&mut state, worker.id.get(), Left::Ending);
            worker.retired.borrow_mut().push(hook);
            return Ok(None);
        }
        hook.left(&mut state, worker.id.get(), Left::Exited);
        then(&mut state);
        let free = hook.take_free(&mut state);
        cache.note_change(&mut state);
        Ok(free.then_some(hook))
    });
    if let Ok(Some(hook)) = to_free {
        free(worker, hook);
    }
}

/// The callback, with its user data and slot, that attachment `index` wants around this job.
fn bracket<R>(
    worker: &Worker,
    index: usize,
    f: impl FnOnce(&mut Attachment) -> Option<R>,
) -> Option<(R, Opaque, Opaque, u64)> {
    let mut attachments = worker.attachments.borrow_mut();
    let a = attachments.get_mut(index)?;
    let user = a.hook.callbacks.user;
    let (slot, id) = (a.slot, a.hook.id);
    f(a).map(|callback| (callback, user, slot, id))
}

/// Calls `before_job` of the hooks that the job needs, in the order of their start. If one fails, those before it get their
/// `after_job`, and the outcome says which it was.
pub fn before_job(worker: &Worker, needs: Needs, named: &[Arc<Hook>]) -> Result<(), Outcome> {
    let count = worker.attachments.borrow().len();
    for index in 0..count {
        let wanted = bracket(worker, index, |a| {
            let needed = match needs {
                Needs::Usual => !a.hook.is(hook::LAZY),
                Needs::Nothing | Needs::Leftover { .. } => false,
                Needs::Named => named.iter().any(|h| h.id == a.hook.id),
            };
            a.in_job = needed;
            needed.then_some(a.hook.callbacks.before_job).flatten()
        });
        let Some((before, user, slot, id)) = wanted else {
            continue;
        };
        enter_callback(worker, trace::Kind::Before, id);
        let code = before.call(user.0, worker, slot.0);
        leave_callback(worker);
        if code == 0 {
            continue;
        }
        let optional = step(|| Ok(note_before_failed(worker, index, code, needs))).unwrap_or(false);
        if !optional {
            after_job(worker, index);
            return Err(Outcome::failed(error::HOOK_FAILED, code));
        }
    }
    Ok(())
}

fn note_before_failed(worker: &Worker, index: usize, code: i32, needs: Needs) -> bool {
    worker.cache().lock().counts.hook_failures += 1;
    let mut attachments = worker.attachments.borrow_mut();
    let a = &mut attachments[index];
    a.in_job = false;
    *worker.failure.borrow_mut() = format!(
        "hook '{}': before_job returned {code} on {}",
        a.hook.name,
        worker.name.get().as_str()
    );
    a.hook.is(hook::OPTIONAL) && needs != Needs::Named
}

/// Calls `after_job` of the hooks below `end` that took part in the job, in reverse.
pub fn after_job(worker: &Worker, end: usize) {
    for index in (0..end).rev() {
        let wanted = bracket(worker, index, |a| {
            std::mem::take(&mut a.in_job)
                .then_some(a.hook.callbacks.after_job)
                .flatten()
        });
        let Some((after, user, slot, id)): Option<(ExitFn, _, _, _)> = wanted else {
            continue;
        };
        enter_callback(worker, trace::Kind::After, id);
        after.call(user.0, worker, slot.0);
        leave_callback(worker);
    }
}

/// This thread's slot of a hook, if the hook is started here.
pub fn slot_of(hook: &Hook) -> Option<Opaque> {
    super::worker::find(|w| {
        let attachments = w.attachments.try_borrow().ok()?;
        attachments
            .iter()
            .find(|a| a.hook.id == hook.id)
            .map(|a| a.slot)
    })
}

/// Counts a job against the hooks that it named.
pub fn count_named(named: &[Arc<Hook>]) {
    for hook in named {
        hook.named_jobs.fetch_add(1, Relaxed);
    }
}
