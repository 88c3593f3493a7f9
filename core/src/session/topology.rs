//! Streams that carry control messages and requests: what waits to be written, what is to be read.
//!
//! Which of them exist depends on the draft ([`ControlModel`](crate::draft::ControlModel)); what their messages mean is
//! not known here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::draft::IntegerKind;
use crate::transport::{Answer, Dir, Output, Room, StreamId};
use crate::wire::frame::{Frame, Framer, MAX_FRAME};
use crate::wire::id::RequestId;
use crate::wire::varint;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Control messages that belong to no request, and in draft 16 nearly all others too.
    Control,
    /// Opened by the peer, which has not said what for.
    Silent,
    /// One request and what follows it.
    Request(RequestId),
    /// A request that is over; what still arrives is not looked at.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// We may not write, or wrote the end, or abandoned it.
    Ended,
    /// The stream is not open yet.
    Waiting,
    /// There may be room.
    Ready,
    /// There is no room now.
    Full,
}

/// One stream of messages.
#[derive(Debug)]
struct Lane {
    purpose: Use,
    framer: Framer,
    sending: Sending,
    queue: VecDeque<Bytes>,
    fin: bool,
    receiving: bool,
    /// The peer does not want to hear more; heeded once everything that it said before was read.
    stopped: Option<u64>,
    /// The first bytes of a stream of which is not known what it is for.
    held: BytesMut,
}

impl Lane {
    fn new(purpose: Use, integers: IntegerKind, sending: Sending, receiving: bool) -> Self {
        Self {
            purpose,
            held: BytesMut::new(),
            framer: Framer::new(integers),
            sending,
            queue: VecDeque::new(),
            fin: false,
            receiving,
            stopped: None,
        }
    }

    fn has_output(&self) -> bool {
        self.sending == Sending::Ready && (!self.queue.is_empty() || self.fin)
    }

    fn unfinished(&self) -> usize {
        MAX_FRAME.saturating_sub(self.framer.room()) + self.held.len()
    }

    fn is_over(&self) -> bool {
        self.sending == Sending::Ended && !self.receiving
    }
}

/// What was asked of the adapter last, to make sense of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Open(StreamId, Dir),
    Write(StreamId),
    Read(StreamId),
}

/// What an answer means for the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing further.
    Nothing,
    /// These bytes arrived.
    Bytes(StreamId, Bytes),
    /// The peer ended its direction.
    Fin(StreamId),
    /// The peer abandoned its direction.
    Reset(StreamId, u64),
    /// Everything was read, and the peer wants to hear no more.
    Stopped(StreamId, u64),
    /// The transport takes no more on a stream, since the peer wants to hear no more; it waits for a reset.
    Deaf(StreamId),
}

/// All streams of messages of a session.
#[derive(Debug)]
pub(super) struct Topology {
    integers: IntegerKind,
    /// Each apart: most sessions have a few, and a map sets aside room for eleven.
    lanes: BTreeMap<StreamId, Box<Lane>>,
    /// What is said first whatever else waits.
    pub(super) control: Option<StreamId>,
    /// Streams to open, oldest first.
    opens: VecDeque<(StreamId, Dir)>,
    no_credit: BTreeSet<Dir>,
    /// Streams with something to write and room for it.
    writes: BTreeSet<StreamId>,
    /// Streams that may have something to read.
    reads: VecDeque<StreamId>,
    /// Outputs that need no answer.
    signals: VecDeque<Output>,
    backlog: usize,
    connection_full: bool,
}

impl Topology {
    pub(super) const fn new(integers: IntegerKind) -> Self {
        Self {
            integers,
            lanes: BTreeMap::new(),
            control: None,
            opens: VecDeque::new(),
            no_credit: BTreeSet::new(),
            writes: BTreeSet::new(),
            reads: VecDeque::new(),
            signals: VecDeque::new(),
            backlog: 0,
            connection_full: false,
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.integers);
    }

    /// A stream that we open as soon as the peer allows it.
    pub(super) fn open(&mut self, stream: StreamId, dir: Dir, purpose: Use) {
        let lane = Lane::new(purpose, self.integers, Sending::Waiting, dir == Dir::Bi);
        self.lanes.insert(stream, Box::new(lane));
        self.opens.push_back((stream, dir));
    }

    /// A stream that the peer opened. It is read at once if `read` is set, otherwise after [`Topology::read`].
    pub(super) fn accept(&mut self, stream: StreamId, dir: Dir, purpose: Use, read: bool) {
        let sending = match dir {
            Dir::Bi => Sending::Ready,
            Dir::Uni => Sending::Ended,
        };
        self.lanes.insert(
            stream,
            Box::new(Lane::new(purpose, self.integers, sending, true)),
        );
        if read {
            self.read(stream);
        }
    }

    /// Starts or goes on reading a stream.
    pub(super) fn read(&mut self, stream: StreamId) {
        let open = self.lanes.get(&stream).is_some_and(|lane| lane.receiving);
        if open && !self.reads.contains(&stream) {
            self.reads.push_back(stream);
        }
    }

    pub(super) fn purpose(&self, stream: StreamId) -> Option<Use> {
        self.lanes.get(&stream).map(|lane| lane.purpose)
    }

    /// What a stream is for from now on. What it said before is read as messages.
    pub(super) fn set_purpose(&mut self, stream: StreamId, purpose: Use) {
        if let Some(lane) = self.lanes.get_mut(&stream) {
            lane.purpose = purpose;
        }
    }

    /// Whether the peer's control stream is known.
    pub(super) fn has_peer_control(&self) -> bool {
        self.lanes
            .values()
            .any(|lane| lane.purpose == Use::Control && lane.receiving)
    }

    /// The streams of a purpose, in the order of their ids.
    pub(super) fn streams(&self, purpose: Use) -> impl Iterator<Item = StreamId> {
        self.lanes
            .iter()
            .filter(move |(_, lane)| lane.purpose == purpose)
            .map(|(stream, _)| *stream)
    }

    /// Takes in bytes of the peer.
    pub(super) fn push(&mut self, stream: StreamId, bytes: &[u8]) {
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return;
        };
        match lane.purpose {
            // What was held went to the framer once the stream was known to carry messages.
            Use::Silent if lane.framer.is_empty() => lane.held.extend_from_slice(bytes),
            Use::Silent | Use::Control | Use::Request(_) => lane.framer.push(bytes),
            Use::Over => {}
        }
    }

    /// The next complete message.
    pub(super) fn next_frame(&mut self, stream: StreamId) -> Option<Frame> {
        let lane = self.lanes.get_mut(&stream)?;
        if lane.purpose == Use::Over {
            return None;
        }
        if !lane.held.is_empty() {
            lane.framer.push(&std::mem::take(&mut lane.held));
        }
        lane.framer.next_frame()
    }

    /// Whether the peer said nothing but whole messages.
    pub(super) fn is_between_messages(&self, stream: StreamId) -> bool {
        self.lanes
            .get(&stream)
            .is_none_or(|lane| lane.framer.is_empty() && lane.held.is_empty())
    }

    /// The peer wants to hear no more. Whether that can be heeded at once: otherwise, since what it said before may still
    /// be unread, [`Heard::Stopped`] or the end of the stream follows.
    pub(super) fn stop_after_reading(&mut self, stream: StreamId, code: u64) -> bool {
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return false;
        };
        if !lane.receiving {
            return true;
        }
        lane.stopped = Some(code);
        self.read(stream);
        false
    }

    /// How many bytes of a message that is not complete yet are held for a stream.
    pub(super) fn unfinished(&self, stream: StreamId) -> usize {
        self.lanes.get(&stream).map_or(0, |lane| lane.unfinished())
    }

    /// The same for all streams.
    pub(super) fn all_unfinished(&self) -> usize {
        self.lanes.values().map(|lane| lane.unfinished()).sum()
    }

    /// Stops reading a stream until [`Topology::read`].
    pub(super) fn pause(&mut self, stream: StreamId) {
        self.reads.retain(|waiting| *waiting != stream);
    }

    /// The type of the message at hand on a stream, or of the stream itself, as soon as it is known.
    pub(super) fn peek_type(&self, stream: StreamId) -> Option<u64> {
        let lane = self.lanes.get(&stream)?;
        if lane.purpose == Use::Over {
            return None;
        }
        if !lane.framer.is_empty() {
            return lane.framer.peek_type();
        }
        let held = varint::decode(self.integers, &lane.held);
        held.map(|(number, _)| number)
    }

    /// Whether the peer may still say something on this stream.
    pub(super) fn is_receiving(&self, stream: StreamId) -> bool {
        self.lanes.get(&stream).is_some_and(|lane| lane.receiving)
    }

    /// Bytes that wait for the transport.
    pub(super) const fn backlog(&self) -> usize {
        self.backlog
    }

    /// Whether a request stream waits for the peer's permission.
    pub(super) fn is_out_of_streams(&self) -> bool {
        self.no_credit.contains(&Dir::Bi)
    }

    /// Queues a message.
    pub(super) fn send(&mut self, stream: StreamId, bytes: Bytes) {
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return;
        };
        if lane.sending == Sending::Ended || lane.fin || bytes.is_empty() {
            return;
        }
        self.backlog = self.backlog.saturating_add(bytes.len());
        lane.queue.push_back(bytes);
        self.mark(stream);
    }

    /// Ends our direction after what is queued.
    pub(super) fn finish(&mut self, stream: StreamId) {
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return;
        };
        if lane.sending != Sending::Ended {
            lane.fin = true;
            self.mark(stream);
        }
    }

    /// Whether the peer has not allowed the stream yet.
    pub(super) fn waits_to_open(&self, stream: StreamId) -> bool {
        let lane = self.lanes.get(&stream);
        lane.is_some_and(|lane| lane.sending == Sending::Waiting)
    }

    /// Abandons whatever is still open of the stream, and forgets it.
    pub(super) fn abandon(&mut self, stream: StreamId, code: u64) {
        self.abandon_sending(stream, code);
        let Some(lane) = self.lanes.remove(&stream) else {
            return;
        };
        if lane.receiving {
            self.signals.push_back(Output::Stop { stream, code });
        }
        self.forget(stream);
    }

    /// Abandons our direction.
    pub(super) fn abandon_sending(&mut self, stream: StreamId, code: u64) {
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return;
        };
        let queued: usize = lane.queue.drain(..).map(|bytes| bytes.len()).sum();
        self.backlog = self.backlog.saturating_sub(queued);
        match lane.sending {
            Sending::Ended => {}
            Sending::Waiting => {
                lane.receiving = false;
                self.opens.retain(|(waiting, _)| *waiting != stream);
            }
            Sending::Ready | Sending::Full => {
                self.signals.push_back(Output::Reset { stream, code });
            }
        }
        lane.sending = Sending::Ended;
        lane.fin = false;
        self.writes.remove(&stream);
        self.drop_if_over(stream);
    }

    /// The peer ended or abandoned its direction.
    pub(super) fn ended_receiving(&mut self, stream: StreamId) {
        if let Some(lane) = self.lanes.get_mut(&stream) {
            lane.receiving = false;
        }
        self.drop_if_over(stream);
    }

    /// Takes an output that needs no answer out of line.
    pub(super) fn signal(&mut self, output: Output) {
        self.signals.push_back(output);
    }

    /// The transport reports room on a stream.
    pub(super) fn writable(&mut self, stream: StreamId) -> bool {
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return false;
        };
        if lane.sending == Sending::Full {
            lane.sending = Sending::Ready;
        }
        self.mark(stream);
        true
    }

    /// Something happened on the connection: there may be room again.
    pub(super) const fn stirred(&mut self) {
        self.connection_full = false;
    }

    /// The peer allows more streams. Whether something waited for that.
    pub(super) fn can_open(&mut self, dir: Dir) -> bool {
        self.no_credit.remove(&dir)
    }

    /// The next output that needs no answer.
    pub(super) fn poll_signal(&mut self) -> Option<Output> {
        self.signals.pop_front()
    }

    /// The next stream to open or message to write: control first.
    pub(super) fn poll_write(&self) -> Option<(Output, Asked)> {
        let open = self
            .opens
            .iter()
            .find(|(_, dir)| !self.no_credit.contains(dir))
            .copied();
        if let Some((stream, dir)) = open {
            return Some((Output::Open { stream, dir }, Asked::Open(stream, dir)));
        }
        if self.connection_full {
            return None;
        }
        let control = self.control.filter(|stream| self.writes.contains(stream));
        let stream = control.or_else(|| self.writes.first().copied())?;
        let lane = self.lanes.get(&stream)?;
        let bytes = lane.queue.front().cloned().unwrap_or_default();
        let fin = lane.fin && lane.queue.len() <= 1;
        let output = Output::Write {
            stream,
            bytes,
            fin,
            urgent: true,
        };
        Some((output, Asked::Write(stream)))
    }

    /// The next stream to read.
    pub(super) fn poll_read(&mut self, max: usize) -> Option<(Output, Asked)> {
        while let Some(stream) = self.reads.pop_front() {
            if self.lanes.get(&stream).is_some_and(|lane| lane.receiving) {
                return Some((Output::Read { stream, max }, Asked::Read(stream)));
            }
        }
        None
    }

    /// What became of the last output of [`Topology::poll_write`] or [`Topology::poll_read`].
    pub(super) fn handle_answer(&mut self, asked: Asked, answer: Answer) -> Heard {
        match asked {
            Asked::Open(stream, dir) => {
                self.opened(stream, dir, &answer);
                Heard::Nothing
            }
            Asked::Write(stream) => {
                self.wrote(stream, &answer);
                match answer {
                    Answer::Gone => Heard::Deaf(stream),
                    Answer::Done
                    | Answer::Blocked
                    | Answer::Wrote { .. }
                    | Answer::Data(_)
                    | Answer::Fin
                    | Answer::Reset(_)
                    | Answer::TooLarge => Heard::Nothing,
                }
            }
            Asked::Read(stream) => match answer {
                Answer::Data(bytes) => {
                    self.read(stream);
                    Heard::Bytes(stream, bytes)
                }
                Answer::Fin => Heard::Fin(stream),
                Answer::Reset(code) => Heard::Reset(stream, code),
                // With its connection: an input is about to tell.
                Answer::Gone => Heard::Nothing,
                Answer::Done | Answer::Blocked | Answer::Wrote { .. } | Answer::TooLarge => {
                    let lane = self.lanes.get_mut(&stream);
                    let stopped = lane.and_then(|lane| lane.stopped.take());
                    stopped.map_or(Heard::Nothing, |code| Heard::Stopped(stream, code))
                }
            },
        }
    }

    fn opened(&mut self, stream: StreamId, dir: Dir, answer: &Answer) {
        if *answer == Answer::Blocked {
            self.no_credit.insert(dir);
            return;
        }
        self.opens.retain(|(waiting, _)| *waiting != stream);
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return;
        };
        if lane.sending == Sending::Waiting {
            lane.sending = Sending::Ready;
        }
        self.mark(stream);
        self.read(stream);
    }

    fn wrote(&mut self, stream: StreamId, answer: &Answer) {
        let Some(lane) = self.lanes.get_mut(&stream) else {
            return;
        };
        let (taken, room) = match answer {
            Answer::Wrote { taken, room } => (*taken, *room),
            Answer::Blocked => (0, Room::StreamFull),
            Answer::Done
            | Answer::Data(_)
            | Answer::Fin
            | Answer::Reset(_)
            | Answer::TooLarge
            | Answer::Gone => {
                // The stream is gone: what was to be said on it is lost, and an input tells why.
                let queued: usize = lane.queue.drain(..).map(|bytes| bytes.len()).sum();
                self.backlog = self.backlog.saturating_sub(queued);
                lane.sending = Sending::Ended;
                self.writes.remove(&stream);
                self.drop_if_over(stream);
                return;
            }
        };
        self.backlog = self.backlog.saturating_sub(taken);
        let whole = lane.queue.front().is_none_or(|bytes| taken >= bytes.len());
        if whole {
            lane.queue.pop_front();
            if lane.fin && lane.queue.is_empty() {
                lane.sending = Sending::Ended;
            }
        } else if let Some(bytes) = lane.queue.front_mut() {
            *bytes = bytes.slice(taken..);
        }
        match room {
            Room::More => {}
            Room::StreamFull => {
                if lane.sending == Sending::Ready {
                    lane.sending = Sending::Full;
                }
            }
            Room::ConnectionFull => self.connection_full = true,
        }
        self.mark(stream);
        self.drop_if_over(stream);
    }

    fn mark(&mut self, stream: StreamId) {
        if self
            .lanes
            .get(&stream)
            .is_some_and(|lane| lane.has_output())
        {
            self.writes.insert(stream);
        } else {
            self.writes.remove(&stream);
        }
    }

    fn drop_if_over(&mut self, stream: StreamId) {
        if self.lanes.get(&stream).is_some_and(|lane| lane.is_over()) {
            self.lanes.remove(&stream);
            self.forget(stream);
        }
    }

    fn forget(&mut self, stream: StreamId) {
        self.writes.remove(&stream);
        self.reads.retain(|waiting| *waiting != stream);
        if self.control == Some(stream) {
            self.control = None;
        }
    }
}
