//! Tests of the grant table: one per row of PROTOCOL 9.2, scripts, and random schedules against a
//! naive model.

mod naive;
mod random;
mod rows;
mod script;

use std::time::Duration;

use super::*;

/// A table with its sequence numbers and clock.
struct Bench {
    table: GrantTable,
    seq: Sequencer,
    now: BootTime,
}

impl Bench {
    fn new() -> Bench {
        Bench { table: GrantTable::new(), seq: Sequencer::new(1), now: at(1_000_000) }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        self.table.step(self.now, event, &mut self.seq)
    }

    fn wait(&mut self, ms: u64) -> Vec<Effect> {
        self.now = self.now + Duration::from_millis(ms);
        self.step(Event::Tick)
    }

    /// A request for the whole of inode 7 that waits a minute and holds five seconds.
    fn ask(&self, req: u64, session: u64, mode: Mode) -> Request {
        Request {
            req: RequestId(req),
            session: SessionId(session),
            ino: INO,
            mode,
            required: Range::ALL,
            desired: Range::ALL,
            nonblock: false,
            deadline: self.now + Duration::from_secs(60),
            min_hold: HOLD,
        }
    }

    fn request(&mut self, req: u64, session: u64, mode: Mode) -> Vec<Effect> {
        let request = self.ask(req, session, mode);
        self.step(Event::Request(request))
    }

    /// A write request that is granted at once.
    fn write(&mut self, req: u64, session: u64) -> Grant {
        let effects = self.request(req, session, Mode::Write);
        granted(&effects).unwrap_or_else(|| panic!("not granted: {effects:?}"))
    }

    fn release(&mut self, grant: Grant) -> Vec<Effect> {
        let Grant { session, ino, id, fence, .. } = grant;
        self.step(Event::Release { session, ino, id, fence })
    }

    fn durable(&mut self, grant: Grant) -> Vec<Effect> {
        self.step(Event::LostDurable { ino: grant.ino, id: grant.id })
    }

    fn may_commit(&self, grant: Grant) -> bool {
        let Grant { session, ino, id, fence, range, .. } = grant;
        self.table.check_commit(session, ino, id, fence, range).is_ok()
    }

    fn state(&self, grant: Grant) -> Option<State> {
        self.table.grants().find(|info| info.grant.id == grant.id).map(|info| info.state)
    }
}

const INO: Ino = Ino(7);
const HOLD: Duration = Duration::from_secs(5);

fn at(ms: u64) -> BootTime {
    BootTime(Duration::from_millis(ms))
}

/// The first grant answered by the effects.
fn granted(effects: &[Effect]) -> Option<Grant> {
    effects.iter().find_map(|effect| match effect {
        Effect::Granted { grant, .. } => Some(*grant),
        _ => None,
    })
}

/// The first refusal of a request.
fn denied(effects: &[Effect]) -> Option<(u64, Code)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Denied { req, error } => Some((req.0, error.code)),
        _ => None,
    })
}

fn recall(grant: Grant, hold_ms: u64) -> Effect {
    let Grant { session, ino, id, fence, .. } = grant;
    Effect::Recall { session, ino, id, fence, hold: Duration::from_millis(hold_ms) }
}

fn journal_lost(grant: Grant) -> Effect {
    let Grant { session, ino, id, fence, .. } = grant;
    Effect::JournalLost { session, ino, id, fence }
}

fn revoked(grant: Grant) -> Effect {
    let Grant { session, ino, id, fence, .. } = grant;
    Effect::Revoked { session, ino, id, fence }
}

fn dropped(grant: Grant) -> Effect {
    let Grant { session, ino, id, fence, .. } = grant;
    Effect::Dropped { session, ino, id, fence }
}
