//! Closing a new file when its commit is sent (`docs/design/0038`).

use super::Content;
use super::commit::Aim;
use super::inode::File;
use crate::config::Patience;
use crate::interrupt;
use crate::rpc::Sent;
use crate::waiting::{self, Leave};
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Ino, Result};
use std::sync::Arc;

impl Aim {
    /// What a close waits for, if that is less than an answer.
    pub(super) fn sent(&self) -> Option<Sent> {
        match self {
            Aim::Close(sent) => Some(sent.clone()),
            Aim::Show | Aim::Return | Aim::Sync => None,
        }
    }
}

impl Content {
    /// What close(2) of a handle has to wait for. To be sent is enough for a file that the server has not
    /// heard of, since nobody else can look for it before; unless the server may refuse it.
    pub(super) fn aim_of_close(&self, fh: u64) -> Aim {
        let client = &self.client;
        let untold = |ino| client.deferrals.has(ino);
        let enough = waiting::may(Leave::Send)
            && self.handles.get(fh).is_ok_and(|handle| untold(handle.file.ino))
            // A soft mount gives up.
            && client.config.patience == Patience::Hard
            && client.session.lease_left().is_some()
            && client.deferrals.has_room(self.now());
        if enough { Aim::Close(Sent::default()) } else { Aim::Show }
    }

    /// When a file was last changed, as programs here have seen it.
    pub(super) fn changed_at(&self, ino: Ino) -> Option<Timestamp> {
        let mut attr = self.client.metadata.attr(ino)?;
        let file = self.find(ino)?;
        file.lock().overlay(&mut attr, self.client.session.first_version());
        Some(attr.ctime)
    }

    /// Follows what a close may not wait for to its end.
    pub(super) fn closing<T, W: Future<Output = Result<T>> + Send>(
        &self,
        file: &Arc<File>,
        sent: &Sent,
        work: W,
    ) -> impl Future<Output = Result<T>> + Send + use<T, W> {
        let (content, file, sent) = (self.arc(), Arc::clone(file), sent.clone());
        file.lock().closing = true;
        async move {
            let result = work.await;
            file.lock().closing = false;
            if sent.is_set() {
                if let Err(error) = &result {
                    tracing::warn!(ino = %file.ino, %error, "a file that was closed is not saved yet");
                }
                content.look_after_closed(&file);
            }
            result
        }
    }

    /// Returns when the server knows a file, or, if that is enough, when it is told.
    pub(super) async fn tell_to_close(&self, file: &Arc<File>, sent: Option<Sent>) -> Result<()> {
        let ino = file.ino;
        let Some(sent) = sent.filter(|_| self.client.deferrals.has(ino)) else {
            return self.tell(ino).await;
        };
        let (content, its) = (self.arc(), sent.clone());
        let work = async move { content.tell_alone(ino, Some(its)).await };
        let work = self.closing(file, &sent, work);
        let task = waiting::begin_sending(&self.client.runtime, work);
        if sent.is_set() {
            return Ok(());
        }
        let cut = |e| Err(FsError::new(Code::Io, format!("a file could not be told: {e}")));
        interrupt::wait(task).await?.unwrap_or_else(cut)
    }
}
