//! The queue into an event loop of the host's, which the library neither runs nor knows.
//!
//! The host is woken when something is queued, by its own function or by a descriptor that becomes readable, and then drains the queue on
//! the loop's thread. Invariants, all under the one lock: `armed` says that the host has been woken and has not begun to drain since; it is
//! woken when the queue is not empty, nobody drains, and it is not armed. So there is one wake for each time the queue begins to fill, and
//! none while the host drains: the end of a drain looks once more. The descriptor is raised and lowered under the lock, too, so it is
//! never readable during a drain, when a loop that is nested there could do nothing about it. An accepted entry is taken off the
//! queue once, by a drain, which runs it, or by the close, which drops it. No host code runs under the lock.

use super::entry::Entry;
use super::state::State;
use super::underway::Underway;
use crate::core::callback::{CallFn, FreeFn, Opaque};
use crate::core::error::{self, Error, Result};
use crate::core::sync::identity::Identity;
use crate::sys::eventfd::EventFd;
use crate::sys::lock::{ForkLock, Guard};
use crate::sys::sync::{AtomicU64, Ordering};
use crate::sys::{fork, thread};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Relaxed},
};

/// The host's own way to be woken.
#[derive(Clone, Copy)]
pub struct Wake {
    pub call: CallFn,
    pub arg: Opaque,
    pub free: Option<FreeFn>,
}

enum Waker {
    Call(Wake),
    Fd(EventFd),
}

/// A queue into an event loop that the host runs. Shared: `selv_host_loop_retain` and `selv_host_loop_release`.
pub struct HostLoop {
    identity: Identity,
    /// The process that made it.
    generation: u32,
    waker: Waker,
    /// The token of the loop's thread; changed under the lock.
    thread: AtomicU64,
    /// Calls of the host's wake function that are under way.
    waking: Underway,
    /// References that the host holds, and living guests.
    handles: AtomicUsize,
    state: ForkLock<State>,
}

impl HostLoop {
    /// The calling thread is the loop's. Without `wake` there is a descriptor to be polled.
    ///
    /// # Errors
    /// NOMEM: there is no descriptor left.
    pub fn new(name: Option<&str>, wake: Option<Wake>) -> Result<Arc<HostLoop>> {
        let waker = match wake {
            Some(wake) => Waker::Call(wake),
            None => Waker::Fd(EventFd::new().ok_or_else(|| {
                let why = "no descriptor is left for the host loop (RLIMIT_NOFILE)";
                Error::new(error::NOMEM, why)
            })?),
        };
        Ok(Arc::new(HostLoop {
            identity: Identity::new("host loop", name),
            generation: fork::generation(),
            waker,
            thread: AtomicU64::new(thread::token()),
            waking: Underway::new(),
            handles: AtomicUsize::new(1),
            state: ForkLock::new(State::default()),
        }))
    }

    pub fn what(&self) -> &str {
        self.identity.as_str()
    }

    pub fn fd(&self) -> Option<i32> {
        match &self.waker {
            Waker::Fd(fd) => Some(fd.raw()),
            Waker::Call(_) => None,
        }
    }

    pub fn is_of_this_process(&self) -> bool {
        self.generation == fork::generation()
    }

    /// The calling thread is the loop's.
    pub fn is_here(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == thread::token() && self.is_of_this_process()
    }

    pub(super) fn check_process(&self) -> Result<()> {
        if self.is_of_this_process() {
            return Ok(());
        }
        let why = format!("{} belongs to the parent process", self.what());
        Err(Error::new(error::FORKED, why))
    }

    /// The loop's state, for what is done on its own thread only.
    fn on_own_thread(&self, what: &str) -> Result<Guard<'_, State>> {
        self.check_process()?;
        let state = self.state.lock();
        if self.is_here() {
            return Ok(state);
        }
        drop(state);
        let why = format!(
            "{} is {what} on its own thread only; selv_host_loop_bind makes the calling thread that one",
            self.what()
        );
        Err(Error::new(error::WRONG_THREAD, why))
    }

    pub(super) fn closed_error(&self) -> Error {
        self.identity.closed()
    }

    fn unless_closed<'a>(&self, state: Guard<'a, State>) -> Result<Guard<'a, State>> {
        if !state.closed {
            return Ok(state);
        }
        drop(state);
        Err(self.closed_error())
    }

    /// The state of a loop in which something can be queued.
    fn open(&self) -> Result<Guard<'_, State>> {
        self.check_process()?;
        self.unless_closed(self.state.lock())
    }

    /// # Errors
    /// CLOSED, FORKED: nothing can be queued.
    pub fn check_open(&self) -> Result<()> {
        self.open().map(drop)
    }

    /// Queues what `entry` makes.
    ///
    /// # Errors
    /// CLOSED, FORKED; then `entry` was not called.
    pub fn push(&self, entry: impl FnOnce() -> Entry) -> Result<()> {
        let mut state = self.open()?;
        state.accept(entry());
        self.wake(state);
        Ok(())
    }

    /// Queues a call, unless it is `once` and the same waits already.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn call_soon(
        &self,
        run: CallFn,
        arg: Opaque,
        drop_fn: Option<CallFn>,
        once: bool,
    ) -> Result<()> {
        let mut state = self.open()?;
        if once && !state.once.insert((run, arg)) {
            state.counts.merged += 1;
            return Ok(());
        }
        state.accept(Entry::Soon {
            run,
            arg,
            drop_fn,
            once,
        });
        self.wake(state);
        Ok(())
    }

    /// Tells the host, if it is to be told.
    fn wake(&self, mut state: Guard<'_, State>) {
        if !state.is_to_be_woken() {
            return;
        }
        state.armed = true;
        state.counts.wakes += 1;
        match &self.waker {
            Waker::Fd(fd) => fd.raise(),
            Waker::Call(wake) => {
                self.waking.count();
                drop(state);
                self.waking.call(wake.call, wake.arg);
            }
        }
    }

    /// The thread before may have been told, and not have come to it.
    fn wake_anew(&self, mut state: Guard<'_, State>) {
        match &self.waker {
            Waker::Call(_) => {
                state.armed = false;
                self.wake(state);
            }
            // Still readable; but who polls it edge-triggered is told of it once.
            Waker::Fd(fd) if state.armed => fd.raise(),
            Waker::Fd(_) => {}
        }
    }

    fn in_own_wake(&self, what: &str) -> Error {
        let why = format!("{} cannot be {what} by its own wake function", self.what());
        Error::new(error::REENTRANT, why)
    }

    /// Makes the calling thread the loop's.
    ///
    /// # Errors
    /// REENTRANT, BUSY (a drain is running, here or elsewhere), CLOSED, FORKED.
    pub fn bind(&self) -> Result<()> {
        let state = self.open()?;
        let drainer = state.drainer;
        if drainer == 0 {
            let before = self.thread.load(Ordering::Relaxed);
            self.thread.store(thread::token(), Ordering::Relaxed);
            if before != thread::token() {
                self.wake_anew(state);
            }
            return Ok(());
        }
        drop(state);
        Err(match drainer == thread::token() {
            true => self.draining_error(),
            false => {
                let why = format!("{} is being drained on its own thread", self.what());
                Error::new(error::BUSY, why)
            }
        })
    }

    fn draining_error(&self) -> Error {
        let why = format!(
            "{} is being drained: a callback is to return to it first",
            self.what()
        );
        Error::new(error::REENTRANT, why)
    }

    /// From here on this thread drains: what is queued now, `most` of it at most; 0: all.
    ///
    /// # Errors
    /// WRONG_THREAD, REENTRANT, CLOSED, FORKED.
    pub(super) fn begin_drain(&self, most: u32) -> Result<()> {
        let state = self.on_own_thread("drained")?;
        if self.waking.is_here() {
            drop(state);
            return Err(self.in_own_wake("drained"));
        }
        let mut state = self.unless_closed(state)?;
        if state.drainer != 0 {
            drop(state);
            return Err(self.draining_error());
        }
        state.drainer = thread::token();
        state.counts.drains += 1;
        state.bound = match most {
            0 => state.queue.len(),
            most => state.queue.len().min(most as usize),
        };
        self.disarm(&mut state);
        Ok(())
    }

    fn disarm(&self, state: &mut State) {
        if std::mem::take(&mut state.armed)
            && let Waker::Fd(fd) = &self.waker
        {
            fd.lower();
        }
    }

    /// The drain is over.
    pub(super) fn end_drain(&self) {
        let mut state = self.state.lock();
        if state.drainer != thread::token() {
            // It had ended already, and the thread ended in the wake that followed; or this is a fork child.
            return;
        }
        state.drainer = 0;
        if !cfg!(selv_mutant = "drain_looks_no_more") {
            self.wake(state);
        }
    }

    /// What a drain could not finish, since its thread ended, is the first for the next one. Given back if the loop is closed.
    pub(super) fn put_back(&self, entry: Entry) -> Option<Entry> {
        let mut state = self.state.lock();
        if state.closed {
            return Some(entry);
        }
        state.queue.push_front(entry);
        state.bound += usize::from(state.drainer != 0);
        state.counts.ran -= 1;
        self.wake(state);
        None
    }

    /// Takes the oldest entry, to be run. None: this drain has run what it was to run.
    pub(super) fn next_to_run(&self) -> Option<Entry> {
        let mut state = self.state.lock();
        if state.closed && !cfg!(selv_mutant = "run_what_is_dropped") {
            // Whoever closed it drops what is left, maybe on another thread.
            return None;
        }
        state.bound = state.bound.checked_sub(1)?;
        let entry = state.pop()?;
        state.counts.ran += 1;
        Some(entry)
    }

    /// The entry that was to be run turned out to be over.
    pub(super) fn was_over(&self) {
        let mut state = self.state.lock();
        state.counts.ran -= 1;
        state.counts.dropped += 1;
    }

    /// Takes the oldest entry, to be dropped.
    pub(super) fn next_to_drop(&self) -> Option<Entry> {
        let mut state = self.state.lock();
        let entry = state.pop()?;
        state.counts.dropped += 1;
        Some(entry)
    }

    /// Takes off the queue what nobody waits for any more.
    pub(super) fn withdraw(&self, is_it: impl Fn(&Entry) -> bool) {
        let mut state = self.state.lock();
        if let Some(at) = state.queue.iter().position(is_it) {
            let entry = state.queue.remove(at);
            // Its place in a drain that is under way is nobody else's.
            state.bound -= usize::from(at < state.bound);
            state.counts.dropped += 1;
            drop(state);
            drop(entry);
        }
    }

    /// # Errors
    /// WRONG_THREAD, BUSY, REENTRANT, FORKED. True if there is something to drop: the loop has been closed by this call.
    pub(super) fn begin_close(&self) -> Result<bool> {
        let state = self.on_own_thread("closed")?;
        let guests = state.guests;
        if self.waking.is_here() {
            drop(state);
            return Err(self.in_own_wake("closed"));
        }
        if guests > 0 {
            drop(state);
            let why = format!(
                "{} has living guests ({guests}); selv_guest_stop ends one",
                self.what()
            );
            return Err(Error::new(error::BUSY, why));
        }
        Ok(self.shut_under(state))
    }

    /// Nothing is queued any more, and nobody woken. False if it was so before.
    pub(super) fn shut(&self) -> bool {
        self.shut_under(self.state.lock())
    }

    fn shut_under(&self, mut state: Guard<'_, State>) -> bool {
        if std::mem::replace(&mut state.closed, true) {
            return false;
        }
        self.disarm(&mut state);
        drop(state);
        self.waking.await_end();
        true
    }

    /// After [`shut`](Self::shut): what is to be freed.
    pub(super) fn wake_arg(&self) -> Option<(FreeFn, Opaque)> {
        match &self.waker {
            Waker::Call(wake) => wake.free.map(|free| (free, wake.arg)),
            Waker::Fd(_) => None,
        }
    }

    /// # Errors
    /// CLOSED, FORKED, WRONG_THREAD.
    pub(super) fn add_guest(&self) -> Result<()> {
        let mut state = self.unless_closed(self.on_own_thread("given guests")?)?;
        state.guests += 1;
        drop(state);
        self.retain();
        Ok(())
    }

    /// A guest is over, but for the handle that it holds.
    pub(super) fn remove_guest(&self) {
        self.state.lock().guests -= 1;
    }

    pub fn retain(&self) {
        self.handles.fetch_add(1, Relaxed);
    }

    /// True if that was the last handle, and the loop is to be closed.
    pub(super) fn release_one(&self) -> bool {
        // What was done with the other handles comes before the close.
        if self.handles.fetch_sub(1, AcqRel) != 1 {
            return false;
        }
        if !self.is_of_this_process()
            && let Waker::Fd(fd) = &self.waker
        {
            // What the parent had queued, and had out, keeps the child's copy of the loop for ever.
            fd.close();
        }
        self.is_of_this_process()
    }

    /// # Errors
    /// FORKED.
    pub fn stats(&self) -> Result<Stats> {
        self.check_process()?;
        let state = self.state.lock();
        Ok(Stats {
            waiting: state.queue.len() as u64,
            counts: state.counts,
            guests: u64::from(state.guests),
            closed: state.closed,
        })
    }
}

impl Drop for HostLoop {
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            // The child's copy can be in any state: taking the lock there makes it new.
            drop(self.state.lock());
        }
    }
}

/// What has happened so far.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub accepted: u64,
    pub ran: u64,
    pub merged: u64,
    pub dropped: u64,
    pub wakes: u64,
    pub drains: u64,
}

pub struct Stats {
    pub waiting: u64,
    pub counts: Counts,
    pub guests: u64,
    pub closed: bool,
}
