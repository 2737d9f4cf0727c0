//! Content that is told apart at every page: each carries its file and its place.

use super::Failure;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Bytes of a block.
pub const BLOCK: usize = 1 << 20;
const PAGE: usize = 4096;

/// Makes blocks, and looks whether one is what it was made as.
pub struct Pattern {
    file: u64,
    block: Vec<u8>,
}

impl Pattern {
    /// That of file number `file`.
    pub fn new(file: u64) -> Pattern {
        let mut block = vec![0; BLOCK];
        StdRng::seed_from_u64(file).fill(&mut block[..]);
        Pattern { file, block }
    }

    /// Block `number` of the file.
    pub fn block(&mut self, number: u64) -> &[u8] {
        for (at, page) in self.block.chunks_mut(PAGE).enumerate() {
            let place = number * (BLOCK / PAGE) as u64 + at as u64;
            page[..8].copy_from_slice(&self.file.to_le_bytes());
            page[8..16].copy_from_slice(&place.to_le_bytes());
        }
        &self.block
    }

    /// Fails unless `found` is block `number`, or the beginning of it.
    pub fn check(&mut self, number: u64, found: &[u8]) -> Result<(), Failure> {
        let file = self.file;
        let want = &self.block(number)[..found.len()];
        if want == found {
            return Ok(());
        }
        let at = want.iter().zip(found).position(|(want, found)| want != found).unwrap_or_default();
        Err(format!("byte {at} of block {number} of file {file} is wrong").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_tells_files_and_places_apart() {
        let one = Pattern::new(1).block(5).to_vec();
        assert!(Pattern::new(1).check(5, &one).is_ok());
        assert!(Pattern::new(1).check(6, &one).is_err());
        assert!(Pattern::new(2).check(5, &one).is_err());
    }
}
