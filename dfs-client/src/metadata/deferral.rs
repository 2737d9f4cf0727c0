//! Names that are known here and not yet at the server (`docs/design/0025`).

use super::ahead::{Delegation, Pending};
use super::cache::{Cache, Node};
use super::{Asked, Edit, Key, Metadata, Target};
use dfs_core::attr::{Attr, Kind};
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Ino, Seq, birth};
use dfs_proto::v1;
use std::collections::{HashMap, HashSet};

/// Files that were made here and are not told yet, and names that were removed.
#[derive(Default)]
pub(super) struct Untold {
    /// Their directories, and how many are in each.
    pub(super) dirs: HashMap<Ino, usize>,
    /// The attributes of the files as they were made.
    files: HashMap<Ino, Attr>,
    /// The removed names: nothing is made there before the server has removed them, too.
    pub(super) removed: HashSet<(Ino, Name)>,
    /// Changes of attributes that go with the names of files.
    pub(super) pending: Pending,
    /// Delegations so far.
    delegations: u64,
}

impl Untold {
    /// A delegation of its own.
    pub(super) fn delegation(&mut self) -> Delegation {
        self.delegations += 1;
        Delegation(self.delegations)
    }

    pub(super) fn is_removed(&self, dir: Ino, name: &Name) -> bool {
        !self.removed.is_empty() && self.removed.contains(&(dir, name.clone()))
    }
}

impl Metadata {
    /// Makes a file or a directory here before the server hears of it, if `dir` is delegated to this
    /// client and has no such name; `child` makes the attributes from those of the directory, or makes
    /// nothing. Until [`told`](Self::told) or [`unmade`](Self::unmade), or the same of
    /// directories, no reply of the server counts there.
    pub fn defer(
        &self,
        dir: Ino,
        name: &Name,
        child: impl FnOnce(&Attr) -> Option<Attr>,
    ) -> Option<Attr> {
        let attr = self.cache().defer(dir, name, child)?;
        self.saw(dir, name, Target::Present(attr.ino));
        Some(attr)
    }

    /// Changes the attributes of a file that the server has not heard of; if it has, it knows better.
    pub fn change_deferred(&self, ino: Ino, change: impl Fn(&mut Attr)) {
        self.cache().change_deferred(ino, change);
    }

    /// The server has made the file: takes its attributes and those of its directory from the reply.
    pub fn told(&self, asked: Asked, mark: &v1::Mark, dir: Attr, name: &Name, attr: Attr) {
        self.cache().told(asked, mark, dir, name, (attr, 0));
    }

    /// The server could not make the file now: what is known of it here stays.
    pub fn still_deferred(&self, ino: Ino) {
        self.cache().still_deferred(ino);
    }

    /// The server will never make the file.
    pub fn unmade(&self, dir: Ino, name: &Name, ino: Ino) {
        self.cache().unmade(dir, name, ino);
    }

    /// Removes a name here before the server has, if `dir` is delegated to this client, `name` leads to
    /// `victim`, and `may` says yes to the attributes of both. An empty directory; a file with this name
    /// only that is not `open`; or one with more names that nobody else can know. Answers the number of
    /// the change, 0 if it leaves no name. Until [`removed_ahead`](Self::removed_ahead) or [`not_removed`](Self::not_removed) no
    /// reply of the server counts there.
    pub fn remove_ahead(
        &self,
        place: (Ino, &Name),
        victim: Ino,
        (at, open): (Timestamp, bool),
        may: impl FnOnce(&Attr, &Attr) -> bool,
    ) -> Option<u64> {
        self.cache().remove_ahead(place, victim, (at, open), may)
    }

    /// The server has removed the name: takes the attributes of its directory and of what it led to,
    /// and the number of the change.
    pub fn removed_ahead(
        &self,
        asked: Asked,
        mark: &v1::Mark,
        dir: Attr,
        name: &Name,
        gone: (Attr, u64),
    ) {
        self.cache().removed_ahead(asked, mark, dir, name, gone);
    }

    /// The server has not removed the name: of what it led to, and of the change, the numbers.
    pub fn not_removed(&self, dir: Ino, name: &Name, victim: (Ino, u64)) {
        self.cache().not_removed(dir, name, victim);
    }
}

impl Cache {
    /// Notes that a directory is delegated, unless that ended since: an `undelegate` that overtook the
    /// reply has raised the number of the listing.
    pub(super) fn delegated(&mut self, asked: Asked, as_of: Seq, dir: Ino) {
        let valid = asked.era == self.era && self.recent.allows(&Key::Listing(dir), as_of);
        let known = self.dirs.get_mut(&dir).filter(|known| valid && known.delegated.is_none());
        if let Some(known) = known {
            known.delegated = Some(self.untold.delegation());
        }
    }

    /// Whether it is.
    pub(super) fn is_delegated(&mut self, dir: Ino) -> bool {
        self.dirs.get(&dir).is_some_and(|known| known.delegated.is_some())
    }

    /// Somebody else looks at the directory as of `seq`.
    pub(super) fn undelegate(&mut self, dir: Ino, seq: Seq) {
        self.recent.raise(Key::Listing(dir), seq);
        if let Some(known) = self.dirs.peek_mut(&dir) {
            known.delegated = None;
        }
    }

    /// Whether the server does not know all that is known here about a key.
    pub(super) fn is_deferring(&self, key: &Key) -> bool {
        let (Key::Attr(ino) | Key::Name(ino, _) | Key::Listing(ino) | Key::Dir(ino)) = key;
        let any = !self.untold.dirs.is_empty();
        any && (self.untold.dirs.contains_key(ino) || self.untold.pending.has(*ino))
    }

    /// See [`Metadata::defer`](super::Metadata::defer).
    pub(super) fn defer(
        &mut self,
        dir: Ino,
        name: &Name,
        child: impl FnOnce(&Attr) -> Option<Attr>,
    ) -> Option<Attr> {
        if !self.is_ours(dir)
            || self.name(dir, name) != Some(Target::Absent)
            || self.untold.is_removed(dir, name)
        {
            return None;
        }
        let parent = self.nodes.get_mut(&dir)?.attr.as_mut()?;
        // What is inherited of access control lists, the server knows.
        if parent.kind != Kind::Directory || parent.nlink == 0 || parent.has_xattrs {
            return None;
        }
        let attr = child(parent)?;
        birth::named_at(parent, attr.btime);
        parent.size += 1;
        let directory = attr.kind == Kind::Directory;
        parent.nlink += u32::from(directory);
        let dir_ver = parent.dir_ver;
        let mut home = None;
        if directory {
            self.found_empty(attr.ino);
        } else {
            self.untold.files.insert(attr.ino, attr.clone());
            home = self.dirs.peek(&dir).and_then(|known| Some((dir, known.delegated?)));
        }
        self.nodes.put(attr.ino, Node { attr: Some(attr.clone()), home, ..Node::default() });
        self.set_name(dir, name, Some(Target::Present(attr.ino)));
        self.edit_listing(true, dir, dir_ver, &Edit::Added(name.clone(), attr.ino, attr.kind));
        *self.untold.dirs.entry(dir).or_default() += 1;
        Some(attr)
    }

    /// Whether a directory is delegated, and no other change of it is under way.
    pub(super) fn is_ours(&mut self, dir: Ino) -> bool {
        let busy = [Key::Attr(dir), Key::Listing(dir), Key::Dir(dir)];
        !busy.iter().any(|key| self.hidden(key)) && self.is_delegated(dir)
    }

    /// See [`Metadata::remove_ahead`](super::Metadata::remove_ahead).
    pub(super) fn remove_ahead(
        &mut self,
        (dir, name): (Ino, &Name),
        victim: Ino,
        (at, open): (Timestamp, bool),
        may: impl FnOnce(&Attr, &Attr) -> bool,
    ) -> Option<u64> {
        let known = self.is_ours(dir) && self.name(dir, name) == Some(Target::Present(victim));
        let child = self.attr(victim).cloned().filter(|_| known)?;
        let directory = child.kind == Kind::Directory;
        let one_of_many = !directory && child.nlink > 1;
        let possible = match directory {
            true => {
                child.size == 0 && self.is_ours(victim) && !self.is_deferring(&Key::Dir(victim))
            }
            false if one_of_many => self.is_private(dir, victim),
            false => !open && child.nlink == 1 && !self.untold.files.contains_key(&victim),
        };
        let parent = self.nodes.get_mut(&dir).and_then(|node| node.attr.as_mut());
        let parent = parent.filter(|_| possible)?;
        if parent.nlink == 0 || parent.has_xattrs || !may(parent, &child) {
            return None;
        }
        birth::named_at(parent, at);
        parent.size = parent.size.saturating_sub(1);
        parent.nlink = parent.nlink.saturating_sub(directory.into());
        let dir_ver = parent.dir_ver;
        let number = match one_of_many {
            true => self.link_ahead(victim, -1, at),
            false => {
                self.forget(&Key::Attr(victim));
                0
            }
        };
        self.set_name(dir, name, Some(Target::Absent));
        self.edit_listing(true, dir, dir_ver, &Edit::Removed(name.clone()));
        *self.untold.dirs.entry(dir).or_default() += 1;
        self.untold.removed.insert((dir, name.clone()));
        Some(number)
    }

    /// See [`Metadata::removed_ahead`](super::Metadata::removed_ahead).
    pub(super) fn removed_ahead(
        &mut self,
        asked: Asked,
        mark: &v1::Mark,
        dir: Attr,
        name: &Name,
        (gone, number): (Attr, u64),
    ) {
        self.untold.removed.remove(&(dir.ino, name.clone()));
        if gone.kind == Kind::Directory {
            self.forget(&Key::Dir(gone.ino));
        }
        self.told(asked, mark, dir, name, (gone, number));
    }

    /// See [`Metadata::not_removed`](super::Metadata::not_removed).
    pub(super) fn not_removed(&mut self, dir: Ino, name: &Name, (victim, number): (Ino, u64)) {
        self.untold.removed.remove(&(dir, name.clone()));
        if number == 0 {
            return self.unmade(dir, name, victim);
        }
        self.not_linked(dir, name, (victim, number));
    }

    /// See [`Metadata::told`](super::Metadata::told).
    pub(super) fn told(
        &mut self,
        asked: Asked,
        mark: &v1::Mark,
        dir: Attr,
        name: &Name,
        (attr, number): (Attr, u64),
    ) {
        let (as_of, ino) = (Seq(mark.as_of), dir.ino);
        self.end_deferral(ino, attr.ino);
        self.settle_attr(asked, (as_of, mark.promised_attr), attr, number);
        self.changed_here(Key::Listing(ino), as_of);
        self.changed_here(Key::Name(ino, name.clone()), as_of);
        if !mark.promised_dir && self.dirs.contains(&ino) {
            self.set_name(ino, name, None);
        }
        match self.is_deferring(&Key::Attr(ino)) {
            // What is known here is newer.
            true => self.changed_here(Key::Attr(ino), as_of),
            false => self.own_dir(asked, as_of, mark.promised_dir_attr, dir),
        }
    }

    /// See [`Metadata::change_deferred`](super::Metadata::change_deferred).
    pub(super) fn change_deferred(&mut self, ino: Ino, change: impl Fn(&mut Attr)) {
        let Some(made) = self.untold.files.get_mut(&ino) else { return };
        change(made);
        if let Some(attr) = self.nodes.get_mut(&ino).and_then(|node| node.attr.as_mut()) {
            change(attr);
        }
    }

    /// See [`Metadata::unmade`](super::Metadata::unmade).
    pub(super) fn unmade(&mut self, dir: Ino, name: &Name, ino: Ino) {
        self.end_deferral(dir, ino);
        self.nodes.pop(&ino);
        [Key::Name(dir, name.clone()), Key::Attr(dir)].iter().for_each(|key| self.forget(key));
    }

    /// See [`Metadata::still_deferred`](super::Metadata::still_deferred).
    pub(super) fn still_deferred(&mut self, ino: Ino) {
        if let Some(attr) = self.untold.files.get(&ino) {
            self.nodes.get_or_insert_mut(ino, Node::default).attr.get_or_insert(attr.clone());
        }
    }

    pub(super) fn end_deferral(&mut self, dir: Ino, ino: Ino) {
        self.untold.files.remove(&ino);
        self.end_change_ahead(dir);
    }

    /// One change of a directory less is known here and not at the server.
    pub(super) fn end_change_ahead(&mut self, dir: Ino) {
        if let Some(count) = self.untold.dirs.get_mut(&dir) {
            *count -= 1;
            if *count == 0 {
                self.untold.dirs.remove(&dir);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{name, promised};
    use super::super::{Listing, plain_attr};
    use super::*;
    use crate::clock::ManualClock;
    use std::sync::Arc;
    use std::time::Duration;

    /// A directory without names that only this client knows, as of number 1.
    pub fn delegated() -> (Metadata, Ino) {
        let metadata = Metadata::new(Arc::new(ManualClock::new(Duration::ZERO)));
        let (asked, dir) = (metadata.asked(), Ino(5));
        metadata.store_attr(asked, &promised(1), plain_attr(dir, Kind::Directory));
        metadata.store_listing(asked, Seq(1), dir, Listing::new(0, Arc::default()));
        metadata.delegated(asked, Seq(1), dir);
        (metadata, dir)
    }

    pub fn make(metadata: &Metadata, dir: Ino, n: u64) -> Option<Attr> {
        metadata.defer(dir, &name(n), |_| Some(plain_attr(Ino(100 + n), Kind::File)))
    }

    #[test]
    fn deferred_names_outweigh_replies_until_the_last_is_told() {
        let (metadata, dir) = delegated();
        let asked = metadata.asked();
        let of_server = metadata.attr(dir).unwrap();
        make(&metadata, dir, 1).unwrap();
        make(&metadata, dir, 2).unwrap();
        let both = metadata.attr(dir).unwrap();
        assert_eq!((both.dir_ver, both.size), (of_server.dir_ver + 2, of_server.size + 2));
        assert_eq!(metadata.listing(dir).unwrap().items.len(), 2);
        // On its way since before, or read before the server was told.
        metadata.store_name(asked, &promised(9), dir, &name(1), Target::Absent);
        metadata.store_listing(asked, Seq(9), dir, Listing::new(0, Arc::default()));
        metadata.store_attr(asked, &promised(9), of_server.clone());
        assert_eq!(metadata.name(dir, &name(1)), Some(Target::Present(Ino(101))));
        let told = |n: u64, as_of: u64| {
            let mut dir = of_server.clone();
            let names = as_of - 9;
            (dir.dir_ver, dir.attr_ver) = (dir.dir_ver + names, dir.attr_ver + names);
            (dir.size, dir.mode) = (dir.size + names, 0o711);
            let attr = Attr { attr_ver: 2, ..plain_attr(Ino(100 + n), Kind::File) };
            metadata.told(metadata.asked(), &promised(as_of), dir, &name(n), attr);
        };
        told(2, 10);
        assert_eq!(metadata.attr(dir).unwrap(), both, "one is not told yet");
        told(1, 11);
        let now = metadata.attr(dir).unwrap();
        assert_eq!((now.dir_ver, now.mode), (both.dir_ver, 0o711), "as the server says");
        assert_eq!(metadata.listing(dir).unwrap().items.len(), 2);
        metadata.store_name(metadata.asked(), &promised(10), dir, &name(1), Target::Absent);
        assert_eq!(
            metadata.name(dir, &name(1)),
            Some(Target::Present(Ino(101))),
            "it was true before"
        );
    }

    #[test]
    fn delegation_that_was_overtaken_by_its_end_does_not_begin() {
        let (metadata, dir) = delegated();
        let asked = metadata.asked();
        let items = vec![v1::InvalItem { what: Some(v1::inval_item::What::Undelegate(dir.0)) }];
        metadata.push(&v1::Inval { seq: 7, items });
        metadata.delegated(asked, Seq(6), dir);
        assert!(!metadata.is_delegated(dir) && make(&metadata, dir, 1).is_none());
        metadata.delegated(asked, Seq(8), dir);
        assert!(make(&metadata, dir, 1).is_some());
    }

    #[test]
    fn name_that_was_refused_is_not_known_and_the_directory_neither() {
        let (metadata, dir) = delegated();
        make(&metadata, dir, 1).unwrap();
        metadata.unmade(dir, &name(1), Ino(101));
        assert_eq!((metadata.name(dir, &name(1)), metadata.attr(dir)), (None, None));
        assert_eq!(metadata.attr(Ino(101)), None);
    }

    #[test]
    fn directory_with_deferred_names_is_not_given_up() {
        let (metadata, dir) = delegated();
        make(&metadata, dir, 1).unwrap();
        assert!(!metadata.give_up(100).dirs.contains(&dir));
        assert!(metadata.is_delegated(dir));
    }
}
