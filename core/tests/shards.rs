//! Several shards of one relay: what comes over a link, what is not told there, and the account of memory that they share.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::code::DoneCode;
use oxymoq_core::draft::Draft;
use oxymoq_core::ledger::{LEASE, Ledger};
use oxymoq_core::link::{self, Frame, MAX_IN_FLIGHT, Shard};
use oxymoq_core::relay::{Relay, Settings, Shared};
use oxymoq_core::sim::node::{Publisher, Show, Subscriber};
use oxymoq_core::sim::{Access, Link, Network, NodeId, Shards};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{Application as _, Exit};
use oxymoq_core::wire::id::Location;
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use proptest::prelude::*;

const PATIENCE: Duration = Duration::from_secs(100);

fn track() -> FullTrackName {
    FullTrackName {
        namespace: TrackNamespace::new(["show"]).unwrap(),
        name: TrackName::new("track").unwrap(),
    }
}

fn show(object_length: usize) -> Show {
    Show {
        namespace: TrackNamespace::new(["show"]).unwrap(),
        tracks: vec![track()],
        interval: Duration::from_millis(50),
        objects_per_group: 5,
        groups: 8,
        object_length,
        datagrams: false,
    }
}

const ACCESS: Access = Access {
    draft: Draft::D18,
    web_transport: false,
};

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.cache.max_age = Duration::from_secs(5);
    settings
}

fn network(seed: u64, shards: usize) -> Network {
    let lateness = Duration::from_micros(300);
    let relay = Shards::new(seed, shards, &settings(), lateness);
    Network::new(seed, Link::default(), relay)
}

fn shards(network: &Network) -> &[Relay] {
    network.world.node::<Shards>(network.relay).relays()
}

fn from(show: &Show, first: Location) -> BTreeSet<Location> {
    let groups = 0..show.groups;
    let all = groups.flat_map(|g| (0..show.objects_per_group).map(move |o| Location::new(g, o)));
    all.filter(|at| *at >= first).collect()
}

/// Whether a subscriber got everything from some location on, once each, and the first of it.
fn complete(network: &Network, client: NodeId, show: &Show) -> Location {
    let subscriber = network.subscriber(client);
    let got = subscriber.received();
    let first = *got.first().unwrap();
    assert_eq!(*got, from(show, first), "{client:?}");
    assert_eq!(subscriber.done().unwrap().code, DoneCode::TrackEnded);
    first
}

#[test]
fn everybody_gets_everything_whichever_shard_he_came_to() {
    for (seed, count, length) in [(1, 2, 300), (2, 4, 30_000)] {
        let mut network = network(seed, count);
        let publisher = network.client("publisher", ACCESS, Publisher::new(show(length)));
        network.world.run_for(Duration::from_millis(200));
        let mut clients = Vec::new();
        for n in 0..12 {
            let accesses = Access::all();
            let access = accesses[n % accesses.len()];
            clients.push(network.client(&format!("{n}"), access, Subscriber::new(track())));
        }
        let everybody = clients.clone();
        let is_done = |network: &Network| {
            let mut all = everybody.iter();
            all.all(|client| network.subscriber(*client).done().is_some())
        };
        network.until(PATIENCE, is_done).unwrap();
        network.check(&clients);
        network.check(&[publisher]);
        for client in &clients {
            assert!(complete(&network, *client, &show(length)) < Location::new(4, 0));
        }
        // Once for each shard that wants it, but once only at the publisher.
        assert_eq!(network.publisher(publisher).subscriptions(), 1);
        for client in clients.into_iter().chain([publisher]) {
            network.world.crash(client);
        }
        network.world.run_for(Duration::from_secs(120));
        let left = network.world.node::<Shards>(network.relay).left_over();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn two_publishers_in_different_shards_are_both_asked_and_nothing_comes_twice() {
    for seed in 0..6 {
        let mut network = network(seed, 3);
        let publishers = ["one", "other"];
        let publishers =
            publishers.map(|name| network.client(name, ACCESS, Publisher::new(show(2000))));
        network.world.run_for(Duration::from_millis(200));
        let clients: Vec<NodeId> = (0..5)
            .map(|n| network.client(&format!("{n}"), ACCESS, Subscriber::new(track())))
            .collect();
        let everybody = clients.clone();
        let is_done = |network: &Network| {
            let mut all = everybody.iter();
            all.all(|client| network.subscriber(*client).done().is_some())
        };
        network.until(PATIENCE, is_done).unwrap();
        for client in &clients {
            complete(&network, *client, &show(2000));
        }
        for publisher in publishers {
            assert_eq!(network.publisher(publisher).subscriptions(), 1);
        }
        network.check(&clients);
        for client in clients.into_iter().chain(publishers) {
            network.world.crash(client);
        }
        network.world.run_for(Duration::from_secs(120));
        let left = network.world.node::<Shards>(network.relay).left_over();
        assert!(left.is_empty(), "seed {seed}: {left:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut network = network(seed, 3);
        network.client("publisher", ACCESS, Publisher::new(show(1000)));
        network.world.run_for(Duration::from_millis(200));
        for n in 0..4 {
            network.client(&format!("{n}"), ACCESS, Subscriber::new(track()));
        }
        network.world.run_for(Duration::from_secs(4));
        network.world.trace().hash()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn payload_that_crosses_a_link_is_in_memory_once() {
    const LENGTH: usize = 40_000;
    let mut network = network(3, 4);
    let publisher = network.client("publisher", ACCESS, Publisher::new(show(LENGTH)));
    network.world.run_for(Duration::from_millis(200));
    for n in 0..16 {
        network.client(&format!("{n}"), ACCESS, Subscriber::new(track()));
    }
    let mut most = 0;
    for _ in 0..400 {
        network.world.run_for(Duration::from_millis(10));
        most = most.max(shards(&network)[0].ledger().used());
    }
    network.check(&[publisher]);
    // The last three groups are in the cache of each shard, and the next may be on its way; a copy in each would be four times
    // as much.
    assert!(most >= 3 * 5 * LENGTH, "{most}");
    assert!(most < 5 * 5 * LENGTH, "{most}");
}

#[test]
fn threads_share_a_limit_exactly() {
    const LIMIT: usize = 300 << 10;
    let ledgers = Ledger::shared(LIMIT, 4);
    let outside = ledgers[0].clone();
    thread::scope(|scope| {
        for (seed, ledger) in (0_usize..).zip(&ledgers) {
            scope.spawn(move || {
                let mut held = Vec::new();
                for n in 0..20_000_usize {
                    let bytes = (n * 7919 + seed * 104_729) % 9000 + 1;
                    held.extend(ledger.charge(bytes));
                    if held.len() > 20 {
                        held.swap_remove(n % 20);
                    }
                    assert!(ledger.used() <= LIMIT);
                }
            });
        }
    });
    assert_eq!(outside.used(), 0);
    // Nothing was lost on the way: all of it can be had by one, as soon as the others are gone.
    let mut ledgers = ledgers.into_iter();
    let one = ledgers.next().unwrap();
    drop(ledgers);
    assert!(one.charge(LIMIT).is_some());
    assert!(one.charge(LIMIT + 1).is_none());
}

#[test]
fn a_charge_that_is_dropped_on_another_thread_is_given_back() {
    let ledgers = Ledger::shared(64 * 2 * LEASE, 2);
    let chunk = ledgers[0].copy(&[1; 1000]).unwrap();
    assert!(ledgers[1].used() >= 1000);
    thread::scope(|scope| {
        scope.spawn(move || drop(chunk));
    });
    assert_eq!(ledgers[1].used(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever shards charge and give back: never more than the limit, but for what may be charged beyond it; and one
    /// account alone refuses only what does not fit.
    #[test]
    fn leases_stay_within_the_limit(
        limit in 0_usize..50_000,
        shards in 1_usize..5,
        steps in prop::collection::vec((0_usize..5, 0_usize..4, 0_usize..9_000), 0..200),
    ) {
        let ledgers = Ledger::shared(limit, shards);
        let mut held: Vec<(usize, oxymoq_core::ledger::Charge)> = Vec::new();
        let mut beyond = 0;
        for (shard, what, bytes) in steps {
            let ledger = &ledgers[shard % shards];
            let used: usize = held.iter().map(|(bytes, _)| bytes).sum();
            prop_assert_eq!(ledger.used(), used);
            match what {
                0 if !held.is_empty() => drop(held.swap_remove(bytes % held.len())),
                1 if bytes < 500 => {
                    beyond += bytes;
                    held.push((bytes, ledger.charge_always(bytes)));
                }
                _ => match ledger.charge(bytes) {
                    Some(charge) => {
                        prop_assert!(used + bytes <= limit + beyond);
                        held.push((bytes, charge));
                    }
                    None if shards == 1 => prop_assert!(used + bytes > limit),
                    None => {}
                },
            }
        }
        drop(held);
        prop_assert_eq!(ledgers[0].used(), 0);
    }
}

#[test]
fn a_link_holds_no_more_than_it_may_and_nothing_is_lost() {
    let slow = Duration::from_millis(60);
    let relay = Shards::new(11, 2, &settings(), slow);
    let link = Link {
        max_piece: 64 << 10,
        ..Link::default()
    };
    let mut network = Network::new(11, link, relay);
    // Each object has a stream of its own, so that one stream's window is not what holds them back.
    let flood = Show {
        interval: Duration::from_millis(4),
        objects_per_group: 1,
        groups: 120,
        object_length: 80_000,
        ..show(0)
    };
    network.client("publisher", ACCESS, Publisher::new(flood.clone()));
    network.world.run_for(Duration::from_millis(100));
    let clients: Vec<NodeId> = (0..4)
        .map(|n| network.client(&format!("{n}"), ACCESS, Subscriber::new(track())))
        .collect();
    let everybody = clients.clone();
    let is_done = |network: &Network| {
        let mut all = everybody.iter();
        all.all(|client| network.subscriber(*client).done().is_some())
    };
    network.until(PATIENCE, is_done).unwrap();
    for client in clients {
        complete(&network, client, &flood);
    }
    let fullest = network.world.node::<Shards>(network.relay).fullest();
    assert!(fullest > MAX_IN_FLIGHT / 2, "{fullest}");
    // What exceeds it are ends of streams and credit.
    assert!(fullest < MAX_IN_FLIGHT + MAX_IN_FLIGHT / 16, "{fullest}");
}

#[test]
fn a_link_that_is_closed_is_reported_and_its_shard_forgotten() {
    let mut relay = Relay::new(settings());
    let mut link = link::Link::new(&mut relay, Time::ZERO, Shard(1), Shard(0));
    assert_eq!(link.failure(), None);
    assert_eq!(relay.left_over(), []);
    let reason = Bytes::from_static(b"it rains");
    link.handle_frame(&mut relay, Time::ZERO, Frame::Close { code: 3, reason });
    let why = link.failure().unwrap();
    assert!(why.contains("it rains") && why.contains("0x3"), "{why}");
    while let Some(connection) = relay.poll_dirty() {
        assert_eq!(relay.poll_output(Time::ZERO, connection), None);
    }
    assert_eq!(relay.left_over(), []);
}

#[test]
fn links_neither_keep_a_relay_from_ending_nor_end_before_it() {
    let mut relay = Relay::new(settings());
    let mut link = link::Link::new(&mut relay, Time::ZERO, Shard(0), Shard(1));
    relay.handle_shutdown(Time::ZERO);
    assert_eq!(relay.poll_exit(), Some(Exit::Success));
    relay.handle_shutdown(Time::ZERO);
    while let Some(frame) = link.poll_frame(&mut relay, Time::ZERO) {
        assert!(!matches!(frame, Frame::Close { .. }));
    }
    assert_eq!(link.failure(), None);
}

#[test]
fn what_threads_hand_to_one_another_may_be_handed_over() {
    const fn is_send<T: Send>() {}
    is_send::<Frame>();
    is_send::<link::Link>();
    is_send::<Shared>();
    is_send::<Relay>();
}
