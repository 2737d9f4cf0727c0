//! Numbers for files and directories that clients make before they say so, and the making of files
//! (`docs/design/0025`, 0041).

use super::committer::Work;
use super::mutate::{Applied, Guard, Mutation};
use super::op::MakeFile;
use super::{Caller, NameServer};
use dfs_core::grant::{self, Mode};
use dfs_core::range::Range;
use dfs_core::{Code, Fence, FsError, GrantId, Ino, Result, SessionId, limits};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Inode numbers that no inode has yet, each with the fence of its first write grant.
#[derive(Debug, Default)]
pub struct Reserved {
    of: HashMap<SessionId, Own>,
    /// Of a mount whose daemon was started anew, from the end of its old session to the begin of the
    /// next.
    left: Option<(Mount, Own)>,
}

/// What a session has.
#[derive(Debug, Default)]
struct Own {
    numbers: BTreeMap<Ino, Fence>,
    /// Directories that the session before it, of the same mount, had to itself to its end: nobody else
    /// has looked for what was made there and not told.
    left_dirs: BTreeSet<Ino>,
}

/// Identity of a mount.
type Mount = [u8; 16];

impl Reserved {
    /// Gives a session a number. Of too many it loses the oldest.
    pub fn add(&mut self, sid: SessionId, ino: Ino, fence: Fence) {
        let own = &mut self.of.entry(sid).or_default().numbers;
        own.insert(ino, fence);
        if own.len() > limits::RESERVED_PER_SESSION {
            own.pop_first();
        }
    }

    /// The number is used; whether the session had it, with this fence.
    pub fn take(&mut self, sid: SessionId, ino: Ino, fence: Fence) -> bool {
        let Some(Own { numbers, .. }) = self.of.get_mut(&sid) else { return false };
        let had = numbers.get(&ino) == Some(&fence);
        if had {
            numbers.remove(&ino);
        }
        had
    }

    /// A session is over.
    pub fn forget(&mut self, sid: SessionId) {
        self.of.remove(&sid);
    }

    /// A session is over because its mount's daemon was started anew, which may still tell what the last
    /// one made, in `dirs` above all, which were its own to the end.
    pub fn leave(&mut self, sid: SessionId, mount: Mount, dirs: impl IntoIterator<Item = Ino>) {
        let numbers = self.of.remove(&sid).unwrap_or_default().numbers;
        self.left = Some((mount, Own { numbers, left_dirs: dirs.into_iter().collect() }));
    }

    /// Whether the session's mount had this directory to itself until its daemon was started anew.
    fn was_left(&self, sid: SessionId, dir: Ino) -> bool {
        self.of.get(&sid).is_some_and(|own| own.left_dirs.contains(&dir))
    }

    /// A session of a mount begins.
    pub fn inherit(&mut self, sid: SessionId, mount: Mount) {
        if let Some((of, own)) = self.left.take()
            && of == mount
        {
            self.of.insert(sid, own);
        }
    }
}

/// Numbers that follow each other.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    /// The first inode number.
    pub ino: Ino,
    /// The first fence.
    pub fence: Fence,
    /// How many.
    pub count: u32,
}

impl NameServer {
    /// Draws numbers for up to `count` files.
    pub async fn reserve(self: &Arc<Self>, caller: &Caller, count: u32) -> Result<Drawn> {
        let count = count.clamp(1, limits::RESERVED_AT_ONCE);
        self.lock().sessions.check(caller.sid, caller.epoch, self.clock.now())?;
        let ino = Ino(self.commit_work(Work::Inos(count)).await?.number);
        let mut machines = self.lock();
        // It may have ended meanwhile, and would be remembered for good.
        machines.sessions.check(caller.sid, caller.epoch, self.clock.now())?;
        let fence = Fence(machines.draw(count).0);
        for n in 0..u64::from(count) {
            machines.reserved.add(caller.sid, Ino(ino.0 + n), Fence(fence.0 + n));
        }
        Ok(Drawn { ino, fence, count })
    }

    /// Uses a number that was drawn for what needs no grant. Errors: `Invalid` where the superuser is
    /// nobody, `Fenced` if it was not drawn for the session.
    pub(super) fn use_number(&self, caller: &Caller, (ino, fence): (Ino, Fence)) -> Result<()> {
        self.check_made_ahead()?;
        // Drawn from an earlier start of the server: who had it is known no more. What is made with it is
        // made only if there is none of this number.
        let given = self.was_given_before(GrantId(fence.0), fence) && ino < self.first_ino;
        if given || self.lock().reserved.take(caller.sid, ino, fence) {
            return Ok(());
        }
        Err(not_drawn(caller.sid, ino))
    }

    fn check_made_ahead(&self) -> Result<()> {
        if !self.settings.root_squash {
            return Ok(());
        }
        let text = "nothing is made ahead where the superuser is nobody";
        Err(FsError::new(Code::Invalid, text))
    }

    /// Makes a file that its client has made before, with the write grant that the client gave it.
    ///
    /// Errors: those of creating and of committing; `Fenced` if the number was not drawn for the
    /// session, or its grant is gone.
    pub async fn make_file(
        self: &Arc<Self>,
        caller: &Caller,
        guard: Guard,
        make: MakeFile,
        left_over: bool,
    ) -> Result<Applied> {
        self.check_made_ahead()?;
        let drawn = match self.grant_to_maker(caller, guard, left_over.then_some(make.dir)) {
            Ok(drawn) => drawn,
            // A call that is repeated has used the number, and may have given the grant back.
            Err(error) => return self.answered(caller)?.ok_or(error),
        };
        let mutation = Mutation { guard: Some(guard), ..Mutation::new(make) };
        let made = self.mutate(caller.clone(), mutation).await;
        if drawn && made.is_err() {
            // Nothing has the number: its client may try again.
            let mut machines = self.lock();
            let Guard { ino, grant: id, fence } = guard;
            let release = grant::Event::Release { session: caller.sid, ino, id, fence };
            machines.grant(self.clock.now(), release);
            machines.reserved.add(caller.sid, ino, fence);
        }
        made
    }

    /// The grant of a new file: the one that was drawn for it (true), or that its maker has already.
    /// `left_in`: an earlier daemon made it in this directory.
    fn grant_to_maker(&self, caller: &Caller, guard: Guard, left_in: Option<Ino>) -> Result<bool> {
        let now = self.clock.now();
        let mut machines = self.lock();
        machines.sessions.check(caller.sid, caller.epoch, now)?;
        if machines.has_grant(caller.sid, guard) {
            return Ok(false);
        }
        if machines.grants.count(caller.sid) >= limits::GRANTS_PER_SESSION {
            let text = format!("session {} has too many grants", caller.sid);
            return Err(FsError::new(Code::NoLocks, text));
        }
        // Drawn from an earlier start of the server: who had it is known no more. The file is made only if
        // there is none of this number.
        let given = self.was_given_before(guard.grant, guard.fence) && guard.ino < self.first_ino;
        let left = |dir| given && machines.reserved.was_left(caller.sid, dir);
        if left_in.is_some_and(left) || machines.reserved.take(caller.sid, guard.ino, guard.fence) {
            let claim = grant::Reclaim {
                session: caller.sid,
                ino: guard.ino,
                id: guard.grant,
                fence: guard.fence,
                mode: Mode::Write,
                range: Range::ALL,
                min_hold: limits::LEASE_HOLD_MIN,
            };
            machines.grant(now, grant::Event::Reclaim(claim));
        }
        if machines.has_grant(caller.sid, guard) {
            return Ok(true);
        }
        Err(not_drawn(caller.sid, guard.ino))
    }
}

fn not_drawn(sid: SessionId, ino: Ino) -> FsError {
    FsError::new(Code::Fenced, format!("inode {ino} was not drawn for session {sid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_number_is_taken_once_and_by_its_session() {
        let (a, b, mut reserved) = (SessionId(1), SessionId(2), Reserved::default());
        reserved.add(a, Ino(7), Fence(70));
        assert!(!reserved.take(b, Ino(7), Fence(70)) && !reserved.take(a, Ino(7), Fence(71)));
        assert!(reserved.take(a, Ino(7), Fence(70)) && !reserved.take(a, Ino(7), Fence(70)));
        for n in 0..=limits::RESERVED_PER_SESSION as u64 {
            reserved.add(a, Ino(100 + n), Fence(n));
        }
        assert!(!reserved.take(a, Ino(100), Fence(0)), "the oldest is forgotten");
        reserved.leave(a, [7; 16], [Ino(5)]);
        assert!(!reserved.take(a, Ino(101), Fence(1)));
        reserved.inherit(b, [7; 16]);
        assert!(reserved.take(b, Ino(101), Fence(1)), "the same mount");
        assert!(reserved.was_left(b, Ino(5)) && !reserved.was_left(b, Ino(6)));
        reserved.leave(b, [7; 16], []);
        reserved.inherit(a, [8; 16]);
        assert!(!reserved.was_left(a, Ino(5)));
        assert!(!reserved.take(a, Ino(102), Fence(2)), "another one");
        reserved.add(a, Ino(7), Fence(70));
        reserved.forget(a);
        assert!(!reserved.take(a, Ino(7), Fence(70)));
    }
}
