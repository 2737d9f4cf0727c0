//! Sessions through the client library, without mounts, all in this process.

use super::{Cluster, Failure, median};
use dfs_client::config::{Address, Config, Patience, RdwrLease, Reads};
use dfs_client::kernel::NoKernel;
use dfs_client::vfs::{Found, OpenFlags, Vfs};
use dfs_core::access::Credentials;
use dfs_core::attr::{Kind, NewMode};
use dfs_core::{Ino, name::Name};
use dfs_proto::v1;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;

/// A server that does not answer for so long has failed.
const PATIENCE: Duration = Duration::from_secs(120);
const CACHE_BYTES: u64 = 64 << 20;
/// Calls under way at the same time where many are made.
const AT_ONCE: u64 = 16;
/// Entries asked for at a time.
const PAGE: usize = 1000;
const SMALL: usize = 1024;

/// Runs something with sessions.
pub fn run<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Opens session `name`, which has a cache folder of its own.
pub fn session(
    cluster: &Cluster,
    name: &str,
) -> impl Future<Output = Result<Arc<Vfs>, Failure>> + Send + use<> {
    let config = Config {
        server: Address::Tcp(cluster.address().to_string()),
        subtree: Vec::<Name>::new(),
        cache_dir: cluster.dir().join(format!("library-{name}")),
        cache_bytes: CACHE_BYTES,
        read_only: false,
        patience: Patience::Soft(PATIENCE),
        reads: Reads::Follow,
        rdwr_lease: RdwrLease::Try,
        rwlock: false,
        lease_wait: PATIENCE,
        passthrough: false,
        description: format!("dfs-bench {name}"),
    };
    async { Ok(Arc::new(Vfs::start(config, Arc::new(NoKernel), Handle::current()).await?)) }
}

/// Opens a session that knows nothing, runs `work` with it and closes it.
pub async fn fresh<T, F: Future<Output = Result<T, Failure>>>(
    cluster: &Cluster,
    name: &str,
    work: impl FnOnce(Arc<Vfs>) -> F,
) -> Result<T, Failure> {
    let vfs = session(cluster, name).await?;
    let done = work(Arc::clone(&vfs)).await;
    vfs.shutdown().await;
    drop(vfs);
    std::fs::remove_dir_all(cluster.dir().join(format!("library-{name}")))?;
    done
}

/// Calls `work` for each number, several at a time; the first failure ends it.
pub async fn each<F, W>(numbers: Range<u64>, work: W) -> Result<(), Failure>
where
    W: Fn(u64) -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let next = Arc::new(AtomicU64::new(numbers.start));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (next, work) = (Arc::clone(&next), work.clone());
        workers.spawn(async move {
            loop {
                match next.fetch_add(1, Ordering::Relaxed) {
                    number if number < numbers.end => work(number).await?,
                    _ => return Ok::<(), Failure>(()),
                }
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}

/// The results of futures that run side by side, in no order.
pub async fn all<T, F>(work: impl Iterator<Item = F>) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let mut tasks: JoinSet<_> = work.collect();
    let mut done = Vec::new();
    while let Some(one) = tasks.join_next().await {
        done.push(one??);
    }
    Ok(done)
}

/// Makes the empty files `name(n)` in `dir`.
pub async fn make_files(
    vfs: &Arc<Vfs>,
    dir: Ino,
    numbers: Range<u64>,
    name: fn(u64) -> String,
) -> Result<(), Failure> {
    let vfs = Arc::clone(vfs);
    let make = move |n| {
        let vfs = Arc::clone(&vfs);
        async move {
            let (who, mode) = (Credentials::root(), NewMode::from(0o644));
            vfs.mknod(&who, dir, name(n).as_bytes(), Kind::File, mode, 0).await?;
            Ok(())
        }
    };
    each(numbers, make).await
}

/// Makes a directory.
pub async fn make_dir(vfs: &Vfs, dir: Ino, name: &str) -> Result<Ino, Failure> {
    let made = vfs.mkdir(&Credentials::root(), dir, name.as_bytes(), NewMode::from(0o755)).await?;
    Ok(made.attr.ino)
}

/// What a name leads to; fails if there is no such name.
pub async fn find(vfs: &Vfs, dir: Ino, name: &str) -> Result<Ino, Failure> {
    match vfs.lookup(&Credentials::root(), dir, name.as_bytes()).await? {
        Found::Entry(entry) => Ok(entry.attr.ino),
        Found::Absent { .. } => Err(format!("{name} is missing in inode {dir}").into()),
    }
}

/// Microseconds that half of these lookups took at most. They pass by the client's caches, one
/// after the other. Fails if a name is there that should not be, or the other way round.
pub async fn lookups(vfs: &Vfs, names: &[(Ino, String)], present: bool) -> Result<f64, Failure> {
    let (who, mut times) = (Credentials::root(), Vec::with_capacity(names.len()));
    for (dir, name) in names {
        let request = v1::LookupReq { dir: dir.0, name: name.clone().into(), caller: None };
        let began = Instant::now();
        let reply = vfs.client().call(&who, request).await?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
        if reply.attr.is_some() != present {
            let is = if present { "missing" } else { "there" };
            return Err(format!("{name} is {is} in inode {dir}").into());
        }
    }
    Ok(median(times))
}

/// Lists a directory; gives the names.
pub async fn list(vfs: &Vfs, dir: Ino, attributes: bool) -> Result<Vec<String>, Failure> {
    let (handle, _) = vfs.opendir(&Credentials::root(), dir).await?;
    let (mut names, mut after) = (Vec::new(), 0);
    loop {
        let page = vfs.readdir(handle, after, PAGE, attributes).await?;
        let Some(last) = page.last() else { break };
        after = last.cookie;
        names.extend(page.into_iter().map(|entry| String::from_utf8_lossy(&entry.name).into()));
    }
    vfs.releasedir(handle);
    names.retain(|name| name != "." && name != "..");
    Ok(names)
}

fn small_name(tag: u64, number: u64) -> String {
    format!("small-{tag}-{number}")
}

fn small_content(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(SMALL / 8)
}

/// Makes files of 1 KiB whose names carry `tag`.
pub async fn write_small(vfs: &Arc<Vfs>, dir: Ino, tag: u64, files: u64) -> Result<(), Failure> {
    let vfs = Arc::clone(vfs);
    let write = move |n| {
        let vfs = Arc::clone(&vfs);
        async move {
            let flags = OpenFlags { write: true, exclusive: true, ..OpenFlags::default() };
            let (who, name) = (Credentials::root(), small_name(tag, n));
            let mode = NewMode::from(0o644);
            let (_, opened) = vfs.create(&who, dir, name.as_bytes(), mode, flags).await?;
            vfs.write(opened.fh, 0, &small_content(n), None::<fn() -> Credentials>).await?;
            vfs.flush(opened.fh).await?;
            Ok(vfs.release(opened.fh)?)
        }
    };
    each(0..files, write).await
}

/// Finds, opens, reads and closes those files one after the other: microseconds that half of them
/// took at most.
pub async fn read_small(vfs: &Vfs, dir: Ino, tag: u64, files: u64) -> Result<f64, Failure> {
    let (who, mut times) = (Credentials::root(), Vec::new());
    let flags = OpenFlags { read: true, ..OpenFlags::default() };
    for number in 0..files {
        let (name, began) = (small_name(tag, number), Instant::now());
        let ino = find(vfs, dir, &name).await?;
        let opened = vfs.open(&who, ino, flags).await?;
        let found = vfs.read(opened.fh, 0, SMALL as u32 + 1).await?;
        vfs.release(opened.fh)?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
        if found != small_content(number) {
            return Err(format!("{name} holds something else").into());
        }
    }
    Ok(median(times))
}
