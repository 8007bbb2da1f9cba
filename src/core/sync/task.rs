//! Tasks: whatever the host says owns things. A task is a number, which is never used again, and a slot, which is.
//!
//! Invariant: a slot's `id` is its task's number from `begin` until that task's exit takes it away, by one compare-exchange; so a
//! task exits once, and a number that is not in its slot any more belongs to a task that has exited.
//! What a task waits for is in its slot, under the slot's lock, which is taken inside the locks of objects, and alone.

use super::operation::OpId;
use super::registry::Place;
use super::wait::{Object, Registered, Waiting};
use crate::core::error::{self, Error, Result};
use crate::core::name::Name;
use crate::sys::fork;
use crate::sys::lock::{ForkLock, ForkReset, static_lock};
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::table::{Table, static_table};
use crate::sys::thread;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as UsedCount, Ordering::Relaxed};

const SLOT_BITS: u32 = 24;
/// A number leaves two bits of a word for flags, and never comes to an end: 2^38 tasks in each of 2^24 slots.
const ID_BITS: u32 = 62;

/// In a fork child, in the slot of a task of the parent process: a number that is no task's, since as one it would be in
/// another slot.
fn forked(id: u64) -> u64 {
    !id
}

/// A task's number. 0 is none.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TaskId(pub u64);

impl TaskId {
    pub(crate) const NONE: TaskId = TaskId(0);

    fn slot_index(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// What a task is, which decides who ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Made by the host, which ends it.
    Host,
    /// A thread's own; it exits with the thread.
    Thread,
    /// A job's; it exits with the job.
    Job,
}

impl Kind {
    pub fn noun(self) -> &'static str {
        match self {
            Kind::Host => "task",
            Kind::Thread => "thread",
            Kind::Job => "job",
        }
    }
}

/// What happens to a task's slot under its lock.
pub struct Info {
    generation: u64,
    /// The slot's latest task, which may have exited.
    latest: TaskId,
    kind: Kind,
    name: Name,
    /// What it waits for.
    pub waiting: BTreeMap<u64, Waiting>,
    /// Operations that were completed, and whose callback has not begun.
    pub unconsumed: BTreeSet<OpId>,
    /// Where limiters are registered that it has tokens of, and lots that it is a breaker of.
    pub ties: Vec<Place>,
    /// Somebody interrupted the task when it was not blocked.
    interrupted: bool,
}

/// Made with the slot's first task, so that a slot that was never used is all zeros.
struct LazyInfo(Option<Box<Info>>);

impl ForkReset for LazyInfo {
    fn reset_in_child(&mut self) {
        let Some(info) = &mut self.0 else { return };
        // Nobody waits here for what the parent waits for.
        std::mem::forget(std::mem::take(&mut info.waiting));
        std::mem::forget(std::mem::take(&mut info.unconsumed));
        std::mem::forget(std::mem::take(&mut info.ties));
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
    fn get(&mut self) -> &mut Info {
        self.0.get_or_insert_with(|| {
            Box::new(Info {
                generation: 0,
                latest: TaskId::NONE,
                kind: Kind::Host,
                name: Name::NONE,
                waiting: BTreeMap::new(),
                unconsumed: BTreeSet::new(),
                ties: Vec::new(),
                interrupted: false,
            })
        })
    }
}

/// A task's place in the table. Its first words are written by the task's own calls; so each slot has a cache line.
#[repr(align(64))]
pub struct Slot {
    id: AtomicU64,
    /// Locks that the task holds: the sum of what its own calls changed, which only they write, and of what other threads
    /// handed to it.
    held_own: AtomicU64,
    held_given: AtomicU64,
    /// The thread that made the task, or entered it last; decides which process it is in after a fork.
    thread: AtomicU64,
    /// How many things it waits for, for a look with no lock.
    waits: AtomicU32,
    /// Whether it has ties.
    tied: AtomicU32,
    info: ForkLock<LazyInfo>,
}

/// A slot that was never used: all zeros, so that the static ones take no memory. (A function could not be `const` in the models.)
macro_rules! new_slot {
    () => {
        Slot {
            id: AtomicU64::new(0),
            held_own: AtomicU64::new(0),
            held_given: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            waits: AtomicU32::new(0),
            tied: AtomicU32::new(0),
            info: ForkLock::new(LazyInfo(None)),
        }
    };
}

impl Default for Slot {
    fn default() -> Slot {
        new_slot!()
    }
}

struct Free(Vec<u32>);

impl ForkReset for Free {
    fn reset_in_child(&mut self) {
        std::mem::forget(std::mem::take(&mut self.0));
    }
    fn keep_in_child(&mut self) {}
}

/// The first slots lie at a fixed place, which the fast paths find with one addition. Untouched, they take no memory.
#[cfg(not(loom))]
const NEAR: usize = 1 << 16;
#[cfg(loom)]
const NEAR: usize = 0;
#[cfg(not(loom))]
static NEAR_SLOTS: [Slot; NEAR] = [const { new_slot!() }; NEAR];
static_table!(static FAR_SLOTS: Slot);
/// How many slots have been used.
static USED: UsedCount = UsedCount::new(0);

static_lock!(static FREE: Free = Free(Vec::new()));

/// A number for one more slot; the caller has [`FREE`] locked.
fn grow() -> Option<usize> {
    let mut used = USED.load(Relaxed);
    if used >= Table::<Slot>::MOST {
        return None;
    }
    if used >= NEAR {
        // The same number, but in the models, where each run has a table of its own.
        used = NEAR + FAR_SLOTS.grow()?;
    }
    USED.store(used + 1, Relaxed);
    Some(used)
}

#[inline]
fn slot_at(index: usize) -> Option<&'static Slot> {
    match near(index) {
        None => FAR_SLOTS.get(index.wrapping_sub(NEAR)),
        near => near,
    }
}

#[cfg(not(loom))]
#[inline(always)]
fn near(index: usize) -> Option<&'static Slot> {
    NEAR_SLOTS.get(index)
}
/// In the models the fast paths find the others.
#[cfg(loom)]
fn near(index: usize) -> Option<&'static Slot> {
    FAR_SLOTS.get(index)
}

/// The slot of a living task, for fast paths: those that get None look again in the slow way.
#[inline(always)]
pub fn check_fast(id: TaskId) -> Option<&'static Slot> {
    let slot = near(id.slot_index())?;
    // Acquire pairs with the Release in `begin`.
    (slot.id.load(Ordering::Acquire) == id.0 && id.0 != 0).then_some(slot)
}

/// Whether a number stands for a living task of this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    Alive,
    /// Of the parent process, in a fork child.
    Forked,
    Exited,
}

/// Makes a task.
///
/// # Errors
/// NOMEM: there are as many as there can be.
pub fn begin(kind: Kind, name: Name) -> Result<TaskId> {
    crate::core::entered::watch_forks();
    let mut free = FREE.lock();
    let index = match free.0.pop() {
        Some(index) => index as usize,
        None => grow().ok_or_else(|| {
            let most = Table::<Slot>::MOST;
            Error::new(
                error::NOMEM,
                format!("there are {most} tasks, which is the limit"),
            )
        })?,
    };
    drop(free);
    let slot = slot_at(index).expect("grown, or used before");
    let mut lazy = slot.info.lock();
    let info = lazy.get();
    info.generation += 1;
    debug_assert!(info.generation < 1 << (ID_BITS - SLOT_BITS));
    let id = TaskId(info.generation << SLOT_BITS | index as u64);
    info.latest = id;
    info.kind = kind;
    info.name = name;
    info.interrupted = false;
    info.ties.clear();
    drop(lazy);
    slot.held_own.store(0, Ordering::Relaxed);
    slot.held_given.store(0, Ordering::Relaxed);
    slot.waits.store(0, Ordering::Relaxed);
    slot.tied.store(0, Ordering::Relaxed);
    slot.entered_here();
    // Release: who finds the task finds its slot made ready; pairs with the Acquire in `check`.
    slot.id.store(id.0, Ordering::Release);
    Ok(id)
}

/// The slot that a number has, or had.
#[inline]
pub fn slot_of(id: TaskId) -> Option<&'static Slot> {
    slot_at(id.slot_index())
}

/// The slot of a living task.
///
/// # Errors
/// INVAL (never a task), STALE, FORKED.
#[inline]
pub fn check(id: TaskId) -> Result<&'static Slot> {
    match slot_of(id) {
        // Acquire pairs with the Release in `begin`.
        Some(slot) if slot.id.load(Ordering::Acquire) == id.0 && id.0 != 0 => Ok(slot),
        slot => Err(refusal(id, slot)),
    }
}

#[cold]
fn refusal(id: TaskId, slot: Option<&'static Slot>) -> Error {
    if id.0 == 0 {
        return Error::new(error::INVAL, "the task is 0, which stands for none");
    }
    let known = slot.map(|s| {
        (
            s.with_info(|info| info.generation),
            s.id.load(Ordering::Acquire),
        )
    });
    match known {
        Some((_, now)) if now == forked(id.0) => Error::new(
            error::FORKED,
            format!("{} belongs to the parent process", Named(id)),
        ),
        Some((latest, _)) if id.0 >> SLOT_BITS != 0 && id.0 >> SLOT_BITS <= latest => {
            Error::new(error::STALE, format!("{} has exited", Named(id)))
        }
        _ => Error::new(
            error::INVAL,
            format!("{:#x} was never the number of a task", id.0),
        ),
    }
}

pub fn life(id: TaskId) -> Life {
    match slot_of(id).map_or(0, |slot| slot.id.load(Ordering::Acquire)) {
        now if now == id.0 => Life::Alive,
        now if now == forked(id.0) => Life::Forked,
        _ => Life::Exited,
    }
}

/// Takes the task's number out of its slot: from here on it has exited.
///
/// # Errors
/// As [`check`]; STALE for all but the first.
pub fn end(id: TaskId) -> Result<&'static Slot> {
    let slot = check(id)?;
    // AcqRel: what the task did comes before; pairs with the Acquire of those who find it gone.
    match slot
        .id
        .compare_exchange(id.0, 0, Ordering::AcqRel, Ordering::Acquire)
    {
        Ok(_) => Ok(slot),
        Err(_) => Err(refusal(id, Some(slot))),
    }
}

/// The slot of a task that has ended may have another one.
pub fn give_back(id: TaskId) {
    FREE.lock().0.push(id.slot_index() as u32);
}

pub fn kind(id: TaskId) -> Option<Kind> {
    slot_of(id)?.with_info(|info| (info.latest == id).then_some(info.kind))
}

/// Every living task.
pub fn all() -> impl Iterator<Item = TaskId> {
    (0..USED.load(Relaxed)).filter_map(|index| {
        let id = TaskId(slot_at(index)?.id.load(Ordering::Acquire));
        (id != TaskId::NONE && id.slot_index() == index).then_some(id)
    })
}

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
        // SeqCst, as in `begin_wait`: of two tasks that begin to wait for each other, one sees the other.
        let order = match cfg!(selv_mutant = "relaxed_waits") {
            true => Ordering::Relaxed,
            false => Ordering::SeqCst,
        };
        self.waits.load(order) != 0
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
        self.waits
            .store(info.waiting.len() as u32, Ordering::SeqCst);
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
        self.waits
            .store(info.waiting.len() as u32, Ordering::SeqCst);
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

/// A task in the words of a message: its kind and name, and its number if it has none.
pub struct Named(pub TaskId);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = slot_of(self.0).and_then(|slot| {
            slot.with_info(|info| (info.latest == self.0).then_some((info.kind, info.name)))
        });
        match known {
            Some((kind, name)) if !name.is_none() => write!(f, "{} '{name}'", kind.noun()),
            Some((kind, _)) => write!(f, "{} {:#x}", kind.noun(), self.0.0),
            None => write!(f, "task {:#x}", self.0.0),
        }
    }
}

/// The name alone, for those who show it by itself.
pub fn name(id: TaskId) -> String {
    slot_of(id).map_or(String::new(), |slot| {
        slot.with_info(|info| match info.latest == id {
            true => info.name.to_string(),
            false => String::new(),
        })
    })
}

/// In a fork child, on its only thread: the tasks of other threads stay with the parent. Touches only words, so it can run
/// inside the fork.
pub fn sort_out_in_child() {
    let here = thread::token();
    for index in 0..USED.load(Relaxed) {
        let Some(slot) = slot_at(index) else {
            continue;
        };
        slot.waits.store(0, Ordering::Relaxed);
        let id = slot.id.load(Ordering::Relaxed);
        let is_task = id != 0 && TaskId(id).slot_index() == index;
        if is_task && slot.thread.load(Ordering::Relaxed) != here {
            slot.id.store(forked(id), Ordering::Relaxed);
        }
    }
    debug_assert!(fork::generation() > 1);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_used_again() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let id = begin(Kind::Host, Name::new("one")).unwrap();
            assert!(seen.insert(id));
            assert_eq!(life(id), Life::Alive);
            assert_eq!(Named(id).to_string(), "task 'one'");
            end(id).unwrap();
            give_back(id);
            assert_eq!(life(id), Life::Exited);
            assert_eq!(check(id).err().unwrap().status, error::STALE);
            assert_eq!(end(id).err().unwrap().status, error::STALE);
        }
    }

    #[test]
    fn what_was_never_a_task_is_told_from_what_has_exited() {
        for never in [1, 1 << SLOT_BITS | 0xff_ffff, u64::MAX >> 2, u64::MAX - 7] {
            assert_eq!(check(TaskId(never)).err().unwrap().status, error::INVAL);
        }
        assert_eq!(check(TaskId::NONE).err().unwrap().status, error::INVAL);
    }
}
