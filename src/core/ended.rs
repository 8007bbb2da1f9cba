//! Threads whose work is over, until they have been joined.
//!
//! A worker's last act is to list itself here. Whoever needs the end of the thread itself (shutdown, and the removal of
//! a RETIRE hook) joins it with a deadline; otherwise the next worker to start or to end joins those that have ended.

use super::cache::{Cache, State};
use super::hook::Hook;
use crate::sys::clock::Deadline;
use crate::sys::thread::Thread;
use std::ffi::c_void;
use std::sync::Arc;

#[derive(Clone, Copy)]
pub enum How {
    Own(Thread),
    /// The handle is None until the host's spawn function has returned it.
    Host(Option<*mut c_void>),
}

pub struct Ended {
    pub worker_id: u64,
    pub how: How,
    /// RETIRE hooks that count the thread as attached until it is joined.
    pub retired: Vec<Arc<Hook>>,
}

// SAFETY: a host's handle is only carried back to the host.
unsafe impl Send for Ended {}

/// The host's spawn function has returned the handle of a worker, which may be over by now.
pub fn set_handle(cache: &Cache, worker_id: u64, handle: *mut c_void) {
    let mut state = cache.lock();
    if let Some(ended) = state.ended.iter_mut().find(|e| e.worker_id == worker_id) {
        ended.how = How::Host(Some(handle));
        cache.note_change(&mut state);
        return;
    }
    let node = state.all.iter().find(|n| n.worker.id.get() == worker_id);
    if let Some(node) = node.copied() {
        *node.host_handle.get_mut(&mut *state) = Some(handle);
    }
}

/// Whether [`reap`] would find something to join.
pub fn is_any_joinable(state: &State) -> bool {
    state.ended.iter().any(can_be_joined)
}

fn can_be_joined(ended: &Ended) -> bool {
    !matches!(ended.how, How::Host(None))
}

/// Joins every thread that is listed, each until the deadline. False if one has not ended by then.
pub fn reap(cache: &Cache, deadline: Deadline) -> bool {
    loop {
        let mut state = cache.lock();
        let Some(at) = state.ended.iter().position(can_be_joined) else {
            return true;
        };
        let ended = state.ended.swap_remove(at);
        state.joining += 1;
        drop(state);
        let over = match ended.how {
            How::Own(thread) => thread.join(deadline),
            How::Host(handle) => {
                if let (Some(spawner), Some(handle)) = (cache.options.spawner, handle)
                    && let Some(join) = spawner.join
                {
                    join.call(spawner.data.0, handle);
                }
                true
            }
        };
        if !conclude(cache, ended, over) {
            return false;
        }
    }
}

/// Joins those threads that are over already: costs nothing when none is listed.
pub fn reap_what_is_over(cache: &Cache) {
    if !cache.lock().ended.is_empty() {
        reap(cache, Deadline::after(0));
    }
}

fn conclude(cache: &Cache, mut ended: Ended, over: bool) -> bool {
    let mut state = cache.lock();
    state.joining = state.joining.saturating_sub(1);
    if !over {
        state.ended.push(ended);
        cache.note_change(&mut state);
        return false;
    }
    for hook in &ended.retired {
        hook.joined(&mut state, ended.worker_id);
    }
    ended.retired.retain(|h| h.take_free(&mut state));
    cache.note_change(&mut state);
    drop(state);
    for hook in &ended.retired {
        hook.free_user();
    }
    true
}

/// Threads that are over or nearly so, but not joined.
pub fn unjoined(state: &State) -> u64 {
    state.ended.len() as u64 + u64::from(state.joining)
}

impl Ended {
    /// Nobody will join this thread.
    pub fn give_up(self) {
        if let How::Own(thread) = self.how {
            thread.detach();
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let ended = std::mem::take(&mut self.lock().ended);
        ended.into_iter().for_each(Ended::give_up);
    }
}
