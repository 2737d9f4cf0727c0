//! Wire messages to core types and back. Messages come from peers, so every `from` direction checks
//! and fails with `Invalid`.

use crate::v1;
use bytes::Bytes;
use dfs_core::access::{Credentials, Privileges, Realm};
use dfs_core::attr::{Attr, Kind, MODE_MASK, SetAttr, SetTime};
use dfs_core::extent::{Extent, ObjectName, Source};
use dfs_core::lock;
use dfs_core::range::Range;
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Ino, Result};

fn missing(what: &str) -> FsError {
    FsError::new(Code::Invalid, format!("message without {what}"))
}

/// Kind to the wire.
pub fn kind_to(kind: Kind) -> v1::Kind {
    match kind {
        Kind::File => v1::Kind::File,
        Kind::Directory => v1::Kind::Directory,
        Kind::Symlink => v1::Kind::Symlink,
        Kind::Fifo => v1::Kind::Fifo,
        Kind::Socket => v1::Kind::Socket,
        Kind::CharDevice => v1::Kind::CharDevice,
        Kind::BlockDevice => v1::Kind::BlockDevice,
    }
}

/// Kind from the wire.
pub fn kind_from(kind: i32) -> Result<Kind> {
    match v1::Kind::try_from(kind) {
        Ok(v1::Kind::File) => Ok(Kind::File),
        Ok(v1::Kind::Directory) => Ok(Kind::Directory),
        Ok(v1::Kind::Symlink) => Ok(Kind::Symlink),
        Ok(v1::Kind::Fifo) => Ok(Kind::Fifo),
        Ok(v1::Kind::Socket) => Ok(Kind::Socket),
        Ok(v1::Kind::CharDevice) => Ok(Kind::CharDevice),
        Ok(v1::Kind::BlockDevice) => Ok(Kind::BlockDevice),
        Ok(v1::Kind::Unspecified) | Err(_) => {
            Err(FsError::new(Code::Invalid, format!("unknown inode kind {kind}")))
        }
    }
}

/// Kind of a record lock to the wire.
pub fn lock_kind_to(kind: lock::Kind) -> v1::LockKind {
    match kind {
        lock::Kind::Any => v1::LockKind::Any,
        lock::Kind::Process => v1::LockKind::Process,
        lock::Kind::OpenFile => v1::LockKind::OpenFile,
        lock::Kind::Flock => v1::LockKind::Flock,
    }
}

/// Kind of a record lock from the wire; one that this version does not know meets every other.
pub fn lock_kind_from(kind: v1::LockKind) -> lock::Kind {
    match kind {
        v1::LockKind::Any => lock::Kind::Any,
        v1::LockKind::Process => lock::Kind::Process,
        v1::LockKind::OpenFile => lock::Kind::OpenFile,
        v1::LockKind::Flock => lock::Kind::Flock,
    }
}

/// Time to the wire.
pub fn time_to(t: Timestamp) -> v1::Timestamp {
    v1::Timestamp { seconds: t.seconds, nanos: t.nanos }
}

/// Time from the wire; an unset one is 1970.
pub fn time_from(t: Option<v1::Timestamp>) -> Result<Timestamp> {
    let t = t.unwrap_or_default();
    if t.nanos >= 1_000_000_000 {
        return Err(FsError::new(Code::Invalid, format!("{} nanoseconds in a time", t.nanos)));
    }
    Ok(Timestamp { seconds: t.seconds, nanos: t.nanos })
}

/// Attributes to the wire.
pub fn attr_to(a: &Attr) -> v1::Attr {
    v1::Attr {
        ino: a.ino.0,
        kind: kind_to(a.kind).into(),
        mode: a.mode,
        uid: a.uid,
        gid: a.gid,
        nlink: a.nlink,
        rdev: a.rdev,
        size: a.size,
        blocks: a.blocks,
        atime: Some(time_to(a.atime)),
        mtime: Some(time_to(a.mtime)),
        ctime: Some(time_to(a.ctime)),
        btime: Some(time_to(a.btime)),
        attr_ver: a.attr_ver,
        content_ver: a.content_ver,
        has_xattrs: a.has_xattrs,
        link_target: Bytes::copy_from_slice(&a.link_target),
        dir_ver: a.dir_ver,
        parent: a.parent.0,
    }
}

/// Attributes from the wire.
pub fn attr_from(a: v1::Attr) -> Result<Attr> {
    Ok(Attr {
        ino: ino_from(a.ino),
        kind: kind_from(a.kind)?,
        mode: a.mode & MODE_MASK,
        uid: a.uid,
        gid: a.gid,
        nlink: a.nlink,
        rdev: a.rdev,
        size: a.size,
        blocks: a.blocks,
        atime: time_from(a.atime)?,
        mtime: time_from(a.mtime)?,
        ctime: time_from(a.ctime)?,
        btime: time_from(a.btime)?,
        attr_ver: a.attr_ver,
        content_ver: a.content_ver,
        has_xattrs: a.has_xattrs,
        link_target: a.link_target.to_vec(),
        dir_ver: a.dir_ver,
        parent: ino_from(a.parent),
    })
}

/// Attributes from the wire that must be there.
pub fn need_attr(a: Option<v1::Attr>) -> Result<Attr> {
    attr_from(a.ok_or_else(|| missing("attributes"))?)
}

fn set_time_to(t: SetTime) -> v1::SetTime {
    match t {
        SetTime::Now => v1::SetTime { now: true, to: None },
        SetTime::To(t) => v1::SetTime { now: false, to: Some(time_to(t)) },
    }
}

fn set_time_from(t: Option<v1::SetTime>) -> Result<Option<SetTime>> {
    match t {
        None => Ok(None),
        Some(t) if t.now => Ok(Some(SetTime::Now)),
        Some(t) => Ok(Some(SetTime::To(time_from(t.to)?))),
    }
}

/// Attribute changes to the wire.
pub fn set_attr_to(s: &SetAttr) -> v1::SetAttr {
    v1::SetAttr {
        mode: s.mode,
        uid: s.uid,
        gid: s.gid,
        size: s.size,
        atime: s.atime.map(set_time_to),
        mtime: s.mtime.map(set_time_to),
        drop_suid: s.drop_suid,
    }
}

/// Attribute changes from the wire; unset means no change.
pub fn set_attr_from(s: Option<v1::SetAttr>) -> Result<SetAttr> {
    let s = s.unwrap_or_default();
    Ok(SetAttr {
        mode: s.mode.map(|m| m & MODE_MASK),
        uid: s.uid,
        gid: s.gid,
        size: s.size,
        atime: set_time_from(s.atime)?,
        mtime: set_time_from(s.mtime)?,
        drop_suid: s.drop_suid,
    })
}

/// Range to the wire.
pub fn range_to(r: Range) -> v1::Range {
    let len = if r.end == u64::MAX { 0 } else { r.len() };
    v1::Range { off: r.start, len }
}

/// Range from the wire; length 0 is infinity, an unset one is everything.
pub fn range_from(r: Option<v1::Range>) -> Range {
    match r {
        None => Range::ALL,
        Some(r) if r.len == 0 => Range::new(r.off, u64::MAX),
        Some(r) => Range::of_len(r.off, r.len),
    }
}

/// Inode number from the wire. Those from 2^63 on, which are never given, become 0, which is none
/// either: nothing behind this has to reckon with them.
pub fn ino_from(number: u64) -> Ino {
    Ino(if number >> 63 == 0 { number } else { 0 })
}

/// Object name to the wire.
pub fn object_to(o: ObjectName) -> v1::ObjectName {
    v1::ObjectName { ino: o.ino.0, born: o.born, n: o.n }
}

/// Object name from the wire.
pub fn object_from(o: Option<v1::ObjectName>) -> Result<ObjectName> {
    let o = o.ok_or_else(|| missing("object name"))?;
    Ok(ObjectName { ino: ino_from(o.ino), born: o.born, n: o.n })
}

/// Extent to the wire.
pub fn extent_to(e: &Extent) -> v1::Extent {
    let (source, object_off) = match &e.source {
        Source::Object(name, off) => (Some(v1::extent::Source::Object(object_to(*name))), *off),
        Source::Inline(bytes) => (Some(v1::extent::Source::Inline(bytes.clone())), 0),
        Source::Hole => (None, 0),
    };
    v1::Extent { off: e.range.start, len: e.range.len(), source, object_off }
}

/// Extent from the wire: not empty, not beyond the largest file, inline bytes of its length.
pub fn extent_from(e: v1::Extent) -> Result<Extent> {
    let end = e.off.checked_add(e.len).filter(|&end| end <= dfs_core::limits::FILE_SIZE_MAX);
    let range = match end {
        Some(end) if e.len > 0 => Range::new(e.off, end),
        _ => return Err(FsError::new(Code::Invalid, format!("extent {}+{}", e.off, e.len))),
    };
    let source = match e.source {
        None => Source::Hole,
        Some(v1::extent::Source::Object(o)) => Source::Object(object_from(Some(o))?, e.object_off),
        Some(v1::extent::Source::Inline(bytes)) if bytes.len() as u64 == e.len => {
            // A copy: they may be a small part of all that was received with them.
            Source::Inline(Bytes::copy_from_slice(&bytes))
        }
        Some(v1::extent::Source::Inline(bytes)) => {
            let text = format!("{} inline bytes in an extent of {}", bytes.len(), e.len);
            return Err(FsError::new(Code::Invalid, text));
        }
    };
    Ok(Extent { range, source })
}

/// Extents from the wire: in order and not overlapping.
pub fn extents_from(extents: Vec<v1::Extent>) -> Result<Vec<Extent>> {
    let extents = extents.into_iter().map(extent_from).collect::<Result<Vec<_>>>()?;
    if extents.windows(2).any(|w| w[0].range.end > w[1].range.start) {
        return Err(FsError::new(Code::Invalid, "extents out of order or overlapping"));
    }
    Ok(extents)
}

/// The calling process of a request.
pub fn credentials_from(caller: &v1::Caller) -> Credentials {
    let plain = Credentials::new(caller.uid, caller.gid, caller.groups.clone());
    let Some(capabilities) = caller.capabilities else { return plain };
    let privileges = Privileges::of_capabilities(capabilities);
    let privileges = match &caller.realm {
        Some(realm) => privileges.within(realm_from(realm)),
        None => privileges,
    };
    Credentials { privileges, ..plain }
}

/// The part of a request that says who the calling process is; capabilities only if they are not those
/// its user has anyway.
pub fn credentials_to(who: &Credentials) -> v1::Caller {
    let special = who.privileges != Privileges::of_user(who.uid);
    v1::Caller {
        uid: who.uid,
        gid: who.gid,
        groups: who.groups.clone(),
        capabilities: special.then(|| who.privileges.capabilities()),
        realm: who.privileges.realm().filter(|_| special).map(realm_to),
        ..v1::Caller::default()
    }
}

fn realm_from(realm: &v1::Realm) -> Realm {
    let range = |ids: &v1::IdRange| Range::of_len(ids.first.into(), ids.count.into());
    let ranges = |list: &[v1::IdRange]| list.iter().map(range).collect();
    Realm { uids: ranges(&realm.uids), gids: ranges(&realm.gids) }
}

fn realm_to(realm: &Realm) -> v1::Realm {
    // Ranges of users and groups are read as 32 bits each.
    let range = |ids: &Range| v1::IdRange { first: ids.start as u32, count: ids.len() as u32 };
    let ranges = |list: &[Range]| list.iter().map(range).collect();
    v1::Realm { uids: ranges(&realm.uids), gids: ranges(&realm.gids) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_survive_both_ways() {
        let user = Credentials::new(1000, 7, vec![8, 9]);
        let realm = Realm { uids: vec![Range::new(5, 7)], gids: vec![Range::new(0, 1 << 31)] };
        let some = Privileges::of_capabilities(0b1010);
        for who in [
            Credentials::root(),
            user.clone(),
            Credentials { privileges: Privileges::default(), ..Credentials::root() },
            Credentials { privileges: some.clone(), ..user.clone() },
            Credentials { privileges: some.within(realm), ..user },
        ] {
            assert_eq!(credentials_from(&credentials_to(&who)), who);
        }
    }

    #[test]
    fn credentials_without_capabilities_are_those_of_the_user() {
        let root = credentials_to(&Credentials::root());
        assert_eq!((root.capabilities, root.realm.clone()), (None, None));
        assert_eq!(credentials_from(&root), Credentials::root());
        let strange = v1::Caller { realm: Some(v1::Realm::default()), ..root };
        assert_eq!(credentials_from(&strange), Credentials::root(), "a realm of nothing");
    }
}
