//! The beginning of a session: which streams open first, what SETUP says, and when the peer's is good enough
//! (§ Session initialization, § SETUP).

use bytes::Bytes;

use super::auth::{Place, TokenBook, TokenCache};
use super::close::Close;
use super::event::Event;
use super::ids::{OwnIds, PeerIds};
use super::incoming::Incoming;
use super::settings::{Role, Underlay};
use super::timer::Timer;
use super::topology::{Topology, Use};
use super::{Phase, Session};
use crate::code::{ResetCode, SessionCode};
use crate::draft::{ControlModel, Draft, RequestCredit, SetupModel};
use crate::transport::{Dir, StreamId};
use crate::wire::message::{Message, Setup};

/// The type of draft 16's CLIENT_SETUP.
const CLIENT_SETUP: u64 = 0x20;

impl Session {
    /// The transport is ready: the protocol name decides the draft.
    pub(super) fn connected(&mut self, alpn: &[u8]) -> Result<(), Close> {
        if self.phase != Phase::Unconnected {
            return Ok(());
        }
        let draft = Draft::from_alpn(alpn).ok_or(Close::new(
            SessionCode::VersionNegotiationFailed,
            "V7: a protocol that was not offered",
        ))?;
        let limits = &self.settings.limits;
        self.phase = Phase::SettingUp;
        self.profile = draft.profile();
        self.topology = Topology::new(self.profile.integers);
        self.incoming = Incoming::new(self.profile, limits);
        let window = match self.profile.request_credit {
            RequestCredit::MaxRequestId => Some(limits.max_requests),
            RequestCredit::Streams => None,
        };
        let peer = self.settings.role.peer();
        self.own_ids = OwnIds::new(self.settings.role, window.map(|_| 0));
        self.peer_ids = PeerIds::new(peer, window, limits.max_request_id_gaps);
        self.tokens = TokenCache::new(limits.max_auth_token_cache_size);
        self.token_book = TokenBook::default();
        self.timers
            .set(Timer::Setup, self.now + limits.setup_timeout);
        let control = match (self.profile.control, self.settings.role) {
            (ControlModel::StreamPerRequest, _) => Some(Dir::Uni),
            (ControlModel::SharedStream, Role::Client) => Some(Dir::Bi),
            (ControlModel::SharedStream, Role::Server) => None,
        };
        if let Some(dir) = control {
            let stream = self.next_local_stream();
            self.topology.open(stream, dir, Use::Control);
            self.topology.control = Some(stream);
            self.say_setup()?;
        }
        Ok(())
    }

    fn say_setup(&mut self) -> Result<(), Close> {
        let settings = &self.settings;
        let tells_url = settings.role == Role::Client && settings.underlay == Underlay::RawQuic;
        let told = |value: &Bytes| (!value.is_empty()).then(|| value.clone());
        let setup = Setup {
            path: told(&settings.path).filter(|_| tells_url),
            authority: told(&settings.authority).filter(|_| tells_url),
            max_request_id: self.peer_ids.initial_limit(),
            max_auth_token_cache_size: Some(settings.limits.max_auth_token_cache_size)
                .filter(|size| *size > 0),
            authorization_tokens: settings.authorization_tokens.clone(),
            implementation: told(&settings.implementation),
        };
        self.token_book.sent_in_setup(&setup.authorization_tokens);
        self.say_on_control(&Message::Setup(setup)).map_err(|_| {
            Close::new(
                SessionCode::InternalError,
                "the settings cannot be told in the negotiated draft",
            )
        })
    }

    /// The peer opened a stream.
    pub(super) fn peer_opened(&mut self, stream: StreamId, dir: Dir) {
        if dir == Dir::Uni {
            self.incoming.opened(stream);
            return;
        }
        // Before the set-up is complete only what can be the control stream is read; the rest waits in the transport.
        let read = self.phase == Phase::Established || self.may_get_control();
        self.topology.accept(stream, dir, Use::Silent, read);
        self.shed_silent_streams();
    }

    /// Streams that open and say nothing are bounded: the oldest goes.
    fn shed_silent_streams(&mut self) {
        let limit = self.settings.limits.max_silent_streams;
        let silent = self.topology.streams(Use::Silent).count();
        let oldest = self.topology.streams(Use::Silent).next();
        if silent > limit
            && let Some(oldest) = oldest
        {
            let code = self.reset_number(ResetCode::ExcessiveLoad);
            self.lose_request();
            self.topology.abandon(oldest, code);
        }
    }

    /// Whether the control stream may be among the bidirectional streams of the peer's.
    pub(super) fn may_get_control(&self) -> bool {
        self.profile.control == ControlModel::SharedStream && self.settings.role == Role::Server
    }

    /// Whether a bidirectional stream of the peer's turns out to be the control stream.
    pub(super) fn is_control_stream(&self, stream: StreamId) -> bool {
        self.may_get_control() && self.topology.peek_type(stream) == Some(CLIENT_SETUP)
    }

    /// A unidirectional stream of the peer turned out to be its control stream, and began with these bytes.
    pub(super) fn adopt_control_stream(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
    ) -> Result<(), Close> {
        if self.topology.has_peer_control() {
            return Err(Close::violation("V4: a second control stream"));
        }
        self.topology.accept(stream, Dir::Uni, Use::Control, true);
        self.receive_bytes(stream, bytes)
    }

    /// The peer's SETUP arrived.
    pub(super) fn receive_setup(&mut self, mut setup: Setup) -> Result<(), Close> {
        if self.phase != Phase::SettingUp {
            return Err(Close::violation("V6: a second SETUP"));
        }
        self.check_path(&setup)?;
        self.check_authority(&setup)?;
        let place = match self.settings.role {
            Role::Server => Place::SetupOfClient,
            Role::Client => Place::SetupOfServer,
        };
        self.tokens
            .resolve(&mut setup.authorization_tokens, place)?;
        self.own_ids.start(setup.max_request_id.unwrap_or_default());
        let cache = setup.max_auth_token_cache_size.unwrap_or_default();
        self.token_book
            .peer_limit(cache.min(self.settings.limits.max_registered_tokens));
        let answers = self.profile.setup == SetupModel::ClientThenServer
            && self.settings.role == Role::Server;
        if answers {
            self.say_setup()?;
        }
        self.timers.stop(Timer::Setup);
        self.phase = Phase::Established;
        self.events.push_back(Event::Established {
            draft: self.profile.draft,
            setup,
        });
        self.read_early_streams()
    }

    /// What waited for the set-up is looked at now.
    fn read_early_streams(&mut self) -> Result<(), Close> {
        let waiting: Vec<StreamId> = self.topology.streams(Use::Silent).collect();
        for stream in waiting {
            self.topology.read(stream);
            self.receive_bytes(stream, &[])?;
        }
        Ok(())
    }

    /// § PATH
    fn check_path(&self, setup: &Setup) -> Result<(), Close> {
        let Some(path) = &setup.path else {
            return Ok(());
        };
        let misplaced =
            self.settings.role == Role::Client || self.settings.underlay == Underlay::WebTransport;
        if misplaced {
            return Err(Close::new(
                SessionCode::InvalidPath,
                "V8: PATH from a server or over WebTransport",
            ));
        }
        if !is_path(path) {
            return Err(Close::new(
                SessionCode::MalformedPath,
                "V9: PATH is not a path and query of a URI",
            ));
        }
        let bare = path.split(|byte| *byte == b'?').next().unwrap_or_default();
        let served = |accepted: &Bytes| accepted == path || accepted.as_ref() == bare;
        if bare.is_empty() || bare == b"/" || self.settings.accepted_paths.iter().any(served) {
            return Ok(());
        }
        Err(Close::new(
            SessionCode::InvalidPath,
            "V8: a path that is not served",
        ))
    }

    /// § AUTHORITY
    fn check_authority(&self, setup: &Setup) -> Result<(), Close> {
        let Some(authority) = &setup.authority else {
            return Ok(());
        };
        let misplaced =
            self.settings.role == Role::Client || self.settings.underlay == Underlay::WebTransport;
        if misplaced {
            return Err(Close::new(
                SessionCode::InvalidAuthority,
                "V10: AUTHORITY from a server or over WebTransport",
            ));
        }
        if !is_authority(authority) {
            return Err(Close::new(
                SessionCode::MalformedAuthority,
                "V11: AUTHORITY is not an authority of a URI",
            ));
        }
        Ok(())
    }
}

/// Characters that may stand literally in a path (RFC 3986 § 3.3), "/" and "%" apart.
const fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' // unreserved
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' // sub-delims
            | b':' | b'@'
        )
}

/// Whether all bytes are allowed or part of a percent escape.
fn is_escaped(bytes: &[u8], allowed: impl Fn(u8) -> bool) -> bool {
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = if *first == b'%' {
            match after {
                [a, b, tail @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => tail,
                _ => return false,
            }
        } else if allowed(*first) {
            after
        } else {
            return false;
        };
    }
    true
}

/// `path-abempty [ "?" query ]` of RFC 3986.
fn is_path(bytes: &[u8]) -> bool {
    let (path, query) = match bytes.iter().position(|byte| *byte == b'?') {
        Some(at) => (bytes.get(..at), bytes.get(at + 1..)),
        None => (Some(bytes), None),
    };
    let path = path.unwrap_or_default();
    let query = query.unwrap_or_default();
    (path.is_empty() || path.starts_with(b"/"))
        && is_escaped(path, |byte| is_pchar(byte) || byte == b'/')
        && is_escaped(query, |byte| is_pchar(byte) || byte == b'/' || byte == b'?')
}

/// `authority` of RFC 3986, with a host that is not empty.
fn is_authority(bytes: &[u8]) -> bool {
    let host_port = match bytes.iter().rposition(|byte| *byte == b'@') {
        Some(at) => {
            let user = bytes.get(..at).unwrap_or_default();
            if !is_escaped(user, |byte| is_pchar(byte) && byte != b'@') {
                return false;
            }
            bytes.get(at + 1..).unwrap_or_default()
        }
        None => bytes,
    };
    let (host_is_good, port) = if let Some(literal) = host_port.strip_prefix(b"[") {
        let Some(end) = literal.iter().position(|byte| *byte == b']') else {
            return false;
        };
        let (address, rest) = literal.split_at(end);
        let good =
            !address.is_empty() && address.iter().all(|byte| is_pchar(*byte) && *byte != b'@');
        (good, rest.get(1..).unwrap_or_default())
    } else {
        let end = host_port
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(host_port.len());
        let (host, rest) = host_port.split_at(end);
        let good = !host.is_empty()
            && is_escaped(host, |byte| is_pchar(byte) && !matches!(byte, b':' | b'@'));
        (good, rest)
    };
    let port_is_good = match port.split_first() {
        None => true,
        Some((b':', digits)) => digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    host_is_good && port_is_good
}

#[cfg(test)]
mod tests {
    use super::{is_authority, is_path};

    // Rules: B158
    #[test]
    fn paths_follow_rfc_3986() {
        for good in ["", "/", "/moq", "/a/b%20c?x=y/z?w", "?q", "//"] {
            assert!(is_path(good.as_bytes()), "{good}");
        }
        for bad in ["moq", "/a b", "/a\0", "/%2", "/%zz", "/a#b", "/[", "/ä"] {
            assert!(!is_path(bad.as_bytes()), "{bad}");
        }
    }

    // Rules: B155
    #[test]
    fn authorities_follow_rfc_3986() {
        for good in [
            "h",
            "h:1",
            "h:",
            "127.0.0.1:4433",
            "[::1]:443",
            "user:pw@host",
            "a%20b",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":1", "a b", "h:x", "[::1", "[]", "@", "h/x", "a:1:2", "[::1]x",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
