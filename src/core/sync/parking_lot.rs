//! The parking lot: waiters in order, let go by number, or moved to another lot; the piece that other primitives are made of
//! (after Trio's). It breaks when a task that was made its breaker exits.
//!
//! All lots share one set of lines under one lock, so that moving waiters from lot to lot is one step, and no other call sees them
//! in neither.

use super::answer::{Answer, Granted, Why};
use super::batch::Batch;
use super::graph::Picture;
use super::identity::Identity;
use super::lines::{Key, Lines, WaitCounts, Who};
use super::operation::OpId;
use super::report::{Item, Report};
use super::task::{self, Named, TaskId};
use super::wait::{self, Begun, Object, Submitted};
use crate::core::error::{self, Error, Result};
use crate::sys::clock::Deadline;
use crate::sys::lock::{ForkReset, static_lock};
use crate::sys::sync::{AtomicU32, Ordering};
use std::sync::Arc;

/// A lot's state; its line has the lot's number.
#[derive(Default)]
struct Lot {
    /// Tells it from other lots that have had its number.
    birth: u64,
    label: Arc<str>,
    closed: Option<Arc<str>>,
    broken: Option<Arc<str>>,
    /// How often each task was made a breaker.
    breakers: Vec<(TaskId, u64)>,
    counts: WaitCounts,
    unparked: u64,
}

struct Lots {
    lines: Lines<()>,
    lots: Vec<Lot>,
    free: Vec<u32>,
    /// How many numbers were ever given out: a number, which is whole in a fork child.
    given: u32,
}

impl ForkReset for Lots {
    fn reset_in_child(&mut self) {
        self.lines.forget_all();
        // Whoever has a number keeps it, and nobody else gets it.
        std::mem::forget(std::mem::take(&mut self.lots));
        std::mem::forget(std::mem::take(&mut self.free));
    }
    fn keep_in_child(&mut self) {
        self.lines.forget_all();
        for lot in &mut self.lots {
            lot.breakers
                .retain(|(task, _)| task::life(*task) == task::Life::Alive);
        }
    }
}

static_lock!(static LOTS: Lots = Lots {
    lines: Lines::new(),
    lots: Vec::new(),
    free: Vec::new(),
    given: 0,
});

impl Lots {
    /// A lot that was made while the process forked is new in the child.
    fn lot(&mut self, line: u32) -> &mut Lot {
        let index = line as usize;
        if self.lots.len() <= index {
            self.lots.resize_with(index + 1, Lot::default);
        }
        &mut self.lots[index]
    }

    /// The error of a lot that lets nobody park.
    fn refusal(&mut self, line: u32) -> Option<(error::Status, Arc<str>)> {
        let lot = self.lot(line);
        let broken = lot.broken.clone().map(|why| (error::BROKEN, why));
        broken.or_else(|| lot.closed.clone().map(|why| (error::CLOSED, why)))
    }

    /// Lets the first in line go.
    fn unpark_one(&mut self, line: u32, batch: &mut Batch) -> bool {
        let Some(waiter) = self.lines.pop(line) else {
            return false;
        };
        let answer = Answer {
            granted: Granted::Lot(line, self.lot(line).birth),
            ..Answer::default()
        };
        self.lines.complete(waiter, answer, batch);
        true
    }

    fn refuse_everyone(&mut self, line: u32, batch: &mut Batch) {
        let Some((status, why)) = self.refusal(line) else {
            return;
        };
        self.lines.refuse_all(line, status, &why, batch);
    }
}

/// A line of waiters, from which other primitives are made: who came first is let go first, by number. Ends with
/// `selv_parking_lot_free`.
pub struct ParkingLot {
    line: u32,
    /// BROKEN and CLOSED, once more: a word, which is whole in a fork child that had to forget what is in [`Lots`].
    sick: AtomicU32,
    identity: Identity,
}

const BROKEN: u32 = 1;
const CLOSED: u32 = 2;

impl ParkingLot {
    pub fn new(name: Option<&str>) -> Arc<ParkingLot> {
        let identity = Identity::new("parking lot", name);
        let mut lots = LOTS.lock();
        let line = lots.free.pop().unwrap_or_else(|| {
            lots.given += 1;
            lots.given - 1
        });
        *lots.lot(line) = Lot {
            birth: identity.number,
            label: identity.as_str().into(),
            ..Lot::default()
        };
        drop(lots);
        let lot = Arc::new(ParkingLot {
            line,
            sick: AtomicU32::new(0),
            identity,
        });
        lot.identity.register(&lot);
        lot
    }

    /// The lot's state, under the lock of all.
    fn state<'a>(&self, lots: &'a mut Lots) -> &'a mut Lot {
        let sick = self.sick.load(Ordering::Relaxed);
        let what = self.identity.as_str();
        let lot = lots.lot(self.line);
        if sick & BROKEN != 0 && lot.broken.is_none() {
            lot.broken = Some(format!("{what} was broken when the process forked").into());
        }
        if sick & CLOSED != 0 && lot.closed.is_none() {
            lot.closed = Some(format!("{what} is closed").into());
        }
        lot
    }

    fn break_with(&self, lots: &mut Lots, why: String, batch: &mut Batch) {
        self.state(lots).broken.get_or_insert(why.into());
        self.sick.fetch_or(BROKEN, Ordering::Relaxed);
        lots.refuse_everyone(self.line, batch);
    }

    /// # Errors
    /// TIMEDOUT, CANCELLED, BROKEN, CLOSED; INVAL and STALE for the task.
    pub fn park(self: &Arc<Self>, task: TaskId, timeout_ns: u64) -> Result<()> {
        let deadline = Deadline::after(timeout_ns);
        let object: Arc<dyn Object> = Arc::clone(self) as _;
        wait::block(&object, task, deadline, |who, batch| {
            self.begin(&object, task, who, !deadline.is_never(), batch)
        })?
        .into_result()
        .map(drop)
    }

    /// # Errors
    /// As [`park`](Self::park), but for those of waiting.
    pub fn park_async(self: &Arc<Self>, task: TaskId, op: OpId) -> Result<Submitted> {
        wait::submit(op, |who, batch| {
            let object: Arc<dyn Object> = Arc::clone(self) as _;
            self.begin(&object, task, who, false, batch)
        })
    }

    fn begin(
        &self,
        object: &Arc<dyn Object>,
        task: TaskId,
        who: Who,
        timed: bool,
        batch: &mut Batch,
    ) -> Result<Begun> {
        let slot = task::check(task)?;
        let mut lots = LOTS.lock();
        self.state(&mut lots);
        if let Some((status, why)) = lots.refusal(self.line) {
            return Err(Error::new(status, &*why));
        }
        lots.lot(self.line).counts.waits += 1;
        let key = lots.lines.push(self.line, task, who, timed, ());
        let registered = wait::register(slot, object, task, key, who, !timed);
        drop(lots);
        registered.is_over_at_once(object, task, key, batch);
        Ok(Begun::InLine(key))
    }

    /// Lets up to `n` go, the longest parked first; how many there were.
    pub fn unpark(&self, n: u64) -> u64 {
        let mut batch = Batch::new();
        let mut lots = LOTS.lock();
        let mut count = 0;
        while count < n && lots.unpark_one(self.line, &mut batch) {
            count += 1;
        }
        lots.lot(self.line).unparked += count;
        drop(lots);
        batch.finish();
        count
    }

    /// Moves up to `n`, the longest parked first, to the end of another lot's line, in the same order; how many there were.
    ///
    /// # Errors
    /// INVAL: to the same lot.
    pub fn repark(&self, to: &Arc<ParkingLot>, n: u64) -> Result<u64> {
        if to.line == self.line {
            let why = format!("{} cannot be moved to itself", self.identity.as_str());
            return Err(Error::new(error::INVAL, why));
        }
        let mut batch = Batch::new();
        let mut lots = LOTS.lock();
        let there = lots.lines.len(self.line) as u64;
        let count = n.min(there);
        let object: Arc<dyn Object> = Arc::clone(to) as _;
        for _ in 0..count {
            if let Some(key) = lots.lines.first(self.line) {
                lots.lines.move_to(key, to.line);
                lots.lines
                    .get(key)
                    .inspect(|waiter| wait::now_waits_for(waiter, &object));
            }
        }
        // Nobody waits in a broken lot.
        to.state(&mut lots);
        lots.refuse_everyone(to.line, &mut batch);
        drop(lots);
        batch.finish();
        Ok(count)
    }

    /// Everybody parked, now or later, is told that `by` broke the lot.
    ///
    /// # Errors
    /// INVAL and STALE for the task.
    pub fn break_by(&self, by: TaskId) -> Result<()> {
        task::check(by)?;
        let mut batch = Batch::new();
        let mut lots = LOTS.lock();
        let why = format!("{} was broken by {}", self.identity.as_str(), Named(by));
        self.break_with(&mut lots, why, &mut batch);
        drop(lots);
        batch.finish();
        Ok(())
    }

    /// From now on the lot breaks if `task` exits; to be taken back as often as it is done.
    ///
    /// # Errors
    /// INVAL and STALE for the task.
    pub fn add_breaker(&self, task: TaskId) -> Result<()> {
        let slot = task::check(task)?;
        let mut lots = LOTS.lock();
        let breakers = &mut lots.lot(self.line).breakers;
        match breakers.iter_mut().find(|(t, _)| *t == task) {
            Some((_, times)) => *times += 1,
            None if slot.tie(task, self.identity.place()) => breakers.push((task, 1)),
            None => {
                return Err(Error::new(
                    error::STALE,
                    format!("{} has exited", Named(task)),
                ));
            }
        }
        Ok(())
    }

    /// # Errors
    /// NOT_OWNER; INVAL and STALE for the task.
    pub fn remove_breaker(&self, task: TaskId) -> Result<()> {
        let slot = task::check(task)?;
        let mut lots = LOTS.lock();
        let breakers = &mut lots.lot(self.line).breakers;
        let Some(at) = breakers.iter().position(|(t, _)| *t == task) else {
            let why = format!(
                "{} is no breaker of {}",
                Named(task),
                self.identity.as_str()
            );
            return Err(Error::new(error::NOT_OWNER, why));
        };
        breakers[at].1 -= 1;
        if breakers[at].1 == 0 {
            breakers.swap_remove(at);
            slot.untie(self.identity.place());
        }
        Ok(())
    }

    /// Nobody parks any more.
    pub fn close(&self) {
        let mut batch = Batch::new();
        let mut lots = LOTS.lock();
        self.sick.fetch_or(CLOSED, Ordering::Relaxed);
        self.state(&mut lots);
        lots.refuse_everyone(self.line, &mut batch);
        drop(lots);
        batch.finish();
    }

    /// # Errors
    /// BUSY.
    pub fn retire(&self) -> Result<()> {
        let mut lots = LOTS.lock();
        self.identity.retire(lots.lines.len(self.line))?;
        let lot = std::mem::take(lots.lot(self.line));
        lots.free.push(self.line);
        for (task, _) in &lot.breakers {
            // A number that has gone to another task has nothing here.
            if let Ok(slot) = task::check(*task) {
                slot.untie(self.identity.place());
            }
        }
        Ok(())
    }

    pub fn stats(&self) -> Stats {
        let mut lots = LOTS.lock();
        let waiting = lots.lines.len(self.line) as u64;
        let lot = self.state(&mut lots);
        Stats {
            waiting,
            counts: lot.counts,
            unparked: lot.unparked,
            breakers: lot.breakers.len() as u64,
            broken: lot.broken.is_some(),
            closed: lot.closed.is_some(),
        }
    }
}

/// The statistics of a parking lot, at one moment.
pub struct Stats {
    pub waiting: u64,
    pub counts: WaitCounts,
    pub unparked: u64,
    pub breakers: u64,
    pub broken: bool,
    pub closed: bool,
}

impl Object for ParkingLot {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn withdraw(&self, key: Key, why: &Why, batch: &mut Batch) -> bool {
        let mut lots = LOTS.lock();
        // It may have been moved to another lot.
        let Some(line) = lots.lines.line_of(key) else {
            return false;
        };
        let counts = &mut lots.lot(line).counts;
        match why {
            Why::TimedOut => counts.timeouts += 1,
            _ => counts.cancelled += 1,
        }
        let mut label = Arc::clone(&lots.lot(line).label);
        if label.is_empty() {
            label = self.identity.as_str().into();
        }
        if let Some(waiter) = lots.lines.remove(key) {
            let lacking = || format!("no unpark of {label} came to this waiter within the timeout");
            lots.lines.refuse(waiter, why, &label, lacking, batch);
        }
        true
    }

    /// Anybody may unpark.
    fn held_up_by(&self, _: Key) -> Option<TaskId> {
        None
    }

    /// An unpark that was not used lets the next one go.
    fn pass_on(&self, _: TaskId, answer: Answer, batch: &mut Batch) {
        let Granted::Lot(line, birth) = answer.granted else {
            return;
        };
        let mut lots = LOTS.lock();
        if lots.lot(line).birth == birth {
            lots.unpark_one(line, batch);
        }
    }

    fn tied_exited(&self, task: TaskId, report: &mut Report, batch: &mut Batch) {
        let mut lots = LOTS.lock();
        let lot = lots.lot(self.line);
        let Some(at) = lot.breakers.iter().position(|(t, _)| *t == task) else {
            return;
        };
        lot.breakers.swap_remove(at);
        let why = format!(
            "{} is broken: its breaker, {}, exited",
            self.identity.as_str(),
            Named(task)
        );
        self.break_with(&mut lots, why, batch);
        report.add(Item::LotBroken, &self.identity.name);
    }

    fn describe(&self) -> Picture {
        let mut lots = LOTS.lock();
        let mut picture = Picture::new(&self.identity, &lots.lines, self.line);
        let lot = self.state(&mut lots);
        picture.broken = lot.broken.is_some();
        picture.closed = lot.closed.is_some();
        picture
    }
}
