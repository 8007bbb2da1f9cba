//! What is measured of anything that is acquired and released: alone, by several threads at once, and going to and fro between
//! two. Every loop also checks that the lock locks. Threads that meet at a lock stay on one CPU each, taken in turn: left to
//! itself the kernel tends to gather a lock's sleepers on the CPU of the one that wakes them, where nobody contends any more.

use super::lock::Lock;
use crate::proc;
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Some threads at one lock.
#[derive(Clone, Copy)]
pub struct Crowd {
    pub threads: usize,
    pub window: Duration,
    /// Rounds of arithmetic between a release and the next acquire, about a nanosecond and a half each.
    pub outside: u32,
    /// How many may hold it at the same time.
    pub permits: u32,
}

/// A lock to measure, whatever its type.
pub trait Contest {
    fn pairs(&self, count: u32) -> Duration;
    /// Nanoseconds per acquisition, and the acquisitions of the thread that got fewest over those of the one that got most.
    fn crowd(&self, crowd: Crowd) -> (f64, f64);
    fn hand_offs(&self, count: u32) -> Duration;
}

impl<L: Lock, F: Fn() -> L> Contest for F {
    /// On a thread of its own, with the first one waiting: pthread_mutex_lock leaves the atomic instruction out while a process has a
    /// single thread, which no process that needs locks has.
    fn pairs(&self, count: u32) -> Duration {
        let lock = self();
        thread::scope(|scope| {
            let run = scope.spawn(|| {
                let seat = lock.seat();
                pairs(&lock, seat, count / 10 + 1);
                let start = proc::thread_time();
                pairs(&lock, seat, count);
                proc::thread_time() - start
            });
            run.join().expect("the locking thread failed")
        })
    }

    fn crowd(&self, crowd: Crowd) -> (f64, f64) {
        let lock = self();
        let section = Section::default();
        let stop = AtomicBool::new(false);
        let barrier = Barrier::new(crowd.threads + 1);
        let spans: Vec<(Instant, Instant, u64)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..crowd.threads)
                .map(|number| {
                    let (lock, section, stop, barrier) = (&lock, &section, &stop, &barrier);
                    scope.spawn(move || {
                        proc::stay_on_cpu(number);
                        member(lock, section, stop, barrier, crowd)
                    })
                })
                .collect();
            barrier.wait();
            thread::sleep(crowd.window);
            stop.store(true, Ordering::Relaxed);
            let joined = threads.into_iter().map(|t| t.join());
            joined.map(|t| t.expect("a member failed")).collect()
        });
        let start = spans.iter().map(|s| s.0).min().expect("at least one");
        let end = spans.iter().map(|s| s.1).max().expect("at least one");
        let counts = || spans.iter().map(|s| s.2);
        let total: u64 = counts().sum();
        section.check(total, crowd.permits);
        let least = counts().min().expect("at least one") as f64;
        let most = counts().max().expect("at least one") as f64;
        ((end - start).as_nanos() as f64 / total as f64, least / most)
    }

    fn hand_offs(&self, count: u32) -> Duration {
        let locks = [self(), self(), self()];
        let barrier = Barrier::new(2);
        // Whole turns of the ring, two hand-offs a step.
        let steps = (count / 6).max(1) * 3;
        let last = thread::scope(|scope| {
            scope.spawn(|| {
                proc::stay_on_cpu(1);
                second(&locks, &barrier, steps);
            });
            let first = scope.spawn(|| {
                proc::stay_on_cpu(0);
                first(&locks, &barrier, steps)
            });
            first.join().expect("the first thread failed")
        });
        last * count / (2 * steps)
    }
}

#[inline(never)]
fn pairs<L: Lock>(lock: &L, seat: L::Seat, count: u32) {
    for _ in 0..count {
        lock.acquire(seat);
        lock.release(seat);
    }
}

// ---- several threads ----

/// What the lock protects, on cache lines of its own: a count that is wrong in the end if two threads were ever in it at once.
#[repr(align(128))]
#[derive(Default)]
struct Section {
    plain: UnsafeCell<u64>,
    inside: AtomicU32,
    most: AtomicU32,
}

// SAFETY: `plain` is written under a lock only, which is what the run checks.
unsafe impl Sync for Section {}

impl Section {
    #[inline(always)]
    fn exclusive(&self) {
        // SAFETY: under the lock. Volatile, so that the compiler leaves the access in place.
        unsafe {
            let count = self.plain.get();
            count.write_volatile(count.read_volatile() + 1);
        }
    }

    #[inline(always)]
    fn shared(&self) {
        let inside = self.inside.fetch_add(1, Ordering::Relaxed) + 1;
        if inside > self.most.load(Ordering::Relaxed) {
            self.most.fetch_max(inside, Ordering::Relaxed);
        }
        self.inside.fetch_sub(1, Ordering::Relaxed);
    }

    fn check(&self, total: u64, permits: u32) {
        if permits == 1 {
            // SAFETY: the threads have been joined.
            let counted = unsafe { *self.plain.get() };
            assert_eq!(counted, total, "two threads held the lock at once");
        } else {
            let most = self.most.load(Ordering::Relaxed);
            assert!(most <= permits, "{most} threads held {permits} permits");
        }
    }
}

fn member<L: Lock>(
    lock: &L,
    section: &Section,
    stop: &AtomicBool,
    barrier: &Barrier,
    crowd: Crowd,
) -> (Instant, Instant, u64) {
    let seat = lock.seat();
    let mut count = 0;
    barrier.wait();
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        lock.acquire(seat);
        if crowd.permits == 1 {
            section.exclusive();
        } else {
            section.shared();
        }
        lock.release(seat);
        count += 1;
        if crowd.outside > 0 {
            compute(crowd.outside);
        }
    }
    (start, Instant::now(), count)
}

/// Arithmetic of which each step needs the one before it.
fn compute(rounds: u32) {
    let mut x = black_box(0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..rounds {
        x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    }
    black_box(x);
}

// ---- two threads in turn ----

/// Two threads and three locks in a ring. Each holds one lock when it waits for the one that the other will let go of next, so that a
/// hand-off is a release, a wake and an acquisition whatever the order in which a lock serves its waiters.
fn first<L: Lock>(locks: &[L; 3], barrier: &Barrier, steps: u32) -> Duration {
    let seat = locks[0].seat();
    locks[0].acquire(seat);
    locks[1].acquire(seat);
    barrier.wait();
    let start = Instant::now();
    for step in 0..steps as usize {
        locks[step % 3].release(seat);
        locks[(step + 2) % 3].acquire(seat);
    }
    let time = start.elapsed();
    locks[0].release(seat);
    locks[1].release(seat);
    time
}

fn second<L: Lock>(locks: &[L; 3], barrier: &Barrier, steps: u32) {
    let seat = locks[0].seat();
    locks[2].acquire(seat);
    barrier.wait();
    for step in 0..steps as usize {
        locks[step % 3].acquire(seat);
        locks[(step + 2) % 3].release(seat);
    }
    locks[2].release(seat);
}
