//! Error codes of HTTP/3, QPACK and WebTransport, and how an application's codes travel among them.

use std::fmt;

// RFC 9114 § HTTP/3 Error Codes.
pub(super) const H3_NO_ERROR: u64 = 0x100;
pub(super) const H3_STREAM_CREATION_ERROR: u64 = 0x103;
pub(super) const H3_CLOSED_CRITICAL_STREAM: u64 = 0x104;
pub(super) const H3_FRAME_UNEXPECTED: u64 = 0x105;
pub(super) const H3_FRAME_ERROR: u64 = 0x106;
pub(super) const H3_EXCESSIVE_LOAD: u64 = 0x107;
pub(super) const H3_ID_ERROR: u64 = 0x108;
pub(super) const H3_SETTINGS_ERROR: u64 = 0x109;
pub(super) const H3_MISSING_SETTINGS: u64 = 0x10a;
pub(super) const H3_REQUEST_REJECTED: u64 = 0x10b;
pub(super) const H3_REQUEST_CANCELLED: u64 = 0x10c;
pub(super) const H3_REQUEST_INCOMPLETE: u64 = 0x10d;
pub(super) const H3_MESSAGE_ERROR: u64 = 0x10e;
// RFC 9297 § HTTP/3 Datagrams.
pub(super) const H3_DATAGRAM_ERROR: u64 = 0x33;
// RFC 9204 § Error Handling.
pub(super) const QPACK_DECOMPRESSION_FAILED: u64 = 0x200;
pub(super) const QPACK_ENCODER_STREAM_ERROR: u64 = 0x201;
pub(super) const QPACK_DECODER_STREAM_ERROR: u64 = 0x202;
// WebTransport over HTTP/3 § HTTP/3 Error Code Registration.
pub(super) const WT_BUFFERED_STREAM_REJECTED: u64 = 0x3994_bd84;
pub(super) const WT_SESSION_GONE: u64 = 0x170d_7b68;
pub(super) const WT_ALPN_ERROR: u64 = 0x0817_b3dd;
pub(super) const WT_REQUIREMENTS_NOT_MET: u64 = 0x212c_0d48;

/// First and last code of the range that application codes are mapped into.
const FIRST: u64 = 0x52e4_a40f_a8db;
const LAST: u64 = 0x52e5_ac98_3162;

/// Stands for a stream's code that has no counterpart on the other side: a code of HTTP/3 itself on the way in, an
/// application code of more than 32 bits on the way out. In every MoQT draft 0 says "internal error" on a stream.
pub(super) const UNMAPPABLE_STREAM_CODE: u64 = 0;

/// The same for the end of a session, where 0 would say that nothing is wrong: MoQT's INTERNAL_ERROR.
pub(super) const UNMAPPABLE_SESSION_CODE: u32 = 1;

/// A breach of HTTP/3 that ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// The code to close the connection with.
    pub(super) code: u64,
    /// What the peer did, for its log and ours.
    pub(super) rule: &'static str,
}

impl Violation {
    pub(super) const fn new(code: u64, rule: &'static str) -> Self {
        Self { code, rule }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.rule, Code(self.code))
    }
}

/// A code with its name, for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) u64);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            H3_NO_ERROR => "H3_NO_ERROR",
            H3_STREAM_CREATION_ERROR => "H3_STREAM_CREATION_ERROR",
            H3_CLOSED_CRITICAL_STREAM => "H3_CLOSED_CRITICAL_STREAM",
            H3_FRAME_UNEXPECTED => "H3_FRAME_UNEXPECTED",
            H3_FRAME_ERROR => "H3_FRAME_ERROR",
            H3_EXCESSIVE_LOAD => "H3_EXCESSIVE_LOAD",
            H3_ID_ERROR => "H3_ID_ERROR",
            H3_SETTINGS_ERROR => "H3_SETTINGS_ERROR",
            H3_MISSING_SETTINGS => "H3_MISSING_SETTINGS",
            H3_REQUEST_REJECTED => "H3_REQUEST_REJECTED",
            H3_REQUEST_CANCELLED => "H3_REQUEST_CANCELLED",
            H3_REQUEST_INCOMPLETE => "H3_REQUEST_INCOMPLETE",
            H3_MESSAGE_ERROR => "H3_MESSAGE_ERROR",
            H3_DATAGRAM_ERROR => "H3_DATAGRAM_ERROR",
            QPACK_DECOMPRESSION_FAILED => "QPACK_DECOMPRESSION_FAILED",
            QPACK_ENCODER_STREAM_ERROR => "QPACK_ENCODER_STREAM_ERROR",
            QPACK_DECODER_STREAM_ERROR => "QPACK_DECODER_STREAM_ERROR",
            WT_BUFFERED_STREAM_REJECTED => "WT_BUFFERED_STREAM_REJECTED",
            WT_SESSION_GONE => "WT_SESSION_GONE",
            WT_ALPN_ERROR => "WT_ALPN_ERROR",
            WT_REQUIREMENTS_NOT_MET => "WT_REQUIREMENTS_NOT_MET",
            other => return write!(f, "{other:#x}"),
        };
        f.write_str(name)
    }
}

/// The HTTP/3 code that carries a stream's application code (WebTransport over HTTP/3 § Resetting Data Streams).
pub(super) fn stream_code_to_h3(code: u64) -> u64 {
    let code = u32::try_from(code).map_or(UNMAPPABLE_STREAM_CODE, u64::from);
    FIRST + code + code / 0x1e
}

/// The first code that HTTP/3 reserves or assigns.
const FIRST_OF_HTTP3: u64 = 0x21;

/// The application code that an HTTP/3 code carries, if it carries one.
///
/// Codes below all of HTTP/3's are taken as they are: some peers (wtransport among them) do not map theirs.
pub(super) const fn code_from_h3(code: u64) -> Option<u64> {
    if code < FIRST_OF_HTTP3 {
        return Some(code);
    }
    if code < FIRST || code > LAST || (code - 0x21).is_multiple_of(0x1f) {
        return None;
    }
    let shifted = code - FIRST;
    Some(shifted - shifted / 0x1f)
}

/// The application code that a peer's reset or stop means.
pub(super) fn stream_code_from_h3(code: u64) -> u64 {
    code_from_h3(code).unwrap_or(UNMAPPABLE_STREAM_CODE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_range_map_as_the_draft_says() {
        assert_eq!(stream_code_to_h3(0), 0x52e4_a40f_a8db);
        assert_eq!(stream_code_to_h3(0xffff_ffff), 0x52e5_ac98_3162);
        assert_eq!(code_from_h3(0x52e4_a40f_a8db), Some(0));
        assert_eq!(code_from_h3(0x52e5_ac98_3162), Some(0xffff_ffff));
    }

    #[test]
    fn reserved_code_points_are_skipped() {
        // 0x1e codes, then one reserved code point.
        assert_eq!(stream_code_to_h3(0x1d), FIRST + 0x1d);
        assert_eq!(stream_code_to_h3(0x1e), FIRST + 0x1f);
        assert_eq!(code_from_h3(FIRST + 0x1e), None);
    }

    #[test]
    fn codes_without_counterpart_become_the_documented_value() {
        for h3 in [
            0x21,
            H3_DATAGRAM_ERROR,
            0x100,
            H3_REQUEST_CANCELLED,
            WT_SESSION_GONE,
            FIRST - 1,
            LAST + 1,
            FIRST + 0x1e,
        ] {
            assert_eq!(stream_code_from_h3(h3), UNMAPPABLE_STREAM_CODE);
        }
        assert_eq!(
            stream_code_to_h3(1 << 32),
            stream_code_to_h3(UNMAPPABLE_STREAM_CODE)
        );
        assert_eq!(
            stream_code_to_h3(u64::MAX),
            stream_code_to_h3(UNMAPPABLE_STREAM_CODE)
        );
    }

    #[test]
    fn codes_of_peers_that_do_not_map_are_taken_as_they_are() {
        for code in [0, 1, 7, 0x20] {
            assert_eq!(code_from_h3(code), Some(code));
        }
    }

    #[test]
    fn a_code_is_shown_by_its_name() {
        assert_eq!(Code(0x10a).to_string(), "H3_MISSING_SETTINGS");
        assert_eq!(Code(0x1234).to_string(), "0x1234");
        assert_eq!(
            Violation::new(H3_FRAME_ERROR, "no").to_string(),
            "no (H3_FRAME_ERROR)"
        );
    }

    proptest! {
        #[test]
        fn every_application_code_comes_back(code in any::<u32>()) {
            let code = u64::from(code);
            prop_assert_eq!(code_from_h3(stream_code_to_h3(code)), Some(code));
        }
    }
}
