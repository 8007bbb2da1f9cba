//! Calls of one of the host's functions that other threads may be inside of when there are to be none any more.
//!
//! Invariant: a call is counted under the lock of whatever it is made for, and whoever ends that says so under the same lock before it waits:
//! so it waits for all that began before, and none begins later.

use crate::core::callback::{CallFn, Opaque};
use crate::sys::clock::Deadline;
use crate::sys::futex;
use crate::sys::sync::{AtomicU32, Ordering, thread_local};
use std::cell::Cell;

/// How many there are.
pub struct Underway(AtomicU32);

/// Somebody waits for the count to fall.
const AWAITED: u32 = 1 << 31;

/// A call on this thread, inside another one or none. On the stack: such functions return.
struct Here {
    of: *const Underway,
    outer: *const Here,
}

thread_local! {
    // The innermost.
    static HERE: Cell<*const Here> = const { Cell::new(std::ptr::null()) };
}

impl Underway {
    pub fn new() -> Underway {
        Underway(AtomicU32::new(0))
    }

    /// Under the lock: one more begins.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// With no lock held: makes the call that was counted.
    pub fn call(&self, call: CallFn, arg: Opaque) {
        let here = Here {
            of: self,
            outer: HERE.with(Cell::get),
        };
        HERE.with(|innermost| innermost.set(&raw const here));
        call.call(arg.0);
        HERE.with(|innermost| innermost.set(here.outer));
        // Release pairs with the Acquire in `await_end`: the call is over.
        if self.0.fetch_sub(1, Ordering::Release) & AWAITED != 0 {
            futex::wake(&self.0, futex::ALL);
        }
    }

    /// How many of them the calling thread is inside of.
    fn here(&self) -> u32 {
        let mut count = 0;
        let mut here = HERE.with(Cell::get);
        // SAFETY: the calls of this thread, all of which are still under way.
        while let Some(call) = unsafe { here.as_ref() } {
            count += u32::from(std::ptr::eq(call.of, self));
            here = call.outer;
        }
        count
    }

    /// The calling thread is inside one.
    pub fn is_here(&self) -> bool {
        self.here() > 0
    }

    /// Waits until no other thread is inside one.
    pub fn await_end(&self) {
        let own = self.here();
        loop {
            let word = self.0.fetch_or(AWAITED, Ordering::Acquire) | AWAITED;
            if word & !AWAITED <= own {
                return;
            }
            futex::wait(&self.0, word, Deadline::NEVER);
        }
    }
}
