//! Whom a lock goes to: the first in line is handed it, or roused to compete for it.

use super::*;

impl Lock {
    /// Restores invariant 1 after a change: the first in line is handed a free lock, or roused, or the owner's release is made to
    /// come by.
    pub(super) fn see_to_the_first(&self, state: &mut State, batch: &mut Batch) {
        loop {
            let Some(key) = state.lines.first(FOR_LOCK) else {
                return;
            };
            let first = state.lines.get(key).expect("in line");
            let word = self.word.load(Ordering::Relaxed);
            if word == SICK
                && matches!(state.health, Health::OwnerDied)
                && !cfg!(selv_mutant = "no_heir")
            {
                return self.hand_on(state, batch);
            }
            if first.want.roused || word & SICK != 0 {
                return;
            }
            if word == 0 {
                if first.is_thread() && !self.is(STRICT_FIFO) {
                    let first = state.lines.get_mut(key).expect("in line");
                    first.want.roused = true;
                    if let Who::Thread(parker) = first.who
                        && parker.rouse()
                    {
                        batch.wake(parker);
                    }
                    return;
                }
                let taken = held_by(first.task) | self.queued_after_one(state);
                // Acquire, Release: as one owner after the other.
                if self
                    .word
                    .compare_exchange(0, taken, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
                {
                    return self.hand_over(state, key, error::OK, batch);
                }
            } else if word & QUEUED != 0
                || cfg!(selv_mutant = "unflagged")
                || self
                    .word
                    .compare_exchange(word, word | QUEUED, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                // A roused one that has lost sees here whether the new owner is still there to release.
                let owner = owner_of(self.word.load(Ordering::Acquire));
                if task::life(owner) == Life::Exited {
                    self.owner_is_gone(state, owner, batch);
                }
                return;
            }
        }
    }

    /// QUEUED, if others are in line behind the first.
    pub(super) fn queued_after_one(&self, state: &State) -> u64 {
        match state.lines.len(FOR_LOCK) > 1 && !cfg!(selv_mutant = "forget_the_second") {
            true => QUEUED,
            false => 0,
        }
    }

    /// The word already names its task: the waiter leaves the line with the lock.
    pub(super) fn hand_over(&self, state: &mut State, key: Key, status: Status, batch: &mut Batch) {
        let Some(waiter) = state.lines.remove(key) else {
            return;
        };
        task::slot_of(waiter.task).inspect(|slot| slot.given_lock());
        state.handed_over += 1;
        state.handed_to = match waiter.who {
            Who::Op(op) => Some(op),
            Who::Thread(_) => None,
        };
        self.depth.store(waiter.want.depth, Ordering::Relaxed);
        let death = (status != error::OK).then(|| self.owner_is_dead(state));
        Self::answer_holder(state, waiter, death, batch);
    }

    /// Tells a waiter that it has the lock, and whether by its last owner's death.
    pub(super) fn answer_holder(
        state: &mut State,
        mut waiter: Waiter<Want>,
        death: Option<Error>,
        batch: &mut Batch,
    ) {
        let mut answer = waiter.want.back.take().unwrap_or_default();
        // That the owner died goes before how a condition's wait ended.
        if let Some(death) = death {
            answer = Answer::refused(death.status, death.detail);
        }
        answer.holds_lock = true;
        state.lines.complete(waiter, answer, batch);
    }

    /// The owner's last release, with the lock on its state held; the task's slot has been told.
    pub(in crate::core::sync) fn let_go(&self, state: &mut State, batch: &mut Batch) {
        state.handed_to = None;
        self.depth.store(0, Ordering::Relaxed);
        if let Health::OwnerDied = state.health {
            state.health = Health::NotRecoverable;
            self.word.store(SICK, Ordering::Release);
            let why = self.not_recoverable();
            self.refuse_everyone(state, why.status, why.detail.into(), batch);
            return;
        }
        if self.word.load(Ordering::Relaxed) & SICK != 0 {
            self.word.store(SICK, Ordering::Release);
            return;
        }
        let first = state.lines.first(FOR_LOCK);
        if let Some(key) = first
            && self.is_to_be_handed_over(state, key)
        {
            let next = state.lines.get(key).expect("in line").task;
            let taken = held_by(next) | self.queued_after_one(state);
            // Release: the next owner's call is answered under the state's lock, and fast paths do not touch an owned word.
            self.word.store(taken, Ordering::Release);
            self.hand_over(state, key, error::OK, batch);
            return;
        }
        self.word.store(0, Ordering::Release);
        self.see_to_the_first(state, batch);
    }

    fn is_to_be_handed_over(&self, state: &mut State, key: Key) -> bool {
        let first = state.lines.get(key).expect("in line");
        if self.is(STRICT_FIFO) || !first.is_thread() {
            return true;
        }
        let now = clock::now_ns();
        if now < state.fair_at_ns {
            return false;
        }
        // Half of it on average, and not in step with anything.
        state.seed ^= state.seed << 13;
        state.seed ^= state.seed >> 17;
        state.seed ^= state.seed << 5;
        let was_due = state.fair_at_ns != 0;
        state.fair_at_ns = now + u64::from(state.seed) % UNFAIR_NS;
        was_due
    }

    /// The owner has died, or has seen nothing of what the lock protects: the next one is told.
    pub(super) fn hand_on(&self, state: &mut State, batch: &mut Batch) {
        self.depth.store(0, Ordering::Relaxed);
        state.handed_to = None;
        match state.lines.first(FOR_LOCK) {
            None => self.word.store(SICK, Ordering::Release),
            Some(key) => {
                let next = state.lines.get(key).expect("in line").task;
                self.word.store(held_by(next) | SICK, Ordering::Release);
                self.hand_over(state, key, error::OWNER_DIED, batch);
            }
        }
    }

    /// To the line for the lock, with what is to be told when it is had.
    pub(in crate::core::sync) fn want_back(
        &self,
        state: &mut State,
        key: Key,
        verdict: Answer,
        batch: &mut Batch,
    ) {
        let Some(waiter) = state.lines.get_mut(key) else {
            return;
        };
        waiter.want.back = Some(verdict);
        let task = waiter.task;
        state.lines.move_to(key, FOR_LOCK);
        if task::slot_of(self.owner()).is_some_and(Slot::is_waiting)
            && let Some(wait) = task::slot_of(task).and_then(Slot::sole_wait)
        {
            batch.look_for_ring(task, wait);
        }
        if cfg!(selv_mutant = "return_in_silence") {
            return;
        }
        self.see_to_the_first(state, batch);
    }
}
