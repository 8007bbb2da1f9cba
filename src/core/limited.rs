//! Jobs that wait for a token of a limiter before they wait for a worker.
//!
//! Such a job has its task from the start, and that is who borrows the token; so the token comes back when the task exits,
//! however the job ends. Until it has the token the job is in the cache's `limited`, no worker knows of it, and it takes no
//! thread. Invariant: the operation that waits for the token completes exactly once, and takes the job out of `limited`; whoever
//! then moves its ticket away from waiting delivers it, as with any job. A cancel ends the task, which ends that operation.

use super::cache::Cache;
use super::callback::Outcome;
use super::chain::Chain;
use super::error::Result;
use super::job::{Job, Needs};
use super::queue;
use super::shutdown;
use super::submit;
use super::sync::answer::Answer;
use super::sync::limiter::{Borrower, Limiter};
use super::sync::operation::{self, Completion};
use super::sync::timer;
use super::sync::wait::Submitted;
use super::worker;
use crate::sys::clock::{Deadline, NO_WAIT};
use crate::sys::sync::thread_local;
use std::sync::Arc;

/// A job that waits for its token.
pub struct Limited {
    job: Job,
    /// It stands in the limiter's line; before that, only the submitting thread deals with it.
    in_line: bool,
}

/// What the operation carries to [`have_token`].
struct Waiting {
    cache: Arc<Cache>,
    number: u64,
    timed: bool,
}

/// Hands over a job that is to have a token first; its ticket has its task.
///
/// # Errors
/// Those of the limiter and of [`submit::submit`]; then the job stays the caller's.
pub fn submit(cache: &Arc<Cache>, job: Job, limiter: &Arc<Limiter>, timeout_ns: u64) -> Result<()> {
    let ticket = job.ticket.expect("a job with a limiter has a ticket");
    let task = ticket.task();
    let borrower = Borrower::Task(task);
    if timeout_ns == NO_WAIT {
        limiter.try_acquire(borrower)?;
        return submit::submit(cache, |accepted_at| Job { accepted_at, ..job });
    }
    let deadline = Deadline::after(timeout_ns);
    let timed = !deadline.is_never();
    let number = task.0;
    accept(cache, number, job)?;
    let waiting = Box::into_raw(Box::new(Waiting {
        cache: Arc::clone(cache),
        number,
        timed,
    }));
    let begun = operation::begin(task, Completion::Own(have_token, waiting as u64))
        .and_then(|op| limiter.acquire_async(task, borrower, op).map(|s| (op, s)));
    let result = match begun {
        Ok((op, Submitted::Pending)) => {
            if timed {
                timer::add(deadline, op);
            }
            stands_in_line(cache, number);
            return Ok(());
        }
        Ok((_, Submitted::Now(_))) => {
            forget(cache, number);
            submit::submit_accepted(cache, job)
        }
        Err(_) if !ticket.is_waiting_to_run() => {
            // Cancelled through its handle meanwhile, and delivered; that is why its task is gone.
            forget(cache, number);
            ticket.release();
            Ok(())
        }
        Err(e) => {
            forget(cache, number);
            cache.lock().counts.accepted -= 1;
            Err(e)
        }
    };
    // SAFETY: made above, and no operation has it.
    drop(unsafe { Box::from_raw(waiting) });
    result
}

fn accept(cache: &Cache, number: u64, job: Job) -> Result<()> {
    let mut state = cache.lock();
    if state.closing {
        return Err(cache.closed_error());
    }
    state.counts.accepted += 1;
    let accepted_at = cache.hook_generation();
    let job = Job { accepted_at, ..job };
    let entry = Limited {
        job,
        in_line: false,
    };
    state.limited.insert(number, entry);
    Ok(())
}

/// From now on a shutdown may cancel the job; if one has begun to, it is done here.
fn stands_in_line(cache: &Cache, number: u64) {
    let mut state = cache.lock();
    // The wait can be over already.
    if let Some(entry) = state.limited.get_mut(&number) {
        entry.in_line = true;
    }
    let cancelling = state.cancelling;
    drop(state);
    if cancelling {
        shutdown::cancel_queue(cache);
    }
}

fn forget(cache: &Cache, number: u64) {
    let mut state = cache.lock();
    state.limited.remove(&number);
    cache.note_change(&mut state);
}

/// The wait for the token has ended, on the thread that ended it. Calls nothing of the host: with the token or without, the job
/// goes on to a worker.
fn have_token(waiting: u64, answer: Answer) {
    // SAFETY: the pointer that `submit` gave to the operation, which completes once.
    let waiting = unsafe { Box::from_raw(waiting as *mut Waiting) };
    let Waiting {
        cache,
        number,
        timed,
    } = *waiting;
    if timed {
        timer::completed();
    }
    let Some(job) = take_along(&cache, number) else {
        return;
    };
    let ticket = job.ticket.expect("a job with a limiter has a ticket");
    let Err(why) = answer.into_result() else {
        return to_the_queue(&cache, Some(job));
    };
    if !ticket.begin() {
        // Cancelled: that is what ended the wait, and whoever did it delivers.
        ticket.release();
        to_the_queue(&cache, None);
        return shutdown::after_a_limited_job(&cache);
    }
    ticket.end_task();
    ticket.explain(&format!("the job did not begin: {}", why.detail));
    ticket.give_up();
    let needs = Needs::Leftover {
        outcome: Outcome::failed(why.status, 0),
        delivered: false,
    };
    to_the_queue(&cache, Some(Job { needs, ..job }));
}

/// Takes a job that [`to_the_queue`] is to follow for; meanwhile a shutdown knows that there is one.
fn take_along(cache: &Cache, number: u64) -> Option<Job> {
    let mut state = cache.lock();
    let entry = state.limited.remove(&number)?;
    state.in_transit += 1;
    Some(entry.job)
}

thread_local! {
    // There is a list while this thread sees to caches that have got a job.
    static ADMITTING: Chain<Vec<Arc<Cache>>> = const { Chain::new() };
}

/// Sees to it that somebody works through the cache's queue. Where no thread can be started a job is delivered here, its token
/// comes back, and the next job gets it: that one is seen to when this one is done, whatever their number.
fn dispatch(cache: &Arc<Cache>) {
    let admitting = ADMITTING.with(Chain::innermost);
    // SAFETY: the list is this thread's, and no reference to it outlives the block.
    if let Some(list) = unsafe { admitting.as_mut() } {
        list.what.push(Arc::clone(cache));
        return;
    }
    let list = ADMITTING.with(|a| a.add(vec![Arc::clone(cache)]));
    // SAFETY: added above; no reference outlives the expression, so what is dispatched may add to the list.
    while let Some(cache) = unsafe { &mut *list }.what.pop() {
        queue::dispatch(&cache, cache.lock());
    }
    // SAFETY: added above, once.
    drop(unsafe { ADMITTING.with(|a| a.take_out(list)) });
}

/// From here on the job is as any other that was accepted; if it is still there.
fn to_the_queue(cache: &Arc<Cache>, job: Option<Job>) {
    let mut state = cache.lock();
    // In a fork child the count began anew.
    state.in_transit = state.in_transit.saturating_sub(1);
    cache.note_change(&mut state);
    let Some(job) = job else {
        return;
    };
    state.queue.push(job);
    // A worker whose own ending task returned the token takes the job itself.
    match worker::own_node(cache) {
        Some(node) if node.ending.get() => node.has_queued.set(true),
        _ => {
            drop(state);
            dispatch(cache);
        }
    }
}

/// The thread ends, maybe in a delivery that [`dispatch`] had to make: the others are seen to all the same.
pub fn thread_ends() {
    if let Some(caches) = ADMITTING.with(Chain::pop) {
        caches.iter().for_each(dispatch);
    }
}

/// A shutdown cancels what waits: the next job, with its ticket moved to cancelled.
pub fn cancel_next(cache: &Cache) -> Option<Job> {
    loop {
        let mut state = cache.lock();
        let (&number, _) = state.limited.iter().find(|(_, entry)| entry.in_line)?;
        let job = state.limited.remove(&number)?.job;
        let ticket = job.ticket.expect("a job with a limiter has a ticket");
        if !ticket.cancel() {
            drop(state);
            ticket.release();
            continue;
        }
        state.counts.delivered += 1;
        cache.note_change(&mut state);
        debug_assert!(!matches!(job.needs, Needs::Leftover { .. }));
        return Some(job);
    }
}
