//! The polls of guests on worker threads: a job of two functions, which whoever starts threads for the host calls.
//!
//! A poll goes by its number, never used again, and is looked up at each step: the host's own `start_soon` may call what it was given late,
//! twice, or never, and finds a poll that is still expected, or none.

use super::guest::Guest;
use crate::core::callback::{Outcome, RawDeliverFn, RawJobFn};
use crate::sys::lock::{ForkReset, static_lock};
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
