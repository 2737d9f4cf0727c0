//! Removals answered when they are sent (`docs/design/0028`).

use super::Vfs;
use super::create::touched_by;
use crate::client::Client;
use crate::config::Patience;
use crate::interrupt;
use crate::metadata::{Asked, Key};
use crate::rpc::{Call, Sent};
use crate::waiting;
use dfs_core::access::{self, Credentials};
use dfs_core::attr::{Attr, Kind};
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::{convert, v1};
use std::sync::Arc;

impl Vfs {
    /// Removes a name of a directory that only this client knows, and lets the server hear of it by
    /// `request`, which is made for the time of the change. True: that is on its way, and will happen.
    /// False: nothing was done, the server must be asked.
    ///
    /// `directory`: of an empty directory; else of a file that has no other name and is not open.
    /// Errors: those of waiting for a lost server.
    pub(super) async fn remove_ahead<Q>(
        &self,
        who: &Credentials,
        (dir, name): (Ino, &Name),
        (victim, directory): (Ino, bool),
        request: impl FnOnce(Timestamp) -> Q,
    ) -> Result<bool>
    where
        Q: Call<Reply = v1::RemoveRep>,
    {
        let client = &self.client;
        let delegated = |ino| client.metadata.is_delegated(ino);
        let known = delegated(dir) && (!directory || delegated(victim));
        // A soft mount gives up, and the name would be there again.
        if !known || client.config.patience != Patience::Hard || !client.deferrals.is_empty() {
            return Ok(false);
        }
        let mut given_back_after = vec![dir];
        if directory {
            interrupt::wait(client.removals_over(&[victim])).await?;
            given_back_after.push(victim);
        }
        if client.removals.is_full() {
            client.rpc.hurry();
        }
        // Before it is seen: who is asked for the directory back finds it.
        let under_way = interrupt::wait(client.removals.begin(given_back_after)).await?;
        if client.session.lease_left().is_none() || !client.rpc.is_answering() {
            return Ok(false);
        }
        let asked = client.metadata.asked();
        let may = |dir: &Attr, child: &Attr| {
            let access = access::WRITE | access::EXEC;
            (child.kind == Kind::Directory) == directory
                && access::permits(who, dir, None, access)
                && access::may_remove_entry(who, dir, child)
        };
        let at = client.session.server_time();
        if !client.metadata.remove_ahead((dir, name), victim, at, may) {
            return Ok(false);
        }
        client.deferrals.forget_told();
        let removal = Ahead { client: Arc::clone(client), asked, dir, name: name.clone(), victim };
        let sent = Sent::default();
        let (who, request, its) = (who.clone(), request(at), sent.clone());
        let task = waiting::begin_sending(&client.runtime, async move {
            let carried_out = removal.carry_out(&who, request, its).await;
            drop(under_way);
            carried_out
        });
        if !sent.is_set() {
            let cut = |e| Err(FsError::new(Code::Io, format!("a removal did not end: {e}")));
            interrupt::wait(task).await?.unwrap_or_else(cut)?;
        }
        Ok(true)
    }
}

/// A removal that is known here and not at the server.
struct Ahead {
    client: Arc<Client>,
    asked: Asked,
    dir: Ino,
    name: Name,
    victim: Ino,
}

impl Ahead {
    /// Follows it to its end; `sent` says when it is sent. Errors: it is undone.
    async fn carry_out<Q>(self, who: &Credentials, request: Q, sent: Sent) -> Result<()>
    where
        Q: Call<Reply = v1::RemoveRep>,
    {
        let reply = self.client.rpc.call_ahead(who, request, Some(sent)).await;
        reply.and_then(|reply| self.told(reply)).inspect_err(|error| self.refused(error))
    }

    fn told(&self, reply: v1::RemoveRep) -> Result<()> {
        let mark = reply.mark.unwrap_or_default();
        let (gone, dir) = (convert::need_attr(reply.attr)?, convert::need_attr(reply.dir)?);
        self.client.late.add();
        self.client.keep_orphan(&gone, &[]);
        self.client.metadata.removed_ahead(self.asked, &mark, dir, &self.name, gone);
        Ok(())
    }

    /// The server did not remove what a program believes to be gone: it is there again.
    fn refused(&self, error: &FsError) {
        let Ahead { dir, name, victim, .. } = self;
        tracing::warn!(%dir, %name, %error, "a removal was refused after it was answered");
        self.client.metadata.not_removed(*dir, name, *victim);
        let mut touched = touched_by(*dir, name);
        touched.push(Key::Attr(*victim));
        self.client.tell_kernel(&touched);
    }
}
