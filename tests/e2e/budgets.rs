//! What every operation costs in calls (DESIGN section 4), exactly.

use dfs_tests::budget::{self, Calls};
use dfs_tests::mount::Mount;
use dfs_tests::server::Server;
use dfs_tests::world::World;
use dfs_tests::{sizes, sys, wait, world};
use std::fs::DirEntry;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(180);

/// A server, a mount, and an empty folder on it whose listing is known.
fn prepared(w: &World) -> (Server, Mount, PathBuf) {
    let server = w.server();
    let mount = w.mount(&server, "a");
    let folder = mount.at("d");
    std::fs::create_dir(&folder).unwrap();
    assert!(sys::names(&folder).unwrap().is_empty());
    (server, mount, folder)
}

/// Makes files until the client has numbers for more of them (`docs/design/0025`).
fn draw_numbers(server: &Server, mount: &Mount) {
    let folder = mount.at("drawing");
    std::fs::create_dir(&folder).unwrap();
    wait::until_true(LIMIT, "files are made without asking", || {
        let file = folder.join("x");
        let ((), calls) = budget::of(server, || std::fs::write(&file, b"x").unwrap());
        std::fs::remove_file(&file).unwrap();
        !calls.contains_key("create")
    });
    // The last removal was answered before it was carried out (`docs/design/0028`).
    std::fs::File::open(&folder).unwrap().sync_all().unwrap();
}

/// What making small files and closing them at once costs: a commit each, and one more where 10 ms
/// passed in between.
fn one_commit_each((server, folder): (&Server, &Path), files: u64, work: impl FnOnce()) {
    let before = budget::calls(server);
    work();
    let commits = || budget::since(server, &before).get("commit").copied().unwrap_or(0);
    // A close is answered before the server has counted its commit (`docs/design/0038`).
    wait::until_true(LIMIT, "commits of all files", || commits() >= files);
    let calls = budget::since(server, &before);
    // When this returns the server has heard of everything.
    std::fs::File::open(folder).unwrap().sync_all().unwrap();
    let (commits, slow) = (commits(), files + files / 2);
    assert!(calls.len() == 1 && (files..=slow).contains(&commits), "{files} files: {calls:?}");
}

fn costs(server: &Server, what: &str, want: &[(&str, u64)], work: impl FnOnce()) {
    let (want, before) = (budget::exactly(want), budget::calls(server));
    work();
    let calls = || budget::since(server, &before);
    // A removal is answered before the server has counted it (`docs/design/0028`).
    wait::until_true(LIMIT, &format!("calls of {what}: {want:?}"), || {
        budget::total(&calls()) >= budget::total(&want)
    });
    assert_eq!(calls(), want, "calls of {what}");
}

#[test]
fn budget_changes_of_names_cost_one_call_each() {
    world::run(LIMIT, |w| {
        let (server, _mount, d) = prepared(w);
        std::fs::write(d.join("f"), b"x").unwrap();
        costs(&server, "mkdir", &[("mkdir", 1)], || std::fs::create_dir(d.join("sub")).unwrap());
        costs(&server, "symlink", &[("symlink", 1)], || {
            std::os::unix::fs::symlink("f", d.join("s")).unwrap();
        });
        costs(&server, "link", &[("link", 1)], || {
            std::fs::hard_link(d.join("f"), d.join("l")).unwrap();
        });
        costs(&server, "rename", &[("rename", 1)], || {
            std::fs::rename(d.join("l"), d.join("m")).unwrap();
        });
        costs(&server, "rename over", &[("rename", 1)], || {
            std::fs::rename(d.join("s"), d.join("m")).unwrap();
        });
        costs(&server, "names after renames", &[], || {
            assert_eq!(sys::names(&d).unwrap(), ["f", "m", "sub"]);
            assert!(!d.join("l").exists() && !d.join("new").exists());
        });
        costs(&server, "unlink", &[("unlink", 1)], || std::fs::remove_file(d.join("m")).unwrap());
        costs(&server, "rmdir", &[("rmdir", 1)], || std::fs::remove_dir(d.join("sub")).unwrap());
        w.say("mkdir, symlink, link, rename, unlink, rmdir: 1 call each");
    });
}

#[test]
fn budget_attribute_changes_cost_one_call_each() {
    world::run(LIMIT, |w| {
        let (server, _mount, d) = prepared(w);
        std::fs::create_dir(d.join("sub")).unwrap();
        let sub = d.join("sub");
        costs(&server, "chmod", &[("setattr", 1)], || {
            std::fs::set_permissions(&sub, std::fs::Permissions::from_mode(0o700)).unwrap();
        });
        costs(&server, "chown", &[("setattr", 1)], || {
            std::os::unix::fs::chown(&sub, Some(5), Some(6)).unwrap();
        });
        costs(&server, "utimens", &[("setattr", 1)], || {
            let time = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            std::fs::File::open(&sub).unwrap().set_modified(time).unwrap();
        });
        costs(&server, "setxattr", &[("setxattr", 1)], || {
            sys::set_xattr(&sub, "user.a", b"1").unwrap();
        });
        costs(&server, "removexattr", &[("removexattr", 1)], || {
            sys::remove_xattr(&sub, "user.a").unwrap();
        });
        w.say("chmod, chown, utimens, setxattr, removexattr: 1 call each");
    });
}

#[test]
fn budget_promised_things_cost_nothing() {
    world::run(LIMIT, |w| {
        let (server, mount, d) = prepared(w);
        let other = w.mount(&server, "b");
        std::fs::write(d.join("f"), b"content").unwrap();
        std::os::unix::fs::symlink("f", d.join("s")).unwrap();
        sys::set_xattr(&d.join("f"), "user.a", b"1").unwrap();
        for mount in [&mount, &other] {
            let d = mount.at("d");
            let all = || {
                sys::look(&d.join("f")).unwrap();
                sys::look(&d.join("none")).unwrap_err();
                assert_eq!(sys::names(&d).unwrap().len(), 2);
                std::fs::read_link(d.join("s")).unwrap();
                sys::get_xattr(&d.join("f"), "user.a").unwrap();
                sys::get_xattr(&d.join("f"), "user.none").unwrap_err();
                sys::list_xattrs(&d.join("f")).unwrap();
                assert_eq!(std::fs::read(d.join("f")).unwrap(), b"content");
            };
            all();
            costs(&server, "all that is promised", &[], || (0..10).for_each(|_| all()));
        }
        w.say("stat, failed lookup, readdir, readlink, getxattr, open + read + close: 0 calls");
    });
}

#[test]
fn budget_open_of_an_uncached_file_costs_one_call() {
    world::run(LIMIT, |w| {
        let (server, _mount, d) = prepared(w);
        let other = w.mount(&server, "b");
        let lengths = [1, 16_000, 16_385, 300_000, 1 << 20];
        for length in lengths {
            std::fs::write(d.join(length.to_string()), vec![7; length]).unwrap();
        }
        assert_eq!(sys::names(&other.at("d")).unwrap().len(), lengths.len());
        for length in lengths {
            let path = other.at("d").join(length.to_string());
            sys::look(&path).unwrap();
            let (read, calls) = budget::of(&server, || {
                let mut bytes = Vec::new();
                std::fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
                bytes
            });
            assert_eq!(read.len(), length);
            assert_eq!(budget::total(&calls), 1, "first read of {length} bytes: {calls:?}");
        }
        w.say(format!("{} uncached files up to 1 MiB, 1 call each", lengths.len()));
    });
}

/// Calls of one kind.
fn count(calls: &Calls, verb: &str) -> u64 {
    calls.get(verb).copied().unwrap_or(0)
}

#[test]
fn budget_names_looked_up_one_by_one_cost_a_listing() {
    world::run(LIMIT, |w| {
        let (server, _mount, d) = prepared(w);
        let files = 400;
        (0..files).for_each(|n| std::fs::write(d.join(n.to_string()), b"x").unwrap());
        let other = w.mount(&server, "b");
        let ((), calls) = budget::of(&server, || {
            for n in 0..files {
                // In an order of its own, half of them missing.
                let n = n * 77 % files;
                assert_eq!(sys::look(&other.at(format!("d/{n}"))).unwrap().numbers[5], 1);
                sys::look(&other.at(format!("d/none-{n}"))).unwrap_err();
            }
        });
        assert_eq!(count(&calls, "readdir"), 1, "{calls:?}");
        assert!(budget::total(&calls) < files / 2, "{} names: {calls:?}", 2 * files);
        // What was listed is told of changes like what was asked for.
        std::fs::write(d.join("none-7"), b"two").unwrap();
        std::fs::remove_file(d.join("7")).unwrap();
        assert_eq!(std::fs::read(other.at("d/none-7")).unwrap(), b"two");
        sys::look(&other.at("d/7")).unwrap_err();
        w.say(format!("{} names looked up, {} calls", 2 * files, budget::total(&calls)));
    });
}

#[test]
fn budget_small_files_read_one_after_the_other_come_many_with_one_call() {
    world::run(LIMIT, |w| {
        let (server, _mount, d) = prepared(w);
        let files = 200;
        let content = |n: u64, round: u64| (n * 1000 + round).to_string().repeat(100);
        let write = |n, round| std::fs::write(d.join(format!("{n}")), content(n, round)).unwrap();
        (0..files).for_each(|n| write(n, 1));
        let other = w.mount(&server, "b");
        let listed = std::fs::read_dir(other.at("d")).unwrap();
        let number = |entry: DirEntry| entry.file_name().to_str().unwrap().parse().unwrap();
        let order: Vec<u64> = listed.map(|entry| number(entry.unwrap())).collect();
        assert_eq!(order.len() as u64, files);
        let read = |n: u64| std::fs::read_to_string(other.at(format!("d/{n}"))).unwrap();
        let ((), calls) = budget::of(&server, || {
            let some = &order[..order.len() / 2];
            some.iter().for_each(|n| assert_eq!(read(*n), content(*n, 1)));
        });
        let together = count(&calls, "getcontents");
        assert!(together > 0 && budget::total(&calls) <= files / 10, "{calls:?}");
        // In an order of its own, half of them missing, it costs no more calls than there are files.
        let third = w.mount(&server, "c");
        assert_eq!(sys::names(&third.at("d")).unwrap().len() as u64, files);
        let ((), scattered) = budget::of(&server, || {
            for n in 0..files / 2 {
                let read = std::fs::read_to_string(third.at(format!("d/{n}"))).unwrap();
                assert_eq!(read, content(n, 1));
            }
        });
        assert!(budget::total(&scattered) <= files, "{scattered:?}");
        // What was fetched before anybody wanted it is as fresh as all else.
        (files / 2..files).step_by(2).for_each(|n| write(n, 2));
        for n in 0..files {
            let round = if n >= files / 2 && n % 2 == 0 { 2 } else { 1 };
            assert_eq!(read(n), content(n, round));
        }
        w.say(format!("{} of {files} files read, {calls:?}", files / 2));
    });
}

/// Creates, writes, chmods, chowns and dates a file.
fn make_with_attributes(dir: &Path, n: u64) {
    let mut file = std::fs::File::create_new(dir.join(format!("attributes{n}"))).unwrap();
    file.write_all(b"x").unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::fchown(&file, Some(5), Some(6)).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    // What stays as it is rides along, and times do.
    file.set_permissions(std::fs::Permissions::from_mode(0o640)).unwrap();
}

#[test]
fn budget_create_write_close_costs_one_call() {
    world::run(LIMIT, |w| {
        let (server, mount, d) = prepared(w);
        draw_numbers(&server, &mount);
        let files = 40;
        one_commit_each((&server, &d), files, || {
            for name in 0..files {
                let mut file = std::fs::File::create_new(d.join(name.to_string())).unwrap();
                file.write_all(&[7; 3_000]).unwrap();
            }
        });
        one_commit_each((&server, &d), 2, || {
            std::fs::write(d.join("beside"), b"x").unwrap();
            let from = std::fs::File::open(d.join("0")).unwrap();
            let to = std::fs::File::create_new(d.join("copy")).unwrap();
            assert_eq!(rustix::fs::copy_file_range(from, None, to, None, 9_000).unwrap(), 3_000);
        });
        let ((), calls) =
            budget::of(&server, || (0..files).for_each(|n| make_with_attributes(&d, n)));
        let count = |call| count(&calls, call);
        // One that was told in the meantime, because the machine is busy, costs a call for each change.
        assert!(count("commit") <= files + files / 2, "{calls:?}");
        assert!(count("setattr") <= files && count("create") == 0, "{calls:?}");
        let calls = &[("setattr", 2), ("commit", 1)];
        costs(&server, "write, chmod, chown, utimens, close of a known file", calls, || {
            let mut file = std::fs::OpenOptions::new().write(true).open(d.join("0")).unwrap();
            file.write_all(b"x").unwrap();
            file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::fchown(&file, Some(7), Some(8)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
            file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
        });
        let other = w.mount(&server, "b");
        let seen = sys::look(&other.at("d/attributes0")).unwrap();
        assert_eq!(seen.numbers[1..], [0o100640, 1, 5, 6, 1]);
        assert_eq!(seen.times[0], 1_000_000_000);
        // Another client knows the directory now.
        costs(&server, "in a shared directory", &[("create", 1), ("commit", 1)], || {
            std::fs::write(d.join("shared"), b"x").unwrap();
        });
        assert_eq!(std::fs::read(other.at("d/shared")).unwrap(), b"x");
        w.say(format!("{} small files, 1 call each; attributes ride along", 2 * files));
    });
}

#[test]
fn budget_names_in_a_new_folder_are_not_looked_up() {
    world::run(LIMIT, |w| {
        let (server, mount, d) = prepared(w);
        draw_numbers(&server, &mount);
        let (new, files) = (d.join("new"), 40);
        costs(&server, "new folders", &[("mkdir", 2)], || {
            std::fs::create_dir(&new).unwrap();
            std::fs::create_dir(new.join("sub")).unwrap();
        });
        one_commit_each((&server, &d), files, || {
            (0..files).for_each(|name| std::fs::write(new.join(name.to_string()), b"x").unwrap());
        });
        let other = w.mount(&server, "b");
        std::fs::write(other.at("d/new/sub/of-b"), b"by b").unwrap();
        assert_eq!(std::fs::read(mount.at("d/new/sub/of-b")).unwrap(), b"by b");
        w.say(format!(
            "2 new folders and {files} files in them, no lookup; another's file is seen"
        ));
    });
}

#[test]
fn budget_fsync_after_a_small_append_costs_one_call() {
    world::run(LIMIT, |w| {
        let (server, _mount, d) = prepared(w);
        let mut file = sys::open(
            &d.join("log"),
            nix::libc::O_WRONLY | nix::libc::O_CREAT | nix::libc::O_APPEND,
        )
        .unwrap();
        file.write_all(b"first\n").unwrap();
        file.sync_all().unwrap();
        let appends = 20;
        let ((), calls) = budget::of(&server, || {
            for _ in 0..appends {
                file.write_all(b"a line\n").unwrap();
                file.sync_all().unwrap();
            }
        });
        assert_eq!(calls, budget::exactly(&[("commit", appends)]));
        costs(&server, "fsync of nothing new", &[], || file.sync_all().unwrap());
        costs(&server, "close of nothing new", &[], || drop(file));
        w.say(format!("{appends} appends with fsync, 1 call each"));
    });
}

#[test]
fn budget_cold_listing_costs_one_call_per_thousand_entries() {
    world::run(Duration::from_secs(600), |w| {
        let (server, _mount, d) = prepared(w);
        let entries = sizes::listed_entries();
        for name in 0..entries {
            std::os::unix::fs::symlink("t", d.join(format!("entry-{name}"))).unwrap();
        }
        let other = w.mount(&server, "b");
        sys::look(&other.at("d")).unwrap();
        let (listed, calls): (usize, Calls) = budget::of(&server, || {
            let mut listed = 0;
            for entry in std::fs::read_dir(other.at("d")).unwrap() {
                assert!(entry.unwrap().metadata().unwrap().is_symlink());
                listed += 1;
            }
            listed
        });
        assert_eq!(listed, entries);
        let most = entries.div_ceil(1000) as u64;
        let cost = budget::total(&calls);
        assert!(cost <= most, "{entries} entries with attributes: {calls:?}, at most {most}");
        w.say(format!("{entries} entries with attributes, {cost} calls"));
    });
}

#[test]
fn budget_listing_is_kept_while_other_directories_change() {
    world::run(LIMIT, |w| {
        let (server, a, b) = w.two_mounts();
        let entries = sizes::listed_entries();
        std::fs::create_dir(a.at("big")).unwrap();
        std::fs::create_dir(a.at("other")).unwrap();
        (0..entries).for_each(|n| drop(std::fs::File::create(a.at(format!("big/{n}"))).unwrap()));
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (folder, done) = (a.at("other"), stop.clone());
        let busy = dfs_tests::wait::start("changes elsewhere", move || {
            let mut n = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::create_dir(folder.join(format!("{n}"))).unwrap();
                n += 1;
            }
            n
        });
        let list = || assert_eq!(sys::names(&b.at("big")).unwrap().len(), entries);
        list();
        let before = budget::calls(&server).get("readdir").copied().unwrap_or(0);
        list();
        let asked = budget::calls(&server).get("readdir").copied().unwrap_or(0) - before;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let changes = busy.within(LIMIT);
        assert_eq!(asked, 0, "the listing was asked for again");
        // What does change there is seen.
        std::fs::remove_file(a.at("big/0")).unwrap();
        assert_eq!(sys::names(&b.at("big")).unwrap().len(), entries - 1);
        w.say(format!(
            "{entries} entries listed twice during {changes} changes elsewhere: 1 question"
        ));
    });
}
