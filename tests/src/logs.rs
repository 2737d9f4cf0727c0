//! What the programs under test said, shown when a test fails.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How much of each log is shown.
const TAIL_BYTES: u64 = 6_000;

/// The log filter of all programs under test: `DFS_E2E_LOG`, such as `debug`.
pub fn filter() -> Option<String> {
    std::env::var("DFS_E2E_LOG").ok()
}

/// Writes a line past the capture of the test runner, so that every run shows what it did.
pub fn say(line: &str) {
    // Nobody reads it: then nothing is lost.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Shows the end of a log.
pub fn show_tail(title: &str, path: &Path) {
    say(&format!("--- {title} ({})", path.display()));
    match tail(path) {
        Ok(text) => say(text.trim_end()),
        Err(error) => say(&format!("cannot read it: {error}")),
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
