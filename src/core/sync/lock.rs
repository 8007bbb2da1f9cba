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

use super::graph::{Holding, Picture};
use super::label::Label;
use super::operation::{self, OpId};
use super::registry;
use super::report::{Item, Report};
use super::task::{self, Life, Named, Slot, TaskId};
use super::wait::{
    self, Answer, Batch, Begun, Key, Lines, Object, Submitted, WaitCounts, Waiter, Who, Why,
};
use super::{condition, deadlock};
use crate::core::error::{self, Error, Result, Status};
use crate::sys::clock::{self, Deadline};
use crate::sys::cpu;
use crate::sys::lock::{ForkLock, ForkReset};
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

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

/// What is wrong with a lock whose word has SICK. Plain data, which is whole in a fork child whatever another thread was doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    /// Its owner exited while holding it.
    Broken,
    /// ROBUST: the same, and who has it now is to make it consistent.
    OwnerDied,
    /// ROBUST: and did not.
    NotRecoverable,
}

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
    /// How it broke.
    why_broken: Option<Arc<str>>,
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
        std::mem::forget(self.why_broken.take());
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
    /// As `word`, the owner that died last, for its exit's report. Changes under `state`'s lock.
    died: AtomicU64,
    /// Of a recursive lock, how often its owner has acquired it beyond the first time; only the owner looks.
    depth: AtomicU32,
    flags: u32,
    pub(super) state: ForkLock<State>,
    pub(super) label: Label,
    place: OnceLock<registry::Place>,
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
            died: AtomicU64::new(0),
            depth: AtomicU32::new(0),
            flags,
            state: ForkLock::new(State {
                lines: Lines::new(),
                health: Health::Well,
                why_broken: None,
                handed_to: None,
                closed: false,
                fair_at_ns: 0,
                seed: 0x9e37_79b9,
                handed_over: 0,
                breaks: 0,
                conditions: condition::Numbers::default(),
            }),
            label: Label::new("lock", name),
            place: OnceLock::new(),
        });
        let _ = lock.place.set(registry::add(Arc::clone(&lock) as _));
        lock
    }

    fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    #[inline]
    fn take_free(&self, task: TaskId) -> bool {
        // Acquire pairs with the Release of every store that frees the word: what the last owner did is seen. Release: who finds
        // this owner in the word finds its slot made ready, and so that it lives.
        self.word
            .compare_exchange(0, held_by(task), Ordering::AcqRel, Ordering::Relaxed)
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
            let why = format!("{} is held by {}", self.label.as_str(), Named(self.owner()));
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
                let why = format!("{} is held by {}", self.label.as_str(), Named(self.owner()));
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
                return Err(self.closed());
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
                    return Ok(Found::Taken(error::OWNER_DIED));
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
                    self.label.as_str()
                ),
            ));
        }
        let depth = self.depth.load(Ordering::Relaxed);
        if depth == u32::MAX - 1 {
            let why = format!("{} is held {} times", self.label.as_str(), u32::MAX);
            return Err(Error::new(error::OVERFLOW, why));
        }
        self.depth.store(depth + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Restores invariant 1 after a change: the first in line is handed a free lock, or roused, or the owner's release is made to
    /// come by.
    fn see_to_the_first(&self, state: &mut State, batch: &mut Batch) {
        loop {
            let Some(key) = state.lines.first(FOR_LOCK) else {
                return;
            };
            let first = state.lines.get(key).expect("in line");
            let word = self.word.load(Ordering::Relaxed);
            if word == SICK
                && matches!(state.health, Health::OwnerDied)
                && !cfg!(selv_mutant = "no_heir")
            {
                return self.hand_on(state, batch);
            }
            if first.want.roused || word & SICK != 0 {
                return;
            }
            if word == 0 {
                if first.is_thread() && !self.is(STRICT_FIFO) {
                    let first = state.lines.get_mut(key).expect("in line");
                    first.want.roused = true;
                    if let Who::Thread(parker) = first.who
                        && parker.rouse()
                    {
                        batch.wake(parker);
                    }
                    return;
                }
                let taken = held_by(first.task) | self.queued_after_one(state);
                // Acquire, Release: as one owner after the other.
                if self
                    .word
                    .compare_exchange(0, taken, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
                {
                    return self.hand_over(state, key, error::OK, batch);
                }
            } else if word & QUEUED != 0
                || cfg!(selv_mutant = "unflagged")
                || self
                    .word
                    .compare_exchange(word, word | QUEUED, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                // A roused one that has lost sees here whether the new owner is still there to release.
                if cfg!(selv_mutant = "trust_the_owner") {
                    return;
                }
                let owner = owner_of(self.word.load(Ordering::Acquire));
                if task::life(owner) == Life::Exited {
                    self.owner_is_gone(state, owner, batch);
                }
                return;
            }
        }
    }

    /// QUEUED, if others are in line behind the first.
    fn queued_after_one(&self, state: &State) -> u64 {
        match state.lines.len(FOR_LOCK) > 1 && !cfg!(selv_mutant = "forget_the_second") {
            true => QUEUED,
            false => 0,
        }
    }

    /// The word already names its task: the waiter leaves the line with the lock.
    fn hand_over(&self, state: &mut State, key: Key, status: Status, batch: &mut Batch) {
        let Some(waiter) = state.lines.remove(key) else {
            return;
        };
        task::slot_of(waiter.task).inspect(|slot| slot.given_lock());
        state.handed_over += 1;
        state.handed_to = match waiter.who {
            Who::Op(op) => Some(op),
            Who::Thread(_) => None,
        };
        self.depth.store(waiter.want.depth, Ordering::Relaxed);
        Self::answer_holder(state, waiter, status, batch);
    }

    /// Tells a waiter that it has the lock.
    fn answer_holder(
        state: &mut State,
        mut waiter: Waiter<Want>,
        status: Status,
        batch: &mut Batch,
    ) {
        let mut answer = waiter.want.back.take().unwrap_or_default();
        // That the owner died goes before how a condition's wait ended.
        if status != error::OK {
            answer = Answer {
                status,
                ..Answer::default()
            };
        }
        answer.holds_lock = true;
        state.lines.complete(waiter, answer, batch);
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
        self.check_owner(task, || "release a lock that it does not hold".to_owned())?;
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

    /// # Errors
    /// NOT_OWNER; INVAL and STALE for the task.
    pub(super) fn check_owner(&self, task: TaskId, cannot: impl FnOnce() -> String) -> Result<()> {
        let owner = owner_of(self.word.load(Ordering::Relaxed));
        if owner == task && task != TaskId::NONE {
            return Ok(());
        }
        // A stale task is told so, rather than what it does not own.
        task::check(task)?;
        let holder = match owner {
            TaskId::NONE => "nobody".to_owned(),
            owner => Named(owner).to_string(),
        };
        Err(Error::new(
            error::NOT_OWNER,
            format!(
                "{} cannot {}: {} is held by {holder}",
                Named(task),
                cannot(),
                self.label.as_str()
            ),
        ))
    }

    /// The owner's last release, with the lock on its state held; the task's slot has been told.
    pub(super) fn let_go(&self, state: &mut State, batch: &mut Batch) {
        state.handed_to = None;
        self.depth.store(0, Ordering::Relaxed);
        if let Health::OwnerDied = state.health {
            state.health = Health::NotRecoverable;
            self.word.store(SICK, Ordering::Release);
            let why = self.not_recoverable();
            self.refuse_everyone(state, why.status, why.detail.into(), batch);
            return;
        }
        if self.word.load(Ordering::Relaxed) & SICK != 0 {
            self.word.store(SICK, Ordering::Release);
            return;
        }
        let first = state.lines.first(FOR_LOCK);
        if let Some(key) = first
            && self.is_to_be_handed_over(state, key)
        {
            let next = state.lines.get(key).expect("in line").task;
            let taken = held_by(next) | self.queued_after_one(state);
            // Release: the next owner's call is answered under the state's lock, and fast paths do not touch an owned word.
            self.word.store(taken, Ordering::Release);
            self.hand_over(state, key, error::OK, batch);
            return;
        }
        self.word.store(0, Ordering::Release);
        self.see_to_the_first(state, batch);
    }

    fn is_to_be_handed_over(&self, state: &mut State, key: Key) -> bool {
        let first = state.lines.get(key).expect("in line");
        if self.is(STRICT_FIFO) || !first.is_thread() {
            return true;
        }
        let now = clock::now_ns();
        if now < state.fair_at_ns {
            return false;
        }
        // Half of it on average, and not in step with anything.
        state.seed ^= state.seed << 13;
        state.seed ^= state.seed >> 17;
        state.seed ^= state.seed << 5;
        let was_due = state.fair_at_ns != 0;
        state.fair_at_ns = now + u64::from(state.seed) % UNFAIR_NS;
        was_due
    }

    /// The word names a task that has exited: it held the lock; or it was granted it and has not come to know, and then the grant goes
    /// to the next, and nothing breaks.
    fn owner_is_gone(&self, state: &mut State, owner: TaskId, batch: &mut Batch) {
        // It may have released the lock before it exited, and somebody else have it. If the word still names it now that it has
        // exited, that stays so: no other task has its number.
        if owner_of(self.word.load(Ordering::Acquire)) != owner
            && !cfg!(selv_mutant = "trust_the_first_look")
        {
            return;
        }
        match state.handed_to {
            Some(op) if operation::revoke(op) => self.pass_on_under(state, batch),
            _ => self.owner_died(state, owner, batch),
        }
    }

    /// What an owner has that does not know of it goes to the next.
    fn pass_on_under(&self, state: &mut State, batch: &mut Batch) {
        match state.health {
            // It has seen nothing of what the lock protects; the next is told the same.
            Health::OwnerDied => self.hand_on(state, batch),
            _ => self.let_go(state, batch),
        }
    }

    fn owner_died(&self, state: &mut State, owner: TaskId, batch: &mut Batch) {
        // SICK: from here on no fast path changes the word, whatever the host does.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if owner_of(word) != owner && !cfg!(selv_mutant = "trust_the_first_look") {
                return;
            }
            match self
                .word
                .compare_exchange(word, word | SICK, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        // Release pairs with the Acquire in `owner_exited`.
        self.died.store(held_by(owner), Ordering::Release);
        state.breaks += 1;
        let what = self.label.as_str();
        self.depth.store(0, Ordering::Relaxed);
        if self.is(ROBUST) {
            state.health = Health::OwnerDied;
            return self.hand_on(state, batch);
        }
        let why: Arc<str> = format!(
            "{what} is broken: its owner, {}, exited while holding it",
            Named(owner)
        )
        .into();
        state.health = Health::Broken;
        state.why_broken = Some(Arc::clone(&why));
        self.word.store(SICK, Ordering::Release);
        self.refuse_everyone(state, error::BROKEN, why, batch);
    }

    /// The owner has died, or has seen nothing of what the lock protects: the next one is told.
    fn hand_on(&self, state: &mut State, batch: &mut Batch) {
        self.depth.store(0, Ordering::Relaxed);
        state.handed_to = None;
        match state.lines.first(FOR_LOCK) {
            None => self.word.store(SICK, Ordering::Release),
            Some(key) => {
                let next = state.lines.get(key).expect("in line").task;
                self.word.store(held_by(next) | SICK, Ordering::Release);
                self.hand_over(state, key, error::OWNER_DIED, batch);
            }
        }
    }

    /// Those in line, and those that wait for conditions.
    fn refuse_everyone(&self, state: &mut State, status: Status, why: Arc<str>, batch: &mut Batch) {
        for line in 0..state.lines.lines() {
            while let Some(waiter) = state.lines.pop(line) {
                let answer = Answer::refused(status, Arc::clone(&why));
                state.lines.complete(waiter, answer, batch);
            }
        }
    }

    /// Takes a broken lock, and makes it whole.
    ///
    /// # Errors
    /// INVAL (it is not broken), NOT_RECOVERABLE, CLOSED; STALE for the task.
    pub fn repair(&self, task: TaskId) -> Result<()> {
        let slot = task::check(task)?;
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        let owner = owner_of(self.word.load(Ordering::Acquire));
        if owner != TaskId::NONE && task::life(owner) == Life::Exited {
            self.owner_is_gone(&mut state, owner, &mut batch);
        }
        let forked = task::life(owner_of(self.word.load(Ordering::Acquire))) == Life::Forked;
        let result = match state.health {
            _ if state.closed => Err(self.closed()),
            Health::NotRecoverable => Err(self.not_recoverable()),
            Health::Broken => Ok(held_by(task)),
            // Its owner is in the parent process, and with it what the lock protects.
            Health::OwnerDied if forked => Ok(held_by(task) | SICK),
            _ if forked => Ok(held_by(task)),
            Health::OwnerDied => Err(Error::new(
                error::INVAL,
                format!(
                    "{} is SELV_LOCK_ROBUST: acquire it, and then make it consistent",
                    self.label.as_str()
                ),
            )),
            Health::Well => Err(Error::new(
                error::INVAL,
                format!("{} is not broken", self.label.as_str()),
            )),
        };
        let result = result.map(|word| {
            if word & SICK == 0 {
                state.health = Health::Well;
            }
            self.depth.store(0, Ordering::Relaxed);
            self.word.store(word, Ordering::Release);
            slot.took_lock();
        });
        drop(state);
        batch.finish();
        result
    }

    /// # Errors
    /// NOT_OWNER, INVAL (there is nothing to make consistent).
    pub fn make_consistent(&self, task: TaskId) -> Result<()> {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        self.check_owner(task, || {
            "make a lock consistent that it does not hold".to_owned()
        })?;
        let Health::OwnerDied = state.health else {
            return Err(Error::new(
                error::INVAL,
                format!(
                    "{} is consistent: it was not acquired with SELV_OWNER_DIED",
                    self.label.as_str()
                ),
            ));
        };
        state.health = Health::Well;
        if !state.closed {
            self.word.store(held_by(task), Ordering::Release);
            self.see_to_the_first(&mut state, &mut batch);
        }
        drop(state);
        batch.finish();
        Ok(())
    }

    /// Nobody acquires it any more.
    pub fn close(&self) {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        state.closed = true;
        let mut word = self.word.load(Ordering::Relaxed);
        // Fast paths may still change the word until it is SICK.
        while let Err(now) = self.word.compare_exchange(
            word,
            (word | SICK) & !QUEUED,
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            word = now;
        }
        let why = self.closed();
        self.refuse_everyone(&mut state, why.status, why.detail.into(), &mut batch);
        drop(state);
        batch.finish();
    }

    /// True if nobody has anything to do with it any more; then it leaves the registry.
    ///
    /// # Errors
    /// BUSY.
    pub fn retire(&self) -> Result<()> {
        let state = self.state.lock();
        let owner = owner_of(self.word.load(Ordering::Relaxed));
        let waiting: usize = (0..state.lines.lines()).map(|l| state.lines.len(l)).sum();
        let busy = match () {
            () if task::life(owner) == Life::Alive && owner != TaskId::NONE => {
                format!("is held by {}", Named(owner))
            }
            () if waiting > 0 => format!("has {waiting} waiting"),
            () if state.conditions.count() > 0 => {
                let names: Vec<&str> = state.conditions.names().collect();
                format!("is used by {}", names.join(", "))
            }
            () => {
                drop(state);
                self.place.get().inspect(|place| registry::remove(**place));
                return Ok(());
            }
        };
        let why = format!("{} {busy}", self.label.as_str());
        Err(Error::new(error::BUSY, why))
    }

    fn owner_by_word(&self) -> TaskId {
        owner_of(self.word.load(Ordering::Relaxed))
    }

    /// Who holds it: none if it is free or broken.
    pub fn owner(&self) -> TaskId {
        let owner = owner_of(self.word.load(Ordering::Relaxed));
        match task::life(owner) {
            Life::Exited => TaskId::NONE,
            Life::Alive | Life::Forked => owner,
        }
    }

    pub fn stats(&self) -> Stats {
        let state = self.state.lock();
        let owner = self.owner();
        Stats {
            owner,
            depth: match owner {
                TaskId::NONE => 0,
                _ => u64::from(self.depth.load(Ordering::Relaxed)) + 1,
            },
            waiting: state.lines.len(FOR_LOCK) as u64,
            counts: state.lines.counts,
            handed_over: state.handed_over,
            breaks: state.breaks,
            broken: matches!(state.health, Health::Broken | Health::NotRecoverable),
            closed: state.closed,
        }
    }

    /// The owner is about to let go of it in order to wait.
    ///
    /// # Errors
    /// CLOSED, INVAL (it is to be made consistent first).
    pub(super) fn check_release_is_plain(&self, state: &State) -> Result<()> {
        match state.health {
            _ if state.closed => Err(self.closed()),
            Health::Well => Ok(()),
            _ => Err(Error::new(
                error::INVAL,
                format!(
                    "{} was acquired with SELV_OWNER_DIED: make it consistent before waiting with it",
                    self.label.as_str()
                ),
            )),
        }
    }

    /// How deep its owner holds it, beyond the first time.
    pub(super) fn depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed)
    }

    /// To the line for the lock, with what is to be told when it is had.
    pub(super) fn want_back(
        &self,
        state: &mut State,
        key: Key,
        verdict: Answer,
        batch: &mut Batch,
    ) {
        let Some(waiter) = state.lines.get_mut(key) else {
            return;
        };
        waiter.want.back = Some(verdict);
        let task = waiter.task;
        state.lines.move_to(key, FOR_LOCK);
        if task::slot_of(self.owner()).is_some_and(Slot::is_waiting)
            && let Some(wait) = task::slot_of(task).and_then(Slot::sole_wait)
        {
            batch.look_for_ring(task, wait);
        }
        if cfg!(selv_mutant = "return_in_silence") {
            return;
        }
        self.see_to_the_first(state, batch);
    }

    fn not_had(&self) -> String {
        let owner = match self.owner() {
            TaskId::NONE => "others were faster".to_owned(),
            owner => format!("it is held by {}", Named(owner)),
        };
        format!(
            "{} was not had within the timeout: {owner}",
            self.label.as_str()
        )
    }

    fn broken(&self, state: &State) -> Error {
        let why = match &state.why_broken {
            Some(why) => why.to_string(),
            None => format!("{} was broken when the process forked", self.label.as_str()),
        };
        Error::new(error::BROKEN, why)
    }

    fn closed(&self) -> Error {
        Error::new(error::CLOSED, format!("{} is closed", self.label.as_str()))
    }

    fn forked(&self, owner: TaskId) -> Error {
        Error::new(
            error::FORKED,
            format!(
                "{} was held by {} when the process forked, which is in the parent process",
                self.label.as_str(),
                Named(owner)
            ),
        )
    }

    fn not_recoverable(&self) -> Error {
        Error::new(
            error::NOT_RECOVERABLE,
            format!(
                "{} was released without being made consistent after its owner died; it can only be freed",
                self.label.as_str()
            ),
        )
    }
}

/// The statistics of a lock, at one moment.
pub struct Stats {
    pub owner: TaskId,
    pub depth: u64,
    pub waiting: u64,
    pub counts: WaitCounts,
    pub handed_over: u64,
    pub breaks: u64,
    pub broken: bool,
    pub closed: bool,
}

impl Object for Lock {
    fn label(&self) -> &str {
        self.label.as_str()
    }

    fn name(&self) -> &str {
        &self.label.name
    }

    fn withdraw(&self, key: Key, why: &Why, batch: &mut Batch) -> bool {
        let mut state = self.state.lock();
        match state.lines.line_of(key) {
            None => false,
            Some(FOR_LOCK) => {
                let comes_back = state.lines.get(key).is_some_and(|w| w.want.back.is_some());
                if comes_back && matches!(why, Why::TimedOut | Why::Cancelled | Why::Interrupted) {
                    // It was told to come back before; nothing but the lock ends this.
                    return false;
                }
                // Its own exit comes to what it holds later.
                let is_owner = state.lines.get(key).map(|w| w.task) == Some(self.owner_by_word());
                if let Some(waiter) = state.lines.remove(key) {
                    let lacking = || self.not_had();
                    let what = self.label.as_str();
                    state.lines.refuse(waiter, why, what, lacking, batch);
                }
                // It may have been the one that was roused.
                let to_come = is_owner && matches!(why, Why::TaskExited);
                if !to_come && !cfg!(selv_mutant = "leave_in_silence") {
                    self.see_to_the_first(&mut state, batch);
                }
                true
            }
            Some(_) => condition::withdraw(self, &mut state, key, why, batch),
        }
    }

    fn held_up_by(&self, key: Key) -> Option<TaskId> {
        let state = self.state.lock();
        let in_line = state.lines.line_of(key) == Some(FOR_LOCK);
        let owner = owner_of(self.word.load(Ordering::Relaxed));
        (in_line && owner != TaskId::NONE).then_some(owner)
    }

    fn pass_on(&self, task: TaskId, _: Answer, batch: &mut Batch) {
        let mut state = self.state.lock();
        if owner_of(self.word.load(Ordering::Relaxed)) != task {
            return;
        }
        task::slot_of(task).inspect(|slot| slot.robbed_of_lock());
        self.pass_on_under(&mut state, batch);
    }

    fn owner_exited(&self, task: TaskId, report: &mut Report, batch: &mut Batch) {
        let names = |word: &AtomicU64| owner_of(word.load(Ordering::Acquire)) == task;
        if !names(&self.word) && !names(&self.died) {
            return;
        }
        let mut state = self.state.lock();
        if names(&self.word) {
            self.owner_died(&mut state, task, batch);
        }
        // Maybe somebody else has found it first, since its number was gone.
        if names(&self.died) {
            self.died.store(0, Ordering::Relaxed);
            let item = match self.is(ROBUST) {
                true => Item::LockHandedOn,
                false => Item::LockBroken,
            };
            report.add(item, &self.label.name);
        }
    }

    /// The first in line was roused: it takes the lock, or stays the first.
    fn look_again(&self, key: Key, batch: &mut Batch) {
        for round in 0..SPINS {
            let word = self.word.load(Ordering::Relaxed);
            if word == 0 || word & FLAGS != 0 || !cpu::pause(round) {
                break;
            }
        }
        let mut state = self.state.lock();
        let Some(waiter) = state.lines.get_mut(key).filter(|w| w.want.roused) else {
            return;
        };
        let (task, depth) = (waiter.task, waiter.want.depth);
        let taken = held_by(task) | self.queued_after_one(&state);
        if self
            .word
            .compare_exchange(0, taken, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            let waiter = state.lines.remove(key).expect("just seen");
            task::slot_of(task).inspect(|slot| slot.took_lock());
            self.depth.store(depth, Ordering::Relaxed);
            return Self::answer_holder(&mut state, waiter, error::OK, batch);
        }
        let waiter = state.lines.get_mut(key).expect("just seen");
        waiter.want.roused = false;
        if let Who::Thread(parker) = waiter.who {
            parker.lie_down_again();
        }
        if cfg!(selv_mutant = "lose_in_silence") {
            return;
        }
        self.see_to_the_first(&mut state, batch);
    }

    fn describe(&self) -> Picture {
        let state = self.state.lock();
        let owner = self.owner();
        let mut picture = Picture::new(&self.label, &state.lines, FOR_LOCK);
        if owner != TaskId::NONE {
            picture.holders.push(Holding::Task(owner));
        }
        picture.broken = matches!(state.health, Health::Broken | Health::NotRecoverable);
        picture
    }
}
