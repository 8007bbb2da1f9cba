//! The part of Selvedge's C ABI that the benchmarks call, declared by hand. `build.rs` includes this file too and has the C
//! compiler compare every struct below with `include/selvedge.h`, so a declaration that has drifted does not build.

use std::ffi::{c_char, c_void};

pub type Status = i32;
pub const OK: Status = 0;
pub const PENDING: Status = 1;
pub const OWNER_DIED: Status = 2;
pub const CANCELLED: Status = -7;
pub const BROKEN: Status = -8;
pub const CLOSED: Status = -12;
pub const FOREVER: u64 = u64::MAX;
pub const NO_WAIT: u64 = u64::MAX - 1;
/// `selv_task`: which task calls. The library looks the current one up for `TASK_CURRENT`.
pub type Task = u64;
pub const TASK_CURRENT: Task = u64::MAX;
pub type Op = u64;
pub const LOCK_STRICT_FIFO: u32 = 1;
pub const LOCK_RECURSIVE: u32 = 2;
pub const LOCK_ROBUST: u32 = 4;

pub enum Cache {}
pub enum Job {}
pub enum Hook {}
pub enum Worker {}
pub enum Lock {}
pub enum Semaphore {}
pub enum Channel {}

pub type JobFn = unsafe extern "C" fn(arg: *mut c_void, out_value: *mut *mut c_void) -> i32;
pub type DeliverFn = unsafe extern "C" fn(arg: *mut c_void, outcome: *const Outcome);
pub type FreeFn = unsafe extern "C" fn(data: *mut c_void);
pub type SpawnFn = unsafe extern "C" fn(
    data: *mut c_void,
    entry: unsafe extern "C" fn(*mut c_void),
    entry_arg: *mut c_void,
    name: *const c_char,
    stack_size: usize,
    out_handle: *mut *mut c_void,
) -> Status;
pub type JoinFn = unsafe extern "C" fn(data: *mut c_void, handle: *mut c_void);
pub type HookStartFn =
    unsafe extern "C" fn(user: *mut c_void, worker: *const Worker, slot: *mut *mut c_void) -> i32;
pub type HookEndFn =
    unsafe extern "C" fn(user: *mut c_void, worker: *const Worker, slot: *mut c_void);
pub type HookBeforeFn =
    unsafe extern "C" fn(user: *mut c_void, worker: *const Worker, slot: *mut c_void) -> i32;
pub type CompleteFn = unsafe extern "C" fn(arg: *mut c_void, completed: *const Completed);

/// What `build.rs` compares with the header: a constant's name and value.
pub const CONSTANTS: &[(&str, i128)] = &[
    ("SELV_OK", OK as i128),
    ("SELV_PENDING", PENDING as i128),
    ("SELV_OWNER_DIED", OWNER_DIED as i128),
    ("SELV_E_CANCELLED", CANCELLED as i128),
    ("SELV_E_BROKEN", BROKEN as i128),
    ("SELV_E_CLOSED", CLOSED as i128),
    ("SELV_FOREVER", FOREVER as i128),
    ("SELV_NO_WAIT", NO_WAIT as i128),
    ("SELV_TASK_CURRENT", TASK_CURRENT as i128),
    ("SELV_LOCK_STRICT_FIFO", LOCK_STRICT_FIFO as i128),
    ("SELV_LOCK_RECURSIVE", LOCK_RECURSIVE as i128),
    ("SELV_LOCK_ROBUST", LOCK_ROBUST as i128),
];

/// What `build.rs` compares with the header: a struct's name in C, its size, and each field's name and offset.
pub struct Layout {
    pub name: &'static str,
    pub size: usize,
    pub fields: &'static [(&'static str, usize)],
}

/// Declares a struct as C lays it out, `Default` being all zero as the `*_INIT` macros have it, together with its `Layout`.
macro_rules! c_struct {
    ($(#[$doc:meta])* $rust:ident = $c:literal { $($field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct $rust { $(pub $field: $ty,)* }

        impl $rust {
            pub const LAYOUT: Layout = Layout {
                name: $c,
                size: std::mem::size_of::<$rust>(),
                fields: &[$((stringify!($field), std::mem::offset_of!($rust, $field)),)*],
            };

            /// All zero, with `struct_size` left for the caller.
            pub fn zeroed() -> Self {
                // SAFETY: every field is an integer, a raw pointer or an optional function pointer, for which zero is valid.
                unsafe { std::mem::zeroed() }
            }
        }
    };
}

c_struct!(Outcome = "selv_outcome" {
    status: Status,
    code: i32,
    value: *mut c_void,
});

c_struct!(CacheOptions = "selv_cache_options" {
    struct_size: u32,
    max_workers: u32,
    name: *const c_char,
    idle_timeout_ns: u64,
    stack_size: usize,
    spin: u64,
    spawn: Option<SpawnFn>,
    join: Option<JoinFn>,
    spawn_data: *mut c_void,
});

c_struct!(JobOptions = "selv_job_options" {
    struct_size: u32,
    flags: u32,
    fn_: Option<JobFn>,
    deliver: Option<DeliverFn>,
    arg: *mut c_void,
    arg_free: Option<FreeFn>,
    name: *const c_char,
    attach: *const *mut Hook,
    attach_len: usize,
});

c_struct!(HookOptions = "selv_hook_options" {
    struct_size: u32,
    flags: u32,
    name: *const c_char,
    on_start: Option<HookStartFn>,
    on_exit: Option<HookEndFn>,
    before_job: Option<HookBeforeFn>,
    after_job: Option<HookEndFn>,
    user: *mut c_void,
    user_free: Option<FreeFn>,
});

c_struct!(LockOptions = "selv_lock_options" {
    struct_size: u32,
    flags: u32,
    name: *const c_char,
});

c_struct!(SemaphoreOptions = "selv_semaphore_options" {
    struct_size: u32,
    flags: u32,
    name: *const c_char,
    initial: u64,
    max: u64,
});

c_struct!(ChannelOptions = "selv_channel_options" {
    struct_size: u32,
    flags: u32,
    name: *const c_char,
    capacity: u64,
});

c_struct!(Completion = "selv_completion" {
    fn_: Option<CompleteFn>,
    arg: *mut c_void,
    loop_: *mut c_void,
});

c_struct!(Completed = "selv_completed" {
    struct_size: u32,
    status: Status,
    ticket: u64,
    op: Op,
    holds_lock: i32,
    data: *mut c_void,
    len: usize,
});

pub const LAYOUTS: &[Layout] = &[
    LockOptions::LAYOUT,
    SemaphoreOptions::LAYOUT,
    ChannelOptions::LAYOUT,
    Completion::LAYOUT,
    Completed::LAYOUT,
    Outcome::LAYOUT,
    CacheOptions::LAYOUT,
    JobOptions::LAYOUT,
    HookOptions::LAYOUT,
];

extern "C" {
    pub fn selv_version() -> *const c_char;
    pub fn selv_last_error(buf: *mut c_char, len: usize) -> usize;
    pub fn selv_status_name(status: Status) -> *const c_char;
    pub fn selv_cache_new(opts: *const CacheOptions, out: *mut *mut Cache) -> Status;
    pub fn selv_cache_release(cache: *mut Cache);
    pub fn selv_cache_shutdown(
        cache: *mut Cache,
        flags: u32,
        timeout_ns: u64,
        out_remaining: *mut u32,
    ) -> Status;
    pub fn selv_start_thread_soon(
        cache: *mut Cache,
        fn_: Option<JobFn>,
        deliver: Option<DeliverFn>,
        arg: *mut c_void,
        name: *const c_char,
    ) -> Status;
    pub fn selv_cache_submit_many(
        cache: *mut Cache,
        jobs: *const JobOptions,
        count: usize,
        out_accepted: *mut usize,
    ) -> Status;
    pub fn selv_cache_run(
        cache: *mut Cache,
        fn_: Option<JobFn>,
        arg: *mut c_void,
        timeout_ns: u64,
        out: *mut Outcome,
    ) -> Status;
    pub fn selv_hook_register(
        cache: *mut Cache,
        opts: *const HookOptions,
        out: *mut *mut Hook,
    ) -> Status;
    pub fn selv_hook_unregister(hook: *mut Hook, timeout_ns: u64, out_attached: *mut u32)
        -> Status;
    pub fn selv_hook_release(hook: *mut Hook);

    pub fn selv_task_new(name: *const c_char, out: *mut Task) -> Status;
    pub fn selv_task_exit(task: Task, out: *mut c_void) -> Status;
    pub fn selv_task_current() -> Task;
    pub fn selv_op_cancel(op: Op) -> Status;

    pub fn selv_lock_new(opts: *const LockOptions, out: *mut *mut Lock) -> Status;
    pub fn selv_lock_free(lock: *mut Lock) -> Status;
    pub fn selv_lock_close(lock: *mut Lock) -> Status;
    pub fn selv_lock_acquire(lock: *mut Lock, task: Task, timeout_ns: u64) -> Status;
    pub fn selv_lock_acquire_async(
        lock: *mut Lock,
        task: Task,
        completion: *const Completion,
        out_op: *mut Op,
    ) -> Status;
    pub fn selv_lock_release(lock: *mut Lock, task: Task) -> Status;
    pub fn selv_lock_make_consistent(lock: *mut Lock, task: Task) -> Status;

    pub fn selv_semaphore_new(opts: *const SemaphoreOptions, out: *mut *mut Semaphore) -> Status;
    pub fn selv_semaphore_free(semaphore: *mut Semaphore) -> Status;
    pub fn selv_semaphore_acquire(
        semaphore: *mut Semaphore,
        task: Task,
        n: u64,
        timeout_ns: u64,
    ) -> Status;
    pub fn selv_semaphore_release(semaphore: *mut Semaphore, n: u64) -> Status;

    pub fn selv_channel_new(opts: *const ChannelOptions, out: *mut *mut Channel) -> Status;
    pub fn selv_channel_free(channel: *mut Channel) -> Status;
    pub fn selv_channel_close(channel: *mut Channel) -> Status;
    pub fn selv_channel_send(
        channel: *mut Channel,
        task: Task,
        data: *const c_void,
        len: usize,
        timeout_ns: u64,
    ) -> Status;
    pub fn selv_channel_recv(
        channel: *mut Channel,
        task: Task,
        timeout_ns: u64,
        out_data: *mut *mut c_void,
        out_len: *mut usize,
    ) -> Status;
    pub fn selv_bytes_free(data: *mut c_void);
}
