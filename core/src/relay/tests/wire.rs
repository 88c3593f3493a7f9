//! A relay and its peers' sessions, wired back to back in memory, without a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::draft::Draft;
use crate::relay::{Relay, Settings};
use crate::session::{self, Event, Outbox, Role, Session, Underlay};
use crate::time::Time;
use crate::transport::{
    Admission, Answer, Application as _, Closed, ConnectionId, Dir, Incoming, Input, Output, Room,
    StreamId,
};
use crate::wire::id::{RequestId, TrackAlias};
use crate::wire::message::RequestOk;

/// What can be read on one stream.
#[derive(Debug, Default)]
struct Pipe {
    bytes: BytesMut,
    fin: bool,
    reset: Option<u64>,
    /// Its end was read, or it was stopped.
    over: bool,
}

/// The far end of one of the relay's connections.
#[derive(Debug)]
pub(super) struct Far {
    pub(super) draft: Draft,
    /// `None`: whatever the relay sends is looked at by nobody.
    pub(super) session: Option<Session>,
    pub(super) outbox: Outbox,
    /// Everything that the session told.
    pub(super) events: Vec<Event>,
    /// Everything that the relay wanted done, but for reading.
    pub(super) outputs: Vec<Output>,
    /// How the relay closed the connection.
    pub(super) closed: Option<(u64, Bytes)>,
    /// The transport takes no data from the relay.
    pub(super) deaf: bool,
    /// The transport grants the relay no data streams.
    pub(super) no_streams: bool,
    /// The transport does not tell the relay that its own close is through.
    pub(super) lingers: bool,
    /// Updates of the relay's are left unanswered.
    pub(super) sulks: bool,
    /// The aliases with which SUBSCRIBEs of the relay's were accepted.
    pub(super) aliases: BTreeMap<RequestId, TrackAlias>,
    to_far: BTreeMap<StreamId, StreamId>,
    to_relay: BTreeMap<StreamId, StreamId>,
    /// What the relay may read, and what the far end may, by their own names.
    at_relay: BTreeMap<StreamId, Pipe>,
    at_far: BTreeMap<StreamId, Pipe>,
    opened_here: u64,
    opened_by_relay: u64,
    /// Data streams of the relay's.
    data: BTreeSet<StreamId>,
}

/// A relay and the far ends of its connections.
pub(super) struct Rig {
    pub(super) relay: Relay,
    pub(super) now: Time,
    pub(super) far: BTreeMap<ConnectionId, Far>,
    /// The bounds of far sessions that connect from now on.
    pub(super) far_limits: session::Limits,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(Settings::default())
    }

    /// A relay that asks nobody for namespaces.
    pub(super) fn with(settings: Settings) -> Self {
        Self::discovering(Settings {
            discover: false,
            ..settings
        })
    }

    /// The Forward State upstream is what is wanted, without delay.
    pub(super) fn discovering(mut settings: Settings) -> Self {
        settings.limits.forward_linger = Duration::ZERO;
        Self {
            relay: Relay::new(settings),
            now: Time::from_micros(1_000_000),
            far: BTreeMap::new(),
            far_limits: session::Limits::default(),
        }
    }

    /// A client that the relay lets in.
    pub(super) fn try_accept(&mut self) -> Option<ConnectionId> {
        let remote = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4433);
        let incoming = Incoming {
            remote,
            is_validated: true,
        };
        match self.relay.handle_incoming(self.now, &incoming) {
            Admission::Accept(connection) => Some(connection),
            Admission::Retry | Admission::Refuse => None,
        }
    }

    /// A client of which only the transport exists: its streams say what a test injects.
    pub(super) fn raw(&mut self, draft: Draft) -> ConnectionId {
        let connection = self.try_accept().expect("let in");
        self.far.insert(connection, Far::new(draft, None));
        self.connected(connection, draft);
        self.pump();
        connection
    }

    /// A client whose session is set up.
    pub(super) fn connect(&mut self, draft: Draft) -> ConnectionId {
        let connection = self.try_accept().expect("let in");
        let settings = session::Settings {
            role: Role::Client,
            underlay: Underlay::RawQuic,
            path: Bytes::new(),
            authority: Bytes::new(),
            accepted_paths: Vec::new(),
            implementation: Bytes::from_static(b"far"),
            authorization_tokens: Vec::new(),
            limits: self.far_limits.clone(),
        };
        let far = Far::new(draft, Some(Session::new(settings)));
        self.far.insert(connection, far);
        self.connected(connection, draft);
        let input = connected(draft);
        let now = self.now;
        self.far_mut(connection).tell(now, input);
        self.pump();
        let established = |event: &Event| matches!(event, Event::Established { .. });
        assert!(
            self.far[&connection].events.iter().any(established),
            "{:?}",
            self.far[&connection].closed
        );
        connection
    }

    fn connected(&mut self, connection: ConnectionId, draft: Draft) {
        self.relay
            .handle_input(self.now, connection, connected(draft));
    }

    #[track_caller]
    pub(super) fn far_mut(&mut self, connection: ConnectionId) -> &mut Far {
        self.far.get_mut(&connection).expect("a connection")
    }

    /// Does something with a far session.
    #[track_caller]
    pub(super) fn act<R>(
        &mut self,
        connection: ConnectionId,
        act: impl FnOnce(&mut Session, Time) -> R,
    ) -> R {
        let now = self.now;
        let session = self.far_mut(connection).session.as_mut();
        let result = act(session.expect("a session"), now);
        self.pump();
        result
    }

    /// Bytes on a stream of the far end's that its session knows nothing of.
    pub(super) fn inject(&mut self, connection: ConnectionId, dir: Dir, bytes: &[u8]) -> StreamId {
        let stream = self.far_mut(connection).next_at_relay();
        self.far_mut(connection)
            .at_relay
            .insert(stream, Pipe::default());
        let opened = Input::Opened { stream, dir };
        self.relay.handle_input(self.now, connection, opened);
        self.inject_on(connection, stream, bytes);
        stream
    }

    /// The end of a stream that was injected.
    pub(super) fn end_injected(&mut self, connection: ConnectionId, stream: StreamId) {
        let far = self.far_mut(connection);
        far.at_relay.get_mut(&stream).unwrap().fin = true;
        self.inject_on(connection, stream, &[]);
    }

    /// Bytes on a stream that exists, by the relay's name for it.
    pub(super) fn inject_on(&mut self, connection: ConnectionId, stream: StreamId, bytes: &[u8]) {
        let far = self.far_mut(connection);
        far.at_relay
            .entry(stream)
            .or_default()
            .bytes
            .extend_from_slice(bytes);
        self.relay
            .handle_input(self.now, connection, Input::Readable(stream));
        self.pump();
    }

    /// The transport of a far end takes data and streams again.
    pub(super) fn recover(&mut self, connection: ConnectionId) {
        let far = self.far_mut(connection);
        far.deaf = false;
        far.no_streams = false;
        let streams = far.data.clone();
        for stream in streams {
            let writable = Input::Writable(stream);
            self.relay.handle_input(self.now, connection, writable);
        }
        let can_open = Input::CanOpen(Dir::Uni);
        self.relay.handle_input(self.now, connection, can_open);
        self.pump();
    }

    /// The far end closes its session.
    pub(super) fn leave(&mut self, connection: ConnectionId) {
        if self.far[&connection].session.is_some() {
            let code = crate::code::SessionCode::NoError;
            self.act(connection, |session, now| session.close(now, code, "bye"));
        } else {
            self.lose(connection);
        }
    }

    /// The connection breaks.
    pub(super) fn lose(&mut self, connection: ConnectionId) {
        self.far.remove(&connection);
        let lost = Input::Closed(Closed::TimedOut);
        self.relay.handle_input(self.now, connection, lost);
        self.pump();
    }

    /// Everybody leaves: nothing is left behind.
    #[track_caller]
    pub(super) fn end(mut self) {
        let all: Vec<ConnectionId> = self.far.keys().copied().collect();
        for (index, connection) in all.into_iter().enumerate() {
            if index % 2 == 0 {
                self.leave(connection);
            } else {
                self.lose(connection);
            }
        }
        // What was written still holds the memory that it was in.
        self.far.clear();
        self.relay.assert_empty();
    }

    /// Lets time pass, with deadlines kept.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let theirs = self
                .far
                .values()
                .filter_map(|far| far.session.as_ref()?.poll_timeout())
                .min();
            let next = self.relay.poll_timeout().into_iter().chain(theirs).min();
            let Some((at, _)) = next.filter(|(at, _)| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            let now = self.now;
            if self.relay.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.relay.handle_timeout(now);
            }
            for far in self.far.values_mut() {
                if let Some(session) = &mut far.session {
                    session.handle_timeout(now);
                }
            }
            self.pump();
        }
        self.now = end;
        self.pump();
    }

    /// Until nothing moves.
    pub(super) fn pump(&mut self) {
        loop {
            let mut moved = false;
            while let Some(connection) = self.relay.poll_dirty() {
                while let Some(output) = self.relay.poll_output(self.now, connection) {
                    moved |= self.carry_from_relay(connection, output);
                }
            }
            let all: Vec<ConnectionId> = self.far.keys().copied().collect();
            for connection in all {
                moved |= self.carry_from_far(connection);
            }
            if !moved {
                break;
            }
        }
        self.relay.assert_consistent();
    }

    fn carry_from_relay(&mut self, connection: ConnectionId, output: Output) -> bool {
        let now = self.now;
        let Some(far) = self.far.get_mut(&connection) else {
            return false;
        };
        let closes = matches!(output, Output::Close { .. });
        if !matches!(output, Output::Read { .. }) {
            far.outputs.push(output.clone());
        }
        let (answer, acked) = far.take(now, output);
        let moved = answer != Some(Answer::Blocked);
        if let Some(answer) = answer {
            self.relay.handle_answer(now, connection, answer);
        }
        let lingers = far.lingers;
        if let Some(stream) = acked {
            far.tell(now, Input::Acked(stream));
        }
        if closes && !lingers {
            self.relay
                .handle_input(now, connection, Input::Closed(Closed::ByUs));
            self.far_mut(connection).outbox = Outbox::new(1 << 20);
        }
        moved
    }

    fn carry_from_far(&mut self, connection: ConnectionId) -> bool {
        let now = self.now;
        let mut moved = false;
        loop {
            let far = self.far_mut(connection);
            far.listen(now);
            let Some(session) = &mut far.session else {
                return moved;
            };
            let Some(output) = session.poll_output(now, &mut far.outbox) else {
                return moved;
            };
            let (answer, inputs) = far.give(output);
            moved |= answer != Some(Answer::Blocked);
            for input in inputs {
                self.relay.handle_input(now, connection, input);
            }
            let far = self.far_mut(connection);
            if let (Some(answer), Some(session)) = (answer, &mut far.session) {
                session.handle_answer(now, answer, &mut far.outbox);
            }
        }
    }
}

impl Far {
    fn new(draft: Draft, session: Option<Session>) -> Self {
        Self {
            draft,
            session,
            outbox: Outbox::new(1 << 20),
            events: Vec::new(),
            outputs: Vec::new(),
            closed: None,
            deaf: false,
            no_streams: false,
            lingers: false,
            sulks: false,
            aliases: BTreeMap::new(),
            to_far: BTreeMap::new(),
            to_relay: BTreeMap::new(),
            at_relay: BTreeMap::new(),
            at_far: BTreeMap::new(),
            opened_here: 0,
            opened_by_relay: 0,
            data: BTreeSet::new(),
        }
    }

    const fn next_at_relay(&mut self) -> StreamId {
        let stream = StreamId::peer(self.opened_here);
        self.opened_here += 1;
        stream
    }

    fn tell(&mut self, now: Time, input: Input) {
        if let Some(session) = &mut self.session {
            session.handle_input(now, input);
        }
        self.listen(now);
    }

    /// Hears what the session tells, and agrees to updates.
    fn listen(&mut self, now: Time) {
        let Some(session) = &mut self.session else {
            return;
        };
        while let Some(event) = session.poll_event() {
            if let Event::Update { id, update, .. } = &event
                && !self.sulks
            {
                let ok = Ok(RequestOk::default());
                session.respond_to_update(now, *id, *update, ok).unwrap();
            }
            self.events.push(event);
        }
    }

    /// Carries out what the relay wants; also says which stream of the far end's was read to its end.
    fn take(&mut self, now: Time, output: Output) -> (Option<Answer>, Option<StreamId>) {
        let answer = match output {
            Output::Open { dir: Dir::Uni, .. } if self.no_streams => Answer::Blocked,
            Output::Open { stream, dir } => {
                let theirs = StreamId::peer(self.opened_by_relay);
                self.opened_by_relay += 1;
                self.to_far.insert(stream, theirs);
                self.to_relay.insert(theirs, stream);
                self.at_far.insert(theirs, Pipe::default());
                if dir == Dir::Bi {
                    self.at_relay.insert(stream, Pipe::default());
                } else {
                    self.data.insert(stream);
                }
                let opened = Input::Opened {
                    stream: theirs,
                    dir,
                };
                self.tell(now, opened);
                Answer::Done
            }
            Output::Write {
                stream, bytes, fin, ..
            } => {
                // The first one is draft 18's control stream.
                let is_control = self.data.first() == Some(&stream) && self.draft == Draft::D18;
                // An end alone needs no room.
                let is_end = fin && bytes.is_empty();
                if self.deaf && self.data.contains(&stream) && !is_control && !is_end {
                    let taken = 0;
                    let room = Room::StreamFull;
                    return (Some(Answer::Wrote { taken, room }), None);
                }
                self.arrive(now, stream, |pipe| {
                    pipe.bytes.extend_from_slice(&bytes);
                    pipe.fin |= fin;
                });
                Answer::Wrote {
                    taken: bytes.len(),
                    room: Room::More,
                }
            }
            Output::Read { stream, max } => {
                let answer = self.at_relay.get_mut(&stream).unwrap().read(max);
                let acked = self.to_far.get(&stream).copied();
                let acked = acked.filter(|_| answer == Answer::Fin);
                return (Some(answer), acked);
            }
            Output::Datagram(bytes) => {
                self.tell(now, Input::Datagram(bytes));
                Answer::Done
            }
            Output::Reset { stream, code } => {
                self.arrive(now, stream, |pipe| pipe.reset = Some(code));
                return (None, None);
            }
            Output::Stop { stream, code } => {
                self.at_relay.get_mut(&stream).unwrap().over = true;
                if let Some(theirs) = self.to_far.get(&stream).copied() {
                    self.outbox.remove(theirs);
                    let stopped = Input::Stopped {
                        stream: theirs,
                        code,
                    };
                    self.tell(now, stopped);
                }
                return (None, None);
            }
            Output::Priority { .. } | Output::AllowStreams { .. } | Output::ReceiveWindow(_) => {
                return (None, None);
            }
            Output::Close { code, reason } => {
                assert_eq!(self.closed, None, "one close is enough");
                self.closed = Some((code, reason.clone()));
                self.tell(now, Input::Closed(Closed::ByPeer { code, reason }));
                return (None, None);
            }
        };
        (Some(answer), None)
    }

    fn arrive(&mut self, now: Time, stream: StreamId, change: impl FnOnce(&mut Pipe)) {
        let Some(theirs) = self.to_far.get(&stream).copied() else {
            // On a stream that was injected.
            return;
        };
        let pipe = self.at_far.entry(theirs).or_default();
        change(pipe);
        if !pipe.over {
            self.tell(now, Input::Readable(theirs));
        }
    }

    /// Carries out what the far session wants: the answer, and what the relay is to be told.
    fn give(&mut self, output: Output) -> (Option<Answer>, Vec<Input>) {
        match output {
            Output::Open { stream, dir } => {
                let theirs = self.next_at_relay();
                self.to_relay.insert(stream, theirs);
                self.to_far.insert(theirs, stream);
                self.at_relay.insert(theirs, Pipe::default());
                if dir == Dir::Bi {
                    self.at_far.insert(stream, Pipe::default());
                }
                let opened = Input::Opened {
                    stream: theirs,
                    dir,
                };
                (Some(Answer::Done), vec![opened])
            }
            Output::Write {
                stream, bytes, fin, ..
            } => {
                let readable = self.depart(stream, |pipe| {
                    pipe.bytes.extend_from_slice(&bytes);
                    pipe.fin |= fin;
                });
                let wrote = Answer::Wrote {
                    taken: bytes.len(),
                    room: Room::More,
                };
                (Some(wrote), readable)
            }
            Output::Read { stream, max } => {
                let answer = self.at_far.get_mut(&stream).unwrap().read(max);
                let acked = (answer == Answer::Fin).then(|| Input::Acked(self.to_relay[&stream]));
                (Some(answer), acked.into_iter().collect())
            }
            Output::Datagram(bytes) => (Some(Answer::Done), vec![Input::Datagram(bytes)]),
            Output::Reset { stream, code } => {
                self.outbox.remove(stream);
                let readable = self.depart(stream, |pipe| pipe.reset = Some(code));
                (None, readable)
            }
            Output::Stop { stream, code } => {
                self.at_far.get_mut(&stream).unwrap().over = true;
                let stream = self.to_relay[&stream];
                (None, vec![Input::Stopped { stream, code }])
            }
            Output::Priority { .. } | Output::AllowStreams { .. } | Output::ReceiveWindow(_) => {
                (None, Vec::new())
            }
            Output::Close { code, reason } => {
                (None, vec![Input::Closed(Closed::ByPeer { code, reason })])
            }
        }
    }

    fn depart(&mut self, stream: StreamId, change: impl FnOnce(&mut Pipe)) -> Vec<Input> {
        let theirs = self.to_relay[&stream];
        let pipe = self.at_relay.entry(theirs).or_default();
        change(pipe);
        let readable = (!pipe.over).then_some(Input::Readable(theirs));
        readable.into_iter().collect()
    }
}

impl Pipe {
    fn read(&mut self, max: usize) -> Answer {
        assert!(!self.over, "read after the end");
        if let Some(code) = self.reset {
            self.over = true;
            return Answer::Reset(code);
        }
        if !self.bytes.is_empty() {
            let length = max.min(self.bytes.len());
            return Answer::Data(self.bytes.split_to(length).freeze());
        }
        if self.fin {
            self.over = true;
            return Answer::Fin;
        }
        Answer::Blocked
    }
}

fn connected(draft: Draft) -> Input {
    Input::Connected {
        alpn: Bytes::from_static(draft.profile().alpn.as_bytes()),
        max_datagram: 1200,
    }
}
