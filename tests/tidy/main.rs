//! What the style guide asks of the files of this repository, as far as a machine can see it.
//!
//! Nothing here is built or run except `cargo metadata`; every check reads files and names what is
//! wrong with file and line. An exception to a rule stands in a list beside it, with its reason.

mod docs;
mod graph;
mod licences;
mod owners;
mod rows;
mod sizes;
mod source;
mod wire;
mod words;

/// Fails with all findings, one a line.
fn assert_none(rule: &str, findings: Vec<String>) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}
