//! Tests of the session table: one per row of PROTOCOL 9.1, scripts, and random schedules.

mod random;
mod rows;
mod script;

use std::time::Duration;

use super::*;

/// A table with its sequence numbers and clock.
struct Bench {
    table: SessionTable,
    seq: Sequencer,
    now: BootTime,
}

impl Bench {
    fn new(config: Config) -> Bench {
        Bench { table: SessionTable::new(config), seq: Sequencer::new(1), now: at(100_000) }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        self.table.step(self.now, event, &mut self.seq)
    }

    fn wait(&mut self, ms: u64) -> Vec<Effect> {
        self.now = self.now + Duration::from_millis(ms);
        self.step(Event::Tick)
    }

    /// Establishes and returns session and epoch.
    fn establish(&mut self, uuid: u8, verifier: u8) -> (SessionId, Seq) {
        let effects = self.step(establish(uuid, verifier));
        match effects.last() {
            Some(&Effect::Established { sid, epoch, .. }) => (sid, epoch),
            other => panic!("not established: {other:?}"),
        }
    }

    /// The table of a server that starts now with what the journal says of `self`.
    fn restart(&mut self, records: Vec<OpenSession>, epoch: u16) -> Vec<Effect> {
        self.table = SessionTable::new(self.table.config.clone());
        self.seq = Sequencer::new(epoch);
        self.step(Event::Load { sessions: records })
    }
}

fn at(ms: u64) -> BootTime {
    BootTime(Duration::from_millis(ms))
}

fn establish(uuid: u8, verifier: u8) -> Event {
    let description = format!("host{uuid}:/mnt");
    Event::Establish { uuid: [uuid; 16], verifier: [verifier; 16], description }
}

fn record(uuid: u8, number: u64, lost: Vec<LostItem>) -> OpenSession {
    OpenSession {
        sid: SessionId(number),
        epoch: Seq(number),
        uuid: [uuid; 16],
        verifier: [1; 16],
        description: String::new(),
        lost,
        floor: Seq::default(),
        absent: false,
    }
}
