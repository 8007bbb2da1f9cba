//! A thread ends while it holds a lock for which another one waits: how long until that one knows? The clock runs from the last
//! statement of the owner's function to the return of the waiter's call, so the way out of the thread is part of it.

use super::lock::{Lock, Pthread, Selvedge};
use crate::peers::selvedge::check;
use crate::{proc, selv};
use std::fs;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A lock whose owner can die.
pub trait Mortal: Lock + 'static {
    /// Waits for the lock, and panics if the answer is not that the owner died. Leaves nothing held.
    fn await_death(&self, seat: Self::Seat);
    /// What the owner still does, last of all.
    fn die(&self, _seat: Self::Seat) {}
    /// On the owner's thread; the seat of the task that dies.
    fn owner(&self) -> Self::Seat {
        self.seat()
    }
}

pub struct Broken(pub Selvedge);
pub struct Robust(pub Selvedge);
/// The owner is a task of the host's, which ends by `selv_task_exit`, not its thread.
pub struct TaskExit(pub Selvedge);

macro_rules! selvedge_lock {
    ($type:ty) => {
        impl Lock for $type {
            type Seat = selv::Task;
            fn seat(&self) -> selv::Task {
                self.0.seat()
            }
            fn acquire(&self, task: selv::Task) {
                self.0.acquire(task);
            }
            fn release(&self, task: selv::Task) {
                self.0.release(task);
            }
        }
    };
}

selvedge_lock!(Broken);
selvedge_lock!(Robust);
selvedge_lock!(TaskExit);

fn expect(lock: &Selvedge, task: selv::Task, answer: selv::Status) {
    // SAFETY: the lock lives as long as the borrow.
    let status = unsafe { selv::selv_lock_acquire(lock.raw(), task, selv::FOREVER) };
    assert_eq!(status, answer, "selv_lock_acquire after the owner's end");
}

impl Mortal for Broken {
    fn await_death(&self, task: selv::Task) {
        expect(&self.0, task, selv::BROKEN);
    }
}

impl Mortal for Robust {
    fn await_death(&self, task: selv::Task) {
        expect(&self.0, task, selv::OWNER_DIED);
        // SAFETY: as in `expect`; the answer said that this task holds it.
        check(
            unsafe { selv::selv_lock_make_consistent(self.0.raw(), task) },
            "selv_lock_make_consistent",
        );
        self.release(task);
    }
}

impl Mortal for TaskExit {
    fn await_death(&self, task: selv::Task) {
        expect(&self.0, task, selv::BROKEN);
    }
    fn owner(&self) -> selv::Task {
        let mut task = 0;
        // SAFETY: the name may be null, and `task` is a live local.
        check(
            unsafe { selv::selv_task_new(std::ptr::null(), &mut task) },
            "selv_task_new",
        );
        task
    }
    fn die(&self, task: selv::Task) {
        // SAFETY: made by `owner`, and the report may be null.
        check(
            unsafe { selv::selv_task_exit(task, std::ptr::null_mut()) },
            "selv_task_exit",
        );
    }
}

impl Mortal for Pthread {
    fn await_death(&self, (): ()) {
        // SAFETY: the mutex lives as long as `self`, and is this thread's after EOWNERDEAD.
        unsafe {
            let error = libc::pthread_mutex_lock(self.raw());
            assert_eq!(error, libc::EOWNERDEAD, "pthread_mutex_lock");
            assert_eq!(libc::pthread_mutex_consistent(self.raw()), 0);
            assert_eq!(libc::pthread_mutex_unlock(self.raw()), 0);
        }
    }
}

/// The median of `count` deaths.
pub fn deaths<L: Mortal>(make: &dyn Fn() -> L, count: u32) -> Result<Duration, String> {
    let mut times = Vec::new();
    for _ in 0..count {
        times.push(death(&make())?);
    }
    times.sort();
    Ok(times[times.len() / 2])
}

fn death<L: Mortal>(lock: &L) -> Result<Duration, String> {
    let waiter_id = &AtomicI32::new(0);
    let (held, is_held) = mpsc::channel();
    let (end, may_end) = mpsc::channel();
    thread::scope(|scope| {
        let owner = scope.spawn(move || {
            proc::stay_on_cpu(0);
            let task = lock.owner();
            lock.acquire(task);
            held.send(()).expect("the waiter waits for this");
            may_end.recv().expect("sent when the waiter sleeps");
            let start = Instant::now();
            lock.die(task);
            start
        });
        let waiter = scope.spawn(move || {
            proc::stay_on_cpu(1);
            let task = lock.seat();
            is_held.recv().expect("the owner sends it");
            // SAFETY: no arguments, no failure.
            waiter_id.store(unsafe { libc::gettid() }, Ordering::Release);
            lock.await_death(task);
            Instant::now()
        });
        let sleeps = wait_for_sleep(waiter_id);
        end.send(()).expect("the owner waits for this");
        let start = owner.join().expect("the owner failed");
        let told = waiter.join().expect("the waiter failed");
        sleeps.map(|()| told - start)
    })
}

/// Waits until the thread has told its id (Release there, Acquire here, so that what it did before is behind it) and sleeps in the
/// kernel, which from then on it does in the lock alone.
fn wait_for_sleep(id: &AtomicI32) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let id = id.load(Ordering::Acquire);
        let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default();
        if stat.rsplit(')').next().is_some_and(|s| s.starts_with(" S")) {
            return Ok(());
        }
        if Instant::now() > end {
            return Err("the waiter did not go to sleep".into());
        }
        thread::yield_now();
    }
}
