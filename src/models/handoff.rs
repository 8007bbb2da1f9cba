//! Submitters against the idle list: nothing is lost, nothing runs twice, and no thread is added that need not be.

use super::*;
use loom::thread;

/// A worker whose idle time is up meets a submitter that has just taken it off the list.
#[test]
fn submit_against_timeout() {
    explore(3, || {
        let cache = cache(Idle::TimesOut, 0);
        let jobs = [Probe::new(), Probe::new()];
        for job in &jobs {
            assert!(job.submit(&cache));
        }
        finish(&cache);
        jobs.iter().for_each(|job| job.check_delivered(error::OK));
    });
}

/// The same with a bound of one worker: a job that is queued while that worker leaves keeps it.
#[test]
fn queueing_against_timeout() {
    explore(3, || {
        let cache = cache(Idle::TimesOut, 1);
        let jobs = [Probe::new(), Probe::new()];
        for job in &jobs {
            assert!(job.submit(&cache));
        }
        finish(&cache);
        jobs.iter().for_each(|job| job.check_delivered(error::OK));
        assert_eq!(cache.stats().counts.peak_workers, 1);
    });
}

/// Two threads that want the one worker.
#[test]
fn two_submits_against_one_worker() {
    explore(2, || {
        let cache = cache(Idle::Stays, 0);
        Probe::warm_up(&cache);
        let jobs = [Probe::new(), Probe::new()];
        let other = thread::spawn({
            let (cache, job) = (Arc::clone(&cache), Arc::clone(&jobs[0]));
            move || assert!(job.submit(&cache))
        });
        assert!(jobs[1].submit(&cache));
        other.join().unwrap();
        finish(&cache);
        jobs.iter().for_each(|job| job.check_delivered(error::OK));
    });
}

/// A submit inside `deliver` goes to the worker that delivers, always; and the job it follows is still whole while the next one
/// is handed over.
#[test]
fn submit_from_deliver() {
    explore(3, || {
        let cache = cache(Idle::Stays, 0);
        let third = Probe::new();
        let second = Probe::then(Some((Arc::clone(&cache), Arc::clone(&third))));
        let first = Probe::then(Some((Arc::clone(&cache), Arc::clone(&second))));
        assert!(first.submit(&cache));
        third.await_end();
        finish(&cache);
        for job in [first, second, third] {
            job.check_delivered(error::OK);
        }
        assert_eq!(cache.stats().counts.started, 1);
    });
}

/// A worker that is told of a shorter timeout while it parks, leaves, or is given a job.
#[test]
fn nudge_against_submit() {
    explore(2, || {
        let cache = cache(Idle::Stays, 0);
        let jobs = [Probe::new(), Probe::new()];
        assert!(jobs[0].submit(&cache));
        let other = thread::spawn({
            let (cache, job) = (Arc::clone(&cache), Arc::clone(&jobs[1]));
            move || assert!(job.submit(&cache))
        });
        cache.set_idle_timeout_ns(NO_WAIT);
        other.join().unwrap();
        finish(&cache);
        jobs.iter().for_each(|job| job.check_delivered(error::OK));
    });
}
