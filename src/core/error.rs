//! Statuses of the C API, and the error that carries one with its sentence.

use std::cell::RefCell;
use std::fmt;

/// A number of `selv_status`: 0 is success, positive success with news, negative an error.
pub type Status = i32;

macro_rules! statuses {
    ($($name:ident = $number:literal, $c_name:literal, $text:literal;)*) => {
        $(pub const $name: Status = $number;)*

        /// The C name of a status; None if the number is not one of ours.
        pub fn c_name(status: Status) -> Option<&'static std::ffi::CStr> {
            match status {
                $($number => Some($c_name),)*
                _ => None,
            }
        }

        /// What a status means, in one sentence; None if the number is not one of ours.
        pub fn text(status: Status) -> Option<&'static std::ffi::CStr> {
            match status {
                $($number => Some($text),)*
                _ => None,
            }
        }
    };
}

statuses! {
    OK = 0, c"SELV_OK", c"The call did what it was asked to do.";
    PENDING = 1, c"SELV_PENDING", c"The operation was accepted and will complete later.";
    OWNER_DIED = 2, c"SELV_OWNER_DIED", c"The lock was acquired, but its last owner ended while holding it.";
    INVAL = -1, c"SELV_E_INVAL", c"An argument has a value that is not allowed.";
    NULL = -2, c"SELV_E_NULL", c"A pointer that must not be NULL is NULL.";
    NOMEM = -3, c"SELV_E_NOMEM", c"There is not enough memory.";
    SPAWN = -4, c"SELV_E_SPAWN", c"A thread could not be started.";
    TIMEDOUT = -5, c"SELV_E_TIMEDOUT", c"The time given for the call has passed.";
    WOULD_BLOCK = -6, c"SELV_E_WOULD_BLOCK", c"The call would have to wait, and was told not to.";
    CANCELLED = -7, c"SELV_E_CANCELLED", c"The operation was cancelled before it took effect.";
    BROKEN = -8, c"SELV_E_BROKEN", c"The task or thread that held this, or was to finish it, ended before it did.";
    DEADLOCK = -9, c"SELV_E_DEADLOCK", c"The call would wait for itself, directly or through others.";
    NOT_OWNER = -10, c"SELV_E_NOT_OWNER", c"The caller does not own what the call is about.";
    STALE = -11, c"SELV_E_STALE", c"The handle names something that has ended.";
    CLOSED = -12, c"SELV_E_CLOSED", c"The object has been closed or shut down.";
    BUSY = -13, c"SELV_E_BUSY", c"The object is in use.";
    OVERFLOW = -14, c"SELV_E_OVERFLOW", c"A count would exceed its limit.";
    DUPLICATE = -15, c"SELV_E_DUPLICATE", c"The same request is already held or pending.";
    HOOK_FAILED = -16, c"SELV_E_HOOK_FAILED", c"A hook that the job needs failed, so the job did not run.";
    PANIC = -17, c"SELV_E_PANIC", c"The library found a bug in itself; please report it.";
    REENTRANT = -18, c"SELV_E_REENTRANT", c"The call was made from inside itself.";
    WRONG_THREAD = -19, c"SELV_E_WRONG_THREAD", c"The call belongs on another thread.";
    FORKED = -20, c"SELV_E_FORKED", c"The object belongs to the parent process.";
    UNSUPPORTED = -21, c"SELV_E_UNSUPPORTED", c"The combination asked for is not supported.";
    NOT_RECOVERABLE = -22, c"SELV_E_NOT_RECOVERABLE", c"The state that the lock protected was given up for lost.";
    TOO_LATE = -23, c"SELV_E_TOO_LATE", c"What was to be prevented has already begun or happened.";
    IO = -24, c"SELV_E_IO", c"A file could not be opened or written.";
}

/// A failed call: the status for the return value, the sentence for `selv_last_error`.
#[derive(Debug, Clone)]
pub struct Error {
    pub status: Status,
    pub detail: String,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(status: Status, detail: impl Into<String>) -> Self {
        Error {
            status,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps `detail` as this thread's last error, and gives the status back.
pub fn keep(error: Error) -> Status {
    // A thread whose locals are gone has nobody left to ask.
    let _ = LAST.try_with(|last| *last.borrow_mut() = error.detail);
    error.status
}

/// Calls `f` with this thread's last error; empty if there was none.
pub fn with_last<R>(f: impl FnOnce(&str) -> R) -> R {
    let mut f = Some(f);
    LAST.try_with(|last| (f.take().expect("called once"))(&last.borrow()))
        .unwrap_or_else(|_| (f.take().expect("not called yet"))(""))
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn every_number_between_the_ends_has_a_name_and_a_sentence() {
        for status in IO..=OWNER_DIED {
            assert!(c_name(status).is_some(), "{status}");
            assert!(text(status).unwrap().to_str().unwrap().ends_with('.'));
        }
        assert!(c_name(IO - 1).is_none() && text(3).is_none());
    }

    #[test]
    fn the_last_error_is_the_threads_own() {
        assert_eq!(keep(Error::new(BUSY, "the door")), BUSY);
        with_last(|s| assert_eq!(s, "the door"));
        std::thread::spawn(|| with_last(|s| assert_eq!(s, "")))
            .join()
            .unwrap();
    }
}
