//! Compilers and package managers with their trees on the mount.

use super::{LIMIT, STEP};
use dfs_tests::{programs, shell, tree, wait, world};

#[test]
fn cargo_build_of_the_smallest_crate() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let root = programs::workspace();
        // The core alone, with the lock file that its offline build needs.
        let copy = format!("mkdir ws && cp -r '{0}/dfs-core' '{0}/Cargo.lock' ws/", root.display());
        shell::script(STEP, a.path(), &copy);
        let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let members = manifest.lines().position(|line| line.starts_with("members")).unwrap();
        let lines = manifest.lines().enumerate().map(|(number, line)| match number == members {
            true => "members = [\"dfs-core\"]",
            false => line,
        });
        let manifest: String = lines.flat_map(|line| [line, "\n"]).collect();
        std::fs::write(a.at("ws/Cargo.toml"), manifest).unwrap();
        let build = "unset CARGO_TARGET_DIR; cargo build --offline -q -p dfs-core 2>&1";
        let (printed, took) = {
            let path = a.at("ws");
            wait::start("cargo build", move || shell::try_script(STEP, &path, build))
                .timed_within(STEP)
        };
        assert!(printed.status.success(), "{}", shell::describe(&printed));
        tree::compare(&a.at("ws/target"), &b.at("ws/target"));
        // Nothing looks changed: times and sizes are the same on the other mount.
        let again = shell::script(STEP, &b.at("ws"), &build.replace("-q ", ""));
        assert!(!again.contains("Compiling"), "built again on the other mount: {again}");
        w.say(format!("cargo build took {took:.1?}; nothing to do on the other mount"));
    });
}
