//! Where inodes were seen last: for people who read of them. A decision may only be made more careful
//! by it.

use dfs_core::Ino;
use dfs_core::name::Name;
use lru::LruCache;
use std::num::NonZeroUsize;

/// Inodes whose place is remembered.
const PLACES_MAX: usize = 65_536;
/// Longest path that is put together.
const DEPTH_MAX: usize = 1024;

/// The last known directory and name of inodes. What others renamed since is not noticed.
#[derive(Debug)]
pub(super) struct Places {
    last: LruCache<Ino, (Ino, Name)>,
    root: Ino,
}

impl Places {
    pub(super) fn new() -> Places {
        let last = NonZeroUsize::new(PLACES_MAX).map_or_else(LruCache::unbounded, LruCache::new);
        Places { last, root: Ino::ROOT }
    }

    /// Paths begin at this directory.
    pub(super) fn begin_at(&mut self, root: Ino) {
        self.root = root;
    }

    pub(super) fn saw(&mut self, dir: Ino, name: &Name, ino: Ino) {
        self.last.put(ino, (dir, name.clone()));
    }

    pub(super) fn name(&self, ino: Ino) -> Option<Name> {
        self.last.peek(&ino).map(|(_, name)| name.clone())
    }

    pub(super) fn dir(&self, ino: Ino) -> Option<Ino> {
        self.last.peek(&ino).map(|(dir, _)| *dir)
    }

    /// `/dir/name`, or `inode N/name` from the first directory on whose place is not known.
    pub(super) fn path(&self, ino: Ino) -> Vec<u8> {
        let (mut at, mut names) = (ino, Vec::new());
        while at != self.root && names.len() < DEPTH_MAX {
            let Some((dir, name)) = self.last.peek(&at) else { break };
            names.push(name);
            at = *dir;
        }
        let known = at == self.root && !names.is_empty();
        let mut path = if known { Vec::new() } else { format!("inode {at}").into_bytes() };
        for name in names.into_iter().rev() {
            path.push(b'/');
            path.extend(name.as_bytes());
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_begins_at_the_root_or_at_what_is_known() {
        let name = |text: &str| Name::new(text.as_bytes()).unwrap();
        let mut places = Places::new();
        places.begin_at(Ino(5));
        assert_eq!(places.path(Ino(9)), b"inode 9");
        places.saw(Ino(8), &name("f"), Ino(9));
        assert_eq!(places.path(Ino(9)), b"inode 8/f");
        places.saw(Ino(5), &name("d"), Ino(8));
        assert_eq!(places.path(Ino(9)), b"/d/f");
        places.saw(Ino(5), &name("moved"), Ino(9));
        assert_eq!(places.path(Ino(9)), b"/moved");
        assert_eq!(places.name(Ino(9)), Some(name("moved")));
        assert_eq!(places.name(Ino(5)), None);
        // What others renamed can look like a ring.
        places.saw(Ino(8), &name("x"), Ino(8));
        assert!(places.path(Ino(8)).starts_with(b"inode 8/x/x"));
    }
}
