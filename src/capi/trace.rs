//! Recording what the workers do.

use super::status::selv_status;
use super::support::guard::guard;
use super::support::handles::{null, text};
use crate::core::trace;
use std::ffi::c_char;

/// Starts to record what every worker of every cache does into a new file at `path`, as Chrome trace events, which
/// https://ui.perfetto.dev and chrome://tracing open: a lane per worker with its start, each hook call, each job by its name,
/// and its exit. Times are microseconds since this call. There is one trace in a process at a time.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`path` is not UTF-8); SELV_E_IO (the file cannot be made); SELV_E_BUSY (a trace
/// is being recorded).
///
/// Threads: any. Blocks: while it makes the file. Reentrancy: from any callback. Fork: a child records nothing, and may start a
/// trace of its own. NULL: `path` must not be NULL.
///
/// # Safety
/// `path` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_trace_start(path: *const c_char) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        let path = unsafe { text(path, "path") }?.ok_or_else(|| null("path"))?;
        trace::start(path)
    })
}

/// Stops recording and completes the file. A file that was never completed, because the process ended, still opens.
///
/// Returns SELV_OK; SELV_E_CLOSED (nothing is being recorded); SELV_E_IO (part of the trace could not be written).
///
/// Threads: any. Blocks: while it writes what is buffered. Reentrancy: from any callback. Fork: a child did not start it, and gets
/// SELV_E_CLOSED. NULL: no pointers.
#[unsafe(no_mangle)]
pub extern "C" fn selv_trace_stop() -> selv_status {
    guard(trace::stop)
}
