//! Mode and owner of files that the server may not have heard of when they change
//! (`docs/design/0030`).

use super::LIMIT;
use dfs_tests::{sys, world};
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::Path;

/// A new file, open, with mode 0640, owner 5 and group 6 given to it.
fn make(path: &Path) -> File {
    let mut file = File::create_new(path).unwrap();
    file.write_all(b"content").unwrap();
    fchown(&file, Some(5), Some(6)).unwrap();
    file.set_permissions(Permissions::from_mode(0o640)).unwrap();
    file
}

/// Mode, owner and group.
fn style(path: &Path) -> [u64; 3] {
    let [_, mode, _, uid, gid, _] = sys::look(path).unwrap().numbers;
    [mode, uid, gid]
}

const GIVEN: [u64; 3] = [0o100640, 5, 6];

#[test]
fn new_files_have_for_others_what_was_given_to_them() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        for n in 0..100 {
            // A folder of its own: the other mount takes it from the first one by looking.
            let name = format!("d{n}/f");
            std::fs::create_dir(a.at(format!("d{n}"))).unwrap();
            drop(make(&a.at(format!("d{n}/first"))));
            let open = make(&a.at(&name));
            assert_eq!(style(&b.at(&name)), GIVEN, "{name}, still open");
            drop(open);
            assert_eq!(style(&b.at(&name)), GIVEN, "{name}, closed");
            assert_eq!(std::fs::read(b.at(&name)).unwrap(), b"content");
        }
        w.say("100 new files, seen with mode and owner while they were open and closed");
    });
}

#[test]
fn new_files_of_a_killed_client_have_what_was_given_to_them() {
    world::run(LIMIT, |w| {
        let (_server, mut a, b) = w.two_mounts();
        std::fs::create_dir(a.at("d")).unwrap();
        for n in 0..5 {
            let name = format!("d/f{n}");
            drop(make(&a.at(format!("d/before{n}"))));
            let open = make(&a.at(&name));
            a.kill_and_detach();
            drop(open);
            a.again();
            assert_eq!(style(&a.at(&name)), GIVEN, "{name} after the kill");
            assert_eq!(style(&b.at(&name)), GIVEN, "{name} for the other");
        }
        w.say("5 kills with a new file open: mode and owner are there");
    });
}
