//! Totals of the file system.

use super::{StatFs, Vfs};
use dfs_core::access::Credentials;
use dfs_core::{BootTime, Result};
use dfs_proto::v1;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::timeout;

/// Totals are believed for this long.
const FRESH: Duration = Duration::from_secs(1);
/// Old totals are better than none when the server takes longer than this.
const PATIENT: Duration = Duration::from_secs(1);

/// The totals asked for last, and when.
#[derive(Debug, Default)]
pub(super) struct Totals(Mutex<Option<(BootTime, StatFs)>>);

impl Totals {
    fn last(&self) -> Option<(BootTime, StatFs)> {
        *self.0.lock().expect("a panic under this lock is a bug already reported")
    }

    fn put(&self, at: BootTime, totals: StatFs) {
        *self.0.lock().expect("a panic under this lock is a bug already reported") =
            Some((at, totals));
    }
}

impl Vfs {
    /// Totals, at most a second old; older ones while the server is away, so that `df` never hangs.
    pub async fn statfs(&self) -> Result<StatFs> {
        let now = self.client.clock.now();
        let Some((at, old)) = self.totals.last() else { return self.ask_totals().await };
        if now.since(at) < FRESH || self.client.session.lease_left().is_none() {
            return Ok(old);
        }
        Ok(match timeout(PATIENT, self.ask_totals()).await {
            Ok(Ok(new)) => new,
            Ok(Err(_)) | Err(_) => old,
        })
    }

    async fn ask_totals(&self) -> Result<StatFs> {
        let reply = self.client.call(&Credentials::root(), v1::StatFsReq::default()).await?;
        let totals = StatFs {
            total_bytes: reply.total_bytes,
            free_bytes: reply.free_bytes,
            available_bytes: reply.available_bytes,
            inodes: reply.inodes,
        };
        self.totals.put(self.client.clock.now(), totals);
        Ok(totals)
    }
}
