//! The main job on real input (issue 10): what people do all day, on one mount, while the other
//! compares.

use dfs_tests::{programs, shell, sys, tree, wait, world};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(900);
const STEP: Duration = Duration::from_secs(400);

#[test]
fn work_git_clone_and_fsck() {
    world::run(LIMIT, |w| {
        if programs::system("git").is_none() {
            w.say("SKIPPED: git is not installed");
            return;
        }
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

#[test]
fn work_cargo_build_of_the_smallest_crate() {
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

#[test]
fn work_tar_and_diff() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let sources = w.folder("sources");
        let script = format!(
            "cp -r '{}/dfs-core' '{}/proto' . && ln -s dfs-core link && ln proto/build.rs hard \
             && mkdir -p 'odd names/ü' && echo x > 'odd names/ü/a b' && chmod 600 hard",
            programs::workspace().display(),
            programs::workspace().display()
        );
        shell::script(STEP, &sources, &script);
        shell::script(
            STEP,
            &sources,
            &format!("tar cf - . | tar xpf - -C '{}'", a.path().display()),
        );
        tree::compare(&sources, b.path());
        let links = sys::look(&b.at("hard")).unwrap().numbers;
        assert_eq!(links[1..3], [0o100600, 2], "mode and links of a hard link");
        let list = "find . -printf '%p %y %m %s %l %T@\\n' | grep -v ' d ' | sort";
        let lists = [a.path(), b.path()].map(|path| shell::script(STEP, path, list));
        assert!(lists[0] == lists[1], "listings differ");
        shell::script(STEP, b.path(), "tar cf - . > ../archive && tar df ../archive");
        shell::script(STEP, a.path(), "rm -r ./*");
        assert!(sys::names(b.path()).unwrap().is_empty());
        w.say(format!(
            "{} entries through tar, diff -r, tar d and rm -r",
            lists[0].lines().count()
        ));
    });
}

#[test]
fn work_sqlite_in_rollback_mode() {
    world::run(LIMIT, |w| {
        if programs::system("sqlite3").is_none() {
            w.say("SKIPPED: sqlite3 is not installed");
            return;
        }
        let (_server, a, b) = w.two_mounts();
        let create = "sqlite3 db 'pragma journal_mode=delete; create table t(who, n);'";
        shell::script(STEP, a.path(), create);
        let rounds = 20;
        let insert = |mount: &dfs_tests::mount::Mount, who: &str| {
            let (path, who) = (mount.path().to_path_buf(), who.to_owned());
            wait::start("sqlite3", move || {
                for n in 0..rounds {
                    let sql = format!("insert into t values('{who}', {n});");
                    let command = format!("sqlite3 -cmd '.timeout 60000' db \"{sql}\"");
                    shell::script(STEP, &path, &command);
                }
            })
        };
        let (one, two) = (insert(&a, "a"), insert(&b, "b"));
        one.within(STEP);
        two.within(STEP);
        let check = "sqlite3 db 'pragma integrity_check; select who, count(*), sum(n) from t group by who;'";
        let sum: u32 = (0..rounds).sum();
        for mount in [&a, &b] {
            let printed = shell::script(STEP, mount.path(), check);
            assert_eq!(printed, format!("ok\na|{rounds}|{sum}\nb|{rounds}|{sum}\n"));
        }
        w.say(format!("2 x {rounds} transactions from two mounts, all there, integrity ok"));
    });
}

#[test]
fn work_overlay_on_top() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let merged = w.dir().join("merged");
        let script = format!(
            "mkdir -p lower/dir upper work '{merged}'
             echo lower | tee lower/changed lower/removed lower/dir/moved >/dev/null
             mount -t overlay dfs-test -o lowerdir=lower,upperdir=upper,workdir=work '{merged}'
             trap \"umount '{merged}'\" EXIT
             echo more >> '{merged}/changed'
             rm '{merged}/removed'
             mv '{merged}/dir/moved' '{merged}/moved'
             ls -R '{merged}'
             cat '{merged}/changed' '{merged}/moved'",
            merged = merged.display()
        );
        let shown = shell::script(STEP, a.path(), &script);
        assert!(shown.ends_with("lower\nmore\nlower\n"), "{shown}");
        assert!(!shown.contains("removed"), "{shown}");
        // The layers as another machine sees them: what was hidden is a character device 0:0.
        let layers = shell::script(STEP, b.path(), "stat -c '%n %F %t:%T' upper/*");
        assert!(layers.contains("upper/removed character special file 0:0"), "{layers}");
        let text = std::fs::read_to_string(b.at("upper/changed")).unwrap();
        assert_eq!(text, "lower\nmore\n");
        w.say("an overlay on one mount: changed, removed and moved; the other sees its layers");
    });
}

#[test]
fn work_editors_save() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), "version 0\n").unwrap();
        let rounds = 30;
        for round in 1..=rounds {
            let (from, to) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
            let text = format!("version {round}\n");
            match round % 3 {
                // Write a new file, flush, rename over (most editors).
                0 => {
                    std::fs::write(from.at("f.tmp"), &text).unwrap();
                    std::fs::File::open(from.at("f.tmp")).unwrap().sync_all().unwrap();
                    std::fs::rename(from.at("f.tmp"), from.at("f")).unwrap();
                }
                // Rename aside, write anew, remove the backup (vim, backupcopy=no).
                1 => {
                    std::fs::rename(from.at("f"), from.at("f~")).unwrap();
                    std::fs::write(from.at("f"), &text).unwrap();
                    std::fs::remove_file(from.at("f~")).unwrap();
                }
                // Copy aside, overwrite in place (vim, backupcopy=yes).
                _ => {
                    std::fs::copy(from.at("f"), from.at("f~")).unwrap();
                    std::fs::write(from.at("f"), &text).unwrap();
                    std::fs::remove_file(from.at("f~")).unwrap();
                }
            }
            assert_eq!(std::fs::read_to_string(to.at("f")).unwrap(), text);
            assert_eq!(sys::names(to.path()).unwrap(), ["f"]);
        }
        w.say(format!("{rounds} saves in three styles, read on the other mount"));
    });
}

#[test]
fn work_vim_saves() {
    world::run(LIMIT, |w| {
        if programs::system("vim").is_none() {
            w.say("SKIPPED: vim is not installed");
            return;
        }
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), "one\n").unwrap();
        for (style, mount, other) in [("no", &a, &b), ("yes", &b, &a), ("auto", &a, &b)] {
            let command = format!(
                "vim -u NONE -i NONE -es -c 'set backupcopy={style} fsync' -c 'normal o{style}' -c wq f"
            );
            shell::script(STEP, mount.path(), &command);
            assert!(
                std::fs::read_to_string(other.at("f")).unwrap().ends_with(&format!("{style}\n"))
            );
            assert_eq!(sys::names(other.path()).unwrap(), ["f"]);
        }
        w.say("3 saves with vim, backupcopy=no, yes and auto");
    });
}
