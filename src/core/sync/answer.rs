//! How a wait ends: what the waiter is told, and why.

use crate::core::error::{self, Error, Result, Status};
use std::sync::Arc;

/// Bytes from the C library's allocator, since the host frees them.
pub struct Bytes {
    at: *mut u8,
    len: usize,
}

// SAFETY: owned memory.
unsafe impl Send for Bytes {}

impl Bytes {
    /// # Errors
    /// NOMEM.
    pub fn copy(data: &[u8]) -> Result<Bytes> {
        // SAFETY: any size may be asked for; 1 makes sure that no bytes have an address, too.
        let at = unsafe { libc::malloc(data.len().max(1)) }.cast::<u8>();
        if at.is_null() {
            return Err(Error::new(
                error::NOMEM,
                format!("there is no memory for an item of {} bytes", data.len()),
            ));
        }
        // SAFETY: as many bytes were just allocated.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), at, data.len()) };
        Ok(Bytes {
            at,
            len: data.len(),
        })
    }

    /// To the host, which frees them.
    pub fn into_raw(self) -> (*mut u8, usize) {
        let raw = (self.at, self.len);
        std::mem::forget(self);
        raw
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: allocated in `copy`, and not given away.
        unsafe { libc::free(self.at.cast()) };
    }
}

/// What a waiter was granted, for the case that it does not come to use it.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granted {
    /// The object knows: a lock.
    #[default]
    Plain,
    /// From a channel, by its number.
    Item(u64),
    Permits(u64),
    Token(super::limiter::Borrower),
    /// Let go from a lot: its line, and which lot that was.
    Lot(u32, u64),
    /// It was taken away again, since the task has exited.
    Revoked,
}

/// How a wait ended.
#[derive(Default)]
pub struct Answer {
    pub status: Status,
    /// Why, when it is an error or news, and the waiter cannot know by itself.
    pub why: Option<Arc<str>>,
    pub ticket: u64,
    pub holds_lock: bool,
    pub granted: Granted,
    pub data: Option<Bytes>,
}

impl Answer {
    pub fn granted() -> Answer {
        Answer::default()
    }

    /// Also for what is granted, but with news.
    pub fn refused(status: Status, why: impl Into<Arc<str>>) -> Answer {
        Answer {
            status,
            why: Some(why.into()),
            ..Answer::default()
        }
    }

    fn error(&self) -> Error {
        Error::new(self.status, self.why.as_deref().unwrap_or_default())
    }

    /// News is a success, whose sentence the calling thread keeps; it has it already, if there was no wait.
    pub fn into_result(self) -> Result<Answer> {
        match self.status {
            error::OK => Ok(self),
            error::OWNER_DIED => {
                if self.why.is_some() {
                    error::keep(self.error());
                }
                Ok(self)
            }
            _ => Err(self.error()),
        }
    }

    /// As the calling thread's last error, before a callback is told.
    pub fn keep_why(&self) {
        if self.status != error::OK {
            error::keep(self.error());
        }
    }
}

/// Why a waiter is taken off its line without having got what it waits for.
#[derive(Clone)]
pub enum Why {
    TimedOut,
    /// By `selv_op_cancel`.
    Cancelled,
    /// By `selv_task_interrupt`.
    Interrupted,
    TaskExited,
    /// It would close a ring. Whether an operation's own call answers, so that there is no callback.
    Deadlock(Arc<str>, bool),
    /// The operation was abandoned: there is no callback.
    Abandoned,
}

impl Why {
    pub(super) fn answer(&self, what: &str, lacking: impl FnOnce() -> String) -> Answer {
        match self {
            Why::TimedOut => Answer::refused(error::TIMEDOUT, lacking()),
            Why::Cancelled => Answer::refused(
                error::CANCELLED,
                format!("the wait for {what} was cancelled"),
            ),
            Why::Interrupted => Answer::refused(
                error::CANCELLED,
                format!("the wait for {what} was interrupted"),
            ),
            Why::TaskExited => Answer::refused(
                error::CANCELLED,
                format!("the task that waited for {what} exited"),
            ),
            Why::Deadlock(ring, _) => Answer::refused(error::DEADLOCK, Arc::clone(ring)),
            Why::Abandoned => Answer::refused(error::CANCELLED, ""),
        }
    }

    pub fn is_silent(&self) -> bool {
        matches!(self, Why::Deadlock(_, true) | Why::Abandoned)
    }
}
