//! A peer without manners: any bytes on any streams of any number of connections, below what a session would send.

mod attacker;
mod line;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use oxymoq_core::h3::{self, WebTransport};
use oxymoq_core::runtime::TransportSettings;
use oxymoq_core::transport::{Closed, ConnectionId, Dir, Output, StreamId, Target};

pub(crate) use self::attacker::{carry_out, run};
use self::line::{Line, Sending};
pub(crate) use self::turns::Turns;

/// The protocol of HTTP/3 in TLS.
const HTTP3: &str = "h3";

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
