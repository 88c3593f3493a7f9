//! The streamer in virtual time: what it publishes, when, and what becomes of it where nobody keeps up.

mod endings;
mod pressure;
mod scripted;
mod watcher;

use std::sync::mpsc::{Sender, channel};

use oxymoq_core::code::{DoneCode, RequestCode};
use oxymoq_core::media::packaging::{Packager, Unpacked, Unpacker};
use oxymoq_core::media::{Frame, Kind};
use oxymoq_core::session::StreamEnd;
use oxymoq_core::sim::{Link, Program};
use oxymoq_core::time::Time;
use oxymoq_core::transport::Application as _;

use super::flv_sample::{self, Flv, GROUP, INTERVAL};
use super::*;
use crate::catalog::{self, Catalog};
use crate::flv_streamer::{self, Chunk, Job, Limits, Streamer, Tolerance};

use watcher::{Got, Watcher};

const MILLISECOND: Duration = Duration::from_millis(1);
const DRAFTS: [Draft; 2] = Draft::ALL;

/// What the tests call the tracks.
const VIDEO: &str = "video0";
const AUDIO: &str = "audio0";

type Watching = Program<Watcher>;

fn name(text: &str) -> TrackName {
    TrackName::new(text.to_owned()).unwrap()
}

fn job() -> Job {
    Job {
        namespace: TrackNamespace::new(["live", "show"]).unwrap(),
        video: name(VIDEO),
        audio: name(AUDIO),
        packager: Packager::Dual,
        audio_group_ms: 0,
        realtime: true,
        can_wait: true,
        await_subscriber: false,
        offer: false,
        delivery_timeout: Duration::ZERO,
        limits: Limits::default(),
    }
}

/// A relay called "server", a streamer into it, and whoever watches.
struct Show {
    world: World,
    relay: NodeId,
    draft: Draft,
    streamer: NodeId,
    input: Sender<Chunk>,
}

impl Show {
    fn new(draft: Draft, job: Job) -> Self {
        Self::over(draft, job, Link::default())
    }

    /// With this between the streamer and the relay.
    fn over(draft: Draft, job: Job, link: Link) -> Self {
        let mut world = World::new(1);
        let relay = add_relay(&mut world);
        let (streamer, input) = add_streamer(&mut world, draft, job);
        world.set_link(streamer, relay, link);
        Self {
            world,
            relay,
            draft,
            streamer,
            input,
        }
    }

    /// Somebody who subscribes to tracks at the relay.
    fn watch(&mut self, tracks: &[&'static str]) -> NodeId {
        self.watch_with(Watcher::of(tracks))
    }

    fn watch_with(&mut self, watcher: Watcher) -> NodeId {
        let node = watcher.node(server(), self.draft);
        self.world
            .add("watcher", node, TransportSettings::default())
    }

    fn watcher(&self, node: NodeId) -> &Watcher {
        self.world.node::<Watching>(node).part()
    }

    /// Gives the streamer something to read.
    fn give(&mut self, bytes: Vec<u8>) {
        self.tell(Chunk::Data(Bytes::from(bytes)));
    }

    fn tell(&mut self, chunk: Chunk) {
        self.input.send(chunk).unwrap();
        let wake = |streamer: &mut Streamer, now| streamer.handle_wake(now);
        self.world.with(self.streamer, wake);
    }

    fn status(&self) -> flv_streamer::Status {
        self.world.node::<Streamer>(self.streamer).status()
    }

    #[track_caller]
    fn end(&mut self) -> Exit {
        let streamer = self.streamer;
        let over = self
            .world
            .run_until(|world| world.exit(streamer).is_some(), 100 * SECOND);
        if let Err(stuck) = over {
            panic!("{stuck}");
        }
        self.world.exit(streamer).unwrap().clone()
    }
}

fn add_relay(world: &mut World) -> NodeId {
    let relay = Relay::new(relay::Settings {
        paths: vec![Bytes::from_static(b"/moq-date")],
        ..relay::Settings::default()
    });
    let relay = world.add("relay", relay, TransportSettings::default());
    world.listen(relay, "server", 4433, flags::alpns(&Draft::ALL));
    relay
}

fn add_streamer(world: &mut World, draft: Draft, job: Job) -> (NodeId, Sender<Chunk>) {
    let relay = flv_streamer::Relay {
        server: server(),
        quic_transport: false,
        drafts: vec![draft],
        patience: 10 * SECOND,
        reconnect: 60 * SECOND,
    };
    let mut streamer = Streamer::new(job, relay, None, Mlog::default()).unwrap();
    let (sender, receiver) = channel();
    streamer.read(receiver);
    // Little is on its way at once, as little is on the way to a congested relay.
    let transport = TransportSettings {
        max_unacked: 16 << 10,
        ..TransportSettings::default()
    };
    let node = world.add("streamer", streamer, transport);
    (node, sender)
}

/// The frames of a track's objects.
fn frames(kind: Kind, got: &[Got]) -> Vec<Frame> {
    let mut unpacker = Unpacker::new(kind);
    got.iter()
        .map(|got| {
            let payload = got.payload.clone();
            let unpacked: Unpacked = unpacker.unpack(&got.properties, payload).unwrap();
            unpacked.frame
        })
        .collect()
}

/// The groups of a track's objects, and how many each has.
fn groups(got: &[Got]) -> Vec<(u64, usize)> {
    let mut groups: Vec<(u64, usize)> = Vec::new();
    for got in got {
        match groups.last_mut() {
            Some((group, count)) if *group == got.location.group.0 => *count += 1,
            _ => groups.push((got.location.group.0, 1)),
        }
    }
    groups
}

#[track_caller]
fn assert_pictures(got: &[Got], numbers: impl Iterator<Item = u32>) {
    let payloads: Vec<Vec<u8>> = got.iter().map(|got| got.payload.to_vec()).collect();
    let expected: Vec<Vec<u8>> = numbers.map(flv_sample::picture).collect();
    assert!(payloads == expected, "{:?}", groups(got));
}

// Rules: B035, B036
#[test]
fn what_is_streamed_arrives_as_it_was_read_group_by_group() {
    for draft in DRAFTS {
        for offer in [false, true] {
            let mut show = Show::new(draft, Job { offer, ..job() });
            let watcher = show.watch(&[VIDEO, AUDIO]);
            show.world.run_for(SECOND);
            show.give(Flv::configured().frames(12).0);
            show.tell(Chunk::End);
            assert_eq!(show.end(), Exit::Success);
            let status = show.status();
            let seen = show.watcher(watcher);
            let video = seen.got(VIDEO);
            assert_pictures(video, 0..12);
            let ids = groups(video);
            let first = ids[0].0;
            // The time of the world is a little after its epoch of the wall clock.
            assert_eq!(ids, [(first, 5), (first + 1, 5), (first + 2, 2)]);
            assert!(video.iter().all(|got| got.priority == 200));
            assert!(video.iter().all(|got| got.end_of_group), "{draft:?}");
            let audio = seen.got(AUDIO);
            assert_eq!(audio.len(), 12);
            assert!(
                audio
                    .iter()
                    .all(|got| got.priority == 100 && got.location.object.0 == 0)
            );
            assert!(groups(audio).is_sorted() && groups(audio).len() == 12);
            for (number, got) in (0..).zip(audio) {
                assert_eq!(got.payload, flv_sample::sound(number));
            }
            for (number, frame) in (0..).zip(frames(Kind::Video, video)) {
                assert_eq!(
                    (frame.dts, frame.timescale),
                    (i64::from(number * INTERVAL), 1000)
                );
                assert_eq!(frame.is_key, number.is_multiple_of(GROUP));
            }
            assert!(seen.ends().iter().all(|end| *end == StreamEnd::Fin));
            for track in [VIDEO, AUDIO] {
                let done = seen.done(track).map(|done| done.code);
                assert_eq!(done, Some(DoneCode::TrackEnded), "{draft:?} {track}");
            }
            assert_eq!((status.video.groups, status.video.frames), (3, 12));
            assert_eq!((status.audio.groups, status.audio.frames), (12, 12));
        }
    }
}

#[test]
fn frames_leave_when_they_are_to_be_shown() {
    let mut show = Show::new(Draft::D18, job());
    let watcher = show.watch(&[VIDEO]);
    show.world.run_for(SECOND);
    show.give(Flv::configured().frames(100).0);
    show.world.run_for(SECOND);
    let seen = show.watcher(watcher).got(VIDEO);
    let first = seen[0].at;
    for (number, got) in (0..).zip(seen) {
        // Nothing but the way is in between, which is the same for all.
        assert_eq!(got.at, first + number * INTERVAL * MILLISECOND, "{number}");
    }
    assert!((48..=50).contains(&seen.len()), "{}", seen.len());
}

#[test]
fn without_pacing_frames_leave_as_they_come() {
    let limits = Limits {
        max_batch: 7,
        max_batch_bytes: 500,
        ..Limits::default()
    };
    let unpaced = Job {
        realtime: false,
        limits,
        ..job()
    };
    let mut show = Show::new(Draft::D18, unpaced);
    let watcher = show.watch(&[VIDEO, AUDIO]);
    show.world.run_for(SECOND);
    // More groups at once than a relay keeps for those who are slower.
    show.give(Flv::configured().frames(200).0);
    show.tell(Chunk::End);
    let start = show.world.now();
    assert_eq!(show.end(), Exit::Success);
    let took = show.world.now().since(start);
    assert!(took < 3 * SECOND, "{took:?}");
    assert_pictures(show.watcher(watcher).got(VIDEO), 0..200);
    assert_eq!(show.watcher(watcher).got(AUDIO).len(), 200);
}

#[test]
fn sound_can_be_bundled_in_groups() {
    let bundled = Job {
        audio_group_ms: 100,
        ..job()
    };
    let mut show = Show::new(Draft::D18, bundled);
    let watcher = show.watch(&[AUDIO]);
    show.world.run_for(SECOND);
    show.give(Flv::configured().frames(12).0);
    show.tell(Chunk::End);
    assert_eq!(show.end(), Exit::Success);
    let ids = groups(show.watcher(watcher).got(AUDIO));
    let first = ids[0].0;
    assert_eq!(ids, [(first, 5), (first + 1, 5), (first + 2, 2)]);
}

#[test]
fn nothing_is_published_before_the_first_picture_that_can_be_decoded() {
    let mut show = Show::new(Draft::D18, job());
    let watcher = show.watch(&[VIDEO]);
    show.world.run_for(SECOND);
    let flv = (3..12).fold(Flv::configured(), Flv::picture);
    show.give(flv.0);
    show.tell(Chunk::End);
    assert_eq!(show.end(), Exit::Success);
    assert_pictures(show.watcher(watcher).got(VIDEO), 5..12);
    assert_eq!(show.status().video.early_frames, 2);
}

#[test]
fn a_new_configuration_comes_with_the_next_group() {
    let mut show = Show::new(Draft::D18, job());
    let watcher = show.watch(&[VIDEO, catalog::TRACK_NAME]);
    show.world.run_for(SECOND);
    let mut other = flv_sample::AVCC;
    other[3] = 0x1e;
    other[11] = 0x1e;
    let flv = (0..5).fold(Flv::configured(), Flv::picture);
    let flv = flv.video_configuration(&other, 5 * INTERVAL).frames(0);
    let flv = (5..10).fold(flv, Flv::picture);
    show.give(flv.0);
    show.tell(Chunk::End);
    assert_eq!(show.end(), Exit::Success);
    let seen = show.watcher(watcher);
    let configurations: Vec<Option<Bytes>> = seen
        .got(VIDEO)
        .iter()
        .map(|got| got.properties.byte_string(0x0d))
        .collect();
    let own = |record: &[u8]| Some(Bytes::copy_from_slice(record));
    let mut expected = vec![None; 10];
    expected[0] = own(&flv_sample::AVCC);
    expected[5] = own(&other);
    assert_eq!(configurations, expected);
    let codecs: Vec<Option<String>> = seen
        .got(catalog::TRACK_NAME)
        .iter()
        .map(|got| {
            Catalog::parse(&got.payload)
                .unwrap()
                .tracks
                .swap_remove(0)
                .codec
        })
        .collect();
    let codecs: Vec<&str> = codecs.iter().flatten().map(String::as_str).collect();
    assert_eq!(codecs, ["avc1.42C00D", "avc1.42C01E", "avc1.42C01E"]);
}

#[test]
fn any_number_of_subscribers_joins_when_it_likes() {
    let mut show = Show::new(Draft::D18, job());
    let early = show.watch(&[VIDEO]);
    show.world.run_for(SECOND);
    show.give(Flv::configured().frames(100).0);
    show.world.run_for(7 * INTERVAL * MILLISECOND);
    let late = show.watch(&[VIDEO]);
    let next = show.watch_with(Watcher::of(&[VIDEO]).with_filter(Filter::NextGroupStart));
    show.tell(Chunk::End);
    assert_eq!(show.end(), Exit::Success);
    let all = show.watcher(early).got(VIDEO);
    assert_pictures(all, 0..100);
    let joined = show.watcher(late).got(VIDEO);
    let first = 100 - u32::try_from(joined.len()).unwrap();
    assert!((8..12).contains(&first), "{first}");
    assert_pictures(joined, first..100);
    assert_pictures(show.watcher(next).got(VIDEO), 10..100);
}

#[test]
fn a_streamer_that_is_started_again_goes_on_with_higher_groups() {
    let mut show = Show::new(Draft::D18, job());
    let watcher = show.watch(&[VIDEO, AUDIO]);
    show.world.run_for(SECOND);
    show.give(Flv::configured().frames(15).0);
    show.tell(Chunk::End);
    assert_eq!(show.end(), Exit::Success);
    let (streamer, input) = add_streamer(&mut show.world, Draft::D18, job());
    (show.streamer, show.input) = (streamer, input);
    let again = show.watch(&[VIDEO, AUDIO]);
    show.world.run_for(SECOND);
    show.give(Flv::configured().frames(15).0);
    show.tell(Chunk::End);
    assert_eq!(show.end(), Exit::Success);
    for track in [VIDEO, AUDIO] {
        let last = show.watcher(watcher).got(track).last().unwrap().location;
        let first = show.watcher(again).got(track)[0].location;
        assert!(last < first, "{track}: {last} {first}");
    }
    assert_pictures(show.watcher(again).got(VIDEO), 0..15);
}

#[test]
fn a_loop_goes_on_in_time_and_in_groups() {
    let mut show = Show::new(Draft::D18, job());
    let watcher = show.watch(&[VIDEO, AUDIO, catalog::TRACK_NAME]);
    show.world.run_for(SECOND);
    let flv = Flv::configured().frames(7).0;
    for _ in 0..3 {
        show.give(flv.clone());
        show.tell(Chunk::Again);
    }
    show.give(flv);
    show.tell(Chunk::End);
    let start = show.world.now();
    assert_eq!(show.end(), Exit::Success);
    let took = show.world.now().since(start);
    assert!(took >= 27 * INTERVAL * MILLISECOND, "{took:?}");
    let seen = show.watcher(watcher);
    let numbers = (0..4).flat_map(|_| 0..7);
    assert_pictures(seen.got(VIDEO), numbers);
    let video = frames(Kind::Video, seen.got(VIDEO));
    let times: Vec<i64> = video.iter().map(|frame| frame.dts).collect();
    // The last block of sound lasts for 21 ms.
    let pass = |pass: i64| (0..7).map(move |number| pass * 141 + number * i64::from(INTERVAL));
    let expected: Vec<i64> = (0..4).flat_map(pass).collect();
    assert_eq!(times, expected);
    let ids = groups(seen.got(VIDEO));
    let expected: Vec<(u64, usize)> = (ids[0].0..).zip([5, 2].repeat(4)).collect();
    assert_eq!(ids, expected);
    assert_eq!(seen.got(catalog::TRACK_NAME).len(), 2, "it and its end");
}

#[test]
fn an_input_without_a_frame_is_not_read_again_and_again() {
    let mut show = Show::new(Draft::D18, job());
    show.world.run_for(SECOND);
    show.give(Flv::configured().0);
    show.tell(Chunk::Again);
    let Exit::Failure(why) = show.end() else {
        panic!("it is of no use");
    };
    assert!(why.contains("no frame"), "{why}");
}

#[test]
fn who_joins_late_fetches_the_catalog_and_no_media_of_the_past() {
    for draft in DRAFTS {
        let mut show = Show::new(draft, job());
        show.world.run_for(SECOND);
        show.give(Flv::configured().frames(100).0);
        show.world.run_for(SECOND);
        let watcher = show.watch_with(Watcher::of(&[catalog::TRACK_NAME, VIDEO]).joining());
        show.world.run_for(SECOND / 2);
        let seen = show.watcher(watcher);
        let [document] = seen.fetched(catalog::TRACK_NAME) else {
            panic!("{draft:?}: {seen:?}");
        };
        let catalog = Catalog::parse(document).unwrap();
        let [video, audio] = catalog.tracks.as_slice() else {
            panic!("{catalog:?}");
        };
        assert_eq!((video.name.as_str(), audio.name.as_str()), (VIDEO, AUDIO));
        assert_eq!((video.width, video.height), (Some(320), Some(200)));
        assert_eq!(video.init, flv_sample::AVCC[..]);
        assert!(video.is_live && audio.is_live && !catalog.is_complete);
        assert_eq!(audio.samplerate, Some(48_000));
        assert_eq!(seen.fetched(VIDEO).len(), 0);
        show.tell(Chunk::End);
        assert_eq!(show.end(), Exit::Success);
        let last = show
            .watcher(watcher)
            .got(catalog::TRACK_NAME)
            .last()
            .unwrap();
        let catalog = Catalog::parse(&last.payload).unwrap();
        assert!(catalog.is_complete && catalog.tracks.iter().all(|track| !track.is_live));
    }
}

#[test]
fn it_can_wait_for_the_first_subscriber() {
    let patient = Job {
        await_subscriber: true,
        ..job()
    };
    let mut show = Show::new(Draft::D18, patient);
    show.give(Flv::configured().frames(20).0);
    show.tell(Chunk::End);
    show.world.run_for(20 * SECOND);
    assert_eq!(show.status().video.frames, 0);
    let watcher = show.watch(&[AUDIO, VIDEO]);
    assert_eq!(show.end(), Exit::Success);
    assert_pictures(show.watcher(watcher).got(VIDEO), 0..20);
    assert_eq!(show.watcher(watcher).got(AUDIO).len(), 20);
}
