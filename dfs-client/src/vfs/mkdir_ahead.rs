//! Directories that are made when they are sent (`docs/design/0041`).

use super::Vfs;
use super::ahead::{About, Ahead};
use super::create::touched_by;
use crate::client::Client;
use crate::metadata::{Asked, Target};
use dfs_core::access::{self, Credentials};
use dfs_core::attr::{Attr, Kind, MKDIR_MODE, NewMode};
use dfs_core::name::Name;
use dfs_core::{BootTime, Code, Ino, Result, birth};
use dfs_proto::{convert, v1};
use std::sync::Arc;

impl Vfs {
    /// Makes a directory in one that only this client knows, and lets the server hear of it by `request`,
    /// to which the number and the time are added. True: that is on its way, and will happen. False:
    /// nothing was done, the server must be asked.
    ///
    /// Errors: those of waiting for a lost server, and of making it if that was not sent ahead.
    pub(super) async fn mkdir_ahead(
        &self,
        who: &Credentials,
        dir: Ino,
        name: &Name,
        mode: NewMode,
        request: &v1::MkdirReq,
    ) -> Result<bool> {
        let (client, now) = (&self.client, self.client.clock.now());
        // Not where it may be refused.
        let possible = client.session.made_directories()
            && client.metadata.is_delegated(dir)
            && client.metadata.name(dir, name) == Some(Target::Absent)
            && client.deferrals.has_room(now);
        if !possible {
            return Ok(false);
        }
        self.content.draw_more();
        let Some(drawn) = client.deferrals.draw(now) else { return Ok(false) };
        let mode = NewMode { mode: mode.mode & MKDIR_MODE, ..mode };
        let known_here = |at| {
            let child = |dir: &Attr| {
                let may = access::permits(who, dir, None, access::WRITE | access::EXEC);
                let attr = birth::plain_child(drawn.ino, Kind::Directory, mode, dir, who, at);
                (may && dir.nlink < u32::MAX).then_some(attr)
            };
            client.metadata.defer(dir, name, child)?;
            let (ino, fence, at) = (drawn.ino.0, drawn.fence.0, Some(convert::time_to(at)));
            let request = v1::MkdirReq { ino, fence, at, ..request.clone() };
            Some((request, Made { dir, name: name.clone(), ino: drawn.ino, now }))
        };
        // The one above may be on its way, too.
        let about = About { dirs: vec![dir], of: drawn.ino, follows: dir };
        match self.go_ahead(who, about, known_here).await {
            // The session that the number was drawn for is no more.
            Err(error) if error.code == Code::Fenced => Ok(false),
            other => other,
        }
    }
}

/// A directory that is known here and not at the server.
#[derive(Debug)]
struct Made {
    dir: Ino,
    name: Name,
    ino: Ino,
    now: BootTime,
}

impl Ahead<v1::EntryRep> for Made {
    fn told(&self, client: &Client, asked: Asked, reply: v1::EntryRep) -> Result<()> {
        let mark = reply.mark.unwrap_or_default();
        let (made, dir) = (convert::need_attr(reply.attr)?, convert::need_attr(reply.dir)?);
        client.late.add();
        client.deferrals.found(reply.roomy, self.now);
        let stale = client.metadata.told_directory(asked, &mark, dir, &self.name, made);
        client.forget_in_kernel(stale, None);
        Ok(())
    }

    fn refused(&self, client: &Client) {
        let Made { dir, name, ino, .. } = self;
        client.forget_in_kernel(client.metadata.unmade_directory(*dir, name, *ino), None);
        client.tell_kernel(&touched_by(*dir, name));
    }

    /// Nobody may look into a directory that is not this client's alone before all that was made there is
    /// told, and nobody finds it before the one above is given back.
    async fn settled(&self, client: &Arc<Client>) {
        if !client.metadata.is_delegated(self.ino) {
            client.removals_over(&[self.ino]).await;
            client.tell(client.deferrals.within(self.ino)).await;
        }
    }
}
