//! What becomes of media where nobody keeps up with it, or memory is short.

use super::*;

/// Seven seconds of 33 kB/s over a link of 15 kB/s.
fn choke(can_wait: bool) -> (Show, NodeId) {
    let job = Job { can_wait, ..job() };
    let slow = Link {
        rate: Some(15_000),
        ..Link::default()
    };
    let mut show = Show::over(Draft::D18, job, slow);
    show.world.run_for(SECOND);
    let watcher = show.watch(&[VIDEO, AUDIO]);
    show.world.run_for(SECOND);
    show.give((0..350).fold(Flv::configured(), large_picture).0);
    show.tell(Chunk::End);
    (show, watcher)
}

/// A picture of four units, and a block of sound.
fn large_picture(flv: Flv, number: u32) -> Flv {
    let is_key = number.is_multiple_of(GROUP);
    let head = [if is_key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
    let units = flv_sample::picture(number).repeat(4);
    flv.tag(9, number * INTERVAL, &[&head[..], &units].concat())
        .sound(number)
}

#[test]
fn live_media_that_nobody_keeps_up_with_is_left_out_by_whole_groups() {
    let (mut show, watcher) = choke(false);
    let mut most = 0;
    while show.world.exit(show.streamer).is_none() {
        most = most.max(show.world.node::<Streamer>(show.streamer).bytes_held());
        assert!(show.world.step());
    }
    assert_eq!(show.end(), Exit::Success);
    let status = show.status();
    assert!(status.video.dropped_groups > 10, "{status:?}");
    assert_eq!(status.video.cut_groups, 0, "groups are short");
    assert_eq!(status.video.frames + status.video.dropped_frames, 350);
    assert_eq!(status.audio.frames + status.audio.dropped_frames, 350);
    let seen = show.watcher(watcher);
    let ids = groups(seen.got(VIDEO));
    // Consecutive ids, and all of every group.
    let expected: Vec<(u64, usize)> = (ids[0].0..).take(ids.len()).map(|id| (id, 5)).collect();
    assert_eq!(ids, expected);
    assert_eq!(u64::try_from(ids.len()), Ok(status.video.groups));
    assert!(seen.ends().iter().all(|end| *end == StreamEnd::Fin));
    // Three seconds of it at most, and what each object costs besides.
    assert!(most < 200_000, "{most}");
}

#[test]
fn a_file_waits_for_those_who_want_it() {
    let (mut show, watcher) = choke(true);
    let start = show.world.now();
    assert_eq!(show.end(), Exit::Success);
    let took = show.world.now().since(start);
    assert!(took > 14 * SECOND, "{took:?}");
    let status = show.status();
    assert_eq!((status.video.frames, status.video.dropped_frames), (350, 0));
    assert_eq!(show.watcher(watcher).got(VIDEO).len(), 350);
    assert_eq!(show.watcher(watcher).got(AUDIO).len(), 350);
}

#[test]
fn a_group_without_end_is_cut_between_two_frames() {
    let tight = Tolerance {
        time: SECOND,
        bytes: 20_000,
        objects: 1000,
    };
    let limits = Limits {
        new_group: tight,
        open_group: tight,
        ..Limits::default()
    };
    let endless = Job {
        can_wait: false,
        limits,
        ..job()
    };
    let slow = Link {
        rate: Some(5_000),
        ..Link::default()
    };
    let mut show = Show::over(Draft::D18, endless, slow);
    show.world.run_for(SECOND);
    let watcher = show.watch(&[VIDEO]);
    show.world.run_for(SECOND);
    let one = |flv: Flv, number| {
        let units = flv_sample::picture(1).repeat(4);
        let head = [if number == 0 { 0x17 } else { 0x27 }, 1, 0, 0, 0];
        let key = flv_sample::picture(0);
        let body = if number == 0 { key } else { units };
        flv.tag(9, number * INTERVAL, &[&head[..], &body].concat())
    };
    show.give((0..300).fold(Flv::configured(), one).0);
    show.tell(Chunk::End);
    assert_eq!(show.end(), Exit::Success);
    let video = show.status().video;
    assert_eq!((video.groups, video.cut_groups), (1, 1));
    assert!(
        video.frames > 10 && video.frames + video.dropped_frames == 300,
        "{video:?}"
    );
    // What was on its way when the stream was reset may be lost, but no frame is there by half.
    let seen = show.watcher(watcher);
    let got = u64::try_from(seen.got(VIDEO).len()).unwrap();
    assert!((10..=video.frames).contains(&got), "{got} of {video:?}");
    // Nobody is told that this was the whole group.
    assert!(!seen.ends().contains(&StreamEnd::Fin), "{:?}", seen.ends());
}

#[test]
fn memory_for_objects_is_limited() {
    let limits = Limits {
        max_object_bytes: 400_000,
        ..Limits::default()
    };
    let job = Job {
        limits,
        can_wait: false,
        realtime: false,
        ..job()
    };
    let mut show = Show::new(Draft::D18, job);
    let watcher = show.watch(&[VIDEO]);
    show.world.run_for(SECOND);
    // Of a megabyte.
    let mut unit = 1_000_000_u32.to_be_bytes().to_vec();
    unit.resize(1_000_004, 0x65);
    let flv = Flv::configured()
        .picture(0)
        .tag(9, 20, &[&[0x17, 1, 0, 0, 0][..], &unit].concat());
    show.give(flv.picture(5).0);
    show.tell(Chunk::End);
    assert_eq!(show.end(), Exit::Success);
    let video = show.status().video;
    assert_eq!(
        (video.groups, video.dropped_groups, video.dropped_frames),
        (2, 1, 1)
    );
    assert_pictures(show.watcher(watcher).got(VIDEO), [0, 5].into_iter());
}
