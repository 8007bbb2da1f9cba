//! The end of a cache against those who still use it: what was accepted is delivered, what was refused is left alone.

use super::*;
use loom::thread;

fn submits_while(
    what: impl Fn(&Arc<Cache>) + Sync + Send + 'static,
    max_workers: u32,
    preemptions: usize,
) {
    explore(preemptions, move || {
        let cache = cache(Idle::Stays, max_workers);
        let jobs = [Probe::new(), Probe::new()];
        assert!(jobs[0].submit(&cache));
        let other = thread::spawn({
            let (cache, job) = (Arc::clone(&cache), Arc::clone(&jobs[1]));
            move || job.submit(&cache)
        });
        what(&cache);
        let accepted = other.join().unwrap();
        finish(&cache);
        jobs[0].check_delivered(error::OK);
        match accepted {
            true => jobs[1].check_delivered(error::OK),
            false => jobs[1].check_untouched(),
        }
    });
}

#[test]
fn shutdown_against_submit() {
    submits_while(finish, 0, 3);
}

#[test]
fn shutdown_against_queueing() {
    submits_while(finish, 1, 3);
}

#[test]
fn trim_against_submit() {
    submits_while(|cache| end::trim(cache, 0), 0, 2);
}

/// Two threads shut the cache down: both see its end.
#[test]
fn two_shutdowns() {
    explore(3, || {
        let cache = cache(Idle::Stays, 0);
        let job = Probe::new();
        assert!(job.submit(&cache));
        let other = thread::spawn({
            let cache = Arc::clone(&cache);
            move || finish(&cache)
        });
        finish(&cache);
        job.check_delivered(error::OK);
        other.join().unwrap();
    });
}
