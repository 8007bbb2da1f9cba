//! The end of a run: on the host's thread, on one that abandons it, or on whichever is left when such a thread itself ends.

use super::{End, Guest, Left, Phase, Polled, State, polls};
use crate::core::callback::Opaque;
use crate::core::elsewhere;
use crate::core::error::{self, Error, Result};
use crate::core::host::drain;
use crate::core::host::entry::Entry;
use crate::sys::clock::Deadline;
use crate::sys::lock::Guard;
use crate::sys::sync::Ordering;
use crate::sys::{futex, thread};
use std::sync::Arc;

impl Guest {
    pub(super) fn discard(&self, polled: Option<Polled>) {
        if let (Some(polled), Some(discard)) = (polled, self.calls.discard)
            && polled.events != Opaque::NULL
        {
            discard.call(self.calls.guest.0, polled.events.0);
        }
    }

    /// At the end of a tick. An abandoned guest is left to whoever abandons it.
    pub(super) fn end_here(&self, end: End, left: Option<Polled>) {
        let mut state = self.state.lock();
        if state.abandoned && !cfg!(selv_mutant = "end_what_is_abandoned") {
            state.phase = Phase::Queued(left);
            return self.leave(&mut state);
        }
        state.end = Some(end);
        self.over(state, left);
    }

    /// The run is over, with `end`: what was polled is discarded, then `done` is called, then the handles are given back. Each step is
    /// noted before it is done, since the host's function may end the thread.
    fn over(&self, mut state: Guard<'_, State>, polled: Option<Polled>) {
        state.phase = Phase::Over;
        state.caller = thread::token();
        state.left = Left::Done;
        if let Some(number) = state.coming.take() {
            polls::forget(number);
        }
        drop(state);
        self.discard(polled);
        if !self.host.is_of_this_process() {
            // It has forked, and this is the child.
            return;
        }
        if !cfg!(selv_mutant = "done_under_interrupt") {
            self.interrupting.await_end();
        }
        let mut state = self.state.lock();
        state.left = Left::Handles;
        let (status, why) = state.end.take().unwrap_or_default();
        drop(state);
        self.host.remove_guest();
        if status != error::OK {
            error::keep(Error::new(status, why));
        }
        self.calls.done.call(self.calls.guest.0, status);
        self.give_back();
    }

    fn give_back(&self) {
        let left = std::mem::replace(&mut self.state.lock().left, Left::Nothing);
        if left == Left::Handles {
            self.starter.release();
            drain::release(Arc::clone(&self.host));
        }
    }

    /// The thread has ended inside a callback of the guest. True if the next drain is to end the run.
    pub fn lost(&self) -> bool {
        let mut state = self.state.lock();
        if state.caller != thread::token() {
            return false;
        }
        if matches!(state.phase, Phase::Over) {
            return match state.left {
                Left::Nothing => false,
                Left::Done => {
                    // Whoever ends the run now, the host's thread or who abandons it, begins anew.
                    state.phase = Phase::Queued(None);
                    self.leave(&mut state);
                    !state.abandoned
                }
                Left::Handles => {
                    drop(state);
                    // A thread that ends calls nothing of the host.
                    elsewhere::run_or_here(self.arc(), |guest| guest.give_back());
                    false
                }
            };
        }
        let why = format!(
            "the thread of its host loop ended inside a callback of {}",
            self.what()
        );
        state.end.get_or_insert((error::BROKEN, why));
        if let Some(number) = state.coming.take() {
            polls::forget(number);
        }
        let own_poll = state.poller == state.caller;
        let (phase, tick) = match state.phase {
            Phase::Starting(number) => {
                polls::forget(number);
                (Phase::Queued(None), true)
            }
            Phase::Returned(number, polled) => {
                polls::forget(number);
                (Phase::Queued(Some(polled)), true)
            }
            Phase::Polling(number) if own_poll => {
                polls::forget(number);
                (Phase::Queued(None), true)
            }
            // The poll that was just asked for has begun: its end is waited for, however it is told.
            Phase::Polling(number) => {
                state.refused = true;
                (Phase::Polling(number), false)
            }
            Phase::Queued(polled) => (Phase::Queued(polled), false),
            Phase::Ticking | Phase::Over => (Phase::Queued(None), true),
        };
        state.phase = phase;
        self.leave(&mut state);
        let tick = tick && !state.abandoned;
        self.interrupt_once(state);
        tick
    }

    /// The host loop has died: the run ends here.
    ///
    /// # Errors
    /// FORKED, TOO_LATE, REENTRANT, TIMEDOUT.
    pub fn abandon(&self, timeout_ns: u64) -> Result<()> {
        // A callback may give back the handle through which this was called.
        let held = drain::hold(&self.host, Entry::Tick(self.arc()));
        let result = self.end_abandoned(timeout_ns);
        drain::let_go(held);
        result
    }

    fn end_abandoned(&self, timeout_ns: u64) -> Result<()> {
        let deadline = Deadline::after(timeout_ns);
        let mut state = self.state.lock();
        self.check(&state)?;
        let own = [state.caller, state.poller].contains(&thread::token());
        if own || self.interrupting.is_here() {
            let why = format!(
                "{} cannot be abandoned by a callback of its own",
                self.what()
            );
            return Err(Error::new(error::REENTRANT, why));
        }
        state.abandoned = true;
        let why = || (error::CLOSED, format!("{} was abandoned", self.what()));
        state.end = Some(why());
        self.interrupt_once(state);
        loop {
            let mut state = self.state.lock();
            // Another thread that abandons it may have been faster.
            self.check(&state)?;
            if state.caller == 0
                && let Some(polled) = self.left_behind(state.phase)
            {
                state.end = Some(why());
                self.over(state, polled);
                return Ok(());
            }
            if deadline.has_passed() {
                let why = format!(
                    "{} has not come back from its poll, or from a callback on its host's thread, within the timeout; calling again waits for it",
                    self.what()
                );
                return Err(Error::new(error::TIMEDOUT, why));
            }
            let seen = self.changes.load(Ordering::Relaxed);
            drop(state);
            futex::wait(&self.changes, seen, deadline);
        }
    }

    /// In a phase in which nobody calls the guest: what was polled and not processed.
    fn left_behind(&self, phase: Phase) -> Option<Option<Polled>> {
        match phase {
            Phase::Queued(polled) => Some(polled),
            // A poll that has not begun will not; and what one brought has nobody to be delivered to.
            Phase::Starting(number) => polls::forget(number).then_some(None),
            Phase::Returned(number, polled) => polls::forget(number).then_some(Some(polled)),
            Phase::Ticking | Phase::Polling(_) | Phase::Over => None,
        }
    }
}
