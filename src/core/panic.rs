//! A bug of ours becomes a status, not an unwinding into the host.
//!
//! Only steps that call no host code run below `catch_unwind`: a runtime that ends a thread inside a callback unwinds
//! through our frames, and must not meet a catch there (it would abort the process).

use super::error::{self, Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs one step of the library's own.
///
/// # Errors
/// What the step returns, or PANIC if it panicked.
#[inline]
pub fn step<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    // A model reports what it finds by a panic.
    if cfg!(any(loom, shuttle)) {
        return f();
    }
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let what = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Err(Error::new(
            error::PANIC,
            format!("a bug in libselvedge was caught: {what}"),
        ))
    })
}
