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
use std::pin::Pin;
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

    /// Begins `work` for a close, and waits for its end; or only until it is `sent`, and then it is
    /// followed to its end in the background. None: it is sent.
    pub(super) async fn begin_to_close<T: Send + 'static>(
        &self,
        file: &Arc<File>,
        sent: &Sent,
        work: Pin<Box<impl Future<Output = Result<T>> + Send + 'static>>,
    ) -> Result<Option<T>> {
        let (content, file, its) = (self.arc(), Arc::clone(file), sent.clone());
        file.lock().closing = true;
        let under_way = self.client.steps.begin(file.ino, sent.clone());
        let task = waiting::begin_sending(&self.client.runtime, async move {
            let result = work.await;
            drop(under_way);
            file.lock().closing = false;
            if its.is_set() {
                if let Err(error) = &result {
                    tracing::warn!(ino = %file.ino, %error, "a file that was closed is not saved yet");
                }
                content.look_after_closed(&file);
            }
            result
        });
        if sent.is_set() {
            return Ok(None);
        }
        let cut = |e| Err(FsError::new(Code::Io, format!("a close did not end: {e}")));
        interrupt::wait(task).await?.unwrap_or_else(cut).map(Some)
    }

    /// Returns when the server knows a file, or, if that is enough, when it is told.
    pub(super) async fn tell_to_close(&self, file: &Arc<File>, sent: Option<Sent>) -> Result<()> {
        let ino = file.ino;
        let Some(sent) = sent.filter(|_| self.client.deferrals.has(ino)) else {
            return self.tell(ino).await;
        };
        let (content, its) = (self.arc(), sent.clone());
        let work = Box::pin(async move { content.tell_alone(ino, Some(its)).await });
        self.begin_to_close(file, &sent, work).await.map(drop)
    }
}
