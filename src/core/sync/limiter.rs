//! The limiter: so many tokens, one for each borrower (the CapacityLimiter of Trio).
//!
//! A token that comes free goes to the first in line at that moment, so nobody who comes by can take it. The total may be
//! set below what is borrowed; tokens then come back without going out again.

use super::answer::{Answer, Granted, Why};
use super::batch::Batch;
use super::deadlock;
use super::graph::{Holding, Picture};
use super::identity::Identity;
use super::lines::{Key, Lines, WaitCounts, Who};
use super::operation::OpId;
use super::report::{Item, Report};
use super::task::{self, Life, Named, TaskId};
use super::wait::{self, Begun, Object, Submitted};
use crate::core::error::{self, Error, Result};
use crate::sys::clock::Deadline;
use crate::sys::lock::{ForkLock, ForkReset};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

const LINE: u32 = 0;

/// Who has a token: a task, whose exit returns it, or a number that means something to the host only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Borrower {
    Task(TaskId),
    Opaque(u64),
}

impl fmt::Display for Borrower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Borrower::Task(task) => Named(*task).fmt(f),
            Borrower::Opaque(number) => write!(f, "borrower {number:#x}"),
        }
    }
}

struct State {
    lines: Lines<Borrower>,
    total: u64,
    /// Those with a token, and those in line for one.
    holders: HashSet<Borrower>,
    in_line: HashSet<Borrower>,
    closed: bool,
}

impl State {
    /// The task with the only token that there is.
    fn only_holder(&self) -> Option<TaskId> {
        if self.total > 1 || self.borrowed() != 1 {
            return None;
        }
        match self.holders.iter().next() {
            Some(Borrower::Task(task)) => Some(*task),
            _ => None,
        }
    }

    fn borrowed(&self) -> u64 {
        self.holders.len() as u64
    }
}

impl ForkReset for State {
    fn reset_in_child(&mut self) {
        self.lines.forget_all();
        std::mem::forget(std::mem::take(&mut self.holders));
        std::mem::forget(std::mem::take(&mut self.in_line));
    }
    fn keep_in_child(&mut self) {
        self.lines.forget_all();
        // What other threads' tasks have borrowed, they have in the parent process.
        self.in_line.clear();
        self.holders.retain(|who| match who {
            Borrower::Task(task) => task::life(*task) == Life::Alive,
            Borrower::Opaque(_) => true,
        });
    }
}

/// A number of tokens, at most one for each borrower; a task that exits returns its token. Ends with `selv_limiter_free`.
pub struct Limiter {
    state: ForkLock<State>,
    identity: Identity,
}

impl Limiter {
    /// # Errors
    /// INVAL: no token at all.
    pub fn new(name: Option<&str>, total: u64) -> Result<Arc<Limiter>> {
        if total == 0 {
            return Err(Error::new(
                error::INVAL,
                "selv_limiter_options.total is 0: a limiter begins with at least one token",
            ));
        }
        let limiter = Arc::new(Limiter {
            state: ForkLock::new(State {
                lines: Lines::new(),
                total,
                holders: HashSet::new(),
                in_line: HashSet::new(),
                closed: false,
            }),
            identity: Identity::new("limiter", name),
        });
        limiter.identity.register(&limiter);
        Ok(limiter)
    }

    fn check_borrower(who: Borrower) -> Result<()> {
        match who {
            Borrower::Task(task) => task::check(task).map(drop),
            Borrower::Opaque(_) => Ok(()),
        }
    }

    /// Takes a token if one is free and nobody is in line.
    ///
    /// # Errors
    /// CLOSED, DUPLICATE.
    fn take(&self, state: &mut State, who: Borrower) -> Result<bool> {
        let known = match () {
            () if state.holders.contains(&who) => Some("has a token of"),
            () if state.in_line.contains(&who) => Some("is in line for a token of"),
            () => None,
        };
        if let Some(why) = known {
            return Err(Error::new(
                error::DUPLICATE,
                format!("{who} {why} {} already", self.identity.as_str()),
            ));
        }
        if state.closed {
            return Err(self.identity.closed());
        }
        if state.borrowed() >= state.total || !state.lines.is_empty(LINE) {
            return Ok(false);
        }
        match self.give(state, who) {
            true => Ok(true),
            false => Err(Error::new(error::STALE, format!("{who} has exited"))),
        }
    }

    /// False if it is a task that has exited, and that nobody would have return the token.
    fn give(&self, state: &mut State, who: Borrower) -> bool {
        state.in_line.remove(&who);
        let given = match who {
            Borrower::Opaque(_) => true,
            Borrower::Task(task) => {
                task::slot_of(task).is_some_and(|slot| slot.tie(task, self.identity.place()))
            }
        };
        if given {
            state.holders.insert(who);
        }
        given
    }

    fn take_back(&self, state: &mut State, who: Borrower) {
        state.holders.remove(&who);
        if let Borrower::Task(task) = who {
            task::slot_of(task).inspect(|slot| slot.untie(self.identity.place()));
        }
    }

    /// Free tokens go to the first in line.
    fn serve(&self, state: &mut State, batch: &mut Batch) {
        while state.borrowed() < state.total
            && let Some(waiter) = state.lines.pop(LINE)
        {
            let who = waiter.want;
            if !self.give(state, who) {
                let what = format!("a token of {}", self.identity.as_str());
                let why = Why::TaskExited;
                let slot = task::slot_of(waiter.task);
                slot.inspect(|slot| slot.note_cancelled(&self.identity.name));
                state.lines.refuse(waiter, &why, &what, String::new, batch);
                continue;
            }
            let answer = Answer {
                granted: Granted::Token(who),
                ..Answer::default()
            };
            state.lines.complete(waiter, answer, batch);
        }
        self.look_at_the_holder(state, batch);
    }

    /// Whoever has the only token may have come to hold up those in line just now, and wait for one of them.
    fn look_at_the_holder(&self, state: &State, batch: &mut Batch) {
        if !state.lines.is_empty(LINE)
            && let Some(task) = state.only_holder()
            && let Some(wait) = task::slot_of(task).and_then(|slot| slot.sole_wait())
        {
            batch.look_for_ring(task, wait);
        }
    }

    fn none_free(&self, state: &State) -> String {
        format!(
            "no token of {} is free: {} of {} are borrowed, and {} are in line",
            self.identity.as_str(),
            state.borrowed(),
            state.total,
            state.lines.len(LINE)
        )
    }

    /// # Errors
    /// WOULD_BLOCK, DUPLICATE, CLOSED; INVAL and STALE for a task.
    pub fn try_acquire(&self, who: Borrower) -> Result<()> {
        Self::check_borrower(who)?;
        let mut state = self.state.lock();
        match self.take(&mut state, who)? {
            true => Ok(()),
            false => Err(Error::new(error::WOULD_BLOCK, self.none_free(&state))),
        }
    }

    /// `waiter` waits for a token for `who`.
    ///
    /// # Errors
    /// TIMEDOUT, CANCELLED, DUPLICATE, CLOSED, DEADLOCK; INVAL and STALE for a task.
    pub fn acquire(self: &Arc<Self>, waiter: TaskId, who: Borrower, timeout_ns: u64) -> Result<()> {
        let deadline = Deadline::after(timeout_ns);
        let object: Arc<dyn Object> = Arc::clone(self) as _;
        wait::block(&object, waiter, deadline, |by, batch| {
            self.begin(&object, waiter, who, by, deadline.is_never(), batch)
        })?
        .into_result()
        .map(drop)
    }

    /// # Errors
    /// As [`acquire`](Self::acquire), but for those of waiting.
    pub fn acquire_async(
        self: &Arc<Self>,
        waiter: TaskId,
        who: Borrower,
        op: OpId,
    ) -> Result<Submitted> {
        wait::submit(op, |by, batch| {
            let object: Arc<dyn Object> = Arc::clone(self) as _;
            self.begin(&object, waiter, who, by, true, batch)
        })
    }

    fn begin(
        &self,
        object: &Arc<dyn Object>,
        waiter: TaskId,
        who: Borrower,
        by: Who,
        edge: bool,
        batch: &mut Batch,
    ) -> Result<Begun> {
        Self::check_borrower(who)?;
        let slot = task::check(waiter)?;
        let mut state = self.state.lock();
        if self.take(&mut state, who)? {
            return Ok(Begun::Now(Answer::granted()));
        }
        state.in_line.insert(who);
        let key = state.lines.push(LINE, waiter, by, !edge, who);
        let registered = wait::register(slot, object, waiter, key, by, edge);
        drop(state);
        if registered.is_over_at_once(object, waiter, key, batch) {
            return Ok(Begun::InLine(key));
        }
        if edge
            && let Some(ring) = deadlock::refuse_ring(waiter, object, key, true, batch)
            && !matches!(by, Who::Thread(_))
        {
            return Err(Error::new(error::DEADLOCK, &*ring));
        }
        Ok(Begun::InLine(key))
    }

    /// # Errors
    /// NOT_OWNER; INVAL and STALE for a task.
    pub fn release(&self, who: Borrower) -> Result<()> {
        let mut batch = Batch::new();
        let result = self.give_back(who, &mut batch);
        batch.finish();
        result
    }

    fn give_back(&self, who: Borrower, batch: &mut Batch) -> Result<()> {
        let mut state = self.state.lock();
        if !state.holders.contains(&who) {
            drop(state);
            Self::check_borrower(who)?;
            return Err(Error::new(
                error::NOT_OWNER,
                format!("{who} has no token of {}", self.identity.as_str()),
            ));
        }
        self.take_back(&mut state, who);
        self.serve(&mut state, batch);
        Ok(())
    }

    pub fn set_total(&self, total: u64) {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        state.total = total;
        self.serve(&mut state, &mut batch);
        drop(state);
        batch.finish();
    }

    /// Nobody gets a token any more.
    pub fn close(&self) {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        state.closed = true;
        let why: Arc<str> = self.identity.closed().detail.into();
        state.in_line.clear();
        state
            .lines
            .refuse_all(LINE, error::CLOSED, &why, &mut batch);
        drop(state);
        batch.finish();
    }

    /// # Errors
    /// BUSY.
    pub fn retire(&self) -> Result<()> {
        let state = self.state.lock();
        let (waiting, borrowed) = (state.lines.len(LINE), state.borrowed());
        drop(state);
        if borrowed > 0 {
            let how = format!("is in use: tokens borrowed: {borrowed}, waiting: {waiting}");
            return Err(self.identity.busy(&how));
        }
        self.identity.retire(waiting)
    }

    pub fn stats(&self) -> Stats {
        let state = self.state.lock();
        Stats {
            total: state.total,
            borrowed: state.borrowed(),
            waiting: state.lines.len(LINE) as u64,
            counts: state.lines.counts,
            closed: state.closed,
        }
    }
}

/// The statistics of a limiter, at one moment.
pub struct Stats {
    pub total: u64,
    pub borrowed: u64,
    pub waiting: u64,
    pub counts: WaitCounts,
    pub closed: bool,
}

impl Object for Limiter {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn withdraw(&self, key: Key, why: &Why, batch: &mut Batch) -> bool {
        let mut state = self.state.lock();
        let Some(waiter) = state.lines.remove(key) else {
            return false;
        };
        state.in_line.remove(&waiter.want);
        let what = format!("a token of {}", self.identity.as_str());
        let (borrowed, total) = (state.borrowed(), state.total);
        let lacking =
            || format!("{what} was not had within the timeout: {borrowed} of {total} are borrowed");
        state.lines.refuse(waiter, why, &what, lacking, batch);
        true
    }

    /// With one token, the task that has it; with more, any of several could end the wait.
    fn held_up_by(&self, key: Key) -> Option<TaskId> {
        let state = self.state.lock();
        state.lines.get(key)?;
        state.only_holder()
    }

    fn pass_on(&self, _: TaskId, answer: Answer, batch: &mut Batch) {
        if let Granted::Token(who) = answer.granted {
            // It can have been returned already, by the exit of the task that it was for.
            let _ = self.give_back(who, batch);
        }
    }

    fn tied_exited(&self, task: TaskId, report: &mut Report, batch: &mut Batch) {
        let mut state = self.state.lock();
        let who = Borrower::Task(task);
        if state.holders.contains(&who) && !cfg!(selv_mutant = "keep_the_token") {
            self.take_back(&mut state, who);
            self.serve(&mut state, batch);
            report.add(Item::TokenReturned, &self.identity.name);
        }
    }

    fn describe(&self) -> Picture {
        let state = self.state.lock();
        let mut picture = Picture::new(&self.identity, &state.lines, LINE);
        picture.free = Some(state.total.saturating_sub(state.borrowed()));
        picture.closed = state.closed;
        picture.holders = state
            .holders
            .iter()
            .map(|who| match who {
                Borrower::Task(task) => Holding::Task(*task),
                Borrower::Opaque(number) => Holding::Opaque(*number),
            })
            .collect();
        picture
    }
}
