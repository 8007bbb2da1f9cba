//! The lock: owned by a task, broken instead of held for ever when its owner exits.
//!
//! Free and unwanted it is one word, 0; taken, the owner's number, shifted by the two flags. Taking and releasing it are then
//! one compare-exchange each. Everything else is done under `state`'s lock:
//!
//! Invariant 1: if somebody is in line, then the word has QUEUED and an owner, or SICK; or the first in line is a thread that was
//! roused and has not looked again, and that will see to the others. So no waiter is left behind by a release that saw no flag.
//! Invariant 2: while the word has SICK, no fast path succeeds: the lock is broken, closed, or its owner died.
//! Invariant 3: under `state`'s lock, only fast paths change the word: from 0 to an owner, and from an owner with no flag to 0.
//!
//! The default hands a released lock to nobody: it rouses the first in line, which competes with others that come by, and stays
//! first if it loses. About every half millisecond of contention the lock is handed over (as in parking_lot). A strict lock is
//! always handed over, and so is one that an asynchronous operation is first in line for.

use super::answer::{Answer, Why};
use super::batch::Batch;
use super::graph::{Holding, Picture};
use super::identity::Identity;
use super::lines::{Key, Lines, WaitCounts, Waiter, Who};
use super::operation::{self, OpId};
use super::report::{Item, Report};
use super::slot::Slot;
use super::task::{self, Life, Named, TaskId, Words};
use super::wait::{self, Begun, Object, Submitted};
use super::{condition, deadlock};
use crate::core::error::{self, Error, Result, Status};
use crate::sys::clock::{self, Deadline};
use crate::sys::cpu;
use crate::sys::lock::{ForkLock, ForkReset};
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

mod handing;
mod health;
mod object;

use health::Health;

pub(crate) const STRICT_FIFO: u32 = 1;
pub(crate) const RECURSIVE: u32 = 2;
pub(crate) const ROBUST: u32 = 4;
pub(crate) const TIMED_EDGES: u32 = 8;

const QUEUED: u64 = 1;
const SICK: u64 = 2;
const FLAGS: u64 = QUEUED | SICK;

/// The line of those that want the lock; conditions have the others.
pub(super) const FOR_LOCK: u32 = 0;

/// Up to this long is a lock left to whoever is fastest.
const UNFAIR_NS: u64 = 1_000_000;
const SPINS: u32 = 10;
const STRICT_SPINS: u32 = 40;

/// What somebody in line wants.
pub(super) struct Want {
    /// How deep a recursive lock is to be held; above 0 for those that come from a condition.
    pub(super) depth: u32,
    /// Comes from a condition, and is told this when it has the lock back.
    pub(super) back: Option<Answer>,
    /// Told to look again, and has not yet.
    roused: bool,
}

impl Want {
    pub(super) fn at_depth(depth: u32) -> Want {
        Want {
            depth,
            back: None,
            roused: false,
        }
    }
}

pub struct State {
    pub(super) lines: Lines<Want>,
    health: Health,
    /// Owners that died and whose exits have not come by for their reports yet.
    dead: Vec<TaskId>,
    /// How its last owner died, in words.
    last_death: Option<Arc<str>>,
    /// The operation that was handed the lock last: as long as its callback has not begun, the owner's exit breaks nothing.
    handed_to: Option<OpId>,
    closed: bool,
    /// From when on the lock is handed over.
    fair_at_ns: u64,
    seed: u32,
    handed_over: u64,
    breaks: u64,
    pub(super) conditions: condition::Numbers,
}

impl ForkReset for State {
    fn reset_in_child(&mut self) {
        self.lines.forget_all();
        self.conditions.reset_in_child();
        std::mem::forget(std::mem::take(&mut self.dead));
        std::mem::forget(self.last_death.take());
        self.handed_to = None;
    }
    fn keep_in_child(&mut self) {
        self.lines.forget_all();
        self.handed_to = None;
    }
}

/// A lock that belongs to a task. If its owner exits while holding it, it breaks: everybody who waits or comes later is told so,
/// instead of waiting for ever. See `selv_lock_acquire` and `selv_lock_repair`. Ends with `selv_lock_free`.
pub struct Lock {
    word: AtomicU64,
    /// How many are in the state's `dead`, for a look with no lock.
    dead: AtomicU64,
    /// Of a recursive lock, how often its owner has acquired it beyond the first time; only the owner looks.
    depth: AtomicU32,
    flags: u32,
    pub(super) state: ForkLock<State>,
    pub(super) identity: Identity,
}

/// What a lock says to somebody who wants it, under its lock.
enum Found {
    /// Acquired, with this status.
    Taken(Status),
    Held,
}

fn owner_of(word: u64) -> TaskId {
    TaskId(word >> 2)
}

fn held_by(task: TaskId) -> u64 {
    task.0 << 2
}

impl Lock {
    pub fn new(name: Option<&str>, flags: u32) -> Arc<Lock> {
        let lock = Arc::new(Lock {
            word: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            depth: AtomicU32::new(0),
            flags,
            state: ForkLock::new(State {
                lines: Lines::new(),
                health: Health::Well,
                dead: Vec::new(),
                last_death: None,
                handed_to: None,
                closed: false,
                fair_at_ns: 0,
                seed: 0x9e37_79b9,
                handed_over: 0,
                breaks: 0,
                conditions: condition::Numbers::default(),
            }),
            identity: Identity::new("lock", name),
        });
        lock.identity.register(&lock);
        lock
    }

    fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    #[inline]
    fn take_free(&self, task: TaskId) -> bool {
        // Acquire pairs with the Release of every store that frees the word: what the last owner did is seen. Release: who finds
        // this owner in the word finds its slot made ready, and so that it lives.
        let order = match cfg!(selv_mutant = "relaxed_owner") {
            true => Ordering::Acquire,
            false => Ordering::AcqRel,
        };
        self.word
            .compare_exchange(0, held_by(task), order, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes a free lock for a living task. False says nothing: the slow way is to look again.
    #[inline(always)]
    pub fn acquire_at_once(&self, task: TaskId) -> bool {
        let Some(slot) = task::check_fast(task) else {
            return false;
        };
        let taken = self.take_free(task);
        if taken {
            slot.took_lock();
        }
        taken
    }

    /// Releases a lock that nobody is in line for. False says nothing.
    #[inline(always)]
    pub fn release_at_once(&self, task: TaskId) -> bool {
        let Some(slot) = task::check_fast(task) else {
            return false;
        };
        if self.is(RECURSIVE) && self.depth.load(Ordering::Relaxed) != 0 {
            return false;
        }
        // Release pairs with the Acquire in `take_free`: what the owner did under the lock is seen by the next.
        let released = self
            .word
            .compare_exchange(
                held_by(task),
                0,
                if cfg!(selv_mutant = "relaxed_release") {
                    Ordering::Relaxed
                } else {
                    Ordering::Release
                },
                Ordering::Relaxed,
            )
            .is_ok();
        if released {
            // The lock may be gone from here on.
            slot.dropped_lock();
        }
        released
    }

    /// # Errors
    /// WOULD_BLOCK, and those of [`acquire`](Self::acquire) but for the waiting.
    pub fn try_acquire(self: &Arc<Self>, task: TaskId) -> Result<Status> {
        let slot = task::check(task)?;
        if self.take_free(task) {
            slot.took_lock();
            return Ok(error::OK);
        }
        self.try_slow(task, slot)?.ok_or_else(|| {
            let why = format!(
                "{} is held by {}",
                self.identity.as_str(),
                Named(self.owner())
            );
            Error::new(error::WOULD_BLOCK, why)
        })
    }

    fn try_slow(&self, task: TaskId, slot: &Slot) -> Result<Option<Status>> {
        let mut batch = Batch::new();
        let found = self.look(&mut self.state.lock(), task, slot, &mut batch);
        batch.finish();
        found.map(|found| match found {
            Found::Taken(status) => Some(status),
            Found::Held => None,
        })
    }

    /// Waits for the lock; OWNER_DIED is a success, too.
    ///
    /// # Errors
    /// TIMEDOUT, CANCELLED, BROKEN, NOT_RECOVERABLE, CLOSED, DEADLOCK, FORKED, OVERFLOW; INVAL and STALE for the task.
    pub fn acquire(self: &Arc<Self>, task: TaskId, timeout_ns: u64) -> Result<Status> {
        let slot = task::check(task)?;
        if self.take_free(task) {
            slot.took_lock();
            return Ok(error::OK);
        }
        self.acquire_slow(task, slot, timeout_ns)
    }

    fn acquire_slow(
        self: &Arc<Self>,
        task: TaskId,
        slot: &'static Slot,
        timeout_ns: u64,
    ) -> Result<Status> {
        let deadline = Deadline::after(timeout_ns);
        if timeout_ns == 0 {
            return self.try_slow(task, slot)?.ok_or_else(|| {
                self.state.lock().lines.counts.timeouts += 1;
                let why = format!(
                    "{} is held by {}",
                    self.identity.as_str(),
                    Named(self.owner())
                );
                Error::new(error::TIMEDOUT, why)
            });
        }
        if self.spin(task) {
            slot.took_lock();
            return Ok(error::OK);
        }
        let edge = deadline.is_never() || self.is(TIMED_EDGES);
        let object: Arc<dyn Object> = Arc::clone(self) as _;
        wait::block(&object, task, deadline, |who, batch| {
            self.begin(&object, task, slot, who, edge, batch)
        })?
        .into_result()
        .map(|answer| answer.status)
    }

    /// Looks for a while whether the lock comes free, as long as nobody is in line.
    fn spin(&self, task: TaskId) -> bool {
        let rounds = if self.is(STRICT_FIFO) {
            STRICT_SPINS
        } else {
            SPINS
        };
        for round in 0..rounds {
            let word = self.word.load(Ordering::Relaxed);
            if word == 0 && self.take_free(task) {
                return true;
            }
            if word & FLAGS != 0 || owner_of(word) == task || !cpu::pause(round) {
                return false;
            }
        }
        false
    }

    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn acquire_async(self: &Arc<Self>, task: TaskId, op: OpId) -> Result<Submitted> {
        wait::submit(op, |who, batch| {
            let slot = task::check(task)?;
            if self.take_free(task) {
                slot.took_lock();
                return Ok(Begun::Now(Answer::granted()));
            }
            let object: Arc<dyn Object> = Arc::clone(self) as _;
            self.begin(&object, task, slot, who, true, batch)
        })
    }

    fn begin(
        &self,
        object: &Arc<dyn Object>,
        task: TaskId,
        slot: &Slot,
        who: Who,
        edge: bool,
        batch: &mut Batch,
    ) -> Result<Begun> {
        let mut state = self.state.lock();
        if let Found::Taken(status) = self.look(&mut state, task, slot, batch)? {
            let answer = Answer {
                status,
                ..Answer::default()
            };
            return Ok(Begun::Now(answer));
        }
        let key = state
            .lines
            .push(FOR_LOCK, task, who, !edge, Want::at_depth(0));
        let registered = wait::register(slot, object, task, key, who, edge);
        self.see_to_the_first(&mut state, batch);
        drop(state);
        if registered.is_over_at_once(object, task, key, batch) {
            return Ok(Begun::InLine(key));
        }
        if edge
            && let Some(ring) = deadlock::refuse_ring(task, object, key, true, batch)
            && !matches!(who, Who::Thread(_))
        {
            return Err(Error::new(error::DEADLOCK, &*ring));
        }
        Ok(Begun::InLine(key))
    }

    /// Takes the lock if it can be had.
    fn look(
        &self,
        state: &mut State,
        task: TaskId,
        slot: &Slot,
        batch: &mut Batch,
    ) -> Result<Found> {
        loop {
            // Acquire pairs with the Release that stored an owner: what is known of that one is seen.
            let word = self.word.load(Ordering::Acquire);
            let owner = owner_of(word);
            if owner == task {
                return self.again(task).map(|()| Found::Taken(error::OK));
            }
            if state.closed {
                return Err(self.identity.closed());
            }
            if owner != TaskId::NONE {
                match task::life(owner) {
                    Life::Alive => return Ok(Found::Held),
                    Life::Forked => return Err(self.forked(owner)),
                    Life::Exited => {
                        self.owner_is_gone(state, owner, batch);
                        continue;
                    }
                }
            }
            match state.health {
                Health::Well => {
                    if self.take_free(task) {
                        slot.took_lock();
                        return Ok(Found::Taken(error::OK));
                    }
                }
                Health::OwnerDied => {
                    // SICK, so nobody else changes the word.
                    self.word.store(held_by(task) | SICK, Ordering::Release);
                    slot.took_lock();
                    // A success, but one with news: whose death it was.
                    return Ok(Found::Taken(error::keep(self.owner_is_dead(state))));
                }
                Health::Broken => return Err(self.broken(state)),
                Health::NotRecoverable => return Err(self.not_recoverable()),
            }
        }
    }

    /// The owner acquires once more.
    fn again(&self, task: TaskId) -> Result<()> {
        if !self.is(RECURSIVE) {
            return Err(Error::new(
                error::DEADLOCK,
                format!(
                    "{} would wait for {}, held by {0}; it is not SELV_LOCK_RECURSIVE",
                    Named(task),
                    self.identity.as_str()
                ),
            ));
        }
        let depth = self.depth.load(Ordering::Relaxed);
        if depth == u32::MAX - 1 {
            let why = format!("{} is held {} times", self.identity.as_str(), u32::MAX);
            return Err(Error::new(error::OVERFLOW, why));
        }
        self.depth.store(depth + 1, Ordering::Relaxed);
        Ok(())
    }

    /// # Errors
    /// NOT_OWNER.
    pub fn release(&self, task: TaskId) -> Result<()> {
        let slot = task::check(task)?;
        if self.release_at_once(task) {
            return Ok(());
        }
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        self.check_owner(&state, task, || {
            "release a lock that it does not hold".to_owned()
        })?;
        let depth = self.depth.load(Ordering::Relaxed);
        if depth > 0 {
            self.depth.store(depth - 1, Ordering::Relaxed);
            return Ok(());
        }
        slot.dropped_lock();
        self.let_go(&mut state, &mut batch);
        drop(state);
        batch.finish();
        Ok(())
    }

    pub(super) fn owner_by_word(&self) -> TaskId {
        owner_of(self.word.load(Ordering::Relaxed))
    }

    /// # Errors
    /// NOT_OWNER; INVAL and STALE for the task.
    pub(super) fn check_owner(
        &self,
        state: &State,
        task: TaskId,
        cannot: impl FnOnce() -> String,
    ) -> Result<()> {
        let owner = owner_of(self.word.load(Ordering::Relaxed));
        if owner == task && task != TaskId::NONE {
            return Ok(());
        }
        // A stale task is told so, rather than what it does not own.
        task::check(task)?;
        let words = Words::new([task, owner]);
        let how = match (owner, state.health) {
            (TaskId::NONE, Health::Broken) => self.broken(state).detail,
            (TaskId::NONE, Health::NotRecoverable) => self.not_recoverable().detail,
            (TaskId::NONE, _) => format!("{} is held by nobody", self.identity.as_str()),
            _ => format!("{} is held by {}", self.identity.as_str(), &words[owner]),
        };
        Err(Error::new(
            error::NOT_OWNER,
            format!("{} cannot {}: {how}", &words[task], cannot()),
        ))
    }

    /// How deep its owner holds it, beyond the first time.
    pub(super) fn depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed)
    }
}
