//! Attributes as bytes: in stored answers and in the log. Fields are only added.

use dfs_core::Ino;
use dfs_core::attr::{Attr, Kind};
use dfs_core::time::Timestamp;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredTime {
    #[prost(sint64, tag = "1")]
    seconds: i64,
    #[prost(uint32, tag = "2")]
    nanos: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredAttr {
    #[prost(uint64, tag = "1")]
    ino: u64,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(uint32, tag = "3")]
    mode: u32,
    #[prost(uint32, tag = "4")]
    uid: u32,
    #[prost(uint32, tag = "5")]
    gid: u32,
    #[prost(uint32, tag = "6")]
    nlink: u32,
    #[prost(uint32, tag = "7")]
    rdev: u32,
    #[prost(uint64, tag = "8")]
    size: u64,
    #[prost(uint64, tag = "9")]
    blocks: u64,
    #[prost(message, required, tag = "10")]
    atime: StoredTime,
    #[prost(message, required, tag = "11")]
    mtime: StoredTime,
    #[prost(message, required, tag = "12")]
    ctime: StoredTime,
    #[prost(message, required, tag = "13")]
    btime: StoredTime,
    #[prost(uint64, tag = "14")]
    attr_ver: u64,
    #[prost(uint64, tag = "15")]
    content_ver: u64,
    #[prost(bool, tag = "16")]
    has_xattrs: bool,
    #[prost(bytes = "vec", tag = "17")]
    link_target: Vec<u8>,
    #[prost(uint64, tag = "18")]
    dir_ver: u64,
    #[prost(uint64, tag = "19")]
    parent: u64,
}

/// Kinds by their stored number, which is the index.
pub(crate) const KINDS: [Kind; 7] = [
    Kind::File,
    Kind::Directory,
    Kind::Symlink,
    Kind::Fifo,
    Kind::Socket,
    Kind::CharDevice,
    Kind::BlockDevice,
];

fn store_time(time: Timestamp) -> StoredTime {
    StoredTime { seconds: time.seconds, nanos: time.nanos }
}

fn load_time(time: StoredTime) -> Timestamp {
    Timestamp { seconds: time.seconds, nanos: time.nanos }
}

/// As it is stored.
pub(crate) fn store(attr: &Attr) -> StoredAttr {
    let kind = KINDS.iter().position(|kind| *kind == attr.kind).expect("every kind is listed");
    StoredAttr {
        ino: attr.ino.0,
        kind: kind as u32,
        mode: attr.mode,
        uid: attr.uid,
        gid: attr.gid,
        nlink: attr.nlink,
        rdev: attr.rdev,
        size: attr.size,
        blocks: attr.blocks,
        atime: store_time(attr.atime),
        mtime: store_time(attr.mtime),
        ctime: store_time(attr.ctime),
        btime: store_time(attr.btime),
        attr_ver: attr.attr_ver,
        content_ver: attr.content_ver,
        has_xattrs: attr.has_xattrs,
        link_target: attr.link_target.clone(),
        dir_ver: attr.dir_ver,
        parent: attr.parent.0,
    }
}

/// What [`store`] made; none if its kind is unknown.
pub(crate) fn load(attr: StoredAttr) -> Option<Attr> {
    Some(Attr {
        ino: Ino(attr.ino),
        kind: *KINDS.get(attr.kind as usize)?,
        mode: attr.mode,
        uid: attr.uid,
        gid: attr.gid,
        nlink: attr.nlink,
        rdev: attr.rdev,
        size: attr.size,
        blocks: attr.blocks,
        atime: load_time(attr.atime),
        mtime: load_time(attr.mtime),
        ctime: load_time(attr.ctime),
        btime: load_time(attr.btime),
        attr_ver: attr.attr_ver,
        content_ver: attr.content_ver,
        has_xattrs: attr.has_xattrs,
        link_target: attr.link_target,
        dir_ver: attr.dir_ver,
        parent: Ino(attr.parent),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Timestamp> {
        (any::<i64>(), 0..1_000_000_000u32)
            .prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
    }

    /// Any attributes.
    pub(crate) fn attr() -> impl Strategy<Value = Attr> {
        let words = any::<[u32; 5]>();
        let longs = any::<[u64; 7]>();
        let target = prop::collection::vec(any::<u8>(), 0..9);
        let times = [time(), time(), time(), time()];
        (0..KINDS.len(), words, longs, any::<bool>(), target, times).prop_map(
            |(kind, [mode, uid, gid, nlink, rdev], longs, has_xattrs, link_target, times)| {
                let [ino, size, blocks, attr_ver, content_ver, dir_ver, parent] = longs;
                let [atime, mtime, ctime, btime] = times;
                let (ino, parent, kind) = (Ino(ino), Ino(parent), KINDS[kind]);
                Attr {
                    ino,
                    kind,
                    mode,
                    uid,
                    gid,
                    nlink,
                    rdev,
                    size,
                    blocks,
                    atime,
                    mtime,
                    ctime,
                    btime,
                    attr_ver,
                    content_ver,
                    has_xattrs,
                    link_target,
                    dir_ver,
                    parent,
                }
            },
        )
    }
}
