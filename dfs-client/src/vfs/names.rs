//! Finding things by name.

use super::{Entry, Found, Vfs};
use crate::metadata::Target;
use dfs_core::access::{self, Credentials};
use dfs_core::attr::{Attr, Kind};
use dfs_core::name::Name;
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::{convert, v1};
use std::time::Duration;

impl Vfs {
    /// Looks `name` up in `dir`. `.` and `..` are understood. Errors: `NotDirectory`,
    /// `AccessDenied`, `NameTooLong`, `Stale`.
    pub async fn lookup(&self, who: &Credentials, dir: Ino, name: &[u8]) -> Result<Found> {
        match name {
            b"." => return self.by_handle(dir).await.map(Found::Entry),
            b".." => {
                let parent = self.parent(dir).await?;
                return self.getattr(parent, None).await.map(Found::Entry);
            }
            _ => {}
        }
        let name = Name::new(name)?;
        self.client.session.gate().await?;
        if let Some(found) = self.known(who, dir, &name)? {
            self.client.metrics.hits.inc();
            return Ok(found);
        }
        self.client.metrics.misses.inc();
        let found = self.ask(who, dir, &name).await?;
        self.asked_for_a_name(who, dir);
        Ok(found)
    }

    /// As [`lookup`](Vfs::lookup), if nobody has to be asked.
    pub fn lookup_now(&self, who: &Credentials, dir: Ino, name: &[u8]) -> Option<Result<Found>> {
        if matches!(name, b"." | b"..") {
            return None;
        }
        let name = Name::new(name).ok()?;
        self.client.session.lease_left()?;
        let found = self.known(who, dir, &name).transpose()?;
        self.client.metrics.hits.inc();
        Some(found)
    }

    /// What a file handle leads to (open_by_handle_at(2)): the kernel looks up `.` in it. Nobody can
    /// come to an inode without names any more, as on a local disk.
    async fn by_handle(&self, ino: Ino) -> Result<Entry> {
        let entry = self.getattr(ino, None).await?;
        match entry.attr.nlink {
            0 => Err(FsError::new(Code::Stale, format!("inode {ino} has no name"))),
            _ => Ok(entry),
        }
    }

    /// The answer if promises cover it: that of the name, and that of what it leads to.
    fn known(&self, who: &Credentials, dir: Ino, name: &Name) -> Result<Option<Found>> {
        let metadata = &self.client.metadata;
        let Some(target) = metadata.name(dir, name) else { return Ok(None) };
        if let Some(attr) = metadata.attr(dir) {
            match self.permits(who, &attr, access::EXEC) {
                Some(true) => {}
                Some(false) => {
                    let text = format!("no permission to search directory {dir}");
                    return Err(FsError::new(Code::AccessDenied, text));
                }
                None => return Ok(None),
            }
        }
        Ok(match target {
            Target::Absent => Some(self.absent(dir, name)),
            Target::Present(ino) => {
                metadata.attr(ino).map(|attr| Found::Entry(self.entry(dir, name, attr)))
            }
        })
    }

    async fn ask(&self, who: &Credentials, dir: Ino, name: &Name) -> Result<Found> {
        let metadata = &self.client.metadata;
        let asked = metadata.asked();
        let request = v1::LookupReq {
            dir: dir.0,
            name: name.as_bytes().to_vec().into(),
            ..Default::default()
        };
        let reply = self.client.call(who, request).await?;
        let mark = reply.mark.unwrap_or_default();
        let Some(attr) = reply.attr else {
            metadata.store_name(asked, &mark, dir, name, Target::Absent);
            return Ok(self.absent(dir, name));
        };
        let attr = metadata.store_attr(asked, &mark, convert::attr_from(attr)?);
        metadata.store_name(asked, &mark, dir, name, Target::Present(attr.ino));
        Ok(Found::Entry(self.entry(dir, name, attr)))
    }

    fn absent(&self, dir: Ino, name: &Name) -> Found {
        let ttl = self.client.ttl();
        let lent = self.client.metadata.lend_name(dir, name, Target::Absent, ttl);
        Found::Absent { ttl: if lent { ttl } else { Duration::ZERO } }
    }

    /// An inode found by a name: the lifetime holds for both.
    pub(crate) fn entry(&self, dir: Ino, name: &Name, attr: Attr) -> Entry {
        let mut entry = self.client.entry(attr);
        let target = Target::Present(entry.attr.ino);
        if !self.client.metadata.lend_name(dir, name, target, entry.ttl) {
            entry.ttl = Duration::ZERO;
        }
        entry
    }

    /// The directory above; the root of this mount is its own.
    pub(super) async fn parent(&self, dir: Ino) -> Result<Ino> {
        if dir == self.root {
            return Ok(dir);
        }
        let attr = self.client.attr(dir).await?;
        match attr.kind {
            Kind::Directory => Ok(attr.parent),
            _ => Err(FsError::new(Code::NotDirectory, format!("inode {dir} is no directory"))),
        }
    }

    /// The kernel dropped `n` references to an inode. Nothing is counted here: what is known of it is
    /// only the first to go when room is needed.
    pub fn forget(&self, ino: Ino, n: u64) {
        if n > 0 {
            self.client.metadata.cheap(ino);
        }
    }

    /// Target of a symbolic link. Errors: `Invalid` if it is none.
    pub async fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        let attr = self.client.attr(ino).await?;
        match attr.kind {
            Kind::Symlink => Ok(attr.link_target),
            _ => Err(FsError::new(Code::Invalid, format!("inode {ino} is no symbolic link"))),
        }
    }
}
