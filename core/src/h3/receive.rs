//! What the peer sends, as far as this layer reads it: beginnings of streams, its control streams, requests and responses,
//! capsules, datagrams.

use std::mem;

use bytes::Bytes;

use crate::transport::{Answer, Closed, Dir, Input, Output, StreamId};

use super::capsule::{Capsule, Malformed};
use super::connect::{NotAnOffer, Offer, Request, Response};
use super::control::{Control, Event as ControlEvent};
use super::error::{
    Code, H3_CLOSED_CRITICAL_STREAM, H3_DATAGRAM_ERROR, H3_EXCESSIVE_LOAD, H3_FRAME_ERROR,
    H3_ID_ERROR, H3_MESSAGE_ERROR, H3_NO_ERROR, H3_REQUEST_CANCELLED, H3_REQUEST_INCOMPLETE,
    H3_REQUEST_REJECTED, H3_STREAM_CREATION_ERROR, Violation, WT_ALPN_ERROR,
    WT_BUFFERED_STREAM_REJECTED, WT_REQUIREMENTS_NOT_MET, WT_SESSION_GONE,
};
use super::exchange::{Event, Exchange};
use super::frame::Splitter;
use super::qpack::{self, DecoderStream, Field};
use super::settings::Settings;
use super::stream::{self, Beginning, Kind};
use super::{
    Asking, CONNECT_STREAM, Client, MAX_BEGINNING_STREAMS, MAX_REQUESTS, MAX_WAITING_DATAGRAMS,
    MAX_WAITING_STREAMS, Own, Phase, QuicId, Role, WebTransport, varint,
};

impl WebTransport {
    pub(super) fn opened(&mut self, stream: StreamId, dir: Dir) {
        let id = self.peer_bidi * 4;
        if dir == Dir::Bi {
            self.peer_bidi += 1;
        }
        if let Phase::Closing { .. } = self.phase {
            self.refuse(stream, dir, WT_SESSION_GONE);
        } else if self.beginning.len() >= MAX_BEGINNING_STREAMS {
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
            Answer::Gone => self.reset(stream, H3_NO_ERROR),
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
                if self.requests() >= MAX_REQUESTS {
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
                // The transport only tells of bytes after a read that found none, and that read was ours.
                self.tell(Input::Readable(stream));
            }
            (Phase::Handshake, _) if self.waiting.len() < MAX_WAITING_STREAMS => {
                self.waiting.insert(stream, (dir, session));
            }
            (Phase::Closing { .. }, _) => self.refuse(stream, dir, WT_SESSION_GONE),
            _ => self.refuse(stream, dir, WT_BUFFERED_STREAM_REJECTED),
        }
    }

    fn refuse(&mut self, stream: StreamId, dir: Dir, code: u64) {
        self.commands.push_back(Output::Stop { stream, code });
        if dir == Dir::Bi {
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
                if let Role::Client(client) = &self.role {
                    let offer = Offer::from_client(client, settings);
                    self.request(settings, &offer);
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
            if dir == Dir::Bi {
                self.commands.push_back(Output::Reset {
                    stream,
                    code: H3_REQUEST_INCOMPLETE,
                });
            }
            return Ok(());
        }
        match self.own.get(&stream) {
            Some(Own::Control(_) | Own::QpackEncoder | Own::QpackDecoder(_)) => {
                return Err(Violation::new(
                    H3_CLOSED_CRITICAL_STREAM,
                    "peer closed a control or QPACK stream",
                ));
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

    /// The peer abandoned a stream.
    fn reset(&mut self, stream: StreamId, code: u64) -> Result<(), Violation> {
        if let Some((dir, ..)) = self.beginning.remove(&stream) {
            // Its session is unknown for ever, which peers without RESET_STREAM_AT cannot avoid.
            if dir == Dir::Bi {
                self.refuse_sending(stream);
            }
            return Ok(());
        }
        match self.own.get(&stream) {
            Some(Own::Control(_) | Own::QpackEncoder | Own::QpackDecoder(_)) => {
                Err(Violation::new(
                    H3_CLOSED_CRITICAL_STREAM,
                    "peer reset a control or QPACK stream",
                ))
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

    // Requests and responses.

    fn exchange(&mut self, stream: StreamId, mut bytes: Bytes) -> Result<(), Violation> {
        loop {
            let Some(Own::Exchange(asking)) = self.own.get_mut(&stream) else {
                return Ok(());
            };
            let Some(event) = asking.exchange.next(&mut bytes)? else {
                return Ok(());
            };
            match event {
                Event::Fields(fields) if self.is_server() => {
                    self.requested(stream, &fields, &mut bytes);
                }
                Event::Fields(fields) => self.responded(stream, &fields),
                Event::TooLarge if self.is_server() => self.respond(stream, 431),
                Event::TooLarge => self.fail(
                    H3_EXCESSIVE_LOAD,
                    "the server's answer has more header fields than are taken".to_owned(),
                ),
                Event::Tunnel(data) => self.tunnelled(data),
            }
        }
    }

    /// A request's header section arrived.
    fn requested(&mut self, stream: StreamId, fields: &[Field], rest: &mut Bytes) {
        match Offer::parse(fields) {
            Err(NotAnOffer::Malformed(why)) => {
                log::debug!("malformed HTTP/3 request on {stream}: {why}");
                self.abandon(stream, H3_MESSAGE_ERROR);
            }
            Err(NotAnOffer::Status(status)) => self.respond(stream, status),
            Ok(offer) if self.settings.is_some() => self.accept(stream, offer),
            Ok(offer) => {
                if let Some(Own::Exchange(asking)) = self.own.get_mut(&stream) {
                    asking.held = Some((offer, mem::take(rest)));
                }
            }
        }
    }

    /// Decides on a request for a session.
    fn accept(&mut self, stream: StreamId, offer: Offer) {
        let Role::Server(server) = &self.role else {
            return;
        };
        if self.session.is_some() {
            // Without flow control inside sessions there is one session at most (§ Flow Control).
            self.abandon(stream, H3_REQUEST_REJECTED);
            return;
        }
        let path = offer.request.path_only();
        if !server.paths.iter().any(|known| known == path) {
            log::debug!("WebTransport request for {path:?} refused: no such path");
            self.respond(stream, 404);
            return;
        }
        let named = offer.protocols.as_ref().map(|offered| {
            let mut spoken = server.protocols.iter();
            spoken.find(|protocol| offered.contains(protocol)).cloned()
        });
        let protocol = match &named {
            Some(chosen) => chosen.clone(),
            None => server.default_protocol.clone(),
        };
        let Some(protocol) = protocol else {
            log::debug!(
                "WebTransport request refused: it offers {:?}, spoken are {:?}",
                offer.protocols.unwrap_or_default(),
                server.protocols
            );
            self.respond(stream, 400);
            return;
        };
        let named = named.flatten();
        let response = Response {
            status: 200,
            protocol: named.clone(),
            draft02: offer.draft02,
        };
        let Some(Own::Exchange(asking)) = self.own.get_mut(&stream) else {
            return;
        };
        asking.exchange.open_tunnel();
        let id = asking.id;
        self.write(stream, response.encode(), false);
        let request = Request {
            protocol: named,
            ..offer.request
        };
        self.establish(request, protocol, stream, id);
    }

    /// Refuses a request with a status, and reads no more of it.
    fn respond(&mut self, stream: StreamId, status: u16) {
        self.own.insert(stream, Own::Refused);
        self.write(stream, Response::refusal(status).encode(), true);
        self.commands.push_back(Output::Stop {
            stream,
            code: H3_NO_ERROR,
        });
    }

    /// Gives up a request stream in both directions.
    fn abandon(&mut self, stream: StreamId, code: u64) {
        self.own.remove(&stream);
        self.writes.remove(&stream);
        self.refuse(stream, Dir::Bi, code);
    }

    /// A client's session cannot be.
    fn fail(&mut self, code: u64, why: String) {
        self.end(code, Bytes::from(why.clone()));
        self.tell_closed(Closed::Failed(why));
    }

    /// The server's settings allow to ask for a session, or not.
    fn request(&mut self, settings: Settings, offer: &Offer) {
        if !settings.webtransport() || !settings.connect_protocol {
            self.fail(
                WT_REQUIREMENTS_NOT_MET,
                "the server speaks HTTP/3, but its settings do not offer WebTransport".to_owned(),
            );
            return;
        }
        // A server of several drafts takes the older token, one of the newest only the newer.
        let token = if settings.before_draft15 {
            "webtransport"
        } else {
            "webtransport-h3"
        };
        self.opens
            .push_back((CONNECT_STREAM, Dir::Bi, offer.encode(token).into()));
    }

    /// The server answered the request.
    fn responded(&mut self, stream: StreamId, fields: &[Field]) {
        let Role::Client(client) = &self.role else {
            return;
        };
        let response = match Response::parse(fields) {
            Ok(response) => response,
            Err(why) => {
                self.fail(
                    H3_MESSAGE_ERROR,
                    format!("the server's answer to the WebTransport request is malformed: {why}"),
                );
                return;
            }
        };
        let offered = client.offered();
        let named = match response.status {
            // Interim responses say nothing of interest.
            100..=199 => return,
            200..=299 => response.protocol,
            status => {
                let Client {
                    authority, path, ..
                } = client;
                let why = format!(
                    "the server answered {status} to the WebTransport request for https://{authority}{path} \
                     (offered {offered})"
                );
                self.fail(H3_NO_ERROR, why);
                return;
            }
        };
        let protocol = match &named {
            Some(named) => client.protocols.iter().find(|offered| *offered == named),
            None => client.default_protocol.as_ref(),
        };
        let Some(protocol) = protocol.cloned() else {
            let chose = match named {
                Some(named) => named.escape_ascii().to_string(),
                None => "none".to_owned(),
            };
            let why = format!(
                "the server chose a protocol that was not offered: {chose} (offered {offered})"
            );
            self.fail(WT_ALPN_ERROR, why);
            return;
        };
        let request = Request {
            authority: client.authority.clone(),
            path: client.path.clone(),
            origin: client.origin.clone(),
            protocol: named,
        };
        let Some(Own::Exchange(asking)) = self.own.get_mut(&stream) else {
            return;
        };
        asking.exchange.open_tunnel();
        let id = asking.id;
        self.establish(request, protocol, stream, id);
    }

    /// Bytes of the session's CONNECT stream.
    fn tunnelled(&mut self, mut data: Bytes) {
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
            (Phase::Handshake, _) if self.datagrams.len() < MAX_WAITING_DATAGRAMS => {
                self.datagrams.push_back((quarter * 4, payload));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Asking {
    pub(super) fn new(id: QuicId) -> Self {
        Self {
            exchange: Exchange::default(),
            id,
            held: None,
        }
    }
}

impl Offer {
    fn from_client(client: &Client, settings: Settings) -> Self {
        Self {
            request: Request {
                authority: client.authority.clone(),
                path: client.path.clone(),
                origin: client.origin.clone(),
                protocol: None,
            },
            protocols: Some(client.protocols.clone()),
            draft02: settings.draft02,
        }
    }
}

impl Client {
    /// The protocols offered, in words.
    fn offered(&self) -> String {
        let names: Vec<_> = self
            .protocols
            .iter()
            .map(|name| name.escape_ascii().to_string())
            .collect();
        names.join(", ")
    }
}
