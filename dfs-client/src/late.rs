//! Changes made here that the server may not have flushed yet: it answers what no content goes with
//! before it is flushed (`docs/design/0020`, 0027).

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts such changes, and those known to survive a power loss of the server.
#[derive(Debug, Default)]
pub(crate) struct Late {
    answered: AtomicU64,
    flushed: AtomicU64,
}

impl Late {
    /// One was answered.
    pub(crate) fn add(&self) {
        self.answered.fetch_add(1, Ordering::AcqRel);
    }

    /// How many were answered: to be asked before what flushes them is sent.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// Something sent when so many had been answered was flushed, and with it all that came before.
    pub(crate) fn flushed(&self, answered: u64) {
        self.flushed.fetch_max(answered, Ordering::AcqRel);
    }

    /// Whether all are known to be flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed.load(Ordering::Acquire) >= self.answered()
    }
}

#[cfg(test)]
mod tests {
    use super::Late;

    #[test]
    fn late_change_stays_until_something_sent_after_it_is_flushed() {
        let late = Late::default();
        assert!(late.is_flushed());
        late.add();
        let before = late.answered();
        late.add();
        late.flushed(before);
        assert!(!late.is_flushed(), "the second came after it was sent");
        late.flushed(late.answered());
        late.flushed(before);
        assert!(late.is_flushed());
    }
}
