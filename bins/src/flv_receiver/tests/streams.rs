//! What comes well: from the first frame on, in mid-stream, out of order, with a new configuration.

use crate::catalog::{self, Catalog};

use oxymoq_core::wire::param::Token;

use super::*;

#[test]
fn frames_are_written_as_they_were_sent_from_zero_on_and_the_end_is_marked() {
    for draft in Draft::ALL {
        let mut scene = Scene::new(draft, wish());
        scene.play(0, 12);
        scene.end_tracks();
        assert_eq!(scene.end(), Exit::Success, "{draft:?}");
        scene.assert_pictures(0..12, 0);
        scene.assert_sounds(0..24, 0);
        scene.assert_sorted();
        let items = scene.items();
        let Item::Metadata(metadata) = &items[0] else {
            panic!("{:?}", items[0]);
        };
        assert_eq!((metadata.width, metadata.height), (Some(320), Some(200)));
        assert_eq!(metadata.audio_codec, Some(Codec::Aac));
        assert_eq!(scene.configurations(), [avc(), aac()]);
        assert_eq!(items.last(), Some(&Item::EndOfSequence(Kind::Video)));
    }
}

#[test]
fn what_was_published_is_fetched_so_that_the_first_picture_is_there_at_once() {
    for draft in Draft::ALL {
        let mut scene = Scene::with(draft, wish(), State::Opening, Station::default());
        // 25 begins a group; 27 is the latest when the receiver comes.
        let past: Vec<_> = (20..28)
            .map(|number| (picture_at(number), scene.pack_picture(number)))
            .collect();
        let sounds = vec![(sound_at(54), scene.pack_sound(54))];
        scene.act(|station, _| {
            station.past.insert(VIDEO.to_owned(), past);
            station.past.insert(AUDIO.to_owned(), sounds);
        });
        open_output(&mut scene);
        scene.world.run_for(SECOND);
        scene.picture(28);
        for number in 55..58 {
            scene.sound(number);
        }
        scene.world.run_for(SECOND);
        scene.play(29, 32);
        scene.end_tracks();
        assert_eq!(scene.end(), Exit::Success, "{draft:?}");
        // Picture 25 is at zero.
        scene.assert_pictures(25..32, -1000);
        scene.assert_sounds(55..64, -1000);
        assert_eq!(scene.station().fetches.len(), 1, "sound has no beginning");
    }
}

#[test]
fn live_objects_wait_for_those_that_are_fetched() {
    let mut scene = Scene::with(Draft::D18, wish(), State::Opening, Station::default());
    let past: Vec<_> = (25..28)
        .map(|number| (picture_at(number), scene.pack_picture(number)))
        .collect();
    scene.act(|station, _| {
        station.past.insert(VIDEO.to_owned(), past);
        station.is_slow = true;
    });
    open_output(&mut scene);
    scene.world.run_for(SECOND);
    scene.play(28, 60);
    assert!(scene.receiver().outlet().bytes.is_empty());
    scene.act(Station::answer_fetches);
    scene.world.run_for(SECOND);
    scene.assert_pictures(25..60, -1000);
    scene.assert_sorted();
}

#[test]
fn without_a_fetch_the_first_picture_is_that_of_the_next_group() {
    let wish = Wish {
        fetch: false,
        ..wish()
    };
    for draft in Draft::ALL {
        let mut scene = Scene::new(draft, wish.clone());
        scene.play(3, 12);
        scene.end_tracks();
        assert_eq!(scene.end(), Exit::Success);
        // Picture 5 is at 200 ms, the first sound at 120.
        scene.assert_pictures(5..12, -120);
        scene.assert_sounds(6..24, -120);
        assert!(scene.station().fetches.is_empty());
    }
}

#[test]
fn objects_that_come_out_of_order_are_put_in_order() {
    let mut scene = Scene::new(Draft::D18, wish());
    scene.play(0, 5);
    let sounds: Vec<(u64, Packed)> = (10..20)
        .map(|number| (number, scene.pack_sound(number)))
        .collect();
    let pictures: Vec<Packed> = (5..10).map(|number| scene.pack_picture(number)).collect();
    for (number, packed) in sounds.iter().rev() {
        scene.send(AUDIO, sound_at(*number), packed, true);
        scene.world.run_for(10 * MILLISECOND);
    }
    for (number, packed) in (5..10).zip(&pictures) {
        scene.send(VIDEO, picture_at(number), packed, number == 9);
    }
    scene.play(10, 12);
    scene.end_tracks();
    assert_eq!(scene.end(), Exit::Success);
    scene.assert_pictures(0..12, 0);
    scene.assert_sounds(0..24, 0);
    scene.assert_sorted();
}

#[test]
fn a_new_configuration_is_written_before_its_first_picture() {
    let mut scene = Scene::new(Draft::D18, wish());
    scene.play(0, 5);
    let mut record = AVC.to_vec();
    record[3] = 0x1f;
    let new = Configuration {
        record: Bytes::from(record),
        ..avc()
    };
    for number in 5..10 {
        let packed = scene
            .video
            .pack(&picture(number), &new, number == 5)
            .unwrap();
        scene.send(VIDEO, picture_at(number), &packed, number == 9);
    }
    scene.end_tracks();
    assert_eq!(scene.end(), Exit::Success);
    assert_eq!(scene.configurations(), [avc(), aac(), new.clone()]);
    let items = scene.items();
    let change = items
        .iter()
        .position(|item| *item == Item::Configuration(new.clone()));
    let next = items
        .iter()
        .skip(change.unwrap())
        .find_map(|item| match item {
            Item::Frame(frame) if frame.kind == Kind::Video => Some(frame.clone()),
            _ => None,
        });
    assert_eq!(next.unwrap().payload, picture(5).payload);
}

#[test]
fn a_publisher_that_starts_over_goes_on_in_the_file() {
    for draft in Draft::ALL {
        let mut scene = Scene::new(draft, wish());
        scene.play(0, 12);
        // Times and numbers of the objects begin anew, groups do not.
        scene.video = Packer::new(Packager::Dual, Codec::H264).unwrap();
        scene.audio = Packer::new(Packager::Dual, Codec::Aac).unwrap();
        let later = |at: Location| Location::new(at.group.0 + 1000, at.object.0);
        for number in 0..10 {
            let packed = scene.pack_picture(number);
            scene.send(
                VIDEO,
                later(picture_at(number)),
                &packed,
                number % GROUP == 4,
            );
            for number in [2 * number, 2 * number + 1] {
                let packed = scene.pack_sound(number);
                scene.send(AUDIO, later(sound_at(number)), &packed, true);
            }
            scene.world.run_for(40 * MILLISECOND);
        }
        scene.end_tracks();
        assert_eq!(scene.end(), Exit::Success);
        scene.assert_sorted();
        let pictures = scene.frames(Kind::Video);
        let payloads: Vec<Bytes> = pictures.iter().map(|frame| frame.payload.clone()).collect();
        let sent = (0..12).chain(0..10).map(|number| picture(number).payload);
        assert!(payloads.into_iter().eq(sent));
        // The second run begins where the first one ended, and stays in step.
        assert_eq!((pictures[11].dts, pictures[12].dts), (440, 480));
        let sounds = scene.frames(Kind::Audio);
        assert_eq!((sounds[23].dts, sounds[24].dts), (460, 480));
    }
}

#[test]
fn the_catalog_names_the_tracks() {
    for draft in Draft::ALL {
        let wish = Wish {
            tracks: Tracks::OfCatalog(named(catalog::TRACK_NAME)),
            ..wish()
        };
        let mut scene = Scene::new(draft, wish);
        let offer = |name: &str, role: &str, codec: &str| catalog::Track {
            name: name.to_owned(),
            packaging: catalog::PACKAGING_LOC.to_owned(),
            role: Some(role.to_owned()),
            codec: Some(codec.to_owned()),
            ..catalog::Track::default()
        };
        let document = Catalog {
            tracks: vec![
                offer(AUDIO, "audio", "mp4a.40.2"),
                offer(VIDEO, "video", "avc1.42C00D"),
            ],
            ..Catalog::default()
        };
        let object = Packed {
            properties: Vec::new(),
            payload: document.to_json(),
        };
        scene.send(catalog::TRACK_NAME, Location::new(7, 0), &object, true);
        scene.world.run_for(SECOND);
        assert!(!scene.station().is_subscribed(catalog::TRACK_NAME));
        scene.play(0, 6);
        scene.end_tracks();
        assert_eq!(scene.end(), Exit::Success, "{draft:?}");
        scene.assert_pictures(0..6, 0);
        scene.assert_sounds(0..12, 0);
    }
}

#[test]
fn subscriptions_carry_the_token_and_the_timeout() {
    let wish = Wish {
        delivery_timeout: Some(oxymoq_core::wire::id::Millis(1500)),
        ..wish()
    };
    for draft in Draft::ALL {
        let scene = Scene::new(draft, wish.clone());
        let subscribes = &scene.station().subscribes;
        assert_eq!(subscribes.len(), 2);
        for subscribe in subscribes {
            let parameters = &subscribe.parameters;
            let token = Token::UseValue {
                kind: 0,
                value: Bytes::from_static(b"secret"),
            };
            assert_eq!(parameters.authorization_tokens, [token]);
            let timeout = parameters.object_delivery_timeout.map(|timeout| timeout.0);
            assert_eq!(timeout, Some(1500));
        }
    }
}

#[test]
fn delays_are_measured_against_the_clock_of_live_frames() {
    let mut scene = Scene::new(Draft::D18, wish());
    scene.play(0, 10);
    // Everything claims to be from when the world began, which is two seconds ago by now.
    let half = scene.receiver().delays.percentile(50).unwrap();
    assert!((1000..1500).contains(&half), "{half}");
}

fn open_output(scene: &mut Scene) {
    let receiver = scene.receiver;
    scene.world.with::<Receiver, _>(receiver, |receiver, now| {
        receiver.writer.outlet_mut().state = State::Open;
        receiver.handle_wake(now);
    });
}
