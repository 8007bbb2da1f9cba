//! The loop's side of its queue: running what is there, or dropping it at the end.
//!
//! While one of the host's functions runs, what it belongs to is kept in a frame that the thread's end finds: a runtime may end the thread
//! there, and then the loop is to be drained by another one, and nobody must wait for what that function was to finish.

use super::entry::Entry;
use super::host_loop::HostLoop;
use super::underway;
use crate::core::chain::{Chain, Link};
use crate::core::elsewhere;
use crate::core::error::Result;
use crate::core::sync::current;
use crate::sys::sync::thread_local;
use std::sync::Arc;

pub struct Frame {
    host: Arc<HostLoop>,
    doing: Doing,
    current: Option<Entry>,
}

#[derive(Clone, Copy, PartialEq)]
enum Doing {
    Draining,
    Closing,
    /// Something that is not the loop's own, and only to be kept.
    Else,
}

thread_local! {
    static FRAMES: Chain<Frame> = const { Chain::new() };
}

fn enter(host: &Arc<HostLoop>, doing: Doing) -> *mut Link<Frame> {
    current::watch_end();
    let frame = Frame {
        host: Arc::clone(host),
        doing,
        current: None,
    };
    FRAMES.with(|frames| frames.add(frame))
}

fn leave(frame: *mut Link<Frame>) {
    // SAFETY: from `enter`, once.
    drop(unsafe { FRAMES.with(|frames| frames.take_out(frame)) });
}

/// Runs one entry, which nothing here is to drop.
fn run(frame: *mut Link<Frame>, entry: Entry) -> bool {
    // SAFETY: the frame is this thread's; nobody else changes `current` while the entry runs.
    let frame = unsafe { &mut (*frame).what };
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

fn over(frame: *mut Link<Frame>) {
    // SAFETY: as above.
    drop(unsafe { &mut (*frame).what }.current.take());
}

/// The calling thread is just dropping what waited for the loop.
pub fn is_closing_here(host: &HostLoop) -> bool {
    let mut link = FRAMES.with(Chain::innermost);
    // SAFETY: the frames are this thread's, and alive.
    while let Some(Link { what, outer }) = unsafe { link.as_ref() } {
        if what.doing == Doing::Closing && std::ptr::eq(Arc::as_ptr(&what.host), host) {
            return true;
        }
        link = *outer;
    }
    false
}

/// Keeps what the caller works on, and its loop, until [`let_go`], or until the thread ends.
pub fn hold(host: &Arc<HostLoop>, what: Entry) -> *mut Link<Frame> {
    let frame = enter(host, Doing::Else);
    // SAFETY: made by `enter`.
    unsafe { &mut (*frame).what }.current = Some(what);
    frame
}

pub fn let_go(frame: *mut Link<Frame>) {
    over(frame);
    leave(frame);
}

/// Runs what is queued now, up to `most` of it; 0: all of it. `ran` counts.
///
/// # Errors
/// WRONG_THREAD, REENTRANT, CLOSED, FORKED.
pub fn drain(host: &Arc<HostLoop>, most: u32, ran: &mut u32) -> Result<()> {
    host.begin_drain(most)?;
    let frame = enter(host, Doing::Draining);
    while let Some(entry) = host.next_to_run() {
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
    host.end_drain();
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

fn drop_queue(host: &Arc<HostLoop>, frame: *mut Link<Frame>) {
    while let Some(entry) = host.next_to_drop() {
        run(frame, entry);
        over(frame);
    }
    leave(frame);
}

/// The host, or a guest, gave up a handle; the last one closes the loop.
pub fn release(host: Arc<HostLoop>) {
    if host.release_one() && host.shut() {
        drop_all(&host);
    }
}

/// The thread ends, maybe inside a function that it was running for a loop.
pub fn thread_ends() {
    underway::thread_ends();
    while let Some(mut frame) = FRAMES.with(Chain::pop) {
        let host = &frame.host;
        if !host.is_of_this_process() {
            std::mem::forget(frame);
            continue;
        }
        // Before anybody is told: who is may bind the loop at once.
        if frame.doing == Doing::Draining {
            host.end_drain();
        }
        let left = frame.current.take().and_then(|entry| entry.lost(host));
        match (frame.doing, left) {
            (Doing::Draining, Some(left)) => {
                // Of a loop that it closed before it ended.
                if let Some(left) = host.put_back(left) {
                    close_elsewhere(Arc::clone(host), Some(left));
                }
            }
            (Doing::Closing, left) => close_elsewhere(Arc::clone(host), left),
            _ => {}
        }
    }
}

/// The rest of a close whose thread has ended is for a worker of the default cache.
fn close_elsewhere(host: Arc<HostLoop>, left: Option<Entry>) {
    elsewhere::run_or_here((host, left), |(host, left)| {
        let frame = enter(&host, Doing::Closing);
        if let Some(left) = left {
            run(frame, left);
            over(frame);
        }
        drop_queue(&host, frame);
    });
}
