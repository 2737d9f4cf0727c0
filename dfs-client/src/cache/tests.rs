//! The cache as a whole: limits, restarts, stray files, speed of starting.

mod small;

use super::index::{Batch, Listed, Row};
use super::sums::Sums;
use super::working::store::{HELD_MAX, SMALL_MAX};
use super::*;
use dfs_core::range::{Range, RangeSet};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

fn content(ino: u64, len: u64) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + ino * 13) as u8).collect()
}

fn new_cache(limit: u64) -> (TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), limit).unwrap();
    (dir, cache)
}

/// Brings a whole file of version 1 into the cache.
fn fetch(cache: &Cache, ino: u64, len: u64) {
    let file = cache.open_file(Ino(ino), 1, len).unwrap();
    assert!(cache.make_room(len).unwrap().ok);
    assert!(file.fill(1, 0, &content(ino, len)).unwrap());
}

fn is_local(cache: &Cache, ino: u64, len: u64) -> bool {
    let Some(file) = cache.get(Ino(ino)).unwrap() else { return false };
    let mut buf = Vec::new();
    let outcome = file.read(Range::new(0, len), &mut buf).unwrap();
    matches!(outcome, ReadOutcome::Bytes(_)) && buf == content(ino, len)
}

#[test]
fn cache_never_passes_its_limit_and_keeps_the_warmest() {
    let (_dir, cache) = new_cache(2 * MIB);
    for ino in 100..200 {
        fetch(&cache, ino, 64 * KIB);
        assert!(cache.stats().used_bytes <= 2 * MIB);
        assert!(is_local(&cache, 100, 64 * KIB), "used all the time");
    }
    assert!(cache.stats().used_bytes > MIB);
    assert!(is_local(&cache, 199, 64 * KIB));
    assert!(!is_local(&cache, 101, 64 * KIB));
}

#[test]
fn what_is_filled_for_readers_in_huge_pieces_is_all_there() {
    let (_dir, cache) = new_cache(32 * MIB);
    let len = 9 * MIB + 70_000;
    let bytes = content(5, len);
    let file = cache.open_file(Ino(5), 1, len).unwrap();
    assert!(cache.make_room(len).unwrap().ok);
    // Whole pieces, the rest, and one that is partly here.
    assert!(file.fill(1, 5 * MIB, &bytes[5 * MIB as usize..][..100_000]).unwrap());
    for at in (0..len).step_by(2 * MIB as usize) {
        let part = &bytes[at as usize..len.min(at + 2 * MIB) as usize];
        let pieces: Vec<&[u8]> = part.chunks(300_000).collect();
        assert!(!file.fill_for_readers(2, at, &pieces).unwrap());
        assert!(file.fill_for_readers(1, at, &pieces).unwrap());
    }
    let mut buf = Vec::new();
    assert_eq!(file.read(Range::ALL, &mut buf).unwrap(), ReadOutcome::Bytes(len as usize));
    assert!(buf == bytes);
}

#[test]
fn cache_reads_and_writes_files_larger_than_itself() {
    let (_dir, cache) = new_cache(MIB);
    larger_than_the_cache(&cache, MIB);
}

/// `mount -t tmpfs -o size=4m tmpfs DIR; DFS_SMALL_DISK=DIR cargo test -- --ignored small_disk`
#[test]
#[ignore = "needs DFS_SMALL_DISK, a folder on a file system of a few MiB"]
fn cache_on_a_small_disk_takes_its_end_for_the_limit() {
    let disk = std::env::var("DFS_SMALL_DISK").expect("DFS_SMALL_DISK names a folder");
    let dir = tempfile::tempdir_in(disk).unwrap();
    let cache = Cache::open(dir.path(), 1000 * MIB).unwrap();
    larger_than_the_cache(&cache, 1000 * MIB);
    // Someone else fills the disk behind our back.
    let file = cache.open_file(Ino(10), 1, 0).unwrap();
    let hog = dir.path().join("hog");
    let filled = std::fs::write(&hog, vec![1; 100 * MIB as usize]).unwrap_err();
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    let refused = file.write(0, &content(10, MIB)).unwrap_err();
    assert_eq!(refused.code, dfs_core::Code::NoSpace);
    assert!(!file.has_work() && file.size() == 0);
    // Clean content makes way.
    assert!(cache.make_room(MIB).unwrap().ok);
    file.write(0, &content(10, MIB)).unwrap();
    assert!(is_local(&cache, 10, MIB));
}

fn larger_than_the_cache(cache: &Cache, limit: u64) {
    const PIECE: u64 = 128 * KIB;
    const SIZE: u64 = 8 * MIB;
    let file = cache.open_file(Ino(9), 1, 0).unwrap();
    cache.set_open(Ino(9), true);
    let want = content(9, SIZE);
    let mut commits = 0;
    for at in (0..SIZE).step_by(PIECE as usize) {
        let mut room = cache.make_room(PIECE).unwrap();
        if !room.ok {
            assert_eq!(room.flush, [Ino(9)]);
            file.committed(&file.dirty_snapshot().unwrap(), file.version() + 1).unwrap();
            commits += 1;
            room = cache.make_room(PIECE).unwrap();
        }
        assert!(room.ok);
        file.write(at, &want[at as usize..(at + PIECE) as usize]).unwrap();
        assert!(cache.stats().used_bytes <= limit);
    }
    assert!(commits > 0 && file.size() == SIZE);
    file.committed(&file.dirty_snapshot().unwrap(), file.version() + 1).unwrap();
    let mut buf = Vec::new();
    for at in (0..SIZE).step_by(PIECE as usize) {
        let range = Range::of_len(at, PIECE);
        for part in file.missing(range) {
            assert!(cache.make_room(part.len()).unwrap().ok);
            let bytes = &want[part.start as usize..part.end as usize];
            assert!(file.fill(file.version(), part.start, bytes).unwrap());
        }
        assert_eq!(file.read(range, &mut buf).unwrap(), ReadOutcome::Bytes(PIECE as usize));
        assert!(buf == want[at as usize..(at + PIECE) as usize]);
        assert!(cache.stats().used_bytes <= limit);
    }
}

#[test]
fn cache_full_of_unsaved_work_says_so_and_loses_nothing() {
    let (_dir, cache) = new_cache(MIB);
    for ino in 1..=4 {
        let file = cache.open_file(Ino(ino), 1, 0).unwrap();
        file.write(0, &content(ino, 256 * KIB)).unwrap();
    }
    let room = cache.make_room(64 * KIB).unwrap();
    assert!(!room.ok);
    assert_eq!(room.flush.first(), Some(&Ino(1)));
    assert_eq!(cache.stats().unsaved, 4);
    for ino in 1..=4 {
        assert!(is_local(&cache, ino, 256 * KIB));
    }
    let too_much = cache.make_room(2 * MIB).unwrap();
    assert!(!too_much.ok);
}

#[test]
fn cache_large_closed_file_loses_parts_also_when_it_is_not_open() {
    const SIZE: u64 = 80 * MIB;
    let (dir, cache) = new_cache(100 * MIB);
    let file = cache.open_file(Ino(1), 1, SIZE).unwrap();
    for at in (0..SIZE).step_by(MIB as usize) {
        assert!(file.fill(1, at, &content(1, MIB)).unwrap());
    }
    cache.persist().unwrap();
    drop((file, cache));
    let cache = Cache::open(dir.path(), 100 * MIB).unwrap();
    assert!(cache.make_room(30 * MIB).unwrap().ok);
    let file = cache.get(Ino(1)).unwrap().unwrap();
    let present = file.present();
    assert!(present.covers(Range::new(0, 60 * MIB)) && !present.covers(Range::new(0, SIZE)));
}

#[test]
fn cache_content_survives_a_restart_once_persisted() {
    let (dir, cache) = new_cache(100 * MIB);
    for ino in 1..=10 {
        fetch(&cache, ino, 100 * KIB);
    }
    cache.persist().unwrap();
    fetch(&cache, 11, 100 * KIB);
    let used = cache.stats().used_bytes;
    let uuid = cache.uuid();
    drop(cache);
    let cache = Cache::open(dir.path(), 100 * MIB).unwrap();
    assert_eq!((cache.uuid(), cache.stats().files), (uuid, 10));
    for ino in 1..=10 {
        assert!(is_local(&cache, ino, 100 * KIB));
    }
    let file = cache.open_file(Ino(3), 2, 500).unwrap();
    let found = (file.version(), file.size(), file.present().bytes());
    assert_eq!(found, (1, 100 * KIB, 100 * KIB), "another one stays as it is");
    file.begin_with(2, 500).unwrap();
    assert_eq!((file.version(), file.size(), file.present().bytes()), (2, 500, 0));
    assert!(cache.stats().used_bytes < used);
    let swept = cache.sweep(&false.into()).unwrap();
    assert_eq!(swept, Swept { strays: 1, lost: 0 });
}

#[test]
fn cache_forgets_files_that_are_gone_from_disk() {
    let (dir, cache) = new_cache(100 * MIB);
    fetch(&cache, 1, 100 * KIB);
    fetch(&cache, 2, 100 * KIB);
    fetch(&cache, 3, 100 * KIB);
    let paths: Vec<PathBuf> = (1..=3).map(|ino| cache.shared.folder.data(Ino(ino))).collect();
    cache.persist().unwrap();
    drop(cache);
    std::fs::remove_file(&paths[0]).unwrap();
    std::fs::remove_file(&paths[1]).unwrap();
    let cache = Cache::open(dir.path(), 100 * MIB).unwrap();
    assert!(!is_local(&cache, 1, 100 * KIB));
    assert_eq!(cache.sweep(&false.into()).unwrap(), Swept { strays: 0, lost: 1 });
    assert!(cache.get(Ino(2)).unwrap().is_none());
    assert!(is_local(&cache, 3, 100 * KIB));
    cache.remove(Ino(3)).unwrap();
    cache.remove(Ino(1)).unwrap();
    assert_eq!(cache.stats().used_bytes, 0);
    cache.persist().unwrap();
    drop(cache);
    assert_eq!(Cache::open(dir.path(), MIB).unwrap().stats().files, 0);
}

#[test]
fn cache_damaged_index_costs_no_unsaved_work() {
    let (dir, cache) = new_cache(100 * MIB);
    fetch(&cache, 1, 100 * KIB);
    let file = cache.open_file(Ino(2), 1, 1000).unwrap();
    file.write(500, &content(2, 5000)).unwrap();
    cache.persist().unwrap();
    let index = cache.shared.folder.index();
    drop((file, cache));
    std::fs::write(&index, vec![0xaa; 50_000]).unwrap();
    let cache = Cache::open(dir.path(), 100 * MIB).unwrap();
    assert!(cache.get(Ino(1)).unwrap().is_none());
    let unsaved = cache.unsaved().unwrap();
    assert_eq!(unsaved[0].ranges, [Range::new(500, 5500)]);
    let file = cache.get(Ino(2)).unwrap().unwrap();
    assert_eq!(file.read_dirty(&[Range::new(500, 5500)]).unwrap(), content(2, 5000));
    assert_eq!(cache.sweep(&false.into()).unwrap().strays, 1);
    assert_eq!(file.read_dirty(&[Range::new(500, 5500)]).unwrap(), content(2, 5000));
    file.committed(&file.dirty_snapshot().unwrap(), 2).unwrap();
    let journal = cache.shared.folder.unsaved(Ino(2));
    assert!(Found::read(&journal).unwrap().is_none());
    drop((file, cache));
    assert!(!journal.exists());
}

#[test]
fn cache_closes_idle_files_but_keeps_their_content() {
    let (_dir, mut cache) = new_cache(1000 * MIB);
    cache.warmth.most = cache.warmth.many;
    // What is larger than this is on disk at once.
    let len = SMALL_MAX + 1;
    for ino in 1..=1500 {
        fetch(&cache, ino, len);
    }
    assert!((300..=cache.warmth.most).contains(&cache.stats().warm));
    cache.set_open(Ino(1), true);
    let kept = cache.get(Ino(2)).unwrap().unwrap();
    cache.persist().unwrap();
    assert!(cache.stats().warm < 300);
    assert!(Arc::ptr_eq(&kept, &cache.get(Ino(2)).unwrap().unwrap()));
    for ino in 1..=1500 {
        assert!(is_local(&cache, ino, len));
    }
    assert_eq!(cache.stats().files, 1500);
}

#[test]
fn cache_does_not_look_at_all_files_in_use_for_each_open() {
    let (_dir, mut cache) = new_cache(100 * MIB);
    cache.warmth.most = cache.warmth.many;
    let opened = cache.warmth.most as u64 + 2;
    let in_use: Vec<_> =
        (1..=opened).map(|ino| cache.open_file(Ino(ino), 1, SMALL_MAX + 1).unwrap()).collect();
    // Written before the last but one of them was opened, and not before the last.
    let unwritten = in_use.iter().filter(|file| file.take_row(0).is_some()).count();
    assert_eq!(unwritten, 2);
}

#[test]
fn cache_says_that_its_index_is_to_be_written_when_much_is_open_or_in_memory() {
    let (_dir, cache) = new_cache(1000 * MIB);
    assert!(cache.warmth.most > cache.warmth.many, "few descriptors are allowed here");
    let full = cache.full();
    let is_full = || pin!(full.notified()).poll(&mut Context::from_waker(Waker::noop())).is_ready();
    let open = |ino| cache.open_file(Ino(ino), 1, SMALL_MAX + 1).unwrap();
    let opened = cache.warmth.many as u64;
    let _in_use: Vec<_> = (1..=opened).map(open).collect();
    assert!(!is_full());
    open(opened + 1);
    assert!(is_full(), "many files are open");
    open(opened + 2);
    assert!(!is_full(), "that is known");
    let (many, first) = (persist::HELD_MANY / SMALL_MAX, 2 * opened);
    (first..first + many - 1).for_each(|ino| fetch(&cache, ino, SMALL_MAX));
    assert!(!is_full());
    fetch(&cache, first + many, SMALL_MAX);
    assert!(is_full(), "much is in memory");
}

#[test]
fn cache_serves_several_threads_under_pressure() {
    const LEN: u64 = 200 * KIB;
    let (_dir, cache) = new_cache(MIB);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..60u64 {
                    let ino = (thread * 3 + round * 7) % 12 + 1;
                    let file = cache.open_file(Ino(ino), 1, LEN).unwrap();
                    let mut buf = Vec::new();
                    let range = Range::of_len(round * 1000, 100 * KIB);
                    while let ReadOutcome::Missing(missing) = file.read(range, &mut buf).unwrap() {
                        for part in missing {
                            cache.make_room(part.len()).unwrap();
                            let whole = content(ino, LEN);
                            let bytes = &whole[part.start as usize..part.end as usize];
                            file.fill(1, part.start, bytes).unwrap();
                        }
                    }
                    assert!(buf == content(ino, LEN)[range.start as usize..range.end as usize]);
                    if round % 10 == 0 {
                        cache.persist().unwrap();
                    }
                }
            });
        }
    });
    // Each thread may be ahead of the limit by what it wrote last.
    assert!(cache.stats().used_bytes <= MIB + 4 * LEN);
    assert!(cache.make_room(0).unwrap().ok);
}

#[test]
fn cache_removed_file_leaves_nothing_behind() {
    let (_dir, cache) = new_cache(100 * MIB);
    let file = cache.open_file(Ino(5), 1, 0).unwrap();
    file.write(0, b"unsaved").unwrap();
    cache.remove(Ino(5)).unwrap();
    file.write(7, b" and open").unwrap();
    let mut buf = Vec::new();
    file.read(Range::new(0, 100), &mut buf).unwrap();
    assert_eq!(buf, b"unsaved and open");
    assert!(!cache.shared.folder.data(Ino(5)).exists());
    assert!(!cache.shared.folder.unsaved(Ino(5)).exists());
    assert_eq!(cache.stats().used_bytes, 0);
    assert_eq!(cache.open_file(Ino(5), 1, 3).unwrap().present().bytes(), 0);
}

#[test]
fn cache_with_100_000_files_opens_in_well_under_a_second() {
    const FILES: u64 = 100_000;
    let (dir, cache) = new_cache(100 * MIB);
    let row = |ino: u64| {
        let mut sums = Sums::default();
        sums.add(0, &ino.to_le_bytes());
        Row {
            listed: Listed { ino: Ino(ino), ver: 1, size: 8, disk: 4096, used: ino, kept: true },
            holes: RangeSet::new(),
            chunks: sums.take_changed(),
            whole: true,
            content: Some(ino.to_le_bytes().to_vec()),
        }
    };
    let batch = Batch { rows: (1..=FILES).map(row).collect(), ..Batch::default() };
    let start = Instant::now();
    cache.shared.index.save(&batch).unwrap();
    println!("{FILES} rows written in {:?}", start.elapsed());
    drop(cache);
    let start = Instant::now();
    let cache = Cache::open(dir.path(), 100 * MIB).unwrap();
    let took = start.elapsed();
    println!("cache with {FILES} files opened in {took:?}");
    assert_eq!(cache.stats().files as u64, FILES);
    assert!(took < Duration::from_secs(1));
    let start = Instant::now();
    assert!(cache.make_room(1).unwrap().ok);
    println!("plan over {FILES} files carried out in {:?}", start.elapsed());
}
