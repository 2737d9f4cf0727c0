//! SIGTERM and SIGINT end the mount.

use crate::exit::{Failure, Result};
use crate::mounting;
use nix::sys::signal::{SigSet, Signal};
use std::path::PathBuf;
use std::time::Duration;

/// How long a mount that was in use may go on after it was taken out of the tree.
const DETACHED_MAX: Duration = Duration::from_secs(5);

fn wanted() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

/// Keeps the signals for [`watch`]; SIGIO, which tells that somebody opens a file of the cache, is of no
/// interest. Call before any thread starts: threads inherit it.
pub fn block() -> Result<()> {
    let mut blocked = wanted();
    blocked.add(Signal::SIGIO);
    blocked.thread_block().map_err(|e| Failure::system(format!("cannot block signals: {e}")))
}

/// Starts the thread that waits for them. The first signal unmounts, so that the loop of the session
/// ends; if the mount is in use it is detached, and `finish` saves what there is after
/// [`DETACHED_MAX`]. A second signal ends the process at once.
pub fn watch(mountpoint: PathBuf, finish: impl Fn() + Send + 'static) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("dfs-signals".to_owned());
    thread.spawn(move || {
        let Ok(signal) = wanted().wait() else { return };
        tracing::info!(%signal, "unmounting");
        std::thread::spawn(|| {
            if let Ok(signal) = wanted().wait() {
                tracing::warn!(%signal, "second signal, ending at once");
                std::process::exit(1);
            }
        });
        if let Err(error) = mounting::unmount(&mountpoint) {
            tracing::warn!(%error, "mount is in use, detaching it");
            if let Err(error) = mounting::detach(&mountpoint) {
                tracing::error!(%error, "cannot detach the mount");
            }
        }
        // Usually the process ends by itself long before this.
        std::thread::sleep(DETACHED_MAX);
        finish();
        std::process::exit(0);
    })?;
    Ok(())
}
