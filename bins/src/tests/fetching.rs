//! Objects of the past: fetched alone, joined to a subscription, and in ranges that reach from the past into the future.

use oxymoq_core::session::{Event, FetchItem, Limits, Request, Role, Settings};
use oxymoq_core::sim::{Program, Recorder};
use oxymoq_core::transport::{ConnectionId, Target};
use oxymoq_core::wire::id::{ObjectId, RequestId};
use oxymoq_core::wire::message::{Fetch, FetchRange};

use super::*;

const MODES: [Mode; 3] = [Mode::Spg, Mode::Spo, Mode::Datagram];

/// Scenes in which clients of both drafts meet the date server.
fn scenes(mode: Mode) -> impl Iterator<Item = Scene> {
    Draft::ALL
        .into_iter()
        .map(move |draft| Scene::direct(draft, mode))
}

fn with_end(mut lines: Vec<String>) -> Vec<String> {
    lines.push("onEndOfStream".to_owned());
    lines
}

#[test]
fn a_past_minute_is_fetched_whole() {
    for mode in MODES {
        for mut scene in scenes(mode) {
            let start = Location {
                group: before(1000),
                object: ObjectId(0),
            };
            let job = Job::Fetch {
                start,
                end_group: Some(before(1000)),
            };
            let client = scene.client(job, Filter::LargestObject);
            let last = Location {
                object: ObjectId(61),
                ..start
            };
            assert_eq!(scene.succeed(client), with_end(printed(start, last, false)));
        }
    }
}

#[test]
fn a_fetch_without_an_end_gets_what_there_is() {
    for mut scene in scenes(Mode::Spg) {
        let start = Location {
            group: before(1),
            object: ObjectId(58),
        };
        let job = Job::Fetch {
            start,
            end_group: None,
        };
        let client = scene.client(job, Filter::LargestObject);
        // Second 10 has come; it is object 11.
        assert_eq!(
            scene.succeed(client),
            with_end(printed(start, at(0, 11), false))
        );
    }
}

#[test]
fn a_client_that_joins_starts_with_the_beginning_of_the_minute() {
    for mode in MODES {
        for mut scene in scenes(mode) {
            let client = scene.client(Job::JoinBack(0), Filter::LargestObject);
            scene.world.run_for(75 * SECOND);
            let lines = scene.lines(client);
            let mut expected = with_end(printed(at(0, 0), at(0, 11), false));
            expected.extend(printed(at(0, 12), at(1, 26), true));
            assert_eq!(lines, expected, "{mode:?}");
        }
    }
}

#[test]
fn a_client_joins_some_groups_back_or_at_a_group() {
    for mut scene in scenes(Mode::Spg) {
        let two_back = Location {
            group: before(2),
            object: ObjectId(0),
        };
        let jobs = [Job::JoinBack(2), Job::JoinAt(MINUTE - 2)];
        let clients = jobs.map(|job| scene.client(job, Filter::LargestObject));
        scene.world.run_for(3 * SECOND);
        let mut expected = with_end(printed(two_back, at(0, 11), false));
        expected.extend(printed(at(0, 12), at(0, 14), true));
        for client in clients {
            assert_eq!(scene.lines(client), expected);
        }
    }
}

#[test]
fn live_objects_wait_until_the_past_was_fetched() {
    for mut scene in scenes(Mode::Spg) {
        let slow = oxymoq_core::sim::Link {
            rate: Some(600),
            ..oxymoq_core::sim::Link::default()
        };
        scene.world.set_default_link(slow);
        let client = scene.client(Job::JoinBack(20), Filter::LargestObject);
        scene.world.run_for(60 * SECOND);
        let lines = scene.lines(client);
        let start = Location {
            group: before(20),
            object: ObjectId(0),
        };
        let mut expected = with_end(printed(start, at(0, 11), false));
        expected.extend(printed(at(0, 12), at(1, 11), true));
        assert!(
            lines.len() > expected.len() - 10 && expected.starts_with(&lines),
            "{lines:?}"
        );
    }
}

#[test]
fn a_range_that_begins_in_the_past_is_fetched_up_to_now_and_goes_on_live() {
    for mut scene in scenes(Mode::Spo) {
        let start = Location {
            group: before(1),
            object: ObjectId(50),
        };
        let filter = Filter::AbsoluteRange {
            start,
            end_group: GroupId(MINUTE),
        };
        let client = scene.client(Job::Subscribe, filter);
        let mut expected = with_end(printed(start, at(0, 11), false));
        expected.extend(printed(at(0, 12), at(0, 61), true));
        expected.push("onPublishDone".to_owned());
        assert_eq!(scene.succeed(client), expected);
    }
}

#[test]
fn a_range_without_an_end_that_begins_in_the_past_misses_and_repeats_nothing() {
    for mode in MODES {
        for mut scene in scenes(mode) {
            let client = scene.client(Job::Subscribe, Filter::AbsoluteStart(at(0, 3)));
            scene.world.run_for(5 * SECOND);
            let mut expected = with_end(printed(at(0, 3), at(0, 11), false));
            expected.extend(printed(at(0, 12), at(0, 16), true));
            assert_eq!(scene.lines(client), expected, "{mode:?}");
        }
    }
}

#[test]
fn a_range_that_is_all_past_is_fetched_and_the_program_ends() {
    for mut scene in scenes(Mode::Spg) {
        let start = Location {
            group: before(3),
            object: ObjectId(30),
        };
        let filter = Filter::AbsoluteRange {
            start,
            end_group: before(2),
        };
        let client = scene.client(Job::Subscribe, filter);
        let last = Location {
            group: before(2),
            object: ObjectId(61),
        };
        assert_eq!(scene.succeed(client), with_end(printed(start, last, false)));
    }
}

#[test]
fn a_range_in_the_future_is_only_waited_for() {
    for mut scene in scenes(Mode::Spg) {
        let filter = Filter::AbsoluteRange {
            start: at(1, 5),
            end_group: GroupId(MINUTE + 1),
        };
        let client = scene.client(Job::Subscribe, filter);
        let mut expected = printed(at(1, 5), at(1, 61), true);
        expected.push("onPublishDone".to_owned());
        assert_eq!(scene.succeed(client), expected);
    }
}

#[test]
fn a_client_that_unsubscribes_prints_what_it_fetches_to_the_end() {
    for mut scene in scenes(Mode::Spg) {
        let client = scene.client_for("date", Job::JoinBack(0), Filter::LargestObject, |wish| {
            wish.unsubscribe_after = Some(3 * SECOND);
        });
        let mut expected = with_end(printed(at(0, 0), at(0, 11), false));
        expected.extend(printed(at(0, 12), at(0, 14), true));
        assert_eq!(scene.succeed(client), expected);
    }
}

/// Asks for a range in descending order and returns a client that records what it gets.
fn descending(scene: &mut Scene, start: Location, end: Location) -> NodeId {
    let alpns = flags::alpns(&[scene.draft]);
    let target = Target {
        host: "server".to_owned(),
        port: 4433,
        alpns,
    };
    let settings = Settings {
        limits: Limits::default(),
        ..Settings::new(Role::Client)
    };
    let part = Box::<Recorder>::default();
    let program = Program::client(settings, &[scene.draft], target, part);
    let client = scene
        .world
        .add("recorder", program, TransportSettings::default());
    scene.world.run_for(SECOND / 10);
    let name = TrackName::new("/date").unwrap();
    let request = Request::Fetch(Fetch {
        request_id: RequestId(0),
        range: FetchRange::Standalone {
            track: FullTrackName::new(namespace(), name).unwrap(),
            start,
            end,
        },
        parameters: Parameters {
            group_order: Some(GroupOrder::Descending),
            ..Parameters::default()
        },
    });
    scene
        .world
        .with(client, |program: &mut Program<Recorder>, now| {
            program.act(now, |_, stage| {
                let session = stage.session(ConnectionId(0)).unwrap();
                session.request(now, request).unwrap();
            });
        });
    client
}

fn locations(scene: &Scene, recorder: NodeId) -> Vec<Location> {
    let program: &Program<Recorder> = scene.world.node(recorder);
    let location = |event: &Event| {
        if let Event::Fetched {
            item: FetchItem::Object { location, .. },
            ..
        } = event
        {
            return Some(*location);
        }
        None
    };
    program.part().events().filter_map(location).collect()
}

#[test]
fn minutes_come_in_descending_order_if_asked_for() {
    for mut scene in scenes(Mode::Spg) {
        let start = Location {
            group: before(1),
            object: ObjectId(59),
        };
        let client = descending(&mut scene, start, at(0, 3));
        scene.world.run_for(SECOND);
        let two = Location {
            object: ObjectId(60),
            ..start
        };
        let expected = [at(0, 0), at(0, 1), at(0, 2), start, two];
        assert_eq!(locations(&scene, client), expected);
    }
}

#[test]
fn all_minutes_since_the_epoch_cost_no_more_memory_than_one() {
    for mut scene in scenes(Mode::Spg) {
        // The client takes a little at a time, so that what waits has to wait at the server.
        scene.transport = TransportSettings {
            receive_window: 64 << 10,
            stream_window: 16 << 10,
            ..TransportSettings::default()
        };
        let job = Job::Fetch {
            start: Location::new(0, 0),
            end_group: None,
        };
        let client = scene.client(job, Filter::LargestObject);
        scene.world.run_for(SECOND);
        let held = scene.world.node::<DateServer>(scene.date).bytes_held();
        assert!(held < 128 << 10, "{held} bytes");
        assert!(scene.lines(client).len() > 1000);
        // Whoever has seen enough withdraws it.
        scene.world.shut_down(client);
        scene.succeed(client);
        scene.world.run_for(SECOND);
        let held = scene.world.node::<DateServer>(scene.date).bytes_held();
        assert!(held < 16 << 10, "{held} bytes");
    }
}
