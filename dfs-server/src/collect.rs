//! Frees objects nothing refers to any more: carries out what `dfs_core::collect` decides.
//!
//! One collector per store. It keeps the candidates of its last sweep in memory only: after a
//! restart an object needs two new sweeps, which is the safe side.

use crate::filestore::{Entry, ObjectStore};
use crate::metastore::MetaStore;
use dfs_core::collect::{Candidates, Listed, Marks, View, sweep};
use dfs_core::extent::ObjectName;
use dfs_core::{BootTime, FsError, Result};

/// See the module.
#[derive(Debug, Default)]
pub struct Collector {
    candidates: Candidates,
}

/// What a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Objects in the store.
    pub listed: u64,
    /// Objects some stripe refers to.
    pub marked: u64,
    /// Objects removed.
    pub removed: u64,
    /// Objects that may go in a later sweep.
    pub candidates: u64,
    /// Objects that could not be removed; logged, and tried again.
    pub failed: u64,
}

impl Collector {
    /// A collector that has seen nothing yet.
    pub fn new() -> Collector {
        Collector::default()
    }

    /// One sweep over all objects, started at `now`. Slow: run it in the background, and not before
    /// the grace period is over, since `live` must know every upload.
    ///
    /// `live` returns the lowest version number of a live upload, without one the next number to be
    /// given out; an upload stays live until its commit is applied. `pinned` tells whether somebody
    /// still reads a version the object is part of. Fails with `Io` if metadata or folders cannot be
    /// read; nothing is removed then.
    pub fn sweep(
        &mut self,
        now: BootTime,
        meta: &dyn MetaStore,
        objects: &ObjectStore,
        live: impl FnOnce() -> u64,
        pinned: impl Fn(ObjectName) -> bool,
    ) -> Result<Report> {
        // This order is what makes the decision safe, see `dfs_core::collect`.
        let lowest_live = live();
        let marks = mark(meta)?;
        let mut report = Report { marked: marks.count() as u64, ..Report::default() };
        let mut failure: Option<FsError> = None;
        let listed = objects.list().map_while(|entry| match entry {
            Ok(entry) => Some(entry),
            Err(err) => {
                failure = Some(err);
                None
            }
        });
        let listed = listed.filter_map(|entry| match entry {
            Entry::Object { name, age, .. } => {
                report.listed += 1;
                Some(Listed { name, age })
            }
            Entry::Foreign(_) => None,
        });
        let view = View { now, marks: &marks, lowest_live, pinned: &pinned };
        let decision = sweep(&view, listed, &self.candidates);
        if let Some(err) = failure {
            return Err(err);
        }
        for name in decision.remove {
            match objects.remove(name) {
                Ok(_) => report.removed += 1,
                Err(err) => {
                    tracing::warn!(%err, "an object could not be collected");
                    report.failed += 1;
                }
            }
        }
        report.candidates = decision.candidates.len() as u64;
        self.candidates = decision.candidates;
        Ok(report)
    }
}

fn mark(meta: &dyn MetaStore) -> Result<Marks> {
    let mut names = Vec::new();
    meta.each_object(&mut |name| names.push(name))?;
    Ok(names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filestore::Options;
    use crate::metastore::{Batch, Durability, MemoryStore};
    use dfs_core::extent::{Extent, Source};
    use dfs_core::limits::COLLECT_GAP;
    use dfs_core::range::Range;
    use dfs_core::{Code, Ino, Seq};
    use std::fs::File;
    use std::path::Path;
    use std::time::SystemTime;

    fn name(ino: u64, born: u64) -> ObjectName {
        ObjectName { ino: Ino(ino), born, n: 0 }
    }

    /// Makes every object look older than the collector asks for.
    fn grow_old(dir: &Path) {
        for item in std::fs::read_dir(dir).unwrap() {
            let item = item.unwrap();
            if item.file_type().unwrap().is_dir() {
                grow_old(&item.path());
            } else {
                let file = File::options().write(true).open(item.path()).unwrap();
                file.set_modified(SystemTime::now() - 2 * COLLECT_GAP).unwrap();
            }
        }
    }

    fn store(dir: &Path) -> ObjectStore {
        let options = Options { durability: Durability::Relaxed, reserve: 0 };
        let (objects, _) = ObjectStore::open(dir, options).unwrap();
        for born in 1..=4 {
            let mut writer = objects.create(name(9, born), 3).unwrap();
            writer.write(b"abc", crc32c::crc32c(b"abc")).unwrap();
            writer.finish().unwrap();
        }
        grow_old(dir);
        objects
    }

    #[test]
    fn collector_removes_only_what_nothing_holds() {
        let temp = tempfile::tempdir().unwrap();
        let objects = store(temp.path());
        let meta = MemoryStore::new();
        let mut batch = Batch::default();
        let source = Source::Object(name(9, 1), 0);
        let stripe = vec![Extent { range: Range::new(0, 3), source }];
        batch.stripes.insert((Ino(9), 0), Some(stripe));
        let epoch = meta.raise_epoch().unwrap();
        meta.commit(epoch, Seq(1), &batch, Durability::Strict).unwrap();

        let mut collector = Collector::new();
        let mut run = |now| {
            // 1 is referred to, 2 pinned, 4 of a live upload.
            collector.sweep(BootTime(now), &meta, &objects, || 4, |n| n.born == 2).unwrap()
        };
        let first = run(COLLECT_GAP);
        assert_eq!((first.listed, first.marked, first.candidates, first.removed), (4, 1, 1, 0));
        let second = run(2 * COLLECT_GAP);
        assert_eq!((second.listed, second.candidates, second.removed, second.failed), (4, 0, 1, 0));
        assert_eq!(objects.read(name(9, 3), 0, 3).unwrap_err().code, Code::NotFound);
        for born in [1, 2, 4] {
            assert_eq!(objects.read(name(9, born), 0, 3).unwrap(), "abc");
        }
        assert_eq!(run(3 * COLLECT_GAP).listed, 3);
    }

    #[test]
    fn collector_leaves_young_objects_alone() {
        let temp = tempfile::tempdir().unwrap();
        let objects = store(temp.path());
        let mut writer = objects.create(name(9, 5), 1).unwrap();
        writer.write(b"x", crc32c::crc32c(b"x")).unwrap();
        writer.finish().unwrap();
        let meta = MemoryStore::new();
        let mut collector = Collector::new();
        let report = collector.sweep(BootTime::default(), &meta, &objects, || 99, |_| false);
        assert_eq!(report.unwrap().candidates, 4);
    }
}
