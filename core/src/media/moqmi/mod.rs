//! MoqMi: the packaging of draft-cenzano-moq-media-interop-03.
//!
//! Everything but the encoded bytes is in properties of the object: what it holds ([`MEDIA_TYPE`], on every object), times
//! and numbers (a list of integers, [`VIDEO_METADATA`] and its siblings), and what the decoder must know
//! ([`VIDEO_EXTRADATA`]). The payload is the frame itself: NAL units with lengths of 4 bytes (H.264), an Opus packet, a raw
//! AAC frame, or text in UTF-8.
//!
//! Earlier versions are not read: -00 and -01 had all of this in the payload, and -02 had the video's list under 0x0B, which
//! MoQT has since taken for immutable properties.
//!
//! # Which integers
//!
//! The draft calls the integers of the lists "(i)" and does not say whose. Peers disagree from MoQT draft 17 on, where MoQT's
//! integers are no longer QUIC's: moxygen and Eyevinn's write QUIC's with every MoQT draft, the browser application wrote
//! those of the session. So both are read: the reading that takes up the whole list is right; if both do, the one with the
//! more plausible values; if they are equal, QUIC's. Lists are written with QUIC's unless told otherwise. (The media type is
//! a property of its own, and always in the session's integers.)

use bytes::Bytes;

use super::fields::{Fields, Malformed};
use crate::draft::IntegerKind;
use crate::wire::NotExpressible;
use crate::wire::property::{Properties, Value};

mod metadata;

/// What the object holds; must be on every object. Value: an integer.
pub const MEDIA_TYPE: u64 = 0x0A;
/// The `AVCDecoderConfigurationRecord`, with lengths of 4 bytes.
pub const VIDEO_EXTRADATA: u64 = 0x0D;
/// Numbers and times of an Opus packet.
pub const OPUS_METADATA: u64 = 0x0F;
/// The number of a text.
pub const TEXT_METADATA: u64 = 0x11;
/// Numbers and times of an AAC-LC frame.
pub const AAC_METADATA: u64 = 0x13;
/// Numbers and times of an H.264 frame.
pub const VIDEO_METADATA: u64 = 0x15;

/// Values of [`MEDIA_TYPE`].
mod media_type {
    pub(super) const VIDEO: u64 = 0;
    pub(super) const OPUS: u64 = 1;
    pub(super) const TEXT: u64 = 2;
    pub(super) const AAC: u64 = 3;
    /// What moxygen writes, and the only one it accepts, for Opus. The list beside it is the same.
    pub(super) const OPUS_OF_MOXYGEN: u64 = 4;
}

/// What the properties of an object say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// H.264.
    Video(Video),
    /// Opus or AAC-LC.
    Audio(Audio),
    /// Text in UTF-8.
    Text(Text),
}

/// Of an H.264 frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// Counts the frames of the track.
    pub sequence: u64,
    /// When it is shown, in units of `timebase`.
    pub pts: u64,
    /// When it is decoded, in units of `timebase`; the same where frames are not reordered.
    pub dts: u64,
    /// Units per second; not 0.
    pub timebase: u64,
    /// How long it lasts, in units of `timebase`; 0 if not set. moxygen's receiver writes nothing until there are durations.
    pub duration: u64,
    /// When its capture began, in milliseconds since the Unix epoch; 0 if not set.
    pub wallclock: u64,
    /// The `AVCDecoderConfigurationRecord`, where it was sent along.
    pub extradata: Option<Bytes>,
}

/// How the sound of an [`Audio`] object is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioCodec {
    /// Opus.
    Opus,
    /// AAC-LC, as it is in MP4.
    Aac,
}

/// Of an Opus packet or AAC-LC frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audio {
    /// How it is encoded.
    pub codec: AudioCodec,
    /// Counts the frames of the track.
    pub sequence: u64,
    /// When it is heard, in units of `timebase`.
    pub pts: u64,
    /// Units per second; not 0.
    pub timebase: u64,
    /// Samples per second of the original signal.
    pub sample_rate: u64,
    /// Channels of the original signal.
    pub channels: u64,
    /// How long it lasts, in units of `timebase`; 0 if not set.
    pub duration: u64,
    /// When its capture began, in milliseconds since the Unix epoch; 0 if not set.
    pub wallclock: u64,
}

/// Of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// Counts the texts of the track.
    pub sequence: u64,
}

impl Text {
    /// The text in a payload.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub fn decode(payload: &[u8]) -> Result<&str, Malformed> {
        std::str::from_utf8(payload).map_err(|_| Malformed::Object("text that is not UTF-8"))
    }
}

impl Header {
    /// What these properties say. Properties that MoqMi does not have are passed over.
    ///
    /// # Errors
    /// If a property that the media type asks for is missing, one is there more than once, the media type is unknown, a list
    /// cannot be read with either kind of integer, the timebase is 0, or the extradata is not a record with lengths of
    /// 4 bytes.
    pub fn read(properties: &Properties) -> Result<Self, Malformed> {
        Self::from_fields(&Fields::read(properties)?)
    }

    pub(super) fn from_fields(fields: &Fields) -> Result<Self, Malformed> {
        let media_type = fields
            .integer(MEDIA_TYPE)
            .ok_or(Malformed::Missing(MEDIA_TYPE, "media type"))?;
        match media_type {
            media_type::VIDEO => Video::read(fields).map(Self::Video),
            media_type::OPUS | media_type::OPUS_OF_MOXYGEN => {
                Audio::read(AudioCodec::Opus, fields).map(Self::Audio)
            }
            media_type::AAC => Audio::read(AudioCodec::Aac, fields).map(Self::Audio),
            media_type::TEXT => Text::read(fields).map(Self::Text),
            _ => Err(Malformed::Property(MEDIA_TYPE, "an unknown media type")),
        }
    }

    /// The list that goes with the media type, if both are there: the object says that it is MoqMi, rightly or not.
    pub(super) fn announced(fields: &Fields) -> Option<u64> {
        let list = match fields.integer(MEDIA_TYPE)? {
            media_type::VIDEO => VIDEO_METADATA,
            media_type::OPUS | media_type::OPUS_OF_MOXYGEN => OPUS_METADATA,
            media_type::TEXT => TEXT_METADATA,
            media_type::AAC => AAC_METADATA,
            _ => return None,
        };
        fields.has(list).then_some(list)
    }

    /// The properties of an object that say this, ascending; the integers in the list are of this kind.
    ///
    /// # Errors
    /// If a number is beyond what such integers can say.
    pub fn properties(&self, integers: IntegerKind) -> Result<Vec<(u64, Value)>, NotExpressible> {
        let (media_type, number, list, extradata) = match self {
            Self::Video(video) => (
                media_type::VIDEO,
                VIDEO_METADATA,
                video.metadata(integers)?,
                video.extradata.clone(),
            ),
            Self::Audio(audio) => {
                let (media_type, number) = match audio.codec {
                    AudioCodec::Opus => (media_type::OPUS, OPUS_METADATA),
                    AudioCodec::Aac => (media_type::AAC, AAC_METADATA),
                };
                (media_type, number, audio.metadata(integers)?, None)
            }
            Self::Text(text) => (
                media_type::TEXT,
                TEXT_METADATA,
                text.metadata(integers)?,
                None,
            ),
        };
        let mut properties = vec![(MEDIA_TYPE, Value::Integer(media_type))];
        properties.extend(extradata.map(|record| (VIDEO_EXTRADATA, Value::Bytes(record))));
        properties.push((number, Value::Bytes(list)));
        Ok(properties)
    }
}

#[cfg(test)]
mod tests;
