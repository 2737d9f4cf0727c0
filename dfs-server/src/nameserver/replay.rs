//! Exactly once: which operations of a session run now, and which may have run before
//! (PROTOCOL 2.7). The stored answers themselves are rows of the metadata store.

use super::op::Outcome;
use dfs_core::limits::REPLAY_SLOTS;
use dfs_core::{Code, FsError, OpId, Result, SessionId};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::oneshot;

type Answer = Result<Outcome>;

/// What to do with an operation that arrives.
pub enum Arrival {
    /// Run it. `asked_before`: look for a stored answer first.
    Run {
        /// Whether the number may have been used before.
        asked_before: bool,
    },
    /// It runs already; here comes its answer.
    Attach(oneshot::Receiver<Answer>),
}

/// Running operations of all sessions.
#[derive(Default)]
pub struct Replay {
    sessions: HashMap<SessionId, Slots>,
}

#[derive(Default)]
struct Slots {
    running: HashMap<OpId, Vec<oneshot::Sender<Answer>>>,
    /// Highest number seen, if the session was opened in this life of the server. An older session
    /// may repeat any number.
    highest: Option<OpId>,
}

impl Replay {
    /// An operation arrives. Fails with `Retry` when the session has too many running.
    pub fn arrive(&mut self, sid: SessionId, op: OpId) -> Result<Arrival> {
        let slots = self.sessions.entry(sid).or_default();
        if let Some(waiters) = slots.running.get_mut(&op) {
            let (tx, rx) = oneshot::channel();
            waiters.push(tx);
            return Ok(Arrival::Attach(rx));
        }
        if slots.running.len() >= REPLAY_SLOTS {
            let text = format!("session {sid} has {REPLAY_SLOTS} operations running");
            return Err(FsError::new(Code::Retry(Duration::from_millis(20)), text));
        }
        slots.running.insert(op, Vec::new());
        let asked_before = slots.highest.is_none_or(|highest| op <= highest);
        slots.highest = slots.highest.map(|highest| highest.max(op));
        Ok(Arrival::Run { asked_before })
    }

    /// A session is opened: it has asked for nothing yet.
    pub fn opened(&mut self, sid: SessionId) {
        self.sessions.entry(sid).or_default().highest = Some(OpId(0));
    }

    /// An operation ends: everybody who asked for it gets the answer.
    pub fn finish(&mut self, sid: SessionId, op: OpId, answer: &Answer) {
        let waiters = self.sessions.get_mut(&sid).and_then(|slots| slots.running.remove(&op));
        for waiter in waiters.into_iter().flatten() {
            // Whoever gave up waiting does not need it.
            let _ = waiter.send(answer.clone());
        }
    }

    /// A session is over. Its running operations end by themselves.
    pub fn forget(&mut self, sid: SessionId) {
        self.sessions.remove(&sid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replay_second_arrival_gets_the_first_answer() {
        let (mut replay, sid, op) = (Replay::default(), SessionId(1), OpId(7));
        replay.opened(sid);
        assert!(matches!(replay.arrive(sid, op).unwrap(), Arrival::Run { asked_before: false }));
        let Arrival::Attach(mut rx) = replay.arrive(sid, op).unwrap() else {
            panic!("the operation runs")
        };
        let outcome = Outcome { created: true, ..Outcome::default() };
        replay.finish(sid, op, &Ok(outcome.clone()));
        assert_eq!(rx.try_recv().unwrap().unwrap(), outcome);
        assert!(matches!(replay.arrive(sid, op).unwrap(), Arrival::Run { asked_before: true }));
        assert!(matches!(
            replay.arrive(sid, OpId(8)).unwrap(),
            Arrival::Run { asked_before: false }
        ));
    }

    #[test]
    fn replay_session_of_an_earlier_life_may_repeat_any_number() {
        let mut replay = Replay::default();
        for op in [OpId(5), OpId(6)] {
            let arrival = replay.arrive(SessionId(1), op).unwrap();
            assert!(matches!(arrival, Arrival::Run { asked_before: true }));
        }
    }

    #[test]
    fn replay_slots_are_bounded() {
        let mut replay = Replay::default();
        for op in 0..REPLAY_SLOTS as u64 {
            assert!(replay.arrive(SessionId(1), OpId(op)).is_ok());
        }
        let refused = replay.arrive(SessionId(1), OpId(u64::MAX)).err().unwrap();
        assert!(matches!(refused.code, Code::Retry(_)));
        assert!(replay.arrive(SessionId(2), OpId(1)).is_ok());
    }
}
