//! SQLite, from one mount and from two.

use super::{LIMIT, STEP};
use dfs_tests::{programs, shell, wait, world};

#[test]
fn sqlite_in_rollback_mode() {
    world::run(LIMIT, |w| {
        programs::need("sqlite3");
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
