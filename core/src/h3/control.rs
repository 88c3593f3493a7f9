//! The peer's control stream (RFC 9114 § Control Streams): SETTINGS first, then little that matters here.

use bytes::Bytes;

use super::error::{
    H3_EXCESSIVE_LOAD, H3_FRAME_ERROR, H3_FRAME_UNEXPECTED, H3_ID_ERROR, H3_MISSING_SETTINGS,
    Violation,
};
use super::frame::{self, Part, Splitter};
use super::settings::{MAX_SETTINGS, Settings};
use super::varint;

/// What the control stream said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The peer's settings.
    Settings(Settings),
    /// The peer will not take requests with this id and above.
    GoAway(u64),
}

/// Reads the peer's control stream.
#[derive(Clone, Debug)]
pub(super) struct Control {
    /// Whether this side is the server, so that the peer is a client.
    is_server: bool,
    splitter: Splitter,
    kind: u64,
    /// Payload so far of a frame that is kept whole.
    payload: Vec<u8>,
    settings_seen: bool,
    max_push: Option<u64>,
    goaway: Option<u64>,
}

impl Control {
    pub(super) const fn new(is_server: bool, splitter: Splitter) -> Self {
        Self {
            is_server,
            splitter,
            kind: 0,
            payload: Vec::new(),
            settings_seen: false,
            max_push: None,
            goaway: None,
        }
    }

    /// The next event off the front of `input`; `Ok(None)` when more bytes are needed.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Event>, Violation> {
        while let Some(part) = self.splitter.next(input) {
            match part {
                Part::Start { kind, len } => self.start(kind, len)?,
                Part::Payload(bytes) if is_kept(self.kind) => {
                    self.payload.extend_from_slice(&bytes);
                }
                Part::Payload(_) => {}
                Part::End => {
                    let payload = std::mem::take(&mut self.payload);
                    let event = self.end(&payload)?;
                    if event.is_some() {
                        return Ok(event);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Refuses a frame that must not be here, before its payload is read.
    fn start(&mut self, kind: u64, len: u64) -> Result<(), Violation> {
        let unexpected = |rule| Err(Violation::new(H3_FRAME_UNEXPECTED, rule));
        if !self.settings_seen && kind != frame::SETTINGS {
            return Err(Violation::new(
                H3_MISSING_SETTINGS,
                "control stream does not begin with SETTINGS",
            ));
        }
        match kind {
            frame::SETTINGS if self.settings_seen => return unexpected("second SETTINGS"),
            frame::SETTINGS if len > MAX_SETTINGS => {
                return Err(Violation::new(H3_EXCESSIVE_LOAD, "SETTINGS is too long"));
            }
            frame::SETTINGS => self.settings_seen = true,
            frame::DATA | frame::HEADERS | frame::PUSH_PROMISE => {
                return unexpected("frame of a request on the control stream");
            }
            frame::MAX_PUSH_ID if !self.is_server => {
                return unexpected("MAX_PUSH_ID from a server");
            }
            frame::WT_STREAM => {
                return Err(Violation::new(
                    H3_FRAME_ERROR,
                    "WebTransport stream signal on the control stream",
                ));
            }
            kind if frame::is_from_http2(kind) => return unexpected("frame of HTTP/2"),
            // One integer: what is longer cannot be right.
            kind if is_kept(kind) && len > 8 => {
                return Err(Violation::new(
                    H3_FRAME_ERROR,
                    "frame is longer than what it holds",
                ));
            }
            _ => {}
        }
        self.kind = kind;
        Ok(())
    }

    /// A frame is complete.
    fn end(&mut self, mut payload: &[u8]) -> Result<Option<Event>, Violation> {
        if self.kind == frame::SETTINGS {
            return Settings::parse(payload).map(|settings| Some(Event::Settings(settings)));
        }
        if !is_kept(self.kind) {
            return Ok(None);
        }
        let id = varint::take(&mut payload)
            .filter(|_| payload.is_empty())
            .ok_or(Violation::new(
                H3_FRAME_ERROR,
                "frame does not hold exactly one integer",
            ))?;
        let id_error = |rule| Err(Violation::new(H3_ID_ERROR, rule));
        match self.kind {
            frame::CANCEL_PUSH => id_error("CANCEL_PUSH for what was never promised"),
            frame::MAX_PUSH_ID if self.max_push.replace(id) > Some(id) => {
                id_error("MAX_PUSH_ID decreases")
            }
            frame::GOAWAY => {
                // A server names a request: the id of a bidirectional stream that the client opened.
                if !self.is_server && !id.is_multiple_of(4) {
                    return id_error("GOAWAY with an id that is not a request's");
                }
                if self.goaway.replace(id).is_some_and(|before| before < id) {
                    return id_error("GOAWAY increases");
                }
                Ok(Some(Event::GoAway(id)))
            }
            _ => Ok(None),
        }
    }
}

/// Frames whose payload is kept until it is complete.
const fn is_kept(kind: u64) -> bool {
    matches!(
        kind,
        frame::SETTINGS | frame::CANCEL_PUSH | frame::GOAWAY | frame::MAX_PUSH_ID
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(is_server: bool, bytes: &[u8], most: usize) -> Result<Vec<Event>, Violation> {
        let mut control = Control::new(is_server, Splitter::default());
        let mut out = Vec::new();
        for piece in bytes.chunks(most) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(event) = control.next(&mut input)? {
                out.push(event);
            }
        }
        Ok(out)
    }

    const SETTINGS: &[u8] = &[0x04, 0x02, 0x33, 0x01];

    fn code(is_server: bool, bytes: &[u8]) -> u64 {
        let whole = read(is_server, bytes, bytes.len());
        // Pieces make no difference.
        assert_eq!(whole, read(is_server, bytes, 1));
        whole.unwrap_err().code
    }

    fn after_settings(kind: u64, payload: &[u8]) -> Vec<u8> {
        [SETTINGS, &frame::encode(kind, payload)].concat()
    }

    #[test]
    fn settings_then_ignored_frames_then_goaway() {
        let bytes = [
            SETTINGS,
            &frame::encode(0x1f * 9 + 0x21, &[1; 100]),
            &frame::encode(0xf0700, b"\0u=1"),
            &frame::encode(frame::MAX_PUSH_ID, &[5]),
            &frame::encode(frame::MAX_PUSH_ID, &[5]),
            &frame::encode(frame::GOAWAY, &[4]),
        ]
        .concat();
        for most in [1, 3, 1000] {
            let events = read(true, &bytes, most).unwrap();
            assert!(matches!(events[..], [Event::Settings(s), Event::GoAway(4)] if s.datagram));
        }
    }

    #[test]
    fn anything_before_settings_is_missing_settings() {
        assert_eq!(code(true, &frame::encode(0x21, b"x")), H3_MISSING_SETTINGS);
        assert_eq!(
            code(true, &frame::encode(frame::GOAWAY, &[0])),
            H3_MISSING_SETTINGS
        );
        assert_eq!(
            code(false, &frame::encode(frame::DATA, b"x")),
            H3_MISSING_SETTINGS
        );
    }

    #[test]
    fn frames_that_do_not_belong_here_are_unexpected() {
        assert_eq!(
            code(true, &after_settings(frame::SETTINGS, b"")),
            H3_FRAME_UNEXPECTED
        );
        for kind in [
            frame::DATA,
            frame::HEADERS,
            frame::PUSH_PROMISE,
            0x2,
            0x6,
            0x8,
            0x9,
        ] {
            assert_eq!(code(true, &after_settings(kind, b"x")), H3_FRAME_UNEXPECTED);
        }
        assert_eq!(
            code(false, &after_settings(frame::MAX_PUSH_ID, &[1])),
            H3_FRAME_UNEXPECTED
        );
        assert_eq!(
            code(true, &after_settings(frame::WT_STREAM, b"")),
            H3_FRAME_ERROR
        );
    }

    #[test]
    fn frames_of_a_wrong_size_are_frame_errors() {
        assert_eq!(
            code(true, &after_settings(frame::GOAWAY, b"")),
            H3_FRAME_ERROR
        );
        assert_eq!(
            code(true, &after_settings(frame::GOAWAY, &[0, 0])),
            H3_FRAME_ERROR
        );
        assert_eq!(
            code(true, &after_settings(frame::GOAWAY, &[0x40])),
            H3_FRAME_ERROR
        );
        assert_eq!(
            code(true, &after_settings(frame::MAX_PUSH_ID, &[0; 9])),
            H3_FRAME_ERROR
        );
    }

    #[test]
    fn ids_that_cannot_be_are_id_errors() {
        let twice = |kind, first: u8, second: u8| {
            [
                after_settings(kind, &[first]),
                frame::encode(kind, &[second]),
            ]
            .concat()
        };
        assert_eq!(code(true, &twice(frame::MAX_PUSH_ID, 5, 4)), H3_ID_ERROR);
        assert_eq!(code(true, &twice(frame::GOAWAY, 4, 5)), H3_ID_ERROR);
        assert_eq!(
            code(false, &after_settings(frame::GOAWAY, &[5])),
            H3_ID_ERROR
        );
        assert_eq!(
            code(true, &after_settings(frame::CANCEL_PUSH, &[0])),
            H3_ID_ERROR
        );
        assert!(read(true, &twice(frame::GOAWAY, 5, 4), 1).is_ok());
    }

    #[test]
    fn settings_longer_than_the_limit_are_refused_before_they_arrive() {
        let mut bytes = vec![0x04];
        varint::put(&mut bytes, MAX_SETTINGS + 1);
        assert_eq!(code(true, &bytes), H3_EXCESSIVE_LOAD);
        let mut bytes = vec![0x04];
        varint::put(&mut bytes, MAX_SETTINGS);
        assert_eq!(read(true, &bytes, 1), Ok(vec![]));
    }
}
