//! Journals cut off at every byte.

use super::*;

#[test]
fn journal_torn_at_every_byte_keeps_what_came_before() {
    let model = Model::new(0);
    let file = model.file();
    file.store().unwrap();
    let path = model.dir.path().join("unsaved").join(format!("{:016x}", INO.0));
    let owner = Owner { fence: dfs_core::Fence(9), path: b"/a\xff".to_vec(), uid: 1000 };
    file.set_owner(owner.clone()).unwrap();
    let mut states: Vec<(u64, FileMap)> = Vec::new();
    let mut note = || {
        let len = path.metadata().unwrap().len();
        states.push((len, file.lock().map.clone()));
    };
    file.write(100, &[1; 50]).unwrap();
    note();
    file.truncate(120).unwrap();
    note();
    file.write(300, &[2; 10]).unwrap();
    note();
    file.punch(Range::new(110, 305), true).unwrap();
    note();
    file.write(1000, &[3; 1000]).unwrap();
    note();
    let whole = std::fs::read(&path).unwrap();
    let torn_path = model.dir.path().join("torn");
    for cut in 0..=whole.len() {
        std::fs::write(&torn_path, &whole[..cut]).unwrap();
        let Some(found) = Found::read(&torn_path).unwrap() else {
            assert!((cut as u64) < states[0].0 - 25, "header lost at {cut}");
            continue;
        };
        assert_eq!(found.header.owner, owner);
        let mut map = FileMap::new(1, 0);
        found.resume(&mut map, file.lock().file.on_disk().unwrap()).unwrap();
        // The write at 300 was partly punched away, so as the last record it is not believed.
        let want = states.iter().rev().find(|s| s.0 <= cut as u64).map(|s| &s.1);
        let want = want.cloned().unwrap_or_else(|| FileMap::new(1, 0));
        let believed = want.dirty != map.dirty;
        if believed {
            assert!(want.size == 310 && map.size == 120 || want.size == 150 && map.size == 0);
        } else {
            assert_eq!((want.size, want.min_size), (map.size, map.min_size));
        }
    }
}

#[test]
fn journal_with_bytes_torn_at_every_byte_keeps_what_came_before() {
    let model = Model::new(0);
    let file = model.file();
    let path = model.dir.path().join("unsaved").join(format!("{:016x}", INO.0));
    let mut states: Vec<(u64, FileMap, Vec<u8>)> = vec![(0, FileMap::new(1, 0), Vec::new())];
    let mut note = || {
        let mut bytes = Vec::new();
        file.read(Range::new(0, SPACE), &mut bytes).unwrap();
        states.push((path.metadata().unwrap().len(), file.lock().map.clone(), bytes));
    };
    file.write(100, &[1; 50]).unwrap();
    note();
    file.truncate(120).unwrap();
    note();
    file.write(110, &[2; 200]).unwrap();
    note();
    file.punch(Range::new(105, 112), true).unwrap();
    note();
    file.write(20, &[3; 30]).unwrap();
    note();
    assert!(file.is_kept());
    let whole = std::fs::read(&path).unwrap();
    let header = Found::read(&path).unwrap().unwrap().header;
    // An earlier journal in the same file, of the same shape, has left its end.
    let left = {
        let other = Model::new(0);
        (0..5).for_each(|_| other.file().write(0, &[4; 100]).unwrap());
        std::fs::read(other.dir.path().join("unsaved").join(format!("{:016x}", INO.0))).unwrap()
    };
    let torn_path = model.dir.path().join("torn");
    for cut in 0..=whole.len() {
        let torn = [&whole[..cut], left.get(cut..).unwrap_or_default()].concat();
        std::fs::write(&torn_path, torn).unwrap();
        let Some(found) = Found::read(&torn_path).unwrap() else { continue };
        if found.header != header {
            continue;
        }
        let working = tempfile::tempfile_in(model.dir.path()).unwrap();
        let mut map = FileMap::new(1, 0);
        found.resume(&mut map, &working).unwrap();
        let (_, want, bytes) = states.iter().rev().find(|s| s.0 <= cut as u64).unwrap();
        assert_eq!((want.size, want.min_size, &want.dirty), (map.size, map.min_size, &map.dirty));
        for part in map.dirty.iter().flat_map(|r| map.holes.gaps(r)) {
            let mut got = Vec::new();
            disk::read_zero_filled(&working, part, &mut got).unwrap();
            assert!(got == bytes[part.start as usize..part.end as usize], "{part:?} at {cut}");
        }
    }
}
