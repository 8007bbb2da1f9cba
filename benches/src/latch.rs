//! The one way in which every native peer is waited for: a countdown on which one thread sleeps in a futex, without spinning.
//! The thread that counts to zero pays for a wake only when the waiter sleeps already.

use std::sync::atomic::{AtomicU32, Ordering};

const OPEN: u32 = 0;
const DONE: u32 = 1;
const ASLEEP: u32 = 2;

/// Latches live in statics: a signal may still be inside its wake when the waiter goes on.
pub struct Latch {
    left: AtomicU32,
    word: AtomicU32,
}

impl Latch {
    pub const fn new() -> Self {
        Latch {
            left: AtomicU32::new(0),
            word: AtomicU32::new(DONE),
        }
    }

    /// Arms the latch for `count` signals. Nobody may be waiting.
    pub fn arm(&self, count: u32) {
        self.left.store(count, Ordering::Relaxed);
        self.word.store(OPEN, Ordering::Relaxed);
    }

    /// Counts one down. Release: what the job did is visible to the waiter, whose Acquire it pairs with.
    pub fn signal(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1
            && self.word.swap(DONE, Ordering::AcqRel) == ASLEEP
        {
            futex_wake(&self.word);
        }
    }

    pub fn is_done(&self) -> bool {
        self.word.load(Ordering::Acquire) == DONE
    }

    pub fn wait(&self) {
        loop {
            match self
                .word
                .compare_exchange(OPEN, ASLEEP, Ordering::Acquire, Ordering::Acquire)
            {
                Err(DONE) => return,
                _ => futex_wait(&self.word, ASLEEP),
            }
        }
    }
}

fn futex_wait(word: &AtomicU32, expected: u32) {
    // SAFETY: the address is that of a live atomic, and a null timeout means none.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            std::ptr::null::<libc::timespec>(),
        );
    }
}

fn futex_wake(word: &AtomicU32) {
    // SAFETY: the kernel only looks the address up among its waiters.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
        );
    }
}
