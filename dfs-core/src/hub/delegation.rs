//! Delegations: directories that only one session knows, which may therefore make files in them
//! before it says so (`docs/design/0025`).
//!
//! A delegation is a promise on the names of a directory that nobody else has anything of. It comes
//! with the answer to a change of names, and ends when that promise does, or with the ack of an
//! `Undelegate`, which the shell has pushed before anybody else reads or changes the directory.

use super::{Hub, IntentKey, Key};
use crate::{BootTime, Ino, SessionId};

impl Hub {
    /// Delegates those directories of which the session has just been promised names and attributes,
    /// and nobody else anything. Returns those that are delegated to it.
    pub(super) fn delegate(&mut self, session: SessionId, kept: &[Key]) -> Vec<Ino> {
        let mut delegated = Vec::new();
        for key in kept {
            let Key::Dir(dir) = *key else { continue };
            let alone = [Key::Dir(dir), Key::Attr(dir)]
                .into_iter()
                .all(|key| self.promises.holders(key).all(|holder| holder == session));
            // Kept attributes say that no other change of this directory is under way.
            if alone && kept.contains(&Key::Attr(dir)) {
                self.promises.delegate_to(session, dir);
                delegated.push(dir);
            }
        }
        delegated
    }

    /// The session had directories to itself when the server ended: it is asked for them like any
    /// holder, and has them until it answers, or is given up.
    pub(super) fn was_delegated(&mut self, now: BootTime, session: SessionId, dirs: Vec<Ino>) {
        self.activate(now, session);
        for dir in dirs {
            self.promises.give(session, Key::Dir(dir));
            self.promises.delegate_to(session, dir);
        }
    }

    /// All delegated directories, and to whom they are.
    pub fn delegations(&self) -> Vec<(Ino, SessionId)> {
        self.promises.delegations()
    }

    /// The directory whose delegation to somebody else must end before `session` may read `key`.
    pub fn delegated_from(&self, session: SessionId, key: Key) -> Option<Ino> {
        let (Key::Attr(ino) | Key::Dir(ino)) = key;
        self.promises.delegate(ino).filter(|holder| *holder != session).map(|_| ino)
    }

    /// The same for a mutation of `session` that touches `keys`.
    pub fn delegated_under<'a>(
        &self,
        session: SessionId,
        keys: impl IntoIterator<Item = &'a IntentKey>,
    ) -> Option<Ino> {
        keys.into_iter().find_map(|key| {
            let (IntentKey::Dir(ino) | IntentKey::Name(ino, _) | IntentKey::Attr(ino)) = key;
            self.delegated_from(session, Key::Dir(*ino))
        })
    }
}
