//! Telling the host how a job ended, apart from the worker that ran it: on a host loop, or on whichever thread cancelled the job or found
//! that nobody can run it.

use super::callback::{DeliverFn, FreeFn, Opaque, Outcome};
use super::chain::Chain;
use super::elsewhere;
use super::error;
use super::host::outcome;
use super::job::{Job, TicketRef};
use super::sync::current;
use crate::sys::fork;
use crate::sys::sync::thread_local;
use std::cell::Cell;

/// What of a job its delivery needs.
#[derive(Clone, Copy)]
pub struct Delivery {
    pub deliver: Option<DeliverFn>,
    pub arg: Opaque,
    pub arg_free: Option<FreeFn>,
}

impl Delivery {
    pub fn of(job: &Job) -> Delivery {
        Delivery {
            deliver: job.deliver,
            arg: job.arg,
            arg_free: job.arg_free,
        }
    }

    /// On the job's host loop, or here. The reference to the ticket is given up.
    pub fn tell(self, ticket: Option<TicketRef>, outcome: &Outcome) {
        let Some(outcome) = outcome::hand_over(self, ticket, outcome) else {
            return;
        };
        tell_here(Box::new(Delivered::new(self, ticket, outcome)));
    }
}

/// Where the thread's end finds it.
fn tell_here(delivered: Box<Delivered>) {
    current::watch_end();
    let link = IN_HAND.with(|in_hand| in_hand.add(delivered));
    // SAFETY: added above; only this thread has it.
    unsafe { &(*link).what }.tell();
    // SAFETY: as above, once.
    drop(unsafe { IN_HAND.with(|in_hand| in_hand.take_out(link)) });
}

thread_local! {
    // What this thread is just telling.
    static IN_HAND: Chain<Box<Delivered>> = const { Chain::new() };
}

/// An outcome on its way.
pub struct Delivered {
    job: Delivery,
    pub ticket: Option<TicketRef>,
    pub outcome: Cell<Outcome>,
    /// How far it is; noted before each step, in case that the host's function ends the thread.
    begun: Cell<Step>,
    /// The process whose it is: a fork child that comes back from one of these functions leaves the rest to the parent.
    born_in: u32,
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

impl Delivered {
    pub fn new(job: Delivery, ticket: Option<TicketRef>, outcome: Outcome) -> Delivered {
        Delivered {
            job,
            ticket,
            outcome: Cell::new(outcome),
            begun: Cell::new(Step::Nothing),
            born_in: fork::generation(),
        }
    }

    /// What has not begun of: `deliver`, `arg_free`, letting those go who wait for the job.
    pub fn tell(&self) {
        let (begun, outcome) = (self.begun.get(), self.outcome.get());
        if begun < Step::Deliver {
            self.begun.set(Step::Deliver);
            self.ticket.inspect(|ticket| ticket.adopt());
            if outcome.status != error::OK
                && let Some(ticket) = self.ticket
            {
                error::keep(ticket.error(&outcome));
            }
            if let Some(deliver) = self.job.deliver {
                deliver.call(self.job.arg.0, &outcome);
            }
        }
        if begun < Step::Free && self.is_of_this_process() {
            self.begun.set(Step::Free);
            if let Some(free) = self.job.arg_free {
                free.call(self.job.arg.0);
            }
        }
        if begun < Step::Finish && self.is_of_this_process() {
            self.begun.set(Step::Finish);
            if let Some(ticket) = self.ticket {
                ticket.finish(outcome);
                ticket.release();
            }
        }
    }

    fn is_of_this_process(&self) -> bool {
        self.born_in == fork::generation()
    }

    pub fn has_begun(&self) -> bool {
        self.begun.get() != Step::Nothing
    }

    pub fn is_unfinished(&self) -> bool {
        self.begun.get() != Step::Finish
    }
}

/// The thread has ended, maybe inside a delivery: the rest of it is for a worker of the default cache.
pub fn thread_ends() {
    while let Some(delivered) = IN_HAND.with(Chain::pop) {
        if delivered.is_unfinished() && delivered.is_of_this_process() {
            elsewhere::run_or_here(delivered, tell_here);
        }
    }
}
