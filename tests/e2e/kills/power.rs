//! A server with `--durability relaxed` whose machine loses power: what was changed since the last flush
//! is not there afterwards, and clients that know of it must not go on as if it were.
//!
//! Killing a process does not do that, so the moment of the last flush is kept as a copy of the
//! metadata, taken while the server stands still, and put back after it was killed. Numbers are recorded
//! for good before they are given out, many at a time: those of the test's versions are, with its first.

use dfs_tests::server::Server;
use dfs_tests::world;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// The metadata on the server's disk at one moment.
struct Flushed(Vec<(PathBuf, Vec<u8>)>);

impl Flushed {
    fn of(server: &Server) -> Flushed {
        server.process().stop();
        let files = fs::read_dir(server.data()).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file() && !path.ends_with("lock"));
        let kept = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        server.process().resume();
        Flushed(kept)
    }

    /// The power goes, and comes back.
    fn lose_power(self, server: &Server) {
        server.kill();
        for (path, bytes) in self.0 {
            fs::write(path, bytes).unwrap();
        }
        server.start();
    }
}

#[test]
fn kills_of_the_power_undo_what_was_closed_last_for_everybody() {
    world::run_alone(Duration::from_secs(300), |w| {
        let server = w.server_builder().arg("--durability=relaxed").start();
        let (a, b) = (w.mount(&server, "a"), w.mount(&server, "b"));
        let mounts = [&a, &b];
        for name in ["closed", "read", "open", "cut"] {
            let mut file = File::create(a.at(name)).unwrap();
            file.write_all(b"what was there before").unwrap();
            file.sync_all().unwrap();
            for mount in mounts {
                fs::read(mount.at(name)).unwrap();
            }
        }
        let flushed = Flushed::of(&server);
        for name in ["closed", "read", "open", "new"] {
            fs::write(a.at(name), "closed and not flushed, so gone").unwrap();
        }
        OpenOptions::new().write(true).open(a.at("cut")).unwrap().set_len(4).unwrap();
        fs::read(b.at("read")).unwrap();
        let held = File::open(b.at("read")).unwrap();
        let mut writer = OpenOptions::new().append(true).open(a.at("open")).unwrap();
        writer.write_all(b" and more, not closed").unwrap();
        flushed.lose_power(&server);
        let before = b"what was there before".as_slice();
        for (mount, probe) in mounts.iter().zip(["p", "q"]) {
            // It is answered by the server that came back; from then on the mount knows of it.
            fs::create_dir(mount.at(probe)).unwrap();
            for name in ["closed", "read", "cut"] {
                let path = mount.at(name);
                assert_eq!(fs::read(&path).unwrap(), before, "{}", path.display());
                assert_eq!(fs::metadata(&path).unwrap().len(), before.len() as u64);
            }
        }
        for mount in mounts {
            let gone = fs::read(mount.at("new")).unwrap_err();
            assert_eq!(gone.kind(), std::io::ErrorKind::NotFound, "{}", mount.path().display());
        }
        assert_eq!(held.metadata().unwrap().len(), before.len() as u64);
        // Its bytes were written behind what is gone: they are put aside, and that is said.
        let lost = writer.sync_all().expect_err("the base of these bytes is gone");
        assert_eq!(lost.raw_os_error(), Some(nix::libc::EIO));
        drop(writer);
        assert_eq!(fs::read(b.at("open")).unwrap(), before);
        for (from, to) in [(&a, &b), (&b, &a)] {
            for name in ["closed", "read", "open", "cut", "new"] {
                let now = format!("by {} after it", from.path().display());
                fs::write(from.at(name), &now).unwrap();
                assert_eq!(fs::read_to_string(to.at(name)).unwrap(), now, "{name}");
            }
        }
        w.say("5 files of before a power loss on both mounts, and written again by both");
    });
}
