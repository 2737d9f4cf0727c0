//! Directories that were made a moment before somebody else looks, or before a kill, with files and others
//! in them: they are answered when they are sent (`docs/design/0041`).

use super::behind;
use dfs_tests::mount::Mount;
use dfs_tests::{sizes, tree, wait, world};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);
const BACK_WITHIN: Duration = Duration::from_secs(90);

/// A tree, by paths within its folder; directories have no content.
type Made = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Makes a tree, each directory or file in one of those that were made so far.
fn make(folder: &Path, random: &mut StdRng) -> Made {
    fs::create_dir(folder).unwrap();
    let (mut dirs, mut made) = (vec![PathBuf::new()], Made::new());
    for n in 0..random.random_range(5..40) {
        let path = dirs[random.random_range(0..dirs.len())].join(format!("n{n}"));
        if random.random_bool(0.5) {
            fs::create_dir(folder.join(&path)).unwrap();
            dirs.push(path.clone());
            made.insert(path, None);
        } else {
            let content = tree::version_bytes(n, 2_000);
            fs::write(folder.join(&path), &content).unwrap();
            made.insert(path, Some(content));
        }
    }
    made
}

fn read(folder: &Path, within: &Path, found: &mut Made) {
    for entry in fs::read_dir(folder.join(within)).unwrap() {
        let path = within.join(entry.unwrap().file_name());
        if folder.join(&path).is_dir() {
            read(folder, &path, found);
            found.insert(path, None);
        } else {
            let content = fs::read(folder.join(&path)).unwrap();
            found.insert(path, Some(content));
        }
    }
}

/// The tree is there for who looks now, and nothing else.
fn check(mount: &Mount, folder: &str, made: &Made) {
    let folder = mount.at(folder);
    let found = wait::within(BACK_WITHIN, "read", move || {
        let mut found = Made::new();
        read(&folder, Path::new(""), &mut found);
        found
    });
    let paths = |made: &Made| made.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&found), paths(made));
    assert!(found == *made, "a file has other content");
}

#[test]
fn new_directories_are_seen_by_others_at_once() {
    world::run(LIMIT, |w| behind::others_look(w, make, check));
}

#[test]
fn kills_of_a_client_keep_the_directories_it_has_just_made() {
    world::run(LIMIT, |w| behind::kills_of_the_client(w, make, check));
}

#[test]
fn kills_of_the_server_keep_the_directories_it_was_just_told() {
    world::run(LIMIT, |w| behind::kills_of_the_server(w, 2 * sizes::client_kills(), make, check));
}
