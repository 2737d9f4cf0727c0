//! Calls that reached the server between two moments, by operation.

use crate::server::Server;
use std::collections::BTreeMap;

/// Calls that no system call causes: the session's own, leases given back when idle, and numbers drawn
/// for files to come.
const BACKGROUND: &[&str] =
    &["control", "establish", "reclaim", "reclaim_done", "close", "release", "reserve"];

/// Calls by operation.
pub type Calls = BTreeMap<String, u64>;

/// All calls since the server started, without those of the session itself.
pub fn calls(server: &Server) -> Calls {
    let text = server.metrics();
    let lines = text.lines().filter_map(|line| line.strip_prefix("dfs_rpc_total{op=\""));
    let counts = lines.filter_map(|line| {
        let (op, count) = line.split_once("\"} ")?;
        Some((op.to_owned(), count.trim().parse().ok()?))
    });
    counts.filter(|(op, _)| !BACKGROUND.contains(&op.as_str())).collect()
}

/// The calls that `work` caused.
pub fn of<T>(server: &Server, work: impl FnOnce() -> T) -> (T, Calls) {
    let before = calls(server);
    let value = work();
    (value, since(server, &before))
}

/// The calls since the server had counted `before`.
pub fn since(server: &Server, before: &Calls) -> Calls {
    let mut after = calls(server);
    for (op, count) in before {
        if let Some(now) = after.get_mut(op) {
            *now -= count;
        }
    }
    after.retain(|_, count| *count > 0);
    after
}

/// How many calls these are.
pub fn total(calls: &Calls) -> u64 {
    calls.values().sum()
}

/// `[("create", 1)]` as calls, for comparisons.
pub fn exactly(calls: &[(&str, u64)]) -> Calls {
    calls.iter().map(|(op, count)| ((*op).to_owned(), *count)).collect()
}
