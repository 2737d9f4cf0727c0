//! Flipped bits, in the objects of the server and in the cache of a client, are never served.

use dfs_tests::{tree, world};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(180);
const LENGTH: usize = 3_000_000;

/// Flips a bit of every sixteenth block in each file below `folder` that holds content of ours;
/// gives how many files it hurt.
fn flip_bits(folder: &Path) -> usize {
    let hurt: Vec<PathBuf> = tree::containing(folder, b"version 0000");
    for path in &hurt {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let bytes = std::fs::read(path).unwrap();
        let mut at = 0;
        // Only content is hurt: headers and sums have tests of their own.
        while let Some(found) = find(&bytes[at..], b"version 0000") {
            at += found;
            file.write_all_at(&[bytes[at + 3] ^ 0x40], at as u64 + 3).unwrap();
            at += 16 * 4096;
            if at >= bytes.len() {
                break;
            }
        }
    }
    hurt.len()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[test]
fn rot_in_an_object_is_an_error_and_never_served() {
    world::run(LIMIT, |w| {
        let (server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), tree::version_bytes(1, LENGTH)).unwrap();
        let hurt = flip_bits(&server.data().join("objects"));
        assert!(hurt > 0, "no object holds the content");
        let error = std::fs::read(b.at("f")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::EIO), "{error}");
        // The writer's own copy is whole.
        assert_eq!(tree::version_of(&std::fs::read(a.at("f")).unwrap()), Ok(1));
        assert!(server.is_alive());
        w.say(format!("{hurt} objects hurt, EIO and not one wrong byte"));
    });
}

#[test]
fn rot_in_the_cache_is_fetched_again() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        let mut b = w.mount(&server, "b");
        std::fs::write(a.at("f"), tree::version_bytes(1, LENGTH)).unwrap();
        assert_eq!(tree::version_of(&std::fs::read(b.at("f")).unwrap()), Ok(1));
        // Unmounted, so that no page of it is in memory.
        b.unmount();
        let hurt = flip_bits(b.cache());
        assert!(hurt > 0, "no cache file holds the content");
        b.again();
        assert_eq!(tree::version_of(&std::fs::read(b.at("f")).unwrap()), Ok(1));
        w.say(format!("{hurt} cache files hurt, read whole from the server"));
    });
}
