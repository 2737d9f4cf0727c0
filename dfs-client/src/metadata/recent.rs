//! Which things changed lately, and at which sequence number (PROTOCOL 3.3).

use super::Key;
use dfs_core::Seq;
use std::collections::{HashMap, VecDeque};

/// Changes remembered one by one; older ones raise a common floor.
const REMEMBERED: usize = 8192;

/// Replies and pushes travel on different streams, so a reply can arrive after the push that made it
/// void. This remembers the newest change of each key, so that such a reply is recognised.
#[derive(Debug, Default)]
pub(super) struct Recent {
    newest: HashMap<Key, Seq>,
    /// In order of arrival; a key that changed again has an outdated element here.
    order: VecDeque<(Key, Seq)>,
    floor: Seq,
}

impl Recent {
    /// Notes that `key` changed at `seq`: replies that were true then or before are void.
    pub(super) fn raise(&mut self, key: Key, seq: Seq) {
        let newest = self.newest.entry(key.clone()).or_default();
        if *newest >= seq {
            return;
        }
        *newest = seq;
        self.order.push_back((key, seq));
        while self.order.len() > REMEMBERED {
            let (key, seq) = self.order.pop_front().expect("the queue is not empty");
            if self.newest.get(&key) == Some(&seq) {
                self.newest.remove(&key);
                self.floor = self.floor.max(seq);
            }
        }
    }

    /// Everything that was true at `seq` or before is void.
    pub(super) fn raise_floor(&mut self, seq: Seq) {
        self.floor = self.floor.max(seq);
    }

    /// Whether what was true of `key` at `as_of` still is, as far as the pushes received say.
    pub(super) fn allows(&self, key: &Key, as_of: Seq) -> bool {
        as_of > self.floor && self.newest.get(key).is_none_or(|changed| as_of > *changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::Ino;

    #[test]
    fn reply_is_void_at_or_before_the_change_of_its_key() {
        let mut recent = Recent::default();
        recent.raise(Key::Attr(Ino(7)), Seq(10));
        recent.raise(Key::Attr(Ino(7)), Seq(4));
        assert!(!recent.allows(&Key::Attr(Ino(7)), Seq(10)));
        assert!(recent.allows(&Key::Attr(Ino(7)), Seq(11)));
        assert!(recent.allows(&Key::Attr(Ino(8)), Seq(1)));
        recent.raise_floor(Seq(5));
        assert!(!recent.allows(&Key::Attr(Ino(8)), Seq(5)));
    }

    #[test]
    fn overflow_raises_the_floor_and_forgets_nothing() {
        let mut recent = Recent::default();
        for i in 1..=REMEMBERED as u64 + 10 {
            recent.raise(Key::Attr(Ino(i)), Seq(i));
        }
        assert!(recent.newest.len() <= REMEMBERED && recent.order.len() <= REMEMBERED);
        for i in 1..=REMEMBERED as u64 + 10 {
            assert!(!recent.allows(&Key::Attr(Ino(i)), Seq(i)), "{i}");
        }
        assert!(!recent.allows(&Key::Attr(Ino(u64::MAX)), Seq(10)));
        assert!(recent.allows(&Key::Attr(Ino(u64::MAX)), Seq(11)));
    }
}
