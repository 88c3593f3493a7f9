//! Builds FLV byte by byte, with whatever is wrong that a test wants, and reads it.

use bytes::Bytes;

use crate::media::flv::{Demuxer, Fault, Item, Limits, Warning};
use crate::media::{Configuration, Frame};

/// Records of x264 (64x48, High) and of an AAC encoder (AAC-LC, 48 kHz, mono).
pub(super) const AVCC: &[u8] = &[
    0x01, 0x64, 0x00, 0x0a, 0xff, 0xe1, 0x00, 0x18, 0x67, 0x64, 0x00, 0x0a, 0xac, 0xd9, 0x44, 0x7b,
    0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x22, 0x59, 0x60,
    0x01, 0x00, 0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0x00,
];
pub(super) const ASC: &[u8] = &[0x11, 0x88, 0x56, 0xe5, 0x00];

/// A file in the making.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
}

impl File {
    /// With the usual header.
    pub(super) fn new() -> Self {
        Self {
            bytes: b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec(),
        }
    }

    /// With the usual header and configurations of H.264 and AAC.
    pub(super) fn configured() -> Self {
        Self::new().avcc(AVCC).asc()
    }

    /// A tag and this as its size behind it.
    pub(super) fn tag_sized(mut self, kind: u8, time: u32, body: &[u8], size: u32) -> Self {
        self.bytes.push(kind);
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        self.bytes.extend_from_slice(&length[1..]);
        let [highest, low @ ..] = time.to_be_bytes();
        self.bytes.extend_from_slice(&low);
        self.bytes.push(highest);
        self.bytes.extend_from_slice(&[0; 3]);
        self.bytes.extend_from_slice(body);
        self.bytes.extend_from_slice(&size.to_be_bytes());
        self
    }

    pub(super) fn tag(self, kind: u8, time: u32, body: &[u8]) -> Self {
        let size = u32::try_from(body.len()).unwrap() + 11;
        self.tag_sized(kind, time, body, size)
    }

    pub(super) fn audio(self, time: u32, body: &[u8]) -> Self {
        self.tag(8, time, body)
    }

    pub(super) fn video(self, time: u32, body: &[u8]) -> Self {
        self.tag(9, time, body)
    }

    pub(super) fn script(self, body: &[u8]) -> Self {
        self.tag(18, 0, body)
    }

    /// A configuration of H.264.
    pub(super) fn avcc(self, record: &[u8]) -> Self {
        self.video(0, &[&[0x17, 0, 0, 0, 0], record].concat())
    }

    /// A configuration of AAC.
    pub(super) fn asc(self) -> Self {
        self.audio(0, &[&[0xaf, 0], ASC].concat())
    }

    /// A picture of H.264 that starts a group, told apart by its last byte.
    pub(super) fn idr(self, time: u32, mark: u8) -> Self {
        self.video(time, &[&[0x17, 1, 0, 0, 0], &idr(mark)[..]].concat())
    }

    /// A picture of H.264 that does not.
    pub(super) fn delta(self, time: u32, mark: u8) -> Self {
        self.video(time, &[&[0x27, 1, 0, 0, 0], &delta(mark)[..]].concat())
    }

    /// A frame of AAC.
    pub(super) fn aac(self, time: u32, mark: u8) -> Self {
        self.audio(time, &[0xaf, 1, 0x21, mark])
    }

    /// Raw bytes.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Without its last bytes.
    pub(super) fn without_last(mut self, count: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - count);
        self
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap()
    }

    pub(super) fn read(&self) -> Read {
        read(&self.bytes)
    }
}

pub(super) fn idr(mark: u8) -> [u8; 6] {
    [0, 0, 0, 2, 0x65, mark]
}

pub(super) fn delta(mark: u8) -> [u8; 6] {
    [0, 0, 0, 2, 0x41, mark]
}

/// What was read, sorted.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) items: Vec<Item>,
}

/// Reads a file in one piece, byte by byte, and in pieces of 7 bytes, which must not make a difference.
pub(super) fn read(bytes: &[u8]) -> Read {
    let items = pieces(bytes, bytes.len().max(1), Limits::default());
    assert_eq!(pieces(bytes, 1, Limits::default()), items);
    assert_eq!(pieces(bytes, 7, Limits::default()), items);
    Read { items }
}

/// Reads a file in pieces of this size.
pub(super) fn pieces(bytes: &[u8], size: usize, limits: Limits) -> Vec<Item> {
    let mut demuxer = Demuxer::with_limits(limits);
    let mut items = Vec::new();
    for piece in bytes.chunks(size) {
        demuxer.push(piece);
        items.extend(std::iter::from_fn(|| demuxer.poll()));
    }
    demuxer.finish();
    items.extend(std::iter::from_fn(|| demuxer.poll()));
    items
}

impl Read {
    pub(super) fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for item in &self.items {
            if let Item::Frame(frame) = item {
                frames.push(frame.clone());
            }
        }
        frames
    }

    pub(super) fn configurations(&self) -> Vec<Configuration> {
        let mut configurations = Vec::new();
        for item in &self.items {
            if let Item::Configuration(configuration) = item {
                configurations.push(configuration.clone());
            }
        }
        configurations
    }

    pub(super) fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for item in &self.items {
            if let Item::Warning(warning) = item {
                warnings.push(*warning);
            }
        }
        warnings
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        self.warnings().iter().map(|warning| warning.what).collect()
    }

    /// The last byte of each frame.
    pub(super) fn marks(&self) -> Vec<u8> {
        self.frames()
            .iter()
            .map(|frame| *frame.payload.last().unwrap())
            .collect()
    }

    /// DTS and PTS of each frame.
    pub(super) fn times(&self) -> Vec<(i64, i64)> {
        self.frames()
            .iter()
            .map(|frame| (frame.dts, frame.pts))
            .collect()
    }
}

/// Bytes of a test.
pub(super) fn bytes(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
