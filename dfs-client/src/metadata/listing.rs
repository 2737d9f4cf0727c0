//! A complete listing of a directory as of one moment.

use dfs_core::Ino;
use dfs_core::attr::Kind;
use dfs_core::name::Name;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Smallest cookie of a real entry; `.` and `..` have 1 and 2.
pub const FIRST_COOKIE: u64 = 256;
/// Cookies stay below this (they are signed in the kernel).
const COOKIE_END: u64 = 1 << 63;
/// Longer listings are streamed at each use and not kept.
pub const LISTING_MAX: usize = 65_536;

/// A name in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The name.
    pub name: Name,
    /// What it names.
    pub ino: Ino,
    /// Kind of that.
    pub kind: Kind,
    /// Position: a listing goes on after it.
    pub cookie: u64,
}

/// All names of a directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The directory's version it shows.
    pub dir_ver: u64,
    /// Names in order of their cookies.
    pub items: Arc<Vec<Item>>,
    /// No other listing has this number, be it of the same version.
    pub id: u64,
}

/// How a change made here shows in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A new name.
    Added(Name, Ino, Kind),
    /// A name is gone.
    Removed(Name),
    /// Names are gone and a new one is there, which may be one of them: a rename.
    Moved(Vec<Name>, Name, Ino, Kind),
    /// Not described; the listing is dropped.
    Unknown,
}

impl Listing {
    /// A listing of its own.
    pub fn new(dir_ver: u64, items: Arc<Vec<Item>>) -> Listing {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Listing { dir_ver, items, id: LAST.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    /// The listing after `edit`, which moved the directory to `dir_ver`. None if another change came
    /// between, or the edit cannot be shown.
    pub(super) fn after(mut self, edit: &Edit, dir_ver: u64) -> Option<Listing> {
        if dir_ver != self.dir_ver + 1 {
            return None;
        }
        let items = Arc::make_mut(&mut self.items);
        match edit {
            Edit::Added(name, ino, kind) => add(items, name, *ino, *kind)?,
            Edit::Removed(name) => items.retain(|item| item.name != *name),
            Edit::Moved(gone, name, ino, kind) => {
                items.retain(|item| !gone.contains(&item.name));
                add(items, name, *ino, *kind)?;
            }
            Edit::Unknown => return None,
        }
        Some(Listing::new(dir_ver, self.items))
    }
}

/// Any position will do that no other entry of this listing has: whoever reads this listing reads all
/// of it from here, never on from the server.
fn add(items: &mut Vec<Item>, name: &Name, ino: Ino, kind: Kind) -> Option<()> {
    let last = items.last().map_or(FIRST_COOKIE - 1, |item| item.cookie);
    let cookie = last.checked_add(1).filter(|c| *c < COOKIE_END)?;
    items.push(Item { name: name.clone(), ino, kind, cookie });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(s: &str) -> Name {
        Name::new(s.as_bytes()).unwrap()
    }

    #[test]
    fn listing_shows_own_changes_only_without_a_gap() {
        let empty = Listing::new(3, Arc::default());
        let edit = Edit::Added(name("a"), Ino(7), Kind::File);
        assert!(empty.clone().after(&edit, 5).is_none());
        let one = empty.after(&edit, 4).unwrap();
        assert_eq!(one.items[0].cookie, FIRST_COOKIE);
        let two = one.clone().after(&Edit::Added(name("b"), Ino(8), Kind::File), 5).unwrap();
        assert_eq!(two.items.iter().map(|i| i.cookie).collect::<Vec<_>>(), [256, 257]);
        let back = two.after(&Edit::Removed(name("a")), 6).unwrap();
        assert_eq!(back.items.len(), 1);
        let over = Edit::Moved(vec![name("b"), name("c")], name("c"), Ino(8), Kind::File);
        let moved = back.after(&over, 7).unwrap();
        assert_eq!((moved.items.len(), &moved.items[0].name), (1, &name("c")));
        let onto = Edit::Moved(vec![name("c")], name("c"), Ino(9), Kind::File);
        assert_eq!(moved.after(&onto, 8).unwrap().items[0].ino, Ino(9));
        assert!(one.after(&Edit::Unknown, 5).is_none());
    }
}
