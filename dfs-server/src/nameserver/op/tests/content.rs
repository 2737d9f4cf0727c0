//! Commits, truncations and clones against arrays of bytes.

use super::harness::{KEY, World, name};
use crate::metastore::Read;
use crate::nameserver::op::*;
use crate::nameserver::resolve;
use dfs_core::access::Credentials;
use dfs_core::attr::SetAttr;
use dfs_core::extent::{Extent, ObjectName, Source, plan, split_at_stripes};
use dfs_core::hub::Item;
use dfs_core::range::Range;
use dfs_core::{Code, Ino};
use proptest::prelude::*;

/// A small stripe, so that few bytes cross many boundaries.
pub(super) const UNIT: u64 = 16;
const SPACE: u64 = 100;

fn object_byte(object: ObjectName, at: u64) -> u8 {
    (object.born.wrapping_mul(31) + at.wrapping_mul(7)) as u8 | 1
}

/// A file with stripes of `UNIT` bytes.
pub(super) fn file(w: &mut World, text: &str) -> Ino {
    let op = Create {
        dir: Ino::ROOT,
        name: name(text),
        mode: 0o644.into(),
        exclusive: true,
        leased: false,
    };
    let ino = w.must(&op).ino;
    let mut row = resolve::inode(&w.store, ino).unwrap();
    row.unit = UNIT;
    w.edit(row);
    ino
}

/// The file as a reader sees it.
pub(super) fn bytes(w: &World, ino: Ino) -> Vec<u8> {
    let root = Credentials::root();
    let cx = Context { who: &root, cookie_key: &KEY };
    let content = resolve::content(&cx, &w.store, ino, Range::ALL, false).unwrap();
    assert!(!content.more);
    let pieces = plan(&content.extents, Range::new(0, content.attr.size));
    pieces.iter().flat_map(piece_bytes).collect()
}

fn piece_bytes(piece: &Extent) -> Vec<u8> {
    match &piece.source {
        Source::Inline(bytes) => bytes.to_vec(),
        Source::Hole => vec![0; piece.range.len() as usize],
        Source::Object(object, offset) => {
            (0..piece.range.len()).map(|i| object_byte(*object, offset + i)).collect()
        }
    }
}

/// A commit on what is current.
pub(super) fn commit(
    w: &World,
    ino: Ino,
    min_size: u64,
    size: u64,
    extents: Vec<Extent>,
) -> Commit {
    let base_ver = w.attr(ino).content_ver;
    let set = SetAttr::default();
    Commit { ino, base_ver, min_size, size, extents, set, attrs_only: false, later: false }
}

pub(super) fn inline(start: u64, bytes: &[u8]) -> Extent {
    let range = Range::of_len(start, bytes.len() as u64);
    Extent { range, source: Source::Inline(bytes.to_vec().into()) }
}

#[derive(Clone, Debug)]
enum Step {
    Write { start: u64, len: u64, kind: u8, min_size: u64, grow: u64 },
    Truncate { size: u64 },
    Clone { from_other: bool, src_off: u64, len: u64, dst_off: u64 },
    Compact { index: u64 },
}

fn step() -> impl Strategy<Value = (bool, Step)> {
    let at = 0..SPACE;
    let write = (at.clone(), 1..40u64, 0..3u8, 0..SPACE * 2, 0..20u64).prop_map(
        |(start, len, kind, min_size, grow)| Step::Write { start, len, kind, min_size, grow },
    );
    let clone = (any::<bool>(), at.clone(), at.clone(), at.clone()).prop_map(
        |(from_other, src_off, len, dst_off)| Step::Clone { from_other, src_off, len, dst_off },
    );
    let truncate = at.prop_map(|size| Step::Truncate { size });
    let compact = (0..8u64).prop_map(|index| Step::Compact { index });
    (any::<bool>(), prop_oneof![4 => write, 1 => truncate, 2 => clone, 1 => compact])
}

/// Two files and what they should hold.
struct Pair {
    world: World,
    inos: [Ino; 2],
    naive: [Vec<u8>; 2],
    born: u64,
}

impl Pair {
    /// Runs a step on file `which` and checks what it announced against what changed.
    fn run(&mut self, which: usize, step: &Step) {
        let (ino, old) = (self.inos[which], self.naive[which].clone());
        let before = self.world.attr(ino);
        match *step {
            Step::Write { start, len, kind, min_size, grow } => {
                self.write(which, Range::of_len(start, len), kind, min_size, grow);
            }
            Step::Truncate { size } => {
                let op = Truncate { ino, size, set: SetAttr::default(), opened: false };
                self.world.must(&op);
                self.naive[which].resize(size as usize, 0);
            }
            Step::Clone { from_other, src_off, len, dst_off } => {
                self.clone_range(which, from_other, src_off, len, dst_off);
            }
            Step::Compact { index } => self.compact(which, index),
        }
        let new = &self.naive[which];
        assert_eq!(&bytes(&self.world, ino), new, "{step:?}");
        self.world.check_blocks(ino);
        let attr = self.world.attr(ino);
        if let Some(below) = self.unchanged_below(ino) {
            let same = old.iter().zip(new).take_while(|(a, b)| a == b).count() as u64;
            assert!(below <= same, "{step:?}: unchanged below {below}, same {same}");
            assert!(attr.content_ver > before.content_ver);
        } else {
            assert_eq!(&old, new);
            assert_eq!(attr.content_ver, before.content_ver);
        }
    }

    fn unchanged_below(&self, ino: Ino) -> Option<u64> {
        self.world.items.iter().find_map(|item| match item {
            Item::Data { ino: of, unchanged_below, .. } if *of == ino => *unchanged_below,
            _ => None,
        })
    }

    fn write(&mut self, which: usize, range: Range, kind: u8, min_size: u64, grow: u64) {
        let (ino, naive) = (self.inos[which], &mut self.naive[which]);
        let min_size = min_size.min(naive.len() as u64);
        let size = range.end.max(min_size) + grow;
        self.born += 1;
        let object = ObjectName { ino, born: self.born, n: 0 };
        let cuts: Vec<Range> = {
            let whole = Extent { range, source: Source::Hole };
            split_at_stripes(&whole, UNIT).map(|(_, piece)| piece.range).collect()
        };
        let extents: Vec<Extent> = match kind {
            0 => vec![Extent { range, source: Source::Hole }],
            1 => cuts
                .iter()
                .map(|cut| inline(cut.start, &vec![self.born as u8; cut.len() as usize]))
                .collect(),
            _ => cuts
                .iter()
                .map(|cut| Extent { range: *cut, source: Source::Object(object, cut.start % UNIT) })
                .collect(),
        };
        naive.truncate(min_size as usize);
        naive.resize(size as usize, 0);
        for piece in &extents {
            let place = piece.range.start as usize..piece.range.end as usize;
            naive[place].copy_from_slice(&piece_bytes(piece));
        }
        let op = commit(&self.world, ino, min_size, size, extents);
        self.world.must(&op);
    }

    fn clone_range(&mut self, dst: usize, from_other: bool, src_off: u64, len: u64, dst_off: u64) {
        let src = if from_other { 1 - dst } else { dst };
        let op = CloneRange {
            src: self.inos[src],
            src_off,
            len,
            dst: self.inos[dst],
            dst_off,
            opened: false,
        };
        let end = (src_off + len).min(self.naive[src].len() as u64);
        let from = Range::new(src_off.min(end), end);
        let to = Range::of_len(dst_off, from.len());
        let got = self.world.run(&Credentials::root(), &op);
        if src == dst && from.overlaps(to) {
            assert_eq!(got.unwrap_err(), Code::Invalid);
            return;
        }
        got.unwrap();
        if from.is_empty() {
            return;
        }
        let copied = self.naive[src][from.start as usize..from.end as usize].to_vec();
        let naive = &mut self.naive[dst];
        naive.resize(naive.len().max(to.end as usize), 0);
        naive[to.start as usize..to.end as usize].copy_from_slice(&copied);
    }

    /// Rewrites a stripe that is one object into the very same one, since the test's objects have
    /// fixed bytes: nothing is left to replace.
    fn compact(&mut self, which: usize, index: u64) {
        let ino = self.inos[which];
        self.world.items.clear();
        let Some((_, read)) = self.world.store.stripes(ino, index, index).unwrap().pop() else {
            return;
        };
        let [Extent { source: Source::Object(object, 0), .. }] = read[..] else { return };
        let op = Compact { ino, index, read, object };
        assert_eq!(self.world.run(&Credentials::root(), &op).unwrap_err(), Code::StaleVersion);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn content_equals_a_byte_array(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        let inos = [file(&mut world, "a"), file(&mut world, "b")];
        let mut pair = Pair { world, inos, naive: [Vec::new(), Vec::new()], born: 1 << 40 };
        for (second, step) in &steps {
            pair.run(usize::from(*second), step);
        }
        for (text, ino) in [("a", inos[0]), ("b", inos[1])] {
            pair.world.must(&Unlink { dir: Ino::ROOT, name: name(text), at: None });
            pair.world.run(&Credentials::root(), &FreeOrphan { ino }).unwrap();
            prop_assert!(pair.world.store.stripes(ino, 0, i64::MAX as u64).unwrap().is_empty());
        }
        pair.world.check_tree();
    }
}
