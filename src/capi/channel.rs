//! `selv_channel`: items of bytes, in order.

use super::operation::{selv_completion, selv_op};
use super::status::selv_status;
use super::support::guard::guard;
use super::support::handles::{borrow, end, null, put, required, share, text};
use super::support::options::{self, Sized32, known_flags};
use super::support::tasks::{self, by_task, object, on, operation_for_later, resolve, status_of};
use super::task::selv_task;
use crate::core::error::{self, Error, Result};
use crate::core::sync::answer::Bytes;
use crate::core::sync::channel::{self, Channel};
use crate::core::sync::operation;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// Of a channel: it has no buffer, and a send waits for its receiver.
pub const SELV_CHANNEL_RENDEZVOUS: u32 = 1;
const _: () = assert!(SELV_CHANNEL_RENDEZVOUS == channel::RENDEZVOUS);

/// Options of `selv_channel_new`. Start from SELV_CHANNEL_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_channel_options {
    /// sizeof(selv_channel_options)
    pub struct_size: u32,
    /// SELV_CHANNEL_RENDEZVOUS, or 0.
    pub flags: u32,
    /// UTF-8; what the channel is called in messages and in the wait graph. NULL: it has a number there.
    pub name: *const c_char,
    /// How many items it holds before a send waits; 0: any number.
    pub capacity: u64,
}

// SAFETY: begins with its size; integers and pointers may be zero.
unsafe impl Sized32 for selv_channel_options {
    const NAME: &'static str = "selv_channel_options";
}

/// What has happened to a channel so far, and how it stands.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_channel_stats {
    /// sizeof(selv_channel_stats); set it before the call, as SELV_CHANNEL_STATS_INIT does.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Items that were sent and not received.
    pub queued: u64,
    /// How many it holds; 0: any number, or none (SELV_CHANNEL_RENDEZVOUS).
    pub capacity: u64,
    /// Threads and operations that wait to send now.
    pub senders_waiting: u64,
    /// Threads and operations that wait to receive now.
    pub receivers_waiting: u64,
    /// Items sent so far.
    pub sent: u64,
    /// Items received so far.
    pub received: u64,
    /// Waits that ended with SELV_E_TIMEDOUT.
    pub timeouts: u64,
    /// Waits that were cancelled or abandoned, or whose task exited.
    pub cancelled: u64,
    /// 1 if it is closed.
    pub closed: u64,
}

// SAFETY: begins with its size, and consists of integers.
unsafe impl Sized32 for selv_channel_stats {
    const NAME: &'static str = "selv_channel_stats";
}

/// Makes a channel.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags, `struct_size`, a name that is not UTF-8; a capacity with
/// SELV_CHANNEL_RENDEZVOUS); SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: `opts` may be NULL: all defaults; `out`
/// must not be.
///
/// # Safety
/// `opts` is NULL or points to as many bytes as its `struct_size` says; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_channel_new(
    opts: *const selv_channel_options,
    out: *mut *mut Channel,
) -> selv_status {
    guard(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, std::ptr::null_mut()) };
        // SAFETY: as this function's own contract.
        let o = unsafe { options::read_or_default(opts) }?;
        known_flags(
            o.flags,
            SELV_CHANNEL_RENDEZVOUS,
            "selv_channel_options.flags",
        )?;
        // SAFETY: as this function's own contract.
        let name = unsafe { text(o.name, "selv_channel_options.name") }?;
        let rendezvous = o.flags & SELV_CHANNEL_RENDEZVOUS != 0;
        if rendezvous && o.capacity != 0 {
            let why = format!(
                "selv_channel_options.capacity is {}, but SELV_CHANNEL_RENDEZVOUS has none",
                o.capacity
            );
            return Err(Error::new(error::INVAL, why));
        }
        let capacity = (rendezvous || o.capacity != 0).then_some(o.capacity);
        let made = Channel::new(name, capacity);
        // SAFETY: `to` is writable.
        unsafe { put(to, share(made)) };
        Ok(())
    })
}

/// Ends a channel that nobody uses any more. On SELV_OK the handle is gone; on an error it is as before. Items in it are freed.
///
/// Returns SELV_OK; SELV_E_BUSY (somebody waits to send or to receive).
///
/// Threads: any; no call of another thread may be using the handle, or use it later; but waits that a close has ended may still be on
/// their way back. Blocks: no. Reentrancy: from any callback, also of an operation on this very object. Fork: works in a child; what
/// other threads of the parent had in hand there does not make it busy. NULL: does nothing, and is SELV_OK.
///
/// # Safety
/// `ch` is NULL or a channel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_channel_free(ch: *mut Channel) -> selv_status {
    // SAFETY: as this function's own contract.
    guard(|| unsafe { end(ch, |object| object.retire()) })
}

/// Closes a channel: nothing is sent any more, and what is queued can still be received. Senders in line get SELV_E_CLOSED, their
/// items unsent, and so do receivers in line.
///
/// Returns SELV_OK, also if it was closed before; SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, which has its own copy of the queued items, unless another thread was just using the channel at the fork: then it is empty.
/// NULL: `ch` must not be NULL.
///
/// # Safety
/// `ch` is NULL or a channel.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_channel_close(ch: *mut Channel) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        on(ch, "channel", |object| {
            object.close();
            Ok(())
        })
    }
}

/// How a channel stands. Set `out->struct_size` first.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child, which has its own copy of the queued items,
/// unless another thread was just using the channel at the fork: then it is empty. NULL: no argument may be NULL.
///
/// # Safety
/// `ch` is NULL or a channel; `out` is NULL or has as many bytes as its `struct_size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_channel_get_stats(
    ch: *const Channel,
    out: *mut selv_channel_stats,
) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        let object = unsafe { object(ch, "channel") }?;
        let stats = object.stats();
        let stats = selv_channel_stats {
            struct_size: 0,
            reserved: 0,
            queued: stats.queued,
            capacity: stats.capacity.unwrap_or(0),
            senders_waiting: stats.senders,
            receivers_waiting: stats.receivers,
            sent: stats.sent,
            received: stats.received,
            timeouts: stats.counts.timeouts,
            cancelled: stats.counts.cancelled,
            closed: u64::from(stats.closed),
        };
        // SAFETY: as this function's own contract.
        unsafe { options::write(out, &stats) }
    })
}

/// Sends a copy of `len` bytes if there is room, or a receiver in line.
///
/// Returns SELV_OK; SELV_E_WOULD_BLOCK; SELV_E_CLOSED; SELV_E_INVAL (`len` is above PTRDIFF_MAX); SELV_E_NOMEM; SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, which has its own copy of the queued items, unless another thread was just using the channel at the fork: then it is empty.
/// NULL: `ch` must not be NULL; `data` may be NULL if `len` is 0.
///
/// # Safety
/// `ch` is NULL or a channel; `data` has `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_channel_send_nowait(
    ch: *mut Channel,
    data: *const c_void,
    len: usize,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { on(ch, "channel", |ch| ch.send_nowait(bytes(data, len)?)) }
}

/// Sends a copy of `len` bytes, waiting in line for room (of a SELV_CHANNEL_RENDEZVOUS channel: for a receiver) for up to
/// `timeout_ns` nanoseconds. On any error the item was not sent.
///
/// Returns SELV_OK; SELV_E_TIMEDOUT; SELV_E_CANCELLED (`selv_task_interrupt`, or the task exited); SELV_E_CLOSED; SELV_E_INVAL (`len` is
/// above PTRDIFF_MAX); SELV_E_NOMEM; SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child, which has its own
/// copy of the queued items, unless another thread was just using the channel at the fork: then it is empty. NULL: `ch` must not be
/// NULL; `data` may be NULL if `len` is 0.
///
/// # Safety
/// `ch` is NULL or a channel; `data` has `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_channel_send(
    ch: *mut Channel,
    task: selv_task,
    data: *const c_void,
    len: usize,
    timeout_ns: u64,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        by_task(ch, "channel", task, |ch, task| {
            ch.send(task, bytes(data, len)?, timeout_ns)
        })
    }
}

/// As `selv_channel_send`, with no thread; the bytes are copied now. The callback gets SELV_OK (sent), SELV_E_CLOSED or
/// SELV_E_CANCELLED (not sent).
///
/// Returns SELV_OK, SELV_PENDING and `*out_op`: see selv_op; SELV_E_CLOSED; SELV_E_INVAL (`len` is above PTRDIFF_MAX); SELV_E_NOMEM;
/// SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task); SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and
/// SELV_E_FORKED (`completion->loop`).
///
/// Threads: any. Blocks: no; callbacks of others run here. Reentrancy: from any callback. Fork: works in a child, which has its own
/// copy of the queued items, unless another thread was just using the channel at the fork: then it is empty. NULL: `ch`, `completion`
/// and `completion->fn` must not be NULL; `out_op` may be; `data` may be NULL if `len` is 0.
///
/// # Safety
/// `ch` is NULL or a channel; `data` has `len` bytes; `completion` is NULL or a completion; `out_op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_channel_send_async(
    ch: *mut Channel,
    task: selv_task,
    data: *const c_void,
    len: usize,
    completion: *const selv_completion,
    out_op: *mut selv_op,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        tasks::operation(
            ch,
            "channel",
            task,
            completion,
            out_op,
            |ch, task, op| match bytes(data, len) {
                Ok(data) => ch.send_async(task, data, op),
                Err(e) => {
                    operation::forget(op);
                    Err(e)
                }
            },
        )
    }
}

/// Receives the next item, if there is one. `*out_data` gets `*out_len` bytes, to be freed with `selv_bytes_free`; NULL and 0 on an
/// error. An item without bytes has an address, too.
///
/// Returns SELV_OK; SELV_E_WOULD_BLOCK; SELV_E_CLOSED (and nothing is left in it); SELV_E_NULL.
///
/// Threads: any. Blocks: no; callbacks of operations that it completes run here. Reentrancy: from any callback. Fork: works in a
/// child, which has its own copy of the queued items, unless another thread was just using the channel at the fork: then it is empty.
/// NULL: no argument may be NULL.
///
/// # Safety
/// `ch` is NULL or a channel; `out_data` and `out_len` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_channel_recv_nowait(
    ch: *mut Channel,
    out_data: *mut *mut c_void,
    out_len: *mut usize,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe { receive(ch, out_data, out_len, |ch| ch.recv_nowait()) }
}

/// Receives the next item, waiting in line for up to `timeout_ns` nanoseconds. `*out_data` gets `*out_len` bytes, to be freed with
/// `selv_bytes_free`; NULL and 0 on an error. A wait that ends without an item has not taken one.
///
/// Returns SELV_OK; SELV_E_TIMEDOUT; SELV_E_CANCELLED (`selv_task_interrupt`, or the task exited); SELV_E_CLOSED (and nothing is left in
/// it); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or SELV_E_NOMEM (the task).
///
/// Threads: any. Blocks: up to `timeout_ns`. Reentrancy: from any callback that may block. Fork: works in a child, which has its own
/// copy of the queued items, unless another thread was just using the channel at the fork: then it is empty. NULL: no argument may be
/// NULL.
///
/// # Safety
/// `ch` is NULL or a channel; `out_data` and `out_len` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_channel_recv(
    ch: *mut Channel,
    task: selv_task,
    timeout_ns: u64,
    out_data: *mut *mut c_void,
    out_len: *mut usize,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        receive(ch, out_data, out_len, |ch| {
            ch.recv(resolve(task)?, timeout_ns)
        })
    }
}

/// As `selv_channel_recv`, with no thread; always with a callback; if an item is there already, it runs on a worker of the default
/// cache. It gets SELV_OK with `data` and `len`, and owns the bytes: it frees them with `selv_bytes_free`. Or SELV_E_CLOSED or
/// SELV_E_CANCELLED.
///
/// Returns SELV_PENDING; SELV_E_CLOSED (and nothing is left in it); SELV_E_NULL; SELV_E_INVAL, SELV_E_STALE, SELV_E_FORKED or
/// SELV_E_NOMEM (the task); SELV_E_NOMEM (see selv_op); SELV_E_CLOSED and SELV_E_FORKED (`completion->loop`).
///
/// Threads: any. Blocks: no; callbacks of others run here. Reentrancy: from any callback. Fork: works in a child, which has its own
/// copy of the queued items, unless another thread was just using the channel at the fork: then it is empty. NULL: `ch`, `completion`
/// and `completion->fn` must not be NULL; `out_op` may be.
///
/// # Safety
/// `ch` is NULL or a channel; `completion` is NULL or a completion; `out_op` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_channel_recv_async(
    ch: *mut Channel,
    task: selv_task,
    completion: *const selv_completion,
    out_op: *mut selv_op,
) -> selv_status {
    // SAFETY: as this function's own contract.
    unsafe {
        operation_for_later(ch, "channel", task, completion, out_op, |ch, task, op| {
            ch.recv_async(task, op)
        })
    }
}

/// Frees bytes that were received from a channel. (They come from the C library's malloc, so its free does, too.)
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works in a child. NULL: does nothing.
///
/// # Safety
/// `data` is NULL or came from a channel, and is freed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_bytes_free(data: *mut c_void) {
    // SAFETY: `Bytes` come from the C library's allocator.
    unsafe { libc::free(data) };
}

/// The bytes of a host.
///
/// # Safety
/// `data` is NULL or has `len` bytes, which do not change meanwhile.
unsafe fn bytes<'a>(data: *const c_void, len: usize) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(null("data"));
    }
    if len > isize::MAX as usize {
        let why = format!("len is {len}, which is more than fits the memory");
        return Err(Error::new(error::INVAL, why));
    }
    // SAFETY: promised by the caller.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), len) })
}

/// # Safety
/// As `selv_channel_recv`.
unsafe fn receive(
    ch: *mut Channel,
    out_data: *mut *mut c_void,
    out_len: *mut usize,
    f: impl FnOnce(&Arc<Channel>) -> Result<Bytes>,
) -> selv_status {
    // SAFETY: both are NULL or writable.
    unsafe { put(out_data, std::ptr::null_mut()) };
    // SAFETY: as above.
    unsafe { put(out_len, 0) };
    let received = required(out_data, "out_data")
        .and_then(|_| required(out_len, "out_len"))
        // SAFETY: promised by the caller.
        .and_then(|_| unsafe { borrow(ch, "channel") })
        .and_then(|ch| f(&ch));
    status_of(received.map(|bytes| {
        let (data, len) = bytes.into_raw();
        // SAFETY: both are writable.
        unsafe { put(out_data, data.cast()) };
        // SAFETY: as above.
        unsafe { put(out_len, len) };
    }))
}
