//! Where a blocked thread sleeps, and is told how its wait ended.
//!
//! A thread keeps a parker for its waits; a callback that blocks in the middle of one takes another. Parkers are reused and never freed: who answers wakes the
//! thread after letting go of the object's lock, when the thread may be gone already; a late wake is at worst a spurious one.
//!
//! Invariant: between `prepare` and DONE only the thread that removes the waiter from its queue, under the lock of the object,
//! writes the answer, once; the parked thread reads it after DONE.

use super::wait::Answer;
use crate::sys::clock::Deadline;
use crate::sys::futex;
use crate::sys::lock::{ForkReset, static_lock};
use crate::sys::sync::{AtomicU32, Ordering, UnsafeCell, thread_local};
use std::cell::Cell;

const WAITING: u32 = 0;
/// Look again: what is waited for may be had.
const ROUSED: u32 = 1;
const DONE: u32 = 2;

pub struct Parker {
    word: AtomicU32,
    answer: UnsafeCell<Option<Answer>>,
}

// SAFETY: see the invariant above.
unsafe impl Sync for Parker {}

/// Why a parked thread is up.
#[derive(PartialEq, Eq)]
pub enum Up {
    Roused,
    Done,
    TimedOut,
}

struct Pool(Vec<&'static Parker>);

impl ForkReset for Pool {
    fn reset_in_child(&mut self) {
        std::mem::forget(std::mem::take(&mut self.0));
    }
    fn keep_in_child(&mut self) {}
}

static_lock!(static POOL: Pool = Pool(Vec::new()));

thread_local! {
    static MINE: Cell<Option<&'static Parker>> = const { Cell::new(None) };
}

impl Parker {
    /// A parker for one wait of the calling thread, to be given back with [`done`](Self::done).
    pub fn prepare() -> &'static Parker {
        let parker = MINE.with(Cell::take).unwrap_or_else(|| {
            super::current::watch_end();
            let spare = POOL.lock().0.pop();
            spare.unwrap_or_else(|| {
                Box::leak(Box::new(Parker {
                    word: AtomicU32::new(WAITING),
                    answer: UnsafeCell::new(None),
                }))
            })
        });
        // Relaxed: the object's lock, under which the waiter is queued, publishes it.
        parker.word.store(WAITING, Ordering::Relaxed);
        parker
    }

    /// The wait is over.
    pub fn done(&'static self) {
        if let Some(other) = MINE.with(|mine| mine.replace(Some(self))) {
            POOL.lock().0.push(other);
        }
    }

    /// The thread ends: another may have its parker.
    pub fn give_back() {
        if let Some(parker) = MINE.with(Cell::take) {
            POOL.lock().0.push(parker);
        }
    }

    /// By the thread that took the waiter off its queue. The wake follows, with no lock held.
    pub fn answer(&self, answer: Answer) {
        self.answer.with_mut(|a| {
            // SAFETY: the invariant: one writer, before DONE.
            unsafe { *a = Some(answer) }
        });
        // Release pairs with the Acquire in `sleep`.
        self.word.store(DONE, Ordering::Release);
    }

    /// Under the lock of the object: has the thread look again.
    pub fn rouse(&self) {
        self.word.store(ROUSED, Ordering::Release);
    }

    /// The parked thread, under the lock of the object, after it was roused in vain.
    pub fn lie_down_again(&self) {
        self.word.store(WAITING, Ordering::Relaxed);
    }

    pub fn wake(&self) {
        futex::wake(&self.word, 1);
    }

    pub fn sleep(&self, deadline: Deadline) -> Up {
        loop {
            // Acquire pairs with the Release in `answer`.
            match self.word.load(Ordering::Acquire) {
                DONE => return Up::Done,
                ROUSED => return Up::Roused,
                _ if deadline.has_passed() => return Up::TimedOut,
                _ => {}
            }
            if !futex::wait(&self.word, WAITING, deadline) {
                // An answer that came with the deadline goes before it.
                return match self.word.load(Ordering::Acquire) {
                    DONE => Up::Done,
                    ROUSED => Up::Roused,
                    _ => Up::TimedOut,
                };
            }
        }
    }

    /// After [`Up::Done`].
    pub fn take(&self) -> Answer {
        self.answer.with_mut(|a| {
            // SAFETY: DONE was seen, so nobody writes it any more.
            unsafe { (*a).take() }.expect("an answer came with DONE")
        })
    }
}
