//! What goes out: streams opened, ended and reset, datagrams, and the end of subscriptions, one connection at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::downstream::{Downstream, OpenError};
use super::lane::{Closed, Standing, State};
use super::subgroup::{End, Image};
use super::subscription::{Ending, Subscription};
use super::track::{Group, Key, Track};
use super::{Connection, Fanout, LagPolicy, Limits, Notice, Outgoing, TrackId};
use crate::code::{DoneCode, ResetCode};
use crate::draft::Profile;
use crate::ledger::Ledger;
use crate::time::Time;
use crate::transport::{ConnectionId, StreamId};
use crate::wire::id::{GroupId, Millis, RequestId};
use crate::wire::object::encode_datagram;
use crate::wire::param::GroupOrder;

impl Fanout {
    /// Does what a connection's subscriptions need of its session: to be called for every connection that
    /// [`Fanout::poll_dirty`] yields, before anything else is polled.
    pub fn pump(&mut self, now: Time, connection: ConnectionId, session: &mut impl Downstream) {
        let Some(peer) = self.connections.get_mut(&connection) else {
            return;
        };
        if peer.mark_settled() {
            self.unsettled = self.unsettled.saturating_sub(1);
        }
        let mut changed = std::mem::take(&mut peer.changed);
        let mut finished: Vec<RequestId> = Vec::new();
        for request in &changed {
            let Some(subscription) = peer.subscriptions.get_mut(request) else {
                continue;
            };
            subscription.dirty = false;
            let Some(track) = self.tracks.get_mut(&subscription.track) else {
                continue;
            };
            let mut turn = Turn {
                now,
                request: *request,
                subscription,
                track,
                outgoing: &mut peer.outgoing,
                touched: &mut self.touched,
                profile: peer.profile,
                limits: &self.limits,
                ledger: &self.ledger,
                session,
            };
            turn.run();
        }
        peer.outgoing.flush(now, session);
        self.open_streams(now, connection, session);
        let Some(peer) = self.connections.get_mut(&connection) else {
            return;
        };
        for request in &changed {
            let Some(subscription) = peer.subscriptions.get_mut(request) else {
                continue;
            };
            if let Some(track) = self.tracks.get_mut(&subscription.track)
                && subscription.is_over(now, track, &mut peer.outgoing)
            {
                finished.push(*request);
            }
        }
        peer.outgoing.flush(now, session);
        for request in finished {
            self.finish(now, connection, request, session);
        }
        changed.clear();
        self.restore(now, connection, changed);
    }

    /// Gives the list of changed subscriptions back, to be used again, and sets the connection's timer.
    fn restore(&mut self, now: Time, connection: ConnectionId, mut changed: Vec<RequestId>) {
        let Some(peer) = self.connections.get_mut(&connection) else {
            return;
        };
        changed.append(&mut peer.changed);
        peer.changed = changed;
        let tracks = &self.tracks;
        let limits = &self.limits;
        let deadline = peer
            .subscriptions
            .values()
            .filter_map(|subscription| {
                let track = tracks.get(&subscription.track)?;
                subscription.next_deadline(track, limits)
            })
            .min()
            // What is due already was just dealt with, as far as it can be.
            .map(|deadline| deadline.max(now + Duration::from_micros(1)));
        if deadline != peer.deadline {
            if let Some(old) = peer.deadline {
                self.timers.remove(&(old, connection));
            }
            if let Some(new) = deadline {
                self.timers.insert((new, connection));
            }
            peer.deadline = deadline;
        }
    }

    /// Opens streams for the lanes that wait, the most urgent first, until the session has no more credit.
    fn open_streams(&mut self, now: Time, connection: ConnectionId, session: &mut impl Downstream) {
        let Some(peer) = self.connections.get_mut(&connection) else {
            return;
        };
        if peer.outgoing.blocked || peer.outgoing.waiting.is_empty() {
            return;
        }
        let mut candidates: Vec<_> = std::mem::take(&mut peer.outgoing.waiting)
            .into_iter()
            .filter_map(|(request, key)| {
                let subscription = peer.subscriptions.get(&request)?;
                let track = self.tracks.get(&subscription.track)?;
                let lane = subscription.lanes.get(&key)?;
                let subgroup = track.subgroup(key)?;
                let priority = subgroup.header.priority.unwrap_or(track.defaults.priority);
                let group = match subscription.order {
                    GroupOrder::Ascending => key.0.0,
                    GroupOrder::Descending => u64::MAX - key.0.0,
                };
                (lane.state == State::Waiting).then_some((
                    (subscription.priority, priority, group, key.1),
                    request,
                    key,
                    subgroup.end == Some(End::Fin),
                ))
            })
            .collect();
        candidates.sort_unstable();
        for ((_, priority, _, _), request, key, complete) in candidates {
            if peer.outgoing.blocked {
                peer.outgoing.waiting.insert((request, key));
                continue;
            }
            let Some(subscription) = peer.subscriptions.get_mut(&request) else {
                continue;
            };
            match session.open_subgroup(now, request, key.0, key.1, priority) {
                Ok(stream) => {
                    if let Some(lane) = subscription.lanes.get_mut(&key) {
                        lane.state = State::Open(stream);
                    }
                    peer.outgoing.streams.insert(stream, (request, key));
                    if complete {
                        session.subgroup_complete(now, stream);
                    }
                    session.stream_ready(stream);
                }
                Err(OpenError::Blocked) => {
                    peer.outgoing.blocked = true;
                    peer.outgoing.waiting.insert((request, key));
                }
                Err(OpenError::Gone) => {
                    // The session forgot the request, and will say so if it has not yet.
                    subscription.end(
                        DoneCode::InternalError,
                        &"the request is gone".into(),
                        Time::ZERO,
                    );
                }
            }
        }
    }

    /// Ends a subscription whose lanes are closed.
    fn finish(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        session: &mut impl Downstream,
    ) {
        let Some(subscription) = self
            .connections
            .get_mut(&connection)
            .and_then(|peer| peer.subscriptions.remove(&request))
        else {
            return;
        };
        if let Some(Ending { code, reason, .. }) = &subscription.ending {
            session.done(now, request, *code, reason);
        }
        self.forget_subscription(connection, request, &subscription);
        self.notify(Notice::Ended {
            connection,
            request,
        });
    }
}

/// One look at one subscription.
struct Turn<'a, S> {
    now: Time,
    request: RequestId,
    subscription: &'a mut Subscription,
    track: &'a mut Track,
    outgoing: &'a mut Outgoing,
    touched: &'a mut BTreeSet<(TrackId, Key)>,
    profile: &'static Profile,
    limits: &'a Limits,
    ledger: &'a Ledger,
    session: &'a mut S,
}

impl<S: Downstream> Turn<'_, S> {
    fn run(&mut self) {
        self.subscription.tidy(self.track);
        self.subscription.look(self.track);
        self.expire();
        let mut attention = std::mem::take(&mut self.subscription.attention);
        for key in attention.drain(..) {
            self.attend(key);
        }
        self.subscription.attention = attention;
        self.send_datagrams();
        self.check_lag();
        self.check_end();
    }

    /// Does what a lane's standing asks for.
    fn attend(&mut self, key: Key) {
        loop {
            let alias = self.track.alias;
            let given_up = self
                .track
                .groups
                .get(&key.0)
                .is_some_and(|group| group.given_up);
            let (Some(lane), Some(subgroup)) = (
                self.subscription.lanes.get_mut(&key),
                self.track.subgroup_mut(key),
            ) else {
                return;
            };
            if given_up && lane.is_live() && lane.lag > 0 {
                return self.fall_behind(key);
            }
            let standing = lane.standing(subgroup);
            match (lane.state, standing) {
                (State::Closed(Closed::CutOff), _) => {
                    let Some(more) = lane.revive(subgroup) else {
                        return;
                    };
                    self.subscription.lag += more;
                }
                (State::Closed(_), _) | (State::Waiting | State::Open(_), Standing::Idle) => return,
                (State::Waiting, Standing::Ready) => {
                    if lane
                        .peek(self.profile, alias, subgroup, self.ledger)
                        .is_err()
                    {
                        return self.end(DoneCode::InternalError, "the draft cannot express an id");
                    }
                    self.outgoing.waiting.insert((self.request, key));
                    return;
                }
                (State::Open(stream), Standing::Ready) => {
                    if lane
                        .peek(self.profile, alias, subgroup, self.ledger)
                        .is_err()
                    {
                        return self.end(DoneCode::InternalError, "the draft cannot express an id");
                    }
                    return self.wake(key, stream);
                }
                (State::Open(stream), Standing::Finish) if lane.begun => {
                    return self.wake(key, stream);
                }
                (_, Standing::Finish) => {
                    return self.close(key, Closed::Delivered, ResetCode::Cancelled);
                }
                (_, Standing::CutOff(code)) => return self.close(key, Closed::CutOff, code),
                (_, Standing::Break) => self.restart(key),
                (_, Standing::Skip) => self.skip(key),
            }
        }
    }

    /// A stream has something to send.
    fn wake(&mut self, key: Key, stream: StreamId) {
        let end = self.track.subgroup(key).and_then(|subgroup| subgroup.end);
        if end == Some(End::Fin) {
            self.session.subgroup_complete(self.now, stream);
        }
        self.session.stream_ready(stream);
    }

    /// Ends a lane; if it has a stream, that is reset.
    fn close(&mut self, key: Key, why: Closed, code: ResetCode) {
        let stream = self.subscription.close_lane(self.track, key, why);
        self.outgoing.abandon(stream, code);
        self.touched.insert((self.subscription.track, key));
    }

    /// Resets a lane's stream; it goes on with a new one at the object at its cursor.
    fn restart(&mut self, key: Key) {
        if let Some(lane) = self.subscription.lanes.get_mut(&key) {
            let before = lane.lag;
            if let State::Open(stream) = lane.state {
                self.outgoing.abandon([stream], ResetCode::Cancelled);
            }
            lane.restart();
            self.subscription.lag = self.subscription.lag.saturating_sub(before) + lane.lag;
        }
    }

    /// Leaves an object out that will never be complete.
    fn skip(&mut self, key: Key) {
        let code = match self.track.subgroup(key).and_then(|subgroup| subgroup.end) {
            Some(End::Reset(code)) => code,
            Some(End::Fin) | None => ResetCode::Cancelled,
        };
        let (Some(lane), Some(subgroup)) = (
            self.subscription.lanes.get_mut(&key),
            self.track.subgroup_mut(key),
        ) else {
            return;
        };
        let before = lane.lag;
        if lane.begun
            && let State::Open(stream) = lane.state
        {
            self.outgoing.abandon([stream], code);
            lane.restart();
        }
        lane.step(subgroup);
        self.subscription.lag = self.subscription.lag.saturating_sub(before) + lane.lag;
        self.touched.insert((self.subscription.track, key));
    }

    /// The subscriber did not take a group before it had to be given up.
    fn fall_behind(&mut self, key: Key) {
        match self.limits.lag_policy {
            LagPolicy::End => self.end(DoneCode::TooFarBehind, "too far behind"),
            LagPolicy::Skip => self.close(key, Closed::Late, ResetCode::TooFarBehind),
        }
    }

    fn end(&mut self, code: DoneCode, reason: &str) {
        self.subscription.end(code, &Arc::from(reason), self.now);
    }

    /// Resets the streams of lanes whose delivery timeout passed (§ Delivery Timeouts).
    fn expire(&mut self) {
        if !self.subscription.has_timeout(self.track) {
            return;
        }
        let now = self.now;
        let streams =
            self.subscription
                .withdraw(self.track, Closed::Late, |this, track, key, _| {
                    this.lane_deadline(track, key)
                        .is_some_and(|deadline| deadline <= now)
                });
        self.outgoing.abandon(streams, ResetCode::DeliveryTimeout);
        let id = self.subscription.track;
        let late = self.subscription.lanes.keys().map(|key| (id, *key));
        self.touched.extend(late);
    }

    /// Hands datagrams to the session, whose queue is bounded.
    fn send_datagrams(&mut self) {
        let subscription = &mut *self.subscription;
        let seen = subscription.datagrams_seen;
        subscription.datagrams_seen = self.track.sequence;
        if !subscription.forward || subscription.ending.is_some() {
            return;
        }
        let timeout = match (subscription.object_timeout, subscription.subgroup_timeout) {
            (Some(object), Some(subgroup)) => Some(object.min(subgroup)),
            (object, subgroup) => object.or(subgroup),
        };
        let from = self
            .track
            .datagrams
            .partition_point(|datagram| datagram.sequence <= seen);
        for datagram in self.track.datagrams.iter_mut().skip(from) {
            let late = timeout.is_some_and(|most| self.now.since(datagram.arrived) > most);
            if late || !subscription.wants(datagram.object.location) {
                continue;
            }
            let image =
                match datagram.images.find(self.profile.draft) {
                    Some(image) => image.bytes,
                    None => {
                        let mut object = datagram.object.clone();
                        let image = object.properties.reencode(self.profile.integers).and_then(
                            |properties| {
                                object.properties = properties;
                                encode_datagram(self.profile, self.track.alias, &object)
                            },
                        );
                        let Ok(image) = image else {
                            let reason = Arc::from("the draft cannot express an id");
                            subscription.end(DoneCode::InternalError, &reason, self.now);
                            return;
                        };
                        let bytes = self.ledger.hold(image);
                        let whole = true;
                        let image = Image { bytes, whole };
                        datagram.images.keep(self.profile.draft, &image);
                        image.bytes
                    }
                };
            let priority = datagram
                .object
                .priority
                .unwrap_or(self.track.defaults.priority);
            self.session.send_datagram(
                self.now,
                self.request,
                priority,
                datagram.object.location,
                image,
            );
        }
    }

    /// Ends or relieves a subscription that lags too far behind.
    fn check_lag(&mut self) {
        let most = self.limits.max_subscriber_lag;
        if self.limits.lag_policy == LagPolicy::Skip {
            while self.subscription.lag > most {
                let Some(group) = self.oldest_unsent_group() else {
                    break;
                };
                let streams =
                    self.subscription
                        .withdraw(self.track, Closed::Late, |_, _, key, _| key.0 == group);
                self.outgoing.abandon(streams, ResetCode::TooFarBehind);
            }
        }
        if self.subscription.lag > most {
            self.end(DoneCode::TooFarBehind, "too far behind");
        }
    }

    /// The lowest group of which nothing was sent, unless it is the highest that there is.
    fn oldest_unsent_group(&self) -> Option<GroupId> {
        let live = || {
            self.subscription
                .lanes
                .iter()
                .filter(|(_, lane)| lane.is_live())
        };
        let newest = live().next_back()?.0.0;
        let begun: BTreeSet<GroupId> = live()
            .filter(|(_, lane)| lane.begun)
            .map(|(key, _)| key.0)
            .collect();
        live()
            .map(|(key, _)| key.0)
            .find(|group| *group < newest && !begun.contains(group))
    }

    /// Ends the subscription if the track ended, or its range was passed.
    fn check_end(&mut self) {
        if let Some(closing) = &self.track.closing {
            let until = if closing.code == DoneCode::MalformedTrack {
                closing.since
            } else {
                closing.since + self.limits.drain_timeout
            };
            let (code, reason) = (closing.code, Arc::clone(&closing.reason));
            self.subscription.end(code, &reason, until);
            return;
        }
        let Some(last) = self.subscription.end_group else {
            return;
        };
        let ended = self.track.groups.get(&last).is_some_and(Group::is_complete)
            && self
                .track
                .groups
                .range(..=last)
                .flat_map(|(_, group)| group.subgroups.values())
                .all(|subgroup| subgroup.end.is_some());
        let beyond = self
            .track
            .largest
            .is_some_and(|largest| largest.group > last)
            || self.track.end.is_some_and(|(end, _)| end.group > last);
        if beyond {
            self.subscription.beyond_since.get_or_insert(self.now);
        }
        let lingered = self
            .subscription
            .beyond_since
            .is_some_and(|since| self.now.since(since) >= self.limits.range_end_linger);
        if ended || lingered {
            let reason = Arc::from("the range was sent");
            self.subscription
                .end(DoneCode::SubscriptionEnded, &reason, Time::MAX);
        }
    }
}

impl Subscription {
    fn has_timeout(&self, track: &Track) -> bool {
        self.object_timeout.is_some()
            || self.subgroup_timeout.is_some()
            || track.defaults.max_cache_duration.is_some()
    }

    /// Until when a lane's next bytes may be handed over.
    pub(super) fn lane_deadline(&self, track: &Track, key: Key) -> Option<Time> {
        if !self.has_timeout(track) {
            return None;
        }
        let lane = self.lanes.get(&key).filter(|lane| lane.is_live())?;
        let subgroup = track.subgroup(key)?;
        let of_subgroup = self
            .subgroup_timeout
            .filter(|_| subgroup.end == Some(End::Fin))
            .map(|timeout| subgroup.ended + timeout);
        if lane.standing(subgroup) != Standing::Ready {
            return of_subgroup;
        }
        let object = subgroup.object(lane.next)?;
        let born = object.born(self.object_age);
        let of_object = self.object_timeout.map(|timeout| born + timeout);
        // Only the start of an object is bound by how long it may be kept.
        let of_cache = track
            .defaults
            .max_cache_duration
            .filter(|_| !lane.in_object())
            .map(|Millis(ms)| object.arrived + Duration::from_millis(ms));
        [of_subgroup, of_object, of_cache]
            .into_iter()
            .flatten()
            .min()
    }

    /// When to look at the subscription though nothing happened.
    fn next_deadline(&self, track: &Track, limits: &Limits) -> Option<Time> {
        let lanes = self
            .has_timeout(track)
            .then(|| {
                self.lanes
                    .keys()
                    .filter_map(|key| self.lane_deadline(track, *key))
                    .min()
            })
            .flatten();
        let ending = self
            .ending
            .as_ref()
            .map(|ending| ending.until)
            .filter(|until| *until < Time::MAX);
        let range = self
            .beyond_since
            .filter(|_| self.ending.is_none())
            .map(|since| since + limits.range_end_linger);
        [lanes, ending, range].into_iter().flatten().min()
    }

    /// Whether the subscription ends now: everything was sent, or the time for it is over, in which case what is left is
    /// reset.
    fn is_over(&mut self, now: Time, track: &mut Track, outgoing: &mut Outgoing) -> bool {
        let Some(ending) = &self.ending else {
            return false;
        };
        if ending.until > now {
            return !self.lanes.values().any(super::lane::Lane::is_live);
        }
        let code = match ending.code {
            DoneCode::TooFarBehind => ResetCode::TooFarBehind,
            DoneCode::MalformedTrack => ResetCode::MalformedTrack,
            DoneCode::ExcessiveLoad => ResetCode::ExcessiveLoad,
            DoneCode::InternalError => ResetCode::InternalError,
            DoneCode::Unauthorized
            | DoneCode::TrackEnded
            | DoneCode::SubscriptionEnded
            | DoneCode::GoingAway
            | DoneCode::Expired
            | DoneCode::UpdateFailed
            | DoneCode::Unknown(_) => ResetCode::Cancelled,
        };
        let streams = self.withdraw(track, Closed::Withdrawn, |_, _, _, _| true);
        outgoing.abandon(streams, code);
        true
    }
}

impl Outgoing {
    /// Forgets streams, which the session is to reset.
    pub(super) fn abandon(&mut self, streams: impl IntoIterator<Item = StreamId>, code: ResetCode) {
        for stream in streams {
            self.streams.remove(&stream);
            self.resets.push((stream, code));
        }
    }

    /// Resets what was abandoned.
    fn flush(&mut self, now: Time, session: &mut impl Downstream) {
        for (stream, code) in self.resets.drain(..) {
            session.reset_stream(now, stream, code);
        }
    }
}

impl Connection {
    /// Notes that the connection was looked at; true if it had been waiting for it.
    fn mark_settled(&mut self) -> bool {
        std::mem::take(&mut self.unsettled)
    }
}
