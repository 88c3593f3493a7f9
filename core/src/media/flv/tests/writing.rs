//! What is written.

use super::builder::{ASC, AVCC, File, bytes, delta, idr, read};
use super::files::SAMPLES;
use super::oracle;
use crate::media::flv::{Item, Metadata, Muxer, Unwritable};
use crate::media::{Codec, Configuration, Frame, Kind};

fn configuration(codec: Codec, record: &[u8]) -> Configuration {
    Configuration {
        codec,
        record: bytes(record),
    }
}

fn frame(kind: Kind, dts: i64, pts: i64, payload: &[u8]) -> Frame {
    Frame {
        kind,
        is_key: payload.get(4) != Some(&0x41),
        dts,
        pts,
        duration: 40,
        timescale: 1000,
        wall: None,
        payload: bytes(payload),
    }
}

#[test]
fn byte_by_byte() {
    let avc = configuration(Codec::H264, AVCC);
    let aac = configuration(Codec::Aac, ASC);
    let metadata = Metadata::of(Some(&avc), Some(&aac));
    let mut muxer = Muxer::new(metadata.clone());
    let mut written = muxer.start().to_vec();
    let time = (1 << 24) + 5;
    written.extend(muxer.configuration(0, &avc).unwrap());
    written.extend(muxer.configuration(0, &aac).unwrap());
    assert_eq!(
        muxer.configuration(7, &avc).unwrap(),
        bytes(&[]),
        "not again"
    );
    written.extend(muxer.frame(&frame(Kind::Video, 0, 80, &idr(1))).unwrap());
    written.extend(muxer.frame(&frame(Kind::Audio, 3, 3, &[0x21, 2])).unwrap());
    written.extend(
        muxer
            .frame(&frame(Kind::Video, time, time - 40, &delta(3)))
            .unwrap(),
    );
    written.extend(muxer.finish());
    let key = [&[0x17, 1, 0, 0, 80][..], &idr(1)].concat();
    let inter = [&[0x27, 1, 0xff, 0xff, 0xd8][..], &delta(3)].concat();
    let time = u32::try_from(time).unwrap();
    let file = File::new()
        .script(&metadata.write())
        .avcc(AVCC)
        .asc()
        .video(0, &key)
        .aac(3, 2);
    let file = file.video(time, &inter).video(time, &[0x17, 2, 0, 0, 0]);
    assert_eq!(written, file.bytes);
}

#[test]
fn flags_of_the_header_announce_what_the_metadata_know() {
    let video = configuration(Codec::Av1, &[0x81, 0, 0x0c, 0]);
    let audio = configuration(Codec::Opus, &[]);
    for (video, audio, flags) in [
        (Some(&video), Some(&audio), 5),
        (Some(&video), None, 1),
        (None, Some(&audio), 4),
        (None, None, 5),
    ] {
        assert_eq!(Muxer::new(Metadata::of(video, audio)).start()[4], flags);
    }
}

#[test]
fn a_configuration_is_written_again_when_it_changes() {
    let mut other = AVCC.to_vec();
    other[3] = 0x1e;
    let mut muxer = Muxer::new(Metadata::default());
    let mut written = muxer.start().to_vec();
    for (dts, record) in [(0, AVCC), (40, AVCC), (80, &other), (120, AVCC)] {
        written.extend(
            muxer
                .configuration(dts, &configuration(Codec::H264, record))
                .unwrap(),
        );
        written.extend(muxer.frame(&frame(Kind::Video, dts, dts, &idr(1))).unwrap());
    }
    let read = read(&written);
    let records: Vec<_> = read
        .configurations()
        .into_iter()
        .map(|it| it.record)
        .collect();
    assert_eq!(records, [AVCC, &other, AVCC].map(bytes));
    assert_eq!(read.marks(), [1; 4]);
}

#[test]
fn times_are_rounded_to_milliseconds() {
    let mut muxer = Muxer::new(Metadata::default());
    let mut written = muxer.start().to_vec();
    written.extend(
        muxer
            .configuration(0, &configuration(Codec::Aac, ASC))
            .unwrap(),
    );
    for at in 0..4 {
        let dts = at * 1024;
        let sound = frame(Kind::Audio, dts, dts, &[0x21, 1]);
        written.extend(
            muxer
                .frame(&Frame {
                    timescale: 44_100,
                    ..sound
                })
                .unwrap(),
        );
    }
    let times: Vec<_> = read(&written)
        .frames()
        .iter()
        .map(|frame| frame.dts)
        .collect();
    assert_eq!(times, [0, 23, 46, 70]);
}

#[test]
fn what_cannot_be_written() {
    let mut muxer = Muxer::new(Metadata::default());
    let picture = frame(Kind::Video, 0, 0, &idr(1));
    assert_eq!(muxer.frame(&picture), Err(Unwritable::NoConfiguration));
    let avc = configuration(Codec::H264, AVCC);
    assert_eq!(muxer.configuration(-1, &avc), Err(Unwritable::BeforeZero));
    assert_eq!(muxer.frame(&picture), Err(Unwritable::NoConfiguration));
    muxer.configuration(0, &avc).unwrap();
    let before = Frame {
        dts: -1,
        ..picture.clone()
    };
    assert_eq!(muxer.frame(&before), Err(Unwritable::BeforeZero));
    for (pts, fits) in [
        ((1 << 23) - 1, true),
        (1 << 23, false),
        (-(1 << 23), true),
        (-(1 << 23) - 1, false),
    ] {
        let written = muxer.frame(&Frame {
            pts,
            ..picture.clone()
        });
        assert_eq!(written.is_ok(), fits, "{pts}");
    }
    for (dts, timescale) in [(i64::MAX, 1), (i64::MAX, u32::MAX), (i64::MIN, 1), (0, 0)] {
        let far = Frame {
            dts,
            timescale,
            pts: i64::MIN,
            ..picture.clone()
        };
        assert!(muxer.frame(&far).is_err());
    }
    let fits = Frame {
        payload: vec![0; 0xff_ffff - 5].into(),
        ..picture.clone()
    };
    assert!(muxer.frame(&fits).is_ok());
    let large = Frame {
        payload: vec![0; 0xff_ffff - 4].into(),
        ..picture
    };
    assert_eq!(muxer.frame(&large), Err(Unwritable::TooLarge));
    let large = configuration(Codec::H265, &vec![0; 1 << 24]);
    assert_eq!(muxer.configuration(0, &large), Err(Unwritable::TooLarge));
}

#[test]
fn an_encoders_files_written_again_have_the_same_frames() {
    for sample in &SAMPLES {
        let before = read(sample.bytes);
        let mut muxer = Muxer::new(Metadata::default());
        let mut written = muxer.start().to_vec();
        for item in &before.items {
            written.extend(match item {
                Item::Configuration(configuration) => {
                    muxer.configuration(0, configuration).unwrap()
                }
                Item::Frame(frame) => muxer.frame(frame).unwrap(),
                Item::Metadata(_) | Item::EndOfSequence(_) | Item::Warning(_) => bytes(&[]),
            });
        }
        written.extend(muxer.finish());
        let after = read(&written);
        assert_eq!(
            after.configurations(),
            before.configurations(),
            "{}",
            sample.name
        );
        let times = |frames: Vec<Frame>| -> Vec<_> {
            let frames = frames.into_iter();
            // without metadata, nothing tells how long the first picture lasts
            frames
                .map(|frame| Frame {
                    duration: 0,
                    ..frame
                })
                .collect()
        };
        assert_eq!(
            times(after.frames()),
            times(before.frames()),
            "{}",
            sample.name
        );
        assert_eq!(after.items.last(), Some(&Item::EndOfSequence(Kind::Video)));
        assert_eq!(after.warnings(), []);
        assert_eq!(
            oracle::frames(&written),
            oracle::ours(sample.bytes),
            "{}",
            sample.name
        );
    }
}
