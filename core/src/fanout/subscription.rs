//! Subscriptions: which objects of a track a subscriber is to have, and how far it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::lane::{Closed, Lane, State};
use super::track::{Key, Track};
use super::{Connection, Fanout, Notice, TrackId};
use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::draft::{ObjectAge, Profile};
use crate::session::Refusal;
use crate::time::Time;
use crate::transport::{ConnectionId, StreamId};
use crate::wire::id::{GroupId, Location, Millis, ObjectId, RequestId};
use crate::wire::message::{RequestOk, Retry, SubscribeOk};
use crate::wire::param::{Filter, GroupOrder, Parameters};

/// The priority of a subscriber that names none.
const DEFAULT_PRIORITY: u8 = 128;

/// When to ask again what there was no room for.
const RETRY_INTERVAL: Millis = Millis(1000);

/// How a subscription ends.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) code: DoneCode,
    pub(super) reason: Arc<str>,
    /// What is complete is still sent until then; in the past: nothing is.
    pub(super) until: Time,
}

/// One subscriber's subscription to a track: a cursor per subgroup, no queue.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) track: TrackId,
    start: Location,
    pub(super) end_group: Option<GroupId>,
    /// Objects of the track up to this number began before the subscription, or while it was not forwarding.
    pub(super) joined: u64,
    pub(super) forward: bool,
    pub(super) priority: u8,
    pub(super) order: GroupOrder,
    pub(super) object_timeout: Option<Duration>,
    /// What that counts from.
    pub(super) object_age: ObjectAge,
    pub(super) subgroup_timeout: Option<Duration>,
    pub(super) lanes: BTreeMap<Key, Lane>,
    /// Lanes to look at though their subgroup did not change.
    pub(super) attention: Vec<Key>,
    /// The track's latest change that was looked at.
    pub(super) seen: u64,
    /// The latest object in a datagram that was looked at.
    pub(super) datagrams_seen: u64,
    /// The track's count of forgotten subgroups when last looked.
    pub(super) forgotten_seen: u64,
    /// Bytes that wait for this subscriber.
    pub(super) lag: u64,
    pub(super) ending: Option<Ending>,
    /// Since when the track is beyond the last group.
    pub(super) beyond_since: Option<Time>,
    /// Whether it is in its connection's list of those to look at.
    pub(super) dirty: bool,
}

impl Subscription {
    /// Whether an object may be in a group of this id.
    pub(super) fn wants_group(&self, group: GroupId) -> bool {
        group >= self.start.group && self.end_group.is_none_or(|end| group <= end)
    }

    /// The first object of a group that it is to have.
    pub(super) fn start_in(&self, group: GroupId) -> ObjectId {
        if group == self.start.group {
            self.start.object
        } else {
            ObjectId(0)
        }
    }

    pub(super) fn wants(&self, at: Location) -> bool {
        at >= self.start && self.end_group.is_none_or(|end| at.group <= end)
    }

    /// Whether what a lane would send next is not in the range.
    fn is_outside(&self, track: &Track, key: Key, lane: &Lane) -> bool {
        !self.wants_group(key.0)
            || track
                .subgroup(key)
                .and_then(|subgroup| subgroup.object(lane.next))
                .is_some_and(|object| object.id < self.start_in(key.0))
    }

    /// Ends a lane.
    pub(super) fn close_lane(
        &mut self,
        track: &mut Track,
        key: Key,
        why: Closed,
    ) -> Option<StreamId> {
        let lane = self.lanes.get_mut(&key)?;
        self.lag = self.lag.saturating_sub(lane.lag);
        lane.close(track.subgroup_mut(key), why)
    }

    /// Ends, unless it ends at least as soon already.
    pub(super) fn end(&mut self, code: DoneCode, reason: &Arc<str>, until: Time) {
        if self.ending.as_ref().is_none_or(|known| until < known.until) {
            self.ending = Some(Ending {
                code,
                reason: Arc::clone(reason),
                until,
            });
        }
    }

    /// Finds the subgroups that changed since the last look: makes lanes for new ones that have an object for this
    /// subscription, and puts all of them on the list of lanes to attend to.
    pub(super) fn look(&mut self, track: &mut Track) {
        while let Some((change, key)) = track.next_change(self.seen) {
            self.seen = change;
            if !self.forward || !self.wants_group(key.0) {
                continue;
            }
            let start = self.start_in(key.0);
            let Some(subgroup) = track.subgroup_mut(key) else {
                continue;
            };
            match self.lanes.get_mut(&key) {
                Some(lane) if lane.is_live() => self.lag += lane.notice(subgroup),
                Some(_) => {}
                None => {
                    // Ids and sequence numbers ascend: from the first object that is wanted on, all are.
                    let next = subgroup.first_after(self.joined, start);
                    if next == subgroup.end_index() {
                        continue;
                    }
                    let mut lane = Lane::new(subgroup, next);
                    subgroup.arrive(next);
                    self.lag += lane.notice(subgroup);
                    self.lanes.insert(key, lane);
                }
            }
            self.attention.push(key);
        }
        self.seen = track.change;
        track.shown = track.change;
    }

    /// Forgets lanes of subgroups that the track forgot.
    pub(super) fn tidy(&mut self, track: &Track) {
        if self.forgotten_seen != track.forgotten {
            self.forgotten_seen = track.forgotten;
            self.lanes.retain(|key, lane| {
                let subgroup = track.subgroup(*key);
                subgroup.is_some_and(|subgroup| subgroup.birth == lane.birth)
            });
        }
    }

    /// Ends the lanes that are not wanted any more; returns the streams that they had.
    pub(super) fn withdraw(
        &mut self,
        track: &mut Track,
        why: Closed,
        unwanted: impl Fn(&Self, &Track, Key, &Lane) -> bool,
    ) -> Vec<StreamId> {
        let keys: Vec<Key> = self
            .lanes
            .iter()
            .filter(|(key, lane)| lane.is_live() && unwanted(self, track, **key, lane))
            .map(|(key, _)| *key)
            .collect();
        keys.into_iter()
            .filter_map(|key| self.close_lane(track, key, why))
            .collect()
    }

    /// Takes over how the subscriber wants objects delivered; what is absent stays.
    fn deliver_as(&mut self, parameters: &Parameters, track: &Track) {
        let timeout =
            |theirs, ours| smaller(Some(theirs), ours).map(|Millis(ms)| Duration::from_millis(ms));
        self.priority = parameters.subscriber_priority.unwrap_or(self.priority);
        // Only an answer to a PUBLISH has one.
        self.order = parameters.group_order.unwrap_or(self.order);
        if let Some(theirs) = parameters.object_delivery_timeout {
            self.object_timeout = timeout(theirs, track.defaults.object_timeout);
        }
        if let Some(theirs) = parameters.subgroup_delivery_timeout {
            self.subgroup_timeout = timeout(theirs, track.defaults.subgroup_timeout);
        }
    }

    /// From now on only objects that begin later are for it, in every subgroup that has no stream.
    fn join_again(&mut self, track: &Track, profile: &Profile) {
        self.joined = track.sequence;
        self.datagrams_seen = track.sequence;
        let reopens = profile.reopens_stopped_subgroups;
        self.lanes.retain(|_, lane| match lane.state {
            State::Open(_) | State::Waiting => true,
            State::Closed(Closed::Withdrawn) => false,
            State::Closed(Closed::Stopped) => !reopens,
            State::Closed(Closed::Delivered | Closed::CutOff | Closed::Late) => true,
        });
        self.seen = 0;
    }
}

impl Fanout {
    /// Subscribes a connection's request to a track: objects that begin from now on are for it, those of the past only
    /// FETCH has (§ Subscriptions). What is returned is to be sent to the subscriber.
    ///
    /// # Errors
    /// The refusal to send instead: INVALID_RANGE if the filter can match nothing (B212), EXCESSIVE_LOAD beyond
    /// [`Limits::max_subscriptions`](super::Limits::max_subscriptions), INTERNAL_ERROR if the draft cannot express the
    /// track's properties.
    #[expect(
        clippy::result_large_err,
        reason = "no larger than what is returned otherwise"
    )]
    pub fn subscribe(
        &mut self,
        connection: ConnectionId,
        profile: &'static Profile,
        request: RequestId,
        track: TrackId,
        parameters: &Parameters,
    ) -> Result<SubscribeOk, Refusal> {
        if self.subscriptions >= self.limits.max_subscriptions {
            let mut refusal = Refusal::new(RequestCode::ExcessiveLoad, "too many subscriptions");
            refusal.retry = Retry::After(RETRY_INTERVAL);
            return Err(refusal);
        }
        let state = self
            .open_mut(track)
            .ok_or_else(|| Refusal::new(RequestCode::DoesNotExist, "the track is over"))?;
        let (start, end_group) = resolve(state, parameters.filter, true)?;
        let properties = state
            .properties
            .reencode(profile.integers)
            .map_err(|error| Refusal::new(RequestCode::InternalError, error.0))?;
        let timeout =
            |theirs, ours| smaller(theirs, ours).map(|Millis(ms)| Duration::from_millis(ms));
        let forward = parameters.forward.unwrap_or(true);
        let subscription = Subscription {
            track,
            start,
            end_group,
            joined: state.sequence,
            forward,
            priority: parameters.subscriber_priority.unwrap_or(DEFAULT_PRIORITY),
            order: parameters.group_order.unwrap_or(state.defaults.group_order),
            object_timeout: timeout(
                parameters.object_delivery_timeout,
                state.defaults.object_timeout,
            ),
            object_age: profile.object_age,
            subgroup_timeout: timeout(
                parameters.subgroup_delivery_timeout,
                state.defaults.subgroup_timeout,
            ),
            lanes: BTreeMap::new(),
            attention: Vec::new(),
            seen: 0,
            datagrams_seen: state.sequence,
            forgotten_seen: state.forgotten,
            lag: 0,
            ending: None,
            beyond_since: None,
            dirty: false,
        };
        let ok = SubscribeOk {
            request_id: Some(request),
            track_alias: state.alias,
            parameters: Parameters {
                largest_object: state.largest,
                ..Parameters::default()
            },
            properties,
        };
        state.subscribers.insert((connection, request));
        state.forwarding += usize::from(forward);
        self.subscriptions += 1;
        self.connections
            .entry(connection)
            .or_insert_with(|| Connection::new(profile))
            .subscriptions
            .insert(request, subscription);
        self.notify(Notice::Subscribers(track));
        self.mark(connection, request);
        Ok(ok)
    }

    /// Changes a subscription as a REQUEST_UPDATE asks; what is absent stays (§ Updating Subscriptions). What is returned
    /// is to be sent to the subscriber.
    ///
    /// # Errors
    /// The refusal to send instead; the subscription then ends with UPDATE_FAILED by itself.
    #[expect(
        clippy::result_large_err,
        reason = "no larger than what is returned otherwise"
    )]
    pub fn update(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        parameters: &Parameters,
    ) -> Result<RequestOk, Refusal> {
        let gone = || Refusal::new(RequestCode::DoesNotExist, "no such subscription");
        let peer = self.connections.get_mut(&connection).ok_or_else(gone)?;
        let subscription = peer.subscriptions.get_mut(&request).ok_or_else(gone)?;
        let id = subscription.track;
        let track = self.tracks.get_mut(&id).ok_or_else(gone)?;
        if let Some(filter) = parameters.filter {
            match resolve(track, Some(filter), false) {
                Ok((start, end_group)) => {
                    let further = match (end_group, subscription.end_group) {
                        (_, None) => false,
                        (None, Some(_)) => true,
                        (Some(new), Some(old)) => new > old,
                    };
                    let widened = start < subscription.start || further;
                    subscription.look(track);
                    subscription.start = start;
                    subscription.end_group = end_group;
                    subscription.beyond_since = None;
                    let streams =
                        subscription.withdraw(track, Closed::Withdrawn, Subscription::is_outside);
                    peer.outgoing.abandon(streams, ResetCode::Cancelled);
                    if widened {
                        subscription.join_again(track, peer.profile);
                    } else {
                        // What lies inside begins again, on streams of their own.
                        subscription
                            .lanes
                            .retain(|_, lane| lane.state != State::Closed(Closed::Withdrawn));
                        subscription.seen = 0;
                    }
                }
                Err(refusal) => {
                    subscription.end(DoneCode::UpdateFailed, &"update failed".into(), now);
                    self.mark(connection, request);
                    return Err(refusal);
                }
            }
        }
        subscription.deliver_as(parameters, track);
        match parameters.forward {
            Some(true) if !subscription.forward => {
                subscription.forward = true;
                subscription.join_again(track, peer.profile);
                track.forwarding += 1;
            }
            Some(false) if subscription.forward => {
                subscription.forward = false;
                track.forwarding = track.forwarding.saturating_sub(1);
                let streams = subscription.withdraw(track, Closed::Withdrawn, |_, _, _, _| true);
                peer.outgoing.abandon(streams, ResetCode::Cancelled);
            }
            Some(_) | None => {}
        }
        let keys: Vec<Key> = subscription.lanes.keys().copied().collect();
        self.touched.extend(keys.into_iter().map(|key| (id, key)));
        // Wherever it may stand (§ LARGEST OBJECT Parameter).
        let largest = track.largest;
        self.notify(Notice::Subscribers(id));
        self.mark(connection, request);
        Ok(RequestOk {
            parameters: Parameters {
                largest_object: largest,
                ..Parameters::default()
            },
            ..RequestOk::default()
        })
    }

    /// Forgets a subscription that its subscriber withdrew; its open streams are reset.
    pub fn unsubscribe(&mut self, connection: ConnectionId, request: RequestId) {
        let Some(peer) = self.connections.get_mut(&connection) else {
            return;
        };
        let Some(mut subscription) = peer.subscriptions.remove(&request) else {
            return;
        };
        if let Some(track) = self.tracks.get_mut(&subscription.track) {
            let streams = subscription.withdraw(track, Closed::Withdrawn, |_, _, _, _| true);
            peer.outgoing.abandon(streams, ResetCode::Cancelled);
        }
        self.forget_subscription(connection, request, &subscription);
        self.mark_connection(connection);
    }

    /// Ends a subscription from this side with PUBLISH_DONE; its open streams are reset.
    pub fn end_subscription(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: RequestId,
        code: DoneCode,
        reason: &str,
    ) {
        if let Some(subscription) = self
            .connections
            .get_mut(&connection)
            .and_then(|peer| peer.subscriptions.get_mut(&request))
        {
            subscription.end(code, &reason.into(), now);
            self.mark(connection, request);
        }
    }

    /// Ends a connection's subscriptions to a track with PUBLISH_DONE, once what is complete was sent, until `until` at the
    /// latest.
    pub(crate) fn end_subscriptions_of(
        &mut self,
        connection: ConnectionId,
        track: TrackId,
        code: DoneCode,
        reason: &str,
        until: Time,
    ) {
        let first = (connection, RequestId(0));
        let subscribers = self.tracks.get(&track).map(|track| &track.subscribers);
        let requests = subscribers.into_iter().flat_map(|all| all.range(first..));
        let requests = requests.take_while(|(of, _)| *of == connection);
        let requests: Vec<RequestId> = requests.map(|(_, request)| *request).collect();
        for request in requests {
            let peer = self.connections.get_mut(&connection);
            if let Some(subscription) = peer.and_then(|peer| peer.subscriptions.get_mut(&request)) {
                subscription.end(code, &reason.into(), until);
            }
            self.mark(connection, request);
        }
    }

    /// Forgets a connection and all its subscriptions. Nothing is sent on it any more.
    pub fn remove_connection(&mut self, connection: ConnectionId) {
        let Some(mut peer) = self.connections.remove(&connection) else {
            return;
        };
        self.settle(&peer);
        if let Some(deadline) = peer.deadline {
            self.timers.remove(&(deadline, connection));
        }
        while let Some((request, mut subscription)) = peer.subscriptions.pop_first() {
            if let Some(track) = self.tracks.get_mut(&subscription.track) {
                let _streams_are_gone =
                    subscription.withdraw(track, Closed::Withdrawn, |_, _, _, _| true);
            }
            self.forget_subscription(connection, request, &subscription);
        }
    }

    /// What is left to do once a subscription was taken out of its connection and its lanes were closed.
    pub(super) fn forget_subscription(
        &mut self,
        connection: ConnectionId,
        request: RequestId,
        subscription: &Subscription,
    ) {
        let id = subscription.track;
        self.subscriptions = self.subscriptions.saturating_sub(1);
        if self.shedding == Some((connection, request)) {
            self.shedding = None;
        }
        if let Some(track) = self.tracks.get_mut(&id) {
            track.subscribers.remove(&(connection, request));
            if subscription.forward {
                track.forwarding = track.forwarding.saturating_sub(1);
            }
        }
        let keys = subscription.lanes.keys().map(|key| (id, *key));
        self.touched.extend(keys);
        self.notify(Notice::Subscribers(id));
    }
}

/// The range of a filter, given what is known of the track (§ Subscription Filters). `new`: of a new subscription, which
/// would get nothing from a range that was published already.
#[expect(clippy::result_large_err, reason = "refusals are rare")]
fn resolve(
    track: &Track,
    filter: Option<Filter>,
    new: bool,
) -> Result<(Location, Option<GroupId>), Refusal> {
    let invalid = |reason| Refusal::new(RequestCode::InvalidRange, reason);
    let first = Location::default();
    let (start, end) = match (filter, track.largest) {
        (None, _) | (Some(Filter::NextGroupStart | Filter::LargestObject), None) => (first, None),
        (Some(Filter::NextGroupStart), Some(largest)) => {
            let group = largest.group.0.checked_add(1);
            let group = GroupId(group.ok_or_else(|| invalid("there is no next group"))?);
            let object = ObjectId(0);
            (Location { group, object }, None)
        }
        (Some(Filter::LargestObject), Some(Location { group, object })) => {
            let start = match (object.0.checked_add(1), group.0.checked_add(1)) {
                (Some(next), _) => Location {
                    group,
                    object: ObjectId(next),
                },
                (None, Some(next)) => Location {
                    group: GroupId(next),
                    object: ObjectId(0),
                },
                (None, None) => return Err(invalid("there is no next object")),
            };
            (start, None)
        }
        (Some(Filter::AbsoluteStart(start)), _) => (start, None),
        (Some(Filter::AbsoluteRange { start, end_group }), _) => (start, Some(end_group)),
    };
    if end.is_some_and(|end| end < start.group) {
        return Err(invalid("the range ends before it starts"));
    }
    if track.end.is_some_and(|(end, _)| start >= end) {
        return Err(invalid("the track ends before the range"));
    }
    let published = |end: GroupId| {
        track.largest.is_some_and(|largest| end < largest.group)
            || track
                .groups
                .get(&end)
                .is_some_and(super::track::Group::is_complete)
    };
    if new && end.is_some_and(published) {
        return Err(invalid("all of the range was published already"));
    }
    Ok((start, end))
}

/// The smaller of two timeouts of which zero and absent mean none (§ Delivery Timeouts).
fn smaller(one: Option<Millis>, other: Option<Millis>) -> Option<Millis> {
    let one = one.filter(|ms| ms.0 > 0);
    let other = other.filter(|ms| ms.0 > 0);
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
