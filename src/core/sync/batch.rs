//! What is left to do when an object's lock has been let go: threads to wake, callbacks to call, rings to look for.

use super::completions;
use super::deadlock;
use super::lines::Waiting;
use super::operation::OpId;
use super::parker::Parker;
use super::task::TaskId;

/// What is to be done when no lock is held any more.
#[derive(Default)]
pub struct Batch {
    first: Option<&'static Parker>,
    more: Vec<&'static Parker>,
    ready: Vec<OpId>,
    /// Waits that may have come to close a ring.
    looks: Vec<(TaskId, Waiting)>,
}

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    pub fn look_for_ring(&mut self, task: TaskId, wait: Waiting) {
        if wait.edge && !cfg!(selv_mutant = "never_look_back") {
            self.looks.push((task, wait));
        }
    }

    /// The operation was answered; its callback is to be called.
    pub fn call(&mut self, op: OpId) {
        self.ready.push(op);
    }

    pub fn wake(&mut self, parker: &'static Parker) {
        match self.first {
            None => self.first = Some(parker),
            Some(_) => self.more.push(parker),
        }
    }

    /// Takes an operation out, whose callback is not to run here; None if it is not in this batch.
    pub fn take_ready(&mut self, op: OpId) -> Option<OpId> {
        let at = self.ready.iter().position(|&o| o == op)?;
        Some(self.ready.remove(at))
    }

    /// What the library itself waits for goes first, and behind no callback of the host.
    pub fn settle_own(&mut self) {
        self.ready.retain(|&op| !completions::settle_own(op));
    }

    pub fn has_callbacks(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Wakes, and has the callbacks called on a worker.
    pub fn finish_elsewhere(self) {
        completions::run_elsewhere(self.wake_all());
    }

    /// Wakes and calls; to be done with no lock held. The callbacks are the host's.
    #[inline]
    pub fn finish(self) {
        let ready = self.wake_all();
        if !ready.is_empty() {
            completions::run(ready, None);
        }
    }

    /// The same inside the call that begins `op`, whose own callback is not to run before that returns, even if another callback
    /// that runs here completes it.
    pub(super) fn finish_within(self, op: OpId) {
        let ready = self.wake_all();
        if !ready.is_empty() {
            completions::run(ready, Some(op));
        }
    }

    fn wake_all(self) -> Vec<OpId> {
        let Batch {
            first,
            more,
            mut ready,
            looks,
        } = self;
        first.inspect(|p| p.wake());
        more.iter().for_each(|p| p.wake());
        for (task, wait) in looks {
            let mut batch = Batch::new();
            deadlock::refuse_ring(task, &wait.object, wait.key, false, &mut batch);
            ready.extend(batch.wake_all());
        }
        ready.retain(|&op| !completions::goes_elsewhere(op));
        ready
    }
}
