//! Runs the scripts of `testdata/hub`. `REWRITE=1` writes the results into them.
//!
//! Sessions are letters (`A` is 1). Things are written `attr:11`, `dir:10`, `dir:10/x` (a name),
//! `11@5` (a version); intents end in `:s` (shared) or `:x` (exclusive).

use crate::hub::{Config, Effect, Event, Hold, Hub, IntentKey, Item, Key, MutationId, Push};
use crate::seq::Sequencer;
use crate::{BootTime, Ino, SessionId, name::Name};
use datadriven::TestCase;
use std::fmt::Write;
use std::time::Duration;

struct Rig {
    hub: Hub,
    seq: Sequencer,
    now: BootTime,
}

fn rig(config: Config) -> Rig {
    Rig { hub: Hub::new(config), seq: Sequencer::new(1), now: BootTime::default() }
}

fn session(word: &str) -> SessionId {
    SessionId(u64::from(word.as_bytes()[0] - b'A' + 1))
}

fn letter(session: SessionId) -> char {
    char::from(b'A' + session.0 as u8 - 1)
}

fn ino(word: &str) -> Ino {
    Ino(word.parse().expect("inode number"))
}

fn name(word: &str) -> Name {
    Name::new(word.as_bytes()).expect("name")
}

fn key(word: &str) -> Key {
    match word.split_once(':').expect("key") {
        ("attr", n) => Key::Attr(ino(n)),
        (_, n) => Key::Dir(ino(n)),
    }
}

fn version(word: &str) -> (Ino, u64) {
    let (n, ver) = word.split_once('@').expect("version");
    (ino(n), ver.parse().expect("version"))
}

fn intent(word: &str) -> (IntentKey, Hold) {
    let (what, hold) = word.rsplit_once(':').expect("hold");
    let hold = if hold == "x" { Hold::Exclusive } else { Hold::Shared };
    let key = match what.split_once('/') {
        Some((dir, entry)) => IntentKey::Name(ino(&dir["dir:".len()..]), name(entry)),
        None => match key(what) {
            Key::Attr(n) => IntentKey::Attr(n),
            Key::Dir(n) => IntentKey::Dir(n),
        },
    };
    (key, hold)
}

fn item(word: &str) -> Item {
    let (kind, what) = word.split_once(':').expect("item");
    match kind {
        "attr" => Item::Attr { ino: ino(what) },
        "nlink0" => Item::Nlink0 { ino: ino(what) },
        "all" => Item::DirAll { dir: ino(what) },
        "alone" => Item::Undelegate { dir: ino(what) },
        "data" => {
            let (ino, old_ver) = version(what);
            Item::Data { ino, old_ver, unchanged_below: None }
        }
        _ => {
            let (dir, names) = what.split_once('/').expect("names");
            Item::DirNames { dir: ino(dir), names: names.split(',').map(name).collect() }
        }
    }
}

fn show_item(item: &Item) -> String {
    match item {
        Item::Attr { ino } => format!("attr:{ino}"),
        Item::Nlink0 { ino } => format!("nlink0:{ino}"),
        Item::DirAll { dir } => format!("all:{dir}"),
        Item::Undelegate { dir } => format!("alone:{dir}"),
        Item::Data { ino, old_ver, .. } => format!("data:{ino}@{old_ver}"),
        Item::DirNames { dir, names } => {
            let names: Vec<String> = names.iter().map(Name::to_string).collect();
            format!("names:{dir}/{}", names.join(","))
        }
    }
}

fn show_key(key: &Key) -> String {
    match key {
        Key::Attr(ino) => format!("attr:{ino}"),
        Key::Dir(ino) => format!("dir:{ino}"),
    }
}

fn show(effect: &Effect) -> String {
    let mut text = match effect {
        Effect::Granted { m } => format!("granted {m}"),
        Effect::Ready { m, open, kept } => {
            let mut text = format!("ready {m}");
            open.iter().for_each(|(s, n)| write!(text, " open {} {n}", letter(*s)).unwrap());
            kept.iter().for_each(|(s, n, v)| write!(text, " kept {} {n}@{v}", letter(*s)).unwrap());
            text
        }
        Effect::Kept { m, keys, delegated } => {
            let keys: Vec<String> = keys.iter().map(show_key).collect();
            let mut text = format!("kept {m} {}", keys.join(" "));
            delegated.iter().for_each(|dir| write!(text, " alone:{dir}").unwrap());
            text
        }
        Effect::Send { session, push } => {
            let text = match push {
                Push::Inval { number, seq, items } => {
                    let items: Vec<String> = items.iter().map(show_item).collect();
                    format!("#{number} seq {seq} {}", items.join(" "))
                }
                Push::DropAll { number, seq } => format!("#{number} seq {seq} drop all"),
                Push::Trim { number, count } => format!("#{number} trim {count}"),
            };
            format!("send {} {text}", letter(*session))
        }
        Effect::OrphanFree { ino } => format!("free {ino}"),
        Effect::Unpinned { ino, ver } => format!("unpinned {ino}@{ver}"),
    };
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// Words with this prefix, without it.
fn with<'a, T>(words: &[&'a str], prefix: &str, parse: impl Fn(&'a str) -> T) -> Vec<T> {
    words.iter().filter_map(|w| w.strip_prefix(prefix)).map(parse).collect()
}

fn mutation_event(verb: &str, words: &[&str]) -> Option<Event> {
    let m = MutationId(words.first()?.parse().ok()?);
    let rest = &words[1..];
    Some(match verb {
        "begin" => {
            let intents = rest[1..].iter().map(|w| intent(w)).collect();
            Event::Begin { m, origin: session(rest[0]), intents }
        }
        "push" => {
            let items = rest.iter().filter(|w| !w.starts_with("open:")).map(|w| item(w));
            Event::Push { m, items: items.collect(), origin_open: with(rest, "open:", ino) }
        }
        "commit" | "commit-alone" => {
            let keep = rest.iter().map(|w| key(w)).collect();
            Event::Committed { m, keep, delegate: verb == "commit-alone" }
        }
        "abort" => Event::Abort { m },
        _ => return None,
    })
}

fn session_event(verb: &str, words: &[&str]) -> Option<Event> {
    let session = session(words.first()?);
    let rest = &words[1..];
    let number = || rest[0].parse().expect("push number");
    let inos = || rest.iter().map(|w| ino(w)).collect();
    let versions = || rest.iter().map(|w| version(w)).collect();
    Some(match verb {
        "activate" => Event::Activate { session },
        "attach" => Event::Attach { session },
        "void" => Event::Void { session },
        "gone" => Event::Gone { session },
        "ack" => {
            let (open, keep) = (with(rest, "open:", ino), with(rest, "keep:", version));
            Event::Ack { session, number: number(), open, keep }
        }
        "forget" => Event::Forget { session, keys: rest.iter().map(|w| key(w)).collect() },
        "open" => Event::OpenHold { session, inos: inos() },
        "done" => Event::OrphanDone { session, inos: inos() },
        "unpin" => Event::Unpin { session, versions: versions() },
        "reclaim-open" => Event::ReclaimOpen { session, inos: inos() },
        "reclaim-pin" => Event::ReclaimPin { session, versions: versions() },
        _ => return None,
    })
}

impl Rig {
    fn step(&mut self, event: Event) -> String {
        self.hub.step(self.now, event, &mut self.seq).iter().map(show).collect()
    }

    /// Lets time pass, stopping at every deadline.
    fn pass(&mut self, time: Duration) -> String {
        let end = self.now + time;
        let mut text = String::new();
        while let Some(at) = self.hub.next_deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            let effects = self.step(Event::Tick);
            if !effects.is_empty() {
                write!(text, "at {:?}: {effects}", self.now.0).unwrap();
            }
        }
        self.now = end;
        text
    }

    fn read(&mut self, words: &[&str]) -> String {
        let (what, entry) = match words[1].split_once('/') {
            Some((dir, "*")) => (dir, None),
            Some((dir, entry)) => (dir, Some(name(entry))),
            None => (words[1], None),
        };
        if self.hub.delegated_from(session(words[0]), key(what)).is_some() {
            return "delegated to another\n".into();
        }
        let given = self.hub.promise(self.now, session(words[0]), key(what), entry.as_ref());
        if given { "promised\n".into() } else { "not promised\n".into() }
    }

    fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, rest) = words.split_first().expect("verb");
        match *verb {
            "pass" => self.pass(Duration::from_millis(rest[0].parse().expect("milliseconds"))),
            "read" => self.read(rest),
            "orphaned" => self.step(Event::Orphaned { ino: ino(rest[0]) }),
            "overdue" => format!("{:?}\n", self.hub.overdue(session(rest[0]), self.now)),
            "count" => {
                let s = session(rest[0]);
                let (promises, unacked) = (self.hub.promises(s), self.hub.unacked(s));
                format!("promises {promises} unacked {unacked}\n")
            }
            "totals" => format!("{:?}\n", self.hub.totals()),
            verb => {
                let event = mutation_event(verb, rest).or_else(|| session_event(verb, rest));
                self.step(event.unwrap_or_else(|| panic!("cannot read `{line}`")))
            }
        }
    }
}

fn config(case: &mut TestCase) -> Config {
    let mut config = Config::default();
    let mut set = |name: &str, field: &mut usize| {
        if let Some(value) = case.try_take_arg(name).expect("number") {
            *field = value;
        }
    };
    set("promises", &mut config.promises_per_session);
    set("total", &mut config.promises_total);
    set("queue", &mut config.push_queue);
    set("hot", &mut config.hot_holders);
    config
}

fn run(file: &str) {
    let mut rig = rig(Config::default());
    datadriven::walk(&format!("testdata/hub/{file}"), |f| {
        f.run(|case| -> String {
            if case.directive == "hub" {
                rig = self::rig(config(case));
            }
            case.input.lines().map(|line| rig.line(line)).collect()
        })
    });
}

#[test]
fn c1_unlink_with_cached_names() {
    run("c1_unlink");
}

#[test]
fn h1_h2_reads_are_promised_or_answered_once() {
    run("h1_h2_reads");
}

#[test]
fn h3_h4_h8_h9_mutations_queue_push_and_wake() {
    run("h3_h4_h8_h9_mutations");
}

#[test]
fn h5_h11_acks_settle_pushes() {
    run("h5_h11_acks");
}

#[test]
fn h7_voided_sessions_hold_only_weakly() {
    run("h7_void_and_orphans");
}

#[test]
fn h10_full_queue_collapses() {
    run("h10_drop_all");
}

#[test]
fn h12_too_many_promises_are_trimmed() {
    run("h12_trim");
}

#[test]
fn hot_key_gets_no_promises_for_a_while() {
    run("hot_keys");
}

#[test]
fn delegations_end_before_others_look() {
    run("delegations");
}
