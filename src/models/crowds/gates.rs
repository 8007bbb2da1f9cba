//! Events, which let everybody go, and parking lots, which let go by number: nobody is forgotten, and each unpark lets exactly one go.

use super::*;
use crate::core::sync::event::{Event, RESETTABLE};
use crate::core::sync::parking_lot::ParkingLot;
use crate::core::sync::report::Item;

fn blocking(
    manner: Manner,
    news: &'static [Status],
    went: &Arc<AtomicU32>,
    wait: impl FnOnce(TaskId, u64) -> error::Result<()> + Send + 'static,
) -> JoinHandle<()> {
    let (went, task) = (Arc::clone(went), new_task());
    let timeout_ns = if manner == Hasty { SOON } else { FOREVER };
    thread::spawn(move || {
        let end = wait(task, timeout_ns).map_or_else(|e| e.status, |()| error::OK);
        manner.check(Some(end), news);
        went.fetch_add(u32::from(end == error::OK), Relaxed);
        exit(task);
    })
}

/// Some wait in their manners while the event is set, and meanwhile something else may be done to it.
fn set_against(
    manners: &'static [Manner],
    news: &'static [Status],
    also: fn(&Event),
    and_then: fn(&Event),
) {
    explore(move || {
        let event = Event::new(None, RESETTABLE);
        let went = Arc::default();
        let (ops, threads): (Vec<Manner>, Vec<_>) = manners.iter().partition(|m| m.is_operation());
        let waiters: Vec<_> = ops
            .into_iter()
            .map(|manner| {
                let task = new_task();
                Waiter::line_up(
                    task,
                    manner,
                    |_| {},
                    |op| {
                        assert!(is_pending(event.wait_async(task, op)));
                    },
                )
            })
            .collect();
        let mut threads: Vec<_> = threads
            .into_iter()
            .map(|manner| {
                let event = Arc::clone(&event);
                blocking(manner, news, &went, move |task, ns| event.wait(task, ns))
            })
            .collect();
        threads.extend(acting(&waiters));
        threads.push(thread::spawn({
            let event = Arc::clone(&event);
            move || also(&event)
        }));
        if event.set().is_ok() {
            and_then(&event);
        }
        join_all(threads);
        waiters.iter().for_each(|w| w.check(news));
        assert_eq!(event.stats().waiting, 0);
        event.retire().expect("nobody waits");
    });
}

#[test]
fn event_set_against_whoever_gives_up() {
    let manners = &[Patient, Hasty, Cancelled, Abandoned, Exits, Kept, Patient];
    set_against(manners, &[], |_| {}, |_| {});
}

/// Who was in line when it was set goes, though it is cleared at once.
#[test]
fn event_set_and_cleared_against_whoever_gives_up() {
    let manners = &[Hasty, Cancelled, Kept, Abandoned, Hasty, Kept];
    set_against(manners, &[], |_| {}, |event| event.clear().unwrap());
}

#[test]
fn event_close_against_set_against_wait() {
    let manners = &[Patient, Hasty, Cancelled, Abandoned, Kept, Patient];
    set_against(manners, &[error::CLOSED], Event::close, |_| {});
}

fn park_later(lot: &Arc<ParkingLot>, manner: Manner, went: &Arc<AtomicU32>) -> Arc<Waiter> {
    let (went, task) = (Arc::clone(went), new_task());
    let then = move |c: &Completed| {
        went.fetch_add(u32::from(c.status == error::OK), Relaxed);
    };
    Waiter::line_up(task, manner, then, |op| {
        assert!(is_pending(lot.park_async(task, op)));
    })
}

fn unparking(lot: &Arc<ParkingLot>, n: u64) -> JoinHandle<u64> {
    let lot = Arc::clone(lot);
    thread::spawn(move || lot.unpark(n))
}

/// An unpark that comes to one who is about to leave goes to the next.
#[test]
fn unpark_against_whoever_gives_up() {
    explore(|| {
        let lot = ParkingLot::new(None);
        let went = Arc::default();
        // Three that stay, for three unparks: there is always a next one.
        let manners = [Abandoned, Exits, Cancelled, Kept, Abandoned, Kept, Kept];
        let waiters = manners.map(|manner| park_later(&lot, manner, &went));
        let mut threads = acting(&waiters);
        threads.push({
            let lot = Arc::clone(&lot);
            blocking(Hasty, &[], &Arc::default(), move |task, ns| {
                lot.park(task, ns)
            })
        });
        let others = [unparking(&lot, 1), unparking(&lot, 1)];
        let mut unparked = lot.unpark(1);
        unparked += others.map(|t| t.join().unwrap()).iter().sum::<u64>();
        join_all(threads);
        assert_eq!(unparked, 3);
        assert_eq!(
            lot.stats().waiting + u64::from(went.load(Relaxed)),
            count_left(&waiters)
        );
        lot.unpark(u64::MAX);
        for waiter in &waiters {
            waiter.check(&[]);
        }
        lot.retire().expect("nobody is parked");
    });
}

/// Those that have not given up.
fn count_left(waiters: &[Arc<Waiter>]) -> u64 {
    let gave_up = |w: &&Arc<Waiter>| match w.manner {
        Abandoned => w.end().is_none(),
        _ => w.end() == Some(error::CANCELLED),
    };
    (waiters.len() - waiters.iter().filter(gave_up).count()) as u64
}

/// The lot comes to an end while some park and some are unparked; each unpark has let one go.
fn end_against_park(status: Status, end: fn(&ParkingLot, TaskId)) {
    explore(move || {
        let lot = ParkingLot::new(None);
        let breaker = new_task();
        lot.add_breaker(breaker).unwrap();
        let went = Arc::default();
        let news: &'static [Status] = match status {
            error::BROKEN => &[error::BROKEN],
            _ => &[error::CLOSED],
        };
        let waiters = [Kept, Cancelled].map(|manner| park_later(&lot, manner, &went));
        let mut threads = acting(&waiters);
        for manner in [Patient, Hasty, Patient] {
            let lot = Arc::clone(&lot);
            threads.push(blocking(manner, news, &went, move |task, ns| {
                lot.park(task, ns)
            }));
        }
        let unparked = unparking(&lot, 2);
        end(&lot, breaker);
        join_all(threads);
        assert_eq!(unparked.join().unwrap(), u64::from(went.load(Relaxed)));
        waiters.iter().for_each(|w| w.check(news));
        assert_eq!(refusal(lot.park(new_task(), FOREVER)), Some(status));
        lot.retire().expect("nobody is parked");
    });
}

#[test]
fn lot_close_against_park() {
    end_against_park(error::CLOSED, |lot, _| lot.close());
}

#[test]
fn breakers_exit_against_park() {
    end_against_park(error::BROKEN, |_, breaker| {
        assert_eq!(exit(breaker).count(Item::LotBroken), 1);
    });
}

/// Some move to another lot while some leave, and some are unparked there.
#[test]
fn repark_against_whoever_gives_up() {
    explore(|| {
        let lots = [ParkingLot::new(None), ParkingLot::new(None)];
        let went = Arc::default();
        let manners = [Cancelled, Kept, Abandoned, Kept, Exits];
        let waiters = manners.map(|manner| park_later(&lots[0], manner, &went));
        let mut threads = acting(&waiters);
        threads.push({
            let lot = Arc::clone(&lots[0]);
            blocking(Hasty, &[], &Arc::default(), move |task, ns| {
                lot.park(task, ns)
            })
        });
        let other = unparking(&lots[1], 1);
        lots[0].repark(&lots[1], 3).unwrap();
        other.join().unwrap();
        join_all(threads);
        let waiting: u64 = lots.iter().map(|lot| lot.stats().waiting).sum();
        assert!(waiting + u64::from(went.load(Relaxed)) <= count_left(&waiters));
        for lot in &lots {
            lot.unpark(u64::MAX);
        }
        for waiter in &waiters {
            waiter.check(&[]);
        }
        lots.iter()
            .for_each(|lot| lot.retire().expect("nobody is parked"));
    });
}
