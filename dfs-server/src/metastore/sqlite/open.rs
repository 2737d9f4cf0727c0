//! Opening and making the database file, and the settings of its connections.

use super::{Readers, SqliteStore, failed, schema, write::Writer};
use crate::disk;
use dfs_core::{Code, FsError, Result};
use rand::TryRng;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

/// Connections that read; more callers than this wait for each other, microseconds each.
const READERS: usize = 4;
/// Page cache of the writer. Kept across its own commits.
const WRITER_CACHE_KIB: i64 = 256 * 1024;
/// Page cache of a reader. SQLite empties it after every commit of the writer: more is no use.
const READER_CACHE_KIB: i64 = 16 * 1024;
/// SQLite's access to files for one process alone: it locks the database once and not around each
/// transaction, which costs more system calls than the reads.
const VFS: &str = "unix-excl";
/// Prepared statements a connection keeps: all there are.
const STATEMENTS: usize = 48;

impl SqliteStore {
    /// Opens the database at `path`, makes it if it is missing. The caller holds the lock of the
    /// folder. Fails with `NotSupported` (a newer format), `Invalid` (not a dfs database),
    /// `NoSpace` or `Io`.
    pub fn open(path: &Path) -> Result<SqliteStore> {
        let writer = connect(path, WRITER_CACHE_KIB)?;
        check_or_make(&writer, path)?;
        set_up_writer(&writer).map_err(|e| failed("set up the write connection", &e))?;
        // The names of the database and its log, new or not.
        disk::sync_folder(path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new(".")))?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            readers.push(connect_reader(path)?);
        }
        Ok(SqliteStore {
            syncing: Mutex::new(open_log(path)?),
            path: path.to_path_buf(),
            readers: Readers::new(readers),
            writer: Mutex::new(Writer::new(writer)),
            // A process that was killed may have left commits that no sync has covered.
            unsynced: AtomicBool::new(true),
            broken: AtomicBool::new(false),
        })
    }
}

fn open_log(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    let log = PathBuf::from(name);
    File::open(&log).map_err(|e| disk::failed(format_args!("open {}", log.display()), &e))
}

/// A connection that cannot write.
pub(super) fn connect_reader(path: &Path) -> Result<Connection> {
    let conn = connect(path, READER_CACHE_KIB)?;
    conn.pragma_update(None, "query_only", true).map_err(|e| failed("set up a reader", &e))?;
    Ok(conn)
}

fn connect(path: &Path, cache_kib: i64) -> Result<Connection> {
    // A connection is used by one thread at a time, SQLite needs no mutex for that.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let set_up = || -> rusqlite::Result<Connection> {
        let conn = Connection::open_with_flags_and_vfs(path, flags, VFS)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        // Else SQLite, built with STAT4 as here, plans a statement anew whenever the value of a
        // parameter changes: several times the cost of a lookup.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        conn.pragma_update(None, "cache_size", -cache_kib)?;
        // Reads through a mapping turn I/O errors into SIGBUS.
        conn.pragma_update(None, "mmap_size", 0)?;
        conn.pragma_update(None, "trusted_schema", false)?;
        Ok(conn)
    };
    set_up().map_err(|e| open_failed(path, &e))
}

fn open_failed(path: &Path, err: &rusqlite::Error) -> FsError {
    match err.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => not_ours(path),
        _ => failed(&format!("open {}", path.display()), err),
    }
}

fn not_ours(path: &Path) -> FsError {
    FsError::new(Code::Invalid, format!("{} is not a dfs metadata store", path.display()))
}

fn set_up_writer(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "wal_autocheckpoint", 1000)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    // Opens the log, which `open_log` expects.
    conn.query_row("SELECT epoch FROM leader", (), |_| Ok(()))
}

fn check_or_make(conn: &Connection, path: &Path) -> Result<()> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let tables = conn.query_row("SELECT count(*) FROM sqlite_schema", (), |r| r.get::<_, i64>(0));
    if tables.map_err(|e| open_failed(path, &e))? == 0 {
        return make(conn, path);
    }
    let read = |e: rusqlite::Error| failed("read the format number", &e);
    if pragma("application_id").map_err(read)? != schema::APPLICATION_ID {
        return Err(not_ours(path));
    }
    let format = pragma("user_version").map_err(read)?;
    if format == schema::FORMAT_BEFORE {
        return raise_format(conn).map_err(|e| failed("raise the format number", &e));
    }
    if format != schema::FORMAT {
        let text = format!(
            "metadata store {} has format {format}, this program knows {}: use a newer dfs-server",
            path.display(),
            schema::FORMAT
        );
        return Err(FsError::new(Code::NotSupported, text));
    }
    Ok(())
}

fn raise_format(conn: &Connection) -> rusqlite::Result<()> {
    let txn = conn.unchecked_transaction()?;
    txn.execute("UPDATE config SET value = ?1 WHERE name = 'format'", [schema::FORMAT])?;
    txn.pragma_update(None, "user_version", schema::FORMAT)?;
    txn.commit()
}

fn make(conn: &Connection, path: &Path) -> Result<()> {
    let mut cookie_key = [0; 16];
    rand::rngs::SysRng
        .try_fill_bytes(&mut cookie_key)
        .map_err(|e| FsError::new(Code::Io, format!("cannot draw random numbers: {e}")))?;
    let start_log = || -> rusqlite::Result<String> {
        conn.pragma_update(None, "page_size", 4096)?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
    };
    if start_log().map_err(|e| failed("start the log", &e))? != "wal" {
        let text = format!("{} is not on a local disk: SQLite refuses a log", path.display());
        return Err(FsError::new(Code::NotSupported, text));
    }
    let run = || -> rusqlite::Result<()> {
        conn.pragma_update(None, "synchronous", "FULL")?;
        let txn = conn.unchecked_transaction()?;
        txn.execute_batch(schema::TABLES)?;
        txn.execute("INSERT INTO config VALUES ('format', ?1)", [schema::FORMAT])?;
        txn.execute("INSERT INTO config VALUES ('cookie_key', ?1)", [&cookie_key])?;
        txn.execute("INSERT INTO leader VALUES (0, 0, 0, 0)", ())?;
        txn.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
        txn.pragma_update(None, "user_version", schema::FORMAT)?;
        txn.commit()
    };
    run().map_err(|e| failed("make the tables", &e))
}
