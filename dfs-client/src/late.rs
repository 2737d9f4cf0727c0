//! Files made here whose names the server may not have flushed yet: it answers a creation that comes
//! with the write lease before it is flushed, since a commit follows (`docs/design/0020`).

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts creations, and those known to survive a power loss of the server.
#[derive(Debug, Default)]
pub(crate) struct Late {
    made: AtomicU64,
    flushed: AtomicU64,
}

impl Late {
    /// A creation was answered.
    pub(crate) fn add(&self) {
        self.made.fetch_add(1, Ordering::AcqRel);
    }

    /// How many were answered: to be asked before what flushes them is sent.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// Something sent when `made` had been answered was flushed, and with it all that came before.
    pub(crate) fn flushed(&self, made: u64) {
        self.flushed.fetch_max(made, Ordering::AcqRel);
    }

    /// Whether all are known to be flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed.load(Ordering::Acquire) >= self.made()
    }
}

#[cfg(test)]
mod tests {
    use super::Late;

    #[test]
    fn late_creation_stays_until_something_sent_after_it_is_flushed() {
        let late = Late::default();
        assert!(late.is_flushed());
        late.add();
        let before = late.made();
        late.add();
        late.flushed(before);
        assert!(!late.is_flushed(), "the second came after it was sent");
        late.flushed(late.made());
        late.flushed(before);
        assert!(late.is_flushed());
    }
}
