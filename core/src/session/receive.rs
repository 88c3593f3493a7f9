//! From the peer's bytes to what they mean: which message may come where, and which requests are refused unseen.

use super::ask::{is_backwards, is_before_start};
use super::auth::{Place, Resolved};
use super::close::Close;
use super::event::{Event, Refusal, Request};
use super::ids::Arrival;
use super::request::{Kind, Open, Side};
use super::timer::Timer;
use super::topology::Use;
use super::{Direction, INITIAL_REQUEST_STREAMS, Phase, Session};
use crate::code::{RequestCode, SessionCode};
use crate::draft::RequestIdOrder;
use crate::transport::{Dir, Output, StreamId};
use crate::wire::frame::Frame;
use crate::wire::id::{Millis, RequestId};
use crate::wire::message::{
    Channel, FetchRange, Interest, Message, Origin, RequestError, RequestUpdate, Retry,
    SubscribeTracks,
};

/// When a peer that has too many requests open may try again.
const BUSY: Millis = Millis(1000);

/// Unfinished messages up to this size are not worth counting.
const SMALL: usize = 4096;

impl Session {
    /// Bytes of a stream of messages, or of one that may become one.
    pub(super) fn receive_bytes(&mut self, stream: StreamId, bytes: &[u8]) -> Result<(), Close> {
        self.topology.push(stream, bytes);
        if self.topology.purpose(stream) == Some(Use::Silent) && !self.identify(stream)? {
            return Ok(());
        }
        while !self.is_closed()
            && let Some(frame) = self.topology.next_frame(stream)
        {
            self.receive_frame(stream, &frame)?;
        }
        // A message that nobody understands need not be waited for.
        if let Some(number) = self.topology.peek_type(stream)
            && crate::draft::MessageType::from_number(self.profile.draft, number).is_none()
        {
            return Err(Close::violation("V1: unknown control message type"));
        }
        self.check_unfinished(stream)
    }

    /// Long messages may come in pieces, but not on ever more streams.
    fn check_unfinished(&self, stream: StreamId) -> Result<(), Close> {
        let limit = self.settings.limits.max_unfinished_messages;
        if self.topology.unfinished(stream) > SMALL && self.topology.all_unfinished() > limit {
            return Err(Close::new(
                SessionCode::InternalError,
                "too many bytes of unfinished messages",
            ));
        }
        Ok(())
    }

    /// Whether a stream of messages may be read now: before the set-up is complete, only what can be the control stream,
    /// and only until it is known that it is not.
    pub(super) fn may_read(&self, stream: StreamId) -> bool {
        self.phase == Phase::Established
            || self.topology.purpose(stream) != Some(Use::Silent)
            || (self.may_get_control() && self.topology.peek_type(stream).is_none())
    }

    /// Finds out what a stream is for. Whether messages may be taken from it now.
    fn identify(&mut self, stream: StreamId) -> Result<bool, Close> {
        if self.topology.peek_type(stream).is_none() {
            return Ok(false);
        }
        if self.is_control_stream(stream) {
            if self.topology.has_peer_control() {
                return Err(Close::violation("V4: a second control stream"));
            }
            self.topology.set_purpose(stream, Use::Control);
            if self.topology.control.is_none() {
                self.topology.control = Some(stream);
            }
            return Ok(true);
        }
        if self.phase != Phase::Established {
            self.topology.pause(stream);
            return Ok(false);
        }
        Ok(true)
    }

    fn receive_frame(&mut self, stream: StreamId, frame: &Frame) -> Result<(), Close> {
        let Some(purpose) = self.topology.purpose(stream) else {
            return Ok(());
        };
        if purpose == Use::Over {
            return Ok(());
        }
        let origin = Origin {
            profile: self.profile,
            sender: self.settings.role.peer(),
            channel: match purpose {
                Use::Control => Channel::Control,
                Use::Silent | Use::Request(_) | Use::Over => Channel::Request,
            },
        };
        let message = Message::decode(origin, frame.number, &frame.body)?;
        self.note(Direction::Received, &message);
        match purpose {
            Use::Control => self.receive_control(message),
            Use::Silent => self.receive_first(stream, message),
            Use::Request(id) => self.receive_about(id, message),
            Use::Over => Ok(()),
        }
    }

    /// A stream is lost before its request was read: with the id of that, and those of updates behind it.
    pub(super) fn lose_request(&mut self) {
        self.lost_ids = self.lost_ids.saturating_add(1);
        self.lose_updates();
    }

    /// A stream of a request is not read to its end: updates on it may have had ids of the sequence.
    pub(super) fn lose_updates(&mut self) {
        if self.profile.request_id_order == RequestIdOrder::Sequential {
            let most = u64::try_from(self.settings.limits.max_updates).unwrap_or(u64::MAX);
            self.lost_ids = self.lost_ids.saturating_add(most);
        }
    }

    fn receive_control(&mut self, message: Message) -> Result<(), Close> {
        match (message, self.phase) {
            (Message::Setup(setup), _) => self.receive_setup(setup),
            (_, Phase::SettingUp) => Err(Close::violation("V5: a message before SETUP")),
            (Message::GoAway(goaway), _) => self.receive_goaway(goaway),
            (message, _) if self.shares_stream() => self.receive_shared(message),
            _ => Err(Close::violation(
                "a request's message on the control stream",
            )),
        }
    }

    /// The first message on a bidirectional stream of the peer's.
    fn receive_first(&mut self, stream: StreamId, message: Message) -> Result<(), Close> {
        let request = into_request(message)
            .filter(|request| self.has_own_stream(request.kind()))
            .ok_or(Close::violation("V4: a stream that begins with no request"))?;
        self.receive_request(Some(stream), request)
    }

    /// A further message on the stream of a request.
    fn receive_about(&mut self, id: RequestId, message: Message) -> Result<(), Close> {
        match message {
            Message::SubscribeOk(ok) => self.receive_subscribe_ok(id, ok),
            Message::FetchOk(ok) => self.receive_fetch_ok(id, ok),
            Message::RequestOk(ok) => {
                let named = self.named(id, ok.request_id)?;
                self.receive_ok(id, named, ok)
            }
            Message::RequestError(error) => {
                let named = self.named(id, error.request_id)?;
                self.receive_error(id, named, error)
            }
            Message::PublishDone(done) => self.receive_done(id, done),
            Message::RequestUpdate(update) => {
                if update.existing_request_id.is_some_and(|about| about != id) {
                    return Err(Close::violation(
                        "V35: an update on another request's stream",
                    ));
                }
                self.receive_update(id, update)
            }
            Message::Namespace(namespace) => self.receive_namespace(id, namespace.suffix, true),
            Message::NamespaceDone(namespace) => {
                self.receive_namespace(id, namespace.suffix, false)
            }
            Message::PublishBlocked(blocked) => self.receive_publish_blocked(id, blocked),
            Message::GoAway(goaway) if !self.shares_stream() => {
                self.receive_request_goaway(id, goaway)
            }
            Message::Setup(_)
            | Message::GoAway(_)
            | Message::Subscribe(_)
            | Message::Publish(_)
            | Message::Fetch(_)
            | Message::TrackStatus(_)
            | Message::PublishNamespace(_)
            | Message::SubscribeNamespace(_)
            | Message::SubscribeTracks(_)
            | Message::Unsubscribe(_)
            | Message::FetchCancel(_)
            | Message::PublishNamespaceDone(_)
            | Message::PublishNamespaceCancel(_)
            | Message::MaxRequestId(_)
            | Message::RequestsBlocked(_) => Err(Close::violation(
                "a message that does not belong on a request's stream",
            )),
        }
    }

    /// Which update an answer is to, where it says so; `None`: it is to the request itself.
    fn named(&self, id: RequestId, carried: Option<RequestId>) -> Result<Option<RequestId>, Close> {
        match carried {
            None => Ok(None),
            Some(carried) if carried == id => Ok(None),
            Some(carried) if self.requests.update_owner.get(&carried) == Some(&id) => {
                Ok(Some(carried))
            }
            Some(_) => Err(Close::violation(
                "V32: an answer on another request's stream",
            )),
        }
    }

    /// A message on a control stream that all requests share: its id tells what it is about.
    fn receive_shared(&mut self, message: Message) -> Result<(), Close> {
        match message {
            Message::SubscribeOk(ok) => self.about(ok.request_id, |session, id| {
                session.receive_subscribe_ok(id, ok)
            }),
            Message::FetchOk(ok) => self.about(ok.request_id, |session, id| {
                session.receive_fetch_ok(id, ok)
            }),
            Message::RequestOk(ok) => {
                let (id, named) = self.owner(ok.request_id);
                self.about(id, |session, id| session.receive_ok(id, named, ok))
            }
            Message::RequestError(error) => {
                let (id, named) = self.owner(error.request_id);
                self.about(id, |session, id| session.receive_error(id, named, error))
            }
            Message::PublishDone(done) => self.about(done.request_id, |session, id| {
                session.receive_done(id, done)
            }),
            Message::RequestUpdate(update) => self.receive_shared_update(update),
            Message::Unsubscribe(id) => self.receive_cancel(
                id,
                |open| {
                    open.publisher() == Some(Side::Us)
                        && matches!(open.kind, Kind::Subscribe | Kind::Publish)
                },
                None,
            ),
            Message::FetchCancel(id) => self.receive_cancel(
                id,
                |open| open.kind == Kind::Fetch && open.side == Side::Peer,
                None,
            ),
            Message::PublishNamespaceDone(id) => self.receive_cancel(
                id,
                |open| open.kind == Kind::PublishNamespace && open.side == Side::Peer,
                None,
            ),
            Message::PublishNamespaceCancel(cancel) => self.receive_cancel(
                cancel.request_id,
                |open| open.kind == Kind::PublishNamespace && open.side == Side::Us,
                None,
            ),
            Message::MaxRequestId(limit) => {
                self.own_ids.raise(limit)?;
                self.can_request();
                Ok(())
            }
            // Credit follows the end of requests, whether the peer complains or not.
            Message::RequestsBlocked(_) => Ok(()),
            request @ (Message::Subscribe(_)
            | Message::Publish(_)
            | Message::Fetch(_)
            | Message::TrackStatus(_)
            | Message::PublishNamespace(_)
            | Message::SubscribeNamespace(_)
            | Message::SubscribeTracks(_)
            | Message::Setup(_)
            | Message::Namespace(_)
            | Message::NamespaceDone(_)
            | Message::PublishBlocked(_)
            | Message::GoAway(_)) => {
                let request = into_request(request)
                    .filter(|request| !self.has_own_stream(request.kind()))
                    .ok_or(Close::violation(
                        "a message that does not belong on the control stream",
                    ))?;
                self.receive_request(None, request)
            }
        }
    }

    /// The request whose update has this id, or the id itself.
    fn owner(&self, id: Option<RequestId>) -> (Option<RequestId>, Option<RequestId>) {
        match id.and_then(|id| self.requests.update_owner.get(&id)) {
            Some(owner) => (Some(*owner), id),
            None => (id, None),
        }
    }

    fn about(
        &mut self,
        id: Option<RequestId>,
        then: impl FnOnce(&mut Self, RequestId) -> Result<(), Close>,
    ) -> Result<(), Close> {
        let id = id.ok_or(Close::violation("V32: a message without a request id"))?;
        if self.find_or_tolerate(id)?.is_none() {
            return Ok(());
        }
        then(self, id)
    }

    /// The request that a message names. `None`: it is over, and the message was on its way when it ended.
    pub(super) fn find_or_tolerate(&self, id: RequestId) -> Result<Option<&Open>, Close> {
        if let Some(open) = self.requests.find(id) {
            return Ok(Some(open));
        }
        let (used, over) = if self.own_ids.is_ours(id) {
            (self.own_ids.was_used(id), self.own_tombstones.contains(id))
        } else {
            (self.peer_ids.was_used(id), true)
        };
        if !used {
            return Err(Close::new(
                SessionCode::InvalidRequestId,
                "V32: a message about a request that was never made",
            ));
        }
        if !over {
            return Err(Close::violation(
                "V33: a message about a request that was answered for good",
            ));
        }
        Ok(None)
    }

    fn receive_shared_update(&mut self, update: RequestUpdate) -> Result<(), Close> {
        let id = update
            .existing_request_id
            .ok_or(Close::violation("V35: an update of nothing"))?;
        if self.requests.find(id).is_some() {
            return self.receive_update(id, update);
        }
        if !self.own_tombstones.contains(id) && !self.peer_tombstones.contains(id) {
            return Err(Close::violation(
                "V35: an update of a request that does not exist",
            ));
        }
        // We ended the request while the update was on its way.
        self.refuse_lone_update(update, RequestCode::DoesNotExist, "the request is over")
    }

    /// Refuses an update on a shared control stream at once: no request waits for what comes of it.
    pub(super) fn refuse_lone_update(
        &mut self,
        update: RequestUpdate,
        code: RequestCode,
        reason: &'static str,
    ) -> Result<(), Close> {
        let mut tokens = update.parameters.authorization_tokens;
        self.peer_id_arrives(update.request_id)?;
        self.tokens.resolve(&mut tokens, Place::Message)?;
        let message = Message::RequestError(RequestError {
            request_id: Some(update.request_id),
            code,
            retry: Retry::Never,
            reason: bytes::Bytes::from_static(reason.as_bytes()),
            redirect: None,
        });
        let sent = self.say_on_control(&message);
        debug_assert!(sent.is_ok(), "{sent:?}");
        self.request_finished();
        Ok(())
    }

    /// Checks and notes an id that the peer uses for the first time.
    pub(super) fn peer_id_arrives(&mut self, id: RequestId) -> Result<(), Close> {
        let is_open = self.requests.find(id).is_some();
        let arrival = self.peer_ids.arrive(id, is_open)?;
        if self.profile.request_id_order == RequestIdOrder::Unique {
            return Ok(());
        }
        // One sequence, but several streams: an id that is missing may come on another one.
        match arrival {
            Arrival::Complete => self.timers.stop(Timer::RequestGap),
            Arrival::Gap if !self.timers.is_set(Timer::RequestGap) => {
                let limit = self.settings.limits.request_id_gap_timeout;
                self.timers.set(Timer::RequestGap, self.now + limit);
            }
            Arrival::Gap => {}
        }
        Ok(())
    }

    /// A skipped id did not come in time.
    pub(super) fn request_gap_expired(&mut self) -> Result<(), Close> {
        let missing = self.peer_ids.missing();
        if missing > self.lost_ids {
            return Err(Close::new(
                SessionCode::InvalidRequestId,
                "V29: a request id that is not the next one",
            ));
        }
        self.lost_ids = self.lost_ids.saturating_sub(missing);
        self.peer_ids.forgive();
        // Those requests are as good as over.
        for _ in 0..missing {
            self.request_finished();
        }
        Ok(())
    }

    fn receive_request(
        &mut self,
        stream: Option<StreamId>,
        mut request: Request,
    ) -> Result<(), Close> {
        let id = request.id();
        self.peer_id_arrives(id)?;
        let tokens = &mut request.parameters_mut().authorization_tokens;
        let resolved = self.tokens.resolve(tokens, Place::Message)?;
        if let Request::Publish(publish) = &request {
            self.check_peer_alias(publish.track_alias, &publish.track)?;
        }
        let room = self.requests.room_for(&request);
        let refusal = self
            .judge(&request, resolved)
            .or_else(|| room.is_none().then(no_room_for_names));
        let open = Open {
            room,
            ..Open::new(&request, Side::Peer, stream)
        };
        self.requests.insert(id, open);
        if let Some(stream) = stream {
            self.topology.set_purpose(stream, Use::Request(id));
        }
        if stream.is_some() {
            self.allow_more_requests();
        }
        if let Some(refusal) = refusal {
            self.refuse(id, refusal);
            return Ok(());
        }
        match request {
            Request::Fetch(fetch) if !matches!(fetch.range, FetchRange::Standalone { .. }) => {
                self.join(fetch)
            }
            Request::Publish(publish) => {
                // Until it is accepted it does not take the place of our own SUBSCRIBE.
                if !self.requests.subscribing.contains_key(&publish.track) {
                    self.requests.index(id);
                }
                let (alias, properties) = (publish.track_alias, publish.properties.clone());
                self.tell(Request::Publish(publish));
                // After the request: what waited for the alias follows it.
                self.bind_alias(alias, id, &properties)
            }
            request @ (Request::Subscribe(_)
            | Request::Fetch(_)
            | Request::TrackStatus(_)
            | Request::PublishNamespace(_)
            | Request::SubscribeNamespace(_)
            | Request::SubscribeTracks(_)) => {
                self.requests.index(id);
                self.tell(request);
                Ok(())
            }
        }
    }

    /// Hands a request to the application.
    pub(super) fn tell(&mut self, request: Request) {
        let id = request.id();
        if let Some(open) = self.requests.find_mut(id) {
            open.told = true;
        }
        if matches!(request, Request::Fetch(_)) {
            self.serve(id);
        }
        self.events.push_back(Event::Request { id, request });
    }

    /// Request streams are allowed as they are used, up to the limit: most peers need few. Where some requests share a
    /// stream they count as well, which allows more streams than needed, but no more than requests.
    fn allow_more_requests(&mut self) {
        let limit = self.settings.limits.max_requests;
        let half_used = self.requests.of_peer() >= self.allowed_streams / 2;
        if half_used && self.allowed_streams < limit {
            let more = self.allowed_streams.max(INITIAL_REQUEST_STREAMS);
            self.allowed_streams = more.saturating_mul(2).min(limit);
            self.topology.signal(Output::AllowStreams {
                dir: Dir::Bi,
                count: self.allowed_streams,
            });
        }
    }

    /// Reasons to refuse a request that need no application.
    fn judge(&self, request: &Request, resolved: Resolved) -> Option<Refusal> {
        if self.refuses_later_requests() {
            return Some(Refusal::new(
                RequestCode::GoingAway,
                "the session is about to end",
            ));
        }
        if self.requests.of_peer() >= self.settings.limits.max_requests {
            return Some(overloaded("too many requests are open"));
        }
        if resolved == Resolved::Repeated {
            return Some(Refusal::new(
                RequestCode::MalformedAuthToken,
                "a token appears twice",
            ));
        }
        self.judge_reserved(request).or_else(|| match request {
            Request::Subscribe(subscribe) => {
                let taken = self.requests.publishing.contains_key(&subscribe.track);
                if taken && self.profile.duplicate_subscription_refused {
                    return Some(DUPLICATE);
                }
                is_backwards(subscribe.parameters.filter).then_some(BACKWARDS)
            }
            Request::Publish(publish) => {
                if self.has_unknown_mandatory(&publish.properties) {
                    return Some(Refusal::new(
                        RequestCode::UnsupportedExtension,
                        "the track has a mandatory property that is not supported",
                    ));
                }
                let other = self.requests.subscribing.get(&publish.track);
                let other = other.and_then(|id| self.requests.find(*id));
                // Our own SUBSCRIBE that is not answered yet gives way to a PUBLISH that is accepted.
                let gives_way = other.is_some_and(|open| {
                    open.side == Side::Us && open.stage == super::request::Stage::Pending
                });
                let taken = other.is_some() && !gives_way;
                (taken && self.profile.duplicate_subscription_refused).then_some(DUPLICATE)
            }
            Request::Fetch(fetch) => match &fetch.range {
                FetchRange::Standalone { start, end, .. } => {
                    is_before_start(*end, *start).then_some(BACKWARDS)
                }
                FetchRange::RelativeJoining { .. } | FetchRange::AbsoluteJoining { .. } => None,
            },
            Request::TrackStatus(_) | Request::PublishNamespace(_) => None,
            Request::SubscribeNamespace(_) | Request::SubscribeTracks(_) => {
                let prefix = request.namespace()?;
                let shared = self.shares_prefixes();
                self.requests
                    .overlaps(prefix, request.kind(), Side::Peer, shared, None)
                    .then_some(OVERLAP)
            }
        })
    }

    /// § Reserved Namespaces, § Session-Level Tracks and Namespaces: there are none, and the application is not asked.
    fn judge_reserved(&self, request: &Request) -> Option<Refusal> {
        let namespace = request.namespace()?;
        let reserved = namespace.is_dot() || namespace.is_session();
        (self.profile.reserved_namespaces && reserved).then(|| {
            Refusal::new(
                RequestCode::DoesNotExist,
                "no such session-level track or namespace",
            )
        })
    }
}

/// A refusal for now.
fn overloaded(reason: &'static str) -> Refusal {
    Refusal {
        retry: Retry::After(BUSY),
        ..Refusal::new(RequestCode::ExcessiveLoad, reason)
    }
}

/// What is said at [`Limits::max_request_name_bytes`](super::Limits::max_request_name_bytes).
pub(super) fn no_room_for_names() -> Refusal {
    overloaded("no memory for more names")
}

const DUPLICATE: Refusal = Refusal::new(
    RequestCode::DuplicateSubscription,
    "there is a subscription for this track",
);
const BACKWARDS: Refusal =
    Refusal::new(RequestCode::InvalidRange, "the range ends before it starts");
const OVERLAP: Refusal = Refusal::new(
    RequestCode::PrefixOverlap,
    "the prefix overlaps that of another request",
);

/// The request that a message is, if it is one. One for tracks only is what later drafts call SUBSCRIBE_TRACKS.
fn into_request(message: Message) -> Option<Request> {
    Some(match message {
        Message::Subscribe(subscribe) => Request::Subscribe(subscribe),
        Message::Publish(publish) => Request::Publish(publish),
        Message::Fetch(fetch) => Request::Fetch(fetch),
        Message::TrackStatus(status) => Request::TrackStatus(status),
        Message::PublishNamespace(publish) => Request::PublishNamespace(publish),
        Message::SubscribeNamespace(subscribe) if subscribe.interest == Interest::Tracks => {
            Request::SubscribeTracks(SubscribeTracks {
                request_id: subscribe.request_id,
                prefix: subscribe.prefix,
                parameters: subscribe.parameters,
            })
        }
        Message::SubscribeNamespace(subscribe) => Request::SubscribeNamespace(subscribe),
        Message::SubscribeTracks(subscribe) => Request::SubscribeTracks(subscribe),
        Message::Setup(_)
        | Message::SubscribeOk(_)
        | Message::RequestUpdate(_)
        | Message::RequestOk(_)
        | Message::RequestError(_)
        | Message::PublishDone(_)
        | Message::FetchOk(_)
        | Message::Namespace(_)
        | Message::NamespaceDone(_)
        | Message::PublishBlocked(_)
        | Message::GoAway(_)
        | Message::Unsubscribe(_)
        | Message::FetchCancel(_)
        | Message::PublishNamespaceDone(_)
        | Message::PublishNamespaceCancel(_)
        | Message::MaxRequestId(_)
        | Message::RequestsBlocked(_) => return None,
    })
}
