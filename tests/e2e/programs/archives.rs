//! Programs that copy trees with everything about them.

use super::{LIMIT, STEP};
use dfs_tests::mount::Mount;
use dfs_tests::{programs, shell, sys, tree, world};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[test]
fn tar_and_diff() {
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

/// What a file system can hold: odd names, links, devices, owners, modes, holes and old times.
const EVERYTHING: &str = r#"
    mkdir -p plain 'odd names/ü' deep/1/2/3/4/5/6/7/8
    seq 1 20000 > plain/lines
    head -c 300000 /dev/urandom > plain/random
    : > plain/empty
    ln plain/lines hard
    ln plain/lines deep/1/2/hard
    ln -s plain/lines link
    ln -s nowhere dangling
    ln -P dangling 'hard link of a link'
    for name in -rf 'a b' "$(printf 'new\nline')" "$(printf 'not \377\376 utf-8')" \
        "$(printf '%0255d' 0)" 'ü/*?[x]\"'; do
        printf x > "odd names/$name"
    done
    mkfifo fifo
    mknod char c 1 3
    mknod block b 7 200
    truncate -s 10M sparse
    printf middle | dd of=sparse bs=1 seek=7000001 conv=notrunc status=none
    truncate -s 3M 'only a hole'
    cp /bin/true capable
    chown 1234:2345 plain/random
    chown -h 1234:2345 link
    chmod 4751 plain/empty
    chmod 1777 deep
    chmod 2755 deep/1"#;

/// Old times, as programs leave times alone that are of the same second.
const TIMES: &str = r#"
    find . -depth -exec touch -h -d '2001-02-03 04:05:06.987654321 UTC' {} +
    touch -h -d '2002-02-03 04:05:06.5 UTC' dangling link
    touch -d '1960-02-03 04:05:06.123456789 UTC' plain/empty"#;

/// A list for the owner, user 1234, group 2345, the mask and others (acl(5), as the kernel has it).
fn acl(named: u16) -> Vec<u8> {
    let entries: [(u16, u16, u32); 6] = [
        (0x01, 6, u32::MAX),
        (0x02, named, 1234),
        (0x04, 4, u32::MAX),
        (0x08, 5, 2345),
        (0x10, 6, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let entries = entries.into_iter().flat_map(|(tag, permissions, id)| {
        let [tag, permissions] = [tag, permissions].map(u16::to_le_bytes);
        [tag[0], tag[1], permissions[0], permissions[1]].into_iter().chain(id.to_le_bytes())
    });
    2_u32.to_le_bytes().into_iter().chain(entries).collect()
}

/// Makes a tree with everything.
fn everything(folder: &Path) {
    shell::script(STEP, folder, EVERYTHING);
    // CAP_NET_RAW, permitted and effective.
    let capability = [0x0200_0001_u32, 1 << 13, 0, 0, 0].map(u32::to_le_bytes).concat();
    for (name, attribute, value) in [
        ("plain/random", "system.posix_acl_access", acl(6)),
        ("deep/1", "system.posix_acl_default", acl(0)),
        ("plain/lines", "user.note", b"a note".to_vec()),
        ("deep", "user.binary", vec![0, 255, 0]),
        ("plain/random", "trusted.note", b"secret".to_vec()),
        ("capable", "security.capability", capability),
    ] {
        sys::set_xattr(&folder.join(name), attribute, &value).unwrap();
    }
    shell::script(STEP, folder, TIMES);
}

#[test]
fn rsync_copies_everything() {
    world::run(LIMIT, |w| {
        programs::need("rsync");
        let (_server, a, b) = w.two_mounts();
        let sources = w.folder("sources");
        everything(&sources);
        let rsync = |options: &str, mount: &Mount| {
            let to = mount.at("tree");
            let command =
                format!("rsync -aHAX --delete --itemize-changes {options} ./ '{}/'", to.display());
            shell::script(STEP, &sources, &command)
        };
        rsync("--checksum --sparse", &a);
        tree::same(&sources, &b.at("tree"));
        assert_eq!(rsync("--checksum -n", &b), "", "there was nothing to do");
        assert_eq!(rsync("-n", &b), "", "nothing looked as if there was something to do");
        // The dry run sees each change, and the next one nothing.
        let change =
            "echo more >> plain/lines; rm fifo; chmod 640 'only a hole'; mv char character";
        shell::script(STEP, &sources, change);
        sys::remove_xattr(&sources.join("deep"), "user.binary").unwrap();
        let seen = rsync("-n", &b);
        for change in ["*deleting   fifo", ".f...p..... only a hole", "plain/lines", "character"] {
            assert!(seen.contains(change), "no {change:?} in\n{seen}");
        }
        assert!(seen.lines().any(|l| l.ends_with("x deep/")), "no attribute in\n{seen}");
        rsync("--inplace --no-whole-file", &b);
        tree::same(&sources, &a.at("tree"));
        assert_eq!(rsync("--checksum -n", &a), "", "there was nothing to do");
        w.say(format!("{} facts through rsync, both mounts", tree::describe(&sources).len()));
    });
}

#[test]
fn tar_keeps_lists_attributes_and_holes() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let (sources, back) = (w.folder("sources"), w.folder("back"));
        everything(&sources);
        let options = "--xattrs --xattrs-include='*' --acls";
        let create = format!("tar {options} --sparse -cf ../archive .");
        let extract = |archive: &str| format!("tar {options} -xpf '{archive}'");
        shell::script(STEP, &sources, &create);
        shell::script(STEP, a.path(), &extract("../archive"));
        tree::same(&sources, b.path());
        shell::script(STEP, b.path(), &format!("tar {options} -df ../archive"));
        let stored = b.at("sparse").metadata().unwrap().blocks();
        assert!(stored < 1024, "{stored} blocks of a file of holes");
        shell::script(STEP, b.path(), &create.replace("archive", "archive2"));
        shell::script(STEP, &back, &extract("../archive2"));
        tree::same(&sources, &back);
        w.say("lists, attributes, capabilities and holes through tar, there and back");
    });
}

#[test]
fn cp_and_zip_there_and_back() {
    world::run(LIMIT, |w| {
        for name in ["zip", "unzip"] {
            programs::need(name);
        }
        let (_server, a, b) = w.two_mounts();
        let (sources, back) = (w.folder("sources"), w.folder("back"));
        everything(&sources);
        for how in ["always", "auto"] {
            // To the mount, on it from the other side, and back.
            let (here, there) = (a.at(how), b.at(format!("{how} again")));
            let copy = |from: &Path, to: &Path| {
                let (from, to) = (from.display(), to.display());
                shell::script(STEP, w.dir(), &format!("cp -a --sparse={how} '{from}' '{to}'"));
            };
            copy(&sources, &here);
            tree::same(&sources, &b.at(how));
            copy(&b.at(how), &there);
            tree::same(&sources, &a.at(format!("{how} again")));
            copy(&a.at(format!("{how} again")), &back.join(how));
            tree::same(&sources, &back.join(how));
            for tree in [b.at(how), a.at(format!("{how} again"))] {
                let stored = tree.join("sparse").metadata().unwrap().blocks();
                assert!(stored < 1024, "{stored} blocks of a file of holes, --sparse={how}");
            }
        }
        // zip knows names, contents, modes, links and whole seconds.
        let pack = "zip -qry ../packed.zip plain deep link 'odd names/a b' sparse";
        shell::script(STEP, &b.at("auto"), pack);
        shell::script(STEP, &a.at("auto"), "unzip -tq ../packed.zip");
        shell::script(STEP, a.path(), "mkdir unpacked && cd unpacked && unzip -q ../packed.zip");
        for name in ["plain", "deep", "odd names/a b", "sparse"] {
            tree::compare(&sources.join(name), &b.at("unpacked").join(name));
        }
        let [packed, unpacked] = [&sources, &b.at("unpacked")].map(|root| {
            let seen = sys::look(&root.join("plain/random")).unwrap();
            (seen.numbers[1], seen.times[0])
        });
        assert_eq!(packed, unpacked, "mode and seconds");
        w.say("cp -a with holes, zip and unzip, there and back");
    });
}
