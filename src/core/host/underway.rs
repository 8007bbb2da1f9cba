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

thread_local! {
    // What the innermost call on this thread is counted by.
    static HERE: Cell<*const Underway> = const { Cell::new(std::ptr::null()) };
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
        let outer = HERE.with(|here| here.replace(self));
        call.call(arg.0);
        HERE.with(|here| here.set(outer));
        // Release pairs with the Acquire in `await_end`: the call is over.
        if self.0.fetch_sub(1, Ordering::Release) & AWAITED != 0 {
            futex::wake(&self.0, futex::ALL);
        }
    }

    /// The calling thread is inside one.
    pub fn is_here(&self) -> bool {
        HERE.with(Cell::get) == std::ptr::from_ref(self)
    }

    /// Waits until no other thread is inside one.
    pub fn await_end(&self) {
        let own = u32::from(self.is_here());
        loop {
            let word = self.0.fetch_or(AWAITED, Ordering::Acquire) | AWAITED;
            if word & !AWAITED <= own {
                return;
            }
            futex::wait(&self.0, word, Deadline::NEVER);
        }
    }
}
