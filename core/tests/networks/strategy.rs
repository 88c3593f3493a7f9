//! Random networks for proptest: what it draws is a plain value, which it can make smaller.

use oxymoq_core::draft::Draft;
use oxymoq_core::sim::Access;
use oxymoq_core::sim::networks::{
    LANES, LimitsPlan, Operation, Path, Plan, RelayPlan, ShowPlan, StudioPlan, TransportPlan,
    ViewerPlan, Which, Who, Wish,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The plan that a seed stands for, ready to be made smaller.
pub(crate) fn tree(seed: u64) -> Box<dyn ValueTree<Value = Plan>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    plan(seed).boxed().new_tree(&mut runner).unwrap()
}

fn plan(seed: u64) -> impl Strategy<Value = Plan> {
    let memory = prop_oneof![9 => Just(None), 1 => (40_000_usize..200_000).prop_map(Some)];
    (
        vec(relay(), 1..=4),
        transport(),
        (memory, limits(), vec(show(), 3)),
        vec(studio(), 1..=4),
        vec(viewer(), 1..=8),
        vec(scene(), 20..100),
    )
        .prop_map(
            move |(relays, transport, (memory, limits, shows), studios, viewers, operations)| {
                Plan {
                    seed,
                    relays,
                    transport,
                    memory,
                    limits,
                    shows,
                    studios,
                    viewers,
                    operations: operations.concat(),
                }
            },
        )
}

fn limits() -> impl Strategy<Value = LimitsPlan> {
    let seldom = || prop::bool::weighted(0.1);
    (seldom(), seldom(), seldom()).prop_map(|(few_fetches, short_cache, short_past)| LimitsPlan {
        few_fetches,
        short_cache,
        short_past,
    })
}

fn show() -> impl Strategy<Value = ShowPlan> {
    let timeout = prop_oneof![12 => Just(0_u16), 1 => 500_u16..2000];
    let dynamic = prop::bool::weighted(0.3);
    (timeout, dynamic).prop_map(|(timeout, dynamic)| ShowPlan { timeout, dynamic })
}

/// One operation, or several that belong together.
fn scene() -> impl Strategy<Value = Vec<(u16, Operation)>> {
    prop_oneof![
        60 => (pause(), operation()).prop_map(|operation| vec![operation]),
        1 => takeover(),
        1 => burst(),
    ]
}

/// The first tracks more often, so that they have several publishers and subscribers.
fn track() -> impl Strategy<Value = u8> {
    prop_oneof![2 => Just(0_u8), 3 => 0_u8..3]
}

const fn object(track: u8, lane: u8, gap: u8) -> Operation {
    Operation::Object {
        track,
        lane,
        length: 50,
        gap,
        properties: false,
    }
}

/// A publisher goes in the middle of a group and is back before its end.
fn takeover() -> impl Strategy<Value = Vec<(u16, Operation)>> {
    let gaps = vec(0_u8..3, 3..6);
    let away = 300_u16..2500;
    (track(), 0_u8..4, 0_u16..8, away, gaps).prop_map(|(track, studio, viewer, away, gaps)| {
        let who = Who::Studio(studio);
        let how = Wish::default();
        let subscribe = Operation::Subscribe { viewer, track, how };
        let mut scene = vec![
            (100, subscribe),
            (900, object(track, 0, 0)),
            (30, object(track, 0, 0)),
            (30, Operation::Leave { who }),
            (30, object(track, 0, 0)),
            (away, Operation::Return { who }),
            (900, object(track, 1, 0)),
        ];
        scene.extend(gaps.iter().map(|gap| (30, object(track, 0, *gap))));
        scene
    })
}

/// Several datagrams shortly after one another, to several subscribers.
fn burst() -> impl Strategy<Value = Vec<(u16, Operation)>> {
    (track(), 0_u16..8, vec(0_u16..3, 3..8)).prop_map(|(track, viewer, pauses)| {
        let subscribe = |viewer| {
            let how = Wish::default();
            (10, Operation::Subscribe { viewer, track, how })
        };
        let mut scene = vec![subscribe(viewer), subscribe(viewer + 1)];
        scene.push((500, object(track, LANES, 0)));
        let datagrams = pauses.iter();
        scene.extend(datagrams.map(|pause| (*pause, object(track, LANES, 0))));
        scene
    })
}

fn pause() -> impl Strategy<Value = u16> {
    prop_oneof![2 => Just(0_u16), 12 => 1_u16..60, 2 => 60_u16..500, 1 => 500_u16..6_000]
}

fn draft() -> impl Strategy<Value = Draft> {
    prop_oneof![Just(Draft::D18), Just(Draft::D16)]
}

fn access() -> impl Strategy<Value = Access> {
    (draft(), prop::bool::weighted(0.3)).prop_map(|(draft, web_transport)| Access {
        draft,
        web_transport,
    })
}

fn path() -> impl Strategy<Value = Path> {
    let rough = (
        1_u8..40,
        0_u8..30,
        20_u16..1200,
        any::<bool>(),
        any::<bool>(),
        0_u8..30,
    );
    let rough = rough.prop_map(|(delay, jitter, piece, split, reorder, loss)| Path {
        delay,
        jitter,
        piece,
        split,
        reorder,
        loss,
        rate: 0,
    });
    let slow = (1_u8..40, 8_u8..60).prop_map(|(delay, rate)| Path {
        delay,
        rate,
        ..Path::default()
    });
    prop_oneof![5 => Just(Path::default()), 4 => rough, 1 => slow]
}

fn relay() -> impl Strategy<Value = RelayPlan> {
    (any::<u8>(), draft(), path()).prop_map(|(parent, draft, path)| RelayPlan {
        parent,
        draft,
        path,
    })
}

fn studio() -> impl Strategy<Value = StudioPlan> {
    let pushes = prop::bool::weighted(0.25);
    (0_u8..4, access(), path(), track(), pushes).prop_map(|(relay, access, path, track, pushes)| {
        StudioPlan {
            relay,
            access,
            path,
            track,
            pushes,
        }
    })
}

fn viewer() -> impl Strategy<Value = ViewerPlan> {
    (0_u8..4, access(), path()).prop_map(|(relay, access, path)| ViewerPlan {
        relay,
        access,
        path,
    })
}

fn transport() -> impl Strategy<Value = TransportPlan> {
    let seldom = || prop::bool::weighted(0.15);
    let slow_turns = prop::bool::weighted(0.3);
    (seldom(), seldom(), seldom(), any::<bool>(), slow_turns).prop_map(
        |(small_windows, few_streams, small_unacked, vague, slow_turns)| TransportPlan {
            small_windows,
            few_streams,
            small_unacked,
            vague,
            slow_turns,
        },
    )
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        6 => Just(Which::All),
        2 => Just(Which::NextGroup),
        2 => Just(Which::Largest),
        1 => (0_u8..3, 0_u8..4).prop_map(|(group, object)| Which::From(group, object)),
        1 => (0_u8..3, 0_u8..4, 0_u8..3).prop_map(|(group, object, more)| Which::Range(group, object, more)),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    let timeout = prop_oneof![8 => Just(0_u16), 1 => 200_u16..2000];
    let priority = prop::option::weighted(0.3, any::<u8>());
    let (paused, descending) = (prop::bool::weighted(0.1), prop::bool::weighted(0.2));
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    (which(), paused, priority, descending, timeout, flags).prop_map(
        |(filter, paused, priority, descending, timeout, (rendezvous, new_group))| Wish {
            filter,
            paused,
            priority,
            descending,
            timeout,
            rendezvous,
            new_group,
        },
    )
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![
        2 => (0_u8..4).prop_map(Who::Relay),
        2 => (0_u8..4).prop_map(Who::Studio),
        2 => (0_u16..8).prop_map(Who::Viewer),
    ]
}

fn publishing() -> impl Strategy<Value = Operation> {
    let lane = prop_oneof![6 => Just(0_u8), 3 => 1..LANES, 1 => Just(LANES)];
    let length = prop_oneof![3 => 0_u16..300, 1 => 300_u16..5000];
    let gap = prop_oneof![9 => Just(0_u8), 1 => 1_u8..4];
    let object = (track(), lane, length, gap, prop::bool::weighted(0.3)).prop_map(
        |(track, lane, length, gap, properties)| Operation::Object {
            track,
            lane,
            length,
            gap,
            properties,
        },
    );
    prop_oneof![
        30 => object,
        1 => track().prop_map(|track| Operation::EndGroup { track }),
        3 => (track(), 0..LANES).prop_map(|(track, lane)| Operation::Finish { track, lane }),
        1 => (track(), 0..LANES).prop_map(|(track, lane)| Operation::Reset { track, lane }),
        5 => (track(), prop::bool::weighted(0.7), prop_oneof![5 => Just(0_u8), 1 => 1_u8..3])
            .prop_map(|(track, finish, gap)| Operation::NextGroup { track, finish, gap }),
    ]
}

fn asking() -> impl Strategy<Value = Operation> {
    let viewer = || 0_u16..8;
    let nth = || 0_u8..4;
    let update = (
        viewer(),
        nth(),
        prop::option::of(any::<bool>()),
        prop::option::of(any::<u8>()),
        prop::bool::weighted(0.2),
    );
    let update = update.prop_map(
        |(viewer, nth, forward, priority, new_group)| Operation::Update {
            viewer,
            nth,
            forward,
            priority,
            new_group,
        },
    );
    let fetch = (
        viewer(),
        track(),
        0_u8..4,
        0_u8..6,
        0_u8..4,
        0_u8..6,
        any::<bool>(),
    );
    let fetch =
        fetch.prop_map(
            |(viewer, track, back, from, groups, to, descending)| Operation::Fetch {
                viewer,
                track,
                back,
                from,
                groups,
                to,
                descending,
            },
        );
    let join = (viewer(), nth(), 0_u8..4, any::<bool>());
    let join = join.prop_map(|(viewer, nth, groups, relative)| Operation::Join {
        viewer,
        nth,
        groups,
        relative,
    });
    prop_oneof![
        8 => (viewer(), track(), wish())
            .prop_map(|(viewer, track, how)| Operation::Subscribe { viewer, track, how }),
        2 => (viewer(), nth()).prop_map(|(viewer, nth)| Operation::Cancel { viewer, nth }),
        2 => update,
        4 => fetch,
        2 => join,
        1 => (viewer(), track()).prop_map(|(viewer, track)| Operation::Status { viewer, track }),
        1 => (viewer(), any::<bool>())
            .prop_map(|(viewer, tracks)| Operation::Watch { viewer, tracks }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let trouble = prop_oneof![
        4 => (who(), 50_u16..2500).prop_map(|(who, millis)| Operation::Stall { who, millis }),
        1 => who().prop_map(|who| Operation::Mute { who }),
        2 => who().prop_map(|who| Operation::Crash { who }),
        1 => who().prop_map(|who| Operation::Leave { who }),
        1 => (0_u8..4).prop_map(|relay| Operation::Retire { relay }),
        1 => (track(), 0_u16..15_000).prop_map(|(track, after)| Operation::Restart { track, after }),
        5 => who().prop_map(|who| Operation::Return { who }),
    ];
    let end = (0_u8..3).prop_map(|track| Operation::EndTrack { track });
    prop_oneof![60 => publishing(), 25 => asking(), 6 => trouble, 1 => end]
}
