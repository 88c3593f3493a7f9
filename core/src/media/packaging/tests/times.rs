//! Times on the way out.

use super::*;

/// What MoqMi says of these frames: DTS, PTS, duration.
fn sent(frames: &[Frame], codec: Codec) -> Vec<(u64, u64, u64)> {
    let mut packer = packer(Packager::MoqMi, codec);
    let config = configuration(codec);
    frames
        .iter()
        .map(|frame| {
            let (properties, _) = pack(&mut packer, frame, &config);
            match moqmi::Header::read(&properties).unwrap() {
                moqmi::Header::Video(video) => (video.dts, video.pts, video.duration),
                moqmi::Header::Audio(audio) => (audio.pts, audio.pts, audio.duration),
                moqmi::Header::Text(_) => unreachable!("nobody packs text"),
            }
        })
        .collect()
}

fn picture(dts: i64, pts: i64) -> Frame {
    Frame {
        dts,
        pts,
        ..frame(Codec::H264, dts == 0, 0)
    }
}

#[test]
fn both_times_are_told_with_b_frames() {
    let frames = [(0, 80), (40, 200), (80, 120), (120, 160)];
    let frames = frames.map(|(dts, pts)| picture(dts, pts));
    assert_eq!(
        sent(&frames, Codec::H264),
        [(0, 80, 33), (40, 200, 40), (80, 120, 40), (120, 160, 40)]
    );
}

#[test]
fn no_frame_is_shown_before_it_is_decoded() {
    // I P B B with the composition times of a muxer that lets them be negative
    let frames = [(0, 0), (40, 120), (80, 40), (120, 80), (160, 240)];
    let frames = frames.map(|(dts, pts)| picture(dts, pts));
    let times: Vec<_> = sent(&frames, Codec::H264)
        .into_iter()
        .map(|(dts, pts, _)| (dts, pts))
        .collect();
    assert_eq!(times, [(0, 0), (40, 120), (40, 40), (80, 80), (120, 240)]);
}

#[test]
fn times_below_zero_are_zero() {
    let frames = [picture(-100, -40), picture(-60, 20)];
    let times = sent(&frames, Codec::H264);
    assert_eq!((times[0].0, times[0].1), (0, 0));
    assert_eq!((times[1].0, times[1].1), (0, 20));
    let mut loc = packer(Packager::Loc, Codec::H264);
    let packed = loc.pack(&frames[0], &configuration(Codec::H264), true);
    assert_eq!(*value(&packed.unwrap(), 0x10), Value::Integer(0));
}

#[test]
fn durations_come_from_the_frame_the_codec_or_the_frame_before() {
    let mut told = picture(0, 0);
    told.duration = 25;
    // a gap of a minute is none
    let frames = [told, picture(60_000, 60_000), picture(60_020, 60_020)];
    let durations: Vec<_> = sent(&frames, Codec::H264)
        .iter()
        .map(|sent| sent.2)
        .collect();
    assert_eq!(durations, [25, 25, 20]);
    let sound = [frame(Codec::Aac, true, 0), frame(Codec::Aac, true, 100)];
    // 1024 samples at 44.1 kHz
    let durations: Vec<_> = sent(&sound, Codec::Aac).iter().map(|sent| sent.2).collect();
    assert_eq!(durations, [23, 23]);
    assert_eq!(sent(&[frame(Codec::Opus, true, 0)], Codec::Opus)[0].2, 20);
    // a packet whose duration nobody knows
    let mut empty = frame(Codec::Opus, true, 0);
    empty.payload = Bytes::new();
    empty.timescale = 1;
    assert_eq!(sent(&[empty], Codec::Opus)[0].2, 1);
}

#[test]
fn frames_are_counted_and_the_wall_clock_is_told() {
    let mut packer = packer(Packager::Dual, Codec::H264);
    let config = configuration(Codec::H264);
    let mut unpacker = Unpacker::new(Kind::Video);
    for sequence in 0..3 {
        let mut frame = picture(0, 0);
        frame.wall = Some(1_700_000_000_000 + sequence);
        let (properties, payload) = pack(&mut packer, &frame, &config);
        let unpacked = unpacker.unpack(&properties, payload).unwrap();
        assert_eq!(unpacked.sequence, Some(sequence));
        assert_eq!(unpacked.frame.wall, frame.wall);
    }
}

#[test]
fn loc_gives_decoding_times_back_by_the_depth_of_the_configuration() {
    let config = configuration(Codec::H264);
    let mut packer = packer(Packager::Loc, Codec::H264);
    let mut unpacker = Unpacker::new(Kind::Video);
    let pts = [0, 160, 80, 40, 120, 320, 240];
    let dts: Vec<_> = pts
        .iter()
        .map(|pts| {
            let (properties, payload) = pack(&mut packer, &picture(*pts, *pts), &config);
            unpacker.unpack(&properties, payload).unwrap().frame.dts
        })
        .collect();
    assert_eq!(dts, [-2, -1, 0, 40, 80, 120, 160]);
}

proptest! {
    #[test]
    fn what_is_sent_is_in_order(
        frames in prop::collection::vec((any::<i64>(), any::<i64>(), 0_u64..3, any::<bool>()), 1..30),
    ) {
        let mut before: Option<(i64, u64)> = None;
        let mut packer = packer(Packager::MoqMi, Codec::H264);
        for (dts, delay, duration, near) in frames {
            let (dts, delay) = if near { (dts % 10_000, delay % 1000) } else { (dts, delay) };
            let frame = Frame { duration, ..picture(dts, dts.saturating_add(delay)) };
            let (properties, _) = pack(&mut packer, &frame, &configuration(Codec::H264));
            let Ok(moqmi::Header::Video(video)) = moqmi::Header::read(&properties) else {
                unreachable!("it is video")
            };
            prop_assert!(video.dts <= video.pts && video.duration > 0);
            prop_assert_eq!(video.pts, u64::try_from(frame.pts.clamp(0, (1 << 62) - 1)).unwrap());
            if let Some((last, sent)) = before && last <= dts {
                prop_assert!(video.dts >= sent.min(video.pts));
            }
            before = Some((dts, video.dts));
        }
    }
}
