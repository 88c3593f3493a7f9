//! What programs that connect to a server have in common.

use bytes::Bytes;
use oxymoq_core::draft::Draft;
use oxymoq_core::peer::Peer;
use oxymoq_core::peers::Peers;
use oxymoq_core::session::{Limits, Piece, Response, Role, Settings, Source, Underlay};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{ConnectionId, StreamId, Target};
use oxymoq_core::wire::id::RequestId;
use oxymoq_core::wire::message::Setup;

use crate::flags;
use crate::url::{Scheme, ServerUrl};

/// This program's name and version, as peers are told.
pub const IMPLEMENTATION: &str = concat!("oxymoq/", env!("CARGO_PKG_VERSION"));

/// A server to connect to, and how.
#[derive(Clone, Debug)]
pub struct Server {
    url: ServerUrl,
    underlay: Underlay,
    quic_transport: bool,
}

impl Server {
    /// The server at `url`. `quic_transport` asks for QUIC itself where the URL says `https`.
    pub fn new(url: ServerUrl, quic_transport: bool) -> Self {
        let underlay = match url.scheme {
            Scheme::WebTransport if !quic_transport => Underlay::WebTransport,
            Scheme::WebTransport | Scheme::Quic => Underlay::RawQuic,
        };
        Self {
            url,
            underlay,
            quic_transport,
        }
    }

    /// The server that this one names in a GOAWAY, to be reached in the same way.
    ///
    /// # Errors
    ///
    /// A sentence that says why its URI is of no use.
    pub fn named(&self, uri: &[u8]) -> Result<Self, String> {
        let url = ServerUrl::parse(&String::from_utf8_lossy(uri))?;
        Ok(Self::new(url, self.quic_transport))
    }

    /// Its address.
    pub const fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// Where the adapter is to connect.
    pub fn target(&self, drafts: &[Draft]) -> Target {
        Target {
            host: self.url.host.clone(),
            port: self.url.port,
            alpns: match self.underlay {
                Underlay::WebTransport => vec![Bytes::from_static(b"h3")],
                Underlay::RawQuic => flags::alpns(drafts),
            },
        }
    }

    /// The session to be, speaking one of `drafts`.
    pub fn peer(&self, drafts: &[Draft]) -> Peer {
        self.peer_with(drafts, Limits::default())
    }

    /// The same, with other limits than the default ones.
    pub fn peer_with(&self, drafts: &[Draft], limits: Limits) -> Peer {
        Peer::client(
            Settings {
                role: Role::Client,
                underlay: self.underlay,
                path: Bytes::from(self.url.path.clone()),
                authority: Bytes::from(self.url.authority.clone()),
                accepted_paths: Vec::new(),
                implementation: Bytes::from_static(IMPLEMENTATION.as_bytes()),
                authorization_tokens: Vec::new(),
                limits,
            },
            drafts,
        )
    }
}

/// The data streams of a program that publishes nothing: none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoData;

impl Source for NoData {
    fn peek(&mut self, _now: Time, _stream: StreamId) -> Option<Piece> {
        None
    }

    fn taken(&mut self, _now: Time, _stream: StreamId, _bytes: usize, _fin: bool) {}
}

/// What the peer calls itself, fit for a log line.
pub fn implementation(setup: &Setup) -> String {
    setup.implementation.as_ref().map_or_else(
        || "an implementation that does not tell its name".to_owned(),
        |name| name.escape_ascii().to_string(),
    )
}

/// Answers a request of the peer; a peer that has left needs no answer.
pub fn respond(
    peers: &mut Peers,
    now: Time,
    connection: ConnectionId,
    request: RequestId,
    response: Response,
) {
    if let Some(session) = peers.session(connection)
        && let Err(misuse) = session.respond(now, request, response)
    {
        log::debug!(
            "{connection}: request {} needs no answer any more: {misuse}",
            request.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Rules: B159
    #[test]
    fn peers_are_told_our_name_and_version_and_nothing_else() {
        let server = Server::new(ServerUrl::parse("moqt://h").unwrap(), false);
        let peer = format!("{:?}", server.peer(&[Draft::D18]));
        assert!(peer.contains(IMPLEMENTATION), "{peer}");
        let (name, version) = IMPLEMENTATION.split_once('/').unwrap();
        assert_eq!(name, "oxymoq");
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-+".contains(&byte);
        assert!(version.len() < 20 && version.bytes().all(is_plain));
    }
}
