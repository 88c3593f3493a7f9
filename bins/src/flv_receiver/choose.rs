//! Which tracks of a catalog are taken.

use bytes::Bytes;
use oxymoq_core::media::packaging::Unpacker;
use oxymoq_core::media::{Codec, Configuration, Kind};
use oxymoq_core::wire::name::{FullTrackName, TrackName, TrackNamespace};

use crate::catalog::{self, Catalog};

/// A track to subscribe to.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) kind: Kind,
    pub(super) name: FullTrackName,
    /// What the catalog says of its frames.
    codec: Option<Codec>,
    init: Bytes,
}

impl Choice {
    /// A track of which nothing is known but its name.
    pub(super) const fn named(kind: Kind, name: FullTrackName) -> Self {
        Self {
            kind,
            name,
            codec: None,
            init: Bytes::new(),
        }
    }

    /// For the objects of the track.
    pub(super) fn unpacker(&self) -> Unpacker {
        let mut unpacker = Unpacker::new(self.kind);
        match self.codec {
            Some(codec) if !self.init.is_empty() => unpacker.expect_configuration(Configuration {
                codec,
                record: self.init.clone(),
            }),
            Some(codec) => unpacker.expect_codec(codec),
            None => {}
        }
        unpacker
    }
}

/// The first track of each kind, in the namespace of the catalog unless it names another one: none, one or both.
pub(super) fn choose(catalog: &Catalog, namespace: &TrackNamespace) -> Vec<Choice> {
    let offers = || {
        catalog
            .tracks
            .iter()
            .filter_map(|track| offer(track, namespace))
    };
    [Kind::Video, Kind::Audio]
        .into_iter()
        .filter_map(|kind| offers().find(|offer| offer.kind == kind))
        .collect()
}

/// A track, if it is one that can be received.
fn offer(track: &catalog::Track, namespace: &TrackNamespace) -> Option<Choice> {
    if track.packaging != catalog::PACKAGING_LOC && track.packaging != catalog::PACKAGING_MOQMI {
        return None;
    }
    let codec = track.codec.as_deref().and_then(codec);
    let kind = match (track.role.as_deref(), codec) {
        (Some("video"), _) => Kind::Video,
        (Some("audio"), _) => Kind::Audio,
        (_, codec) => codec?.kind(),
    };
    if track.codec.is_some() && codec.is_none_or(|codec| codec.kind() != kind) {
        log::info!(
            "the catalog's track '{}' cannot be put into FLV",
            track.name
        );
        return None;
    }
    let namespace = match &track.namespace {
        None => namespace.clone(),
        Some(text) => {
            TrackNamespace::new(text.split('/').map(|field| Bytes::from(field.to_owned()))).ok()?
        }
    };
    let name = TrackName::new(track.name.clone()).ok()?;
    Some(Choice {
        kind,
        name: FullTrackName::new(namespace, name).ok()?,
        codec,
        init: track.init.clone(),
    })
}

/// The codec that goes by this name in browsers, if FLV can carry it.
fn codec(name: &str) -> Option<Codec> {
    let (family, rest) = name.split_once('.').unwrap_or((name, ""));
    Some(match family.to_ascii_lowercase().as_str() {
        "avc1" | "avc3" => Codec::H264,
        "hvc1" | "hev1" => Codec::H265,
        "av01" => Codec::Av1,
        "vp8" | "vp08" => Codec::Vp8,
        "vp9" | "vp09" => Codec::Vp9,
        "mp4a" if matches!(rest, "69" | "6B" | "6b" | "40.34") => Codec::Mp3,
        "mp4a" => Codec::Aac,
        "mp3" => Codec::Mp3,
        "opus" => Codec::Opus,
        "flac" => Codec::Flac,
        "ac-3" => Codec::Ac3,
        "ec-3" => Codec::Eac3,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(name: &str, role: Option<&str>, codec: Option<&str>) -> catalog::Track {
        catalog::Track {
            name: name.to_owned(),
            packaging: catalog::PACKAGING_LOC.to_owned(),
            role: role.map(str::to_owned),
            codec: codec.map(str::to_owned),
            ..catalog::Track::default()
        }
    }

    fn chosen(tracks: Vec<catalog::Track>) -> Vec<String> {
        let catalog = Catalog {
            tracks,
            ..Catalog::default()
        };
        let namespace = TrackNamespace::new(["live"]).unwrap();
        let choices = choose(&catalog, &namespace);
        let names = choices.iter().map(|choice| choice.name.to_string());
        names.collect()
    }

    #[test]
    fn the_first_track_of_each_kind_is_taken_video_before_audio() {
        let named = |name: &str, namespace: &str| {
            let namespace = TrackNamespace::new(
                namespace
                    .split('/')
                    .map(|field| Bytes::from(field.to_owned())),
            );
            FullTrackName::new(namespace.unwrap(), TrackName::new(name.to_owned()).unwrap())
                .unwrap()
                .to_string()
        };
        let elsewhere = catalog::Track {
            namespace: Some("other/place".to_owned()),
            ..track("v", None, Some("hvc1.1.6.L60.90"))
        };
        let tracks = vec![
            track("events", Some("log"), None),
            track("a", Some("audio"), Some("mp4a.40.2")),
            track("b", Some("audio"), Some("opus")),
            elsewhere,
        ];
        let expected = [named("v", "other/place"), named("a", "live")];
        assert_eq!(chosen(tracks), expected);
    }

    #[test]
    fn what_cannot_be_put_into_flv_is_passed_over() {
        let cmaf = catalog::Track {
            packaging: "cmaf".to_owned(),
            ..track("v", Some("video"), Some("avc1.42C00D"))
        };
        let unknown = track("x", Some("audio"), Some("mhm1.0x0D"));
        let contradictory = track("y", Some("video"), Some("opus"));
        assert_eq!(chosen(vec![cmaf, unknown, contradictory]), [""; 0]);
    }

    #[test]
    fn every_codec_has_its_names() {
        for (name, expected) in [
            ("avc1.64001F", Codec::H264),
            ("hev1.1.6.L93.B0", Codec::H265),
            ("av01.0.04M.08", Codec::Av1),
            ("vp8", Codec::Vp8),
            ("vp09.00.10.08", Codec::Vp9),
            ("mp4a.40.2", Codec::Aac),
            ("mp4a.6B", Codec::Mp3),
            ("Opus", Codec::Opus),
            ("flac", Codec::Flac),
            ("ac-3", Codec::Ac3),
            ("ec-3", Codec::Eac3),
        ] {
            assert_eq!(codec(name), Some(expected), "{name}");
        }
        assert_eq!(codec("theora"), None);
    }
}
