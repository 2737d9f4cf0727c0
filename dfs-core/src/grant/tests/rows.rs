use super::*;
use crate::limits;

const A: u64 = 1;
const B: u64 = 2;
const C: u64 = 3;

#[test]
fn k1_free_request_is_granted_with_a_new_fence_and_its_term() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    assert_eq!(grant.range, Range::ALL);
    assert_eq!(grant.min_until, b.now + HOLD);
    assert_eq!(grant.fence.0, b.seq.last().0);
    assert!(b.may_commit(grant));
    assert_eq!(b.table.holders(INO).collect::<Vec<_>>(), [grant]);
}

#[test]
fn k1_grant_takes_the_free_part_of_desired_around_required() {
    let mut b = Bench::new();
    let part = |b: &Bench, req, session, start, end| Request {
        required: Range::new(start, end),
        desired: Range::new(start, end),
        ..b.ask(req, session, Mode::Write)
    };
    for (req, session, start, end) in [(1, A, 0, 100), (2, B, 500, 600)] {
        let request = part(&b, req, session, start, end);
        b.step(Event::Request(request));
    }
    let request = Request { desired: Range::ALL, ..part(&b, 3, C, 200, 250) };
    let grant = granted(&b.step(Event::Request(request))).expect("free");
    assert_eq!(grant.range, Range::new(100, 500));
    // An earlier waiter's bytes are left alone, too.
    let blocked = Request { required: Range::new(550, 700), ..part(&b, 4, C, 550, 700) };
    assert_eq!(granted(&b.step(Event::Request(blocked))), None);
    let request = Request { desired: Range::new(650, 900), ..part(&b, 5, A, 800, 900) };
    let grant = granted(&b.step(Event::Request(request))).expect("free");
    assert_eq!(grant.range, Range::new(700, 900));
}

#[test]
fn k2_own_grant_answers_at_once() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    let effects = b.request(2, A, Mode::Read);
    assert_eq!(effects, [Effect::Granted { req: RequestId(2), grant, fresh: false }]);
}

#[test]
fn k2_recalled_holder_queues_behind_the_waiter() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    b.request(2, B, Mode::Write);
    assert_eq!(b.request(3, A, Mode::Write), []);
    let effects = b.release(grant);
    let next = granted(&effects).expect("B is next");
    assert_eq!(next.session, SessionId(B));
    assert_eq!(effects[2], recall(next, 5_000));
    assert!(b.table.waiting(RequestId(3)));
}

#[test]
fn k3_nonblocking_request_is_refused_without_recall() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    let request = Request { nonblock: true, ..b.ask(2, B, Mode::Write) };
    let effects = b.step(Event::Request(request));
    assert_eq!(effects.len(), 1);
    assert_eq!(denied(&effects), Some((2, Code::WouldBlock)));
    assert_eq!(b.state(grant), Some(State::Held));
}

#[test]
fn k4_conflicting_request_waits_and_the_holder_hears_what_is_left_of_its_term() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    b.wait(2_000);
    assert_eq!(b.request(2, B, Mode::Write), [recall(grant, 3_000)]);
    assert!(b.table.waiting(RequestId(2)));
    // A second waiter causes no second recall.
    assert_eq!(b.request(3, C, Mode::Write), []);
    assert_eq!(b.table.grants().next().map(|info| info.waiters), Some(2));
}

#[test]
fn k5_next_grant_is_recalled_for_the_rest_of_the_line_at_once() {
    let mut b = Bench::new();
    let first = b.write(1, A);
    b.request(2, B, Mode::Write);
    b.request(3, C, Mode::Write);
    let effects = b.release(first);
    let second = granted(&effects).expect("B is next");
    assert_eq!(effects[2], recall(second, 5_000));
}

#[test]
fn k6_recall_deadlines_count_from_the_end_of_the_term() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    let end = grant.min_until;
    b.request(2, B, Mode::Write);
    let (soft, hard) = (end + Duration::from_secs(10), end + limits::RECALL_HARD);
    assert_eq!(b.state(grant), Some(State::Recalling { soft, hard, flushed: 0 }));
    assert_eq!(b.table.next_deadline(), Some(soft));
    let mut late = Bench::new();
    let grant = late.write(1, A);
    late.wait(20_000);
    assert_eq!(late.request(2, B, Mode::Write), [recall(grant, 0)]);
    assert_eq!(late.table.next_deadline(), Some(late.now + Duration::from_secs(10)));
}

#[test]
fn k7_progress_moves_the_soft_deadline_up_to_the_hard_one() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    b.wait(10_000);
    let request =
        Request { deadline: b.now + Duration::from_secs(600), ..b.ask(2, B, Mode::Write) };
    b.step(Event::Request(request));
    let hard = b.now + limits::RECALL_HARD;
    let progress = |b: &mut Bench, session, bytes| {
        b.step(Event::Progress { session: SessionId(session), id: grant.id, bytes })
    };
    for second in 1..=4 {
        assert_eq!(b.wait(9_000), []);
        assert_eq!(progress(&mut b, A, second), []);
    }
    assert_eq!(b.table.next_deadline(), Some(hard));
    // Neither repeated news nor somebody else's counts.
    progress(&mut b, A, 4);
    progress(&mut b, B, 100);
    assert_eq!(b.wait(9_000), [journal_lost(grant)]);
}

#[test]
fn k7_progress_during_the_term_does_not_shorten_it() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    b.request(2, B, Mode::Write);
    b.wait(1_000);
    b.step(Event::Progress { session: SessionId(A), id: grant.id, bytes: 5 });
    assert_eq!(b.table.next_deadline(), Some(grant.min_until + Duration::from_secs(10)));
}

#[test]
fn k8_release_gives_the_bytes_to_the_next_in_line() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    b.request(2, B, Mode::Read);
    b.request(3, C, Mode::Read);
    b.request(4, A, Mode::Write);
    let effects = b.release(grant);
    assert_eq!(effects[0], dropped(grant));
    let readers: Vec<u64> = b.table.holders(INO).map(|grant| grant.session.0).collect();
    assert_eq!(readers, [B, C]);
    assert!(b.table.waiting(RequestId(4)));
    assert!(!b.may_commit(grant));
}

#[test]
fn k9_release_and_commit_of_another_grant_are_fenced() {
    let mut b = Bench::new();
    let old = b.write(1, A);
    b.release(old);
    let Grant { session, ino, id, fence, .. } = old;
    let fenced = |session, id, fence| Effect::Fenced { session, ino, id, fence };
    assert_eq!(b.release(old), [fenced(session, id, fence)]);
    let new = b.write(2, A);
    assert_eq!(b.release(old), [fenced(session, id, fence)]);
    let wrong = Grant { fence: old.fence, ..new };
    assert_eq!(b.release(wrong), [fenced(session, new.id, fence)]);
    let foreign = Grant { session: SessionId(B), ..new };
    assert_eq!(b.release(foreign), [fenced(SessionId(B), new.id, new.fence)]);
    assert!(!b.may_commit(wrong) && !b.may_commit(foreign) && b.may_commit(new));
}

#[test]
fn k10_unanswered_recall_is_taken_but_not_given_before_it_is_durable() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    b.request(2, B, Mode::Write);
    assert_eq!(b.wait(14_999), []);
    assert_eq!(b.wait(1), [journal_lost(grant)]);
    assert_eq!(b.state(grant), Some(State::Revoking));
    assert!(!b.may_commit(grant));
    let Grant { session, ino, id, fence, .. } = grant;
    assert_eq!(b.release(grant), [Effect::Fenced { session, ino, id, fence }]);
    assert!(b.table.waiting(RequestId(2)));
}

#[test]
fn k10_recall_that_ran_out_with_nobody_waiting_takes_nothing_until_somebody_asks() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    b.request(2, B, Mode::Write);
    b.step(Event::Cancel { req: RequestId(2) });
    assert_eq!(b.table.next_deadline(), None);
    assert_eq!(b.wait(600_000), []);
    assert!(b.may_commit(grant));
    assert_eq!(b.request(3, C, Mode::Write), [journal_lost(grant)]);
}

#[test]
fn k11_durable_loss_frees_the_bytes() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    b.request(2, B, Mode::Write);
    assert_eq!(b.durable(grant), []);
    b.wait(15_000);
    let effects = b.durable(grant);
    assert_eq!(effects[0], revoked(grant));
    let next = granted(&effects).expect("B waited");
    assert!(next.fence > grant.fence && next.session == SessionId(B));
    assert_eq!(b.durable(grant), []);
}

#[test]
fn k12_holder_that_is_away_loses_to_the_first_who_wants_it() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    assert_eq!(b.step(Event::Lapsed { session: SessionId(A) }), []);
    assert_eq!(b.request(2, B, Mode::Write), [journal_lost(grant)]);
    assert_eq!(granted(&b.durable(grant)).map(|grant| grant.session), Some(SessionId(B)));
}

#[test]
fn k12_lapse_takes_what_others_wait_for_and_its_own_requests_leave_the_line() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    b.request(2, B, Mode::Write);
    b.request(3, A, Mode::Write);
    let effects = b.step(Event::Lapsed { session: SessionId(A) });
    assert_eq!(denied(&effects), Some((3, Code::SessionExpired)));
    assert_eq!(effects[1], journal_lost(grant));
    assert_eq!(denied(&b.request(4, A, Mode::Read)), Some((4, Code::SessionExpired)));
    b.step(Event::Back { session: SessionId(A) });
    assert_eq!(b.request(5, A, Mode::Read), []);
}

#[test]
fn k12_session_that_comes_back_without_conflict_keeps_everything() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    b.request(2, B, Mode::Write);
    b.step(Event::Cancel { req: RequestId(2) });
    b.step(Event::Lapsed { session: SessionId(A) });
    b.wait(600_000);
    b.step(Event::Back { session: SessionId(A) });
    assert!(b.may_commit(grant));
    assert_eq!(b.request(3, B, Mode::Write), [recall(grant, 0)]);
}

#[test]
fn k13_gone_drops_reads_and_waiters_and_takes_writes_by_force() {
    let mut b = Bench::new();
    let write = b.write(1, A);
    let other = Request { ino: Ino(8), ..b.ask(2, A, Mode::Read) };
    let read = granted(&b.step(Event::Request(other))).expect("free");
    let other = Request { ino: Ino(9), ..b.ask(3, B, Mode::Write) };
    let foreign = granted(&b.step(Event::Request(other))).expect("free");
    let other = Request { ino: Ino(9), ..b.ask(4, A, Mode::Write) };
    b.step(Event::Request(other));
    let effects = b.step(Event::Gone { session: SessionId(A) });
    assert_eq!(effects[..2], [journal_lost(write), dropped(read)]);
    assert_eq!(denied(&effects), Some((4, Code::SessionExpired)));
    assert_eq!(granted(&b.request(5, B, Mode::Write)), None);
    assert_eq!(granted(&b.durable(write)).map(|grant| grant.session), Some(SessionId(B)));
    assert!(b.may_commit(foreign));
}

#[test]
fn count_of_a_session_is_what_it_holds_and_waits_for() {
    let mut b = Bench::new();
    let counts = |b: &Bench| [A, B, C].map(|session| b.table.count(SessionId(session)));
    let grant = b.write(1, A);
    b.request(2, B, Mode::Write);
    b.request(3, B, Mode::Read);
    assert_eq!(counts(&b), [1, 2, 0]);
    b.step(Event::Cancel { req: RequestId(3) });
    b.release(grant);
    assert_eq!(counts(&b), [0, 1, 0]);
}

#[test]
fn k14_cancel_and_deadline_leave_the_line() {
    let mut b = Bench::new();
    b.write(1, A);
    b.wait(limits::LEASE_HOLD_MIN.as_millis() as u64);
    b.request(2, B, Mode::Write);
    let short = Request { deadline: b.now + Duration::from_secs(3), ..b.ask(3, C, Mode::Read) };
    b.step(Event::Request(short));
    assert_eq!(denied(&b.wait(3_000)), Some((3, Code::Busy)));
    let effects = b.step(Event::Cancel { req: RequestId(2) });
    assert_eq!(denied(&effects), Some((2, Code::Interrupted)));
    assert_eq!(b.step(Event::Cancel { req: RequestId(2) }), []);
    assert!(!b.table.waiting(RequestId(2)) && !b.table.waiting(RequestId(3)));
}

#[test]
fn k14_leaving_writer_lets_the_readers_behind_it_pass() {
    let mut b = Bench::new();
    b.request(1, A, Mode::Read);
    b.request(2, B, Mode::Write);
    assert_eq!(b.request(3, C, Mode::Read), []);
    let effects = b.step(Event::Cancel { req: RequestId(2) });
    assert_eq!(denied(&effects), Some((2, Code::Interrupted)));
    assert_eq!(granted(&effects).map(|grant| grant.session), Some(SessionId(C)));
}

#[test]
fn k14_line_has_a_bound() {
    let mut b = Bench::new();
    b.write(1, A);
    for req in 0..crate::limits::GRANT_WAITERS as u64 {
        b.request(10 + req, B, Mode::Write);
    }
    assert_eq!(denied(&b.request(2, C, Mode::Write)), Some((2, Code::Busy)));
}

#[test]
fn k15_second_reader_that_wants_to_write_gets_deadlock() {
    let mut b = Bench::new();
    let first = granted(&b.request(1, A, Mode::Read)).expect("free");
    let second = granted(&b.request(2, B, Mode::Read)).expect("free");
    assert_eq!(b.request(3, A, Mode::Write), [recall(second, 5_000)]);
    assert_eq!(denied(&b.request(4, B, Mode::Write)), Some((4, Code::Deadlock)));
    // A third party just waits.
    assert_eq!(denied(&b.request(5, C, Mode::Write)), None);
    let effects = b.release(second);
    let write = granted(&effects).expect("A upgrades");
    assert_eq!(effects[1], dropped(first));
    assert_eq!((write.session, write.mode), (SessionId(A), Mode::Write));
}

#[test]
fn k16_commit_is_allowed_while_held_and_while_recalled() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    assert!(b.may_commit(grant));
    b.request(2, B, Mode::Write);
    assert!(b.may_commit(grant));
    let Grant { session, ino, id, fence, .. } = grant;
    b.release(grant);
    let read = Request { ino: Ino(8), ..b.ask(3, A, Mode::Read) };
    let read = granted(&b.step(Event::Request(read))).expect("free");
    assert!(!b.may_commit(read), "a read grant does not cover a commit");
    let code = b.table.check_commit(session, ino, id, fence, Range::ALL).map_err(|e| e.code);
    assert_eq!(code, Err(Code::Fenced));
}

#[test]
fn k17_reclaim_restores_the_grant_with_its_old_fence() {
    let mut b = Bench::new();
    let old = b.write(1, A);
    b.table = GrantTable::new();
    b.seq = Sequencer::new(2);
    let Grant { session, ino, id, fence, mode, range, .. } = old;
    let claim = Reclaim { session, ino, id, fence, mode, range, min_hold: Duration::ZERO };
    let grant = Grant { min_until: BootTime::default(), ..old };
    assert_eq!(b.step(Event::Reclaim(claim)), [Effect::Reclaimed { grant }]);
    assert_eq!(b.step(Event::Reclaim(claim)), [Effect::Reclaimed { grant }], "repeated");
    assert!(b.may_commit(old));
    assert_eq!(b.request(2, B, Mode::Write), [recall(grant, 0)]);
    assert!(granted(&b.release(grant)).expect("B waited").fence > fence);
}

#[test]
fn k17_reclaim_in_conflict_or_never_given_is_fenced() {
    let mut b = Bench::new();
    let held = b.write(1, A);
    let last = b.seq.last().0;
    let claim = |session, ino, id, fence| Reclaim {
        session: SessionId(session),
        ino: Ino(ino),
        id: GrantId(id),
        fence: Fence(fence),
        mode: Mode::Write,
        range: Range::ALL,
        min_hold: Duration::ZERO,
    };
    for (why, claim) in [
        ("conflict", claim(B, INO.0, last - 1, last - 1)),
        ("number of another inode", claim(A, 8, held.id.0, held.fence.0)),
        ("another session's", claim(B, INO.0, held.id.0, held.fence.0)),
        ("future fence", claim(B, 8, 5, last + 1)),
        ("future number", claim(B, 8, last + 1, 5)),
        ("no bytes", Reclaim { range: Range::new(4, 4), ..claim(B, 8, 5, 5) }),
    ] {
        let Reclaim { session, ino, id, fence, .. } = claim;
        let fenced = Effect::Fenced { session, ino, id, fence };
        assert_eq!(b.step(Event::Reclaim(claim)), [fenced], "{why}");
    }
}

#[test]
fn k18_rescue_gives_a_new_grant_if_nobody_wants_it() {
    let mut b = Bench::new();
    let lost = b.write(1, A);
    b.request(2, B, Mode::Write);
    b.wait(15_000);
    let next = granted(&b.durable(lost)).expect("B waited");
    let rescue = |req| Rescue {
        req: RequestId(req),
        session: SessionId(A),
        ino: INO,
        range: Range::ALL,
        old_fence: lost.fence,
        min_hold: HOLD,
    };
    let effects = b.step(Event::Rescue(rescue(3)));
    assert_eq!((denied(&effects), effects.len()), (Some((3, Code::Fenced)), 1));
    b.release(next);
    let effects = b.step(Event::Rescue(rescue(4)));
    let saved = granted(&effects).expect("free");
    assert!(saved.fence > next.fence && saved.mode == Mode::Write);
    // Not lost at all: the session hears of its own grant.
    let own = Effect::Granted { req: RequestId(5), grant: saved, fresh: false };
    assert_eq!(b.step(Event::Rescue(rescue(5))), [own]);
}

#[test]
fn pump_grants_neighbouring_readers_together_and_no_reader_before_an_earlier_writer() {
    let mut b = Bench::new();
    let first = b.write(1, A);
    b.request(2, B, Mode::Read);
    b.request(3, C, Mode::Read);
    b.request(4, 4, Mode::Write);
    b.request(5, 5, Mode::Read);
    b.release(first);
    let readers: Vec<Grant> = b.table.holders(INO).collect();
    assert_eq!(readers.iter().map(|grant| grant.session.0).collect::<Vec<_>>(), [B, C]);
    assert!(b.table.waiting(RequestId(5)), "a later reader overtook a writer");
    b.release(readers[0]);
    let effects = b.release(readers[1]);
    let write = granted(&effects).expect("the writer is next");
    assert_eq!(granted(&b.release(write)).map(|grant| grant.session), Some(SessionId(5)));
}

#[test]
fn i11_every_step_first_does_what_time_has_brought() {
    let mut b = Bench::new();
    let grant = b.write(1, A);
    b.request(2, B, Mode::Write);
    b.request(3, C, Mode::Write);
    b.now = b.now + Duration::from_secs(15);
    let Grant { session, ino, id, fence, .. } = grant;
    let fenced = Effect::Fenced { session, ino, id, fence };
    assert_eq!(b.release(grant), [journal_lost(grant), fenced]);
    b.now = b.now + Duration::from_secs(45);
    let effects = b.durable(grant);
    assert_eq!(denied(&effects), Some((2, Code::Busy)));
    assert_eq!((effects.last(), granted(&effects)), (Some(&revoked(grant)), None));
}
