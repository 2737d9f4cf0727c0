//! Where random numbers begin.

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng, TryRng};

/// A number nobody could foresee.
pub fn fresh() -> u64 {
    SysRng.try_next_u64().expect("the system has random numbers")
}

/// The seed of a test: `DFS_SEED` to replay one, else a new one.
pub fn of_this_run() -> u64 {
    match std::env::var("DFS_SEED") {
        Ok(value) => value.parse().expect("DFS_SEED is a number"),
        Err(_) => fresh() % 1_000_000_000,
    }
}

/// An unforeseeable number in a range, for what need not repeat, such as ports.
pub fn any_of(range: std::ops::Range<u16>) -> u16 {
    StdRng::seed_from_u64(fresh()).random_range(range)
}
