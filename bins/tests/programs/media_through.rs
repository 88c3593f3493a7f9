//! From the streamer through the relay to the receiver: what comes out is what went in.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::{BufMut as _, Bytes, BytesMut};
use oxymoq_core::media::flv::{Demuxer, Item, Metadata, Muxer};
use oxymoq_core::media::{Codec, Configuration, Frame, Kind};

use super::process::{Folder, Process, RUNTIMES};

/// Pictures in a group.
const GROUP: u64 = 10;

/// Of pictures of 320 by 200, baseline profile.
const AVC: &[u8] = b"\x01\x42\xc0\x0d\xff\xe1\x00\x1cgB\xc0\r\xda\x05\x06\xfe\\\x05\xa8\x10\x10*\
\x00\x00\x03\x00\x02\x00\x00\x03\x00x\x1e(UO\x01\x00\x04h\xce<\x80";
/// AAC-LC, 48 kHz, mono.
const AAC: &[u8] = &[0x11, 0x88];

/// The picture of this number, 40 ms long, shown a frame later.
fn picture(number: u64) -> Frame {
    let is_key = number.is_multiple_of(GROUP);
    let length = if is_key { 3000 } else { 300 };
    let mut payload = BytesMut::new();
    payload.put_u32(length + 9);
    payload.put_u8(if is_key { 0x65 } else { 0x41 });
    payload.put_u64(number);
    payload.put_bytes(7, usize::try_from(length).unwrap());
    let dts = i64::try_from(40 * number).unwrap();
    frame(Kind::Video, is_key, dts, dts + 40, payload.freeze())
}

/// The sound of this number, 20 ms long.
fn sound(number: u64) -> Frame {
    let dts = i64::try_from(20 * number).unwrap();
    let payload = Bytes::from(format!("sound {number} {}", "x".repeat(100)));
    frame(Kind::Audio, true, dts, dts, payload)
}

const fn frame(kind: Kind, is_key: bool, dts: i64, pts: i64, payload: Bytes) -> Frame {
    Frame {
        kind,
        is_key,
        dts,
        pts,
        duration: 0,
        timescale: 1000,
        wall: None,
        payload,
    }
}

fn avc() -> Configuration {
    Configuration {
        codec: Codec::H264,
        record: Bytes::from_static(AVC),
    }
}

fn aac() -> Configuration {
    Configuration {
        codec: Codec::Aac,
        record: Bytes::from_static(AAC),
    }
}

/// An encoder that writes a file bit by bit.
struct Encoder(Muxer);

impl Encoder {
    fn new() -> (Self, Vec<u8>) {
        let mut muxer = Muxer::new(Metadata::of(Some(&avc()), Some(&aac())));
        let mut head = muxer.start().to_vec();
        head.extend(muxer.configuration(0, &avc()).unwrap());
        head.extend(muxer.configuration(0, &aac()).unwrap());
        (Self(muxer), head)
    }

    /// Pictures from one number up to another, with the sound of that time.
    fn tags(&mut self, from: u64, to: u64) -> Vec<u8> {
        let mut tags = Vec::new();
        for number in from..to {
            for frame in [picture(number), sound(2 * number), sound(2 * number + 1)] {
                tags.extend(self.0.frame(&frame).unwrap());
            }
        }
        tags
    }
}

/// A whole file.
fn flv(pictures: u64) -> Vec<u8> {
    let (mut encoder, mut file) = Encoder::new();
    file.extend(encoder.tags(0, pictures));
    file.extend(encoder.0.finish());
    file
}

/// What a file holds; nothing may be wrong with it.
fn items(path: &Path) -> Vec<Item> {
    let mut demuxer = Demuxer::new();
    demuxer.push(&fs::read(path).unwrap());
    demuxer.finish();
    let items: Vec<Item> = std::iter::from_fn(|| demuxer.poll()).collect();
    for item in &items {
        assert!(!matches!(item, Item::Warning(_)), "{item:?}");
    }
    items
}

/// What of the frames of a kind has to be the same in the end.
fn frames(path: &Path, kind: Kind) -> Vec<(bool, i64, i64, Bytes)> {
    let mut frames = Vec::new();
    for item in items(path) {
        if let Item::Frame(frame) = item
            && frame.kind == kind
        {
            frames.push((frame.is_key, frame.dts, frame.pts, frame.payload));
        }
    }
    frames
}

fn expected(frames: impl Iterator<Item = Frame>, shift: i64) -> Vec<(bool, i64, i64, Bytes)> {
    frames
        .map(|frame| {
            let (dts, pts) = (frame.dts + shift, frame.pts + shift);
            (frame.is_key, dts, pts, frame.payload)
        })
        .collect()
}

/// A relay, and a folder for files and fifos.
struct Place {
    runtime: &'static str,
    folder: Folder,
    url: String,
    relay: Process,
}

impl Place {
    fn new(name: &str, runtime: &'static str) -> Self {
        let folder = Folder::new(&format!("{name}-{runtime}"));
        let mut relay = Process::start("moqrelayserver", &format!("--runtime {runtime} --port 0"));
        let url = format!("localhost:{}/moq-relay", relay.port());
        Self {
            runtime,
            folder,
            url,
            relay,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        path
    }

    fn start(&self, program: &str, scheme: &str, flags: &str) -> Process {
        let line = format!(
            "--runtime {} --insecure --connect_timeout 20000 --connect_url {scheme}://{} {flags}",
            self.runtime, self.url
        );
        Process::start(program, &line)
    }

    /// A streamer that has announced what it has.
    fn streamer(&self, input: &Path, flags: &str) -> Process {
        let flags = format!("--input_flv_file {} {flags}", input.display());
        let mut streamer = self.start("moqflvstreamerclient", "https", &flags);
        streamer.error_with("announce");
        streamer
    }

    fn receiver(&self, scheme: &str, output: &Path, flags: &str) -> Process {
        let flags = format!("--flv_outpath {} {flags}", output.display());
        self.start("moqflvreceiverclient", scheme, &flags)
    }
}

/// Waits until a receiver has both subscriptions.
fn subscribed(receiver: &mut Process) {
    for _ in 0..2 {
        receiver.error_with("subscribed to");
    }
}

#[track_caller]
fn succeeds(process: Process) -> String {
    let (status, _, log) = process.end();
    assert!(status.success(), "{log}");
    log
}

#[test]
fn a_file_comes_out_as_it_went_in_whatever_carries_it() {
    for runtime in RUNTIMES {
        for (packager, scheme, draft) in [
            ("dual", "https", 18),
            ("moqmi", "moqt", 16),
            ("loc", "moqt", 18),
        ] {
            let place = Place::new(&format!("through-{packager}"), runtime);
            let (input, output) = (place.path("in.flv"), place.path("out.flv"));
            fs::write(&input, flv(30)).unwrap();
            let flags = format!("--norealtime --await_subscriber --packager {packager}");
            let streamer = place.streamer(&input, &flags);
            // All of it comes at once, and a busy machine may be late with some.
            let flags = format!("--versions {draft} --dejitter_buffer_size_ms 20000");
            let receiver = place.receiver(scheme, &output, &flags);
            succeeds(streamer);
            let log = succeeds(receiver);
            assert!(log.contains("30 video and 60 audio frames"), "{log}");
            let sounds = expected((0..60).map(sound), 0);
            assert_eq!(frames(&output, Kind::Audio), sounds, "{packager}");
            let pictures = frames(&output, Kind::Video);
            let sent = expected((0..30).map(picture), 0);
            if packager == "loc" {
                // It does not tell when a picture is decoded.
                let shown = |all: &[(bool, i64, i64, Bytes)]| -> Vec<(i64, Bytes)> {
                    all.iter()
                        .map(|(_, _, pts, payload)| (pts - all[0].2, payload.clone()))
                        .collect()
                };
                assert_eq!(shown(&pictures), shown(&sent), "{packager}");
            } else {
                assert_eq!(pictures, sent, "{packager}");
            }
            let end = items(&output).pop();
            assert_eq!(end, Some(Item::EndOfSequence(Kind::Video)));
        }
    }
}

#[test]
fn receivers_join_while_an_encoder_writes_and_begin_with_a_key_picture() {
    for runtime in RUNTIMES {
        let place = Place::new("join", runtime);
        let input = place.fifo("in.flv");
        let streamer = place.streamer(&input, "");
        let mut encoder = OpenOptions::new().write(true).open(&input).unwrap();
        let (mut muxer, head) = Encoder::new();
        encoder.write_all(&head).unwrap();
        encoder.write_all(&muxer.tags(0, 15)).unwrap();
        let (early, late) = (place.path("early.flv"), place.path("late.flv"));
        let mut first = place.receiver("https", &early, "--catalog");
        first.error_with("the catalog offers");
        subscribed(&mut first);
        // To be sure that it gets a group from its beginning.
        encoder.write_all(&muxer.tags(15, 33)).unwrap();
        let mut second = place.receiver("moqt", &late, "");
        subscribed(&mut second);
        encoder.write_all(&muxer.tags(33, 55)).unwrap();
        drop(encoder);
        succeeds(streamer);
        succeeds(first);
        succeeds(second);
        for (output, at_most) in [(&early, 20), (&late, 40)] {
            let pictures = frames(output, Kind::Video);
            let begin = 55 - u64::try_from(pictures.len()).unwrap();
            assert!(begin <= at_most, "{begin}");
            assert!(
                begin.is_multiple_of(GROUP),
                "a key picture is first: {begin}"
            );
            let payloads = |from: u64| (from..55).map(|number| picture(number).payload);
            let received = pictures.into_iter().map(|(_, _, _, payload)| payload);
            assert!(
                received.eq(payloads(begin)),
                "none is missing from there on"
            );
            let mut items = items(output).into_iter();
            let first = items.find(|item| matches!(item, Item::Frame(_)));
            let Some(Item::Frame(first)) = first else {
                panic!("{} has no frame", output.display());
            };
            assert_eq!(first.dts, 0);
        }
    }
}

#[test]
fn a_publisher_that_is_killed_and_starts_again_goes_on_in_the_file() {
    for runtime in RUNTIMES {
        let place = Place::new("again", runtime);
        let output = place.path("out.flv");
        let begin = |name: &str, receiver: Option<Process>| {
            let input = place.fifo(name);
            let streamer = place.streamer(&input, "");
            let mut encoder = OpenOptions::new().write(true).open(&input).unwrap();
            let (mut muxer, head) = Encoder::new();
            encoder.write_all(&head).unwrap();
            encoder.write_all(&muxer.tags(0, 1)).unwrap();
            let receiver = receiver.unwrap_or_else(|| {
                let mut receiver = place.receiver("https", &output, "");
                subscribed(&mut receiver);
                receiver
            });
            encoder.write_all(&muxer.tags(1, 25)).unwrap();
            (streamer, encoder, muxer, receiver)
        };
        let (streamer, mut encoder, mut muxer, receiver) = begin("first", None);
        // By then what was written is there: a group has come as a whole.
        encoder.write_all(&muxer.tags(25, 31)).unwrap();
        wait_for(&output, |bytes| contains(bytes, &picture(29).payload));
        streamer.signal("KILL");
        drop(encoder);
        let (streamer, mut encoder, mut muxer, receiver) = begin("second", Some(receiver));
        // The pictures of both runs look alike.
        let again = picture(19).payload;
        wait_for(&output, |bytes| {
            let found = bytes.windows(again.len()).filter(|it| *it == again);
            found.count() == 2
        });
        encoder.write_all(&muxer.tags(25, 45)).unwrap();
        drop(encoder);
        wait_for(&output, |bytes| contains(bytes, &picture(44).payload));
        succeeds(streamer);
        // The relay does not know yet that the first one will not come back.
        receiver.signal("INT");
        succeeds(receiver);
        let pictures = frames(&output, Kind::Video);
        assert!(pictures.is_sorted_by_key(|(_, dts, _, _)| *dts));
        let last: Vec<Bytes> = pictures
            .iter()
            .rev()
            .take(15)
            .map(|(.., payload)| payload.clone())
            .collect();
        let sent = (30..45).rev().map(|number| picture(number).payload);
        assert!(
            last.into_iter().eq(sent),
            "the second run is there to its end"
        );
        // Two runs of more than a second each on one clock.
        assert!(pictures.last().unwrap().1 > 2000);
    }
}

#[test]
fn at_a_signal_the_file_is_closed_as_it_should_be() {
    for runtime in RUNTIMES {
        let place = Place::new("signal", runtime);
        let (input, output) = (place.fifo("in.flv"), place.path("out.flv"));
        let _streamer = place.streamer(&input, "");
        let mut encoder = OpenOptions::new().write(true).open(&input).unwrap();
        let (mut muxer, head) = Encoder::new();
        encoder.write_all(&head).unwrap();
        encoder.write_all(&muxer.tags(0, 5)).unwrap();
        let mut receiver = place.receiver("https", &output, "");
        subscribed(&mut receiver);
        encoder.write_all(&muxer.tags(5, 31)).unwrap();
        wait_for(&output, |bytes| contains(bytes, &picture(29).payload));
        receiver.signal("INT");
        succeeds(receiver);
        let end = items(&output).pop();
        assert_eq!(end, Some(Item::EndOfSequence(Kind::Video)));
    }
}

#[test]
fn a_reader_of_the_output_is_waited_for_and_may_leave() {
    for runtime in RUNTIMES {
        let place = Place::new("reader", runtime);
        let (input, output) = (place.path("in.flv"), place.fifo("out.flv"));
        fs::write(&input, flv(75)).unwrap();
        let streamer = place.streamer(&input, "--norealtime --await_subscriber");
        let receiver = place.receiver("https", &output, "");
        // Opens only now: nothing was lost so far, since nothing was asked for.
        let mut reader = File::open(&output).unwrap();
        let mut begin = vec![0; 2000];
        reader.read_exact(&mut begin).unwrap();
        drop(reader);
        let mut demuxer = Demuxer::new();
        demuxer.push(&begin);
        let items: Vec<Item> = std::iter::from_fn(|| demuxer.poll()).collect();
        assert!(items.contains(&Item::Configuration(avc())), "{items:?}");
        succeeds(receiver);
        streamer.signal("INT");
        succeeds(streamer);
        drop(place.relay);
    }
}

/// Waits until what is in the file is enough.
#[track_caller]
fn wait_for(path: &Path, is_enough: impl Fn(&[u8]) -> bool) {
    let start = std::time::Instant::now();
    while !fs::read(path).is_ok_and(|bytes| is_enough(&bytes)) {
        let waited = start.elapsed();
        assert!(waited.as_secs() < 60, "{} never has it", path.display());
        std::thread::yield_now();
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
