//! The server as a process of its own.

use super::{DEADLINE, Running};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// A server process, ended with the test.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Starts it on a port of its own; it may not listen yet.
    pub fn start(dir: &Path) -> (Process, Running) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dfs-server"));
        command.arg("--data").arg(dir).args(["--listen", &free.to_string(), "--log", "warn"]);
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        (Process(child), Running::at(format!("http://{free}")))
    }

    /// Bytes of memory it has now.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// A connection to a server that has just been started.
pub async fn until_it_listens(server: &Running) -> Channel {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match Channel::from_shared(server.url.clone()).unwrap().connect().await {
            Ok(channel) => return channel,
            Err(error) => assert!(Instant::now() < deadline, "no server: {error}"),
        }
        // Between two looks: a port that opens tells nobody.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
