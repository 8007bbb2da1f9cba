//! Calls of one of the host's functions that other threads may be inside of when there are to be none any more.
//!
//! Invariant: a call is counted under the lock of whatever it is made for, and whoever ends that says so under the same lock before it waits:
//! so it waits for all that began before, and none begins later.

use crate::core::callback::{CallFn, Opaque};
use crate::core::sync::current;
use crate::sys::clock::Deadline;
use crate::sys::futex;
use crate::sys::sync::{AtomicU32, Ordering, thread_local};
use std::cell::Cell;

/// How many there are.
pub struct Underway(AtomicU32);

/// Somebody waits for the count to fall.
const AWAITED: u32 = 1 << 31;

/// A call on this thread, inside another one or none. Not on the stack: it is found when the thread ends, too.
struct Here {
    of: *const Underway,
    outer: *mut Here,
}

thread_local! {
    // The innermost.
    static HERE: Cell<*mut Here> = const { Cell::new(std::ptr::null_mut()) };
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
        current::watch_end();
        let here = Box::into_raw(Box::new(Here {
            of: self,
            outer: HERE.with(Cell::get),
        }));
        HERE.with(|innermost| innermost.set(here));
        call.call(arg.0);
        // SAFETY: made above; the calls of a thread return in order.
        let here = unsafe { Box::from_raw(here) };
        HERE.with(|innermost| innermost.set(here.outer));
        self.end();
    }

    fn end(&self) {
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

/// The thread has ended, maybe inside such calls: they are over.
pub fn thread_ends() {
    let mut here = HERE.with(Cell::take);
    while !here.is_null() {
        // SAFETY: made by `call`, which the thread will not come back to.
        let call = unsafe { Box::from_raw(here) };
        // SAFETY: what a call is counted by lives until it has been waited for.
        unsafe { &*call.of }.end();
        here = call.outer;
    }
}
