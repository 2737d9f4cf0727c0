//! Random schedules of several sessions on two inodes; the invariants hold after every step.

use proptest::prelude::*;
use proptest::sample::Index;

use super::naive::Naive;
use super::*;

#[derive(Clone, Debug)]
enum Op {
    Request {
        who: Index,
        ino: u64,
        write: bool,
        bytes: (u64, u64),
        all: bool,
        nonblock: bool,
        wait_s: u64,
        hold_s: u64,
    },
    Cancel(Index),
    Release(Index),
    StaleRelease(Index),
    Progress(Index, u64),
    Durable(Index),
    Lapse(Index),
    Back(Index),
    Gone(Index),
    Rescue(Index),
    Wait(u64),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<Index>;
    let bytes = prop_oneof![Just((0, u64::MAX)), (0u64..8, 1u64..8).prop_map(|(s, l)| (s, s + l))];
    let request =
        (pick(), 7u64..9, any::<bool>(), bytes, any::<bool>(), 0u32..6, 1u64..90, 0u64..8);
    prop_oneof![
        10 => request.prop_map(|(who, ino, write, bytes, all, nonblock, wait_s, hold_s)| {
            Op::Request { who, ino, write, bytes, all, nonblock: nonblock == 0, wait_s, hold_s }
        }),
        1 => pick().prop_map(Op::Cancel),
        4 => pick().prop_map(Op::Release),
        1 => pick().prop_map(Op::StaleRelease),
        2 => (pick(), 0u64..50).prop_map(|(n, bytes)| Op::Progress(n, bytes)),
        4 => pick().prop_map(Op::Durable),
        1 => pick().prop_map(Op::Lapse),
        1 => pick().prop_map(Op::Back),
        1 => pick().prop_map(Op::Gone),
        1 => pick().prop_map(Op::Rescue),
        4 => prop_oneof![0u64..4_000, 8_000u64..16_000, 50_000u64..70_000].prop_map(Op::Wait),
        1 => Just(Op::Restart),
    ]
}

struct World {
    b: Bench,
    naive: Naive,
    sessions: Vec<SessionId>,
    next_session: u64,
    next_req: u64,
    leader: u16,
}

impl World {
    fn new() -> World {
        World {
            b: Bench::new(),
            naive: Naive::default(),
            sessions: (1..=4).map(SessionId).collect(),
            next_session: 5,
            next_req: 1,
            leader: 1,
        }
    }

    fn step(&mut self, event: Event) {
        // A session over or back is told to the table at once; time brings its effects first, and
        // the observer must see them under the old state.
        let due = self.b.step(Event::Tick);
        self.naive.see(self.b.now, &Event::Tick, &due);
        let effects = self.b.step(event);
        self.naive.see(self.b.now, &event, &effects);
        self.naive.check(self.b.now, &self.b.table);
    }

    fn run(&mut self, op: &Op) {
        if let Op::Restart = op {
            return self.restart();
        }
        if let Some(event) = self.event(op) {
            self.step(event);
        }
    }

    fn event(&mut self, op: &Op) -> Option<Event> {
        let held =
            |n: &Index| (!self.naive.held.is_empty()).then(|| n.get(&self.naive.held)).copied();
        let session = |n: &Index| *n.get(&self.sessions);
        Some(match op {
            Op::Request { who, ino, write, bytes, all, nonblock, wait_s, hold_s } => {
                let required = Range::new(bytes.0, bytes.1);
                let session = session(who);
                Event::Request(Request {
                    req: self.request_number(),
                    session,
                    ino: Ino(*ino),
                    mode: if *write { Mode::Write } else { Mode::Read },
                    required,
                    desired: if *all { Range::ALL } else { required },
                    nonblock: *nonblock,
                    deadline: self.b.now + Duration::from_secs(*wait_s),
                    min_hold: Duration::from_secs(*hold_s),
                })
            }
            Op::Cancel(n) if self.naive.line.is_empty() => {
                Event::Cancel { req: RequestId(n.index(9) as u64) }
            }
            Op::Cancel(n) => Event::Cancel { req: n.get(&self.naive.line).req },
            Op::Release(n) => {
                let Grant { session, ino, id, fence, .. } = held(n)?.grant;
                Event::Release { session, ino, id, fence }
            }
            Op::StaleRelease(n) if self.naive.ever.is_empty() => {
                let none = n.index(9) as u64;
                let (id, fence) = (GrantId(none), Fence(none));
                Event::Release { session: session(n), ino: INO, id, fence }
            }
            Op::StaleRelease(n) => {
                let Grant { session, ino, id, .. } = *n.get(&self.naive.ever);
                Event::Release { session, ino, id, fence: Fence(id.0 + 1) }
            }
            Op::Progress(n, bytes) => {
                let Grant { session, id, .. } = held(n)?.grant;
                Event::Progress { session, id, bytes: *bytes }
            }
            Op::Durable(n) => {
                let dying: Vec<Grant> =
                    self.naive.held.iter().filter(|k| k.dying).map(|k| k.grant).collect();
                let Grant { ino, id, .. } = *(!dying.is_empty()).then(|| n.get(&dying))?;
                Event::LostDurable { ino, id }
            }
            Op::Lapse(n) => Event::Lapsed { session: session(n) },
            Op::Back(n) => Event::Back { session: session(n) },
            Op::Gone(n) => {
                let old = session(n);
                self.sessions[n.index(4)] = SessionId(self.next_session);
                self.next_session += 1;
                Event::Gone { session: old }
            }
            Op::Rescue(n) => self.rescue(n)?,
            Op::Wait(ms) => {
                self.b.now = self.b.now + Duration::from_millis(*ms);
                Event::Tick
            }
            Op::Restart => unreachable!("handled by the caller"),
        })
    }

    /// An active session asks for what some grant covered, its own or another's.
    fn rescue(&mut self, n: &Index) -> Option<Event> {
        let session = *n.get(&self.sessions);
        if self.naive.away.contains(&session) || self.naive.ever.is_empty() {
            return None;
        }
        let Grant { ino, range, fence: old_fence, .. } = *n.get(&self.naive.ever);
        let req = self.request_number();
        Some(Event::Rescue(Rescue { req, session, ino, range, old_fence, min_hold: HOLD }))
    }

    fn request_number(&mut self) -> RequestId {
        self.next_req += 1;
        RequestId(self.next_req)
    }

    /// A new leader: everybody reclaims what was not being taken.
    fn restart(&mut self) {
        self.leader += 1;
        self.b.table = GrantTable::new();
        self.b.seq = Sequencer::new(self.leader);
        self.naive.line.clear();
        self.naive.away.clear();
        for known in std::mem::take(&mut self.naive.held) {
            if !known.dying {
                let Grant { session, ino, id, fence, mode, range, .. } = known.grant;
                self.step(Event::Reclaim(Reclaim {
                    session,
                    ino,
                    id,
                    fence,
                    mode,
                    range,
                    min_hold: Duration::ZERO,
                }));
            }
        }
    }
}

proptest! {
    /// I1, I2, I3, I11, I12 after every step; the table equals the naive lists; whoever waits has
    /// a reason to, and the holder has been asked.
    #[test]
    fn grants_keep_their_invariants_on_every_schedule(ops in prop::collection::vec(op(), 1..150)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
    }
}
