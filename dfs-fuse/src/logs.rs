//! Where the log goes.

use crate::exit::{Failure, Result};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

/// A log file this long is put aside when a mount starts, so that at most two of them exist.
const ROTATE_BYTES: u64 = 16 << 20;

/// Logs to stderr, for `-f`. `filter` was checked when the options were read.
pub fn to_stderr(filter: &str) {
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(scoped(filter)));
    // Fails only if a log is set up already, which is as good.
    let _ = builder.with_writer(std::io::stderr).try_init();
}

/// Logs to the end of a file.
pub fn to_file(filter: &str, path: &Path) -> Result<()> {
    let file = open(path)
        .map_err(|e| Failure::system(format!("cannot open log file {}: {e}", path.display())))?;
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(scoped(filter)));
    let _ = builder.with_ansi(false).with_writer(Arc::new(file)).try_init();
    Ok(())
}

/// A bare level is meant for dfs; of the libraries below only warnings are of interest.
fn scoped(filter: &str) -> String {
    match filter {
        "trace" | "debug" | "info" => {
            format!("warn,dfs_client={filter},dfs_core={filter},dfs_fuse={filter}")
        }
        _ => filter.to_owned(),
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() >= ROTATE_BYTES) {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".1");
        std::fs::rename(path, aside)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_file_is_made_and_put_aside_when_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log/dfs-fuse.log");
        open(&path).unwrap().set_len(ROTATE_BYTES).unwrap();
        assert_eq!(open(&path).unwrap().metadata().unwrap().len(), 0);
        let aside = folder.path().join("log/dfs-fuse.log.1");
        assert_eq!(std::fs::metadata(aside).unwrap().len(), ROTATE_BYTES);
    }
}
