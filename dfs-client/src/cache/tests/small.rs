//! Contents that are with the index and in no file of their own (`docs/design/0022`, 0042).

use super::*;

#[test]
fn cache_reads_small_contents_from_the_index_when_somebody_wants_them() {
    let (dir, cache) = new_cache(100 * MIB);
    (1..=2).for_each(|ino| fetch(&cache, ino, 100));
    cache.persist().unwrap();
    drop(cache);
    let cache = Cache::open(dir.path(), 100 * MIB).unwrap();
    let open = |ino| {
        cache.set_open(Ino(ino), true);
        cache.open_file(Ino(ino), 1, 100).unwrap()
    };
    let (one, two) = (open(1), open(2));
    assert_eq!((one.version(), one.size(), one.has_work()), (1, 100, false));
    for _ in 0..2 {
        cache.persist().unwrap();
        assert!(one.is_in_index() && two.is_in_index());
    }
    assert!(is_local(&cache, 1, 100) && !one.is_in_index());
    // Without what the index had it is fetched again.
    let gone = index::Batch { gone: vec![Ino(2)], ..Default::default() };
    cache.shared.index.save(&gone).unwrap();
    assert!(!is_local(&cache, 2, 100) && !two.is_in_index());
    assert_eq!(cache.stats().used_bytes, 4096);
    drop((one, two));
    fetch(&cache, 2, 100);
    cache.persist().unwrap();
    (1..=2).for_each(|ino| cache.set_open(Ino(ino), false));
    drop(cache);
    let cache = Cache::open(dir.path(), 100 * MIB).unwrap();
    assert!((1..=2).all(|ino| is_local(&cache, ino, 100)));
}

#[test]
fn cache_keeps_small_contents_in_the_index() {
    let (dir, cache) = new_cache(100 * MIB);
    let on_disk = || {
        let folders = std::fs::read_dir(dir.path().join("data")).into_iter().flatten();
        folders.map(|f| std::fs::read_dir(f.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    for ino in 1..=1000 {
        fetch(&cache, ino, 100);
        assert!(is_local(&cache, ino, 100));
    }
    // Asked for, and nothing came.
    (1001..=1400).for_each(|ino| drop(cache.open_file(Ino(ino), 1, 100).unwrap()));
    let used = cache.stats().used_bytes;
    assert_eq!((on_disk(), cache.stats().warm, used), (0, 0, 1000 * 4096));
    cache.persist().unwrap();
    assert_eq!((on_disk(), cache.stats().used_bytes), (0, used));
    assert!(cache.lock().warm.len() < 300 && cache.stats().files < 1400);
    drop(cache);
    let cache = Cache::open(dir.path(), 100 * MIB).unwrap();
    assert_eq!((cache.stats().files, cache.stats().used_bytes), (1000, used));
    assert!((1..=1000).all(|ino| is_local(&cache, ino, 100)));
    assert_eq!(cache.sweep(&false.into()).unwrap(), Swept::default());
    // What outgrows the index has a file, and a newer version leaves nothing of the old one.
    let large = content(1, 100 * KIB);
    let file = cache.open_file(Ino(1), 1, 100).unwrap();
    file.write(0, &large).unwrap();
    file.committed(&file.dirty_snapshot().unwrap(), 2).unwrap();
    cache.open_file(Ino(2), 2, 100).unwrap().begin_with(2, 100).unwrap();
    cache.remove(Ino(3)).unwrap();
    cache.persist().unwrap();
    drop((file, cache));
    let cache = Cache::open(dir.path(), 100 * MIB).unwrap();
    assert_eq!((on_disk(), cache.stats().files), (1, 999));
    let file = cache.open_file(Ino(2), 2, 100).unwrap();
    file.begin_with(2, 100).unwrap();
    assert!(file.present().is_empty());
    let file = cache.open_file(Ino(1), 2, 100 * KIB).unwrap();
    let mut buf = Vec::new();
    file.read(Range::new(0, 100 * KIB), &mut buf).unwrap();
    assert!(buf == large);
}

#[test]
fn cache_does_not_believe_small_contents_that_changed_on_disk() {
    let (dir, cache) = new_cache(100 * MIB);
    (1..=3).for_each(|ino| fetch(&cache, ino, 5000));
    cache.persist().unwrap();
    let small = cache.shared.folder.small();
    drop(cache);
    // One is another one's, as after a power loss; one is not there.
    let mut bytes = std::fs::read(&small).unwrap();
    bytes.copy_within(0..8192, 8192);
    bytes.truncate(2 * 8192);
    std::fs::write(&small, bytes).unwrap();
    let cache = Cache::open(dir.path(), 100 * MIB).unwrap();
    let local: Vec<u64> = (1..=3).filter(|ino| is_local(&cache, *ino, 5000)).collect();
    assert_eq!(local.len(), 1, "{local:?}");
    (1..=3).for_each(|ino| fetch(&cache, ino, 5000));
    assert!((1..=3).all(|ino| is_local(&cache, ino, 5000)));
}

#[test]
fn cache_unsaved_small_content_survives_in_its_journal() {
    let (dir, cache) = new_cache(100 * MIB);
    fetch(&cache, 1, 3000);
    cache.persist().unwrap();
    let file = cache.get(Ino(1)).unwrap().unwrap();
    let mut want = content(1, 3000);
    for at in [100u64, 2000, 150, 2990] {
        let bytes = content(at, 200);
        file.write(at, &bytes).unwrap();
        want.resize(want.len().max(at as usize + 200), 0);
        want[at as usize..at as usize + 200].copy_from_slice(&bytes);
    }
    assert!(!cache.shared.folder.data(Ino(1)).exists());
    drop((file, cache));
    // Twice: what was put back once is in the working file.
    for _ in 0..2 {
        let cache = Cache::open(dir.path(), 100 * MIB).unwrap();
        assert_eq!(cache.unsaved().unwrap()[0].ranges.iter().map(|r| r.len()).sum::<u64>(), 650);
        let file = cache.get(Ino(1)).unwrap().unwrap();
        let mut buf = Vec::new();
        file.read(Range::new(0, 3190), &mut buf).unwrap();
        assert!(buf == want);
        file.write(100, &want[100..101]).unwrap();
    }
}

#[test]
fn cache_journal_in_memory_is_bounded() {
    let (_dir, cache) = new_cache(100 * MIB);
    let file = cache.open_file(Ino(1), 1, 0).unwrap();
    let journal = cache.shared.folder.unsaved(Ino(1));
    for _ in 0..1000 {
        file.write(0, &content(1, 1000)).unwrap();
    }
    assert!(cache.shared.folder.data(Ino(1)).exists());
    assert!(std::fs::metadata(&journal).unwrap().len() < 300 * KIB);
}

#[test]
fn cache_holds_a_bounded_amount_in_memory() {
    let (_dir, cache) = new_cache(1000 * MIB);
    let files = 2 * HELD_MAX / SMALL_MAX;
    for ino in 1..=files {
        fetch(&cache, ino, SMALL_MAX);
    }
    assert_eq!(cache.stats().warm as u64, files / 2);
    // Those that are dropped make room again.
    (1..=files / 2).for_each(|ino| cache.remove(Ino(ino)).unwrap());
    fetch(&cache, files + 1, SMALL_MAX);
    assert_eq!(cache.stats().warm as u64, files / 2);
    assert!((files / 2 + 1..=files + 1).all(|ino| is_local(&cache, ino, SMALL_MAX)));
}

#[test]
fn regression_content_that_the_index_has_leaves_memory_though_the_file_is_in_use() {
    let (_dir, cache) = new_cache(1000 * MIB);
    let half = HELD_MAX / SMALL_MAX / 2;
    let open = |ino| {
        fetch(&cache, ino, SMALL_MAX);
        cache.get(Ino(ino)).unwrap().unwrap()
    };
    let mut in_use = Vec::new();
    for round in 0..6 {
        in_use.extend((1..=half).map(|n| open(round * half + n)));
        cache.persist().unwrap();
        // What changes now stays.
        in_use.last().unwrap().write(0, b"new").unwrap();
        cache.persist().unwrap();
        assert!(cache.shared.held() <= persist::HELD_IDLE);
    }
    assert_eq!((cache.stats().warm, cache.stats().unsaved), (0, 6));
    assert!(in_use[2].is_in_index());
    for file in in_use {
        let mut buf = Vec::new();
        file.read(Range::new(0, SMALL_MAX), &mut buf).unwrap();
        let mut want = content(file.ino().0, SMALL_MAX);
        if file.has_work() {
            want[..3].copy_from_slice(b"new");
        }
        assert!(buf == want, "{}", file.ino());
    }
}

#[test]
fn cache_gives_up_small_contents_that_have_no_file_yet() {
    let (_dir, cache) = new_cache(MIB);
    for ino in 1..=1000 {
        fetch(&cache, ino, 10_000);
        assert!(cache.stats().used_bytes <= MIB);
    }
    assert!(is_local(&cache, 1000, 10_000) && cache.get(Ino(5)).unwrap().is_none());
    (1..=1000).for_each(|ino| cache.remove(Ino(ino)).unwrap());
    assert_eq!(cache.stats().used_bytes, 0);
}

#[test]
fn cache_small_content_that_is_gone_is_written_without_a_name() {
    let (dir, cache) = new_cache(100 * MIB);
    fetch(&cache, 5, 100);
    let gone = cache.get(Ino(5)).unwrap().unwrap();
    cache.remove(Ino(5)).unwrap();
    fetch(&cache, 5, 200);
    cache.persist().unwrap();
    gone.write(50, b"still open").unwrap();
    let mut want = content(5, 100);
    want[50..60].copy_from_slice(b"still open");
    let mut buf = Vec::new();
    gone.read(Range::new(0, 1000), &mut buf).unwrap();
    assert_eq!(buf, want);
    assert!(is_local(&cache, 5, 200));
    assert_eq!(std::fs::read_dir(dir.path().join("fresh")).unwrap().count(), 0);
}
