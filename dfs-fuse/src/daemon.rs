//! One mount from beginning to end.
//!
//! Threads: the main thread runs fuser's loop (which has its own), one drives the client's runtime,
//! two send notifications, one watches waiting requests, one waits for signals.

use crate::attr::Numbers;
use crate::cli::MountArgs;
use crate::daemonize::{self, Reporter, Side};
use crate::driver::Driver;
use crate::exit::{Failure, Result};
use crate::holder::Holder;
use crate::notifier::{Device, Notifier};
use crate::place::Place;
use crate::registry::{CacheLock, TAKE_OVER};
use crate::{logs, mounting, place, reach, signals};
use dfs_client::config::Config;
use dfs_client::vfs::Vfs;
use fuser::Session;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;
use tokio::runtime::Handle;

/// Longest wait for a server that took the connection, longer than the client waits for its parts.
const START_MAX: Duration = Duration::from_secs(60);
/// Longest wait for unsaved changes at the end. What is left stays in the cache, and the next mount
/// saves it.
const SHUTDOWN_MAX: Duration = Duration::from_secs(45);

/// Mounts. Without `-f` returns when the mount can be used, else when it has ended.
pub fn mount(args: MountArgs) -> Result<()> {
    let mountpoint = mounting::prepare(&args.mountpoint)?;
    mounting::refuse_twice(&args.source_text, &mountpoint)?;
    if args.fake {
        return Ok(());
    }
    let place = place::choose(&args, &mountpoint)?;
    let lock = CacheLock::take(&place.cache, TAKE_OVER)?;
    match daemonize::split(args.foreground)? {
        Side::Caller(result) => result,
        Side::Daemon(mut reporter) => {
            let result = serve(&args, mountpoint, &place, lock, &mut reporter);
            if let Err(failure) = &result {
                tracing::error!(%failure, "mount ends");
                if reporter.failed(failure) {
                    std::process::exit(failure.status.into()); // The caller prints it.
                }
            }
            result
        }
    }
}

/// Serves the mount until it ends.
fn serve(
    args: &MountArgs,
    mountpoint: PathBuf,
    place: &Place,
    mut lock: CacheLock,
    reporter: &mut Reporter,
) -> Result<()> {
    let (options, source) = (&args.options, args.source_text.as_str());
    match args.foreground {
        true => logs::to_stderr(&options.log),
        false => logs::to_file(&options.log, &place.log_file)?,
    }
    signals::block()?;
    small_pages();
    many_files();
    let mut holder = Holder {
        pid: std::process::id(),
        source: source.to_owned(),
        read_only: options.read_only,
        mountpoint: None,
    };
    if let Err(error) = lock.announce(&holder).and_then(|()| lock.record(&mountpoint)) {
        tracing::warn!(%error, "umount will not wait for this mount");
    }
    let runtime = start_runtime().map_err(|e| Failure::system(format!("cannot start: {e}")))?;
    // The client must be dropped inside its runtime.
    let _inside = runtime.enter();
    let notifier = Notifier::new();
    let vfs = start_client(&runtime, client_config(args, &mountpoint, place), notifier.clone())?;
    let ending = Arc::new(Ending { vfs, notifier, runtime, once: Once::new() });

    let session =
        start_session(args, &mountpoint, &place.cache, &ending).inspect_err(|_| ending.finish())?;
    mounting::raise_read_ahead(&mountpoint);
    holder.mountpoint = Some(mountpoint.clone());
    announce(&mut lock, &holder);
    let for_signals = ending.clone();
    signals::watch(mountpoint.clone(), move || for_signals.finish())
        .map_err(|e| Failure::system(format!("cannot start a thread: {e}")))?;
    tracing::info!(source, mountpoint = %mountpoint.display(), ?place, "mounted");
    reporter.ready();
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::debug!(%error, "service manager does not listen");
    }

    let ended = session.run();
    holder.mountpoint = None;
    announce(&mut lock, &holder);
    if ended.is_err() {
        // A loop that failed leaves its mount behind.
        let _ = mounting::detach(&mountpoint);
    }
    ending.finish();
    drop(lock);
    ended.map_err(|e| Failure::system(format!("the kernel connection failed: {e}")))
}

/// The first touch of a huge page clears 2 MiB while a program waits for its answer.
fn small_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "cannot do without huge pages");
    }
}

/// Each large file in use takes descriptors of this process: all that the system allows may.
fn many_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Says in the lock file what became of the holder. Without it the next mount of this cache waits in
/// vain, or does not wait.
fn announce(lock: &mut CacheLock, holder: &Holder) {
    if let Err(error) = lock.announce(holder) {
        tracing::warn!(%error, "the lock file of the cache cannot be written");
    }
}

/// A thread that drives the client's tasks for the rest of the process.
fn start_runtime() -> std::io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("dfs-client".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// Connects to the server.
fn start_client(runtime: &Handle, config: Config, notifier: Arc<Notifier>) -> Result<Arc<Vfs>> {
    let server = reach::name(&config.server);
    runtime.block_on(async {
        reach::server(&config.server).await?;
        match tokio::time::timeout(START_MAX, Vfs::start(config, notifier, runtime.clone())).await {
            Ok(Ok(vfs)) => Ok(Arc::new(vfs)),
            Ok(Err(error)) => Err(Failure::mount(error.to_string())),
            Err(_) => Err(Failure::mount(format!(
                "server {server} took the connection but did not answer within {} s",
                START_MAX.as_secs()
            ))),
        }
    })
}

/// Mounts; requests wait in the kernel until the session runs.
fn start_session(
    args: &MountArgs,
    mountpoint: &Path,
    cache: &Path,
    ending: &Ending,
) -> Result<Session<Driver>> {
    let start = || {
        let passthrough = args.options.passthrough.then_some(cache);
        let driver = Driver::new(ending.vfs.clone(), ending.runtime.clone(), passthrough)?;
        let numbers: Numbers = driver.numbers();
        let lookout = driver.lookout();
        let session = Session::new(driver, mountpoint, &mounting::config(args))?;
        let device = || session.as_fd().try_clone_to_owned();
        lookout.attach(device()?);
        let sink = Device::new(session.notifier(), device()?, numbers);
        ending.notifier.attach(Box::new(sink))?;
        Ok(session)
    };
    start().map_err(|e: std::io::Error| {
        let why = mounting::explain(&e);
        Failure::mount(format!("cannot mount on {}: {why}", mountpoint.display()))
    })
}

fn client_config(args: &MountArgs, mountpoint: &Path, place: &Place) -> Config {
    let options = &args.options;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let description =
        format!("{}:{} (process {})", host.trim(), mountpoint.display(), std::process::id());
    Config {
        server: args.source.server.clone(),
        subtree: args.source.subtree.clone(),
        cache_dir: place.cache.clone(),
        cache_bytes: place.cache_bytes,
        read_only: options.read_only,
        patience: options.patience,
        reads: options.reads,
        rdwr_lease: options.rdwr_lease,
        rwlock: options.rwlock,
        passthrough: options.passthrough,
        lease_wait: options.lease_wait,
        description,
    }
}

/// The end of a mount, reached by unmounting or by a signal.
struct Ending {
    vfs: Arc<Vfs>,
    notifier: Arc<Notifier>,
    runtime: Handle,
    once: Once,
}

impl Ending {
    /// Saves what there is and takes leave of the server, once; a second caller waits for the first.
    fn finish(&self) {
        self.once.call_once(|| {
            self.notifier.close();
            // On the runtime's thread, so that not even a client that hangs keeps us here.
            let (tell, told) = std::sync::mpsc::channel();
            let vfs = self.vfs.clone();
            self.runtime.spawn(async move {
                vfs.shutdown().await;
                let _ = tell.send(());
            });
            match told.recv_timeout(SHUTDOWN_MAX) {
                Ok(()) => tracing::info!("unmounted"),
                Err(_) => tracing::error!(
                    "server did not take all changes in time: they stay in the cache folder and are \
                     saved by the next mount"
                ),
            }
        });
    }
}
