//! Tasks: whatever the host says owns things. A task is a number, which is never used again, and a slot, which is.
//!
//! Invariant: a slot's `id` is its task's number from `begin` until that task's exit takes it away, by one compare-exchange; so a
//! task exits once, and a number that is not in its slot any more belongs to a task that has exited.

use super::slot::{Slot, new_slot};
use crate::core::error::{self, Error, Result};
use crate::core::name::Name;
use crate::sys::fork;
use crate::sys::lock::{ForkLock, ForkReset, static_lock};
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys::table::{Table, static_table};
use crate::sys::thread;
use std::collections::HashMap;
use std::fmt::{self, Write};
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

struct Free(Vec<u32>);

impl ForkReset for Free {
    fn reset_in_child(&mut self) {
        std::mem::forget(std::mem::take(&mut self.0));
    }
    fn keep_in_child(&mut self) {}
}

/// The first slots lie at a fixed place, which the fast paths find with one addition. Untouched, they take no memory.
#[cfg(not(any(loom, shuttle)))]
const NEAR: usize = 1 << 16;
#[cfg(any(loom, shuttle))]
const NEAR: usize = 0;
#[cfg(not(any(loom, shuttle)))]
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

#[cfg(not(any(loom, shuttle)))]
#[inline(always)]
fn near(index: usize) -> Option<&'static Slot> {
    NEAR_SLOTS.get(index)
}
/// In the models the fast paths find the others.
#[cfg(any(loom, shuttle))]
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
    info.cancelled.clear();
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

/// A task in the words of a message: its kind and name; also its number, if nobody gave it the name: threads are often all called
/// like their process. Without a name its kind and number.
pub struct Named(pub TaskId);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = slot_of(self.0).and_then(|slot| {
            slot.with_info(|info| (info.latest == self.0).then_some((info.kind, info.name)))
        });
        match known {
            Some((kind, name)) if name.is_none() => write!(f, "{} {:#x}", kind.noun(), self.0.0),
            Some((kind, name)) if name.is_given() => write!(f, "{} '{name}'", kind.noun()),
            Some((kind, name)) => write!(f, "{} '{name}' ({:#x})", kind.noun(), self.0.0),
            None => write!(f, "task {:#x}", self.0.0),
        }
    }
}

/// What the tasks are called in one message or picture: those that would be called the same have their numbers, too.
pub struct Words(HashMap<TaskId, String>);

impl Words {
    pub fn new(ids: impl IntoIterator<Item = TaskId>) -> Words {
        let mut words: HashMap<TaskId, String> = HashMap::new();
        for id in ids {
            words.entry(id).or_insert_with(|| Named(id).to_string());
        }
        let mut bearers: HashMap<&str, usize> = HashMap::new();
        for name in words.values() {
            *bearers.entry(name).or_default() += 1;
        }
        let shared: Vec<TaskId> = words
            .iter()
            .filter(|(_, name)| bearers[name.as_str()] > 1)
            .map(|(&id, _)| id)
            .collect();
        for id in shared {
            let _ = write!(words.get_mut(&id).expect("just seen"), " ({:#x})", id.0);
        }
        Words(words)
    }
}

impl std::ops::Index<TaskId> for Words {
    type Output = str;
    /// # Panics
    /// Of a task that was not among them.
    fn index(&self, id: TaskId) -> &str {
        &self.0[&id]
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

/// # Errors
/// As [`check`].
pub fn set_name(id: TaskId, name: Name) -> Result<()> {
    let slot = check(id)?;
    let mut lazy = slot.info.lock();
    let info = lazy.get();
    // Else it has exited meanwhile, and the slot is another task's.
    if info.latest == id {
        info.name = name;
    }
    Ok(())
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

#[cfg(all(test, not(any(loom, shuttle))))]
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
