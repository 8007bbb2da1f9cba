//! Workers that a runtime ended inside a callback, with `pthread_exit` (CPython does so up to 3.13, when a thread asks for the
//! interpreter while that is being finalised). Nothing of the host is called for them; what they held is accounted for, and
//! a job that they did not get to deliver is delivered by another worker.

use super::callback::Outcome;
use super::error;
use super::hook::Left;
use super::job::{Job, Needs, Order};
use super::life;
use super::node::{Node, Stage};
use super::queue;
use super::sync::exit;
use super::sync::task::TaskId;
use super::worker::Worker;

/// On the thread that ends: its worker did not leave by itself.
pub fn worker(node: &'static Node) {
    let worker = &node.worker;
    worker.end_current();
    if worker.is_orphan() {
        return;
    }
    if node.struck_off.get() {
        // It had signed off, and was delivering what nobody is left to run.
        if let Some(left) = node.current.take().and_then(|j| left_of(node, *j)) {
            queue::bring_back(&worker.cache(), left);
        }
        return let_go(node);
    }
    let task = node.task.replace(TaskId::NONE);
    if task != TaskId::NONE {
        exit::of_ending_thread(task);
    }
    let cache = worker.cache();
    let listed = cache.lock().idle.remove(node);
    let given = match node.lined_up.get() && !listed {
        // Somebody took us off the list, so an order is on its way, and is not to be lost.
        true => Some(*node.handoff.await_order()),
        false => {
            node.handoff.set_running();
            None
        }
    };
    forget_hooks(worker);
    let mut state = cache.lock();
    let next = node.has_next.take().then(|| *node.handoff.kept()).or(given);
    if let Some(Order::Job(job)) = next {
        state.queue.push_front(job);
    }
    if let Some(left) = node.current.take().and_then(|j| left_of(node, *j)) {
        state.queue.push_front(left);
    }
    state.counts.lost += 1;
    life::strike_off(node, &mut state);
    queue::dispatch(&cache, state);
    let_go(node);
}

/// The last that a worker's thread does.
pub fn let_go(node: &'static Node) {
    let cache = node.worker.cache();
    node.give_back();
    super::shutdown::after_a_worker(cache);
    cache.release();
}

/// What is left to do for a job whose worker went away.
fn left_of(node: &Node, job: Job) -> Option<Job> {
    let stage = node.stage.get();
    if stage == Stage::Preparing
        && let Some(ticket) = job.ticket
        && !ticket.begin()
    {
        // Cancelled meanwhile: whoever cancelled it delivers.
        ticket.release();
        return None;
    }
    if stage == Stage::Freeing {
        job.finish(&node.outcome.get());
        return None;
    }
    let delivered = stage == Stage::Delivering;
    let outcome = match delivered {
        true => node.outcome.get(),
        false => Outcome::failed(error::BROKEN, 0),
    };
    Some(Job {
        needs: Needs::Leftover { outcome, delivered },
        ..job
    })
}

/// The thread is not attached anywhere any more, though nothing was called. Whoever waits for the removal of one of its
/// hooks frees that one's user data.
pub fn forget_hooks(worker: &Worker) {
    let cache = worker.cache();
    for hook in worker.freeing.take() {
        hook.conclude_free();
    }
    let attachments = worker.attachments.take();
    let starting = worker.starting.take();
    let mut state = cache.lock();
    for hook in attachments.iter().map(|a| &a.hook).chain(&starting) {
        hook.left(&mut state, worker.id.get(), Left::Lost);
    }
    cache.note_change(&mut state);
}
