//! Frames from LOC objects.

use bytes::Bytes;

use super::{
    Codec, Configuration, Frame, Kind, LengthSize, Malformed, PICTURE_AMONG_SOUND, Packager,
    SOUND_AMONG_PICTURES, Unpacked, Unpacker, avc, hevc, loc, time,
};
use crate::media::{loc::annexb, loc::codec, nal};

/// What a LOC object tells of its codec.
#[derive(Debug, Default)]
struct Found {
    codec: Option<Codec>,
    /// The record, where it tells one or the track did.
    record: Option<Bytes>,
    /// What precedes each NAL unit, where the record tells.
    length_size: Option<LengthSize>,
}

impl Unpacker {
    pub(super) fn loc(
        &mut self,
        header: &loc::Header,
        payload: Bytes,
    ) -> Result<Unpacked, Malformed> {
        let mut found = self.found(header, &payload)?;
        let pts = time(loc::TIMESTAMP, header.timestamp)?;
        let (timescale, wall) = match header.timescale.or(self.timescale) {
            Some(timescale) => (timescale, None),
            None => (loc::WALL_CLOCK_TIMESCALE, Some(header.timestamp / 1000)),
        };
        let length_size = found.length_size.unwrap_or(self.length_size);
        let is_configured =
            found.record.is_some() || self.configuration.is_some() && !self.is_in_band;
        let payload = match found.codec {
            Some(Codec::H264 | Codec::H265) => {
                with_long_lengths(length_size, is_configured, payload)?
            }
            _ => payload,
        };
        let is_key = self.is_key(found.codec, header, &payload);
        let is_in_band = !is_configured && take_from_frame(&mut found, &payload);
        // From here on nothing fails.
        let configuration = self.take(found, length_size, is_in_band);
        let (dts, pts) = match self.kind {
            Kind::Video => self.times.next(pts, is_key, timescale),
            Kind::Audio => (pts, pts),
        };
        let frame = Frame {
            kind: self.kind,
            is_key,
            dts,
            pts,
            duration: 0,
            timescale,
            wall,
            payload,
        };
        Ok(Unpacked {
            configuration,
            frame,
            sequence: None,
            packaging: Packager::Loc,
        })
    }

    /// What the object tells, with what was known before.
    fn found(&self, header: &loc::Header, payload: &[u8]) -> Result<Found, Malformed> {
        let (property, config) = match self.kind {
            Kind::Video => (loc::VIDEO_CONFIG, header.video_config.as_ref()),
            Kind::Audio => (loc::AUDIO_CONFIG, header.audio_config.as_ref()),
        };
        // nothing tells as much as no configuration
        let config = config.filter(|record| !record.is_empty());
        let name = header.codec_string.as_deref();
        let Some(codec) = self.codec_of(name, config)? else {
            return Ok(Found::default());
        };
        let record = config.cloned().or_else(|| {
            if self.known(codec).is_some() {
                return None;
            }
            // the track's, unless the catalog has it for another codec
            let of_track = self.config.clone();
            let of_track = of_track.filter(|_| self.codec.is_none_or(|of| of == codec));
            of_track.or_else(|| codec::implied_record(codec, name?, payload))
        });
        let Some(record) = record else {
            return Ok(Found {
                codec: Some(codec),
                ..Found::default()
            });
        };
        let malformed = |rule| Malformed::Property(property, rule);
        let (record, length_size) = match codec {
            Codec::H264 => {
                let read = avc::DecoderConfiguration::parse(&record);
                let size = read.map_err(|error| malformed(error.0))?.length_size;
                (avc::widen_record(&record), Some(size))
            }
            Codec::H265 if record.len() < hevc::MIN_RECORD => {
                return Err(malformed("no HEVCDecoderConfigurationRecord"));
            }
            Codec::H265 => (
                hevc::widen_record(&record),
                Some(hevc::length_size(&record)),
            ),
            Codec::Av1 | Codec::Vp8 | Codec::Vp9 => (record, None),
            Codec::Aac | Codec::Opus | Codec::Flac | Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => {
                (record, None)
            }
        };
        Ok(Found {
            codec: Some(codec),
            record: Some(record),
            length_size,
        })
    }

    /// The codec: as named; as the record looks; as it was; as the catalog says.
    fn codec_of(
        &self,
        name: Option<&str>,
        config: Option<&Bytes>,
    ) -> Result<Option<Codec>, Malformed> {
        let unknown = Malformed::Property(loc::CODEC_STRING, "a codec that is not known");
        let named = name
            .map(|name| codec::named(name).ok_or(unknown))
            .transpose()?;
        let known = self.configuration.as_ref().map(|known| known.codec);
        let codec = named
            .or_else(|| codec::of_record(self.kind, config?))
            .or(known)
            .or(self.codec);
        match (self.kind, codec.map(Codec::kind)) {
            (Kind::Video, Some(Kind::Audio)) => Err(SOUND_AMONG_PICTURES),
            (Kind::Audio, Some(Kind::Video)) => Err(PICTURE_AMONG_SOUND),
            (Kind::Video | Kind::Audio, _) => Ok(codec),
        }
    }

    fn is_key(&self, codec: Option<Codec>, header: &loc::Header, payload: &[u8]) -> bool {
        match (codec, header.marking) {
            (Some(Codec::H264), _) => avc::is_idr(payload),
            (Some(Codec::H265), _) => hevc::is_random_access(payload),
            _ if self.kind == Kind::Audio => true,
            (_, Some(marking)) => marking.is_independent(),
            (_, None) => header.video_config.is_some(),
        }
    }

    fn take(
        &mut self,
        found: Found,
        length_size: LengthSize,
        is_in_band: bool,
    ) -> Option<Configuration> {
        match (found.codec, found.record) {
            (Some(codec), Some(record)) => {
                let change = self.configure(Configuration { codec, record }, length_size);
                self.is_in_band = is_in_band;
                change
            }
            (Some(codec), None) if self.known(codec).is_none() => {
                // what is known does not suit these frames
                self.configuration = None;
                None
            }
            (Some(_) | None, _) => None,
        }
    }
}

/// Looks for parameter sets in an H.264 frame, for tracks that no property told any. Whether there were any.
fn take_from_frame(found: &mut Found, payload: &[u8]) -> bool {
    if found.codec == Some(Codec::H264) {
        found.record = annexb::record_in(payload);
    }
    found.record.is_some()
}

/// NAL units with lengths of 4 bytes, whatever they came with.
fn with_long_lengths(
    size: LengthSize,
    is_configured: bool,
    payload: Bytes,
) -> Result<Bytes, Malformed> {
    match size {
        LengthSize::Four if annexb::has_start_codes(&payload, is_configured) => {
            Ok(annexb::to_lengths(&payload))
        }
        LengthSize::Four => Ok(payload),
        LengthSize::One | LengthSize::Two | LengthSize::Three => {
            nal::widen(&payload, size).map_err(|malformed| Malformed::Object(malformed.0))
        }
    }
}
