//! What is measured. Each function here takes any pool and measures one scenario once; who takes part is in `entrants.rs`.

use crate::latch::Latch;
use crate::pool::{count_threads, threads_seen, Action, Pool, Task};
use crate::proc;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Barrier;
use std::time::{Duration, Instant};

pub struct Scenario {
    pub id: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    /// What a row's second number counts; "" for none.
    pub second: &'static str,
    /// The row that ratios are taken against.
    pub reference: &'static str,
}

pub const fn scenario(
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    second: &'static str,
) -> Scenario {
    Scenario {
        id,
        title,
        unit,
        second,
        reference: "selvedge",
    }
}

pub const SCENARIOS: &[Scenario] = &[
    scenario("roundtrip", "Hand-off round trip", "µs per job", ""),
    scenario(
        "one-cpu",
        "Hand-off round trip, everything on one CPU",
        "µs per job",
        "",
    ),
    scenario(
        "sequential",
        "27,000 sequential jobs",
        "µs per job",
        "threads used",
    ),
    scenario(
        "chain",
        "Chain: each job submits the next",
        "ns per hop",
        "threads used",
    ),
    scenario("submitters-1", "One submitter", "µs per job", ""),
    scenario("submitters-2", "Two submitters", "µs per job", ""),
    scenario("submitters-4", "Four submitters", "µs per job", ""),
    scenario(
        "burst",
        "Burst of 1,000 empty jobs",
        "ns per job",
        "threads used",
    ),
    scenario(
        "coldstart",
        "Cold start: new pool to first job done",
        "µs",
        "",
    ),
    scenario(
        "reclaim",
        "Threads left after 10 idle timeouts of light load",
        "threads",
        "after the burst",
    ),
    scenario("memory", "Memory per idle worker", "KiB", ""),
    Scenario {
        reference: "hooks-0",
        ..scenario("hooks", "Cost of hooks per job", "ns per hop", "")
    },
    Scenario {
        reference: "jvm-hooks",
        ..scenario("attach-jvm", "A call into the JVM", "µs per job", "")
    },
    Scenario {
        reference: "python-hooks",
        ..scenario("attach-python", "A call into CPython", "µs per job", "")
    },
];

/// How much one round does.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub round_trips: u32,
    pub sequential: u32,
    pub hops: u32,
    /// For pools that start a thread for most hops.
    pub slow_hops: u32,
    pub bursts: u32,
    pub burst: u32,
    pub cold_starts: u32,
    pub idle: Duration,
    pub idle_timeouts: u32,
    pub reclaim_burst: u32,
    /// Memory is the slope between these two numbers of workers.
    pub workers: (u32, u32),
    pub hook_hops: u32,
    pub attach_jobs: u32,
}

pub const FULL: Sizes = Sizes {
    round_trips: 2_000,
    sequential: 27_000,
    hops: 20_000,
    slow_hops: 1_000,
    bursts: 10,
    burst: 1_000,
    cold_starts: 20,
    idle: Duration::from_millis(50),
    idle_timeouts: 10,
    reclaim_burst: 50,
    workers: (100, 300),
    hook_hops: 200_000,
    attach_jobs: 3_000,
};

pub const QUICK: Sizes = Sizes {
    round_trips: 1_000,
    sequential: 3_000,
    hops: 5_000,
    slow_hops: 300,
    bursts: 3,
    burst: 1_000,
    cold_starts: 5,
    idle: Duration::from_millis(50),
    idle_timeouts: 4,
    reclaim_burst: 50,
    workers: (50, 150),
    hook_hops: 50_000,
    attach_jobs: 500,
};

/// One round's result of one row.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub value: f64,
    pub second: Option<f64>,
}

impl Sample {
    pub fn plain(value: f64) -> Sample {
        Sample {
            value,
            second: None,
        }
    }

    pub fn with_second(value: f64, second: f64) -> Sample {
        Sample {
            value,
            second: Some(second),
        }
    }
}

pub fn ns_per(total: Duration, count: u32) -> f64 {
    total.as_nanos() as f64 / f64::from(count)
}

pub fn us_per(total: Duration, count: u32) -> f64 {
    ns_per(total, count) / 1e3
}

// ---- jobs ----

static LATCHES: [Latch; 8] = [const { Latch::new() }; 8];

struct Signal;

impl Action for Signal {
    unsafe fn done(latch: *mut c_void) {
        (*latch.cast::<Latch>()).signal();
    }
}

fn latch_arg(latch: &'static Latch) -> *mut c_void {
    std::ptr::from_ref(latch).cast_mut().cast()
}

fn round_trips_on(pool: &dyn Pool, latch: &'static Latch, count: u32) {
    let task = Task::of::<Signal>();
    for _ in 0..count {
        // SAFETY: the latch is a static.
        unsafe { pool.round_trip(task, latch_arg(latch), latch) };
    }
}

/// Submit one job, wait until it is done, again.
pub fn round_trips(pool: &dyn Pool, count: u32) -> Duration {
    round_trips_on(pool, &LATCHES[0], count / 10 + 1);
    let start = Instant::now();
    round_trips_on(pool, &LATCHES[0], count);
    start.elapsed()
}

/// The same from the pool's very first job on, and the threads that it took: those that ran a job or, where that is more, those
/// that the process has now and had not `before` there was the pool.
pub fn sequential(pool: &dyn Pool, before: usize, count: u32) -> (Duration, f64) {
    count_threads();
    let start = Instant::now();
    round_trips_on(pool, &LATCHES[0], count);
    let time = start.elapsed();
    (
        time,
        threads_seen().max(proc::threads().saturating_sub(before) as f64),
    )
}

struct Chain<'a> {
    pool: &'a dyn Pool,
    left: AtomicU64,
    latch: &'static Latch,
}

impl Action for Chain<'_> {
    unsafe fn done(arg: *mut c_void) {
        let chain = &*arg.cast::<Chain>();
        // One hop at a time: the pool orders them, so a plain read and write would do.
        let left = chain.left.load(Ordering::Relaxed);
        if left == 0 {
            chain.latch.signal();
        } else {
            chain.left.store(left - 1, Ordering::Relaxed);
            chain.pool.submit(Task::of::<Chain>(), arg);
        }
    }
}

/// A job that submits the next one when it is done, `hops` times.
pub fn chain(pool: &dyn Pool, hops: u32) -> (Duration, f64) {
    let run = |hops: u32| {
        let latch = &LATCHES[0];
        let mut chain = Chain {
            pool,
            left: AtomicU64::new(u64::from(hops)),
            latch,
        };
        latch.arm(1);
        // SAFETY: the chain outlives its last hop, which the latch tells of.
        unsafe { pool.submit(Task::of::<Chain>(), std::ptr::from_mut(&mut chain).cast()) };
        pool.wait(latch);
    };
    run(hops / 20);
    count_threads();
    let start = Instant::now();
    run(hops);
    (start.elapsed(), threads_seen())
}

/// `submitters` threads, each making its share of `count` round trips on one pool: wall time from the first start to the last end.
pub fn submitters(pool: &dyn Pool, submitters: usize, count: u32) -> Duration {
    let share = count / submitters as u32;
    let barrier = Barrier::new(submitters);
    std::thread::scope(|scope| {
        let handles: Vec<_> = LATCHES[..submitters]
            .iter()
            .map(|latch| {
                let barrier = &barrier;
                scope.spawn(move || {
                    round_trips_on(pool, latch, share / 10 + 1);
                    barrier.wait();
                    let start = Instant::now();
                    round_trips_on(pool, latch, share);
                    (start, Instant::now())
                })
            })
            .collect();
        let spans: Vec<_> = handles
            .into_iter()
            .map(|h| h.join().expect("a submitter failed"))
            .collect();
        let start = spans.iter().map(|span| span.0).min().expect("at least one");
        let end = spans.iter().map(|span| span.1).max().expect("at least one");
        end - start
    })
}

/// Submit `burst` empty jobs as fast as possible and wait for all, `bursts` times after one to warm up.
pub fn bursts(pool: &dyn Pool, bursts: u32, burst: u32) -> (Duration, f64) {
    let task = Task::of::<Signal>();
    let latch = &LATCHES[0];
    let run = || {
        latch.arm(burst);
        // SAFETY: the latch is a static.
        unsafe { pool.submit_many(task, latch_arg(latch), burst as usize) };
        pool.wait(latch);
    };
    run();
    count_threads();
    let start = Instant::now();
    for _ in 0..bursts {
        run();
    }
    (start.elapsed(), threads_seen())
}

/// From nothing to the first job done: the median of `count` times, since one preemption weighs more than all of them. Taking the
/// pool down is not measured.
pub fn cold_start(make: &dyn Fn() -> Box<dyn Pool>, count: u32) -> Duration {
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let start = Instant::now();
            let pool = make();
            round_trips_on(&*pool, &LATCHES[0], 1);
            start.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// A job that stays until as many as there are in the burst run at once.
struct Gate {
    arrived: AtomicUsize,
    expected: usize,
    latch: &'static Latch,
}

static GATE_LATCH: Latch = Latch::new();

impl Action for Gate {
    unsafe fn work(arg: *mut c_void) {
        let gate = &*arg.cast::<Gate>();
        gate.arrived.fetch_add(1, Ordering::AcqRel);
        // Bounded, so that a pool which refuses to grow ends in a smaller count and not in a hang.
        let end = Instant::now() + Duration::from_secs(3);
        while gate.arrived.load(Ordering::Acquire) < gate.expected && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    unsafe fn done(arg: *mut c_void) {
        (*arg.cast::<Gate>()).latch.signal();
    }
}

/// Has `count` jobs run at the same time, each on a thread of its own. Returns how many threads that took.
pub fn occupy(pool: &dyn Pool, count: u32) -> f64 {
    count_threads();
    let latch = &GATE_LATCH;
    latch.arm(count);
    let gate = Gate {
        arrived: AtomicUsize::new(0),
        expected: count as usize,
        latch,
    };
    for _ in 0..count {
        // SAFETY: the gate outlives its jobs, of whose end the latch tells.
        unsafe {
            pool.submit(
                Task::of::<Gate>(),
                std::ptr::from_ref(&gate).cast_mut().cast(),
            )
        };
    }
    pool.wait(latch);
    threads_seen()
}

/// A burst of long jobs, then a light load for a number of idle timeouts. Returns the threads left, and those after the burst.
pub fn reclaim(
    pool: &dyn Pool,
    before: usize,
    burst: u32,
    idle: Duration,
    idle_timeouts: u32,
) -> (f64, f64) {
    occupy(pool, burst);
    let peak = proc::threads().saturating_sub(before);
    let end = Instant::now() + idle * idle_timeouts;
    while Instant::now() < end {
        round_trips_on(pool, &LATCHES[0], 1);
        // The load itself: ten jobs in each idle timeout.
        std::thread::sleep(idle / 10);
    }
    (proc::threads().saturating_sub(before) as f64, peak as f64)
}
