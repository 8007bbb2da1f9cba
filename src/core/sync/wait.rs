//! Waiting, for threads and for operations alike: the line of an object, and what becomes of a waiter.
//!
//! Each object has its own line, under its own lock, with blocking and asynchronous waiters in one order. Invariant: a waiter is
//! completed by whoever takes it off its line, under that lock, so each is completed exactly once, and a grant that meets a
//! timeout, a cancel, a close or an exit has either happened or not. Threads are woken and callbacks called after the lock has
//! been let go; a [`Batch`] carries them there.

use super::deadlock;
use super::operation::{self, OpId};
use super::parker::{Parker, Up};
use super::report::Report;
use super::task::{self, Slot, TaskId};
use crate::core::error::{self, Error, Result, Status};
use crate::sys::clock::{self, Deadline};
use crate::sys::fork;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes from the C library's allocator, since the host frees them.
pub struct Bytes {
    at: *mut u8,
    len: usize,
}

// SAFETY: owned memory.
unsafe impl Send for Bytes {}

impl Bytes {
    /// # Errors
    /// NOMEM.
    pub fn copy(data: &[u8]) -> Result<Bytes> {
        // SAFETY: any size may be asked for; 1 makes sure that no bytes have an address, too.
        let at = unsafe { libc::malloc(data.len().max(1)) }.cast::<u8>();
        if at.is_null() {
            return Err(Error::new(
                error::NOMEM,
                format!("there is no memory for an item of {} bytes", data.len()),
            ));
        }
        // SAFETY: as many bytes were just allocated.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), at, data.len()) };
        Ok(Bytes {
            at,
            len: data.len(),
        })
    }

    /// To the host, which frees them.
    pub fn into_raw(self) -> (*mut u8, usize) {
        let raw = (self.at, self.len);
        std::mem::forget(self);
        raw
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: allocated in `copy`, and not given away.
        unsafe { libc::free(self.at.cast()) };
    }
}

/// What a waiter was granted, for the case that it does not come to use it.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granted {
    /// The object knows: a lock.
    #[default]
    Plain,
    /// From a channel, by its number.
    Item(u64),
    Permits(u64),
    Token(super::limiter::Borrower),
    /// Let go from a lot: its line, and which lot that was.
    Lot(u32, u64),
    /// It was taken away again, since the task has exited.
    Revoked,
}

/// How a wait ended.
#[derive(Default)]
pub struct Answer {
    pub status: Status,
    /// Why, when it is an error and the waiter cannot know by itself.
    pub why: Option<Arc<str>>,
    pub ticket: u64,
    pub holds_lock: bool,
    pub granted: Granted,
    pub data: Option<Bytes>,
}

impl Answer {
    pub fn granted() -> Answer {
        Answer::default()
    }

    pub fn refused(status: Status, why: impl Into<Arc<str>>) -> Answer {
        Answer {
            status,
            why: Some(why.into()),
            ..Answer::default()
        }
    }

    pub fn into_result(self) -> Result<Answer> {
        match self.status {
            error::OK | error::OWNER_DIED => Ok(self),
            status => Err(Error::new(status, self.why.as_deref().unwrap_or_default())),
        }
    }
}

/// Why a waiter is taken off its line without having got what it waits for.
#[derive(Clone)]
pub enum Why {
    TimedOut,
    /// By `selv_op_cancel`.
    Cancelled,
    /// By `selv_task_interrupt`.
    Interrupted,
    TaskExited,
    /// It would close a ring. Whether an operation's own call answers, so that there is no callback.
    Deadlock(Arc<str>, bool),
    /// The operation was abandoned: there is no callback.
    Abandoned,
}

impl Why {
    fn answer(&self, what: &str, lacking: impl FnOnce() -> String) -> Answer {
        match self {
            Why::TimedOut => Answer::refused(error::TIMEDOUT, lacking()),
            Why::Cancelled => Answer::refused(
                error::CANCELLED,
                format!("the wait for {what} was cancelled"),
            ),
            Why::Interrupted => Answer::refused(
                error::CANCELLED,
                format!("the wait for {what} was interrupted"),
            ),
            Why::TaskExited => Answer::refused(
                error::CANCELLED,
                format!("the task that waited for {what} exited"),
            ),
            Why::Deadlock(ring, _) => Answer::refused(error::DEADLOCK, Arc::clone(ring)),
            Why::Abandoned => Answer::refused(error::CANCELLED, ""),
        }
    }

    pub fn is_silent(&self) -> bool {
        matches!(self, Why::Deadlock(_, true) | Why::Abandoned)
    }
}

/// What tasks wait for.
pub trait Object: Send + Sync {
    /// Kind and name, as in `lock 'ledger'`.
    fn label(&self) -> &str;

    /// The name alone; empty if it has none.
    fn name(&self) -> &str;

    /// Ends a wait for another reason than a grant. False if the waiter is not there any more: it was answered before. A condition's
    /// waiter may have to get its lock back first.
    fn withdraw(&self, key: Key, why: &Why, batch: &mut Batch) -> bool;

    /// The one task that could end this wait, if it is one: the owner of a lock, the holder of an only token.
    fn held_up_by(&self, key: Key) -> Option<TaskId>;

    /// What an operation was given and did not come to use goes to the next.
    fn pass_on(&self, task: TaskId, answer: Answer, batch: &mut Batch);

    /// A task that may have held this lock has exited.
    fn owner_exited(&self, _task: TaskId, _report: &mut Report, _batch: &mut Batch) {}

    /// A task that was tied to it has exited.
    fn tied_exited(&self, _task: TaskId, _report: &mut Report, _batch: &mut Batch) {}

    /// A woken thread looks again. It is answered, or stays in line.
    fn look_again(&self, _key: Key, _batch: &mut Batch) {}

    fn describe(&self) -> super::graph::Picture;
}

/// A waiter's place in the line of one object; `wait` is never used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    index: u32,
    pub wait: u64,
}

/// What a task waits for, as its slot has it.
#[derive(Clone)]
pub struct Waiting {
    pub object: Arc<dyn Object>,
    pub key: Key,
    /// None: a thread is blocked.
    pub op: Option<OpId>,
    /// Whether it counts for deadlock: a wait with a timeout ends by itself.
    pub edge: bool,
}

/// Who is told.
#[derive(Clone, Copy)]
pub enum Who {
    Thread(&'static Parker),
    Op(OpId),
}

pub struct Waiter<W> {
    pub task: TaskId,
    pub who: Who,
    pub since_ns: u64,
    pub timed: bool,
    pub want: W,
    wait: u64,
    line: u32,
    next: u32,
    previous: u32,
}

impl<W> Waiter<W> {
    pub fn is_thread(&self) -> bool {
        matches!(self.who, Who::Thread(_))
    }
}

const END: u32 = u32::MAX;

/// One order of waiters.
#[derive(Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
    len: u32,
}

const EMPTY: Ends = Ends {
    first: END,
    last: END,
    len: 0,
};

enum Entry<W> {
    Vacant(u32),
    Waiter(Waiter<W>),
}

/// The waiters of one object, in one or several lines that they can move between.
pub struct Lines<W> {
    entries: Vec<Entry<W>>,
    vacant: u32,
    lines: Vec<Ends>,
    tickets: u64,
    pub counts: WaitCounts,
}

/// What has happened to waiters so far.
#[derive(Default, Clone, Copy)]
pub struct WaitCounts {
    pub waits: u64,
    pub granted: u64,
    pub timeouts: u64,
    pub cancelled: u64,
    pub deadlocks: u64,
}

impl<W> Lines<W> {
    pub const fn new() -> Self {
        Lines {
            entries: Vec::new(),
            vacant: END,
            lines: Vec::new(),
            tickets: 0,
            counts: WaitCounts {
                waits: 0,
                granted: 0,
                timeouts: 0,
                cancelled: 0,
                deadlocks: 0,
            },
        }
    }

    /// In a fork child: nobody waits here. The waiters are the parent's, and are forgotten.
    pub fn forget_all(&mut self) {
        std::mem::forget(std::mem::replace(self, Lines::new()));
    }

    fn ends(&mut self, line: u32) -> &mut Ends {
        if self.lines.len() <= line as usize {
            self.lines.resize(line as usize + 1, EMPTY);
        }
        &mut self.lines[line as usize]
    }

    pub fn len(&self, line: u32) -> usize {
        self.lines.get(line as usize).map_or(0, |l| l.len as usize)
    }

    pub fn is_empty(&self, line: u32) -> bool {
        self.len(line) == 0
    }

    /// The first in line.
    pub fn first(&self, line: u32) -> Option<Key> {
        let index = self.lines.get(line as usize)?.first;
        self.at(index).map(|w| Key {
            index,
            wait: w.wait,
        })
    }

    fn at(&self, index: u32) -> Option<&Waiter<W>> {
        match self.entries.get(index as usize) {
            Some(Entry::Waiter(waiter)) => Some(waiter),
            _ => None,
        }
    }

    fn at_mut(&mut self, index: u32) -> Option<&mut Waiter<W>> {
        match self.entries.get_mut(index as usize) {
            Some(Entry::Waiter(waiter)) => Some(waiter),
            _ => None,
        }
    }

    pub fn get(&self, key: Key) -> Option<&Waiter<W>> {
        self.at(key.index).filter(|w| w.wait == key.wait)
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut Waiter<W>> {
        self.at_mut(key.index).filter(|w| w.wait == key.wait)
    }

    pub fn line_of(&self, key: Key) -> Option<u32> {
        self.get(key).map(|w| w.line)
    }

    /// A new waiter at the end of the line.
    pub fn push(&mut self, line: u32, task: TaskId, who: Who, timed: bool, want: W) -> Key {
        static WAITS: AtomicU64 = AtomicU64::new(1);
        let wait = WAITS.fetch_add(1, Relaxed);
        let waiter = Waiter {
            task,
            who,
            since_ns: clock::now_ns(),
            timed,
            want,
            wait,
            line,
            next: END,
            previous: END,
        };
        let index = match self.entries.get(self.vacant as usize) {
            Some(Entry::Vacant(next)) => {
                let index = self.vacant;
                self.vacant = *next;
                self.entries[index as usize] = Entry::Waiter(waiter);
                index
            }
            _ => {
                self.entries.push(Entry::Waiter(waiter));
                (self.entries.len() - 1) as u32
            }
        };
        self.counts.waits += 1;
        self.join(index, line);
        Key { index, wait }
    }

    fn join(&mut self, index: u32, line: u32) {
        let ends = self.ends(line);
        let previous = ends.last;
        ends.last = index;
        ends.len += 1;
        match previous {
            END => ends.first = index,
            _ => self.at_mut(previous).expect("in line").next = index,
        }
        let waiter = self.at_mut(index).expect("present");
        waiter.line = line;
        waiter.previous = previous;
        waiter.next = END;
    }

    fn leave(&mut self, index: u32) {
        let waiter = self.at(index).expect("present");
        let (line, previous, next) = (waiter.line, waiter.previous, waiter.next);
        match previous {
            END => self.ends(line).first = next,
            _ => self.at_mut(previous).expect("in line").next = next,
        }
        match next {
            END => self.ends(line).last = previous,
            _ => self.at_mut(next).expect("in line").previous = previous,
        }
        self.ends(line).len -= 1;
    }

    /// To the end of another line; the place in the old one is given up.
    pub fn move_to(&mut self, key: Key, line: u32) {
        if self.get(key).is_some() {
            self.leave(key.index);
            self.join(key.index, line);
        }
    }

    /// Takes a waiter out; who does has to answer it.
    pub fn remove(&mut self, key: Key) -> Option<Waiter<W>> {
        self.get(key)?;
        self.leave(key.index);
        let vacated = std::mem::replace(
            &mut self.entries[key.index as usize],
            Entry::Vacant(self.vacant),
        );
        self.vacant = key.index;
        match vacated {
            Entry::Waiter(waiter) => Some(waiter),
            Entry::Vacant(_) => None,
        }
    }

    /// Takes out the first in line.
    pub fn pop(&mut self, line: u32) -> Option<Waiter<W>> {
        self.first(line).and_then(|key| self.remove(key))
    }

    /// From the first to the last.
    pub fn iter(&self, line: u32) -> impl Iterator<Item = &Waiter<W>> {
        let first = self.lines.get(line as usize).map_or(END, |l| l.first);
        std::iter::successors(self.at(first), |w| self.at(w.next))
    }

    /// How many lines have ever been used.
    pub fn lines(&self) -> u32 {
        self.lines.len() as u32
    }

    /// Tells a waiter that was taken out how its wait ended.
    pub fn complete(&mut self, waiter: Waiter<W>, mut answer: Answer, batch: &mut Batch) {
        self.tickets += 1;
        answer.ticket = self.tickets;
        if answer.status >= 0 {
            self.counts.granted += 1;
        }
        let slot = task::slot_of(waiter.task);
        let left = match waiter.who {
            Who::Thread(parker) => {
                let left = slot.and_then(|slot| slot.end_wait(waiter.wait, None));
                if parker.answer(answer) {
                    batch.wake(parker);
                }
                left
            }
            Who::Op(op) => {
                // In this order: an exit of the task finds the answer by one list or the other.
                operation::complete(op, answer);
                batch.ready.push(op);
                slot.and_then(|slot| slot.end_wait(waiter.wait, Some(op)))
            }
        };
        left.inspect(|wait| batch.look_for_ring(waiter.task, wait.clone()));
    }

    /// Tells a waiter that was taken out that it does not get `what`, and counts why; `lacking` is the sentence for a timeout.
    pub fn refuse(
        &mut self,
        waiter: Waiter<W>,
        why: &Why,
        what: &str,
        lacking: impl FnOnce() -> String,
        batch: &mut Batch,
    ) {
        match why {
            Why::TimedOut => self.counts.timeouts += 1,
            Why::Deadlock(..) => self.counts.deadlocks += 1,
            Why::Cancelled | Why::Interrupted | Why::TaskExited | Why::Abandoned => {
                self.counts.cancelled += 1;
            }
        }
        match waiter.who {
            Who::Op(op) if why.is_silent() => {
                let slot = task::slot_of(waiter.task);
                let left = slot.and_then(|slot| slot.end_wait(waiter.wait, None));
                left.inspect(|wait| batch.look_for_ring(waiter.task, wait.clone()));
                operation::forget(op);
            }
            _ => self.complete(waiter, why.answer(what, lacking), batch),
        }
    }
}

/// What is to be done when no lock is held any more.
#[derive(Default)]
pub struct Batch {
    first: Option<&'static Parker>,
    more: Vec<&'static Parker>,
    ready: Vec<OpId>,
    /// Waits that may have come to close a ring.
    looks: Vec<(TaskId, Waiting)>,
}

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    pub fn look_for_ring(&mut self, task: TaskId, wait: Waiting) {
        if wait.edge && !cfg!(selv_mutant = "never_look_back") {
            self.looks.push((task, wait));
        }
    }

    pub fn wake(&mut self, parker: &'static Parker) {
        match self.first {
            None => self.first = Some(parker),
            Some(_) => self.more.push(parker),
        }
    }

    /// Takes an operation out, whose callback is not to run here; None if it is not in this batch.
    pub fn take_ready(&mut self, op: OpId) -> Option<OpId> {
        let at = self.ready.iter().position(|&o| o == op)?;
        Some(self.ready.remove(at))
    }

    /// What the library itself waits for goes first, and behind no callback of the host.
    pub fn settle_own(&mut self) {
        self.ready.retain(|&op| !super::completions::settle_own(op));
    }

    pub fn has_callbacks(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Wakes, and has the callbacks called on a worker.
    pub fn finish_elsewhere(self) {
        super::completions::run_elsewhere(self.wake_all());
    }

    /// Wakes and calls; to be done with no lock held. The callbacks are the host's.
    #[inline]
    pub fn finish(self) {
        let ready = self.wake_all();
        if !ready.is_empty() {
            super::completions::run(ready, None);
        }
    }

    /// The same inside the call that begins `op`, whose own callback is not to run before that returns, even if another callback
    /// that runs here completes it.
    fn finish_within(self, op: OpId) {
        let ready = self.wake_all();
        if !ready.is_empty() {
            super::completions::run(ready, Some(op));
        }
    }

    fn wake_all(self) -> Vec<OpId> {
        let Batch {
            first,
            more,
            mut ready,
            looks,
        } = self;
        first.inspect(|p| p.wake());
        more.iter().for_each(|p| p.wake());
        for (task, wait) in looks {
            let mut batch = Batch::new();
            deadlock::refuse_ring(task, &wait.object, wait.key, false, &mut batch);
            ready.extend(batch.wake_all());
        }
        ready.retain(|&op| !super::completions::settle_own(op));
        ready
    }
}

/// What a call that may have to wait found.
pub enum Begun {
    Now(Answer),
    InLine(Key),
}

/// Whether a wait goes on after it was noted in the slot of its task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    Fine,
    /// The task was interrupted before, and the wait blocks.
    Interrupted,
    /// The task has exited meanwhile.
    Gone,
}

impl Registered {
    /// With no lock held: ends a wait that is not to be.
    pub fn is_over_at_once(
        self,
        object: &Arc<dyn Object>,
        task: TaskId,
        key: Key,
        batch: &mut Batch,
    ) -> bool {
        match self {
            Registered::Fine => {}
            Registered::Interrupted => interrupted(object, task, key, batch),
            Registered::Gone => {
                object.withdraw(key, &Why::TaskExited, batch);
            }
        }
        self != Registered::Fine
    }
}

/// Under the object's lock: notes in the slot of the waiter's task what it waits for.
pub fn register(
    slot: &Slot,
    object: &Arc<dyn Object>,
    task: TaskId,
    key: Key,
    who: Who,
    edge: bool,
) -> Registered {
    let (op, blocks) = match who {
        Who::Thread(parker) => (None, parker.is_to_sleep()),
        Who::Op(op) => {
            operation::wait_for(op, Arc::clone(object), key);
            (Some(op), false)
        }
    };
    let waiting = Waiting {
        object: Arc::clone(object),
        key,
        op,
        edge,
    };
    slot.begin_wait(task, waiting, blocks)
}

/// Ends the wait of a task that was interrupted before; if it has been granted meanwhile, the next one is.
pub fn interrupted(object: &Arc<dyn Object>, task: TaskId, key: Key, batch: &mut Batch) {
    if !object.withdraw(key, &Why::Interrupted, batch)
        && let Some(slot) = task::slot_of(task)
    {
        slot.keep_interrupt(task);
    }
}

/// Under the lock that both objects share: a waiter of one has become one of the other.
pub fn now_waits_for<W>(waiter: &Waiter<W>, object: &Arc<dyn Object>) {
    task::slot_of(waiter.task).inspect(|slot| slot.now_waits_for(waiter.wait, object));
    if let Who::Op(op) = waiter.who {
        operation::now_waits_for(op, object);
    }
}

/// A call that blocks: `begin` takes, refuses or lines up. What the waiter is answered can be an error, too.
///
/// # Errors
/// Those of `begin`.
pub fn block(
    object: &Arc<dyn Object>,
    task: TaskId,
    deadline: Deadline,
    begin: impl FnOnce(Who, &mut Batch) -> Result<Begun>,
) -> Result<Answer> {
    let born_in = fork::generation();
    let parker = Parker::prepare(!deadline.has_passed());
    let mut batch = Batch::new();
    let begun = begin(Who::Thread(parker), &mut batch);
    batch.finish();
    let key = match begun {
        Ok(Begun::InLine(key)) => key,
        Ok(Begun::Now(answer)) => {
            parker.done();
            return Ok(answer);
        }
        Err(e) => {
            parker.done();
            return Err(e);
        }
    };
    let mut deadline = deadline;
    loop {
        if born_in != fork::generation() {
            // A callback that ran here forked: in the child nobody knows of this wait.
            parker.done();
            let why = format!(
                "the process forked inside a call that waits for {}",
                object.label()
            );
            return Err(Error::new(error::FORKED, why));
        }
        let mut batch = Batch::new();
        match parker.sleep(deadline) {
            Up::Done => break,
            Up::Roused => object.look_again(key, &mut batch),
            Up::TimedOut => {
                // From here on somebody answers: this call, or who was faster.
                object.withdraw(key, &Why::TimedOut, &mut batch);
                deadline = Deadline::NEVER;
            }
        }
        // The owner may be another one than when the wait began, and a condition's waiter may have come to wait for its lock.
        let wait = task::slot_of(task).and_then(Slot::sole_wait);
        if wait.is_some_and(|wait| wait.key == key && wait.edge) {
            deadlock::refuse_ring(task, object, key, true, &mut batch);
        }
        // Before the next sleep: others wait for what is in it.
        batch.finish();
    }
    let answer = parker.take();
    parker.done();
    Ok(answer)
}

/// What an asynchronous call answers.
pub enum Submitted {
    /// Satisfied at once: there is no callback.
    Now(Answer),
    Pending,
}

/// A call that does not block: `begin` takes, refuses or lines up.
///
/// # Errors
/// Those of `begin`; there is no callback then.
pub fn submit(op: OpId, begin: impl FnOnce(Who, &mut Batch) -> Result<Begun>) -> Result<Submitted> {
    let mut batch = Batch::new();
    let submitted = match begin(Who::Op(op), &mut batch) {
        // It can have been answered by this very call; a callback must not run inside it.
        Ok(Begun::InLine(_)) => match batch.take_ready(op).and_then(operation::consume) {
            Some(ready) => ready.into_answer().into_result().map(Submitted::Now),
            None => Ok(Submitted::Pending),
        },
        Ok(Begun::Now(answer)) => {
            operation::forget(op);
            answer.into_result().map(Submitted::Now)
        }
        Err(e) => {
            operation::forget(op);
            Err(e)
        }
    };
    batch.finish_within(op);
    submitted
}

/// As [`submit`], for operations that always have a callback: if it could run at once, it does so on a worker.
///
/// # Errors
/// Those of `begin`; there is no callback then.
pub fn submit_for_later(
    op: OpId,
    object: &Arc<dyn Object>,
    begin: impl FnOnce(Who, &mut Batch) -> Result<Begun>,
) -> Result<()> {
    let mut batch = Batch::new();
    let (ready, result) = match begin(Who::Op(op), &mut batch) {
        Ok(Begun::InLine(_)) => (batch.take_ready(op), Ok(())),
        Ok(Begun::Now(answer)) => {
            operation::complete_at_once(op, Arc::clone(object), answer);
            (Some(op), Ok(()))
        }
        Err(e) => {
            operation::forget(op);
            (None, Err(e))
        }
    };
    batch.finish_within(op);
    ready.inspect(|&op| super::completions::run_elsewhere(vec![op]));
    result
}
