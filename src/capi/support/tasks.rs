//! Calls that a task makes on an object, at once, blocking, or as an operation.
//!
//! They may call the host (callbacks of operations that they complete), so they do not run below a catch.

use super::guard::finish;
use super::handles::{borrow, null, put};
use crate::capi::operation::selv_completion;
use crate::core::callback::{CompleteFn, Opaque};
use crate::core::error::{self, Error, Result, Status};
use crate::core::host::host_loop::HostLoop;
use crate::core::sync::current;
use crate::core::sync::operation::{self, Completion, OpId};
use crate::core::sync::task::TaskId;
use crate::core::sync::wait::Submitted;
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// `SELV_TASK_CURRENT`.
pub(crate) const CURRENT: u64 = u64::MAX;

/// A task argument. Whether the task is alive is seen by who uses it.
///
/// # Errors
/// INVAL; NOMEM and STALE for the current one.
#[inline]
pub fn resolve(task: u64) -> Result<TaskId> {
    match task {
        CURRENT => current::current(),
        // The word of a lock has room for this much.
        1..=0x3fff_ffff_ffff_ffff => Ok(TaskId(task)),
        _ => Err(not_a_task(task)),
    }
}

#[cold]
fn not_a_task(task: u64) -> Error {
    let why = match task {
        0 => "the task is 0, which stands for none".to_owned(),
        _ => format!("{task:#x} was never the number of a task"),
    };
    Error::new(error::INVAL, why)
}

/// The object behind a handle, for the length of a call.
///
/// # Safety
/// `handle` is NULL or a handle.
pub unsafe fn object<'a, T>(handle: *const T, what: &str) -> Result<&'a T> {
    // SAFETY: promised by the caller.
    unsafe { handle.as_ref() }.ok_or_else(|| null(what))
}

/// What a successful call of the core gives for a status.
pub trait IntoStatus {
    fn into_status(self) -> Status;
}

impl IntoStatus for () {
    fn into_status(self) -> Status {
        error::OK
    }
}

impl IntoStatus for Status {
    fn into_status(self) -> Status {
        self
    }
}

pub fn status_of<S: IntoStatus>(result: Result<S>) -> Status {
    match result {
        Ok(ok) => ok.into_status(),
        Err(e) => finish(Err(e)),
    }
}

/// # Safety
/// `object` is NULL or a handle.
#[inline]
pub unsafe fn on<T, S: IntoStatus>(
    object: *const T,
    what: &str,
    f: impl FnOnce(&Arc<T>) -> Result<S>,
) -> Status {
    // SAFETY: promised by the caller.
    status_of(unsafe { borrow(object, what) }.and_then(|object| f(&object)))
}

/// # Safety
/// `object` is NULL or a handle.
#[inline]
pub unsafe fn by_task<T, S: IntoStatus>(
    object: *const T,
    what: &str,
    task: u64,
    f: impl FnOnce(&Arc<T>, TaskId) -> Result<S>,
) -> Status {
    // SAFETY: promised by the caller.
    unsafe { on(object, what, |object| f(object, resolve(task)?)) }
}

/// The loop on which something is to be told; None for NULL.
///
/// # Errors
/// CLOSED, FORKED.
///
/// # Safety
/// `handle` is NULL or a host loop.
pub unsafe fn open_loop(handle: *mut HostLoop, what: &str) -> Result<Option<Arc<HostLoop>>> {
    if handle.is_null() {
        return Ok(None);
    }
    // SAFETY: promised by the caller.
    let host = Arc::clone(&*unsafe { borrow(handle, what) }?);
    host.check_open()
        .map_err(|e| Error::new(e.status, format!("{what}: {}", e.detail)))?;
    Ok(Some(host))
}

/// The arguments of an operation, checked, and the operation begun: its number is in `*out_op`.
///
/// # Safety
/// As [`operation`].
unsafe fn begin<T>(
    object: *const T,
    what: &str,
    task: u64,
    completion: *const selv_completion,
    out_op: *mut u64,
) -> Result<(ManuallyDrop<Arc<T>>, TaskId, OpId)> {
    // SAFETY: `out_op` is NULL or writable.
    unsafe { put(out_op, 0) };
    // SAFETY: promised by the caller.
    let object = unsafe { borrow(object, what) }?;
    // SAFETY: promised by the caller.
    let completion = unsafe { completion.as_ref() }.ok_or_else(|| null("completion"))?;
    let call = completion.fn_.ok_or_else(|| null("completion->fn"))?;
    // SAFETY: promised by the caller.
    let on = unsafe { open_loop(completion.loop_, "completion->loop") }?;
    let task = resolve(task)?;
    let completion = Completion::Host {
        on,
        // SAFETY: the host promises that its callback may run on any thread.
        call: unsafe { CompleteFn::new(call) },
        arg: Opaque(completion.arg),
    };
    let op = operation::begin(task, completion)?;
    // Before a callback can use it.
    // SAFETY: `out_op` is NULL or writable.
    unsafe { put(out_op, op.0) };
    Ok((object, task, op))
}

/// # Safety
/// `object` is NULL or a handle, `completion` NULL or a completion whose function may run on any thread, `out_op` NULL or writable.
pub unsafe fn operation<T>(
    object: *const T,
    what: &str,
    task: u64,
    completion: *const selv_completion,
    out_op: *mut u64,
    f: impl FnOnce(&Arc<T>, TaskId, OpId) -> Result<Submitted>,
) -> Status {
    // SAFETY: promised by the caller.
    let begun = unsafe { begin(object, what, task, completion, out_op) };
    match begun.and_then(|(object, task, op)| f(&object, task, op)) {
        Ok(Submitted::Pending) => error::PENDING,
        Ok(Submitted::Now(answer)) => {
            // SAFETY: `out_op` is NULL or writable.
            unsafe { put(out_op, 0) };
            answer.status
        }
        Err(e) => {
            // SAFETY: as above.
            unsafe { put(out_op, 0) };
            finish(Err(e))
        }
    }
}

/// An operation that always answers PENDING.
///
/// # Safety
/// As [`operation`].
pub unsafe fn operation_for_later<T>(
    object: *const T,
    what: &str,
    task: u64,
    completion: *const selv_completion,
    out_op: *mut u64,
    f: impl FnOnce(&Arc<T>, TaskId, OpId) -> Result<()>,
) -> Status {
    // SAFETY: promised by the caller.
    unsafe {
        operation(
            object,
            what,
            task,
            completion,
            out_op,
            |object, task, op| f(object, task, op).map(|()| Submitted::Pending),
        )
    }
}
