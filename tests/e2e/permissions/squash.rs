//! A server that takes the superuser for nobody.

use super::calls::{BOB, alice, bob, mode_of, root};
use super::{LIMIT, open_to_all};
use dfs_tests::person::Person;
use dfs_tests::sys::{self, errno};
use dfs_tests::world;
use nix::libc;
use nix::unistd::truncate;
use std::fs::{File, FileTimes, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::time::UNIX_EPOCH;

#[test]
fn permissions_of_squashed_root_hold_for_what_is_cached() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        open_to_all(&[w.dir(), a.path()]);
        a.unmount();
        server.stop();
        let server = w.server_builder().data(server.data()).arg("--root-squash").start();
        let a = w.mount(&server, "squashed");
        let (dir, secret, open) = (a.at("d"), a.at("d/secret"), a.at("open"));
        let kept = a.at("kept");
        let modes = [(&dir, 0o711), (&secret, 0o600), (&open, 0o644)];
        alice().does(|| {
            std::fs::create_dir(&dir).unwrap();
            for path in [&secret, &open] {
                std::fs::write(path, "text").unwrap();
                File::open(path).unwrap().set_modified(UNIX_EPOCH).unwrap();
            }
            for (path, mode) in modes {
                std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            }
            // Times of a file that is being written wait for its commit.
            let mut file = File::create(&kept).unwrap();
            file.write_all(b"text").unwrap();
            let times = FileTimes::new().set_accessed(UNIX_EPOCH).set_modified(UNIX_EPOCH);
            file.set_times(times).unwrap();
            file.sync_all().unwrap();
            drop(file);
            assert_eq!(std::fs::read(&kept).unwrap(), b"text");
            assert_eq!(std::fs::metadata(&kept).unwrap().modified().unwrap(), UNIX_EPOCH);
            // From here on everything is known on this machine.
            assert_eq!(std::fs::read(&secret).unwrap(), b"text");
            assert_eq!(sys::names(&dir).unwrap(), ["secret"]);
        });
        let privileged = Person { capabilities: Some(u64::MAX), ..bob() };
        for (who, person) in [("root", root()), ("capable", privileged)] {
            let writing = || OpenOptions::new().write(true).open(&secret).map(drop);
            let cutting = || OpenOptions::new().write(true).truncate(true).open(&open).map(drop);
            for (what, result) in [
                ("read", person.does(|| std::fs::read(&secret).map(drop))),
                ("write", person.does(writing)),
                ("cut", person.does(cutting)),
                ("truncate", person.does(|| Ok(truncate(&open, 0)?))),
                ("list", person.does(|| sys::names(&dir).map(drop))),
                ("chown", person.does(|| chown(&open, Some(BOB), None))),
            ] {
                let refused = result.map_err(errno);
                assert!([Err(libc::EACCES), Err(libc::EPERM)].contains(&refused), "{who} {what}");
            }
            assert_eq!(person.does(|| std::fs::read(&open)).unwrap(), b"text", "{who}");
        }
        assert_eq!(alice().does(|| std::fs::read(&secret)).unwrap(), b"text");
    });
}

#[test]
fn permissions_of_squashed_root_are_those_of_nobody() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let mut a = w.mount(&server, "a");
        open_to_all(&[w.dir(), a.path()]);
        std::fs::write(a.at("secret"), "text").unwrap();
        std::fs::set_permissions(a.at("secret"), Permissions::from_mode(0o600)).unwrap();
        a.unmount();
        server.stop();
        let server = w.server_builder().data(server.data()).arg("--root-squash").start();
        let a = w.mount(&server, "squashed");
        let new = OpenOptions::new().write(true).create_new(true).mode(0o644).open(a.at("new"));
        drop(new.unwrap());
        assert_eq!(mode_of(&a.at("new")), "100644 65534:65534");
        let chown = chown(a.at("new"), Some(0), None).map_err(errno);
        assert_eq!(chown, Err(libc::EPERM));
        let chmod = std::fs::set_permissions(a.at("secret"), Permissions::from_mode(0o644));
        assert_eq!(chmod.map_err(errno), Err(libc::EPERM));
        assert_eq!(std::fs::read(a.at("secret")).map_err(errno), Err(libc::EACCES));
    });
}
