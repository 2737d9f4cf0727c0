//! POSIX access control lists (acl(5), withdrawn POSIX.1e draft 17) in the form and with the rules
//! Linux gives them (`fs/posix_acl.c`).

use super::Credentials;
use crate::{Code, FsError, Result};

/// Version of the binary form (`POSIX_ACL_XATTR_VERSION`).
const VERSION: u32 = 2;
/// Bytes of the version.
const HEAD: usize = 4;
/// Bytes of one entry: tag and permissions in 16 bits each, number in 32, little-endian.
const ENTRY: usize = 8;
/// Most entries: what one page of the kernel holds, which is all it passes on.
const ENTRIES_MAX: usize = (4096 - HEAD) / ENTRY;
/// Stands where an entry has no user or group (`ACL_UNDEFINED_ID`).
const NO_ID: u32 = u32::MAX;

/// Whom an entry is about, in the order entries have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// The owner.
    UserObj,
    /// A user.
    User(u32),
    /// The owning group.
    GroupObj,
    /// A group.
    Group(u32),
    /// The most that users, groups and the owning group get.
    Mask,
    /// Everybody else.
    Other,
}

impl Tag {
    /// Place of the kind of tag in the list.
    fn rank(self) -> u8 {
        match self {
            Tag::UserObj => 0,
            Tag::User(_) => 1,
            Tag::GroupObj => 2,
            Tag::Group(_) => 3,
            Tag::Mask => 4,
            Tag::Other => 5,
        }
    }

    /// Number of the tag and of the user or group in the binary form.
    fn numbers(self) -> (u16, u32) {
        match self {
            Tag::UserObj => (0x01, NO_ID),
            Tag::User(uid) => (0x02, uid),
            Tag::GroupObj => (0x04, NO_ID),
            Tag::Group(gid) => (0x08, gid),
            Tag::Mask => (0x10, NO_ID),
            Tag::Other => (0x20, NO_ID),
        }
    }

    /// The tag with these numbers.
    fn of_numbers(tag: u16, id: u32) -> Option<Tag> {
        match tag {
            0x01 => Some(Tag::UserObj),
            0x02 if id != NO_ID => Some(Tag::User(id)),
            0x04 => Some(Tag::GroupObj),
            0x08 if id != NO_ID => Some(Tag::Group(id)),
            0x10 => Some(Tag::Mask),
            0x20 => Some(Tag::Other),
            _ => None,
        }
    }
}

/// One line of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whom it is about.
    pub tag: Tag,
    /// `READ | WRITE | EXEC`.
    pub perm: u32,
}

/// A valid list: the three entries of the mode once each, a mask if anybody else is named, all in
/// the order of [`Tag`]'s kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(Vec<Entry>);

impl Acl {
    /// A list of these entries. Fails with `Invalid` unless they are as the type says.
    pub fn new(entries: Vec<Entry>) -> Result<Acl> {
        let count = |rank: u8| entries.iter().filter(|entry| entry.tag.rank() == rank).count();
        let names = count(Tag::User(0).rank()) + count(Tag::Group(0).rank());
        let masks = count(Tag::Mask.rank());
        let valid = entries.is_sorted_by_key(|entry| entry.tag.rank())
            && entries.iter().all(|entry| entry.perm & !0o7 == 0)
            && [Tag::UserObj, Tag::GroupObj, Tag::Other].iter().all(|tag| count(tag.rank()) == 1)
            && masks <= 1
            && (names == 0 || masks == 1);
        match valid {
            true => Ok(Acl(entries)),
            false => {
                Err(FsError::new(Code::Invalid, format!("no access control list: {entries:?}")))
            }
        }
    }

    /// Reads the binary form. Fails with `Invalid`, `NotSupported` (another version),
    /// `ArgumentsTooLong` (more entries than a kernel passes on).
    pub fn decode(bytes: &[u8]) -> Result<Acl> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
            return Err(FsError::new(Code::Invalid, "an access control list of too few bytes"));
        };
        if u32::from_le_bytes(*head) != VERSION {
            return Err(FsError::new(Code::NotSupported, "unknown form of access control list"));
        }
        let (entries, odd) = rest.as_chunks::<ENTRY>();
        if entries.len() > ENTRIES_MAX {
            let text = format!("{} entries in an access control list", entries.len());
            return Err(FsError::new(Code::ArgumentsTooLong, text));
        }
        let entries: Option<Vec<Entry>> = entries.iter().map(decode_entry).collect();
        match entries.filter(|_| odd.is_empty()) {
            Some(entries) => Acl::new(entries),
            None => Err(FsError::new(Code::Invalid, "a broken access control list")),
        }
    }

    /// The binary form.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            let (tag, id) = entry.tag.numbers();
            bytes.extend(tag.to_le_bytes());
            bytes.extend((entry.perm as u16).to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    /// Its lines.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Whether it says no more than a mode does.
    pub fn is_mode(&self) -> bool {
        self.0.len() == 3
    }

    /// Its owner, group class and others as bits of a mode (0777).
    pub fn mode(&self) -> u32 {
        let part = |entry: &Entry| self.shift(entry.tag).map(|shift| entry.perm << shift);
        self.0.iter().filter_map(part).sum()
    }

    /// Makes it say what `mode` says of owner, group class and others (chmod(2)).
    pub fn set_mode(&mut self, mode: u32) {
        for at in 0..self.0.len() {
            if let Some(shift) = self.shift(self.0[at].tag) {
                self.0[at].perm = mode >> shift & 0o7;
            }
        }
    }

    /// The access list that something made with `mode` inherits from this default list.
    pub fn inherited(&self, mode: u32) -> Acl {
        let mut acl = self.clone();
        acl.set_mode(self.mode() & mode);
        acl
    }

    /// Place in a mode of what an entry says, if a mode says it: the mask stands in for the owning
    /// group where there is one.
    fn shift(&self, tag: Tag) -> Option<u32> {
        match tag {
            Tag::UserObj => Some(6),
            Tag::Mask => Some(3),
            Tag::GroupObj if self.mask().is_none() => Some(3),
            Tag::Other => Some(0),
            Tag::GroupObj | Tag::User(_) | Tag::Group(_) => None,
        }
    }

    fn mask(&self) -> Option<u32> {
        self.0.iter().find(|entry| entry.tag == Tag::Mask).map(|entry| entry.perm)
    }

    /// Whether somebody who is neither owner nor superuser has all of `want`: the entry of the user
    /// decides alone; else any one of its groups that allows all; else, if it is in none, others.
    pub(super) fn permits(&self, who: &Credentials, group: u32, want: u32) -> bool {
        let mask = self.mask().unwrap_or(0o7);
        let allows = |entry: &Entry| entry.perm & mask & want == want;
        if let Some(entry) = self.0.iter().find(|entry| entry.tag == Tag::User(who.uid)) {
            return allows(entry);
        }
        let is_mine = |entry: &&Entry| match entry.tag {
            Tag::GroupObj => who.in_group(group),
            Tag::Group(gid) => who.in_group(gid),
            Tag::UserObj | Tag::User(_) | Tag::Mask | Tag::Other => false,
        };
        let mut mine = self.0.iter().filter(is_mine).peekable();
        match mine.peek() {
            Some(_) => mine.any(allows),
            None => self.mode() & want == want,
        }
    }
}

fn decode_entry(bytes: &[u8; ENTRY]) -> Option<Entry> {
    let [tag_low, tag_high, perm_low, perm_high, id @ ..] = *bytes;
    let tag = Tag::of_numbers(u16::from_le_bytes([tag_low, tag_high]), u32::from_le_bytes(id))?;
    Some(Entry { tag, perm: u16::from_le_bytes([perm_low, perm_high]).into() })
}

#[cfg(test)]
mod tests;
