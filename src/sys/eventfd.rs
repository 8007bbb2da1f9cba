//! A descriptor that is readable while it is raised (Linux eventfd(2)), for hosts that poll.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// -1 when it has been closed.
pub struct EventFd(AtomicI32);

impl EventFd {
    /// None when the process or the system has no descriptor left.
    pub fn new() -> Option<EventFd> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        (fd >= 0).then_some(EventFd(AtomicI32::new(fd)))
    }

    pub fn raw(&self) -> libc::c_int {
        self.0.load(Relaxed)
    }

    pub fn raise(&self) {
        let one = 1u64;
        // SAFETY: eight bytes, as an eventfd wants. It does not get full: one raise for each wake and each bind, and lowering takes all.
        unsafe { libc::write(self.raw(), (&raw const one).cast(), size_of::<u64>()) };
    }

    pub fn lower(&self) {
        let mut count = 0u64;
        // SAFETY: room for eight bytes. One that is not raised says EAGAIN, which is fine.
        unsafe { libc::read(self.raw(), (&raw mut count).cast(), size_of::<u64>()) };
    }

    /// Nobody raises or lowers it any more.
    pub fn close(&self) {
        let fd = self.0.swap(-1, Relaxed);
        if fd >= 0 {
            // SAFETY: ours, and closed once.
            unsafe { libc::close(fd) };
        }
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        self.close();
    }
}
