//! copy_file_range(2): the target shares the objects of the source, no data moves. Of a few bytes, which
//! would not become an object, a copy is written here and saved with the rest.

use super::Content;
use super::handle::Handle;
use super::inode::File;
use super::lease::Ask;
use super::remote::{Wanted, system};
use crate::client::Client;
use crate::interrupt;
use crate::metadata::Key;
use dfs_core::access::Privilege;
use dfs_core::inode_state::Held;
use dfs_core::limits::{FILE_SIZE_MAX, INLINE_MAX};
use dfs_core::{Code, FsError, Result};
use dfs_proto::{convert, v1};
use std::sync::Arc;

/// What to copy from where to where.
#[derive(Clone, Copy, Debug)]
struct Copy {
    src_off: u64,
    dst_off: u64,
    len: u64,
}

impl Content {
    /// Copies up to `len` bytes between open files; fewer at the end of the source.
    ///
    /// Errors: `BadHandle` for wrong open modes, also a target that appends; `Invalid` if source and
    /// target overlap; those of a commit and of waiting for the lease.
    pub async fn copy_file_range(
        &self,
        src: u64,
        src_off: u64,
        dst: u64,
        dst_off: u64,
        len: u64,
    ) -> Result<u64> {
        let (from, to) = (self.handles.get(src)?, self.writer(dst)?);
        if !from.flags.read || to.flags.append {
            return Err(FsError::new(Code::BadHandle, "not open for this copy"));
        }
        from.usable(false)?;
        if !Arc::ptr_eq(&from.file, &to.file) {
            self.current(&system(), from.file.ino, true, 0).await?;
        }
        let len = len.min(from.file.view().working.size().saturating_sub(src_off));
        let copy = Copy { src_off, dst_off, len };
        if len == 0 {
            return Ok(0);
        }
        if dst_off.checked_add(len).is_none_or(|end| end > FILE_SIZE_MAX) {
            return Err(FsError::from(Code::FileTooBig));
        }
        let near = src_off.abs_diff(dst_off) < len;
        if near && Arc::ptr_eq(&from.file, &to.file) {
            return Err(FsError::new(Code::Invalid, "source and target overlap"));
        }
        if len <= INLINE_MAX {
            let bytes = self.read_through(&from, src_off, len as u32).await?;
            self.giving.copied();
            let kill_suid = !to.who.may(Privilege::SetId);
            return Ok(self.write(dst, dst_off, &bytes, kill_suid).await? as u64);
        }
        self.commit(&from.file).await?;
        let ask = Ask::by(&to);
        loop {
            self.lease(&to.file, &ask).await?;
            self.commit(&to.file).await?;
            let _turn = interrupt::wait(to.file.commit_queue.lock()).await?;
            let _gate = to.file.gate.write().await;
            let held = to.file.lock().machine.writable();
            let (Some(held), false) = (held, to.file.lock().has_work()) else { continue };
            self.clone_under(&from.file, &to, held, copy).await?;
            return Ok(len);
        }
    }

    /// Called with the target clean, leased and its gate closed. It is the writer's doing: without
    /// privileges it takes set-user-id from the target.
    async fn clone_under(
        &self,
        from: &Arc<File>,
        by: &Handle,
        held: Held,
        copy: Copy,
    ) -> Result<()> {
        let to = &by.file;
        let request = v1::CloneReq {
            caller: None,
            src: from.ino.0,
            src_off: copy.src_off,
            len: copy.len,
            dst: to.ino.0,
            dst_off: copy.dst_off,
            grant: held.grant.0,
            fence: held.fence.0,
        };
        let asked = self.client.metadata.asked();
        let apply = move |client: &Client, reply: &v1::CommitRep| {
            let attr = convert::need_attr(reply.attr.clone())?;
            client.metadata.own_attr(asked, &reply.mark.unwrap_or_default(), attr);
            Ok(())
        };
        let touched = vec![Key::Attr(to.ino)];
        let reply = self.client.change(&by.who, touched, request, apply).await?;
        let attr = convert::need_attr(reply.attr)?;
        let wanted =
            Wanted { have_ver: to.view().working.version(), data_max: 0, from: 0, opened: true };
        let view = to.view();
        let known = view.manifest().unknown(dfs_core::range::Range::ALL).is_none();
        let manifest = match known {
            // With the new extents it is known exactly what stayed the same.
            true => self.get_content(&system(), to.ino, wanted).await?.manifest(),
            false => super::manifest::Manifest::new(attr.content_ver, attr.size),
        };
        self.move_to(to, &view, manifest)
    }
}
