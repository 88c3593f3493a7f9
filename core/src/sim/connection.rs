//! One simulated transport connection: two ends, their streams and windows, and what is on its way between them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::runtime::TransportSettings;
use crate::time::Time;
use crate::transport::{Closed, ConnectionId, Dir, Input, StreamId};

use super::link::Link;
use super::random::Random;
use super::stream::{Ending, Receiving, Sending, Stream, WireId};

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What travels from one end to the other.
#[derive(Debug)]
pub(super) enum Frame {
    /// The handshake is over for the receiving end.
    Connected,
    /// A piece of a stream.
    Data {
        stream: WireId,
        bytes: Bytes,
        fin: bool,
    },
    /// The sender abandoned the stream after `size` bytes.
    Reset {
        stream: WireId,
        code: u64,
        size: usize,
    },
    /// The receiver does not want the stream.
    Stop {
        stream: WireId,
        code: u64,
    },
    /// A piece arrived.
    Acked {
        stream: WireId,
        bytes: usize,
        fin: bool,
    },
    /// So many bytes were read: of the connection, and of a stream if it is still wanted.
    Credit {
        stream: Option<WireId>,
        bytes: usize,
    },
    /// So many more streams may be opened.
    Streams {
        dir: Dir,
        more: u64,
    },
    Datagram(Bytes),
    Close {
        code: u64,
        reason: Bytes,
    },
    /// Not sent by anybody: the way is free for datagrams again.
    DatagramRoom,
    /// Not sent by anybody: what the transport knows of the path.
    Path,
    /// Not sent by anybody: the receiving end's transport is done with the connection.
    Over(Closed),
}

impl Frame {
    /// Whether the other end sent it, so that it may be held up or lost on the way.
    pub(super) const fn travels(&self) -> bool {
        !matches!(self, Self::DatagramRoom | Self::Path | Self::Over(_))
    }

    /// The stream that it is about.
    const fn stream(&self) -> Option<WireId> {
        match self {
            Self::Data { stream, .. }
            | Self::Reset { stream, .. }
            | Self::Stop { stream, .. }
            | Self::Acked { stream, .. } => Some(*stream),
            Self::Credit { stream, .. } => *stream,
            Self::Connected
            | Self::Streams { .. }
            | Self::Datagram(_)
            | Self::Close { .. }
            | Self::DatagramRoom
            | Self::Path
            | Self::Over(_) => None,
        }
    }
}

/// A frame that will arrive at `to`.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) at: Time,
    pub(super) to: Side,
    pub(super) frame: Frame,
}

/// How far an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Handshake,
    Open,
    /// The application closed it and was not told so yet.
    Closing,
    /// The application was told that it is over.
    Closed,
}

/// What an application was told not to ask again before something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refused {
    Open(StreamId),
    Write(StreamId, bool),
    /// Every write that is not urgent.
    Writes,
    Read(StreamId),
    Datagram,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) node: usize,
    pub(super) id: ConnectionId,
    pub(super) phase: Phase,
    /// A client that was asked to prove its address did.
    pub(super) is_validated: bool,
    pub(super) alpn: Bytes,
    pub(super) settings: TransportSettings,
    pub(super) names: BTreeMap<StreamId, WireId>,
    pub(super) streams: BTreeMap<WireId, Stream>,
    /// Streams to which a [`Input::Writable`] may be owed.
    pub(super) blocked: BTreeSet<WireId>,
    /// Streams that the peer stopped and the application must reset, and since when.
    pub(super) stopped: BTreeMap<WireId, Time>,
    /// Bytes that the peer's connection window still allows.
    pub(super) credit: usize,
    /// Bytes taken from the application that the peer did not acknowledge.
    pub(super) unacked: usize,
    /// Streams that the peer still allows, by direction.
    pub(super) may_open: BTreeMap<Dir, u64>,
    /// Directions in which a [`Input::CanOpen`] is owed.
    pub(super) waits_to_open: BTreeSet<Dir>,
    /// Streams opened by this end, by direction.
    pub(super) opened: BTreeMap<Dir, u64>,
    /// Streams at once that this end allows the peer.
    pub(super) allowed: BTreeMap<Dir, u64>,
    /// Streams of the peer that appeared, by direction.
    pub(super) appeared: BTreeMap<Dir, u64>,
    /// Bytes that this end lets the peer send unread.
    pub(super) window: usize,
    /// A [`Input::DatagramRoom`] is owed.
    pub(super) waits_for_datagrams: bool,
    pub(super) refused: BTreeSet<Refused>,
    /// The path towards the other end, and until when it is occupied.
    pub(super) link: Link,
    pub(super) busy_until: Time,
    pub(super) last_arrival: Time,
    /// When the handshake is over for this end; nothing arrives earlier.
    pub(super) connected_at: Time,
    /// Nothing that this end sends arrives.
    pub(super) mute: bool,
}

/// A window or limit of the settings as a length.
pub(super) fn length(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

impl End {
    pub(super) fn new(
        node: usize,
        id: ConnectionId,
        side: Side,
        settings: TransportSettings,
        link: Link,
    ) -> Self {
        let window = match side {
            Side::Client => settings.publisher_window,
            Side::Server => settings.receive_window,
        };
        let allowed = BTreeMap::from([
            (Dir::Uni, settings.max_uni_streams),
            (Dir::Bi, settings.max_bidi_streams),
        ]);
        Self {
            node,
            id,
            phase: Phase::Handshake,
            is_validated: false,
            alpn: Bytes::new(),
            settings,
            names: BTreeMap::new(),
            streams: BTreeMap::new(),
            blocked: BTreeSet::new(),
            stopped: BTreeMap::new(),
            credit: 0,
            unacked: 0,
            may_open: BTreeMap::new(),
            waits_to_open: BTreeSet::new(),
            opened: BTreeMap::new(),
            allowed,
            appeared: BTreeMap::new(),
            window: length(window),
            waits_for_datagrams: false,
            refused: BTreeSet::new(),
            link,
            busy_until: Time::ZERO,
            last_arrival: Time::ZERO,
            connected_at: Time::ZERO,
            mute: false,
        }
    }

    /// The transport is done with the connection: it keeps nothing of it.
    pub(super) fn close(&mut self) {
        self.phase = Phase::Closed;
        self.streams.clear();
        self.blocked.clear();
        self.stopped.clear();
    }

    /// Bytes that may be taken from the application now.
    pub(super) fn room(&self, urgent: bool) -> usize {
        let budget = length(self.settings.max_unacked);
        let budget = if urgent {
            budget.saturating_mul(2)
        } else {
            budget
        };
        self.credit.min(budget.saturating_sub(self.unacked))
    }

    /// Tells the streams that have room again.
    fn wake_writers(&mut self, inputs: &mut Vec<Input>) {
        let (room, urgent_room) = (self.room(false), self.room(true));
        let streams = &mut self.streams;
        self.blocked.retain(|wire| {
            let Some(stream) = streams.get_mut(wire) else {
                return false;
            };
            let Some(sending) = &mut stream.sending else {
                return false;
            };
            let Some(urgent) = sending.blocked else {
                return false;
            };
            let room = if urgent { urgent_room } else { room };
            if room == 0 || sending.credit == 0 {
                return true;
            }
            sending.blocked = None;
            inputs.push(Input::Writable(stream.name));
            false
        });
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    client: End,
    server: Option<End>,
    /// Nothing arrives before this.
    pub(super) stalled_until: Time,
}

impl Connection {
    pub(super) const fn new(client: End) -> Self {
        Self {
            client,
            server: None,
            stalled_until: Time::ZERO,
        }
    }

    /// Adds the accepting end and tells each what the other allows.
    pub(super) fn accept(&mut self, mut server: End) {
        let client = &mut self.client;
        client.credit = server.window;
        client.may_open = server.allowed.clone();
        server.credit = client.window;
        server.may_open = client.allowed.clone();
        self.server = Some(server);
    }

    pub(super) const fn end(&self, side: Side) -> Option<&End> {
        match side {
            Side::Client => Some(&self.client),
            Side::Server => self.server.as_ref(),
        }
    }

    pub(super) const fn end_mut(&mut self, side: Side) -> Option<&mut End> {
        match side {
            Side::Client => Some(&mut self.client),
            Side::Server => self.server.as_mut(),
        }
    }

    /// Largest datagram that this side may send.
    pub(super) fn max_datagram(&self, side: Side) -> usize {
        self.end(side).map_or(0, |end| end.link.max_datagram)
    }

    /// When something of this length arrives that `side` sends now, and when it has left.
    pub(super) fn arrival(
        &mut self,
        now: Time,
        side: Side,
        bytes: usize,
        random: &mut Random,
    ) -> (Time, Time) {
        let earliest = self.earliest(side.other());
        let Some(end) = self.end_mut(side) else {
            return (now, now);
        };
        let left = end.busy_until.max(now) + end.link.occupation(bytes);
        end.busy_until = left;
        let mut at = left + end.link.delay + random.span(end.link.jitter);
        if !end.link.reorder {
            at = at.max(end.last_arrival);
            end.last_arrival = at;
        }
        (at.max(earliest), left)
    }

    /// When an acknowledgement or the like arrives that `side` sends now: it occupies nothing and is never lost.
    pub(super) fn control_arrival(&self, now: Time, side: Side) -> Time {
        let delay = self
            .end(side)
            .map_or_else(Default::default, |end| end.link.delay);
        (now + delay).max(self.earliest(side.other()))
    }

    /// Before which nothing arrives at this side.
    fn earliest(&self, to: Side) -> Time {
        let connected_at = self.end(to).map_or(Time::ZERO, |end| end.connected_at);
        self.stalled_until.max(connected_at)
    }

    /// Takes in a frame at `to`: what the application is told, and what goes back.
    pub(super) fn arrive(
        &mut self,
        now: Time,
        to: Side,
        frame: Frame,
        flights: &mut Vec<Flight>,
    ) -> Vec<Input> {
        let mut inputs = Vec::new();
        let back_at = self.control_arrival(now, to);
        let max_datagram = self.max_datagram(to);
        let stream_window = self
            .end(to.other())
            .map_or(0, |end| length(end.settings.stream_window));
        let Some(end) = self.end_mut(to) else {
            return inputs;
        };
        let mut reply = |frame| {
            flights.push(Flight {
                at: back_at,
                to: to.other(),
                frame,
            });
        };
        let Some(frame) = change_phase(end, frame, max_datagram, &mut inputs) else {
            return inputs;
        };
        let touched = frame.stream();
        if let Some(wire) = touched {
            appear(end, to, wire, stream_window, &mut inputs);
        }
        match frame {
            Frame::Connected | Frame::Over(_) | Frame::Close { .. } => {}
            Frame::DatagramRoom => {
                if std::mem::take(&mut end.waits_for_datagrams) {
                    inputs.push(Input::DatagramRoom);
                }
            }
            Frame::Path => inputs.push(Input::Path {
                rtt: end.link.delay * 2 + end.link.jitter,
                max_datagram,
            }),
            Frame::Data { stream, bytes, fin } => {
                let length = bytes.len();
                reply(Frame::Acked {
                    stream,
                    bytes: length,
                    fin,
                });
                let unread = receive(end, stream, &mut inputs, |half| half.arrive(bytes, fin));
                if unread > 0 {
                    reply(Frame::Credit {
                        stream: None,
                        bytes: unread,
                    });
                }
            }
            Frame::Reset { stream, code, size } => {
                let unread = receive(end, stream, &mut inputs, |half| half.reset(code, size));
                if unread > 0 {
                    reply(Frame::Credit {
                        stream: None,
                        bytes: unread,
                    });
                }
            }
            Frame::Stop { stream, code } => stopped(now, end, stream, code, &mut inputs),
            Frame::Acked { stream, bytes, fin } => acked(end, stream, bytes, fin, &mut inputs),
            Frame::Credit { stream, bytes } => {
                end.credit = end.credit.saturating_add(bytes);
                if let Some(sending) = sending_mut(end, stream) {
                    sending.credit += bytes;
                }
                end.wake_writers(&mut inputs);
            }
            Frame::Streams { dir, more } => {
                *end.may_open.entry(dir).or_default() += more;
                if end.waits_to_open.remove(&dir) {
                    inputs.push(Input::CanOpen(dir));
                }
            }
            Frame::Datagram(bytes) => inputs.push(Input::Datagram(bytes)),
        }
        if let Some(wire) = touched {
            self.replace_stream(to, wire, back_at, flights);
        }
        inputs
    }

    /// Lets the peer open another stream if this one of its streams is over.
    pub(super) fn replace_stream(
        &mut self,
        side: Side,
        wire: WireId,
        at: Time,
        flights: &mut Vec<Flight>,
    ) {
        let Some(end) = self.end_mut(side) else {
            return;
        };
        if wire.opener == side {
            return;
        }
        if let Some(stream) = end.streams.get_mut(&wire)
            && !stream.replaced
            && stream.is_over()
        {
            stream.replaced = true;
            flights.push(Flight {
                at,
                to: side.other(),
                frame: Frame::Streams {
                    dir: wire.dir,
                    more: 1,
                },
            });
        }
    }
}

/// Takes in a frame that begins or ends the connection; gives back any other that counts.
fn change_phase(
    end: &mut End,
    frame: Frame,
    max_datagram: usize,
    inputs: &mut Vec<Input>,
) -> Option<Frame> {
    let closed = match (end.phase, frame) {
        (Phase::Handshake, Frame::Connected) => {
            end.phase = Phase::Open;
            let alpn = end.alpn.clone();
            inputs.push(Input::Connected { alpn, max_datagram });
            return None;
        }
        (Phase::Handshake | Phase::Open | Phase::Closing, Frame::Over(closed)) => closed,
        // Nobody is told the application's code that early (RFC 9000 § 10.2.3).
        (Phase::Handshake, Frame::Close { .. }) => {
            Closed::Lost("closed during the handshake".to_owned())
        }
        (Phase::Open, Frame::Close { code, reason }) => Closed::ByPeer { code, reason },
        (Phase::Open, frame) => return Some(frame),
        (Phase::Handshake | Phase::Closing | Phase::Closed, _) => return None,
    };
    end.close();
    inputs.push(Input::Closed(closed));
    None
}

fn sending_mut(end: &mut End, stream: Option<WireId>) -> Option<&mut Sending> {
    end.streams.get_mut(&stream?)?.sending.as_mut()
}

/// Makes a stream of the peer known, and all that it opened before it.
fn appear(end: &mut End, side: Side, wire: WireId, window: usize, inputs: &mut Vec<Input>) {
    if wire.opener == side || end.streams.contains_key(&wire) {
        return;
    }
    let first = end.appeared.get(&wire.dir).copied().unwrap_or(0);
    for index in first..=wire.index {
        let name = StreamId::peer(end.appeared.values().sum());
        *end.appeared.entry(wire.dir).or_default() += 1;
        let wire = WireId { index, ..wire };
        end.names.insert(name, wire);
        let sending = match wire.dir {
            Dir::Uni => None,
            Dir::Bi => Some(Sending::new(window)),
        };
        let stream = Stream {
            name,
            sending,
            receiving: Some(Receiving::new()),
            replaced: false,
        };
        end.streams.insert(wire, stream);
        inputs.push(Input::Opened {
            stream: name,
            dir: wire.dir,
        });
    }
}

/// Changes the receiving direction of a stream, and tells the application if it waits for that.
fn receive(
    end: &mut End,
    wire: WireId,
    inputs: &mut Vec<Input>,
    change: impl FnOnce(&mut Receiving) -> usize,
) -> usize {
    let Some(stream) = end.streams.get_mut(&wire) else {
        return 0;
    };
    let Some(half) = &mut stream.receiving else {
        return 0;
    };
    let unread = change(half);
    if half.hungry && half.has_news() {
        half.hungry = false;
        inputs.push(Input::Readable(stream.name));
    }
    unread
}

fn stopped(now: Time, end: &mut End, wire: WireId, code: u64, inputs: &mut Vec<Input>) {
    let Some(stream) = end.streams.get_mut(&wire) else {
        return;
    };
    let name = stream.name;
    if let Some(sending) = &mut stream.sending
        && !sending.is_over()
        && !sending.stopped
    {
        sending.stopped = true;
        sending.blocked = None;
        // With the fin sent there is nothing left to give up, so the reset is left to the application.
        if sending.ending.is_none() {
            end.stopped.insert(wire, now);
        }
        inputs.push(Input::Stopped { stream: name, code });
    }
}

fn acked(end: &mut End, wire: WireId, bytes: usize, fin: bool, inputs: &mut Vec<Input>) {
    end.unacked = end.unacked.saturating_sub(bytes);
    if let Some(stream) = end.streams.get_mut(&wire) {
        let name = stream.name;
        if let Some(sending) = &mut stream.sending
            && fin
            && sending.ending == Some(Ending::Fin)
        {
            sending.ending = Some(Ending::Acked);
            inputs.push(Input::Acked(name));
        }
    }
    end.wake_writers(inputs);
}
