//! An application that does what a test tells it and remembers everything: a peer for whatever is tested.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::time::{Time, WallTime};
use crate::transport::{
    Admission, Answer, Application, Closed, ConnectionId, Dir, Exit, Incoming, Input, Output, Room,
    StreamId, Target,
};

/// What arrived on a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The bytes, in order.
    pub bytes: BytesMut,
    /// How it ended: [`Answer::Fin`] or [`Answer::Reset`].
    pub end: Option<Answer>,
}

/// Bytes that a read asks for unless [`Script::read_at_most`] says otherwise: so few that most reads are followed by others.
const READ: usize = 100;

/// What is going on on one connection.
#[derive(Debug, Default)]
struct Line {
    /// Streams that this side opened by [`Script::open`].
    opened: u64,
    /// What is still to do, oldest first.
    outputs: VecDeque<Output>,
    /// Streams that take no more bytes now.
    held: BTreeSet<StreamId>,
    /// Directions in which no more streams can be opened now.
    unopened: BTreeSet<Dir>,
    no_datagrams: bool,
    /// The connection took as much as is sensible in this turn.
    full: bool,
    to_read: BTreeSet<StreamId>,
    /// Streams that are not read now.
    paused: BTreeSet<StreamId>,
    /// Streams of the peer that this side may write to.
    both_ways: BTreeSet<StreamId>,
    /// What was polled and not answered yet.
    asked: Option<Output>,
}

/// An application without a will of its own.
///
/// [`Script::push`] queues outputs, which are carried out in order as far as windows and limits allow; whatever the peer
/// opens is read at once unless [`Script::pause`] was called; a stream that the peer stops is reset with the peer's code.
#[derive(Debug)]
pub struct Script {
    connects: VecDeque<(ConnectionId, Target)>,
    lines: BTreeMap<ConnectionId, Line>,
    dirty: BTreeSet<ConnectionId>,
    next_connection: u64,
    paused: bool,
    max_read: usize,
    now: Time,
    refusing: bool,
    finishing: bool,
    /// Connections that are asked for or let in and not over.
    open: BTreeSet<ConnectionId>,
    leaving: bool,
    exit: Option<Exit>,
    deadline: Option<Time>,
    inputs: Vec<(ConnectionId, Input)>,
    answers: Vec<(ConnectionId, Answer)>,
    received: BTreeMap<(ConnectionId, StreamId), Received>,
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl Script {
    /// One that accepts whoever comes and says nothing.
    pub const fn new() -> Self {
        Self {
            connects: VecDeque::new(),
            lines: BTreeMap::new(),
            dirty: BTreeSet::new(),
            next_connection: 0,
            paused: false,
            max_read: READ,
            now: Time::ZERO,
            refusing: false,
            finishing: false,
            open: BTreeSet::new(),
            leaving: false,
            exit: None,
            deadline: None,
            inputs: Vec::new(),
            answers: Vec::new(),
            received: BTreeMap::new(),
        }
    }

    /// One that connects as soon as it starts, as [`ConnectionId`] 0.
    pub fn connecting(host: &str, port: u16, alpns: Vec<Bytes>) -> Self {
        let mut script = Self::new();
        script.connect(host, port, alpns);
        script
    }

    /// Opens one more connection.
    pub fn connect(&mut self, host: &str, port: u16, alpns: Vec<Bytes>) -> ConnectionId {
        let id = self.new_connection();
        let host = host.to_owned();
        self.connects.push_back((id, Target { host, port, alpns }));
        id
    }

    /// Turns away whoever comes from now on.
    pub const fn refuse(&mut self) {
        self.refusing = true;
    }

    /// Reads nothing from now on.
    pub const fn pause(&mut self) {
        self.paused = true;
    }

    /// Reads again.
    pub fn resume(&mut self) {
        self.paused = false;
        self.dirty.extend(self.lines.keys());
    }

    /// Does not read this stream from now on.
    pub fn pause_stream(&mut self, connection: ConnectionId, stream: StreamId) {
        let line = self.lines.entry(connection).or_default();
        line.paused.insert(stream);
    }

    /// Reads it again.
    pub fn resume_stream(&mut self, connection: ConnectionId, stream: StreamId) {
        let line = self.lines.entry(connection).or_default();
        line.paused.remove(&stream);
        self.dirty.insert(connection);
    }

    /// Asks for so many bytes with each read from now on.
    pub const fn read_at_most(&mut self, bytes: usize) {
        self.max_read = bytes;
    }

    /// Ends its own direction of a stream that the peer opened as soon as the peer ended the other.
    pub const fn finish_back(&mut self) {
        self.finishing = true;
    }

    /// Queues an output.
    pub fn push(&mut self, connection: ConnectionId, output: Output) {
        self.lines
            .entry(connection)
            .or_default()
            .outputs
            .push_back(output);
        self.dirty.insert(connection);
    }

    /// Queues the opening of a stream and a write to it.
    pub fn send(&mut self, connection: ConnectionId, stream: StreamId, dir: Dir, bytes: Bytes) {
        self.push(connection, Output::Open { stream, dir });
        self.push(
            connection,
            Output::Write {
                stream,
                bytes,
                fin: true,
                urgent: false,
            },
        );
    }

    /// Queues the opening of this side's next stream. Not to be mixed with numbers of the caller's own.
    pub fn open(&mut self, connection: ConnectionId, dir: Dir) -> StreamId {
        let line = self.lines.entry(connection).or_default();
        let stream = StreamId::local(line.opened);
        line.opened += 1;
        self.push(connection, Output::Open { stream, dir });
        stream
    }

    /// Queues a write that does not end the stream.
    pub fn write(&mut self, connection: ConnectionId, stream: StreamId, bytes: Bytes) {
        let (fin, urgent) = (false, false);
        self.push(
            connection,
            Output::Write {
                stream,
                bytes,
                fin,
                urgent,
            },
        );
    }

    /// Queues the end of a stream.
    pub fn finish(&mut self, connection: ConnectionId, stream: StreamId) {
        let (bytes, fin, urgent) = (Bytes::new(), true, false);
        self.push(
            connection,
            Output::Write {
                stream,
                bytes,
                fin,
                urgent,
            },
        );
    }

    /// Queues the end of a connection.
    pub fn close(&mut self, connection: ConnectionId, code: u64, reason: &'static str) {
        let reason = Bytes::from_static(reason.as_bytes());
        self.push(connection, Output::Close { code, reason });
    }

    /// Ends the program.
    pub fn exit(&mut self, exit: Exit) {
        self.exit = Some(exit);
    }

    /// Ends the program as soon as all connections are over.
    pub const fn leave(&mut self) {
        self.leaving = true;
    }

    /// Does not end after all, whatever asked it to.
    pub fn stay(&mut self) {
        self.leaving = false;
        self.exit = None;
    }

    /// When something was told last.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Asks for a call at this time, which changes nothing.
    pub const fn set_deadline(&mut self, at: Time) {
        self.deadline = Some(at);
    }

    /// Everything told, in order.
    pub fn inputs(&self) -> &[(ConnectionId, Input)] {
        &self.inputs
    }

    /// Every answer except those to reads, in order.
    pub fn answers(&self) -> &[(ConnectionId, Answer)] {
        &self.answers
    }

    /// Everything read.
    pub const fn received(&self) -> &BTreeMap<(ConnectionId, StreamId), Received> {
        &self.received
    }

    /// How many outputs still wait.
    pub fn waiting(&self) -> usize {
        self.lines.values().map(|line| line.outputs.len()).sum()
    }

    /// How the connections ended that did, in order.
    pub fn closings(&self) -> impl Iterator<Item = &Closed> {
        self.inputs.iter().filter_map(|(_, input)| match input {
            Input::Closed(closed) => Some(closed),
            Input::Connected { .. }
            | Input::Opened { .. }
            | Input::Readable(_)
            | Input::Writable(_)
            | Input::Stopped { .. }
            | Input::Acked(_)
            | Input::CanOpen(_)
            | Input::Datagram(_)
            | Input::DatagramRoom
            | Input::Path { .. } => None,
        })
    }

    /// What was asked for on this connection and is not answered yet.
    pub(super) fn asked(&self, connection: ConnectionId) -> Option<&Output> {
        self.lines.get(&connection)?.asked.as_ref()
    }

    /// Whether this was told on any connection.
    pub fn was_told(&self, input: &Input) -> bool {
        self.inputs.iter().any(|(_, told)| told == input)
    }

    fn new_connection(&mut self) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.open.insert(id);
        id
    }
}

impl Line {
    /// The first output that can be carried out now; those of one stream keep their order.
    fn next(&self) -> Option<usize> {
        let mut behind_open = BTreeSet::new();
        let mut behind = BTreeSet::new();
        for (index, output) in self.outputs.iter().enumerate() {
            let held = match output {
                Output::Open { stream, dir } => {
                    let held = self.unopened.contains(dir);
                    if held {
                        behind_open.insert(*stream);
                        behind.insert(*stream);
                    }
                    held
                }
                Output::Write { stream, urgent, .. } => {
                    let held = self.held.contains(stream)
                        || behind.contains(stream)
                        || (self.full && !urgent);
                    if held {
                        behind.insert(*stream);
                    }
                    held
                }
                // These need no room, but the stream.
                Output::Priority { stream, .. }
                | Output::Reset { stream, .. }
                | Output::Stop { stream, .. }
                | Output::Read { stream, .. } => behind_open.contains(stream),
                Output::Datagram(_) => self.no_datagrams,
                Output::AllowStreams { .. } | Output::ReceiveWindow(_) | Output::Close { .. } => {
                    false
                }
            };
            if !held {
                return Some(index);
            }
        }
        None
    }

    /// Drops the first `count` outputs as far as they write to a stream that is given up.
    fn forget_writes(&mut self, gone: StreamId, count: usize) {
        let rest = self.outputs.split_off(count.min(self.outputs.len()));
        self.outputs.retain(|output| {
            !matches!(output, Output::Write { stream, .. } | Output::Priority { stream, .. }
                if *stream == gone)
        });
        self.outputs.extend(rest);
        self.held.remove(&gone);
    }

    /// Puts back what could not be done.
    fn retry(&mut self, asked: Output, answer: &Answer) {
        match (asked, answer) {
            (Output::Open { stream, dir }, Answer::Blocked) => {
                self.unopened.insert(dir);
                self.outputs.push_front(Output::Open { stream, dir });
            }
            (
                Output::Write {
                    stream,
                    bytes,
                    fin,
                    urgent,
                },
                Answer::Wrote { taken, room },
            ) if *taken < bytes.len() => {
                self.held.insert(stream);
                self.full |= *room == Room::ConnectionFull;
                let bytes = bytes.slice(*taken..);
                self.outputs.push_front(Output::Write {
                    stream,
                    bytes,
                    fin,
                    urgent,
                });
            }
            (Output::Datagram(bytes), Answer::Blocked) => {
                self.no_datagrams = true;
                self.outputs.push_front(Output::Datagram(bytes));
            }
            (_, _) => {}
        }
    }
}

impl Application for Script {
    fn handle_wall_clock(&mut self, now: Time, _wall: WallTime) {
        self.now = now;
    }

    fn handle_incoming(&mut self, now: Time, _incoming: &Incoming) -> Admission {
        self.now = now;
        if self.refusing {
            return Admission::Refuse;
        }
        Admission::Accept(self.new_connection())
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.now = now;
        let line = self.lines.entry(connection).or_default();
        if let Input::Opened {
            stream,
            dir: Dir::Bi,
        } = &input
        {
            line.both_ways.insert(*stream);
        }
        match &input {
            Input::Opened { stream, .. } | Input::Readable(stream) => {
                line.to_read.insert(*stream);
            }
            Input::Writable(stream) => {
                line.held.remove(stream);
            }
            Input::Stopped { stream, code } => {
                line.forget_writes(*stream, usize::MAX);
                let (stream, code) = (*stream, *code);
                line.outputs.push_front(Output::Reset { stream, code });
            }
            Input::CanOpen(dir) => {
                line.unopened.remove(dir);
            }
            Input::DatagramRoom => line.no_datagrams = false,
            Input::Closed(_) => {
                *line = Line::default();
                self.open.remove(&connection);
            }
            Input::Connected { .. } | Input::Acked(_) | Input::Datagram(_) | Input::Path { .. } => {
            }
        }
        self.inputs.push((connection, input));
        self.dirty.insert(connection);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.now = now;
        let line = self.lines.entry(connection).or_default();
        let Some(asked) = line.asked.take() else {
            return;
        };
        if let (Output::Open { stream, dir }, Answer::Done) = (&asked, &answer)
            && *dir == Dir::Bi
        {
            line.to_read.insert(*stream);
        }
        let Output::Read { stream, .. } = asked else {
            line.retry(asked, &answer);
            self.answers.push((connection, answer));
            return;
        };
        let received = self.received.entry((connection, stream)).or_default();
        match answer {
            Answer::Data(bytes) => received.bytes.extend_from_slice(&bytes),
            Answer::Fin | Answer::Reset(_) => {
                line.to_read.remove(&stream);
                received.end = Some(answer);
                if self.finishing && line.both_ways.remove(&stream) {
                    line.outputs.push_back(Output::Write {
                        stream,
                        bytes: Bytes::new(),
                        fin: true,
                        urgent: false,
                    });
                }
            }
            Answer::Done
            | Answer::Blocked
            | Answer::Wrote { .. }
            | Answer::TooLarge
            | Answer::Gone => {
                line.to_read.remove(&stream);
            }
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        self.deadline = self.deadline.filter(|at| *at > now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.now = now;
        self.exit = Some(Exit::Success);
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        let connection = self.dirty.pop_first()?;
        self.lines.entry(connection).or_default().full = false;
        Some(connection)
    }

    fn poll_output(&mut self, _now: Time, connection: ConnectionId) -> Option<Output> {
        let line = self.lines.get_mut(&connection)?;
        let next = line.next();
        let output = match next {
            Some(next) => line.outputs.remove(next)?,
            None if self.paused => return None,
            None => Output::Read {
                stream: *line.to_read.difference(&line.paused).next()?,
                max: self.max_read,
            },
        };
        match &output {
            Output::Stop { stream, .. } => {
                line.to_read.remove(stream);
            }
            Output::Reset { stream, .. } => line.forget_writes(*stream, next.unwrap_or(0)),
            Output::Close { .. } => {
                line.outputs.clear();
                line.to_read.clear();
            }
            Output::Open { .. }
            | Output::Write { .. }
            | Output::Read { .. }
            | Output::Datagram(_)
            | Output::Priority { .. }
            | Output::AllowStreams { .. }
            | Output::ReceiveWindow(_) => {}
        }
        line.asked = Some(output.clone());
        Some(output)
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.connects.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.deadline.map(|at| (at, "the script's deadline"))
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        if self.leaving && self.open.is_empty() {
            self.leaving = false;
            self.exit.get_or_insert(Exit::Success);
        }
        self.exit.take()
    }
}
