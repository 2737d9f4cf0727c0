//! Which directories were delegated to whom, for the next start after a kill (`docs/design/0028`): who
//! has a directory to itself may have changed it before the server heard of it, and nobody may look
//! into it before that client is back and has told, or is given up.
//!
//! A file of records, each a session and a directory; the last one of a directory counts, and session 0
//! is nobody. Written when a delegation begins, or is taken back, and never synced: it survives a kill,
//! and after a power loss it may be old. What ends by itself stands there until the file is begun anew:
//! then the session is asked in vain.

use super::NameServer;
use super::mutate::NOBODY;
use crate::disk;
use dfs_core::hub::{self, Key};
use dfs_core::{Ino, Result, SessionId};
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// From so many directories on the file is begun anew now and then.
const KNOWN_MAX: usize = 8192;

/// See the module.
pub(super) struct Delegations {
    path: PathBuf,
    file: File,
    /// What the file says.
    known: HashMap<Ino, SessionId>,
    /// With so many the file is begun anew.
    anew_at: usize,
}

impl Delegations {
    fn open(path: &Path) -> io::Result<Delegations> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let numbers = bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let numbers: Vec<u64> = numbers.collect();
        let records = numbers.as_chunks::<2>().0;
        let known = records.iter().map(|[sid, dir]| (Ino(*dir), SessionId(*sid))).collect();
        if bytes.len() > records.len() * 16 {
            file.set_len(records.len() as u64 * 16)?;
        }
        Ok(Delegations { path: path.to_owned(), file, known, anew_at: KNOWN_MAX })
    }

    fn append(&mut self, sid: SessionId, dirs: &[Ino]) -> io::Result<()> {
        let mut records = Vec::new();
        for dir in dirs {
            if self.known.insert(*dir, sid) != Some(sid) {
                records.extend(record(sid, *dir));
            }
        }
        if records.is_empty() { Ok(()) } else { self.file.write_all(&records) }
    }

    /// Writes a file that says this and nothing else, and goes on in it. A kill leaves the old one or
    /// the new one.
    fn begin_anew(&mut self, present: HashMap<Ino, SessionId>) -> io::Result<()> {
        self.anew_at = KNOWN_MAX.max(2 * present.len());
        let records: Vec<u8> = present.iter().flat_map(|(dir, sid)| record(*sid, *dir)).collect();
        let temp = self.path.with_extension("new");
        std::fs::write(&temp, records)?;
        let file = OpenOptions::new().append(true).open(&temp)?;
        std::fs::rename(&temp, &self.path)?;
        (self.file, self.known) = (file, present);
        Ok(())
    }
}

fn record(sid: SessionId, dir: Ino) -> [u8; 16] {
    let mut record = [0; 16];
    record[..8].copy_from_slice(&sid.0.to_le_bytes());
    record[8..].copy_from_slice(&dir.0.to_le_bytes());
    record
}

impl NameServer {
    /// Keeps in this file which directories are delegated, from now on. Those that were before this
    /// start are their sessions' until these are back, and then as long as they like; to be called
    /// before anybody is served.
    pub fn remember_delegations(&self, path: &Path) -> Result<()> {
        let failed = |e: io::Error| disk::failed(format_args!("open {}", path.display()), &e);
        let mut delegations = Delegations::open(path).map_err(failed)?;
        let mut present = std::mem::take(&mut delegations.known);
        let mut of: BTreeMap<SessionId, Vec<Ino>> = BTreeMap::new();
        {
            let mut machines = self.lock();
            present.retain(|_, sid| machines.rows.contains_key(sid));
            present.iter().for_each(|(dir, sid)| of.entry(*sid).or_default().push(*dir));
            for (session, dirs) in of {
                machines.hub(self.clock.now(), hub::Event::WasDelegated { session, dirs });
            }
        }
        delegations.begin_anew(present).map_err(failed)?;
        let first = self.delegations.set(Mutex::new(delegations)).is_ok();
        debug_assert!(first, "the file is opened once");
        Ok(())
    }

    /// A session is about to hear that it has these directories to itself. A failure costs no more
    /// than a look too early after a kill.
    pub(super) fn note_delegations(&self, sid: SessionId, dirs: &[Ino]) {
        let Some(delegations) = self.delegations.get().filter(|_| !dirs.is_empty()) else { return };
        let mut delegations = delegations.lock().unwrap_or_else(PoisonError::into_inner);
        let mut noted = delegations.append(sid, dirs);
        if delegations.known.len() > delegations.anew_at {
            let present = self.lock().hub.delegations().into_iter().collect();
            noted = noted.and_then(|()| delegations.begin_anew(present));
        }
        if let Err(error) = noted {
            tracing::warn!(%error, "delegations cannot be noted for the next start");
        }
    }

    /// A directory was given back. It may be delegated anew already: then it is left as it is.
    pub(super) fn note_no_delegation(&self, dir: Ino) {
        if self.lock().hub.delegated_from(NOBODY, Key::Dir(dir)).is_none() {
            self.note_delegations(NOBODY, &[dir]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions<const N: usize>(of: [(u64, u64); N]) -> HashMap<Ino, SessionId> {
        of.into_iter().map(|(dir, sid)| (Ino(dir), SessionId(sid))).collect()
    }

    #[test]
    fn delegations_are_read_back_as_they_were_last_also_behind_a_torn_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("delegations");
        let mut file = Delegations::open(&path).unwrap();
        file.append(SessionId(1), &[Ino(5), Ino(6)]).unwrap();
        file.append(SessionId(2), &[Ino(6)]).unwrap();
        let len = std::fs::metadata(&path).unwrap().len();
        file.append(SessionId(2), &[Ino(6)]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), len, "it is known");
        let want = sessions([(5, 1), (6, 2)]);
        for torn in [0, 1, 8, 15] {
            file.file.write_all(&vec![0xff; torn]).unwrap();
            let mut again = Delegations::open(&path).unwrap();
            assert_eq!(again.known, want, "{torn}");
            again.append(SessionId(3), &[Ino(7)]).unwrap();
            assert_eq!(Delegations::open(&path).unwrap().known.len(), 3);
            again.begin_anew(want.clone()).unwrap();
            again.append(NOBODY, &[Ino(5)]).unwrap();
            assert_eq!(Delegations::open(&path).unwrap().known, sessions([(5, 0), (6, 2)]));
            again.begin_anew(want.clone()).unwrap();
            file = again;
        }
    }

    #[test]
    fn delegations_that_are_many_are_not_written_anew_with_each() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = Delegations::open(&dir.path().join("delegations")).unwrap();
        let many = 1..=KNOWN_MAX as u64 + 1;
        file.begin_anew(many.map(|dir| (Ino(dir), SessionId(1))).collect()).unwrap();
        assert!(file.known.len() * 2 <= file.anew_at);
    }
}
