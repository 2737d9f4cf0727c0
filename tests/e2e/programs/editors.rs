//! Editors, and how they save.

use super::{LIMIT, STEP};
use dfs_tests::{programs, shell, sys, world};

#[test]
fn editors_save() {
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
fn vim_saves() {
    world::run(LIMIT, |w| {
        programs::need("vim");
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
