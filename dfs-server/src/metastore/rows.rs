//! The rows of the metadata store and the cookies of directory entries.

use dfs_core::attr::{Attr, Kind};
use dfs_core::extent::{Extent, Source};
use dfs_core::name::Name;
use dfs_core::{Code, Fence, FsError, Ino, Result, SessionId};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// An inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its attributes.
    pub attr: Attr,
    /// Stripe unit of its content in bytes.
    pub unit: u64,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dentry {
    /// The directory.
    pub dir: Ino,
    /// Position in the listing, unique in the directory, fixed for the life of the name.
    pub cookie: u64,
    /// The name.
    pub name: Name,
    /// What it names.
    pub ino: Ino,
    /// What kind of inode that is.
    pub kind: Kind,
}

/// The extents of one stripe of a file: in order, not overlapping, offsets from the start of the
/// file.
pub type Stripe = Vec<Extent>;

/// Whether `stripe` is what [`Stripe`] says, without holes and with all inline bytes there. Fails
/// with `Invalid`.
pub(super) fn check_stripe(ino: Ino, index: u64, stripe: &Stripe) -> Result<()> {
    let in_order = stripe.windows(2).all(|w| w[0].range.end <= w[1].range.start);
    let whole = stripe.iter().all(|extent| {
        let source_fits = match &extent.source {
            Source::Object(..) => true,
            Source::Inline(bytes) => bytes.len() as u64 == extent.range.len(),
            Source::Hole => false,
        };
        source_fits && !extent.range.is_empty()
    });
    if in_order && whole {
        return Ok(());
    }
    let text = format!("stripe {index} of inode {ino} is not a list of extents in order");
    Err(FsError::new(Code::Invalid, text))
}

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Session number.
    pub sid: SessionId,
    /// Its fencing number.
    pub epoch: u64,
    /// Identity of the mount.
    pub uuid: [u8; 16],
    /// Identity of the daemon start.
    pub verifier: [u8; 16],
    /// What the client said of itself.
    pub description: String,
    /// Grants with a fence up to this were lost in a reclaim window it missed.
    pub floor: u64,
    /// It missed the last reclaim window and has not come back since.
    pub absent: bool,
}

/// Something taken from a session by force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LostRow {
    /// The session.
    pub sid: SessionId,
    /// The inode.
    pub ino: Ino,
    /// Fence of the lost grant; `None`: the record locks of the inode.
    pub fence: Option<Fence>,
}

/// Random bits that are always the same for one store, and tell nothing of its `key`.
pub fn store_mark(key: &[u8; 16]) -> u64 {
    SipHasher13::new_with_key(key).finish()
}

/// Names that share a hash sit in this many neighbouring cookies.
pub const COOKIES_PER_HASH: u64 = 256;

/// The first cookie a name may have: a keyed 54-bit hash of it, as a multiple of
/// [`COOKIES_PER_HASH`], never 0 and below 2^63. The key keeps clients from making names collide.
pub fn cookie_base(key: &[u8; 16], name: &Name) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(name.as_bytes());
    let hash = hasher.finish() >> 1;
    (hash / COOKIES_PER_HASH).max(1) * COOKIES_PER_HASH
}
