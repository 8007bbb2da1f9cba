//! The thread cache: its options, its state under one lock, and what can be asked of it.
//!
//! What the lock protects, it protects for every rule at once: who is idle, which jobs wait, which hooks there are and who has
//! them started. No host code ever runs while it is held.

use super::callback::{JoinFn, Opaque, SpawnFn};
use super::ended::Ended;
use super::error::{self, Error};
use super::hook::{self, Hook};
use super::idle::IdleList;
use super::job::Order;
use super::limited::Limited;
use super::name::Name;
use super::node::Node;
use super::queue::JobQueue;
use super::spin::SpinPolicy;
use crate::sys::clock::{Deadline, NO_WAIT};
use crate::sys::futex;
use crate::sys::lock::{ForkLock, ForkReset, Guard, static_lock};
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64 as Id, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

pub(crate) const DEFAULT_IDLE_TIMEOUT_NS: u64 = 10_000_000_000;
const LONGEST_PREFIX: usize = 24;

/// A host's own way to start threads.
#[derive(Clone, Copy)]
pub struct Spawner {
    pub spawn: SpawnFn,
    pub join: Option<JoinFn>,
    pub data: Opaque,
}

pub struct Options {
    /// Prefix of the workers' names.
    pub name: String,
    pub idle_timeout_ns: u64,
    /// 0: the C library's default.
    pub stack_size: usize,
    /// 0: no bound.
    pub max_workers: u32,
    /// Nanoseconds; 0: no spinning.
    pub spin_ns: u64,
    pub spawner: Option<Spawner>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "selv".into(),
            idle_timeout_ns: DEFAULT_IDLE_TIMEOUT_NS,
            stack_size: 0,
            max_workers: 0,
            spin_ns: super::spin::DEFAULT_NS,
            spawner: None,
        }
    }
}

/// What has happened, for the statistics.
#[derive(Default, Clone, Copy)]
pub struct Counts {
    pub workers: u64,
    pub started: u64,
    pub exited: u64,
    pub accepted: u64,
    /// Of workers that have ended, and by threads that are no workers.
    pub delivered: u64,
    pub hook_failures: u64,
    pub spawn_failures: u64,
    pub peak_workers: u64,
    pub lost: u64,
    pub entered: u64,
}

pub struct State {
    pub idle: IdleList<Node>,
    pub queue: JobQueue,
    /// Jobs that wait for a token of their limiter, by the number of their task.
    pub limited: HashMap<u64, Limited>,
    /// Of those, how many are just on their way to the queue.
    pub in_transit: u32,
    pub all: Vec<&'static Node>,
    /// In order of registration; those whose removal has begun are gone. The list is replaced, never changed: see
    /// `reset_in_child`.
    pub hooks: Arc<Vec<Arc<Hook>>>,
    /// The name of the last one removed that jobs needed by default.
    pub last_removed: String,
    /// Threads whose work is over and that wait to be joined.
    pub ended: Vec<Ended>,
    /// Of those, how many a thread is joining right now.
    pub joining: u32,
    pub closing: bool,
    /// A shutdown cancels whatever has not begun.
    pub cancelling: bool,
    /// Threads that sleep until something changes.
    waiters: u32,
    pub counts: Counts,
}

impl State {
    fn new() -> State {
        State {
            idle: IdleList::new(),
            queue: JobQueue::default(),
            limited: HashMap::new(),
            in_transit: 0,
            all: Vec::new(),
            hooks: Arc::default(),
            last_removed: String::new(),
            ended: Vec::new(),
            joining: 0,
            closing: false,
            cancelling: false,
            waiters: 0,
            counts: Counts::default(),
        }
    }
}

impl ForkReset for State {
    fn reset_in_child(&mut self) {
        // The parent's lists may have been caught half-changed, and are forgotten. Only the hooks are looked at again, which
        // are behind one pointer to a list that does not change; and only those that the host said are good in a child.
        let old = std::mem::ManuallyDrop::new(std::mem::replace(self, State::new()));
        self.closing = old.closing;
        let mut kept = Vec::new();
        for hook in old.hooks.iter().filter(|h| h.is(hook::FORK_KEEP)) {
            if hook.phase(self) == hook::Phase::Active {
                kept.push(Arc::clone(hook));
            }
        }
        self.hooks = Arc::new(kept);
    }
}

/// A thread cache. Shared: `selv_cache_retain` and `selv_cache_release`.
pub struct Cache {
    state: CachePadded<ForkLock<State>>,
    /// Grows with every change of the set of hooks, under the lock; workers compare it with no lock.
    hook_generation: AtomicU64,
    /// The hook generation of the last removal of a hook that jobs need by default.
    last_removal: AtomicU64,
    /// A futex word that grows, under the lock, when something changes that a thread waits for.
    changes: AtomicU32,
    /// References that the host holds.
    handles: AtomicUsize,
    idle_timeout_ns: Id,
    pub is_default: bool,
    pub options: Options,
    pub spin: SpinPolicy,
}

// SAFETY: everything that changes is atomic or below the lock; nodes and hooks are made for sharing.
unsafe impl Sync for Cache {}
// SAFETY: as above.
unsafe impl Send for Cache {}

pub fn next_worker_id() -> u64 {
    static NEXT: Id = Id::new(1);
    NEXT.fetch_add(1, Relaxed)
}

impl Cache {
    pub fn new(options: Options) -> Arc<Cache> {
        Self::build(options, false)
    }

    fn build(options: Options, is_default: bool) -> Arc<Cache> {
        super::entered::watch_forks();
        Arc::new(Cache {
            state: CachePadded::new(ForkLock::new(State::new())),
            hook_generation: AtomicU64::new(1),
            last_removal: AtomicU64::new(0),
            changes: AtomicU32::new(0),
            handles: AtomicUsize::new(1),
            idle_timeout_ns: Id::new(options.idle_timeout_ns),
            is_default,
            spin: SpinPolicy::new(options.spin_ns),
            options,
        })
    }

    /// The process's shared cache, made at the first call; one more handle to it.
    pub fn default_cache() -> Arc<Cache> {
        struct Shared(Option<Arc<Cache>>);
        impl ForkReset for Shared {
            // One word, written at once: whole in the child, where the cache itself starts anew.
            fn reset_in_child(&mut self) {}
        }
        static_lock!(static SHARED: Shared = Shared(None));
        let mut shared = SHARED.lock();
        let cache = shared
            .0
            .get_or_insert_with(|| Self::build(Options::default(), true));
        cache.retain();
        Arc::clone(cache)
    }

    #[inline]
    pub fn lock(&self) -> Guard<'_, State> {
        self.state.lock()
    }

    #[inline]
    pub fn hook_generation(&self) -> u64 {
        // Acquire pairs with the Release in `bump_hook_generation`: who sees the number finds the hooks, too.
        self.hook_generation.load(Ordering::Acquire)
    }

    /// Whether a hook that every job needed was removed after `generation`.
    #[inline]
    pub fn has_removed_since(&self, generation: u64) -> bool {
        // Acquire pairs with the Release in `note_removal`.
        generation < self.last_removal.load(Ordering::Acquire)
    }

    /// A hook's removal begins.
    pub fn note_removal(&self, state: &mut State, hook: &Hook) {
        self.bump_hook_generation(state);
        if !hook.is(hook::LAZY) && !hook.is(hook::OPTIONAL) {
            state.last_removed = hook.name.clone();
            self.last_removal.store(
                self.hook_generation.load(Ordering::Relaxed),
                Ordering::Release,
            );
        }
    }

    pub fn bump_hook_generation(&self, _held: &mut State) {
        self.hook_generation.fetch_add(1, Ordering::Release);
    }

    pub fn worker_name(&self, id: u64) -> Name {
        let prefix = &self.options.name;
        let prefix = &prefix[..prefix.floor_char_boundary(LONGEST_PREFIX)];
        let mut text = [0u8; Name::MAX];
        let mut rest = &mut text[..];
        // Written in place: a worker's start must not allocate.
        let _ = std::io::Write::write_fmt(&mut rest, format_args!("{prefix}-{id}"));
        let left = rest.len();
        let len = Name::MAX - left;
        Name::new(std::str::from_utf8(&text[..len]).unwrap_or(""))
    }

    pub fn threads_can_be_joined(&self) -> bool {
        self.options.spawner.is_none_or(|s| s.join.is_some())
    }

    pub fn retain(&self) {
        self.handles.fetch_add(1, Relaxed);
    }

    /// True if this was the host's last handle.
    pub fn release(&self) -> bool {
        // AcqRel: what other handles did comes before what the last one causes.
        self.handles
            .fetch_sub(1, std::sync::atomic::Ordering::AcqRel)
            == 1
    }

    pub fn is_abandoned(&self) -> bool {
        self.handles.load(Relaxed) == 0
    }

    pub fn idle_timeout_ns(&self) -> u64 {
        // SeqCst, as the store below: see `Handoff::park`.
        self.idle_timeout_ns.load(SeqCst)
    }

    pub fn set_idle_timeout_ns(&self, ns: u64) {
        let ns = if ns == 0 { NO_WAIT } else { ns };
        self.idle_timeout_ns.store(ns, SeqCst);
        self.lock().idle.for_each(|node| node.handoff.nudge());
    }

    /// Wakes those who wait in [`wait_for_change`](Self::wait_for_change).
    pub fn note_change(&self, state: &mut State) {
        if state.waiters > 0 {
            self.changes.fetch_add(1, Ordering::Relaxed);
            futex::wake(&self.changes, futex::ALL);
        }
    }

    /// Sleeps until something has changed since `state` was locked, or the deadline; false if that has passed.
    pub fn wait_for_change(&self, mut state: Guard<'_, State>, deadline: Deadline) -> bool {
        // Changes are noted under the lock: none can come between our look at the state and this one.
        let seen = self.changes.load(Ordering::Relaxed);
        state.waiters += 1;
        drop(state);
        if !deadline.has_passed() {
            futex::wait(&self.changes, seen, deadline);
        }
        let mut state = self.lock();
        // In a fork child the count started anew, but then this thread was not here to be copied.
        state.waiters = state.waiters.saturating_sub(1);
        !deadline.has_passed()
    }

    /// Has the idle workers that `which` names see to their hooks.
    pub fn send_idle_to_look(&self, mut state: Guard<'_, State>, which: impl Fn(u64) -> bool) {
        let mut woken = Vec::with_capacity(state.idle.len());
        state.idle.for_each(|node| {
            if which(node.worker.id.get()) {
                woken.push(node);
            }
        });
        for node in &woken {
            state.idle.remove(node);
        }
        drop(state);
        // Oldest first, so that they line up again in the order that they had.
        for node in woken.into_iter().rev() {
            node.handoff.give(|| Order::Look);
        }
    }

    #[cold]
    pub fn closed_error(&self) -> Error {
        Error::new(
            error::CLOSED,
            format!("cache '{}' is shut down", self.options.name),
        )
    }
}

impl State {
    /// Whether jobs have been accepted that no worker has.
    pub fn has_waiting_jobs(&self) -> bool {
        self.queue.len() > 0 || !self.limited.is_empty() || self.in_transit > 0
    }
}

/// The statistics of a cache, at one moment.
pub struct Stats {
    pub counts: Counts,
    pub idle: u64,
    pub delivered: u64,
    pub queued: u64,
}

impl Cache {
    pub fn stats(&self) -> Stats {
        let state = self.lock();
        let by_living: u64 = state
            .all
            .iter()
            .map(|n| n.delivered.load(Ordering::Acquire))
            .sum();
        Stats {
            counts: state.counts,
            idle: state.idle.len() as u64,
            delivered: state.counts.delivered + by_living,
            queued: (state.queue.len() + state.limited.len()) as u64,
        }
    }
}
