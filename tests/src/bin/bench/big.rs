//! One big file: one after another, and here and there.

use crate::run::{Failure, Run};
use dfs_tests::mapping::{Mapping, Sharing};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;
const SECONDS: Duration = Duration::from_secs(3);

/// Writing with fsync and close, reading cold and warm, by call and by mapping.
pub fn sequential(run: &mut Run<'_>) {
    let (path, mib) = (run.folder().join("big"), run.count(1024));
    run.rate("seq-write", mib, || write(&path, mib));
    if let Err(error) = run.cold() {
        return run.record("seq-read-cold", Err(error));
    }
    run.rate("seq-read-cold", mib, || read(&path, mib));
    run.rate("seq-read-warm", mib, || read(&path, mib));
    run.rate("mmap-read-warm", mib, || {
        let map = Mapping::new(&File::open(&path)?, (mib * MIB) as usize, Sharing::Private, true)?;
        (0..mib).for_each(|at| drop(black_box(map.get((at * MIB) as usize, MIB as usize))));
        Ok(())
    });
}

/// Pages of a file that was read before: read, and written in place with fsync at the end.
pub fn random(run: &mut Run<'_>) {
    let (path, mib) = (run.folder().join("random"), run.count(256));
    let pages = mib * MIB / PAGE;
    let mut random = StdRng::seed_from_u64(1);
    if let Err(error) = write(&path, mib).and_then(|()| read(&path, mib)) {
        return run.record("rand-read-4k-warm", Err(error));
    }
    let reads = || -> Result<f64, Failure> {
        let (file, mut page) = (File::open(&path)?, [0; PAGE as usize]);
        let (start, mut count) = (Instant::now(), 0_u32);
        while start.elapsed() < SECONDS {
            for _ in 0..256 {
                file.read_exact_at(&mut page, random.random_range(0..pages) * PAGE)?;
            }
            count += 256;
        }
        Ok(f64::from(count) / start.elapsed().as_secs_f64())
    };
    let rate = { reads }();
    run.record("rand-read-4k-warm", rate);
    let mut random = StdRng::seed_from_u64(2);
    let writes = pages / 4;
    run.rate("rand-write-4k", writes, || {
        let (file, page) = (File::options().write(true).open(&path)?, [7; PAGE as usize]);
        for _ in 0..writes {
            file.write_all_at(&page, random.random_range(0..pages) * PAGE)?;
        }
        Ok(file.sync_all()?)
    });
}

fn write(path: &Path, mib: u64) -> Result<(), Failure> {
    let mut bytes = vec![0; MIB as usize];
    StdRng::seed_from_u64(3).fill(&mut bytes[..]);
    let mut file = File::create(path)?;
    for number in 0..mib {
        // No two blocks are alike.
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(&bytes)?;
    }
    Ok(file.sync_all()?)
}

fn read(path: &Path, mib: u64) -> Result<(), Failure> {
    let (mut file, mut bytes) = (File::open(path)?, vec![0; MIB as usize]);
    for number in 0..mib {
        file.read_exact(&mut bytes)?;
        if bytes[..8] != number.to_le_bytes() {
            return Err(format!("MiB {number} is not what was written").into());
        }
    }
    Ok(())
}
