//! What was closed a moment ago, when client, server or both are killed: closes of new files are answered
//! when their commits are sent (`docs/design/0038`).

use super::behind;
use dfs_tests::mount::Mount;
use dfs_tests::{sizes, tree, wait, world};
use rand::RngExt;
use rand::rngs::StdRng;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);
const BACK_WITHIN: Duration = Duration::from_secs(90);

/// Files of one folder, each second one without content.
#[derive(Clone)]
struct Files {
    content: Vec<u8>,
    count: usize,
}

impl Files {
    /// Makes and closes them, so that the commits of the last ones are under way.
    fn close(folder: &Path, random: &mut StdRng) -> Files {
        let (content, count) = (tree::random_bytes(random, 3_000), random.random_range(10..70));
        let files = Files { content, count };
        fs::create_dir(folder).unwrap();
        for n in 0..files.count {
            fs::write(folder.join(format!("c{n}")), &files.content).unwrap();
            File::create_new(folder.join(format!("e{n}"))).unwrap();
        }
        files
    }

    /// All are there, as they were closed, for who looks now, and nothing that was saved is put aside as
    /// well.
    fn check(mount: &Mount, folder: &str, files: &Files) {
        let (folder, files) = (mount.at(folder), files.clone());
        wait::within(BACK_WITHIN, "read", move || {
            for n in 0..files.count {
                let read = fs::read(folder.join(format!("c{n}"))).unwrap();
                assert!(read == files.content, "c{n} has {} bytes", read.len());
                assert!(fs::read(folder.join(format!("e{n}"))).unwrap().is_empty());
            }
        });
        nothing_is_put_aside(mount);
    }

    /// The same, once all unsaved bytes are rescued.
    fn check_rescued(&self, mount: &Mount, folder: &str) {
        let path = mount.at(folder);
        let is_saved = |n| fs::read(path.join(format!("c{n}"))).is_ok_and(|c| c == self.content);
        wait::until_true(BACK_WITHIN, "what was unsaved to be rescued", || {
            (0..self.count).all(is_saved)
        });
        Files::check(mount, folder, self);
    }
}

/// Nothing that was saved is put aside as well.
fn nothing_is_put_aside(mount: &Mount) {
    let recovered = mount.cache().join("recovered");
    assert_eq!(fs::read_dir(&recovered).unwrap().count(), 0, "{}", recovered.display());
}

#[test]
fn kills_of_a_client_that_has_just_closed_files_show_them_to_others() {
    world::run(LIMIT, |w| behind::kills_of_the_client(w, Files::close, Files::check));
}

#[test]
fn kills_of_the_server_lose_no_file_that_was_just_closed() {
    world::run(LIMIT, |w| {
        behind::kills_of_the_server(w, sizes::client_kills(), Files::close, Files::check);
    });
}

#[test]
fn kills_of_both_lose_no_file_that_was_just_closed() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        let b = w.mount(&server, "b");
        let (kills, mut random) = (sizes::client_kills(), w.random(1));
        for round in 0..kills {
            let folder = format!("d{round}");
            let files = Files::close(&a.at(&folder), &mut random);
            if round % 2 == 0 {
                server.kill();
                a.kill();
            } else {
                a.kill();
                server.kill();
            }
            server.start();
            a.again();
            files.check_rescued(&a, &folder);
            files.check_rescued(&b, &folder);
        }
        w.say(format!("{kills} kills of both right after closes: all is there"));
    });
}

/// The next daemon makes what the last one left, and nothing that was removed since.
#[test]
fn kills_of_both_do_not_bring_back_what_was_removed() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        let (kills, mut random) = (sizes::client_kills(), w.random(1));
        for round in 0..kills {
            let folder = format!("d{round}");
            let files = Files::close(&a.at(&folder), &mut random);
            let path = a.at(&folder);
            let gone = |n| [format!("c{n}"), format!("e{n}")].map(|name| path.join(name));
            (0..files.count).flat_map(gone).for_each(|path| fs::remove_file(path).unwrap());
            // Removals are answered when they are sent (`docs/design/0028`).
            File::open(&path).unwrap().sync_all().unwrap();
            server.kill();
            a.kill();
            server.start();
            a.again();
            let (folder, left) = (a.at(&folder), "what was removed is there again");
            wait::within(BACK_WITHIN, "listing", move || {
                assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "{left}");
            });
            nothing_is_put_aside(&a);
        }
        w.say(format!("{kills} kills of both behind removals: nothing comes back"));
    });
}
