//! A server process and mounts of it in one folder, laid out as `scripts/lib.sh` has it, so that the
//! script can clean up after a run that was broken off.

use super::Failure;
use dfs_tests::process::Process;
use dfs_tests::server::free_address;
use dfs_tests::sys;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Both take seconds; the machine may be busy.
const STOP_WITHIN: Duration = Duration::from_secs(60);
const SAVE_WITHIN: Duration = Duration::from_secs(120);
/// How often the state of another process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// See the module. Dropping it ends everything and removes the folder.
pub struct Cluster {
    dir: PathBuf,
    bin: PathBuf,
    address: SocketAddr,
    options: Vec<String>,
    server: Option<Child>,
    mounts: Vec<String>,
}

impl Cluster {
    /// Makes the folder; nothing runs yet. `options` are the server's.
    pub fn new(bin: &Path, dir: &Path, options: &[&str]) -> Result<Cluster, Failure> {
        std::fs::create_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let address = free_address();
        std::fs::write(dir.join("server.addr"), format!("{address}\n"))?;
        Ok(Cluster {
            dir: dir.to_path_buf(),
            bin: bin.to_path_buf(),
            address,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            server: None,
            mounts: Vec::new(),
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The server's data folder.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts the server and returns when it is ready.
    pub fn start(&mut self) -> Result<(), Failure> {
        let log = File::options().append(true).create(true).open(self.dir.join("server.log"))?;
        let mut command = Command::new(self.bin.join("dfs-server"));
        command.arg("--data").arg(self.data()).args(["--listen", &self.address.to_string()]);
        command.args(&self.options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn()?;
        std::fs::write(self.dir.join("server.pid"), format!("{}\n", child.id()))?;
        let mut line = String::new();
        // It prints this line and nothing else.
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        self.server = Some(child);
        match line.starts_with("dfs-server ready") {
            true => Ok(()),
            false => Err(format!("the server did not start: {}", self.last_words()).into()),
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("server.log")).unwrap_or_default();
        log.lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// Stops the server in order.
    pub fn stop(&mut self) -> Result<(), Failure> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let process = Process::running(server.id() as i32).ok_or("the server ended by itself")?;
        process.signal(nix::sys::signal::Signal::SIGTERM);
        until(STOP_WITHIN, "the end of the server", || {
            server.try_wait().is_ok_and(|ended| ended.is_some())
        })?;
        Ok(std::fs::remove_file(self.dir.join("server.pid"))?)
    }

    /// Kills it.
    pub fn kill(&mut self) -> Result<(), Failure> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        server.kill()?;
        server.wait()?;
        Ok(std::fs::remove_file(self.dir.join("server.pid"))?)
    }

    /// Resident memory of the server in bytes.
    pub fn server_memory(&self) -> u64 {
        let process = self.server.as_ref().and_then(|child| Process::running(child.id() as i32));
        process.map_or(0, Process::resident_bytes)
    }

    /// Mounts at `NAME` with a cache of so many MiB in `cache-NAME`; gives the mount point.
    pub fn mount(&mut self, name: &str, cache_mib: u64) -> Result<PathBuf, Failure> {
        let point = self.dir.join(name);
        std::fs::create_dir_all(&point)?;
        let options = format!("cache={},cache_size={cache_mib}m", self.cache(name).display());
        let mut command = Command::new(self.bin.join("dfs-fuse"));
        command.arg(self.address.to_string()).arg(&point).args(["-o", &options]);
        self.mounts.push(name.to_owned());
        crate::run::command(&mut command).map_err(|e| format!("mount {name}: {e}"))?;
        Ok(point)
    }

    /// Unmounts, waits until everything is saved, and removes the cache.
    pub fn unmount(&mut self, name: &str) -> Result<(), Failure> {
        self.mounts.retain(|mounted| mounted != name);
        crate::run::command(Command::new("umount").arg(self.dir.join(name)))
            .map_err(|e| format!("umount {name}: {e}"))?;
        let lock = File::open(self.cache(name).join("dfs-fuse.lock"))?;
        until(SAVE_WITHIN, "the end of a daemon", || {
            flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        })?;
        Ok(std::fs::remove_dir_all(self.cache(name))?)
    }

    /// The cache folder of a mount.
    pub fn cache(&self, name: &str) -> PathBuf {
        self.dir.join(format!("cache-{name}"))
    }

    /// Bytes that the server's data takes on its disk.
    pub fn data_bytes(&self) -> u64 {
        sys::disk_usage(&self.data())
    }

    fn end(&mut self) -> Result<(), Failure> {
        for name in self.mounts.clone() {
            self.unmount(&name)?;
        }
        self.stop()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The folder of a mount that stays must not be removed: the script detaches it.
        let ended = self.end();
        let removed = ended.and_then(|()| Ok(std::fs::remove_dir_all(&self.dir)?));
        if let Err(error) = removed {
            eprintln!("   {} stays: {error}", self.dir.display());
        }
    }
}

/// Waits for a state of another process.
fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Result<(), Failure> {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() > limit {
            return Err(format!("{what}: not within {limit:?}").into());
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
    Ok(())
}
