//! What this client knows under promises of the server: attributes, names, listings, extended
//! attributes (PROTOCOL 3). Decides which replies may be kept and what a push makes void.
//!
//! Invariant: what a question is answered with from here was true when the question was asked, as
//! long as the session lease was live then; the caller checks the lease. One lock, never held across
//! anything that waits.

mod ahead;
mod cache;
mod deferral;
mod directory;
mod listing;
mod places;
mod recent;
mod siblings;
#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::kernel::StaleEntry;
pub use ahead::Naming;
use cache::Cache;
use dfs_core::attr::Attr;
use dfs_core::name::Name;
use dfs_core::{BootTime, Ino, Seq};
use dfs_proto::v1;
pub use listing::{Edit, FIRST_COOKIE, Item, LISTING_MAX, Listing};
use places::Places;
use siblings::Siblings;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Inodes kept. With the directories well below what the server promises one session.
pub const NODES_MAX: usize = 131_072;
/// Names kept in all directories together; a listing counts its names once more.
pub const NAMES_MAX: usize = 524_288;
/// New things are refused from this excess on, until the excess was given up.
const EXCESS: usize = 8192;

/// Longer than any mount lasts: what the kernel keeps until it is told otherwise.
const KEPT_BY_THE_KERNEL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Names of an inode's extended attributes with their values, sorted by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// One thing that changes as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Attributes, extended attributes and link target of an inode.
    Attr(Ino),
    /// One name of a directory.
    Name(Ino, Name),
    /// The list of all names of a directory.
    Listing(Ino),
    /// Everything about the names of a directory.
    Dir(Ino),
}

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An inode.
    Present(Ino),
    /// Nothing.
    Absent,
}

/// When a question was sent: in which era. An era ends when promises become void of which replies on
/// their way may still tell; those replies are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    era: u64,
}

/// A promise: the sequence number at which the reply was true, or none.
#[derive(Clone, Copy, Debug)]
struct Promised(Option<Seq>);

/// What the kernel may still believe and must be told to forget.
#[derive(Debug, Default)]
pub struct Stale {
    /// Inodes whose attributes it may have.
    pub attrs: Vec<Ino>,
    /// Names it may have.
    pub entries: Vec<StaleEntry>,
    /// Directories of which it may have a listing.
    pub listings: Vec<Ino>,
}

impl Stale {
    /// Whether it believes nothing.
    pub fn is_empty(&self) -> bool {
        self.attrs.is_empty() && self.entries.is_empty() && self.listings.is_empty()
    }
}

/// Promises given up for lack of room.
#[derive(Debug, Default)]
pub struct GivenUp {
    /// Inodes.
    pub attrs: Vec<Ino>,
    /// Directories.
    pub dirs: Vec<Ino>,
    /// What the kernel must forget before the server may be told.
    pub stale: Stale,
}

impl GivenUp {
    /// Whether nothing was given up.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.attrs.len() + self.dirs.len()
    }
}

/// A change of a directory's names made here, as its reply tells it.
#[derive(Debug)]
pub struct Renamed<'a> {
    /// The directory after the change.
    pub dir: Attr,
    /// The name that changed.
    pub name: &'a Name,
    /// What it leads to now; `None` if the reply does not say.
    pub target: Option<Target>,
    /// How the listing changed, unless another part of the same change says so.
    pub edit: Option<Edit>,
}

/// See the module.
pub struct Metadata {
    clock: Arc<dyn Clock>,
    cache: Mutex<Cache>,
    /// Taken last, and for a moment.
    places: Mutex<Places>,
    /// Likewise.
    siblings: Mutex<Siblings>,
}

impl Metadata {
    /// Knows nothing.
    pub fn new(clock: Arc<dyn Clock>) -> Metadata {
        let (cache, places) = (Mutex::new(Cache::new()), Mutex::new(Places::new()));
        Metadata { clock, cache, places, siblings: Mutex::new(Siblings::new()) }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().expect("a panic under this lock is a bug already reported")
    }

    /// Paths for people begin at this directory.
    pub fn paths_begin_at(&self, root: Ino) {
        self.places().begin_at(root);
    }

    /// The path by which an inode was seen last, for people: `inode N` where nothing is known, and
    /// possibly an older one where others renamed something.
    pub fn last_path(&self, ino: Ino) -> Vec<u8> {
        self.places().path(ino)
    }

    /// The name by which an inode was seen last, if that is still known.
    pub fn last_name(&self, ino: Ino) -> Option<Name> {
        self.places().name(ino)
    }

    /// The server was asked for a name in a directory of so many entries. True: it is worth to list
    /// it, there is room for that, and the caller says so when that has ended.
    pub fn begin_siblings(&self, dir: Ino, entries: u64) -> bool {
        let room = {
            let cache = self.cache();
            let fits = |used: usize, most| used as u64 + entries <= most as u64 / 2;
            fits(cache.nodes.len(), NODES_MAX) && fits(cache.weight, NAMES_MAX)
        };
        room && self.siblings().asked(dir, entries)
    }

    /// See [`begin_siblings`](Self::begin_siblings).
    pub fn end_siblings(&self, dir: Ino) {
        self.siblings().listed(dir);
    }

    fn siblings(&self) -> MutexGuard<'_, Siblings> {
        self.siblings.lock().expect("a panic under this lock is a bug already reported")
    }

    /// The directory in which an inode was seen last, if that is still known.
    pub fn last_dir(&self, ino: Ino) -> Option<Ino> {
        self.places().dir(ino)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().expect("a panic under this lock is a bug already reported")
    }

    /// To be taken before a question is sent whose reply shall be kept.
    pub fn asked(&self) -> Asked {
        Asked { era: self.cache().era }
    }

    /// Attributes.
    pub fn attr(&self, ino: Ino) -> Option<Attr> {
        self.cache().attr(ino).cloned()
    }

    /// What a name leads to.
    pub fn name(&self, dir: Ino, name: &Name) -> Option<Target> {
        self.cache().name(dir, name)
    }

    /// A complete listing.
    pub fn listing(&self, dir: Ino) -> Option<Listing> {
        self.cache().listing(dir)
    }

    /// Whether the kernel may keep this listing: it is the present one, and the kernel will be told
    /// when it changes elsewhere.
    pub fn lend_listing(&self, dir: Ino, id: u64) -> bool {
        self.cache().lend_listing(dir, id)
    }

    /// All extended attributes.
    pub fn xattrs(&self, ino: Ino) -> Option<Arc<Xattrs>> {
        self.cache().xattrs(ino)
    }

    /// Attributes the kernel may keep for `ttl` from now on; none if they are not promised. The
    /// kernel will be told when they change.
    pub fn lend_attr(&self, ino: Ino, ttl: Duration) -> Option<Attr> {
        if ttl.is_zero() {
            return None;
        }
        let until = self.clock.now() + ttl;
        self.cache().lend_attr(ino, until)
    }

    /// Whether the kernel will be told when an inode's access control lists change, which it keeps
    /// without a lifetime.
    pub fn lend_acls(&self, ino: Ino) -> bool {
        let until = self.clock.now() + KEPT_BY_THE_KERNEL;
        self.cache().lend_attr(ino, until).is_some()
    }

    /// Whether the kernel may believe for `ttl` from now on that the name leads to `target`.
    pub fn lend_name(&self, dir: Ino, name: &Name, target: Target, ttl: Duration) -> bool {
        if ttl.is_zero() {
            return false;
        }
        let until = self.clock.now() + ttl;
        self.cache().lend_name(dir, name, target, until)
    }

    /// Takes attributes from the reply to a read. Returns those to use: the known ones if they are
    /// newer.
    pub fn store_attr(&self, asked: Asked, mark: &v1::Mark, attr: Attr) -> Attr {
        let mut cache = self.cache();
        let promised = room(cache.nodes.len(), NODES_MAX, mark.promised_attr, mark);
        cache.store_attr(asked, promised, attr)
    }

    /// Takes what a name leads to from the reply to a read.
    pub fn store_name(&self, asked: Asked, mark: &v1::Mark, dir: Ino, name: &Name, target: Target) {
        self.saw(dir, name, target);
        let mut cache = self.cache();
        let promised = room(cache.weight, NAMES_MAX, mark.promised_dir, mark);
        cache.store_name(asked, promised, dir, name, target);
    }

    fn saw(&self, dir: Ino, name: &Name, target: Target) {
        if let Target::Present(ino) = target {
            self.places().saw(dir, name, ino);
        }
    }

    /// Takes a complete listing, all pages of which were promised at `as_of`.
    pub fn store_listing(&self, asked: Asked, as_of: Seq, dir: Ino, listing: Listing) {
        let mark = v1::Mark { as_of: as_of.0, promised_dir: true, ..v1::Mark::default() };
        let mut cache = self.cache();
        let promised = room(cache.weight, NAMES_MAX, listing.items.len() <= LISTING_MAX, &mark);
        cache.store_listing(asked, promised, dir, listing);
    }

    /// Takes all extended attributes, and the attributes they belong to, from the reply to a read.
    pub fn store_xattrs(&self, asked: Asked, mark: &v1::Mark, attr: Attr, xattrs: Arc<Xattrs>) {
        let mut cache = self.cache();
        let promised = room(cache.nodes.len(), NODES_MAX, mark.promised_attr, mark);
        cache.store_xattrs(asked, promised, attr, xattrs);
    }

    /// A change of `keys` is made here: until [`end_change`](Self::end_change) nothing is answered
    /// about them.
    pub fn begin_change(&self, keys: &[Key]) {
        self.cache().begin(keys);
    }

    /// The change ended; what its reply said was taken before.
    pub fn end_change(&self, keys: &[Key]) {
        self.cache().end(keys);
    }

    /// Takes an inode's attributes from the reply to a change made here.
    pub fn own_attr(&self, asked: Asked, mark: &v1::Mark, attr: Attr) {
        self.cache().settle_attr(asked, (Seq(mark.as_of), mark.promised_attr), attr, 0);
    }

    /// Takes a changed name, its directory and that one's listing from the reply to a change made
    /// here. A change between this one and what was known drops the listing.
    pub fn own_name(&self, asked: Asked, mark: &v1::Mark, renamed: Renamed<'_>) {
        let Renamed { dir, name, target, edit } = renamed;
        let (as_of, ino, dir_ver) = (Seq(mark.as_of), dir.ino, dir.dir_ver);
        if let Some(target) = target {
            self.saw(ino, name, target);
        }
        let mut cache = self.cache();
        cache.own_name(asked, as_of, mark.promised_dir, ino, name, target);
        if let Some(edit) = &edit {
            cache.own_listing(as_of, ino, dir_ver, edit);
        }
        cache.own_dir(asked, as_of, mark.promised_dir_attr, dir);
        if mark.delegated_dir {
            cache.delegated(asked, as_of, ino);
        }
    }

    /// A reply to a change made here, true at `as_of`, says that only this client knows a directory.
    pub fn delegated(&self, asked: Asked, as_of: Seq, dir: Ino) {
        self.cache().delegated(asked, as_of, dir);
    }

    /// Whether only this client knows a directory.
    pub fn is_delegated(&self, dir: Ino) -> bool {
        self.cache().is_delegated(dir)
    }

    /// Forgets what is known of some keys, because a change made here may or may not have happened.
    pub fn forget(&self, keys: &[Key]) {
        let mut cache = self.cache();
        keys.iter().for_each(|key| cache.forget(key));
    }

    /// The kernel let go of an inode: it goes first when room is needed.
    pub fn cheap(&self, ino: Ino) {
        self.cache().nodes.demote(&ino);
    }

    /// Carries out a push: afterwards nothing it names is known. Returns what the kernel must forget.
    pub fn push(&self, push: &v1::Inval) -> Stale {
        use v1::inval_item::What;
        let (seq, now) = (Seq(push.seq), self.clock.now());
        let mut stale = Stale::default();
        let mut cache = self.cache();
        for what in push.items.iter().filter_map(|item| item.what.as_ref()) {
            match what {
                What::Attr(ino) | What::Nlink0(ino) => {
                    cache.push_attr(Ino(*ino), seq, now, &mut stale);
                }
                What::Data(data) => cache.push_attr(Ino(data.ino), seq, now, &mut stale),
                What::DirNames(dir) => {
                    // A name that cannot exist cannot be known either.
                    let names: Vec<Name> =
                        dir.names.iter().filter_map(|n| Name::new(n).ok()).collect();
                    cache.push_names(Ino(dir.ino), &names, seq, now, &mut stale);
                }
                What::DirAll(dir) => cache.push_dir(Ino(*dir), seq, now, &mut stale),
                What::Undelegate(dir) => cache.undelegate(Ino(*dir), seq),
            }
        }
        stale
    }

    /// Carries out a `DropAll`. Returns what the kernel must forget.
    pub fn push_all(&self, seq: u64) -> Stale {
        let now = self.clock.now();
        self.cache().push_all(Seq(seq), now)
    }

    /// All promises are void, also those on their way (the lease ended, the server restarted, the
    /// session is new). Returns what the kernel may have believed at any time after `since`.
    pub fn drop_all(&self, since: BootTime) -> Stale {
        self.cache().next_era(since)
    }

    /// What the kernel may have believed at any time after `since`. Promises stay.
    pub fn believed(&self, since: BootTime) -> Stale {
        self.cache().believed(since)
    }

    /// Gives the least used promises up until the cache is within its bounds, or at least `count`
    /// if the server asks for it. The caller tells the kernel, then the server, and calls
    /// [`heard`](Self::heard) when the server has heard of it.
    pub fn give_up(&self, count: usize) -> GivenUp {
        let now = self.clock.now();
        let mut out = GivenUp::default();
        let mut cache = self.cache();
        loop {
            let before = out.len();
            // A server that wants less gets inodes and directories by turns.
            let more = before < count;
            let nodes = if more { 0 } else { NODES_MAX };
            let weight = if more { 0 } else { NAMES_MAX };
            cache.give_up(nodes, weight, now, &mut out);
            if out.len() == before {
                return out;
            }
        }
    }

    /// No promise that was given up will reach the server any more: the session is a new one.
    pub fn heard_all(&self) {
        self.cache().leaving.clear();
    }

    /// The server knows that these promises were given up: new ones may be kept.
    pub fn heard(&self, attrs: &[Ino], dirs: &[Ino]) {
        let mut cache = self.cache();
        // Replies still on their way may carry the very promises that were given up.
        cache.era += 1;
        attrs.iter().for_each(|ino| {
            cache.leaving.remove(&Key::Attr(*ino));
        });
        dirs.iter().for_each(|dir| {
            cache.leaving.remove(&Key::Dir(*dir));
        });
    }
}

/// A promise, unless there is no room to keep what is promised.
fn room(used: usize, bound: usize, promised: bool, mark: &v1::Mark) -> Promised {
    Promised((promised && used < bound + EXCESS).then_some(Seq(mark.as_of)))
}

/// Plain attributes, for tests to change.
#[cfg(test)]
pub(crate) fn plain_attr(ino: Ino, kind: dfs_core::attr::Kind) -> Attr {
    let attr = v1::Attr { ino: ino.0, mode: 0o755, nlink: 1, attr_ver: 1, ..v1::Attr::default() };
    let attr = v1::Attr { kind: dfs_proto::convert::kind_to(kind).into(), ..attr };
    dfs_proto::convert::attr_from(attr).expect("the attributes are valid")
}
