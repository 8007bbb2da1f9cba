//! A worker's node: where it is handed its orders. Nodes are reused, and never given back to the system while the process
//! lives, since a late wake may still touch the word of a worker that has gone.

use super::callback::{Opaque, Outcome};
use super::guarded::Guarded;
use super::handoff::Handoff;
use super::idle::{Idle, Links};
use super::job::{Job, Order};
use super::sync::task::TaskId;
use super::worker::{CacheRef, Role, Worker};
use crate::sys::lock::{ForkReset, static_lock};
use crate::sys::sync::{AtomicU64, Ordering};
use crate::sys::thread::Start;
use crossbeam_utils::CachePadded;
use std::cell::Cell;
use std::ffi::c_void;

/// Where a worker is with its current job; decides what becomes of the job if a runtime ends the thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It can still be cancelled.
    Preparing,
    /// It has begun, and has not been delivered.
    Working,
    /// `deliver` has been called.
    Delivering,
    /// `arg_free` has been called, too.
    Freeing,
}

pub struct Node {
    pub handoff: CachePadded<Handoff<Order>>,
    pub links: Guarded<Links<Node>>,
    /// Where the cache's list of all workers has this one.
    pub index: Guarded<usize>,
    /// Jobs delivered by this worker.
    pub delivered: AtomicU64,
    /// Jobs with the usual needs that ran on this worker.
    pub usual_jobs: AtomicU64,
    /// What the new thread is told.
    pub start: Cell<Start>,
    pub worker: Worker,
    /// The job in hand; it lies in a slot of the hand-off.
    pub current: Cell<Option<&'static Job>>,
    /// The job after it has been taken from the queue, and is kept in the hand-off.
    pub has_next: Cell<bool>,
    pub stage: Cell<Stage>,
    /// The running job's task, if anybody has asked for it.
    pub task: Cell<TaskId>,
    /// That task exits just now.
    pub ending: Cell<bool>,
    /// Its exit has let a job in, which was left to this worker.
    pub has_queued: Cell<bool>,
    /// What it is delivered with, from `Stage::Delivering` on.
    pub outcome: Cell<Outcome>,
    /// The worker is off every list; only its thread goes on for a moment.
    pub struck_off: Cell<bool>,
    /// The worker put itself on the idle list and has not had an order since.
    pub lined_up: Cell<bool>,
    /// What the host's spawn function gave for this thread.
    pub host_handle: Guarded<Option<*mut c_void>>,
    /// Idle rounds in a row in which spinning was in vain.
    pub vain_spins: Cell<u32>,
}

// SAFETY: `handoff`, the counters and the guarded fields are made for sharing; `start` and the id and name in `worker` are
// written before the thread starts; every other field is touched by the worker's own thread only.
unsafe impl Sync for Node {}

impl Idle for Node {
    fn links(&self) -> &Guarded<Links<Node>> {
        &self.links
    }
}

struct Pool(Vec<&'static Node>);

impl ForkReset for Pool {
    fn reset_in_child(&mut self) {
        std::mem::forget(std::mem::take(&mut self.0));
    }
}

static_lock!(static POOL: Pool = Pool(Vec::new()));

impl Node {
    /// A node for a new worker of `cache`.
    pub fn take(cache: CacheRef) -> &'static Node {
        let spare = POOL.lock().0.pop();
        let node = spare.unwrap_or_else(|| Box::leak(Box::new(Node::new())));
        node.delivered.store(0, Ordering::Relaxed);
        node.usual_jobs.store(0, Ordering::Relaxed);
        node.current.set(None);
        node.has_next.set(false);
        node.stage.set(Stage::Preparing);
        node.task.set(TaskId::NONE);
        node.ending.set(false);
        node.has_queued.set(false);
        node.lined_up.set(false);
        node.struck_off.set(false);
        node.vain_spins.set(0);
        node.worker.prepare(cache);
        node.worker.node.set(Some(node));
        node
    }

    /// For the next worker. The caller, which ends, must not touch the node any more.
    pub fn give_back(&'static self) {
        let mut pool = POOL.lock();
        // Room for as many as there are is made by the thread that starts them; see `reserve`.
        pool.0.push(self);
    }

    /// Makes room in the pool for `workers` nodes, so that a worker that ends does not allocate.
    pub fn reserve(workers: usize) {
        let mut pool = POOL.lock();
        let have = pool.0.len();
        if pool.0.capacity() < workers + have {
            pool.0.reserve(workers + 64);
        }
    }

    fn new() -> Node {
        Node {
            handoff: CachePadded::new(Handoff::new()),
            links: Guarded::new(Links::new()),
            index: Guarded::new(usize::MAX),
            delivered: AtomicU64::new(0),
            usual_jobs: AtomicU64::new(0),
            start: Cell::new(Start {
                entry: super::life::entry,
                arg: Opaque::NULL.0,
            }),
            worker: Worker::new(Role::Cached),
            current: Cell::new(None),
            has_next: Cell::new(false),
            stage: Cell::new(Stage::Preparing),
            task: Cell::new(TaskId::NONE),
            ending: Cell::new(false),
            has_queued: Cell::new(false),
            outcome: Cell::new(Outcome::failed(0, 0)),
            struck_off: Cell::new(false),
            lined_up: Cell::new(false),
            host_handle: Guarded::new(None),
            vain_spins: Cell::new(0),
        }
    }

    /// One more job of this worker's own; only its thread writes, so no read-modify-write is needed.
    #[inline]
    pub fn count(counter: &AtomicU64) {
        // Release: who learns of the delivery from `deliver` finds it counted.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}
