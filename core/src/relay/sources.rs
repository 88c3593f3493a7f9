//! Where a track comes from: our own subscriptions, one at each publisher, from the first question to the last object.

use std::collections::BTreeMap;

use log::debug;

use super::epochs::{Loss, Source};
use super::routes::Origin;
use super::tracks::{Upstream, no_such_track};
use super::{Relay, of_connection, overloaded};
use crate::code::{RequestCode, ResetCode};
use crate::fanout::TrackId;
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
        route: Origin,
        name: &FullTrackName,
        forward: bool,
    ) -> Result<(), Misuse> {
        if !self.may_ask(route, name) {
            return Ok(());
        }
        self.ask_as(now, route.connection, name, name, (forward, 0))
    }

    /// Subscribes to a track at every publisher that announced its namespace, but for one perhaps. Whether one of them has
    /// no credit for the request.
    pub(super) fn ask_all(
        &mut self,
        now: Time,
        name: &FullTrackName,
        but: Option<ConnectionId>,
    ) -> bool {
        let forward = self.forwards_at_first(name);
        let mut is_blocked = false;
        for publisher in self.routes.publishers_of(&name.namespace) {
            if Some(publisher.connection) != but {
                is_blocked |= self.ask(now, publisher, name, forward) == Err(Misuse::Blocked);
            }
        }
        is_blocked
    }

    /// Subscribes to what is a track here under the name that it has at a publisher.
    fn ask_as(
        &mut self,
        now: Time,
        publisher: ConnectionId,
        name: &FullTrackName,
        there: &FullTrackName,
        (forward, redirects): (bool, usize),
    ) -> Result<(), Misuse> {
        let limits = &self.settings.limits;
        let asked = self.tracks.get(name);
        let asked = asked.map_or(0, |track| self.publishers_that_stay(track));
        let Some(track) = self.tracks.get_mut(name) else {
            return Ok(());
        };
        let is_asked = track.upstreams.iter().any(|(origin, upstream)| {
            origin.connection == publisher && !matches!(upstream, Upstream::Ending { .. })
        });
        let is_full =
            asked >= limits.max_publishers_per_track && !self.links.contains_key(&publisher);
        if is_asked || is_full {
            return Ok(());
        }
        let Some(session) = self.publisher.peers.session(publisher) else {
            return Ok(());
        };
        let new_group = track.wanted_group();
        let request = Request::Subscribe(Subscribe {
            request_id: RequestId(0),
            track: there.clone(),
            parameters: Parameters {
                filter: track.upstream_filter(),
                forward: Some(forward),
                subscriber_priority: Some(UPSTREAM_PRIORITY),
                new_group_request: new_group,
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
        if let Some(value) = new_group {
            track.group_asked(value, origin);
        }
        let give_up = now + limits.answer_timeout;
        track.upstreams.insert(
            origin,
            Upstream::Asked {
                give_up,
                forward,
                redirects,
            },
        );
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
            let forward = self.forwards_at_first(&name);
            // Whoever subscribes has other publishers, or was refused.
            let _is_asked = self.ask(now, origin, &name, forward);
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
            && let Upstream::Asked {
                give_up, forward, ..
            } = *upstream
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
            self.pass_group_request(now, &name);
        }
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
            track.group_known(largest.map(|largest| largest.group));
            self.names.insert(live, name.clone());
        }
        track.live
    }

    /// A publisher refused to send a track.
    pub(super) fn refused(&mut self, now: Time, origin: Origin, refusal: &Refusal) {
        if self.comes_by_publish(origin, refusal) {
            return;
        }
        if self.discovery_refused(origin, refusal) || self.redirected(now, origin, refusal) {
            return;
        }
        let Some(name) = self.forget_upstream(now, origin) else {
            return;
        };
        let who = self.describe(origin.connection);
        self.journal.info(
            now,
            Some(origin.connection),
            format_args!(
                "{who} refuses {name}: {} ({})",
                refusal.code,
                refusal.reason.escape_ascii()
            ),
        );
        // A redirect is for us, not for those who asked us.
        let passed_on = if refusal.code == RequestCode::Redirect {
            no_such_track()
        } else {
            refusal.clone()
        };
        self.give_up_if_hopeless(now, &name, &passed_on);
        self.end_if_over(now, &name);
    }

    /// Follows a REDIRECT to another track of the same publisher. One to another place is not for a relay to follow.
    fn redirected(&mut self, now: Time, origin: Origin, refusal: &Refusal) -> bool {
        let Some(redirect) = &refusal.redirect else {
            return false;
        };
        let Some(name) = self.upstreams.get(&origin).cloned() else {
            return false;
        };
        let upstream = self
            .tracks
            .get(&name)
            .and_then(|track| track.upstreams.get(&origin));
        let Some(&Upstream::Asked {
            forward, redirects, ..
        }) = upstream
        else {
            return false;
        };
        let is_named = redirect.track != FullTrackName::default();
        if !is_named || !redirect.uri.is_empty() || redirects >= self.settings.limits.max_redirects
        {
            return false;
        }
        let who = self.describe(origin.connection);
        self.journal.info(
            now,
            Some(origin.connection),
            format_args!("{who} has {name} as {}", redirect.track),
        );
        self.forget_upstream(now, origin);
        let how = (forward, redirects + 1);
        let there = &redirect.track;
        if self
            .ask_as(now, origin.connection, &name, there, how)
            .is_err()
        {
            self.give_up_if_hopeless(now, &name, &no_such_track());
            self.end_if_over(now, &name);
        }
        true
    }

    /// Whether a refusal means that the publisher's own PUBLISH of the track is on its way (§ Subscriptions): it may come
    /// after the refusal, on another stream, and is waited for like an answer.
    fn comes_by_publish(&self, origin: Origin, refusal: &Refusal) -> bool {
        let track = self
            .upstreams
            .get(&origin)
            .and_then(|name| self.tracks.get(name));
        refusal.code == RequestCode::DuplicateSubscription
            && track.is_some_and(|track| {
                let of_peer = track
                    .upstreams
                    .keys()
                    .filter(|other| other.connection == origin.connection);
                of_peer.count() == 1
            })
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

    fn publisher_ended(&mut self, now: Time, origin: Origin, done: &PublishDone) {
        let reason = String::from_utf8_lossy(&done.reason);
        self.publisher_gone(now, origin, &Loss::told(done, &reason));
    }

    /// A publisher left, without a word unless it had ended the subscription before.
    pub(super) fn publisher_lost(&mut self, now: Time, origin: Origin) {
        if let Some(done) = self.ending(origin) {
            return self.publisher_ended(now, origin, &done);
        }
        self.publisher_gone(now, origin, &Loss::silent());
    }

    /// Forgets one of our subscriptions. Returns the track that it was for.
    pub(super) fn forget_upstream(&mut self, now: Time, origin: Origin) -> Option<FullTrackName> {
        self.take_upstream(now, origin, false)
    }

    /// Forgets one of our subscriptions; what it was bringing may be `continued` by another.
    pub(super) fn take_upstream(
        &mut self,
        now: Time,
        origin: Origin,
        continued: bool,
    ) -> Option<FullTrackName> {
        let name = self.upstreams.remove(&origin)?;
        self.resuming.remove(&origin);
        if let Some(Source { live, id, .. }) = self.sources.remove(&origin) {
            self.origins.remove(&id);
            let fanout = &mut self.publisher.fanout;
            if continued {
                fanout.suspend_source(live, id);
            } else {
                fanout.remove_source(now, live, id, ResetCode::InternalError);
            }
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
                self.pass_group_request(now, &name);
            }
        }
        self.discover_owed(now, publisher);
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
                let who = self.describe(origin.connection);
                self.journal.info(
                    now,
                    Some(origin.connection),
                    format_args!("{who} did not answer for {name}"),
                );
                self.cancel(now, origin, ResetCode::Cancelled);
                let refusal = Refusal::new(RequestCode::Timeout, "the publisher did not answer");
                self.give_up_if_hopeless(now, &name, &refusal);
                self.end_if_over(now, &name);
            }
        }
    }
}
