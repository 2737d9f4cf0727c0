//! Names of directory entries.

use crate::error::{Code, FsError, Result};
use crate::limits::NAME_MAX;
use std::fmt;
use std::sync::Arc;

/// A checked entry name: 1 to 255 bytes of any value but `/` and NUL, and neither `.` nor `..`
/// (POSIX.1-2017, 3.170 Filename). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// Checks the bytes. Fails with `NameTooLong` over 255 bytes, else with `Invalid`.
    pub fn new(bytes: &[u8]) -> Result<Name> {
        if bytes.len() > NAME_MAX {
            let text = format!("name of {} bytes is longer than {NAME_MAX}", bytes.len());
            return Err(FsError::new(Code::NameTooLong, text));
        }
        if bytes.is_empty() || bytes == b"." || bytes == b".." {
            return Err(FsError::new(Code::Invalid, "empty, '.' or '..' is not an entry name"));
        }
        if bytes.iter().any(|b| matches!(b, b'/' | 0)) {
            return Err(FsError::new(Code::Invalid, "entry name holds '/' or NUL"));
        }
        Ok(Name(bytes.into()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_bounds_are_those_of_posix() {
        assert!(Name::new(&[b'x'; 255]).is_ok());
        assert_eq!(Name::new(&[b'x'; 256]).unwrap_err().code, Code::NameTooLong);
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
            assert_eq!(Name::new(bad).unwrap_err().code, Code::Invalid, "{bad:?}");
        }
        for good in [&b"..."[..], b"\xff\xfe", b" ", b"\n"] {
            assert!(Name::new(good).is_ok(), "{good:?}");
        }
    }
}
