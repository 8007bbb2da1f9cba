//! Waiting, for threads and for operations alike: the line of an object, and what becomes of a waiter.
//!
//! Each object has its own line, under its own lock, with blocking and asynchronous waiters in one order. Invariant: a waiter is
//! completed by whoever takes it off its line, under that lock, so each is completed exactly once, and a grant that meets a
//! timeout, a cancel, a close or an exit has either happened or not. Threads are woken and callbacks called after the lock has
//! been let go; a [`Batch`] carries them there.

use super::answer::{Answer, Why};
use super::batch::Batch;
use super::completions;
use super::deadlock;
use super::identity::Identity;
use super::lines::{Key, Waiter, Waiting, Who};
use super::operation::{self, OpId};
use super::parker::{Parker, Up};
use super::report::Report;
use super::slot::Slot;
use super::task::{self, TaskId};
use crate::core::error::{self, Error, Result};
use crate::sys::clock::Deadline;
use crate::sys::fork;
use std::sync::Arc;

/// What tasks wait for.
pub trait Object: Send + Sync {
    fn identity(&self) -> &Identity;

    /// Kind and name, as in `lock 'ledger'`.
    fn label(&self) -> &str {
        self.identity().as_str()
    }

    /// Ends a wait for another reason than a grant. False if the waiter is not there any more: it was answered before. A condition's
    /// waiter may have to get its lock back first.
    fn withdraw(&self, key: Key, why: &Why, batch: &mut Batch) -> bool;

    /// The one task that could end this wait, if it is one: the owner of a lock, the holder of an only token.
    fn held_up_by(&self, key: Key) -> Option<TaskId>;

    /// What an operation was given and did not come to use goes to the next.
    fn pass_on(&self, task: TaskId, answer: Answer, batch: &mut Batch);

    /// The same for the operation of a task that has exited, if its callback has not begun; false if it has.
    fn revoke(&self, op: OpId, task: TaskId, batch: &mut Batch) -> bool {
        operation::revoke(op)
            .map(|answer| self.pass_on(task, answer, batch))
            .is_some()
    }

    /// A task that may have held this lock has exited.
    fn owner_exited(&self, _task: TaskId, _report: &mut Report, _batch: &mut Batch) {}

    /// A task that was tied to it has exited.
    fn tied_exited(&self, _task: TaskId, _report: &mut Report, _batch: &mut Batch) {}

    /// A woken thread looks again. It is answered, or stays in line.
    fn look_again(&self, _key: Key, _batch: &mut Batch) {}

    fn describe(&self) -> super::graph::Picture;
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
    ready
        .filter(|&op| !completions::goes_elsewhere(op))
        .inspect(|&op| completions::run_elsewhere(vec![op]));
    result
}
