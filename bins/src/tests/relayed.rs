//! The same through a relay, in every pair of drafts.

use oxymoq_core::wire::id::ObjectId;

use super::*;

/// Scenes with a relay: the client's draft, the date server's.
fn scenes(mode: Mode, is_offered: bool) -> impl Iterator<Item = (String, Scene)> {
    let pairs = Draft::ALL
        .into_iter()
        .flat_map(|draft| Draft::ALL.map(|behind| (draft, behind)));
    pairs.map(move |(draft, behind)| {
        let name = format!("{mode:?}, {draft:?} <- {behind:?}");
        (name, Scene::relayed(draft, mode, behind, is_offered))
    })
}

#[test]
fn a_client_that_joins_starts_with_the_beginning_of_the_minute() {
    for mode in [Mode::Spg, Mode::Spo, Mode::Datagram] {
        for (name, mut scene) in scenes(mode, false) {
            let first = scene.client(Job::JoinBack(0), Filter::LargestObject);
            scene.world.run_for(5 * SECOND);
            // By now the relay has some of it.
            let second = scene.client(Job::JoinBack(1), Filter::LargestObject);
            scene.world.run_for(60 * SECOND);
            let mut expected = printed(at(0, 0), at(0, 11), false);
            expected.push("onEndOfStream".to_owned());
            expected.extend(printed(at(0, 12), at(1, 16), true));
            assert_eq!(scene.lines(first), expected, "{name}");
            let start = Location {
                group: before(1),
                object: ObjectId(0),
            };
            let mut expected = printed(start, at(0, 16), false);
            expected.push("onEndOfStream".to_owned());
            expected.extend(printed(at(0, 17), at(1, 16), true));
            assert_eq!(scene.lines(second), expected, "{name}");
        }
    }
}

#[test]
fn a_past_minute_is_fetched_through_the_relay_again_and_again() {
    for (name, mut scene) in scenes(Mode::Spg, false) {
        let start = Location {
            group: before(7),
            object: ObjectId(3),
        };
        let job = Job::Fetch {
            start,
            end_group: Some(before(6)),
        };
        let last = Location {
            group: before(6),
            object: ObjectId(61),
        };
        let mut expected = printed(start, last, false);
        expected.push("onEndOfStream".to_owned());
        for _ in 0..2 {
            let client = scene.client(job, Filter::LargestObject);
            assert_eq!(scene.succeed(client), expected, "{name}");
        }
    }
}

#[test]
fn a_range_from_the_past_into_the_future_crosses_the_relay() {
    for (name, mut scene) in scenes(Mode::Spg, false) {
        let start = Location {
            group: before(1),
            object: ObjectId(50),
        };
        let filter = Filter::AbsoluteRange {
            start,
            end_group: GroupId(MINUTE),
        };
        let client = scene.client(Job::Subscribe, filter);
        let mut expected = printed(start, at(0, 11), false);
        expected.push("onEndOfStream".to_owned());
        expected.extend(printed(at(0, 12), at(0, 61), true));
        expected.push("onPublishDone".to_owned());
        assert_eq!(scene.succeed(client), expected, "{name}");
    }
}

#[test]
fn a_date_that_is_published_to_the_relay_reaches_who_subscribes_and_who_takes_offers() {
    for (name, mut scene) in scenes(Mode::Spg, true) {
        let subscriber = scene.client(Job::JoinBack(0), Filter::LargestObject);
        let taker = scene.client(Job::Publish, Filter::LargestObject);
        scene.world.run_for(5 * SECOND);
        let mut expected = printed(at(0, 0), at(0, 11), false);
        expected.push("onEndOfStream".to_owned());
        expected.extend(printed(at(0, 12), at(0, 16), true));
        assert_eq!(scene.lines(subscriber), expected, "{name}");
        let live = printed(at(0, 12), at(0, 16), true);
        assert_eq!(scene.lines(taker), live, "{name}");
        scene.world.shut_down(scene.date);
        for client in [subscriber, taker] {
            let lines = scene.succeed(client);
            assert_eq!(lines.last().map(String::as_str), Some("onPublishDone"));
        }
    }
}
