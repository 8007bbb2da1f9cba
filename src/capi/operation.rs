//! `selv_op`: waiting without a thread.

use super::status::selv_status;
use super::support::guard::finish;
use crate::core::callback::Completed;
use crate::core::host::host_loop::HostLoop;
use crate::core::panic::step;
use crate::core::sync::batch::Batch;
use crate::core::sync::operation::{self, OpId};
use std::ffi::c_void;

/// An asynchronous operation: a number, never used again; 0 is none. It may be cancelled at any time, also when it is long over.
///
/// A function that begins one (`_async`) answers SELV_OK (or SELV_OWNER_DIED) if it was satisfied at once: then there is no callback, and
/// `*out_op` is 0. SELV_PENDING: the callback will be called exactly once, not inside this call. An error: never; SELV_E_NOMEM among
/// them, when there are 16,777,152 operations already. `*out_op` is written before a callback can run; `out_op` may be NULL, and then the
/// operation can be neither cancelled nor abandoned.
///
/// An operation has no timeout: a host that wants one cancels it by a timer of its own. `selv_task_interrupt` does not end it.
/// `completion` is copied; what its `arg` points to must live until the callback has returned, or `selv_op_abandon` has answered SELV_OK.
/// SELV_TASK_CURRENT is looked up in the call that begins it; in the callback it stands for the task of the thread that this runs on,
/// mostly another one. A callback that releases what was granted names the task that it was granted to: ask `selv_task_current` before,
/// and keep the number in what `arg` points to.
#[allow(non_camel_case_types)]
pub type selv_op = u64;

/// Told how an operation ended. Runs on the thread that ended it (by a release, a set, a send, a cancel, a close, a task's exit), or, if
/// the completion has a loop, in a drain of that, with no lock of the library held, after the callbacks of what ended before; callbacks
/// never nest on a thread: what one of them completes is called when it has returned. Where no such call can run it, a worker of the
/// default cache does: on a thread that is just ending, and, without a loop, for `selv_channel_recv_async` and `selv_condition_wait_async`
/// when they are satisfied at once; if no thread can be started, this one does after all. It may call any function, and free the object
/// that it waited for; while it blocks, the callbacks behind it wait. When `c->status` is an error, `selv_last_error` tells why. Must
/// return.
#[allow(non_camel_case_types)]
pub type selv_complete_fn =
    Option<unsafe extern "C-unwind" fn(arg: *mut c_void, c: *const Completed)>;

/// Whom to tell of an operation's end.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_completion {
    /// Required.
    pub fn_: selv_complete_fn,
    /// Given to `fn`.
    pub arg: *mut c_void,
    /// Where: `fn` is called by a drain of this host loop, in the order of its queue, as if by `selv_host_loop_call_soon`. If the loop has
    /// been closed by then, `fn` is told SELV_E_CLOSED on the completing (or closing) thread, and what was granted has gone to the next
    /// (what was sent or received by a channel before may stay so): it can only clean up. The loop is not kept open. NULL: on the
    /// completing thread.
    pub loop_: *mut HostLoop,
}

/// Has an operation end with SELV_E_CANCELLED: its callback is called, once, on this thread, or in a drain of its loop. A condition's
/// waiter has its lock back first: if another task holds the lock, the callback comes when that lets go, on that thread; until then a
/// second cancel is SELV_E_TOO_LATE, and an abandon leaves the lock to the next.
///
/// Returns SELV_OK; SELV_E_TOO_LATE (it has been granted, or has ended otherwise: its callback has been or is being called);
/// SELV_E_INVAL (never an operation).
///
/// Threads: any. Blocks: no; callbacks run here. Reentrancy: from any callback. Fork: the parent's operations do not exist in a
/// child: SELV_E_TOO_LATE. NULL: no pointers.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn selv_op_cancel(op: selv_op) -> selv_status {
    let mut batch = Batch::new();
    let result = step(|| operation::cancel(OpId(op), &mut batch));
    batch.finish();
    finish(result)
}

/// Ends an operation without its callback: when this returns SELV_OK, the callback will never be called, and what was granted meanwhile has
/// gone to the next in line. That is so until the callback begins, also while it waits in the queue of its loop.
///
/// Returns SELV_OK; SELV_E_TOO_LATE (its callback has begun, or it was ended before); SELV_E_INVAL (never an operation).
///
/// Threads: any. Blocks: no; callbacks of others run here. Reentrancy: from any callback. Fork: as `selv_op_cancel`. NULL: no pointers.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn selv_op_abandon(op: selv_op) -> selv_status {
    let mut batch = Batch::new();
    let result = step(|| operation::abandon(OpId(op), &mut batch));
    batch.finish();
    finish(result)
}
