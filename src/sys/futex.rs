//! Wait on, and wake, a 32-bit word (Linux futex(2), private to the process).

use super::clock::Deadline;
use super::sync::AtomicU32;

/// Sleeps while `word` holds `expected`, until a wake or the deadline. False only if the deadline has passed;
/// true may be spurious, so callers look at the word again.
#[cfg(not(any(loom, shuttle)))]
pub fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> bool {
    let at = deadline.timespec();
    let at_ptr = at
        .as_ref()
        .map_or(std::ptr::null(), |t| t as *const libc::timespec);
    // SAFETY: the word outlives the call; FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time or null.
    let r = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
            expected,
            at_ptr,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    // SAFETY: errno is this thread's own.
    !(r == -1 && unsafe { *libc::__errno_location() } == libc::ETIMEDOUT)
}

/// Wakes at most `n` threads that sleep on `word`.
#[cfg(not(any(loom, shuttle)))]
pub fn wake(word: &AtomicU32, n: i32) {
    // SAFETY: FUTEX_WAKE only uses the address; a word that no one sleeps on is fine.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            n,
        )
    };
}

#[cfg(any(loom, shuttle))]
pub use super::sync::model_futex::{wait, wake};

/// For [`wake`]: every sleeper.
pub(crate) const ALL: i32 = i32::MAX;
