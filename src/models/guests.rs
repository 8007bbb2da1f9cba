//! A guest's run: it is called by one thread at a time, no interrupt is lost, and it ends once, whichever way its polls meet interrupts,
//! stops and threads that give it up.

use super::loops::Host;
use super::tasks::refusal;
use super::*;
use crate::core::callback::{
    CallFn, DiscardFn, DoneFn, PollFn, PrepareFn, ProcessFn, RawDeliverFn, RawJobFn, StartSoonFn,
};
use crate::core::host::guest::{self, Calls, DONE, Guest, Starter};
use loom::sync::Notify;
use loom::sync::atomic::AtomicU32 as Mark;
use loom::thread;
use std::sync::atomic::AtomicBool;

/// What a guest of the models does.
#[derive(Clone, Copy)]
struct Plan {
    /// It has nothing left to do when so much work has been given to it,
    work: u32,
    /// or when so many events have been processed.
    enough: u32,
    /// So many polls bring an event. The others last until they are interrupted.
    events: u32,
    /// What its `start_soon` answers.
    start: Status,
}

/// One that ends only when it is made to.
const IDLE: Plan = Plan {
    work: u32::MAX,
    enough: u32::MAX,
    events: 0,
    start: error::OK,
};

/// A guest, and what was called. The words that are not loom's order nothing.
struct Run {
    plan: Plan,
    /// Loom's, and the interrupt is all that orders it.
    work: Mark,
    /// Used by each callback but `interrupt`: two at once are a race here, and so are two of which the later one cannot rely on the earlier.
    own: UnsafeCell<()>,
    /// Read by `interrupt`, written by `done`.
    valid: UnsafeCell<bool>,
    roused: AtomicBool,
    rung: Notify,
    polling: AtomicBool,
    /// Threads that were asked for and have not begun.
    coming: AtomicU32,
    polled: AtomicU32,
    processed: AtomicU32,
    discarded: AtomicU32,
    done: AtomicU32,
    why: AtomicI32,
    /// Callbacks since the run was given up.
    given_up: AtomicBool,
    late: AtomicU32,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Run {
    /// Begins a run of a guest whose threads are loom's.
    fn begin(host: &Host, plan: Plan) -> (Arc<Run>, Arc<Guest>) {
        Self::begin_with(host, plan, None)
    }

    fn begin_with(host: &Host, plan: Plan, cache: Option<&Arc<Cache>>) -> (Arc<Run>, Arc<Guest>) {
        let run = Arc::new(Run {
            plan,
            work: Mark::new(0),
            own: UnsafeCell::new(()),
            valid: UnsafeCell::new(true),
            roused: AtomicBool::new(false),
            rung: Notify::new(),
            polling: AtomicBool::new(false),
            coming: AtomicU32::new(0),
            polled: AtomicU32::new(0),
            processed: AtomicU32::new(0),
            discarded: AtomicU32::new(0),
            done: AtomicU32::new(0),
            why: AtomicI32::new(0),
            given_up: AtomicBool::new(false),
            late: AtomicU32::new(0),
            threads: Mutex::default(),
        });
        let arg = Opaque(Arc::as_ptr(&run).cast_mut().cast());
        let starter = match cache {
            Some(cache) => {
                cache.retain();
                Starter::Cache(Arc::clone(cache))
            }
            // SAFETY: takes what such functions are called with.
            None => Starter::Host(unsafe { StartSoonFn::new(start_soon) }, arg),
        };
        // SAFETY: these functions take what such functions are called with.
        let calls = unsafe {
            Calls {
                guest: arg,
                prepare: PrepareFn::new(prepare),
                poll: PollFn::new(poll),
                process: ProcessFn::new(process),
                discard: Some(DiscardFn::new(discard)),
                interrupt: CallFn::new(interrupt),
                done: DoneFn::new(done),
            }
        };
        let guest = guest::prepare(&host.queue, starter, calls, None).expect("an open loop");
        guest.begin();
        (run, guest)
    }

    /// Gives the guest work, of which it learns by the interrupt alone. False if the run was over.
    fn give_work(&self, guest: &Guest) -> bool {
        self.work.fetch_add(1, Relaxed);
        in_time(guest.interrupt())
    }

    fn is_done(&self) -> bool {
        self.done.load(Relaxed) > 0
    }

    /// The run is over, and nothing of it is left; how it ended.
    fn end(&self, host: &Host) -> Status {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(self.done.load(Relaxed), 1);
        let [polled, processed, discarded] =
            [&self.polled, &self.processed, &self.discarded].map(|count| count.load(Relaxed));
        assert_eq!(polled, processed + discarded);
        // The turn of a run that was given up may be left.
        assert!(host.drain() <= 1);
        host.close();
        assert_eq!(self.done.load(Relaxed), 1);
        self.why.load(Relaxed)
    }

    /// A callback begins, of which there is one at a time.
    ///
    /// # Safety
    /// `guest` is a `Run` that lives until it is over and its threads are joined.
    unsafe fn call<'a>(guest: *mut c_void) -> &'a Run {
        // SAFETY: as promised.
        let run = unsafe { &*guest.cast::<Run>() };
        assert!(!run.is_done(), "a callback after done");
        run.own.with_mut(|_| ());
        if run.given_up.load(Relaxed) {
            run.late.fetch_add(1, Relaxed);
        }
        run
    }
}

/// False if it came too late.
fn in_time(result: error::Result<()>) -> bool {
    let refused = refusal(result);
    assert!([None, Some(error::TOO_LATE)].contains(&refused));
    refused.is_none()
}

unsafe extern "C-unwind" fn prepare(guest: *mut c_void, out_ns: *mut u64) -> Status {
    // SAFETY: each model keeps its runs until they are over and their threads joined.
    let run = unsafe { Run::call(guest) };
    let plan = run.plan;
    let ends = run.work.load(Relaxed) >= plan.work || run.processed.load(Relaxed) >= plan.enough;
    // SAFETY: valid during this call.
    unsafe { *out_ns = if ends { DONE } else { FOREVER } };
    error::OK
}

unsafe extern "C-unwind" fn poll(
    guest: *mut c_void,
    ns: u64,
    out_events: *mut *mut c_void,
) -> Status {
    // SAFETY: as in `prepare`.
    let run = unsafe { Run::call(guest) };
    if ns == 0 {
        return error::OK;
    }
    assert_eq!(ns, FOREVER);
    run.polling.store(true, Relaxed);
    loop {
        if run.polled.load(Relaxed) < run.plan.events {
            run.polled.fetch_add(1, Relaxed);
            // SAFETY: valid during this call.
            unsafe { *out_events = guest };
            break;
        }
        if run.roused.load(Relaxed) {
            break;
        }
        run.rung.wait();
    }
    run.roused.store(false, Relaxed);
    run.own.with_mut(|_| ());
    run.polling.store(false, Relaxed);
    error::OK
}

unsafe extern "C-unwind" fn process(guest: *mut c_void, events: *mut c_void) -> Status {
    // SAFETY: as in `prepare`.
    let run = unsafe { Run::call(guest) };
    if !events.is_null() {
        run.processed.fetch_add(1, Relaxed);
    }
    error::OK
}

unsafe extern "C-unwind" fn discard(guest: *mut c_void, events: *mut c_void) {
    // SAFETY: as in `prepare`.
    let run = unsafe { Run::call(guest) };
    assert!(!events.is_null());
    run.discarded.fetch_add(1, Relaxed);
}

unsafe extern "C-unwind" fn interrupt(guest: *mut c_void) {
    // SAFETY: as in `prepare`.
    let run = unsafe { &*guest.cast::<Run>() };
    run.roused.store(true, Relaxed);
    run.rung.notify();
    // SAFETY: written only when no interrupt runs, which loom checks.
    let valid = run.valid.with(|v| unsafe { *v });
    assert!(valid, "an interrupt after done");
}

unsafe extern "C-unwind" fn done(guest: *mut c_void, why: Status) {
    // SAFETY: as in `prepare`.
    let run = unsafe { Run::call(guest) };
    assert!(!run.polling.load(Relaxed), "done while a poll runs");
    // SAFETY: no interrupt runs any more, which loom checks.
    run.valid.with_mut(|v| unsafe { *v = false });
    run.why.store(why, Relaxed);
    run.done.fetch_add(1, Relaxed);
}

unsafe extern "C-unwind" fn start_soon(
    guest: *mut c_void,
    run_fn: Option<RawJobFn>,
    deliver_fn: Option<RawDeliverFn>,
    arg: *mut c_void,
    _name: *const c_char,
) -> Status {
    // SAFETY: as in `prepare`.
    let run = unsafe { Run::call(guest) };
    if run.plan.start != error::OK {
        return run.plan.start;
    }
    assert_eq!(run.coming.fetch_add(1, Relaxed), 0, "a thread too many");
    let (arg, guest) = (Opaque(arg), Opaque(guest));
    let thread = thread::spawn(move || {
        let (arg, guest) = (arg, guest);
        // SAFETY: as in `prepare`.
        let run = unsafe { &*guest.0.cast::<Run>() };
        run.coming.fetch_sub(1, Relaxed);
        let (run_fn, deliver_fn) = (run_fn.unwrap(), deliver_fn.unwrap());
        let mut value = std::ptr::null_mut();
        // SAFETY: what was given to be called so, on a thread.
        let code = unsafe { run_fn(arg.0, &mut value) };
        let outcome = Outcome {
            status: error::OK,
            code,
            value,
        };
        // SAFETY: as above, after that.
        unsafe { deliver_fn(arg.0, &outcome) };
    });
    run.threads.lock().unwrap().push(thread);
    error::OK
}

/// Work that was there before an interrupt is seen by a `prepare`, wherever the run is: no poll sleeps through it.
#[test]
fn interrupt_against_poll() {
    // Whether the run was over before the interrupt came.
    explore_outcomes(3, [false, true], || {
        let host = Host::new();
        let (run, guest) = Run::begin(&host, Plan { work: 1, ..IDLE });
        let other = thread::spawn({
            let (run, guest) = (Arc::clone(&run), Arc::clone(&guest));
            move || run.give_work(&guest)
        });
        host.answer_until(0, || run.is_done());
        let in_time = other.join().unwrap();
        assert_eq!(run.end(&host), error::OK);
        in_time
    });
}

/// The same with the threads of a cache.
#[test]
fn interrupt_against_poll_on_a_cache() {
    explore(2, || {
        let (host, cache) = (Host::new(), cache(Idle::Stays, 0));
        let plan = Plan { work: 1, ..IDLE };
        let (run, guest) = Run::begin_with(&host, plan, Some(&cache));
        let other = thread::spawn({
            let (run, guest) = (Arc::clone(&run), Arc::clone(&guest));
            move || run.give_work(&guest)
        });
        host.answer_until(0, || run.is_done());
        other.join().unwrap();
        assert_eq!(run.end(&host), error::OK);
        finish(&cache);
    });
}

/// The second interrupt may find the first one on its way; neither is lost.
#[test]
fn two_interrupts_against_poll() {
    explore(2, || {
        let host = Host::new();
        let (run, guest) = Run::begin(&host, Plan { work: 2, ..IDLE });
        host.answer(0);
        let other = thread::spawn({
            let (run, guest) = (Arc::clone(&run), Arc::clone(&guest));
            move || run.give_work(&guest)
        });
        assert!(run.give_work(&guest));
        host.answer_until(0, || run.is_done());
        other.join().unwrap();
        assert_eq!(run.end(&host), error::OK);
    });
}

/// An interrupt that finds the poll returning, or the run over, is not under way when `done` is called.
#[test]
fn interrupt_against_done() {
    explore_outcomes(2, [false, true], || {
        let host = Host::new();
        let plan = Plan {
            enough: 1,
            events: 1,
            ..IDLE
        };
        let (run, guest) = Run::begin(&host, plan);
        let other = thread::spawn({
            let guest = Arc::clone(&guest);
            move || in_time(guest.interrupt())
        });
        host.answer_until(0, || run.is_done());
        let in_time = other.join().unwrap();
        assert_eq!(run.end(&host), error::OK);
        in_time
    });
}

/// A thread is refused as the guest is interrupted: then it runs on, or it ends; its work is seen, or was not promised to be.
#[test]
fn interrupt_against_refusal() {
    explore_outcomes(3, [error::OK, error::NOMEM], || {
        let host = Host::new();
        let plan = Plan {
            work: 1,
            start: error::NOMEM,
            ..IDLE
        };
        let (run, guest) = Run::begin(&host, plan);
        let other = thread::spawn({
            let (run, guest) = (Arc::clone(&run), Arc::clone(&guest));
            move || run.give_work(&guest)
        });
        host.answer_until(0, || run.is_done());
        other.join().unwrap();
        run.end(&host)
    });
}

/// Events that a poll brings as the run is stopped are processed or discarded.
#[test]
fn stop_against_deliver() {
    // Events processed, and discarded.
    explore_outcomes(2, [(0, 0), (0, 1), (1, 0)], || {
        let host = Host::new();
        let (run, guest) = Run::begin(&host, Plan { events: 1, ..IDLE });
        let other = thread::spawn({
            let guest = Arc::clone(&guest);
            move || assert!(in_time(guest.stop()))
        });
        host.answer_until(0, || run.is_done());
        other.join().unwrap();
        assert_eq!(run.end(&host), error::CANCELLED);
        (run.processed.load(Relaxed), run.discarded.load(Relaxed))
    });
}

/// Whoever comes too late to stop a run finds it over.
#[test]
fn stop_against_stop() {
    explore_outcomes(3, [false, true], || {
        let host = Host::new();
        let (run, guest) = Run::begin(&host, IDLE);
        host.answer(0);
        let other = thread::spawn({
            let guest = Arc::clone(&guest);
            move || in_time(guest.stop())
        });
        assert!(in_time(guest.stop()));
        host.answer_until(0, || run.is_done());
        let in_time = other.join().unwrap();
        assert_eq!(run.end(&host), error::CANCELLED);
        in_time
    });
}

/// A run that ends by itself as it is stopped ends once.
#[test]
fn stop_against_done() {
    let outcomes = [
        (false, error::OK),
        (true, error::OK),
        (true, error::CANCELLED),
    ];
    explore_outcomes(3, outcomes, || {
        let host = Host::new();
        let plan = Plan {
            enough: 1,
            events: 1,
            ..IDLE
        };
        let (run, guest) = Run::begin(&host, plan);
        let other = thread::spawn({
            let guest = Arc::clone(&guest);
            move || in_time(guest.stop())
        });
        host.answer_until(0, || run.is_done());
        let in_time = other.join().unwrap();
        (in_time, run.end(&host))
    });
}

/// The host's loop has died: the poll that it left behind is called back, or has returned by itself; either way nothing is lost or left.
fn abandoned_with(events: u32) {
    explore_outcomes(3, (0..=events).collect::<Vec<_>>(), move || {
        let host = Host::new();
        let (run, guest) = Run::begin(&host, Plan { events, ..IDLE });
        assert_eq!(host.drain(), 1);
        assert!(in_time(guest.abandon(FOREVER)));
        assert!(run.is_done());
        assert_eq!(run.end(&host), error::CLOSED);
        run.discarded.load(Relaxed)
    });
}

#[test]
fn abandon_against_poll() {
    abandoned_with(0);
}

#[test]
fn abandon_against_returning_poll() {
    abandoned_with(1);
}

/// The host's thread lives after all: its turn is over before `done` is called elsewhere, or it calls it itself.
#[test]
fn abandon_against_tick() {
    explore_outcomes(3, [(true, error::CLOSED), (false, error::OK)], || {
        let host = Host::new();
        let (run, guest) = Run::begin(&host, Plan { work: 0, ..IDLE });
        let other = thread::spawn({
            let guest = Arc::clone(&guest);
            move || in_time(guest.abandon(FOREVER))
        });
        host.drain();
        let in_time = other.join().unwrap();
        (in_time, run.end(&host))
    });
}

/// The same with a turn that has a thread poll.
#[test]
fn abandon_against_start() {
    explore(3, || {
        let host = Host::new();
        let (run, guest) = Run::begin(&host, IDLE);
        let other = thread::spawn({
            let guest = Arc::clone(&guest);
            move || assert!(in_time(guest.abandon(FOREVER)))
        });
        host.drain();
        other.join().unwrap();
        assert_eq!(run.end(&host), error::CLOSED);
    });
}

/// A run that could not be ended in time belongs to whoever gave it up: only the callback that held it up, or was about to begin, still runs.
#[test]
fn timed_out_abandon_against_tick() {
    explore_outcomes(3, [None, Some(error::TIMEDOUT)], || {
        let host = Host::new();
        let (run, guest) = Run::begin(&host, Plan { events: 1, ..IDLE });
        let other = thread::spawn({
            let (run, guest) = (Arc::clone(&run), Arc::clone(&guest));
            move || {
                let refused = refusal(guest.abandon(0));
                run.given_up.store(refused.is_some(), Relaxed);
                refused
            }
        });
        host.drain();
        let refused = other.join().unwrap();
        if refused.is_some() {
            assert!(run.late.load(Relaxed) <= 1, "more callbacks");
            assert!(in_time(guest.abandon(FOREVER)));
        }
        assert_eq!(run.end(&host), error::CLOSED);
        refused
    });
}

/// Two threads give the run up: one of them ends it.
#[test]
fn abandon_against_abandon() {
    explore_outcomes(2, [[false, true], [true, false]], || {
        let host = Host::new();
        let (run, guest) = Run::begin(&host, IDLE);
        assert_eq!(host.drain(), 1);
        let other = thread::spawn({
            let guest = Arc::clone(&guest);
            move || in_time(guest.abandon(FOREVER))
        });
        let here = in_time(guest.abandon(FOREVER));
        let in_time = [here, other.join().unwrap()];
        assert_eq!(run.end(&host), error::CLOSED);
        in_time
    });
}

/// An interrupt on its way holds up the end, which is somewhere else here.
#[test]
fn abandon_against_interrupt() {
    explore_outcomes(3, [false, true], || {
        let host = Host::new();
        let (run, guest) = Run::begin(&host, IDLE);
        assert_eq!(host.drain(), 1);
        let other = thread::spawn({
            let guest = Arc::clone(&guest);
            move || in_time(guest.interrupt())
        });
        assert!(in_time(guest.abandon(FOREVER)));
        let in_time = other.join().unwrap();
        assert_eq!(run.end(&host), error::CLOSED);
        in_time
    });
}
