//! Changing attributes: who may, and what follows from it (Linux `setattr_prepare`, `notify_change`;
//! chmod(2), chown(2), utimensat(2)).

use super::{Context, Txn, rules, xattr};
use crate::metastore::{Inode, Read};
use crate::nameserver::resolve;
use dfs_core::access::{self, ACL_ACCESS, Credentials, WRITE};
use dfs_core::attr::{Attr, Kind, MODE_MASK, S_ISGID, S_ISUID, S_IXGRP, SetAttr, SetTime};
use dfs_core::time::Timestamp;
use dfs_core::xattr::CAPABILITY;
use dfs_core::{Code, FsError, Result};

/// Whether the caller may make these changes; `opened`: permission to write was checked when the
/// handle was opened. Says nothing about the new size itself. Fails with `NotPermitted` where only
/// the owner may, `AccessDenied` where write permission would do, `NotSupported` (mode of a
/// symbolic link), `Invalid` (a time that is none).
pub(super) fn permit(
    cx: &Context<'_>,
    view: &dyn Read,
    attr: &Attr,
    set: &SetAttr,
    opened: bool,
) -> Result<()> {
    let demand_write = || resolve::demand(cx, view, attr, WRITE);
    let owner = cx.who.owns(attr);
    let refuse = |what: &str| {
        let text = format!("user {} may not {what} of inode {}", cx.who.uid, attr.ino);
        Err(FsError::new(Code::NotPermitted, text))
    };
    if !set.uid.is_none_or(|uid| access::may_set_owner(cx.who, attr, uid)) {
        return refuse("change the owner");
    }
    if !set.gid.is_none_or(|gid| access::may_set_group(cx.who, attr, gid)) {
        return refuse("change the group");
    }
    if set.mode.is_some() {
        if attr.kind == Kind::Symlink {
            return Err(FsError::new(Code::NotSupported, "symbolic links have no mode"));
        }
        if !owner {
            return refuse("change the mode");
        }
    }
    for time in [set.atime, set.mtime].into_iter().flatten() {
        if let SetTime::To(time) = time {
            rules::valid_time(time)?;
        }
    }
    if owner {
        // The size is content: its owner may have given up the right to write it.
        return if set.size.is_some() && !opened { demand_write() } else { Ok(()) };
    }
    if sets_chosen_time(set) {
        return refuse("set the times");
    }
    let chowned = set.uid.is_some() || set.gid.is_some();
    if chowned && has_to_drop(cx.who, attr) {
        // The right to give files away is none to take bits from them (Linux `setattr_prepare`).
        return refuse("take the set-id bits");
    }
    let writes = set.size.is_some() || (set.drop_suid && !chowned);
    let touches = set.atime.is_some() || set.mtime.is_some();
    if (writes || touches) && !opened { demand_write() } else { Ok(()) }
}

/// Whether the times are the caller's choice rather than "now": one of them is given, or only one
/// moves (utimensat(2), EPERM). A truncation moves `mtime` alone and chooses nothing.
fn sets_chosen_time(set: &SetAttr) -> bool {
    let given = |time: Option<SetTime>| matches!(time, Some(SetTime::To(_)));
    let one_alone = set.atime.is_some() != set.mtime.is_some() && set.size.is_none();
    given(set.atime) || given(set.mtime) || one_alone
}

/// Makes the changes, except the size, with what follows from them for the extended attributes: the
/// access control list says what a new mode says, and the capabilities of a program go when it is
/// written (`wrote`) or gets another owner, whoever does it (capabilities(7)). `ctime` and `attr_ver`
/// are the transaction's.
pub(super) fn change(
    cx: &Context<'_>,
    txn: &mut Txn<'_>,
    row: &mut Inode,
    set: &SetAttr,
    wrote: bool,
) -> Result<()> {
    apply(cx.who, &mut row.attr, set, txn.now);
    if set.mode.is_some()
        && let Some(mut acl) = resolve::acl(&txn.view(), &row.attr)?
    {
        acl.set_mode(row.attr.mode);
        xattr::put(txn, &mut row.attr, ACL_ACCESS, Some(acl.encode()))?;
    }
    let chowned = set.uid.is_some() || set.gid.is_some();
    if (wrote || chowned || set.drop_suid) && row.attr.kind != Kind::Directory {
        xattr::put(txn, &mut row.attr, CAPABILITY, None)?;
    }
    Ok(())
}

/// Makes the changes to the attributes proper.
fn apply(who: &Credentials, attr: &mut Attr, set: &SetAttr, now: Timestamp) {
    let chowned = set.uid.is_some() || set.gid.is_some();
    if set.drop_suid || chowned {
        drop_suid(who, attr);
    }
    attr.uid = set.uid.unwrap_or(attr.uid);
    attr.gid = set.gid.unwrap_or(attr.gid);
    if let Some(mode) = set.mode {
        attr.mode = mode & MODE_MASK;
        if !who.keeps_set_gid(attr) {
            attr.mode &= !S_ISGID;
        }
    }
    let at = |time: SetTime| match time {
        SetTime::Now => now,
        SetTime::To(time) => time,
    };
    attr.atime = set.atime.map_or(attr.atime, at);
    attr.mtime = set.mtime.map_or(attr.mtime, at);
}

/// Whether set-id bits fall if `who` gives the inode away.
fn has_to_drop(who: &Credentials, attr: &Attr) -> bool {
    let mut after = attr.clone();
    drop_suid(who, &mut after);
    after.mode != attr.mode
}

/// Drops set-user-id and set-group-id (Linux `setattr_should_drop_suidgid`): directories keep them,
/// and set-group-id without group-execute stays for a caller in the group.
fn drop_suid(who: &Credentials, attr: &mut Attr) {
    if attr.kind == Kind::Directory {
        return;
    }
    attr.mode &= !S_ISUID;
    if attr.mode & S_IXGRP != 0 || !who.keeps_set_gid(attr) {
        attr.mode &= !S_ISGID;
    }
}
