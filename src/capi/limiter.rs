//! `selv_limiter`: so many tokens, one for each borrower.

use super::operation::{selv_completion, selv_op};
use super::status::selv_status;
use super::support::guard::guard;
use super::support::handles::{end, put, required, share, text};
use super::support::options::{self, Sized32, known_flags};
use super::support::tasks::{by_task, object, on, operation};
use super::task::selv_task;
use crate::core::sync::limiter::{Borrower, Limiter};
use std::ffi::c_char;

/// Options of `selv_limiter_new`. Start from SELV_LIMITER_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_limiter_options {
    /// sizeof(selv_limiter_options)
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// UTF-8; what the limiter is called in messages and in the wait graph. NULL: it has a number there.
    pub name: *const c_char,
    /// How many tokens there are. Required: at least 1.
    pub total: u64,
}

// SAFETY: begins with its size; integers and pointers may be zero.
unsafe impl Sized32 for selv_limiter_options {
    const NAME: &'static str = "selv_limiter_options";
}

/// What has happened to a limiter so far, and how it stands.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_limiter_stats {
    /// sizeof(selv_limiter_stats); set it before the call, as SELV_LIMITER_STATS_INIT does.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// How many tokens there are.
    pub total: u64,
    /// Tokens that are out; can be above `total` after that was lowered.
    pub borrowed: u64,
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
unsafe impl Sized32 for selv_limiter_stats {
    const NAME: &'static str = "selv_limiter_stats";
}

/// Makes a limiter.
///
/// Returns SELV_OK; SELV_E_NULL (`opts`, `out`); SELV_E_INVAL (unknown flags, `struct_size`, a name that is not UTF-8; `total` is 0);
/// SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` and `out` must not be NULL.
///
/// # Safety
/// `opts` is NULL or points to as many bytes as its `struct_size` says; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_limiter_new(
    opts: *const selv_limiter_options,
    out: *mut *mut Limiter,
) -> selv_status {
    guard(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, std::ptr::null_mut()) };
        // SAFETY: as this function's own contract.
        let o = unsafe { options::read(opts) }?;
        known_flags(o.flags, 0, "selv_limiter_options.flags")?;
        // SAFETY: as this function's own contract.
        let name = unsafe { text(o.name, "selv_limiter_options.name") }?;
        let made = Limiter::new(name, o.total)?;
        // SAFETY: `to` is writable.
        unsafe { put(to, share(made)) };
        Ok(())
    })
}

/// Ends a limiter that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before.
///
/// Returns SELV_OK; SELV_E_BUSY (a token is borrowed, or somebody waits).
///
/// Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
/// their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
/// other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
///
/// # Safety
/// `l` is NULL or a limiter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_limiter_free(l: *mut Limiter) -> selv_status {
    // SAFETY: as this function's own contract.
    guard(|| unsafe { end(l, |object| object.retire()) })
}

/// Closes a limiter: everybody in line gets SELV_E_CLOSED, and so does every later acquire. Tokens can still be returned.
///
/// Returns SELV_OK, also if it was closed before; SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child; tokens of tasks of the parent process are free there. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a limiter.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_limiter_close(l: *mut Limiter) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        on(l, "limiter", |object| {
            object.close();
            Ok(())
        })
    }
}

/// How a limiter stands. Set `out->struct_size` first.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; tokens of tasks of the parent process are free
/// there. NULL: no argument may be NULL.
///
/// # Safety
/// `l` is NULL or a limiter; `out` is NULL or has as many bytes as its `struct_size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_limiter_get_stats(
    l: *const Limiter,
    out: *mut selv_limiter_stats,
) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        let object = unsafe { object(l, "limiter") }?;
        let stats = object.stats();
        let stats = selv_limiter_stats {
            struct_size: 0,
            reserved: 0,
            total: stats.total,
            borrowed: stats.borrowed,
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

/// Takes a token for a task, if one is free and nobody is in line.
///
/// Returns SELV_OK; SELV_E_WOULD_BLOCK; SELV_E_DUPLICATE (the borrower has a token, or is in line for one); SELV_E_CLOSED; SELV_E_NULL;
/// SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; tokens of tasks of the parent process are free
/// there. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a limiter.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_limiter_try_acquire(
    l: *mut Limiter,
    borrower: selv_task,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        by_task(l, "limiter", borrower, |l, task| {
            l.try_acquire(Borrower::Task(task))
        })
    }
}

/// Takes a token for a task, waiting in line for up to `timeout_ns` nanoseconds. A token that comes free goes to who is first in line
/// at that moment. A task that exits returns its token.
///
/// Returns SELV_OK; SELV_E_TIMEDOUT; SELV_E_CANCELLED (`selv_task_interrupt`, or the task exited); SELV_E_DUPLICATE (the borrower has a
/// token, or is in line for one); SELV_E_DEADLOCK (of a limiter whose total is 1: see `selv_lock_acquire`); SELV_E_CLOSED; SELV_E_NULL;
/// SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child; tokens of tasks of
/// the parent process are free there. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a limiter.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_limiter_acquire(
    l: *mut Limiter,
    borrower: selv_task,
    timeout_ns: u64,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        by_task(l, "limiter", borrower, |l, task| {
            l.acquire(task, Borrower::Task(task), timeout_ns)
        })
    }
}

/// As `selv_limiter_acquire`, with no thread. The callback gets SELV_OK (with the token), SELV_E_CLOSED, SELV_E_CANCELLED, or
/// SELV_E_DEADLOCK (a ring closed while it was in line).
///
/// Returns SELV_OK, SELV_PENDING and `*out_op`: see selv_op; SELV_E_DUPLICATE (the borrower has a token, or is in line for one);
/// SELV_E_DEADLOCK; SELV_E_CLOSED; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NOMEM (see
/// selv_op); SELV_E_CLOSED and SELV_E_FORKED (`completion->loop`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; tokens of tasks of the parent process are free
/// there. NULL: `l`, `completion` and `completion->fn` must not be NULL; `out_op` may be.
///
/// # Safety
/// `l` is NULL or a limiter; `completion` is NULL or a completion; `out_op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_limiter_acquire_async(
    l: *mut Limiter,
    borrower: selv_task,
    completion: *const selv_completion,
    out_op: *mut selv_op,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        operation(l, "limiter", borrower, completion, out_op, |l, task, op| {
            l.acquire_async(task, Borrower::Task(task), op)
        })
    }
}

/// Returns a task's token. It goes to who is first in line.
///
/// Returns SELV_OK; SELV_E_NOT_OWNER (the task has no token); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the
/// task).
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child; tokens of tasks of the parent process are free there. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a limiter.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_limiter_release(
    l: *mut Limiter,
    borrower: selv_task,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        by_task(l, "limiter", borrower, |l, task| {
            l.release(Borrower::Task(task))
        })
    }
}

/// Changes how many tokens there are. More: those in line get them. Fewer than are borrowed: tokens come back without going out
/// again, until it fits. 0: nobody gets a token.
///
/// Returns SELV_OK; SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child; tokens of tasks of the parent process are free there. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a limiter.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_limiter_set_total(l: *mut Limiter, total: u64) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        on(l, "limiter", |l| {
            l.set_total(total);
            Ok(())
        })
    }
}

/// Takes a token for a borrower that is no task, if one is free and nobody is in line. Borrowers of this kind are any number that
/// means something to the host, apart from tasks; their tokens are returned by `selv_limiter_release_on_behalf_of` only.
///
/// Returns SELV_OK; SELV_E_WOULD_BLOCK; SELV_E_DUPLICATE (the borrower has a token, or is in line for one); SELV_E_CLOSED;
/// SELV_E_NULL.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; tokens of tasks of the parent process are free
/// there. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a limiter.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_limiter_try_acquire_on_behalf_of(
    l: *mut Limiter,
    borrower: u64,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { on(l, "limiter", |l| l.try_acquire(Borrower::Opaque(borrower))) }
}

/// As `selv_limiter_acquire`, for a borrower that is no task; `waiter` is the task that waits. Borrowers of this kind are any number
/// that means something to the host, apart from tasks; their tokens are returned by `selv_limiter_release_on_behalf_of` only.
///
/// Returns SELV_OK; SELV_E_TIMEDOUT; SELV_E_CANCELLED; SELV_E_DUPLICATE (the borrower has a token, or is in line for one);
/// SELV_E_DEADLOCK; SELV_E_CLOSED; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child; tokens of tasks of
/// the parent process are free there. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a limiter.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_limiter_acquire_on_behalf_of(
    l: *mut Limiter,
    waiter: selv_task,
    borrower: u64,
    timeout_ns: u64,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        by_task(l, "limiter", waiter, |l, task| {
            l.acquire(task, Borrower::Opaque(borrower), timeout_ns)
        })
    }
}

/// As `selv_limiter_acquire_async`, for a borrower that is no task; `waiter` is the task that waits. Borrowers of this kind are any
/// number that means something to the host, apart from tasks; their tokens are returned by `selv_limiter_release_on_behalf_of` only.
///
/// Returns SELV_OK, SELV_PENDING and `*out_op`: see selv_op; SELV_E_DUPLICATE (the borrower has a token, or is in line for one);
/// SELV_E_DEADLOCK; SELV_E_CLOSED; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NOMEM (see
/// selv_op); SELV_E_CLOSED and SELV_E_FORKED (`completion->loop`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; tokens of tasks of the parent process are free
/// there. NULL: `l`, `completion` and `completion->fn` must not be NULL; `out_op` may be.
///
/// # Safety
/// `l` is NULL or a limiter; `completion` is NULL or a completion; `out_op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_limiter_acquire_on_behalf_of_async(
    l: *mut Limiter,
    waiter: selv_task,
    borrower: u64,
    completion: *const selv_completion,
    out_op: *mut selv_op,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        operation(l, "limiter", waiter, completion, out_op, |l, task, op| {
            l.acquire_async(task, Borrower::Opaque(borrower), op)
        })
    }
}

/// Returns the token of a borrower that is no task.
///
/// Returns SELV_OK; SELV_E_NOT_OWNER (the borrower has no token); SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child; tokens of tasks of the parent process are free there. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a limiter.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_limiter_release_on_behalf_of(
    l: *mut Limiter,
    borrower: u64,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { on(l, "limiter", |l| l.release(Borrower::Opaque(borrower))) }
}
