//! Frames from MoqMi objects, and from dual ones.

use bytes::Bytes;

use super::{
    Codec, Configuration, Fields, Frame, Kind, LengthSize, Malformed, PICTURE_AMONG_SOUND,
    Packager, SOUND_AMONG_PICTURES, Unpacked, Unpacker, avc, loc, moqmi, time,
};
use crate::media::aac::AudioSpecificConfig;
use crate::media::opus::OpusHead;

impl Unpacker {
    pub(super) fn moqmi(
        &mut self,
        header: moqmi::Header,
        fields: &Fields,
        payload: Bytes,
    ) -> Result<Unpacked, Malformed> {
        let packaging = if fields.has(loc::TIMESTAMP) {
            Packager::Dual
        } else {
            Packager::MoqMi
        };
        match (self.kind, header) {
            (Kind::Video, moqmi::Header::Video(video)) => {
                self.moqmi_video(video, packaging, payload)
            }
            (Kind::Audio, moqmi::Header::Audio(audio)) => {
                self.moqmi_audio(&audio, packaging, fields.bytes(loc::AUDIO_CONFIG), payload)
            }
            (Kind::Video | Kind::Audio, moqmi::Header::Text(_)) => {
                Err(Malformed::Object("text on a track of video or audio"))
            }
            (Kind::Video, moqmi::Header::Audio(_)) => Err(SOUND_AMONG_PICTURES),
            (Kind::Audio, moqmi::Header::Video(_)) => Err(PICTURE_AMONG_SOUND),
        }
    }

    fn moqmi_video(
        &mut self,
        video: moqmi::Video,
        packaging: Packager,
        payload: Bytes,
    ) -> Result<Unpacked, Malformed> {
        const LIST: u64 = moqmi::VIDEO_METADATA;
        let pts = time(LIST, video.pts)?;
        let dts = time(LIST, video.dts)?.min(pts);
        let timescale = timebase(LIST, video.timebase)?;
        let configuration = video.extradata.map(|record| Configuration {
            codec: Codec::H264,
            record,
        });
        if let Some(configuration) = &configuration {
            let read = avc::DecoderConfiguration::parse(&configuration.record);
            read.map_err(|malformed| Malformed::Property(moqmi::VIDEO_EXTRADATA, malformed.0))?;
        }
        let configuration = configuration.and_then(|new| self.configure(new, LengthSize::Four));
        self.times.follow(dts, pts, timescale);
        let frame = Frame {
            kind: Kind::Video,
            is_key: avc::is_idr(&payload),
            dts,
            pts,
            duration: video.duration,
            timescale,
            wall: wall(video.wallclock),
            payload,
        };
        Ok(Unpacked {
            configuration,
            frame,
            sequence: Some(video.sequence),
            packaging,
        })
    }

    /// `record`: LOC's, in a dual object.
    fn moqmi_audio(
        &mut self,
        audio: &moqmi::Audio,
        packaging: Packager,
        record: Option<&Bytes>,
        payload: Bytes,
    ) -> Result<Unpacked, Malformed> {
        let (list, configuration) = match audio.codec {
            moqmi::AudioCodec::Aac => {
                let record = record.filter(|_| packaging == Packager::Dual);
                let record = record.map(without_padding);
                (moqmi::AAC_METADATA, self.aac(audio, record)?)
            }
            moqmi::AudioCodec::Opus => (moqmi::OPUS_METADATA, self.opus(audio)?),
        };
        let pts = time(list, audio.pts)?;
        let timescale = timebase(list, audio.timebase)?;
        let frame = Frame {
            kind: Kind::Audio,
            is_key: true,
            dts: pts,
            pts,
            duration: audio.duration,
            timescale,
            wall: wall(audio.wallclock),
            payload,
        };
        Ok(Unpacked {
            configuration: configuration.and_then(|new| self.configure(new, LengthSize::Four)),
            frame,
            sequence: Some(audio.sequence),
            packaging,
        })
    }

    /// The configuration of an AAC frame: the record that came along; or the one that is known, if it says the same as MoqMi;
    /// or a new one with what MoqMi tells.
    fn aac(
        &self,
        audio: &moqmi::Audio,
        record: Option<Bytes>,
    ) -> Result<Option<Configuration>, Malformed> {
        let told = |record: &Bytes| {
            let config = AudioSpecificConfig::parse(record).ok()?;
            let rate = u64::from(config.sample_rate) == audio.sample_rate;
            Some(rate && u64::from(config.channels) == audio.channels)
        };
        let record = record.filter(|record| told(record).is_some());
        let known = self.known(Codec::Aac);
        if record.is_none() && known.and_then(told) == Some(true) {
            return Ok(None);
        }
        let record = match record {
            Some(record) => record,
            None => {
                let rate = u32::try_from(audio.sample_rate).unwrap_or(u32::MAX);
                let channels = u16::try_from(audio.channels).unwrap_or(u16::MAX);
                AudioSpecificConfig::aac_lc(rate, channels)
                    .encode()
                    .map_err(|malformed| Malformed::Property(moqmi::AAC_METADATA, malformed.0))?
            }
        };
        Ok(Some(Configuration {
            codec: Codec::Aac,
            record,
        }))
    }

    /// The configuration of an Opus packet: the one that is known, if it has as many channels as MoqMi says; or a new one.
    fn opus(&self, audio: &moqmi::Audio) -> Result<Option<Configuration>, Malformed> {
        let known = self
            .known(Codec::Opus)
            .and_then(|record| OpusHead::parse(record).ok());
        if known.is_some_and(|head| u64::from(head.channels) == audio.channels) {
            return Ok(None);
        }
        let channels = u8::try_from(audio.channels)
            .ok()
            .filter(|channels| matches!(channels, 1 | 2))
            .ok_or(Malformed::Property(
                moqmi::OPUS_METADATA,
                "neither 1 nor 2 channels, and MoqMi cannot tell which is which",
            ))?;
        let head = OpusHead {
            input_sample_rate: u32::try_from(audio.sample_rate).unwrap_or(0),
            ..OpusHead::new(channels)
        };
        Ok(Some(Configuration {
            codec: Codec::Opus,
            record: head.encode(),
        }))
    }
}

/// Units per second as frames have them.
fn timebase(property: u64, units: u64) -> Result<u32, Malformed> {
    u32::try_from(units).map_err(|_| Malformed::Property(property, "a timebase above 2^32 - 1"))
}

/// The wall clock, which is 0 if it is not set.
fn wall(clock: u64) -> Option<u64> {
    (clock != 0).then_some(clock)
}

/// The record without the zeros that fill up dual objects. A record has at least two bytes; one that tells that there is no
/// SBR, in a flag behind a number (§ 1.6.6.1 of ISO/IEC 14496-3), ends with the byte that the flag is in.
fn without_padding(record: &Bytes) -> Bytes {
    const FLAG_FOLLOWS: &[u8] = &[0x56, 0xE5];
    let last = record.iter().rposition(|byte| *byte != 0);
    let mut length = last.map_or(0, |last| last + 1).max(2);
    if record
        .get(..length)
        .is_some_and(|head| head.ends_with(FLAG_FOLLOWS))
    {
        length += 1;
    }
    record.slice(..length.min(record.len()))
}
