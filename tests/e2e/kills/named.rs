//! Files that got their names a moment before somebody else looks, or before a kill: names of new files
//! are answered when they are sent (`docs/design/0039`).

use super::behind;
use dfs_tests::mount::Mount;
use dfs_tests::{sizes, sys, tree, wait, world};
use rand::RngExt;
use rand::rngs::StdRng;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);
const BACK_WITHIN: Duration = Duration::from_secs(90);

/// Writes a file under a name of its own and then gives it the right one, as git, or as most others do.
fn store(folder: &Path, n: usize, content: &[u8]) {
    let (temp, lasting) = (folder.join(format!("tmp{}", n % 3)), folder.join(n.to_string()));
    fs::write(&temp, content).unwrap();
    match n % 2 {
        0 => fs::rename(temp, lasting).unwrap(),
        _ => {
            fs::hard_link(&temp, lasting).unwrap();
            fs::remove_file(temp).unwrap();
        }
    }
}

/// Stores files, and answers how many.
fn store_some(folder: &Path, random: &mut StdRng) -> usize {
    fs::create_dir(folder).unwrap();
    let count = random.random_range(5..40);
    (0..count).for_each(|n| store(folder, n, &content(n)));
    count
}

fn content(n: usize) -> Vec<u8> {
    tree::version_bytes(n as u64, 3_000)
}

/// All are there, with one name each, for who looks now.
fn check(mount: &Mount, folder: &str, count: &usize) {
    let (folder, count) = (mount.at(folder), *count);
    wait::within(BACK_WITHIN, "read", move || {
        let mut want: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        want.sort();
        assert_eq!(sys::names(&folder).unwrap(), want);
        for n in 0..count {
            let path = folder.join(n.to_string());
            assert!(fs::read(&path).unwrap() == content(n), "{n}");
            assert_eq!(fs::metadata(&path).unwrap().nlink(), 1, "{n}");
        }
    });
}

#[test]
fn new_names_are_seen_by_others_at_once() {
    world::run(LIMIT, |w| behind::others_look(w, store_some, check));
}

#[test]
fn kills_of_a_client_keep_the_names_it_has_just_given() {
    world::run(LIMIT, |w| behind::kills_of_the_client(w, store_some, check));
}

#[test]
fn kills_of_the_server_keep_the_names_it_was_just_told() {
    world::run(LIMIT, |w| {
        behind::kills_of_the_server(w, 2 * sizes::client_kills(), store_some, check);
    });
}
