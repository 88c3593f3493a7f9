//! What a catalog says of a track.

use oxymoq_core::media::aac::AudioSpecificConfig;
use oxymoq_core::media::flv::Metadata;
use oxymoq_core::media::opus::OpusHead;
use oxymoq_core::media::packaging::Packager;
use oxymoq_core::media::{Codec, Configuration, Kind};

use crate::catalog::{PACKAGING_LOC, PACKAGING_MOQMI, Track};

/// All tracks are meant to be shown together.
const RENDER_GROUP: u64 = 1;

/// The entry of a track that is packed like this.
pub(super) fn describe(
    name: &str,
    packager: Packager,
    configuration: &Configuration,
    metadata: Option<&Metadata>,
    is_live: bool,
) -> Track {
    let packaging = match packager.for_codec(configuration.codec) {
        Some(Packager::Loc | Packager::Dual) => PACKAGING_LOC,
        Some(Packager::MoqMi) | None => PACKAGING_MOQMI,
    };
    let track = Track {
        name: name.to_owned(),
        packaging: packaging.to_owned(),
        is_live,
        render_group: Some(RENDER_GROUP),
        codec: Some(configuration.codec_string()),
        init: configuration.record.clone(),
        ..Track::default()
    };
    match configuration.codec.kind() {
        Kind::Video => describe_video(track, configuration, metadata),
        Kind::Audio => describe_audio(track, configuration, metadata),
    }
}

fn describe_video(
    track: Track,
    configuration: &Configuration,
    metadata: Option<&Metadata>,
) -> Track {
    // What the encoder wrote into the stream is more to be believed than what somebody wrote beside it.
    let known = Metadata::of(Some(configuration), None);
    let pixels = |known: Option<u32>, told: fn(&Metadata) -> Option<u32>| {
        let pixels = known.or_else(|| told(metadata?)).map(u64::from);
        pixels.filter(|pixels| *pixels > 0)
    };
    let told_rate = metadata.and_then(|metadata| metadata.frame_rate);
    Track {
        role: Some("video".to_owned()),
        width: pixels(known.width, |told| told.width),
        height: pixels(known.height, |told| told.height),
        framerate_milli: thousands(told_rate).or_else(|| thousands(known.frame_rate)),
        bitrate: thousands(metadata.and_then(|metadata| metadata.video_data_rate)),
        ..track
    }
}

fn describe_audio(
    track: Track,
    configuration: &Configuration,
    metadata: Option<&Metadata>,
) -> Track {
    let known = Metadata::of(None, Some(configuration));
    let told = |told: fn(&Metadata) -> Option<u32>| told(metadata?);
    let stereo = known.stereo.or_else(|| metadata?.stereo);
    let channels = match configuration.codec {
        Codec::Aac => AudioSpecificConfig::parse(&configuration.record)
            .ok()
            .map(|config| u32::from(config.output_channels())),
        Codec::Opus => OpusHead::parse(&configuration.record)
            .ok()
            .map(|head| u32::from(head.channels)),
        Codec::Flac | Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => None,
        Codec::H264 | Codec::H265 | Codec::Av1 | Codec::Vp8 | Codec::Vp9 => None,
    };
    let channels = channels.or_else(|| Some(if stereo? { 2 } else { 1 }));
    Track {
        role: Some("audio".to_owned()),
        samplerate: known
            .audio_sample_rate
            .or_else(|| told(|told| told.audio_sample_rate))
            .map(u64::from),
        channels: channels.map(|channels| channels.to_string()),
        bitrate: thousands(metadata.and_then(|metadata| metadata.audio_data_rate)),
        ..track
    }
}

/// A thousand times as much, as a whole number; 0 and nonsense mean that nobody knew.
fn thousands(number: Option<f64>) -> Option<u64> {
    // Through text, since numbers are not to be converted silently.
    let text = format!("{:.0}", number? * 1000.0);
    text.parse().ok().filter(|whole| *whole > 0)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn avc() -> Configuration {
        let record = [
            0x01, 0x42, 0xc0, 0x0d, 0xff, 0xe1, 0x00, 0x1c, 0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05,
            0x06, 0xfe, 0x5c, 0x05, 0xa8, 0x10, 0x10, 0x2a, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00,
            0x00, 0x03, 0x00, 0x78, 0x1e, 0x28, 0x55, 0x40, 0x01, 0x00, 0x04, 0x68, 0xce, 0x3c,
            0x80,
        ];
        Configuration {
            codec: Codec::H264,
            record: Bytes::copy_from_slice(&record),
        }
    }

    fn aac() -> Configuration {
        Configuration {
            codec: Codec::Aac,
            record: Bytes::from_static(&[0x12, 0x10]),
        }
    }

    #[test]
    fn sizes_and_rates_come_from_the_stream_itself_and_from_metadata() {
        let metadata = Metadata {
            width: Some(7),
            frame_rate: Some(29.97),
            video_data_rate: Some(175.78125),
            audio_data_rate: Some(0.0),
            audio_sample_rate: Some(1),
            ..Metadata::default()
        };
        let video = describe("video0", Packager::Dual, &avc(), Some(&metadata), true);
        assert_eq!((video.width, video.height), (Some(320), Some(200)));
        assert_eq!(video.framerate_milli, Some(29_970));
        assert_eq!(video.bitrate, Some(175_781));
        assert_eq!(video.codec.as_deref(), Some("avc1.42C00D"));
        assert_eq!(
            (video.packaging.as_str(), video.is_live),
            (PACKAGING_LOC, true)
        );
        assert_eq!(video.init, avc().record);
        let audio = describe("audio0", Packager::MoqMi, &aac(), Some(&metadata), false);
        assert_eq!(audio.samplerate, Some(44_100));
        assert_eq!(audio.channels.as_deref(), Some("2"));
        assert_eq!(audio.bitrate, None);
        assert_eq!(audio.codec.as_deref(), Some("mp4a.40.2"));
        assert_eq!(
            (audio.packaging.as_str(), audio.is_live),
            (PACKAGING_MOQMI, false)
        );
    }

    #[test]
    fn without_metadata_the_rest_is_known_all_the_same() {
        let video = describe("v", Packager::Loc, &avc(), None, true);
        assert_eq!(video.framerate_milli, Some(30_000));
        assert_eq!(video.bitrate, None);
        let nothing = Configuration {
            codec: Codec::Mp3,
            record: Bytes::new(),
        };
        let mp3 = describe("a", Packager::Loc, &nothing, None, true);
        assert_eq!((mp3.samplerate, mp3.channels), (None, None));
    }
}
