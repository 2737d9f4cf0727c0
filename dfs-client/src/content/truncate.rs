//! Sizes, holes and reserved room: changes of a file's shape, staged like writes.

use super::Content;
use super::inode::File;
use super::lease::Ask;
use super::remote::system;
use super::room::JOURNAL_ROOM;
use crate::cache::WorkingFile;
use crate::interrupt;
use crate::metadata::Key;
use crate::vfs::Fallocate;
use dfs_core::access::{Credentials, Privilege};
use dfs_core::attr::{Attr, S_ISGID, S_IXGRP};
use dfs_core::limits::FILE_SIZE_MAX;
use dfs_core::range::Range;
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::{convert, v1};
use std::sync::Arc;

impl Content {
    /// Changes the shape of a file under its lease. Waits for a commit under way: its bytes are
    /// read while it uploads.
    pub(crate) async fn reshape(
        &self,
        file: &Arc<File>,
        ask: &Ask,
        kill_suid: bool,
        change: impl Fn(&WorkingFile) -> Result<()>,
    ) -> Result<()> {
        let mut squeezed = false;
        loop {
            self.lease(file, ask).await?;
            let changed = {
                let _turn = interrupt::wait(file.commit_queue.lock()).await?;
                let _gate = file.gate.write().await;
                if !self.begin_change(file, kill_suid) {
                    continue;
                }
                change(&file.view().working)
            };
            match changed {
                // The disk had no room for the journal.
                Err(e) if e.code == Code::NoSpace && !squeezed => {
                    squeezed = true;
                    self.squeeze(JOURNAL_ROOM).await?;
                }
                changed => return changed,
            }
        }
    }

    /// Changes the size of a file: through an open handle it is staged like a write; by name it is
    /// done when this returns (G1). Answers the attributes at the server.
    pub(crate) async fn set_size(
        &self,
        who: &Credentials,
        ino: Ino,
        fh: Option<u64>,
        size: u64,
    ) -> Result<Attr> {
        if size > FILE_SIZE_MAX {
            return Err(FsError::from(Code::FileTooBig));
        }
        let kill_suid = !who.may(Privilege::SetId);
        if let Some(fh) = fh {
            let handle = self.writer(fh)?;
            self.leave_group(ino, || who.clone()).await?;
            let ask = Ask::by(&handle);
            self.reshape(&handle.file, &ask, kill_suid, |working| working.truncate(size)).await?;
            return self.client.attr(ino).await;
        }
        if let Some(file) = self.find(ino).filter(|file| has_lease(file)) {
            let who = who.clone();
            self.leave_group(ino, || who.clone()).await?;
            let ask = Ask { who, nonblock: false, append: false, opened: false, with_data: false };
            self.reshape(&file, &ask, kill_suid, |working| working.truncate(size)).await?;
            self.commit(&file).await?;
            return self.client.attr(ino).await;
        }
        self.set_size_remotely(who, ino, size, kill_suid).await
    }

    async fn set_size_remotely(
        &self,
        who: &Credentials,
        ino: Ino,
        size: u64,
        drop_suid: bool,
    ) -> Result<Attr> {
        let asked = self.client.metadata.asked();
        let set = v1::SetAttr { size: Some(size), drop_suid, ..Default::default() };
        let request = v1::SetAttrReq { ino: ino.0, set: Some(set), ..Default::default() };
        let apply = move |client: &crate::client::Client, reply: &v1::AttrRep| {
            let attr = convert::need_attr(reply.attr.clone())?;
            client.metadata.own_attr(asked, &reply.mark.unwrap_or_default(), attr);
            Ok(())
        };
        let reply = self.client.change(who, vec![Key::Attr(ino)], request, apply).await?;
        let attr = convert::need_attr(reply.attr)?;
        if let Some(file) = self.find(ino).filter(|file| file.lock().open > 0) {
            // Open handles follow at once: their reader may be the caller.
            self.current(&system(), file.ino, true, 0).await?;
        }
        Ok(attr)
    }

    /// Whether [`leave_group`](Content::leave_group) may have something to do for a handle.
    pub(crate) fn may_leave_group(&self, fh: u64) -> bool {
        let attr = self.handles.get(fh).ok().and_then(|h| self.client.metadata.attr(h.file.ino));
        attr.is_some_and(|attr| attr.mode & (S_ISGID | S_IXGRP) == S_ISGID)
    }

    /// Takes set-group-id from a file that nobody in its group may execute, if who changes the
    /// content is outside the group (Linux `setattr_should_drop_sgid`): the commit that brings the
    /// change is not done by who made it. `who` is asked only if it matters.
    pub(crate) async fn leave_group(
        &self,
        ino: Ino,
        who: impl FnOnce() -> Credentials,
    ) -> Result<()> {
        let Some(attr) = self.client.metadata.attr(ino) else { return Ok(()) };
        if attr.mode & (S_ISGID | S_IXGRP) != S_ISGID {
            return Ok(());
        }
        let who = who();
        if who.keeps_set_gid(&attr) {
            return Ok(());
        }
        let asked = self.client.metadata.asked();
        let set = v1::SetAttr { drop_suid: true, ..Default::default() };
        let request =
            v1::SetAttrReq { ino: ino.0, set: Some(set), opened: true, ..Default::default() };
        let apply = move |client: &crate::client::Client, reply: &v1::AttrRep| {
            let attr = convert::need_attr(reply.attr.clone())?;
            client.metadata.own_attr(asked, &reply.mark.unwrap_or_default(), attr);
            Ok(())
        };
        self.client.change(&who, vec![Key::Attr(ino)], request, apply).await.map(drop)
    }

    /// fallocate(2): `keep_size` alone reserves nothing, because room is needed at the servers and
    /// not here; holes and zeros are staged as holes.
    ///
    /// Errors: `NotSupported` for modes Linux does not have; those of a write.
    pub async fn fallocate(&self, fh: u64, off: u64, len: u64, how: Fallocate) -> Result<()> {
        let handle = self.writer(fh)?;
        if len == 0 {
            return Err(FsError::new(Code::Invalid, "length 0"));
        }
        if how.punch_hole && (how.zero_range || !how.keep_size) {
            return Err(FsError::from(Code::NotSupported));
        }
        let range = match off.checked_add(len) {
            Some(end) if end <= FILE_SIZE_MAX => Range::new(off, end),
            _ => return Err(FsError::from(Code::FileTooBig)),
        };
        let zero = how.punch_hole || how.zero_range;
        let change = |working: &WorkingFile| match zero {
            true => working.punch(range, how.keep_size),
            false => working.allocate(range, how.keep_size),
        };
        let kill_suid = !handle.who.may(Privilege::SetId);
        self.leave_group(handle.file.ino, || handle.who.clone()).await?;
        self.reshape(&handle.file, &Ask::by(&handle), kill_suid, change).await
    }
}

/// Whether the size is ours to change: work is unsaved, or the lease is here or wanted.
fn has_lease(file: &File) -> bool {
    let state = file.lock();
    state.machine.committable().is_some() || state.machine.is_dirty()
}
