//! Fields that live outside a cache's [`State`](super::cache::State) but belong to its lock.
//!
//! A reader shows the locked state, a writer shows it mutably: that is the proof that the lock is held.

use std::cell::UnsafeCell;

/// A value that is touched only while the lock of the one cache it belongs to is held.
pub struct Guarded<T>(UnsafeCell<T>);

// SAFETY: every access shows the state of the cache that the value belongs to, which only the holder of its lock has.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub const fn new(value: T) -> Self {
        Guarded(UnsafeCell::new(value))
    }

    /// `_held` is the locked state of this value's own cache.
    #[inline]
    pub fn get<'a, S>(&'a self, _held: &'a S) -> &'a T {
        // SAFETY: the lock is held, and writers need the state mutably.
        unsafe { &*self.0.get() }
    }

    #[inline]
    pub fn get_mut<'a, S>(&'a self, _held: &'a mut S) -> &'a mut T {
        // SAFETY: the lock is held by this thread, and the state stays borrowed as long as the value is.
        unsafe { &mut *self.0.get() }
    }
}
