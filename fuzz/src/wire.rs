//! A transport without packets: streams with bytes to read, writes that may be short, and what is under way to a far end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use oxymoq_core::transport::{Answer, Closed, Dir, Input, Output, Room, StreamId};

/// What a machine may read of one stream.
#[derive(Debug, Default)]
struct Pipe {
    bytes: BytesMut,
    end: Option<Answer>,
    /// The last read found nothing.
    blocked: bool,
    /// Its end was read, or it was stopped.
    over: bool,
}

/// What a machine writes to one stream.
#[derive(Debug, Default)]
struct Way {
    fin: bool,
    reset: bool,
    /// It was told that the peer wants no more.
    stopped: bool,
    acked: bool,
}

/// Something on its way to the far end, in the machine's own names.
#[derive(Debug)]
pub(crate) enum Parcel {
    Bytes(StreamId, Bytes, bool),
    Reset(StreamId, u64),
    Stop(StreamId, u64),
    Datagram(Bytes),
    Close(u64, Bytes),
}

impl Parcel {
    const fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Bytes(stream, ..) | Self::Reset(stream, _) | Self::Stop(stream, _) => {
                Some(*stream)
            }
            Self::Datagram(_) | Self::Close(..) => None,
        }
    }
}

/// What the transport is ready to do at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knobs {
    /// Streams that may still be opened.
    pub(crate) credit: usize,
    /// Bytes that a write takes at most.
    pub(crate) room: usize,
    /// Bytes that a read gives at most.
    pub(crate) piece: usize,
    pub(crate) datagrams: Datagrams,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Datagrams {
    Taken,
    Blocked,
    TooLarge,
}

/// Whatever it is asked.
pub(crate) const EASY: Knobs = Knobs {
    credit: usize::MAX,
    room: usize::MAX,
    piece: usize::MAX,
    datagrams: Datagrams::Taken,
};

/// The transport of one machine on one connection. It checks that the machine keeps the contract.
#[derive(Debug)]
pub(crate) struct End {
    incoming: BTreeMap<StreamId, Pipe>,
    outgoing: BTreeMap<StreamId, Way>,
    /// Streams that the machine opened and the far end does not know of, by direction.
    unknown: [VecDeque<StreamId>; 2],
    flight: VecDeque<Parcel>,
    /// Streams that the far end opened.
    opened: u64,
    knobs: Knobs,
    waits_to_open: [bool; 2],
    waits_to_write: BTreeSet<StreamId>,
    waits_for_datagrams: bool,
    /// The machine ended the connection, or was told that it is over.
    over: bool,
}

const fn index(dir: Dir) -> usize {
    match dir {
        Dir::Uni => 0,
        Dir::Bi => 1,
    }
}

impl End {
    pub(crate) const fn new() -> Self {
        Self {
            incoming: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            unknown: [VecDeque::new(), VecDeque::new()],
            flight: VecDeque::new(),
            opened: 0,
            knobs: EASY,
            waits_to_open: [false; 2],
            waits_to_write: BTreeSet::new(),
            waits_for_datagrams: false,
            over: false,
        }
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// The machine is told that the connection is over.
    pub(crate) fn close(&mut self) {
        self.over = true;
        self.incoming.clear();
        self.outgoing.clear();
    }

    /// Carries out what the machine wants.
    ///
    /// # Panics
    /// If it may not want that.
    pub(crate) fn carry_out(&mut self, output: Output) -> Option<Answer> {
        assert!(!self.over, "{output:?} after the end");
        match output {
            Output::Open { stream, dir } => Some(self.open(stream, dir)),
            Output::Write {
                stream, bytes, fin, ..
            } => Some(self.write(stream, bytes, fin)),
            Output::Read { stream, max } => Some(self.read(stream, max)),
            Output::Datagram(bytes) => Some(self.datagram(bytes)),
            Output::Reset { stream, code } => {
                let way = self.outgoing.get_mut(&stream);
                assert!(way.is_some(), "a reset of {stream}, which never was");
                if way.is_some_and(|way| !way.acked && !std::mem::replace(&mut way.reset, true)) {
                    self.waits_to_write.remove(&stream);
                    self.flight.push_back(Parcel::Reset(stream, code));
                }
                None
            }
            Output::Stop { stream, code } => {
                let pipe = self.incoming.get_mut(&stream);
                assert!(pipe.is_some(), "{stream} is stopped and never was");
                if pipe.is_some_and(|pipe| !std::mem::replace(&mut pipe.over, true)) {
                    self.flight.push_back(Parcel::Stop(stream, code));
                }
                None
            }
            Output::Priority { stream, .. } => {
                assert!(self.outgoing.contains_key(&stream), "what is {stream}?");
                None
            }
            Output::AllowStreams { .. } | Output::ReceiveWindow(_) => None,
            Output::Close { code, reason } => {
                self.over = true;
                self.flight.push_back(Parcel::Close(code, reason));
                None
            }
        }
    }

    fn open(&mut self, stream: StreamId, dir: Dir) -> Answer {
        assert!(
            stream.is_local() && !self.outgoing.contains_key(&stream),
            "{stream} is opened twice"
        );
        if self.knobs.credit == 0 {
            if let Some(waits) = self.waits_to_open.get_mut(index(dir)) {
                *waits = true;
            }
            return Answer::Blocked;
        }
        self.knobs.credit -= 1;
        self.outgoing.insert(stream, Way::default());
        if dir == Dir::Bi {
            self.incoming.insert(stream, Pipe::default());
        }
        if let Some(unknown) = self.unknown.get_mut(index(dir)) {
            unknown.push_back(stream);
        }
        Answer::Done
    }

    fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool) -> Answer {
        assert!(fin || !bytes.is_empty(), "an empty write on {stream}");
        let way = self.outgoing.get_mut(&stream);
        assert!(
            way.as_ref().is_some_and(|way| !way.fin && !way.reset),
            "a write on {stream}, which is not open"
        );
        let Some(way) = way.filter(|way| !way.stopped) else {
            return Answer::Gone;
        };
        let taken = bytes.len().min(self.knobs.room);
        let is_all = taken == bytes.len();
        way.fin = fin && is_all;
        if taken > 0 || way.fin {
            let parcel = Parcel::Bytes(stream, bytes.slice(..taken), way.fin);
            self.flight.push_back(parcel);
        }
        if is_all {
            return Answer::Wrote {
                taken,
                room: Room::More,
            };
        }
        self.waits_to_write.insert(stream);
        let room = if self.knobs.room.is_multiple_of(2) {
            Room::StreamFull
        } else {
            Room::ConnectionFull
        };
        Answer::Wrote { taken, room }
    }

    fn read(&mut self, stream: StreamId, max: usize) -> Answer {
        let pipe = self.incoming.get_mut(&stream);
        let Some(pipe) = pipe.filter(|pipe| !pipe.over) else {
            unreachable!("{stream} is read and was over")
        };
        if matches!(pipe.end, Some(Answer::Reset(_))) {
            pipe.bytes.clear();
        }
        if !pipe.bytes.is_empty() {
            let length = pipe.bytes.len().min(max).min(self.knobs.piece);
            return Answer::Data(pipe.bytes.split_to(length).freeze());
        }
        let Some(end) = pipe.end.take() else {
            pipe.blocked = true;
            return Answer::Blocked;
        };
        pipe.over = true;
        end
    }

    fn datagram(&mut self, bytes: Bytes) -> Answer {
        match self.knobs.datagrams {
            Datagrams::Taken => {
                self.flight.push_back(Parcel::Datagram(bytes));
                Answer::Done
            }
            Datagrams::Blocked => {
                self.waits_for_datagrams = true;
                Answer::Blocked
            }
            Datagrams::TooLarge => Answer::TooLarge,
        }
    }

    /// The transport is from now on ready for this; what the machine must be told.
    pub(crate) fn set(&mut self, knobs: Knobs) -> Vec<Input> {
        self.knobs = knobs;
        self.wake()
    }

    /// What waits for room and can go on a little.
    pub(crate) fn wake(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        if self.knobs.credit > 0 {
            for (waits, dir) in self.waits_to_open.iter_mut().zip([Dir::Uni, Dir::Bi]) {
                if std::mem::take(waits) {
                    inputs.push(Input::CanOpen(dir));
                }
            }
        }
        if self.knobs.room > 0 {
            let waiting = std::mem::take(&mut self.waits_to_write);
            inputs.extend(waiting.into_iter().map(Input::Writable));
        }
        if self.knobs.datagrams != Datagrams::Blocked
            && std::mem::take(&mut self.waits_for_datagrams)
        {
            inputs.push(Input::DatagramRoom);
        }
        inputs
    }

    // What the far end does.

    /// It opens a stream.
    pub(crate) fn peer_opens(&mut self, dir: Dir) -> (StreamId, Input) {
        let stream = StreamId::peer(self.opened);
        self.opened += 1;
        self.incoming.insert(stream, Pipe::default());
        if dir == Dir::Bi {
            self.outgoing.insert(stream, Way::default());
        }
        (stream, Input::Opened { stream, dir })
    }

    /// Bytes of it arrive, or the end of a stream. What the machine must be told.
    pub(crate) fn arrive(
        &mut self,
        stream: StreamId,
        bytes: &[u8],
        end: Option<Answer>,
    ) -> Option<Input> {
        let pipe = self.incoming.get_mut(&stream)?;
        if pipe.over || pipe.end.is_some() && !matches!(end, Some(Answer::Reset(_))) {
            return None;
        }
        pipe.bytes.extend_from_slice(bytes);
        pipe.end = end.or_else(|| pipe.end.take());
        std::mem::take(&mut pipe.blocked).then_some(Input::Readable(stream))
    }

    /// It does not want a stream any more.
    pub(crate) fn stop(&mut self, stream: StreamId, code: u64) -> Option<Input> {
        let way = self.outgoing.get_mut(&stream)?;
        if way.reset || way.acked || std::mem::replace(&mut way.stopped, true) {
            return None;
        }
        self.waits_to_write.remove(&stream);
        Some(Input::Stopped { stream, code })
    }

    /// It has all of a stream.
    fn ack(&mut self, stream: StreamId) -> Option<Input> {
        let way = self.outgoing.get_mut(&stream)?;
        if way.reset || !way.fin || std::mem::replace(&mut way.acked, true) {
            return None;
        }
        Some(Input::Acked(stream))
    }

    /// Streams that the machine may still read, or write: what a peer can do something with.
    pub(crate) fn streams(&self) -> Vec<StreamId> {
        let readable = self.incoming.iter().filter(|(_, pipe)| !pipe.over);
        let writable = self.outgoing.iter().filter(|(_, way)| !way.reset);
        let readable = readable.map(|(stream, _)| *stream);
        let streams: BTreeSet<_> = readable
            .chain(writable.map(|(stream, _)| *stream))
            .collect();
        streams.into_iter().collect()
    }

    /// Whether the machine may write and the far end may, too.
    pub(crate) fn is_both_ways(&self, stream: StreamId) -> bool {
        self.incoming.contains_key(&stream) && self.outgoing.contains_key(&stream)
    }

    /// Drops what is under way to a far end that looks at nothing; what the machine is told.
    pub(crate) fn ignore(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        for unknown in &mut self.unknown {
            unknown.clear();
        }
        for parcel in std::mem::take(&mut self.flight) {
            if let Parcel::Bytes(stream, _, true) = parcel {
                inputs.extend(self.ack(stream));
            }
        }
        inputs
    }
}

/// Two ends and what is under way between them.
#[derive(Debug)]
pub(crate) struct Cable {
    pub(crate) ends: [End; 2],
    /// The other end's name for each stream of an end.
    names: [BTreeMap<StreamId, StreamId>; 2],
}

/// What the machine at an end must be told.
pub(crate) type Told = (usize, Input);

impl Cable {
    pub(crate) const fn new() -> Self {
        Self {
            ends: [End::new(), End::new()],
            names: [BTreeMap::new(), BTreeMap::new()],
        }
    }

    pub(crate) fn end(&mut self, side: usize) -> &mut End {
        let [first, second] = &mut self.ends;
        if side == 0 { first } else { second }
    }

    /// How much is under way from an end.
    pub(crate) fn under_way(&mut self, from: usize) -> usize {
        self.end(from).flight.len()
    }

    /// Delivers something that left `from`: the parcel at this place, or the one before it on the same stream.
    pub(crate) fn deliver(&mut self, from: usize, at: usize) -> Vec<Told> {
        let end = self.end(from);
        let wanted = end.flight.get(at).and_then(Parcel::stream);
        let first = end
            .flight
            .iter()
            .position(|parcel| wanted.is_some() && parcel.stream() == wanted);
        let Some(parcel) = end.flight.remove(first.unwrap_or(at)) else {
            return Vec::new();
        };
        let mut told = Vec::new();
        let to = 1 - from;
        if let Parcel::Close(code, reason) = parcel {
            // Nothing that left before matters any more.
            end.flight.clear();
            if !self.end(to).over {
                self.end(to).close();
                let closed = Input::Closed(Closed::ByPeer { code, reason });
                told.push((to, closed));
            }
            return told;
        }
        if self.end(to).over {
            return told;
        }
        if let Some(stream) = parcel.stream() {
            self.introduce(from, stream, &mut told);
        }
        match parcel {
            Parcel::Bytes(stream, bytes, fin) => {
                let Some(name) = self.name(from, stream) else {
                    return told;
                };
                let end = fin.then_some(Answer::Fin);
                let input = self.end(to).arrive(name, &bytes, end);
                told.extend(input.map(|input| (to, input)));
                if fin && !self.end(from).over {
                    let acked = self.end(from).ack(stream);
                    told.extend(acked.map(|input| (from, input)));
                }
            }
            Parcel::Reset(stream, code) => {
                let Some(name) = self.name(from, stream) else {
                    return told;
                };
                let input = self.end(to).arrive(name, &[], Some(Answer::Reset(code)));
                told.extend(input.map(|input| (to, input)));
            }
            Parcel::Stop(stream, code) => {
                let Some(name) = self.name(from, stream) else {
                    return told;
                };
                let input = self.end(to).stop(name, code);
                told.extend(input.map(|input| (to, input)));
            }
            Parcel::Datagram(bytes) => told.push((to, Input::Datagram(bytes))),
            Parcel::Close(..) => {}
        }
        told
    }

    /// Loses a datagram that left `from`, if one is at this place.
    pub(crate) fn lose(&mut self, from: usize, at: usize) {
        let flight = &mut self.end(from).flight;
        if matches!(flight.get(at), Some(Parcel::Datagram(_))) {
            flight.remove(at);
        }
    }

    /// Tells the far end of a stream, and of those opened before it in the same direction.
    fn introduce(&mut self, from: usize, stream: StreamId, told: &mut Vec<Told>) {
        let to = 1 - from;
        for dir in [Dir::Uni, Dir::Bi] {
            let end = self.end(from);
            let Some(unknown) = end.unknown.get_mut(index(dir)) else {
                return;
            };
            if !unknown.contains(&stream) {
                continue;
            }
            while let Some(opened) = self
                .end(from)
                .unknown
                .get_mut(index(dir))
                .and_then(VecDeque::pop_front)
            {
                let (name, input) = self.end(to).peer_opens(dir);
                self.learn(from, opened, name);
                self.learn(to, name, opened);
                told.push((to, input));
                if opened == stream {
                    break;
                }
            }
        }
    }

    fn learn(&mut self, side: usize, own: StreamId, other: StreamId) {
        if let Some(names) = self.names.get_mut(side) {
            names.insert(own, other);
        }
    }

    fn name(&self, side: usize, own: StreamId) -> Option<StreamId> {
        self.names.get(side)?.get(&own).copied()
    }
}
