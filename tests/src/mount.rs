//! A `dfs-fuse` of a test: its mount point, its daemon, its cache and its log.

use crate::process::Process;
use crate::server::Server;
use crate::world::{Left, World};
use crate::{fusectl, logs, programs, shell, wait};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

/// A mount takes far less; the machine may be busy, or the server in grace.
const MOUNT_WITHIN: Duration = Duration::from_secs(60);
/// An unmount saves everything first.
const UNMOUNT_WITHIN: Duration = Duration::from_secs(60);

/// How to mount.
pub struct MountBuilder<'w> {
    world: &'w World,
    spec: Spec,
}

#[derive(Clone)]
struct Spec {
    name: String,
    source: String,
    path: PathBuf,
    cache: PathBuf,
    log: PathBuf,
    options: Vec<String>,
    /// How many files the daemon may open, as prlimit(1) takes it.
    descriptors: Option<String>,
}

impl<'w> MountBuilder<'w> {
    pub(crate) fn new(world: &'w World, server: &Server, name: &str) -> MountBuilder<'w> {
        let dir = world.dir().canonicalize().expect("the world's folder exists");
        let spec = Spec {
            name: name.to_owned(),
            source: server.source(),
            path: dir.join(format!("mnt-{name}")),
            cache: dir.join(format!("cache-{name}")),
            log: dir.join(format!("fuse-{name}.log")),
            options: Vec::new(),
            descriptors: None,
        };
        MountBuilder { world, spec }
    }

    /// A further mount option.
    pub fn option(mut self, option: impl Into<String>) -> Self {
        self.spec.options.push(option.into());
        self
    }

    /// How many files the daemon may open at a time, as prlimit(1) takes it: `SOFT:` or `SOFT:HARD`.
    pub fn descriptors(mut self, limit: &str) -> Self {
        self.spec.descriptors = Some(limit.to_owned());
        self
    }

    /// Another source than the server's address.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.spec.source = source.into();
        self
    }

    /// Another cache folder.
    pub fn cache(mut self, cache: &Path) -> Self {
        self.spec.cache = cache.to_path_buf();
        self
    }

    /// Mounts; panics if that fails.
    pub fn start(self) -> Mount {
        let mut mount = self.prepare();
        mount.again();
        mount
    }

    /// Tries to mount and gives what the command printed, whatever became of it.
    pub fn attempt(self) -> (Mount, Output) {
        let mut mount = self.prepare();
        let output = mount.run_command();
        (mount, output)
    }

    fn prepare(self) -> Mount {
        std::fs::create_dir_all(&self.spec.path).expect("cannot make a mount point");
        let left = self.world.left().clone();
        left.mount(&self.spec.path);
        left.log(&format!("mount {}", self.spec.name), &self.spec.log);
        Mount { spec: self.spec, left, daemon: None }
    }
}

/// A mount point with, most of the time, a daemon that serves it.
pub struct Mount {
    spec: Spec,
    left: Arc<Left>,
    daemon: Option<Process>,
}

impl Mount {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.spec.path
    }

    /// A path on it.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.spec.path.join(path)
    }

    /// Its cache folder.
    pub fn cache(&self) -> &Path {
        &self.spec.cache
    }

    /// Its log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.spec.log).unwrap_or_default()).into_owned()
    }

    /// Its daemon.
    pub fn daemon(&self) -> Process {
        self.daemon.expect("nothing is mounted")
    }

    /// Mounts, after an unmount or over a dead mount.
    pub fn again(&mut self) {
        let output = self.run_command();
        assert!(output.status.success(), "mount {}: {}", self.spec.name, shell::describe(&output));
        let line = fusectl::mounted(&self.spec.path).expect("mounted when the command returns");
        assert_eq!(line.kind, "fuse.dfs");
        assert!(self.daemon.is_some(), "the daemon of {} not found", self.spec.path.display());
    }

    fn run_command(&mut self) -> Output {
        let program = programs::ours("dfs-fuse");
        let mut command = match &self.spec.descriptors {
            None => Command::new(program),
            Some(limit) => {
                let mut limited = Command::new("prlimit");
                limited.arg(format!("--nofile={limit}")).arg(program);
                limited
            }
        };
        command.arg(&self.spec.source).arg(&self.spec.path).args(["-o", &self.options()]);
        let output = shell::output_within(MOUNT_WITHIN, command);
        self.daemon = Process::find("dfs-fuse", &self.spec.path);
        self.daemon.into_iter().for_each(|daemon| self.left.process(daemon));
        output
    }

    fn options(&self) -> String {
        let Spec { cache, log, options, .. } = &self.spec;
        let has = |key: &str| options.iter().any(|option| option.starts_with(key));
        let mut all = vec![format!("cache={}", cache.display())];
        if !has("log_file=") {
            all.push(format!("log_file={}", log.display()));
        }
        if !has("cache_size=") {
            all.push("cache_size=1g".to_owned());
        }
        all.extend(logs::filter().map(|filter| format!("log={filter}")));
        // For all mounts of a run, such as `passthrough=off`; what a test asks for comes behind it.
        all.extend(std::env::var("DFS_E2E_OPTIONS"));
        all.extend(options.iter().cloned());
        all.join(",")
    }

    /// Options for the mounts to come.
    pub fn set_options(&mut self, options: &[&str]) {
        self.spec.options = options.iter().map(|option| (*option).to_owned()).collect();
    }

    /// Unmounts as a user does, and waits until the daemon has saved everything and ended.
    pub fn unmount(&mut self) {
        let (path, name) = (self.spec.path.clone(), self.spec.name.clone());
        wait::within(UNMOUNT_WITHIN, "umount", move || {
            // A reader that is about to close its last file keeps it busy for a moment.
            wait::until_true(Duration::from_secs(10), "an idle mount to unmount", || {
                umount2(&path, MntFlags::empty()).is_ok()
            })
        });
        let daemon = self.daemon.take().expect("nothing is mounted");
        wait::until_true(UNMOUNT_WITHIN, &format!("end of the daemon of {name}"), || {
            !daemon.is_alive()
        });
    }

    /// `kill -9` of the daemon: leaves a dead mount behind.
    pub fn kill(&mut self) {
        self.daemon.take().expect("nothing is mounted").kill();
    }

    /// Kills the daemon and takes the dead mount away.
    pub fn kill_and_detach(&mut self) {
        self.kill();
        fusectl::detach(&self.spec.path);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        fusectl::detach(&self.spec.path);
        let Some(daemon) = self.daemon else { return };
        if !std::thread::panicking() {
            daemon.signal(Signal::SIGCONT);
            let end = std::time::Instant::now() + Duration::from_secs(3);
            while daemon.is_alive() && std::time::Instant::now() < end {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        daemon.signal(Signal::SIGKILL);
    }
}
