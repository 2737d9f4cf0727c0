//! A namespace that grows to ten million files.

use super::load::{PER_DIR, Tree};
use super::{Bench, Cluster, Failure, drop_kernel_caches, library, per_second};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::index::sample;
use std::fs::File;
use std::time::Instant;

const PART: &str = "namespace";
/// A namespace with next to nothing in it, at every scale.
const EMPTY: u64 = PER_DIR;
const LOOKUPS: usize = 1000;
const CREATES: u64 = 4000;
const LISTS: usize = 20;
const OPENS: u64 = 200;
const MIB: f64 = 1048576.0;

/// Loads it in steps; after each, what a client pays that knows nothing.
pub fn namespace(bench: &mut Bench) -> Result<(), Failure> {
    let mut cluster = bench.cluster(PART, &["--durability", "relaxed"])?;
    let text = "files are empty and were put into the metadata store by the server's own operations, \
                in batches without calls; the server runs --durability relaxed";
    bench.report.note(PART, text.to_owned());
    let [small, middle, large] = bench.sizes([100_000, 1_000_000, 10_000_000], EMPTY + 1);
    let mut tree = Tree::default();
    for size in [EMPTY, small, middle, large] {
        let (before, began) = (tree.files(), Instant::now());
        tree.grow(&cluster.data(), size)?;
        let rate = per_second(tree.files() - before, began.elapsed());
        bench.report.add(PART, "bulk load", size, rate);
        let bytes = std::fs::metadata(cluster.data().join("meta.db"))?.len();
        bench.report.add(PART, "metadata on disk", size, bytes as f64 / MIB);
        cluster.start()?;
        changes_and_lists(bench, &cluster, &tree, size)?;
        restart(bench, &mut cluster, &tree, size)?;
        lookups(bench, &mut cluster, &tree, size)?;
        cluster.stop()?;
    }
    Ok(())
}

/// Names of random files.
fn some(tree: &Tree, count: usize) -> Vec<(dfs_core::Ino, String)> {
    let mut random = StdRng::seed_from_u64(tree.files());
    let numbers = sample(&mut random, tree.files() as usize, count);
    numbers.into_iter().map(|n| tree.file(n as u64)).collect()
}

fn probe_name(n: u64) -> String {
    format!("probe-{n}")
}

fn changes_and_lists(
    bench: &mut Bench,
    cluster: &Cluster,
    tree: &Tree,
    size: u64,
) -> Result<(), Failure> {
    let creates = bench.count(CREATES, 100);
    let (rate, dir) = library::run(library::fresh(cluster, "maker", |vfs| async move {
        let dir = library::make_dir(&vfs, vfs.root(), &format!("probes-{size}")).await?;
        let began = Instant::now();
        library::make_files(&vfs, dir, 0..creates, probe_name).await?;
        let rate = per_second(creates, began.elapsed());
        library::write_small(&vfs, dir, size, OPENS).await?;
        Ok((rate, dir))
    }))?;
    bench.report.add(PART, "create", size, rate);
    let random = &mut StdRng::seed_from_u64(size);
    let dirs = sample(random, tree.dirs() as usize, LISTS.min(tree.dirs() as usize));
    let (rate, opened) = library::run(library::fresh(cluster, "reader", |vfs| async move {
        // The first listing of a session opens a connection.
        library::list(&vfs, dir, false).await?;
        let (began, mut entries) = (Instant::now(), 0);
        for number in dirs {
            let (dir, want) = tree.dir(number as u64);
            let mut names = library::list(&vfs, dir, false).await?;
            names.sort();
            if names != want {
                return Err(format!("listing of inode {dir} has {} names", names.len()).into());
            }
            entries += PER_DIR;
        }
        let rate = per_second(entries, began.elapsed());
        Ok((rate, library::read_small(&vfs, dir, size, OPENS).await?))
    }))?;
    bench.report.add(PART, "list", size, rate);
    bench.report.add(PART, "open and read 1 KiB", size, opened);
    Ok(())
}

/// Time from the start of a server that was killed to its first answer, with nothing in the kernel's
/// caches.
fn restart(
    bench: &mut Bench,
    cluster: &mut Cluster,
    tree: &Tree,
    size: u64,
) -> Result<(), Failure> {
    cluster.kill()?;
    drop_kernel_caches()?;
    let began = Instant::now();
    cluster.start()?;
    let first = [tree.file(tree.files() / 2)];
    let took = library::run(library::fresh(cluster, "first", |vfs| async move {
        library::lookups(&vfs, &first, true).await?;
        Ok(began.elapsed())
    }))?;
    bench.report.add(PART, "restart to first call", size, took.as_secs_f64());
    bench.report.add(PART, "server memory at start", size, cluster.server_memory() as f64 / MIB);
    Ok(())
}

fn lookups(
    bench: &mut Bench,
    cluster: &mut Cluster,
    tree: &Tree,
    size: u64,
) -> Result<(), Failure> {
    let names = &some(tree, LOOKUPS.min(tree.files() as usize));
    let look = |cluster: &Cluster| {
        library::run(library::fresh(cluster, "looker", |vfs| async move {
            library::lookups(&vfs, names, true).await
        }))
    };
    bench.report.add(PART, "lookup cold", size, look(cluster)?);
    cluster.stop()?;
    let mut database = File::open(cluster.data().join("meta.db"))?;
    std::io::copy(&mut database, &mut std::io::sink())?;
    cluster.start()?;
    bench.report.add(PART, "lookup read", size, look(cluster)?);
    bench.report.add(PART, "lookup warm", size, look(cluster)?);
    bench.report.add(PART, "server memory after it", size, cluster.server_memory() as f64 / MIB);
    Ok(())
}
