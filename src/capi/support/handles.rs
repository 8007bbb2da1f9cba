//! Pointers that cross the boundary.

use crate::core::error::{self, Error, Result};
use std::ffi::{CStr, c_char};
use std::mem::ManuallyDrop;
use std::sync::Arc;

pub fn null(what: &str) -> Error {
    Error::new(error::NULL, format!("{what} is NULL"))
}

/// The object behind a shared handle, for the length of a call.
///
/// # Safety
/// `handle` is NULL, or came from [`share`] and has not been released.
pub unsafe fn borrow<T>(handle: *const T, what: &str) -> Result<ManuallyDrop<Arc<T>>> {
    if handle.is_null() {
        return Err(null(what));
    }
    // SAFETY: a handle is a count that the host owns; it is only borrowed here.
    Ok(ManuallyDrop::new(unsafe { Arc::from_raw(handle) }))
}

/// Ends an object that has one handle, if it has nothing to do any more; NULL is no object.
///
/// # Errors
/// Those of `retire`; then the handle is as before.
///
/// # Safety
/// `handle` is NULL, or came from [`share`] and is ended once.
pub unsafe fn end<T>(handle: *mut T, retire: impl FnOnce(&T) -> Result<()>) -> Result<()> {
    // SAFETY: promised by the caller.
    let Some(object) = (unsafe { handle.as_ref() }) else {
        return Ok(());
    };
    retire(object)?;
    // SAFETY: a handle is a count that the host owned, and gave up.
    drop(unsafe { Arc::from_raw(handle) });
    Ok(())
}

/// Makes a handle of one count.
pub fn share<T>(object: Arc<T>) -> *mut T {
    Arc::into_raw(object).cast_mut()
}

/// Writes a result; checked by [`required`] before.
///
/// # Safety
/// `to` is NULL or writable.
pub unsafe fn put<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: promised by the caller.
        unsafe { to.write(value) };
    }
}

/// A required out pointer.
pub fn required<T>(to: *mut T, what: &str) -> Result<*mut T> {
    if to.is_null() {
        return Err(null(what));
    }
    Ok(to)
}

/// A string of the host, for the length of a call; None for NULL.
///
/// # Safety
/// `text` is NULL or a NUL-terminated string that does not change meanwhile.
pub unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: promised by the caller.
    let bytes = unsafe { CStr::from_ptr(text) };
    match bytes.to_str() {
        Ok(s) => Ok(Some(s)),
        Err(e) => Err(Error::new(
            error::INVAL,
            format!("{what} is not UTF-8 (byte {})", e.valid_up_to()),
        )),
    }
}
