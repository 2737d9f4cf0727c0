//! A log in front of a store (`docs/design/0026`): a commit is a record in the log and rows in memory;
//! a thread brings the rows of many commits into the store at a time.
//!
//! What the log holds is the truth, what the store holds lags behind. Rows that the store may not have
//! yet are laid over it for every read. When the store is opened the log is brought into it first.
//!
//! * A strict commit is answered when its record is synced, a relaxed one when it is written: then it
//!   survives the death of the process.
//! * The store gets rows only after their records are synced: it never has what the log may lose.
//! * A file of the log is begun anew only after the store has synced what the file held.
//! * Rows are put or deleted whole, or say what is in a part of them, so bringing records into the store
//!   twice, in their order, does no harm.
//!
//! Lock order: `applying`, `log`, `state`.

mod segment;
#[cfg(test)]
mod tests;

use super::{Batch, Durability, MetaStore, Overlay, Read, Recovered, codec};
use super::{Dentry, Inode, Stripe};
use dfs_core::extent::ObjectName;
use dfs_core::{Code, FsError, Ino, OpId, Result, Seq, SessionId};
use segment::Log;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Rows wait at most so long for the store.
const APPLY_WITHIN: Duration = Duration::from_secs(1);
/// Records of so many bytes are brought into the store at once.
pub(super) const APPLY_BYTES: u64 = 4 * 1024 * 1024;
/// With so many the next commit waits for that.
const FULL_BYTES: u64 = 32 * 1024 * 1024;
/// Pause after the store could not take them.
const RETRY: Duration = Duration::from_secs(1);

/// See the module. Dropping it brings everything into the store.
pub struct Logged<S: MetaStore + 'static> {
    shared: Arc<Shared<S>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<S> {
    store: S,
    /// Held by who brings rows into the store.
    applying: Mutex<()>,
    log: Mutex<Log>,
    state: RwLock<State>,
    wish: Mutex<Wish>,
    wished: Condvar,
    /// A write or sync has failed, nobody knows what reached the disk (fsync(2), "EIO").
    broken: AtomicBool,
}

/// What is laid over the store.
struct State {
    epoch: u16,
    /// Rows being brought into the store, and the number of the last commit among them.
    under_way: Option<Arc<(Seq, Batch)>>,
    /// Rows of later commits.
    fresh: Batch,
    last: Seq,
}

impl State {
    /// The last row of a stripe, if it is laid over the store.
    fn stripe(&self, of: &(Ino, u64)) -> Option<&Stripe> {
        let under_way = || self.under_way.as_deref()?.1.stripes.get(of);
        self.fresh.stripes.get(of).or_else(under_way)?.as_ref()
    }
}

/// What the thread is to do.
#[derive(Default)]
struct Wish {
    /// Since when there are rows.
    rows_since: Option<Instant>,
    now: bool,
    closed: bool,
}

impl Wish {
    /// There are no rows that nobody brings into the store.
    fn done(&mut self) {
        (self.rows_since, self.now) = (None, false);
    }
}

impl<S: MetaStore + 'static> Logged<S> {
    /// Opens the log beside `base` in front of the store, and brings what it holds into the store. A new
    /// log has `room` bytes, twice, which it can fill without growing.
    pub fn open(store: S, base: &Path, room: u64) -> Result<Logged<S>> {
        let (mut log, found) = Log::open(base, room)?;
        let epoch = store.epoch()?;
        let (mut last, mut rows) = (Seq(0), Batch::default());
        for record in &found {
            let codec::Record { seq, mut batch, patches } = codec::decode(record)?;
            if !rows.takes(&batch) {
                store.commit(epoch, last, &std::mem::take(&mut rows), Durability::Relaxed)?;
            }
            for ((ino, index), patch) in patches {
                let of_last = Overlay { store: &store, batch: &rows }.stripes(ino, index, index)?;
                let old = of_last.into_iter().next().map(|(_, stripe)| stripe).unwrap_or_default();
                let new = patch.apply(&old);
                batch.stripes.insert((ino, index), (!new.is_empty()).then_some(new));
            }
            rows.append(batch);
            last = seq;
        }
        if !rows.is_empty() {
            store.commit(epoch, last, &rows, Durability::Relaxed)?;
        }
        store.flush()?;
        log.restart()?;
        if !found.is_empty() {
            tracing::info!(commits = found.len(), "metadata of the log is in the store");
        }
        let state = State { epoch, under_way: None, fresh: Batch::default(), last: Seq(0) };
        let shared = Arc::new(Shared {
            store,
            applying: Mutex::default(),
            log: Mutex::new(log),
            state: RwLock::new(state),
            wish: Mutex::default(),
            wished: Condvar::new(),
            broken: AtomicBool::new(false),
        });
        let its = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("metadata".into()).spawn(move || its.run());
        let failed = |e| FsError::new(Code::Io, format!("cannot start a thread: {e}"));
        Ok(Logged { shared, thread: Some(thread.map_err(failed)?) })
    }
}

impl<S: MetaStore + 'static> Drop for Logged<S> {
    fn drop(&mut self) {
        self.shared.wish().closed = true;
        self.shared.wished.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the metadata store panicked");
        }
    }
}

impl<S: MetaStore> Shared<S> {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_usable(&self) -> Result<()> {
        match self.broken.load(Ordering::Acquire) {
            true => Err(FsError::new(Code::Io, "metadata store: stopped after a failed write")),
            false => Ok(()),
        }
    }

    /// Notes a failure after which the disk may hold anything. A full disk holds what it held.
    fn broken_by(&self, error: FsError) -> FsError {
        if error.code != Code::NoSpace {
            self.broken.store(true, Ordering::Release);
        }
        error
    }

    fn sync(&self, log: &mut Log) -> Result<()> {
        log.sync().inspect_err(|_| self.broken.store(true, Ordering::Release))
    }

    /// Reads the store with what is laid over it.
    fn read<T>(&self, read: impl FnOnce(&dyn Read) -> Result<T>) -> Result<T> {
        let state = self.seen();
        match state.under_way.as_deref() {
            None => read(&Overlay { store: &self.store, batch: &state.fresh }),
            Some((_, batch)) => {
                let below = Overlay { store: &self.store, batch };
                read(&Overlay { store: &below, batch: &state.fresh })
            }
        }
    }

    fn commit(&self, epoch: u16, seq: Seq, batch: &Batch, durability: Durability) -> Result<()> {
        batch.check()?;
        let (mut log, now, record) = loop {
            let (log, state) = (self.log(), self.seen());
            if log.len() < FULL_BYTES && state.fresh.takes(batch) {
                let record = codec::encode(seq, batch, |of| state.stripe(of));
                break (log, state.epoch, record);
            }
            drop((state, log));
            self.apply()?;
        };
        self.check_usable()?;
        if now != epoch {
            let text = format!("commit {seq} of leader epoch {epoch}, now it is {now}");
            return Err(FsError::new(Code::StaleLeader, text));
        }
        let strict = durability == Durability::Strict;
        log.append(&record, strict).map_err(|error| self.broken_by(error))?;
        if strict {
            self.sync(&mut log)?;
        }
        let mut state = self.state();
        state.fresh.append(batch.clone());
        state.fresh.prune(batch.answers_done.keys().chain(&batch.forget_sessions));
        state.last = seq;
        drop(state);
        self.has_rows(log.len() > APPLY_BYTES);
        Ok(())
    }

    /// Tells the thread of rows; it need not be woken for more of them, unless they are many.
    fn has_rows(&self, many: bool) {
        let mut wish = self.wish();
        let news = wish.rows_since.is_none() || many && !wish.now;
        wish.rows_since.get_or_insert_with(Instant::now);
        wish.now |= many;
        drop(wish);
        if news {
            self.wished.notify_one();
        }
    }

    /// Brings everything committed so far into the store.
    fn apply(&self) -> Result<()> {
        let _alone = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_usable()?;
        // What failed the last time comes first.
        if self.state().under_way.is_some() {
            self.finish()?;
        }
        {
            let mut log = self.log();
            // Whoever commits next has to ask for the thread again.
            self.wish().done();
            if self.state().fresh.is_empty() {
                return Ok(());
            }
            self.sync(&mut log)?;
            log.turn().map_err(|error| self.broken_by(error))?;
            let mut state = self.state();
            let rows = std::mem::take(&mut state.fresh);
            state.under_way = Some(Arc::new((state.last, rows)));
        }
        self.finish()
    }

    /// Brings everything into the store, which then is complete without the log.
    fn empty(&self) -> Result<()> {
        self.apply()?;
        let mut log = self.log();
        match self.state().fresh.is_empty() {
            true => log.restart().map_err(|error| self.broken_by(error)),
            // Somebody still commits.
            false => self.sync(&mut log),
        }
    }

    /// Brings the rows that are under way into the store, by the holder of `applying`.
    fn finish(&self) -> Result<()> {
        let (epoch, rows) = {
            let state = self.state();
            (state.epoch, state.under_way.clone())
        };
        if let Some(rows) = rows {
            let (seq, batch) = &*rows;
            self.store.commit(epoch, *seq, batch, Durability::Relaxed)?;
            self.store.flush()?;
        }
        self.state().under_way = None;
        Ok(())
    }

    /// The thread.
    fn run(&self) {
        loop {
            let closed = self.wait();
            let applied = if closed { self.empty() } else { self.apply() };
            if let Err(error) = &applied {
                tracing::error!(%error, "rows of the log cannot be brought into the metadata store");
            }
            if closed {
                return;
            }
            if applied.is_err() {
                self.pause();
            }
        }
    }

    /// Waits until rows are due. True: all ends.
    fn wait(&self) -> bool {
        let mut wish = self.wish();
        loop {
            if wish.closed || wish.now {
                return wish.closed;
            }
            wish = match wish.rows_since {
                None => self.wished.wait(wish).unwrap_or_else(PoisonError::into_inner),
                Some(since) => {
                    let left = APPLY_WITHIN.saturating_sub(since.elapsed());
                    if left.is_zero() {
                        return false;
                    }
                    let waited = self.wished.wait_timeout(wish, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// After a failure: for a while, unless all ends.
    fn pause(&self) {
        let open = |wish: &mut Wish| !wish.closed;
        let waited = self.wished.wait_timeout_while(self.wish(), RETRY, open);
        let mut wish = waited.unwrap_or_else(PoisonError::into_inner).0;
        wish.now = true;
    }
}

impl<S: MetaStore + 'static> Read for Logged<S> {
    fn inode(&self, ino: Ino) -> Result<Option<Inode>> {
        self.shared.read(|view| view.inode(ino))
    }

    fn dentries(&self, dir: Ino, first: u64, last: u64, limit: usize) -> Result<Vec<Dentry>> {
        self.shared.read(|view| view.dentries(dir, first, last, limit))
    }

    fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.shared.read(|view| view.xattrs(ino))
    }

    fn stripes(&self, ino: Ino, first: u64, last: u64) -> Result<Vec<(u64, Stripe)>> {
        self.shared.read(|view| view.stripes(ino, first, last))
    }

    fn answer(&self, sid: SessionId, op: OpId) -> Result<Option<Vec<u8>>> {
        self.shared.read(|view| view.answer(sid, op))
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        self.shared.read(|view| view.number(name))
    }
}

impl<S: MetaStore + 'static> MetaStore for Logged<S> {
    fn epoch(&self) -> Result<u16> {
        Ok(self.shared.state().epoch)
    }

    fn raise_epoch(&self) -> Result<u16> {
        self.shared.apply()?;
        let mut state = self.shared.state();
        state.epoch = self.shared.store.raise_epoch()?;
        Ok(state.epoch)
    }

    fn recover(&self) -> Result<Recovered> {
        self.shared.apply()?;
        self.shared.store.recover()
    }

    fn inodes(&self) -> Result<u64> {
        self.shared.apply()?;
        self.shared.store.inodes()
    }

    fn commit(&self, epoch: u16, seq: Seq, batch: &Batch, durability: Durability) -> Result<()> {
        self.shared.commit(epoch, seq, batch, durability)
    }

    fn flush(&self) -> Result<()> {
        let mut log = self.shared.log();
        self.shared.check_usable()?;
        self.shared.sync(&mut log)
    }

    fn finish(&self) -> Result<()> {
        self.shared.empty()
    }

    fn each_object(&self, each: &mut dyn FnMut(ObjectName)) -> Result<()> {
        self.shared.apply()?;
        self.shared.store.each_object(each)
    }
}
