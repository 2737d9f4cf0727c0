//! Data (PROTOCOL G2, G4): what was closed there is read here, whole.

mod follow;
mod given;
mod pages;
mod passthrough;
mod racing;

use dfs_tests::{sizes, sys, tree, world};
use rand::RngExt;
use std::path::Path;
use std::time::Duration;

/// Files that are written again and again, so that caches hold old versions of them.
const FILES: u32 = 25;

fn hand_over(random: &mut rand::rngs::StdRng, version: u64, from: &Path, to: &Path) {
    let name = format!("file{}", random.random_range(0..FILES));
    // Inline, a block, some blocks, and now and then more than a reply carries.
    let length = match random.random_range(0..40) {
        0..20 => random.random_range(17..16_000),
        20..30 => random.random_range(16_000..70_000),
        30..39 => random.random_range(70_000..600_000),
        _ => random.random_range(1_000_000..6_000_000),
    };
    std::fs::write(from.join(&name), tree::version_bytes(version, length)).unwrap();
    let read = std::fs::read(to.join(&name)).unwrap();
    assert_eq!(read.len(), length, "length of version {version} of {name}");
    assert_eq!(tree::version_of(&read), Ok(version), "{name}");
    let size = sys::look(&to.join(&name)).unwrap().numbers[5];
    assert_eq!(size, length as u64, "size of version {version} of {name}");
}

#[test]
fn data_closed_here_is_read_there_and_back() {
    world::run(Duration::from_secs(1200), |w| {
        let (_server, a, b) = w.two_mounts();
        let mut random = w.random(1);
        let count = sizes::handovers() as u64;
        for version in 0..count {
            hand_over(&mut random, version, a.path(), b.path());
        }
        for version in count..2 * count {
            hand_over(&mut random, version, b.path(), a.path());
        }
        for version in 2 * count..2 * count + count / 4 {
            let (from, to) = if version % 2 == 0 { (&a, &b) } else { (&b, &a) };
            hand_over(&mut random, version, from.path(), to.path());
        }
        w.say(format!(
            "{} files written and read on the other mount, 0 stale",
            2 * count + count / 4
        ));
    });
}

#[test]
fn data_updated_in_place_is_read_there() {
    use std::os::unix::fs::FileExt;
    world::run(Duration::from_secs(600), |w| {
        let (_server, a, b) = w.two_mounts();
        let mut random = w.random(1);
        let mut model = tree::random_bytes(&mut random, 9_000_000);
        std::fs::write(a.at("f"), &model).unwrap();
        let rounds = sizes::handovers() / 10;
        for round in 0..rounds {
            let (from, to) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
            let file = sys::open(&from.at("f"), nix::libc::O_RDWR).unwrap();
            for _ in 0..random.random_range(1..5) {
                let length = [3, 5_000, 70_000, 900_000][random.random_range(0..4)];
                let start = random.random_range(0..model.len());
                let bytes = tree::random_bytes(&mut random, length);
                let end = (start + length).max(model.len());
                model.resize(end, 0);
                model[start..start + length].copy_from_slice(&bytes);
                file.write_all_at(&bytes, start as u64).unwrap();
            }
            if random.random_bool(0.2) {
                model.truncate(random.random_range(1_000_000..model.len()));
                file.set_len(model.len() as u64).unwrap();
            }
            drop(file);
            let read = std::fs::read(to.at("f")).unwrap();
            assert_eq!(read.len(), model.len(), "round {round}");
            let differs = read.iter().zip(&model).position(|(x, y)| x != y);
            assert_eq!(differs, None, "first different byte in round {round}");
        }
        w.say(format!("{rounds} rounds of in-place changes and truncation, all equal"));
    });
}

#[test]
fn data_local_readers_see_unsaved_writes() {
    use std::io::{Read, Write};
    world::run(Duration::from_secs(60), |w| {
        let (_server, a, b) = w.two_mounts();
        let mut writer = std::fs::File::create(a.at("f")).unwrap();
        writer.write_all(b"unsaved").unwrap();
        let mut text = String::new();
        std::fs::File::open(a.at("f")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "unsaved");
        assert_eq!(std::fs::metadata(a.at("f")).unwrap().len(), 7);
        writer.sync_all().unwrap();
        assert_eq!(std::fs::read(b.at("f")).unwrap(), b"unsaved", "after fsync");
        w.say("1 unsaved write read locally, and remotely after fsync");
    });
}
