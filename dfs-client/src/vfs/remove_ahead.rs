//! Removals answered when they are sent (`docs/design/0028`).

use super::Vfs;
use super::ahead::{About, Ahead};
use super::create::touched_by;
use crate::client::Client;
use crate::interrupt;
use crate::metadata::{Asked, Key};
use crate::rpc::Call;
use dfs_core::access::{self, Credentials};
use dfs_core::attr::{Attr, Kind};
use dfs_core::name::Name;
use dfs_core::time::Timestamp;
use dfs_core::{Ino, Result};
use dfs_proto::{convert, v1};

/// What a name that is removed leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Victim {
    /// A directory.
    Directory(Ino),
    /// Something else, which is open here or not.
    File(Ino, bool),
}

impl Vfs {
    /// Removes a name of a directory that only this client knows, and lets the server hear of it by
    /// `request`, which is made for the time of the change. True: that is on its way, and will happen.
    /// False: nothing was done, the server must be asked.
    ///
    /// Errors: those of waiting for a lost server.
    pub(super) async fn remove_ahead<Q>(
        &self,
        who: &Credentials,
        (dir, name): (Ino, &Name),
        victim: Victim,
        request: impl FnOnce(Timestamp) -> Q,
    ) -> Result<bool>
    where
        Q: Call<Reply = v1::RemoveRep>,
    {
        let client = &self.client;
        let (victim, directory, open) = match victim {
            Victim::Directory(ino) => (ino, true, false),
            Victim::File(ino, open) => (ino, false, open),
        };
        let mut dirs = vec![dir];
        if directory {
            interrupt::wait(client.removals_over(&[victim])).await?;
            dirs.push(victim);
        }
        let may = |dir: &Attr, child: &Attr| {
            let access = access::WRITE | access::EXEC;
            (child.kind == Kind::Directory) == directory
                && access::permits(who, dir, None, access)
                && access::may_remove_entry(who, dir, child)
        };
        let known_here = |at| {
            let number = client.metadata.remove_ahead((dir, name), victim, (at, open), may)?;
            client.deferrals.forget_told();
            Some((request(at), Removal { dir, name: name.clone(), victim, number }))
        };
        let about = About { dirs, of: victim, follows: victim };
        self.go_ahead(who, about, known_here).await
    }
}

/// A removal that is known here and not at the server.
#[derive(Debug)]
struct Removal {
    dir: Ino,
    name: Name,
    victim: Ino,
    number: u64,
}

impl Ahead<v1::RemoveRep> for Removal {
    fn told(&self, client: &Client, asked: Asked, reply: v1::RemoveRep) -> Result<()> {
        let mark = reply.mark.unwrap_or_default();
        let (gone, dir) = (convert::need_attr(reply.attr)?, convert::need_attr(reply.dir)?);
        client.late.add();
        client.keep_orphan(&gone, &[]);
        client.metadata.removed_ahead(asked, &mark, dir, &self.name, (gone, self.number));
        Ok(())
    }

    fn refused(&self, client: &Client) {
        let Removal { dir, name, victim, number } = self;
        client.metadata.not_removed(*dir, name, (*victim, *number));
        let mut touched = touched_by(*dir, name);
        touched.push(Key::Attr(*victim));
        client.tell_kernel(&touched);
    }
}
