//! Publishers that vanish, come back and start anew, before subscribers who do not give up.

use std::time::Duration;

use crate::code::{DoneCode, ResetCode};
use crate::draft::Draft;
use crate::relay::{Relay, Settings};
use crate::session::Event;
use crate::sim::node::{Publisher, Show, Subscriber};
use crate::sim::{Access, Failure, Link, Network, NodeId, Part, Program, Stage};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::{GroupId, Location};
use crate::wire::message::Setup;
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};

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

    fn publish(&mut self, access: Access, publisher: Publisher) -> NodeId {
        let node = self.network.client("publisher", access, publisher);
        self.publishers.push(node);
        node
    }

    fn loyal(&self, node: NodeId) -> &Loyal {
        self.network.world.node::<Program<Loyal>>(node).part()
    }

    /// A last publisher from group 0 on: everybody gets all of its end and is told that it was the end. Then all leave.
    fn finale(mut self, seed: u64) {
        let groups = 40;
        let last = Location::new(groups - 1, 4);
        let access = Access::all()[usize::try_from(seed).unwrap() % 4];
        let publisher = self.publish(access, Publisher::new(show(groups)));
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
        churn.finale(seed);
    }
}
