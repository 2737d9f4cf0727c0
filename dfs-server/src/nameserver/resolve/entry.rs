//! Where a name sits among the cookies of its directory.

use crate::metastore::{COOKIES_PER_HASH, Dentry, Read, cookie_base};
use dfs_core::name::Name;
use dfs_core::{Code, FsError, Ino, Result};

/// The names that share the hash of `name`.
fn neighbours(key: &[u8; 16], view: &dyn Read, dir: Ino, name: &Name) -> Result<Vec<Dentry>> {
    let base = cookie_base(key, name);
    view.dentries(dir, base, base + (COOKIES_PER_HASH - 1), COOKIES_PER_HASH as usize)
}

/// The entry of a name, without any permission check; `None`: absent.
pub fn entry(key: &[u8; 16], view: &dyn Read, dir: Ino, name: &Name) -> Result<Option<Dentry>> {
    Ok(neighbours(key, view, dir, name)?.into_iter().find(|dentry| dentry.name == *name))
}

/// The lowest cookie free for a new name. `NoSpace` if 256 names share its hash, which takes about
/// 2^54 names or the key.
pub fn free_cookie(key: &[u8; 16], view: &dyn Read, dir: Ino, name: &Name) -> Result<u64> {
    let base = cookie_base(key, name);
    let taken = neighbours(key, view, dir, name)?;
    // Cookies come in order, so the first one off its place shows the gap.
    let gap = (base..).zip(&taken).take_while(|(cookie, dentry)| *cookie == dentry.cookie).count();
    if gap as u64 == COOKIES_PER_HASH {
        let text = format!("too many names with the hash of {name} in directory {dir}");
        return Err(FsError::new(Code::NoSpace, text));
    }
    Ok(base + gap as u64)
}
