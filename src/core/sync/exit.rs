//! The exit of a task: what it waits for is cancelled, what it was granted and did not use goes on, what it holds is broken,
//! handed on or returned.
//!
//! Invariant: the task's number leaves its slot first. Who looks at an owner under the lock of an object either finds it alive,
//! and then this exit comes to that object later and finds the waiter; or finds it gone, and then breaks the object itself.

use super::answer::Why;
use super::batch::Batch;
use super::operation;
use super::registry;
use super::report::{Item, Report};
use super::task::{self, Kind, TaskId};
use crate::core::error::{self, Error, Result};

/// A task that the host made.
///
/// # Errors
/// INVAL (also a thread's or a job's own task), STALE, FORKED.
pub fn host_task(id: TaskId, batch: &mut Batch) -> Result<Report> {
    task::check(id)?;
    match task::kind(id) {
        Some(kind @ (Kind::Thread | Kind::Job)) => Err(Error::new(
            error::INVAL,
            format!(
                "{} exits with its {}, and not by itself",
                task::Named(id),
                kind.noun()
            ),
        )),
        _ => exit(id, batch),
    }
}

/// A thread's or a job's own task.
pub fn implicit(id: TaskId) {
    let mut batch = Batch::new();
    // A task that is not this process's any more needs no exit.
    let _ = exit(id, &mut batch);
    batch.finish();
}

/// A job's own task, on its worker. `before_callbacks` is called if callbacks of the host are to run here.
pub fn of_job(id: TaskId, before_callbacks: impl FnOnce()) {
    let mut batch = Batch::new();
    let _ = exit(id, &mut batch);
    batch.settle_own();
    if batch.has_callbacks() {
        before_callbacks();
    }
    batch.finish();
}

/// The same inside a destructor of the ending thread, where no callback may run.
pub fn of_ending_thread(id: TaskId) {
    let mut batch = Batch::new();
    let _ = exit(id, &mut batch);
    batch.finish_elsewhere();
}

fn exit(id: TaskId, batch: &mut Batch) -> Result<Report> {
    let slot = task::end(id)?;
    let mut report = Report::default();
    let (waiting, unconsumed) = slot.with_info(|info| {
        (
            std::mem::take(&mut info.waiting),
            std::mem::take(&mut info.unconsumed),
        )
    });
    // What was granted meanwhile is told by the locks and ties that are looked at last.
    for wait in waiting.values() {
        if wait.object.withdraw(wait.key, &Why::TaskExited, batch) {
            report.add(Item::WaitCancelled, &wait.object.identity().name);
        }
    }
    for name in slot.with_info(|info| std::mem::take(&mut info.cancelled)) {
        report.add(Item::WaitCancelled, &name);
    }
    // A wait that was granted just now is among these.
    let ops = waiting.values().filter_map(|w| w.op).chain(unconsumed);
    for op in ops {
        if let Some(object) = operation::task_exited(op, batch) {
            report.add(Item::GrantPassedOn, &object.identity().name);
        }
    }
    // Locks first: who gets the token next finds them broken.
    if slot.holds_a_lock() {
        for object in registry::all() {
            object.owner_exited(id, &mut report, batch);
        }
    }
    if slot.has_ties() {
        for place in slot.with_info(|info| std::mem::take(&mut info.ties)) {
            if let Some(object) = registry::at(place) {
                object.tied_exited(id, &mut report, batch);
            }
        }
    }
    task::give_back(id);
    Ok(report)
}
