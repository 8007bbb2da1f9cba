//! `selv_lock`: owned by a task, and broken when its owner exits.

use super::operation::{selv_completion, selv_op};
use super::status::{SELV_OK, selv_status};
use super::support::guard::guard;
use super::support::handles::{end, put, required, share, text};
use super::support::options::{self, Sized32, known_flags};
use super::support::tasks::{by_task, object, on, operation};
use super::task::{SELV_TASK_CURRENT, selv_task};
use crate::core::sync::current;
use crate::core::sync::lock::{self, Lock};
use crate::core::sync::task::TaskId;
use std::ffi::c_char;

/// Of a lock: it is handed to those in line strictly in order. Slower under contention: each hand-over wakes a thread.
pub const SELV_LOCK_STRICT_FIFO: u32 = 1;
/// Of a lock: its owner may acquire it again, and releases it as often.
pub const SELV_LOCK_RECURSIVE: u32 = 2;
/// Of a lock: when its owner exits, the next one gets it with SELV_OWNER_DIED, as with POSIX's robust mutexes.
pub const SELV_LOCK_ROBUST: u32 = 4;
/// Of a lock: waits with a timeout count for deadlock, too.
pub const SELV_LOCK_TIMED_EDGES: u32 = 8;

const FLAGS: u32 =
    SELV_LOCK_STRICT_FIFO | SELV_LOCK_RECURSIVE | SELV_LOCK_ROBUST | SELV_LOCK_TIMED_EDGES;
const _: () = {
    assert!(SELV_LOCK_STRICT_FIFO == lock::STRICT_FIFO && SELV_LOCK_RECURSIVE == lock::RECURSIVE);
    assert!(SELV_LOCK_ROBUST == lock::ROBUST && SELV_LOCK_TIMED_EDGES == lock::TIMED_EDGES);
};

/// Options of `selv_lock_new`. Start from SELV_LOCK_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_lock_options {
    /// sizeof(selv_lock_options)
    pub struct_size: u32,
    /// SELV_LOCK_STRICT_FIFO, _RECURSIVE, _ROBUST, _TIMED_EDGES, or 0.
    pub flags: u32,
    /// UTF-8; what the lock is called in messages and in the wait graph. NULL: it has a number there.
    pub name: *const c_char,
}

// SAFETY: begins with its size; integers and pointers may be zero.
unsafe impl Sized32 for selv_lock_options {
    const NAME: &'static str = "selv_lock_options";
}

/// What has happened to a lock so far, and how it stands.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_lock_stats {
    /// sizeof(selv_lock_stats); set it before the call, as SELV_LOCK_STATS_INIT does.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// The selv_task that holds it, or 0.
    pub owner: u64,
    /// How often its owner has acquired it; 0: it is free.
    pub depth: u64,
    /// Threads and operations in line for it now.
    pub waiting: u64,
    /// How often anybody has had to wait, for it or for a condition of it.
    pub waits: u64,
    /// Times it was handed to the first in line, instead of left to the fastest.
    pub handed_over: u64,
    /// Waits for it that ended with SELV_E_TIMEDOUT.
    pub timeouts: u64,
    /// Waits for it that were cancelled or abandoned, or whose task exited.
    pub cancelled: u64,
    /// Waits that were refused with SELV_E_DEADLOCK.
    pub deadlocks: u64,
    /// Times that its owner exited while holding it.
    pub breaks: u64,
    /// 1 if it is broken, or not recoverable.
    pub broken: u64,
    /// 1 if it is closed.
    pub closed: u64,
}

// SAFETY: begins with its size, and consists of integers.
unsafe impl Sized32 for selv_lock_stats {
    const NAME: &'static str = "selv_lock_stats";
}

/// Makes a lock.
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
pub unsafe extern "C" fn selv_lock_new(
    opts: *const selv_lock_options,
    out: *mut *mut Lock,
) -> selv_status {
    guard(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, std::ptr::null_mut()) };
        // SAFETY: as this function's own contract.
        let o = unsafe { options::read_or_default(opts) }?;
        known_flags(o.flags, FLAGS, "selv_lock_options.flags")?;
        // SAFETY: as this function's own contract.
        let name = unsafe { text(o.name, "selv_lock_options.name") }?;
        let made = Lock::new(name, o.flags);
        // SAFETY: `to` is writable.
        unsafe { put(to, share(made)) };
        Ok(())
    })
}

/// Ends a lock that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before.
///
/// Returns SELV_OK; SELV_E_BUSY (it is held by a living task, somebody waits, or a condition uses it; a broken lock can be freed).
///
/// Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
/// their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
/// other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
///
/// # Safety
/// `l` is NULL or a lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_lock_free(l: *mut Lock) -> selv_status {
    // SAFETY: as this function's own contract.
    guard(|| unsafe { end(l, |object| object.retire()) })
}

/// Closes a lock: everybody in line for it or for a condition of it gets SELV_E_CLOSED, and so does every later acquire. Its owner
/// keeps it and may release it.
///
/// Returns SELV_OK, also if it was closed before; SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, where nobody of the parent waits. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a lock.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_lock_close(l: *mut Lock) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        on(l, "lock", |object| {
            object.close();
            Ok(())
        })
    }
}

/// How a lock stands. Set `out->struct_size` first.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, where nobody of the parent waits. NULL: no
/// argument may be NULL.
///
/// # Safety
/// `l` is NULL or a lock; `out` is NULL or has as many bytes as its `struct_size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_lock_get_stats(
    l: *const Lock,
    out: *mut selv_lock_stats,
) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        let object = unsafe { object(l, "lock") }?;
        let stats = object.stats();
        let stats = selv_lock_stats {
            struct_size: 0,
            reserved: 0,
            owner: stats.owner.0,
            depth: stats.depth,
            waiting: stats.waiting,
            waits: stats.counts.waits,
            handed_over: stats.handed_over,
            timeouts: stats.counts.timeouts,
            cancelled: stats.counts.cancelled,
            deadlocks: stats.counts.deadlocks,
            breaks: stats.breaks,
            broken: u64::from(stats.broken),
            closed: u64::from(stats.closed),
        };
        // SAFETY: as this function's own contract.
        unsafe { options::write(out, &stats) }
    })
}

/// Takes the lock if it can be had at once. On a SELV_LOCK_RECURSIVE lock that the task holds, it is held once more.
///
/// Returns SELV_OK; SELV_OWNER_DIED (a SELV_LOCK_ROBUST lock whose last owner exited while holding it: it is held now, see
/// `selv_lock_make_consistent`); SELV_E_WOULD_BLOCK (another task holds it); SELV_E_DEADLOCK (the task has it already, and it is not
/// SELV_LOCK_RECURSIVE); SELV_E_BROKEN (its owner exited while holding it: see `selv_lock_repair`; `selv_last_error` names both);
/// SELV_E_NOT_RECOVERABLE; SELV_E_CLOSED; SELV_E_FORKED (a thread of the parent process held it at the fork); SELV_E_OVERFLOW (it is held
/// 2^32 - 1 times); SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NULL.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; see SELV_E_FORKED. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a lock.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_lock_try_acquire(
    l: *mut Lock,
    task: selv_task,
) -> selv_status {
    // SAFETY: as this function's own contract.
    match unsafe { l.as_ref() } {
        Some(lock) if lock.acquire_at_once(TaskId(task)) => SELV_OK,
        // SAFETY: as above.
        _ => unsafe { try_acquire_slow(l, task) },
    }
}

/// Takes the lock, waiting for it for up to `timeout_ns` nanoseconds. A free lock is had with one atomic operation.
///
/// The lock belongs to `task`, not to the thread: another thread may release it for the same task. By default a lock that is released
/// goes to whoever is fastest, and about every half millisecond of contention to who waits longest; with SELV_LOCK_STRICT_FIFO always
/// to who waits longest. (The default is the eventual fairness of the parking_lot crate, and WebKit's locks before it.)
///
/// A wait without a timeout that would close a ring of tasks, each of which waits for a lock or an only limiter token that the next
/// one has, is refused, and the others go on: `selv_last_error` spells the ring. A ring that closes later, since a condition's waiter
/// comes to want its lock back, or a task has got one of two things that it waited for, is found then. Waits with a timeout are not
/// looked at, unless the lock is SELV_LOCK_TIMED_EDGES, and do not count in rings; nor does a task that waits for several things at
/// once.
///
/// On an error the task does not hold the lock, unless it did before. A closed lock is SELV_E_CLOSED even if it is broken.
///
/// Returns SELV_OK; SELV_OWNER_DIED (a SELV_LOCK_ROBUST lock whose last owner exited while holding it: it is held now, see
/// `selv_lock_make_consistent`); SELV_E_TIMEDOUT (also with 0, if another task holds it); SELV_E_DEADLOCK (the task has it already, and
/// it is not SELV_LOCK_RECURSIVE; or the wait would close a ring); SELV_E_CANCELLED (`selv_task_interrupt`, or the task exited);
/// SELV_E_BROKEN (its owner exited while holding it: see `selv_lock_repair`; `selv_last_error` names both); SELV_E_NOT_RECOVERABLE;
/// SELV_E_CLOSED; SELV_E_FORKED (a thread of the parent process held it at the fork); SELV_E_OVERFLOW (it is held 2^32 - 1 times);
/// SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NULL.
///
/// Threads: any. Blocks: up to `timeout_ns`; SELV_FOREVER for ever, 0 not at all. Reentrancy: from any callback that may block. Fork:
/// works in a child; see SELV_E_FORKED. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a lock.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_lock_acquire(
    l: *mut Lock,
    task: selv_task,
    timeout_ns: u64,
) -> selv_status {
    // SAFETY: as this function's own contract.
    match unsafe { l.as_ref() } {
        Some(lock) if lock.acquire_at_once(TaskId(task)) => SELV_OK,
        // SAFETY: as above.
        _ => unsafe { acquire_slow(l, task, timeout_ns) },
    }
}

/// Takes the lock for `task`, or stands in line for it with no thread. An operation that is first in line is always handed the lock.
/// Its callback gets SELV_OK or SELV_OWNER_DIED (the task holds the lock), or SELV_E_BROKEN, SELV_E_NOT_RECOVERABLE, SELV_E_CLOSED,
/// SELV_E_CANCELLED, or SELV_E_DEADLOCK (a ring closed while it was in line).
///
/// Returns SELV_OK, SELV_PENDING and `*out_op`: see selv_op; SELV_OWNER_DIED; and the errors of `selv_lock_acquire` but SELV_E_TIMEDOUT;
/// SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and SELV_E_FORKED (`completion->loop`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child; see SELV_E_FORKED. NULL: `l`, `completion` and
/// `completion->fn` must not be NULL; `out_op` may be.
///
/// # Safety
/// `l` is NULL or a lock; `completion` is NULL or a completion; `out_op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_lock_acquire_async(
    l: *mut Lock,
    task: selv_task,
    completion: *const selv_completion,
    out_op: *mut selv_op,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        operation(l, "lock", task, completion, out_op, |l, task, op| {
            l.acquire_async(task, op)
        })
    }
}

/// Gives the lock back. A SELV_LOCK_ROBUST lock that was acquired with SELV_OWNER_DIED and not made consistent is not recoverable
/// from then on.
///
/// Returns SELV_OK; SELV_E_NOT_OWNER (the task does not hold it: nothing changes); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED
/// or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: in a child, the
/// tasks that live on release what they hold. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a lock.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_lock_release(l: *mut Lock, task: selv_task) -> selv_status {
    // SAFETY: as this function's own contract.
    match unsafe { l.as_ref() } {
        Some(lock) if lock.release_at_once(TaskId(task)) => SELV_OK,
        // SAFETY: as above.
        _ => unsafe { release_slow(l, task) },
    }
}

/// The task that holds the lock; 0 if nobody does, or it is broken. It may have changed when this returns, unless it is the caller's own.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: in a child it may be a task of the parent process. NULL: gives 0.
///
/// # Safety
/// `l` is NULL or a lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_lock_owner(l: *const Lock) -> selv_task {
    // SAFETY: as this function's own contract.
    unsafe { l.as_ref() }.map_or(0, |l| l.owner().0)
}

/// Takes a broken lock for `task` and makes it whole: to be done by who has put right what the lock protects, or is going to. Of
/// several that try, one gets SELV_OK, and the others SELV_E_INVAL: they acquire it as usual then. In a fork child it also takes a
/// lock that a thread of the parent process held.
///
/// Returns SELV_OK (the task holds it); SELV_E_INVAL (it is not broken; a SELV_LOCK_ROBUST lock is acquired instead);
/// SELV_E_NOT_RECOVERABLE; SELV_E_CLOSED; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a lock.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_lock_repair(l: *mut Lock, task: selv_task) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { by_task(l, "lock", task, |l, task| l.repair(task)) }
}

/// Declares what a SELV_LOCK_ROBUST lock protects to be in order again, after it was acquired with SELV_OWNER_DIED. If it is released
/// without this, it is not recoverable: everybody gets SELV_E_NOT_RECOVERABLE for ever.
///
/// Returns SELV_OK; SELV_E_NOT_OWNER; SELV_E_INVAL (it was acquired in order); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or
/// SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a lock.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_lock_make_consistent(
    l: *mut Lock,
    task: selv_task,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { by_task(l, "lock", task, |l, task| l.make_consistent(task)) }
}

// The slow ways are functions of their own, so that the fast ones need no frame.

/// # Safety
/// As `selv_lock_try_acquire`.
#[cold]
#[inline(never)]
unsafe fn try_acquire_slow(l: *mut Lock, task: selv_task) -> selv_status {
    if task == SELV_TASK_CURRENT
        // SAFETY: promised by the caller.
        && let Some(lock) = unsafe { l.as_ref() }
        && lock.acquire_at_once(current::known())
    {
        return SELV_OK;
    }
    // SAFETY: promised by the caller.
    unsafe { by_task(l, "lock", task, |l, task| l.try_acquire(task)) }
}

/// # Safety
/// As `selv_lock_acquire`.
#[cold]
#[inline(never)]
unsafe fn acquire_slow(l: *mut Lock, task: selv_task, timeout_ns: u64) -> selv_status {
    if task == SELV_TASK_CURRENT
        // SAFETY: promised by the caller.
        && let Some(lock) = unsafe { l.as_ref() }
        && lock.acquire_at_once(current::known())
    {
        return SELV_OK;
    }
    // SAFETY: promised by the caller.
    unsafe { by_task(l, "lock", task, |l, task| l.acquire(task, timeout_ns)) }
}

/// # Safety
/// As `selv_lock_release`.
#[cold]
#[inline(never)]
unsafe fn release_slow(l: *mut Lock, task: selv_task) -> selv_status {
    if task == SELV_TASK_CURRENT
        // SAFETY: promised by the caller.
        && let Some(lock) = unsafe { l.as_ref() }
        && lock.release_at_once(current::known())
    {
        return SELV_OK;
    }
    // SAFETY: promised by the caller.
    unsafe { by_task(l, "lock", task, |l, task| l.release(task)) }
}
