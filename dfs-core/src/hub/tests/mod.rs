//! Tests of the hub: scripts to read (`testdata/hub`), and random schedules against model clients.

mod delegation;
mod intents;
mod model;
mod schedule;
mod script;
