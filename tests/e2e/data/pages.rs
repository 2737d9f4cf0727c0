//! Handles that write past the kernel's pages, beside readers and mappings that use them
//! (`docs/design/0032`).

use dfs_tests::mapping::{Mapping, Sharing};
use dfs_tests::mount::Mount;
use dfs_tests::{sizes, sys, wait, world};
use nix::libc;
use rand::RngExt;
use rand::rngs::StdRng;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(240);
const STEPS: u64 = 40;
/// Writes go this far.
const LENGTH: usize = 40_000;
/// Bytes written while others read them.
const WRITTEN: u64 = 300_000;

/// A file that is written from its beginning, through a handle that only writes.
struct Game {
    writer: File,
    reader: File,
    both: File,
    model: Vec<u8>,
}

impl Game {
    fn new(mount: &Mount, name: &str) -> Game {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
        let writer = sys::open(&mount.at(name), flags).unwrap();
        let reader = File::open(mount.at(name)).unwrap();
        let both = sys::open(&mount.at(name), libc::O_RDWR).unwrap();
        Game { writer, reader, both, model: Vec::new() }
    }

    fn step(&mut self, random: &mut StdRng) {
        let bytes = vec![random.random(); random.random_range(1..9_000)];
        let anywhere = random.random_range(0..LENGTH);
        match random.random_range(0..8) {
            0..4 => self.write(true, self.model.len().min(LENGTH), &bytes),
            4 => self.write(true, anywhere, &bytes),
            5 => self.write(false, anywhere, &bytes),
            _ => {
                self.writer.set_len(anywhere as u64).unwrap();
                self.model.resize(anywhere, 0);
            }
        }
    }

    fn write(&mut self, past: bool, at: usize, bytes: &[u8]) {
        let file = if past { &self.writer } else { &self.both };
        file.write_all_at(bytes, at as u64).unwrap();
        let end = at + bytes.len();
        self.model.resize(self.model.len().max(end), 0);
        self.model[at..end].copy_from_slice(bytes);
    }

    /// Looks as readers do: at a part, at all of it, or through a mapping.
    fn look(&self, random: &mut StdRng) {
        let (model, len) = (&self.model, self.model.len());
        match random.random_range(0..4) {
            0 if len > 0 => {
                let mapping = Mapping::new(&self.reader, len, Sharing::Shared, true).unwrap();
                assert!(mapping.get(0, len) == *model, "a mapping of {len} bytes");
            }
            1 => assert!(self.read(0, LENGTH * 2) == *model, "all {len} bytes"),
            2 => {
                let (from, to) = (random.random_range(0..=len), random.random_range(0..=len));
                let part = from.min(to)..from.max(to);
                assert!(self.read(part.start, part.len()) == model[part.clone()], "{part:?}");
            }
            _ => {}
        }
    }

    fn read(&self, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = self.reader.read_at(&mut bytes, at as u64).unwrap();
        bytes.truncate(read);
        bytes
    }
}

#[test]
fn pages_show_what_is_written_past_them() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let mut random = w.random(1);
        let rounds = sizes::page_games();
        for round in 0..rounds {
            let name = if round % 2 == 0 { format!("new{round}") } else { "old".to_owned() };
            let mut game = Game::new(&a, &name);
            for _ in 0..STEPS {
                game.step(&mut random);
                game.look(&mut random);
            }
            let Game { writer, model, .. } = game;
            drop(writer);
            assert!(std::fs::read(b.at(&name)).unwrap() == model, "{name} on the other mount");
            assert!(std::fs::read(a.at(&name)).unwrap() == model, "{name} after the close");
        }
        w.say(format!("{rounds} files, {STEPS} changes each, seen at once"));
    });
}

/// What stands at an offset.
fn byte(at: u64) -> u8 {
    (at % 251) as u8
}

#[test]
fn pages_filled_beside_a_write_past_them_are_not_kept() {
    world::run(LIMIT, |w| {
        let (_server, a, _b) = w.two_mounts();
        let path = a.at("f");
        let writer = sys::open(&path, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC).unwrap();
        let written = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&written);
        // Opens, reads and closes: what it leaves in the kernel the next one is shown.
        let reader = wait::start("reader", move || {
            let mut reads = 0;
            loop {
                let len = seen.load(Ordering::SeqCst);
                let from = len.saturating_sub(20_000);
                let mut bytes = vec![0; (len - from) as usize];
                File::open(&path).unwrap().read_exact_at(&mut bytes, from).unwrap();
                let wrong = bytes.iter().zip(from..).position(|(is, at)| *is != byte(at));
                assert_eq!(wrong, None, "after {from} of {len}");
                reads += 1;
                if len == WRITTEN {
                    return reads;
                }
            }
        });
        let mut random = w.random(2);
        let mut at = 0;
        while at < WRITTEN {
            let end = WRITTEN.min(at + random.random_range(1..1_500));
            let bytes: Vec<u8> = (at..end).map(byte).collect();
            writer.write_all_at(&bytes, at).unwrap();
            at = end;
            written.store(at, Ordering::SeqCst);
        }
        let reads: u64 = reader.within(LIMIT);
        w.say(format!("{WRITTEN} bytes written, {reads} reads beside that"));
    });
}
