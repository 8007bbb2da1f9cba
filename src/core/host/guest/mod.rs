//! A guest: an event loop that lives inside another, the host's. Here is what is known of a run, and what can be asked of it on any thread; its
//! ticks are in [`tick`], its polls on workers in [`polls`], its end in [`end`]. (The idea, and the order of a tick, are those of the guest mode of Trio.)
//!
//! ```text
//!            ┌────────────── the host's thread, one drained call ──────────────┐
//!   QUEUED ─▶│ TICKING: process(events) ─ prepare ─ poll(0) ─┬─ events: QUEUED │
//!      ▲     └───────────────────────────────────────────────┼─────────────────┘
//!      │                                                     ▼ none, and time: start_soon
//!      └──── deliver ──── RETURNED ◀──── POLLING ◀──────── STARTING
//!                                    a worker
//! ```
//! Invariant: the phase is changed under the lock, and says who has the guest: the host's queue, the host's thread, the thread starter, the
//! worker that polls. So there is one of them at a time, and only it calls the guest; but for `interrupt`, which is called only while the phase
//! is POLLING and is counted, and `done` waits until the count is 0. Whoever moves the phase to OVER calls `done`.
//!
//! An interrupt is never lost: it is a flag, which is cleared just before `prepare` looks for work; from then on it keeps a thread from being
//! asked for, takes back the poll that one was asked for, or has the guest called to end it.

mod end;
mod polls;
mod tick;

use super::entry::Entry;
use super::host_loop::HostLoop;
use super::underway::Underway;
use crate::core::cache::Cache;
use crate::core::callback::{
    CallFn, DiscardFn, DoneFn, Opaque, PollFn, PrepareFn, ProcessFn, StartSoonFn,
};
use crate::core::error::{self, Error, Result, Status};
use crate::core::shutdown;
use crate::core::sync::identity::Identity;
use crate::sys::futex;
use crate::sys::lock::{ForkLock, ForkReset, Guard};
use crate::sys::sync::{AtomicU32, Ordering};
use std::ffi::CString;
use std::sync::{Arc, Weak};

/// From `prepare`: the guest has nothing left to do.
pub(crate) const DONE: u64 = u64::MAX - 2;

/// The guest's functions.
#[derive(Clone, Copy)]
pub struct Calls {
    pub guest: Opaque,
    pub prepare: PrepareFn,
    pub poll: PollFn,
    pub process: ProcessFn,
    pub discard: Option<DiscardFn>,
    pub interrupt: CallFn,
    pub done: DoneFn,
}

/// Who starts threads for a guest.
pub enum Starter {
    /// With a handle of its own.
    Cache(Arc<Cache>),
    Host(StartSoonFn, Opaque),
}

/// What a poll came back with.
#[derive(Clone, Copy)]
struct Polled {
    status: Status,
    events: Opaque,
}

impl Polled {
    const NOTHING: Polled = Polled {
        status: error::OK,
        events: Opaque::NULL,
    };
}

#[derive(Clone, Copy)]
enum Phase {
    /// In the host loop's queue; with what is to be processed.
    Queued(Option<Polled>),
    Ticking,
    /// A thread has been asked for.
    Starting(u64),
    Polling(u64),
    Returned(u64, Polled),
    Over,
}

#[derive(Clone, Copy, PartialEq)]
enum Left {
    Nothing,
    /// `done`, which is told `end`.
    Done,
    /// The handles on cache and loop.
    Handles,
}

struct State {
    phase: Phase,
    /// The token of the thread that calls the guest, or has ended the run; 0: none does.
    caller: u64,
    timeout_ns: u64,
    /// A thread was asked for, and has not come; what it was asked for was taken back. The next poll is its.
    coming: Option<u64>,
    /// The token of the thread that polls.
    poller: u64,
    /// The poll's job was refused, though it has begun: it will not be delivered.
    refused: bool,
    interrupted: bool,
    /// Why the run is to end, and how that is to be told.
    end: Option<(Status, String)>,
    /// Whoever gave it up calls `done`, and nobody else.
    abandoned: bool,
    /// OVER: what is still to be done, if the thread that does it should end.
    left: Left,
}

impl ForkReset for State {
    fn reset_in_child(&mut self) {
        self.phase = Phase::Over;
        self.caller = 0;
        self.left = Left::Nothing;
        std::mem::forget(self.end.take());
    }
}

/// A run of a guest. Shared: `selv_guest_retain` and `selv_guest_release`.
pub struct Guest {
    identity: Identity,
    /// Of the polling jobs.
    job_name: CString,
    host: Arc<HostLoop>,
    starter: Starter,
    calls: Calls,
    me: Weak<Guest>,
    state: ForkLock<State>,
    /// Calls of `interrupt` that are under way.
    interrupting: Underway,
    /// A futex word that grows, under the lock, when an abandoning thread is to look again.
    changes: AtomicU32,
}

/// How the run ends: what `done` is told, and what `selv_last_error` says then.
type End = (Status, String);

/// Makes a run, which [`begin`](Guest::begin) is to begin.
///
/// # Errors
/// WRONG_THREAD, CLOSED, FORKED; then the starter's handle is given back.
pub fn prepare(
    host: &Arc<HostLoop>,
    starter: Starter,
    calls: Calls,
    name: Option<&str>,
) -> Result<Arc<Guest>> {
    if let Err(refused) = host.add_guest() {
        starter.release();
        return Err(refused);
    }
    Ok(Arc::new_cyclic(|me| Guest {
        identity: Identity::new("guest", name),
        job_name: CString::new(name.unwrap_or("guest")).unwrap_or_default(),
        host: Arc::clone(host),
        starter,
        calls,
        me: Weak::clone(me),
        state: ForkLock::new(State {
            phase: Phase::Queued(None),
            caller: 0,
            timeout_ns: 0,
            coming: None,
            poller: 0,
            refused: false,
            interrupted: false,
            end: None,
            abandoned: false,
            left: Left::Nothing,
        }),
        interrupting: Underway::new(),
        changes: AtomicU32::new(0),
    }))
}

impl Starter {
    fn release(&self) {
        if let Starter::Cache(cache) = self {
            shutdown::release(Arc::clone(cache));
        }
    }
}

impl Guest {
    fn what(&self) -> &str {
        self.identity.as_str()
    }

    fn arc(&self) -> Arc<Guest> {
        self.me.upgrade().expect("whoever calls it has a reference")
    }

    /// Queues the first tick.
    pub fn begin(&self) {
        self.queue_tick();
    }

    fn queue_tick(&self) {
        // Its loop is open: it has a guest. In a fork child there is no loop.
        let _ = self.host.push(|| Entry::Tick(self.arc()));
    }

    fn change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        futex::wake(&self.changes, futex::ALL);
    }

    /// The thread is done with the guest, for now.
    fn leave(&self, state: &mut State) {
        state.caller = 0;
        if state.abandoned {
            self.change();
        }
    }

    fn failed(&self, which: &str, status: Status) -> End {
        let name = error::c_name(status).map_or("an unknown status", |n| n.to_str().unwrap_or(""));
        (
            status,
            format!("{which} of {} answered {name} ({status})", self.what()),
        )
    }

    /// # Errors
    /// FORKED, TOO_LATE.
    fn check(&self, state: &State) -> Result<()> {
        if !self.host.is_of_this_process() {
            let why = format!("{} belongs to the parent process", self.what());
            return Err(Error::new(error::FORKED, why));
        }
        match state.phase {
            Phase::Over => {
                let why = format!(
                    "{} is over: its done has been called, or is about to be",
                    self.what()
                );
                Err(Error::new(error::TOO_LATE, why))
            }
            _ => Ok(()),
        }
    }

    /// Has `prepare` called again soon.
    ///
    /// # Errors
    /// FORKED, TOO_LATE.
    pub fn interrupt(&self) -> Result<()> {
        let state = self.state.lock();
        self.check(&state)?;
        self.interrupt_once(state);
        Ok(())
    }

    /// Has the run end with CANCELLED.
    ///
    /// # Errors
    /// FORKED, TOO_LATE.
    pub fn stop(&self) -> Result<()> {
        let mut state = self.state.lock();
        self.check(&state)?;
        if state.end.is_none() {
            state.end = Some((error::CANCELLED, format!("{} was stopped", self.what())));
        }
        self.interrupt_once(state);
        Ok(())
    }

    fn interrupt_once(&self, mut state: Guard<'_, State>) {
        if !std::mem::replace(&mut state.interrupted, true) {
            self.rouse(state);
        }
    }

    /// Ends a poll, whether it has begun or not. Where it has, the run cannot end meanwhile: that waits for this call.
    fn rouse(&self, mut state: Guard<'_, State>) {
        match state.phase {
            Phase::Polling(_) => {}
            Phase::Starting(number) => {
                // Its thread may be long in coming. If there is still nothing to do then, it polls after all.
                state.coming = Some(number);
                state.phase = Phase::Queued(Some(Polled::NOTHING));
                let abandoned = state.abandoned;
                drop(state);
                if !abandoned {
                    self.queue_tick();
                }
                return;
            }
            _ => return,
        }
        self.interrupting.count();
        drop(state);
        self.interrupting
            .call(self.calls.interrupt, self.calls.guest);
    }
}
