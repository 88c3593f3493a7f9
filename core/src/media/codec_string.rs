//! The names that RFC 6381 and the codecs' own MP4 bindings give to a decoder configuration.

use std::fmt::Write as _;

use super::aac::AudioSpecificConfig;
use super::{Codec, Configuration};

/// See [`Configuration::codec_string`].
pub(super) fn codec_string(configuration: &Configuration) -> String {
    let record = &configuration.record[..];
    match configuration.codec {
        Codec::H264 => h264(record).unwrap_or_else(|| "avc1".to_owned()),
        Codec::H265 => h265(record).unwrap_or_else(|| "hvc1".to_owned()),
        Codec::Av1 => av1(record).unwrap_or_else(|| "av01".to_owned()),
        Codec::Vp8 => "vp8".to_owned(),
        Codec::Vp9 => vp9(record).unwrap_or_else(|| "vp09".to_owned()),
        Codec::Aac => AudioSpecificConfig::parse(record).map_or_else(
            |_| "mp4a.40".to_owned(),
            |config| format!("mp4a.40.{}", config.signalled_object_type()),
        ),
        Codec::Opus => "opus".to_owned(),
        Codec::Flac => "flac".to_owned(),
        Codec::Mp3 => "mp3".to_owned(),
        Codec::Ac3 => "ac-3".to_owned(),
        Codec::Eac3 => "ec-3".to_owned(),
    }
}

/// RFC 6381 § 3.3: profile, constraints and level.
fn h264(record: &[u8]) -> Option<String> {
    let [_, profile, constraints, level, ..] = *record else {
        return None;
    };
    Some(format!("avc1.{profile:02X}{constraints:02X}{level:02X}"))
}

/// ISO/IEC 14496-15 Annex E.3: profile, compatibility backwards, tier and level, constraints without zeros at the end.
fn h265(record: &[u8]) -> Option<String> {
    let (first, rest) = record.get(1..13)?.split_first()?;
    let (compatibility, rest) = rest.split_first_chunk::<4>()?;
    let (constraints, level) = rest.split_first_chunk::<6>()?;
    let space = match first >> 6 {
        0 => "",
        1 => "A",
        2 => "B",
        _ => "C",
    };
    let profile = first & 0x1f;
    let compatibility = u32::from_be_bytes(*compatibility).reverse_bits();
    let tier = if first & 0x20 == 0 { 'L' } else { 'H' };
    let level = level.first()?;
    let mut text = format!("hvc1.{space}{profile}.{compatibility:X}.{tier}{level}");
    let told = constraints.iter().rposition(|byte| *byte != 0);
    for byte in constraints.iter().take(told.map_or(0, |last| last + 1)) {
        // writing to a string cannot fail
        let _unused = write!(text, ".{byte:X}");
    }
    Some(text)
}

/// AV1 Codec ISO Media File Format Binding § 5: profile, level and tier, depth.
fn av1(record: &[u8]) -> Option<String> {
    let [_, second, third, ..] = *record else {
        return None;
    };
    let (profile, level) = (second >> 5, second & 0x1f);
    let tier = if third & 0x80 == 0 { 'M' } else { 'H' };
    let depth = match (third & 0x40 != 0, third & 0x20 != 0) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    Some(format!("av01.{profile}.{level:02}{tier}.{depth:02}"))
}

/// VP Codec ISO Media File Format Binding § "Codecs Parameter String": profile, level and depth. Version 1 and flags 0 stand
/// in front where the record comes out of a box; a profile is at most 3.
fn vp9(record: &[u8]) -> Option<String> {
    let fields = record.strip_prefix(&[1, 0, 0, 0]).unwrap_or(record);
    let [profile, level, third, ..] = *fields else {
        return None;
    };
    let depth = third >> 4;
    Some(format!("vp09.{profile:02}.{level:02}.{depth:02}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn string(codec: Codec, record: &'static [u8]) -> String {
        Configuration {
            codec,
            record: Bytes::from_static(record),
        }
        .codec_string()
    }

    #[test]
    fn names_of_configurations() {
        let avcc = [1, 0x42, 0xc0, 0x0d, 0xff, 0xe0, 0];
        assert_eq!(h264(&avcc).unwrap(), "avc1.42C00D");
        // the example of ISO/IEC 14496-15 Annex E.3: Main profile, level 3.1
        let hvcc = [1, 0x01, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93];
        assert_eq!(h265(&hvcc).unwrap(), "hvc1.1.6.L93.B0");
        let high_tier = [1, 0x62, 0x20, 0, 0, 0, 0x90, 0, 5, 0, 0, 0, 120];
        assert_eq!(h265(&high_tier).unwrap(), "hvc1.A2.4.H120.90.0.5");
        assert_eq!(string(Codec::Av1, &[0x81, 4, 0x0c, 0]), "av01.0.04M.08");
        assert_eq!(string(Codec::Av1, &[0x81, 0x2d, 0xe0, 0]), "av01.1.13H.12");
        let vpcc = [1, 0, 0, 0, 0, 10, 0x82, 2, 2, 2, 0, 0];
        assert_eq!(vp9(&vpcc).unwrap(), "vp09.00.10.08");
        assert_eq!(vp9(&vpcc[4..]).unwrap(), "vp09.00.10.08");
        assert_eq!(string(Codec::Aac, &[0x11, 0x88]), "mp4a.40.2");
        assert_eq!(string(Codec::Aac, &[0x2b, 0x11, 0x88, 0]), "mp4a.40.5");
        assert_eq!(string(Codec::Opus, b"OpusHead"), "opus");
        assert_eq!(string(Codec::Flac, b"fLaC"), "flac");
    }

    #[test]
    fn a_damaged_record_leaves_the_name_short() {
        assert_eq!(string(Codec::H264, &[1, 0x42]), "avc1");
        assert_eq!(string(Codec::H265, &[1; 12]), "hvc1");
        assert_eq!(string(Codec::Av1, &[]), "av01");
        assert_eq!(string(Codec::Vp9, &[1, 0, 0, 0]), "vp09");
        assert_eq!(string(Codec::Aac, &[]), "mp4a.40");
    }
}
