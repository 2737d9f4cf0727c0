//! A client against a server made for tests, over real sockets.

mod calls;
mod fake;
mod listings;
mod made;
mod newer;
mod removals;
mod session;
