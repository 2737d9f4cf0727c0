//! Extent maps against an array of bytes.

use super::*;
use crate::limits::{COMPACT_EXTENTS, COMPACT_INLINE};
use proptest::prelude::*;
use std::slice::from_ref;

const SPACE: u64 = 64;

/// What byte `at` of an object is: distinct enough to notice a wrong offset.
fn object_byte(name: ObjectName, at: u64) -> u8 {
    (name.born.wrapping_mul(31) + at.wrapping_mul(7) + 1) as u8 | 1
}

/// The bytes an extent stands for.
fn bytes_of(extent: &Extent) -> Vec<Option<u8>> {
    (0..extent.range.len())
        .map(|i| match &extent.source {
            Source::Object(name, offset) => Some(object_byte(*name, offset + i)),
            Source::Inline(bytes) => Some(bytes[i as usize]),
            Source::Hole => None,
        })
        .collect()
}

/// The first `SPACE` bytes of a map; `None` is a hole.
fn flat(extents: &[Extent]) -> Vec<Option<u8>> {
    let mut out = vec![None; SPACE as usize];
    for extent in extents {
        for (i, byte) in bytes_of(extent).into_iter().enumerate() {
            out[extent.range.start as usize + i] = byte;
        }
    }
    out
}

fn name(born: u64) -> ObjectName {
    ObjectName { ino: Ino(9), born, n: 0 }
}

fn change() -> impl Strategy<Value = Extent> {
    (0..SPACE, 1..=SPACE, 0..3u8, 0..4u64, 0..9u64).prop_map(|(start, len, kind, born, offset)| {
        let range = Range::new(start, (start + len).min(SPACE));
        let source = match kind {
            0 => Source::Object(name(born), start + offset),
            1 => Source::Inline((0..range.len()).map(|i| (born * 50 + i) as u8).collect()),
            _ => Source::Hole,
        };
        Extent { range, source }
    })
}

fn assert_well_formed(extents: &[Extent]) {
    assert!(extents.iter().all(|e| !e.range.is_empty() && e.source != Source::Hole));
    assert!(extents.windows(2).all(|w| w[0].range.end <= w[1].range.start), "{extents:?}");
    assert_eq!(merge(extents.to_vec()), extents, "not merged");
}

/// A map that changes one after the other have made.
fn laid(map: Vec<Extent>, changes: &[Extent]) -> Vec<Extent> {
    changes.iter().fold(map, |map, change| overlay(&map, from_ref(change)))
}

proptest! {
    /// A log that says of each state what differs from the one before gives the last state, whichever of
    /// them it is read over.
    #[test]
    fn extent_patches_lead_from_state_to_state(changes in prop::collection::vec(
                                                   (change(), prop::option::weighted(0.2, 0..SPACE)), 1..12)) {
        let mut states = vec![Vec::new()];
        for (change, size) in changes {
            let last = states.last().unwrap();
            let last = size.map_or_else(|| last.clone(), |size| cut(last, size));
            states.push(laid(last, &[change]));
        }
        let patches: Vec<_> = states.windows(2).map(|two| Patch::between(&two[0], &two[1])).collect();
        for (patch, two) in patches.iter().zip(states.windows(2)) {
            prop_assert_eq!(&patch.apply(&two[0]), &two[1]);
            let inside = |extent: &Extent| patch.range.intersect(extent.range) == extent.range;
            prop_assert!(patch.extents.iter().all(inside));
        }
        let last = states.last().unwrap();
        for state in &states {
            let read = patches.iter().fold(state.clone(), |map, patch| patch.apply(&map));
            prop_assert_eq!(&read, last);
        }
    }

    #[test]
    fn extent_compaction_changes_no_byte(before in prop::collection::vec(change(), 1..16),
                                         after in prop::collection::vec(change(), 0..8),
                                         part in (0..16usize, 1..16usize)) {
        let old = laid(Vec::new(), &before);
        let first = part.0.min(old.len());
        let read = &old[first..(first + part.1).min(old.len())];
        let now = laid(old.clone(), &after);
        let object = name(77);
        let new = replace(&now, read, object);
        assert_well_formed(&new);
        let start = read.first().map_or(0, |extent| extent.range.start);
        let (old, now, new) = (flat(&old), flat(&now), flat(&new));
        let copied = replace(read, read, object);
        prop_assert_eq!(copied.len(), usize::from(!read.is_empty()));
        let copied = flat(&copied);
        for at in 0..SPACE as usize {
            let in_object = copied[at].map(|_| object_byte(object, at as u64 - start));
            // The object has the old byte there, a hole as zero.
            let fits = new[at] == now[at] || (new[at] == in_object && old[at] == now[at]);
            prop_assert!(fits, "byte {}: {:?} became {:?}", at, now[at], new[at]);
        }
        if after.is_empty() {
            prop_assert!((0..SPACE as usize).all(|at| copied[at].is_none() || new[at] == copied[at]));
        }
    }

    #[test]
    fn extent_map_equals_a_byte_array(changes in prop::collection::vec(change(), 0..24),
                                      size in 0..SPACE, a in 0..SPACE, b in 0..SPACE) {
        let mut map = Vec::new();
        let mut naive: Vec<Option<u8>> = vec![None; SPACE as usize];
        for change in &changes {
            map = overlay(&map, from_ref(change));
            for (i, byte) in bytes_of(change).into_iter().enumerate() {
                naive[change.range.start as usize + i] = byte;
            }
            assert_well_formed(&map);
            prop_assert_eq!(&flat(&map), &naive);
        }
        let stored = naive.iter().flatten().count() as u64;
        prop_assert_eq!(blocks(&map), stored.div_ceil(512));

        let range = Range::new(a.min(b), a.max(b));
        let pieces = plan(&map, range);
        let planned: Vec<_> = pieces.iter().flat_map(bytes_of).collect();
        prop_assert_eq!(&planned[..], &naive[range.start as usize..range.end as usize]);
        prop_assert!(pieces.windows(2).all(|w| w[0].range.end == w[1].range.start));

        let short = cut(&map, size);
        naive[size as usize..].fill(None);
        prop_assert_eq!(&flat(&short), &naive);
        let first = |wanted: bool| {
            (a..size).find(|&i| naive[i as usize].is_some() == wanted)
        };
        prop_assert_eq!(seek_data(&short, size, a), first(true));
        let hole = (a < size).then(|| first(false).unwrap_or(size));
        prop_assert_eq!(seek_hole(&short, size, a), hole);
    }

    #[test]
    fn extent_overlay_of_many_is_that_of_each(stripe in prop::collection::vec(change(), 0..12),
                                              changes in prop::collection::vec(change(), 0..12)) {
        let each = |map: Vec<Extent>, changes: &[Extent]| {
            changes.iter().fold(map, |map, change| overlay(&map, from_ref(change)))
        };
        let stripe = each(Vec::new(), &stripe);
        let mut free = Range::new(0, SPACE);
        let mut apart = changes;
        apart.sort_by_key(|change| change.range.start);
        apart.retain_mut(|change| {
            let part = change.part(free);
            free.start = free.start.max(change.range.end);
            part.is_some_and(|part| { *change = part; true })
        });
        prop_assert_eq!(overlay(&stripe, &apart), each(stripe.clone(), &apart));
    }

    #[test]
    fn splitting_at_stripes_keeps_every_byte_in_its_stripe(change in change(), unit in 1..20u64) {
        let pieces: Vec<_> = split_at_stripes(&change, unit).collect();
        for (index, piece) in &pieces {
            let stripe = Range::of_len(index * unit, unit);
            prop_assert!(!piece.range.is_empty() && stripe.covers(piece.range));
        }
        let joined: Vec<_> = pieces.iter().flat_map(|(_, piece)| bytes_of(piece)).collect();
        prop_assert_eq!(joined, bytes_of(&change));
        let whole = merge(pieces.into_iter().map(|(_, piece)| piece).collect());
        prop_assert_eq!(whole, vec![change]);
    }
}

#[test]
fn splitting_an_endless_hole_is_lazy() {
    let hole = Extent { range: Range::new(5, u64::MAX), source: Source::Hole };
    let indexes: Vec<u64> = split_at_stripes(&hole, 4).map(|(index, _)| index).take(3).collect();
    assert_eq!(indexes, [1, 2, 3]);
}

#[test]
fn seeking_behind_the_end_finds_nothing() {
    let map = [Extent { range: Range::new(10, 20), source: Source::Object(name(1), 0) }];
    assert_eq!(seek_data(&map, 30, 20), None, "only a hole follows");
    assert_eq!(seek_data(&map, 30, 30), None);
    assert_eq!(seek_hole(&map, 30, 10), Some(20));
    assert_eq!(seek_hole(&map, 20, 10), Some(20), "the end is a hole");
    assert_eq!(seek_hole(&map, 20, 20), None);
}

#[test]
fn compaction_starts_beyond_its_bounds() {
    let at =
        |i: u64| Extent { range: Range::of_len(i * 2, 1), source: Source::Inline(vec![0].into()) };
    let extents: Vec<_> = (0..=COMPACT_EXTENTS as u64).map(at).collect();
    assert!(needs_compaction(&extents) && !needs_compaction(&extents[1..]));
    let inline = |len: u64| {
        let source = Source::Inline(vec![0; len as usize].into());
        [Extent { range: Range::of_len(0, len), source }]
    };
    assert!(
        !needs_compaction(&inline(COMPACT_INLINE)) && needs_compaction(&inline(COMPACT_INLINE + 1))
    );
}
