//! Calls that meet the loop's close, by its thread or with its last handle.

use super::*;

/// The caller is told, whether the loop ran its function, dropped it, or did not take it.
#[test]
fn awaited_call_against_close() {
    explore_outcomes(3, [error::OK, error::CLOSED], || {
        let host = Host::new();
        let call = Call::new(&host);
        let caller = awaiting(&host, &call, FOREVER);
        host.drain();
        host.close();
        let status = caller.join().unwrap();
        assert_eq!(call.has_run(), status == error::OK);
        host.check_empty();
        status
    });
}

#[test]
fn timed_out_call_against_close() {
    explore_outcomes(3, [error::CLOSED, error::TIMEDOUT], || {
        let host = Host::new();
        let call = Call::new(&host);
        let caller = awaiting(&host, &call, 0);
        host.close();
        let status = caller.join().unwrap();
        assert!(!call.has_run());
        host.check_empty();
        status
    });
}

/// Once the loop is closed no wake runs, though one may have been on its way.
#[test]
fn close_against_call() {
    explore_outcomes(3, [Fate::Ran, Fate::Dropped, Fate::Refused], || {
        let host = Host::new();
        let call = Call::new(&host);
        let caller = call.soon_elsewhere(&host);
        host.drain();
        host.close();
        let fate = call.fate(caller.join().unwrap());
        host.check_closed();
        fate
    });
}

#[test]
fn close_against_two_calls() {
    let fates = [Fate::Dropped, Fate::Refused];
    let outcomes = fates.map(|a| fates.map(|b| (a, b))).concat();
    explore_outcomes(2, outcomes, || {
        let host = Host::new();
        let calls = [Call::new(&host), Call::new(&host)];
        let callers = calls.each_ref().map(|call| call.soon_elsewhere(&host));
        host.close();
        let accepted = callers.map(|t| t.join().unwrap());
        host.check_closed();
        (calls[0].fate(accepted[0]), calls[1].fate(accepted[1]))
    });
}

/// A callback that closes its loop waits for a wake on its way, too.
#[test]
fn close_in_a_drain_against_call() {
    explore_outcomes(3, [Fate::Ran, Fate::Dropped, Fate::Refused], || {
        let host = Host::new();
        let call = Call::new(&host);
        let caller = call.soon_elsewhere(&host);
        let closing = Call::then(&host, Then::Close(Arc::clone(&host.queue)));
        assert!(closing.soon(&host.queue));
        assert!(host.drain() > 0);
        host.check_closed();
        assert_eq!(closing.fate(true), Fate::Ran);
        let fate = call.fate(caller.join().unwrap());
        host.check_closed();
        fate
    });
}

/// Two threads use the loop and give up their handles: the last one closes it, and that is not the other's wake.
#[test]
fn last_handle_against_call() {
    explore(3, || {
        let host = Host::new();
        let calls = [Call::new(&host), Call::new(&host)];
        host.queue.retain();
        let other = thread::spawn({
            let (queue, call) = (Arc::clone(&host.queue), Arc::clone(&calls[1]));
            move || {
                assert!(call.soon(&queue));
                drain::release(queue);
            }
        });
        assert!(calls[0].soon(&host.queue));
        drain::release(Arc::clone(&host.queue));
        other.join().unwrap();
        host.check_closed();
        for call in &calls {
            assert_eq!(call.fate(true), Fate::Dropped);
        }
    });
}

/// A callback gives back the host's handle, and the last one is released elsewhere, inside the drain: what has not run by then is dropped.
#[test]
fn last_handle_against_drain() {
    let (ran, dropped) = (Fate::Ran, Fate::Dropped);
    let outcomes = [(ran, ran), (ran, dropped), (dropped, dropped)];
    explore_outcomes(3, outcomes, || {
        let host = Host::new();
        let releasing = Call::then(&host, Then::Release(Arc::clone(&host.queue)));
        let calls = [Call::new(&host), Call::new(&host)];
        assert!(releasing.soon(&host.queue));
        assert!(calls.iter().all(|call| call.soon(&host.queue)));
        host.queue.retain();
        let other = thread::spawn({
            let (queue, releasing) = (Arc::clone(&host.queue), Arc::clone(&releasing));
            move || {
                while !releasing.has_run() {
                    thread::yield_now();
                }
                drain::release(queue);
            }
        });
        host.drain();
        other.join().unwrap();
        host.check_closed();
        assert_eq!(releasing.fate(true), Fate::Ran);
        (calls[0].fate(true), calls[1].fate(true))
    });
}
