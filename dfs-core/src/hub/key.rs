//! What can be promised and what a mutation can touch.

use crate::{Ino, name::Name};
use std::cmp::Ordering;

/// What a promise is about (PROTOCOL 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Attributes, extended attributes, link target and content version of an inode.
    Attr(Ino),
    /// All names of a directory: present, absent, and the listing.
    Dir(Ino),
}

/// A [`Key`] in eight bytes: there may be millions. Inode numbers stay below 2^63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PackedKey(u64);

impl From<Key> for PackedKey {
    fn from(key: Key) -> PackedKey {
        let (ino, dir) = match key {
            Key::Attr(ino) => (ino, 0),
            Key::Dir(ino) => (ino, 1),
        };
        assert!(ino.0 >> 63 == 0, "inode number {ino} does not fit into 63 bits");
        PackedKey(ino.0 << 1 | dir)
    }
}

impl From<PackedKey> for Key {
    fn from(packed: PackedKey) -> Key {
        let ino = Ino(packed.0 >> 1);
        if packed.0 & 1 == 0 { Key::Attr(ino) } else { Key::Dir(ino) }
    }
}

/// What a mutation touches (PROTOCOL 3.2 step 1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IntentKey {
    /// A directory as a whole: shared by changes of single names, exclusive for its removal.
    Dir(Ino),
    /// One name in a directory.
    Name(Ino, Name),
    /// Attributes or content of an inode: shared by changes that only merge times and counters.
    Attr(Ino),
}

/// How a mutation touches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// Together with others.
    Shared,
    /// Alone.
    Exclusive,
}

impl IntentKey {
    /// Directories come before their names, names before the attributes, so that everything about
    /// one directory is one stretch of an ordered map.
    fn rank(&self) -> (Ino, u8, Option<&Name>) {
        match self {
            IntentKey::Dir(ino) => (*ino, 0, None),
            IntentKey::Name(ino, name) => (*ino, 1, Some(name)),
            IntentKey::Attr(ino) => (*ino, 2, None),
        }
    }
}

impl PartialOrd for IntentKey {
    fn partial_cmp(&self, other: &IntentKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order in which every mutation takes its intents: by inode, then by name.
impl Ord for IntentKey {
    fn cmp(&self, other: &IntentKey) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}
