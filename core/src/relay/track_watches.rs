//! SUBSCRIBE_TRACKS: whom to offer which tracks, and the offers themselves.
//!
//! What is offered are the tracks that some peer publishes by PUBLISH. A track that is here only because somebody
//! subscribed to it is not: the drafts have a relay pass on "an incoming PUBLISH message" (§ Publisher Interactions), the
//! rest of a namespace's tracks is known to nobody here, and one peer's SUBSCRIBE is no news for another.
//!
//! A track is not offered to a peer that brings it here itself, in draft 16 neither, although that one speaks of an echo
//! (§ Subscribing to Namespaces): two relays that ask each other would then keep a track alive that nobody publishes.

use std::collections::{BTreeMap, BTreeSet};

use log::debug;

use super::room::{Held, no_room_for_names};
use super::routes::Origin;
use super::{Relay, overloaded};
use crate::code::ResetCode;
use crate::fanout::TrackId;
use crate::ledger::Charge;
use crate::session::{Misuse, Response};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::message::{RequestOk, SubscribeTracks};
use crate::wire::name::{FullTrackName, TrackNamespace};
use crate::wire::param::Parameters;

/// What one SUBSCRIBE_TRACKS asks for, or a SUBSCRIBE_NAMESPACE of draft 16 that asks for tracks too.
#[derive(Debug)]
struct TrackWatch {
    prefix: Held,
    /// The Forward State of offers.
    forward: bool,
    /// The tracks that were offered, or are not to be, whatever became of that: a track that ends and is published again
    /// is another one.
    settled: BTreeMap<FullTrackName, (TrackId, Charge)>,
    /// The tracks that could not be offered yet.
    owed: BTreeMap<FullTrackName, Charge>,
}

/// Everything that peers want to be offered.
#[derive(Debug, Default)]
pub(super) struct TrackWatches {
    watches: BTreeMap<Origin, TrackWatch>,
    by_prefix: BTreeMap<TrackNamespace, BTreeSet<Origin>>,
}

impl TrackWatches {
    pub(super) fn len(&self) -> usize {
        self.watches.len()
    }

    pub(super) fn contains(&self, origin: Origin) -> bool {
        self.watches.contains_key(&origin)
    }

    fn insert(&mut self, origin: Origin, prefix: Held, forward: bool) {
        self.remove(origin);
        let watchers = self.by_prefix.entry(prefix.name.clone()).or_default();
        watchers.insert(origin);
        let watch = TrackWatch {
            prefix,
            forward,
            settled: BTreeMap::new(),
            owed: BTreeMap::new(),
        };
        self.watches.insert(origin, watch);
    }

    /// False if there was none.
    fn remove(&mut self, origin: Origin) -> bool {
        let Some(watch) = self.watches.remove(&origin) else {
            return false;
        };
        self.forget_prefix(&watch.prefix.name, origin);
        true
    }

    fn forget_prefix(&mut self, prefix: &TrackNamespace, origin: Origin) {
        if let Some(watchers) = self.by_prefix.get_mut(prefix) {
            watchers.remove(&origin);
            if watchers.is_empty() {
                self.by_prefix.remove(prefix);
            }
        }
    }

    /// From now on it is about another prefix. What was offered before stays as it is (§ Updating Namespace
    /// Subscriptions).
    fn move_to(&mut self, origin: Origin, prefix: Held) {
        let Some(watch) = self.watches.get_mut(&origin) else {
            return;
        };
        let new = prefix.name.clone();
        let old = std::mem::replace(&mut watch.prefix, prefix);
        watch.owed.clear();
        self.forget_prefix(&old.name, origin);
        self.by_prefix.entry(new).or_default().insert(origin);
    }

    /// Those who want to be offered the tracks of a namespace.
    fn interested(&self, namespace: &TrackNamespace) -> Vec<Origin> {
        let watchers = namespace
            .prefixes()
            .filter_map(|prefix| self.by_prefix.get(&prefix));
        watchers.flatten().copied().collect()
    }

    /// Whether somebody wants objects of what is offered in a namespace at once, some peers left out.
    pub(super) fn want_objects(
        &self,
        namespace: &TrackNamespace,
        is_left_out: impl Fn(ConnectionId) -> bool,
    ) -> bool {
        let mut interested = self.interested(namespace).into_iter();
        interested.any(|origin| {
            let watch = self.watches.get(&origin);
            !is_left_out(origin.connection) && watch.is_some_and(|watch| watch.forward)
        })
    }

    /// The requests of one connection.
    pub(super) fn of(&self, connection: ConnectionId) -> Vec<Origin> {
        super::of_connection(&self.watches, connection)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty() && self.by_prefix.is_empty()
    }
}

impl Relay {
    /// SUBSCRIBE_TRACKS: the peer is offered tracks under the prefix, those published already first.
    pub(super) fn watch_tracks(&mut self, now: Time, origin: Origin, request: SubscribeTracks) {
        if self.track_watches.len() >= self.settings.limits.max_track_watches {
            let refusal = overloaded("too many prefixes");
            return self.respond(now, origin, Response::Error(refusal));
        }
        let Some(room) = self.room_for(origin.connection, &request.prefix) else {
            return self.respond(now, origin, Response::Error(no_room_for_names()));
        };
        self.respond(now, origin, Response::Ok(RequestOk::default()));
        let prefix = Held::new(request.prefix, room);
        self.start_track_watch(now, origin, prefix, &request.parameters);
    }

    pub(super) fn start_track_watch(
        &mut self,
        now: Time,
        origin: Origin,
        prefix: Held,
        parameters: &Parameters,
    ) {
        let forward = parameters.forward.unwrap_or(true);
        let name = prefix.name.clone();
        self.track_watches.insert(origin, prefix, forward);
        self.offer_all(now, origin, &name);
    }

    /// The peer wants no more offers. What was offered stays (§ SUBSCRIBE_NAMESPACE).
    pub(super) fn unwatch_tracks(&mut self, origin: Origin) -> bool {
        self.track_watches.remove(origin)
    }

    /// REQUEST_UPDATE of a SUBSCRIBE_TRACKS that was granted: it matters for offers from now on.
    pub(super) fn update_track_watch(
        &mut self,
        now: Time,
        origin: Origin,
        change: &Parameters,
        moved: Option<Held>,
    ) {
        if let (Some(forward), Some(watch)) =
            (change.forward, self.track_watches.watches.get_mut(&origin))
        {
            watch.forward = forward;
        }
        if let Some(prefix) = moved {
            let name = prefix.name.clone();
            self.track_watches.move_to(origin, prefix);
            self.offer_all(now, origin, &name);
        }
    }

    /// Offers every published track under a prefix.
    fn offer_all(&mut self, now: Time, watch: Origin, prefix: &TrackNamespace) {
        let start = FullTrackName {
            namespace: prefix.clone(),
            ..FullTrackName::default()
        };
        let published: Vec<FullTrackName> = self
            .tracks
            .range(start..)
            .take_while(|(name, _)| prefix.is_prefix_of(&name.namespace))
            .filter(|(_, track)| track.is_offered())
            .map(|(name, _)| name.clone())
            .collect();
        for name in published {
            self.offer(now, watch, &name);
        }
    }

    /// Offers a track to all who want it.
    pub(super) fn offer_track(&mut self, now: Time, name: &FullTrackName) {
        for watch in self.track_watches.interested(&name.namespace) {
            self.offer(now, watch, name);
        }
    }

    /// A peer takes requests again: it is offered what it could not be before.
    pub(super) fn offer_owed(&mut self, now: Time, connection: ConnectionId) {
        for watch in self.track_watches.of(connection) {
            let owed = self.track_watches.watches.get_mut(&watch);
            let owed = owed.map(|watch| std::mem::take(&mut watch.owed));
            for name in owed.unwrap_or_default().into_keys() {
                self.offer(now, watch, &name);
            }
        }
    }

    /// Offers a track, unless that was done, or the peer publishes it itself.
    fn offer(&mut self, now: Time, origin: Origin, name: &FullTrackName) {
        let connection = origin.connection;
        let is_link = self.is_link(connection);
        let Some(track) = self.tracks.get(name).filter(|track| track.is_offered()) else {
            return;
        };
        if is_link && !self.is_offered_here(track) {
            return; // It came over a link.
        }
        let Some(live) = track.live else {
            return;
        };
        // Another shard may have it from a peer of its own too.
        if !is_link && track.comes_from(connection) {
            return;
        }
        let Some(room) = self.room_to_offer(now, origin, name, live) else {
            return;
        };
        let Some(watch) = self.track_watches.watches.get_mut(&origin) else {
            return;
        };
        match self
            .publisher
            .offer(now, connection, live, name, watch.forward)
        {
            Ok(request) => debug!("{connection} is offered {name} as {}", request.0),
            Err(Misuse::Blocked) => {
                if !self.tell_blocked(now, origin, name)
                    && let Some(watch) = self.track_watches.watches.get_mut(&origin)
                {
                    // Draft 16 has no word for it: the offer is made when there is credit.
                    watch.owed.insert(name.clone(), room);
                    return;
                }
            }
            // It is subscribed by a SUBSCRIBE, or to what the track was before it ended; then it waits for that to be over.
            Err(Misuse::DuplicateSubscription) => {
                if !self.publisher.fanout.is_subscribed(connection, live) {
                    watch.owed.insert(name.clone(), room);
                    return;
                }
            }
            Err(misuse) => debug!("{connection} is not offered {name}: {misuse}"),
        }
        if let Some(watch) = self.track_watches.watches.get_mut(&origin) {
            watch.settled.insert(name.clone(), (live, room));
        }
    }

    /// What remembering the offer of a track takes, if it may be offered: it was not yet, and there is room to remember
    /// it. Whoever wants more offers than that is told by the end of its request.
    fn room_to_offer(
        &mut self,
        now: Time,
        origin: Origin,
        name: &FullTrackName,
        live: TrackId,
    ) -> Option<Charge> {
        let is_link = self.is_link(origin.connection);
        let watch = self.track_watches.watches.get(&origin)?;
        let settled = watch.settled.get(name).map(|(settled, _)| *settled);
        if settled == Some(live) || watch.owed.contains_key(name) {
            return None;
        }
        // Another shard is offered everything.
        let limit = if is_link {
            self.settings.limits.max_tracks.saturating_mul(2)
        } else {
            self.settings.limits.max_offers_per_watch
        };
        for is_swept in [false, true] {
            if is_swept {
                self.forget_offers_of_the_past(origin);
            }
            let watch = self.track_watches.watches.get(&origin)?;
            if watch.settled.len() + watch.owed.len() < limit
                && let Some(room) = self.room_for_track(origin.connection, name)
            {
                return Some(room);
            }
        }
        let who = self.describe(origin.connection);
        self.journal.info(
            now,
            Some(origin.connection),
            format_args!("{who} wants to be offered too many tracks"),
        );
        self.unwatch(origin);
        self.cancel(now, origin, ResetCode::ExcessiveLoad);
        None
    }

    /// Forgets what a peer was offered, or is to be, and is not there any more.
    fn forget_offers_of_the_past(&mut self, origin: Origin) {
        if let Some(watch) = self.track_watches.watches.get_mut(&origin) {
            let names = &self.names;
            watch
                .settled
                .retain(|_, (live, _)| names.contains_key(live));
            let tracks = &self.tracks;
            watch.owed.retain(|name, _| tracks.contains_key(name));
        }
    }

    /// Tells that a track exists for which there is no credit (§ PUBLISH_BLOCKED). False if the draft has no word for it.
    fn tell_blocked(&mut self, now: Time, origin: Origin, name: &FullTrackName) -> bool {
        let Some(watch) = self.track_watches.watches.get(&origin) else {
            return false;
        };
        let Some(suffix) = name.namespace.strip_prefix(&watch.prefix.name) else {
            return false;
        };
        let session = self.publisher.peers.session(origin.connection);
        session.is_some_and(|session| {
            session
                .publish_blocked(now, origin.request, &suffix, &name.name)
                .is_ok()
        })
    }
}
