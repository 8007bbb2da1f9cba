//! Monotonic time in nanoseconds, and deadlines made from the timeouts of the C API.

/// Waits for as long as it takes.
pub(crate) const FOREVER: u64 = u64::MAX;
/// In an option struct, where 0 means "the default": do not wait at all.
pub(crate) const NO_WAIT: u64 = u64::MAX - 1;

/// Nanoseconds of `CLOCK_MONOTONIC`. In the models, whose runs must repeat, time stands still.
pub fn now_ns() -> u64 {
    if cfg!(any(loom, shuttle)) {
        return 0;
    }
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `t` is a valid timespec, and CLOCK_MONOTONIC exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// A point in time after which a wait gives up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Deadline(u64);

impl Deadline {
    pub(crate) const NEVER: Deadline = Deadline(FOREVER);

    /// `timeout_ns` from now; `FOREVER`, and anything that overflows the clock, never passes.
    pub fn after(timeout_ns: u64) -> Deadline {
        match timeout_ns {
            0 | NO_WAIT => Deadline(0),
            FOREVER => Deadline::NEVER,
            ns => Deadline(now_ns().saturating_add(ns)),
        }
    }

    /// `timeout_ns` after `start_ns`, a value of [`now_ns`].
    pub fn from_start(start_ns: u64, timeout_ns: u64) -> Deadline {
        match timeout_ns {
            0 | NO_WAIT => Deadline(0),
            ns => Deadline(start_ns.saturating_add(ns)),
        }
    }

    pub fn is_never(self) -> bool {
        self.0 == FOREVER
    }

    pub fn has_passed(self) -> bool {
        !self.is_never() && (self.0 == 0 || now_ns() >= self.0)
    }

    /// The absolute `CLOCK_MONOTONIC` time, or None when it never passes.
    pub fn timespec(self) -> Option<libc::timespec> {
        (!self.is_never()).then_some(libc::timespec {
            tv_sec: (self.0 / 1_000_000_000) as libc::time_t,
            tv_nsec: (self.0 % 1_000_000_000) as libc::c_long,
        })
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_huge_timeout_saturates_and_zero_has_passed() {
        assert!(Deadline::after(FOREVER).is_never());
        assert!(
            Deadline::after(NO_WAIT - 1).is_never() || !Deadline::after(NO_WAIT - 1).has_passed()
        );
        assert!(Deadline::after(0).has_passed());
        assert!(Deadline::after(NO_WAIT).has_passed());
        assert!(!Deadline::after(3_600_000_000_000).has_passed());
    }
}
