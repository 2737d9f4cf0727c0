//! Getting a lease, keeping it, giving it back (PROTOCOL 4.1).

use super::Content;
use super::advance::have_ver;
use super::handle::Handle;
use super::inode::File;
use crate::cache::Owner;
use crate::interrupt;
use dfs_core::access::Credentials;
use dfs_core::inode_state::{Effect, Event, Held};
use dfs_core::limits::REPLY_DATA_MAX;
use dfs_core::{Code, FsError, Result};
use dfs_proto::v1;
use std::sync::Arc;
use std::time::Duration;

/// Pause before a commit that failed is tried again while the server waits for the lease.
const RETURN_RETRY: Duration = Duration::from_secs(1);

/// How a lease is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// Who wants it.
    pub(crate) who: Credentials,
    /// Fail with `WouldBlock` instead of waiting.
    pub(crate) nonblock: bool,
    /// The handle appends.
    pub(crate) append: bool,
    /// Permission to write was checked at open.
    pub(crate) opened: bool,
    /// Send the bytes too if they are few: not for a file that is about to be truncated.
    pub(crate) with_data: bool,
}

impl Ask {
    /// What a handle asks for at its first write.
    pub(crate) fn by(handle: &Handle) -> Ask {
        Ask {
            who: handle.who.clone(),
            nonblock: handle.flags.nonblock,
            append: handle.flags.append,
            opened: true,
            with_data: false,
        }
    }
}

impl Content {
    /// Returns when a write lease is held, at once if it is now. It may be on its way back already
    /// when the caller looks: whoever writes checks again behind the gate.
    ///
    /// Errors: `WouldBlock` with `nonblock`; `Busy` after `lease_wait`; `Interrupted`.
    pub(crate) async fn lease(&self, file: &Arc<File>, ask: &Ask) -> Result<()> {
        self.client.session.gate().await?;
        loop {
            if file.lock().machine.writable().is_some() {
                return Ok(());
            }
            let _turn = match ask.nonblock {
                true => file.lease_queue.try_lock().map_err(|_| would_block(file))?,
                false => interrupt::wait(file.lease_queue.lock()).await?,
            };
            if file.lock().machine.in_transit() {
                if ask.nonblock {
                    return Err(would_block(file));
                }
                interrupt::wait(file.wait_until(|state| !state.machine.in_transit())).await?;
            }
            self.request(file, ask).await?;
        }
    }

    /// One request to the server, by the holder of the lease queue.
    async fn request(&self, file: &Arc<File>, ask: &Ask) -> Result<()> {
        if file.lock().machine.step(self.now(), Event::Wanted) != Some(Effect::Request) {
            return Ok(());
        }
        // Whoever gives up waiting, even by being dropped, leaves no trace (row I3).
        let mut waiting = Waiting { content: self, file, over: false };
        let acquire = self.acquire(&ask.who, self.acquire_req(file, ask, true));
        let (held, update) = interrupt::wait(acquire).await??;
        if file.view().working.has_work() {
            // The recovery area is full: the bytes must not be mixed with newer ones.
            self.disown(file.ino, held.grant, held.fence).await;
            let text = format!("unsaved bytes of inode {} wait for the recovery area", file.ino);
            return Err(FsError::new(Code::Io, text));
        }
        self.adopt(file, update).await?;
        if file.lock().lags() {
            self.carry_out(file, Effect::Advance);
        }
        self.own(file, &ask.who, held)?;
        waiting.over = true;
        self.step(file, Event::Granted(held));
        Ok(())
    }

    fn acquire_req(&self, file: &File, ask: &Ask, write: bool) -> v1::AcquireReq {
        let data_max = if ask.with_data { REPLY_DATA_MAX } else { 0 };
        v1::AcquireReq {
            caller: None,
            ino: file.ino.0,
            write,
            nonblock: ask.nonblock,
            wait_ms: self.client.config.lease_wait.as_millis().min(u128::from(u32::MAX)) as u32,
            opened: ask.opened,
            have_ver: have_ver(&file.view().working, data_max),
            data_max_bytes: data_max,
            append: ask.append,
        }
    }

    /// Lets the journal of unsaved work say who works, under which fence.
    pub(crate) fn own(&self, file: &File, who: &Credentials, held: Held) -> Result<()> {
        let path = self.client.metadata.last_path(file.ino);
        file.view().working.set_owner(Owner { fence: held.fence, path, uid: who.uid })
    }

    /// Takes a read lease under `rwlock`; kept as long as the server does not want it back.
    pub(crate) async fn read_lease(&self, file: &Arc<File>, ask: &Ask) -> Result<()> {
        loop {
            if file.lock().readers.writable().is_some() {
                return Ok(());
            }
            let _turn = interrupt::wait(file.lease_queue.lock()).await?;
            interrupt::wait(file.wait_until(|state| !state.readers.in_transit())).await?;
            if file.lock().readers.step(self.now(), Event::Wanted) != Some(Effect::Request) {
                continue;
            }
            let mut waiting = WaitingReader { content: self, file, over: false };
            let acquire = self.acquire(&ask.who, self.acquire_req(file, ask, false));
            let (held, update) = interrupt::wait(acquire).await??;
            self.adopt(file, update).await?;
            waiting.over = true;
            self.step_reader(file, Event::Granted(held));
        }
    }

    /// Steps the machine of the read lease.
    pub(crate) fn step_reader(&self, file: &Arc<File>, event: Event) {
        let effect = file.lock().readers.step(self.now(), event);
        if file.lock().readers.next_deadline().is_some() {
            self.watch(file.ino);
        }
        file.changed.notify_waiters();
        let (content, file) = (self.arc(), Arc::clone(file));
        match effect {
            Some(Effect::Return) => {
                self.client.runtime.spawn(async move {
                    let held = file.lock().readers.committable();
                    if let Some(held) = held {
                        content.disown(file.ino, held.grant, held.fence).await;
                    }
                    content.step_reader(&file, Event::Returned);
                });
            }
            Some(Effect::Disown(grant, fence)) => {
                self.client
                    .runtime
                    .spawn(async move { content.disown(file.ino, grant, fence).await });
            }
            // Nothing is ever unsaved under a read lease.
            _ => {}
        }
    }

    /// Rows I6 and I7: waits for writes in progress, commits, gives the write lease back.
    pub(crate) async fn return_lease(&self, file: &Arc<File>) {
        drop(file.gate.write().await);
        loop {
            let Some(held) = file.lock().machine.committable() else { return };
            if let Err(error) = self.collect_stores(file).await {
                tracing::warn!(ino = %file.ino, %error, "stores of a mapping are saved later");
            }
            let dirty = file.lock().has_work();
            if !dirty {
                self.disown(file.ino, held.grant, held.fence).await;
                break;
            }
            match self.commit_for_return(file).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    // Until it works, or until the server takes the lease by force.
                    tracing::warn!(ino = %file.ino, %error, "cannot commit under a recall");
                    tokio::time::sleep(RETURN_RETRY).await;
                }
            }
        }
        self.step(file, Event::Returned);
        if file.lock().open > 0 {
            self.keep_promise(file);
        }
    }
}

fn would_block(file: &File) -> FsError {
    FsError::new(Code::WouldBlock, format!("the lease on inode {} is not free", file.ino))
}

/// A request for the write lease; withdrawn when dropped before it is over.
struct Waiting<'a> {
    content: &'a Content,
    file: &'a Arc<File>,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.content.step(self.file, Event::Refused);
        }
    }
}

/// The same for the read lease.
struct WaitingReader<'a> {
    content: &'a Content,
    file: &'a Arc<File>,
    over: bool,
}

impl Drop for WaitingReader<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.content.step_reader(self.file, Event::Refused);
        }
    }
}
