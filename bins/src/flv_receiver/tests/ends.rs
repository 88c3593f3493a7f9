//! How it ends, and what the output has to do with it.

use super::*;

impl Scene {
    /// Lets the output do something, and ring.
    fn output(&mut self, act: impl FnOnce(&mut Memory)) {
        let receiver = self.receiver;
        self.world.with::<Receiver, _>(receiver, |receiver, now| {
            act(receiver.writer.outlet_mut());
            receiver.handle_wake(now);
        });
    }
}

#[test]
fn nothing_is_asked_for_before_the_output_is_open() {
    let mut scene = Scene::with(Draft::D18, wish(), State::Opening, Station::default());
    scene.world.run_for(60 * SECOND);
    assert_eq!(scene.world.connections(scene.receiver), []);
    scene.output(|output| output.state = State::Open);
    scene.world.run_for(SECOND);
    assert!(scene.station().is_subscribed(VIDEO));
}

#[test]
fn somebody_who_waits_for_a_reader_in_vain_can_stop() {
    let mut scene = Scene::with(Draft::D18, wish(), State::Opening, Station::default());
    scene.world.shut_down(scene.receiver);
    assert_eq!(scene.end(), Exit::Success);
}

#[test]
fn at_a_signal_what_has_arrived_is_written_and_the_end_is_marked() {
    let mut scene = Scene::new(Draft::D18, wish());
    scene.play(0, 7);
    // It waits for the sound before it.
    let _lost = scene.pack_sound(14);
    scene.sound(15);
    scene.world.run_for(100 * MILLISECOND);
    scene.world.shut_down(scene.receiver);
    assert_eq!(scene.end(), Exit::Success);
    scene.assert_pictures(0..7, 0);
    scene.assert_sounds((0..14).chain(15..16), 0);
    let last = scene.items().pop();
    assert_eq!(last, Some(Item::EndOfSequence(Kind::Video)));
    scene.world.run_for(SECOND);
    assert!(scene.world.connections(scene.station).is_empty());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure_and_an_output_that_breaks_is() {
    let mut scene = Scene::new(Draft::D18, wish());
    scene.play(0, 7);
    scene.output(|output| output.state = State::Deserted);
    assert_eq!(scene.end(), Exit::Success);
    let mut scene = Scene::new(Draft::D18, wish());
    scene.output(|output| output.state = State::Broken("no space".to_owned()));
    assert_eq!(scene.fail(), "no space");
}

#[test]
fn one_track_goes_on_when_the_other_one_ends_or_is_refused() {
    let mut scene = Scene::new(Draft::D18, wish());
    scene.play(0, 5);
    scene.act(|station, stage| station.end(stage, VIDEO, DoneCode::TrackEnded));
    for number in 10..200 {
        scene.sound(number);
        scene.world.run_for(20 * MILLISECOND);
    }
    scene.act(|station, stage| station.end(stage, AUDIO, DoneCode::TrackEnded));
    assert_eq!(scene.end(), Exit::Success);
    scene.assert_pictures(0..5, 0);
    scene.assert_sounds(0..200, 0);
    let mut station = Station::default();
    station.refused.insert(AUDIO.to_owned());
    let mut scene = Scene::with(Draft::D16, wish(), State::Open, station);
    for number in 0..7 {
        scene.picture(number);
    }
    scene.act(|station, stage| station.end(stage, VIDEO, DoneCode::TrackEnded));
    assert_eq!(scene.end(), Exit::Success);
    scene.assert_pictures(0..7, 0);
}

#[test]
fn tracks_that_are_all_refused_or_end_without_a_frame_are_a_failure() {
    let mut station = Station::default();
    station.refused.insert(VIDEO.to_owned());
    station.refused.insert(AUDIO.to_owned());
    let mut scene = Scene::with(Draft::D18, wish(), State::Open, station);
    let sentence = scene.fail();
    assert!(sentence.contains("refused the subscription"), "{sentence}");
    assert!(sentence.contains("DOES_NOT_EXIST"), "{sentence}");
    let mut scene = Scene::new(Draft::D18, wish());
    scene.end_tracks();
    let sentence = scene.fail();
    assert!(sentence.contains("no frame"), "{sentence}");
    assert!(scene.receiver().outlet().bytes.is_empty());
}

#[test]
fn a_catalog_that_cannot_be_used_is_a_failure() {
    for (document, expected) in [
        ("{\"version\":\"draft-01\",\"tracks\":[]}", "no track"),
        ("nonsense", "no JSON"),
    ] {
        let wish = Wish {
            tracks: Tracks::OfCatalog(named("catalog")),
            ..wish()
        };
        let mut scene = Scene::new(Draft::D18, wish);
        let object = Packed {
            properties: Vec::new(),
            payload: Bytes::from_static(document.as_bytes()),
        };
        scene.send("catalog", Location::new(7, 0), &object, true);
        let sentence = scene.fail();
        assert!(sentence.contains(expected), "{sentence}");
    }
}

#[test]
fn while_the_output_is_behind_nothing_more_is_read_and_nothing_is_lost() {
    let limits = Limits {
        max_unwritten_bytes: 10_000,
        ..Limits::default()
    };
    let mut scene = Scene::new(Draft::D18, Wish { limits, ..wish() });
    scene.play(0, 5);
    scene.output(|output| output.room = 0);
    let large = |number: u64| Frame {
        payload: {
            let mut payload = picture(number).payload.to_vec();
            payload[..4].copy_from_slice(&4005_u32.to_be_bytes());
            payload.resize(4009, 0);
            Bytes::from(payload)
        },
        ..picture(number)
    };
    for number in 5..400 {
        let packed = scene
            .video
            .pack(&large(number), &avc(), number % GROUP == 0)
            .unwrap();
        scene.send(VIDEO, picture_at(number), &packed, number % GROUP == 4);
        scene.sound(2 * number);
        scene.sound(2 * number + 1);
        scene.world.run_for(40 * MILLISECOND);
    }
    let receiver = scene.receiver();
    assert!(receiver.is_paused);
    assert!(receiver.writer.unwritten() < 10_000 + 5000);
    assert!(
        receiver.interleave.bytes() < 200_000,
        "{}",
        receiver.interleave.bytes()
    );
    let connection = scene.world.connections(scene.receiver)[0];
    assert!(scene.world.unread(scene.receiver, connection) > 500_000);
    // It takes a little at a time now.
    for _ in 0..500 {
        scene.output(|output| output.room = 1);
        scene.world.run_for(MILLISECOND);
    }
    scene.output(|output| output.room = usize::MAX);
    scene.world.run_for(SECOND);
    scene.end_tracks();
    assert_eq!(scene.end(), Exit::Success);
    let payloads: Vec<Bytes> = scene
        .frames(Kind::Video)
        .into_iter()
        .map(|frame| frame.payload)
        .collect();
    let sent = (0..5).map(picture).chain((5..400).map(large));
    assert!(payloads.into_iter().eq(sent.map(|frame| frame.payload)));
    scene.assert_sounds((0..10).chain(10..800), 0);
    assert_eq!(scene.station().stopped, 0);
}

#[test]
fn at_a_signal_an_output_that_takes_nothing_is_not_waited_for_for_long() {
    let mut scene = Scene::new(Draft::D18, wish());
    scene.output(|output| output.room = 0);
    scene.play(0, 5);
    scene.end_tracks();
    // It may take its time, but not when somebody wants the program to end.
    scene.world.run_for(100 * SECOND);
    assert_eq!(scene.world.exit(scene.receiver), None);
    scene.world.shut_down(scene.receiver);
    let sentence = scene.fail();
    assert!(sentence.contains("within 5s"), "{sentence}");
}
