//! Asking peers what they publish, since some tell nobody unless they are asked.
//!
//! Every peer is sent a SUBSCRIBE_NAMESPACE with the empty prefix; whether it refuses or keeps silent, nothing is lost.
//! A namespace learned so serves only while nobody announces it with PUBLISH_NAMESPACE. Relays answer with what they know
//! from others, so two that ask each other must not believe their own echo:
//!
//! * A namespace that we tell a peer when it tells it to us, or have told it to since, is its echo of what we say. It is
//!   not used until the peer takes it back and tells it anew.
//! * A peer is not told what only it told us.
//! * A peer that wants a track from us is not asked for it because of what it told us, and if it was asked, that is over.
//! * Of two shards of a relay that hear of a namespace at once, each from a peer of its own, the first goes on believing its
//!   peer, and does not tell it of what the other has.
//!
//! Of each two relays thus at most one believes the other, and it heard of the namespace later: requests go back the way
//! the news came, and end where it started. Requests that meet one for the same track join it.

use std::collections::{BTreeMap, BTreeSet};

use log::debug;

use super::routes::{News, Origin};
use super::{Relay, Shutdown};
use crate::code::ResetCode;
use crate::ledger::Charge;
use crate::peer::Peer;
use crate::session::{self, Misuse, Refusal, Request, Role, Underlay};
use crate::time::Time;
use crate::transport::{ConnectionId, Target};
use crate::wire::id::RequestId;
use crate::wire::message::{Interest, SubscribeNamespace};
use crate::wire::name::{FullTrackName, TrackNamespace};
use crate::wire::param::Parameters;

/// Requests that a peer must allow beside this one: what it grants is for its subscribers first.
const SPARE_REQUESTS: u64 = 8;

/// What our own SUBSCRIBE_NAMESPACEs brought.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    asked: BTreeSet<Origin>,
    /// Peers that cannot be asked yet.
    owed: BTreeSet<ConnectionId>,
    /// What peers told.
    heard: BTreeMap<(Origin, TrackNamespace), Heard>,
}

/// A namespace that a peer told us of.
#[derive(Debug)]
struct Heard {
    /// Whether it is but an echo.
    is_echo: bool,
    /// What its name takes.
    _room: Charge,
}

impl Discovery {
    /// Whether a route is one that was learned.
    pub(super) fn is_learned(&self, route: Origin) -> bool {
        self.asked.contains(&route)
    }

    fn request_to(&self, connection: ConnectionId) -> Option<Origin> {
        let first = Origin {
            connection,
            request: RequestId(0),
        };
        let next = self.asked.range(first..).next().copied();
        next.filter(|asked| asked.connection == connection)
    }

    fn heard_from(&self, asked: Origin) -> Vec<TrackNamespace> {
        self.heard
            .range((asked, TrackNamespace::default())..)
            .take_while(|((from, _), _)| *from == asked)
            .map(|((_, namespace), _)| namespace.clone())
            .collect()
    }

    /// What a peer told that is not an echo.
    pub(super) fn learned_from(&self, connection: ConnectionId) -> Vec<(Origin, TrackNamespace)> {
        let Some(asked) = self.request_to(connection) else {
            return Vec::new();
        };
        let mut learned = self.heard_from(asked);
        learned.retain(|namespace| {
            let heard = self.heard.get(&(asked, namespace.clone()));
            heard.is_some_and(|heard| !heard.is_echo)
        });
        learned
            .into_iter()
            .map(|namespace| (asked, namespace))
            .collect()
    }

    /// How much there is of peers but for the requests to so many other shards.
    #[cfg(feature = "sim")]
    pub(super) fn left_over(&self, links: usize) -> usize {
        self.asked.len().saturating_sub(links) + self.owed.len() + self.heard.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.owed.is_empty() && self.heard.is_empty()
    }
}

impl Relay {
    /// Connects to another relay, as a client: each may have from then on what the other knows of. `authority` and `path`
    /// are what the server is to be asked for; an `h3` among the target's ALPNs means WebTransport.
    ///
    /// The relay is asked for its namespaces even if [`Settings::discover`](super::Settings::discover) is not set. A
    /// connection that is lost is not made anew: see [`Relay::is_connected`]. `None` during a shutdown, and if there is no
    /// room for a further connection.
    pub fn connect(
        &mut self,
        target: Target,
        authority: bytes::Bytes,
        path: bytes::Bytes,
    ) -> Option<ConnectionId> {
        let is_full = self.reservations.connections() >= self.settings.limits.max_connections;
        if self.shutdown != Shutdown::Running || is_full || !self.reservations.has_room() {
            return None;
        }
        let is_web = target.alpns.iter().any(|alpn| alpn == "h3");
        let peer = Peer::client(
            session::Settings {
                role: Role::Client,
                underlay: if is_web {
                    Underlay::WebTransport
                } else {
                    Underlay::RawQuic
                },
                path,
                authority,
                accepted_paths: Vec::new(),
                implementation: self.settings.implementation.clone(),
                authorization_tokens: Vec::new(),
                limits: self.settings.session.clone(),
            },
            &self.settings.drafts,
        )
        .with_web_transport_limits(self.settings.h3);
        let connection = self.publisher.peers.connect(peer, target);
        self.reservations.accept(connection);
        self.connected.insert(connection);
        Some(connection)
    }

    /// Whether a connection that [`Relay::connect`] asked for is there, or may still be.
    pub fn is_connected(&self, connection: ConnectionId) -> bool {
        self.connected.contains(&connection)
    }

    /// Asks a peer for the namespaces that it knows of, if that is wanted, now or when it grants requests.
    pub(super) fn discover(&mut self, now: Time, connection: ConnectionId) {
        let is_ours = self.connected.contains(&connection) || self.is_link(connection);
        if !self.settings.discover && !is_ours {
            return;
        }
        let Some(session) = self.publisher.peers.session(connection) else {
            return;
        };
        let request = Request::SubscribeNamespace(SubscribeNamespace {
            request_id: RequestId(0),
            prefix: TrackNamespace::default(),
            interest: Interest::Namespaces,
            parameters: Parameters::default(),
        });
        let has_credit = session.request_credit().is_none_or(|n| n > SPARE_REQUESTS);
        let asked = if has_credit {
            session.request(now, request)
        } else {
            Err(Misuse::Blocked)
        };
        match asked {
            Ok(request) => {
                let asked = Origin {
                    connection,
                    request,
                };
                self.discovery.asked.insert(asked);
            }
            Err(Misuse::Blocked) => {
                self.discovery.owed.insert(connection);
            }
            Err(misuse) => debug!("{connection}: not asked for namespaces: {misuse}"),
        }
    }

    /// A peer takes requests again.
    pub(super) fn discover_owed(&mut self, now: Time, connection: ConnectionId) {
        if self.discovery.owed.remove(&connection) {
            self.discover(now, connection);
        }
    }

    /// A peer refuses to tell its namespaces, which is its right. False if the request was another.
    pub(super) fn discovery_refused(&mut self, origin: Origin, refusal: &Refusal) -> bool {
        let was_asked = self.discovery.asked.remove(&origin);
        if was_asked {
            let who = self.describe(origin.connection);
            debug!("{who} does not tell its namespaces: {}", refusal.code);
        }
        was_asked
    }

    /// A peer tells no more. False if the request was another.
    pub(super) fn discovery_over(&mut self, now: Time, origin: Origin) -> bool {
        for namespace in self.discovery.heard_from(origin) {
            self.namespace_gone(now, origin, &namespace);
        }
        self.discovery.asked.remove(&origin)
    }

    pub(super) fn forget_discovery(&mut self, now: Time, connection: ConnectionId) {
        self.discovery.owed.remove(&connection);
        self.connected.remove(&connection);
        while let Some(asked) = self.discovery.request_to(connection) {
            self.discovery_over(now, asked);
        }
    }

    /// NAMESPACE in answer to our question.
    pub(super) fn namespace_came(&mut self, now: Time, asked: Origin, namespace: TrackNamespace) {
        if !self.discovery.asked.contains(&asked) {
            return;
        }
        // What comes over a link is bounded and counted by what may be announced in the shard at the other end, and never an
        // echo: it is not told what came over a link.
        let is_link = self.is_link(asked.connection);
        let is_full = self.discovery.heard.len() >= self.settings.limits.max_learned;
        let room = self.room_for(asked.connection, &namespace);
        let Some(room) = room.filter(|_| is_link || !is_full) else {
            let who = self.describe(asked.connection);
            return debug!("{who} tells of {namespace}, for which there is no room");
        };
        let is_echo = !is_link && self.routes.is_told(&namespace, asked.connection);
        let heard = Heard {
            is_echo,
            _room: room,
        };
        let key = (asked, namespace.clone());
        self.discovery.heard.insert(key, heard);
        if is_echo {
            return;
        }
        let who = self.describe(asked.connection);
        self.journal.info(
            now,
            Some(asked.connection),
            format_args!("{who} has {namespace}"),
        );
        let notices = self.routes.learn(&namespace, asked);
        self.notify(now, notices, true);
        self.ask_new_publisher(now, asked, &namespace);
    }

    /// NAMESPACE_DONE in answer to our question.
    pub(super) fn namespace_gone(&mut self, now: Time, asked: Origin, namespace: &TrackNamespace) {
        let heard = self.discovery.heard.remove(&(asked, namespace.clone()));
        if heard.is_some_and(|heard| !heard.is_echo) {
            self.unlearn(now, asked, namespace);
        }
    }

    fn unlearn(&mut self, now: Time, asked: Origin, namespace: &TrackNamespace) {
        let News { gone, come } = self.routes.unlearn(namespace, asked);
        self.notify(now, gone, false);
        self.notify(now, come, true);
    }

    /// A peer was told of a namespace: if it told us of it before, what it says from now on is but an echo.
    pub(super) fn told(&mut self, now: Time, connection: ConnectionId, namespace: &TrackNamespace) {
        let asked = self.discovery.request_to(connection);
        let Some(asked) = asked.filter(|_| !self.is_link(connection)) else {
            return;
        };
        let heard = (asked, namespace.clone());
        if let Some(heard) = self.discovery.heard.get_mut(&heard)
            && !std::mem::replace(&mut heard.is_echo, true)
        {
            self.unlearn(now, asked, namespace);
        }
    }

    /// Whether a publisher may be asked for a track: not one that wants it from us, if it did not announce it; and another
    /// shard only for somebody here.
    pub(super) fn may_ask(&self, route: Origin, name: &FullTrackName) -> bool {
        if self.is_link(route.connection) {
            return self.is_wanted_here(name);
        }
        !self.discovery.is_learned(route) || !self.is_wanted_by(name, route.connection)
    }

    fn is_wanted_by(&self, name: &FullTrackName, connection: ConnectionId) -> bool {
        self.tracks.get(name).is_some_and(|track| {
            let mut waiting = track.waiting.keys();
            let fanout = &self.publisher.fanout;
            waiting.any(|origin| origin.connection == connection)
                || track
                    .live
                    .is_some_and(|live| fanout.is_subscribed(connection, live))
        })
    }

    /// A peer wants a track: if it was asked for it because of what it told us, it does not have it.
    pub(super) fn turn_around(&mut self, now: Time, name: &FullTrackName, from: ConnectionId) {
        if self.is_link(from) || self.routes.is_announced_by(&name.namespace, from) {
            return;
        }
        for origin in self.publishers_asked(name) {
            let is_ours = self
                .tracks
                .get(name)
                .and_then(|track| track.upstreams.get(&origin))
                .is_some_and(|upstream| !upstream.is_offered());
            if origin.connection == from && is_ours {
                self.publisher_gone(now, origin, &super::epochs::Loss::contradicted());
                self.cancel(now, origin, ResetCode::Cancelled);
            }
        }
    }
}
