//! `selv_hook`: what a runtime wants done on every worker's start and exit.

use super::job::selv_free_fn;
use super::status::selv_status;
use super::support::guard::{finish, guard};
use super::support::handles::{borrow, null, put, required, share, text};
use super::support::options::{self, Sized32};
use crate::core::attachment;
use crate::core::cache::Cache;
use crate::core::callback::{BeforeFn, ExitFn, FreeFn, Opaque, StartFn};
use crate::core::error::Result;
use crate::core::hook::{self, Callbacks, Hook};
use crate::core::job::Needs;
use crate::core::panic::step;
use crate::core::submit;
use crate::core::unregister;
use crate::core::worker::Worker;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// Only for workers that get a job which names the hook (`selv_job_options.attach`).
pub const SELV_HOOK_LAZY: u32 = 1;
/// Idle workers start it at once, not before their next job.
pub const SELV_HOOK_EAGER: u32 = 2;
/// If it fails, jobs that did not name it run all the same.
pub const SELV_HOOK_OPTIONAL: u32 = 4;
/// This runtime lets go of a thread only when the thread has ended (CoreCLR): unregistering ends the workers that have the hook
/// started, and "detached" means joined.
pub const SELV_HOOK_RETIRE: u32 = 8;
/// The hook is good in a fork child (CPython, by `os.fork`); without it, it is disarmed there and never called.
pub const SELV_HOOK_FORK_KEEP: u32 = 16;
/// `before_job` leaves a global interpreter lock held until `after_job`. One job can need only one such hook.
pub const SELV_HOOK_HOLDS_GIL: u32 = 32;

/// Runs on a new worker before its first job, or on a living one before its next. Stores what the runtime needs in `*slot`
/// (NULL before). Returns 0, or a number of the host's own: then the job that needed the hook fails with it.
#[allow(non_camel_case_types)]
pub type selv_hook_start_fn = Option<
    unsafe extern "C-unwind" fn(user: *mut c_void, w: *const Worker, slot: *mut *mut c_void) -> i32,
>;
/// Runs on the worker when it ends, or when the hook is unregistered; in the reverse order of the starts that succeeded.
#[allow(non_camel_case_types)]
pub type selv_hook_exit_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, w: *const Worker, slot: *mut c_void)>;
/// Runs before each job that needs the hook. Returns 0, or a number of the host's own: then the job does not run.
#[allow(non_camel_case_types)]
pub type selv_hook_before_fn = Option<
    unsafe extern "C-unwind" fn(user: *mut c_void, w: *const Worker, slot: *mut c_void) -> i32,
>;
/// Runs after the job, whatever it did, in the reverse order of the befores that succeeded; before `deliver`.
#[allow(non_camel_case_types)]
pub type selv_hook_after_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, w: *const Worker, slot: *mut c_void)>;

/// A set of callbacks for `selv_hook_register`, each of which may be NULL. Start from SELV_HOOK_OPTIONS_INIT.
/// They are called with no lock of the library held, and may call any function of it. They must not throw or longjmp; a
/// runtime that ends the thread inside one (`pthread_exit`) is survived, and counted in `threads_lost`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_hook_options {
    /// sizeof(selv_hook_options)
    pub struct_size: u32,
    /// SELV_HOOK_ flags.
    pub flags: u32,
    /// UTF-8, for errors and traces. NULL: "hook".
    pub name: *const c_char,
    pub on_start: selv_hook_start_fn,
    pub on_exit: selv_hook_exit_fn,
    pub before_job: selv_hook_before_fn,
    pub after_job: selv_hook_after_fn,
    /// Given to every callback.
    pub user: *mut c_void,
    /// Called with `user` once, when the hook is unregistered and the last thread has detached, on that thread or on the one that
    /// unregisters; not if the registration failed.
    pub user_free: selv_free_fn,
}

// SAFETY: begins with its size; integers, pointers and optional functions may be zero.
unsafe impl Sized32 for selv_hook_options {
    const NAME: &'static str = "selv_hook_options";
}

/// What has happened to a hook. Set `struct_size`, as SELV_HOOK_STATS_INIT does.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_hook_stats {
    /// sizeof(selv_hook_stats)
    pub struct_size: u32,
    pub reserved: u32,
    /// Threads on which it is started now, or being started or exited; with SELV_HOOK_RETIRE also those yet to be joined.
    pub attached: u64,
    /// Successful starts.
    pub starts: u64,
    /// Exits; after unregistering, `starts == exits + lost`.
    pub exits: u64,
    /// Starts that failed.
    pub start_failures: u64,
    /// Jobs that needed the hook and ran.
    pub jobs: u64,
    /// Threads that ended without exiting it.
    pub lost: u64,
}

// SAFETY: begins with its size, and consists of integers.
unsafe impl Sized32 for selv_hook_stats {
    const NAME: &'static str = "selv_hook_stats";
}

/// Which hooks a job or a thread wants.
///
/// # Safety
/// `hooks` is NULL or has `count` hooks.
pub unsafe fn selected(
    cache: &Cache,
    hooks: *const *mut Hook,
    count: usize,
    what: &str,
) -> Result<(Needs, Box<[Arc<Hook>]>)> {
    if hooks.is_null() && count > 0 {
        return Err(null(what));
    }
    if hooks.is_null() {
        return Ok((Needs::Usual, Box::new([])));
    }
    if count == 0 {
        return Ok((Needs::Nothing, Box::new([])));
    }
    let mut named = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: there are `count` of them.
        let hook = unsafe { hooks.add(index).read() };
        // SAFETY: a hook's handle.
        let hook = unsafe { borrow(hook, &format!("{what}[{index}]")) }?;
        named.push(Arc::clone(&hook));
    }
    Ok((Needs::Named, submit::named_hooks(cache, named)?))
}

/// Registers a hook set with a cache. Workers that live already start it before their next job (SELV_HOOK_EAGER: idle ones at once);
/// new ones at their start, in the order of registration. A start that fails undoes the starts of the same go, in reverse; the
/// job that needed it is delivered with SELV_E_HOOK_FAILED and the hook's own number in `code`, and later jobs try again.
///
/// `out` gets a handle with one reference, NULL on failure. Releasing it does not unregister.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags, LAZY with EAGER, a name that is not UTF-8, `struct_size`,
/// a second hook that is SELV_HOOK_HOLDS_GIL and not LAZY); SELV_E_UNSUPPORTED (RETIRE on a cache whose own `spawn` comes without
/// `join`; a newer struct); SELV_E_CLOSED.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: a child has the SELV_HOOK_FORK_KEEP hooks, and may register others.
/// NULL: no argument may be NULL.
///
/// # Safety
/// `c` is NULL or a cache; `opts` is NULL or has as many bytes as its `struct_size` says; the callbacks may run on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_hook_register(
    c: *mut Cache,
    opts: *const selv_hook_options,
    out: *mut *mut Hook,
) -> selv_status {
    guard(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, std::ptr::null_mut()) };
        // SAFETY: as this function's own contract.
        let cache = unsafe { borrow(c, "cache") }?;
        // SAFETY: as this function's own contract.
        let o = unsafe { options::read(opts) }?;
        // SAFETY: as this function's own contract.
        let name = unsafe { text(o.name, "selv_hook_options.name") }?.unwrap_or("hook");
        let callbacks = Callbacks {
            // SAFETY: the host promises that its callbacks may run on any thread, as their types say.
            on_start: o.on_start.map(|f| unsafe { StartFn::new(f) }),
            // SAFETY: as above.
            on_exit: o.on_exit.map(|f| unsafe { ExitFn::new(f) }),
            // SAFETY: as above.
            before_job: o.before_job.map(|f| unsafe { BeforeFn::new(f) }),
            // SAFETY: as above.
            after_job: o.after_job.map(|f| unsafe { ExitFn::new(f) }),
            user: Opaque(o.user),
            // SAFETY: as above.
            user_free: o.user_free.map(|f| unsafe { FreeFn::new(f) }),
        };
        let hook = hook::register(&cache, name, o.flags, callbacks)?;
        // SAFETY: `to` is writable.
        unsafe { put(to, share(hook)) };
        Ok(())
    })
}

/// Removes a hook set: no new starts from now on; idle workers exit it at once, busy ones when their job ends; a calling thread that
/// has entered the cache exits it here. When this returns SELV_OK, no callback of the hook runs or will run, every thread has
/// exited it, and `user_free` has been called: the runtime may be shut down on the next line. It may be called again, and then
/// goes on waiting; once done it is SELV_OK at once. It never frees the handle.
///
/// Jobs that were accepted while the hook was registered, need it, and have not begun are not run any more: they are delivered with
/// SELV_E_HOOK_FAILED and the code SELV_E_CLOSED. To have them run, wait for them first.
///
/// Do not hold what an exit callback needs (such as the GIL) while this waits.
///
/// `out_attached` (may be NULL) gets how many threads have it still started: 0 on success.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_TIMEDOUT (threads have it still started, also with timeout 0; the removal goes on by itself, but
/// for SELV_HOOK_RETIRE, where ended threads are joined by the next call or the next worker that starts or ends);
/// SELV_E_DEADLOCK (with a timeout above 0 on a worker of the hook's own cache, or inside a hook's callback, where it would
/// wait for itself: nothing changes; with 0 the removal begins).
///
/// Threads: any. Blocks: up to `timeout_ns` nanoseconds; 0 begins and returns. Reentrancy: from any callback, with timeout 0 on
/// workers and inside hooks' callbacks. Fork: in a child a disarmed hook is SELV_OK at once, and `user_free` is not called. NULL:
/// `h` must not be NULL.
///
/// # Safety
/// `h` is NULL or a hook.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_hook_unregister(
    h: *mut Hook,
    timeout_ns: u64,
    out_attached: *mut u32,
) -> selv_status {
    // SAFETY: `out_attached` is NULL or writable.
    unsafe { put(out_attached, 0) };
    // SAFETY: as this function's own contract.
    let hook = match step(|| unsafe { borrow(h, "hook") }) {
        Ok(hook) => hook,
        Err(e) => return finish(Err(e)),
    };
    // A callback may release the host's last reference while the hook is in use here.
    let hook = Arc::clone(&hook);
    let mut attached = 0;
    let result = unregister::unregister(&hook, timeout_ns, &mut attached);
    // SAFETY: `out_attached` is NULL or writable.
    unsafe { put(out_attached, attached) };
    finish(result)
}

/// One more reference to a hook; gives `h` back.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives NULL.
///
/// # Safety
/// `h` is NULL or a hook.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_hook_retain(h: *mut Hook) -> *mut Hook {
    if !h.is_null() {
        // SAFETY: a living handle.
        unsafe { Arc::increment_strong_count(h) };
    }
    h
}

/// Gives a reference back. A hook that is still registered stays so, until its cache ends.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: does nothing.
///
/// # Safety
/// `h` is NULL or a reference that has not been released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_hook_release(h: *mut Hook) {
    if !h.is_null() {
        // SAFETY: a living handle, given back once.
        unsafe { Arc::decrement_strong_count(h) };
    }
}

/// What has happened to a hook so far.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: a child starts with nothing attached. NULL: no argument may be NULL.
///
/// # Safety
/// `h` is NULL or a hook; `out` is NULL or has as many bytes as its `struct_size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_hook_get_stats(
    h: *const Hook,
    out: *mut selv_hook_stats,
) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        let hook = unsafe { h.as_ref() }.ok_or_else(|| null("hook"))?;
        let (attached, counts, jobs) = hook.counts(&mut hook.cache.lock());
        let stats = selv_hook_stats {
            struct_size: 0,
            reserved: 0,
            attached: attached as u64,
            starts: counts.starts,
            exits: counts.exits,
            start_failures: counts.start_failures,
            jobs,
            lost: counts.lost,
        };
        // SAFETY: as this function's own contract.
        unsafe { options::write(out, &stats) }
    })
}

/// The slot that `on_start` filled on the calling thread (a JNIEnv*, a PyThreadState*, ...), from its success to the end of
/// `on_exit`; NULL on a thread where the hook is not started.
///
/// Threads: any; each has its own. Blocks: no. Reentrancy: from any callback. Fork: the forking thread keeps the slots of
/// SELV_HOOK_FORK_KEEP hooks. NULL: gives NULL.
///
/// # Safety
/// `h` is NULL or a hook.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_hook_slot(h: *const Hook) -> *mut c_void {
    // SAFETY: as this function's own contract.
    unsafe { h.as_ref() }
        .and_then(attachment::slot_of)
        .map_or(std::ptr::null_mut(), |slot| slot.0)
}

/// 1 if the hook is started on the calling thread, else 0.
///
/// Threads: any; each has its own answer. Blocks: no. Reentrancy: from any callback. Fork: as `selv_hook_slot`. NULL: gives 0.
///
/// # Safety
/// `h` is NULL or a hook.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_hook_is_attached(h: *const Hook) -> i32 {
    // SAFETY: as this function's own contract.
    i32::from(
        unsafe { h.as_ref() }
            .and_then(attachment::slot_of)
            .is_some(),
    )
}

/// The `user` pointer that the hook was registered with. After `user_free` has run it is the host's to know whether
/// anything is behind it.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives NULL.
///
/// # Safety
/// `h` is NULL or a hook.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_hook_user(h: *const Hook) -> *mut c_void {
    // SAFETY: as this function's own contract.
    unsafe { h.as_ref() }.map_or(std::ptr::null_mut(), |h| h.callbacks.user.0)
}
