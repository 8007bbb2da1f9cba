//! A task's slot: what it holds and waits for.
//!
//! It is under the slot's own lock, which is taken inside the locks of objects, and inside which only an operation's is taken.

use super::lines::Waiting;
use super::operation::OpId;
use super::registry::Place;
use super::task::{Kind, TaskId};
use super::wait::{Object, Registered};
use crate::core::name::Name;
use crate::sys::lock::{ForkLock, ForkReset};
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::thread;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What happens to a task's slot under its lock.
pub struct Info {
    pub(super) generation: u64,
    /// The slot's latest task, which may have exited.
    pub(super) latest: TaskId,
    pub(super) kind: Kind,
    pub(super) name: Name,
    /// What it waits for.
    pub waiting: BTreeMap<u64, Waiting>,
    /// Operations that were completed, and whose callback has not begun.
    pub unconsumed: BTreeSet<OpId>,
    /// Where limiters are registered that it has tokens of, and lots that it is a breaker of.
    pub ties: Vec<Place>,
    /// Names of what it waited for, where somebody found it gone before its own exit came by.
    pub cancelled: Vec<String>,
    /// Somebody interrupted the task when it was not blocked.
    pub(super) interrupted: bool,
}

/// Made with the slot's first task, so that a slot that was never used is all zeros.
pub(super) struct LazyInfo(pub(super) Option<Box<Info>>);

impl ForkReset for LazyInfo {
    fn reset_in_child(&mut self) {
        let Some(info) = &mut self.0 else { return };
        // Nobody waits here for what the parent waits for.
        std::mem::forget(std::mem::take(&mut info.waiting));
        std::mem::forget(std::mem::take(&mut info.unconsumed));
        std::mem::forget(std::mem::take(&mut info.ties));
        std::mem::forget(std::mem::take(&mut info.cancelled));
        info.interrupted = false;
    }
    fn keep_in_child(&mut self) {
        let Some(info) = &mut self.0 else { return };
        info.waiting.clear();
        info.unconsumed.clear();
        info.interrupted = false;
    }
}

impl LazyInfo {
    pub(super) fn get(&mut self) -> &mut Info {
        self.0.get_or_insert_with(|| {
            Box::new(Info {
                generation: 0,
                latest: TaskId::NONE,
                kind: Kind::Host,
                name: Name::NONE,
                waiting: BTreeMap::new(),
                unconsumed: BTreeSet::new(),
                ties: Vec::new(),
                cancelled: Vec::new(),
                interrupted: false,
            })
        })
    }
}

/// A task's place in the table. Its first words are written by the task's own calls; so each slot has a cache line.
#[repr(align(64))]
pub struct Slot {
    pub(super) id: AtomicU64,
    /// Locks that the task holds: the sum of what its own calls changed, which only they write, and of what other threads
    /// handed to it.
    pub(super) held_own: AtomicU64,
    pub(super) held_given: AtomicU64,
    /// The thread that made the task, or entered it last; decides which process it is in after a fork.
    pub(super) thread: AtomicU64,
    /// How many things it waits for, for a look with no lock.
    pub(super) waits: AtomicU32,
    /// Whether it has ties.
    pub(super) tied: AtomicU32,
    pub(super) info: ForkLock<LazyInfo>,
}

/// A slot that was never used: all zeros, so that the static ones take no memory. (A function could not be `const` in the models.)
macro_rules! new_slot {
    () => {
        $crate::core::sync::slot::Slot {
            id: AtomicU64::new(0),
            held_own: AtomicU64::new(0),
            held_given: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            waits: AtomicU32::new(0),
            tied: AtomicU32::new(0),
            info: ForkLock::new($crate::core::sync::slot::LazyInfo(None)),
        }
    };
}

pub(super) use new_slot;

impl Default for Slot {
    fn default() -> Slot {
        new_slot!()
    }
}

/// Of two tasks that begin to wait for each other, one sees the other.
const WAITS_ORDER: Ordering = match cfg!(selv_mutant = "relaxed_waits") {
    true => Ordering::Relaxed,
    false => Ordering::SeqCst,
};

impl Slot {
    /// On the task's own behalf: it has one lock more.
    #[inline]
    pub fn took_lock(&self) {
        let held = self.held_own.load(Ordering::Relaxed);
        self.held_own.store(held.wrapping_add(1), Ordering::Relaxed);
    }

    /// On the task's own behalf: it has one lock less.
    #[inline]
    pub fn dropped_lock(&self) {
        let held = self.held_own.load(Ordering::Relaxed);
        self.held_own.store(held.wrapping_sub(1), Ordering::Relaxed);
    }

    /// Another thread has given the task a lock.
    pub fn given_lock(&self) {
        self.held_given.fetch_add(1, Ordering::Relaxed);
    }

    /// Another thread has taken the task's lock away.
    pub fn robbed_of_lock(&self) {
        self.held_given.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether it holds a lock.
    pub fn holds_a_lock(&self) -> bool {
        let locks = self
            .held_own
            .load(Ordering::Relaxed)
            .wrapping_add(self.held_given.load(Ordering::Relaxed));
        locks != 0
    }

    /// Whether it has a limiter's token, or is a breaker of a parking lot.
    pub fn has_ties(&self) -> bool {
        self.tied.load(Ordering::Relaxed) != 0
    }

    /// Under the object's lock: the task's exit is to come by there. False if the task has exited.
    pub fn tie(&self, task: TaskId, place: Place) -> bool {
        self.with_info(|info| {
            // Its exit takes the number away first, and then comes to the ties, under this lock.
            let lives = self.id.load(Ordering::Acquire) == task.0;
            if lives {
                info.ties.push(place);
                self.tied.store(1, Ordering::Relaxed);
            }
            lives
        })
    }

    pub fn note_cancelled(&self, name: &str) {
        self.with_info(|info| info.cancelled.push(name.to_owned()));
    }

    pub fn untie(&self, place: Place) {
        self.with_info(|info| {
            if let Some(at) = info.ties.iter().position(|&p| p == place) {
                info.ties.swap_remove(at);
            }
            self.tied
                .store(u32::from(!info.ties.is_empty()), Ordering::Relaxed);
        });
    }

    pub fn is_waiting(&self) -> bool {
        self.waits.load(WAITS_ORDER) != 0
    }

    /// Something with no lock to say is done to what the slot knows of its task.
    pub fn with_info<R>(&self, f: impl FnOnce(&mut Info) -> R) -> R {
        f(self.info.lock().get())
    }

    /// Notes what the task waits for.
    pub fn begin_wait(&self, task: TaskId, waiting: Waiting, blocks: bool) -> Registered {
        let mut lazy = self.info.lock();
        let info = lazy.get();
        // Its exit takes the number away first, and then comes to the waits, under this lock.
        if self.id.load(Ordering::Acquire) != task.0 {
            return Registered::Gone;
        }
        info.waiting.insert(waiting.key.wait, waiting);
        self.waits.store(info.waiting.len() as u32, WAITS_ORDER);
        match blocks && std::mem::take(&mut info.interrupted) {
            true => Registered::Interrupted,
            false => Registered::Fine,
        }
    }

    /// The wait is over. Gives the one that is left, if there were two.
    pub fn end_wait(&self, wait: u64, unconsumed: Option<OpId>) -> Option<Waiting> {
        let mut lazy = self.info.lock();
        let info = lazy.get();
        let over = info.waiting.remove(&wait)?;
        self.waits.store(info.waiting.len() as u32, WAITS_ORDER);
        info.unconsumed.extend(unconsumed);
        let left = match info.waiting.len() {
            1 => info.waiting.values().next().cloned(),
            _ => None,
        };
        drop(lazy);
        // The reference to the object may be the last.
        drop(over);
        left
    }

    pub fn now_waits_for(&self, wait: u64, object: &Arc<dyn Object>) {
        let mut lazy = self.info.lock();
        let info = lazy.get();
        if let Some(waiting) = info.waiting.get_mut(&wait) {
            let before = std::mem::replace(&mut waiting.object, Arc::clone(object));
            drop(lazy);
            drop(before);
        }
    }

    pub fn consumed(&self, op: OpId) {
        self.with_info(|info| info.unconsumed.remove(&op));
    }

    /// What the task waits for, if that is one thing.
    pub fn sole_wait(&self) -> Option<Waiting> {
        if !self.is_waiting() {
            return None;
        }
        let mut lazy = self.info.lock();
        let info = lazy.get();
        match info.waiting.len() {
            1 => info.waiting.values().next().cloned(),
            _ => None,
        }
    }

    /// The blocking wait to interrupt; if there is none, the next one is going to be.
    pub fn interrupt(&self, task: TaskId) -> Option<Waiting> {
        let mut lazy = self.info.lock();
        let info = lazy.get();
        let blocked = info.waiting.values().find(|w| w.op.is_none()).cloned();
        // The slot may have come to another task meanwhile.
        if info.latest != task {
            return None;
        }
        info.interrupted = blocked.is_none();
        blocked
    }

    /// The wait that was to be interrupted was over already: the next one is.
    pub fn keep_interrupt(&self, task: TaskId) {
        self.with_info(|info| info.interrupted |= info.latest == task);
    }

    /// The thread has made the task its own.
    pub fn entered_here(&self) {
        self.thread.store(thread::token(), Ordering::Relaxed);
    }
}
