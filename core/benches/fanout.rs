//! Live objects through a relay: what arrives from a publisher leaves to everybody.
#![expect(
    clippy::unwrap_used,
    reason = "what is measured here is well-formed, or the bench must fail"
)]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use oxymoq_core::draft::Draft;
use oxymoq_core::relay::Settings;
use oxymoq_core::sim::load::Load;
use oxymoq_core::wire::id::GroupId;
use oxymoq_core::wire::name::FullTrackName;

/// Bytes of an object of live video, and objects in a group.
const PAYLOAD: usize = 1894;
const OBJECTS: u64 = 30;

fn live(criterion: &mut Criterion) {
    for (name, from, to) in [
        ("a live group, 18 to 18", Draft::D18, Draft::D18),
        ("a live group, 16 to 18", Draft::D16, Draft::D18),
    ] {
        let mut group = criterion.benchmark_group(name);
        for subscribers in [1_u64, 10, 100] {
            let mut load = Load::new(Settings::default());
            let track = "meetings-room.2d7-camera--video"
                .parse::<FullTrackName>()
                .unwrap();
            let publisher = load.publisher(from, &track);
            for _ in 0..subscribers {
                load.subscriber(to, &track);
            }
            let payload = Bytes::from(vec![7; PAYLOAD]);
            let mut next = 0;
            group.throughput(Throughput::Elements(OBJECTS * subscribers));
            group.bench_function(BenchmarkId::new("subscribers", subscribers), |bencher| {
                bencher.iter(|| {
                    let mut sending = load.begin(publisher, GroupId(next), &payload);
                    next += 1;
                    for _ in 0..OBJECTS {
                        load.object(&mut sending);
                    }
                    load.end(&sending);
                });
            });
            let sent = load.take_sent();
            assert!(sent.fins >= subscribers, "{sent:?}");
        }
        group.finish();
    }
}

criterion_group!(benches, live);
criterion_main!(benches);
