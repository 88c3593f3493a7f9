//! Who is let in, and how much memory each connection may cost in the transport.

use std::fmt;
use std::time::Duration;

use log::{debug, info, warn};

use super::{Relay, Shutdown};
use crate::peer::Peer;
use crate::session::{self, Role, Underlay};
use crate::time::Time;
use crate::transport::{Admission, ConnectionId, Incoming};

/// How often it is told that clients are turned away.
const REFUSALS_TOLD: Duration = Duration::from_secs(1);

/// Why a client is turned away.
enum Full {
    Connections(usize),
    Memory(u64),
}

impl Relay {
    /// Lets a client in, if there is room for it.
    pub(super) fn admit(&mut self, now: Time, incoming: &Incoming) -> Admission {
        if self.shutdown != Shutdown::Running {
            return Admission::Refuse;
        }
        let limits = &self.settings.limits;
        if self.reservations.connections() >= limits.max_connections {
            let full = Full::Connections(limits.max_connections);
            self.tell_refusal(now, incoming, &full);
            return Admission::Refuse;
        }
        if !self.reservations.hold() {
            if !incoming.is_validated {
                return Admission::Retry;
            }
            let full = Full::Memory(self.reservations.limit());
            self.tell_refusal(now, incoming, &full);
            return Admission::Refuse;
        }
        let peer = Peer::server(
            session::Settings {
                role: Role::Server,
                underlay: Underlay::RawQuic,
                path: bytes::Bytes::new(),
                authority: bytes::Bytes::new(),
                accepted_paths: self.settings.paths.clone(),
                implementation: self.settings.implementation.clone(),
                authorization_tokens: Vec::new(),
                limits: self.settings.session.clone(),
            },
            &self.settings.drafts,
        )
        .with_web_transport_limits(self.settings.h3);
        let connection = self.publisher.peers.accept(peer, incoming.remote);
        self.reservations.assign(connection);
        Admission::Accept(connection)
    }

    /// The peer publishes: it may have more under way.
    pub(super) fn widen(&mut self, connection: ConnectionId) {
        if let Some(window) = self.reservations.widen(connection) {
            self.apply_window(connection, window);
        }
    }

    /// A connection is over: others may have its memory.
    pub(super) fn release(&mut self, connection: ConnectionId) {
        self.reservations.release(connection);
        while let Some((connection, window)) = self.reservations.widen_next() {
            self.apply_window(connection, window);
        }
    }

    fn apply_window(&mut self, connection: ConnectionId, window: u64) {
        debug!("{connection}: a receive window of {window} bytes");
        if let Some(session) = self.publisher.peers.session(connection) {
            session.widen_receive_window(window);
        }
    }

    /// Tells the operator, but not of everyone of a crowd.
    fn tell_refusal(&mut self, now: Time, incoming: &Incoming, full: &Full) {
        self.refused += 1;
        if self
            .refusal_told
            .is_some_and(|told| now.since(told) < REFUSALS_TOLD)
        {
            debug!("{} is turned away: {full}", incoming.remote);
            return;
        }
        self.refusal_told = Some(now);
        warn!("{} is turned away: {full}", incoming.remote);
        if self.refused > 1 {
            info!("{} clients were turned away so far", self.refused);
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connections(most) => {
                write!(f, "{most} connections are open (--max_connections)")
            }
            Self::Memory(most) => write!(
                f,
                "the {most} bytes for connections are given away (--max_memory_bytes)"
            ),
        }
    }
}
