//! Editors, and how they save.

use super::{LIMIT, STEP};
use dfs_tests::terminal::Terminal;
use dfs_tests::{programs, shell, sys, wait, world};
use std::io::Write;

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

#[test]
fn vim_in_a_terminal() {
    world::run(LIMIT, |w| {
        programs::need("vim");
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), "first\n").unwrap();
        let vim = "vim -u NONE -i NONE --cmd 'set backup backupcopy=no backupskip=' f";
        let mut one = Terminal::start(w, "vim-a", a.path(), vim);
        one.shows("first");
        assert_eq!(sys::names(b.path()).unwrap(), [".f.swp", "f"]);
        one.types("osecond\x1b:w\r");
        one.shows("written");
        // What the editor calls saved the other mount has: the text, and the old one aside.
        assert_eq!(std::fs::read_to_string(b.at("f")).unwrap(), "first\nsecond\n");
        assert_eq!(std::fs::read_to_string(b.at("f~")).unwrap(), "first\n");
        // Who edits the same file there is told who does so already.
        one.types("othird\x1b:preserve\r");
        one.shows("preserved");
        let mut two = Terminal::start(w, "vim-b", b.path(), vim);
        two.shows("Found a swap file by the name \".f.swp\"");
        two.shows("process ID");
        two.shows("(Q)uit");
        two.types("q");
        two.is_over();
        // The first is killed: the second gets what was not saved out of the swap file.
        one.types(":!kill -9 $PPID\r");
        one.is_over();
        let mut two = Terminal::start(w, "vim-c", b.path(), "vim -u NONE -i NONE -r f");
        two.shows("Recovery completed");
        two.types("\r:w!\r");
        two.shows("written");
        two.types(":q\r");
        two.ends();
        assert_eq!(std::fs::read_to_string(a.at("f")).unwrap(), "first\nsecond\nthird\n");
        std::fs::remove_file(b.at(".f.swp")).unwrap();
        assert_eq!(sys::names(a.path()).unwrap(), ["f", "f~"]);
        w.say("vim in a terminal: save with backup, swap file, recovery on the other mount");
    });
}

#[test]
fn nano_in_a_terminal() {
    world::run(LIMIT, |w| {
        programs::need("nano");
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), "first\n").unwrap();
        let nano = "nano --ignorercfiles --backup --locking f";
        let mut one = Terminal::start(w, "nano-a", a.path(), nano);
        one.shows("first");
        assert_eq!(sys::names(b.path()).unwrap(), [".f.swp", "f"]);
        let mut two = Terminal::start(w, "nano-b", b.path(), nano);
        two.shows("is being edited by");
        two.types("n");
        two.shows("New Buffer");
        two.types("\x18");
        two.ends();
        one.types("top\r\x0f");
        one.shows("Write");
        one.types("\r");
        one.shows("Wrote 2 lines");
        assert_eq!(std::fs::read_to_string(b.at("f")).unwrap(), "top\nfirst\n");
        assert_eq!(std::fs::read_to_string(b.at("f~")).unwrap(), "first\n");
        one.types("\x18");
        one.ends();
        assert_eq!(sys::names(b.path()).unwrap(), ["f", "f~"]);
        w.say("nano in a terminal: save with backup, lock file seen on the other mount");
    });
}

#[test]
#[ignore = "needs emacs, which is large: scripts/conformance --full"]
fn emacs_in_a_terminal() {
    world::run(LIMIT, |w| {
        programs::need("emacs");
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), "first\n").unwrap();
        // By itself it makes no backups below /tmp and TMPDIR, where the mounts are.
        let emacs = "emacs -nw -Q --eval '(setq backup-enable-predicate (quote identity))' f";
        let mut one = Terminal::start(w, "emacs-a", a.path(), emacs);
        one.shows("first");
        one.types("top");
        one.shows("top");
        let owner = wait::until(STEP, "the lock of emacs", || std::fs::read_link(b.at(".#f")).ok());
        assert!(owner.to_string_lossy().contains('@'), "{owner:?}");
        // Who changes it there is asked first.
        let mut two = Terminal::start(w, "emacs-b", b.path(), emacs);
        two.shows("first");
        two.types("x");
        two.shows("locked by");
        two.shows("?)?");
        two.types("q");
        two.shows("(pid");
        two.types("\x18\x03");
        two.ends();
        one.types("\x18\x13");
        one.shows("Wrote");
        assert_eq!(std::fs::read_to_string(b.at("f")).unwrap(), "topfirst\n");
        assert_eq!(std::fs::read_to_string(b.at("f~")).unwrap(), "first\n");
        assert_eq!(sys::names(b.path()).unwrap(), ["f", "f~"]);
        // The second save makes no backup; one that came from elsewhere is noticed.
        std::fs::write(b.at("f"), "from elsewhere\n").unwrap();
        one.types("y");
        one.shows("changed on disk");
        w.say("emacs in a terminal: lock, backup, save, change from elsewhere");
    });
}

#[test]
fn less_follows_the_other_mount() {
    world::run(LIMIT, |w| {
        programs::need("less");
        let (_server, a, b) = w.two_mounts();
        std::fs::write(a.at("log"), "first\n").unwrap();
        let mut less = Terminal::start(w, "less", b.path(), "less +F log");
        less.shows("first");
        less.shows("Waiting for data");
        for number in 0..10 {
            let mut log = std::fs::File::options().append(true).open(a.at("log")).unwrap();
            writeln!(log, "line {number}").unwrap();
            drop(log);
            less.shows(&format!("line {number}"));
        }
        less.types("\x03");
        less.shows("(END)");
        less.types("q");
        less.ends();
        w.say("less +F shows 10 lines that the other mount appended");
    });
}
