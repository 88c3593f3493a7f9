//! Subscriptions: many downstream, made one at each publisher upstream.

use std::collections::BTreeMap;

use log::{debug, info};

use super::routes::Origin;
use super::{Relay, of_connection, overloaded};
use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::fanout::{SourceId, TrackId};
use crate::session::{Misuse, Refusal, Request, Response};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::RequestId;
use crate::wire::message::{PublishDone, RequestOk, Subscribe, SubscribeOk};
use crate::wire::name::{FullTrackName, TrackNamespace};
use crate::wire::param::{Filter, Parameters};

/// The priority that this relay's own subscriptions have: the middle, whatever its subscribers' are
/// (§ Considerations for Setting Priorities).
const UPSTREAM_PRIORITY: u8 = 128;

/// A track that somebody downstream wants.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// The track in memory, once a publisher agreed to send it.
    pub(super) live: Option<TrackId>,
    /// Our subscriptions to it.
    pub(super) upstreams: BTreeMap<Origin, Upstream>,
    /// Subscriptions that cannot be answered before a publisher has.
    pub(super) waiting: BTreeMap<Origin, Parameters>,
}

/// One of our subscriptions to a track.
#[derive(Debug)]
pub(super) enum Upstream {
    /// The publisher has not answered.
    Asked { give_up: Time, forward: bool },
    /// The publisher sends.
    Established { forward: bool },
    /// The publisher has sent all that it will.
    Ending { done: PublishDone },
}

/// How a track ends.
pub(super) struct TrackEnd<'a> {
    /// For those who receive it.
    pub(super) code: DoneCode,
    /// In words.
    pub(super) reason: &'a str,
    /// For its publishers.
    pub(super) cancel: ResetCode,
    /// For those who wait for it.
    pub(super) refusal: Refusal,
}

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
        let live = self.tracks.get(&name).and_then(|track| track.live);
        if let Some(live) = live {
            let Origin {
                connection,
                request: id,
            } = origin;
            self.publisher
                .serve(now, connection, id, live, &request.parameters);
            return;
        }
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
    fn wait(&mut self, now: Time, origin: Origin, name: &FullTrackName, parameters: Parameters) {
        let limit = self.settings.limits.max_waiting;
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        if track.waiting.len() >= limit {
            let refusal = overloaded("too many subscriptions wait for this track");
            return self.respond(now, origin, Response::Error(refusal));
        }
        track.waiting.insert(origin, parameters);
        self.waiting.insert(origin, name.clone());
    }

    /// Whether anybody downstream wants objects of the track now.
    fn wants_objects(&self, name: &FullTrackName) -> bool {
        self.tracks.get(name).is_some_and(|track| {
            track
                .waiting
                .values()
                .any(|parameters| parameters.forward != Some(false))
                || track
                    .live
                    .is_some_and(|live| self.publisher.fanout.has_forwarding_subscribers(live))
        })
    }

    /// Subscribes to a track at a publisher, unless that is done or there are enough of them.
    fn ask(
        &mut self,
        now: Time,
        publisher: ConnectionId,
        name: &FullTrackName,
        forward: bool,
    ) -> Result<(), Misuse> {
        let limits = &self.settings.limits;
        let Some(track) = self.tracks.get_mut(name) else {
            return Ok(());
        };
        let is_asked = track.upstreams.iter().any(|(origin, upstream)| {
            origin.connection == publisher && !matches!(upstream, Upstream::Ending { .. })
        });
        if is_asked || track.upstreams.len() >= limits.max_publishers_per_track {
            return Ok(());
        }
        let Some(session) = self.publisher.peers.session(publisher) else {
            return Ok(());
        };
        let request = Request::Subscribe(Subscribe {
            request_id: RequestId(0),
            track: name.clone(),
            parameters: Parameters {
                filter: track.upstream_filter(),
                forward: Some(forward),
                subscriber_priority: Some(UPSTREAM_PRIORITY),
                ..Parameters::default()
            },
        });
        let request = session
            .request(now, request)
            .inspect_err(|misuse| debug!("{publisher}: cannot ask for {name}: {misuse}"))?;
        let origin = Origin {
            connection: publisher,
            request,
        };
        let give_up = now + limits.answer_timeout;
        track
            .upstreams
            .insert(origin, Upstream::Asked { give_up, forward });
        self.upstreams.insert(origin, name.clone());
        self.deadlines.insert((give_up, origin));
        Ok(())
    }

    /// A new announcement: the tracks under it that somebody wants are asked for there too.
    pub(super) fn ask_new_publisher(
        &mut self,
        now: Time,
        origin: Origin,
        namespace: &TrackNamespace,
    ) {
        let start = FullTrackName {
            namespace: namespace.clone(),
            ..FullTrackName::default()
        };
        let wanted: Vec<FullTrackName> = self
            .tracks
            .range(start..)
            .map_while(|(name, _)| name.namespace.strip_prefix(namespace).map(|_| name.clone()))
            .collect();
        for name in wanted {
            let forward = self.wants_objects(&name);
            // Whoever subscribes has other publishers, or was refused.
            let _is_asked = self.ask(now, origin.connection, &name, forward);
        }
    }

    /// A publisher agreed to send a track.
    pub(super) fn established(&mut self, now: Time, origin: Origin, ok: SubscribeOk) {
        let Some(name) = self.upstreams.get(&origin).cloned() else {
            return;
        };
        let largest = ok.parameters.largest_object;
        let Some(live) = self.live_track(origin.connection, &name, ok) else {
            self.forget_upstream(now, origin);
            self.cancel(now, origin, ResetCode::ExcessiveLoad);
            let refusal = overloaded("too many tracks");
            return self.give_up_if_hopeless(now, &name, &refusal);
        };
        if let Some(largest) = largest {
            self.publisher.fanout.raise_largest(live, largest);
        }
        let source = SourceId(self.next_source);
        self.next_source += 1;
        self.publisher.fanout.add_source(live, source);
        self.sources.insert(origin, (live, source));
        self.origins.insert(source, origin);
        let Some(track) = self.tracks.get_mut(&name) else {
            return;
        };
        if let Some(upstream) = track.upstreams.get_mut(&origin)
            && let Upstream::Asked { give_up, forward } = *upstream
        {
            self.deadlines.remove(&(give_up, origin));
            *upstream = Upstream::Established { forward };
        }
        let waiting = std::mem::take(&mut track.waiting);
        let who = self.describe(origin.connection);
        match largest {
            Some(largest) => info!("{who} publishes {name}, so far up to {largest}"),
            None => info!("{who} publishes {name}, nothing so far"),
        }
        for (origin, parameters) in waiting {
            self.waiting.remove(&origin);
            let Origin {
                connection,
                request,
            } = origin;
            self.publisher
                .serve(now, connection, request, live, &parameters);
        }
        self.subscribers_changed(now, live);
    }

    /// The track in memory, opened if it is not yet.
    fn live_track(
        &mut self,
        publisher: ConnectionId,
        name: &FullTrackName,
        ok: SubscribeOk,
    ) -> Option<TrackId> {
        let track = self.tracks.get_mut(name)?;
        if track.live.is_none() {
            let draft = self.publisher.peers.session(publisher)?.draft()?;
            let largest = ok.parameters.largest_object;
            let live = self
                .publisher
                .fanout
                .open_track(draft, ok.properties, largest)?;
            track.live = Some(live);
            self.names.insert(live, name.clone());
        }
        track.live
    }

    /// A publisher refused to send a track.
    pub(super) fn refused(&mut self, now: Time, origin: Origin, refusal: &Refusal) {
        let Some(name) = self.forget_upstream(now, origin) else {
            return;
        };
        info!(
            "{} refuses {name}: {} ({})",
            self.describe(origin.connection),
            refusal.code,
            refusal.reason.escape_ascii()
        );
        // A redirect is for us, not for those who asked us.
        let passed_on = if refusal.code == RequestCode::Redirect {
            no_such_track()
        } else {
            refusal.clone()
        };
        self.give_up_if_hopeless(now, &name, &passed_on);
    }

    /// A publisher ended a subscription of ours. Objects that it sent before may still be on their way.
    pub(super) fn publisher_done(&mut self, origin: Origin, done: PublishDone) {
        if let Some(upstream) = self
            .upstreams
            .get(&origin)
            .and_then(|name| self.tracks.get_mut(name))
            .and_then(|track| track.upstreams.get_mut(&origin))
        {
            *upstream = Upstream::Ending { done };
        }
    }

    /// Everything that a publisher sent before it ended a subscription of ours is here.
    pub(super) fn publisher_settled(&mut self, now: Time, origin: Origin) {
        if let Some(done) = self.ending(origin) {
            self.publisher_ended(now, origin, &done);
        }
    }

    /// What a publisher said when it ended a subscription of ours.
    fn ending(&self, origin: Origin) -> Option<PublishDone> {
        let name = self.upstreams.get(&origin)?;
        match self.tracks.get(name)?.upstreams.get(&origin)? {
            Upstream::Ending { done } => Some(done.clone()),
            Upstream::Asked { .. } | Upstream::Established { .. } => None,
        }
    }

    fn publisher_ended(&mut self, now: Time, origin: Origin, done: &PublishDone) {
        let code = match done.code {
            // That was about our subscription, not about the track.
            DoneCode::Unauthorized
            | DoneCode::UpdateFailed
            | DoneCode::TooFarBehind
            | DoneCode::Expired
            | DoneCode::Unknown(_)
            | DoneCode::InternalError => DoneCode::InternalError,
            code @ (DoneCode::TrackEnded
            | DoneCode::SubscriptionEnded
            | DoneCode::GoingAway
            | DoneCode::ExcessiveLoad
            | DoneCode::MalformedTrack) => code,
        };
        let reason = String::from_utf8_lossy(&done.reason);
        self.publisher_gone(now, origin, code, &reason);
    }

    /// A publisher left, without a word unless it had ended the subscription before.
    pub(super) fn publisher_lost(&mut self, now: Time, origin: Origin) {
        if let Some(done) = self.ending(origin) {
            return self.publisher_ended(now, origin, &done);
        }
        self.publisher_gone(now, origin, DoneCode::InternalError, "the publisher left");
    }

    fn publisher_gone(&mut self, now: Time, origin: Origin, code: DoneCode, reason: &str) {
        let Some(name) = self.forget_upstream(now, origin) else {
            return;
        };
        info!(
            "{} no longer publishes {name}: {code}",
            self.describe(origin.connection)
        );
        self.give_up_if_hopeless(now, &name, &no_such_track());
        let is_last = |track: &Track| track.upstreams.is_empty();
        if self.tracks.get(&name).is_some_and(is_last) {
            let end = TrackEnd {
                code,
                reason,
                cancel: ResetCode::Cancelled,
                refusal: no_such_track(),
            };
            self.end_track(now, &name, &end);
        }
    }

    /// Ends a track, for everybody downstream and at its publishers.
    pub(super) fn end_track(&mut self, now: Time, name: &FullTrackName, end: &TrackEnd<'_>) {
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        let waiting = std::mem::take(&mut track.waiting);
        // First downstream: the streams there end for the track's reason, not for want of a publisher.
        if let Some(live) = track.live {
            self.names.remove(&live);
            self.publisher
                .fanout
                .close_track(now, live, end.code, end.reason);
        }
        for origin in self.publishers_asked(name) {
            self.forget_upstream(now, origin);
            self.cancel(now, origin, end.cancel);
        }
        self.tracks.remove(name);
        for origin in waiting.into_keys() {
            self.waiting.remove(&origin);
            self.respond(now, origin, Response::Error(end.refusal.clone()));
        }
    }

    /// Forgets one of our subscriptions. Returns the track that it was for.
    fn forget_upstream(&mut self, now: Time, origin: Origin) -> Option<FullTrackName> {
        let name = self.upstreams.remove(&origin)?;
        if let Some((live, source)) = self.sources.remove(&origin) {
            self.origins.remove(&source);
            self.publisher
                .fanout
                .remove_source(now, live, source, ResetCode::InternalError);
        }
        if let Some(Upstream::Asked { give_up, .. }) = self
            .tracks
            .get_mut(&name)
            .and_then(|track| track.upstreams.remove(&origin))
        {
            self.deadlines.remove(&(give_up, origin));
        }
        Some(name)
    }

    /// If no publisher is left to wait for, tells those who wait.
    fn give_up_if_hopeless(&mut self, now: Time, name: &FullTrackName, refusal: &Refusal) {
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        if !track.upstreams.is_empty() || track.live.is_some() {
            return;
        }
        let waiting = std::mem::take(&mut track.waiting);
        self.tracks.remove(name);
        for origin in waiting.into_keys() {
            self.waiting.remove(&origin);
            self.respond(now, origin, Response::Error(refusal.clone()));
        }
    }

    /// A subscription that waits for a publisher was withdrawn.
    pub(super) fn stop_waiting(&mut self, now: Time, origin: Origin) -> bool {
        let Some(name) = self.waiting.remove(&origin) else {
            return false;
        };
        if let Some(track) = self.tracks.get_mut(&name) {
            track.waiting.remove(&origin);
        }
        self.release_if_idle(now, &name);
        true
    }

    /// Subscribers of a track came, went or changed their mind.
    pub(super) fn subscribers_changed(&mut self, now: Time, live: TrackId) {
        if let Some(name) = self.names.get(&live).cloned()
            && !self.release_if_idle(now, &name)
        {
            self.forward_as_needed(now, &name);
        }
    }

    /// Our subscriptions to a track.
    fn publishers_asked(&self, name: &FullTrackName) -> Vec<Origin> {
        let upstreams = self.tracks.get(name).map(|track| &track.upstreams);
        upstreams
            .into_iter()
            .flat_map(BTreeMap::keys)
            .copied()
            .collect()
    }

    /// Withdraws our subscriptions to a track that nobody wants any more.
    fn release_if_idle(&mut self, now: Time, name: &FullTrackName) -> bool {
        let Some(track) = self.tracks.get(name) else {
            return true;
        };
        let is_idle = track.waiting.is_empty()
            && track
                .live
                .is_none_or(|live| self.publisher.fanout.is_idle(live));
        if !is_idle {
            return false;
        }
        let end = TrackEnd {
            code: DoneCode::SubscriptionEnded,
            reason: "nobody wants it",
            cancel: ResetCode::Cancelled,
            refusal: no_such_track(),
        };
        self.end_track(now, name, &end);
        true
    }

    /// Tells publishers whether to send objects, if that has changed.
    fn forward_as_needed(&mut self, now: Time, name: &FullTrackName) {
        let wanted = self.wants_objects(name);
        let Some(track) = self.tracks.get_mut(name) else {
            return;
        };
        for (origin, upstream) in &mut track.upstreams {
            let Upstream::Established { forward, .. } = upstream else {
                // Known only to the answer: it is looked at again then.
                continue;
            };
            if *forward == wanted {
                continue;
            }
            let change = Parameters {
                forward: Some(wanted),
                ..Parameters::default()
            };
            let Some(session) = self.publisher.peers.session(origin.connection) else {
                continue;
            };
            match session.update(now, origin.request, change) {
                Ok(_) => *forward = wanted,
                // Without credit now, it is tried again when there is some.
                Err(misuse) => debug!("{}: cannot change forwarding: {misuse}", origin.connection),
            }
        }
    }

    /// A publisher takes requests again.
    pub(super) fn can_request(&mut self, now: Time, publisher: ConnectionId) {
        for origin in of_connection(&self.upstreams, publisher) {
            if let Some(name) = self.upstreams.get(&origin).cloned() {
                self.forward_as_needed(now, &name);
            }
        }
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
        if let Some(name) = self.waiting.get(&origin) {
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
        } else {
            self.publisher
                .update(now, connection, request, update, parameters);
        }
    }

    /// Withdraws subscriptions that publishers have not answered in time.
    pub(super) fn expire_unanswered(&mut self, now: Time) {
        while let Some(&(deadline, origin)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            if let Some(name) = self.forget_upstream(now, origin) {
                info!(
                    "{} did not answer for {name}",
                    self.describe(origin.connection)
                );
                self.cancel(now, origin, ResetCode::Cancelled);
                let refusal = Refusal::new(RequestCode::Timeout, "the publisher did not answer");
                self.give_up_if_hopeless(now, &name, &refusal);
            }
        }
    }
}

impl Track {
    /// The filter of our own subscription: from the next object on, unless somebody who waits asked for more. A publisher
    /// that starts because it is subscribed to may count its first object as the largest already; whoever asked without a
    /// filter is to have that one too.
    fn upstream_filter(&self) -> Option<Filter> {
        let is_next = |parameters: &Parameters| {
            matches!(
                parameters.filter,
                Some(Filter::LargestObject | Filter::NextGroupStart)
            )
        };
        self.waiting
            .values()
            .all(is_next)
            .then_some(Filter::LargestObject)
    }
}

const fn no_such_track() -> Refusal {
    Refusal::new(RequestCode::DoesNotExist, "no such namespace or track")
}
