//! Jobs whose outcome is told on a host loop: the worker's last step is to queue it there.

use super::entry::Entry;
use super::host_loop::HostLoop;
use crate::core::callback::Outcome;
use crate::core::delivery::{Delivered, Delivery};
use crate::core::error;
use crate::core::job::TicketRef;

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
    let queued =
        host.push(|| Entry::Outcome(Box::new(Delivered::new(job, Some(ticket), *outcome))));
    let refused = queued.err()?;
    ticket.adopt();
    ticket.explain(&refused.detail);
    Some(Outcome {
        status: error::keep(refused),
        ..*outcome
    })
}

/// The loop is closed: it is told here, to clean up.
pub fn tell_closed(delivered: &Delivered, host: &HostLoop) {
    if !delivered.has_begun() {
        let refused = host.closed_error();
        delivered
            .ticket
            .inspect(|ticket| ticket.explain(&refused.detail));
        let outcome = delivered.outcome.get();
        delivered.outcome.set(Outcome {
            status: error::keep(refused),
            ..outcome
        });
    }
    delivered.tell();
}
