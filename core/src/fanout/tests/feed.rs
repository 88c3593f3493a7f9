//! What a cache is told of what passes through a fan-out.

use super::*;
use crate::fanout::{Complete, Fact};
use crate::wire::property::{PRIOR_GROUP_ID_GAP, PRIOR_OBJECT_ID_GAP};

const OTHER: SourceId = SourceId(2);

fn stage() -> Stage {
    let mut stage = Stage::new();
    stage.fanout.tell_complete();
    stage
}

impl Stage {
    fn told(&mut self) -> Vec<Complete> {
        std::iter::from_fn(|| self.fanout.poll_complete()).collect()
    }

    /// What was told, objects by their locations and payloads.
    fn facts(&mut self) -> Vec<String> {
        let told = self.told().into_iter();
        told.map(|told| match told.fact {
            Fact::Object {
                location,
                subgroup,
                priority,
                payload,
                ..
            } => {
                let payload: Vec<u8> = payload.iter().flatten().copied().collect();
                let payload = payload.escape_ascii();
                let subgroup = subgroup.map(|subgroup| subgroup.0);
                format!("{location} {subgroup:?} {priority} {payload}")
            }
            Fact::Absent { from, to } => format!("absent {from} to {to}"),
            Fact::GroupEnd(at) => format!("group ends at {at}"),
            Fact::TrackEnd(at) => format!("track ends at {at}"),
            Fact::Broken => "broken".to_owned(),
        })
        .collect()
    }

    fn object_with(&mut self, stream: IngestId, id: u64, list: &[(u64, u64)]) {
        let properties = properties(Draft::D18, list);
        self.fanout
            .write_object(self.now, stream, ObjectId(id), properties, b"x")
            .unwrap();
    }
}

#[test]
fn nothing_is_told_unless_it_is_wanted() {
    let mut stage = Stage::new();
    stage.group(0, 3);
    assert_eq!(stage.told(), []);
}

#[test]
fn objects_are_told_of_when_they_are_complete_and_groups_when_they_end() {
    let mut stage = stage();
    let ends_group = SubgroupHeader {
        end_of_group: true,
        priority: Some(7),
        ..header(4, 2)
    };
    let stream = stage.open_from(SOURCE, ends_group);
    stage.begin(stream, 0, 6);
    stage.payload(stream, b"abc");
    assert_eq!(stage.facts(), Vec::<String>::new());
    stage.payload(stream, b"def");
    stage.begin(stream, 1, 0);
    assert_eq!(
        stage.facts(),
        ["{4, 0} Some(2) 7 abcdef", "{4, 1} Some(2) 7 "]
    );
    stage.fin(stream);
    assert_eq!(stage.facts(), ["group ends at {4, 2}"]);
    let stream = stage.open(5, 0);
    stage.object(stream, 0, b"x");
    stage.fin(stream);
    assert_eq!(stage.facts(), ["{5, 0} Some(0) 128 x"], "it may go on");
    let stream = stage.open(6, 0);
    stage.marker(stream, 3, ObjectStatus::EndOfGroup).unwrap();
    let stream = stage.open(7, 0);
    stage.marker(stream, 0, ObjectStatus::EndOfTrack).unwrap();
    assert_eq!(
        stage.facts(),
        ["group ends at {6, 3}", "track ends at {7, 0}"]
    );
    assert_eq!(stage.fanout.end(stage.track), Some(at(7, 0)));
}

#[test]
fn datagrams_are_told_of_with_the_ends_that_they_mean() {
    let mut stage = stage();
    let last = DatagramObject {
        end_of_group: true,
        ..datagram(3, 9, b"last")
    };
    stage
        .fanout
        .datagram(stage.now, stage.track, SOURCE, last)
        .unwrap();
    let end = DatagramObject {
        status: ObjectStatus::EndOfTrack,
        ..datagram(4, 0, b"")
    };
    stage
        .fanout
        .datagram(stage.now, stage.track, SOURCE, end)
        .unwrap();
    assert_eq!(
        stage.facts(),
        [
            "{3, 9} None 128 last",
            "group ends at {3, 10}",
            "track ends at {4, 0}"
        ]
    );
}

#[test]
fn gap_properties_are_told_of() {
    let mut stage = stage();
    let stream = stage.open(9, 0);
    stage.object_with(
        stream,
        5,
        &[(PRIOR_GROUP_ID_GAP, 2), (PRIOR_OBJECT_ID_GAP, 3)],
    );
    assert_eq!(
        stage.facts(),
        [
            "absent {7, 0} to {9, 0}",
            "absent {9, 2} to {9, 5}",
            "{9, 5} Some(0) 128 x"
        ]
    );
    stage.object_with(stream, 6, &[(PRIOR_OBJECT_ID_GAP, 7)]);
    assert_eq!(
        stage.facts(),
        ["{9, 6} Some(0) 128 x"],
        "a gap beyond the first id is none"
    );
}

#[test]
fn an_object_from_two_sources_is_told_of_once() {
    let mut stage = stage();
    let one = stage.open(0, 0);
    let two = stage.open_from(OTHER, header(0, 0));
    stage.begin(one, 0, 4);
    stage.payload(one, b"ab");
    stage.begin(two, 0, 4);
    stage.payload(two, b"abcd");
    stage.payload(one, b"cd");
    assert_eq!(stage.facts(), ["{0, 0} Some(0) 128 abcd"]);
}

#[test]
fn what_comes_too_late_for_subscribers_is_told_of() {
    let mut stage = stage();
    let subscriber = stage.plain_subscriber();
    let one = stage.open(0, 0);
    let two = stage.open_from(OTHER, header(0, 0));
    stage.object(one, 0, b"a");
    stage.object(one, 4, b"e");
    stage.settle();
    stage.facts();
    stage.object(two, 1, b"b");
    stage.begin(two, 2, 4);
    stage.payload(two, b"c1");
    assert_eq!(stage.facts(), ["{0, 1} Some(0) 128 b"]);
    let arriving = stage.fanout.arriving(stage.track, at(0, 0), at(0, 9));
    assert_eq!(arriving, Some(at(0, 2)));
    stage.payload(two, b"c2");
    stage.begin(two, 3, 0);
    assert_eq!(
        stage.facts(),
        ["{0, 2} Some(0) 128 c1c2", "{0, 3} Some(0) 128 "]
    );
    stage.settle();
    assert_eq!(stage.ids(subscriber), [(0, 0), (0, 4)], "not out of order");
}

#[test]
fn without_memory_a_late_object_is_let_go() {
    let mut stage = stage();
    stage.fanout.ledger = Ledger::new(8000);
    let one = stage.open(0, 0);
    let two = stage.open_from(OTHER, header(0, 0));
    stage.object(one, 9, b"x");
    stage.begin(two, 0, 60_000);
    stage.payload(two, &[1; 60_000]);
    assert_eq!(stage.facts(), ["{0, 9} Some(0) 128 x"]);
    let nothing = stage.fanout.arriving(stage.track, at(0, 0), at(9, 0));
    assert_eq!(nothing, None);
    stage.object(two, 1, b"small");
    assert_eq!(stage.facts(), ["{0, 1} Some(0) 128 small"]);
}

#[test]
fn an_object_is_arriving_from_its_first_byte_to_its_last() {
    let mut stage = stage();
    let track = stage.track;
    let stream = stage.open(2, 0);
    let other = stage.open(3, 1);
    stage.object(stream, 0, b"x");
    let all = (at(0, 0), at(u64::MAX, 0));
    assert_eq!(stage.fanout.arriving(track, all.0, all.1), None);
    stage.begin(stream, 7, 4);
    stage.begin(other, 1, 4);
    assert_eq!(stage.fanout.arriving(track, all.0, all.1), Some(at(2, 7)));
    assert_eq!(
        stage.fanout.arriving(track, at(2, 7), all.1),
        Some(at(2, 7))
    );
    assert_eq!(
        stage.fanout.arriving(track, at(2, 8), all.1),
        Some(at(3, 1))
    );
    assert_eq!(stage.fanout.arriving(track, all.0, at(2, 7)), None);
    stage.payload(stream, b"abcd");
    assert_eq!(
        stage.fanout.arriving(track, at(2, 0), all.1),
        Some(at(3, 1))
    );
    stage.facts();
    stage.reset(other, ResetCode::InternalError);
    assert_eq!(stage.facts(), ["broken"]);
    assert_eq!(stage.fanout.arriving(track, all.0, all.1), None);
}

#[test]
fn the_end_of_a_track_breaks_what_was_arriving() {
    let mut stage = stage();
    let stream = stage.open(2, 0);
    stage.begin(stream, 0, 4);
    stage
        .fanout
        .close_track(stage.now, stage.track, DoneCode::TrackEnded, "");
    assert_eq!(stage.facts(), ["broken"]);
    assert_eq!(stage.fanout.arriving(stage.track, at(0, 0), at(9, 0)), None);
}

#[test]
fn facts_that_nobody_takes_are_dropped_from_the_oldest() {
    let mut stage = Stage::with_limits(Limits {
        max_facts: 2,
        ..Limits::default()
    });
    stage.fanout.tell_complete();
    let stream = stage.open(0, 0);
    for (id, payload) in [(0, b"a"), (1, b"b"), (2, b"c")] {
        stage.object(stream, id, payload);
    }
    assert_eq!(
        stage.facts(),
        ["{0, 1} Some(0) 128 b", "{0, 2} Some(0) 128 c"]
    );
}
