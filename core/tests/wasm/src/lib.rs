//! What is run inside WebAssembly and outside of it: each function gives a hash over everything that happened.
//!
//! Sessions, relay and network are the real ones, in virtual time. A function panics, which in WebAssembly is a trap, if
//! something does not work at all.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets something unexpected should stop there"
)]

use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::code::RequestCode;
use oxymoq_core::draft::Draft;
use oxymoq_core::relay::{Relay, Settings};
use oxymoq_core::runtime::TransportSettings;
use oxymoq_core::session::{Event, Limits, Refusal, Request, Response, Role};
use oxymoq_core::sim::conformance::{self, Case};
use oxymoq_core::sim::node::{Publisher, Show, Subscriber};
use oxymoq_core::sim::{Access, Link, Network, Pair};
use oxymoq_core::transport::Exit;
use oxymoq_core::wire::id::RequestId;
use oxymoq_core::wire::message::Subscribe;
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};
use oxymoq_core::wire::param::Parameters;

const SEED: u64 = 6;

/// In each draft, a client's and a server's session: set up, a SUBSCRIBE, its refusal.
#[expect(unsafe_code, reason = "it is called by its name")]
#[unsafe(no_mangle)]
pub extern "C" fn sessions() -> u64 {
    let mut hash = Hash::default();
    for draft in Draft::ALL {
        let transport = TransportSettings::default();
        let mut pair =
            Pair::new(SEED, draft, Link::rough(), &transport, &Limits::default()).unwrap();
        let subscribe = Subscribe {
            request_id: RequestId(0),
            track: track(),
            parameters: Parameters::default(),
        };
        let ask = pair.session(Role::Client, |session, now| {
            session.request(now, Request::Subscribe(subscribe))
        });
        ask.unwrap().unwrap();
        let is_asked = |event: &Event| matches!(event, Event::Request { .. });
        pair.until(|pair| pair.was_told(Role::Server, is_asked))
            .unwrap();
        let answer = pair.session(Role::Server, |session, now| {
            let refusal = Refusal::new(RequestCode::DoesNotExist, "no such track");
            session.respond(now, RequestId(0), Response::Error(refusal))
        });
        answer.unwrap().unwrap();
        let is_answer = |event: &Event| matches!(event, Event::Response { .. });
        pair.until(|pair| pair.was_told(Role::Client, is_answer))
            .unwrap();
        hash.add(&pair.world.trace().hash().to_le_bytes());
    }
    hash.0
}

/// A relay with a publisher and a subscriber for every way to speak: 40 objects to each, over paths of all vices.
#[expect(unsafe_code, reason = "it is called by its name")]
#[unsafe(no_mangle)]
pub extern "C" fn relay() -> u64 {
    let show = Show {
        namespace: track().namespace,
        tracks: vec![track()],
        interval: Duration::from_millis(100),
        objects_per_group: 5,
        groups: 8,
        object_length: 300,
        datagrams: false,
    };
    let mut hash = Hash::default();
    for access in Access::all() {
        let relay = Relay::new(Settings::default());
        let mut network = Network::new(SEED, Link::rough(), relay);
        let publisher = Publisher::new(show.clone()).after(Duration::from_secs(3));
        let publisher = network.client("publisher", access, publisher);
        network.world.run_for(Duration::from_secs(1));
        let mut nodes = vec![publisher];
        for access in Access::all() {
            nodes.push(network.client("subscriber", access, Subscriber::new(track())));
        }
        let subscribers = nodes.split_off(1);
        let heard_all = |network: &Network| {
            let mut subscribers = subscribers.iter().map(|node| network.subscriber(*node));
            subscribers.all(|it| it.done().is_some() && it.received().len() == 40)
        };
        if let Err(stuck) = network.until(Duration::from_secs(60), heard_all) {
            panic!("{access:?}: {stuck}");
        }
        network.check(&subscribers);
        hash.add(&network.world.trace().hash().to_le_bytes());
    }
    hash.0
}

/// The whole conformance list over a rough path: what every party of every case was told.
#[expect(unsafe_code, reason = "it is called by its name")]
#[unsafe(no_mangle)]
pub extern "C" fn conformance() -> u64 {
    let mut hash = Hash::default();
    for case in Case::all() {
        for ended in conformance::simulate(&case, SEED) {
            assert_eq!(ended.exit, Exit::Success, "{case}: {}", ended.party);
            hash.add(format!("{case} {ended:?}").as_bytes());
        }
    }
    hash.0
}

fn track() -> FullTrackName {
    FullTrackName {
        namespace: TrackNamespace::new([Bytes::from_static(b"show")]).unwrap(),
        name: TrackName::new(Bytes::from_static(b"track")).unwrap(),
    }
}

/// FNV-1a.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
