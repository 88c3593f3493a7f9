//! A request stream (RFC 9114 § HTTP Message Framing): one header section, or several from a server, then the tunnel that
//! carries capsules.

use bytes::Bytes;

use super::error::{H3_FRAME_ERROR, H3_FRAME_UNEXPECTED, Violation};
use super::frame::{self, Part, Splitter};
use super::qpack::{self, DecodeError, Field, MAX_FIELD_SECTION};

/// What a request stream said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A header section.
    Fields(Vec<Field>),
    /// A header section larger than this side takes. Nothing more can be read here.
    TooLarge,
    /// A piece of the tunnel's bytes.
    Tunnel(Bytes),
}

/// Reads a request stream, in either role.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange {
    splitter: Splitter,
    kind: u64,
    /// An encoded field section so far.
    section: Vec<u8>,
    /// Whether the header sections are over.
    tunnel: bool,
}

impl Exchange {
    /// The request was answered, or the answer was read: from here on there are DATA frames only.
    pub(super) const fn open_tunnel(&mut self) {
        self.tunnel = true;
    }

    /// The next event off the front of `input`; `Ok(None)` when more bytes are needed.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Event>, Violation> {
        while let Some(part) = self.splitter.next(input) {
            match part {
                Part::Start { kind, len } => {
                    self.start(kind)?;
                    if kind == frame::HEADERS
                        && usize::try_from(len).is_ok_and(|len| len > MAX_FIELD_SECTION)
                    {
                        return Ok(Some(Event::TooLarge));
                    }
                }
                Part::Payload(bytes) => match self.kind {
                    frame::HEADERS => self.section.extend_from_slice(&bytes),
                    frame::DATA => return Ok(Some(Event::Tunnel(bytes))),
                    _ => {}
                },
                Part::End if self.kind == frame::HEADERS => {
                    let section = std::mem::take(&mut self.section);
                    return match qpack::decode(&section) {
                        Ok(fields) => Ok(Some(Event::Fields(fields))),
                        Err(DecodeError::TooLarge) => Ok(Some(Event::TooLarge)),
                        Err(DecodeError::Broken(violation)) => Err(violation),
                    };
                }
                Part::End => {}
            }
        }
        Ok(None)
    }

    fn start(&mut self, kind: u64) -> Result<(), Violation> {
        let unexpected = |rule| Err(Violation::new(H3_FRAME_UNEXPECTED, rule));
        match kind {
            frame::DATA if !self.tunnel => return unexpected("DATA before the header section"),
            // RFC 9114 § The CONNECT Method: no trailers.
            frame::HEADERS if self.tunnel => return unexpected("HEADERS inside a tunnel"),
            frame::CANCEL_PUSH
            | frame::SETTINGS
            | frame::PUSH_PROMISE
            | frame::GOAWAY
            | frame::MAX_PUSH_ID => return unexpected("frame that a request stream must not have"),
            frame::WT_STREAM => {
                return Err(Violation::new(
                    H3_FRAME_ERROR,
                    "WebTransport stream signal inside a request",
                ));
            }
            kind if frame::is_from_http2(kind) => return unexpected("frame of HTTP/2"),
            _ => {}
        }
        self.kind = kind;
        Ok(())
    }

    /// Whether the stream may end here as far as frames go.
    pub(super) fn is_between(&self) -> bool {
        self.splitter.is_between()
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::QPACK_DECOMPRESSION_FAILED;
    use super::super::varint;
    use super::*;

    fn read(bytes: &[u8], most: usize) -> Result<Vec<Event>, Violation> {
        let mut exchange = Exchange::default();
        let mut out = Vec::new();
        for piece in bytes.chunks(most) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(event) = exchange.next(&mut input)? {
                match event {
                    Event::Fields(_) => exchange.open_tunnel(),
                    Event::TooLarge => return Ok(vec![Event::TooLarge]),
                    Event::Tunnel(_) => {}
                }
                out.push(event);
            }
        }
        Ok(out)
    }

    fn headers() -> Vec<u8> {
        frame::encode(frame::HEADERS, &qpack::encode([(":status", &b"200"[..])]))
    }

    fn code(bytes: &[u8]) -> u64 {
        assert_eq!(read(bytes, 1), read(bytes, bytes.len()));
        read(bytes, 1).unwrap_err().code
    }

    #[test]
    fn headers_then_data_with_unknown_frames_between() {
        let bytes = [
            frame::encode(0x21, b"grease"),
            headers(),
            frame::encode(0x40, b"unknown"),
            frame::encode(frame::DATA, b"ab"),
            frame::encode(frame::DATA, b""),
            frame::encode(frame::DATA, b"c"),
        ]
        .concat();
        for most in [1, 2, 7, 1000] {
            let events = read(&bytes, most).unwrap();
            let tunnel: Vec<u8> = events
                .iter()
                .filter_map(|event| match event {
                    Event::Tunnel(bytes) => Some(bytes.to_vec()),
                    Event::Fields(_) | Event::TooLarge => None,
                })
                .flatten()
                .collect();
            assert_eq!(tunnel, b"abc");
            assert!(matches!(&events[0], Event::Fields(fields) if fields.len() == 1));
        }
    }

    #[test]
    fn frames_out_of_place_are_unexpected() {
        assert_eq!(code(&frame::encode(frame::DATA, b"x")), H3_FRAME_UNEXPECTED);
        assert_eq!(code(&[headers(), headers()].concat()), H3_FRAME_UNEXPECTED);
        for kind in [0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0x9, 0xd] {
            assert_eq!(
                code(&frame::encode(kind, &[0])),
                H3_FRAME_UNEXPECTED,
                "{kind}"
            );
        }
        let signal = [headers(), vec![0x40, 0x41, 0x00]].concat();
        assert_eq!(code(&signal), H3_FRAME_ERROR);
    }

    #[test]
    fn a_broken_section_is_a_decompression_failure() {
        let bytes = frame::encode(frame::HEADERS, &[1, 0, 0x80]);
        assert_eq!(code(&bytes), QPACK_DECOMPRESSION_FAILED);
    }

    #[test]
    fn a_section_larger_than_the_limit_is_noticed_before_it_arrives() {
        let limit = u64::try_from(MAX_FIELD_SECTION).unwrap();
        let mut bytes = vec![0x01];
        varint::put(&mut bytes, limit + 1);
        assert_eq!(read(&bytes, 1), Ok(vec![Event::TooLarge]));
        let mut bytes = vec![0x01];
        varint::put(&mut bytes, limit);
        assert_eq!(read(&bytes, 1), Ok(vec![]));
        // Encoded small, decoded large.
        let section = [&[0, 0][..], &[0xc0 | 25; 500]].concat();
        let bytes = frame::encode(frame::HEADERS, &section);
        assert_eq!(read(&bytes, 100), Ok(vec![Event::TooLarge]));
    }
}
