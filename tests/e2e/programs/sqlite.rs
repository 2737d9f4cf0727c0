//! SQLite, from one mount and from two.

use super::{LIMIT, STEP};
use dfs_tests::mount::Mount;
use dfs_tests::shell::Running;
use dfs_tests::{programs, shell, sizes, wait, world};
use nix::sys::signal::Signal;
use rand::RngExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a writer writes before it is killed.
const LIFE: Duration = Duration::from_millis(400);
/// A writer alone gets its next row in, whatever the killed ones left.
const ROW_WITHIN: Duration = Duration::from_secs(120);

/// Inserts rows until it is killed, and notes each in a file once it is committed. It keeps its one
/// connection while the database is in use on another machine.
const WRITER: &str = "
import sqlite3, sys, time
path, mode, who, noted = sys.argv[1:]
db = sqlite3.connect(path, timeout=100, isolation_level=None)
found = None
while not found:
    try:
        found = db.execute('pragma journal_mode=' + mode).fetchone()[0]
    except sqlite3.OperationalError as error:
        if str(error) not in ('locking protocol', 'database is locked'):
            raise
assert found == mode, found
db.execute('pragma synchronous=full')
with open(noted, 'a') as out:
    for n in range(1 << 40):
        db.execute('begin immediate')
        db.execute('insert into t values(?, ?, ?)', (who, n, 'x' * (n * 37 % 3000)))
        db.execute('commit')
        print(who, n, file=out, flush=True)
        # Who waits for its turn asks again every 100 ms: without a pause it finds the next turn begun.
        time.sleep(0.01)
";

/// Compares the rows of a database with those that were noted.
const CHECK: &str = "
import sqlite3, sys
path, noted = sys.argv[1:]
db = sqlite3.connect(path, timeout=100)
integrity = db.execute('pragma integrity_check').fetchall()
assert integrity == [('ok',)], integrity
rows = ['%s %s' % row for row in db.execute('select who, n from t')]
there = set(rows)
assert len(there) == len(rows), 'a row is there twice'
noted = set(open(noted).read().splitlines())
assert noted and noted <= there, 'lost: %s' % sorted(noted - there)
print(len(noted))
";

/// A database on a mount, and the file on a local disk where writers note their rows.
struct Database {
    name: String,
    noted: PathBuf,
}

impl Database {
    fn make(w: &world::World, mount: &Mount, name: &str, mode: &str) -> Database {
        programs::need("python3");
        programs::need("sqlite3");
        let sql = format!("pragma journal_mode={mode}; create table t(who, n, text);");
        shell::script(STEP, mount.path(), &format!("sqlite3 {name} '{sql}'"));
        let noted = w.dir().join(format!("{name}.noted"));
        std::fs::write(&noted, "").unwrap();
        Database { name: name.to_owned(), noted }
    }

    fn writer(&self, mount: &Mount, mode: &str, who: &str) -> Writer {
        let mut command = Command::new("python3");
        command.args(["-c", WRITER]).arg(mount.at(&self.name)).args([mode, who]);
        command.arg(&self.noted);
        Writer { process: Running::start(command), who: who.to_owned(), noted: self.noted.clone() }
    }

    /// How many rows were noted, all of them there as this mount sees it.
    fn check(&self, mount: &Mount) -> usize {
        let mut command = Command::new("python3");
        command.args(["-c", CHECK]).arg(mount.at(&self.name)).arg(&self.noted);
        let output = shell::output_within(STEP, command);
        assert!(output.status.success(), "{}: {}", self.name, shell::describe(&output));
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
    }
}

/// A program that writes.
struct Writer {
    process: Running,
    who: String,
    noted: PathBuf,
}

impl Writer {
    fn has_noted(&self) -> bool {
        let start = format!("{} ", self.who);
        read(&self.noted).lines().any(|line| line.starts_with(&start))
    }

    /// Lets it write for its time, and at least one row.
    fn write(&mut self) {
        let began = Instant::now();
        wait::until_true(ROW_WITHIN, "a row", || {
            assert!(self.process.is_running(), "writer {} ended by itself", self.who);
            began.elapsed() > LIFE && self.has_noted()
        });
    }

    fn kill(mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.end_within(ROW_WITHIN);
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Two writers at a time, of which a random one is killed and replaced again and again.
fn kill_writers(w: &world::World, database: &Database, mounts: [&Mount; 2], mode: &str) {
    let mut random = w.random(1);
    let start = |at: usize, n: usize| database.writer(mounts[at], mode, &format!("{mode}{n}"));
    let mut writers = [Some(start(0, 0)), Some(start(1, 1))];
    for n in 0..sizes::writer_kills() {
        let at = random.random_range(0..2);
        let mut writer = writers[at].take().unwrap();
        writer.write();
        writer.kill();
        writers[at] = Some(start(at, n + 2));
    }
    writers.into_iter().flatten().for_each(Writer::kill);
}

#[test]
fn sqlite_with_killed_writers_loses_no_row() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        let mut rows = Vec::new();
        for mode in ["delete", "truncate", "persist", "wal"] {
            let database = Database::make(w, &a, mode, mode);
            kill_writers(w, &database, [&a, &a], mode);
            rows.push((mode, database.check(&a)));
        }
        let b = w.mount(&server, "b");
        for (mode, noted) in &rows {
            let noted_file = w.dir().join(format!("{mode}.noted"));
            let database = Database { name: (*mode).to_owned(), noted: noted_file };
            assert_eq!(database.check(&b), *noted);
        }
        let kills = sizes::writer_kills();
        w.say(format!(
            "{kills} kills of a writer in each mode, acknowledged rows {rows:?}: all there"
        ));
    });
}

#[test]
fn sqlite_in_rollback_mode() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let database = Database::make(w, &a, "db", "delete");
        let rounds = sizes::transactions();
        let insert = |mount: &Mount, who: &str| {
            let (path, who) = (mount.path().to_path_buf(), who.to_owned());
            wait::start("sqlite3", move || {
                for n in 0..rounds {
                    let sql = format!("insert into t values('{who}', {n}, '');");
                    let command = format!("sqlite3 -cmd '.timeout 60000' db \"{sql}\"");
                    shell::script(STEP, &path, &command);
                }
            })
        };
        let (one, two) = (insert(&a, "a"), insert(&b, "b"));
        one.within(STEP);
        two.within(STEP);
        let check = "sqlite3 db 'pragma integrity_check; select who, count(*), sum(n) from t group by who;'";
        let sum: usize = (0..rounds).sum();
        for mount in [&a, &b] {
            let printed = shell::script(STEP, mount.path(), check);
            assert_eq!(printed, format!("ok\na|{rounds}|{sum}\nb|{rounds}|{sum}\n"));
        }
        kill_writers(w, &database, [&a, &b], "delete");
        let noted = database.check(&a);
        assert_eq!(database.check(&b), noted);
        let kills = sizes::writer_kills();
        w.say(format!(
            "2 x {rounds} transactions from two mounts, {noted} rows under {kills} kills: all there"
        ));
    });
}

#[test]
fn sqlite_with_a_log_is_of_one_mount_at_a_time() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let database = Database::make(w, &a, "db", "wal");
        let mut writer = database.writer(&a, "wal", "holder");
        writer.write();
        // Whoever comes from another machine is told so, to read and to write; here others join.
        let sql = ["select count(*) from t", "insert into t values('refused', 0, '')"];
        let tries = sql.map(|sql| {
            let (path, text) = (b.path().to_path_buf(), format!("sqlite3 db \"{sql}\""));
            wait::start("sqlite3", move || shell::try_script(STEP, &path, &text))
        });
        for refused in tries.map(|task| task.within(STEP)) {
            let why = shell::describe(&refused);
            let clear = why.contains("locking protocol") || why.contains("database is locked");
            assert!(!refused.status.success() && clear, "{why}");
        }
        let mut beside = database.writer(&a, "wal", "beside");
        beside.write();
        // A killed one leaves its log to the next machine, where somebody waits for it.
        let mut holders = vec![writer, beside];
        let handovers = sizes::log_handovers();
        for n in 0..handovers {
            holders.iter_mut().for_each(Writer::write);
            let next = database.writer([&b, &a][n % 2], "wal", &format!("next{n}"));
            // It waits meanwhile.
            holders.iter_mut().for_each(Writer::write);
            holders.into_iter().for_each(Writer::kill);
            holders = vec![next];
        }
        holders.iter_mut().for_each(Writer::write);
        holders.into_iter().for_each(Writer::kill);
        let noted = database.check(&a);
        assert_eq!(database.check(&b), noted);
        assert!(
            !shell::script(STEP, a.path(), "sqlite3 db 'select who from t'").contains("refused")
        );
        w.say(format!("2 refusals, {handovers} times to the other mount, {noted} rows: all there"));
    });
}
