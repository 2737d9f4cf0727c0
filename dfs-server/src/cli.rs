//! The command line of `dfs-server`.

use crate::metastore::Durability;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// Where to listen when nothing is said.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7440";

/// The text of `--help`.
pub const HELP: &str = "\
Serve one directory to many machines

Usage: dfs-server --data DIR [OPTIONS]

Storage:
  --data DIR               Keep everything in this folder; it is made if it is missing
  --durability MODE        strict: answer after the flush (default)
                           relaxed: answer at once, flush within 10 ms and on every fsync

Network:
  --listen ADDRESS         HOST:PORT or unix:/path; may be given more than once
                           [default: 127.0.0.1:7440]
  --metrics-listen ADDRESS Serve counters as Prometheus text over HTTP at HOST:PORT

Access:
  --root-squash            Treat uid 0 of clients as nobody

Other:
  --log FILTER             error, warn, info, debug, or a tracing filter [default: info]
  -h, --help               Print this help
  -V, --version            Print the version
";

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// When changes are answered.
    pub durability: Durability,
    /// Where to serve metrics.
    pub metrics: Option<SocketAddr>,
    /// Treat root of clients as nobody.
    pub root_squash: bool,
    /// Log filter.
    pub log: String,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Serve.
    Serve(Options),
    /// Print a text and end well.
    Print(String),
}

/// Reads the arguments behind the program name. An error is one line that names what is wrong.
pub fn parse<I>(args: I) -> Result<Command, String>
where
    I: IntoIterator,
    I::Item: Into<std::ffi::OsString>,
{
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_args(args);
    let mut data = None;
    let mut options = Options {
        data: PathBuf::new(),
        listen: Vec::new(),
        durability: Durability::Strict,
        metrics: None,
        root_squash: false,
        log: "info".into(),
    };
    let text = |e: lexopt::Error| e.to_string();
    while let Some(arg) = parser.next().map_err(text)? {
        match arg {
            Long("data") => data = Some(PathBuf::from(parser.value().map_err(text)?)),
            Long("listen") => {
                let value = parser.value().and_then(|v| v.string()).map_err(text)?;
                options.listen.push(listen(&value)?);
            }
            Long("durability") => {
                let value = parser.value().and_then(|v| v.string()).map_err(text)?;
                options.durability = match value.as_str() {
                    "strict" => Durability::Strict,
                    "relaxed" => Durability::Relaxed,
                    _ => return Err(format!("--durability is strict or relaxed, not '{value}'")),
                };
            }
            Long("metrics-listen") => {
                let value = parser.value().and_then(|v| v.string()).map_err(text)?;
                options.metrics = Some(address("--metrics-listen", &value)?);
            }
            Long("root-squash") => options.root_squash = true,
            Long("log") => options.log = parser.value().and_then(|v| v.string()).map_err(text)?,
            Short('h') | Long("help") => return Ok(Command::Print(HELP.into())),
            Short('V') | Long("version") => {
                return Ok(Command::Print(format!("dfs-server {}\n", env!("CARGO_PKG_VERSION"))));
            }
            _ => return Err(format!("{}, see dfs-server --help", arg.unexpected())),
        }
    }
    options.data = data.ok_or("--data DIR is missing, see dfs-server --help")?;
    if options.listen.is_empty() {
        options.listen.push(listen(DEFAULT_LISTEN)?);
    }
    Ok(Command::Serve(options))
}

fn listen(value: &str) -> Result<Listen, String> {
    match value.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Ok(Listen::Unix(path.into())),
        Some(path) => Err(format!("--listen unix:{path}: the path must begin with '/'")),
        None => address("--listen", value).map(Listen::Tcp),
    }
}

fn address(flag: &str, value: &str) -> Result<SocketAddr, String> {
    let found = value.to_socket_addrs().map_err(|e| {
        format!("{flag} {value}: {e} (HOST:PORT is wanted, such as {DEFAULT_LISTEN})")
    })?;
    found.into_iter().next().ok_or_else(|| format!("{flag} {value}: no address found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(args: &[&str]) -> Options {
        match parse(args.iter().copied()).unwrap() {
            Command::Serve(options) => options,
            Command::Print(text) => panic!("{text}"),
        }
    }

    #[test]
    fn cli_defaults_to_loopback_and_strict() {
        let options = serve(&["--data", "/d"]);
        assert_eq!(options.listen, [Listen::Tcp(DEFAULT_LISTEN.parse().unwrap())]);
        assert_eq!(options.durability, Durability::Strict);
        assert!(!options.root_squash);
    }

    #[test]
    fn cli_listens_where_it_is_told() {
        let args = ["--data=/d", "--listen", "unix:/run/x", "--listen", "127.0.0.1:1"];
        let options = serve(&args);
        let tcp = Listen::Tcp("127.0.0.1:1".parse().unwrap());
        assert_eq!(options.listen, [Listen::Unix("/run/x".into()), tcp]);
    }

    #[test]
    fn cli_names_what_is_wrong() {
        let cases: [(&[&str], &str); 6] = [
            (&[], "--data DIR is missing"),
            (&["--data"], "missing argument for option '--data'"),
            (&["--data", "/d", "--durability", "weak"], "strict or relaxed, not 'weak'"),
            (&["--data", "/d", "--listen", "nowhere"], "--listen nowhere"),
            (&["--data", "/d", "--listen", "unix:x"], "must begin with '/'"),
            (&["--data", "/d", "--frob"], "invalid option '--frob'"),
        ];
        for (args, wanted) in cases {
            let error = parse(args.iter().copied()).unwrap_err();
            assert!(error.contains(wanted), "{args:?}: {error}");
            assert!(!error.contains('\n'));
        }
    }
}
