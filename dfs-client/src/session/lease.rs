//! When the client must consider its lease over.

use dfs_core::BootTime;
use dfs_core::limits::CLOCK_RATE_ERROR_PER_MILLE;
use std::time::Duration;

/// End of a term asked for at `sent`, by the client's own clock: early by the greatest error of the
/// clock rate, so that the client always stops before the server does (PROTOCOL 2.1, rule 4).
///
/// To be replaced by `dfs_core::session::client_lease_end`, of which this is a copy.
pub(super) fn client_lease_end(sent: BootTime, term: Duration) -> BootTime {
    sent + term * (1000 - CLOCK_RATE_ERROR_PER_MILLE) / 1000
}
