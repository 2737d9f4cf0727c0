//! The `Admin` service: what operators see.

use super::{NOBODY, Services};
use dfs_core::{Code, FsError};
use dfs_proto::v1::admin_server::Admin;
use dfs_proto::v1::*;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Admin for Services {
    async fn sessions(&self, _: Request<SessionsReq>) -> Answer<SessionsRep> {
        self.metrics.rpc("sessions");
        Ok(Response::new(SessionsRep { sessions: self.server.session_list() }))
    }

    async fn grants(&self, _: Request<GrantsReq>) -> Answer<GrantsRep> {
        self.metrics.rpc("grants");
        Ok(Response::new(GrantsRep { grants: self.server.grant_list() }))
    }

    async fn locks(&self, _: Request<LocksReq>) -> Answer<LocksRep> {
        self.metrics.rpc("locks");
        Ok(Response::new(LocksRep { locks: self.server.lock_list() }))
    }

    async fn collect(&self, _: Request<CollectReq>) -> Answer<CollectRep> {
        self.answer("collect", NOBODY, async {
            let (server, collector) = (self.server.clone(), self.collector.clone());
            let sweep = tokio::task::spawn_blocking(move || server.sweep(&collector)).await;
            let report = sweep.map_err(|_| FsError::new(Code::Io, "the sweep was cut off"))??;
            Ok(CollectRep {
                fail: None,
                removed: report.removed,
                kept: report.listed - report.removed,
            })
        })
        .await
    }
}
