//! Data streams and datagrams of requests: the verbs for them, and what their ends mean for the request.

use std::time::Duration;

use bytes::Bytes;

use super::Session;
use super::answer::Ending;
use super::close::{Close, Misuse};
use super::event::{Event, FetchItem, StreamEnd};
use super::incoming::Outcome;
use super::outgoing::{Content, Delivery, OpenError};
use super::request::{Kind, Open, Side, Stage, Subject};
use super::topology::Use;
use crate::code::ResetCode;
use crate::time::Time;
use crate::transport::{Answer, Dir, Output, StreamId};
use crate::wire::id::{GroupId, Location, Millis, RequestId, SubgroupId, TrackAlias};
use crate::wire::property::Properties;

/// SUBSCRIBER_PRIORITY, if it is not told; and what a FETCH's stream has until the priority of its objects is told.
pub(crate) const DEFAULT_PRIORITY: u8 = 128;

impl Session {
    /// Opens a stream for a subgroup of a subscription in which we publish: the peer's SUBSCRIBE after it was accepted,
    /// or our PUBLISH. The stream opens when it is its turn to send something; the [`Source`](super::Source) of
    /// [`poll_output`](Self::poll_output) has its bytes, header included.
    ///
    /// # Errors
    /// [`Misuse::Blocked`] with [`Limits::max_open_data_streams`](super::Limits::max_open_data_streams) open:
    /// [`Event::CanOpenStream`] follows.
    pub fn open_subgroup(
        &mut self,
        now: Time,
        request: RequestId,
        group: GroupId,
        subgroup: SubgroupId,
        publisher_priority: u8,
    ) -> Result<StreamId, Misuse> {
        self.at(now);
        self.check_publishing(request)?;
        self.open_data_stream(
            request,
            Content::Subgroup(group, subgroup),
            publisher_priority,
        )
    }

    /// Opens the stream of a FETCH of the peer's, one for each FETCH; it may begin before FETCH_OK.
    ///
    /// # Errors
    /// As for [`open_subgroup`](Self::open_subgroup); [`Misuse::WrongState`] for a second stream.
    pub fn open_fetch(&mut self, now: Time, request: RequestId) -> Result<StreamId, Misuse> {
        self.at(now);
        self.check_open()?;
        let open = self
            .requests
            .find_mut(request)
            .filter(|open| open.side == Side::Peer)
            .ok_or(Misuse::UnknownRequest)?;
        let Subject::Fetch(fetching) = &open.subject else {
            return Err(Misuse::WrongState("not a FETCH of the peer's"));
        };
        if fetching.data_opened {
            return Err(Misuse::WrongState("a FETCH has one stream"));
        }
        let stream = self.open_data_stream(request, Content::Fetch, DEFAULT_PRIORITY)?;
        if let Some(fetching) = self.requests.find_mut(request).and_then(Open::fetching_mut) {
            fetching.data_opened = true;
        }
        self.closing.insert(request);
        Ok(stream)
    }

    fn open_data_stream(
        &mut self,
        request: RequestId,
        content: Content,
        publisher_priority: u8,
    ) -> Result<StreamId, Misuse> {
        let stream = StreamId::local(self.next_stream);
        self.outgoing
            .open(stream, request, content, publisher_priority)
            .map_err(|error| match error {
                OpenError::Full => Misuse::Blocked,
                OpenError::UnknownRequest => Misuse::UnknownRequest,
            })?;
        self.next_stream += 1;
        Ok(stream)
    }

    /// Whether we may send objects of this subscription.
    fn check_publishing(&self, request: RequestId) -> Result<(), Misuse> {
        self.check_open()?;
        let open = self.requests.find(request).ok_or(Misuse::UnknownRequest)?;
        if open.publisher() != Some(Side::Us) || open.kind == Kind::Fetch {
            return Err(Misuse::WrongState("not a subscription in which we publish"));
        }
        match (&open.stage, open.side) {
            (Stage::Established, _) | (Stage::Pending, Side::Us) => Ok(()),
            (Stage::Pending, Side::Peer) => {
                Err(Misuse::WrongState("the SUBSCRIBE is to be accepted first"))
            }
            (Stage::Ending(..) | Stage::Late, _) => {
                Err(Misuse::WrongState("the subscription is over"))
            }
        }
    }

    /// The [`Source`](super::Source) has more bytes, or the end, of an outgoing data stream. Harmless for one that is
    /// over.
    pub fn stream_ready(&mut self, stream: StreamId) {
        self.dirty |= self.outgoing.ready(stream);
    }

    /// The publisher's priority of the next object on the stream of a FETCH, or of a subgroup whose priority was not
    /// known when its stream was opened.
    ///
    /// # Errors
    /// [`Misuse::UnknownStream`] if the stream is over.
    pub fn set_publisher_priority(&mut self, stream: StreamId, priority: u8) -> Result<(), Misuse> {
        if self.outgoing.set_publisher_priority(stream, priority) {
            Ok(())
        } else {
            Err(Misuse::UnknownStream)
        }
    }

    /// The last object of an outgoing subgroup is known: SUBGROUP_DELIVERY_TIMEOUT counts from now. (It also does from
    /// when the stream's end is handed over.)
    pub fn subgroup_complete(&mut self, now: Time, stream: StreamId) {
        self.at(now);
        self.outgoing.end_known(self.now, stream);
    }

    /// How many outgoing data streams there are of which not everything, the end included, has reached the peer.
    pub fn outgoing_streams(&self) -> usize {
        self.outgoing.streams()
    }

    /// Abandons an outgoing data stream. Harmless if it is over.
    pub fn reset_stream(&mut self, now: Time, stream: StreamId, code: ResetCode) {
        self.at(now);
        self.outgoing.reset(stream, code);
        self.data_moved();
    }

    /// Sends an encoded OBJECT_DATAGRAM of a subscription in which we publish, when its turn comes. With
    /// [`Limits::max_datagram_backlog`](super::Limits::max_datagram_backlog) waiting the oldest is dropped. `location`
    /// decides its turn.
    ///
    /// # Errors
    /// As for [`open_subgroup`](Self::open_subgroup), but never [`Misuse::Blocked`].
    pub fn send_datagram(
        &mut self,
        now: Time,
        request: RequestId,
        publisher_priority: u8,
        location: Location,
        bytes: Bytes,
    ) -> Result<(), Misuse> {
        self.at(now);
        self.check_publishing(request)?;
        let served =
            self.outgoing
                .datagram(request, publisher_priority, location, Some(self.now), bytes);
        if served {
            Ok(())
        } else {
            Err(Misuse::UnknownRequest)
        }
    }

    /// Objects of the request may be sent from now on, or in another way than before.
    pub(super) fn serve(&mut self, id: RequestId) {
        let Some(open) = self.requests.find(id) else {
            return;
        };
        if open.publisher() == Some(Side::Us) {
            self.outgoing.serve(id, delivery(open));
        }
    }

    /// Data streams ended or events of theirs came up: what waited for that goes on.
    pub(super) fn data_moved(&mut self) {
        while let Some(event) = self.outgoing.poll_event() {
            self.events.push_back(event);
        }
        let idle: Vec<RequestId> = self
            .closing
            .iter()
            .copied()
            .filter(|id| self.outgoing.is_idle(*id))
            .collect();
        for id in idle {
            self.closing.remove(&id);
            let kind = self.requests.find(id).map(|open| open.kind);
            if kind == Some(Kind::Fetch) {
                if let Some(fetching) = self.requests.find_mut(id).and_then(Open::fetching_mut) {
                    fetching.data_ended = true;
                }
                self.fetch_maybe_over(id);
            } else {
                self.say_done_if_through(id);
            }
        }
    }

    /// Lets the peer have so many bytes under way or unread at once: what a publisher needs, and a subscriber does not.
    pub fn widen_receive_window(&mut self, bytes: u64) {
        if !self.is_closed() {
            self.dirty = true;
            self.topology.signal(Output::ReceiveWindow(bytes));
        }
    }

    /// Reads no more from a data stream of the peer's until [`resume_stream`](Self::resume_stream): its flow control then
    /// holds the peer back. With [`Limits::max_paused_streams`](super::Limits::max_paused_streams) paused, the least urgent
    /// is stopped. Harmless for one that is over.
    pub fn pause_stream(&mut self, stream: StreamId) {
        self.dirty = true;
        self.incoming.pause(stream);
        let result = self.data_received();
        self.settle(result);
    }

    /// Reads on.
    pub fn resume_stream(&mut self, stream: StreamId) {
        self.dirty = true;
        self.incoming.resume(stream);
    }

    /// As [`pause_stream`](Self::pause_stream) for the stream that answers a FETCH of ours. Harmless without one.
    pub fn pause_fetch(&mut self, request: RequestId) {
        if let Some(stream) = self.incoming.fetch_stream(request) {
            self.pause_stream(stream);
        }
    }

    /// Reads on from the stream that answers a FETCH of ours.
    pub fn resume_fetch(&mut self, request: RequestId) {
        if let Some(stream) = self.incoming.fetch_stream(request) {
            self.resume_stream(stream);
        }
    }

    /// Asks the peer to stop sending on a data stream. Harmless for one that is over.
    pub fn stop_stream(&mut self, now: Time, stream: StreamId, code: ResetCode) {
        self.at(now);
        self.incoming.stop(self.now, stream, code);
        let result = self.data_received();
        self.settle(result);
    }

    /// The answer to a read of a data stream.
    pub(super) fn receive_data(&mut self, stream: StreamId, answer: Answer) -> Result<(), Close> {
        self.incoming.answered(self.now, stream, answer)?;
        self.data_received()
    }

    pub(super) fn receive_datagram(&mut self, bytes: &Bytes) -> Result<(), Close> {
        self.incoming.datagram(self.now, bytes)?;
        self.data_received()
    }

    /// What came of data, in order.
    pub(super) fn data_received(&mut self) -> Result<(), Close> {
        self.take_outcomes();
        // § Fetch State Management: to stop the stream is not enough, the request is to be cancelled too.
        for id in std::mem::take(&mut self.stopped_fetches) {
            self.withdraw(id, ResetCode::Cancelled);
        }
        if let Some((stream, bytes)) = self.found_control.take() {
            return self.adopt_control_stream(stream, &bytes);
        }
        Ok(())
    }

    /// We do not want a request's data any more; its streams end now, before whatever is told of the request.
    pub(super) fn drop_data_of(&mut self, id: RequestId, code: ResetCode) {
        self.incoming.forget(id, code);
        self.take_outcomes();
    }

    fn take_outcomes(&mut self) {
        while !self.is_closed()
            && let Some(outcome) = self.incoming.poll_outcome()
        {
            match outcome {
                Outcome::Event(event) => self.data_event(event),
                Outcome::Stop { stream, code } => {
                    let code = self.reset_number(code);
                    self.topology.signal(Output::Stop { stream, code });
                }
                Outcome::Control { stream, bytes } => self.found_control = Some((stream, bytes)),
                Outcome::Settled(id) => {
                    self.finish_request(id, Ending::Gone);
                    self.events.push_back(Event::Settled { id });
                }
                Outcome::Malformed { request, rule } => self.malformed_track(request, rule),
            }
        }
    }

    fn data_event(&mut self, event: Event) {
        let ended = if let Event::Fetched {
            id,
            item: FetchItem::End(end),
        } = &event
        {
            Some((*id, *end))
        } else {
            None
        };
        self.events.push_back(event);
        match ended {
            None => {}
            Some((id, StreamEnd::Stopped)) => self.stopped_fetches.push(id),
            Some((id, StreamEnd::Fin | StreamEnd::Reset(_))) => {
                if let Some(fetching) = self.requests.find_mut(id).and_then(Open::fetching_mut) {
                    fetching.data_ended = true;
                }
                self.fetch_maybe_over(id);
            }
        }
    }

    /// § Malformed Tracks: every request of ours for the track at this publisher ends.
    fn malformed_track(&mut self, id: RequestId, rule: &'static str) {
        let track = self.requests.find(id).and_then(Open::track).cloned();
        self.events.push_back(Event::MalformedTrack { id, rule });
        let others: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, open)| open.publisher() == Some(Side::Peer))
            .filter(|(_, open)| open.track().is_some() && open.track() == track.as_ref())
            .map(|(other, _)| other)
            .filter(|other| *other != id)
            .collect();
        self.withdraw(id, ResetCode::MalformedTrack);
        for other in others {
            self.give_up(other, ResetCode::MalformedTrack);
        }
    }

    /// Data streams of the peer's are allowed once there is reason for them.
    pub(super) fn allow_data_streams(&mut self) {
        if !self.data_streams_allowed {
            self.data_streams_allowed = true;
            self.topology.signal(Output::AllowStreams {
                dir: Dir::Uni,
                count: self.settings.limits.max_incoming_data_streams,
            });
        }
    }

    /// Objects with this alias belong to this request of either side.
    pub(super) fn bind_alias(
        &mut self,
        alias: TrackAlias,
        id: RequestId,
        properties: &Properties,
    ) -> Result<(), Close> {
        if let Some(other) = self.requests.peer_aliases.insert(alias, id)
            && other != id
        {
            // The same track, or one whose subscription is over: the newer request takes the alias.
            self.drop_data_of(other, ResetCode::Cancelled);
            let late = self
                .requests
                .find(other)
                .is_some_and(|open| !open.is_live());
            if late {
                self.finish_request(other, Ending::Gone);
            }
        }
        let priority = properties.default_publisher_priority();
        self.incoming.bind(self.now, id, alias, priority)?;
        self.allow_data_streams();
        self.data_received()
    }

    /// We do not send a request's data any more: streams are reset.
    pub(super) fn reset_data_of(&mut self, id: RequestId, code: ResetCode) {
        let opened = self.outgoing.streams_opened(id);
        self.outgoing.withdraw(id, code);
        self.closing.remove(&id);
        if let Some(subscription) = self.requests.find_mut(id).and_then(Open::subscription_mut) {
            subscription.streams_opened = opened;
        }
    }

    /// A FETCH is over once it was answered and its data stream ended.
    pub(super) fn fetch_maybe_over(&mut self, id: RequestId) {
        let over = self.requests.find_mut(id).is_some_and(|open| {
            open.stage == Stage::Established
                && open
                    .fetching_mut()
                    .is_some_and(|fetching| fetching.data_ended)
        });
        if over {
            self.outgoing.withdraw(id, ResetCode::Cancelled);
            self.finish_request(id, Ending::Fin);
        }
    }

    /// A request's stream carries nothing more that matters.
    pub(super) fn close_lane(&mut self, stream: StreamId) {
        self.topology.set_purpose(stream, Use::Over);
        self.end_stream(stream, Ending::Fin);
    }
}

/// How the objects of a request are to be delivered: what the subscriber asks for, where it does the publisher's default.
fn delivery(open: &Open) -> Delivery {
    let wishes = &open.wishes;
    let offer = &open.offer;
    Delivery {
        subscriber_priority: wishes.subscriber_priority.unwrap_or(DEFAULT_PRIORITY),
        group_order: match open.kind {
            Kind::Fetch => wishes.group_order.unwrap_or_default(),
            Kind::Subscribe
            | Kind::Publish
            | Kind::TrackStatus
            | Kind::PublishNamespace
            | Kind::SubscribeNamespace
            | Kind::SubscribeTracks => wishes.group_order.unwrap_or(offer.group_order),
        },
        object_timeout: shorter(wishes.object_timeout, offer.object_timeout),
        subgroup_timeout: shorter(wishes.subgroup_timeout, offer.subgroup_timeout),
    }
}

/// The smaller of two timeouts, of which zero is none (§ Delivery Timeouts).
fn shorter(a: Option<Millis>, b: Option<Millis>) -> Option<Duration> {
    a.into_iter()
        .chain(b)
        .filter(|timeout| *timeout != Millis(0))
        .min()
        .map(|timeout| Duration::from_millis(timeout.0))
}
