//! What the client has to say on the control stream, until the server is known to have heard it.

use dfs_core::Ino;
use dfs_proto::v1::from_client::Kind;
use dfs_proto::v1::{Ack, Forget, FromClient, OpenHold, OrphanDone, Progress, Unpin, Version};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Inode numbers in one message.
const BATCH: usize = 10_000;

/// Messages to the server in the order in which they must arrive: what keeps an inode alive before
/// what gives its promise up, that before the answers to pushes.
///
/// A stream delivers in order, so the answer to a renewal proves that everything sent before the
/// renewal has arrived. What is not proven when a stream breaks is sent again on the next one; each
/// of these messages may arrive twice. The queues are bounded by what causes them: pushes not
/// answered, promises held, inodes open, grants recalled.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
    /// Wakes the control thread.
    pub(super) ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    holds: Vec<u64>,
    forget_attrs: Vec<u64>,
    forget_dirs: Vec<u64>,
    unpins: Vec<Version>,
    orphans: Vec<u64>,
    /// By grant; only the newest number counts.
    progress: BTreeMap<u64, u64>,
    acks: BTreeMap<u64, Ack>,
    /// Sent, and after how many renewals of this stream.
    unproven: VecDeque<(u64, Kind)>,
    renewals: u64,
    answered: u64,
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a panic under this lock is a bug already reported")
    }

    fn add(&self, f: impl FnOnce(&mut State)) {
        f(&mut self.state());
        self.ready.notify_one();
    }

    /// A push was carried out.
    pub fn ack(&self, ack: Ack) {
        self.add(|s| {
            s.acks.insert(ack.number, ack);
        });
    }

    /// Promises were given up and the kernel has forgotten what they covered.
    pub fn forget(&self, attrs: &[Ino], dirs: &[Ino]) {
        self.add(|s| {
            s.forget_attrs.extend(attrs.iter().map(|ino| ino.0));
            s.forget_dirs.extend(dirs.iter().map(|ino| ino.0));
        });
    }

    /// See [`Client::open_hold`](crate::client::Client::open_hold).
    pub fn open_hold(&self, ino: Ino) {
        self.add(|s| s.holds.push(ino.0));
    }

    /// See [`Client::unpin`](crate::client::Client::unpin).
    pub fn unpin(&self, ino: Ino, ver: u64) {
        self.add(|s| s.unpins.push(Version { ino: ino.0, ver }));
    }

    /// See [`Client::orphan_done`](crate::client::Client::orphan_done).
    pub fn orphan_done(&self, ino: Ino) {
        self.add(|s| s.orphans.push(ino.0));
    }

    /// See [`Client::progress`](crate::client::Client::progress).
    pub fn progress(&self, grant: u64, bytes: u64) {
        self.add(|s| {
            s.progress.insert(grant, bytes);
        });
    }

    /// Everything that waits, in order.
    pub(super) fn take(&self) -> Vec<FromClient> {
        let mut s = self.state();
        let mut out = Vec::new();
        for inos in batches(&mut s.holds) {
            out.push(Kind::OpenHold(OpenHold { inos }));
        }
        for attrs in batches(&mut s.forget_attrs) {
            out.push(Kind::Forget(Forget { attrs, dirs: Vec::new() }));
        }
        for dirs in batches(&mut s.forget_dirs) {
            out.push(Kind::Forget(Forget { attrs: Vec::new(), dirs }));
        }
        for versions in batches(&mut s.unpins) {
            out.push(Kind::Unpin(Unpin { versions }));
        }
        for inos in batches(&mut s.orphans) {
            out.push(Kind::OrphanDone(OrphanDone { inos }));
        }
        let progress = std::mem::take(&mut s.progress);
        out.extend(
            progress.into_iter().map(|(grant, bytes)| Kind::Progress(Progress { grant, bytes })),
        );
        let acks = std::mem::take(&mut s.acks);
        out.extend(acks.into_values().map(Kind::Ack));
        let after = s.renewals;
        s.unproven.extend(out.iter().map(|kind| (after, kind.clone())));
        out.into_iter().map(|kind| FromClient { kind: Some(kind) }).collect()
    }

    /// A renewal is sent now, behind everything taken so far.
    pub(super) fn renewal_sent(&self) {
        self.state().renewals += 1;
    }

    /// The next renewal was answered. Returns the given-up promises (inodes, directories) the server
    /// is now known to have heard of.
    pub(super) fn renewal_answered(&self) -> (Vec<Ino>, Vec<Ino>) {
        let mut s = self.state();
        s.answered += 1;
        let (mut attrs, mut dirs) = (Vec::new(), Vec::new());
        let answered = s.answered;
        while let Some((_, kind)) = s.unproven.pop_front_if(|(after, _)| *after < answered) {
            if let Kind::Forget(forget) = kind {
                attrs.extend(forget.attrs.into_iter().map(Ino));
                dirs.extend(forget.dirs.into_iter().map(Ino));
            }
        }
        (attrs, dirs)
    }

    /// A new stream begins: what may not have arrived on the last one is to be sent again.
    pub(super) fn rewind(&self) {
        let mut s = self.state();
        (s.renewals, s.answered) = (0, 0);
        for (_, kind) in std::mem::take(&mut s.unproven) {
            match kind {
                Kind::OpenHold(m) => s.holds.extend(m.inos),
                Kind::Forget(m) => {
                    s.forget_attrs.extend(m.attrs);
                    s.forget_dirs.extend(m.dirs);
                }
                Kind::Unpin(m) => s.unpins.extend(m.versions),
                Kind::OrphanDone(m) => s.orphans.extend(m.inos),
                // A newer number may be waiting already.
                Kind::Progress(m) => {
                    s.progress.entry(m.grant).or_insert(m.bytes);
                }
                Kind::Ack(ack) => {
                    s.acks.entry(ack.number).or_insert(ack);
                }
                Kind::Attach(_) | Kind::Renew(_) => {}
            }
        }
    }

    /// A new session begins: nothing of the old one matters.
    pub(super) fn reset(&self) {
        *self.state() = State::default();
    }
}

fn batches<T>(all: &mut Vec<T>) -> Vec<Vec<T>> {
    let mut rest = std::mem::take(all);
    let mut out = Vec::new();
    while !rest.is_empty() {
        let behind = rest.split_off(rest.len().min(BATCH));
        out.push(std::mem::replace(&mut rest, behind));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(number: u64) -> Ack {
        Ack { number, ..Ack::default() }
    }

    fn acks(messages: &[FromClient]) -> Vec<u64> {
        let number = |m: &FromClient| match &m.kind {
            Some(Kind::Ack(ack)) => Some(ack.number),
            _ => None,
        };
        messages.iter().filter_map(number).collect()
    }

    #[test]
    fn unproven_messages_are_sent_again_on_the_next_stream() {
        let out = Outbox::default();
        out.ack(ack(1));
        assert_eq!(acks(&out.take()), [1]);
        out.renewal_sent();
        out.ack(ack(2));
        assert_eq!(acks(&out.take()), [2]);
        out.renewal_answered();
        assert!(out.take().is_empty());
        out.rewind();
        assert_eq!(acks(&out.take()), [2], "1 was proven, 2 came after the renewal");
    }

    #[test]
    fn forgotten_promises_are_heard_of_with_the_next_answer() {
        let out = Outbox::default();
        out.forget(&[Ino(5)], &[Ino(6)]);
        out.open_hold(Ino(5));
        let sent = out.take();
        assert!(matches!(sent[0].kind, Some(Kind::OpenHold(_))), "holds go first: {sent:?}");
        out.renewal_sent();
        assert_eq!(out.renewal_answered(), (vec![Ino(5)], vec![Ino(6)]));
        assert_eq!(out.renewal_answered(), (vec![], vec![]));
    }

    #[test]
    fn batches_are_bounded() {
        let out = Outbox::default();
        (0..=BATCH as u64).for_each(|i| out.open_hold(Ino(i)));
        assert_eq!(out.take().len(), 2);
    }
}
