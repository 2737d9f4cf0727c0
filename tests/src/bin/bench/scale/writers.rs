//! The same bytes written by one, eight and sixty-four writers, each to a file of its own.

use super::pattern::{BLOCK, Pattern};
use super::{Bench, Failure, per_second};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

const PART: &str = "writers";
const TOTAL_MIB: u64 = 1024;
const CACHE_MIB: u64 = 4096;

/// All through one mount; every file is compared through another.
pub fn writers(bench: &mut Bench) -> Result<(), Failure> {
    let mut cluster = bench.cluster(PART, &[])?;
    cluster.start()?;
    let (here, there) = (cluster.mount("a", CACHE_MIB)?, cluster.mount("b", CACHE_MIB)?);
    let total = bench.count(TOTAL_MIB, 64);
    bench.report.note(PART, format!("{total} MiB together, through one mount, with fsync"));
    for writers in [1, 8, 64] {
        let each = total / writers;
        // What is left to be written of the steps before is not theirs.
        rustix::fs::sync();
        let began = Instant::now();
        at_once(writers, |file| write(&here.join(name(writers, file)), file, each))?;
        let rate = per_second(writers * each, began.elapsed());
        bench.report.add(PART, "write", writers, rate);
        rustix::fs::sync();
        let began = Instant::now();
        at_once(writers, |file| read(&there.join(name(writers, file)), file, each))?;
        let rate = per_second(writers * each, began.elapsed());
        bench.report.add(PART, "read elsewhere", writers, rate);
        for file in 0..writers {
            std::fs::remove_file(here.join(name(writers, file)))?;
        }
    }
    Ok(())
}

fn name(writers: u64, file: u64) -> String {
    format!("of-{writers}-{file}")
}

/// Runs `work` for each file on a thread of its own.
fn at_once(files: u64, work: impl Fn(u64) -> Result<(), Failure> + Sync) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..files).map(|file| scope.spawn(move || work(file))).collect();
        let ended = threads.into_iter().map(|thread| thread.join().expect("no thread panics"));
        ended.collect()
    })
}

fn write(path: &Path, file: u64, mib: u64) -> Result<(), Failure> {
    let (mut to, mut pattern) = (File::create_new(path)?, Pattern::new(file));
    for number in 0..mib {
        to.write_all(pattern.block(number))?;
    }
    Ok(to.sync_all()?)
}

fn read(path: &Path, file: u64, mib: u64) -> Result<(), Failure> {
    let (mut from, mut pattern) = (File::open(path)?, Pattern::new(file));
    let mut block = vec![0; BLOCK];
    for number in 0..mib {
        from.read_exact(&mut block)?;
        pattern.check(number, &block)?;
    }
    match from.read(&mut block)? {
        0 => Ok(()),
        _ => Err(format!("{} is longer than it was written", path.display()).into()),
    }
}
