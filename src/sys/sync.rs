//! The atomics and cells that the concurrent protocols are written in: the real ones, or, so that the models run the very code
//! that ships, those of what runs the models: loom under `--cfg loom`, shuttle under `--cfg shuttle`.

#[cfg(not(any(loom, shuttle)))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What runs the models; what is used of it has the same names in both.
#[cfg(loom)]
pub(crate) use loom as model;
#[cfg(shuttle)]
pub(crate) use shuttle as model;

#[cfg(any(loom, shuttle))]
pub use model::sync::atomic::{AtomicU64, Ordering};
#[cfg(loom)]
pub use model_atomic::AtomicU32;
#[cfg(shuttle)]
pub use shuttle::sync::atomic::AtomicU32;

/// loom takes a SeqCst load or store for an acquiring or releasing one; with a fence before it or behind it, which loom knows, it is
/// what it says. (shuttle takes every access for a SeqCst one.)
#[cfg(loom)]
mod model_atomic {
    use loom::sync::atomic::{self, Ordering, fence};
    use std::ops::Deref;

    pub struct AtomicU32(atomic::AtomicU32);

    impl AtomicU32 {
        #[track_caller]
        pub fn new(value: u32) -> Self {
            AtomicU32(atomic::AtomicU32::new(value))
        }
        #[track_caller]
        pub fn load(&self, order: Ordering) -> u32 {
            if order == Ordering::SeqCst {
                fence(Ordering::SeqCst);
            }
            self.0.load(order)
        }
        #[track_caller]
        pub fn store(&self, value: u32, order: Ordering) {
            self.0.store(value, order);
            if order == Ordering::SeqCst {
                fence(Ordering::SeqCst);
            }
        }
    }

    impl Deref for AtomicU32 {
        type Target = atomic::AtomicU32;
        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }
}

/// The models run all threads on one thread of the system, so thread-locals are the models', too.
#[cfg(any(loom, shuttle))]
macro_rules! model_thread_local {
    (static $name:ident: $type:ty = const $init:block $(;)?) => {
        $crate::sys::sync::model::thread_local!(static $name: $type = $init);
    };
}
#[cfg(any(loom, shuttle))]
pub(crate) use model_thread_local as thread_local;
#[cfg(not(any(loom, shuttle)))]
pub use std::thread_local;

#[cfg(loom)]
pub use loom::cell::UnsafeCell;

/// `std`'s cell behind the face of loom's, which checks each access in the models.
#[cfg(not(loom))]
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub const fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }
    #[inline]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// A futex for the models, which have no system calls: waits may be woken spuriously, never lost. They have no clock either, so a
/// deadline that can pass does so where the thread would sleep: whatever can come before that is a branch that is explored.
#[cfg(any(loom, shuttle))]
pub mod model_futex {
    use super::AtomicU32;
    use super::model::sync::{Condvar, Mutex};
    use crate::sys::clock::Deadline;
    use std::sync::Arc;

    super::model::lazy_static! {
        static ref ROOM: Arc<(Mutex<()>, Condvar)> = Arc::new((Mutex::new(()), Condvar::new()));
    }

    pub fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> bool {
        if !deadline.is_never() {
            return false;
        }
        let mut room = ROOM.0.lock().unwrap();
        while word.load(super::Ordering::SeqCst) == expected {
            room = ROOM.1.wait(room).unwrap();
        }
        drop(room);
        true
    }

    pub fn wake(_word: &AtomicU32, _n: i32) {
        let _room = ROOM.0.lock().unwrap();
        ROOM.1.notify_all();
    }
}
