//! Names of objects as names of files and folders.

use dfs_core::Ino;
use dfs_core::extent::ObjectName;
use std::ops::Range;

/// Number of leaf folders: 64 times 64.
pub(super) const LEAVES: u16 = 1 << (2 * BITS);
/// Bits of the hash that one level takes.
const BITS: u32 = 6;

/// The file name of an object: `INO.BORN.N` in decimal.
pub(super) fn text(name: ObjectName) -> String {
    format!("{}.{}.{}", name.ino, name.born, name.n)
}

/// The object of a file name. Only what [`text`] gives is a name: no signs, no leading zeros.
pub(super) fn parse(file_name: &str) -> Option<ObjectName> {
    let mut parts = file_name.splitn(3, '.');
    let name = ObjectName {
        ino: Ino(parts.next()?.parse().ok()?),
        born: parts.next()?.parse().ok()?,
        n: parts.next()?.parse().ok()?,
    };
    (text(name) == file_name).then_some(name)
}

/// The leaf folder of an inode's objects, below [`LEAVES`].
pub(super) fn leaf(ino: Ino) -> u16 {
    (crc32c::crc32c(&ino.0.to_le_bytes()) >> (u32::BITS - 2 * BITS)) as u16
}

/// The leaf folders in the same upper folder as this one.
pub(super) fn beside(leaf: u16) -> Range<usize> {
    let first = usize::from(leaf >> BITS) << BITS;
    first..first + (1 << BITS)
}

/// The path of a leaf folder below the store's folder.
pub(super) fn leaf_folder(leaf: u16) -> String {
    format!("{:02x}/{:02x}", leaf >> BITS, leaf & ((1 << BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_names_round_trip() {
        for (ino, born, n) in [(0, 0, 0), (1, 20, 300), (u64::MAX, u64::MAX, u32::MAX)] {
            let name = ObjectName { ino: Ino(ino), born, n };
            assert_eq!(parse(&text(name)), Some(name));
        }
        for bad in ["", "1.2", "1.2.3.4", "01.2.3", "+1.2.3", "1.2.-3", "1.2.4294967296", "a.b.c"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    /// The places of stored objects: a change of this test is a change of the format.
    #[test]
    fn object_folders_stay_where_they_are() {
        assert_eq!(leaf_folder(0), "00/00");
        assert_eq!(leaf_folder(LEAVES - 1), "3f/3f");
        assert_eq!((beside(0), beside(LEAVES - 1)), (0..64, 4032..4096));
        assert_eq!(leaf_folder(leaf(Ino(1))), "31/11");
        assert_eq!(leaf_folder(leaf(Ino(1234567))), "0f/39");
    }
}
