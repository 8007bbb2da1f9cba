//! The lock with its conditions, and the limiter, once more: plainly, for one thread, with lists that are searched. What the
//! library answers is compared with this (`reference_tests.rs`).
//!
//! Every wait is an asynchronous operation. Who holds up whom is not kept anywhere: each search for a ring reads it off the
//! lines and the owners anew.

mod limiters;
mod locks;

use super::lock::{RECURSIVE, ROBUST};
use crate::core::error::{
    BROKEN, CANCELLED, CLOSED, DEADLOCK, DUPLICATE, INVAL, NOT_OWNER, NOT_RECOVERABLE, OK,
    OWNER_DIED, PENDING, STALE, Status, TOO_LATE, WOULD_BLOCK,
};
use std::collections::{HashMap, HashSet};

/// Never used again, as the library's numbers.
pub type Task = u64;
pub type Op = u64;

/// Who has a token, or waits for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Borrower {
    Task(Task),
    Opaque(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Health {
    Well,
    Broken,
    OwnerDied,
    NotRecoverable,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    op: Op,
    task: Task,
    /// What it is told when it has the lock back, if it comes from a condition.
    back: Option<Status>,
    depth: u32,
}

#[derive(Debug)]
pub struct Lock {
    flags: u32,
    pub owner: Option<Task>,
    pub depth: u32,
    line: Vec<Waiter>,
    conditions: Vec<Condition>,
    health: Health,
    pub closed: bool,
}

#[derive(Debug, Default)]
struct Condition {
    line: Vec<Waiter>,
    closed: bool,
}

#[derive(Debug)]
pub struct Limiter {
    pub total: usize,
    tokens: Vec<Borrower>,
    line: Vec<(Op, Task, Borrower)>,
}

/// Where an operation waits, or waited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Lock(usize),
    Condition(usize, usize),
    Limiter(usize, Borrower),
}

/// Completed; the callback is to come.
#[derive(Debug)]
struct Ready {
    op: Op,
    task: Task,
    place: Place,
    status: Status,
    holds_lock: bool,
}

/// What a callback is told: operation, status, `holds_lock`.
pub type Told = (Op, Status, bool);

/// What an exit reports.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Exit {
    pub broken: u64,
    pub handed_on: u64,
    pub cancelled: u64,
    pub passed_on: u64,
    pub returned: u64,
}

#[derive(Default, Debug)]
pub struct Model {
    alive: HashSet<Task>,
    locks: Vec<Lock>,
    limiters: Vec<Limiter>,
    ready: Vec<Ready>,
    /// How many hops the ring had for which an operation was refused last.
    pub hops: usize,
}

type Checked<T> = std::result::Result<T, Status>;

/// A refusal is a status like any other.
fn status(result: Checked<Status>) -> Status {
    result.unwrap_or_else(|refused| refused)
}

impl Lock {
    pub fn is_broken(&self) -> bool {
        matches!(self.health, Health::Broken | Health::NotRecoverable)
    }

    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    pub fn waiting_for(&self, condition: usize) -> usize {
        self.conditions[condition].line.len()
    }

    fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

impl Limiter {
    pub fn borrowed(&self) -> usize {
        self.tokens.len()
    }

    pub fn waiting(&self) -> usize {
        self.line.len()
    }
}

impl Model {
    pub fn add_lock(&mut self, flags: u32, conditions: usize) {
        self.locks.push(Lock {
            flags,
            owner: None,
            depth: 0,
            line: Vec::new(),
            conditions: (0..conditions).map(|_| Condition::default()).collect(),
            health: Health::Well,
            closed: false,
        });
    }

    pub fn add_limiter(&mut self, total: usize) {
        self.limiters.push(Limiter {
            total,
            tokens: Vec::new(),
            line: Vec::new(),
        });
    }

    pub fn begin_task(&mut self, task: Task) {
        self.alive.insert(task);
    }

    pub fn lock(&self, lock: usize) -> &Lock {
        &self.locks[lock]
    }

    pub fn limiter(&self, limiter: usize) -> &Limiter {
        &self.limiters[limiter]
    }

    fn check(&self, task: Task) -> Checked<()> {
        self.alive.contains(&task).then_some(()).ok_or(STALE)
    }

    /// All waits there are: the task, its operation, and whom it is held up by.
    fn waits(&self) -> Vec<(Task, Op, Option<Task>)> {
        let mut waits = Vec::new();
        for lock in &self.locks {
            waits.extend(lock.line.iter().map(|w| (w.task, w.op, lock.owner)));
            let conditions = lock.conditions.iter().flat_map(|c| &c.line);
            waits.extend(conditions.map(|w| (w.task, w.op, None)));
        }
        for limiter in &self.limiters {
            let holder = match limiter.tokens[..] {
                [Borrower::Task(task)] if limiter.total <= 1 => Some(task),
                _ => None,
            };
            let line = limiter.line.iter();
            waits.extend(line.map(|&(op, task, _)| (task, op, holder)));
        }
        waits
    }

    /// For each task that waits for exactly one thing and is held up by one task: its operation, and that task. Any other is in
    /// no ring.
    fn edges(&self) -> HashMap<Task, (Op, Task)> {
        let mut sole: HashMap<Task, Option<(Op, Task)>> = HashMap::new();
        for (who, op, held_up_by) in self.waits() {
            let several = sole.contains_key(&who);
            let edge = held_up_by.filter(|_| !several).map(|by| (op, by));
            sole.insert(who, edge);
        }
        let edges = sole.into_iter();
        edges.filter_map(|(who, edge)| Some((who, edge?))).collect()
    }

    fn ring_of(edges: &HashMap<Task, (Op, Task)>, task: Task) -> Option<Vec<Op>> {
        let (mut at, mut ops) = (task, Vec::new());
        // A longer way than there are edges goes round in a ring that `task` is not part of.
        while ops.len() < edges.len() {
            let (op, by) = *edges.get(&at)?;
            ops.push(op);
            at = by;
            if at == task {
                return Some(ops);
            }
        }
        None
    }

    /// The hops of the ring that `task` is in.
    fn ring(&self, task: Task) -> Option<usize> {
        Self::ring_of(&self.edges(), task).map(|ops| ops.len())
    }

    /// The waits of a ring that has closed in another way than by the beginning of a wait: one of them is to be refused.
    pub fn late_ring(&self) -> Option<Vec<Op>> {
        let edges = self.edges();
        edges.keys().find_map(|&task| Self::ring_of(&edges, task))
    }

    /// One of a ring's waits, chosen by the library, is refused by its callback.
    pub fn refuse_late(&mut self, op: Op) {
        for (waiter, place) in self.take_out(|o, _| o == op) {
            self.complete(op, waiter.task, place, DEADLOCK, false);
        }
    }

    fn complete(&mut self, op: Op, task: Task, place: Place, status: Status, holds_lock: bool) {
        self.ready.push(Ready {
            op,
            task,
            place,
            status,
            holds_lock,
        });
    }

    /// The callbacks of everything that was completed.
    pub fn call_back(&mut self) -> Vec<Told> {
        let ready = self.ready.drain(..);
        ready.map(|r| (r.op, r.status, r.holds_lock)).collect()
    }

    /// Takes out the waiters for which `which` is true; where they were.
    fn take_out(&mut self, which: impl Fn(Op, Task) -> bool) -> Vec<(Waiter, Place)> {
        fn take(
            line: &mut Vec<Waiter>,
            which: impl Fn(Op, Task) -> bool,
            place: Place,
            out: &mut Vec<(Waiter, Place)>,
        ) {
            line.retain(|w| {
                let goes = which(w.op, w.task);
                out.extend(goes.then_some((*w, place)));
                !goes
            });
        }
        let mut out = Vec::new();
        for (at, lock) in self.locks.iter_mut().enumerate() {
            take(&mut lock.line, &which, Place::Lock(at), &mut out);
            for (number, condition) in lock.conditions.iter_mut().enumerate() {
                let place = Place::Condition(at, number);
                take(&mut condition.line, &which, place, &mut out);
            }
        }
        for (at, limiter) in self.limiters.iter_mut().enumerate() {
            limiter.line.retain(|&(op, task, who)| {
                let goes = which(op, task);
                let waiter = Waiter {
                    op,
                    task,
                    back: None,
                    depth: 0,
                };
                out.extend(goes.then_some((waiter, Place::Limiter(at, who))));
                !goes
            });
        }
        out
    }

    pub fn cancel(&mut self, op: Op) -> Status {
        let comes_back = |w: &Waiter| w.op == op && w.back.is_some();
        if self.locks.iter().any(|l| l.line.iter().any(comes_back)) {
            return TOO_LATE;
        }
        let Some((waiter, place)) = self.take_out(|o, _| o == op).pop() else {
            return TOO_LATE;
        };
        match place {
            Place::Condition(at, _) => {
                self.locks[at].line.push(Waiter {
                    back: Some(CANCELLED),
                    ..waiter
                });
                self.serve(at);
            }
            _ => self.complete(op, waiter.task, place, CANCELLED, false),
        }
        OK
    }

    pub fn abandon(&mut self, op: Op) -> Status {
        if !self.take_out(|o, _| o == op).is_empty() {
            return OK;
        }
        let Some(at) = self.ready.iter().position(|r| r.op == op) else {
            return TOO_LATE;
        };
        let ready = self.ready.remove(at);
        if ready.status >= 0 || ready.holds_lock {
            self.pass_on(ready.place, ready.task, ready.status);
        }
        OK
    }

    /// What was granted and not used goes to the next.
    fn pass_on(&mut self, place: Place, task: Task, granted: Status) {
        match place {
            Place::Limiter(at, who) => {
                self.give_back(at, who);
            }
            Place::Lock(at) | Place::Condition(at, _) => {
                if self.locks[at].owner != Some(task) {
                    return;
                }
                if granted == OWNER_DIED && self.locks[at].health == Health::OwnerDied {
                    self.locks[at].owner = None;
                    self.locks[at].depth = 0;
                    self.serve(at);
                } else {
                    self.let_go(at);
                }
            }
        }
    }

    pub fn exit(&mut self, task: Task) -> Option<Exit> {
        if !self.alive.remove(&task) {
            return None;
        }
        let mut exit = Exit::default();
        for (waiter, place) in self.take_out(|_, t| t == task) {
            self.complete(waiter.op, task, place, CANCELLED, false);
            exit.cancelled += 1;
        }
        let granted = |r: &Ready| r.task == task && (r.status >= 0 || r.holds_lock);
        while let Some(at) = self.ready.iter().position(granted) {
            let ready = &mut self.ready[at];
            let (place, status) = (ready.place, ready.status);
            (ready.status, ready.holds_lock) = (CANCELLED, false);
            exit.passed_on += 1;
            self.pass_on(place, task, status);
        }
        for at in 0..self.locks.len() {
            let lock = &mut self.locks[at];
            if lock.owner != Some(task) {
                continue;
            }
            lock.owner = None;
            lock.depth = 0;
            if lock.is(ROBUST) {
                lock.health = Health::OwnerDied;
                exit.handed_on += 1;
                self.serve(at);
            } else {
                lock.health = Health::Broken;
                exit.broken += 1;
                self.refuse_all(at, BROKEN);
            }
        }
        for at in 0..self.limiters.len() {
            if self.give_back(at, Borrower::Task(task)) == OK {
                exit.returned += 1;
            }
        }
        Some(exit)
    }
}
