//! What is durable when a job is answered, on a store that writes down what it is asked to do.

use super::*;
use crate::clock::SystemClock;
use crate::metastore::{Dentry, Inode, MemoryStore, Read, Recovered, SessionRow, Stripe};
use crate::nameserver::op;
use dfs_core::attr::Kind;
use dfs_core::extent::ObjectName;
use dfs_core::limits::STRIPE_UNIT;
use dfs_core::{Code, FsError, Ino, Seq};
use std::sync::mpsc::sync_channel;
use std::thread::ThreadId;

/// What the store was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Commit(Durability),
    Flush,
}

#[derive(Default)]
struct Disk {
    store: MemoryStore,
    asked: Mutex<Vec<Asked>>,
    /// Refuse everything with this.
    broken: Mutex<Option<Code>>,
    /// How long a commit takes.
    pause: Mutex<Duration>,
}

impl Disk {
    fn note(&self, asked: Asked) -> Result<()> {
        match *self.broken.lock().unwrap() {
            Some(code) => Err(FsError::from(code)),
            None => {
                self.asked.lock().unwrap().push(asked);
                Ok(())
            }
        }
    }

    fn last(&self) -> Option<Asked> {
        self.asked.lock().unwrap().last().copied()
    }

    fn break_with(&self, code: Option<Code>) {
        *self.broken.lock().unwrap() = code;
    }
}

impl Read for Disk {
    fn inode(&self, ino: Ino) -> Result<Option<Inode>> {
        self.store.inode(ino)
    }
    fn dentries(&self, dir: Ino, first: u64, last: u64, limit: usize) -> Result<Vec<Dentry>> {
        self.store.dentries(dir, first, last, limit)
    }
    fn xattrs(&self, ino: Ino) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.store.xattrs(ino)
    }
    fn stripes(&self, ino: Ino, first: u64, last: u64) -> Result<Vec<(u64, Stripe)>> {
        self.store.stripes(ino, first, last)
    }
    fn answer(&self, sid: SessionId, op: OpId) -> Result<Option<Vec<u8>>> {
        self.store.answer(sid, op)
    }
    fn number(&self, name: &str) -> Result<Option<u64>> {
        self.store.number(name)
    }
}

impl MetaStore for Disk {
    fn epoch(&self) -> Result<u16> {
        self.store.epoch()
    }
    fn raise_epoch(&self) -> Result<u16> {
        self.store.raise_epoch()
    }
    fn recover(&self) -> Result<Recovered> {
        self.store.recover()
    }
    fn inodes(&self) -> Result<u64> {
        self.store.inodes()
    }
    fn commit(&self, epoch: u16, seq: Seq, batch: &Batch, durability: Durability) -> Result<()> {
        self.note(Asked::Commit(durability))?;
        // A disk takes its time.
        std::thread::sleep(*self.pause.lock().unwrap());
        self.store.commit(epoch, seq, batch, durability)
    }
    fn flush(&self) -> Result<()> {
        self.note(Asked::Flush)
    }
    fn each_object(&self, each: &mut dyn FnMut(ObjectName)) -> Result<()> {
        self.store.each_object(each)
    }
}

struct Setting {
    disk: Arc<Disk>,
    committer: Committer,
}

fn start(durability: Durability) -> Setting {
    let disk = Arc::new(Disk::default());
    let epoch = disk.raise_epoch().unwrap();
    let setup = Setup {
        store: disk.clone(),
        numbers: Numbers::load(&*disk).unwrap(),
        seq: Arc::new(Mutex::new(Sequencer::new(epoch))),
        clock: Arc::new(SystemClock),
        epoch,
        cookie_key: [7; 16],
        durability,
    };
    Setting { disk, committer: Committer::start(setup).unwrap() }
}

impl Setting {
    /// Does the work, and says what the store was asked last when it was answered.
    fn run(&self, work: Work) -> Result<Option<Asked>> {
        let (answer, answered) = sync_channel(1);
        let disk = Arc::clone(&self.disk);
        self.committer.submit(work, move |done| {
            answer.send(done.map(|_| disk.last())).unwrap();
        });
        answered.recv_timeout(Duration::from_secs(60)).expect("the work is answered")
    }
}

/// Queues work as one who waits for it does. Answers on which thread it was committed.
fn waited(committer: &Committer, work: Work) -> ThreadId {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (answer, answered) = sync_channel(1);
    runtime.block_on(async {
        let turn = committer.enqueue(work, move |done| {
            done.unwrap();
            answer.send(std::thread::current().id()).unwrap();
        });
        turn.take().await;
    });
    answered.recv_timeout(Duration::from_secs(60)).expect("the work is answered")
}

/// Something that changes rows and no numbers.
fn rows(sid: u64) -> Work {
    let mut batch = Batch::default();
    let row = SessionRow {
        sid: SessionId(sid),
        epoch: 1,
        uuid: [1; 16],
        verifier: [2; 16],
        description: String::new(),
        floor: 0,
        absent: false,
    };
    batch.sessions.insert(row.sid, Some(row));
    Work::Rows(batch)
}

#[test]
fn relaxed_change_is_durable_when_a_flush_is_answered() {
    let setting = start(Durability::Relaxed);
    for round in 0..20 {
        let before = setting.run(rows(round)).unwrap();
        assert_eq!(before, Some(Asked::Commit(Durability::Relaxed)));
        assert_eq!(setting.run(Work::Flush).unwrap(), Some(Asked::Flush));
    }
    // Nothing new: no flush is due.
    let asked = setting.disk.asked.lock().unwrap().len();
    setting.run(Work::Flush).unwrap();
    assert_eq!(setting.disk.asked.lock().unwrap().len(), asked);
}

#[test]
fn relaxed_flush_that_fails_is_told_and_tried_again() {
    let setting = start(Durability::Relaxed);
    setting.run(rows(1)).unwrap();
    setting.run(Work::Flush).unwrap();
    setting.disk.break_with(Some(Code::Io));
    assert_eq!(setting.run(rows(2)).unwrap_err().code, Code::Io);
    setting.disk.break_with(None);
    setting.run(rows(3)).unwrap();
    setting.disk.break_with(Some(Code::Io));
    // The flush within 10 ms may have come before the disk broke: then there is nothing to tell.
    let flushed = setting.disk.last() == Some(Asked::Flush);
    assert!(flushed || setting.run(Work::Flush).is_err());
    setting.disk.break_with(None);
    setting.run(Work::Flush).unwrap();
    assert_eq!(setting.disk.last(), Some(Asked::Flush));
}

#[test]
fn relaxed_numbers_are_recorded_for_good_before_they_are_given_out() {
    let setting = start(Durability::Relaxed);
    let strict = Some(Asked::Commit(Durability::Strict));
    assert_eq!(setting.run(Work::Version).unwrap(), strict);
    let asked = setting.disk.asked.lock().unwrap().len();
    setting.run(Work::Version).unwrap();
    assert_eq!(setting.disk.asked.lock().unwrap().len(), asked, "one record is for many numbers");
}

#[test]
fn strict_change_is_durable_when_it_is_answered() {
    let setting = start(Durability::Strict);
    let strict = Some(Asked::Commit(Durability::Strict));
    assert_eq!(setting.run(rows(1)).unwrap(), strict);
    assert_eq!(setting.run(Work::Flush).unwrap(), strict, "it needs no flush");
}

#[test]
fn full_disk_refuses_jobs_and_forgets_nothing_else() {
    let setting = start(Durability::Strict);
    setting.run(Work::Version).unwrap();
    setting.disk.break_with(Some(Code::NoSpace));
    assert_eq!(setting.run(rows(1)).unwrap_err().code, Code::NoSpace);
    setting.disk.break_with(None);
    setting.run(rows(2)).unwrap();
    let sessions = setting.disk.recover().unwrap().sessions;
    assert_eq!(sessions.len(), 1, "the refused job has left nothing");
}

#[test]
fn lone_job_is_committed_by_the_one_that_waits_for_it() {
    let setting = start(Durability::Strict);
    assert_eq!(waited(&setting.committer, rows(9)), std::thread::current().id());
}

#[test]
fn jobs_that_wait_together_are_committed_in_their_order() {
    let setting = start(Durability::Strict);
    let (answer, answered) = sync_channel(5);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let turns: Vec<_> = (0..5)
            .map(|n| {
                let answer = answer.clone();
                setting.committer.enqueue(rows(n), move |done| {
                    answer.send((n, done.is_ok(), std::thread::current().id())).unwrap();
                })
            })
            .collect();
        for turn in turns {
            turn.take().await;
        }
    });
    for n in 0..5 {
        let (which, ok, by) = answered.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!((which, ok), (n, true));
        assert_ne!(by, std::thread::current().id(), "others must be read meanwhile");
    }
}

#[test]
fn job_whose_submitter_has_left_is_committed() {
    let setting = start(Durability::Strict);
    let (answer, answered) = sync_channel(1);
    drop(setting.committer.enqueue(rows(1), move |done| answer.send(done.is_ok()).unwrap()));
    assert_eq!(answered.recv_timeout(Duration::from_secs(60)), Ok(true));
}

#[test]
fn slow_disk_holds_up_the_waiting_thread_once() {
    let setting = start(Durability::Strict);
    let me = std::thread::current().id();
    *setting.disk.pause.lock().unwrap() = SLOW + Duration::from_millis(1);
    assert_eq!(waited(&setting.committer, rows(1)), me);
    assert_ne!(waited(&setting.committer, rows(2)), me);
}

#[test]
fn relaxed_commit_of_one_who_waits_is_flushed_soon() {
    let setting = start(Durability::Relaxed);
    // At once after a flush the thread is about to look, or no longer looking.
    for round in 0..100 {
        for _ in 0..=round % 3 {
            waited(&setting.committer, rows(round));
        }
        let end = Instant::now() + Duration::from_secs(60);
        while setting.disk.last() != Some(Asked::Flush) {
            assert!(Instant::now() < end, "nobody flushes in round {round}");
            std::thread::yield_now();
        }
    }
}

#[test]
fn relaxed_commit_waits_for_the_disk_only_if_somebody_syncs() {
    for durability in [Durability::Strict, Durability::Relaxed] {
        let setting = start(durability);
        let (ino, mut file) = (Ino(7), Batch::default());
        let attr = dfs_core::birth::blank(ino, Kind::File, SystemClock.wall());
        file.inodes.insert(ino, Some(Inode { attr, unit: STRIPE_UNIT }));
        setting.run(Work::Rows(file)).unwrap();
        // A block of version numbers is recorded with the first one.
        setting.run(Work::Version).unwrap();
        for (later, want) in [(true, durability), (false, Durability::Strict)] {
            let base_ver = setting.disk.inode(ino).unwrap().unwrap().attr.content_ver;
            let op = op::Commit {
                ino,
                base_ver,
                min_size: 0,
                size: 0,
                extents: Vec::new(),
                set: Default::default(),
                attrs_only: false,
                later,
            };
            let work = Work::Op { op: Arc::new(op), who: Credentials::root(), answer: None };
            assert_eq!(setting.run(work).unwrap(), Some(Asked::Commit(want)), "{later}");
        }
    }
}

#[test]
fn strict_change_without_content_is_flushed_by_what_follows() {
    let name = |name: &str| dfs_core::name::Name::new(name.as_bytes()).unwrap();
    let mode = dfs_core::attr::NewMode { mode: 0o644, umask: 0 };
    let dir = Ino::ROOT;
    let create = |leased| {
        let name = name(&format!("f{leased}"));
        Arc::new(op::Create { dir, name, mode, exclusive: true, leased }) as Arc<dyn Op>
    };
    let setting = start(Durability::Strict);
    let run = |op| {
        let who = Credentials::root();
        setting.run(Work::Op { op, who, answer: None }).unwrap()
    };
    let mut root = Batch::default();
    root.inodes.insert(dir, Some(op::root(SystemClock.wall())));
    setting.run(Work::Rows(root)).unwrap();
    // With the first number that an inode gets, a block of them is recorded.
    assert_eq!(run(create(false)), Some(Asked::Commit(Durability::Strict)));
    let later: [Arc<dyn Op>; 4] = [
        create(true),
        Arc::new(op::Mkdir { dir, name: name("d"), mode, made: None }),
        Arc::new(op::Unlink { dir, name: name("ftrue"), at: None }),
        Arc::new(op::Rmdir { dir, name: name("d"), at: None }),
    ];
    for op in later {
        let verb = op.verb();
        assert_eq!(run(op), Some(Asked::Commit(Durability::Relaxed)), "{verb}");
        // The flush within 10 ms may have come already.
        setting.run(Work::Flush).unwrap();
        assert_eq!(setting.disk.last(), Some(Asked::Flush), "{verb}");
    } // A number flushes nothing but its own record. The flush within 10 ms may come before it each time.
    setting.run(Work::Version).unwrap();
    let alone = (0..100).any(|n| {
        run(Arc::new(op::Mkdir { dir, name: name(&n.to_string()), mode, made: None }));
        setting.run(Work::Version).unwrap() == Some(Asked::Commit(Durability::Relaxed))
    });
    assert!(alone, "a number waited for a flush");
}
