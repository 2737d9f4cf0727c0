//! The notifier with a kernel that can be made to block.

use super::*;
use dfs_core::name::Name;
use std::sync::mpsc;

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sent {
    Attr(u64),
    Epoch,
    Entry(u64, String, Option<u64>),
    Pages(u64, u64),
}

/// Records everything; entry and page notifications wait at the gate while it is shut.
struct Fake {
    sent: Mutex<Vec<Sent>>,
    gate: Mutex<bool>,
    opened: Condvar,
    arrived: mpsc::Sender<()>,
    epoch: Epoch,
}

impl Fake {
    fn start(epoch: Epoch) -> (Arc<Notifier>, Arc<Fake>, mpsc::Receiver<()>) {
        let (arrived, arrivals) = mpsc::channel();
        let (sent, gate) = (Mutex::default(), Mutex::new(true));
        let fake = Arc::new(Fake { sent, gate, opened: Condvar::new(), arrived, epoch });
        let notifier = Notifier::new();
        notifier.attach(Box::new(fake.clone())).unwrap();
        (notifier, fake, arrivals)
    }

    fn open(&self, open: bool) {
        *self.gate.lock().unwrap() = open;
        self.opened.notify_all();
    }

    fn push(&self, sent: Sent) {
        self.sent.lock().unwrap().push(sent);
    }

    fn pass(&self) {
        let _ = self.arrived.send(());
        let _open = self.opened.wait_while(self.gate.lock().unwrap(), |open| !*open).unwrap();
    }

    fn wait_for(&self, want: &Sent) {
        let started = Instant::now();
        while !self.sent().contains(want) {
            assert!(started.elapsed() < DEADLINE, "{want:?} not among {:?}", self.sent());
            std::thread::yield_now();
        }
    }

    fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

impl Sink for Arc<Fake> {
    fn attr(&self, ino: Ino) {
        self.push(Sent::Attr(ino.0));
    }
    fn epoch(&self) -> Epoch {
        self.push(Sent::Epoch);
        self.epoch
    }
    fn entry(&self, entry: &StaleEntry) {
        self.pass();
        let deleted = entry.deleted.map(|ino| ino.0);
        self.push(Sent::Entry(entry.dir.0, entry.name.to_string(), deleted));
    }
    fn pages(&self, ino: Ino, range: Range) {
        self.pass();
        self.push(Sent::Pages(ino.0, range.start));
    }
    fn give(&self, _: Ino, _: &[u8]) -> bool {
        true
    }
}

fn stale(dir: u64, name: &str) -> StaleEntry {
    StaleEntry { dir: Ino(dir), name: Name::new(name.as_bytes()).unwrap(), deleted: None }
}

/// Sends entries and returns where their end is announced.
fn forget(notifier: &Notifier, entries: Vec<StaleEntry>) -> mpsc::Receiver<Instant> {
    let (tell, told) = mpsc::channel();
    notifier.forget_entries(
        entries,
        Vec::new(),
        Box::new(move || {
            let _ = tell.send(Instant::now());
        }),
    );
    told
}

#[test]
fn entries_are_sent_in_order_then_the_listings_then_done() {
    let (notifier, fake, _arrivals) = Fake::start(Epoch::Raised);
    let mut gone = stale(2, "b");
    gone.deleted = Some(Ino(9));
    forget(&notifier, vec![stale(2, "a"), gone, stale(3, "c")]).recv_timeout(DEADLINE).unwrap();
    let mut sent = fake.sent();
    // On a loaded machine the 5 ms may pass; an epoch then stands in for the rest.
    if sent.contains(&Sent::Epoch) {
        sent = sent.into_iter().take_while(|s| *s != Sent::Epoch).collect();
    } else {
        assert_eq!(sent.len(), 5);
    }
    let want = [
        Sent::Entry(2, "a".into(), None),
        Sent::Entry(2, "b".into(), Some(9)),
        Sent::Entry(3, "c".into(), None),
        Sent::Pages(2, 0),
        Sent::Pages(3, 0),
    ];
    assert_eq!(sent, want[..sent.len()]);
}

#[test]
fn blocked_entries_are_overtaken_by_the_epoch() {
    let (notifier, fake, arrivals) = Fake::start(Epoch::Raised);
    fake.open(false);
    let started = Instant::now();
    let first = forget(&notifier, vec![stale(2, "a"), stale(2, "b")]);
    arrivals.recv_timeout(DEADLINE).unwrap();
    let done = first.recv_timeout(DEADLINE).unwrap();
    assert!(done.duration_since(started) >= BLOCKED);
    assert_eq!(fake.sent(), [Sent::Epoch], "the entry still hangs");
    // Another batch behind it is covered as well.
    forget(&notifier, vec![stale(4, "x")]).recv_timeout(DEADLINE).unwrap();
    fake.open(true);
    // The slow notification finishes later; what the epoch covered is not sent again.
    fake.wait_for(&Sent::Entry(2, "a".into(), None));
    forget(&notifier, vec![stale(5, "y")]).recv_timeout(DEADLINE).unwrap();
    let entries: Vec<_> =
        fake.sent().into_iter().filter(|s| matches!(s, Sent::Entry(..))).collect();
    assert_eq!(entries.first(), Some(&Sent::Entry(2, "a".into(), None)));
    assert!(!entries.contains(&Sent::Entry(2, "b".into(), None)));
    assert!(!entries.contains(&Sent::Entry(4, "x".into(), None)));
}

#[test]
fn without_epoch_blocked_entries_are_done_after_the_soft_delay() {
    let (notifier, fake, _arrivals) = Fake::start(Epoch::Unknown);
    fake.open(false);
    let started = Instant::now();
    let told = forget(&notifier, vec![stale(2, "a"), stale(2, "b")]);
    let done = told.recv_timeout(DEADLINE).unwrap();
    assert!(done.duration_since(started) >= BLOCKED + SOFT_ACK_DELAY);
    fake.open(true);
    // Nothing covers them, so they are sent all the same.
    fake.wait_for(&Sent::Entry(2, "b".into(), None));
    fake.wait_for(&Sent::Pages(2, 0));
}

#[test]
fn attributes_never_wait_for_blocked_entries_and_come_before_done() {
    let (notifier, fake, arrivals) = Fake::start(Epoch::Raised);
    fake.open(false);
    notifier.forget_pages(Ino(7), Range::new(4096, 8192), Box::new(|| {}));
    arrivals.recv_timeout(DEADLINE).unwrap();
    for ino in [3, 1, 3, 2, 3] {
        notifier.forget_attr(Ino(ino));
    }
    forget(&notifier, Vec::new()).recv_timeout(DEADLINE).unwrap();
    let mut attrs = fake.sent();
    attrs.sort_by_key(|sent| format!("{sent:?}"));
    attrs.dedup();
    assert_eq!(attrs, [Sent::Attr(1), Sent::Attr(2), Sent::Attr(3)], "the pages still hang");
    fake.open(true);
}

#[test]
fn bump_epoch_is_sent_without_entries() {
    let (notifier, fake, _arrivals) = Fake::start(Epoch::Raised);
    notifier.bump_epoch();
    forget(&notifier, Vec::new()).recv_timeout(DEADLINE).unwrap();
    assert!(fake.sent().contains(&Sent::Epoch), "before done");
}

#[test]
fn detached_and_closed_notifiers_are_done_at_once() {
    let detached = Notifier::new();
    detached.forget_attr(Ino(1));
    assert!(forget(&detached, vec![stale(1, "a")]).try_recv().is_ok());

    let (notifier, fake, arrivals) = Fake::start(Epoch::Unknown);
    fake.open(false);
    let hanging = forget(&notifier, vec![stale(1, "a")]);
    arrivals.recv_timeout(DEADLINE).unwrap();
    notifier.close();
    assert!(hanging.recv_timeout(DEADLINE).is_ok());
    assert!(forget(&notifier, vec![stale(1, "b")]).try_recv().is_ok());
    fake.open(true);
}

mod queue_rules {
    use super::*;

    fn count(done: Vec<Done>) -> usize {
        done.len()
    }

    #[test]
    fn queue_is_bounded_and_overflow_asks_for_the_epoch() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let many = |n: usize| vec![stale(1, "a"); n];
        let bound = dfs_core::limits::PUSH_QUEUE;
        assert_eq!(
            count(queue.add_batch((many(bound), Vec::new()), Box::new(|| ()), now + DEADLINE)),
            0
        );
        assert!(!queue.take_epoch(now));
        assert_eq!(
            count(queue.add_batch((many(1), Vec::new()), Box::new(|| ()), now + DEADLINE)),
            0
        );
        assert!(queue.take_epoch(now), "no room");
        // What is added while the epoch is being raised waits for the next one.
        assert_eq!(count(queue.add_batch(Default::default(), Box::new(|| ()), now + DEADLINE)), 0);
        assert_eq!(
            count(queue.add_batch((many(1), Vec::new()), Box::new(|| ()), now + DEADLINE)),
            0
        );
        assert_eq!(count(queue.epoch_raised()), 2, "those before");
        assert!(queue.take_epoch(now));
        assert_eq!(count(queue.epoch_raised()), 2, "those after");
        assert!(!queue.take_epoch(now));
        assert_eq!(
            count(queue.add_batch(Default::default(), Box::new(|| ()), now)),
            1,
            "nothing to do"
        );

        // Listings are as many at most, until they are sent.
        let listings = |n: u64| (Vec::new(), (0..n).map(Ino).collect());
        queue.add_batch(listings(bound as u64), Box::new(|| ()), now + DEADLINE);
        assert!(matches!(queue.take_slow(), Some(SlowJob::Listing { dir: Ino(0), .. })));
        queue.add_batch(listings(1), Box::new(|| ()), now + DEADLINE);
        assert!(!queue.take_epoch(now));
        queue.add_batch(listings(1), Box::new(|| ()), now + DEADLINE);
        assert!(queue.take_epoch(now), "no room");
        assert_eq!(count(queue.epoch_raised()), 3);

        for ino in 0..bound as u64 {
            assert!(queue.add_attr(Ino(ino)));
            queue.add_pages(Ino(ino), Range::new(9, 12), Box::new(|| {}));
        }
        assert!(queue.add_attr(Ino(0)), "known already");
        assert!(!queue.add_attr(Ino(u64::MAX)));
        queue.add_pages(Ino(u64::MAX), Range::ALL, Box::new(|| {}));
        queue.add_pages(Ino(0), Range::new(5, 7), Box::new(|| {}));
        let first = queue.take_slow();
        let hull = Range::new(5, 12);
        assert!(
            matches!(first, Some(SlowJob::Pages { ino: Ino(0), range }) if range == hull),
            "{first:?}"
        );
        assert_eq!(std::iter::from_fn(|| queue.take_slow()).count(), bound - 1);
    }
}
