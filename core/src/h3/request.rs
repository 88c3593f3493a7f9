//! The request for a session and its answer, from either side.

use std::mem;

use bytes::Bytes;

use crate::transport::{Closed, Dir, Output, StreamId};

use super::connect::{NotAnOffer, Offer, Request, Response};
use super::error::{
    H3_EXCESSIVE_LOAD, H3_MESSAGE_ERROR, H3_NO_ERROR, H3_REQUEST_REJECTED, Violation,
    WT_ALPN_ERROR, WT_REQUIREMENTS_NOT_MET,
};
use super::exchange::{Event, Exchange};
use super::qpack::Field;
use super::settings::Settings;
use super::{Asking, CONNECT_STREAM, Client, Own, QuicId, Role, WebTransport};

impl WebTransport {
    pub(super) fn exchange(&mut self, stream: StreamId, mut bytes: Bytes) -> Result<(), Violation> {
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
    pub(super) fn accept(&mut self, stream: StreamId, offer: Offer) {
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
    pub(super) fn abandon(&mut self, stream: StreamId, code: u64) {
        self.own.remove(&stream);
        self.writes.remove(&stream);
        self.refuse(stream, Dir::Bi, code);
    }

    /// A client's session cannot be.
    pub(super) fn fail(&mut self, code: u64, why: String) {
        self.end(code, Bytes::from(why.clone()));
        self.tell_closed(Closed::Failed(why));
    }

    /// The server's settings allow to ask for a session, or not.
    pub(super) fn request(&mut self, settings: Settings) {
        let Role::Client(client) = &self.role else {
            return;
        };
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
        let frame = client.offer(settings).encode(token);
        self.opens
            .push_back((CONNECT_STREAM, Dir::Bi, frame.into()));
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
        if asking.stopped {
            let why = "the server accepted the WebTransport request, but reads no more of it";
            self.fail(H3_NO_ERROR, why.to_owned());
            return;
        }
        asking.exchange.open_tunnel();
        let id = asking.id;
        self.establish(request, protocol, stream, id);
    }
}

impl Asking {
    pub(super) fn new(id: QuicId) -> Self {
        Self {
            exchange: Exchange::default(),
            id,
            held: None,
            stopped: false,
        }
    }
}

impl Client {
    /// What to ask a server with these settings for.
    fn offer(&self, settings: Settings) -> Offer {
        Offer {
            request: Request {
                authority: self.authority.clone(),
                path: self.path.clone(),
                origin: self.origin.clone(),
                protocol: None,
            },
            protocols: Some(self.protocols.clone()),
            draft02: settings.draft02,
        }
    }

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
