//! Row changes as bytes: what the log keeps of a batch. A protocol-buffer message; fields are only
//! added. A row without its inner message is deleted.
//!
//! A stripe whose last row is at hand is kept as what differs from it (`docs/design/0035`).

pub(crate) mod attr;
pub(super) mod stripe;

use super::rows::{Dentry, Inode, LostRow, SessionRow, Stripe};
use super::{Batch, damaged};
use attr::{KINDS, StoredAttr};
use dfs_core::attr::Kind;
use dfs_core::extent::{Extent, Patch};
use dfs_core::name::Name;
use dfs_core::range::Range;
use dfs_core::{Fence, Ino, OpId, Result, Seq, SessionId};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct StoredBatch {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(message, repeated, tag = "2")]
    inodes: Vec<StoredInode>,
    #[prost(message, repeated, tag = "3")]
    dentries: Vec<StoredDentry>,
    #[prost(message, repeated, tag = "4")]
    xattrs: Vec<StoredXattr>,
    #[prost(message, repeated, tag = "5")]
    stripes: Vec<StoredStripe>,
    #[prost(message, repeated, tag = "6")]
    sessions: Vec<StoredSession>,
    #[prost(message, repeated, tag = "7")]
    lost: Vec<StoredLost>,
    #[prost(uint64, repeated, tag = "8")]
    forget_sessions: Vec<u64>,
    #[prost(message, repeated, tag = "9")]
    answers: Vec<StoredAnswer>,
    #[prost(message, repeated, tag = "10")]
    answers_done: Vec<StoredDone>,
    #[prost(message, repeated, tag = "11")]
    numbers: Vec<StoredNumber>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredInode {
    #[prost(uint64, tag = "1")]
    ino: u64,
    #[prost(message, optional, tag = "2")]
    attr: Option<StoredAttr>,
    #[prost(uint64, tag = "3")]
    unit: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredDentry {
    #[prost(uint64, tag = "1")]
    dir: u64,
    #[prost(uint64, tag = "2")]
    cookie: u64,
    #[prost(message, optional, tag = "3")]
    row: Option<StoredName>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredName {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(uint64, tag = "2")]
    ino: u64,
    #[prost(uint32, tag = "3")]
    kind: u32,
}

#[derive(Clone, PartialEq, Message)]
struct StoredXattr {
    #[prost(uint64, tag = "1")]
    ino: u64,
    #[prost(bytes = "vec", tag = "2")]
    name: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "3")]
    value: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredStripe {
    #[prost(uint64, tag = "1")]
    ino: u64,
    #[prost(uint64, tag = "2")]
    index: u64,
    #[prost(bytes = "vec", optional, tag = "3")]
    extents: Option<Vec<u8>>,
    /// In place of `extents`, which then is [`NOT_ALONE`].
    #[prost(message, optional, tag = "4")]
    patch: Option<StoredPatch>,
}

/// What is in the range gives way to the extents.
#[derive(Clone, PartialEq, Message)]
struct StoredPatch {
    #[prost(uint64, tag = "1")]
    start: u64,
    #[prost(uint64, tag = "2")]
    end: u64,
    #[prost(bytes = "vec", tag = "3")]
    extents: Vec<u8>,
}

/// No stripe: a program that knows no patches refuses the record.
const NOT_ALONE: [u8; 1] = [0];

#[derive(Clone, PartialEq, Message)]
struct StoredSession {
    #[prost(uint64, tag = "1")]
    sid: u64,
    #[prost(message, optional, tag = "2")]
    row: Option<StoredMount>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredMount {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(bytes = "vec", tag = "2")]
    uuid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    verifier: Vec<u8>,
    #[prost(string, tag = "4")]
    description: String,
    #[prost(uint64, tag = "5")]
    floor: u64,
    #[prost(bool, tag = "6")]
    absent: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StoredLost {
    #[prost(uint64, tag = "1")]
    sid: u64,
    #[prost(uint64, tag = "2")]
    ino: u64,
    #[prost(uint64, optional, tag = "3")]
    fence: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredAnswer {
    #[prost(uint64, tag = "1")]
    sid: u64,
    #[prost(uint64, tag = "2")]
    op: u64,
    #[prost(bytes = "vec", tag = "3")]
    answer: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredDone {
    #[prost(uint64, tag = "1")]
    sid: u64,
    #[prost(uint64, tag = "2")]
    first_kept: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredNumber {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    number: u64,
}

fn store_kind(kind: Kind) -> u32 {
    KINDS.iter().position(|known| *known == kind).expect("every kind is listed") as u32
}

/// A commit as the log has it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) seq: Seq,
    /// All rows but those of `patches`.
    pub(super) batch: Batch,
    /// Stripes by what makes them of their last row.
    pub(super) patches: Vec<((Ino, u64), Patch)>,
}

/// The bytes of a commit that [`Batch::check`] accepts; `last` has last rows of stripes, those at hand.
pub(super) fn encode<'a>(
    seq: Seq,
    batch: &Batch,
    last: impl Fn(&(Ino, u64)) -> Option<&'a Stripe>,
) -> Vec<u8> {
    let message = StoredBatch {
        seq: seq.0,
        inodes: batch
            .inodes
            .iter()
            .map(|(ino, row)| StoredInode {
                ino: ino.0,
                attr: row.as_ref().map(|row| attr::store(&row.attr)),
                unit: row.as_ref().map_or(0, |row| row.unit),
            })
            .collect(),
        dentries: batch.dentries.iter().map(store_dentry).collect(),
        xattrs: batch
            .xattrs
            .iter()
            .map(|((ino, name), value)| StoredXattr {
                ino: ino.0,
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
        stripes: batch
            .stripes
            .iter()
            .map(|(key, row)| store_stripe(key, row.as_ref(), last(key)))
            .collect(),
        sessions: batch.sessions.iter().map(store_session).collect(),
        lost: batch
            .lost
            .iter()
            .map(|row| StoredLost {
                sid: row.sid.0,
                ino: row.ino.0,
                fence: row.fence.map(|fence| fence.0),
            })
            .collect(),
        forget_sessions: batch.forget_sessions.iter().map(|sid| sid.0).collect(),
        answers: batch
            .answers
            .iter()
            .map(|((sid, op), answer)| StoredAnswer {
                sid: sid.0,
                op: op.0,
                answer: answer.clone(),
            })
            .collect(),
        answers_done: batch
            .answers_done
            .iter()
            .map(|(sid, op)| StoredDone { sid: sid.0, first_kept: op.0 })
            .collect(),
        numbers: batch
            .numbers
            .iter()
            .map(|(name, number)| StoredNumber { name: name.to_string(), number: *number })
            .collect(),
    };
    message.encode_to_vec()
}

fn store_dentry(((dir, cookie), row): (&(Ino, u64), &Option<Dentry>)) -> StoredDentry {
    let row = row.as_ref().map(|row| StoredName {
        name: row.name.as_bytes().to_vec(),
        ino: row.ino.0,
        kind: store_kind(row.kind),
    });
    StoredDentry { dir: dir.0, cookie: *cookie, row }
}

fn store_stripe(
    &(Ino(ino), index): &(Ino, u64),
    row: Option<&Stripe>,
    last: Option<&Stripe>,
) -> StoredStripe {
    let inline = |stripe: &[Extent]| stripe.iter().map(Extent::inline_len).sum::<u64>();
    let patch = row.zip(last).and_then(|(row, last)| {
        let patch = Patch::between(last, row);
        (inline(&patch.extents) < inline(row)).then_some(patch)
    });
    match patch {
        None => StoredStripe { ino, index, extents: row.map(stripe::encode), patch: None },
        Some(Patch { range, extents }) => {
            let extents = stripe::encode(&extents);
            let patch = StoredPatch { start: range.start, end: range.end, extents };
            StoredStripe { ino, index, extents: Some(NOT_ALONE.to_vec()), patch: Some(patch) }
        }
    }
}

fn store_session((sid, row): (&SessionId, &Option<SessionRow>)) -> StoredSession {
    let row = row.as_ref().map(|row| StoredMount {
        epoch: row.epoch,
        uuid: row.uuid.to_vec(),
        verifier: row.verifier.to_vec(),
        description: row.description.clone(),
        floor: row.floor,
        absent: row.absent,
    });
    StoredSession { sid: sid.0, row }
}

/// The commit of these bytes. Fails with `Io` if no commit has them.
pub(super) fn decode(bytes: &[u8]) -> Result<Record> {
    let bad = || damaged("a record of the log");
    let stored = StoredBatch::decode(bytes).map_err(|_| bad())?;
    let mut batch = Batch::default();
    for StoredInode { ino, attr, unit } in stored.inodes {
        let attr = attr.map(|attr| attr::load(attr).ok_or_else(bad)).transpose()?;
        batch.inodes.insert(Ino(ino), attr.map(|attr| Inode { attr, unit }));
    }
    for StoredDentry { dir, cookie, row } in stored.dentries {
        let load = |row: StoredName| -> Result<Dentry> {
            let name = Name::new(&row.name).map_err(|_| bad())?;
            let kind = *KINDS.get(row.kind as usize).ok_or_else(bad)?;
            Ok(Dentry { dir: Ino(dir), cookie, name, ino: Ino(row.ino), kind })
        };
        batch.dentries.insert((Ino(dir), cookie), row.map(load).transpose()?);
    }
    for StoredXattr { ino, name, value } in stored.xattrs {
        batch.xattrs.insert((Ino(ino), name), value);
    }
    let mut patches = Vec::new();
    for StoredStripe { ino, index, extents, patch } in stored.stripes {
        let load = |bytes: Vec<u8>| stripe::decode(Ino(ino), index, &bytes);
        let Some(StoredPatch { start, end, extents: new }) = patch else {
            batch.stripes.insert((Ino(ino), index), extents.map(load).transpose()?);
            continue;
        };
        if start > end {
            return Err(bad());
        }
        let (range, extents) = (Range::new(start, end), load(new)?);
        if !extents.iter().all(|extent| range.intersect(extent.range) == extent.range) {
            return Err(bad());
        }
        patches.push(((Ino(ino), index), Patch { range, extents }));
    }
    for StoredSession { sid, row } in stored.sessions {
        let sid = SessionId(sid);
        let load = |row: StoredMount| -> Result<SessionRow> {
            Ok(SessionRow {
                sid,
                epoch: row.epoch,
                uuid: row.uuid.try_into().map_err(|_| bad())?,
                verifier: row.verifier.try_into().map_err(|_| bad())?,
                description: row.description,
                floor: row.floor,
                absent: row.absent,
            })
        };
        batch.sessions.insert(sid, row.map(load).transpose()?);
    }
    batch.lost.extend(stored.lost.into_iter().map(|row| LostRow {
        sid: SessionId(row.sid),
        ino: Ino(row.ino),
        fence: row.fence.map(Fence),
    }));
    batch.forget_sessions.extend(stored.forget_sessions.into_iter().map(SessionId));
    let answers = stored.answers.into_iter();
    batch.answers.extend(answers.map(|row| ((SessionId(row.sid), OpId(row.op)), row.answer)));
    let done = stored.answers_done.into_iter();
    batch.answers_done.extend(done.map(|row| (SessionId(row.sid), OpId(row.first_kept))));
    batch.numbers.extend(stored.numbers.into_iter().map(|row| (row.name.into(), row.number)));
    Ok(Record { seq: Seq(stored.seq), batch, patches })
}

#[cfg(test)]
mod tests {
    use super::super::suite;
    use super::*;
    use dfs_core::extent::Source;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn logged_batch_is_read_back_as_it_was(batch in suite::batch(), seq in any::<u64>()) {
            let back = decode(&encode(Seq(seq), &batch, |_| None)).unwrap();
            prop_assert_eq!(back.seq, Seq(seq));
            prop_assert_eq!(format!("{:?}", back.batch), format!("{batch:?}"));
            prop_assert!(back.patches.is_empty());
        }

        #[test]
        fn logged_stripe_is_what_differs_from_the_last(len in 1..3000usize, more in 1..200usize) {
            let stripe = |len: usize| {
                let source = Source::Inline((0..len).map(|n| n as u8).collect());
                vec![Extent { range: Range::of_len(5, len as u64), source }]
            };
            let (last, row, key) = (stripe(len), stripe(len + more), (Ino(5), 7));
            let mut batch = Batch::default();
            batch.stripes.insert(key, Some(row.clone()));
            let bytes = encode(Seq(1), &batch, |of| (*of == key).then_some(&last));
            prop_assert!(bytes.len() < more + 100);
            let back = decode(&bytes).unwrap();
            prop_assert!(back.batch.stripes.is_empty());
            prop_assert_eq!(back.patches.len(), 1);
            let (of, patch) = &back.patches[0];
            prop_assert_eq!((*of, patch.apply(&last)), (key, row));
            // What a program that knows no patches makes of it.
            let known = StoredBatch::decode(&bytes[..]).unwrap().stripes.remove(0).extents;
            prop_assert!(stripe::decode(key.0, key.1, &known.unwrap()).is_err());
        }

        #[test]
        fn foreign_record_is_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            drop(decode(&bytes));
        }
    }
}
