//! One test's surroundings: its folder, its seed, the processes and mounts it started, and the
//! watchdog that breaks them when the test hangs.

use crate::isolated::Mounts;
use crate::logs::{say, show_tail};
use crate::mount::{Mount, MountBuilder};
use crate::process::Process;
use crate::server::{Server, ServerBuilder};
use crate::slot::Slot;
use crate::{fusectl, isolated, sizes};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a body may take to come back after its mounts were broken.
const LAST_CHANCE: Duration = Duration::from_secs(15);

/// What a test body works in. Dropping it ends whatever is left of the test.
pub struct World {
    name: String,
    seed: u64,
    started: Instant,
    left: Arc<Left>,
    dir: TempDir,
}

/// What would be left behind: shared with the watchdog and with servers and mounts.
#[derive(Default)]
pub struct Left {
    processes: Mutex<Vec<Process>>,
    mounts: Mutex<Vec<PathBuf>>,
    logs: Mutex<Vec<(String, PathBuf)>>,
}

impl Left {
    /// A process to end with the test.
    pub fn process(&self, process: Process) {
        self.processes.lock().unwrap().push(process);
    }

    /// A mount point to clear with the test.
    pub fn mount(&self, path: &Path) {
        self.mounts.lock().unwrap().push(path.to_path_buf());
    }

    /// A log to show if the test fails.
    pub fn log(&self, title: &str, path: &Path) {
        let mut logs = self.logs.lock().unwrap();
        if !logs.iter().any(|(_, known)| known == path) {
            logs.push((title.to_owned(), path.to_path_buf()));
        }
    }

    /// Ends everything at once: nobody waits for it any more.
    fn break_all(&self) {
        let mounts = self.mounts.lock().unwrap().clone();
        mounts.iter().for_each(|path| fusectl::abort(path));
        for process in self.processes.lock().unwrap().iter() {
            process.signal(Signal::SIGKILL);
        }
        mounts.iter().for_each(|path| fusectl::detach(path));
    }

    fn show_logs(&self) {
        for (title, path) in self.logs.lock().unwrap().iter() {
            show_tail(title, path);
        }
    }
}

/// Runs a test body in a world of its own, beside a few others, for at most `limit`.
pub fn run(limit: Duration, body: impl FnOnce(&World) + Send + 'static) {
    run_in(Slot::take, Mounts::Shared, limit, body);
}

/// As [`run`], alone on this machine: for tests that measure times.
pub fn run_alone(limit: Duration, body: impl FnOnce(&World) + Send + 'static) {
    run_in(Slot::take_all, Mounts::Shared, limit, body);
}

/// As [`run`], with a mount table of its own: for tests that write to folders of the system, which
/// they hide below a [`Cover`](crate::cover::Cover).
pub fn run_apart(limit: Duration, body: impl FnOnce(&World) + Send + 'static) {
    run_in(Slot::take, Mounts::Private, limit, |world| {
        fusectl::leave_others();
        body(world);
    });
}

fn run_in(
    slot: fn() -> Slot,
    mounts: Mounts,
    limit: Duration,
    body: impl FnOnce(&World) + Send + 'static,
) {
    let limit = sizes::limit(limit);
    if let Some(name) = isolated::name() {
        return run_here(&name, limit, body);
    }
    let name = isolated::name_of_caller();
    let _slot = slot();
    isolated::run(&name, mounts, limit + LAST_CHANCE * 2);
}

fn run_here(name: &str, limit: Duration, body: impl FnOnce(&World) + Send + 'static) {
    let world = World::new(name);
    let (left, seed) = (world.left.clone(), world.seed);
    let (send, ended) = mpsc::sync_channel(1);
    let work = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&world)));
        if result.is_err() {
            world.left.show_logs();
        }
        drop(world);
        // The watchdog may have gone: then the test has failed already.
        let _ = send.send(result);
    });
    work.expect("cannot start a thread");
    let result = ended.recv_timeout(limit).unwrap_or_else(|_| {
        say(&format!("e2e {name}: hangs after {limit:?}; breaking its mounts"));
        left.show_logs();
        left.break_all();
        // Its own panic says where it hung; without one, all there is to say is this.
        let late = ended.recv_timeout(LAST_CHANCE);
        Err(late.ok().and_then(|r| r.err()).unwrap_or_else(|| Box::new("hung test")))
    });
    if let Err(panic) = result {
        say(&format!("replay: DFS_SEED={seed} cargo test -p dfs-tests --test e2e -- {name}"));
        std::panic::resume_unwind(panic);
    }
}

impl World {
    fn new(name: &str) -> World {
        let seed = crate::seed::of_this_run();
        let dir = tempfile::Builder::new().prefix("dfs-e2e-").tempdir().expect("no folder");
        let left = Arc::new(Left::default());
        World { name: name.to_owned(), seed, started: Instant::now(), left, dir }
    }

    /// The test's own folder on a local disk.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes a folder in it.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.dir().join(name);
        std::fs::create_dir_all(&path).expect("cannot make a folder");
        path
    }

    /// A small disk of its own below that folder: a tmpfs cleared with the test.
    pub fn small_disk(&self, name: &str, mib: u64) -> PathBuf {
        let path = self.folder(name).canonicalize().expect("it was just made");
        self.left.mount(&path);
        let (kind, size) = (Some("tmpfs"), format!("size={mib}m"));
        mount(kind, &path, kind, MsFlags::empty(), Some(&size[..])).expect("cannot mount a tmpfs");
        assert!(fusectl::mounted(&path).is_some());
        path
    }

    /// The seed of this run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Random numbers that repeat with the seed; each `stream` has its own.
    pub fn random(&self, stream: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// What must not outlive the test.
    pub fn left(&self) -> &Arc<Left> {
        &self.left
    }

    /// Sets up a server with its data in this world.
    pub fn server_builder(&self) -> ServerBuilder<'_> {
        ServerBuilder::new(self)
    }

    /// A server with defaults.
    pub fn server(&self) -> Server {
        self.server_builder().start()
    }

    /// Sets up a mount of `server` named `name`.
    pub fn mount_builder(&self, server: &Server, name: &str) -> MountBuilder<'_> {
        MountBuilder::new(self, server, name)
    }

    /// A mount with defaults.
    pub fn mount(&self, server: &Server, name: &str) -> Mount {
        self.mount_builder(server, name).start()
    }

    /// A server and two mounts of it.
    pub fn two_mounts(&self) -> (Server, Mount, Mount) {
        let server = self.server();
        let (a, b) = (self.mount(&server, "a"), self.mount(&server, "b"));
        (server, a, b)
    }

    /// Says in one line what was done.
    pub fn say(&self, what: impl std::fmt::Display) {
        let seconds = self.started.elapsed().as_secs_f64();
        say(&format!("e2e {}: {what}; {seconds:.1} s, seed {}", self.name, self.seed));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.left.break_all();
        if std::env::var_os("DFS_E2E_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            say(&format!("kept: {}", self.dir.path().display()));
        }
        // Files below are in use until the killed ones are really gone.
        let processes = std::mem::take(&mut *self.left.processes.lock().unwrap());
        for process in processes {
            let end = Instant::now() + Duration::from_secs(10);
            while process.is_alive() && Instant::now() < end {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
}
