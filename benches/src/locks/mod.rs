//! The suite of locks, semaphores and channels: what is measured, how much of it, and who takes part.

mod cancel;
mod channel;
mod contest;
mod death;
mod lock;
pub mod marks;
mod semaphore;

use crate::entrants::{python, Entrant, Measure, Run};
use crate::peers::child::Child;
use crate::proc;
use crate::scenarios::{ns_per, scenario, us_per, Sample, Scenario};
use crate::selv;
use cancel::{Order, Times};
use channel::{stream, Wrapped};
use contest::{Contest, Crowd};
use lock::{native, Peer, Pthread, Selvedge, Variant};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Bytes in a message of the channels.
pub const MESSAGE: usize = 32;
const CAPACITY: usize = 64;
const SEMAPHORE_THREADS: usize = 4;

pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "lock-pair",
        "Acquire and release, nobody else there",
        "ns per pair",
        "",
    ),
    scenario(
        "lock-threads-2",
        "2 threads, a short section",
        "ns per acquisition",
        "least / most",
    ),
    scenario(
        "lock-threads-4",
        "4 threads, a short section",
        "ns per acquisition",
        "least / most",
    ),
    scenario(
        "lock-threads-16",
        "16 threads, a short section",
        "ns per acquisition",
        "least / most",
    ),
    scenario(
        "lock-outside-2",
        "2 threads, work outside the lock",
        "ns per acquisition",
        "least / most",
    ),
    scenario(
        "lock-outside-4",
        "4 threads, work outside the lock",
        "ns per acquisition",
        "least / most",
    ),
    scenario(
        "lock-outside-16",
        "16 threads, work outside the lock",
        "ns per acquisition",
        "least / most",
    ),
    scenario(
        "lock-handoff",
        "Hand-off between two threads in turn",
        "µs per hand-off",
        "",
    ),
    scenario(
        "lock-handoff-one-cpu",
        "Hand-off, everything on one CPU",
        "µs per hand-off",
        "",
    ),
    scenario(
        "lock-owner-death",
        "The owner dies: its waiter is told",
        "µs",
        "",
    ),
    scenario(
        "lock-cancel-1000",
        "1,000 asynchronous waiters give up",
        "ns per waiter",
        "ns to queue",
    ),
    scenario(
        "lock-cancel-10000",
        "10,000 asynchronous waiters give up",
        "ns per waiter",
        "ns to queue",
    ),
    scenario(
        "semaphore-pair",
        "Semaphore: acquire and release, nobody else there",
        "ns per pair",
        "",
    ),
    scenario(
        "semaphore-threads-4",
        "Semaphore: 4 threads, 2 permits",
        "ns per acquisition",
        "least / most",
    ),
    scenario(
        "channel-1",
        "Channel without a bound, 1 sender",
        "ns per message",
        "",
    ),
    scenario(
        "channel-4",
        "Channel without a bound, 4 senders",
        "ns per message",
        "",
    ),
    scenario(
        "channel-bounded-1",
        "Channel of 64, 1 sender",
        "ns per message",
        "",
    ),
    scenario(
        "channel-bounded-4",
        "Channel of 64, 4 senders",
        "ns per message",
        "",
    ),
];

/// How much one round does.
#[derive(Clone, Copy)]
pub struct Sizes {
    pairs: u32,
    python_pairs: u32,
    window: Duration,
    outside: u32,
    hand_offs: u32,
    deaths: u32,
    messages: u32,
}

pub const FULL: Sizes = Sizes {
    pairs: 500_000,
    python_pairs: 10_000,
    window: Duration::from_millis(100),
    outside: 100,
    hand_offs: 6_000,
    deaths: 25,
    messages: 40_000,
};

pub const QUICK: Sizes = Sizes {
    pairs: 100_000,
    python_pairs: 2_000,
    window: Duration::from_millis(20),
    hand_offs: 1_200,
    deaths: 5,
    messages: 4_000,
    ..FULL
};

/// Every name that `--peers` takes, but for Selvedge's own rows.
pub const PEERS: &[&str] = &[
    "parking_lot",
    "parking_lot-eventual",
    "parking_lot-fair",
    "std",
    "pthread",
    "pthread-errorcheck",
    "pthread-robust",
    "posix",
    "nsync",
    "absl",
    "trio",
    "trio-nowait",
    "tokio",
    "tokio-shuffled",
    "async",
    "async-shuffled",
    "crossbeam",
];

pub struct Cast {
    sizes: Sizes,
    root: &'static Path,
    trio: Rc<RefCell<Option<Child>>>,
}

impl Cast {
    pub fn new(quick: bool, root: &'static Path) -> Cast {
        Cast {
            sizes: if quick { QUICK } else { FULL },
            root,
            trio: Rc::default(),
        }
    }

    pub fn rows(&self, scenario: &str) -> Vec<Entrant> {
        let sizes = self.sizes;
        let crowd = |threads: &str, outside| Crowd {
            threads: threads.parse().expect("a number"),
            window: sizes.window,
            outside,
            permits: 1,
        };
        match scenario {
            "lock-pair" => {
                let mut rows = each(locks(), move |lock| pairs(lock, sizes.pairs));
                rows.push(self.trio(
                    "trio-nowait",
                    "Trio `Lock` (Python), `acquire_nowait`",
                    "nowait",
                    1.0,
                ));
                rows.push(self.trio(
                    "trio",
                    "Trio `Lock` (Python), `await acquire`",
                    "uncontended",
                    1.0,
                ));
                rows
            }
            "lock-handoff" => {
                let mut rows = each(locks(), move |lock| hand_offs(lock, sizes.hand_offs));
                rows.push(self.trio("trio", "Trio `Lock` (Python), two tasks", "handoff", 1e3));
                rows
            }
            "lock-handoff-one-cpu" => each(locks(), move |lock| {
                // Threads inherit the affinity of the one that starts them.
                proc::on_one_cpu(|| hand_offs(lock, sizes.hand_offs))
            }),
            "lock-owner-death" => deaths(sizes.deaths),
            "lock-cancel-1000" => cancels(1_000),
            "lock-cancel-10000" => cancels(10_000),
            "semaphore-pair" => each(semaphores(), move |s| pairs(s, sizes.pairs)),
            "semaphore-threads-4" => each(semaphores(), move |semaphore| {
                let (value, fairness) = semaphore.crowd(Crowd {
                    threads: SEMAPHORE_THREADS,
                    window: sizes.window,
                    outside: 0,
                    permits: semaphore::PERMITS,
                });
                Sample::with_second(value, fairness)
            }),
            "channel-1" => channels(1, None, sizes.messages),
            "channel-4" => channels(4, None, sizes.messages),
            "channel-bounded-1" => channels(1, Some(CAPACITY), sizes.messages),
            "channel-bounded-4" => channels(4, Some(CAPACITY), sizes.messages),
            other => {
                let crowd = match (
                    other.strip_prefix("lock-threads-"),
                    other.strip_prefix("lock-outside-"),
                ) {
                    (Some(threads), _) => crowd(threads, 0),
                    (_, Some(threads)) => crowd(threads, sizes.outside),
                    _ => unreachable!("no such scenario: {other}"),
                };
                each(locks(), move |lock| {
                    let (value, fairness) = lock.crowd(crowd);
                    Sample::with_second(value, fairness)
                })
            }
        }
    }

    /// A process that lives as long as the run and does one of `peers/python_locks.py`'s commands each round.
    fn trio(&self, id: &str, label: &str, command: &'static str, scale: f64) -> Entrant {
        let (child, root, count) = (self.trio.clone(), self.root, self.sizes.python_pairs);
        let start = move || Child::start(&mut python(root, "python_locks.py")?);
        let measure: Measure = Box::new(move || {
            let mut slot = child.borrow_mut();
            if slot.is_none() {
                *slot = Some(start()?);
            }
            let (total, _) = slot
                .as_mut()
                .expect("just started")
                .ask(&format!("{command} {count}"))?;
            Ok(Sample::plain(total / f64::from(count) / scale))
        });
        row(
            id,
            label,
            python(self.root, "python_locks.py").map(|_| measure),
        )
    }
}

fn row(id: &str, label: &str, run: Run) -> Entrant {
    Entrant {
        id: id.into(),
        label: label.into(),
        run,
    }
}

// ---- locks and semaphores ----

struct Contestant {
    id: &'static str,
    label: &'static str,
    lock: Result<Rc<dyn Contest>, String>,
}

fn contestant<C: Contest + 'static>(id: &'static str, label: &'static str, make: C) -> Contestant {
    Contestant {
        id,
        label,
        lock: Ok(Rc::new(make)),
    }
}

fn selvedge(flags: u32, current: bool) -> impl Fn() -> Selvedge {
    move || Selvedge::new(Variant { flags, current })
}

fn locks() -> Vec<Contestant> {
    let in_c = |id, label| Contestant {
        id,
        label,
        lock: native(id).map(|vtable| Rc::new(move || Peer::new(vtable)) as Rc<dyn Contest>),
    };
    vec![
        contestant("selvedge", "**Selvedge**", selvedge(0, false)),
        contestant(
            "selvedge-current",
            "Selvedge, `SELV_TASK_CURRENT`",
            selvedge(0, true),
        ),
        contestant(
            "selvedge-strict",
            "Selvedge, `STRICT_FIFO`",
            selvedge(selv::LOCK_STRICT_FIFO, false),
        ),
        contestant(
            "selvedge-recursive",
            "Selvedge, `RECURSIVE`",
            selvedge(selv::LOCK_RECURSIVE, false),
        ),
        contestant(
            "selvedge-robust",
            "Selvedge, `ROBUST`",
            selvedge(selv::LOCK_ROBUST, false),
        ),
        contestant("parking_lot", "parking_lot `Mutex`", || {
            Peer::new(&lock::PARKING_LOT)
        }),
        contestant("parking_lot-eventual", "parking_lot 0.12 `Mutex`", || {
            Peer::new(&lock::PARKING_LOT_EVENTUAL)
        }),
        contestant("parking_lot-fair", "parking_lot `FairMutex`", || {
            Peer::new(&lock::PARKING_LOT_FAIR)
        }),
        contestant("std", "Rust `std::sync::Mutex`", || Peer::new(&lock::STD)),
        contestant("pthread", "pthread, normal", || {
            Pthread::new(libc::PTHREAD_MUTEX_NORMAL, false)
        }),
        contestant("pthread-errorcheck", "pthread, errorcheck", || {
            Pthread::new(libc::PTHREAD_MUTEX_ERRORCHECK, false)
        }),
        contestant("pthread-robust", "pthread, robust and errorcheck", || {
            Pthread::new(libc::PTHREAD_MUTEX_ERRORCHECK, true)
        }),
        in_c("nsync", "nsync `nsync_mu`"),
        in_c("absl", "Abseil `absl::Mutex`"),
    ]
}

fn semaphores() -> Vec<Contestant> {
    vec![
        contestant("selvedge", "**Selvedge**", semaphore::Selvedge::new),
        contestant("tokio", "tokio `Semaphore`", || {
            Peer::new(&semaphore::TOKIO)
        }),
        contestant("async", "async-lock `Semaphore`", || {
            Peer::new(&semaphore::ASYNC_LOCK)
        }),
        contestant("posix", "POSIX `sem_t`", || Peer::new(&semaphore::POSIX)),
    ]
}

fn each(
    contestants: Vec<Contestant>,
    measure: impl Fn(&dyn Contest) -> Sample + Copy + 'static,
) -> Vec<Entrant> {
    let entrant = |c: Contestant| {
        let run = |lock: Rc<dyn Contest>| Box::new(move || Ok(measure(&*lock))) as Measure;
        row(c.id, c.label, c.lock.map(run))
    };
    contestants.into_iter().map(entrant).collect()
}

fn pairs(lock: &dyn Contest, count: u32) -> Sample {
    Sample::plain(ns_per(lock.pairs(count), count))
}

fn hand_offs(lock: &dyn Contest, count: u32) -> Sample {
    Sample::plain(us_per(lock.hand_offs(count), count))
}

// ---- the others ----

fn deaths(count: u32) -> Vec<Entrant> {
    fn entrant<L: death::Mortal>(
        id: &str,
        label: &str,
        count: u32,
        make: impl Fn() -> L + 'static,
    ) -> Entrant {
        let run = move || Ok(Sample::plain(us_per(death::deaths(&make, count)?, 1)));
        row(id, label, Ok(Box::new(run)))
    }
    let (plain, robust) = (selvedge(0, false), selvedge(selv::LOCK_ROBUST, false));
    let host = selvedge(0, false);
    vec![
        entrant("selvedge", "**Selvedge**: `BROKEN`", count, move || {
            death::Broken(plain())
        }),
        entrant(
            "selvedge-robust",
            "Selvedge, `ROBUST`: `OWNER_DIED`",
            count,
            move || death::Robust(robust()),
        ),
        entrant(
            "selvedge-task",
            "Selvedge, `selv_task_exit`",
            count,
            move || death::TaskExit(host()),
        ),
        entrant(
            "pthread-robust",
            "pthread, robust: `EOWNERDEAD`",
            count,
            || Pthread::new(libc::PTHREAD_MUTEX_ERRORCHECK, true),
        ),
    ]
}

fn cancels(count: usize) -> Vec<Entrant> {
    let entrant = |id: &str, label: &str, measure: fn(usize, Order) -> Times, order: Order| {
        let run = move || {
            let (queued, ended) = measure(count, order);
            let (ended, queued) = (ns_per(ended, count as u32), ns_per(queued, count as u32));
            Ok(Sample::with_second(ended, queued))
        };
        row(id, label, Ok(Box::new(run)))
    };
    vec![
        entrant("selvedge", "**Selvedge**", cancel::selvedge, Order::Queue),
        entrant(
            "selvedge-shuffled",
            "Selvedge, in any order",
            cancel::selvedge,
            Order::Shuffled,
        ),
        entrant(
            "selvedge-close",
            "Selvedge, `selv_lock_close`",
            cancel::selvedge,
            Order::Close,
        ),
        entrant("tokio", "tokio `Mutex`", cancel::tokio, Order::Queue),
        entrant(
            "tokio-shuffled",
            "tokio `Mutex`, in any order",
            cancel::tokio,
            Order::Shuffled,
        ),
        entrant(
            "async",
            "async-lock `Mutex`",
            cancel::async_lock,
            Order::Queue,
        ),
        entrant(
            "async-shuffled",
            "async-lock `Mutex`, in any order",
            cancel::async_lock,
            Order::Shuffled,
        ),
    ]
}

fn channels(senders: u32, capacity: Option<usize>, count: u32) -> Vec<Entrant> {
    let entrant = |id: &str, label: &str, stream: fn(u32, Option<usize>, u32) -> Duration| {
        let run = move || {
            Ok(Sample::plain(ns_per(
                stream(senders, capacity, count),
                count,
            )))
        };
        row(id, label, Ok(Box::new(run)))
    };
    vec![
        entrant("selvedge", "**Selvedge**", stream::<channel::Selvedge>),
        entrant("tokio", "tokio `mpsc`", stream::<Wrapped<channel::Tokio>>),
        entrant(
            "async",
            "async-channel",
            stream::<Wrapped<channel::AsyncChannel>>,
        ),
        entrant(
            "crossbeam",
            "crossbeam-channel",
            stream::<Wrapped<channel::Crossbeam>>,
        ),
        entrant(
            "std",
            "Rust `std::sync::mpsc`",
            stream::<Wrapped<channel::Std>>,
        ),
    ]
}
