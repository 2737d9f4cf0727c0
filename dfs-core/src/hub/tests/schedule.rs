//! Random schedules of one hub with model clients, checked after every step.

use super::model::{Client, Entry, NAMES, Reply, touched};
use crate::hub::{Config, Effect, Event, Hold, Hub, IntentKey, Item, Key, MutationId};
use crate::seq::Sequencer;
use crate::{BootTime, Ino, name::Name};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DIRS: [u64; 2] = [1, 2];
const FILES: [u64; 4] = [10, 11, 12, 13];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Granted,
    Pushed,
    Ready,
    Applied,
}

#[derive(Debug)]
struct Change {
    stage: Stage,
    origin: usize,
    /// That of the origin when it asked.
    life: u32,
    intents: Vec<(IntentKey, Hold)>,
    items: Vec<Item>,
    origin_open: Vec<Ino>,
}

impl Change {
    fn entries(&self) -> Vec<Entry> {
        self.items.iter().flat_map(touched).collect()
    }
}

struct World {
    hub: Hub,
    seq: Sequencer,
    now: BootTime,
    clients: Vec<Client>,
    changes: BTreeMap<u64, Change>,
    next: u64,
    /// The real state: versions that grow.
    state: BTreeMap<Entry, u64>,
    unlinked: BTreeMap<Ino, BootTime>,
    freed: BTreeSet<Ino>,
}

fn config() -> Config {
    Config {
        promises_per_session: 6,
        promises_total: 14,
        push_queue: 4,
        hot_holders: 1,
        ..Config::default()
    }
}

impl World {
    fn new() -> World {
        let mut world = World {
            hub: Hub::new(config()),
            seq: Sequencer::new(1),
            now: BootTime::default(),
            clients: (1..4).map(Client::new).collect(),
            changes: BTreeMap::new(),
            next: 0,
            state: BTreeMap::new(),
            unlinked: BTreeMap::new(),
            freed: BTreeSet::new(),
        };
        for client in 0..3 {
            let session = world.clients[client].id;
            world.step(Event::Activate { session });
        }
        world
    }

    fn step(&mut self, event: Event) {
        for effect in self.hub.step(self.now, event, &mut self.seq) {
            match effect {
                Effect::Granted { m } => self.granted(m.0),
                Effect::Ready { m, .. } => self.changes.get_mut(&m.0).unwrap().stage = Stage::Ready,
                Effect::Send { session, push } => {
                    let client = &mut self.clients[session.0 as usize - 1];
                    if client.live {
                        client.inbox.push_back(push);
                    }
                }
                Effect::Kept { m, keys, .. } => self.answer(m.0, &keys),
                Effect::OrphanFree { ino } => self.free(ino),
                Effect::Unpinned { .. } => {}
            }
        }
        self.check();
    }

    fn granted(&mut self, m: u64) {
        for (other, change) in &self.changes {
            let running = change.stage != Stage::Waiting && *other != m;
            let clash = change.intents.iter().any(|(key, hold)| {
                let same = |(k, h): &(IntentKey, Hold)| {
                    k == key && (*h == Hold::Exclusive || *hold == Hold::Exclusive)
                };
                self.changes[&m].intents.iter().any(same)
            });
            assert!(!(running && clash), "{m} runs beside {other}");
        }
        self.changes.get_mut(&m).unwrap().stage = Stage::Granted;
    }

    /// I20: nobody has it open, and the minute is over.
    fn free(&mut self, ino: Ino) {
        assert!(self.now.since(self.unlinked[&ino]) >= config().orphan_grace);
        for client in &mut self.clients {
            let away = !client.live && self.now.since(client.lapsed_at) >= HOUR;
            assert!(away || !client.open.contains(&ino), "{ino} freed under {}", client.id);
            client.open.remove(&ino);
        }
        self.freed.insert(ino);
    }

    fn begin(&mut self, origin: usize, kind: u8, dir: Ino, name: Name, file: Ino) {
        use Hold::{Exclusive, Shared};
        let entry = IntentKey::Name(dir, name.clone());
        let names = Item::DirNames { dir, names: vec![name] };
        let parent = (IntentKey::Attr(dir), Shared);
        let attr = (IntentKey::Attr(file), Exclusive);
        let child = vec![(IntentKey::Dir(dir), Shared), (entry, Exclusive), parent.clone()];
        let (intents, items) = match kind {
            0 => (child, vec![names, Item::Attr { ino: dir }]),
            1 => (vec![attr], vec![Item::Attr { ino: file }]),
            2 => (vec![attr], vec![Item::Data { ino: file, old_ver: 1, unchanged_below: None }]),
            3 => ([child, vec![attr]].concat(), vec![names, Item::Nlink0 { ino: file }]),
            _ => (vec![(IntentKey::Dir(dir), Exclusive), parent], vec![Item::DirAll { dir }]),
        };
        let m = self.next;
        self.next += 1;
        let origin_open = self.clients[origin].open.iter().copied().collect();
        let stage = Stage::Waiting;
        let life = self.clients[origin].life;
        let change = Change { stage, origin, life, intents: intents.clone(), items, origin_open };
        self.clients[origin].own.insert(m, change.entries());
        self.changes.insert(m, change);
        let origin = self.clients[origin].id;
        self.step(Event::Begin { m: MutationId(m), origin, intents });
    }

    /// Moves one change a step on.
    fn advance(&mut self, m: u64, abort: bool) {
        let change = &self.changes[&m];
        let gone = change
            .items
            .iter()
            .any(|i| matches!(i, Item::Nlink0 { ino } if self.unlinked.contains_key(ino)));
        let id = MutationId(m);
        match change.stage {
            Stage::Applied => {
                self.step(Event::Committed { m: id, keep: self.keys(m), delegate: false });
            }
            Stage::Granted if gone => self.abort(m),
            _ if abort => self.abort(m),
            Stage::Granted => {
                let (items, origin_open) = (change.items.clone(), change.origin_open.clone());
                self.changes.get_mut(&m).unwrap().stage = Stage::Pushed;
                self.step(Event::Push { m: id, items, origin_open });
            }
            Stage::Ready => self.apply(m),
            Stage::Waiting | Stage::Pushed => {}
        }
    }

    fn keys(&self, m: u64) -> Vec<Key> {
        self.changes[&m].items.iter().map(Item::key).collect()
    }

    fn abort(&mut self, m: u64) {
        let change = self.changes.remove(&m).unwrap();
        self.clients[change.origin].own.remove(&m);
        self.step(Event::Abort { m: MutationId(m) });
    }

    /// The change happens: nobody but its origin may still have the old state.
    fn apply(&mut self, m: u64) {
        let change = self.changes.get_mut(&m).unwrap();
        change.stage = Stage::Applied;
        self.seq.next();
        for entry in change.entries() {
            for (n, client) in self.clients.iter().enumerate() {
                let gone = matches!(entry, Entry::Attr(ino) if self.freed.contains(&ino));
                let stale = !gone && n != change.origin && client.cache.contains_key(&entry);
                assert!(!stale, "{} still caches {entry:?}", client.id);
            }
            *self.state.entry(entry).or_default() += 1;
        }
        for item in &change.items {
            if let Item::Nlink0 { ino } = item {
                self.unlinked.insert(*ino, self.now);
            }
        }
    }

    /// The origin is told; the answer is built after the promises were given.
    fn answer(&mut self, m: u64, kept: &[Key]) {
        let change = self.changes.remove(&m).unwrap();
        let lost = |ino: &Ino| change.items.contains(&Item::Nlink0 { ino: *ino });
        let open = change.origin_open.iter().copied().filter(lost).collect();
        let entries = change.entries();
        let known = entries.iter().filter(|e| !matches!(e, Entry::List(_)));
        let values = known.map(|e| (e.clone(), self.state[e], kept.contains(&e.key()))).collect();
        let client = &mut self.clients[change.origin];
        let (life, forgets) = (change.life, client.forgets_done);
        let own = Some((m, entries, open));
        client.replies.push(Reply { values, as_of: self.seq.last(), life, forgets, own });
    }

    fn read(&mut self, client: usize, entry: Entry) {
        let reader = &self.clients[client];
        if !reader.live {
            return;
        }
        let promised = self.hub.promise(self.now, reader.id, entry.key(), entry.name());
        let as_of = self.seq.last();
        let value = self.state.get(&entry).copied().unwrap_or_default();
        let (life, forgets) = (reader.life, reader.forgets_done);
        let values = vec![(entry, value, promised)];
        self.clients[client].replies.push(Reply { values, as_of, life, forgets, own: None });
    }

    /// Opens from the cache without a word, or asks.
    fn open(&mut self, client: usize, ino: Ino) {
        let entry = Entry::Attr(ino);
        let opener = &self.clients[client];
        if !opener.live || self.freed.contains(&ino) {
            return;
        }
        let known = opener.cache.get(&entry).map(|(_, ver)| *ver);
        // What it knows to have no link it does not open without asking, promise or not.
        let no_link = self.unlinked.contains_key(&ino) && known == self.state.get(&entry).copied();
        if known.is_none() || no_link || opener.changing(&entry) {
            // On the control stream, or an `OrphanDone` still under way would undo it.
            while !self.clients[client].outbox.is_empty() {
                self.deliver_out(client);
            }
            if self.freed.contains(&ino) {
                return; // `ESTALE`
            }
            self.clients[client].held.insert(ino);
            self.step(Event::OpenHold { session: self.clients[client].id, inos: vec![ino] });
        }
        self.clients[client].open.insert(ino);
    }

    fn deliver_out(&mut self, client: usize) {
        if let Some(event) = self.clients[client].outbox.pop_front() {
            let forget = matches!(event, Event::Forget { .. });
            self.clients[client].forgets_done += u32::from(forget);
            self.step(event);
        }
    }

    fn deliver_reply(&mut self, client: usize, which: usize) {
        let replies = &mut self.clients[client].replies;
        if !replies.is_empty() {
            let reply = replies.swap_remove(which % replies.len());
            self.clients[client].take_reply(reply);
            self.check();
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.hub.next_deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.step(Event::Tick);
        }
        self.now = end;
    }

    /// Lapses at the client, then at the server, then comes back.
    fn lapse_or_return(&mut self, client: usize) {
        let session = self.clients[client].id;
        if self.clients[client].live {
            self.clients[client].lapse(self.now);
        } else if !self.clients[client].voided {
            self.clients[client].voided = true;
            self.step(Event::Void { session });
        } else {
            self.clients[client].voided = false;
            self.clients[client].live = true;
            self.step(Event::Activate { session });
            self.step(Event::Attach { session });
            let open = self.clients[client].open.clone();
            self.clients[client].held.extend(&open);
            self.step(Event::OpenHold { session, inos: open.into_iter().collect() });
        }
    }

    fn check(&self) {
        for client in self.clients.iter().filter(|c| c.live) {
            for (entry, (_, ver)) in &client.cache {
                let current = self.state.get(entry).copied().unwrap_or_default();
                let name = format!("{} {entry:?}", client.id);
                if matches!(entry, Entry::Attr(ino) if self.freed.contains(ino)) {
                    continue; // nothing is left to be right or wrong about
                }
                assert!(*ver == current || client.changing(entry), "{name} is stale");
                let promised = self.hub.promised(client.id, entry.key());
                assert!(promised, "{name} is cached without promise (I6)");
            }
        }
        let totals = self.hub.totals();
        assert!(totals.promises <= config().promises_total); // I16
        for client in &self.clients {
            assert!(self.hub.promises(client.id) <= config().promises_per_session);
            assert!(self.hub.unacked(client.id) <= config().push_queue + 1);
        }
    }

    /// I19, between the moves of a client.
    fn check_open(&self) {
        for client in self.clients.iter().filter(|c| c.live) {
            for ino in &client.open {
                let held = self.hub.holders(*ino).any(|s| s == client.id);
                let covered = held || self.hub.promised(client.id, Key::Attr(*ino));
                assert!(covered, "open {ino} of {} is not covered (I19)", client.id);
            }
        }
    }

    fn act(&mut self, action: u8, a: u8, b: u8) {
        let client = usize::from(a) % 3;
        let dir = Ino(DIRS[usize::from(b) % 2]);
        let name = Name::new(NAMES[usize::from(b / 2) % 2]).unwrap();
        let file = Ino(FILES[usize::from(b / 4) % 4]);
        match action {
            0..=2 => self.read(client, Entry::Attr(if b > 99 { dir } else { file })),
            3..=4 => self.read(client, Entry::Name(dir, name)),
            5 => self.read(client, Entry::List(dir)),
            6..=8 if self.clients[client].live => self.begin(client, a / 3 % 5, dir, name, file),
            9..=12 => {
                if let Some(m) = self.changes.keys().nth(usize::from(a) % self.changes.len().max(1))
                {
                    self.advance(*m, b < 16);
                }
            }
            13..=15 => self.deliver_reply(client, b.into()),
            16..=18 => self.clients[client].take_push(),
            19..=21 => self.deliver_out(client),
            22..=23 => self.open(client, file),
            24 => self.clients[client].close(file),
            25 => {
                self.pass(Duration::from_millis([10, 60, 1100, 5000, 61_000][usize::from(b) % 5]))
            }
            26 if b < 64 => self.lapse_or_return(client),
            27 if self.clients[client].live => {
                self.clients[client].cut();
                self.step(Event::Attach { session: self.clients[client].id });
            }
            28 if b < 64 => self.clients[client].give_up(1),
            _ => {}
        }
        self.check_open();
    }

    /// Lets everything come to its end: nothing may be stuck, nothing may be left over.
    fn finish(&mut self) {
        for client in 0..3 {
            while !self.clients[client].live {
                self.lapse_or_return(client);
            }
        }
        for _ in 0..200 {
            for client in 0..3 {
                self.clients[client].take_push();
                self.deliver_out(client);
                self.deliver_reply(client, 0);
            }
            let running: Vec<u64> = self.changes.keys().copied().collect();
            for m in running {
                if self.changes.contains_key(&m) {
                    self.advance(m, false);
                }
            }
        }
        assert!(self.changes.is_empty(), "stuck: {:?}", self.changes);
        for client in 0..3 {
            FILES.iter().for_each(|ino| self.clients[client].close(Ino(*ino)));
            while !self.clients[client].outbox.is_empty() {
                self.deliver_out(client);
            }
        }
        self.pass(2 * HOUR);
        let totals = self.hub.totals();
        assert_eq!((totals.orphans, totals.weak_holds, totals.mutations), (0, 0, 0));
        assert_eq!(self.freed.len(), self.unlinked.len(), "an orphan was never freed (I20)");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn h1_to_h12_no_client_is_ever_left_with_old_state(
        acts in prop::collection::vec((0..29u8, any::<u8>(), any::<u8>()), 1..250)
    ) {
        let mut world = World::new();
        for (action, a, b) in acts {
            world.act(action, a, b);
        }
        world.finish();
    }
}
