//! PostgreSQL on a mount, killed under load.
//!
//! It needs a package that is not small, so it is left out unless asked for: `scripts/conformance`
//! installs it and runs this.

use super::{LIMIT, STEP};
use dfs_tests::process::Process;
use dfs_tests::shell::{self, Running};
use dfs_tests::{sizes, wait, world};
use nix::sys::signal::Signal;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// How long it is under load before a kill.
const LOAD: Duration = Duration::from_secs(3);
/// It replays what it logged.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Connections that change rows at once.
const CLIENTS: usize = 4;

/// What must be equal whatever was killed: each transaction adds one number to one row of each table
/// and notes it in the history.
const SUMS: &str = "select (select sum(abalance) from pgbench_accounts) - sum(delta), \
    (select sum(bbalance) from pgbench_branches) - sum(delta), \
    (select sum(tbalance) from pgbench_tellers) - sum(delta) from pgbench_history";
/// Every index against its table, and every table by itself.
const CHECK: &str = "select count(bt_index_check(c.oid, true)) from pg_class c \
    join pg_am m on m.oid = c.relam where m.amname = 'btree' and c.relkind = 'i'; \
    select count(*) from pg_class c, lateral verify_heapam(c.oid) \
    where c.relkind = 'r' and c.relname like 'pgbench%'";

/// One installation with its data on a mount. It refuses to run as root.
struct Postgres {
    programs: PathBuf,
    data: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
    user: (u32, u32),
}

impl Postgres {
    /// Makes an empty cluster in `mount`.
    fn make(w: &world::World, mount: &Path) -> Postgres {
        let (data, sockets) = (mount.join("pg"), w.folder("sockets"));
        std::fs::set_permissions(w.dir(), PermissionsExt::from_mode(0o755)).unwrap();
        let id = |what| shell::script(STEP, w.dir(), what).trim().parse().unwrap();
        let user = (id("id -u postgres"), id("id -g postgres"));
        std::fs::create_dir(&data).unwrap();
        for folder in [&data, &sockets] {
            chown(folder, Some(user.0), Some(user.1)).unwrap();
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).unwrap();
        }
        let log = w.dir().join("postgres.log");
        w.left().log("postgres", &log);
        let postgres = Postgres { programs: installed(), data, sockets, log, user };
        let mut command = postgres.command("initdb");
        command.args(["-A", "trust", "-D"]).arg(&postgres.data);
        done(&shell::output_within(STEP, command));
        postgres
    }

    /// One of its programs, as its user.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--clear-groups", "--reuid", &self.user.0.to_string()]);
        command.args(["--regid", &self.user.1.to_string()]).arg(self.programs.join(name));
        command.env("PGHOST", &self.sockets).env("PGDATABASE", "postgres");
        command.current_dir("/");
        command
    }

    /// Starts it and waits until it answers, which it does when it has replayed its log.
    fn start(&self) -> Running {
        let mut command = self.command("postgres");
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.sockets);
        command.args(["-c", "listen_addresses=", "-c", "shared_buffers=32MB"]);
        let log = std::fs::File::options().create(true).append(true).open(&self.log).unwrap();
        command.stdin(Stdio::null()).stderr(log);
        let mut server = Running::start(command);
        wait::until_true(READY_WITHIN, "PostgreSQL to answer", || {
            assert!(server.is_running(), "PostgreSQL ended at once");
            self.ask("select 1").status.success()
        });
        server
    }

    fn ask(&self, sql: &str) -> Output {
        let mut command = self.command("psql");
        command.args(["-X", "-q", "-A", "-t", "-c", sql]);
        shell::output_within(STEP, command)
    }

    fn answer(&self, sql: &str) -> String {
        done(&self.ask(sql)).trim().to_owned()
    }

    /// Starts the load; it ends by itself after `time` if nothing else ends it. It says how many
    /// transactions it was told are committed.
    fn load(&self, time: Duration) -> wait::Task<(usize, Output)> {
        let mut command = self.command("pgbench");
        command.args(["-n", "-c", &CLIENTS.to_string(), "-T", &time.as_secs().to_string()]);
        wait::start("pgbench", move || {
            let output = shell::output_within(STEP, command);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text
                .lines()
                .find_map(|l| l.strip_prefix("number of transactions actually processed: "));
            let count = line.unwrap_or_else(|| panic!("{}", shell::describe(&output)));
            (count.split('/').next().unwrap().parse().unwrap(), output)
        })
    }

    /// The rows of the history, after a look at everything.
    fn check(&self) -> usize {
        assert_eq!(self.answer(SUMS), "0|0|0");
        let checked = self.answer(CHECK);
        let (indexes, faults) = checked.split_once('\n').expect("two answers");
        assert!(indexes.parse::<usize>().unwrap() > 50, "{indexes} indexes");
        assert_eq!(faults, "0", "faults of tables");
        self.answer("select count(*) from pgbench_history").parse().unwrap()
    }
}

/// The newest version that Debian has installed.
fn installed() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|v| v.path().join("bin")).filter(|p| p.join("initdb").is_file()).max();
    found.expect("PostgreSQL is not installed: apt install postgresql-15")
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", shell::describe(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `kill -9` of a server process and of all it started.
fn kill(mut server: Running) {
    let process = Process::running(server.pid()).expect("it runs until it is killed");
    // It starts no others while it stands.
    process.stop();
    let children = process.children();
    process.signal(Signal::SIGKILL);
    server.end_within(STEP);
    children.into_iter().for_each(Process::kill);
}

#[test]
#[ignore = "needs PostgreSQL; scripts/conformance runs it"]
fn postgres_that_is_killed_keeps_what_it_acknowledged() {
    world::run(LIMIT, |w| {
        let server = w.server();
        let a = w.mount(&server, "a");
        let postgres = Postgres::make(w, a.path());
        let mut running = postgres.start();
        postgres.answer("create extension amcheck");
        done(&shell::output_within(STEP, {
            let mut command = postgres.command("pgbench");
            command.args(["-q", "-i"]);
            command
        }));
        let kills = sizes::postgres_kills();
        let (mut acknowledged, mut unsure) = (0, 0);
        for round in 0..kills {
            let load = postgres.load(STEP);
            load.let_run(LOAD);
            kill(running);
            acknowledged += load.within(STEP).0;
            unsure += CLIENTS;
            running = postgres.start();
            let rows = postgres.check();
            let possible = acknowledged..=acknowledged + unsure;
            assert!(
                possible.contains(&rows),
                "round {round}: {rows} rows, {possible:?} acknowledged"
            );
        }
        // The server of the file system goes and comes back: nobody notices but by the time.
        for _ in 0..kills {
            let load = postgres.load(LOAD * 2);
            load.let_run(LOAD);
            server.kill_and_restart();
            let (count, output) = load.within(STEP);
            done(&output);
            acknowledged += count;
        }
        kill(running);
        let running = postgres.start();
        let rows = postgres.check();
        assert!((acknowledged..=acknowledged + unsure).contains(&rows), "{rows} rows");
        kill(running);
        w.say(format!(
            "{kills} kills of PostgreSQL and of the server below, {acknowledged} transactions, all there"
        ));
    });
}
