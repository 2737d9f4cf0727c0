//! Which directories were delegated to whom, for the next start after a kill (`docs/design/0028`): who
//! has a directory to itself may have changed it before the server heard of it, and nobody may look
//! into it before that client is back and has told, or is given up.
//!
//! A file of records, each a session and a directory; the last one of a directory counts. Written when
//! a delegation begins and never synced: it survives a kill, and after a power loss it may be old.
//! What a record says may be over: then the session is asked in vain.

use super::NameServer;
use crate::disk;
use dfs_core::{Ino, Result, SessionId, hub};
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// With so many directories the file is begun anew.
const KNOWN_MAX: usize = 8192;

/// See the module.
pub(super) struct Delegations {
    file: File,
    known: HashMap<Ino, SessionId>,
}

impl Delegations {
    fn open(path: &Path) -> io::Result<Delegations> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (numbers, torn) = bytes.as_chunks::<8>();
        let numbers: Vec<u64> = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let (records, half) = numbers.as_chunks::<2>();
        let known = records.iter().map(|[sid, dir]| (Ino(*dir), SessionId(*sid))).collect();
        if !torn.is_empty() || !half.is_empty() {
            file.set_len(records.len() as u64 * 16)?;
        }
        Ok(Delegations { file, known })
    }

    fn append<'a>(
        &mut self,
        sid: SessionId,
        dirs: impl Iterator<Item = &'a Ino>,
    ) -> io::Result<()> {
        let mut records = Vec::new();
        for dir in dirs {
            if self.known.insert(*dir, sid) != Some(sid) {
                records.extend([sid.0, dir.0].map(u64::to_le_bytes).as_flattened());
            }
        }
        if records.is_empty() { Ok(()) } else { self.file.write_all(&records) }
    }

    fn begin_anew(&mut self, present: Vec<(Ino, SessionId)>) -> io::Result<()> {
        self.known.clear();
        self.file.set_len(0)?;
        for (dir, sid) in present {
            self.append(sid, [dir].iter())?;
        }
        Ok(())
    }
}

impl NameServer {
    /// Keeps in this file which directories are delegated, from now on. Those that were before this
    /// start are their sessions' until these are back, and then as long as they like; to be called
    /// before anybody is served.
    pub fn remember_delegations(&self, path: &Path) -> Result<()> {
        let failed = |e: io::Error| disk::failed(format_args!("read {}", path.display()), &e);
        let mut delegations = Delegations::open(path).map_err(failed)?;
        let now = self.clock.now();
        let mut machines = self.lock();
        let mut of: BTreeMap<SessionId, Vec<Ino>> = BTreeMap::new();
        delegations.known.retain(|_, sid| machines.rows.contains_key(sid));
        delegations.known.iter().for_each(|(dir, sid)| of.entry(*sid).or_default().push(*dir));
        for (session, dirs) in of {
            machines.hub(now, hub::Event::WasDelegated { session, dirs });
        }
        drop(machines);
        let kept = delegations.known.iter().map(|(dir, sid)| (*dir, *sid)).collect();
        delegations.begin_anew(kept).map_err(failed)?;
        let first = self.delegations.set(Mutex::new(delegations)).is_ok();
        debug_assert!(first, "the file is opened once");
        Ok(())
    }

    /// A session is about to hear that it has these directories to itself. A failure costs no more
    /// than a look too early after a kill.
    pub(super) fn note_delegations(&self, sid: SessionId, dirs: &[Ino]) {
        let Some(delegations) = self.delegations.get().filter(|_| !dirs.is_empty()) else { return };
        let mut delegations = delegations.lock().unwrap_or_else(PoisonError::into_inner);
        let mut noted = delegations.append(sid, dirs.iter());
        if delegations.known.len() > KNOWN_MAX {
            let present = self.lock().hub.delegations();
            noted = noted.and_then(|()| delegations.begin_anew(present));
        }
        if let Err(error) = noted {
            tracing::warn!(%error, "delegations cannot be noted for the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delegations_are_read_back_as_they_were_last_also_behind_a_torn_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("delegations");
        let mut file = Delegations::open(&path).unwrap();
        file.append(SessionId(1), [Ino(5), Ino(6)].iter()).unwrap();
        file.append(SessionId(2), [Ino(6)].iter()).unwrap();
        let len = std::fs::metadata(&path).unwrap().len();
        file.append(SessionId(2), [Ino(6)].iter()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), len, "it is known");
        for torn in [0, 1, 8, 15] {
            file.file.write_all(&vec![0xff; torn]).unwrap();
            let mut again = Delegations::open(&path).unwrap();
            let want = [(Ino(5), SessionId(1)), (Ino(6), SessionId(2))];
            assert_eq!(again.known, want.into(), "{torn}");
            again.append(SessionId(3), [Ino(7)].iter()).unwrap();
            assert_eq!(Delegations::open(&path).unwrap().known.len(), 3);
            again.begin_anew(want.into()).unwrap();
            assert_eq!(Delegations::open(&path).unwrap().known, want.into());
        }
    }
}
