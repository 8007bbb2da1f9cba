//! The queue into a host's loop: what was accepted is run once, or dropped once, and the host is woken for it once, whichever way the
//! callers meet drains and the close. Here are a host and the calls into its loop; [`drains`] the loop goes on, [`close`] it ends, [`outcomes`]
//! what is told on it: operations and jobs.

mod close;
mod drains;
mod outcomes;

use super::tasks::*;
use super::*;
use crate::core::callback::CallFn;
use crate::core::host::host_loop::{HostLoop, Wake};
use crate::core::host::{drain, entry};
use crate::sys::thread::token;
use loom::sync::Notify;
use loom::thread::{self, JoinHandle};
use std::sync::atomic::{AtomicBool, AtomicU64};

/// A host whose loop runs on the thread that makes it.
pub struct Host {
    pub queue: Arc<HostLoop>,
    bell: Arc<Bell>,
}

/// What its wake function sees. The words that are not loom's order nothing.
struct Bell {
    /// Read by each wake, and written when the argument of the wakes is freed: a race, if a wake still runs then.
    valid: UnsafeCell<bool>,
    /// The host sleeps here.
    rung: Notify,
    /// No drain has answered them yet.
    wakes: AtomicU32,
    /// The thread of a drain that the host was woken for.
    answering: AtomicU64,
    drains: AtomicU32,
    /// Calls that have run on this loop.
    turns: AtomicU32,
    /// From here on none is to run.
    dropping: AtomicBool,
}

impl Host {
    pub fn new() -> Host {
        let bell = Arc::new(Bell {
            valid: UnsafeCell::new(true),
            rung: Notify::new(),
            wakes: AtomicU32::new(0),
            answering: AtomicU64::new(0),
            drains: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            dropping: AtomicBool::new(false),
        });
        let wake = Wake {
            // SAFETY: these functions take what such functions are called with.
            call: unsafe { CallFn::new(wake) },
            arg: Opaque(Arc::as_ptr(&bell).cast_mut().cast()),
            // SAFETY: as above.
            free: Some(unsafe { FreeFn::new(wake_arg_free) }),
        };
        let queue = HostLoop::new(None, Some(wake)).expect("no descriptor is needed");
        Host { queue, bell }
    }

    /// A drain that nobody asked for; how much it ran.
    pub fn drain(&self) -> u32 {
        self.drain_some(0)
    }

    fn drain_some(&self, most: u32) -> u32 {
        let mut ran = 0;
        drain::drain(&self.queue, most, &mut ran).expect("open, and this is its thread");
        ran
    }

    /// For a host that drains when it is woken, at no other time, and at most so many.
    pub fn answer(&self, most: u32) {
        let bell = &self.bell;
        while bell.wakes.swap(0, Relaxed) == 0 {
            bell.rung.wait();
        }
        bell.answering.store(token(), Relaxed);
        assert!(self.drain_some(most) > 0, "woken for nothing");
        bell.answering.store(0, Relaxed);
        bell.drains.fetch_add(1, Relaxed);
    }

    /// The same until `over`. Gives the number of drains.
    pub fn answer_until(&self, most: u32, over: impl Fn() -> bool) -> u32 {
        while !over() {
            self.answer(most);
        }
        self.bell.drains.load(Relaxed)
    }

    pub fn close(&self) {
        drain::close(&self.queue).expect("no guest lives, and this is its thread");
        self.check_closed();
    }

    /// No wake runs or will, and what was accepted has been run or dropped.
    fn check_closed(&self) {
        // SAFETY: nobody uses it any more, which loom checks.
        assert!(!self.bell.valid.with(|v| unsafe { *v }), "not freed");
        self.check_empty();
    }

    pub fn check_empty(&self) {
        let stats = self.queue.stats().expect("there is no fork");
        assert_eq!(stats.waiting, 0);
        let counts = stats.counts;
        assert_eq!(counts.accepted, counts.ran + counts.dropped);
    }
}

unsafe extern "C-unwind" fn wake(bell: *mut c_void) {
    // SAFETY: each model keeps its host until all threads are joined.
    let bell = unsafe { &*bell.cast::<Bell>() };
    // At its end a drain may wake its own host.
    let drainer = bell.answering.load(Relaxed);
    assert!([0, token()].contains(&drainer), "a wake during a drain");
    bell.wakes.fetch_add(1, Relaxed);
    bell.rung.notify();
    // SAFETY: written only when no wake runs, which loom checks.
    assert!(bell.valid.with(|v| unsafe { *v }), "a wake after the close");
}

unsafe extern "C-unwind" fn wake_arg_free(bell: *mut c_void) {
    // SAFETY: as in `wake`.
    let bell = unsafe { &*bell.cast::<Bell>() };
    let was_valid = bell.valid.with_mut(|v| {
        // SAFETY: no wake runs any more, which loom checks.
        unsafe { std::mem::replace(&mut *v, false) }
    });
    assert!(was_valid, "freed twice");
}

/// A call into the loop, and what became of it.
struct Call {
    /// Written by the caller, read by the loop: a call that is given too loosely is a data race here.
    message: UnsafeCell<u32>,
    ran: AtomicU32,
    dropped: AtomicU32,
    /// The how many-th call it was that ran there.
    turn: AtomicU32,
    bell: Arc<Bell>,
    then: Then,
}

/// What it does when it runs.
enum Then {
    Nothing,
    CallSoon(Arc<HostLoop>, Arc<Call>),
    Close(Arc<HostLoop>),
    /// Gives back the host's handle.
    Release(Arc<HostLoop>),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fate {
    Ran,
    Dropped,
    Refused,
}

impl Call {
    fn new(host: &Host) -> Arc<Call> {
        Self::then(host, Then::Nothing)
    }

    fn then(host: &Host, then: Then) -> Arc<Call> {
        Arc::new(Call {
            message: UnsafeCell::new(0),
            ran: AtomicU32::new(0),
            dropped: AtomicU32::new(0),
            turn: AtomicU32::new(0),
            bell: Arc::clone(&host.bell),
            then,
        })
    }

    fn arg(self: &Arc<Self>) -> Opaque {
        Opaque(Arc::as_ptr(self).cast_mut().cast())
    }

    /// False if the loop was closed.
    fn soon(self: &Arc<Self>, queue: &HostLoop) -> bool {
        // SAFETY: nobody else has the call before it is queued, which loom checks.
        self.message.with_mut(|m| unsafe { *m = 42 });
        // SAFETY: both take what such functions are called with.
        let (run, drop_fn) = unsafe { (CallFn::new(run_call), CallFn::new(drop_call)) };
        let queued = queue.call_soon(run, self.arg(), Some(drop_fn), false);
        queued
            .inspect_err(|refused| assert_eq!(refused.status, error::CLOSED))
            .is_ok()
    }

    /// The same on a thread of its own.
    fn soon_elsewhere(self: &Arc<Self>, host: &Host) -> JoinHandle<bool> {
        let (call, queue) = (Arc::clone(self), Arc::clone(&host.queue));
        thread::spawn(move || call.soon(&queue))
    }

    fn has_run(&self) -> bool {
        self.ran.load(Relaxed) > 0
    }

    /// What became of it in the end, which is one thing.
    fn fate(&self, accepted: bool) -> Fate {
        let counts = [&self.ran, &self.dropped].map(|count| count.load(Relaxed));
        match (accepted, counts) {
            (true, [1, 0]) => Fate::Ran,
            (true, [0, 1]) => Fate::Dropped,
            (false, [0, 0]) => Fate::Refused,
            other => panic!("accepted, ran and dropped: {other:?}"),
        }
    }

    /// # Safety
    /// `arg` is a `Call` that lives until its loop is done with it.
    unsafe fn of<'a>(arg: *mut c_void) -> &'a Call {
        // SAFETY: as promised.
        let call = unsafe { &*arg.cast::<Call>() };
        // SAFETY: the caller wrote it before it queued the call, which loom checks.
        assert_eq!(call.message.with(|m| unsafe { *m }), 42);
        call
    }
}

unsafe extern "C-unwind" fn run_call(arg: *mut c_void) {
    // SAFETY: each model keeps its calls until its loop is closed and its threads are joined.
    let call = unsafe { Call::of(arg) };
    call.turn
        .store(call.bell.turns.fetch_add(1, Relaxed), Relaxed);
    call.ran.fetch_add(1, Relaxed);
    match &call.then {
        Then::Nothing => {}
        Then::CallSoon(queue, next) => assert!(next.soon(queue)),
        Then::Close(queue) => drain::close(queue).expect("from a callback, too"),
        Then::Release(queue) => drain::release(Arc::clone(queue)),
    }
}

unsafe extern "C-unwind" fn drop_call(arg: *mut c_void) {
    // SAFETY: as in `run_call`.
    let call = unsafe { Call::of(arg) };
    call.bell.dropping.store(true, Relaxed);
    call.dropped.fetch_add(1, Relaxed);
}

/// For a call that is waited for.
unsafe extern "C-unwind" fn run_awaited(arg: *mut c_void, value: *mut *mut c_void) -> i32 {
    // SAFETY: as in `run_call`.
    unsafe { run_call(arg) };
    // SAFETY: valid during this call.
    unsafe { *value = arg };
    7
}

/// A thread that has a call run on the loop and waits for its end: OK with what it answered, or why it has not run.
fn awaiting(host: &Host, call: &Arc<Call>, timeout_ns: u64) -> JoinHandle<Status> {
    let (queue, call) = (Arc::clone(&host.queue), Arc::clone(call));
    thread::spawn(move || {
        // SAFETY: nobody else has the call before it is queued, which loom checks.
        call.message.with_mut(|m| unsafe { *m = 42 });
        // SAFETY: takes what such functions are called with.
        let run = unsafe { JobFn::new(run_awaited) };
        match entry::call(&queue, run, call.arg(), timeout_ns) {
            Ok(outcome) => {
                assert_eq!((outcome.status, outcome.code), (error::OK, 7));
                assert_eq!(outcome.value, call.arg().0);
                error::OK
            }
            Err(refused) => refused.status,
        }
    })
}
