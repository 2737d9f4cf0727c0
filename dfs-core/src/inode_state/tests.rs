use super::*;
use proptest::prelude::*;

const HOLD: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> BootTime {
    BootTime(Duration::from_secs(seconds))
}

fn held(n: u64) -> Held {
    Held { grant: GrantId(n), fence: Fence(n), hold: HOLD }
}

fn recall(n: u64, hold: u64) -> Event {
    let hold = Duration::from_secs(hold);
    Event::Recall { grant: GrantId(n), fence: Fence(n), hold }
}

/// An inode with one open writer and the lease 1, granted at 100 s.
fn own() -> InodeState {
    let mut state = InodeState::new(EVERY);
    state.step(at(100), Event::WriterOpened);
    assert_eq!(state.step(at(100), Event::Wanted), Some(Effect::Request));
    assert_eq!(state.step(at(100), Event::Granted(held(1))), None);
    state
}

#[test]
fn i1_second_writer_joins_the_request() {
    let mut state = InodeState::new(EVERY);
    assert_eq!(state.step(at(0), Event::Wanted), Some(Effect::Request));
    assert_eq!(state.step(at(0), Event::Wanted), None);
}

#[test]
fn i2_recall_that_overtook_the_grant_counts() {
    let mut state = InodeState::new(EVERY);
    state.step(at(0), Event::Wanted);
    assert_eq!(state.step(at(0), recall(1, 0)), None);
    assert_eq!(state.step(at(1), Event::Granted(held(1))), Some(Effect::Return));
    assert_eq!(state.writable(), None);
}

#[test]
fn i2_revocation_that_overtook_the_grant_counts() {
    let mut state = InodeState::new(EVERY);
    state.step(at(0), Event::Wanted);
    state.step(at(0), Event::Revoked(Fence(1)));
    assert_eq!(state.step(at(1), Event::Granted(held(1))), None);
    assert_eq!(state.writable(), None);
    assert_eq!(state.step(at(1), Event::Wanted), Some(Effect::Request));
}

#[test]
fn i3_refused_leaves_no_lease_and_disowns_a_recalled_grant() {
    let mut state = InodeState::new(EVERY);
    state.step(at(0), Event::Wanted);
    state.step(at(0), recall(4, 1));
    let disown = Effect::Disown(GrantId(4), Fence(4));
    assert_eq!(state.step(at(1), Event::Refused), Some(disown));
    assert!(state.is_idle());
}

#[test]
fn i4_first_write_starts_the_time_to_the_commit_and_later_ones_do_not_move_it() {
    let mut state = own();
    assert!(!state.is_dirty());
    assert_eq!(state.step(at(101), Event::Wrote), None);
    assert!(state.is_dirty() && !state.is_idle());
    assert_eq!(state.step(at(104), Event::Wrote), None);
    assert_eq!(state.next_deadline(), Some(at(101) + EVERY));
    // Each write is work in progress, which a recall leaves its guaranteed time.
    assert_eq!(state.step(at(105), recall(1, 2)), None);
    assert_eq!(state.writable(), Some(held(1)));
    state.step(at(106), Event::Committed { clean: true });
    assert_eq!(state.step(at(106), Event::Wrote), None);
    assert_eq!(state.next_deadline(), Some(at(107)), "the recall comes before the next commit");
}

#[test]
fn i8_bytes_of_a_commit_that_failed_stay_and_are_committed_again() {
    let mut state = own();
    state.step(at(101), Event::Wrote);
    // Nothing is said of a failure: what is unsaved stays so.
    for second in [106, 111, 116] {
        assert_eq!(state.next_deadline(), Some(at(second)));
        assert_eq!(state.step(at(second), Event::Tick), Some(Effect::Commit));
        assert!(state.is_dirty() && state.committable() == Some(held(1)));
    }
    // Also those staged while the commit ran, and those whose lease is wanted back.
    state.step(at(117), Event::Committed { clean: false });
    assert!(state.is_dirty());
    assert_eq!(state.next_deadline(), Some(at(117) + EVERY));
    assert_eq!(state.step(at(118), recall(1, 0)), Some(Effect::Return));
    assert!(state.is_dirty() && state.committable() == Some(held(1)));
}

#[test]
fn i5_dirty_bytes_are_committed_in_the_background() {
    let mut state = own();
    state.step(at(101), Event::Wrote);
    assert_eq!(state.next_deadline(), Some(at(106)));
    assert_eq!(state.step(at(105), Event::Tick), None);
    assert_eq!(state.step(at(106), Event::Tick), Some(Effect::Commit));
    state.step(at(107), Event::Committed { clean: true });
    assert_eq!(state.next_deadline(), None);
}

#[test]
fn i6_idle_lease_goes_back_at_once() {
    let mut state = own();
    assert_eq!(state.step(at(106), recall(1, 5)), Some(Effect::Return));
    state.step(at(106), Event::Returned);
    assert_eq!(state.step(at(106), Event::Wanted), Some(Effect::Request));
}

#[test]
fn i6_kept_lease_goes_back_after_idle_time() {
    let mut state = own();
    state.step(at(101), Event::WriterClosed);
    assert_eq!(state.next_deadline(), Some(at(101) + LEASE_IDLE));
    assert_eq!(state.step(at(101) + LEASE_IDLE, Event::Tick), Some(Effect::Return));
}

#[test]
fn i7_work_in_progress_keeps_its_guaranteed_time() {
    let mut state = own();
    state.step(at(103), Event::Wrote);
    assert_eq!(state.step(at(104), recall(1, 3)), None);
    assert!(state.writable().is_some());
    assert_eq!(state.step(at(107), Event::Tick), Some(Effect::Return));
    assert!(state.committable().is_some() && state.writable().is_none());
}

#[test]
fn i7_last_close_ends_the_guaranteed_time() {
    let mut state = own();
    state.step(at(103), Event::Wrote);
    state.step(at(104), recall(1, 3));
    assert_eq!(state.step(at(105), Event::WriterClosed), Some(Effect::Return));
}

#[test]
fn i7_work_under_a_kept_lease_has_its_guaranteed_time() {
    // The lease of 100 s is kept after the close, and its term at the server is over.
    let kept = || {
        let mut state = own();
        state.step(at(101), Event::WriterClosed);
        state.step(at(107), Event::WriterOpened);
        state
    };
    let mut idle = kept();
    assert_eq!(idle.step(at(107), recall(1, 0)), Some(Effect::Return), "it may never write");
    let mut opened = kept();
    opened.step(at(107), Event::Reused);
    assert_eq!(opened.step(at(108), recall(1, 0)), None);
    opened.step(at(109), Event::Wrote);
    // Who waits already waits no longer for a further handle.
    opened.step(at(110), Event::WriterOpened);
    opened.step(at(110), Event::Reused);
    assert_eq!(opened.step(at(111), recall(1, 0)), None);
    assert_eq!(opened.step(at(112), Event::Tick), Some(Effect::Return));
    let mut wrote = kept();
    wrote.step(at(108), Event::Wrote);
    wrote.step(at(110), Event::Wrote);
    assert_eq!(wrote.step(at(112), recall(1, 0)), None);
    assert_eq!(wrote.step(at(113), Event::Tick), Some(Effect::Return));
    let mut closed = kept();
    closed.step(at(107), Event::Reused);
    closed.step(at(108), Event::WriterClosed);
    assert_eq!(closed.step(at(108), recall(1, 0)), Some(Effect::Return));
}

#[test]
fn i9_unsaved_bytes_of_a_refused_rescue_are_saved_aside() {
    let mut state = own();
    state.step(at(101), Event::Wrote);
    assert_eq!(state.step(at(102), Event::Revoked(Fence(1))), Some(Effect::Rescue(Fence(1))));
    assert_eq!(state.step(at(102), Event::RescueRefused), Some(Effect::SaveAside));
    assert!(!state.is_dirty());
    let mut clean = own();
    assert_eq!(clean.step(at(102), Event::Revoked(Fence(1))), None);
    assert_eq!(clean.step(at(102), Event::Revoked(Fence(9))), None);
}

#[test]
fn i10_dirty_inode_of_a_gone_session_is_rescued() {
    let mut state = own();
    state.step(at(101), Event::Wrote);
    assert_eq!(state.step(at(200), Event::SessionGone), Some(Effect::Rescue(Fence(1))));
    assert!(state.in_transit());
    state.step(at(201), Event::Rescued(held(7)));
    assert_eq!(state.writable(), Some(held(7)));
    assert_eq!(state.step(at(201), Event::Tick), Some(Effect::Commit));
}

#[test]
fn i11_i12_newer_version_advances_unless_bytes_are_unsaved() {
    assert_eq!(InodeState::new(EVERY).step(at(0), Event::Moved), Some(Effect::Advance));
    let mut state = own();
    state.step(at(101), Event::Wrote);
    assert_eq!(state.step(at(102), Event::Moved), Some(Effect::SaveAside));
    let mut adrift = InodeState::adrift(EVERY, Fence(3));
    assert_eq!(adrift.step(at(0), Event::Moved), None);
}

#[test]
fn regression_i12_next_holders_version_may_overtake_the_answer_to_the_last_commit() {
    let mut state = own();
    state.step(at(101), Event::WriterClosed);
    state.step(at(101), Event::Wrote);
    assert_eq!(state.step(at(102), recall(1, 0)), Some(Effect::Return));
    assert_eq!(state.step(at(103), Event::Moved), None);
    state.step(at(104), Event::Committed { clean: true });
    state.step(at(104), Event::Returned);
    assert!(state.is_idle());
    assert_eq!(state.step(at(105), Event::Moved), Some(Effect::Advance));
}

#[test]
fn recall_of_a_strange_grant_is_disowned() {
    let disown = Some(Effect::Disown(GrantId(8), Fence(8)));
    assert_eq!(InodeState::new(EVERY).step(at(0), recall(8, 5)), disown);
    assert_eq!(own().step(at(101), recall(8, 5)), disown);
}

fn event() -> impl Strategy<Value = Event> {
    let n = 1..4u64;
    prop_oneof![
        Just(Event::WriterOpened),
        Just(Event::WriterClosed),
        Just(Event::Wanted),
        n.clone().prop_map(|n| Event::Granted(held(n))),
        Just(Event::Refused),
        Just(Event::Wrote),
        any::<bool>().prop_map(|clean| Event::Committed { clean }),
        Just(Event::Returned),
        (n.clone(), 0..8u64).prop_map(|(n, hold)| recall(n, hold)),
        n.clone().prop_map(|n| Event::Revoked(Fence(n))),
        Just(Event::SessionGone),
        n.prop_map(|n| Event::Rescued(held(n))),
        Just(Event::RescueRefused),
        Just(Event::Moved),
        Just(Event::Tick),
    ]
}

proptest! {
    #[test]
    fn unsaved_bytes_always_have_a_way_out(events in prop::collection::vec((event(), 0..4u64), 0..80)) {
        let mut state = InodeState::new(EVERY);
        let mut now = at(0);
        for (event, pause) in events {
            now = now + Duration::from_secs(pause);
            let legal = match event {
                Event::WriterClosed => state.writers() > 0,
                Event::Wrote => state.writable().is_some(),
                Event::Committed { .. } => state.committable().is_some() && state.is_dirty(),
                Event::Returned => !state.is_dirty(),
                _ => true,
            };
            if !legal {
                continue;
            }
            let was_dirty = state.is_dirty();
            let effect = state.step(now, event);
            // Unsaved bytes are committed or saved aside, never forgotten.
            if was_dirty && !state.is_dirty() {
                let committed = matches!(event, Event::Committed { .. });
                prop_assert!(committed || effect == Some(Effect::SaveAside), "{:?}", event);
            }
            // They belong to a grant that is held, or to one that can be rescued.
            if state.is_dirty() {
                prop_assert!(state.committable().is_some() || state.in_transit());
            }
            if state.is_dirty() && state.writable().is_some() {
                prop_assert!(state.next_deadline().is_some());
            }
            if effect == Some(Effect::Return) {
                prop_assert!(state.writable().is_none() && state.committable().is_some());
            }
            prop_assert!(state.early.len() <= EARLY_MAX);
        }
    }

    #[test]
    fn recall_is_obeyed_when_its_time_is_over(hold in 0..8u64, writes in prop::collection::vec(0..8u64, 0..5)) {
        let mut state = own();
        let mut returned = state.step(at(101), recall(1, hold)) == Some(Effect::Return);
        for second in writes {
            if state.writable().is_some() {
                state.step(at(101 + second.min(hold)), Event::Wrote);
            }
        }
        returned |= state.step(at(101 + hold), Event::Tick) == Some(Effect::Return);
        prop_assert!(returned);
    }
}

#[test]
fn i6_rested_writer_yields_at_once_and_a_new_write_has_its_time_again() {
    let (mut state, held) = (InodeState::new(EVERY), held(1));
    let recall = |hold| Event::Recall { grant: held.grant, fence: held.fence, hold };
    state.step(at(0), Event::WriterOpened);
    state.step(at(0), Event::Wanted);
    state.step(at(0), Event::Granted(held));
    state.step(at(1), Event::Wrote);
    assert_eq!(state.step(at(1), Event::Rested), None, "unsaved work is no rest");
    state.step(at(1), Event::Committed { clean: true });
    let mut again = state.clone();
    state.step(at(1), Event::Rested);
    assert_eq!(state.step(at(1), recall(held.hold)), Some(Effect::Return));
    again.step(at(1), Event::Rested);
    again.step(at(1), Event::Wrote);
    assert_eq!(again.step(at(1), recall(held.hold)), None);
    again.step(at(1), Event::Committed { clean: true });
    assert_eq!(again.step(at(1), Event::Rested), Some(Effect::Return), "it was asked before");
}
