//! Requests that wait, and ending those whose caller got a signal (PROTOCOL 5.4).
//!
//! fuser answers the kernel's INTERRUPT with "not supported", so a caller cannot leave a request by
//! itself. Every request that is not answered at once stands on this list; a watcher thread looks
//! at the signals of those that have waited longer than [`PATIENCE`] and raises their
//! [`Interrupt`]. The request then ends itself with EINTR.

use crate::task_status::{self, Signals};
use dfs_client::interrupt::Interrupt;
use dfs_core::Ino;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Requests younger than this are not looked at, and the list is looked through this often.
pub const PATIENCE: Duration = Duration::from_millis(50);
/// Threads looked at in one round (each costs about 20 us); the next round goes on behind them.
const ROUND: usize = 256;
/// Rounds without a request after which the watcher sleeps until the next one. Waking it costs more
/// than most requests take, so it does not sleep between them.
const IDLE_ROUNDS: u32 = 20;
/// Operations that any signal with a handler ends: those that wait for others by their nature, and
/// that POSIX lets fail with EINTR.
const WAITING: [&str; 3] = ["open", "create", "setlk"];
/// Operations that change nothing: signals by which somebody asks the program to stop end them, so
/// that a shell does not hang in `cd` until a lost server is back. Everything else ends only with its
/// process, as on a local disk: programs do not expect EINTR of rmdir(2) or fsync(2).
const ASKING: [&str; 13] = [
    "access",
    "getattr",
    "getlk",
    "getxattr",
    "listxattr",
    "lookup",
    "lseek",
    "opendir",
    "read",
    "readdir",
    "readdirplus",
    "readlink",
    "statfs",
];
/// Requests this old are logged, once each.
const LOG_AFTER: Duration = Duration::from_secs(5);

/// Whether an operation only asks for something.
pub fn changes_nothing(op: &str) -> bool {
    ASKING.contains(&op)
}

/// A request that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Operation.
    pub op: &'static str,
    /// Inode it is about.
    pub ino: Ino,
    /// Thread that waits, as this process sees it; 0: none.
    pub tid: u32,
    /// Since when.
    pub since: Instant,
    /// Ends its waits.
    pub interrupt: Interrupt,
    raised: bool,
    logged: bool,
}

impl Waiting {
    /// A request that begins to wait now.
    pub fn new(op: &'static str, ino: Ino, tid: u32, interrupt: Interrupt) -> Waiting {
        let since = Instant::now();
        Waiting { op, ino, tid, since, interrupt, raised: false, logged: false }
    }
}

/// The list. Dropping the last handle ends the watcher.
pub struct WaitList {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// The watcher must be woken for the next request.
    asleep: bool,
    closed: bool,
}

/// A place on the list; dropping it takes the request off.
pub struct Place {
    shared: Arc<Shared>,
    number: u64,
}

impl WaitList {
    /// An empty list with its watcher thread.
    pub fn start() -> std::io::Result<WaitList> {
        let shared = Arc::new(Shared::default());
        let watched = shared.clone();
        let watcher = std::thread::Builder::new()
            .name("dfs-waitlist".to_owned())
            .spawn(move || watched.watch())?;
        Ok(WaitList { shared, watcher: Some(watcher) })
    }

    /// Whether there is a request younger than [`PATIENCE`] on it: several are served at a time.
    pub fn is_busy(&self) -> bool {
        let state = self.shared.lock();
        let newest = state.waiting.last_key_value();
        newest.is_some_and(|(_, waiting)| waiting.since.elapsed() < PATIENCE)
    }

    /// Puts a request on the list.
    pub fn add(&self, waiting: Waiting) -> Place {
        let mut state = self.shared.lock();
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, waiting);
        if std::mem::take(&mut state.asleep) {
            self.shared.changed.notify_one();
        }
        Place { shared: self.shared.clone(), number }
    }

    /// Who waits now, oldest first.
    pub fn snapshot(&self) -> Vec<Waiting> {
        self.shared.lock().waiting.values().cloned().collect()
    }
}

impl Drop for WaitList {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.lock().waiting.remove(&self.number);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks through the list once per [`PATIENCE`]; sleeps when it stays empty.
    fn watch(&self) {
        let (mut behind, mut empty_rounds) = (0, 0);
        let mut state = self.lock();
        while !state.closed {
            empty_rounds = if state.waiting.is_empty() { empty_rounds + 1 } else { 0 };
            if empty_rounds > IDLE_ROUNDS {
                state.asleep = true;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                empty_rounds = 0;
                continue;
            }
            let waited = self.changed.wait_timeout(state, PATIENCE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            let (round, next) = due(&mut state, behind, Instant::now());
            behind = next;
            drop(state);
            let hit: Vec<_> = round.into_iter().filter(Candidate::is_hit).collect();
            state = self.lock();
            for candidate in hit {
                state.raise(candidate.number);
            }
        }
    }
}

impl State {
    /// Ends the waits of a request, if it still stands on the list.
    fn raise(&mut self, number: u64) {
        if let Some(waiting) = self.waiting.get_mut(&number) {
            let Waiting { op, ino, tid, .. } = *waiting;
            tracing::debug!(op, inode = %ino, tid, "caller got a signal, request ends");
            waiting.raised = true;
            waiting.interrupt.raise();
        }
    }
}

/// The next requests to look at, behind number `behind`, and where the round after goes on.
fn due(state: &mut State, behind: u64, now: Instant) -> (Vec<Candidate>, u64) {
    let mut round = Vec::new();
    for (&number, waiting) in state.waiting.range_mut((Bound::Included(behind), Bound::Unbounded)) {
        let age = now.duration_since(waiting.since);
        if age < PATIENCE {
            break; // The rest is younger.
        }
        if age >= LOG_AFTER && !waiting.logged {
            waiting.logged = true;
            tracing::debug!(op = waiting.op, inode = %waiting.ino, tid = waiting.tid, ?age, "request waits");
        }
        if waiting.tid != 0 && !waiting.raised {
            if round.len() == ROUND {
                return (round, number);
            }
            round.push(Candidate { number, tid: waiting.tid, op: waiting.op });
        }
    }
    (round, 0)
}

/// A request whose caller is looked at.
struct Candidate {
    number: u64,
    tid: u32,
    op: &'static str,
}

impl Candidate {
    /// Whether the thread has a signal that ends its request. One that cannot be seen is let be: a
    /// thread that waits inside a request is never gone, so it is only hidden from us.
    fn is_hit(&self) -> bool {
        let signals = task_status::read(self.tid).map(|status| Signals::parse(&status));
        signals.is_some_and(|signals| match self.op {
            op if WAITING.contains(&op) => signals.interrupt(),
            op if changes_nothing(op) => signals.stop(),
            _ => signals.kill(),
        })
    }
}

#[cfg(test)]
mod tests;
