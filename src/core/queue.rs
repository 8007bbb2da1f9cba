//! Jobs that wait for a worker: in a bounded cache, and those that a worker could not keep.
//!
//! A cancelled job is delivered at once by whoever cancelled it; its entry stays as an empty shell until a worker comes to
//! it, or until shells are half of the queue and are swept out.

use super::cache::{Cache, State};
use super::callback::Outcome;
use super::error::{self, Error};
use super::job::{Job, Needs, Order, Place, Ticket};
use super::life;
use super::spawn;
use super::worker;
use crate::sys::lock::Guard;
use std::collections::VecDeque;

#[derive(Default)]
pub struct JobQueue {
    jobs: VecDeque<Job>,
    shells: usize,
}

const SWEEP_FROM: usize = 64;

fn is_live(job: &Job) -> bool {
    matches!(job.needs, Needs::Leftover { .. }) || job.ticket.is_none_or(|t| t.is_waiting_to_run())
}

impl JobQueue {
    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.jobs.len() - self.shells
    }

    pub fn push(&mut self, job: Job) {
        self.note_queued(&job);
        self.jobs.push_back(job);
    }

    /// A job that comes back from a worker which could not keep it: it was accepted before the others.
    pub fn push_front(&mut self, job: Job) {
        self.note_queued(&job);
        self.jobs.push_front(job);
    }

    fn note_queued(&mut self, job: &Job) {
        if let Some(ticket) = job.ticket {
            *ticket.place.get_mut(self) = Place::Queued;
        }
    }

    /// The oldest job. It can still be cancelled until it begins.
    pub fn pop(&mut self) -> Option<Job> {
        while let Some(job) = self.jobs.pop_front() {
            self.forget_place(&job);
            if is_live(&job) {
                return Some(job);
            }
            if let Some(ticket) = job.ticket {
                ticket.release();
            }
        }
        None
    }

    fn forget_place(&mut self, job: &Job) {
        if let Some(ticket) = job.ticket {
            let place = std::mem::replace(ticket.place.get_mut(self), Place::Elsewhere);
            self.shells -= usize::from(place == Place::Shell);
        }
    }

    /// The job of this ticket was cancelled; it may be queued here.
    pub fn note_cancelled(&mut self, ticket: &Ticket) {
        let place = ticket.place.get_mut(self);
        if *place != Place::Queued {
            return;
        }
        *place = Place::Shell;
        self.shells += 1;
        if self.shells >= SWEEP_FROM && self.shells * 2 >= self.jobs.len() {
            let (live, shells) = std::mem::take(&mut self.jobs)
                .into_iter()
                .partition::<VecDeque<_>, _>(is_live);
            self.jobs = live;
            for job in shells {
                self.forget_place(&job);
                if let Some(ticket) = job.ticket {
                    ticket.release();
                }
            }
        }
    }
}

/// Brings back a job that a worker was given and cannot keep.
pub fn bring_back(cache: &Cache, job: Job) {
    let mut state = cache.lock();
    state.queue.push_front(job);
    dispatch(cache, state);
}

/// Sees to it that somebody works through the queue: idle workers first, then new ones as far as the bound allows. If no
/// thread can be started, living workers are left to it; if there is none, the jobs are delivered here, with SPAWN.
pub fn dispatch<'a>(cache: &'a Cache, mut state: Guard<'a, State>) {
    let bound = u64::from(cache.options.max_workers);
    while state.queue.len() > 0 {
        if let Some(node) = state.idle.pop_newest() {
            let order = state.queue.pop().map_or(Order::Look, Order::Job);
            drop(state);
            node.handoff.give(|| order);
        } else if bound == 0 || state.counts.workers < bound {
            let Some(job) = state.queue.pop() else {
                return;
            };
            let reserved = spawn::reserve(cache, &mut state);
            drop(state);
            if reserved.start(Order::Job(job)).is_err() {
                let mut state = cache.lock();
                if state.counts.workers > 0 {
                    state.queue.push_front(job);
                    return;
                }
                drop(state);
                refuse(cache, job);
            }
        } else {
            return;
        }
        state = cache.lock();
    }
}

/// An accepted job that no worker will see is delivered here: without having run, or, if its worker was lost, as that left it.
pub fn refuse(cache: &Cache, job: Job) {
    let lost = matches!(job.needs, Needs::Leftover { .. });
    match job.ticket {
        Some(ticket) if lost => ticket.adopt(),
        Some(ticket) if !ticket.begin() => return ticket.release(),
        _ => {}
    }
    job.ticket.inspect(|t| t.end_task());
    let (outcome, deliver) = match job.needs {
        Needs::Leftover {
            outcome,
            delivered: true,
        } => (outcome, None),
        needs => {
            let (outcome, why) = match needs {
                Needs::Leftover { outcome, .. } => (outcome, life::leftover_reason(&job, &outcome)),
                _ => (
                    Outcome::failed(error::SPAWN, 0),
                    "no worker thread could be started for the job".to_owned(),
                ),
            };
            job.ticket.inspect(|t| t.explain(&why));
            error::keep(Error::new(outcome.status, why));
            cache.lock().counts.delivered += 1;
            (outcome, job.deliver)
        }
    };
    // A worker that is just ending can be lost even here, and its node then knows how far it got.
    match worker::own_node(cache).filter(|node| node.struck_off.get()) {
        Some(node) => life::hand_on_last(node, job, &outcome, deliver),
        None => Job { deliver, ..job }.deliver_and_release(&outcome),
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::core::callback::{JobFn, Opaque};
    use crate::core::job::TicketRef;
    use crate::core::name::Name;
    use std::ffi::c_void;
    use std::sync::Arc;

    unsafe extern "C-unwind" fn nothing(_: *mut c_void, _: *mut *mut c_void) -> i32 {
        0
    }

    fn job(number: usize, ticket: Option<&Arc<Ticket>>) -> Job {
        Job {
            // SAFETY: `nothing` takes anything.
            run: unsafe { JobFn::new(nothing) },
            deliver: None,
            arg: Opaque(number as *mut c_void),
            arg_free: None,
            name: Name::NONE,
            needs: Needs::Usual,
            accepted_at: 0,
            ticket: ticket.cloned().map(TicketRef::new),
        }
    }

    fn number(job: Option<Job>) -> Option<usize> {
        job.map(|j| {
            j.ticket.inspect(|t| t.release());
            j.arg.0 as usize
        })
    }

    #[test]
    fn jobs_come_in_order_and_cancelled_ones_do_not_count() {
        let mut queue = JobQueue::default();
        let tickets: Vec<_> = (0..3).map(|_| Ticket::new(Box::new([]))).collect();
        for (n, ticket) in tickets.iter().enumerate() {
            queue.push(job(n, Some(ticket)));
        }
        queue.push(job(3, None));
        assert_eq!(queue.len(), 4);
        assert!(tickets[1].cancel());
        queue.note_cancelled(&tickets[1]);
        assert_eq!(queue.len(), 3);
        queue.push_front(job(9, None));
        assert_eq!(number(queue.pop()), Some(9));
        assert_eq!(number(queue.pop()), Some(0));
        assert_eq!(number(queue.pop()), Some(2));
        assert_eq!(number(queue.pop()), Some(3));
        assert_eq!((number(queue.pop()), queue.len()), (None, 0));
        assert!(tickets.iter().all(|t| Arc::strong_count(t) == 1));
    }

    #[test]
    fn a_cancelled_job_that_a_worker_reached_first_is_not_counted_twice() {
        let mut queue = JobQueue::default();
        let early = Ticket::new(Box::new([]));
        queue.push(job(0, Some(&early)));
        queue.push(job(1, None));
        assert!(early.cancel());
        assert_eq!(number(queue.pop()), Some(1));
        queue.note_cancelled(&early);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_storm_of_cancels_does_not_fill_the_queue_with_shells() {
        let mut queue = JobQueue::default();
        for round in 0..1000 {
            let ticket = Ticket::new(Box::new([]));
            queue.push(job(round, Some(&ticket)));
            assert!(ticket.cancel());
            queue.note_cancelled(&ticket);
            assert_eq!(queue.len(), 0);
            assert!(queue.jobs.len() <= SWEEP_FROM);
        }
    }
}
