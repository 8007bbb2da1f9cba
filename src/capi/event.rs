//! `selv_event`: something that happens, and is waited for.

use super::operation::{selv_completion, selv_op};
use super::status::selv_status;
use super::support::guard::guard;
use super::support::handles::{end, put, required, share, text};
use super::support::options::{self, Sized32, known_flags};
use super::support::tasks::{by_task, object, on, operation};
use super::task::selv_task;
use crate::core::sync::event::{self, Event};
use std::ffi::c_char;

/// Of an event: it can be cleared.
pub const SELV_EVENT_RESETTABLE: u32 = 1;
const _: () = assert!(SELV_EVENT_RESETTABLE == event::RESETTABLE);

/// Options of `selv_event_new`. Start from SELV_EVENT_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_event_options {
    /// sizeof(selv_event_options)
    pub struct_size: u32,
    /// SELV_EVENT_RESETTABLE, or 0.
    pub flags: u32,
    /// UTF-8; what the event is called in messages and in the wait graph. NULL: it has a number there.
    pub name: *const c_char,
}

// SAFETY: begins with its size; integers and pointers may be zero.
unsafe impl Sized32 for selv_event_options {
    const NAME: &'static str = "selv_event_options";
}

/// What has happened to an event so far, and how it stands.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_event_stats {
    /// sizeof(selv_event_stats); set it before the call, as SELV_EVENT_STATS_INIT does.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// 1 if it is set.
    pub is_set: u64,
    /// Threads and operations that wait now.
    pub waiting: u64,
    /// Waits so far.
    pub waits: u64,
    /// Waits that ended with SELV_E_TIMEDOUT.
    pub timeouts: u64,
    /// Waits that were cancelled or abandoned, or whose task exited.
    pub cancelled: u64,
    /// 1 if it is closed.
    pub closed: u64,
}

// SAFETY: begins with its size, and consists of integers.
unsafe impl Sized32 for selv_event_stats {
    const NAME: &'static str = "selv_event_stats";
}

/// Makes an event.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags, `struct_size`, a name that is not UTF-8); SELV_E_UNSUPPORTED (a newer
/// struct that uses what this version does not know).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` may be NULL: all defaults; `out`
/// must not be.
///
/// # Safety
/// `opts` is NULL or points to as many bytes as its `struct_size` says; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_event_new(
    opts: *const selv_event_options,
    out: *mut *mut Event,
) -> selv_status {
    guard(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, std::ptr::null_mut()) };
        // SAFETY: as this function's own contract.
        let o = unsafe { options::read_or_default(opts) }?;
        known_flags(o.flags, SELV_EVENT_RESETTABLE, "selv_event_options.flags")?;
        // SAFETY: as this function's own contract.
        let name = unsafe { text(o.name, "selv_event_options.name") }?;
        let made = Event::new(name, o.flags);
        // SAFETY: `to` is writable.
        unsafe { put(to, share(made)) };
        Ok(())
    })
}

/// Ends an event that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before.
///
/// Returns SELV_OK; SELV_E_BUSY (somebody waits).
///
/// Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
/// their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
/// other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
///
/// # Safety
/// `e` is NULL or an event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_event_free(e: *mut Event) -> selv_status {
    // SAFETY: as this function's own contract.
    guard(|| unsafe { end(e, |object| object.retire()) })
}

/// Closes an event: everybody who waits gets SELV_E_CLOSED, and it is neither set nor cleared any more. If it is set, later waits
/// still succeed.
///
/// Returns SELV_OK, also if it was closed before; SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, where nobody of the parent waits. NULL: `e` must not be NULL.
///
/// # Safety
/// `e` is NULL or an event.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_event_close(e: *mut Event) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        on(e, "event", |object| {
            object.close();
            Ok(())
        })
    }
}

/// How an event stands. Set `out->struct_size` first.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: no
/// argument may be NULL.
///
/// # Safety
/// `e` is NULL or an event; `out` is NULL or has as many bytes as its `struct_size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_event_get_stats(
    e: *const Event,
    out: *mut selv_event_stats,
) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        let object = unsafe { object(e, "event") }?;
        let stats = object.stats();
        let stats = selv_event_stats {
            struct_size: 0,
            reserved: 0,
            is_set: u64::from(stats.is_set),
            waiting: stats.waiting,
            waits: stats.counts.waits,
            timeouts: stats.counts.timeouts,
            cancelled: stats.counts.cancelled,
            closed: u64::from(stats.closed),
        };
        // SAFETY: as this function's own contract.
        unsafe { options::write(out, &stats) }
    })
}

/// Sets the event: everybody who waits goes, and later waits return at once.
///
/// Returns SELV_OK, also if it was set; SELV_E_CLOSED; SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, where nobody of the parent waits. NULL: `e` must not be NULL.
///
/// # Safety
/// `e` is NULL or an event.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_event_set(e: *mut Event) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { on(e, "event", |e| e.set()) }
}

/// Clears the event. Those who were waiting when it was set have gone all the same.
///
/// Returns SELV_OK; SELV_E_UNSUPPORTED (it is not SELV_EVENT_RESETTABLE); SELV_E_CLOSED; SELV_E_NULL.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: `e` must
/// not be NULL.
///
/// # Safety
/// `e` is NULL or an event.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_event_clear(e: *mut Event) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { on(e, "event", |e| e.clear()) }
}

/// 1 if the event is set, else 0. What was done before it was set is seen by who sees it set.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: gives 0.
///
/// # Safety
/// `e` is NULL or an event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_event_is_set(e: *const Event) -> i32 {
    // SAFETY: as this function's own contract.
    unsafe { e.as_ref() }.map_or(0, |e| i32::from(e.is_set()))
}

/// Waits until the event is set, for up to `timeout_ns` nanoseconds.
///
/// Returns SELV_OK; SELV_E_TIMEDOUT; SELV_E_CANCELLED (`selv_task_interrupt`, or the task exited); SELV_E_CLOSED; SELV_E_NULL;
/// SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child, where nobody of
/// the parent waits. NULL: `e` must not be NULL.
///
/// # Safety
/// `e` is NULL or an event.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_event_wait(
    e: *mut Event,
    task: selv_task,
    timeout_ns: u64,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { by_task(e, "event", task, |e, task| e.wait(task, timeout_ns)) }
}

/// As `selv_event_wait`, with no thread. The callback gets SELV_OK, SELV_E_CLOSED or SELV_E_CANCELLED.
///
/// Returns SELV_OK, SELV_PENDING and `*out_op`: see selv_op; SELV_E_CLOSED; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or
/// SELV_E_NOMEM (the task); SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and SELV_E_FORKED (`completion->loop`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: `e`,
/// `completion` and `completion->fn` must not be NULL; `out_op` may be.
///
/// # Safety
/// `e` is NULL or an event; `completion` is NULL or a completion; `out_op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_event_wait_async(
    e: *mut Event,
    task: selv_task,
    completion: *const selv_completion,
    out_op: *mut selv_op,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        operation(e, "event", task, completion, out_op, |e, task, op| {
            e.wait_async(task, op)
        })
    }
}
