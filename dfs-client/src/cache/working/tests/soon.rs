//! Writes that are answered before they are carried out.

use super::*;
use crate::cache::slots::SLOT_DATA;

const BLOCK: u64 = 4096;

impl Model {
    /// All of the file is here and clean, but for a byte: what comes next may wait.
    fn make_ready(&mut self) {
        self.view.resize(SPACE as usize, 0);
        self.file().truncate(SPACE).unwrap();
        self.write(0, SPACE, 5);
        self.commit(None, None);
        self.write(SPACE - 1, 1, 6);
    }

    fn write_soon(&mut self, at: u64, len: u64, byte: u8) {
        self.salt = self.salt.wrapping_add(31);
        let bytes = pattern(len, byte ^ self.salt);
        self.file().write_soon(at, &bytes).unwrap();
        put(&mut self.view, at, &bytes);
    }

    /// Writes that are answered; then the daemon dies, or carries them out.
    pub(super) fn soon(&mut self, writes: Vec<(u64, u64, u8)>, ready: bool, kill: bool) {
        if ready {
            self.make_ready();
        }
        let ver = self.file().version();
        writes.into_iter().for_each(|(at, len, byte)| self.write_soon(at, len, byte));
        match kill {
            true => self.kill_at(ver),
            false => self.file().settle_soon().unwrap(),
        }
        assert_eq!(self.file().size(), self.view.len() as u64);
        assert!(!self.file().soon.is_waiting());
    }

    fn is_waiting(&self) -> bool {
        self.file().soon.is_waiting()
    }
}

fn ready() -> Model {
    let mut model = Model::new(SPACE);
    model.make_ready();
    model
}

#[test]
fn answered_writes_survive_the_daemon_in_their_order() {
    let mut model = ready();
    let ver = model.file().version();
    for (at, len) in [(BLOCK, BLOCK), (5, 100), (BLOCK + 7, 1), (9 * BLOCK, SLOT_DATA as u64)] {
        model.write_soon(at, len, 1);
        assert!(model.is_waiting() && model.file().has_work());
    }
    model.kill_at(ver);
    model.check();
    model.check_bytes(Range::new(0, SPACE));
    model.kill_and_compare();
    assert!(!model.is_waiting());
    model.check_bytes(Range::new(0, SPACE));
}

#[test]
fn answered_writes_are_seen_by_every_look_at_the_file() {
    let looks: [fn(&mut Model); 6] = [
        |model| model.check_bytes(Range::new(0, SPACE)),
        |model| model.commit(None, None),
        |model| model.write(BLOCK + 5, 10, 3),
        |model| {
            model.file().truncate(BLOCK + 3).unwrap();
            model.view.truncate(BLOCK as usize + 3);
        },
        |model| assert!(model.file().present().covers(Range::new(0, SPACE))),
        |model| drop(model.file().read_ahead(Range::new(0, 5)).unwrap()),
    ];
    for (n, look) in looks.into_iter().enumerate() {
        let mut model = ready();
        model.write_soon(BLOCK, 100, 1);
        assert!(model.is_waiting());
        look(&mut model);
        assert!(!model.is_waiting(), "look {n}");
        model.check_bytes(Range::new(0, SPACE));
        model.kill_and_compare();
        model.check_bytes(Range::new(0, SPACE));
    }
}

/// Whether a write of `len` bytes at `at` waits after `before`.
fn waits(before: fn(&mut Model), at: u64, len: u64) -> bool {
    let mut model = ready();
    before(&mut model);
    model.write_soon(at, len, 1);
    let waits = model.is_waiting();
    model.check_bytes(Range::new(0, SPACE * 2));
    waits
}

#[test]
fn write_waits_only_where_nothing_but_work_is_left_to_do() {
    assert!(waits(|_| {}, 0, BLOCK));
    assert!(!waits(|_| {}, 0, SLOT_DATA as u64 + 1), "too long");
    assert!(!waits(|_| {}, SPACE - 1, 2), "the file grows");
    assert!(!waits(|model| model.write(0, BLOCK, 2), 0, BLOCK), "unsaved already");
    assert!(!waits(|model| model.commit(None, None), 0, BLOCK), "nothing is unsaved");
    assert!(!waits(|model| assert!(model.file().lend().unwrap()), 0, BLOCK), "others read it");
    let punch = |model: &mut Model| {
        let hole = Range::of_len(CHECKSUM_BLOCK, CHECKSUM_BLOCK);
        model.file().punch(hole, true).unwrap();
        put(&mut model.view, hole.start, &vec![0; hole.len() as usize]);
    };
    assert!(!waits(punch, 0, BLOCK), "it may need room");
    let evicted = |model: &mut Model| {
        model.file().evict(Range::of_len(CHECKSUM_BLOCK, 1)).unwrap();
    };
    assert!(!waits(evicted, 0, BLOCK), "not all is here");
}

#[test]
fn write_that_cannot_be_carried_out_waits_and_is_not_overlooked() {
    let mut model = ready();
    let path = model.file().path();
    let ver = model.file().version();
    let good = {
        let file = model.file();
        let mut state = file.lock();
        std::mem::replace(&mut state.file, Store::Disk(File::open(&path).unwrap()))
    };
    model.write_soon(BLOCK, BLOCK, 1);
    assert!(model.file().settle_soon().is_err() && model.is_waiting());
    let mut buf = Vec::new();
    assert!(model.file().read(Range::new(0, 1), &mut buf).is_err());
    assert!(model.file().dirty_snapshot().is_err());
    assert!(model.file().write(0, b"x").is_err());
    model.file().lock().file = good;
    model.file().settle_soon().unwrap();
    model.check_bytes(Range::new(0, SPACE));
    model.kill_at(ver);
    model.check_bytes(Range::new(0, SPACE));
}

#[test]
fn answered_writes_of_a_removed_file_leave_no_slot() {
    let mut model = ready();
    model.write_soon(BLOCK, BLOCK, 1);
    model.cache().remove(INO).unwrap();
    assert!(!model.is_waiting());
    let (_, answered) = crate::cache::slots::Slots::open(&model.cache().shared.folder).unwrap();
    assert!(answered.is_empty());
}

#[test]
fn writers_answered_side_by_side_lose_nothing() {
    let mut model = ready();
    let file = model.file();
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let file = &file;
            scope.spawn(move || {
                for n in 0..200u64 {
                    let at = (n * 4 + writer) * 300;
                    file.write_soon(at, &pattern(300, n as u8 ^ writer as u8)).unwrap();
                    file.settle_soon().unwrap();
                }
            });
        }
    });
    drop(file);
    for (n, writer) in (0..200u64).flat_map(|n| (0..4).map(move |writer| (n, writer))) {
        put(&mut model.view, (n * 4 + writer) * 300, &pattern(300, n as u8 ^ writer as u8));
    }
    model.check_bytes(Range::new(0, SPACE));
    model.kill_and_compare();
    model.check_bytes(Range::new(0, SPACE));
}
