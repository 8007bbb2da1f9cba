//! The loop's side of its queue: running what is there, or dropping it at the end.
//!
//! While one of the host's functions runs, what it belongs to is kept in a frame that the thread's end finds: a runtime may end the thread
//! there, and then the loop is to be drained by another one, and nobody must wait for what that function was to finish.

use super::entry::Entry;
use super::host_loop::HostLoop;
use super::underway;
use crate::core::callback::{JobFn, Opaque};
use crate::core::error::Result;
use crate::core::name::Name;
use crate::core::sync::{completions, current};
use crate::sys::sync::thread_local;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::Arc;

pub struct Frame {
    host: Arc<HostLoop>,
    doing: Doing,
    current: Option<Entry>,
    /// Of a loop inside one of whose functions this one is drained.
    below: *mut Frame,
}

#[derive(Clone, Copy, PartialEq)]
enum Doing {
    Draining,
    Closing,
    /// Something that is not the loop's own, and only to be kept.
    Else,
}

thread_local! {
    // The innermost frame of this thread; a list without a destructor.
    static TOP: Cell<*mut Frame> = const { Cell::new(std::ptr::null_mut()) };
}

fn enter(host: &Arc<HostLoop>, doing: Doing) -> *mut Frame {
    current::watch_end();
    let frame = Box::into_raw(Box::new(Frame {
        host: Arc::clone(host),
        doing,
        current: None,
        below: TOP.with(Cell::get),
    }));
    TOP.with(|top| top.set(frame));
    frame
}

/// Mostly it is the innermost; but where one thread has several stacks, as with greenlets, they need not end in order.
fn leave(frame: *mut Frame) {
    // SAFETY: made by `enter` on this thread, and named nowhere any more but in the list.
    let left = unsafe { Box::from_raw(frame) };
    let mut above = TOP.with(Cell::get);
    if above == frame {
        TOP.with(|top| top.set(left.below));
        return;
    }
    // SAFETY: the list's frames are this thread's, and alive.
    while let Some(inner) = unsafe { above.as_mut() } {
        if inner.below == frame {
            inner.below = left.below;
            return;
        }
        above = inner.below;
    }
}

/// Runs one entry, which nothing here is to drop.
fn run(frame: *mut Frame, entry: Entry) -> bool {
    // SAFETY: the frame is this thread's; nobody else changes `current` while the entry runs.
    let frame = unsafe { &mut *frame };
    frame.current = Some(entry);
    let frame: &Frame = frame;
    match (&frame.current, frame.doing) {
        (Some(entry), Doing::Draining) => entry.run(),
        (Some(entry), _) => {
            entry.drop_unrun(&frame.host);
            true
        }
        (None, _) => true,
    }
}

fn over(frame: *mut Frame) {
    // SAFETY: as above.
    drop(unsafe { &mut *frame }.current.take());
}

/// The calling thread is just dropping what waited for the loop.
pub fn is_closing_here(host: &HostLoop) -> bool {
    let mut frame = TOP.with(Cell::get);
    // SAFETY: the list's frames are this thread's, and alive.
    while let Some(inner) = unsafe { frame.as_ref() } {
        if inner.doing == Doing::Closing && std::ptr::eq(Arc::as_ptr(&inner.host), host) {
            return true;
        }
        frame = inner.below;
    }
    false
}

/// Keeps what the caller works on, and its loop, until [`let_go`], or until the thread ends.
pub fn hold(host: &Arc<HostLoop>, what: Entry) -> *mut Frame {
    let frame = enter(host, Doing::Else);
    // SAFETY: made by `enter`.
    unsafe { &mut *frame }.current = Some(what);
    frame
}

pub fn let_go(frame: *mut Frame) {
    over(frame);
    leave(frame);
}

/// Runs what is queued now, up to `most` of it; 0: all of it. `ran` counts.
///
/// # Errors
/// WRONG_THREAD, REENTRANT, CLOSED, FORKED.
pub fn drain(host: &Arc<HostLoop>, most: u32, ran: &mut u32) -> Result<()> {
    let queued = host.begin_drain()?;
    let most = match most {
        0 => queued,
        most => queued.min(most as usize),
    };
    let frame = enter(host, Doing::Draining);
    for _ in 0..most {
        // A function may have closed the loop.
        let Some(entry) = host.next_to_run() else {
            break;
        };
        match run(frame, entry) {
            true => *ran += 1,
            false => host.was_over(),
        }
        over(frame);
        if !host.is_of_this_process() {
            // A function has forked, and this is the child.
            break;
        }
    }
    host.end_drain(None);
    // The last of all: a function may have given back the handle through which this was called, and the frame keeps the loop.
    leave(frame);
    Ok(())
}

/// Closes the loop: see `selv_host_loop_close`.
///
/// # Errors
/// WRONG_THREAD, BUSY, REENTRANT, FORKED.
pub fn close(host: &Arc<HostLoop>) -> Result<()> {
    if host.begin_close()? {
        drop_all(host);
    }
    Ok(())
}

fn drop_all(host: &Arc<HostLoop>) {
    let frame = enter(host, Doing::Closing);
    if let Some((free, arg)) = host.wake_arg() {
        free.call(arg.0);
    }
    drop_queue(host, frame);
}

fn drop_queue(host: &Arc<HostLoop>, frame: *mut Frame) {
    while let Some(entry) = host.next_to_drop() {
        run(frame, entry);
        over(frame);
    }
    leave(frame);
}

/// The host, or a guest, gave up a handle; the last one closes the loop.
pub fn release(host: Arc<HostLoop>) {
    if host.release_one() && host.is_of_this_process() && host.shut() {
        drop_all(&host);
    }
}

/// The thread ends, maybe inside a function that it was running for a loop.
pub fn thread_ends() {
    underway::thread_ends();
    loop {
        let frame = TOP.with(Cell::get);
        if frame.is_null() {
            return;
        }
        // SAFETY: made by `enter` on this thread, which will not come back to it.
        let mut frame = unsafe { Box::from_raw(frame) };
        TOP.with(|top| top.set(frame.below));
        let host = &frame.host;
        if !host.is_of_this_process() {
            std::mem::forget(frame);
            continue;
        }
        let left = frame.current.take().and_then(|entry| entry.lost(host));
        match frame.doing {
            Doing::Draining => {
                // Of a loop that it closed before it ended.
                if let Some(left) = host.end_drain(left) {
                    close_elsewhere(Arc::clone(host), Some(left));
                }
            }
            Doing::Closing => close_elsewhere(Arc::clone(host), left),
            Doing::Else => {}
        }
    }
}

/// The rest of a close whose thread has ended is for a worker of the default cache.
fn close_elsewhere(host: Arc<HostLoop>, left: Option<Entry>) {
    unsafe extern "C-unwind" fn job(rest: *mut c_void, _: *mut *mut c_void) -> i32 {
        // SAFETY: the pointer that is given away below, once.
        let rest = unsafe { Box::from_raw(rest.cast::<(Arc<HostLoop>, Option<Entry>)>()) };
        let (host, left) = *rest;
        let frame = enter(&host, Doing::Closing);
        if let Some(left) = left {
            run(frame, left);
            over(frame);
        }
        drop_queue(&host, frame);
        0
    }
    let rest = Box::into_raw(Box::new((host, left)));
    // SAFETY: made for the pointer that goes with it, and for any thread.
    if !completions::on_a_worker(unsafe { JobFn::new(job) }, Opaque(rest.cast()), Name::NONE) {
        // No thread can be started. Better here than never.
        // SAFETY: the job was refused, so the pointer is still ours.
        unsafe { job(rest.cast(), std::ptr::null_mut()) };
    }
}
