//! Option structs that can grow: the first field is the size that the caller was compiled with.
//!
//! A shorter struct is an older caller's: what it lacks is zero, which means "default". A longer one is a newer caller's, and is
//! fine as long as it does not use what we do not know.

use super::handles::null;
use crate::core::error::{self, Error, Result};
use std::mem::{MaybeUninit, size_of};

/// A struct that starts with `uint32_t struct_size`, and for which all bits zero is a value.
///
/// # Safety
/// Both must be so.
pub unsafe trait Sized32: Copy {
    const NAME: &'static str;
}

/// The size field and the one beside it.
const LEAST: usize = 8;
const MOST: usize = 4096;

fn check_size<T: Sized32>(size: usize) -> Result<()> {
    if !(LEAST..=MOST).contains(&size) {
        return Err(Error::new(
            error::INVAL,
            format!(
                "{}.struct_size is {size}; set it to sizeof({}), as the initialiser macro does",
                T::NAME,
                T::NAME
            ),
        ));
    }
    Ok(())
}

/// The struct's own size field.
///
/// # Safety
/// `from` is NULL or points to a struct that begins with its size.
pub unsafe fn size_of_struct<T: Sized32>(from: *const T) -> Result<usize> {
    if from.is_null() {
        return Err(null(T::NAME));
    }
    // SAFETY: not NULL, and begins with the size.
    let size = unsafe { from.cast::<u32>().read_unaligned() } as usize;
    check_size::<T>(size)?;
    Ok(size)
}

/// Reads an option struct of any version.
///
/// # Errors
/// NULL, INVAL (impossible size), UNSUPPORTED (a field that this version does not know is set).
///
/// # Safety
/// `from` is NULL or points to as many bytes as its size field says.
pub unsafe fn read<T: Sized32>(from: *const T) -> Result<T> {
    // SAFETY: promised by the caller.
    let size = unsafe { size_of_struct(from) }?;
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's struct has `size` bytes.
    let tail = unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
    if let Some(at) = tail.iter().position(|&b| b != 0) {
        return Err(Error::new(
            error::UNSUPPORTED,
            format!(
                "{} sets byte {} of {size}, which this version of the library does not know (it knows {known})",
                T::NAME,
                known + at
            ),
        ));
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: `known` bytes are there on both sides, and all bits zero is a T.
    unsafe {
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), known);
        Ok(value.assume_init())
    }
}

/// As [`read`]; NULL is a struct of defaults.
///
/// # Errors
/// As [`read`].
///
/// # Safety
/// As [`read`].
pub unsafe fn read_or_default<T: Sized32>(from: *const T) -> Result<T> {
    if from.is_null() {
        // SAFETY: all bits zero is a T.
        return Ok(unsafe { MaybeUninit::<T>::zeroed().assume_init() });
    }
    // SAFETY: promised by the caller.
    unsafe { read(from) }
}

/// # Errors
/// INVAL: there are bits that mean nothing.
pub fn known_flags(flags: u32, known: u32, what: &str) -> Result<()> {
    match flags & !known {
        0 => Ok(()),
        unknown => {
            let why = format!("{what} has unknown bits {unknown:#x}");
            Err(Error::new(error::INVAL, why))
        }
    }
}

/// Writes a result struct, as much of it as the caller knows; its size field keeps the caller's value.
///
/// # Errors
/// NULL, INVAL.
///
/// # Safety
/// `to` is NULL or points to as many writable bytes as its size field says.
pub unsafe fn write<T: Sized32>(to: *mut T, value: &T) -> Result<()> {
    // SAFETY: promised by the caller.
    let size = unsafe { size_of_struct(to) }?;
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's struct has `size` bytes; what it has beyond ours is zeroed.
    unsafe {
        let bytes = to.cast::<u8>();
        bytes.add(4).write_bytes(0, size - 4);
        std::ptr::copy_nonoverlapping(
            std::ptr::from_ref(value).cast::<u8>().add(4),
            bytes.add(4),
            known - 4,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Known {
        struct_size: u32,
        a: u32,
        b: u64,
    }
    // SAFETY: begins with its size, and consists of integers.
    unsafe impl Sized32 for Known {
        const NAME: &'static str = "known";
    }

    #[repr(C)]
    struct Newer(Known, u64);

    fn newer(tail: u64) -> Result<Known> {
        let struct_size = size_of::<Newer>() as u32;
        let known = Known {
            struct_size,
            a: 1,
            b: 2,
        };
        let newer = Newer(known, tail);
        // SAFETY: as many bytes as the size says.
        unsafe { read(std::ptr::from_ref(&newer).cast::<Known>()) }
    }

    #[test]
    fn a_newer_struct_is_fine_until_it_uses_what_we_do_not_know() {
        assert_eq!(newer(0).unwrap().b, 2);
        assert_eq!(newer(1 << 63).err().unwrap().status, error::UNSUPPORTED);
    }

    #[test]
    fn an_older_struct_has_zeros_and_keeps_what_lies_behind_it() {
        let mut two = [8u32, 5, 0xdead, 0xbeef];
        // SAFETY: eight bytes are there, as the size says.
        let read = unsafe { read(two.as_ptr().cast::<Known>()) }.unwrap();
        assert_eq!((read.a, read.b), (5, 0));
        let value = Known {
            struct_size: 0,
            a: 7,
            b: 8,
        };
        // SAFETY: as above.
        unsafe { write(two.as_mut_ptr().cast::<Known>(), &value) }.unwrap();
        assert_eq!(two, [8, 7, 0xdead, 0xbeef]);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for size in [0u32, 1, 7, 4097, u32::MAX] {
            let one = [size, 0, 0, 0];
            // SAFETY: only the size is read.
            let refused = unsafe { read(one.as_ptr().cast::<Known>()) };
            assert_eq!(refused.err().unwrap().status, error::INVAL);
        }
    }
}
