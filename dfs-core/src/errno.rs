//! The only place where an errno is chosen.

use crate::error::Code;

/// Code, Linux errno number, text. Codes of the protocol share an errno with a file-system code and
/// stand behind the table: they never travel as a number.
const TABLE: &[(Code, i32, &str)] = &[
    (Code::NotPermitted, 1, "operation not permitted"),
    (Code::NotFound, 2, "no such file or directory"),
    (Code::Interrupted, 4, "interrupted"),
    (Code::Io, 5, "input/output error"),
    (Code::NoDevice, 6, "no such device or address"),
    (Code::ArgumentsTooLong, 7, "argument list too long"),
    (Code::BadHandle, 9, "bad file handle"),
    (Code::WouldBlock, 11, "would block"),
    (Code::NoMemory, 12, "out of memory"),
    (Code::AccessDenied, 13, "permission denied"),
    (Code::Busy, 16, "busy"),
    (Code::Exists, 17, "exists"),
    (Code::CrossDevice, 18, "crosses file systems"),
    (Code::NotDirectory, 20, "not a directory"),
    (Code::IsDirectory, 21, "is a directory"),
    (Code::Invalid, 22, "invalid argument"),
    (Code::TooManyOpen, 24, "too many open files"),
    (Code::TextBusy, 26, "text file busy"),
    (Code::FileTooBig, 27, "file too large"),
    (Code::NoSpace, 28, "no space left"),
    (Code::ReadOnly, 30, "read-only file system"),
    (Code::TooManyLinks, 31, "too many links"),
    (Code::OutOfRange, 34, "result does not fit"),
    (Code::Deadlock, 35, "would deadlock"),
    (Code::NameTooLong, 36, "name too long"),
    (Code::NoLocks, 37, "no locks left"),
    (Code::NotEmpty, 39, "directory not empty"),
    (Code::Loop, 40, "too many symbolic links"),
    (Code::NoData, 61, "no such attribute"),
    (Code::Overflow, 75, "value too large"),
    (Code::NotSupported, 95, "not supported"),
    (Code::NotConnected, 107, "not connected"),
    (Code::TimedOut, 110, "timed out"),
    (Code::Stale, 116, "stale file handle"),
    (Code::QuotaExceeded, 122, "quota exceeded"),
];

/// The errno a program gets for a code.
pub fn of(code: Code) -> i32 {
    if let Some(row) = TABLE.iter().find(|row| row.0 == code) {
        return row.1;
    }
    match code {
        Code::Other(errno) => errno,
        Code::StaleVersion | Code::TxnConflict => of(Code::WouldBlock),
        // The fate of the call is unknown or its bytes could not be saved.
        _ => of(Code::Io),
    }
}

/// The code of an errno a peer or an operating system call gave.
pub fn code_of(errno: i32) -> Code {
    TABLE.iter().find(|row| row.1 == errno).map_or(Code::Other(errno), |row| row.0)
}

/// What the code means, for people.
pub fn text(code: Code) -> &'static str {
    if let Some(row) = TABLE.iter().find(|row| row.0 == code) {
        return row.2;
    }
    match code {
        Code::Other(_) => "failed",
        Code::SessionExpired => "session expired",
        Code::Grace(_) => "server is recovering",
        Code::Retry(_) => "try again",
        Code::NotLeader => "not the leader",
        Code::StaleLeader => "an older leader",
        Code::Fenced => "the lease was taken away",
        Code::StaleVersion => "version is not current",
        Code::TxnConflict => "transaction conflict",
        Code::BadChecksum => "checksum does not match",
        Code::TooOld => "no protocol version in common",
        Code::Unavailable => "server does not answer",
        _ => unreachable!("every file-system code stands in the table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_round_trips_for_every_row() {
        for &(code, errno, _) in TABLE {
            assert_eq!(of(code), errno);
            assert_eq!(code_of(errno), code);
        }
        assert_eq!(code_of(4095), Code::Other(4095));
        assert_eq!(of(Code::Other(4095)), 4095);
    }
}
