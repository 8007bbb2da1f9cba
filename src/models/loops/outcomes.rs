//! Operations and jobs that are told on the loop: once, whatever becomes of it.

use super::*;
use crate::core::delivery::Delivery;
use crate::core::sync::lock::Lock;
use crate::core::sync::task::TaskId;

/// A lock with an owner, and a task that waits for it with an operation of the loop's.
fn awaited_lock(host: &Host) -> (Arc<Lock>, TaskId, TaskId, Arc<Told>, operation::OpId) {
    let (lock, owner, task) = (Lock::new(None, 0), new_task(), new_task());
    lock.try_acquire(owner).expect("a new lock");
    let told = Told::new();
    let op = told.operation_on(task, Some(Arc::clone(&host.queue)));
    assert!(is_pending(lock.acquire_async(task, op)));
    (lock, owner, task, told, op)
}

/// An operation that was granted, and waits for its callback in the queue, can be abandoned until that begins.
#[test]
fn abandon_against_completion() {
    explore_outcomes(3, [false, true], || {
        let host = Host::new();
        let (lock, owner, task, told, op) = awaited_lock(&host);
        let other = thread::spawn(move || abandon(op));
        lock.release(owner).unwrap();
        host.drain();
        let abandoned = other.join().unwrap();
        host.drain();
        assert_eq!(told.was_granted(), !abandoned);
        if !abandoned {
            lock.release(task).unwrap();
        }
        check_at_rest(&lock);
        host.check_empty();
        host.close();
        abandoned
    });
}

/// A completion that meets the close is told once: where it was to be, with the lock; or somewhere else, and the lock is free.
#[test]
fn close_against_completion() {
    explore_outcomes(3, [error::OK, error::CLOSED], || {
        let host = Host::new();
        let (lock, owner, task, told, _) = awaited_lock(&host);
        let other = thread::spawn({
            let lock = Arc::clone(&lock);
            move || lock.release(owner).unwrap()
        });
        let drained = host.drain();
        assert_eq!(drained > 0, told.was_granted());
        host.close();
        other.join().unwrap();
        let status = told.status().expect("one callback");
        assert_eq!(status == error::OK, drained > 0);
        if status == error::OK {
            lock.release(task).unwrap();
        }
        check_at_rest(&lock);
        host.check_empty();
        status
    });
}

/// The lock goes on whoever gives the operation up.
#[test]
fn close_against_abandon() {
    explore_outcomes(3, [None, Some(error::CLOSED)], || {
        let host = Host::new();
        let (lock, owner, _, told, op) = awaited_lock(&host);
        let other = thread::spawn(move || abandon(op));
        lock.release(owner).unwrap();
        host.close();
        let abandoned = other.join().unwrap();
        assert_eq!(told.status().is_none(), abandoned);
        check_at_rest(&lock);
        host.check_empty();
        told.status()
    });
}

/// Submits a job whose outcome is told on the loop.
fn submit_for(host: &Host, job: &Arc<Probe>, cache: &Arc<Cache>) -> Arc<Ticket> {
    let ticket = Ticket::with(Box::new([]), TaskId::NONE, Some(Arc::clone(&host.queue)));
    let reference = TicketRef::new(Arc::clone(&ticket));
    assert!(job.hand_over(cache, Needs::Usual, Some(reference)));
    ticket
}

fn check_told(job: &Probe, ran: u32, status: Status) {
    let counts = [&job.ran, &job.delivered, &job.freed];
    assert_eq!(counts.map(|count| count.load(Relaxed)), [ran, 1, 1]);
    assert_eq!(job.status.load(Relaxed), status);
}

#[test]
fn close_against_outcome() {
    explore_outcomes(2, [error::OK, error::CLOSED], || {
        let cache = cache(Idle::Stays, 0);
        let (host, job) = (Host::new(), Probe::new());
        let ticket = submit_for(&host, &job, &cache);
        let drained = host.drain();
        host.close();
        finish(&cache);
        let status = if drained > 0 {
            error::OK
        } else {
            error::CLOSED
        };
        check_told(&job, 1, status);
        assert_eq!(ticket.wait(Deadline::NEVER).unwrap().status, status);
        host.check_empty();
        status
    });
}

/// Whoever waits for a job goes on when it has been told on the loop, and its argument freed.
#[test]
fn wait_against_outcome() {
    explore(2, || {
        let cache = cache(Idle::Stays, 0);
        let (host, job) = (Host::new(), Probe::new());
        let ticket = submit_for(&host, &job, &cache);
        let waiter = thread::spawn({
            let job = Arc::clone(&job);
            move || {
                let outcome = ticket.wait(Deadline::NEVER).expect("it ends");
                assert_eq!(outcome.status, error::OK);
                check_told(&job, 1, error::OK);
            }
        });
        host.answer_until(0, || job.freed.load(Relaxed) > 0);
        waiter.join().unwrap();
        finish(&cache);
        host.close();
    });
}

/// A job that is cancelled as it begins is told once, on the loop.
#[test]
fn cancel_against_outcome() {
    explore_outcomes(2, [error::OK, error::CANCELLED], || {
        let cache = cache(Idle::Stays, 0);
        let (host, job) = (Host::new(), Probe::new());
        let ticket = submit_for(&host, &job, &cache);
        let delivery = Delivery {
            // SAFETY: these functions take what such functions are called with.
            deliver: Some(unsafe { DeliverFn::new(deliver) }),
            arg: Opaque(Arc::as_ptr(&job).cast_mut().cast()),
            // SAFETY: as above.
            arg_free: Some(unsafe { FreeFn::new(free) }),
        };
        let cancelled = submit::cancel(Arc::clone(&cache), Arc::clone(&ticket), delivery).is_ok();
        host.answer_until(0, || job.freed.load(Relaxed) > 0);
        finish(&cache);
        let status = if cancelled {
            error::CANCELLED
        } else {
            error::OK
        };
        check_told(&job, u32::from(!cancelled), status);
        host.check_empty();
        host.close();
        status
    });
}
