//! The rules of dfs as pure code: what a session, a grant, a promise, a lock or a cache may do next.
//!
//! Nothing here reads a clock, draws a random number, starts a thread, opens a file or a socket.
//! Time enters as an argument, decisions leave as values, and the servers and clients carry them
//! out. The numbered rows (`S4`, `K10`, `H5`) are those of the state tables in `PROTOCOL` section 9.

pub mod access;
pub mod ahead;
pub mod attr;
pub mod birth;
pub mod cache;
pub mod checksum;
pub mod collect;
pub(crate) mod deadlines;
pub mod dir_mode;
pub mod errno;
pub mod error;
pub mod extent;
pub mod grant;
pub mod hub;
pub mod id;
pub mod inode_state;
pub mod limits;
pub mod lock;
pub mod name;
pub mod negotiate;
pub mod open_mode;
pub mod range;
pub mod seq;
pub mod session;
pub mod time;
pub mod xattr;

pub use error::{Code, FsError, Result};
pub use id::{Fence, GrantId, Ino, OpId, RequestId, SessionId};
pub use seq::Seq;
pub use time::BootTime;
