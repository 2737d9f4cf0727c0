//! git, as people use it: clone, commit, gc and fsck, on two mounts.

use super::{LIMIT, STEP};
use dfs_tests::{programs, shell, tree, world};
use std::path::Path;

#[test]
fn git_clone_and_fsck() {
    world::run(LIMIT, |w| {
        programs::need("git");
        let (_server, a, b) = w.two_mounts();
        let repository = source_repository(w.dir());
        let clone = format!("git clone -q --no-local '{}' clone", repository.display());
        shell::script(STEP, a.path(), &clone);
        shell::script(
            STEP,
            &b.at("clone"),
            "git fsck --strict && test -z \"$(git status --short)\"",
        );
        let commit =
            "echo more >> file0.txt && git -c user.name=x -c user.email=x@x commit -qam two";
        shell::script(STEP, &b.at("clone"), commit);
        let log =
            shell::script(STEP, &a.at("clone"), "git log --oneline | wc -l; git status --short");
        assert_eq!(log.trim(), "2");
        shell::script(STEP, &a.at("clone"), "git gc -q && git fsck --strict");
        shell::script(STEP, &b.at("clone"), "git fsck --strict && git log --oneline");
        tree::compare(&a.at("clone"), &b.at("clone"));
        w.say("git clone, fsck, status, commit and gc, both mounts agree");
    });
}

/// A small repository on a local disk, made of this workspace's own sources.
fn source_repository(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("repository");
    std::fs::create_dir(&path).unwrap();
    for source in ["dfs-core", "proto"] {
        let from = programs::workspace().join(source);
        shell::script(STEP, &path, &format!("cp -r '{}' .", from.display()));
    }
    std::fs::write(path.join("file0.txt"), "text\n").unwrap();
    let commit = "git init -q . && git add -A && \
                  git -c user.name=x -c user.email=x@x commit -qm one";
    shell::script(STEP, &path, commit);
    path
}
