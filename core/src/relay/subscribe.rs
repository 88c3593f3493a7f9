//! Subscriptions of peers: answered at once if the track is here, else when a publisher has answered.

use log::debug;

use super::routes::Origin;
use super::tracks::{Track, no_such_track};
use super::{Relay, overloaded};
use crate::session::{Misuse, Response};
use crate::time::Time;
use crate::wire::id::RequestId;
use crate::wire::message::{RequestOk, Subscribe};
use crate::wire::name::FullTrackName;
use crate::wire::param::Parameters;

impl Relay {
    /// SUBSCRIBE: answered at once if the track is here, else when a publisher has answered.
    pub(super) fn subscribe(&mut self, now: Time, origin: Origin, request: Subscribe) {
        let name = request.track;
        debug!(
            "{} subscribes to {name}: {:?}",
            self.describe(origin.connection),
            request.parameters
        );
        if !self.tracks.contains_key(&name) {
            if self.tracks.len() >= self.settings.limits.max_tracks {
                let refusal = overloaded("too many tracks");
                return self.respond(now, origin, Response::Error(refusal));
            }
            self.tracks.insert(name.clone(), Track::default());
        }
        // Not without a source: it may be another track when the next one comes.
        let track = self
            .tracks
            .get(&name)
            .filter(|track| self.is_attached(track));
        let live = track.and_then(|track| track.live);
        if let Some(live) = live {
            let Origin {
                connection,
                request: id,
            } = origin;
            self.publisher
                .serve(now, connection, id, live, &request.parameters);
            return;
        }
        self.begin_rendezvous(now, origin, &request.parameters);
        self.wait(now, origin, &name, request.parameters);
        let forward = self.wants_objects(&name);
        let publishers = self.routes.publishers_of(&name.namespace);
        let mut refusal = no_such_track();
        for publisher in publishers {
            if self.ask(now, publisher.connection, &name, forward) == Err(Misuse::Blocked) {
                refusal = overloaded("the publisher takes no more requests");
            }
        }
        self.give_up_if_hopeless(now, &name, &refusal);
    }

    /// Queues a subscription until a publisher has answered.
    pub(super) fn wait(
        &mut self,
        now: Time,
        origin: Origin,
        name: &FullTrackName,
        parameters: Parameters,
    ) {
        let limit = self.settings.limits.max_waiting;
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        if track.waiting.len() >= limit {
            let refusal = overloaded("too many subscriptions wait for this track");
            self.no_longer_waits(origin);
            return self.respond(now, origin, Response::Error(refusal));
        }
        track.waiting.insert(origin, parameters);
        self.waiting.insert(origin, name.clone());
    }

    /// A subscription that waits for a publisher was withdrawn.
    pub(super) fn stop_waiting(&mut self, now: Time, origin: Origin) -> bool {
        let Some(name) = self.waiting.get(&origin).cloned() else {
            return false;
        };
        self.no_longer_waits(origin);
        if let Some(track) = self.tracks.get_mut(&name) {
            track.waiting.remove(&origin);
        }
        self.release_if_idle(now, &name);
        true
    }

    /// REQUEST_UPDATE of a request of a peer's.
    pub(super) fn update(
        &mut self,
        now: Time,
        origin: Origin,
        update: RequestId,
        parameters: &Parameters,
    ) {
        let Origin {
            connection,
            request,
        } = origin;
        if self.fetching.is_fetch(origin) {
            self.update_fetch(now, origin, update);
        } else if let Some(name) = self.waiting.get(&origin) {
            if let Some(waiting) = self
                .tracks
                .get_mut(name)
                .and_then(|track| track.waiting.get_mut(&origin))
            {
                waiting.apply_update(parameters);
            }
            let ok = Ok(RequestOk::default());
            self.publisher
                .respond_to_update(now, connection, request, update, ok);
        } else if self.announcements.contains_key(&origin) {
            // All that an update could bring is a token.
            let ok = Ok(RequestOk::default());
            self.publisher
                .respond_to_update(now, connection, request, update, ok);
        } else if self.watches.contains_key(&origin) {
            let ok = Ok(RequestOk::default());
            self.publisher
                .respond_to_update(now, connection, request, update, ok);
            if let Some(prefix) = &parameters.track_namespace_prefix {
                self.move_watch(now, origin, prefix);
            }
        } else if self.track_watches.contains(origin) {
            let ok = Ok(RequestOk::default());
            self.publisher
                .respond_to_update(now, connection, request, update, ok);
            self.update_track_watch(now, origin, parameters);
        } else if self.upstreams.contains_key(&origin) {
            let ok = Ok(RequestOk::default());
            self.publisher
                .respond_to_update(now, connection, request, update, ok);
            self.published_changed(now, origin, parameters);
        } else {
            self.publisher
                .update(now, connection, request, update, parameters);
        }
    }
}
