//! What the server tells operators.

use crate::server::Server;
use dfs_proto::v1::admin_client::AdminClient;
use dfs_proto::v1::{LockInfo, LocksReq};

/// Record locks held, then those waited for.
pub fn locks(server: &Server) -> Vec<LockInfo> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("cannot make a runtime").block_on(async {
        let url = format!("http://{}", server.address());
        let mut admin = AdminClient::connect(url).await.expect("the server listens");
        admin.locks(LocksReq {}).await.expect("locks are listed").into_inner().locks
    })
}
