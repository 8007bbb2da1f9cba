//! The host's thread: one tick of a guest, in one drained call.

use super::{DONE, End, Guest, Phase, Polled, Starter, polls};
use crate::core::callback::{DeliverFn, JobFn, Opaque};
use crate::core::error::{self, Status};
use crate::core::job::{Job, Needs};
use crate::core::name::Name;
use crate::core::submit;
use crate::sys::clock::NO_WAIT;
use crate::sys::thread;

/// What comes after a tick.
enum Turn {
    Goes,
    /// With what was polled and not processed.
    Ends(End, Option<Polled>),
}

impl Guest {
    /// One tick. False if the guest is over, or not to be called any more.
    pub fn tick(&self) -> bool {
        let mut state = self.state.lock();
        let Phase::Queued(polled) = state.phase else {
            return false;
        };
        if state.abandoned {
            return false;
        }
        state.phase = Phase::Ticking;
        state.caller = thread::token();
        let end = state.end.take();
        drop(state);
        let turn = match end {
            Some(end) => Turn::Ends(end, polled),
            None => self.turn(polled),
        };
        if let Turn::Ends(end, left) = turn {
            self.end_here(end, left);
        }
        true
    }

    /// From what the last poll brought to the next one.
    fn turn(&self, polled: Option<Polled>) -> Turn {
        let calls = &self.calls;
        if let Some(polled) = polled {
            if polled.status < 0 {
                return Turn::Ends(self.failed("poll", polled.status), Some(polled));
            }
            let status = calls.process.call(calls.guest.0, polled.events.0);
            if let Some(over) = self.after("process", status, None) {
                return over;
            }
        }
        // Whatever an interrupt was about, `prepare` is going to see it.
        self.state.lock().interrupted = false;
        let mut ns = 0;
        let status = calls.prepare.call(calls.guest.0, &mut ns);
        if cfg!(selv_mutant = "forget_after_prepare") {
            self.state.lock().interrupted = false;
        }
        if let Some(over) = self.after("prepare", status, None) {
            return over;
        }
        if ns == DONE {
            return Turn::Ends((error::OK, String::new()), None);
        }
        // What is there already costs no thread.
        let mut events = std::ptr::null_mut();
        let status = calls.poll.call(calls.guest.0, 0, &mut events);
        let polled = Polled {
            status,
            events: Opaque(events),
        };
        match self.after("poll", status, Some(polled)) {
            Some(over) => over,
            None => self.next(polled, ns),
        }
    }

    /// After each callback: Some if it was the last one. `left` is what would not be processed then.
    fn after(&self, which: &str, status: Status, left: Option<Polled>) -> Option<Turn> {
        if !self.host.is_of_this_process() {
            // It has forked, and this is the child.
            return Some(Turn::Goes);
        }
        if status < 0 {
            return Some(Turn::Ends(self.failed(which, status), left));
        }
        let end = self.state.lock().end.take()?;
        Some(Turn::Ends(end, left))
    }

    /// After the poll on the host's thread.
    fn next(&self, polled: Polled, ns: u64) -> Turn {
        let mut state = self.state.lock();
        if let Some(end) = state.end.take() {
            drop(state);
            return Turn::Ends(end, Some(polled));
        }
        let interrupted = state.interrupted && !cfg!(selv_mutant = "sleep_over_interrupt");
        let is_due = ns == 0 || ns == NO_WAIT;
        if is_due || polled.events != Opaque::NULL || interrupted {
            state.phase = Phase::Queued(Some(polled));
            self.leave(&mut state);
            drop(state);
            self.queue_tick();
            return Turn::Goes;
        }
        state.timeout_ns = ns;
        if let Some(number) = state.coming.take() {
            state.phase = Phase::Starting(number);
            self.leave(&mut state);
            return Turn::Goes;
        }
        let number = polls::expect(&self.arc());
        state.phase = Phase::Starting(number);
        state.refused = false;
        drop(state);
        match self.start_soon(number) {
            Some(refusal) => self.was_refused(number, refusal),
            None => {
                self.leave(&mut self.state.lock());
                Turn::Goes
            }
        }
    }

    /// No thread comes for a poll; but the host's `start_soon` may have called what it was given before it refused.
    fn was_refused(&self, number: u64, refusal: End) -> Turn {
        let mut state = self.state.lock();
        let left = match state.phase {
            Phase::Starting(n) if n == number => None,
            Phase::Returned(n, polled) if n == number => Some(polled),
            phase => {
                // What has begun is waited for; what was delivered, or taken back by an interrupt, has a tick to come.
                state.refused = matches!(phase, Phase::Polling(n) if n == number);
                if !state.refused {
                    state.coming = None;
                    polls::forget(number);
                }
                state.end.get_or_insert(refusal);
                self.leave(&mut state);
                self.interrupt_once(state);
                return Turn::Goes;
            }
        };
        polls::forget(number);
        state.phase = Phase::Ticking;
        let end = state.end.take().unwrap_or(refusal);
        Turn::Ends(end, left)
    }

    /// Has a thread poll. Some if that was refused.
    fn start_soon(&self, number: u64) -> Option<End> {
        let arg = polls::argument(number);
        let cache = match &self.starter {
            Starter::Host(start, data) => {
                let run = Some(polls::JOB);
                let deliver = Some(polls::DELIVER);
                let status = start.call(data.0, run, deliver, arg, self.job_name.as_ptr());
                return (status < 0).then(|| self.failed("start_soon", status));
            }
            Starter::Cache(cache) => cache,
        };
        let job = Job {
            // SAFETY: both take any number for an argument, on any thread.
            run: unsafe { JobFn::new(polls::JOB) },
            // SAFETY: as above.
            deliver: Some(unsafe { DeliverFn::new(polls::DELIVER) }),
            arg: Opaque(arg),
            arg_free: None,
            name: Name::new(self.job_name.to_str().unwrap_or("guest")),
            needs: Needs::Usual,
            accepted_at: 0,
            ticket: None,
        };
        let sent = submit::submit(cache, |accepted_at| Job { accepted_at, ..job });
        let refused = sent.err()?;
        let why = format!(
            "no thread for the poll of {}: {}",
            self.what(),
            refused.detail
        );
        Some((refused.status, why))
    }
}
