//! Collecting the keys an operation touches.

use dfs_core::Ino;
use dfs_core::hub::{Hold, IntentKey};
use dfs_core::name::Name;
use std::collections::BTreeMap;

/// Held by every move of a directory to another parent, so that two of them cannot together tie a
/// loop that neither sees (PROTOCOL 4.6). No inode has this number.
const TREE: IntentKey = IntentKey::Dir(Ino(0));

/// Keys with the strongest hold asked for each.
#[derive(Default)]
pub(super) struct Intents(BTreeMap<IntentKey, Hold>);

impl Intents {
    /// A change of the name `name` in `dir`: the directory stays, its times and counters merge.
    pub fn of_name(dir: Ino, name: &Name) -> Intents {
        Intents::default().name(dir, name)
    }

    /// An exclusive change of one inode's attributes or content.
    pub fn of_attr(ino: Ino) -> Intents {
        Intents::default().attr(ino)
    }

    /// Adds what [`Intents::of_name`] says.
    pub fn name(self, dir: Ino, name: &Name) -> Intents {
        self.with(IntentKey::Dir(dir), Hold::Shared)
            .with(IntentKey::Attr(dir), Hold::Shared)
            .with(IntentKey::Name(dir, name.clone()), Hold::Exclusive)
    }

    /// Adds an inode whose attributes change.
    pub fn attr(self, ino: Ino) -> Intents {
        self.with(IntentKey::Attr(ino), Hold::Exclusive)
    }

    /// Adds an inode that must stay as it is.
    pub fn attr_shared(self, ino: Ino) -> Intents {
        self.with(IntentKey::Attr(ino), Hold::Shared)
    }

    /// Adds a directory that goes away.
    pub fn removed_dir(self, dir: Ino) -> Intents {
        self.with(IntentKey::Dir(dir), Hold::Exclusive).attr(dir)
    }

    /// Adds the shape of the tree of directories.
    pub fn tree(self) -> Intents {
        self.with(TREE, Hold::Exclusive)
    }

    fn with(mut self, key: IntentKey, hold: Hold) -> Intents {
        let held = self.0.entry(key).or_insert(hold);
        *held = (*held).max(hold);
        self
    }

    /// The keys, in order, each once.
    pub fn done(self) -> Vec<(IntentKey, Hold)> {
        self.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intents_keep_the_stronger_hold_of_a_key_asked_twice() {
        let name = Name::new(b"x").unwrap();
        let intents = Intents::of_name(Ino(1), &name).attr(Ino(1)).attr_shared(Ino(1)).done();
        assert_eq!(intents.iter().filter(|i| i.0 == IntentKey::Attr(Ino(1))).count(), 1);
        assert!(intents.contains(&(IntentKey::Attr(Ino(1)), Hold::Exclusive)));
        assert!(intents.contains(&(IntentKey::Dir(Ino(1)), Hold::Shared)));
    }
}
