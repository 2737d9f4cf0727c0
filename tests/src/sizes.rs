//! How much each test does: quick by default, the full counts of the specification with `DFS_FULL=1`.

use std::time::Duration;

/// Whether the full counts are wanted.
pub fn full() -> bool {
    std::env::var_os("DFS_FULL").is_some_and(|value| value == "1")
}

fn pick<T>(quick: T, all: T) -> T {
    if full() { all } else { quick }
}

/// How long a test may take that has `quick` in its quick form.
pub fn limit(quick: Duration) -> Duration {
    quick * pick(1, 6)
}

/// Random changes of names and attributes whose effect on the other mount is checked.
pub fn name_operations() -> usize {
    pick(1_500, 20_000)
}

/// Random calls of several users, compared with ext4.
pub fn permission_calls() -> usize {
    pick(2_000, 50_000)
}

/// Random record locks, compared with ext4.
pub fn lock_calls() -> usize {
    pick(400, 10_000)
}

/// Files written past the kernel's pages.
pub fn page_games() -> usize {
    pick(30, 400)
}

/// Files written on one mount and read on the other, in each direction.
pub fn handovers() -> usize {
    pick(600, 20_000)
}

/// Versions written under racing readers.
pub fn racing_versions() -> usize {
    pick(60, 1_000)
}

/// Lines that each of two mounts appends to one file.
pub fn appended_lines() -> usize {
    pick(400, 20_000)
}

/// How long the processes of two mounts fight over one directory.
pub fn contention() -> Duration {
    Duration::from_secs(pick(12, 60))
}

/// Processes on each mount in that fight.
pub const CONTENDERS: usize = 8;

/// Kills of the server under load.
pub fn server_kills() -> usize {
    pick(3, 20)
}

/// Kills of the client's daemon with unsaved files.
pub fn client_kills() -> usize {
    pick(3, 20)
}

/// Cache limit of the cache tests in MiB: the smallest the mount accepts.
pub const CACHE_MIB: u64 = 64;

/// Garbage connections thrown at the server.
pub fn garbage_connections() -> usize {
    pick(400, 5_000)
}

/// Connections that say nothing.
pub const IDLE_CONNECTIONS: usize = 1_000;

/// Entries of the big directory in the call budgets.
pub fn listed_entries() -> usize {
    pick(2_500, 10_000)
}

/// Operations on a file that mounts hand to each other.
pub fn exercised() -> usize {
    pick(2_500, 200_000)
}

/// Kills of programs that write a database, for each way it keeps its journal.
pub fn writer_kills() -> usize {
    pick(3, 50)
}

/// Transactions of each of two mounts on one database.
pub fn transactions() -> usize {
    pick(20, 500)
}

/// Times a database with a write-ahead log goes from mount to mount.
pub fn log_handovers() -> usize {
    pick(6, 100)
}

/// Commits that each of two mounts pushes to one repository.
pub fn pushes() -> usize {
    pick(6, 100)
}

/// Races of two mounts for one git reference.
pub fn reference_races() -> usize {
    pick(15, 500)
}

/// Kills of PostgreSQL under load, and of the server below it.
pub fn postgres_kills() -> usize {
    pick(2, 15)
}

/// Entries of the largest folder.
pub fn names_of_one_folder() -> usize {
    pick(2_000, 1_000_000)
}

/// Resident memory that a server or a daemon may need for it in MiB.
pub const MANY_NAMES_MIB: u64 = 512;

/// Links of one file; all that are allowed is more than the short form has time for.
pub fn links_of_one_file() -> usize {
    pick(800, dfs_core::limits::LINK_MAX as usize)
}
