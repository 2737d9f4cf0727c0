//! What was closed a moment ago, when client, server or both are killed: closes of new files are answered
//! when their commits are sent (`docs/design/0038`).

use dfs_tests::mount::Mount;
use dfs_tests::{sizes, tree, wait, world};
use rand::RngExt;
use rand::rngs::StdRng;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);
const BACK_WITHIN: Duration = Duration::from_secs(90);

/// Makes and closes files with `content`, so that the commits of the last ones are under way.
fn close_some(folder: &Path, content: &[u8], files: usize) {
    for n in 0..files {
        std::fs::write(folder.join(format!("c{n}")), content).unwrap();
        std::fs::File::create_new(folder.join(format!("e{n}"))).unwrap();
    }
}

fn check(folder: PathBuf, content: Vec<u8>, files: usize) {
    wait::within(BACK_WITHIN, "read", move || {
        for n in 0..files {
            let read = std::fs::read(folder.join(format!("c{n}"))).unwrap();
            assert!(read == content, "c{n} has {} bytes", read.len());
            assert!(std::fs::read(folder.join(format!("e{n}"))).unwrap().is_empty());
        }
    });
}

/// Nothing that was saved is put aside as well.
fn nothing_is_put_aside(mount: &Mount) {
    let recovered = mount.cache().join("recovered");
    let entries = std::fs::read_dir(&recovered).map_or(0, Iterator::count);
    assert_eq!(entries, 0, "{}", recovered.display());
}

fn some(random: &mut StdRng) -> (Vec<u8>, usize) {
    (tree::random_bytes(random, 3_000), random.random_range(10..70))
}

#[test]
fn kills_of_a_client_that_has_just_closed_files_show_them_to_others() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        let b = w.mount(&server, "b");
        let (kills, mut random) = (sizes::client_kills(), w.random(1));
        for round in 0..kills {
            let (folder, (content, files)) = (format!("d{round}"), some(&mut random));
            std::fs::create_dir(a.at(&folder)).unwrap();
            close_some(&a.at(&folder), &content, files);
            a.kill();
            // Before the next daemon is there: the server has what was sent.
            check(b.at(&folder), content.clone(), files);
            a.again();
            check(a.at(&folder), content, files);
            nothing_is_put_aside(&a);
        }
        w.say(format!("{kills} kills of the daemon right after closes: all is there"));
    });
}

#[test]
fn kills_of_the_server_lose_no_file_that_was_just_closed() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let (a, b) = (w.mount(&server, "a"), w.mount(&server, "b"));
        let (kills, mut random) = (sizes::client_kills(), w.random(1));
        for round in 0..kills {
            let (folder, (content, files)) = (format!("d{round}"), some(&mut random));
            std::fs::create_dir(a.at(&folder)).unwrap();
            close_some(&a.at(&folder), &content, files);
            server.kill();
            server.start();
            check(b.at(&folder), content, files);
        }
        nothing_is_put_aside(&a);
        w.say(format!("{kills} kills of the server right after closes: all is there"));
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
            let (folder, (content, files)) = (format!("d{round}"), some(&mut random));
            std::fs::create_dir(a.at(&folder)).unwrap();
            close_some(&a.at(&folder), &content, files);
            if round % 2 == 0 {
                server.kill();
                a.kill();
            } else {
                a.kill();
                server.kill();
            }
            server.start();
            a.again();
            for mount in [&a, &b] {
                let (path, content) = (mount.at(&folder), content.clone());
                wait::until_true(BACK_WITHIN, "what was unsaved to be rescued", || {
                    let is_there = |n| {
                        std::fs::read(path.join(format!("c{n}"))).is_ok_and(|read| read == content)
                    };
                    (0..files).all(is_there)
                });
                check(path.clone(), content.clone(), files);
            }
            nothing_is_put_aside(&a);
        }
        w.say(format!("{kills} kills of both right after closes: all is there"));
    });
}
