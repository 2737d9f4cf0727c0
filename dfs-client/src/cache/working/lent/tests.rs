//! What others than the daemon see of a working file, and what they store into it.

use crate::cache::{Cache, ReadOutcome, WorkingFile};
use dfs_core::Ino;
use dfs_core::limits::CHECKSUM_BLOCK;
use dfs_core::range::Range;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const INO: Ino = Ino(6);
const SIZE: u64 = 5 * CHECKSUM_BLOCK + 1000;
const WHOLE: Range = Range { start: 0, end: SIZE };

fn open(dir: &Path) -> Cache {
    Cache::open(dir, u64::MAX / 2).unwrap()
}

fn base() -> Vec<u8> {
    (0..SIZE).map(|i| (i % 251) as u8 + 1).collect()
}

fn full(cache: &Cache) -> Arc<WorkingFile> {
    let file = cache.open_file(INO, 1, SIZE).unwrap();
    assert!(file.fill(1, 0, &base()).unwrap());
    file
}

/// As somebody who has the file mapped does it.
fn store(file: &WorkingFile, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(file.path()).unwrap().write_all_at(bytes, at).unwrap();
}

fn on_disk(file: &WorkingFile) -> Vec<u8> {
    std::fs::read(file.path()).unwrap()
}

fn read(file: &WorkingFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(matches!(file.read(WHOLE, &mut bytes).unwrap(), ReadOutcome::Bytes(_)));
    bytes
}

#[test]
fn lent_is_taken_back_when_nobody_has_it_open_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let file = full(&cache);
    assert!(file.lend().unwrap());
    let reader = std::fs::File::open(file.path()).unwrap();
    file.take_back();
    assert!(file.is_lent(), "somebody reads it");
    drop(reader);
    let registered = file.on_disk().unwrap();
    file.take_back();
    assert!(!file.is_lent(), "a copy of our own descriptor is nobody else");
    drop(registered);
    assert!(file.lend().unwrap());
    file.expect_stores().unwrap();
    file.take_back();
    assert!(file.is_lent(), "somebody may store into it");
}

#[test]
fn lent_is_only_what_is_whole_and_was_looked_at_in_this_life() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let file = cache.open_file(INO, 1, SIZE).unwrap();
    assert!(!file.lend().unwrap(), "nothing is here");
    file.fill(1, 0, &base()[..1000]).unwrap();
    assert!(!file.lend().unwrap(), "a part is here");
    file.fill(1, 0, &base()[..]).unwrap();
    assert!(file.lend().unwrap() && file.is_lent());
    cache.persist().unwrap();
    drop((file, cache));
    let cache = open(dir.path());
    let file = cache.get(INO).unwrap().unwrap();
    assert!(!file.lend().unwrap(), "nobody has looked at it in this life");
    let mut bytes = Vec::new();
    file.read(Range::new(0, 3 * CHECKSUM_BLOCK), &mut bytes).unwrap();
    assert!(!file.lend().unwrap(), "a part was looked at");
    assert!(read(&file) == base() && file.lend().unwrap());
}

#[test]
fn lent_file_has_zeros_on_disk_where_the_map_has_holes() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let file = cache.open_file(INO, 1, SIZE).unwrap();
    assert!(file.fill_hole(1, WHOLE).unwrap());
    cache.persist().unwrap();
    let path = file.path();
    drop((file, cache));
    let disk = OpenOptions::new().write(true).open(path).unwrap();
    disk.write_all_at(b"rot", 100).unwrap();
    let cache = open(dir.path());
    let file = cache.get(INO).unwrap().unwrap();
    assert!(file.lend().unwrap());
    assert!(on_disk(&file) == vec![0; SIZE as usize]);
}

#[test]
fn lent_file_keeps_its_bytes_until_newer_ones_are_written_over_them() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let file = full(&cache);
    assert!(file.lend().unwrap());
    file.evict(WHOLE).unwrap();
    assert!(file.missing(WHOLE).is_empty(), "it is not evicted");
    let changed = Range::new(70_000, 71_000);
    file.advance(2, SIZE + 500, &[changed]).unwrap();
    assert!(on_disk(&file) == base(), "nothing new is here");
    assert!(!file.lend().unwrap(), "nor is it whole");
    for gap in file.missing(Range::ALL) {
        let mut newer = base();
        newer.resize(SIZE as usize + 500, 9);
        newer[70_000..71_000].fill(8);
        file.fill(2, gap.start, &newer[gap.start as usize..gap.end as usize]).unwrap();
    }
    assert!(file.lend().unwrap());
    let now = on_disk(&file);
    assert!(now.len() as u64 == SIZE + 500 && now[70_000] == 8 && now[SIZE as usize] == 9);
    file.reset(3, 1000).unwrap();
    assert!(on_disk(&file) == base()[..1000], "cut, not emptied");
    assert_eq!(file.missing(Range::ALL), [Range::new(0, 1000)]);
}

#[test]
fn stores_into_a_mapped_file_are_unsaved_work_and_not_rot() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let file = full(&cache);
    assert!(file.lend().unwrap());
    file.expect_stores().unwrap();
    assert!(file.find_stores().unwrap().is_empty());
    let mut want = base();
    store(&file, 70_000, b"stored");
    want[70_000..70_006].copy_from_slice(b"stored");
    assert!(read(&file) == want, "served, and not fetched again");
    // A write that cuts the block with the store in it.
    file.write(80_000, b"written").unwrap();
    want[80_000..80_007].copy_from_slice(b"written");
    store(&file, 10, b"too");
    want[10..13].copy_from_slice(b"too");
    let found = file.find_stores().unwrap();
    assert_eq!(found, [Range::new(0, CHECKSUM_BLOCK)], "the other one is unsaved already");
    file.take_stores(&found).unwrap();
    let snapshot = file.dirty_snapshot().unwrap();
    assert_eq!(snapshot.ranges, [Range::new(0, 2 * CHECKSUM_BLOCK)]);
    // Stored while the commit is under way, so maybe not in it.
    store(&file, 70_100, b"late");
    want[70_100..70_104].copy_from_slice(b"late");
    file.committed(&snapshot, 2).unwrap();
    let found = file.find_stores().unwrap();
    assert_eq!(found, [Range::new(CHECKSUM_BLOCK, 2 * CHECKSUM_BLOCK)]);
    file.take_stores(&found).unwrap();
    drop((file, cache));
    let cache = open(dir.path());
    let file = cache.get(INO).unwrap().unwrap();
    assert_eq!(file.unsaved().unwrap().ranges, found, "the journal knows");
    assert!(file.read_dirty(&found).unwrap() == want[65_536..131_072]);
}

#[test]
fn stores_beside_a_change_of_a_newer_version_stay() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let file = full(&cache);
    assert!(file.lend().unwrap());
    file.expect_stores().unwrap();
    store(&file, 70_000, b"stored");
    file.advance(2, SIZE, &[Range::new(80_000, 80_010), Range::new(200_000, 200_010)]).unwrap();
    let missing = file.missing(Range::ALL);
    assert_eq!(missing, [Range::new(80_000, 80_010), Range::new(200_000, 200_010)]);
    missing.iter().for_each(|gap| assert!(file.fill(2, gap.start, b"0123456789").unwrap()));
    let found = file.find_stores().unwrap();
    assert!(!found.is_empty() && found.iter().any(|part| part.covers(Range::of_len(70_000, 6))));
    assert!(!found.iter().any(|part| part.overlaps(Range::of_len(200_000, 10))), "{found:?}");
    let now = read(&file);
    assert_eq!((&now[70_000..70_006], &now[80_000..80_010]), (&b"stored"[..], &b"0123456789"[..]));
}

#[test]
fn stores_that_a_killed_daemon_has_not_seen_are_found_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let file = full(&cache);
    assert!(file.lend().unwrap());
    file.expect_stores().unwrap();
    cache.persist().unwrap();
    store(&file, 70_000, b"stored");
    drop((file, cache));
    let cache = open(dir.path());
    let mapped = cache.mapped_before().unwrap();
    let found = mapped[0].find_stores().unwrap();
    assert_eq!(found, [Range::new(CHECKSUM_BLOCK, 2 * CHECKSUM_BLOCK)]);
    assert_eq!(read(&mapped[0])[70_000..70_006], *b"stored");
    mapped[0].end_stores().unwrap();
    drop((mapped, cache));
    assert!(open(dir.path()).mapped_before().unwrap().is_empty(), "a daemon that ended well");
}
