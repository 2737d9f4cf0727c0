//! Readers that race with a writer see one version or the other, never a mixture.

use dfs_tests::mount::Mount;
use dfs_tests::world::World;
use dfs_tests::{sizes, sys, tree, wait, world};
use nix::libc;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Beyond inline content and beyond one answer with content.
const LENGTH: usize = 1_700_000;
const READERS: usize = 3;

/// Reads until told to stop; every read must be one version, and no older than the one before.
fn reader(path: PathBuf, stop: Arc<AtomicBool>) -> u64 {
    let (mut reads, mut newest) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), LENGTH);
        let version = tree::version_of(&bytes).unwrap();
        assert!(version >= newest, "version {version} after {newest}");
        (reads, newest) = (reads + 1, version);
    }
    reads
}

fn race(w: &World, reading: &Mount, writing: &Mount, write: impl Fn(&Path, u64)) {
    write(&writing.at("f"), 0);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (path, stop) = (reading.at("f"), stop.clone());
            wait::start("reader", move || reader(path, stop))
        })
        .collect();
    let versions = sizes::racing_versions() as u64;
    for version in 1..=versions {
        write(&writing.at("f"), version);
    }
    stop.store(true, Ordering::Relaxed);
    let reads: u64 = readers.into_iter().map(|r| r.within(Duration::from_secs(60))).sum();
    assert_eq!(tree::version_of(&std::fs::read(reading.at("f")).unwrap()), Ok(versions));
    w.say(format!("{versions} versions, {reads} racing reads, no mixture, none older"));
}

#[test]
fn data_replaced_by_rename_is_never_a_mixture() {
    world::run(Duration::from_secs(600), |w| {
        let (_server, a, b) = w.two_mounts();
        race(w, &b, &a, |path, version| {
            let temp = path.with_extension("new");
            std::fs::write(&temp, tree::version_bytes(version, LENGTH)).unwrap();
            std::fs::rename(&temp, path).unwrap();
        });
    });
}

#[test]
fn data_replaced_in_place_is_never_a_mixture_for_snapshot_readers() {
    use std::os::unix::fs::FileExt;
    world::run(Duration::from_secs(600), |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        let b = w.mount_builder(&server, "b").option("reads=snapshot").start();
        race(w, &b, &a, |path, version| {
            let file = sys::open(path, libc::O_WRONLY | libc::O_CREAT).unwrap();
            file.write_all_at(&tree::version_bytes(version, LENGTH), 0).unwrap();
        });
    });
}
