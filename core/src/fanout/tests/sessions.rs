//! The fan-out with real sessions, over simulated paths.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a mere publisher has no use for the other events"
)]

use crate::peer::Peer as Client;
use crate::peers::Peers;
use crate::runtime::TransportSettings;
use crate::session::{Event, Limits as SessionLimits, Request, Response, Role, Settings, Underlay};
use crate::sim::node::{Subscriber, payload};
use crate::sim::{Link, NodeId, Program, World};
use crate::transport::{Admission, Answer, Application, Exit, Incoming, Input, Output, Target};
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};

use super::*;

const INTERVAL: Duration = Duration::from_millis(20);

/// Objects in each group.
const OBJECTS: u64 = 6;

fn track_name() -> FullTrackName {
    FullTrackName {
        namespace: TrackNamespace::new(["clock"]).unwrap(),
        name: TrackName::new("second").unwrap(),
    }
}

fn settings(role: Role) -> Settings {
    Settings {
        role,
        underlay: Underlay::RawQuic,
        path: Bytes::new(),
        authority: Bytes::new(),
        accepted_paths: Vec::new(),
        implementation: Bytes::new(),
        authorization_tokens: Vec::new(),
        limits: SessionLimits::default(),
    }
}

/// Publishes one track: groups of two subgroups, even and odd objects, and a datagram after each group.
#[derive(Debug)]
struct Server {
    peers: Peers,
    fanout: Fanout,
    track: TrackId,
    now: Time,
    next_at: Option<Time>,
    next: Location,
    groups: u64,
    length: usize,
    feeds: Vec<IngestId>,
    notices: Vec<Notice>,
}

impl Server {
    fn new(limits: Limits, groups: u64, length: usize) -> Self {
        let mut fanout = Fanout::new(limits, Ledger::new(1 << 30));
        let track = fanout
            .open_track(Draft::D18, Properties::default(), None)
            .unwrap();
        Self {
            peers: Peers::default(),
            fanout,
            track,
            now: Time::ZERO,
            next_at: None,
            next: Location::default(),
            groups,
            length,
            feeds: Vec::new(),
            notices: Vec::new(),
        }
    }

    fn tick(&mut self, now: Time) {
        let at = self.next;
        if at.group.0 == self.groups {
            self.next_at = None;
            self.fanout
                .close_track(now, self.track, DoneCode::TrackEnded, "over");
            return;
        }
        if at.object.0 == 0 {
            for subgroup in 0..2 {
                let header = header(at.group.0, subgroup);
                let feed = self.fanout.open_subgroup(now, self.track, SOURCE, header);
                self.feeds.push(feed.unwrap());
            }
        }
        let bytes = payload(&track_name(), at, self.length);
        let feed = self.feeds[usize::from(at.object.0 % 2 == 1)];
        self.fanout
            .write_object(now, feed, at.object, Properties::default(), &bytes)
            .unwrap();
        self.next.object.0 += 1;
        if self.next.object.0 == OBJECTS {
            for feed in self.feeds.drain(..) {
                self.fanout.end_subgroup(now, feed, StreamEnd::Fin).unwrap();
            }
            let at = self.next;
            let object = datagram(at.group.0, OBJECTS, &payload(&track_name(), at, 40));
            self.fanout
                .datagram(now, self.track, SOURCE, object)
                .unwrap();
            self.next = super::at(at.group.0 + 1, 0);
        }
        self.next_at = Some(now + INTERVAL);
    }

    fn handle_events(&mut self) {
        while let Some((connection, event)) = self.peers.poll_event() {
            match event {
                Event::Request {
                    id,
                    request: Request::Subscribe(subscribe),
                } => {
                    let session = self.peers.session(connection).unwrap();
                    let parameters = &subscribe.parameters;
                    let response = self
                        .fanout
                        .subscribe(
                            connection,
                            session.profile().unwrap(),
                            id,
                            self.track,
                            parameters,
                        )
                        .map_or_else(Response::Error, Response::SubscribeOk);
                    session.respond(self.now, id, response).unwrap();
                }
                Event::CanOpenStream => self.fanout.can_open_stream(connection),
                Event::StreamStopped { stream, .. } => {
                    self.fanout.stream_stopped(connection, stream);
                }
                Event::StreamExpired { stream } => self.fanout.stream_expired(connection, stream),
                Event::Cancelled { id, .. } => self.fanout.unsubscribe(connection, id),
                Event::Closed(_) => self.fanout.remove_connection(connection),
                _ => {}
            }
        }
    }
}

impl Application for Server {
    fn handle_incoming(&mut self, now: Time, incoming: &Incoming) -> Admission {
        self.now = now;
        let peer = Client::server(settings(Role::Server), &Draft::ALL);
        Admission::Accept(self.peers.accept(peer, incoming.remote))
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.now = now;
        self.next_at.get_or_insert(now + INTERVAL);
        self.peers.handle_input(now, connection, input);
        self.handle_events();
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.now = now;
        let mut source = self.fanout.source(connection);
        self.peers
            .handle_answer(now, connection, answer, &mut source);
        self.handle_events();
    }

    fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        if self.next_at.is_some_and(|at| at <= now) {
            self.tick(now);
            if self.next_at.is_none() {
                self.next_at = Some(Time::MAX);
            }
        }
        self.fanout.handle_timeout(now);
        self.peers.handle_timeout(now);
        self.handle_events();
    }

    fn handle_shutdown(&mut self, _now: Time) {}

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        while let Some(connection) = self.fanout.poll_dirty() {
            match self.peers.session(connection) {
                Some(session) => self.fanout.pump(self.now, connection, session),
                None => self.fanout.remove_connection(connection),
            }
        }
        self.notices
            .extend(std::iter::from_fn(|| self.fanout.poll_notice()));
        self.peers.poll_dirty()
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        self.now = now;
        let mut source = self.fanout.source(connection);
        let output = self.peers.poll_output(now, connection, &mut source);
        self.handle_events();
        output
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        None
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let tick = self
            .next_at
            .filter(|at| *at < Time::MAX)
            .map(|at| (at, "tick"));
        [tick, self.fanout.poll_timeout(), self.peers.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        None
    }
}

struct Scene {
    world: World,
    server: NodeId,
    subscribers: Vec<NodeId>,
    transport: TransportSettings,
}

impl Scene {
    fn new(seed: u64, link: Link, transport: TransportSettings, server: Server) -> Self {
        let mut world = World::new(seed);
        world.set_default_link(link);
        let server = world.add("server", server, transport.clone());
        let alpns = Draft::ALL.map(|draft| Bytes::from_static(draft.profile().alpn.as_bytes()));
        world.listen(server, "server", 4433, alpns.to_vec());
        Self {
            world,
            server,
            subscribers: Vec::new(),
            transport,
        }
    }

    fn subscriber(&mut self, draft: Draft, part: Subscriber) -> NodeId {
        let target = Target {
            host: "server".to_owned(),
            port: 4433,
            alpns: vec![Bytes::from_static(draft.profile().alpn.as_bytes())],
        };
        let program = Program::client(settings(Role::Client), &[draft], target, Box::new(part));
        let node = self.world.add("client", program, self.transport.clone());
        self.subscribers.push(node);
        node
    }

    fn plain_subscriber(&mut self, draft: Draft) -> NodeId {
        self.subscriber(draft, Subscriber::new(track_name()))
    }

    fn part(&self, node: NodeId) -> &Subscriber {
        self.world.node::<Program<Subscriber>>(node).part()
    }

    fn run_until_done(&mut self) {
        let subscribers = self.subscribers.clone();
        let done = |world: &World| {
            subscribers.iter().all(|node| {
                world
                    .node::<Program<Subscriber>>(*node)
                    .part()
                    .done()
                    .is_some()
            })
        };
        self.world.run_until(done, Duration::from_secs(60)).unwrap();
    }

    /// An object that a subscriber does not have, though it had one before it.
    fn missing(&self, node: NodeId, groups: u64) -> Option<Location> {
        let received = self.part(node).received();
        let first = received.first().copied().unwrap_or_default();
        (0..groups)
            .flat_map(|group| (0..OBJECTS).map(move |object| at(group, object)))
            .find(|at| *at > first && !received.contains(at))
    }

    fn server(&self) -> &Server {
        self.world.node(self.server)
    }
}

/// Windows so small that hardly an object fits, and hardly any streams.
fn tiny() -> TransportSettings {
    TransportSettings {
        receive_window: 400,
        publisher_window: 400,
        stream_window: 100,
        max_unacked: 120,
        max_uni_streams: 3,
        ..TransportSettings::default()
    }
}

#[test]
fn every_object_reaches_every_subscriber_over_any_path() {
    let paths = [
        (Link::default(), TransportSettings::default()),
        (Link::rough(), TransportSettings::default()),
        (Link::rough(), tiny()),
    ];
    for (seed, (link, transport)) in (1..).zip(paths) {
        let lossless = link.loss == 0;
        let mut scene = Scene::new(
            seed,
            link,
            transport,
            Server::new(Limits::default(), 20, 300),
        );
        let early = [
            scene.plain_subscriber(Draft::D18),
            scene.plain_subscriber(Draft::D16),
        ];
        scene.world.run_for(Duration::from_millis(1010));
        let late = [
            scene.plain_subscriber(Draft::D16),
            scene.plain_subscriber(Draft::D18),
        ];
        scene.run_until_done();
        for node in early.into_iter().chain(late) {
            let part = scene.part(node);
            let on_streams: Vec<Location> = part
                .received()
                .iter()
                .copied()
                .filter(|at| at.object.0 < OBJECTS)
                .collect();
            let first = on_streams[0];
            let all: Vec<Location> = (0..20)
                .flat_map(|group| (0..OBJECTS).map(move |object| at(group, object)))
                .filter(|at| *at >= first)
                .collect();
            assert_eq!(on_streams, all, "seed {seed}");
            let done = part.done().unwrap();
            assert_eq!(done.code, DoneCode::TrackEnded);
            assert!(part.ends().iter().all(|end| *end == StreamEnd::Fin));
            assert_eq!(
                done.stream_count,
                Some(u64::try_from(part.ends().len()).unwrap())
            );
            let in_datagrams = part.received().len() - on_streams.len();
            if lossless {
                assert_eq!(in_datagrams, usize::try_from(20 - first.group.0).unwrap());
            }
        }
        assert!(scene.part(late[0]).received().first() > Some(&at(1, 0)));
        scene.world.run_for(Duration::from_secs(2));
        assert_eq!(scene.server().fanout.ledger().used(), 0, "seed {seed}");
        assert!(scene.server().fanout.tracks.is_empty());
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_ended_and_the_others_get_everything() {
    let limits = Limits {
        max_subscriber_lag: 50_000,
        ..Limits::default()
    };
    let transport = TransportSettings {
        receive_window: 10_000,
        stream_window: 2_000,
        ..TransportSettings::default()
    };
    let mut scene = Scene::new(
        1,
        Link::default(),
        transport,
        Server::new(limits, 30, 2_500),
    );
    let slow = scene.subscriber(Draft::D18, Subscriber::new(track_name()).paused());
    let fast = scene.plain_subscriber(Draft::D16);
    scene.run_until_done();
    assert_eq!(
        scene.part(slow).done().unwrap().code,
        DoneCode::TooFarBehind
    );
    assert_eq!(scene.part(fast).done().unwrap().code, DoneCode::TrackEnded);
    assert!(scene.part(fast).received().first() <= Some(&at(0, 2)));
    assert_eq!(scene.missing(fast, 30), None);
    assert_eq!(scene.server().fanout.ledger().used(), 0);
}

#[test]
fn more_groups_than_streams_wait_for_credit_and_arrive() {
    let server = Server::new(Limits::default(), 40, 300);
    let transport = TransportSettings {
        max_uni_streams: 1,
        ..TransportSettings::default()
    };
    let link = Link {
        delay: Duration::from_millis(150),
        ..Link::default()
    };
    let mut scene = Scene::new(2, link, transport, server);
    let node = scene.plain_subscriber(Draft::D18);
    scene.run_until_done();
    assert_eq!(scene.missing(node, 40), None);
}

#[test]
fn a_range_ends_by_itself() {
    let mut scene = Scene::new(
        3,
        Link::rough(),
        TransportSettings::default(),
        Server::new(Limits::default(), 20, 300),
    );
    let range = filtered(Filter::AbsoluteRange {
        start: at(3, 2),
        end_group: GroupId(4),
    });
    let node = scene.subscriber(Draft::D16, Subscriber::with_parameters(track_name(), range));
    scene.run_until_done();
    let part = scene.part(node);
    assert_eq!(part.done().unwrap().code, DoneCode::SubscriptionEnded);
    let received: Vec<_> = part
        .received()
        .iter()
        .filter(|at| at.object.0 < OBJECTS)
        .map(|at| (at.group.0, at.object.0))
        .collect();
    let expected: Vec<_> = (2..OBJECTS)
        .map(|object| (3, object))
        .chain((0..OBJECTS).map(|object| (4, object)))
        .collect();
    assert_eq!(received, expected);
    let ended = |notice: &Notice| matches!(notice, Notice::Ended { .. });
    assert!(scene.server().notices.iter().any(ended));
}
