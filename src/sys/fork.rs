//! Which process this is. A number that grows by one in every fork child lets each object find out, at its next
//! use, that it was copied from a parent whose other threads are not here.
//!
//! The number is raised by a `pthread_atfork` child handler, which touches nothing else: no lock, no memory of ours.
//! Children made by `vfork`, `_Fork` or a raw `clone` do not run such handlers; as POSIX says, they may only exec or exit.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

static GENERATION: AtomicU32 = AtomicU32::new(1);
static IN_CHILD: AtomicUsize = AtomicUsize::new(0);

/// 1 in the process that loaded the library, one more in each fork child.
#[inline]
pub fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// Has `f` called in every fork child, on the thread that forked, after the generation has changed.
/// There is one such function; a second call replaces it.
pub fn in_child(f: fn()) {
    IN_CHILD.store(f as usize, Relaxed);
}

extern "C" fn child() {
    GENERATION.fetch_add(1, Relaxed);
    let f = IN_CHILD.load(Relaxed);
    if f != 0 {
        // SAFETY: `in_child` is the only writer, and stores a `fn()`.
        unsafe { std::mem::transmute::<usize, fn()>(f)() };
    }
}

extern "C" fn watch() {
    // SAFETY: the library is never unloaded (`-z nodelete`), so the handler stays valid.
    unsafe { libc::pthread_atfork(None, None, Some(child)) };
}

// Registered when the library is loaded: a first use could race with a fork.
#[used]
#[unsafe(link_section = ".init_array")]
static WATCH: extern "C" fn() = watch;
