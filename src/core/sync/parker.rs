//! Where a blocked thread sleeps, and is told how its wait ended.
//!
//! A thread keeps a parker for its waits; a callback that blocks in the middle of one takes another. Parkers are reused and never freed: who answers wakes the
//! thread after letting go of the object's lock, when the thread may be gone already; a late wake is at worst a spurious one.
//!
//! Invariant: between `prepare` and DONE only the thread that removes the waiter from its queue, under the lock of the object,
//! writes the answer, once; the parked thread reads it after DONE.

use super::answer::Answer;
use crate::sys::clock::Deadline;
use crate::sys::futex;
use crate::sys::lock::{ForkReset, static_lock};
use crate::sys::sync::{AtomicU32, Ordering, UnsafeCell, thread_local};
use std::cell::Cell;

const WAITING: u32 = 0;
/// Look again: what is waited for may be had.
const ROUSED: u32 = 1;
const DONE: u32 = 2;
/// As WAITING, and the thread is in the kernel, or on its way there: it needs a wake.
const ASLEEP: u32 = 3;

pub struct Parker {
    word: AtomicU32,
    /// 1 if the wait may sleep: its deadline is still to come. Of the parker's own thread.
    sleeps: AtomicU32,
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
    pub fn prepare(sleeps: bool) -> &'static Parker {
        let parker = MINE.with(Cell::take).unwrap_or_else(|| {
            super::current::watch_end();
            let spare = POOL.lock().0.pop();
            spare.unwrap_or_else(|| {
                Box::leak(Box::new(Parker {
                    word: AtomicU32::new(WAITING),
                    sleeps: AtomicU32::new(0),
                    answer: UnsafeCell::new(None),
                }))
            })
        });
        // Relaxed: the object's lock, under which the waiter is queued, publishes it.
        parker.word.store(WAITING, Ordering::Relaxed);
        parker.sleeps.store(u32::from(sleeps), Ordering::Relaxed);
        parker
    }

    pub fn is_to_sleep(&self) -> bool {
        self.sleeps.load(Ordering::Relaxed) != 0
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

    /// By the thread that took the waiter off its queue. If this says true, a wake is to follow, with no lock held.
    pub fn answer(&self, answer: Answer) -> bool {
        self.answer.with_mut(|a| {
            // SAFETY: the invariant: one writer, before DONE.
            unsafe { *a = Some(answer) }
        });
        // Release pairs with the Acquire in `sleep`.
        let order = match cfg!(selv_mutant = "relaxed_answer") {
            true => Ordering::Relaxed,
            false => Ordering::Release,
        };
        self.word.swap(DONE, order) == ASLEEP
    }

    /// Under the lock of the object: has the thread look again. If this says true, a wake is to follow.
    pub fn rouse(&self) -> bool {
        self.word.swap(ROUSED, Ordering::Release) == ASLEEP
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
            match self.up(ASLEEP) {
                Up::TimedOut => {}
                up => return up,
            }
            if deadline.has_passed() || !futex::wait(&self.word, ASLEEP, deadline) {
                // An answer that came with the deadline goes before it; after this nobody needs to wake the thread.
                return self.up(WAITING);
            }
        }
    }

    /// What there is to tell the thread; TimedOut if there is nothing, and then it is noted how the thread waits.
    fn up(&self, how: u32) -> Up {
        // Acquire pairs with the Release in `answer` and `rouse`.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            word = match word {
                DONE => return Up::Done,
                ROUSED => return Up::Roused,
                _ => match self.word.compare_exchange(
                    word,
                    how,
                    Ordering::Relaxed,
                    Ordering::Acquire,
                ) {
                    Ok(_) => return Up::TimedOut,
                    Err(now) => now,
                },
            };
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
