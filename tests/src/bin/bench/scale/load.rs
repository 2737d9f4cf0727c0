//! Millions of names, put straight into the metadata store of a server that does not run: the rows
//! are those that the server's own operations make, and they go in batches through its own store.
//! Only the calls, the sessions and the flush of each change are left out.

use super::Failure;
use dfs_core::Ino;
use dfs_core::access::Credentials;
use dfs_core::attr::{Attr, NewMode};
use dfs_core::name::Name;
use dfs_core::seq::Sequencer;
use dfs_core::time::Timestamp;
use dfs_server::datadir::DataDir;
use dfs_server::metastore::{Batch, Durability, MetaStore, SqliteStore};
use dfs_server::nameserver::numbers::Numbers;
use dfs_server::nameserver::op::{Context, Create, Mkdir, Op, Txn, root};
use std::path::Path;
use std::time::SystemTime;

/// Files in one directory.
pub const PER_DIR: u64 = 1000;
/// Directories in one batch.
const DIRS_PER_BATCH: u64 = 8;

/// What is in the store: directories full of empty files below one directory.
#[derive(Default)]
pub struct Tree {
    /// The directories, in order.
    dirs: Vec<Ino>,
}

/// The name of a file by its number in its directory.
fn file_name(number: u64) -> String {
    format!("file-{number:06}.data")
}

impl Tree {
    /// Number of files.
    pub fn files(&self) -> u64 {
        self.dirs.len() as u64 * PER_DIR
    }

    /// Directory and name of file number `n`.
    pub fn file(&self, n: u64) -> (Ino, String) {
        (self.dirs[(n / PER_DIR) as usize], file_name(n % PER_DIR))
    }

    /// A directory by its number, and the names in it in order.
    pub fn dir(&self, number: u64) -> (Ino, Vec<String>) {
        (self.dirs[number as usize], (0..PER_DIR).map(file_name).collect())
    }

    /// Number of directories.
    pub fn dirs(&self) -> u64 {
        self.dirs.len() as u64
    }

    /// Adds directories until there are at least so many files.
    pub fn grow(&mut self, data: &Path, files: u64) -> Result<(), Failure> {
        let data = DataDir::open(data)?;
        let store = SqliteStore::open(&data.meta_db())?;
        let epoch = store.raise_epoch()?;
        let mut loader = Loader {
            cookie_key: store.recover()?.cookie_key,
            numbers: Numbers::load(&store)?,
            seq: Sequencer::new(epoch),
            who: Credentials::root(),
            now: now(),
            epoch,
            store: &store,
        };
        loader.make_root()?;
        while self.files() < files {
            let left = (files - self.files()).div_ceil(PER_DIR);
            let made = loader.batch(self.dirs(), left.min(DIRS_PER_BATCH))?;
            self.dirs.extend(made);
        }
        Ok(store.flush()?)
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: since.as_secs().cast_signed(), nanos: since.subsec_nanos() }
}

struct Loader<'a> {
    store: &'a SqliteStore,
    numbers: Numbers,
    seq: Sequencer,
    epoch: u16,
    cookie_key: [u8; 16],
    who: Credentials,
    now: Timestamp,
}

impl Loader<'_> {
    fn make_root(&mut self) -> Result<(), Failure> {
        use dfs_server::metastore::Read;
        if self.store.inode(Ino::ROOT)?.is_some() {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.inodes.insert(Ino::ROOT, Some(root(self.now)));
        self.commit(&batch)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Failure> {
        self.store.commit(self.epoch, self.seq.next(), batch, Durability::Relaxed)?;
        self.numbers.committed();
        Ok(())
    }

    /// Makes `count` directories, from number `first` on, and the files in them.
    fn batch(&mut self, first: u64, count: u64) -> Result<Vec<Ino>, Failure> {
        let (mut batch, mut made) = (Batch::default(), Vec::new());
        for number in first..first + count {
            let (name, mode) = (Name::new(format!("dir-{number:06}").as_bytes())?, 0o755.into());
            let dir =
                self.carry_out(&mut batch, &Mkdir { dir: Ino::ROOT, name, mode, made: None })?.ino;
            made.push(dir);
            for file in 0..PER_DIR {
                let (name, mode) = (Name::new(file_name(file).as_bytes())?, NewMode::from(0o644));
                let create = Create { dir, name, mode, exclusive: true, leased: false };
                self.carry_out(&mut batch, &create)?;
            }
        }
        self.commit(&batch)?;
        Ok(made)
    }

    fn carry_out(&mut self, batch: &mut Batch, op: &dyn Op) -> Result<Attr, Failure> {
        let cx = Context { who: &self.who, cookie_key: &self.cookie_key };
        let (store, numbers) = (self.store, &mut self.numbers);
        let mut txn = Txn { store, batch, numbers, now: self.now };
        Ok(op.effect(&cx, &mut txn)?.object.ok_or("an operation made nothing")?)
    }
}
