//! The arithmetic of session leases (PROTOCOL 2.1 rule 4), for both sides in one place.
//!
//! The client counts from when it *sent* the renewal and shortens the term by `rho`; the server
//! counts from *receipt*, lengthens it by `rho` and adds a margin. Each uses its own clock. While
//! both clocks run within `rho` of real time, the client always stops first (I7).

use std::time::Duration;

use crate::BootTime;
use crate::limits::{CLOCK_GUARD, CLOCK_RATE_ERROR_PER_MILLE};

/// The end of the client's lease on the client's clock: it may use promises and grants before this
/// moment and must not from it on. `sent` is when it sent the `Establish` or `Renew` that was
/// answered with `term`; a term of zero gives no lease.
pub fn client_lease_end(sent: BootTime, term: Duration) -> BootTime {
    sent + term * (1000 - CLOCK_RATE_ERROR_PER_MILLE) / 1000
}

/// When the server counts the session as lapsed, on the server's clock. `receipt` is when the
/// renewal arrived, however long its answer took.
pub fn lapse_at(receipt: BootTime, term: Duration) -> BootTime {
    receipt + lapse_after(term)
}

/// Longest real time from a receipt to the lapse: also the shortest useful grace period, because
/// a client may count on its old lease for so long after a server was lost.
pub fn lapse_after(term: Duration) -> Duration {
    term * (1000 + CLOCK_RATE_ERROR_PER_MILLE) / 1000 + CLOCK_GUARD
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a clock that runs at `rate` per million reads after `real` nanoseconds.
    fn reading(start: u64, rate: u64, real: u128) -> BootTime {
        let nanos = u128::from(start) + real * u128::from(rate) / 1_000_000;
        BootTime(Duration::from_nanos(nanos as u64))
    }

    proptest! {
        /// I7: at every real moment at which the client still trusts its lease, the server has not
        /// counted it as lapsed.
        #[test]
        fn i7_client_lease_ends_before_the_server_lapse(
            term_ms in 1u64..600_000,
            client_rate in 995_000u64..=1_005_000,
            server_rate in 995_000u64..=1_005_000,
            client_start in 0u64..1 << 50,
            server_start in 0u64..1 << 50,
            transit_ns in 0u128..20_000_000_000,
            probe_ppm in 0u128..1_100_000,
        ) {
            let term = Duration::from_millis(term_ms);
            let sent = reading(client_start, client_rate, 0);
            let receipt = reading(server_start, server_rate, transit_ns);
            let real = term.as_nanos() * probe_ppm / 1_000_000;
            let client_valid =
                reading(client_start, client_rate, real) < client_lease_end(sent, term);
            let server_lapsed =
                reading(server_start, server_rate, real) >= lapse_at(receipt, term);
            prop_assert!(!(client_valid && server_lapsed));
        }
    }

    #[test]
    fn i7_defaults_leave_the_margin_of_the_protocol() {
        let term = crate::limits::SESSION_TERM;
        let zero = BootTime::default();
        assert_eq!(client_lease_end(zero, term).0, Duration::from_millis(14_925));
        assert_eq!(lapse_at(zero, term).0, Duration::from_millis(15_325));
        assert_eq!(client_lease_end(zero, Duration::ZERO), zero);
    }
}
