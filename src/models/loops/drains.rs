//! Calls that meet drains, and a loop that changes its thread.

use super::*;
use loom::sync::atomic::AtomicU32 as Mark;

/// Whoever queues wakes the host, or somebody did who has not been answered, or the drain that runs will.
#[test]
fn two_calls_against_drains() {
    explore_outcomes(3, [1, 2], || {
        let host = Host::new();
        let calls = [Call::new(&host), Call::new(&host)];
        let others = calls.each_ref().map(|call| call.soon_elsewhere(&host));
        let drains = host.answer_until(0, || calls.iter().all(|call| call.has_run()));
        for (call, other) in calls.iter().zip(others) {
            assert_eq!(call.fate(other.join().unwrap()), Fate::Ran);
        }
        host.check_empty();
        host.close();
        drains
    });
}

/// What a callback queues runs in a later drain, and in the queue's order; each drain that leaves something has the host woken.
#[test]
fn bounded_drains_against_calls() {
    explore(3, || {
        let host = Host::new();
        let last = Call::new(&host);
        let first = Call::then(
            &host,
            Then::CallSoon(Arc::clone(&host.queue), Arc::clone(&last)),
        );
        let others = [Call::new(&host), Call::new(&host)];
        assert!(first.soon(&host.queue));
        let caller = thread::spawn({
            let (queue, others) = (Arc::clone(&host.queue), others.clone());
            move || others.iter().all(|call| call.soon(&queue))
        });
        let all = [&first, &last, &others[0], &others[1]];
        let drains = host.answer_until(1, || all.iter().all(|call| call.has_run()));
        assert_eq!(drains, 4);
        assert!(caller.join().unwrap());
        all.iter()
            .for_each(|call| assert_eq!(call.fate(true), Fate::Ran));
        let [first, last, one, two] = all.map(|call| call.turn.load(Relaxed));
        assert!(first < last && one < two);
        host.check_empty();
        host.close();
    });
}

/// Something that two threads announce by the same idempotent call.
struct News {
    /// Loom's, and the call is all that orders it.
    told: [Mark; 2],
    seen: [AtomicBool; 2],
    reads: AtomicU32,
}

unsafe extern "C-unwind" fn read_news(news: *mut c_void) {
    // SAFETY: the model keeps it until its threads are joined.
    let news = unsafe { &*news.cast::<News>() };
    for (told, seen) in news.told.iter().zip(&news.seen) {
        if told.load(Relaxed) == 1 {
            seen.store(true, Relaxed);
        }
    }
    news.reads.fetch_add(1, Relaxed);
}

/// A call is merged only into one that is yet to run: it sees what its caller did before.
#[test]
fn idempotent_calls_against_drains() {
    // How often it ran, and how many were merged.
    explore_outcomes(3, [(1, 1), (2, 0)], || {
        let host = Host::new();
        let news = Arc::new(News {
            told: [Mark::new(0), Mark::new(0)],
            seen: Default::default(),
            reads: AtomicU32::new(0),
        });
        let others = [0, 1].map(|n| {
            let (queue, news) = (Arc::clone(&host.queue), Arc::clone(&news));
            thread::spawn(move || {
                news.told[n].store(1, Relaxed);
                // SAFETY: takes what such functions are called with.
                let run = unsafe { CallFn::new(read_news) };
                let arg = Opaque(Arc::as_ptr(&news).cast_mut().cast());
                queue.call_soon(run, arg, None, true).expect("open");
            })
        });
        host.answer_until(0, || news.seen.iter().all(|seen| seen.load(Relaxed)));
        others.into_iter().for_each(|t| t.join().unwrap());
        // It may have been seen by the call before.
        host.drain();
        host.check_empty();
        let counts = host.queue.stats().unwrap().counts;
        assert_eq!(counts.ran, u64::from(news.reads.load(Relaxed)));
        host.close();
        (counts.ran, counts.merged)
    });
}

#[test]
fn awaited_call_against_drain() {
    explore(3, || {
        let host = Host::new();
        let call = Call::new(&host);
        let caller = awaiting(&host, &call, FOREVER);
        host.answer_until(0, || call.has_run());
        assert_eq!(caller.join().unwrap(), error::OK);
        assert_eq!(call.fate(true), Fate::Ran);
        host.close();
    });
}

/// A call whose time is up has not run and will not, or it has begun and its end is waited for.
#[test]
fn timed_out_call_against_drain() {
    explore_outcomes(3, [error::OK, error::TIMEDOUT], || {
        let host = Host::new();
        let call = Call::new(&host);
        let caller = awaiting(&host, &call, 0);
        host.drain();
        let status = caller.join().unwrap();
        host.drain();
        assert_eq!(call.has_run(), status == error::OK);
        host.check_empty();
        host.close();
        status
    });
}

/// A call that is withdrawn leaves no room in a drain for what came later.
#[test]
fn timed_out_call_inside_a_drain() {
    explore_outcomes(3, [error::OK, error::TIMEDOUT], || {
        let host = Host::new();
        let last = Call::new(&host);
        let then = Then::CallSoon(Arc::clone(&host.queue), Arc::clone(&last));
        let (first, call) = (Call::then(&host, then), Call::new(&host));
        assert!(first.soon(&host.queue));
        let caller = awaiting(&host, &call, 0);
        host.drain();
        assert!(first.has_run() && !last.has_run());
        let status = caller.join().unwrap();
        host.drain();
        assert!(last.has_run());
        assert_eq!(call.has_run(), status == error::OK);
        host.check_empty();
        host.close();
        status
    });
}

/// Once another thread has been made the loop's, nothing runs on the one before.
#[test]
fn bind_against_drain() {
    explore_outcomes(3, [error::OK, error::BUSY], || {
        let host = Host::new();
        let calls = [Call::new(&host), Call::new(&host)];
        assert!(calls.iter().all(|call| call.soon(&host.queue)));
        let other = thread::spawn({
            let (queue, calls) = (Arc::clone(&host.queue), calls.clone());
            move || {
                if let Err(refused) = queue.bind() {
                    return refused.status;
                }
                let before = calls.each_ref().map(|call| call.has_run());
                let mut ran = 0;
                drain::drain(&queue, 0, &mut ran).expect("its thread now");
                assert_eq!(ran, before.iter().filter(|&&ran| !ran).count() as u32);
                error::OK
            }
        });
        let drained = drain::drain(&host.queue, 0, &mut 0);
        let status = other.join().unwrap();
        match refusal(drained) {
            None => assert_eq!(host.queue.bind().map_err(|e| e.status), Ok(())),
            refused => {
                assert_eq!((refused, status), (Some(error::WRONG_THREAD), error::OK));
                host.queue.bind().expect("nobody drains");
            }
        }
        for call in &calls {
            assert_eq!(call.fate(true), Fate::Ran);
        }
        host.close();
        status
    });
}
