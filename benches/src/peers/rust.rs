//! The pools that are Rust crates, called directly: a C boundary in front of them would only make them look slower.

use crate::pool::{Arg, Pool, Setup, Task};
use std::ffi::c_void;

pub struct Rayon(rayon::ThreadPool);

impl Rayon {
    pub fn new(setup: &Setup) -> Rayon {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(setup.threads as usize);
        Rayon(builder.build().expect("rayon cannot start its threads"))
    }
}

impl Pool for Rayon {
    unsafe fn submit(&self, task: Task, arg: *mut c_void) {
        let arg = Arg(arg);
        self.0.spawn(move || arg.run(task));
    }
}

/// tokio's blocking pool. A current-thread runtime: the asynchronous workers have no part in it.
pub struct Tokio(tokio::runtime::Runtime);

impl Tokio {
    pub fn new(setup: &Setup) -> Tokio {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        if let Some(idle) = setup.idle {
            builder.thread_keep_alive(idle);
        }
        Tokio(builder.build().expect("tokio cannot start"))
    }
}

impl Pool for Tokio {
    unsafe fn submit(&self, task: Task, arg: *mut c_void) {
        let arg = Arg(arg);
        self.0.spawn_blocking(move || arg.run(task));
    }
}

/// The crate `blocking`: one pool for the process, of up to 500 threads. Nothing to create.
pub struct Blocking;

impl Pool for Blocking {
    unsafe fn submit(&self, task: Task, arg: *mut c_void) {
        let arg = Arg(arg);
        blocking::unblock(move || arg.run(task)).detach();
    }
}

pub struct Threadpool(threadpool::ThreadPool);

impl Threadpool {
    pub fn new(setup: &Setup) -> Threadpool {
        Threadpool(threadpool::ThreadPool::new(setup.threads as usize))
    }
}

impl Pool for Threadpool {
    unsafe fn submit(&self, task: Task, arg: *mut c_void) {
        let arg = Arg(arg);
        self.0.execute(move || arg.run(task));
    }
}

impl Drop for Threadpool {
    fn drop(&mut self) {
        self.0.join();
    }
}

/// No pool at all: a detached thread for every job.
pub struct StdThread;

impl Pool for StdThread {
    unsafe fn submit(&self, task: Task, arg: *mut c_void) {
        let arg = Arg(arg);
        std::thread::Builder::new()
            .spawn(move || arg.run(task))
            .expect("the system cannot start another thread");
    }
}
