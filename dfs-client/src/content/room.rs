//! Room in the cache and on its disk: clean content makes way, and what is unsaved is committed early
//! so that it can.

use super::Content;
use crate::cache::{Cache, RoomOutcome};
use dfs_core::inode_state::Effect;
use dfs_core::{Code, FsError, Result};

/// How often commits are waited for and eviction is tried again.
const ROUNDS: usize = 3;
/// Room for the journal of a change that the full disk refused.
pub(crate) const JOURNAL_ROOM: u64 = 64 * 1024;

impl Content {
    /// Makes room for `bytes` more in the cache, waiting for commits if nothing else can.
    ///
    /// Errors: `NoSpace` if there is no room and commits make none; `Interrupted`; those of the
    /// cache's file system.
    pub(crate) async fn make_room(&self, bytes: u64) -> Result<()> {
        self.by_commits(|cache| cache.make_room(bytes)).await
    }

    /// As [`make_room`](Content::make_room), after the cache's file system refused a write with
    /// `NoSpace`.
    pub(crate) async fn squeeze(&self, bytes: u64) -> Result<()> {
        self.by_commits(|cache| cache.squeeze(bytes)).await
    }

    /// Makes room for `bytes` more in the cache, at once. What only a commit can free is committed
    /// in the background.
    ///
    /// Errors: `NoSpace` if there is no room and nothing to commit.
    pub(crate) fn room(&self, bytes: u64) -> Result<()> {
        let outcome = self.cache.make_room(bytes)?;
        for ino in &outcome.flush {
            if let Some(file) = self.find(*ino) {
                self.carry_out(&file, Effect::Commit);
            }
        }
        if outcome.ok || !outcome.flush.is_empty() { Ok(()) } else { Err(full()) }
    }

    async fn by_commits(&self, evict: impl Fn(&Cache) -> Result<RoomOutcome>) -> Result<()> {
        let mut refused = full();
        for _ in 0..ROUNDS {
            let outcome = evict(&self.cache)?;
            if outcome.ok {
                return Ok(());
            }
            let mut committed = false;
            for file in outcome.flush.iter().filter_map(|ino| self.find(*ino)) {
                match self.commit(&file).await {
                    Ok(()) => committed = true,
                    Err(e) if e.code == Code::Interrupted => return Err(e),
                    // The bytes stay unsaved here, and their own handles hear of it.
                    Err(e) => {
                        let text = format!(
                            "{}, and inode {} cannot be saved: {e}",
                            full().message,
                            file.ino
                        );
                        refused = FsError::new(Code::NoSpace, text);
                    }
                }
            }
            if !committed {
                break;
            }
        }
        Err(refused)
    }
}

fn full() -> FsError {
    FsError::new(Code::NoSpace, "the cache is full")
}
