//! Sources that paused and are to send again: what is known of their track's largest location is old.
//!
//! Whoever subscribes meanwhile is answered when one of them has told how far the track is. Otherwise a FETCH that joins
//! the subscription would end where the pause began, and nobody would send what lies between that and the first live
//! object (§ Joining Fetches).

use super::Relay;
use super::routes::Origin;
use super::tracks::Upstream;
use crate::fanout::TrackId;
use crate::session::Refusal;
use crate::time::Time;
use crate::wire::id::RequestId;
use crate::wire::message::RequestOk;
use crate::wire::name::FullTrackName;
use crate::wire::param::Parameters;

/// A source that was told to send again.
#[derive(Debug)]
pub(super) struct Resuming {
    /// What it was told with.
    pub(super) update: RequestId,
    /// When it should have answered.
    pub(super) give_up: Time,
}

impl Relay {
    /// Whether every source of a track pauses, or was told to send again and has not answered.
    pub(super) fn is_behind(&self, name: &FullTrackName) -> bool {
        let sources = self.tracks.get(name).map(|track| &track.upstreams);
        let mut is_behind = false;
        for (origin, upstream) in sources.into_iter().flatten() {
            if let Upstream::Established { forward, .. } = upstream {
                if *forward && !self.resuming.contains_key(origin) {
                    return false;
                }
                is_behind = true;
            }
        }
        is_behind
    }

    /// A subscription to a track whose sources pause: answered when one of them has told how far the track is, or at once
    /// if none can be told to go on.
    pub(super) fn subscribe_behind(
        &mut self,
        now: Time,
        origin: Origin,
        name: &FullTrackName,
        live: TrackId,
        mut parameters: Parameters,
    ) {
        parameters.authorization_tokens = Vec::new();
        if !self.wait(now, origin, name, parameters) {
            return;
        }
        self.forward_as_needed(now, name);
        if !self.is_resuming(name) {
            self.serve_waiting(now, name, live);
        }
    }

    /// REQUEST_UPDATE of a subscription that is served. If it asks for objects while the sources pause, it is heeded now,
    /// and answered when one of them has told how far the track is: FETCHes may join there (§ Subscriptions).
    pub(super) fn update_subscription(
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
        let live = self.publisher.fanout.track_of(connection, request);
        let name = live.and_then(|live| self.names.get(&live));
        let resumes =
            parameters.forward == Some(true) && name.is_some_and(|name| self.is_behind(name));
        if !resumes && !self.resumed_updates.contains_key(&origin) {
            return self
                .publisher
                .update(now, connection, request, update, parameters);
        }
        let fanout = &mut self.publisher.fanout;
        match fanout.update(now, connection, request, parameters) {
            Ok(_) => self.resumed_updates.entry(origin).or_default().push(update),
            Err(refusal) => {
                self.answer_resumed_of(now, origin);
                self.publisher
                    .respond_to_update(now, connection, request, update, Err(refusal));
            }
        }
    }

    /// Answers the updates for which there is nothing to wait any more.
    pub(super) fn answer_resumed(&mut self, now: Time) {
        if self.resumed_updates.is_empty() {
            return;
        }
        let waits = |origin: &Origin| {
            let fanout = &self.publisher.fanout;
            let live = fanout.track_of(origin.connection, origin.request);
            let name = live.and_then(|live| self.names.get(&live));
            name.is_some_and(|name| self.is_behind(name) && self.is_resuming(name))
        };
        let origins = self.resumed_updates.keys().copied();
        let due: Vec<Origin> = origins.filter(|origin| !waits(origin)).collect();
        for origin in due {
            self.answer_resumed_of(now, origin);
        }
    }

    fn answer_resumed_of(&mut self, now: Time, origin: Origin) {
        let Origin {
            connection,
            request,
        } = origin;
        let fanout = &self.publisher.fanout;
        let live = fanout.track_of(connection, request);
        let largest_object = live.and_then(|live| fanout.largest(live));
        for update in self.resumed_updates.remove(&origin).unwrap_or_default() {
            let ok = RequestOk {
                parameters: Parameters {
                    largest_object,
                    ..Parameters::default()
                },
                ..RequestOk::default()
            };
            self.publisher
                .respond_to_update(now, connection, request, update, Ok(ok));
        }
    }

    /// Whether a source of a track was told to send again and has not answered.
    fn is_resuming(&self, name: &FullTrackName) -> bool {
        self.publishers_asked(name)
            .iter()
            .any(|source| self.resuming.contains_key(source))
    }

    /// A publisher answered an update of our subscription to its track.
    pub(super) fn update_answered(
        &mut self,
        now: Time,
        source: Origin,
        update: RequestId,
        response: &Result<RequestOk, Refusal>,
    ) {
        let is_resumed = self
            .resuming
            .get(&source)
            .is_some_and(|resuming| resuming.update == update);
        if is_resumed {
            self.resumed(now, source, response.as_ref().ok());
        }
    }

    /// Answers for sources that did not answer in time, as well as it can be done.
    pub(super) fn expire_resuming(&mut self, now: Time) {
        let silent: Vec<Origin> = self
            .resuming
            .iter()
            .filter(|(_, resuming)| resuming.give_up <= now)
            .map(|(source, _)| *source)
            .collect();
        for source in silent {
            self.resumed(now, source, None);
        }
    }

    fn resumed(&mut self, now: Time, source: Origin, ok: Option<&RequestOk>) {
        self.resuming.remove(&source);
        let Some(name) = self.upstreams.get(&source).cloned() else {
            return;
        };
        let Some(live) = self.tracks.get(&name).and_then(|track| track.live) else {
            return;
        };
        if let Some(largest) = ok.and_then(|ok| ok.parameters.largest_object) {
            self.publisher.fanout.raise_largest(live, largest);
        }
        self.serve_waiting(now, &name, live);
    }
}
