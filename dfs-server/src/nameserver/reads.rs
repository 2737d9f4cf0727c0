//! Reads of names and attributes, with promises (PROTOCOL 3.1).
//!
//! The order is always: promise, then state. A change that begins in between is pushed with a
//! higher sequence number than the reply carries, so the client does not keep what it read.
//! During grace everything is answered without promise (PROTOCOL 2.5).

use super::op::Context;
use super::resolve::{self, Page, Xattrs};
use super::{Caller, NameServer};
use dfs_core::attr::Attr;
use dfs_core::hub::Key;
use dfs_core::name::Name;
use dfs_core::{Code, FsError, Ino, Result, Seq};
use std::sync::Arc;

/// What a reply may say about the future.
#[derive(Clone, Copy, Debug, Default)]
pub struct Promised {
    /// When the reply was true.
    pub as_of: Seq,
    /// The attributes are promised.
    pub attr: bool,
    /// The names are promised.
    pub names: bool,
    /// This directory is delegated to another client, which may have changed it: what was read does
    /// not count.
    pub delegated: Option<Ino>,
}

impl Promised {
    /// A reply that is about both.
    fn and(self, other: Promised) -> Promised {
        Promised { attr: other.attr, delegated: self.delegated.or(other.delegated), ..self }
    }
}

/// Times the state may move under a read before the caller is asked to retry.
pub(super) const REREADS: usize = 16;

impl NameServer {
    /// The caller as operations see it.
    pub(super) fn context<'a>(&'a self, caller: &'a Caller) -> Context<'a> {
        Context { who: &caller.who, cookie_key: &self.cookie_key }
    }

    /// Refuses a caller whose session may not read.
    pub(super) fn may_read(&self, caller: &Caller) -> Result<()> {
        self.lock().sessions.check_read(caller.sid, caller.epoch, self.clock.now())
    }

    /// Reads until what was read is delegated to nobody else.
    async fn undelegated<T>(
        self: &Arc<Self>,
        read: impl Fn() -> Result<(T, Promised)>,
    ) -> Result<(T, Promised)> {
        for _ in 0..REREADS {
            let (found, promised) = read()?;
            match promised.delegated {
                None => return Ok((found, promised)),
                Some(dir) => self.end_delegation(dir).await?,
            }
        }
        Err(busy("directory"))
    }

    /// Promises an attribute key; `as_of` is the moment before the state is read.
    pub(super) fn promise_attr(&self, caller: &Caller, ino: Ino) -> Promised {
        let promised = self.promise(caller, Key::Attr(ino), None);
        Promised { attr: promised.names, names: false, ..promised }
    }

    /// As `names`, whatever the key.
    fn promise(&self, caller: &Caller, key: Key, name: Option<&Name>) -> Promised {
        let now = self.clock.now();
        let mut machines = self.lock();
        let delegated = machines.hub.delegated_from(caller.sid, key);
        let names =
            !machines.sessions.in_grace() && machines.hub.promise(now, caller.sid, key, name);
        Promised { as_of: machines.as_of(), attr: false, names, delegated }
    }

    /// Looks a name up; `None`: absent.
    pub async fn lookup(
        self: &Arc<Self>,
        caller: &Caller,
        dir: Ino,
        name: &Name,
    ) -> Result<(Option<Attr>, Promised)> {
        self.undelegated(|| self.read_name(caller, dir, name)).await
    }

    fn read_name(
        &self,
        caller: &Caller,
        dir: Ino,
        name: &Name,
    ) -> Result<(Option<Attr>, Promised)> {
        self.may_read(caller)?;
        let cx = self.context(caller);
        for _ in 0..REREADS {
            let names = self.promise(caller, Key::Dir(dir), Some(name));
            resolve::search(&cx, &*self.store, dir)?;
            let Some(found) = resolve::entry(&self.cookie_key, &*self.store, dir, name)? else {
                return Ok((None, names));
            };
            let attr = self.promise_attr(caller, found.ino);
            if let Some(row) = self.store.inode(found.ino)? {
                return Ok((Some(row.attr), names.and(attr)));
            }
        }
        Err(busy("name"))
    }

    /// Walks a path; `None`: a component is absent.
    pub async fn lookup_path(
        self: &Arc<Self>,
        caller: &Caller,
        dir: Ino,
        path: &[Name],
    ) -> Result<Option<Attr>> {
        let walk = |dir, path: &[Name]| {
            self.may_read(caller)?;
            // Nothing is promised: the reply has no mark.
            let delegated = self.lock().hub.delegated_from(caller.sid, Key::Dir(dir));
            let found = resolve::lookup_path(&self.context(caller), &*self.store, dir, path)?;
            Ok((found, Promised { delegated, ..Promised::default() }))
        };
        let (mut at, _) = self.undelegated(|| walk(dir, &[])).await?;
        for name in path {
            let Some(dir) = at else { break };
            at = self.undelegated(|| walk(dir.ino, std::slice::from_ref(name))).await?.0;
        }
        Ok(at)
    }

    /// Attributes of an inode.
    pub async fn attributes(
        self: &Arc<Self>,
        caller: &Caller,
        ino: Ino,
    ) -> Result<(Attr, Promised)> {
        let read = || {
            self.may_read(caller)?;
            let promised = self.promise_attr(caller, ino);
            Ok((resolve::attr(&*self.store, ino)?, promised))
        };
        self.undelegated(read).await
    }

    /// All extended attributes of an inode, and the others.
    pub async fn extended_attributes(
        self: &Arc<Self>,
        caller: &Caller,
        ino: Ino,
    ) -> Result<((Attr, Xattrs), Promised)> {
        let read = || {
            self.may_read(caller)?;
            for _ in 0..REREADS {
                let promised = self.promise_attr(caller, ino);
                let (before, xattrs) = resolve::xattrs(&*self.store, ino)?;
                let after = resolve::attr(&*self.store, ino)?;
                if before.attr_ver == after.attr_ver {
                    return Ok(((after, xattrs), promised));
                }
            }
            Err(busy("inode"))
        };
        self.undelegated(read).await
    }

    /// Whether the caller has a permission.
    pub fn access(&self, caller: &Caller, ino: Ino, mask: u32) -> Result<()> {
        self.may_read(caller)?;
        resolve::access(&self.context(caller), &*self.store, ino, mask).map(|_| ())
    }

    /// A page of a listing. The names are promised only on a page that no change in the directory
    /// ran beside; a client keeps a listing if all its pages have one `dir_ver` and are promised.
    pub async fn list(
        self: &Arc<Self>,
        caller: &Caller,
        dir: Ino,
        cookie: u64,
        limit: usize,
        want_attrs: bool,
    ) -> Result<(Page, Promised)> {
        let read = || self.read_page(caller, dir, cookie, limit, want_attrs);
        self.undelegated(read).await
    }

    fn read_page(
        &self,
        caller: &Caller,
        dir: Ino,
        cookie: u64,
        limit: usize,
        want_attrs: bool,
    ) -> Result<(Page, Promised)> {
        self.may_read(caller)?;
        let names = self.promise(caller, Key::Dir(dir), None);
        let mut promised = names.and(self.promise_attr(caller, dir));
        let cx = self.context(caller);
        let mut page = resolve::list(&cx, &*self.store, dir, cookie, limit, want_attrs)?;
        if want_attrs {
            for (entry, row) in &mut page.entries {
                // Promise first, then state: so each is read again under its promise.
                let child = self.promise_attr(caller, entry.ino);
                promised = promised.and(Promised { attr: promised.attr & child.attr, ..child });
                if row.is_some() {
                    *row = self.store.inode(entry.ino)?.map(|inode| inode.attr);
                }
            }
        }
        Ok((page, promised))
    }
}

/// The state moved under a read again and again.
pub(super) fn busy(what: &str) -> FsError {
    let after = std::time::Duration::from_millis(2);
    FsError::new(Code::Retry(after), format!("the {what} keeps changing"))
}
