//! Runs the scripts in `testdata/session`: one directive per event, the effects as its output.
//!
//! Arguments: `uuid`, `verifier`, `sid` (the n-th session opened), `ino`, `fence`, `push`,
//! `leader`; `wait <ms>` lets time pass and runs each deadline on its own.

use std::fmt::Write;

use datadriven::{TestCase, walk};

use super::*;
use crate::{Fence, Ino};

/// A bench that journals, and names sessions by the order of their opening.
struct Script {
    b: Bench,
    journal: Vec<OpenSession>,
    opened: Vec<(SessionId, Seq)>,
}

impl Script {
    fn run(&mut self, case: &TestCase) -> String {
        let number = |key: &str| -> u64 { number(case, key).unwrap_or_default() };
        let (sid, epoch) = match number("sid") {
            0 => (SessionId(0), Seq(0)),
            n => self.opened[n as usize - 1],
        };
        let item = match case.args.contains_key("locks") {
            true => LostItem::Locks { ino: Ino(number("ino")) },
            false => LostItem::Grant { ino: Ino(number("ino")), fence: Fence(number("fence")) },
        };
        let event = match case.directive.as_str() {
            "wait" => return self.wait(Duration::from_millis(number("ms"))),
            "restart" => {
                let effects = self.b.restart(self.journal.clone(), number("leader") as u16);
                return self.show(&effects);
            }
            "check" => return self.check(sid, epoch),
            "sessions" => return self.list(),
            "establish" => establish(number("uuid") as u8, number("verifier") as u8),
            "attach" => Event::Attach { sid, epoch },
            "renew" => Event::Renew { sid, epoch, overdue: self::number(case, "push") },
            "conflict" => Event::Conflict { sid, item },
            "done" => Event::ReclaimDone { sid },
            "close" => Event::Close { sid },
            "expire" => Event::Expire { sid, reason: CloseReason::Administrator },
            other => panic!("unknown directive {other}"),
        };
        let effects = self.b.step(event);
        self.show(&effects)
    }

    fn wait(&mut self, time: Duration) -> String {
        let end = self.b.now + time;
        let mut text = String::new();
        while let Some(due) = self.b.table.next_deadline().filter(|&due| due <= end) {
            let passed = due.since(self.b.now);
            self.b.now = due;
            let effects = self.b.step(Event::Tick);
            write!(text, "after {passed:?}:\n{}", self.show(&effects)).expect("to a string");
        }
        self.b.now = end;
        text
    }

    fn check(&self, sid: SessionId, epoch: Seq) -> String {
        let say = |result: Result<()>| match result {
            Ok(()) => "yes".to_owned(),
            Err(error) => format!("{:?}", error.code),
        };
        let reads = say(self.b.table.check_read(sid, epoch, self.b.now));
        let mutations = say(self.b.table.check(sid, epoch, self.b.now));
        format!("read: {reads}\nmutate: {mutations}\n")
    }

    fn list(&self) -> String {
        let line = |info: SessionInfo<'_>| {
            format!("{} {} lost {}\n", self.name(info.sid), info.state.name(), info.lost)
        };
        self.b.table.sessions().map(line).collect()
    }

    fn show(&mut self, effects: &[Effect]) -> String {
        effects.iter().map(|effect| self.show_one(effect) + "\n").collect()
    }

    fn name(&self, sid: SessionId) -> String {
        let at = self.opened.iter().position(|&(known, _)| known == sid);
        at.map_or("unknown".to_owned(), |at| format!("s{}", at + 1))
    }

    fn show_one(&mut self, effect: &Effect) -> String {
        let lost = |lost: &[LostItem]| lost.iter().map(show_item).collect::<Vec<_>>().join(", ");
        match effect {
            Effect::JournalOpen { session } => {
                self.opened.push((session.sid, session.epoch));
                self.journal.push(session.clone());
                format!("journal open {}", self.name(session.sid))
            }
            Effect::JournalClose { sid, reason } => {
                self.journal.retain(|session| session.sid != *sid);
                format!("journal close {} ({reason:?})", self.name(*sid))
            }
            Effect::JournalLost { sid, item } => {
                let name = self.name(*sid);
                let session = self.journal.iter_mut().find(|session| session.sid == *sid);
                session.expect("an open session").lost.push(*item);
                format!("journal lost {name} {}", show_item(item))
            }
            Effect::Established { sid, term, resumed, reclaim, lost: items, .. } => format!(
                "established {} term {term:?} resumed={resumed} reclaim={reclaim} lost=[{}]",
                self.name(*sid),
                lost(items)
            ),
            Effect::Attached { sid, lost: items, reclaim } => {
                format!("attached {} reclaim={reclaim} lost=[{}]", self.name(*sid), lost(items))
            }
            Effect::Refused(error) => format!("refused {:?}", error.code),
            Effect::RenewAck { sid, term, blocked_on: None } => {
                format!("renewed {} term {term:?}", self.name(*sid))
            }
            Effect::RenewAck { sid, term, blocked_on: Some(push) } => {
                format!("renewed {} term {term:?} blocked on {push}", self.name(*sid))
            }
            Effect::Reclaimed { sid } => format!("reclaimed {}", self.name(*sid)),
            Effect::Lapsed { sid } => format!("lapsed {}", self.name(*sid)),
            Effect::Back { sid } => format!("back {}", self.name(*sid)),
            Effect::Gone { sid } => format!("gone {}", self.name(*sid)),
            Effect::DropUnreclaimed { sid, floor } => {
                let session = self.journal.iter_mut().find(|session| session.sid == *sid);
                let session = session.expect("an open session");
                (session.floor, session.absent) = (*floor, true);
                format!("drop unreclaimed {}", self.name(*sid))
            }
            Effect::JournalReturned { sid } => {
                let session = self.journal.iter_mut().find(|session| session.sid == *sid);
                session.expect("an open session").absent = false;
                format!("journal returned {}", self.name(*sid))
            }
            Effect::GraceEnd => "grace end".to_owned(),
        }
    }
}

fn show_item(item: &LostItem) -> String {
    match item {
        LostItem::Grant { ino, fence } => format!("grant {ino}/{fence}"),
        LostItem::Locks { ino } => format!("locks {ino}"),
    }
}

fn number(case: &TestCase, key: &str) -> Option<u64> {
    let values = case.args.get(key)?;
    Some(values.first()?.parse().unwrap_or_else(|_| panic!("{key} is not a number")))
}

#[test]
fn session_scripts() {
    walk("testdata/session", |file| {
        let b = Bench::new(Config::default());
        let mut script = Script { b, journal: Vec::new(), opened: Vec::new() };
        file.run(|case| script.run(case));
    });
}
