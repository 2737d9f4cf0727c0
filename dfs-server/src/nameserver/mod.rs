//! The name server: sessions, names, grants, promises.

pub mod op;
pub mod resolve;
