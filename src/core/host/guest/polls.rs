//! The polls of guests on worker threads: a job of two functions, which whoever starts threads for the host calls.
//!
//! A poll goes by its number, never used again, and is looked up at each step: the host's own `start_soon` may call what it was given late,
//! twice, or never, and finds a poll that is still expected, or none.

use super::{Guest, Phase, Polled, Starter, State};
use crate::core::callback::{Opaque, Outcome, PollFn, RawDeliverFn, RawJobFn};
use crate::core::error::{self, Status};
use crate::sys::lock::{ForkReset, Guard, static_lock};
use crate::sys::thread;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;

#[derive(Default)]
struct Polls {
    last: u64,
    expected: BTreeMap<u64, Arc<Guest>>,
}

impl ForkReset for Polls {
    fn reset_in_child(&mut self) {
        // No poll of the parent comes back here. Its numbers are not known, so they need not be avoided.
        std::mem::forget(std::mem::take(self));
    }
}

static_lock!(static POLLS: Polls = Polls { last: 0, expected: BTreeMap::new() });

/// The number of a poll that is now expected.
pub fn expect(guest: &Arc<Guest>) -> u64 {
    let mut polls = POLLS.lock();
    polls.last += 1;
    let number = polls.last;
    polls.expected.insert(number, Arc::clone(guest));
    number
}

/// It is expected no more; false if it was not.
pub fn forget(number: u64) -> bool {
    let forgotten = POLLS.lock().expected.remove(&number);
    // Its last reference may be dropped here, with no lock held.
    forgotten.is_some()
}

fn find(number: u64) -> Option<Arc<Guest>> {
    POLLS.lock().expected.get(&number).map(Arc::clone)
}

pub(crate) const JOB: RawJobFn = job;
pub(crate) const DELIVER: RawDeliverFn = deliver;

/// The number travels as the job's argument.
pub fn argument(number: u64) -> *mut c_void {
    std::ptr::without_provenance_mut(number as usize)
}

unsafe extern "C-unwind" fn job(arg: *mut c_void, _: *mut *mut c_void) -> i32 {
    let number = arg as u64;
    let Some(poll) = find(number).and_then(|guest| guest.begin_poll(number)) else {
        return 0;
    };
    // Nothing here is to be dropped meanwhile: the host's function may end the thread.
    let mut events = std::ptr::null_mut();
    let status = poll.call.call(poll.guest.0, poll.timeout_ns, &mut events);
    if let Some(guest) = find(number) {
        guest.end_poll(number, status, events);
    }
    status
}

unsafe extern "C-unwind" fn deliver(arg: *mut c_void, outcome: *const Outcome) {
    let number = arg as u64;
    if let Some(guest) = find(number) {
        // SAFETY: the outcome is valid during the call, or NULL from a host that has none to tell.
        let status = unsafe { outcome.as_ref() }.map_or(0, |outcome| outcome.status);
        guest.poll_delivered(number, status);
    }
}

/// A poll that is to be made: plain data.
#[derive(Clone, Copy)]
pub struct Poll {
    pub call: PollFn,
    pub guest: Opaque,
    pub timeout_ns: u64,
}

impl Guest {
    /// The poll is to be made, on this thread, now. None: it is not, or not any more.
    fn begin_poll(&self, number: u64) -> Option<Poll> {
        let mut state = self.state.lock();
        if state.coming == Some(number) && !cfg!(selv_mutant = "reuse_the_gone") {
            // It has come too late.
            state.coming = None;
            forget(number);
        }
        if !matches!(state.phase, Phase::Starting(n) if n == number) {
            return None;
        }
        state.phase = Phase::Polling(number);
        state.poller = thread::token();
        Some(Poll {
            call: self.calls.poll,
            guest: self.calls.guest,
            timeout_ns: state.timeout_ns,
        })
    }

    fn end_poll(&self, number: u64, status: Status, events: *mut c_void) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Polling(n) if n == number) {
            let events = Opaque(events);
            let polled = Polled { status, events };
            state.poller = 0;
            if state.refused {
                return self.bring(state, number, polled);
            }
            state.phase = Phase::Returned(number, polled);
            if state.abandoned {
                self.change();
            }
        }
    }

    /// The host's thread is to have it.
    fn bring(&self, mut state: Guard<'_, State>, number: u64, polled: Polled) {
        forget(number);
        state.phase = Phase::Queued(Some(polled));
        let abandoned = state.abandoned;
        if abandoned {
            self.change();
        }
        drop(state);
        if !abandoned {
            self.queue_tick();
        }
    }

    /// The worker is done with the job; `status` tells whether it ran.
    fn poll_delivered(&self, number: u64, status: Status) {
        let mut state = self.state.lock();
        let polled = match state.phase {
            Phase::Returned(n, polled) if n == number => {
                if status < 0 {
                    self.not_run(&mut state, status);
                }
                polled
            }
            // It did not run; or, if it did, its thread was ended inside it.
            Phase::Starting(n) if n == number => self.not_run(&mut state, status),
            Phase::Polling(n) if n == number && status < 0 => self.not_run(&mut state, status),
            _ => {
                if state.coming == Some(number) {
                    // It did not run, and will not: the next poll asks anew.
                    state.coming = None;
                    forget(number);
                }
                return;
            }
        };
        self.bring(state, number, polled);
    }

    fn not_run(&self, state: &mut State, status: Status) -> Polled {
        let what = self.what();
        let end = match (status, &self.starter) {
            (0.., _) => {
                let why = format!("the poll of {what} was delivered, and has not been run");
                (error::BROKEN, why)
            }
            (failed, Starter::Host(..)) => self.failed("the thread for the poll", failed),
            // The worker is delivering, and its last error is about this job.
            (failed, Starter::Cache(_)) => {
                let why = error::with_last(|last| format!("the poll of {what} failed: {last}"));
                (failed, why)
            }
        };
        state.end.get_or_insert(end);
        state.poller = 0;
        Polled::NOTHING
    }
}
