//! Header compression (RFC 9204) without a dynamic table: the capacity that this side announces is 0, so a reference to
//! one is an error, and what it sends needs none.

use bytes::Bytes;

use super::error::{
    QPACK_DECODER_STREAM_ERROR, QPACK_DECOMPRESSION_FAILED, QPACK_ENCODER_STREAM_ERROR, Violation,
};
use super::huffman;
use super::static_table::STATIC_TABLE;
use super::varint;

/// Largest field section taken, in bytes: as encoded, and as RFC 9114 § Header Size Constraints counts it.
/// Announced to the peer; what Chromium announces too.
pub(super) const MAX_FIELD_SECTION: usize = 16_384;

/// What RFC 9114 adds for each field when it counts the size of a section.
const FIELD_OVERHEAD: usize = 32;

/// One header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Its name, in lower case unless the peer is wrong.
    pub(super) name: Bytes,
    /// Its value, any bytes.
    pub(super) value: Bytes,
}

/// Why a field section is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// It is well-formed so far, but larger than [`MAX_FIELD_SECTION`].
    TooLarge,
    /// It breaks the format or refers to a dynamic table.
    Broken(Violation),
}

const fn broken(rule: &'static str) -> DecodeError {
    DecodeError::Broken(Violation::new(QPACK_DECOMPRESSION_FAILED, rule))
}

const CUT_OFF: DecodeError = broken("header section is cut off");
const DYNAMIC: DecodeError =
    broken("header section refers to a dynamic table that was not allowed");

/// Decodes a whole field section.
pub(super) fn decode(mut bytes: &[u8]) -> Result<Vec<Field>, DecodeError> {
    let input = &mut bytes;
    let (_, required) = integer(input, 8)?;
    // Without a table nothing can refer to the base.
    let (sign, _base) = integer(input, 7)?;
    if required != 0 {
        return Err(DYNAMIC);
    }
    if sign & 0x80 != 0 {
        return Err(broken("header section has a negative base"));
    }
    let mut fields = Vec::new();
    let mut size = 0_usize;
    while let Some(&first) = input.first() {
        let field = decode_line(first, input)?;
        size += FIELD_OVERHEAD + field.name.len() + field.value.len();
        if size > MAX_FIELD_SECTION {
            return Err(DecodeError::TooLarge);
        }
        fields.push(field);
    }
    Ok(fields)
}

/// RFC 9204 § Field Line Representations.
fn decode_line(first: u8, input: &mut &[u8]) -> Result<Field, DecodeError> {
    if first & 0x80 != 0 {
        // Indexed field line: 1 T index.
        let (name, value) = static_entry(first & 0x40 != 0, input, 6)?;
        return Ok(Field {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        });
    }
    if first & 0x40 != 0 {
        // Literal field line with name reference: 0 1 N T index.
        let (name, _) = static_entry(first & 0x10 != 0, input, 4)?;
        return Ok(Field {
            name: Bytes::from_static(name.as_bytes()),
            value: string(input, 7)?,
        });
    }
    if first & 0x20 != 0 {
        // Literal field line with literal name: 0 0 1 N H length.
        return Ok(Field {
            name: string(input, 3)?,
            value: string(input, 7)?,
        });
    }
    // Post-base references exist for dynamic entries only.
    Err(DYNAMIC)
}

fn static_entry(
    is_static: bool,
    input: &mut &[u8],
    prefix: u8,
) -> Result<(&'static str, &'static str), DecodeError> {
    let (_, index) = integer(input, prefix)?;
    if !is_static {
        return Err(DYNAMIC);
    }
    usize::try_from(index)
        .ok()
        .and_then(|index| STATIC_TABLE.get(index))
        .copied()
        .ok_or(broken("header section refers past the static table"))
}

/// A string whose length has a prefix of that many bits, below the bit that says whether it is Huffman-encoded.
fn string(input: &mut &[u8], prefix: u8) -> Result<Bytes, DecodeError> {
    let (first, len) = integer(input, prefix)?;
    let len = usize::try_from(len).map_err(|_| CUT_OFF)?;
    let (text, rest) = input.split_at_checked(len).ok_or(CUT_OFF)?;
    *input = rest;
    if first & 1 << prefix == 0 {
        return Ok(Bytes::copy_from_slice(text));
    }
    let mut out = Vec::with_capacity(len * 8 / 5);
    huffman::decode(text, &mut out).ok_or(broken("header string is wrongly Huffman-encoded"))?;
    Ok(out.into())
}

/// An integer with a prefix of that many bits (RFC 7541 § Integer Representation), and the byte it starts in.
fn integer(input: &mut &[u8], prefix: u8) -> Result<(u8, u64), DecodeError> {
    let (&first, mut rest) = input.split_first().ok_or(CUT_OFF)?;
    let full = 0xff >> (8 - prefix);
    let mut value = u64::from(first & full);
    if first & full == full {
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first().ok_or(CUT_OFF)?;
            rest = after;
            // Nine more bytes hold what 62 bits need; a longer encoding cannot mean a valid length or index.
            if shift > 56 {
                return Err(broken("header section has an integer of more than 62 bits"));
            }
            value += u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if value > varint::MAX {
            return Err(broken("header section has an integer of more than 62 bits"));
        }
    }
    *input = rest;
    Ok((first, value))
}

/// Encodes fields with the static table and plain literals.
pub(super) fn encode<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    // Required Insert Count and Base: no dynamic table.
    let mut out = vec![0, 0];
    for (name, value) in fields {
        let same_name = |entry: &(&str, &str)| entry.0 == name;
        let same = |entry: &(&str, &str)| same_name(entry) && entry.1.as_bytes() == value;
        if let Some(index) = STATIC_TABLE.iter().position(same) {
            put_integer(&mut out, 0xc0, 6, index);
        } else if let Some(index) = STATIC_TABLE.iter().position(same_name) {
            put_integer(&mut out, 0x50, 4, index);
            put_integer(&mut out, 0, 7, value.len());
            out.extend_from_slice(value);
        } else {
            put_integer(&mut out, 0x20, 3, name.len());
            out.extend_from_slice(name.as_bytes());
            put_integer(&mut out, 0, 7, value.len());
            out.extend_from_slice(value);
        }
    }
    out
}

fn put_integer(out: &mut Vec<u8>, tag: u8, prefix: u8, value: usize) {
    let full = 0xff_u8 >> (8 - prefix);
    match u8::try_from(value) {
        Ok(value) if value < full => out.push(tag | value),
        _ => {
            out.push(tag | full);
            let mut rest = value - usize::from(full);
            while let Some(more) = Some(rest).filter(|&rest| rest >= 0x80) {
                out.push(u8::try_from(more & 0x7f).unwrap_or_default() | 0x80);
                rest >>= 7;
            }
            out.push(u8::try_from(rest).unwrap_or_default());
        }
    }
}

/// The peer's encoder stream. All it may say is that its table has no capacity.
pub(super) fn check_encoder_stream(bytes: &[u8]) -> Result<(), Violation> {
    const SET_CAPACITY_0: u8 = 0x20;
    if bytes.iter().any(|&byte| byte != SET_CAPACITY_0) {
        return Err(Violation::new(
            QPACK_ENCODER_STREAM_ERROR,
            "QPACK encoder uses a dynamic table that was not allowed",
        ));
    }
    Ok(())
}

/// The peer's decoder stream. All it may say is that it gave up streams, which needs no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DecoderStream {
    /// How many bytes of a cancelled stream's number arrived, while more follow.
    inside: u8,
}

impl DecoderStream {
    pub(super) fn check(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        for &byte in bytes {
            let error = |rule| Violation::new(QPACK_DECODER_STREAM_ERROR, rule);
            if self.inside == 0 {
                // Stream Cancellation: 0 1 stream id.
                if byte & 0xc0 != 0x40 {
                    return Err(error("QPACK decoder acknowledges what was never inserted"));
                }
                self.inside = u8::from(byte & 0x3f == 0x3f);
            } else if byte & 0x80 == 0 {
                self.inside = 0;
            } else if self.inside > 9 {
                return Err(error("QPACK decoder cancels a stream that cannot exist"));
            } else {
                self.inside += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(name: &'static str, value: &'static str) -> Field {
        Field {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        }
    }

    fn refused(bytes: &[u8]) -> u64 {
        match decode(bytes) {
            Err(DecodeError::Broken(violation)) => violation.code,
            other => panic!("{bytes:02x?} gave {other:?}"),
        }
    }

    #[test]
    fn the_example_of_rfc_9204_decodes() {
        let bytes = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(decode(bytes), Ok(vec![field(":path", "/index.html")]));
        assert_eq!(encode([(":path", &b"/index.html"[..])]), bytes);
    }

    #[test]
    fn every_representation_without_a_table_decodes() {
        let bytes = [
            &[0, 0][..],
            &[0xc0 | 15],       // :method CONNECT
            &[0xff, 35],        // index 98
            b"\x5f\x4b\x03abc", // name of index 90
            b"\x27\x02:protocol\x04moqt",
        ];
        assert_eq!(
            decode(&bytes.concat()),
            Ok(vec![
                field(":method", "CONNECT"),
                field("x-frame-options", "sameorigin"),
                field("origin", "abc"),
                field(":protocol", "moqt"),
            ])
        );
    }

    #[test]
    fn huffman_coded_names_and_values_decode() {
        let bytes = [
            &[0, 0, 0x28 | 7, 1][..],
            &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f],
            &[0x80 | 9],
            &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf],
        ]
        .concat();
        assert_eq!(
            decode(&bytes),
            Ok(vec![field("custom-key", "custom-value")])
        );
        let wrong = [&[0, 0, 0x50, 0x81][..], &[0]].concat();
        assert_eq!(refused(&wrong), QPACK_DECOMPRESSION_FAILED);
    }

    #[test]
    fn an_index_past_the_static_table_is_an_error() {
        assert_eq!(refused(&[0, 0, 0xff, 36]), QPACK_DECOMPRESSION_FAILED);
        assert_eq!(refused(&[0, 0, 0x5f, 84, 0]), QPACK_DECOMPRESSION_FAILED);
    }

    #[test]
    fn references_to_a_dynamic_table_are_errors() {
        let cases: [&[u8]; 6] = [
            &[1, 0],          // Required Insert Count 1
            &[0, 0x80],       // negative base
            &[0, 0, 0x80],    // indexed, dynamic
            &[0, 0, 0x10],    // indexed, post-base
            &[0, 0, 0x40, 0], // literal with dynamic name
            &[0, 0, 0x00, 0], // literal with post-base name
        ];
        for bytes in cases {
            assert_eq!(refused(bytes), QPACK_DECOMPRESSION_FAILED);
        }
    }

    #[test]
    fn a_section_cut_anywhere_is_an_error_or_shorter() {
        let whole = encode([
            (":method", &b"CONNECT"[..]),
            (":path", b"/moq"),
            ("wt-available-protocols", b"\"moqt-18\""),
        ]);
        let fields = decode(&whole).unwrap();
        for cut in 0..whole.len() {
            match decode(&whole[..cut]) {
                Ok(shorter) => assert_eq!(shorter, fields[..shorter.len()]),
                Err(error) => assert_eq!(error, CUT_OFF),
            }
        }
    }

    #[test]
    fn integers_beyond_62_bits_are_errors() {
        let long = [&[0, 0, 0xff][..], &[0xff; 8], &[0x7f]].concat();
        assert_eq!(refused(&long), QPACK_DECOMPRESSION_FAILED);
        let endless = [&[0, 0, 0xff][..], &[0x80; 40]].concat();
        assert_eq!(refused(&endless), QPACK_DECOMPRESSION_FAILED);
    }

    #[test]
    fn a_section_that_counts_more_than_the_limit_is_too_large() {
        // One byte stands for a field of 57 bytes: small encoded, large decoded.
        let bytes = [&[0, 0][..], &[0xc0 | 25; 500]].concat();
        assert_eq!(decode(&bytes), Err(DecodeError::TooLarge));
        let bytes = [&[0, 0][..], &[0xc0 | 25; 300]].concat();
        assert_eq!(decode(&bytes).map(|fields| fields.len()), Ok(300));
    }

    #[test]
    fn the_encoder_stream_may_only_set_capacity_0() {
        assert_eq!(check_encoder_stream(&[0x20, 0x20]), Ok(()));
        for byte in [0x21, 0x3f, 0xc0, 0x40, 0x00] {
            assert_eq!(
                check_encoder_stream(&[byte]).map_err(|v| v.code),
                Err(QPACK_ENCODER_STREAM_ERROR)
            );
        }
    }

    #[test]
    fn the_decoder_stream_may_only_cancel_streams() {
        let mut stream = DecoderStream::default();
        for byte in [0x44, 0x7f, 0x81, 0x01, 0x40] {
            assert_eq!(stream.check(&[byte]), Ok(()));
        }
        let cases: [&[u8]; 3] = [
            &[0x80], // acknowledgment
            &[0x01], // insert count increment
            &[
                0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
            ],
        ];
        for bytes in cases {
            let code = DecoderStream::default().check(bytes).map_err(|v| v.code);
            assert_eq!(code, Err(QPACK_DECODER_STREAM_ERROR));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(
            fields in prop::collection::vec(("[a-z:-]{1,200}", prop::collection::vec(any::<u8>(), 0..200)), 0..8)
        ) {
            let bytes = encode(fields.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
            let back = decode(&bytes).unwrap();
            let back: Vec<_> = back
                .into_iter()
                .map(|field| (String::from_utf8(field.name.to_vec()).unwrap(), field.value.to_vec()))
                .collect();
            prop_assert_eq!(back, fields);
        }

        #[test]
        fn any_bytes_decode_or_not(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(fields) = decode(&bytes) {
                prop_assert!(fields.len() <= MAX_FIELD_SECTION / FIELD_OVERHEAD);
            }
        }
    }
}
