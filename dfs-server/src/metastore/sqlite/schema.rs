//! Tables, keys and values of the database: the one place that knows the format.
//!
//! The format number is `PRAGMA user_version`, once more in `config('format')` for people who look
//! with `sqlite3`. `PRAGMA application_id` is "dfs1" in ASCII.
//!
//! Unsigned 64-bit numbers are stored as the signed number with the same 64 bits, so that those
//! from 2^63 on are negative and sort first; [`runs`] splits a range accordingly. Kinds are the
//! `DT_*` numbers of readdir(3). Times are whole seconds (`_s`) and nanoseconds counted forward
//! (`_ns`). Names, link targets and xattrs are bytes, in no encoding. `stripe.extents` is described
//! in `stripe.rs`.

use crate::metastore::damaged;
use crate::metastore::rows::{Dentry, Inode, LostRow, SessionRow};
use dfs_core::attr::{Attr, Kind};
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Fence, Ino, Result, SessionId};
use rusqlite::Row;

/// Format this program writes and reads. Since 2 a log stands before the database, without which it
/// is incomplete; the tables are those of 1.
pub(super) const FORMAT: i64 = 2;
/// Format that is raised to [`FORMAT`] when the database is opened.
pub(super) const FORMAT_BEFORE: i64 = 1;
/// "dfs1".
pub(super) const APPLICATION_ID: i64 = 0x6466_7331;

/// Tables of a new database.
pub(super) const TABLES: &str = "
-- Facts fixed when the store was made: 'format', and 'cookie_key' (16 bytes).
CREATE TABLE config (name TEXT NOT NULL PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;

-- One row: the leader epoch every commit is conditional on, the number of the last commit, and how
-- many inodes there are.
CREATE TABLE leader (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  epoch INTEGER NOT NULL, seq INTEGER NOT NULL, inodes INTEGER NOT NULL
) STRICT;

-- Counters and settings of the name server.
CREATE TABLE number (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE inode (
  ino INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
  nlink INTEGER NOT NULL, rdev INTEGER NOT NULL, size INTEGER NOT NULL, blocks INTEGER NOT NULL,
  atime_s INTEGER NOT NULL, atime_ns INTEGER NOT NULL,
  mtime_s INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  ctime_s INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
  btime_s INTEGER NOT NULL, btime_ns INTEGER NOT NULL,
  attr_ver INTEGER NOT NULL, content_ver INTEGER NOT NULL, has_xattrs INTEGER NOT NULL,
  link_target BLOB NOT NULL, dir_ver INTEGER NOT NULL, parent INTEGER NOT NULL,
  unit INTEGER NOT NULL
) STRICT;
-- Inodes without names, for a restart.
CREATE INDEX orphan ON inode (ino) WHERE nlink = 0;

CREATE TABLE dentry (
  dir INTEGER NOT NULL, cookie INTEGER NOT NULL,
  name BLOB NOT NULL, ino INTEGER NOT NULL, kind INTEGER NOT NULL,
  PRIMARY KEY (dir, cookie)
) STRICT, WITHOUT ROWID;

CREATE TABLE xattr (
  ino INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY (ino, name)
) STRICT, WITHOUT ROWID;

-- With rowid: the rows can be long, and a tree of long keys is deep. `objects` counts the extents
-- in objects; it stands before the content, so that a scan for objects skips inline content.
CREATE TABLE stripe (
  ino INTEGER NOT NULL, idx INTEGER NOT NULL, objects INTEGER NOT NULL, extents BLOB NOT NULL,
  UNIQUE (ino, idx)
) STRICT;

CREATE TABLE session (
  sid INTEGER PRIMARY KEY, epoch INTEGER NOT NULL,
  uuid BLOB NOT NULL, verifier BLOB NOT NULL, description TEXT NOT NULL,
  floor INTEGER NOT NULL, absent INTEGER NOT NULL
) STRICT;

-- What was taken by force: a grant with its fence (locks = 0), or the record locks of an inode
-- (locks = 1, fence = 0).
CREATE TABLE lost (
  sid INTEGER NOT NULL, ino INTEGER NOT NULL, locks INTEGER NOT NULL, fence INTEGER NOT NULL,
  PRIMARY KEY (sid, ino, locks, fence)
) STRICT, WITHOUT ROWID;

-- Stored answers (PROTOCOL 2.7).
CREATE TABLE answer (
  sid INTEGER NOT NULL, op INTEGER NOT NULL, answer BLOB NOT NULL,
  PRIMARY KEY (sid, op)
) STRICT, WITHOUT ROWID;
";

/// An unsigned number as it is stored.
pub(super) fn stored(number: u64) -> i64 {
    number.cast_signed()
}

/// An unsigned number as it was stored.
pub(super) fn loaded(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

/// The stored ranges (both ends included) that `first..=last` becomes, in the order of the
/// unsigned numbers.
pub(super) fn runs(first: u64, last: u64) -> impl Iterator<Item = (i64, i64)> {
    const TOP: u64 = i64::MAX as u64;
    let low = (first, last.min(TOP));
    let high = (first.max(TOP + 1), last);
    [low, high].into_iter().filter(|(a, b)| a <= b).map(|(a, b)| (stored(a), stored(b)))
}

/// The number of a kind.
pub(super) fn kind_number(kind: Kind) -> i64 {
    match kind {
        Kind::Fifo => 1,
        Kind::CharDevice => 2,
        Kind::Directory => 4,
        Kind::BlockDevice => 6,
        Kind::File => 8,
        Kind::Symlink => 10,
        Kind::Socket => 12,
    }
}

fn kind_of(number: i64) -> Option<Kind> {
    Some(match number {
        1 => Kind::Fifo,
        2 => Kind::CharDevice,
        4 => Kind::Directory,
        6 => Kind::BlockDevice,
        8 => Kind::File,
        10 => Kind::Symlink,
        12 => Kind::Socket,
        _ => return None,
    })
}

/// Columns of an inode in the order of [`inode_of`]; `ino` is the first.
pub(super) const INODE_GET: &str = "
SELECT ino, kind, mode, uid, gid, nlink, rdev, size, blocks, atime_s, atime_ns, mtime_s, mtime_ns,
       ctime_s, ctime_ns, btime_s, btime_ns, attr_ver, content_ver, has_xattrs, link_target,
       dir_ver, parent, unit
FROM inode WHERE ino = ?1";

/// Adds an inode; parameters as in [`INODE_GET`].
pub(super) const INODE_ADD: &str = "
INSERT INTO inode VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                          ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)";

/// Changes an inode if it exists; parameters as in [`INODE_GET`].
pub(super) const INODE_SET: &str = "
UPDATE inode SET kind = ?2, mode = ?3, uid = ?4, gid = ?5, nlink = ?6, rdev = ?7, size = ?8,
       blocks = ?9, atime_s = ?10, atime_ns = ?11, mtime_s = ?12, mtime_ns = ?13, ctime_s = ?14,
       ctime_ns = ?15, btime_s = ?16, btime_ns = ?17, attr_ver = ?18, content_ver = ?19,
       has_xattrs = ?20, link_target = ?21, dir_ver = ?22, parent = ?23, unit = ?24
WHERE ino = ?1";

/// Runs [`INODE_ADD`] or [`INODE_SET`]; returns the number of rows changed.
pub(super) fn put_inode(
    statement: &mut rusqlite::Statement<'_>,
    ino: Ino,
    inode: &Inode,
) -> rusqlite::Result<usize> {
    let a = &inode.attr;
    statement.execute(rusqlite::params![
        stored(ino.0),
        kind_number(a.kind),
        a.mode,
        a.uid,
        a.gid,
        a.nlink,
        a.rdev,
        stored(a.size),
        stored(a.blocks),
        a.atime.seconds,
        a.atime.nanos,
        a.mtime.seconds,
        a.mtime.nanos,
        a.ctime.seconds,
        a.ctime.nanos,
        a.btime.seconds,
        a.btime.nanos,
        stored(a.attr_ver),
        stored(a.content_ver),
        a.has_xattrs,
        a.link_target,
        stored(a.dir_ver),
        stored(a.parent.0),
        stored(inode.unit),
    ])
}

/// A row of [`INODE_GET`]. The inner result is about the kind.
pub(super) fn inode_of(row: &Row<'_>) -> rusqlite::Result<Result<Inode>> {
    let ino = Ino(loaded(row, 0)?);
    let time = |column| -> rusqlite::Result<Timestamp> {
        Ok(Timestamp { seconds: row.get(column)?, nanos: row.get(column + 1)? })
    };
    let Some(kind) = kind_of(row.get(1)?) else {
        return Ok(Err(damaged(format_args!("inode {ino}"))));
    };
    let attr = Attr {
        ino,
        kind,
        mode: row.get(2)?,
        uid: row.get(3)?,
        gid: row.get(4)?,
        nlink: row.get(5)?,
        rdev: row.get(6)?,
        size: loaded(row, 7)?,
        blocks: loaded(row, 8)?,
        atime: time(9)?,
        mtime: time(11)?,
        ctime: time(13)?,
        btime: time(15)?,
        attr_ver: loaded(row, 17)?,
        content_ver: loaded(row, 18)?,
        has_xattrs: row.get(19)?,
        link_target: row.get(20)?,
        dir_ver: loaded(row, 21)?,
        parent: Ino(loaded(row, 22)?),
    };
    Ok(Ok(Inode { attr, unit: loaded(row, 23)? }))
}

/// Columns: cookie, name, ino, kind. The inner result is about name and kind.
pub(super) fn dentry_of(dir: Ino, row: &Row<'_>) -> rusqlite::Result<Result<Dentry>> {
    let cookie = loaded(row, 0)?;
    let name = Name::new(row.get_ref(1)?.as_bytes()?).ok();
    let (Some(name), Some(kind)) = (name, kind_of(row.get(3)?)) else {
        return Ok(Err(damaged(format_args!("entry {cookie} of directory {dir}"))));
    };
    Ok(Ok(Dentry { dir, cookie, name, ino: Ino(loaded(row, 2)?), kind }))
}

/// Columns: sid, epoch, uuid, verifier, description, floor, absent.
pub(super) fn session_of(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        sid: SessionId(loaded(row, 0)?),
        epoch: loaded(row, 1)?,
        uuid: row.get(2)?,
        verifier: row.get(3)?,
        description: row.get(4)?,
        floor: loaded(row, 5)?,
        absent: row.get(6)?,
    })
}

/// Columns: sid, ino, locks, fence.
pub(super) fn lost_of(row: &Row<'_>) -> rusqlite::Result<LostRow> {
    let fence = Fence(loaded(row, 3)?);
    let locks: bool = row.get(2)?;
    Ok(LostRow {
        sid: SessionId(loaded(row, 0)?),
        ino: Ino(loaded(row, 1)?),
        fence: (!locks).then_some(fence),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_keep_unsigned_order() {
        let top = i64::MAX as u64;
        let split = |a, b| runs(a, b).collect::<Vec<_>>();
        assert_eq!(split(0, 5), [(0, 5)]);
        assert_eq!(split(5, 0), []);
        assert_eq!(split(7, u64::MAX), [(7, i64::MAX), (i64::MIN, -1)]);
        assert_eq!(split(top, top + 1), [(i64::MAX, i64::MAX), (i64::MIN, i64::MIN)]);
        assert_eq!(split(top + 3, top + 5), [(i64::MIN + 2, i64::MIN + 4)]);
    }

    #[test]
    fn kinds_round_trip() {
        let all = (0..=20).filter_map(kind_of).collect::<Vec<_>>();
        assert_eq!(all.len(), 7);
        assert!(all.iter().all(|&k| kind_of(kind_number(k)) == Some(k)));
    }
}
