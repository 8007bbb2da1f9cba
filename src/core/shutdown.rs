//! The end of a cache, and letting its idle workers go before.

use super::cache::Cache;
use super::callback::Outcome;
use super::ended;
use super::error::{self, Error, Result};
use super::job::{Job, Needs, Order};
use super::limited;
use super::node::Node;
use super::queue;
use super::worker::{self, CacheRef};
use crate::sys::clock::{Deadline, NO_WAIT};
use std::sync::Arc;

/// Lets the workers go that have been idle for longest, until `keep` are left.
pub fn trim(cache: &Cache, keep: u32) {
    let mut state = cache.lock();
    let mut going: Vec<&'static Node> = Vec::with_capacity(state.idle.len());
    while state.idle.len() > keep as usize
        && let Some(node) = state.idle.pop_oldest()
    {
        going.push(node);
    }
    drop(state);
    for node in going {
        node.handoff.give(|| Order::Exit);
    }
}

/// Refuses new jobs from now on; idle workers go.
fn close(cache: &Cache) {
    cache.lock().closing = true;
    trim(cache, 0);
}

/// Shuts the cache down: see `selv_cache_shutdown`. `remaining` is how many threads are left.
///
/// # Errors
/// UNSUPPORTED (the default cache), DEADLOCK (called on its own worker with a timeout), TIMEDOUT.
pub fn shutdown(
    cache: &Cache,
    cancel_queued: bool,
    timeout_ns: u64,
    remaining: &mut u32,
) -> Result<()> {
    if cache.is_default {
        return Err(Error::new(
            error::UNSUPPORTED,
            "the default cache belongs to the whole process and is not shut down; selv_cache_trim lets its idle workers go",
        ));
    }
    let waits = timeout_ns != 0 && timeout_ns != NO_WAIT;
    if waits && worker::is_own_worker(cache) {
        *remaining = cache.lock().counts.workers as u32;
        return Err(Error::new(
            error::DEADLOCK,
            format!(
                "cache '{}' was to be shut down by its own worker, which would wait for its own end; with timeout 0 it begins",
                cache.options.name
            ),
        ));
    }
    let deadline = Deadline::after(timeout_ns);
    close(cache);
    if cancel_queued {
        cache.lock().cancelling = true;
        cancel_queue(cache);
    }
    loop {
        let state = cache.lock();
        if state.counts.workers == 0 && !state.has_waiting_jobs() {
            drop(state);
            break;
        }
        if deadline.has_passed() {
            *remaining = (state.counts.workers + ended::unjoined(&state)) as u32;
            drop(state);
            return Err(still_running(cache, *remaining));
        }
        cache.wait_for_change(state, deadline);
    }
    loop {
        let joined = ended::reap(cache, deadline);
        let state = cache.lock();
        let left = ended::unjoined(&state);
        if left == 0 {
            *remaining = 0;
            return Ok(());
        }
        if joined && ended::is_any_joinable(&state) && !cfg!(selv_mutant = "sleep_over_handle") {
            continue;
        }
        if !joined || deadline.has_passed() {
            *remaining = left as u32;
            drop(state);
            return Err(still_running(cache, *remaining));
        }
        // Another thread is joining, or the host's spawn function has yet to return.
        cache.wait_for_change(state, deadline);
    }
}

fn still_running(cache: &Cache, remaining: u32) -> Error {
    let (threads, have) = match remaining {
        1 => ("1 thread".to_owned(), "has"),
        more => (format!("{more} threads"), "have"),
    };
    let name = &cache.options.name;
    let why = format!(
        "{threads} of cache '{name}' {have} not ended yet; the shutdown goes on, and calling again waits for it"
    );
    Error::new(error::TIMEDOUT, why)
}

/// Delivers every queued job as cancelled, on this thread.
pub fn cancel_queue(cache: &Cache) {
    while let Some(job) = take_queued(cache).or_else(|| limited::cancel_next(cache)) {
        if let Needs::Leftover { .. } = job.needs {
            queue::refuse(cache, job);
            continue;
        }
        let detail = format!(
            "the job was cancelled by the shutdown of cache '{}' before it began",
            cache.options.name
        );
        job.ticket.inspect(|t| t.end_task());
        job.ticket.inspect(|t| t.explain(&detail));
        error::keep(Error::new(error::CANCELLED, detail));
        job.deliver_and_release(&Outcome::failed(error::CANCELLED, 0));
    }
}

fn take_queued(cache: &Cache) -> Option<Job> {
    loop {
        let mut state = cache.lock();
        let job = state.queue.pop()?;
        if let Needs::Leftover { .. } = job.needs {
            return Some(job);
        }
        // A job with a handle may be cancelled by its holder at this very moment.
        if let Some(ticket) = job.ticket
            && !ticket.cancel()
        {
            drop(state);
            ticket.release();
            continue;
        }
        state.counts.delivered += 1;
        cache.note_change(&mut state);
        return Some(job);
    }
}

/// The host gave up a handle. With the last one gone nobody can submit: accepted jobs finish, and the workers go.
pub fn release(cache: Arc<Cache>) {
    if !cache.release() || cache.is_default {
        return;
    }
    close(&cache);
    end_hooks(&cache);
}

/// A job that had no token is gone; it may have been the last that an abandoned cache had to do.
pub fn after_a_limited_job(cache: &Cache) {
    if cache.is_abandoned() {
        end_hooks(cache);
    }
}

/// A worker has signed off.
pub fn after_a_worker(cache: CacheRef) {
    if cache.is_abandoned() {
        end_hooks(&cache);
    }
}

/// When an abandoned cache has no worker left, nobody will unregister its hooks for it.
fn end_hooks(cache: &Cache) {
    let mut state = cache.lock();
    if state.counts.workers > 0 || state.counts.entered > 0 || state.has_waiting_jobs() {
        return;
    }
    // Nor will anybody join the threads that are over; for RETIRE hooks that has to do.
    let mut hooks = state.hooks.to_vec();
    state.hooks = Arc::default();
    for ended in std::mem::take(&mut state.ended) {
        for hook in &ended.retired {
            hook.joined(&mut state, ended.worker_id);
        }
        hooks.extend(ended.retired.iter().cloned());
        ended.give_up();
    }
    for hook in &hooks {
        hook.begin_removal(&mut state);
    }
    hooks.retain(|hook| hook.take_free(&mut state));
    let free = hooks;
    drop(state);
    for hook in free {
        hook.free_user();
    }
}
