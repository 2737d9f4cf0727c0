//! The extents of a stripe as bytes.
//!
//! A protocol-buffer message, fields numbered as below: `1` repeated extent; of each extent `1`
//! first byte in the file, `2` length, then either `7` the bytes themselves, or the object's `3`
//! ino, `4` born, `5` n and `6` offset in it. Zero numbers are left out, as the encoding does.

use crate::metastore::damaged;
use crate::metastore::rows::{Stripe, check_stripe};
use bytes::Bytes;
use dfs_core::extent::{Extent, ObjectName, Source};
use dfs_core::range::Range;
use dfs_core::{Ino, Result};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct StoredStripe {
    #[prost(message, repeated, tag = "1")]
    extents: Vec<StoredExtent>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredExtent {
    #[prost(uint64, tag = "1")]
    start: u64,
    #[prost(uint64, tag = "2")]
    len: u64,
    #[prost(uint64, tag = "3")]
    ino: u64,
    #[prost(uint64, tag = "4")]
    born: u64,
    #[prost(uint32, tag = "5")]
    n: u32,
    #[prost(uint64, tag = "6")]
    offset: u64,
    #[prost(bytes = "bytes", optional, tag = "7")]
    inline: Option<Bytes>,
}

/// The objects a stripe refers to, once per extent.
pub(in crate::metastore) fn objects(stripe: &Stripe) -> impl Iterator<Item = ObjectName> + '_ {
    stripe.iter().filter_map(|extent| match extent.source {
        Source::Object(name, _) => Some(name),
        Source::Inline(_) | Source::Hole => None,
    })
}

/// The bytes of a stripe that `check_stripe` accepts.
pub(in crate::metastore) fn encode(stripe: &Stripe) -> Vec<u8> {
    let extents = stripe.iter().map(|extent| {
        let (start, len) = (extent.range.start, extent.range.len());
        match &extent.source {
            Source::Object(name, offset) => StoredExtent {
                start,
                len,
                ino: name.ino.0,
                born: name.born,
                n: name.n,
                offset: *offset,
                inline: None,
            },
            Source::Inline(bytes) => {
                StoredExtent { start, len, inline: Some(bytes.clone()), ..Default::default() }
            }
            Source::Hole => unreachable!("check_stripe refuses holes"),
        }
    });
    StoredStripe { extents: extents.collect() }.encode_to_vec()
}

/// The stripe of these bytes. Fails with `Io` if no stripe has them.
pub(in crate::metastore) fn decode(ino: Ino, index: u64, bytes: &[u8]) -> Result<Stripe> {
    let bad = || damaged(format_args!("stripe {index} of inode {ino}"));
    let stored = StoredStripe::decode(bytes).map_err(|_| bad())?;
    let mut stripe = Vec::with_capacity(stored.extents.len());
    for e in stored.extents {
        let end = e.start.checked_add(e.len).ok_or_else(bad)?;
        let source = match e.inline {
            Some(bytes) => Source::Inline(bytes),
            None => Source::Object(ObjectName { ino: Ino(e.ino), born: e.born, n: e.n }, e.offset),
        };
        stripe.push(Extent { range: Range { start: e.start, end }, source });
    }
    check_stripe(ino, index, &stripe).map_err(|_| bad())?;
    Ok(stripe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::Code;

    fn stripe() -> Stripe {
        let name = ObjectName { ino: Ino(u64::MAX), born: 0, n: u32::MAX };
        vec![
            Extent { range: Range::new(0, 3), source: Source::Inline(vec![0, 1, 255].into()) },
            Extent { range: Range::new(3, 9), source: Source::Object(name, 77) },
            Extent { range: Range::new(20, 30), source: Source::Object(name, 0) },
        ]
    }

    #[test]
    fn stripe_bytes_round_trip() {
        for stripe in [Vec::new(), stripe()] {
            assert_eq!(decode(Ino(1), 0, &encode(&stripe)).unwrap(), stripe);
        }
        assert_eq!(objects(&stripe()).count(), 2);
    }

    #[test]
    fn stripe_bytes_damaged_are_refused() {
        let bytes = encode(&stripe());
        let mut cut = bytes.clone();
        cut.pop();
        let mut out_of_order = stripe();
        out_of_order.swap(0, 1);
        let mut short = stripe();
        short[0].source = Source::Inline(vec![0].into());
        for bad in [cut, encode(&out_of_order), encode(&short)] {
            let err = decode(Ino(5), 2, &bad).unwrap_err();
            assert_eq!(err.code, Code::Io);
            assert!(err.message.contains("stripe 2 of inode 5"), "{err}");
        }
    }
}
