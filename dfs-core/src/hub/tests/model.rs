//! A model client: caches what it is promised, forgets what it is told to, answers in order.

use crate::hub::{Event, Item, Key, Push};
use crate::{BootTime, Ino, Seq, SessionId, name::Name};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Something a client can cache.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    Attr(Ino),
    Name(Ino, Name),
    List(Ino),
}

pub const NAMES: [&[u8]; 2] = [b"a", b"b"];

impl Entry {
    pub fn key(&self) -> Key {
        match self {
            Entry::Attr(ino) => Key::Attr(*ino),
            Entry::Name(dir, _) | Entry::List(dir) => Key::Dir(*dir),
        }
    }

    pub fn name(&self) -> Option<&Name> {
        match self {
            Entry::Name(_, name) => Some(name),
            _ => None,
        }
    }
}

/// What an item says about.
pub fn touched(item: &Item) -> Vec<Entry> {
    let listed = |dir: &Ino, names: &mut dyn Iterator<Item = Name>| {
        let mut all: Vec<Entry> = names.map(|n| Entry::Name(*dir, n)).collect();
        all.push(Entry::List(*dir));
        all
    };
    match item {
        Item::Attr { ino } | Item::Data { ino, .. } | Item::Nlink0 { ino } => {
            vec![Entry::Attr(*ino)]
        }
        Item::DirNames { dir, names } => listed(dir, &mut names.iter().cloned()),
        Item::Undelegate { .. } => Vec::new(),
        Item::DirAll { dir } => listed(dir, &mut NAMES.iter().map(|n| Name::new(n).unwrap())),
    }
}

/// An answer on its way; it may be overtaken by pushes and by other answers.
#[derive(Debug)]
pub struct Reply {
    pub values: Vec<(Entry, u64, bool)>,
    pub as_of: Seq,
    pub life: u32,
    /// `Forget`s of this client that the server had handled.
    pub forgets: u32,
    /// Answers an own change of these entries; with the inodes it was said to have open.
    pub own: Option<(u64, Vec<Entry>, Vec<Ino>)>,
}

#[derive(Debug)]
pub struct Client {
    pub id: SessionId,
    /// Its own view of its lease.
    pub live: bool,
    pub lapsed_at: BootTime,
    pub voided: bool,
    pub cache: BTreeMap<Entry, (Seq, u64)>,
    inval: BTreeMap<Entry, Seq>,
    floor: Seq,
    pub inbox: VecDeque<Push>,
    pub outbox: VecDeque<Event>,
    pub replies: Vec<Reply>,
    pub open: BTreeSet<Ino>,
    /// Inodes the server was told to be open.
    pub held: BTreeSet<Ino>,
    pub life: u32,
    pub forgets_sent: u32,
    pub forgets_done: u32,
    /// Own changes without answer yet.
    pub own: BTreeMap<u64, Vec<Entry>>,
}

impl Client {
    pub fn new(id: u64) -> Client {
        Client {
            id: SessionId(id),
            live: true,
            lapsed_at: BootTime::default(),
            voided: false,
            cache: BTreeMap::new(),
            inval: BTreeMap::new(),
            floor: Seq(0),
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            replies: Vec::new(),
            open: BTreeSet::new(),
            held: BTreeSet::new(),
            life: 0,
            forgets_sent: 0,
            forgets_done: 0,
            own: BTreeMap::new(),
        }
    }

    pub fn changing(&self, entry: &Entry) -> bool {
        self.own.values().flatten().any(|e| e == entry)
    }

    fn forget_entry(&mut self, entry: &Entry, seq: Seq) {
        self.cache.remove(entry);
        let at = self.inval.entry(entry.clone()).or_default();
        *at = seq.max(*at);
    }

    /// Takes the next push and queues its answer.
    pub fn take_push(&mut self) {
        let Some(push) = self.inbox.pop_front() else { return };
        let (session, number) = (self.id, push.number());
        let mut open = Vec::new();
        match push {
            Push::Inval { seq, items, .. } => {
                for item in &items {
                    touched(item).iter().for_each(|entry| self.forget_entry(entry, seq));
                    if let Key::Attr(ino) = item.key() {
                        open.extend(self.open.contains(&ino).then_some(ino));
                    }
                }
            }
            Push::DropAll { seq, .. } => {
                self.cache.clear();
                self.floor = self.floor.max(seq);
                open.extend(&self.open);
            }
            Push::Trim { count, .. } => self.give_up(count),
        }
        self.held.extend(&open);
        self.outbox.push_back(Event::Ack { session, number, open, keep: Vec::new() });
    }

    /// Gives up to `count` promises back.
    pub fn give_up(&mut self, count: usize) {
        let keys: BTreeSet<Key> = self.cache.keys().map(Entry::key).collect();
        let keys: Vec<Key> = keys.into_iter().take(count).collect();
        let session = self.id;
        for key in &keys {
            self.cache.retain(|entry, _| entry.key() != *key);
            if let Key::Attr(ino) = key
                && self.open.contains(ino)
            {
                self.held.insert(*ino);
                self.outbox.push_back(Event::OpenHold { session, inos: vec![*ino] });
            }
        }
        self.forgets_sent += 1;
        self.outbox.push_back(Event::Forget { session, keys });
    }

    /// PROTOCOL 3.3: what may be cached of an answer.
    pub fn take_reply(&mut self, reply: Reply) {
        let usable = reply.life == self.life && reply.forgets == self.forgets_sent && self.live;
        let fresh = |c: &Client, entry: &Entry| {
            let inval = c.inval.get(entry).copied().unwrap_or_default();
            reply.as_of > inval && reply.as_of > c.floor
        };
        let news: Vec<(Entry, u64)> = reply
            .values
            .iter()
            .filter(|(entry, _, promised)| *promised && usable && fresh(self, entry))
            .map(|(entry, ver, _)| (entry.clone(), *ver))
            .collect();
        if let Some((m, entries, open)) = reply.own {
            self.own.remove(&m);
            entries.iter().for_each(|entry| self.forget_entry(entry, reply.as_of));
            self.held.extend(&open);
            open.iter().filter(|ino| !self.open.contains(ino)).for_each(|ino| {
                self.held.remove(ino);
                self.outbox.push_back(Event::OrphanDone { session: self.id, inos: vec![*ino] });
            });
        }
        for (entry, ver) in news {
            if self.cache.get(&entry).is_none_or(|(as_of, _)| *as_of <= reply.as_of) {
                self.cache.insert(entry, (reply.as_of, ver));
            }
        }
    }

    pub fn close(&mut self, ino: Ino) {
        self.open.remove(&ino);
        if self.held.remove(&ino) {
            self.outbox.push_back(Event::OrphanDone { session: self.id, inos: vec![ino] });
        }
    }

    /// Its lease ran out: it serves nothing any more.
    pub fn lapse(&mut self, now: BootTime) {
        self.live = false;
        self.lapsed_at = now;
        self.life += 1;
        self.cache.clear();
        self.inbox.clear();
        self.outbox.retain(|event| matches!(event, Event::OrphanDone { .. }));
        self.forgets_sent = self.forgets_done;
    }

    /// The stream broke: what was under way is lost; what is no answer is sent again.
    pub fn cut(&mut self) {
        self.inbox.clear();
        self.outbox.retain(|e| !matches!(e, Event::Ack { .. }));
    }
}
