//! Relays that are clients of other relays: chains, pairs that ask one another, and rings.

use std::time::Duration;

use bytes::Bytes;

use crate::code::{DoneCode, RequestCode};
use crate::draft::Draft;
use crate::relay::{Relay, Settings as RelaySettings};
use crate::runtime::TransportSettings;
use crate::session::{Limits, Role, Settings, Underlay};
use crate::sim::node::{Publisher, Show, Subscriber};
use crate::sim::{Link, NodeId, Program, World};
use crate::transport::Target;
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};

const PORT: u16 = 4433;
const PATIENCE: Duration = Duration::from_secs(60);

/// Relays named `relay 0` and so on.
struct Relays {
    world: World,
    relays: Vec<NodeId>,
}

impl Relays {
    fn new(seed: u64, count: usize) -> Self {
        let mut world = World::new(seed);
        world.set_default_link(Link::default());
        let mut relays = Vec::new();
        for n in 0..count {
            let name = format!("relay {n}");
            let relay = Relay::new(RelaySettings::default());
            let node = world.add(&name, relay, TransportSettings::default());
            let alpns = Draft::ALL.map(alpn);
            world.listen(node, &name, PORT, alpns.to_vec());
            relays.push(node);
        }
        Self { world, relays }
    }

    /// Makes a relay a client of another.
    fn connect(&mut self, from: usize, to: usize, draft: Draft) {
        let target = target(to, draft);
        let relay = self.relays[from];
        let connection = self.world.with(relay, |relay: &mut Relay, _| {
            relay.connect(
                target,
                Bytes::from_static(b"relay"),
                Bytes::from_static(b"/"),
            )
        });
        assert!(connection.is_some());
    }

    fn settle(&mut self) {
        self.world.run_for(Duration::from_secs(1));
    }

    fn publisher(&mut self, at: usize, draft: Draft, show: Show) -> NodeId {
        let program = program(at, draft, Publisher::new(show));
        let node = self
            .world
            .add("publisher", program, TransportSettings::default());
        self.settle();
        node
    }

    fn subscriber(&mut self, at: usize, draft: Draft, track: FullTrackName) -> NodeId {
        let program = program(at, draft, Subscriber::new(track));
        self.world
            .add("subscriber", program, TransportSettings::default())
    }

    fn subscribed(&self, node: NodeId) -> &Subscriber {
        self.world.node::<Program<Subscriber>>(node).part()
    }

    fn until(&mut self, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = self.world.now() + PATIENCE;
        while !condition(self) {
            let went_on = self.world.step();
            assert!(
                went_on && self.world.now() < deadline,
                "{}",
                self.world.trace()
            );
        }
    }

    /// The subscribers get the rest of the show, each object once, and its end.
    fn assert_complete(&mut self, subscribers: &[NodeId], show: &Show) {
        self.until(|relays| {
            let done = |node: &NodeId| relays.subscribed(*node).done().is_some();
            subscribers.iter().all(done)
        });
        for node in subscribers {
            let subscriber = self.subscribed(*node);
            assert_eq!(subscriber.done().unwrap().code, DoneCode::TrackEnded);
            let received = subscriber.received();
            let first = *received.first().expect("something");
            let missing = first.group.0 * show.objects_per_group + first.object.0;
            let all = show.groups * show.objects_per_group;
            assert_eq!(received.len(), usize::try_from(all - missing).unwrap());
            assert!(first.group.0 < 8, "{first}");
        }
    }

    /// A track that nobody has is refused before anybody would time out.
    fn assert_unknown(&mut self, at: usize, name: &'static str) {
        let node = self.subscriber(at, Draft::D18, track(name));
        let asked = self.world.now();
        self.until(|relays| relays.subscribed(node).refusal().is_some());
        let code = self.subscribed(node).refusal().unwrap().code;
        assert_eq!(code, RequestCode::DoesNotExist);
        assert!(self.world.now() < asked + Duration::from_secs(3));
    }

    /// No relay believes that there is still something.
    fn assert_nothing_known(&self) {
        for relay in &self.relays {
            self.world.node::<Relay>(*relay).assert_nothing_known();
        }
    }
}

fn alpn(draft: Draft) -> Bytes {
    Bytes::from_static(draft.profile().alpn.as_bytes())
}

fn target(relay: usize, draft: Draft) -> Target {
    Target {
        host: format!("relay {relay}"),
        port: PORT,
        alpns: vec![alpn(draft)],
    }
}

fn program<P: crate::sim::Part + 'static>(at: usize, draft: Draft, part: P) -> Program<P> {
    let settings = Settings {
        role: Role::Client,
        underlay: Underlay::RawQuic,
        path: Bytes::from_static(b"/"),
        authority: Bytes::from_static(b"relay"),
        accepted_paths: Vec::new(),
        implementation: Bytes::new(),
        authorization_tokens: Vec::new(),
        limits: Limits::default(),
    };
    Program::client(settings, &[draft], target(at, draft), Box::new(part))
}

fn track(name: &'static str) -> FullTrackName {
    FullTrackName {
        namespace: TrackNamespace::new([name]).unwrap(),
        name: TrackName::new("track").unwrap(),
    }
}

/// Forty groups of five objects, one every 50 ms.
fn show(name: &'static str) -> Show {
    Show {
        namespace: TrackNamespace::new([name]).unwrap(),
        tracks: vec![track(name)],
        interval: Duration::from_millis(50),
        objects_per_group: 5,
        groups: 40,
        object_length: 300,
        datagrams: false,
    }
}

#[test]
fn a_chain_of_three_relays_carries_a_track_to_subscribers_on_both_sides() {
    for draft in Draft::ALL {
        let mut relays = Relays::new(1, 3);
        relays.connect(1, 0, draft);
        relays.connect(2, 1, draft);
        relays.settle();
        // Up the chain, down the chain, and from its middle.
        for (at, name) in [(0, "first"), (2, "last"), (1, "middle")] {
            let publisher = relays.publisher(at, draft, show(name));
            let subscribers = [0, 1, 2].map(|n| relays.subscriber(n, draft, track(name)));
            relays.assert_complete(&subscribers, &show(name));
            let publisher = relays.world.node::<Program<Publisher>>(publisher);
            assert_eq!(publisher.part().subscriptions(), 1, "one for all of them");
        }
    }
}

// Rules: B278
#[test]
fn two_relays_that_ask_one_another_do_not_loop() {
    for draft in Draft::ALL {
        let mut relays = Relays::new(2, 2);
        relays.connect(0, 1, draft);
        relays.connect(1, 0, draft);
        relays.settle();
        relays.assert_unknown(0, "nothing");
        relays.assert_unknown(1, "nothing");
        let publisher = relays.publisher(0, draft, show("show"));
        let subscribers = [0, 1].map(|n| relays.subscriber(n, draft, track("show")));
        relays.assert_complete(&subscribers, &show("show"));
        relays.world.shut_down(publisher);
        relays.settle();
        relays.assert_nothing_known();
        relays.assert_unknown(0, "show");
        relays.assert_unknown(1, "show");
    }
}

// Rules: B278
#[test]
fn in_a_ring_of_relays_requests_die_out_and_nothing_haunts_it() {
    for draft in Draft::ALL {
        for seed in 0..3 {
            let mut relays = Relays::new(seed, 3);
            for (from, to) in [(0, 1), (1, 2), (2, 0)] {
                relays.connect(from, to, draft);
            }
            relays.settle();
            relays.assert_unknown(0, "nothing");
            let publisher = relays.publisher(0, draft, show("show"));
            let subscribers = [0, 1, 2].map(|n| relays.subscriber(n, draft, track("show")));
            relays.assert_complete(&subscribers, &show("show"));
            relays.world.shut_down(publisher);
            relays.settle();
            relays.assert_nothing_known();
            relays.assert_unknown(1, "show");
        }
    }
}

#[test]
fn a_relay_in_the_middle_that_dies_ends_the_subscriptions_behind_it_after_the_grace() {
    let mut relays = Relays::new(4, 3);
    relays.connect(1, 0, Draft::D18);
    relays.connect(2, 1, Draft::D18);
    relays.settle();
    let long = Show {
        groups: 10_000,
        ..show("show")
    };
    relays.publisher(0, Draft::D18, long);
    let near = relays.subscriber(0, Draft::D18, track("show"));
    let far = relays.subscriber(2, Draft::D18, track("show"));
    relays.until(|relays| !relays.subscribed(far).received().is_empty());
    relays.world.crash(relays.relays[1]);
    relays.until(|relays| relays.subscribed(far).done().is_some());
    let code = relays.subscribed(far).done().unwrap().code;
    assert_eq!(code, DoneCode::InternalError);
    assert!(relays.subscribed(near).done().is_none());
}
