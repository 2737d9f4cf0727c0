//! Reads: each in a transaction of its own on one of the read connections.

use super::schema::{self, loaded, runs, stored};
use super::{SqliteStore, failed};
use crate::metastore::Read;
use crate::metastore::codec::stripe;
use crate::metastore::damaged;
use crate::metastore::rows::{Dentry, Inode, LostRow, SessionRow, Stripe};
use dfs_core::{FsError, Ino, OpId, Result, SessionId};
use rusqlite::{Connection, OptionalExtension, Params, Row};

const DENTRIES: &str = "SELECT cookie, name, ino, kind FROM dentry
    WHERE dir = ?1 AND cookie BETWEEN ?2 AND ?3 ORDER BY cookie LIMIT ?4";
const XATTRS: &str = "SELECT name, value FROM xattr WHERE ino = ?1 ORDER BY name";
const STRIPES: &str =
    "SELECT idx, extents FROM stripe WHERE ino = ?1 AND idx BETWEEN ?2 AND ?3 ORDER BY idx";
const ANSWER: &str = "SELECT answer FROM answer WHERE sid = ?1 AND op = ?2";
const NUMBER: &str = "SELECT value FROM number WHERE name = ?1";
const SESSIONS: &str = "SELECT sid, epoch, uuid, verifier, description, floor, absent FROM session";
const LOST: &str = "SELECT sid, ino, locks, fence FROM lost";
const ORPHANS: &str = "SELECT ino FROM inode WHERE nlink = 0";
const INODES: &str = "SELECT inodes FROM leader";
const COOKIE_KEY: &str = "SELECT value FROM config WHERE name = 'cookie_key'";

impl Read for SqliteStore {
    fn inode(&self, ino: Ino) -> Result<Option<Inode>> {
        let conn = self.readers.lend();
        let row = one(&conn, "read an inode", schema::INODE_GET, [stored(ino.0)], |row| {
            schema::inode_of(row)
        })?;
        row.transpose()
    }

    fn dentries(&self, dir: Ino, first: u64, last: u64, limit: usize) -> Result<Vec<Dentry>> {
        let conn = self.readers.lend();
        let mut rows = Vec::new();
        for (first, last) in runs(first, last) {
            let left = i64::try_from(limit - rows.len()).unwrap_or(i64::MAX);
            let params = (stored(dir.0), first, last, left);
            let found = all(&conn, "read a directory", DENTRIES, params, |row| {
                schema::dentry_of(dir, row)
            })?;
            for dentry in found {
                rows.push(dentry?);
            }
        }
        Ok(rows)
    }

    fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let conn = self.readers.lend();
        all(&conn, "read xattrs", XATTRS, [stored(ino.0)], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn stripes(&self, ino: Ino, first: u64, last: u64) -> Result<Vec<(u64, Stripe)>> {
        let conn = self.readers.lend();
        let mut rows = Vec::new();
        for (first, last) in runs(first, last) {
            let params = (stored(ino.0), first, last);
            let found = all(&conn, "read stripes", STRIPES, params, |row| {
                let index = loaded(row, 0)?;
                Ok((index, stripe::decode(ino, index, row.get_ref(1)?.as_blob()?)))
            })?;
            for (index, stripe) in found {
                rows.push((index, stripe?));
            }
        }
        Ok(rows)
    }

    fn answer(&self, sid: SessionId, op: OpId) -> Result<Option<Vec<u8>>> {
        let conn = self.readers.lend();
        one(&conn, "read an answer", ANSWER, [stored(sid.0), stored(op.0)], |row| row.get(0))
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        let conn = self.readers.lend();
        one(&conn, "read a number", NUMBER, [name], |row| loaded(row, 0))
    }
}

/// The row of `sql`, if there is one.
fn one<T>(
    conn: &Connection,
    attempt: &str,
    sql: &str,
    params: impl Params,
    row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    let found = conn.prepare_cached(sql).and_then(|mut s| s.query_row(params, row).optional());
    found.map_err(|e| failed(attempt, &e))
}

/// All rows of `sql`.
fn all<T>(
    conn: &Connection,
    attempt: &str,
    sql: &str,
    params: impl Params,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let found = conn.prepare_cached(sql).and_then(|mut s| s.query_map(params, row)?.collect());
    found.map_err(|e| failed(attempt, &e))
}

/// See [`MetaStore::recover`](crate::metastore::MetaStore::recover).
pub(super) fn recover(store: &SqliteStore) -> Result<crate::metastore::Recovered> {
    const ATTEMPT: &str = "read the state of the last leader";
    let conn = store.readers.lend();
    let txn = conn.unchecked_transaction().map_err(|e| failed(ATTEMPT, &e))?;
    let mut sessions: Vec<SessionRow> = all(&txn, ATTEMPT, SESSIONS, (), schema::session_of)?;
    let mut lost: Vec<LostRow> = all(&txn, ATTEMPT, LOST, (), schema::lost_of)?;
    let mut orphans = all(&txn, ATTEMPT, ORPHANS, (), |row| loaded(row, 0).map(Ino))?;
    // The stored order is that of signed numbers.
    sessions.sort_by_key(|row| row.sid);
    lost.sort();
    orphans.sort();
    let cookie_key = one(&txn, ATTEMPT, COOKIE_KEY, (), |row| row.get(0))?
        .ok_or_else(|| damaged("the table config"))?;
    let inodes = inode_count(&txn)?;
    Ok(crate::metastore::Recovered { sessions, lost, orphans, cookie_key, inodes })
}

/// Number of inodes, kept by every commit.
pub(super) fn inode_count(conn: &Connection) -> Result<u64> {
    one(conn, "count inodes", INODES, (), |row| loaded(row, 0))?
        .ok_or_else(|| damaged("the table leader"))
}

/// Calls `each` for every object in one long read on a connection of its own. The log cannot start
/// over meanwhile: it grows with what is written during the walk.
pub(super) fn each_object(
    store: &SqliteStore,
    each: &mut dyn FnMut(dfs_core::extent::ObjectName),
) -> Result<()> {
    let conn = super::open::connect_reader(&store.path)?;
    let fail = |e: rusqlite::Error| failed("list objects", &e);
    let sql = "SELECT ino, idx, extents FROM stripe WHERE objects > 0";
    let mut statement = conn.prepare(sql).map_err(fail)?;
    let mut rows = statement.query(()).map_err(fail)?;
    while let Some(row) = rows.next().map_err(fail)? {
        let ino = Ino(loaded(row, 0).map_err(fail)?);
        let index = loaded(row, 1).map_err(fail)?;
        let blob = row.get_ref(2).and_then(|v| v.as_blob().map_err(Into::into)).map_err(fail)?;
        let stripe: Result<Stripe, FsError> = stripe::decode(ino, index, blob);
        stripe::objects(&stripe?).for_each(&mut *each);
    }
    Ok(())
}
