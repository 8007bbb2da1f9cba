//! The semaphores that take part. A semaphore has a lock's shape, so the same loops measure it; with two permits for four threads
//! it is not a lock any more.

use super::lock::{Face, Lock, Vtable};
use crate::peers::selvedge::check;
use crate::selv;
use futures_lite::future::block_on;
use std::cell::UnsafeCell;
use std::mem::size_of;
use std::ptr::null_mut;

pub const PERMITS: u32 = 2;

pub struct Selvedge(*mut selv::Semaphore);

// SAFETY: the library's handles may be used from every thread.
unsafe impl Sync for Selvedge {}
unsafe impl Send for Selvedge {}

impl Selvedge {
    pub fn new() -> Selvedge {
        let mut options = selv::SemaphoreOptions::zeroed();
        options.struct_size = size_of::<selv::SemaphoreOptions>() as u32;
        options.initial = PERMITS.into();
        let mut semaphore = null_mut();
        // SAFETY: both pointers are to live locals.
        check(
            unsafe { selv::selv_semaphore_new(&options, &mut semaphore) },
            "selv_semaphore_new",
        );
        Selvedge(semaphore)
    }
}

impl Lock for Selvedge {
    type Seat = selv::Task;

    fn seat(&self) -> selv::Task {
        // SAFETY: no arguments.
        unsafe { selv::selv_task_current() }
    }

    #[inline(always)]
    fn acquire(&self, task: selv::Task) {
        // SAFETY: the semaphore lives as long as `self`.
        let status = unsafe { selv::selv_semaphore_acquire(self.0, task, 1, selv::FOREVER) };
        check(status, "selv_semaphore_acquire");
    }

    #[inline(always)]
    fn release(&self, _: selv::Task) {
        // SAFETY: as above.
        let status = unsafe { selv::selv_semaphore_release(self.0, 1) };
        check(status, "selv_semaphore_release");
    }
}

impl Drop for Selvedge {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once.
        check(
            unsafe { selv::selv_semaphore_free(self.0) },
            "selv_semaphore_free",
        );
    }
}

// ---- peers ----

/// tokio's, on threads without a runtime: `acquire` needs none.
struct Tokio(tokio::sync::Semaphore);

impl Face for Tokio {
    fn new() -> Self {
        Tokio(tokio::sync::Semaphore::new(PERMITS as usize))
    }
    fn lock(&self) {
        block_on(self.0.acquire()).expect("never closed").forget();
    }
    unsafe fn unlock(&self) {
        self.0.add_permits(1);
    }
}

struct AsyncLock(async_lock::Semaphore);

impl Face for AsyncLock {
    fn new() -> Self {
        AsyncLock(async_lock::Semaphore::new(PERMITS as usize))
    }
    fn lock(&self) {
        self.0.acquire_blocking().forget();
    }
    unsafe fn unlock(&self) {
        self.0.add_permits(1);
    }
}

/// `sem_t`. It moves once, before anybody uses it.
struct Posix(UnsafeCell<libc::sem_t>);

impl Face for Posix {
    fn new() -> Self {
        // SAFETY: all zero is enough for sem_init, which writes every part of it.
        let mut semaphore = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        assert_eq!(unsafe { libc::sem_init(&mut semaphore, 0, PERMITS) }, 0);
        Posix(UnsafeCell::new(semaphore))
    }
    fn lock(&self) {
        // SAFETY: initialised by `new`. A signal may interrupt the wait.
        while unsafe { libc::sem_wait(self.0.get()) } != 0 {}
    }
    unsafe fn unlock(&self) {
        libc::sem_post(self.0.get());
    }
}

pub static TOKIO: Vtable = Tokio::VTABLE;
pub static ASYNC_LOCK: Vtable = AsyncLock::VTABLE;
pub static POSIX: Vtable = Posix::VTABLE;
