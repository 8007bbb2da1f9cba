//! Whether an idle worker looks at its word for a moment before it sleeps.
//!
//! A sleeping worker on another processor costs its waker some 12 µs, so looking for about as long pays when the next job
//! comes at once. After a first, busy moment it yields its processor between looks: whoever is to send the next job may be
//! waiting for that very processor. At most one worker of the process spins at a time, none where there is one processor, and a worker whose
//! spins were in vain spins less and less.

use crate::sys::{clock, cpu, fork};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

pub(crate) const DEFAULT_NS: u64 = 13_000;
pub(crate) const MOST_NS: u64 = 1_000_000_000;
/// After this many vain rounds a worker spins only now and then.
const PATIENCE: u32 = 4;
const NOW_AND_THEN: u32 = 16;
/// Looks between two yields.
const BUSY_LOOKS: u32 = 16;

/// 0, or the fork generation of the process in which a worker spins.
static SPINNING: AtomicU32 = AtomicU32::new(0);

pub struct SpinPolicy {
    ns: u64,
}

impl SpinPolicy {
    pub const fn new(ns: u64) -> SpinPolicy {
        SpinPolicy { ns }
    }

    /// Calls `look` until it answers or the time is up. `vain` counts this worker's rounds in vain.
    #[inline]
    pub fn spin<R>(
        &self,
        vain: &std::cell::Cell<u32>,
        mut look: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        let rounds = vain.get();
        if self.ns == 0 || cpu::count() == 1 {
            return None;
        }
        if rounds >= PATIENCE && !rounds.is_multiple_of(NOW_AND_THEN) {
            vain.set(rounds.wrapping_add(1));
            return None;
        }
        let generation = fork::generation();
        let others = SPINNING.load(Relaxed);
        if others == generation
            || SPINNING
                .compare_exchange(others, generation, Relaxed, Relaxed)
                .is_err()
        {
            return None;
        }
        let end = clock::now_ns() + (self.ns >> rounds.min(PATIENCE));
        let found = loop {
            let mut found = look();
            for _ in 0..BUSY_LOOKS {
                if found.is_some() {
                    break;
                }
                std::hint::spin_loop();
                found = look();
            }
            if found.is_none() {
                std::thread::yield_now();
                found = look();
            }
            if found.is_some() || clock::now_ns() >= end {
                break found;
            }
        };
        vain.set(if found.is_some() {
            0
        } else {
            rounds.wrapping_add(1).max(1)
        });
        SPINNING.store(0, Relaxed);
        found
    }
}
