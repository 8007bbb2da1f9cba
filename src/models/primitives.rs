//! Semaphores, limiters and channels: no permit, token or item is lost or given twice.

use super::tasks::*;
use super::*;
use crate::core::sync::channel::Channel;
use crate::core::sync::limiter::{Borrower, Limiter};
use crate::core::sync::semaphore::Semaphore;
use loom::thread;

#[test]
fn semaphore_release_against_wait() {
    explore(3, || {
        let semaphore = Semaphore::new(None, 0, 0).unwrap();
        let waiter = thread::spawn({
            let (semaphore, task) = (Arc::clone(&semaphore), new_task());
            move || semaphore.acquire(task, 1, FOREVER).expect("it comes")
        });
        semaphore.release(1).unwrap();
        waiter.join().unwrap();
        assert_eq!(semaphore.stats().permits, 0);
        semaphore.retire().expect("nobody waits");
    });
}

/// The first in line wants more than there is and gives up, as some is released: the next in line has it.
#[test]
fn semaphore_release_against_cancel_of_the_head() {
    explore(3, || {
        let semaphore = Semaphore::new(None, 1, 0).unwrap();
        let tasks = [new_task(), new_task()];
        let told = [Told::new(), Told::new()];
        let head = told[0].operation(tasks[0]);
        assert!(is_pending(semaphore.acquire_async(tasks[0], 3, head)));
        let next = told[1].operation(tasks[1]);
        assert!(is_pending(semaphore.acquire_async(tasks[1], 2, next)));
        let other = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.release(1).unwrap()
        });
        assert!(cancel(head));
        other.join().unwrap();
        assert_eq!(told[0].status(), Some(error::CANCELLED));
        assert!(told[1].was_granted());
        assert_eq!(semaphore.stats().permits, 0);
    });
}

/// Permits that were granted to an operation that is abandoned go to the next in line.
#[test]
fn semaphore_release_against_abandon() {
    explore_outcomes(3, [false, true], || {
        let semaphore = Semaphore::new(None, 0, 0).unwrap();
        let (task, told) = (new_task(), Told::new());
        let op = told.operation(task);
        assert!(is_pending(semaphore.acquire_async(task, 2, op)));
        let other = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.release(2).unwrap()
        });
        let abandoned = abandon(op);
        other.join().unwrap();
        assert_eq!(told.was_granted(), !abandoned);
        assert_eq!(semaphore.stats().permits, if abandoned { 2 } else { 0 });
        abandoned
    });
}

/// A token goes to one of two that wait; what the exit of one gives back goes to the other.
#[test]
fn limiter_release_against_exit() {
    explore(3, || {
        let limiter = Limiter::new(None, 1).unwrap();
        let tasks = [new_task(), new_task(), new_task()];
        limiter.try_acquire(Borrower::Task(tasks[0])).unwrap();
        let told = [Told::new(), Told::new()];
        for (told, &task) in told.iter().zip(&tasks[1..]) {
            let who = Borrower::Task(task);
            let op = told.operation(task);
            assert!(is_pending(limiter.acquire_async(task, who, op)));
        }
        let other = thread::spawn({
            let (limiter, task) = (Arc::clone(&limiter), tasks[0]);
            move || limiter.release(Borrower::Task(task)).unwrap()
        });
        let report = exit(tasks[1]);
        other.join().unwrap();
        let returned = report.count(report::Item::TokenReturned);
        match told[0].status().expect("one callback") {
            error::OK => assert_eq!(returned, 1),
            status => assert_eq!((status, returned), (error::CANCELLED, 0)),
        }
        assert!(told[1].was_granted());
        assert_eq!(limiter.stats().borrowed, 1);
        limiter.release(Borrower::Task(tasks[2])).unwrap();
        limiter.retire().expect("the token is back");
    });
}

/// A total that is raised as one in line times out, and another waits.
#[test]
fn limiter_total_against_timeout() {
    explore(2, || {
        let limiter = Limiter::new(None, 1).unwrap();
        let tasks = [new_task(), new_task()];
        limiter.try_acquire(Borrower::Opaque(7)).unwrap();
        let acquire = |n: usize, timeout_ns| {
            let (limiter, task) = (Arc::clone(&limiter), tasks[n]);
            thread::spawn(move || {
                let result = limiter.acquire(task, Borrower::Task(task), timeout_ns);
                if result.is_ok() {
                    limiter.release(Borrower::Task(task)).unwrap();
                }
                refusal(result)
            })
        };
        let others = [acquire(0, SOON), acquire(1, FOREVER)];
        limiter.set_total(2);
        let [hasty, patient] = others.map(|t| t.join().unwrap());
        assert!([None, Some(error::TIMEDOUT)].contains(&hasty));
        assert_eq!(patient, None);
        assert_eq!(limiter.stats().borrowed, 1);
    });
}

/// The item is in the receiver's callback or still in the channel.
fn receive_given_up(give_up: impl Fn(operation::OpId) -> bool + Copy + Send + Sync + 'static) {
    explore_outcomes(3, [false, true], move || {
        let channel = Channel::new(None, Some(1));
        let (task, told) = (new_task(), Told::new());
        let op = told.operation(task);
        channel.recv_async(task, op).unwrap();
        let sender = thread::spawn({
            let channel = Arc::clone(&channel);
            move || channel.send_nowait(b"x").expect("there is room")
        });
        let given_up = give_up(op);
        sender.join().unwrap();
        let left = channel.recv_nowait().is_ok();
        assert_eq!(left, given_up);
        assert_eq!(told.item(), (!left).then_some(b'x'));
        assert!(channel.recv_nowait().is_err(), "the item is there twice");
        channel.retire().expect("nobody waits");
        given_up
    });
}

#[test]
fn channel_send_against_cancelled_receive() {
    receive_given_up(cancel);
}

#[test]
fn channel_send_against_abandoned_receive() {
    receive_given_up(abandon);
}

/// Two items for two receivers, one of which exits: the items stay in order, and none is lost.
#[test]
fn channel_sends_against_a_receivers_exit() {
    explore(2, || {
        let channel = Channel::new(None, None);
        let tasks = [new_task(), new_task()];
        let told = [Told::new(), Told::new()];
        for (told, &task) in told.iter().zip(&tasks) {
            channel.recv_async(task, told.operation(task)).unwrap();
        }
        let sender = thread::spawn({
            let channel = Arc::clone(&channel);
            move || {
                channel.send_nowait(b"x").unwrap();
                channel.send_nowait(b"y").unwrap();
            }
        });
        exit(tasks[0]);
        sender.join().unwrap();
        let [first, second] = [told[0].item(), told[1].item()];
        let left = channel.recv_nowait().ok().map(|bytes| {
            let (at, _) = bytes.into_raw();
            // SAFETY: an item of one byte.
            let byte = unsafe { *at };
            // SAFETY: from the C library's allocator, and freed once.
            unsafe { libc::free(at.cast()) };
            byte
        });
        let mut all: Vec<u8> = [first, second, left].into_iter().flatten().collect();
        all.sort_unstable();
        assert_eq!(all, b"xy", "{first:?} {second:?} {left:?}");
        assert!(channel.recv_nowait().is_err());
    });
}

/// A sender in line is cancelled as room is made: its item was sent, or it was not.
#[test]
fn channel_receive_against_cancelled_send() {
    explore_outcomes(3, [false, true], || {
        let channel = Channel::new(None, Some(1));
        channel.send_nowait(b"x").unwrap();
        let (task, told) = (new_task(), Told::new());
        let op = told.operation(task);
        assert!(is_pending(channel.send_async(task, b"y", op)));
        let receiver = thread::spawn({
            let channel = Arc::clone(&channel);
            move || channel.recv_nowait().is_ok()
        });
        let cancelled = cancel(op);
        assert!(receiver.join().unwrap());
        let sent = channel.recv_nowait().is_ok();
        assert_eq!(sent, !cancelled);
        assert_eq!(told.was_granted(), sent);
        assert!(channel.recv_nowait().is_err());
        channel.retire().expect("nobody waits");
        cancelled
    });
}

/// A close meets what is released, and somebody who waits for it.
#[test]
fn semaphore_close_against_release() {
    explore_outcomes(3, [None, Some(error::CLOSED)], || {
        let semaphore = Semaphore::new(None, 0, 0).unwrap();
        let waiter = thread::spawn({
            let (semaphore, task) = (Arc::clone(&semaphore), new_task());
            move || refusal(semaphore.acquire(task, 1, FOREVER))
        });
        let other = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.close()
        });
        semaphore.release(1).unwrap();
        let end = waiter.join().unwrap();
        other.join().unwrap();
        assert_eq!(semaphore.stats().permits, u64::from(end.is_some()));
        semaphore.retire().expect("nobody waits");
        end
    });
}

#[test]
fn limiter_close_against_release() {
    explore_outcomes(3, [None, Some(error::CLOSED)], || {
        let limiter = Limiter::new(None, 1).unwrap();
        let [owner, task] = [new_task(), new_task()];
        limiter.try_acquire(Borrower::Task(owner)).unwrap();
        let waiter = thread::spawn({
            let limiter = Arc::clone(&limiter);
            move || refusal(limiter.acquire(task, Borrower::Task(task), FOREVER))
        });
        let other = thread::spawn({
            let limiter = Arc::clone(&limiter);
            move || limiter.close()
        });
        limiter.release(Borrower::Task(owner)).unwrap();
        let end = waiter.join().unwrap();
        other.join().unwrap();
        if end.is_none() {
            limiter.release(Borrower::Task(task)).unwrap();
        }
        limiter.retire().expect("the token is back");
        end
    });
}

/// What was sent before a close can still be received.
#[test]
fn channel_close_against_send_against_receive() {
    explore_outcomes(3, [false, true], || {
        let channel = Channel::new(None, Some(1));
        let receiver = thread::spawn({
            let (channel, task) = (Arc::clone(&channel), new_task());
            move || match channel.recv(task, FOREVER) {
                Ok(_) => true,
                Err(e) => {
                    assert_eq!(e.status, error::CLOSED);
                    false
                }
            }
        });
        let other = thread::spawn({
            let channel = Arc::clone(&channel);
            move || channel.close()
        });
        let sent = channel.send_nowait(b"x").is_ok();
        let received = receiver.join().unwrap();
        other.join().unwrap();
        assert_eq!(received, sent);
        channel.retire().expect("nobody waits");
        received
    });
}
