//! Calling the callbacks of completed operations.
//!
//! They run on the thread that completed the operation, with no lock held, one after the other: a callback that completes another
//! operation, by a release for instance, adds to the list that is being worked off, so chains of any length need no stack.
//! Those that belong to a host loop wait in its queue instead, and what they complete is called when they have returned, too.
//! A thread that is ending calls nothing any more: a worker of the default cache does.

use super::answer::Answer;
use super::batch::Batch;
use super::current;
use super::operation::{self, Completion, OpId, Place, Ready};
use crate::core::callback::Completed;
use crate::core::chain::{Chain, Link};
use crate::core::elsewhere;
use crate::core::error;
use crate::core::host::entry::Entry;
use crate::core::host::host_loop::HostLoop;
use crate::core::name::Name;
use crate::sys::sync::thread_local;

/// What a thread has still to call.
struct List {
    ops: Vec<OpId>,
    next: usize,
}

thread_local! {
    // There is one while the thread is calling; one more inside it when a callback drains a host loop.
    static CALLING: Chain<List> = const { Chain::new() };
}

/// Calls the callbacks, here or on the way out of the callback that is running here; that of `not_here` elsewhere.
pub fn run(ops: Vec<OpId>, not_here: Option<OpId>) {
    if current::is_ending() {
        return run_elsewhere(ops);
    }
    let calling = CALLING.with(Chain::innermost);
    // SAFETY: the list is this thread's, and no reference to it outlives `next`.
    if let Some(list) = unsafe { calling.as_mut() } {
        list.what.ops.extend(ops);
        return;
    }
    let list = begin(ops);
    work_off(list, not_here);
    end(list);
}

fn begin(ops: Vec<OpId>) -> *mut Link<List> {
    current::watch_end();
    CALLING.with(|calling| calling.add(List { ops, next: 0 }))
}

fn work_off(list: *mut Link<List>, not_here: Option<OpId>) {
    while let Some(op) = next(list) {
        match Some(op) == not_here {
            true => run_elsewhere(vec![op]),
            false => call(op),
        }
    }
}

fn end(list: *mut Link<List>) {
    // SAFETY: from `begin`, once.
    drop(unsafe { CALLING.with(|calling| calling.take_out(list)) });
}

/// Whether the host loop of an operation still runs what is queued.
#[derive(Clone, Copy, PartialEq)]
pub enum Open {
    Yes,
    No,
}

/// On its host loop's thread: calls the callback of an operation, and then those that it completed. False if it was abandoned.
pub fn run_apart(op: OpId, open: Open) -> bool {
    let Some(ready) = operation::consume(op) else {
        return false;
    };
    let list = begin(Vec::new());
    tell(op, ready, open);
    work_off(list, None);
    end(list);
    true
}

fn next(list: *mut Link<List>) -> Option<OpId> {
    // SAFETY: from `begin`; no reference outlives this function, so a callback may add to the list.
    let list = unsafe { &mut (*list).what };
    let op = list.ops.get(list.next).copied();
    list.next += 1;
    if list.next == list.ops.len() {
        list.ops.clear();
        list.next = 0;
    }
    op
}

/// The thread ends, maybe in the middle of a callback: the others are called elsewhere.
pub fn thread_ends() {
    crate::core::limited::thread_ends();
    while let Some(list) = CALLING.with(Chain::pop) {
        run_elsewhere(list.ops[list.next..].to_vec());
    }
    crate::core::delivery::thread_ends();
    crate::core::host::drain::thread_ends();
}

/// On a worker of the default cache.
pub fn run_elsewhere(ops: Vec<OpId>) {
    if ops.is_empty() {
        return;
    }
    if let Err(ops) = elsewhere::run(ops, |ops| run(ops, None), Name::NONE) {
        // No thread can be started. Better here than never; but not by `run`, which would come back here on a thread that is ending.
        ops.into_iter().for_each(call);
    }
}

/// An operation that is not told here: one of the library's own is told at once, which calls nothing of the host, and one that has a
/// host loop is queued there. False if the operation is neither, or its loop is closed.
pub fn goes_elsewhere(op: OpId) -> bool {
    match operation::place(op) {
        Place::Own => {
            call(op);
            true
        }
        Place::Loop(host) => host.push(|| Entry::Completion(op)).is_ok(),
        Place::Anywhere => false,
    }
}

/// Tells an operation of the library's own, at once.
pub fn settle_own(op: OpId) -> bool {
    let own = matches!(operation::place(op), Place::Own);
    if own {
        call(op);
    }
    own
}

fn call(op: OpId) {
    // An operation that was abandoned meanwhile is gone.
    if let Some(ready) = operation::consume(op) {
        // One with a host loop gets here only if that is closed.
        tell(op, ready, Open::No);
    }
}

/// Nothing here is to be dropped when the host's function runs: it may end the thread.
fn tell(op: OpId, mut ready: Ready, open: Open) {
    let (call, arg) = match ready.take_completion() {
        Completion::Own(call, arg) => return call(arg, ready.into_answer()),
        Completion::Host { call, arg, on } => {
            if let Some(host) =
                on.filter(|_| open == Open::No && !cfg!(selv_mutant = "grant_on_closed_loops"))
            {
                ready = closed(ready, &host);
            }
            (call, arg)
        }
    };
    let answer = ready.into_answer();
    answer.keep_why();
    let completed = completed(op, answer);
    call.call(arg.0, &completed);
}

/// The callback is not on the thread where it was to be: all that it can do is clean up, so what was granted goes to the next.
fn closed(ready: Ready, host: &HostLoop) -> Ready {
    let why = format!(
        "{}, where the operation was to be completed, is closed",
        host.what()
    );
    let mut batch = Batch::new();
    let ready = ready.refuse(Answer::refused(error::CLOSED, why), &mut batch);
    batch.finish();
    ready
}

/// In the layout of the host, with nothing to drop.
fn completed(op: OpId, answer: Answer) -> Completed {
    let (data, len) = match answer.data {
        Some(bytes) => bytes.into_raw(),
        None => (std::ptr::null_mut(), 0),
    };
    Completed {
        struct_size: size_of::<Completed>() as u32,
        status: answer.status,
        ticket: answer.ticket,
        op: op.0,
        holds_lock: i32::from(answer.holds_lock),
        data: data.cast(),
        len,
    }
}
