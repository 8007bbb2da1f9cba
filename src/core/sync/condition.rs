//! The condition: waiting for a change of what a lock protects.
//!
//! Its waiters are in a line of their own among the lines of its lock, under that lock's state. To notify is to move them to the
//! line for the lock, so each wakes when it has the lock, and there is no herd. A timeout or a cancel does the same, with
//! another answer in store. If the lock breaks, everybody in its lines is told, those that wait for conditions, too.

use super::answer::{Answer, Why};
use super::batch::Batch;
use super::graph::Picture;
use super::identity::Identity;
use super::lines::{Key, Who};
use super::lock::{Lock, State, Want};
use super::operation::OpId;
use super::task::{self, TaskId};
use super::wait::{self, Begun, Object};
use crate::core::error::{self, Result, Status};
use crate::sys::clock::Deadline;
use crate::sys::lock::ForkReset;
use std::sync::Arc;

/// What a lock knows of one of its conditions.
#[derive(Default, Clone)]
struct Entry {
    used: bool,
    closed: bool,
    name: Arc<str>,
    counts: Counts,
}

/// What has happened to a condition's waiters so far.
#[derive(Default, Clone, Copy)]
pub struct Counts {
    pub waits: u64,
    pub notified: u64,
    pub timeouts: u64,
    pub cancelled: u64,
}

/// The conditions of a lock, by the number of their line.
#[derive(Default)]
pub struct Numbers {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Lines that were ever given out, and those in use. Numbers, which are whole in a fork child.
    given: u32,
    used: u32,
}

impl ForkReset for Numbers {
    /// Whoever has a line keeps it, and nobody else gets it.
    fn reset_in_child(&mut self) {
        std::mem::forget(std::mem::take(&mut self.entries));
        std::mem::forget(std::mem::take(&mut self.free));
    }
}

impl Numbers {
    pub fn count(&self) -> u32 {
        self.used
    }

    /// What the conditions are called.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|e| e.used).map(|e| &*e.name)
    }

    fn at(&mut self, line: u32) -> &mut Entry {
        let index = line as usize - 1;
        if self.entries.len() <= index {
            self.entries.resize(index + 1, Entry::default());
        }
        &mut self.entries[index]
    }

    fn take(&mut self, name: &str) -> u32 {
        let line = self.free.pop().unwrap_or_else(|| {
            self.given += 1;
            self.given
        });
        self.used += 1;
        *self.at(line) = Entry {
            used: true,
            name: name.into(),
            ..Entry::default()
        };
        line
    }

    fn give_back(&mut self, line: u32) {
        *self.at(line) = Entry::default();
        self.free.push(line);
        self.used -= 1;
    }
}

/// Waits for a change of what a lock protects, letting go of the lock meanwhile. Ends with `selv_condition_free`, before its
/// lock.
pub struct Condition {
    lock: Arc<Lock>,
    line: u32,
    identity: Identity,
    /// With the lock's, since that is what is waited for in the end.
    full_label: String,
}

impl Condition {
    pub fn new(name: Option<&str>, lock: Arc<Lock>) -> Arc<Condition> {
        let identity = Identity::new("condition", name);
        let line = lock.state.lock().conditions.take(identity.as_str());
        let condition = Arc::new(Condition {
            full_label: format!("{} of {}", lock.identity.as_str(), identity.as_str()),
            line,
            lock,
            identity,
        });
        condition.identity.register(&condition);
        condition
    }

    /// Lets go of the lock, waits to be notified, and has the lock back; whether it is held afterwards, and how the wait ended.
    ///
    /// # Errors
    /// NOT_OWNER, INVAL, CLOSED at once; TIMEDOUT, CANCELLED, CLOSED, BROKEN, NOT_RECOVERABLE, DEADLOCK after a wait.
    pub fn wait(self: &Arc<Self>, task: TaskId, timeout_ns: u64) -> (bool, Result<Status>) {
        let deadline = Deadline::after(timeout_ns);
        let object: Arc<dyn Object> = Arc::clone(self) as _;
        let waited = wait::block(&object, task, deadline, |who, batch| {
            self.begin(&object, task, who, !deadline.is_never(), batch)
        });
        match waited {
            Ok(answer) => {
                let holds = answer.holds_lock;
                (holds, answer.into_result().map(|answer| answer.status))
            }
            Err(e) => (self.lock.owner() == task, Err(e)),
        }
    }

    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_async(self: &Arc<Self>, task: TaskId, op: OpId) -> Result<()> {
        let object: Arc<dyn Object> = Arc::clone(self) as _;
        wait::submit_for_later(op, &object, |who, batch| {
            self.begin(&object, task, who, false, batch)
        })
    }

    /// # Errors
    /// NOT_OWNER, CLOSED, INVAL (a lock that is to be made consistent first).
    fn begin(
        &self,
        object: &Arc<dyn Object>,
        task: TaskId,
        who: Who,
        timed: bool,
        batch: &mut Batch,
    ) -> Result<Begun> {
        let mut state = self.lock.state.lock();
        let cannot = || format!("wait for {}", self.identity.as_str());
        self.lock.check_owner(&state, task, cannot)?;
        let slot = task::check(task)?;
        self.lock.check_release_is_plain(&state)?;
        let entry = state.conditions.at(self.line);
        if entry.closed {
            return Err(self.identity.closed());
        }
        entry.counts.waits += 1;
        let want = Want::at_depth(self.lock.depth());
        let key = state.lines.push(self.line, task, who, timed, want);
        // It will be an edge when it waits for the lock, which no timeout ends.
        let registered = wait::register(slot, object, task, key, who, true);
        slot.dropped_lock();
        self.lock.let_go(&mut state, batch);
        drop(state);
        registered.is_over_at_once(object, task, key, batch);
        Ok(Begun::InLine(key))
    }

    /// Lets up to `n` waiters, the longest waiting first, have the lock when it comes to them.
    ///
    /// # Errors
    /// NOT_OWNER; INVAL and STALE for the task.
    pub fn notify(&self, task: TaskId, n: u64) -> Result<()> {
        let mut batch = Batch::new();
        let mut state = self.lock.state.lock();
        let cannot = || format!("notify {}", self.identity.as_str());
        self.lock.check_owner(&state, task, cannot)?;
        let mut notified = 0;
        while notified < n
            && let Some(key) = state.lines.first(self.line)
        {
            self.lock
                .want_back(&mut state, key, Answer::granted(), &mut batch);
            notified += 1;
        }
        state.conditions.at(self.line).counts.notified += notified;
        drop(state);
        batch.finish();
        Ok(())
    }

    /// Nobody waits any more; who did comes back with CLOSED, and the lock.
    pub fn close(&self) {
        let mut batch = Batch::new();
        let mut state = self.lock.state.lock();
        state.conditions.at(self.line).closed = true;
        while let Some(key) = state.lines.first(self.line) {
            let e = self.identity.closed();
            let answer = Answer::refused(e.status, e.detail);
            self.lock.want_back(&mut state, key, answer, &mut batch);
        }
        drop(state);
        batch.finish();
    }

    /// True if nobody has anything to do with it any more; then it leaves its lock.
    ///
    /// # Errors
    /// BUSY.
    pub fn retire(&self) -> Result<()> {
        let mut state = self.lock.state.lock();
        self.identity.retire(state.lines.len(self.line))?;
        state.conditions.give_back(self.line);
        Ok(())
    }

    pub fn stats(&self) -> (u64, Counts) {
        let mut state = self.lock.state.lock();
        let counts = state.conditions.at(self.line).counts;
        (state.lines.len(self.line) as u64, counts)
    }
}

/// Ends the wait of somebody in a condition's line; in most cases by having it wait for the lock instead.
pub(super) fn withdraw(
    lock: &Lock,
    state: &mut State,
    key: Key,
    why: &Why,
    batch: &mut Batch,
) -> bool {
    let Some(line) = state.lines.line_of(key) else {
        return false;
    };
    let entry = state.conditions.at(line);
    match why {
        Why::TimedOut => entry.counts.timeouts += 1,
        _ => entry.counts.cancelled += 1,
    }
    let name = Arc::clone(&entry.name);
    let answer = match why {
        Why::TimedOut => Answer::refused(
            error::TIMEDOUT,
            format!("{name} was not notified within the timeout"),
        ),
        Why::Cancelled => Answer::refused(
            error::CANCELLED,
            format!("the wait for {name} was cancelled"),
        ),
        Why::Interrupted => Answer::refused(
            error::CANCELLED,
            format!("the wait for {name} was interrupted"),
        ),
        Why::TaskExited | Why::Abandoned | Why::Deadlock(..) => {
            if let Some(waiter) = state.lines.remove(key) {
                state.lines.refuse(waiter, why, &name, String::new, batch);
            }
            return true;
        }
    };
    lock.want_back(state, key, answer, batch);
    true
}

impl Object for Condition {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn label(&self) -> &str {
        &self.full_label
    }

    fn withdraw(&self, key: Key, why: &Why, batch: &mut Batch) -> bool {
        self.lock.withdraw(key, why, batch)
    }

    fn held_up_by(&self, key: Key) -> Option<TaskId> {
        self.lock.held_up_by(key)
    }

    fn pass_on(&self, task: TaskId, answer: Answer, batch: &mut Batch) {
        self.lock.pass_on(task, answer, batch);
    }

    fn revoke(&self, op: OpId, task: TaskId, batch: &mut Batch) -> bool {
        self.lock.revoke(op, task, batch)
    }

    fn look_again(&self, key: Key, batch: &mut Batch) {
        self.lock.look_again(key, batch);
    }

    fn describe(&self) -> Picture {
        let mut state = self.lock.state.lock();
        let mut picture = Picture::new(&self.identity, &state.lines, self.line);
        picture.closed = state.conditions.at(self.line).closed;
        picture.of = Some(self.lock.identity.as_str().to_owned());
        picture
    }
}
