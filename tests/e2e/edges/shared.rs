//! What several processes and mounts share: mappings, running programs, totals, access times.

use dfs_tests::mapping::{Mapping, Sharing};
use dfs_tests::mount::Mount;
use dfs_tests::shell::Running;
use dfs_tests::{fusectl, sys, wait, world};
use nix::libc;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

const LIMIT: Duration = Duration::from_secs(240);
/// An open reader follows a new version soon after its writer was told that it is saved.
const FOLLOWS: Duration = Duration::from_secs(10);

fn map(path: &Path, flags: i32, how: Sharing) -> Mapping {
    let file = sys::open(path, flags).unwrap();
    Mapping::new(&file, 12_288, how, flags == libc::O_RDONLY).unwrap()
}

/// What another process reads at `at`.
fn read_elsewhere(path: &Path, at: usize, length: usize) -> Vec<u8> {
    let mut command = Command::new("dd");
    command.args(["bs=1", "status=none", &format!("skip={at}"), &format!("count={length}")]);
    command.arg(format!("if={}", path.display()));
    command.output().unwrap().stdout
}

#[test]
fn edges_mappings_are_shared_and_msync_is_seen_by_the_other_mount() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let rounds = 20;
        for round in 0..rounds {
            let name = format!("f{round}");
            std::fs::write(a.at(&name), vec![b'-'; 12_288]).unwrap();
            let far = map(&b.at(&name), libc::O_RDONLY, Sharing::Shared);
            let open_there = File::open(b.at(&name)).unwrap();
            assert_eq!(far.get(5_000, 1), b"-");
            let mut one = map(&a.at(&name), libc::O_RDWR, Sharing::Shared);
            let two = map(&a.at(&name), libc::O_RDWR, Sharing::Shared);
            let mut private = map(&a.at(&name), libc::O_RDWR, Sharing::Private);
            private.put(5_000, b"private");
            let text = format!("round {round:04}");
            one.put(5_000, text.as_bytes());
            assert_eq!(two.get(5_000, text.len()), text.as_bytes(), "the other mapping");
            assert_eq!(read_elsewhere(&a.at(&name), 5_000, text.len()), text.as_bytes());
            assert_eq!(private.get(5_000, 7), b"private");
            one.sync().unwrap();
            // Whoever opens now must see it; who has it open follows.
            let opened = std::fs::read(b.at(&name)).unwrap();
            assert_eq!(&opened[5_000..5_010], text.as_bytes(), "round {round}");
            wait::until_true(FOLLOWS, "an open reader follows msync", || {
                let mut bytes = [0; 10];
                open_there.read_exact_at(&mut bytes, 5_000).unwrap();
                bytes == text.as_bytes()
            });
            wait::until_true(FOLLOWS, "a mapping follows msync", || {
                far.get(5_000, 10) == text.as_bytes()
            });
            // Stores that nobody synced are saved at the end of the mapping.
            one.put(9_000, b"unsynced");
            drop((one, two, private));
            wait::until_true(FOLLOWS, "what was stored last", || {
                std::fs::read(b.at(&name)).unwrap()[9_000..9_008] == *b"unsynced"
            });
        }
        w.say(format!("{rounds} files mapped, synced, seen"));
    });
}

/// Two mounts of one server are two file systems, as two local ones are: names do not move between
/// them, bytes do.
#[test]
fn edges_between_two_mounts_are_those_between_two_disks() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let bytes = dfs_tests::tree::random_bytes(&mut w.random(1), 300_000);
        std::fs::write(a.at("from"), &bytes).unwrap();
        let refused = |done: std::io::Result<()>| sys::errno(done.unwrap_err());
        assert_eq!(refused(std::fs::rename(a.at("from"), b.at("moved"))), libc::EXDEV);
        assert_eq!(refused(std::fs::hard_link(a.at("from"), b.at("linked"))), libc::EXDEV);
        let from = File::open(a.at("from")).unwrap();
        let to = File::create_new(b.at("to")).unwrap();
        let (mut at, mut copied) = (0, 0);
        while copied < bytes.len() {
            let rest = bytes.len() - copied;
            match rustix::fs::copy_file_range(&from, Some(&mut at), &to, None, rest).unwrap() {
                0 => break,
                more => copied += more,
            }
        }
        drop(to);
        assert!(std::fs::read(a.at("to")).unwrap() == bytes, "{copied} bytes copied");
        dfs_tests::shell::script(LIMIT, w.dir(), "mv mnt-a/to mnt-b/moved");
        assert!(std::fs::read(a.at("moved")).unwrap() == bytes);
        assert_eq!(sys::names(b.path()).unwrap(), ["from", "moved"]);
        w.say("300 kB copied and moved across");
    });
}

/// `ETXTBSY` is a matter of one machine (docs/SEMANTICS.md). Replacing a program by `rename` disturbs
/// nobody who runs it.
#[test]
fn edges_programs_run_while_other_mounts_write_and_replace_them() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::copy("/bin/sleep", a.at("sleep")).unwrap();
        let start = |seconds: &str| {
            let mut command = Command::new(a.at("sleep"));
            command.arg(seconds);
            command
        };
        let writer = sys::open(&b.at("sleep"), libc::O_WRONLY).unwrap();
        let here = Command::new(b.at("sleep")).arg("0").status().unwrap_err();
        assert_eq!(sys::errno(here), libc::ETXTBSY);
        assert!(start("0").status().unwrap().success(), "another mount writes it");
        drop(writer);
        let mut running = Running::start(start("300"));
        assert!(sys::open(&b.at("sleep"), libc::O_WRONLY).is_ok(), "another mount runs it");
        std::fs::copy("/bin/true", b.at("new")).unwrap();
        std::fs::rename(b.at("new"), b.at("sleep")).unwrap();
        assert!(start("300").status().unwrap().success(), "it is /bin/true now");
        assert!(running.is_running());
        running.signal(nix::sys::signal::Signal::SIGTERM);
        let end = running.end_within(Duration::from_secs(10));
        let signal = std::os::unix::process::ExitStatusExt::signal(&end);
        assert_eq!(signal, Some(libc::SIGTERM), "it ran from its old file to the end");
        w.say("a program written and replaced elsewhere while it runs");
    });
}

/// Bytes used and free, and all; inodes used and free, and all.
fn totals(of: &Path) -> [u64; 6] {
    let t = rustix::fs::statvfs(of).unwrap();
    let [all, free] = [t.f_blocks, t.f_bfree].map(|blocks| blocks * t.f_frsize);
    [all - free, free, all, t.f_files - t.f_ffree, t.f_ffree, t.f_files]
}

#[test]
fn edges_totals_add_up_on_every_mount() {
    world::run(LIMIT, |w| {
        const BYTES: usize = 30_000_000;
        const FILES: u64 = 200;
        let disk = w.small_disk("server-disk", 256);
        let server = w.server_builder().data(&disk.join("data")).start();
        let (a, b) = (w.mount(&server, "a"), w.mount(&server, "b"));
        let before = totals(a.path());
        assert_eq!(before[2], totals(&disk)[2], "all is what the server's disk has");
        let bytes = dfs_tests::tree::random_bytes(&mut w.random(1), BYTES);
        std::fs::write(a.at("f"), &bytes).unwrap();
        (1..FILES).for_each(|n| drop(File::create_new(a.at(format!("f{n}"))).unwrap()));
        for mount in [&a, &b] {
            let blocks = std::fs::metadata(mount.at("f")).unwrap().blocks() * 512;
            assert!((BYTES as u64..BYTES as u64 + 65_536).contains(&blocks), "{blocks} bytes");
            // Totals may be a second old.
            let now = wait::until(Duration::from_secs(5), "totals to move", || {
                let now = totals(mount.path());
                (now[3] == before[3] + FILES).then_some(now)
            });
            let [used, free, all, ..] = now;
            let on_disk = totals(&disk);
            assert_eq!([used + free, all], [on_disk[2]; 2]);
            assert!(used >= before[0] + BYTES as u64, "{used} after {before:?}");
            assert!(used.abs_diff(on_disk[0]) < 4 << 20, "{now:?}, the disk: {on_disk:?}");
            let text =
                dfs_tests::shell::script(LIMIT, mount.path(), "df -B1 --output=used . | tail -n 1");
            let shown: u64 = text.trim().parse().unwrap();
            assert!(shown.abs_diff(used) < 4 << 20, "df shows {shown}");
        }
        std::fs::remove_file(b.at("f")).unwrap();
        w.say(format!("{BYTES} bytes, {FILES} inodes, 2 mounts"));
    });
}

/// Reading moves no access time, whatever the mount was asked for; `utimens` does, on every mount.
#[test]
fn edges_access_times_move_only_when_they_are_set() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let asked = ["", "noatime", "relatime", "strictatime", "nodiratime", "lazytime"];
        let mounts = asked.map(|option| {
            let builder = w.mount_builder(&server, &format!("m{option}"));
            if option.is_empty() { builder.start() } else { builder.option(option).start() }
        });
        let shown = |mount: &Mount| fusectl::mounted(mount.path()).unwrap().options;
        for (option, mount) in asked.iter().zip(&mounts) {
            let noatime = shown(mount).split(',').any(|word| word == "noatime");
            assert_eq!(noatime, *option == "noatime", "{option}: {}", shown(mount));
        }
        let first = &mounts[0];
        std::fs::create_dir(first.at("d")).unwrap();
        std::fs::write(first.at("d/f"), b"content").unwrap();
        std::os::unix::fs::symlink("f", first.at("d/s")).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::new(1_000, 999);
        let file = File::open(first.at("d/f")).unwrap();
        file.set_times(std::fs::FileTimes::new().set_accessed(old)).unwrap();
        let seen = || {
            let see = |mount: &Mount, name: &str| {
                let m = std::fs::symlink_metadata(mount.at(name)).unwrap();
                (m.atime(), m.atime_nsec(), m.mtime(), m.ctime(), m.ctime_nsec())
            };
            let one = ["d", "d/f", "d/s"].map(|name| see(first, name));
            for mount in &mounts {
                assert_eq!(["d", "d/f", "d/s"].map(|name| see(mount, name)), one);
            }
            one
        };
        let before = seen();
        assert_eq!((before[1].0, before[1].1), (1_000, 999));
        for mount in &mounts {
            assert_eq!(std::fs::read(mount.at("d/f")).unwrap(), b"content");
            assert_eq!(sys::names(&mount.at("d")).unwrap().len(), 2);
            std::fs::read_link(mount.at("d/s")).unwrap();
            let mapped = File::open(mount.at("d/f")).unwrap();
            Mapping::new(&mapped, 7, Sharing::Shared, true).unwrap().get(0, 7);
            assert_eq!(seen(), before);
        }
        for mount in &mounts {
            dfs_tests::shell::script(LIMIT, mount.path(), "touch -a -d @5.000000007 d/f");
            let set = seen()[1];
            assert_eq!([set.0, set.1], [5, 7]);
            file.set_times(std::fs::FileTimes::new().set_accessed(old)).unwrap();
            assert_eq!(seen()[1].0, 1_000);
        }
        // Of a file that is being written they go with what is written.
        let writer = sys::open(&first.at("d/f"), libc::O_RDWR).unwrap();
        writer
            .set_times(std::fs::FileTimes::new().set_accessed(old + Duration::new(9, 0)))
            .unwrap();
        drop(writer);
        assert_eq!(seen()[1].0, 1_009);
        w.say(format!("{} mounts", mounts.len()));
    });
}
