//! What the lock of a host loop protects.

use super::entry::Entry;
use super::host_loop::Counts;
use crate::core::callback::{CallFn, Opaque};
use crate::sys::lock::ForkReset;
use std::collections::{HashSet, VecDeque};

#[derive(Default)]
pub struct State {
    pub queue: VecDeque<Entry>,
    /// The idempotent calls among them.
    pub once: HashSet<(CallFn, Opaque)>,
    /// The host has been woken, and has not begun to drain since.
    pub armed: bool,
    /// The token of the thread that drains; 0: none does.
    pub drainer: u64,
    /// How many of the first in the queue are its.
    pub bound: usize,
    pub closed: bool,
    pub guests: u32,
    pub counts: Counts,
}

impl State {
    pub fn accept(&mut self, entry: Entry) {
        self.queue.push_back(entry);
        self.counts.accepted += 1;
    }

    pub fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        if let Entry::Soon {
            run,
            arg,
            once: true,
            ..
        } = &entry
        {
            self.once.remove(&(*run, *arg));
        }
        Some(entry)
    }

    pub fn is_to_be_woken(&self) -> bool {
        !self.queue.is_empty() && !self.armed && self.drainer == 0 && !self.closed
    }
}

impl ForkReset for State {
    fn reset_in_child(&mut self) {
        std::mem::forget(std::mem::take(self));
    }
}
