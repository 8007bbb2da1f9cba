//! `selv_condition`: waiting for a change of what a lock protects.

use super::operation::{selv_completion, selv_op};
use super::status::selv_status;
use super::support::guard::guard;
use super::support::handles::{borrow, end, put, required, share, text};
use super::support::options::{self, Sized32, known_flags};
use super::support::tasks::{by_task, object, on, operation_for_later, resolve, status_of};
use super::task::selv_task;
use crate::core::sync::condition::Condition;
use crate::core::sync::lock::Lock;
use std::ffi::c_char;
use std::sync::Arc;

/// Options of `selv_condition_new`. Start from SELV_CONDITION_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_condition_options {
    /// sizeof(selv_condition_options)
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// UTF-8; what the condition is called in messages and in the wait graph. NULL: it has a number there.
    pub name: *const c_char,
    /// The lock that protects what is waited for. Required; it lives at least as long as the condition.
    pub lock: *mut Lock,
}

// SAFETY: begins with its size; integers and pointers may be zero.
unsafe impl Sized32 for selv_condition_options {
    const NAME: &'static str = "selv_condition_options";
}

/// What has happened to a condition so far, and how it stands.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_condition_stats {
    /// sizeof(selv_condition_stats); set it before the call, as SELV_CONDITION_STATS_INIT does.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Threads and operations that wait to be notified now.
    pub waiting: u64,
    /// Waits so far.
    pub waits: u64,
    /// Waiters that were notified.
    pub notified: u64,
    /// Waits that ended with SELV_E_TIMEDOUT.
    pub timeouts: u64,
    /// Waits that were cancelled or abandoned, or whose task exited.
    pub cancelled: u64,
}

// SAFETY: begins with its size, and consists of integers.
unsafe impl Sized32 for selv_condition_stats {
    const NAME: &'static str = "selv_condition_stats";
}

/// Makes a condition.
///
/// Returns SELV_OK; SELV_E_NULL (`opts`, `opts->lock`, `out`); SELV_E_INVAL (unknown flags, `struct_size`, a name that is not
/// UTF-8); SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` and `out` must not be NULL.
///
/// # Safety
/// `opts` is NULL or points to as many bytes as its `struct_size` says; its lock is NULL or a lock; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_condition_new(
    opts: *const selv_condition_options,
    out: *mut *mut Condition,
) -> selv_status {
    guard(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, std::ptr::null_mut()) };
        // SAFETY: as this function's own contract.
        let o = unsafe { options::read(opts) }?;
        known_flags(o.flags, 0, "selv_condition_options.flags")?;
        // SAFETY: as this function's own contract.
        let name = unsafe { text(o.name, "selv_condition_options.name") }?;
        // SAFETY: as this function's own contract.
        let lock = unsafe { borrow(o.lock, "selv_condition_options.lock") }?;
        let made = Condition::new(name, Arc::clone(&lock));
        // SAFETY: `to` is writable.
        unsafe { put(to, share(made)) };
        Ok(())
    })
}

/// Ends a condition that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before.
///
/// Returns SELV_OK; SELV_E_BUSY (somebody waits to be notified).
///
/// Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
/// their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
/// other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
///
/// # Safety
/// `c` is NULL or a condition.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_condition_free(c: *mut Condition) -> selv_status {
    // SAFETY: as this function's own contract.
    guard(|| unsafe { end(c, |object| object.retire()) })
}

/// Closes a condition: everybody who waits for it comes back with SELV_E_CLOSED, holding the lock, and nobody waits any more.
///
/// Returns SELV_OK, also if it was closed before; SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, where nobody of the parent waits. NULL: `c` must not be NULL.
///
/// # Safety
/// `c` is NULL or a condition.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_condition_close(c: *mut Condition) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        on(c, "condition", |object| {
            object.close();
            Ok(())
        })
    }
}

/// How a condition stands. Set `out->struct_size` first.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: no
/// argument may be NULL.
///
/// # Safety
/// `c` is NULL or a condition; `out` is NULL or has as many bytes as its `struct_size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_condition_get_stats(
    c: *const Condition,
    out: *mut selv_condition_stats,
) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        let object = unsafe { object(c, "condition") }?;
        let stats = object.stats();
        let stats = selv_condition_stats {
            struct_size: 0,
            reserved: 0,
            waiting: stats.0,
            waits: stats.1.waits,
            notified: stats.1.notified,
            timeouts: stats.1.timeouts,
            cancelled: stats.1.cancelled,
        };
        // SAFETY: as this function's own contract.
        unsafe { options::write(out, &stats) }
    })
}

/// Lets go of the lock, waits to be notified, and has the lock back when it returns. A SELV_LOCK_RECURSIVE lock is let go of wholly,
/// and held as often as before afterwards. As with every condition, look again at what is waited for: it can have changed back
/// meanwhile.
///
/// The timeout covers the wait to be notified. A timeout or a `selv_task_interrupt` also has the lock back first, however long that
/// takes. `out_holds_lock` (may be NULL) is written in every case: 1 if the task holds the lock when this returns, else 0.
///
/// Returns SELV_OK (notified, holding the lock); SELV_OWNER_DIED (the same, of a SELV_LOCK_ROBUST lock whose last owner exited while
/// holding it); SELV_E_TIMEDOUT, SELV_E_CANCELLED, SELV_E_CLOSED of the condition (holding the lock); SELV_E_BROKEN,
/// SELV_E_NOT_RECOVERABLE, SELV_E_CLOSED of the lock, SELV_E_CANCELLED because the task exited, SELV_E_DEADLOCK (having the lock back
/// would close a ring): not holding it. At once, holding it if it was held: SELV_E_NOT_OWNER (the task does not hold the lock);
/// SELV_E_CLOSED (the condition or its lock was closed); SELV_E_INVAL (the lock was acquired with SELV_OWNER_DIED, and is to be made
/// consistent first); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: up to `timeout_ns`, and for the lock. Reentrancy: from any callback that may block. Fork: works in a child,
/// where nobody of the parent waits. NULL: `c` must not be NULL; `out_holds_lock` may be.
///
/// # Safety
/// `c` is NULL or a condition; `out_holds_lock` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_condition_wait(
    c: *mut Condition,
    task: selv_task,
    timeout_ns: u64,
    out_holds_lock: *mut i32,
) -> selv_status {
    // SAFETY: `out_holds_lock` is NULL or writable.
    unsafe { put(out_holds_lock, 0) };
    // SAFETY: as this function's own contract.
    let condition = unsafe { borrow(c, "condition") };
    let (holds, result) = match condition.and_then(|c| Ok((c, resolve(task)?))) {
        Ok((condition, task)) => condition.wait(task, timeout_ns),
        Err(e) => (false, Err(e)),
    };
    // SAFETY: as above.
    unsafe { put(out_holds_lock, i32::from(holds)) };
    status_of(result)
}

/// As `selv_condition_wait`, with no thread: lets go of the lock now, and the callback tells how the wait ended, with `holds_lock`.
/// It always comes; if the wait is over at once, on a worker of the default cache.
///
/// Returns SELV_PENDING; else the lock is held as before: SELV_E_NOT_OWNER (the task does not hold the lock); SELV_E_CLOSED (the
/// condition or its lock was closed); SELV_E_INVAL (the lock was acquired with SELV_OWNER_DIED, and is to be made consistent first);
/// SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and
/// SELV_E_FORKED (`completion->loop`).
///
/// Threads: any. Blocks: no; callbacks of others, which get the lock, run here. Reentrancy: from any callback. Fork: works in a
/// child, where nobody of the parent waits. NULL: `c`, `completion` and `completion->fn` must not be NULL; `out_op` may be.
///
/// # Safety
/// `c` is NULL or a condition; `completion` is NULL or a completion; `out_op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_condition_wait_async(
    c: *mut Condition,
    task: selv_task,
    completion: *const selv_completion,
    out_op: *mut selv_op,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        operation_for_later(c, "condition", task, completion, out_op, |c, task, op| {
            c.wait_async(task, op)
        })
    }
}

/// Notifies up to `n` waiters, who waits longest first. They go in line for the lock, which the caller holds, and each wakes when it
/// has it.
///
/// Returns SELV_OK, also if nobody waits; SELV_E_NOT_OWNER (the task does not hold the lock); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE,
/// SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: `c` must
/// not be NULL.
///
/// # Safety
/// `c` is NULL or a condition.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_condition_notify(
    c: *mut Condition,
    task: selv_task,
    n: u64,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { by_task(c, "condition", task, |c, task| c.notify(task, n)) }
}

/// Notifies everybody who waits, as `selv_condition_notify`.
///
/// Returns SELV_OK; SELV_E_NOT_OWNER; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: `c` must
/// not be NULL.
///
/// # Safety
/// `c` is NULL or a condition.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_condition_notify_all(
    c: *mut Condition,
    task: selv_task,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { by_task(c, "condition", task, |c, task| c.notify(task, u64::MAX)) }
}
