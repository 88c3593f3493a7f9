//! Publishers that vanish, come back and start anew, before subscribers who do not give up.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whoever only publishes has no use for the other events"
)]

use std::time::Duration;

use crate::code::{DoneCode, RequestCode, ResetCode};
use crate::draft::Draft;
use crate::relay::{Relay, Settings};
use crate::session::{Event, Misuse, Refusal, Request, Response};
use crate::sim::node::{Publisher, Show, Subscriber, payload};
use crate::sim::{
    Access, Failure, Link, Network, NodeId, Part, Program, Stage, Subgroup, subgroup_header,
};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::{GroupId, Location, Millis, RequestId, TrackAlias};
use crate::wire::message::{Publish, RequestOk, Retry, Setup};
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};
use crate::wire::object::SubgroupHeader;
use crate::wire::param::Parameters;
use crate::wire::property::Properties;

const PATIENCE: Duration = Duration::from_secs(300);
/// How long a subscriber waits before it asks again after a refusal.
const RETRY: Duration = Duration::from_millis(200);

/// Subscribes anew whenever its subscription is refused or over.
#[derive(Debug)]
struct Loyal {
    track: FullTrackName,
    draft: Option<Draft>,
    current: Subscriber,
    /// Subscriptions that are over: how many objects, and how they ended.
    past: Vec<(usize, Option<DoneCode>)>,
    /// The largest location of the last subscription that ended with its track.
    ended: Option<Location>,
    ask_at: Option<(Time, ConnectionId)>,
}

impl Loyal {
    fn new(track: FullTrackName) -> Self {
        Self {
            current: Subscriber::new(track.clone()),
            track,
            draft: None,
            past: Vec::new(),
            ended: None,
            ask_at: None,
        }
    }

    fn ask(&mut self, stage: &mut Stage<'_>, connection: ConnectionId) -> Result<(), Failure> {
        let Some(draft) = self.draft else {
            return Ok(());
        };
        self.ask_at = None;
        let next = Subscriber::new(self.track.clone());
        let last = std::mem::replace(&mut self.current, next);
        let code = last.done().map(|done| done.code);
        if code == Some(DoneCode::TrackEnded) {
            self.ended = last.received().last().copied();
        }
        self.past.push((last.received().len(), code));
        let established = Event::Established {
            draft,
            setup: Setup::default(),
        };
        self.current.handle_event(stage, connection, established)
    }
}

impl Part for Loyal {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        if let Event::Established { draft, .. } = event {
            self.draft = Some(draft);
        }
        let is_over = matches!(event, Event::Settled { .. } | Event::Cancelled { .. });
        self.current.handle_event(stage, connection, event)?;
        if is_over {
            return self.ask(stage, connection);
        }
        if self.current.refusal().is_some() && self.ask_at.is_none() {
            self.ask_at = Some((stage.now() + RETRY, connection));
        }
        Ok(())
    }

    fn handle_timeout(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        match self.ask_at {
            Some((_, connection)) => self.ask(stage, connection),
            None => Ok(()),
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.ask_at.map(|(at, _)| at)
    }
}

/// PUBLISHes the track again and again on one session, from group 0 each time, and sends while somebody wants it.
#[derive(Debug)]
struct Pusher {
    /// Of each PUBLISH.
    groups: u64,
    times: u64,
    published: u64,
    request: Option<(ConnectionId, RequestId)>,
    forward: bool,
    next: Location,
    at: Option<Time>,
    open: Option<Subgroup>,
}

impl Pusher {
    const fn new(groups: u64, times: u64) -> Self {
        Self {
            groups,
            times,
            published: 0,
            request: None,
            forward: false,
            next: Location::new(0, 0),
            at: None,
            open: None,
        }
    }

    const fn alias(&self) -> TrackAlias {
        TrackAlias(self.published)
    }

    fn publish(&mut self, stage: &mut Stage<'_>, connection: ConnectionId) -> Result<(), Failure> {
        let now = stage.now();
        self.at = None;
        let request = Request::Publish(Publish {
            request_id: RequestId(0),
            track: track(),
            track_alias: TrackAlias(self.published + 1),
            parameters: Parameters::default(),
            properties: Properties::default(),
        });
        match stage.session(connection)?.request(now, request) {
            Ok(id) => {
                self.published += 1;
                self.request = Some((connection, id));
                self.next = Location::new(0, 0);
                Ok(())
            }
            // The last one is not over yet.
            Err(Misuse::DuplicateSubscription | Misuse::Blocked) => {
                self.wait(now + RETRY, connection);
                Ok(())
            }
            Err(misuse) => Err(misuse.to_string()),
        }
    }

    /// Tries again then.
    const fn wait(&mut self, until: Time, connection: ConnectionId) {
        self.request = Some((connection, RequestId(0)));
        self.at = Some(until);
        self.next = Location::new(self.groups + 1, 0);
    }

    fn send(&mut self, stage: &mut Stage<'_>) -> Result<(), Misuse> {
        let Some((connection, id)) = self.request else {
            return Ok(());
        };
        let at = self.next;
        if self.forward {
            let mut subgroup = if let Some(open) = self.open {
                open
            } else {
                let header = SubgroupHeader {
                    first_object: at.object.0 == 0,
                    end_of_group: true,
                    ..subgroup_header(at.group.0, 0)
                };
                stage.open_subgroup(connection, id, self.alias(), &header)?
            };
            stage.object(&mut subgroup, at.object, payload(&track(), at, 500))?;
            self.open = Some(subgroup);
        }
        self.next = Location::new(at.group.0, at.object.0 + 1);
        if self.next.object.0 == 5 {
            self.next = Location::new(at.group.0 + 1, 0);
            if let Some(subgroup) = self.open.take() {
                stage.finish(subgroup);
            }
        }
        Ok(())
    }
}

impl Part for Pusher {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let now = stage.now();
        match event {
            Event::Established { .. } => self.publish(stage, connection)?,
            Event::Response { response, .. } => match response {
                Response::Ok(ok) => {
                    self.forward = ok.parameters.forward.unwrap_or(true);
                    self.at = Some(now + Duration::from_millis(50));
                }
                // Those who vanished still count as publishers.
                Response::Error(Refusal {
                    retry: Retry::After(Millis(millis)),
                    ..
                }) => {
                    self.published -= 1;
                    self.wait(now + Duration::from_millis(millis), connection);
                }
                other => return Err(format!("PUBLISH was answered {other:?}")),
            },
            Event::Update {
                id,
                update,
                parameters,
            } => {
                self.forward = parameters.forward.unwrap_or(self.forward);
                if !self.forward
                    && let Some(subgroup) = self.open.take()
                {
                    stage.finish(subgroup);
                }
                let session = stage.session(connection)?;
                let answered = session.respond_to_update(now, id, update, Ok(RequestOk::default()));
                answered.map_err(|misuse| misuse.to_string())?;
            }
            Event::Request { id, .. } => {
                let refusal = Refusal::new(RequestCode::NotSupported, "only PUBLISH");
                let session = stage.session(connection)?;
                let answered = session.respond(now, id, Response::Error(refusal));
                answered.map_err(|misuse| misuse.to_string())?;
            }
            // The relay gave this PUBLISH up: the next one follows.
            Event::Cancelled { id, .. } if self.request == Some((connection, id)) => {
                self.open = None;
                self.request = None;
                if self.published < self.times {
                    self.publish(stage, connection)?;
                }
            }
            Event::StreamStopped { stream, .. } => {
                self.open = self.open.filter(|open| open.stream() != stream);
            }
            _ => {}
        }
        Ok(())
    }

    fn handle_timeout(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let Some((connection, id)) = self.request else {
            self.at = None;
            return Ok(());
        };
        if self.next.group.0 < self.groups {
            self.at = self.at.map(|at| at + Duration::from_millis(50));
            return match self.send(stage) {
                Ok(()) | Err(Misuse::Blocked | Misuse::Closed | Misuse::UnknownRequest) => Ok(()),
                Err(misuse) => Err(misuse.to_string()),
            };
        }
        if self.next.group.0 == self.groups {
            let now = stage.now();
            let session = stage.session(connection)?;
            let done = session.done(now, id, DoneCode::TrackEnded, "over");
            done.map_err(|misuse| misuse.to_string())?;
        }
        if self.published < self.times {
            return self.publish(stage, connection);
        }
        self.request = None;
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.at
    }
}

fn track() -> FullTrackName {
    FullTrackName {
        namespace: TrackNamespace::new(["show"]).unwrap(),
        name: TrackName::new("track").unwrap(),
    }
}

fn show(groups: u64) -> Show {
    Show {
        namespace: TrackNamespace::new(["show"]).unwrap(),
        tracks: vec![track()],
        interval: Duration::from_millis(50),
        objects_per_group: 5,
        groups,
        object_length: 700,
        datagrams: false,
    }
}

/// A stage on which publishers come and go.
struct Churn {
    network: Network,
    subscribers: Vec<NodeId>,
    publishers: Vec<NodeId>,
}

impl Churn {
    fn new(seed: u64, link: Link) -> Self {
        let relay = Relay::new(Settings::default());
        let mut network = Network::new(seed, link, relay);
        let all = Access::all().into_iter().cycle().take(8);
        let subscribers = all
            .map(|access| network.client("subscriber", access, Loyal::new(track())))
            .collect();
        Self {
            network,
            subscribers,
            publishers: Vec::new(),
        }
    }

    fn publish<P: Part + 'static>(&mut self, access: Access, publisher: P) -> NodeId {
        let node = self.network.client("publisher", access, publisher);
        self.publishers.push(node);
        node
    }

    fn loyal(&self, node: NodeId) -> &Loyal {
        self.network.world.node::<Program<Loyal>>(node).part()
    }

    /// A last publisher from group 0 on: everybody gets all of its end and is told that it was the end. Then all leave.
    fn finale<P: Part + 'static>(mut self, seed: u64, last: impl FnOnce(u64) -> P) {
        let access = Access::all()[usize::try_from(seed).unwrap() % 4];
        let publisher = self.publish(access, last(40));
        let last = Location::new(39, 4);
        let everybody = self.subscribers.clone();
        let over = self.network.until(PATIENCE, |network| {
            everybody.iter().all(|subscriber| {
                let loyal = network.world.node::<Program<Loyal>>(*subscriber).part();
                loyal.ended == Some(last)
            })
        });
        self.network.check(&everybody);
        if let Err(stuck) = over {
            let states = everybody.iter().map(|node| {
                let loyal = self.loyal(*node);
                (
                    loyal.ended,
                    loyal.past.clone(),
                    loyal.current.received().len(),
                )
            });
            let states: Vec<_> = states.collect();
            panic!("{states:#?}\n{stuck}");
        }
        self.network.check(&[publisher]);
        for node in everybody.into_iter().chain(self.publishers) {
            if self.network.world.exit(node).is_none() {
                self.network.world.shut_down(node);
            }
        }
        self.network.world.run_for(Duration::from_secs(120));
        let relay = self.network.relay;
        let world = &mut self.network.world;
        world.with(relay, |relay: &mut Relay, _| relay.assert_empty());
    }
}

#[test]
fn publishers_that_crash_leave_reset_and_start_anew_leave_nobody_behind() {
    for seed in 0..4_u64 {
        let mut churn = Churn::new(seed, Link::default());
        let mut next = GroupId(0);
        for round in 0..10 {
            let n = usize::try_from(seed).unwrap() + round;
            let access = Access::all()[n % 4];
            // Every third one starts at group 0, the others where the last one was.
            let first = if n.is_multiple_of(3) {
                GroupId(0)
            } else {
                next
            };
            let node = churn.publish(access, Publisher::from(show(1000), first));
            churn.network.world.run_for(Duration::from_millis(1530));
            next = GroupId(churn.network.publisher(node).next().group.0 + 1);
            let world = &mut churn.network.world;
            match n % 4 {
                0 => world.crash(node),
                1 => world.shut_down(node),
                2 => {
                    world.with(node, |program: &mut Program<Publisher>, now| {
                        program.act(now, |publisher, stage| {
                            publisher
                                .reset_all(stage, ResetCode::InternalError)
                                .unwrap();
                        });
                    });
                    world.shut_down(node);
                }
                // This one goes on beside the next.
                _ => {}
            }
        }
        for publisher in churn.publishers.clone() {
            if churn.network.world.exit(publisher).is_none() {
                churn.network.world.crash(publisher);
            }
        }
        churn.network.world.run_for(Duration::from_secs(60));
        churn.finale(seed, |groups| Publisher::new(show(groups)));
    }
}

#[test]
fn tracks_that_are_published_again_and_again_leave_nobody_behind() {
    for seed in 0..4_u64 {
        let mut churn = Churn::new(seed, Link::default());
        for round in 0..8 {
            let n = usize::try_from(seed).unwrap() + round;
            // One PUBLISH after another on one session, of tracks that end and begin at group 0 again.
            let node = churn.publish(Access::all()[n % 4], Pusher::new(2, 1000));
            churn.network.world.run_for(Duration::from_millis(1730));
            churn.network.check(&[node]);
            match n % 3 {
                0 => churn.network.world.crash(node),
                1 => churn.network.world.shut_down(node),
                _ => {}
            }
        }
        for publisher in churn.publishers.clone() {
            if churn.network.world.exit(publisher).is_none() {
                churn.network.world.crash(publisher);
            }
        }
        churn.network.world.run_for(Duration::from_secs(60));
        churn.finale(seed, |groups| Pusher::new(groups, 1));
    }
}
