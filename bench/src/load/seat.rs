//! A subscriber's session: its subscriptions, and the streams on which their objects arrive.

use bytes::Bytes;
use oxymoq_core::transport::{ConnectionId, StreamId};
use oxymoq_core::wire::id::{GroupId, Location, RequestId};
use oxymoq_core::wire::object::{DatagramObject, ObjectHeader, ObjectStatus};

use crate::account::{Account, Arrival};
use crate::clock::{self, Moment};
use crate::number;
use crate::stamp::{STAMP_BYTES, Stamp};

/// Why a subscriber is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To get everything.
    Regular,
    /// To come and to go again.
    Passer,
    /// To stop reading.
    Stalled,
}

/// How far a subscriber got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is being connected, or its subscriptions are not all accepted.
    Coming,
    /// It has all that it asked for.
    Seated,
    /// Its session is over.
    Gone,
}

/// One subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Which track, counted over all publishers.
    pub(super) track: usize,
    pub(super) request: Option<RequestId>,
    pub(super) accepted: bool,
    /// When to ask again after a refusal.
    pub(super) again_at: Option<Moment>,
    pub(super) account: Account,
}

/// A stream on which objects of a subscription arrive.
#[derive(Debug)]
struct Reading {
    stream: StreamId,
    subscription: usize,
    group: GroupId,
    object: Option<Partial>,
}

/// An object of which not all has arrived: only its beginning is kept.
#[derive(Debug)]
struct Partial {
    location: Location,
    length: u64,
    received: u64,
    head: [u8; STAMP_BYTES],
}

/// A subscriber.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) connection: ConnectionId,
    pub(super) kind: Kind,
    pub(super) standing: Standing,
    /// When its connection began, or should have begun.
    pub(super) since: Moment,
    pub(super) subscriptions: Vec<Subscription>,
    streams: Vec<Reading>,
}

impl Partial {
    const fn new(location: Location, length: u64) -> Self {
        Self {
            location,
            length,
            received: 0,
            head: [0; STAMP_BYTES],
        }
    }

    /// Takes a piece of the payload; the object is returned if that was the last one.
    fn append(&mut self, bytes: &[u8]) -> Option<Arrival> {
        let have = usize::try_from(self.received).unwrap_or(usize::MAX);
        if let Some(missing) = self.head.get_mut(have..) {
            for (place, byte) in missing.iter_mut().zip(bytes) {
                *place = *byte;
            }
        }
        self.received += number::length(bytes.len());
        (self.received >= self.length).then(|| Arrival {
            stamp: Stamp::decode(&self.head),
            location: self.location,
            bytes: self.received,
            at: clock::now(),
        })
    }
}

impl Seat {
    pub(super) fn new(connection: ConnectionId, kind: Kind, since: Moment) -> Self {
        Self {
            connection,
            kind,
            standing: Standing::Coming,
            since,
            subscriptions: Vec::new(),
            streams: Vec::new(),
        }
    }

    /// The subscription that a request is.
    pub(super) fn find(&mut self, request: RequestId) -> Option<&mut Subscription> {
        let mut subscriptions = self.subscriptions.iter_mut();
        subscriptions.find(|subscription| subscription.request == Some(request))
    }

    fn index(&self, request: RequestId) -> Option<usize> {
        let mut subscriptions = self.subscriptions.iter();
        subscriptions.position(|subscription| subscription.request == Some(request))
    }

    /// A stream with objects of a group began.
    pub(super) fn open(&mut self, stream: StreamId, request: RequestId, group: GroupId) {
        if let Some(subscription) = self.index(request) {
            self.streams.push(Reading {
                stream,
                subscription,
                group,
                object: None,
            });
        }
    }

    /// A stream is over; an object that was cut never arrived.
    pub(super) fn end(&mut self, stream: StreamId) {
        self.streams.retain(|reading| reading.stream != stream);
    }

    /// An object begins.
    pub(super) fn begin(&mut self, stream: StreamId, header: &ObjectHeader) {
        let mut streams = self.streams.iter_mut();
        if let Some(reading) = streams.find(|reading| reading.stream == stream) {
            let location = Location {
                group: reading.group,
                object: header.id,
            };
            let has_payload = header.status == ObjectStatus::Normal && header.payload_length > 0;
            reading.object = has_payload.then(|| Partial::new(location, header.payload_length));
        }
    }

    /// A piece of the payload of the object begun last on this stream; that object, if it is whole, and whose it is.
    pub(super) fn append(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
    ) -> Option<(&mut Account, Arrival)> {
        let mut streams = self.streams.iter_mut();
        let reading = streams.find(|reading| reading.stream == stream)?;
        let arrival = reading.object.as_mut()?.append(bytes)?;
        reading.object = None;
        let subscription = self.subscriptions.get_mut(reading.subscription)?;
        Some((&mut subscription.account, arrival))
    }

    /// An object in a datagram, and whose it is.
    pub(super) fn datagram(
        &mut self,
        request: RequestId,
        object: &DatagramObject,
    ) -> Option<(&mut Account, Arrival)> {
        let payload: &Bytes = &object.payload;
        if object.status != ObjectStatus::Normal || payload.is_empty() {
            return None;
        }
        let mut partial = Partial::new(object.location, number::length(payload.len()));
        let arrival = partial.append(payload)?;
        let subscription = self.find(request)?;
        Some((&mut subscription.account, arrival))
    }

    /// Its session is over.
    pub(super) fn leave(&mut self) {
        self.standing = Standing::Gone;
        self.streams = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use oxymoq_core::wire::id::ObjectId;
    use oxymoq_core::wire::property::Properties;

    use super::*;
    use crate::schedule::Timetable;

    fn seat() -> Seat {
        let mut seat = Seat::new(ConnectionId(1), Kind::Regular, Moment::default());
        seat.subscriptions.push(Subscription {
            track: 0,
            request: Some(RequestId(4)),
            accepted: true,
            again_at: None,
            account: Account::new(Moment::default()),
        });
        seat
    }

    fn header(id: u64, length: u64) -> ObjectHeader {
        ObjectHeader {
            id: ObjectId(id),
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            payload_length: length,
        }
    }

    fn payload(sequence: u64, length: usize) -> (Stamp, Vec<u8>) {
        let stamp = Stamp {
            sequence,
            scheduled: Moment::from_micros(9),
            timetable: Timetable {
                epoch: Moment::default(),
                interval_nanos: 5,
            },
        };
        let mut bytes = vec![7; length];
        bytes[..STAMP_BYTES].copy_from_slice(&stamp.encode());
        (stamp, bytes)
    }

    #[test]
    fn an_object_is_whole_with_its_last_byte_however_it_is_cut() {
        let stream = StreamId::peer(3);
        for cut in [1, 39, 40, 41, 99] {
            let mut seat = seat();
            seat.open(stream, RequestId(4), GroupId(2));
            let (stamp, bytes) = payload(5, 100);
            seat.begin(stream, &header(1, 100));
            let (first, second) = bytes.split_at(cut);
            assert!(seat.append(stream, first).is_none());
            let (_, arrival) = seat.append(stream, second).unwrap();
            assert_eq!(arrival.stamp, Some(stamp));
            assert_eq!(
                (arrival.location, arrival.bytes),
                (Location::new(2, 1), 100)
            );
            assert!(seat.append(stream, b"more").is_none());
        }
    }

    #[test]
    fn streams_are_kept_apart_and_forgotten_when_they_end() {
        let [a, b] = [1, 2].map(StreamId::peer);
        let mut seat = seat();
        seat.open(a, RequestId(4), GroupId(0));
        seat.open(b, RequestId(4), GroupId(1));
        let (stamp, bytes) = payload(9, 50);
        seat.begin(a, &header(0, 50));
        seat.begin(b, &header(0, 50));
        assert!(seat.append(a, &bytes[..20]).is_none());
        let (_, arrival) = seat.append(b, &bytes).unwrap();
        assert_eq!(
            (arrival.location, arrival.stamp),
            (Location::new(1, 0), Some(stamp))
        );
        seat.end(a);
        assert!(seat.append(a, &bytes[20..]).is_none());
        assert_eq!(seat.streams.len(), 1);
        seat.leave();
        assert_eq!((seat.streams.len(), seat.standing), (0, Standing::Gone));
    }

    #[test]
    fn markers_and_streams_of_nobody_bring_nothing() {
        let stream = StreamId::peer(1);
        let mut seat = seat();
        seat.open(stream, RequestId(77), GroupId(0));
        seat.begin(stream, &header(0, 3));
        assert!(seat.append(stream, b"abc").is_none());
        seat.open(stream, RequestId(4), GroupId(0));
        let marker = ObjectHeader {
            status: ObjectStatus::EndOfGroup,
            ..header(0, 0)
        };
        seat.begin(stream, &marker);
        assert!(seat.append(stream, b"abc").is_none());
    }

    #[test]
    fn a_datagram_is_an_object_at_once() {
        let mut seat = seat();
        let (stamp, bytes) = payload(0, 60);
        let object = DatagramObject {
            location: Location::new(0, 0),
            priority: None,
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            end_of_group: false,
            payload: bytes.into(),
        };
        let (_, arrival) = seat.datagram(RequestId(4), &object).unwrap();
        assert_eq!((arrival.stamp, arrival.bytes), (Some(stamp), 60));
        assert!(seat.datagram(RequestId(5), &object).is_none());
    }
}
