//! One QUIC connection: turns what quinn-proto reports into inputs, and carries out the core's outputs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use oxymoq_core::runtime::TransportSettings;
use oxymoq_core::transport::{Answer, Dir, Input, Output, Room, StreamId};
use quinn_proto::crypto::rustls::HandshakeData;
use quinn_proto::{
    ClosedStream, ConnectionError, Event, FinishError, ReadError, SendDatagramError, StreamEvent,
    WriteError,
};

use crate::budget::Budget;
use crate::config::varint;

/// Bytes that are handed over in one piece: the budget gets a piece back only when all of it was acknowledged.
const SEGMENT: usize = 4 << 10;

/// One QUIC connection, and the core's numbers for its streams.
pub(crate) struct Connection {
    quic: quinn_proto::Connection,
    /// Streams of which at least one half is open, by the core's number.
    streams: HashMap<StreamId, Stream>,
    /// The core's number by quinn-proto's.
    numbers: HashMap<quinn_proto::StreamId, StreamId>,
    /// How many streams the peer has opened, over both directions.
    peer_streams: u64,
    /// How many streams of a kind the peer may have open.
    allowed: [u64; 2],
    /// Bytes that the peer may have unread.
    receive_window: u64,
    budget: Budget,
    /// An urgent write met twice the budget.
    urgent_waits: bool,
    /// What [`Input::Path`] last told.
    path: (Duration, usize),
}

#[derive(Clone, Copy)]
struct Stream {
    quic: quinn_proto::StreamId,
    sends: bool,
    receives: bool,
}

/// What happened to a connection as a whole.
pub(crate) enum Change {
    /// The handshake finished.
    Connected,
    /// It is over.
    Lost(ConnectionError),
}

/// What an [`Output`] came to.
pub(crate) enum Outcome {
    /// Done; the core wants no answer.
    Silent,
    /// Tell the core.
    Answer(Answer),
    /// The core closed the connection.
    Closed,
}

impl Connection {
    pub(crate) fn new(
        quic: quinn_proto::Connection,
        settings: &TransportSettings,
        incoming: bool,
    ) -> Self {
        Self {
            quic,
            streams: HashMap::new(),
            numbers: HashMap::new(),
            peer_streams: 0,
            allowed: [settings.max_bidi_streams, settings.max_uni_streams],
            receive_window: if incoming {
                settings.receive_window
            } else {
                settings.publisher_window
            },
            budget: Budget::new(settings),
            urgent_waits: false,
            path: (Duration::ZERO, 0),
        }
    }

    pub(crate) const fn quic(&mut self) -> &mut quinn_proto::Connection {
        &mut self.quic
    }

    /// What the core must hear before anything else: the protocol agreed on.
    pub(crate) fn connected(&mut self) -> Input {
        let alpn = self
            .quic
            .crypto_session()
            .handshake_data()
            .and_then(|agreed| agreed.downcast::<HandshakeData>().ok())
            .and_then(|agreed| agreed.protocol)
            .map(Bytes::from)
            .unwrap_or_default();
        let max_datagram = self.max_datagram();
        self.path = (Duration::ZERO, max_datagram);
        Input::Connected { alpn, max_datagram }
    }

    /// Takes quinn-proto's next event apart. Inputs go to `sink`; what concerns the connection itself is returned.
    ///
    /// `None` means that no event is left.
    pub(crate) fn poll(&mut self, sink: &mut impl FnMut(Input)) -> Option<Change> {
        while let Some(event) = self.quic.poll() {
            match event {
                Event::HandshakeDataReady => {}
                Event::Connected => return Some(Change::Connected),
                Event::ConnectionLost { reason } => return Some(Change::Lost(reason)),
                Event::DatagramReceived => {
                    while let Some(bytes) = self.quic.datagrams().recv() {
                        sink(Input::Datagram(bytes));
                    }
                }
                Event::DatagramsUnblocked => sink(Input::DatagramRoom),
                Event::Stream(event) => self.stream_event(event, sink),
            }
        }
        None
    }

    fn stream_event(&mut self, event: StreamEvent, sink: &mut impl FnMut(Input)) {
        let input = match event {
            StreamEvent::Opened { .. } => {
                // Told once however many were opened, so each kind is taken until none is left.
                for dir in [quinn_proto::Dir::Bi, quinn_proto::Dir::Uni] {
                    while let Some(quic) = self.quic.streams().accept(dir) {
                        let stream = StreamId::peer(self.peer_streams);
                        self.peer_streams += 1;
                        self.insert(stream, quic, dir == quinn_proto::Dir::Bi, true);
                        sink(Input::Opened {
                            stream,
                            dir: from_quic(dir),
                        });
                    }
                }
                return;
            }
            StreamEvent::Readable { id } => self.number(id).map(Input::Readable),
            StreamEvent::Writable { id } => {
                self.budget.freed();
                self.number(id).map(Input::Writable)
            }
            StreamEvent::Finished { id } => self.number(id).map(|stream| {
                self.close_half(stream, |halves| halves.sends = false);
                Input::Acked(stream)
            }),
            StreamEvent::Stopped { id, error_code } => {
                self.number(id).map(|stream| Input::Stopped {
                    stream,
                    code: error_code.into_inner(),
                })
            }
            StreamEvent::Available { dir } => Some(Input::CanOpen(from_quic(dir))),
        };
        // A stream that the core has done with may still have events on their way.
        if let Some(input) = input {
            sink(input);
        }
    }

    /// What the core should know of the path, if it changed noticeably since it was last told.
    pub(crate) fn path_change(&mut self) -> Option<Input> {
        let (old_rtt, old_max) = self.path;
        let (rtt, max_datagram) = (self.quic.rtt(), self.max_datagram());
        let noticeable = rtt.abs_diff(old_rtt) > (old_rtt / 4).max(Duration::from_millis(1));
        if !noticeable && max_datagram == old_max {
            return None;
        }
        self.path = (rtt, max_datagram);
        Some(Input::Path { rtt, max_datagram })
    }

    /// Must be called before outputs are carried out: measures how much may be written.
    pub(crate) fn start_pump(&mut self) {
        let window = self.quic.congestion_state().window();
        let acks = if self.budget.is_full() {
            self.acks()
        } else {
            0
        };
        self.budget.measured(window, acks);
        self.urgent_waits = false;
        self.quic.set_send_window(self.budget.data());
    }

    /// How many ACK frames have arrived.
    fn acks(&self) -> u64 {
        self.quic.stats().frame_rx.acks
    }

    /// Must be called when no more outputs are carried out for now.
    pub(crate) fn end_pump(&mut self) {
        if self.urgent_waits {
            // It goes on as soon as there is room within twice the budget.
            self.quic.set_send_window(self.budget.urgent());
        }
    }

    pub(crate) fn carry_out(&mut self, now: Instant, output: Output) -> Outcome {
        let answer = match output {
            Output::Open { stream, dir } => self.open(stream, dir),
            Output::Write {
                stream,
                bytes,
                fin,
                urgent,
            } => self.write(stream, bytes, fin, urgent),
            Output::Read { stream, max } => self.read(stream, max),
            Output::Datagram(bytes) => self.send_datagram(bytes),
            Output::Reset { stream, code } => {
                self.reset(stream, code);
                return Outcome::Silent;
            }
            Output::Stop { stream, code } => {
                self.stop(stream, code);
                return Outcome::Silent;
            }
            Output::Priority { stream, priority } => {
                if let Some(quic) = self.sending(stream) {
                    // The priority of a stream that is gone no longer matters.
                    let (Ok(()) | Err(ClosedStream { .. })) =
                        self.quic.send_stream(quic).set_priority(priority);
                }
                return Outcome::Silent;
            }
            Output::AllowStreams { dir, count } => {
                self.allow_streams(dir, count);
                return Outcome::Silent;
            }
            Output::ReceiveWindow(window) => {
                self.widen(window);
                return Outcome::Silent;
            }
            Output::Close { code, reason } => {
                self.quic.close(now, varint(code), reason);
                return Outcome::Closed;
            }
        };
        Outcome::Answer(answer)
    }

    fn open(&mut self, stream: StreamId, dir: Dir) -> Answer {
        if self.quic.is_closed() {
            return Answer::Gone;
        }
        let Some(quic) = self.quic.streams().open(to_quic(dir)) else {
            return Answer::Blocked;
        };
        self.insert(stream, quic, true, dir == Dir::Bi);
        Answer::Done
    }

    fn write(&mut self, stream: StreamId, bytes: Bytes, fin: bool, urgent: bool) -> Answer {
        let Some(quic) = self.sending(stream) else {
            return Answer::Gone;
        };
        if self.quic.is_closed() {
            return Answer::Gone;
        }
        let length = bytes.len();
        let mut rest = [bytes];
        if urgent {
            self.quic.set_send_window(self.budget.urgent());
        }
        let room = self.offer(quic, &mut rest, urgent);
        if urgent {
            self.quic.set_send_window(self.budget.data());
            self.urgent_waits |= room == Ok(Room::ConnectionFull);
        }
        let Ok(room) = room else {
            return Answer::Gone;
        };
        let [rest] = rest;
        if rest.is_empty() && fin {
            match self.quic.send_stream(quic).finish() {
                Ok(()) => {}
                Err(FinishError::Stopped(_) | FinishError::ClosedStream) => return Answer::Gone,
            }
        }
        Answer::Wrote {
            taken: length - rest.len(),
            room,
        }
    }

    /// Hands over as much of `rest` as fits and leaves the remainder in it. The error: the stream takes no more, ever.
    fn offer(
        &mut self,
        quic: quinn_proto::StreamId,
        rest: &mut [Bytes; 1],
        urgent: bool,
    ) -> Result<Room, ()> {
        // A short write is tried once more, for only a blocked one is followed by `Writable`.
        while let [bytes] = rest
            && !bytes.is_empty()
        {
            let mut segment = [bytes.slice(..bytes.len().min(SEGMENT))];
            match self.quic.send_stream(quic).write_chunks(&mut segment) {
                Ok(written) => *bytes = bytes.slice(written.bytes..),
                Err(WriteError::Blocked) => return Ok(self.which_limit(quic, rest, urgent)),
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return Err(()),
            }
        }
        Ok(Room::More)
    }

    /// Whether a blocked write met the budget, which holds for all streams, or the peer's flow control.
    ///
    /// quinn-proto does not tell. If one more byte goes through without the budget, and still another would, it was the
    /// budget.
    fn which_limit(
        &mut self,
        quic: quinn_proto::StreamId,
        rest: &mut [Bytes; 1],
        urgent: bool,
    ) -> Room {
        if self.budget.is_full() && !urgent {
            return Room::ConnectionFull;
        }
        let [bytes] = rest;
        let mut byte = [bytes.slice(..bytes.len().min(1))];
        self.quic.set_send_window(u64::MAX);
        let mut stream = self.quic.send_stream(quic);
        let taken = stream.write_chunks(&mut byte).is_ok();
        let was_budget = taken && stream.write_chunks(&mut []).is_ok();
        self.quic.set_send_window(self.budget.data());
        if taken {
            *bytes = bytes.slice(1..);
        }
        if !was_budget {
            return Room::StreamFull;
        }
        self.budget.used_up(self.acks());
        if bytes.is_empty() {
            Room::More
        } else {
            Room::ConnectionFull
        }
    }

    fn read(&mut self, stream: StreamId, max: usize) -> Answer {
        let Some(quic) = self.receiving(stream) else {
            return Answer::Gone;
        };
        let mut recv = self.quic.recv_stream(quic);
        let Ok(mut chunks) = recv.read(true) else {
            self.close_half(stream, |halves| halves.receives = false);
            return Answer::Gone;
        };
        let answer = match chunks.next(max) {
            Ok(Some(chunk)) => Answer::Data(chunk.bytes),
            Ok(None) => Answer::Fin,
            Err(ReadError::Blocked) => Answer::Blocked,
            Err(ReadError::Reset(code)) => Answer::Reset(code.into_inner()),
        };
        // Credit for the peer may be due. It needs no mark: every pumped connection is asked for packets afterwards.
        let _credit_due = chunks.finalize().should_transmit();
        if matches!(answer, Answer::Fin | Answer::Reset(_)) {
            self.close_half(stream, |halves| halves.receives = false);
        }
        answer
    }

    fn send_datagram(&mut self, bytes: Bytes) -> Answer {
        if self.quic.is_closed() {
            return Answer::Gone;
        }
        match self.quic.datagrams().send(bytes, false) {
            Ok(()) => Answer::Done,
            Err(SendDatagramError::Blocked(_)) => Answer::Blocked,
            Err(
                SendDatagramError::TooLarge
                | SendDatagramError::UnsupportedByPeer
                | SendDatagramError::Disabled,
            ) => Answer::TooLarge,
        }
    }

    fn reset(&mut self, stream: StreamId, code: u64) {
        let Some(quic) = self.sending(stream) else {
            return;
        };
        let (Ok(()) | Err(ClosedStream { .. })) = self.quic.send_stream(quic).reset(varint(code));
        // What it had not sent counts no more.
        self.budget.freed();
        self.close_half(stream, |halves| halves.sends = false);
    }

    fn stop(&mut self, stream: StreamId, code: u64) {
        let Some(quic) = self.receiving(stream) else {
            return;
        };
        let (Ok(()) | Err(ClosedStream { .. })) = self.quic.recv_stream(quic).stop(varint(code));
        self.close_half(stream, |halves| halves.receives = false);
    }

    fn allow_streams(&mut self, dir: Dir, count: u64) {
        let [bidi, uni] = &mut self.allowed;
        let allowed = match dir {
            Dir::Bi => bidi,
            Dir::Uni => uni,
        };
        if count <= *allowed {
            return;
        }
        *allowed = count;
        self.quic
            .set_max_concurrent_streams(to_quic(dir), varint(count));
    }

    fn widen(&mut self, window: u64) {
        if window > self.receive_window {
            self.receive_window = window;
            self.quic.set_receive_window(varint(window));
        }
    }

    fn insert(
        &mut self,
        stream: StreamId,
        quic: quinn_proto::StreamId,
        sends: bool,
        receives: bool,
    ) {
        self.numbers.insert(quic, stream);
        self.streams.insert(
            stream,
            Stream {
                quic,
                sends,
                receives,
            },
        );
    }

    fn number(&self, quic: quinn_proto::StreamId) -> Option<StreamId> {
        self.numbers.get(&quic).copied()
    }

    fn sending(&self, stream: StreamId) -> Option<quinn_proto::StreamId> {
        let halves = self.streams.get(&stream)?;
        halves.sends.then_some(halves.quic)
    }

    fn receiving(&self, stream: StreamId) -> Option<quinn_proto::StreamId> {
        let halves = self.streams.get(&stream)?;
        halves.receives.then_some(halves.quic)
    }

    /// Forgets the stream once both halves are closed.
    fn close_half(&mut self, stream: StreamId, close: impl FnOnce(&mut Stream)) {
        let Some(halves) = self.streams.get_mut(&stream) else {
            return;
        };
        close(halves);
        if !halves.sends && !halves.receives {
            self.numbers.remove(&halves.quic);
            self.streams.remove(&stream);
        }
    }

    fn max_datagram(&mut self) -> usize {
        self.quic.datagrams().max_size().unwrap_or(0)
    }
}

const fn from_quic(dir: quinn_proto::Dir) -> Dir {
    match dir {
        quinn_proto::Dir::Bi => Dir::Bi,
        quinn_proto::Dir::Uni => Dir::Uni,
    }
}

const fn to_quic(dir: Dir) -> quinn_proto::Dir {
    match dir {
        Dir::Bi => quinn_proto::Dir::Bi,
        Dir::Uni => quinn_proto::Dir::Uni,
    }
}
