//! Names of jobs, workers and tasks, held in place: handing a job over must not allocate.

use std::ffi::CStr;
use std::fmt;

/// What Linux keeps of a thread's name, its NUL included.
const OS_NAME: usize = 16;

/// At most 47 bytes of UTF-8, cut at a character's boundary, and a NUL.
#[derive(Clone, Copy)]
pub struct Name {
    len: u8,
    given: bool,
    bytes: [u8; Name::MAX + 1],
}

impl Name {
    pub(crate) const MAX: usize = 47;
    pub(crate) const NONE: Name = Name {
        len: 0,
        given: false,
        bytes: [0; Name::MAX + 1],
    };

    pub fn new(text: &str) -> Name {
        let mut name = Name::NONE;
        let len = text.floor_char_boundary(Name::MAX);
        name.bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        name.len = len as u8;
        name.given = true;
        name
    }

    /// Not the host's: what the operating system calls the thread.
    pub fn found(text: &str) -> Name {
        Name {
            given: false,
            ..Name::new(text)
        }
    }

    /// Even an empty one: a thread can be called that.
    pub fn is_given(&self) -> bool {
        self.given
    }

    pub fn is_none(&self) -> bool {
        self.len == 0
    }

    pub fn as_str(&self) -> &str {
        // Whole characters were copied, so this is UTF-8.
        std::str::from_utf8(&self.bytes[..self.len as usize]).unwrap_or("")
    }

    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }

    /// What fits the operating system's 15 bytes, with a NUL.
    pub fn for_os(&self) -> [u8; OS_NAME] {
        let text = self.as_str();
        let len = text.floor_char_boundary(OS_NAME - 1);
        let mut os = [0; OS_NAME];
        os[..len].copy_from_slice(&text.as_bytes()[..len]);
        os
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_characters() {
        let name = Name::new("räksmörgåsbordet är dukat, välkommen in i värmen");
        assert!(name.as_str().len() <= Name::MAX);
        let os = name.for_os();
        let end = os.iter().position(|&b| b == 0).unwrap();
        assert_eq!(std::str::from_utf8(&os[..end]).unwrap(), "räksmörgåsbo");
        assert!(Name::new("").is_none() && Name::new("").is_given() && !Name::NONE.is_given());
        assert_eq!(Name::new("short").as_str(), "short");
    }
}
