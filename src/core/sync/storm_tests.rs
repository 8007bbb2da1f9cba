//! Several threads at random on a few locks and conditions, with timeouts that pass or not, cancels, abandoned operations, owners that
//! exit, and rings. Nobody waits for ever, nobody is inside a lock with another, and each operation has one callback or none.
//!
//! A thread that waits for ever is the failure: if nothing moves for a minute, the picture of who waits for whom is printed.

use super::batch::Batch;
use super::condition::Condition;
use super::exit;
use super::graph::{self, Format};
use super::lock::{Lock, ROBUST, STRICT_FIFO};
use super::operation::{self, Completion, OpId};
use super::task::{self, Kind, TaskId};
use super::wait::Submitted;
use crate::core::callback::{CompleteFn, Completed, Opaque};
use crate::core::error::{self, OK, Result, Status};
use crate::core::name::Name;
use crate::sys::clock::{self, FOREVER};
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::Duration;

const THREADS: u64 = 6;
const ROUNDS: u64 = 4000;

/// A lock and what it protects.
struct Room {
    lock: Arc<Lock>,
    condition: Arc<Condition>,
    inside: AtomicU32,
    visits: UnsafeCell<u64>,
    visits_told: AtomicU64,
}

// SAFETY: `visits` is touched inside the lock only.
unsafe impl Sync for Room {}

impl Room {
    fn new(flags: u32) -> Room {
        let lock = Lock::new(None, flags);
        Room {
            condition: Condition::new(None, Arc::clone(&lock)),
            lock,
            inside: AtomicU32::new(0),
            visits: UnsafeCell::new(0),
            visits_told: AtomicU64::new(0),
        }
    }

    fn enter(&self) {
        assert_eq!(self.inside.swap(1, SeqCst), 0, "two owners");
        self.visits_told.fetch_add(1, SeqCst);
        // SAFETY: inside the lock.
        unsafe { *self.visits.get() += 1 };
    }

    fn leave(&self) {
        assert_eq!(self.inside.swap(0, SeqCst), 1);
    }
}

/// What the callback of one operation has told its thread, which sleeps meanwhile.
struct Told {
    calls: AtomicU32,
    status: AtomicI32,
    holds_lock: AtomicBool,
    thread: Thread,
}

impl Told {
    fn operation(task: TaskId) -> (Arc<Told>, OpId) {
        let told = Arc::new(Told {
            calls: AtomicU32::new(0),
            status: AtomicI32::new(OK),
            holds_lock: AtomicBool::new(false),
            thread: thread::current(),
        });
        let completion = Completion::Host {
            on: None,
            // SAFETY: takes what such functions are called with.
            call: unsafe { CompleteFn::new(completed) },
            // A count for the callback; an operation that has none leaves it behind.
            arg: Opaque(Arc::into_raw(Arc::clone(&told)).cast_mut().cast()),
        };
        (told, operation::begin(task, completion).unwrap())
    }

    /// The callback is to come, or has come: the status, and whether the lock is held.
    fn wait(&self) -> (Status, bool) {
        while self.calls.load(SeqCst) == 0 {
            thread::park();
        }
        (self.status.load(SeqCst), self.holds_lock.load(SeqCst))
    }
}

unsafe extern "C-unwind" fn completed(told: *mut c_void, c: *const Completed) {
    // SAFETY: the count that `operation` made for this one call; `c` lives during it.
    let (told, c) = unsafe { (Arc::from_raw(told.cast::<Told>()), &*c) };
    told.status.store(c.status, SeqCst);
    told.holds_lock.store(c.holds_lock != 0, SeqCst);
    assert_eq!(told.calls.fetch_add(1, SeqCst), 0, "a second callback");
    told.thread.unpark();
}

fn end(f: fn(OpId, &mut Batch) -> Result<()>, op: OpId) -> bool {
    let mut batch = Batch::new();
    let result = f(op, &mut batch);
    batch.finish();
    result
        .inspect_err(|e| assert_eq!(e.status, error::TOO_LATE))
        .is_ok()
}

fn exit(task: TaskId) {
    let mut batch = Batch::new();
    exit::host_task(task, &mut batch).expect("a task exits once");
    batch.finish();
}

struct Player {
    rooms: Arc<[Room; 3]>,
    task: TaskId,
    random: u64,
}

impl Player {
    fn below(&mut self, n: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % n
    }

    fn timeout(&mut self) -> u64 {
        match self.below(3) {
            0 => FOREVER,
            1 => 0,
            _ => 1 + self.below(200_000),
        }
    }

    fn reborn(&mut self) {
        exit(self.task);
        self.task = task::begin(Kind::Host, Name::NONE).unwrap();
    }

    /// True if the lock is held now; then the player is inside.
    fn acquire(&mut self, room: &Room) -> bool {
        let had = match self.below(4) {
            0 => self.acquire_by_operation(room),
            _ => room
                .lock
                .acquire(self.task, self.timeout())
                .unwrap_or_else(|e| e.status),
        };
        match had {
            OK => {}
            error::OWNER_DIED => room.lock.make_consistent(self.task).unwrap(),
            error::BROKEN => match room.lock.repair(self.task) {
                Ok(()) => {}
                // Somebody else was faster.
                Err(e) => {
                    assert_eq!(e.status, error::INVAL);
                    return false;
                }
            },
            other => {
                let expected = [error::TIMEDOUT, error::CANCELLED, error::DEADLOCK];
                assert!(expected.contains(&other), "{other}");
                return false;
            }
        }
        room.enter();
        true
    }

    fn acquire_by_operation(&mut self, room: &Room) -> Status {
        let (told, op) = Told::operation(self.task);
        match room.lock.acquire_async(self.task, op) {
            Ok(Submitted::Now(answer)) => return answer.status,
            Ok(Submitted::Pending) => {}
            Err(e) => return e.status,
        }
        match self.below(4) {
            0 if end(operation::abandon, op) => {
                assert_eq!(told.calls.load(SeqCst), 0);
                error::CANCELLED
            }
            1 => {
                let cancelled = end(operation::cancel, op);
                let (status, _) = told.wait();
                assert_eq!(status == error::CANCELLED, cancelled);
                status
            }
            _ => told.wait().0,
        }
    }

    /// Inside: waits for the condition, and is inside again unless the lock was lost. False if it was.
    fn wait(&mut self, room: &Room) -> bool {
        room.leave();
        let holds = if self.below(2) == 0 {
            let timeout_ns = 1 + self.below(100_000);
            let (holds, result) = room.condition.wait(self.task, timeout_ns);
            let died = matches!(result, Ok(error::OWNER_DIED));
            if died {
                room.lock.make_consistent(self.task).unwrap();
            }
            holds
        } else {
            let (told, op) = Told::operation(self.task);
            room.condition.wait_async(self.task, op).unwrap();
            end(operation::cancel, op);
            let (status, holds) = told.wait();
            if status == error::OWNER_DIED {
                room.lock.make_consistent(self.task).unwrap();
            }
            holds
        };
        if holds {
            room.enter();
        }
        holds
    }

    /// One visit, in which others may follow; true if the task is still the one that began it.
    fn visit(&mut self, first: usize) {
        let rooms = Arc::clone(&self.rooms);
        let room = &rooms[first];
        if !self.acquire(room) {
            return;
        }
        match self.below(12) {
            0 => {
                room.leave();
                return self.reborn();
            }
            1 | 2 if !self.wait(room) => return,
            1 | 2 => {}
            3 | 4 => room.condition.notify(self.task, 1 + self.below(3)).unwrap(),
            5..8 => {
                // In any order of rooms: rings are refused.
                let second = self.below(rooms.len() as u64) as usize;
                if second != first && self.acquire(&rooms[second]) {
                    rooms[second].leave();
                    rooms[second].lock.release(self.task).unwrap();
                }
            }
            _ => {}
        }
        room.leave();
        room.lock.release(self.task).unwrap();
    }
}

/// Prints who waits for whom, and ends the process, if the visits do not grow.
fn watch(rooms: Arc<[Room; 3]>, over: Arc<AtomicBool>) {
    let count = || {
        rooms
            .iter()
            .map(|r| r.visits_told.load(SeqCst))
            .sum::<u64>()
    };
    let mut before = count();
    loop {
        thread::park_timeout(Duration::from_secs(60));
        if over.load(SeqCst) {
            return;
        }
        let now = count();
        if now == before {
            eprintln!(
                "nothing has moved for a minute:\n{}",
                graph::draw(Format::Text)
            );
            std::process::abort();
        }
        before = now;
    }
}

#[test]
fn nobody_is_left_behind() {
    let scale = std::env::var("SELV_TEST_SCALE").ok();
    let scale: u64 = scale.and_then(|s| s.parse().ok()).unwrap_or(1);
    let seed = clock::now_ns() | 1;
    eprintln!("seed {seed}");
    let rooms = Arc::new([Room::new(0), Room::new(STRICT_FIFO), Room::new(ROBUST)]);
    let over = Arc::new(AtomicBool::new(false));
    let watcher = thread::spawn({
        let (rooms, over) = (Arc::clone(&rooms), Arc::clone(&over));
        move || watch(rooms, over)
    });
    let players: Vec<_> = (0..THREADS)
        .map(|n| {
            let mut player = Player {
                rooms: Arc::clone(&rooms),
                task: task::begin(Kind::Host, Name::NONE).unwrap(),
                random: seed.wrapping_mul(2 * n + 1),
            };
            thread::spawn(move || {
                for _ in 0..ROUNDS * scale {
                    let first = player.below(3) as usize;
                    player.visit(first);
                }
                exit(player.task);
            })
        })
        .collect();
    players.into_iter().for_each(|p| p.join().unwrap());
    over.store(true, SeqCst);
    watcher.thread().unpark();
    watcher.join().unwrap();
    for room in rooms.iter() {
        // SAFETY: the threads have ended.
        let visits = unsafe { *room.visits.get() };
        assert_eq!(visits, room.visits_told.load(SeqCst));
        let stats = room.lock.stats();
        assert_eq!((stats.waiting, stats.owner), (0, TaskId::NONE));
        assert!(stats.breaks > 0, "no owner exited");
        assert_eq!(room.condition.stats().0, 0);
        room.condition.retire().expect("nobody waits");
        room.lock.retire().expect("nobody has it");
    }
    let counts = rooms.each_ref().map(|room| room.lock.stats().counts);
    let sum = |each: [u64; 3]| each.iter().sum::<u64>();
    assert!(sum(counts.map(|c| c.timeouts)) > 0, "nobody's time was up");
    assert!(sum(counts.map(|c| c.cancelled)) > 0, "nobody was cancelled");
    assert!(sum(counts.map(|c| c.deadlocks)) > 0, "no ring was refused");
}
