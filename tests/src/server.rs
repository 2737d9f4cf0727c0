//! A `dfs-server` of a test: started on a port of its own, killed, restarted on the same data.

use crate::process::Process;
use crate::world::{Left, World};
use crate::{logs, programs, sizes, wait};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A start takes far less; the machine may be busy.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often a server can be started again besides the kills of the tests about kills.
const FURTHER_STARTS: usize = 4;
/// A drain is bounded by the server itself.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// How to start a server.
pub struct ServerBuilder<'w> {
    world: &'w World,
    data: PathBuf,
    args: Vec<String>,
}

impl<'w> ServerBuilder<'w> {
    pub(crate) fn new(world: &'w World) -> ServerBuilder<'w> {
        ServerBuilder { world, data: world.dir().join("data"), args: Vec::new() }
    }

    /// Another data folder.
    pub fn data(mut self, data: &Path) -> Self {
        self.data = data.to_path_buf();
        self
    }

    /// A further argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Server {
        let spec = Spec {
            data: self.data,
            address: free_address(),
            metrics: free_address(),
            args: self.args,
            log: self.world.dir().join("server.log"),
        };
        self.world.left().log("server", &spec.log);
        let starts = sizes::server_kills() + FURTHER_STARTS;
        let server = Server {
            standby: Mutex::new((0..starts).map(|_| spec.standby()).collect()),
            spec,
            left: self.world.left().clone(),
            child: Mutex::new(None),
        };
        server.start();
        server
    }
}

struct Spec {
    data: PathBuf,
    address: SocketAddr,
    metrics: SocketAddr,
    args: Vec<String>,
    log: PathBuf,
}

impl Spec {
    fn stdout(&self) -> PathBuf {
        self.log.with_extension("stdout")
    }

    /// A process that becomes the server when it is told to: a test that has files open on a mount
    /// cannot start one while the server is down (see `isolated`).
    fn standby(&self) -> Child {
        let script = "read go && exec \"$0\" \"$@\" </dev/null >>\"$DFS_OUT\" 2>>\"$DFS_LOG\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(programs::ours("dfs-server"));
        command.arg("--data").arg(&self.data).args(["--listen", &self.address.to_string()]);
        command.args(["--metrics-listen", &self.metrics.to_string()]).args(&self.args);
        command.args(logs::filter().map(|filter| format!("--log={filter}")));
        command.env("DFS_OUT", self.stdout()).env("DFS_LOG", &self.log);
        command.stdin(Stdio::piped()).spawn().expect("cannot start a shell")
    }
}

/// A server that runs, or has been killed and can be started again. Methods take `&self`, so that a
/// test may kill it under its own load.
pub struct Server {
    spec: Spec,
    left: Arc<Left>,
    child: Mutex<Option<Child>>,
    standby: Mutex<Vec<Child>>,
}

impl Server {
    /// Starts it, on the data and the port it had.
    pub fn start(&self) {
        let mut child = self.child.lock().unwrap();
        assert!(child.is_none(), "the server runs already");
        let _ = std::fs::remove_file(self.spec.stdout());
        let mut started = self.standby.lock().unwrap().pop().expect("no start is left");
        let mut go = started.stdin.take().expect("it waits for its input");
        go.write_all(b"go\n").expect("dfs-server is gone before it started");
        drop(go);
        let pid = started.id() as i32;
        self.left.process(Process::running(pid).expect("the server just started"));
        wait::until(READY_WITHIN, "the server's ready line", || {
            if let Some(status) = started.try_wait().expect("wait for dfs-server") {
                panic!("the server ended at once: {status}");
            }
            let log = std::fs::read_to_string(self.spec.stdout()).unwrap_or_default();
            log.contains("dfs-server ready on").then_some(())
        });
        *child = Some(started);
    }

    /// `HOST:PORT`, the source of mounts.
    pub fn source(&self) -> String {
        self.spec.address.to_string()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.spec.address
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.spec.data
    }

    /// The running process.
    pub fn process(&self) -> Process {
        let child = self.child.lock().unwrap();
        let pid = child.as_ref().expect("the server does not run").id() as i32;
        Process::running(pid).expect("the server has ended by itself")
    }

    /// Whether it runs.
    pub fn is_alive(&self) -> bool {
        let mut child = self.child.lock().unwrap();
        child.as_mut().is_some_and(|c| c.try_wait().expect("wait for dfs-server").is_none())
    }

    /// `kill -9`.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap().take().expect("the server does not run");
        child.kill().expect("cannot kill the server");
        child.wait().expect("wait for dfs-server");
    }

    /// Kills it and starts it again.
    pub fn kill_and_restart(&self) {
        self.kill();
        self.start();
    }

    /// SIGTERM, and the exit status it ends with.
    pub fn stop(&self) -> std::process::ExitStatus {
        self.process().signal(Signal::SIGTERM);
        let mut child = self.child.lock().unwrap().take().expect("the server does not run");
        wait::until(STOP_WITHIN, "end of the server after SIGTERM", || {
            child.try_wait().expect("wait for dfs-server")
        })
    }

    /// Starts a second server on the same data, which is expected to fail, and gives its output.
    pub fn second_instance(&self) -> Output {
        let mut command = Command::new(programs::ours("dfs-server"));
        command.arg("--data").arg(&self.spec.data);
        command.args(["--listen", &free_address().to_string()]);
        crate::shell::output_within(Duration::from_secs(20), command)
    }

    /// The metrics as text.
    pub fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.spec.metrics).expect("metrics do not answer");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set a timeout");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("ask for metrics");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read metrics");
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        let standby = self.standby.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        for mut child in child.take().into_iter().chain(standby.drain(..)) {
            // It may have ended by itself, which the test has judged already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A free address below the ports that the kernel gives to outgoing connections, so that nobody
/// takes it while the server is down.
pub fn free_address() -> SocketAddr {
    for _ in 0..1000 {
        let address = SocketAddr::from(([127, 0, 0, 1], crate::seed::any_of(15_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port found");
}
