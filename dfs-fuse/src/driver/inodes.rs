//! Operations on an inode; `call.ino` is it.

use super::call::Call;
use dfs_client::vfs::Entry;
use dfs_core::access::{self, Privilege};
use dfs_core::attr::SetAttr;
use fuser::{AccessFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyStatfs};

/// Unit of statfs answers in bytes.
const BLOCK: u64 = 4096;

pub fn getattr(call: Call<'_>, fh: Option<u64>, reply: ReplyAttr) {
    let (vfs, ino, numbers) = (call.vfs(), call.ino, call.numbers());
    let answer = move |reply: ReplyAttr, entry: Entry| {
        reply.attr(&entry.ttl, &numbers.file_attr(&entry.attr));
    };
    let Some(reply) = call.serve_now(reply, || vfs.getattr_now(ino), answer) else { return };
    let work = async move { vfs.getattr(ino, fh).await };
    call.serve_asking(reply, work, answer);
}

pub fn setattr(call: Call<'_>, fh: Option<u64>, mut set: SetAttr, reply: ReplyAttr) {
    let (vfs, ino, numbers) = (call.vfs(), call.ino, call.numbers());
    let who = match set.uid.is_some() || set.gid.is_some() {
        // The set-id bits go, and only an owner may take them.
        true => call.exactly_who(&[Privilege::SetId, Privilege::Owner]),
        false => call.exactly_who(&[Privilege::SetId]),
    };
    set.drop_suid = drops_suid(&set, who.may(Privilege::SetId));
    let work = async move { vfs.setattr(&who, ino, fh, set).await };
    call.serve(reply, work, move |reply, entry| {
        reply.attr(&entry.ttl, &numbers.file_attr(&entry.attr));
    });
}

/// Whether the change takes the set-user-id bits with it. Linux says so in a flag that fuser does
/// not show (`FATTR_KILL_SUIDGID`): always for a new owner of anything but a directory, and for a
/// truncation by an unprivileged process (`fuse_setattr` in Linux). The server spares directories.
fn drops_suid(set: &SetAttr, privileged: bool) -> bool {
    set.uid.is_some() || set.gid.is_some() || (set.size.is_some() && !privileged)
}

pub fn readlink(call: Call<'_>, reply: ReplyData) {
    let (vfs, ino) = (call.vfs(), call.ino);
    let work = async move { vfs.readlink(ino).await };
    call.serve(reply, work, |reply, target| reply.data(&target));
}

/// Only asked without `default_permissions`, which we always set.
pub fn check_access(call: Call<'_>, mask: AccessFlags, reply: ReplyEmpty) {
    let (vfs, who, ino) = (call.vfs(), call.who(), call.ino);
    let mut want = 0;
    for (flag, bit) in [
        (AccessFlags::R_OK, access::READ),
        (AccessFlags::W_OK, access::WRITE),
        (AccessFlags::X_OK, access::EXEC),
    ] {
        if mask.contains(flag) {
            want |= bit;
        }
    }
    let work = async move { vfs.access(&who, ino, want).await };
    call.serve(reply, work, |reply, ()| reply.ok());
}

pub fn statfs(call: Call<'_>, reply: ReplyStatfs) {
    let vfs = call.vfs();
    let work = async move { vfs.statfs().await };
    call.serve(reply, work, |reply, total| {
        // Inodes are numbers of 64 bits: as many are free as blocks could ever be used for.
        let free_inodes = total.free_bytes / BLOCK;
        reply.statfs(
            total.total_bytes / BLOCK,
            total.free_bytes / BLOCK,
            total.available_bytes / BLOCK,
            total.inodes.saturating_add(free_inodes),
            free_inodes,
            BLOCK as u32,
            dfs_core::limits::NAME_MAX as u32,
            BLOCK as u32,
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_suid_follows_linux() {
        let set = SetAttr::default;
        assert!(!drops_suid(&SetAttr { mode: Some(0o4755), ..set() }, false));
        assert!(drops_suid(&SetAttr { uid: Some(0), ..set() }, true));
        assert!(drops_suid(&SetAttr { gid: Some(0), ..set() }, false));
        assert!(drops_suid(&SetAttr { size: Some(0), ..set() }, false));
        assert!(!drops_suid(&SetAttr { size: Some(0), ..set() }, true));
    }
}
