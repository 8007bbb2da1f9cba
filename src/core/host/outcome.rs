//! Jobs whose outcome is told on a host loop: the worker's last step is to queue it there.

use super::entry::Entry;
use super::host_loop::HostLoop;
use crate::core::callback::Outcome;
use crate::core::error::{self, Error};
use crate::core::job::TicketRef;
use crate::core::submit::Delivery;
use crate::sys::fork;
use std::cell::Cell;

/// An outcome on its way.
pub struct Delivered {
    job: Delivery,
    ticket: TicketRef,
    outcome: Cell<Outcome>,
    /// How far it is; noted before each step, in case that the host's function ends the thread.
    begun: Cell<Step>,
}

// SAFETY: an outcome's value is only carried, and the ticket is made for sharing.
unsafe impl Send for Delivered {}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Step {
    Nothing,
    Deliver,
    Free,
    Finish,
}

/// Where a job ends: gives the outcome to its host loop, with the job's reference to its ticket. Some if it is to be told here: it has no
/// loop, or that is closed.
#[inline]
pub fn hand_over(job: Delivery, ticket: Option<TicketRef>, outcome: &Outcome) -> Option<Outcome> {
    match ticket {
        Some(ticket) if ticket.host.is_some() => to_loop(job, ticket, outcome),
        _ => Some(*outcome),
    }
}

#[cold]
fn to_loop(job: Delivery, ticket: TicketRef, outcome: &Outcome) -> Option<Outcome> {
    // The loop may be done with the ticket before it has been woken.
    let host = ticket.host.clone()?;
    ticket.give_to_loop();
    let queued = host.push(|| {
        Entry::Outcome(Box::new(Delivered {
            job,
            ticket,
            outcome: Cell::new(*outcome),
            begun: Cell::new(Step::Nothing),
        }))
    });
    let refused = queued.err()?;
    ticket.adopt();
    ticket.explain(&refused.detail);
    Some(Outcome {
        status: error::keep(refused),
        ..*outcome
    })
}

impl Delivered {
    pub fn tell(&self) {
        let (begun, outcome) = (self.begun.get(), self.outcome.get());
        let born_in = fork::generation();
        if begun < Step::Deliver {
            self.begun.set(Step::Deliver);
            self.ticket.adopt();
            if outcome.status != error::OK {
                error::keep(self.ticket.error(&outcome));
            }
            if let Some(deliver) = self.job.deliver {
                deliver.call(self.job.arg.0, &outcome);
            }
        }
        // A fork child that comes back leaves the rest to the parent.
        if begun < Step::Free && born_in == fork::generation() {
            self.begun.set(Step::Free);
            if let Some(free) = self.job.arg_free {
                free.call(self.job.arg.0);
            }
        }
        if begun < Step::Finish && born_in == fork::generation() {
            self.begun.set(Step::Finish);
            self.ticket.finish(outcome);
            self.ticket.release();
        }
    }

    pub fn tell_closed(&self, host: &HostLoop) {
        if self.begun.get() == Step::Nothing {
            let why = format!("{} is closed", host.what());
            self.ticket.explain(&why);
            let status = error::keep(Error::new(error::CLOSED, why));
            self.outcome.set(Outcome {
                status,
                ..self.outcome.get()
            });
        }
        self.tell();
    }

    pub fn is_unfinished(&self) -> bool {
        self.begun.get() != Step::Finish
    }
}
