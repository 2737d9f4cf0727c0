//! Time as the rules see it: a boot-time clock for leases, wall time for file times only.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A reading of this machine's own clock that counts suspend (`CLOCK_BOOTTIME`). Readings of two
/// machines are never compared (PROTOCOL 1, "Time").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub Duration);

impl BootTime {
    /// Time from `earlier` to `self`, zero if `earlier` is later.
    pub fn since(self, earlier: BootTime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootTime {
    type Output = BootTime;
    fn add(self, d: Duration) -> BootTime {
        BootTime(self.0.saturating_add(d))
    }
}

impl Sub<Duration> for BootTime {
    type Output = BootTime;
    fn sub(self, d: Duration) -> BootTime {
        BootTime(self.0.saturating_sub(d))
    }
}

/// A point in wall time, since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999, always counted forward.
    pub nanos: u32,
}

impl Timestamp {
    /// From a duration since 1970.
    pub fn from_unix(since: Duration) -> Timestamp {
        Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() }
    }

    /// Nanoseconds since 1970, in a type wide enough for every timestamp.
    pub fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos)
    }
}
