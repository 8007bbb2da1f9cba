//! The queue into a host's loop: what was accepted is run once, or dropped once, and the host is woken for it once, whichever way the
//! callers meet drains and the close.

use super::tasks::*;
use super::*;
use crate::core::callback::CallFn;
use crate::core::delivery::Delivery;
use crate::core::host::host_loop::{HostLoop, Wake};
use crate::core::host::{drain, entry};
use crate::core::sync::lock::Lock;
use crate::core::sync::task::TaskId;
use crate::sys::thread::token;
use loom::sync::Notify;
use loom::sync::atomic::AtomicU32 as Mark;
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

/// Whoever queues wakes the host, or somebody did who has not been answered, or the drain that runs will.
#[test]
fn two_calls_against_drains() {
    explore_outcomes(3, [1, 2], || {
        let host = Host::new();
        let calls = [Call::new(&host), Call::new(&host)];
        let others = calls.each_ref().map(|call| call.soon_elsewhere(&host));
        let drains = host.answer_until(0, || calls.iter().all(|call| call.has_run()));
        for (call, other) in calls.iter().zip(others) {
            assert_eq!(call.fate(other.join().unwrap()), Fate::Ran);
        }
        host.check_empty();
        host.close();
        drains
    });
}

/// What a callback queues runs in a later drain, and in the queue's order; each drain that leaves something has the host woken.
#[test]
fn bounded_drains_against_calls() {
    explore(3, || {
        let host = Host::new();
        let last = Call::new(&host);
        let first = Call::then(
            &host,
            Then::CallSoon(Arc::clone(&host.queue), Arc::clone(&last)),
        );
        let others = [Call::new(&host), Call::new(&host)];
        assert!(first.soon(&host.queue));
        let caller = thread::spawn({
            let (queue, others) = (Arc::clone(&host.queue), others.clone());
            move || others.iter().all(|call| call.soon(&queue))
        });
        let all = [&first, &last, &others[0], &others[1]];
        let drains = host.answer_until(1, || all.iter().all(|call| call.has_run()));
        assert_eq!(drains, 4);
        assert!(caller.join().unwrap());
        all.iter()
            .for_each(|call| assert_eq!(call.fate(true), Fate::Ran));
        let [first, last, one, two] = all.map(|call| call.turn.load(Relaxed));
        assert!(first < last && one < two);
        host.check_empty();
        host.close();
    });
}

/// Something that two threads announce by the same idempotent call.
struct News {
    /// Loom's, and the call is all that orders it.
    told: [Mark; 2],
    seen: [AtomicBool; 2],
    reads: AtomicU32,
}

unsafe extern "C-unwind" fn read_news(news: *mut c_void) {
    // SAFETY: the model keeps it until its threads are joined.
    let news = unsafe { &*news.cast::<News>() };
    for (told, seen) in news.told.iter().zip(&news.seen) {
        if told.load(Relaxed) == 1 {
            seen.store(true, Relaxed);
        }
    }
    news.reads.fetch_add(1, Relaxed);
}

/// A call is merged only into one that is yet to run: it sees what its caller did before.
#[test]
fn idempotent_calls_against_drains() {
    // How often it ran, and how many were merged.
    explore_outcomes(3, [(1, 1), (2, 0)], || {
        let host = Host::new();
        let news = Arc::new(News {
            told: [Mark::new(0), Mark::new(0)],
            seen: Default::default(),
            reads: AtomicU32::new(0),
        });
        let others = [0, 1].map(|n| {
            let (queue, news) = (Arc::clone(&host.queue), Arc::clone(&news));
            thread::spawn(move || {
                news.told[n].store(1, Relaxed);
                // SAFETY: takes what such functions are called with.
                let run = unsafe { CallFn::new(read_news) };
                let arg = Opaque(Arc::as_ptr(&news).cast_mut().cast());
                queue.call_soon(run, arg, None, true).expect("open");
            })
        });
        host.answer_until(0, || news.seen.iter().all(|seen| seen.load(Relaxed)));
        others.into_iter().for_each(|t| t.join().unwrap());
        // It may have been seen by the call before.
        host.drain();
        host.check_empty();
        let counts = host.queue.stats().unwrap().counts;
        assert_eq!(counts.ran, u64::from(news.reads.load(Relaxed)));
        host.close();
        (counts.ran, counts.merged)
    });
}

#[test]
fn awaited_call_against_drain() {
    explore(3, || {
        let host = Host::new();
        let call = Call::new(&host);
        let caller = awaiting(&host, &call, FOREVER);
        host.answer_until(0, || call.has_run());
        assert_eq!(caller.join().unwrap(), error::OK);
        assert_eq!(call.fate(true), Fate::Ran);
        host.close();
    });
}

/// The caller is told, whether the loop ran its function, dropped it, or did not take it.
#[test]
fn awaited_call_against_close() {
    explore_outcomes(3, [error::OK, error::CLOSED], || {
        let host = Host::new();
        let call = Call::new(&host);
        let caller = awaiting(&host, &call, FOREVER);
        host.drain();
        host.close();
        let status = caller.join().unwrap();
        assert_eq!(call.has_run(), status == error::OK);
        host.check_empty();
        status
    });
}

/// A call whose time is up has not run and will not, or it has begun and its end is waited for.
#[test]
fn timed_out_call_against_drain() {
    explore_outcomes(3, [error::OK, error::TIMEDOUT], || {
        let host = Host::new();
        let call = Call::new(&host);
        let caller = awaiting(&host, &call, 0);
        host.drain();
        let status = caller.join().unwrap();
        host.drain();
        assert_eq!(call.has_run(), status == error::OK);
        host.check_empty();
        host.close();
        status
    });
}

/// A call that is withdrawn leaves no room in a drain for what came later.
#[test]
fn timed_out_call_inside_a_drain() {
    explore_outcomes(3, [error::OK, error::TIMEDOUT], || {
        let host = Host::new();
        let last = Call::new(&host);
        let then = Then::CallSoon(Arc::clone(&host.queue), Arc::clone(&last));
        let (first, call) = (Call::then(&host, then), Call::new(&host));
        assert!(first.soon(&host.queue));
        let caller = awaiting(&host, &call, 0);
        host.drain();
        assert!(first.has_run() && !last.has_run());
        let status = caller.join().unwrap();
        host.drain();
        assert!(last.has_run());
        assert_eq!(call.has_run(), status == error::OK);
        host.check_empty();
        host.close();
        status
    });
}

#[test]
fn timed_out_call_against_close() {
    explore_outcomes(3, [error::CLOSED, error::TIMEDOUT], || {
        let host = Host::new();
        let call = Call::new(&host);
        let caller = awaiting(&host, &call, 0);
        host.close();
        let status = caller.join().unwrap();
        assert!(!call.has_run());
        host.check_empty();
        status
    });
}

/// Once the loop is closed no wake runs, though one may have been on its way.
#[test]
fn close_against_call() {
    explore_outcomes(3, [Fate::Ran, Fate::Dropped, Fate::Refused], || {
        let host = Host::new();
        let call = Call::new(&host);
        let caller = call.soon_elsewhere(&host);
        host.drain();
        host.close();
        let fate = call.fate(caller.join().unwrap());
        host.check_closed();
        fate
    });
}

#[test]
fn close_against_two_calls() {
    let fates = [Fate::Dropped, Fate::Refused];
    let outcomes = fates.map(|a| fates.map(|b| (a, b))).concat();
    explore_outcomes(2, outcomes, || {
        let host = Host::new();
        let calls = [Call::new(&host), Call::new(&host)];
        let callers = calls.each_ref().map(|call| call.soon_elsewhere(&host));
        host.close();
        let accepted = callers.map(|t| t.join().unwrap());
        host.check_closed();
        (calls[0].fate(accepted[0]), calls[1].fate(accepted[1]))
    });
}

/// A callback that closes its loop waits for a wake on its way, too.
#[test]
fn close_in_a_drain_against_call() {
    explore_outcomes(3, [Fate::Ran, Fate::Dropped, Fate::Refused], || {
        let host = Host::new();
        let call = Call::new(&host);
        let caller = call.soon_elsewhere(&host);
        let closing = Call::then(&host, Then::Close(Arc::clone(&host.queue)));
        assert!(closing.soon(&host.queue));
        assert!(host.drain() > 0);
        host.check_closed();
        assert_eq!(closing.fate(true), Fate::Ran);
        let fate = call.fate(caller.join().unwrap());
        host.check_closed();
        fate
    });
}

/// Two threads use the loop and give up their handles: the last one closes it, and that is not the other's wake.
#[test]
fn last_handle_against_call() {
    explore(3, || {
        let host = Host::new();
        let calls = [Call::new(&host), Call::new(&host)];
        host.queue.retain();
        let other = thread::spawn({
            let (queue, call) = (Arc::clone(&host.queue), Arc::clone(&calls[1]));
            move || {
                assert!(call.soon(&queue));
                drain::release(queue);
            }
        });
        assert!(calls[0].soon(&host.queue));
        drain::release(Arc::clone(&host.queue));
        other.join().unwrap();
        host.check_closed();
        for call in &calls {
            assert_eq!(call.fate(true), Fate::Dropped);
        }
    });
}

/// A callback gives back the host's handle, and the last one is released elsewhere, inside the drain: what has not run by then is dropped.
#[test]
fn last_handle_against_drain() {
    let (ran, dropped) = (Fate::Ran, Fate::Dropped);
    let outcomes = [(ran, ran), (ran, dropped), (dropped, dropped)];
    explore_outcomes(3, outcomes, || {
        let host = Host::new();
        let releasing = Call::then(&host, Then::Release(Arc::clone(&host.queue)));
        let calls = [Call::new(&host), Call::new(&host)];
        assert!(releasing.soon(&host.queue));
        assert!(calls.iter().all(|call| call.soon(&host.queue)));
        host.queue.retain();
        let other = thread::spawn({
            let (queue, releasing) = (Arc::clone(&host.queue), Arc::clone(&releasing));
            move || {
                while !releasing.has_run() {
                    thread::yield_now();
                }
                drain::release(queue);
            }
        });
        host.drain();
        other.join().unwrap();
        host.check_closed();
        assert_eq!(releasing.fate(true), Fate::Ran);
        (calls[0].fate(true), calls[1].fate(true))
    });
}

/// Once another thread has been made the loop's, nothing runs on the one before.
#[test]
fn bind_against_drain() {
    explore_outcomes(3, [error::OK, error::BUSY], || {
        let host = Host::new();
        let calls = [Call::new(&host), Call::new(&host)];
        assert!(calls.iter().all(|call| call.soon(&host.queue)));
        let other = thread::spawn({
            let (queue, calls) = (Arc::clone(&host.queue), calls.clone());
            move || {
                if let Err(refused) = queue.bind() {
                    return refused.status;
                }
                let before = calls.each_ref().map(|call| call.has_run());
                let mut ran = 0;
                drain::drain(&queue, 0, &mut ran).expect("its thread now");
                assert_eq!(ran, before.iter().filter(|&&ran| !ran).count() as u32);
                error::OK
            }
        });
        let drained = drain::drain(&host.queue, 0, &mut 0);
        let status = other.join().unwrap();
        match refusal(drained) {
            None => assert_eq!(host.queue.bind().map_err(|e| e.status), Ok(())),
            refused => {
                assert_eq!((refused, status), (Some(error::WRONG_THREAD), error::OK));
                host.queue.bind().expect("nobody drains");
            }
        }
        for call in &calls {
            assert_eq!(call.fate(true), Fate::Ran);
        }
        host.close();
        status
    });
}

/// A lock with an owner, and a task that waits for it with an operation of the loop's.
fn awaited_lock(host: &Host) -> (Arc<Lock>, TaskId, TaskId, Arc<Told>, operation::OpId) {
    let (lock, owner, task) = (Lock::new(None, 0), new_task(), new_task());
    lock.try_acquire(owner).expect("a new lock");
    let told = Told::new();
    let op = told.operation_on(task, Some(Arc::clone(&host.queue)));
    assert!(is_pending(lock.acquire_async(task, op)));
    (lock, owner, task, told, op)
}

/// An operation that was granted, and waits for its callback in the queue, can be abandoned until that begins.
#[test]
fn abandon_against_completion() {
    explore_outcomes(3, [false, true], || {
        let host = Host::new();
        let (lock, owner, task, told, op) = awaited_lock(&host);
        let other = thread::spawn(move || abandon(op));
        lock.release(owner).unwrap();
        host.drain();
        let abandoned = other.join().unwrap();
        host.drain();
        assert_eq!(told.was_granted(), !abandoned);
        if !abandoned {
            lock.release(task).unwrap();
        }
        check_at_rest(&lock);
        host.check_empty();
        host.close();
        abandoned
    });
}

/// A completion that meets the close is told once: where it was to be, with the lock; or somewhere else, and the lock is free.
#[test]
fn close_against_completion() {
    explore_outcomes(3, [error::OK, error::CLOSED], || {
        let host = Host::new();
        let (lock, owner, task, told, _) = awaited_lock(&host);
        let other = thread::spawn({
            let lock = Arc::clone(&lock);
            move || lock.release(owner).unwrap()
        });
        let drained = host.drain();
        assert_eq!(drained > 0, told.was_granted());
        host.close();
        other.join().unwrap();
        let status = told.status().expect("one callback");
        assert_eq!(status == error::OK, drained > 0);
        if status == error::OK {
            lock.release(task).unwrap();
        }
        check_at_rest(&lock);
        host.check_empty();
        status
    });
}

/// The lock goes on whoever gives the operation up.
#[test]
fn close_against_abandon() {
    explore_outcomes(3, [None, Some(error::CLOSED)], || {
        let host = Host::new();
        let (lock, owner, _, told, op) = awaited_lock(&host);
        let other = thread::spawn(move || abandon(op));
        lock.release(owner).unwrap();
        host.close();
        let abandoned = other.join().unwrap();
        assert_eq!(told.status().is_none(), abandoned);
        check_at_rest(&lock);
        host.check_empty();
        told.status()
    });
}

/// Submits a job whose outcome is told on the loop.
fn submit_for(host: &Host, job: &Arc<Probe>, cache: &Arc<Cache>) -> Arc<Ticket> {
    let ticket = Ticket::with(Box::new([]), TaskId::NONE, Some(Arc::clone(&host.queue)));
    let reference = TicketRef::new(Arc::clone(&ticket));
    assert!(job.hand_over(cache, Needs::Usual, Some(reference)));
    ticket
}

fn check_told(job: &Probe, ran: u32, status: Status) {
    let counts = [&job.ran, &job.delivered, &job.freed];
    assert_eq!(counts.map(|count| count.load(Relaxed)), [ran, 1, 1]);
    assert_eq!(job.status.load(Relaxed), status);
}

#[test]
fn close_against_outcome() {
    explore_outcomes(2, [error::OK, error::CLOSED], || {
        let cache = cache(Idle::Stays, 0);
        let (host, job) = (Host::new(), Probe::new());
        let ticket = submit_for(&host, &job, &cache);
        let drained = host.drain();
        host.close();
        finish(&cache);
        let status = if drained > 0 {
            error::OK
        } else {
            error::CLOSED
        };
        check_told(&job, 1, status);
        assert_eq!(ticket.wait(Deadline::NEVER).unwrap().status, status);
        host.check_empty();
        status
    });
}

/// Whoever waits for a job goes on when it has been told on the loop, and its argument freed.
#[test]
fn wait_against_outcome() {
    explore(2, || {
        let cache = cache(Idle::Stays, 0);
        let (host, job) = (Host::new(), Probe::new());
        let ticket = submit_for(&host, &job, &cache);
        let waiter = thread::spawn({
            let job = Arc::clone(&job);
            move || {
                let outcome = ticket.wait(Deadline::NEVER).expect("it ends");
                assert_eq!(outcome.status, error::OK);
                check_told(&job, 1, error::OK);
            }
        });
        host.answer_until(0, || job.freed.load(Relaxed) > 0);
        waiter.join().unwrap();
        finish(&cache);
        host.close();
    });
}

/// A job that is cancelled as it begins is told once, on the loop.
#[test]
fn cancel_against_outcome() {
    explore_outcomes(2, [error::OK, error::CANCELLED], || {
        let cache = cache(Idle::Stays, 0);
        let (host, job) = (Host::new(), Probe::new());
        let ticket = submit_for(&host, &job, &cache);
        let delivery = Delivery {
            // SAFETY: these functions take what such functions are called with.
            deliver: Some(unsafe { DeliverFn::new(deliver) }),
            arg: Opaque(Arc::as_ptr(&job).cast_mut().cast()),
            // SAFETY: as above.
            arg_free: Some(unsafe { FreeFn::new(free) }),
        };
        let cancelled = submit::cancel(Arc::clone(&cache), Arc::clone(&ticket), delivery).is_ok();
        host.answer_until(0, || job.freed.load(Relaxed) > 0);
        finish(&cache);
        let status = if cancelled {
            error::CANCELLED
        } else {
            error::OK
        };
        check_told(&job, u32::from(!cancelled), status);
        host.check_empty();
        host.close();
        status
    });
}
