//! What a disk may do to objects, and what the store must do about it.

use super::*;
use crate::disk::tests::TinyDisk;
use dfs_core::Ino;
use dfs_core::limits::{CHECKSUM_BLOCK, CHUNK, DIRECT_STEP};
use proptest::prelude::*;
use std::collections::BTreeSet;
use tempfile::TempDir;

const NAME: ObjectName = ObjectName { ino: Ino(77), born: 3, n: 1 };
const STRICT: Options = Options { durability: Durability::Strict, reserve: 0 };
const RELAXED: Options = Options { durability: Durability::Relaxed, reserve: 0 };

fn new_store(options: Options) -> (ObjectStore, TempDir) {
    let temp = tempfile::tempdir().unwrap();
    let (store, repair) = ObjectStore::open(temp.path(), options).unwrap();
    assert_eq!(repair, Repair::default());
    (store, temp)
}

/// Bytes that repeat with no power of two.
fn content(len: u64) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 ^ (i / 65_521) as u8).collect()
}

fn put(store: &ObjectStore, name: ObjectName, bytes: &[u8]) -> Result<()> {
    let mut writer = store.create(name, bytes.len() as u64)?;
    for chunk in bytes.chunks(100_000) {
        writer.write(chunk, crc32c::crc32c(chunk))?;
    }
    writer.finish()
}

fn temps(store: &ObjectStore) -> usize {
    fs::read_dir(store.inner.dir.join(TEMP)).unwrap().count()
}

fn listed(store: &ObjectStore) -> Vec<ObjectName> {
    let name = |entry: Result<Entry>| match entry.unwrap() {
        Entry::Object { name, .. } => name,
        Entry::Foreign(path) => panic!("{}", path.display()),
    };
    store.list().map(name).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..Default::default() })]

    #[test]
    fn object_reads_back_in_any_ranges(
        len in prop::sample::select(vec![
            1, 2, CHECKSUM_BLOCK - 1, CHECKSUM_BLOCK, CHECKSUM_BLOCK + 1, 3 * CHECKSUM_BLOCK, 300_001,
        ]),
        cuts in prop::collection::vec(1..200_000usize, 1..8),
        reads in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..12),
    ) {
        let (store, _temp) = new_store(RELAXED);
        let bytes = content(len);
        let mut writer = store.create(NAME, len).unwrap();
        let mut rest = &bytes[..];
        for cut in cuts.into_iter().chain([rest.len()]) {
            let (chunk, after) = rest.split_at(cut.min(rest.len()));
            writer.write(chunk, crc32c::crc32c(chunk)).unwrap();
            rest = after;
        }
        writer.finish().unwrap();
        for (a, b) in reads {
            let (a, b) = (a.index(bytes.len() + 1), b.index(bytes.len() + 1));
            let (from, to) = (a.min(b), a.max(b));
            let read = store.read(NAME, from as u64, (to - from) as u64).unwrap();
            prop_assert!(read[..] == bytes[from..to], "{}..{} of {}", from, to, len);
        }
        prop_assert_eq!(temps(&store), 0);
    }

    /// Whatever bit flips, a read of all never returns other bytes; a read of the blocks that are
    /// whole still works.
    #[test]
    fn object_with_a_flipped_bit_is_refused(bit in any::<prop::sample::Index>()) {
        let (store, _temp) = new_store(RELAXED);
        let len = CHECKSUM_BLOCK + 100;
        put(&store, NAME, &content(len)).unwrap();
        let mut file = fs::read(store.path_of(NAME)).unwrap();
        let bit = bit.index(file.len() * 8);
        file[bit / 8] ^= 1 << (bit % 8);
        fs::write(store.path_of(NAME), file).unwrap();
        let err = store.read(NAME, 0, len).unwrap_err();
        prop_assert_eq!(err.code, Code::BadChecksum);
        prop_assert!(err.message.contains("77.3.1"), "{}", err);
    }
}

/// Past the page cache, and through it when it is asked for again.
#[test]
fn object_streams_what_a_read_answers() {
    let (store, _temp) = new_store(STRICT);
    let len = 2 * DIRECT_STEP as u64 + 3 * CHECKSUM_BLOCK + 77;
    put(&store, NAME, &content(len)).unwrap();
    for (off, part) in
        [(0, len), (0, 1), (5, len - 5), (CHECKSUM_BLOCK, CHUNK as u64), (len - 1, 1)]
    {
        for _ in 0..2 {
            let mut all = Vec::new();
            let sink = |piece: bytes::Bytes, crc| {
                assert!(piece.len() <= CHUNK && crc32c::crc32c(&piece) == crc);
                all.extend_from_slice(&piece);
                true
            };
            store.stream(NAME, off, part, sink).unwrap();
            assert!(store.read(NAME, off, part).unwrap() == all, "{part} at {off}");
        }
    }
    let mut pieces = 0;
    store
        .stream(NAME, 0, len, |_, _| {
            pieces += 1;
            pieces < 3
        })
        .unwrap();
    assert_eq!(pieces, 3);
    assert_eq!(store.stream(NAME, 1, len, |_, _| true).unwrap_err().code, Code::Invalid);
    let mut file = fs::read(store.path_of(NAME)).unwrap();
    file[DIRECT_STEP + 5] ^= 1;
    fs::write(store.path_of(NAME), file).unwrap();
    let err = store.stream(NAME, 2, len - 2, |_, _| true).unwrap_err();
    assert_eq!(err.code, Code::BadChecksum);
}

#[test]
fn object_damage_is_named_by_its_place() {
    let (store, _temp) = new_store(STRICT);
    let len = 2 * CHECKSUM_BLOCK;
    put(&store, NAME, &content(len)).unwrap();
    let whole = fs::read(store.path_of(NAME)).unwrap();
    let places = [
        (10, "block 0"),
        (CHECKSUM_BLOCK, "block 1"),
        (len, "checksum table"),
        (len + 7, "checksum table"),
        (len + 8, "footer"),
        (len + 8 + 63, "footer"),
    ];
    for (at, part) in places {
        let mut bad = whole.clone();
        bad[at as usize] ^= 0x10;
        fs::write(store.path_of(NAME), bad).unwrap();
        let err = store.read(NAME, 0, len).unwrap_err();
        assert_eq!(err.code, Code::BadChecksum);
        assert!(err.message.contains(part), "byte {at}: {err}");
        let other = store.read(NAME, CHECKSUM_BLOCK, 5);
        assert_eq!(other.is_ok(), part == "block 0", "byte {at}");
    }
}

#[test]
fn object_cut_short_or_misplaced_is_refused() {
    let (store, _temp) = new_store(STRICT);
    put(&store, NAME, &content(70_000)).unwrap();
    let path = store.path_of(NAME);
    let whole = fs::read(&path).unwrap();
    for cut in [0, 1, 63, 64, 65, 69, 40_000, whole.len() - 64, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        let err = store.read(NAME, 0, 1).unwrap_err();
        assert_eq!(err.code, Code::BadChecksum, "cut to {cut}");
    }
    fs::write(&path, &whole).unwrap();
    let other = ObjectName { n: 2, ..NAME };
    fs::rename(&path, store.path_of(other)).unwrap();
    assert_eq!(store.read(other, 0, 1).unwrap_err().code, Code::BadChecksum);
    assert_eq!(store.read(NAME, 0, 1).unwrap_err().code, Code::NotFound);
}

#[test]
fn read_outside_the_object_is_invalid() {
    let (store, _temp) = new_store(STRICT);
    put(&store, NAME, b"hello").unwrap();
    assert_eq!(store.read(NAME, 1, 3).unwrap(), "ell");
    assert_eq!(store.read(NAME, 5, 0).unwrap(), "");
    for (off, len) in [(0, 6), (5, 1), (6, 0), (u64::MAX, 1), (1, u64::MAX)] {
        assert_eq!(store.read(NAME, off, len).unwrap_err().code, Code::Invalid, "{off} {len}");
    }
}

#[test]
fn create_refuses_what_was_not_announced() {
    let (store, _temp) = new_store(STRICT);
    for len in [0, OBJECT_MAX + 1] {
        assert_eq!(store.create(NAME, len).err().unwrap().code, Code::Invalid);
    }
    let mut writer = store.create(NAME, 4).unwrap();
    assert_eq!(writer.write(b"abc", 1).unwrap_err().code, Code::BadChecksum);
    writer.write(b"abc", crc32c::crc32c(b"abc")).unwrap();
    assert_eq!(writer.write(b"de", crc32c::crc32c(b"de")).unwrap_err().code, Code::Invalid);
    assert_eq!(temps(&store), 1);
    assert_eq!(writer.finish().unwrap_err().code, Code::Invalid);
    assert_eq!(temps(&store), 0);
    assert_eq!(store.read(NAME, 0, 1).unwrap_err().code, Code::NotFound);
}

#[test]
fn create_again_accepts_equal_content_only() {
    for options in [STRICT, RELAXED] {
        let (store, _temp) = new_store(options);
        let bytes = content(150_000);
        put(&store, NAME, &bytes).unwrap();
        put(&store, NAME, &bytes).unwrap();
        let mut other = bytes.clone();
        other[149_999] ^= 1;
        for bad in [&other[..], &bytes[..149_999]] {
            assert_eq!(put(&store, NAME, bad).unwrap_err().code, Code::Exists);
        }
        assert_eq!(store.read(NAME, 0, 150_000).unwrap(), bytes);
        assert_eq!(temps(&store), 0);
        // A damaged copy is no copy.
        fs::write(store.path_of(NAME), b"junk").unwrap();
        put(&store, NAME, &bytes).unwrap();
        assert_eq!(store.read(NAME, 0, 150_000).unwrap(), bytes);
    }
}

#[test]
fn create_of_one_name_at_once_has_one_winner() {
    let (store, _temp) = new_store(STRICT);
    let results: Vec<bool> = std::thread::scope(|scope| {
        let run = |i: u64| {
            let store = &store;
            scope.spawn(move || put(store, NAME, &content(9000 + i % 2)).is_ok())
        };
        let threads: Vec<_> = (0..8).map(run).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let even = results.iter().step_by(2).filter(|ok| **ok).count();
    let odd = results.iter().skip(1).step_by(2).filter(|ok| **ok).count();
    assert!((even, odd) == (4, 0) || (even, odd) == (0, 4), "{results:?}");
    assert_eq!(temps(&store), 0);
}

#[test]
fn open_removes_what_was_half_written() {
    let (store, temp) = new_store(STRICT);
    put(&store, NAME, &content(100)).unwrap();
    let mut writer = store.create(ObjectName { n: 9, ..NAME }, 50).unwrap();
    writer.write(&[1; 30], crc32c::crc32c(&[1; 30])).unwrap();
    // A killed process runs no destructor.
    std::mem::forget(writer);
    drop(store);
    let (store, repair) = ObjectStore::open(temp.path(), STRICT).unwrap();
    assert_eq!(repair, Repair { temps_removed: 1, bytes_freed: 30 });
    assert_eq!(temps(&store), 0);
    assert_eq!(listed(&store), [NAME]);
    assert_eq!(store.read(NAME, 0, 100).unwrap(), content(100));
}

#[test]
fn list_and_remove_agree() {
    let (store, _temp) = new_store(RELAXED);
    let names: BTreeSet<_> =
        (0..200).map(|i| ObjectName { ino: Ino(i % 50), born: i, n: i as u32 % 3 }).collect();
    names.iter().for_each(|name| put(&store, *name, &name.born.to_le_bytes()).unwrap());
    let found = listed(&store);
    assert_eq!(found.len(), 200);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), names);
    for name in names.iter().take(150) {
        assert_eq!(store.remove(*name), Ok(true));
        assert_eq!(store.remove(*name), Ok(false));
    }
    assert_eq!(listed(&store).len(), 50);
    assert!(store.statfs().unwrap().available > 0);
}

#[test]
fn check_reports_damaged_and_foreign_files() {
    let (store, _temp) = new_store(STRICT);
    let names: Vec<_> = (0..4).map(|n| ObjectName { n, ..NAME }).collect();
    names.iter().for_each(|name| put(&store, *name, &content(1000)).unwrap());
    let flip = |name, at: usize| {
        let mut bytes = fs::read(store.path_of(name)).unwrap();
        bytes[at] ^= 1;
        fs::write(store.path_of(name), bytes).unwrap();
    };
    flip(names[1], 1);
    flip(names[2], 1067);
    fs::write(store.path_of(NAME).with_file_name("README"), "x").unwrap();
    for (depth, damaged) in [(Depth::Footers, 1), (Depth::Content, 2)] {
        let mut bad = Vec::new();
        let checked = store.check(depth, &mut |err| bad.push(err.to_string())).unwrap();
        assert_eq!((checked.objects, checked.damaged, checked.foreign), (4, damaged, 1));
        assert_eq!(checked.bytes, 4 * 1068);
        assert_eq!(bad.len() as u64, damaged + 1);
        assert!(bad.iter().any(|text| text.contains("77.3.2")), "{bad:?}");
    }
}

#[test]
fn flush_makes_relaxed_objects_durable_in_bounded_groups() {
    let (store, _temp) = new_store(RELAXED);
    let unsynced = || store.inner.unsynced.lock().unwrap().len();
    for n in 0..UNSYNCED_MAX as u32 + 3 {
        put(&store, ObjectName { n, ..NAME }, b"x").unwrap();
    }
    assert_eq!(unsynced(), 3);
    store.flush().unwrap();
    assert_eq!(unsynced(), 0);
    // A pipe cannot be synced, as a broken disk.
    let (_read, write) = nix::unistd::pipe().unwrap();
    store.inner.unsynced.lock().unwrap().push((File::from(write), 0));
    assert_eq!(store.flush().unwrap_err().code, Code::Io);
    assert_eq!(store.flush().unwrap_err().code, Code::Io);
}

/// What a commit names is durable, because the answer to the upload that comes before it is.
#[test]
fn strict_object_has_no_name_before_its_bytes_are_durable() {
    let (store, _temp) = new_store(STRICT);
    let bytes = content(1000);
    let mut writer = store.create(NAME, 1000).unwrap();
    writer.write(&bytes, crc32c::crc32c(&bytes)).unwrap();
    // A pipe takes the footer and cannot be synced, as a broken disk.
    let (_read, write) = nix::unistd::pipe().unwrap();
    let good = std::mem::replace(&mut writer.out, direct::Output::new(File::from(write), None));
    assert_eq!(writer.finish().unwrap_err().code, Code::Io);
    drop(good);
    assert!(listed(&store).is_empty());
    put(&store, NAME, &bytes).unwrap();
    assert_eq!(listed(&store), [NAME]);
}

#[test]
fn full_disk_leaves_no_trace() {
    let Some(disk) = TinyDisk::new(1 << 20) else { return };
    let (store, _) = ObjectStore::open(disk.path(), STRICT).unwrap();
    put(&store, NAME, &content(300_000)).unwrap();
    let two = ObjectName { n: 2, ..NAME };
    // Announced: refused at once.
    assert_eq!(put(&store, two, &content(1 << 20)).unwrap_err().code, Code::NoSpace);
    // Others take the space meanwhile.
    let mut writer = store.create(two, 600_000).unwrap();
    fs::write(disk.path().join("filler"), vec![0; 500_000]).unwrap();
    let bytes = content(600_000);
    assert_eq!(writer.write(&bytes, crc32c::crc32c(&bytes)).unwrap_err().code, Code::NoSpace);
    drop(writer);
    assert_eq!(temps(&store), 0);
    assert_eq!(listed(&store), [NAME]);
    fs::remove_file(disk.path().join("filler")).unwrap();
    put(&store, two, &bytes).unwrap();
    assert_eq!(store.read(two, 0, 600_000).unwrap(), bytes);
}

#[test]
fn reserve_is_kept_free() {
    let Some(disk) = TinyDisk::new(2 << 20) else { return };
    let options = Options { reserve: 1 << 20, ..STRICT };
    let (store, _) = ObjectStore::open(disk.path(), options).unwrap();
    put(&store, NAME, &content(500_000)).unwrap();
    let err = put(&store, ObjectName { n: 2, ..NAME }, &content(700_000)).unwrap_err();
    assert_eq!(err.code, Code::NoSpace);
    assert!(err.message.contains("kept back"), "{err}");
    assert_eq!(temps(&store), 0);
}
