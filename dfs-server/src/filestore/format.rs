//! The bytes of a sealed object, format 1. All numbers are little-endian.
//!
//! ```text
//! offset      bytes  what
//! 0           len    content
//! len         4 * b  checksum table: CRC-32C of each block; b = len / 65536, rounded up
//! len + 4*b   64     footer:
//!               8    "DFSOBJ1\n"
//!               4    format: 1
//!               4    block size in bytes: 65536; the last block is what is left
//!               8    name: ino
//!               8    name: born
//!               4    name: n
//!               4    CRC-32C of the checksum table: the checksum of the object as a whole
//!               8    len
//!              12    0
//!               4    CRC-32C of the 60 bytes before
//! ```
//!
//! The content starts at 0, so that its pages are those of the file; table and footer stand at the
//! end, where the writer knows them, and one read fetches both: `len` follows from the file's size.

use dfs_core::Ino;
use dfs_core::extent::ObjectName;
use dfs_core::limits::CHECKSUM_BLOCK;

/// Bytes of the footer.
pub(super) const FOOTER: usize = 64;
const MAGIC: &[u8; 8] = b"DFSOBJ1\n";
const FORMAT: u32 = 1;
/// Bytes of a checksum.
const SUM: u64 = 4;

/// What the footer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    /// Name of the object.
    pub(super) name: ObjectName,
    /// Bytes of content.
    pub(super) len: u64,
    /// CRC-32C of the checksum table.
    pub(super) table_crc: u32,
}

/// Why bytes are no footer of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadFooter {
    /// Some byte is not what was written.
    Damaged,
    /// Written in another format, by a newer program.
    Format(u32),
}

/// Number of blocks of `len` bytes.
pub(super) fn blocks(len: u64) -> u64 {
    len.div_ceil(CHECKSUM_BLOCK)
}

/// Length of content in a file of `file_len` bytes, `None` if no object has such a file.
pub(super) fn content_len(file_len: u64) -> Option<u64> {
    let rest = file_len.checked_sub(FOOTER as u64)?;
    let len = rest.checked_sub(SUM * rest.div_ceil(CHECKSUM_BLOCK + SUM))?;
    (len > 0 && len + SUM * blocks(len) == rest).then_some(len)
}

/// The checksum table as bytes.
pub(super) fn encode_table(table: &[u32]) -> Vec<u8> {
    table.iter().flat_map(|sum| sum.to_le_bytes()).collect()
}

/// The checksum table from bytes.
pub(super) fn decode_table(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|sum| u32::from_le_bytes(*sum)).collect()
}

impl Footer {
    /// As bytes.
    pub(super) fn encode(&self) -> [u8; FOOTER] {
        let mut bytes = [0; FOOTER];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&(CHECKSUM_BLOCK as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.name.ino.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.name.born.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.name.n.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.table_crc.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.len.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// From bytes.
    pub(super) fn decode(bytes: &[u8; FOOTER]) -> Result<Footer, BadFooter> {
        let u32_at = |at| u32::from_le_bytes(array(bytes, at));
        let u64_at = |at| u64::from_le_bytes(array(bytes, at));
        if bytes[0..8] != *MAGIC || crc32c::crc32c(&bytes[..60]) != u32_at(60) {
            return Err(BadFooter::Damaged);
        }
        if u32_at(8) != FORMAT {
            return Err(BadFooter::Format(u32_at(8)));
        }
        if u64::from(u32_at(12)) != CHECKSUM_BLOCK {
            return Err(BadFooter::Damaged);
        }
        let name = ObjectName { ino: Ino(u64_at(16)), born: u64_at(24), n: u32_at(32) };
        Ok(Footer { name, len: u64_at(40), table_crc: u32_at(36) })
    }
}

fn array<const N: usize>(bytes: &[u8; FOOTER], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("N bytes were asked for")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        let name = ObjectName { ino: Ino(0x0102_0304), born: u64::MAX, n: 7 };
        Footer { name, len: 70_000, table_crc: 0xdead_beef }
    }

    #[test]
    fn footer_round_trips_and_every_bit_counts() {
        let bytes = footer().encode();
        assert_eq!(Footer::decode(&bytes), Ok(footer()));
        for bit in 0..FOOTER * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Footer::decode(&bad), Err(BadFooter::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn footer_of_a_newer_format_is_told_apart() {
        let mut bytes = footer().encode();
        bytes[8] = 2;
        let sum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Footer::decode(&bytes), Err(BadFooter::Format(2)));
    }

    #[test]
    fn content_length_follows_from_the_file() {
        let block = CHECKSUM_BLOCK;
        for len in [1, 2, block - 1, block, block + 1, 63 * block + 5, 64 * block, 64 * block + 1] {
            assert_eq!(content_len(len + 4 * blocks(len) + 64), Some(len));
        }
        for file_len in [0, 63, 64, 65, 68, block + 4 + 64 + 1, block + 4 + 64 + 4] {
            assert_eq!(content_len(file_len), None, "{file_len}");
        }
    }
}
