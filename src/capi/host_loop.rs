//! `selv_host_loop`: the way into an event loop of the host's.

use super::job::{selv_free_fn, selv_job_fn};
use super::status::selv_status;
use super::support::guard::{finish, guard};
use super::support::handles::{borrow, null, put, required, share, text};
use super::support::options::{self, Sized32, known_flags};
use crate::core::callback::{CallFn, FreeFn, JobFn, Opaque, Outcome};
use crate::core::error::{self, Error};
use crate::core::host::host_loop::{HostLoop, Wake};
use crate::core::host::{drain, entry};
use crate::core::panic::step;
use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

/// What a host loop is to run, or to drop instead. It may call any function; but a nested drain of the same loop runs nothing.
#[allow(non_camel_case_types)]
pub type selv_call_fn = Option<unsafe extern "C-unwind" fn(arg: *mut c_void)>;

/// Has the host call `selv_host_loop_drain` soon, on the loop's thread: posts to its event loop, writes to a pipe, sets a flag. Called
/// on any thread, the loop's own and one that is ending included, with no lock of the library held. Two calls can overlap, when one is
/// still on its way back. It must return, must not wait for the loop's thread, and must call no function of this loop.
#[allow(non_camel_case_types)]
pub type selv_wake_fn = Option<unsafe extern "C-unwind" fn(wake_arg: *mut c_void)>;

/// For `selv_host_loop_call_soon`: if the same `fn` with the same `arg` waits already, that one stands for both.
pub const SELV_CALL_IDEMPOTENT: u32 = 1;

/// Options of a host loop. Start from SELV_HOST_LOOP_OPTIONS_INIT; a zero is the default.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_host_loop_options {
    /// sizeof(selv_host_loop_options)
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// UTF-8; what the loop is called in messages. NULL: it has a number there.
    pub name: *const c_char,
    /// Called once each time that the queue begins to fill, and at the end of a drain that leaves something. NULL: the host polls
    /// `selv_host_loop_fd` instead.
    pub wake: selv_wake_fn,
    /// Given to `wake`.
    pub wake_arg: *mut c_void,
    /// Called with `wake_arg` once, by the close, when `wake` neither runs nor will. Not called if `selv_host_loop_new` fails, nor in a
    /// fork child. NULL: nothing is.
    pub wake_arg_free: selv_free_fn,
}

// SAFETY: begins with its size; integers, pointers and optional functions may be zero.
unsafe impl Sized32 for selv_host_loop_options {
    const NAME: &'static str = "selv_host_loop_options";
}

/// What has happened to a host loop so far, and how it stands. What was accepted has been run, has been dropped, or waits.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_host_loop_stats {
    /// sizeof(selv_host_loop_stats); set it before the call, as SELV_HOST_LOOP_STATS_INIT does.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Queued now.
    pub waiting: u64,
    /// Calls, outcomes of jobs, completions of operations and turns of guests that were ever queued.
    pub accepted: u64,
    /// Of these, how many a drain has begun to run.
    pub ran: u64,
    /// Idempotent calls that one stands for which waited already; these were not queued.
    pub merged: u64,
    /// Of those accepted, how many the close dropped, or were over before their turn: a call that timed out, an abandoned operation.
    pub dropped: u64,
    /// Times that the host was told that something waits.
    pub wakes: u64,
    /// Drains that were not refused.
    pub drains: u64,
    /// Guests that live now.
    pub guests: u64,
    /// 1 if it is closed.
    pub closed: u64,
}

// SAFETY: begins with its size, and consists of integers.
unsafe impl Sized32 for selv_host_loop_stats {
    const NAME: &'static str = "selv_host_loop_stats";
}

/// Makes a queue into an event loop of the host's, whose thread is the calling one until `selv_host_loop_bind` says otherwise. The host
/// runs what is queued with `selv_host_loop_drain`, on that thread, each time it has been told that something is: by `opts->wake`, or,
/// if that is NULL, by `selv_host_loop_fd`.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags, `wake_arg_free` without `wake`, `struct_size`, a name that is not UTF-8);
/// SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know); SELV_E_NOMEM (no file descriptor is left).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` may be NULL: all defaults, with a file
/// descriptor; `out` must not be.
///
/// # Safety
/// `opts` is NULL or points to as many bytes as its `struct_size` says; `wake` may be called on any thread; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_host_loop_new(
    opts: *const selv_host_loop_options,
    out: *mut *mut HostLoop,
) -> selv_status {
    guard(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, std::ptr::null_mut()) };
        // SAFETY: as this function's own contract.
        let o = unsafe { options::read_or_default(opts) }?;
        known_flags(o.flags, 0, "selv_host_loop_options.flags")?;
        // SAFETY: as this function's own contract.
        let name = unsafe { text(o.name, "selv_host_loop_options.name") }?;
        if o.wake.is_none() && o.wake_arg_free.is_some() {
            let why = "selv_host_loop_options.wake_arg_free is set, but wake is NULL";
            return Err(Error::new(error::INVAL, why));
        }
        let wake = o.wake.map(|wake| Wake {
            // SAFETY: as this function's own contract.
            call: unsafe { CallFn::new(wake) },
            arg: Opaque(o.wake_arg),
            // SAFETY: as above.
            free: o.wake_arg_free.map(|f| unsafe { FreeFn::new(f) }),
        });
        let made = HostLoop::new(name, wake)?;
        // SAFETY: `to` is writable.
        unsafe { put(to, share(made)) };
        Ok(())
    })
}

/// One more reference to the loop; gives `l` back.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives NULL.
///
/// # Safety
/// `l` is NULL or a host loop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_host_loop_retain(l: *mut HostLoop) -> *mut HostLoop {
    // SAFETY: as this function's own contract.
    if let Some(host) = unsafe { l.as_ref() } {
        host.retain();
        // SAFETY: a living handle.
        unsafe { Arc::increment_strong_count(l) };
    }
    l
}

/// Gives a reference back. With the last one gone a loop that is open is closed, as by `selv_host_loop_close`, but on the calling
/// thread, whichever that is. A living guest has a reference of its own.
///
/// Threads: any. Blocks: as `selv_host_loop_close`, if it was the last one. Reentrancy: from any callback but `wake`. Fork: in a child
/// it gives the descriptor back, and nothing is dropped or called. NULL: does nothing.
///
/// # Safety
/// `l` is NULL or a reference that has not been released.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_host_loop_release(l: *mut HostLoop) {
    if !l.is_null() {
        // SAFETY: a living handle, given back once.
        drain::release(unsafe { Arc::from_raw(l) });
    }
}

/// A file descriptor that is readable while something waits and no drain runs, for poll, epoll, a GSource, a uv_poll. The drain resets
/// it: the host only polls it, level-triggered or edge-triggered, and neither reads nor closes it. It stays open until the last handle
/// is released; after a close it is not readable. -1, which is no error: the loop has a `wake`.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: in a child it must not be polled. NULL: gives -1.
///
/// # Safety
/// `l` is NULL or a host loop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_host_loop_fd(l: *const HostLoop) -> c_int {
    // SAFETY: as this function's own contract.
    unsafe { l.as_ref() }.and_then(HostLoop::fd).unwrap_or(-1)
}

/// Makes the calling thread the loop's: from now on it, and no other, drains and closes. For a host whose event loop moves to another
/// thread, or whose thread has ended, even inside a drain: what that had not begun is for the next one. If that thread may have been
/// told that something waits, and not have come to it, `wake` is called again, here, and the descriptor becomes readable anew.
///
/// Returns SELV_OK; SELV_E_BUSY (a drain runs on another, living thread); SELV_E_REENTRANT (inside a drain of this loop);
/// SELV_E_CLOSED; SELV_E_FORKED (the loop belongs to the parent process); SELV_E_NULL.
///
/// Threads: any; the host sees to it that the thread before it does not drain any more. Blocks: no; `wake` runs here. Reentrancy: not
/// from what the loop runs. Fork: SELV_E_FORKED in a child. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a host loop.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_host_loop_bind(l: *mut HostLoop) -> selv_status {
    // SAFETY: as this function's own contract.
    finish(unsafe { borrow(l, "loop") }.and_then(|host| host.bind()))
}

/// Has the loop run `fn(arg)`, on its own thread, in a drain to come, in the order in which calls were accepted; what was written
/// before the call is seen by `fn`. If the loop is closed before, `drop(arg)` is called instead, on the closing thread. One of the two
/// happens, exactly once.
///
/// With SELV_CALL_IDEMPOTENT a call is not queued if one with the same `fn` and `arg` and this flag waits already: that one, in its
/// place, stands for both, and `drop` of the second is not called. A call that has begun to run waits no more.
///
/// Returns SELV_OK; SELV_E_CLOSED (neither will be called); SELV_E_NULL; SELV_E_INVAL (unknown flags); SELV_E_FORKED (the loop belongs
/// to the parent process).
///
/// Threads: any; not from a signal handler. Blocks: no; `wake` runs here. Reentrancy: from any callback but `wake`. Fork: SELV_E_FORKED
/// in a child. NULL: `l` and `fn` must not be NULL; `arg` and `drop` may be.
///
/// # Safety
/// `l` is NULL or a host loop; `fn` may run on the loop's thread, `drop` on whichever closes it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_host_loop_call_soon(
    l: *mut HostLoop,
    fn_: selv_call_fn,
    arg: *mut c_void,
    drop: selv_call_fn,
    flags: u32,
) -> selv_status {
    let checked = step(|| {
        // SAFETY: as this function's own contract.
        let host = unsafe { borrow(l, "loop") }?;
        let run = fn_.ok_or_else(|| null("fn"))?;
        known_flags(flags, SELV_CALL_IDEMPOTENT, "flags")?;
        Ok((host, run))
    });
    finish(checked.and_then(|(host, run)| {
        let once = flags & SELV_CALL_IDEMPOTENT != 0;
        // SAFETY: as this function's own contract.
        let run = unsafe { CallFn::new(run) };
        // SAFETY: as above.
        let drop_fn = drop.map(|f| unsafe { CallFn::new(f) });
        host.call_soon(run, Opaque(arg), drop_fn, once)
    }))
}

/// Has the loop run `fn(arg, &value)` on its own thread, and waits for its end. The timeout covers the wait for its *beginning*: if no
/// drain has begun it by then, it never runs; once begun, the call waits until it ends, however long.
///
/// `out` gets what `fn` returned and stored; when the call fails, it is zeroed.
///
/// Returns SELV_OK (it has run); SELV_E_TIMEDOUT (it will never run); SELV_E_CLOSED (the loop was closed before it began);
/// SELV_E_DEADLOCK (called on the own thread of an open loop: it would wait for itself); SELV_E_BROKEN (the loop's thread ended inside `fn`);
/// SELV_E_NULL; SELV_E_FORKED (the loop belongs to the parent process).
///
/// A loop whose thread has ended, or does not drain, begins nothing: the call then waits for its timeout, or for a thread that is bound
/// to the loop. This wait is in no wait graph: a ring through it, with a lock that the caller holds and the loop's thread waits for, or
/// a job that it waits for in `selv_job_wait` and that makes this call, is not refused. There, give a timeout.
///
/// Threads: any but the loop's own. Blocks: up to `timeout_ns` until `fn` begins, then until it has ended; `selv_task_interrupt` does
/// not end it. Reentrancy: from any callback that may block. Fork: SELV_E_FORKED in a child. NULL: `l` and `fn` must not be NULL; `arg`
/// and `out` may be.
///
/// # Safety
/// `l` is NULL or a host loop; `fn` may run on its thread; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_host_loop_call(
    l: *mut HostLoop,
    fn_: selv_job_fn,
    arg: *mut c_void,
    timeout_ns: u64,
    out: *mut Outcome,
) -> selv_status {
    let checked = step(|| {
        // SAFETY: `out` is NULL or writable.
        unsafe { put(out, Outcome::failed(error::OK, 0)) };
        // SAFETY: as this function's own contract.
        let host = unsafe { borrow(l, "loop") }?;
        let run = fn_.ok_or_else(|| null("fn"))?;
        // SAFETY: `fn` may run on the loop's thread.
        Ok((host, unsafe { JobFn::new(run) }))
    });
    finish(checked.and_then(|(host, run)| {
        let outcome = entry::call(&host, run, Opaque(arg), timeout_ns)?;
        // SAFETY: `out` is NULL or writable.
        unsafe { put(out, outcome) };
        Ok(())
    }))
}

/// Runs what is queued now, in order: at most `max_calls` of it; 0 is no bound. What these calls queue is for a later drain, so a call
/// that queues itself again does not keep the host's loop from its other work. If something is left at the end, the host is told again,
/// once.
///
/// It is never re-entered: called by something that it runs, for instance through a main loop nested there, it runs nothing. Meanwhile
/// the host is not told of anything, so such a nested loop is not kept busy, either.
///
/// `out_ran` gets how many have run; 0 on an error. A loop that is closed by what it runs gives SELV_OK, with what has run until then.
///
/// Returns SELV_OK, also if nothing waited; SELV_E_WRONG_THREAD (see `selv_host_loop_bind`); SELV_E_REENTRANT (inside a drain of this
/// loop, or its `wake`); SELV_E_CLOSED; SELV_E_NULL; SELV_E_FORKED (the loop belongs to the parent process).
///
/// Threads: the loop's own. Blocks: no, beyond what it runs. Reentrancy: from any callback; from what this very loop runs it is
/// SELV_E_REENTRANT. Fork: SELV_E_FORKED in a child. NULL: `l` must not be NULL; `out_ran` may be.
///
/// # Safety
/// `l` is NULL or a host loop; `out_ran` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_host_loop_drain(
    l: *mut HostLoop,
    max_calls: u32,
    out_ran: *mut u32,
) -> selv_status {
    let mut ran = 0;
    // SAFETY: as this function's own contract.
    let result =
        unsafe { borrow(l, "loop") }.and_then(|host| drain::drain(&host, max_calls, &mut ran));
    // SAFETY: `out_ran` is NULL or writable.
    unsafe { put(out_ran, ran) };
    finish(result)
}

/// Closes the loop: nothing is accepted any more. What waits is dropped, here, in order: `drop` of the calls; who waits in
/// `selv_host_loop_call` gets SELV_E_CLOSED; outcomes of jobs and completions of operations are told with SELV_E_CLOSED. What has begun
/// ends as always. When it returns, `wake` does not run and never will. The handles stay valid until they are released.
///
/// Returns SELV_OK, also if it was closed before; SELV_E_BUSY (a guest lives: see `selv_guest_stop`, `selv_guest_abandon`);
/// SELV_E_WRONG_THREAD (see `selv_host_loop_bind`); SELV_E_REENTRANT (inside `wake`); SELV_E_NULL; SELV_E_FORKED (the loop belongs to
/// the parent process).
///
/// Threads: the loop's own. Blocks: while another thread is inside `wake`. Reentrancy: from any callback but `wake`, also from what the
/// loop runs or drops. Fork: SELV_E_FORKED in a child. NULL: `l` must not be NULL.
///
/// # Safety
/// `l` is NULL or a host loop.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_host_loop_close(l: *mut HostLoop) -> selv_status {
    // SAFETY: as this function's own contract.
    finish(unsafe { borrow(l, "loop") }.and_then(|host| drain::close(&host)))
}

/// How a host loop stands. Set `out->struct_size` first.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`); SELV_E_FORKED (the loop belongs to the parent process).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: SELV_E_FORKED in a child. NULL: no argument may be NULL.
///
/// # Safety
/// `l` is NULL or a host loop; `out` is NULL or has as many bytes as its `struct_size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_host_loop_get_stats(
    l: *const HostLoop,
    out: *mut selv_host_loop_stats,
) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        let stats = unsafe { borrow(l, "loop") }?.stats()?;
        let stats = selv_host_loop_stats {
            struct_size: 0,
            reserved: 0,
            waiting: stats.waiting,
            accepted: stats.counts.accepted,
            ran: stats.counts.ran,
            merged: stats.counts.merged,
            dropped: stats.counts.dropped,
            wakes: stats.counts.wakes,
            drains: stats.counts.drains,
            guests: stats.guests,
            closed: u64::from(stats.closed),
        };
        // SAFETY: as this function's own contract.
        unsafe { options::write(out, &stats) }
    })
}
