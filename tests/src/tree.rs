//! Content that shows what it is, and trees to compare.

use rand::RngExt;
use rand::rngs::StdRng;
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
