//! `selv_cache`: the thread cache.

use super::status::selv_status;
use super::support::guard::{finish, guard};
use super::support::handles::{borrow, null, put, required, share, text};
use super::support::options::{self, Sized32};
use crate::core::cache::{Cache, Options, Spawner};
use crate::core::callback::{JoinFn, Opaque, SpawnFn};
use crate::core::error::{self, Error};
use crate::core::panic::step;
use crate::core::shutdown;
use crate::core::spin;
use crate::sys::clock::NO_WAIT;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// For `selv_cache_shutdown`: jobs that no worker has begun are delivered with SELV_E_CANCELLED, on the calling thread.
pub const SELV_SHUTDOWN_CANCEL_QUEUED: u32 = 1;

/// A host's own way to start a worker thread: starts a thread that calls `entry(entry_arg)` once, and returns SELV_OK; or returns an
/// error, and then `entry` must never be called. It must not wait for the thread, nor call `entry` itself, and must return. Called on
/// the thread that submits a job, or on a worker. `name` is valid during the call; `stack_size` is that of the options.
/// `*out_handle` (NULL before) is given to `join`.
#[allow(non_camel_case_types)]
pub type selv_spawn_fn = Option<
    unsafe extern "C-unwind" fn(
        data: *mut c_void,
        entry: unsafe extern "C-unwind" fn(entry_arg: *mut c_void),
        entry_arg: *mut c_void,
        name: *const c_char,
        stack_size: usize,
        out_handle: *mut *mut c_void,
    ) -> selv_status,
>;

/// Waits for the end of a thread that the host's `spawn` started, and frees its handle. Called once for each, after `entry` has
/// done its work and is about to return; on any other thread that uses the cache. Must return.
#[allow(non_camel_case_types)]
pub type selv_join_fn = Option<unsafe extern "C-unwind" fn(data: *mut c_void, handle: *mut c_void)>;

/// Options of a cache. Start from SELV_CACHE_OPTIONS_INIT; a zero is the default.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_cache_options {
    /// sizeof(selv_cache_options)
    pub struct_size: u32,
    /// The most workers at a time; past it, jobs queue in order. 0: no bound, every job runs at once.
    pub max_workers: u32,
    /// UTF-8; workers are named "<name>-<number>". Its first 24 bytes count. NULL: "selv".
    pub name: *const c_char,
    /// Nanoseconds after which an idle worker ends. 0: 10 s. SELV_NO_WAIT: at once. SELV_FOREVER: never.
    pub idle_timeout_ns: u64,
    /// Bytes of a worker's stack, raised to the system's minimum and rounded up to whole pages. 0: the C library's default.
    pub stack_size: usize,
    /// Nanoseconds that an idle worker looks for its next job before it sleeps, at most; one worker of the process does so at a
    /// time, none on a single processor, and less when it was in vain. 0: 13 µs. SELV_NO_WAIT: none. At most 1 s.
    pub spin: u64,
    /// Starts the worker threads. NULL: the library does.
    pub spawn: selv_spawn_fn,
    /// Joins them. May be NULL: then nobody waits for their very end. Without `spawn` it must be NULL.
    pub join: selv_join_fn,
    /// Given to `spawn` and `join`.
    pub spawn_data: *mut c_void,
}

// SAFETY: begins with its size; integers, pointers and optional functions may be zero.
unsafe impl Sized32 for selv_cache_options {
    const NAME: &'static str = "selv_cache_options";
}

/// What has happened in a cache. Set `struct_size`, as SELV_CACHE_STATS_INIT does. In a fork child everything counts from 0.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_cache_stats {
    /// sizeof(selv_cache_stats)
    pub struct_size: u32,
    pub reserved: u32,
    /// Living workers: `idle + busy`.
    pub workers: u64,
    /// Workers that are ready for a job; one that is delivering is ready.
    pub idle: u64,
    /// Workers that run a job, start, or end.
    pub busy: u64,
    /// Workers started.
    pub started: u64,
    /// Workers that have left, with their hooks exited.
    pub exited: u64,
    /// Jobs accepted.
    pub jobs_accepted: u64,
    /// Jobs delivered, in whatever way; counted just before `deliver` is called.
    pub jobs_delivered: u64,
    /// Jobs that wait for a worker (with `max_workers`).
    pub jobs_queued: u64,
    /// Starts and befores of hooks that failed.
    pub hook_failures: u64,
    /// Threads that could not be started.
    pub spawn_failures: u64,
    /// The most workers at a time.
    pub peak_workers: u64,
    /// Threads that a runtime ended inside a callback, or that ended without `selv_thread_leave`.
    pub threads_lost: u64,
    /// The host's own threads between `selv_thread_enter` and `selv_thread_leave`.
    pub threads_entered: u64,
}

// SAFETY: begins with its size, and consists of integers.
unsafe impl Sized32 for selv_cache_stats {
    const NAME: &'static str = "selv_cache_stats";
}

fn options_from(o: &selv_cache_options, name: Option<&str>) -> error::Result<Options> {
    if o.join.is_some() && o.spawn.is_none() {
        return Err(Error::new(
            error::INVAL,
            "selv_cache_options.join is set without spawn",
        ));
    }
    let default = Options::default();
    Ok(Options {
        name: name.map_or(default.name, str::to_owned),
        idle_timeout_ns: match o.idle_timeout_ns {
            0 => default.idle_timeout_ns,
            ns => ns,
        },
        stack_size: o.stack_size,
        max_workers: o.max_workers,
        spin_ns: match o.spin {
            0 => spin::DEFAULT_NS,
            NO_WAIT => 0,
            ns => ns.min(spin::MOST_NS),
        },
        spawner: o.spawn.map(|spawn| Spawner {
            // SAFETY: the host promises that its callbacks may run on any thread, as their types say.
            spawn: unsafe { SpawnFn::new(spawn) },
            // SAFETY: as above.
            join: o.join.map(|f| unsafe { JoinFn::new(f) }),
            data: Opaque(o.spawn_data),
        }),
    })
}

/// Makes a thread cache. It has no thread until it gets its first job.
///
/// `opts` NULL: all defaults. `out` gets a handle with one reference, NULL on failure.
///
/// Returns SELV_OK; SELV_E_NULL (`out`); SELV_E_INVAL (`struct_size`, a name that is not UTF-8, `join` without `spawn`);
/// SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: the cache works in a child, at once and with no workers. NULL:
/// `opts` may be NULL, `out` not.
///
/// # Safety
/// `opts` is NULL or has as many bytes as its `struct_size` says; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_cache_new(
    opts: *const selv_cache_options,
    out: *mut *mut Cache,
) -> selv_status {
    guard(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, std::ptr::null_mut()) };
        let options = if opts.is_null() {
            Options::default()
        } else {
            // SAFETY: as this function's own contract.
            let o = unsafe { options::read(opts) }?;
            // SAFETY: as this function's own contract.
            let name = unsafe { text(o.name, "selv_cache_options.name") }?;
            options_from(&o, name)?
        };
        // SAFETY: `to` is writable.
        unsafe { put(to, share(Cache::new(options))) };
        Ok(())
    })
}

/// The process's shared cache, with default options: one for all languages in the process. Made at the first call; never shut down.
///
/// `out` gets a new reference, to be released like any other.
///
/// Returns SELV_OK; SELV_E_NULL.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: the same cache works in a child. NULL: `out` must not be NULL.
///
/// # Safety
/// `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_cache_default(out: *mut *mut Cache) -> selv_status {
    guard(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, share(Cache::default_cache())) };
        Ok(())
    })
}

/// One more reference to a cache; gives `c` back.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives NULL.
///
/// # Safety
/// `c` is NULL or a cache.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_cache_retain(c: *mut Cache) -> *mut Cache {
    // SAFETY: as this function's own contract.
    if let Some(cache) = unsafe { c.as_ref() } {
        cache.retain();
        // SAFETY: a living handle.
        unsafe { Arc::increment_strong_count(c) };
    }
    c
}

/// Gives a reference back. With the last one gone no job can come any more: those accepted finish and are delivered, the workers
/// exit their hooks and end by themselves, and then the `user_free` of hooks that are still registered is called, by the last of them.
/// Nobody waits for that, nor joins the last threads (a host's `join` is not called for them, and `user_free` of a
/// SELV_HOOK_RETIRE hook may come before the thread's very end); to wait, call `selv_cache_shutdown` before.
///
/// Threads: any. Blocks: no, beyond `user_free`. Reentrancy: from any callback. Fork: works. NULL: does nothing.
///
/// # Safety
/// `c` is NULL or a reference that has not been released.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_cache_release(c: *mut Cache) {
    if !c.is_null() {
        // SAFETY: a living handle, given back once.
        shutdown::release(unsafe { Arc::from_raw(c) });
    }
}

/// Sets how long an idle worker stays, in nanoseconds, also for those that are idle now (they count from when they became
/// idle). 0 or SELV_NO_WAIT: it ends at once. SELV_FOREVER: it stays.
///
/// Returns SELV_OK; SELV_E_NULL.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: `c` must not be NULL.
///
/// # Safety
/// `c` is NULL or a cache.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_cache_set_idle_timeout(c: *mut Cache, ns: u64) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        unsafe { borrow(c, "cache") }?.set_idle_timeout_ns(ns);
        Ok(())
    })
}

/// Lets idle workers go, those that have been idle for longest first, until `keep_idle` are left. They exit their hooks and end soon
/// after; nobody waits for it.
///
/// Returns SELV_OK; SELV_E_NULL.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: `c` must not be NULL.
///
/// # Safety
/// `c` is NULL or a cache.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_cache_trim(c: *mut Cache, keep_idle: u32) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        shutdown::trim(&*unsafe { borrow(c, "cache") }?, keep_idle);
        Ok(())
    })
}

/// Shuts a cache down: new jobs are refused with SELV_E_CLOSED, accepted ones finish and are delivered (or queued on their host loop, whose
/// drain is not waited for), every worker exits its hooks and ends, and is joined. A guest that sleeps on a worker is waited for, too: stop
/// it first. It may be called again, and then goes on waiting. It frees nothing: release the handle after it.
///
/// `flags`: 0, or SELV_SHUTDOWN_CANCEL_QUEUED. `out_remaining` (may be NULL) gets how many threads are left: 0 on success.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown flags; nothing changes); SELV_E_TIMEDOUT (threads are left, also with timeout 0; the
/// shutdown goes on by itself);
/// SELV_E_DEADLOCK (on the cache's own worker with a timeout above 0: nothing changes; with 0 it begins);
/// SELV_E_UNSUPPORTED (the default cache: use `selv_cache_trim`).
///
/// Threads: any. Blocks: up to `timeout_ns` nanoseconds; 0 begins and returns. Reentrancy: from any callback, with timeout 0 on
/// workers. Fork: works in a child, which has no workers of the parent. NULL: `c` must not be NULL.
///
/// # Safety
/// `c` is NULL or a cache; `out_remaining` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_cache_shutdown(
    c: *mut Cache,
    flags: u32,
    timeout_ns: u64,
    out_remaining: *mut u32,
) -> selv_status {
    // SAFETY: `out_remaining` is NULL or writable.
    unsafe { put(out_remaining, 0) };
    let checked = step(|| {
        // SAFETY: as this function's own contract.
        let cache = unsafe { borrow(c, "cache") }?;
        match flags & !SELV_SHUTDOWN_CANCEL_QUEUED {
            0 => Ok(cache),
            unknown => Err(Error::new(
                error::INVAL,
                format!("flags has unknown bits {unknown:#x}"),
            )),
        }
    });
    let cache = match checked {
        Ok(cache) => cache,
        Err(e) => return finish(Err(e)),
    };
    // A `deliver` may release the host's last reference while the cache is in use here.
    let cache = Arc::clone(&cache);
    let mut remaining = 0;
    let cancel = flags & SELV_SHUTDOWN_CANCEL_QUEUED != 0;
    let result = shutdown::shutdown(&cache, cancel, timeout_ns, &mut remaining);
    // SAFETY: `out_remaining` is NULL or writable.
    unsafe { put(out_remaining, remaining) };
    finish(result)
}

/// What has happened in a cache so far.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (`struct_size`).
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: a child counts from 0. NULL: no argument may be NULL.
///
/// # Safety
/// `c` is NULL or a cache; `out` is NULL or has as many bytes as its `struct_size` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_cache_get_stats(
    c: *const Cache,
    out: *mut selv_cache_stats,
) -> selv_status {
    guard(|| {
        // SAFETY: as this function's own contract.
        let s = unsafe { c.as_ref() }.ok_or_else(|| null("cache"))?.stats();
        let stats = selv_cache_stats {
            struct_size: 0,
            reserved: 0,
            workers: s.counts.workers,
            idle: s.idle,
            busy: s.counts.workers - s.idle,
            started: s.counts.started,
            exited: s.counts.exited,
            jobs_accepted: s.counts.accepted,
            jobs_delivered: s.delivered,
            jobs_queued: s.queued,
            hook_failures: s.counts.hook_failures,
            spawn_failures: s.counts.spawn_failures,
            peak_workers: s.counts.peak_workers,
            threads_lost: s.counts.lost,
            threads_entered: s.counts.entered,
        };
        // SAFETY: as this function's own contract.
        unsafe { options::write(out, &stats) }
    })
}
