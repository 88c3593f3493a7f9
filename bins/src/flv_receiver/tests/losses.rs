//! What goes missing: objects, streams, the server.

use oxymoq_core::code::RequestCode;
use oxymoq_core::session::{Request, Response};
use oxymoq_core::transport::Closed;
use oxymoq_core::wire::id::{Millis, RequestId};
use oxymoq_core::wire::message::{PublishNamespace, Subscribe, TrackStatus};
use oxymoq_core::wire::param::Parameters;

use super::*;

#[test]
fn after_a_gap_pictures_go_on_with_the_next_group_and_sound_goes_on() {
    let mut scene = Scene::new(Draft::D18, wish());
    for number in 0..16 {
        let packed = scene.pack_picture(number);
        // Pictures 7 and 8 are lost with their stream.
        if !(7..9).contains(&number) {
            scene.send(VIDEO, picture_at(number), &packed, number % GROUP == 4);
        }
        scene.sound(2 * number);
        scene.sound(2 * number + 1);
        scene.world.run_for(40 * MILLISECOND);
    }
    scene.end_tracks();
    assert_eq!(scene.end(), Exit::Success);
    scene.assert_pictures((0..7).chain(10..16), 0);
    scene.assert_sounds(0..32, 0);
    scene.assert_sorted();
    let totals = scene.receiver().totals();
    let (_, track, jitter) = totals.tracks[0];
    assert_eq!((jitter.gaps, track.undecodable), (1, 1));
}

#[test]
fn what_is_late_or_comes_twice_is_left_out_and_counted() {
    let mut scene = Scene::new(Draft::D18, wish());
    scene.play(0, 5);
    let lost = scene.pack_sound(10);
    let twice = scene.pack_sound(11);
    scene.send(AUDIO, sound_at(11), &twice, true);
    scene.world.run_for(SECOND);
    scene.send(AUDIO, sound_at(10), &lost, true);
    scene.send(AUDIO, sound_at(11), &twice, true);
    scene.world.run_for(SECOND);
    scene.sound(12);
    scene.end_tracks();
    assert_eq!(scene.end(), Exit::Success);
    scene.assert_sounds((0..10).chain(11..13), 0);
    let totals = scene.receiver().totals();
    let (_, _, jitter) = totals.tracks[1];
    assert_eq!((jitter.late, jitter.duplicates), (1, 1));
}

#[test]
fn objects_that_cannot_be_understood_are_left_out() {
    let mut scene = Scene::new(Draft::D18, wish());
    scene.play(0, 5);
    let nonsense = Packed {
        properties: Vec::new(),
        payload: Bytes::from_static(b"nonsense"),
    };
    scene.send(VIDEO, picture_at(5), &nonsense, false);
    for number in 6..12 {
        let packed = scene.pack_picture(number);
        scene.send(VIDEO, picture_at(number), &packed, number % GROUP == 4);
    }
    scene.end_tracks();
    assert_eq!(scene.end(), Exit::Success);
    scene.assert_pictures((0..5).chain(10..12), 0);
    let (_, track, _) = scene.receiver().totals().tracks[0];
    assert_eq!((track.malformed, track.undecodable), (1, 4));
}

#[test]
fn objects_that_are_too_large_are_stopped() {
    let limits = Limits {
        max_object_bytes: 100,
        ..Limits::default()
    };
    let mut scene = Scene::new(Draft::D18, Wish { limits, ..wish() });
    scene.play(0, 5);
    let large = Packed {
        payload: Bytes::from_static(&[7; 101]),
        ..scene.pack_sound(10)
    };
    scene.send(AUDIO, sound_at(10), &large, true);
    scene.play(6, 8);
    scene.end_tracks();
    assert_eq!(scene.end(), Exit::Success);
    assert_eq!(scene.receiver().totals().too_much, 1);
    scene.assert_sounds((0..10).chain(12..16), 0);
}

/// Another server in the place of one that is gone.
fn replace_station(scene: &mut Scene) {
    add_station(scene, "server");
}

/// Another server, with which the test goes on.
fn add_station(scene: &mut Scene, host: &str) {
    let program = Server::server(
        Settings::new(Role::Server),
        &Draft::ALL,
        Box::<Station>::default(),
    );
    scene.station = scene
        .world
        .add("another station", program, TransportSettings::default());
    scene
        .world
        .listen(scene.station, host, 4433, flags::alpns(&Draft::ALL));
}

#[test]
fn a_server_that_comes_back_is_subscribed_to_again_and_the_file_goes_on() {
    for draft in Draft::ALL {
        let mut scene = Scene::new(draft, wish());
        scene.play(0, 8);
        scene.act(|_, stage| {
            for connection in stage.connections() {
                stage.close(connection);
            }
        });
        scene.world.run_for(100 * MILLISECOND);
        scene.world.crash(scene.station);
        scene.world.run_for(5 * SECOND);
        replace_station(&mut scene);
        scene.world.run_for(10 * SECOND);
        assert!(scene.station().is_subscribed(VIDEO), "{draft:?}");
        scene.play(10, 15);
        scene.end_tracks();
        assert_eq!(scene.end(), Exit::Success, "{draft:?}");
        scene.assert_pictures((0..8).chain(10..15), 0);
        scene.assert_sounds((0..16).chain(20..30), 0);
        scene.assert_sorted();
        assert!(scene.receiver().totals().reconnects > 0);
    }
}

#[test]
fn tracks_that_are_refused_after_a_loss_are_asked_for_again() {
    let mut scene = Scene::new(Draft::D18, wish());
    scene.play(0, 8);
    scene.act(|station, stage| {
        station.refused.insert(VIDEO.to_owned());
        station.refused.insert(AUDIO.to_owned());
        for connection in stage.connections() {
            stage.close(connection);
        }
    });
    scene.world.run_for(3 * SECOND);
    assert!(scene.station().subscribes.len() > 4);
    scene.act(|station, _| station.refused.clear());
    scene.world.run_for(5 * SECOND);
    scene.play(10, 15);
    scene.end_tracks();
    assert_eq!(scene.end(), Exit::Success);
    scene.assert_pictures((0..8).chain(10..15), 0);
}

#[test]
fn a_server_that_stays_away_is_given_up() {
    let mut scene = Scene::new(Draft::D18, wish());
    scene.play(0, 8);
    scene.world.crash(scene.station);
    let sentence = scene.fail();
    assert!(sentence.contains("--reconnect_timeout"), "{sentence}");
    scene.assert_pictures(0..8, 0);
    let last = scene.items().pop();
    assert_eq!(last, Some(Item::EndOfSequence(Kind::Video)));
}

#[test]
fn a_server_that_wants_us_to_leave_is_left_and_found_again() {
    for draft in Draft::ALL {
        let mut scene = Scene::new(draft, wish());
        scene.play(0, 8);
        scene.act(|station, stage| {
            Station::go_away(stage, "");
            for track in [VIDEO, AUDIO] {
                station.end(stage, track, DoneCode::GoingAway);
            }
        });
        scene.world.run_for(5 * SECOND);
        assert!(scene.station().is_subscribed(VIDEO), "{draft:?}");
        scene.play(10, 15);
        scene.end_tracks();
        assert_eq!(scene.end(), Exit::Success, "{draft:?}");
        scene.assert_pictures((0..8).chain(10..15), 0);
    }
}

#[test]
fn a_subscription_that_is_ended_for_a_passing_reason_is_asked_for_again() {
    let mut scene = Scene::new(Draft::D18, wish());
    scene.play(0, 8);
    scene.act(|station, stage| station.end(stage, VIDEO, DoneCode::TooFarBehind));
    scene.world.run_for(5 * SECOND);
    scene.play(10, 15);
    scene.end_tracks();
    assert_eq!(scene.end(), Exit::Success);
    scene.assert_pictures((0..8).chain(10..15), 0);
}

// Rules: B075, B166
#[test]
fn a_server_that_names_another_one_is_left_for_that_once_its_tracks_have_ended() {
    for draft in Draft::ALL {
        let mut scene = Scene::new(draft, wish());
        let first = scene.station;
        add_station(&mut scene, "other");
        let other = std::mem::replace(&mut scene.station, first);
        scene.play(0, 4);
        scene.act(|_, stage| Station::go_away(stage, "moqt://other:4433/"));
        // What runs goes on until it ends.
        scene.play(4, 8);
        assert_eq!(scene.station().closed, [], "{draft:?}");
        scene.act(|station, stage| {
            for track in [VIDEO, AUDIO] {
                station.end(stage, track, DoneCode::GoingAway);
            }
        });
        scene.world.run_for(5 * SECOND);
        let closed = scene.station().closed.as_slice();
        let left = matches!(closed, [Closed::ByPeer { code: 0, .. }]);
        assert!(left, "{draft:?}: {closed:?}");
        assert_eq!(scene.station().subscribes.len(), 2, "{draft:?}");
        scene.station = other;
        assert!(scene.station().is_subscribed(VIDEO), "{draft:?}");
        scene.play(10, 15);
        scene.end_tracks();
        assert_eq!(scene.end(), Exit::Success, "{draft:?}");
        scene.assert_pictures((0..8).chain(10..15), 0);
    }
}

// Rules: B184
#[test]
fn tracks_are_not_asked_for_again_before_the_server_allows_it() {
    for draft in Draft::ALL {
        let mut station = Station::default();
        station.refused.insert(VIDEO.to_owned());
        station.retry = Some(Millis(7_000));
        let mut scene = Scene::with(draft, wish(), State::Open, station);
        let asked = |scene: &Scene| scene.station().subscribes.len();
        assert_eq!(asked(&scene), 2, "{draft:?}");
        scene.world.run_for(5 * SECOND);
        assert_eq!(asked(&scene), 2, "{draft:?}");
        scene.act(|station, _| station.refused.clear());
        scene.world.run_for(2 * SECOND);
        assert_eq!(asked(&scene), 3, "{draft:?}");
        assert!(scene.station().is_subscribed(VIDEO), "{draft:?}");
    }
}

#[test]
fn a_server_that_asks_too_much_patience_has_refused_the_track() {
    let mut station = Station::default();
    station.refused.extend([VIDEO, AUDIO].map(str::to_owned));
    station.retry = Some(Millis(u64::MAX >> 2));
    let mut scene = Scene::with(Draft::D18, wish(), State::Open, station);
    let sentence = scene.fail();
    assert!(sentence.contains("--reconnect_timeout"), "{sentence}");
    assert_eq!(scene.station().subscribes.len(), 2);
}

// Rules: B076
#[test]
fn what_a_receiver_cannot_do_is_refused_as_not_supported() {
    for draft in Draft::ALL {
        let mut scene = Scene::new(draft, wish());
        scene.act(|_, stage| {
            let now = stage.now();
            let request_id = RequestId(0);
            let track = named(VIDEO);
            let parameters = Parameters::default();
            let namespace = track.namespace.clone();
            let requests = [
                Request::TrackStatus(TrackStatus {
                    request_id,
                    track: track.clone(),
                    parameters: parameters.clone(),
                }),
                Request::Subscribe(Subscribe {
                    request_id,
                    track,
                    parameters: parameters.clone(),
                }),
                Request::PublishNamespace(PublishNamespace {
                    request_id,
                    namespace,
                    parameters,
                }),
            ];
            for connection in stage.connections() {
                for request in requests.clone() {
                    let session = stage.session(connection).unwrap();
                    session.request(now, request).unwrap();
                }
            }
        });
        scene.world.run_for(SECOND);
        let answers = &scene.station().answers;
        assert_eq!(answers.len(), 3, "{draft:?}");
        for answer in answers {
            assert!(
                matches!(answer, Response::Error(refusal) if refusal.code == RequestCode::NotSupported),
                "{draft:?}: {answer:?}"
            );
        }
    }
}
