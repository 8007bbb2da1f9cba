//! What a worker is asked to do, and the ticket through which others follow it.

use super::callback::{DeliverFn, FreeFn, JobFn, Opaque, Outcome};
use super::delivery::Delivery;
use super::error::{self, Error, Result};
use super::guarded::Guarded;
use super::hook::Hook;
use super::host::drain;
use super::host::host_loop::HostLoop;
use super::name::Name;
use super::sync::exit;
use super::sync::task::TaskId;
use crate::sys::clock::Deadline;
use crate::sys::futex;
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering, UnsafeCell};
use crate::sys::thread;
use std::sync::Arc;

/// A job as it travels: plain data, copied from hand to hand, with no destructor.
#[derive(Clone, Copy)]
pub struct Job {
    pub run: JobFn,
    pub deliver: Option<DeliverFn>,
    pub arg: Opaque,
    pub arg_free: Option<FreeFn>,
    pub name: Name,
    pub needs: Needs,
    /// The cache's hook generation when the job was accepted.
    pub accepted_at: u64,
    pub ticket: Option<TicketRef>,
}

/// Which hooks must be started on a worker before it may run the job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Every hook that is not lazy and was registered when the job was accepted.
    Usual,
    Nothing,
    /// Those in the ticket.
    Named,
    /// It is not to run: it has begun on a worker that was lost, or got no token of its limiter. All that is left is to tell of it,
    /// or, if that was done, to release it.
    Leftover {
        outcome: Outcome,
        delivered: bool,
    },
}

/// What a worker is given.
#[derive(Clone, Copy)]
pub enum Order {
    Job(Job),
    /// Hooks have come or gone: see to them.
    Look,
    Exit,
}

const QUEUED: u32 = 0;
const RUNNING: u32 = 1;
const CANCELLED: u32 = 2;
const DONE: u32 = 3;
const PHASE: u32 = 3;
const WAITED: u32 = 4;

/// In place of a thread's token.
const ON_LOOP: u64 = u64::MAX;

/// The part of a job that outlives it: made only for jobs with a handle, or with hooks of their own.
///
/// Invariant: one thread moves the phase away from QUEUED, and that thread (or, for RUNNING, the worker) delivers; it then
/// writes `outcome` and stores DONE, once.
pub struct Ticket {
    phase: AtomicU32,
    outcome: UnsafeCell<Outcome>,
    /// Why the outcome is an error.
    detail: UnsafeCell<String>,
    /// The token of the thread that runs or delivers the job, 0 before.
    runner: AtomicU64,
    pub hooks: Box<[Arc<Hook>]>,
    /// Where the outcome is told. None: on the worker.
    pub host: Option<Arc<HostLoop>>,
    /// The task of a job with a limiter, until somebody takes it over; 0 if there is none.
    task: AtomicU64,
    pub place: Guarded<Place>,
}

/// Where the queue of the cache has a job, for its count of those that wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Elsewhere,
    Queued,
    /// Cancelled, and counted as an empty entry.
    Shell,
}

// SAFETY: `outcome` is written by the one finishing thread before DONE, and read only after DONE was seen.
unsafe impl Sync for Ticket {}
// SAFETY: as above; the opaque value in it is only carried.
unsafe impl Send for Ticket {}

impl Ticket {
    pub fn new(hooks: Box<[Arc<Hook>]>) -> Arc<Ticket> {
        Self::with(hooks, TaskId::NONE, None)
    }

    /// For a job that has its task before it begins, or is delivered on a host loop.
    pub fn with(hooks: Box<[Arc<Hook>]>, task: TaskId, host: Option<Arc<HostLoop>>) -> Arc<Ticket> {
        Arc::new(Ticket {
            host,
            task: AtomicU64::new(task.0),
            phase: AtomicU32::new(QUEUED),
            outcome: UnsafeCell::new(Outcome::failed(error::BROKEN, 0)),
            detail: UnsafeCell::new(String::new()),
            runner: AtomicU64::new(0),
            hooks,
            place: Guarded::new(Place::Elsewhere),
        })
    }

    pub fn task(&self) -> TaskId {
        TaskId(self.task.load(Ordering::Relaxed))
    }

    /// The task is the caller's to end.
    pub fn take_task(&self) -> TaskId {
        TaskId(self.task.swap(0, Ordering::Relaxed))
    }

    /// Ends the task, if nobody else has taken it, and with it a wait for its token; a token that it has comes back.
    pub fn end_task(&self) {
        let task = self.take_task();
        if task != TaskId::NONE {
            exit::implicit(task);
        }
    }

    fn leave_queue(&self, to: u32) -> bool {
        let mut word = self.phase.load(Ordering::Relaxed);
        while word & PHASE == QUEUED {
            match self.phase.compare_exchange_weak(
                word,
                word | to,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    self.runner.store(thread::token(), Ordering::Relaxed);
                    return true;
                }
                Err(now) => word = now,
            }
        }
        false
    }

    /// Worker: true if the job is now this thread's to run and to deliver.
    pub fn begin(&self) -> bool {
        self.leave_queue(RUNNING)
    }

    /// True if the job is now this thread's to deliver as cancelled; `fn` will not run.
    pub fn cancel(&self) -> bool {
        self.leave_queue(CANCELLED)
    }

    pub fn is_waiting_to_run(&self) -> bool {
        self.phase.load(Ordering::Relaxed) & PHASE == QUEUED
    }

    /// Why, as it was said before.
    pub fn reason(&self) -> String {
        self.detail.with(|d| {
            // SAFETY: as in `explain`: only the thread that delivers asks.
            unsafe { (*d).clone() }
        })
    }

    /// The thread that is going to deliver: says why the outcome will be an error.
    pub fn explain(&self, detail: &str) {
        self.detail.with_mut(|d| {
            // SAFETY: as in `finish`: only one thread delivers, and nobody reads before DONE.
            unsafe { *d = detail.to_owned() }
        });
    }

    /// The error of a job that was not run to its end. To be called by the thread that delivers, or after DONE was seen.
    pub fn error(&self, outcome: &Outcome) -> Error {
        let detail = self.detail.with(|d| {
            // SAFETY: as the caller promises by its place: the text is complete and no longer written.
            unsafe { (*d).clone() }
        });
        Error::new(outcome.status, detail)
    }

    /// The thread that delivered: publishes the outcome and wakes the waiters.
    pub fn finish(&self, outcome: Outcome) {
        self.outcome.with_mut(|o| {
            // SAFETY: only the thread that moved the phase away from QUEUED gets here, and once.
            unsafe { *o = outcome }
        });
        // Release pairs with the Acquire in `outcome_if_done`.
        if self.phase.swap(DONE, Ordering::Release) & WAITED != 0 {
            futex::wake(&self.phase, futex::ALL);
        }
    }

    fn outcome_if_done(&self) -> Option<Outcome> {
        // Acquire pairs with the Release in `finish`.
        (self.phase.load(Ordering::Acquire) & PHASE == DONE).then(|| {
            self.outcome.with(|o| {
                // SAFETY: DONE was seen, so the outcome is complete and no longer written.
                unsafe { *o }
            })
        })
    }

    /// Waits until the job has been delivered.
    ///
    /// # Errors
    /// DEADLOCK on the thread that runs or delivers this very job, or is to; TIMEDOUT.
    pub fn wait(&self, deadline: Deadline) -> Result<Outcome> {
        loop {
            if let Some(outcome) = self.outcome_if_done() {
                return Ok(outcome);
            }
            if self.runner.load(Ordering::Relaxed) == thread::token() {
                return Err(Error::new(
                    error::DEADLOCK,
                    "a job cannot wait for its own end",
                ));
            }
            if deadline.has_passed() {
                return Err(Error::new(
                    error::TIMEDOUT,
                    "the job was not delivered within the timeout",
                ));
            }
            if let Some(host) = self.host.as_ref().filter(|host| self.is_told_here(host)) {
                let why = format!(
                    "the job is delivered by {}, whose thread this is",
                    host.what()
                );
                return Err(Error::new(error::DEADLOCK, why));
            }
            let word = self.phase.fetch_or(WAITED, Ordering::Relaxed) | WAITED;
            if word & PHASE != DONE {
                futex::wait(&self.phase, word, deadline);
            }
        }
    }

    /// Nobody but the calling thread can tell the outcome: it is the loop's own, or it is just closing the loop, in whose queue that is.
    fn is_told_here(&self, host: &HostLoop) -> bool {
        let queued = self.runner.load(Ordering::Relaxed) == ON_LOOP;
        (host.is_here() && host.check_open().is_ok()) || (queued && drain::is_closing_here(host))
    }

    /// The outcome is queued on the host loop: who [`adopt`](Self::adopt)s it there delivers.
    pub fn give_to_loop(&self) {
        self.runner.store(ON_LOOP, Ordering::Relaxed);
    }

    /// The job is this thread's no more: who [`adopt`](Self::adopt)s it delivers.
    pub fn give_up(&self) {
        self.runner.store(0, Ordering::Relaxed);
    }

    /// A ticket whose job was handed to another worker, after the one that began it went away.
    pub fn adopt(&self) {
        self.runner.store(thread::token(), Ordering::Relaxed);
    }
}

/// A counted reference to a ticket, without a destructor, so that a [`Job`] can be plain data.
#[derive(Clone, Copy)]
pub struct TicketRef(*const Ticket);

// SAFETY: a Ticket may be shared and dropped on any thread.
unsafe impl Send for TicketRef {}

impl TicketRef {
    /// Takes over one reference; [`release`](Self::release) gives it back.
    pub fn new(ticket: Arc<Ticket>) -> TicketRef {
        TicketRef(Arc::into_raw(ticket))
    }

    /// Gives back the reference; to be called once, when the job has been delivered, dropped or refused.
    pub fn release(self) {
        // SAFETY: `new` took the reference over, and each job's path ends in one release.
        drop(unsafe { Arc::from_raw(self.0) });
    }
}

impl std::ops::Deref for TicketRef {
    type Target = Ticket;
    fn deref(&self) -> &Ticket {
        // SAFETY: the reference is held until `release`, after which the job is not looked at.
        unsafe { &*self.0 }
    }
}

impl Job {
    /// Hands the outcome to the host, not on a worker that ran it, and lets go of the job.
    pub fn deliver_and_release(&self, outcome: &Outcome) {
        Delivery::of(self).tell(self.ticket, outcome);
    }

    /// The last step, with no call to the host: lets the waiters go.
    pub fn finish(&self, outcome: &Outcome) {
        if let Some(ticket) = self.ticket {
            ticket.finish(*outcome);
            ticket.release();
        }
    }
}
