//! Small files that will be read next: whoever has read some of a directory reads the others, too, as
//! a rule. They are fetched in the background, at most twice as many as were read.

use super::Content;
use super::inode::File;
use crate::metadata::Item;
use dfs_core::attr::Kind;
use dfs_core::limits::CHECKSUM_BLOCK;
use dfs_core::range::Range;
use dfs_core::{Ino, Result};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Files read in a directory before others are fetched.
const READ_MIN: usize = 3;
/// Files fetched for each one read.
const PER_READ: usize = 2;
/// Files of a directory that are here and were not read yet.
const AHEAD_MAX: usize = 32;
/// Entries of a listing that are looked at for one choice.
const LOOK_MAX: usize = 256;
/// Fetches of a directory under way.
const AT_ONCE: usize = 4;
/// Directories that are remembered.
const DIRS_MAX: usize = 256;
/// Caches smaller than this have no room for what may be of no use.
const CACHE_MIN: u64 = 64 * 1024 * 1024;

/// What was read in directories lately. Pure.
#[derive(Debug)]
pub(super) struct Beside {
    dirs: LruCache<Ino, Reader>,
    /// Fetched and not read yet, with the directory.
    ahead: LruCache<Ino, Ino>,
}

#[derive(Debug, Default)]
struct Reader {
    /// Files read that were not here before somebody read in this directory.
    read: usize,
    /// Files fetched before they were read, and those of them that were not read yet.
    fetched: usize,
    unread: usize,
    /// The place in the listing that is looked at next, and how many have been.
    next: usize,
    seen: usize,
}

impl Beside {
    pub(super) fn new() -> Beside {
        let lru = |max| NonZeroUsize::new(max).map_or_else(LruCache::unbounded, LruCache::new);
        Beside {
            dirs: lru(DIRS_MAX),
            ahead: LruCache::new(NonZeroUsize::MIN.saturating_add(DIRS_MAX * AHEAD_MAX)),
        }
    }

    /// `ino` is opened to be read. Tells in which directory it was fetched ahead, if it was.
    fn opened(&mut self, ino: Ino) -> Option<Ino> {
        let dir = self.ahead.pop(&ino)?;
        if let Some(reader) = self.dirs.get_mut(&dir) {
            reader.unread = reader.unread.saturating_sub(1);
        }
        Some(dir)
    }

    /// A file of `dir` was read that had to be fetched, now or ahead. How many more are to be fetched
    /// now.
    fn read(&mut self, dir: Ino) -> usize {
        let reader = self.dirs.get_or_insert_mut(dir, Reader::default);
        reader.read += 1;
        let allowed = (PER_READ * reader.read).saturating_sub(reader.fetched);
        let room = AHEAD_MAX.saturating_sub(reader.unread);
        // Several at a time.
        if reader.read < READ_MIN || room < AHEAD_MAX / 2 { 0 } else { allowed.min(room) }
    }

    /// The files to fetch, at most `count`: those behind `ino` in the listing that are `wanted`. Each
    /// is looked at once, and again only when all have been.
    fn choose(
        &mut self,
        dir: Ino,
        ino: Ino,
        items: &[Item],
        count: usize,
        wanted: impl Fn(Ino) -> bool,
    ) -> Vec<Ino> {
        let Some(reader) = self.dirs.get_mut(&dir) else { return Vec::new() };
        if reader.seen >= items.len() {
            *reader = Reader { read: 1, ..Reader::default() };
            return Vec::new();
        }
        if reader.seen == 0 {
            reader.next = items.iter().position(|item| item.ino == ino).unwrap_or(0);
        }
        let mut chosen = Vec::new();
        let last = items.len().min(reader.seen + LOOK_MAX);
        while chosen.len() < count && reader.seen < last {
            let item = &items[reader.next % items.len()];
            (reader.next, reader.seen) = (reader.next + 1, reader.seen + 1);
            let other = item.kind == Kind::File && item.ino != ino;
            if other && !self.ahead.contains(&item.ino) && wanted(item.ino) {
                chosen.push(item.ino);
            }
        }
        reader.fetched += chosen.len();
        reader.unread += chosen.len();
        for ino in &chosen {
            self.ahead.put(*ino, dir);
        }
        chosen
    }
}

impl Content {
    /// A file is opened to be read: fetches it if it is small and not here, because the first read is
    /// on its way, and others of its directory.
    pub(super) fn fetch_early(&self, file: &Arc<File>) {
        let view = file.view();
        let whole = Range::new(0, view.working.size());
        if whole.end > CHECKSUM_BLOCK {
            return;
        }
        let missing = !view.working.is_in_index() && !view.working.missing(whole).is_empty();
        if missing {
            let (content, file) = (self.arc(), Arc::clone(file));
            self.client.runtime.spawn(async move {
                if let Err(error) = content.ensure(&file, &view, whole).await {
                    // The reader asks again and hears of it.
                    tracing::debug!(ino = %file.ino, %error, "cannot fetch what was opened");
                }
            });
        }
        let ahead = self.beside().opened(file.ino);
        if missing || ahead.is_some() {
            self.fetch_beside(file.ino, ahead);
        }
    }

    fn fetch_beside(&self, ino: Ino, dir: Option<Ino>) {
        let metadata = &self.client.metadata;
        let Some(dir) = dir.or_else(|| metadata.last_dir(ino)) else { return };
        if self.cache.limit() < CACHE_MIN {
            return;
        }
        let count = self.beside().read(dir);
        if count == 0 {
            return;
        }
        let Some(listing) = metadata.listing(dir) else { return };
        let small =
            |ino| metadata.attr(ino).is_some_and(|a| (1..=CHECKSUM_BLOCK).contains(&a.size));
        let wanted = |ino| small(ino) && !self.cache.knows(ino);
        let chosen = self.beside().choose(dir, ino, &listing.items, count, wanted);
        if !chosen.is_empty() {
            let content = self.arc();
            self.client.runtime.spawn(async move { content.fetch_all(chosen).await });
        }
    }

    async fn fetch_all(&self, inos: Vec<Ino>) {
        let mut running: JoinSet<Result<()>> = JoinSet::new();
        for ino in inos {
            if running.len() >= AT_ONCE {
                running.join_next().await;
            }
            let content = self.arc();
            let task = async move { content.fetch_one(ino).await };
            running.spawn_on(task, &self.client.runtime);
        }
        while running.join_next().await.is_some() {}
    }

    async fn fetch_one(&self, ino: Ino) -> Result<()> {
        let Some(attr) = self.client.metadata.attr(ino) else { return Ok(()) };
        let file = self.file(ino, attr.content_ver, attr.size)?;
        let view = file.view();
        self.ensure(&file, &view, Range::new(0, view.working.size())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::name::Name;
    use std::collections::HashSet;

    const DIR: Ino = Ino(1000);

    fn items(count: u64) -> Vec<Item> {
        let item = |n: u64| Item {
            name: Name::new(n.to_string().as_bytes()).unwrap(),
            ino: Ino(n),
            kind: if n % 10 == 9 { Kind::Directory } else { Kind::File },
            cookie: 256 + n,
        };
        (0..count).map(item).collect()
    }

    #[test]
    fn directory_read_in_order_is_fetched_before_it_is_read() {
        let (items, mut beside) = (items(100), Beside::new());
        let (mut waited, mut fetched) = (0, 0);
        for item in items.iter().filter(|item| item.kind == Kind::File) {
            waited += u32::from(beside.opened(item.ino).is_none());
            let count = beside.read(DIR);
            fetched += beside.choose(DIR, item.ino, &items, count, |ino| ino > item.ino).len();
        }
        assert_eq!((waited, fetched), (READ_MIN as u32, 90 - READ_MIN));
    }

    #[test]
    fn files_fetched_for_nothing_are_few() {
        let (items, mut beside) = (items(10_000), Beside::new());
        let mut fetched = HashSet::new();
        let mut choose = |beside: &mut Beside| {
            let count = beside.read(DIR);
            let chosen =
                beside.choose(DIR, Ino(5000), &items, count, |ino| !fetched.contains(&ino));
            fetched.extend(chosen);
            fetched.len()
        };
        for reads in 1..=1000 {
            assert!(choose(&mut beside) <= AHEAD_MAX.min(PER_READ * reads));
        }
        // Those that are read make room for others, and all are looked at.
        for _ in 0..4000 {
            let unread: Vec<Ino> = beside.ahead.iter().map(|(ino, _)| *ino).collect();
            assert!(unread.len() <= AHEAD_MAX);
            unread.into_iter().for_each(|ino| assert_eq!(beside.opened(ino), Some(DIR)));
            choose(&mut beside);
        }
        assert_eq!(choose(&mut beside), 8999);
    }
}
