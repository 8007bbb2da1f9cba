//! What can be queued for a host loop.

use super::guest::Guest;
use super::host_loop::HostLoop;
use super::outcome;
use crate::core::callback::{CallFn, JobFn, Opaque, Outcome};
use crate::core::delivery::Delivered;
use crate::core::error::{self, Error, Result};
use crate::core::job::Ticket;
use crate::core::submit;
use crate::core::sync::completions::{self, Open};
use crate::core::sync::operation::OpId;
use crate::sys::clock::Deadline;
use std::sync::Arc;

pub enum Entry {
    Soon {
        run: CallFn,
        arg: Opaque,
        drop_fn: Option<CallFn>,
        once: bool,
    },
    /// Somebody waits for its end.
    Call(Arc<Call>),
    /// The outcome of a job.
    Outcome(Box<Delivered>),
    /// The callback of an operation that has been answered.
    Completion(OpId),
    /// A guest's turn.
    Tick(Arc<Guest>),
}

impl Entry {
    /// On the loop's thread. False if it was over before: nothing has run. Nothing here is to be dropped if the host's function ends the
    /// thread: the entry stays where it is.
    pub fn run(&self) -> bool {
        match self {
            Entry::Soon { run, arg, .. } => {
                run.call(arg.0);
                true
            }
            Entry::Call(call) => call.run(),
            Entry::Outcome(delivered) => {
                delivered.tell();
                true
            }
            Entry::Completion(op) => completions::run_apart(*op, Open::Yes),
            Entry::Tick(guest) => guest.tick(),
        }
    }

    /// The loop has been closed instead.
    pub fn drop_unrun(&self, host: &HostLoop) {
        match self {
            Entry::Soon { drop_fn, arg, .. } => {
                if let Some(drop_fn) = drop_fn {
                    drop_fn.call(arg.0);
                }
            }
            Entry::Call(call) => call.refuse(host),
            Entry::Outcome(delivered) => outcome::tell_closed(delivered, host),
            Entry::Completion(op) => {
                completions::run_apart(*op, Open::No);
            }
            // Of a guest that has been abandoned: while one lives, its loop is not closed.
            Entry::Tick(_) => {}
        }
    }

    /// The thread has ended inside [`run`](Self::run) or [`drop_unrun`](Self::drop_unrun). What is left to do is for the next drain.
    pub fn lost(self, host: &HostLoop) -> Option<Entry> {
        match self {
            Entry::Soon { .. } | Entry::Completion(_) => None,
            Entry::Call(call) => {
                call.lost(host);
                None
            }
            Entry::Outcome(delivered) => delivered
                .is_unfinished()
                .then_some(Entry::Outcome(delivered)),
            Entry::Tick(guest) => guest.lost().then_some(Entry::Tick(guest)),
        }
    }
}

/// A call that a thread waits for.
pub struct Call {
    ticket: Arc<Ticket>,
    run: JobFn,
    arg: Opaque,
}

impl Call {
    fn run(&self) -> bool {
        if !self.ticket.begin() {
            return false;
        }
        let mut value = std::ptr::null_mut();
        let code = self.run.call(self.arg.0, &mut value);
        self.ticket.finish(Outcome {
            status: error::OK,
            code,
            value,
        });
        true
    }

    fn refuse(&self, host: &HostLoop) {
        if self.ticket.cancel() {
            let why = format!("{} was closed before it ran the function", host.what());
            self.ticket.explain(&why);
            self.ticket.finish(Outcome::failed(error::CLOSED, 0));
        }
    }

    fn lost(&self, host: &HostLoop) {
        let why = format!("the thread of {} ended inside the function", host.what());
        self.ticket.explain(&why);
        self.ticket.finish(Outcome::failed(error::BROKEN, 0));
    }
}

/// Has the loop run `run` and waits for its end. The deadline is for its beginning.
///
/// # Errors
/// DEADLOCK (on the loop's own thread), TIMEDOUT (it will never run), CLOSED, BROKEN, FORKED.
pub fn call(host: &HostLoop, run: JobFn, arg: Opaque, timeout_ns: u64) -> Result<Outcome> {
    let deadline = Deadline::after(timeout_ns);
    if host.is_here() {
        // A closed one has nobody to wait for.
        host.check_open()?;
        let why = format!(
            "the call was made on the thread of {}: it would wait for itself",
            host.what()
        );
        return Err(Error::new(error::DEADLOCK, why));
    }
    let ticket = Ticket::new(Box::new([]));
    let call = Arc::new(Call {
        ticket: Arc::clone(&ticket),
        run,
        arg,
    });
    host.push(|| Entry::Call(Arc::clone(&call)))?;
    // The host's wake function may have forked.
    host.check_process()?;
    let Some(outcome) = submit::wait_if_begun(&ticket, deadline)? else {
        host.withdraw(|entry| matches!(entry, Entry::Call(c) if Arc::ptr_eq(c, &call)));
        let why = format!(
            "{} did not begin the function within the timeout; it will not run",
            host.what()
        );
        return Err(Error::new(error::TIMEDOUT, why));
    };
    match outcome.status {
        error::OK => Ok(outcome),
        _ => Err(ticket.error(&outcome)),
    }
}
