//! Models of the concurrent protocols, which loom runs through every interleaving of two or three threads that a few preemptions
//! allow, and shuttle through some interleavings of four to eight ([`crowds`]).
//!
//! They drive the code that ships, from `submit` through the life of a worker to shutdown and the removal of hooks. Only what
//! loom and shuttle have no notion of is replaced: threads come from the cache's own `spawn` option, a futex is a condition
//! variable, a lock is their mutex, and a timeout passes at once, wherever that may happen, or never (see `sys/sync.rs`).
//!
//! `tools/check-models.sh` runs them, and then again for each mutant of the code, which must be caught.

// loom's threads are all on one thread of the system: what they share need not be Sync.
#![cfg_attr(loom, allow(clippy::arc_with_non_send_sync))]

#[cfg(loom)]
mod conditions;
#[cfg(shuttle)]
mod crowds;
#[cfg(loom)]
mod gates;
#[cfg(loom)]
mod guests;
#[cfg(loom)]
mod handoff;
#[cfg(loom)]
mod hooks;
#[cfg(loom)]
mod locks;
#[cfg(loom)]
mod loops;
#[cfg(loom)]
mod primitives;
#[cfg(loom)]
mod rings;
#[cfg(loom)]
mod shutdown;
mod tasks;

use crate::core::cache::{Cache, Options, Spawner};
use crate::core::callback::{DeliverFn, FreeFn, JobFn, JoinFn, Opaque, Outcome, SpawnFn};
use crate::core::error::{self, Status};
use crate::core::hook::Hook;
use crate::core::job::{Job, Needs, Ticket, TicketRef};
use crate::core::name::Name;
use crate::core::sync::{operation, report};
use crate::core::{shutdown as end, submit};
use crate::sys::clock::{Deadline, FOREVER, NO_WAIT};
use crate::sys::sync::UnsafeCell;
use crate::sys::sync::model::thread::{self, JoinHandle};
use std::collections::BTreeSet;
use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// When idle workers of a model leave by themselves.
#[derive(Clone, Copy)]
enum Idle {
    TimesOut,
    Stays,
}

/// Runs `model` in every interleaving with at most so many preemptions; LOOM_MAX_PREEMPTIONS overrules the number.
#[cfg(loom)]
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// The same with a model that can end in different ways: it ended in each of these, and in no other.
#[cfg(loom)]
fn explore_outcomes<T: Ord + std::fmt::Debug + Send + 'static>(
    preemptions: usize,
    outcomes: impl IntoIterator<Item = T>,
    model: impl Fn() -> T + Sync + Send + 'static,
) {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    explore(preemptions, {
        let seen = Arc::clone(&seen);
        move || {
            let outcome = model();
            seen.lock().unwrap().insert(outcome);
        }
    });
    assert_eq!(*seen.lock().unwrap(), outcomes.into_iter().collect());
}

unsafe extern "C-unwind" fn spawn(
    _data: *mut c_void,
    entry: unsafe extern "C-unwind" fn(*mut c_void),
    arg: *mut c_void,
    _name: *const c_char,
    _stack_size: usize,
    out_handle: *mut *mut c_void,
) -> Status {
    let arg = Opaque(arg);
    let thread = thread::spawn(move || {
        let arg = arg;
        // SAFETY: the cache gives each pair of entry and argument to one new thread.
        unsafe { entry(arg.0) }
    });
    // SAFETY: the cache's own variable, valid during this call.
    unsafe { *out_handle = Box::into_raw(Box::new(thread)).cast() };
    error::OK
}

unsafe extern "C-unwind" fn join(_data: *mut c_void, handle: *mut c_void) {
    // SAFETY: made by `spawn`; the cache joins each thread once.
    let thread = unsafe { Box::from_raw(handle.cast::<JoinHandle<()>>()) };
    thread.join().expect("a worker does not panic");
}

/// A cache on the model's threads. `max_workers` 0 is no bound.
fn cache(idle: Idle, max_workers: u32) -> Arc<Cache> {
    Cache::new(Options {
        idle_timeout_ns: match idle {
            Idle::TimesOut => NO_WAIT,
            Idle::Stays => FOREVER,
        },
        max_workers,
        spin_ns: 0,
        spawner: Some(Spawner {
            // SAFETY: `spawn` takes what a spawn function is called with.
            spawn: unsafe { SpawnFn::new(spawn) },
            // SAFETY: likewise.
            join: Some(unsafe { JoinFn::new(join) }),
            data: Opaque::NULL,
        }),
        ..Options::default()
    })
}

/// Shuts down and checks the promises that hold for every cache that was: each accepted job was delivered, nobody is left.
fn finish(cache: &Arc<Cache>) {
    let mut remaining = 0;
    end::shutdown(cache, false, FOREVER, &mut remaining)
        .expect("a shutdown that may wait for ever");
    assert_eq!(remaining, 0);
    let stats = cache.stats();
    assert_eq!((stats.counts.workers, stats.idle, stats.queued), (0, 0, 0));
    assert_eq!(stats.delivered, stats.counts.accepted);
    assert_eq!(stats.counts.exited, stats.counts.started);
}

/// What one job saw. The counters are plain, unseen by the model: they must not order anything.
struct Probe {
    /// Written by the submitter before the submit and read by the job: an order that is given too loosely is a data race here.
    message: UnsafeCell<u32>,
    ran: AtomicU32,
    delivered: AtomicU32,
    freed: AtomicU32,
    status: AtomicI32,
    /// A job that `deliver` submits.
    next: Option<(Arc<Cache>, Arc<Probe>)>,
}

// SAFETY: the message is written before the submit and read by the job.
unsafe impl Sync for Probe {}

impl Probe {
    fn new() -> Arc<Probe> {
        Self::then(None)
    }

    fn then(next: Option<(Arc<Cache>, Arc<Probe>)>) -> Arc<Probe> {
        Arc::new(Probe {
            message: UnsafeCell::new(0),
            ran: AtomicU32::new(0),
            delivered: AtomicU32::new(0),
            freed: AtomicU32::new(0),
            status: AtomicI32::new(error::OK),
            next,
        })
    }

    /// Submits a job that reports here; true if the cache accepted it.
    fn submit(self: &Arc<Probe>, cache: &Arc<Cache>) -> bool {
        self.hand_over(cache, Needs::Usual, None)
    }

    /// The same with a job that names a hook.
    fn submit_naming(self: &Arc<Probe>, cache: &Arc<Cache>, hook: &Arc<Hook>) -> bool {
        let Ok(hooks) = submit::named_hooks(cache, vec![Arc::clone(hook)]) else {
            return false;
        };
        let ticket = TicketRef::new(Ticket::new(hooks));
        let accepted = self.hand_over(cache, Needs::Named, Some(ticket));
        if !accepted {
            ticket.release();
        }
        accepted
    }

    fn hand_over(
        self: &Arc<Probe>,
        cache: &Arc<Cache>,
        needs: Needs,
        ticket: Option<TicketRef>,
    ) -> bool {
        // SAFETY: nobody else has the probe before the job is submitted, which loom checks.
        self.message.with_mut(|m| unsafe { *m = 42 });
        let arg = Opaque(Arc::as_ptr(self).cast_mut().cast());
        let submitted = submit::submit(cache, |accepted_at| Job {
            // SAFETY: these functions take what such functions are called with.
            run: unsafe { JobFn::new(run) },
            // SAFETY: as above.
            deliver: Some(unsafe { DeliverFn::new(deliver) }),
            arg,
            // SAFETY: as above.
            arg_free: Some(unsafe { FreeFn::new(free) }),
            name: Name::NONE,
            needs,
            accepted_at,
            ticket,
        });
        submitted
            .inspect_err(|refused| assert_eq!(refused.status, error::CLOSED))
            .is_ok()
    }

    /// Submits a job and waits until it is delivered, so that the rest of the model begins with its worker on the idle list.
    fn warm_up(cache: &Arc<Cache>) {
        let job = Probe::new();
        assert!(job.submit(cache));
        job.await_end();
        job.check_delivered(error::OK);
    }

    fn await_end(&self) {
        while self.freed.load(Relaxed) == 0 {
            thread::yield_now();
        }
    }

    fn check_delivered(&self, status: Status) {
        assert_eq!(self.delivered.load(Relaxed), 1);
        assert_eq!(self.freed.load(Relaxed), 1);
        assert_eq!(self.status.load(Relaxed), status);
        assert_eq!(self.ran.load(Relaxed), u32::from(status == error::OK));
    }

    /// For a job whose hook is removed: it keeps the needs that it was accepted with.
    fn check_ran_or_lacked_its_hook(&self) {
        match self.status.load(Relaxed) {
            error::HOOK_FAILED => self.check_delivered(error::HOOK_FAILED),
            _ => self.check_delivered(error::OK),
        }
    }

    fn check_untouched(&self) {
        let counts = [&self.ran, &self.delivered, &self.freed];
        assert_eq!(counts.map(|count| count.load(Relaxed)), [0; 3]);
    }
}

/// # Safety
/// `arg` is a `Probe` that lives until its job has been delivered.
unsafe fn probe<'a>(arg: *mut c_void) -> &'a Probe {
    // SAFETY: as promised.
    unsafe { &*arg.cast::<Probe>() }
}

unsafe extern "C-unwind" fn run(arg: *mut c_void, _value: *mut *mut c_void) -> i32 {
    // SAFETY: each model keeps its probes until after the shutdown.
    let probe = unsafe { probe(arg) };
    // SAFETY: the submitter wrote it before it submitted the job, which loom checks.
    assert_eq!(probe.message.with(|m| unsafe { *m }), 42);
    probe.ran.fetch_add(1, Relaxed);
    0
}

unsafe extern "C-unwind" fn deliver(arg: *mut c_void, outcome: *const Outcome) {
    // SAFETY: as in `run`; the outcome lives for this call.
    let (probe, outcome) = unsafe { (probe(arg), &*outcome) };
    probe.status.store(outcome.status, Relaxed);
    probe.delivered.fetch_add(1, Relaxed);
    if let Some((cache, next)) = &probe.next {
        next.submit(cache);
    }
}

unsafe extern "C-unwind" fn free(arg: *mut c_void) {
    // SAFETY: as in `run`.
    let probe = unsafe { probe(arg) };
    assert_eq!(
        probe.delivered.load(Relaxed),
        1,
        "freed before its delivery"
    );
    probe.freed.fetch_add(1, Relaxed);
}
