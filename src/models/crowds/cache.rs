//! Four submitters and the workers of one cache: each job is delivered once, and no thread is left.

use super::*;

/// Two jobs each.
const SUBMITTERS: usize = 4;

fn submitters(idle: Idle, max_workers: u32, meanwhile: fn(&Arc<Cache>)) {
    explore(move || {
        let cache = cache(idle, max_workers);
        let threads: Vec<_> = (0..SUBMITTERS)
            .map(|_| {
                let cache = Arc::clone(&cache);
                thread::spawn(move || {
                    // The second one is submitted where the first one is delivered, so to the worker that delivers, or to another.
                    let (second, third) = (Probe::new(), Probe::new());
                    let first = Probe::then(Some((Arc::clone(&cache), Arc::clone(&second))));
                    let accepted = [first.submit(&cache), third.submit(&cache)];
                    (accepted, [first, third, second])
                })
            })
            .collect();
        meanwhile(&cache);
        let jobs: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        finish(&cache);
        for (accepted, jobs) in jobs {
            for (accepted, job) in accepted.into_iter().zip(&jobs) {
                match accepted {
                    true => job.check_delivered(error::OK),
                    false => job.check_untouched(),
                }
            }
            match jobs[2].delivered.load(Relaxed) {
                0 => jobs[2].check_untouched(),
                _ => jobs[2].check_delivered(error::OK),
            }
        }
        let stats = cache.stats();
        assert!(max_workers == 0 || stats.counts.peak_workers <= u64::from(max_workers));
    });
}

#[test]
fn submits_against_timeouts() {
    submitters(Idle::TimesOut, 0, |_| {});
}

#[test]
fn submits_against_idle_workers() {
    submitters(Idle::Stays, 0, |_| {});
}

#[test]
fn queueing_for_two_workers_against_timeouts() {
    submitters(Idle::TimesOut, 2, |_| {});
}

#[test]
fn queueing_for_two_workers() {
    submitters(Idle::Stays, 2, |_| {});
}

#[test]
fn shutdown_against_submits() {
    submitters(Idle::Stays, 0, finish);
}

#[test]
fn shutdown_against_queueing() {
    submitters(Idle::TimesOut, 2, finish);
}

#[test]
fn trim_against_submits() {
    submitters(Idle::Stays, 0, |cache| end::trim(cache, 0));
}
