//! The gRPC services: decode, one call, encode.
//!
//! Refusals of the file system travel inside replies; a `tonic::Status` says only that a message
//! could not be read. Each error is logged here, once.

mod admin;
mod calls;
mod coherence;
mod content;
pub mod lasting;
mod meta;
mod session;

use crate::collect::Collector;
use crate::metrics::Metrics;
use crate::nameserver::mutate::Applied;
use crate::nameserver::reads::Promised;
use crate::nameserver::{Caller, NameServer};
use dfs_core::attr::Attr;
use dfs_core::hub::Key;
use dfs_core::limits::MESSAGE_MAX;
use dfs_core::name::Name;
use dfs_core::{Code, FsError, Result};
use dfs_proto::bulk::Passing;
use dfs_proto::call::{Reply, Request};
use dfs_proto::convert::attr_to;
use dfs_proto::v1;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Response, Status};
use tracing::Instrument;

/// Session and operation number of calls that name none.
const NOBODY: (u64, u64) = (0, 0);

/// What every service works with.
#[derive(Clone)]
pub struct Services {
    server: Arc<NameServer>,
    metrics: Arc<Metrics>,
    collector: Arc<Mutex<Collector>>,
    stopped: watch::Receiver<bool>,
}

impl Services {
    /// All services of this process, until `stopped` says true.
    pub fn new(
        server: Arc<NameServer>,
        metrics: Arc<Metrics>,
        collector: Arc<Mutex<Collector>>,
        stopped: watch::Receiver<bool>,
    ) -> Services {
        Services { server, metrics, collector, stopped }
    }

    /// The routes of all services, with message size limits.
    pub fn routes(&self) -> Routes {
        use v1::admin_server::AdminServer;
        use v1::calls_server::CallsServer;
        use v1::coherence_server::CoherenceServer;
        use v1::file_store_server::FileStoreServer;
        use v1::meta_server::MetaServer;
        use v1::session_server::SessionServer;
        Routes::new(SessionServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
            .add_service(MetaServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
            .add_service(CallsServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
            .add_service(CoherenceServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
            .add_service(Passing::new(
                FileStoreServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX),
                "Create",
            ))
            .add_service(AdminServer::new(self.clone()).max_decoding_message_size(MESSAGE_MAX))
    }

    /// Who asks.
    fn caller(&self, request: &impl Request) -> Caller {
        self.server.caller(&request.caller())
    }

    /// Counts a call, turns its refusal into a reply and logs it.
    async fn answer<R: Reply>(
        &self,
        verb: &'static str,
        (session, request): (u64, u64),
        work: impl Future<Output = Result<R>>,
    ) -> Result<Response<R>, Status> {
        self.metrics.rpc(verb);
        let span = tracing::debug_span!("rpc", op = verb, session, request);
        match work.instrument(span.clone()).await {
            Ok(reply) => Ok(Response::new(reply)),
            Err(error) => {
                span.in_scope(|| log_refusal(verb, session, &error));
                self.metrics.refused(verb);
                Ok(Response::new(R::refuse(&error)))
            }
        }
    }
}

/// Logs a refusal at the level its code deserves; the message names the inode.
fn log_refusal(op: &'static str, session: u64, error: &FsError) {
    match error.code {
        Code::Io | Code::BadChecksum | Code::StaleLeader => {
            tracing::error!(op, session, %error, "call failed");
        }
        Code::NoSpace | Code::TooOld => tracing::warn!(op, session, %error, "call failed"),
        _ => tracing::debug!(op, session, %error, "call refused"),
    }
}

fn name_of(bytes: &[u8]) -> Result<Name> {
    Name::new(bytes)
}

fn attr_of(attr: &Option<Attr>) -> Option<v1::Attr> {
    attr.as_ref().map(attr_to)
}

/// What a mutation's reply may say about the future: only if all of a kind are promised.
fn mark_of(applied: &Applied) -> v1::Mark {
    let outcome = &applied.outcome;
    let has = |key: Key| applied.kept.keys.contains(&key);
    let alone = |dir: &Attr| applied.kept.delegated.contains(&dir.ino);
    let mut dirs = [&outcome.dir, &outcome.to_dir].into_iter().flatten();
    let mut named = dirs.clone().chain(outcome.made_directory());
    let objects = [&outcome.object, &outcome.replaced].into_iter().flatten();
    v1::Mark {
        as_of: applied.as_of.0,
        promised_attr: objects.filter(|a| a.nlink > 0).all(|a| has(Key::Attr(a.ino))),
        promised_dir: named.all(|d| has(Key::Dir(d.ino))),
        promised_dir_attr: dirs.all(|d| has(Key::Attr(d.ino))),
        delegated_dir: outcome.to_dir.is_none() && outcome.dir.as_ref().is_some_and(alone),
        delegated_made: outcome.made_directory().is_some_and(alone),
    }
}

fn mark(promised: Promised) -> v1::Mark {
    v1::Mark {
        as_of: promised.as_of.0,
        promised_attr: promised.attr,
        promised_dir: promised.names,
        ..v1::Mark::default()
    }
}
