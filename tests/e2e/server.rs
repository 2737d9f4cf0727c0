//! The server as a program: one at a time on a data folder, no newer format, a clean end.

use dfs_tests::{shell, world};
use std::time::Duration;

#[test]
fn server_refuses_a_second_one_on_its_data() {
    world::run(Duration::from_secs(60), |w| {
        let server = w.server();
        let output = server.second_instance();
        assert_eq!(output.status.code(), Some(1), "{}", shell::describe(&output));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("in use"), "{text}");
        assert_eq!(text.trim_end().lines().count(), 1, "one line: {text}");
        assert!(server.is_alive());
        w.say("a second server on the same data is refused");
    });
}

#[test]
fn server_refuses_a_newer_format() {
    world::run(Duration::from_secs(60), |w| {
        let server = w.server();
        assert!(server.stop().success());
        let format = server.data().join("format");
        std::fs::write(&format, "dfs 999\n").unwrap();
        let output = server.second_instance();
        assert_eq!(output.status.code(), Some(1), "{}", shell::describe(&output));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("999") && text.contains("newer"), "{text}");
        w.say("a newer data format is refused");
    });
}

#[test]
fn server_stops_on_sigterm_and_starts_again() {
    world::run(Duration::from_secs(90), |w| {
        let server = w.server();
        for _ in 0..3 {
            assert!(server.stop().success());
            server.start();
        }
        server.kill_and_restart();
        w.say("3 drains and 1 kill, restarted each time");
    });
}
