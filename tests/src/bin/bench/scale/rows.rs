//! The rows of the tables.

/// What cost a value stands for; the cost of one unit of work is compared between sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Work done per second.
    Rate,
    /// What one unit costs.
    Each,
    /// What as many units as the size says cost together.
    Whole,
    /// Not compared.
    Told,
}

/// What was aimed at. Above it is said so, and nothing fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// None.
    Free,
    /// The cost of one unit at the largest size is at most so many times that at the smallest.
    Growth(f64),
    /// Every value is at most this.
    Value(f64),
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The part it belongs to.
    pub part: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What the value counts.
    pub unit: &'static str,
    /// How it is compared.
    pub growth: Growth,
    /// What was aimed at.
    pub target: Target,
}

const fn row(part: &'static str, name: &'static str, unit: &'static str, growth: Growth) -> Row {
    Row { part, name, unit, growth, target: Target::Free }
}

impl Row {
    const fn aims(self, target: Target) -> Row {
        Row { target, ..self }
    }
}

/// What the sizes of each part count.
pub const SIZES: &[(&str, &str)] = &[
    ("namespace", "files"),
    ("directory", "entries"),
    ("sessions", "sessions"),
    ("cache", "MiB"),
    ("sparse", "MiB"),
    ("writers", "writers"),
];

use Growth::{Each, Rate, Told, Whole};

/// All of them, in the order of the tables. Lookups are calls to the server, one at a time, half of
/// which were faster. Cold: the server has just started and nothing is in memory; read: the
/// server has just started, its database is in the kernel's memory; warm: asked before.
pub const ROWS: &[Row] = &[
    row("namespace", "bulk load", "/s", Rate),
    row("namespace", "metadata on disk", "MiB", Whole),
    row("namespace", "lookup cold", "us", Each),
    row("namespace", "lookup read", "us", Each).aims(Target::Growth(1.5)),
    row("namespace", "lookup warm", "us", Each).aims(Target::Growth(1.5)),
    row("namespace", "create", "/s", Rate),
    row("namespace", "list", "entries/s", Rate),
    row("namespace", "open and read 1 KiB", "us", Each),
    row("namespace", "restart to first call", "s", Each).aims(Target::Value(5.0)),
    row("namespace", "server memory at start", "MiB", Told),
    row("namespace", "server memory after it", "MiB", Told),
    row("directory", "create", "/s", Rate),
    row("directory", "list", "entries/s", Rate),
    row("directory", "list with attributes", "entries/s", Rate),
    row("directory", "lookup", "us", Each),
    row("directory", "lookup of no name", "us", Each),
    row("directory", "open and read 1 KiB", "us", Each),
    row("directory", "server memory", "MiB", Told),
    row("sessions", "open sessions", "/s", Rate),
    row("sessions", "server memory, each", "KiB", Each),
    row("sessions", "client memory, each", "KiB", Each),
    row("sessions", "change told to all", "ms", Whole),
    row("cache", "write", "MiB/s", Rate),
    row("cache", "read cold", "MiB/s", Rate),
    row("cache", "cache of the writer, most", "MiB", Told),
    row("cache", "cache of the reader, most", "MiB", Told),
    row("sparse", "truncate, write, fsync", "ms", Each),
    row("sparse", "read back elsewhere", "ms", Each),
    row("sparse", "SEEK_DATA and SEEK_HOLE", "ms", Each),
    row("sparse", "disk at the server", "MiB", Told),
    row("sparse", "disk of both caches", "MiB", Told),
    row("writers", "write", "MiB/s", Rate),
    row("writers", "read elsewhere", "MiB/s", Rate),
];
