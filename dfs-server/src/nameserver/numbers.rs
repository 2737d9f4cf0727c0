//! Inode and version numbers that are never used twice, also after a crash: a block of them is
//! recorded as used before the first of it is given out (PROTOCOL 6.8).

use super::op::Allocate;
use crate::metastore::{Batch, Read};
use dfs_core::{Ino, Result};

/// Numbers recorded at a time.
const BLOCK: u64 = 4096;
const INO_LIMIT: &str = "ino_limit";
const VER_LIMIT: &str = "maxver";

/// The two counters.
#[derive(Debug)]
pub struct Numbers {
    inos: Counter,
    versions: Counter,
}

#[derive(Debug)]
struct Counter {
    name: &'static str,
    next: u64,
    /// Every number below is recorded as used.
    limit: u64,
    /// The limit that is known to be durable.
    safe: u64,
}

impl Counter {
    fn load(view: &(impl Read + ?Sized), name: &'static str, first: u64) -> Result<Counter> {
        let limit = view.number(name)?.unwrap_or(first);
        Ok(Counter { name, next: limit, limit, safe: limit })
    }

    fn take(&mut self, batch: &mut Batch) -> u64 {
        if self.next == self.limit {
            self.limit += BLOCK;
        }
        if self.limit != self.safe {
            batch.numbers.insert(self.name.into(), self.limit);
        }
        let number = self.next;
        self.next += 1;
        number
    }
}

impl Numbers {
    /// The counters as the store has them.
    pub fn load(view: &(impl Read + ?Sized)) -> Result<Numbers> {
        let inos = Counter::load(view, INO_LIMIT, Ino::ROOT.0 + 1)?;
        let versions = Counter::load(view, VER_LIMIT, 1)?;
        Ok(Numbers { inos, versions })
    }

    /// The next inode number; all before may have been given out.
    pub fn next_ino(&self) -> Ino {
        Ino(self.inos.next)
    }

    /// The next content version; all before may have been given out.
    pub fn next_version(&self) -> u64 {
        self.versions.next
    }

    /// A content version never used before.
    pub fn new_version(&mut self, batch: &mut Batch) -> u64 {
        self.versions.take(batch)
    }

    /// The last batch is durable: what it recorded need not be recorded again.
    pub fn committed(&mut self) {
        self.inos.safe = self.inos.limit;
        self.versions.safe = self.versions.limit;
    }
}

impl Allocate for Numbers {
    fn new_ino(&mut self, batch: &mut Batch) -> Ino {
        Ino(self.inos.take(batch))
    }

    fn new_ver(&mut self, batch: &mut Batch) -> u64 {
        self.new_version(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metastore::MemoryStore;

    #[test]
    fn numbers_are_recorded_until_a_batch_succeeds() {
        let store = MemoryStore::new();
        let mut numbers = Numbers::load(&store).unwrap();
        let mut failed = Batch::default();
        assert_eq!(numbers.new_version(&mut failed), 1);
        assert_eq!(failed.numbers[VER_LIMIT], 1 + BLOCK);
        let mut batch = Batch::default();
        assert_eq!(numbers.new_version(&mut batch), 2);
        assert_eq!(batch.numbers[VER_LIMIT], 1 + BLOCK, "not durable yet, so said again");
        numbers.committed();
        let mut next = Batch::default();
        assert_eq!(numbers.new_version(&mut next), 3);
        assert!(next.is_empty());
        assert_eq!(numbers.new_ino(&mut next), Ino(2));
    }
}
