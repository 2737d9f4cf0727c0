//! Random calls of several processes, on a local disk and on two mounts: each gives what the model
//! says on both, whoever must wait waits, and whoever can go on does.

use super::model::{BYTES, Model, Wish};
use super::random;
use super::worker::{Order, Worker};
use dfs_tests::{sys, wait};
use nix::libc;
use rand::RngExt;
use rand::rngs::StdRng;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Processes; half of them on each mount.
const WORKERS: usize = 4;
const FILES: usize = 2;
/// The locks of a killed process go a little later.
const SETTLED: Duration = Duration::from_secs(30);
/// fcntl(2) for processes and open files, not waiting and waiting.
const COMMANDS: [(i32, i32); 2] =
    [(libc::F_SETLK, libc::F_SETLKW), (libc::F_OFD_SETLK, libc::F_OFD_SETLKW)];

/// The workers of one side, and descriptors to look at the locks.
struct Side {
    name: &'static str,
    folders: [PathBuf; 2],
    out: PathBuf,
    started: usize,
    workers: Vec<Worker>,
    probes: Vec<[File; FILES]>,
}

fn files(folder: &Path) -> [PathBuf; FILES] {
    [folder.join("one"), folder.join("two")]
}

impl Side {
    fn new(name: &'static str, folders: [&Path; 2], out: &Path) -> Side {
        for file in files(folders[0]) {
            std::fs::write(file, "").unwrap();
        }
        let open = |folder: &&Path| files(folder).map(|f| sys::open(&f, libc::O_RDWR).unwrap());
        let mut side = Side {
            name,
            folders: folders.map(Path::to_path_buf),
            out: out.to_path_buf(),
            started: 0,
            workers: Vec::new(),
            probes: folders.iter().map(open).collect(),
        };
        side.workers = (0..WORKERS).map(|number| side.worker(number)).collect();
        side
    }

    fn worker(&mut self, number: usize) -> Worker {
        self.started += 1;
        let out = self.out.join(format!("{}-{}", self.name, self.started));
        Worker::start(&files(&self.folders[number % 2]), &out)
    }

    fn replace(&mut self, number: usize) {
        let fresh = self.worker(number);
        std::mem::replace(&mut self.workers[number], fresh).kill();
    }

    /// Whether both folders show these locks.
    fn shows(&self, model: &Model) -> bool {
        let show = |probes: &[File; FILES], file: usize| {
            let records = (0..=BYTES)
                .all(|byte| random::held(&probes[file], byte).0 == model.seen(file, false, byte));
            records && flocked(&probes[file]) == model.seen(file, true, 0)
        };
        self.probes.iter().all(|probes| (0..FILES).all(|file| show(probes, file)))
    }
}

/// How others have locked the file with flock(2).
fn flocked(probe: &File) -> i32 {
    use rustix::fs::{FlockOperation, flock};
    let free = |operation| {
        let free = flock(probe, operation).is_ok();
        flock(probe, FlockOperation::Unlock).unwrap();
        free
    };
    if free(FlockOperation::NonBlockingLockExclusive) {
        libc::F_UNLCK
    } else if free(FlockOperation::NonBlockingLockShared) {
        libc::F_RDLCK
    } else {
        libc::F_WRLCK
    }
}

/// What happened, for the report.
#[derive(Debug, Default)]
pub struct Counts {
    pub given: usize,
    pub refused: usize,
    pub waited: usize,
    pub deadlocks: usize,
    pub interrupted: usize,
    pub killed: usize,
}

/// The same play on both sides.
pub struct Play {
    sides: [Side; 2],
    model: Model,
    random: StdRng,
    pub counts: Counts,
}

impl Play {
    pub fn new(local: &Path, mounts: [&Path; 2], out: &Path, random: StdRng) -> Play {
        let sides = [Side::new("local", [local, local], out), Side::new("mounts", mounts, out)];
        Play { sides, model: Model::default(), random, counts: Counts::default() }
    }

    /// One call or blow, and all that follows from it.
    pub fn step(&mut self, number: usize) {
        let worker = self.random.random_range(0..WORKERS);
        let chance = self.random.random_range(0..100);
        match self.model.waiting.contains_key(&worker) {
            true if chance < 15 => self.interrupt(worker, number),
            true if chance < 20 => self.kill(worker, number),
            true => {}
            false if chance < 2 => self.kill(worker, number),
            false => self.call(worker, number),
        }
        self.serve(number);
    }

    /// Everybody who still waits gets up in the end, when all others are gone.
    pub fn finish(&mut self) {
        for worker in 0..WORKERS {
            if !self.model.waiting.contains_key(&worker) {
                self.kill(worker, usize::MAX);
                self.serve(usize::MAX);
            }
        }
    }

    fn order(&mut self) -> Order {
        let random = &mut self.random;
        let file = random.random_range(0..FILES);
        let wait = random.random_bool(0.5);
        match random.random_range(0..20) {
            0 => Order::Close { file },
            1..6 => {
                let kind = [libc::LOCK_SH, libc::LOCK_EX, libc::LOCK_UN][random.random_range(0..3)];
                Order::Flock { file, operation: kind | if wait { 0 } else { libc::LOCK_NB } }
            }
            _ => {
                let (now, later) = COMMANDS[random.random_range(0..COMMANDS.len())];
                let kind = [libc::F_RDLCK, libc::F_WRLCK, libc::F_UNLCK][random.random_range(0..3)];
                let start = random.random_range(0..BYTES);
                let len = random.random_range(0..=BYTES - start);
                Order::Record { command: if wait { later } else { now }, file, kind, start, len }
            }
        }
    }

    fn call(&mut self, worker: usize, number: usize) {
        let order = self.order();
        let Some(wish) = Wish::of(worker, order) else {
            let Order::Close { file } = order else { unreachable!("only a close wants nothing") };
            self.model.closed(worker, file);
            return self.expect(worker, order, 0, number);
        };
        let stopped = !self.model.against(wish).is_empty();
        let circle = self.model.circle(wish);
        let alone = !self.model.waiting.values().any(|other| other.file == wish.file);
        let waits = waits(order) && alone && circle.is_some();
        let order = if waits || !stopped { order } else { at_once(order) };
        self.model.stopped(wish);
        match (stopped, waits, circle) {
            (false, ..) => {
                self.model.give(wish);
                self.counts.given += 1;
                self.expect(worker, order, 0, number);
            }
            (true, false, _) => {
                self.counts.refused += 1;
                self.expect(worker, order, libc::EAGAIN, number);
            }
            (true, true, Some(true)) => {
                self.counts.deadlocks += 1;
                self.expect(worker, order, libc::EDEADLK, number);
            }
            (true, true, _) => {
                self.counts.waited += 1;
                self.model.waiting.insert(worker, wish);
                for side in &mut self.sides {
                    side.workers[worker].tell(order);
                    let what = format!("call {number}, {order:?} of {worker} on {}", side.name);
                    side.workers[worker].waits(&what);
                }
            }
        }
    }

    fn expect(&mut self, worker: usize, order: Order, wanted: i32, number: usize) {
        for side in &mut self.sides {
            side.workers[worker].tell(order);
            let what = format!("call {number}, {order:?} of {worker} on {}", side.name);
            assert_eq!(side.workers[worker].answer(&what), wanted, "{what}; {:?}", self.model);
        }
    }

    /// Whoever has nothing in his way any more gets his lock, on both sides.
    fn serve(&mut self, number: usize) {
        let free = |model: &Model| {
            let mut waiting = model.waiting.iter();
            waiting.find(|(_, wish)| model.against(**wish).is_empty()).map(|(w, wish)| (*w, *wish))
        };
        while let Some((worker, wish)) = free(&self.model) {
            self.model.waiting.remove(&worker);
            self.model.give(wish);
            for side in &mut self.sides {
                let what = format!("after call {number}: {wish:?} on {}", side.name);
                assert_eq!(side.workers[worker].answer(&what), 0, "{what}");
            }
        }
        for side in &self.sides {
            for (worker, wish) in &self.model.waiting {
                let has = side.workers[*worker].has_answer();
                assert!(!has, "after call {number}: {wish:?} was not to be had on {}", side.name);
            }
        }
    }

    fn interrupt(&mut self, worker: usize, number: usize) {
        self.counts.interrupted += 1;
        self.model.waiting.remove(&worker);
        for side in &mut self.sides {
            side.workers[worker].strike();
            let what = format!("step {number}: a signal for {worker} on {}", side.name);
            assert_eq!(side.workers[worker].answer(&what), libc::EINTR, "{what}");
        }
    }

    fn kill(&mut self, worker: usize, number: usize) {
        self.counts.killed += 1;
        self.model.gone(worker);
        self.sides.iter_mut().for_each(|side| side.replace(worker));
        // A probe would see what those take who were in line.
        self.serve(number);
        for side in &self.sides {
            let what = format!("step {number}: the locks after {worker} died on {}", side.name);
            wait::until_true(SETTLED, &what, || side.shows(&self.model));
        }
    }
}

fn waits(order: Order) -> bool {
    match order {
        Order::Record { command, .. } => COMMANDS.iter().any(|(_, later)| *later == command),
        Order::Flock { operation, .. } => operation & libc::LOCK_NB == 0,
        Order::Close { .. } => false,
    }
}

fn at_once(order: Order) -> Order {
    match order {
        Order::Record { command, file, kind, start, len } => {
            let now = COMMANDS.iter().find(|(_, later)| *later == command);
            let command = now.map_or(command, |(now, _)| *now);
            Order::Record { command, file, kind, start, len }
        }
        Order::Flock { file, operation } => {
            Order::Flock { file, operation: operation | libc::LOCK_NB }
        }
        close => close,
    }
}
