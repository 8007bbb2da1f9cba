//! How one worker is handed one order: a futex word and a slot.
//!
//! ```text
//!        set_idle          park            give
//!  RUN ───────────▶ IDLE ───────▶ PARKED ───────▶ GIVEN ──▶ RUN (take)
//!                     └────────── give ──────────────▲
//! ```
//! Who may write the slot is decided elsewhere: the worker is listed as idle, under the cache's lock, after `set_idle`, and
//! only the thread that took it off that list calls `give`, once. The word publishes the slot: `give` swaps in GIVEN with
//! Release, `take` reads it with Acquire. The swap also tells `give` whether the worker sleeps, so a worker that is
//! still delivering, or spinning, costs no system call.

use crate::sys::clock::Deadline;
use crate::sys::futex;
use crate::sys::sync::{AtomicU32, Ordering, UnsafeCell};
use std::mem::MaybeUninit;

const RUN: u32 = 0;
const IDLE: u32 = 1;
const PARKED: u32 = 2;
const GIVEN: u32 = 3;

/// Release, but for a mutant of the models, which must be caught.
const PUBLISH: Ordering = if cfg!(selv_mutant = "relaxed_give") {
    Ordering::Relaxed
} else {
    Ordering::AcqRel
};

pub struct Handoff<T> {
    word: AtomicU32,
    slot: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the slot is written by one thread and then read by one other, in the order that `word` sets.
unsafe impl<T: Copy + Send> Sync for Handoff<T> {}

pub enum Woken<T> {
    Given(T),
    /// The deadline passed. Something may still be given: whether it will is decided by the idle list.
    TimedOut,
    /// Look at the deadline again.
    Nudged,
}

impl<T: Copy> Handoff<T> {
    pub fn new() -> Self {
        Handoff {
            word: AtomicU32::new(RUN),
            slot: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Worker, before it lists itself as idle.
    #[inline]
    pub fn set_idle(&self) {
        // Relaxed: the list's lock orders this before any `give`.
        self.word.store(IDLE, Ordering::Relaxed);
    }

    /// Worker, after it took itself off the list.
    #[inline]
    pub fn set_running(&self) {
        self.word.store(RUN, Ordering::Relaxed);
    }

    /// The thread that took the worker off the idle list, or that is about to start it: exactly once for each time.
    #[inline]
    pub fn give(&self, order: T) {
        self.slot.with_mut(|slot| {
            // SAFETY: whoever took the worker off the list is alone with its slot until the swap below.
            unsafe { (*slot).write(order) };
        });
        // Release pairs with the Acquire in `try_take`: the order is complete. Acquire is for the worker's own writes.
        if self.word.swap(GIVEN, PUBLISH) == PARKED {
            futex::wake(&self.word, 1);
        }
    }

    /// Worker: what was given, if it was.
    #[inline]
    pub fn try_take(&self) -> Option<T> {
        // Acquire pairs with the swap in `give`.
        if self.word.load(Ordering::Acquire) != GIVEN {
            return None;
        }
        // SAFETY: GIVEN says that the slot was written, and nobody writes it again before we list ourselves again.
        let order = self.slot.with(|slot| unsafe { (*slot).assume_init() });
        self.set_running();
        Some(order)
    }

    /// Worker: sleeps until something is given or the deadline passes.
    pub fn park(&self, deadline: Deadline) -> Woken<T> {
        if self
            .word
            .compare_exchange(IDLE, PARKED, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
            || self.word.load(Ordering::Relaxed) == PARKED
        {
            let in_time = futex::wait(&self.word, PARKED, deadline);
            if let Some(order) = self.try_take() {
                return Woken::Given(order);
            }
            return if in_time {
                Woken::Nudged
            } else {
                Woken::TimedOut
            };
        }
        match self.try_take() {
            Some(order) => Woken::Given(order),
            None => Woken::Nudged,
        }
    }

    /// Worker that found itself no longer on the list: something is on its way, however late.
    pub fn await_order(&self) -> T {
        loop {
            if let Some(order) = self.try_take() {
                return order;
            }
            if let Woken::Given(order) = self.park(Deadline::NEVER) {
                return order;
            }
        }
    }

    /// Any thread: makes a parked worker look at its deadline again. It stays on the list.
    pub fn nudge(&self) {
        if self
            .word
            .compare_exchange(PARKED, IDLE, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            futex::wake(&self.word, 1);
        }
    }
}
