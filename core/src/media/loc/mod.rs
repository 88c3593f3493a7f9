//! LOC, the Low Overhead Container of draft-ietf-moq-loc-04, with the property 0x11 of the browser application
//! moq-encoder-player, which names the codec.
//!
//! The payload is what WebCodecs has in an `EncodedVideoChunk` or `EncodedAudioChunk`; the rest is in properties. There is one
//! time, that of presentation: frames come in the order of decoding, and [`DecodeTimes`] tells when, for containers that
//! want to know.
//!
//! Earlier versions are not read: they had the timestamp elsewhere (0x02, 0x06, 0x0A).

use bytes::Bytes;

use super::fields::{Fields, Malformed};
use crate::wire::property::{Properties, Value};

pub(super) mod annexb;
pub(super) mod codec;
pub mod decode_times;

pub use decode_times::DecodeTimes;

/// How many units of the timestamp are in a second (§ Timescale). Of an object or a track. Value: an integer.
pub const TIMESCALE: u64 = 0x08;
/// What the frame is to others (§ Video Frame Marking). Value: 1 to 4 bytes.
pub const FRAME_MARKING: u64 = 0x09;
/// What a video decoder must know first (§ Video Config). Of an object or a track.
pub const VIDEO_CONFIG: u64 = 0x0D;
/// What an audio decoder must know first (§ Audio Config). Of an object or a track.
pub const AUDIO_CONFIG: u64 = 0x0F;
/// When the frame is shown or heard (§ Timestamp). Value: an integer.
pub const TIMESTAMP: u64 = 0x10;
/// The codec as RFC 6381 names it. Not of the draft: moq-encoder-player sends it on every object and asks for it.
pub const CODEC_STRING: u64 = 0x11;

/// Units per second where no timescale is told: the timestamp is then the wall clock, in microseconds since the Unix epoch.
pub const WALL_CLOCK_TIMESCALE: u32 = 1_000_000;

/// What a video frame is to others, by RFC 9626: the first byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMarking(pub u8);

impl FrameMarking {
    /// A whole frame that no other is needed for.
    pub const KEY: Self = Self(0xE0);
    /// A whole frame that others are needed for.
    pub const DELTA: Self = Self(0xC0);

    /// Whether it can be decoded without any before it.
    pub const fn is_independent(self) -> bool {
        self.0 & 0x20 != 0
    }
}

/// What the properties of an object say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// When it is shown or heard.
    pub timestamp: u64,
    /// Units of the timestamp per second, if told; not 0.
    pub timescale: Option<u32>,
    /// What the frame is to others; only of video.
    pub marking: Option<FrameMarking>,
    /// What a video decoder must know first.
    pub video_config: Option<Bytes>,
    /// What an audio decoder must know first.
    pub audio_config: Option<Bytes>,
    /// The codec as RFC 6381 names it.
    pub codec_string: Option<String>,
}

impl Header {
    /// What these properties say. Properties that LOC does not have are passed over.
    ///
    /// # Errors
    /// If the timestamp is missing, a property is there more than once, the timescale is 0 or above 2^32 - 1, the marking is
    /// not of 1 to 4 bytes, or the codec's name is not UTF-8.
    pub fn read(properties: &Properties) -> Result<Self, Malformed> {
        Self::from_fields(&Fields::read(properties)?)
    }

    pub(super) fn from_fields(fields: &Fields) -> Result<Self, Malformed> {
        let timestamp = fields
            .integer(TIMESTAMP)
            .ok_or(Malformed::Missing(TIMESTAMP, "timestamp"))?;
        let marking = match fields.bytes(FRAME_MARKING).map(AsRef::as_ref) {
            None => None,
            Some([first] | [first, _] | [first, _, _] | [first, _, _, _]) => {
                Some(FrameMarking(*first))
            }
            Some(_) => {
                return Err(Malformed::Property(FRAME_MARKING, "not of 1 to 4 bytes"));
            }
        };
        let codec_string = fields
            .bytes(CODEC_STRING)
            .map(|name| String::from_utf8(name.to_vec()))
            .transpose()
            .map_err(|_| Malformed::Property(CODEC_STRING, "not UTF-8"))?;
        Ok(Self {
            timestamp,
            timescale: timescale(fields)?,
            marking,
            video_config: fields.bytes(VIDEO_CONFIG).cloned(),
            audio_config: fields.bytes(AUDIO_CONFIG).cloned(),
            codec_string,
        })
    }

    /// The properties of an object that say this, ascending.
    pub fn properties(&self) -> Vec<(u64, Value)> {
        let bytes = |number, value: Option<Bytes>| Some((number, Value::Bytes(value?)));
        let marking = self
            .marking
            .map(|FrameMarking(byte)| Bytes::copy_from_slice(&[byte]));
        let codec_string = self.codec_string.clone().map(Bytes::from);
        [
            self.timescale
                .map(|units| (TIMESCALE, Value::Integer(u64::from(units)))),
            bytes(FRAME_MARKING, marking),
            bytes(VIDEO_CONFIG, self.video_config.clone()),
            bytes(AUDIO_CONFIG, self.audio_config.clone()),
            Some((TIMESTAMP, Value::Integer(self.timestamp))),
            bytes(CODEC_STRING, codec_string),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The timescale among properties of an object or a track.
pub(super) fn timescale(fields: &Fields) -> Result<Option<u32>, Malformed> {
    match fields.integer(TIMESCALE) {
        None => Ok(None),
        Some(0) => Err(Malformed::Property(TIMESCALE, "a timescale of 0")),
        Some(units) => u32::try_from(units)
            .map(Some)
            .map_err(|_| Malformed::Property(TIMESCALE, "a timescale above 2^32 - 1")),
    }
}

#[cfg(test)]
mod tests;
