//! Many small files, directories, small appends.

use crate::run::{Failure, Run};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

const FOLDERS: u64 = 50;
const LENGTH: usize = 4096;
const WRITERS: usize = 8;

/// Paths of files spread over folders, which are made.
fn paths(top: &Path, files: u64) -> Result<Vec<PathBuf>, Failure> {
    for number in 0..FOLDERS {
        std::fs::create_dir_all(top.join(format!("d{number:02}")))?;
    }
    let path = |number| top.join(format!("d{:02}/f{number:05}", number % FOLDERS));
    Ok((0..files).map(path).collect())
}

fn shuffled(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut paths = paths.to_vec();
    paths.shuffle(&mut StdRng::seed_from_u64(1));
    paths
}

fn create(path: &Path) -> Result<(), Failure> {
    Ok(File::create_new(path)?.write_all(&[7; LENGTH])?)
}

fn stat(path: &Path) -> Result<(), Failure> {
    Ok(std::fs::symlink_metadata(path).map(drop)?)
}

fn read(path: &Path) -> Result<(), Failure> {
    let (mut file, mut bytes) = (File::open(path)?, [0; LENGTH]);
    Ok(file.read_exact(&mut bytes)?)
}

fn each(paths: &[PathBuf], work: impl Fn(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
    paths.iter().try_for_each(|path| work(path))
}

/// What `ls -lR` asks for.
fn list(folder: &Path) -> Result<u64, Failure> {
    let mut files = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        files += match entry.metadata()?.is_dir() {
            true => list(&entry.path())?,
            false => 1,
        };
    }
    Ok(files)
}

fn list_all(folder: &Path, want: u64) -> Result<(), Failure> {
    match list(folder)? {
        found if found == want => Ok(()),
        found => Err(format!("{found} of {want} files are listed").into()),
    }
}

/// The life of small files: made, looked at, listed, read, renamed and removed, one by one.
pub fn files(run: &mut Run<'_>) {
    let (top, files) = (run.folder().join("small"), run.count(5_000));
    let made = match paths(&top, files) {
        Ok(made) => made,
        Err(error) => return run.record("create", Err(error)),
    };
    let random = shuffled(&made);
    run.rate("create", files, || each(&made, create));
    cold_and_warm(run, "stat-cold", "stat-warm", files, || each(&random, stat));
    cold_and_warm(run, "ls-cold", "ls-warm", files, || list_all(&top, files));
    cold_and_warm(run, "read-cold", "read-warm", files, || each(&random, read));
    let moved = |path: &Path| path.with_extension("new");
    run.rate("rename", files, || each(&made, |path| Ok(std::fs::rename(path, moved(path))?)));
    run.rate("unlink", files, || each(&made, |path| Ok(std::fs::remove_file(moved(path))?)));
}

fn cold_and_warm(
    run: &mut Run<'_>,
    cold: &'static str,
    warm: &'static str,
    files: u64,
    work: impl Fn() -> Result<(), Failure>,
) {
    match run.cold() {
        Ok(()) => run.rate(cold, files, &work),
        Err(error) => run.record(cold, Err(error)),
    }
    run.rate(warm, files, work);
}

/// Small files made by eight writers at once.
pub fn parallel(run: &mut Run<'_>) {
    let files = run.count(5_000);
    let made = match paths(&run.folder().join("parallel"), files) {
        Ok(made) => made,
        Err(error) => return run.record("create-8", Err(error)),
    };
    let parts = made.chunks(made.len().div_ceil(WRITERS));
    run.rate("create-8", files, || {
        std::thread::scope(|scope| {
            let work = |part| move || each(part, create).map_err(|error| error.to_string());
            let writers: Vec<_> = parts.map(|part| scope.spawn(work(part))).collect();
            let ended = writers.into_iter().map(|writer| writer.join().expect("no writer panics"));
            Ok(ended.collect::<Result<(), String>>()?)
        })
    });
}

/// Directories made and removed.
pub fn directories(run: &mut Run<'_>) {
    let count = run.count(1_000);
    let paths: Vec<_> = (0..count).map(|n| run.folder().join(format!("d{n:05}"))).collect();
    run.rate("mkdir", count, || each(&paths, |path| Ok(std::fs::create_dir(path)?)));
    run.rate("rmdir", count, || each(&paths, |path| Ok(std::fs::remove_dir(path)?)));
}

/// Lines appended to a log, each flushed.
pub fn append_and_sync(run: &mut Run<'_>) {
    let (path, lines) = (run.folder().join("log"), run.count(500));
    run.rate("append-fsync", lines, || {
        let mut log = File::options().append(true).create(true).open(&path)?;
        (0..lines).try_for_each(|number| {
            log.write_all(format!("{number:0127}\n").as_bytes())?;
            Ok(log.sync_all()?)
        })
    });
}

/// What a program does with one file.
type Call = fn(&Path) -> Result<(), Failure>;

/// The median time of one call by a client that has nothing cached.
pub fn latency(run: &mut Run<'_>) {
    let files = run.count(2_000);
    let made = paths(&run.folder().join("latency"), files);
    let made = match made.and_then(|made| each(&made, create).map(|()| shuffled(&made))) {
        Ok(made) => made,
        Err(error) => return run.record("stat-p50", Err(error)),
    };
    let calls: [(_, Call); 2] = [("stat-p50", stat), ("read-4k-p50", read)];
    for (row, call) in calls {
        let times = run.cold_client().and_then(|()| {
            let time = |path: &PathBuf| {
                let start = Instant::now();
                call(path).map(|()| start.elapsed().as_secs_f64() * 1e6)
            };
            made.iter().map(time).collect::<Result<Vec<f64>, _>>()
        });
        run.record(row, times.map(median));
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
