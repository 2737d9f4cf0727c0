//! `dfs-server`: serves one directory to many machines.

use dfs_server::cli::{self, Command};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Serve(options)) => options,
        Ok(Command::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("dfs-server: {error}");
            return ExitCode::from(2);
        }
    };
    let filter = match tracing_subscriber::EnvFilter::try_new(scoped(&options.log)) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("dfs-server: --log {}: {error}", options.log);
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    stop_on_panic();
    allow_connections();
    // Threads inherit it.
    if let Err(error) = dfs_server::slice::lengthen() {
        tracing::debug!(%error, "time slices stay as they are");
    }
    match dfs_server::server::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dfs-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A bare level is meant for dfs; of the libraries below only warnings are of interest.
fn scoped(filter: &str) -> String {
    match filter {
        "trace" | "debug" | "info" => format!("warn,dfs_core={filter},dfs_server={filter}"),
        _ => filter.to_owned(),
    }
}

/// A panic is a broken invariant: the process ends at once, and the next start recovers from what
/// is durable.
fn stop_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

/// Each client takes a few descriptors, each object being read one: use all the system allows.
fn allow_connections() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
