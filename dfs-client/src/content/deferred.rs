//! Making files before the server hears of them, and telling it (`docs/design/0025`).

use super::Content;
use super::inode::File;
use super::remote::system;
use crate::deferred::{Deferred, Drawn, TELL_WITHIN, is_final};
use crate::rpc::Sent;
use crate::vfs::{OpenFlags, Opened, touched_by};
use dfs_core::access::Credentials;
use dfs_core::attr::{Attr, Kind, NewMode};
use dfs_core::birth;
use dfs_core::inode_state::{Event, Held};
use dfs_core::limits::{LEASE_HOLD_MIN, RESERVED_AT_ONCE};
use dfs_core::name::Name;
use dfs_core::{Code, Fence, FsError, GrantId, Ino, Result};
use dfs_proto::v1;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Pause before a server that refused is told again.
const RETRY: Duration = Duration::from_secs(1);

impl Content {
    /// Makes a file and opens it for writing, if that needs no question; none: it was not made. The
    /// caller has looked at the session's lease.
    pub(crate) fn make_here(
        &self,
        who: impl FnOnce() -> Credentials,
        dir: Ino,
        name: &Name,
        mode: NewMode,
        flags: OpenFlags,
    ) -> Option<Result<(Attr, Opened)>> {
        if !self.client.metadata.is_delegated(dir) {
            return None;
        }
        let (deferrals, now) = (&self.client.deferrals, self.now());
        self.draw_more();
        let _making = deferrals.making();
        let drawn = deferrals.draw(now)?;
        let (who, at) = (who(), self.server_time());
        let place = (dir, name.clone());
        let file = Arc::new(Deferred::new(drawn, place, who.clone(), mode, (at, now)));
        // Before it is seen: who is asked for the directory back finds it.
        deferrals.add(Arc::clone(&file));
        let child =
            |dir: &Attr| Some(birth::plain_child(drawn.ino, Kind::File, mode, dir, &who, at));
        let Some(attr) = self.client.metadata.defer(dir, name, child) else {
            deferrals.remove(drawn.ino);
            deferrals.put_back(drawn);
            return None;
        };
        deferrals.note(&file);
        self.tell_in_time();
        let (grant, fence) = (GrantId(drawn.fence.0), drawn.fence);
        let held = Held { grant, fence, hold: LEASE_HOLD_MIN };
        Some(self.open_new(&who, &attr, held, flags).map(|opened| (attr, opened)))
    }

    /// Asks for more numbers when few are left.
    pub(crate) fn draw_more(&self) {
        let Some(age) = self.client.deferrals.runs_low() else { return };
        let client = Arc::clone(&self.client);
        self.client.runtime.spawn(async move {
            let request = v1::ReserveReq { caller: None, count: RESERVED_AT_ONCE };
            let reply = client.call(&Credentials::root(), request).await;
            let reply = reply.inspect_err(|error| tracing::debug!(%error, "no numbers"));
            let v1::ReserveRep { count, first_ino, first_grant, .. } = reply.unwrap_or_default();
            let numbers = (0..u64::from(count))
                .map(|n| Drawn { ino: Ino(first_ino + n), fence: Fence(first_grant + n) });
            client.deferrals.fill(age, numbers);
        });
    }

    /// Sees to it that files which stay open are told, too.
    fn tell_in_time(&self) {
        if self.client.deferrals.watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let content = self.arc();
        self.client.runtime.spawn(async move {
            let deferrals = &content.client.deferrals;
            loop {
                let pause = if deferrals.is_paused(content.now()) { RETRY } else { TELL_WITHIN };
                tokio::time::sleep(pause).await;
                let now = content.now();
                let due = deferrals.all().into_iter().filter(|f| now.since(f.made) >= TELL_WITHIN);
                content.client.tell(due.collect()).await;
                if deferrals.is_empty() {
                    deferrals.watched.store(false, Ordering::Release);
                    // One may have been made since, by somebody who saw that we look.
                    if deferrals.is_empty() || deferrals.watched.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
            }
        });
    }

    /// Returns when the server knows a file, at once if it does. Errors: why it does not.
    pub(crate) async fn tell(&self, ino: Ino) -> Result<()> {
        if self.client.deferrals.is_empty() {
            return Ok(());
        }
        self.client.rpc.hurry();
        let cut = |e| Err(FsError::new(Code::Io, format!("a file could not be told: {e}")));
        crate::interrupt::wait(self.begin_telling(ino)).await?.unwrap_or_else(cut)
    }

    /// Tells in the background: goes on if nobody waits.
    pub(super) fn begin_telling(&self, ino: Ino) -> JoinHandle<Result<()>> {
        let content = self.arc();
        self.client.runtime.spawn(async move { content.tell_alone(ino, None).await })
    }

    /// The name of a file is to be removed. True: the server could not be told of it, and now never will
    /// be; its unsaved bytes go to the recovery area.
    pub(crate) async fn remove_untold(&self, ino: Ino) -> Result<bool> {
        match self.tell(ino).await {
            Ok(()) => return Ok(false),
            Err(error) if error.code == Code::Interrupted => return Err(error),
            Err(_) => {}
        }
        let Some(telling) = self.client.deferrals.begin(ino).await else { return Ok(true) };
        self.give_up_making(&telling.file, self.find(ino).as_ref());
        self.client.deferrals.end(telling);
        Ok(true)
    }

    /// Tells of a file without its content: that of a later commit.
    pub(super) async fn tell_alone(&self, ino: Ino, sent: Option<Sent>) -> Result<()> {
        let Some(telling) = self.client.deferrals.begin(ino).await else { return Ok(()) };
        let request = telling.file.telling();
        let known = self.find(ino);
        self.send_telling(ino, known.as_ref(), Some(telling), (request, sent)).await.map(drop)
    }

    /// Returns when the server was told of what an earlier daemon made and did not tell. Numbers that it
    /// did use are refused.
    pub(crate) async fn tell_left_over(&self) {
        let mut left = self.left_over.lock().await;
        while let Some(request) = left.last().cloned() {
            let mut request = v1::CommitReq { release: true, ..request };
            request.create.iter_mut().for_each(|file| file.left_over = true);
            let ino = request.ino;
            match self.client.call(&system(), request).await {
                Ok(_) => tracing::info!(ino, "a new file of an earlier life is told"),
                Err(error) => tracing::debug!(ino, %error, "told before, or refused"),
            }
            left.pop();
        }
    }

    /// The server refused to make a file. If it always will, nobody here has the file any more: what
    /// was written goes to the recovery area.
    pub(super) fn not_made(
        &self,
        made: &Deferred,
        file: Option<&Arc<File>>,
        error: FsError,
    ) -> FsError {
        if error.code != Code::Interrupted {
            self.client.deferrals.pause(self.now());
        }
        if !is_final(&error) {
            self.client.metadata.still_deferred(made.drawn.ino);
            return error;
        }
        let Deferred { drawn, dir, name, .. } = made;
        tracing::warn!(ino = %drawn.ino, %dir, %name, %error, "a new file was refused");
        self.give_up_making(made, file);
        FsError::new(Code::Io, format!("the new file {name} was refused: {error}"))
    }

    /// A file that was made here will never be known to the server.
    fn give_up_making(&self, made: &Deferred, file: Option<&Arc<File>>) {
        let Deferred { drawn, dir, name, .. } = made;
        self.client.metadata.unmade(*dir, name, drawn.ino);
        self.client.tell_kernel(&touched_by(*dir, name));
        self.client.deferrals.remove(drawn.ino);
        self.client.deferrals.note_anew();
        if let Some(file) = file {
            self.step(file, Event::Revoked(drawn.fence));
        }
    }
}
