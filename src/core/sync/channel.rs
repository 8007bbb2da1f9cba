//! The channel: items of bytes, in order, from many senders to many receivers.
//!
//! Invariant, under `state`'s lock: receivers are in line only while nothing is queued and no sender is in line; senders only while
//! the buffer is full. An item is in exactly one place: with its sender in line, in the buffer, or in a receiver's answer.

use super::answer::{Answer, Bytes, Granted, Why};
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
use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) const RENDEZVOUS: u32 = 1;

const RECEIVERS: u32 = 0;
const SENDERS: u32 = 1;
const SPINS: u32 = 10;

struct State {
    /// A sender's want is its item.
    lines: Lines<Option<Bytes>>,
    /// Each with its number, which grows with every item sent.
    queue: VecDeque<(u64, Bytes)>,
    sent: u64,
    received: u64,
    closed: bool,
}

impl ForkReset for State {
    fn reset_in_child(&mut self) {
        self.lines.forget_all();
        std::mem::forget(std::mem::take(&mut self.queue));
    }
    fn keep_in_child(&mut self) {
        self.lines.forget_all();
    }
}

/// A line of items, each some bytes, from any number of senders to any number of receivers. Ends with `selv_channel_free`.
pub struct Channel {
    state: ForkLock<State>,
    /// Items that are queued, or with a sender in line; for a look with no lock.
    items: AtomicU64,
    /// None: no bound.
    capacity: Option<u64>,
    identity: Identity,
}

impl Channel {
    pub fn new(name: Option<&str>, capacity: Option<u64>) -> Arc<Channel> {
        let channel = Arc::new(Channel {
            state: ForkLock::new(State {
                lines: Lines::new(),
                queue: VecDeque::new(),
                sent: 0,
                received: 0,
                closed: false,
            }),
            items: AtomicU64::new(0),
            capacity,
            identity: Identity::new("channel", name),
        });
        channel.identity.register(&channel);
        channel
    }

    fn has_room(&self, state: &State) -> bool {
        self.capacity
            .is_none_or(|capacity| (state.queue.len() as u64) < capacity)
    }

    /// Gives the item to a receiver in line, or queues it; gives it back if it must wait.
    fn put(&self, state: &mut State, item: Bytes, batch: &mut Batch) -> Option<Bytes> {
        if let Some(receiver) = state.lines.pop(RECEIVERS) {
            state.received += 1;
            let answer = Self::with_item((state.sent, item));
            state.lines.complete(receiver, answer, batch);
        } else if self.has_room(state) {
            state.queue.push_back((state.sent, item));
        } else {
            return Some(item);
        }
        state.sent += 1;
        self.note(state);
        None
    }

    /// After a change, under the lock.
    fn note(&self, state: &State) {
        let items = state.queue.len() + state.lines.len(SENDERS);
        self.items.store(items as u64, Ordering::Relaxed);
    }

    /// Looks for a moment whether there is something to be had; true if so.
    fn spin(&self, timeout_ns: u64, is_there: impl Fn(u64) -> bool) -> bool {
        (0..SPINS).any(|round| {
            timeout_ns != 0 && cpu::pause(round) && is_there(self.items.load(Ordering::Relaxed))
        })
    }

    fn with_item((number, item): (u64, Bytes)) -> Answer {
        Answer {
            granted: Granted::Item(number),
            data: Some(item),
            ..Answer::default()
        }
    }

    /// The next item, for a receiver that has come; then there is room for the first sender in line.
    fn get(&self, state: &mut State, batch: &mut Batch) -> Option<(u64, Bytes)> {
        let item = state.queue.pop_front();
        let mut item = item.inspect(|_| state.received += 1);
        if (item.is_none() || self.has_room(state))
            && let Some(mut sender) = state.lines.pop(SENDERS)
        {
            let sent = sender.want.take().map(|item| (state.sent, item));
            state.sent += 1;
            state.lines.complete(sender, Answer::granted(), batch);
            match item {
                Some(_) => state.queue.extend(sent),
                None => {
                    state.received += 1;
                    item = sent;
                }
            }
        }
        self.note(state);
        item
    }

    /// # Errors
    /// WOULD_BLOCK, CLOSED, NOMEM.
    pub fn send_nowait(&self, data: &[u8]) -> Result<()> {
        match self.send_now(Bytes::copy(data)?)? {
            None => Ok(()),
            Some(_) => Err(Error::new(error::WOULD_BLOCK, self.full())),
        }
    }

    /// Gives the item back if there is no room.
    fn send_now(&self, item: Bytes) -> Result<Option<Bytes>> {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        if state.closed {
            return Err(self.identity.closed());
        }
        let left = self.put(&mut state, item, &mut batch);
        drop(state);
        batch.finish();
        Ok(left)
    }

    fn full(&self) -> String {
        match self.capacity {
            Some(0) => format!("nobody waits to receive from {}", self.identity.as_str()),
            _ => format!(
                "{} is full: it has its capacity of {} items",
                self.identity.as_str(),
                self.capacity.unwrap_or_default()
            ),
        }
    }

    /// # Errors
    /// TIMEDOUT, CANCELLED, CLOSED, NOMEM; INVAL and STALE for the task. The item was not sent, then.
    pub fn send(self: &Arc<Self>, task: TaskId, data: &[u8], timeout_ns: u64) -> Result<()> {
        task::check(task)?;
        let mut item = Bytes::copy(data)?;
        // Without a bound there is always room; else it may come in a moment.
        let bound = self.capacity.unwrap_or(u64::MAX);
        for again in [false, true] {
            if again && (bound == 0 || !self.spin(timeout_ns, |items| items < bound)) {
                break;
            }
            match self.send_now(item)? {
                None => return Ok(()),
                Some(left) => item = left,
            }
        }
        let deadline = Deadline::after(timeout_ns);
        let object: Arc<dyn Object> = Arc::clone(self) as _;
        wait::block(&object, task, deadline, |who, batch| {
            self.begin_send(&object, task, item, who, !deadline.is_never(), batch)
        })?
        .into_result()
        .map(drop)
    }

    /// # Errors
    /// As [`send`](Self::send), but for those of waiting.
    pub fn send_async(self: &Arc<Self>, task: TaskId, data: &[u8], op: OpId) -> Result<Submitted> {
        wait::submit(op, |who, batch| {
            let item = Bytes::copy(data)?;
            let object: Arc<dyn Object> = Arc::clone(self) as _;
            self.begin_send(&object, task, item, who, false, batch)
        })
    }

    fn begin_send(
        &self,
        object: &Arc<dyn Object>,
        task: TaskId,
        item: Bytes,
        who: Who,
        timed: bool,
        batch: &mut Batch,
    ) -> Result<Begun> {
        let slot = task::check(task)?;
        let mut state = self.state.lock();
        if state.closed {
            return Err(self.identity.closed());
        }
        let Some(item) = self.put(&mut state, item, batch) else {
            return Ok(Begun::Now(Answer::granted()));
        };
        let key = state.lines.push(SENDERS, task, who, timed, Some(item));
        self.note(&state);
        let registered = wait::register(slot, object, task, key, who, !timed);
        drop(state);
        registered.is_over_at_once(object, task, key, batch);
        Ok(Begun::InLine(key))
    }

    /// # Errors
    /// WOULD_BLOCK, CLOSED.
    pub fn recv_nowait(&self) -> Result<Bytes> {
        self.recv_now()?.ok_or_else(|| {
            let why = format!("{} has nothing to receive", self.identity.as_str());
            Error::new(error::WOULD_BLOCK, why)
        })
    }

    fn recv_now(&self) -> Result<Option<Bytes>> {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        let item = self.get(&mut state, &mut batch);
        let closed = state.closed;
        drop(state);
        batch.finish();
        match item {
            None if closed => Err(self.identity.closed()),
            item => Ok(item.map(|(_, item)| item)),
        }
    }

    /// # Errors
    /// TIMEDOUT, CANCELLED, CLOSED; INVAL and STALE for the task.
    pub fn recv(self: &Arc<Self>, task: TaskId, timeout_ns: u64) -> Result<Bytes> {
        task::check(task)?;
        for again in [false, true] {
            if again && !self.spin(timeout_ns, |items| items > 0) {
                break;
            }
            if let Some(item) = self.recv_now()? {
                return Ok(item);
            }
        }
        let deadline = Deadline::after(timeout_ns);
        let object: Arc<dyn Object> = Arc::clone(self) as _;
        let answer = wait::block(&object, task, deadline, |who, batch| {
            self.begin_recv(&object, task, who, !deadline.is_never(), batch)
        })?
        .into_result()?;
        Ok(answer.data.expect("a receiver is granted an item"))
    }

    /// # Errors
    /// As [`recv`](Self::recv), but for those of waiting.
    pub fn recv_async(self: &Arc<Self>, task: TaskId, op: OpId) -> Result<()> {
        let object: Arc<dyn Object> = Arc::clone(self) as _;
        wait::submit_for_later(op, &object, |who, batch| {
            self.begin_recv(&object, task, who, false, batch)
        })
    }

    fn begin_recv(
        &self,
        object: &Arc<dyn Object>,
        task: TaskId,
        who: Who,
        timed: bool,
        batch: &mut Batch,
    ) -> Result<Begun> {
        let slot = task::check(task)?;
        let mut state = self.state.lock();
        if let Some(item) = self.get(&mut state, batch) {
            return Ok(Begun::Now(Self::with_item(item)));
        }
        if state.closed {
            return Err(self.identity.closed());
        }
        let key = state.lines.push(RECEIVERS, task, who, timed, None);
        let registered = wait::register(slot, object, task, key, who, !timed);
        drop(state);
        registered.is_over_at_once(object, task, key, batch);
        Ok(Begun::InLine(key))
    }

    /// Nothing is sent any more; what is queued can still be received.
    pub fn close(&self) {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        state.closed = true;
        let why: Arc<str> = self.identity.closed().detail.into();
        // Senders' items go with them.
        for line in [RECEIVERS, SENDERS] {
            state
                .lines
                .refuse_all(line, error::CLOSED, &why, &mut batch);
        }
        self.note(&state);
        drop(state);
        batch.finish();
    }

    /// # Errors
    /// BUSY.
    pub fn retire(&self) -> Result<()> {
        let state = self.state.lock();
        let waiting = state.lines.len(RECEIVERS) + state.lines.len(SENDERS);
        drop(state);
        self.identity.retire(waiting)
    }

    pub fn stats(&self) -> Stats {
        let state = self.state.lock();
        Stats {
            queued: state.queue.len() as u64,
            capacity: self.capacity,
            senders: state.lines.len(SENDERS) as u64,
            receivers: state.lines.len(RECEIVERS) as u64,
            sent: state.sent,
            received: state.received,
            counts: state.lines.counts,
            closed: state.closed,
        }
    }
}

/// The statistics of a channel, at one moment.
pub struct Stats {
    pub queued: u64,
    pub capacity: Option<u64>,
    pub senders: u64,
    pub receivers: u64,
    pub sent: u64,
    pub received: u64,
    pub counts: WaitCounts,
    pub closed: bool,
}

impl Object for Channel {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn withdraw(&self, key: Key, why: &Why, batch: &mut Batch) -> bool {
        let mut state = self.state.lock();
        let Some(line) = state.lines.line_of(key) else {
            return false;
        };
        let what = match line {
            SENDERS => format!("room in {}", self.identity.as_str()),
            _ => format!("an item of {}", self.identity.as_str()),
        };
        if let Some(waiter) = state.lines.remove(key) {
            let lacking = || format!("{what} was not had within the timeout");
            state.lines.refuse(waiter, why, &what, lacking, batch);
            self.note(&state);
        }
        true
    }

    /// Anybody may receive or send.
    fn held_up_by(&self, _: Key) -> Option<TaskId> {
        None
    }

    /// An item that its receiver did not take is the next one's. What was sent stays sent.
    fn pass_on(&self, _: TaskId, answer: Answer, batch: &mut Batch) {
        let (Granted::Item(number), Some(item)) = (answer.granted, answer.data) else {
            return;
        };
        if cfg!(selv_mutant = "drop_the_item") {
            return;
        }
        let mut state = self.state.lock();
        match state.lines.pop(RECEIVERS) {
            Some(receiver) => {
                let answer = Self::with_item((number, item));
                state.lines.complete(receiver, answer, batch);
            }
            None => {
                // Before what was sent after it; also over the capacity, and after a close.
                state.received -= 1;
                let at = state.queue.partition_point(|(other, _)| *other < number);
                state.queue.insert(at, (number, item));
                self.note(&state);
            }
        }
    }

    fn describe(&self) -> Picture {
        let state = self.state.lock();
        let mut picture = Picture::of(&self.identity);
        picture.add_line(&state.lines, RECEIVERS, Some("receive"));
        picture.add_line(&state.lines, SENDERS, Some("send"));
        picture.queued = Some(state.queue.len() as u64);
        picture.closed = state.closed;
        picture
    }
}
