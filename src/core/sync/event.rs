//! The event: waiters complete when it is set, so setting and clearing it at once still lets everybody go.

use super::answer::{Answer, Why};
use super::batch::Batch;
use super::graph::Picture;
use super::identity::Identity;
use super::lines::{Key, Lines, WaitCounts, Who};
use super::operation::OpId;
use super::slot::Slot;
use super::task::{self, TaskId};
use super::wait::{self, Begun, Object, Submitted};
use crate::core::error::{self, Error, Result};
use crate::sys::clock::Deadline;
use crate::sys::lock::{ForkLock, ForkReset};
use crate::sys::sync::{AtomicU32, Ordering};
use std::sync::Arc;

const LINE: u32 = 0;
pub(crate) const RESETTABLE: u32 = 1;

struct State {
    lines: Lines<()>,
    closed: bool,
}

impl ForkReset for State {
    fn reset_in_child(&mut self) {
        self.lines.forget_all();
    }
}

/// Something that has happened, or has not yet; any number may wait for it. Ends with `selv_event_free`.
pub struct Event {
    /// Changes under `state`'s lock; is read without.
    set: AtomicU32,
    resettable: bool,
    state: ForkLock<State>,
    identity: Identity,
}

impl Event {
    pub fn new(name: Option<&str>, flags: u32) -> Arc<Event> {
        let event = Arc::new(Event {
            set: AtomicU32::new(0),
            resettable: flags & RESETTABLE != 0,
            state: ForkLock::new(State {
                lines: Lines::new(),
                closed: false,
            }),
            identity: Identity::new("event", name),
        });
        event.identity.register(&event);
        event
    }

    pub fn is_set(&self) -> bool {
        // Acquire pairs with the Release in `set`: what came before is seen.
        self.set.load(Ordering::Acquire) != 0
    }

    /// # Errors
    /// CLOSED.
    pub fn set(&self) -> Result<()> {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        if state.closed {
            return Err(self.identity.closed());
        }
        self.set.store(1, Ordering::Release);
        while let Some(waiter) = state.lines.pop(LINE) {
            state.lines.complete(waiter, Answer::granted(), &mut batch);
        }
        drop(state);
        batch.finish();
        Ok(())
    }

    /// # Errors
    /// UNSUPPORTED (it was not made resettable), CLOSED.
    pub fn clear(&self) -> Result<()> {
        if !self.resettable {
            let why = format!("{} is not SELV_EVENT_RESETTABLE", self.identity.as_str());
            return Err(Error::new(error::UNSUPPORTED, why));
        }
        let state = self.state.lock();
        if state.closed {
            return Err(self.identity.closed());
        }
        self.set.store(0, Ordering::Relaxed);
        drop(state);
        Ok(())
    }

    /// # Errors
    /// TIMEDOUT, CANCELLED, CLOSED; INVAL and STALE for the task.
    pub fn wait(self: &Arc<Self>, task: TaskId, timeout_ns: u64) -> Result<()> {
        let slot = task::check(task)?;
        if self.is_set() {
            return Ok(());
        }
        let deadline = Deadline::after(timeout_ns);
        let object: Arc<dyn Object> = Arc::clone(self) as _;
        wait::block(&object, task, deadline, |who, batch| {
            self.begin(&object, task, slot, who, !deadline.is_never(), batch)
        })?
        .into_result()
        .map(drop)
    }

    /// # Errors
    /// As [`wait`](Self::wait), but for those of waiting.
    pub fn wait_async(self: &Arc<Self>, task: TaskId, op: OpId) -> Result<Submitted> {
        wait::submit(op, |who, batch| {
            let slot = task::check(task)?;
            let object: Arc<dyn Object> = Arc::clone(self) as _;
            self.begin(&object, task, slot, who, false, batch)
        })
    }

    fn begin(
        &self,
        object: &Arc<dyn Object>,
        task: TaskId,
        slot: &Slot,
        who: Who,
        timed: bool,
        batch: &mut Batch,
    ) -> Result<Begun> {
        let mut state = self.state.lock();
        if self.is_set() {
            return Ok(Begun::Now(Answer::granted()));
        }
        if state.closed {
            return Err(self.identity.closed());
        }
        let key = state.lines.push(LINE, task, who, timed, ());
        let registered = wait::register(slot, object, task, key, who, !timed);
        drop(state);
        registered.is_over_at_once(object, task, key, batch);
        Ok(Begun::InLine(key))
    }

    /// Whoever waits is told so; the event stays as it is.
    pub fn close(&self) {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        state.closed = true;
        let why: Arc<str> = self.identity.closed().detail.into();
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
        let waiting = state.lines.len(LINE);
        drop(state);
        self.identity.retire(waiting)
    }

    pub fn stats(&self) -> Stats {
        let state = self.state.lock();
        Stats {
            is_set: self.is_set(),
            waiting: state.lines.len(LINE) as u64,
            counts: state.lines.counts,
            closed: state.closed,
        }
    }
}

/// The statistics of an event, at one moment.
pub struct Stats {
    pub is_set: bool,
    pub waiting: u64,
    pub counts: WaitCounts,
    pub closed: bool,
}

impl Object for Event {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn withdraw(&self, key: Key, why: &Why, batch: &mut Batch) -> bool {
        let mut state = self.state.lock();
        let Some(waiter) = state.lines.remove(key) else {
            return false;
        };
        let what = self.identity.as_str();
        let lacking = || format!("{what} was not set within the timeout");
        state.lines.refuse(waiter, why, what, lacking, batch);
        true
    }

    /// Anybody may set it.
    fn held_up_by(&self, _: Key) -> Option<TaskId> {
        None
    }

    /// Nobody is the poorer for somebody having seen it set.
    fn pass_on(&self, _: TaskId, _: Answer, _: &mut Batch) {}

    fn describe(&self) -> Picture {
        let state = self.state.lock();
        let mut picture = Picture::new(&self.identity, &state.lines, LINE);
        picture.closed = state.closed;
        picture
    }
}
