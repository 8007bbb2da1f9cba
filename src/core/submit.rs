//! Handing jobs to a cache.

use super::cache::{Cache, State};
use super::callback::{JobFn, Opaque, Outcome};
use super::delivery::Delivery;
use super::ended;
use super::error::{self, Error, Result};
use super::hook::{self, Hook, Phase};
use super::job::{Job, Needs, Order, Ticket, TicketRef};
use super::life;
use super::name::Name;
use super::node::Node;
use super::queue;
use super::spawn;
use super::worker;
use crate::sys::clock::Deadline;
use crate::sys::lock::Guard;
use std::sync::Arc;

/// What a locked cache can do for the next job at once.
enum Place {
    Idle(&'static Node),
    NewWorker,
    Queue,
}

fn place(cache: &Cache, state: &mut State) -> Place {
    if let Some(node) = state.idle.pop_newest() {
        return Place::Idle(node);
    }
    let bound = cache.options.max_workers;
    if bound != 0 && state.counts.workers >= u64::from(bound) {
        return Place::Queue;
    }
    Place::NewWorker
}

/// Hands over one job, which `job` writes where it is going to be read, with the hook generation that it is given.
///
/// # Errors
/// CLOSED, SPAWN; then the job stays the caller's.
#[inline(always)]
pub fn submit(cache: &Arc<Cache>, job: impl Fn(u64) -> Job) -> Result<()> {
    let mut state = cache.lock();
    if state.closing {
        return Err(cache.closed_error());
    }
    state.counts.accepted += 1;
    let at = cache.hook_generation();
    match place(cache, &mut state) {
        Place::Idle(node) => {
            drop(state);
            node.handoff.give(|| Order::Job(job(at)));
            Ok(())
        }
        Place::Queue => {
            state.queue.push(job(at));
            Ok(())
        }
        Place::NewWorker => start_worker(cache, state, job(at)),
    }
}

/// As [`submit`], for a job that was counted as accepted when it began to wait for a token.
///
/// # Errors
/// CLOSED, SPAWN.
pub fn submit_accepted(cache: &Arc<Cache>, job: Job) -> Result<()> {
    // It is counted once more there, or not at all.
    cache.lock().counts.accepted -= 1;
    submit(cache, |accepted_at| Job { accepted_at, ..job })
}

#[cold]
fn start_worker(cache: &Arc<Cache>, mut state: Guard<'_, State>, job: Job) -> Result<()> {
    let reserved = spawn::reserve(cache, &mut state);
    drop(state);
    start_reserved(cache, reserved, job)
}

/// Starts a worker with a job that was counted as accepted; if that fails, it no longer is.
fn start_reserved(cache: &Cache, reserved: spawn::Reserved, job: Job) -> Result<()> {
    ended::reap_what_is_over(cache);
    reserved.start(Order::Job(job)).inspect_err(|_| {
        let mut state = cache.lock();
        state.counts.accepted -= 1;
        // Others may have queued their jobs behind the worker that did not come.
        queue::dispatch(cache, state);
    })
}

/// Idle workers that are taken off the list in one go.
const BATCH: usize = 16;

/// Hands over jobs in order; the number is how many were accepted, from the first on.
pub fn submit_many(cache: &Arc<Cache>, jobs: &[Job]) -> (usize, Result<()>) {
    let mut accepted = 0;
    let mut woken: Vec<&'static Node> = Vec::with_capacity(BATCH);
    while accepted < jobs.len() {
        let mut state = cache.lock();
        if state.closing {
            return (accepted, Err(cache.closed_error()));
        }
        // What needs no new thread is done in one go under the lock, and the wakes come after it; but only so many at a time
        // that the workers which were woken first may be idle again for the last jobs.
        let first = accepted;
        let accepted_at = cache.hook_generation();
        woken.clear();
        let mut new_worker = None;
        while accepted < jobs.len() && woken.len() < BATCH {
            state.counts.accepted += 1;
            match place(cache, &mut state) {
                Place::Idle(node) => woken.push(node),
                Place::Queue => state.queue.push(Job {
                    accepted_at,
                    ..jobs[accepted]
                }),
                Place::NewWorker => {
                    new_worker = Some(spawn::reserve(cache, &mut state));
                    break;
                }
            }
            accepted += 1;
        }
        drop(state);
        // Idle workers were there before any job of this go was queued, so theirs are the first jobs.
        for (node, job) in woken.iter().zip(&jobs[first..]) {
            node.handoff.give(|| {
                Order::Job(Job {
                    accepted_at,
                    ..*job
                })
            });
        }
        if let Some(reserved) = new_worker {
            if let Err(error) = start_reserved(
                cache,
                reserved,
                Job {
                    accepted_at,
                    ..jobs[accepted]
                },
            ) {
                return (accepted, Err(error));
            }
            accepted += 1;
        }
    }
    (accepted, Ok(()))
}

/// Checks the hooks that a job names, and keeps them.
///
/// # Errors
/// INVAL (a hook of another cache, two that hold a global interpreter lock), CLOSED, FORKED.
pub fn named_hooks(cache: &Cache, hooks: Vec<Arc<Hook>>) -> Result<Box<[Arc<Hook>]>> {
    let refuse = |status, hook: &Hook, why: &str| {
        Err(Error::new(
            status,
            format!("attach names hook '{}', which {why}", hook.name),
        ))
    };
    let mut holder: Option<&Hook> = None;
    let mut state = cache.lock();
    for hook in &hooks {
        if !std::ptr::eq(Arc::as_ptr(&hook.cache), cache) {
            return refuse(error::INVAL, hook, "belongs to another cache");
        }
        match hook.phase(&mut state) {
            Phase::Active => {}
            Phase::Forked => return refuse(error::FORKED, hook, "belongs to the parent process"),
            _ => return refuse(error::CLOSED, hook, "is unregistered"),
        }
        if hook.is(hook::HOLDS_GIL) {
            if let Some(other) = holder.filter(|other| other.id != hook.id) {
                let why = format!(
                    "holds a global interpreter lock, as does hook '{}'; one job can hold one",
                    other.name
                );
                return refuse(error::INVAL, hook, &why);
            }
            holder = Some(hook);
        }
    }
    drop(state);
    Ok(hooks.into_boxed_slice())
}

/// Runs `fn` on a worker and waits for its end. The deadline is for its start.
///
/// # Errors
/// As [`submit`]; TIMEDOUT (it did not start in time and never will), DEADLOCK (called on a worker of the same cache when that
/// can start no other).
pub fn run(cache: &Arc<Cache>, run: JobFn, arg: Opaque, timeout_ns: u64) -> Result<Outcome> {
    let deadline = Deadline::after(timeout_ns);
    let Some(own) = worker::own_node(cache) else {
        return run_and_wait(cache, run, arg, deadline);
    };
    // Inside `deliver` this worker is listed as idle, and would be given the very job that it then waits for.
    let aside = life::step_aside(own);
    let outcome = match would_wait_for_itself(cache) {
        Some(error) => Err(error),
        None => run_and_wait(cache, run, arg, deadline),
    };
    if aside {
        life::line_up_again(own);
    }
    outcome
}

fn would_wait_for_itself(cache: &Cache) -> Option<Error> {
    let state = cache.lock();
    let bound = u64::from(cache.options.max_workers);
    let full = bound != 0 && state.counts.workers >= bound && state.idle.len() == 0;
    full.then(|| {
        Error::new(
            error::DEADLOCK,
            format!(
                "cache '{}' is at its max_workers of {bound}, and the caller is one of them: it would wait for itself",
                cache.options.name
            ),
        )
    })
}

fn run_and_wait(
    cache: &Arc<Cache>,
    run: JobFn,
    arg: Opaque,
    deadline: Deadline,
) -> Result<Outcome> {
    let ticket = Ticket::new(Box::new([]));
    let reference = TicketRef::new(Arc::clone(&ticket));
    let job = Job {
        run,
        deliver: None,
        arg,
        arg_free: None,
        name: Name::NONE,
        needs: Needs::Usual,
        accepted_at: 0,
        ticket: Some(reference),
    };
    if let Err(refused) = submit(cache, |at| Job {
        accepted_at: at,
        ..job
    }) {
        reference.release();
        return Err(refused);
    }
    wait_if_begun(&ticket, deadline)?.ok_or_else(|| {
        withdraw(cache, &ticket);
        ticket.finish(Outcome::failed(error::CANCELLED, 0));
        let why = "no worker began the function within the timeout; it will not run";
        Error::new(error::TIMEDOUT, why)
    })
}

/// As [`wait`], but the deadline is for the job's beginning. None: it has passed, the ticket is cancelled and the job will not run.
///
/// # Errors
/// DEADLOCK, as [`Ticket::wait`].
pub fn wait_if_begun(ticket: &Ticket, deadline: Deadline) -> Result<Option<Outcome>> {
    match wait(ticket, deadline) {
        Err(e) if e.status == error::TIMEDOUT => {
            if ticket.cancel() || cfg!(selv_mutant = "leave_what_has_begun") {
                return Ok(None);
            }
            wait(ticket, Deadline::NEVER).map(Some)
        }
        ended => ended.map(Some),
    }
}

/// Waits for a job's delivery. If it did not run to its end, this thread's last error says why.
///
/// # Errors
/// As [`Ticket::wait`].
pub fn wait(ticket: &Ticket, deadline: Deadline) -> Result<Outcome> {
    let outcome = ticket.wait(deadline)?;
    if outcome.status != error::OK {
        error::keep(ticket.error(&outcome));
    }
    Ok(outcome)
}

/// After a successful `ticket.cancel()` of a job that nobody delivers: it is accounted for.
fn withdraw(cache: &Cache, ticket: &Ticket) {
    let mut state = cache.lock();
    state.queue.note_cancelled(ticket);
    state.counts.delivered += 1;
}

/// Cancels a job that has not begun, and delivers it on this thread as CANCELLED.
///
/// # Errors
/// TOO_LATE.
pub fn cancel(cache: Arc<Cache>, ticket: Arc<Ticket>, job: Delivery) -> Result<()> {
    if !ticket.cancel() {
        return Err(Error::new(
            error::TOO_LATE,
            "the job has begun, or has been delivered or cancelled already",
        ));
    }
    withdraw(&cache, &ticket);
    drop(cache);
    ticket.end_task();
    let outcome = Outcome::failed(error::CANCELLED, 0);
    ticket.explain("the job was cancelled by selv_job_cancel before it began");
    error::keep(ticket.error(&outcome));
    // Nothing here is to be dropped meanwhile: the host's function may end the thread.
    job.tell(Some(TicketRef::new(ticket)), &outcome);
    Ok(())
}
