//! Small files that will be read next: whoever has read some of a directory reads the others, too, as
//! a rule. They are fetched in the background, at most twice as many as were read.

use super::Content;
use super::inode::File;
use super::remote::Update;
use super::view::{Claim, View};
use crate::metadata::Item;
use dfs_core::attr::Kind;
use dfs_core::limits::{CHECKSUM_BLOCK, CONTENTS_MAX};
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result};
use lru::LruCache;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Files read in a directory before others are fetched.
const READ_MIN: usize = 3;
/// Files fetched for each one read.
const PER_READ: usize = 2;
/// Files of a directory that are here and were not read yet.
const AHEAD_MAX: usize = 32;
/// Entries of a listing that are looked at for one choice.
const LOOK_MAX: usize = 256;
/// Fewer are fetched later, with the next ones.
const BATCH_MIN: usize = 4;
/// A call that brings so many bytes asks for no other file: who opens one of them waits for all.
const BATCH_BYTES: u64 = 256 * 1024;
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
    /// Files that were fetched and then read, less those fetched since: so many are fetched in a
    /// directory of which little was read. Who reads one directory after the other has earned them
    /// in those before.
    earned: usize,
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
            earned: 0,
        }
    }

    /// `ino` is opened to be read. Tells in which directory it was fetched ahead, if it was.
    fn opened(&mut self, ino: Ino) -> Option<Ino> {
        let dir = self.ahead.pop(&ino)?;
        self.earned = AHEAD_MAX.min(self.earned + 1);
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
        let here = if reader.read < READ_MIN { 0 } else { PER_READ * reader.read };
        let allowed = here.saturating_sub(reader.fetched).max(self.earned);
        let room = AHEAD_MAX.saturating_sub(reader.unread);
        // Several at a time.
        if room < AHEAD_MAX / 2 || allowed < BATCH_MIN { 0 } else { allowed.min(room) }
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
        self.earned = self.earned.saturating_sub(chosen.len());
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
            self.client.runtime.spawn(async move {
                // Who reads one of them asks again.
                if let Err(error) = content.fetch_all(chosen).await {
                    tracing::debug!(%dir, %error, "cannot fetch what may be read next");
                }
            });
        }
    }

    /// Fetches small files, many with one call.
    pub(super) async fn fetch_all(&self, inos: Vec<Ino>) -> Result<()> {
        let mut left = VecDeque::from(inos);
        loop {
            let batch = self.next_batch(&mut left);
            if batch.is_empty() {
                return Ok(());
            }
            let inos: Vec<Ino> = batch.iter().map(|one| one.file.ino).collect();
            let updates = self.get_contents(&inos).await?;
            if updates.is_empty() {
                return Err(FsError::new(Code::Invalid, "reply without contents"));
            }
            // What did not fit into the answer is asked for again.
            left.extend(inos.into_iter().skip(updates.len()));
            for (one, update) in batch.into_iter().zip(updates) {
                let ino = one.file.ino;
                if let Err(error) = self.take_in(one, update).await {
                    tracing::debug!(%ino, %error, "cannot fetch what may be read next");
                }
            }
        }
    }

    /// The next files, of as many bytes as one call shall bring; who opens one of them waits for it.
    fn next_batch(&self, left: &mut VecDeque<Ino>) -> Vec<Fetching> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < CONTENTS_MAX
            && bytes < BATCH_BYTES
            && let Some(ino) = left.pop_front()
        {
            let one = self.begin_to_fetch(ino);
            bytes += one.as_ref().map_or(0, |one| one.view.working.size());
            batch.extend(one);
        }
        batch
    }

    /// None if somebody else fetches the file, or nothing of it is missing.
    fn begin_to_fetch(&self, ino: Ino) -> Option<Fetching> {
        let attr = self.client.metadata.attr(ino)?;
        let file = self.file(ino, attr.content_ver, attr.size).ok()?;
        let view = file.view();
        let claim = view.claim(&view.working.missing(Range::ALL))?;
        Some(Fetching { file, view, claim })
    }

    async fn take_in(&self, one: Fetching, update: Result<Update>) -> Result<()> {
        let Fetching { file, view, claim } = one;
        self.adopt(&file, update?).await?;
        self.fetch(&file, &view, &claim).await
    }
}

/// A file that is fetched whole, and what of it is not here.
struct Fetching {
    file: Arc<File>,
    view: Arc<View>,
    claim: Claim,
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
    fn next_directory_is_fetched_at_the_first_read_by_who_has_read_one() {
        let (mut beside, count) = (Beside::new(), 20);
        // Listings of different directories name different files.
        let listing = |dir: Ino| -> Vec<Item> {
            let named = |item: Item| Item { ino: Ino(dir.0 + item.ino.0), ..item };
            items(count).into_iter().map(named).collect()
        };
        let mut read_all = |dir: Ino| {
            let (listing, mut waited) = (listing(dir), 0);
            for item in listing.iter().filter(|item| item.kind == Kind::File) {
                waited += u32::from(beside.opened(item.ino).is_none());
                let count = beside.read(dir);
                beside.choose(dir, item.ino, &listing, count, |ino| ino > item.ino);
            }
            waited
        };
        let waited = [DIR, Ino(2000), Ino(3000)].map(&mut read_all);
        assert_eq!(waited, [READ_MIN as u32, 1, 1]);
        // Who then reads one file here and there does not go on so.
        let mut fetched = 0;
        for dir in (0..1000).map(|n| Ino(10_000 + n * count)) {
            let allowed = beside.read(dir);
            fetched += beside.choose(dir, Ino(0), &listing(dir), allowed, |_| true).len();
        }
        assert!((1..=AHEAD_MAX).contains(&fetched), "{fetched}");
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
