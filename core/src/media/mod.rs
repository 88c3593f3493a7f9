//! Encoded audio and video, whatever it is carried in.
//!
//! [`flv`] reads and writes files; packagings turn a [`Frame`] into the object of a track and back. What they have in common
//! is here: which [`Codec`] it is, what its decoder must know first ([`Configuration`]), and one [`Frame`] after another in
//! the order of decoding.

use std::fmt;

use bytes::Bytes;

pub mod aac;
pub mod avc;
mod bits;
mod codec_string;
mod fields;
pub mod flv;
pub mod hevc;
pub mod interleave;
pub mod jitter;
pub mod loc;
pub mod moqmi;
pub mod nal;
pub mod opus;
pub mod packaging;

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// How pictures or sound are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// AVC, ITU-T H.264.
    H264,
    /// HEVC, ITU-T H.265.
    H265,
    /// AV1 of the Alliance for Open Media.
    Av1,
    /// VP8 (RFC 6386).
    Vp8,
    /// VP9.
    Vp9,
    /// AAC of any object type (ISO/IEC 14496-3).
    Aac,
    /// Opus (RFC 6716).
    Opus,
    /// FLAC (RFC 9639).
    Flac,
    /// MPEG-1 and MPEG-2 Audio Layer III.
    Mp3,
    /// AC-3 (ETSI TS 102 366).
    Ac3,
    /// Enhanced AC-3 (ETSI TS 102 366 Annex E).
    Eac3,
}

impl Codec {
    /// Whether it encodes pictures or sound.
    pub const fn kind(self) -> Kind {
        match self {
            Self::H264 | Self::H265 | Self::Av1 | Self::Vp8 | Self::Vp9 => Kind::Video,
            Self::Aac | Self::Opus | Self::Flac | Self::Mp3 | Self::Ac3 | Self::Eac3 => Kind::Audio,
        }
    }
}

/// What a decoder must know before the first frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// How the frames are encoded.
    pub codec: Codec,
    /// The codec's own record, as MP4 has it:
    ///
    /// | codec | record |
    /// |---|---|
    /// | H.264 | `AVCDecoderConfigurationRecord` (`avcC`) with lengths of 4 bytes |
    /// | H.265 | `HEVCDecoderConfigurationRecord` (`hvcC`) with lengths of 4 bytes |
    /// | AV1 | `AV1CodecConfigurationRecord` (`av1C`) |
    /// | VP8, VP9 | `VPCodecConfigurationRecord` (`vpcC`), with or without version and flags in front; may be empty |
    /// | AAC | `AudioSpecificConfig` |
    /// | Opus | identification header (`OpusHead`, RFC 7845 § 5.1) |
    /// | FLAC | `fLaC` and the metadata blocks |
    /// | MP3, AC-3, E-AC-3 | empty |
    pub record: Bytes,
}

impl Configuration {
    /// The `codecs` parameter of RFC 6381 that tells a browser what to decode, such as `avc1.42C00D`, `mp4a.40.2` or `opus`.
    /// What a damaged record does not tell is left out.
    pub fn codec_string(&self) -> String {
        codec_string::codec_string(self)
    }
}

/// One encoded picture, or one encoded block of samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whether it is seen or heard.
    pub kind: Kind,
    /// Whether decoding can begin here. Video: it starts a group (H.264: an IDR picture). Audio: always.
    pub is_key: bool,
    /// When it is decoded, in ticks of `timescale`.
    pub dts: i64,
    /// When it is shown, in ticks of `timescale`.
    pub pts: i64,
    /// How long it lasts, in ticks of `timescale`; 0 if that is not known.
    pub duration: u64,
    /// Ticks per second, never 0.
    pub timescale: u32,
    /// When it was captured or sent, in milliseconds since the Unix epoch.
    pub wall: Option<u64>,
    /// The encoded bytes: NAL units with lengths of 4 bytes in front (H.264, H.265), a raw AAC frame (no ADTS), an Opus
    /// packet, a temporal unit (AV1), a frame of any other codec.
    pub payload: Bytes,
}

/// What is wrong with bytes that somebody encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}
