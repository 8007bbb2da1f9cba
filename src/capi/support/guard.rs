//! From a result to a status: the error's sentence is kept for `selv_last_error`, and a panic becomes `SELV_E_PANIC`.

use crate::core::error::{self, Result, Status};
use crate::core::panic::step;

/// The body of a function that calls no code of the host on this thread.
pub fn guard(body: impl FnOnce() -> Result<()>) -> Status {
    finish(step(body))
}

/// The end of a function that does call the host: it must not run below a catch (see `core::panic`).
pub fn finish(result: Result<()>) -> Status {
    match result {
        Ok(()) => error::OK,
        Err(e) => error::keep(e),
    }
}
