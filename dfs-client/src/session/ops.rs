//! Numbers of the operations of a session (PROTOCOL 2.7).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Gives each operation its number and knows which answers are still awaited.
#[derive(Debug)]
pub(crate) struct Ops {
    state: Mutex<State>,
    slots: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    /// Which session the numbers belong to.
    sid: u64,
    next: u64,
    running: BTreeSet<u64>,
}

/// A running operation; its answer counts as received when this goes.
#[derive(Debug)]
pub(crate) struct Op<'a> {
    ops: &'a Ops,
    /// Session of the number.
    pub(crate) sid: u64,
    /// The number.
    pub(crate) id: u64,
    _slot: OwnedSemaphorePermit,
}

impl Ops {
    /// Numbers of session `sid` from `next` on; at most `slots` operations run at a time.
    pub(crate) fn new(sid: u64, next: u64, slots: usize) -> Ops {
        let state = State { sid, next: next.max(1), running: BTreeSet::new() };
        Ops { state: Mutex::new(state), slots: Arc::new(Semaphore::new(slots)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a panic under this lock is a bug already reported")
    }

    /// Starts over for a new session. Running operations keep their old numbers.
    pub(crate) fn reset(&self, sid: u64, next: u64) {
        *self.state() = State { sid, next: next.max(1), running: BTreeSet::new() };
    }

    /// A new operation; waits while too many run.
    pub(crate) async fn begin(&self) -> Op<'_> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.expect("the slots are never closed");
        let mut state = self.state();
        let (sid, id) = (state.sid, state.next);
        state.next += 1;
        state.running.insert(id);
        Op { ops: self, sid, id, _slot: slot }
    }

    /// Every answer below this number was received.
    pub(crate) fn done_below(&self) -> u64 {
        let state = self.state();
        state.running.first().copied().unwrap_or(state.next)
    }
}

impl Drop for Op<'_> {
    fn drop(&mut self) {
        let mut state = self.ops.state();
        if state.sid == self.sid {
            state.running.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<F: Future>(f: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f)
    }

    #[test]
    fn done_below_stops_at_the_oldest_running_operation() {
        run(async {
            let ops = Ops::new(1, 0, 4);
            let (a, b) = (ops.begin().await, ops.begin().await);
            assert_eq!((a.id, b.id, ops.done_below()), (1, 2, 1));
            drop(b);
            assert_eq!(ops.done_below(), 1);
            drop(a);
            assert_eq!(ops.done_below(), 3);
        });
    }

    #[test]
    fn an_operation_of_an_old_session_does_not_touch_the_new_one() {
        run(async {
            let ops = Ops::new(1, 0, 4);
            let old = ops.begin().await;
            ops.reset(2, 0);
            let new = ops.begin().await;
            assert_eq!((old.id, new.id), (1, 1));
            drop(old);
            assert_eq!(ops.done_below(), 1);
        });
    }
}
