//! A publisher and its audience, all in one program without sockets: who subscribes, who never reads, who got what.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use oxymoq::client::Server;
use oxymoq::url::ServerUrl;
use oxymoq_core::code::{DoneCode, SessionCode};
use oxymoq_core::draft::Draft;
use oxymoq_core::fanout::{self, Fanout, Fault, IngestId, SourceId, TrackId};
use oxymoq_core::ledger::Ledger;
use oxymoq_core::peers::Peers;
use oxymoq_core::publisher::Publisher;
use oxymoq_core::session::{Event, Request, Response, StreamEnd};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{
    Admission, Answer, Application, ConnectionId, Dir, Exit, Incoming, Input, Output, StreamId,
    Target,
};
use oxymoq_core::wire::id::{GroupId, Location, ObjectId, RequestId, SubgroupId};
use oxymoq_core::wire::message::{PublishNamespace, Subscribe};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::object::{ObjectHeader, ObjectStatus, SubgroupHeader};
use oxymoq_core::wire::param::Parameters;
use oxymoq_core::wire::property::Properties;

/// Bytes of an object.
pub(crate) const OBJECT: usize = 16 << 10;
/// Objects in a group, which has one stream.
const GROUP: usize = 8;
/// Objects that are published before the whole audience has the first of them.
const AHEAD: usize = 8;
/// Handshakes at once: fewer than make a server ask for proof of the address.
const ARRIVING: usize = 32;
/// Far longer than anything here takes, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(240);

/// Who comes, and what is shown.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The relay's port on this machine.
    pub(crate) port: u16,
    /// How the audience speaks: URL scheme and draft, in turns.
    pub(crate) ways: Vec<(&'static str, Draft)>,
    /// How many listen.
    pub(crate) audience: usize,
    /// Objects to publish; 0: nobody publishes or subscribes.
    pub(crate) objects: usize,
    /// Whether there is one more subscriber, who never reads.
    pub(crate) with_deaf: bool,
}

/// The program. `milestone` is called when everybody is there, and when everybody has everything.
pub(crate) struct Hall<F> {
    plan: Plan,
    milestone: F,
    publisher: Publisher,
    track: TrackId,
    name: FullTrackName,
    stage: Option<ConnectionId>,
    /// Who subscribes and never reads a stream of objects.
    deaf: Option<Deaf>,
    listeners: BTreeMap<ConnectionId, Listener>,
    /// Those that are connected, and subscribed if there is something to subscribe to.
    seated: usize,
    arriving: usize,
    open: bool,
    stream: Option<IngestId>,
    sent: usize,
    /// How many listeners have each object; an object that all have is not counted any more.
    received: BTreeMap<usize, usize>,
    /// Objects that the whole audience has.
    heard: usize,
    give_up: Option<Time>,
    exit: Option<Exit>,
}

#[derive(Debug)]
struct Deaf {
    connection: ConnectionId,
    subscribed: bool,
    /// Streams of objects, which nobody looks at.
    unread: BTreeSet<StreamId>,
    done: bool,
}

/// One of the audience.
#[derive(Debug, Default)]
struct Listener {
    streams: BTreeMap<StreamId, Reading>,
    received: BTreeSet<usize>,
}

/// What is being received on a stream.
#[derive(Clone, Copy, Debug)]
struct Reading {
    group: u64,
    index: usize,
    missing: u64,
}

impl<F: FnMut(&str)> Hall<F> {
    pub(crate) fn new(plan: Plan, milestone: F) -> Self {
        let mut fanout = Fanout::new(fanout::Limits::default(), Ledger::new(64 << 20));
        let track = fanout
            .open_track(Draft::D18, Properties::default(), None)
            .unwrap();
        let namespace = TrackNamespace::new([Bytes::from_static(b"crowd")]).unwrap();
        let name = FullTrackName::new(
            namespace,
            TrackName::new(Bytes::from_static(b"all")).unwrap(),
        )
        .unwrap();
        let mut hall = Self {
            plan,
            milestone,
            publisher: Publisher::new(Peers::default(), fanout),
            track,
            name,
            stage: None,
            deaf: None,
            listeners: BTreeMap::new(),
            seated: 0,
            arriving: 0,
            open: false,
            stream: None,
            sent: 0,
            received: BTreeMap::new(),
            heard: 0,
            give_up: None,
            exit: None,
        };
        if hall.plan.objects == 0 {
            hall.open = true;
            hall.invite();
        } else {
            hall.stage = Some(hall.connect("moqt", Draft::D18));
        }
        hall
    }

    fn connect(&mut self, scheme: &str, draft: Draft) -> ConnectionId {
        let url = format!("{scheme}://127.0.0.1:{}/moq", self.plan.port);
        let server = Server::new(ServerUrl::parse(&url).unwrap(), false);
        let peers = &mut self.publisher.peers;
        peers.connect(server.peer(&[draft]), server.target(&[draft]))
    }

    /// Lets in as many as may arrive at once.
    fn invite(&mut self) {
        if self.deaf.is_none() && self.plan.with_deaf {
            let connection = self.connect("moqt", Draft::D18);
            self.arriving += 1;
            self.deaf = Some(Deaf {
                connection,
                subscribed: false,
                unread: BTreeSet::new(),
                done: false,
            });
        }
        while self.arriving < ARRIVING && self.listeners.len() < self.plan.audience {
            let turn = self.listeners.len() % self.plan.ways.len();
            let (scheme, draft) = self.plan.ways[turn];
            let connection = self.connect(scheme, draft);
            self.listeners.insert(connection, Listener::default());
            self.arriving += 1;
        }
    }

    fn drain(&mut self, now: Time) {
        while let Some((connection, event)) = self.publisher.poll_event() {
            if let ControlFlow::Break(why) = self.handle_event(now, connection, event) {
                self.fail(now, &format!("{connection}: {why}"));
            }
        }
        while self.publisher.poll_notice().is_some() {}
        self.publish(now);
    }

    fn handle_event(
        &mut self,
        now: Time,
        connection: ConnectionId,
        event: Event,
    ) -> ControlFlow<String> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "whatever else a relay may tell is of no interest here"
        )]
        match event {
            Event::Established { .. } if Some(connection) == self.stage => {
                let announcement = PublishNamespace {
                    request_id: RequestId(0),
                    namespace: self.name.namespace.clone(),
                    parameters: Parameters::default(),
                };
                self.ask(now, connection, Request::PublishNamespace(announcement))?;
            }
            Event::Response {
                response: Response::Ok(_),
                ..
            } => {
                self.open = true;
                self.invite();
            }
            Event::Request {
                id,
                request: Request::Subscribe(subscribe),
            } => {
                let parameters = &subscribe.parameters;
                let publisher = &mut self.publisher;
                publisher.serve(now, connection, id, self.track, parameters);
            }
            Event::Established { .. } if self.plan.objects == 0 => self.seat(),
            Event::Established { .. } => {
                let subscribe = Subscribe {
                    request_id: RequestId(0),
                    track: self.name.clone(),
                    parameters: Parameters::default(),
                };
                self.ask(now, connection, Request::Subscribe(subscribe))?;
            }
            Event::Response {
                response: Response::SubscribeOk(_),
                ..
            } => {
                if let Some(deaf) = self.deaf.as_mut().filter(|it| it.connection == connection) {
                    deaf.subscribed = true;
                }
                self.seat();
            }
            Event::Response {
                response: Response::Error(refusal),
                ..
            } => return ControlFlow::Break(format!("refused: {refusal:?}")),
            Event::Done { done, .. } => {
                let deaf = self.deaf.as_mut().filter(|it| it.connection == connection);
                match deaf {
                    Some(deaf) if done.code == DoneCode::TooFarBehind => deaf.done = true,
                    _ => return ControlFlow::Break(format!("the subscription ended: {done:?}")),
                }
            }
            Event::Closed(closed) if self.exit.is_none() => {
                let why = self.publisher.peers.why_closed(connection, &closed);
                return ControlFlow::Break(why);
            }
            event => return self.listen(connection, event),
        }
        ControlFlow::Continue(())
    }

    fn ask(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: Request,
    ) -> ControlFlow<String> {
        let session = self.publisher.peers.session(connection).unwrap();
        match session.request(now, request) {
            Ok(_) => ControlFlow::Continue(()),
            Err(misuse) => ControlFlow::Break(misuse.to_string()),
        }
    }

    /// One more has arrived for good.
    fn seat(&mut self) {
        self.seated += 1;
        self.arriving -= 1;
        self.invite();
        if self.is_full() {
            (self.milestone)("connected");
            if self.plan.objects == 0 {
                self.exit = Some(Exit::Success);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.seated == self.listeners.len() + usize::from(self.deaf.is_some())
            && self.listeners.len() == self.plan.audience
    }

    /// What a listener hears: every object once, whole, with the bytes that were published.
    fn listen(&mut self, connection: ConnectionId, event: Event) -> ControlFlow<String> {
        let Some(listener) = self.listeners.get_mut(&connection) else {
            return ControlFlow::Continue(());
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "whatever else a relay may tell is of no interest here"
        )]
        match event {
            Event::SubgroupOpened { stream, header, .. } => {
                let reading = Reading {
                    group: header.group.0,
                    index: 0,
                    missing: 0,
                };
                listener.streams.insert(stream, reading);
            }
            Event::Object { stream, object } => {
                let reading = listener.streams.get_mut(&stream).unwrap();
                reading.index = index(reading.group, object.id);
                reading.missing = object.payload_length;
            }
            Event::Payload { stream, bytes } => {
                let reading = listener.streams.get_mut(&stream).unwrap();
                if bytes.iter().any(|byte| *byte != fill(reading.index)) {
                    return ControlFlow::Break(format!("object {} is damaged", reading.index));
                }
                reading.missing -= number(bytes.len());
                if reading.missing == 0 {
                    let index = reading.index;
                    if !listener.received.insert(index) {
                        return ControlFlow::Break(format!("object {index} came twice"));
                    }
                    *self.received.entry(index).or_default() += 1;
                }
            }
            Event::SubgroupEnded { stream, end } => {
                let reading = listener.streams.remove(&stream);
                if end != StreamEnd::Fin || reading.is_none_or(|reading| reading.missing > 0) {
                    return ControlFlow::Break(format!("a stream ended with {end:?}"));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Publishes what the audience is ready for, which does not wait for whoever never reads.
    fn publish(&mut self, now: Time) {
        if !self.is_full() || self.exit.is_some() || self.plan.objects == 0 {
            return;
        }
        while self.received.get(&self.heard) == Some(&self.plan.audience) {
            self.received.remove(&self.heard);
            self.heard += 1;
        }
        while self.sent < self.plan.objects && self.sent < self.heard + AHEAD {
            if let Err(fault) = self.publish_object(now) {
                return self.fail(now, &format!("the publisher itself: {fault:?}"));
            }
        }
        let deaf_is_out = self.deaf.as_ref().is_none_or(|deaf| deaf.done);
        if self.heard == self.plan.objects && deaf_is_out {
            (self.milestone)("served");
            self.leave(now, Exit::Success);
        }
    }

    fn publish_object(&mut self, now: Time) -> Result<(), Fault> {
        let fanout = &mut self.publisher.fanout;
        let place = location(self.sent);
        let stream = match self.stream {
            Some(stream) => stream,
            None => {
                let header = SubgroupHeader {
                    group: place.group,
                    subgroup: SubgroupId(0),
                    priority: None,
                    end_of_group: true,
                    first_object: true,
                };
                let stream = fanout.open_subgroup(now, self.track, SourceId(0), header)?;
                *self.stream.insert(stream)
            }
        };
        let header = ObjectHeader {
            id: place.object,
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            payload_length: number(OBJECT),
        };
        fanout.begin_object(now, stream, header)?;
        fanout.payload(now, stream, &vec![fill(self.sent); OBJECT])?;
        self.sent += 1;
        if self.sent.is_multiple_of(GROUP) || self.sent == self.plan.objects {
            self.stream = None;
            fanout.end_subgroup(now, stream, StreamEnd::Fin)?;
        }
        Ok(())
    }

    fn fail(&mut self, now: Time, why: &str) {
        let state = format!(
            "{} seated of {}, {} objects sent, {} heard by all, who never reads: {:?}",
            self.seated, self.plan.audience, self.sent, self.heard, self.deaf
        );
        self.leave(now, Exit::Failure(format!("{why} ({state})")));
    }

    fn leave(&mut self, now: Time, exit: Exit) {
        if self.exit.is_none() {
            self.exit = Some(exit);
            let peers = &mut self.publisher.peers;
            peers.close_all(now, SessionCode::NoError, "");
        }
    }

    /// Whether this is news of a stream that is never read.
    fn goes_unheard(&mut self, connection: ConnectionId, input: &Input) -> bool {
        let Some(deaf) = self.deaf.as_mut().filter(|it| it.connection == connection) else {
            return false;
        };
        match input {
            Input::Opened {
                stream,
                dir: Dir::Uni,
            } if deaf.subscribed => deaf.unread.insert(*stream),
            Input::Readable(stream) => deaf.unread.contains(stream),
            Input::Opened { .. }
            | Input::Connected { .. }
            | Input::Writable(_)
            | Input::Stopped { .. }
            | Input::Acked(_)
            | Input::CanOpen(_)
            | Input::Datagram(_)
            | Input::DatagramRoom
            | Input::Path { .. }
            | Input::Closed(_) => false,
        }
    }
}

fn number(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

/// Where the object of this index is.
fn location(index: usize) -> Location {
    Location {
        group: GroupId(number(index / GROUP)),
        object: ObjectId(number(index % GROUP)),
    }
}

fn index(group: u64, object: ObjectId) -> usize {
    usize::try_from(group).unwrap() * GROUP + usize::try_from(object.0).unwrap()
}

/// What the object of this index is full of.
fn fill(index: usize) -> u8 {
    u8::try_from(index % 251).unwrap()
}

impl<F: FnMut(&str)> Application for Hall<F> {
    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        Admission::Refuse
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.give_up.get_or_insert(now + PATIENCE);
        if !self.goes_unheard(connection, &input) {
            self.publisher.handle_input(now, connection, input);
            self.drain(now);
        }
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.publisher.handle_answer(now, connection, answer);
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.publisher.handle_timeout(now);
        if self.give_up.is_some_and(|give_up| give_up <= now) {
            self.give_up = Some(now + PATIENCE);
            self.fail(now, "nothing moves any more");
        }
        self.drain(now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.fail(now, "interrupted");
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        let dirty = self.publisher.poll_dirty();
        self.drain(self.publisher.now);
        dirty
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        let output = self.publisher.poll_output(now, connection);
        self.drain(now);
        output
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.publisher.peers.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let give_up = self.give_up.map(|at| (at, "patience"));
        [self.publisher.poll_timeout(), give_up]
            .into_iter()
            .flatten()
            .min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        self.exit.clone()
    }
}
