//! Removing a hook set, with the guarantee that the runtime behind it may be shut down on the next line.

use super::attachment;
use super::ended;
use super::error::{self, Error, Result};
use super::hook::{self, Hook, Phase};
use super::worker::{self, Worker};
use crate::sys::clock::{Deadline, NO_WAIT};
use std::ptr::NonNull;
use std::sync::Arc;

/// See `selv_hook_unregister`. `attached` is how many threads still have the hook started.
///
/// # Errors
/// DEADLOCK (on a worker of its cache, with a timeout), TIMEDOUT.
pub fn unregister(hook: &Hook, timeout_ns: u64, attached: &mut u32) -> Result<()> {
    let cache = &*hook.cache;
    let waits = timeout_ns != 0 && timeout_ns != NO_WAIT;
    let deadline = Deadline::after(timeout_ns);
    let mut state = cache.lock();
    *attached = hook.attached(&mut state) as u32;
    match hook.phase(&mut state) {
        Phase::Removed | Phase::Forked => {
            *attached = 0;
            return Ok(());
        }
        phase if waits && waits_for_itself(hook, phase) => {
            drop(state);
            return Err(Error::new(
                error::DEADLOCK,
                format!(
                    "hook '{}' was to be unregistered by a worker of its own cache, or inside a hook's callback, which would wait for itself; with timeout 0 the removal begins",
                    hook.name
                ),
            ));
        }
        _ => {}
    }
    if hook.begin_removal(&mut state) {
        let others = state.hooks.iter().filter(|h| h.id != hook.id);
        state.hooks = Arc::new(others.cloned().collect());
        cache.note_removal(&mut state, hook);
        let attached = hook.attached_ids(&mut state);
        cache.send_idle_to_look(state, |id| attached.contains(&id));
    } else {
        drop(state);
    }
    detach_own(hook);
    loop {
        // Only RETIRE hooks count threads as attached that have yet to be joined.
        let joined = !hook.is(hook::RETIRE) || ended::reap(cache, deadline);
        let mut state = cache.lock();
        if hook.take_free(&mut state) {
            drop(state);
            hook.free_user();
            continue;
        }
        *attached = hook.attached(&mut state) as u32;
        if hook.phase(&mut state) == Phase::Removed {
            return Ok(());
        }
        if joined && hook.is(hook::RETIRE) && ended::is_any_joinable(&state) {
            // A worker has listed itself since: nobody will wake us for that any more.
            continue;
        }
        if !joined || deadline.has_passed() {
            drop(state);
            return Err(Error::new(
                error::TIMEDOUT,
                format!(
                    "hook '{}' is still started on {attached} threads; the removal goes on, and calling again waits for it",
                    hook.name
                ),
            ));
        }
        cache.wait_for_change(state, deadline);
    }
}

/// On a worker of the cache, inside a callback of one of its hooks, and inside this hook's own `user_free`.
fn waits_for_itself(hook: &Hook, phase: Phase) -> bool {
    let inside = |record: NonNull<Worker>| {
        // SAFETY: the record is this thread's own, and lives until this thread ends or leaves.
        unsafe { record.as_ref() }.in_callback.get() > 0
    };
    worker::is_own_worker(&hook.cache)
        || worker::record_in(&hook.cache).is_some_and(inside)
        || (phase == Phase::Freeing && hook.is_freed_here())
}

/// The calling thread, if it has entered the cache and is no worker of it, exits the hook itself.
fn detach_own(hook: &Hook) {
    let Some(record) = worker::record_in(&hook.cache) else {
        return;
    };
    // SAFETY: the record is this thread's own, and lives until this thread ends or leaves.
    let record = unsafe { record.as_ref() };
    let own_worker = record.role == worker::Role::Cached && !record.is_orphan();
    if own_worker || record.in_callback.get() > 0 {
        return;
    }
    let found = record
        .attachments
        .borrow()
        .iter()
        .position(|a| a.hook.id == hook.id);
    if let Some(index) = found {
        attachment::detach(record, index);
    }
}
