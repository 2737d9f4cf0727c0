//! One group of workloads on one side.

use crate::report::Report;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where is measured.
pub struct Side {
    /// The name of its column.
    pub label: String,
    /// A folder.
    pub folder: PathBuf,
    /// A shell command that leaves the client with empty caches.
    pub cold: String,
}

/// A folder to work in, and where results go.
pub struct Run<'a> {
    side: &'a Side,
    scale: f64,
    report: &'a mut Report,
    folder: PathBuf,
}

/// Why a workload has no value.
pub type Failure = Box<dyn std::error::Error>;

impl<'a> Run<'a> {
    /// Makes the folder.
    pub fn new(side: &'a Side, scale: f64, report: &'a mut Report) -> Result<Run<'a>, String> {
        let folder = side.folder.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Run { side, scale, report, folder })
    }

    /// Removes it.
    pub fn end(self) -> Result<(), String> {
        std::fs::remove_dir_all(&self.folder).map_err(|e| format!("{}: {e}", self.folder.display()))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A count at scale 1 as it is at the scale of this run.
    pub fn count(&self, at_scale_1: u64) -> u64 {
        ((at_scale_1 as f64 * self.scale) as u64).max(8)
    }

    /// Records what `work` counts per second.
    pub fn rate(
        &mut self,
        row: &'static str,
        count: u64,
        work: impl FnOnce() -> Result<(), Failure>,
    ) {
        self.measure(row, work, |took| count as f64 / took.as_secs_f64());
    }

    /// Records how many seconds `work` takes.
    pub fn seconds(&mut self, row: &'static str, work: impl FnOnce() -> Result<(), Failure>) {
        self.measure(row, work, |took| took.as_secs_f64());
    }

    fn measure(
        &mut self,
        row: &'static str,
        work: impl FnOnce() -> Result<(), Failure>,
        value: impl FnOnce(Duration) -> f64,
    ) {
        let start = Instant::now();
        let worked = work();
        let took = start.elapsed();
        self.record(row, worked.map(|()| value(took)));
    }

    /// Records a value.
    pub fn record(&mut self, row: &'static str, value: Result<f64, Failure>) {
        self.report.add(row, &self.side.label, value.map_err(|error| error.to_string()));
    }

    /// Empties all caches between here and the disk.
    pub fn cold(&self) -> Result<(), Failure> {
        self.cold_client()?;
        std::fs::write("/proc/sys/vm/drop_caches", "3")?;
        Ok(())
    }

    /// Empties the client's caches; a server on this machine keeps its own.
    pub fn cold_client(&self) -> Result<(), Failure> {
        rustix::fs::sync();
        if !self.side.cold.is_empty() {
            command(Command::new("sh").args(["-c", &self.side.cold]))?;
        }
        std::fs::write("/proc/sys/vm/drop_caches", "2")?;
        Ok(())
    }
}

/// Runs a program to its end; its last words if it fails.
pub fn command(command: &mut Command) -> Result<(), Failure> {
    // The mount that a command starts keeps what it inherits open.
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if !ended.success() {
        return Err(format!("{} ended with {ended}", command.get_program().display()).into());
    }
    Ok(())
}
