//! A server with `--durability relaxed`, killed under load.
//!
//! `kill -9` takes the process and leaves the kernel's page cache: what the server has written to its
//! log, flushed or not, is there afterwards. So these tests show that it writes before it answers, in
//! an order that a restart can use, and that clients go on; what they do when some of it is gone is
//! in `power.rs`. That it *flushes* in time shows only on a disk that counts:
//! `relaxed_change_is_durable_when_a_flush_is_answered`,
//! `relaxed_commit_waits_for_the_disk_only_if_somebody_syncs`,
//! `strict_object_has_no_name_before_its_bytes_are_durable`, and, with a log cut at any byte,
//! `sqlite_store_with_a_torn_log_holds_a_prefix`.

use super::acknowledged::Acknowledged;
use dfs_tests::{budget, sizes, sys, tree, wait, world};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Makes files with fsync and folders with an fsync of their parent, one after the other.
struct Saver {
    folder: PathBuf,
    files: Vec<(String, u64, usize)>,
    folders: Vec<String>,
}

impl Saver {
    fn new(folder: PathBuf) -> Saver {
        std::fs::create_dir(&folder).unwrap();
        Saver { folder, files: Vec::new(), folders: Vec::new() }
    }

    fn step(&mut self, n: u64) {
        // Inline content, one object, several.
        let length = [300, 90_000, 5_000_000][(n % 3) as usize];
        let name = format!("f{n}");
        let mut file = File::create_new(self.folder.join(&name)).unwrap();
        file.write_all(&tree::version_bytes(n, length)).unwrap();
        file.sync_all().unwrap();
        self.files.push((name, n, length));
        let name = format!("d{n}");
        std::fs::create_dir(self.folder.join(&name)).unwrap();
        File::open(&self.folder).unwrap().sync_all().unwrap();
        self.folders.push(name);
    }

    fn check(&self, root: &Path) {
        let folder = root.join(self.folder.file_name().unwrap());
        for (name, ver, length) in &self.files {
            // All its objects are there: each is read.
            let read = std::fs::read(folder.join(name)).unwrap();
            assert_eq!((tree::version_of(&read), read.len()), (Ok(*ver), *length), "{name}");
        }
        for name in &self.folders {
            assert!(folder.join(name).is_dir(), "{name} is gone");
        }
        assert_eq!(sys::names(&folder).unwrap().len(), self.files.len() + self.folders.len());
    }
}

#[test]
fn kills_of_a_relaxed_server_lose_nothing_synced() {
    world::run_alone(Duration::from_secs(1200), |w| {
        let server = w.server_builder().arg("--durability=relaxed").start();
        let (a, b) = (w.mount(&server, "a"), w.mount(&server, "b"));
        let stop = Arc::new(AtomicBool::new(false));
        let (folder, done) = (a.at("saver"), stop.clone());
        let saver = wait::start("saver", move || {
            let mut saver = Saver::new(folder);
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                saver.step(n);
                n += 1;
            }
            saver
        });
        let (folder, random, done) = (b.at("worker"), w.random(1), stop.clone());
        let worker = wait::start("worker", move || {
            let mut known = Acknowledged::new(folder, random);
            while !done.load(Ordering::Relaxed) {
                known.change();
            }
            known
        });
        let kills = sizes::server_kills();
        for _ in 0..kills {
            let began = Instant::now();
            wait::until_true(ANSWER_WITHIN, "some seconds of work", || {
                began.elapsed() > Duration::from_secs(3)
            });
            server.kill_and_restart();
        }
        stop.store(true, Ordering::Relaxed);
        let (saver, known) = (saver.within(ANSWER_WITHIN), worker.within(ANSWER_WITHIN));
        server.kill_and_restart();
        // Nothing of it is in the cache of this one.
        let fresh = w.mount(&server, "c");
        for mount in [&a, &b, &fresh] {
            saver.check(mount.path());
            known.check(mount.path());
        }
        w.say(format!(
            "{kills} kills, {} files and {} names synced, {} other changes, all there",
            saver.files.len(),
            saver.folders.len(),
            known.changes()
        ));
    });
}

#[test]
fn relaxed_server_is_asked_to_flush_what_no_commit_has_flushed() {
    world::run(Duration::from_secs(120), |w| {
        let relaxed = w.server_builder().arg("--durability=relaxed").start();
        let a = w.mount(&relaxed, "a");
        let dir = File::open(a.path()).unwrap();
        let (_, calls) = budget::of(&relaxed, || dir.sync_all().unwrap());
        assert_eq!(calls, budget::exactly(&[("flush", 1)]), "fsync of a directory");
        let file = File::create(a.at("f")).unwrap();
        let (_, calls) = budget::of(&relaxed, || file.sync_all().unwrap());
        assert_eq!(calls.get("flush"), Some(&1), "the name of an empty file: {calls:?}");
        (&file).write_all(b"content").unwrap();
        let (_, calls) = budget::of(&relaxed, || file.sync_all().unwrap());
        assert_eq!(calls, budget::exactly(&[("commit", 1)]), "a commit flushes what was before it");
        (&file).write_all(b"and more").unwrap();
        let other = file.try_clone().unwrap();
        let (_, calls) = budget::of(&relaxed, || drop(other));
        assert_eq!(calls, budget::exactly(&[("commit", 1)]), "what is closed is not flushed");
        let (_, calls) = budget::of(&relaxed, || file.sync_all().unwrap());
        assert_eq!(calls, budget::exactly(&[("flush", 1)]), "so fsync of it is a question");
    });
}
