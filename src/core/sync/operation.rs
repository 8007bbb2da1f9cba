//! Asynchronous operations: what a callback will be told, and the number by which the host cancels or abandons.
//!
//! An operation's slot says how far it is: it waits in an object's line, or it has been answered and its callback has not begun
//! (READY), or it is gone, and its number with it. Invariant: it becomes READY under the lock of the object, by whoever takes
//! its waiter off the line, and leaves READY under the slot's lock, once: for its callback, or abandoned. So a cancel or an
//! abandon that meets a grant has either happened or not. Locks are taken in the order object, task's slot, operation's slot.

use super::answer::{Answer, Granted, Why};
use super::batch::Batch;
use super::lines::Key;
use super::task::{self, TaskId};
use super::wait::Object;
use crate::core::callback::{CompleteFn, Opaque};
use crate::core::error::{self, Error, Result};
use crate::core::host::host_loop::HostLoop;
use crate::sys::lock::{ForkLock, ForkReset, static_lock};
use crate::sys::table::{Table, static_table};
use std::sync::Arc;

const SLOT_BITS: u32 = 24;

/// An operation's number. 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OpId(pub u64);

/// Whom an operation tells.
pub enum Completion {
    Host {
        call: CompleteFn,
        arg: Opaque,
        /// Where. None: on the thread that completes it.
        on: Option<Arc<HostLoop>>,
    },
    /// The library itself; called as the host's would be.
    Own(fn(u64, Answer), u64),
}

enum Phase {
    Vacant,
    /// Given out; not in a line yet.
    New,
    Waiting(Arc<dyn Object>, Key),
    Ready(Arc<dyn Object>, Answer),
}

struct State {
    generation: u64,
    phase: Phase,
    task: TaskId,
    completion: Option<Completion>,
}

impl ForkReset for State {
    fn reset_in_child(&mut self) {
        // Nobody completes here what the parent began.
        std::mem::forget(std::mem::replace(&mut self.phase, Phase::Vacant));
        std::mem::forget(self.completion.take());
    }
}

pub struct Row(ForkLock<State>);

impl Default for Row {
    fn default() -> Row {
        Row(ForkLock::new(State {
            generation: 0,
            phase: Phase::Vacant,
            task: TaskId::NONE,
            completion: None,
        }))
    }
}

struct Free(Vec<u32>);

impl ForkReset for Free {
    fn reset_in_child(&mut self) {
        std::mem::forget(std::mem::take(&mut self.0));
    }
    fn keep_in_child(&mut self) {}
}

static_table!(static OPS: Row);
static_lock!(static FREE: Free = Free(Vec::new()));

fn row(op: OpId) -> Option<&'static Row> {
    OPS.get((op.0 & ((1 << SLOT_BITS) - 1)) as usize)
}

/// # Errors
/// NOMEM: there are as many as there can be.
pub fn begin(task: TaskId, completion: Completion) -> Result<OpId> {
    let mut free = FREE.lock();
    let index = match free.0.pop() {
        Some(index) => index as usize,
        None => OPS.grow().ok_or_else(|| {
            let why = format!(
                "there are {} operations, which is the limit",
                Table::<Row>::MOST
            );
            Error::new(error::NOMEM, why)
        })?,
    };
    drop(free);
    let mut state = OPS.get(index).expect("grown, or used before").0.lock();
    state.generation += 1;
    state.phase = Phase::New;
    state.task = task;
    state.completion = Some(completion);
    Ok(OpId(state.generation << SLOT_BITS | index as u64))
}

/// Calls `f` with the operation, if it is not gone.
fn with<R>(op: OpId, f: impl FnOnce(&mut State) -> R) -> Option<R> {
    let mut state = row(op)?.0.lock();
    let here = state.generation == op.0 >> SLOT_BITS && !matches!(state.phase, Phase::Vacant);
    here.then(|| f(&mut state))
}

/// Frees the slot; what was in it is given back, to be dropped with no lock held.
fn vacate(op: OpId, when: impl FnOnce(&Phase) -> bool) -> Option<(Phase, TaskId, Completion)> {
    let taken = with(op, |state| {
        when(&state.phase).then(|| {
            (
                std::mem::replace(&mut state.phase, Phase::Vacant),
                state.task,
                state.completion.take().expect("set by begin"),
            )
        })
    })??;
    FREE.lock().0.push((op.0 & ((1 << SLOT_BITS) - 1)) as u32);
    Some(taken)
}

/// Under the lock of the object: the operation is in its line.
pub fn wait_for(op: OpId, object: Arc<dyn Object>, key: Key) {
    with(op, |state| state.phase = Phase::Waiting(object, key));
}

/// As [`wait_for`], when the waiter moves to another object.
pub fn now_waits_for(op: OpId, now: &Arc<dyn Object>) {
    let before = with(op, |state| match &mut state.phase {
        Phase::Waiting(object, _) => Some(std::mem::replace(object, Arc::clone(now))),
        _ => None,
    });
    drop(before);
}

/// Under the lock of the object, by whoever took the waiter off its line.
pub fn complete(op: OpId, answer: Answer) {
    with(op, |state| {
        if let Phase::Waiting(object, _) = std::mem::replace(&mut state.phase, Phase::New) {
            state.phase = Phase::Ready(object, answer);
        }
    });
}

/// The operation was satisfied without a wait, and will have its callback all the same.
pub fn complete_at_once(op: OpId, object: Arc<dyn Object>, answer: Answer) {
    let task = with(op, |state| {
        state.phase = Phase::Ready(object, answer);
        state.task
    });
    if let Some(slot) = task.and_then(task::slot_of) {
        slot.with_info(|info| info.unconsumed.insert(op));
    }
}

/// The operation has no callback and no number any more.
pub fn forget(op: OpId) {
    // The object may be dropped here, but is not locked by its last reference: whoever locks it has another.
    drop(vacate(op, |_| true));
}

/// An operation that was answered, taken out for its callback.
pub struct Ready {
    answer: Answer,
    completion: Option<Completion>,
    object: Arc<dyn Object>,
    task: TaskId,
}

/// From here on the operation is over, and its answer the taker's. None if it was abandoned, or its answer was taken.
pub fn consume(op: OpId) -> Option<Ready> {
    let (phase, task, completion) = vacate(op, |p| matches!(p, Phase::Ready(..)))?;
    let Phase::Ready(object, answer) = phase else {
        return None;
    };
    task::slot_of(task).inspect(|slot| slot.consumed(op));
    Some(Ready {
        answer,
        completion: Some(completion),
        object,
        task,
    })
}

impl Ready {
    pub fn take_completion(&mut self) -> Completion {
        self.completion.take().expect("an operation has one")
    }

    /// What was granted goes to the next, and the callback is told `instead`.
    pub fn refuse(self, instead: Answer, batch: &mut Batch) -> Ready {
        let refused = Ready {
            answer: instead,
            completion: None,
            object: Arc::clone(&self.object),
            task: self.task,
        };
        self.pass_on(batch);
        refused
    }

    /// For the callback.
    pub fn into_answer(self) -> Answer {
        self.answer
    }

    /// What was granted goes to the next.
    fn pass_on(self, batch: &mut Batch) {
        if self.answer.status >= 0 || self.answer.holds_lock {
            self.object.pass_on(self.task, self.answer, batch);
        }
    }
}

fn waiting(op: OpId) -> Option<(Arc<dyn Object>, Key)> {
    with(op, |state| match &state.phase {
        Phase::Waiting(object, key) => Some((Arc::clone(object), *key)),
        _ => None,
    })?
}

/// When the task has exited: takes back what it was granted and its callback has not been told of, and will not be: it is told
/// CANCELLED. None if there is nothing of the kind.
pub fn revoke(op: OpId) -> Option<Answer> {
    with(op, |state| match &mut state.phase {
        Phase::Ready(object, answer) if answer.status >= 0 || answer.holds_lock => {
            let why = format!("the task that was granted {} exited", object.label());
            let mut instead = Answer::refused(error::CANCELLED, why);
            instead.granted = Granted::Revoked;
            Some(std::mem::replace(answer, instead))
        }
        _ => None,
    })
    .flatten()
}

/// Where an operation's callback is to run.
pub enum Place {
    /// At once: it is the library's own.
    Own,
    Loop(Arc<HostLoop>),
    Anywhere,
}

pub fn place(op: OpId) -> Place {
    with(op, |state| match &state.completion {
        Some(Completion::Own(..)) => Place::Own,
        Some(Completion::Host { on: Some(host), .. }) => Place::Loop(Arc::clone(host)),
        _ => Place::Anywhere,
    })
    .unwrap_or(Place::Anywhere)
}

pub fn is_waiting(op: OpId) -> bool {
    waiting(op).is_some()
}

/// Has the operation end with TIMEDOUT, if it still waits.
pub fn time_out(op: OpId, batch: &mut Batch) {
    if let Some((object, key)) = waiting(op) {
        object.withdraw(key, &Why::TimedOut, batch);
    }
}

fn check(op: OpId) -> Result<()> {
    if op.0 == 0 {
        let why = "the operation is 0, which stands for none: it was refused, or satisfied at once";
        return Err(Error::new(error::INVAL, why));
    }
    let index = (op.0 & ((1 << SLOT_BITS) - 1)) as usize;
    let latest = (index < OPS.rows())
        .then(|| OPS.get(index).map(|r| r.0.lock().generation))
        .flatten();
    match latest {
        Some(latest) if (1..=latest).contains(&(op.0 >> SLOT_BITS)) => Ok(()),
        _ => Err(Error::new(
            error::INVAL,
            format!("{:#x} was never the number of an operation", op.0),
        )),
    }
}

fn too_late(what: &str) -> Error {
    Error::new(error::TOO_LATE, format!("the operation {what}"))
}

/// Has the operation end with CANCELLED.
///
/// # Errors
/// INVAL, TOO_LATE.
pub fn cancel(op: OpId, batch: &mut Batch) -> Result<()> {
    check(op)?;
    match waiting(op) {
        Some((object, key)) if object.withdraw(key, &Why::Cancelled, batch) => Ok(()),
        _ => Err(too_late("has been completed, cancelled or abandoned")),
    }
}

/// Has the operation end with no callback; what it was granted meanwhile goes to the next.
///
/// # Errors
/// INVAL, TOO_LATE.
pub fn abandon(op: OpId, batch: &mut Batch) -> Result<()> {
    check(op)?;
    if let Some((object, key)) = waiting(op)
        && object.withdraw(key, &Why::Abandoned, batch)
    {
        return Ok(());
    }
    match consume(op) {
        Some(ready) => {
            if !cfg!(selv_mutant = "abandon_what_was_granted") {
                ready.pass_on(batch);
            }
            Ok(())
        }
        None => Err(too_late("has been abandoned, or its callback has begun")),
    }
}

/// The operation's task exits. Gives the object if it had been granted something, which goes to the next; its callback is then
/// told CANCELLED.
pub fn task_exited(op: OpId, batch: &mut Batch) -> Option<Arc<dyn Object>> {
    let (object, task, revoked) = with(op, |state| match &state.phase {
        Phase::Ready(object, answer) => {
            let revoked = answer.granted == Granted::Revoked;
            Some((Arc::clone(object), state.task, revoked))
        }
        _ => None,
    })??;
    (revoked || object.revoke(op, task, batch)).then_some(object)
}
