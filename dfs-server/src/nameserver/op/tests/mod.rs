//! Operations run through all three steps on a store in memory.

mod acls;
mod attributes;
mod commits;
mod content;
mod errors;
mod harness;
mod items;
mod model;
mod names;
mod privileges;
mod xattrs;

pub(in crate::nameserver) use harness::{KEY, World, name, user};
