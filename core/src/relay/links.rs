//! Links to the other shards of this relay: peers of a kind of their own.
//!
//! Every shard asks every other for its namespaces and published tracks, and is asked by it. All are linked with all, so
//! one hop is enough, and what came over a link is told to no link (split horizon):
//!
//! * a namespace is told over a link if a peer here announced it, or told it when it was asked;
//! * a track is offered over a link if a peer here publishes it;
//! * a track that only links want is asked for only at peers here, and withdrawn at links when nobody here wants it;
//! * whoever subscribes over a link is served as long as a peer here brings the track.
//!
//! So a track comes over a link once for each shard with subscribers, and two shards do not keep a track alive for one
//! another that nobody publishes any more. Where peers in several shards publish the same track, each shard gets it from all
//! of them, and drops what it has already.

use std::time::Duration;

use super::Relay;
use super::routes::Origin;
use super::tracks::Track;
use crate::code::{DoneCode, ResetCode};
use crate::draft::Draft;
use crate::link::{self, Shard};
use crate::peer::Peer;
use crate::session::{self, Refusal, Request, Response, Role, Underlay};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::RequestId;
use crate::wire::message::SubscribeTracks;
use crate::wire::name::{FullTrackName, TrackNamespace};
use crate::wire::param::Parameters;

/// How long the subscription of another shard to a track that has no publisher here any more may take for what was
/// received: that is in memory, but for what was cut off.
const DRAIN: Duration = Duration::from_millis(100);

impl Relay {
    /// Takes in the link to another shard.
    pub(crate) fn add_link(&mut self, here: Shard, there: Shard) -> ConnectionId {
        let role = if here < there {
            Role::Client
        } else {
            Role::Server
        };
        let settings = session::Settings {
            role,
            underlay: Underlay::RawQuic,
            path: bytes::Bytes::new(),
            authority: bytes::Bytes::new(),
            accepted_paths: Vec::new(),
            implementation: bytes::Bytes::new(),
            authorization_tokens: Vec::new(),
            limits: link::session_limits(&self.settings.session),
        };
        let peer = match role {
            Role::Client => Peer::client(settings, &[Draft::D18]),
            Role::Server => Peer::server(settings, &[Draft::D18]),
        };
        let connection = self.publisher.peers.link(peer);
        self.links.insert(connection, there);
        self.routes.add_link(connection, here < there);
        self.journal.leave_out(connection);
        self.publisher.add_link(connection);
        connection
    }

    /// Lets a link be polled.
    pub(crate) fn stir_link(&mut self, connection: ConnectionId) {
        self.publisher.peers.mark_dirty(connection);
    }

    /// Whether a peer is another shard.
    pub(super) fn is_link(&self, connection: ConnectionId) -> bool {
        self.links.contains_key(&connection)
    }

    /// How many peers there are besides the other shards.
    pub(super) fn peers_here(&self) -> usize {
        self.publisher.peers.len().saturating_sub(self.links.len())
    }

    /// The session with another shard is set up: it is asked for all that its peers publish.
    pub(super) fn link_established(&mut self, now: Time, connection: ConnectionId) {
        self.discover(now, connection);
        let request = Request::SubscribeTracks(SubscribeTracks {
            request_id: RequestId(0),
            prefix: TrackNamespace::default(),
            // What is published meanwhile is lost to nobody: a shard that does not want it says so when it is offered.
            parameters: Parameters {
                forward: Some(true),
                ..Parameters::default()
            },
        });
        let asked = self
            .publisher
            .peers
            .session(connection)
            .map(|session| session.request(now, request));
        if let Some(Err(misuse)) = asked {
            log::error!("{connection}: a link does not take the first request: {misuse}");
        }
    }

    /// A link is over, which is a mistake of this program's.
    pub(super) fn forget_link(&mut self, connection: ConnectionId) {
        if self.links.remove(&connection).is_some() {
            self.routes.forget_link(connection);
        }
    }

    /// Whether somebody wants a track who is not another shard.
    pub(super) fn is_wanted_here(&self, name: &FullTrackName) -> bool {
        self.tracks.get(name).is_some_and(|track| {
            let mut waiting = track.waiting.keys();
            waiting.any(|origin| !self.is_link(origin.connection))
                || Self::lingers(track)
                || self.is_subscribed_here(track)
        })
    }

    /// The same of those who are served.
    pub(super) fn is_subscribed_here(&self, track: &Track) -> bool {
        let fanout = &self.publisher.fanout;
        track
            .live
            .is_some_and(|live| fanout.is_subscribed_by(live, |peer| !self.is_link(peer)))
    }

    /// Whether somebody who is not another shard wants objects of a track now.
    pub(super) fn wants_objects_here(&self, name: &FullTrackName) -> bool {
        let Some(track) = self.tracks.get(name) else {
            return false;
        };
        let fanout = &self.publisher.fanout;
        Self::lingers(track)
            || track.waiting.iter().any(|(origin, wanted)| {
                wanted.forward != Some(false) && !self.is_link(origin.connection)
            })
            || track
                .live
                .is_some_and(|live| fanout.is_forwarded_to(live, |peer| !self.is_link(peer)))
    }

    /// Whether a peer here brings a track, or was asked for it.
    pub(super) fn comes_from_here(&self, track: &Track) -> bool {
        let mut upstreams = track.upstreams.keys();
        upstreams.any(|origin| !self.is_link(origin.connection))
    }

    /// Whether a peer here publishes a track by PUBLISH.
    pub(super) fn is_offered_here(&self, track: &Track) -> bool {
        let mut upstreams = track.upstreams.iter();
        upstreams
            .any(|(origin, upstream)| upstream.is_offered() && !self.is_link(origin.connection))
    }

    /// Withdraws our subscriptions at other shards if nobody here wants the track any more.
    pub(super) fn withdraw_at_links(&mut self, now: Time, name: &FullTrackName) {
        if self.links.is_empty() || self.is_wanted_here(name) {
            return;
        }
        let upstreams = self.tracks.get(name).map(|track| &track.upstreams);
        let unwanted: Vec<Origin> = upstreams
            .into_iter()
            .flatten()
            .filter(|(origin, upstream)| !upstream.is_offered() && self.is_link(origin.connection))
            .map(|(origin, _)| *origin)
            .collect();
        for origin in unwanted {
            self.forget_upstream(now, origin);
            self.cancel(now, origin, ResetCode::Cancelled);
        }
    }

    /// If no peer here brings a track, refuses the shards that wait for it.
    pub(super) fn refuse_links_if_hopeless(
        &mut self,
        now: Time,
        name: &FullTrackName,
        refusal: &Refusal,
    ) {
        let Some(track) = self.tracks.get(name).filter(|_| !self.links.is_empty()) else {
            return;
        };
        if self.comes_from_here(track) {
            return;
        }
        let waiting = track.waiting.keys().copied();
        let waiting: Vec<Origin> = waiting
            .filter(|origin| self.is_link(origin.connection))
            .collect();
        for origin in waiting {
            if let Some(track) = self.tracks.get_mut(name) {
                track.waiting.remove(&origin);
            }
            self.no_longer_waits(origin);
            self.respond(now, origin, Response::Error(refusal.clone()));
        }
    }

    /// If no peer here brings a track any more, ends the subscriptions of other shards to it: what others bring they have
    /// from those.
    pub(super) fn end_at_links(
        &mut self,
        now: Time,
        name: &FullTrackName,
        code: DoneCode,
        reason: &str,
    ) {
        let Some(track) = self.tracks.get(name).filter(|_| !self.links.is_empty()) else {
            return;
        };
        let Some(live) = track.live.filter(|_| !self.comes_from_here(track)) else {
            return;
        };
        let links: Vec<ConnectionId> = self.links.keys().copied().collect();
        for link in links {
            let until = now + DRAIN;
            let fanout = &mut self.publisher.fanout;
            fanout.end_subscriptions_of(link, live, code, reason, until);
        }
    }

    /// Other shards through which a track comes by PUBLISH.
    pub(super) fn links_offering(&self, name: &FullTrackName) -> Vec<ConnectionId> {
        let upstreams = self.tracks.get(name).map(|track| &track.upstreams);
        upstreams
            .into_iter()
            .flatten()
            .filter(|(origin, upstream)| upstream.is_offered() && self.is_link(origin.connection))
            .map(|(origin, _)| origin.connection)
            .collect()
    }

    /// How many of a table's requests are not those of other shards.
    #[cfg(feature = "sim")]
    pub(super) fn of_peers_here<V>(&self, table: &std::collections::BTreeMap<Origin, V>) -> usize {
        let of_links = self.links.keys();
        let of_links = of_links.map(|link| super::of_connection(table, *link).len());
        table.len().saturating_sub(of_links.sum())
    }
}
