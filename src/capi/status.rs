//! `selv_status`, the last error of a thread, and the version.

use crate::core::error;
use std::ffi::{CStr, c_char};

/// How a call ended: 0 is success, a positive number success with news, a negative one an error.
/// `selv_status_name` and `selv_status_text` put it in words; `selv_last_error` tells what exactly was wrong.
#[allow(non_camel_case_types)]
pub type selv_status = i32;

/// The call did what it was asked to do.
pub const SELV_OK: i32 = 0;
/// The operation was accepted and will complete later.
pub const SELV_PENDING: i32 = 1;
/// The lock was acquired, but its last owner ended while holding it: `selv_last_error` tells which lock, and who that was.
pub const SELV_OWNER_DIED: i32 = 2;
/// An argument has a value that is not allowed.
pub const SELV_E_INVAL: i32 = -1;
/// A pointer that must not be NULL is NULL.
pub const SELV_E_NULL: i32 = -2;
/// There is not enough memory.
pub const SELV_E_NOMEM: i32 = -3;
/// A thread could not be started.
pub const SELV_E_SPAWN: i32 = -4;
/// The time given for the call has passed.
pub const SELV_E_TIMEDOUT: i32 = -5;
/// The call would have to wait, and was told not to.
pub const SELV_E_WOULD_BLOCK: i32 = -6;
/// The operation was cancelled before it took effect.
pub const SELV_E_CANCELLED: i32 = -7;
/// The task or thread that held this, or was to finish it, ended before it did.
pub const SELV_E_BROKEN: i32 = -8;
/// The call would wait for itself, directly or through others.
pub const SELV_E_DEADLOCK: i32 = -9;
/// The caller does not own what the call is about.
pub const SELV_E_NOT_OWNER: i32 = -10;
/// The handle names something that has ended.
pub const SELV_E_STALE: i32 = -11;
/// The object has been closed or shut down.
pub const SELV_E_CLOSED: i32 = -12;
/// The object is in use.
pub const SELV_E_BUSY: i32 = -13;
/// A count would exceed its limit.
pub const SELV_E_OVERFLOW: i32 = -14;
/// The same request is already held or pending.
pub const SELV_E_DUPLICATE: i32 = -15;
/// A hook that the job needs failed, so the job did not run.
pub const SELV_E_HOOK_FAILED: i32 = -16;
/// The library found a bug in itself; please report it.
pub const SELV_E_PANIC: i32 = -17;
/// The call was made from inside itself.
pub const SELV_E_REENTRANT: i32 = -18;
/// The call belongs on another thread.
pub const SELV_E_WRONG_THREAD: i32 = -19;
/// The object belongs to the parent process.
pub const SELV_E_FORKED: i32 = -20;
/// The combination asked for is not supported.
pub const SELV_E_UNSUPPORTED: i32 = -21;
/// The state that the lock protected was given up for lost.
pub const SELV_E_NOT_RECOVERABLE: i32 = -22;
/// What was to be prevented has already begun or happened.
pub const SELV_E_TOO_LATE: i32 = -23;
/// A file could not be opened or written.
pub const SELV_E_IO: i32 = -24;

/// As a timeout in nanoseconds: wait for as long as it takes.
pub const SELV_FOREVER: u64 = 0xFFFF_FFFF_FFFF_FFFF;
/// As a timeout in an option struct, where 0 means "the default": do not wait.
pub const SELV_NO_WAIT: u64 = 0xFFFF_FFFF_FFFF_FFFE;

/// The name of a status, such as "SELV_E_BROKEN"; "SELV_E_?" if the number is not one of the library's.
/// The string is static and is not freed.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback, and from a signal handler. Fork: works. NULL: never returned.
#[unsafe(no_mangle)]
pub extern "C" fn selv_status_name(s: selv_status) -> *const c_char {
    error::c_name(s).unwrap_or(c"SELV_E_?").as_ptr()
}

/// What a status means, in one English sentence. The string is static and is not freed.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback, and from a signal handler. Fork: works. NULL: never returned.
#[unsafe(no_mangle)]
pub extern "C" fn selv_status_text(s: selv_status) -> *const c_char {
    error::text(s)
        .unwrap_or(c"This is not a status of libselvedge.")
        .as_ptr()
}

/// What exactly was wrong with this thread's last call that returned an error: which hook, which option, what was
/// expected. Inside `deliver`, when the outcome's status is an error: why the job did not run. Calls that succeed leave it
/// as it is. So do the inline functions of the headers in selvedge/ for what they find wrong themselves, without calling the library
/// (an argument that is NULL, a flag, memory): there, `selv_status_text` is all there is.
///
/// Writes at most `len` bytes to `buf`, the NUL included, as snprintf does, and returns the length of the whole text without its
/// NUL; 0 if nothing has failed on this thread.
///
/// Threads: any; each has its own. Blocks: no. Reentrancy: from any callback. Fork: the forking thread keeps its own.
/// NULL: `buf` may be NULL, then only the length is returned.
///
/// # Safety
/// `buf` is NULL or has room for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn selv_last_error(buf: *mut c_char, len: usize) -> usize {
    error::with_last(|text| {
        if !buf.is_null() && len > 0 {
            let n = text.floor_char_boundary(len - 1);
            // SAFETY: n + 1 <= len bytes fit the buffer.
            unsafe {
                std::ptr::copy_nonoverlapping(text.as_ptr(), buf.cast::<u8>(), n);
                buf.add(n).write(0);
            }
        }
        text.len()
    })
}

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("the version has a NUL in it"),
    };

/// The version of the library that is loaded, such as "0.1.0". The string is static and is not freed.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: never returned.
#[unsafe(no_mangle)]
pub extern "C" fn selv_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The number of the binary interface that the loaded library has. It is the number in the soname, and equals
/// `SELV_ABI_VERSION` of the header that a program should be compiled with.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback. Fork: works. NULL: no pointers.
#[unsafe(no_mangle)]
pub extern "C" fn selv_abi_version() -> u32 {
    SELV_ABI_VERSION
}

/// The binary interface that this header describes.
pub const SELV_ABI_VERSION: u32 = 0;

const _: () = {
    assert!(SELV_OK == error::OK && SELV_PENDING == error::PENDING);
    assert!(SELV_OWNER_DIED == error::OWNER_DIED && SELV_E_INVAL == error::INVAL);
    assert!(SELV_E_NULL == error::NULL && SELV_E_NOMEM == error::NOMEM);
    assert!(SELV_E_SPAWN == error::SPAWN && SELV_E_TIMEDOUT == error::TIMEDOUT);
    assert!(SELV_E_WOULD_BLOCK == error::WOULD_BLOCK && SELV_E_CANCELLED == error::CANCELLED);
    assert!(SELV_E_BROKEN == error::BROKEN && SELV_E_DEADLOCK == error::DEADLOCK);
    assert!(SELV_E_NOT_OWNER == error::NOT_OWNER && SELV_E_STALE == error::STALE);
    assert!(SELV_E_CLOSED == error::CLOSED && SELV_E_BUSY == error::BUSY);
    assert!(SELV_E_OVERFLOW == error::OVERFLOW && SELV_E_DUPLICATE == error::DUPLICATE);
    assert!(SELV_E_HOOK_FAILED == error::HOOK_FAILED && SELV_E_PANIC == error::PANIC);
    assert!(SELV_E_REENTRANT == error::REENTRANT && SELV_E_WRONG_THREAD == error::WRONG_THREAD);
    assert!(SELV_E_FORKED == error::FORKED && SELV_E_UNSUPPORTED == error::UNSUPPORTED);
    assert!(SELV_E_NOT_RECOVERABLE == error::NOT_RECOVERABLE);
    assert!(SELV_E_TOO_LATE == error::TOO_LATE && SELV_E_IO == error::IO);
    assert!(SELV_FOREVER == crate::sys::clock::FOREVER);
    assert!(SELV_NO_WAIT == crate::sys::clock::NO_WAIT);
};
