//! Rings of four to six: exactly one is refused, and everybody else goes on; and who would wait only for a time is in no ring.

use super::*;
use crate::core::sync::limiter::{Borrower, Limiter};
use crate::core::sync::lock::Lock;
use crate::core::sync::semaphore::Semaphore;

/// What one task has and the one before it wants.
#[derive(Clone)]
enum Thing {
    Lock(Arc<Lock>),
    /// Of one token.
    Limiter(Arc<Limiter>),
}

impl Thing {
    fn acquire(&self, task: TaskId, timeout_ns: u64) -> Status {
        let result = match self {
            Thing::Lock(lock) => lock.acquire(task, timeout_ns),
            Thing::Limiter(limiter) => limiter
                .acquire(task, Borrower::Task(task), timeout_ns)
                .map(|()| error::OK),
        };
        result.unwrap_or_else(|e| e.status)
    }

    fn release(&self, task: TaskId) {
        match self {
            Thing::Lock(lock) => lock.release(task),
            Thing::Limiter(limiter) => limiter.release(Borrower::Task(task)),
        }
        .expect("it has it");
    }

    fn check_at_rest(&self) {
        match self {
            Thing::Lock(lock) => check_at_rest(lock),
            Thing::Limiter(limiter) => limiter.retire().expect("the token is back"),
        }
    }
}

fn lock(_: usize) -> Thing {
    Thing::Lock(Lock::new(None, 0))
}

fn lock_or_limiter(n: usize) -> Thing {
    match n % 2 {
        0 => lock(n),
        _ => Thing::Limiter(Limiter::new(None, 1).unwrap()),
    }
}

/// A thread whose task has `mine` and wants `other`; how that ended. It gives back what it has.
fn crossing(task: TaskId, mine: &Thing, other: &Thing, timeout_ns: u64) -> JoinHandle<Status> {
    let (mine, other) = (mine.clone(), other.clone());
    thread::spawn(move || {
        let end = other.acquire(task, timeout_ns);
        if end == error::OK {
            other.release(task);
        }
        mine.release(task);
        end
    })
}

/// Each of so many tasks has a thing.
fn everybody_has_one(n: usize, make: fn(usize) -> Thing) -> (Vec<Thing>, Vec<TaskId>) {
    let things: Vec<_> = (0..n).map(make).collect();
    let tasks: Vec<_> = (0..n).map(|_| new_task()).collect();
    for (thing, &task) in things.iter().zip(&tasks) {
        assert_eq!(thing.acquire(task, 0), error::OK);
    }
    (things, tasks)
}

fn ring(n: usize, make: fn(usize) -> Thing, hasty: usize, refused: usize) {
    explore(move || {
        let (things, tasks) = everybody_has_one(n, make);
        let threads: Vec<_> = (0..n)
            .map(|i| {
                let timeout_ns = if i < hasty { SOON } else { FOREVER };
                crossing(tasks[i], &things[i], &things[(i + 1) % n], timeout_ns)
            })
            .collect();
        let ends: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        let count = |status| ends.iter().filter(|&&end| end == status).count();
        assert_eq!(count(error::DEADLOCK), refused, "{ends:?}");
        assert_eq!(
            count(error::OK) + count(error::TIMEDOUT) + refused,
            n,
            "{ends:?}"
        );
        assert!(count(error::TIMEDOUT) <= hasty, "{ends:?}");
        things.iter().for_each(Thing::check_at_rest);
    });
}

#[test]
fn four_tasks_close_one_ring() {
    ring(4, lock, 0, 1);
}

#[test]
fn six_tasks_close_one_ring() {
    ring(6, lock, 0, 1);
}

#[test]
fn four_tasks_close_one_ring_of_locks_and_tokens() {
    ring(4, lock_or_limiter, 0, 1);
}

#[test]
fn a_timeout_is_no_part_of_a_ring() {
    ring(5, lock, 1, 0);
}

/// A task that waits for two things is in no ring, until one of its waits is cancelled.
#[test]
fn a_cancel_closes_a_ring_of_four() {
    explore(|| {
        let (things, tasks) = everybody_has_one(4, lock);
        let first = tasks[0];
        let then = {
            let (mine, other) = (things[0].clone(), things[1].clone());
            move |c: &Completed| {
                if c.holds_lock != 0 {
                    other.release(first);
                }
                mine.release(first);
            }
        };
        let Thing::Lock(wanted) = things[1].clone() else {
            unreachable!("all are locks")
        };
        let waiter = Waiter::line_up(first, Kept, then, |op| {
            assert!(is_pending(wanted.acquire_async(first, op)));
        });
        let semaphore = Semaphore::new(None, 0, 0).unwrap();
        let second = Waiter::line_up(
            first,
            Cancelled,
            |_| {},
            |op| {
                assert!(is_pending(semaphore.acquire_async(first, 1, op)));
            },
        );
        let threads: Vec<_> = (1..4)
            .map(|i| crossing(tasks[i], &things[i], &things[(i + 1) % 4], FOREVER))
            .collect();
        second.act();
        let mut ends: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        ends.extend(waiter.end());
        let refused = ends.iter().filter(|&&end| end == error::DEADLOCK).count();
        assert_eq!((ends.len(), refused), (4, 1), "{ends:?}");
        things.iter().for_each(Thing::check_at_rest);
    });
}
