//! The peer's data streams and datagrams: which track they are for, what they carry, and whether it makes sense.
//!
//! Every unidirectional stream of the peer comes here, since only its first bytes tell what it is; control streams are
//! handed on. Data for a track alias that is not known yet waits: streams unread in the transport, datagrams in a short
//! queue. A stream that was announced with [`Event::SubgroupOpened`] ends with exactly one [`Event::SubgroupEnded`].

mod decode;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::settings::Limits;
use super::{Event, FetchItem, StreamEnd};
use crate::code::{ResetCode, SessionCode};
use crate::draft::Profile;
use crate::time::Time;
use crate::transport::{Answer, StreamId};
use crate::wire::Error;
use crate::wire::id::{ObjectId, RequestId, TrackAlias};
use crate::wire::object::{
    Datagram, DatagramObject, FetchDecoder, SubgroupDecoder, SubgroupHeader, decode_datagram,
};
use crate::wire::param::GroupOrder;
use rules::{Fault, FetchRecord, TrackRecord, check_properties};

/// What comes out of [`Incoming`], in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// For the application.
    Event(Event),
    /// Ask the peer to stop sending.
    Stop { stream: StreamId, code: ResetCode },
    /// This is a control stream; `bytes`, its type included, were read from it. It is not looked after here any more.
    Control { stream: StreamId, bytes: Bytes },
    /// A subscription that was done is over: nothing more comes for it.
    Settled(RequestId),
    /// The track contradicts itself. The request was forgotten here; it, and others for the track, are to be cancelled.
    Malformed {
        request: RequestId,
        rule: &'static str,
    },
}

#[derive(Debug)]
struct Stream {
    content: Content,
    /// The last read did not say that there is nothing.
    has_bytes: bool,
    paused: bool,
}

#[derive(Debug)]
enum Content {
    /// Its type is not known yet; what was read of it.
    Unknown(BytesMut),
    /// To be read and thrown away.
    Padding,
    Subgroup(Box<Subgroup>),
    Fetch(Box<FetchStream>),
}

#[derive(Debug)]
struct Subgroup {
    decoder: SubgroupDecoder,
    alias: Option<TrackAlias>,
    /// The subscription; `None` until the alias is known.
    request: Option<RequestId>,
    /// The header, once the application was told.
    opened: Option<SubgroupHeader>,
    last: Option<ObjectId>,
}

#[derive(Debug)]
struct FetchStream {
    decoder: FetchDecoder,
    request: Option<RequestId>,
}

/// A request whose objects we receive.
#[derive(Debug)]
struct Receiving {
    kind: Kind,
    /// Its data streams that are open.
    open: usize,
}

#[derive(Debug)]
enum Kind {
    Subscription(Box<Subscription>),
    Fetch {
        record: FetchRecord,
        order: GroupOrder,
        /// Its one stream arrived.
        started: bool,
    },
}

#[derive(Debug)]
struct Subscription {
    alias: TrackAlias,
    record: TrackRecord,
    /// Data streams received so far, the open ones included.
    received: u64,
    done: Option<Done>,
}

/// A PUBLISH_DONE was received.
#[derive(Clone, Copy, Debug)]
struct Done {
    /// How many streams the publisher opened, if it knew.
    count: Option<u64>,
    /// How long after the last sign of life nothing more is expected.
    patience: Duration,
    deadline: Time,
}

#[derive(Debug)]
struct EarlyDatagram {
    since: Time,
    alias: TrackAlias,
    object: DatagramObject,
}

/// The receiving half of a session's data.
#[derive(Debug)]
pub(super) struct Incoming {
    profile: &'static Profile,
    limits: Limits,
    streams: BTreeMap<StreamId, Stream>,
    /// Streams that may be read now.
    readable: BTreeSet<StreamId>,
    /// The one read last: the next one follows, so that all are read in turn.
    read_last: Option<StreamId>,
    requests: BTreeMap<RequestId, Receiving>,
    /// `None`: its subscription is over, what arrives is discarded.
    aliases: BTreeMap<TrackAlias, Option<RequestId>>,
    /// Aliases of subscriptions that are over, the oldest first.
    ended_aliases: VecDeque<TrackAlias>,
    /// Streams that wait for their alias, the oldest first.
    early_streams: VecDeque<(Time, StreamId)>,
    early_datagrams: VecDeque<EarlyDatagram>,
    /// Subscriptions after their PUBLISH_DONE.
    ending: BTreeSet<RequestId>,
    outcomes: VecDeque<Outcome>,
}

impl Incoming {
    pub(super) fn new(profile: &'static Profile, limits: &Limits) -> Self {
        Self {
            profile,
            limits: limits.clone(),
            streams: BTreeMap::new(),
            readable: BTreeSet::new(),
            read_last: None,
            requests: BTreeMap::new(),
            aliases: BTreeMap::new(),
            ended_aliases: VecDeque::new(),
            early_streams: VecDeque::new(),
            early_datagrams: VecDeque::new(),
            ending: BTreeSet::new(),
            outcomes: VecDeque::new(),
        }
    }

    // Requests.

    /// A subscription is known by this alias from now on: what waited for it is delivered.
    ///
    /// # Errors
    /// If another live subscription has the alias, or what waited breaks a rule.
    pub(super) fn bind(
        &mut self,
        now: Time,
        request: RequestId,
        alias: TrackAlias,
        default_priority: u8,
    ) -> Result<(), Error> {
        const DUPLICATE: Error = Error {
            code: SessionCode::DuplicateTrackAlias,
            rule: "V40: track alias of another track",
        };
        match self.aliases.get(&alias) {
            Some(Some(other)) if *other != request => return Err(DUPLICATE),
            Some(None) => self.ended_aliases.retain(|ended| *ended != alias),
            Some(Some(_)) | None => {}
        }
        self.aliases.insert(alias, Some(request));
        let subscription = Subscription {
            alias,
            record: TrackRecord::new(&self.limits, default_priority),
            received: 0,
            done: None,
        };
        self.requests.insert(
            request,
            Receiving {
                kind: Kind::Subscription(Box::new(subscription)),
                open: 0,
            },
        );
        self.deliver_early(now, request, alias)
    }

    /// A FETCH was sent whose objects come in this order.
    pub(super) fn expect_fetch(&mut self, request: RequestId, order: GroupOrder) {
        self.requests.insert(
            request,
            Receiving {
                kind: Kind::Fetch {
                    record: FetchRecord::new(order),
                    order,
                    started: false,
                },
                open: 0,
            },
        );
    }

    /// The publisher is done with a subscription. It is [`Outcome::Settled`] once as many streams as it opened came and
    /// ended; if that number is not known or not right, once nothing came for `timeout`, the subscription's longest
    /// delivery timeout, or the limit if that is longer.
    pub(super) fn done(
        &mut self,
        now: Time,
        request: RequestId,
        count: Option<u64>,
        timeout: Duration,
    ) {
        let patience = timeout.max(self.limits.publish_done_timeout);
        if let Some(subscription) = self.subscription(request) {
            subscription.done = Some(Done {
                count,
                patience,
                deadline: now + patience,
            });
            self.ending.insert(request);
            self.settle(now, request);
        }
    }

    /// Nothing more is wanted for a request: its streams are stopped, and its alias is remembered to discard the rest.
    pub(super) fn forget(&mut self, request: RequestId, code: ResetCode) {
        if self.requests.get(&request).is_some_and(|r| r.open > 0) {
            let streams: Vec<StreamId> = self
                .streams
                .iter()
                .filter(|(_, stream)| stream.content.request() == Some(request))
                .map(|(id, _)| *id)
                .collect();
            for stream in streams {
                self.abandon(stream, code);
            }
        }
        self.ending.remove(&request);
        if let Some(Receiving {
            kind: Kind::Subscription(subscription),
            ..
        }) = self.requests.remove(&request)
        {
            self.aliases.insert(subscription.alias, None);
            self.ended_aliases.push_back(subscription.alias);
            if self.ended_aliases.len() > self.limits.max_ended_aliases
                && let Some(oldest) = self.ended_aliases.pop_front()
            {
                self.aliases.remove(&oldest);
            }
        }
    }

    // What the transport tells.

    /// Whether this is one of the streams here.
    pub(super) fn owns(&self, stream: StreamId) -> bool {
        self.streams.contains_key(&stream)
    }

    /// The peer opened a unidirectional stream.
    pub(super) fn opened(&mut self, id: StreamId) {
        let max = usize::try_from(self.limits.max_incoming_data_streams).unwrap_or(usize::MAX);
        if self.streams.len() >= max {
            // one that said nothing so far is worth least
            let silent = self.streams.iter().find(
                |(_, stream)| matches!(&stream.content, Content::Unknown(head) if head.is_empty()),
            );
            match silent.map(|(id, _)| *id) {
                Some(silent) => {
                    self.abandon(silent, ResetCode::ExcessiveLoad);
                }
                None => {
                    let code = ResetCode::ExcessiveLoad;
                    self.outcomes.push_back(Outcome::Stop { stream: id, code });
                    return;
                }
            }
        }
        self.streams.insert(
            id,
            Stream {
                content: Content::Unknown(BytesMut::new()),
                has_bytes: true,
                paused: false,
            },
        );
        self.readable.insert(id);
    }

    /// The stream has something to read again.
    pub(super) fn readable(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.has_bytes = true;
        }
        self.update_readable(id);
    }

    /// A stream to read from, and how much at most.
    pub(super) fn poll_read(&mut self) -> Option<(StreamId, usize)> {
        let after = |last: StreamId| {
            let later = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
            self.readable.range(later).next().copied()
        };
        let next = self
            .read_last
            .and_then(after)
            .or_else(|| self.readable.first().copied())?;
        self.read_last = Some(next);
        Some((next, self.limits.read_size))
    }

    /// What a read brought.
    ///
    /// # Errors
    /// If it breaks a rule: the session closes.
    pub(super) fn answered(
        &mut self,
        now: Time,
        id: StreamId,
        answer: Answer,
    ) -> Result<(), Error> {
        if !self.streams.contains_key(&id) {
            return Ok(());
        }
        match answer {
            Answer::Data(bytes) => self.data(now, id, bytes),
            Answer::Fin => self.fin(now, id),
            Answer::Reset(code) => {
                let code = ResetCode::from_wire(self.profile.draft, code);
                self.end(now, id, StreamEnd::Reset(code));
                Ok(())
            }
            // Gone with its connection, which is not for the publisher's streams to say: an input is about to tell.
            Answer::Gone
            | Answer::Blocked
            | Answer::Done
            | Answer::Wrote { .. }
            | Answer::TooLarge => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.has_bytes = false;
                }
                self.update_readable(id);
                Ok(())
            }
        }
    }

    /// A datagram arrived.
    ///
    /// # Errors
    /// If it breaks a rule: the session closes.
    pub(super) fn datagram(&mut self, now: Time, bytes: &Bytes) -> Result<(), Error> {
        let Datagram::Object(alias, object) = decode_datagram(self.profile, bytes)? else {
            return Ok(());
        };
        match self.aliases.get(&alias) {
            Some(Some(request)) => {
                let request = *request;
                self.datagram_object(now, request, object)
            }
            Some(None) => Ok(()),
            None => {
                if self.early_datagrams.len() >= self.limits.max_early_datagrams {
                    self.early_datagrams.pop_front();
                }
                if self.limits.max_early_datagrams > 0 {
                    self.early_datagrams.push_back(EarlyDatagram {
                        since: now,
                        alias,
                        object,
                    });
                }
                Ok(())
            }
        }
    }

    // What the application wants.

    /// Reads no more from a stream for now. With too many paused, the least urgent one is stopped: that of a FETCH, which
    /// can be asked for again, before any of a subscription.
    pub(super) fn pause(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.paused = true;
        }
        self.update_readable(id);
        let paused = self.streams.iter().filter(|(_, stream)| stream.paused);
        if paused.clone().count() > self.limits.max_paused_streams
            && let Some((least, _)) =
                paused.max_by_key(|(id, stream)| (stream.is_fetch(), stream.priority(), **id))
        {
            let least = *least;
            self.abandon(least, ResetCode::ExcessiveLoad);
        }
    }

    /// Reads on.
    pub(super) fn resume(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.paused = false;
        }
        self.update_readable(id);
    }

    /// The stream that brings a FETCH, if it is open.
    pub(super) fn fetch_stream(&self, request: RequestId) -> Option<StreamId> {
        self.streams
            .iter()
            .find(|(_, stream)| {
                matches!(&stream.content, Content::Fetch(fetch) if fetch.request == Some(request))
            })
            .map(|(id, _)| *id)
    }

    /// Asks the peer to stop sending on a stream, and forgets it.
    pub(super) fn stop(&mut self, now: Time, id: StreamId, code: ResetCode) {
        if let Some(request) = self.abandon(id, code) {
            self.settle(now, request);
        }
    }

    // What the session polls.

    pub(super) fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// When something that waits has waited too long.
    pub(super) fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let patience = self.limits.early_data_timeout;
        let stream = self.early_streams.front().map(|(since, _)| *since);
        let datagram = self.early_datagrams.front().map(|early| early.since);
        let early = stream
            .into_iter()
            .chain(datagram)
            .min()
            .map(|since| (since + patience, "early data"));
        let ending = self
            .ending
            .iter()
            .filter_map(|request| {
                Some((self.done_of(*request)?.deadline, "data after PUBLISH_DONE"))
            })
            .min();
        early.into_iter().chain(ending).min()
    }

    /// Gives up what has waited too long.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        let patience = self.limits.early_data_timeout;
        while let Some((since, id)) = self.early_streams.front().copied()
            && since + patience <= now
        {
            self.abandon(id, ResetCode::Cancelled);
        }
        while self
            .early_datagrams
            .front()
            .is_some_and(|early| early.since + patience <= now)
        {
            self.early_datagrams.pop_front();
        }
        let ending: Vec<RequestId> = self.ending.iter().copied().collect();
        for request in ending {
            self.settle(now, request);
        }
    }

    // Inside.

    fn subscription(&mut self, request: RequestId) -> Option<&mut Subscription> {
        match &mut self.requests.get_mut(&request)?.kind {
            Kind::Subscription(subscription) => Some(subscription),
            Kind::Fetch { .. } => None,
        }
    }

    fn done_of(&self, request: RequestId) -> Option<Done> {
        match &self.requests.get(&request)?.kind {
            Kind::Subscription(subscription) => subscription.done,
            Kind::Fetch { .. } => None,
        }
    }

    /// A stream is read if it may have something, is not paused, and does not wait for its alias.
    fn update_readable(&mut self, id: StreamId) {
        let wanted = self
            .streams
            .get(&id)
            .is_some_and(|stream| stream.has_bytes && !stream.paused && !stream.content.is_early());
        if wanted {
            self.readable.insert(id);
        } else {
            self.readable.remove(&id);
        }
    }

    /// Stops a stream. Which request it was for.
    fn abandon(&mut self, id: StreamId, code: ResetCode) -> Option<RequestId> {
        if !self.streams.contains_key(&id) {
            return None;
        }
        self.outcomes.push_back(Outcome::Stop { stream: id, code });
        self.remove(id, StreamEnd::Stopped)
    }

    /// A stream is over, by whatever the peer did.
    fn end(&mut self, now: Time, id: StreamId, end: StreamEnd) {
        if let Some(request) = self.remove(id, end) {
            self.settle(now, request);
        }
    }

    /// Forgets a stream and tells the application its end, if it knew of it. Which request it was for.
    fn remove(&mut self, id: StreamId, end: StreamEnd) -> Option<RequestId> {
        let stream = self.streams.remove(&id)?;
        self.readable.remove(&id);
        if stream.content.is_early() {
            self.early_streams.retain(|(_, early)| *early != id);
        }
        let request = stream.content.request()?;
        if let Some(receiving) = self.requests.get_mut(&request) {
            receiving.open = receiving.open.saturating_sub(1);
        }
        match stream.content {
            Content::Subgroup(subgroup) if subgroup.opened.is_some() => {
                let stream = id;
                self.event(Event::SubgroupEnded { stream, end });
            }
            Content::Fetch(_) => {
                self.event(Event::Fetched {
                    id: request,
                    item: FetchItem::End(end),
                });
                self.requests.remove(&request);
            }
            Content::Subgroup(_) | Content::Unknown(_) | Content::Padding => {}
        }
        Some(request)
    }

    /// Ends a subscription after its PUBLISH_DONE, if everything came or nothing more is expected.
    fn settle(&mut self, now: Time, request: RequestId) {
        let Some(Receiving {
            kind: Kind::Subscription(subscription),
            open,
        }) = self.requests.get(&request)
        else {
            return;
        };
        let Some(done) = subscription.done else {
            return;
        };
        let complete = *open == 0 && done.count == Some(subscription.received);
        if complete || done.deadline <= now {
            self.forget(request, ResetCode::Cancelled);
            self.outcomes.push_back(Outcome::Settled(request));
        }
    }

    /// Something came for a request: after its PUBLISH_DONE, more is waited for.
    fn alive(&mut self, now: Time, request: RequestId) {
        if let Some(subscription) = self.subscription(request)
            && let Some(done) = &mut subscription.done
        {
            done.deadline = now + done.patience;
        }
    }

    fn event(&mut self, event: Event) {
        self.outcomes.push_back(Outcome::Event(event));
    }

    /// What is wrong with a track costs its request; what is wrong with the session costs all.
    fn fault(&mut self, request: RequestId, fault: Fault) -> Result<(), Error> {
        match fault {
            Fault::Session(error) => Err(error),
            Fault::Track(rule) => {
                // First the reason, then the ends of its streams that follow from it.
                self.outcomes
                    .push_back(Outcome::Malformed { request, rule });
                self.forget(request, ResetCode::MalformedTrack);
                Ok(())
            }
        }
    }

    fn datagram_object(
        &mut self,
        now: Time,
        request: RequestId,
        object: DatagramObject,
    ) -> Result<(), Error> {
        self.alive(now, request);
        let profile = self.profile;
        let Some(subscription) = self.subscription(request) else {
            return Ok(());
        };
        let at = object.location;
        let checked = check_properties(profile, &object.properties, at).and_then(|gaps| {
            subscription
                .record
                .object(at, None, object.status, object.end_of_group, gaps)
                .map_err(Fault::Track)
        });
        if let Err(fault) = checked {
            return self.fault(request, fault);
        }
        let id = request;
        self.event(Event::Datagram { id, object });
        Ok(())
    }
}

impl Content {
    /// The request that the stream is for, once that is known.
    fn request(&self) -> Option<RequestId> {
        match self {
            Self::Subgroup(subgroup) => subgroup.request,
            Self::Fetch(fetch) => fetch.request,
            Self::Unknown(_) | Self::Padding => None,
        }
    }

    /// Whether the stream waits for its alias to become known.
    fn is_early(&self) -> bool {
        matches!(self, Self::Subgroup(subgroup) if subgroup.alias.is_some() && subgroup.request.is_none())
    }
}

impl Stream {
    const fn is_fetch(&self) -> bool {
        matches!(self.content, Content::Fetch(_))
    }

    /// The publisher's priority as far as the stream itself tells.
    fn priority(&self) -> u8 {
        match &self.content {
            Content::Subgroup(subgroup) => subgroup
                .opened
                .and_then(|header| header.priority)
                .unwrap_or(128),
            Content::Unknown(_) | Content::Padding | Content::Fetch(_) => 128,
        }
    }
}
