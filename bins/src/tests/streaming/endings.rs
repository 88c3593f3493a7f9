//! How inputs, relays and the streamer itself end, and what follows from that.

use super::*;

#[test]
fn a_lost_relay_is_reached_again_when_it_is_back() {
    let mut show = Show::new(Draft::D18, job());
    let before = show.watch(&[VIDEO]);
    show.world.run_for(SECOND);
    show.give(Flv::configured().frames(100).0);
    show.world.run_for(2 * SECOND);
    show.world.crash(show.relay);
    show.world.run_for(35 * SECOND);
    let relay = add_relay(&mut show.world);
    show.world.run_for(10 * SECOND);
    let after = show.watch(&[VIDEO, AUDIO]);
    show.world.run_for(SECOND);
    let more = (100..200).fold(Flv::default(), |flv, number| {
        flv.picture(number).sound(number)
    });
    show.give(more.0);
    show.world.run_for(SECOND);
    show.world.shut_down(show.streamer);
    assert_eq!(show.end(), Exit::Success);
    let last = show.watcher(before).got(VIDEO).last().unwrap().location;
    let seen = show.watcher(after);
    assert!(seen.got(VIDEO).len() > 40 && seen.got(AUDIO).len() > 40);
    assert!(seen.got(VIDEO)[0].location > last);
    assert_eq!(
        seen.done(VIDEO).map(|done| done.code),
        Some(DoneCode::TrackEnded)
    );
    show.world.shut_down(relay);
}

#[test]
fn a_relay_that_stays_away_is_given_up() {
    let mut show = Show::new(Draft::D18, job());
    show.world.run_for(SECOND);
    show.world.crash(show.relay);
    let start = show.world.now();
    let Exit::Failure(why) = show.end() else {
        panic!("there is no relay");
    };
    assert!(why.contains("--reconnect_timeout"), "{why}");
    // Half a minute until the silence is noticed, then a minute of attempts.
    let took = show.world.now().since(start);
    assert!((60 * SECOND..=100 * SECOND).contains(&took), "{took:?}");
}

#[test]
fn a_relay_that_never_was_there_is_not_waited_for() {
    let mut world = World::new(1);
    let (streamer, _input) = add_streamer(&mut world, Draft::D18, job());
    world.run_for(20 * SECOND);
    let Some(Exit::Failure(why)) = world.exit(streamer) else {
        panic!("there is no relay");
    };
    assert!(why.contains("could not connect"), "{why}");
}

#[test]
fn a_relay_that_ends_is_left_at_once() {
    let mut show = Show::new(Draft::D18, job());
    show.world.run_for(SECOND);
    show.world.shut_down(show.relay);
    let relay = show.relay;
    let over = show
        .world
        .run_until(|world| world.exit(relay).is_some(), SECOND);
    assert!(over.is_ok(), "nobody waits for the streamer");
}

#[test]
fn a_codec_that_cannot_be_packed_does_not_keep_the_other_track_from_being_published() {
    let moqmi = Job {
        packager: Packager::MoqMi,
        ..job()
    };
    let mut show = Show::new(Draft::D18, moqmi);
    let watcher = show.watch(&[VIDEO, AUDIO]);
    show.world.run_for(SECOND);
    // VP9 is nothing that MoqMi has; ADPCM nothing that anybody has.
    let vp9 = b"\x90vp09\x01\0\0\0\0\x0a\x08\x01\x01\x01\0\0";
    show.give(Flv::new().tag(9, 0, vp9).audio_configuration(0).frames(5).0);
    show.world.run_for(SECOND / 2);
    let late = show.watch(&[VIDEO]);
    show.world.run_for(SECOND / 2);
    show.tell(Chunk::End);
    assert_eq!(show.end(), Exit::Success);
    let seen = show.watcher(watcher);
    assert_eq!((seen.got(VIDEO).len(), seen.got(AUDIO).len()), (0, 5));
    assert!(seen.done(VIDEO).is_some());
    let refused = show.watcher(late).refused(VIDEO);
    assert_eq!(
        refused.iter().map(|r| r.code).collect::<Vec<_>>(),
        [RequestCode::DoesNotExist]
    );
}

#[test]
fn an_input_that_is_of_no_use_is_a_failure() {
    let adpcm = Flv::new()
        .tag(8, 0, &[0x16, 0, 0, 0])
        .tag(9, 0, &[0x22, 0, 0, 0])
        .0;
    for (bytes, sentence) in [
        (b"GIF89a, and so on and on and on".to_vec(), "FLV"),
        (Vec::new(), "FLV"),
        (Flv::new().0, "no frame"),
        (Flv::configured().picture(1).0, "no key frame"),
        (adpcm, "unknown codec"),
    ] {
        let mut show = Show::new(Draft::D18, job());
        show.world.run_for(SECOND);
        if !bytes.is_empty() {
            show.give(bytes);
        }
        show.tell(Chunk::End);
        let Exit::Failure(why) = show.end() else {
            panic!("{sentence}");
        };
        assert!(why.contains(sentence), "{why}");
    }
}

#[test]
fn an_input_that_breaks_off_is_published_up_to_there() {
    let mut whole = Flv::configured().frames(7).0;
    whole.truncate(whole.len() - 40);
    let mut show = Show::new(Draft::D18, job());
    let watcher = show.watch(&[VIDEO, AUDIO]);
    show.world.run_for(SECOND);
    show.give(whole);
    show.tell(Chunk::End);
    assert_eq!(show.end(), Exit::Success);
    let seen = show.watcher(watcher);
    assert_eq!((seen.got(VIDEO).len(), seen.got(AUDIO).len()), (7, 6));
}

#[test]
fn an_input_that_cannot_be_read_any_further_is_a_failure() {
    let mut show = Show::new(Draft::D18, job());
    let watcher = show.watch(&[VIDEO]);
    show.world.run_for(SECOND);
    show.give(Flv::configured().frames(7).0);
    show.tell(Chunk::Failed("cannot read 'x.flv': it is gone".to_owned()));
    let Exit::Failure(why) = show.end() else {
        panic!("it is gone");
    };
    assert!(why.contains("x.flv"), "{why}");
    assert_eq!(show.watcher(watcher).got(VIDEO).len(), 7);
}

#[test]
fn a_streamer_that_is_stopped_ends_its_tracks() {
    for draft in DRAFTS {
        let mut show = Show::new(draft, job());
        let watcher = show.watch(&[VIDEO, AUDIO]);
        show.world.run_for(SECOND);
        show.give(Flv::configured().frames(100).0);
        show.world.run_for(SECOND);
        show.world.shut_down(show.streamer);
        assert_eq!(show.end(), Exit::Success);
        for track in [VIDEO, AUDIO] {
            let done = show.watcher(watcher).done(track).map(|done| done.code);
            assert_eq!(done, Some(DoneCode::TrackEnded), "{draft:?} {track}");
        }
        let video = show.status().video;
        assert_eq!(
            u64::try_from(show.watcher(watcher).got(VIDEO).len()),
            Ok(video.frames)
        );
    }
}
