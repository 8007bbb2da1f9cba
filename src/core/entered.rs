//! A host's own thread with the hooks of a cache, as if it were a worker.

use super::attachment::{self, Ready};
use super::cache::Cache;
use super::error::{self, Error, Result};
use super::hook::{self, Hook};
use super::job::Needs;
use super::lost;
use super::worker::{self, CacheRef, Role, Worker};
use crate::sys::fork;
use crate::sys::thread_exit::ExitKey;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

/// Tells us of threads that end without leaving.
static LOST: ExitKey = ExitKey::new(lost_thread);

unsafe extern "C" fn lost_thread(_: *mut c_void) {
    while let Some(record) =
        worker::find(|w| (w.role == Role::Entered).then(|| std::ptr::from_ref(w)))
    {
        // SAFETY: a record on this thread's own chain.
        let entered = unsafe { &*record };
        if !entered.is_orphan() {
            lost::forget_hooks(entered);
            entered.cache().lock().counts.lost += 1;
        }
        end_record(entered);
    }
}

/// Enters the cache: the first time with a record of its own, then counting.
///
/// # Errors
/// HOOK_FAILED, CLOSED, FORKED, REENTRANT; then nothing has changed.
pub fn enter(cache: &Arc<Cache>, needs: Needs, named: &[Arc<Hook>]) -> Result<()> {
    let known = worker::record_in(cache);
    refuse_in_callback(known, "selv_thread_enter")?;
    let record: *const Worker = match known {
        Some(record) => record.as_ptr(),
        None => begin_record(cache)?,
    };
    // SAFETY: this thread's own record, which lives until the last `leave`.
    let record = unsafe { &*record };
    let jobs = record.node.get().map(|node| &node.usual_jobs);
    let ready = attachment::start_missing(record, needs, named, jobs);
    if let Ready::Failed(status, _) = ready {
        let detail = record.failure.take();
        if known.is_none() {
            end_record(record);
        }
        return Err(Error { status, detail });
    }
    record.depth.set(record.depth.get() + 1);
    Ok(())
}

/// Leaves the cache; the outermost leave exits the hooks, in reverse.
///
/// # Errors
/// NOT_OWNER (this thread has not entered), REENTRANT.
pub fn leave(cache: &Cache) -> Result<()> {
    let known = worker::record_in(cache);
    refuse_in_callback(known, "selv_thread_leave")?;
    let record = known
        // SAFETY: this thread's own record, which lives until `end_record`.
        .map(|r| unsafe { &*r.as_ptr() })
        .filter(|r| r.depth.get() > 0);
    let Some(record) = record else {
        return Err(Error::new(
            error::NOT_OWNER,
            format!("this thread has not entered cache '{}'", cache.options.name),
        ));
    };
    record.depth.set(record.depth.get() - 1);
    if record.depth.get() == 0 && record.role == Role::Entered {
        attachment::detach_all(record);
        end_record(record);
    }
    Ok(())
}

/// A hook's callback may not change which hooks its own thread has: that is just being done.
fn refuse_in_callback(record: Option<NonNull<Worker>>, what: &str) -> Result<()> {
    // SAFETY: this thread's own record, which lives until `end_record`.
    match record.map(|r| unsafe { r.as_ref() }.in_callback.get()) {
        None | Some(0) => Ok(()),
        Some(_) => Err(Error::new(
            error::REENTRANT,
            format!("{what} was called inside a callback of a hook of the same cache"),
        )),
    }
}

fn begin_record(cache: &Arc<Cache>) -> Result<*const Worker> {
    let mut state = cache.lock();
    if state.closing {
        return Err(cache.closed_error());
    }
    state.counts.entered += 1;
    drop(state);
    let record = Box::leak(Box::new(Worker::new(Role::Entered)));
    record.prepare(CacheRef::hold(cache));
    record.make_current();
    LOST.set(std::ptr::from_ref(record).cast());
    Ok(record)
}

fn end_record(record: &Worker) {
    record.end_current();
    if worker::find(|w| (w.role == Role::Entered).then_some(())).is_none() {
        LOST.set(std::ptr::null());
    }
    let cache = record.cache();
    let mut state = cache.lock();
    state.counts.entered = state.counts.entered.saturating_sub(1);
    cache.note_change(&mut state);
    drop(state);
    super::shutdown::after_a_worker(cache);
    // SAFETY: made by `begin_record`, off this thread's chain now, and known to nobody else.
    drop(unsafe { Box::from_raw(std::ptr::from_ref(record).cast_mut()) });
    cache.release();
}

/// Has [`in_child`] called in fork children.
pub fn watch_forks() {
    fork::in_child(in_child);
}

/// A fork child's only thread: hooks that are good in a child stay started on it, the others are forgotten with no callback.
fn in_child() {
    super::sync::task::sort_out_in_child();
    worker::find(|record| -> Option<()> {
        let kept = record.attachments.try_borrow_mut().map(|mut attachments| {
            let all = std::mem::take(&mut *attachments);
            for attachment in all {
                if attachment.hook.is(hook::FORK_KEEP) {
                    attachments.push(attachment);
                } else {
                    std::mem::forget(attachment);
                }
            }
        });
        if kept.is_err() {
            return None;
        }
        let cache = record.cache();
        let mut state = cache.lock();
        for attachment in record.attachments.borrow().iter() {
            attachment.hook.admit(&mut state, record.id.get(), None);
        }
        let brackets = record
            .attachments
            .borrow()
            .iter()
            .filter(|a| a.hook.brackets_jobs())
            .count();
        record.brackets.set(brackets as u32);
        record.ready.set(0);
        if record.role == Role::Entered {
            state.counts.entered += 1;
            record.generation.set(fork::generation());
        }
        None
    });
}
