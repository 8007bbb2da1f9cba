//! What a thread pool has to do to be measured: run a C function on one of its threads.

use crate::latch::Latch;
use crate::selv::Outcome;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One job, in the shapes that pools take. Each tells `mark_thread` once, on the thread of the pool.
#[derive(Clone, Copy)]
pub struct Task {
    /// Work and its end in one.
    pub run: unsafe extern "C" fn(*mut c_void),
    /// Selvedge's two halves.
    pub job: unsafe extern "C" fn(*mut c_void, *mut *mut c_void) -> i32,
    pub deliver: unsafe extern "C" fn(*mut c_void, *const Outcome),
    /// The two halves for pools that complete in an event loop.
    pub work: unsafe extern "C" fn(*mut c_void),
    pub done: unsafe extern "C" fn(*mut c_void),
}

/// What a job does. A trait and not a pair of functions, so that every entry point is compiled with it inline.
///
/// # Safety
/// `arg` is what the scenario gave to `submit`, alive until `done` returns.
pub trait Action {
    /// The blocking work. Most jobs here are empty.
    unsafe fn work(_arg: *mut c_void) {}
    /// Tells whoever waits.
    unsafe fn done(arg: *mut c_void);
}

impl Task {
    pub fn of<A: Action>() -> Task {
        unsafe extern "C" fn run<A: Action>(arg: *mut c_void) {
            mark_thread();
            A::work(arg);
            A::done(arg);
        }
        unsafe extern "C" fn job<A: Action>(arg: *mut c_void, _value: *mut *mut c_void) -> i32 {
            mark_thread();
            A::work(arg);
            0
        }
        unsafe extern "C" fn deliver<A: Action>(arg: *mut c_void, _outcome: *const Outcome) {
            A::done(arg)
        }
        unsafe extern "C" fn work<A: Action>(arg: *mut c_void) {
            mark_thread();
            A::work(arg);
        }
        unsafe extern "C" fn done<A: Action>(arg: *mut c_void) {
            A::done(arg)
        }
        Task {
            run: run::<A>,
            job: job::<A>,
            deliver: deliver::<A>,
            work: work::<A>,
            done: done::<A>,
        }
    }
}

// ---- which threads ran jobs ----

static GENERATION: AtomicU64 = AtomicU64::new(0);
static DISTINCT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static SEEN: Cell<u64> = const { Cell::new(0) };
}

/// From here on `threads_seen` counts the distinct threads that ran a job.
pub fn count_threads() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    DISTINCT.store(0, Ordering::Relaxed);
}

pub fn threads_seen() -> f64 {
    DISTINCT.load(Ordering::Relaxed) as f64
}

fn mark_thread() {
    SEEN.with(|seen| {
        let generation = GENERATION.load(Ordering::Relaxed);
        if seen.get() != generation {
            seen.set(generation);
            DISTINCT.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// How a pool is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Threads of a fixed pool.
    pub threads: u32,
    /// Grow without a bound, where the pool can choose.
    pub unbounded: bool,
    /// How long an idle thread lives; `None` for the pool's own default.
    pub idle: Option<Duration>,
}

pub trait Pool: Sync {
    /// # Safety
    /// `arg` stays valid until the task has run.
    unsafe fn submit(&self, task: Task, arg: *mut c_void);

    /// # Safety
    /// As for `submit`, for all `count` runs.
    unsafe fn submit_many(&self, task: Task, arg: *mut c_void, count: usize) {
        for _ in 0..count {
            self.submit(task, arg);
        }
    }

    /// One job there and back. Pools whose own blocking call is measured replace it.
    ///
    /// # Safety
    /// As for `submit`; `task` signals `latch` once.
    unsafe fn round_trip(&self, task: Task, arg: *mut c_void, latch: &Latch) {
        latch.arm(1);
        self.submit(task, arg);
        self.wait(latch);
    }

    /// Waits until `latch` is done. Pools that complete in a loop of the caller's run that loop in place of sleeping.
    fn wait(&self, latch: &Latch) {
        latch.wait();
    }
}

/// A pointer that may go to another thread: the scenarios keep what it points to alive.
#[derive(Clone, Copy)]
pub struct Arg(pub *mut c_void);
// SAFETY: only ever dereferenced by the scenario's own action, which uses atomics.
unsafe impl Send for Arg {}
unsafe impl Sync for Arg {}

impl Arg {
    /// Runs the task's function. A method, so that closures capture the whole `Arg` and with it its `Send`.
    pub fn run(self, task: Task) {
        // SAFETY: whoever submitted promised that the argument is valid until the task has run.
        unsafe { (task.run)(self.0) }
    }
}
