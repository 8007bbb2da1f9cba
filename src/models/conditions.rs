//! Conditions: a waiter comes back with its lock, once, whatever ends its wait; or is told that the lock broke.

use super::tasks::*;
use super::*;
use crate::core::sync::condition::Condition;
use crate::core::sync::lock::{Lock, ROBUST};
use loom::thread::{self, JoinHandle};

fn lock_and_condition(flags: u32) -> (Arc<Lock>, Arc<Condition>) {
    let lock = Lock::new(None, flags);
    let condition = Condition::new(None, Arc::clone(&lock));
    (lock, condition)
}

/// Acquires, waits, releases if it is held; whether it was, and how the wait ended, or why the lock could not be had before.
fn waiting(
    lock: &Arc<Lock>,
    condition: &Arc<Condition>,
    timeout_ns: u64,
) -> JoinHandle<(bool, Status)> {
    let (lock, condition, task) = (Arc::clone(lock), Arc::clone(condition), new_task());
    thread::spawn(move || {
        match lock.acquire(task, FOREVER) {
            Ok(error::OWNER_DIED) => lock.make_consistent(task).unwrap(),
            Ok(_) => {}
            Err(e) => return (false, e.status),
        }
        let (holds, result) = condition.wait(task, timeout_ns);
        assert_eq!(holds, lock.owner() == task);
        if holds {
            lock.release(task).unwrap();
        }
        (holds, result.unwrap_or_else(|e| e.status))
    })
}

#[test]
fn notify_against_timeout() {
    explore_outcomes(3, [error::OK, error::TIMEDOUT], || {
        let (lock, condition) = lock_and_condition(0);
        let waiter = waiting(&lock, &condition, SOON);
        let task = new_task();
        lock.acquire(task, FOREVER).unwrap();
        condition.notify(task, 1).unwrap();
        lock.release(task).unwrap();
        let (holds, status) = waiter.join().unwrap();
        assert!(holds);
        condition.retire().expect("nobody waits");
        check_at_rest(&lock);
        status
    });
}

/// A condition's waiter that is cancelled as it is notified comes back once, with the lock.
#[test]
fn notify_against_cancel() {
    explore_outcomes(3, [error::OK, error::CANCELLED], || {
        let (lock, condition) = lock_and_condition(0);
        let (task, told) = (new_task(), Told::new());
        let op = told.operation(task);
        lock.try_acquire(task).unwrap();
        condition.wait_async(task, op).unwrap();
        let notifier = thread::spawn({
            let (lock, condition, task) = (Arc::clone(&lock), Arc::clone(&condition), new_task());
            move || {
                // The cancelled one may have the lock by now, and keeps it.
                if lock.try_acquire(task).is_ok() {
                    condition.notify(task, 1).unwrap();
                    lock.release(task).unwrap();
                    return true;
                }
                false
            }
        });
        let cancelled = cancel(op);
        let notified = notifier.join().unwrap();
        assert!(cancelled || notified);
        let status = told.status().expect("one callback");
        assert_eq!(status == error::CANCELLED, cancelled);
        assert!(told.holds_lock());
        lock.release(task).unwrap();
        condition.retire().expect("nobody waits");
        check_at_rest(&lock);
        status
    });
}

/// The lock's owner exits while somebody waits for a condition, and may be timing out.
#[test]
fn owner_exit_against_timeout() {
    let outcomes = [(false, error::BROKEN), (true, error::TIMEDOUT)];
    explore_outcomes(2, outcomes, || {
        let (lock, condition) = lock_and_condition(0);
        let waiter = waiting(&lock, &condition, SOON);
        let task = new_task();
        lock.acquire(task, FOREVER).unwrap();
        exit(task);
        let outcome = waiter.join().unwrap();
        condition.retire().expect("nobody waits");
        lock.retire().expect("nobody has the lock");
        outcome
    });
}

/// The same with a robust lock, which the waiter inherits.
#[test]
fn robust_owners_exit_against_timeout() {
    let outcomes = [(true, error::OWNER_DIED), (true, error::TIMEDOUT)];
    explore_outcomes(2, outcomes, || {
        let (lock, condition) = lock_and_condition(ROBUST);
        let waiter = waiting(&lock, &condition, SOON);
        let task = new_task();
        lock.acquire(task, FOREVER).unwrap();
        exit(task);
        let outcome = waiter.join().unwrap();
        condition.retire().expect("nobody waits");
        lock.retire().expect("nobody has the lock");
        outcome
    });
}

#[test]
fn close_against_timeout() {
    let outcomes = [(true, error::CLOSED), (true, error::TIMEDOUT)];
    explore_outcomes(3, outcomes, || {
        let (lock, condition) = lock_and_condition(0);
        let waiter = waiting(&lock, &condition, SOON);
        condition.close();
        let outcome = waiter.join().unwrap();
        condition.retire().expect("nobody waits");
        check_at_rest(&lock);
        outcome
    });
}
