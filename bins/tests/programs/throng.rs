//! A crowd that comes and goes around one track that goes on: guests in this program, and processes that are killed.

#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_in_result,
    reason = "what nobody here expects ends the run, and tests may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use oxymoq::client::Server;
use oxymoq::url::ServerUrl;
use oxymoq_core::code::{RequestCode, ResetCode, SessionCode};
use oxymoq_core::draft::Draft;
use oxymoq_core::fanout::{self, Fanout, SourceId, TrackId};
use oxymoq_core::ledger::Ledger;
use oxymoq_core::peers::Peers;
use oxymoq_core::publisher::Publisher;
use oxymoq_core::session::{Event, Refusal, Request, Response, StreamEnd};
use oxymoq_core::sim::Random;
use oxymoq_core::time::Time;
use oxymoq_core::transport::{
    Admission, Answer, Application, Closed, ConnectionId, Exit, Incoming, Input, Output, StreamId,
    Target,
};
use oxymoq_core::wire::id::{GroupId, ObjectId, RequestId, SubgroupId};
use oxymoq_core::wire::message::{Fetch, FetchRange, PublishNamespace, Subscribe};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::object::SubgroupHeader;
use oxymoq_core::wire::param::{Filter, Parameters};
use oxymoq_core::wire::property::Properties;

use super::process::Process;

/// Every way to speak.
const WAYS: [(&str, Draft); 4] = [
    ("moqt", Draft::D18),
    ("https", Draft::D18),
    ("moqt", Draft::D16),
    ("https", Draft::D16),
];

/// Objects in a group, which has one stream.
const OBJECTS: u64 = 2;
/// Bytes of an object.
const LENGTH: usize = 400;
/// Groups that are published before all who listen have the first of them.
const AHEAD: u64 = 20;
/// Far longer than anything takes while the track goes on, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a process that was asked to end has before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How much comes and goes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Groups of the track that goes on.
    pub(crate) groups: u64,
    /// Time between them.
    pub(crate) interval: Duration,
    /// Guests at a time.
    pub(crate) seats: usize,
    /// How long a guest or a process stays at most.
    pub(crate) stay: Duration,
    /// Publishing processes at a time.
    pub(crate) publishers: usize,
    /// Subscribing processes at a time.
    pub(crate) readers: usize,
    /// Chance comes from here.
    pub(crate) seed: u64,
}

/// The program. `published` is told after each group how many there were and how many guests.
pub(crate) struct Throng<F> {
    plan: Plan,
    published: F,
    port: u16,
    runtime: String,
    random: Random,
    publisher: Publisher,
    track: TrackId,
    stage: ConnectionId,
    listeners: BTreeMap<ConnectionId, Listener>,
    guests: BTreeMap<ConnectionId, Guest>,
    guests_so_far: usize,
    processes: Vec<Slot>,
    groups: u64,
    next_group: Option<Time>,
    next_turn: Option<Time>,
    give_up: Option<Time>,
    exit: Option<Exit>,
}

/// One of those who miss nothing.
#[derive(Debug, Default)]
struct Listener {
    is_subscribed: bool,
    streams: BTreeMap<StreamId, Reading>,
    /// All groups below are complete.
    complete: u64,
    /// Complete groups beyond.
    beyond: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    group: u64,
    object: Option<u64>,
    missing: u64,
}

/// One who comes and goes.
#[derive(Debug)]
struct Guest {
    leaves: Time,
    wish: u64,
    /// What it withdraws before it leaves.
    request: Option<RequestId>,
}

/// A place for a process.
struct Slot {
    index: usize,
    publishes: bool,
    process: Option<Process>,
    /// When it is asked to end, killed or replaced.
    next: Time,
    asked: bool,
}

impl<F: FnMut(u64, usize)> Throng<F> {
    pub(crate) fn new(port: u16, runtime: &str, plan: Plan, published: F) -> Self {
        let mut fanout = Fanout::new(fanout::Limits::default(), Ledger::new(64 << 20));
        let track = fanout.open_track(Draft::D18, Properties::default(), None);
        let slots = (0..plan.publishers)
            .map(|index| (index, true))
            .chain((0..plan.readers).map(|index| (index, false)));
        let processes = slots.map(|(index, publishes)| Slot {
            index,
            publishes,
            process: None,
            next: Time::ZERO,
            asked: false,
        });
        let mut throng = Self {
            processes: processes.collect(),
            random: Random::new(plan.seed),
            plan,
            published,
            port,
            runtime: runtime.to_owned(),
            publisher: Publisher::new(Peers::default(), fanout),
            track: track.unwrap(),
            stage: ConnectionId(0),
            listeners: BTreeMap::new(),
            guests: BTreeMap::new(),
            guests_so_far: 0,
            groups: 0,
            next_group: None,
            next_turn: None,
            give_up: None,
            exit: None,
        };
        throng.stage = throng.connect(WAYS[0]);
        throng
    }

    fn connect(&mut self, (scheme, draft): (&str, Draft)) -> ConnectionId {
        let url = format!("{scheme}://127.0.0.1:{}/moq", self.port);
        let server = Server::new(ServerUrl::parse(&url).unwrap(), false);
        let peers = &mut self.publisher.peers;
        peers.connect(server.peer(&[draft]), server.target(&[draft]))
    }

    fn drain(&mut self, now: Time) {
        while let Some((connection, event)) = self.publisher.poll_event() {
            if let Err(why) = self.handle_event(now, connection, event) {
                self.fail(now, &format!("{connection}: {why}"));
            }
        }
        while self.publisher.poll_notice().is_some() {}
        if self.exit.is_none() && self.heard() == self.plan.groups {
            self.leave(now, Exit::Success);
        }
    }

    fn handle_event(
        &mut self,
        now: Time,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), String> {
        if let Event::Closed(closed) = &event {
            let was_guest = self.guests.remove(&connection).is_some();
            let peers = &self.publisher.peers;
            let session = peers.peer(connection).unwrap().session_ref();
            let is_ours = *closed == Closed::ByUs && session.failure().is_none();
            return match self.exit.is_some() || was_guest && is_ours {
                true => Ok(()),
                false => Err(peers.why_closed(connection, closed)),
            };
        }
        if connection == self.stage {
            return self.direct(now, event);
        }
        if self.listeners.contains_key(&connection) {
            return self.listen(now, connection, event);
        }
        self.entertain(now, connection, event)
    }

    /// What happens to the publisher of the track that goes on.
    fn direct(&mut self, now: Time, event: Event) -> Result<(), String> {
        let stage = self.stage;
        match event {
            Event::Established { .. } => {
                let announcement = PublishNamespace {
                    request_id: RequestId(0),
                    namespace: name("soak", "all").namespace,
                    parameters: Parameters::default(),
                };
                self.ask(now, stage, Request::PublishNamespace(announcement))?;
            }
            Event::Response {
                response: Response::Ok(_),
                ..
            } => {
                for way in WAYS {
                    let connection = self.connect(way);
                    self.listeners.insert(connection, Listener::default());
                }
            }
            Event::Request {
                id,
                request: Request::Subscribe(subscribe),
            } => {
                let parameters = &subscribe.parameters;
                self.publisher.serve(now, stage, id, self.track, parameters);
            }
            Event::Update {
                id,
                update,
                parameters,
            } => self.publisher.update(now, stage, id, update, &parameters),
            Event::Request { id, .. } => self.refuse(now, stage, id),
            other => return unwelcome(&other),
        }
        Ok(())
    }

    /// What those hear who miss nothing: every object once, whole, with the bytes that were published.
    fn listen(&mut self, now: Time, connection: ConnectionId, event: Event) -> Result<(), String> {
        if let Event::Established { .. } = event {
            let subscribe = subscribe(name("soak", "all"));
            self.ask(now, connection, subscribe)?;
            return Ok(());
        }
        if let Event::Request { id, .. } = event {
            self.refuse(now, connection, id);
            return Ok(());
        }
        let listener = self.listeners.get_mut(&connection).unwrap();
        match event {
            Event::Response {
                response: Response::SubscribeOk(_),
                ..
            } => {
                listener.is_subscribed = true;
                if self.listeners.values().all(|it| it.is_subscribed) {
                    self.next_group = Some(now + self.plan.interval);
                    self.next_turn = Some(now);
                }
            }
            Event::SubgroupOpened { stream, header, .. } => {
                let reading = Reading {
                    group: header.group.0,
                    object: None,
                    missing: 0,
                };
                listener.streams.insert(stream, reading);
            }
            Event::Object { stream, object } => {
                let reading = listener.streams.get_mut(&stream).unwrap();
                let expected = reading.object.map_or(0, |last| last + 1);
                if object.id.0 != expected || reading.missing > 0 {
                    return Err(format!("{object:?} where {expected} was due"));
                }
                reading.object = Some(expected);
                reading.missing = object.payload_length;
            }
            Event::Payload { stream, bytes } => {
                let reading = listener.streams.get_mut(&stream).unwrap();
                if bytes.iter().any(|byte| *byte != fill(reading.group)) {
                    return Err(format!("group {} is damaged", reading.group));
                }
                reading.missing -= u64::try_from(bytes.len()).unwrap();
            }
            Event::SubgroupEnded { stream, end } => {
                let reading = listener.streams.remove(&stream).unwrap();
                if end != StreamEnd::Fin || reading.object != Some(OBJECTS - 1) {
                    return Err(format!("a stream ended with {end:?}: {reading:?}"));
                }
                listener.finish(reading.group)?;
            }
            other => return unwelcome(&other),
        }
        Ok(())
    }

    /// What a guest does: it has one wish, and does not mind what comes of it.
    fn entertain(
        &mut self,
        now: Time,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), String> {
        let Some(guest) = self.guests.get(&connection) else {
            return Ok(());
        };
        let wish = guest.wish;
        if let Event::Established { .. } = event {
            let request = match wish {
                0 | 1 => subscribe(name("soak", "all")),
                2 => subscribe(name("date0", "date")),
                3 => subscribe(name("nobody", "nothing")),
                _ => Request::PublishNamespace(PublishNamespace {
                    request_id: RequestId(0),
                    namespace: name("guest", "none").namespace,
                    parameters: Parameters::default(),
                }),
            };
            let request = self.ask(now, connection, request)?;
            if let Some(guest) = self.guests.get_mut(&connection) {
                guest.request = Some(request);
            }
        } else if let Event::Response { id, response } = &event
            && let Response::SubscribeOk(ok) = response
            && ok.parameters.largest_object.is_some()
            && wish == 1
        {
            let fetch = Fetch {
                request_id: RequestId(0),
                range: FetchRange::RelativeJoining {
                    joining_request_id: *id,
                    joining_start: 5,
                },
                parameters: Parameters::default(),
            };
            self.ask(now, connection, Request::Fetch(fetch))?;
        } else if let Event::Request { id, .. } = event {
            self.refuse(now, connection, id);
        }
        Ok(())
    }

    fn ask(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request: Request,
    ) -> Result<RequestId, String> {
        let session = self.publisher.peers.session(connection).unwrap();
        session
            .request(now, request)
            .map_err(|misuse| misuse.to_string())
    }

    fn refuse(&mut self, now: Time, connection: ConnectionId, id: RequestId) {
        let refusal = Refusal::new(RequestCode::NotSupported, "not here");
        self.publisher
            .respond(now, connection, id, Response::Error(refusal));
    }

    /// Groups that everybody has who misses nothing.
    fn heard(&self) -> u64 {
        let complete = self.listeners.values().map(|it| it.complete);
        complete.min().unwrap_or(0)
    }

    fn publish_group(&mut self, now: Time) -> Result<(), fanout::Fault> {
        let fanout = &mut self.publisher.fanout;
        let header = SubgroupHeader {
            group: GroupId(self.groups),
            subgroup: SubgroupId(0),
            priority: None,
            end_of_group: true,
            first_object: true,
        };
        let payload = [fill(self.groups); LENGTH];
        let stream = fanout.open_subgroup(now, self.track, SourceId(0), header)?;
        for object in 0..OBJECTS {
            let none = Properties::default();
            fanout.write_object(now, stream, ObjectId(object), none, &payload)?;
        }
        fanout.end_subgroup(now, stream, StreamEnd::Fin)?;
        self.groups += 1;
        (self.published)(self.groups, self.guests_so_far);
        Ok(())
    }

    /// Lets guests and processes come and go.
    fn take_turn(&mut self, now: Time) {
        let leaving: Vec<_> = self
            .guests
            .iter_mut()
            .filter(|(_, guest)| guest.leaves <= now)
            .map(|(connection, guest)| (*connection, guest.request.take()))
            .collect();
        for (connection, request) in leaving {
            let withdraws = self.random.chance(500);
            let session = self.publisher.peers.session(connection).unwrap();
            match request {
                // Then it leaves at the next turn. A request that is over already cannot be withdrawn.
                Some(request) if withdraws => {
                    let _is_over = session.cancel(now, request, ResetCode::Cancelled);
                }
                _ => session.close(now, SessionCode::NoError, ""),
            }
        }
        while self.guests.len() < self.plan.seats {
            let way = self.random.below(4);
            let connection = self.connect(WAYS[usize::try_from(way).unwrap()]);
            let guest = Guest {
                leaves: now + self.random.span(self.plan.stay),
                wish: self.random.below(5),
                request: None,
            };
            self.guests.insert(connection, guest);
            self.guests_so_far += 1;
        }
        for mut slot in std::mem::take(&mut self.processes) {
            if slot.next <= now {
                self.turn_slot(now, &mut slot);
            }
            self.processes.push(slot);
        }
    }

    /// Starts a process, asks it to end, or kills it.
    fn turn_slot(&mut self, now: Time, slot: &mut Slot) {
        if let Some(process) = &slot.process
            && !slot.asked
            && self.random.chance(500)
        {
            process.signal("TERM");
            slot.asked = true;
            slot.next = now + GRACE;
            return;
        }
        slot.process = None; // which kills it
        slot.asked = false;
        slot.next = now + Duration::from_secs(1) + self.random.span(self.plan.stay);
        let (runtime, port) = (&self.runtime, self.port);
        let way = self.random.below(4);
        let (scheme, draft) = WAYS[usize::try_from(way).unwrap()];
        let url = format!("{scheme}://127.0.0.1:{port}/moq");
        let draft = draft.number();
        let common = format!("--insecure --versions {draft}");
        slot.process = Some(if slot.publishes {
            let offer = if self.random.chance(500) {
                "--publish"
            } else {
                ""
            };
            let flags = format!(
                "{common} --runtime {runtime} --port 0 --ns date{} --relay_url {url} {offer}",
                slot.index
            );
            Process::start("moqdateserver", &flags)
        } else {
            let flags = format!(
                "{common} --runtime {runtime} --connect_url {url} --track_namespace date{} --track_name date",
                slot.index
            );
            Process::start("moqtextclient", &flags)
        });
    }

    fn fail(&mut self, now: Time, why: &str) {
        let state = format!(
            "{} groups published, {} heard by all, {} guests so far, seed {}",
            self.groups,
            self.heard(),
            self.guests_so_far,
            self.plan.seed
        );
        self.leave(now, Exit::Failure(format!("{why} ({state})")));
    }

    fn leave(&mut self, now: Time, exit: Exit) {
        if self.exit.is_none() {
            self.exit = Some(exit);
            self.processes.clear();
            let peers = &mut self.publisher.peers;
            peers.close_all(now, SessionCode::NoError, "");
        }
    }
}

impl Listener {
    /// Notes a group that is complete.
    fn finish(&mut self, group: u64) -> Result<(), String> {
        if group < self.complete || !self.beyond.insert(group) {
            return Err(format!("group {group} came twice"));
        }
        while self.beyond.remove(&self.complete) {
            self.complete += 1;
        }
        Ok(())
    }
}

/// What tells of something lost or refused; anything else is of no interest.
fn unwelcome(event: &Event) -> Result<(), String> {
    let is_bad = matches!(
        event,
        Event::Response {
            response: Response::Error(_),
            ..
        } | Event::Done { .. }
            | Event::Cancelled { .. }
            | Event::MalformedTrack { .. }
            | Event::GoAway { .. }
    );
    if is_bad {
        return Err(format!("{event:?}"));
    }
    Ok(())
}

fn subscribe(track: FullTrackName) -> Request {
    Request::Subscribe(Subscribe {
        request_id: RequestId(0),
        track,
        parameters: Parameters {
            filter: Some(Filter::LargestObject),
            ..Parameters::default()
        },
    })
}

fn name(namespace: &str, track: &str) -> FullTrackName {
    let namespace = TrackNamespace::new([Bytes::copy_from_slice(namespace.as_bytes())]);
    let track = TrackName::new(Bytes::copy_from_slice(track.as_bytes()));
    FullTrackName::new(namespace.unwrap(), track.unwrap()).unwrap()
}

/// What the objects of a group are full of.
fn fill(group: u64) -> u8 {
    u8::try_from(group % 251).unwrap()
}

impl<F: FnMut(u64, usize)> Application for Throng<F> {
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
        if self.next_group.is_some_and(|next| next <= now) && self.exit.is_none() {
            self.next_group = Some(now + self.plan.interval);
            if self.groups < self.plan.groups && self.groups < self.heard() + AHEAD {
                self.give_up = Some(now + PATIENCE);
                if let Err(fault) = self.publish_group(now) {
                    self.fail(now, &format!("the publisher itself: {fault}"));
                }
            }
        }
        if self.next_turn.is_some_and(|next| next <= now) && self.exit.is_none() {
            self.next_turn = Some(now + Duration::from_millis(200));
            self.take_turn(now);
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
        let going =
            |at: Option<Time>, what| at.filter(|_| self.exit.is_none()).map(|at| (at, what));
        let next_group = going(self.next_group, "the next group");
        let next_turn = going(self.next_turn, "coming and going");
        let own = [give_up, next_group, next_turn];
        let all = own.into_iter().chain([self.publisher.poll_timeout()]);
        all.flatten().min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        let exit = self.exit.as_ref();
        exit.filter(|_| self.publisher.peers.is_empty()).cloned()
    }
}
