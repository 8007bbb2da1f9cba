//! Channels: an item that was sent is received once, or is still there; one that was not sent is nowhere.

use super::*;
use crate::core::sync::answer::Bytes;
use crate::core::sync::channel::Channel;

/// What was received, and what was sent for certain, and maybe. Plain, unseen by shuttle.
#[derive(Default)]
struct Tally {
    received: Mutex<Vec<u8>>,
    sent: Mutex<Vec<u8>>,
    maybe_sent: Mutex<Vec<u8>>,
}

impl Tally {
    fn receive(&self, item: Bytes) {
        let (at, len) = item.into_raw();
        self.receive_raw(at.cast(), len);
    }

    fn receive_raw(&self, at: *mut c_void, len: usize) {
        assert_eq!(len, 1);
        // SAFETY: an item of one byte, which is the receiver's.
        let item = unsafe { *at.cast::<u8>() };
        // SAFETY: from the C library's allocator, and freed once.
        unsafe { libc::free(at) };
        self.received.lock().unwrap().push(item);
    }

    /// Everybody has ended, and nothing is left in the channel.
    fn check(&self) {
        let mut received = self.received.lock().unwrap().clone();
        received.sort_unstable();
        let sent = self.sent.lock().unwrap();
        let maybe = self.maybe_sent.lock().unwrap();
        let mut expected: Vec<u8> = maybe
            .iter()
            .filter(|i| received.contains(i))
            .copied()
            .collect();
        expected.extend(&*sent);
        expected.sort_unstable();
        assert_eq!(received, expected);
    }
}

struct Traffic {
    channel: Arc<Channel>,
    tally: Arc<Tally>,
    news: &'static [Status],
}

impl Traffic {
    fn new(capacity: Option<u64>, news: &'static [Status]) -> Traffic {
        Traffic {
            channel: Channel::new(None, capacity),
            tally: Arc::default(),
            news,
        }
    }

    /// Sends three items, the last one only if there is room soon.
    fn sending(&self, first: u8) -> JoinHandle<()> {
        let (channel, tally, task) = (
            Arc::clone(&self.channel),
            Arc::clone(&self.tally),
            new_task(),
        );
        let news = self.news;
        thread::spawn(move || {
            for (item, manner) in [(first, Patient), (first + 1, Patient), (first + 2, Hasty)] {
                let timeout_ns = if manner == Hasty { SOON } else { FOREVER };
                let end = channel.send(task, &[item], timeout_ns);
                let end = end.map_or_else(|e| e.status, |()| error::OK);
                manner.check(Some(end), news);
                if end == error::OK {
                    tally.sent.lock().unwrap().push(item);
                }
            }
            exit(task);
        })
    }

    /// Receives until the channel is closed, or once, if it is in a hurry.
    fn receiving(&self, manner: Manner) -> JoinHandle<()> {
        let (channel, tally, task) = (
            Arc::clone(&self.channel),
            Arc::clone(&self.tally),
            new_task(),
        );
        let timeout_ns = if manner == Hasty { SOON } else { FOREVER };
        thread::spawn(move || {
            let end = loop {
                match channel.recv(task, timeout_ns) {
                    Ok(item) => tally.receive(item),
                    Err(e) => break e.status,
                }
                if manner == Hasty {
                    break error::OK;
                }
            };
            match manner {
                Hasty => manner.check(Some(end), &[error::CLOSED]),
                _ => assert_eq!(end, error::CLOSED),
            }
            exit(task);
        })
    }

    fn receive_later(&self, manner: Manner) -> Arc<Waiter> {
        let (tally, task) = (Arc::clone(&self.tally), new_task());
        let then = move |c: &Completed| {
            if !c.data.is_null() {
                tally.receive_raw(c.data, c.len);
            }
        };
        Waiter::line_up(task, manner, then, |op| {
            self.channel.recv_async(task, op).expect("it is open");
        })
    }

    fn send_later(&self, manner: Manner, item: u8) -> Arc<Waiter> {
        let (tally, task) = (Arc::clone(&self.tally), new_task());
        if manner == Abandoned {
            tally.maybe_sent.lock().unwrap().push(item);
        }
        let then = move |c: &Completed| {
            if c.status >= 0 && manner != Abandoned {
                tally.sent.lock().unwrap().push(item);
            } else if manner == Exits {
                // What was sent stays sent, though its task exited before it was told.
                tally.maybe_sent.lock().unwrap().push(item);
            }
        };
        Waiter::line_up(task, manner, then, |op| {
            assert!(is_pending(self.channel.send_async(task, &[item], op)));
        })
    }

    /// What is left.
    fn drain(&self) {
        while let Ok(item) = self.channel.recv_nowait() {
            self.tally.receive(item);
        }
    }

    fn end(&self, waiters: &[Arc<Waiter>]) {
        for waiter in waiters {
            // Those that nothing has come to are told of the close.
            waiter.check(&[error::CLOSED]);
        }
        self.drain();
        self.tally.check();
        self.channel.retire().expect("nobody waits");
    }
}

/// Two senders, operations that want to receive, and two threads that do.
fn receivers(capacity: Option<u64>, manners: &'static [Manner], close_early: bool) {
    explore(move || {
        let news: &[Status] = if close_early { &[error::CLOSED] } else { &[] };
        let traffic = Traffic::new(capacity, news);
        let waiters: Vec<_> = manners.iter().map(|&m| traffic.receive_later(m)).collect();
        let mut threads = acting(&waiters);
        let receivers = vec![traffic.receiving(Patient), traffic.receiving(Hasty)];
        threads.extend([traffic.sending(10), traffic.sending(20)]);
        if !close_early {
            join_all(std::mem::take(&mut threads));
        }
        traffic.channel.close();
        join_all(threads);
        join_all(receivers);
        traffic.end(&waiters);
    });
}

/// Operations that want to send to a full channel, a sender, and two threads that receive.
fn senders(manners: &'static [Manner], close_early: bool) {
    explore(move || {
        let news: &[Status] = if close_early { &[error::CLOSED] } else { &[] };
        let traffic = Traffic::new(Some(1), news);
        traffic.channel.send_nowait(&[1]).unwrap();
        traffic.tally.sent.lock().unwrap().push(1);
        let waiters: Vec<_> = (30..)
            .zip(manners)
            .map(|(i, &m)| traffic.send_later(m, i))
            .collect();
        let mut threads = acting(&waiters);
        let receivers = vec![traffic.receiving(Patient), traffic.receiving(Hasty)];
        threads.push(traffic.sending(10));
        if !close_early {
            join_all(std::mem::take(&mut threads));
        }
        traffic.channel.close();
        join_all(threads);
        join_all(receivers);
        traffic.end(&waiters);
    });
}

const RECEIVERS: &[Manner] = &[Cancelled, Kept, Abandoned, Exits];

#[test]
fn receivers_against_senders() {
    receivers(Some(1), RECEIVERS, false);
}

#[test]
fn receivers_against_senders_without_a_bound() {
    receivers(None, RECEIVERS, false);
}

#[test]
fn receivers_against_senders_at_a_rendezvous() {
    receivers(Some(0), RECEIVERS, false);
}

#[test]
fn close_against_receivers() {
    receivers(Some(1), &[Cancelled, Kept, Abandoned], true);
}

#[test]
fn senders_against_receivers() {
    senders(&[Cancelled, Kept, Abandoned, Exits], false);
}

#[test]
fn close_against_senders() {
    senders(&[Cancelled, Kept, Abandoned], true);
}
