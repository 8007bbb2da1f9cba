//! Limiters, plainly.

use super::*;

impl Model {
    pub fn borrow(&mut self, at: usize, task: Task, who: Borrower, op: Option<Op>) -> Status {
        status(self.borrow_checked(at, task, who, op))
    }

    pub(super) fn borrow_checked(
        &mut self,
        at: usize,
        task: Task,
        who: Borrower,
        op: Option<Op>,
    ) -> Checked<Status> {
        if let Borrower::Task(task) = who {
            self.check(task)?;
        }
        if op.is_some() {
            self.check(task)?;
        }
        let limiter = &mut self.limiters[at];
        if limiter.tokens.contains(&who) || limiter.line.iter().any(|(_, _, w)| *w == who) {
            return Err(DUPLICATE);
        }
        if limiter.tokens.len() < limiter.total && limiter.line.is_empty() {
            limiter.tokens.push(who);
            return Ok(OK);
        }
        let op = op.ok_or(WOULD_BLOCK)?;
        limiter.line.push((op, task, who));
        if let Some(hops) = self.ring(task) {
            self.limiters[at].line.pop();
            self.hops = hops;
            return Err(DEADLOCK);
        }
        Ok(PENDING)
    }

    pub fn give_back(&mut self, at: usize, who: Borrower) -> Status {
        let tokens = &mut self.limiters[at].tokens;
        let Some(token) = tokens.iter().position(|t| *t == who) else {
            return match who {
                Borrower::Task(task) if !self.alive.contains(&task) => STALE,
                _ => NOT_OWNER,
            };
        };
        tokens.remove(token);
        self.lend(at);
        OK
    }

    pub fn set_total(&mut self, at: usize, total: usize) {
        self.limiters[at].total = total;
        self.lend(at);
    }

    pub(super) fn lend(&mut self, at: usize) {
        let limiter = &mut self.limiters[at];
        while limiter.tokens.len() < limiter.total && !limiter.line.is_empty() {
            let (op, task, who) = limiter.line.remove(0);
            limiter.tokens.push(who);
            let place = Place::Limiter(at, who);
            self.ready.push(Ready {
                op,
                task,
                place,
                status: OK,
                holds_lock: false,
            });
        }
    }
}
