//! Arithmetic on CRC-32C sums: the sum of two stretches from the sums of both, without their bytes.

/// The polynomial of CRC-32C (Castagnoli), bits reversed (RFC 3720 appendix B.4).
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// Lengths of stretches have so many bits.
const BITS: usize = u64::BITS as usize;

/// What so many zero bytes do to a register, as images of its bits: entry k is for `1 << k` bytes.
static ZEROS: [[u32; 32]; BITS] = zeros();

/// The sum of a stretch with the sum `left`, followed by one of `right_len` bytes with the sum
/// `right`.
pub fn joined(left: u32, right: u32, right_len: u64) -> u32 {
    let mut sum = left;
    let mut rest = right_len;
    while rest > 0 {
        sum = image(&ZEROS[rest.trailing_zeros() as usize], sum);
        rest &= rest - 1;
    }
    sum ^ right
}

const fn zeros() -> [[u32; 32]; BITS] {
    let mut all = [[0; 32]; BITS];
    let mut bit = 0;
    while bit < 32 {
        let mut register = 1 << bit;
        let mut step = 0;
        while step < 8 {
            register = (register >> 1) ^ if register & 1 == 1 { POLYNOMIAL } else { 0 };
            step += 1;
        }
        all[0][bit] = register;
        bit += 1;
    }
    let mut power = 1;
    while power < BITS {
        let mut bit = 0;
        while bit < 32 {
            all[power][bit] = image(&all[power - 1], all[power - 1][bit]);
            bit += 1;
        }
        power += 1;
    }
    all
}

const fn image(map: &[u32; 32], mut register: u32) -> u32 {
    let mut sum = 0;
    while register != 0 {
        sum ^= map[register.trailing_zeros() as usize];
        register &= register - 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn crc(bytes: &[u8]) -> u32 {
        let step = |register: u32, byte: &u8| {
            (0..8).fold(register ^ u32::from(*byte), |r, _| {
                (r >> 1) ^ if r & 1 == 1 { POLYNOMIAL } else { 0 }
            })
        };
        !bytes.iter().fold(!0, step)
    }

    #[test]
    fn sum_is_that_of_the_standard() {
        assert_eq!(crc(b"123456789"), 0xE306_9283);
    }

    proptest! {
        #[test]
        fn joined_is_the_sum_of_both(bytes in prop::collection::vec(any::<u8>(), 0..3000), cut in any::<prop::sample::Index>()) {
            let (left, right) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(joined(crc(left), crc(right), right.len() as u64), crc(&bytes));
        }
    }
}
