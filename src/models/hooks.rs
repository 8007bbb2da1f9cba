//! Hooks that come, fail and go while workers start them: once a removal has returned, nothing of the hook runs any more.

use super::*;
use crate::core::callback::{ExitFn, StartFn};
use crate::core::hook::{self, Callbacks};
use crate::core::unregister::unregister;
use crate::core::worker::Worker;
use loom::thread;
use std::sync::atomic::AtomicBool;

/// What a runtime would see. Like the probes' counters these order nothing.
#[derive(Default)]
struct Runtime {
    starts: AtomicU32,
    exits: AtomicU32,
    frees: AtomicU32,
    /// How many starts are yet to fail.
    failures: AtomicU32,
    /// `user_free` has been called, and waits while it is held.
    freeing: AtomicBool,
    held: AtomicBool,
    /// The removal has returned.
    gone: AtomicBool,
}

impl Runtime {
    fn register(self: &Arc<Self>, cache: &Arc<Cache>, flags: u32) -> Arc<Hook> {
        // SAFETY: the functions take what such callbacks are called with.
        let callbacks = unsafe {
            Callbacks {
                on_start: Some(StartFn::new(on_start)),
                on_exit: Some(ExitFn::new(on_exit)),
                before_job: None,
                after_job: None,
                user: Opaque(Arc::as_ptr(self).cast_mut().cast()),
                user_free: Some(FreeFn::new(user_free)),
            }
        };
        hook::register(cache, "runtime", flags, callbacks).expect("registers")
    }

    /// What may be relied on when the removal has returned.
    fn check_gone(&self) {
        self.gone.store(true, Relaxed);
        assert_eq!(self.starts.load(Relaxed), self.exits.load(Relaxed));
        assert_eq!(self.frees.load(Relaxed), 1);
    }

    fn of<'a>(user: *mut c_void) -> &'a Runtime {
        // SAFETY: each model keeps its runtimes until after the shutdown.
        let runtime = unsafe { &*user.cast::<Runtime>() };
        assert!(!runtime.gone.load(Relaxed), "a callback after the removal");
        runtime
    }
}

unsafe extern "C-unwind" fn on_start(
    user: *mut c_void,
    _worker: *const Worker,
    _slot: *mut *mut c_void,
) -> i32 {
    // Attaching takes time: the others may run.
    thread::yield_now();
    let runtime = Runtime::of(user);
    let left = runtime.failures.load(Relaxed);
    if left > 0 {
        runtime.failures.store(left - 1, Relaxed);
        return 7;
    }
    runtime.starts.fetch_add(1, Relaxed);
    0
}

unsafe extern "C-unwind" fn on_exit(user: *mut c_void, _worker: *const Worker, _slot: *mut c_void) {
    thread::yield_now();
    Runtime::of(user).exits.fetch_add(1, Relaxed);
}

unsafe extern "C-unwind" fn user_free(user: *mut c_void) {
    let runtime = Runtime::of(user);
    runtime.freeing.store(true, Relaxed);
    while runtime.held.load(Relaxed) {
        thread::yield_now();
    }
    runtime.frees.fetch_add(1, Relaxed);
}

fn remove(hook: &Hook) {
    let mut attached = 9;
    unregister(hook, FOREVER, &mut attached).expect("a removal that may wait for ever");
    assert_eq!(attached, 0);
}

fn begin_removal(hook: &Hook) {
    let begun = unregister(hook, 0, &mut 0).expect_err("a worker has the hook started");
    assert_eq!(begun.status, error::TIMEDOUT);
}

/// A worker is about to start the hook while it is removed.
#[test]
fn unregister_against_start() {
    explore(3, || {
        let cache = cache(Idle::Stays, 0);
        let runtime = Arc::new(Runtime::default());
        let hook = runtime.register(&cache, 0);
        let job = Probe::new();
        assert!(job.submit(&cache));
        remove(&hook);
        runtime.check_gone();
        finish(&cache);
        job.check_ran_or_lacked_its_hook();
    });
}

/// The same with a job that names the hook: it was accepted before the removal, and needs the hook after it.
#[test]
fn unregister_against_named_start() {
    explore(3, || {
        let cache = cache(Idle::Stays, 0);
        let runtime = Arc::new(Runtime::default());
        let hook = runtime.register(&cache, hook::LAZY);
        let job = Probe::new();
        assert!(job.submit_naming(&cache, &hook));
        remove(&hook);
        runtime.check_gone();
        finish(&cache);
        let started = runtime.starts.load(Relaxed) == 1;
        job.check_delivered(if started {
            error::OK
        } else {
            error::HOOK_FAILED
        });
    });
}

/// A hook that is removed from two workers, which come and go.
#[test]
fn unregister_against_two_workers() {
    explore(2, || {
        let cache = cache(Idle::TimesOut, 0);
        let runtime = Arc::new(Runtime::default());
        let hook = runtime.register(&cache, 0);
        let jobs = [Probe::new(), Probe::new()];
        for job in &jobs {
            assert!(job.submit(&cache));
        }
        remove(&hook);
        runtime.check_gone();
        finish(&cache);
        jobs.iter()
            .for_each(|job| job.check_ran_or_lacked_its_hook());
    });
}

/// Two hooks of one worker are removed at once, and a job comes in the middle.
#[test]
fn two_removals() {
    explore(2, || {
        let cache = cache(Idle::Stays, 0);
        let runtimes = [Arc::new(Runtime::default()), Arc::new(Runtime::default())];
        let hooks = [
            runtimes[0].register(&cache, 0),
            runtimes[1].register(&cache, 0),
        ];
        Probe::warm_up(&cache);
        let other = thread::spawn({
            let (hook, runtime) = (Arc::clone(&hooks[0]), Arc::clone(&runtimes[0]));
            move || {
                remove(&hook);
                runtime.check_gone();
            }
        });
        remove(&hooks[1]);
        runtimes[1].check_gone();
        other.join().unwrap();
        finish(&cache);
    });
}

/// A worker that has exited one hook is listed as idle, and may be given a job, before it has freed the hook's data; and then
/// another removal begins.
#[test]
fn removal_after_lining_up() {
    explore(2, || {
        let cache = cache(Idle::Stays, 0);
        let runtimes = [Arc::new(Runtime::default()), Arc::new(Runtime::default())];
        let hooks = [
            runtimes[0].register(&cache, 0),
            runtimes[1].register(&cache, 0),
        ];
        Probe::warm_up(&cache);
        runtimes[0].held.store(true, Relaxed);
        begin_removal(&hooks[0]);
        while !runtimes[0].freeing.load(Relaxed) {
            thread::yield_now();
        }
        let job = Probe::new();
        assert!(job.submit(&cache));
        begin_removal(&hooks[1]);
        runtimes[0].held.store(false, Relaxed);
        for (hook, runtime) in hooks.iter().zip(&runtimes) {
            remove(hook);
            runtime.check_gone();
        }
        finish(&cache);
        job.check_ran_or_lacked_its_hook();
    });
}

/// A hook that fails once, and two jobs that need it: each is delivered, and the cache stays healthy.
#[test]
fn failing_hook_against_second_submit() {
    explore(2, || {
        let cache = cache(Idle::Stays, 0);
        let runtime = Arc::new(Runtime::default());
        runtime.failures.store(1, Relaxed);
        let hook = runtime.register(&cache, 0);
        let jobs = [Probe::new(), Probe::new()];
        for job in &jobs {
            assert!(job.submit(&cache));
        }
        finish(&cache);
        let failed = |job: &Arc<Probe>| job.status.load(Relaxed) == error::HOOK_FAILED;
        assert_eq!(jobs.iter().filter(|job| failed(job)).count(), 1);
        for job in &jobs {
            job.check_delivered(if failed(job) {
                error::HOOK_FAILED
            } else {
                error::OK
            });
        }
        remove(&hook);
        runtime.check_gone();
    });
}

/// An EAGER hook is registered while the worker lines up: it is started before the next job, in whichever order it is told.
#[test]
fn register_against_lining_up() {
    explore(2, || {
        let cache = cache(Idle::Stays, 0);
        let runtime = Arc::new(Runtime::default());
        let jobs = [Probe::new(), Probe::new()];
        assert!(jobs[0].submit(&cache));
        let hook = runtime.register(&cache, hook::EAGER);
        assert!(jobs[1].submit(&cache));
        finish(&cache);
        jobs.iter().for_each(|job| job.check_delivered(error::OK));
        assert!(runtime.starts.load(Relaxed) >= 1);
        remove(&hook);
        runtime.check_gone();
    });
}
