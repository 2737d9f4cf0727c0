//! Plans as text, and random caches against what can be counted by hand.

use super::*;
use crate::range::RangeSet;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;

/// `10 100K dirty=4K open read=64K clean=0-64K,128K-192K`
fn parse_file(line: &str) -> (Entry, Parts) {
    let mut words = line.split_whitespace();
    let ino = Ino(words.next().expect("inode").parse().expect("inode number"));
    let bytes = size(words.next().expect("bytes on disk"));
    let mut entry = Entry { ino, bytes, dirty_bytes: 0, open: false };
    let mut parts = Parts::default();
    for word in words {
        match word.split_once('=') {
            None if word == "open" => entry.open = true,
            Some(("dirty", n)) => entry.dirty_bytes = size(n),
            Some(("read", n)) => parts.read_at = size(n),
            Some(("clean", list)) => {
                let range = |r: &str| {
                    let (a, b) = r.split_once('-').expect("start-end");
                    Range::new(size(a), size(b))
                };
                parts.clean = list.split(',').map(range).collect();
            }
            _ => panic!("unknown word {word}"),
        }
    }
    (entry, parts)
}

fn size(text: &str) -> u64 {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits.parse::<u64>().expect("a number") * unit
}

fn kib(bytes: u64) -> String {
    if bytes.is_multiple_of(1024) { format!("{}K", bytes / 1024) } else { bytes.to_string() }
}

#[test]
fn cache_plans() {
    datadriven::walk("testdata/cache", |file| {
        file.run(|case| {
            assert_eq!(case.directive, "plan");
            let target = size(&case.args["free"][0]);
            let files: Vec<_> = case.input.lines().map(parse_file).collect();
            let parts: BTreeMap<Ino, Parts> =
                files.iter().map(|(e, p)| (e.ino, p.clone())).collect();
            let got = plan(files.iter().map(|f| f.0), |ino| parts[&ino].clone(), target);
            let mut out = String::new();
            for ino in got.drop {
                writeln!(out, "drop {ino}").unwrap();
            }
            for (ino, r) in got.punch {
                writeln!(out, "punch {ino} {}-{}", kib(r.start), kib(r.end)).unwrap();
            }
            for ino in got.flush {
                writeln!(out, "flush {ino}").unwrap();
            }
            out + &format!("frees {}\n", kib(got.freed))
        });
    });
}

#[test]
fn bytes_to_free_leaves_room_only_above_the_limit() {
    assert_eq!(bytes_to_free(0, 1600, 1600), 0);
    assert_eq!(bytes_to_free(1600, 0, 1600), 0);
    assert_eq!(bytes_to_free(1600, 1, 1600), 101);
    assert_eq!(bytes_to_free(1600, 5000, 1600), 1600);
    assert_eq!(bytes_to_free(0, u64::MAX, 1600), 0);
}

const BLOCK: u64 = CHECKSUM_BLOCK;

#[derive(Clone, Debug)]
struct File {
    entry: Entry,
    parts: Parts,
}

/// A file of up to 2000 blocks (some above `LARGE_FILE`), each block absent, clean or unsaved.
fn any_file() -> impl Strategy<Value = (u64, Vec<u8>, bool, u64)> {
    let small = prop::collection::vec(0..3u8, 0..12);
    let clean = (1..2000usize).prop_map(|n| vec![1u8; n]);
    (prop_oneof![3 => small, 1 => clean], any::<bool>(), 0..40u64)
        .prop_map(|(blocks, open, at)| (blocks.len() as u64, blocks, open, at * BLOCK / 3))
}

fn files_of(raw: Vec<(u64, Vec<u8>, bool, u64)>) -> Vec<File> {
    let file = |(n, (_, blocks, open, read_at)): (usize, (u64, Vec<u8>, bool, u64))| {
        let count = |what: u8| blocks.iter().filter(|b| **b == what).count() as u64 * BLOCK;
        let clean: RangeSet = (0u64..)
            .zip(&blocks)
            .filter(|(_, b)| **b == 1)
            .map(|(i, _)| Range::of_len(i * BLOCK, BLOCK))
            .collect();
        let entry = Entry {
            ino: Ino(n as u64 + 10),
            bytes: count(1) + count(2),
            dirty_bytes: count(2),
            open,
        };
        File { entry, parts: Parts { clean: clean.iter().collect(), read_at } }
    };
    raw.into_iter().enumerate().map(file).collect()
}

proptest! {
    #[test]
    fn cache_plan_frees_enough_and_never_unsaved(raw in prop::collection::vec(any_file(), 0..20),
                                                  blocks in 0..4000u64, odd in 0..3u64) {
        let files = files_of(raw);
        let target = blocks * BLOCK + odd;
        let by_ino = |ino: Ino| &files[ino.0 as usize - 10];
        let plan = plan(files.iter().map(|f| f.entry), |ino| by_ino(ino).parts.clone(), target);

        let clean_total: u64 = files.iter().map(|f| f.entry.bytes - f.entry.dirty_bytes).sum();
        let mut gone: BTreeMap<Ino, RangeSet> = BTreeMap::new();
        let mut freed = Vec::new();
        for ino in &plan.drop {
            let file = by_ino(*ino);
            prop_assert!(!file.entry.open && file.entry.dirty_bytes == 0);
            gone.insert(*ino, file.parts.clean.iter().copied().collect());
            freed.push(file.entry.bytes);
        }
        for (ino, range) in &plan.punch {
            let clean: RangeSet = by_ino(*ino).parts.clean.iter().copied().collect();
            prop_assert!(clean.covers(*range), "{range:?} of {ino} is not clean");
            let set = gone.entry(*ino).or_default();
            prop_assert!(!set.overlaps(*range), "{range:?} of {ino} is given up twice");
            set.insert(*range);
            freed.push(range.len());
        }
        prop_assert_eq!(plan.freed, freed.iter().sum::<u64>());
        prop_assert!(plan.freed >= target.min(clean_total));
        // At most one file or block too many: punches come last and stop within a block.
        if !plan.punch.is_empty() {
            prop_assert!(plan.freed < target + BLOCK);
        } else if let Some(last) = freed.last() {
            prop_assert!(plan.freed - last < target);
        }
        // Commits are asked for only when nothing clean is left.
        prop_assert!(plan.flush.is_empty() || plan.freed == clean_total);
        for ino in &plan.flush {
            prop_assert!(by_ino(*ino).entry.dirty_bytes > 0);
        }
        let dirty = files.iter().any(|f| f.entry.dirty_bytes > 0);
        prop_assert!(plan.freed >= target || !dirty || !plan.flush.is_empty());
    }

    #[test]
    fn cache_plan_drops_the_coldest_small_files(sizes in prop::collection::vec(1..100u64, 1..30),
                                                target in 0..3000u64) {
        let files = sizes.iter().zip(0u64..)
            .map(|(&bytes, n)| Entry { ino: Ino(n), bytes, dirty_bytes: 0, open: false });
        let plan = plan(files, |_| Parts::default(), target);
        let mut naive = Vec::new();
        let mut freed = 0;
        for (n, bytes) in (0u64..).zip(&sizes) {
            if freed < target {
                naive.push(Ino(n));
                freed += bytes;
            }
        }
        prop_assert_eq!(plan.drop, naive);
        prop_assert_eq!(plan.freed, freed);
        prop_assert!(plan.punch.is_empty() && plan.flush.is_empty());
    }
}
