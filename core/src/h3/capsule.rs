//! Capsules of a WebTransport session, which travel inside the DATA frames of its CONNECT stream (RFC 9297 § The Capsule
//! Protocol): the session's end with code and reason, and the wish that it may end soon.

use bytes::Bytes;

use super::error::UNMAPPABLE_SESSION_CODE;
use super::frame::{self, Part, Splitter};

const CLOSE_SESSION: u64 = 0x2843;
const DRAIN_SESSION: u64 = 0x78ae;

/// Longest reason a session may be closed with, in bytes (WebTransport over HTTP/3 § Session Termination).
pub(super) const MAX_REASON: usize = 1024;
/// Longest payload of a CLOSE_SESSION capsule: a code of 4 bytes and a reason.
const MAX_CLOSE: u64 = 4 + 1024;

/// A capsule that means something here. Others are skipped, without keeping a byte of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Capsule {
    /// The session is over.
    Close {
        /// The application's code.
        code: u32,
        /// Why, in UTF-8.
        reason: Bytes,
    },
    /// The sender would like the session to end soon.
    Drain,
}

/// What breaks the rules for capsules; an error of the CONNECT stream (H3_MESSAGE_ERROR), not of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Takes the contents of DATA frames apart into capsules.
#[derive(Clone, Debug, Default)]
pub(super) struct Capsules {
    splitter: Splitter,
    kind: u64,
    /// Payload of a CLOSE_SESSION capsule so far.
    close: Vec<u8>,
}

impl Capsules {
    /// The next capsule off the front of `input`; `Ok(None)` when more bytes are needed.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Capsule>, Malformed> {
        while let Some(part) = self.splitter.next(input) {
            match part {
                Part::Start { kind, len } => {
                    if kind == CLOSE_SESSION && !(4..=MAX_CLOSE).contains(&len) {
                        return Err(Malformed("CLOSE_SESSION capsule has a wrong length"));
                    }
                    self.kind = kind;
                }
                Part::Payload(bytes) if self.kind == CLOSE_SESSION => {
                    self.close.extend_from_slice(&bytes);
                }
                Part::Payload(_) => {}
                Part::End => match self.kind {
                    CLOSE_SESSION => return self.closed().map(Some),
                    DRAIN_SESSION => return Ok(Some(Capsule::Drain)),
                    _ => {}
                },
            }
        }
        Ok(None)
    }

    fn closed(&mut self) -> Result<Capsule, Malformed> {
        let payload = std::mem::take(&mut self.close);
        let (code, reason) = payload
            .split_first_chunk()
            .ok_or(Malformed("CLOSE_SESSION capsule has a wrong length"))?;
        if std::str::from_utf8(reason).is_err() {
            return Err(Malformed(
                "CLOSE_SESSION capsule has a reason that is not UTF-8",
            ));
        }
        Ok(Capsule::Close {
            code: u32::from_be_bytes(*code),
            reason: Bytes::copy_from_slice(reason),
        })
    }

    /// Whether the stream may end here.
    pub(super) fn is_between(&self) -> bool {
        self.splitter.is_between()
    }
}

/// A DATA frame with a CLOSE_SESSION capsule. A code of more than 32 bits becomes INTERNAL_ERROR, a reason is cut to
/// [`MAX_REASON`] bytes.
pub(super) fn close_frame(code: u64, reason: &[u8]) -> Vec<u8> {
    let code = u32::try_from(code).unwrap_or(UNMAPPABLE_SESSION_CODE);
    let text = String::from_utf8_lossy(reason);
    let mut payload = code.to_be_bytes().to_vec();
    let cut = text.floor_char_boundary(MAX_REASON);
    payload.extend(text.bytes().take(cut));
    frame::encode(frame::DATA, &frame::encode(CLOSE_SESSION, &payload))
}

/// A DATA frame with a DRAIN_SESSION capsule.
pub(super) fn drain_frame() -> Vec<u8> {
    frame::encode(frame::DATA, &frame::encode(DRAIN_SESSION, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(capsules: &mut Capsules, bytes: &[u8]) -> Result<Vec<Capsule>, Malformed> {
        let mut input = Bytes::copy_from_slice(bytes);
        let mut out = Vec::new();
        while let Some(capsule) = capsules.next(&mut input)? {
            out.push(capsule);
        }
        Ok(out)
    }

    const CHROMIUM_CLOSE: &[u8] = b"\x68\x43\x07\x00\x00\x00\x07bye";

    #[test]
    fn the_close_of_chromium_is_understood_whole_and_in_pieces() {
        let close = Capsule::Close {
            code: 7,
            reason: Bytes::from_static(b"bye"),
        };
        assert_eq!(
            all(&mut Capsules::default(), CHROMIUM_CLOSE),
            Ok(vec![close.clone()])
        );
        let mut capsules = Capsules::default();
        let mut found = Vec::new();
        for byte in CHROMIUM_CLOSE {
            found.extend(all(&mut capsules, &[*byte]).unwrap());
        }
        assert_eq!(found, [close]);
        assert!(capsules.is_between());
    }

    #[test]
    fn what_is_sent_is_what_chromium_sends() {
        assert_eq!(
            close_frame(7, b"bye"),
            [&[0, 10][..], CHROMIUM_CLOSE].concat()
        );
        assert_eq!(drain_frame(), [0, 5, 0x80, 0, 0x78, 0xae, 0]);
        assert_eq!(
            all(&mut Capsules::default(), &drain_frame()[2..]),
            Ok(vec![Capsule::Drain])
        );
    }

    #[test]
    fn unknown_capsules_are_skipped_however_large() {
        // The type that Chromium sends to exercise this, with 2^40 bytes.
        let mut capsules = Capsules::default();
        let head = b"\xcf\x68\x09\xf2\xcc\x3e\x34\xe1\xc0\x00\x01\x00\x00\x00\x00\x00";
        assert_eq!(all(&mut capsules, head), Ok(vec![]));
        for _ in 0..100 {
            assert_eq!(all(&mut capsules, &[9; 1000]), Ok(vec![]));
        }
        assert_eq!(capsules.close.capacity(), 0);
        assert!(!capsules.is_between());
        let short = [
            &frame::encode(0x1f * 7 + 0x21, b"grease")[..],
            CHROMIUM_CLOSE,
        ]
        .concat();
        assert_eq!(
            all(&mut Capsules::default(), &short).map(|c| c.len()),
            Ok(1)
        );
    }

    #[test]
    fn a_close_capsule_of_wrong_size_or_text_is_malformed() {
        for payload in [
            &b"\0\0\0"[..],
            &[0; 4 + MAX_REASON + 1],
            b"\0\0\0\0\xff\xfe",
        ] {
            let bytes = frame::encode(CLOSE_SESSION, payload);
            assert!(all(&mut Capsules::default(), &bytes).is_err());
        }
        let longest = frame::encode(CLOSE_SESSION, &[b'a'; 4 + MAX_REASON]);
        assert_eq!(
            all(&mut Capsules::default(), &longest).map(|c| c.len()),
            Ok(1)
        );
    }

    #[test]
    fn what_does_not_fit_a_close_capsule_is_made_to_fit() {
        let sent = close_frame(1 << 32, "ä".repeat(600).as_bytes());
        let capsule = Bytes::from(sent).split_off(3);
        match all(&mut Capsules::default(), &capsule).unwrap().as_slice() {
            [Capsule::Close { code, reason }] => {
                assert_eq!(*code, UNMAPPABLE_SESSION_CODE);
                assert_eq!(reason.len(), MAX_REASON);
            }
            other => panic!("{other:?}"),
        }
    }
}
