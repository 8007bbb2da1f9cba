//! What is granted to a few at a time, and given back: a lock, permits, tokens. Every grant is given back or handed on, nobody who
//! waits is forgotten, and never do more have it than may.

use super::*;
use crate::core::error::Result;
use crate::core::sync::limiter::{Borrower, Limiter};
use crate::core::sync::lock::{Lock, ROBUST, STRICT_FIFO};
use crate::core::sync::report::{Item, Report};
use crate::core::sync::semaphore::Semaphore;
use crate::core::sync::wait::Submitted;

trait Share: Send + Sync + 'static {
    /// How much of it there is.
    const ALL: u32;
    /// What the report of a task's exit says of a share that it had; None if the task has to give it back before.
    const AT_EXIT: Option<&'static [Item]>;

    /// How much of it the task asks for.
    fn part(_: TaskId) -> u32 {
        1
    }
    fn acquire(self: &Arc<Self>, task: TaskId, timeout_ns: u64) -> Result<Status>;
    fn acquire_async(self: &Arc<Self>, task: TaskId, op: OpId) -> Result<Submitted>;
    fn release(&self, task: TaskId) -> Result<()>;
    /// After its last owner has exited with it.
    fn mend(&self, _: TaskId) -> Result<()> {
        Ok(())
    }
    fn close(&self);
    /// Nobody has it or waits for it: all of it can be had, unless it is closed.
    fn check_at_rest(self: &Arc<Self>, closed: bool);
}

impl Share for Lock {
    const ALL: u32 = 1;
    const AT_EXIT: Option<&'static [Item]> = Some(&[Item::LockBroken, Item::LockHandedOn]);

    fn acquire(self: &Arc<Self>, task: TaskId, timeout_ns: u64) -> Result<Status> {
        Lock::acquire(self, task, timeout_ns)
    }
    fn acquire_async(self: &Arc<Self>, task: TaskId, op: OpId) -> Result<Submitted> {
        Lock::acquire_async(self, task, op)
    }
    fn release(&self, task: TaskId) -> Result<()> {
        Lock::release(self, task)
    }
    fn mend(&self, task: TaskId) -> Result<()> {
        self.make_consistent(task)
    }
    fn close(&self) {
        Lock::close(self);
    }
    fn check_at_rest(self: &Arc<Self>, closed: bool) {
        let stats = self.stats();
        assert_eq!((stats.waiting, stats.owner), (0, TaskId::NONE));
        let newcomer = new_task();
        match self.try_acquire(newcomer) {
            Ok(status) => {
                assert!(!closed && !stats.broken);
                if status == error::OWNER_DIED {
                    self.mend(newcomer).expect("its owner died");
                }
                self.release(newcomer).expect("by its owner");
            }
            Err(e) if closed => assert_eq!(e.status, error::CLOSED),
            Err(e) => assert_eq!((e.status, stats.broken), (error::BROKEN, true)),
        }
        self.retire().expect("nobody has the lock");
    }
}

impl Share for Semaphore {
    const ALL: u32 = 3;
    const AT_EXIT: Option<&'static [Item]> = None;

    /// One to three, so that who is first in line may keep others waiting who would be content with less.
    fn part(task: TaskId) -> u32 {
        1 + (task.0 & 0xff) as u32 % 3
    }
    fn acquire(self: &Arc<Self>, task: TaskId, timeout_ns: u64) -> Result<Status> {
        let n = u64::from(Self::part(task));
        Semaphore::acquire(self, task, n, timeout_ns).map(|()| error::OK)
    }
    fn acquire_async(self: &Arc<Self>, task: TaskId, op: OpId) -> Result<Submitted> {
        Semaphore::acquire_async(self, task, u64::from(Self::part(task)), op)
    }
    fn release(&self, task: TaskId) -> Result<()> {
        Semaphore::release(self, u64::from(Self::part(task)))
    }
    fn close(&self) {
        Semaphore::close(self);
    }
    fn check_at_rest(self: &Arc<Self>, _: bool) {
        let stats = self.stats();
        assert_eq!((stats.waiting, stats.permits), (0, u64::from(Self::ALL)));
        self.retire().expect("nobody waits");
    }
}

impl Share for Limiter {
    const ALL: u32 = 2;
    const AT_EXIT: Option<&'static [Item]> = Some(&[Item::TokenReturned]);

    fn acquire(self: &Arc<Self>, task: TaskId, timeout_ns: u64) -> Result<Status> {
        Limiter::acquire(self, task, Borrower::Task(task), timeout_ns).map(|()| error::OK)
    }
    fn acquire_async(self: &Arc<Self>, task: TaskId, op: OpId) -> Result<Submitted> {
        Limiter::acquire_async(self, task, Borrower::Task(task), op)
    }
    fn release(&self, task: TaskId) -> Result<()> {
        Limiter::release(self, Borrower::Task(task))
    }
    fn close(&self) {
        Limiter::close(self);
    }
    fn check_at_rest(self: &Arc<Self>, _: bool) {
        let stats = self.stats();
        assert_eq!((stats.waiting, stats.borrowed), (0, 0));
        self.retire().expect("the tokens are back");
    }
}

/// Those who share, and how much of it they have just now.
struct Crowd<T> {
    share: Arc<T>,
    in_use: Shared32,
}

impl<T: Share> Crowd<T> {
    /// Uses what was acquired with `status`, and gives it back.
    fn use_up(&self, task: TaskId, status: Status) {
        let part = T::part(task);
        let before = self.in_use.fetch_add(part, SeqCst);
        assert!(before + part <= T::ALL, "{} in use", before + part);
        if status == error::OWNER_DIED {
            self.share.mend(task).expect("its owner died");
        }
        self.in_use.fetch_sub(part, SeqCst);
        self.share.release(task).expect("acquired before");
    }

    fn in_callback(&self, task: TaskId, manner: Manner, c: &Completed) {
        match manner {
            // Its task may have exited since the callback began, and then has nothing any more.
            Exits if c.status >= 0 => {
                let mended = (c.status == error::OWNER_DIED).then(|| self.share.mend(task));
                if mended.is_none_or(|mended| mended.is_ok()) {
                    let _ = self.share.release(task);
                }
            }
            _ if c.status >= 0 => self.use_up(task, c.status),
            _ => {}
        }
    }

    /// A thread that waits until it gets it, uses it, and ends its task, which owes nothing then.
    fn blocking(self: &Arc<Self>, manner: Manner, news: &'static [Status]) -> JoinHandle<()> {
        let (crowd, task) = (Arc::clone(self), new_task());
        let timeout_ns = if manner == Hasty { SOON } else { FOREVER };
        thread::spawn(move || {
            let end = match crowd.share.acquire(task, timeout_ns) {
                Ok(status) => {
                    crowd.use_up(task, status);
                    status
                }
                Err(e) => e.status,
            };
            manner.check(Some(end), news);
            assert_eq!(exit(task).items.len(), 0);
        })
    }
}

/// How those who have it at first lose it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owners {
    Release,
    Exit,
}

fn part_with<T: Share>(share: &T, owner: TaskId, how: Owners) {
    let report = match T::AT_EXIT {
        Some(items) if how == Owners::Exit => {
            let report: Report = exit(owner);
            let lost: u64 = items.iter().map(|&item| report.count(item)).sum();
            assert_eq!((lost, report.items.len()), (1, 1));
            return;
        }
        _ => {
            share.release(owner).expect("its owner");
            exit(owner)
        }
    };
    assert_eq!(report.items.len(), 0);
}

/// All of it is had by some tasks. Others wait for it, each in its manner, and meanwhile the first ones part with it, and maybe it is
/// closed.
fn race<T: Share>(
    held: fn() -> (Arc<T>, Vec<TaskId>),
    manners: &'static [Manner],
    owners: Owners,
    closed: bool,
) {
    explore(move || {
        let (share, mut holders) = held();
        let crowd = Arc::new(Crowd {
            share: Arc::clone(&share),
            in_use: Shared32::new(0),
        });
        let mortal = owners == Owners::Exit || manners.contains(&Exits);
        let news: &[Status] = match (mortal, closed) {
            (false, false) => &[],
            (false, true) => &[error::CLOSED],
            (true, false) => &[error::BROKEN, error::OWNER_DIED],
            (true, true) => &[error::BROKEN, error::OWNER_DIED, error::CLOSED],
        };
        let waiters: Vec<_> = manners
            .iter()
            .filter(|manner| manner.is_operation())
            .map(|&manner| {
                let (crowd, task) = (Arc::clone(&crowd), new_task());
                let then = move |c: &Completed| crowd.in_callback(task, manner, c);
                Waiter::line_up(task, manner, then, |op| {
                    assert!(is_pending(share.acquire_async(task, op)));
                })
            })
            .collect();
        let blocking = manners.iter().filter(|manner| !manner.is_operation());
        let mut threads: Vec<_> = blocking.map(|&m| crowd.blocking(m, news)).collect();
        threads.extend(acting(&waiters));
        if closed {
            let share = Arc::clone(&share);
            threads.push(thread::spawn(move || share.close()));
        }
        let last = holders.pop().expect("somebody has it");
        threads.extend(holders.into_iter().map(|holder| {
            let share = Arc::clone(&share);
            thread::spawn(move || part_with(&*share, holder, owners))
        }));
        part_with(&*share, last, owners);
        join_all(threads);
        waiters.iter().for_each(|w| w.check(news));
        assert_eq!(crowd.in_use.load(SeqCst), 0);
        share.check_at_rest(closed);
    });
}

fn held_lock(flags: u32) -> (Arc<Lock>, Vec<TaskId>) {
    let (lock, owner) = (Lock::new(None, flags), new_task());
    lock.try_acquire(owner).expect("a new lock");
    (lock, vec![owner])
}

/// Two of its tasks have one permit and two.
fn no_permits() -> (Arc<Semaphore>, Vec<TaskId>) {
    let owners = vec![new_task(), new_task()];
    let had: u32 = owners.iter().map(|&owner| Semaphore::part(owner)).sum();
    assert_eq!(had, Semaphore::ALL);
    (Semaphore::new(None, 0, 0).unwrap(), owners)
}

fn no_tokens() -> (Arc<Limiter>, Vec<TaskId>) {
    let owners = vec![new_task(), new_task()];
    let limiter = Limiter::new(None, u64::from(Limiter::ALL)).unwrap();
    for &owner in &owners {
        limiter.try_acquire(Borrower::Task(owner)).unwrap();
    }
    (limiter, owners)
}

macro_rules! races {
    ($($name:ident: $held:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn timeout_against_grant() {
                race($held, &[Hasty, Patient, Hasty, Patient, Patient], Owners::Release, false);
            }

            #[test]
            fn cancel_against_grant() {
                let manners = &[Cancelled, Kept, Cancelled, Patient, Patient, Kept];
                race($held, manners, Owners::Release, false);
            }

            #[test]
            fn abandon_after_grant() {
                let manners = &[Abandoned, Abandoned, Kept, Abandoned, Patient, Patient];
                race($held, manners, Owners::Release, false);
            }

            #[test]
            fn owner_exit_against_wait() {
                let manners = &[Exits, Kept, Patient, Hasty, Patient, Cancelled];
                race($held, manners, Owners::Exit, false);
            }

            #[test]
            fn waiters_exit_against_grant() {
                let manners = &[Exits, Kept, Exits, Patient, Patient, Kept];
                race($held, manners, Owners::Release, false);
            }

            #[test]
            fn close_against_wait() {
                let manners = &[Kept, Cancelled, Patient, Hasty, Patient];
                race($held, manners, Owners::Release, true);
            }

            #[test]
            fn all_at_once() {
                let manners = &[Abandoned, Exits, Cancelled, Kept, Hasty, Patient];
                race($held, manners, Owners::Exit, true);
            }
        }
    )*};
}

races! {
    lock: || held_lock(0);
    strict_lock: || held_lock(STRICT_FIFO);
    robust_lock: || held_lock(ROBUST);
    semaphore: no_permits;
    limiter: no_tokens;
}

/// Those in front want more than there will ever be, and give up; whoever is behind them gets what there is.
#[test]
fn permits_for_those_behind_a_head_that_gives_up() {
    explore(|| {
        let semaphore = Semaphore::new(None, 0, 0).unwrap();
        let line_up = |manner: Manner, n: u64| {
            let task = new_task();
            let submit = |op| assert!(is_pending(semaphore.acquire_async(task, n, op)));
            Waiter::line_up(task, manner, |_| {}, submit)
        };
        let heads = [Cancelled, Abandoned, Exits].map(|manner| line_up(manner, 9));
        let behind = [2, 1].map(|n| line_up(Kept, n));
        let mut threads = acting(&heads);
        let last = (Arc::clone(&semaphore), new_task());
        threads.push(thread::spawn(move || {
            last.0.acquire(last.1, 1, FOREVER).expect("its turn comes");
        }));
        for n in [1, 3] {
            let semaphore = Arc::clone(&semaphore);
            threads.push(thread::spawn(move || semaphore.release(n).unwrap()));
        }
        join_all(threads);
        heads.iter().for_each(|w| w.check(&[]));
        assert!(heads.iter().all(|w| w.end() != Some(error::OK)));
        assert!(behind.iter().all(|w| w.end() == Some(error::OK)));
        assert_eq!(semaphore.stats().permits, 0);
        semaphore.retire().expect("nobody waits");
    });
}
