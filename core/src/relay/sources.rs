//! Where a track comes from: our own subscriptions, one at each publisher, from the first question to the last object.

use std::collections::BTreeMap;

use log::{debug, info};

use super::routes::Origin;
use super::tracks::{Track, TrackEnd, Upstream, no_such_track};
use super::{Relay, of_connection, overloaded};
use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::fanout::{SourceId, TrackId};
use crate::session::{Misuse, Refusal, Request};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::{Location, RequestId};
use crate::wire::message::{PublishDone, Subscribe, SubscribeOk};
use crate::wire::name::{FullTrackName, TrackNamespace};
use crate::wire::param::Parameters;
use crate::wire::property::Properties;

/// The priority that this relay's own subscriptions have: the middle, whatever its subscribers' are
/// (§ Considerations for Setting Priorities).
pub(super) const UPSTREAM_PRIORITY: u8 = 128;

impl Relay {
    /// Subscribes to a track at a publisher, unless that is done or there are enough of them.
    pub(super) fn ask(
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
        self.widen(origin.connection);
        let asked = self
            .tracks
            .get_mut(&name)
            .and_then(|track| track.upstreams.get_mut(&origin));
        if let Some(upstream) = asked
            && let Upstream::Asked { give_up, forward } = *upstream
        {
            self.deadlines.remove(&(give_up, origin));
            *upstream = Upstream::Established {
                forward,
                offered: false,
            };
        }
        let largest = ok.parameters.largest_object;
        if !self.attach(now, origin, &name, ok.properties, largest) {
            self.forget_upstream(now, origin);
            self.cancel(now, origin, ResetCode::ExcessiveLoad);
            let refusal = overloaded("too many tracks");
            return self.give_up_if_hopeless(now, &name, &refusal);
        }
        if !self.release_if_idle(now, &name) {
            self.forward_as_needed(now, &name);
        }
    }

    /// Lets a publisher, entered among the track's upstreams before, bring objects of it; whoever waited for the track
    /// is served. Whether it is to forward objects is for the caller to see to. False if there is no room for the track.
    pub(super) fn attach(
        &mut self,
        now: Time,
        origin: Origin,
        name: &FullTrackName,
        properties: Properties,
        largest: Option<Location>,
    ) -> bool {
        let Some(live) = self.live_track(origin.connection, name, properties, largest) else {
            return false;
        };
        if let Some(largest) = largest {
            self.publisher.fanout.raise_largest(live, largest);
        }
        let source = SourceId(self.next_source);
        self.next_source += 1;
        self.publisher.fanout.add_source(live, source);
        self.sources.insert(origin, (live, source));
        self.origins.insert(source, origin);
        let who = self.describe(origin.connection);
        match largest {
            Some(largest) => info!("{who} publishes {name}, so far up to {largest}"),
            None => info!("{who} publishes {name}, nothing so far"),
        }
        let Some(track) = self.tracks.get_mut(name) else {
            return true;
        };
        let waiting = std::mem::take(&mut track.waiting);
        for (origin, parameters) in waiting {
            self.no_longer_waits(origin);
            let Origin {
                connection,
                request,
            } = origin;
            self.publisher
                .serve(now, connection, request, live, &parameters);
        }
        true
    }

    /// The track in memory, opened if it is not yet.
    pub(super) fn live_track(
        &mut self,
        publisher: ConnectionId,
        name: &FullTrackName,
        properties: Properties,
        largest: Option<Location>,
    ) -> Option<TrackId> {
        let track = self.tracks.get_mut(name)?;
        if track.live.is_none() {
            let draft = self.publisher.peers.session(publisher)?.draft()?;
            let live = self
                .publisher
                .fanout
                .open_track(draft, properties, largest)?;
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
    pub(super) fn ending(&self, origin: Origin) -> Option<PublishDone> {
        let name = self.upstreams.get(&origin)?;
        match self.tracks.get(name)?.upstreams.get(&origin)? {
            Upstream::Ending { done } => Some(done.clone()),
            Upstream::Asked { .. } | Upstream::Established { .. } => None,
        }
    }

    pub(super) fn publisher_ended(&mut self, now: Time, origin: Origin, done: &PublishDone) {
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

    pub(super) fn publisher_gone(
        &mut self,
        now: Time,
        origin: Origin,
        code: DoneCode,
        reason: &str,
    ) {
        let Some(name) = self.forget_upstream(now, origin) else {
            return;
        };
        info!(
            "{} no longer publishes {name}: {code}",
            self.describe(origin.connection)
        );
        self.give_up_if_hopeless(now, &name, &no_such_track());
        let is_last = |track: &Track| track.upstreams.is_empty() && track.live.is_some();
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

    /// Forgets one of our subscriptions. Returns the track that it was for.
    pub(super) fn forget_upstream(&mut self, now: Time, origin: Origin) -> Option<FullTrackName> {
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

    /// Our subscriptions to a track.
    pub(super) fn publishers_asked(&self, name: &FullTrackName) -> Vec<Origin> {
        let upstreams = self.tracks.get(name).map(|track| &track.upstreams);
        upstreams
            .into_iter()
            .flat_map(BTreeMap::keys)
            .copied()
            .collect()
    }

    /// A publisher takes requests again.
    pub(super) fn can_request(&mut self, now: Time, publisher: ConnectionId) {
        for origin in of_connection(&self.upstreams, publisher) {
            if let Some(name) = self.upstreams.get(&origin).cloned() {
                self.forward_as_needed(now, &name);
            }
        }
        self.ask_again(now, publisher);
        self.offer_owed(now, publisher);
        self.retry_fills();
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
