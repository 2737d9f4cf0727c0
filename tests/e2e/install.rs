//! What scripts/install puts in place: mount(8) and umount(8) with their helpers, fstab, users.
//!
//! The tests run apart and write to covered folders: the machine's own /sbin, /etc and /usr/local
//! stay as they are.

use dfs_tests::cover::Cover;
use dfs_tests::process::Process;
use dfs_tests::server::Server;
use dfs_tests::world::World;
use dfs_tests::{fusectl, programs, shell, sys, world};
use nix::libc;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(180);
const STEP: Duration = Duration::from_secs(60);

/// The folders that an installation writes to, covered.
struct System {
    covers: [Cover; 2],
    script: PathBuf,
    /// Where all users may look.
    open: PathBuf,
    _others: [Cover; 2],
}

impl System {
    fn covered(w: &World) -> System {
        let system = System {
            covers: ["/usr/local", "/sbin"].map(|folder| Cover::over(w, folder)),
            script: programs::workspace().join("scripts/install"),
            open: PathBuf::from("/mnt"),
            _others: ["/etc", "/mnt"].map(|folder| Cover::over(w, folder)),
        };
        // What the machine itself has installed is hidden, so that it cannot do the work.
        let remove = "rm -f /usr/local/bin/dfs-* /sbin/mount.fuse.dfs /sbin/umount.fuse.dfs";
        shell::script(STEP, w.dir(), remove);
        // fusermount3 wants it; every Debian but the barest has it.
        shell::script(STEP, w.dir(), "test -e /etc/mtab || ln -s /proc/self/mounts /etc/mtab");
        assert!(system.covers.iter().all(|cover| cover.changes().lines().count() <= 2));
        system
    }

    fn installed(w: &World) -> System {
        let system = System::covered(w);
        let output = system.run("");
        assert!(output.status.success(), "{}", shell::describe(&output));
        system
    }

    /// Runs scripts/install with the programs under test.
    fn run(&self, arguments: &str) -> Output {
        let fuse = programs::ours("dfs-fuse");
        let bin = fuse.parent().expect("a program lies in a folder").display();
        let line = format!("'{}' --bin '{bin}' {arguments}", self.script.display());
        shell::try_script(STEP, Path::new("/"), &line)
    }

    fn changes(&self) -> String {
        self.covers.iter().map(Cover::changes).collect()
    }
}

/// A mount point with the options of its cache.
struct Point {
    path: PathBuf,
    options: String,
}

fn point(w: &World, name: &str) -> Point {
    let path = w.folder(name).canonicalize().unwrap();
    w.left().mount(&path);
    let cache = w.dir().join(format!("cache-{name}"));
    Point { path, options: format!("cache={},cache_size=1g", cache.display()) }
}

/// Runs a command line; the daemon that it may have started ends with the test.
fn run(w: &World, line: &str, point: &Point) -> Output {
    let output = shell::try_script(STEP, Path::new("/"), line);
    // More than one: the last daemon may not have ended yet when everything is saved.
    Process::find_all("dfs-fuse", &point.path).into_iter().for_each(|p| w.left().process(p));
    output
}

fn succeed(w: &World, line: &str, point: &Point) {
    let output = run(w, line, point);
    assert!(output.status.success(), "{line}: {}", shell::describe(&output));
}

/// One line on stderr, the given status, and nothing mounted.
fn fail(w: &World, line: &str, point: &Point, status: i32, part: &str) {
    let output = run(w, line, point);
    let text = shell::describe(&output);
    assert_eq!(output.status.code(), Some(status), "{line}: {text}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{line}: {text}");
    assert!(said.contains(part), "{line}: {text}");
    assert!(fusectl::mounted(&point.path).is_none(), "{line}: mounted");
}

fn fstab(server: &Server, point: &Point) {
    let (source, path, options) = (server.source(), point.path.display(), &point.options);
    let words = "_netdev,nofail,x-systemd.automount";
    let line = format!("{source} {path} fuse.dfs {words},{options} 0 0\n");
    std::fs::write("/etc/fstab", line).unwrap();
}

#[test]
fn install_every_form_of_mount_works_and_umount_saves() {
    world::run_apart(LIMIT, |w| {
        let _system = System::installed(w);
        let server = w.server();
        let b = w.mount(&server, "b");
        let p = point(w, "p");
        let (source, path, options) = (server.source(), p.path.display(), &p.options);
        fstab(&server, &p);
        for (at, form) in [
            format!("mount -t fuse.dfs {source} {path} -o {options}"),
            format!("mount -t fuse 'dfs-fuse#{source}' {path} -o {options}"),
            format!("mount {path}"),
            "mount -a -t fuse.dfs".to_owned(),
        ]
        .iter()
        .enumerate()
        {
            succeed(w, form, &p);
            let line = fusectl::mounted(&p.path).expect("mounted when mount returns");
            assert_eq!(line.kind, "fuse.dfs", "{form}");
            let text = format!("form {at}");
            shell::script(STEP, &p.path, &format!("echo '{text}' >f; seq 200000 >big"));
            succeed(w, &format!("umount {path}"), &p);
            assert!(fusectl::mounted(&p.path).is_none(), "{form}");
            assert_eq!(std::fs::read_to_string(b.at("f")).unwrap().trim_end(), text);
            assert_eq!(std::fs::metadata(b.at("big")).unwrap().len(), 1_288_895);
        }
        w.say("mount -t fuse.dfs, mount -t fuse, fstab and mount -a");
    });
}

#[test]
fn install_remount_changes_a_mount_both_ways() {
    world::run_apart(LIMIT, |w| {
        let _system = System::installed(w);
        let server = w.server();
        let p = point(w, "p");
        let path = p.path.display();
        let file = p.path.join("f");
        let refused = |why: &str| {
            let errors = [
                std::fs::write(&file, b"y").unwrap_err(),
                std::fs::create_dir(p.path.join("d")).unwrap_err(),
                sys::set_xattr(&file, "user.a", b"1").unwrap_err(),
            ];
            assert!(errors.iter().all(|e| e.raw_os_error() == Some(libc::EROFS)), "{why}");
        };
        // By mount(8) alone, and by an entry of fstab whose options it repeats.
        for known in [false, true] {
            if known {
                fstab(&server, &p);
                succeed(w, &format!("mount {path}"), &p);
            } else {
                let source = server.source();
                succeed(w, &format!("mount -t fuse.dfs {source} {path} -o {}", p.options), &p);
            }
            std::fs::write(&file, b"x").unwrap();
            succeed(w, &format!("mount -o remount,ro {path}"), &p);
            refused("remount,ro");
            assert_eq!(std::fs::read(&file).unwrap(), b"x");
            succeed(w, &format!("mount -o remount,rw {path}"), &p);
            std::fs::write(&file, b"z").unwrap();
            let open = std::fs::File::create(p.path.join("open")).unwrap();
            let output = run(w, &format!("mount -o remount,ro {path}"), &p);
            assert_eq!(output.status.code(), Some(32), "{}", shell::describe(&output));
            drop(open);
            succeed(w, &format!("umount {path}"), &p);
        }
        w.say("read-only and back, twice");
    });
}

#[test]
fn install_failures_have_the_codes_of_mount_and_one_line() {
    world::run_apart(LIMIT, |w| {
        let _system = System::installed(w);
        let server = w.server();
        let p = point(w, "p");
        let (source, path) = (server.source(), p.path.display());
        let mount = |source: &str, options: &str| {
            format!("mount -t fuse.dfs {source} {path} -o {},{options}", p.options)
        };
        fail(w, &mount(&source, "sofft"), &p, 1, "unknown option 'sofft': did you mean 'soft'?");
        let typo = "unknown option 'lease_wiat=5': did you mean 'lease_wait'?";
        fail(w, &mount(&source, "lease_wiat=5"), &p, 1, typo);
        fail(w, &mount(&source, "soft=x"), &p, 1, "option 'soft=x'");
        fail(w, &mount("nowhere", "soft"), &p, 1, "lacks a port");
        fail(w, &mount(&format!("{source}/none"), "soft"), &p, 32, "none");
        let missing = format!("mount -t fuse.dfs {source} {path}/none");
        fail(w, &missing, &p, 32, "does not exist");
        let nothing = format!("umount.fuse.dfs {path}");
        fail(w, &nothing, &p, 32, "nothing is mounted there");
        server.kill();
        fail(w, &mount(&source, "soft"), &p, 32, &format!("cannot reach server {source}"));
        fail(
            w,
            &mount("no.such.host.invalid:1", "soft"),
            &p,
            32,
            "cannot reach server no.such.host",
        );
        w.say("9 failures");
    });
}

#[test]
fn install_users_mount_where_they_may() {
    world::run_apart(LIMIT, |w| {
        let system = System::installed(w);
        let server = w.server();
        let path = system.open.join("point");
        shell::script(STEP, &system.open, "mkdir point cache; chown 65534:65534 point cache");
        w.left().mount(&path);
        let p = Point { path, options: format!("cache={}/cache", system.open.display()) };
        let (source, path, options) = (server.source(), p.path.display(), &p.options);
        let user = "setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent";

        // The device as udev makes it for users, and as it is without udev.
        let device = |mode: &str| {
            let name = system.open.join(mode).display().to_string();
            let make = format!("mknod -m {mode} {name} c 10 229; mount --bind {name} /dev/fuse");
            shell::script(STEP, &system.open, &make);
        };
        device("600");
        let by_user = format!("{user} dfs-fuse {source} {path} -o {options}");
        fail(w, &by_user, &p, 32, "chmod 666 /dev/fuse");
        device("666");
        let no_home = format!("{user} dfs-fuse {source} {path}");
        fail(w, &no_home, &p, 2, "choose one with cache=DIR");
        fail(w, &format!("{by_user},allow_other"), &p, 32, "user_allow_other");
        succeed(w, &by_user, &p);
        std::fs::read_dir(&p.path).expect_err("root is another user");
        shell::script(STEP, &system.open, &format!("{user} ls -la {path}"));
        succeed(w, &format!("{user} umount {path}"), &p);
        assert!(fusectl::mounted(&p.path).is_none());
        fail(w, &format!("{user} umount.fuse.dfs {path}"), &p, 32, "nothing is mounted there");
        w.say("a user mounts and unmounts; three refusals say what is needed");
    });
}

#[test]
fn install_uninstall_leaves_nothing_and_refuses_what_it_must() {
    world::run_apart(LIMIT, |w| {
        let system = System::covered(w);
        let before = system.changes();
        let refused = |output: Output, part: &str| {
            let text = shell::describe(&output);
            assert_eq!(output.status.code(), Some(1), "{text}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.lines().count() == 1 && said.contains(part), "{text}");
        };
        // Not root: from a copy that a user can read.
        let copy = format!("cp -r '{}' .", programs::workspace().join("scripts").display());
        shell::script(STEP, &system.open, &copy);
        let user = "setpriv --reuid=65534 --regid=65534 --clear-groups scripts/install";
        refused(shell::try_script(STEP, &system.open, user), "run this as root");
        std::fs::write("/sbin/mount.fuse.dfs", "of somebody else").unwrap();
        refused(system.run(""), "exists and is not ours");
        std::fs::remove_file("/sbin/mount.fuse.dfs").unwrap();
        assert_eq!(system.changes(), before, "a refused installation leaves nothing");

        let said = String::from_utf8(system.run("").stdout).unwrap();
        let files = [
            "/usr/local/bin/dfs-server",
            "/usr/local/bin/dfs-fuse",
            "/sbin/mount.fuse.dfs",
            "/sbin/umount.fuse.dfs",
        ];
        for file in files {
            assert!(Path::new(file).is_file() && said.contains(file), "{file}: {said}");
        }
        let server = w.server();
        let p = point(w, "p");
        let (source, path) = (server.source(), p.path.display());
        succeed(w, &format!("mount -t fuse.dfs {source} {path} -o {}", p.options), &p);
        refused(system.run("--uninstall"), "still mounted");
        assert!(files.iter().all(|file| Path::new(file).is_file()), "refused and removed");
        let user = format!("{user} --uninstall");
        succeed(w, &format!("umount {path}"), &p);
        refused(shell::try_script(STEP, &system.open, &user), "run this as root");

        let said = String::from_utf8(system.run("--uninstall").stdout).unwrap();
        for file in files {
            assert!(said.contains(&format!("removed {file}\n")), "{file}: {said}");
        }
        assert_eq!(system.changes(), before, "left behind");
        let again = system.run("--uninstall");
        assert!(again.status.success() && shell::describe(&again).contains("nothing to remove"));
        w.say("4 files installed and removed, 5 refusals");
    });
}
