//! `selv_semaphore`: permits that nobody owns.

use super::operation::{selv_completion, selv_op};
use super::status::selv_status;
use super::support::guard::guard;
use super::support::handles::{end, put, required, share, text};
use super::support::options::{self, Sized32, known_flags};
use super::support::tasks::{by_task, object, on, operation};
use super::task::selv_task;
use crate::core::sync::semaphore::Semaphore;
use std::ffi::c_char;

/// Options of `selv_semaphore_new`. Start from SELV_SEMAPHORE_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_semaphore_options {
    /// sizeof(selv_semaphore_options)
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// UTF-8; what the semaphore is called in messages and in the wait graph. NULL: it has a number there.
    pub name: *const c_char,
    /// Permits that are free at first.
    pub initial: u64,
    /// Permits that can be free at most, up to 2^62 - 1; 0: so many.
    pub max: u64,
}

// SAFETY: begins with its size; integers and pointers may be zero.
unsafe impl Sized32 for selv_semaphore_options {
    const NAME: &'static str = "selv_semaphore_options";
}

/// What has happened to a semaphore so far, and how it stands.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_semaphore_stats {
    /// sizeof(selv_semaphore_stats); set it before the call, as SELV_SEMAPHORE_STATS_INIT does.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Permits that are free now.
    pub permits: u64,
    /// Permits that can be free.
    pub max: u64,
    /// Threads and operations in line now.
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
unsafe impl Sized32 for selv_semaphore_stats {
    const NAME: &'static str = "selv_semaphore_stats";
}

/// Makes a semaphore.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags, `struct_size`, a name that is not UTF-8; `initial` above `max`, or
/// `max` above 2^62 - 1); SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` may be NULL: all defaults; `out`
/// must not be.
///
/// # Safety
/// `opts` is NULL or points to as many bytes as its `struct_size` says; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_semaphore_new(
    opts: *const selv_semaphore_options,
    out: *mut *mut Semaphore,
) -> selv_status {
    guard(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, std::ptr::null_mut()) };
        // SAFETY: as this function's own contract.
        let o = unsafe { options::read_or_default(opts) }?;
        known_flags(o.flags, 0, "selv_semaphore_options.flags")?;
        // SAFETY: as this function's own contract.
        let name = unsafe { text(o.name, "selv_semaphore_options.name") }?;
        let made = Semaphore::new(name, o.initial, o.max)?;
        // SAFETY: `to` is writable.
        unsafe { put(to, share(made)) };
        Ok(())
    })
}

/// Ends a semaphore that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before.
///
/// Returns SELV_OK; SELV_E_BUSY (somebody waits).
///
/// Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
/// their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
/// other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
///
/// # Safety
/// `s` is NULL or a semaphore.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_semaphore_free(s: *mut Semaphore) -> selv_status {
    // SAFETY: as this function's own contract.
    guard(|| unsafe { end(s, |object| object.retire()) })
}

/// Closes a semaphore: everybody in line gets SELV_E_CLOSED, and so does every later acquire. Permits can still be released.
///
/// Returns SELV_OK, also if it was closed before; SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, which begins with the permits that were free at the fork. NULL: `s` must not be NULL.
///
/// # Safety
/// `s` is NULL or a semaphore.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_semaphore_close(s: *mut Semaphore) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        on(s, "semaphore", |object| {
            object.close();
            Ok(())
        })
    }
}

/// How a semaphore stands. Set `out->struct_size` first.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, which begins with the permits that were free at
/// the fork. NULL: no argument may be NULL.
///
/// # Safety
/// `s` is NULL or a semaphore; `out` is NULL or has as many bytes as its `struct_size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_semaphore_get_stats(
    s: *const Semaphore,
    out: *mut selv_semaphore_stats,
) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        let object = unsafe { object(s, "semaphore") }?;
        let stats = object.stats();
        let stats = selv_semaphore_stats {
            struct_size: 0,
            reserved: 0,
            permits: stats.permits,
            max: stats.max,
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

/// Takes `n` permits if so many are free and nobody is in line.
///
/// Returns SELV_OK; SELV_E_WOULD_BLOCK; SELV_E_CLOSED; SELV_E_INVAL (`n` is 0 or above the semaphore's max); SELV_E_NULL.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, which begins with the permits that were free at
/// the fork. NULL: `s` must not be NULL.
///
/// # Safety
/// `s` is NULL or a semaphore.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_semaphore_try_acquire(
    s: *mut Semaphore,
    n: u64,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { on(s, "semaphore", |s| s.try_acquire(n)) }
}

/// Takes `n` permits, waiting in line for up to `timeout_ns` nanoseconds. Who is first in line is served first, also if it wants more
/// than those behind it. `task` is who waits; it does not own the permits.
///
/// Returns SELV_OK; SELV_E_TIMEDOUT; SELV_E_CANCELLED (`selv_task_interrupt`, or the task exited); SELV_E_CLOSED; SELV_E_INVAL (`n` is 0
/// or above the semaphore's max); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child, which begins with
/// the permits that were free at the fork. NULL: `s` must not be NULL.
///
/// # Safety
/// `s` is NULL or a semaphore.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_semaphore_acquire(
    s: *mut Semaphore,
    task: selv_task,
    n: u64,
    timeout_ns: u64,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        by_task(s, "semaphore", task, |s, task| {
            s.acquire(task, n, timeout_ns)
        })
    }
}

/// As `selv_semaphore_acquire`, with no thread. The callback gets SELV_OK (with the permits), SELV_E_CLOSED or SELV_E_CANCELLED.
///
/// Returns SELV_OK, SELV_PENDING and `*out_op`: see selv_op; SELV_E_CLOSED; SELV_E_INVAL (`n` is 0 or above the semaphore's max);
/// SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and
/// SELV_E_FORKED (`completion->loop`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, which begins with the permits that were free at
/// the fork. NULL: `s`, `completion` and `completion->fn` must not be NULL; `out_op` may be.
///
/// # Safety
/// `s` is NULL or a semaphore; `completion` is NULL or a completion; `out_op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_semaphore_acquire_async(
    s: *mut Semaphore,
    task: selv_task,
    n: u64,
    completion: *const selv_completion,
    out_op: *mut selv_op,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        operation(s, "semaphore", task, completion, out_op, |s, task, op| {
            s.acquire_async(task, n, op)
        })
    }
}

/// Gives `n` permits back, or makes them: whoever releases need not have acquired. They go to those in line first.
///
/// Returns SELV_OK; SELV_E_OVERFLOW (more than max would be free: nothing changes); SELV_E_INVAL (`n` is 0); SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, which begins with the permits that were free at the fork. NULL: `s` must not be NULL.
///
/// # Safety
/// `s` is NULL or a semaphore.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_semaphore_release(s: *mut Semaphore, n: u64) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { on(s, "semaphore", |s| s.release(n)) }
}
