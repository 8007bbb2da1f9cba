//! Calls of one of the host's functions that other threads may be inside of when there are to be none any more.
//!
//! Invariant: a call is counted under the lock of whatever it is made for, and whoever ends that says so under the same lock before it waits:
//! so it waits for all that began before, and none begins later.

use crate::core::callback::{CallFn, Opaque};
use crate::core::chain::Chain;
use crate::core::sync::current;
use crate::sys::clock::Deadline;
use crate::sys::futex;
use crate::sys::sync::{AtomicU32, Ordering, thread_local};

/// How many there are.
pub struct Underway(AtomicU32);

/// Somebody waits for the count to fall.
const AWAITED: u32 = 1 << 31;

thread_local! {
    // What the calls on this thread are counted by.
    static HERE: Chain<*const Underway> = const { Chain::new() };
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
        let link = HERE.with(|here| here.add(self));
        call.call(arg.0);
        // SAFETY: added above.
        unsafe { HERE.with(|here| here.take_out(link)) };
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
        let mut link = HERE.with(Chain::innermost);
        // SAFETY: the links are this thread's, and alive.
        while let Some(call) = unsafe { link.as_ref() } {
            count += u32::from(std::ptr::eq(call.what, self));
            link = call.outer;
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
    while let Some(call) = HERE.with(Chain::pop) {
        // SAFETY: what a call is counted by lives until it has been waited for.
        unsafe { &*call }.end();
    }
}
