//! What becomes of a lock whose owner exits while holding it, and how it is made whole.

use super::*;

/// What is wrong with a lock whose word has SICK. Plain data, which is whole in a fork child whatever another thread was doing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Well,
    /// Its owner exited while holding it.
    Broken,
    /// ROBUST: the same, and who has it now is to make it consistent.
    OwnerDied,
    /// ROBUST: and did not.
    NotRecoverable,
}

impl Lock {
    /// The word names a task that has exited: it held the lock; or it was granted it and has not come to know, and then the grant goes
    /// to the next, and nothing breaks.
    pub(super) fn owner_is_gone(&self, state: &mut State, owner: TaskId, batch: &mut Batch) {
        // It may have released the lock before it exited, and somebody else have it. If the word still names it now that it has
        // exited, that stays so: no other task has its number.
        if owner_of(self.word.load(Ordering::Acquire)) != owner
            && !cfg!(selv_mutant = "trust_the_first_look")
        {
            return;
        }
        match state.handed_to {
            Some(op) if operation::revoke(op).is_some() => self.pass_on_under(state, batch),
            _ => self.owner_died(state, owner, batch),
        }
    }

    /// What an owner has that does not know of it goes to the next.
    pub(super) fn pass_on_under(&self, state: &mut State, batch: &mut Batch) {
        match state.health {
            // It has seen nothing of what the lock protects; the next is told the same.
            Health::OwnerDied => self.hand_on(state, batch),
            _ => self.let_go(state, batch),
        }
    }

    pub(super) fn owner_died(&self, state: &mut State, owner: TaskId, batch: &mut Batch) {
        // SICK: from here on no fast path changes the word, whatever the host does.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if owner_of(word) != owner && !cfg!(selv_mutant = "trust_the_first_look") {
                return;
            }
            match self
                .word
                .compare_exchange(word, word | SICK, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        state.dead.push(owner);
        // Release pairs with the Acquire in `owner_exited`.
        self.dead.store(state.dead.len() as u64, Ordering::Release);
        state.breaks += 1;
        self.depth.store(0, Ordering::Relaxed);
        let why: Arc<str> = format!(
            "{} {}: its owner, {}, exited while holding it",
            self.identity.as_str(),
            match self.is(ROBUST) {
                true => "is to be made consistent",
                false => "is broken",
            },
            Named(owner)
        )
        .into();
        state.last_death = Some(Arc::clone(&why));
        if self.is(ROBUST) {
            state.health = Health::OwnerDied;
            return self.hand_on(state, batch);
        }
        state.health = Health::Broken;
        self.word.store(SICK, Ordering::Release);
        self.refuse_everyone(state, error::BROKEN, why, batch);
    }

    /// Those in line, and those that wait for conditions.
    pub(super) fn refuse_everyone(
        &self,
        state: &mut State,
        status: Status,
        why: Arc<str>,
        batch: &mut Batch,
    ) {
        for line in 0..state.lines.lines() {
            state.lines.refuse_all(line, status, &why, batch);
        }
    }

    /// Takes a broken lock, and makes it whole.
    ///
    /// # Errors
    /// INVAL (it is not broken), NOT_RECOVERABLE, CLOSED; STALE for the task.
    pub fn repair(&self, task: TaskId) -> Result<()> {
        let slot = task::check(task)?;
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        let owner = owner_of(self.word.load(Ordering::Acquire));
        if owner != TaskId::NONE && task::life(owner) == Life::Exited {
            self.owner_is_gone(&mut state, owner, &mut batch);
        }
        let forked = task::life(owner_of(self.word.load(Ordering::Acquire))) == Life::Forked;
        let result = match state.health {
            _ if state.closed => Err(self.identity.closed()),
            Health::NotRecoverable => Err(self.not_recoverable()),
            Health::Broken => Ok(held_by(task)),
            // Its owner is in the parent process, and with it what the lock protects.
            Health::OwnerDied if forked => Ok(held_by(task) | SICK),
            _ if forked => Ok(held_by(task)),
            Health::OwnerDied => Err(Error::new(
                error::INVAL,
                format!(
                    "{} is SELV_LOCK_ROBUST: acquire it, and then make it consistent",
                    self.identity.as_str()
                ),
            )),
            Health::Well => Err(Error::new(
                error::INVAL,
                format!("{} is not broken", self.identity.as_str()),
            )),
        };
        let result = result.map(|word| {
            if word & SICK == 0 {
                state.health = Health::Well;
            }
            self.depth.store(0, Ordering::Relaxed);
            self.word.store(word, Ordering::Release);
            slot.took_lock();
        });
        drop(state);
        batch.finish();
        result
    }

    /// # Errors
    /// NOT_OWNER, INVAL (there is nothing to make consistent).
    pub fn make_consistent(&self, task: TaskId) -> Result<()> {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        self.check_owner(&state, task, || {
            "make a lock consistent that it does not hold".to_owned()
        })?;
        let Health::OwnerDied = state.health else {
            return Err(Error::new(
                error::INVAL,
                format!(
                    "{} is consistent: it was not acquired with SELV_OWNER_DIED",
                    self.identity.as_str()
                ),
            ));
        };
        state.health = Health::Well;
        if !state.closed {
            self.word.store(held_by(task), Ordering::Release);
            self.see_to_the_first(&mut state, &mut batch);
        }
        drop(state);
        batch.finish();
        Ok(())
    }

    /// The owner is about to let go of it in order to wait.
    ///
    /// # Errors
    /// CLOSED, INVAL (it is to be made consistent first).
    pub(in crate::core::sync) fn check_release_is_plain(&self, state: &State) -> Result<()> {
        match state.health {
            _ if state.closed => Err(self.identity.closed()),
            Health::Well => Ok(()),
            _ => Err(Error::new(
                error::INVAL,
                format!(
                    "{} was acquired with SELV_OWNER_DIED: make it consistent before waiting with it",
                    self.identity.as_str()
                ),
            )),
        }
    }

    pub(super) fn broken(&self, state: &State) -> Error {
        self.death(state, error::BROKEN, "was broken when the process forked")
    }

    /// What comes with OWNER_DIED.
    pub(super) fn owner_is_dead(&self, state: &State) -> Error {
        let before = "was to be made consistent when the process forked";
        self.death(state, error::OWNER_DIED, before)
    }

    fn death(&self, state: &State, status: Status, before: &str) -> Error {
        let why = match &state.last_death {
            Some(why) => why.to_string(),
            None => format!("{} {before}", self.identity.as_str()),
        };
        Error::new(status, why)
    }

    pub(super) fn forked(&self, owner: TaskId) -> Error {
        Error::new(
            error::FORKED,
            format!(
                "{} was held by {} when the process forked, which is in the parent process",
                self.identity.as_str(),
                Named(owner)
            ),
        )
    }

    pub(super) fn not_recoverable(&self) -> Error {
        Error::new(
            error::NOT_RECOVERABLE,
            format!(
                "{} was released without being made consistent after its owner died; it can only be freed",
                self.identity.as_str()
            ),
        )
    }
}
