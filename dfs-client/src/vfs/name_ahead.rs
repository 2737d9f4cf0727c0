//! New names of files, answered when they are sent (`docs/design/0039`).

use super::Vfs;
use super::ahead::{About, Ahead};
use super::create::touched_by;
use crate::client::Client;
use crate::metadata::{Asked, Key, Naming};
use crate::rpc::Call;
use dfs_core::Result;
use dfs_core::access::{self, Credentials};
use dfs_core::attr::Attr;
use dfs_core::time::Timestamp;
use dfs_proto::{convert, v1};

/// What a reply says of a name that was given: promises, the directory, the file.
pub(super) trait Named {
    fn named(self) -> (Option<v1::Mark>, Option<v1::Attr>, Option<v1::Attr>);
}

impl Named for v1::EntryRep {
    fn named(self) -> (Option<v1::Mark>, Option<v1::Attr>, Option<v1::Attr>) {
        (self.mark, self.dir, self.attr)
    }
}

impl Named for v1::RenameRep {
    fn named(self) -> (Option<v1::Mark>, Option<v1::Attr>, Option<v1::Attr>) {
        (self.mark, self.from_dir, self.moved)
    }
}

impl Vfs {
    /// Gives a file a name in a directory that only this client knows, and lets the server hear of it by
    /// `request`, which is made for the time of the change. True: that is on its way, and will happen.
    /// False: nothing was done, the server must be asked.
    ///
    /// Errors: those of waiting for a lost server.
    pub(super) async fn name_ahead<Q>(
        &self,
        who: &Credentials,
        naming: Naming,
        request: impl FnOnce(Timestamp) -> Q,
    ) -> Result<bool>
    where
        Q: Call<Reply: Named>,
    {
        let may = |dir: &Attr, child: &Attr| {
            access::permits(who, dir, None, access::WRITE | access::EXEC)
                && (naming.old.is_none() || access::may_remove_entry(who, dir, child))
        };
        let known_here = |at| {
            let number = self.client.metadata.name_ahead(&naming, at, may)?;
            Some((request(at), New { naming: naming.clone(), number }))
        };
        let about = About { dirs: vec![naming.dir], of: naming.ino, follows: naming.ino };
        self.go_ahead(who, about, known_here).await
    }
}

/// A name that is known here and not at the server.
#[derive(Debug)]
struct New {
    naming: Naming,
    number: u64,
}

impl<R: Named> Ahead<R> for New {
    fn told(&self, client: &Client, asked: Asked, reply: R) -> Result<()> {
        let (mark, dir, attr) = reply.named();
        let (dir, attr) = (convert::need_attr(dir)?, convert::need_attr(attr)?);
        let mark = mark.unwrap_or_default();
        client.metadata.named_ahead(asked, &mark, &self.naming, dir, (attr, self.number));
        Ok(())
    }

    fn refused(&self, client: &Client) {
        let Naming { dir, ino, old, new } = &self.naming;
        client.metadata.not_named(&self.naming, self.number);
        let mut touched = touched_by(*dir, new);
        touched.extend(old.iter().map(|old| Key::Name(*dir, old.clone())));
        touched.push(Key::Attr(*ino));
        client.tell_kernel(&touched);
    }
}
