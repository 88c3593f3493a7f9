//! A fan-out with subscribers whose sessions are played: what they were sent is decoded and compared.

mod delivery;
mod feed;
mod limits;
mod random;
mod sessions;
mod sources;
mod subscriptions;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::{
    Downstream, Fanout, Fault, IngestId, LagPolicy, Limits, Notice, OpenError, SourceId, TrackId,
};
use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::draft::Draft;
use crate::ledger::Ledger;
use crate::session::{Source as _, StreamEnd};
use crate::time::Time;
use crate::transport::{ConnectionId, StreamId};
use crate::wire::id::{GroupId, Location, Millis, ObjectId, RequestId, SubgroupId};
use crate::wire::object::{
    Datagram, DatagramObject, ObjectHeader, ObjectStatus, StreamType, SubgroupDecoder,
    SubgroupHeader, SubgroupItem, decode_datagram, decode_stream_type,
};
use crate::wire::param::{Filter, GroupOrder, Parameters};
use crate::wire::property::{Properties, Value};

impl Fanout {
    /// Nothing is left of any track or subscriber.
    #[track_caller]
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.ledger.used(), 0);
        assert!(self.tracks.is_empty(), "{:?}", self.tracks);
        assert!(self.ingests.is_empty(), "{:?}", self.ingests);
        assert!(self.connections.is_empty(), "{:?}", self.connections);
        assert_eq!((self.subscriptions, self.unsettled), (0, 0));
        assert!(self.dirty_tracks.is_empty() && self.dirty.is_empty());
        assert!(self.touched.is_empty() && self.with_datagrams.is_empty());
        assert!(self.closing.is_empty() && self.timers.is_empty());
        assert!(self.notices.is_empty(), "{:?}", self.notices);
        assert_eq!(self.shedding, None);
    }
}

/// The request of each played subscriber's first subscription.
const REQUEST: RequestId = RequestId(0);

/// The source of tests that have one.
const SOURCE: SourceId = SourceId(1);

/// What a played subscriber got on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Got {
    request: u64,
    group: u64,
    subgroup: u64,
    priority: Option<u8>,
    end_of_group: bool,
    first_object: bool,
    objects: Vec<(u64, Vec<u8>)>,
    markers: Vec<(u64, ObjectStatus)>,
    /// Whether an object was cut.
    cut: bool,
    fin: bool,
    reset: Option<ResetCode>,
}

/// The sending side of a stream as the subscriber's session has it.
#[derive(Debug, Default)]
struct Wire {
    request: u64,
    bytes: Vec<u8>,
    fin: bool,
    reset: Option<ResetCode>,
}

/// A played session.
#[derive(Debug)]
struct Peer {
    draft: Draft,
    wires: BTreeMap<StreamId, Wire>,
    ready: BTreeSet<StreamId>,
    /// Streams whose last object is known.
    complete: BTreeSet<StreamId>,
    /// Streams that may still be opened.
    credit: usize,
    /// In the order of opening.
    opened: Vec<(u64, u64, u64)>,
    datagrams: Vec<Bytes>,
    done: Vec<(RequestId, DoneCode, String)>,
    /// The most bytes that the transport takes at once.
    bite: usize,
    /// Whether the transport takes anything.
    stalled: bool,
}

impl Downstream for Peer {
    fn open_subgroup(
        &mut self,
        _now: Time,
        request: RequestId,
        group: GroupId,
        subgroup: SubgroupId,
        _publisher_priority: u8,
    ) -> Result<StreamId, OpenError> {
        self.credit = self.credit.checked_sub(1).ok_or(OpenError::Blocked)?;
        let stream = StreamId::local(count(self.wires.len()));
        self.wires.insert(
            stream,
            Wire {
                request: request.0,
                ..Wire::default()
            },
        );
        self.opened.push((request.0, group.0, subgroup.0));
        Ok(stream)
    }

    fn stream_ready(&mut self, stream: StreamId) {
        assert!(self.wires.contains_key(&stream));
        self.ready.insert(stream);
    }

    fn reset_stream(&mut self, _now: Time, stream: StreamId, code: ResetCode) {
        let wire = self.wires.get_mut(&stream).unwrap();
        assert_eq!(wire.reset, None, "reset twice");
        wire.reset = Some(code);
        self.ready.remove(&stream);
    }

    fn subgroup_complete(&mut self, _now: Time, stream: StreamId) {
        self.complete.insert(stream);
    }

    fn send_datagram(
        &mut self,
        _now: Time,
        _request: RequestId,
        _priority: u8,
        _location: Location,
        image: Bytes,
    ) {
        self.datagrams.push(image);
    }

    fn done(&mut self, _now: Time, request: RequestId, code: DoneCode, reason: &str) {
        let open = self
            .wires
            .values()
            .any(|wire| wire.request == request.0 && !wire.fin && wire.reset.is_none());
        assert!(!open, "PUBLISH_DONE before all streams ended (B210)");
        self.done.push((request, code, reason.to_owned()));
    }
}

impl Peer {
    fn new(draft: Draft) -> Self {
        Self {
            draft,
            wires: BTreeMap::new(),
            ready: BTreeSet::new(),
            complete: BTreeSet::new(),
            credit: usize::MAX,
            opened: Vec::new(),
            datagrams: Vec::new(),
            done: Vec::new(),
            bite: usize::MAX,
            stalled: false,
        }
    }

    /// Lets the transport take what it may.
    fn drink(&mut self, now: Time, connection: ConnectionId, fanout: &mut Fanout) {
        while !self.stalled {
            let Some(stream) = self.ready.first().copied() else {
                return;
            };
            if !self.sip(now, connection, fanout, stream) {
                self.ready.remove(&stream);
            }
        }
    }

    /// One write on one stream; false if there was nothing to write.
    fn sip(
        &mut self,
        now: Time,
        connection: ConnectionId,
        fanout: &mut Fanout,
        stream: StreamId,
    ) -> bool {
        let wire = self.wires.get_mut(&stream).unwrap();
        let mut source = fanout.source(connection);
        let Some(piece) = source.peek(now, stream) else {
            return false;
        };
        assert!(!piece.bytes.is_empty() || piece.fin);
        assert_eq!(source.peek(now, stream).as_ref(), Some(&piece));
        assert!(!wire.fin && wire.reset.is_none());
        let taken = piece.bytes.len().min(self.bite);
        let fin = piece.fin && taken == piece.bytes.len();
        wire.bytes.extend_from_slice(&piece.bytes[..taken]);
        wire.fin = fin;
        source.taken(now, stream, taken, fin);
        !fin
    }

    fn got(&self) -> Vec<Got> {
        self.wires.values().map(|wire| self.decode(wire)).collect()
    }

    fn decode(&self, wire: &Wire) -> Got {
        let profile = self.draft.profile();
        let mut got = Got {
            request: wire.request,
            fin: wire.fin,
            reset: wire.reset,
            ..Got::default()
        };
        let Some((kind, length)) = decode_stream_type(profile, &wire.bytes).unwrap() else {
            return got;
        };
        let StreamType::Subgroup(kind) = kind else {
            panic!("{kind:?}");
        };
        let mut decoder = SubgroupDecoder::new(profile, kind);
        decoder.push(Bytes::copy_from_slice(&wire.bytes[length..]));
        let mut left = 0;
        while let Some(item) = decoder.next_item().unwrap() {
            match item {
                SubgroupItem::Track(_) => {}
                SubgroupItem::Opened(header) => {
                    got.group = header.group.0;
                    got.subgroup = header.subgroup.0;
                    got.priority = header.priority;
                    got.end_of_group = header.end_of_group;
                    got.first_object = header.first_object;
                }
                SubgroupItem::Object(object) if object.status == ObjectStatus::Normal => {
                    got.objects.push((object.id.0, Vec::new()));
                    left = object.payload_length;
                }
                SubgroupItem::Object(object) => got.markers.push((object.id.0, object.status)),
                SubgroupItem::Payload(bytes) => {
                    got.objects.last_mut().unwrap().1.extend_from_slice(&bytes);
                    left -= u64::try_from(bytes.len()).unwrap();
                }
            }
        }
        got.cut = left > 0;
        if wire.fin {
            decoder.finish().unwrap();
        }
        got
    }

    fn datagram_objects(&self) -> Vec<DatagramObject> {
        self.datagrams
            .iter()
            .map(
                |image| match decode_datagram(self.draft.profile(), image).unwrap() {
                    Datagram::Object(_, object) => object,
                    Datagram::Padding => panic!("padding"),
                },
            )
            .collect()
    }
}

/// A fan-out with played subscribers.
struct Stage {
    fanout: Fanout,
    track: TrackId,
    peers: BTreeMap<ConnectionId, Peer>,
    now: Time,
}

impl Stage {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        Self::with_track(limits, Properties::default())
    }

    fn with_track(limits: Limits, properties: Properties) -> Self {
        let mut fanout = Fanout::new(limits, Ledger::new(1 << 30));
        let track = fanout.open_track(Draft::D18, properties, None).unwrap();
        Self {
            fanout,
            track,
            peers: BTreeMap::new(),
            now: Time::from_micros(1_000_000),
        }
    }

    /// A subscriber of the track with these parameters.
    fn subscriber(&mut self, draft: Draft, parameters: &Parameters) -> ConnectionId {
        self.try_subscriber(draft, parameters).unwrap()
    }

    fn try_subscriber(
        &mut self,
        draft: Draft,
        parameters: &Parameters,
    ) -> Result<ConnectionId, RequestCode> {
        let connection = ConnectionId(count(self.peers.len()));
        self.peers.insert(connection, Peer::new(draft));
        self.fanout
            .subscribe(connection, draft.profile(), REQUEST, self.track, parameters)
            .map_err(|refusal| refusal.code)?;
        Ok(connection)
    }

    fn plain_subscriber(&mut self) -> ConnectionId {
        self.subscriber(Draft::D18, &Parameters::default())
    }

    fn update(&mut self, connection: ConnectionId, parameters: &Parameters) {
        self.fanout
            .update(self.now, connection, REQUEST, parameters)
            .unwrap();
    }

    fn peer(&mut self, connection: ConnectionId) -> &mut Peer {
        self.peers.get_mut(&connection).unwrap()
    }

    fn got(&self, connection: ConnectionId) -> Vec<Got> {
        self.peers[&connection].got()
    }

    /// Object ids that were received whole, of all streams in the order of opening.
    fn ids(&self, connection: ConnectionId) -> Vec<(u64, u64)> {
        self.got(connection)
            .iter()
            .flat_map(|got| got.objects.iter().map(|(id, _)| (got.group, *id)))
            .collect()
    }

    fn done(&self, connection: ConnectionId) -> Vec<DoneCode> {
        self.peers[&connection]
            .done
            .iter()
            .map(|(_, code, _)| *code)
            .collect()
    }

    /// Pumps and drinks until nothing moves.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            while let Some(connection) = self.fanout.poll_dirty() {
                moved = true;
                let peer = self.peers.get_mut(&connection).unwrap();
                self.fanout.pump(self.now, connection, peer);
            }
            for (connection, peer) in &mut self.peers {
                moved |= !peer.stalled && !peer.ready.is_empty();
                peer.drink(self.now, *connection, &mut self.fanout);
            }
            if !moved {
                return;
            }
        }
    }

    /// Lets time pass, with timers.
    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some((time, _)) = self.fanout.poll_timeout() {
            if time > until {
                break;
            }
            self.now = self.now.max(time);
            self.fanout.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
        self.settle();
    }

    fn open(&mut self, group: u64, subgroup: u64) -> IngestId {
        self.open_from(SOURCE, header(group, subgroup))
    }

    fn open_from(&mut self, source: SourceId, header: SubgroupHeader) -> IngestId {
        self.fanout
            .open_subgroup(self.now, self.track, source, header)
            .unwrap()
    }

    /// A whole object.
    fn object(&mut self, stream: IngestId, id: u64, payload: &[u8]) {
        self.try_object(stream, id, payload).unwrap();
    }

    fn try_object(&mut self, stream: IngestId, id: u64, payload: &[u8]) -> Result<(), Fault> {
        let properties = Properties::default();
        self.fanout
            .write_object(self.now, stream, ObjectId(id), properties, payload)
    }

    fn begin(&mut self, stream: IngestId, id: u64, length: u64) {
        self.try_begin(stream, id, length).unwrap();
    }

    fn try_begin(&mut self, stream: IngestId, id: u64, length: u64) -> Result<(), Fault> {
        let object = ObjectHeader {
            id: ObjectId(id),
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            payload_length: length,
        };
        self.fanout.begin_object(self.now, stream, object)
    }

    fn marker(&mut self, stream: IngestId, id: u64, status: ObjectStatus) -> Result<(), Fault> {
        let object = ObjectHeader {
            id: ObjectId(id),
            properties: Properties::default(),
            status,
            payload_length: 0,
        };
        self.fanout.begin_object(self.now, stream, object)
    }

    fn payload(&mut self, stream: IngestId, bytes: &[u8]) {
        self.fanout.payload(self.now, stream, bytes).unwrap();
    }

    fn fin(&mut self, stream: IngestId) {
        self.fanout
            .end_subgroup(self.now, stream, StreamEnd::Fin)
            .unwrap();
    }

    fn reset(&mut self, stream: IngestId, code: ResetCode) {
        self.fanout
            .end_subgroup(self.now, stream, StreamEnd::Reset(code))
            .unwrap();
    }

    /// A group of one subgroup with small objects, ended.
    fn group(&mut self, group: u64, objects: u64) {
        let stream = self.open(group, 0);
        for id in 0..objects {
            self.object(stream, id, &[7; 10]);
        }
        self.fin(stream);
    }

    fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.fanout.poll_notice()).collect()
    }

    fn used(&self) -> usize {
        self.fanout.ledger().used()
    }
}

fn header(group: u64, subgroup: u64) -> SubgroupHeader {
    SubgroupHeader {
        group: GroupId(group),
        subgroup: SubgroupId(subgroup),
        priority: None,
        end_of_group: false,
        first_object: true,
    }
}

fn at(group: u64, object: u64) -> Location {
    Location {
        group: GroupId(group),
        object: ObjectId(object),
    }
}

fn filtered(filter: Filter) -> Parameters {
    Parameters {
        filter: Some(filter),
        ..Parameters::default()
    }
}

fn forward(forward: bool) -> Parameters {
    Parameters {
        forward: Some(forward),
        ..Parameters::default()
    }
}

fn datagram(group: u64, object: u64, payload: &[u8]) -> DatagramObject {
    DatagramObject {
        location: at(group, object),
        priority: None,
        properties: Properties::default(),
        status: ObjectStatus::Normal,
        end_of_group: false,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn properties(draft: Draft, list: &[(u64, u64)]) -> Properties {
    let list = list
        .iter()
        .map(|(number, value)| (*number, Value::Integer(*value)));
    Properties::from_list(draft.profile().integers, list).unwrap()
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap()
}
