//! A condition under its lock, as a store of items has it: no notification goes to somebody who has given up, and everybody comes
//! back with the lock, once, or is told that it broke.

use super::*;
use crate::core::sync::condition::Condition;
use crate::core::sync::lock::{Lock, ROBUST};

struct Store {
    lock: Arc<Lock>,
    condition: Arc<Condition>,
    /// Under the lock.
    items: AtomicU32,
    /// How many are notified of one item.
    notified: u64,
}

/// Those whom one item has notified may have given up for good, so that nobody would pass it on.
const EVERYBODY: u64 = u64::MAX;

impl Store {
    fn new(flags: u32, notified: u64) -> Arc<Store> {
        let lock = Lock::new(None, flags);
        Arc::new(Store {
            condition: Condition::new(None, Arc::clone(&lock)),
            lock,
            items: AtomicU32::new(0),
            notified,
        })
    }

    fn acquire(&self, task: TaskId) -> Result<(), Status> {
        match self.lock.acquire(task, FOREVER) {
            Ok(status) => {
                self.mend(task, status);
                Ok(())
            }
            Err(e) => Err(e.status),
        }
    }

    fn mend(&self, task: TaskId, status: Status) {
        if status == error::OWNER_DIED {
            self.lock.make_consistent(task).expect("its owner died");
        }
    }

    fn release(&self, task: TaskId) {
        self.lock.release(task).expect("acquired before");
    }

    /// With the lock; it is held afterwards if there is no error, and otherwise not.
    fn wait(&self, task: TaskId, timeout_ns: u64) -> Result<(), Status> {
        let (holds, result) = self.condition.wait(task, timeout_ns);
        assert_eq!(holds, self.lock.owner() == task);
        match result {
            Ok(status) => {
                assert!(holds);
                self.mend(task, status);
                Ok(())
            }
            Err(e) => {
                if holds {
                    self.release(task);
                }
                Err(e.status)
            }
        }
    }

    fn consume(&self, task: TaskId) -> Result<(), Status> {
        self.acquire(task)?;
        loop {
            let items = self.items.load(Relaxed);
            if items > 0 {
                self.items.store(items - 1, Relaxed);
                self.release(task);
                return Ok(());
            }
            self.wait(task, FOREVER)?;
        }
    }

    /// Waits a moment. If it is notified of something, the next one is in its place.
    fn look(&self, task: TaskId) -> Result<(), Status> {
        self.acquire(task)?;
        self.wait(task, SOON)?;
        self.pass_on(task);
        Ok(())
    }

    fn pass_on(&self, task: TaskId) {
        self.condition.notify(task, 1).expect("it holds the lock");
        self.release(task);
    }

    fn produce(&self, task: TaskId) -> Result<(), Status> {
        self.acquire(task)?;
        self.items.store(self.items.load(Relaxed) + 1, Relaxed);
        let notified = self.condition.notify(task, self.notified);
        notified.expect("it holds the lock");
        self.release(task);
        Ok(())
    }

    fn thread(
        self: &Arc<Store>,
        manner: Manner,
        news: &'static [Status],
        what: fn(&Store, TaskId) -> Result<(), Status>,
    ) -> JoinHandle<()> {
        let (store, task) = (Arc::clone(self), new_task());
        thread::spawn(move || {
            let end = what(&store, task).map_or_else(|status| status, |()| error::OK);
            manner.check(Some(end), news);
            assert_eq!(exit(task).items.len(), 0);
        })
    }

    /// An operation that waits; in its callback it does as [`look`](Self::look).
    fn line_up(self: &Arc<Store>, manner: Manner) -> Arc<Waiter> {
        let (store, task) = (Arc::clone(self), new_task());
        let then = move |c: &Completed| {
            if manner == Exits {
                // Its task may have exited since the callback began, and then has nothing any more.
                let made =
                    c.status != error::OWNER_DIED || store.lock.make_consistent(task).is_ok();
                if made && store.condition.notify(task, 1).is_ok() {
                    let _ = store.lock.release(task);
                }
            } else if c.status >= 0 {
                store.mend(task, c.status);
                store.pass_on(task);
            } else if c.holds_lock != 0 {
                store.release(task);
            }
        };
        self.lock.try_acquire(task).expect("nobody has it");
        Waiter::line_up(task, manner, then, |op| {
            self.condition
                .wait_async(task, op)
                .expect("it has the lock");
        })
    }
}

/// Three take an item each, two look for a moment, some operations wait, too, and two put three items there.
fn race(
    flags: u32,
    notified: u64,
    manners: &'static [Manner],
    news: &'static [Status],
    also: fn(&Arc<Store>) -> Option<JoinHandle<()>>,
) {
    explore(move || {
        let store = Store::new(flags, notified);
        let waiters: Vec<_> = manners.iter().map(|&m| store.line_up(m)).collect();
        let mut threads: Vec<_> = also(&store).into_iter().collect();
        for _ in 0..3 {
            threads.push(store.thread(Patient, news, Store::consume));
        }
        for _ in manners.len()..2 {
            threads.push(store.thread(Hasty, news, Store::look));
        }
        threads.extend(acting(&waiters));
        threads.push(store.thread(Patient, news, |store, task| {
            store.produce(task)?;
            store.produce(task)
        }));
        let producer = new_task();
        let produced = store.produce(producer).err();
        assert!(produced.is_none_or(|status| news.contains(&status)));
        join_all(threads);
        // An operation that waits for nothing in particular may not have been notified.
        if store.acquire(producer).is_ok() {
            store.condition.notify(producer, EVERYBODY).unwrap();
            store.release(producer);
        }
        waiters.iter().for_each(|w| w.check(news));
        if news.is_empty() {
            assert_eq!(store.items.load(Relaxed), 0);
        }
        assert_eq!(store.lock.stats().waiting, 0);
        store.condition.retire().expect("nobody waits");
        store.lock.retire().expect("nobody has the lock");
    });
}

fn nothing(_: &Arc<Store>) -> Option<JoinHandle<()>> {
    None
}

/// Somebody exits with the lock.
fn death(store: &Arc<Store>) -> Option<JoinHandle<()>> {
    let (store, task) = (Arc::clone(store), new_task());
    Some(thread::spawn(move || {
        let _ = store.acquire(task);
        exit(task);
    }))
}

fn close(store: &Arc<Store>) -> Option<JoinHandle<()>> {
    let condition = Arc::clone(&store.condition);
    Some(thread::spawn(move || condition.close()))
}

#[test]
fn timeout_against_notify() {
    race(0, 1, &[], &[], nothing);
}

#[test]
fn cancel_against_notify() {
    race(0, 1, &[Cancelled, Kept, Cancelled], &[], nothing);
}

#[test]
fn abandon_against_notify() {
    race(0, EVERYBODY, &[Abandoned, Kept, Abandoned], &[], nothing);
}

#[test]
fn owner_exit_against_wait() {
    race(0, EVERYBODY, &[Kept, Cancelled], &[error::BROKEN], death);
}

#[test]
fn robust_owners_exit_against_wait() {
    let news = &[error::OWNER_DIED];
    race(ROBUST, EVERYBODY, &[Kept, Cancelled, Exits], news, death);
}

#[test]
fn robust_owners_exit_against_timeout() {
    race(ROBUST, EVERYBODY, &[], &[error::OWNER_DIED], death);
}

#[test]
fn close_against_wait() {
    race(0, 1, &[Kept, Cancelled], &[error::CLOSED], close);
}
