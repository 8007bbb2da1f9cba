//! The lock's word and line: whoever waits is granted it, or told why not, whichever way grants meet timeouts, cancels, closes and
//! exits.

use super::tasks::*;
use super::*;
use crate::core::sync::lock::{Lock, RECURSIVE, ROBUST, STRICT_FIFO};
use crate::core::sync::task::TaskId;
use loom::thread::{self, JoinHandle};

fn held_lock(flags: u32) -> (Arc<Lock>, TaskId) {
    let (lock, owner) = (Lock::new(None, flags), new_task());
    lock.try_acquire(owner).expect("a new lock");
    (lock, owner)
}

/// A thread whose task acquires the lock, and the status that it got.
fn acquiring(lock: &Arc<Lock>, task: TaskId, timeout_ns: u64) -> JoinHandle<Status> {
    let lock = Arc::clone(lock);
    thread::spawn(move || match lock.acquire(task, timeout_ns) {
        Ok(status) => status,
        Err(e) => e.status,
    })
}

/// The same, and it releases the lock again.
fn passing(lock: &Arc<Lock>, timeout_ns: u64) -> JoinHandle<Status> {
    let (lock, task) = (Arc::clone(lock), new_task());
    thread::spawn(move || match lock.acquire(task, timeout_ns) {
        Ok(status) => {
            lock.release(task).expect("acquired before");
            status
        }
        Err(e) => e.status,
    })
}

/// What one owner writes the next one reads, through fast paths and slow ones.
fn excludes(flags: u32) {
    explore(2, move || {
        let lock = Lock::new(None, flags);
        let data = Arc::new(UnsafeCell::new(0));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let (lock, data, task) = (Arc::clone(&lock), Arc::clone(&data), new_task());
                thread::spawn(move || {
                    lock.acquire(task, FOREVER).expect("it comes free");
                    // SAFETY: the lock is held, which loom checks.
                    data.with_mut(|d| unsafe { *d += 1 });
                    lock.release(task).expect("acquired before");
                })
            })
            .collect();
        others.into_iter().for_each(|t| t.join().unwrap());
        // SAFETY: the threads have ended.
        assert_eq!(data.with(|d| unsafe { *d }), 2);
        check_at_rest(&lock);
    });
}

#[test]
fn two_owners_in_turn() {
    excludes(0);
}

#[test]
fn two_owners_in_turn_strictly() {
    excludes(STRICT_FIFO);
}

/// Two that wait when the lock is released: the first one's release finds the second.
#[test]
fn release_to_two_waiters() {
    explore(2, || {
        let (lock, owner) = held_lock(0);
        let waiters = [passing(&lock, FOREVER), passing(&lock, FOREVER)];
        lock.release(owner).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), error::OK);
        }
        check_at_rest(&lock);
    });
}

#[test]
fn owner_exit_against_two_waiters() {
    explore(2, || {
        let (lock, owner) = held_lock(0);
        let waiters = [passing(&lock, FOREVER), passing(&lock, FOREVER)];
        assert_eq!(exit(owner).count(report::Item::LockBroken), 1);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), error::BROKEN);
        }
        assert!(lock.stats().broken);
        assert_eq!(lock.stats().breaks, 1);
        lock.retire().expect("a broken lock is nobody's");
    });
}

/// Of a robust lock the first waiter is told, and the second, too, as the first exits with it.
#[test]
fn robust_owners_exit_against_two_waiters() {
    explore(2, || {
        let (lock, owner) = held_lock(ROBUST);
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let (lock, task) = (Arc::clone(&lock), new_task());
                thread::spawn(move || {
                    let status = lock.acquire(task, FOREVER).expect("it is handed on");
                    assert_eq!(status, error::OWNER_DIED);
                    exit(task);
                })
            })
            .collect();
        exit(owner);
        waiters.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(lock.stats().breaks, 3);
        lock.retire().expect("nobody has the lock");
    });
}

/// A task that releases a lock and exits leaves it whole, also for one that looked at the lock when it was held.
#[test]
fn release_and_exit_against_acquire() {
    explore(3, || {
        let (lock, owner) = held_lock(0);
        let waiter = passing(&lock, FOREVER);
        lock.release(owner).unwrap();
        assert_eq!(exit(owner).items.len(), 0);
        assert_eq!(waiter.join().unwrap(), error::OK);
        check_at_rest(&lock);
    });
}

/// The first in line exits as the lock comes to it: the grant passes on, unless its callback had begun.
#[test]
fn release_and_exit_against_a_waiters_exit() {
    explore_outcomes(2, [error::OK, error::BROKEN], || {
        let (lock, owner) = held_lock(0);
        let (first, told) = (new_task(), Told::new());
        assert!(is_pending(lock.acquire_async(first, told.operation(first))));
        let second = passing(&lock, FOREVER);
        let other = thread::spawn({
            let lock = Arc::clone(&lock);
            move || {
                lock.release(owner).unwrap();
                exit(owner);
            }
        });
        let report = exit(first);
        other.join().unwrap();
        let (passed_on, broken) = (
            report.count(report::Item::GrantPassedOn),
            report.count(report::Item::LockBroken),
        );
        let expected = match told.status().expect("one callback") {
            error::OK => {
                assert_eq!((passed_on, broken), (0, 1));
                error::BROKEN
            }
            status => {
                assert_eq!((status, broken), (error::CANCELLED, 0));
                error::OK
            }
        };
        assert_eq!(second.join().unwrap(), expected);
        match expected {
            error::OK => check_at_rest(&lock),
            _ => lock.retire().expect("a broken lock is nobody's"),
        }
        expected
    });
}

fn times_out_while_released(flags: u32) {
    explore_outcomes(3, [error::OK, error::TIMEDOUT], move || {
        let (lock, owner) = held_lock(flags);
        let waiter = passing(&lock, SOON);
        lock.release(owner).unwrap();
        let status = waiter.join().unwrap();
        check_at_rest(&lock);
        status
    });
}

#[test]
fn timeout_against_grant() {
    times_out_while_released(0);
}

#[test]
fn timeout_against_strict_grant() {
    times_out_while_released(STRICT_FIFO);
}

/// One that was roused may find its time up; then the next in line is roused.
#[test]
fn timeout_of_the_roused_against_the_next() {
    explore(2, || {
        let (lock, owner) = held_lock(0);
        let hasty = passing(&lock, SOON);
        let patient = passing(&lock, FOREVER);
        lock.release(owner).unwrap();
        hasty.join().unwrap();
        assert_eq!(patient.join().unwrap(), error::OK);
        check_at_rest(&lock);
    });
}

#[test]
fn cancel_against_grant() {
    explore_outcomes(3, [error::OK, error::CANCELLED], || {
        let (lock, owner) = held_lock(0);
        let (task, told) = (new_task(), Told::new());
        let op = told.operation(task);
        assert!(is_pending(lock.acquire_async(task, op)));
        let other = thread::spawn({
            let lock = Arc::clone(&lock);
            move || lock.release(owner).unwrap()
        });
        let cancelled = cancel(op);
        other.join().unwrap();
        let status = told.status().expect("one callback");
        if cancelled {
            assert_eq!(status, error::CANCELLED);
        } else {
            assert_eq!(status, error::OK);
            lock.release(task).unwrap();
        }
        check_at_rest(&lock);
        status
    });
}

/// An operation that is abandoned has no callback after that, and what it was granted goes to the next in line.
#[test]
fn abandon_against_grant() {
    explore_outcomes(3, [false, true], || {
        let (lock, owner) = held_lock(0);
        let tasks = [new_task(), new_task()];
        let told = [Told::new(), Told::new()];
        let op = told[0].operation(tasks[0]);
        assert!(is_pending(lock.acquire_async(tasks[0], op)));
        let next = told[1].operation(tasks[1]);
        assert!(is_pending(lock.acquire_async(tasks[1], next)));
        let other = thread::spawn({
            let lock = Arc::clone(&lock);
            move || lock.release(owner).unwrap()
        });
        let abandoned = abandon(op);
        let before = told[0].status();
        other.join().unwrap();
        assert_eq!(told[0].was_granted(), !abandoned);
        if abandoned {
            assert_eq!(before, None);
        } else {
            lock.release(tasks[0]).unwrap();
        }
        assert!(told[1].was_granted());
        lock.release(tasks[1]).unwrap();
        check_at_rest(&lock);
        abandoned
    });
}

#[test]
fn close_against_wait() {
    explore(3, || {
        let (lock, owner) = held_lock(0);
        let waiter = passing(&lock, FOREVER);
        lock.close();
        assert_eq!(waiter.join().unwrap(), error::CLOSED);
        lock.release(owner).expect("also of a closed lock");
        lock.retire().expect("nobody has the lock");
    });
}

/// A release that meets a close, on the fast path or not: the lock is nobody's, and nobody's any more.
#[test]
fn close_against_release() {
    explore_outcomes(3, [error::OK, error::CLOSED], || {
        let (lock, owner) = held_lock(0);
        let waiter = passing(&lock, FOREVER);
        let other = thread::spawn({
            let lock = Arc::clone(&lock);
            move || lock.close()
        });
        lock.release(owner).unwrap();
        let status = waiter.join().unwrap();
        other.join().unwrap();
        assert_eq!(refusal(lock.try_acquire(new_task())), Some(error::CLOSED));
        lock.retire().expect("nobody has the lock");
        status
    });
}

/// Whoever has the lock last may free it, also while the release before is still on its way out.
#[test]
fn free_against_release() {
    explore(3, || {
        let (lock, owner) = held_lock(0);
        let last = thread::spawn({
            let (lock, task) = (Arc::clone(&lock), new_task());
            move || {
                lock.acquire(task, FOREVER).unwrap();
                lock.release(task).unwrap();
                lock.retire().expect("nobody has the lock, or will");
            }
        });
        lock.release(owner).unwrap();
        last.join().unwrap();
    });
}

/// The lock is released to a waiter that somebody else overtakes, and that one exits with it.
#[test]
fn roused_waiter_against_barger_against_exit() {
    let outcomes = [(error::OK, false), (error::BROKEN, true)];
    explore_outcomes(3, outcomes, || {
        let (lock, owner) = held_lock(0);
        let waiter = acquiring(&lock, new_task(), FOREVER);
        let barger = thread::spawn({
            let (lock, task) = (Arc::clone(&lock), new_task());
            move || {
                let had = lock.try_acquire(task).is_ok();
                exit(task);
                had
            }
        });
        lock.release(owner).unwrap();
        let had = barger.join().unwrap();
        (waiter.join().unwrap(), had)
    });
}

/// The same with a barger that releases: the one that lost is roused again.
#[test]
fn roused_waiter_against_barger() {
    explore(3, || {
        let (lock, owner) = held_lock(0);
        let waiter = passing(&lock, FOREVER);
        let barger = thread::spawn({
            let (lock, task) = (Arc::clone(&lock), new_task());
            move || {
                if lock.try_acquire(task).is_ok() {
                    lock.release(task).unwrap();
                }
            }
        });
        lock.release(owner).unwrap();
        barger.join().unwrap();
        assert_eq!(waiter.join().unwrap(), error::OK);
        check_at_rest(&lock);
    });
}

/// A thread and an operation in one line, and a lock that is held twice.
#[test]
fn operation_and_thread_behind_a_recursive_owner() {
    explore(2, || {
        let (lock, owner) = held_lock(RECURSIVE);
        lock.try_acquire(owner).expect("the owner may");
        let waiter = passing(&lock, FOREVER);
        let (task, told) = (new_task(), Told::new());
        assert!(is_pending(lock.acquire_async(task, told.operation(task))));
        lock.release(owner).unwrap();
        assert_eq!(told.status(), None);
        lock.release(owner).unwrap();
        // Its turn may come after the thread's.
        while told.status().is_none() {
            thread::yield_now();
        }
        assert!(told.was_granted());
        lock.release(task).unwrap();
        assert_eq!(waiter.join().unwrap(), error::OK);
        check_at_rest(&lock);
    });
}
