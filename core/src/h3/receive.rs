//! What the peer sends, as far as this layer reads it: beginnings of streams, its control streams, requests and responses,
//! capsules, datagrams.

use std::mem;

use bytes::Bytes;

use crate::transport::{Answer, Dir, Input, Output, StreamId};

use super::capsule::{Capsule, Malformed};
use super::control::{Control, Event as ControlEvent};
use super::error::{
    Code, H3_CLOSED_CRITICAL_STREAM, H3_DATAGRAM_ERROR, H3_FRAME_ERROR, H3_ID_ERROR,
    H3_MESSAGE_ERROR, H3_NO_ERROR, H3_REQUEST_CANCELLED, H3_REQUEST_INCOMPLETE,
    H3_REQUEST_REJECTED, H3_STREAM_CREATION_ERROR, Violation, WT_BUFFERED_STREAM_REJECTED,
    WT_SESSION_GONE,
};
use super::frame::Splitter;
use super::qpack::{self, DecoderStream};
use super::stream::{self, Beginning, Kind};
use super::{Asking, CONNECT_STREAM, Own, Phase, QuicId, WebTransport, varint};

impl WebTransport {
    pub(super) fn opened(&mut self, stream: StreamId, dir: Dir) {
        let id = self.peer_bidi * 4;
        if dir == Dir::Bi {
            self.peer_bidi += 1;
        }
        if let Phase::Closing { .. } = self.phase {
            self.refuse(stream, dir, WT_SESSION_GONE);
        } else if self.beginning.len() >= self.limits.max_beginning_streams {
            self.refuse(stream, dir, WT_BUFFERED_STREAM_REJECTED);
        } else {
            self.beginning
                .insert(stream, (dir, id, Beginning::new(dir)));
            self.readable.push_back(stream);
        }
    }

    /// The answer to a read of this layer's own.
    pub(super) fn read(&mut self, stream: StreamId, answer: Answer) -> Result<(), Violation> {
        match answer {
            Answer::Data(bytes) => {
                let Some((dir, id, beginning)) = self.beginning.get_mut(&stream) else {
                    return self.own_data(stream, bytes);
                };
                let (dir, id) = (*dir, *id);
                match beginning.push(&bytes) {
                    None => self.readable.push_front(stream),
                    Some(kind) => {
                        self.beginning.remove(&stream);
                        return self.begun(stream, dir, id, kind);
                    }
                }
                Ok(())
            }
            Answer::Fin => self.ended(stream),
            Answer::Reset(code) => self.reset(stream, code),
            // The connection is closed, which an input is about to tell; or the stream was given up.
            Answer::Gone => {
                self.beginning.remove(&stream);
                Ok(())
            }
            // Nothing to read yet; the rest are no answers to a read.
            Answer::Blocked | Answer::Done | Answer::Wrote { .. } | Answer::TooLarge => Ok(()),
        }
    }

    /// A stream has told what it is.
    fn begun(
        &mut self,
        stream: StreamId,
        dir: Dir,
        id: QuicId,
        kind: Kind,
    ) -> Result<(), Violation> {
        let creation_error = |rule| Err(Violation::new(H3_STREAM_CREATION_ERROR, rule));
        let own = match kind {
            Kind::WebTransport { session } => {
                // Requests are bidirectional streams that a client opened.
                if !session.is_multiple_of(4) {
                    return Err(Violation::new(
                        H3_ID_ERROR,
                        "stream of a session whose id is not a request's",
                    ));
                }
                self.attach(stream, dir, session);
                return Ok(());
            }
            Kind::Typed { kind, rest } => match kind {
                stream::CONTROL => {
                    let control = Control::new(self.is_server(), Splitter::default());
                    (Own::Control(Box::new(control)), rest)
                }
                stream::QPACK_ENCODER => (Own::QpackEncoder, rest),
                stream::QPACK_DECODER => (Own::QpackDecoder(DecoderStream::default()), rest),
                stream::PUSH if self.is_server() => {
                    return creation_error("push stream from a client");
                }
                stream::PUSH => {
                    return Err(Violation::new(H3_ID_ERROR, "push that was not allowed"));
                }
                // Unknown types, reserved ones among them, are no error.
                _ => {
                    self.refuse(stream, dir, H3_STREAM_CREATION_ERROR);
                    return Ok(());
                }
            },
            Kind::Request { .. } if !self.is_server() => {
                return creation_error(
                    "bidirectional stream of a server that is not WebTransport's",
                );
            }
            Kind::Request { rest } => {
                if self.requests() >= self.limits.max_requests {
                    self.refuse(stream, dir, H3_REQUEST_REJECTED);
                    return Ok(());
                }
                (Own::Exchange(Box::new(Asking::new(id))), rest)
            }
        };
        let (own, rest) = own;
        let same = |other: &Own| mem::discriminant(other) == mem::discriminant(&own);
        if !matches!(own, Own::Exchange(_)) && self.own.values().any(same) {
            return creation_error("second control or QPACK stream");
        }
        self.own.insert(stream, own);
        if self.halted.remove(&stream).is_some() {
            // A request whose answer nobody wants; its sending side is reset already.
            self.commands.push_back(Output::Stop {
                stream,
                code: H3_REQUEST_CANCELLED,
            });
            self.own.remove(&stream);
            return Ok(());
        }
        self.own_data(stream, rest)
    }

    /// How many requests are open that are not the session.
    fn requests(&self) -> usize {
        let session = self.session.as_ref().map(|session| session.connect);
        let is_request = |(stream, own): &(&StreamId, &Own)| {
            matches!(own, Own::Exchange(_) | Own::Refused) && Some(**stream) != session
        };
        self.own.iter().filter(is_request).count()
    }

    /// Lets a WebTransport stream in, keeps it until there is a session, or refuses it.
    pub(super) fn attach(&mut self, stream: StreamId, dir: Dir, session: QuicId) {
        match (&self.phase, &self.session) {
            (Phase::Established, Some(ours)) if ours.id == session => {
                self.tell(Input::Opened { stream, dir });
                if let Some(code) = self.halted.get(&stream) {
                    let code = super::error::stream_code_from_h3(*code);
                    self.tell(Input::Stopped { stream, code });
                }
                // The transport only tells of bytes after a read that found none, and that read was ours.
                self.tell(Input::Readable(stream));
            }
            (Phase::Handshake, _) if self.waiting.len() < self.limits.max_waiting_streams => {
                self.waiting.insert(stream, (dir, session));
            }
            (Phase::Closing { .. }, _) => self.refuse(stream, dir, WT_SESSION_GONE),
            _ => self.refuse(stream, dir, WT_BUFFERED_STREAM_REJECTED),
        }
    }

    pub(super) fn refuse(&mut self, stream: StreamId, dir: Dir, code: u64) {
        self.commands.push_back(Output::Stop { stream, code });
        let is_reset = self.halted.remove(&stream).is_some();
        if dir == Dir::Bi && !is_reset {
            self.commands.push_back(Output::Reset { stream, code });
        }
    }

    /// The peer does not want what this side would send on a stream that nobody has seen yet.
    pub(super) fn refuse_sending(&mut self, stream: StreamId) {
        self.commands.push_back(Output::Reset {
            stream,
            code: H3_REQUEST_CANCELLED,
        });
    }

    /// Bytes of a stream that stays inside this layer.
    fn own_data(&mut self, stream: StreamId, mut bytes: Bytes) -> Result<(), Violation> {
        match self.own.get_mut(&stream) {
            Some(Own::Control(control)) => {
                let mut events = Vec::new();
                while let Some(event) = control.next(&mut bytes)? {
                    events.push(event);
                }
                for event in events {
                    self.controlled(event)?;
                }
            }
            Some(Own::QpackEncoder) => qpack::check_encoder_stream(&bytes)?,
            Some(Own::QpackDecoder(decoder)) => decoder.check(&bytes)?,
            Some(Own::Exchange(_)) => self.exchange(stream, bytes)?,
            Some(Own::Refused) | None => {}
        }
        let more = match self.own.get(&stream) {
            Some(Own::Exchange(asking)) => asking.held.is_none(),
            Some(Own::Control(_) | Own::QpackEncoder | Own::QpackDecoder(_)) => true,
            Some(Own::Refused) | None => false,
        };
        if more {
            self.readable.push_back(stream);
        }
        Ok(())
    }

    fn controlled(&mut self, event: ControlEvent) -> Result<(), Violation> {
        match event {
            ControlEvent::Settings(settings) => {
                self.settings = Some(settings);
                if !self.is_server() {
                    self.request(settings);
                    return Ok(());
                }
                // Requests wait for the settings, which say what the client speaks.
                let held = self.own.iter_mut().filter_map(|(stream, own)| {
                    let Own::Exchange(asking) = own else {
                        return None;
                    };
                    Some((*stream, asking.held.take()?))
                });
                for (stream, (offer, rest)) in held.collect::<Vec<_>>() {
                    self.accept(stream, offer);
                    self.own_data(stream, rest)?;
                }
                Ok(())
            }
            ControlEvent::GoAway(id) => {
                self.draining = true;
                let asked = self.own.contains_key(&CONNECT_STREAM);
                if !self.is_server() && self.phase == Phase::Handshake && (!asked || id == 0) {
                    self.fail(H3_NO_ERROR, "the server is going away".to_owned());
                }
                Ok(())
            }
        }
    }

    /// The peer ended a stream.
    fn ended(&mut self, stream: StreamId) -> Result<(), Violation> {
        if let Some((dir, ..)) = self.beginning.remove(&stream) {
            let is_reset = self.halted.remove(&stream).is_some();
            if dir == Dir::Bi && !is_reset {
                self.commands.push_back(Output::Reset {
                    stream,
                    code: H3_REQUEST_INCOMPLETE,
                });
            }
            return Ok(());
        }
        match self.own.get(&stream) {
            Some(Own::Control(_) | Own::QpackEncoder | Own::QpackDecoder(_)) => {
                return self.critical_gone("peer closed a control or QPACK stream");
            }
            Some(Own::Exchange(asking)) if !asking.exchange.is_between() => {
                return Err(Violation::new(
                    H3_FRAME_ERROR,
                    "request stream ends inside a frame",
                ));
            }
            Some(Own::Exchange(_)) => {}
            Some(Own::Refused) | None => return Ok(()),
        }
        match &self.session {
            Some(session) if session.connect == stream => match self.phase {
                Phase::Closing { by_us: true, .. } if !self.writes.contains_key(&stream) => {
                    self.finish_closing();
                }
                Phase::Established if session.capsules.is_between() => {
                    self.closed_by_peer(0, Bytes::new());
                }
                Phase::Established => {
                    self.lose(
                        H3_MESSAGE_ERROR,
                        "WebTransport session ends inside a capsule".to_owned(),
                    );
                }
                Phase::Handshake | Phase::Closing { .. } | Phase::Ended | Phase::Over => {}
            },
            _ if self.is_server() => self.abandon(stream, H3_REQUEST_INCOMPLETE),
            _ => self.fail(
                H3_NO_ERROR,
                "the server ended the WebTransport request without an answer".to_owned(),
            ),
        }
        Ok(())
    }

    /// The peer ended a stream that HTTP/3 lives by, which is a breach.
    ///
    /// But a server that refuses a request may drop everything else along with it (web-transport-quinn does): the refusal,
    /// if it is on its way, tells more than the breach does.
    pub(super) fn critical_gone(&mut self, rule: &'static str) -> Result<(), Violation> {
        if self.phase == Phase::Handshake
            && !self.is_server()
            && let Some(Own::Exchange(asking)) = self.own.get_mut(&CONNECT_STREAM)
        {
            asking.stopped = true;
            return Ok(());
        }
        Err(Violation::new(H3_CLOSED_CRITICAL_STREAM, rule))
    }

    /// The peer abandoned a stream.
    fn reset(&mut self, stream: StreamId, code: u64) -> Result<(), Violation> {
        if let Some((dir, ..)) = self.beginning.remove(&stream) {
            // Its session is unknown for ever, which peers without RESET_STREAM_AT cannot avoid.
            let is_reset = self.halted.remove(&stream).is_some();
            if dir == Dir::Bi && !is_reset {
                self.refuse_sending(stream);
            }
            return Ok(());
        }
        match self.own.get(&stream) {
            Some(Own::Control(_) | Own::QpackEncoder | Own::QpackDecoder(_)) => {
                self.critical_gone("peer reset a control or QPACK stream")
            }
            Some(Own::Exchange(_)) => {
                self.abandoned(stream, code);
                Ok(())
            }
            Some(Own::Refused) | None => Ok(()),
        }
    }

    /// The peer abandoned a request, or the session.
    pub(super) fn abandoned(&mut self, stream: StreamId, code: u64) {
        let code = Code(code);
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.connect == stream)
        {
            self.lose(
                H3_NO_ERROR,
                format!("the peer abandoned the WebTransport session: {code}"),
            );
        } else if self.is_server() {
            self.abandon(stream, H3_REQUEST_CANCELLED);
        } else {
            self.fail(
                H3_NO_ERROR,
                format!("the server refused the WebTransport request: {code}"),
            );
        }
    }

    /// Bytes of the session's CONNECT stream.
    pub(super) fn tunnelled(&mut self, mut data: Bytes) {
        loop {
            let Some(session) = &mut self.session else {
                return;
            };
            match self.phase {
                Phase::Established => {}
                // Nothing may follow the capsule that ended the session (§ Session Termination).
                Phase::Closing { by_us: false, .. } if !data.is_empty() => {
                    self.commands.push_back(Output::Reset {
                        stream: session.connect,
                        code: H3_MESSAGE_ERROR,
                    });
                    self.writes.clear();
                    self.own.remove(&session.connect);
                    return;
                }
                Phase::Handshake | Phase::Closing { .. } | Phase::Ended | Phase::Over => return,
            }
            match session.capsules.next(&mut data) {
                Ok(None) => return,
                Ok(Some(Capsule::Drain)) => self.draining = true,
                Ok(Some(Capsule::Close { code, reason })) => {
                    self.closed_by_peer(u64::from(code), reason);
                }
                Err(Malformed(why)) => {
                    self.lose(
                        H3_MESSAGE_ERROR,
                        format!("the peer broke WebTransport: {why}"),
                    );
                    return;
                }
            }
        }
    }

    /// A datagram arrived (RFC 9297 § HTTP/3 Datagrams).
    pub(super) fn datagram(&mut self, mut bytes: Bytes) -> Result<(), Violation> {
        const MAX_QUARTER: u64 = (1 << 60) - 1;
        let Some((quarter, len)) =
            varint::read(&bytes).filter(|&(quarter, _)| quarter <= MAX_QUARTER)
        else {
            return Err(Violation::new(
                H3_DATAGRAM_ERROR,
                "datagram without a valid quarter stream id",
            ));
        };
        let payload = bytes.split_off(len);
        match (&self.phase, &self.session) {
            (Phase::Established, Some(session)) if session.id == quarter * 4 => {
                self.tell(Input::Datagram(payload));
            }
            (Phase::Handshake, _) if self.datagrams.len() < self.limits.max_waiting_datagrams => {
                self.datagrams.push_back((quarter * 4, payload));
            }
            _ => {}
        }
        Ok(())
    }
}
