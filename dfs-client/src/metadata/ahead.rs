//! Files that get or change names here before the server knows (`docs/design/0039`).
//!
//! Names are counted only of files of which nobody else can know anything: since they were made here, all
//! their names were of one directory, which has been delegated to this client all the time.

use super::cache::Cache;
use super::{Asked, Edit, Key, Metadata, Target};
use dfs_core::attr::{Attr, Kind};
use dfs_core::limits::LINK_MAX;
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Ino, Seq, birth};
use dfs_proto::v1;
use std::collections::{BTreeMap, HashMap};

/// A file gets a name in its directory.
#[derive(Clone, Debug)]
pub struct Naming {
    /// The directory.
    pub dir: Ino,
    /// The file.
    pub ino: Ino,
    /// The name that goes: this is a rename.
    pub old: Option<Name>,
    /// The new name.
    pub new: Name,
}

/// Which delegation of a directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delegation(pub(super) u64);

/// What changes of names, which the server has not answered, do to the attributes of files.
#[derive(Default)]
pub(super) struct Pending {
    last: u64,
    of: HashMap<Ino, BTreeMap<u64, Effect>>,
}

#[derive(Clone, Copy)]
struct Effect {
    links: i32,
    at: Timestamp,
}

impl Effect {
    fn apply(self, attr: &mut Attr) {
        attr.nlink = attr.nlink.saturating_add_signed(self.links);
        attr.ctime = attr.ctime.max(self.at);
    }
}

impl Pending {
    fn begin(&mut self, ino: Ino, effect: Effect) -> u64 {
        self.last += 1;
        self.of.entry(ino).or_default().insert(self.last, effect);
        self.last
    }

    fn end(&mut self, ino: Ino, number: u64) {
        if let Some(effects) = self.of.get_mut(&ino) {
            effects.remove(&number);
            if effects.is_empty() {
                self.of.remove(&ino);
            }
        }
    }

    /// Whether there is any of a file.
    pub(super) fn has(&self, ino: Ino) -> bool {
        self.of.contains_key(&ino)
    }

    /// Those that came after that one.
    fn after(&self, ino: Ino, number: u64) -> impl Iterator<Item = Effect> {
        self.of.get(&ino).into_iter().flat_map(move |all| all.range(number + 1..)).map(|(_, e)| *e)
    }
}

impl Metadata {
    /// Gives a file, or something else that is no directory, a name here before the server has, if that
    /// is free, and `may` says yes to the attributes of the directory and of the file. Answers the
    /// number of the change. Until [`named_ahead`](Self::named_ahead) or [`not_named`](Self::not_named)
    /// no reply of the server counts there.
    pub fn name_ahead(
        &self,
        naming: &Naming,
        at: Timestamp,
        may: impl FnOnce(&Attr, &Attr) -> bool,
    ) -> Option<u64> {
        let number = self.cache().name_ahead(naming, at, may)?;
        self.saw(naming.dir, &naming.new, Target::Present(naming.ino));
        Some(number)
    }

    /// The server has done that: takes the attributes of the directory and of the file, and the number of
    /// the change.
    pub fn named_ahead(
        &self,
        asked: Asked,
        mark: &v1::Mark,
        naming: &Naming,
        dir: Attr,
        named: (Attr, u64),
    ) {
        self.cache().named_ahead(asked, mark, naming, dir, named);
    }

    /// The server has not.
    pub fn not_named(&self, naming: &Naming, number: u64) {
        self.cache().not_named(naming, number);
    }

    /// A file is about to get a name that others may find.
    pub fn leaves_home(&self, ino: Ino) {
        self.cache().leaves_home(ino);
    }

    /// Whether the removal of a name is under way: no file can be made there before it is over.
    pub fn is_leaving(&self, dir: Ino, name: &Name) -> bool {
        self.cache().untold.is_removed(dir, name)
    }
}

impl Cache {
    /// Whether nobody else can know anything of a file with a name in `dir`.
    pub(super) fn is_private(&self, dir: Ino, ino: Ino) -> bool {
        let delegated = self.dirs.peek(&dir).and_then(|known| known.delegated);
        let home = self.nodes.peek(&ino).and_then(|node| node.home);
        delegated.is_some_and(|delegation| home == Some((dir, delegation)))
    }

    /// See [`Metadata::leaves_home`](super::Metadata::leaves_home).
    pub(super) fn leaves_home(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.peek_mut(&ino) {
            node.home = None;
        }
    }

    /// See [`Metadata::name_ahead`](super::Metadata::name_ahead).
    pub(super) fn name_ahead(
        &mut self,
        naming: &Naming,
        at: Timestamp,
        may: impl FnOnce(&Attr, &Attr) -> bool,
    ) -> Option<u64> {
        let Naming { dir, ino, old, new } = naming;
        let (dir, ino) = (*dir, *ino);
        let free = self.name(dir, new) == Some(Target::Absent) && !self.untold.is_removed(dir, new);
        let moves = |name| self.name(dir, name) == Some(Target::Present(ino));
        let possible = free && old.as_ref().is_none_or(moves);
        // Nobody must count the names. That one moves shows elsewhere in the time of the last change only.
        let uncounted = old.is_some() || self.is_private(dir, ino);
        if !possible || !uncounted || !self.is_ours(dir) {
            return None;
        }
        let links = i32::from(old.is_none());
        let child = self.attr(ino)?.clone();
        let full = links > 0 && child.nlink >= LINK_MAX;
        if child.kind == Kind::Directory || child.nlink == 0 || full {
            return None;
        }
        let parent = self.nodes.get_mut(&dir)?.attr.as_mut()?;
        if parent.nlink == 0 || parent.has_xattrs || !may(parent, &child) {
            return None;
        }
        birth::named_at(parent, at);
        parent.size += u64::from(old.is_none());
        let dir_ver = parent.dir_ver;
        let edit = match old {
            None => Edit::Added(new.clone(), ino, child.kind),
            Some(old) => Edit::Moved(vec![old.clone()], new.clone(), ino, child.kind),
        };
        if let Some(old) = old {
            self.set_name(dir, old, Some(Target::Absent));
            self.untold.removed.insert((dir, old.clone()));
        }
        self.set_name(dir, new, Some(Target::Present(ino)));
        self.edit_listing(true, dir, dir_ver, &edit);
        *self.untold.dirs.entry(dir).or_default() += 1;
        Some(self.link_ahead(ino, links, at))
    }

    /// A file has so many names more than the server knows.
    pub(super) fn link_ahead(&mut self, ino: Ino, links: i32, at: Timestamp) -> u64 {
        let effect = Effect { links, at };
        if let Some(attr) = self.nodes.get_mut(&ino).and_then(|node| node.attr.as_mut()) {
            effect.apply(attr);
        }
        self.untold.pending.begin(ino, effect)
    }

    /// See [`Metadata::named_ahead`](super::Metadata::named_ahead).
    pub(super) fn named_ahead(
        &mut self,
        asked: Asked,
        mark: &v1::Mark,
        naming: &Naming,
        dir: Attr,
        (attr, number): (Attr, u64),
    ) {
        if let Some(old) = &naming.old {
            self.untold.removed.remove(&(dir.ino, old.clone()));
            self.changed_here(Key::Name(dir.ino, old.clone()), Seq(mark.as_of));
            if !mark.promised_dir && self.dirs.contains(&dir.ino) {
                self.set_name(dir.ino, old, None);
            }
        }
        self.told(asked, mark, dir, &naming.new, (attr, number));
    }

    /// The attributes of a file as a reply to change `number` of its names gives them: what was
    /// changed since is laid over them.
    pub(super) fn settle_attr(
        &mut self,
        asked: Asked,
        (as_of, promised): (Seq, bool),
        mut attr: Attr,
        number: u64,
    ) {
        let ino = attr.ino;
        self.untold.pending.end(ino, number);
        let later: Vec<Effect> = self.untold.pending.after(ino, number).collect();
        if later.is_empty() {
            return self.own_attr(asked, as_of, promised, attr);
        }
        self.changed_here(Key::Attr(ino), as_of);
        later.into_iter().for_each(|effect| effect.apply(&mut attr));
        let known = self.nodes.get_mut(&ino).and_then(|node| node.attr.as_mut());
        if let Some(known) = known.filter(|known| known.attr_ver <= attr.attr_ver)
            && asked.era == self.era
        {
            *known = attr;
        }
    }

    /// See [`Metadata::not_named`](super::Metadata::not_named).
    pub(super) fn not_named(&mut self, naming: &Naming, number: u64) {
        let Naming { dir, ino, old, new } = naming;
        if let Some(old) = old {
            self.untold.removed.remove(&(*dir, old.clone()));
            self.forget(&Key::Name(*dir, old.clone()));
        }
        self.not_linked(*dir, new, (*ino, number));
    }

    /// A change of one name of a file did not take place.
    pub(super) fn not_linked(&mut self, dir: Ino, name: &Name, (ino, number): (Ino, u64)) {
        self.untold.pending.end(ino, number);
        self.end_change_ahead(dir);
        for key in [Key::Name(dir, name.clone()), Key::Attr(dir), Key::Attr(ino)] {
            self.forget(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{name, promised};
    use super::super::{Listing, plain_attr};
    use super::*;
    use crate::clock::ManualClock;
    use std::sync::Arc;
    use std::time::Duration;

    const DIR: Ino = Ino(5);
    const FILE: Ino = Ino(101);

    fn mark(as_of: u64) -> v1::Mark {
        v1::Mark { delegated_dir: true, ..promised(as_of) }
    }

    /// A directory that only this client knows, as of number 1, and a file `1` that was made in it.
    fn with_a_file() -> Metadata {
        let metadata = Metadata::new(Arc::new(ManualClock::new(Duration::ZERO)));
        let asked = metadata.asked();
        metadata.store_attr(asked, &promised(1), plain_attr(DIR, Kind::Directory));
        metadata.store_listing(asked, Seq(1), DIR, Listing::new(0, Arc::default()));
        metadata.delegated(asked, Seq(1), DIR);
        metadata.defer(DIR, &name(1), |_| Some(plain_attr(FILE, Kind::File))).unwrap();
        metadata
    }

    fn naming(old: Option<u64>, new: u64) -> Naming {
        Naming { dir: DIR, ino: FILE, old: old.map(name), new: name(new) }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, ..Timestamp::default() }
    }

    fn give(metadata: &Metadata, naming: &Naming, when: i64) -> Option<u64> {
        metadata.name_ahead(naming, at(when), |_, _| true)
    }

    /// What the server says of the file, in this version.
    fn file(attr_ver: u64, nlink: u32) -> Attr {
        Attr { attr_ver, nlink, size: 77, ..plain_attr(FILE, Kind::File) }
    }

    /// What the server says of the directory after so many changes of names.
    fn dir(changes: u64, size: u64) -> Attr {
        let attr = plain_attr(DIR, Kind::Directory);
        Attr { attr_ver: attr.attr_ver + changes, dir_ver: changes, size, ..attr }
    }

    fn names(metadata: &Metadata) -> Vec<u64> {
        let there = |n: &u64| metadata.name(DIR, &name(*n)) == Some(Target::Present(FILE));
        (1..5).filter(there).collect()
    }

    fn nlink(metadata: &Metadata) -> u32 {
        metadata.attr(FILE).unwrap().nlink
    }

    #[test]
    fn named_file_is_shown_as_it_will_be_whatever_is_answered_meanwhile() {
        let metadata = with_a_file();
        let asked = metadata.asked();
        let link = naming(None, 2);
        let linked = give(&metadata, &link, 50).unwrap();
        let may = |_: &Attr, _: &Attr| true;
        let removed = metadata.remove_ahead((DIR, &name(1)), FILE, (at(60), true), may).unwrap();
        let shown = |metadata: &Metadata, size| {
            let attr = metadata.attr(FILE).unwrap();
            assert_eq!((attr.nlink, attr.ctime.seconds, attr.size), (1, 60, size));
            assert_eq!(names(metadata), [2]);
            assert_eq!(metadata.listing(DIR).unwrap().items.len(), 1);
        };
        shown(&metadata, 0);
        // The file is made; then its second name; then the first one goes.
        metadata.told(asked, &mark(10), dir(1, 1), &name(1), file(1, 1));
        shown(&metadata, 77);
        metadata.named_ahead(asked, &mark(11), &link, dir(2, 2), (file(2, 2), linked));
        shown(&metadata, 77);
        let gone = Attr { ctime: at(60), ..file(3, 1) };
        metadata.removed_ahead(asked, &mark(12), dir(3, 1), &name(1), (gone, removed));
        shown(&metadata, 77);
        assert_eq!(metadata.attr(DIR).unwrap().size, 1);
        // Both names have been used, and are free.
        let back = naming(Some(2), 1);
        let number = give(&metadata, &back, 70).unwrap();
        assert!(names(&metadata) == [1] && metadata.is_leaving(DIR, &name(2)));
        metadata.named_ahead(asked, &mark(13), &back, dir(4, 1), (file(4, 1), number));
        assert!(names(&metadata) == [1] && !metadata.is_leaving(DIR, &name(2)));
        assert_eq!(nlink(&metadata), 1);
    }

    #[test]
    fn name_that_was_refused_is_asked_for() {
        let metadata = with_a_file();
        metadata.told(metadata.asked(), &mark(10), dir(1, 1), &name(1), file(1, 1));
        let naming = naming(Some(1), 2);
        let number = give(&metadata, &naming, 50).unwrap();
        metadata.not_named(&naming, number);
        for n in [1, 2] {
            assert_eq!(metadata.name(DIR, &name(n)), None);
        }
        assert_eq!((metadata.attr(DIR), metadata.attr(FILE)), (None, None));
        metadata.store_attr(metadata.asked(), &promised(11), file(1, 1));
        assert_eq!(nlink(&metadata), 1);
    }

    #[test]
    fn file_that_others_may_know_is_linked_by_the_server() {
        let undelegated = |metadata: &Metadata| {
            let what = v1::inval_item::What::Undelegate(DIR.0);
            let items = vec![v1::InvalItem { what: Some(what) }];
            metadata.push(&v1::Inval { seq: 20, items });
            metadata.delegated(metadata.asked(), Seq(30), DIR);
        };
        let is_named = |before: &dyn Fn(&Metadata)| {
            let metadata = with_a_file();
            metadata.told(metadata.asked(), &mark(10), dir(1, 1), &name(1), file(1, 1));
            before(&metadata);
            assert!(metadata.is_delegated(DIR));
            assert!(give(&metadata, &naming(None, 1), 50).is_none(), "the name is taken");
            let linked = give(&metadata, &naming(None, 2), 50).is_some();
            assert!(give(&metadata, &naming(Some(1), 3), 60).is_some(), "nobody counts names");
            linked
        };
        assert!(!is_named(&undelegated));
        assert!(!is_named(&|metadata| metadata.leaves_home(FILE)));
        assert!(is_named(&|_| {}));
        let metadata = with_a_file();
        assert!(metadata.name_ahead(&naming(None, 2), at(50), |_, _| false).is_none());
        assert_eq!((names(&metadata), nlink(&metadata)), (vec![1], 1));
    }
}
