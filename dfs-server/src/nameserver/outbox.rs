//! Messages on their way to clients: one bounded queue for each session with a control stream.
//!
//! Losing a message is harmless: pushes are sent again after the next `Attach` until they are
//! acknowledged, and recalls of a session are repeated then. A full queue therefore closes the
//! stream, and the client comes back.

use bytes::Bytes;
use dfs_core::hub::{Item, Push};
use dfs_core::{Fence, GrantId, Ino, Seq, SessionId, negotiate};
use dfs_proto::v1::{self, from_server, inval_item};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages that may wait for one stream.
pub const QUEUE: usize = 4096;

/// What a stream carries.
pub type Message = v1::FromServer;

/// The queues.
#[derive(Default)]
pub struct Outboxes {
    open: HashMap<SessionId, Outbox>,
    streams: u64,
}

struct Outbox {
    /// Number of the stream, so that the end of an old one does not close its successor.
    stream: u64,
    /// What the client understands beside the protocol's number.
    features: Vec<&'static str>,
    queue: mpsc::Sender<Message>,
}

impl Outboxes {
    /// A session has a new stream, with this number and a client with these features; an older one
    /// ends.
    pub fn open(
        &mut self,
        sid: SessionId,
        features: Vec<&'static str>,
    ) -> (u64, mpsc::Receiver<Message>) {
        let (queue, rx) = mpsc::channel(QUEUE);
        self.streams += 1;
        self.open.insert(sid, Outbox { stream: self.streams, features, queue });
        (self.streams, rx)
    }

    /// Whether a session has a stream, to a client with this feature.
    pub fn understands(&self, sid: SessionId, feature: &str) -> bool {
        self.open.get(&sid).is_some_and(|outbox| outbox.features.contains(&feature))
    }

    /// That stream is over.
    pub fn close_stream(&mut self, sid: SessionId, stream: u64) {
        if self.open.get(&sid).is_some_and(|outbox| outbox.stream == stream) {
            self.open.remove(&sid);
        }
    }

    /// The session has no stream any more.
    pub fn close(&mut self, sid: SessionId) {
        self.open.remove(&sid);
    }

    /// Ends every stream with a farewell.
    pub fn shutdown(&mut self) {
        let kind = from_server::Kind::Shutdown(v1::Shutdown {});
        for (_, outbox) in self.open.drain() {
            // A full queue ends without farewell, which clients understand as well.
            let _ = outbox.queue.try_send(Message { kind: Some(kind.clone()), push: 0 });
        }
    }

    /// Sends a message that is no push, if there is a stream.
    pub fn send(&mut self, sid: SessionId, kind: from_server::Kind) {
        self.send_message(sid, Message { kind: Some(kind), push: 0 });
    }

    fn send_message(&mut self, sid: SessionId, message: Message) {
        let Some(outbox) = self.open.get(&sid) else { return };
        if outbox.queue.try_send(message).is_err() {
            tracing::warn!(session = %sid, "control stream does not keep up, closed");
            self.open.remove(&sid);
        }
    }

    /// Sends a push; one that the client does not understand asks it to forget everything instead,
    /// whatever was promised up to `as_of`. `as_of` is the last sequence number given out.
    pub fn push(&mut self, sid: SessionId, push: Push, as_of: Seq) {
        let Some(outbox) = self.open.get(&sid) else { return };
        let number = push.number();
        let kind = match push {
            Push::Inval { seq, items, .. } => from_server::Kind::Inval(v1::Inval {
                seq: seq.0,
                items: items.iter().map(item_to).collect(),
            }),
            Push::DropAll { seq, .. } => from_server::Kind::DropAll(v1::DropAll { seq: seq.0 }),
            Push::Trim { count, .. } if outbox.features.contains(&negotiate::TRIM) => {
                from_server::Kind::Trim(v1::Trim { count: count as u32 })
            }
            Push::Trim { .. } => from_server::Kind::DropAll(v1::DropAll { seq: as_of.0 }),
        };
        self.send_message(sid, Message { kind: Some(kind), push: number });
    }

    /// Asks for a grant back.
    pub fn recall(&mut self, sid: SessionId, ino: Ino, id: GrantId, fence: Fence, hold: Duration) {
        let hold_ms = hold.as_millis().min(u128::from(u32::MAX)) as u32;
        let recall = v1::Recall { grant: id.0, fence: fence.0, ino: ino.0, hold_ms };
        self.send(sid, from_server::Kind::Recall(recall));
    }

    /// Tells that a grant was taken.
    pub fn revoked(&mut self, sid: SessionId, ino: Ino, id: GrantId, fence: Fence) {
        let revoked = v1::Revoked { grant: id.0, fence: fence.0, ino: ino.0 };
        self.send(sid, from_server::Kind::Revoked(revoked));
    }
}

fn item_to(item: &Item) -> v1::InvalItem {
    let what = match item {
        Item::Attr { ino } => inval_item::What::Attr(ino.0),
        Item::DirNames { dir, names } => inval_item::What::DirNames(v1::DirNames {
            ino: dir.0,
            names: names.iter().map(|n| Bytes::copy_from_slice(n.as_bytes())).collect(),
        }),
        Item::DirAll { dir } => inval_item::What::DirAll(dir.0),
        Item::Data { ino, old_ver, unchanged_below } => inval_item::What::Data(v1::Data {
            ino: ino.0,
            old_ver: *old_ver,
            unchanged_below: *unchanged_below,
        }),
        Item::Nlink0 { ino } => inval_item::What::Nlink0(ino.0),
        Item::Undelegate { dir } => inval_item::What::Undelegate(dir.0),
    };
    v1::InvalItem { what: Some(what) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_that_the_client_did_not_announce_asks_it_to_forget_everything() {
        let (mut out, sid) = (Outboxes::default(), SessionId(1));
        let trim = || Push::Trim { number: 7, count: 3 };
        for (features, kind) in [
            (vec![negotiate::TRIM], from_server::Kind::Trim(v1::Trim { count: 3 })),
            (vec![], from_server::Kind::DropAll(v1::DropAll { seq: 9 })),
        ] {
            let (_, mut queue) = out.open(sid, features);
            out.push(sid, trim(), Seq(9));
            assert_eq!(queue.try_recv().unwrap(), Message { kind: Some(kind), push: 7 });
        }
    }
}
