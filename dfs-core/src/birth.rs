//! What a new inode is like, and its directory after it: the same at the server and at a client that
//! makes a file before it says so (`docs/design/0025`).

use crate::Ino;
use crate::access::Credentials;
use crate::attr::{Attr, Kind, MODE_MASK, NewMode, S_ISGID, S_IXGRP};
use crate::time::Timestamp;

/// Attributes of an inode that nobody owns yet, with the links of its kind.
pub fn blank(ino: Ino, kind: Kind, now: Timestamp) -> Attr {
    Attr {
        ino,
        kind,
        mode: 0,
        uid: 0,
        gid: 0,
        nlink: if kind == Kind::Directory { 2 } else { 1 },
        rdev: 0,
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        attr_ver: 1,
        content_ver: 0,
        has_xattrs: false,
        link_target: Vec::new(),
        dir_ver: 0,
        parent: Ino(0),
    }
}

/// A new inode in a directory. Mode, group and parent are as Linux `inode_init_owner` and
/// `mode_strip_sgid` give them: a set-group-id directory hands down its group, and to directories
/// also the bit. Neither a umask nor a default access control list is applied yet.
pub fn child(
    ino: Ino,
    kind: Kind,
    mode: u32,
    dir: &Attr,
    who: &Credentials,
    now: Timestamp,
) -> Attr {
    let mut attr = blank(ino, kind, now);
    attr.uid = who.uid;
    attr.mode = mode & MODE_MASK;
    attr.gid = who.gid;
    if kind == Kind::Directory {
        attr.parent = dir.ino;
    }
    if dir.mode & S_ISGID == 0 {
        return attr;
    }
    attr.gid = dir.gid;
    if kind == Kind::Directory {
        attr.mode |= S_ISGID;
    } else if mode & S_IXGRP != 0 && !who.keeps_set_gid(dir) {
        // Else anyone could make programs that run as the directory's group.
        attr.mode &= !S_ISGID;
    }
    attr
}

/// As [`child`], in a directory without default access control list: the umask counts.
pub fn plain_child(
    ino: Ino,
    kind: Kind,
    mode: NewMode,
    dir: &Attr,
    who: &Credentials,
    now: Timestamp,
) -> Attr {
    let attr = child(ino, kind, mode.mode, dir, who, now);
    Attr { mode: NewMode { mode: attr.mode, ..mode }.masked(), ..attr }
}

/// A name of the directory changed: times and versions move. Several that took place at about the
/// same time may be told in any order, so the time does not go back behind another change.
pub fn named_at(dir: &mut Attr, at: Timestamp) {
    let at = at.max(dir.ctime);
    (dir.mtime, dir.ctime) = (at, at);
    dir.attr_ver += 1;
    dir.dir_ver += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::tests::attr;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, ..Timestamp::default() }
    }

    #[test]
    fn set_group_id_directory_hands_down_group_and_bit() {
        let dir = Attr { mode: 0o2775, gid: 7, ..attr(Kind::Directory) };
        let who = Credentials::new(5, 5, vec![7]);
        let file = child(Ino(9), Kind::File, 0o2750, &dir, &who, at(1));
        assert_eq!((file.uid, file.gid, file.mode), (5, 7, 0o2750));
        let stranger = Credentials::new(5, 5, Vec::new());
        assert_eq!(child(Ino(9), Kind::File, 0o2750, &dir, &stranger, at(1)).mode, 0o750);
        let sub = child(Ino(9), Kind::Directory, 0o700, &dir, &stranger, at(1));
        assert_eq!((sub.mode, sub.parent, sub.nlink), (0o2700, dir.ino, 2));
    }

    #[test]
    fn directory_time_goes_forward_in_any_order() {
        let mut dir = Attr { mtime: at(90), ctime: at(10), ..attr(Kind::Directory) };
        named_at(&mut dir, at(20));
        assert_eq!(dir.mtime, at(20), "a time that somebody set is no change of names");
        named_at(&mut dir, at(15));
        assert_eq!((dir.mtime, dir.ctime), (at(20), at(20)));
    }
}
