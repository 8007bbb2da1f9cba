//! A hook set: what a runtime wants done on both edges of every worker's life, and who has it started.
//!
//! Every field in a `Guarded` belongs to the cache's lock. The rule that makes removal safe: a worker enters itself in
//! `attached` under that lock *before* it calls `on_start`, only while the phase is `Active`, and leaves it after `on_exit`
//! has returned. So once the phase is `Leaving` and `attached` is empty, no callback runs and none will.

use super::cache::{Cache, State};
use super::callback::{BeforeFn, ExitFn, FreeFn, Opaque, StartFn};
use super::error::{self, Error, Result};
use super::guarded::Guarded;
use super::panic::step;
use crate::sys::fork;
use crate::sys::sync::AtomicU64;
use crate::sys::thread;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Id, Ordering::Relaxed};

pub(crate) const LAZY: u32 = 1;
pub(crate) const EAGER: u32 = 2;
pub(crate) const OPTIONAL: u32 = 4;
pub(crate) const RETIRE: u32 = 8;
pub(crate) const FORK_KEEP: u32 = 16;
pub(crate) const HOLDS_GIL: u32 = 32;
pub(crate) const ALL_FLAGS: u32 = LAZY | EAGER | OPTIONAL | RETIRE | FORK_KEEP | HOLDS_GIL;

/// What the host registers.
#[derive(Clone, Copy)]
pub struct Callbacks {
    pub on_start: Option<StartFn>,
    pub on_exit: Option<ExitFn>,
    pub before_job: Option<BeforeFn>,
    pub after_job: Option<ExitFn>,
    pub user: Opaque,
    pub user_free: Option<FreeFn>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Active,
    /// Being removed: nobody attaches any more.
    Leaving,
    /// Nobody is attached; one thread is calling `user_free`.
    Freeing,
    Removed,
    /// Copied into a fork child, where it may not be called.
    Forked,
}

/// One thread that has the hook started, or is about to.
pub struct Attached {
    pub worker_id: u64,
    /// The worker's count of jobs with the usual needs, and what it was at the start.
    jobs: Option<(&'static AtomicU64, u64)>,
    /// RETIRE: `on_exit` has returned, the end of the thread is awaited.
    ending: bool,
}

#[derive(Default, Clone, Copy)]
pub struct Counts {
    pub starts: u64,
    pub exits: u64,
    pub start_failures: u64,
    pub lost: u64,
    /// Jobs of threads that are no longer attached.
    jobs: u64,
}

struct Guard {
    generation: u32,
    phase: Phase,
    attached: Vec<Attached>,
    counts: Counts,
}

/// A registered hook set. Shared: `selv_hook_retain` and `selv_hook_release`.
pub struct Hook {
    /// Grows in order of registration.
    pub id: u64,
    pub cache: Arc<Cache>,
    pub name: String,
    pub flags: u32,
    pub callbacks: Callbacks,
    guard: Guarded<Guard>,
    /// Jobs that named the hook.
    pub named_jobs: Id,
    /// The token of the thread that calls `user_free`.
    freed_by: Id,
}

impl Hook {
    pub fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub fn brackets_jobs(&self) -> bool {
        self.callbacks.before_job.is_some() || self.callbacks.after_job.is_some()
    }

    /// Everything below takes the locked state of this hook's own cache.
    fn guard<'a>(&'a self, state: &'a mut State) -> &'a mut Guard {
        let guard = self.guard.get_mut(state);
        if guard.generation != fork::generation() {
            // A fork child: the other threads are not here, so nobody is attached. The list may have been caught half-changed.
            std::mem::forget(std::mem::take(&mut guard.attached));
            guard.generation = fork::generation();
            if guard.phase != Phase::Removed
                && (!self.is(FORK_KEEP) || guard.phase == Phase::Freeing)
            {
                guard.phase = Phase::Forked;
            }
        }
        guard
    }

    pub fn phase(&self, state: &mut State) -> Phase {
        self.guard(state).phase
    }

    /// The workers that have it started.
    pub fn attached_ids(&self, state: &mut State) -> HashSet<u64> {
        let guard = self.guard(state);
        guard.attached.iter().map(|a| a.worker_id).collect()
    }

    /// How many threads have it started, or have yet to end.
    pub fn attached(&self, state: &mut State) -> usize {
        self.guard(state).attached.len()
    }

    pub fn counts(&self, state: &mut State) -> (usize, Counts, u64) {
        let guard = self.guard(state);
        let running: u64 = guard
            .attached
            .iter()
            .filter_map(|a| a.jobs)
            .map(|(now, then)| now.load(Relaxed) - then)
            .sum();
        let jobs = guard.counts.jobs + running + self.named_jobs.load(Relaxed);
        (guard.attached.len(), guard.counts, jobs)
    }

    /// Before `on_start`, and for a FORK_KEEP hook that the only thread of a fork child has started already. False if the hook is no
    /// longer to be started.
    pub fn admit(
        &self,
        state: &mut State,
        worker_id: u64,
        jobs: Option<&'static AtomicU64>,
    ) -> bool {
        let lazy = self.is(LAZY);
        let guard = self.guard(state);
        // The check that keeps a worker from starting a hook whose removal has begun; a mutant of the models omits it.
        if guard.phase != Phase::Active && !cfg!(selv_mutant = "admit_late") {
            return false;
        }
        guard.attached.push(Attached {
            worker_id,
            jobs: jobs.filter(|_| !lazy).map(|j| (j, j.load(Relaxed))),
            ending: false,
        });
        true
    }

    /// After `on_start` returned 0.
    pub fn started(&self, state: &mut State) {
        self.guard(state).counts.starts += 1;
    }

    /// After `on_exit`, or after `on_start` failed, or when the thread was lost.
    pub fn left(&self, state: &mut State, worker_id: u64, how: Left) {
        let guard = self.guard(state);
        match how {
            Left::Exited | Left::Ending => guard.counts.exits += 1,
            Left::NotStarted => guard.counts.start_failures += 1,
            Left::Lost => guard.counts.lost += 1,
        }
        let Some(at) = guard.attached.iter().position(|a| a.worker_id == worker_id) else {
            return;
        };
        if let Some((now, then)) = guard.attached[at].jobs.take() {
            guard.counts.jobs += now.load(Relaxed) - then;
        }
        if how == Left::Ending {
            guard.attached[at].ending = true;
        } else {
            guard.attached.swap_remove(at);
        }
    }

    /// The thread of a RETIRE hook has ended.
    pub fn joined(&self, state: &mut State, worker_id: u64) {
        self.guard(state)
            .attached
            .retain(|a| !(a.ending && a.worker_id == worker_id));
    }

    /// No new attachments from now on. False if that was so already.
    pub fn begin_removal(&self, state: &mut State) -> bool {
        let guard = self.guard(state);
        let was_active = guard.phase == Phase::Active;
        if was_active {
            guard.phase = Phase::Leaving;
        }
        was_active
    }

    /// If nobody is left: true for the one caller that is to run [`Hook::free_user`].
    pub fn take_free(&self, state: &mut State) -> bool {
        let guard = self.guard(state);
        let nobody = guard.attached.is_empty() || cfg!(selv_mutant = "free_early");
        let free = guard.phase == Phase::Leaving && nobody;
        if free {
            guard.phase = Phase::Freeing;
        }
        free
    }

    pub fn is_freed_here(&self) -> bool {
        self.freed_by.load(Relaxed) == thread::token()
    }

    /// Runs `user_free` with no lock held, then lets those who wait for the removal go.
    pub fn free_user(&self) {
        self.freed_by.store(thread::token(), Relaxed);
        if let Some(free) = self.callbacks.user_free {
            free.call(self.callbacks.user.0);
        }
        self.conclude_free();
    }

    /// `user_free` has returned, or has ended its thread.
    pub fn conclude_free(&self) {
        let _ = step(|| {
            let mut state = self.cache.lock();
            let guard = self.guard(&mut state);
            if guard.phase == Phase::Freeing {
                guard.phase = Phase::Removed;
            }
            self.cache.note_change(&mut state);
            Ok(())
        });
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    Exited,
    /// A worker with a RETIRE hook: it stays in the list until it has been [joined](Hook::joined).
    Ending,
    NotStarted,
    Lost,
}

/// Registers a hook set with a cache.
///
/// # Errors
/// INVAL (unknown flags, LAZY with EAGER, a second hook that holds a global interpreter lock), UNSUPPORTED
/// (RETIRE where threads cannot be joined), CLOSED.
pub fn register(
    cache: &Arc<Cache>,
    name: &str,
    flags: u32,
    callbacks: Callbacks,
) -> Result<Arc<Hook>> {
    static NEXT_ID: Id = Id::new(1);
    let refuse = |status, why: String| Err(Error::new(status, format!("hook '{name}': {why}")));
    if flags & !ALL_FLAGS != 0 {
        return refuse(
            error::INVAL,
            format!("unknown flag bits {:#x}", flags & !ALL_FLAGS),
        );
    }
    if flags & LAZY != 0 && flags & EAGER != 0 {
        return refuse(
            error::INVAL,
            "SELV_HOOK_LAZY and SELV_HOOK_EAGER exclude each other".into(),
        );
    }
    if flags & RETIRE != 0 && !cache.threads_can_be_joined() {
        return refuse(
            error::UNSUPPORTED,
            "SELV_HOOK_RETIRE needs to join threads, and the cache's own spawn option comes without join".into(),
        );
    }
    let hook = Arc::new(Hook {
        id: NEXT_ID.fetch_add(1, Relaxed),
        cache: Arc::clone(cache),
        name: name.to_owned(),
        flags,
        callbacks,
        guard: Guarded::new(Guard {
            generation: fork::generation(),
            phase: Phase::Active,
            attached: Vec::new(),
            counts: Counts::default(),
        }),
        named_jobs: Id::new(0),
        freed_by: Id::new(0),
    });
    let mut state = cache.lock();
    if state.closing {
        drop(state);
        return refuse(error::CLOSED, "the cache is shut down".into());
    }
    if flags & (HOLDS_GIL | LAZY) == HOLDS_GIL
        && let Some(other) = state
            .hooks
            .iter()
            .find(|h| h.flags & (HOLDS_GIL | LAZY) == HOLDS_GIL)
    {
        let other = other.name.clone();
        drop(state);
        return refuse(
            error::INVAL,
            format!(
                "hook '{other}' holds a global interpreter lock around the same jobs; make one of them SELV_HOOK_LAZY and name it where it is needed"
            ),
        );
    }
    let mut hooks = Vec::clone(&state.hooks);
    hooks.push(Arc::clone(&hook));
    state.hooks = Arc::new(hooks);
    cache.bump_hook_generation(&mut state);
    if flags & EAGER != 0 {
        cache.send_idle_to_look(state, |_| true);
    }
    Ok(hook)
}
