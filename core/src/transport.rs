//! The contract between the core and whatever moves its bytes: events in, outputs out, each output answered at once.
//!
//! An adapter owns sockets and a QUIC stack; the core owns everything else. The adapter
//!
//! 1. tells the core what happened with [`Application::handle_input`] (and time with
//!    [`Application::handle_timeout`]); this only records and marks connections dirty;
//! 2. pumps: `while let Some(c) = app.poll_dirty()`, then `while let Some(output) = app.poll_output(now, c)`, carrying
//!    out **one output at a time** and telling its [`Answer`] with [`Application::handle_answer`] before the next poll;
//! 3. opens what [`Application::poll_connect`] asks for, and sleeps until [`Application::poll_timeout`].
//!
//! Adapters hold no queue: a byte that the stack cannot take now stays in the core, which offers it again, or something
//! more urgent, when the adapter reports that room appeared.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::time::{Time, WallTime};

/// One transport connection. Chosen by the application, unique for its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One stream of a connection, in the core's own numbering; the adapter maps it to the stack's ids.
///
/// Streams that the core opens are numbered by the core ([`StreamId::local`]); streams that the peer opens are numbered
/// by the adapter ([`StreamId::peer`]), each once: in order of appearance, counted over both directions, or by any other
/// rule. The two never clash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

impl StreamId {
    /// The `n`th stream opened by this side.
    pub const fn local(n: u64) -> Self {
        Self(n << 1)
    }

    /// The `n`th stream opened by the peer.
    pub const fn peer(n: u64) -> Self {
        Self(n << 1 | 1)
    }

    /// Whether this side opened the stream.
    pub const fn is_local(self) -> bool {
        self.0 & 1 == 0
    }

    /// The `n` of [`StreamId::local`] or [`StreamId::peer`].
    pub const fn index(self) -> u64 {
        self.0 >> 1
    }
}

/// Which way bytes flow on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    /// From the opener to the other side only.
    Uni,
    /// Both ways.
    Bi,
}

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The TLS handshake finished and streams may be opened.
    Connected {
        /// The application protocol that TLS agreed on, such as `moqt-18` or `h3`.
        alpn: Bytes,
        /// Largest datagram payload, in bytes, that the path takes now; 0 if the peer takes none.
        max_datagram: usize,
    },
    /// The peer opened a stream. Its first bytes are read like any others, after [`Input::Readable`] or at once.
    Opened {
        /// The adapter's number for it, [`StreamId::peer`].
        stream: StreamId,
        /// Whether this side may write to it.
        dir: Dir,
    },
    /// A stream whose last [`Output::Read`] was answered [`Answer::Blocked`] has bytes, its end, or a reset to read.
    Readable(StreamId),
    /// A stream that could not take all of a write has room again.
    Writable(StreamId),
    /// The peer sent STOP_SENDING with this application error code. The core answers with [`Output::Reset`].
    Stopped {
        /// The stream that the peer does not want any more.
        stream: StreamId,
        /// The peer's reason, from the application's error space.
        code: u64,
    },
    /// Everything written to this stream, its end included, was acknowledged by the peer's transport.
    Acked(StreamId),
    /// The peer allows more streams in this direction, after [`Answer::Blocked`] to [`Output::Open`].
    CanOpen(Dir),
    /// A datagram arrived.
    Datagram(Bytes),
    /// There is room for datagrams again, after [`Answer::Blocked`] to [`Output::Datagram`].
    DatagramRoom,
    /// What the transport now knows of the path. Sent when it changed noticeably, at most once per pump.
    Path {
        /// Smoothed round-trip time.
        rtt: Duration,
        /// Largest datagram payload in bytes; 0 if the peer takes none.
        max_datagram: usize,
    },
    /// The connection is over, whoever ended it. Nothing follows.
    Closed(Closed),
}

/// Why a connection ended, as the transport tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer closed it with an application error code and a reason.
    ByPeer {
        /// The peer's code, from the application's error space.
        code: u64,
        /// The peer's words, unchecked bytes.
        reason: Bytes,
    },
    /// This side closed it with [`Output::Close`].
    ByUs,
    /// No packet arrived for the idle timeout.
    TimedOut,
    /// The connection was never established: unreachable, handshake refused, no common protocol …
    Failed(String),
    /// The transport gave up for another reason: a transport error, a stateless reset …
    Lost(String),
}

/// What the core wants done on a connection. Each is answered, as its docs say, before the next is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a stream under this number. Answer: [`Answer::Done`], or [`Answer::Blocked`] when out of credit.
    Open {
        /// The core's number for it, [`StreamId::local`].
        stream: StreamId,
        /// Uni- or bidirectional.
        dir: Dir,
    },
    /// Hand these bytes to the stream. Answer: [`Answer::Wrote`].
    Write {
        /// An open stream.
        stream: StreamId,
        /// Never empty unless `fin` is set.
        bytes: Bytes,
        /// End the stream after these bytes. It counts only if all of them were taken.
        fin: bool,
        /// Control and requests: may use twice the budget that data may.
        urgent: bool,
    },
    /// Take bytes from a stream. Answer: [`Answer::Data`], [`Answer::Fin`], [`Answer::Reset`] or [`Answer::Blocked`].
    Read {
        /// A stream that the peer may write to.
        stream: StreamId,
        /// At most this many bytes.
        max: usize,
    },
    /// Send a datagram. Answer: [`Answer::Done`], [`Answer::Blocked`] or [`Answer::TooLarge`].
    Datagram(Bytes),
    /// Abandon the sending direction with this code. Nothing is to be done if that is over already. No answer.
    Reset {
        /// A stream that was opened, and that this side may write to.
        stream: StreamId,
        /// From the application's error space.
        code: u64,
    },
    /// Ask the peer to stop sending (STOP_SENDING), and forget the receiving direction. Nothing is to be done if that is over
    /// already. No answer.
    Stop {
        /// A stream that this side may read.
        stream: StreamId,
        /// From the application's error space.
        code: u64,
    },
    /// A hint: what is already handed over on this stream leaves before streams of a lower value. No answer.
    Priority {
        /// An open stream.
        stream: StreamId,
        /// Higher leaves first.
        priority: i32,
    },
    /// Allow the peer to have this many streams of a kind open at once. Never lowers what was allowed. No answer.
    AllowStreams {
        /// Which kind.
        dir: Dir,
        /// How many at once.
        count: u64,
    },
    /// Let the peer have so many bytes under way or unread at once, over all streams of the connection. Never lowers what
    /// was allowed; an adapter whose stack cannot change it leaves it as it is. No answer.
    ReceiveWindow(u64),
    /// End the connection. No answer; [`Input::Closed`] follows in time.
    Close {
        /// From the application's error space.
        code: u64,
        /// Words for the peer's log.
        reason: Bytes,
    },
}

impl Output {
    /// Whether [`Application::handle_answer`] must follow before the next is polled.
    pub const fn wants_answer(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Write { .. } | Self::Read { .. } | Self::Datagram(_) => true,
            Self::Reset { .. }
            | Self::Stop { .. }
            | Self::Priority { .. }
            | Self::AllowStreams { .. }
            | Self::ReceiveWindow(_)
            | Self::Close { .. } => false,
        }
    }
}

/// What became of an [`Output`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// It cannot be done now; an [`Input`] tells when to try again. For [`Output::Read`]: nothing to read yet.
    Blocked,
    /// How much of a [`Output::Write`] was taken. The fin was taken exactly if all bytes were.
    Wrote {
        /// Number of bytes taken; the rest stays with the core.
        taken: usize,
        /// Where there is room for more.
        room: Room,
    },
    /// Bytes from the stream, not empty.
    Data(Bytes),
    /// The peer ended the stream; everything before was read.
    Fin,
    /// The peer abandoned the stream with this application error code.
    Reset(u64),
    /// The datagram exceeds what the path takes; it was dropped.
    TooLarge,
    /// The stream or the connection does not exist any more; an [`Input`] tells or told why.
    Gone,
}

/// Whether another write has a chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// All was taken and there may be room for more.
    More,
    /// This stream is full (or the stack does not tell which limit was hit); others may have room.
    StreamFull,
    /// The connection took as much as is sensible: stop writing until it is dirty again.
    ConnectionFull,
}

/// Where an outgoing connection leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host name or address literal (IPv6 without brackets), as in the URL.
    pub host: String,
    /// UDP port.
    pub port: u16,
    /// Application protocols to offer, most wanted first.
    pub alpns: Vec<Bytes>,
}

/// A client that asks to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Where it comes from.
    pub remote: SocketAddr,
    /// Whether nothing is gained by [`Admission::Retry`]: it has proved that it receives what is sent there, or the adapter
    /// cannot ask it to any more.
    pub is_validated: bool,
}

/// The answer to an [`Incoming`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Let it in under this id.
    Accept(ConnectionId),
    /// Have it prove its address and ask again, which costs this side no memory. Like [`Admission::Refuse`] for one that
    /// [is validated](Incoming::is_validated).
    Retry,
    /// Turn it away: no room.
    Refuse,
}

/// A program's protocol part, many connections wide, without I/O: a relay, a date server, a client.
///
/// See the [module documentation](self) for the order of calls.
pub trait Application {
    /// The system clock, told at the start and before each round of inputs.
    fn handle_wall_clock(&mut self, now: Time, wall: WallTime) {
        let (_now, _wall) = (now, wall);
    }

    /// A client wants in. Called before any handshake work is spent on it.
    fn handle_incoming(&mut self, now: Time, incoming: &Incoming) -> Admission;

    /// Something happened on a connection that this application accepted or asked for.
    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input);

    /// The answer to the last output polled for this connection.
    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer);

    /// The deadline of [`Application::poll_timeout`] passed.
    fn handle_timeout(&mut self, now: Time);

    /// Something outside of the transport rang the endpoint's bell: there is input to take, or room for output, that another
    /// thread told of. However often it rang since the last call, this is called once.
    fn handle_wake(&mut self, now: Time) {
        let _now = now;
    }

    /// The operator wants the program to end (SIGINT, SIGTERM): finish what can be finished soon.
    fn handle_shutdown(&mut self, now: Time);

    /// The next connection with something to do, or `None` when all are settled.
    fn poll_dirty(&mut self) -> Option<ConnectionId>;

    /// The next thing to do on this connection, or `None` when it is settled until the next input.
    #[must_use = "an output that is not carried out is lost"]
    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output>;

    /// A connection that the application wants opened under this id.
    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)>;

    /// When to call [`Application::handle_timeout`], and for what (for traces); `None`: never.
    fn poll_timeout(&self) -> Option<(Time, &'static str)>;

    /// Set once the program's work is over and every connection is settled.
    fn poll_exit(&mut self) -> Option<Exit>;
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The job is done.
    Success,
    /// It is not; the sentence says what failed and what to do next.
    Failure(String),
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.is_local() { "local" } else { "peer" };
        write!(f, "{side} stream {}", self.index())
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.0)
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByPeer { code, reason } if reason.is_empty() => {
                write!(f, "closed by the peer with code {code:#x}")
            }
            Self::ByPeer { code, reason } => write!(
                f,
                "closed by the peer with code {code:#x} ({})",
                reason.escape_ascii()
            ),
            Self::ByUs => f.write_str("closed by us"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Failed(why) => write!(f, "could not connect: {why}"),
            Self::Lost(why) => write!(f, "connection lost: {why}"),
        }
    }
}
