//! Selvedge, through its C ABI only.

use crate::latch::Latch;
use crate::pool::{Pool, Setup, Task};
use crate::selv::{self, CacheOptions, JobOptions};
use std::ffi::{c_void, CStr};
use std::mem::size_of;
use std::ptr::{null, null_mut};

pub struct Selvedge {
    cache: *mut selv::Cache,
    bulk: bool,
    run: bool,
}

// SAFETY: the library's handles may be used from every thread.
unsafe impl Sync for Selvedge {}
unsafe impl Send for Selvedge {}

/// The ways in which Selvedge itself is measured.
#[derive(Clone, Copy, Default)]
pub struct Variant {
    /// `SELV_NO_WAIT` as the cache's spin: workers sleep at once.
    pub no_spin: bool,
    /// `max_workers` is the size of the fixed pools.
    pub bounded: bool,
    /// Bursts go through `selv_cache_submit_many`.
    pub bulk: bool,
    /// Round trips go through `selv_cache_run`.
    pub run: bool,
}

/// Panics with the library's own words unless `status` is OK.
#[inline(always)]
pub fn check(status: selv::Status, what: &str) {
    if status != selv::OK {
        fail(status, what);
    }
}

#[cold]
#[inline(never)]
fn fail(status: selv::Status, what: &str) -> ! {
    let mut text = [0u8; 256];
    // SAFETY: the buffer's length is passed along, and status names are static strings.
    let name = unsafe {
        selv::selv_last_error(text.as_mut_ptr().cast(), text.len());
        CStr::from_ptr(selv::selv_status_name(status))
    };
    let detail = CStr::from_bytes_until_nul(&text).unwrap_or_default();
    panic!(
        "{what}: {}: {}",
        name.to_string_lossy(),
        detail.to_string_lossy()
    );
}

pub fn version() -> String {
    // SAFETY: a static string.
    unsafe { CStr::from_ptr(selv::selv_version()) }
        .to_string_lossy()
        .into_owned()
}

impl Selvedge {
    pub fn new(setup: &Setup, variant: Variant) -> Selvedge {
        let mut options = CacheOptions::zeroed();
        options.struct_size = size_of::<CacheOptions>() as u32;
        if variant.bounded {
            options.max_workers = setup.threads;
        }
        if variant.no_spin {
            options.spin = selv::NO_WAIT;
        }
        options.idle_timeout_ns = setup.idle.map_or(0, |idle| idle.as_nanos() as u64);
        let mut cache = null_mut();
        // SAFETY: both pointers are to live locals.
        check(
            unsafe { selv::selv_cache_new(&options, &mut cache) },
            "selv_cache_new",
        );
        Selvedge {
            cache,
            bulk: variant.bulk,
            run: variant.run,
        }
    }

    pub fn cache(&self) -> *mut selv::Cache {
        self.cache
    }
}

impl Pool for Selvedge {
    unsafe fn submit(&self, task: Task, arg: *mut c_void) {
        let status = selv::selv_start_thread_soon(
            self.cache,
            Some(task.job),
            Some(task.deliver),
            arg,
            null(),
        );
        check(status, "selv_start_thread_soon");
    }

    unsafe fn submit_many(&self, task: Task, arg: *mut c_void, count: usize) {
        if !self.bulk {
            for _ in 0..count {
                self.submit(task, arg);
            }
            return;
        }
        let mut job = JobOptions::zeroed();
        job.struct_size = size_of::<JobOptions>() as u32;
        job.fn_ = Some(task.job);
        job.deliver = Some(task.deliver);
        job.arg = arg;
        // Built for every burst: a host has to write its list of jobs too.
        let jobs = vec![job; count];
        let mut accepted = 0;
        check(
            selv::selv_cache_submit_many(self.cache, jobs.as_ptr(), count, &mut accepted),
            "selv_cache_submit_many",
        );
    }

    unsafe fn round_trip(&self, task: Task, arg: *mut c_void, latch: &Latch) {
        if self.run {
            // The call itself waits for the job, so no latch is needed.
            let mut outcome = selv::Outcome::zeroed();
            let status =
                selv::selv_cache_run(self.cache, Some(task.job), arg, selv::FOREVER, &mut outcome);
            check(status, "selv_cache_run");
        } else {
            latch.arm(1);
            self.submit(task, arg);
            self.wait(latch);
        }
    }
}

impl Drop for Selvedge {
    fn drop(&mut self) {
        let mut remaining = 0;
        // SAFETY: nothing is submitted any more, and the handle is released once.
        unsafe {
            check(
                selv::selv_cache_shutdown(self.cache, 0, 10_000_000_000, &mut remaining),
                "selv_cache_shutdown",
            );
            selv::selv_cache_release(self.cache);
        }
    }
}
