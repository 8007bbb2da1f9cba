//! What the models of tasks and locks have in common: tasks, operations with a callback that is counted, and the check that a lock
//! has come to rest.

use crate::core::callback::{CompleteFn, Completed, Opaque};
use crate::core::error::{self, Error, Result, Status};
use crate::core::host::host_loop::HostLoop;
use crate::core::name::Name;
use crate::core::sync::batch::Batch;
use crate::core::sync::exit;
use crate::core::sync::lock::Lock;
use crate::core::sync::operation::{self, Completion, OpId};
use crate::core::sync::report::Report;
use crate::core::sync::task::{self, Kind, TaskId};
use crate::core::sync::wait::Submitted;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};

/// A timeout that passes as soon as the waiter gets to sleep.
pub(crate) const SOON: u64 = 1;

pub fn new_task() -> TaskId {
    task::begin(Kind::Host, Name::NONE).expect("a model has few tasks")
}

pub fn exit(task: TaskId) -> Report {
    let mut batch = Batch::new();
    let report = exit::host_task(task, &mut batch).expect("a task exits once");
    batch.finish();
    report
}

fn in_time(f: impl FnOnce(&mut Batch) -> Result<()>) -> bool {
    let mut batch = Batch::new();
    let result = f(&mut batch);
    batch.finish();
    result
        .inspect_err(|e| assert_eq!(e.status, error::TOO_LATE))
        .is_ok()
}

/// False if it came too late.
pub fn cancel(op: OpId) -> bool {
    in_time(|batch| operation::cancel(op, batch))
}

/// False if it came too late.
pub fn abandon(op: OpId) -> bool {
    in_time(|batch| operation::abandon(op, batch))
}

pub fn is_pending(submitted: Result<Submitted>) -> bool {
    matches!(submitted, Ok(Submitted::Pending))
}

pub fn refusal<T>(result: Result<T>) -> Option<Status> {
    result.err().map(|e: Error| e.status)
}

/// What one operation's callback was told. The words are plain, unseen by loom: they must not order anything.
#[derive(Default)]
pub struct Told {
    calls: AtomicU32,
    status: AtomicI32,
    holds_lock: AtomicI32,
    /// Of a channel: the byte that was received, plus one.
    item: AtomicU32,
}

impl Told {
    pub fn new() -> Arc<Told> {
        Arc::default()
    }

    /// An operation whose callback reports here; the model keeps `self` until its threads are joined.
    pub fn operation(self: &Arc<Told>, task: TaskId) -> OpId {
        self.operation_on(task, None)
    }

    /// The same with a callback that is to run on a host loop.
    pub fn operation_on(self: &Arc<Told>, task: TaskId, on: Option<Arc<HostLoop>>) -> OpId {
        let completion = Completion::Host {
            on,
            // SAFETY: takes what such functions are called with.
            call: unsafe { CompleteFn::new(completed) },
            arg: Opaque(Arc::as_ptr(self).cast_mut().cast()),
        };
        operation::begin(task, completion).expect("a model has few operations")
    }

    /// The status, if the callback was called; it was so at most once.
    pub fn status(&self) -> Option<Status> {
        let calls = self.calls.load(Relaxed);
        assert!(calls <= 1, "{calls} callbacks for one operation");
        (calls == 1).then(|| self.status.load(Relaxed))
    }

    pub fn was_granted(&self) -> bool {
        self.status() == Some(error::OK)
    }

    pub fn holds_lock(&self) -> bool {
        self.status().is_some() && self.holds_lock.load(Relaxed) != 0
    }

    pub fn item(&self) -> Option<u8> {
        let item = self.item.load(Relaxed);
        self.status()?;
        item.checked_sub(1).map(|byte| byte as u8)
    }
}

unsafe extern "C-unwind" fn completed(told: *mut c_void, c: *const Completed) {
    // SAFETY: each model keeps what its operations report to until all threads are joined; `c` lives for this call.
    let (told, c) = unsafe { (&*told.cast::<Told>(), &*c) };
    told.status.store(c.status, Relaxed);
    told.holds_lock.store(c.holds_lock, Relaxed);
    if !c.data.is_null() {
        // SAFETY: an item of the models has one byte, and is the callback's to free.
        let item = unsafe { *c.data.cast::<u8>() };
        // SAFETY: from the C library's allocator, and freed once.
        unsafe { libc::free(c.data) };
        told.item.store(u32::from(item) + 1, Relaxed);
    }
    told.calls.fetch_add(1, Relaxed);
}

/// Nobody holds the lock or waits for it, and it can be had and freed.
pub fn check_at_rest(lock: &Arc<Lock>) {
    let newcomer = new_task();
    assert_eq!(lock.stats().waiting, 0);
    lock.try_acquire(newcomer).expect("the lock is free");
    lock.release(newcomer).expect("by its owner");
    lock.retire().expect("nobody has the lock");
}
