//! The cache: objects put in, walked through and pushed out.
#![expect(
    clippy::unwrap_used,
    reason = "what is measured here is well-formed, or the bench must fail"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use oxymoq_core::cache::{Cache, Limits, Look, Object, TrackId};
use oxymoq_core::ledger::{Ledger, Payload};
use oxymoq_core::span::Position;
use oxymoq_core::time::Time;
use oxymoq_core::wire::id::{GroupId, Location, ObjectId, SubgroupId};
use oxymoq_core::wire::name::FullTrackName;
use oxymoq_core::wire::property::Properties;

const PAYLOAD: usize = 1894;
const OBJECTS: u64 = 30;

fn object(ledger: &Ledger) -> Object {
    let mut payload = Payload::default();
    let length = PAYLOAD.try_into().unwrap();
    assert!(payload.append(ledger, length, &[7; PAYLOAD]));
    Object {
        subgroup: Some(SubgroupId(0)),
        priority: 128,
        properties: Properties::default(),
        payload: payload.pieces(length).unwrap(),
        arrived: Time::ZERO,
    }
}

fn fill(cache: &mut Cache, track: TrackId, group: u64, object: &Object) {
    for id in 0..OBJECTS {
        let location = Location {
            group: GroupId(group),
            object: ObjectId(id),
        };
        cache
            .insert(Time::ZERO, track, location, object.clone())
            .unwrap();
    }
}

fn cache(criterion: &mut Criterion) {
    let ledger = Ledger::new(1 << 30);
    let object = object(&ledger);
    let track = "meetings-room.2d7-camera--video"
        .parse::<FullTrackName>()
        .unwrap();
    let mut group = criterion.benchmark_group("cache, a group of 30 objects");
    group.throughput(Throughput::Elements(OBJECTS));
    group.bench_function("put in, the oldest goes", |bencher| {
        let mut cache = Cache::new(Limits::default());
        let track = cache.open(&track);
        let mut next = 0;
        bencher.iter(|| {
            fill(&mut cache, track, next, &object);
            next += 1;
        });
    });
    group.bench_function("walk through", |bencher| {
        let mut cache = Cache::new(Limits::default());
        let track = cache.open(&track);
        fill(&mut cache, track, 0, &object);
        let start = Position::of(Location::new(0, 0));
        let end = Position::of(Location::new(0, OBJECTS));
        bencher.iter(|| {
            let mut from = start;
            let mut found = 0;
            while let Some(look) = cache.look(Time::ZERO, track, from, end) {
                let Look::Object(at, object) = look else {
                    break;
                };
                black_box(object);
                found += 1;
                from = Position::of(Location::new(at.group.0, at.object.0 + 1));
            }
            assert_eq!(found, OBJECTS);
        });
    });
    group.finish();
}

criterion_group!(benches, cache);
criterion_main!(benches);
