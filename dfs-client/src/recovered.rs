//! The recovery area (PROTOCOL 2.4): unsaved work that could not be committed, kept for people.
//!
//! Each entry is a sparse data file, the base's local content merged with the unsaved bytes, and a
//! manifest in plain text. A data file is the old working file under a new name, so that saving needs
//! no room. Entries are removed, oldest first, only when the area is full and they are older than
//! the configured age; if that is not enough, the work stays in the cache.

use crate::cache::{PutAside, WorkingFile, allocated, io_error, make_dir, remove_file, replace};
use dfs_core::range::Range;
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Ino, Result};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// First line of a manifest.
const TITLE: &str = "dfs recovered file 1";
/// Room for all entries, unless configured otherwise.
pub const RECOVERED_LIMIT: u64 = 10 * 1024 * 1024 * 1024;
/// An entry younger than this is not removed, unless configured otherwise.
pub const RECOVERED_AGE_MIN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most entries of one inode within one second.
const NAME_TRIES: u32 = 10_000;

/// Why and from where a file comes into the area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its last known path, as bytes.
    pub path: Vec<u8>,
    /// User who opened it.
    pub uid: u32,
    /// One line for people: why the work could not be committed.
    pub reason: String,
    /// When it was saved here.
    pub time: Timestamp,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of the entry; `<name>.data` and `<name>.txt` are its files.
    pub name: String,
    /// Why and from where.
    pub meta: Meta,
    /// The inode it was.
    pub ino: Ino,
    /// Committed version the work builds on.
    pub base_ver: u64,
    /// Size in bytes.
    pub size: u64,
    /// Unsaved bytes.
    pub dirty: Vec<Range>,
    /// All bytes that were local; the others read as zeros and are those of the base version.
    pub local: Vec<Range>,
}

/// The recovery area of one mount.
#[derive(Debug)]
pub struct RecoveryArea {
    dir: PathBuf,
    limit: u64,
    age_min: Duration,
}

impl RecoveryArea {
    /// Opens the area in a folder, which is made if it is not there, for `limit_bytes` on disk.
    /// What a crash interrupted is removed: its work is still in the cache.
    pub fn open(dir: &Path, limit_bytes: u64, age_min: Duration) -> Result<RecoveryArea> {
        make_dir(dir)?;
        let area = RecoveryArea { dir: dir.to_owned(), limit: limit_bytes, age_min };
        for name in area.names("data")? {
            let is_whole = match area.data_path(&name).metadata() {
                // A second name: the working file was not replaced yet.
                Ok(data) => data.nlink() == 1 && area.manifest_path(&name).exists(),
                Err(_) => false,
            };
            if !is_whole {
                area.remove(&name)?;
            }
        }
        Ok(area)
    }

    /// Moves the unsaved work of `file` here. The working file goes on, empty, for version `ver` of
    /// `size` bytes.
    ///
    /// Errors: `NoSpace` if the area is full: the work stays where it is; those of the cache's file
    /// system.
    pub fn save(&self, file: &WorkingFile, meta: Meta, ver: u64, size: u64) -> Result<Entry> {
        self.make_room(file.disk_bytes(), meta.time)?;
        let (name, aside) = self.link(file, meta.time)?;
        let entry = Entry {
            ino: file.ino(),
            base_ver: aside.base_ver,
            size: aside.size,
            dirty: aside.dirty,
            local: aside.local,
            name,
            meta,
        };
        let saved = replace(&self.manifest_path(&entry.name), entry.manifest().as_bytes())
            .and_then(|()| file.abandon(ver, size));
        if let Err(e) = saved {
            self.remove(&entry.name)?;
            return Err(e);
        }
        tracing::warn!(ino = %entry.ino, path = %entry.meta.path.escape_ascii(),
            entry = entry.name, reason = entry.meta.reason, "unsaved work moved to the recovery area");
        Ok(entry)
    }

    /// All entries, oldest first. An unreadable manifest is an error that names it.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let names = self.names("txt")?.into_iter();
        let mut entries = names.map(|name| self.get(&name)).collect::<Result<Vec<Entry>>>()?;
        entries.sort_by(|a, b| (a.meta.time, &a.name).cmp(&(b.meta.time, &b.name)));
        Ok(entries)
    }

    /// One entry by its name. Errors: `NotFound`; `Io` if its manifest makes no sense.
    pub fn get(&self, name: &str) -> Result<Entry> {
        let path = self.manifest_path(name);
        let text = std::fs::read_to_string(&path).map_err(|e| io_error("read", &path, &e))?;
        parse_manifest(name, &text)
            .ok_or_else(|| FsError::new(Code::Io, format!("{} is not a manifest", path.display())))
    }

    /// The content of an entry.
    pub fn data_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.data"))
    }

    /// Removes an entry; one that is not there is fine.
    pub fn remove(&self, name: &str) -> Result<()> {
        remove_file(&self.data_path(name))?;
        remove_file(&self.manifest_path(name))
    }

    fn manifest_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.txt"))
    }

    fn names(&self, suffix: &str) -> Result<Vec<String>> {
        let list = std::fs::read_dir(&self.dir).map_err(|e| io_error("list", &self.dir, &e))?;
        let mut names = Vec::new();
        for item in list {
            let item = item.map_err(|e| io_error("list", &self.dir, &e))?;
            let path = PathBuf::from(item.file_name());
            if path.extension().is_some_and(|x| x == suffix)
                && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn link(&self, file: &WorkingFile, time: Timestamp) -> Result<(String, PutAside)> {
        for n in 0..NAME_TRIES {
            let name = format!("{:x}-{}-{n}", file.ino().0, time.seconds);
            match file.link_out(&self.data_path(&name)) {
                Ok(aside) => return Ok((name, aside)),
                Err(e) if e.code == Code::Exists => {}
                Err(e) => return Err(e),
            }
        }
        Err(FsError::new(Code::Exists, "too many recovered files of one inode"))
    }

    /// Removes old entries until `bytes` more fit.
    fn make_room(&self, bytes: u64, now: Timestamp) -> Result<()> {
        let entries = self.list()?;
        let size = |entry: &Entry| {
            let path = self.data_path(&entry.name);
            let data = File::open(&path).and_then(|file| allocated(&file));
            data.map_err(|e| io_error("look at", &path, &e))
        };
        let sizes = entries.iter().map(size).collect::<Result<Vec<u64>>>()?;
        let mut left = (sizes.iter().sum::<u64>() + bytes).saturating_sub(self.limit);
        let age_min = self.age_min.as_nanos() as i128;
        let mut old = Vec::new();
        for (entry, size) in entries.iter().zip(sizes) {
            if left > 0 && now.as_nanos() - entry.meta.time.as_nanos() >= age_min {
                left = left.saturating_sub(size);
                old.push(entry);
            }
        }
        if left > 0 {
            return Err(FsError::new(Code::NoSpace, "the recovery area is full"));
        }
        old.into_iter().try_for_each(|entry| self.remove(&entry.name))
    }
}

impl Entry {
    fn manifest(&self) -> String {
        let Meta { path, uid, reason, time } = &self.meta;
        let lines = [
            TITLE.to_owned(),
            format!("path = {}", path.escape_ascii()),
            format!("ino = {}", self.ino),
            format!("base_version = {}", self.base_ver),
            format!("uid = {uid}"),
            format!("saved_at = {}.{:09}", time.seconds, time.nanos),
            format!("reason = {}", reason.as_bytes().escape_ascii()),
            format!("size = {}", self.size),
            format!("dirty = {}", ranges_text(&self.dirty)),
            format!("local = {}", ranges_text(&self.local)),
        ];
        lines.join("\n") + "\n"
    }
}

fn parse_manifest(name: &str, text: &str) -> Option<Entry> {
    let mut lines = text.lines();
    if lines.next()? != TITLE {
        return None;
    }
    let pairs: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(" = ")).collect();
    let value = |key: &str| pairs.iter().find(|pair| pair.0 == key).map(|pair| pair.1);
    let (seconds, nanos) = value("saved_at")?.split_once('.')?;
    let meta = Meta {
        path: unescape(value("path")?)?,
        uid: value("uid")?.parse().ok()?,
        reason: String::from_utf8(unescape(value("reason")?)?).ok()?,
        time: Timestamp { seconds: seconds.parse().ok()?, nanos: nanos.parse().ok()? },
    };
    Some(Entry {
        name: name.to_owned(),
        meta,
        ino: Ino(value("ino")?.parse().ok()?),
        base_ver: value("base_version")?.parse().ok()?,
        size: value("size")?.parse().ok()?,
        dirty: parse_ranges(value("dirty")?)?,
        local: parse_ranges(value("local")?)?,
    })
}

/// `0-10,20-30`, or `-` for none.
fn ranges_text(ranges: &[Range]) -> String {
    if ranges.is_empty() {
        return "-".to_owned();
    }
    let texts: Vec<String> = ranges.iter().map(|r| format!("{}-{}", r.start, r.end)).collect();
    texts.join(",")
}

fn parse_ranges(text: &str) -> Option<Vec<Range>> {
    if text == "-" {
        return Some(Vec::new());
    }
    let range = |r: &str| {
        let (start, end) = r.split_once('-')?;
        Some(Range::new(start.parse().ok()?, end.parse().ok()?))
    };
    text.split(',').map(range).collect()
}

/// Undoes `escape_ascii`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next()? {
            b't' => b'\t',
            b'r' => b'\r',
            b'n' => b'\n',
            b'x' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            plain @ (b'\\' | b'\'' | b'"') => plain,
            _ => return None,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests;
