//! `selv_task`: who owns locks and waits for them.

use super::status::selv_status;
use super::support::guard::{finish, guard};
use super::support::handles::{put, required, text};
use super::support::options::{self, Sized32};
use super::support::tasks;
use crate::core::name::Name;
use crate::core::panic::step;
use crate::core::sync::batch::Batch;
use crate::core::sync::report::{Item, Report};
use crate::core::sync::task::{self, Kind, TaskId};
use crate::core::sync::wait;
use crate::core::sync::{current, exit};
use std::ffi::{CString, c_char, c_void};

/// A task: whatever the host says owns things: a thread, a coroutine, a greenlet, a request. A number, never used again; 0 is none.
///
/// Every thread has a task of its own, and every job one that exits when the job ends; both are made when they are first asked for.
/// Others are made with `selv_task_new`. The host makes one task's calls one after the other, those in callbacks of its operations
/// included, and `selv_task_exit` last.
///
/// As an argument: SELV_TASK_CURRENT stands for `selv_task_current()`. 0, or a number that was never a task's, gives SELV_E_INVAL; a
/// task that has exited SELV_E_STALE; one of the parent process, in a fork child, SELV_E_FORKED; SELV_TASK_CURRENT SELV_E_NOMEM, if it is
/// yet to be made and there are 16,777,152 tasks. Tasks that were made or last entered
/// by the thread that forked live on in the child, as that thread does.
///
/// In messages and in the wait graph a task is called by its name, or else by its number in hexadecimal.
#[allow(non_camel_case_types)]
pub type selv_task = u64;

/// As a task argument: the calling thread's current task.
pub const SELV_TASK_CURRENT: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// Of a task's report: it held this lock, which is broken now.
pub const SELV_REPORT_LOCK_BROKEN: u32 = 1;
/// Of a task's report: it held this SELV_LOCK_ROBUST lock, whose next owner is told SELV_OWNER_DIED.
pub const SELV_REPORT_LOCK_HANDED_ON: u32 = 2;
/// Of a task's report: it waited for this, and the wait was cancelled.
pub const SELV_REPORT_WAIT_CANCELLED: u32 = 3;
/// Of a task's report: an operation was granted this, and its callback had not begun; the grant went to the next.
pub const SELV_REPORT_GRANT_PASSED_ON: u32 = 4;
/// Of a task's report: it had a token of this limiter, which was returned.
pub const SELV_REPORT_TOKEN_RETURNED: u32 = 5;
/// Of a task's report: it was a breaker of this parking lot, which is broken now.
pub const SELV_REPORT_LOT_BROKEN: u32 = 6;

/// Told one item of a task's report: `what` is one of SELV_REPORT_*, `name` the object's, "" if it has none, valid during the call. Must
/// not throw or longjmp.
#[allow(non_camel_case_types)]
pub type selv_report_fn =
    Option<unsafe extern "C-unwind" fn(arg: *mut c_void, what: u32, name: *const c_char)>;

/// What a task had in hand when it exited. Start from SELV_TASK_REPORT_INIT, and set `each` if the names matter.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_task_report {
    /// sizeof(selv_task_report)
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// In: called for each item, on the calling thread, when the exit is done and the callbacks of the operations that it completed
    /// have returned. NULL: only the counts are wanted.
    pub each: selv_report_fn,
    /// In: given to `each`.
    pub arg: *mut c_void,
    /// Locks that are broken now.
    pub locks_broken: u64,
    /// SELV_LOCK_ROBUST locks that the next owner gets with SELV_OWNER_DIED.
    pub locks_handed_on: u64,
    /// Waits and operations that were cancelled.
    pub waits_cancelled: u64,
    /// Grants to operations whose callback had not begun, which went to the next.
    pub grants_passed_on: u64,
    /// Tokens that went back to their limiters.
    pub tokens_returned: u64,
    /// Parking lots that are broken now.
    pub lots_broken: u64,
}

// SAFETY: begins with its size; integers, a pointer and an optional function may be zero.
unsafe impl Sized32 for selv_task_report {
    const NAME: &'static str = "selv_task_report";
}

/// Makes a task. `name` (UTF-8, its first 47 bytes are kept) is what messages and the wait graph call it; NULL: its number.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`name` is not UTF-8); SELV_E_NOMEM (there are 16,777,152 of them).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `name` may be NULL, `out` must not be.
///
/// # Safety
/// `name` is NULL or a string; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_task_new(name: *const c_char, out: *mut selv_task) -> selv_status {
    guard(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, 0) };
        // SAFETY: as this function's own contract.
        let name = unsafe { text(name, "name") }?;
        let task = task::begin(Kind::Host, name.map_or(Name::NONE, Name::new))?;
        // SAFETY: `to` is writable.
        unsafe { put(to, task.0) };
        Ok(())
    })
}

/// Calls a task `name` (UTF-8, its first 47 bytes are kept) in messages and in the wait graph from now on; NULL: its number. Also for a
/// thread's own task, which is called as the operating system calls the thread when the task is made, and for a job's, which is called as
/// the job or else as its worker.
///
/// Returns SELV_OK; SELV_E_INVAL (`name` is not UTF-8; `t` was never a task); SELV_E_STALE; SELV_E_FORKED.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child for the child's tasks. NULL: `name` may be NULL.
///
/// # Safety
/// `name` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_task_set_name(t: selv_task, name: *const c_char) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        let name = unsafe { text(name, "name") }?;
        task::set_name(tasks::resolve(t)?, name.map_or(Name::NONE, Name::new))
    })
}

/// Ends a task. In this order: what it waits for is cancelled; what an operation of it was granted, and its callback has not begun,
/// goes to the next; the locks that it holds are broken, or with SELV_LOCK_ROBUST handed on; its limiter tokens are returned, and the
/// parking lots that it is a breaker of break. With nothing in hand that costs some 50 nanoseconds; if it holds locks, a look at
/// every object of the process.
///
/// `out` may be NULL; else it gets the counts, and `out->each` is called for each item.
///
/// Returns SELV_OK; SELV_E_INVAL (0, never a task, a thread's or a job's own task: those exit with their thread or job;
/// `struct_size`; then the task lives on); SELV_E_STALE (it has exited before); SELV_E_FORKED.
///
/// Threads: any, but after all other calls of this task. Blocks: no; callbacks of operations that it completes run here. Reentrancy:
/// from any callback. Fork: works in a child for the child's tasks. NULL: `out` may be NULL.
///
/// # Safety
/// `out` is NULL or has as many bytes as its `struct_size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_task_exit(
    t: selv_task,
    out: *mut selv_task_report,
) -> selv_status {
    let mut batch = Batch::new();
    let done = step(|| {
        let mut report = selv_task_report {
            struct_size: 0,
            reserved: 0,
            each: None,
            arg: std::ptr::null_mut(),
            locks_broken: 0,
            locks_handed_on: 0,
            waits_cancelled: 0,
            grants_passed_on: 0,
            tokens_returned: 0,
            lots_broken: 0,
        };
        if !out.is_null() {
            // SAFETY: as this function's own contract.
            let wanted = unsafe { options::read(out) }?;
            (report.each, report.arg) = (wanted.each, wanted.arg);
        }
        let task = tasks::resolve(t)?;
        let found = exit::host_task(task, &mut batch);
        if let Ok(found) = &found {
            report.locks_broken = found.count(Item::LockBroken);
            report.locks_handed_on = found.count(Item::LockHandedOn);
            report.waits_cancelled = found.count(Item::WaitCancelled);
            report.grants_passed_on = found.count(Item::GrantPassedOn);
            report.tokens_returned = found.count(Item::TokenReturned);
            report.lots_broken = found.count(Item::LotBroken);
        }
        if !out.is_null() {
            // SAFETY: as this function's own contract.
            unsafe { options::write(out, &report) }?;
        }
        Ok((found?, report.each, report.arg))
    });
    batch.finish();
    match done {
        Ok((found, Some(each), arg)) => tell(found, each, arg),
        Ok(_) => {}
        Err(e) => return finish(Err(e)),
    }
    finish(Ok(()))
}

fn tell(
    found: Report,
    each: unsafe extern "C-unwind" fn(*mut c_void, u32, *const c_char),
    arg: *mut c_void,
) {
    for (item, name) in found.items {
        // A name was a C string when it came.
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: the host's own function and argument, as its type says.
        unsafe { each(arg, item as u32, name.as_ptr()) };
    }
}

/// The task that the calling thread acts for: the one that it entered last; else, inside a job (its `fn`, `before_job` and
/// `after_job`), the job's; else the thread's own, also in `deliver`, which comes after the exit of the job's task. When an entered
/// task has exited, it stays the answer, and is SELV_E_STALE, until the thread enters another one, or 0. 0 only in the very end of a
/// thread, or when there is no memory.
///
/// Threads: any; each has its own. Blocks: no. Reentrancy: from any callback. Fork: the forking thread keeps its own. NULL: no
/// pointers.
#[unsafe(no_mangle)]
pub extern "C" fn selv_task_current() -> selv_task {
    current::current().map_or(0, |task| task.0)
}

/// Has the task's blocking wait return SELV_E_CANCELLED: for Ctrl-C, or Java's Thread.interrupt. If it is not blocked, or its wait is
/// granted at this moment, its next call that has to wait returns so; calls that do not wait (tries, a timeout of 0, operations)
/// neither return so nor use the interruption up. Several before that are one. A condition's waiter has its lock back first.
///
/// Returns SELV_OK; SELV_E_INVAL; SELV_E_STALE; SELV_E_FORKED.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback, but not from a signal handler. Fork: works in a child for the child's
/// tasks. NULL: no pointers.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn selv_task_interrupt(t: selv_task) -> selv_status {
    let mut batch = Batch::new();
    let result = step(|| {
        let task = tasks::resolve(t)?;
        if let Some(wait) = task::check(task)?.interrupt(task) {
            wait::interrupted(&wait.object, task, wait.key, &mut batch);
        }
        Ok(())
    });
    batch.finish();
    finish(result)
}

/// Makes `t` the current task of the calling thread, as when a coroutine or greenlet is switched to; 0 goes back to the job's or
/// the thread's own. `out_previous` (may be NULL) gets what was entered before, 0 for nothing, to be entered again at the switch
/// back. The end of a job leaves whatever was entered in it.
///
/// Returns SELV_OK; SELV_E_INVAL; SELV_E_STALE; SELV_E_FORKED; then nothing has changed.
///
/// Threads: any; a task is to be current on one at a time. Blocks: no. Reentrancy: from any callback. Fork: the forking thread keeps it.
/// NULL: `out_previous` may be NULL.
///
/// # Safety
/// `out_previous` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_task_enter(
    t: selv_task,
    out_previous: *mut selv_task,
) -> selv_status {
    guard(|| {
        // SAFETY: `out_previous` is NULL or writable.
        unsafe { put(out_previous, 0) };
        let task = match t {
            0 => TaskId::NONE,
            t => tasks::resolve(t)?,
        };
        let previous = current::enter(task)?;
        // SAFETY: as above.
        unsafe { put(out_previous, previous.0) };
        Ok(())
    })
}

const _: () = assert!(SELV_TASK_CURRENT == tasks::CURRENT);
const _: () = {
    assert!(SELV_REPORT_LOCK_BROKEN == Item::LockBroken as u32);
    assert!(SELV_REPORT_LOCK_HANDED_ON == Item::LockHandedOn as u32);
    assert!(SELV_REPORT_WAIT_CANCELLED == Item::WaitCancelled as u32);
    assert!(SELV_REPORT_GRANT_PASSED_ON == Item::GrantPassedOn as u32);
    assert!(SELV_REPORT_TOKEN_RETURNED == Item::TokenReturned as u32);
    assert!(SELV_REPORT_LOT_BROKEN == Item::LotBroken as u32);
};
