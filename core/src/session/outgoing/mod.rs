//! Our data streams and datagrams: opened late, written most urgent first, reset when too old.
//!
//! A stream lives in these states: it *waits* until the transport opens it, which is tried only when it is the most
//! urgent one with something to send; then it is *open*, perhaps *blocked* by its own flow control; with its end handed
//! over it is *finished* until all of it was acknowledged. Bytes stay with the [`Source`] until the transport takes them.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::Event;
use super::settings::Limits;
use super::source::Source;
use crate::code::ResetCode;
use crate::schedule::{Class, Place, Schedule};
use crate::time::Time;
use crate::transport::{Answer, Dir, Output, Room, StreamId};
use crate::wire::id::{GroupId, Location, RequestId, SubgroupId};
use crate::wire::param::GroupOrder;

/// After this many streams that took less than offered, the connection is taken to be full until its next input.
const MAX_SHORT_WRITES: u8 = 8;

/// How the objects of a request are to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) subscriber_priority: u8,
    pub(super) group_order: GroupOrder,
    /// OBJECT_DELIVERY_TIMEOUT, the smaller of both sides'; `None`: none.
    pub(super) object_timeout: Option<Duration>,
    /// SUBGROUP_DELIVERY_TIMEOUT, the smaller of both sides'; `None`: none.
    pub(super) subgroup_timeout: Option<Duration>,
}

/// What a data stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Subgroup(GroupId, SubgroupId),
    Fetch,
}

/// Why a stream was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenError {
    /// As many are open as may be; [`Event::CanOpenStream`] follows.
    Full,
    /// The request is not served.
    UnknownRequest,
}

/// Something that must leave before any data, with no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgent {
    Reset { stream: StreamId, code: ResetCode },
    Priority { stream: StreamId, priority: i32 },
}

/// Something that can be scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Datagram(u64),
    Stream(StreamId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The transport does not know it yet.
    Waiting,
    Open,
    /// Open, but it takes nothing until the transport says so.
    Blocked,
    /// All was handed over, not all was acknowledged.
    Finished,
}

#[derive(Debug)]
struct Stream {
    request: RequestId,
    content: Content,
    publisher_priority: u8,
    state: State,
    /// Whether the source has something.
    ready: bool,
    /// When the last object of the subgroup was known to be there.
    end_known: Option<Time>,
    /// When SUBGROUP_DELIVERY_TIMEOUT passes.
    deadline: Option<Time>,
}

#[derive(Debug)]
struct Served {
    delivery: Delivery,
    /// Data streams opened for it so far, for PUBLISH_DONE.
    opened: u64,
    /// Those of its streams whose end was not handed over yet.
    unfinished: usize,
    /// Its datagrams that wait.
    datagrams: usize,
}

#[derive(Debug)]
struct Datagram {
    number: u64,
    request: RequestId,
    bytes: Bytes,
    /// When the object was first received or produced.
    began: Option<Time>,
}

/// What the last output was, until it is answered.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Open(StreamId),
    Write {
        stream: StreamId,
        length: usize,
        fin: bool,
    },
    Datagram(u64),
}

/// The sending half of a session's data.
#[derive(Debug)]
pub(super) struct Outgoing {
    max_open: usize,
    max_datagrams: usize,
    requests: BTreeMap<RequestId, Served>,
    streams: BTreeMap<StreamId, Stream>,
    /// How many of `streams` are not finished.
    unfinished: usize,
    /// The oldest first; numbers ascend.
    datagrams: VecDeque<Datagram>,
    next_datagram: u64,
    schedule: Schedule<RequestId, Key>,
    urgent: VecDeque<Urgent>,
    events: VecDeque<Event>,
    asked: Option<Asked>,
    /// An opening was refused for lack of credit.
    opening_blocked: bool,
    datagrams_blocked: bool,
    /// The connection takes no more until its next input.
    full: bool,
    short_writes: u8,
    /// Somebody was told that no stream can be opened.
    told_full: bool,
}

impl Outgoing {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max_open: limits.max_open_data_streams,
            max_datagrams: limits.max_datagram_backlog,
            requests: BTreeMap::new(),
            streams: BTreeMap::new(),
            unfinished: 0,
            datagrams: VecDeque::new(),
            next_datagram: 0,
            schedule: Schedule::default(),
            urgent: VecDeque::new(),
            events: VecDeque::new(),
            asked: None,
            opening_blocked: false,
            datagrams_blocked: false,
            full: false,
            short_writes: 0,
            told_full: false,
        }
    }

    // Requests.

    /// Objects of this request may be sent from now on, in this way. Again to change the way.
    pub(super) fn serve(&mut self, request: RequestId, delivery: Delivery) {
        let served = self.requests.entry(request).or_insert(Served {
            delivery,
            opened: 0,
            unfinished: 0,
            datagrams: 0,
        });
        served.delivery = delivery;
        let streams = self.streams.iter_mut();
        for (id, stream) in streams.filter(|(_, stream)| stream.request == request) {
            stream.set_deadline(&delivery);
            let key = Key::Stream(*id);
            if self.schedule.contains(key) {
                let (class, place) = stream.order(&delivery);
                self.schedule.insert(key, request, class, place);
            }
        }
        // datagrams that wait already keep their place
    }

    /// How many data streams there are that were not delivered yet.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// How many data streams were opened for the request.
    pub(super) fn streams_opened(&self, request: RequestId) -> u64 {
        self.requests
            .get(&request)
            .map_or(0, |served| served.opened)
    }

    /// Whether nothing of the request waits: every stream was finished or reset, and no datagram is left.
    pub(super) fn is_idle(&self, request: RequestId) -> bool {
        self.requests
            .get(&request)
            .is_none_or(|served| served.unfinished == 0 && served.datagrams == 0)
    }

    /// No more objects of this request: its streams are reset, its datagrams dropped. Finished streams go on.
    pub(super) fn withdraw(&mut self, request: RequestId, code: ResetCode) {
        let streams: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.request == request && stream.state != State::Finished)
            .map(|(id, _)| *id)
            .collect();
        for stream in streams {
            self.reset(stream, code);
        }
        let schedule = &mut self.schedule;
        self.datagrams.retain(|datagram| {
            let keep = datagram.request != request;
            if !keep {
                schedule.remove(Key::Datagram(datagram.number));
            }
            keep
        });
        self.requests.remove(&request);
    }

    // Streams.

    /// Whether this is one of the streams here.
    pub(super) fn owns(&self, stream: StreamId) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Prepares a stream under a number that was not used before. It is opened when something is to be sent on it.
    pub(super) fn open(
        &mut self,
        id: StreamId,
        request: RequestId,
        content: Content,
        publisher_priority: u8,
    ) -> Result<(), OpenError> {
        let served = self
            .requests
            .get_mut(&request)
            .ok_or(OpenError::UnknownRequest)?;
        if self.unfinished >= self.max_open {
            self.told_full = true;
            return Err(OpenError::Full);
        }
        served.unfinished += 1;
        self.unfinished += 1;
        self.streams.insert(
            id,
            Stream {
                request,
                content,
                publisher_priority,
                state: State::Waiting,
                ready: false,
                end_known: None,
                deadline: None,
            },
        );
        Ok(())
    }

    /// The source has something for the stream. Whether the stream exists.
    pub(super) fn ready(&mut self, id: StreamId) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else {
            return false;
        };
        if stream.state != State::Finished && !stream.ready {
            stream.ready = true;
            self.offer(id);
        }
        true
    }

    /// Changes the publisher's priority: on the stream of a FETCH every object has its own.
    pub(super) fn set_publisher_priority(&mut self, id: StreamId, priority: u8) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else {
            return false;
        };
        if stream.publisher_priority != priority {
            stream.publisher_priority = priority;
            if self.schedule.contains(Key::Stream(id)) {
                self.offer(id);
            }
        }
        true
    }

    /// The last object of the stream's subgroup is known to be there: SUBGROUP_DELIVERY_TIMEOUT starts.
    pub(super) fn end_known(&mut self, now: Time, id: StreamId) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else {
            return false;
        };
        if stream.end_known.is_none() {
            stream.end_known = Some(now);
            if let Some(served) = self.requests.get(&stream.request) {
                stream.set_deadline(&served.delivery);
            }
        }
        true
    }

    /// Abandons a stream. Whether it existed.
    pub(super) fn reset(&mut self, id: StreamId, code: ResetCode) -> bool {
        let Some(stream) = self.drop_stream(id) else {
            return false;
        };
        if stream.state != State::Waiting {
            self.urgent.push_back(Urgent::Reset { stream: id, code });
        }
        true
    }

    // Datagrams.

    /// Queues a datagram. With too many waiting, the oldest is dropped. Whether the request is served.
    pub(super) fn datagram(
        &mut self,
        request: RequestId,
        publisher_priority: u8,
        location: Location,
        began: Option<Time>,
        bytes: Bytes,
    ) -> bool {
        let Some(served) = self.requests.get_mut(&request) else {
            return false;
        };
        served.datagrams += 1;
        let number = self.next_datagram;
        self.next_datagram += 1;
        let class = Class {
            subscriber_priority: served.delivery.subscriber_priority,
            publisher_priority,
        };
        let place = Place::datagram(served.delivery.group_order, location);
        self.schedule
            .insert(Key::Datagram(number), request, class, place);
        self.datagrams.push_back(Datagram {
            number,
            request,
            bytes,
            began,
        });
        if self.datagrams.len() > self.max_datagrams
            && let Some(oldest) = self.datagrams.front().map(|datagram| datagram.number)
        {
            self.drop_datagram(oldest);
        }
        true
    }

    // What the transport tells.

    /// An input arrived: the connection may take more.
    pub(super) const fn new_turn(&mut self) {
        self.full = false;
        self.short_writes = 0;
    }

    /// The stream has room again.
    pub(super) fn writable(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.state == State::Blocked
        {
            stream.state = State::Open;
            if stream.ready {
                self.offer(id);
            }
        }
    }

    /// The peer does not want the stream any more.
    pub(super) fn stopped(&mut self, id: StreamId, code: ResetCode) {
        if self.reset(id, ResetCode::Cancelled) {
            self.events
                .push_back(Event::StreamStopped { stream: id, code });
        }
    }

    /// All of the stream reached the peer.
    pub(super) fn acked(&mut self, id: StreamId) {
        if self
            .streams
            .get(&id)
            .is_some_and(|stream| stream.state == State::Finished)
        {
            self.drop_stream(id);
            self.events.push_back(Event::StreamDelivered { stream: id });
        }
    }

    /// The peer allows more streams.
    pub(super) const fn can_open(&mut self) {
        self.opening_blocked = false;
    }

    /// There is room for datagrams again.
    pub(super) const fn datagram_room(&mut self) {
        self.datagrams_blocked = false;
    }

    // What the session polls.

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Resets and priorities; they need no answer.
    pub(super) fn poll_urgent(&mut self) -> Option<Urgent> {
        self.urgent.pop_front()
    }

    /// The most urgent opening, write or datagram, to be answered before the next.
    pub(super) fn poll_data(&mut self, now: Time, source: &mut dyn Source) -> Option<Output> {
        while !self.full {
            let (streams, opening_blocked, datagrams_blocked) =
                (&self.streams, self.opening_blocked, self.datagrams_blocked);
            let key = self.schedule.first(|key| match key {
                Key::Datagram(_) => !datagrams_blocked,
                Key::Stream(id) => {
                    !opening_blocked
                        || streams
                            .get(&id)
                            .is_some_and(|stream| stream.state != State::Waiting)
                }
            })?;
            let output = match key {
                Key::Datagram(number) => self.offer_datagram(now, number),
                Key::Stream(id) => self.offer_stream(now, id, source),
            };
            if output.is_some() {
                return output;
            }
        }
        None
    }

    /// What became of the last output of [`Outgoing::poll_data`].
    pub(super) fn answered(&mut self, now: Time, answer: &Answer, source: &mut dyn Source) {
        match self.asked.take() {
            Some(Asked::Open(id)) => self.opened(id, answer),
            Some(Asked::Write {
                stream,
                length,
                fin,
            }) => {
                if let Answer::Wrote { taken, room } = answer {
                    let taken = (*taken).min(length);
                    let fin = fin && taken == length;
                    source.taken(now, stream, taken, fin);
                    self.wrote(stream, taken, fin, *room);
                    if fin {
                        self.end_known(now, stream);
                    }
                } else if *answer == Answer::Gone {
                    self.lost(stream);
                } else {
                    self.wrote(stream, 0, false, Room::StreamFull);
                }
            }
            Some(Asked::Datagram(_)) if *answer == Answer::Blocked => {
                self.datagrams_blocked = true;
            }
            Some(Asked::Datagram(number)) => self.drop_datagram(number),
            None => {}
        }
    }

    /// The next delivery timeout.
    pub(super) fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let deadlines = self.streams.values().filter_map(|stream| stream.deadline);
        deadlines
            .min()
            .map(|deadline| (deadline, "subgroup delivery timeout"))
    }

    /// Resets what is too old.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        let late: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(id, _)| *id)
            .collect();
        for stream in late {
            self.expire(stream);
        }
    }

    // Inside.

    fn opened(&mut self, id: StreamId, answer: &Answer) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if *answer == Answer::Done {
            stream.state = State::Open;
            if let Some(served) = self.requests.get_mut(&stream.request) {
                served.opened += 1;
                let priority = hint(stream.order(&served.delivery).0);
                let stream = id;
                self.urgent.push_back(Urgent::Priority { stream, priority });
            }
        } else if *answer == Answer::Gone {
            self.lost(id);
        } else {
            self.opening_blocked = true;
        }
    }

    /// The transport lost a stream before it told that it was stopped: the source has to hear of it all the same.
    fn lost(&mut self, id: StreamId) {
        if self.drop_stream(id).is_some() {
            let code = ResetCode::Cancelled;
            self.events
                .push_back(Event::StreamStopped { stream: id, code });
        }
    }

    fn wrote(&mut self, id: StreamId, taken: usize, fin: bool, room: Room) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if fin {
            stream.state = State::Finished;
            stream.ready = false;
            self.unfinished -= 1;
            if let Some(served) = self.requests.get_mut(&stream.request) {
                served.unfinished -= 1;
            }
            self.schedule.served(Key::Stream(id));
            self.schedule.remove(Key::Stream(id));
            self.forget_finished();
            self.tell_room();
        } else if taken > 0 {
            self.schedule.served(Key::Stream(id));
        }
        match room {
            Room::More => {}
            Room::StreamFull => {
                if !fin && let Some(stream) = self.streams.get_mut(&id) {
                    stream.state = State::Blocked;
                    self.schedule.remove(Key::Stream(id));
                }
                self.short_writes += 1;
                self.full |= self.short_writes >= MAX_SHORT_WRITES;
            }
            Room::ConnectionFull => self.full = true,
        }
    }

    fn offer_stream(&mut self, now: Time, id: StreamId, source: &mut dyn Source) -> Option<Output> {
        let piece = source.peek(now, id);
        let stream = self.streams.get_mut(&id)?;
        let Some(piece) = piece.filter(|piece| piece.fin || !piece.bytes.is_empty()) else {
            stream.ready = false;
            self.schedule.remove(Key::Stream(id));
            return None;
        };
        let timeout = self
            .requests
            .get(&stream.request)
            .and_then(|served| served.delivery.object_timeout);
        if let Some(timeout) = timeout
            && stream.content != Content::Fetch
            && let Some(began) = source.object_began(id)
            && now.since(began) > timeout
        {
            self.expire(id);
            return None;
        }
        if stream.state == State::Waiting {
            self.asked = Some(Asked::Open(id));
            return Some(Output::Open {
                stream: id,
                dir: Dir::Uni,
            });
        }
        self.asked = Some(Asked::Write {
            stream: id,
            length: piece.bytes.len(),
            fin: piece.fin,
        });
        Some(Output::Write {
            stream: id,
            bytes: piece.bytes,
            fin: piece.fin,
            urgent: false,
        })
    }

    fn offer_datagram(&mut self, now: Time, number: u64) -> Option<Output> {
        let datagram = self
            .datagrams
            .iter()
            .find(|datagram| datagram.number == number);
        let Some(datagram) = datagram else {
            self.schedule.remove(Key::Datagram(number));
            return None;
        };
        let timeout = self
            .requests
            .get(&datagram.request)
            .and_then(|served| served.delivery.datagram_timeout());
        if let Some(timeout) = timeout
            && let Some(began) = datagram.began
            && now.since(began) > timeout
        {
            self.drop_datagram(number);
            return None;
        }
        self.asked = Some(Asked::Datagram(number));
        Some(Output::Datagram(datagram.bytes.clone()))
    }

    /// Puts a stream that has something where it belongs.
    fn offer(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get(&id)
            && matches!(stream.state, State::Waiting | State::Open)
            && let Some(served) = self.requests.get(&stream.request)
        {
            let (class, place) = stream.order(&served.delivery);
            self.schedule
                .insert(Key::Stream(id), stream.request, class, place);
        }
    }

    fn expire(&mut self, id: StreamId) {
        if self.reset(id, ResetCode::DeliveryTimeout) {
            self.events.push_back(Event::StreamExpired { stream: id });
        }
    }

    fn drop_stream(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.schedule.remove(Key::Stream(id));
        if stream.state != State::Finished {
            self.unfinished -= 1;
            if let Some(served) = self.requests.get_mut(&stream.request) {
                served.unfinished -= 1;
            }
            self.tell_room();
        }
        Some(stream)
    }

    fn drop_datagram(&mut self, number: u64) {
        self.schedule.served(Key::Datagram(number));
        self.schedule.remove(Key::Datagram(number));
        let found = self
            .datagrams
            .iter()
            .position(|datagram| datagram.number == number);
        if let Some(datagram) = found.and_then(|at| self.datagrams.remove(at))
            && let Some(served) = self.requests.get_mut(&datagram.request)
        {
            served.datagrams -= 1;
        }
    }

    /// Finished streams wait only for news of their delivery: with as many of them as may be open, the oldest is forgotten.
    fn forget_finished(&mut self) {
        if self.streams.len() - self.unfinished > self.max_open {
            let oldest = self
                .streams
                .iter()
                .find(|(_, stream)| stream.state == State::Finished)
                .map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.drop_stream(oldest);
            }
        }
    }

    fn tell_room(&mut self) {
        if self.told_full && self.unfinished < self.max_open {
            self.told_full = false;
            self.events.push_back(Event::CanOpenStream);
        }
    }
}

impl Stream {
    const fn order(&self, delivery: &Delivery) -> (Class, Place) {
        let class = Class {
            subscriber_priority: delivery.subscriber_priority,
            publisher_priority: self.publisher_priority,
        };
        let place = match self.content {
            Content::Subgroup(group, subgroup) => {
                Place::subgroup(delivery.group_order, group, subgroup)
            }
            Content::Fetch => Place::FETCH,
        };
        (class, place)
    }

    fn set_deadline(&mut self, delivery: &Delivery) {
        self.deadline = match (self.content, self.end_known, delivery.subgroup_timeout) {
            (Content::Subgroup(..), Some(since), Some(timeout)) => Some(since + timeout),
            _ => None,
        };
    }
}

impl Delivery {
    /// For datagrams both timeouts act alike (draft 18 § Delivery Timeouts).
    fn datagram_timeout(&self) -> Option<Duration> {
        self.object_timeout
            .into_iter()
            .chain(self.subgroup_timeout)
            .min()
    }
}

/// The transport's own priority for what it holds already: below 0, where control and requests are.
fn hint(class: Class) -> i32 {
    -1 - (i32::from(class.subscriber_priority) << 8) - i32::from(class.publisher_priority)
}
