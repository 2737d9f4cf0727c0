//! What one client may do with the content of one inode (PROTOCOL 9.4): the states of its write
//! lease, when unsaved bytes are committed, and when the lease goes back.
//!
//! The rows of table 9.4, in its order, are called `I1` to `I12` here:
//!
//! | # | State | Event | Action |
//! |---|---|---|---|
//! | I1 | CLEAN | write wanted | request the lease |
//! | I2 | WAIT | granted | own it; a recall that overtook the grant counts at once |
//! | I3 | WAIT | interrupted, refused | no lease |
//! | I4 | OWN, DIRTY | write | dirty |
//! | I5 | DIRTY | fsync, close, `commit_every` | commit |
//! | I6 | OWN | recall, idle too long | drain writers, give the lease back |
//! | I7 | DIRTY | recall | the same, after a commit |
//! | I8 | DIRTY | commit failed for now | stays dirty, commit again |
//! | I9 | any | revoked, fenced, lost | save the bytes aside, fail the writers |
//! | I10 | DIRTY | session lease ended | wait, then rescue if the grant is gone |
//! | I11 | any | newer version, nothing unsaved | advance |
//! | I12 | DIRTY | newer version under the lease, which is not going back | as I9: somebody broke the rules |

use crate::id::{Fence, GrantId};
use crate::limits::LEASE_IDLE;
use crate::time::BootTime;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Grants whose recall or revocation overtook the answer that gives them; more are not possible,
/// because one request runs at a time, and older ones belong to no request any more.
const EARLY_MAX: usize = 8;

/// A write lease as the server gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Number of the grant.
    pub grant: GrantId,
    /// Its fencing number.
    pub fence: Fence,
    /// Guaranteed time of possession (`G`); a handle without a write for so long is idle.
    pub hold: Duration,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A handle that may write was opened.
    WriterOpened,
    /// Such a handle was closed.
    WriterClosed,
    /// Somebody wants to write and no lease is held.
    Wanted,
    /// The server gave the lease.
    Granted(Held),
    /// It refused, or nobody waits for it any more.
    Refused,
    /// A handle that is about to write was opened under the lease that is here.
    Reused,
    /// Bytes were staged under the lease.
    Wrote,
    /// A commit ended well; `clean` unless bytes were staged meanwhile.
    Committed {
        /// Nothing is unsaved.
        clean: bool,
    },
    /// What the guaranteed time protects is over, though a writer is open: it gave its record lock
    /// back, or it was opened and has not written yet.
    Rested,
    /// The lease was given back.
    Returned,
    /// The server asks for the grant; a holder with work in progress may keep it for `hold`.
    Recall {
        /// The grant.
        grant: GrantId,
        /// Its fencing number.
        fence: Fence,
        /// Guaranteed time left.
        hold: Duration,
    },
    /// The grant with this fencing number was taken (pushed, lost, or a commit was fenced).
    Revoked(Fence),
    /// All grants are gone with their session; unsaved bytes need a rescue.
    SessionGone,
    /// The rescue of the unsaved bytes succeeded.
    Rescued(Held),
    /// It was refused.
    RescueRefused,
    /// The server has a newer version than ours.
    Moved,
    /// Time passed.
    Tick,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask the server for the lease.
    Request,
    /// Wait for writes in progress, commit what is unsaved, give the lease back; then `Returned`.
    Return,
    /// Tell the server that this grant is not held.
    Disown(GrantId, Fence),
    /// Commit what is unsaved.
    Commit,
    /// Put the unsaved bytes into the recovery area and fail the handles that wrote them.
    SaveAside,
    /// Ask the server to give the lease with this fencing number back on the same base, until it
    /// answers; then `Rescued` or `RescueRefused`.
    Rescue(Fence),
    /// Move to the newest version.
    Advance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lease {
    /// CLEAN: nobody here may write.
    None,
    /// WAIT: asked for.
    Waiting,
    /// OWN or DIRTY.
    Held(Held),
    /// No new write may start; a commit may be under way.
    Returning(Held),
    /// The grant is gone, unsaved bytes are here.
    Adrift(Fence),
}

/// What overtook the answer that gives a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Early {
    grant: Option<GrantId>,
    fence: Fence,
    /// `None`: revoked.
    recall: Option<Duration>,
}

/// The state of one inode. Starts without lease, writers or unsaved bytes.
#[derive(Clone, Debug)]
pub struct InodeState {
    lease: Lease,
    writers: u32,
    dirty: bool,
    /// End of the guaranteed time after a recall.
    recalled: Option<BootTime>,
    early: Vec<Early>,
    last_write: BootTime,
    /// Nothing was written since `Rested`.
    rested: bool,
    /// End of the guaranteed time of work that began under a lease kept from before: the server
    /// counts from the grant, which is older.
    term_until: BootTime,
    /// Next commit in the background.
    commit_at: BootTime,
    /// The last writer closed.
    idle_since: BootTime,
    commit_every: Duration,
}

impl InodeState {
    /// A clean inode whose unsaved bytes are committed after `commit_every` at the latest.
    pub fn new(commit_every: Duration) -> InodeState {
        let zero = BootTime::default();
        InodeState {
            lease: Lease::None,
            writers: 0,
            dirty: false,
            recalled: None,
            early: Vec::new(),
            last_write: zero,
            rested: false,
            term_until: zero,
            commit_at: zero,
            idle_since: zero,
            commit_every,
        }
    }

    /// An inode with unsaved bytes of an earlier life, written under this fencing number.
    pub fn adrift(commit_every: Duration, fence: Fence) -> InodeState {
        let mut state = InodeState::new(commit_every);
        state.lease = Lease::Adrift(fence);
        state.dirty = true;
        state
    }

    /// Commits from now on at least this often.
    pub fn set_commit_every(&mut self, commit_every: Duration) {
        self.commit_every = commit_every;
    }

    /// The lease, if a write may be staged now.
    pub fn writable(&self) -> Option<Held> {
        match self.lease {
            Lease::Held(held) => Some(held),
            _ => None,
        }
    }

    /// The lease, if a commit may name it now.
    pub fn committable(&self) -> Option<Held> {
        match self.lease {
            Lease::Held(held) | Lease::Returning(held) => Some(held),
            _ => None,
        }
    }

    /// Whether a lease is being given back: as soon as the server has it the next holder may commit,
    /// and nobody here knows yet.
    pub fn is_returning(&self) -> bool {
        matches!(self.lease, Lease::Returning(_))
    }

    /// Whether a lease is being given back, or unsaved bytes wait for their rescue: whoever wants
    /// the lease waits for the end of that first.
    pub fn in_transit(&self) -> bool {
        matches!(self.lease, Lease::Returning(_) | Lease::Adrift(_))
    }

    /// Whether the lease was asked for and nothing was heard yet.
    pub fn is_waiting(&self) -> bool {
        self.lease == Lease::Waiting
    }

    /// Whether bytes are unsaved.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Number of open handles that may write.
    pub fn writers(&self) -> u32 {
        self.writers
    }

    /// Whether nothing would be lost by forgetting this state.
    pub fn is_idle(&self) -> bool {
        self.lease == Lease::None && self.writers == 0 && !self.dirty
    }

    /// When `Tick` must come, if at all.
    pub fn next_deadline(&self) -> Option<BootTime> {
        let Lease::Held(_) = self.lease else { return None };
        let idle = (self.writers == 0 && !self.dirty).then(|| self.idle_since + LEASE_IDLE);
        let commit = self.dirty.then_some(self.commit_at);
        [self.recalled, idle, commit].into_iter().flatten().min()
    }

    /// Takes note of an event; says what to do.
    pub fn step(&mut self, now: BootTime, event: Event) -> Option<Effect> {
        match event {
            Event::WriterOpened => self.writers += 1,
            Event::WriterClosed => return self.writer_closed(now),
            Event::Wanted => return self.wanted(),
            Event::Granted(held) => return self.granted(now, held),
            Event::Refused => return self.refused(),
            Event::Reused => self.begin_work(now),
            Event::Wrote => self.wrote(now),
            Event::Committed { clean } => self.committed(now, clean),
            Event::Rested => return self.rested(),
            Event::Returned => self.returned(),
            Event::Recall { grant, fence, hold } => return self.recall(now, grant, fence, hold),
            Event::Revoked(fence) => return self.revoked(fence),
            Event::SessionGone => return self.session_gone(),
            Event::Rescued(held) => self.rescued(now, held),
            Event::RescueRefused => return self.rescue_refused(),
            Event::Moved => return self.moved(),
            Event::Tick => return self.tick(now),
        }
        None
    }

    fn writer_closed(&mut self, now: BootTime) -> Option<Effect> {
        assert!(self.writers > 0, "a writer closed that was never opened");
        self.writers -= 1;
        if self.writers > 0 {
            return None;
        }
        (self.idle_since, self.rested, self.term_until) = (now, !self.dirty, now);
        // I6, I7: the work the guaranteed time protected is over.
        if self.recalled.is_some() { self.give_back() } else { None }
    }

    /// I1.
    fn wanted(&mut self) -> Option<Effect> {
        if self.lease != Lease::None {
            return None;
        }
        self.lease = Lease::Waiting;
        Some(Effect::Request)
    }

    /// I2.
    fn granted(&mut self, now: BootTime, held: Held) -> Option<Effect> {
        if self.lease != Lease::Waiting {
            // The same grant again, or one nobody waits for.
            let known = self.committable().is_some_and(|own| own.fence == held.fence);
            return (!known).then_some(Effect::Disown(held.grant, held.fence));
        }
        let early = std::mem::take(&mut self.early);
        let early = early.iter().find(|early| early.fence == held.fence);
        if early.is_some_and(|early| early.recall.is_none()) {
            self.lease = Lease::None;
            return None;
        }
        self.lease = Lease::Held(held);
        self.recalled = None;
        self.idle_since = now;
        // The writer who waited is about to write: it has its guaranteed time.
        (self.last_write, self.rested, self.term_until) = (now, false, now);
        let hold = early.and_then(|early| early.recall)?;
        self.recall(now, held.grant, held.fence, hold)
    }

    /// I3. A recalled grant that never arrived is disowned, or the server would wait for it.
    fn refused(&mut self) -> Option<Effect> {
        if self.lease == Lease::Waiting {
            self.lease = Lease::None;
        }
        let early = std::mem::take(&mut self.early);
        early.last().and_then(|early| Some(Effect::Disown(early.grant?, early.fence)))
    }

    /// I4.
    fn wrote(&mut self, now: BootTime) {
        // What was stored past the daemon is found also while the lease is on its way back.
        debug_assert!(self.committable().is_some(), "a write without lease");
        if self.rested {
            self.begin_work(now);
        }
        self.last_write = now;
        if !self.dirty {
            self.dirty = true;
            self.commit_at = now + self.commit_every;
        }
    }

    /// Work begins under a lease that is here already. It has the guaranteed time like work under a
    /// new one, unless somebody waits for the lease.
    fn begin_work(&mut self, now: BootTime) {
        let Lease::Held(held) = self.lease else { return };
        (self.last_write, self.rested) = (now, false);
        if self.recalled.is_none() {
            self.term_until = now + held.hold;
        }
    }

    fn committed(&mut self, now: BootTime, clean: bool) {
        self.dirty = !clean;
        self.commit_at = now + self.commit_every;
    }

    /// I6: an idle lease goes back at once.
    fn rested(&mut self) -> Option<Effect> {
        if self.dirty {
            return None;
        }
        (self.rested, self.term_until) = (true, BootTime::default());
        if self.recalled.is_some() { self.give_back() } else { None }
    }

    fn returned(&mut self) {
        if let Lease::Returning(_) = self.lease {
            self.lease = Lease::None;
            self.recalled = None;
        }
    }

    fn recall(
        &mut self,
        now: BootTime,
        grant: GrantId,
        fence: Fence,
        hold: Duration,
    ) -> Option<Effect> {
        match self.lease {
            Lease::Held(held) if held.fence == fence => {
                let hold = hold.max(self.term_until.since(now));
                let quiet = !self.dirty && (self.rested || now.since(self.last_write) >= held.hold);
                if self.writers == 0 || quiet || hold.is_zero() {
                    return self.give_back();
                }
                self.recalled = Some(now + hold);
                None
            }
            Lease::Returning(held) if held.fence == fence => None,
            Lease::Adrift(own) if own == fence => None,
            Lease::Waiting => {
                self.overtaken(Early { grant: Some(grant), fence, recall: Some(hold) });
                None
            }
            _ => Some(Effect::Disown(grant, fence)),
        }
    }

    fn overtaken(&mut self, early: Early) {
        if self.early.len() == EARLY_MAX {
            self.early.remove(0);
        }
        self.early.push(early);
    }

    /// I6, I7.
    fn give_back(&mut self) -> Option<Effect> {
        let Lease::Held(held) = self.lease else { return None };
        self.lease = Lease::Returning(held);
        Some(Effect::Return)
    }

    /// I9.
    fn revoked(&mut self, fence: Fence) -> Option<Effect> {
        let own = match self.lease {
            Lease::Held(held) | Lease::Returning(held) => held.fence,
            Lease::Waiting => {
                self.overtaken(Early { grant: None, fence, recall: None });
                return None;
            }
            // A rescue is under way already.
            Lease::None | Lease::Adrift(_) => return None,
        };
        if own != fence {
            return None;
        }
        // The base may still be current: a rescue decides whether the bytes are really lost.
        self.cast_off(own)
    }

    /// I10.
    fn session_gone(&mut self) -> Option<Effect> {
        match self.lease {
            Lease::Held(held) | Lease::Returning(held) => self.cast_off(held.fence),
            Lease::None | Lease::Waiting | Lease::Adrift(_) => None,
        }
    }

    fn cast_off(&mut self, fence: Fence) -> Option<Effect> {
        self.recalled = None;
        if self.dirty {
            self.lease = Lease::Adrift(fence);
            return Some(Effect::Rescue(fence));
        }
        self.lease = Lease::None;
        None
    }

    fn rescued(&mut self, now: BootTime, held: Held) {
        if let Lease::Adrift(_) = self.lease {
            self.lease = Lease::Held(held);
            self.idle_since = now;
            self.commit_at = now;
        }
    }

    /// I9.
    fn rescue_refused(&mut self) -> Option<Effect> {
        let Lease::Adrift(_) = self.lease else { return None };
        self.lease = Lease::None;
        std::mem::take(&mut self.dirty).then_some(Effect::SaveAside)
    }

    /// I11, I12.
    fn moved(&mut self) -> Option<Effect> {
        if !self.dirty {
            return Some(Effect::Advance);
        }
        match self.lease {
            // The rescue finds out; or the commit that gives the lease back, whose answer the news of
            // the next holder's version may overtake.
            Lease::Adrift(_) | Lease::Returning(_) => None,
            _ => {
                self.lease = Lease::None;
                self.recalled = None;
                self.dirty = false;
                Some(Effect::SaveAside)
            }
        }
    }

    fn tick(&mut self, now: BootTime) -> Option<Effect> {
        let Lease::Held(_) = self.lease else { return None };
        if self.recalled.is_some_and(|end| now >= end) {
            return self.give_back();
        }
        // Unsaved bytes are committed first: nobody waits for the lease.
        if self.writers == 0 && !self.dirty && now >= self.idle_since + LEASE_IDLE {
            return self.give_back();
        }
        if self.dirty && now >= self.commit_at {
            // I5, and I8 when this one fails.
            self.commit_at = now + self.commit_every;
            return Some(Effect::Commit);
        }
        None
    }
}
