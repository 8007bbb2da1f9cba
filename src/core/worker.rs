//! A thread as hooks see it: a worker of a cache, or a host's own thread that has entered one.

use super::attachment::Attachment;
use super::cache::Cache;
use super::hook::Hook;
use super::name::Name;
use super::node::Node;
use crate::sys::fork;
use crate::sys::sync::thread_local;
use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// A reference to the cache that a thread works for: plain data, so that frames which a runtime may unwind have nothing
/// to drop. The thread's record holds one strong count from [`CacheRef::hold`] to [`CacheRef::release`].
#[derive(Clone, Copy)]
pub struct CacheRef(NonNull<Cache>);

impl CacheRef {
    pub fn hold(cache: &Cache) -> CacheRef {
        // SAFETY: a Cache is made by `Cache::new` only, within an Arc, and whoever lends it to us holds a count.
        unsafe { Arc::increment_strong_count(cache) };
        CacheRef(NonNull::from(cache))
    }

    pub fn arc(self) -> Arc<Cache> {
        // SAFETY: the thread's record holds a strong count, so there is one to copy.
        unsafe {
            Arc::increment_strong_count(self.0.as_ptr());
            Arc::from_raw(self.0.as_ptr())
        }
    }

    /// Gives the strong count back, once, by the thread that ends its record.
    pub fn release(self) {
        // SAFETY: `hold` took the count, and the record is not used after this.
        unsafe { Arc::decrement_strong_count(self.0.as_ptr()) };
    }

    pub fn is(self, cache: &Cache) -> bool {
        ptr::eq(self.0.as_ptr(), cache)
    }
}

impl std::ops::Deref for CacheRef {
    type Target = Cache;
    fn deref(&self) -> &Cache {
        // SAFETY: a strong count is held as long as the record lives.
        unsafe { self.0.as_ref() }
    }
}

/// What a thread has to do with a cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Started by the cache.
    Cached,
    /// The host's own, between `selv_thread_enter` and `selv_thread_leave`.
    Entered,
}

/// A thread as callbacks see it: a worker of a cache, or a host's own thread that has entered one. Valid as long as the thread is on
/// the cache.
// All fields but `id` and `name` are used by that thread alone.
pub struct Worker {
    pub role: Role,
    pub id: Cell<u64>,
    pub name: Cell<Name>,
    /// The process that the thread was started in.
    pub generation: Cell<u32>,
    cache: Cell<Option<CacheRef>>,
    /// In order of their start.
    pub attachments: RefCell<Vec<Attachment>>,
    /// Depth of hook callbacks that are running on this thread.
    pub in_callback: Cell<u32>,
    /// Where `on_start` is running now.
    pub starting: RefCell<Option<Arc<Hook>>>,
    /// Hooks whose `user_free` is running on this thread.
    pub freeing: RefCell<Vec<Arc<Hook>>>,
    /// RETIRE hooks that have been exited here and wait for the thread's end.
    pub retired: RefCell<Vec<Arc<Hook>>>,
    /// Why the last job or entry was refused.
    pub failure: RefCell<String>,
    /// How many attachments have something to call around jobs.
    pub brackets: Cell<u32>,
    /// The cache's hook generation that this thread has dropped removed hooks for.
    pub checked: Cell<u64>,
    /// The hook generation for which every usual hook is started here.
    pub ready: Cell<u64>,
    /// Nested enters.
    pub depth: Cell<u32>,
    /// The node of a cached worker.
    pub node: Cell<Option<&'static Node>>,
    /// This thread's record in another cache.
    outer: Cell<*const Worker>,
}

thread_local! {
    // This thread's records, the latest first.
    static CURRENT: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}

impl Worker {
    pub fn new(role: Role) -> Worker {
        Worker {
            role,
            id: Cell::new(0),
            name: Cell::new(Name::NONE),
            generation: Cell::new(0),
            cache: Cell::new(None),
            attachments: RefCell::new(Vec::new()),
            in_callback: Cell::new(0),
            starting: RefCell::new(None),
            freeing: RefCell::new(Vec::new()),
            retired: RefCell::new(Vec::new()),
            failure: RefCell::new(String::new()),
            brackets: Cell::new(0),
            checked: Cell::new(0),
            ready: Cell::new(0),
            depth: Cell::new(0),
            node: Cell::new(None),
            outer: Cell::new(ptr::null()),
        }
    }

    /// Makes the record new for a thread of `cache`.
    pub fn prepare(&self, cache: CacheRef) {
        let id = super::cache::next_worker_id();
        self.id.set(id);
        self.name.set(cache.worker_name(id));
        self.generation.set(fork::generation());
        self.cache.set(Some(cache));
        self.brackets.set(0);
        self.checked.set(0);
        self.ready.set(0);
        self.depth.set(0);
        self.in_callback.set(0);
    }

    pub fn cache(&self) -> CacheRef {
        self.cache.get().expect("a record in use has a cache")
    }

    /// Whether the thread was copied into a fork child in the middle of its work: then nothing of it counts any more.
    pub fn is_orphan(&self) -> bool {
        self.generation.get() != fork::generation()
    }

    /// On the thread itself: from now on it is found by [`find`].
    pub fn make_current(&self) {
        self.outer.set(CURRENT.with(Cell::get));
        CURRENT.with(|current| current.set(self));
    }

    pub fn end_current(&self) {
        let mut link = CURRENT.with(Cell::get);
        if ptr::eq(link, self) {
            CURRENT.with(|current| current.set(self.outer.get()));
            return;
        }
        // SAFETY: every record on this thread's chain is alive: it takes itself off here before it ends.
        while let Some(worker) = unsafe { link.as_ref() } {
            if ptr::eq(worker.outer.get(), self) {
                worker.outer.set(self.outer.get());
                return;
            }
            link = worker.outer.get();
        }
    }

    pub fn name_c(name: &Cell<Name>) -> &CStr {
        // SAFETY: the cell is written before the thread starts, and not while anyone may hold the string.
        let name = unsafe { &*name.as_ptr() };
        name.as_c_str()
    }
}

/// Calls `f` with each of this thread's records until it answers.
pub fn find<R>(mut f: impl FnMut(&Worker) -> Option<R>) -> Option<R> {
    let mut link = CURRENT.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: every record on this thread's chain is alive: it takes itself off before it ends.
    while let Some(worker) = unsafe { link.as_ref() } {
        if let Some(found) = f(worker) {
            return Some(found);
        }
        link = worker.outer.get();
    }
    None
}

/// This thread's latest record, if it has one.
pub fn current() -> Option<NonNull<Worker>> {
    find(|w| Some(NonNull::from(w)))
}

/// On a living worker of this cache: its node.
pub fn own_node(cache: &Cache) -> Option<&'static Node> {
    find(|w| {
        let own = w.role == Role::Cached && w.cache().is(cache) && !w.is_orphan();
        own.then(|| w.node.get()).flatten()
    })
}

/// True on a living worker of this cache.
pub fn is_own_worker(cache: &Cache) -> bool {
    own_node(cache).is_some()
}

/// This thread's record in `cache`, whatever its role.
pub fn record_in(cache: &Cache) -> Option<NonNull<Worker>> {
    find(|w| w.cache().is(cache).then(|| NonNull::from(w)))
}
