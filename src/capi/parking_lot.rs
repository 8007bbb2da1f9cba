//! `selv_parking_lot`: waiters in order, to build other primitives of.

use super::operation::{selv_completion, selv_op};
use super::status::selv_status;
use super::support::guard::guard;
use super::support::handles::{borrow, end, put, required, share, text};
use super::support::options::{self, Sized32, known_flags};
use super::support::tasks::{by_task, object, on, operation};
use super::task::selv_task;
use crate::core::sync::parking_lot::ParkingLot;
use std::ffi::c_char;

/// Options of `selv_parking_lot_new`. Start from SELV_PARKING_LOT_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_parking_lot_options {
    /// sizeof(selv_parking_lot_options)
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// UTF-8; what the parking lot is called in messages and in the wait graph. NULL: it has a number there.
    pub name: *const c_char,
}

// SAFETY: begins with its size; integers and pointers may be zero.
unsafe impl Sized32 for selv_parking_lot_options {
    const NAME: &'static str = "selv_parking_lot_options";
}

/// What has happened to a parking lot so far, and how it stands.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_parking_lot_stats {
    /// sizeof(selv_parking_lot_stats); set it before the call, as SELV_PARKING_LOT_STATS_INIT does.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Threads and operations that are parked now.
    pub waiting: u64,
    /// Parks so far.
    pub waits: u64,
    /// Waiters that were unparked.
    pub unparked: u64,
    /// Parks that ended with SELV_E_TIMEDOUT.
    pub timeouts: u64,
    /// Parks that were cancelled or abandoned, or whose task exited.
    pub cancelled: u64,
    /// Tasks whose exit would break it.
    pub breakers: u64,
    /// 1 if it is broken.
    pub broken: u64,
    /// 1 if it is closed.
    pub closed: u64,
}

// SAFETY: begins with its size, and consists of integers.
unsafe impl Sized32 for selv_parking_lot_stats {
    const NAME: &'static str = "selv_parking_lot_stats";
}

/// Makes a parking lot.
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
pub unsafe extern "C" fn selv_parking_lot_new(
    opts: *const selv_parking_lot_options,
    out: *mut *mut ParkingLot,
) -> selv_status {
    guard(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, std::ptr::null_mut()) };
        // SAFETY: as this function's own contract.
        let o = unsafe { options::read_or_default(opts) }?;
        known_flags(o.flags, 0, "selv_parking_lot_options.flags")?;
        // SAFETY: as this function's own contract.
        let name = unsafe { text(o.name, "selv_parking_lot_options.name") }?;
        let made = ParkingLot::new(name);
        // SAFETY: `to` is writable.
        unsafe { put(to, share(made)) };
        Ok(())
    })
}

/// Ends a parking lot that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before.
///
/// Returns SELV_OK; SELV_E_BUSY (somebody is parked).
///
/// Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
/// their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
/// other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
///
/// # Safety
/// `p` is NULL or a parking lot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_parking_lot_free(p: *mut ParkingLot) -> selv_status {
    // SAFETY: as this function's own contract.
    guard(|| unsafe { end(p, |object| object.retire()) })
}

/// Closes a parking lot: everybody parked gets SELV_E_CLOSED, and nobody parks any more.
///
/// Returns SELV_OK, also if it was closed before; SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, where nobody of the parent waits. NULL: `p` must not be NULL.
///
/// # Safety
/// `p` is NULL or a parking lot.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_parking_lot_close(p: *mut ParkingLot) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        on(p, "parking lot", |object| {
            object.close();
            Ok(())
        })
    }
}

/// How a parking lot stands. Set `out->struct_size` first.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: no
/// argument may be NULL.
///
/// # Safety
/// `p` is NULL or a parking lot; `out` is NULL or has as many bytes as its `struct_size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_parking_lot_get_stats(
    p: *const ParkingLot,
    out: *mut selv_parking_lot_stats,
) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        let object = unsafe { object(p, "parking lot") }?;
        let stats = object.stats();
        let stats = selv_parking_lot_stats {
            struct_size: 0,
            reserved: 0,
            waiting: stats.waiting,
            waits: stats.counts.waits,
            unparked: stats.unparked,
            timeouts: stats.counts.timeouts,
            cancelled: stats.counts.cancelled,
            breakers: stats.breakers,
            broken: u64::from(stats.broken),
            closed: u64::from(stats.closed),
        };
        // SAFETY: as this function's own contract.
        unsafe { options::write(out, &stats) }
    })
}

/// Waits to be unparked, for up to `timeout_ns` nanoseconds. An unpark that comes between a look at something and this call is missed:
/// `selv_parking_lot_park_async` can be begun while the caller holds the lock of what it has looked at. A break and a close are for good,
/// and are missed by nobody. (The semantics of parking lots are Trio's.)
///
/// Returns SELV_OK; SELV_E_TIMEDOUT (always, with 0, if it is neither broken nor closed); SELV_E_CANCELLED (`selv_task_interrupt`, or the
/// task exited); SELV_E_BROKEN (it is broken: `selv_last_error` says by whom); SELV_E_CLOSED; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE,
/// SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child, where nobody of
/// the parent waits. NULL: `p` must not be NULL.
///
/// # Safety
/// `p` is NULL or a parking lot.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_parking_lot_park(
    p: *mut ParkingLot,
    task: selv_task,
    timeout_ns: u64,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { by_task(p, "parking lot", task, |p, task| p.park(task, timeout_ns)) }
}

/// As `selv_parking_lot_park`, with no thread. The callback gets SELV_OK, SELV_E_BROKEN, SELV_E_CLOSED or SELV_E_CANCELLED.
///
/// Returns SELV_PENDING and `*out_op`: see selv_op; SELV_E_BROKEN (it is broken: `selv_last_error` says by whom); SELV_E_CLOSED;
/// SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and
/// SELV_E_FORKED (`completion->loop`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: `p`,
/// `completion` and `completion->fn` must not be NULL; `out_op` may be.
///
/// # Safety
/// `p` is NULL or a parking lot; `completion` is NULL or a completion; `out_op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_parking_lot_park_async(
    p: *mut ParkingLot,
    task: selv_task,
    completion: *const selv_completion,
    out_op: *mut selv_op,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        operation(p, "parking lot", task, completion, out_op, |p, task, op| {
            p.park_async(task, op)
        })
    }
}

/// Lets up to `n` go, who is parked longest first. `out_count` (may be NULL) gets how many there were: 0 in a broken or closed lot,
/// where nobody is parked.
///
/// Returns SELV_OK; SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, where nobody of the parent waits. NULL: `p` must not be NULL; `out_count` may be.
///
/// # Safety
/// `p` is NULL or a parking lot; `out_count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_parking_lot_unpark(
    p: *mut ParkingLot,
    n: u64,
    out_count: *mut u64,
) -> selv_status {
    // SAFETY: `out_count` is NULL or writable.
    unsafe { put(out_count, 0) };
    // SAFETY: as this function's own contract.
    unsafe {
        on(p, "parking lot", |p| {
            put(out_count, p.unpark(n));
            Ok(())
        })
    }
}

/// Moves up to `n`, who is parked longest first, to the end of another lot, in the same order. If that one is broken or closed, they
/// are told so. `out_count` (may be NULL) gets how many there were. Moving to the same lot is SELV_E_INVAL.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, where nobody of the parent waits. NULL: `p` and `to` must not be NULL; `out_count` may be.
///
/// # Safety
/// `p` and `to` are NULL or parking lots; `out_count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_parking_lot_repark(
    p: *mut ParkingLot,
    to: *mut ParkingLot,
    n: u64,
    out_count: *mut u64,
) -> selv_status {
    // SAFETY: `out_count` is NULL or writable.
    unsafe { put(out_count, 0) };
    // SAFETY: as this function's own contract.
    unsafe {
        on(p, "parking lot", |p| {
            let to = borrow(to, "to")?;
            put(out_count, p.repark(&to, n)?);
            Ok(())
        })
    }
}

/// Breaks the lot: everybody parked gets SELV_E_BROKEN, and so does everybody who parks later. `by` is the task that messages name. A
/// broken lot stays so: make another one.
///
/// Returns SELV_OK, also if it was broken; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, where nobody of the parent waits. NULL: `p` must not be NULL.
///
/// # Safety
/// `p` is NULL or a parking lot.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_parking_lot_break(
    p: *mut ParkingLot,
    by: selv_task,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { by_task(p, "parking lot", by, |p, by| p.break_by(by)) }
}

/// Has the lot, which may be broken already, break if the task exits. For whoever is to unpark others, so that they do not wait for one
/// that has exited. To be taken back as often as it is done.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; breakers of the parent process are none there.
/// NULL: `p` must not be NULL.
///
/// # Safety
/// `p` is NULL or a parking lot.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_parking_lot_add_breaker(
    p: *mut ParkingLot,
    task: selv_task,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { by_task(p, "parking lot", task, |p, task| p.add_breaker(task)) }
}

/// Takes one `selv_parking_lot_add_breaker` of the task back.
///
/// Returns SELV_OK; SELV_E_NOT_OWNER (the task is no breaker of this lot); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or
/// SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; breakers of the parent process are none there.
/// NULL: `p` must not be NULL.
///
/// # Safety
/// `p` is NULL or a parking lot.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_parking_lot_remove_breaker(
    p: *mut ParkingLot,
    task: selv_task,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { by_task(p, "parking lot", task, |p, task| p.remove_breaker(task)) }
}
