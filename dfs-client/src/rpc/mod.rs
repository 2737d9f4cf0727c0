//! Calls to the server: who asks, which operation it is, and what follows from each failure.
//!
//! Owns the fixed reactions of PROTOCOL appendix A. A call is sent again with the same operation
//! number until it has an answer, so each change takes place once however often it was sent.

mod backoff;
mod call;
mod channel;
mod connector;
mod direct;
mod listing;
mod objects;
mod stream;
mod verbs;
mod written;

pub(crate) use backoff::jitter;
pub(crate) use call::Order;
pub use channel::Channels;
pub(crate) use channel::session_client;
pub(crate) use direct::Sent;
pub use listing::Pages;
pub use verbs::{Call, Verb};

use crate::config::{Config, Patience};
use crate::metrics::Metrics;
use crate::session::Session;
use dfs_core::Result;
use direct::Direct;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Sends calls. Cheap to clone.
#[derive(Clone)]
pub struct Rpc {
    channels: Channels,
    direct: Arc<Direct>,
    session: Arc<Session>,
    metrics: Arc<Metrics>,
    patience: Patience,
    lease_wait: Duration,
    /// False from an attempt that reached nobody until an answer.
    answering: Arc<watch::Sender<bool>>,
}

impl Rpc {
    /// Calls over connections of their own, made when first used. Must be called inside the runtime
    /// that shall drive the connections.
    pub fn new(config: &Config, session: Arc<Session>, metrics: Arc<Metrics>) -> Result<Rpc> {
        Ok(Rpc {
            channels: Channels::new(&config.server)?,
            direct: Arc::new(Direct::new(&config.server)),
            session,
            metrics,
            patience: config.patience,
            lease_wait: config.lease_wait,
            answering: Arc::new(watch::Sender::new(true)),
        })
    }

    /// Notes whether the server answers.
    fn answers(&self, now: bool) {
        self.answering.send_if_modified(|answering| std::mem::replace(answering, now) != now);
    }

    /// Whether the server answers, as far as is known.
    pub(crate) fn is_answering(&self) -> bool {
        *self.answering.borrow()
    }

    /// Whether a thread that may wait for the server ([`crate::waiting`]) would do so now.
    pub(crate) fn is_line_free(&self) -> bool {
        self.is_answering() && self.direct.is_free()
    }

    /// Somebody is about to wait for answers of calls that were only sent.
    pub(crate) fn hurry(&self) {
        self.direct.hurry();
    }

    /// Ends when the server is found not to answer.
    pub(crate) async fn silence(&self) {
        // Fails only if the sender is gone, which is ours.
        let _ = self.answering.subscribe().wait_for(|answering| !*answering).await;
    }

    /// How often each call was sent, repeats included.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.metrics.rpcs()
    }
}
