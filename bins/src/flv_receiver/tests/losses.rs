//! What goes missing: objects, streams, the server.

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
        .listen(scene.station, "server", 4433, flags::alpns(&Draft::ALL));
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
            Station::go_away(stage);
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
