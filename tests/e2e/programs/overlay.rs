//! Programs run from the mount, and other file systems and roots on top of it.

use super::{LIMIT, STEP};
use dfs_tests::{mount::Mount, programs, shell, sys, tree, wait, world};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn overlay_on_top() {
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

/// Copies bash, some tools and all their libraries to a tree that can be a root.
const ROOT: &str = "
    mkdir -p root/bin root/tmp
    cp $(command -v bash) $(command -v cat) $(command -v ls) root/bin/
    for library in $(ldd root/bin/* | grep -o '/[^ ]*\\.so[^ ]*' | sort -u); do
        mkdir -p \"root/${library%/*}\"
        cp -L \"$library\" \"root/$library\"
    done";

#[test]
fn chroot_and_programs_with_their_libraries() {
    world::run_apart(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        shell::script(STEP, a.path(), ROOT);
        let inside = "echo inside > /tmp/file; cd ..; pwd; ls /; cat /tmp/file";
        let run = |mount: &Mount, command: &str| {
            shell::script(STEP, mount.path(), &format!("chroot root /bin/bash -c '{command}'"))
        };
        let shown = run(&a, inside);
        assert!(shown.starts_with("/\nbin\n"), "{shown}");
        assert!(shown.ends_with("tmp\ninside\n"), "{shown}");
        assert_eq!(run(&b, "cat /tmp/file"), "inside\n");
        // The loader and the libraries of the mount, named by path and by search path.
        let load = "loader=$(find \"$PWD/root\" -name 'ld-linux*' | head -n 1)
             libraries=$(find \"$PWD/root\" -name 'libc.so*' | head -n 1)
             \"$loader\" --library-path \"${libraries%/*}\" root/bin/cat /proc/self/maps";
        let maps = shell::script(STEP, b.path(), load);
        let mapped = maps.lines().filter(|l| l.contains(" r-xp ") && l.contains("/root/")).count();
        assert!(mapped >= 3, "the program, the loader and the library: {maps}");
        let open = "python3 -c \"import ctypes, glob, os
library = ctypes.CDLL(glob.glob(os.getcwd() + '/root/**/libc.so*', recursive=True)[0])
print(library.abs(-41))\"";
        assert_eq!(shell::script(STEP, b.path(), open), "41\n");
        w.say("a root of its own on both mounts; loader, libraries and dlopen from the mount");
    });
}

#[test]
fn running_programs_keep_what_they_started_with() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let local = w.folder("local");
        for (folder, other) in [(a.path(), b.path()), (local.as_path(), local.as_path())] {
            shell::script(STEP, folder, "cp $(command -v cat) program; cp program same");
            let mut command = Command::new(folder.join("program"));
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let (mut input, mut output) =
                (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            let mut answers = |text: &[u8]| {
                input.write_all(text).unwrap();
                let mut bytes = vec![0; text.len()];
                output.read_exact(&mut bytes).unwrap();
                assert_eq!(bytes, text);
            };
            answers(b"before");
            // Nobody here writes to it, as long as it runs.
            let open = sys::open(&folder.join("program"), nix::libc::O_WRONLY).map(drop);
            assert_eq!(open.map_err(sys::errno), Err(nix::libc::ETXTBSY));
            // An update in the way of package managers, on the other machine.
            shell::script(STEP, other, "cp $(command -v ls) new && mv new program");
            answers(b"replaced");
            let exe = format!("cmp /proc/{}/exe same && ! cmp -s program same", child.id());
            shell::script(STEP, folder, &exe);
            shell::script(STEP, other, "rm program");
            answers(b"removed");
            shell::script(STEP, folder, &format!("cmp /proc/{}/exe same", child.id()));
            drop(input);
            let end = wait::start("end of a program", move || child.wait().unwrap());
            assert!(end.within(STEP).success());
            assert_eq!(sys::names(other).unwrap(), ["same"]);
        }
        w.say("a running program outlives its replacement and removal, as on the local disk");
    });
}

/// A value of `security.capability`: one capability below 32, permitted and effective.
fn capability(number: u32) -> Vec<u8> {
    [0x0200_0001_u32, 1 << number, 0, 0, 0].map(u32::to_le_bytes).concat()
}

#[test]
fn programs_run_with_their_set_user_id_and_capabilities() {
    world::run(LIMIT, |w| {
        const CAP_DAC_OVERRIDE: u32 = 1;
        let (_server, a, b) = w.two_mounts();
        let secret = w.dir().join("secret");
        std::fs::write(&secret, "secret\n").unwrap();
        let make = format!(
            "chmod 755 '{0}' && chmod 600 '{1}' && cp $(command -v cat) capable \
             && cp capable plain && cp capable set-id && chmod 4755 set-id",
            w.dir().display(),
            secret.display()
        );
        shell::script(STEP, a.path(), &make);
        sys::set_xattr(&a.at("capable"), "security.capability", &capability(CAP_DAC_OVERRIDE))
            .unwrap();
        for mount in [&b, &a] {
            for (program, may) in [("capable", true), ("plain", false), ("set-id", true)] {
                let command = format!(
                    "setpriv --reuid 65534 --regid 65534 --clear-groups ./{program} '{}'",
                    secret.display()
                );
                let output = shell::try_script(STEP, mount.path(), &command);
                assert_eq!(output.status.success(), may, "{program}: {}", shell::describe(&output));
            }
        }
        w.say("capabilities and set-user-id of programs on both mounts");
    });
}

#[test]
fn disk_image_on_the_mount() {
    world::run_apart(LIMIT, |w| {
        programs::need("mkfs.ext4");
        let (_server, a, b) = w.two_mounts();
        let inside = w.folder("inside");
        let sources = programs::workspace().join("dfs-core");
        let mount = |image: &Mount, options: &str| {
            let command = format!("mount -o loop{options} '{}'", image.at("image").display());
            shell::script(STEP, w.dir(), &format!("{command} inside"));
        };
        let unmount = || shell::script(STEP, w.dir(), "umount inside");
        shell::script(STEP, a.path(), "truncate -s 48M image && mkfs.ext4 -q image");
        mount(&a, "");
        shell::script(STEP, &inside, &format!("cp -r '{}' sources", sources.display()));
        unmount();
        // The machine changes.
        mount(&b, "");
        tree::compare(&sources, &inside.join("sources"));
        shell::script(STEP, &inside, "cp -r sources again && rm -r sources && sync -f again");
        unmount();
        shell::script(STEP, a.path(), "fsck.ext4 -fn image 2>&1");
        mount(&a, ",ro");
        tree::compare(&sources, &inside.join("again"));
        unmount();
        assert_eq!(std::fs::metadata(a.at("image")).unwrap().len(), 48 << 20);
        w.say("an ext4 image on the mount: written by both in turn, clean");
    });
}

#[test]
fn mount_points_below_and_beside() {
    world::run_apart(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        shell::script(STEP, a.path(), "mkdir -p tree/sub inner bound && echo text > tree/sub/f");
        let mount = "mount --bind tree bound && mount -t tmpfs none inner && echo own > inner/own";
        shell::script(STEP, a.path(), mount);
        // What is mounted here covers what lies below here, and nothing there.
        assert!(sys::names(&b.at("bound")).unwrap().is_empty());
        assert!(sys::names(&b.at("inner")).unwrap().is_empty());
        // Changes of names may detach it (docs/SEMANTICS.md, "Not promised"); this is one of content.
        shell::script(STEP, b.path(), "echo more >> tree/sub/f");
        assert_eq!(std::fs::read_to_string(a.at("bound/sub/f")).unwrap(), "text\nmore\n");
        assert_eq!(sys::names(&a.at("bound")).unwrap(), ["sub"]);
        assert_eq!(sys::names(&a.at("inner")).unwrap(), ["own"]);
        let across =
            "ln inner/own linked 2>&1 || ln tree/sub/f bound/linked 2>&1 || mv bound/sub moved";
        let said = shell::script(STEP, a.path(), across);
        assert_eq!(said.matches("Invalid cross-device link").count(), 2, "{said}");
        assert!(a.at("moved/f").is_file(), "mv copies what it cannot rename");
        // What another machine renames is no mount point any more.
        shell::script(STEP, b.path(), "echo below > inner/below; mv inner elsewhere");
        assert_eq!(sys::names(&a.at("elsewhere")).unwrap(), ["below"]);
        let inner = format!(" {} ", a.at("inner").display());
        wait::until_true(STEP, "an unmount", || {
            !std::fs::read_to_string("/proc/self/mounts").unwrap().contains(&inner)
        });
        w.say("a bind mount and a mount point on the mount, changed from elsewhere");
    });
}

#[test]
fn sockets_and_fifos_connect_programs_of_one_mount() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let listener = UnixListener::bind(a.at("socket")).unwrap();
        let server = wait::start("a server", move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut asked = [0; 4];
            peer.read_exact(&mut asked).unwrap();
            peer.write_all(b"pong").unwrap();
            asked
        });
        let refused = UnixStream::connect(b.at("socket")).map(drop).map_err(sys::errno);
        assert_eq!(refused, Err(nix::libc::ECONNREFUSED), "nobody listens on that machine");
        let mut client = UnixStream::connect(a.at("socket")).unwrap();
        client.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!((server.within(STEP), answer), (*b"ping", *b"pong"));
        // Each mount has a pipe of its own behind the one name.
        shell::script(STEP, a.path(), "mkfifo fifo");
        let through = "seq 1 50000 > fifo & cat fifo | tail -n 1; wait";
        let ends = [&a, &b].map(|mount| {
            let path = mount.path().to_path_buf();
            wait::start("a pipe", move || shell::script(STEP, &path, through))
        });
        for end in ends {
            assert_eq!(end.within(Duration::from_secs(30)), "50000\n");
        }
        let kinds = shell::script(STEP, b.path(), "stat -c '%n %F' fifo socket");
        assert_eq!(kinds, "fifo fifo\nsocket socket\n");
        w.say("a socket and a pipe connect programs of one mount, and not of two");
    });
}
