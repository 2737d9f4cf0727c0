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

/// What a reply may say about the future.
#[derive(Clone, Copy, Debug, Default)]
pub struct Promised {
    /// When the reply was true.
    pub as_of: Seq,
    /// The attributes are promised.
    pub attr: bool,
    /// The names are promised.
    pub names: bool,
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

    /// Promises an attribute key; `as_of` is the moment before the state is read.
    pub(super) fn promise_attr(&self, caller: &Caller, ino: Ino) -> Promised {
        let (attr, as_of) = self.promise(caller, Key::Attr(ino), None);
        Promised { as_of, attr, names: false }
    }

    fn promise(&self, caller: &Caller, key: Key, name: Option<&Name>) -> (bool, Seq) {
        let now = self.clock.now();
        let mut machines = self.lock();
        let given =
            !machines.sessions.in_grace() && machines.hub.promise(now, caller.sid, key, name);
        (given, machines.as_of())
    }

    /// Looks a name up; `None`: absent.
    pub fn lookup(
        &self,
        caller: &Caller,
        dir: Ino,
        name: &Name,
    ) -> Result<(Option<Attr>, Promised)> {
        self.may_read(caller)?;
        let cx = self.context(caller);
        for _ in 0..REREADS {
            let (names, as_of) = self.promise(caller, Key::Dir(dir), Some(name));
            resolve::search(&cx, &*self.store, dir)?;
            let Some(found) = resolve::entry(&self.cookie_key, &*self.store, dir, name)? else {
                return Ok((None, Promised { as_of, attr: false, names }));
            };
            let promised = self.promise_attr(caller, found.ino);
            if let Some(row) = self.store.inode(found.ino)? {
                return Ok((Some(row.attr), Promised { as_of, attr: promised.attr, names }));
            }
        }
        Err(busy("name"))
    }

    /// Walks a path; `None`: a component is absent.
    pub fn lookup_path(&self, caller: &Caller, dir: Ino, path: &[Name]) -> Result<Option<Attr>> {
        self.may_read(caller)?;
        resolve::lookup_path(&self.context(caller), &*self.store, dir, path)
    }

    /// Attributes of an inode.
    pub fn attributes(&self, caller: &Caller, ino: Ino) -> Result<(Attr, Promised)> {
        self.may_read(caller)?;
        let promised = self.promise_attr(caller, ino);
        Ok((resolve::attr(&*self.store, ino)?, promised))
    }

    /// All extended attributes of an inode.
    pub fn extended_attributes(
        &self,
        caller: &Caller,
        ino: Ino,
    ) -> Result<(Attr, Xattrs, Promised)> {
        self.may_read(caller)?;
        for _ in 0..REREADS {
            let promised = self.promise_attr(caller, ino);
            let (before, xattrs) = resolve::xattrs(&*self.store, ino)?;
            let after = resolve::attr(&*self.store, ino)?;
            if before.attr_ver == after.attr_ver {
                return Ok((after, xattrs, promised));
            }
        }
        Err(busy("inode"))
    }

    /// Whether the caller has a permission.
    pub fn access(&self, caller: &Caller, ino: Ino, mask: u32) -> Result<()> {
        self.may_read(caller)?;
        resolve::access(&self.context(caller), &*self.store, ino, mask).map(|_| ())
    }

    /// A page of a listing. The names are promised only on a page that no change in the directory
    /// ran beside; a client keeps a listing if all its pages have one `dir_ver` and are promised.
    pub fn list(
        &self,
        caller: &Caller,
        dir: Ino,
        cookie: u64,
        limit: usize,
        want_attrs: bool,
    ) -> Result<(Page, Promised)> {
        self.may_read(caller)?;
        let (names, as_of) = self.promise(caller, Key::Dir(dir), None);
        let dir_attr = self.promise_attr(caller, dir).attr;
        let cx = self.context(caller);
        let mut page = resolve::list(&cx, &*self.store, dir, cookie, limit, want_attrs)?;
        let mut attr = dir_attr;
        if want_attrs {
            for (entry, row) in &mut page.entries {
                // Promise first, then state: so each is read again under its promise.
                attr &= self.promise_attr(caller, entry.ino).attr;
                if row.is_some() {
                    *row = self.store.inode(entry.ino)?.map(|inode| inode.attr);
                }
            }
        }
        Ok((page, Promised { as_of, attr, names }))
    }
}

/// The state moved under a read again and again.
pub(super) fn busy(what: &str) -> FsError {
    let after = std::time::Duration::from_millis(2);
    FsError::new(Code::Retry(after), format!("the {what} keeps changing"))
}
