//! POSIX calls on the shared tree.

mod types;

pub use types::*;
