//! How the unsaved bytes of a file travel in a commit (PROTOCOL 4.2): inside the message, or as
//! objects of at most one stripe each.

use dfs_core::limits::{COMMIT_INLINE_MAX, COMPACT_EXTENTS, COMPACT_INLINE};
use dfs_core::range::Range;

/// What an extent costs in a message beside its bytes.
const OVERHEAD: u64 = 64;

/// The bytes of one stripe that changed, as they will be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Every range travels in the message.
    Inline(Vec<Range>),
    /// All ranges, one behind the other, are one object.
    Object(Vec<Range>),
    /// Zeros.
    Hole(Range),
}

impl Piece {
    /// Number of stored bytes.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Piece::Inline(ranges) | Piece::Object(ranges) => ranges.iter().map(|r| r.len()).sum(),
            Piece::Hole(_) => 0,
        }
    }
}

/// Cuts `r` at multiples of `unit`.
pub(crate) fn cut(r: Range, unit: u64) -> impl Iterator<Item = Range> {
    let mut at = r.start;
    std::iter::from_fn(move || {
        if at >= r.end {
            return None;
        }
        let end = (at / unit + 1).saturating_mul(unit).min(r.end);
        let piece = Range::new(at, end);
        at = end;
        Some(piece)
    })
}

/// Decides for the changed ranges `data` and `holes`, each in order, how they are stored. `unit` is
/// the stripe unit, `inline_max` what may travel inside the message.
///
/// A change of up to `inline_max` bytes in all is inline. Beyond that a stripe is inline if the
/// server would not have to compact it at once; else its changes are packed into one object.
pub(crate) fn plan(data: &[Range], holes: &[Range], unit: u64, inline_max: u64) -> Vec<Piece> {
    let total: u64 = data.iter().map(|r| r.len()).sum();
    let mut budget = COMMIT_INLINE_MAX;
    let mut pieces = Vec::new();
    for stripe in by_stripe(data, unit) {
        let bytes: u64 = stripe.iter().map(|r| r.len()).sum();
        let cost = bytes + OVERHEAD * stripe.len() as u64;
        let light = bytes <= COMPACT_INLINE
            && stripe.len() <= COMPACT_EXTENTS
            && stripe.iter().all(|r| r.len() <= inline_max);
        if cost <= budget && (total <= inline_max || light) {
            budget -= cost;
            pieces.push(Piece::Inline(stripe));
        } else {
            pieces.push(Piece::Object(stripe));
        }
    }
    pieces.extend(holes.iter().flat_map(|r| cut(*r, unit)).map(Piece::Hole));
    pieces
}

fn by_stripe(data: &[Range], unit: u64) -> Vec<Vec<Range>> {
    let mut stripes: Vec<Vec<Range>> = Vec::new();
    for piece in data.iter().flat_map(|r| cut(*r, unit)) {
        match stripes.last_mut() {
            Some(stripe) if stripe[0].start / unit == piece.start / unit => stripe.push(piece),
            _ => stripes.push(vec![piece]),
        }
    }
    stripes
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::range::RangeSet;
    use proptest::prelude::*;

    fn ranges(list: &[(u64, u64)]) -> Vec<Range> {
        list.iter().map(|&(start, end)| Range::new(start, end)).collect()
    }

    #[test]
    fn plan_small_change_is_inline_also_across_stripes() {
        let pieces = plan(&ranges(&[(90, 110)]), &[], 100, 20);
        let want = [ranges(&[(90, 100)]), ranges(&[(100, 110)])].map(Piece::Inline);
        assert_eq!(pieces, want);
    }

    #[test]
    fn plan_big_range_is_one_object_per_stripe() {
        let pieces = plan(&ranges(&[(0, 10), (50, 250)]), &[], 100, 20);
        let first = Piece::Object(ranges(&[(0, 10), (50, 100)]));
        let second = Piece::Object(ranges(&[(100, 200)]));
        assert_eq!(pieces, [first, second, Piece::Object(ranges(&[(200, 250)]))]);
    }

    #[test]
    fn plan_scattered_small_ranges_stay_inline_until_the_message_is_full() {
        let unit = 4 << 20;
        let data: Vec<Range> = (0..40).map(|n| Range::of_len(n * unit, 16 * 1024)).collect();
        let pieces = plan(&data, &[], unit, 16 * 1024);
        let inline = pieces.iter().filter(|p| matches!(p, Piece::Inline(_))).count();
        assert_eq!(inline, 40);
        let data: Vec<Range> = (0..80).map(|n| Range::of_len(n * unit, 16 * 1024)).collect();
        let pieces = plan(&data, &[], unit, 16 * 1024);
        let inline: u64 =
            pieces.iter().filter(|p| matches!(p, Piece::Inline(_))).map(Piece::bytes).sum();
        assert!(inline <= COMMIT_INLINE_MAX && inline > COMMIT_INLINE_MAX / 2);
    }

    proptest! {
        #[test]
        fn plan_covers_every_changed_byte_once(starts in prop::collection::vec((0..4000u64, 1..300u64), 0..20)) {
            let set: RangeSet = starts.iter().map(|&(at, len)| Range::of_len(at, len)).collect();
            let data: Vec<Range> = set.iter().collect();
            let mut seen = Vec::new();
            for piece in plan(&data, &[], 256, 64) {
                let (Piece::Inline(ranges) | Piece::Object(ranges)) = &piece else {
                    panic!("a hole out of nothing")
                };
                let stripe = ranges[0].start / 256;
                prop_assert!(ranges.iter().all(|r| (r.end - 1) / 256 == stripe && r.start / 256 == stripe));
                prop_assert!(piece.bytes() <= 256);
                seen.extend(ranges.iter().copied());
            }
            prop_assert!(seen.windows(2).all(|w| w[0].end <= w[1].start));
            prop_assert_eq!(seen.into_iter().collect::<RangeSet>(), set);
        }
    }
}
