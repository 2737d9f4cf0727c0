//! Flags of system calls.

use dfs_client::vfs::{Fallocate, OpenFlags, RenameFlags, Seek, XattrMode};
use dfs_core::Code;
use nix::fcntl::OFlag;
use nix::libc;

/// How the kernel opens a program to run it (`__FMODE_EXEC` in Linux).
const FMODE_EXEC: i32 = 0o40;

/// Flags of open(2).
pub fn open(bits: i32) -> OpenFlags {
    let flags = OFlag::from_bits_retain(bits);
    let access = flags & OFlag::O_ACCMODE;
    OpenFlags {
        read: access != OFlag::O_WRONLY,
        execute: bits & FMODE_EXEC != 0,
        write: access != OFlag::O_RDONLY,
        append: flags.contains(OFlag::O_APPEND),
        truncate: flags.contains(OFlag::O_TRUNC),
        exclusive: flags.contains(OFlag::O_EXCL),
        direct: flags.contains(OFlag::O_DIRECT),
        nonblock: flags.contains(OFlag::O_NONBLOCK),
        sync: flags.contains(OFlag::O_DSYNC), // O_SYNC holds this bit too.
    }
}

/// Flags of renameat2(2); EINVAL for those not known and for an exchange with another one.
pub fn rename(flags: fuser::RenameFlags) -> Result<RenameFlags, Code> {
    use fuser::RenameFlags as F;
    let known = F::RENAME_NOREPLACE | F::RENAME_EXCHANGE | F::RENAME_WHITEOUT;
    let [noreplace, exchange, whiteout] =
        [F::RENAME_NOREPLACE, F::RENAME_EXCHANGE, F::RENAME_WHITEOUT].map(|f| flags.contains(f));
    if !(flags - known).is_empty() || (exchange && (noreplace || whiteout)) {
        return Err(Code::Invalid);
    }
    Ok(RenameFlags { noreplace, exchange, whiteout })
}

/// Flags of setxattr(2).
pub fn setxattr(bits: i32) -> Result<XattrMode, Code> {
    const BOTH: i32 = libc::XATTR_CREATE | libc::XATTR_REPLACE;
    match bits {
        0 => Ok(XattrMode::Any),
        libc::XATTR_CREATE => Ok(XattrMode::Create),
        libc::XATTR_REPLACE => Ok(XattrMode::Replace),
        BOTH => Ok(XattrMode::Never),
        _ => Err(Code::Invalid),
    }
}

/// Modes of fallocate(2); EOPNOTSUPP for those that move data.
pub fn fallocate(bits: i32) -> Result<Fallocate, Code> {
    let (keep, punch, zero) =
        (libc::FALLOC_FL_KEEP_SIZE, libc::FALLOC_FL_PUNCH_HOLE, libc::FALLOC_FL_ZERO_RANGE);
    if bits & !(keep | punch | zero) != 0 {
        return Err(Code::NotSupported);
    }
    Ok(Fallocate {
        keep_size: bits & keep != 0,
        punch_hole: bits & punch != 0,
        zero_range: bits & zero != 0,
    })
}

/// The kernel asks only for SEEK_DATA and SEEK_HOLE.
pub fn seek(whence: i32) -> Result<Seek, Code> {
    match whence {
        libc::SEEK_DATA => Ok(Seek::Data),
        libc::SEEK_HOLE => Ok(Seek::Hole),
        _ => Err(Code::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_flags_are_told_apart() {
        assert!(open(FMODE_EXEC).execute && open(FMODE_EXEC).read);
        assert_eq!(open(libc::O_RDONLY), OpenFlags { read: true, ..OpenFlags::default() });
        assert_eq!(open(libc::O_WRONLY), OpenFlags { write: true, ..OpenFlags::default() });
        let all = open(
            libc::O_RDWR
                | libc::O_APPEND
                | libc::O_TRUNC
                | libc::O_EXCL
                | libc::O_DIRECT
                | libc::O_NONBLOCK
                | libc::O_SYNC,
        );
        assert!(all.read && all.write && all.append && all.truncate);
        assert!(all.exclusive && all.direct && all.nonblock && all.sync);
        assert!(open(libc::O_DSYNC).sync);
    }

    #[test]
    fn rename_flags_exclude_each_other() {
        use fuser::RenameFlags as F;
        assert_eq!(rename(F::empty()), Ok(RenameFlags::default()));
        assert!(rename(F::RENAME_NOREPLACE).unwrap().noreplace);
        assert!(rename(F::RENAME_EXCHANGE).unwrap().exchange);
        assert_eq!(rename(F::RENAME_EXCHANGE | F::RENAME_NOREPLACE), Err(Code::Invalid));
        assert!(rename(F::RENAME_WHITEOUT).unwrap().whiteout);
        assert_eq!(rename(F::RENAME_EXCHANGE | F::RENAME_WHITEOUT), Err(Code::Invalid));
        assert_eq!(rename(F::from_bits_retain(64)), Err(Code::Invalid));
    }

    #[test]
    fn other_flags_are_checked() {
        assert_eq!(setxattr(0), Ok(XattrMode::Any));
        assert_eq!(setxattr(1), Ok(XattrMode::Create));
        assert_eq!(setxattr(2), Ok(XattrMode::Replace));
        assert_eq!(setxattr(3), Ok(XattrMode::Never));
        assert_eq!(setxattr(4), Err(Code::Invalid));
        assert!(fallocate(3).is_ok_and(|f| f.keep_size && f.punch_hole && !f.zero_range));
        assert!(fallocate(0x10).is_ok_and(|f| f.zero_range));
        assert_eq!(fallocate(libc::FALLOC_FL_COLLAPSE_RANGE), Err(Code::NotSupported));
        assert_eq!(seek(libc::SEEK_DATA), Ok(Seek::Data));
        assert_eq!(seek(libc::SEEK_HOLE), Ok(Seek::Hole));
        assert_eq!(seek(libc::SEEK_SET), Err(Code::Invalid));
    }
}
