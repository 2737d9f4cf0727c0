//! Memory fit for input and output past the page cache (open(2), `O_DIRECT`).

use std::ops::{Deref, DerefMut};

/// Place, length and memory of such input and output are multiples of this: what any disk asks for.
pub(crate) const BLOCK: usize = 4096;

/// Whole blocks of memory, of any content, that begin at a multiple of [`BLOCK`].
#[derive(Default)]
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// At least `len` bytes.
    pub(crate) fn new(len: usize) -> Aligned {
        let len = len.next_multiple_of(BLOCK);
        let bytes = vec![0; len + BLOCK];
        let start = bytes.as_ptr().addr().next_multiple_of(BLOCK) - bytes.as_ptr().addr();
        Aligned { bytes, start, len }
    }

    /// At least `len` bytes, which begin with `head`.
    pub(crate) fn beginning_with(head: &[u8], len: usize) -> Aligned {
        let mut memory = Aligned::new(len);
        memory[..head.len()].copy_from_slice(head);
        memory
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}
