//! The host's functions and the opaque pointers that go with them.
//!
//! Every type here is `Copy` and has no destructor: a runtime may end a thread inside a callback, and nothing must be
//! left to clean up in the frames that it unwinds through.

use super::error::Status;
use super::worker::Worker;
use std::ffi::c_void;

/// A host's pointer that the library only carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Opaque(pub *mut c_void);

// SAFETY: the library never looks behind the pointer; the host promised that its callbacks may run on any thread.
unsafe impl Send for Opaque {}
// SAFETY: as above.
unsafe impl Sync for Opaque {}

impl Opaque {
    pub(crate) const NULL: Opaque = Opaque(std::ptr::null_mut());
}

pub type RawJobFn = unsafe extern "C-unwind" fn(*mut c_void, *mut *mut c_void) -> i32;
pub type RawDeliverFn = unsafe extern "C-unwind" fn(*mut c_void, *const Outcome);
pub type RawFreeFn = unsafe extern "C-unwind" fn(*mut c_void);
pub type RawStartFn =
    unsafe extern "C-unwind" fn(*mut c_void, *const Worker, *mut *mut c_void) -> i32;
pub type RawExitFn = unsafe extern "C-unwind" fn(*mut c_void, *const Worker, *mut c_void);
pub type RawBeforeFn = unsafe extern "C-unwind" fn(*mut c_void, *const Worker, *mut c_void) -> i32;
pub type RawCompleteFn = unsafe extern "C-unwind" fn(*mut c_void, *const Completed);
pub type RawSpawnFn = unsafe extern "C-unwind" fn(
    *mut c_void,
    unsafe extern "C-unwind" fn(*mut c_void),
    *mut c_void,
    *const std::ffi::c_char,
    usize,
    *mut *mut c_void,
) -> Status;
pub type RawCallFn = unsafe extern "C-unwind" fn(*mut c_void);
pub type RawStartSoonFn = unsafe extern "C-unwind" fn(
    *mut c_void,
    Option<RawJobFn>,
    Option<RawDeliverFn>,
    *mut c_void,
    *const std::ffi::c_char,
) -> Status;
pub type RawPrepareFn = unsafe extern "C-unwind" fn(*mut c_void, *mut u64) -> Status;
pub type RawPollFn = unsafe extern "C-unwind" fn(*mut c_void, u64, *mut *mut c_void) -> Status;
pub type RawProcessFn = unsafe extern "C-unwind" fn(*mut c_void, *mut c_void) -> Status;
pub type RawDiscardFn = unsafe extern "C-unwind" fn(*mut c_void, *mut c_void);
pub type RawDoneFn = unsafe extern "C-unwind" fn(*mut c_void, Status);
pub type RawJoinFn = unsafe extern "C-unwind" fn(*mut c_void, *mut c_void);

/// How a job ended, as its `deliver` and its waiters see it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// SELV_OK if `fn` ran. SELV_E_HOOK_FAILED: a hook that the job needs failed or was unregistered. SELV_E_CANCELLED: by
    /// `selv_job_cancel` or a shutdown. SELV_E_BROKEN: a runtime ended the thread inside `fn` or a hook. SELV_E_SPAWN: accepted,
    /// but the worker that was to run it could not be started. SELV_E_TIMEDOUT, SELV_E_CLOSED: it had no token of its limiter in
    /// time, or the limiter was closed. SELV_E_FORKED: it needs a hook of the parent process.
    pub status: Status,
    /// What `fn` returned. With SELV_E_HOOK_FAILED the failing hook's own number; SELV_E_CLOSED if a hook was unregistered before
    /// the job began. Else 0.
    pub code: i32,
    /// What `fn` stored in `*out_value`; NULL if it did not run to its end.
    pub value: *mut c_void,
}

impl Outcome {
    pub const fn failed(status: Status, code: i32) -> Outcome {
        Outcome {
            status,
            code,
            value: std::ptr::null_mut(),
        }
    }
}

/// What the callback of an operation is told. Valid during the callback.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Completed {
    /// sizeof(selv_completed)
    pub struct_size: u32,
    /// SELV_OK or SELV_OWNER_DIED: what was asked for is the task's now. Else an error: see the function that began the operation;
    /// `selv_last_error` tells why.
    pub status: Status,
    /// Grows by one with each waiter of the same object that is completed, blocking or not: the order of grants can be rebuilt from
    /// it. 0 if there was no wait.
    pub ticket: u64,
    /// The operation's number, which means nothing any more.
    pub op: u64,
    /// Of a condition: 1 if the task holds the lock.
    pub holds_lock: i32,
    /// Of a channel: the bytes received, the callback's to free with `selv_bytes_free`, whether it wants them or not; else NULL.
    pub data: *mut c_void,
    /// How many bytes `data` has.
    pub len: usize,
}

impl CallFn {
    fn address(self) -> usize {
        self.0 as usize
    }
}

// By the address, which is what the host passed: the same call is the same address and the same argument.
impl PartialEq for CallFn {
    fn eq(&self, other: &CallFn) -> bool {
        self.address() == other.address()
    }
}

impl Eq for CallFn {}

impl std::hash::Hash for CallFn {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}

/// Declares a callable wrapper: making one is unsafe and carries the promise, calling it is not.
macro_rules! host_function {
    ($(#[$doc:meta])* $name:ident($raw:ty)($($arg:ident: $ty:ty),*) $(-> $ret:ty)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name($raw);

        impl $name {
            /// # Safety
            /// The function may be called on any thread with the arguments that its type names.
            pub unsafe fn new(f: $raw) -> Self {
                $name(f)
            }
            #[inline]
            pub fn call(self, $($arg: $ty),*) $(-> $ret)? {
                // SAFETY: promised to `new`.
                unsafe { (self.0)($($arg),*) }
            }
        }
    };
}

host_function!(
    /// A finaliser of the host's data.
    FreeFn(RawFreeFn)(data: *mut c_void)
);
host_function!(JobFn(RawJobFn)(arg: *mut c_void, out_value: *mut *mut c_void) -> i32);
host_function!(DeliverFn(RawDeliverFn)(arg: *mut c_void, outcome: *const Outcome));
host_function!(StartFn(RawStartFn)(user: *mut c_void, worker: *const Worker, slot: *mut *mut c_void) -> i32);
host_function!(
    /// `on_exit` and `after_job`.
    ExitFn(RawExitFn)(user: *mut c_void, worker: *const Worker, slot: *mut c_void)
);
host_function!(BeforeFn(RawBeforeFn)(user: *mut c_void, worker: *const Worker, slot: *mut c_void) -> i32);
host_function!(SpawnFn(RawSpawnFn)(
    data: *mut c_void,
    entry: unsafe extern "C-unwind" fn(*mut c_void),
    arg: *mut c_void,
    name: *const std::ffi::c_char,
    stack_size: usize,
    out_handle: *mut *mut c_void
) -> Status);
host_function!(
    /// The callback of an operation.
    CompleteFn(RawCompleteFn)(arg: *mut c_void, completed: *const Completed)
);
host_function!(
    /// What is run in a host loop, or wakes one.
    CallFn(RawCallFn)(arg: *mut c_void)
);
host_function!(StartSoonFn(RawStartSoonFn)(
    data: *mut c_void,
    run: Option<RawJobFn>,
    deliver: Option<RawDeliverFn>,
    arg: *mut c_void,
    name: *const std::ffi::c_char
) -> Status);
host_function!(PrepareFn(RawPrepareFn)(guest: *mut c_void, out_ns: *mut u64) -> Status);
host_function!(PollFn(RawPollFn)(guest: *mut c_void, timeout_ns: u64, out_events: *mut *mut c_void) -> Status);
host_function!(ProcessFn(RawProcessFn)(guest: *mut c_void, events: *mut c_void) -> Status);
host_function!(DiscardFn(RawDiscardFn)(guest: *mut c_void, events: *mut c_void));
host_function!(DoneFn(RawDoneFn)(guest: *mut c_void, why: Status));
host_function!(JoinFn(RawJoinFn)(data: *mut c_void, handle: *mut c_void));
