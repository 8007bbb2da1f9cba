//! The line of an object: its waiters, threads and operations in one order. Under the object's lock.

use super::answer::{Answer, Why};
use super::batch::Batch;
use super::operation::{self, OpId};
use super::parker::Parker;
use super::task::{self, TaskId};
use super::wait::Object;
use crate::core::error::Status;
use crate::sys::clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A waiter's place in the line of one object; `wait` is never used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    index: u32,
    pub wait: u64,
}

/// What a task waits for, as its slot has it.
#[derive(Clone)]
pub struct Waiting {
    pub object: Arc<dyn Object>,
    pub key: Key,
    /// None: a thread is blocked.
    pub op: Option<OpId>,
    /// Whether it counts for deadlock: a wait with a timeout ends by itself.
    pub edge: bool,
}

/// Who is told.
#[derive(Clone, Copy)]
pub enum Who {
    Thread(&'static Parker),
    Op(OpId),
}

pub struct Waiter<W> {
    pub task: TaskId,
    pub who: Who,
    pub since_ns: u64,
    pub timed: bool,
    pub want: W,
    pub(super) wait: u64,
    line: u32,
    next: u32,
    previous: u32,
}

impl<W> Waiter<W> {
    pub fn is_thread(&self) -> bool {
        matches!(self.who, Who::Thread(_))
    }
}

const END: u32 = u32::MAX;

/// One order of waiters.
#[derive(Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
    len: u32,
}

const EMPTY: Ends = Ends {
    first: END,
    last: END,
    len: 0,
};

enum Entry<W> {
    Vacant(u32),
    Waiter(Waiter<W>),
}

/// The waiters of one object, in one or several lines that they can move between.
pub struct Lines<W> {
    entries: Vec<Entry<W>>,
    vacant: u32,
    lines: Vec<Ends>,
    tickets: u64,
    pub counts: WaitCounts,
}

/// What has happened to waiters so far.
#[derive(Default, Clone, Copy)]
pub struct WaitCounts {
    pub waits: u64,
    pub granted: u64,
    pub timeouts: u64,
    pub cancelled: u64,
    pub deadlocks: u64,
}

impl<W> Lines<W> {
    pub const fn new() -> Self {
        Lines {
            entries: Vec::new(),
            vacant: END,
            lines: Vec::new(),
            tickets: 0,
            counts: WaitCounts {
                waits: 0,
                granted: 0,
                timeouts: 0,
                cancelled: 0,
                deadlocks: 0,
            },
        }
    }

    /// In a fork child: nobody waits here. The waiters are the parent's, and are forgotten.
    pub fn forget_all(&mut self) {
        std::mem::forget(std::mem::replace(self, Lines::new()));
    }

    fn ends(&mut self, line: u32) -> &mut Ends {
        if self.lines.len() <= line as usize {
            self.lines.resize(line as usize + 1, EMPTY);
        }
        &mut self.lines[line as usize]
    }

    pub fn len(&self, line: u32) -> usize {
        self.lines.get(line as usize).map_or(0, |l| l.len as usize)
    }

    pub fn is_empty(&self, line: u32) -> bool {
        self.len(line) == 0
    }

    /// The first in line.
    pub fn first(&self, line: u32) -> Option<Key> {
        let index = self.lines.get(line as usize)?.first;
        self.at(index).map(|w| Key {
            index,
            wait: w.wait,
        })
    }

    fn at(&self, index: u32) -> Option<&Waiter<W>> {
        match self.entries.get(index as usize) {
            Some(Entry::Waiter(waiter)) => Some(waiter),
            _ => None,
        }
    }

    fn at_mut(&mut self, index: u32) -> Option<&mut Waiter<W>> {
        match self.entries.get_mut(index as usize) {
            Some(Entry::Waiter(waiter)) => Some(waiter),
            _ => None,
        }
    }

    pub fn get(&self, key: Key) -> Option<&Waiter<W>> {
        self.at(key.index).filter(|w| w.wait == key.wait)
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut Waiter<W>> {
        self.at_mut(key.index).filter(|w| w.wait == key.wait)
    }

    pub fn line_of(&self, key: Key) -> Option<u32> {
        self.get(key).map(|w| w.line)
    }

    /// A new waiter at the end of the line.
    pub fn push(&mut self, line: u32, task: TaskId, who: Who, timed: bool, want: W) -> Key {
        static WAITS: AtomicU64 = AtomicU64::new(1);
        let wait = WAITS.fetch_add(1, Relaxed);
        let waiter = Waiter {
            task,
            who,
            since_ns: clock::now_ns(),
            timed,
            want,
            wait,
            line,
            next: END,
            previous: END,
        };
        let index = match self.entries.get(self.vacant as usize) {
            Some(Entry::Vacant(next)) => {
                let index = self.vacant;
                self.vacant = *next;
                self.entries[index as usize] = Entry::Waiter(waiter);
                index
            }
            _ => {
                self.entries.push(Entry::Waiter(waiter));
                (self.entries.len() - 1) as u32
            }
        };
        self.counts.waits += 1;
        self.join(index, line);
        Key { index, wait }
    }

    fn join(&mut self, index: u32, line: u32) {
        let ends = self.ends(line);
        let previous = ends.last;
        ends.last = index;
        ends.len += 1;
        match previous {
            END => ends.first = index,
            _ => self.at_mut(previous).expect("in line").next = index,
        }
        let waiter = self.at_mut(index).expect("present");
        waiter.line = line;
        waiter.previous = previous;
        waiter.next = END;
    }

    fn leave(&mut self, index: u32) {
        let waiter = self.at(index).expect("present");
        let (line, previous, next) = (waiter.line, waiter.previous, waiter.next);
        match previous {
            END => self.ends(line).first = next,
            _ => self.at_mut(previous).expect("in line").next = next,
        }
        match next {
            END => self.ends(line).last = previous,
            _ => self.at_mut(next).expect("in line").previous = previous,
        }
        self.ends(line).len -= 1;
    }

    /// To the end of another line; the place in the old one is given up.
    pub fn move_to(&mut self, key: Key, line: u32) {
        if self.get(key).is_some() {
            self.leave(key.index);
            self.join(key.index, line);
        }
    }

    /// Takes a waiter out; who does has to answer it.
    pub fn remove(&mut self, key: Key) -> Option<Waiter<W>> {
        self.get(key)?;
        self.leave(key.index);
        let vacated = std::mem::replace(
            &mut self.entries[key.index as usize],
            Entry::Vacant(self.vacant),
        );
        self.vacant = key.index;
        match vacated {
            Entry::Waiter(waiter) => Some(waiter),
            Entry::Vacant(_) => None,
        }
    }

    /// Takes out the first in line.
    pub fn pop(&mut self, line: u32) -> Option<Waiter<W>> {
        self.first(line).and_then(|key| self.remove(key))
    }

    /// From the first to the last.
    pub fn iter(&self, line: u32) -> impl Iterator<Item = &Waiter<W>> {
        let first = self.lines.get(line as usize).map_or(END, |l| l.first);
        std::iter::successors(self.at(first), |w| self.at(w.next))
    }

    /// How many lines have ever been used.
    pub fn lines(&self) -> u32 {
        self.lines.len() as u32
    }

    /// Tells a waiter that was taken out how its wait ended.
    pub fn complete(&mut self, waiter: Waiter<W>, mut answer: Answer, batch: &mut Batch) {
        self.tickets += 1;
        answer.ticket = self.tickets;
        if answer.status >= 0 {
            self.counts.granted += 1;
        }
        let slot = task::slot_of(waiter.task);
        let left = match waiter.who {
            Who::Thread(parker) => {
                let left = slot.and_then(|slot| slot.end_wait(waiter.wait, None));
                if parker.answer(answer) {
                    batch.wake(parker);
                }
                left
            }
            Who::Op(op) => {
                // In this order: an exit of the task finds the answer by one list or the other.
                operation::complete(op, answer);
                batch.call(op);
                slot.and_then(|slot| slot.end_wait(waiter.wait, Some(op)))
            }
        };
        left.inspect(|wait| batch.look_for_ring(waiter.task, wait.clone()));
    }

    /// Tells everybody in a line the same error.
    pub fn refuse_all(&mut self, line: u32, status: Status, why: &Arc<str>, batch: &mut Batch) {
        while let Some(waiter) = self.pop(line) {
            let answer = Answer::refused(status, Arc::clone(why));
            self.complete(waiter, answer, batch);
        }
    }

    /// Tells a waiter that was taken out that it does not get `what`, and counts why; `lacking` is the sentence for a timeout.
    pub fn refuse(
        &mut self,
        waiter: Waiter<W>,
        why: &Why,
        what: &str,
        lacking: impl FnOnce() -> String,
        batch: &mut Batch,
    ) {
        match why {
            Why::TimedOut => self.counts.timeouts += 1,
            Why::Deadlock(..) => self.counts.deadlocks += 1,
            Why::Cancelled | Why::Interrupted | Why::TaskExited | Why::Abandoned => {
                self.counts.cancelled += 1;
            }
        }
        match waiter.who {
            Who::Op(op) if why.is_silent() => {
                let slot = task::slot_of(waiter.task);
                let left = slot.and_then(|slot| slot.end_wait(waiter.wait, None));
                left.inspect(|wait| batch.look_for_ring(waiter.task, wait.clone()));
                operation::forget(op);
            }
            _ => self.complete(waiter, why.answer(what, lacking), batch),
        }
    }
}
