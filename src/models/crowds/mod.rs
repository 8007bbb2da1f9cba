//! Four to eight tasks at a time. Their interleavings are too many to run them all: shuttle draws some of them, half by PCT, which
//! lets one task run until another is to go first, a few times in a run, and half with a new choice at every step.
//!
//! loom's models see each order of two or three threads, and what a weak memory makes of it. These see one order of memory only, but
//! lines with several in them: what one leaves to the next, and that one to another.
//!
//! The seed is always the same, so that a model fails always or never. SELV_TEST_SCALE multiplies the number of schedules,
//! SHUTTLE_RANDOM_SEED draws others, and SELV_TEST_SCHEDULE runs the one that a failed model has printed.

mod cache;
mod channels;
mod conditions;
mod gates;
mod rings;
mod shares;

use super::tasks::*;
use super::*;
use crate::core::callback::{CompleteFn, Completed};
use crate::core::sync::operation::{Completion, OpId};
use crate::core::sync::task::TaskId;
use crate::sys::sync::model::thread;
use crate::sys::sync::{AtomicU32 as Shared32, Ordering::SeqCst};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};

/// By each of the two ways.
const SCHEDULES: usize = 600;
/// How many changes of who goes first PCT makes in a run, and one.
const DEPTH: usize = 4;
const SEED: u64 = 0x5e17_ed6e;
/// A callback may be called deep inside a call, and formats messages.
const STACK: usize = 1 << 17;

/// Runs `model` in some interleavings, always the same.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut config = shuttle::Config::new();
    config.stack_size = STACK;
    config.silence_warnings = true;
    if let Ok(schedule) = std::env::var("SELV_TEST_SCHEDULE") {
        let replay = ReplayScheduler::new_from_encoded(&schedule);
        shuttle::Runner::new(replay, config).run(model);
        return;
    }
    let scale = std::env::var("SELV_TEST_SCALE").map_or(1, |s| s.parse().expect("a number"));
    let model = Arc::new(model);
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let model = Arc::clone(&model);
        shuttle::Runner::new(scheduler, config.clone()).run(move || model());
    };
    let schedules = SCHEDULES * scale;
    run(Box::new(PctScheduler::new_from_seed(
        SEED, DEPTH, schedules,
    )));
    run(Box::new(RandomScheduler::new_from_seed(SEED, schedules)));
}

/// How somebody waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    /// A blocked thread, until it gets what it wants.
    Patient,
    /// A blocked thread whose time is soon up.
    Hasty,
    /// An operation.
    Kept,
    /// An operation that a thread cancels.
    Cancelled,
    /// An operation that a thread abandons.
    Abandoned,
    /// An operation whose task exits.
    Exits,
}

use Manner::*;

impl Manner {
    fn is_operation(self) -> bool {
        !matches!(self, Patient | Hasty)
    }

    /// Whether a wait of this manner may end so; `news` may come to everybody.
    fn check(self, end: Option<Status>, news: &[Status]) {
        let own = match self {
            Patient | Kept => &[Some(error::OK)][..],
            Hasty => &[Some(error::OK), Some(error::TIMEDOUT)],
            Cancelled | Exits => &[Some(error::OK), Some(error::CANCELLED)],
            Abandoned => &[Some(error::OK), None],
        };
        assert!(
            own.contains(&end) || is_among(news, end),
            "{self:?} ended with {end:?}"
        );
    }
}

fn is_among(news: &[Status], end: Option<Status>) -> bool {
    end.is_some_and(|status| news.contains(&status))
}

/// What happens when an operation's callback is called.
type Then = Box<dyn Fn(&Completed) + Send + Sync>;

/// An operation in line, and what it was told.
struct Waiter {
    task: TaskId,
    manner: Manner,
    op: OpId,
    /// The words are plain, unseen by shuttle: they are no step of a schedule.
    calls: AtomicU32,
    status: AtomicI32,
    /// It was cancelled or abandoned in time.
    gave_up: AtomicU32,
    then: Then,
}

impl Waiter {
    /// Begins an operation, and gives it to `submit`, which lines it up. `then` is called in its callback.
    fn line_up(
        task: TaskId,
        manner: Manner,
        then: impl Fn(&Completed) + Send + Sync + 'static,
        submit: impl FnOnce(OpId),
    ) -> Arc<Waiter> {
        let waiter = Arc::new_cyclic(|waiter: &std::sync::Weak<Waiter>| {
            let completion = Completion::Host {
                on: None,
                // SAFETY: takes what such functions are called with.
                call: unsafe { CompleteFn::new(told) },
                arg: Opaque(waiter.as_ptr().cast_mut().cast()),
            };
            Waiter {
                task,
                manner,
                op: operation::begin(task, completion).expect("a model has few operations"),
                calls: AtomicU32::new(0),
                status: AtomicI32::new(error::OK),
                gave_up: AtomicU32::new(0),
                then: Box::new(then),
            }
        });
        submit(waiter.op);
        waiter
    }

    /// Does to the operation what its manner says.
    fn act(&self) {
        let gave_up = match self.manner {
            Cancelled => cancel(self.op),
            Abandoned => abandon(self.op),
            Exits => {
                exit(self.task);
                false
            }
            _ => false,
        };
        self.gave_up.store(u32::from(gave_up), Relaxed);
    }

    /// When all threads have ended: the operation ended in one of the ways of its manner, and as [`act`](Self::act) was told.
    fn check(&self, news: &[Status]) {
        let (end, gave_up) = (self.end(), self.gave_up.load(Relaxed) != 0);
        self.manner.check(end, news);
        match self.manner {
            Cancelled if gave_up => assert!(!is_among(&[error::OK, error::CLOSED], end)),
            Cancelled => assert_ne!(end, Some(error::CANCELLED)),
            Abandoned => assert_eq!(gave_up, end.is_none()),
            _ => {}
        }
    }

    /// What it was told, if anything; it was at most once.
    fn end(&self) -> Option<Status> {
        let calls = self.calls.load(Relaxed);
        assert!(calls <= 1, "{calls} callbacks for one operation");
        (calls == 1).then(|| self.status.load(Relaxed))
    }
}

unsafe extern "C-unwind" fn told(waiter: *mut c_void, c: *const Completed) {
    // SAFETY: each model keeps its waiters until all threads are joined; `c` lives for this call.
    let (waiter, c) = unsafe { (&*waiter.cast::<Waiter>(), &*c) };
    waiter.status.store(c.status, Relaxed);
    waiter.calls.fetch_add(1, Relaxed);
    (waiter.then)(c);
}

/// A thread for each of those that do something to their operation.
fn acting(waiters: &[Arc<Waiter>]) -> Vec<JoinHandle<()>> {
    let acting = waiters.iter().filter(|w| w.manner != Kept);
    acting
        .map(|waiter| {
            let waiter = Arc::clone(waiter);
            thread::spawn(move || waiter.act())
        })
        .collect()
}

fn join_all(threads: Vec<JoinHandle<()>>) {
    threads.into_iter().for_each(|t| t.join().unwrap());
}
