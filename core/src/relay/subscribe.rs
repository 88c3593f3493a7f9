//! Subscriptions of peers: answered at once if the track is here, else when a publisher has answered.

use log::debug;

use super::room::{Held, no_room_for_names};
use super::routes::Origin;
use super::tracks::{Track, no_such_track};
use super::{Relay, overloaded};
use crate::session::Response;
use crate::time::Time;
use crate::wire::message::Subscribe;
use crate::wire::name::FullTrackName;
use crate::wire::param::Parameters;

impl Relay {
    /// SUBSCRIBE: answered at once if the track is here, else when a publisher has answered.
    pub(super) fn subscribe(&mut self, now: Time, origin: Origin, request: Subscribe) {
        let name = request.track;
        // Not all parameters: tokens are secrets.
        debug!(
            "{} subscribes to {name}, filter {:?}, forward {:?}",
            self.describe(origin.connection),
            request.parameters.filter,
            request.parameters.forward
        );
        self.turn_around(now, &name, origin.connection);
        if !self.tracks.contains_key(&name) {
            if self.tracks.len() >= self.settings.limits.max_tracks {
                let refusal = overloaded("too many tracks");
                return self.respond(now, origin, Response::Error(refusal));
            }
            let Some(room) = self.room_for_track(origin.connection, &name) else {
                return self.respond(now, origin, Response::Error(no_room_for_names()));
            };
            self.tracks.insert(name.clone(), Track::new(room));
        }
        let is_link = self.is_link(origin.connection);
        // Not without a source: it may be another track when the next one comes.
        let track = self
            .tracks
            .get(&name)
            .filter(|track| self.is_attached(track))
            .filter(|track| !is_link || self.comes_from_here(track));
        let is_first = track.is_some_and(|track| !self.is_subscribed_here(track));
        let live = track.and_then(|track| track.live);
        if let Some(live) = live {
            let Origin {
                connection,
                request: id,
            } = origin;
            if request.parameters.forward != Some(false) && self.is_behind(&name) {
                self.subscribe_behind(now, origin, &name, live, request.parameters);
            } else {
                self.publisher
                    .serve(now, connection, id, live, &request.parameters);
                self.request_group_of(now, connection, id, &request.parameters);
            }
            if is_first {
                // If it came by PUBLISH, those that announced its namespace are wanted as well from now on.
                self.ask_all(now, &name, None);
            }
            return;
        }
        let mut parameters = request.parameters;
        parameters.authorization_tokens = Vec::new();
        self.begin_rendezvous(now, origin, &parameters);
        if !self.wait(now, origin, &name, parameters) {
            self.release_if_idle(now, &name);
            return;
        }
        let refusal = if self.ask_all(now, &name, None) {
            overloaded("the publisher takes no more requests")
        } else {
            no_such_track()
        };
        self.give_up_if_hopeless(now, &name, &refusal);
    }

    /// Queues a subscription until a publisher has answered. False if there was no room, and it was refused.
    pub(super) fn wait(
        &mut self,
        now: Time,
        origin: Origin,
        name: &FullTrackName,
        parameters: Parameters,
    ) -> bool {
        let waiting = self.tracks.get(name).map(|track| track.waiting.len());
        let refusal = if waiting.is_none_or(|waiting| waiting >= self.settings.limits.max_waiting) {
            overloaded("too many subscriptions wait for this track")
        } else if let Some(room) = self.room_for_track(origin.connection, name) {
            if let Some(track) = self.tracks.get_mut(name) {
                track.waiting.insert(origin, parameters);
            }
            // Each has sent a name of its own.
            self.waiting.insert(origin, Held::new(name.clone(), room));
            return true;
        } else {
            no_room_for_names()
        };
        self.no_longer_waits(origin);
        self.respond(now, origin, Response::Error(refusal));
        false
    }

    /// A subscription that waits for a publisher was withdrawn.
    pub(super) fn stop_waiting(&mut self, now: Time, origin: Origin) -> bool {
        let Some(name) = self.waiting.get(&origin).map(|held| held.name.clone()) else {
            return false;
        };
        self.no_longer_waits(origin);
        if let Some(track) = self.tracks.get_mut(&name) {
            track.waiting.remove(&origin);
        }
        self.release_if_idle(now, &name);
        true
    }
}
