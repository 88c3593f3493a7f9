//! A session whose peer is a script: raw bytes in, outputs out.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::support::{Store, at, fetch_ok, settings, subscribe_ok};
use crate::code::{RequestCode, SessionCode};
use crate::draft::{Draft, Profile};
use crate::session::{Event, Request, Role, Session, Settings};
use crate::time::Time;
use crate::transport::{Answer, Dir, Input, Output, Room, StreamId};
use crate::wire::frame::Framer;
use crate::wire::id::RequestId;
use crate::wire::message::{Channel, FetchOk, Message, Origin, RequestOk, SubscribeOk};

/// What arrived on one stream from a session and was not looked at yet.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) dir: Dir,
    pub(super) bytes: BytesMut,
    pub(super) fin: bool,
    pub(super) reset: Option<u64>,
    pub(super) stop: Option<u64>,
    framer: Option<Framer>,
}

/// A session whose peer is a script.
pub(super) struct Scripted {
    pub(super) session: Session,
    pub(super) draft: Draft,
    pub(super) role: Role,
    pub(super) now: Time,
    pub(super) store: Store,
    pub(super) heard: BTreeMap<StreamId, Heard>,
    to_read: BTreeMap<StreamId, VecDeque<Answer>>,
    next_peer: u64,
    pub(super) close: Option<(u64, Bytes)>,
    pub(super) outputs: Vec<Output>,
    pub(super) events: VecDeque<Event>,
    pub(super) no_streams: bool,
    pub(super) deaf: bool,
    /// Nothing is taken on this stream: the peer has stopped it.
    pub(super) stopped: Option<StreamId>,
    control: Option<StreamId>,
}

impl Scripted {
    /// A session in this role, connected, not set up.
    pub(super) fn connected(draft: Draft, settings: Settings) -> Self {
        let role = settings.role;
        let mut this = Self {
            session: Session::new(settings),
            draft,
            role,
            now: Time::from_micros(1),
            store: Store::default(),
            heard: BTreeMap::new(),
            to_read: BTreeMap::new(),
            next_peer: 0,
            close: None,
            outputs: Vec::new(),
            events: VecDeque::new(),
            no_streams: false,
            deaf: false,
            stopped: None,
            control: None,
        };
        this.input(Input::Connected {
            alpn: Bytes::from_static(draft.profile().alpn.as_bytes()),
            max_datagram: 1200,
        });
        this
    }

    /// A session in this role, set up by a peer that allows 100 requests and no token cache.
    pub(super) fn new(draft: Draft, role: Role) -> Self {
        Self::with(draft, settings(role))
    }

    pub(super) fn with(draft: Draft, settings: Settings) -> Self {
        let mut this = Self::connected(draft, settings);
        this.set_up(&crate::wire::message::Setup {
            max_request_id: (draft == Draft::D16).then_some(200),
            ..Default::default()
        });
        assert!(
            matches!(this.event(), Some(Event::Established { .. })),
            "{:?}",
            this.close
        );
        if let Some(control) = this.control {
            while this.message(control).is_some() {}
        }
        this
    }

    pub(super) fn set_up(&mut self, setup: &crate::wire::message::Setup) {
        let message = Message::Setup(setup.clone());
        let control = self.open_control();
        let bytes = self.encode(&message, Channel::Control);
        self.send(control, &bytes);
    }

    /// The stream on which the peer's control messages go.
    pub(super) fn open_control(&mut self) -> StreamId {
        let control = match (self.draft, self.role) {
            (Draft::D18, _) => self.open(Dir::Uni),
            (Draft::D16, Role::Server) => self.open(Dir::Bi),
            (Draft::D16, Role::Client) => StreamId::local(0),
        };
        self.control = Some(control);
        control
    }

    /// The `n`th request id of the peer's.
    pub(super) const fn theirs(&self, n: u64) -> u64 {
        match self.role {
            Role::Client => 2 * n + 1,
            Role::Server => 2 * n,
        }
    }

    /// A request of the session's, and the stream on which the peer answers it.
    pub(super) fn request(&mut self, request: Request) -> (RequestId, StreamId) {
        let id = self.session.request(self.now, request).unwrap();
        self.pump();
        let stream = self.stream();
        while self.message(stream).is_some() {}
        (id, stream)
    }

    /// A request of the session's that the peer has accepted.
    pub(super) fn accepted(&mut self, request: Request) -> (RequestId, StreamId) {
        let (id, stream) = self.request(request.clone());
        let answer = match request {
            Request::Subscribe(_) => Message::SubscribeOk(SubscribeOk {
                request_id: Some(id),
                ..subscribe_ok(1000 + id.0, Some(at(10, 4)))
            }),
            Request::Fetch(_) => Message::FetchOk(FetchOk {
                request_id: Some(id),
                ..fetch_ok(at(u64::from(u32::MAX), 0))
            }),
            Request::Publish(_) => Message::RequestOk(RequestOk {
                request_id: Some(id),
                publish_ok: true,
                ..RequestOk::default()
            }),
            Request::TrackStatus(_)
            | Request::PublishNamespace(_)
            | Request::SubscribeNamespace(_)
            | Request::SubscribeTracks(_) => Message::RequestOk(RequestOk {
                request_id: Some(id),
                ..RequestOk::default()
            }),
        };
        self.say_on(stream, &answer);
        assert!(
            matches!(self.event(), Some(Event::Response { .. })),
            "{:?}",
            self.session.failure()
        );
        (id, stream)
    }

    /// A request of the peer's that the application hears of.
    pub(super) fn asked(&mut self, message: &Message) -> (RequestId, StreamId) {
        let stream = self.ask(message);
        let Some(Event::Request { id, .. }) = self.event() else {
            panic!(
                "the application was not asked: {:?}",
                self.session.failure()
            );
        };
        (id, stream)
    }

    /// The next message about a request of the peer's.
    #[track_caller]
    pub(super) fn assert_refused(&mut self, stream: StreamId, code: RequestCode) {
        let Some(Message::RequestError(error)) = self.message(stream) else {
            panic!("not refused: {:?}", self.session.failure());
        };
        // Some codes have a substitute in older drafts.
        assert_eq!(error.code.to_wire(self.draft), code.to_wire(self.draft));
        self.assert_alive();
        assert_eq!(self.events.pop_front(), None);
    }

    pub(super) fn control(&self) -> StreamId {
        self.control.expect("a control stream")
    }

    pub(super) fn profile(&self) -> &'static Profile {
        self.draft.profile()
    }

    pub(super) fn encode(&self, message: &Message, channel: Channel) -> Bytes {
        let origin = Origin {
            profile: self.profile(),
            sender: self.role.peer(),
            channel,
        };
        message.encode(origin).unwrap()
    }

    pub(super) fn open(&mut self, dir: Dir) -> StreamId {
        let stream = StreamId::peer(self.next_peer);
        self.next_peer += 1;
        self.heard.insert(stream, Heard::new(dir));
        self.input(Input::Opened { stream, dir });
        stream
    }

    /// The peer sends bytes on a stream.
    pub(super) fn send(&mut self, stream: StreamId, bytes: &[u8]) {
        self.answer_read(stream, Answer::Data(Bytes::copy_from_slice(bytes)));
    }

    /// Bytes that wait in the transport until the session reads.
    pub(super) fn hold(&mut self, stream: StreamId, bytes: &[u8]) {
        let answer = Answer::Data(Bytes::copy_from_slice(bytes));
        self.to_read.entry(stream).or_default().push_back(answer);
    }

    /// An end that waits in the transport until the session reads.
    pub(super) fn hold_fin(&mut self, stream: StreamId) {
        self.to_read
            .entry(stream)
            .or_default()
            .push_back(Answer::Fin);
    }

    pub(super) fn send_fin(&mut self, stream: StreamId) {
        self.answer_read(stream, Answer::Fin);
    }

    pub(super) fn send_reset(&mut self, stream: StreamId, code: u64) {
        self.answer_read(stream, Answer::Reset(code));
    }

    pub(super) fn send_stop(&mut self, stream: StreamId, code: u64) {
        self.input(Input::Stopped { stream, code });
    }

    /// The transport lost the stream, with its connection.
    pub(super) fn lose(&mut self, stream: StreamId) {
        self.answer_read(stream, Answer::Gone);
    }

    fn answer_read(&mut self, stream: StreamId, answer: Answer) {
        self.to_read.entry(stream).or_default().push_back(answer);
        self.input(Input::Readable(stream));
    }

    /// The peer sends a message on its control stream.
    pub(super) fn say(&mut self, message: &Message) {
        let bytes = self.encode(message, Channel::Control);
        self.send(self.control.unwrap(), &bytes);
    }

    /// The peer sends a message about a request on a stream.
    pub(super) fn say_on(&mut self, stream: StreamId, message: &Message) {
        let channel = if Some(stream) == self.control {
            Channel::Control
        } else {
            Channel::Request
        };
        let bytes = self.encode(message, channel);
        self.send(stream, &bytes);
    }

    /// The peer makes a request: on a stream of its own where the draft wants that. The stream to go on with.
    pub(super) fn ask(&mut self, message: &Message) -> StreamId {
        let own = self.draft == Draft::D18 || matches!(message, Message::SubscribeNamespace(_));
        let stream = if own {
            self.open(Dir::Bi)
        } else {
            self.control.unwrap()
        };
        self.say_on(stream, message);
        stream
    }

    /// The stream on which a request of the session's is talked about.
    pub(super) fn last_request_stream(&self) -> StreamId {
        let own = self
            .heard
            .iter()
            .rev()
            .find(|(stream, heard)| stream.is_local() && heard.dir == Dir::Bi)
            .map(|(stream, _)| *stream);
        own.unwrap_or(StreamId::local(0))
    }

    /// The stream where the session talks about its last request, or about a request that the peer made.
    pub(super) fn stream(&self) -> StreamId {
        match self.draft {
            Draft::D18 => self.last_request_stream(),
            Draft::D16 => self.control.unwrap(),
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        self.session.handle_input(self.now, input);
        self.pump();
    }

    /// Time passes, with deadlines kept.
    pub(super) fn pass(&mut self, span: std::time::Duration) {
        let end = self.now + span;
        while let Some((at, _)) = self.session.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.pump();
        }
        self.now = end;
    }

    pub(super) fn pump(&mut self) {
        loop {
            while let Some(event) = self.session.poll_event() {
                self.events.push_back(event);
            }
            let Some(output) = self.session.poll_output(self.now, &mut self.store) else {
                break;
            };
            self.outputs.push(output.clone());
            if let Some(answer) = self.carry_out(output) {
                self.session
                    .handle_answer(self.now, answer, &mut self.store);
            }
        }
        while let Some(event) = self.session.poll_event() {
            self.events.push_back(event);
        }
    }

    #[track_caller]
    fn opened(&mut self, stream: StreamId) -> &mut Heard {
        self.heard.get_mut(&stream).expect("an open stream")
    }

    fn carry_out(&mut self, output: Output) -> Option<Answer> {
        match output {
            Output::Open { stream, dir } => {
                if self.no_streams && dir == Dir::Bi {
                    return Some(Answer::Blocked);
                }
                assert!(self.heard.insert(stream, Heard::new(dir)).is_none());
                Some(Answer::Done)
            }
            Output::Write {
                stream, bytes, fin, ..
            } => {
                if self.stopped == Some(stream) {
                    return Some(Answer::Gone);
                }
                if self.deaf {
                    return Some(Answer::Wrote {
                        taken: 0,
                        room: Room::StreamFull,
                    });
                }
                let heard = self.opened(stream);
                assert!(!heard.fin && heard.reset.is_none(), "write after the end");
                heard.bytes.extend_from_slice(&bytes);
                heard.fin = fin;
                Some(Answer::Wrote {
                    taken: bytes.len(),
                    room: Room::More,
                })
            }
            Output::Read { stream, .. } => {
                let answer = self.to_read.get_mut(&stream).and_then(VecDeque::pop_front);
                Some(answer.unwrap_or(Answer::Blocked))
            }
            Output::Datagram(_) => Some(Answer::Done),
            Output::Reset { stream, code } => {
                self.opened(stream).reset = Some(code);
                None
            }
            Output::Stop { stream, code } => {
                self.opened(stream).stop = Some(code);
                None
            }
            Output::Priority { .. } | Output::AllowStreams { .. } | Output::ReceiveWindow(_) => {
                None
            }
            Output::Close { code, reason } => {
                assert!(self.close.is_none(), "one close is enough");
                self.close = Some((code, reason));
                None
            }
        }
    }

    /// The next event.
    pub(super) fn event(&mut self) -> Option<Event> {
        self.pump();
        self.events.pop_front()
    }

    /// The next message of the session on a stream.
    pub(super) fn message(&mut self, stream: StreamId) -> Option<Message> {
        self.pump();
        let integers = self.profile().integers;
        let origin = Origin {
            profile: self.profile(),
            sender: self.role,
            channel: if self.is_control(stream) {
                Channel::Control
            } else {
                Channel::Request
            },
        };
        let heard = self.heard.get_mut(&stream)?;
        let framer = heard.framer.get_or_insert_with(|| Framer::new(integers));
        framer.push(&std::mem::take(&mut heard.bytes));
        let frame = framer.next_frame()?;
        Some(Message::decode(origin, frame.number, &frame.body).unwrap())
    }

    fn is_control(&self, stream: StreamId) -> bool {
        match self.draft {
            Draft::D18 => self
                .heard
                .get(&stream)
                .is_some_and(|heard| heard.dir == Dir::Uni),
            Draft::D16 => self.control == Some(stream) || stream == StreamId::local(0),
        }
    }

    /// Asserts that the session closed because of this rule (a number of the table of violations, or words of the
    /// reason), with one output and one event.
    #[track_caller]
    pub(super) fn assert_closed(&mut self, code: SessionCode, rule: &str) {
        self.pump();
        let failure = self.session.failure();
        assert!(failure.is_some(), "the session lives");
        let (failed, broken) = failure.unwrap();
        let is_number = rule
            .strip_prefix('V')
            .is_some_and(|number| number.parse::<u8>().is_ok());
        if is_number {
            let found = broken.split(':').next();
            assert_eq!(found, Some(rule), "{broken}");
        } else {
            assert!(broken.contains(rule), "{broken}");
        }
        assert_eq!(failed, code, "{broken}");
        let (sent, reason) = self.close.clone().expect("no close was sent");
        assert_eq!(sent, code.to_wire(self.draft));
        assert_eq!(reason, broken);
        let closed = self
            .events
            .iter()
            .filter(|event| matches!(event, Event::Closed(_)))
            .count();
        assert_eq!(closed, 1);
        assert!(self.session.is_closed());
        assert!(!self.session.is_dirty());
        assert_eq!(self.session.poll_timeout(), None);
    }

    #[track_caller]
    pub(super) fn assert_alive(&mut self) {
        self.pump();
        assert_eq!(self.session.failure(), None);
        assert!(!self.session.is_closed());
    }
}

impl Heard {
    fn new(dir: Dir) -> Self {
        Self {
            dir,
            bytes: BytesMut::new(),
            fin: false,
            reset: None,
            stop: None,
            framer: None,
        }
    }
}
