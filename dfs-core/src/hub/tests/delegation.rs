//! Delegations under random schedules: while a directory is one session's, nobody else is promised
//! anything of it, and none outlives the promise it stands on.

use crate::hub::{Config, Effect, Event, Hold, Hub, IntentKey, Item, Key, MutationId, Push};
use crate::seq::Sequencer;
use crate::{BootTime, Ino, SessionId, name::Name};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SESSIONS: u64 = 3;
const DIRS: u64 = 2;

#[derive(Clone, Debug)]
enum Step {
    /// A session changes a name: on to the answer if nobody has to be waited for.
    Change(u64, u64),
    /// A session looks, as the shell does it: a delegation to another ends first.
    Look(u64, u64, bool),
    /// A session answers its oldest push.
    Ack(u64),
    Forget(u64, u64),
    Void(u64),
    Activate(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (session, dir) = (1..=SESSIONS, 10..10 + DIRS);
    prop_oneof![
        4 => (session.clone(), dir.clone()).prop_map(|(s, d)| Step::Change(s, d)),
        4 => (session.clone(), dir.clone(), any::<bool>()).prop_map(|(s, d, n)| Step::Look(s, d, n)),
        4 => session.clone().prop_map(Step::Ack),
        1 => (session.clone(), dir).prop_map(|(s, d)| Step::Forget(s, d)),
        1 => session.clone().prop_map(Step::Void),
        1 => session.prop_map(Step::Activate),
    ]
}

struct World {
    hub: Hub,
    seq: Sequencer,
    next: u64,
    unanswered: BTreeMap<u64, Vec<u64>>,
    /// Mutations by number: where they are told to be ready, and the directory they change.
    changes: BTreeMap<u64, Option<Ino>>,
}

impl World {
    fn event(&mut self, event: Event) {
        for effect in self.hub.step(BootTime::default(), event, &mut self.seq) {
            match effect {
                Effect::Send { session, push: Push::Inval { number, .. } } => {
                    self.unanswered.entry(session.0).or_default().push(number);
                }
                Effect::Ready { m, .. } => {
                    let dir = self.changes.remove(&m.0).flatten();
                    let keep =
                        dir.into_iter().flat_map(|dir| [Key::Attr(dir), Key::Dir(dir)]).collect();
                    self.event(Event::Committed { m, keep, delegate: true });
                }
                _ => {}
            }
        }
    }

    fn begin(
        &mut self,
        session: u64,
        dir: Option<Ino>,
        keys: Vec<(IntentKey, Hold)>,
        items: Vec<Item>,
    ) {
        self.next += 1;
        let m = MutationId(self.next);
        let under = keys.iter().map(|(key, _)| key);
        if self.hub.delegated_under(SessionId(session), under).is_some() {
            return; // The shell ends the delegation first: `Look`.
        }
        let granted = self.hub.step(
            BootTime::default(),
            Event::Begin { m, origin: SessionId(session), intents: keys },
            &mut self.seq,
        );
        if !granted.contains(&Effect::Granted { m }) {
            return self.event(Event::Abort { m });
        }
        self.changes.insert(m.0, dir);
        self.event(Event::Push { m, items, origin_open: Vec::new() });
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Change(session, dir) => {
                let (dir, name) = (Ino(dir), Name::new(b"x").unwrap());
                let keys = vec![
                    (IntentKey::Dir(dir), Hold::Shared),
                    (IntentKey::Name(dir, name.clone()), Hold::Exclusive),
                    (IntentKey::Attr(dir), Hold::Shared),
                ];
                let names = Item::DirNames { dir, names: vec![name] };
                self.begin(session, Some(dir), keys, vec![names, Item::Attr { ino: dir }]);
            }
            Step::Look(session, dir, names) => {
                let dir = Ino(dir);
                let key = if names { Key::Dir(dir) } else { Key::Attr(dir) };
                if self.hub.delegated_from(SessionId(session), key).is_some() {
                    self.begin(0, None, Vec::new(), vec![Item::Undelegate { dir }]);
                } else {
                    self.hub.promise(BootTime::default(), SessionId(session), key, None);
                }
            }
            Step::Ack(session) => {
                let Some(numbers) = self.unanswered.get_mut(&session) else { return };
                if numbers.is_empty() {
                    return;
                }
                let (session, number) = (SessionId(session), numbers.remove(0));
                self.event(Event::Ack { session, number, open: Vec::new(), keep: Vec::new() });
            }
            Step::Forget(session, dir) => {
                let keys = vec![Key::Dir(Ino(dir))];
                self.event(Event::Forget { session: SessionId(session), keys });
            }
            Step::Void(session) => self.event(Event::Void { session: SessionId(session) }),
            Step::Activate(session) => self.event(Event::Activate { session: SessionId(session) }),
        }
    }

    fn check(&self) {
        for dir in (10..10 + DIRS).map(Ino) {
            let Some(holder) = self.hub.promises.delegate(dir) else { continue };
            assert!(self.hub.promised(holder, Key::Dir(dir)), "{dir} without promise");
            for other in (1..=SESSIONS).map(SessionId).filter(|other| *other != holder) {
                for key in [Key::Dir(dir), Key::Attr(dir)] {
                    assert!(!self.hub.promised(other, key), "{other} was promised {key:?}");
                    assert!(self.hub.delegated_from(other, key).is_some());
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn delegated_directory_is_known_to_its_holder_alone(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World {
            hub: Hub::new(Config::default()),
            seq: Sequencer::new(1),
            next: 0,
            unanswered: BTreeMap::new(),
            changes: BTreeMap::new(),
        };
        (1..=SESSIONS).for_each(|session| world.take(Step::Activate(session)));
        for step in steps {
            world.take(step);
            world.check();
        }
    }
}

/// Acks come late: what a client answers to a server that was killed reaches the next one, and what it
/// answers in a session that ended reaches the next one, too.
#[test]
fn push_has_a_number_that_no_late_ack_has() {
    let (dir, client) = (Ino(10), SessionId(1));
    let above = 5 << 48;
    let config = Config { pushes_above: above, ..Config::default() };
    let (mut hub, mut seq) = (Hub::new(config), Sequencer::new(1));
    let mut asked = |m: u64, session: SessionId| {
        let mut step = |event| hub.step(BootTime::default(), event, &mut seq);
        step(Event::WasDelegated { session, dirs: vec![dir] });
        step(Event::Begin { m: MutationId(m), origin: SessionId(0), intents: Vec::new() });
        let items = vec![Item::Undelegate { dir }];
        let sent = step(Event::Push { m: MutationId(m), items, origin_open: Vec::new() });
        let number = sent.iter().find_map(|effect| match effect {
            Effect::Send { push: Push::Inval { number, .. }, .. } => Some(*number),
            _ => None,
        });
        let late = Event::Ack { session, number: m, open: Vec::new(), keep: Vec::new() };
        assert!(step(late).is_empty(), "it was for an earlier server");
        step(Event::Gone { session });
        number.unwrap()
    };
    let first = asked(1, client);
    let second = asked(2, SessionId(2));
    assert!(above < first && first < second, "{first} {second}");
}

/// A session had a directory to itself when the server was killed: whoever looks waits for its answer,
/// also when it comes back only then, and no longer than for the session itself.
#[test]
fn delegation_of_before_a_start_is_waited_for_until_it_is_answered_or_given_up() {
    let (dir, holder, other) = (Ino(10), SessionId(1), SessionId(2));
    for given_up in [false, true] {
        let (mut hub, mut seq) = (Hub::new(Config::default()), Sequencer::new(1));
        let mut step = |event| hub.step(BootTime::default(), event, &mut seq);
        step(Event::WasDelegated { session: holder, dirs: vec![dir, Ino(11)] });
        step(Event::Begin { m: MutationId(1), origin: SessionId(0), intents: Vec::new() });
        let items = vec![Item::Undelegate { dir }];
        let asked = step(Event::Push { m: MutationId(1), items, origin_open: Vec::new() });
        let is_asked = |effect: &Effect| match effect {
            Effect::Send { session, push: Push::Inval { number, .. } } if *session == holder => {
                Some(*number)
            }
            _ => None,
        };
        let is_ready = |effect: &Effect| matches!(effect, Effect::Ready { .. });
        let number = asked.iter().find_map(is_asked).unwrap();
        assert!(!asked.iter().any(is_ready));
        step(Event::Activate { session: holder });
        let again = step(Event::Attach { session: holder });
        assert_eq!(again.iter().find_map(is_asked), Some(number), "it may not have heard of it");
        let answered = step(match given_up {
            true => Event::Gone { session: holder },
            false => Event::Ack { session: holder, number, open: Vec::new(), keep: Vec::new() },
        });
        assert!(answered.iter().any(is_ready));
        assert_eq!(hub.delegated_from(other, Key::Dir(dir)), None);
        let left = if given_up { vec![] } else { vec![(Ino(11), holder)] };
        assert_eq!(hub.delegations(), left);
    }
}
