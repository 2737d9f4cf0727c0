//! Programs that copy trees with everything about them.

use super::{LIMIT, STEP};
use dfs_tests::{programs, shell, sys, tree, world};

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
