//! Runs the scripts of `testdata/lock`. `REWRITE=1` writes the results into them.
//!
//! An owner is `A.1` (session `A`, owner 1), a range `0-9` or `0-inf` with both bytes included,
//! `s` a read lock, `c` one that only its session may share, `x` a write lock. `lock` and `unlock`
//! begin with the number of the request.
//! Locks are those of processes unless `openfile`, `flock` or `any` stands in the line.

use crate::lock::{Config, Effect, Event, Kind, LockTable, Owner, RecordLock, last_byte, range_of};
use crate::range::Range;
use crate::{BootTime, Code, Ino, RequestId, SessionId};

fn session(word: &str) -> SessionId {
    SessionId(u64::from(word.as_bytes()[0] - b'A' + 1))
}

fn letter(session: SessionId) -> char {
    char::from(b'A' + session.0 as u8 - 1)
}

fn number(word: &str) -> u64 {
    word.parse().expect("number")
}

fn owner(word: &str) -> Owner {
    Owner { session: session(word), owner: number(&word[2..]) }
}

fn range(word: &str) -> Range {
    let (first, last) = word.split_once('-').expect("range");
    let last = if last == "inf" { u64::MAX } else { number(last) };
    range_of(number(first), last).expect("a range with bytes")
}

fn kind(words: &[&str]) -> Kind {
    let named = |word: &&str| match *word {
        "openfile" => Some(Kind::OpenFile),
        "flock" => Some(Kind::Flock),
        "any" => Some(Kind::Any),
        _ => None,
    };
    words.iter().find_map(named).unwrap_or(Kind::Process)
}

/// Of `A.1 5 x 0-9`: inode 5 and the lock.
fn lock(words: &[&str]) -> (Ino, RecordLock) {
    let owner = owner(words[0]);
    let pid = owner.owner as u32;
    let (kind, range) = (kind(words), range(words[3]));
    let (exclusive, one_client) = (words[2] == "x", words[2] == "c");
    let lock = RecordLock { owner, kind, pid, exclusive, one_client, range };
    (Ino(number(words[1])), lock)
}

fn show_lock(ino: Ino, lock: &RecordLock) -> String {
    let Owner { session, owner } = lock.owner;
    let mode = match (lock.exclusive, lock.one_client) {
        (true, _) => 'x',
        (false, true) => 'c',
        (false, false) => 's',
    };
    let end = last_byte(lock.range);
    let end = if end == i64::MAX as u64 { "inf".into() } else { end.to_string() };
    let kind = match lock.kind {
        Kind::Process => String::new(),
        kind => format!(" {}", kind.name()),
    };
    format!("{}.{owner} {ino} {mode} {}-{end}{kind}\n", letter(session), lock.range.start)
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Granted { req } => format!("granted {req}\n"),
        Effect::Denied { req, denial } => format!("denied {req} {denial:?}\n"),
        Effect::JournalLost { session, ino } => format!("journal {} {ino}\n", letter(*session)),
    }
}

fn event(words: &[&str]) -> Event {
    let req = || RequestId(number(words[1]));
    let ino = || Ino(number(words[2]));
    match words[0] {
        "lock" => {
            let (ino, lock) = lock(&words[2..]);
            Event::Lock { req: req(), ino, lock, wait: words.contains(&"wait") }
        }
        "unlock" => {
            let (req, ino) = (req(), Ino(number(words[3])));
            let (owner, kind, range) = (owner(words[2]), kind(words), range(words[4]));
            Event::Unlock { req, ino, owner, kind, range }
        }
        "reclaim" => {
            let (ino, lock) = lock(&words[2..]);
            Event::Reclaim { req: req(), ino, lock }
        }
        "cancel" => Event::Cancel { req: req() },
        "release" => Event::ReleaseOwner { ino: ino(), owner: owner(words[1]) },
        "gone" => Event::Gone { session: session(words[1]) },
        "lapsed" => Event::Lapsed { session: session(words[1]) },
        "back" => Event::Back { session: session(words[1]) },
        "durable" => Event::LostDurable { session: session(words[1]), ino: ino() },
        _ => panic!("cannot read {words:?}"),
    }
}

fn line(table: &mut LockTable, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[0] {
        "test" => {
            let (ino, lock) = lock(&words[1..]);
            table.test(ino, &lock).map_or("free\n".into(), |held| show_lock(ino, &held))
        }
        "locks" => table.locks().map(|(ino, lock)| show_lock(ino, &lock)).collect(),
        "waiting" => table
            .waiting()
            .map(|(ino, w)| format!("{} waits for {}", w.req, show_lock(ino, &w.lock)))
            .collect(),
        _ => table.step(BootTime::default(), event(&words)).iter().map(show).collect(),
    }
}

fn run(file: &str) {
    let mut table = LockTable::default();
    datadriven::walk(&format!("testdata/lock/{file}"), |f| {
        f.run(|case| -> String {
            if case.directive == "table" {
                let mut config = Config::default();
                if let Some(limit) = case.try_take_arg("limit").expect("number") {
                    config = Config { per_inode: limit, per_session: limit };
                }
                table = LockTable::new(config);
            }
            case.input.lines().map(|text| line(&mut table, text)).collect()
        })
    });
}

#[test]
fn lock_ranges_split_merge_and_change_mode() {
    run("ranges");
}

#[test]
fn lock_waiters_are_served_in_order() {
    run("order");
}

#[test]
fn lock_of_one_client_is_shared_there_only() {
    run("one_client");
}

#[test]
fn lock_cycle_of_owners_is_refused() {
    run("deadlock");
}

#[test]
fn lock_kinds_meet_as_on_a_local_disk() {
    run("kinds");
}

#[test]
fn lock_of_lapsed_session_is_taken_after_the_journal() {
    run("lapsed");
}

#[test]
fn lock_table_is_bounded() {
    run("bounds");
}

#[test]
fn lock_range_conversion_round_trips() {
    for (first, last) in [(0, 0), (5, 9), (7, i64::MAX as u64)] {
        assert_eq!(range_of(first, last).map(last_byte), Ok(last));
    }
    assert_eq!(range_of(0, u64::MAX), Ok(Range::ALL));
    for (first, last) in [(5, 4), (u64::MAX, u64::MAX), (u64::MAX, 0)] {
        assert_eq!(range_of(first, last).unwrap_err().code, Code::Invalid);
    }
}
