//! WebTransport over HTTP/3: just enough of both to carry one session over one connection, as client or as server.
//!
//! [`WebTransport`] sits between an adapter and the machine that speaks the application's protocol. Both speak
//! [`transport`](crate::transport), and neither knows of HTTP/3: streams lose and gain their prefixes here, codes and
//! datagrams are translated, and control streams, settings, the CONNECT request and capsules stay inside.
//!
//! The loop around it, for one connection:
//!
//! ```
//! use oxymoq_core::h3::{Translated, WebTransport};
//! use oxymoq_core::time::Time;
//! use oxymoq_core::transport::{Answer, Input, Output};
//!
//! /// The machine that speaks the application's protocol.
//! trait Inner {
//!     fn handle_input(&mut self, now: Time, input: Input);
//!     fn poll_output(&mut self, now: Time) -> Option<Output>;
//!     fn handle_answer(&mut self, now: Time, answer: Answer);
//! }
//!
//! struct Connection<I> {
//!     layer: WebTransport,
//!     inner: I,
//! }
//!
//! impl<I: Inner> Connection<I> {
//!     fn handle_input(&mut self, now: Time, input: Input) {
//!         self.layer.handle_input(now, input);
//!         self.pass_on(now);
//!     }
//!
//!     fn poll_output(&mut self, now: Time) -> Option<Output> {
//!         loop {
//!             if let Some(output) = self.layer.poll_output() {
//!                 return Some(output);
//!             }
//!             match self.layer.translate(now, self.inner.poll_output(now)?) {
//!                 Translated::Ask(output) => return Some(output),
//!                 Translated::Answered(answer) => self.inner.handle_answer(now, answer),
//!                 Translated::Done => {}
//!             }
//!         }
//!     }
//!
//!     fn handle_answer(&mut self, now: Time, answer: Answer) {
//!         if let Some(answer) = self.layer.handle_answer(now, answer) {
//!             self.inner.handle_answer(now, answer);
//!         }
//!         self.pass_on(now);
//!     }
//!
//!     fn handle_timeout(&mut self, now: Time) {
//!         self.layer.handle_timeout(now);
//!         self.pass_on(now);
//!     }
//!
//!     fn pass_on(&mut self, now: Time) {
//!         while let Some(input) = self.layer.poll_input() {
//!             self.inner.handle_input(now, input);
//!         }
//!     }
//! }
//! ```
//!
//! It serves the drafts 02 to 15 and later of WebTransport over HTTP/3 at once (RFC 9114, RFC 9204, RFC 9220, RFC 9297
//! below them), without a QPACK dynamic table, server push, flow control inside the session, or a second session.

mod capsule;
mod connect;
mod control;
mod error;
mod exchange;
mod frame;
mod huffman;
mod lifecycle;
mod qpack;
mod receive;
mod request;
mod send;
mod settings;
mod static_table;
mod stream;
mod structured;
mod translate;
mod varint;

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::time::Duration;

use bytes::Bytes;

use crate::time::Time;
use crate::transport::{Closed, Dir, Input, Output, StreamId};

use capsule::Capsules;
use control::Control;
use error::{H3_NO_ERROR, H3_REQUEST_CANCELLED};
use exchange::Exchange;
use qpack::DecoderStream;
use settings::Settings;
use stream::Beginning;

pub use connect::Request;
pub use translate::Translated;

/// How many bytes of HTTP/3's own streams are read at a time.
const READ_CHUNK: usize = 4096;
/// Numbers of this layer's own streams, far above those that the inner machine counts up.
const CONTROL_STREAM: StreamId = StreamId::local(1 << 60);
const CONNECT_STREAM: StreamId = StreamId::local((1 << 60) + 1);

/// The bounds of one connection.
///
/// Units, defaults and the reason for each: [`limits`](crate::limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a session may take from the end of the TLS handshake to the answered CONNECT; then the connection is closed.
    pub handshake_timeout: Duration,
    /// How long the end of a session may take to reach the peer before the connection is closed anyway.
    pub close_timeout: Duration,
    /// Streams that may wait for the session they name. Only their numbers are kept: what they carry stays in the
    /// transport. Further ones are refused (WT_BUFFERED_STREAM_REJECTED).
    pub max_waiting_streams: usize,
    /// Datagrams that may wait for the session they name. Further ones are dropped.
    pub max_waiting_datagrams: usize,
    /// Streams that may be open whose first bytes did not all arrive. Further ones are refused
    /// (WT_BUFFERED_STREAM_REJECTED). It only guards memory (some 40 bytes each): the transport's stream limits are meant to
    /// be reached first.
    pub max_beginning_streams: usize,
    /// Requests that a client may have open at once that have not become the session. Further ones are refused
    /// (H3_REQUEST_REJECTED). Each may hold a header section of 16 KiB.
    pub max_requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            max_waiting_streams: 64,
            max_waiting_datagrams: 16,
            max_beginning_streams: 4096,
            max_requests: 4,
        }
    }
}

/// What a server accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Paths where sessions are to be had; compared exactly, without the query. Others are answered 404.
    pub paths: Vec<String>,
    /// Protocols spoken, most wanted first. The first one that the client offers too is chosen; a client that offers only
    /// others is answered 400.
    pub protocols: Vec<Bytes>,
    /// What to speak with a client that offers nothing, as browsers do unless told, and libraries that predate the
    /// negotiation. It is not named in the response. `None`: such a client is answered 400.
    pub default_protocol: Option<Bytes>,
}

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Host and port as in the URL, without user information.
    pub authority: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// Protocols offered, most wanted first.
    pub protocols: Vec<Bytes>,
    /// What to speak with a server that accepts without choosing. `None`: the session fails.
    pub default_protocol: Option<Bytes>,
    /// For clients that act for a web page.
    pub origin: Option<String>,
}

/// One WebTransport session over one HTTP/3 connection.
///
/// # Contract
///
/// * [`handle_input`](Self::handle_input) takes what the adapter tells. What the inner machine must be told follows from
///   [`poll_input`](Self::poll_input), to be handed over at once and in order. It sees
///   [`Input::Connected`] when the session is established, if it ever is, with the negotiated protocol as `alpn`, and in
///   the end exactly one [`Input::Closed`], which may come before the connection itself is over. Nothing else comes before
///   the one, and nothing after the other.
/// * When pumping, take [`poll_output`](Self::poll_output) until it is `None`, then the inner machine's next output through
///   [`translate`](Self::translate), and start over. An output asked of the adapter is answered with
///   [`handle_answer`](Self::handle_answer), which gives back what the inner machine must be answered, if it was its own;
///   take `poll_input` after it.
/// * The layer must be kept and pumped until the adapter's own [`Input::Closed`] ([`is_over`](Self::is_over)), even when the
///   inner machine is gone: the end of a session still has to reach the peer. Its streams are not reset one by one, since
///   the connection is closed as soon as the peer knows.
///
/// # What the adapter must keep
///
/// Streams that the peer opens are reported in the order of their QUIC stream ids within each direction, without gaps, and
/// a read never gives more than was asked for. Session ids, which are QUIC stream ids, are derived from that order.
///
/// # What the inner machine sees
///
/// Its streams keep their numbers; peer streams have gaps. Local numbers must stay below 2^60. It may be told of streams
/// that it does not know (late news of a refused request), which it ignores. Codes of streams travel in WebTransport's
/// range of 32 bits (codes below HTTP/3's are also taken as they are): one that does not fit, or that is HTTP/3's own, becomes 0, which in MoQT says "internal error"; a
/// session's code that does not fit becomes 1, INTERNAL_ERROR.
#[derive(Debug)]
pub struct WebTransport {
    role: Role,
    limits: Limits,
    phase: Phase,
    /// What the last output asked, if its answer matters here.
    asked: Option<Asked>,
    /// For the inner machine.
    inputs: VecDeque<Input>,
    /// Whether the inner machine was told that it is over.
    told_closed: bool,

    /// Outputs that need no answer.
    commands: VecDeque<Output>,
    /// Own streams to open, with what to write on them.
    opens: VecDeque<(StreamId, Dir, Bytes)>,
    /// Directions without stream credit.
    no_credit: [bool; 2],
    /// Own writes and prefixes that were not taken yet.
    writes: BTreeMap<StreamId, Pending>,
    /// Those of them that are worth trying.
    writable: VecDeque<StreamId>,
    /// Own writes wait for the next input.
    full: bool,

    /// Streams of the peer that have not told what they are.
    beginning: BTreeMap<StreamId, (Dir, QuicId, Beginning)>,
    /// Streams whose sending side was reset here, since the peer stopped it before it was known what they are. No more than
    /// begin or wait, and those whose end the inner machine was told and did not act on yet.
    halted: BTreeMap<StreamId, u64>,
    /// Streams and datagrams of a session that is not established yet, with its id.
    waiting: BTreeMap<StreamId, (Dir, u64)>,
    datagrams: VecDeque<(u64, Bytes)>,
    /// Streams that stay inside this layer.
    own: BTreeMap<StreamId, Own>,
    /// Those of all of them that are worth reading.
    readable: VecDeque<StreamId>,
    /// How many bidirectional streams the peer opened.
    peer_bidi: u64,

    /// The peer's settings, once they arrived.
    settings: Option<Settings>,
    session: Option<Session>,
    /// The transport's limit, prefix included.
    max_datagram: usize,
    draining: bool,
    deadline: Option<(Time, &'static str)>,
}

#[derive(Debug)]
enum Role {
    Server(Server),
    Client(Client),
}

/// How far the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// No session yet.
    Handshake,
    Established,
    /// The session is over, and the peer is being told.
    Closing {
        /// Whether this side ended it.
        by_us: bool,
        /// For the end of the connection.
        reason: Bytes,
    },
    /// The connection was asked to close.
    Ended,
    /// The connection is closed.
    Over,
}

/// The QUIC stream id of a bidirectional stream, a client's if this side is the server.
type QuicId = u64;

#[derive(Debug)]
struct Session {
    request: Request,
    /// The stream that carries it, and its QUIC stream id, the session's id.
    connect: StreamId,
    id: QuicId,
    capsules: Capsules,
    /// The peer does not read the CONNECT stream any more: the session ends, and the stream is still to say how.
    stopped: bool,
    /// What streams and datagrams begin with.
    prefix_uni: Bytes,
    prefix_bi: Bytes,
    prefix_datagram: Bytes,
}

/// A stream that stays inside this layer.
#[derive(Debug)]
enum Own {
    Control(Box<Control>),
    QpackEncoder,
    QpackDecoder(DecoderStream),
    /// A request, the session's included.
    Exchange(Box<Asking>),
    /// A refused request whose response is on its way.
    Refused,
}

/// A request stream.
#[derive(Debug)]
struct Asking {
    exchange: Exchange,
    id: QuicId,
    /// A request that waits for the client's settings, with what was read beyond it.
    held: Option<(connect::Offer, Bytes)>,
    /// The server does not read the request any more; its answer may still come.
    stopped: bool,
}

/// Bytes on their way to a stream.
#[derive(Debug)]
struct Pending {
    bytes: Bytes,
    fin: bool,
    /// Set for the prefix of a stream of the inner machine; whether it was told to wait for room.
    inner: Option<bool>,
}

/// Whose answer comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Open,
    Write(StreamId),
    Read(StreamId),
    InnerOpen(StreamId, Dir),
}

impl WebTransport {
    /// A server's side of a connection.
    pub fn server(server: Server) -> Self {
        Self::new(Role::Server(server))
    }

    /// A client's side of a connection.
    pub fn client(client: Client) -> Self {
        Self::new(Role::Client(client))
    }

    /// The same with other bounds.
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    fn new(role: Role) -> Self {
        Self {
            role,
            limits: Limits::default(),
            phase: Phase::Handshake,
            asked: None,
            inputs: VecDeque::new(),
            told_closed: false,
            commands: VecDeque::new(),
            opens: VecDeque::new(),
            no_credit: [false; 2],
            writes: BTreeMap::new(),
            writable: VecDeque::new(),
            full: false,
            beginning: BTreeMap::new(),
            halted: BTreeMap::new(),
            waiting: BTreeMap::new(),
            datagrams: VecDeque::new(),
            own: BTreeMap::new(),
            readable: VecDeque::new(),
            peer_bidi: 0,
            settings: None,
            session: None,
            max_datagram: 0,
            draining: false,
            deadline: None,
        }
    }

    /// What the session was asked for with; `None` before it is established. Stays after the end.
    pub fn established(&self) -> Option<&Request> {
        self.session.as_ref().map(|session| &session.request)
    }

    /// Whether the peer asked that the session end soon (DRAIN_SESSION or GOAWAY).
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether the connection itself is closed, so that this layer can be dropped.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Asks the peer to end the session soon; nothing else changes. Does nothing without a session.
    pub fn drain(&mut self) {
        if self.phase == Phase::Established
            && let Some(session) = &self.session
            && !session.stopped
        {
            self.write(session.connect, capsule::drain_frame(), false);
        }
    }

    /// Something happened on the connection.
    pub fn handle_input(&mut self, now: Time, input: Input) {
        self.full = false;
        if let Phase::Ended | Phase::Over = self.phase {
            if let Input::Closed(closed) = input {
                self.transport_closed(closed);
            }
            return;
        }
        let result = match input {
            Input::Connected { max_datagram, .. } => {
                self.connected(now, max_datagram);
                Ok(())
            }
            Input::Opened { stream, dir } => {
                self.opened(stream, dir);
                Ok(())
            }
            Input::Readable(stream) => {
                if self.is_own(stream) {
                    if !self.readable.contains(&stream) {
                        self.readable.push_back(stream);
                    }
                } else {
                    self.tell(Input::Readable(stream));
                }
                Ok(())
            }
            Input::Writable(stream) => {
                if self.writes.contains_key(&stream) {
                    self.writable.push_back(stream);
                } else {
                    self.tell(Input::Writable(stream));
                }
                Ok(())
            }
            Input::Stopped { stream, code } => self.stopped(stream, code),
            Input::Acked(stream) => {
                self.acked(stream);
                Ok(())
            }
            Input::CanOpen(dir) => {
                self.set_credit(dir, true);
                self.tell(Input::CanOpen(dir));
                Ok(())
            }
            Input::Datagram(bytes) => self.datagram(bytes),
            Input::DatagramRoom => {
                self.tell(Input::DatagramRoom);
                Ok(())
            }
            Input::Path { rtt, max_datagram } => {
                self.max_datagram = max_datagram;
                let max_datagram = self.inner_max_datagram();
                self.tell(Input::Path { rtt, max_datagram });
                Ok(())
            }
            Input::Closed(closed) => {
                self.transport_closed(closed);
                Ok(())
            }
        };
        self.absorb(result);
        self.set_close_deadline(now);
    }

    /// What the inner machine must be told next.
    pub fn poll_input(&mut self) -> Option<Input> {
        self.inputs.pop_front()
    }

    /// What this layer itself wants done next.
    #[must_use = "an output that is not carried out is lost"]
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(command) = self.commands.pop_front() {
            return Some(command);
        }
        if let Phase::Ended | Phase::Over = self.phase {
            return None;
        }
        if let Some(&(stream, dir, _)) = self.opens.front()
            && self.has_credit(dir)
        {
            self.asked = Some(Asked::Open);
            return Some(Output::Open { stream, dir });
        }
        if let Some(output) = self.next_write() {
            return Some(output);
        }
        while let Some(stream) = self.readable.pop_front() {
            let max = match self.beginning.get(&stream) {
                Some((_, _, beginning)) => beginning.wanted(),
                None if self.own.contains_key(&stream) => READ_CHUNK,
                None => continue,
            };
            self.asked = Some(Asked::Read(stream));
            return Some(Output::Read { stream, max });
        }
        None
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and what for.
    pub const fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.deadline
    }

    /// The deadline of [`poll_timeout`](Self::poll_timeout) passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.deadline.is_none_or(|(deadline, _)| now < deadline) {
            return;
        }
        self.deadline = None;
        self.full = false;
        match self.phase {
            Phase::Handshake => {
                let (code, reason) = match self.role {
                    Role::Server(_) => {
                        (H3_NO_ERROR, "no WebTransport session was asked for in time")
                    }
                    Role::Client(_) => (
                        H3_REQUEST_CANCELLED,
                        "the server did not answer the WebTransport request in time",
                    ),
                };
                self.end(code, reason);
                self.tell_closed(Closed::Failed(reason.to_owned()));
            }
            Phase::Closing { .. } => self.finish_closing(),
            // A deadline here is that of a stopped CONNECT stream.
            Phase::Established => self.lose(
                H3_NO_ERROR,
                "the peer stopped the WebTransport session without ending it".to_owned(),
            ),
            Phase::Ended | Phase::Over => {}
        }
    }

    // News for the inner machine.

    /// Tells the inner machine, if it has a session.
    fn tell(&mut self, input: Input) {
        if self.phase == Phase::Established {
            self.inputs.push_back(input);
        }
    }

    fn tell_closed(&mut self, closed: Closed) {
        if !mem::replace(&mut self.told_closed, true) {
            self.inputs.push_back(Input::Closed(closed));
        }
    }

    /// The largest datagram of the inner machine; 0 if the peer does not take any.
    fn inner_max_datagram(&self) -> usize {
        let prefix = self
            .session
            .as_ref()
            .map_or(0, |session| session.prefix_datagram.len());
        let takes = self.settings.is_some_and(|settings| settings.datagram);
        if takes {
            self.max_datagram.saturating_sub(prefix)
        } else {
            0
        }
    }

    // Own streams.

    const fn is_server(&self) -> bool {
        matches!(self.role, Role::Server(_))
    }

    /// Whether reading this stream is this layer's business.
    fn is_own(&self, stream: StreamId) -> bool {
        self.beginning.contains_key(&stream) || self.own.contains_key(&stream)
    }

    fn has_credit(&self, dir: Dir) -> bool {
        let [uni, bi] = self.no_credit;
        match dir {
            Dir::Uni => !uni,
            Dir::Bi => !bi,
        }
    }

    fn set_credit(&mut self, dir: Dir, credit: bool) {
        let [uni, bi] = &mut self.no_credit;
        match dir {
            Dir::Uni => *uni = !credit,
            Dir::Bi => *bi = !credit,
        }
    }
}

#[cfg(test)]
mod tests;
