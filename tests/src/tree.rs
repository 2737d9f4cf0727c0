//! Content that shows what it is, and trees to compare.

use crate::sys;
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of `version` of a file: every line names the version, so that a mixture shows.
pub fn version_bytes(version: u64, length: usize) -> Vec<u8> {
    let line = format!("version {version:08}\n");
    line.as_bytes().iter().copied().cycle().take(length).collect()
}

/// The version that all lines of `bytes` name, or what is wrong with them.
pub fn version_of(bytes: &[u8]) -> Result<u64, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let first = text.get(..17).ok_or_else(|| format!("short: {} bytes", text.len()))?;
    let number = first.strip_prefix("version ").and_then(|rest| rest[..8].parse().ok());
    let version = number.ok_or_else(|| format!("no version: {first:?}"))?;
    match bytes == version_bytes(version, bytes.len()) {
        true => Ok(version),
        false => Err(format!("a mixture that begins with version {version}")),
    }
}

/// Random bytes.
pub fn random_bytes(random: &mut StdRng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill(&mut bytes[..]);
    bytes
}

/// Fails with what differs between two trees: names, types, modes, sizes, contents, links.
pub fn compare(left: &Path, right: &Path) {
    let output = crate::shell::output_within(std::time::Duration::from_secs(300), {
        let mut command = std::process::Command::new("diff");
        command.args(["-r", "--no-dereference"]).arg(left).arg(right);
        command
    });
    assert!(output.status.success(), "trees differ: {}", crate::shell::describe(&output));
}

/// Everything that programs can see of a tree, but access and change times: a line for each fact, in
/// order of names. Two trees with the same lines are the same to a program.
pub fn describe(root: &Path) -> Vec<String> {
    let (mut lines, mut inodes) = (Vec::new(), BTreeMap::new());
    describe_below(root, root, &mut inodes, &mut lines);
    lines
}

fn describe_below(
    root: &Path,
    folder: &Path,
    inodes: &mut BTreeMap<u64, PathBuf>,
    lines: &mut Vec<String>,
) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_path_buf();
        // The numbers differ between file systems; which names share one does not.
        let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
        let (links, size) = if meta.is_dir() { (0, 0) } else { (meta.nlink(), meta.len()) };
        lines.push(format!(
            "{name:?} is {first:?} mode {:o} owner {}:{} links {links} size {size} mtime {}.{:09} device {}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.rdev()
        ));
        for attribute in sys::list_xattrs(&path).unwrap() {
            let value = sys::get_xattr(&path, &attribute).unwrap();
            lines.push(format!("{name:?} {attribute} {value:x?}"));
        }
        if meta.is_symlink() {
            lines.push(format!("{name:?} to {:?}", std::fs::read_link(&path).unwrap()));
        } else if meta.is_file() {
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write(&std::fs::read(&path).unwrap());
            lines.push(format!("{name:?} holds {:x}", hasher.finish()));
        } else if meta.is_dir() {
            describe_below(root, &path, inodes, lines);
        }
    }
}

/// Fails with the lines that differ between what [`describe`] says of two trees.
pub fn same(left: &Path, right: &Path) {
    let [one, two] = [left, right].map(|root| BTreeSet::from_iter(describe(root)));
    let differences: Vec<_> = one.symmetric_difference(&two).collect();
    assert!(differences.is_empty(), "trees differ:\n{differences:#?}");
}

/// Every file below `folder` that contains `bytes`.
pub fn containing(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(containing(&path, bytes));
        } else if std::fs::read(&path).is_ok_and(|c| c.windows(bytes.len()).any(|w| w == bytes)) {
            found.push(path);
        }
    }
    found
}
