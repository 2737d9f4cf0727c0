//! Where the client gets its time from, so that tests decide what time it is.

use dfs_core::BootTime;
use dfs_core::time::Timestamp;
use nix::time::{ClockId, clock_gettime};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of time.
pub trait Clock: Send + Sync {
    /// Time for leases: counts while the machine sleeps and is never set (PROTOCOL 1, "Time").
    fn now(&self) -> BootTime;
    /// Wall time, for file times only.
    fn wall(&self) -> Timestamp;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> BootTime {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has a boot-time clock");
        BootTime(Duration::from(now))
    }

    fn wall(&self) -> Timestamp {
        // A clock set before 1970 is a broken machine; file times then start at 1970.
        Timestamp::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<Duration>);

impl ManualClock {
    /// A clock at `start` after boot, and as long after 1970.
    pub fn new(start: Duration) -> ManualClock {
        ManualClock(Mutex::new(start))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().expect("clock lock") += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> BootTime {
        BootTime(*self.0.lock().expect("clock lock"))
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_unix(*self.0.lock().expect("clock lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_moves_forward() {
        let clock = SystemClock;
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(clock.wall().seconds > 1_600_000_000);
    }

    #[test]
    fn manual_clock_moves_when_told() {
        let clock = ManualClock::new(Duration::from_secs(5));
        clock.advance(Duration::from_secs(2));
        assert_eq!(clock.now(), BootTime(Duration::from_secs(7)));
        assert_eq!(clock.wall().seconds, 7);
    }
}
