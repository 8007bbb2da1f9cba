//! Many asynchronous waiters on one held lock, all of which give up: what does each cost?

use super::lock::{Lock, Selvedge, Variant};
use crate::peers::selvedge::check;
use crate::{proc, selv};
use std::ffi::c_void;
use std::future::Future;
use std::pin::Pin;
use std::ptr::{from_ref, null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

#[derive(Clone, Copy, PartialEq)]
pub enum Order {
    /// The oldest waiter first.
    Queue,
    /// The same arbitrary order in every run.
    Shuffled,
    /// The lock is closed, which tells them all.
    Close,
}

impl Order {
    fn of(self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        if self == Order::Shuffled {
            let mut x = 0x2545_F491_4F6C_DD1D_u64;
            for i in (1..count).rev() {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                order.swap(i, (x % (i as u64 + 1)) as usize);
            }
        }
        order
    }
}

/// The times of queueing all waiters and of ending all of them.
pub type Times = (Duration, Duration);

struct Told {
    expected: selv::Status,
    count: AtomicU32,
}

unsafe extern "C" fn told(arg: *mut c_void, completed: *const selv::Completed) {
    let told = &*arg.cast::<Told>();
    assert_eq!((*completed).status, told.expected, "a waiter's end");
    told.count.fetch_add(1, Ordering::Relaxed);
}

/// Selvedge: each waiter is a task of its own with a callback.
pub fn selvedge(count: usize, order: Order) -> Times {
    let lock = Selvedge::new(Variant {
        flags: 0,
        current: false,
    });
    let owner = lock.seat();
    lock.acquire(owner);
    let told_of = Told {
        expected: if order == Order::Close {
            selv::CLOSED
        } else {
            selv::CANCELLED
        },
        count: AtomicU32::new(0),
    };
    let completion = selv::Completion {
        fn_: Some(told),
        arg: from_ref(&told_of).cast_mut().cast(),
        loop_: null_mut(),
    };
    let tasks: Vec<selv::Task> = (0..count)
        .map(|_| {
            let mut task = 0;
            // SAFETY: the name may be null, and `task` is a live local.
            check(
                unsafe { selv::selv_task_new(null(), &mut task) },
                "selv_task_new",
            );
            task
        })
        .collect();
    let cancel_order = order.of(count);
    let mut ops: Vec<selv::Op> = vec![0; count];
    let start = proc::thread_time();
    for (task, op) in tasks.iter().zip(&mut ops) {
        // SAFETY: the lock, the completion and what it points to outlive the operation; `op` is a live element.
        let status = unsafe { selv::selv_lock_acquire_async(lock.raw(), *task, &completion, op) };
        assert_eq!(status, selv::PENDING, "selv_lock_acquire_async");
    }
    let queued = proc::thread_time() - start;
    let start = proc::thread_time();
    if order == Order::Close {
        // SAFETY: the lock is alive.
        check(
            unsafe { selv::selv_lock_close(lock.raw()) },
            "selv_lock_close",
        );
    } else {
        for index in cancel_order {
            // SAFETY: operations are numbers.
            check(
                unsafe { selv::selv_op_cancel(ops[index]) },
                "selv_op_cancel",
            );
        }
    }
    let ended = proc::thread_time() - start;
    assert_eq!(told_of.count.load(Ordering::Relaxed) as usize, count);
    for task in tasks {
        // SAFETY: made above, and the report may be null.
        check(
            unsafe { selv::selv_task_exit(task, null_mut()) },
            "selv_task_exit",
        );
    }
    lock.release(owner);
    (queued, ended)
}

pub fn tokio(count: usize, order: Order) -> Times {
    let mutex = tokio::sync::Mutex::new(());
    let held = mutex.try_lock().expect("nobody holds it");
    let times = futures(count, order, || mutex.lock());
    drop(held);
    times
}

pub fn async_lock(count: usize, order: Order) -> Times {
    let mutex = async_lock::Mutex::new(());
    let held = mutex.try_lock().expect("nobody holds it");
    let times = futures(count, order, || mutex.lock());
    drop(held);
    times
}

/// Futures, each polled once so that it queues, then dropped. They lie in one allocation: a task that awaits keeps its future
/// inside itself.
fn futures<F: Future>(count: usize, order: Order, wait: impl Fn() -> F) -> Times {
    let mut waiting: Box<[Option<F>]> = (0..count).map(|_| Some(wait())).collect();
    let cancel_order = order.of(count);
    let mut context = Context::from_waker(Waker::noop());
    let start = proc::thread_time();
    for slot in &mut waiting {
        let future = slot.as_mut().expect("just made");
        // SAFETY: the box is never moved out of, and its elements are only dropped in place.
        let future = unsafe { Pin::new_unchecked(future) };
        assert!(future.poll(&mut context).is_pending());
    }
    let queued = proc::thread_time() - start;
    let start = proc::thread_time();
    for index in cancel_order {
        waiting[index] = None;
    }
    (queued, proc::thread_time() - start)
}
