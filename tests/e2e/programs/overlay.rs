//! Other file systems and roots on top of the mount.

use super::{LIMIT, STEP};
use dfs_tests::{shell, world};

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
