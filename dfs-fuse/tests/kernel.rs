//! The notifier against the real kernel: a small file system counts what the kernel asks.
//!
//! Needs root and `/dev/fuse`; without them the tests say so and pass.

use dfs_client::kernel::{KernelCache, StaleEntry};
use dfs_core::Ino;
use dfs_core::name::Name;
use dfs_fuse::attr::{NO_ATTR, NO_REUSE, Numbers};
use dfs_fuse::notifier::{Device, Epoch, Notifier, Sink};
use fuser::*;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(600);
const DEADLINE: Duration = Duration::from_secs(10);

/// What the kernel asked; lookups of `slow` wait at the gate.
#[derive(Default)]
struct Asked {
    lookups: AtomicUsize,
    getattrs: AtomicUsize,
    gate: Mutex<bool>,
    changed: Condvar,
    arrived: Mutex<Option<mpsc::Sender<()>>>,
}

/// A root directory in which every name is a file that may be cached for long.
struct Everything(Arc<Asked>);

fn attr(ino: INodeNo) -> FileAttr {
    let (kind, perm) = match ino {
        INodeNo::ROOT => (FileType::Directory, 0o755),
        _ => (FileType::RegularFile, 0o644),
    };
    FileAttr { ino, kind, perm, nlink: 1, ..NO_ATTR }
}

impl Filesystem for Everything {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.0.lookups.fetch_add(1, SeqCst);
        if name == "slow" {
            if let Some(arrived) = &*self.0.arrived.lock().unwrap() {
                arrived.send(()).unwrap();
            }
            let gate = self.0.gate.lock().unwrap();
            drop(self.0.changed.wait_while(gate, |open| !*open).unwrap());
        }
        reply.entry(&LONG, &attr(INodeNo(2)), NO_REUSE);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.0.getattrs.fetch_add(1, SeqCst);
        reply.attr(&LONG, &attr(ino));
    }
}

struct Mounted {
    asked: Arc<Asked>,
    device: Option<Device>,
    session: Option<BackgroundSession>,
    folder: tempfile::TempDir,
}

impl Mounted {
    fn new() -> Option<Mounted> {
        if !nix::unistd::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
            eprintln!("skipped: needs root and /dev/fuse");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let asked = Arc::new(Asked::default());
        let mut config = Config::default();
        config.n_threads = Some(2);
        let session = Session::new(Everything(asked.clone()), folder.path(), &config).unwrap();
        let fd = session.as_fd().try_clone_to_owned().unwrap();
        let device = Some(Device::new(session.notifier(), fd, Numbers::new(Ino(1))));
        Some(Mounted { asked, device, session: Some(session.spawn().unwrap()), folder })
    }

    /// How many lookups and getattrs one stat of `name` causes.
    fn stat(&self, name: &str) -> (usize, usize) {
        let count = || (self.asked.lookups.load(SeqCst), self.asked.getattrs.load(SeqCst));
        let before = count();
        std::fs::metadata(self.folder.path().join(name)).unwrap();
        let after = count();
        (after.0 - before.0, after.1 - before.1)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        *self.asked.gate.lock().unwrap() = true;
        self.asked.changed.notify_all();
        if let Some(session) = self.session.take() {
            session.umount_and_join().unwrap();
        }
    }
}

fn stale(name: &str) -> StaleEntry {
    StaleEntry { dir: Ino(1), name: Name::new(name.as_bytes()).unwrap(), deleted: None }
}

#[test]
fn notifications_make_the_kernel_ask_again() {
    let Some(mut mounted) = Mounted::new() else { return };
    let device = mounted.device.take().unwrap();
    mounted.stat("a");
    assert_eq!(mounted.stat("a"), (0, 0), "cached");
    device.attr(Ino(2));
    assert_eq!(mounted.stat("a"), (0, 1));
    device.entry(&stale("a"));
    assert_eq!(mounted.stat("a").0, 1);
    assert_eq!(mounted.stat("a"), (0, 0));
    if device.epoch() == Epoch::Raised {
        assert_eq!(mounted.stat("a").0, 1);
        assert_eq!(mounted.stat("a"), (0, 0));
    } else {
        eprintln!("this kernel knows no epoch");
    }
    device.entry(&StaleEntry { deleted: Some(Ino(2)), ..stale("a") });
    assert_eq!(mounted.stat("a").0, 1);
}

/// The deadlock of PROTOCOL 5.3: a lookup that is not answered holds the directory, so forgetting a
/// name in it blocks; the batch must be done all the same, and nothing stale may be believed.
#[test]
fn a_hanging_lookup_does_not_hold_up_a_batch() {
    let Some(mut mounted) = Mounted::new() else { return };
    let notifier = Notifier::new();
    notifier.attach(Box::new(mounted.device.take().unwrap())).unwrap();
    mounted.stat("a");
    let (arrived, arrivals) = mpsc::channel();
    *mounted.asked.arrived.lock().unwrap() = Some(arrived);
    let slow = mounted.folder.path().join("slow");
    let hanging = std::thread::spawn(move || std::fs::metadata(slow).is_ok());
    arrivals.recv_timeout(DEADLINE).unwrap();

    let started = Instant::now();
    let (tell, told) = mpsc::channel();
    notifier.forget_entries(
        vec![stale("a")],
        Vec::new(),
        Box::new(move || {
            let _ = tell.send(());
        }),
    );
    told.recv_timeout(DEADLINE).unwrap();
    assert!(started.elapsed() < DEADLINE && !hanging.is_finished(), "the lookup still hangs");

    *mounted.asked.gate.lock().unwrap() = true;
    mounted.asked.changed.notify_all();
    assert!(hanging.join().unwrap());
    assert_eq!(mounted.stat("a").0, 1, "forgotten, by the epoch or by its own notification");
    notifier.close();
}
