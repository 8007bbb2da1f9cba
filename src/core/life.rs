//! A worker's life: take an order, see to the hooks, run, line up as idle, deliver, wait; and in the end leave.
//!
//! The frames of this file lie below every callback of the host, and a runtime may unwind them (see `callback.rs`): what
//! they hold is plain data.

use super::attachment::{self, Ready};
use super::cache::State;
use super::callback::{DeliverFn, Outcome};
use super::delivery::Delivery;
use super::ended::{Ended, How};
use super::error;
use super::handoff::Woken;
use super::hook::Hook;
use super::host::outcome;
use super::job::{Job, Needs, Order};
use super::node::{Node, Stage};
use super::queue;
use super::spawn;
use super::sync::task::{self, TaskId};
use super::sync::{completions, current, exit};
use super::trace;
use super::worker::CacheRef;
use crate::sys::clock::{self, Deadline};
use crate::sys::fork;
use crate::sys::sync::Ordering;
use crate::sys::thread;
use crate::sys::thread_exit::ExitKey;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::Arc;

/// Tells us of a worker that a runtime ended inside a callback.
static LOST: ExitKey = ExitKey::new(lost);

unsafe extern "C" fn lost(node: *mut c_void) {
    // What the thread had in hand comes first: who is told of the job's end may want it.
    completions::thread_ends();
    // SAFETY: the key holds the worker's own node, which is never freed.
    super::lost::worker(unsafe { &*node.cast::<Node>() });
}

/// Where a new thread begins.
///
/// # Safety
/// `node` is a node that `Reserved::start` has prepared, and each is entered once.
pub unsafe extern "C-unwind" fn entry(node: *mut c_void) {
    // SAFETY: nodes are never freed.
    let node: &'static Node = unsafe { &*node.cast::<Node>() };
    let worker = &node.worker;
    thread::set_name(&worker.name.get().for_os());
    worker.make_current();
    LOST.set(std::ptr::from_ref(node).cast());
    trace::worker_started(worker);
    let born_in = worker.generation.get();
    live(node);
    // The node may be another worker's by now: it is not to be looked at, unless this is a fork child's copy.
    if born_in != fork::generation() {
        // A fork child's copy of this thread: everything else here is the parent's.
        LOST.set(std::ptr::null());
        worker.end_current();
    }
}

/// What a worker does after a job.
#[derive(Clone, Copy)]
enum After {
    /// It is on the idle list.
    Listed,
    /// The next queued job is kept in its hand-off.
    Next,
    Leave,
}

fn live(node: &'static Node) {
    let mut fresh = true;
    let mut order = node.handoff.await_order();
    loop {
        let after = match order {
            Order::Job(job) => work(node, job, fresh),
            Order::Look => look(node),
            Order::Exit => After::Leave,
        };
        fresh = false;
        if node.worker.is_orphan() {
            return;
        }
        let next = match after {
            After::Listed => wait(node),
            After::Next => {
                node.has_next.set(false);
                Some(node.handoff.kept())
            }
            After::Leave => None,
        };
        order = match next {
            Some(order) => order,
            None if leave(node) => return,
            None => node.handoff.kept(),
        };
    }
}

/// Runs one job, from its hooks to its delivery.
fn work(node: &'static Node, job: &'static Job, fresh: bool) -> After {
    let worker = &node.worker;
    if let Needs::Leftover { outcome, delivered } = job.needs {
        return clear_up(node, job, outcome, delivered);
    }
    node.current.set(Some(job));
    node.stage.set(Stage::Preparing);
    let ready = attachment::prepare(worker, job.needs, named(job), Some(&node.usual_jobs));
    if worker.is_orphan() {
        return After::Leave;
    }
    if ready == Ready::Retire {
        node.current.set(None);
        queue::bring_back(&worker.cache(), *job);
        return After::Leave;
    }
    if let Some(ticket) = job.ticket
        && !ticket.begin()
    {
        // Cancelled while it was on its way: whoever cancelled it delivers.
        node.current.set(None);
        ticket.release();
        return settle(node, false);
    }
    node.stage.set(Stage::Working);
    // Whatever was entered since the last job is not this one's.
    current::leave_all();
    if let Some(ticket) = job.ticket {
        let task = ticket.take_task();
        node.task.set(task);
        if task != TaskId::NONE {
            // It was made by the submitting thread.
            task::slot_of(task).inspect(|slot| slot.entered_here());
        }
    }
    let outcome = match ready {
        Ready::Failed(status, code) => Outcome::failed(status, code),
        _ if job.needs == Needs::Usual && worker.cache().has_removed_since(job.accepted_at) => {
            lacks_a_hook(node)
        }
        _ => run(node, job),
    };
    if worker.is_orphan() {
        return After::Leave;
    }
    end_task(node);
    if cfg!(selv_mutant = "deliver_first") {
        Node::count(&node.delivered);
        job.deliver_and_release(&outcome);
        return settle(node, false);
    }
    let after = settle(node, fresh && ready != Ready::Yes);
    if node.has_queued.take() {
        // There can be more than the one that this worker took.
        let cache = worker.cache();
        queue::dispatch(&cache, cache.lock());
    }
    // From here on a submitter may give this worker its next job; `deliver` itself often does.
    Node::count(&node.delivered);
    if outcome.status != error::OK {
        tell(job, outcome.status, worker.failure.take());
    }
    hand_on(node, job, &outcome, job.deliver);
    after
}

/// Delivers, frees, finishes; noting each step, in case that the host's function ends the thread. A fork child that comes back
/// from `deliver` leaves the rest to the parent.
fn hand_on(node: &'static Node, job: &'static Job, outcome: &Outcome, deliver: Option<DeliverFn>) {
    let outcome = &match job.ticket {
        Some(ticket) if ticket.host.is_some() => {
            // The host is woken in there: what it does then is none of the job's.
            node.current.set(None);
            let to_tell = Delivery {
                deliver,
                ..Delivery::of(job)
            };
            let Some(outcome) = outcome::hand_over(to_tell, job.ticket, outcome) else {
                return;
            };
            node.current.set(Some(job));
            outcome
        }
        _ => *outcome,
    };
    node.outcome.set(*outcome);
    node.stage.set(Stage::Delivering);
    if let Some(deliver) = deliver {
        deliver.call(job.arg.0, outcome);
        if node.worker.is_orphan() {
            return;
        }
    }
    node.stage.set(Stage::Freeing);
    if let Some(free) = job.arg_free {
        free.call(job.arg.0);
        if node.worker.is_orphan() {
            return;
        }
    }
    job.finish(outcome);
    node.current.set(None);
}

/// On a worker that has signed off: delivers a job that nobody is left to run.
pub fn hand_on_last(node: &'static Node, job: Job, outcome: &Outcome, deliver: Option<DeliverFn>) {
    node.handoff.keep(Order::Job(job));
    if let Order::Job(job) = node.handoff.kept() {
        node.current.set(Some(job));
        hand_on(node, job, outcome, deliver);
    }
}

/// A job that is not to run: its own worker was lost, or it got no token.
fn clear_up(node: &'static Node, job: &'static Job, outcome: Outcome, delivered: bool) -> After {
    let after = settle(node, false);
    node.current.set(Some(job));
    job.ticket.inspect(|t| t.adopt());
    job.ticket.inspect(|t| t.end_task());
    let mut deliver = None;
    if !delivered {
        Node::count(&node.delivered);
        tell(job, outcome.status, leftover_reason(job, &outcome));
        deliver = job.deliver;
    }
    hand_on(node, job, &outcome, deliver);
    after
}

/// Why a job is not run to its end.
pub fn leftover_reason(job: &Job, outcome: &Outcome) -> String {
    match job.ticket {
        Some(ticket) if outcome.status != error::BROKEN => ticket.reason(),
        _ => "the thread that ran the job ended before the job did".to_owned(),
    }
}

/// The hooks that the job names.
fn named(job: &Job) -> &[Arc<Hook>] {
    match &job.ticket {
        Some(ticket) if job.needs == Needs::Named => &ticket.hooks,
        _ => &[],
    }
}

/// The job itself, with the hooks around it.
#[inline]
fn run(node: &'static Node, job: &Job) -> Outcome {
    let worker = &node.worker;
    match job.needs {
        Needs::Usual => Node::count(&node.usual_jobs),
        Needs::Named => attachment::count_named(named(job)),
        Needs::Nothing | Needs::Leftover { .. } => {}
    }
    if worker.brackets.get() != 0
        && let Err(failed) = attachment::before_job(worker, job.needs, named(job))
    {
        return failed;
    }
    if worker.is_orphan() {
        return Outcome::failed(error::FORKED, 0);
    }
    if job.name.is_given() {
        thread::set_name(&job.name.for_os());
    }
    trace::begin_job(worker, &job.name);
    let mut value = std::ptr::null_mut();
    let code = job.run.call(job.arg.0, &mut value);
    if worker.is_orphan() {
        return Outcome::failed(error::FORKED, 0);
    }
    trace::end(worker);
    current::leave_all();
    if job.name.is_given() {
        thread::set_name(&worker.name.get().for_os());
    }
    if worker.brackets.get() != 0 {
        let count = worker.attachments.borrow().len();
        attachment::after_job(worker, count);
    }
    Outcome {
        status: error::OK,
        code,
        value,
    }
}

/// The job's task, if it has one, exits; what it holds is broken before anybody learns that the job has ended.
#[inline]
fn end_task(node: &'static Node) {
    let task = node.task.replace(TaskId::NONE);
    if task != TaskId::NONE {
        node.ending.set(true);
        exit::of_job(task, || {
            // Callbacks of the host come next, and may wait for what was left to this worker.
            if node.has_queued.take() {
                let cache = node.worker.cache();
                queue::dispatch(&cache, cache.lock());
            }
        });
        node.ending.set(false);
    }
}

/// A hook that the job was accepted with has been removed. This comes after the hooks were seen to: what is removed from now on
/// is started here, and stays so until the job has ended.
#[cold]
fn lacks_a_hook(node: &'static Node) -> Outcome {
    let removed = node.worker.cache().lock().last_removed.clone();
    *node.worker.failure.borrow_mut() =
        format!("hook '{removed}', which the job needs, was unregistered before the job began");
    Outcome::failed(error::HOOK_FAILED, error::CLOSED)
}

/// Keeps the reason of a failed job as this thread's last error, for `deliver` to ask, and for those who wait for it.
fn tell(job: &Job, status: error::Status, detail: String) {
    job.ticket.inspect(|t| t.explain(&detail));
    error::keep(error::Error { status, detail });
}

/// Takes the next queued job, or lines up as idle, or decides to leave; in one go under the lock.
#[inline]
fn settle(node: &'static Node, end: bool) -> After {
    let cache = node.worker.cache();
    settle_under(node, &mut cache.lock(), end)
}

#[inline]
fn settle_under(node: &'static Node, state: &mut State, end: bool) -> After {
    if let Some(job) = state.queue.pop() {
        node.handoff.keep(Order::Job(job));
        node.has_next.set(true);
        return After::Next;
    }
    if end || state.closing {
        return After::Leave;
    }
    node.handoff.set_idle();
    node.lined_up.set(true);
    state.idle.push(node);
    After::Listed
}

/// Told to look at the hooks: exits those that were removed, starts the eager ones.
fn look(node: &'static Node) -> After {
    let settled = Cell::new(None);
    let line_up = |state: &mut State| {
        if !attachment::misses_eager(&node.worker, state) {
            settled.set(Some(settle_under(node, state, false)));
        }
    };
    if attachment::drop_removed(&node.worker, &line_up) {
        return After::Leave;
    }
    if let Some(after) = settled.get() {
        return after;
    }
    attachment::attach_eager(&node.worker, Some(&node.usual_jobs));
    settle(node, false)
}

/// Waits, listed as idle, for the next order. None: the worker is off the list, with nothing coming, and leaves.
fn wait(node: &'static Node) -> Option<&'static Order> {
    let order = next_order(node);
    node.lined_up.set(false);
    order
}

fn next_order(node: &'static Node) -> Option<&'static Order> {
    let cache = node.worker.cache();
    if let Some(order) = node.handoff.try_take() {
        return Some(order);
    }
    if node.worker.checked.get() != cache.hook_generation() {
        // Hooks changed while this worker was busy. Had it been idle it would have been told; so it goes and looks.
        return Some(match unlist(node, cache) {
            true => &Order::Look,
            false => node.handoff.await_order(),
        });
    }
    if let Some(order) = cache
        .spin
        .spin(&node.vain_spins, || node.handoff.try_take())
    {
        return Some(order);
    }
    let idle_since = clock::now_ns();
    loop {
        let deadline = || Deadline::from_start(idle_since, cache.idle_timeout_ns());
        match node.handoff.park(deadline) {
            Woken::Given(order) => return Some(order),
            Woken::Nudged => {}
            // Off the list by our own hand, so nothing comes; else somebody took us off it, and something does.
            Woken::TimedOut if unlist(node, cache) || cfg!(selv_mutant = "leave_unasked") => {
                return None;
            }
            Woken::TimedOut => return Some(node.handoff.await_order()),
        }
    }
}

/// On the worker, inside `deliver`: takes itself off the idle list for a while. False if it was not on it.
pub fn step_aside(node: &'static Node) -> bool {
    node.lined_up.get() && unlist(node, node.worker.cache())
}

/// After [`step_aside`]: is idle again, or finds its next order at once.
pub fn line_up_again(node: &'static Node) {
    let cache = node.worker.cache();
    let mut state = cache.lock();
    node.handoff.set_idle_again();
    let order = match state.queue.pop() {
        Some(job) => Order::Job(job),
        None if state.closing => Order::Exit,
        None => {
            state.idle.push(node);
            return;
        }
    };
    drop(state);
    node.handoff.give(|| order);
}

/// True if the worker took itself off the idle list; else an order is on its way.
fn unlist(node: &'static Node, cache: CacheRef) -> bool {
    let mut state = cache.lock();
    let removed = state.idle.remove(node);
    drop(state);
    if removed {
        node.handoff.set_running();
    }
    removed
}

/// Exits the hooks and ends the worker's record: true. A job that was queued meanwhile keeps it, since the last worker must not
/// go while jobs wait: then false, and the job is kept in the hand-off.
fn leave(node: &'static Node) -> bool {
    let worker = &node.worker;
    attachment::detach_all(worker);
    if worker.is_orphan() {
        return true;
    }
    let cache = worker.cache();
    super::ended::reap_what_is_over(&cache);
    trace::worker_ended(worker);
    let must_end = !worker.retired.borrow().is_empty();
    if let Some(job) = sign_off(node, cache, must_end) {
        node.handoff.keep(Order::Job(job));
        return false;
    }
    // Nobody finds this thread any more; the node is given back last.
    worker.end_current();
    LOST.set(std::ptr::null());
    super::lost::let_go(node);
    true
}

/// The last look at the state: either there is a job after all, or the worker is taken off every list.
fn sign_off(node: &'static Node, cache: CacheRef, must_end: bool) -> Option<Job> {
    let mut state = cache.lock();
    if !must_end && let Some(job) = state.queue.pop() {
        return Some(job);
    }
    state.counts.exited += 1;
    strike_off(node, &mut state);
    // A worker that had to end although jobs wait sends another in its place.
    queue::dispatch(&cache, state);
    None
}

/// Takes the worker off every list, under the lock, and its thread onto the list of those to be joined.
pub fn strike_off(node: &'static Node, state: &mut State) {
    let worker = &node.worker;
    let cache = worker.cache();
    node.struck_off.set(true);
    spawn::forget(state, node);
    state.counts.workers -= 1;
    state.counts.delivered += node.delivered.load(Ordering::Relaxed);
    let how = match cache.options.spawner {
        None => Some(How::Own(thread::current())),
        Some(spawner) => spawner
            .join
            .map(|_| How::Host(node.host_handle.get_mut(state).take())),
    };
    if let Some(how) = how {
        state.ended.push(Ended {
            worker_id: worker.id.get(),
            how,
            retired: worker.retired.take(),
        });
    }
    cache.note_change(state);
}
