use super::super::AWAY_RETRY;
use super::*;
use crate::{Fence, Ino};

/// Server lapse with the default term: 15 s and half a percent and 250 ms.
const LAPSE_MS: u64 = 15_325;
const DAY_MS: u64 = 24 * 3600 * 1000;

fn bench() -> Bench {
    Bench::new(Config::default())
}

fn grant(ino: u64, fence: u64) -> LostItem {
    LostItem::Grant { ino: Ino(ino), fence: Fence(fence) }
}

fn code(result: Result<()>) -> Option<Code> {
    result.err().map(|error| error.code)
}

fn refusal(effects: &[Effect]) -> Option<Code> {
    effects.iter().find_map(|effect| match effect {
        Effect::Refused(error) => Some(error.code),
        _ => None,
    })
}

#[test]
fn s1_establish_unknown_uuid_is_journaled_before_the_answer() {
    let mut b = bench();
    let effects = b.step(establish(1, 1));
    let [Effect::JournalOpen { session }, Effect::Established { sid, epoch, term, resumed, .. }] =
        &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((session.sid, session.epoch), (*sid, *epoch));
    assert!(!resumed);
    assert_eq!(*term, Duration::from_secs(15));
    assert_eq!(b.table.check(*sid, *epoch, b.now), Ok(()));
    assert_eq!(b.table.next_deadline(), Some(b.now + Duration::from_millis(LAPSE_MS)));
}

#[test]
fn s2_new_verifier_closes_the_old_session_at_once() {
    let mut b = bench();
    let (old, epoch) = b.establish(1, 1);
    let effects = b.step(establish(1, 2));
    assert_eq!(effects[0], Effect::JournalClose { sid: old, reason: CloseReason::Replaced });
    assert_eq!(effects[1], Effect::Gone { sid: old });
    let Effect::JournalOpen { session } = &effects[2] else { panic!("{effects:?}") };
    assert!(session.epoch > epoch && session.sid != old);
    assert_eq!(code(b.table.check(old, epoch, b.now)), Some(Code::SessionExpired));
}

#[test]
fn s3_establish_with_the_same_verifier_resumes() {
    let mut b = bench();
    let (sid, epoch) = b.establish(1, 1);
    assert_eq!(b.wait(LAPSE_MS), [Effect::Lapsed { sid }]);
    b.step(Event::Conflict { sid, item: grant(7, 70) });
    let effects = b.step(establish(1, 1));
    let term = Duration::from_secs(15);
    let lost = vec![grant(7, 70)];
    assert_eq!(
        effects,
        [
            Effect::Back { sid },
            Effect::Established { sid, epoch, term, resumed: true, reclaim: false, lost }
        ]
    );
    assert_eq!(b.table.check(sid, epoch, b.now), Ok(()));
}

#[test]
fn s3_attach_extends_the_lease_and_checks_the_epoch() {
    let mut b = bench();
    let (sid, epoch) = b.establish(1, 1);
    b.wait(LAPSE_MS - 1);
    let effects = b.step(Event::Attach { sid, epoch });
    assert_eq!(effects, [Effect::Attached { sid, lost: vec![], reclaim: false }]);
    assert_eq!(b.wait(LAPSE_MS - 1), []);
    let wrong = b.step(Event::Attach { sid, epoch: Seq(epoch.0 + 1) });
    assert_eq!(refusal(&wrong), Some(Code::SessionExpired));
}

#[test]
fn s4_renew_counts_the_lease_from_receipt() {
    let mut b = bench();
    let (sid, epoch) = b.establish(1, 1);
    b.wait(5_000);
    let effects = b.step(Event::Renew { sid, epoch, overdue: None });
    let term = Duration::from_secs(15);
    assert_eq!(effects, [Effect::RenewAck { sid, term, blocked_on: None }]);
    assert_eq!(b.wait(LAPSE_MS - 1), []);
    assert_eq!(b.wait(1), [Effect::Lapsed { sid }]);
    let late = b.step(Event::Renew { sid, epoch, overdue: None });
    assert_eq!(refusal(&late), Some(Code::Retry(AWAY_RETRY)));
}

#[test]
fn s5_renew_with_an_overdue_push_gives_no_term() {
    let mut b = bench();
    let (sid, epoch) = b.establish(1, 1);
    b.wait(5_000);
    let effects = b.step(Event::Renew { sid, epoch, overdue: Some(7) });
    let term = Duration::ZERO;
    assert_eq!(effects, [Effect::RenewAck { sid, term, blocked_on: Some(7) }]);
    assert_eq!(b.wait(LAPSE_MS - 5_000), [Effect::Lapsed { sid }]);
}

#[test]
fn s6_tick_lapses_and_every_step_ticks_first() {
    let mut b = bench();
    let (sid, epoch) = b.establish(1, 1);
    b.now = b.now + Duration::from_millis(LAPSE_MS);
    assert_eq!(code(b.table.check(sid, epoch, b.now)), Some(Code::Retry(AWAY_RETRY)));
    let effects = b.step(Event::Renew { sid, epoch, overdue: None });
    assert_eq!(effects[0], Effect::Lapsed { sid });
    assert_eq!(refusal(&effects), Some(Code::Retry(AWAY_RETRY)));
    assert_eq!(b.table.state(sid), Some(State::Courtesy { since: b.now }));
}

#[test]
fn s7_conflict_is_journaled_once_and_too_many_end_the_session() {
    let mut b = Bench::new(Config { lost_max: 1, ..Config::default() });
    let (sid, _) = b.establish(1, 1);
    b.wait(LAPSE_MS);
    let item = grant(7, 70);
    assert_eq!(b.step(Event::Conflict { sid, item }), [Effect::JournalLost { sid, item }]);
    assert_eq!(b.step(Event::Conflict { sid, item }), []);
    assert_eq!(b.table.lost(sid).collect::<Vec<_>>(), [item]);
    let effects = b.step(Event::Conflict { sid, item: LostItem::Locks { ino: Ino(8) } });
    let reason = CloseReason::LostTooMuch;
    assert_eq!(effects, [Effect::JournalClose { sid, reason }, Effect::Gone { sid }]);
    assert_eq!(b.step(Event::Conflict { sid, item }), []);
}

#[test]
fn s7_active_session_that_lost_too_much_is_not_renewed_and_ends_at_its_lapse() {
    let mut b = Bench::new(Config { lost_max: 1, ..Config::default() });
    let (sid, epoch) = b.establish(1, 1);
    for fence in [70, 71] {
        let item = grant(7, fence);
        assert_eq!(b.step(Event::Conflict { sid, item }), [Effect::JournalLost { sid, item }]);
    }
    let effects = b.step(Event::Renew { sid, epoch, overdue: None });
    assert_eq!(effects, [Effect::RenewAck { sid, term: Duration::ZERO, blocked_on: None }]);
    let reason = CloseReason::LostTooMuch;
    assert_eq!(b.wait(LAPSE_MS), [Effect::JournalClose { sid, reason }, Effect::Gone { sid }]);
}

#[test]
fn s8_courtesy_ends_after_its_longest_time() {
    let mut b = bench();
    let (sid, _) = b.establish(1, 1);
    assert_eq!(b.wait(LAPSE_MS + 10_000), [Effect::Lapsed { sid }]);
    assert_eq!(b.wait(DAY_MS - 10_001), []);
    let reason = CloseReason::AwayTooLong;
    assert_eq!(b.wait(1), [Effect::JournalClose { sid, reason }, Effect::Gone { sid }]);
    assert_eq!(b.table.next_deadline(), None);
}

#[test]
fn s1_full_table_gives_the_place_of_who_is_away_the_longest_and_else_refuses() {
    let mut b = Bench::new(Config { sessions_max: 2, ..Config::default() });
    let (first, _) = b.establish(1, 1);
    b.wait(1_000);
    b.establish(2, 1);
    let effects = b.step(establish(3, 1));
    assert!(matches!(&effects[..], [Effect::Refused(e)] if e.code == Code::Busy), "{effects:?}");
    // A mount that is known needs no place.
    b.establish(2, 2);
    b.wait(LAPSE_MS - 500);
    let effects = b.step(establish(3, 1));
    let reason = CloseReason::Crowded;
    assert_eq!(
        effects[..2],
        [Effect::JournalClose { sid: first, reason }, Effect::Gone { sid: first }]
    );
    assert!(matches!(effects.last(), Some(Effect::Established { .. })));
    assert_eq!(b.table.sessions().count(), 2);
}

#[test]
fn s9_close_and_expire_fence_the_epoch() {
    let mut b = bench();
    let (a, a_epoch) = b.establish(1, 1);
    let (c, c_epoch) = b.establish(2, 1);
    let closed = Effect::JournalClose { sid: a, reason: CloseReason::Closed };
    assert_eq!(b.step(Event::Close { sid: a }), [closed, Effect::Gone { sid: a }]);
    let reason = CloseReason::Administrator;
    let expired = Effect::JournalClose { sid: c, reason };
    assert_eq!(b.step(Event::Expire { sid: c, reason }), [expired, Effect::Gone { sid: c }]);
    for (sid, epoch) in [(a, a_epoch), (c, c_epoch)] {
        assert_eq!(code(b.table.check(sid, epoch, b.now)), Some(Code::SessionExpired));
    }
    assert_eq!(b.table.sessions().count(), 0);
}

#[test]
fn s10_unknown_session_is_refused_everywhere() {
    let mut b = bench();
    let (sid, epoch) = (SessionId(9), Seq(9));
    assert_eq!(code(b.table.check(sid, epoch, b.now)), Some(Code::SessionExpired));
    assert_eq!(code(b.table.check_read(sid, epoch, b.now)), Some(Code::SessionExpired));
    assert_eq!(code(b.table.check_reclaim(sid, epoch)), Some(Code::SessionExpired));
    for event in [
        Event::Attach { sid, epoch },
        Event::Renew { sid, epoch, overdue: None },
        Event::ReclaimDone { sid },
        Event::Close { sid },
        Event::Expire { sid, reason: CloseReason::Administrator },
    ] {
        assert_eq!(refusal(&b.step(event)), Some(Code::SessionExpired));
    }
}

#[test]
fn s11_load_opens_the_reclaim_window() {
    let mut b = bench();
    assert_eq!(b.restart(vec![record(1, 5, vec![])], 2), []);
    assert!(b.table.in_grace());
    assert_eq!(b.table.state(SessionId(5)), Some(State::Reclaim));
    assert_eq!(b.table.next_deadline(), Some(b.now + Duration::from_secs(30)));
    let mut empty = bench();
    assert_eq!(empty.restart(vec![], 2), [Effect::GraceEnd]);
    let long = Config { term: Duration::from_secs(60), ..Config::default() };
    let mut b = Bench::new(long);
    b.restart(vec![record(1, 5, vec![])], 2);
    assert_eq!(b.table.next_deadline(), Some(b.now + Duration::from_millis(60_550)));
}

#[test]
fn s12_reclaim_is_refused_for_what_the_journal_says_is_lost() {
    let mut b = bench();
    let (sid, epoch) = (SessionId(5), Seq(5));
    b.restart(vec![record(1, 5, vec![grant(7, 70)])], 2);
    assert_eq!(b.table.check_reclaim(sid, epoch), Ok(()));
    assert!(!b.table.may_reclaim(sid, grant(7, 70)));
    assert!(b.table.may_reclaim(sid, grant(8, 80)));
    let item = grant(8, 80);
    assert_eq!(b.step(Event::Conflict { sid, item }), [Effect::JournalLost { sid, item }]);
    assert_eq!(b.table.lost(sid).collect::<Vec<_>>(), [grant(7, 70), grant(8, 80)]);
    b.step(Event::ReclaimDone { sid });
    assert_eq!(code(b.table.check_reclaim(sid, epoch)), Some(Code::SessionExpired));
}

#[test]
fn s13_last_reclaim_done_ends_grace() {
    let mut b = bench();
    b.restart(vec![record(1, 5, vec![]), record(2, 6, vec![]), record(3, 7, vec![])], 2);
    let reclaimed = |sid| Effect::Reclaimed { sid: SessionId(sid) };
    assert_eq!(b.step(Event::ReclaimDone { sid: SessionId(5) }), [reclaimed(5)]);
    assert_eq!(b.step(Event::ReclaimDone { sid: SessionId(5) }), [reclaimed(5)]);
    b.step(Event::Close { sid: SessionId(7) });
    let effects = b.step(Event::ReclaimDone { sid: SessionId(6) });
    assert_eq!(effects, [reclaimed(6), Effect::GraceEnd]);
    assert_eq!(b.table.check(SessionId(6), Seq(6), b.now), Ok(()));
}

#[test]
fn s14_session_that_did_not_show_up_is_away_with_nothing() {
    let mut b = bench();
    let sid = SessionId(5);
    b.restart(vec![record(1, 5, vec![])], 2);
    assert_eq!(b.wait(29_999), []);
    let effects = b.wait(1);
    let wanted = [
        Effect::DropUnreclaimed { sid, floor: b.seq.last() },
        Effect::Lapsed { sid },
        Effect::GraceEnd,
    ];
    assert_eq!(effects, wanted);
    assert_eq!(b.table.state(sid), Some(State::Courtesy { since: b.now }));
    let late = b.step(Event::ReclaimDone { sid });
    assert_eq!(refusal(&late), Some(Code::Retry(AWAY_RETRY)));
    let effects = b.step(Event::Attach { sid, epoch: Seq(5) });
    let attached = Effect::Attached { sid, lost: vec![], reclaim: false };
    let back = Effect::Back { sid };
    assert_eq!(effects, [Effect::JournalReturned { sid }, back, attached]);
}

#[test]
fn s15_grace_lets_reads_pass_and_holds_mutations() {
    let mut b = bench();
    let (old, old_epoch) = (SessionId(5), Seq(5));
    b.restart(vec![record(1, 5, vec![])], 2);
    let (new, new_epoch) = b.establish(2, 1);
    for (sid, epoch) in [(old, old_epoch), (new, new_epoch)] {
        assert_eq!(b.table.check_read(sid, epoch, b.now), Ok(()));
        let wait = Code::Grace(Duration::from_secs(1));
        assert_eq!(code(b.table.check(sid, epoch, b.now)), Some(wait));
    }
    let near_end = b.now + Duration::from_millis(29_700);
    b.step(Event::Attach { sid: old, epoch: old_epoch });
    b.now = b.now + Duration::from_millis(14_900);
    b.step(Event::Renew { sid: new, epoch: new_epoch, overdue: None });
    let wait = Code::Grace(Duration::from_millis(300));
    assert_eq!(code(b.table.check(new, new_epoch, near_end)), Some(wait));
    let after_end = near_end + Duration::from_secs(9);
    let wait = Code::Grace(Duration::ZERO);
    assert_eq!(code(b.table.check(old, old_epoch, after_end)), Some(wait), "not ended yet");
    let effects = b.step(Event::Renew { sid: old, epoch: old_epoch, overdue: None });
    assert_eq!(effects, [Effect::RenewAck { sid: old, term: Duration::ZERO, blocked_on: None }]);
}

#[test]
fn s11_session_that_missed_a_window_has_nothing_to_reclaim_after_a_second_restart() {
    let mut b = bench();
    let sid = SessionId(5);
    let mut absent = record(1, 5, vec![]);
    (absent.floor, absent.absent) = (Seq(90), true);
    assert_eq!(b.restart(vec![absent], 2), [Effect::Lapsed { sid }, Effect::GraceEnd]);
    assert_eq!(b.table.state(sid), Some(State::Courtesy { since: b.now }));
    assert!(b.table.check_reclaim(sid, Seq(5)).is_err());
    let mut back = record(1, 5, vec![]);
    back.floor = Seq(90);
    b.restart(vec![back], 3);
    assert!(b.table.check_reclaim(sid, Seq(5)).is_ok());
    assert!(!b.table.may_reclaim(sid, grant(7, 90)));
    assert!(b.table.may_reclaim(sid, grant(7, 91)));
}
