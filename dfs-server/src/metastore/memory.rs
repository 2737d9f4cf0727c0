//! A metadata store in memory, for tests: the same rules, nothing durable.

use super::rows::{Dentry, Inode, LostRow, SessionRow, Stripe};
use super::{Batch, Durability, MetaStore, Read, Recovered};
use dfs_core::extent::{ObjectName, Source};
use dfs_core::{Code, FsError, Ino, OpId, Result, Seq, SessionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    epoch: u16,
    inodes: BTreeMap<Ino, Inode>,
    dentries: BTreeMap<(Ino, u64), Dentry>,
    xattrs: BTreeMap<(Ino, Vec<u8>), Vec<u8>>,
    stripes: BTreeMap<(Ino, u64), Stripe>,
    sessions: BTreeMap<SessionId, SessionRow>,
    lost: BTreeSet<LostRow>,
    answers: BTreeMap<(SessionId, OpId), Vec<u8>>,
    numbers: BTreeMap<String, u64>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn apply(&mut self, batch: &Batch) {
        apply_rows(&mut self.inodes, &batch.inodes);
        apply_rows(&mut self.dentries, &batch.dentries);
        apply_rows(&mut self.xattrs, &batch.xattrs);
        apply_rows(&mut self.stripes, &batch.stripes);
        apply_rows(&mut self.sessions, &batch.sessions);
        self.lost.extend(batch.lost.iter().cloned());
        self.answers.extend(batch.answers.clone());
        self.answers.retain(|(sid, op), _| !batch.forgets(*sid, *op));
        self.lost.retain(|row| !batch.forget_sessions.contains(&row.sid));
        self.numbers.extend(batch.numbers.iter().map(|(name, n)| (name.to_string(), *n)));
    }
}

fn apply_rows<K: Ord + Clone, V: Clone>(rows: &mut BTreeMap<K, V>, with: &BTreeMap<K, Option<V>>) {
    for (key, row) in with {
        match row {
            Some(row) => rows.insert(key.clone(), row.clone()),
            None => rows.remove(key),
        };
    }
}

impl Read for MemoryStore {
    fn inode(&self, ino: Ino) -> Result<Option<Inode>> {
        Ok(self.tables().inodes.get(&ino).cloned())
    }

    fn dentries(&self, dir: Ino, first: u64, last: u64, limit: usize) -> Result<Vec<Dentry>> {
        if first > last {
            return Ok(Vec::new());
        }
        let tables = self.tables();
        let rows = tables.dentries.range((dir, first)..=(dir, last));
        Ok(rows.take(limit).map(|(_, row)| row.clone()).collect())
    }

    fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let tables = self.tables();
        let rows = tables.xattrs.range((ino, Vec::new())..).take_while(|row| row.0.0 == ino);
        Ok(rows.map(|((_, name), value)| (name.clone(), value.clone())).collect())
    }

    fn stripes(&self, ino: Ino, first: u64, last: u64) -> Result<Vec<(u64, Stripe)>> {
        if first > last {
            return Ok(Vec::new());
        }
        let tables = self.tables();
        let rows = tables.stripes.range((ino, first)..=(ino, last));
        Ok(rows.map(|((_, index), row)| (*index, row.clone())).collect())
    }

    fn answer(&self, sid: SessionId, op: OpId) -> Result<Option<Vec<u8>>> {
        Ok(self.tables().answers.get(&(sid, op)).cloned())
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.tables().numbers.get(name).copied())
    }
}

impl MetaStore for MemoryStore {
    fn epoch(&self) -> Result<u16> {
        Ok(self.tables().epoch)
    }

    fn raise_epoch(&self) -> Result<u16> {
        let mut tables = self.tables();
        tables.epoch = tables.epoch.checked_add(1).ok_or(Code::Overflow)?;
        Ok(tables.epoch)
    }

    fn recover(&self) -> Result<Recovered> {
        let tables = self.tables();
        let orphans = tables.inodes.iter().filter(|(_, inode)| inode.attr.nlink == 0);
        Ok(Recovered {
            sessions: tables.sessions.values().cloned().collect(),
            lost: tables.lost.iter().cloned().collect(),
            orphans: orphans.map(|(ino, _)| *ino).collect(),
            cookie_key: [0; 16],
            inodes: tables.inodes.len() as u64,
        })
    }

    fn inodes(&self) -> Result<u64> {
        Ok(self.tables().inodes.len() as u64)
    }

    fn commit(&self, epoch: u16, seq: Seq, batch: &Batch, _: Durability) -> Result<()> {
        batch.check()?;
        let mut tables = self.tables();
        if tables.epoch != epoch {
            let text = format!("commit {seq} of leader epoch {epoch}, now it is {}", tables.epoch);
            return Err(FsError::new(Code::StaleLeader, text));
        }
        tables.apply(batch);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn each_object(&self, each: &mut dyn FnMut(ObjectName)) -> Result<()> {
        for extent in self.tables().stripes.values().flatten() {
            if let Source::Object(name, _) = extent.source {
                each(name);
            }
        }
        Ok(())
    }
}
