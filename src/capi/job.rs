//! `selv_job`: jobs, their outcomes, and handles to follow them.

use super::hook::selected;
use super::status::selv_status;
use super::support::guard::{finish, guard};
use super::support::handles::{borrow, null, put, required, text};
use super::support::options::{self, Sized32};
use super::support::tasks::open_loop;
use crate::core::cache::Cache;
use crate::core::callback::{DeliverFn, FreeFn, JobFn, Opaque, Outcome};
use crate::core::delivery::Delivery;
use crate::core::error::{self, Error, Result};
use crate::core::hook::Hook;
use crate::core::host::host_loop::HostLoop;
use crate::core::job::{Job, Needs, Ticket, TicketRef};
use crate::core::limited;
use crate::core::name::Name;
use crate::core::panic::step;
use crate::core::submit;
use crate::core::sync::limiter::Limiter;
use crate::core::sync::task::{self, Kind, TaskId};
use crate::sys::clock::{Deadline, FOREVER};
use crate::sys::fork;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// The work of a job: runs on a worker, may block, returns a number of the host's own, and may store a result in `*out_value`
/// (which is NULL before). Must not throw or longjmp.
#[allow(non_camel_case_types)]
pub type selv_job_fn =
    Option<unsafe extern "C-unwind" fn(arg: *mut c_void, out_value: *mut *mut c_void) -> i32>;

/// Hands a job's outcome on: called exactly once for each accepted job, on the worker that ran it (or in a host
/// loop, see `selv_job_options`); a cancelled job is delivered on
/// the thread that cancels it, and one for which no thread could be started on the thread that found that out. Must not block: the
/// worker may have been given its next job already. Must not throw or longjmp. `outcome` is valid during the call. When its status is
/// an error, `selv_last_error` tells why.
#[allow(non_camel_case_types)]
pub type selv_deliver_fn =
    Option<unsafe extern "C-unwind" fn(arg: *mut c_void, outcome: *const Outcome)>;

/// Frees data that the host gave into the library's keeping. Called once, on whichever thread lets go of it last. Must not block, and must
/// return.
#[allow(non_camel_case_types)]
pub type selv_free_fn = Option<unsafe extern "C-unwind" fn(data: *mut c_void)>;

/// A job for `selv_cache_submit`. Start from SELV_JOB_OPTIONS_INIT and set `fn`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct selv_job_options {
    /// sizeof(selv_job_options)
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// What to run. Required.
    pub fn_: selv_job_fn,
    /// Told of the outcome, after the hooks' `after_job`. NULL: nobody is.
    pub deliver: selv_deliver_fn,
    /// Given to `fn`, `deliver` and `arg_free`.
    pub arg: *mut c_void,
    /// Called with `arg` once, after `deliver`; not for a job that was refused. NULL: `arg` stays the host's.
    pub arg_free: selv_free_fn,
    /// UTF-8; the name of the worker's OS thread while `fn` runs (its first 15 bytes; "" is an empty name) and of the job in
    /// a trace (47). NULL: none.
    pub name: *const c_char,
    /// Which hooks the job needs. NULL: every hook that is not SELV_HOOK_LAZY and is registered when the job is accepted or before
    /// it begins. Not NULL with `attach_len` 0: none. Else exactly these. If one of them is unregistered before the job begins, the
    /// job is delivered with SELV_E_HOOK_FAILED and the code SELV_E_CLOSED, and does not run; but for SELV_HOOK_OPTIONAL hooks that
    /// it did not name.
    pub attach: *const *mut Hook,
    /// How many hooks `attach` has; 0 if it is NULL.
    pub attach_len: usize,
    /// The job begins when its task has a token of this limiter. Until then it takes no thread; it can be cancelled, and a shutdown
    /// waits for it or cancels it, as if it were queued. The token belongs to the job's task (`fn` would get SELV_E_DUPLICATE for
    /// another one), and comes back when the job has ended, before `deliver`, however it ends. NULL: none. The limiter lives at least
    /// until then.
    pub limiter: *mut Limiter,
    /// How long the job waits for its token; 0: SELV_FOREVER. When that has passed it is delivered with SELV_E_TIMEDOUT.
    /// SELV_NO_WAIT: if no token is free, `selv_cache_submit` answers SELV_E_WOULD_BLOCK.
    pub limiter_timeout_ns: u64,
    /// Where the job is delivered: `deliver` and then `arg_free` are called by a drain of this host loop, in the order of its
    /// queue, also if the job was cancelled. For the cache the job is over when it has been queued there. If the loop has been
    /// closed by then, `deliver` is told SELV_E_CLOSED, with code and value kept, on the finishing (or closing) thread: it can only
    /// clean up. The loop is not kept open. NULL: on the worker.
    pub loop_: *mut HostLoop,
}

// SAFETY: begins with its size; integers, pointers and optional functions may be zero.
unsafe impl Sized32 for selv_job_options {
    const NAME: &'static str = "selv_job_options";
}

/// A handle to a submitted job: freed with `selv_job_release`, which does not touch the job itself.
pub struct JobHandle {
    cache: Arc<Cache>,
    ticket: Arc<Ticket>,
    delivery: Delivery,
    generation: u32,
}

/// Turns options into a job; `wanted` if somebody is to follow it.
///
/// # Safety
/// `from` is as `selv_cache_submit` wants it.
unsafe fn job_from(
    cache: &Arc<Cache>,
    from: *const selv_job_options,
    wanted: bool,
) -> Result<(Job, Option<Arc<Ticket>>, Option<Limit>)> {
    // SAFETY: promised by the caller.
    let o = unsafe { options::read(from) }?;
    if o.flags != 0 {
        return Err(Error::new(
            error::INVAL,
            format!("selv_job_options.flags has unknown bits {:#x}", o.flags),
        ));
    }
    let run = o.fn_.ok_or_else(|| null("selv_job_options.fn"))?;
    // SAFETY: promised by the caller.
    let name = unsafe { text(o.name, "selv_job_options.name") }?;
    // SAFETY: promised by the caller.
    let (needs, named) =
        unsafe { selected(cache, o.attach, o.attach_len, "selv_job_options.attach") }?;
    let limit = match o.limiter.is_null() {
        true => None,
        false => Some(Limit {
            // SAFETY: promised by the caller.
            limiter: Arc::clone(&*unsafe { borrow(o.limiter, "selv_job_options.limiter") }?),
            timeout_ns: match o.limiter_timeout_ns {
                0 => FOREVER,
                ns => ns,
            },
        }),
    };
    // SAFETY: promised by the caller.
    let host = unsafe { open_loop(o.loop_, "selv_job_options.loop") }?;
    let task = match limit {
        None => TaskId::NONE,
        Some(_) => task::begin(Kind::Job, name.map_or(Name::NONE, Name::new))?,
    };
    let ticket = (wanted || needs == Needs::Named || limit.is_some() || host.is_some())
        .then(|| Ticket::with(named, task, host));
    let job = Job {
        // SAFETY: the host promises that its callbacks may run on any thread, as their types say.
        run: unsafe { JobFn::new(run) },
        // SAFETY: as above.
        deliver: o.deliver.map(|f| unsafe { DeliverFn::new(f) }),
        arg: Opaque(o.arg),
        // SAFETY: as above.
        arg_free: o.arg_free.map(|f| unsafe { FreeFn::new(f) }),
        name: name.map_or(Name::NONE, Name::new),
        needs,
        accepted_at: 0,
        ticket: ticket.clone().map(TicketRef::new),
    };
    Ok((job, ticket, limit))
}

/// What a job waits for before it waits for a worker.
struct Limit {
    limiter: Arc<Limiter>,
    timeout_ns: u64,
}

fn submit_one(cache: &Arc<Cache>, job: Job, limit: Option<&Limit>) -> Result<()> {
    match limit {
        None => submit::submit(cache, |accepted_at| Job { accepted_at, ..job }),
        Some(limit) => limited::submit(cache, job, &limit.limiter, limit.timeout_ns),
    }
}

/// A job that was refused: its reference to the ticket is given back.
fn forget(job: &Job) {
    if let Some(ticket) = job.ticket {
        ticket.end_task();
        ticket.release();
    }
}

/// Runs `fn(arg, &value)` on a worker of the cache, at once if it has no bound, then `deliver(arg, &outcome)` on the same worker.
/// The worker lines up as idle before it delivers, so that a job submitted inside `deliver`, or in answer to it, finds this worker:
/// a sequence of jobs needs one thread. (This order, and the cache's other rules, are those of the thread cache in Trio.)
/// The fast path, when a worker is idle, allocates nothing.
///
/// `deliver` and `name` may be NULL. `name`: see `selv_job_options`.
///
/// Returns SELV_OK: `deliver` will be called exactly once. On any error it will not be called: SELV_E_NULL; SELV_E_INVAL (`name` is
/// not UTF-8); SELV_E_SPAWN (no worker is idle and no thread could be started); SELV_E_CLOSED (the cache is shut down).
///
/// Threads: any. Blocks: no, beyond starting a thread. Reentrancy: from any callback. Fork: works in a child; jobs of the
/// parent stay the parent's. NULL: `c` and `fn` must not be NULL; `deliver`, `arg` and `name` may be.
///
/// # Safety
/// `c` is NULL or a cache; the callbacks may run on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_start_thread_soon(
    c: *mut Cache,
    fn_: selv_job_fn,
    deliver: selv_deliver_fn,
    arg: *mut c_void,
    name: *const c_char,
) -> selv_status {
    let checked = step(|| {
        // SAFETY: as this function's own contract.
        let cache = unsafe { borrow(c, "cache") }?;
        let run = fn_.ok_or_else(|| null("fn"))?;
        // SAFETY: as this function's own contract.
        let name = unsafe { text(name, "name") }?;
        Ok((cache, run, name))
    });
    let (cache, run, name) = match checked {
        Ok(checked) => checked,
        Err(e) => return finish(Err(e)),
    };
    finish(submit::submit(&cache, |accepted_at| Job {
        // SAFETY: the callbacks may run on any thread.
        run: unsafe { JobFn::new(run) },
        // SAFETY: as above.
        deliver: deliver.map(|f| unsafe { DeliverFn::new(f) }),
        arg: Opaque(arg),
        arg_free: None,
        name: name.map_or(Name::NONE, Name::new),
        needs: Needs::Usual,
        accepted_at,
        ticket: None,
    }))
}

/// As `selv_start_thread_soon`, with everything that can be said of a job: which hooks it needs, who frees its argument, and a
/// handle to wait for it or cancel it. With `max_workers` set and reached, the job queues, in order.
///
/// `out_job` may be NULL; else it gets a handle, to be freed with `selv_job_release`, or NULL on failure. It is written before the job can
/// run, so `deliver` may use it.
///
/// Returns SELV_OK: the job will be delivered exactly once. On any error it will not be, and `arg` stays the host's: SELV_E_NULL
/// (`c`, `job`, `job->fn`, an element of `job->attach`, or `attach` with an `attach_len`);
/// SELV_E_INVAL (unknown flags, `struct_size`, a name that is not UTF-8, a hook of another cache, two hooks with
/// SELV_HOOK_HOLDS_GIL); SELV_E_UNSUPPORTED (a newer struct that uses what this version does not know); SELV_E_SPAWN; SELV_E_CLOSED
/// (the cache is shut down, a named hook unregistered, the limiter or the loop closed); SELV_E_WOULD_BLOCK (SELV_NO_WAIT, and no token of
/// the limiter is free); SELV_E_NOMEM; SELV_E_FORKED (a named hook or the loop belongs to the
/// parent process).
///
/// Threads: any. Blocks: no, beyond starting a thread. Reentrancy: from any callback. Fork: works in a child. NULL: `c`
/// and `job` must not be NULL.
///
/// # Safety
/// `c` is NULL or a cache; `job` is NULL or points to as many bytes as its `struct_size` says; the callbacks may run on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_cache_submit(
    c: *mut Cache,
    job: *const selv_job_options,
    out_job: *mut *mut JobHandle,
) -> selv_status {
    let checked = step(|| {
        // SAFETY: `out_job` is NULL or writable.
        unsafe { put(out_job, std::ptr::null_mut()) };
        // SAFETY: as this function's own contract.
        let cache = unsafe { borrow(c, "cache") }?;
        // SAFETY: as this function's own contract.
        let (job, ticket, limit) = unsafe { job_from(&cache, job, !out_job.is_null()) }?;
        let handle = ticket.filter(|_| !out_job.is_null()).map(|ticket| {
            Box::into_raw(Box::new(JobHandle {
                cache: Arc::clone(&cache),
                ticket,
                delivery: Delivery::of(&job),
                generation: fork::generation(),
            }))
        });
        Ok((cache, job, handle, limit))
    });
    let (cache, job, handle, limit) = match checked {
        Ok(checked) => checked,
        Err(e) => return finish(Err(e)),
    };
    if let Some(handle) = handle {
        // The job may run, and `deliver` use the handle, before this call returns.
        // SAFETY: there is a handle only if `out_job` is writable.
        unsafe { put(out_job, handle) };
    }
    let result = submit_one(&cache, job, limit.as_ref());
    if result.is_err() {
        forget(&job);
        // SAFETY: `out_job` is NULL or writable.
        unsafe { put(out_job, std::ptr::null_mut()) };
        // SAFETY: a job that was refused runs nowhere, so nobody has seen its handle.
        drop(handle.map(|h| unsafe { Box::from_raw(h) }));
    }
    finish(result)
}

/// Submits `count` jobs in order, with fewer locks and wakes than one by one. All are checked before the first is accepted.
/// `jobs` is stepped through by `jobs[0].struct_size`; every one must have the same.
///
/// `out_accepted` (may be NULL) gets how many were accepted, from the first on, also when the call fails: each of these
/// is delivered exactly once, the others never.
///
/// Returns and rules: as `selv_cache_submit`; also SELV_E_INVAL for mixed sizes. `count` 0 is SELV_OK, whatever `jobs` is.
///
/// Threads: any. Blocks: no, beyond starting threads. Reentrancy: from any callback. Fork: works in a child. NULL: `c`, and
/// `jobs` unless `count` is 0, must not be NULL.
///
/// # Safety
/// `c` is NULL or a cache; `jobs` has `count` structs; the callbacks may run on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_cache_submit_many(
    c: *mut Cache,
    jobs: *const selv_job_options,
    count: usize,
    out_accepted: *mut usize,
) -> selv_status {
    let checked = step(|| {
        // SAFETY: `out_accepted` is NULL or writable.
        unsafe { put(out_accepted, 0) };
        // SAFETY: as this function's own contract.
        let cache = unsafe { borrow(c, "cache") }?;
        if count == 0 {
            return Ok((cache, Vec::new(), Vec::new()));
        }
        if count > isize::MAX as usize / size_of::<selv_job_options>() {
            let why = format!("count is {count}, which is more than fits the memory");
            return Err(Error::new(error::INVAL, why));
        }
        // SAFETY: as this function's own contract.
        let (jobs, limits) = unsafe { jobs_from(&cache, jobs, count) }?;
        Ok((cache, jobs, limits))
    });
    let (cache, jobs, limits) = match checked {
        Ok(checked) => checked,
        Err(e) => return finish(Err(e)),
    };
    let (accepted, result) = match limits.iter().any(Option::is_some) {
        false => submit::submit_many(&cache, &jobs),
        true => one_by_one(&cache, &jobs, &limits),
    };
    jobs[accepted..].iter().for_each(forget);
    // SAFETY: `out_accepted` is NULL or writable.
    unsafe { put(out_accepted, accepted) };
    finish(result)
}

/// With limiters in play each job finds its own way.
fn one_by_one(cache: &Arc<Cache>, jobs: &[Job], limits: &[Option<Limit>]) -> (usize, Result<()>) {
    for (accepted, (job, limit)) in jobs.iter().zip(limits).enumerate() {
        if let Err(e) = submit_one(cache, *job, limit.as_ref()) {
            return (accepted, Err(e));
        }
    }
    (jobs.len(), Ok(()))
}

/// # Safety
/// As `selv_cache_submit_many`.
unsafe fn jobs_from(
    cache: &Arc<Cache>,
    jobs: *const selv_job_options,
    count: usize,
) -> Result<(Vec<Job>, Vec<Option<Limit>>)> {
    // SAFETY: promised by the caller.
    let size = unsafe { options::size_of_struct(jobs) }?;
    let mut ready = Vec::with_capacity(count);
    let mut limits = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: `count` structs of `size` bytes are there.
        let at = unsafe { jobs.byte_add(index * size) };
        let one = || -> Result<(Job, Option<Limit>)> {
            // SAFETY: as above.
            let own = unsafe { options::size_of_struct(at) }?;
            if own != size {
                return Err(Error::new(
                    error::INVAL,
                    format!("struct_size is {own}, but that of jobs[0] is {size}"),
                ));
            }
            // SAFETY: as above.
            let (job, _, limit) = unsafe { job_from(cache, at, false) }?;
            Ok((job, limit))
        };
        match one() {
            Ok((job, limit)) => {
                ready.push(job);
                limits.push(limit);
            }
            Err(e) => {
                ready.iter().for_each(forget);
                return Err(Error::new(e.status, format!("jobs[{index}]: {}", e.detail)));
            }
        }
    }
    Ok((ready, limits))
}

/// Runs `fn(arg, &value)` on a worker and waits for its end. The timeout covers the wait for its *start*: if no worker has begun it
/// by then, it is withdrawn and never runs; once begun, the call waits until it ends, however long.
///
/// `out` gets the outcome: its status is SELV_OK if `fn` ran, else why not, and then `selv_last_error` tells more. When the call itself
/// fails, it is zeroed: look at the returned status first.
///
/// Returns SELV_OK: look at `out->status`. SELV_E_NULL; SELV_E_TIMEDOUT (`fn` will never run); SELV_E_SPAWN; SELV_E_CLOSED;
/// SELV_E_DEADLOCK (called on a worker of a cache that is at its `max_workers`, none idle: it would wait for itself).
///
/// Threads: any; a worker of an unbounded cache uses another worker. Blocks: yes. Reentrancy: from any callback, but not where
/// blocking is forbidden. Fork: works in a child. NULL: no argument but `arg` may be NULL.
///
/// # Safety
/// `c` is NULL or a cache; `out` is NULL or writable; `fn` may run on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_cache_run(
    c: *mut Cache,
    fn_: selv_job_fn,
    arg: *mut c_void,
    timeout_ns: u64,
    out: *mut Outcome,
) -> selv_status {
    let checked = step(|| {
        let to = required(out, "out")?;
        // SAFETY: `to` is writable.
        unsafe { put(to, Outcome::failed(error::OK, 0)) };
        // SAFETY: as this function's own contract.
        let cache = unsafe { borrow(c, "cache") }?;
        let run = fn_.ok_or_else(|| null("fn"))?;
        // SAFETY: `fn` may run on any thread.
        Ok((cache, unsafe { JobFn::new(run) }))
    });
    let (cache, run) = match checked {
        Ok(checked) => checked,
        Err(e) => return finish(Err(e)),
    };
    finish(
        submit::run(&cache, run, Opaque(arg), timeout_ns)
            // SAFETY: `out` was checked.
            .map(|outcome| unsafe { put(out, outcome) }),
    )
}

/// The handle, if it is one of this process.
///
/// # Safety
/// `j` is NULL or a job handle.
unsafe fn own_job<'a>(j: *const JobHandle) -> Result<&'a JobHandle> {
    // SAFETY: promised by the caller.
    let job = unsafe { j.as_ref() }.ok_or_else(|| null("job"))?;
    if job.generation != fork::generation() {
        return Err(Error::new(
            error::FORKED,
            "the job belongs to the parent process, where it is delivered",
        ));
    }
    Ok(job)
}

/// Waits until a job has been delivered: `deliver` and `arg_free` have returned. Any number of threads may wait, any number of
/// times.
///
/// `out` (may be NULL) gets the outcome, zeroed when the call itself fails. If its status is an error, `selv_last_error` tells why.
///
/// Returns SELV_OK (whatever the outcome is); SELV_E_NULL; SELV_E_TIMEDOUT (0 looks without waiting); SELV_E_DEADLOCK (inside the
/// job's own `fn` or `deliver`; or, unless 0 was given, on the thread of the host loop that is to deliver it); SELV_E_FORKED (a job
/// of the parent process).
///
/// Threads: any. Blocks: up to `timeout_ns` nanoseconds, or SELV_FOREVER. Reentrancy: from any callback, but not where blocking is
/// forbidden. Fork: in a child, a job of the parent is SELV_E_FORKED. NULL: `j` must not be NULL.
///
/// # Safety
/// `j` is NULL or a handle that has not been released; `out` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_job_wait(
    j: *mut JobHandle,
    timeout_ns: u64,
    out: *mut Outcome,
) -> selv_status {
    guard(|| {
        // SAFETY: `out` is NULL or writable.
        unsafe { put(out, Outcome::failed(error::OK, 0)) };
        // SAFETY: as this function's own contract.
        let job = unsafe { own_job(j) }?;
        let outcome = submit::wait(&job.ticket, Deadline::after(timeout_ns))?;
        // SAFETY: `out` is NULL or writable.
        unsafe { put(out, outcome) };
        Ok(())
    })
}

/// Cancels a job that no worker has begun: it is delivered with SELV_E_CANCELLED, on this thread, inside this call, or, if it has a loop,
/// queued there; `fn` never runs.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_TOO_LATE (it has begun, or has ended, or was cancelled before; nothing changes);
/// SELV_E_FORKED (a job of the parent process).
///
/// Threads: any. Blocks: as long as a `deliver` that runs here. Reentrancy: from any callback. Fork: in a child, a job of the parent is
/// SELV_E_FORKED. NULL: `j` must not be NULL.
///
/// # Safety
/// `j` is NULL or a handle that has not been released.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_job_cancel(j: *mut JobHandle) -> selv_status {
    // SAFETY: as this function's own contract.
    let job = match step(|| unsafe { own_job(j) }) {
        Ok(job) => job,
        Err(e) => return finish(Err(e)),
    };
    // The host may release the handle inside `deliver`.
    let (cache, ticket) = (Arc::clone(&job.cache), Arc::clone(&job.ticket));
    let result = submit::cancel(cache, ticket, job.delivery);
    finish(result)
}

/// Frees a handle. The job itself goes on, and is delivered.
///
/// Threads: any, once. Blocks: no. Reentrancy: from any callback, the job's own `deliver` too. Fork: works in a child.
/// NULL: does nothing.
///
/// # Safety
/// `j` is NULL or a handle that has not been released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_job_release(j: *mut JobHandle) {
    if !j.is_null() {
        // SAFETY: made by `selv_cache_submit`, and given back once.
        drop(unsafe { Box::from_raw(j) });
    }
}
