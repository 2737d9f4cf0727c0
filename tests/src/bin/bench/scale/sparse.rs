//! A file with next to nothing in it, however large.

use super::{Bench, Failure};
use dfs_tests::sys;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

const PART: &str = "sparse";
const MIB: u64 = 1 << 20;
const CACHE_MIB: u64 = 256;
/// Places that are written, and bytes at each.
const PLACES: u64 = 64;
const BYTES: u64 = 64 * 1024;
/// Data and disk use may be as many times what was written: extents and blocks have edges.
const SLACK: u64 = 4;
/// Metadata, its log, indexes, logs.
const BESIDE: u64 = 48 * MIB;

/// Sets the size, writes at random places, reads them back through another mount.
pub fn sparse(bench: &mut Bench) -> Result<(), Failure> {
    let mut cluster = bench.cluster(PART, &[])?;
    cluster.start()?;
    let (here, there) = (cluster.mount("a", CACHE_MIB)?, cluster.mount("b", CACHE_MIB)?);
    for (step, size) in bench.sizes([2048, 20 * 1024, 200 * 1024], 64).into_iter().enumerate() {
        let name = format!("sparse-{size}");
        let places = places(size * MIB, size);
        let took = timed(|| write(&here.join(&name), size * MIB, &places))?;
        bench.report.add(PART, "truncate, write, fsync", size, took);
        let file = File::open(there.join(&name))?;
        let took = timed(|| read(&file, &places))?;
        bench.report.add(PART, "read back elsewhere", size, took);
        let mut data = Vec::new();
        let took = timed(|| {
            data = regions(&file)?;
            Ok(())
        })?;
        bench.report.add(PART, "SEEK_DATA and SEEK_HOLE", size, took);
        check_regions(&data, &places)?;
        let (server, caches) = (
            cluster.data_bytes(),
            sys::disk_usage(&cluster.cache("a")) + sys::disk_usage(&cluster.cache("b")),
        );
        bench.report.add(PART, "disk at the server", size, server as f64 / MIB as f64);
        bench.report.add(PART, "disk of both caches", size, caches as f64 / MIB as f64);
        let files = step as u64 + 1;
        let most = files * PLACES * BYTES * SLACK + BESIDE;
        for (what, bytes, most) in [("server", server, most), ("caches", caches, 2 * most)] {
            if bytes > most {
                let text = format!("{what}: {bytes} bytes on disk, {most} expected at most");
                bench.report.fail(PART, text);
            }
        }
    }
    Ok(())
}

/// Offsets, one in each of as many equal parts of the file.
fn places(bytes: u64, seed: u64) -> Vec<u64> {
    let (mut random, part) = (StdRng::seed_from_u64(seed), bytes / PLACES);
    (0..PLACES).map(|n| n * part + random.random_range(0..=part - BYTES)).collect()
}

fn content(place: u64) -> Vec<u8> {
    let mut bytes = vec![0; BYTES as usize];
    StdRng::seed_from_u64(place).fill(&mut bytes[..]);
    bytes
}

fn write(path: &Path, bytes: u64, places: &[u64]) -> Result<(), Failure> {
    let file = File::create_new(path)?;
    file.set_len(bytes)?;
    for place in places {
        file.write_all_at(&content(*place), *place)?;
    }
    Ok(file.sync_all()?)
}

/// Each place, and the zeros in front of it.
fn read(file: &File, places: &[u64]) -> Result<(), Failure> {
    let (mut found, mut end) = (vec![0; BYTES as usize], 0);
    for place in places {
        file.read_exact_at(&mut found, *place)?;
        if found != content(*place) {
            return Err(format!("what was written at {place} is not there").into());
        }
        let hole = &mut found[..(place - end).min(BYTES) as usize];
        file.read_exact_at(hole, end)?;
        if hole.iter().any(|byte| *byte != 0) {
            return Err(format!("the hole at {end} does not read as zeros").into());
        }
        end = place + BYTES;
    }
    Ok(())
}

/// Where the file says it has data.
fn regions(file: &File) -> Result<Vec<Range<u64>>, Failure> {
    let (mut regions, mut at) = (Vec::new(), 0);
    loop {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(regions),
            Err(error) => return Err(error.into()),
        };
        at = seek(file, SeekFrom::Hole(start))?;
        regions.push(start..at);
    }
}

fn check_regions(regions: &[Range<u64>], places: &[u64]) -> Result<(), Failure> {
    for place in places {
        if !regions.iter().any(|r| r.start <= *place && place + BYTES <= r.end) {
            return Err(format!("no data is reported at {place}").into());
        }
    }
    let total: u64 = regions.iter().map(|region| region.end - region.start).sum();
    match total <= PLACES * BYTES * SLACK {
        true => Ok(()),
        false => Err(format!("{total} bytes of data are reported").into()),
    }
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}
