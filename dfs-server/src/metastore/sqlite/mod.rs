//! The metadata store in one SQLite file (decision D7; measurements in METADATA 3).
//!
//! Owns the connections. One writes and is the only one that checkpoints; a few read, each call in
//! a transaction of its own, so that no reader keeps the log from starting over for long. The
//! caller holds the [`DataDir`](crate::datadir::DataDir): SQLite's own locks would let a second
//! process in.
//!
//! Lock order: `syncing` is never taken while `writer` is held, nor the other way round.
//!
//! # Durability
//!
//! A commit appends pages to the log `meta.db-wal`. `Strict` commits run with `synchronous=FULL`:
//! SQLite syncs the log before the commit returns. `Relaxed` ones run with `NORMAL`: the pages are
//! in the kernel, so they survive the death of the process, and `flush` syncs the log itself
//! through a descriptor of its own. That is enough, for every page of a commit is either
//! * in the log file, which the sync makes durable (fsync(2) works on the inode, not on the
//!   descriptor); or
//! * in the log no more: SQLite starts the log over only if all of it was copied to the database
//!   (`walRestartLog` wants `nBackfill == mxFrame`), and it counts pages as copied only after it
//!   synced the log, copied them and synced the database (`walCheckpoint`); `NORMAL` leaves those
//!   two syncs in.
//!
//! While a connection is open the log file is neither replaced nor removed, so the descriptor stays
//! the right one. An empty commit would not do: without a changed page SQLite writes and syncs
//! nothing. Closing the descriptor drops this process's POSIX locks of that file, but SQLite locks
//! only `meta.db`.
//!
//! After a failed sync nobody knows what reached the disk, and a second try may succeed without it
//! (fsync(2), "EIO"). So the store then refuses every further commit and flush until it is opened
//! again.

mod open;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod write;

use dfs_core::{Code, FsError, Result};
use rusqlite::{Connection, ErrorCode, ffi};
use std::fs::File;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// See the module.
pub struct SqliteStore {
    path: PathBuf,
    // Closed in this order: the writer is last, since the last to close checkpoints.
    readers: Readers,
    writer: Mutex<write::Writer>,
    /// The log, for `flush`. One at a time: a second flush must not return before the first.
    syncing: Mutex<File>,
    /// Whether a commit may not have reached the disk yet.
    unsynced: AtomicBool,
    /// Whether a sync has failed.
    broken: AtomicBool,
}

impl SqliteStore {
    fn check_usable(&self) -> Result<()> {
        if self.broken.load(Ordering::Acquire) {
            let text =
                format!("metadata store {} stopped after a failed sync", self.path.display());
            return Err(FsError::new(Code::Io, text));
        }
        Ok(())
    }
}

/// A failed call of SQLite: `NoSpace` if the disk is full, else `Io`.
fn failed(attempt: &str, err: &rusqlite::Error) -> FsError {
    let full = match err {
        rusqlite::Error::SqliteFailure(e, _) => {
            // The second: the log's index is a file too, and grows first.
            e.code == ErrorCode::DiskFull || e.extended_code == ffi::SQLITE_IOERR_SHMSIZE
        }
        _ => false,
    };
    let code = if full { Code::NoSpace } else { Code::Io };
    FsError::new(code, format!("metadata store: cannot {attempt}: {err}"))
}

/// The read connections, lent to one caller each; further callers wait.
struct Readers {
    state: Mutex<ReadersState>,
    returned: Condvar,
}

struct ReadersState {
    idle: Vec<Connection>,
    /// Callers that wait. Without any there is no need for the system call that wakes them.
    waiting: usize,
}

impl Readers {
    fn new(idle: Vec<Connection>) -> Readers {
        let state = Mutex::new(ReadersState { idle, waiting: 0 });
        Readers { state, returned: Condvar::new() }
    }

    fn lend(&self) -> Lent<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = state.idle.pop() {
                return Lent { connection: Some(connection), readers: self };
            }
            state.waiting += 1;
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }
}

/// A lent connection; goes back when dropped.
struct Lent<'a> {
    connection: Option<Connection>,
    readers: &'a Readers,
}

impl Deref for Lent<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("only drop takes it")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut state = self.readers.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.idle.extend(self.connection.take());
        if state.waiting > 0 {
            self.readers.returned.notify_one();
        }
    }
}
