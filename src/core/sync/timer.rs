//! Timeouts of operations that the library itself began. (The host's have none: its loops have timers of their own.)
//!
//! While there are any, one worker of the default cache sleeps until the next is due, and then ends that wait as timed out,
//! which has no effect if it ended otherwise before.

use super::batch::Batch;
use super::operation::{self, OpId};
use crate::core::elsewhere;
use crate::core::name::Name;
use crate::sys::clock::Deadline;
use crate::sys::futex;
use crate::sys::lock::{ForkReset, static_lock};
use crate::sys::sync::{AtomicU32, Ordering};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

struct Timers {
    due: BinaryHeap<Reverse<(Deadline, u64)>>,
    /// How many were left after the completed ones were last swept out.
    swept: usize,
    running: bool,
}

impl Timers {
    /// Drops those at the front whose operation has completed.
    fn clear_front(&mut self) {
        while let Some(&Reverse((_, op))) = self.due.peek()
            && !operation::is_waiting(OpId(op))
        {
            self.due.pop();
        }
    }
}

impl ForkReset for Timers {
    fn reset_in_child(&mut self) {
        std::mem::forget(std::mem::take(&mut self.due));
        self.swept = 0;
        self.running = false;
    }
}

static_lock!(static TIMERS: Timers = Timers {
    due: BinaryHeap::new(),
    swept: 0,
    running: false,
});

/// Grows when the sleeper has to look again.
#[cfg(not(any(loom, shuttle)))]
static CHANGES: AtomicU32 = AtomicU32::new(0);
#[cfg(any(loom, shuttle))]
crate::sys::sync::model::lazy_static! {
    static ref CHANGES: AtomicU32 = AtomicU32::new(0);
}

/// Ends the operation, which is in line, when the deadline has passed. [`completed`] is to follow when it has completed, for
/// whatever reason.
pub fn add(deadline: Deadline, op: OpId) {
    let mut timers = TIMERS.lock();
    timers.due.push(Reverse((deadline, op.0)));
    // It may have completed meanwhile.
    timers.clear_front();
    if timers.due.len() > 2 * timers.swept + 64 {
        timers
            .due
            .retain(|Reverse((_, op))| operation::is_waiting(OpId(*op)));
        timers.swept = timers.due.len();
    }
    let Some(&Reverse((_, next))) = timers.due.peek() else {
        return;
    };
    let must_start = !std::mem::replace(&mut timers.running, true);
    drop(timers);
    if must_start {
        start();
    } else if next == op.0 {
        nudge();
    }
}

/// An operation with a timer has completed: if it was the last, nobody needs to wait for its time.
pub fn completed() {
    let mut timers = TIMERS.lock();
    timers.clear_front();
    let none = timers.due.is_empty() && timers.running;
    drop(timers);
    if none {
        nudge();
    }
}

fn nudge() {
    // Release pairs with the Acquire in `run`; the timers themselves are seen through their lock.
    CHANGES.fetch_add(1, Ordering::Release);
    futex::wake(&CHANGES, futex::ALL);
}

fn start() {
    if elsewhere::run((), |()| run(), Name::new("selv timers")).is_err() {
        // No thread can be started now; the next timer tries again.
        TIMERS.lock().running = false;
    }
}

fn run() {
    loop {
        let seen = CHANGES.load(Ordering::Acquire);
        let mut timers = TIMERS.lock();
        timers.clear_front();
        let Some(&Reverse((deadline, op))) = timers.due.peek() else {
            timers.running = false;
            return;
        };
        if !deadline.has_passed() {
            drop(timers);
            futex::wait(&CHANGES, seen, deadline);
            continue;
        }
        timers.due.pop();
        drop(timers);
        let mut batch = Batch::new();
        operation::time_out(OpId(op), &mut batch);
        // A callback may take long, or end its thread.
        batch.finish_elsewhere();
    }
}
