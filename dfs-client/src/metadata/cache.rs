//! What is known and promised, and what the kernel may still believe. Pure: no clock, no locks.

use super::ahead::Delegation;
use super::deferral::Untold;
use super::listing::{Edit, LISTING_MAX, Listing};
use super::recent::Recent;
use super::{Asked, Key, Promised, Stale, Target, Xattrs};
use crate::kernel::StaleEntry;
use dfs_core::attr::Attr;
use dfs_core::name::Name;
use dfs_core::{BootTime, Ino, Seq};
use lru::LruCache;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Longer listings are dropped when a name goes here: to look for it costs more than to ask again.
const SEARCHED_MAX: usize = 4096;

/// An inode under promise. `attr` is missing after a change made here whose outcome is not known in
/// full; what the kernel was told must still be remembered then.
#[derive(Default)]
pub(super) struct Node {
    pub(super) attr: Option<Attr>,
    pub(super) xattrs: Option<Arc<Xattrs>>,
    pub(super) kernel_until: BootTime,
    /// While this delegation lasts: the directory that all its names were in.
    pub(super) home: Option<(Ino, Delegation)>,
}

/// A name of a directory under promise; `target` may be missing as in [`Node`].
#[derive(Default)]
pub(super) struct Entry {
    pub(super) target: Option<Target>,
    pub(super) kernel_until: BootTime,
}

/// The names of a directory under promise.
#[derive(Default)]
pub(super) struct Dir {
    pub(super) names: HashMap<Name, Entry>,
    /// With a listing, a name that is not in `names` does not exist.
    pub(super) listing: Option<Listing>,
    /// The kernel may have a listing.
    in_kernel: bool,
    /// Nobody else knows anything of it.
    pub(super) delegated: Option<Delegation>,
}

impl Dir {
    /// What it costs against the bound on names.
    pub(super) fn weight(&self) -> usize {
        self.names.len() + self.listing.as_ref().map_or(0, |l| l.items.len())
    }
}

/// See the module.
pub(super) struct Cache {
    pub(super) nodes: LruCache<Ino, Node>,
    pub(super) dirs: LruCache<Ino, Dir>,
    /// Sum of the weights of `dirs`.
    pub(super) weight: usize,
    pub(super) recent: Recent,
    pub(super) era: u64,
    /// Keys that a change made here touches while it runs.
    changing: HashMap<Key, usize>,
    /// What the server has not heard of.
    pub(super) untold: Untold,
    /// Promises given up, until the server is known to have heard of it: a reply that crossed the
    /// message on the wire carries a promise the server is about to drop.
    pub(super) leaving: HashSet<Key>,
}

impl Cache {
    pub(super) fn new() -> Cache {
        Cache {
            nodes: LruCache::unbounded(),
            dirs: LruCache::unbounded(),
            weight: 0,
            recent: Recent::default(),
            era: 0,
            changing: HashMap::new(),
            untold: Untold::default(),
            leaving: HashSet::new(),
        }
    }

    // Questions.

    pub(super) fn hidden(&self, key: &Key) -> bool {
        !self.changing.is_empty() && self.changing.contains_key(key)
    }

    pub(super) fn attr(&mut self, ino: Ino) -> Option<&Attr> {
        if self.hidden(&Key::Attr(ino)) {
            return None;
        }
        self.nodes.get(&ino)?.attr.as_ref()
    }

    pub(super) fn xattrs(&mut self, ino: Ino) -> Option<Arc<Xattrs>> {
        let hidden = self.hidden(&Key::Attr(ino));
        self.nodes.get(&ino).filter(|_| !hidden)?.xattrs.clone()
    }

    pub(super) fn name(&mut self, dir: Ino, name: &Name) -> Option<Target> {
        if !self.changing.is_empty() && self.hidden(&Key::Name(dir, name.clone())) {
            return None;
        }
        let dir = self.dirs.get(&dir)?;
        match dir.names.get(name) {
            Some(entry) => entry.target,
            None => dir.listing.is_some().then_some(Target::Absent),
        }
    }

    pub(super) fn listing(&mut self, dir: Ino) -> Option<Listing> {
        let hidden = self.hidden(&Key::Listing(dir));
        self.dirs.get(&dir).filter(|_| !hidden)?.listing.clone()
    }

    // What the kernel is told.

    pub(super) fn lend_listing(&mut self, dir: Ino, id: u64) -> bool {
        let present = self.listing(dir).is_some_and(|listing| listing.id == id);
        if let Some(known) = self.dirs.get_mut(&dir).filter(|_| present) {
            known.in_kernel = true;
        }
        present
    }

    pub(super) fn lend_attr(&mut self, ino: Ino, until: BootTime) -> Option<Attr> {
        if self.hidden(&Key::Attr(ino)) {
            return None;
        }
        let node = self.nodes.get_mut(&ino)?;
        let attr = node.attr.clone()?;
        node.kernel_until = node.kernel_until.max(until);
        Some(attr)
    }

    pub(super) fn lend_name(
        &mut self,
        dir: Ino,
        name: &Name,
        target: Target,
        until: BootTime,
    ) -> bool {
        if self.name(dir, name) != Some(target) {
            return false;
        }
        let dir = self.dirs.get_mut(&dir).expect("the name was found in it");
        if !dir.names.contains_key(name) {
            self.weight += 1;
        }
        let entry = dir.names.entry(name.clone()).or_default();
        entry.target = Some(target);
        entry.kernel_until = entry.kernel_until.max(until);
        true
    }

    // Replies to reads.

    /// Whether a reply about `key` may be kept. `promise`: the key whose promise covers it.
    fn keeps(&self, asked: Asked, promised: Promised, key: &Key, promise: &Key) -> bool {
        promised.0.is_some_and(|as_of| {
            asked.era == self.era
                && self.recent.allows(key, as_of)
                && self.recent.allows(promise, as_of)
                && !self.leaving.contains(promise)
                && !self.is_deferring(key)
        })
    }

    /// Keeps attributes if that is safe. Returns those to use: the cached ones if they are newer.
    pub(super) fn store_attr(&mut self, asked: Asked, promised: Promised, attr: Attr) -> Attr {
        let key = Key::Attr(attr.ino);
        if let Some(cached) = self.nodes.peek(&attr.ino).and_then(|node| node.attr.as_ref())
            && (cached.attr_ver > attr.attr_ver || self.untold.pending.has(attr.ino))
        {
            return cached.clone();
        }
        if self.keeps(asked, promised, &key, &key) {
            let node = self.nodes.get_or_insert_mut(attr.ino, Node::default);
            if node.attr.as_ref().is_none_or(|old| old.attr_ver != attr.attr_ver) {
                node.xattrs = None;
            }
            node.attr = Some(attr.clone());
        }
        attr
    }

    pub(super) fn store_xattrs(
        &mut self,
        asked: Asked,
        promised: Promised,
        attr: Attr,
        xattrs: Arc<Xattrs>,
    ) {
        let (ino, ver) = (attr.ino, attr.attr_ver);
        let key = Key::Attr(ino);
        self.store_attr(asked, promised, attr);
        if self.keeps(asked, promised, &key, &key)
            && let Some(node) = self.nodes.get_mut(&ino)
            && node.attr.as_ref().is_some_and(|attr| attr.attr_ver == ver)
        {
            node.xattrs = Some(xattrs);
        }
    }

    pub(super) fn store_name(
        &mut self,
        asked: Asked,
        promised: Promised,
        dir: Ino,
        name: &Name,
        target: Target,
    ) {
        let key = Key::Name(dir, name.clone());
        if self.keeps(asked, promised, &key, &Key::Dir(dir)) {
            self.set_name(dir, name, Some(target));
        }
    }

    pub(super) fn store_listing(
        &mut self,
        asked: Asked,
        promised: Promised,
        dir: Ino,
        listing: Listing,
    ) {
        if !self.keeps(asked, promised, &Key::Listing(dir), &Key::Dir(dir)) {
            return;
        }
        for item in listing.items.iter() {
            self.set_name(dir, &item.name, Some(Target::Present(item.ino)));
        }
        let known = self.dirs.get_or_insert_mut(dir, Dir::default);
        self.weight -= known.weight();
        // Names that the listing does not have do not exist.
        let listed: HashSet<&Name> = listing.items.iter().map(|item| &item.name).collect();
        for (name, entry) in &mut known.names {
            if !listed.contains(name) {
                entry.target = Some(Target::Absent);
            }
        }
        drop(listed);
        known.listing = Some(listing);
        self.weight += known.weight();
    }

    /// A name whose state is unknown and a complete listing exclude each other.
    pub(super) fn set_name(&mut self, dir: Ino, name: &Name, target: Option<Target>) {
        if target.is_none() {
            self.drop_listing(dir);
        }
        let dir = self.dirs.get_or_insert_mut(dir, Dir::default);
        if let Some(entry) = dir.names.get_mut(name) {
            entry.target = target;
        } else if target.is_some() {
            dir.names.insert(name.clone(), Entry { target, ..Entry::default() });
            self.weight += 1;
        }
    }

    // Changes made here.

    pub(super) fn begin(&mut self, keys: &[Key]) {
        for key in keys {
            *self.changing.entry(key.clone()).or_default() += 1;
        }
    }

    pub(super) fn end(&mut self, keys: &[Key]) {
        for key in keys {
            let running = self.changing.get_mut(key).expect("the change was begun");
            *running -= 1;
            if *running == 0 {
                self.changing.remove(key);
            }
        }
    }

    /// A read that was answered before a change made here is void, like after a push; one answered
    /// at the very number of the change has seen it.
    pub(super) fn changed_here(&mut self, key: Key, as_of: Seq) {
        self.recent.raise(key, Seq(as_of.0.saturating_sub(1)));
    }

    pub(super) fn own_attr(&mut self, asked: Asked, as_of: Seq, promised: bool, attr: Attr) {
        let (ino, key) = (attr.ino, Key::Attr(attr.ino));
        self.changed_here(key.clone(), as_of);
        let newer = |old: &Attr| old.attr_ver > attr.attr_ver;
        if self.nodes.peek(&ino).and_then(|node| node.attr.as_ref()).is_some_and(newer) {
            return;
        }
        if self.keeps(asked, Promised(promised.then_some(as_of)), &key, &key) {
            let node = self.nodes.get_or_insert_mut(ino, Node::default);
            node.xattrs = None;
            node.attr = Some(attr);
        } else {
            self.forget(&key);
        }
    }

    /// The directory of a name changed here. An earlier promise of its attributes stays (PROTOCOL
    /// H8), also where the reply gives none.
    pub(super) fn own_dir(&mut self, asked: Asked, as_of: Seq, promised: bool, attr: Attr) {
        let known = self.nodes.peek(&attr.ino).is_some_and(|node| node.attr.is_some());
        self.own_attr(asked, as_of, promised || known, attr);
    }

    pub(super) fn own_name(
        &mut self,
        asked: Asked,
        as_of: Seq,
        promised: bool,
        dir: Ino,
        name: &Name,
        target: Option<Target>,
    ) {
        let key = Key::Name(dir, name.clone());
        self.changed_here(key.clone(), as_of);
        let kept = self.keeps(asked, Promised(promised.then_some(as_of)), &key, &Key::Dir(dir));
        if kept || self.dirs.contains(&dir) {
            self.set_name(dir, name, target.filter(|_| kept));
        }
    }

    /// A name of `dir` changed here as `edit` says, which moved the directory to `dir_ver`.
    pub(super) fn own_listing(&mut self, as_of: Seq, dir: Ino, dir_ver: u64, edit: &Edit) {
        self.changed_here(Key::Listing(dir), as_of);
        let allowed = self.recent.allows(&Key::Listing(dir), as_of);
        self.edit_listing(allowed, dir, dir_ver, edit);
    }

    /// Shows a change in a listing, if that is allowed; else there is none any more.
    pub(super) fn edit_listing(&mut self, allowed: bool, dir: Ino, dir_ver: u64, edit: &Edit) {
        let Some(known) = self.dirs.get_mut(&dir) else { return };
        self.weight -= known.weight();
        let bound = match edit {
            Edit::Added(..) => LISTING_MAX - 1,
            Edit::Removed(_) | Edit::Moved(..) | Edit::Unknown => SEARCHED_MAX,
        };
        let old = known.listing.take().filter(|l| allowed && l.items.len() <= bound);
        known.listing = old.and_then(|listing| listing.after(edit, dir_ver));
        self.weight += known.weight();
    }

    /// Forgets what is known of a key, but neither the promise nor what the kernel was told.
    pub(super) fn forget(&mut self, key: &Key) {
        match key {
            Key::Attr(ino) => {
                if let Some(node) = self.nodes.get_mut(ino) {
                    (node.attr, node.xattrs) = (None, None);
                }
            }
            Key::Name(dir, name) => {
                self.drop_listing(*dir);
                if self.dirs.contains(dir) {
                    self.set_name(*dir, name, None);
                }
            }
            Key::Listing(dir) => self.drop_listing(*dir),
            Key::Dir(dir) => {
                self.drop_listing(*dir);
                if let Some(dir) = self.dirs.get_mut(dir) {
                    dir.names.values_mut().for_each(|entry| entry.target = None);
                }
            }
        }
    }

    fn drop_listing(&mut self, dir: Ino) {
        if let Some(dir) = self.dirs.get_mut(&dir) {
            self.weight -= dir.listing.take().map_or(0, |listing| listing.items.len());
        }
    }

    // Pushes.

    /// Attributes of `ino` change at `seq`; the promise is used up.
    pub(super) fn push_attr(&mut self, ino: Ino, seq: Seq, now: BootTime, stale: &mut Stale) {
        self.recent.raise(Key::Attr(ino), seq);
        self.nodes.pop(&ino).iter().for_each(|node| stale.attr(ino, node, now));
    }

    /// Names of `dir` change at `seq`; the promise stays.
    pub(super) fn push_names(
        &mut self,
        dir: Ino,
        names: &[Name],
        seq: Seq,
        now: BootTime,
        stale: &mut Stale,
    ) {
        self.recent.raise(Key::Listing(dir), seq);
        self.drop_listing(dir);
        if self.dirs.get_mut(&dir).is_some_and(|known| std::mem::take(&mut known.in_kernel)) {
            stale.listings.push(dir);
        }
        for name in names {
            self.recent.raise(Key::Name(dir, name.clone()), seq);
            let Some(known) = self.dirs.get_mut(&dir) else { continue };
            let Some(entry) = known.names.remove(name) else { continue };
            self.weight -= 1;
            stale.entry(dir, name, &entry, now);
        }
    }

    /// Everything about the names of `dir` changes at `seq`; the promise is used up.
    pub(super) fn push_dir(&mut self, dir: Ino, seq: Seq, now: BootTime, stale: &mut Stale) {
        self.recent.raise(Key::Dir(dir), seq);
        self.recent.raise(Key::Listing(dir), seq);
        self.pop_dir(dir, now, stale);
    }

    pub(super) fn pop_dir(&mut self, dir: Ino, now: BootTime, stale: &mut Stale) {
        let Some(known) = self.dirs.pop(&dir) else { return };
        self.weight -= known.weight();
        stale.listings.extend(known.in_kernel.then_some(dir));
        known.names.iter().for_each(|(name, entry)| stale.entry(dir, name, entry, now));
    }

    /// Everything promised up to `seq` is void. Tells what the kernel may believe after `now`.
    pub(super) fn push_all(&mut self, seq: Seq, now: BootTime) -> Stale {
        self.recent.raise_floor(seq);
        self.clear(now)
    }

    /// All promises are void, also those of replies still on their way.
    pub(super) fn next_era(&mut self, now: BootTime) -> Stale {
        self.era += 1;
        self.clear(now)
    }

    fn clear(&mut self, now: BootTime) -> Stale {
        let stale = self.believed(now);
        self.nodes.clear();
        self.dirs.clear();
        self.weight = 0;
        stale
    }

    /// Everything the kernel may still believe after `now`.
    pub(super) fn believed(&self, now: BootTime) -> Stale {
        let mut stale = Stale::default();
        let nodes = self.nodes.iter().filter(|(_, node)| node.kernel_until > now);
        stale.attrs.extend(nodes.map(|(ino, _)| *ino));
        for (dir, known) in &self.dirs {
            stale.listings.extend(known.in_kernel.then_some(*dir));
            known.names.iter().for_each(|(name, entry)| stale.entry(*dir, name, entry, now));
        }
        stale
    }

    // Bounds.

    /// Gives up the least used inode and the least used directory, if there are more than so many.
    pub(super) fn give_up(
        &mut self,
        nodes: usize,
        weight: usize,
        now: BootTime,
        out: &mut super::GivenUp,
    ) {
        if self.nodes.len() > nodes
            && let Some((ino, node)) = self.nodes.pop_lru()
        {
            self.leaving.insert(Key::Attr(ino));
            out.attrs.push(ino);
            out.stale.attr(ino, &node, now);
        }
        if self.weight > weight
            && let Some((&dir, _)) = self.dirs.peek_lru()
        {
            if self.untold.dirs.contains_key(&dir) {
                // The server must hear first.
                self.dirs.promote(&dir);
                return;
            }
            self.leaving.insert(Key::Dir(dir));
            out.dirs.push(dir);
            self.pop_dir(dir, now, &mut out.stale);
        }
    }
}

impl Stale {
    pub(super) fn attr(&mut self, ino: Ino, node: &Node, now: BootTime) {
        if node.kernel_until > now {
            self.attrs.push(ino);
        }
    }

    fn entry(&mut self, dir: Ino, name: &Name, entry: &Entry, now: BootTime) {
        if entry.kernel_until > now {
            self.entries.push(StaleEntry { dir, name: name.clone(), deleted: None });
        }
    }
}
