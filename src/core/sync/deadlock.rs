//! Finding the ring that a wait would close.
//!
//! A waiter is in its line, and in its task's slot, before it looks; so of two that close a ring together the later one sees the
//! whole of it. The walk goes from a waiter to the one task that could end its wait, to what that task waits for, and so on. Each
//! step is a look at one moment, so what it finds is confirmed: under one lock for all, the walk is done twice, and the ring is
//! real if both found the same waits, since a wait's number is never used again: between the two walks all of them were there.
//! Of several waits that close one ring together, the lock lets one be refused, and the others then find no ring.
//!
//! A ring can close in other ways than by the beginning of a wait: a condition's waiter comes to wait for its lock, or of two things
//! that a task waits for one is had. Who does that looks, too, when it has let all locks go.
//!
//! Only a task that waits for exactly one thing holds others up by that; a wait that will end by itself holds nobody up.

use super::answer::Why;
use super::batch::Batch;
use super::lines::Key;
use super::task::{self, TaskId, Words};
use super::wait::Object;
use crate::sys::lock::{ForkReset, static_lock};
use std::fmt::Write;
use std::sync::Arc;

/// Longer chains are not followed.
const LONGEST: usize = 10_000;

struct OneAtATime;

impl ForkReset for OneAtATime {
    fn reset_in_child(&mut self) {}
}

static_lock!(static CONFIRM: OneAtATime = OneAtATime);

struct Hop {
    task: TaskId,
    object: Arc<dyn Object>,
    key: Key,
}

/// The ring that begins and ends at `task`, which waits for `object`.
fn ring(task: TaskId, object: &Arc<dyn Object>, key: Key) -> Option<Vec<Hop>> {
    let mut owner = object.held_up_by(key)?;
    task::slot_of(task)?.sole_wait().filter(|w| w.key == key)?;
    // Most owners are running, and this is where most walks end.
    if owner != task && !task::slot_of(owner)?.is_waiting() {
        return None;
    }
    let mut hops = vec![Hop {
        task,
        object: Arc::clone(object),
        key,
    }];
    // A ring further on, that this task is not part of, would be walked for ever: a hop that is met again ends it.
    let mut mark = 0;
    while owner != task {
        if hops.len() >= LONGEST || hops[mark].task == owner {
            return None;
        }
        if hops.len().is_power_of_two() {
            mark = hops.len() - 1;
        }
        let wait = task::slot_of(owner)?.sole_wait().filter(|w| w.edge)?;
        let next = wait.object.held_up_by(wait.key)?;
        hops.push(Hop {
            task: owner,
            object: wait.object,
            key: wait.key,
        });
        owner = next;
    }
    Some(hops)
}

/// Ends the wait of `task` with DEADLOCK if it closes a ring; gives the ring in words. `silent`: an operation's own call answers,
/// so it has no callback.
pub fn refuse_ring(
    task: TaskId,
    object: &Arc<dyn Object>,
    key: Key,
    silent: bool,
    batch: &mut Batch,
) -> Option<Arc<str>> {
    ring(task, object, key)?;
    let _one_at_a_time = (!cfg!(selv_mutant = "unconfirmed")).then(|| CONFIRM.lock());
    let mut first = ring(task, object, key)?;
    let real = loop {
        let second = ring(task, object, key)?;
        let same = first.len() == second.len()
            && first
                .iter()
                .zip(&second)
                .all(|(a, b)| a.task == b.task && a.key == b.key);
        if same {
            break second;
        }
        first = second;
    };
    let why: Arc<str> = in_words(&real).into();
    object
        .withdraw(key, &Why::Deadlock(Arc::clone(&why), silent), batch)
        .then_some(why)
}

fn in_words(ring: &[Hop]) -> String {
    let tasks = Words::new(ring.iter().map(|hop| hop.task));
    let first = &tasks[ring[0].task];
    let mut words = format!("{first} would wait for {}", ring[0].object.label());
    for hop in &ring[1..] {
        let _ = write!(
            words,
            ", held by {}, which waits for {}",
            &tasks[hop.task],
            hop.object.label()
        );
    }
    let _ = write!(words, ", held by {first}");
    words
}
