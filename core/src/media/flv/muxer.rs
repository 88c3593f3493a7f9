//! Writes FLV.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{MAX_DATA_SIZE, Metadata, fourcc, tag_type};
use crate::media::{Codec, Configuration, Frame, Kind};

/// Why something cannot be written. Nothing was written then, and what follows can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritable {
    /// A frame whose kind has no configuration yet.
    NoConfiguration,
    /// A time before zero.
    BeforeZero,
    /// PTS and DTS are more than two hours apart.
    CompositionTime,
    /// A record or a frame that does not fit a tag of 16 MiB.
    TooLarge,
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoConfiguration => "a frame before its configuration",
            Self::BeforeZero => "a time before zero",
            Self::CompositionTime => "PTS and DTS are too far apart",
            Self::TooLarge => "too large for a tag",
        })
    }
}

impl std::error::Error for Unwritable {}

/// Writes FLV: first [`start`](Self::start), then each [`configuration`](Self::configuration) before the first
/// [`frame`](Self::frame) that it holds for, at last [`finish`](Self::finish). All give the bytes to append to the file.
///
/// Frames of both kinds should come in the order of their DTS, and times should start near zero; times beyond 32 bits of
/// milliseconds wrap, as readers expect.
///
/// ```
/// use oxymoq_core::media::aac::AudioSpecificConfig;
/// use oxymoq_core::media::flv::{Metadata, Muxer};
/// use oxymoq_core::media::{Codec, Configuration, Frame, Kind};
///
/// let configuration = Configuration {
///     codec: Codec::Aac,
///     record: AudioSpecificConfig::aac_lc(48_000, 2).encode()?,
/// };
/// let mut muxer = Muxer::new(Metadata::of(None, Some(&configuration)));
/// let mut file = muxer.start().to_vec();
/// file.extend(muxer.configuration(0, &configuration)?);
/// file.extend(muxer.frame(&Frame {
///     kind: Kind::Audio,
///     is_key: true,
///     dts: 0,
///     pts: 0,
///     duration: 1024,
///     timescale: 48_000,
///     wall: None,
///     payload: vec![0x21, 0x10, 0x04].into(),
/// })?);
/// file.extend(muxer.finish());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Muxer {
    metadata: Metadata,
    video: Option<Configuration>,
    audio: Option<Configuration>,
    /// The time of the last tag.
    last: u32,
}

impl Muxer {
    /// For a file that begins with this metadata. Leave its duration out while the file is a stream.
    pub const fn new(metadata: Metadata) -> Self {
        Self {
            metadata,
            video: None,
            audio: None,
            last: 0,
        }
    }

    /// The file header and the metadata. The header announces the kinds that the metadata have a codec of, and both if they
    /// have none.
    pub fn start(&self) -> Bytes {
        const VIDEO: u8 = 1;
        const AUDIO: u8 = 4;
        let has = (self.metadata.video_codec, self.metadata.audio_codec);
        let flags = match has {
            (Some(_), None) => VIDEO,
            (None, Some(_)) => AUDIO,
            (None, None) | (Some(_), Some(_)) => VIDEO | AUDIO,
        };
        let mut to = BytesMut::new();
        to.put_slice(&[b'F', b'L', b'V', 1, flags, 0, 0, 0, 9]);
        to.put_u32(0);
        let script = tag(tag_type::SCRIPT, 0, &[], &self.metadata.write());
        to.put_slice(&script.unwrap_or_default());
        to.freeze()
    }

    /// The configuration of the frames that follow, from `dts` milliseconds on. Nothing, if it is the last one again.
    ///
    /// # Errors
    /// [`Unwritable::BeforeZero`] or [`Unwritable::TooLarge`].
    pub fn configuration(
        &mut self,
        dts: i64,
        configuration: &Configuration,
    ) -> Result<Bytes, Unwritable> {
        let kind = configuration.codec.kind();
        if self.configured(kind) == Some(configuration) {
            return Ok(Bytes::new());
        }
        let time = timestamp(dts)?;
        let codec = configuration.codec;
        let mut head = BytesMut::new();
        match Form::of(codec) {
            Form::Avc => head.put_slice(&[0x17, 0, 0, 0, 0]),
            Form::Aac => head.put_slice(&[0xaf, 0]),
            Form::Mp3 => {}
            Form::Extended | Form::ExtendedTimed => {
                extended(&mut head, codec, true, Extended::SequenceStart);
            }
        }
        let tag = if head.is_empty() {
            Bytes::new() // there is no record
        } else {
            tag(type_of(kind), time, &head, &configuration.record)?
        };
        self.last = time;
        *match kind {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
        } = Some(configuration.clone());
        Ok(tag)
    }

    /// A frame of the last configuration of its kind. Its times are rounded to milliseconds. Codecs that show frames in the
    /// order of decoding have no PTS here.
    ///
    /// # Errors
    /// Any [`Unwritable`].
    pub fn frame(&mut self, frame: &Frame) -> Result<Bytes, Unwritable> {
        let configuration = self.configured(frame.kind);
        let codec = configuration.ok_or(Unwritable::NoConfiguration)?.codec;
        let dts = milliseconds(frame.dts, frame.timescale);
        let time = timestamp(dts)?;
        let composition = milliseconds(frame.pts, frame.timescale).saturating_sub(dts);
        let mut head = BytesMut::new();
        match Form::of(codec) {
            Form::Avc => {
                head.put_u8(if frame.is_key { 0x17 } else { 0x27 });
                head.put_u8(1);
                put_composition(&mut head, composition)?;
            }
            Form::Aac => head.put_slice(&[0xaf, 1]),
            Form::Mp3 => head.put_u8(0x2f),
            Form::Extended => extended(&mut head, codec, frame.is_key, Extended::CodedFrames),
            Form::ExtendedTimed if composition == 0 => {
                extended(&mut head, codec, frame.is_key, Extended::CodedFramesX);
            }
            Form::ExtendedTimed => {
                extended(&mut head, codec, frame.is_key, Extended::CodedFrames);
                put_composition(&mut head, composition)?;
            }
        }
        let tag = tag(type_of(frame.kind), time, &head, &frame.payload)?;
        self.last = time;
        Ok(tag)
    }

    /// The end of the pictures. Sound has no end of its own.
    pub fn finish(&self) -> Bytes {
        let mut head = BytesMut::new();
        let Some(configuration) = &self.video else {
            return Bytes::new();
        };
        match Form::of(configuration.codec) {
            Form::Avc => head.put_slice(&[0x17, 2, 0, 0, 0]),
            Form::Extended | Form::ExtendedTimed | Form::Aac | Form::Mp3 => {
                extended(&mut head, configuration.codec, true, Extended::SequenceEnd);
            }
        }
        tag(tag_type::VIDEO, self.last, &head, &[]).unwrap_or_default()
    }

    const fn configured(&self, kind: Kind) -> Option<&Configuration> {
        match kind {
            Kind::Video => self.video.as_ref(),
            Kind::Audio => self.audio.as_ref(),
        }
    }
}

/// How tags of a codec begin.
#[derive(Clone, Copy)]
enum Form {
    /// Codec 7.
    Avc,
    /// Format 10.
    Aac,
    /// Format 2.
    Mp3,
    /// A FourCC.
    Extended,
    /// A FourCC, and a `CompositionTime` where it is not 0.
    ExtendedTimed,
}

impl Form {
    /// The old form where there is one: more programs read it.
    const fn of(codec: Codec) -> Self {
        match codec {
            Codec::H264 => Self::Avc,
            Codec::Aac => Self::Aac,
            Codec::Mp3 => Self::Mp3,
            Codec::H265 => Self::ExtendedTimed,
            Codec::Av1 | Codec::Vp8 | Codec::Vp9 => Self::Extended,
            Codec::Opus | Codec::Flac | Codec::Ac3 | Codec::Eac3 => Self::Extended,
        }
    }
}

/// Kinds of packets with an extended header.
#[derive(Clone, Copy)]
enum Extended {
    SequenceStart,
    CodedFrames,
    SequenceEnd,
    CodedFramesX,
}

/// Writes an extended header.
fn extended(to: &mut BytesMut, codec: Codec, is_key: bool, packet: Extended) {
    let packet = match packet {
        Extended::SequenceStart => 0,
        Extended::CodedFrames => 1,
        Extended::SequenceEnd => 2,
        Extended::CodedFramesX => 3,
    };
    let first = match (codec.kind(), is_key) {
        (Kind::Audio, _) | (Kind::Video, true) => 0x90,
        (Kind::Video, false) => 0xa0,
    };
    to.put_u8(first | packet);
    to.put_slice(&fourcc(codec));
}

const fn type_of(kind: Kind) -> u8 {
    match kind {
        Kind::Video => tag_type::VIDEO,
        Kind::Audio => tag_type::AUDIO,
    }
}

/// A tag and its size.
fn tag(kind: u8, time: u32, head: &[u8], content: &[u8]) -> Result<Bytes, Unwritable> {
    let size = head.len() + content.len();
    let size = u32::try_from(size).map_err(|_| Unwritable::TooLarge)?;
    if size > MAX_DATA_SIZE {
        return Err(Unwritable::TooLarge);
    }
    let mut to = BytesMut::with_capacity(15 + head.len() + content.len());
    to.put_u8(kind);
    to.put_uint(size.into(), 3);
    to.put_uint(u64::from(time & 0xff_ffff), 3);
    to.put_uint(u64::from(time >> 24), 1);
    to.put_uint(0, 3);
    to.put_slice(head);
    to.put_slice(content);
    to.put_u32(size + 11);
    Ok(to.freeze())
}

/// To the nearest.
fn milliseconds(ticks: i64, timescale: u32) -> i64 {
    let timescale = i128::from(timescale.max(1));
    let time = (i128::from(ticks) * 1000 + timescale / 2).div_euclid(timescale);
    let end = if time < 0 { i64::MIN } else { i64::MAX };
    i64::try_from(time).unwrap_or(end)
}

/// The 32 bits of a tag.
fn timestamp(dts: i64) -> Result<u32, Unwritable> {
    let time = u64::try_from(dts).map_err(|_| Unwritable::BeforeZero)?;
    u32::try_from(time & u64::from(u32::MAX)).map_err(|_| Unwritable::BeforeZero)
}

fn put_composition(to: &mut BytesMut, composition: i64) -> Result<(), Unwritable> {
    const LIMIT: i64 = 1 << 23;
    if !(-LIMIT..LIMIT).contains(&composition) {
        return Err(Unwritable::CompositionTime);
    }
    to.put_int(composition, 3);
    Ok(())
}
