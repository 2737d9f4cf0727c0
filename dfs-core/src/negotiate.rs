//! What two peers agree on before they talk (PROTOCOL 2.1, 11): a protocol number, and the optional
//! abilities that both have.
//!
//! A peer that lacks the number or an ability the other cannot do without is refused with a text for
//! people; an ability that only one of them knows is passed over.

use crate::limits::{PROTOCOL_MAX, PROTOCOL_MIN};
use crate::{Code, FsError, Result};

/// A client that gives promises up when it is asked to (`Trim`); others are told to forget
/// everything in its place.
pub const TRIM: &str = "trim";

/// A client that can have a directory to itself (`docs/design/0025`).
pub const DELEGATION: &str = "delegation";

/// The abilities of this program.
pub const FEATURES: &[&str] = &[TRIM, DELEGATION];

/// Those of our abilities that the peer named as well.
pub fn common(theirs: &[String]) -> Vec<&'static str> {
    FEATURES.iter().copied().filter(|ours| theirs.iter().any(|name| name == ours)).collect()
}

/// The newest protocol number of this program that a peer speaks too. `TooOld` if there is none.
pub fn protocol(min: u32, max: u32) -> Result<u32> {
    let common = max.min(PROTOCOL_MAX);
    if common >= min.max(PROTOCOL_MIN) {
        return Ok(common);
    }
    let (theirs, ours) = (numbers(min, max), numbers(PROTOCOL_MIN, PROTOCOL_MAX));
    Err(FsError::new(Code::TooOld, format!("the peer speaks protocol {theirs}, this side {ours}")))
}

/// Fails with `TooOld` if `required` names something that is not among `present`.
pub fn demand<R: AsRef<str>, P: AsRef<str>>(required: &[R], present: &[P]) -> Result<()> {
    let missing = |name: &&R| !present.iter().any(|have| have.as_ref() == name.as_ref());
    match required.iter().find(missing) {
        None => Ok(()),
        Some(name) => {
            // The name may be anybody's: cut, and without what could confuse a terminal.
            let name: String = name.as_ref().chars().take(NAME_SHOWN).collect();
            Err(FsError::new(Code::TooOld, format!("the required feature {name:?} is missing")))
        }
    }
}

/// Characters of a foreign name that are repeated to people.
const NAME_SHOWN: usize = 64;

/// Protocol numbers as people read them.
pub fn numbers(min: u32, max: u32) -> String {
    if min == max { format!("{min}") } else { format!("{min} to {max}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_is_the_newest_common_one() {
        assert_eq!(protocol(PROTOCOL_MIN, PROTOCOL_MAX).unwrap(), PROTOCOL_MAX);
        assert_eq!(protocol(0, u32::MAX).unwrap(), PROTOCOL_MAX);
        let newer = protocol(PROTOCOL_MAX + 1, PROTOCOL_MAX + 3).unwrap_err();
        let older = protocol(0, PROTOCOL_MIN - 1).unwrap_err();
        assert_eq!((newer.code, older.code), (Code::TooOld, Code::TooOld));
        let theirs = format!("protocol {} to {}, this side", PROTOCOL_MAX + 1, PROTOCOL_MAX + 3);
        assert!(newer.message.contains(&theirs), "{newer}");
        assert_eq!(protocol(PROTOCOL_MAX, 0).unwrap_err().code, Code::TooOld, "upside down");
    }

    #[test]
    fn features_are_those_of_both() {
        let theirs = ["of-the-future".to_string(), TRIM.to_string(), TRIM.to_string()];
        assert_eq!(common(&theirs), [TRIM]);
        assert_eq!(common(&[]), [""; 0]);
    }

    #[test]
    fn required_feature_that_is_missing_is_named() {
        demand(&["a"], &["b", "a"]).unwrap();
        demand::<&str, &str>(&[], &[]).unwrap();
        let refused = demand(&["a", "c"], &["a"]).unwrap_err();
        assert_eq!(refused.code, Code::TooOld);
        assert!(refused.message.contains("\"c\""), "{refused}");
        let long = "x".repeat(1 << 20);
        assert!(demand(&[long], &[""]).unwrap_err().message.len() < 200);
    }
}
