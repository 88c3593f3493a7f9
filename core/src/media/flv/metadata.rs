//! `onMetaData` (Annex E.5): what a file says of itself.

use bytes::{Bytes, BytesMut};

use super::amf0::{self, Reader, Value};
use super::{Fault, Limits, codec_of, fourcc};
use crate::media::aac::AudioSpecificConfig;
use crate::media::opus::{self, OpusHead};
use crate::media::{Codec, Configuration, Kind, avc};

/// The name of the script that carries it.
const NAME: &str = "onMetaData";

/// What RTMP clients put before the name, and some recorders keep.
const SET: &str = "@setDataFrame";

/// What a file says of itself. Nothing of it is needed to decode, and nothing of it need be true.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Seconds; missing or 0 while a stream is written.
    pub duration: Option<f64>,
    /// Pixels in a row.
    pub width: Option<u32>,
    /// Rows.
    pub height: Option<u32>,
    /// Frames per second.
    pub frame_rate: Option<f64>,
    /// How pictures are encoded.
    pub video_codec: Option<Codec>,
    /// Kilobits (1000 bits) of video per second.
    pub video_data_rate: Option<f64>,
    /// How sound is encoded.
    pub audio_codec: Option<Codec>,
    /// Kilobits (1000 bits) of audio per second.
    pub audio_data_rate: Option<f64>,
    /// Samples per second.
    pub audio_sample_rate: Option<u32>,
    /// Whether there are two channels rather than one.
    pub stereo: Option<bool>,
    /// Which program wrote it.
    pub encoder: Option<String>,
}

impl Metadata {
    /// What configurations tell: codecs, and of H.264, AAC and Opus sizes and rates.
    pub fn of(video: Option<&Configuration>, audio: Option<&Configuration>) -> Self {
        let mut metadata = Self::default();
        if let Some(configuration) = video {
            metadata.describe_video(configuration);
        }
        if let Some(configuration) = audio {
            metadata.describe_audio(configuration);
        }
        metadata
    }

    fn describe_video(&mut self, configuration: &Configuration) {
        self.video_codec = Some(configuration.codec);
        if configuration.codec != Codec::H264 {
            return;
        }
        let record = avc::DecoderConfiguration::parse(&configuration.record).ok();
        if let Some(sequence) = record.and_then(|record| record.sequence()) {
            self.width = Some(sequence.width);
            self.height = Some(sequence.height);
            self.frame_rate = sequence.frame_rate.map(ratio);
        }
    }

    fn describe_audio(&mut self, configuration: &Configuration) {
        self.audio_codec = Some(configuration.codec);
        let described = match configuration.codec {
            Codec::Aac => AudioSpecificConfig::parse(&configuration.record)
                .ok()
                .map(|config| (config.output_sample_rate(), config.output_channels() > 1)),
            Codec::Opus => OpusHead::parse(&configuration.record)
                .ok()
                .map(|head| (opus::SAMPLE_RATE, head.channels > 1)),
            Codec::H264 | Codec::H265 | Codec::Av1 | Codec::Vp8 | Codec::Vp9 => None,
            Codec::Flac | Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => None,
        };
        if let Some((rate, stereo)) = described {
            self.audio_sample_rate = Some(rate);
            self.stereo = Some(stereo);
        }
    }

    /// Reads the body of a script tag, as far as it can be read, into the metadata if it is that. `None`: another script.
    pub(super) fn read(body: Bytes, limits: &Limits) -> (Option<Self>, Option<Fault>) {
        let bad = Some(Fault::Malformed(amf0::BAD_SCRIPT));
        let mut reader = Reader::new(body, limits);
        let mut name = reader.value();
        if name == Some(Value::String(Bytes::from_static(SET.as_bytes()))) {
            name = reader.value();
        }
        match name {
            Some(Value::String(name)) if name == NAME => {}
            Some(Value::String(_)) => return (None, None),
            Some(Value::Number(_) | Value::Boolean(_) | Value::Other) | None => return (None, bad),
        }
        let mut metadata = Self::default();
        let whole = reader.object(|name, value| metadata.set(name, &value));
        let fault = if whole.is_some() { None } else { bad };
        (Some(metadata), fault)
    }

    fn set(&mut self, name: &[u8], value: &Value) {
        match (name, value) {
            (b"duration", Value::Number(number)) => self.duration = amount(*number),
            (b"width", Value::Number(number)) => self.width = whole(*number),
            (b"height", Value::Number(number)) => self.height = whole(*number),
            (b"framerate", Value::Number(number)) => self.frame_rate = amount(*number),
            (b"videodatarate", Value::Number(number)) => self.video_data_rate = amount(*number),
            (b"audiodatarate", Value::Number(number)) => self.audio_data_rate = amount(*number),
            (b"audiosamplerate", Value::Number(number)) => self.audio_sample_rate = whole(*number),
            (b"stereo", Value::Boolean(stereo)) => self.stereo = Some(*stereo),
            (b"videocodecid", _) => self.video_codec = codec(Kind::Video, value),
            (b"audiocodecid", _) => self.audio_codec = codec(Kind::Audio, value),
            (b"encoder", Value::String(text)) => {
                self.encoder = Some(String::from_utf8_lossy(text).into_owned());
            }
            _ => {}
        }
    }

    /// The body of a script tag.
    pub(super) fn write(&self) -> Bytes {
        let numbers = [
            ("duration", self.duration),
            ("width", self.width.map(f64::from)),
            ("height", self.height.map(f64::from)),
            ("framerate", self.frame_rate),
            ("videodatarate", self.video_data_rate),
            ("videocodecid", self.video_codec.map(number_of)),
            ("audiodatarate", self.audio_data_rate),
            ("audiocodecid", self.audio_codec.map(number_of)),
            ("audiosamplerate", self.audio_sample_rate.map(f64::from)),
            ("audiosamplesize", self.audio_codec.map(|_| 16.0)),
        ];
        let mut members: Vec<_> = numbers
            .into_iter()
            .filter_map(|(name, number)| Some((name, Value::Number(number?))))
            .collect();
        if let Some(stereo) = self.stereo {
            members.push(("stereo", Value::Boolean(stereo)));
        }
        if let Some(encoder) = &self.encoder {
            members.push(("encoder", Value::String(encoder.clone().into())));
        }
        let mut to = BytesMut::new();
        amf0::put_string(&mut to, NAME);
        amf0::put_array(&mut to, &members);
        to.freeze()
    }
}

/// `videocodecid` and `audiocodecid`: the old number, or the FourCC as one.
fn number_of(codec: Codec) -> f64 {
    match codec {
        Codec::H264 => 7.0,
        Codec::Aac => 10.0,
        Codec::Mp3 => 2.0,
        Codec::H265 | Codec::Av1 | Codec::Vp8 | Codec::Vp9 => {
            u32::from_be_bytes(fourcc(codec)).into()
        }
        Codec::Opus | Codec::Flac | Codec::Ac3 | Codec::Eac3 => {
            u32::from_be_bytes(fourcc(codec)).into()
        }
    }
}

fn codec(kind: Kind, value: &Value) -> Option<Codec> {
    match (kind, value) {
        (_, Value::String(name)) => codec_of(kind, *name.first_chunk()?),
        (_, Value::Number(number)) => match (kind, whole(*number)?) {
            (Kind::Video, 7) => Some(Codec::H264),
            (Kind::Video, 12) => Some(Codec::H265),
            (Kind::Audio, 10) => Some(Codec::Aac),
            (Kind::Audio, 2 | 14) => Some(Codec::Mp3),
            (_, code) => codec_of(kind, code.to_be_bytes()),
        },
        (_, Value::Boolean(_) | Value::Other) => None,
    }
}

/// A number that can be an amount of something.
fn amount(number: f64) -> Option<f64> {
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// A number without its fraction.
#[expect(
    clippy::as_conversions,
    reason = "there is no other conversion; it is within bounds"
)]
pub(super) fn whole(number: f64) -> Option<u32> {
    amount(number)
        .filter(|number| *number <= f64::from(u32::MAX))
        .map(|number| number as u32)
}

#[expect(
    clippy::as_conversions,
    reason = "there is no other conversion; digits beyond 53 bits do not matter"
)]
fn ratio((numerator, denominator): (u64, u64)) -> f64 {
    numerator as f64 / denominator as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> (Option<Metadata>, Option<Fault>) {
        Metadata::read(Bytes::copy_from_slice(body), &Limits::default())
    }

    fn example() -> Metadata {
        Metadata {
            duration: Some(1.5),
            width: Some(64),
            height: Some(48),
            frame_rate: Some(29.97),
            video_codec: Some(Codec::Av1),
            video_data_rate: Some(180.0),
            audio_codec: Some(Codec::Aac),
            audio_data_rate: Some(96.0),
            audio_sample_rate: Some(44_100),
            stereo: Some(true),
            encoder: Some("an encoder".to_owned()),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&example().write()), (Some(example()), None));
        let nothing = Metadata::default();
        assert_eq!(read(&nothing.write()), (Some(nothing), None));
        for codec in [Codec::H264, Codec::H265, Codec::Vp8, Codec::Vp9] {
            let metadata = Metadata {
                video_codec: Some(codec),
                ..Metadata::default()
            };
            assert_eq!(read(&metadata.write()).0, Some(metadata));
        }
        for codec in [
            Codec::Opus,
            Codec::Flac,
            Codec::Mp3,
            Codec::Ac3,
            Codec::Eac3,
        ] {
            let metadata = Metadata {
                audio_codec: Some(codec),
                ..Metadata::default()
            };
            assert_eq!(read(&metadata.write()).0, Some(metadata));
        }
    }

    #[test]
    fn what_is_cut_off_is_read_as_far_as_it_is_there() {
        let body = example().write();
        for cut in 0..body.len() {
            let (metadata, fault) = read(&body[..cut]);
            if let Some(metadata) = metadata.filter(|_| fault.is_none()) {
                // between two members, or before the mark of the end
                assert!(metadata == example() || cut < body.len() - 3);
            }
        }
        let (metadata, fault) = read(&body[..body.len() - 9]);
        assert_eq!(fault, Some(Fault::Malformed(amf0::BAD_SCRIPT)));
        assert_eq!(metadata.unwrap().width, Some(64));
    }

    #[test]
    fn other_scripts_and_numbers_that_are_none() {
        assert_eq!(read(b"\x02\x00\x0aonCuePoint\x05"), (None, None));
        let bad = Some(Fault::Malformed(amf0::BAD_SCRIPT));
        assert_eq!(read(b"\x05"), (None, bad));
        assert_eq!(read(b""), (None, bad));
        let mut set = b"\x02\x00\x0d@setDataFrame".to_vec();
        set.extend_from_slice(&example().write());
        assert_eq!(read(&set), (Some(example()), None));
        for number in [f64::NAN, -1.0, f64::INFINITY, 4_294_967_296.0] {
            assert_eq!(whole(number), None);
        }
        assert_eq!(whole(64.9), Some(64));
    }
}
