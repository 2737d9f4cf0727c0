//! Small files whose pages the kernel is given when they are opened (`docs/design/0045`), changed in every
//! way from both mounts.

use dfs_tests::mapping::{Mapping, Sharing};
use dfs_tests::mount::Mount;
use dfs_tests::{sizes, sys, wait, world};
use nix::libc;
use rand::RngExt;
use rand::rngs::StdRng;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(240);
const FILES: usize = 5;
/// Around a page, and around what is given at most.
const LENGTHS: [usize; 9] = [0, 1, 4095, 4096, 4097, 20_000, 65_535, 65_536, 65_537];

fn change(random: &mut StdRng, path: &Path, model: &mut Vec<u8>) {
    let length = LENGTHS[random.random_range(0..LENGTHS.len())];
    let bytes = vec![random.random(); length];
    match random.random_range(0..5) {
        0 => {
            std::fs::write(path, &bytes).unwrap();
            *model = bytes;
        }
        1 => {
            let beside = path.with_extension("new");
            std::fs::write(&beside, &bytes).unwrap();
            std::fs::rename(&beside, path).unwrap();
            *model = bytes;
        }
        2 => {
            nix::unistd::truncate(path, length as i64).unwrap();
            model.resize(length, 0);
        }
        3 => {
            sys::open(path, libc::O_WRONLY | libc::O_APPEND).unwrap().write_all(b"more").unwrap();
            model.extend(b"more");
        }
        _ => {
            let at = random.random_range(0..=model.len());
            let file = sys::open(path, libc::O_RDWR).unwrap();
            file.write_all_at(b"inside", at as u64).unwrap();
            model.resize(model.len().max(at + 6), 0);
            model[at..at + 6].copy_from_slice(b"inside");
        }
    }
}

/// Opens, looks and closes.
fn look(random: &mut StdRng, path: &Path, model: &[u8]) {
    let mut file = File::open(path).unwrap();
    let len = model.len();
    match random.random_range(0..3) {
        0 if len > 0 => {
            // Where the file does not reach, a mapping kills who looks.
            assert_eq!(file.metadata().unwrap().len(), len as u64);
            let mapping = Mapping::new(&file, len, Sharing::Shared, true).unwrap();
            assert!(mapping.get(0, len) == model, "a mapping of {len} bytes");
        }
        1 => assert_eq!(file.metadata().unwrap().len(), len as u64),
        _ => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            let wrong = bytes.iter().zip(model).position(|(is, want)| is != want);
            assert!(bytes == model, "{} bytes of {len}, wrong from {wrong:?}", bytes.len());
        }
    }
    assert_eq!(path.metadata().unwrap().size(), len as u64);
}

#[test]
fn pages_given_at_an_open_are_read_while_the_daemon_is_stopped() {
    world::run_alone(LIMIT, |w| {
        let server = w.server();
        let mount = w.mount(&server, "a");
        for (length, given) in [(1, true), (65_536, true), (65_537, false)] {
            let path = mount.at(format!("f{length}"));
            std::fs::write(&path, vec![7; length]).unwrap();
            let file = File::open(&path).unwrap();
            let daemon = mount.daemon();
            daemon.stop();
            let read = wait::start("a read without the daemon", move || {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, 0).unwrap();
                // Closed later: that asks the daemon.
                (bytes == vec![7; length], file)
            });
            let early = read.ends_within(Duration::from_secs(1));
            daemon.resume();
            assert_eq!(early.is_some(), given, "{length} bytes");
            let (right, _file) = early.unwrap_or_else(|| read.within(LIMIT));
            assert!(right, "{length} bytes");
        }
    });
}

#[test]
fn pages_given_at_an_open_are_those_of_the_newest_version() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let mut random = w.random(1);
        let mounts: [&Mount; 2] = [&a, &b];
        let mut models = vec![Vec::new(); FILES];
        let name = |file: usize| format!("file{file}");
        (0..FILES).for_each(|file| drop(File::create(a.at(name(file))).unwrap()));
        let steps = 20 * sizes::page_games();
        for step in 0..steps {
            let file = random.random_range(0..FILES);
            let model = &mut models[file];
            if random.random_bool(0.4) {
                change(&mut random, &mounts[step % 2].at(name(file)), model);
            }
            for mount in mounts {
                look(&mut random, &mount.at(name(file)), model);
            }
        }
        w.say(format!("{steps} looks at {FILES} files on two mounts"));
    });
}
