//! What is known of a block that unsaved writes have cut, after the daemon died.

use crate::cache::{Cache, Owner};
use dfs_core::Ino;
use dfs_core::range::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

const INO: Ino = Ino(5);
const SIZE: u64 = 200_000;
const WHOLE: Range = Range { start: 0, end: SIZE };

fn base() -> Vec<u8> {
    (0..SIZE).map(|i| (i % 251) as u8).collect()
}

/// A daemon that dies with writes on a file that is wholly here.
fn killed(
    dir: &Path,
    writes: &[(u64, usize)],
    shape: impl Fn(&crate::cache::WorkingFile),
) -> Vec<u8> {
    let cache = Cache::open(dir, u64::MAX / 2).unwrap();
    let file = cache.open_file(INO, 1, SIZE).unwrap();
    assert!(file.fill(1, 0, &base()).unwrap());
    cache.persist().unwrap();
    let mut want = base();
    for &(at, len) in writes {
        file.write(at, &vec![0xee; len]).unwrap();
        want[at as usize..at as usize + len].fill(0xee);
    }
    shape(&file);
    want
}

fn read_dirty(cache: &Cache, range: Range) -> Vec<u8> {
    cache.get(INO).unwrap().unwrap().read_dirty(&[range]).unwrap()
}

#[test]
fn rest_of_a_cut_block_is_known_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    // The second and third write cut what the first has left over; the last reaches over a border.
    let writes = [(70_000, 5), (80_000, 100), (70_003, 50), (130_000, 3000), (0, 1)];
    let want = killed(dir.path(), &writes, |_| {});
    let cache = Cache::open(dir.path(), u64::MAX / 2).unwrap();
    let file = cache.get(INO).unwrap().unwrap();
    assert!(file.present().covers(WHOLE), "{:?}", file.present());
    assert!(read_dirty(&cache, WHOLE) == want);
    assert_eq!(file.unsaved().unwrap().ranges.iter().map(|r| r.len()).sum::<u64>(), 3154);
    // A new owner states the journal anew; nothing is lost by that.
    file.set_owner(Owner { uid: 7, ..Owner::default() }).unwrap();
    drop((file, cache));
    let cache = Cache::open(dir.path(), u64::MAX / 2).unwrap();
    let file = cache.get(INO).unwrap().unwrap();
    assert!(file.present().covers(WHOLE) && read_dirty(&cache, WHOLE) == want);
    file.committed(&file.dirty_snapshot().unwrap(), 2).unwrap();
    let mut bytes = Vec::new();
    file.read(WHOLE, &mut bytes).unwrap();
    assert!(bytes == want);
}

#[test]
fn rest_of_a_cut_block_that_rots_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path(), &[(70_000, 5)], |file| {
        let disk = std::fs::OpenOptions::new().write(true).open(file.path()).unwrap();
        disk.write_all_at(b"rot", 100_000).unwrap();
    });
    let cache = Cache::open(dir.path(), u64::MAX / 2).unwrap();
    let file = cache.get(INO).unwrap().unwrap();
    let part = Range::new(98_304, 102_400);
    assert_eq!(file.missing(part), [part], "{:?}", file.present());
    assert!(file.present().gaps(WHOLE) == [part], "{:?}", file.present());
    // Nor by whoever writes into it.
    assert!(file.fill(1, part.start, &base()[98_304..102_400]).unwrap());
    file.write(99_000, &[0xee; 5]).unwrap();
    file.write(110_000, &[0xee; 5]).unwrap();
    let disk = std::fs::OpenOptions::new().write(true).open(file.path()).unwrap();
    disk.write_all_at(b"rot", 111_000).unwrap();
    file.write(112_000, &[0xee; 1000]).unwrap();
    let rest = [Range::new(110_592, 112_000), Range::new(113_000, 114_688)];
    assert!(file.present().gaps(WHOLE) == rest, "{:?}", file.present());
}

#[test]
fn rest_of_a_cut_block_ends_with_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut want = killed(dir.path(), &[(70_000, 5)], |file| {
        file.truncate(100_000).unwrap();
        file.truncate(120_000).unwrap();
    });
    want.truncate(100_000);
    want.resize(120_000, 0);
    let cache = Cache::open(dir.path(), u64::MAX / 2).unwrap();
    let range = Range::new(0, 120_000);
    assert!(cache.get(INO).unwrap().unwrap().present().covers(range));
    assert!(read_dirty(&cache, range) == want);
}
