//! How far two strings of bytes are the same.

/// Bytes compared at a time.
const CHUNK: usize = 256;

/// How many bytes `a` and `b` begin with alike.
pub(super) fn prefix(a: &[u8], b: &[u8]) -> u64 {
    let chunks = a.chunks_exact(CHUNK).zip(b.chunks_exact(CHUNK));
    let whole = chunks.take_while(|(a, b)| a == b).count() * CHUNK;
    let rest = a[whole..].iter().zip(&b[whole..]);
    (whole + rest.take_while(|(a, b)| a == b).count()) as u64
}

/// How many they end with alike.
pub(super) fn suffix(a: &[u8], b: &[u8]) -> u64 {
    let chunks = a.rchunks_exact(CHUNK).zip(b.rchunks_exact(CHUNK));
    let whole = chunks.take_while(|(a, b)| a == b).count() * CHUNK;
    let rest = a[..a.len() - whole].iter().rev().zip(b[..b.len() - whole].iter().rev());
    (whole + rest.take_while(|(a, b)| a == b).count()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_at_both_ends_is_all_but_what_differs() {
        let bytes: Vec<u8> = (0..1000u32).map(|n| (n / 7) as u8).collect();
        assert_eq!((prefix(&bytes, &bytes), suffix(&bytes, &bytes)), (1000, 1000));
        for at in [0, 1, 255, 256, 257, 511, 512, 743, 744, 745, 998, 999] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            let want = (at as u64, (999 - at) as u64);
            assert_eq!((prefix(&bytes, &other), suffix(&bytes, &other)), want);
            // Of the shorter one there is no more than all.
            assert_eq!(prefix(&bytes, &bytes[..at]), at as u64);
            assert_eq!(suffix(&bytes, &bytes[at..]), (1000 - at) as u64);
        }
    }
}
