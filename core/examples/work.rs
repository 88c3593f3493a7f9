//! A fixed amount of work for a relay, to be counted in instructions: groups of 30 objects of live video, to subscribers that
//! take everything at once.
//!
//! ```text
//! cargo build --release -p oxymoq-core --features sim --example work
//! valgrind --tool=callgrind target/release/examples/work 100 200
//! ```
//!
//! Arguments: subscribers, groups, bytes of an object (1894 unless told).
#![expect(clippy::print_stdout, reason = "it is for people to read")]

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::draft::Draft;
use oxymoq_core::relay::Settings;
use oxymoq_core::sim::load::Load;
use oxymoq_core::wire::id::GroupId;
use oxymoq_core::wire::name::FullTrackName;

const OBJECTS: u64 = 30;
const PAYLOAD: u64 = 1894;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Result<Vec<u64>, _> = arguments.iter().map(|text| text.parse()).collect();
    let (subscribers, groups, payload) = match numbers.as_deref() {
        Ok(&[subscribers, groups]) => (subscribers, groups, PAYLOAD),
        Ok(&[subscribers, groups, payload]) => (subscribers, groups, payload),
        Ok(_) | Err(_) => {
            println!(
                "{arguments:?} are not two or three numbers: subscribers, groups, bytes of an object"
            );
            return ExitCode::FAILURE;
        }
    };
    let (Ok(track), Ok(length)) = ("live--video".parse::<FullTrackName>(), payload.try_into())
    else {
        println!("objects of {payload} bytes do not fit into memory");
        return ExitCode::FAILURE;
    };
    let mut load = Load::new(Settings::default());
    let publisher = load.publisher(Draft::D18, &track);
    for _ in 0..subscribers {
        load.subscriber(Draft::D18, &track);
    }
    load.take_sent();
    let payload = Bytes::from(vec![7; length]);
    for group in 0..groups {
        load.pass(Duration::from_secs(1));
        let mut sending = load.begin(publisher, GroupId(group), &payload);
        for _ in 0..OBJECTS {
            load.object(&mut sending);
        }
        load.end(&sending);
    }
    let sent = load.take_sent();
    println!(
        "{} deliveries: {} bytes in {} writes on {} streams",
        subscribers * groups * OBJECTS,
        sent.bytes,
        sent.writes,
        sent.fins
    );
    ExitCode::SUCCESS
}
