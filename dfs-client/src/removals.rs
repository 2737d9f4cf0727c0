//! Removals, and new names, that were answered when they were sent (`docs/design/0028`, 0039): in a
//! directory that is delegated to this client nobody else can tell whether the server has carried them
//! out yet.
//!
//! Whoever asks the server anything waits until those under way are over, and so does the ack that
//! gives the directory back. They may overtake each other, unless one follows another (`steps.rs`).

use dfs_core::Ino;
use dfs_core::limits::AHEAD_CALLS;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Most that are under way; the next one waits for the first of them.
const AT_ONCE: usize = AHEAD_CALLS;

/// See the module.
#[derive(Debug)]
pub(crate) struct Removals {
    /// Directories, and how many are under way in each.
    dirs: Mutex<BTreeMap<Ino, usize>>,
    ended: Notify,
    slots: Arc<Semaphore>,
}

impl Default for Removals {
    fn default() -> Removals {
        Removals {
            dirs: Mutex::default(),
            ended: Notify::new(),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

/// One removal, under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Removal {
    all: Arc<Removals>,
    dirs: Vec<Ino>,
    _slot: OwnedSemaphorePermit,
}

impl Removals {
    /// A removal begins that `dirs` must not be given back before. Waits while there are too many.
    pub(crate) async fn begin(self: &Arc<Self>, dirs: Vec<Ino>) -> Removal {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        let mut under_way = self.dirs();
        dirs.iter().for_each(|dir| *under_way.entry(*dir).or_default() += 1);
        drop(under_way);
        Removal { all: Arc::clone(self), dirs, _slot: slot }
    }

    /// Directories in which some are under way.
    pub(crate) fn under_way(&self) -> Vec<Ino> {
        self.dirs().keys().copied().collect()
    }

    /// Whether the next one has to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.slots.available_permits() == 0
    }

    /// Whether any is under way in one of these directories.
    pub(crate) fn touch(&self, dirs: &[Ino]) -> bool {
        let under_way = self.dirs();
        dirs.iter().any(|dir| under_way.contains_key(dir))
    }

    /// Returns when none is under way in any of these directories.
    pub(crate) async fn over(&self, dirs: &[Ino]) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if !self.touch(dirs) {
                return;
            }
            ended.await;
        }
    }

    fn dirs(&self) -> MutexGuard<'_, BTreeMap<Ino, usize>> {
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        let mut under_way = self.all.dirs();
        for dir in &self.dirs {
            if let Some(count) = under_way.get_mut(dir) {
                *count -= 1;
                if *count == 0 {
                    under_way.remove(dir);
                }
            }
        }
        drop(under_way);
        self.all.ended.notify_waiters();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;

    /// Whether a future is ready when it is polled once.
    pub(crate) async fn is_ready(future: impl Future<Output = ()>) -> bool {
        tokio::pin!(future);
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
    }

    #[tokio::test]
    async fn removals_are_waited_for_by_directory() {
        let all = Arc::new(Removals::default());
        let (one, two) = (Ino(1), Ino(2));
        let first = all.begin(vec![one, two]).await;
        let second = all.begin(vec![one]).await;
        assert_eq!(all.under_way(), [one, two]);
        drop(first);
        assert!(is_ready(all.over(&[two])).await && !is_ready(all.over(&[two, one])).await);
        let waited_for = [one];
        let waiting = all.over(&waited_for);
        tokio::pin!(waiting);
        assert!(!is_ready(waiting.as_mut()).await);
        drop(second);
        waiting.await;
        assert!(all.under_way().is_empty());
    }

    #[tokio::test]
    async fn removals_under_way_are_bounded() {
        let all = Arc::new(Removals::default());
        let mut some = Vec::new();
        for n in 0..AT_ONCE as u64 {
            some.push(all.begin(vec![Ino(n)]).await);
        }
        let next = async { drop(all.begin(vec![Ino(7)]).await) };
        assert!(!is_ready(next).await);
        some.pop();
        assert!(is_ready(async { drop(all.begin(vec![Ino(7)]).await) }).await);
    }
}
