//! The Huffman code of header strings (RFC 7541 § Huffman Code), decoding only: this side never encodes with it.

/// Number of symbols: 256 bytes and the end-of-string symbol.
const SYMBOLS: usize = 257;
/// The longest code, in bits.
const LONGEST: usize = 30;

/// How many bits the code of each symbol has. The code is canonical (ordered by length, then by symbol), so the
/// lengths say everything.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11,
    10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8,
    15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5,
    6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
    23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21,
    23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25,
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26,
    28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// What decoding needs of the codes of one length.
#[derive(Clone, Copy)]
struct Length {
    /// The first code of this length.
    first: u32,
    /// How many codes have this length.
    count: u32,
    /// Where their symbols start in [`Table::symbols`].
    start: usize,
}

/// The code, arranged for decoding bit by bit.
struct Table {
    lengths: [Length; LONGEST + 1],
    symbols: [u16; SYMBOLS],
}

const TABLE: Table = Table::build();

impl Table {
    #[expect(
        clippy::indexing_slicing,
        reason = "evaluated by the compiler, which reports an index out of bounds"
    )]
    const fn build() -> Self {
        let nothing = Length {
            first: 0,
            count: 0,
            start: 0,
        };
        let mut table = Self {
            lengths: [nothing; LONGEST + 1],
            symbols: [0; SYMBOLS],
        };
        let (mut code, mut filled, mut bits): (u32, usize, u8) = (0, 0, 1);
        let mut row = 1;
        while row <= LONGEST {
            code <<= 1;
            let (first, start, mut count) = (code, filled, 0);
            let mut symbol: u16 = 0;
            let mut index = 0;
            while index < SYMBOLS {
                if LENGTHS[index] == bits {
                    table.symbols[filled] = symbol;
                    filled += 1;
                    count += 1;
                }
                index += 1;
                symbol += 1;
            }
            code += count;
            table.lengths[row] = Length {
                first,
                count,
                start,
            };
            row += 1;
            bits += 1;
        }
        table
    }
}

/// Decodes a string into `out`; `None` if it is not properly encoded.
///
/// The shortest code has 5 bits, so at most 8/5 times as many bytes come out as went in.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (mut code, mut bits) = (0_u32, 0_usize);
    for byte in bytes {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            bits += 1;
            let length = TABLE.lengths.get(bits)?;
            let Some(nth) = code.checked_sub(length.first).filter(|&n| n < length.count) else {
                continue;
            };
            let nth = usize::try_from(nth).ok()?;
            // The end-of-string symbol is no byte, so it ends in the error that it must be.
            let symbol = *TABLE.symbols.get(length.start + nth)?;
            out.push(u8::try_from(symbol).ok()?);
            (code, bits) = (0, 0);
        }
    }
    // Padding is the beginning of the end-of-string code, all ones, and shorter than a byte.
    (bits < 8 && code == (1 << bits) - 1).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(bytes, &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_rfc_7541_decode() {
        let examples: [(&[u8], &str); 8] = [
            (
                &[
                    0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
                ],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (
                &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f],
                "custom-key",
            ),
            (
                &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf],
                "custom-value",
            ),
            (&[0x64, 0x02], "302"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
            (
                &[
                    0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04,
                    0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
                ],
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (&[0x64, 0x0e, 0xff], "307"),
        ];
        for (bytes, text) in examples {
            assert_eq!(decoded(bytes), Some(text.as_bytes().to_vec()), "{text}");
        }
    }

    #[test]
    fn the_code_is_complete_and_ends_with_the_end_of_string() {
        // A complete prefix code: the shares of all codes add up to one.
        let sum: u64 = LENGTHS.iter().map(|&bits| 1_u64 << (30 - bits)).sum();
        assert_eq!(sum, 1 << 30);
        let last = TABLE.lengths[LONGEST];
        assert_eq!(last.first + last.count - 1, 0x3fff_ffff);
        assert_eq!(TABLE.symbols[SYMBOLS - 1], 256);
        // Codes looked up in the appendix.
        assert_eq!(
            (TABLE.lengths[5].first, TABLE.symbols[0]),
            (0, u16::from(b'0'))
        );
        assert_eq!(TABLE.lengths[13].first, 0x1ff8);
    }

    #[test]
    fn wrong_padding_and_the_end_of_string_are_errors() {
        // "0" is 00000; padding must be ones.
        assert_eq!(decoded(&[0b0000_0111]), Some(b"0".to_vec()));
        assert_eq!(decoded(&[0b0000_0110]), None);
        // A whole byte of padding, and the end-of-string symbol itself.
        assert_eq!(decoded(&[0b0000_0111, 0xff]), None);
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decoded(&[]), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_not_without_growing_too_much(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(out) = decoded(&bytes) {
                prop_assert!(out.len() * 5 <= bytes.len() * 8);
            }
        }
    }
}
