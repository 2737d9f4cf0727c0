//! [`FsError`] on the wire: the only table from codes to messages and back.

use crate::v1::{ErrorCode, Fail};
use dfs_core::{Code, FsError, errno};
use std::time::Duration;

/// The message for an error.
pub fn to_wire(error: &FsError) -> Fail {
    let (code, retry) = match error.code {
        Code::SessionExpired => (ErrorCode::SessionExpired, None),
        Code::Grace(after) => (ErrorCode::Grace, Some(after)),
        Code::Retry(after) => (ErrorCode::Retry, Some(after)),
        Code::NotLeader => (ErrorCode::NotLeader, None),
        Code::StaleLeader => (ErrorCode::StaleLeader, None),
        Code::Fenced => (ErrorCode::Fenced, None),
        Code::StaleVersion => (ErrorCode::StaleVersion, None),
        Code::WouldBlock => (ErrorCode::WouldBlock, None),
        Code::Deadlock => (ErrorCode::Deadlock, None),
        Code::TxnConflict => (ErrorCode::TxnConflict, None),
        Code::NoSpace => (ErrorCode::NoSpace, None),
        Code::BadChecksum => (ErrorCode::BadChecksum, None),
        Code::TooOld => (ErrorCode::TooOld, None),
        _ => (ErrorCode::Errno, None),
    };
    Fail {
        code: code.into(),
        errno: error.errno(),
        retry_after_ms: retry
            .map_or(0, |d: Duration| d.as_millis().min(u128::from(u32::MAX)) as u32),
        text: error.message.clone(),
        current_ver: 0,
        current_seq: 0,
    }
}

/// The error in a message. An unknown code is an input/output error.
pub fn from_wire(fail: &Fail) -> FsError {
    let after = Duration::from_millis(fail.retry_after_ms.into());
    let code = match fail.code() {
        ErrorCode::Errno => errno::code_of(fail.errno),
        ErrorCode::SessionExpired => Code::SessionExpired,
        ErrorCode::Grace => Code::Grace(after),
        ErrorCode::Retry => Code::Retry(after),
        ErrorCode::NotLeader => Code::NotLeader,
        ErrorCode::StaleLeader => Code::StaleLeader,
        ErrorCode::Fenced => Code::Fenced,
        ErrorCode::StaleVersion => Code::StaleVersion,
        ErrorCode::WouldBlock => Code::WouldBlock,
        ErrorCode::Deadlock => Code::Deadlock,
        ErrorCode::TxnConflict => Code::TxnConflict,
        ErrorCode::NoSpace => Code::NoSpace,
        ErrorCode::BadChecksum => Code::BadChecksum,
        ErrorCode::TooOld => Code::TooOld,
        ErrorCode::Unspecified => Code::Io,
    };
    FsError::new(code, fail.text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fail_round_trips_every_code() {
        let ms = Duration::from_millis(1500);
        let protocol = [
            Code::SessionExpired,
            Code::Grace(ms),
            Code::Retry(ms),
            Code::NotLeader,
            Code::StaleLeader,
            Code::Fenced,
            Code::StaleVersion,
            Code::TxnConflict,
            Code::BadChecksum,
            Code::TooOld,
        ];
        let posix = (1..134).map(errno::code_of);
        for code in protocol.into_iter().chain(posix) {
            let error = FsError::new(code, "x");
            assert_eq!(from_wire(&to_wire(&error)), error);
        }
    }

    #[test]
    fn fail_unknown_code_is_io() {
        let fail = Fail { code: 9999, errno: 2, ..Fail::default() };
        assert_eq!(from_wire(&fail).code, Code::Io);
    }
}
