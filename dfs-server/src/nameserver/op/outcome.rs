//! Stored answers: an [`Outcome`] as bytes (PROTOCOL 2.7).

use super::Outcome;
use crate::metastore::codec::attr::{StoredAttr, load, store};
use dfs_core::attr::Attr;
use dfs_core::{Code, FsError, Result};
use prost::Message;

/// Number of this layout. Fields are only added; a change that an older server must not read over
/// raises it.
const FORMAT: u32 = 1;

#[derive(Message)]
struct StoredOutcome {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(message, optional, tag = "2")]
    object: Option<StoredAttr>,
    #[prost(message, optional, tag = "3")]
    dir: Option<StoredAttr>,
    #[prost(message, optional, tag = "4")]
    to_dir: Option<StoredAttr>,
    #[prost(message, optional, tag = "5")]
    replaced: Option<StoredAttr>,
    #[prost(bool, tag = "6")]
    created: bool,
}

impl Outcome {
    /// The bytes to keep.
    pub fn encode(&self) -> Vec<u8> {
        let stored = |attr: &Option<Attr>| attr.as_ref().map(store);
        let message = StoredOutcome {
            format: FORMAT,
            object: stored(&self.object),
            dir: stored(&self.dir),
            to_dir: stored(&self.to_dir),
            replaced: stored(&self.replaced),
            created: self.created,
        };
        message.encode_to_vec()
    }

    /// What [`Outcome::encode`] kept. `Io` for bytes it did not write.
    pub fn decode(bytes: &[u8]) -> Result<Outcome> {
        let broken = |text: String| FsError::new(Code::Io, format!("stored answer: {text}"));
        let message = StoredOutcome::decode(bytes).map_err(|e| broken(e.to_string()))?;
        if message.format != FORMAT {
            return Err(broken(format!("format {} is not {FORMAT}", message.format)));
        }
        let loaded = |attr: Option<StoredAttr>| {
            attr.map(|attr| load(attr).ok_or_else(|| broken("kind out of range".into())))
                .transpose()
        };
        Ok(Outcome {
            object: loaded(message.object)?,
            dir: loaded(message.dir)?,
            to_dir: loaded(message.to_dir)?,
            replaced: loaded(message.replaced)?,
            created: message.created,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metastore::codec::attr::tests::attr;
    use proptest::prelude::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        let some = || prop::option::of(attr());
        (some(), some(), some(), some(), any::<bool>()).prop_map(
            |(object, dir, to_dir, replaced, created)| Outcome {
                object,
                dir,
                to_dir,
                replaced,
                created,
            },
        )
    }

    proptest! {
        #[test]
        fn stored_answer_is_read_back_as_it_was(outcome in outcome()) {
            prop_assert_eq!(Outcome::decode(&outcome.encode()).unwrap(), outcome);
        }

        #[test]
        fn foreign_bytes_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(outcome) = Outcome::decode(&bytes) {
                prop_assert_eq!(Outcome::decode(&outcome.encode()).unwrap(), outcome);
            }
        }
    }

    #[test]
    fn newer_format_is_refused() {
        let newer = StoredOutcome { format: FORMAT + 1, ..StoredOutcome::default() };
        assert_eq!(Outcome::decode(&newer.encode_to_vec()).unwrap_err().code, Code::Io);
        assert!(Outcome::decode(b"").is_err(), "no format at all");
    }
}
