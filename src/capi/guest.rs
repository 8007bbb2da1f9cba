//! `selv_guest`: an event loop that lives inside another.

use super::job::{selv_deliver_fn, selv_job_fn, selv_start_thread_soon};
use super::status::selv_status;
use super::support::guard::finish;
use super::support::handles::{borrow, null, put, required, share, text};
use super::support::options::{self, Sized32, known_flags};
use crate::core::cache::Cache;
use crate::core::callback::{
    CallFn, DiscardFn, DoneFn, Opaque, PollFn, PrepareFn, ProcessFn, StartSoonFn,
};
use crate::core::host::guest::{self, Calls, Guest, Starter};
use crate::core::host::host_loop::HostLoop;
use crate::core::panic::step;
use crate::core::shutdown;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// From a guest's `prepare`: it has nothing left to do, and the run ends.
pub const SELV_GUEST_DONE: u64 = u64::MAX - 2;
const _: () = assert!(SELV_GUEST_DONE == guest::DONE);

/// Starts a thread for one poll of a guest: has `fn(arg, &value)` and then `deliver(arg, &outcome)` called, once each, on a thread that
/// may block, and returns SELV_OK; or returns an error, and the run ends with that. It has the meaning of `selv_start_thread_soon`, and
/// may wrap it: register the thread somewhere first, start one of its own, count. If `fn` cannot be run after all, `deliver` gets an
/// outcome whose status says why, and the run ends with that. The outcome of one that ran is SELV_OK, what `fn` returned, and NULL.
/// `fn` blocks, so it is not for the host's thread. Calls that come late, or twice, or after a refusal, do nothing. After an interrupt,
/// `fn` may do nothing, or be kept for the next poll. Called on the host's thread. `name` is valid during the call.
#[allow(non_camel_case_types)]
pub type selv_start_soon_fn = Option<
    unsafe extern "C-unwind" fn(
        start_arg: *mut c_void,
        fn_: selv_job_fn,
        deliver: selv_deliver_fn,
        arg: *mut c_void,
        name: *const c_char,
    ) -> selv_status,
>;

/// A guest, and where it is to live. Start from SELV_GUEST_OPTIONS_INIT. `prepare`, `process`, `discard` and `done` are called on the
/// host loop's thread, by its drains, and all of them must return. But for `interrupt`, no function is called while another one runs,
/// so they need no lock between them. A negative status of one ends the run, and `done` is told it.
///
/// One tick is: `process`, if there was a poll; `prepare`; `poll` with timeout 0. If that brought events, or `prepare` said 0, or an
/// interrupt came, the next tick is queued. Else a thread is asked for and calls `poll` with the time that `prepare` gave; when that
/// returns, the next tick is queued. So there is never a poll beside another or beside a `process`, and no thread while there is work.
/// (The order is that of the guest mode of Trio.)
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_guest_options {
    /// sizeof(selv_guest_options)
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// The loop that the guest lives in. Required. The guest keeps it open.
    pub host: *mut HostLoop,
    /// Whose workers poll, with the hooks of that cache, if `start_soon` is NULL. The guest has a reference of its own until `done` has
    /// returned. A guest that sleeps takes one worker, which holds up a shutdown of that cache; with `max_workers` it waits in line for
    /// one, and is late by as much: it wants a cache of its own, or one without a bound. NULL: the default cache.
    pub cache: *mut Cache,
    /// Starts the threads that poll. NULL: the cache does.
    pub start_soon: selv_start_soon_fn,
    /// Given to `start_soon`.
    pub start_arg: *mut c_void,
    /// Given to the functions below.
    pub guest: *mut c_void,
    /// Runs what is ready, and stores in `*out_ns` (0 before) the nanoseconds to the next deadline; 0 or SELV_NO_WAIT: again at once;
    /// SELV_FOREVER: there is none; SELV_GUEST_DONE. Required.
    pub prepare:
        Option<unsafe extern "C-unwind" fn(guest: *mut c_void, out_ns: *mut u64) -> selv_status>,
    /// Waits for events, up to `timeout_ns` nanoseconds; may store them in `*out_events` (NULL before: there are none). With timeout 0
    /// on the host's thread, else on another; the time counts from this call. With an error, `discard` gets what it stored. Required.
    pub poll: Option<
        unsafe extern "C-unwind" fn(
            guest: *mut c_void,
            timeout_ns: u64,
            out_events: *mut *mut c_void,
        ) -> selv_status,
    >,
    /// Takes what a poll brought; NULL if the time passed, if it was interrupted, maybe by an interrupt that was meant for the poll
    /// before it, or if `prepare` wanted none. Not called after a `poll` with timeout 0 that a longer one follows. Required.
    pub process:
        Option<unsafe extern "C-unwind" fn(guest: *mut c_void, events: *mut c_void) -> selv_status>,
    /// Frees events that were polled and will not be processed, since the run ends. NULL: nothing is to be freed.
    pub discard: Option<unsafe extern "C-unwind" fn(guest: *mut c_void, events: *mut c_void)>,
    /// Makes a `poll` that runs on another thread, or is about to begin there, return early. Called on any thread, maybe by several at
    /// once, never when `done` has begun; must not block, nor drain the host loop. Required.
    pub interrupt: Option<unsafe extern "C-unwind" fn(guest: *mut c_void)>,
    /// The run is over: called exactly once, as the last. `why`: SELV_OK (SELV_GUEST_DONE), SELV_E_CANCELLED (`selv_guest_stop`; or a
    /// poll that was still in line when its cache was shut down with SELV_SHUTDOWN_CANCEL_QUEUED), SELV_E_CLOSED
    /// (`selv_guest_abandon`; or the cache had been shut down before), SELV_E_BROKEN (a thread ended inside a callback, or `start_soon`
    /// delivered without running), or the error of a callback or of `start_soon`; `selv_last_error` tells which. It may close the host
    /// loop and start another guest. Required.
    pub done: Option<unsafe extern "C-unwind" fn(guest: *mut c_void, why: selv_status)>,
    /// UTF-8; what the guest is called in messages, and the name of the polling jobs. NULL: "guest", with a number in messages.
    pub name: *const c_char,
}

// SAFETY: begins with its size; integers, pointers and optional functions may be zero.
unsafe impl Sized32 for selv_guest_options {
    const NAME: &'static str = "selv_guest_options";
}

/// Starts a guest: an event loop whose waiting is done on a worker thread, and all the rest on the thread of the host's own loop,
/// between the host's other work. The first tick comes with the next drain; nothing of the guest is called here.
///
/// `out` gets a handle for `selv_guest_interrupt`, `_stop` and `_abandon`, to be freed with `selv_guest_release`, at any time: the run
/// goes on. It is written before a callback can run.
///
/// Returns SELV_OK: `done` will be called exactly once. On any error it will not be: SELV_E_NULL (a required field); SELV_E_INVAL
/// (unknown flags, `struct_size`, a name that is not UTF-8); SELV_E_UNSUPPORTED (a newer struct that uses what this version does not
/// know); SELV_E_WRONG_THREAD; SELV_E_CLOSED (the loop); SELV_E_FORKED (the loop belongs to the parent process).
///
/// Threads: the host loop's own. Blocks: no. Reentrancy: from any callback on that thread, also `done`. Fork: SELV_E_FORKED in a child.
/// NULL: no argument may be NULL, nor a field that is said to be required.
///
/// # Safety
/// `opts` is NULL or points to as many bytes as its `struct_size` says, and its functions may be called as it says; `out` is NULL or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_guest_start(
    opts: *const selv_guest_options,
    out: *mut *mut Guest,
) -> selv_status {
    let checked = step(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, std::ptr::null_mut()) };
        // SAFETY: as this function's own contract.
        let o: selv_guest_options = unsafe { options::read(opts) }?;
        known_flags(o.flags, 0, "selv_guest_options.flags")?;
        // SAFETY: as this function's own contract.
        let host = unsafe { borrow(o.host, "selv_guest_options.host") }?;
        // SAFETY: as this function's own contract.
        let name = unsafe { text(o.name, "selv_guest_options.name") }?;
        let required = |field: &str| null(&format!("selv_guest_options.{field}"));
        let calls = Calls {
            guest: Opaque(o.guest),
            // SAFETY: as this function's own contract, here and below.
            prepare: unsafe { PrepareFn::new(o.prepare.ok_or_else(|| required("prepare"))?) },
            // SAFETY: as above.
            poll: unsafe { PollFn::new(o.poll.ok_or_else(|| required("poll"))?) },
            // SAFETY: as above.
            process: unsafe { ProcessFn::new(o.process.ok_or_else(|| required("process"))?) },
            // SAFETY: as above.
            discard: o.discard.map(|f| unsafe { DiscardFn::new(f) }),
            // SAFETY: as above.
            interrupt: unsafe { CallFn::new(o.interrupt.ok_or_else(|| required("interrupt"))?) },
            // SAFETY: as above.
            done: unsafe { DoneFn::new(o.done.ok_or_else(|| required("done"))?) },
        };
        let starter = match o.start_soon {
            // SAFETY: as above.
            Some(start) => Starter::Host(unsafe { StartSoonFn::new(start) }, Opaque(o.start_arg)),
            None => Starter::Cache(match o.cache.is_null() {
                true => Cache::default_cache(),
                false => {
                    // SAFETY: as above.
                    let cache = unsafe { borrow(o.cache, "selv_guest_options.cache") }?;
                    cache.retain();
                    Arc::clone(&cache)
                }
            }),
        };
        Ok((host, starter, calls, name))
    });
    finish(checked.and_then(|(host, starter, calls, name)| {
        let made = guest::prepare(&host, starter, calls, name)?;
        // Before a callback can use it.
        // SAFETY: `out` was checked.
        unsafe { put(out, share(Arc::clone(&made))) };
        made.begin();
        Ok(())
    }))
}

/// One more reference to the guest's handle; gives `g` back.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives NULL.
///
/// # Safety
/// `g` is NULL or a guest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_guest_retain(g: *mut Guest) -> *mut Guest {
    if !g.is_null() {
        // SAFETY: a living handle.
        unsafe { Arc::increment_strong_count(g) };
    }
    g
}

/// Gives a reference back. The run goes on, if it is not over.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback, also `done`. Fork: works; nothing of a guest is called in a child, not even
/// `done`. NULL: does nothing.
///
/// # Safety
/// `g` is NULL or a reference that has not been released.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_guest_release(g: *mut Guest) {
    if !g.is_null() {
        // SAFETY: a living handle, given back once.
        drop(unsafe { Arc::from_raw(g) });
    }
}

/// Has `prepare` called again soon: something has come up that the guest's own poll does not see. If a poll sleeps, the guest's
/// `interrupt` is called, here; if one is about to begin, it does not. Work that was there before this call is seen by a `prepare` that
/// begins after it.
///
/// Returns SELV_OK; SELV_E_TOO_LATE (`done` has been called, or is about to be); SELV_E_NULL; SELV_E_FORKED (the guest belongs to the
/// parent process).
///
/// Threads: any; not from a signal handler. Blocks: no; `interrupt` runs here. Reentrancy: from any callback. Fork: SELV_E_FORKED in a
/// child. NULL: `g` must not be NULL.
///
/// # Safety
/// `g` is NULL or a guest.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_guest_interrupt(g: *mut Guest) -> selv_status {
    // SAFETY: as this function's own contract.
    finish(unsafe { borrow(g, "guest") }.and_then(|guest| guest.interrupt()))
}

/// Ends the run: a poll is interrupted, and the next drain of the host loop discards what was polled and calls `done` with
/// SELV_E_CANCELLED. From inside a callback of the guest, that is the last one before these. A poll that does not heed `interrupt`
/// holds the end up. After a `selv_guest_abandon` that timed out nothing comes of it: only another one ends the run.
///
/// Returns SELV_OK, also if the end was on its way; SELV_E_TOO_LATE (`done` has been called, or is about to be); SELV_E_NULL;
/// SELV_E_FORKED (the guest belongs to the parent process).
///
/// Threads: any; not from a signal handler. Blocks: no; `interrupt` runs here. Reentrancy: from any callback. Fork: SELV_E_FORKED in a
/// child. NULL: `g` must not be NULL.
///
/// # Safety
/// `g` is NULL or a guest.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_guest_stop(g: *mut Guest) -> selv_status {
    // SAFETY: as this function's own contract.
    finish(unsafe { borrow(g, "guest") }.and_then(|guest| guest.stop()))
}

/// Ends the run without the host loop, which nobody drains any more: interrupts the poll, waits for up to `timeout_ns` nanoseconds
/// until it has returned, discards what was polled, and calls `done` with SELV_E_CLOSED, on this thread, before it returns SELV_OK. No
/// poll is running then. After SELV_E_TOO_LATE `done` may still be running on the host's thread.
///
/// Returns SELV_OK; SELV_E_TIMEDOUT (the poll, or a callback on the host's thread, has not returned; nothing more is called until a
/// later call of this function ends the run); SELV_E_TOO_LATE (`done` has been called, or is about to be); SELV_E_REENTRANT (inside a
/// callback of this guest); SELV_E_NULL; SELV_E_FORKED (the guest belongs to the parent process).
///
/// Threads: any. Blocks: up to `timeout_ns`; SELV_FOREVER for ever, 0 not at all. Reentrancy: from any callback that may block and is
/// none of this guest's. Fork: SELV_E_FORKED in a child. NULL: `g` must not be NULL.
///
/// # Safety
/// `g` is NULL or a guest.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_guest_abandon(g: *mut Guest, timeout_ns: u64) -> selv_status {
    // SAFETY: as this function's own contract.
    finish(unsafe { borrow(g, "guest") }.and_then(|guest| guest.abandon(timeout_ns)))
}

/// What starts a guest's threads if it has no `start_soon`: `selv_start_thread_soon` in the form of a selv_start_soon_fn, for a host's
/// own one to end in. `cache` is a selv_cache; NULL: the default cache.
///
/// Returns what `selv_start_thread_soon` returns.
///
/// Threads: any. Blocks: no, beyond starting a thread. Reentrancy: from any callback. Fork: works in a child. NULL: `fn` must not be
/// NULL; everything else may be.
///
/// # Safety
/// `cache` is NULL or a cache; the callbacks may run on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_start_soon_on_cache(
    cache: *mut c_void,
    fn_: selv_job_fn,
    deliver: selv_deliver_fn,
    arg: *mut c_void,
    name: *const c_char,
) -> selv_status {
    if !cache.is_null() {
        // SAFETY: as this function's own contract.
        return unsafe { selv_start_thread_soon(cache.cast(), fn_, deliver, arg, name) };
    }
    let default = share(Cache::default_cache());
    // SAFETY: as this function's own contract.
    let status = unsafe { selv_start_thread_soon(default, fn_, deliver, arg, name) };
    // SAFETY: the handle that was made above.
    shutdown::release(unsafe { Arc::from_raw(default) });
    status
}
