//! Saving, listing, and what happens when the area is full or a save was interrupted.

use super::*;
use crate::cache::Cache;
use std::sync::Arc;
use tempfile::TempDir;

const INO: Ino = Ino(0xabc);
const DAY: i64 = 24 * 3600;

fn meta(seconds: i64) -> Meta {
    Meta {
        path: b"dir/\xff new\nline \\ 'q' = \"x\"".to_vec(),
        uid: 1000,
        reason: "the lease was taken away\nby \u{e9}".to_owned(),
        time: Timestamp { seconds, nanos: 5 },
    }
}

struct Setup {
    _dir: TempDir,
    cache: Cache,
    area: RecoveryArea,
}

fn setup(limit: u64) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("cache"), u64::MAX / 2).unwrap();
    let area = RecoveryArea::open(&cache.recovered_dir(), limit, RECOVERED_AGE_MIN).unwrap();
    Setup { _dir: dir, cache, area }
}

fn worked_on(cache: &Cache) -> Arc<WorkingFile> {
    let file = cache.open_file(INO, 7, 300_000).unwrap();
    assert!(file.fill(7, 0, &[1; 1000]).unwrap());
    file.write(100_000, &[2; 100_000]).unwrap();
    file.punch(Range::new(150_000, 160_000), true).unwrap();
    file
}

#[test]
fn recovered_entry_holds_base_and_work() {
    let Setup { _dir, cache, area } = setup(RECOVERED_LIMIT);
    let file = worked_on(&cache);
    let entry = area.save(&file, meta(1000), 9, 50).unwrap();
    assert_eq!((entry.ino, entry.base_ver, entry.size), (INO, 7, 300_000));
    assert_eq!(entry.dirty, [Range::new(100_000, 200_000)]);
    assert_eq!(entry.local, [Range::new(0, 1000), Range::new(100_000, 200_000)]);
    assert_eq!(area.list().unwrap(), std::slice::from_ref(&entry));
    let mut want = vec![0; 300_000];
    want[..1000].fill(1);
    want[100_000..200_000].fill(2);
    want[150_000..160_000].fill(0);
    assert!(std::fs::read(area.data_path(&entry.name)).unwrap() == want);
    // The working file goes on without the work, and does not touch the entry.
    assert_eq!((file.version(), file.size(), file.has_work()), (9, 50, false));
    file.write(0, &[3; 1000]).unwrap();
    assert!(std::fs::read(area.data_path(&entry.name)).unwrap() == want);
    let again = area.save(&file, meta(1000), 9, 50).unwrap();
    assert_ne!(again.name, entry.name);
    area.remove(&entry.name).unwrap();
    assert_eq!(area.list().unwrap(), [again]);
    assert_eq!(area.get(&entry.name).unwrap_err().code, Code::NotFound);
}

#[test]
fn recovered_area_that_is_full_leaves_the_work_where_it_is() {
    let Setup { _dir, cache, area } = setup(150_000);
    let first = area.save(&worked_on(&cache), meta(0), 7, 300_000).unwrap();
    let file = worked_on(&cache);
    let refused = area.save(&file, meta(6 * DAY), 7, 300_000).unwrap_err();
    assert_eq!(refused.code, Code::NoSpace);
    assert!(file.has_work());
    assert_eq!(area.list().unwrap(), [first]);
    // Old enough to be removed.
    let second = area.save(&file, meta(7 * DAY), 7, 300_000).unwrap();
    assert_eq!(area.list().unwrap(), [second]);
}

#[test]
fn recovered_entry_that_was_interrupted_is_removed_and_its_work_is_not() {
    let Setup { _dir, cache, area } = setup(RECOVERED_LIMIT);
    let file = worked_on(&cache);
    let (name, _) = area.link(&file, meta(0).time).unwrap();
    assert!(area.data_path(&name).exists());
    let area =
        RecoveryArea::open(&cache.recovered_dir(), RECOVERED_LIMIT, RECOVERED_AGE_MIN).unwrap();
    assert!(!area.data_path(&name).exists());
    assert!(file.has_work());
    assert_eq!(file.read_dirty(&[Range::new(100_000, 100_010)]).unwrap(), [2; 10]);
}

#[test]
fn recovered_manifest_that_makes_no_sense_is_named() {
    let Setup { _dir, area, .. } = setup(RECOVERED_LIMIT);
    std::fs::write(area.manifest_path("x"), "dfs recovered file 1\npath = a\\").unwrap();
    let e = area.list().unwrap_err();
    assert!(e.code == Code::Io && e.message.contains("x.txt"), "{e}");
}
