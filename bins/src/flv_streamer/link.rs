//! The connection to the relay: made, announced on, and made again when it is lost.

use std::time::Duration;

use log::{info, warn};
use oxymoq_core::draft::Draft;
use oxymoq_core::peers::Peers;
use oxymoq_core::session::{Refusal, Request, Response};
use oxymoq_core::time::Time;
use oxymoq_core::transport::ConnectionId;
use oxymoq_core::wire::id::RequestId;
use oxymoq_core::wire::message::{GoAway, PublishNamespace};
use oxymoq_core::wire::name::TrackNamespace;
use oxymoq_core::wire::param::Parameters;

use crate::client::Server;
use crate::url::ServerUrl;

/// How long to wait before the first attempt to connect again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The relay, and how it is told of the namespace.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Where it is.
    pub server: Server,
    /// Whether QUIC itself is asked for where a URL says `https`.
    pub quic_transport: bool,
    /// What is spoken with it, most wanted first.
    pub drafts: Vec<Draft>,
    /// How long it may take to answer.
    pub patience: Duration,
    /// How long to try to reach it again once it was lost; zero: not at all.
    pub reconnect: Duration,
}

/// The connection to the relay.
#[derive(Debug)]
pub(super) struct Link {
    relay: Relay,
    namespace: TrackNamespace,
    state: State,
    /// Whether the namespace was ever announced, or the relay is to be left for another: then a lost connection is made
    /// again.
    is_kept: bool,
    /// Since when there is none, once there was.
    lost: Option<Time>,
    pause: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Connecting(ConnectionId),
    /// Waits for the answer to the announcement.
    Asking {
        connection: ConnectionId,
        announcement: RequestId,
        give_up: Time,
    },
    Up {
        connection: ConnectionId,
        announcement: RequestId,
    },
    /// Tries again then.
    Down(Time),
}

impl Link {
    /// Begins to connect.
    pub(super) fn new(relay: Relay, namespace: TrackNamespace, peers: &mut Peers) -> Self {
        let connection = connect(&relay, peers);
        Self {
            relay,
            namespace,
            state: State::Connecting(connection),
            is_kept: false,
            lost: None,
            pause: FIRST_PAUSE,
        }
    }

    /// The connection, if there is one.
    const fn connection(&self) -> Option<ConnectionId> {
        match self.state {
            State::Connecting(connection)
            | State::Asking { connection, .. }
            | State::Up { connection, .. } => Some(connection),
            State::Down(_) => None,
        }
    }

    /// A session is set up. True if it is ours, and the namespace is being announced.
    ///
    /// # Errors
    /// A sentence for the user.
    pub(super) fn established(
        &mut self,
        now: Time,
        connection: ConnectionId,
        peers: &mut Peers,
    ) -> Result<bool, String> {
        if self.connection() != Some(connection) {
            return Ok(false);
        }
        let Some(session) = peers.session(connection) else {
            return Ok(false);
        };
        let request = Request::PublishNamespace(PublishNamespace {
            request_id: RequestId(0),
            namespace: self.namespace.clone(),
            parameters: Parameters::default(),
        });
        let announcement = session
            .request(now, request)
            .map_err(|misuse| format!("cannot announce the namespace: {misuse}"))?;
        self.state = State::Asking {
            connection,
            announcement,
            give_up: now + self.relay.patience,
        };
        Ok(true)
    }

    /// A request of ours was answered. True if the namespace is announced now.
    ///
    /// # Errors
    /// A sentence for the user.
    pub(super) fn answered(
        &mut self,
        from: ConnectionId,
        request: RequestId,
        response: &Response,
    ) -> Result<bool, String> {
        let State::Asking {
            connection,
            announcement,
            ..
        } = self.state
        else {
            return Ok(false);
        };
        if (from, request) != (connection, announcement) {
            return Ok(false);
        }
        let (url, namespace) = (self.relay.server.url(), &self.namespace);
        if let Response::Error(Refusal { code, reason, .. }) = response {
            let reason = reason.escape_ascii();
            return Err(format!(
                "{url} refused the namespace {namespace}: {code} ({reason})"
            ));
        }
        info!("{url} announces {namespace} from now on");
        self.state = State::Up {
            connection,
            announcement,
        };
        self.is_kept = true;
        self.lost = None;
        self.pause = FIRST_PAUSE;
        Ok(true)
    }

    /// A request is over without another word.
    ///
    /// # Errors
    /// A sentence for the user, if it was the announcement: whoever took its place would be disturbed by another one.
    pub(super) fn cancelled(&self, from: ConnectionId, request: RequestId) -> Result<(), String> {
        match self.state {
            State::Asking {
                connection,
                announcement,
                ..
            }
            | State::Up {
                connection,
                announcement,
            } if (from, request) == (connection, announcement) => Err(format!(
                "{} withdrew the namespace {}; somebody else may publish it now",
                self.relay.server.url(),
                self.namespace
            )),
            State::Connecting(_) | State::Asking { .. } | State::Up { .. } | State::Down(_) => {
                Ok(())
            }
        }
    }

    /// The relay wants us to leave. True if the connection is ours, and to be closed: another one follows.
    pub(super) fn leaves(&mut self, connection: ConnectionId, goaway: &GoAway) -> bool {
        if self.connection() != Some(connection) {
            return false;
        }
        // It may overtake the answer to the announcement.
        self.is_kept = true;
        let url = self.relay.server.url();
        let other = String::from_utf8_lossy(&goaway.uri).into_owned();
        if other.is_empty() {
            info!("{url} is going away");
            return true;
        }
        match ServerUrl::parse(&other) {
            Ok(other) => {
                info!("{url} is going away and names {other} instead");
                self.relay.server = Server::new(other, self.relay.quic_transport);
            }
            Err(why) => {
                let other = goaway.uri.escape_ascii();
                warn!("{url} is going away and names '{other}' instead, which is of no use: {why}");
            }
        }
        true
    }

    /// A connection is over.
    ///
    /// # Errors
    /// A sentence for the user, if it was ours and none follows.
    pub(super) fn closed(
        &mut self,
        now: Time,
        connection: ConnectionId,
        why: &str,
    ) -> Result<(), String> {
        if self.connection() != Some(connection) {
            return Ok(());
        }
        let sentence = format!("{}: {why}", self.relay.server.url());
        let lost = *self.lost.get_or_insert(now);
        if !self.is_kept || self.relay.reconnect.is_zero() {
            return Err(sentence);
        }
        let next = now + self.pause;
        if next > lost + self.relay.reconnect {
            let tried = self.relay.reconnect;
            return Err(format!(
                "{sentence}; --reconnect_timeout is over ({tried:?})"
            ));
        }
        warn!("{sentence}; trying again in {:?}", self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.state = State::Down(next);
        Ok(())
    }

    /// When to call [`Link::handle_timeout`].
    pub(super) const fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        match self.state {
            State::Asking { give_up, .. } => Some((give_up, "the relay's answer")),
            State::Down(next) => Some((next, "the next attempt to connect")),
            State::Connecting(_) | State::Up { .. } => None,
        }
    }

    /// Connects again if it is time to.
    ///
    /// # Errors
    /// A sentence for the user, if the relay is silent.
    pub(super) fn handle_timeout(&mut self, now: Time, peers: &mut Peers) -> Result<(), String> {
        match self.state {
            State::Down(next) if next <= now => {
                self.state = State::Connecting(connect(&self.relay, peers));
                Ok(())
            }
            State::Asking { give_up, .. } if give_up <= now => Err(format!(
                "{} did not answer within {:?}; --transaction_timeout allows more",
                self.relay.server.url(),
                self.relay.patience
            )),
            State::Connecting(_) | State::Asking { .. } | State::Up { .. } | State::Down(_) => {
                Ok(())
            }
        }
    }
}

fn connect(relay: &Relay, peers: &mut Peers) -> ConnectionId {
    let Relay { server, drafts, .. } = relay;
    peers.connect(server.peer(drafts), server.target(drafts))
}
