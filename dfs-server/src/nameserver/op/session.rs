//! The records of sessions and of what they were told (PROTOCOL 2.1, 2.2, 2.7): changes that ride
//! in a batch beside those of the operations.

use super::Outcome;
use crate::metastore::{Batch, LostRow, SessionRow};
use dfs_core::{OpId, SessionId};

/// A session exists; recorded before its client hears of it.
pub fn open_session(batch: &mut Batch, row: SessionRow) {
    batch.sessions.insert(row.sid, Some(row));
}

/// A session ended: its losses and answers go with it. Recorded before anything it held is given
/// to another.
pub fn close_session(batch: &mut Batch, sid: SessionId) {
    batch.sessions.insert(sid, None);
    batch.forget_sessions.insert(sid);
}

/// Something was taken from a session by force; recorded before another gets it.
pub fn record_loss(batch: &mut Batch, row: LostRow) {
    batch.lost.insert(row);
}

/// What an operation answered, in the batch of its change; answers below `done_below` were received
/// and go.
pub fn keep_answer(
    batch: &mut Batch,
    sid: SessionId,
    op: OpId,
    done_below: OpId,
    outcome: &Outcome,
) {
    batch.answers.insert((sid, op), outcome.encode());
    let done = batch.answers_done.entry(sid).or_insert(done_below);
    *done = (*done).max(done_below);
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::{Fence, Ino};

    #[test]
    fn session_records_ride_in_one_batch() {
        let (sid, mut batch) = (SessionId(4), Batch::default());
        let (uuid, verifier, description) = ([1; 16], [2; 16], "host".to_string());
        let (epoch, floor, absent) = (9, 0, false);
        let row = SessionRow { sid, epoch, uuid, verifier, description, floor, absent };
        open_session(&mut batch, row);
        record_loss(&mut batch, LostRow { sid, ino: Ino(5), fence: Some(Fence(6)) });
        keep_answer(&mut batch, sid, OpId(8), OpId(7), &Outcome::default());
        keep_answer(&mut batch, sid, OpId(9), OpId(5), &Outcome::default());
        assert_eq!(batch.sessions[&sid].as_ref().unwrap().epoch, 9);
        assert_eq!((batch.lost.len(), batch.answers.len()), (1, 2));
        assert_eq!(batch.answers_done[&sid], OpId(7), "what is done stays done");
        let mut batch = Batch::default();
        close_session(&mut batch, sid);
        assert_eq!(batch.sessions[&sid], None);
        assert!(batch.forget_sessions.contains(&sid));
    }
}
