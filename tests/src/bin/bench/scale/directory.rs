//! One directory that grows to a million entries.

use super::{Bench, Cluster, Failure, library, per_second};
use dfs_core::Ino;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Instant;

const PART: &str = "directory";
const LOOKUPS: u64 = 1000;
const OPENS: u64 = 200;
const MIB: f64 = 1048576.0;

fn entry_name(n: u64) -> String {
    format!("entry-{n:08}")
}

/// Fills it through one session, sixteen calls at a time; after each step it is listed and searched
/// by clients that know nothing.
pub fn directory(bench: &mut Bench) -> Result<(), Failure> {
    let mut cluster = bench.cluster(PART, &["--durability", "relaxed"])?;
    cluster.start()?;
    let text = "made by calls of one session, 16 at a time; the server runs --durability relaxed";
    bench.report.note(PART, text.to_owned());
    let mut before = 0;
    for size in bench.sizes([10_000, 100_000, 1_000_000], 100) {
        let (rate, dir) = library::run(library::fresh(&cluster, "maker", |vfs| async move {
            let dir = match before {
                0 => library::make_dir(&vfs, vfs.root(), "large").await?,
                _ => library::find(&vfs, vfs.root(), "large").await?,
            };
            let began = Instant::now();
            library::make_files(&vfs, dir, before..size, entry_name).await?;
            let rate = per_second(size - before, began.elapsed());
            library::write_small(&vfs, dir, size, OPENS).await?;
            Ok((rate, dir))
        }))?;
        bench.report.add(PART, "create", size, rate);
        before = size;
        list(bench, &cluster, dir, size)?;
        look(bench, &cluster, dir, size)?;
    }
    Ok(())
}

fn list(bench: &mut Bench, cluster: &Cluster, dir: Ino, size: u64) -> Result<(), Failure> {
    for (row, attributes) in [("list", false), ("list with attributes", true)] {
        let rate = library::run(library::fresh(cluster, "lister", |vfs| async move {
            let began = Instant::now();
            let mut names = library::list(&vfs, dir, attributes).await?;
            let rate = per_second(names.len() as u64, began.elapsed());
            names.retain(|name| name.starts_with("entry-"));
            names.sort();
            match names.iter().map(String::as_str).eq((0..size).map(entry_name)) {
                true => Ok(rate),
                false => Err(format!("{} of {size} names are listed", names.len()).into()),
            }
        }))?;
        bench.report.add(PART, row, size, rate);
    }
    let memory = cluster.server_memory() as f64 / MIB;
    bench.report.add(PART, "server memory", size, memory);
    Ok(())
}

fn look(bench: &mut Bench, cluster: &Cluster, dir: Ino, size: u64) -> Result<(), Failure> {
    let mut random = StdRng::seed_from_u64(size);
    let mut names = |first| -> Vec<(Ino, String)> {
        let numbers = (0..LOOKUPS).map(|_| random.random_range(first..first + size));
        numbers.map(|n| (dir, entry_name(n))).collect()
    };
    let (present, absent) = (names(0), names(size));
    let (found, missed, opened) =
        library::run(library::fresh(cluster, "looker", |vfs| async move {
            let found = library::lookups(&vfs, &present, true).await?;
            let missed = library::lookups(&vfs, &absent, false).await?;
            Ok((found, missed, library::read_small(&vfs, dir, size, OPENS).await?))
        }))?;
    bench.report.add(PART, "lookup", size, found);
    bench.report.add(PART, "lookup of no name", size, missed);
    bench.report.add(PART, "open and read 1 KiB", size, opened);
    Ok(())
}
