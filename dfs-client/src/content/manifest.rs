//! The known part of a file's extent map at one version.

use dfs_core::extent::{Extent, Source};
use dfs_core::range::{Range, RangeSet};
use std::collections::BTreeMap;

/// Extents of one version of a file, as far as they were asked for.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    ver: u64,
    size: u64,
    /// Parts of the file whose extents are known.
    known: RangeSet,
    /// Known extents by first byte, not overlapping; what none covers is a hole.
    extents: BTreeMap<u64, Extent>,
}

impl Manifest {
    /// Nothing but version and size.
    pub(crate) fn new(ver: u64, size: u64) -> Manifest {
        Manifest { ver, size, known: RangeSet::new(), extents: BTreeMap::new() }
    }

    /// A file without any byte stored.
    #[cfg(test)]
    pub(crate) fn all_holes(ver: u64, size: u64) -> Manifest {
        let mut manifest = Manifest::new(ver, size);
        manifest.known.insert(Range::ALL);
        manifest
    }

    /// The version the extents belong to.
    pub(crate) fn ver(&self) -> u64 {
        self.ver
    }

    /// Size of that version in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Takes in what a reply says about `part`.
    pub(crate) fn learn(&mut self, part: Range, extents: Vec<Extent>) {
        self.clear(part);
        for extent in extents {
            let inside = extent.range.intersect(part);
            if let Some(piece) = slice(&extent, inside) {
                self.extents.insert(inside.start, piece);
            }
        }
        self.known.insert(part);
    }

    /// The first part of `r` that must be asked for.
    pub(crate) fn unknown(&self, r: Range) -> Option<Range> {
        self.known.gaps(r.intersect(Range::new(0, self.size))).first().copied()
    }

    /// What makes up `r`, in order and without gaps: zeros are [`Source::Hole`]. Only meaningful
    /// where nothing is unknown.
    pub(crate) fn sources(&self, r: Range) -> Vec<Extent> {
        let mut sources = Vec::new();
        let mut at = r.start;
        let hole =
            |from: u64, to: u64| Extent { range: Range::new(from, to), source: Source::Hole };
        for extent in self.overlapping(r) {
            let inside = extent.range.intersect(r);
            if at < inside.start {
                sources.push(hole(at, inside.start));
            }
            sources.extend(slice(extent, inside));
            at = inside.end;
        }
        if at < r.end {
            sources.push(hole(at, r.end));
        }
        sources
    }

    /// The manifest of version `ver`, made from this one by a commit: what lay behind `min_size`
    /// is gone, then `changes` replace what was there.
    pub(crate) fn commit(&mut self, ver: u64, min_size: u64, size: u64, changes: &[Extent]) {
        let behind = Range::new(min_size, u64::MAX);
        self.clear(behind);
        self.known.insert(behind);
        for change in changes {
            self.learn(change.range, vec![change.clone()]);
        }
        self.ver = ver;
        self.size = size;
    }

    /// The bytes that are certainly the same in `other`: the same part of the same object, equal
    /// inline bytes, or holes in both.
    pub(crate) fn same_as(&self, other: &Manifest) -> RangeSet {
        let both = Range::new(0, self.size.min(other.size));
        let mut same = RangeSet::new();
        for known in self.known.within(both).flat_map(|r| other.known.within(r)) {
            for theirs in other.sources(known) {
                for ours in self.sources(theirs.range) {
                    let equal = match theirs.source {
                        Source::Hole => ours.source == Source::Hole,
                        _ => slice(&theirs, ours.range).is_some_and(|part| part == ours),
                    };
                    if equal {
                        same.insert(ours.range);
                    }
                }
            }
        }
        same
    }

    /// Takes the extents inside `r` out, cutting those that reach out of it.
    fn clear(&mut self, r: Range) {
        let hit: Vec<u64> = self.overlapping(r).map(|extent| extent.range.start).collect();
        for start in hit {
            let Some(extent) = self.extents.remove(&start) else { continue };
            let before = Range::new(extent.range.start, r.start.min(extent.range.end));
            let after = Range::new(r.end.max(extent.range.start), extent.range.end);
            for rest in [before, after] {
                if let Some(piece) = slice(&extent, rest) {
                    self.extents.insert(rest.start, piece);
                }
            }
        }
    }

    fn overlapping(&self, r: Range) -> impl Iterator<Item = &Extent> {
        let first = self.extents.range(..=r.start).next_back().map_or(r.start, |(&start, _)| start);
        self.extents
            .range(first..r.end.max(first))
            .map(|(_, extent)| extent)
            .filter(move |extent| extent.range.overlaps(r))
    }
}

/// The part of `extent` inside `r`; `None` if there is none, or if it is a hole.
fn slice(extent: &Extent, r: Range) -> Option<Extent> {
    extent.part(r).filter(|part| part.source != Source::Hole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::Ino;
    use dfs_core::extent::ObjectName;
    use proptest::prelude::*;

    fn inline(at: u64, bytes: &[u8]) -> Extent {
        Extent {
            range: Range::of_len(at, bytes.len() as u64),
            source: Source::Inline(bytes.to_vec().into()),
        }
    }

    fn bytes(manifest: &Manifest, r: Range) -> Vec<u8> {
        let mut bytes = Vec::new();
        for extent in manifest.sources(r) {
            match extent.source {
                Source::Inline(part) => bytes.extend(part),
                Source::Hole => bytes.resize(bytes.len() + extent.range.len() as usize, 0),
                Source::Object(..) => panic!("no objects here"),
            }
        }
        bytes
    }

    #[test]
    fn sources_cut_objects_and_keep_their_offset() {
        let name = ObjectName { ino: Ino(7), born: 3, n: 1 };
        let mut manifest = Manifest::new(3, 100);
        let object = Extent { range: Range::new(10, 90), source: Source::Object(name, 5) };
        manifest.learn(Range::new(0, 100), vec![object]);
        manifest.commit(4, 60, 70, &[inline(20, b"abc")]);
        let after = &manifest.sources(Range::new(22, 65))[1];
        assert_eq!(after.range, Range::new(23, 60));
        assert_eq!(after.source, Source::Object(name, 18));
        assert_eq!(manifest.sources(Range::new(60, 70))[0].source, Source::Hole);
    }

    #[test]
    fn unknown_names_the_first_part_to_ask_for() {
        let mut manifest = Manifest::new(1, 100);
        manifest.learn(Range::new(0, 40), Vec::new());
        assert_eq!(manifest.unknown(Range::new(10, 60)), Some(Range::new(40, 60)));
        assert_eq!(manifest.unknown(Range::new(0, 40)), None);
        assert_eq!(manifest.unknown(Range::new(100, 200)), None);
    }

    #[test]
    fn same_as_finds_shared_objects_holes_and_equal_inline_bytes() {
        let name = ObjectName { ino: Ino(7), born: 3, n: 1 };
        let object = Extent { range: Range::new(10, 50), source: Source::Object(name, 0) };
        let mut old = Manifest::new(3, 80);
        old.learn(Range::ALL, vec![object, inline(60, b"abcd")]);
        let mut new = old.clone();
        new.commit(4, 80, 90, &[inline(20, b"xyz"), inline(62, b"cD")]);
        let same: Vec<Range> = old.same_as(&new).iter().collect();
        let want = [Range::new(0, 20), Range::new(23, 62), Range::new(64, 80)];
        assert_eq!(same, want, "what a commit did not touch is the same; inline is compared whole");
        let unknown = Manifest::new(4, 90);
        assert!(old.same_as(&unknown).is_empty());
    }

    proptest! {
        #[test]
        fn manifest_equals_a_byte_array(commits in prop::collection::vec(
            (0..80u64, prop::collection::vec((0..60u64, 1..20usize), 0..4)), 0..12)) {
            let mut manifest = Manifest::all_holes(0, 0);
            let mut model: Vec<u8> = Vec::new();
            for (ver, (min_size, writes)) in commits.into_iter().enumerate() {
                let ver = ver as u64 + 1;
                model.truncate(min_size as usize);
                let mut changes = Vec::new();
                let mut end = 0;
                for (at, len) in writes {
                    if at < end {
                        continue;
                    }
                    end = at + len as u64;
                    changes.push(inline(at, &vec![ver as u8; len]));
                    model.resize(model.len().max(end as usize), 0);
                    model[at as usize..end as usize].fill(ver as u8);
                }
                let size = model.len() as u64;
                manifest.commit(ver, min_size, size, &changes);
                prop_assert_eq!(bytes(&manifest, Range::new(0, size)), model.clone());
                prop_assert_eq!(manifest.unknown(Range::ALL), None);
            }
        }
    }
}
