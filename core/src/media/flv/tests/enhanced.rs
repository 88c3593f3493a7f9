//! Extended headers of Enhanced RTMP.

use super::builder::{AVCC, File, Read, bytes, delta, idr};
use crate::media::flv::{Fault, Item, Metadata};
use crate::media::{Codec, Kind};

/// A record of H.265 with lengths of 4 bytes, and one of AV1.
fn hvcc() -> Vec<u8> {
    let mut record = vec![1; 23];
    record[21] = 0x0f;
    record
}

const AV1C: &[u8] = &[0x81, 0, 0x0c, 0];
const OPUS_HEAD: &[u8] = b"OpusHead\x01\x01\x38\x01\x80\xbb\x00\x00\x00\x00\x00";

/// A body with an extended header.
fn body(first: u8, code: &[u8; 4], rest: &[u8]) -> Vec<u8> {
    [&[first], &code[..], rest].concat()
}

fn codecs(read: &Read) -> Vec<Codec> {
    read.configurations().iter().map(|it| it.codec).collect()
}

#[test]
fn pictures_with_and_without_composition_time() {
    let irap = [0, 0, 0, 3, 19 << 1, 1, 1];
    let trailing = [0, 0, 0, 3, 1 << 1, 1, 2];
    let file = File::new().video(0, &body(0x90, b"hvc1", &hvcc()));
    let file = file.video(0, &body(0x91, b"hvc1", &[&[0, 0, 80][..], &irap].concat()));
    let file = file.video(
        40,
        &body(
            0xa1,
            b"hvc1",
            &[&[0xff, 0xff, 0xf6][..], &trailing].concat(),
        ),
    );
    let file = file.video(80, &body(0xa3, b"hvc1", &trailing));
    let read = file.video(80, &body(0x92, b"hvc1", &[])).read();
    assert_eq!(read.times(), [(0, 80), (40, 30), (80, 80)]);
    let keys: Vec<_> = read.frames().iter().map(|frame| frame.is_key).collect();
    assert_eq!(keys, [true, false, false]);
    assert_eq!(read.frames()[0].payload[..], irap);
    assert_eq!(read.items.last(), Some(&Item::EndOfSequence(Kind::Video)));
    assert_eq!(
        (codecs(&read), read.warnings()),
        (vec![Codec::H265], vec![])
    );
}

#[test]
fn pictures_that_have_no_composition_time() {
    for (code, codec, record) in [
        (b"av01", Codec::Av1, AV1C),
        (
            b"vp09",
            Codec::Vp9,
            &[1, 0, 0, 0, 0, 10, 0x82, 2, 2, 2, 0, 0],
        ),
        (
            b"vp08",
            Codec::Vp8,
            &[1, 0, 0, 0, 0, 10, 0x82, 2, 2, 2, 0, 0],
        ),
    ] {
        let file = File::new().video(0, &body(0x90, code, record));
        let file = file
            .video(0, &body(0x91, code, &[7, 8, 1]))
            .video(40, &body(0xa1, code, &[9, 2]));
        let read = file.video(80, &body(0xa3, code, &[9, 3])).read();
        assert_eq!(codecs(&read), [codec]);
        assert_eq!(read.configurations()[0].record, bytes(record));
        assert_eq!(read.frames()[0].payload[..], [7, 8, 1]);
        assert_eq!(read.marks(), [1, 2, 3]);
        let keys: Vec<_> = read.frames().iter().map(|frame| frame.is_key).collect();
        assert_eq!(keys, [true, false, false]);
    }
    // only VP8 and VP9 can do without a record
    let read = File::new().video(0, &body(0x91, b"vp09", &[1])).read();
    assert_eq!((codecs(&read), read.marks()), (vec![Codec::Vp9], vec![1]));
    let read = File::new().video(0, &body(0x91, b"av01", &[1])).read();
    assert_eq!(read.faults(), [Fault::NoConfiguration(Kind::Video)]);
}

#[test]
fn h264_and_aac_under_a_fourcc() {
    let file = File::new().video(0, &body(0x90, b"avc1", AVCC));
    let file = file.video(
        0,
        &body(0x91, b"avc1", &[&[0, 0, 40][..], &idr(1)].concat()),
    );
    let file = file.video(40, &body(0xa3, b"avc1", &delta(2)));
    // the same record in the old form is no change
    let file = file.avcc(AVCC).delta(80, 3);
    let file = file.audio(0, &body(0x90, b"mp4a", super::builder::ASC));
    let read = file.audio(0, &body(0x91, b"mp4a", &[0x21, 4])).read();
    assert_eq!(codecs(&read), [Codec::H264, Codec::Aac]);
    assert_eq!(read.times(), [(0, 40), (40, 40), (80, 80), (0, 0)]);
    assert_eq!(read.marks(), [1, 2, 3, 4]);
}

#[test]
fn sound_under_a_fourcc() {
    let stream_info = [7; 34];
    let whole = [&b"fLaC\x80\0\0\x22"[..], &stream_info].concat();
    for (code, codec, record, expected) in [
        (b"Opus", Codec::Opus, OPUS_HEAD, OPUS_HEAD),
        (b"fLaC", Codec::Flac, &stream_info[..], &whole[..]),
        (b"fLaC", Codec::Flac, &whole, &whole),
        (b"ac-3", Codec::Ac3, &[], &[]),
        (b"ec-3", Codec::Eac3, &[], &[]),
        (b".mp3", Codec::Mp3, &[], &[]),
    ] {
        let mut file = File::new();
        if !record.is_empty() {
            file = file.audio(0, &body(0x90, code, record));
        }
        // a configuration of channels in between
        let file = file.audio(0, &body(0x94, code, &[1, 1, 0, 0, 0, 4]));
        let file = file
            .audio(0, &body(0x91, code, &[0xf8, 1]))
            .audio(20, &body(0x91, code, &[0xf8, 2]));
        let read = file.audio(40, &body(0x92, code, &[])).read();
        assert_eq!(codecs(&read), [codec]);
        assert_eq!(read.configurations()[0].record, bytes(expected));
        assert_eq!(read.marks(), [1, 2]);
        assert_eq!(read.frames()[1].duration, 20);
        assert_eq!(read.items.last(), Some(&Item::EndOfSequence(Kind::Audio)));
        assert_eq!(read.warnings(), []);
    }
}

#[test]
fn records_that_are_none() {
    for (first, code, record) in [
        (0x90, b"av01", &[0x01, 0, 0, 0][..]),
        (0x90, b"av01", &[0x81]),
        (0x90, b"hvc1", &[1; 22]),
        (0x90, b"avc1", &[0; 20]),
    ] {
        let read = File::new().video(0, &body(first, code, record)).read();
        assert!(
            matches!(read.faults()[..], [Fault::Malformed(_)]),
            "{record:x?}"
        );
        assert_eq!(read.items.len(), 1);
    }
    for (code, record) in [
        (b"Opus", &b"OpusTags"[..]),
        (b"fLaC", &[1; 33]),
        (b"mp4a", &[0x16, 0x90]),
    ] {
        let read = File::new().audio(0, &body(0x90, code, record)).read();
        assert!(
            matches!(read.faults()[..], [Fault::Malformed(_)]),
            "{record:x?}"
        );
    }
}

#[test]
fn colours_and_other_packets_are_passed_over() {
    let metadata = Metadata::default().write();
    let file = File::configured().video(0, &body(0xd4, b"avc1", &metadata));
    let file = file
        .video(0, &body(0x94, b"avc1", &[]))
        .video(0, &body(0x95, b"av01", &[1, 2]));
    let read = file.idr(0, 1).read();
    assert_eq!(read.marks(), [1]);
    assert_eq!(read.warnings(), []);
    for first in [0x98, 0x9f] {
        let read = File::new().video(0, &body(first, b"avc1", &[])).read();
        assert!(matches!(read.faults()[..], [Fault::Malformed(_)]));
    }
}

#[test]
fn offsets_in_nanoseconds_are_passed_over() {
    // one of 3 bytes, then one of 300 bytes, then the packet
    let mut modified = vec![0xa7, 2, 0, 0, 9, 0x07, 0xff, 0x01, 0x2b];
    modified.extend([0; 300]);
    modified.push(0x03);
    modified.extend_from_slice(b"avc1");
    modified.extend_from_slice(&delta(2));
    let file = File::configured().idr(0, 1).video(40, &modified);
    let audio = [&[0x97, 0, 0, 0x01][..], b"mp4a", &[0x21, 3]].concat();
    let read = file.audio(41, &audio).read();
    assert_eq!(read.marks(), [1, 2, 3]);
    assert_eq!(read.warnings(), []);
    // a chain that never ends
    let chain = [&[0xa7][..], &[0, 0, 0x07].repeat(100_000)].concat();
    let read = File::configured().video(0, &chain).read();
    assert!(matches!(read.faults()[..], [Fault::Malformed(_)]));
}

#[test]
fn track_0_of_several() {
    // one track
    let one = |track, mark| {
        body(
            0xa6,
            b"\x03avc",
            &[&b"1"[..], &[track], &delta(mark)].concat(),
        )
    };
    let file = File::configured()
        .idr(0, 1)
        .video(40, &one(0, 2))
        .video(40, &one(1, 9));
    // several of one codec, and several of several
    let mut many = [&[0xa6, 0x13][..], b"avc1"].concat();
    let mut codecs = vec![0xa6, 0x23];
    for (track, code) in [(2, b"av01"), (0, b"avc1"), (1, b"avc1")] {
        let content = [&[track, 0, 0, 6][..], &delta(track + 5)].concat();
        many.extend_from_slice(&content);
        codecs.extend_from_slice(code);
        codecs.extend_from_slice(&content);
    }
    let file = file.video(80, &many).video(120, &codecs);
    // sound
    let sound = [&[0x95, 0x01][..], b"mp4a", &[0, 0x21, 7]].concat();
    let other = [&[0x95, 0x01][..], b"mp4a", &[3, 0x21, 9]].concat();
    let read = file.audio(125, &sound).audio(125, &other).read();
    assert_eq!(read.marks(), [1, 2, 5, 5, 7]);
    assert_eq!(read.faults(), [Fault::OtherTrack(1)], "said once");
    // within one another, of another layout, longer than they are
    for bad in [
        &[0xa6, 0x06][..],
        &[0xa6, 0x33],
        &[0xa6, 0x13, b'a', b'v', b'c', b'1', 0, 0, 0, 9, 1],
        &[0xa6],
    ] {
        let read = File::configured().video(0, bad).read();
        assert!(
            matches!(read.faults()[..], [Fault::Malformed(_)]),
            "{bad:x?}"
        );
    }
}

#[test]
fn unknown_codecs() {
    let file = File::configured()
        .video(0, &body(0x90, b"vvc1", &[1]))
        .video(0, &body(0x91, b"vvc1", &[1]));
    let read = file.audio(0, &body(0x91, b"zzzz", &[1])).idr(0, 1).read();
    let code = |text: &[u8; 4]| u32::from_be_bytes(*text);
    let expected = [
        Fault::UnknownCodec(Kind::Video, code(b"vvc1")),
        Fault::UnknownCodec(Kind::Audio, code(b"zzzz")),
    ];
    assert_eq!(read.faults(), expected);
    assert_eq!(
        expected[0].to_string(),
        "passed over video of unknown codec 'vvc1'"
    );
    assert_eq!(read.marks(), [1]);
}
