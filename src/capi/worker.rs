//! The thread that a callback runs on, and entering a cache with a thread of the host's own.

use super::hook::selected;
use super::status::selv_status;
use super::support::guard::finish;
use super::support::handles::borrow;
use crate::core::cache::Cache;
use crate::core::entered;
use crate::core::error::Result;
use crate::core::hook::Hook;
use crate::core::panic::step;
use crate::core::worker::{self, Worker};
use std::ffi::c_char;

/// The record of the calling thread: as a worker, or as a thread that has entered a cache (the last one that it entered);
/// NULL on any other thread. It is valid as long as the thread is on the cache.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: the forking thread keeps its own. NULL: returned off the caches.
#[unsafe(no_mangle)]
pub extern "C" fn selv_worker_current() -> *const Worker {
    worker::current().map_or(std::ptr::null(), |w| w.as_ptr())
}

/// A number that no other worker of the process had or will have; at least 1. 0 for NULL.
///
/// Threads: any, while the worker lives. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives 0.
///
/// # Safety
/// `w` is NULL or a living worker.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_worker_id(w: *const Worker) -> u64 {
    // SAFETY: promised by the caller.
    unsafe { w.as_ref() }.map_or(0, |w| w.id.get())
}

/// The worker's name: its cache's prefix and its number. The string is valid as long as the worker is on the cache. "" for NULL.
///
/// Threads: any, while the worker lives. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: gives "".
///
/// # Safety
/// `w` is NULL or a living worker.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_worker_name(w: *const Worker) -> *const c_char {
    // SAFETY: promised by the caller.
    unsafe { w.as_ref() }.map_or(c"".as_ptr(), |w| Worker::name_c(&w.name).as_ptr())
}

/// Starts hooks of a cache on the calling thread, one of the host's own, as if it were a worker: `selv_hook_slot` and
/// `selv_worker_current` work on it from now on. The thread runs no jobs. Calls nest and count: hooks that a nested call
/// adds stay started until the outermost `selv_thread_leave`. On a worker of the cache it starts what is missing, for the rest
/// of the worker's life.
///
/// `hooks` NULL: every hook that is not SELV_HOOK_LAZY; not NULL with `count` 0: none; else exactly these.
/// A thread that ends without leaving is counted in `threads_lost`; its hooks are not called, and nobody waits for it.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (a hook of another cache; two that hold a global interpreter lock);
/// SELV_E_HOOK_FAILED (what had been started is exited again, and the thread is as it was); SELV_E_CLOSED; SELV_E_FORKED;
/// SELV_E_REENTRANT (inside a callback of a hook of this cache).
///
/// Threads: any. Blocks: as long as the hooks do. Reentrancy: not from callbacks of hooks; else from any. Fork: the forking
/// thread stays entered in the child, with the SELV_HOOK_FORK_KEEP hooks. NULL: `c`, the elements of `hooks`, and `hooks` with a
/// `count` must not be NULL.
///
/// # Safety
/// `c` is NULL or a cache; `hooks` is NULL or has `count` hooks.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_thread_enter(
    c: *mut Cache,
    hooks: *const *mut Hook,
    count: usize,
) -> selv_status {
    // SAFETY: as this function's own contract.
    let cache = match step(|| unsafe { borrow(c, "cache") }) {
        Ok(cache) => cache,
        Err(e) => return finish(Err(e)),
    };
    // SAFETY: as this function's own contract.
    let (needs, named) = match step(|| unsafe { selected(&cache, hooks, count, "hooks") }) {
        Ok(selected) => selected,
        Err(e) => return finish(Err(e)),
    };
    finish(entered::enter(&cache, needs, &named))
}

/// Undoes one `selv_thread_enter`; the outermost one exits the hooks, the last started first.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_NOT_OWNER (this thread has not entered the cache); SELV_E_REENTRANT (inside a callback of a
/// hook of this cache).
///
/// Threads: the one that entered. Blocks: as long as the hooks' exits do. Reentrancy: not from callbacks of hooks; else from any.
/// Fork: the forking thread may leave in the child. NULL: `c` must not be NULL.
///
/// # Safety
/// `c` is NULL or a cache.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_thread_leave(c: *mut Cache) -> selv_status {
    // SAFETY: as this function's own contract.
    let left: Result<()> =
        step(|| unsafe { borrow(c, "cache") }).and_then(|cache| entered::leave(&cache));
    finish(left)
}
