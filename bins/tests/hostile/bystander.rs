//! Those who behave: a publisher whose objects come as regularly as a clock's, and two subscribers that must get them all.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use oxymoq::client::Server;
use oxymoq::url::ServerUrl;
use oxymoq_core::code::{RequestCode, SessionCode};
use oxymoq_core::draft::Draft;
use oxymoq_core::fanout::{self, Fanout, Fault, IngestId, SourceId, TrackId};
use oxymoq_core::ledger::Ledger;
use oxymoq_core::peers::Peers;
use oxymoq_core::publisher::Publisher;
use oxymoq_core::runtime::TransportSettings;
use oxymoq_core::session::{Event, Refusal, Request, Response, StreamEnd};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, StreamId, Target,
};
use oxymoq_core::wire::id::{GroupId, ObjectId, RequestId, SubgroupId};
use oxymoq_core::wire::message::{PublishNamespace, Subscribe};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::object::{ObjectHeader, ObjectStatus, SubgroupHeader};
use oxymoq_core::wire::param::Parameters;
use oxymoq_core::wire::property::Properties;

use crate::wire;

/// The namespace that is announced, and the track under it.
pub(crate) const NAMESPACE: &[u8] = b"bystander";
const TRACK: &[u8] = b"clock";

/// Between two objects.
const PERIOD: Duration = Duration::from_millis(20);
/// Bytes of an object.
const OBJECT: usize = 1000;
/// Objects in a group, which has one stream.
const GROUP: u64 = 25;
/// How the subscribers speak.
const WAYS: [(&str, Draft); 2] = [("moqt", Draft::D18), ("https", Draft::D16)];
/// Far longer than anything here takes, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(200);

/// The track that the bystanders publish.
pub(crate) fn track() -> FullTrackName {
    let namespace = TrackNamespace::new([NAMESPACE]).unwrap();
    FullTrackName::new(namespace, TrackName::new(TRACK).unwrap()).unwrap()
}

/// The bystanders, at work in a thread of their own.
pub(crate) struct Bystanders {
    progress: Arc<Progress>,
    thread: JoinHandle<()>,
}

/// What they got in all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    /// Objects to each.
    pub(crate) objects: u64,
    pub(crate) subscribers: usize,
    /// The longest time from when an object was handed over to when a subscriber had it.
    pub(crate) worst: Duration,
}

#[derive(Debug, Default)]
struct Progress {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Clone, Debug, Default)]
struct State {
    sent: u64,
    /// Objects that every subscriber has.
    received: u64,
    worst: Duration,
    is_to_end: bool,
    ended: Option<Result<(), String>>,
}

impl Bystanders {
    pub(crate) fn start(port: u16) -> Self {
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let thread = thread::spawn(move || {
            let mut program = Program::new(port, Arc::clone(&shared));
            let result = match wire::run(&mut program, TransportSettings::default()) {
                Exit::Success => Ok(()),
                Exit::Failure(why) => Err(why),
            };
            shared.state.lock().unwrap().ended = Some(result);
            shared.moved.notify_all();
        });
        Self { progress, thread }
    }

    /// How many objects were published so far.
    pub(crate) fn sent(&self) -> u64 {
        self.progress.state.lock().unwrap().sent
    }

    /// Waits until every subscriber has so many.
    pub(crate) fn wait_for(&self, objects: u64) {
        let state = self.progress.state.lock().unwrap();
        let (state, waited) = self
            .progress
            .moved
            .wait_timeout_while(state, PATIENCE, |state| {
                state.received < objects && state.ended.is_none()
            })
            .unwrap();
        assert!(
            !waited.timed_out() && state.ended.is_none(),
            "not served: {state:?}"
        );
    }

    /// Publishes no more, and waits until everybody has everything.
    pub(crate) fn end(self) -> Served {
        self.progress.state.lock().unwrap().is_to_end = true;
        self.thread.join().unwrap();
        let state = self.progress.state.lock().unwrap().clone();
        assert_eq!(state.ended, Some(Ok(())), "{state:?}");
        assert_eq!(state.sent, state.received, "{state:?}");
        Served {
            objects: state.received,
            subscribers: WAYS.len(),
            worst: state.worst,
        }
    }
}

/// All of them in one program.
struct Program {
    progress: Arc<Progress>,
    port: u16,
    publisher: Publisher,
    track: TrackId,
    stage: ConnectionId,
    listeners: BTreeMap<ConnectionId, Listener>,
    subscribed: usize,
    stream: Option<IngestId>,
    sent: Vec<Time>,
    next: Option<Time>,
    give_up: Option<Time>,
    leaving: bool,
    exit: Option<Exit>,
}

#[derive(Debug, Default)]
struct Listener {
    streams: BTreeMap<StreamId, Reading>,
    received: BTreeSet<u64>,
}

/// What is being received on a stream.
#[derive(Clone, Copy, Debug)]
struct Reading {
    group: u64,
    next: u64,
    missing: u64,
}

impl Program {
    fn new(port: u16, progress: Arc<Progress>) -> Self {
        let mut fanout = Fanout::new(fanout::Limits::default(), Ledger::new(64 << 20));
        let track = fanout
            .open_track(Draft::D18, Properties::default(), None)
            .unwrap();
        let mut program = Self {
            progress,
            port,
            publisher: Publisher::new(Peers::default(), fanout),
            track,
            stage: ConnectionId(0),
            listeners: BTreeMap::new(),
            subscribed: 0,
            stream: None,
            sent: Vec::new(),
            next: None,
            give_up: None,
            leaving: false,
            exit: None,
        };
        program.stage = program.connect("moqt", Draft::D18);
        program
    }

    fn connect(&mut self, scheme: &str, draft: Draft) -> ConnectionId {
        let url = format!("{scheme}://127.0.0.1:{}/moq", self.port);
        let server = Server::new(ServerUrl::parse(&url).unwrap(), false);
        let peers = &mut self.publisher.peers;
        peers.connect(server.peer(&[draft]), server.target(&[draft]))
    }

    fn drain(&mut self, now: Time) {
        while let Some((connection, event)) = self.publisher.poll_event() {
            if let ControlFlow::Break(why) = self.handle_event(now, connection, event) {
                self.fail(now, &format!("{connection}: {why}"));
            }
        }
        while self.publisher.poll_notice().is_some() {}
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
            Event::Established { .. } if connection == self.stage => {
                self.ask(
                    now,
                    connection,
                    Request::PublishNamespace(PublishNamespace {
                        request_id: RequestId(0),
                        namespace: track().namespace,
                        parameters: Parameters::default(),
                    }),
                )?;
            }
            Event::Response {
                response: Response::Ok(_),
                ..
            } => {
                for (scheme, draft) in WAYS {
                    let connection = self.connect(scheme, draft);
                    self.listeners.insert(connection, Listener::default());
                }
            }
            Event::Request {
                id,
                request: Request::Subscribe(subscribe),
            } => {
                let publisher = &mut self.publisher;
                if subscribe.track == track() {
                    let parameters = &subscribe.parameters;
                    publisher.serve(now, connection, id, self.track, parameters);
                } else {
                    let refusal = Refusal::new(RequestCode::DoesNotExist, "only the time of day");
                    publisher.respond(now, connection, id, Response::Error(refusal));
                }
            }
            Event::Established { .. } => {
                self.ask(
                    now,
                    connection,
                    Request::Subscribe(Subscribe {
                        request_id: RequestId(0),
                        track: track(),
                        parameters: Parameters::default(),
                    }),
                )?;
            }
            Event::Response {
                response: Response::SubscribeOk(_),
                ..
            } => {
                self.subscribed += 1;
                if self.subscribed == WAYS.len() {
                    self.next = Some(now);
                }
            }
            Event::Response {
                response: Response::Error(refusal),
                ..
            } => return ControlFlow::Break(format!("refused: {refusal:?}")),
            Event::Done { done, .. } => {
                return ControlFlow::Break(format!("the subscription ended: {done:?}"));
            }
            Event::Closed(closed) if !self.leaving => {
                let why = self.publisher.peers.why_closed(connection, &closed);
                return ControlFlow::Break(why);
            }
            event => return self.listen(now, connection, event),
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

    /// What a listener hears: every object once, whole, in order within its group.
    fn listen(&mut self, now: Time, connection: ConnectionId, event: Event) -> ControlFlow<String> {
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
                    next: 0,
                    missing: 0,
                };
                listener.streams.insert(stream, reading);
            }
            Event::Object { stream, object } => {
                let reading = listener.streams.get_mut(&stream).unwrap();
                if object.id.0 != reading.next || reading.missing > 0 {
                    return ControlFlow::Break(format!("{object:?} instead of {reading:?}"));
                }
                reading.next += 1;
                reading.missing = object.payload_length;
            }
            Event::Payload { stream, bytes } => {
                let reading = listener.streams.get_mut(&stream).unwrap();
                let index = reading.group * GROUP + reading.next - 1;
                if bytes.iter().any(|byte| *byte != fill(index)) {
                    return ControlFlow::Break(format!("object {index} is damaged"));
                }
                reading.missing -= number(bytes.len());
                if reading.missing == 0 {
                    if !listener.received.insert(index) {
                        return ControlFlow::Break(format!("object {index} came twice"));
                    }
                    self.arrived(now, index);
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

    fn arrived(&mut self, now: Time, index: u64) {
        let sent = self.sent.get(usize::try_from(index).unwrap()).unwrap();
        let delay = now.since(*sent);
        let mut least = u64::MAX;
        for listener in self.listeners.values_mut() {
            least = least.min(number(listener.received.len()));
        }
        let mut state = self.progress.state.lock().unwrap();
        state.worst = state.worst.max(delay);
        state.received = least;
        self.progress.moved.notify_all();
    }

    /// Publishes one more object when it is time, or comes to an end.
    fn advance(&mut self, now: Time) {
        if self.leaving || self.next.is_none_or(|at| at > now) {
            return;
        }
        self.next = Some(now + PERIOD);
        let state = self.progress.state.lock().unwrap().clone();
        if !state.is_to_end {
            return match self.publish_object(now) {
                Ok(()) => self.progress.state.lock().unwrap().sent = number(self.sent.len()),
                Err(fault) => self.fail(now, &format!("the publisher itself: {fault:?}")),
            };
        }
        if state.received == state.sent {
            self.leave(now, Exit::Success);
        }
    }

    fn publish_object(&mut self, now: Time) -> Result<(), Fault> {
        let fanout = &mut self.publisher.fanout;
        let index = number(self.sent.len());
        let stream = match self.stream {
            Some(stream) => stream,
            None => {
                let header = SubgroupHeader {
                    group: GroupId(index / GROUP),
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
            id: ObjectId(index % GROUP),
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            payload_length: number(OBJECT),
        };
        fanout.begin_object(now, stream, header)?;
        let payload = Bytes::from(vec![fill(index); OBJECT]);
        fanout.payload(now, stream, &payload)?;
        self.sent.push(now);
        if index % GROUP == GROUP - 1 {
            self.stream = None;
            fanout.end_subgroup(now, stream, StreamEnd::Fin)?;
        }
        Ok(())
    }

    fn fail(&mut self, now: Time, why: &str) {
        let received: Vec<usize> = self
            .listeners
            .values()
            .map(|listener| listener.received.len())
            .collect();
        let state = format!("{} objects sent, received {received:?}", self.sent.len());
        self.leave(now, Exit::Failure(format!("{why} ({state})")));
    }

    fn leave(&mut self, now: Time, exit: Exit) {
        if !self.leaving {
            self.leaving = true;
            self.exit = Some(exit);
            let peers = &mut self.publisher.peers;
            peers.close_all(now, SessionCode::NoError, "");
        }
    }
}

fn number(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

/// What the object of this index is full of.
fn fill(index: u64) -> u8 {
    u8::try_from(index % 251).unwrap()
}

impl Application for Program {
    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        Admission::Refuse
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.give_up.get_or_insert(now + PATIENCE);
        self.publisher.handle_input(now, connection, input);
        self.drain(now);
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
        self.advance(now);
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
        let next = self.next.map(|at| (at, "the next object"));
        [self.publisher.poll_timeout(), give_up, next]
            .into_iter()
            .flatten()
            .min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        self.exit.clone()
    }
}
