//! How one worker is handed one order: a futex word and two slots.
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
//!
//! An order is written once, where it is going to be read: copying jobs from hand to hand cost a third of a hop. A worker
//! that delivers is still reading its last order, hence two slots, in turn.

use crate::sys::clock::Deadline;
use crate::sys::futex;
use crate::sys::sync::{AtomicU32, Ordering, UnsafeCell};
use std::mem::MaybeUninit;

const RUN: u32 = 0;
const IDLE: u32 = 1;
const PARKED: u32 = 2;
const GIVEN: u32 = 3;

/// Release, but for a mutant: code that is wrong on purpose, which the models must catch.
const PUBLISH: Ordering = if cfg!(selv_mutant = "relaxed_give") {
    Ordering::Relaxed
} else {
    Ordering::AcqRel
};

pub struct Handoff<T> {
    word: AtomicU32,
    /// The slot that the next order is for. The worker changes it while it runs; others read it once they have taken the
    /// worker off the idle list, whose lock orders the two.
    turn: AtomicU32,
    slots: [UnsafeCell<MaybeUninit<T>>; 2],
}

// SAFETY: a slot is written by one thread and then read by one other, in the order that `word` sets.
unsafe impl<T: Copy + Send> Sync for Handoff<T> {}

pub enum Woken<'a, T> {
    Given(&'a T),
    /// The deadline passed. Something may still be given: whether it will is decided by the idle list.
    TimedOut,
    /// Look at the deadline again.
    Nudged,
}

impl<T: Copy> Handoff<T> {
    pub fn new() -> Self {
        Handoff {
            word: AtomicU32::new(RUN),
            turn: AtomicU32::new(0),
            slots: [
                UnsafeCell::new(MaybeUninit::uninit()),
                UnsafeCell::new(MaybeUninit::uninit()),
            ],
        }
    }

    /// Worker, before it lists itself as idle: the next order goes to the slot that is not being read.
    #[inline]
    pub fn set_idle(&self) {
        // Relaxed, both: the list's lock orders them before any `give`.
        let other = u32::from(!cfg!(selv_mutant = "one_slot"));
        self.turn
            .store(self.turn.load(Ordering::Relaxed) ^ other, Ordering::Relaxed);
        self.word.store(IDLE, Ordering::Relaxed);
    }

    /// Worker, which took itself off the list without an order, before it lists itself again.
    pub fn set_idle_again(&self) {
        self.word.store(IDLE, Ordering::Relaxed);
    }

    /// Worker, after it took itself off the list.
    #[inline]
    pub fn set_running(&self) {
        self.word.store(RUN, Ordering::Relaxed);
    }

    #[inline]
    fn slot(&self) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[self.turn.load(Ordering::Relaxed) as usize & 1]
    }

    /// The thread that took the worker off the idle list, or that is about to start it: exactly once for each time.
    #[inline(always)]
    pub fn give(&self, order: impl FnOnce() -> T) {
        self.slot().with_mut(|slot| {
            // SAFETY: whoever took the worker off the list is alone with this slot until the swap below.
            unsafe { (*slot).write(order()) };
        });
        // Release pairs with the Acquire in `try_take`: the order is complete. Acquire is for the worker's own writes.
        if self.word.swap(GIVEN, PUBLISH) == PARKED {
            futex::wake(&self.word, 1);
        }
    }

    /// Worker: what was given, if it was. It stays readable until the worker has been given the order after the next.
    #[inline]
    pub fn try_take(&self) -> Option<&T> {
        // Acquire pairs with the swap in `give`.
        if self.word.load(Ordering::Acquire) != GIVEN {
            return None;
        }
        self.set_running();
        Some(self.read())
    }

    #[inline]
    fn read(&self) -> &T {
        self.slot().with(|slot| {
            // SAFETY: the slot was written before GIVEN, or by this worker; it is written again only after two more turns.
            unsafe { (*slot).assume_init_ref() }
        })
    }

    /// Worker, while it is not listed: an order that it takes for itself, to be read with [`kept`](Self::kept).
    pub fn keep(&self, order: T) {
        self.turn
            .store(self.turn.load(Ordering::Relaxed) ^ 1, Ordering::Relaxed);
        self.slot().with_mut(|slot| {
            // SAFETY: the worker is not listed, so nobody else writes.
            unsafe { (*slot).write(order) };
        });
    }

    /// Worker: what it kept last.
    pub fn kept(&self) -> &T {
        self.read()
    }

    /// Worker: sleeps until something is given or the deadline passes.
    ///
    /// `deadline` is asked for once others can see that the worker is going to sleep. So whoever changes what it depends on, and
    /// then [nudges](Self::nudge), is either seen by it or sees that there is somebody to nudge: hence SeqCst, here and there.
    pub fn park(&self, deadline: impl FnOnce() -> Deadline) -> Woken<'_, T> {
        if self
            .word
            .compare_exchange(IDLE, PARKED, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
            || self.word.load(Ordering::Relaxed) == PARKED
        {
            let in_time = futex::wait(&self.word, PARKED, deadline());
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
    pub fn await_order(&self) -> &T {
        loop {
            if let Some(order) = self.try_take() {
                return order;
            }
            if let Woken::Given(order) = self.park(|| Deadline::NEVER) {
                return order;
            }
        }
    }

    /// Any thread: makes a parked worker look at its deadline again. It stays on the list.
    pub fn nudge(&self) {
        if self
            .word
            .compare_exchange(PARKED, IDLE, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
        {
            futex::wake(&self.word, 1);
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn an_order_reaches_a_sleeping_worker_and_the_last_one_stays_readable() {
        let handoff = Arc::new(Handoff::<u64>::new());
        handoff.give(|| 1);
        let first = handoff.try_take().unwrap();
        handoff.set_idle();
        let giver = Arc::clone(&handoff);
        let thread = std::thread::spawn(move || giver.give(|| 2));
        let second = handoff.await_order();
        thread.join().unwrap();
        assert_eq!((*first, *second), (1, 2));
    }

    #[test]
    fn a_park_ends_at_its_deadline_and_a_nudge_ends_it_before() {
        let handoff = Arc::new(Handoff::<u64>::new());
        handoff.set_idle();
        // A signal may end one early.
        while !matches!(handoff.park(|| Deadline::after(1_000_000)), Woken::TimedOut) {}
        handoff.set_idle();
        let other = Arc::clone(&handoff);
        let thread = std::thread::spawn(move || {
            while other.word.load(Ordering::Relaxed) != PARKED {
                std::thread::yield_now();
            }
            other.nudge();
        });
        assert!(matches!(handoff.park(|| Deadline::NEVER), Woken::Nudged));
        while handoff.word.load(Ordering::Relaxed) == PARKED {
            assert!(matches!(handoff.park(|| Deadline::NEVER), Woken::Nudged));
        }
        thread.join().unwrap();
    }

    #[test]
    fn an_order_kept_for_oneself_does_not_touch_the_one_in_hand() {
        let handoff = Handoff::<u64>::new();
        handoff.give(|| 1);
        let in_hand = handoff.try_take().unwrap();
        handoff.keep(2);
        assert_eq!((*in_hand, *handoff.kept()), (1, 2));
    }
}
