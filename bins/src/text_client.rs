//! The text client: subscribes to a track and prints its objects, one a line.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use oxymoq_core::code::{DoneCode, ResetCode, SessionCode};
use oxymoq_core::draft::{Draft, Parameter};
use oxymoq_core::peers::Peers;
use oxymoq_core::session::{Event, Refusal, Request, Response, StreamEnd};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, StreamId, Target,
};
use oxymoq_core::wire::id::RequestId;
use oxymoq_core::wire::message::{PublishDone, Subscribe};
use oxymoq_core::wire::name::FullTrackName;
use oxymoq_core::wire::object::{ObjectHeader, ObjectStatus};
use oxymoq_core::wire::param::Parameters;
use oxymoq_core::wire::property::{IMMUTABLE_PROPERTIES, Properties, Value};

use crate::client::{self, NoData, Server};
use crate::mlog::Mlog;

/// An object larger than this is no text: the client gives up rather than hold it.
const MAX_OBJECT_BYTES: u64 = 16 << 20;

/// What to subscribe to, and for how long.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The track.
    pub track: FullTrackName,
    /// Filter, priority, timeouts.
    pub parameters: Parameters,
    /// Unsubscribe this long after the server agreed; `None`: when the track ends.
    pub unsubscribe_after: Option<Duration>,
    /// How long the server may take to answer.
    pub transaction_timeout: Duration,
}

/// The program, without its sockets. Objects are written to `out`.
#[derive(Debug)]
pub struct TextClient<W> {
    wish: Wish,
    server: Server,
    peers: Peers,
    connection: ConnectionId,
    state: State,
    objects: BTreeMap<StreamId, Partial>,
    /// What the publisher ended the subscription with, while objects may still be on their way.
    done: Option<PublishDone>,
    mlog: Mlog,
    out: W,
    exit: Option<Exit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Asked {
        request: RequestId,
        give_up: Time,
    },
    Subscribed {
        request: RequestId,
        until: Option<Time>,
    },
    Leaving,
}

/// An object of which not all has arrived.
#[derive(Debug)]
struct Partial {
    header: ObjectHeader,
    payload: BytesMut,
}

impl<W: Write> TextClient<W> {
    /// A client that will connect to `server` and print to `out`; what the two say is written to `mlog`.
    pub fn new(server: Server, drafts: &[Draft], wish: Wish, out: W, mlog: Mlog) -> Self {
        let mut peers = Peers::default();
        mlog.watch(&mut peers);
        let connection = peers.connect(server.peer(drafts), server.target(drafts));
        Self {
            wish,
            server,
            peers,
            connection,
            state: State::Connecting,
            objects: BTreeMap::new(),
            done: None,
            mlog,
            out,
            exit: None,
        }
    }

    fn drain(&mut self, now: Time) {
        self.mlog.write_messages(now, &mut self.peers);
        while let Some((connection, event)) = self.peers.poll_event() {
            self.mlog.write_event(now, connection, &event);
            self.handle_event(now, event);
        }
    }

    fn handle_event(&mut self, now: Time, event: Event) {
        match event {
            Event::Established { draft, setup } => {
                log::info!(
                    "connected to {} with {} ({})",
                    self.server.url(),
                    draft.profile().alpn,
                    client::implementation(&setup)
                );
                self.subscribe(now, draft);
            }
            Event::Response { response, .. } => self.handle_response(now, response),
            Event::Object { stream, object } => self.begin(now, stream, object),
            Event::Payload { stream, bytes } => self.append(now, stream, &bytes),
            Event::SubgroupEnded { stream, end } => {
                self.objects.remove(&stream);
                if let StreamEnd::Reset(code) = end {
                    self.print(now, format_args!("Stream Error={code}"));
                }
            }
            Event::Datagram { object, .. } => {
                self.print_object(now, object.status, &object.properties, &object.payload);
            }
            Event::Done { done, .. } => self.done = Some(done),
            Event::Settled { .. } => {
                if let Some(done) = self.done.take() {
                    self.handle_done(now, &done);
                }
            }
            Event::Cancelled { id, code } => self.handle_cancelled(now, id, code),
            Event::Request { id, .. } => {
                let refusal = Refusal::new(
                    oxymoq_core::code::RequestCode::NotSupported,
                    "this client only subscribes",
                );
                client::respond(
                    &mut self.peers,
                    now,
                    self.connection,
                    id,
                    Response::Error(refusal),
                );
            }
            Event::GoAway { goaway, .. } => {
                log::warn!(
                    "{} is going away; the subscription goes on while it can (it names '{}' instead)",
                    self.server.url(),
                    goaway.uri.escape_ascii()
                );
            }
            Event::Closed(closed) => {
                let why = self.peers.why_closed(self.connection, &closed);
                self.handle_closed(&why);
            }
            Event::MalformedTrack { rule, .. } => {
                self.fail(
                    now,
                    format!("{} sends a malformed track: {rule}", self.server.url()),
                );
            }
            Event::SubgroupOpened { .. }
            | Event::StreamExpired { .. }
            | Event::CanRequest
            | Event::Update { .. }
            | Event::UpdateResponse { .. }
            | Event::Namespace { .. }
            | Event::NamespaceDone { .. }
            | Event::PublishBlocked { .. }
            | Event::Fetched { .. }
            | Event::StreamStopped { .. }
            | Event::StreamDelivered { .. }
            | Event::CanOpenStream => {}
        }
    }

    fn subscribe(&mut self, now: Time, draft: Draft) {
        let mut parameters = self.wish.parameters.clone();
        if parameters.rendezvous_timeout.is_some() && !takes(draft, Parameter::RendezvousTimeout) {
            log::warn!(
                "--rendezvous_timeout is left out: {} has no such parameter",
                draft.profile().alpn
            );
            parameters.rendezvous_timeout = None;
        }
        let request = Request::Subscribe(Subscribe {
            request_id: RequestId(0),
            track: self.wish.track.clone(),
            parameters,
        });
        let Some(session) = self.peers.session(self.connection) else {
            return;
        };
        match session.request(now, request) {
            Ok(request) => {
                let give_up = now + self.wish.transaction_timeout;
                self.state = State::Asked { request, give_up };
            }
            Err(misuse) => self.fail(
                now,
                format!("cannot subscribe to {}: {misuse}", self.wish.track),
            ),
        }
    }

    fn handle_response(&mut self, now: Time, response: Response) {
        let State::Asked { request, .. } = self.state else {
            return;
        };
        match response {
            Response::SubscribeOk(ok) => {
                match ok.parameters.largest_object {
                    Some(largest) => log::info!(
                        "subscribed to {}; largest so far: {largest}",
                        self.wish.track
                    ),
                    None => log::info!("subscribed to {}; nothing published yet", self.wish.track),
                }
                let until = self.wish.unsubscribe_after.map(|span| now + span);
                self.state = State::Subscribed { request, until };
            }
            Response::Error(refusal) => {
                let track = &self.wish.track;
                let url = self.server.url();
                let reason = refusal.reason.escape_ascii();
                let sentence = format!(
                    "{url} refused the subscription to {track}: {} ({reason})",
                    refusal.code
                );
                self.fail(now, sentence);
            }
            Response::FetchOk(_) | Response::Ok(_) => {}
        }
    }

    fn handle_cancelled(&mut self, now: Time, id: RequestId, code: Option<ResetCode>) {
        if self.state.request() == Some(id) {
            let why = code.map_or_else(String::new, |code| format!(" ({code})"));
            let url = self.server.url();
            let sentence = format!("{url} ended the subscription without a word{why}; try again");
            self.fail(now, sentence);
        }
    }

    fn handle_done(&mut self, now: Time, done: &PublishDone) {
        self.print(now, format_args!("onPublishDone"));
        match done.code {
            DoneCode::TrackEnded | DoneCode::SubscriptionEnded => {
                log::info!(
                    "the subscription is over: {} ({})",
                    done.code,
                    done.reason.escape_ascii()
                );
                self.leave(now, Exit::Success);
            }
            DoneCode::InternalError
            | DoneCode::Unauthorized
            | DoneCode::GoingAway
            | DoneCode::Expired
            | DoneCode::TooFarBehind
            | DoneCode::UpdateFailed
            | DoneCode::ExcessiveLoad
            | DoneCode::MalformedTrack
            | DoneCode::Unknown(_) => self.fail(
                now,
                format!(
                    "{} ended the subscription: {} ({}); subscribe again",
                    self.server.url(),
                    done.code,
                    done.reason.escape_ascii()
                ),
            ),
        }
    }

    fn handle_closed(&mut self, why: &str) {
        if self.exit.is_none() {
            self.exit = Some(Exit::Failure(format!("{}: {why}", self.server.url())));
        }
        self.state = State::Leaving;
    }

    fn begin(&mut self, now: Time, stream: StreamId, header: ObjectHeader) {
        if header.payload_length > MAX_OBJECT_BYTES {
            let length = header.payload_length;
            self.fail(
                now,
                format!("an object of {length} bytes is too large for this client, which prints up to {MAX_OBJECT_BYTES}"),
            );
        } else if header.payload_length == 0 {
            self.print_object(now, header.status, &header.properties, &[]);
        } else {
            self.objects.insert(
                stream,
                Partial {
                    header,
                    payload: BytesMut::new(),
                },
            );
        }
    }

    fn append(&mut self, now: Time, stream: StreamId, bytes: &Bytes) {
        let Some(partial) = self.objects.get_mut(&stream) else {
            return;
        };
        partial.payload.extend_from_slice(bytes);
        let received = u64::try_from(partial.payload.len()).unwrap_or(u64::MAX);
        if received >= partial.header.payload_length
            && let Some(Partial { header, payload }) = self.objects.remove(&stream)
        {
            self.print_object(now, header.status, &header.properties, &payload);
        }
    }

    fn print_object(
        &mut self,
        now: Time,
        status: ObjectStatus,
        properties: &Properties,
        payload: &[u8],
    ) {
        let result = write_object(&mut self.out, status, properties, payload);
        self.written(now, result);
    }

    fn print(&mut self, now: Time, line: std::fmt::Arguments<'_>) {
        let result = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        self.written(now, result);
    }

    fn written(&mut self, now: Time, result: io::Result<()>) {
        match result {
            Ok(()) => {}
            // Whoever read our output has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.leave(now, Exit::Success);
            }
            Err(error) => self.fail(now, format!("cannot write to stdout: {error}")),
        }
    }

    fn fail(&mut self, now: Time, sentence: String) {
        self.leave(now, Exit::Failure(sentence));
    }

    /// Withdraws what was asked for and closes the session; the first reason given is the program's result.
    fn leave(&mut self, now: Time, exit: Exit) {
        self.exit.get_or_insert(exit);
        if self.state == State::Leaving {
            return;
        }
        let request = self.state.request();
        self.state = State::Leaving;
        if let Some(session) = self.peers.session(self.connection) {
            if let Some(request) = request
                && let Err(misuse) = session.cancel(now, request, ResetCode::Cancelled)
            {
                log::debug!("nothing to unsubscribe from: {misuse}");
            }
            session.close(now, SessionCode::NoError, "done");
        }
    }
}

impl State {
    const fn request(self) -> Option<RequestId> {
        match self {
            Self::Asked { request, .. } | Self::Subscribed { request, .. } => Some(request),
            Self::Connecting | Self::Leaving => None,
        }
    }
}

/// Whether a draft has a parameter.
fn takes(draft: Draft, parameter: Parameter) -> bool {
    let mut rows = draft.profile().parameters.iter();
    rows.any(|row| row.parameter == parameter)
}

/// Writes an object as moxygen's text client does: properties first, a line each, then the payload or the status.
fn write_object(
    out: &mut impl Write,
    status: ObjectStatus,
    properties: &Properties,
    payload: &[u8],
) -> io::Result<()> {
    for pair in properties.iter() {
        let Ok((kind, value)) = pair else { break };
        if kind == IMMUTABLE_PROPERTIES {
            continue;
        }
        match value {
            Value::Integer(number) => writeln!(out, "int extension={number}")?,
            Value::Bytes(bytes) => {
                let text = base64::engine::general_purpose::STANDARD.encode(bytes);
                writeln!(out, "data extension={text}")?;
            }
        }
    }
    match status {
        ObjectStatus::Normal => {
            out.write_all(payload)?;
            out.write_all(b"\n")?;
        }
        ObjectStatus::EndOfGroup => writeln!(out, "ObjectStatus=3")?,
        ObjectStatus::EndOfTrack => writeln!(out, "ObjectStatus=4")?,
    }
    out.flush()
}

impl<W: Write> Application for TextClient<W> {
    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        Admission::Refuse
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.peers.handle_input(now, connection, input);
        self.drain(now);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.peers
            .handle_answer(now, connection, answer, &mut NoData);
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.peers.handle_timeout(now);
        self.drain(now);
        match self.state {
            State::Asked { give_up, .. } if give_up <= now => {
                let span = self.wish.transaction_timeout;
                let url = self.server.url().to_string();
                self.fail(
                    now,
                    format!("{url} did not answer the subscription within {span:?}; --transaction_timeout allows more"),
                );
            }
            State::Subscribed {
                until: Some(until), ..
            } if until <= now => {
                log::info!("unsubscribing, as told by --unsubscribe_time");
                self.leave(now, Exit::Success);
            }
            State::Connecting | State::Asked { .. } | State::Subscribed { .. } | State::Leaving => {
            }
        }
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.leave(now, Exit::Success);
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.peers.poll_dirty()
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        let output = self.peers.poll_output(now, connection, &mut NoData);
        self.drain(now);
        output
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.peers.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let own = match self.state {
            State::Asked { give_up, .. } => Some((give_up, "transaction timeout")),
            State::Subscribed { until, .. } => until.map(|until| (until, "unsubscribe time")),
            State::Connecting | State::Leaving => None,
        };
        self.peers.poll_timeout().into_iter().chain(own).min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        if self.peers.is_empty() {
            self.exit.clone()
        } else {
            None
        }
    }
}
