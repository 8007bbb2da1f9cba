//! Events and parking lots: whoever waits goes once, or is told why not, and an unpark that somebody did not use is the next one's.

use super::tasks::*;
use super::*;
use crate::core::sync::event::{Event, RESETTABLE};
use crate::core::sync::parking_lot::ParkingLot;
use crate::core::sync::report::Item;
use loom::thread;

/// A thread that waits for the event, and how that ended.
fn waiting(event: &Arc<Event>, timeout_ns: u64) -> JoinHandle<Option<Status>> {
    let (event, task) = (Arc::clone(event), new_task());
    thread::spawn(move || refusal(event.wait(task, timeout_ns)))
}

/// A thread that parks, and how that ended.
fn parking(lot: &Arc<ParkingLot>, timeout_ns: u64) -> JoinHandle<Option<Status>> {
    let (lot, task) = (Arc::clone(lot), new_task());
    thread::spawn(move || refusal(lot.park(task, timeout_ns)))
}

#[test]
fn event_set_against_wait() {
    explore(3, || {
        let event = Event::new(None, 0);
        let waiters = [waiting(&event, FOREVER), waiting(&event, FOREVER)];
        event.set().unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), None);
        }
        event.retire().expect("nobody waits");
    });
}

#[test]
fn event_set_against_timeout() {
    explore_outcomes(3, [None, Some(error::TIMEDOUT)], || {
        let event = Event::new(None, 0);
        let waiter = waiting(&event, SOON);
        event.set().unwrap();
        let end = waiter.join().unwrap();
        event.retire().expect("nobody waits");
        end
    });
}

/// Who is in line when it is set goes, though it is cleared at once.
#[test]
fn event_set_and_cleared_against_cancel() {
    explore_outcomes(3, [error::OK, error::CANCELLED], || {
        let event = Event::new(None, RESETTABLE);
        let (task, told) = (new_task(), Told::new());
        let op = told.operation(task);
        assert!(is_pending(event.wait_async(task, op)));
        let setter = thread::spawn({
            let event = Arc::clone(&event);
            move || {
                event.set().unwrap();
                event.clear().unwrap();
            }
        });
        let cancelled = cancel(op);
        setter.join().unwrap();
        let status = told.status().expect("one callback");
        assert_eq!(status == error::CANCELLED, cancelled);
        event.retire().expect("nobody waits");
        status
    });
}

#[test]
fn event_close_against_set_against_wait() {
    explore_outcomes(3, [None, Some(error::CLOSED)], || {
        let event = Event::new(None, 0);
        let waiter = waiting(&event, FOREVER);
        let other = thread::spawn({
            let event = Arc::clone(&event);
            move || event.close()
        });
        let set = event.set().is_ok();
        let end = waiter.join().unwrap();
        other.join().unwrap();
        // It can have been told of the close before the event was set.
        assert!(set || end == Some(error::CLOSED));
        event.retire().expect("nobody waits");
        end
    });
}

/// An unpark has let one go, or there was nobody.
#[test]
fn unpark_against_timeout() {
    explore_outcomes(3, [None, Some(error::TIMEDOUT)], || {
        let lot = ParkingLot::new(None);
        let waiter = parking(&lot, SOON);
        let unparked = lot.unpark(1);
        let end = waiter.join().unwrap();
        assert_eq!(unparked, u64::from(end.is_none()));
        lot.retire().expect("nobody is parked");
        end
    });
}

/// Who is unparked and abandoned leaves the unpark to the next.
#[test]
fn unpark_against_abandon() {
    explore_outcomes(3, [false, true], || {
        let lot = ParkingLot::new(None);
        let tasks = [new_task(), new_task()];
        let told = [Told::new(), Told::new()];
        let ops = [0, 1].map(|n| told[n].operation(tasks[n]));
        for (&task, &op) in tasks.iter().zip(&ops) {
            assert!(is_pending(lot.park_async(task, op)));
        }
        let other = thread::spawn({
            let lot = Arc::clone(&lot);
            move || assert_eq!(lot.unpark(1), 1)
        });
        let abandoned = abandon(ops[0]);
        other.join().unwrap();
        assert_eq!(told[0].was_granted(), !abandoned);
        assert_eq!(told[1].was_granted(), abandoned);
        assert_eq!(lot.unpark(1), u64::from(!abandoned));
        lot.retire().expect("nobody is parked");
        abandoned
    });
}

#[test]
fn lot_close_against_unpark_against_park() {
    explore_outcomes(3, [None, Some(error::CLOSED)], || {
        let lot = ParkingLot::new(None);
        let waiter = parking(&lot, FOREVER);
        let other = thread::spawn({
            let lot = Arc::clone(&lot);
            move || lot.close()
        });
        let unparked = lot.unpark(1);
        let end = waiter.join().unwrap();
        other.join().unwrap();
        assert_eq!(unparked, u64::from(end.is_none()));
        lot.retire().expect("nobody is parked");
        end
    });
}

#[test]
fn breakers_exit_against_park() {
    explore(3, || {
        let (lot, breaker) = (ParkingLot::new(None), new_task());
        lot.add_breaker(breaker).unwrap();
        let waiter = parking(&lot, FOREVER);
        assert_eq!(exit(breaker).count(Item::LotBroken), 1);
        assert_eq!(waiter.join().unwrap(), Some(error::BROKEN));
        lot.retire().expect("nobody is parked");
    });
}
