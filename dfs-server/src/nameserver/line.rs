//! Waiting for an answer that a machine gives later: a lease, a record lock.

use super::NameServer;
use super::machines::Machines;
use dfs_core::{BootTime, Code, FsError, RequestId, Result};
use std::sync::Arc;
use tokio::sync::oneshot;

impl NameServer {
    /// Waits for the answer to a request; dropping the future takes the request out of its line.
    pub(super) async fn in_line<T>(
        self: &Arc<Self>,
        (req, answer): (RequestId, oneshot::Receiver<Result<T>>),
        cancel: fn(&mut Machines, BootTime, RequestId),
    ) -> Result<T> {
        let _leave = LeaveLine { server: self.clone(), req, cancel };
        answer.await.map_err(|_| FsError::new(Code::SessionExpired, "the session ended"))?
    }
}

/// Takes a request out of its line when its caller leaves (K14). Harmless after an answer.
struct LeaveLine {
    server: Arc<NameServer>,
    req: RequestId,
    cancel: fn(&mut Machines, BootTime, RequestId),
}

impl Drop for LeaveLine {
    fn drop(&mut self) {
        (self.cancel)(&mut self.server.lock(), self.server.clock.now(), self.req);
    }
}
