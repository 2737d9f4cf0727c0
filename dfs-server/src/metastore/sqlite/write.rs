//! Commits, on the one write connection.

use super::schema::{self, kind_number, loaded, runs, stored};
use super::{SqliteStore, failed, read};
use crate::disk;
use crate::metastore::codec::stripe;
use crate::metastore::damaged;
use crate::metastore::{Batch, Durability, MetaStore, Recovered};
use dfs_core::extent::ObjectName;
use dfs_core::{Code, FsError, OpId, Result, Seq};
use rusqlite::{Connection, ffi, params};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// The write connection and the durability it is set to.
pub(super) struct Writer {
    conn: Connection,
    durability: Durability,
}

impl Writer {
    /// Over a connection with `synchronous=FULL`.
    pub(super) fn new(conn: Connection) -> Writer {
        Writer { conn, durability: Durability::Strict }
    }

    fn set_durability(&mut self, durability: Durability) -> rusqlite::Result<()> {
        if self.durability == durability {
            return Ok(());
        }
        let level = match durability {
            Durability::Strict => "FULL",
            Durability::Relaxed => "NORMAL",
        };
        self.conn.pragma_update(None, "synchronous", level)?;
        self.durability = durability;
        Ok(())
    }
}

impl MetaStore for SqliteStore {
    fn epoch(&self) -> Result<u16> {
        stored_epoch(&self.readers.lend())
    }

    fn raise_epoch(&self) -> Result<u16> {
        self.write(Durability::Strict, |txn| {
            let fail = |e| failed("raise the leader epoch", &e);
            let epoch = stored_epoch(txn)?.checked_add(1).ok_or_else(|| {
                FsError::new(Code::Overflow, "metadata store: leader epoch 65535 was the last")
            })?;
            txn.execute("UPDATE leader SET epoch = ?1", [epoch]).map_err(fail)?;
            Ok(epoch)
        })
    }

    fn recover(&self) -> Result<Recovered> {
        read::recover(self)
    }

    fn inodes(&self) -> Result<u64> {
        read::inode_count(&self.readers.lend())
    }

    fn commit(&self, epoch: u16, seq: Seq, batch: &Batch, durability: Durability) -> Result<()> {
        batch.check()?;
        self.write(durability, |txn| {
            let now = stored_epoch(txn)?;
            if now != epoch {
                let text = format!("commit {seq} of leader epoch {epoch}, now it is {now}");
                return Err(FsError::new(Code::StaleLeader, text));
            }
            apply(txn, seq, batch).map_err(|e| failed(&format!("commit {seq}"), &e))
        })
    }

    fn flush(&self) -> Result<()> {
        let log = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_usable()?;
        // Before the sync: a commit that comes after this line asks for another one.
        if !self.unsynced.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        log.sync_data().map_err(|e| {
            self.broken.store(true, Ordering::Release);
            disk::failed("sync the log of the metadata store", &e)
        })
    }

    fn each_object(&self, each: &mut dyn FnMut(ObjectName)) -> Result<()> {
        read::each_object(self, each)
    }
}

impl SqliteStore {
    /// Runs `change` in a transaction and commits it; on a failure nothing of it is visible.
    fn write<T>(
        &self,
        durability: Durability,
        change: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_usable()?;
        writer.set_durability(durability).map_err(|e| failed("set the durability", &e))?;
        let txn =
            Transaction::begin(&writer.conn).map_err(|e| failed("start a transaction", &e))?;
        let result = change(txn.conn)?;
        txn.commit().map_err(|e| {
            if is_failed_sync(&e) {
                self.broken.store(true, Ordering::Release);
            }
            failed("commit", &e)
        })?;
        if durability == Durability::Relaxed {
            self.unsynced.store(true, Ordering::Release);
        }
        Ok(result)
    }
}

/// A transaction, rolled back if it is dropped. One of rusqlite parses its statements anew each time:
/// a tenth of a small commit.
struct Transaction<'a> {
    conn: &'a Connection,
}

impl<'a> Transaction<'a> {
    fn begin(conn: &'a Connection) -> rusqlite::Result<Transaction<'a>> {
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
        Ok(Transaction { conn })
    }

    fn commit(self) -> rusqlite::Result<()> {
        self.conn.prepare_cached("COMMIT")?.execute(()).map(drop)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Committed, or rolled back by SQLite itself.
        if self.conn.is_autocommit() {
            return;
        }
        let rolled_back = self.conn.prepare_cached("ROLLBACK").and_then(|mut s| s.execute(()));
        if let Err(error) = rolled_back {
            tracing::error!(%error, "a failed change of the metadata store could not be undone");
        }
    }
}

fn is_failed_sync(err: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(e, _) = err else { return false };
    matches!(e.extended_code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
}

fn stored_epoch(conn: &Connection) -> Result<u16> {
    conn.prepare_cached("SELECT epoch FROM leader")
        .and_then(|mut s| s.query_row((), |row| loaded(row, 0)))
        .map_err(|e| failed("read the leader epoch", &e))?
        .try_into()
        .map_err(|_| damaged("the table leader"))
}

/// Puts rows first, then forgets sessions and answers: what a batch forgets stays forgotten.
fn apply(txn: &Connection, seq: Seq, batch: &Batch) -> rusqlite::Result<()> {
    let more_inodes = put_inodes(txn, batch)?;
    put_dentries(txn, batch)?;
    put_xattrs(txn, batch)?;
    put_stripes(txn, batch)?;
    put_sessions(txn, batch)?;
    put_answers(txn, batch)?;
    forget(txn, batch)?;
    put_numbers(txn, batch)?;
    txn.prepare_cached("UPDATE leader SET seq = ?1, inodes = inodes + ?2")?
        .execute((stored(seq.0), more_inodes))?;
    Ok(())
}

/// Returns by how much the number of inodes grows.
fn put_inodes(txn: &Connection, batch: &Batch) -> rusqlite::Result<i64> {
    let mut set = txn.prepare_cached(schema::INODE_SET)?;
    let mut add = txn.prepare_cached(schema::INODE_ADD)?;
    let mut delete = txn.prepare_cached("DELETE FROM inode WHERE ino = ?1")?;
    let mut more = 0;
    for (ino, row) in &batch.inodes {
        match row {
            // Changed first, then added: an upsert would not tell which of them it did.
            Some(inode) => {
                if schema::put_inode(&mut set, *ino, inode)? == 0 {
                    schema::put_inode(&mut add, *ino, inode)?;
                    more += 1;
                }
            }
            None => more -= delete.execute([stored(ino.0)])?.cast_signed() as i64,
        }
    }
    Ok(more)
}

fn put_dentries(txn: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    if batch.dentries.is_empty() {
        return Ok(());
    }
    let mut put = txn.prepare_cached("REPLACE INTO dentry VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut delete = txn.prepare_cached("DELETE FROM dentry WHERE dir = ?1 AND cookie = ?2")?;
    for ((dir, cookie), row) in &batch.dentries {
        let (dir, cookie) = (stored(dir.0), stored(*cookie));
        match row {
            Some(d) => put.execute(params![
                dir,
                cookie,
                d.name.as_bytes(),
                stored(d.ino.0),
                kind_number(d.kind)
            ])?,
            None => delete.execute((dir, cookie))?,
        };
    }
    Ok(())
}

fn put_xattrs(txn: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    if batch.xattrs.is_empty() {
        return Ok(());
    }
    let mut put = txn.prepare_cached("REPLACE INTO xattr VALUES (?1, ?2, ?3)")?;
    let mut delete = txn.prepare_cached("DELETE FROM xattr WHERE ino = ?1 AND name = ?2")?;
    for ((ino, name), value) in &batch.xattrs {
        match value {
            Some(value) => put.execute((stored(ino.0), name, value))?,
            None => delete.execute((stored(ino.0), name))?,
        };
    }
    Ok(())
}

fn put_stripes(txn: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    if batch.stripes.is_empty() {
        return Ok(());
    }
    let mut put = txn.prepare_cached(
        "INSERT INTO stripe (ino, idx, objects, extents) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (ino, idx) DO UPDATE SET objects = excluded.objects, extents = excluded.extents",
    )?;
    let mut delete = txn.prepare_cached("DELETE FROM stripe WHERE ino = ?1 AND idx = ?2")?;
    for ((ino, index), row) in &batch.stripes {
        let (ino, index) = (stored(ino.0), stored(*index));
        match row {
            Some(row) => {
                let objects = stripe::objects(row).count() as i64;
                put.execute((ino, index, objects, stripe::encode(row)))?
            }
            None => delete.execute((ino, index))?,
        };
    }
    Ok(())
}

fn put_sessions(txn: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    if batch.sessions.is_empty() && batch.lost.is_empty() {
        return Ok(());
    }
    let mut put = txn.prepare_cached("REPLACE INTO session VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let mut delete = txn.prepare_cached("DELETE FROM session WHERE sid = ?1")?;
    for (sid, row) in &batch.sessions {
        let sid = stored(sid.0);
        match row {
            Some(s) => {
                let (epoch, floor) = (stored(s.epoch), stored(s.floor));
                let (uuid, verifier, text) = (&s.uuid, &s.verifier, &s.description);
                put.execute(params![sid, epoch, uuid, verifier, text, floor, s.absent])?
            }
            None => delete.execute([sid])?,
        };
    }
    let mut lose = txn.prepare_cached("REPLACE INTO lost VALUES (?1, ?2, ?3, ?4)")?;
    for row in &batch.lost {
        let (locks, fence) = (row.fence.is_none(), row.fence.unwrap_or_default());
        lose.execute((stored(row.sid.0), stored(row.ino.0), locks, stored(fence.0)))?;
    }
    Ok(())
}

fn put_answers(txn: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    let mut put = txn.prepare_cached("REPLACE INTO answer VALUES (?1, ?2, ?3)")?;
    for ((sid, op), answer) in &batch.answers {
        put.execute((stored(sid.0), stored(op.0), answer))?;
    }
    Ok(())
}

fn forget(txn: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    if batch.answers_done.is_empty() && batch.forget_sessions.is_empty() {
        return Ok(());
    }
    let mut done =
        txn.prepare_cached("DELETE FROM answer WHERE sid = ?1 AND op BETWEEN ?2 AND ?3")?;
    for (sid, OpId(first_kept)) in &batch.answers_done {
        let Some(last) = first_kept.checked_sub(1) else { continue };
        for (first, last) in runs(0, last) {
            done.execute((stored(sid.0), first, last))?;
        }
    }
    let mut answers = txn.prepare_cached("DELETE FROM answer WHERE sid = ?1")?;
    let mut lost = txn.prepare_cached("DELETE FROM lost WHERE sid = ?1")?;
    for sid in &batch.forget_sessions {
        answers.execute([stored(sid.0)])?;
        lost.execute([stored(sid.0)])?;
    }
    Ok(())
}

fn put_numbers(txn: &Connection, batch: &Batch) -> rusqlite::Result<()> {
    if batch.numbers.is_empty() {
        return Ok(());
    }
    let mut put = txn.prepare_cached("REPLACE INTO number VALUES (?1, ?2)")?;
    for (name, number) in &batch.numbers {
        put.execute((name, stored(*number)))?;
    }
    Ok(())
}
