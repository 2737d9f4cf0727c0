//! Extended attributes.

use super::call::Call;
use super::flags;
use dfs_core::access::{ACL_ACCESS, Privilege};
use fuser::{Errno, ReplyEmpty, ReplyXattr};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub fn get(call: Call<'_>, name: &OsStr, size: u32, reply: ReplyXattr) {
    let (vfs, ino, name) = (call.vfs(), call.ino, name.as_bytes().to_vec());
    let answer = move |reply, value: Vec<u8>| sized(reply, size, &value);
    let Some(reply) = call.serve_now(reply, || vfs.getxattr_now(ino, &name), answer) else {
        return;
    };
    let work = async move { vfs.getxattr(ino, &name).await };
    call.serve(reply, work, answer);
}

pub fn list(call: Call<'_>, size: u32, reply: ReplyXattr) {
    let (vfs, ino) = (call.vfs(), call.ino);
    let who = call.exactly_who(&[Privilege::Admin]);
    let work = async move { vfs.listxattr(&who, ino).await };
    call.serve(reply, work, move |reply, names| {
        let mut list = Vec::new();
        for name in &names {
            list.extend_from_slice(name);
            list.push(0);
        }
        sized(reply, size, &list);
    });
}

pub fn set(call: Call<'_>, name: &OsStr, value: &[u8], bits: i32, reply: ReplyEmpty) {
    let (vfs, ino, name) = (call.vfs(), call.ino, name.as_bytes().to_vec());
    // A list may move the mode, and take set-group-id with it.
    let decisive: &[Privilege] = if name == ACL_ACCESS { &[Privilege::SetId] } else { &[] };
    let who = call.exactly_who(decisive);
    let value = value.to_vec();
    let work = async move { vfs.setxattr(&who, ino, &name, &value, flags::setxattr(bits)?).await };
    call.serve(reply, work, |reply, ()| reply.ok());
}

pub fn remove(call: Call<'_>, name: &OsStr, reply: ReplyEmpty) {
    let (vfs, who, ino, name) = (call.vfs(), call.who(), call.ino, name.as_bytes().to_vec());
    let work = async move { vfs.removexattr(&who, ino, &name).await };
    call.serve(reply, work, |reply, ()| reply.ok());
}

/// A caller with no room asks for the size; one with too little gets ERANGE (getxattr(2)).
fn sized(reply: ReplyXattr, size: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(len) if size == 0 => reply.size(len),
        Ok(len) if len <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}
