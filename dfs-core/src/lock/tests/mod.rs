//! Tests of the lock table: scripts to read (`testdata/lock`), and random schedules against a
//! table of single bytes.

mod oracle;
mod random;
mod script;
