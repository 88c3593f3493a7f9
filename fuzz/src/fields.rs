//! Header sections of QPACK, written in every way that there is without a dynamic table.

use crate::choices::Choices;

/// A header field.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Field {
    pub(crate) fn new(name: &str, value: &str) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
        }
    }
}

/// Some entries of the static table (RFC 9204 § Static Table).
const STATIC: [(&str, &str, u64); 6] = [
    (":authority", "", 0),
    (":path", "/", 1),
    (":method", "CONNECT", 15),
    (":scheme", "https", 23),
    (":status", "200", 25),
    ("origin", "", 90),
];

/// A section of these fields; for each the choices decide how it is written.
pub(crate) fn section(fields: &[Field], choices: &mut Choices<'_>) -> Vec<u8> {
    let mut to = vec![0, 0];
    for field in fields {
        let how = choices.byte();
        let entry = STATIC
            .iter()
            .find(|(name, ..)| name.as_bytes() == field.name);
        let is_huffman = how & 1 != 0;
        match entry {
            Some((_, value, index)) if how & 2 == 0 && value.as_bytes() == field.value => {
                integer(&mut to, 0xC0, 6, *index);
                continue;
            }
            Some((_, _, index)) if how & 4 == 0 => {
                integer(&mut to, 0x50 | (how & 8) << 2, 4, *index);
            }
            _ => {
                let is_huffman = how & 16 != 0;
                let first = 0x20 | (how & 8) << 1;
                string(&mut to, first, 3, &field.name, is_huffman);
            }
        }
        string(&mut to, 0, 7, &field.value, is_huffman);
    }
    to
}

/// An integer with a prefix of so many bits, below others (RFC 7541 § Integer Representation).
fn integer(to: &mut Vec<u8>, first: u8, prefix: u32, value: u64) {
    let full = (1_u64 << prefix) - 1;
    let low = |value: u64| u8::try_from(value & 0xff).unwrap_or(0);
    if value < full {
        to.push(first | low(value));
        return;
    }
    to.push(first | low(full));
    let mut rest = value - full;
    while rest >= 128 {
        to.push(0x80 | low(rest & 0x7f));
        rest >>= 7;
    }
    to.push(low(rest));
}

fn string(to: &mut Vec<u8>, first: u8, prefix: u32, text: &[u8], is_huffman: bool) {
    let encoded = if is_huffman {
        huffman(text)
    } else {
        text.to_vec()
    };
    let flag = if is_huffman { 1 << prefix } else { 0 };
    let length = u64::try_from(encoded.len()).unwrap_or(0);
    integer(to, first | flag, prefix, length);
    to.extend_from_slice(&encoded);
}

/// Bits of the code of each byte (RFC 7541 § Huffman Code). The code is canonical, so
/// these say everything.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
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
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// The code of each byte.
fn codes() -> Vec<(u32, u8)> {
    let mut codes = vec![(0, 0); LENGTHS.len()];
    let mut next = 0_u32;
    for bits in 1..=30 {
        next <<= 1;
        for (length, code) in LENGTHS.iter().zip(&mut codes) {
            if *length == bits {
                *code = (next, bits);
                next += 1;
            }
        }
    }
    codes
}

fn huffman(text: &[u8]) -> Vec<u8> {
    let codes = codes();
    let mut to = Vec::new();
    let (mut held, mut bits) = (0_u64, 0_u8);
    for byte in text {
        let code = codes.get(usize::from(*byte)).copied();
        let (code, length) = code.unwrap_or_default();
        held = held << length | u64::from(code);
        bits += length;
        while bits >= 8 {
            bits -= 8;
            to.push(u8::try_from(held >> bits & 0xff).unwrap_or(0));
        }
    }
    if bits > 0 {
        // The rest is the beginning of a code of ones.
        let padding = 8 - bits;
        let last = held << padding | ((1 << padding) - 1);
        to.push(u8::try_from(last & 0xff).unwrap_or(0));
    }
    to
}
