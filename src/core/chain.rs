//! What a thread is in the middle of while the host's functions run, innermost first: a list with no destructor, which is found when the
//! thread ends inside one of them.
//!
//! Mostly the innermost ends first; but where one thread has several stacks, as with greenlets, that need not be so. Hence no link lies on a
//! stack, and each can be taken out of the middle.

use std::cell::Cell;

pub struct Link<T> {
    pub what: T,
    /// The next one out.
    pub outer: *mut Link<T>,
}

/// For a thread-local.
pub struct Chain<T>(Cell<*mut Link<T>>);

impl<T> Chain<T> {
    pub const fn new() -> Self {
        Chain(Cell::new(std::ptr::null_mut()))
    }

    /// Null if there is none. What is pointed to lives until it is taken out.
    pub fn innermost(&self) -> *mut Link<T> {
        self.0.get()
    }

    pub fn add(&self, what: T) -> *mut Link<T> {
        let outer = self.0.get();
        self.0.set(Box::into_raw(Box::new(Link { what, outer })));
        self.0.get()
    }

    /// # Safety
    /// `link` came from [`add`](Self::add) of this chain and is taken out once; nothing refers to it or to a link further in.
    pub unsafe fn take_out(&self, link: *mut Link<T>) -> T {
        // SAFETY: promised by the caller.
        let taken = unsafe { Box::from_raw(link) };
        let mut inner = self.0.get();
        if inner == link {
            self.0.set(taken.outer);
            return taken.what;
        }
        // SAFETY: links live until they are taken out.
        while let Some(further_in) = unsafe { inner.as_mut() } {
            if further_in.outer == link {
                further_in.outer = taken.outer;
                break;
            }
            inner = further_in.outer;
        }
        taken.what
    }

    /// When the thread has ended: the innermost, if there is one.
    pub fn pop(&self) -> Option<T> {
        let link = self.0.get();
        // SAFETY: whoever added it will not come back to it.
        (!link.is_null()).then(|| unsafe { self.take_out(link) })
    }
}
