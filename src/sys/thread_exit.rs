//! Finding out that a thread has ended without saying so: a pthread key whose destructor runs as the thread ends.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};

/// A key with a destructor; usable as a static.
pub struct ExitKey {
    /// 0, or the key plus one.
    key: AtomicU64,
    destructor: unsafe extern "C" fn(*mut c_void),
}

impl ExitKey {
    pub const fn new(destructor: unsafe extern "C" fn(*mut c_void)) -> Self {
        ExitKey {
            key: AtomicU64::new(0),
            destructor,
        }
    }

    /// None when the process has no key left (PTHREAD_KEYS_MAX): then ends of threads go unseen.
    fn key(&self) -> Option<libc::pthread_key_t> {
        // Acquire pairs with the Release below, though the key is all that travels.
        let known = self.key.load(Ordering::Acquire);
        if known != 0 {
            return Some((known - 1) as libc::pthread_key_t);
        }
        let mut new: libc::pthread_key_t = 0;
        // SAFETY: `new` is valid, and the library with the destructor in it is never unloaded.
        if unsafe { libc::pthread_key_create(&mut new, Some(self.destructor)) } != 0 {
            return None;
        }
        match self
            .key
            .compare_exchange(0, u64::from(new) + 1, Ordering::Release, Ordering::Acquire)
        {
            Ok(_) => Some(new),
            Err(other) => {
                // SAFETY: made above, and never given a value.
                unsafe { libc::pthread_key_delete(new) };
                Some((other - 1) as libc::pthread_key_t)
            }
        }
    }

    /// Has the destructor called with `value` when this thread ends; null calls it off.
    pub fn set(&self, value: *const c_void) {
        // The threads of the models are none of the system's.
        if cfg!(any(loom, shuttle)) {
            return;
        }
        if let Some(key) = self.key() {
            // SAFETY: a key of ours.
            unsafe { libc::pthread_setspecific(key, value) };
        }
    }
}
