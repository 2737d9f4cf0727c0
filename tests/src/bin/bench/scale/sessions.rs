//! A thousand sessions on one server.

use super::library::{all, find, make_files, run, session};
use super::{Bench, Cluster, Failure, median, per_second};
use dfs_client::vfs::Vfs;
use dfs_core::Ino;
use dfs_core::access::Credentials;
use dfs_core::attr::SetAttr;
use dfs_tests::process::Process;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const PART: &str = "sessions";
const ROUNDS: u64 = 5;
/// Sessions that are opened side by side.
const AT_ONCE: u64 = 50;
/// New sessions settle for so long.
const SETTLE: Duration = Duration::from_secs(2);
const KIB: f64 = 1024.0;

fn file_name(n: u64) -> String {
    format!("watched-{n}")
}

/// Opens sessions step by step; after each, files that all of them hold are changed by another.
pub fn sessions(bench: &mut Bench) -> Result<(), Failure> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let mut cluster = bench.cluster(PART, &[])?;
    cluster.start()?;
    let text = "all clients are one process, and share two cores with the server";
    bench.report.note(PART, text.to_owned());
    let sizes = bench.sizes([10, 100, 1000], 2);
    run(async {
        let writer = session(&cluster, "writer").await?;
        let files = ROUNDS * sizes.len() as u64;
        make_files(&writer, writer.root(), 0..files, file_name).await?;
        let mut open = Vec::new();
        for (step, size) in sizes.into_iter().enumerate() {
            grow(bench, &cluster, &mut open, size).await?;
            let rounds = step as u64 * ROUNDS..(step as u64 + 1) * ROUNDS;
            let mut times = Vec::new();
            for number in rounds {
                times.push(told(&writer, &open, &file_name(number)).await?);
            }
            bench.report.add(PART, "change told to all", size, median(times));
        }
        let mut closing = JoinSet::new();
        open.into_iter().chain([writer]).for_each(|vfs| {
            closing.spawn(async move { vfs.shutdown().await });
        });
        closing.join_all().await;
        Ok(())
    })
}

/// Opens sessions until there are `size`, and says what each of the new ones costs.
async fn grow(
    bench: &mut Bench,
    cluster: &Cluster,
    open: &mut Vec<Arc<Vfs>>,
    size: u64,
) -> Result<(), Failure> {
    let before = (cluster.server_memory(), own_memory());
    let (had, began) = (open.len() as u64, Instant::now());
    while (open.len() as u64) < size {
        let first = open.len() as u64;
        let names: Vec<String> =
            (first..size.min(first + AT_ONCE)).map(|n| format!("watcher-{n}")).collect();
        open.extend(all(names.iter().map(|name| session(cluster, name))).await?);
    }
    let (took, new) = (began.elapsed(), size - had);
    bench.report.add(PART, "open sessions", size, per_second(new, took));
    // What opening took is given back by and by; nothing tells when.
    tokio::time::sleep(SETTLE).await;
    let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / KIB / new as f64;
    let memory = each(cluster.server_memory(), before.0);
    bench.report.add(PART, "server memory, each", size, memory);
    bench.report.add(PART, "client memory, each", size, each(own_memory(), before.1));
    Ok(())
}

/// Milliseconds of a change that all of `open` were promised to hear of; all see it afterwards.
async fn told(writer: &Vfs, open: &[Arc<Vfs>], name: &str) -> Result<f64, Failure> {
    let (root, who) = (writer.root(), Credentials::root());
    let ino = find(writer, root, name).await?;
    let held = all(open.iter().map(|vfs| holds(Arc::clone(vfs), name.to_owned()))).await?;
    if held.iter().any(|held| !held) {
        return Err(format!("{name} is not promised to everybody").into());
    }
    let began = Instant::now();
    let mode = 0o600;
    writer.setattr(&who, ino, None, SetAttr { mode: Some(mode), ..SetAttr::default() }).await?;
    let took = began.elapsed();
    let seen = all(open.iter().map(|vfs| mode_of(Arc::clone(vfs), ino))).await?;
    match seen.iter().all(|seen| *seen == mode) {
        true => Ok(took.as_secs_f64() * 1e3),
        false => Err(format!("an old mode of {name} is seen after a change").into()),
    }
}

/// Looks a name up: whether its attributes are known under a promise now.
async fn holds(vfs: Arc<Vfs>, name: String) -> Result<bool, Failure> {
    let ino = find(&vfs, vfs.root(), &name).await?;
    Ok(vfs.client().metadata.attr(ino).is_some())
}

async fn mode_of(vfs: Arc<Vfs>, ino: Ino) -> Result<u32, Failure> {
    Ok(vfs.getattr(ino, None).await?.attr.mode)
}

fn own_memory() -> u64 {
    Process::running(std::process::id() as i32).map_or(0, Process::resident_bytes)
}
