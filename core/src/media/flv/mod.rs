//! FLV, the file format of Flash Video, as encoders still write it for streaming: a [`Demuxer`] and a [`Muxer`].
//!
//! Both follow the *Adobe Flash Video File Format Specification* 10.1 Annex E, and *Enhanced RTMP* (v1 and v2), which puts
//! newer codecs into the same tags under a FourCC.
//!
//! | codec | read as | written as |
//! |---|---|---|
//! | H.264 | codec 7, `avc1` | codec 7 |
//! | H.265 | `hvc1`, codec 12 (a common extension) | `hvc1` |
//! | AV1, VP8, VP9 | `av01`, `vp08`, `vp09` | the same |
//! | AAC | format 10, `mp4a` | format 10 |
//! | MP3 | formats 2 and 14, `.mp3` | format 2 |
//! | Opus, FLAC, AC-3, E-AC-3 | `Opus`, `fLaC`, `ac-3`, `ec-3` | the same |
//!
//! Of several tracks of a kind (multitrack), track 0 is read. Offsets in nanoseconds (ModEx), layouts of channels and
//! colours are passed over. Encrypted tags are not read.
//!
//! # What a damaged file gives
//!
//! Nothing that is in a file is an error of the [`Demuxer`]: it gives every whole tag that it finds, and an
//! [`Item::Warning`] for what it does not, with the offset of the first byte concerned. Only [`Fault::NotFlv`] means that
//! there is nothing at all ([`Fault::is_fatal`]): a program should end with a failure then, and with success otherwise.
//!
//! | what | items | warning |
//! |---|---|---|
//! | empty, or does not begin with `FLV` | none, whatever follows | `NotFlv` at 0 |
//! | header of another version or with a strange length | all | `Header` |
//! | ends within a tag | all before it | `Truncated` at that tag |
//! | ends without the last `PreviousTagSize` | all | none |
//! | bytes in the middle lost, added or changed | all before; again from the next tag that is confirmed by its own size behind it | `Damaged` where it went wrong, and how much was passed over |
//! | `PreviousTagSize` wrong although tags follow one another | all | `PreviousTagSize`, once |
//! | another FLV header after a tag (somebody wrote into the same pipe again) | all of both | `Restarted` |
//! | a tag of unknown type, encrypted, of another track, of an unknown codec | all others | once for each kind of them |
//! | a tag larger than [`Limits::max_tag`] | all others | `TagTooLarge` |
//! | a frame before the configuration of its codec | all others | `NoConfiguration`, once |
//! | a body that cannot be read | all others | `Malformed` |
//! | NAL units with wrong lengths in a frame | the frame as it is, unless its lengths had to be rewritten | `Malformed` |
//! | empty bodies, command frames, configurations that repeat the last one | none | none |
//!
//! # Time
//!
//! Frames have a time scale of 1000. Tags carry 32 bits of milliseconds; [`Frame::dts`](super::Frame::dts) goes on where
//! they wrap, at 2^32 or, as some writers do it, at 2^31. It never decreases within a kind: a timestamp that is a little
//! (up to [`Limits::max_backstep`]) before the last one of its kind is taken for the last one. When the clock was set, that
//! is when a timestamp lies further back, or more than [`Limits::max_gap`] ahead, a warning [`Fault::ClockReset`] is given and
//! the frames go on one frame after the latest, audio and video by the same shift. Tags that bring no frame do not count.

mod amf0;
mod body;
mod clock;
mod demuxer;
mod metadata;
mod muxer;
mod tags;
#[cfg(test)]
mod tests;

use std::fmt;

pub use demuxer::Demuxer;
pub use metadata::Metadata;
pub use muxer::{Muxer, Unwritable};

use super::{Codec, Configuration, Frame, Kind, Malformed};

/// Tag types (Annex E.4.1).
mod tag_type {
    pub(super) const AUDIO: u8 = 8;
    pub(super) const VIDEO: u8 = 9;
    pub(super) const SCRIPT: u8 = 18;
}

/// The greatest `DataSize`: it has 24 bits.
const MAX_DATA_SIZE: u32 = 0xff_ffff;

/// Bounds of a [`Demuxer`].
///
/// | field | unit | default | why |
/// |---|---|---|---|
/// | `max_tag` | bytes of body | 16 MiB - 1 | all that the format allows; what arrived of one tag is all that is kept |
/// | `max_script_depth` | values within values | 8 | metadata has 3 |
/// | `max_script_values` | values, per script tag | 65 536 | the index of a day, with a key frame every 3 s |
/// | `max_backstep` | ms | 1000 | muxers that write audio and video a little out of order |
/// | `max_gap` | ms | 1 h | an encoder that paused |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body of a tag that is read; larger ones are passed over.
    pub max_tag: u32,
    /// How deep objects and arrays of a script tag may be nested.
    pub max_script_depth: u8,
    /// How many values of a script tag are read.
    pub max_script_values: u32,
    /// How far a timestamp may lie before the last one of its kind while the clock is the same.
    pub max_backstep: u32,
    /// How far a timestamp may lie after the last one while the clock is the same.
    pub max_gap: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_tag: MAX_DATA_SIZE,
            max_script_depth: 8,
            max_script_values: 65_536,
            max_backstep: 1000,
            max_gap: 3_600_000,
        }
    }
}

/// What a [`Demuxer`] finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// An `onMetaData` script tag. It may be missing, come late, or come again, and is not needed to decode.
    Metadata(Metadata),
    /// A configuration that differs from the last one of its kind. It holds for the frames that follow.
    Configuration(Configuration),
    /// A frame. Its configuration was given before.
    Frame(Frame),
    /// The end of all frames of this kind, unless others follow.
    EndOfSequence(Kind),
    /// Something is wrong or was passed over; reading goes on.
    Warning(Warning),
}

/// Something in a file that is wrong or was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where the tag, or whatever it is about, begins: the number of bytes before it.
    pub offset: u64,
    /// What it is.
    pub what: Fault,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.what)
    }
}

/// What can be wrong in a file, or be passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is no FLV: nothing is read.
    NotFlv,
    /// Version or length of the file header are not the usual ones.
    Header,
    /// Another file header in mid-stream: the tags of another file follow.
    Restarted,
    /// It ends within a tag, of which this many bytes are there.
    Truncated(u64),
    /// This many bytes are no tags.
    Damaged(u64),
    /// The size behind a tag is not that of the tag. Said once.
    PreviousTagSize,
    /// A tag with a body of this many bytes.
    TagTooLarge(u32),
    /// A tag of this type. Said once.
    UnknownTag(u8),
    /// An encrypted tag. Said once.
    Encrypted,
    /// A tag of this track, which is not the first. Said once.
    OtherTrack(u8),
    /// A codec, by its number or its FourCC. Said once for each kind.
    UnknownCodec(Kind, u32),
    /// A frame whose codec was not configured. Said once for each kind.
    NoConfiguration(Kind),
    /// A body that cannot be read.
    Malformed(&'static str),
    /// The clock was set: it went by this many milliseconds since the latest frame.
    ClockReset(i64),
}

impl Fault {
    /// Whether nothing can be read at all.
    pub const fn is_fatal(self) -> bool {
        matches!(self, Self::NotFlv)
    }

    /// What is the same fault for those that are said once; `None` for those that are said each time.
    const fn once(self) -> Option<Self> {
        match self {
            Self::PreviousTagSize | Self::Encrypted | Self::NoConfiguration(_) => Some(self),
            Self::UnknownTag(_) => Some(Self::UnknownTag(0)),
            Self::OtherTrack(_) => Some(Self::OtherTrack(0)),
            Self::UnknownCodec(kind, _) => Some(Self::UnknownCodec(kind, 0)),
            Self::NotFlv
            | Self::Header
            | Self::Restarted
            | Self::Truncated(_)
            | Self::Damaged(_)
            | Self::TagTooLarge(_)
            | Self::Malformed(_)
            | Self::ClockReset(_) => None,
        }
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.0)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFlv => f.write_str("no FLV: it does not begin with 'FLV'"),
            Self::Header => f.write_str("an unusual file header"),
            Self::Restarted => f.write_str("another FLV file begins"),
            Self::Truncated(bytes) => write!(f, "ends within a tag, after {bytes} bytes of it"),
            Self::Damaged(bytes) => write!(f, "passed over {bytes} bytes that are no tags"),
            Self::PreviousTagSize => f.write_str("a wrong size behind a tag"),
            Self::TagTooLarge(bytes) => write!(f, "passed over a tag of {bytes} bytes"),
            Self::UnknownTag(number) => write!(f, "passed over a tag of unknown type {number}"),
            Self::Encrypted => f.write_str("passed over an encrypted tag"),
            Self::OtherTrack(number) => write!(f, "passed over track {number}"),
            Self::UnknownCodec(kind, codec) => {
                write!(f, "passed over {} of unknown codec ", words(*kind))?;
                let fourcc = codec.to_be_bytes();
                match std::str::from_utf8(&fourcc) {
                    Ok(text) if fourcc.iter().all(u8::is_ascii_graphic) => write!(f, "'{text}'"),
                    Ok(_) | Err(_) => write!(f, "{codec}"),
                }
            }
            Self::NoConfiguration(kind) => {
                write!(f, "passed over {} before its configuration", words(*kind))
            }
            Self::Malformed(what) => f.write_str(what),
            Self::ClockReset(by) => write!(f, "the clock was set by {by} ms"),
        }
    }
}

const fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Video => "video",
        Kind::Audio => "audio",
    }
}

/// The FourCC that Enhanced RTMP gives a codec.
const fn fourcc(codec: Codec) -> [u8; 4] {
    match codec {
        Codec::H264 => *b"avc1",
        Codec::H265 => *b"hvc1",
        Codec::Av1 => *b"av01",
        Codec::Vp8 => *b"vp08",
        Codec::Vp9 => *b"vp09",
        Codec::Aac => *b"mp4a",
        Codec::Opus => *b"Opus",
        Codec::Flac => *b"fLaC",
        Codec::Mp3 => *b".mp3",
        Codec::Ac3 => *b"ac-3",
        Codec::Eac3 => *b"ec-3",
    }
}

/// The codec of a kind with this FourCC.
fn codec_of(kind: Kind, code: [u8; 4]) -> Option<Codec> {
    const ALL: [Codec; 11] = [
        Codec::H264,
        Codec::H265,
        Codec::Av1,
        Codec::Vp8,
        Codec::Vp9,
        Codec::Aac,
        Codec::Opus,
        Codec::Flac,
        Codec::Mp3,
        Codec::Ac3,
        Codec::Eac3,
    ];
    ALL.into_iter()
        .find(|codec| codec.kind() == kind && fourcc(*codec) == code)
}
