//! Locks and their conditions, plainly.

use super::*;

impl Model {
    /// PENDING, or how the lock was had or refused at once; without an operation WOULD_BLOCK instead of PENDING.
    pub fn acquire(&mut self, at: usize, task: Task, op: Option<Op>) -> Status {
        status(self.acquire_checked(at, task, op))
    }

    pub(super) fn acquire_checked(
        &mut self,
        at: usize,
        task: Task,
        op: Option<Op>,
    ) -> Checked<Status> {
        self.check(task)?;
        let lock = &mut self.locks[at];
        if lock.owner == Some(task) {
            if !lock.is(RECURSIVE) {
                self.hops = 1;
                return Err(DEADLOCK);
            }
            lock.depth += 1;
            return Ok(OK);
        }
        if lock.closed {
            return Err(CLOSED);
        }
        if lock.owner.is_none() {
            let had = match lock.health {
                Health::Well => OK,
                Health::OwnerDied => OWNER_DIED,
                Health::Broken => return Err(BROKEN),
                Health::NotRecoverable => return Err(NOT_RECOVERABLE),
            };
            lock.owner = Some(task);
            return Ok(had);
        }
        let op = op.ok_or(WOULD_BLOCK)?;
        lock.line.push(Waiter {
            op,
            task,
            back: None,
            depth: 0,
        });
        if let Some(hops) = self.ring(task) {
            self.locks[at].line.pop();
            self.hops = hops;
            return Err(DEADLOCK);
        }
        Ok(PENDING)
    }

    pub(super) fn check_owner(&self, at: usize, task: Task) -> Checked<()> {
        if self.locks[at].owner == Some(task) {
            return Ok(());
        }
        self.check(task)?;
        Err(NOT_OWNER)
    }

    pub fn release(&mut self, at: usize, task: Task) -> Status {
        status(self.check_owner(at, task).map(|()| {
            match self.locks[at].depth {
                0 => self.let_go(at),
                _ => self.locks[at].depth -= 1,
            }
            OK
        }))
    }

    pub(super) fn let_go(&mut self, at: usize) {
        let lock = &mut self.locks[at];
        lock.owner = None;
        lock.depth = 0;
        if lock.health == Health::OwnerDied {
            lock.health = Health::NotRecoverable;
            self.refuse_all(at, NOT_RECOVERABLE);
        }
        self.serve(at);
    }

    /// A free lock goes to the first in line.
    pub(super) fn serve(&mut self, at: usize) {
        let lock = &mut self.locks[at];
        if lock.owner.is_some() || lock.line.is_empty() || lock.closed || lock.is_broken() {
            return;
        }
        let next = lock.line.remove(0);
        lock.owner = Some(next.task);
        lock.depth = next.depth;
        let status = match lock.health {
            Health::OwnerDied => OWNER_DIED,
            _ => next.back.unwrap_or(OK),
        };
        self.complete(next.op, next.task, Place::Lock(at), status, true);
    }

    pub(super) fn refuse_all(&mut self, at: usize, status: Status) {
        let lock = &mut self.locks[at];
        let mut all = std::mem::take(&mut lock.line);
        all.extend(lock.conditions.iter_mut().flat_map(|c| c.line.drain(..)));
        for w in all {
            self.complete(w.op, w.task, Place::Lock(at), status, false);
        }
    }

    pub fn repair(&mut self, at: usize, task: Task) -> Status {
        let lock = &mut self.locks[at];
        if !self.alive.contains(&task) {
            return STALE;
        }
        match lock.health {
            _ if lock.closed => CLOSED,
            Health::NotRecoverable => NOT_RECOVERABLE,
            Health::Well | Health::OwnerDied => INVAL,
            Health::Broken => {
                lock.health = Health::Well;
                lock.owner = Some(task);
                lock.depth = 0;
                OK
            }
        }
    }

    pub fn make_consistent(&mut self, at: usize, task: Task) -> Status {
        status(
            self.check_owner(at, task)
                .map(|()| match self.locks[at].health {
                    Health::OwnerDied => {
                        self.locks[at].health = Health::Well;
                        OK
                    }
                    _ => INVAL,
                }),
        )
    }

    pub fn close(&mut self, at: usize) {
        self.locks[at].closed = true;
        self.refuse_all(at, CLOSED);
    }

    pub fn wait_with(&mut self, at: usize, condition: usize, task: Task, op: Op) -> Status {
        if let Err(refused) = self.check_owner(at, task) {
            return refused;
        }
        let lock = &mut self.locks[at];
        match lock.health {
            _ if lock.closed => return CLOSED,
            Health::Well => {}
            _ => return INVAL,
        }
        if lock.conditions[condition].closed {
            return CLOSED;
        }
        lock.conditions[condition].line.push(Waiter {
            op,
            task,
            back: None,
            depth: lock.depth,
        });
        self.let_go(at);
        PENDING
    }

    pub fn notify(&mut self, at: usize, condition: usize, task: Task, n: usize) -> Status {
        status(self.check_owner(at, task).map(|()| {
            let n = n.min(self.locks[at].conditions[condition].line.len());
            self.call_in(at, condition, n, OK);
            OK
        }))
    }

    pub fn close_condition(&mut self, at: usize, condition: usize) {
        self.locks[at].conditions[condition].closed = true;
        self.call_in(at, condition, usize::MAX, CLOSED);
    }

    /// Up to `n` waiters of a condition want the lock back.
    pub(super) fn call_in(&mut self, at: usize, condition: usize, n: usize, verdict: Status) {
        let lock = &mut self.locks[at];
        let line = &mut lock.conditions[condition].line;
        let n = n.min(line.len());
        lock.line.extend(line.drain(..n).map(|w| Waiter {
            back: Some(verdict),
            ..w
        }));
        self.serve(at);
    }
}
