//! Heap allocations of a relay that is busy: none for a delivery.
#![expect(
    clippy::unwrap_used,
    reason = "a figure that does not fit must fail the test"
)]

use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::draft::Draft;
use oxymoq_core::relay::Settings;
use oxymoq_core::sim::load::Load;
use oxymoq_core::wire::id::GroupId;
use oxymoq_core::wire::name::FullTrackName;

#[global_allocator]
static ALLOC: dhat::Alloc = dhat::Alloc;

/// Objects in a group, and groups until nothing is new any more.
const OBJECTS: u64 = 20;
const WARM_UP: u64 = 3;

/// Allocations for a subscriber's stream.
const STREAM: u64 = 2;

/// What a relay with so many subscribers allocates for a group: at its beginning, and for each object after the first.
struct Cost {
    beginning: u64,
    objects: Vec<u64>,
    end: u64,
}

fn allocated() -> u64 {
    dhat::HeapStats::get().total_blocks
}

fn cost(from: Draft, to: Draft, subscribers: u64, payload: usize) -> Cost {
    let mut load = Load::new(Settings::default());
    let track = "meetings-room.2d7-camera--video"
        .parse::<FullTrackName>()
        .unwrap();
    let publisher = load.publisher(from, &track);
    for _ in 0..subscribers {
        load.subscriber(to, &track);
    }
    let payload = Bytes::from(vec![7; payload]);
    let mut cost = None;
    for group in 0..=WARM_UP {
        load.pass(Duration::from_secs(2));
        load.take_sent();
        let mut sending = load.begin(publisher, GroupId(group), &payload);
        let mut last = allocated();
        let mut since = || {
            let now = allocated();
            now - std::mem::replace(&mut last, now)
        };
        let mut objects = Vec::with_capacity(OBJECTS.try_into().unwrap());
        load.object(&mut sending);
        let beginning = since();
        for _ in 1..OBJECTS {
            load.object(&mut sending);
            objects.push(since());
        }
        load.end(&sending);
        let end = since();
        let sent = load.take_sent();
        assert_eq!(sent.fins, subscribers);
        assert!(sent.bytes > subscribers * OBJECTS * u64::try_from(payload.len()).unwrap());
        cost = Some(Cost {
            beginning,
            objects,
            end,
        });
    }
    cost.unwrap()
}

#[test]
fn a_delivery_allocates_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    for (from, to) in [(Draft::D18, Draft::D18), (Draft::D16, Draft::D18)] {
        // Short objects are copied behind their header, others are not.
        for payload in [160, 7576] {
            let one = cost(from, to, 1, payload);
            let many = cost(from, to, 21, payload);
            let what = format!("{from:?} to {to:?}, {payload} bytes");
            // What arrives costs something, once, whoever it is for.
            assert_eq!(one.objects, many.objects, "{what}");
            // Only the stream of a group costs something for each subscriber.
            let beginnings = many.beginning - one.beginning;
            assert!(
                beginnings <= 20 * STREAM,
                "{what}: {beginnings} for 20 streams"
            );
            assert_eq!(one.end, many.end, "{what}");
        }
    }
}
