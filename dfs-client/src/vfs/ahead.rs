//! Changes of names that are answered when they are sent (`docs/design/0028`, 0039): in directories that
//! are delegated to this client, where nobody else can tell whether the server has carried them out yet.

use super::Vfs;
use crate::client::Client;
use crate::config::Patience;
use crate::interrupt;
use crate::metadata::Asked;
use crate::rpc::{Call, Order, Sent};
use crate::waiting;
use dfs_core::access::Credentials;
use dfs_core::time::Timestamp;
use dfs_core::{Code, FsError, Ino, Result};
use std::fmt::Debug;
use std::sync::Arc;

/// A change that is known here and not at the server; the log shows it if it is refused.
pub(super) trait Ahead<Reply>: Debug + Send + 'static {
    /// The server has carried it out; it was known here since `asked`. Errors: a reply without sense.
    fn told(&self, client: &Client, asked: Asked, reply: Reply) -> Result<()>;

    /// The server did not do what a program believes to be done: it is undone here.
    fn refused(&self, client: &Client);

    /// Returns when nothing else must happen before the directories may be given back.
    fn settled(&self, _: &Arc<Client>) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Whom a change of names is about.
pub(super) struct About {
    /// Directories that must not be given back before it is over.
    pub(super) dirs: Vec<Ino>,
    /// What gets or loses a name.
    pub(super) of: Ino,
    /// The change follows the last one of this.
    pub(super) follows: Ino,
}

impl Vfs {
    /// Makes a change of names known here, and lets the server hear of it. True: that is on its way, and
    /// will happen. False: nothing was done, the server must be asked.
    ///
    /// `known_here` makes it known as of this time, if that is possible, and answers how the server is
    /// told. Errors: those of waiting for a lost server.
    pub(super) async fn go_ahead<Q: Call, A: Ahead<Q::Reply>>(
        &self,
        who: &Credentials,
        About { dirs, of, follows }: About,
        known_here: impl FnOnce(Timestamp) -> Option<(Q, A)>,
    ) -> Result<bool> {
        let client = &self.client;
        let delegated = dirs.iter().all(|dir| client.metadata.is_delegated(*dir));
        // A soft mount gives up, and the change would be undone.
        if !delegated || client.config.patience != Patience::Hard || client.session.root_squash() {
            return Ok(false);
        }
        if client.removals.is_full() {
            client.rpc.hurry();
        }
        // Before it is seen: who is asked for the directory back finds it.
        let under_way = interrupt::wait(client.removals.begin(dirs)).await?;
        if client.session.lease_left().is_none() || !client.rpc.is_answering() {
            return Ok(false);
        }
        let after = client.steps.last(follows);
        let possible = match after {
            Some(_) => client.session.ordered_calls(),
            // Of a file that is not told there is nothing to follow.
            None => !client.deferrals.has(of),
        };
        let asked = client.metadata.asked();
        let known_here = possible.then(|| known_here(client.session.server_time())).flatten();
        let Some((request, change)) = known_here else { return Ok(false) };
        let sent = Sent::default();
        let step = client.steps.begin(of, sent.clone());
        let (its, order) = (sent.clone(), Order { sent: Some(sent.clone()), after });
        let (who, client) = (who.clone(), Arc::clone(client));
        let runtime = client.runtime.clone();
        let task = waiting::begin_sending(&runtime, async move {
            let reply = client.rpc.call_ahead(&who, request, order).await;
            let done = reply.and_then(|reply| change.told(&client, asked, reply));
            if let Err(error) = &done {
                if its.is_set() {
                    tracing::warn!(?change, %error, "refused after it was answered");
                }
                change.refused(&client);
            }
            drop(step);
            change.settled(&client).await;
            drop(under_way);
            done
        });
        if !sent.is_set() {
            let cut = |e| Err(FsError::new(Code::Io, format!("a change did not end: {e}")));
            interrupt::wait(task).await?.unwrap_or_else(cut)?;
        }
        Ok(true)
    }
}
