//! Requests of ours: checks, ids, credit, and the message that starts them.

use super::auth::Carrier as TokenCarrier;
use super::close::Misuse;
use super::event::Request;
use super::request::{Kind, Offer, Open, Side, Stage, Subject};
use super::topology::Use;
use super::{Direction, Session, params};
use crate::draft::{ControlModel, Discovery, JoiningRule, RequestCredit};
use crate::time::Time;
use crate::transport::Dir;
use crate::wire::id::{Location, ObjectId, RequestId};
use crate::wire::message::{Channel, Fetch, FetchRange, Interest, Message, SubscribeNamespace};
use crate::wire::name::TrackNamespace;
use crate::wire::param::Filter;

impl Session {
    /// Sends a request. Its id in the argument is not looked at: the session fills it in and returns it.
    ///
    /// The answer comes as [`Event::Response`](super::Event::Response). To a draft without SUBSCRIBE_TRACKS that
    /// request goes as a SUBSCRIBE_NAMESPACE for tracks only; timeouts that the draft lacks are left out.
    ///
    /// # Errors
    /// [`Misuse::Blocked`] without credit, [`Misuse::DuplicateSubscription`] while another subscription of the track in
    /// the same role is not over: [`Event::CanRequest`](super::Event::CanRequest) tells when to try again. See
    /// [`Misuse`] for the others.
    pub fn request(&mut self, now: Time, request: Request) -> Result<RequestId, Misuse> {
        self.at(now);
        self.check_open()?;
        if self.goaway_received {
            return Err(Misuse::GoingAway);
        }
        if let Err(misuse) = self.check_request(&request) {
            // It may become possible when what is in the way is over.
            self.wants_request |= misuse == Misuse::DuplicateSubscription;
            return Err(misuse);
        }
        let id = self.next_own_id()?;
        let mut request = request;
        request.set_id(id);
        let parameters = request.parameters_mut();
        params::fit(self.profile, parameters);
        let tokens = std::mem::take(&mut parameters.authorization_tokens);
        let carrier = self.token_carrier(request.kind());
        let book = self.token_book.clone();
        request.parameters_mut().authorization_tokens =
            self.token_book.send(&tokens, id, id, carrier)?;
        let message = self.request_message(&request);
        let bytes = match self.encode(&message, Channel::Request) {
            Ok(bytes) => {
                self.note(Direction::Sent, &message);
                bytes
            }
            Err(misuse) => {
                self.token_book = book;
                return Err(misuse);
            }
        };

        let mut open = Open::new(&request, Side::Us, None);
        self.note_range(&request, &mut open);
        if self.has_own_stream(open.kind) {
            let stream = self.next_local_stream();
            self.topology.open(stream, Dir::Bi, Use::Request(id));
            self.topology.send(stream, bytes);
            open.stream = Some(stream);
        } else if let Some(stream) = self.topology.control {
            self.topology.send(stream, bytes);
        }
        if let Request::Publish(publish) = &request {
            open.offer = Offer::new(self.profile, &publish.properties);
        }
        if open.kind == Kind::Publish
            && let Some(subscription) = open.subscription()
            && let Some(alias) = subscription.alias
        {
            self.requests.use_alias(alias, &subscription.track);
        }
        self.requests.insert(id, open);
        self.requests.index(id);
        match &request {
            Request::Publish(_) => self.serve(id),
            Request::Subscribe(_) => self.allow_data_streams(),
            Request::Fetch(fetch) => {
                let order = fetch.parameters.group_order.unwrap_or_default();
                self.incoming.expect_fetch(id, order);
                self.allow_data_streams();
            }
            Request::TrackStatus(_)
            | Request::PublishNamespace(_)
            | Request::SubscribeNamespace(_)
            | Request::SubscribeTracks(_) => {}
        }
        self.own_ids.advance();
        self.settle(Ok(()));
        Ok(id)
    }

    /// The id for the next request or update; without credit the peer is told, and the caller to wait.
    pub(super) fn next_own_id(&mut self) -> Result<RequestId, Misuse> {
        let limits = &self.settings.limits;
        let streams = self.profile.request_credit == RequestCredit::Streams
            && self.topology.is_out_of_streams();
        if streams || self.requests.of_us() >= limits.max_requests_sent {
            self.wants_request = true;
            return Err(Misuse::Blocked);
        }
        if let Some(id) = self.own_ids.peek() {
            return Ok(id);
        }
        self.wants_request = true;
        if let Some(limit) = self.own_ids.blocked() {
            self.say_on_control(&Message::RequestsBlocked(limit))?;
        }
        Err(Misuse::Blocked)
    }

    pub(super) const fn token_carrier(&self, kind: Kind) -> TokenCarrier {
        match self.profile.control {
            ControlModel::SharedStream if self.has_own_stream(kind) => TokenCarrier::Beside,
            ControlModel::SharedStream => TokenCarrier::Shared,
            ControlModel::StreamPerRequest => TokenCarrier::Own,
        }
    }

    /// Whether a kind of request travels on a stream of its own.
    pub(super) const fn has_own_stream(&self, kind: Kind) -> bool {
        match self.profile.control {
            ControlModel::StreamPerRequest => true,
            ControlModel::SharedStream => {
                matches!(kind, Kind::SubscribeNamespace | Kind::SubscribeTracks)
            }
        }
    }

    /// Whether all requests for discovery share one space of prefixes.
    pub(super) fn shares_prefixes(&self) -> bool {
        self.profile.discovery == Discovery::Options
    }

    fn request_message(&self, request: &Request) -> Message {
        match request.clone() {
            Request::Subscribe(subscribe) => Message::Subscribe(subscribe),
            Request::Publish(publish) => Message::Publish(publish),
            Request::Fetch(fetch) => Message::Fetch(fetch),
            Request::TrackStatus(status) => Message::TrackStatus(status),
            Request::PublishNamespace(publish) => Message::PublishNamespace(publish),
            Request::SubscribeNamespace(subscribe) => Message::SubscribeNamespace(subscribe),
            Request::SubscribeTracks(subscribe) => match self.profile.discovery {
                Discovery::SplitRequests => Message::SubscribeTracks(subscribe),
                Discovery::Options => Message::SubscribeNamespace(SubscribeNamespace {
                    request_id: subscribe.request_id,
                    prefix: subscribe.prefix,
                    interest: Interest::Tracks,
                    parameters: subscribe.parameters,
                }),
            },
        }
    }

    fn check_request(&self, request: &Request) -> Result<(), Misuse> {
        match request {
            Request::Subscribe(subscribe) => {
                if self.profile.duplicate_subscription_refused
                    && self.requests.subscribing.contains_key(&subscribe.track)
                {
                    return Err(Misuse::DuplicateSubscription);
                }
                check_filter(subscribe.parameters.filter)
            }
            Request::Publish(publish) => {
                self.check_published(&publish.track.namespace)?;
                if self.profile.duplicate_subscription_refused
                    && self.requests.publishing.contains_key(&publish.track)
                {
                    return Err(Misuse::DuplicateSubscription);
                }
                if !self
                    .requests
                    .is_alias_free(publish.track_alias, &publish.track)
                {
                    return Err(Misuse::DuplicateTrackAlias);
                }
                Ok(())
            }
            Request::Fetch(fetch) => self.check_fetch(fetch),
            Request::TrackStatus(_) => Ok(()),
            Request::PublishNamespace(publish) => self.check_published(&publish.namespace),
            Request::SubscribeNamespace(subscribe) => {
                self.check_prefix(&subscribe.prefix, Kind::SubscribeNamespace, None)
            }
            Request::SubscribeTracks(subscribe) => {
                self.check_prefix(&subscribe.prefix, Kind::SubscribeTracks, None)
            }
        }
    }

    /// § Reserved Namespaces: nothing is published there unless an extension says so, and there is none.
    pub(super) fn check_published(&self, namespace: &TrackNamespace) -> Result<(), Misuse> {
        let reserved = namespace
            .fields()
            .first()
            .is_some_and(|field| field.starts_with(b"."));
        if self.profile.reserved_namespaces && reserved {
            return Err(Misuse::ReservedNamespace);
        }
        Ok(())
    }

    pub(super) fn check_prefix(
        &self,
        prefix: &TrackNamespace,
        kind: Kind,
        except: Option<RequestId>,
    ) -> Result<(), Misuse> {
        let shared = self.shares_prefixes();
        if self
            .requests
            .overlaps(prefix, kind, Side::Us, shared, except)
        {
            return Err(Misuse::PrefixOverlap);
        }
        Ok(())
    }

    fn check_fetch(&self, fetch: &Fetch) -> Result<(), Misuse> {
        let joined = match &fetch.range {
            FetchRange::Standalone { start, end, .. } => {
                return if is_before_start(*end, *start) {
                    Err(Misuse::WrongState(
                        "the range of a FETCH ends before it starts",
                    ))
                } else {
                    Ok(())
                };
            }
            FetchRange::RelativeJoining {
                joining_request_id, ..
            }
            | FetchRange::AbsoluteJoining {
                joining_request_id, ..
            } => *joining_request_id,
        };
        let open = self
            .requests
            .find(joined)
            .filter(|open| open.is_live() && open.publisher() == Some(Side::Peer))
            .ok_or(Misuse::UnknownRequest)?;
        let subscription = open
            .subscription()
            .ok_or(Misuse::WrongState("a joining FETCH names a subscription"))?;
        if open.side == Side::Peer && open.stage == Stage::Pending {
            return Err(Misuse::WrongState(
                "a joining FETCH names a PUBLISH that was not accepted",
            ));
        }
        match self.profile.joining {
            JoiningRule::LargestObjectFilter
                if subscription.filter != Some(Filter::LargestObject) =>
            {
                Err(Misuse::WrongState(
                    "a joining FETCH needs a subscription with the Largest Object filter",
                ))
            }
            JoiningRule::ForwardState if !subscription.forward => Err(Misuse::WrongState(
                "a joining FETCH needs a subscription that is forwarding",
            )),
            JoiningRule::LargestObjectFilter | JoiningRule::ForwardState => Ok(()),
        }
    }

    /// Where a joining FETCH of ours starts, as far as that is known: to check FETCH_OK against.
    fn note_range(&self, request: &Request, open: &mut Open) {
        let (Request::Fetch(fetch), Subject::Fetch(fetching)) = (request, &mut open.subject) else {
            return;
        };
        let joined = match &fetch.range {
            FetchRange::Standalone { .. } => None,
            FetchRange::AbsoluteJoining {
                joining_request_id, ..
            }
            | FetchRange::RelativeJoining {
                joining_request_id, ..
            } => self.requests.find(*joining_request_id),
        };
        if let Some(track) = joined.and_then(Open::track) {
            fetching.track = Some(track.clone());
        }
        match &fetch.range {
            FetchRange::Standalone { .. } => {}
            FetchRange::AbsoluteJoining { joining_start, .. } => {
                fetching.start = Some(Location {
                    group: crate::wire::id::GroupId(*joining_start),
                    object: ObjectId(0),
                });
            }
            FetchRange::RelativeJoining {
                joining_request_id,
                joining_start,
            } => {
                let subscription = self
                    .requests
                    .find(*joining_request_id)
                    .and_then(Open::subscription);
                fetching.start = subscription
                    .and_then(|s| s.joining)
                    .map(|joining| Location {
                        group: crate::wire::id::GroupId(
                            joining.group.0.saturating_sub(*joining_start),
                        ),
                        object: ObjectId(0),
                    });
            }
        }
    }
}

/// Whether a FETCH's end, written as the last object plus one or with object 0 for all of a group, is before its start.
pub(super) fn is_before_start(end: Location, start: Location) -> bool {
    end.group < start.group
        || (end.group == start.group && end.object.0 != 0 && end.object < start.object)
}

/// Whether a filter's range ends in a group before the one in which it starts.
pub(super) const fn is_backwards(filter: Option<Filter>) -> bool {
    match filter {
        Some(Filter::AbsoluteRange { start, end_group }) => end_group.0 < start.group.0,
        Some(Filter::NextGroupStart | Filter::LargestObject | Filter::AbsoluteStart(_)) | None => {
            false
        }
    }
}

pub(super) const fn check_filter(filter: Option<Filter>) -> Result<(), Misuse> {
    if is_backwards(filter) {
        return Err(Misuse::WrongState(
            "the range of a filter ends before it starts",
        ));
    }
    Ok(())
}
