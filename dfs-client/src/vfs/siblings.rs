//! Names that will be looked up next: a directory that is looked through name by name is listed, with
//! attributes, in the background.

use super::Vfs;
use super::walk::Walk;
use dfs_core::Ino;
use dfs_core::access::{self, Credentials};
use dfs_core::attr::Kind;
use std::sync::Arc;

impl Vfs {
    /// The server was asked for a name in `dir`: lists the directory in the background if that is
    /// worth it and the caller may.
    pub(super) fn asked_for_a_name(&self, who: &Credentials, dir: Ino) {
        let metadata = &self.client.metadata;
        let Some(attr) = metadata.attr(dir).filter(|attr| attr.kind == Kind::Directory) else {
            return;
        };
        if self.permits(who, &attr, access::READ) != Some(true)
            || !metadata.begin_siblings(dir, attr.size)
        {
            return;
        }
        let (client, who) = (Arc::clone(&self.client), who.clone());
        self.client.runtime.spawn(async move {
            if let Err(error) = Walk::through(&client, &who, dir, attr.size).await {
                tracing::debug!(%dir, %error, "cannot list the names beside one looked up");
            }
            client.metadata.end_siblings(dir);
        });
    }
}
