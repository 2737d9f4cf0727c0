//! Counters of the server, and the only place where their names and meanings stand.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verb {
    op: &'static str,
}

/// All metrics of one server.
pub struct Metrics {
    registry: Registry,
    rpcs: Family<Verb, Counter>,
    refusals: Family<Verb, Counter>,
    sessions: Gauge,
    promises: Gauge,
}

impl Metrics {
    /// Fresh counters.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("dfs");
        let (rpcs, refusals) = (Family::default(), Family::default());
        let (sessions, promises) = (Gauge::default(), Gauge::default());
        registry.register("rpc", "Calls received, by operation", rpcs.clone());
        registry.register("rpc_refused", "Calls refused, by operation", refusals.clone());
        registry.register("sessions", "Sessions that are not over", sessions.clone());
        registry.register("promises", "Promises of all sessions", promises.clone());
        Metrics { registry, rpcs, refusals, sessions, promises }
    }

    /// Counts a call.
    pub fn rpc(&self, op: &'static str) {
        self.rpcs.get_or_create(&Verb { op }).inc();
    }

    /// Counts a refusal.
    pub fn refused(&self, op: &'static str) {
        self.refusals.get_or_create(&Verb { op }).inc();
    }

    /// All of them in Prometheus' text format.
    pub fn text(&self, sessions: &[dfs_proto::v1::SessionInfo]) -> String {
        self.sessions.set(sessions.len() as i64);
        self.promises.set(sessions.iter().map(|s| s.promises as i64).sum());
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_count_by_operation() {
        let metrics = Metrics::new();
        metrics.rpc("lookup");
        metrics.rpc("lookup");
        metrics.refused("lookup");
        let text = metrics.text(&[]);
        assert!(text.contains("dfs_rpc_total{op=\"lookup\"} 2"), "{text}");
        assert!(text.contains("dfs_rpc_refused_total{op=\"lookup\"} 1"), "{text}");
    }
}
