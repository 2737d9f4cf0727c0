//! The rows of the table.

/// Which of two values is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Rates.
    Higher,
    /// Times.
    Lower,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What the value counts.
    pub unit: &'static str,
    /// Which direction is good.
    pub better: Better,
}

const fn rate(name: &'static str, unit: &'static str) -> Row {
    Row { name, unit, better: Better::Higher }
}

const fn time(name: &'static str, unit: &'static str) -> Row {
    Row { name, unit, better: Better::Lower }
}

/// All of them, in the order of the table. Warm: used before; cold: nothing cached.
pub const ROWS: &[Row] = &[
    rate("seq-write", "MiB/s"),
    rate("seq-read-cold", "MiB/s"),
    rate("seq-read-warm", "MiB/s"),
    rate("mmap-read-warm", "MiB/s"),
    rate("rand-read-4k-warm", "/s"),
    rate("rand-write-4k", "/s"),
    rate("create", "/s"),
    rate("stat-cold", "/s"),
    rate("stat-warm", "/s"),
    rate("ls-cold", "/s"),
    rate("ls-warm", "/s"),
    rate("read-cold", "/s"),
    rate("read-warm", "/s"),
    rate("rename", "/s"),
    rate("unlink", "/s"),
    rate("create-8", "/s"),
    rate("mkdir", "/s"),
    rate("rmdir", "/s"),
    rate("append-fsync", "/s"),
    time("stat-p50", "us"),
    time("read-4k-p50", "us"),
    time("tar-extract", "s"),
    time("git-commit", "s"),
    time("git-status-warm", "s"),
    time("cp-r", "s"),
    time("grep-r-warm", "s"),
    time("rm-rf", "s"),
];
