//! The index: what is known about the clean content of each working file, in SQLite.
//!
//! Written lazily, so after a crash a row may be older than its file. That is safe: a row is
//! believed for the version it names only, holes are served from the row and not from the file, and
//! every other byte must match its checksum. A damaged index is thrown away.
//!
//! It also knows where the content of small files is, which have no working file (docs/design/0022, 0042).

use super::folder::Folder;
use super::pack::Pack;
use super::sums::Sums;
use dfs_core::range::{Range, RangeSet};
use dfs_core::{Code, FsError, Ino, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Format of the tables; another one is thrown away.
const FORMAT: i64 = 3;
/// SQLite's access to files for one process alone, which the lock of the folder makes sure of: it locks
/// the database once and not around each transaction.
const VFS: &str = "unix-excl";
/// Longest wait of one connection for the other.
const BUSY_WAIT: Duration = Duration::from_secs(5);
const TABLES: &str = "
    CREATE TABLE file (ino INTEGER PRIMARY KEY, ver INTEGER NOT NULL, size INTEGER NOT NULL,
        disk INTEGER NOT NULL, used INTEGER NOT NULL, sum INTEGER NOT NULL, holes BLOB NOT NULL);
    CREATE TABLE sums (ino INTEGER, chunk INTEGER, pieces BLOB NOT NULL,
        PRIMARY KEY (ino, chunk)) WITHOUT ROWID;
    CREATE TABLE content (ino INTEGER PRIMARY KEY, at INTEGER NOT NULL, len INTEGER NOT NULL);";

/// One file, as far as the list of all files needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub ino: Ino,
    /// Version its content belongs to.
    pub ver: u64,
    /// Size of that version.
    pub size: u64,
    /// Bytes it takes on disk.
    pub disk: u64,
    /// Grows with every use of any file.
    pub used: u64,
    /// Its content is with the index, and in no file of its own.
    pub kept: bool,
}

/// A changed row.
#[derive(Clone, Debug)]
pub struct Row {
    /// The row without its blobs.
    pub listed: Listed,
    /// Holes of the version.
    pub holes: RangeSet,
    /// Changed rows of checksums; an empty one is removed.
    pub chunks: Vec<(u64, Vec<u8>)>,
    /// Rows of checksums that are not in `chunks` are void.
    pub whole: bool,
    /// The content, if it is in no file of its own.
    pub content: Option<Vec<u8>>,
}

/// The clean content of a file.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Bytes that are zero.
    pub holes: RangeSet,
    /// Checksums of the others.
    pub sums: Sums,
    /// The bytes, if they are in no file of their own.
    pub content: Option<Vec<u8>>,
}

/// Changes written in one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// Files that left the cache.
    pub gone: Vec<Ino>,
    /// Files whose content changed.
    pub rows: Vec<Row>,
    /// Files that were only used.
    pub used: Vec<(Ino, u64)>,
}

/// The open index. Reading does not wait for a write that is running.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    write: Mutex<Connection>,
    read: Mutex<Connection>,
    pack: Pack,
}

impl Index {
    /// Opens the index and lists its files, the least recently used first. One that is damaged, or
    /// of another format, is replaced by an empty one.
    pub fn open(folder: &Folder) -> Result<(Index, Vec<Listed>)> {
        let path = folder.index();
        match try_open(folder) {
            Ok(opened) => Ok(opened),
            Err(e) => {
                tracing::warn!(path = %path.display(), error = %e,
                    "the cache index cannot be used: starting with an empty cache");
                for suffix in ["", "-wal", "-shm"] {
                    super::disk::remove(&folder.root().join(format!("index.db{suffix}")))?;
                }
                super::disk::remove(&folder.small())?;
                try_open(folder)
            }
        }
    }

    /// The clean content known of version `ver` of a file; nothing if the row is of another version
    /// or damaged.
    pub fn load(&self, ino: Ino, ver: u64, size: u64) -> Result<Option<Known>> {
        let row = load(&lock(&self.read), ino, ver, size);
        let row = row.map_err(|e| sql_error("read", &self.path, &e))?;
        let Some((known, place)) = row else { return Ok(None) };
        let content = place.map(|place| self.pack.read(place)).transpose()?;
        Ok(Some(Known { content, ..known }))
    }

    /// Writes all changes or none.
    pub fn save(&self, batch: &Batch) -> Result<()> {
        let mut db = lock(&self.write);
        let places = self.write_contents(&batch.rows)?;
        let mut write = || {
            let tx = db.transaction()?;
            let left = save(&tx, batch, &places)?;
            tx.commit().map(|()| left)
        };
        match write() {
            Ok(left) => {
                self.give_back(left);
                Ok(())
            }
            Err(e) => {
                self.give_back(places.into_iter().flatten());
                Err(sql_error("write", &self.path, &e))
            }
        }
    }

    /// Where the contents of the rows are from now on; none are written if one cannot be.
    fn write_contents(&self, rows: &[Row]) -> Result<Vec<Option<Range>>> {
        let mut places = Vec::with_capacity(rows.len());
        for row in rows {
            match row.content.as_deref().map(|bytes| self.pack.write(bytes)).transpose() {
                Ok(place) => places.push(place),
                Err(error) => {
                    self.give_back(places.into_iter().flatten());
                    return Err(error);
                }
            }
        }
        Ok(places)
    }

    fn give_back(&self, places: impl IntoIterator<Item = Range>) {
        places.into_iter().for_each(|place| self.pack.give_back(place));
    }
}

fn lock(db: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    db.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sql_error(what: &str, path: &Path, e: &rusqlite::Error) -> FsError {
    let code = match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => Code::NoSpace,
        _ => Code::Io,
    };
    FsError::new(code, format!("cannot {what} {}: {e}", path.display()))
}

fn try_open(folder: &Folder) -> Result<(Index, Vec<Listed>)> {
    let path = folder.index();
    let failed = |e| sql_error("open", &path, &e);
    let (write, read) = (connect(&path).map_err(failed)?, connect(&path).map_err(failed)?);
    let format = format(&write).map_err(failed)?;
    if format != FORMAT {
        let text = format!("{} has format {format}, not {FORMAT}", path.display());
        return Err(FsError::new(Code::Io, text));
    }
    let (files, places) = (list(&read).map_err(failed)?, places(&read).map_err(failed)?);
    let pack = Pack::open(&folder.small(), places)?;
    Ok((Index { path, write: Mutex::new(write), read: Mutex::new(read), pack }, files))
}

/// The format of the tables, which are made if there are none.
fn format(db: &Connection) -> rusqlite::Result<i64> {
    let format = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if format != 0 {
        return Ok(format);
    }
    db.execute_batch(TABLES)?;
    db.pragma_update(None, "user_version", FORMAT)?;
    Ok(FORMAT)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // A connection is used by one thread at a time, SQLite needs no mutex for that.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags_and_vfs(path, flags, VFS)?;
    // Else SQLite, built with STAT4 as here, plans a statement anew whenever the value of a parameter
    // changes: several times the cost of a read.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.busy_timeout(BUSY_WAIT)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "normal")?;
    Ok(db)
}

fn list(db: &Connection) -> rusqlite::Result<Vec<Listed>> {
    let mut query = db.prepare(
        "SELECT f.ino, ver, size, disk, used, c.ino IS NOT NULL
         FROM file f LEFT JOIN content c ON c.ino = f.ino",
    )?;
    let files = query.query_map([], |row| {
        Ok(Listed {
            ino: Ino(row.get::<_, i64>(0)? as u64),
            ver: row.get::<_, i64>(1)? as u64,
            size: row.get::<_, i64>(2)? as u64,
            disk: row.get::<_, i64>(3)? as u64,
            used: row.get::<_, i64>(4)? as u64,
            kept: row.get(5)?,
        })
    })?;
    let mut files = files.collect::<rusqlite::Result<Vec<Listed>>>()?;
    files.sort_by_key(|file| file.used);
    Ok(files)
}

/// Where contents are.
fn places(db: &Connection) -> rusqlite::Result<Vec<Range>> {
    let mut query = db.prepare("SELECT at, len FROM content")?;
    query.query_map([], |row| place(row.get(0)?, row.get(1)?))?.collect()
}

fn place(at: i64, len: i64) -> rusqlite::Result<Range> {
    let end = at.checked_add(len).filter(|_| at >= 0 && len >= 0);
    let end = end.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, at))?;
    Ok(Range::new(at as u64, end as u64))
}

/// What a row knows, and where the content is, if that is in no file of its own. One statement, so that
/// all it reads is of one moment, without beginning and ending a transaction.
fn load(
    db: &Connection,
    ino: Ino,
    ver: u64,
    size: u64,
) -> rusqlite::Result<Option<(Known, Option<Range>)>> {
    let mut query = db.prepare_cached(
        "SELECT f.sum, f.holes, c.at, c.len, s.chunk, s.pieces
         FROM file f LEFT JOIN content c ON c.ino = f.ino LEFT JOIN sums s ON s.ino = f.ino
         WHERE f.ino = ? AND f.ver = ? AND f.size = ? ORDER BY s.chunk",
    )?;
    let mut rows = query.query(params![ino.0 as i64, ver as i64, size as i64])?;
    let mut known = None;
    while let Some(row) = rows.next()? {
        if known.is_none() {
            let holes = row.get_ref(1)?.as_blob()?;
            if row.get::<_, i64>(0)? != row_sum(ino, ver, size, holes) {
                tracing::warn!(%ino, "row of the cache index is damaged: its content is fetched again");
                return Ok(None);
            }
            let holes = decode_ranges(holes);
            let at = row.get::<_, Option<i64>>(2)?.zip(row.get::<_, Option<i64>>(3)?);
            let at = at.map(|(at, len)| place(at, len)).transpose()?;
            known = Some((Known { holes, ..Known::default() }, at));
        }
        if let (Some((known, _)), Some(chunk)) = (&mut known, row.get::<_, Option<i64>>(4)?) {
            known.sums.decode(chunk as u64, row.get_ref(5)?.as_blob()?);
        }
    }
    Ok(known)
}

/// `contents`: where those of the rows are. Returns places that nothing refers to any more.
fn save(
    tx: &Transaction<'_>,
    batch: &Batch,
    contents: &[Option<Range>],
) -> rusqlite::Result<Vec<Range>> {
    let mut drop_file = tx.prepare("DELETE FROM file WHERE ino = ?")?;
    let mut drop_sums = tx.prepare("DELETE FROM sums WHERE ino = ?")?;
    let mut drop_chunk = tx.prepare("DELETE FROM sums WHERE ino = ? AND chunk = ?")?;
    let mut put_file = tx.prepare("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?)")?;
    let mut put_chunk = tx.prepare("INSERT OR REPLACE INTO sums VALUES (?, ?, ?)")?;
    let mut drop_content = tx.prepare("DELETE FROM content WHERE ino = ? RETURNING at, len")?;
    let mut put_content = tx.prepare("INSERT INTO content VALUES (?, ?, ?)")?;
    let mut put_used = tx.prepare("UPDATE file SET used = ? WHERE ino = ?")?;
    let mut left = Vec::new();
    let mut drop_content = |ino: i64| -> rusqlite::Result<()> {
        let place = drop_content.query_row([ino], |row| place(row.get(0)?, row.get(1)?));
        left.extend(place.optional()?);
        Ok(())
    };
    for ino in &batch.gone {
        drop_file.execute([ino.0 as i64])?;
        drop_sums.execute([ino.0 as i64])?;
        drop_content(ino.0 as i64)?;
    }
    for (row, content) in batch.rows.iter().zip(contents) {
        let Listed { ino, ver, size, disk, used, .. } = row.listed;
        let holes = encode_ranges(&row.holes);
        let sum = row_sum(ino, ver, size, &holes);
        let ino = ino.0 as i64;
        put_file.execute(params![
            ino,
            ver as i64,
            size as i64,
            disk as i64,
            used as i64,
            sum,
            holes
        ])?;
        drop_content(ino)?;
        if let Some(place) = content {
            put_content.execute(params![ino, place.start as i64, place.len() as i64])?;
        }
        if row.whole {
            drop_sums.execute([ino])?;
        }
        for (chunk, pieces) in &row.chunks {
            match pieces.is_empty() {
                true => drop_chunk.execute(params![ino, *chunk as i64])?,
                false => put_chunk.execute(params![ino, *chunk as i64, pieces])?,
            };
        }
    }
    for (ino, used) in &batch.used {
        put_used.execute(params![*used as i64, ino.0 as i64])?;
    }
    Ok(left)
}

/// Binds holes to the version they belong to; the other bytes have checksums of their own.
fn row_sum(ino: Ino, ver: u64, size: u64, holes: &[u8]) -> i64 {
    let head = [ino.0, ver, size].map(u64::to_le_bytes);
    i64::from(crc32c::crc32c_append(crc32c::crc32c(head.as_flattened()), holes))
}

fn encode_ranges(set: &RangeSet) -> Vec<u8> {
    set.iter().flat_map(|r| [r.start, r.end]).flat_map(u64::to_le_bytes).collect()
}

fn decode_ranges(bytes: &[u8]) -> RangeSet {
    let numbers = bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b));
    let numbers: Vec<u64> = numbers.collect();
    numbers.as_chunks::<2>().0.iter().map(|[start, end]| Range::new(*start, *end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ino: u64, ver: u64) -> Row {
        let mut sums = Sums::default();
        sums.add(0, &[7; 100]);
        Row {
            listed: Listed {
                ino: Ino(ino),
                ver,
                size: 500,
                disk: 4096,
                used: if ino < 100 { 100 - ino } else { 100 },
                kept: ino == 1,
            },
            holes: [Range::new(200, 300), Range::new(400, 500)].into_iter().collect(),
            chunks: sums.take_changed(),
            whole: true,
            content: (ino == 1).then(|| vec![7; 100]),
        }
    }

    #[test]
    fn index_returns_what_was_saved() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let (index, files) = Index::open(&folder).unwrap();
        assert!(files.is_empty());
        let big = Ino(u64::MAX - 3);
        let rows = vec![row(1, 5), row(2, 6), row(big.0, 7)];
        index.save(&Batch { rows, ..Batch::default() }).unwrap();
        drop(index);
        let (index, files) = Index::open(&folder).unwrap();
        assert_eq!(files.len(), 3);
        let order: Vec<Ino> = files.iter().map(|f| f.ino).collect();
        assert_eq!(order, [Ino(2), Ino(1), big]);
        assert_eq!(files.iter().map(|f| f.kept).collect::<Vec<_>>(), [false, true, false]);
        let known = index.load(Ino(1), 5, 500).unwrap().unwrap();
        assert_eq!(known.holes, row(1, 5).holes);
        assert_eq!(known.sums.iter().collect::<Vec<_>>(), [Range::new(0, 100)]);
        assert_eq!(known.content, Some(vec![7; 100]));
        assert_eq!(index.load(Ino(2), 6, 500).unwrap().unwrap().content, None);
        assert!(index.load(Ino(1), 6, 500).unwrap().is_none());
        assert!(index.load(big, 7, 500).unwrap().is_some());
        index
            .save(&Batch { gone: vec![Ino(1)], used: vec![(Ino(2), 1)], ..Batch::default() })
            .unwrap();
        let (_, files) = Index::open(&folder).unwrap();
        assert_eq!(files.iter().map(|f| f.ino).collect::<Vec<_>>()[0], Ino(2));
        assert!(index.load(Ino(1), 5, 500).unwrap().is_none());
    }

    #[test]
    fn index_row_with_a_wrong_hole_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let (index, _) = Index::open(&folder).unwrap();
        index.save(&Batch { rows: vec![row(1, 5)], ..Batch::default() }).unwrap();
        let db = connect(&folder.index()).unwrap();
        db.execute("UPDATE file SET holes = zeroblob(16)", []).unwrap();
        assert!(index.load(Ino(1), 5, 500).unwrap().is_none());
    }

    #[test]
    fn index_that_is_damaged_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        std::fs::write(folder.index(), [0x5a; 10_000]).unwrap();
        let (index, files) = Index::open(&folder).unwrap();
        assert!(files.is_empty());
        index.save(&Batch { rows: vec![row(1, 5)], ..Batch::default() }).unwrap();
    }
}
