//! Open files: creating, reading, writing, saving. The work is done in [`content`](crate::content).

use super::{Entry, Fallocate, OpenFlags, Opened, Seek, Vfs};
use crate::client::Client;
use dfs_core::access::Credentials;
use dfs_core::inode_state::Held;
use dfs_core::name::Name;
use dfs_core::{Fence, GrantId, Ino, Result};
use dfs_proto::{convert, v1};
use std::time::Duration;

impl Vfs {
    /// Creates a file with its write lease and opens it, or opens the one that is there. Errors:
    /// `Exists` with `exclusive`; as `mkdir` and [`open`](Self::open).
    pub async fn create(
        &self,
        who: &Credentials,
        dir: Ino,
        name: &[u8],
        mode: u32,
        flags: OpenFlags,
    ) -> Result<(Entry, Opened)> {
        self.writable()?;
        let name = Name::new(name)?;
        let request = v1::CreateReq {
            dir: dir.0,
            name: name.as_bytes().to_vec().into(),
            mode,
            exclusive: flags.exclusive,
            lease: flags.write,
            ..Default::default()
        };
        let asked = self.client.metadata.asked();
        let of = name.clone();
        let apply = move |client: &Client, reply: &v1::CreateRep| {
            let mark = reply.mark.unwrap_or_default();
            client.named(asked, &mark, &of, reply.attr.clone(), reply.dir.clone()).map(drop)
        };
        let touched = super::create::touched_by(dir, &name);
        let reply = self.client.change(who, touched, request, apply).await?;
        let attr = convert::need_attr(reply.attr)?;
        let opened = match reply.created {
            true => {
                let held = reply.grant.as_ref().map(held);
                self.content.open_created(who, &attr, held, flags).await?
            }
            false => self.content.open(who, attr.ino, flags).await?,
        };
        Ok((self.entry(dir, &name, attr), opened))
    }

    /// Opens a file. Errors: see [`Content::open`](crate::content::Content::open).
    pub async fn open(&self, who: &Credentials, ino: Ino, flags: OpenFlags) -> Result<Opened> {
        if flags.write {
            self.writable()?;
        }
        self.content.open(who, ino, flags).await
    }

    /// Reads at most `len` bytes from `off`; fewer only at the end of the file.
    pub async fn read(&self, fh: u64, off: u64, len: u32) -> Result<Vec<u8>> {
        self.content.read(fh, off, len).await
    }

    /// Writes all of `data` at `off`, at the end for an appending handle. `kill_suid`: set-user-id
    /// and set-group-id go, because the writer may not keep them.
    pub async fn write(&self, fh: u64, off: u64, data: &[u8], kill_suid: bool) -> Result<usize> {
        self.content.write(fh, off, data, kill_suid).await
    }

    /// close(2): saves, and tells what became of everything written.
    pub async fn flush(&self, fh: u64) -> Result<()> {
        self.content.flush(fh).await
    }

    /// The kernel let go of a handle.
    pub fn release(&self, fh: u64) -> Result<()> {
        self.content.release(fh)
    }

    /// fsync(2) and fdatasync(2).
    pub async fn fsync(&self, fh: u64) -> Result<()> {
        self.content.fsync(fh).await
    }

    /// fallocate(2). Errors: `NotSupported` for other modes than those of [`Fallocate`].
    pub async fn fallocate(&self, fh: u64, off: u64, len: u64, how: Fallocate) -> Result<()> {
        self.content.fallocate(fh, off, len, how).await
    }

    /// lseek(2) with SEEK_DATA or SEEK_HOLE. Errors: `NoDevice` at or behind the end.
    pub async fn lseek(&self, fh: u64, off: u64, seek: Seek) -> Result<u64> {
        self.content.lseek(fh, off, seek).await
    }

    /// copy_file_range(2): the server shares what is stored. Returns the bytes copied.
    pub async fn copy_file_range(
        &self,
        src: u64,
        src_off: u64,
        dst: u64,
        dst_off: u64,
        len: u64,
    ) -> Result<u64> {
        self.content.copy_file_range(src, src_off, dst, dst_off, len).await
    }
}

/// A grant as the content layer keeps it.
fn held(grant: &v1::Grant) -> Held {
    let hold = Duration::from_millis(grant.min_hold_ms.into());
    Held { grant: GrantId(grant.id), fence: Fence(grant.fence), hold }
}
