//! Peers that speak no protocol, or half of it: the server stays up and small.

use dfs_tests::server::Server;
use dfs_tests::{sizes, tree, wait, world};
use rand::RngExt;
use rand::rngs::StdRng;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What 1,000 idle connections and a burst of garbage may add to the server.
const GROWTH_MAX: u64 = 64 << 20;

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

/// An HTTP/2 frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Headers of a call, as literals without indexing (RFC 7541, 6.2.2).
fn call(path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    frame(1, 4, 1, &block)
}

/// A gRPC message that says it has `length` bytes.
fn message(length: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn garbage(random: &mut StdRng) -> Vec<u8> {
    let noise = |random: &mut StdRng, most: usize| {
        let length = random.random_range(1..most);
        tree::random_bytes(random, length)
    };
    let paths = [
        "/dfs.v1.Meta/Create",
        "/dfs.v1.Session/Establish",
        "/dfs.v1.Coherence/Commit",
        "/dfs.v1.FileStore/Create",
        "/dfs.v1.Meta/Nothing",
        "/",
    ];
    let path = paths[random.random_range(0..paths.len())];
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    match random.random_range(0..6) {
        0 => return noise(random, 20_000),
        1 => return b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        2 => bytes.extend(noise(random, 20_000)),
        3 => {
            // A message of random bytes, whole.
            let payload = noise(random, 10_000);
            bytes.extend(call(path));
            bytes.extend(frame(0, 1, 1, &message(payload.len() as u32, &payload)));
        }
        4 => {
            // Truncated: it says more than there is.
            bytes.extend(call(path));
            bytes.extend(frame(0, 1, 1, &message(5_000, b"too short")));
        }
        _ => {
            // Oversized: beyond any limit.
            bytes.extend(call(path));
            bytes.extend(frame(0, 0, 1, &message(u32::MAX, &[0; 10_000])));
        }
    }
    bytes
}

#[test]
fn garbage_leaves_the_server_up_and_small() {
    world::run(Duration::from_secs(300), |w| {
        let (server, a, b) = w.two_mounts();
        std::fs::write(a.at("f"), b"content").unwrap();
        let before = server.process().resident_bytes();
        let mut random = w.random(1);
        let count = sizes::garbage_connections();
        for number in 0..count {
            let mut stream = connect(&server);
            // The server may hang up in the middle of it.
            let _ = stream.write_all(&garbage(&mut random));
            if number % 20 == 0 {
                let _ = stream.read(&mut [0; 1000]);
            }
        }
        assert!(server.is_alive());
        let (from, to) = (a.at("g"), b.at("g"));
        wait::within(Duration::from_secs(20), "work after garbage", move || {
            std::fs::write(from, b"works").unwrap();
            assert_eq!(std::fs::read(to).unwrap(), b"works");
        });
        let grown = server.process().resident_bytes().saturating_sub(before);
        assert!(grown < GROWTH_MAX, "grew by {} MiB", grown >> 20);
        w.say(format!("{count} garbage connections, grew by {} MiB", grown >> 20));
    });
}

#[test]
fn garbage_idle_connections_cost_little() {
    world::run(Duration::from_secs(120), |w| {
        let (server, a, _b) = w.two_mounts();
        let before = server.process().resident_bytes();
        let idle: Vec<TcpStream> = (0..sizes::IDLE_CONNECTIONS).map(|_| connect(&server)).collect();
        let path = a.at("d");
        wait::within(Duration::from_secs(20), "work beside idle connections", move || {
            std::fs::create_dir(path).unwrap();
        });
        assert!(server.is_alive());
        let grown = server.process().resident_bytes().saturating_sub(before);
        assert!(grown < GROWTH_MAX, "grew by {} MiB", grown >> 20);
        w.say(format!("{} idle connections, grew by {} MiB", idle.len(), grown >> 20));
    });
}
