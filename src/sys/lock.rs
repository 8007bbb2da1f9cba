//! A small lock that a fork child can take over.
//!
//! `std` and `parking_lot` mutexes that another thread holds at a fork stay held in the child for ever. Here the word
//! carries the fork generation: a word of an older generation is a free lock. If it was held at the fork, what it guarded may
//! have been caught half-changed, so that is not repaired but rebuilt by [`ForkReset::reset_in_child`], without dropping the
//! old value; if it was free, [`ForkReset::keep_in_child`] may keep what is still good.
//!
//! Invariant: `data` and `data_generation` are touched only by the thread that moved `word` from FREE (or from any
//! word of an older generation) to HELD, until it stores FREE.

/// What becomes of a lock's data in a fork child.
pub trait ForkReset {
    /// Makes `self` new. The old value must be forgotten, not dropped: it can be in any state.
    fn reset_in_child(&mut self);

    /// As [`reset_in_child`](Self::reset_in_child), when nobody was changing the data at the fork: the value is whole.
    fn keep_in_child(&mut self) {
        self.reset_in_child();
    }
}

#[cfg(not(any(loom, shuttle)))]
mod imp {
    use super::*;
    use crate::sys::clock::Deadline;
    use crate::sys::sync::{AtomicU32, Ordering};
    use crate::sys::{cpu, fork, futex};
    use std::cell::UnsafeCell;
    use std::ops::{Deref, DerefMut};

    const FREE: u32 = 0;
    const HELD: u32 = 1;
    const CONTENDED: u32 = 2;
    const SPINS: u32 = 60;

    pub struct ForkLock<T> {
        word: AtomicU32,
        data_generation: UnsafeCell<u32>,
        data: UnsafeCell<T>,
    }

    // SAFETY: the lock hands out one `&mut T` at a time, and T may move between threads.
    unsafe impl<T: Send> Sync for ForkLock<T> {}
    // SAFETY: as for any owner of a T.
    unsafe impl<T: Send> Send for ForkLock<T> {}

    pub struct Guard<'a, T>(&'a ForkLock<T>);

    impl<T: ForkReset> ForkLock<T> {
        pub const fn new(data: T) -> Self {
            // Generation 0 never occurs: a static lock's first use finds a foreign word, and takes it over.
            ForkLock {
                word: AtomicU32::new(FREE),
                data_generation: UnsafeCell::new(0),
                data: UnsafeCell::new(data),
            }
        }

        #[inline]
        pub fn lock(&self) -> Guard<'_, T> {
            let g = fork::generation();
            let mut whole = true;
            // Acquire pairs with the Release in `drop`: the data as its last holder left it.
            if self
                .word
                .compare_exchange(
                    g << 2 | FREE,
                    g << 2 | HELD,
                    Ordering::Acquire,
                    Ordering::Relaxed,
                )
                .is_err()
            {
                whole = self.lock_slow(g);
            }
            let guard = Guard(self);
            // SAFETY: we hold the lock.
            let data_generation = unsafe { &mut *self.data_generation.get() };
            if *data_generation != g {
                // SAFETY: we hold the lock.
                let data = unsafe { &mut *self.data.get() };
                match *data_generation {
                    0 => {}
                    _ if whole => data.keep_in_child(),
                    _ => data.reset_in_child(),
                }
                *data_generation = g;
            }
            guard
        }

        /// False if the lock was taken over from a thread of the parent process.
        #[cold]
        fn lock_slow(&self, g: u32) -> bool {
            let mut spins = if cpu::count() > 1 { SPINS } else { 0 };
            let mut taken = HELD;
            loop {
                let word = self.word.load(Ordering::Relaxed);
                if word >> 2 != g || word & 3 == FREE {
                    // Free, or held by a thread of the parent process, which does not exist here.
                    if self
                        .word
                        .compare_exchange_weak(
                            word,
                            g << 2 | taken,
                            Ordering::Acquire, // pairs with the Release in `drop`
                            Ordering::Relaxed,
                        )
                        .is_ok()
                    {
                        return word & 3 == FREE;
                    }
                    continue;
                }
                if spins > 0 {
                    spins -= 1;
                    std::hint::spin_loop();
                    continue;
                }
                // From here on we may be one of several sleepers, so we must take the lock as CONTENDED.
                taken = CONTENDED;
                if word & 3 == CONTENDED
                    || self
                        .word
                        .compare_exchange(
                            word,
                            g << 2 | CONTENDED,
                            Ordering::Relaxed,
                            Ordering::Relaxed,
                        )
                        .is_ok()
                {
                    futex::wait(&self.word, g << 2 | CONTENDED, Deadline::NEVER);
                }
            }
        }
    }

    impl<T> Drop for Guard<'_, T> {
        #[inline]
        fn drop(&mut self) {
            // Release publishes the data to the next holder's Acquire.
            let old = self
                .0
                .word
                .swap(fork::generation() << 2 | FREE, Ordering::Release);
            if old & 3 == CONTENDED {
                futex::wake(&self.0.word, 1);
            }
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;
        #[inline]
        fn deref(&self) -> &T {
            // SAFETY: the guard exists, so this thread holds the lock.
            unsafe { &*self.0.data.get() }
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: the guard exists, so this thread holds the lock, and it is borrowed mutably.
            unsafe { &mut *self.0.data.get() }
        }
    }
}

#[cfg(any(loom, shuttle))]
mod imp {
    use super::*;
    use crate::sys::sync::model::sync::{Mutex, MutexGuard};

    /// In the models there is no fork: a mutex of whoever runs them.
    pub struct ForkLock<T>(Mutex<T>);
    pub type Guard<'a, T> = MutexGuard<'a, T>;

    impl<T: ForkReset> ForkLock<T> {
        pub fn new(data: T) -> Self {
            ForkLock(Mutex::new(data))
        }
        pub fn lock(&self) -> Guard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}

pub use imp::{ForkLock, Guard};

/// A [`ForkLock`] that is a static. In the models each run has one of its own.
#[cfg(not(any(loom, shuttle)))]
macro_rules! static_lock {
    (static $name:ident: $data:ty = $value:expr) => {
        static $name: $crate::sys::lock::ForkLock<$data> = $crate::sys::lock::ForkLock::new($value);
    };
}
#[cfg(any(loom, shuttle))]
macro_rules! static_lock {
    (static $name:ident: $data:ty = $value:expr) => {
        $crate::sys::sync::model::lazy_static! {
            static ref $name: $crate::sys::lock::ForkLock<$data> = $crate::sys::lock::ForkLock::new($value);
        }
    };
}
pub(crate) use static_lock;

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Count(u64);
    impl ForkReset for Count {
        fn reset_in_child(&mut self) {
            self.0 = 0;
        }
    }

    #[test]
    fn excludes() {
        let lock = Arc::new(ForkLock::new(Count(0)));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let lock = Arc::clone(&lock);
                std::thread::spawn(move || {
                    for _ in 0..50_000 {
                        lock.lock().0 += 1;
                    }
                })
            })
            .collect();
        for t in threads {
            t.join().unwrap();
        }
        assert_eq!(lock.lock().0, 200_000);
    }

    #[test]
    fn a_child_takes_over_a_held_lock_with_new_data() {
        let lock = ForkLock::new(Count(7));
        let held = lock.lock();
        // SAFETY: the child only uses the lock, which is made for that, and _exit.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let code = lock.lock().0 as i32;
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(40 + code) };
        }
        let mut status = 0;
        // SAFETY: our own child.
        unsafe { libc::waitpid(pid, &mut status, 0) };
        assert_eq!(libc::WEXITSTATUS(status), 40);
        assert_eq!(held.0, 7);
    }
}
