//! The main job on real input: programs that people run all day, on one mount, while the other
//! compares.

mod archives;
mod builds;
mod editors;
mod git;
mod overlay;
mod postgres;
mod sqlite;
mod watch;

use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(900);
const STEP: Duration = Duration::from_secs(400);
