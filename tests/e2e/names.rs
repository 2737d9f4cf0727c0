//! Names and attributes (PROTOCOL G1): after a change returns on one mount, the other shows it.

mod model;

use dfs_tests::budget;
use dfs_tests::mount::Mount;
use dfs_tests::sizes;
use dfs_tests::sys;
use dfs_tests::{wait, world};
use model::Tree;
use rand::RngExt;
use rustix::fs::Dir;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

#[test]
fn names_random_changes_are_seen_at_once() {
    world::run(Duration::from_secs(1200), |w| {
        let (_server, a, b) = w.two_mounts();
        let mut tree = Tree::new(a.path(), b.path(), w.random(1));
        let operations = sizes::name_operations();
        for number in 0..operations {
            tree.step().unwrap_or_else(|stale| panic!("operation {number}: {stale}"));
        }
        tree.compare_all();
        w.say(format!(
            "{operations} changes, {} checks on the other mount, 0 stale",
            tree.checks()
        ));
    });
}

#[test]
fn names_both_mounts_change_in_turn() {
    world::run(Duration::from_secs(600), |w| {
        let (_server, a, b) = w.two_mounts();
        let mut tree = Tree::new(a.path(), b.path(), w.random(2));
        let operations = sizes::name_operations() / 4;
        for number in 0..operations {
            tree.swap_sides();
            tree.step().unwrap_or_else(|stale| panic!("operation {number}: {stale}"));
        }
        tree.compare_all();
        w.say(format!("{operations} changes in turn, {} checks, 0 stale", tree.checks()));
    });
}

/// One mount makes files in directories of its own, which the server need not know yet; whatever the
/// other does in the same moment, it finds them (`docs/design/0025`).
#[test]
fn names_made_ahead_are_seen_by_whoever_looks() {
    world::run(Duration::from_secs(600), |w| {
        let (server, a, b) = w.two_mounts();
        let mut random = w.random(3);
        let rounds = sizes::name_operations() / 4;
        let ((), calls) = budget::of(&server, || {
            for round in 0..rounds {
                let name = format!("d{round}");
                std::fs::create_dir(a.at(&name)).unwrap();
                let (here, there) = (a.at(&name), b.at(&name));
                let mut made = File::create_new(here.join("f")).unwrap();
                if random.random_bool(0.5) {
                    made.write_all(b"unsaved").unwrap();
                }
                match random.random_range(0..8) {
                    0 => drop(sys::look(&there.join("f")).unwrap()),
                    1 => assert_eq!(sys::names(&there).unwrap(), ["f"]),
                    2 => {
                        let (mine, seen) = (sys::look(&here).unwrap(), sys::look(&there).unwrap());
                        assert_eq!(mine.times, seen.times, "of the folder");
                    }
                    3 => {
                        let error = File::create_new(there.join("f")).unwrap_err();
                        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
                    }
                    4 => {
                        std::fs::remove_file(there.join("f")).unwrap();
                        assert!(sys::names(&here).unwrap().is_empty());
                    }
                    5 => {
                        let error = std::fs::remove_dir(&there).unwrap_err();
                        assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty);
                    }
                    6 => {
                        std::fs::rename(there.join("f"), there.join("g")).unwrap();
                        assert_eq!(sys::names(&here).unwrap(), ["g"]);
                    }
                    _ => {
                        std::fs::write(there.join("g"), b"by the other").unwrap();
                        assert_eq!(sys::names(&here).unwrap(), ["f", "g"]);
                    }
                }
                made.write_all(b"saved").unwrap();
                made.sync_all().unwrap();
            }
        });
        let asked = calls.get("create").copied().unwrap_or(0);
        assert!(asked < rounds as u64 / 2, "most are made ahead: {calls:?}");
        w.say(format!("{rounds} files made and looked for at once; {asked} made by asking"));
    });
}

/// One mount removes names of directories of its own, and the server may carry that out a moment later;
/// whatever the other does in the same moment, they are gone (`docs/design/0028`).
#[test]
fn names_removed_are_gone_for_whoever_looks() {
    world::run(Duration::from_secs(600), |w| {
        let (_server, a, b) = w.two_mounts();
        let mut random = w.random(4);
        let rounds = sizes::name_operations() / 4;
        for round in 0..rounds {
            let name = format!("d{round}");
            std::fs::create_dir(a.at(&name)).unwrap();
            let (here, there) = (a.at(&name), b.at(&name));
            let many: Vec<String> =
                (0..random.random_range(1..20)).map(|n| n.to_string()).collect();
            many.iter().for_each(|name| std::fs::write(here.join(name), b"gone").unwrap());
            std::fs::write(here.join("g"), b"stays").unwrap();
            many.iter().for_each(|name| std::fs::remove_file(here.join(name)).unwrap());
            let last = many.last().unwrap();
            match random.random_range(0..8) {
                0 => drop(sys::look(&there.join(last)).unwrap_err()),
                1 => assert_eq!(sys::names(&there).unwrap(), ["g"]),
                2 => {
                    let (mine, seen) = (sys::look(&here).unwrap(), sys::look(&there).unwrap());
                    assert_eq!(mine.times, seen.times, "of the folder");
                }
                3 => {
                    std::fs::write(there.join(last), b"by the other").unwrap();
                    assert_eq!(sys::names(&here).unwrap(), [last.as_str(), "g"]);
                }
                4 => {
                    std::fs::remove_file(here.join("g")).unwrap();
                    std::fs::remove_dir(&there).unwrap();
                    sys::look(&here).unwrap_err();
                }
                5 => {
                    std::fs::remove_file(here.join("g")).unwrap();
                    std::fs::remove_dir(&here).unwrap();
                    sys::look(&there).unwrap_err();
                    std::fs::create_dir(&there).unwrap();
                    assert!(sys::names(&here).unwrap().is_empty());
                }
                6 => {
                    std::fs::write(here.join(last), b"again").unwrap();
                    assert_eq!(std::fs::read(there.join(last)).unwrap(), b"again");
                }
                _ => {
                    std::fs::rename(there.join("g"), there.join(last)).unwrap();
                    assert_eq!(std::fs::read(here.join(last)).unwrap(), b"stays");
                }
            }
        }
        w.say(format!(
            "{rounds} folders emptied and looked at once, nothing left of what was removed"
        ));
    });
}

#[test]
fn names_asked_for_again_cost_no_call() {
    world::run(Duration::from_secs(120), |w| {
        let (server, a, b) = w.two_mounts();
        std::fs::create_dir(a.at("d")).unwrap();
        for name in 0..20 {
            std::fs::write(a.at(format!("d/f{name}")), b"x").unwrap();
        }
        let look = |mount: &Mount| {
            for name in 0..20 {
                sys::look(&mount.at(format!("d/f{name}"))).unwrap();
                sys::look(&mount.at(format!("d/absent{name}"))).unwrap_err();
            }
            assert_eq!(sys::names(&mount.at("d")).unwrap().len(), 20);
        };
        look(&a);
        look(&b);
        let ((), calls) = budget::of(&server, || (0..5).for_each(|_| look(&b)));
        assert_eq!(calls, budget::exactly(&[]), "looked at again");
        let ((), calls) = budget::of(&server, || look(&a));
        assert_eq!(calls, budget::exactly(&[]), "looked at by the one that made them");
        w.say("205 stats, failed lookups and listings asked for again, 0 calls");
    });
}

#[test]
fn names_listing_is_shown_by_the_kernel_until_something_changes() {
    world::run(Duration::from_secs(120), |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::create_dir(a.at("d")).unwrap();
        let mut want: Vec<String> = (0..500).map(|n| format!("f{n:03}")).collect();
        want.iter().for_each(|name| std::fs::write(a.at("d").join(name), b"x").unwrap());
        let folder = File::open(a.at("d")).unwrap();
        let mut open = Dir::read_from(&folder).unwrap();
        let mut list = move || {
            open.rewind();
            let names =
                (&mut open).map(|entry| entry.unwrap().file_name().to_str().unwrap().into());
            let mut names: Vec<String> =
                names.filter(|name: &String| !name.starts_with('.')).collect();
            names.sort();
            names
        };
        // Read to its end once, the kernel has it.
        sys::names(&a.at("d")).unwrap();
        assert_eq!(list(), want);
        a.daemon().stop();
        let shown = wait::start("a listing without the daemon", move || (list(), list));
        let shown = shown.ends_within(Duration::from_secs(10));
        a.daemon().resume();
        let (names, mut list) = shown.expect("the kernel shows it");
        assert_eq!(names, want);
        // Also who reads anew through an open handle sees what others did, and what was done here.
        std::fs::remove_file(b.at("d/f007")).unwrap();
        std::fs::write(b.at("d/new"), b"x").unwrap();
        want.remove(7);
        want.push("new".into());
        assert_eq!(list(), want);
        assert_eq!(sys::names(&a.at("d")).unwrap(), want);
        assert_eq!(sys::names(&a.at("d")).unwrap(), want);
        std::fs::rename(a.at("d/new"), a.at("d/old")).unwrap();
        want[499] = "old".into();
        assert_eq!(list(), want);
        assert_eq!(sys::names(&a.at("d")).unwrap(), want);
        w.say("500 names listed while the daemon was stopped, 2 changes there and 1 here seen at once");
    });
}

#[test]
fn names_cached_answers_outlive_the_kernels_lifetimes() {
    world::run(Duration::from_secs(120), |w| {
        let (server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), b"x").unwrap();
        sys::look(&b.at("f")).unwrap();
        sys::look(&b.at("absent")).unwrap_err();
        let started = std::time::Instant::now();
        let mut looks = 0;
        let ((), calls) = budget::of(&server, || {
            // Longer than a session term: kernel lifetimes have ended, the daemon answers.
            wait::until_true(Duration::from_secs(40), "a term to pass", || {
                sys::look(&b.at("f")).unwrap();
                sys::look(&b.at("absent")).unwrap_err();
                looks += 2;
                started.elapsed() > Duration::from_secs(18)
            });
        });
        assert_eq!(calls, budget::exactly(&[]));
        w.say(format!("{looks} looks over more than a session term, 0 calls"));
    });
}

#[test]
fn names_odd_ones_and_long_ones_work() {
    world::run(Duration::from_secs(60), |w| {
        let (_server, a, b) = w.two_mounts();
        let longest = "n".repeat(255);
        let odd = ["with space", "new\nline", "umläut", "-dash", "*", "\u{1F600}", &longest];
        for name in odd {
            std::fs::write(a.at(name), name).unwrap();
            assert_eq!(std::fs::read(b.at(name)).unwrap(), name.as_bytes(), "{name:?}");
        }
        use std::os::unix::ffi::OsStrExt;
        let raw = std::ffi::OsStr::from_bytes(b"not\xffutf8");
        std::fs::write(a.at(raw), b"x").unwrap();
        assert!(b.at(raw).exists());
        assert_eq!(std::fs::read_dir(b.path()).unwrap().count(), odd.len() + 1);
        let too_long = std::fs::write(a.at("n".repeat(256)), b"").unwrap_err();
        assert_eq!(sys::errno(too_long), nix::libc::ENAMETOOLONG);
        w.say(format!("{} odd names", odd.len() + 1));
    });
}
