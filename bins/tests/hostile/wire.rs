//! A peer without manners: any bytes on any streams of any number of connections, below what a session would send.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::h3::{self, Translated, WebTransport};
use oxymoq_core::runtime::{ClientSettings, Settings, TransportSettings, Trust};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{
    Admission, Answer, Application, Closed, ConnectionId, Dir, Exit, Incoming, Input, Output, Room,
    StreamId, Target,
};

/// Far longer than any attack takes, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(100);
/// Between two calls of [`Attack::tick`].
const TICK: Duration = Duration::from_millis(5);
/// The protocol of HTTP/3 in TLS.
const HTTP3: &str = "h3";
/// Bytes that are read at once.
const READ: usize = 16 << 10;

/// What the attacker's streams run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// QUIC itself.
    Quic,
    /// A WebTransport session on each connection.
    WebTransport,
}

/// What an attacker hears.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// The connection is there.
    Connected,
    /// Everything asked for so far on this connection was done, or waits for credit or room.
    Settled,
    /// Bytes on a stream.
    Bytes(StreamId, Bytes),
    /// The connection is over.
    Closed,
}

/// What an attacker does.
pub(crate) trait Attack {
    /// Opens connections.
    fn begin(&mut self, wire: &mut Wire);

    /// Something happened.
    fn hear(&mut self, wire: &mut Wire, connection: ConnectionId, news: &News);

    /// Some time passed.
    fn tick(&mut self, wire: &mut Wire) {
        let _wire = wire;
    }

    /// Which port is attacked, if it is not the relay's own.
    fn route(&mut self, relay: u16) -> u16 {
        relay
    }

    /// How the attacker's own transport is set up.
    fn transport(&self) -> TransportSettings {
        TransportSettings::default()
    }

    /// How far it is, for whoever reads that it does not end.
    fn state(&self) -> String;

    /// Whether everything was done, and what was to be seen of the relay was seen.
    fn is_over(&self, wire: &Wire) -> bool;
}

/// What the attacker saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Streams opened, writes, resets, datagrams.
    pub(crate) operations: u64,
    /// Connections that were established.
    pub(crate) connected: u64,
    /// How often a stream was reset by the relay with each code.
    pub(crate) resets: BTreeMap<u64, u64>,
    /// How often a stream was stopped with each code.
    pub(crate) stops: BTreeMap<u64, u64>,
    /// With what code how many connections were closed by the relay.
    pub(crate) closed: BTreeMap<u64, u64>,
    /// Connections that were not let in.
    pub(crate) refused: u64,
    /// Connections that ended without a word.
    pub(crate) lost: u64,
    /// Datagrams that came.
    pub(crate) datagrams: u64,
}

/// The attacker's connections.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    port: u16,
    /// Whether connections for MoQT get a WebTransport session.
    in_sessions: bool,
    lines: BTreeMap<ConnectionId, Line>,
    /// What ended, but for the connection below it.
    endings: BTreeMap<ConnectionId, Box<WebTransport>>,
    connects: VecDeque<(ConnectionId, Target)>,
    dirty: BTreeSet<ConnectionId>,
    next: u64,
    gone: Line,
    pub(crate) seen: Seen,
}

/// One connection.
#[derive(Debug, Default)]
struct Line {
    /// Between the attacker and the transport, if it does not speak HTTP/3 by itself.
    layer: Option<Box<WebTransport>>,
    is_connected: bool,
    /// Streams of this direction are never read.
    deaf: Option<Dir>,
    opened: u64,
    opens: VecDeque<(StreamId, Dir)>,
    no_credit: BTreeSet<Dir>,
    commands: VecDeque<Output>,
    sending: BTreeMap<StreamId, Sending>,
    ready: VecDeque<StreamId>,
    full: bool,
    reads: VecDeque<StreamId>,
    /// Those that are never read.
    unheard: BTreeSet<StreamId>,
    datagrams: VecDeque<Bytes>,
    no_datagrams: bool,
    /// Bytes of a write at most; 0: as many as there are.
    piece: usize,
    asked: Option<Output>,
    told_settled: bool,
}

#[derive(Debug, Default)]
struct Sending {
    queue: VecDeque<Bytes>,
    fin: bool,
    is_open: bool,
    is_ready: bool,
    /// What is to be done once everything was written.
    after: Option<Output>,
}

impl Wire {
    /// Opens one more connection that offers this protocol.
    pub(crate) fn connect(&mut self, alpn: &'static str) -> ConnectionId {
        let id = ConnectionId(self.next);
        self.next += 1;
        let protocol = Bytes::from_static(alpn.as_bytes());
        let (layer, alpn) = if self.in_sessions && alpn != HTTP3 {
            let layer = WebTransport::client(h3::Client {
                authority: format!("127.0.0.1:{}", self.port),
                path: "/moq".to_owned(),
                protocols: vec![protocol.clone()],
                default_protocol: Some(protocol),
                origin: None,
            });
            (Some(Box::new(layer)), Bytes::from_static(HTTP3.as_bytes()))
        } else {
            (None, protocol)
        };
        let line = Line {
            layer,
            ..Line::default()
        };
        self.lines.insert(id, line);
        let target = Target {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            alpns: vec![alpn],
        };
        self.connects.push_back((id, target));
        id
    }

    /// What is below a connection's streams, if that is a WebTransport session.
    fn layer(&mut self, connection: ConnectionId) -> Option<&mut WebTransport> {
        let line = self.lines.get_mut(&connection);
        let layer = match line.and_then(|line| line.layer.as_mut()) {
            Some(layer) => layer,
            None => self.endings.get_mut(&connection)?,
        };
        Some(layer)
    }

    /// Connections with such a session.
    fn layered(&self) -> Vec<ConnectionId> {
        let lines = self.lines.iter();
        let layered = lines.filter(|(_, line)| line.layer.is_some());
        let layered = layered.map(|(connection, _)| connection);
        layered.chain(self.endings.keys()).copied().collect()
    }

    fn line(&mut self, connection: ConnectionId) -> &mut Line {
        let Some(line) = self.lines.get_mut(&connection) else {
            // What is asked for after the end goes nowhere.
            self.gone = Line::default();
            return &mut self.gone;
        };
        self.dirty.insert(connection);
        line.told_settled = false;
        line
    }

    /// Connections that are not over.
    pub(crate) fn open_connections(&self) -> usize {
        self.lines.len()
    }

    /// Whether a connection is not over.
    pub(crate) fn is_open(&self, connection: ConnectionId) -> bool {
        self.lines.contains_key(&connection)
    }

    /// What was asked for and is not done.
    pub(crate) fn waiting(&self, connection: ConnectionId) -> usize {
        self.lines.get(&connection).map_or(0, |line| {
            let writes = line.sending.values().map(|it| it.queue.len());
            line.opens.len() + line.commands.len() + line.datagrams.len() + writes.sum::<usize>()
        })
    }

    /// Never reads what comes on streams of this direction from now on.
    pub(crate) fn go_deaf(&mut self, connection: ConnectionId, dir: Dir) {
        let line = self.line(connection);
        line.deaf = Some(dir);
    }

    /// Writes at most so many bytes at once.
    pub(crate) fn write_in_pieces(&mut self, connection: ConnectionId, bytes: usize) {
        self.line(connection).piece = bytes;
    }

    pub(crate) fn open(&mut self, connection: ConnectionId, dir: Dir) -> StreamId {
        let line = self.line(connection);
        let stream = StreamId::local(line.opened);
        line.opened += 1;
        line.opens.push_back((stream, dir));
        line.sending.insert(stream, Sending::default());
        stream
    }

    pub(crate) fn write(&mut self, connection: ConnectionId, stream: StreamId, bytes: Bytes) {
        let line = self.line(connection);
        if let Some(sending) = line.sending.get_mut(&stream) {
            sending.queue.push_back(bytes);
            line.rouse(stream);
        }
    }

    /// Ends a stream once everything was written.
    pub(crate) fn finish(&mut self, connection: ConnectionId, stream: StreamId) {
        let line = self.line(connection);
        if let Some(sending) = line.sending.get_mut(&stream) {
            sending.fin = true;
            line.rouse(stream);
        }
    }

    /// Abandons a stream once everything was written.
    pub(crate) fn reset(&mut self, connection: ConnectionId, stream: StreamId, code: u64) {
        let line = self.line(connection);
        if let Some(sending) = line.sending.get_mut(&stream) {
            sending.after = Some(Output::Reset { stream, code });
            line.rouse(stream);
        }
    }

    /// Asks the relay to stop.
    pub(crate) fn stop(&mut self, connection: ConnectionId, stream: StreamId, code: u64) {
        self.line(connection)
            .commands
            .push_back(Output::Stop { stream, code });
    }

    pub(crate) fn datagram(&mut self, connection: ConnectionId, bytes: Bytes) {
        self.line(connection).datagrams.push_back(bytes);
    }

    pub(crate) fn close(&mut self, connection: ConnectionId, code: u64) {
        let reason = Bytes::from_static(b"\x1b[2J\nenough\xff");
        self.line(connection)
            .commands
            .push_back(Output::Close { code, reason });
    }

    fn count(&mut self, output: &Output) {
        match output {
            Output::Open { .. }
            | Output::Write { .. }
            | Output::Reset { .. }
            | Output::Stop { .. }
            | Output::Datagram(_)
            | Output::Close { .. } => self.seen.operations += 1,
            Output::Read { .. }
            | Output::Priority { .. }
            | Output::AllowStreams { .. }
            | Output::ReceiveWindow(_) => {}
        }
    }

    fn note_end(&mut self, closed: &Closed) {
        match closed {
            Closed::ByPeer { code, .. } => *self.seen.closed.entry(*code).or_default() += 1,
            Closed::ByUs => {}
            Closed::Failed(_) => self.seen.refused += 1,
            Closed::TimedOut | Closed::Lost(_) => self.seen.lost += 1,
        }
    }
}

impl Line {
    /// There may be something to read on a stream.
    fn hear_of(&mut self, stream: StreamId, dir: Dir) {
        if self.deaf == Some(dir) {
            self.unheard.insert(stream);
        } else {
            self.reads.push_back(stream);
        }
    }

    fn rouse(&mut self, stream: StreamId) {
        if let Some(sending) = self.sending.get_mut(&stream)
            && sending.is_open
            && !sending.is_ready
        {
            sending.is_ready = true;
            self.ready.push_back(stream);
        }
    }

    fn next(&mut self) -> Option<Output> {
        if let Some(command) = self.commands.pop_front() {
            return Some(command);
        }
        if let Some(at) = self
            .opens
            .iter()
            .position(|(_, dir)| !self.no_credit.contains(dir))
        {
            let (stream, dir) = self.opens.remove(at)?;
            return Some(Output::Open { stream, dir });
        }
        while !self.full
            && let Some(stream) = self.ready.pop_front()
        {
            let Some(sending) = self.sending.get_mut(&stream) else {
                continue;
            };
            sending.is_ready = false;
            let next = sending.queue.pop_front();
            if next.is_none() && !sending.fin {
                if let Some(after) = sending.after.take() {
                    self.sending.remove(&stream);
                    return Some(after);
                }
                continue;
            }
            let mut bytes = next.unwrap_or_default();
            if self.piece > 0 && bytes.len() > self.piece {
                let rest = bytes.split_off(self.piece);
                sending.queue.push_front(rest);
            }
            let fin = sending.fin && sending.queue.is_empty();
            return Some(Output::Write {
                stream,
                bytes,
                fin,
                urgent: false,
            });
        }
        if !self.no_datagrams
            && let Some(bytes) = self.datagrams.pop_front()
        {
            return Some(Output::Datagram(bytes));
        }
        let stream = self.reads.pop_front()?;
        Some(Output::Read { stream, max: READ })
    }

    /// What was asked cannot be done now, or is done.
    fn answered(&mut self, asked: Output, answer: Answer) -> Option<(StreamId, Answer)> {
        match (asked, answer) {
            (Output::Open { stream, dir }, Answer::Blocked) => {
                self.no_credit.insert(dir);
                self.opens.push_front((stream, dir));
            }
            (Output::Open { stream, dir }, Answer::Done) => {
                if let Some(sending) = self.sending.get_mut(&stream) {
                    sending.is_open = true;
                }
                if dir == Dir::Bi {
                    self.hear_of(stream, dir);
                }
                self.rouse(stream);
            }
            (
                Output::Write {
                    stream, bytes, fin, ..
                },
                Answer::Wrote { taken, room },
            ) => {
                self.full |= room == Room::ConnectionFull;
                let is_done = taken == bytes.len();
                if let Some(sending) = self.sending.get_mut(&stream) {
                    if !is_done {
                        sending.queue.push_front(bytes.slice(taken..));
                    } else if fin {
                        self.sending.remove(&stream);
                    }
                }
                if is_done {
                    self.rouse(stream);
                }
            }
            (Output::Datagram(bytes), Answer::Blocked) => {
                self.no_datagrams = true;
                self.datagrams.push_front(bytes);
            }
            (Output::Read { stream, .. }, answer) => return Some((stream, answer)),
            (_, _) => {}
        }
        None
    }
}

/// An attack without ears: on each connection one turn after the other, each begun when the one before is done.
pub(crate) struct Turns<F, O> {
    alpns: Vec<&'static str>,
    /// Takes a turn; false: that was the last one.
    act: F,
    /// Whether what was to be seen of the relay was seen, once the last turn was taken.
    over: O,
    turns: BTreeMap<ConnectionId, u64>,
    acting: BTreeSet<ConnectionId>,
}

impl<F, O> Turns<F, O>
where
    F: FnMut(&mut Wire, ConnectionId, &'static str, u64) -> bool,
    O: Fn(&Wire) -> bool,
{
    pub(crate) fn new(alpns: &[&'static str], act: F, over: O) -> Self {
        Self {
            alpns: alpns.to_vec(),
            act,
            over,
            turns: BTreeMap::new(),
            acting: BTreeSet::new(),
        }
    }
}

impl<F, O> Attack for Turns<F, O>
where
    F: FnMut(&mut Wire, ConnectionId, &'static str, u64) -> bool,
    O: Fn(&Wire) -> bool,
{
    fn begin(&mut self, wire: &mut Wire) {
        for alpn in &self.alpns {
            let connection = wire.connect(alpn);
            self.turns.insert(connection, 0);
            self.acting.insert(connection);
        }
    }

    fn hear(&mut self, wire: &mut Wire, connection: ConnectionId, news: &News) {
        match news {
            News::Settled if self.acting.contains(&connection) => {
                let at = usize::try_from(connection.0).unwrap();
                let alpn = self.alpns.get(at).unwrap();
                let turn = self.turns.get_mut(&connection).unwrap();
                if !(self.act)(wire, connection, alpn, *turn) {
                    self.acting.remove(&connection);
                }
                *turn += 1;
            }
            News::Closed => {
                self.acting.remove(&connection);
            }
            News::Connected | News::Settled | News::Bytes(..) => {}
        }
    }

    fn state(&self) -> String {
        format!("turns {:?}, of which go on {:?}", self.turns, self.acting)
    }

    fn is_over(&self, wire: &Wire) -> bool {
        self.acting.is_empty() && (self.over)(wire)
    }
}

/// Runs one attack.
struct Attacker<A> {
    attack: A,
    wire: Wire,
    now: Time,
    begun: bool,
    next_tick: Time,
    give_up: Option<Time>,
    leaving: bool,
    exit: Option<Exit>,
}

impl<A: Attack> Attacker<A> {
    fn tell(&mut self, connection: ConnectionId, news: &News) {
        self.attack.hear(&mut self.wire, connection, news);
        self.look();
    }

    /// Leaves once everything is over.
    fn look(&mut self) {
        if self.exit.is_some() {
            return;
        }
        if !self.leaving && self.begun && self.attack.is_over(&self.wire) {
            self.leaving = true;
            let open: Vec<ConnectionId> = self.wire.lines.keys().copied().collect();
            for connection in open {
                self.wire.close(connection, 0);
            }
        }
        if self.leaving && self.wire.lines.is_empty() && self.wire.endings.is_empty() {
            self.exit = Some(Exit::Success);
        }
    }

    /// What the layer below tells.
    fn pass_on(&mut self, connection: ConnectionId) {
        while let Some(input) = self
            .wire
            .layer(connection)
            .and_then(|layer| layer.poll_input())
        {
            self.take(connection, input);
        }
        let ending = self.wire.endings.get(&connection);
        if ending.is_some_and(|layer| layer.is_over()) {
            self.wire.endings.remove(&connection);
            self.look();
        }
    }

    fn take(&mut self, connection: ConnectionId, input: Input) {
        if !self.wire.is_open(connection) {
            return;
        }
        let line = self.wire.line(connection);
        match input {
            Input::Connected { .. } => {
                line.is_connected = true;
                self.wire.seen.connected += 1;
                self.tell(connection, &News::Connected);
            }
            Input::Opened { stream, dir } => line.hear_of(stream, dir),
            Input::Readable(stream) => {
                if !line.unheard.contains(&stream) {
                    line.reads.push_back(stream);
                }
            }
            Input::Writable(stream) => line.rouse(stream),
            Input::Stopped { stream, code } => {
                line.sending.remove(&stream);
                line.commands.push_back(Output::Reset { stream, code });
                *self.wire.seen.stops.entry(code).or_default() += 1;
            }
            Input::CanOpen(dir) => {
                line.no_credit.remove(&dir);
            }
            Input::DatagramRoom => line.no_datagrams = false,
            Input::Closed(closed) => {
                let line = self.wire.lines.remove(&connection);
                let layer = line.and_then(|line| line.layer);
                if let Some(layer) = layer.filter(|layer| !layer.is_over()) {
                    self.wire.endings.insert(connection, layer);
                }
                self.wire.note_end(&closed);
                self.tell(connection, &News::Closed);
            }
            Input::Datagram(_) => self.wire.seen.datagrams += 1,
            Input::Acked(_) | Input::Path { .. } => {}
        }
    }

    fn take_answer(&mut self, connection: ConnectionId, answer: Answer) {
        let Some(line) = self.wire.lines.get_mut(&connection) else {
            return;
        };
        let Some(asked) = line.asked.take() else {
            return;
        };
        if let Some((stream, answer)) = line.answered(asked, answer) {
            self.hear_answer(connection, stream, answer);
        }
    }

    /// What the attacker wants next.
    fn next_output(&mut self, connection: ConnectionId) -> Option<Output> {
        let line = self.wire.lines.get_mut(&connection)?;
        if !line.is_connected {
            return None;
        }
        let mut output = line.next();
        if output.is_none() && !line.told_settled {
            line.told_settled = true;
            self.tell(connection, &News::Settled);
            output = self.wire.lines.get_mut(&connection)?.next();
        }
        let output = output?;
        self.wire.count(&output);
        if output.wants_answer() {
            self.wire.lines.get_mut(&connection)?.asked = Some(output.clone());
        }
        Some(output)
    }

    fn hear_answer(&mut self, connection: ConnectionId, stream: StreamId, answer: Answer) {
        match answer {
            Answer::Data(bytes) => {
                self.wire.line(connection).reads.push_back(stream);
                self.tell(connection, &News::Bytes(stream, bytes));
            }
            Answer::Reset(code) => *self.wire.seen.resets.entry(code).or_default() += 1,
            Answer::Fin
            | Answer::Done
            | Answer::Blocked
            | Answer::Wrote { .. }
            | Answer::TooLarge
            | Answer::Gone => {}
        }
    }
}

impl<A: Attack> Application for Attacker<A> {
    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        Admission::Refuse
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.now = now;
        let Some(layer) = self.wire.layer(connection) else {
            return self.take(connection, input);
        };
        layer.handle_input(now, input);
        self.wire.dirty.insert(connection);
        self.pass_on(connection);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.now = now;
        let Some(layer) = self.wire.layer(connection) else {
            return self.take_answer(connection, answer);
        };
        let answer = layer.handle_answer(now, answer);
        if let Some(answer) = answer {
            self.take_answer(connection, answer);
        }
        self.pass_on(connection);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        if !self.begun {
            self.begun = true;
            self.give_up = Some(now + PATIENCE);
            self.attack.begin(&mut self.wire);
        }
        if self.next_tick <= now {
            self.next_tick = now + TICK;
            self.attack.tick(&mut self.wire);
            for connection in self.wire.layered() {
                if let Some(layer) = self.wire.layer(connection) {
                    layer.handle_timeout(now);
                    self.wire.dirty.insert(connection);
                }
                self.pass_on(connection);
            }
        }
        if self.give_up.is_some_and(|at| at <= now) {
            let waiting = self.wire.lines.keys().map(|it| self.wire.waiting(*it));
            let waiting: Vec<usize> = waiting.collect();
            let why = format!(
                "the attack never ends: {}, {:?}, waiting {waiting:?}",
                self.attack.state(),
                self.wire.seen
            );
            self.exit = Some(Exit::Failure(why));
        }
        self.look();
    }

    fn handle_shutdown(&mut self, _now: Time) {
        let why = format!("interrupted: {}", self.attack.state());
        self.exit = Some(Exit::Failure(why));
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        let connection = self.wire.dirty.pop_first()?;
        if let Some(line) = self.wire.lines.get_mut(&connection) {
            line.full = false;
        }
        Some(connection)
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        loop {
            let Some(layer) = self.wire.layer(connection) else {
                return self.next_output(connection);
            };
            if let Some(output) = layer.poll_output() {
                return Some(output);
            }
            let output = self.next_output(connection)?;
            match self.wire.layer(connection)?.translate(now, output) {
                Translated::Ask(output) => return Some(output),
                Translated::Answered(answer) => self.take_answer(connection, answer),
                Translated::Done => {}
            }
            self.pass_on(connection);
        }
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.wire.connects.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        Some((self.next_tick, "the attacker's clock"))
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        self.exit.clone()
    }
}

/// A client that believes every server and waits long.
fn client_settings(transport: TransportSettings) -> Settings {
    Settings {
        server: None,
        client: ClientSettings {
            trust: Trust::Anyone,
            connect_timeout: Duration::from_secs(60),
        },
        transport,
    }
}

/// Runs an application of this test on the first runtime that was built.
pub(crate) fn run(application: &mut impl Application, transport: TransportSettings) -> Exit {
    #[cfg(feature = "tokio")]
    {
        let endpoint = oxymoq_tokio::Endpoint::bind(client_settings(transport)).unwrap();
        oxymoq_tokio::run(endpoint, application).unwrap()
    }
    #[cfg(not(feature = "tokio"))]
    {
        let endpoint = oxymoq_smol::Endpoint::bind(client_settings(transport)).unwrap();
        oxymoq_smol::run(endpoint, application).unwrap()
    }
}

/// Attacks the relay on this port of this machine until the attack is over.
pub(crate) fn carry_out<A: Attack>(mut attack: A, port: u16, over: Over) -> (A, Seen) {
    let transport = attack.transport();
    let port = attack.route(port);
    let mut attacker = Attacker {
        attack,
        wire: Wire {
            port,
            in_sessions: over == Over::WebTransport,
            ..Wire::default()
        },
        now: Time::ZERO,
        begun: false,
        next_tick: Time::ZERO,
        give_up: None,
        leaving: false,
        exit: None,
    };
    let exit = run(&mut attacker, transport);
    assert_eq!(exit, Exit::Success);
    (attacker.attack, attacker.wire.seen)
}
