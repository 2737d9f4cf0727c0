//! The process: opens the data folder, starts the name server with its embedded file store, listens,
//! and drains when told to stop.

use crate::cli::{Listen, Options};
use crate::clock::SystemClock;
use crate::collect::Collector;
use crate::datadir::DataDir;
use crate::filestore::{self, ObjectStore};
use crate::metastore::{self, Durability};
use crate::metrics::Metrics;
use crate::nameserver::{NameServer, Settings};
use crate::rpc::Services;
use crate::rpc::lasting::Lasting;
use anyhow::{Context, Result};
use dfs_proto::local;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;

/// Windows and frames of GRPC.md section 9: bulk data at full speed, small calls beside it.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;
const FRAME: u32 = 256 << 10;
/// Smallest reserve in bytes, for small disks.
const RESERVE_MIN: u64 = 4 << 20;
/// The reserve is at most this part of the disk.
const RESERVE_PART: u64 = 20;
/// Clients that do not answer a ping for this long are gone.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// A stopping server waits this long for calls to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until a signal says stop.
pub fn run(options: &Options) -> Result<()> {
    let data = DataDir::open(&options.data)?;
    let store = Arc::new(metastore::open(&data.meta_db())?);
    let reserve = (data.space()?.total / RESERVE_PART).clamp(RESERVE_MIN, filestore::RESERVE);
    // Objects are flushed in every mode (docs/design/0006).
    let durability = Durability::Strict;
    let (objects, repaired) =
        ObjectStore::open(&data.objects(), filestore::Options { durability, reserve })?;
    tracing::info!(?repaired, reserve_bytes = reserve, "file store is open");
    let settings = Settings {
        durability: options.durability,
        root_squash: options.root_squash,
        // Objects stop first: the metadata that frees them must still go.
        reserve_bytes: reserve / 2,
    };
    let objects = Arc::new(objects);
    let server = NameServer::start(store, objects, Arc::new(SystemClock), settings)?;
    server.remember_delegations(&data.delegations())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(options, &server))?;
    runtime.shutdown_timeout(DRAIN);
    // Whoever still holds the server ends with the runtime; the last batch is flushed here.
    server.finish();
    drop(data);
    tracing::info!("stopped");
    Ok(())
}

async fn serve(options: &Options, server: &Arc<NameServer>) -> Result<()> {
    let metrics = Arc::new(Metrics::new());
    let collector = Arc::new(Mutex::new(Collector::new()));
    let (stop, stopped) = watch::channel(false);
    let services =
        Services::new(server.clone(), metrics.clone(), collector.clone(), stopped.clone());
    let mut tasks = JoinSet::new();
    for listen in &options.listen {
        listen_on(&mut tasks, listen, &services, stopped.clone()).await?;
    }
    if let Some(address) = options.metrics {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        tasks.spawn(crate::scrape::serve(listener, metrics, server.clone(), stopped.clone()));
    }
    tokio::spawn(server.clone().keep_time());
    tokio::spawn(server.clone().keep_compact());
    tokio::spawn(server.clone().keep_clean(collector));
    announce(options);
    tokio::select! {
        signal = terminated() => tracing::info!(signal = signal?, "stopping"),
        Some(ended) = tasks.join_next() => ended??,
    }
    // A service manager that does not listen is not told.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    server.farewell();
    // Nobody listens any more if every task has ended.
    let _ = stop.send(true);
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some calls did not end in time");
    }
    Ok(())
}

fn announce(options: &Options) {
    let places: Vec<String> = options.listen.iter().map(place).collect();
    println!("dfs-server ready on {}, data in {}", places.join(", "), options.data.display());
    // Not started by a service manager: nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

fn place(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    }
}

async fn terminated() -> Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}

fn grpc() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
}

async fn listen_on(
    tasks: &mut JoinSet<Result<()>>,
    listen: &Listen,
    services: &Services,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let router = || grpc().add_routes(services.routes());
    let until = || {
        let mut stopped = stopped.clone();
        async move {
            // The sender lives until the server stops.
            let _ = stopped.wait_for(|stop| *stop).await;
        }
    };
    match listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
            if let Some(beside) = bind_beside(listener.local_addr()?) {
                let served = router().serve_with_incoming_shutdown(unix(beside), until());
                tasks.spawn(async move { Ok(served.await?) });
            }
            let incoming = TcpListenerStream::new(listener).map(|conn| {
                let conn = conn?;
                // Without it a small answer waits 40 ms for the peer's delayed ACK.
                conn.set_nodelay(true)?;
                Ok::<_, io::Error>(Lasting::new(conn))
            });
            let served = router().serve_with_incoming_shutdown(incoming, until());
            tasks.spawn(async move { Ok(served.await?) });
        }
        Listen::Unix(path) => {
            let served = router().serve_with_incoming_shutdown(unix(bind_unix(path)?), until());
            let path = path.clone();
            tasks.spawn(async move {
                let served = served.await;
                // Gone already: then there is nothing to tidy up.
                let _ = std::fs::remove_file(&path);
                Ok(served?)
            });
        }
    }
    Ok(())
}

/// The connections to a Unix socket.
fn unix(
    listener: UnixListener,
) -> impl tokio_stream::Stream<Item = io::Result<Lasting<UnixStream>>> {
    UnixListenerStream::new(listener).map(|conn| conn.map(Lasting::new))
}

/// Binds the Unix socket beside a TCP address, for the programs of this host. They do without if
/// somebody else has its name.
fn bind_beside(address: SocketAddr) -> Option<UnixListener> {
    let bound = UnixListener::bind(local::beside(address));
    let why = |error| {
        tracing::warn!(%address, %error, "cannot listen on the Unix socket beside it: all use TCP");
    };
    bound.map_err(why).ok()
}

/// Binds a Unix socket; one left behind by a dead server is replaced, a live one is not.
fn bind_unix(path: &Path) -> Result<UnixListener> {
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            anyhow::bail!("cannot listen on unix:{}: another server does", path.display());
        }
        std::fs::remove_file(path)
            .with_context(|| format!("cannot replace the dead socket {}", path.display()))?;
    }
    UnixListener::bind(path).with_context(|| format!("cannot listen on unix:{}", path.display()))
}
