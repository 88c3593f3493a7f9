//! One peer, either role, all requests: transport inputs and application verbs in, outputs and events out.

mod answer;
mod ask;
mod auth;
mod close;
mod data;
mod event;
mod goaway;
mod ids;
mod incoming;
mod join;
mod names;
mod namespace;
mod outgoing;
mod params;
mod receive;
mod request;
mod settings;
mod setup;
mod source;
mod subscriber;
mod timer;
mod topology;
mod trace;
mod update;
mod withdraw;

pub use close::Misuse;
pub(crate) use data::DEFAULT_PRIORITY;
pub use event::{Event, FetchItem, Refusal, Request, Response, StreamEnd};
pub use settings::{Limits, Role, Settings, Underlay};
pub use source::{Full, Outbox, Piece, Source};
pub use trace::{Direction, MAX_TRACED};

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::code::{ResetCode, SessionCode};
use crate::draft::{Draft, Profile};
use crate::time::Time;
use crate::transport::{Answer, Closed, Dir, Input, Output, StreamId};
use crate::wire::id::RequestId;
use crate::wire::message::{Channel, Message, Origin};
use auth::{TokenBook, TokenCache};
use close::Close;
use ids::{OwnIds, PeerIds, Tombstones};
use incoming::Incoming;
use outgoing::{Outgoing, Urgent};
use request::Requests;
use timer::{Timer, Timers};
use topology::{Asked, Heard, Topology};
use trace::Trace;

/// A MoQT session with one peer, in any draft, as client or server, publisher and subscriber.
///
/// It does no I/O. There are four kinds of methods:
///
/// * **told by the transport**: [`handle_input`](Self::handle_input), [`handle_answer`](Self::handle_answer),
///   [`handle_timeout`](Self::handle_timeout). They never fail: a peer's mistake ends the session from the inside, with
///   one [`Output::Close`] and one [`Event::Closed`];
/// * **told by the application**: [`request`](Self::request), [`respond`](Self::respond) and the other verbs. They fail
///   with [`Misuse`] if the caller asks for something impossible, and then change nothing;
/// * **polled**: [`poll_output`](Self::poll_output) (carry out one, answer it, poll again, until `None`),
///   [`poll_event`](Self::poll_event) (drain it after every other call), [`poll_timeout`](Self::poll_timeout);
/// * **asked**: [`draft`](Self::draft), [`is_closed`](Self::is_closed), [`is_dirty`](Self::is_dirty) …
///
/// Outputs come in this order: the end of the session; control messages; requests and what follows them; reads; data.
/// Nothing is read while more than [`Limits::max_event_backlog`] events wait.
///
/// Requests, responses and events have the shape of draft 18, whatever draft was negotiated; what the draft cannot
/// express is refused with [`Misuse::NotExpressible`]. What the session settles itself never reaches the application:
/// token aliases, joining FETCHes (their range is made absolute), request credit, refusals that the draft demands.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    phase: Phase,
    profile: &'static Profile,
    now: Time,
    next_stream: u64,
    topology: Topology,
    /// Something happened since there was nothing to do.
    dirty: bool,
    asked: Option<Question>,
    own_ids: OwnIds,
    peer_ids: PeerIds,
    /// Somebody was told to wait for credit.
    wants_request: bool,
    /// How it ends once everything that arrived was read.
    failing: Option<Close>,
    /// Request ids that the peer may have used where we never saw them: on streams that ended before they were read.
    lost_ids: u64,
    /// The peer was allowed data streams.
    data_streams_allowed: bool,
    /// Request streams that the peer may have open.
    allowed_streams: u64,
    requests: Requests,
    own_tombstones: Tombstones,
    peer_tombstones: Tombstones,
    tokens: TokenCache,
    token_book: TokenBook,
    timers: Timers,
    incoming: Incoming,
    /// The peer's control stream and its first bytes, found among its data streams.
    found_control: Option<(StreamId, Bytes)>,
    /// FETCHes of ours whose data streams were stopped.
    stopped_fetches: Vec<RequestId>,
    outgoing: Outgoing,
    /// Requests of which something happens when their data streams are over.
    closing: BTreeSet<RequestId>,
    events: VecDeque<Event>,
    goaway_received: bool,
    goaway_sent: bool,
    /// The close to be told to the transport.
    close: Option<(SessionCode, Bytes)>,
    failure: Option<Close>,
    /// Control messages for a trace, if one is wanted.
    trace: Option<Trace>,
}

/// What the last output was about.
#[derive(Clone, Copy, Debug)]
enum Question {
    /// A stream of messages.
    Messages(Asked),
    /// A data stream of the peer's.
    Read(StreamId),
    /// Our data.
    Data,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before [`Input::Connected`].
    Unconnected,
    /// Until the peer's SETUP.
    SettingUp,
    Established,
    Closed,
}

/// Request streams that adapters allow from the start.
const INITIAL_REQUEST_STREAMS: u64 = 32;

impl Session {
    /// A session that begins with [`Input::Connected`], whose protocol name decides the draft.
    pub fn new(settings: Settings) -> Self {
        let [profile, ..] = Draft::ALL.map(Draft::profile);
        let limits = settings.limits.clone();
        Self {
            phase: Phase::Unconnected,
            profile,
            now: Time::ZERO,
            next_stream: 0,
            topology: Topology::new(profile.integers),
            dirty: false,
            asked: None,
            own_ids: OwnIds::new(settings.role, None),
            peer_ids: PeerIds::new(settings.role.peer(), None, limits.max_request_id_gaps),
            wants_request: false,
            failing: None,
            lost_ids: 0,
            data_streams_allowed: false,
            allowed_streams: INITIAL_REQUEST_STREAMS,
            requests: Requests::new(&limits),
            own_tombstones: Tombstones::new(limits.max_tombstones),
            peer_tombstones: Tombstones::new(limits.max_tombstones),
            tokens: TokenCache::new(limits.max_auth_token_cache_size),
            token_book: TokenBook::default(),
            timers: Timers::default(),
            incoming: Incoming::new(profile, &limits),
            found_control: None,
            stopped_fetches: Vec::new(),
            outgoing: Outgoing::new(&limits),
            closing: BTreeSet::new(),
            events: VecDeque::new(),
            goaway_received: false,
            goaway_sent: false,
            close: None,
            failure: None,
            trace: None,
            settings,
        }
    }

    /// The negotiated draft, once connected.
    pub fn draft(&self) -> Option<Draft> {
        Some(self.profile()?.draft)
    }

    /// How the negotiated draft differs from others, once connected.
    pub fn profile(&self) -> Option<&'static Profile> {
        (self.phase != Phase::Unconnected).then_some(self.profile)
    }

    /// Whether both sides are set up and the session is not over.
    pub fn is_established(&self) -> bool {
        self.phase == Phase::Established
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Begins to keep control messages for [`poll_message`](Self::poll_message): those of the future, all of them if this is
    /// called before the connection is.
    pub fn trace_messages(&mut self) {
        self.trace.get_or_insert_default();
    }

    /// Whether control messages are kept for a trace.
    pub const fn is_tracing(&self) -> bool {
        self.trace.is_some()
    }

    /// The next control message that was sent or received, in order, if [`trace_messages`](Self::trace_messages) was called.
    /// Unless they are taken after every call, the oldest of more than [`MAX_TRACED`] are dropped.
    pub fn poll_message(&mut self) -> Option<(Direction, Message)> {
        self.trace.as_mut()?.next()
    }

    /// Why this side ended the session because of the peer: the code that it was told, and the rule that it broke.
    pub fn failure(&self) -> Option<(SessionCode, &'static str)> {
        let close = self.failure?;
        Some((close.code, close.rule))
    }

    /// Something happened on the connection.
    pub fn handle_input(&mut self, now: Time, input: Input) {
        self.at(now);
        if self.is_closed() {
            return;
        }
        self.topology.stirred();
        self.outgoing.new_turn();
        let result = self.take_input(input);
        self.settle(result);
    }

    /// The answer to the last output of [`poll_output`](Self::poll_output).
    pub fn handle_answer(&mut self, now: Time, answer: Answer, source: &mut dyn Source) {
        self.at(now);
        let Some(asked) = self.asked.take() else {
            return;
        };
        if self.is_closed() {
            return;
        }
        let heard = match asked {
            Question::Messages(asked) => self.topology.handle_answer(asked, answer),
            Question::Read(stream) => {
                let result = self.receive_data(stream, answer);
                self.settle(result);
                return;
            }
            Question::Data => {
                self.outgoing.answered(self.now, &answer, source);
                self.data_moved();
                Heard::Nothing
            }
        };
        let result = match heard {
            Heard::Nothing => Ok(()),
            Heard::Bytes(stream, bytes) => self.receive_bytes(stream, &bytes),
            Heard::Fin(stream) => self.receive_fin(stream),
            Heard::Reset(stream, code) => {
                self.receive_reset(stream, code);
                Ok(())
            }
            Heard::Stopped(stream, code) => {
                self.heed_stop(stream, code);
                Ok(())
            }
            Heard::Deaf(stream) => {
                // It was to be stopped once everything was read; until it is reset it costs the peer a stream.
                let code = self.reset_number(ResetCode::Cancelled);
                self.topology.signal(Output::Reset { stream, code });
                Ok(())
            }
        };
        self.settle(result);
    }

    /// The next thing for the transport to do; `None`: nothing until the next input, verb or timeout.
    #[must_use = "an output that is not carried out is lost"]
    pub fn poll_output(&mut self, now: Time, source: &mut dyn Source) -> Option<Output> {
        self.at(now);
        let output = self.next_output(source);
        self.dirty = output.is_some();
        output
    }

    fn next_output(&mut self, source: &mut dyn Source) -> Option<Output> {
        self.asked = None;
        if let Some((code, reason)) = self.close.take() {
            let code = code.to_wire(self.profile.draft);
            return Some(Output::Close { code, reason });
        }
        if self.is_closed() {
            return None;
        }
        if let Some(signal) = self.topology.poll_signal() {
            return Some(signal);
        }
        if let Some(urgent) = self.outgoing.poll_urgent() {
            return Some(self.urgent_output(urgent));
        }
        let may_read = self.events.len() < self.settings.limits.max_event_backlog;
        let read_size = self.settings.limits.read_size;
        let message = self.topology.poll_write().or_else(|| {
            may_read
                .then(|| self.topology.poll_read(read_size))
                .flatten()
        });
        if let Some((output, asked)) = message {
            self.asked = Some(Question::Messages(asked));
            return Some(output);
        }
        if may_read && let Some((stream, max)) = self.incoming.poll_read() {
            self.asked = Some(Question::Read(stream));
            return Some(Output::Read { stream, max });
        }
        if may_read && let Some(close) = self.failing.take() {
            self.settle(Err(close));
            return self.next_output(source);
        }
        let output = self.outgoing.poll_data(self.now, source);
        self.asked = output.is_some().then_some(Question::Data);
        // What was found too old on the way was reset.
        self.data_moved();
        let Some(output) = output else {
            let urgent = self.outgoing.poll_urgent()?;
            return Some(self.urgent_output(urgent));
        };
        Some(output)
    }

    fn urgent_output(&self, urgent: Urgent) -> Output {
        match urgent {
            Urgent::Reset { stream, code } => Output::Reset {
                stream,
                code: self.reset_number(code),
            },
            Urgent::Priority { stream, priority } => Output::Priority { stream, priority },
        }
    }

    /// Whether [`poll_output`](Self::poll_output) may have something: something happened since it last had nothing.
    pub const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and for what (for traces); `None`: never.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let sent = self.outgoing.poll_timeout();
        let received = self.incoming.poll_timeout();
        self.timers
            .next()
            .into_iter()
            .chain(sent)
            .chain(received)
            .min_by_key(|(at, _)| *at)
    }

    /// The deadline of [`poll_timeout`](Self::poll_timeout) passed. Harmless if it did not.
    pub fn handle_timeout(&mut self, now: Time) {
        self.at(now);
        while !self.is_closed()
            && let Some(timer) = self.timers.expired(self.now)
        {
            let result = self.expire(timer);
            self.settle(result);
        }
        if !self.is_closed() {
            self.outgoing.handle_timeout(self.now);
            self.data_moved();
            self.incoming.handle_timeout(self.now);
            let result = self.data_received();
            self.settle(result);
        }
    }

    /// What the application should know next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends the session with this code and words for the peer's log.
    pub fn close(&mut self, now: Time, code: SessionCode, reason: &str) {
        self.at(now);
        if !self.is_closed() {
            self.end(
                code,
                Bytes::copy_from_slice(reason.as_bytes()),
                Closed::ByUs,
            );
        }
    }

    const fn at(&mut self, now: Time) {
        self.dirty = true;
        if now.as_micros() > self.now.as_micros() {
            self.now = now;
        }
    }

    fn take_input(&mut self, input: Input) -> Result<(), Close> {
        match input {
            Input::Connected { alpn, .. } => self.connected(&alpn),
            Input::Opened { stream, dir } => {
                self.peer_opened(stream, dir);
                Ok(())
            }
            Input::Readable(stream) => {
                if self.incoming.owns(stream) {
                    self.incoming.readable(stream);
                } else if self.may_read(stream) {
                    self.topology.read(stream);
                }
                Ok(())
            }
            Input::Writable(stream) => {
                if !self.topology.writable(stream) {
                    self.outgoing.writable(stream);
                }
                Ok(())
            }
            Input::Stopped { stream, code } => {
                if self.outgoing.owns(stream) {
                    let code = ResetCode::from_wire(self.profile.draft, code);
                    self.outgoing.stopped(stream, code);
                    self.data_moved();
                    return Ok(());
                }
                self.receive_stop(stream, code);
                Ok(())
            }
            Input::CanOpen(dir) => {
                if dir == Dir::Uni {
                    self.outgoing.can_open();
                }
                if self.topology.can_open(dir) && dir == Dir::Bi {
                    self.can_request();
                }
                Ok(())
            }
            Input::Acked(stream) => {
                self.outgoing.acked(stream);
                self.data_moved();
                Ok(())
            }
            Input::DatagramRoom => {
                self.outgoing.datagram_room();
                Ok(())
            }
            Input::Datagram(bytes) => self.receive_datagram(&bytes),
            Input::Path { .. } => Ok(()),
            Input::Closed(closed) => {
                self.over(closed);
                Ok(())
            }
        }
    }

    fn expire(&mut self, timer: Timer) -> Result<(), Close> {
        match timer {
            Timer::Setup => Err(Close::new(
                SessionCode::ControlMessageTimeout,
                "V96: the peer did not complete the set-up in time",
            )),
            Timer::GoAway => self.goaway_expired(),
            Timer::RequestGoAway(id) => {
                self.request_goaway_expired(id);
                Ok(())
            }
            Timer::RequestGap => self.request_gap_expired(),
            Timer::Drain(stream) => {
                let code = self.reset_number(ResetCode::Cancelled);
                self.topology.abandon(stream, code);
                Ok(())
            }
        }
    }

    /// The one place where a broken rule ends the session.
    fn settle(&mut self, result: Result<(), Close>) {
        let result = result.and_then(|()| self.data_received()).and_then(|()| {
            if self.topology.backlog() > self.settings.limits.max_control_backlog {
                return Err(Close::new(
                    SessionCode::ControlMessageTimeout,
                    "the peer does not take control messages",
                ));
            }
            Ok(())
        });
        if let Err(close) = result
            && !self.is_closed()
        {
            self.failure = Some(close);
            self.end(
                close.code,
                Bytes::from_static(close.rule.as_bytes()),
                Closed::ByUs,
            );
        }
    }

    fn end(&mut self, code: SessionCode, reason: Bytes, closed: Closed) {
        self.close = Some((code, reason));
        self.over(closed);
    }

    /// The session is over: nothing is sent, received or awaited any more.
    fn over(&mut self, closed: Closed) {
        if self.is_closed() {
            return;
        }
        self.phase = Phase::Closed;
        self.topology.clear();
        self.incoming = Incoming::new(self.profile, &self.settings.limits);
        self.outgoing = Outgoing::new(&self.settings.limits);
        self.closing.clear();
        self.requests = Requests::new(&self.settings.limits);
        self.timers.clear();
        self.asked = None;
        self.events.push_back(Event::Closed(closed));
    }

    /// A number for a stream that we open.
    const fn next_local_stream(&mut self) -> StreamId {
        let stream = StreamId::local(self.next_stream);
        self.next_stream += 1;
        stream
    }

    fn reset_number(&self, code: ResetCode) -> u64 {
        code.to_wire(self.profile.draft)
    }

    fn encode(&self, message: &Message, channel: Channel) -> Result<Bytes, Misuse> {
        let origin = Origin {
            profile: self.profile,
            sender: self.settings.role,
            channel,
        };
        Ok(message.encode(origin)?)
    }

    /// Whether what is to be said about a request can be said.
    fn encode_for(&self, id: RequestId, message: &Message) -> Result<Bytes, Misuse> {
        let has_own = self
            .requests
            .find(id)
            .is_some_and(|open| open.stream.is_some());
        let channel = if has_own {
            Channel::Request
        } else {
            Channel::Control
        };
        self.encode(message, channel)
    }

    /// The id that a response or the like carries, where requests share a stream.
    fn carried(&self, id: RequestId) -> Option<RequestId> {
        self.profile.responses_carry_request_id.then_some(id)
    }

    /// The stream on which a request is talked about.
    fn stream_of(&self, id: RequestId) -> Option<StreamId> {
        let own = self.requests.find(id).and_then(|open| open.stream);
        own.or(self.topology.control)
    }

    /// Says something about a request.
    fn say(&mut self, id: RequestId, message: &Message) -> Result<(), Misuse> {
        let bytes = self.encode_for(id, message)?;
        if let Some(stream) = self.stream_of(id) {
            self.note(Direction::Sent, message);
            self.topology.send(stream, bytes);
        }
        Ok(())
    }

    /// Says something that belongs to no request.
    fn say_on_control(&mut self, message: &Message) -> Result<(), Misuse> {
        let bytes = self.encode(message, Channel::Control)?;
        if let Some(stream) = self.topology.control {
            self.note(Direction::Sent, message);
            self.topology.send(stream, bytes);
        }
        Ok(())
    }

    /// Notes a message for the trace, if one is wanted.
    fn note(&mut self, direction: Direction, message: &Message) {
        if let Some(trace) = &mut self.trace {
            trace.note(direction, message);
        }
    }

    fn can_request(&mut self) {
        if self.wants_request {
            self.wants_request = false;
            self.events.push_back(Event::CanRequest);
        }
    }

    fn check_open(&self) -> Result<(), Misuse> {
        match self.phase {
            Phase::Established => Ok(()),
            Phase::Unconnected | Phase::SettingUp => Err(Misuse::NotEstablished),
            Phase::Closed => Err(Misuse::Closed),
        }
    }
}

#[cfg(test)]
mod tests;
