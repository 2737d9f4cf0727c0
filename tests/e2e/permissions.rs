//! Who may do what: the same on a mount as on ext4, on which the tests' own folder lies.

mod calls;
mod new_files;
mod privileges;
mod random;
mod squash;

use dfs_core::access::{Entry, Tag};
use dfs_tests::{sizes, world};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);

/// A random access control list that names some of these users and groups.
fn acl_of(random: &mut StdRng, uids: Range<u32>, gids: Range<u32>) -> Vec<Entry> {
    let entry = |random: &mut StdRng, tag| Entry { tag, perm: random.random_range(0..8) };
    let mut named = BTreeMap::new();
    for _ in 0..random.random_range(0..4) {
        let user = Tag::User(random.random_range(uids.clone()));
        let group = Tag::Group(random.random_range(gids.clone()));
        let tag = if random.random() { user } else { group };
        named.insert(tag, entry(random, tag));
    }
    let base = [Tag::UserObj, Tag::GroupObj, Tag::Other];
    let mask = (!named.is_empty() || random.random()).then_some(Tag::Mask);
    for tag in base.into_iter().chain(mask) {
        named.insert(tag, entry(random, tag));
    }
    named.into_values().collect()
}

/// Lets every user into these folders and make files there.
fn open_to_all(folders: &[&Path]) {
    for folder in folders {
        std::fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    }
}

#[test]
fn permissions_of_random_calls_equal_those_of_ext4() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let local = w.folder("local");
        open_to_all(&[w.dir(), &local, a.path()]);
        let mut random = w.random(1);
        let (steps, mut done) = (sizes::permission_calls(), 0);
        for number in 0..steps {
            let step = random::draw(&mut random);
            let (here, there) = if random.random() { (&a, &b) } else { (&b, &a) };
            let wanted = step.on(&local);
            if step.changes_xattr() {
                // The kernel looks at the sticky bit of a directory that it saw last, without asking.
                let _ = std::fs::metadata(here.path().join(&step.path));
            }
            let got = step.on(here.path());
            assert_eq!(got, wanted, "call {number}: {step:?}");
            done += usize::from(wanted.is_ok());
            let parent = step.path.parent().unwrap_or(Path::new("")).to_path_buf();
            let mut paths = vec![step.path.clone(), parent];
            if let random::Call::Rename(to) | random::Call::Link(to) = &step.call {
                paths.push(to.clone());
            }
            for path in paths {
                let wanted = random::look(&local, &path);
                let seen = random::look(there.path(), &path);
                assert_eq!(seen, wanted, "{} after call {number}: {step:?}", path.display());
            }
        }
        w.say(format!("{steps} calls, {done} of them permitted, all as on ext4, 0 stale"));
    });
}
