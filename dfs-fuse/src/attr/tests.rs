//! Conversions and back.

use super::*;
use dfs_core::Code;

fn ts(seconds: i64, nanos: u32) -> Timestamp {
    Timestamp { seconds, nanos }
}

fn sample() -> Attr {
    Attr {
        ino: Ino(7),
        kind: Kind::File,
        mode: 0o4755,
        uid: 1,
        gid: 2,
        nlink: 3,
        rdev: 4,
        size: 5,
        blocks: 6,
        atime: ts(-2, 800_000_000),
        mtime: ts(10, 1),
        ctime: ts(0, 999_999_999),
        btime: ts(1, 0),
        attr_ver: 1,
        content_ver: 1,
        has_xattrs: false,
        link_target: Vec::new(),
        dir_ver: 0,
        parent: Ino(1),
    }
}

#[test]
fn file_attr_carries_every_field() {
    let attr = Numbers::new(Ino(1)).file_attr(&sample());
    assert_eq!((attr.ino, attr.perm, attr.kind), (INodeNo(7), 0o4755, FileType::RegularFile));
    assert_eq!((attr.uid, attr.gid, attr.nlink, attr.rdev), (1, 2, 3, 4));
    assert_eq!((attr.size, attr.blocks), (5, 6));
    assert_eq!(attr.atime, UNIX_EPOCH - Duration::from_millis(1200));
    assert_eq!(attr.mtime, UNIX_EPOCH + Duration::new(10, 1));
    assert_eq!(attr.ctime, UNIX_EPOCH + Duration::from_nanos(999_999_999));
}

#[test]
fn times_before_1970_survive_both_ways() {
    for time in [ts(0, 0), ts(1, 5), ts(-1, 0), ts(-1, 500_000_000), ts(-2, 1), ts(-1 << 40, 7)] {
        // What fuser makes of the kernel's (seconds, nanoseconds).
        let from_kernel = if time.seconds >= 0 {
            UNIX_EPOCH + Duration::new(time.seconds as u64, time.nanos)
        } else {
            UNIX_EPOCH - Duration::new(time.seconds.unsigned_abs(), time.nanos)
        };
        assert_eq!(timestamp(from_kernel), time);
        // What fuser makes of our answer.
        let shown = system_time(time);
        let exact = match shown.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_nanos() as i128,
            Err(e) => -(e.duration().as_nanos() as i128),
        };
        assert_eq!(exact, time.as_nanos());
    }
    assert_eq!(timestamp(system_time(ts(i64::MIN, 0))), ts(i64::MIN, 0));
    assert_eq!(system_time(ts(i64::MAX, 4_000_000_000)), UNIX_EPOCH, "out of range");
}

#[test]
fn numbers_swap_only_the_root() {
    let plain = Numbers::new(Ino(1));
    assert_eq!((plain.to_kernel(Ino(1)), plain.from_kernel(INodeNo(9))), (INodeNo(1), Ino(9)));
    let subtree = Numbers::new(Ino(5));
    assert_eq!(subtree.to_kernel(Ino(5)), INodeNo::ROOT);
    assert_eq!(subtree.from_kernel(INodeNo::ROOT), Ino(5));
    assert_eq!(subtree.to_kernel(Ino(1)), INodeNo::ROOT, "parent of the subtree");
    assert_eq!(subtree.to_kernel(Ino(6)), INodeNo(6));
}

#[test]
fn kinds_of_mode_are_those_of_mknod() {
    for (mode, kind) in [
        (0o644, Some(Kind::File)),
        (0o100_644, Some(Kind::File)),
        (0o010_600, Some(Kind::Fifo)),
        (0o140_600, Some(Kind::Socket)),
        (0o020_600, Some(Kind::CharDevice)),
        (0o060_600, Some(Kind::BlockDevice)),
        (0o040_755, None),
        (0o120_777, None),
    ] {
        assert_eq!(kind_of_mode(mode), kind, "{mode:o}");
    }
}

#[test]
fn errno_is_never_enosys() {
    assert_eq!(errno(&Code::NotFound.into()), Errno::ENOENT);
    assert_eq!(errno(&Code::Interrupted.into()), Errno::EINTR);
    assert_eq!(errno(&Code::Other(38).into()), Errno::EOPNOTSUPP);
    assert_eq!(errno(&Code::Other(0).into()), Errno::EIO);
}
