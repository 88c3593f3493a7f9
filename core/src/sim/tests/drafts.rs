//! A publisher, a relay and a subscriber, in every pair of drafts: everybody is told the same.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "most events are only written down"
)]

use std::time::Duration;

use bytes::Bytes;

use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::draft::Draft;
use crate::relay::{Relay, Settings};
use crate::session::{Event, Refusal, Request, Response, Session};
use crate::sim::neutral::{Log, subscribe_to};
use crate::sim::{Access, Failure, Link, Network, NodeId, Part, Program, Stage, Subgroup};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::{GroupId, Location, ObjectId, RequestId, SubgroupId, TrackAlias};
use crate::wire::message::{
    Fetch, FetchOk, FetchRange, Interest, Publish, PublishNamespace, RequestOk, Subscribe,
    SubscribeNamespace, SubscribeOk, SubscribeTracks, TrackStatus,
};
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};
use crate::wire::object::{
    DatagramObject, FetchEntry, FetchObject, ObjectHeader, ObjectStatus, SubgroupHeader,
};
use crate::wire::param::{Filter, GroupOrder, Parameters};
use crate::wire::property::{
    DYNAMIC_GROUPS, IMMUTABLE_PROPERTIES, OBJECT_DELIVERY_TIMEOUT, Properties, Value,
};

/// Long enough for everything that follows from one act.
const PAUSE: Duration = Duration::from_secs(3);
const ALIAS: TrackAlias = TrackAlias(77);
const PUSHED_ALIAS: TrackAlias = TrackAlias(78);

/// Somebody who does what the scenario says, answers what it is asked, and writes down what it is told.
#[derive(Debug, Default)]
struct Actor {
    log: Log,
    connection: Option<ConnectionId>,
    open: Option<Subgroup>,
}

fn namespace(fields: &[&str]) -> TrackNamespace {
    TrackNamespace::new(fields.iter().map(|field| field.as_bytes().to_vec())).unwrap()
}

fn track(name: &str) -> FullTrackName {
    let name = TrackName::new(name.as_bytes().to_vec()).unwrap();
    FullTrackName::new(namespace(&["live", "show"]), name).unwrap()
}

fn pushed() -> FullTrackName {
    let name = TrackName::new("p").unwrap();
    FullTrackName::new(namespace(&["push"]), name).unwrap()
}

fn track_properties() -> Vec<(u64, Value)> {
    vec![
        (OBJECT_DELIVERY_TIMEOUT, Value::Integer(60_000)),
        // The same bytes in both kinds of integer.
        (
            IMMUTABLE_PROPERTIES,
            Value::Bytes(Bytes::from_static(&[0x20, 7])),
        ),
        (DYNAMIC_GROUPS, Value::Integer(1)),
        (0x3802, Value::Integer(70_000)),
        (0x3803, Value::Bytes(Bytes::from_static(b"unknown"))),
    ]
}

fn object_properties() -> Vec<(u64, Value)> {
    vec![
        (0x78, Value::Integer(300)),
        (0x3801, Value::Bytes(Bytes::from_static(b"of an object"))),
    ]
}

impl Actor {
    fn list(&self, stage: &mut Stage<'_>, list: Vec<(u64, Value)>) -> Properties {
        let profile = self.session(stage).profile().unwrap();
        Properties::from_list(profile.integers, list).unwrap()
    }

    fn session<'a>(&self, stage: &'a mut Stage<'_>) -> &'a mut Session {
        stage.session(self.connection.unwrap()).unwrap()
    }

    /// The answer of a publisher that has the tracks `v` and `w`, and of the past of `w` group 0.
    fn answer(&self, stage: &mut Stage<'_>, request: &Request) -> Response {
        let is = |asked: &FullTrackName, name: &str| *asked == track(name);
        match request {
            Request::Subscribe(subscribe) if is(&subscribe.track, "v") => {
                Response::SubscribeOk(SubscribeOk {
                    request_id: None,
                    track_alias: ALIAS,
                    parameters: Parameters::default(),
                    properties: self.list(stage, track_properties()),
                })
            }
            Request::TrackStatus(status) if is(&status.track, "w") => Response::Ok(RequestOk {
                parameters: Parameters {
                    largest_object: Some(Location::new(0, 1)),
                    ..Parameters::default()
                },
                ..RequestOk::default()
            }),
            Request::Fetch(Fetch {
                range: FetchRange::Standalone { track, .. },
                ..
            }) if is(track, "w") => Response::FetchOk(FetchOk {
                request_id: None,
                end_of_track: true,
                end: Location::new(0, 2),
                parameters: Parameters::default(),
                properties: self.list(stage, track_properties()),
            }),
            Request::Publish(_) => Response::Ok(RequestOk::default()),
            Request::SubscribeNamespace(_) | Request::SubscribeTracks(_) => Response::Error(
                Refusal::new(RequestCode::Uninterested, "nothing but what was announced"),
            ),
            _ => Response::Error(Refusal::new(RequestCode::DoesNotExist, "no such thing")),
        }
    }

    /// Sends two objects of the past.
    fn send_past(&self, stage: &mut Stage<'_>, id: RequestId) {
        let connection = self.connection.unwrap();
        let order = GroupOrder::Ascending;
        let mut stream = stage.open_fetch(connection, id, order).unwrap();
        for object in 0..2 {
            let properties = self.list(stage, object_properties());
            let entry = FetchEntry::Object(FetchObject {
                location: Location::new(0, object),
                subgroup: Some(SubgroupId(0)),
                priority: 90,
                properties,
                payload_length: 4,
            });
            let payload = Bytes::from_static(b"past");
            stage.fetched(&mut stream, &entry, payload).unwrap();
        }
        stage.finish_stream(connection, stream.stream());
    }
}

impl Part for Actor {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        self.log.event(&event);
        let now = stage.now();
        match &event {
            Event::Established { .. } => self.connection = Some(connection),
            Event::Request { id, request } => {
                let response = self.answer(stage, request);
                let serves = matches!(response, Response::FetchOk(_));
                let answered = self.session(stage).respond(now, *id, response);
                answered.map_err(|misuse| misuse.to_string())?;
                if serves {
                    self.send_past(stage, *id);
                }
            }
            Event::Update { id, update, .. } => {
                let ok = Ok(RequestOk::default());
                let session = self.session(stage);
                let answered = session.respond_to_update(now, *id, *update, ok);
                answered.map_err(|misuse| misuse.to_string())?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The scene: two actors and the relay between them.
struct Play {
    network: Network,
    publisher: NodeId,
    subscriber: NodeId,
}

impl Play {
    fn new(publisher: Draft, subscriber: Draft) -> Self {
        let relay = Relay::new(Settings::default());
        let mut network = Network::new(1, Link::default(), relay);
        let mut add = |name, draft| {
            let access = Access {
                draft,
                web_transport: false,
            };
            network.client(name, access, Actor::default())
        };
        let (publisher, subscriber) = (add("publisher", publisher), add("subscriber", subscriber));
        network.world.run_for(PAUSE);
        Self {
            network,
            publisher,
            subscriber,
        }
    }

    /// Lets an actor act, and everything happen that follows.
    fn act(&mut self, who: NodeId, act: impl FnOnce(&mut Actor, &mut Stage<'_>, Time)) {
        let world = &mut self.network.world;
        world.with(who, |program: &mut Program<Actor>, now| {
            program.act(now, |actor, stage| act(actor, stage, now));
        });
        world.run_for(PAUSE);
    }

    fn ask(&mut self, who: NodeId, name: &str, request: Request) {
        self.act(who, |actor, stage, now| {
            let id = actor.session(stage).request(now, request).unwrap();
            actor.log.asked(id, name);
        });
    }

    fn cancel(&mut self, who: NodeId, name: &str) {
        self.act(who, |actor, stage, now| {
            let id = actor.log.id(name).unwrap();
            let session = actor.session(stage);
            session.cancel(now, id, ResetCode::Cancelled).unwrap();
        });
    }

    fn update(&mut self, name: &str, parameters: Parameters) {
        self.act(self.subscriber, |actor, stage, now| {
            let id = actor.log.id(name).unwrap();
            actor.session(stage).update(now, id, parameters).unwrap();
        });
    }

    fn subscribe(&mut self, name: &str, parameters: Parameters) {
        let request = Request::Subscribe(Subscribe {
            request_id: RequestId(0),
            track: track(name),
            parameters,
        });
        self.ask(self.subscriber, &subscribe_to(&track(name)), request);
    }

    fn fetch(&mut self, name: &str, start: Location, end: Location) {
        let request = Request::Fetch(Fetch {
            request_id: RequestId(0),
            range: FetchRange::Standalone {
                track: track(name),
                start,
                end,
            },
            parameters: Parameters::default(),
        });
        self.ask(self.subscriber, &format!("fetch {}", track(name)), request);
    }

    /// A FETCH that joins the subscription to a track this many groups before.
    fn join(&mut self, name: &str, groups: u64) {
        let subscription = subscribe_to(&track(name));
        let range = |joining_request_id| FetchRange::RelativeJoining {
            joining_request_id,
            joining_start: groups,
        };
        self.act(self.subscriber, |actor, stage, now| {
            let request = Request::Fetch(Fetch {
                request_id: RequestId(0),
                range: range(actor.log.id(&subscription).unwrap()),
                parameters: Parameters::default(),
            });
            let id = actor.session(stage).request(now, request).unwrap();
            actor.log.asked(id, "join");
        });
    }

    /// The publisher opens a subgroup of `v` and sends so many objects, the first with properties.
    fn publish(&mut self, group: u64, count: u64) {
        self.publish_for(&subscribe_to(&track("v")), ALIAS, group, count);
    }

    fn publish_for(&mut self, name: &str, alias: TrackAlias, group: u64, count: u64) {
        self.act(self.publisher, |actor, stage, _| {
            let id = actor.log.id(name).unwrap();
            let header = SubgroupHeader {
                group: GroupId(group),
                subgroup: SubgroupId(0),
                priority: Some(90),
                end_of_group: false,
                first_object: true,
            };
            let connection = actor.connection.unwrap();
            let opened = stage.open_subgroup_stream(connection, id, alias, &header, true);
            let mut subgroup = opened.unwrap();
            for object in 0..count {
                let list = if object == 0 {
                    object_properties()
                } else {
                    Vec::new()
                };
                let header = ObjectHeader {
                    id: ObjectId(object),
                    properties: actor.list(stage, list),
                    status: ObjectStatus::Normal,
                    payload_length: 3000,
                };
                let payload = Bytes::from(vec![b'x'; 3000]);
                stage.write_object(&mut subgroup, &header, payload).unwrap();
            }
            actor.open = Some(subgroup);
        });
    }

    /// Ends the group of the open subgroup with a marker.
    fn end_group(&mut self, at: u64) {
        self.act(self.publisher, |actor, stage, _| {
            let mut subgroup = actor.open.take().unwrap();
            let header = ObjectHeader {
                id: ObjectId(at),
                properties: Properties::default(),
                status: ObjectStatus::EndOfGroup,
                payload_length: 0,
            };
            stage
                .write_object(&mut subgroup, &header, Bytes::new())
                .unwrap();
            stage.finish(subgroup);
        });
    }

    fn reset(&mut self, code: ResetCode) {
        self.act(self.publisher, |actor, stage, now| {
            let subgroup = actor.open.take().unwrap();
            let session = actor.session(stage);
            session.reset_stream(now, subgroup.stream(), code);
        });
    }

    fn datagram(&mut self, location: Location, end_of_group: bool) {
        self.act(self.publisher, |actor, stage, _| {
            let id = actor.log.id(&subscribe_to(&track("v"))).unwrap();
            let object = DatagramObject {
                location,
                priority: Some(30),
                properties: actor.list(stage, object_properties()),
                status: ObjectStatus::Normal,
                end_of_group,
                payload: Bytes::from_static(b"tick"),
            };
            let connection = actor.connection.unwrap();
            stage
                .write_datagram(connection, id, ALIAS, &object)
                .unwrap();
        });
    }

    fn done(&mut self, name: &str, code: DoneCode) {
        self.act(self.publisher, |actor, stage, now| {
            let id = actor.log.id(name).unwrap();
            actor.session(stage).done(now, id, code, "over").unwrap();
        });
    }

    fn lines(&self, who: NodeId) -> Vec<String> {
        let program = self.network.world.node::<Program<Actor>>(who);
        let lines = program.part().log.lines().iter();
        lines
            .map(|line| format!("{}: {}", line.about, line.text))
            .collect()
    }
}

fn filter(filter: Filter) -> Parameters {
    Parameters {
        filter: Some(filter),
        ..Parameters::default()
    }
}

fn forward(forward: bool) -> Parameters {
    Parameters {
        forward: Some(forward),
        subscriber_priority: Some(20),
        ..Parameters::default()
    }
}

/// Namespaces, a subscription with everything that can happen to it, the past, and the end.
fn perform(publisher_draft: Draft, subscriber_draft: Draft) -> [Vec<String>; 2] {
    let mut play = Play::new(publisher_draft, subscriber_draft);
    let (publisher, subscriber) = (play.publisher, play.subscriber);
    let watch = Request::SubscribeNamespace(SubscribeNamespace {
        request_id: RequestId(0),
        prefix: namespace(&["live"]),
        interest: Interest::Namespaces,
        parameters: Parameters::default(),
    });
    play.ask(subscriber, "watch live", watch);
    play.subscribe("v", Parameters::default());
    let announce = Request::PublishNamespace(PublishNamespace {
        request_id: RequestId(0),
        namespace: namespace(&["live", "show"]),
        parameters: Parameters::default(),
    });
    play.ask(publisher, "announce live/show", announce);
    play.subscribe("nothing", Parameters::default());

    play.subscribe("v", filter(Filter::LargestObject));
    play.publish(0, 3);
    play.end_group(3);
    play.update(&subscribe_to(&track("v")), forward(false));
    play.update(&subscribe_to(&track("v")), forward(true));
    let new_group = Parameters {
        new_group_request: Some(0),
        ..Parameters::default()
    };
    play.update(&subscribe_to(&track("v")), new_group);
    play.publish(1, 2);
    play.reset(ResetCode::DeliveryTimeout);
    play.datagram(Location::new(2, 0), false);
    play.datagram(Location::new(2, 7), true);

    play.join("v", 1);
    for name in ["v", "w", "nothing"] {
        let status = Request::TrackStatus(TrackStatus {
            request_id: RequestId(0),
            track: track(name),
            parameters: Parameters::default(),
        });
        play.ask(subscriber, &format!("status of {}", track(name)), status);
    }
    play.fetch("v", Location::new(0, 1), Location::new(0, 3));
    play.fetch("w", Location::new(0, 0), Location::new(0, 0));
    play.fetch("nothing", Location::new(0, 0), Location::new(1, 0));

    play.cancel(subscriber, &subscribe_to(&track("v")));
    let range = Filter::AbsoluteRange {
        start: Location::new(3, 1),
        end_group: GroupId(4),
    };
    play.subscribe("v", filter(range));
    play.publish(3, 2);
    play.end_group(2);
    play.publish(5, 1);
    play.subscribe("v", filter(Filter::NextGroupStart));
    play.publish(6, 1);
    play.end_group(1);
    play.done(&subscribe_to(&track("v")), DoneCode::TrackEnded);
    push(&mut play, subscriber_draft);
    play.cancel(publisher, "announce live/show");
    play.network.world.shut_down(play.network.relay);
    play.network.world.run_for(PAUSE);
    [play.lines(publisher), play.lines(subscriber)]
}

/// A track that is published without being asked for, and offered to whoever wants such.
fn push(play: &mut Play, draft: Draft) {
    let (publisher, subscriber) = (play.publisher, play.subscriber);
    let (request_id, prefix) = (RequestId(0), namespace(&["push"]));
    let parameters = Parameters::default();
    let watch = match draft {
        Draft::D16 => Request::SubscribeNamespace(SubscribeNamespace {
            request_id,
            prefix,
            interest: Interest::Tracks,
            parameters,
        }),
        Draft::D18 => Request::SubscribeTracks(SubscribeTracks {
            request_id,
            prefix,
            parameters,
        }),
    };
    play.ask(subscriber, "watch tracks of push", watch);
    play.act(publisher, |actor, stage, now| {
        let request = Request::Publish(Publish {
            request_id,
            track: pushed(),
            track_alias: PUSHED_ALIAS,
            parameters: Parameters::default(),
            properties: actor.list(stage, track_properties()),
        });
        let id = actor.session(stage).request(now, request).unwrap();
        actor.log.asked(id, "publish push--p");
    });
    play.publish_for("publish push--p", PUSHED_ALIAS, 0, 2);
    play.end_group(2);
    play.done("publish push--p", DoneCode::TrackEnded);
}

/// Shows the first difference, if there is one.
#[track_caller]
fn assert_same(told: &[String], expected: &[String], who: &str) {
    let length = told.len().max(expected.len());
    let different = (0..length).find(|n| told.get(*n) != expected.get(*n));
    if let Some(n) = different {
        let before = expected.get(n.saturating_sub(3)..n).unwrap_or_default();
        let (told, expected) = (told.get(n), expected.get(n));
        panic!("{who}, after {before:#?}:\n told     {told:?}\n expected {expected:?}");
    }
}

#[test]
fn everybody_is_told_the_same_in_every_pair_of_drafts() {
    let [at_publisher, at_subscriber] = perform(Draft::D18, Draft::D18);
    for publisher in Draft::ALL {
        for subscriber in Draft::ALL {
            let pair = format!("{publisher:?} to {subscriber:?}");
            let told = perform(publisher, subscriber);
            assert_same(&told[0], &at_publisher, &format!("publisher, {pair}"));
            assert_same(&told[1], &at_subscriber, &format!("subscriber, {pair}"));
        }
    }
}
