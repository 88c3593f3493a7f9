//! Each statement that the cache's documentation makes.

mod age;
mod content;
mod model;
mod random;
mod room;
mod walks;

use bytes::Bytes;

use super::*;
use crate::draft::IntegerKind;
use crate::ledger::{CHUNK_OVERHEAD, Ledger, Pieces};
use crate::wire::id::SubgroupId;
use crate::wire::property::{IMMUTABLE_PROPERTIES, MAX_CACHE_DURATION, Value};

/// Payload of the objects here, in bytes.
const PAYLOAD: usize = 100;
/// What each of them costs.
const COST: u64 = 100 + OBJECT_OVERHEAD + 128;

fn name(text: &str) -> FullTrackName {
    format!("live--{text}").parse().unwrap()
}

fn seconds(seconds: u64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

fn at(group: u64, object: u64) -> Position {
    Position::of(Location::new(group, object))
}

fn span(from: (u64, u64), to: (u64, u64)) -> Span {
    Span::new(at(from.0, from.1), at(to.0, to.1))
}

fn object(filling: u8) -> Object {
    Object {
        subgroup: Some(SubgroupId(0)),
        priority: 128,
        properties: Properties::default(),
        payload: Pieces::from(Bytes::from(vec![filling; PAYLOAD])),
        arrived: Time::ZERO,
    }
}

fn limits() -> Limits {
    Limits {
        max_groups_per_track: 100,
        ..Limits::default()
    }
}

/// A cache and the tracks `a`, `b` and `c`.
struct Fixture {
    cache: Cache,
    tracks: [TrackId; 3],
}

fn fixture(limits: Limits) -> Fixture {
    let mut cache = Cache::new(limits);
    let tracks = ["a", "b", "c"].map(|text| cache.open(&name(text)));
    Fixture { cache, tracks }
}

impl Fixture {
    fn insert(&mut self, track: usize, group: u64, id: u64) -> Inserted {
        self.insert_at(Time::ZERO, track, group, id)
    }

    fn insert_at(&mut self, now: Time, track: usize, group: u64, id: u64) -> Inserted {
        let object = Object {
            arrived: now,
            ..object(7)
        };
        let location = Location::new(group, id);
        self.cache
            .insert(now, self.tracks[track], location, object)
            .unwrap()
    }

    fn has(&mut self, now: Time, track: usize, group: u64, id: u64) -> bool {
        let (from, to) = (at(group, id), at(group, id + 1));
        let look = self.cache.look(now, self.tracks[track], from, to);
        matches!(look, Some(Look::Object(..)))
    }

    /// Whether there is an object, without using it.
    fn holds(&self, track: usize, group: u64, id: u64) -> bool {
        let track = self.cache.tracks.get(&self.tracks[track]);
        track.is_some_and(|track| track.object(Location::new(group, id)).is_some())
    }

    fn absent(&mut self, track: usize, span: Span, evidence: Evidence) {
        self.cache
            .mark_absent(self.tracks[track], span, evidence)
            .unwrap();
    }

    /// What a walk in ascending order finds.
    fn ascending(&mut self, track: usize, span: Span) -> Vec<String> {
        let (mut from, mut found) = (span.from, Vec::new());
        while let Some(look) = self
            .cache
            .look(Time::ZERO, self.tracks[track], from, span.to)
        {
            let (text, next) = match look {
                Look::Object(location, _) => (location.to_string(), Position::after(location)),
                Look::Absent(to) => (format!("absent {from:?}..{to:?}"), to),
                Look::Missing(to) => (format!("missing {from:?}..{to:?}"), to),
            };
            found.push(text);
            from = next;
        }
        found
    }

    /// What a walk in descending order of groups finds.
    fn descending(&mut self, track: usize, span: Span) -> Vec<String> {
        let (mut to, mut found) = (span.to, Vec::new());
        while let Some(look) = self
            .cache
            .look_back(Time::ZERO, self.tracks[track], span.from, to)
        {
            to = match look {
                LookBack::Group(group) => {
                    let part = Span::group(group).intersection(Span::new(span.from, to));
                    found.extend(self.ascending(track, part));
                    part.from
                }
                LookBack::Absent(from) => {
                    found.push(format!("absent {from:?}..{to:?}"));
                    from
                }
                LookBack::Missing(from) => {
                    found.push(format!("missing {from:?}..{to:?}"));
                    from
                }
            };
        }
        found
    }
}
