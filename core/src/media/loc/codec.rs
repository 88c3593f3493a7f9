//! Which codec it is: by its name, or by its configuration.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::media::aac::AudioSpecificConfig;
use crate::media::opus::OpusHead;
use crate::media::{Codec, Kind, avc, hevc};

/// The codec that a name of RFC 6381 stands for.
pub(crate) fn named(name: &str) -> Option<Codec> {
    let mut parts = name.split('.');
    let first = parts.next()?.to_ascii_lowercase();
    Some(match first.as_str() {
        "avc1" | "avc3" => Codec::H264,
        "hvc1" | "hev1" => Codec::H265,
        "av01" => Codec::Av1,
        "vp8" | "vp08" => Codec::Vp8,
        "vp9" | "vp09" => Codec::Vp9,
        "opus" => Codec::Opus,
        "flac" => Codec::Flac,
        "mp3" => Codec::Mp3,
        "ac-3" => Codec::Ac3,
        "ec-3" => Codec::Eac3,
        "mp4a" => match (parts.next()?.to_ascii_lowercase().as_str(), parts.next()) {
            ("40", Some("34")) | ("69" | "6b", _) => Codec::Mp3,
            ("40" | "66" | "67" | "68", _) => Codec::Aac,
            ("a5", _) => Codec::Ac3,
            ("a6", _) => Codec::Eac3,
            _ => return None,
        },
        _ => return None,
    })
}

/// The codec that a configuration is of, if it looks like one.
pub(crate) fn of_record(kind: Kind, record: &Bytes) -> Option<Codec> {
    match (kind, &record[..]) {
        (Kind::Audio, [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', ..]) => Some(Codec::Opus),
        (Kind::Audio, [b'f', b'L', b'a', b'C', ..]) => Some(Codec::Flac),
        (Kind::Audio, record) => AudioSpecificConfig::parse(record).ok().map(|_| Codec::Aac),
        // marker and version
        (Kind::Video, [0x81, ..]) => Some(Codec::Av1),
        // bits that are reserved, and set, in one of them
        (Kind::Video, [1, _, _, _, 0xfc..=0xff, 0xe0..=0xff, ..]) => {
            let read = avc::DecoderConfiguration::parse(record);
            read.ok().map(|_| Codec::H264)
        }
        (Kind::Video, [1, ..]) if record.len() >= hevc::MIN_RECORD => {
            let reserved = record.get(13..17)?;
            let is_hevc = matches!(reserved, [0xf0..=0xff, _, 0xfc..=0xff, 0xfc..=0xff]);
            is_hevc.then_some(Codec::H265)
        }
        (Kind::Video, _) => None,
    }
}

/// The record of a codec that WebCodecs gives no configuration for, from its name and the first frame.
pub(crate) fn implied_record(codec: Codec, name: &str, payload: &[u8]) -> Option<Bytes> {
    match codec {
        Codec::Mp3 | Codec::Ac3 | Codec::Eac3 | Codec::Vp8 => Some(Bytes::new()),
        Codec::Vp9 => Some(vpcc(name).unwrap_or_default()),
        Codec::Av1 => av1c(name),
        Codec::Opus => {
            // RFC 6716 § 3.1: whether the packet is stereo
            let stereo = payload.first()? & 4 != 0;
            Some(OpusHead::new(if stereo { 2 } else { 1 }).encode())
        }
        Codec::H264 | Codec::H265 | Codec::Aac | Codec::Flac => None,
    }
}

/// `VPCodecConfigurationRecord` with version and flags in front, from `vp09.profile.level.depth.chroma.…` (VP Codec ISO Media
/// File Format Binding § "Codecs Parameter String").
fn vpcc(name: &str) -> Option<Bytes> {
    let mut fields = name.split('.').skip(1).map(str::parse::<u8>);
    let mut field = |absent| match fields.next() {
        None => Some(absent),
        Some(value) => value.ok(),
    };
    let first = name.split('.').nth(1);
    first?;
    let (profile, level, depth) = (field(0)?, field(0)?, field(8)?);
    let chroma = field(1)?;
    let colour = [field(1)?, field(1)?, field(1)?];
    let full_range = field(0)?;
    if depth > 15 || chroma > 7 || full_range > 1 {
        return None;
    }
    let mut record = BytesMut::new();
    record.put_slice(&[1, 0, 0, 0, profile, level]);
    record.put_u8(depth << 4 | chroma << 1 | full_range);
    record.put_slice(&colour);
    record.put_u16(0);
    Some(record.freeze())
}

/// `AV1CodecConfigurationRecord` from `av01.profile.level_and_tier.depth.monochrome.subsampling.…` (AV1 Codec ISO Media File
/// Format Binding § 5). The sequence header is in the frames.
fn av1c(name: &str) -> Option<Bytes> {
    let mut fields = name.split('.').skip(1);
    let profile = fields
        .next()?
        .parse::<u8>()
        .ok()
        .filter(|profile| *profile < 8)?;
    let level = fields.next()?;
    let (level, tier) = match (level.strip_suffix('M'), level.strip_suffix('H')) {
        (Some(level), _) => (level, 0),
        (None, Some(level)) => (level, 0x80),
        (None, None) => return None,
    };
    let level = level.parse::<u8>().ok().filter(|level| *level < 32)?;
    let depth = match fields.next()? {
        "08" => 0,
        "10" => 0x40,
        "12" => 0x60,
        _ => return None,
    };
    let monochrome = if fields.next() == Some("1") { 0x10 } else { 0 };
    let subsampling = match fields.next().unwrap_or("110").as_bytes() {
        [across, down, position] => {
            let bit = |digit: &u8, bit| if *digit == b'1' { bit } else { 0 };
            bit(across, 8) | bit(down, 4) | position & 3
        }
        _ => return None,
    };
    let third = tier | depth | monochrome | subsampling;
    Some(Bytes::copy_from_slice(&[
        0x81,
        profile << 5 | level,
        third,
        0,
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Configuration;

    #[test]
    fn names_of_codecs() {
        for (name, codec) in [
            ("avc1.42C00D", Codec::H264),
            ("avc3.640028", Codec::H264),
            ("hvc1.1.6.L93.B0", Codec::H265),
            ("hev1.1.6.L93.B0", Codec::H265),
            ("av01.0.04M.08", Codec::Av1),
            ("vp8", Codec::Vp8),
            ("vp09.00.10.08", Codec::Vp9),
            ("mp4a.40.2", Codec::Aac),
            ("mp4a.40.34", Codec::Mp3),
            ("mp4a.6B", Codec::Mp3),
            ("opus", Codec::Opus),
            ("fLaC", Codec::Flac),
            ("mp3", Codec::Mp3),
            ("ac-3", Codec::Ac3),
            ("ec-3", Codec::Eac3),
        ] {
            assert_eq!(named(name), Some(codec), "{name}");
        }
        for name in ["", "vvc1.1", "mp4a", "mp4a.99", "avc"] {
            assert_eq!(named(name), None, "{name}");
        }
    }

    #[test]
    fn codecs_are_known_by_their_records() {
        let of = |kind, record: &'static [u8]| of_record(kind, &Bytes::from_static(record));
        assert_eq!(of(Kind::Audio, b"OpusHead\x01"), Some(Codec::Opus));
        assert_eq!(of(Kind::Audio, b"fLaC\x00"), Some(Codec::Flac));
        assert_eq!(of(Kind::Audio, &[0x12, 0x10]), Some(Codec::Aac));
        assert_eq!(of(Kind::Audio, &[]), None);
        assert_eq!(of(Kind::Video, &[0x81, 4, 0x0c, 0]), Some(Codec::Av1));
        assert_eq!(
            of(Kind::Video, &[1, 66, 0xc0, 13, 0xff, 0xe0, 0]),
            Some(Codec::H264)
        );
        let hevc = &[
            1, 1, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93, 0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0,
            0x0f, 0,
        ];
        assert_eq!(of(Kind::Video, hevc), Some(Codec::H265));
        assert_eq!(of(Kind::Video, &hevc[..22]), None);
        assert_eq!(of(Kind::Video, &[]), None);
    }

    #[test]
    fn records_made_of_names_have_that_name() {
        for (codec, name) in [
            (Codec::Vp9, "vp09.02.31.10"),
            (Codec::Av1, "av01.0.04M.08"),
            (Codec::Av1, "av01.1.13H.12"),
            (Codec::Opus, "opus"),
            (Codec::Mp3, "mp3"),
        ] {
            let record = implied_record(codec, name, &[0xfc]).unwrap();
            assert_eq!(Configuration { codec, record }.codec_string(), name);
        }
        let record = implied_record(Codec::Vp9, "vp09.00.10.08.01.02.02.02.00", &[]);
        let expected = [1, 0, 0, 0, 0, 10, 0x82, 2, 2, 2, 0, 0];
        assert_eq!(record.unwrap()[..], expected);
        let record = implied_record(Codec::Av1, "av01.0.04M.10.0.112.09.16.09.0", &[]);
        assert_eq!(record.unwrap()[..], [0x81, 4, 0x4e, 0]);
        for name in [
            "av01",
            "av01.0",
            "av01.0.04.08",
            "av01.9.04M.08",
            "av01.0.04M.09",
        ] {
            assert_eq!(implied_record(Codec::Av1, name, &[]), None, "{name}");
        }
        assert_eq!(implied_record(Codec::Vp9, "vp9", &[]), Some(Bytes::new()));
        assert_eq!(implied_record(Codec::Aac, "mp4a.40.2", &[]), None);
        assert_eq!(implied_record(Codec::Opus, "opus", &[]), None);
    }
}
