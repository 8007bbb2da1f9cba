//! The pools written in C and C++, behind `peers/peer.h`.

use crate::latch::Latch;
use crate::pool::{Pool, Setup, Task};
use std::ffi::c_void;

/// `bench_peer` of `peers/peer.h`.
#[repr(C)]
pub struct Vtable {
    create: unsafe extern "C" fn(threads: u32, idle_ns: u64) -> *mut c_void,
    submit: Option<
        unsafe extern "C" fn(
            pool: *mut c_void,
            fn_: unsafe extern "C" fn(*mut c_void),
            arg: *mut c_void,
        ),
    >,
    submit_split: Option<
        unsafe extern "C" fn(
            pool: *mut c_void,
            work: unsafe extern "C" fn(*mut c_void),
            done: unsafe extern "C" fn(*mut c_void),
            arg: *mut c_void,
        ),
    >,
    drive: Option<unsafe extern "C" fn(pool: *mut c_void)>,
    destroy: unsafe extern "C" fn(pool: *mut c_void),
}

// `NATIVE`: each peer's id with its table, or with the reason why it is not here.
include!(concat!(env!("OUT_DIR"), "/native.rs"));

pub struct Native {
    vtable: &'static Vtable,
    pool: *mut c_void,
}

// SAFETY: each of these pools takes work from every thread; libuv's file keeps a loop per thread.
unsafe impl Sync for Native {}
unsafe impl Send for Native {}

pub fn find(id: &str) -> Result<&'static Vtable, &'static str> {
    NATIVE
        .iter()
        .find(|(name, _)| *name == id)
        .map_or(Err("unknown"), |(_, found)| match found {
            Ok(vtable) => Ok(*vtable),
            Err(reason) => Err(*reason),
        })
}

impl Native {
    pub fn new(vtable: &'static Vtable, setup: &Setup) -> Native {
        let threads = if setup.unbounded { 0 } else { setup.threads };
        let idle = setup.idle.map_or(0, |idle| idle.as_nanos() as u64);
        // SAFETY: a function of the peer's file, with the arguments that peer.h asks for.
        let pool = unsafe { (vtable.create)(threads, idle) };
        assert!(!pool.is_null(), "the pool cannot be created");
        Native { vtable, pool }
    }
}

impl Pool for Native {
    unsafe fn submit(&self, task: Task, arg: *mut c_void) {
        match (self.vtable.submit, self.vtable.submit_split) {
            (Some(submit), _) => submit(self.pool, task.run, arg),
            (None, Some(submit)) => submit(self.pool, task.work, task.done, arg),
            (None, None) => unreachable!("a peer that takes no work"),
        }
    }

    fn wait(&self, latch: &Latch) {
        match self.vtable.drive {
            // SAFETY: the pool lives as long as `self`.
            Some(drive) => unsafe {
                drive(self.pool);
                assert!(latch.is_done(), "the loop ended before its completions");
            },
            None => latch.wait(),
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: created by the same table, destroyed once.
        unsafe { (self.vtable.destroy)(self.pool) }
    }
}
