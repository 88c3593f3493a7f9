//! Statements about any frames and any bytes.

use bytes::Bytes;
use proptest::prelude::*;

use super::builder::{ASC, AVCC, pieces, read};
use super::files::SAMPLES;
use super::oracle;
use crate::media::flv::{Demuxer, Item, Limits, Metadata, Muxer};
use crate::media::{Codec, Configuration, Frame, Kind};

fn configuration(codec: Codec) -> Configuration {
    let mut hvcc = [1_u8; 23];
    hvcc[21] = 0x0f;
    hvcc[22] = 0; // no parameter sets
    let record = match codec {
        Codec::H264 => AVCC.into(),
        Codec::H265 => hvcc.to_vec(),
        Codec::Av1 => vec![0x81, 0, 0x0c, 0],
        Codec::Vp8 | Codec::Vp9 => vec![1, 0, 0, 0, 0, 10, 0x82, 2, 2, 2, 0, 0],
        Codec::Aac => ASC.into(),
        Codec::Opus => b"OpusHead\x01\x01\x38\x01\x80\xbb\x00\x00\x00\x00\x00".to_vec(),
        Codec::Flac => [&b"fLaC\x80\0\0\x22"[..], &[7; 34]].concat(),
        Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => Vec::new(),
    };
    Configuration {
        codec,
        record: record.into(),
    }
}

/// A frame that FLV can carry, with its time since the last one.
fn frames(video: Codec) -> impl Strategy<Value = Vec<(Kind, bool, u16, i16, Vec<u8>)>> {
    let timed = matches!(video, Codec::H264 | Codec::H265);
    prop::collection::vec(
        (
            prop::bool::ANY.prop_map(|video| if video { Kind::Video } else { Kind::Audio }),
            any::<bool>(),
            0_u16..3000,
            any::<i16>().prop_map(move |composition| if timed { composition } else { 0 }),
            prop::collection::vec(any::<u8>(), 1..50),
        ),
        0..20,
    )
}

/// As the codec would have it: a NAL unit that says whether it is a key frame.
fn payload(codec: Codec, is_key: bool, content: &[u8]) -> Bytes {
    let head: &[u8] = match (codec, is_key) {
        (Codec::H264, true) => &[0x65],
        (Codec::H264, false) => &[0x41],
        (Codec::H265, true) => &[19 << 1, 1],
        (Codec::H265, false) => &[1 << 1, 1],
        _ => return Bytes::copy_from_slice(content),
    };
    let length = u32::try_from(head.len() + content.len()).unwrap();
    [&length.to_be_bytes(), head, content].concat().into()
}

fn codecs() -> impl Strategy<Value = (Codec, Codec)> {
    use Codec::{Aac, Ac3, Av1, Eac3, Flac, H264, H265, Mp3, Opus, Vp8, Vp9};
    let video = prop::sample::select(vec![H264, H265, Av1, Vp8, Vp9]);
    let audio = prop::sample::select(vec![Aac, Opus, Flac, Mp3, Ac3, Eac3]);
    (video, audio)
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        start in prop::sample::select(vec![0_i64, 1 << 24, (1 << 31) - 5000, (1 << 32) - 5000]),
        ((video, audio), frames) in codecs().prop_flat_map(|codecs| (Just(codecs), frames(codecs.0))),
    ) {
        let mut muxer = Muxer::new(Metadata::default());
        let mut written = muxer.start().to_vec();
        written.extend(muxer.configuration(start, &configuration(video)).unwrap());
        written.extend(muxer.configuration(start, &configuration(audio)).unwrap());
        let mut expected = Vec::new();
        let mut dts = start;
        for (kind, is_key, step, composition, content) in frames {
            dts += i64::from(step);
            let codec = if kind == Kind::Video { video } else { audio };
            let is_key = is_key || kind == Kind::Audio;
            let composition = if kind == Kind::Video { i64::from(composition) } else { 0 };
            let frame = Frame {
                kind,
                is_key,
                dts,
                pts: dts + composition,
                duration: 0,
                timescale: 1000,
                wall: None,
                payload: payload(codec, is_key, &content),
            };
            written.extend(muxer.frame(&frame).unwrap());
            expected.push(frame);
        }
        written.extend(muxer.finish());
        let read = read(&written);
        prop_assert_eq!(read.warnings(), []);
        let frames: Vec<_> = read.frames().into_iter().map(|frame| Frame { duration: 0, ..frame }).collect();
        prop_assert_eq!(&frames, &expected);
        // the other reader does not know VP8, and does not unwrap times
        if start < 1 << 31 {
            let seen: Vec<_> = expected.into_iter().map(|it| (it.kind, it.dts, it.pts, it.payload)).collect();
            prop_assert_eq!(oracle::frames(&written), seen);
        }
    }

    #[test]
    fn any_bytes_give_the_same_however_they_are_cut(
        bytes in prop::collection::vec(prop_oneof![
            Just(b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec()),
            (0_u8..20, 0_u8..30, any::<u8>()).prop_map(|(kind, size, time)| vec![kind, 0, 0, size, 0, 0, time, 0, 0, 0, 0]),
            (0_u8..40).prop_map(|size| vec![0, 0, 0, size]),
            prop::sample::select(vec![0x17_u8, 0x27, 0x90, 0x91, 0xa3, 0xaf, 0x95, 0x96, 0x97]).prop_map(|first| vec![first]),
            Just(b"avc1".to_vec()),
            prop::collection::vec(any::<u8>(), 0..20),
        ], 0..40),
        piece in 1_usize..40,
        is_flv: bool,
    ) {
        let mut bytes = bytes.concat();
        if is_flv {
            bytes.splice(0..0, *b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
        }
        let whole = pieces(&bytes, bytes.len().max(1), Limits::default());
        prop_assert_eq!(&pieces(&bytes, 1, Limits::default()), &whole);
        prop_assert_eq!(&pieces(&bytes, piece, Limits::default()), &whole);
        for item in whole {
            if let Item::Frame(frame) = item {
                prop_assert!(!frame.payload.is_empty() && frame.timescale == 1000);
            }
        }
    }

    #[test]
    fn an_encoders_files_with_damage_give_the_same_however_they_are_cut(
        sample in 0..SAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
        piece in 1_usize..5000,
    ) {
        let mut bytes = SAMPLES[sample].bytes.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(end.index(bytes.len() + 1));
        let limits = Limits { max_tag: 3000, ..Limits::default() };
        let whole = pieces(&bytes, bytes.len().max(1), limits);
        let mut demuxer = Demuxer::with_limits(limits);
        let mut items = Vec::new();
        for piece in bytes.chunks(piece) {
            demuxer.push(piece);
            items.extend(std::iter::from_fn(|| demuxer.poll()));
            prop_assert!(demuxer.buffered() < 3000 + 11 + 4 + 11, "{} bytes wait", demuxer.buffered());
        }
        demuxer.finish();
        items.extend(std::iter::from_fn(|| demuxer.poll()));
        prop_assert_eq!(&items, &whole);
        // no time runs backwards
        for kind in [Kind::Video, Kind::Audio] {
            let mut last = i64::MIN;
            for item in &items {
                if let Item::Frame(frame) = item && frame.kind == kind {
                    prop_assert!(frame.dts >= last);
                    last = frame.dts;
                }
            }
        }
    }
}
