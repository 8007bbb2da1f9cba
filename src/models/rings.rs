//! Rings of waits: of the tasks that close one together exactly one is refused, and the others go on.

use super::tasks::*;
use super::*;
use crate::core::sync::condition::Condition;
use crate::core::sync::limiter::{Borrower, Limiter};
use crate::core::sync::lock::Lock;
use crate::core::sync::task::TaskId;
use loom::thread::{self, JoinHandle};

/// A thread whose task has `mine` and acquires `other`; whether that was refused. It gives back what it has.
fn crossing(task: TaskId, mine: &Arc<Lock>, other: &Arc<Lock>) -> JoinHandle<bool> {
    let (mine, other) = (Arc::clone(mine), Arc::clone(other));
    thread::spawn(move || {
        let result = other.acquire(task, FOREVER);
        if result.is_ok() {
            other.release(task).unwrap();
        }
        mine.release(task).unwrap();
        result
            .inspect_err(|e| assert_eq!(e.status, error::DEADLOCK))
            .is_err()
    })
}

#[test]
fn two_tasks_close_one_ring() {
    let outcomes = [[true, false], [false, true]];
    explore_outcomes(2, outcomes, || {
        let locks = [Lock::new(None, 0), Lock::new(None, 0)];
        let tasks = [new_task(), new_task()];
        locks[0].try_acquire(tasks[0]).unwrap();
        locks[1].try_acquire(tasks[1]).unwrap();
        let others = [
            crossing(tasks[0], &locks[0], &locks[1]),
            crossing(tasks[1], &locks[1], &locks[0]),
        ];
        let refused = others.map(|t| t.join().unwrap());
        locks.iter().for_each(check_at_rest);
        refused
    });
}

/// The same with operations, whose submitting calls are refused.
#[test]
fn two_operations_close_one_ring() {
    let outcomes = [[true, false], [false, true]];
    explore_outcomes(3, outcomes, || {
        let locks = [Lock::new(None, 0), Lock::new(None, 0)];
        let tasks = [new_task(), new_task()];
        locks[0].try_acquire(tasks[0]).unwrap();
        locks[1].try_acquire(tasks[1]).unwrap();
        let told = [Told::new(), Told::new()];
        let ops = [0, 1].map(|n| told[n].operation(tasks[n]));
        let submit = |lock: &Arc<Lock>, n: usize| {
            let (lock, task, op) = (Arc::clone(lock), tasks[n], ops[n]);
            move || refusal(lock.acquire_async(task, op))
        };
        let other = thread::spawn(submit(&locks[1], 0));
        let refused = [submit(&locks[0], 1)(), other.join().unwrap()];
        let both = [Some(error::DEADLOCK), None];
        assert!(
            refused == both || refused == [both[1], both[0]],
            "refused: {refused:?}"
        );
        // The refused one gives back what it has, and the other is granted it.
        let loser = usize::from(refused[0].is_some());
        locks[loser].release(tasks[loser]).unwrap();
        assert_eq!(told[loser].status(), None);
        assert!(told[1 - loser].was_granted());
        locks[loser].release(tasks[1 - loser]).unwrap();
        locks[1 - loser].release(tasks[1 - loser]).unwrap();
        locks.iter().for_each(check_at_rest);
        refused.map(|status| status.is_some())
    });
}

/// A lock and an only token.
#[test]
fn a_ring_through_a_limiter() {
    explore(2, || {
        let (lock, limiter) = (Lock::new(None, 0), Limiter::new(None, 1).unwrap());
        let [holder, borrower] = [new_task(), new_task()];
        lock.try_acquire(holder).unwrap();
        limiter.try_acquire(Borrower::Task(borrower)).unwrap();
        let other = thread::spawn({
            let (lock, limiter) = (Arc::clone(&lock), Arc::clone(&limiter));
            move || {
                let result = limiter.acquire(holder, Borrower::Task(holder), FOREVER);
                if result.is_ok() {
                    limiter.release(Borrower::Task(holder)).unwrap();
                }
                lock.release(holder).unwrap();
                refusal(result)
            }
        });
        let result = lock.acquire(borrower, FOREVER);
        if result.is_ok() {
            lock.release(borrower).unwrap();
        }
        limiter.release(Borrower::Task(borrower)).unwrap();
        let refused = [refusal(result), other.join().unwrap()];
        assert!(
            refused == [Some(error::DEADLOCK), None] || refused == [None, Some(error::DEADLOCK)],
            "refused: {refused:?}"
        );
        check_at_rest(&lock);
        limiter.retire().expect("the token is back");
    });
}

/// A condition's waiter that is cancelled wants its lock back, from somebody who begins to wait for it.
#[test]
fn a_ring_that_a_cancel_closes() {
    explore(2, || {
        let (lock, held) = (Lock::new(None, 0), Lock::new(None, 0));
        let condition = Condition::new(None, Arc::clone(&lock));
        let [waiter, owner] = [new_task(), new_task()];
        held.try_acquire(waiter).unwrap();
        lock.try_acquire(waiter).unwrap();
        let told = Told::new();
        let op = told.operation(waiter);
        condition.wait_async(waiter, op).unwrap();
        lock.try_acquire(owner).unwrap();
        let other = thread::spawn({
            let (lock, held) = (Arc::clone(&lock), Arc::clone(&held));
            move || {
                let result = held.acquire(owner, FOREVER);
                lock.release(owner).unwrap();
                if result.is_ok() {
                    held.release(owner).unwrap();
                }
                refusal(result)
            }
        });
        assert!(cancel(op));
        while told.status().is_none() {
            thread::yield_now();
        }
        let status = told.status();
        if told.holds_lock() {
            lock.release(waiter).unwrap();
        }
        held.release(waiter).unwrap();
        let refused = [status, other.join().unwrap()];
        assert!(
            refused == [Some(error::DEADLOCK), None]
                || refused == [Some(error::CANCELLED), Some(error::DEADLOCK)],
            "{refused:?}"
        );
        condition.retire().expect("nobody waits");
        check_at_rest(&lock);
        check_at_rest(&held);
    });
}
