//! Subscribers that do not read, and publishers that are faster than any subscriber. With `--nocapture` the tests tell
//! their figures.
#![expect(clippy::print_stdout, reason = "figures are for people")]

use std::collections::BTreeMap;
use std::time::Duration;

use crate::code::{DoneCode, RequestCode};
use crate::draft::Draft;
use crate::relay::{Relay, Settings};
use crate::runtime::TransportSettings;
use crate::session::StreamEnd;
use crate::sim::node::{Publisher, Show, Subscriber};
use crate::sim::{Access, Link, Network, NodeId};
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};

const PATIENCE: Duration = Duration::from_secs(100);

fn name(track: &str) -> FullTrackName {
    FullTrackName {
        namespace: TrackNamespace::new(["show"]).unwrap(),
        name: TrackName::new(track.as_bytes().to_vec()).unwrap(),
    }
}

fn raw(draft: Draft) -> Access {
    Access {
        draft,
        web_transport: false,
    }
}

/// Settings of a relay that keeps nothing of the past, so that memory tells what waits.
fn without_cache() -> Settings {
    let mut settings = Settings::default();
    settings.cache.max_tracks = 0;
    settings
}

fn used(network: &Network) -> usize {
    network.world.node::<Relay>(network.relay).ledger().used()
}

/// A publisher that has announced its show, which begins a second after its coming.
fn publisher(network: &mut Network, draft: Draft, show: Show) -> NodeId {
    let part = Publisher::new(show).after(Duration::from_secs(1));
    let publisher = network.client("publisher", raw(draft), part);
    network.world.run_for(Duration::from_millis(100));
    publisher
}

/// A subscriber that asks, and then reads no further than the beginning of each stream.
fn stalled(network: &mut Network, draft: Draft) -> NodeId {
    let windows = TransportSettings {
        publisher_window: 10_000,
        ..TransportSettings::default()
    };
    let part = Subscriber::new(name("track")).paused();
    network.client_with("stalled", raw(draft), part, windows)
}

/// What a run with many subscribers came to.
#[derive(Debug)]
struct Figures {
    /// The most that was in memory.
    peak: usize,
    /// How long after it was sent each object had reached every subscriber that reads.
    latency: Vec<Duration>,
}

impl Figures {
    fn worst(&self) -> Duration {
        self.latency.iter().copied().max().unwrap_or_default()
    }
}

/// Runs a show before 99 subscribers that read, and one that does not if it is to be there.
fn before_a_hundred(settings: Settings, draft: Draft, is_one_stalled: bool) -> Figures {
    let show = Show {
        namespace: TrackNamespace::new(["show"]).unwrap(),
        tracks: vec![name("track")],
        interval: Duration::from_millis(20),
        objects_per_group: 20,
        groups: 3,
        object_length: 2_000,
        datagrams: false,
    };
    let mut network = Network::new(1, Link::default(), Relay::new(settings));
    let publisher = publisher(&mut network, draft, show.clone());
    let clients: Vec<NodeId> = (0..99)
        .map(|_| network.client("fast", raw(draft), Subscriber::new(name("track"))))
        .collect();
    let slow = is_one_stalled.then(|| stalled(&mut network, draft));
    let (mut sent, mut reached) = (BTreeMap::new(), BTreeMap::new());
    let mut peak = 0;
    let deadline = network.world.now() + PATIENCE;
    let done = |network: &Network| {
        let mut all = clients.iter();
        all.all(|client| network.subscriber(*client).done().is_some())
    };
    while !done(&network) {
        assert!(network.world.now() < deadline && network.world.step());
        let now = network.world.now();
        peak = peak.max(used(&network));
        sent.entry(network.publisher(publisher).objects_sent())
            .or_insert(now);
        let least = clients
            .iter()
            .map(|client| network.subscriber(*client).received().len())
            .min();
        let least = u64::try_from(least.unwrap_or(0)).unwrap();
        reached.entry(least).or_insert(now);
    }
    network.check(&clients);
    let all = show.groups * show.objects_per_group;
    for client in &clients {
        let subscriber = network.subscriber(*client);
        assert_eq!(subscriber.received().len(), usize::try_from(all).unwrap());
        assert!(subscriber.ends().iter().all(|end| *end == StreamEnd::Fin));
        assert_eq!(subscriber.done().unwrap().code, DoneCode::TrackEnded);
    }
    if let Some(slow) = slow {
        network.world.run_for(Duration::from_secs(1));
        let done = network.subscriber(slow).done().expect("it is told");
        assert_eq!(done.code, DoneCode::TooFarBehind);
        assert!(!network.subscriber(slow).is_closed());
    }
    let latency = (1..=all).map(|count| reached[&count].since(sent[&count]));
    Figures {
        peak,
        latency: latency.collect(),
    }
}

#[test]
fn one_of_a_hundred_that_does_not_read_costs_no_more_than_it_may_and_nobody_else_notices() {
    for draft in Draft::ALL {
        let mut settings = without_cache();
        settings.fanout.max_subscriber_lag = 50_000;
        let without = before_a_hundred(settings.clone(), draft, false);
        let with = before_a_hundred(settings.clone(), draft, true);
        println!(
            "{draft:?}: 120 kB to each of 100 subscribers, one of them stalled: {} bytes of objects in memory at most, {} without \
             it; slowest delivery to the others {:?}, {:?} without it",
            with.peak,
            without.peak,
            with.worst(),
            without.worst()
        );
        assert_eq!(with.latency, without.latency);
        let lag = usize::try_from(settings.fanout.max_subscriber_lag).unwrap();
        // Besides, there is what its transport holds.
        assert!(with.peak <= lag + without.peak + 30_000, "{}", with.peak);
        assert!(with.peak > lag, "it was behind: {}", with.peak);
    }
}

#[test]
fn when_memory_is_short_the_one_that_does_not_read_goes_and_nobody_else_notices() {
    let mut settings = without_cache();
    settings.limits.max_object_bytes = 100_000;
    settings.fanout.max_backlog_under_pressure = 30_000;
    let without = before_a_hundred(settings.clone(), Draft::D18, false);
    let with = before_a_hundred(settings, Draft::D18, true);
    assert_eq!(with.latency, without.latency);
    assert!(with.peak > 60_000, "{}", with.peak);
    assert!(with.peak <= 95_000, "{}", with.peak);
}

/// A long show, faster than the only path to a subscriber.
fn torrent() -> Show {
    Show {
        namespace: TrackNamespace::new(["show"]).unwrap(),
        tracks: vec![name("track")],
        interval: Duration::from_millis(1),
        objects_per_group: 160,
        groups: 1,
        object_length: 10_000,
        datagrams: false,
    }
}

/// A relay that lets 256 kB lie, and does not fill its paths with more than 50 kB.
fn patient_relay() -> Network {
    let mut settings = without_cache();
    settings.fanout.max_backlog = 256_000;
    settings.fanout.max_subscriber_lag = 1_000_000;
    settings.limits.max_pause = Duration::from_secs(4);
    let transport = TransportSettings {
        max_unacked: 50_000,
        ..TransportSettings::default()
    };
    settings.transport = transport.clone();
    Network::with_transport(1, Link::default(), Relay::new(settings), transport)
}

#[test]
fn a_publisher_that_is_faster_than_every_path_has_to_wait_and_is_still_answered() {
    for draft in Draft::ALL {
        let mut network = patient_relay();
        let publisher = publisher(&mut network, draft, torrent());
        // 10 MB/s come in, 500 kB/s can leave.
        network.world.set_default_link(Link {
            rate: Some(500_000),
            ..Link::default()
        });
        let client = network.client("slow", raw(draft), Subscriber::new(name("track")));
        network.world.run_for(Duration::from_millis(900));
        network.world.set_default_link(Link::default());
        let start = network.world.now();
        let (mut peak, mut answered) = (0, None);
        let mut other = None;
        while network.subscriber(client).done().is_none() {
            assert!(network.world.step());
            let now = network.world.now();
            peak = peak.max(used(&network));
            let since = now.since(start);
            if other.is_none() && since > Duration::from_secs(1) {
                // The publisher has the answer, on the connection that is held back.
                assert_eq!(network.publisher(publisher).objects_sent(), 160);
                assert!(network.subscriber(client).received().len() < 80);
                let unknown = Subscriber::new(name("unknown"));
                other = Some((network.client("other", raw(draft), unknown), now));
            }
            if let Some((other, asked)) = other
                && answered.is_none()
                && let Some(refusal) = network.subscriber(other).refusal()
            {
                assert_eq!(refusal.code, RequestCode::DoesNotExist);
                answered = Some(now.since(asked));
            }
            assert!(since < PATIENCE);
        }
        let took = network.world.now().since(start);
        println!(
            "{draft:?}: 1.6 MB at 10 MB/s onto a path of 500 kB/s: all there after {took:?}, {peak} bytes of objects in memory \
             at most; a request that the publisher had to answer took {answered:?}, set-up included"
        );
        network.check(&[client, publisher]);
        let subscriber = network.subscriber(client);
        assert_eq!(subscriber.received().len(), 160);
        assert_eq!(subscriber.ends(), [StreamEnd::Fin]);
        assert_eq!(subscriber.done().unwrap().code, DoneCode::TrackEnded);
        // One read more than may lie there, and what is on its way.
        assert!(peak < 256_000 + 65_536 + 50_000 + 30_000, "{peak}");
        assert!(answered.unwrap() < Duration::from_millis(300));
    }
}

#[test]
fn many_streams_that_nobody_keeps_up_with_do_not_keep_control_from_being_answered() {
    let mut network = patient_relay();
    let show = Show {
        objects_per_group: 1,
        groups: 160,
        ..torrent()
    };
    let publisher = publisher(&mut network, Draft::D18, show);
    network.world.set_default_link(Link {
        rate: Some(100_000),
        ..Link::default()
    });
    let client = network.client("slow", raw(Draft::D18), Subscriber::new(name("track")));
    network.world.run_for(Duration::from_millis(900));
    network.world.set_default_link(Link::default());
    network.world.run_for(Duration::from_secs(1));
    assert_eq!(network.publisher(publisher).objects_sent(), 160);
    let asked = network.world.now();
    let unknown = Subscriber::new(name("unknown"));
    let other = network.client("other", raw(Draft::D18), unknown);
    let refused = |network: &Network| network.subscriber(other).refusal().is_some();
    network.until(PATIENCE, refused).unwrap();
    let took = network.world.now().since(asked);
    assert!(took < Duration::from_millis(300), "{took:?}");
    let mut peak = 0;
    while network.subscriber(client).done().is_none() {
        assert!(network.world.step());
        peak = peak.max(used(&network));
    }
    network.check(&[client, publisher, other]);
    assert!(peak < 256_000 + 65_536 + 50_000 + 30_000, "{peak}");
    // What could wait arrived; what could not was stopped.
    let received = network.subscriber(client).received().len();
    assert!((25..160).contains(&received), "{received}");
    let done = network.subscriber(client).done().unwrap();
    assert_eq!(done.code, DoneCode::TrackEnded);
}

#[test]
fn a_publisher_does_not_wait_for_the_slow_while_somebody_keeps_up() {
    let mut network = patient_relay();
    publisher(&mut network, Draft::D18, torrent());
    network.world.set_default_link(Link {
        rate: Some(500_000),
        ..Link::default()
    });
    let slow = network.client("slow", raw(Draft::D18), Subscriber::new(name("track")));
    network.world.run_for(Duration::from_millis(50));
    network.world.set_default_link(Link::default());
    let fast = network.client("fast", raw(Draft::D18), Subscriber::new(name("track")));
    network.world.run_for(Duration::from_millis(850));
    let start = network.world.now();
    let all = [slow, fast];
    network
        .until(PATIENCE, |network| {
            network.subscriber(fast).done().is_some()
        })
        .unwrap();
    let took = network.world.now().since(start);
    assert!(took < Duration::from_secs(2), "{took:?}");
    network.check(&all);
    assert_eq!(network.subscriber(fast).received().len(), 160);
    network.world.run_for(Duration::from_secs(1));
    let done = network.subscriber(slow).done().expect("it is told");
    assert_eq!(done.code, DoneCode::TooFarBehind);
}

#[test]
fn max_pause_ends_a_subscription_for_which_its_publisher_waits_in_vain() {
    let mut network = patient_relay();
    let publisher = publisher(&mut network, Draft::D18, torrent());
    let slow = stalled(&mut network, Draft::D18);
    network.world.run_for(Duration::from_millis(4_500));
    assert_eq!(network.subscriber(slow).done(), None);
    assert!(used(&network) > 200_000);
    network.world.run_for(Duration::from_secs(3));
    let done = network.subscriber(slow).done().expect("it is told");
    assert_eq!(done.code, DoneCode::TooFarBehind);
    assert_eq!(network.publisher(publisher).subscribers(), 0);
    assert_eq!(used(&network), 0);
}
