//! Where the programs under test are, and which others this machine has.

use std::path::{Path, PathBuf};

/// The path of one of our binaries: in `DFS_BIN_DIR`, else beside the test executable.
pub fn ours(name: &str) -> PathBuf {
    let folder = match std::env::var_os("DFS_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => beside_the_test(),
    };
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is missing: build it first (cargo build -p dfs-server -p dfs-fuse), or set DFS_BIN_DIR",
        path.display()
    );
    path
}

/// `target/PROFILE` of a test executable in `target/PROFILE/deps`.
fn beside_the_test() -> PathBuf {
    let exe = std::env::current_exe().expect("no path of the running program");
    let folder = exe.parent().expect("a program lies in a folder");
    match folder.ends_with("deps") {
        true => folder.parent().expect("deps lies in a folder").to_path_buf(),
        false => folder.to_path_buf(),
    }
}

/// Fails if a program of the system is missing: scripts/test installs what the tests need.
pub fn need(name: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    assert!(found, "{name} is not installed: apt install {name}, or run scripts/test as root");
}

/// The folder of this workspace's sources.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace")
}
