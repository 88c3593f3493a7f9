//! Messages and objects, from bytes and to bytes.
#![expect(
    clippy::unwrap_used,
    reason = "what is measured here is well-formed, or the bench must fail"
)]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use oxymoq_core::draft::Draft;
use oxymoq_core::wire::Role;
use oxymoq_core::wire::frame::Framer;
use oxymoq_core::wire::id::{ObjectId, RequestId};
use oxymoq_core::wire::message::{Channel, Message, Origin, Subscribe};
use oxymoq_core::wire::name::FullTrackName;
use oxymoq_core::wire::object::{
    ObjectHeader, ObjectStatus, SubgroupDecoder, SubgroupType, encode_object_header,
};
use oxymoq_core::wire::param::Parameters;
use oxymoq_core::wire::property::Properties;

/// Objects of a group of live video, and the bytes of each.
const OBJECTS: u64 = 30;
const PAYLOAD: usize = 1894;

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("SUBSCRIBE");
    for draft in [Draft::D16, Draft::D18] {
        let origin = Origin {
            profile: draft.profile(),
            sender: Role::Client,
            channel: match draft {
                Draft::D16 => Channel::Control,
                Draft::D18 => Channel::Request,
            },
        };
        let message = Message::Subscribe(Subscribe {
            request_id: RequestId(4),
            track: "meetings-room.2d7-camera--video"
                .parse::<FullTrackName>()
                .unwrap(),
            parameters: Parameters {
                subscriber_priority: Some(100),
                ..Parameters::default()
            },
        });
        let bytes = message.encode(origin).unwrap();
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{draft:?} write"), |bencher| {
            bencher.iter(|| black_box(&message).encode(origin).unwrap());
        });
        group.bench_function(format!("{draft:?} read"), |bencher| {
            bencher.iter(|| {
                let mut framer = Framer::new(origin.profile.integers);
                framer.push(black_box(&bytes));
                let frame = framer.next_frame().unwrap();
                Message::decode(origin, frame.number, &frame.body).unwrap()
            });
        });
    }
    group.finish();
}

fn objects(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a group of 30 objects");
    for draft in [Draft::D16, Draft::D18] {
        let profile = draft.profile();
        let header = |id| ObjectHeader {
            id: ObjectId(id),
            properties: Properties::default(),
            status: ObjectStatus::Normal,
            payload_length: PAYLOAD.try_into().unwrap(),
        };
        let write = |to: &mut BytesMut| {
            for id in 0..OBJECTS {
                let previous = id.checked_sub(1).map(ObjectId);
                encode_object_header(profile, true, previous, &header(id), to).unwrap();
            }
        };
        let mut stream = BytesMut::new();
        for id in 0..OBJECTS {
            let previous = id.checked_sub(1).map(ObjectId);
            encode_object_header(profile, true, previous, &header(id), &mut stream).unwrap();
            stream.extend_from_slice(&[7; PAYLOAD]);
        }
        let stream = stream.freeze();
        group.throughput(Throughput::Elements(OBJECTS));
        group.bench_function(format!("{draft:?} write headers"), |bencher| {
            let mut to = BytesMut::with_capacity(1024);
            bencher.iter(|| {
                to.clear();
                write(black_box(&mut to));
            });
        });
        // A subgroup's stream: properties on it, a subgroup id in its header, a priority.
        let kind = SubgroupType::from_wire(profile, 0x15).unwrap();
        group.bench_function(format!("{draft:?} read"), |bencher| {
            bencher.iter(|| {
                let mut decoder = SubgroupDecoder::new(profile, kind);
                // Alias 1, group 2, subgroup 0, priority 128.
                decoder.push(Bytes::from_static(&[1, 2, 0, 128]));
                decoder.push(stream.clone());
                let mut items = 0;
                while let Some(item) = decoder.next_item().unwrap() {
                    items += 1;
                    black_box(item);
                }
                assert!(items > OBJECTS);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, messages, objects);
criterion_main!(benches);
