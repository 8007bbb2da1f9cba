//! Starting, naming and joining threads with the C library's own calls.
//!
//! `std::thread` is not used: it runs its closure below `catch_unwind`, and a runtime that ends a thread inside a callback
//! (`pthread_exit`, as CPython does up to 3.13) would abort the process there.

use super::clock::Deadline;
use super::sync::thread_local;
use std::cell::Cell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The body of a new thread.
pub type Entry = unsafe extern "C-unwind" fn(*mut c_void);

/// A number of the calling thread, which no other one has or will have.
pub fn token() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static TOKEN: Cell<u64> = const { Cell::new(0) });
    TOKEN.with(|token| {
        if token.get() == 0 {
            token.set(NEXT.fetch_add(1, Relaxed));
        }
        token.get()
    })
}

/// The calling thread's name as the operating system has it.
#[cfg(not(any(loom, shuttle)))]
pub fn name() -> String {
    let mut name = [0u8; 16];
    // SAFETY: the buffer has the size that is told.
    unsafe { libc::pthread_getname_np(libc::pthread_self(), name.as_mut_ptr().cast(), name.len()) };
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}
#[cfg(any(loom, shuttle))]
pub fn name() -> String {
    String::new()
}

/// A joinable thread that [`start`] made.
#[derive(Clone, Copy)]
pub struct Thread(libc::pthread_t);

// SAFETY: a pthread_t may be joined or detached from any thread.
unsafe impl Send for Thread {}

mod ffi {
    //! cbindgen:ignore
    use super::*;
    unsafe extern "C" {
        pub fn pthread_clockjoin_np(
            thread: libc::pthread_t,
            value: *mut *mut c_void,
            clock: libc::clockid_t,
            at: *const libc::timespec,
        ) -> libc::c_int;
        pub fn pthread_create(
            thread: *mut libc::pthread_t,
            attr: *const libc::pthread_attr_t,
            body: unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void,
            arg: *mut c_void,
        ) -> libc::c_int;
    }
}

/// What the new thread reads from the argument that `start` was given.
#[repr(C)]
pub struct Start {
    pub entry: Entry,
    pub arg: *mut c_void,
}

unsafe extern "C-unwind" fn body(start: *mut c_void) -> *mut c_void {
    // SAFETY: `start` got a Start that lives until its thread has ended.
    let Start { entry, arg } = unsafe { std::ptr::read(start as *const Start) };
    // SAFETY: as promised to `start`.
    unsafe { entry(arg) };
    std::ptr::null_mut()
}

/// The signal mask of a worker: that of the thread that starts it, as of any thread, but for fault signals, USR2, URG and the real-time
/// signals, which are not blocked whatever the starting thread does: runtimes need them on every thread. Nothing else is blocked, since a
/// process that is started in a job inherits the mask, and would not hear the signals that are to end it. The kernel prefers the main
/// thread for what is sent to the process.
fn worker_mask(starter: &libc::sigset_t) -> libc::sigset_t {
    const EVERY_THREADS: [i32; 9] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGSYS,
        libc::SIGUSR2,
        libc::SIGURG,
    ];
    let mut mask = *starter;
    // SAFETY: a valid set and valid signal numbers.
    unsafe {
        for signal in EVERY_THREADS
            .into_iter()
            .chain(libc::SIGRTMIN()..=libc::SIGRTMAX())
        {
            libc::sigdelset(&mut mask, signal);
        }
    }
    mask
}

/// Starts a joinable thread. `stack_size` 0 is the C library's default.
///
/// # Errors
/// The error number of the C library, such as EAGAIN.
///
/// # Safety
/// `start` lives until the thread has ended, and its entry may be called with its argument on a new thread.
pub unsafe fn start(start: *const Start, stack_size: usize) -> Result<Thread, i32> {
    let mut attr = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: each object is initialised by its own call before it is used; the mask of this thread is put back.
    unsafe {
        let r = libc::pthread_attr_init(attr.as_mut_ptr());
        if r != 0 {
            return Err(r);
        }
        if stack_size != 0 {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let size = stack_size
                .max(libc::PTHREAD_STACK_MIN)
                .checked_next_multiple_of(page)
                .unwrap_or(usize::MAX & !(page - 1));
            let r = libc::pthread_attr_setstacksize(attr.as_mut_ptr(), size);
            if r != 0 {
                libc::pthread_attr_destroy(attr.as_mut_ptr());
                return Err(r);
            }
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), before.as_mut_ptr());
        let before = before.assume_init();
        libc::pthread_sigmask(
            libc::SIG_SETMASK,
            &worker_mask(&before),
            std::ptr::null_mut(),
        );
        let r = ffi::pthread_create(
            thread.as_mut_ptr(),
            attr.as_ptr(),
            body,
            start as *mut c_void,
        );
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        libc::pthread_attr_destroy(attr.as_mut_ptr());
        match r {
            0 => Ok(Thread(thread.assume_init())),
            error => Err(error),
        }
    }
}

/// The calling thread, which must be one that [`start`] made.
pub fn current() -> Thread {
    // SAFETY: no arguments, cannot fail.
    Thread(unsafe { libc::pthread_self() })
}

impl Thread {
    /// Waits until the thread has ended, its thread-local destructors included. False if the deadline passed first;
    /// then the thread is still joinable. True at once when the caller is the thread itself.
    pub fn join(self, deadline: Deadline) -> bool {
        // SAFETY: the thread is joinable and joined once: a `Thread` is kept until join says true, or detached.
        let r = unsafe {
            match deadline.timespec() {
                None => libc::pthread_join(self.0, std::ptr::null_mut()),
                Some(at) if at.tv_sec == 0 && at.tv_nsec == 0 => {
                    libc::pthread_tryjoin_np(self.0, std::ptr::null_mut())
                }
                Some(at) => ffi::pthread_clockjoin_np(
                    self.0,
                    std::ptr::null_mut(),
                    libc::CLOCK_MONOTONIC,
                    &at,
                ),
            }
        };
        r != libc::ETIMEDOUT && r != libc::EBUSY
    }

    /// Lets the thread's resources go when it ends, with no join.
    pub fn detach(self) {
        // SAFETY: joinable, and given up by the caller.
        unsafe { libc::pthread_detach(self.0) };
    }
}

/// Names the calling thread for the operating system. `name` ends with a NUL within 16 bytes.
pub fn set_name(name: &[u8; 16]) {
    debug_assert!(name.contains(&0));
    // SAFETY: a NUL-terminated string of at most 16 bytes, as prctl(PR_SET_NAME) takes it.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}
