//! Work of the library's own that is left over where it cannot be done, on a thread that is ending for instance: a worker of the default
//! cache does it. What is left over travels as a value, so that it is somebody's at any time: the caller's, the job's or the work's.

use super::cache::Cache;
use super::callback::{JobFn, Opaque};
use super::job::{Job, Needs};
use super::name::Name;
use super::submit;
use std::ffi::c_void;

/// Has a worker call `work` with `what`.
///
/// # Errors
/// No thread can be started: `what` is given back.
pub fn run<T: Send + 'static>(what: T, work: fn(T), name: Name) -> Result<(), T> {
    unsafe extern "C-unwind" fn job<T>(pair: *mut c_void, _: *mut *mut c_void) -> i32 {
        // SAFETY: the pointer that is given away below, once.
        let (what, work) = *unsafe { Box::from_raw(pair.cast::<(T, fn(T))>()) };
        work(what);
        0
    }
    let pair = Box::into_raw(Box::new((what, work)));
    let job = Job {
        // SAFETY: made for the pointer that goes with it; `T` may go to any thread.
        run: unsafe { JobFn::new(job::<T>) },
        deliver: None,
        arg: Opaque(pair.cast()),
        arg_free: None,
        name,
        needs: Needs::Nothing,
        accepted_at: 0,
        ticket: None,
    };
    let cache = Cache::default_cache();
    let sent = submit::submit(&cache, |accepted_at| Job { accepted_at, ..job });
    cache.release();
    sent.map_err(|_| {
        // SAFETY: the job was refused, so the pointer is still ours.
        let (what, _) = *unsafe { Box::from_raw(pair) };
        what
    })
}

/// The same; where no thread can be started, here. Better so than never.
pub fn run_or_here<T: Send + 'static>(what: T, work: fn(T)) {
    if let Err(what) = run(what, work, Name::NONE) {
        work(what);
    }
}
