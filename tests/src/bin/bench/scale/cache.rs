//! A file much larger than the cache, through the cache.

use super::pattern::{BLOCK, Pattern};
use super::{Bench, Cluster, Failure, drop_kernel_caches, per_second};
use dfs_tests::sys;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PART: &str = "cache";
const FILE: &str = "large";
const CACHE_MIB: u64 = 2048;
/// The smallest cache of a mount.
const CACHE_MIB_MIN: u64 = 64;
/// The bound is one of content; index, journals and log lie beside it.
const BESIDE_MIB: u64 = 32;
/// What is left free on the disk.
const SPARE_MIB: u64 = 6 * 1024;
const LOOK_EVERY: Duration = Duration::from_millis(100);
const MIB: u64 = 1 << 20;

/// Writes it through one mount and reads the beginning, more of it and all of it through another,
/// each time with an empty cache.
pub fn cache(bench: &mut Bench) -> Result<(), Failure> {
    let cache = bench.count(CACHE_MIB, CACHE_MIB_MIN);
    let wanted = bench.sizes([1024, 5 * 1024, 20 * 1024], 8);
    let sizes = fitting(bench, wanted, cache)?;
    let mut cluster = bench.cluster(PART, &[])?;
    cluster.start()?;
    bench.report.note(PART, format!("the caches have {cache} MiB"));
    let point = cluster.mount("a", cache)?;
    let most = watching(&cluster.cache("a"), || write(bench, &point.join(FILE), sizes))?;
    within(bench, "cache of the writer, most", sizes[2], most, cache);
    cluster.unmount("a")?;
    for size in sizes {
        let (took, most) = read(&mut cluster, cache, size)?;
        bench.report.add(PART, "read cold", size, per_second(size, took));
        within(bench, "cache of the reader, most", size, most, cache);
    }
    Ok(())
}

/// The sizes, smaller if the disk has no room for the largest and two caches.
fn fitting(bench: &mut Bench, sizes: [u64; 3], cache: u64) -> Result<[u64; 3], Failure> {
    let disk = rustix::fs::statvfs(bench.work())?;
    let free = disk.f_bavail * disk.f_frsize / MIB;
    let room = free.saturating_sub(SPARE_MIB + 2 * (cache + BESIDE_MIB));
    if sizes[2] <= room {
        return Ok(sizes);
    }
    if room < 3 {
        return Err(format!("{free} MiB free are too few").into());
    }
    let text = format!("{} MiB do not fit on the disk, which has {free} MiB free", sizes[2]);
    bench.report.note(PART, text);
    Ok(sizes.map(|size| (size * room / sizes[2]).max(1)))
}

fn within(bench: &mut Bench, row: &'static str, size: u64, bytes: u64, cache: u64) {
    bench.report.add(PART, row, size, bytes as f64 / MIB as f64);
    if bytes > (cache + BESIDE_MIB) * MIB {
        let text = format!("{row}: {} MiB with a limit of {cache}", bytes / MIB);
        bench.report.fail(PART, text);
    }
}

fn write(bench: &mut Bench, path: &Path, sizes: [u64; 3]) -> Result<(), Failure> {
    let (mut file, mut pattern) = (File::create_new(path)?, Pattern::new(1));
    let mut before = 0;
    for size in sizes {
        let began = Instant::now();
        for number in before..size {
            file.write_all(pattern.block(number))?;
        }
        file.sync_all()?;
        bench.report.add(PART, "write", size, per_second(size - before, began.elapsed()));
        before = size;
    }
    Ok(())
}

/// Reads the first `size` MiB through a new mount; gives the time and the most its cache had.
fn read(cluster: &mut Cluster, cache: u64, size: u64) -> Result<(Duration, u64), Failure> {
    drop_kernel_caches()?;
    let path = cluster.mount("b", cache)?.join(FILE);
    let mut took = Duration::ZERO;
    let most = watching(&cluster.cache("b"), || {
        let (mut file, mut pattern) = (File::open(path)?, Pattern::new(1));
        let (mut block, began) = (vec![0; BLOCK], Instant::now());
        for number in 0..size {
            file.read_exact(&mut block)?;
            pattern.check(number, &block)?;
        }
        took = began.elapsed();
        Ok(())
    })?;
    cluster.unmount("b")?;
    Ok((took, most))
}

/// The most bytes a folder had on its disk while `work` ran.
fn watching(folder: &Path, work: impl FnOnce() -> Result<(), Failure>) -> Result<u64, Failure> {
    let (ended, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let look = || most.fetch_max(sys::disk_usage(folder), Ordering::Relaxed);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                look();
                std::thread::park_timeout(LOOK_EVERY);
            }
        });
        let worked = work();
        ended.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        worked
    })?;
    look();
    Ok(most.into_inner())
}
