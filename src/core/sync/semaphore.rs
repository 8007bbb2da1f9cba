//! The semaphore: permits that nobody owns, given out in order.
//!
//! The word has the number of free permits above two flags. With no flag, taking and releasing are one compare-exchange.
//! Invariant: QUEUED is set while somebody is in line; then only the holder of `state`'s lock changes the word. So permits go to
//! the first in line, in full, before anybody else has one of them.

use super::answer::{Answer, Granted, Why};
use super::batch::Batch;
use super::graph::Picture;
use super::identity::Identity;
use super::lines::{Key, Lines, WaitCounts, Who};
use super::operation::OpId;
use super::task::{self, TaskId};
use super::wait::{self, Begun, Object, Submitted};
use crate::core::error::{self, Error, Result};
use crate::sys::clock::Deadline;
use crate::sys::cpu;
use crate::sys::lock::{ForkLock, ForkReset};
use crate::sys::sync::{AtomicU64, Ordering};
use std::sync::Arc;

const QUEUED: u64 = 1;
const CLOSED: u64 = 2;
const ONE: u64 = 4;
const LINE: u32 = 0;
const SPINS: u32 = 10;

pub(crate) const MOST: u64 = u64::MAX / ONE;

struct State {
    lines: Lines<u64>,
}

impl ForkReset for State {
    fn reset_in_child(&mut self) {
        self.lines.forget_all();
    }
}

/// A number of permits, which nobody owns: one task may acquire and another release, and a task that exits releases none (for
/// that, see selv_limiter). Ends with `selv_semaphore_free`.
pub struct Semaphore {
    word: AtomicU64,
    max: u64,
    state: ForkLock<State>,
    identity: Identity,
}

impl Semaphore {
    /// # Errors
    /// INVAL: more permits than the most.
    pub fn new(name: Option<&str>, initial: u64, max: u64) -> Result<Arc<Semaphore>> {
        let max = if max == 0 { MOST } else { max };
        if max > MOST || initial > max {
            let why = match max > MOST {
                true => format!("selv_semaphore_options.max is {max}, above {MOST}"),
                false => format!(
                    "selv_semaphore_options.initial is {initial}, above max, which is {max}"
                ),
            };
            return Err(Error::new(error::INVAL, why));
        }
        let semaphore = Arc::new(Semaphore {
            word: AtomicU64::new(initial * ONE),
            max,
            state: ForkLock::new(State {
                lines: Lines::new(),
            }),
            identity: Identity::new("semaphore", name),
        });
        semaphore.identity.register(&semaphore);
        Ok(semaphore)
    }

    fn check(&self, n: u64) -> Result<()> {
        if n == 0 || n > self.max {
            let why = format!(
                "{n} permits of {}: from 1 to {} can be asked for",
                self.identity.as_str(),
                self.max
            );
            return Err(Error::new(error::INVAL, why));
        }
        Ok(())
    }

    /// True if `n` permits were free and nobody was in line.
    fn take(&self, n: u64) -> Result<bool> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 {
                return Err(self.identity.closed());
            }
            if word & QUEUED != 0 || word / ONE < n {
                return Ok(false);
            }
            // Acquire pairs with the Release in `release`: what came before the permit was given back is seen.
            match self.word.compare_exchange_weak(
                word,
                word - n * ONE,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(true),
                Err(now) => word = now,
            }
        }
    }

    /// # Errors
    /// WOULD_BLOCK, CLOSED, INVAL.
    pub fn try_acquire(&self, n: u64) -> Result<()> {
        self.check(n)?;
        if self.take(n)? {
            return Ok(());
        }
        if self.word.load(Ordering::Relaxed) & QUEUED != 0 {
            // In a fork child nobody may be in line in spite of the flag.
            let mut batch = Batch::new();
            self.serve(&mut self.state.lock(), &mut batch);
            batch.finish();
            if self.take(n)? {
                return Ok(());
            }
        }
        Err(Error::new(error::WOULD_BLOCK, self.not_free(n)))
    }

    fn not_free(&self, n: u64) -> String {
        let word = self.word.load(Ordering::Relaxed);
        let what = self.identity.as_str();
        match word & QUEUED {
            0 => format!("{what} has {} free, and {n} are asked for", word / ONE),
            _ => format!("others are in line for permits of {what}"),
        }
    }

    /// # Errors
    /// TIMEDOUT, CANCELLED, CLOSED, INVAL, STALE.
    pub fn acquire(self: &Arc<Self>, task: TaskId, n: u64, timeout_ns: u64) -> Result<()> {
        self.check(n)?;
        task::check(task)?;
        if self.take(n)? {
            return Ok(());
        }
        // As long as nobody is in line, permits may come back in a moment.
        for round in 0..SPINS {
            if timeout_ns == 0 || !cpu::pause(round) {
                break;
            }
            if self.take(n)? {
                return Ok(());
            }
            if self.word.load(Ordering::Relaxed) & QUEUED != 0 {
                break;
            }
        }
        let deadline = Deadline::after(timeout_ns);
        let object: Arc<dyn Object> = Arc::clone(self) as _;
        wait::block(&object, task, deadline, |who, batch| {
            self.begin(&object, task, n, who, !deadline.is_never(), batch)
        })?
        .into_result()
        .map(drop)
    }

    /// # Errors
    /// As [`acquire`](Self::acquire), but for those of waiting.
    pub fn acquire_async(self: &Arc<Self>, task: TaskId, n: u64, op: OpId) -> Result<Submitted> {
        wait::submit(op, |who, batch| {
            self.check(n)?;
            let object: Arc<dyn Object> = Arc::clone(self) as _;
            self.begin(&object, task, n, who, false, batch)
        })
    }

    fn begin(
        &self,
        object: &Arc<dyn Object>,
        task: TaskId,
        n: u64,
        who: Who,
        timed: bool,
        batch: &mut Batch,
    ) -> Result<Begun> {
        let slot = task::check(task)?;
        let mut state = self.state.lock();
        loop {
            // With the flag of a fork child's parent, whose waiters are not here, there may be permits and nobody in line.
            self.serve(&mut state, batch);
            if self.take(n)? {
                return Ok(Begun::Now(Answer::granted()));
            }
            let word = self.word.load(Ordering::Relaxed);
            if word & QUEUED != 0 || cfg!(selv_mutant = "unflagged_permits") {
                break;
            }
            let is_short = word & CLOSED == 0 && word / ONE < n;
            if is_short
                && self
                    .word
                    .compare_exchange(word, word | QUEUED, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                break;
            }
        }
        let key = state.lines.push(LINE, task, who, timed, n);
        let registered = wait::register(slot, object, task, key, who, !timed);
        drop(state);
        registered.is_over_at_once(object, task, key, batch);
        Ok(Begun::InLine(key))
    }

    /// Gives those in line what they want, as far as it goes, and takes the flag away when nobody is left.
    fn serve(&self, state: &mut State, batch: &mut Batch) {
        // Acquire, Release: the permits pass from who released them to who gets them, whose call is answered under this lock.
        let mut word = self.word.load(Ordering::Acquire);
        if word & QUEUED == 0 {
            return;
        }
        while let Some(key) = state.lines.first(LINE) {
            let n = state.lines.get(key).expect("in line").want;
            if word / ONE < n {
                break;
            }
            word -= n * ONE;
            if let Some(waiter) = state.lines.remove(key) {
                let answer = Answer {
                    granted: Granted::Permits(n),
                    ..Answer::default()
                };
                state.lines.complete(waiter, answer, batch);
            }
        }
        if state.lines.is_empty(LINE) {
            word &= !QUEUED;
        }
        self.word.store(word, Ordering::Release);
    }

    /// # Errors
    /// OVERFLOW (nothing changes), INVAL.
    pub fn release(&self, n: u64) -> Result<()> {
        if n == 0 {
            let why = format!(
                "0 permits of {} were to be released",
                self.identity.as_str()
            );
            return Err(Error::new(error::INVAL, why));
        }
        let mut word = self.word.load(Ordering::Relaxed);
        while word & QUEUED == 0 {
            self.check_overflow(word, n)?;
            // Release pairs with the Acquire in `take`.
            match self.word.compare_exchange_weak(
                word,
                word + n * ONE,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
        self.release_slow(n)
    }

    #[cold]
    fn release_slow(&self, n: u64) -> Result<()> {
        let mut batch = Batch::new();
        let result = self.give_back(n, &mut batch);
        batch.finish();
        result
    }

    fn give_back(&self, n: u64, batch: &mut Batch) -> Result<()> {
        let mut state = self.state.lock();
        // If the flag has gone meanwhile, fast paths change the word, too.
        loop {
            let word = self.word.load(Ordering::Relaxed);
            self.check_overflow(word, n)?;
            if self
                .word
                .compare_exchange(word, word + n * ONE, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                break;
            }
        }
        self.serve(&mut state, batch);
        Ok(())
    }

    fn check_overflow(&self, word: u64, n: u64) -> Result<()> {
        let free = word / ONE;
        if n > self.max || n > self.max - free {
            return Err(Error::new(
                error::OVERFLOW,
                format!(
                    "releasing {n} permits of {}, {free} of which are free, would exceed its max of {}",
                    self.identity.as_str(),
                    self.max
                ),
            ));
        }
        Ok(())
    }

    /// Nobody acquires any more.
    pub fn close(&self) {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        self.word.fetch_or(CLOSED, Ordering::Relaxed);
        let why: Arc<str> = self.identity.closed().detail.into();
        state
            .lines
            .refuse_all(LINE, error::CLOSED, &why, &mut batch);
        self.word.fetch_and(!QUEUED, Ordering::Relaxed);
        drop(state);
        batch.finish();
    }

    /// # Errors
    /// BUSY.
    pub fn retire(&self) -> Result<()> {
        let state = self.state.lock();
        let waiting = state.lines.len(LINE);
        drop(state);
        self.identity.retire(waiting)
    }

    pub fn stats(&self) -> Stats {
        let state = self.state.lock();
        let word = self.word.load(Ordering::Relaxed);
        Stats {
            permits: word / ONE,
            max: self.max,
            waiting: state.lines.len(LINE) as u64,
            counts: state.lines.counts,
            closed: word & CLOSED != 0,
        }
    }
}

/// The statistics of a semaphore, at one moment.
pub struct Stats {
    pub permits: u64,
    pub max: u64,
    pub waiting: u64,
    pub counts: WaitCounts,
    pub closed: bool,
}

impl Object for Semaphore {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn withdraw(&self, key: Key, why: &Why, batch: &mut Batch) -> bool {
        let mut state = self.state.lock();
        let Some(waiter) = state.lines.remove(key) else {
            return false;
        };
        let what = match waiter.want {
            1 => format!("a permit of {}", self.identity.as_str()),
            n => format!("{n} permits of {}", self.identity.as_str()),
        };
        let lacking = || {
            let free = self.word.load(Ordering::Relaxed) / ONE;
            format!("{what} did not come free within the timeout: {free} are")
        };
        state.lines.refuse(waiter, why, &what, lacking, batch);
        // The next in line may want less.
        if !cfg!(selv_mutant = "leave_the_rest_waiting") {
            self.serve(&mut state, batch);
        }
        true
    }

    /// Permits have no owner.
    fn held_up_by(&self, _: Key) -> Option<TaskId> {
        None
    }

    fn pass_on(&self, _: TaskId, answer: Answer, batch: &mut Batch) {
        if let Granted::Permits(n) = answer.granted {
            // They came from here, so there is room for them unless somebody released what was never acquired.
            let _ = self.give_back(n, batch);
        }
    }

    fn describe(&self) -> Picture {
        let state = self.state.lock();
        let mut picture = Picture::new(&self.identity, &state.lines, LINE);
        let word = self.word.load(Ordering::Relaxed);
        picture.free = Some(word / ONE);
        picture.closed = word & CLOSED != 0;
        picture
    }
}
