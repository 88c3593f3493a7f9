//! Links between the shards of one relay: a session in memory instead of on QUIC, in frames that a runtime carries.
//!
//! A relay that uses several cores is several [`Relay`]s, one for each thread, each with the peers that the system gave
//! it. What a peer of one publishes is for the peers of all, so every two shards are linked: each has a [`Link`], the end
//! of a draft-18 session with the other. It does what an adapter does for a connection of QUIC, without a network: it
//! answers the relay's outputs, turns them into [`Frame`]s, and turns the other end's frames into inputs. No payload is
//! copied on the way: a frame holds the same [`Bytes`] that the publisher's shard keeps, and the account of memory knows
//! them once.
//!
//! # What a runtime does
//!
//! It makes a [`Link`] in each shard for each other shard, calls [`Link::poll_frame`] whenever
//! [`poll_dirty`](crate::transport::Application::poll_dirty) yields [`Link::connection`], until there is no frame, and
//! hands each frame to the shard at the other end, which gives it to its own end with [`Link::handle_frame`]. Frames of one
//! direction stay in order, and none is lost. Neither end asks for anything else: there is no deadline but the relay's.
//!
//! # How much is under way
//!
//! At most [`MAX_IN_FLIGHT`] bytes each way, counted with [`FRAME_COST`] for each frame: an end stops taking from its relay
//! when the other has not read that much, and data stops earlier than control messages and requests do. Within that each
//! stream has a [`STREAM_WINDOW`], so that streams that wait for slow subscribers do not stop the others. Only frames that
//! end a stream or give credit may exceed it, of which there are no more than streams.
//!
//! A link does not end while its shards run. If a session on it is closed all the same, that is a mistake of this program:
//! it is logged as an error, and [`Link::failure`] tells.

mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::relay::Relay;
use crate::session::Limits;
use crate::time::Time;
use crate::transport::{
    Answer, Application as _, Closed, ConnectionId, Dir, Input, Output, Room, StreamId,
};
use stream::{Ending, Receiving, Sending, Stream};

/// Most bytes on their way or unread, each way, with [`FRAME_COST`] for each frame.
pub const MAX_IN_FLIGHT: usize = 1 << 20;

/// What a frame costs besides its bytes: its place in a queue.
pub const FRAME_COST: usize = 64;

/// Most bytes on their way or unread on one stream: a piece of payload of the greatest size. Eight streams that are not read
/// leave half of the link to the others.
pub const STREAM_WINDOW: usize = 64 << 10;

/// What data leaves to control messages and requests.
const NOT_FOR_DATA: usize = MAX_IN_FLIGHT / 4;

/// Credit is given back when so much of it has come together: well below what stops the other end.
const CREDIT_STEP: usize = MAX_IN_FLIGHT / 16;

/// Datagrams of any length that the drafts know fit.
const MAX_DATAGRAM: usize = 64 << 10;

/// The number of a shard, from 0.
///
/// Of two shards that are linked the one with the lower number is the client of their session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub u16);

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}", self.0)
    }
}

/// What one end of a link has for the other. Streams are named as the receiver knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A stream was opened.
    Open {
        /// Its name.
        stream: StreamId,
        /// Uni- or bidirectional.
        dir: Dir,
    },
    /// Bytes of a stream, shared with the sender.
    Data {
        /// An open stream.
        stream: StreamId,
        /// May be empty if `fin` is set.
        bytes: Bytes,
        /// Whether the stream ends after them.
        fin: bool,
    },
    /// The sender abandons its direction of a stream.
    Reset {
        /// An open stream.
        stream: StreamId,
        /// The application's code.
        code: u64,
    },
    /// The sender does not want to hear more of a stream.
    Stop {
        /// A stream that the receiver writes to, or has ended meanwhile.
        stream: StreamId,
        /// The application's code.
        code: u64,
    },
    /// A datagram.
    Datagram(Bytes),
    /// The sender read so many bytes, frames' costs included.
    Credit(usize),
    /// The sender read so many bytes of a stream.
    StreamCredit {
        /// A stream that the receiver writes to, or has ended meanwhile.
        stream: StreamId,
        /// How many bytes.
        bytes: usize,
    },
    /// The session is over, which is a mistake of this program.
    Close {
        /// The application's code.
        code: u64,
        /// In words.
        reason: Bytes,
    },
}

/// One end of a link, in one shard. See the [module documentation](self).
#[derive(Debug)]
pub struct Link {
    connection: ConnectionId,
    here: Shard,
    there: Shard,
    /// What may be sent before the other end has read more; below zero after resets.
    credit: isize,
    streams: BTreeMap<StreamId, Stream>,
    /// What waits for credit.
    opens_wait: BTreeSet<Dir>,
    writes_wait: BTreeSet<StreamId>,
    datagrams_wait: bool,
    /// What was read and not told yet.
    owed: usize,
    owed_streams: Vec<StreamId>,
    /// Streams whose end was handed over: in memory that is as good as received.
    acked: Vec<StreamId>,
    failure: Option<String>,
}

impl Link {
    /// The end of the link to `there` in the shard `here`, whose relay begins the session with it. `here` and `there` differ,
    /// and `there` has no other link in this relay.
    pub fn new(relay: &mut Relay, now: Time, here: Shard, there: Shard) -> Self {
        let connection = relay.add_link(here, there);
        let alpn = crate::draft::Draft::D18.profile().alpn;
        relay.handle_input(
            now,
            connection,
            Input::Connected {
                alpn: Bytes::from_static(alpn.as_bytes()),
                max_datagram: MAX_DATAGRAM,
            },
        );
        Self {
            connection,
            here,
            there,
            credit: signed(MAX_IN_FLIGHT),
            streams: BTreeMap::new(),
            opens_wait: BTreeSet::new(),
            writes_wait: BTreeSet::new(),
            datagrams_wait: false,
            owed: 0,
            owed_streams: Vec::new(),
            acked: Vec::new(),
            failure: None,
        }
    }

    /// The connection that this end is to its relay.
    pub const fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The shard at the other end.
    pub const fn there(&self) -> Shard {
        self.there
    }

    /// Why the link ended, in words for the operator; `None` as long as all is well. Peers of the two shards do not see each
    /// other any more then, so a program should end with a failure.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// How many bytes are on their way to the other end or were not read there, frames' costs included; what it has read
    /// lately may be counted too.
    pub fn in_flight(&self) -> usize {
        usize::try_from(signed(MAX_IN_FLIGHT) - self.credit).unwrap_or(0)
    }

    /// Whether this end has bytes that the relay did not read yet.
    #[cfg(feature = "sim")]
    pub(crate) fn has_unread(&self) -> bool {
        let mut receiving = self
            .streams
            .values()
            .filter_map(|stream| stream.receiving.as_ref());
        receiving.any(|receiving| receiving.unread() > 0)
    }

    /// The next frame for the other end. `None`: nothing until [`Link::handle_frame`], or until the relay yields
    /// [`Link::connection`] as dirty.
    #[must_use = "a frame that is not carried is lost"]
    pub fn poll_frame(&mut self, relay: &mut Relay, now: Time) -> Option<Frame> {
        loop {
            let Some(output) = relay.poll_output(now, self.connection) else {
                if self.acked.is_empty() {
                    return self.poll_credit();
                }
                for stream in self.acked.drain(..) {
                    relay.handle_input(now, self.connection, Input::Acked(stream));
                }
                continue;
            };
            let (answer, frame) = self.carry_out(output);
            if let Some(answer) = answer {
                relay.handle_answer(now, self.connection, answer);
            }
            if let Some(Frame::Close { code, reason }) = &frame {
                self.fail(format!(
                    "closed here with code {code:#x} ({})",
                    reason.escape_ascii()
                ));
                relay.handle_input(now, self.connection, Input::Closed(Closed::ByUs));
            }
            if frame.is_some() {
                return frame;
            }
        }
    }

    /// The other end has this frame for this one. The relay is to be pumped afterwards.
    pub fn handle_frame(&mut self, relay: &mut Relay, now: Time, frame: Frame) {
        let connection = self.connection;
        let mut tell = |input| relay.handle_input(now, connection, input);
        match frame {
            Frame::Open { stream, dir } => {
                self.owe(FRAME_COST);
                self.streams
                    .insert(stream, Stream::opened_there(dir, STREAM_WINDOW));
                tell(Input::Opened { stream, dir });
            }
            Frame::Data { stream, bytes, fin } => {
                let cost = bytes.len() + FRAME_COST;
                match self.receiving(stream) {
                    Some(receiving) => {
                        let free = receiving.push(bytes, fin);
                        let wakes = receiving.wake();
                        self.owe(free);
                        if wakes {
                            tell(Input::Readable(stream));
                        }
                    }
                    // It was stopped while this was on its way.
                    None => self.owe(cost),
                }
            }
            Frame::Reset { stream, code } => {
                self.owe(FRAME_COST);
                if let Some(receiving) = self.receiving(stream) {
                    receiving.ending = Some(Ending::Reset(code));
                    if receiving.wake() {
                        tell(Input::Readable(stream));
                    }
                }
            }
            Frame::Stop { stream, code } => {
                self.owe(FRAME_COST);
                if self.sending(stream).is_some() {
                    tell(Input::Stopped { stream, code });
                }
            }
            Frame::Datagram(bytes) => {
                self.owe(bytes.len() + FRAME_COST);
                tell(Input::Datagram(bytes));
            }
            Frame::Credit(bytes) => self.take_credit(bytes, &mut tell),
            Frame::StreamCredit { stream, bytes } => {
                if let Some(sending) = self.sending(stream) {
                    sending.credit += bytes;
                    if std::mem::take(&mut sending.is_full) {
                        tell(Input::Writable(stream));
                    }
                }
            }
            Frame::Close { code, reason } => {
                let why = format!(
                    "closed there with code {code:#x} ({})",
                    reason.escape_ascii()
                );
                self.fail(why);
                tell(Input::Closed(Closed::ByPeer { code, reason }));
            }
        }
        // Credit may be due though the relay has nothing to say.
        if self.has_credit_to_give() {
            relay.stir_link(connection);
        }
    }

    /// Does what the relay wants; an answer if it is to have one, and what the other end is to be told.
    fn carry_out(&mut self, output: Output) -> (Option<Answer>, Option<Frame>) {
        match output {
            Output::Open { stream, dir } => {
                if !self.has_room(true) {
                    self.opens_wait.insert(dir);
                    return (Some(Answer::Blocked), None);
                }
                self.spend(FRAME_COST);
                self.streams
                    .insert(stream, Stream::opened_here(dir, STREAM_WINDOW));
                let stream = mirrored(stream);
                (Some(Answer::Done), Some(Frame::Open { stream, dir }))
            }
            Output::Write {
                stream,
                bytes,
                fin,
                urgent,
            } => self.write(stream, bytes, fin, urgent),
            Output::Read { stream, max } => (Some(self.read(stream, max)), None),
            Output::Datagram(bytes) => {
                if bytes.len() > MAX_DATAGRAM {
                    return (Some(Answer::TooLarge), None);
                }
                if !self.has_room(false) {
                    self.datagrams_wait = true;
                    return (Some(Answer::Blocked), None);
                }
                self.spend(bytes.len() + FRAME_COST);
                (Some(Answer::Done), Some(Frame::Datagram(bytes)))
            }
            Output::Reset { stream, code } => (None, self.reset(stream, code)),
            Output::Stop { stream, code } => (None, self.stop(stream, code)),
            Output::Close { code, reason } => (None, Some(Frame::Close { code, reason })),
            // What is handed over is read in order; streams and windows are bounded by the sessions' limits and here.
            Output::Priority { .. } | Output::AllowStreams { .. } | Output::ReceiveWindow(_) => {
                (None, None)
            }
        }
    }

    fn write(
        &mut self,
        stream: StreamId,
        mut bytes: Bytes,
        fin: bool,
        urgent: bool,
    ) -> (Option<Answer>, Option<Frame>) {
        let room = self.room(urgent);
        let Some(sending) = self.sending(stream) else {
            return (Some(Answer::Gone), None);
        };
        let wanted = bytes.len();
        let taken = wanted.min(room).min(sending.credit);
        let is_all = taken == wanted && (wanted > 0 || room > 0);
        let answer_room = if is_all {
            Room::More
        } else if taken < room {
            sending.is_full = true;
            Room::StreamFull
        } else {
            self.writes_wait.insert(stream);
            Room::ConnectionFull
        };
        let answer = Answer::Wrote {
            taken,
            room: answer_room,
        };
        if taken == 0 && !(is_all && fin) {
            return (Some(answer), None);
        }
        let fin = fin && is_all;
        if let Some(sending) = self.sending(stream) {
            sending.credit -= taken;
        }
        self.spend(taken + FRAME_COST);
        if fin {
            self.acked.push(stream);
            self.end_sending(stream);
        }
        let frame = Frame::Data {
            stream: mirrored(stream),
            bytes: bytes.split_to(taken),
            fin,
        };
        (Some(answer), Some(frame))
    }

    fn read(&mut self, stream: StreamId, max: usize) -> Answer {
        let Some(receiving) = self.receiving(stream) else {
            return Answer::Gone;
        };
        if let Some((bytes, cost)) = receiving.pop(max) {
            receiving.unpaid += bytes.len();
            // Whoever has sent all needs no more credit.
            let is_due = receiving.ending.is_none()
                && !receiving.is_due
                && receiving.unpaid >= STREAM_WINDOW / 2;
            if is_due {
                receiving.is_due = true;
                self.owed_streams.push(stream);
            }
            self.owe(bytes.len() + cost);
            return Answer::Data(bytes);
        }
        match receiving.ending {
            Some(ending) => {
                self.end_receiving(stream);
                match ending {
                    Ending::Fin => Answer::Fin,
                    Ending::Reset(code) => Answer::Reset(code),
                }
            }
            None => {
                receiving.is_awaited = true;
                Answer::Blocked
            }
        }
    }

    fn reset(&mut self, stream: StreamId, code: u64) -> Option<Frame> {
        self.sending(stream)?;
        self.end_sending(stream);
        self.spend(FRAME_COST);
        let stream = mirrored(stream);
        Some(Frame::Reset { stream, code })
    }

    fn stop(&mut self, stream: StreamId, code: u64) -> Option<Frame> {
        let receiving = self.receiving(stream)?;
        let (unread, is_over) = (receiving.unread(), receiving.ending.is_some());
        self.owe(unread);
        self.end_receiving(stream);
        if is_over {
            return None;
        }
        self.spend(FRAME_COST);
        let stream = mirrored(stream);
        Some(Frame::Stop { stream, code })
    }

    fn take_credit(&mut self, bytes: usize, tell: &mut impl FnMut(Input)) {
        self.credit += signed(bytes);
        if self.has_room(true) {
            for dir in std::mem::take(&mut self.opens_wait) {
                tell(Input::CanOpen(dir));
            }
            for stream in std::mem::take(&mut self.writes_wait) {
                if self.sending(stream).is_some() {
                    tell(Input::Writable(stream));
                }
            }
        }
        if self.has_room(false) && std::mem::take(&mut self.datagrams_wait) {
            tell(Input::DatagramRoom);
        }
    }

    /// What the other end may be told of what was read here.
    fn poll_credit(&mut self) -> Option<Frame> {
        while let Some(stream) = self.owed_streams.pop() {
            let Some(receiving) = self.receiving(stream) else {
                continue;
            };
            receiving.is_due = false;
            let bytes = std::mem::take(&mut receiving.unpaid);
            if receiving.ending.is_none() {
                let stream = mirrored(stream);
                return Some(Frame::StreamCredit { stream, bytes });
            }
        }
        (self.owed >= CREDIT_STEP).then(|| Frame::Credit(std::mem::take(&mut self.owed)))
    }

    const fn has_credit_to_give(&self) -> bool {
        self.owed >= CREDIT_STEP || !self.owed_streams.is_empty()
    }

    /// Bytes that may be sent in one frame.
    fn room(&self, urgent: bool) -> usize {
        let kept = if urgent { 0 } else { NOT_FOR_DATA };
        let room = self.credit - signed(kept) - signed(FRAME_COST);
        usize::try_from(room).unwrap_or(0)
    }

    fn has_room(&self, urgent: bool) -> bool {
        self.room(urgent) > 0
    }

    fn spend(&mut self, bytes: usize) {
        self.credit -= signed(bytes);
    }

    const fn owe(&mut self, bytes: usize) {
        self.owed += bytes;
    }

    fn sending(&mut self, stream: StreamId) -> Option<&mut Sending> {
        self.streams.get_mut(&stream)?.sending.as_mut()
    }

    fn receiving(&mut self, stream: StreamId) -> Option<&mut Receiving> {
        self.streams.get_mut(&stream)?.receiving.as_mut()
    }

    fn end_sending(&mut self, stream: StreamId) {
        self.writes_wait.remove(&stream);
        if let Some(both) = self.streams.get_mut(&stream) {
            both.sending = None;
            if both.receiving.is_none() {
                self.streams.remove(&stream);
            }
        }
    }

    fn end_receiving(&mut self, stream: StreamId) {
        if let Some(both) = self.streams.get_mut(&stream) {
            both.receiving = None;
            if both.sending.is_none() {
                self.streams.remove(&stream);
            }
        }
    }

    fn fail(&mut self, why: String) {
        log::error!("the link from {} to {} is {why}", self.here, self.there);
        self.failure.get_or_insert(why);
    }
}

/// The bounds of a link's session. It carries what all peers of two shards want of each other, each of whom its own limits
/// hold back, so these are far from what is needed; to reach one that ends the session would be a mistake of this program.
pub(crate) fn session_limits(base: &Limits) -> Limits {
    let window = MAX_IN_FLIGHT / 2;
    Limits {
        // As many as tracks may be subscribed, fetched and asked about, several times over.
        max_requests: 1 << 20,
        max_requests_sent: 1 << 20,
        max_updates: 1024,
        // As many as may be announced in a shard, several times over.
        max_namespaces: 1 << 20,
        // Counted by the shard that they come from.
        max_request_name_bytes: usize::MAX,
        max_namespace_bytes: usize::MAX,
        max_silent_streams: 1 << 16,
        // Frames come in order, so little comes before it is known what it is about.
        max_early_streams: 1 << 12,
        max_early_datagrams: 1 << 12,
        max_paused_streams: window / STREAM_WINDOW,
        max_ended_aliases: 1 << 16,
        // Threads start when they start.
        setup_timeout: Duration::from_secs(24 * 3600),
        max_control_backlog: 256 << 20,
        max_unfinished_messages: 256 << 20,
        max_datagram_backlog: 1 << 12,
        max_open_data_streams: 1 << 16,
        max_incoming_data_streams: 1 << 18,
        ..base.clone()
    }
}

/// The same stream as the other end knows it.
const fn mirrored(stream: StreamId) -> StreamId {
    if stream.is_local() {
        StreamId::peer(stream.index())
    } else {
        StreamId::local(stream.index())
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}
