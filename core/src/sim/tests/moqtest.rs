//! The 50 parameter sets of `moq-test-00` that moxygen's conformance script lists, from publisher to subscriber.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use crate::code::RequestCode;
use crate::draft::Draft;
use crate::relay::{Relay, Settings};
use crate::session::{Limits, Role, Underlay};
use crate::sim::moqtest::{Ask, Forwarding, TestPublisher, TestSubscriber, TestTrack, Tolerance};
use crate::sim::node::Subscriber;
use crate::sim::{Access, Link, Network, NodeId, Program};
use crate::transport::Exit;
use crate::wire::id::Millis;
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};
use crate::wire::param::GroupOrder;

/// Name and parameters, in the order of the script. `fetch` asks by FETCH. What is not named is as the script's client
/// has it: groups and objects from 0 by ones, 10 objects for each group, 1024 and 100 bytes, 50 ms, no extensions; the
/// last object (`lo`) follows from the number of objects.
const CASES: [(&str, &str); 50] = [
    (
        "basic subscribe with default parameters",
        "pref=0 lg=2 opg=5",
    ),
    ("one subgroup per object", "pref=1 lg=2 opg=5"),
    ("two subgroups per group", "pref=2 lg=2 opg=6"),
    (
        "datagrams with small objects",
        "pref=3 lg=2 opg=5 s0=100 sN=50",
    ),
    ("fetch of one subgroup per group", "fetch pref=0 lg=2 opg=3"),
    (
        "fetch of one subgroup per object",
        "fetch pref=1 lg=1 opg=4",
    ),
    (
        "fetch of two subgroups per group",
        "fetch pref=2 lg=1 opg=6",
    ),
    ("fetch of datagrams", "fetch pref=3 lg=1 opg=3 s0=80 sN=40"),
    ("single object per group", "pref=0 lg=3 opg=1"),
    ("many objects per group", "pref=0 lg=1 opg=20"),
    ("single group with 10 objects", "pref=1 lg=0 opg=10"),
    ("start from group 5", "pref=0 sg=5 lg=7 opg=3"),
    ("start from object 3", "pref=0 so=3 lg=1 opg=8"),
    ("partial group", "pref=0 lg=1 opg=10 lo=5"),
    ("fetch of a range", "fetch pref=0 sg=2 so=1 lg=4 opg=5"),
    (
        "fetch of a single object",
        "fetch pref=1 sg=0 so=0 lg=0 opg=5 lo=1",
    ),
    ("tiny objects", "pref=0 lg=2 opg=5 s0=10 sN=10"),
    ("large first object", "pref=0 lg=1 opg=3 s0=10240 sN=100"),
    ("large other objects", "pref=1 lg=1 opg=4 s0=1024 sN=5120"),
    ("all objects large", "pref=0 lg=1 opg=3 s0=8192 sN=8192"),
    (
        "mixed sizes with two subgroups",
        "pref=2 lg=1 opg=6 s0=2048 sN=512",
    ),
    ("objects of a single byte", "pref=0 lg=1 opg=5 s0=1 sN=1"),
    (
        "fetch of large objects",
        "fetch pref=0 lg=1 opg=3 s0=4096 sN=4096",
    ),
    ("very different sizes", "pref=1 lg=1 opg=5 s0=10000 sN=50"),
    ("group increment of 2", "pref=0 sg=0 lg=4 gi=2 opg=3"),
    ("group increment of 5", "pref=0 sg=10 lg=20 gi=5 opg=3"),
    ("object increment of 2", "pref=1 lg=1 opg=8 oi=2"),
    ("object increment of 3", "pref=0 lg=1 opg=9 oi=3"),
    (
        "group and object increment of 2",
        "pref=2 sg=0 lg=4 gi=2 opg=6 oi=2",
    ),
    ("large increments", "pref=0 sg=0 lg=20 gi=10 opg=15 oi=5"),
    ("end of group markers", "pref=0 lg=2 opg=5 eog"),
    (
        "end of group markers, one subgroup per object",
        "pref=1 lg=2 opg=4 eog",
    ),
    (
        "end of group markers, two subgroups",
        "pref=2 lg=2 opg=6 eog",
    ),
    (
        "fetch with end of group markers",
        "fetch pref=0 lg=2 opg=3 eog",
    ),
    (
        "end of group markers with object increment",
        "pref=0 lg=1 opg=8 oi=2 eog",
    ),
    (
        "end of group markers with single object",
        "pref=0 lg=3 opg=1 eog",
    ),
    ("integer extension", "pref=0 lg=1 opg=5 iext=1"),
    ("variable extension", "pref=0 lg=1 opg=5 vext=1"),
    ("both extensions", "pref=0 lg=1 opg=5 iext=1 vext=1"),
    (
        "extensions with higher ids",
        "pref=1 lg=1 opg=4 iext=5 vext=3",
    ),
    (
        "fetch with extensions",
        "fetch pref=0 lg=1 opg=3 iext=2 vext=2",
    ),
    (
        "extensions with end of group markers",
        "pref=0 lg=2 opg=4 iext=1 vext=1 eog",
    ),
    ("high frequency", "pref=0 lg=2 opg=5 freq=100"),
    ("low frequency", "pref=0 lg=1 opg=3 freq=2000"),
    (
        "everything combined",
        "pref=2 sg=10 so=2 lg=14 gi=2 opg=8 oi=2 s0=2048 sN=512 eog iext=1 vext=1",
    ),
    ("many groups and objects", "pref=0 lg=10 opg=15 freq=100"),
    ("sparse groups", "pref=0 sg=100 lg=500 gi=100 opg=3"),
    ("delivery timeout", "pref=0 lg=2 opg=5 dt=500"),
    ("publisher's delivery timeout", "pref=0 lg=2 opg=5 pdt=1000"),
    ("rapid datagrams", "pref=3 lg=5 opg=10 s0=64 sN=32 freq=50"),
];

#[derive(Clone, Debug)]
struct Case {
    name: &'static str,
    track: TestTrack,
    ask: Ask,
}

fn case((name, words): (&'static str, &str)) -> Case {
    let mut track = TestTrack::default();
    let mut ask = Ask::Subscribe {
        delivery_timeout: Millis(0),
    };
    let mut last_object = None;
    for word in words.split(' ') {
        let (key, value) = word.split_once('=').unwrap_or((word, "1"));
        let value: u64 = value.parse().unwrap();
        match key {
            "fetch" => ask = Ask::Fetch(GroupOrder::Ascending),
            "pref" => {
                track.forwarding = [
                    Forwarding::SubgroupPerGroup,
                    Forwarding::SubgroupPerObject,
                    Forwarding::TwoSubgroups,
                    Forwarding::Datagram,
                ][usize::try_from(value).unwrap()];
            }
            "sg" => track.start_group = value,
            "so" => track.start_object = value,
            "lg" => track.last_group = value,
            "lo" => last_object = Some(value),
            "opg" => track.objects_per_group = value,
            "s0" => track.first_length = value,
            "sN" => track.other_length = value,
            "freq" => track.interval = value,
            "gi" => track.group_increment = value,
            "oi" => track.object_increment = value,
            "eog" => track.end_of_group_markers = true,
            "iext" => track.integer_extension = Some(value),
            "vext" => track.variable_extension = Some(value),
            "pdt" => track.delivery_timeout = Millis(value),
            "dt" => {
                ask = Ask::Subscribe {
                    delivery_timeout: Millis(value),
                }
            }
            _ => panic!("{key}?"),
        }
    }
    let objects = track.objects_per_group + u64::from(track.end_of_group_markers);
    track.last_object = last_object.unwrap_or(objects * track.object_increment);
    track.check().unwrap();
    Case { name, track, ask }
}

fn cases() -> Vec<Case> {
    CASES.into_iter().map(case).collect()
}

const fn over(draft: Draft, web_transport: bool) -> Access {
    Access {
        draft,
        web_transport,
    }
}

/// Lets a subscriber ask for its track, and tells how that ended.
fn ask(network: &mut Network, case: &Case, access: Access, tolerance: Tolerance) -> Exit {
    let part = TestSubscriber::new(case.track.clone(), case.ask).tolerating(tolerance);
    let client = network.client("subscriber", access, part);
    let count = u32::try_from(case.track.locations().count()).unwrap();
    let patience = case.track.pace() * count + Duration::from_secs(10);
    match network.until(patience, |network| network.world.exit(client).is_some()) {
        Ok(()) => network.world.exit(client).unwrap().clone(),
        Err(stuck) => Exit::Failure(format!("{stuck:?}")),
    }
}

/// A relay and a publisher that has announced itself to it.
fn announced(seed: u64, link: Link, access: Access) -> (Network, NodeId) {
    let mut network = Network::new(seed, link, Relay::new(Settings::default()));
    let publisher = network.client("publisher", access, TestPublisher::new());
    network.world.run_for(Duration::from_millis(300));
    (network, publisher)
}

fn relayed(seed: u64, link: Link, access: Access) -> Network {
    announced(seed, link, access).0
}

/// A publisher that everybody connects to itself.
fn direct(seed: u64, link: Link, web_transport: bool) -> Network {
    let settings = crate::session::Settings {
        role: Role::Server,
        underlay: if web_transport {
            Underlay::WebTransport
        } else {
            Underlay::RawQuic
        },
        path: Bytes::new(),
        authority: Bytes::new(),
        accepted_paths: vec![Bytes::from_static(b"/")],
        implementation: Bytes::new(),
        authorization_tokens: Vec::new(),
        limits: Limits::default(),
    };
    let publisher = Program::server(settings, &Draft::ALL, Box::new(TestPublisher::new()));
    Network::new(seed, link, publisher)
}

#[test]
fn fifty_parameter_sets_pass_without_a_relay() {
    for case in cases().into_iter().chain(fetches(GroupOrder::Descending)) {
        for access in Access::all() {
            let mut network = direct(1, Link::default(), access.web_transport);
            let exit = ask(&mut network, &case, access, Tolerance::default());
            assert_eq!(exit, Exit::Success, "{} {access:?}", case.name);
        }
    }
}

/// Every case, in every pair of drafts.
fn through_a_relay(web_transport: bool, cases: impl Iterator<Item = Case>) {
    for case in cases {
        for publisher in Draft::ALL {
            for subscriber in Draft::ALL {
                let mut network = relayed(1, Link::default(), over(publisher, web_transport));
                let access = over(subscriber, web_transport);
                let exit = ask(&mut network, &case, access, Tolerance::default());
                let name = case.name;
                assert_eq!(
                    exit,
                    Exit::Success,
                    "{name}: {publisher:?} to {subscriber:?}"
                );
            }
        }
    }
}

fn is_subscribe(case: &Case) -> bool {
    matches!(case.ask, Ask::Subscribe { .. })
}

/// The sets that ask by FETCH, in this order of groups.
fn fetches(order: GroupOrder) -> impl Iterator<Item = Case> {
    let cases = cases().into_iter().filter(|case| !is_subscribe(case));
    cases.map(move |case| Case {
        ask: Ask::Fetch(order),
        ..case
    })
}

#[test]
fn subscribing_sets_pass_through_a_relay() {
    through_a_relay(false, cases().into_iter().filter(is_subscribe));
}

#[test]
fn subscribing_sets_pass_through_a_relay_over_webtransport() {
    through_a_relay(true, cases().into_iter().filter(is_subscribe));
}

#[test]
fn fetching_sets_pass_through_a_relay() {
    through_a_relay(false, fetches(GroupOrder::Ascending));
}

#[test]
fn fetching_sets_pass_through_a_relay_over_webtransport() {
    through_a_relay(true, fetches(GroupOrder::Ascending));
}

#[test]
fn fetching_sets_pass_through_a_relay_in_descending_order() {
    through_a_relay(false, fetches(GroupOrder::Descending));
}

#[test]
fn what_was_fetched_or_seen_is_not_fetched_again() {
    for case in cases() {
        let groups = case
            .track
            .locations()
            .map(|at| at.group)
            .collect::<BTreeSet<_>>();
        if groups.len() > Settings::default().cache.max_groups_per_track {
            continue;
        }
        let fetch = Case {
            ask: Ask::Fetch(GroupOrder::Ascending),
            ..case.clone()
        };
        for draft in Draft::ALL {
            let (mut network, publisher) = announced(1, Link::default(), over(draft, false));
            let mut asked = Vec::new();
            let backwards = Case {
                ask: Ask::Fetch(GroupOrder::Descending),
                ..case.clone()
            };
            for (case, access) in [
                (&case, Draft::D16),
                (&fetch, Draft::D18),
                (&fetch, Draft::D16),
                (&backwards, draft),
            ] {
                let access = over(access, false);
                let exit = ask(&mut network, case, access, Tolerance::default());
                assert_eq!(exit, Exit::Success, "{} {draft:?}", case.name);
                let publisher = network.world.node::<Program<TestPublisher>>(publisher);
                let publisher = publisher.part();
                asked.push(publisher.fetches() + publisher.subscriptions());
            }
            // Where nothing told the end of a group, the first FETCH asks what else there is.
            let track = &case.track;
            let is_known = !is_subscribe(&case)
                || track.last_group == track.start_group
                || track.end_of_group_markers
                    && track.group_increment == 1
                    && track.object_increment == 1
                    && track.start_object == 0;
            assert_eq!(asked[0], 1, "{} {draft:?}", case.name);
            assert!(
                asked[1] == 1 || !is_known,
                "{} {draft:?}: {asked:?}",
                case.name
            );
            assert_eq!(asked[2..], [asked[1]; 2], "{} {draft:?}", case.name);
        }
    }
}

#[test]
fn sets_pass_over_a_rough_path() {
    // Streams overtake one another there; only datagrams get lost, at 1 % each way.
    let link = Link {
        loss: 10,
        max_piece: 600,
        ..Link::rough()
    };
    let tolerance = Tolerance {
        reordering: true,
        lost_datagrams: 10,
    };
    let cases = cases().into_iter().filter(is_subscribe);
    for (seed, case) in (0..).zip(cases.filter(|case| case.track.delivery_timeout.0 == 0)) {
        let mut network = relayed(seed, link.clone(), over(Draft::D18, seed % 2 == 0));
        let access = over(Draft::D16, seed % 3 == 0);
        let exit = ask(&mut network, &case, access, tolerance);
        assert_eq!(exit, Exit::Success, "{}", case.name);
    }
}

#[test]
fn invalid_parameters_are_refused_through_the_relay() {
    let valid = "moq-test-00 0 0 0 2 10 10 1024 100 50 1 1 0 -1 -1 0";
    for (field, value) in [
        (1, "4"),
        (2, "3"),
        (3, "11"),
        (4, "4611686018427387904"),
        (5, "11"),
        (10, "0"),
        (11, "0"),
        (15, "x"),
    ] {
        for access in Access::all() {
            let mut fields: Vec<&'static str> = valid.split(' ').collect();
            fields[field] = value;
            let track = FullTrackName {
                namespace: TrackNamespace::new(fields).unwrap(),
                name: TrackName::new("test").unwrap(),
            };
            let mut network = relayed(1, Link::default(), access);
            let client = network.client("subscriber", access, Subscriber::new(track));
            network.world.run_for(Duration::from_secs(1));
            let refusal = network.subscriber(client).refusal().unwrap();
            assert_eq!(refusal.code, RequestCode::NotSupported, "{field}: {value}");
            assert_eq!(refusal.reason, "Invalid Parameters");
        }
    }
}
