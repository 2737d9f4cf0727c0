//! The server as a program: one at a time on a data folder, no newer format, a clean end.

use dfs_tests::{shell, sys, wait, world};
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net;
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

#[test]
fn server_on_new_data_does_not_take_an_old_client_for_a_new_one() {
    const LIMIT: Duration = Duration::from_secs(120);
    world::run(LIMIT, |w| {
        let server = w.server();
        let old = w.mount(&server, "old");
        std::fs::write(old.at("lost"), "lost").unwrap();
        server.kill();
        std::fs::remove_dir_all(server.data()).unwrap();
        server.start();
        let new = w.mount(&server, "new");
        wait::until_true(LIMIT, "a session for each", || {
            server.metrics().lines().any(|line| line == "dfs_sessions 2")
        });
        for number in 0..50 {
            std::fs::write(new.at(number.to_string()), "new").unwrap();
        }
        assert_eq!(sys::names(old.path()).unwrap(), sys::names(new.path()).unwrap());
        assert_eq!(std::fs::read(old.at("49")).unwrap(), b"new");
        w.say("a client of lost data has a session of its own");
    });
}

/// Sockets that a server has beside its address (`docs/design/0029`): the one that listens, and those
/// that are connected.
fn beside(address: SocketAddr) -> usize {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    sockets.lines().filter(|line| line.ends_with(&format!(" @dfs/{address}"))).count()
}

#[test]
fn server_of_this_host_is_reached_over_the_socket_beside_its_address() {
    world::run(Duration::from_secs(60), |w| {
        let server = w.server();
        assert_eq!(beside(server.address()), 1, "it listens");
        let mount = w.mount(&server, "a");
        std::fs::write(mount.at("f"), "one").unwrap();
        assert!(beside(server.address()) > 1, "the mount uses it");
        server.kill_and_restart();
        std::fs::write(mount.at("f"), "another").unwrap();
        wait::until_true(Duration::from_secs(20), "the mount uses the new server's socket", || {
            beside(server.address()) > 1
        });
        w.say("a mount of this host uses the socket beside the address, after a restart too");
    });
}

#[test]
fn server_whose_socket_is_taken_is_reached_by_tcp() {
    world::run(Duration::from_secs(60), |w| {
        let server = w.server();
        let mut mount = w.mount(&server, "a");
        mount.unmount();
        assert!(server.stop().success());
        // Another user's program: it gets neither calls nor content.
        let name = net::SocketAddr::from_abstract_name(format!("dfs/{}", server.address()));
        let stranger = dfs_tests::person::Person::new(4711, 4711, &[]);
        let squatter = stranger.does(|| net::UnixListener::bind_addr(&name.unwrap()).unwrap());
        server.start();
        mount.again();
        std::fs::write(mount.at("f"), "content").unwrap();
        assert_eq!(std::fs::read_to_string(mount.at("f")).unwrap(), "content");
        drop(squatter);
        w.say("a stranger that has the name of the socket is not talked to");
    });
}
