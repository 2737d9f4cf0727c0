//! What the tests through real mounts stand on: servers and mounts that clean up after themselves,
//! deadlines, seeds, counted calls and small workloads.
//!
//! A test runs inside [`world::run`]: it gets a folder of its own, a seed, and a watchdog that breaks
//! its mounts when it takes too long, so that a hung mount fails one test and not the suite. Nothing
//! here ends a process it has not started.

pub mod admin;
pub mod budget;
pub mod cover;
pub mod fusectl;
mod isolated;
pub mod load;
pub mod logs;
pub mod mapping;
pub mod mount;
pub mod person;
pub mod process;
pub mod programs;
pub mod seed;
pub mod server;
pub mod shell;
pub mod sizes;
pub mod slot;
pub mod sys;
pub mod terminal;
pub mod tree;
pub mod unwrapped;
pub mod wait;
pub mod world;
