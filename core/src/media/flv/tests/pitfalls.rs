//! What writers of FLV do that readers stumble over, one test each.

use super::builder::{ASC, AVCC, File, bytes, delta, idr, read};
use crate::media::flv::{Demuxer, Fault, Item, Limits, Metadata};
use crate::media::{Codec, Configuration, Frame, Kind};

#[test]
fn configurations_and_frames() {
    let file = File::configured().idr(40, 1).aac(45, 2).delta(80, 3);
    let read = file.video(80, &[0x17, 2, 0, 0, 0]).read();
    let frame = |kind, is_key, time, duration, payload: &[u8]| {
        Item::Frame(Frame {
            kind,
            is_key,
            dts: time,
            pts: time,
            duration,
            timescale: 1000,
            wall: None,
            payload: bytes(payload),
        })
    };
    let expected = [
        Item::Configuration(Configuration {
            codec: Codec::H264,
            record: bytes(AVCC),
        }),
        Item::Configuration(Configuration {
            codec: Codec::Aac,
            record: bytes(ASC),
        }),
        // 25 frames a second, says the sequence parameter set
        frame(Kind::Video, true, 40, 40, &idr(1)),
        frame(Kind::Audio, true, 45, 21, &[0x21, 2]),
        frame(Kind::Video, false, 80, 40, &delta(3)),
        Item::EndOfSequence(Kind::Video),
    ];
    assert_eq!(read.items, expected);
}

#[test]
fn negative_composition_time() {
    let later = [&[0x17, 1, 0, 0, 80], &idr(1)[..]].concat();
    let earlier = [&[0x27, 1, 0xff, 0xff, 0xd8], &delta(2)[..]].concat();
    let read = File::configured()
        .video(100, &later)
        .video(140, &earlier)
        .read();
    assert_eq!(read.times(), [(100, 180), (140, 100)]);
}

#[test]
fn timestamps_beyond_24_31_and_32_bits() {
    for boundary in [1_u64 << 24, 1 << 31, 1 << 32] {
        let time = |time: u64| u32::try_from(time & 0xffff_ffff).unwrap();
        let file = File::configured().idr(time(boundary - 20), 1);
        let read = file
            .aac(time(boundary - 1), 2)
            .delta(time(boundary + 20), 3)
            .read();
        let boundary = i64::try_from(boundary).unwrap();
        let times = [boundary - 20, boundary - 1, boundary + 20].map(|time| (time, time));
        assert_eq!(read.times(), times);
        assert_eq!(read.warnings(), []);
    }
}

#[test]
fn timestamps_that_wrap_at_31_bits() {
    let file = File::configured().idr(0x7fff_ffec, 1).aac(0x7fff_ffff, 2);
    let read = file.delta(20, 3).aac(22, 4).read();
    let half = 1_i64 << 31;
    let times = [half - 20, half - 1, half + 20, half + 22].map(|time| (time, time));
    assert_eq!(read.times(), times);
    assert_eq!(read.warnings(), []);
}

#[test]
fn a_configuration_that_changes() {
    let mut other = AVCC.to_vec();
    other[3] = 0x1e;
    let file = File::configured().idr(0, 1).avcc(&other).idr(40, 2);
    let read = file.read();
    let records: Vec<_> = read
        .configurations()
        .into_iter()
        .map(|it| it.record)
        .collect();
    assert_eq!(records, [bytes(AVCC), bytes(ASC), bytes(&other)]);
    assert!(
        matches!(read.items[..], [.., Item::Configuration(_), Item::Frame(_)]),
        "the change comes before the frame that it holds for: {read:?}"
    );
}

#[test]
fn a_configuration_that_is_repeated_is_no_change() {
    let file = File::configured()
        .idr(0, 1)
        .avcc(AVCC)
        .asc()
        .avcc(AVCC)
        .delta(40, 2);
    let read = file.read();
    assert_eq!(read.configurations().len(), 2);
    assert_eq!(read.marks(), [1, 2]);
    // and times of configurations do not count
    assert_eq!(read.times(), [(0, 0), (40, 40)]);
}

#[test]
fn sizes_behind_tags_that_are_wrong() {
    let body = |mark| [&[0x17, 1, 0, 0, 0], &idr(mark)[..]].concat();
    for size in [0, 11, 0xffff_ffff] {
        // of every tag
        let mut file = File::new().tag_sized(9, 0, &[&[0x17, 0, 0, 0, 0], AVCC].concat(), size);
        for mark in 1..5 {
            file = file.tag_sized(9, u32::from(mark) * 40, &body(mark), size);
        }
        let read = file.read();
        assert_eq!(read.marks(), [1, 2, 3, 4], "{size}");
        assert_eq!(read.faults(), [Fault::PreviousTagSize]);
    }
    // of some
    let file = File::configured()
        .idr(0, 1)
        .tag_sized(9, 40, &body(2), 7)
        .idr(80, 3);
    let file = file.tag_sized(9, 120, &body(4), 0).idr(160, 5);
    let read = file.tag_sized(9, 200, &body(6), 9).read();
    assert_eq!(read.marks(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(read.faults(), [Fault::PreviousTagSize]);
}

#[test]
fn flags_that_announce_nothing() {
    let mut file = File::configured().idr(0, 1).aac(3, 2);
    file.bytes[4] = 0;
    let read = file.read();
    assert_eq!(read.marks(), [1, 2]);
    assert_eq!(read.warnings(), []);
}

#[test]
fn a_file_header_of_12_bytes() {
    let mut file = File::configured().idr(0, 1);
    file.bytes[8] = 12;
    file.bytes.splice(9..9, [7, 7, 7]);
    let read = file.read();
    assert_eq!(read.marks(), [1]);
    assert_eq!(read.warnings(), []);
}

#[test]
fn a_file_header_that_is_not_believed() {
    for (at, byte) in [(3, 2), (5, 1), (8, 0)] {
        let mut file = File::configured().idr(0, 1);
        file.bytes[at] = byte;
        let read = file.read();
        assert_eq!(read.marks(), [1]);
        assert_eq!(read.faults(), [Fault::Header]);
    }
}

#[test]
fn unknown_types_of_tags() {
    let file = File::configured().idr(0, 1).tag(15, 0, &[1, 2, 3]);
    let read = file.tag(16, 0, &[]).delta(40, 2).read();
    assert_eq!(read.marks(), [1, 2]);
    assert_eq!(read.faults(), [Fault::UnknownTag(15)]);
}

#[test]
fn an_encrypted_tag() {
    let file = File::configured().idr(0, 1);
    let offset = file.len();
    let read = file
        .tag(0x29, 40, &[0x27, 1, 0, 0, 0, 1])
        .delta(80, 2)
        .read();
    assert_eq!(read.marks(), [1, 2]);
    assert_eq!(read.faults(), [Fault::Encrypted]);
    assert_eq!(read.warnings()[0].offset, offset);
}

#[test]
fn metadata_in_mid_stream() {
    let metadata = Metadata {
        width: Some(64),
        frame_rate: Some(50.0),
        ..Metadata::default()
    };
    let file = File::new().avcc(AVCC).idr(0, 1).script(&metadata.write());
    let read = file
        .delta(40, 2)
        .script(&[])
        .script(&[2, 0, 1])
        .delta(80, 3)
        .read();
    assert_eq!(read.marks(), [1, 2, 3]);
    assert!(read.items.contains(&Item::Metadata(metadata)));
    assert!(matches!(read.faults()[..], [Fault::Malformed(_)]));
}

#[test]
fn metadata_tells_how_long_the_first_frame_lasts() {
    for (frame_rate, duration) in [(50.0, 20), (0.0, 40), (0.01, 40), (1e9, 40)] {
        let metadata = Metadata {
            frame_rate: Some(frame_rate),
            ..Metadata::default()
        };
        let read = File::new()
            .script(&metadata.write())
            .avcc(AVCC)
            .idr(0, 1)
            .read();
        assert_eq!(read.frames()[0].duration, duration, "{frame_rate}");
    }
}

#[test]
fn bodies_with_nothing_in_them() {
    let file = File::configured().idr(0, 1).audio(1, &[]).video(2, &[]);
    let file = file
        .audio(3, &[0xaf])
        .audio(4, &[0xaf, 1])
        .video(5, &[0x27]);
    let file = file
        .video(6, &[0x27, 1, 0, 0, 0])
        .video(7, &[0x17, 0, 0, 0, 0])
        .audio(8, &[0xaf, 0]);
    let read = file.delta(40, 2).read();
    assert_eq!(read.marks(), [1, 2]);
    assert_eq!(read.warnings(), []);
    assert_eq!(read.configurations().len(), 2);
}

#[test]
fn bodies_that_end_too_early() {
    for body in [
        &[0x27, 1, 0, 0][..],
        &[0x17, 0],
        &[0x90],
        &[0x90, b'a', b'v'],
        &[0x97, 9, 1],
    ] {
        let read = File::configured()
            .idr(0, 1)
            .video(40, body)
            .delta(80, 2)
            .read();
        assert_eq!(read.marks(), [1, 2]);
        assert!(
            matches!(read.faults()[..], [Fault::Malformed(_)]),
            "{body:x?}"
        );
    }
    for body in [
        &[0x90, b'O'][..],
        &[0x95, 0x01, b'O', b'p', b'u', b's'],
        &[0xaf, 7],
        &[0x97, 0, 0],
    ] {
        let read = File::configured()
            .aac(0, 1)
            .audio(23, body)
            .aac(46, 2)
            .read();
        assert_eq!(read.marks(), [1, 2]);
        assert!(
            matches!(read.faults()[..], [Fault::Malformed(_)]),
            "{body:x?}"
        );
    }
}

#[test]
fn flags_of_aac_are_not_looked_at() {
    let file = File::new().audio(0, &[&[0xa0, 0], ASC].concat());
    let read = file
        .audio(0, &[0xa0, 1, 0x21, 1])
        .audio(21, &[0xae, 1, 0x21, 2])
        .read();
    assert_eq!(read.marks(), [1, 2]);
    assert_eq!(read.warnings(), []);
}

#[test]
fn the_first_frame_is_no_key_frame() {
    let read = File::configured().delta(0, 1).idr(40, 2).read();
    let keys: Vec<_> = read.frames().iter().map(|frame| frame.is_key).collect();
    assert_eq!(keys, [false, true]);
    assert_eq!(read.warnings(), []);
}

#[test]
fn frames_before_their_configuration() {
    let file = File::new()
        .idr(0, 1)
        .aac(0, 2)
        .delta(40, 3)
        .avcc(AVCC)
        .idr(80, 4)
        .asc();
    let read = file.aac(85, 5).read();
    assert_eq!(read.marks(), [4, 5]);
    let expected = [Kind::Video, Kind::Audio].map(Fault::NoConfiguration);
    assert_eq!(read.faults(), expected);
}

#[test]
fn command_frames_are_no_pictures() {
    let file = File::configured()
        .idr(0, 1)
        .video(20, &[0x57, 0])
        .video(30, &[0x57, 1]);
    let file = file.video(35, &[0xd1, 0]).video(36, &[0x52]);
    let read = file.delta(40, 2).read();
    assert_eq!(read.marks(), [1, 2]);
    assert_eq!(read.warnings(), []);
}

#[test]
fn a_clock_that_is_set_back() {
    let file = File::configured()
        .idr(10_000, 1)
        .aac(10_005, 2)
        .delta(10_040, 3);
    let offset = file.len();
    let read = file.idr(0, 4).aac(6, 5).delta(40, 6).read();
    let times: Vec<_> = read.frames().iter().map(|frame| frame.dts).collect();
    assert_eq!(times, [10_000, 10_005, 10_040, 10_080, 10_086, 10_120]);
    assert_eq!(read.faults(), [Fault::ClockReset(-10_040)]);
    assert_eq!(read.warnings()[0].offset, offset);
}

#[test]
fn a_clock_that_is_set_ahead() {
    let file = File::configured().idr(0, 1).delta(40, 2).idr(40_000_000, 3);
    let read = file.delta(40_000_040, 4).read();
    let times: Vec<_> = read.frames().iter().map(|frame| frame.dts).collect();
    assert_eq!(times, [0, 40, 80, 120]);
    assert_eq!(read.faults(), [Fault::ClockReset(39_999_960)]);
    // a pause is none
    let read = File::configured().idr(0, 1).idr(3_000_000, 2).read();
    assert_eq!(read.times(), [(0, 0), (3_000_000, 3_000_000)]);
    assert_eq!(read.warnings(), []);
}

#[test]
fn limits_of_the_clock() {
    let limits = Limits {
        max_backstep: 10,
        max_gap: 100,
        ..Limits::default()
    };
    let file = File::configured()
        .delta(1000, 1)
        .delta(990, 2)
        .delta(1090, 3);
    let file = file.delta(1191, 4).delta(1180, 5);
    let items = super::builder::pieces(&file.bytes, 64, limits);
    let read = super::builder::Read { items };
    let times: Vec<_> = read.frames().iter().map(|frame| frame.dts).collect();
    assert_eq!(times, [1000, 1000, 1090, 1180, 1270]);
    assert_eq!(read.faults().len(), 2);
}

#[test]
fn only_sound_or_only_pictures() {
    let sound = File::new().asc().aac(0, 1).aac(21, 2).read();
    assert!(
        sound
            .frames()
            .iter()
            .all(|frame| frame.kind == Kind::Audio && frame.is_key)
    );
    assert_eq!(sound.marks(), [1, 2]);
    let pictures = File::new().avcc(AVCC).idr(0, 1).delta(40, 2).read();
    assert!(
        pictures
            .frames()
            .iter()
            .all(|frame| frame.kind == Kind::Video)
    );
    assert_eq!(pictures.marks(), [1, 2]);
}

#[test]
fn lengths_of_nal_units_are_rewritten() {
    let mut short = AVCC.to_vec();
    short[4] = 0xfd; // 2 bytes
    let file = File::new().avcc(&short);
    let read = file
        .video(0, &[0x17, 1, 0, 0, 0, 0, 2, 0x65, 7, 0, 1, 0x41])
        .read();
    assert_eq!(read.configurations()[0].record, bytes(AVCC));
    let frame = &read.frames()[0];
    assert_eq!(frame.payload[..], [0, 0, 0, 2, 0x65, 7, 0, 0, 0, 1, 0x41]);
    assert!(frame.is_key);
    // lengths that are wrong cannot be rewritten, but can be left to decoders
    let wrong = File::new()
        .avcc(&short)
        .video(0, &[0x17, 1, 0, 0, 0, 0, 9, 0x65])
        .read();
    assert_eq!(wrong.frames(), []);
    assert!(matches!(wrong.faults()[..], [Fault::Malformed(_)]));
    let wrong = File::configured()
        .video(0, &[0x17, 1, 0, 0, 0, 0, 0, 0, 9, 0x65])
        .read();
    assert_eq!(wrong.frames().len(), 1);
    assert!(matches!(wrong.faults()[..], [Fault::Malformed(_)]));
}

#[test]
fn groups_start_at_idr_pictures_and_not_where_the_frame_type_says() {
    let open = [&[0x17, 1, 0, 0, 0], &delta(1)[..]].concat();
    let hidden = [&[0x27, 1, 0, 0, 0], &idr(2)[..]].concat();
    let read = File::configured().video(0, &open).video(40, &hidden).read();
    let keys: Vec<_> = read.frames().iter().map(|frame| frame.is_key).collect();
    assert_eq!(keys, [false, true]);
}

#[test]
fn forms_of_audio_specific_config() {
    let escape = &[0x17, 0x80, 0x5d, 0xc0, 0x10][..]; // 48 000 Hz in full
    let replication = &[0x2b, 0x11, 0x88, 0x00][..]; // SBR in front
    let program = &[0x11, 0x80, 0x04, 0xc4, 0x00, 0x00, 0x20, 0x00][..]; // one channel by a program
    for (asc, duration) in [(escape, 21), (replication, 43), (program, 21)] {
        let read = File::new()
            .audio(0, &[&[0xaf, 0], asc].concat())
            .aac(0, 1)
            .read();
        assert_eq!(read.configurations()[0].record, bytes(asc));
        assert_eq!(read.frames()[0].duration, duration, "{asc:x?}");
        assert_eq!(read.warnings(), []);
    }
    let bad = File::new()
        .audio(0, &[0xaf, 0, 0x16, 0x90])
        .aac(0, 1)
        .read();
    assert_eq!(bad.frames(), []);
    let expected = [
        Fault::Malformed("a reserved sampling frequency"),
        Fault::NoConfiguration(Kind::Audio),
    ];
    assert_eq!(bad.faults(), expected);
}

#[test]
fn records_of_h264_with_odd_parameter_sets() {
    // one that cannot be read; none at all
    let odd = &[1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 3, 0x67, 0xff, 0xff, 0][..];
    let none = &[1, 0x42, 0xc0, 0x1e, 0xff, 0xe0, 0][..];
    for record in [odd, none] {
        let read = File::new().avcc(record).idr(0, 1).read();
        assert_eq!(read.configurations()[0].record, bytes(record));
        assert_eq!((read.marks(), read.frames()[0].duration), (vec![1], 0));
        assert_eq!(
            Metadata::of(read.configurations().first(), None).width,
            None
        );
    }
    // one that is not whole: the last record stays
    let cut = &odd[..10];
    let read = File::configured().avcc(cut).idr(0, 1).read();
    assert_eq!(read.configurations().len(), 2);
    assert_eq!(read.marks(), [1]);
    assert!(matches!(read.faults()[..], [Fault::Malformed(_)]));
}

#[test]
fn codecs_of_other_times() {
    let file = File::configured()
        .video(0, &[0x12, 1])
        .video(0, &[0x22, 1])
        .audio(0, &[0x5f, 1]);
    let read = file.audio(0, &[0xbf, 1]).idr(40, 1).read();
    assert_eq!(read.marks(), [1]);
    let expected = [
        Fault::UnknownCodec(Kind::Video, 2),
        Fault::UnknownCodec(Kind::Audio, 5),
    ];
    assert_eq!(read.faults(), expected);
}

#[test]
fn mp3_needs_no_configuration() {
    let read = File::new()
        .audio(0, &[0x2e, 0xff, 0xfb, 1])
        .audio(24, &[0x2f, 0xff, 0xfb, 2])
        .read();
    assert_eq!(
        read.configurations(),
        [Configuration {
            codec: Codec::Mp3,
            record: bytes(&[])
        }]
    );
    assert_eq!((read.marks(), read.frames()[1].duration), (vec![1, 2], 24));
}

#[test]
fn what_is_polled_does_not_depend_on_finish() {
    // a tag and its size are enough: nobody waits for the next
    let file = File::configured().idr(0, 1);
    let mut demuxer = Demuxer::new();
    demuxer.push(&file.bytes);
    let items = std::iter::from_fn(|| demuxer.poll()).count();
    assert_eq!(items, read(&file.bytes).items.len());
    assert_eq!(demuxer.buffered(), 0);
}
