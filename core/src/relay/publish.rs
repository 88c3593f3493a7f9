//! Tracks that peers publish by themselves, with PUBLISH.
//!
//! A PUBLISH is accepted whether or not somebody wants the track; if nobody does for a while, it is paused. It makes its
//! sender one source of the track among others; it announces no namespace (§ Publisher Interactions).

use super::room::no_room_for_names;
use super::routes::Origin;
use super::sources::UPSTREAM_PRIORITY;
use super::tracks::{Track, Upstream, no_such_track};
use super::{Relay, overloaded};
use crate::code::ResetCode;
use crate::session::{Refusal, Response};
use crate::time::Time;
use crate::wire::message::{Publish, RequestOk};
use crate::wire::name::FullTrackName;
use crate::wire::param::Parameters;

impl Relay {
    /// PUBLISH: the peer is a source of the track from now on. Its objects may be on their way already.
    pub(super) fn publish(&mut self, now: Time, origin: Origin, request: Publish) {
        let name = request.track;
        let largest = request.parameters.largest_object;
        let properties = request.properties;
        if let Some(refusal) = self.has_no_room_for_publisher(origin, &name) {
            return self.respond(now, origin, Response::Error(refusal));
        }
        if !self.tracks.contains_key(&name) {
            let Some(room) = self.room_for_track(origin.connection, &name) else {
                return self.respond(now, origin, Response::Error(no_room_for_names()));
            };
            self.tracks.insert(name.clone(), Track::new(room));
        }
        let live = self.live_track(origin.connection, &name, properties.clone(), largest);
        if live.is_none() {
            self.respond(now, origin, Response::Error(overloaded("too many tracks")));
            return self.give_up_if_hopeless(now, &name, &overloaded("too many tracks"));
        }
        let who = self.describe(origin.connection);
        self.journal.info(
            now,
            Some(origin.connection),
            format_args!("{who} offers {name}"),
        );
        let is_link = self.is_link(origin.connection);
        // What comes over a link is for those here who want it now: the shard there has told the publisher to begin.
        let is_wanted = if is_link {
            self.wants_objects_here(&name)
        } else {
            self.forwards_at_first(&name)
        };
        let is_left_out = |peer| peer == origin.connection || is_link && self.is_link(peer);
        let forward = is_wanted
            || self
                .track_watches
                .want_objects(&name.namespace, is_left_out);
        if let Some(track) = self.tracks.get_mut(&name) {
            let upstream = Upstream::Established {
                forward,
                offered: true,
            };
            track.upstreams.insert(origin, upstream);
            self.upstreams.insert(origin, name.clone());
        }
        // Without a filter: what a subscriber's filter needs is known only when it subscribes.
        let parameters = Parameters {
            forward: Some(forward),
            subscriber_priority: Some(UPSTREAM_PRIORITY),
            ..Parameters::default()
        };
        let ok = RequestOk {
            parameters,
            ..RequestOk::default()
        };
        self.widen(origin.connection);
        self.respond(now, origin, Response::Ok(ok));
        if !self.attach(now, origin, &name, properties, largest) {
            self.forget_upstream(now, origin);
            self.cancel(now, origin, ResetCode::ExcessiveLoad);
            return self.give_up_if_hopeless(now, &name, &no_such_track());
        }
        self.offer_track(now, &name);
        self.forward_as_needed(now, &name);
        self.pass_group_request(now, &name);
    }

    /// Why a further source of a track cannot be taken, if so.
    fn has_no_room_for_publisher(&self, origin: Origin, name: &FullTrackName) -> Option<Refusal> {
        let limits = &self.settings.limits;
        let Some(track) = self.tracks.get(name) else {
            let is_full = self.tracks.len() >= limits.max_tracks;
            return is_full.then(|| overloaded("too many tracks"));
        };
        // What else there is of this peer is over, or gives way to this.
        let others = track
            .upstreams
            .keys()
            .filter(|other| other.connection != origin.connection)
            .filter(|other| !self.is_link(other.connection));
        if self.is_link(origin.connection) {
            return None; // It had room in the shard that has it.
        }
        (others.count() >= limits.max_publishers_per_track)
            .then(|| overloaded("too many publishers of this track"))
    }

    /// REQUEST_UPDATE of a PUBLISH by its sender. A publisher that changes the Forward State is told what is wanted.
    pub(super) fn published_changed(&mut self, now: Time, origin: Origin, change: &Parameters) {
        let Some(name) = self.upstreams.get(&origin).cloned() else {
            return;
        };
        let upstream = self
            .tracks
            .get_mut(&name)
            .and_then(|track| track.upstreams.get_mut(&origin));
        if let (Some(Upstream::Established { forward, .. }), Some(theirs)) =
            (upstream, change.forward)
        {
            *forward = theirs;
            self.forward_as_needed(now, &name);
        }
    }
}

impl Track {
    /// Whether a peer publishes it by PUBLISH.
    pub(super) fn is_offered(&self) -> bool {
        self.upstreams
            .values()
            .any(|upstream| matches!(upstream, Upstream::Established { offered: true, .. }))
    }

    /// Whether a connection is one of its sources.
    pub(super) fn comes_from(&self, connection: crate::transport::ConnectionId) -> bool {
        self.upstreams
            .keys()
            .any(|origin| origin.connection == connection)
    }
}
