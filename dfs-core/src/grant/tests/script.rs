//! Runs the scripts in `testdata/grant`: one directive per event, the effects as its output.
//!
//! `request req=1 session=1 mode=write` with `ino`, `bytes=(start,end)`, `desired=(start,end)`,
//! `nonblock`, `wait_ms`, `hold_ms`; other directives name the grant by `g=<n>`, the n-th given
//! out. `wait ms=` lets time pass and runs each deadline on its own.

use std::fmt::Write;

use datadriven::{TestCase, walk};

use super::*;

/// A bench that names grants by the order in which they were given.
struct Script {
    b: Bench,
    given: Vec<Grant>,
}

impl Script {
    fn run(&mut self, case: &TestCase) -> String {
        let event = match case.directive.as_str() {
            "wait" => return self.wait(Duration::from_millis(required(case, "ms"))),
            "grants" => return self.list(),
            "commit" => return self.commit(case),
            "restart" => {
                self.b.table = GrantTable::new();
                self.b.seq = Sequencer::new(required(case, "leader") as u16);
                return String::new();
            }
            "request" => Event::Request(self.request(case)),
            "rescue" => {
                let lost = self.grant(case);
                Event::Rescue(Rescue {
                    req: RequestId(required(case, "req")),
                    session: lost.session,
                    ino: lost.ino,
                    range: lost.range,
                    old_fence: lost.fence,
                    min_hold: HOLD,
                })
            }
            "reclaim" => {
                let Grant { session, ino, id, fence, mode, range, .. } = self.grant(case);
                Event::Reclaim(Reclaim {
                    session,
                    ino,
                    id,
                    fence,
                    mode,
                    range,
                    min_hold: Duration::ZERO,
                })
            }
            "cancel" => Event::Cancel { req: RequestId(required(case, "req")) },
            "lapsed" => Event::Lapsed { session: SessionId(required(case, "session")) },
            "back" => Event::Back { session: SessionId(required(case, "session")) },
            "gone" => Event::Gone { session: SessionId(required(case, "session")) },
            _ => self.on_grant(case),
        };
        let effects = self.b.step(event);
        self.show(&effects)
    }

    fn on_grant(&self, case: &TestCase) -> Event {
        let Grant { session, ino, id, fence, .. } = self.grant(case);
        match case.directive.as_str() {
            "release" => Event::Release { session, ino, id, fence },
            "progress" => Event::Progress { session, id, bytes: required(case, "bytes") },
            "durable" => Event::LostDurable { ino, id },
            other => panic!("unknown directive {other}"),
        }
    }

    fn request(&self, case: &TestCase) -> Request {
        let range = |key: &str| match case.args.get(key) {
            Some(ends) => Range::new(parse(key, &ends[0]), parse(key, &ends[1])),
            None => Range::ALL,
        };
        let required_bytes = range("bytes");
        Request {
            req: RequestId(required(case, "req")),
            session: SessionId(required(case, "session")),
            ino: Ino(number(case, "ino").unwrap_or(INO.0)),
            mode: match case.args["mode"][0].as_str() {
                "read" => Mode::Read,
                "write" => Mode::Write,
                other => panic!("unknown mode {other}"),
            },
            required: required_bytes,
            desired: match case.args.contains_key("desired") {
                true => range("desired"),
                false => required_bytes,
            },
            nonblock: case.args.contains_key("nonblock"),
            deadline: self.b.now + Duration::from_millis(number(case, "wait_ms").unwrap_or(60_000)),
            min_hold: Duration::from_millis(number(case, "hold_ms").unwrap_or(5_000)),
        }
    }

    fn grant(&self, case: &TestCase) -> Grant {
        self.given[required(case, "g") as usize - 1]
    }

    fn commit(&self, case: &TestCase) -> String {
        match self.b.may_commit(self.grant(case)) {
            true => "allowed\n".to_owned(),
            false => "fenced\n".to_owned(),
        }
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

    fn list(&self) -> String {
        let line = |info: GrantInfo| {
            let Grant { session, ino, mode, range, .. } = info.grant;
            let (name, state) = (self.name(info.grant.id), info.state.name());
            let waiters = info.waiters;
            format!(
                "{name} ino {ino} session {session} {mode:?} {range:?} {state} waiters {waiters}\n"
            )
        };
        self.b.table.grants().map(line).collect()
    }

    fn show(&mut self, effects: &[Effect]) -> String {
        effects.iter().map(|effect| self.show_one(effect) + "\n").collect()
    }

    fn name(&self, id: GrantId) -> String {
        let at = self.given.iter().position(|known| known.id == id);
        at.map_or("unknown".to_owned(), |at| format!("g{}", at + 1))
    }

    fn show_one(&mut self, effect: &Effect) -> String {
        match effect {
            Effect::Granted { req, grant, fresh } => {
                if *fresh {
                    self.given.push(*grant);
                }
                let Grant { session, mode, range, .. } = *grant;
                let hold = grant.min_until.since(self.b.now);
                let name = self.name(grant.id);
                let kind = if *fresh { "granted" } else { "granted again" };
                format!(
                    "{kind} {req}: {name} to session {session} {mode:?} {range:?} hold {hold:?}"
                )
            }
            Effect::Denied { req, error } => format!("denied {req}: {:?}", error.code),
            Effect::Reclaimed { grant } => format!("reclaimed {}", self.name(grant.id)),
            Effect::Fenced { id, .. } => format!("fenced {}", self.name(*id)),
            Effect::Recall { session, id, hold, .. } => {
                format!("recall {} from session {session} hold {hold:?}", self.name(*id))
            }
            Effect::JournalLost { session, id, .. } => {
                format!("journal lost {} of session {session}", self.name(*id))
            }
            Effect::Revoked { id, .. } => format!("revoked {}", self.name(*id)),
            Effect::Dropped { id, .. } => format!("dropped {}", self.name(*id)),
        }
    }
}

fn number(case: &TestCase, key: &str) -> Option<u64> {
    case.args.get(key).and_then(|values| values.first()).map(|value| parse(key, value))
}

fn required(case: &TestCase, key: &str) -> u64 {
    number(case, key).unwrap_or_else(|| panic!("{} needs {key}", case.directive))
}

fn parse(key: &str, value: &str) -> u64 {
    match value {
        "inf" => u64::MAX,
        value => value.parse().unwrap_or_else(|_| panic!("{key} is not a number")),
    }
}

#[test]
fn grant_scripts() {
    walk("testdata/grant", |file| {
        let mut script = Script { b: Bench::new(), given: Vec::new() };
        file.run(|case| script.run(case));
    });
}
