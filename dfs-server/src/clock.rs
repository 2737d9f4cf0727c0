//! The server's clocks, behind a trait so that tests and simulations bring their own.

use dfs_core::BootTime;
use dfs_core::time::Timestamp;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Boot-time clock that counts suspend: for leases.
    fn now(&self) -> BootTime;
    /// Wall clock: for file times only.
    fn wall(&self) -> Timestamp;
}

/// The machine's clocks.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> BootTime {
        let t = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has a boot-time clock");
        BootTime(Duration::new(t.tv_sec() as u64, t.tv_nsec() as u32))
    }

    fn wall(&self) -> Timestamp {
        let t = clock_gettime(ClockId::CLOCK_REALTIME).expect("Linux has a wall clock");
        Timestamp { seconds: t.tv_sec(), nanos: t.tv_nsec() as u32 }
    }
}
