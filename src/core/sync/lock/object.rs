//! The lock as one object among others: its end, its statistics, and what exits, cancels and walks ask of it.

use super::*;

impl Lock {
    /// Nobody acquires it any more.
    pub fn close(&self) {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        state.closed = true;
        let mut word = self.word.load(Ordering::Relaxed);
        // Fast paths may still change the word until it is SICK.
        while let Err(now) = self.word.compare_exchange(
            word,
            (word | SICK) & !QUEUED,
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            word = now;
        }
        let why = self.identity.closed();
        self.refuse_everyone(&mut state, why.status, why.detail.into(), &mut batch);
        drop(state);
        batch.finish();
    }

    /// True if nobody has anything to do with it any more; then it leaves the registry.
    ///
    /// # Errors
    /// BUSY.
    pub fn retire(&self) -> Result<()> {
        let state = self.state.lock();
        let owner = owner_of(self.word.load(Ordering::Relaxed));
        let waiting: usize = (0..state.lines.lines()).map(|l| state.lines.len(l)).sum();
        let busy = match () {
            () if task::life(owner) == Life::Alive && owner != TaskId::NONE => {
                format!("is held by {}", Named(owner))
            }
            () if waiting > 0 => format!("has {waiting} waiting"),
            () if state.conditions.count() > 0 => {
                let names: Vec<&str> = state.conditions.names().collect();
                format!("is used by {}", names.join(", "))
            }
            () => {
                drop(state);
                return self.identity.retire(0);
            }
        };
        let why = format!("{} {busy}", self.identity.as_str());
        Err(Error::new(error::BUSY, why))
    }

    /// Who holds it: none if it is free or broken.
    pub fn owner(&self) -> TaskId {
        let owner = owner_of(self.word.load(Ordering::Relaxed));
        match task::life(owner) {
            Life::Exited => TaskId::NONE,
            Life::Alive | Life::Forked => owner,
        }
    }

    pub fn stats(&self) -> Stats {
        let state = self.state.lock();
        let owner = self.owner();
        Stats {
            owner,
            depth: match owner {
                TaskId::NONE => 0,
                _ => u64::from(self.depth.load(Ordering::Relaxed)) + 1,
            },
            waiting: state.lines.len(FOR_LOCK) as u64,
            counts: state.lines.counts,
            handed_over: state.handed_over,
            breaks: state.breaks,
            broken: matches!(state.health, Health::Broken | Health::NotRecoverable),
            closed: state.closed,
        }
    }

    fn not_had(&self) -> String {
        let owner = match self.owner() {
            TaskId::NONE => "others were faster".to_owned(),
            owner => format!("it is held by {}", Named(owner)),
        };
        format!(
            "{} was not had within the timeout: {owner}",
            self.identity.as_str()
        )
    }
}

/// The statistics of a lock, at one moment.
pub struct Stats {
    pub owner: TaskId,
    pub depth: u64,
    pub waiting: u64,
    pub counts: WaitCounts,
    pub handed_over: u64,
    pub breaks: u64,
    pub broken: bool,
    pub closed: bool,
}

impl Object for Lock {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn withdraw(&self, key: Key, why: &Why, batch: &mut Batch) -> bool {
        let mut state = self.state.lock();
        match state.lines.line_of(key) {
            None => false,
            Some(FOR_LOCK) => {
                let comes_back = state.lines.get(key).is_some_and(|w| w.want.back.is_some());
                if comes_back && matches!(why, Why::TimedOut | Why::Cancelled | Why::Interrupted) {
                    // It was told to come back before; nothing but the lock ends this.
                    return false;
                }
                // Its own exit comes to what it holds later.
                let is_owner = state.lines.get(key).map(|w| w.task) == Some(self.owner_by_word());
                if let Some(waiter) = state.lines.remove(key) {
                    let lacking = || self.not_had();
                    let what = self.identity.as_str();
                    state.lines.refuse(waiter, why, what, lacking, batch);
                }
                // It may have been the one that was roused.
                let to_come = is_owner && matches!(why, Why::TaskExited);
                if !to_come && !cfg!(selv_mutant = "leave_in_silence") {
                    self.see_to_the_first(&mut state, batch);
                }
                true
            }
            Some(_) => condition::withdraw(self, &mut state, key, why, batch),
        }
    }

    fn held_up_by(&self, key: Key) -> Option<TaskId> {
        let state = self.state.lock();
        let in_line = state.lines.line_of(key) == Some(FOR_LOCK);
        let owner = owner_of(self.word.load(Ordering::Relaxed));
        (in_line && owner != TaskId::NONE).then_some(owner)
    }

    fn pass_on(&self, task: TaskId, _: Answer, batch: &mut Batch) {
        let mut state = self.state.lock();
        if owner_of(self.word.load(Ordering::Relaxed)) != task {
            return;
        }
        task::slot_of(task).inspect(|slot| slot.robbed_of_lock());
        self.pass_on_under(&mut state, batch);
    }

    /// Under the state's lock, so that whoever finds the owner gone finds the lock with it or with the next, and not in between.
    fn revoke(&self, op: OpId, task: TaskId, batch: &mut Batch) -> bool {
        let mut state = self.state.lock();
        if operation::revoke(op).is_none() {
            return false;
        }
        if self.owner_by_word() == task {
            task::slot_of(task).inspect(|slot| slot.robbed_of_lock());
            self.pass_on_under(&mut state, batch);
        }
        true
    }

    fn owner_exited(&self, task: TaskId, report: &mut Report, batch: &mut Batch) {
        let is_named = || owner_of(self.word.load(Ordering::Acquire)) == task;
        if !is_named() && self.dead.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut state = self.state.lock();
        if is_named() {
            self.owner_died(&mut state, task, batch);
        }
        // Maybe somebody else has found it first, since its number was gone.
        if let Some(at) = state.dead.iter().position(|&dead| dead == task) {
            state.dead.swap_remove(at);
            self.dead.store(state.dead.len() as u64, Ordering::Relaxed);
            let item = match self.is(ROBUST) {
                true => Item::LockHandedOn,
                false => Item::LockBroken,
            };
            report.add(item, &self.identity.name);
        }
    }

    /// The first in line was roused: it takes the lock, or stays the first.
    fn look_again(&self, key: Key, batch: &mut Batch) {
        for round in 0..SPINS {
            let word = self.word.load(Ordering::Relaxed);
            if word == 0 || word & FLAGS != 0 || !cpu::pause(round) {
                break;
            }
        }
        let mut state = self.state.lock();
        let Some(waiter) = state.lines.get_mut(key).filter(|w| w.want.roused) else {
            return;
        };
        let (task, depth) = (waiter.task, waiter.want.depth);
        let taken = held_by(task) | self.queued_after_one(&state);
        if self
            .word
            .compare_exchange(0, taken, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            let waiter = state.lines.remove(key).expect("just seen");
            task::slot_of(task).inspect(|slot| slot.took_lock());
            self.depth.store(depth, Ordering::Relaxed);
            return Self::answer_holder(&mut state, waiter, None, batch);
        }
        let waiter = state.lines.get_mut(key).expect("just seen");
        waiter.want.roused = false;
        if let Who::Thread(parker) = waiter.who {
            parker.lie_down_again();
        }
        if cfg!(selv_mutant = "lose_in_silence") {
            return;
        }
        self.see_to_the_first(&mut state, batch);
    }

    fn describe(&self) -> Picture {
        let state = self.state.lock();
        let owner = self.owner();
        let mut picture = Picture::new(&self.identity, &state.lines, FOR_LOCK);
        if owner != TaskId::NONE {
            picture.holders.push(Holding::Task(owner));
        }
        picture.broken = matches!(state.health, Health::Broken | Health::NotRecoverable);
        picture.closed = state.closed;
        picture
    }
}
