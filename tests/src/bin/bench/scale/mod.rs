//! `dfs-bench scale`: the same work at growing sizes, to see whether its cost grows faster.
//!
//! `dfs-bench scale --bin FOLDER --work FOLDER [--only NAMES] [--scale F] [--json FILE]`: BIN has
//! `dfs-server` and `dfs-fuse`, WORK is an empty folder on the disk to measure. Needs root: it
//! mounts, and empties the kernel's caches. Fails if content is not what was written, if a name is
//! missing or if something outgrew its limit; never because of a time.

mod cache;
mod cluster;
mod directory;
mod library;
mod load;
mod namespace;
mod pattern;
mod report;
mod rows;
mod sessions;
mod sparse;
mod writers;

use cluster::Cluster;
use report::Report;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a part ended early. It crosses threads and tasks.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is measured in a folder of its own.
type Part = fn(&mut Bench) -> Result<(), Failure>;

const PARTS: &[(&str, Part)] = &[
    ("namespace", namespace::namespace),
    ("directory", directory::directory),
    ("sessions", sessions::sessions),
    ("cache", cache::cache),
    ("sparse", sparse::sparse),
    ("writers", writers::writers),
];

/// The options, and where results go.
pub struct Bench {
    bin: PathBuf,
    work: PathBuf,
    scale: f64,
    /// What was found.
    pub report: Report,
}

impl Bench {
    /// A count at scale 1 as it is at this scale, but not below `least`.
    pub fn count(&self, at_scale_1: u64, least: u64) -> u64 {
        ((at_scale_1 as f64 * self.scale) as u64).max(least)
    }

    /// Sizes at scale 1 as they are at this scale: still growing, the first not below `least`.
    pub fn sizes<const N: usize>(&self, at_scale_1: [u64; N], least: u64) -> [u64; N] {
        let mut floor = least;
        at_scale_1.map(|size| {
            let size = self.count(size, floor);
            floor = size + 1;
            size
        })
    }

    /// A folder for a server with these options, and for mounts of it.
    pub fn cluster(&self, part: &str, options: &[&str]) -> Result<Cluster, Failure> {
        Cluster::new(&self.bin, &self.work.join(part), options)
    }

    /// Where the parts have their folders.
    pub fn work(&self) -> &Path {
        &self.work
    }
}

/// Runs what the words ask for and prints it.
pub fn run(words: &[String]) -> Result<(), String> {
    let (mut bench, parts, json) = options(words)?;
    for (name, part) in parts {
        eprintln!("-- {name}");
        let began = Instant::now();
        if let Err(error) = part(&mut bench) {
            bench.report.fail(name, error.to_string());
        }
        eprintln!("   took {:.0} s", began.elapsed().as_secs_f64());
    }
    print!("{}", bench.report.text());
    if let Some(path) = json {
        std::fs::write(&path, bench.report.json(bench.scale))
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    match bench.report.failures() {
        0 => Ok(()),
        failures => Err(format!("{failures} checks failed")),
    }
}

type Parsed = (Bench, Vec<&'static (&'static str, Part)>, Option<PathBuf>);

fn options(words: &[String]) -> Result<Parsed, String> {
    let (mut bin, mut work, mut json) = (None, None, None);
    let (mut scale, mut parts) = (1.0, PARTS.iter().collect());
    for pair in words.chunks(2) {
        let [option, value] = pair else { return Err(format!("{} needs a value", pair[0])) };
        match option.as_str() {
            "--bin" => bin = Some(PathBuf::from(value)),
            "--work" => work = Some(PathBuf::from(value)),
            "--json" => json = Some(PathBuf::from(value)),
            "--scale" => scale = super::number(option, value)?,
            "--only" => parts = super::chosen(PARTS, value)?,
            _ => return Err(format!("unknown option {option}")),
        }
    }
    let (Some(bin), Some(work)) = (bin, work) else {
        return Err("--bin and --work are needed".to_owned());
    };
    if !(scale > 0.0 && scale <= 1.0) {
        return Err("--scale is above 0 and at most 1".to_owned());
    }
    Ok((Bench { bin, work, scale, report: Report::default() }, parts, json))
}

/// Empties the kernel's caches, after what is in them was written.
pub fn drop_kernel_caches() -> Result<(), Failure> {
    rustix::fs::sync();
    Ok(std::fs::write("/proc/sys/vm/drop_caches", "3")?)
}

/// So many per second.
pub fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// The middle of some values; zero if there are none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
