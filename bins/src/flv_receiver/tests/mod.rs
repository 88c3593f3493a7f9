//! The receiver against a server that a test plays, in virtual time.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for a few of many"
)]

mod ends;
mod losses;
mod station;
mod streams;

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use oxymoq_core::code::DoneCode;
use oxymoq_core::draft::Draft;
use oxymoq_core::media::flv::{Demuxer, Item};
use oxymoq_core::media::packaging::{Packager, Packed, Packer};
use oxymoq_core::media::{Codec, Configuration, Frame, Kind};
use oxymoq_core::runtime::TransportSettings;
use oxymoq_core::session::{Role, Settings};
use oxymoq_core::sim::{NodeId, Program, Stage, World};
use oxymoq_core::transport::{Application as _, Exit};
use oxymoq_core::wire::id::Location;
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};

use super::*;
use crate::flags;
use crate::url::ServerUrl;
use station::Station;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

const VIDEO: &str = "video0";
const AUDIO: &str = "audio0";

/// Of pictures of 320 by 200, baseline profile.
const AVC: &[u8] = b"\x01\x42\xc0\x0d\xff\xe1\x00\x1cgB\xc0\r\xda\x05\x06\xfe\\\x05\xa8\x10\x10*\
\x00\x00\x03\x00\x02\x00\x00\x03\x00x\x1e(UO\x01\x00\x04h\xce<\x80";

/// Pictures in a group, 40 ms each.
const GROUP: u64 = 5;

/// Takes as much as it has room for.
#[derive(Debug)]
pub(super) struct Memory {
    state: State,
    bytes: Vec<u8>,
    room: usize,
}

impl Outlet for Memory {
    fn state(&mut self) -> State {
        self.state.clone()
    }

    fn offer(&mut self, bytes: Bytes) -> Result<(), Bytes> {
        if self.room == 0 {
            return Err(bytes);
        }
        self.room -= bytes.len().min(self.room);
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    fn finish(&mut self) {
        self.state = State::Closed;
    }
}

type Receiver = FlvReceiver<Memory>;
type Server = Program<Station>;

/// A server, a receiver, and what is sent from one to the other.
struct Scene {
    world: World,
    station: NodeId,
    receiver: NodeId,
    video: Packer,
    audio: Packer,
}

fn named(name: &str) -> FullTrackName {
    let namespace = TrackNamespace::new(["flvstreamer"]).unwrap();
    FullTrackName::new(namespace, TrackName::new(name.to_owned()).unwrap()).unwrap()
}

fn wish() -> Wish {
    Wish {
        tracks: Tracks::Named {
            video: Some(named(VIDEO)),
            audio: Some(named(AUDIO)),
        },
        fetch: true,
        token: Bytes::from_static(b"secret"),
        delivery_timeout: None,
        transaction_timeout: 20 * SECOND,
        reconnect: 30 * SECOND,
        limits: Limits::default(),
    }
}

fn avc() -> Configuration {
    Configuration {
        codec: Codec::H264,
        record: Bytes::from_static(AVC),
    }
}

/// AAC-LC, 48 kHz, mono.
fn aac() -> Configuration {
    Configuration {
        codec: Codec::Aac,
        record: Bytes::from_static(&[0x11, 0x88]),
    }
}

/// The picture of this number.
fn picture(number: u64) -> Frame {
    let is_key = number.is_multiple_of(GROUP);
    let mut payload = BytesMut::new();
    payload.put_u32(9);
    payload.put_u8(if is_key { 0x65 } else { 0x41 });
    payload.put_u64(number);
    let dts = i64::try_from(40 * number).unwrap();
    Frame {
        kind: Kind::Video,
        is_key,
        dts,
        pts: dts + 40,
        duration: 40,
        timescale: 1000,
        wall: Some(1_767_225_600_000),
        payload: payload.freeze(),
    }
}

/// The sound of this number.
fn sound(number: u64) -> Frame {
    let dts = i64::try_from(20 * number).unwrap();
    Frame {
        kind: Kind::Audio,
        is_key: true,
        dts,
        pts: dts,
        duration: 20,
        timescale: 1000,
        wall: Some(1_767_225_600_000),
        payload: Bytes::from(format!("sound {number}")),
    }
}

const fn picture_at(number: u64) -> Location {
    Location::new(100 + number / GROUP, number % GROUP)
}

const fn sound_at(number: u64) -> Location {
    Location::new(100 + number, 0)
}

fn server() -> crate::client::Server {
    let url = ServerUrl::parse("moqt://server:4433/").unwrap();
    crate::client::Server::new(url, false)
}

impl Scene {
    fn new(draft: Draft, wish: Wish) -> Self {
        Self::with(draft, wish, State::Open, Station::default())
    }

    fn with(draft: Draft, wish: Wish, output: State, station: Station) -> Self {
        let mut world = World::new(1);
        let program = Server::server(Settings::new(Role::Server), &Draft::ALL, Box::new(station));
        let station = world.add("station", program, TransportSettings::default());
        world.listen(station, "server", 4433, flags::alpns(&Draft::ALL));
        let outlet = Memory {
            state: output,
            bytes: Vec::new(),
            room: usize::MAX,
        };
        let report = Report::new(Box::new(std::io::sink()), false);
        let receiver = Receiver::new(server(), &[draft], wish, outlet, report, Mlog::default());
        let receiver = world.add("receiver", receiver, TransportSettings::default());
        world.run_for(SECOND);
        Self {
            world,
            station,
            receiver,
            video: Packer::new(Packager::Dual, Codec::H264).unwrap(),
            audio: Packer::new(Packager::Dual, Codec::Aac).unwrap(),
        }
    }

    /// Lets the server do something.
    fn act<R>(&mut self, act: impl FnOnce(&mut Station, &mut Stage<'_>) -> R) -> R {
        self.world
            .with::<Server, _>(self.station, |program, now| program.act(now, act))
    }

    fn station(&self) -> &Station {
        self.world.node::<Server>(self.station).part()
    }

    fn receiver(&self) -> &Receiver {
        self.world.node::<Receiver>(self.receiver)
    }

    /// Sends an object; `is_last`: of its group.
    fn send(&mut self, track: &str, at: Location, packed: &Packed, is_last: bool) {
        self.act(|station, stage| {
            station.send(stage, track, at, packed);
            if is_last {
                station.finish(stage, track, at.group.0);
            }
        });
    }

    fn pack_picture(&mut self, number: u64) -> Packed {
        let is_first = number.is_multiple_of(GROUP);
        self.video.pack(&picture(number), &avc(), is_first).unwrap()
    }

    fn pack_sound(&mut self, number: u64) -> Packed {
        self.audio.pack(&sound(number), &aac(), true).unwrap()
    }

    /// Publishes the next picture.
    fn picture(&mut self, number: u64) {
        let packed = self.pack_picture(number);
        let is_last = number % GROUP == GROUP - 1;
        self.send(VIDEO, picture_at(number), &packed, is_last);
    }

    /// Publishes the next sound.
    fn sound(&mut self, number: u64) {
        let packed = self.pack_sound(number);
        self.send(AUDIO, sound_at(number), &packed, true);
    }

    /// Publishes pictures from one number up to another, with the sound of that time, as fast as it is to be shown.
    fn play(&mut self, from: u64, to: u64) {
        for number in from..to {
            self.picture(number);
            self.sound(2 * number);
            self.sound(2 * number + 1);
            self.world.run_for(40 * MILLISECOND);
        }
    }

    fn end_tracks(&mut self) {
        for track in [VIDEO, AUDIO] {
            self.act(|station, stage| station.end(stage, track, DoneCode::TrackEnded));
        }
    }

    /// Lets the receiver go on until its program ends.
    #[track_caller]
    fn end(&mut self) -> Exit {
        let receiver = self.receiver;
        let over = self
            .world
            .run_until(|world| world.exit(receiver).is_some(), 200 * SECOND);
        if let Err(stuck) = over {
            panic!("{stuck}");
        }
        self.world.exit(receiver).unwrap().clone()
    }

    #[track_caller]
    fn fail(&mut self) -> String {
        match self.end() {
            Exit::Failure(sentence) => sentence,
            Exit::Success => panic!("it succeeded"),
        }
    }

    /// What was written, read back.
    fn items(&self) -> Vec<Item> {
        let mut demuxer = Demuxer::new();
        demuxer.push(&self.receiver().outlet().bytes);
        demuxer.finish();
        std::iter::from_fn(|| demuxer.poll()).collect()
    }

    fn frames(&self, kind: Kind) -> Vec<Frame> {
        let frames = self.items().into_iter().filter_map(|item| match item {
            Item::Frame(frame) if frame.kind == kind => Some(frame),
            _ => None,
        });
        frames.collect()
    }

    /// Asserts that the pictures of these numbers were written, and with which shift in time.
    #[track_caller]
    fn assert_pictures(&self, numbers: impl Iterator<Item = u64>, shift: i64) {
        let expected: Vec<_> = numbers
            .map(picture)
            .map(|frame| content(&frame, shift))
            .collect();
        let frames = self.frames(Kind::Video);
        let written: Vec<_> = frames.iter().map(|frame| content(frame, 0)).collect();
        assert_eq!(written, expected);
    }

    #[track_caller]
    fn assert_sounds(&self, numbers: impl Iterator<Item = u64>, shift: i64) {
        let expected: Vec<_> = numbers
            .map(sound)
            .map(|frame| content(&frame, shift))
            .collect();
        let frames = self.frames(Kind::Audio);
        let written: Vec<_> = frames.iter().map(|frame| content(frame, 0)).collect();
        assert_eq!(written, expected);
    }

    /// Asserts that times do not run backwards, within each kind and as a whole.
    #[track_caller]
    fn assert_sorted(&self) {
        let times = self.items().into_iter().filter_map(|item| match item {
            Item::Frame(frame) => Some(frame.dts),
            Item::Warning(warning) => panic!("{warning}"),
            _ => None,
        });
        assert!(times.is_sorted());
    }

    fn configurations(&self) -> Vec<Configuration> {
        let all = self.items().into_iter().filter_map(|item| match item {
            Item::Configuration(configuration) => Some(configuration),
            _ => None,
        });
        all.collect()
    }
}

/// What of a frame has to be the same in the end.
fn content(frame: &Frame, shift: i64) -> (bool, i64, i64, Bytes) {
    let (dts, pts) = (frame.dts + shift, frame.pts + shift);
    (frame.is_key, dts, pts, frame.payload.clone())
}
