//! A guest: an event loop that lives inside another, the host's. (The idea, and the order of a tick, are those of the guest mode of Trio.)
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

use super::drain;
use super::entry::Entry;
use super::host_loop::HostLoop;
use super::polls;
use super::underway::Underway;
use crate::core::cache::Cache;
use crate::core::callback::{
    CallFn, DeliverFn, DiscardFn, DoneFn, JobFn, Opaque, PollFn, PrepareFn, ProcessFn, StartSoonFn,
};
use crate::core::error::{self, Error, Result, Status};
use crate::core::job::{Job, Needs};
use crate::core::name::Name;
use crate::core::sync::completions;
use crate::core::sync::identity::Identity;
use crate::core::{shutdown, submit};
use crate::sys::clock::Deadline;
use crate::sys::lock::{ForkLock, ForkReset, Guard};
use crate::sys::sync::{AtomicU32, Ordering};
use crate::sys::{futex, thread};
use std::ffi::{CString, c_void};
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

/// A poll that is to be made: plain data.
#[derive(Clone, Copy)]
pub struct Poll {
    pub call: PollFn,
    pub guest: Opaque,
    pub timeout_ns: u64,
}

/// How the run ends: what `done` is told, and what `selv_last_error` says then.
type End = (Status, String);

/// What comes after a tick.
enum Turn {
    Goes,
    /// With what was polled and not processed.
    Ends(End, Option<Polled>),
}

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

    // ---- the host's thread ----

    /// One tick. False if the guest is over, or not to be called any more.
    pub fn tick(&self) -> bool {
        let mut state = self.state.lock();
        let Phase::Queued(polled) = state.phase else {
            return false;
        };
        if state.abandoned {
            return false;
        }
        state.phase = Phase::Ticking;
        state.caller = thread::token();
        let end = state.end.take();
        drop(state);
        let turn = match end {
            Some(end) => Turn::Ends(end, polled),
            None => self.turn(polled),
        };
        if let Turn::Ends(end, left) = turn {
            self.end_here(end, left);
        }
        true
    }

    /// From what the last poll brought to the next one.
    fn turn(&self, polled: Option<Polled>) -> Turn {
        let calls = &self.calls;
        if let Some(polled) = polled {
            if polled.status < 0 {
                return Turn::Ends(self.failed("poll", polled.status), Some(polled));
            }
            let status = calls.process.call(calls.guest.0, polled.events.0);
            if let Some(over) = self.after("process", status, None) {
                return over;
            }
        }
        // Whatever an interrupt was about, `prepare` is going to see it.
        self.state.lock().interrupted = false;
        let mut ns = 0;
        let status = calls.prepare.call(calls.guest.0, &mut ns);
        if cfg!(selv_mutant = "forget_after_prepare") {
            self.state.lock().interrupted = false;
        }
        if let Some(over) = self.after("prepare", status, None) {
            return over;
        }
        if ns == DONE {
            return Turn::Ends((error::OK, String::new()), None);
        }
        // What is there already costs no thread.
        let mut events = std::ptr::null_mut();
        let status = calls.poll.call(calls.guest.0, 0, &mut events);
        let polled = Polled {
            status,
            events: Opaque(events),
        };
        match self.after("poll", status, Some(polled)) {
            Some(over) => over,
            None => self.next(polled, ns),
        }
    }

    /// After each callback: Some if it was the last one. `left` is what would not be processed then.
    fn after(&self, which: &str, status: Status, left: Option<Polled>) -> Option<Turn> {
        if !self.host.is_of_this_process() {
            // It has forked, and this is the child.
            return Some(Turn::Goes);
        }
        if status < 0 {
            return Some(Turn::Ends(self.failed(which, status), left));
        }
        let end = self.state.lock().end.take()?;
        Some(Turn::Ends(end, left))
    }

    /// After the poll on the host's thread.
    fn next(&self, polled: Polled, ns: u64) -> Turn {
        let mut state = self.state.lock();
        if let Some(end) = state.end.take() {
            drop(state);
            return Turn::Ends(end, Some(polled));
        }
        let interrupted = state.interrupted && !cfg!(selv_mutant = "sleep_over_interrupt");
        if ns == 0 || polled.events != Opaque::NULL || interrupted {
            state.phase = Phase::Queued(Some(polled));
            self.leave(&mut state);
            drop(state);
            self.queue_tick();
            return Turn::Goes;
        }
        state.timeout_ns = ns;
        if let Some(number) = state.coming.take() {
            state.phase = Phase::Starting(number);
            self.leave(&mut state);
            return Turn::Goes;
        }
        let number = polls::expect(&self.arc());
        state.phase = Phase::Starting(number);
        state.refused = false;
        drop(state);
        match self.start_soon(number) {
            Some(refusal) => self.was_refused(number, refusal),
            None => {
                self.leave(&mut self.state.lock());
                Turn::Goes
            }
        }
    }

    /// No thread comes for a poll; but the host's `start_soon` may have called what it was given before it refused.
    fn was_refused(&self, number: u64, refusal: End) -> Turn {
        let mut state = self.state.lock();
        let left = match state.phase {
            Phase::Starting(n) if n == number => None,
            Phase::Returned(n, polled) if n == number => Some(polled),
            phase => {
                // What has begun is waited for; what was delivered, or taken back by an interrupt, has a tick to come.
                state.refused = matches!(phase, Phase::Polling(n) if n == number);
                if !state.refused {
                    state.coming = None;
                    polls::forget(number);
                }
                state.end.get_or_insert(refusal);
                self.leave(&mut state);
                self.interrupt_once(state);
                return Turn::Goes;
            }
        };
        polls::forget(number);
        state.phase = Phase::Ticking;
        let end = state.end.take().unwrap_or(refusal);
        Turn::Ends(end, left)
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

    /// Has a thread poll. Some if that was refused.
    fn start_soon(&self, number: u64) -> Option<End> {
        let arg = polls::argument(number);
        let cache = match &self.starter {
            Starter::Host(start, data) => {
                let run = Some(polls::JOB);
                let deliver = Some(polls::DELIVER);
                let status = start.call(data.0, run, deliver, arg, self.job_name.as_ptr());
                return (status < 0).then(|| self.failed("start_soon", status));
            }
            Starter::Cache(cache) => cache,
        };
        let job = Job {
            // SAFETY: both take any number for an argument, on any thread.
            run: unsafe { JobFn::new(polls::JOB) },
            // SAFETY: as above.
            deliver: Some(unsafe { DeliverFn::new(polls::DELIVER) }),
            arg: Opaque(arg),
            arg_free: None,
            name: Name::new(self.job_name.to_str().unwrap_or("guest")),
            needs: Needs::Usual,
            accepted_at: 0,
            ticket: None,
        };
        let sent = submit::submit(cache, |accepted_at| Job { accepted_at, ..job });
        let refused = sent.err()?;
        let why = format!(
            "no thread for the poll of {}: {}",
            self.what(),
            refused.detail
        );
        Some((refused.status, why))
    }

    fn discard(&self, polled: Option<Polled>) {
        if let (Some(polled), Some(discard)) = (polled, self.calls.discard)
            && polled.events != Opaque::NULL
        {
            discard.call(self.calls.guest.0, polled.events.0);
        }
    }

    /// At the end of a tick. An abandoned guest is left to whoever abandons it.
    fn end_here(&self, end: End, left: Option<Polled>) {
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
                    self.give_back_elsewhere();
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

    /// A thread that ends calls nothing of the host: a worker of the default cache does.
    fn give_back_elsewhere(&self) {
        unsafe extern "C-unwind" fn job(guest: *mut c_void, _: *mut *mut c_void) -> i32 {
            // SAFETY: the count that is given away below, once.
            unsafe { Arc::from_raw(guest.cast::<Guest>().cast_const()) }.give_back();
            0
        }
        let guest = Arc::into_raw(self.arc()).cast_mut().cast();
        // SAFETY: made for the pointer that goes with it, and for any thread.
        if !completions::on_a_worker(unsafe { JobFn::new(job) }, Opaque(guest), Name::NONE) {
            // No thread can be started. Better here than never.
            // SAFETY: the job was refused, so the count is still ours.
            unsafe { job(guest, std::ptr::null_mut()) };
        }
    }

    // ---- the worker ----

    /// The poll is to be made, on this thread, now. None: it is not, or not any more.
    pub fn begin_poll(&self, number: u64) -> Option<Poll> {
        let mut state = self.state.lock();
        if state.coming == Some(number) && !cfg!(selv_mutant = "reuse_the_gone") {
            // It has come too late.
            state.coming = None;
            polls::forget(number);
        }
        if !matches!(state.phase, Phase::Starting(n) if n == number) {
            return None;
        }
        state.phase = Phase::Polling(number);
        state.poller = thread::token();
        Some(Poll {
            call: self.calls.poll,
            guest: self.calls.guest,
            timeout_ns: state.timeout_ns,
        })
    }

    pub fn end_poll(&self, number: u64, status: Status, events: *mut c_void) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Polling(n) if n == number) {
            let events = Opaque(events);
            let polled = Polled { status, events };
            state.poller = 0;
            if state.refused {
                return self.bring(state, number, polled);
            }
            state.phase = Phase::Returned(number, polled);
            if state.abandoned {
                self.change();
            }
        }
    }

    /// The host's thread is to have it.
    fn bring(&self, mut state: Guard<'_, State>, number: u64, polled: Polled) {
        polls::forget(number);
        state.phase = Phase::Queued(Some(polled));
        let abandoned = state.abandoned;
        if abandoned {
            self.change();
        }
        drop(state);
        if !abandoned {
            self.queue_tick();
        }
    }

    /// The worker is done with the job; `status` tells whether it ran.
    pub fn poll_delivered(&self, number: u64, status: Status) {
        let mut state = self.state.lock();
        let polled = match state.phase {
            Phase::Returned(n, polled) if n == number => {
                if status < 0 {
                    self.not_run(&mut state, status);
                }
                polled
            }
            // It did not run; or, if it did, its thread was ended inside it.
            Phase::Starting(n) if n == number => self.not_run(&mut state, status),
            Phase::Polling(n) if n == number && status < 0 => self.not_run(&mut state, status),
            _ => {
                if state.coming == Some(number) {
                    // It did not run, and will not: the next poll asks anew.
                    state.coming = None;
                    polls::forget(number);
                }
                return;
            }
        };
        self.bring(state, number, polled);
    }

    fn not_run(&self, state: &mut State, status: Status) -> Polled {
        let what = self.what();
        let end = match (status, &self.starter) {
            (0.., _) => {
                let why = format!("the poll of {what} was delivered, and has not been run");
                (error::BROKEN, why)
            }
            (failed, Starter::Host(..)) => self.failed("the thread for the poll", failed),
            // The worker is delivering, and its last error is about this job.
            (failed, Starter::Cache(_)) => {
                let why = error::with_last(|last| format!("the poll of {what} failed: {last}"));
                (failed, why)
            }
        };
        state.end.get_or_insert(end);
        state.poller = 0;
        Polled::NOTHING
    }

    // ---- any thread ----

    /// # Errors
    /// FORKED, TOO_LATE.
    fn check(&self, state: &State) -> Result<()> {
        if !self.host.is_of_this_process() {
            let why = format!("{} belongs to the parent process", self.what());
            return Err(Error::new(error::FORKED, why));
        }
        match state.phase {
            Phase::Over => {
                let why = format!("{} has ended: its done has been called", self.what());
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
