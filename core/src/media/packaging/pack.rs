//! Frames to objects.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Codec, Configuration, Kind, Packager};
use crate::draft::IntegerKind;
use crate::media::aac::AudioSpecificConfig;
use crate::media::opus::{self, OpusHead};
use crate::media::{Frame, loc, moqmi};
use crate::wire::property::{Properties, Value};
use crate::wire::{NotExpressible, varint};

/// Why frames of a codec, or with a configuration, cannot be packaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// What was asked for.
    pub packager: Packager,
    /// What it was asked to carry.
    pub codec: Codec,
    /// What stands against it.
    pub why: &'static str,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            packager,
            codec,
            why,
        } = self;
        write!(f, "{codec:?} cannot be packaged as {packager}: {why}")
    }
}

impl std::error::Error for Unsupported {}

/// An object without its place in the track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Its properties, ascending.
    pub properties: Vec<(u64, Value)>,
    /// Its payload: that of the frame.
    pub payload: Bytes,
}

impl Packed {
    /// The properties as a session with such integers has them.
    ///
    /// # Errors
    /// If a decoder configuration is longer than 65535 bytes.
    pub fn properties(&self, integers: IntegerKind) -> Result<Properties, NotExpressible> {
        Properties::from_list(integers, self.properties.iter().cloned())
    }
}

/// Turns the frames of one track into objects.
///
/// # Times
///
/// No packaging can say a time below 0, so that such a time is written as 0. In MoqMi a frame is never shown before it is
/// decoded (moxygen's receiver aborts on such a frame): where FLV has a negative composition time, the DTS of that frame and of
/// all that follow are earlier by as much. They still do not descend, unless the frame is shown before the DTS that was
/// already sent. The PTS never changes. MoqMi always has a duration: that of the frame; or what the codec tells (AAC, Opus);
/// or the time since the frame before; or that of the frame before; or a thirtieth of a second.
#[derive(Clone, Debug)]
pub struct Packer {
    packager: Packager,
    lists: IntegerKind,
    sequence: u64,
    track: Option<Track>,
    times: Times,
}

impl Packer {
    /// For a track of this codec.
    ///
    /// # Errors
    /// If the packager cannot carry it: MoqMi has H.264, AAC-LC and Opus only.
    pub fn new(packager: Packager, codec: Codec) -> Result<Self, Unsupported> {
        resolve(packager, codec)?;
        Ok(Self {
            packager,
            lists: IntegerKind::Quic,
            sequence: 0,
            track: None,
            times: Times::default(),
        })
    }

    /// The same with the lists of MoqMi in these integers, rather than QUIC's: see [`moqmi`].
    #[must_use]
    pub fn with_lists(self, lists: IntegerKind) -> Self {
        Self { lists, ..self }
    }

    /// Turns the next frame, in the order of decoding, into an object. `configuration` is that of the frame, and may change
    /// from frame to frame, even in its codec. `first_of_group`: the object is the first of its group.
    ///
    /// # Errors
    /// If the packager cannot carry frames of that configuration, which is then refused for every frame: another codec than it
    /// has, AAC other than AAC-LC or Opus of more than two channels as MoqMi, lengths of NAL units other than 4 bytes, a configuration that cannot be read. Or if
    /// the frame's timescale is 0.
    pub fn pack(
        &mut self,
        frame: &Frame,
        configuration: &Configuration,
        first_of_group: bool,
    ) -> Result<Packed, Unsupported> {
        let track = match self.track.take() {
            Some(track) if track.configuration == *configuration => track,
            Some(_) | None => Track::new(self.packager, configuration)?,
        };
        let packed = self.pack_in(&track, frame, first_of_group);
        self.track = Some(track);
        let packed = packed.map_err(|NotExpressible(why)| Unsupported {
            packager: self.packager,
            codec: configuration.codec,
            why,
        })?;
        self.sequence += 1;
        Ok(packed)
    }

    fn pack_in(
        &mut self,
        track: &Track,
        frame: &Frame,
        first_of_group: bool,
    ) -> Result<Packed, NotExpressible> {
        if frame.timescale == 0 {
            return Err(NotExpressible("a timescale of 0"));
        }
        let sent = self.times.fit(frame, track.duration(frame));
        let configured = frame.is_key || first_of_group;
        let mut properties = Vec::new();
        if track.packaging != Packager::MoqMi {
            properties = track.loc(frame, sent.pts, configured).properties();
        }
        if track.packaging != Packager::Loc {
            let wallclock = frame.wall.unwrap_or(0).min(varint::MAX_QUIC);
            let times = MoqMiTimes {
                sequence: self.sequence,
                timebase: u64::from(frame.timescale),
                wallclock,
                sent,
            };
            let header = track.moqmi(times, configured);
            properties.extend(header.properties(self.lists)?);
        }
        properties.sort_by_key(|(number, _)| *number);
        // Dual objects have the configuration of video twice, with the same value.
        properties.dedup_by_key(|(number, _)| *number);
        Ok(Packed {
            properties,
            payload: frame.payload.clone(),
        })
    }
}

/// What the packager comes down to for a codec.
fn resolve(packager: Packager, codec: Codec) -> Result<Packager, Unsupported> {
    packager.for_codec(codec).ok_or(Unsupported {
        packager,
        codec,
        why: "it has H.264, AAC-LC and Opus only",
    })
}

/// What all frames of a configuration have in common.
#[derive(Clone, Debug)]
struct Track {
    configuration: Configuration,
    packaging: Packager,
    codec_string: String,
    sound: Option<Sound>,
    /// The record, with zeros to fill up in dual objects.
    audio_config: Bytes,
}

/// What MoqMi tells of sound.
#[derive(Clone, Copy, Debug)]
struct Sound {
    codec: moqmi::AudioCodec,
    sample_rate: u32,
    channels: u16,
    /// Of a frame; not told for Opus, where it is in the packet.
    samples: u16,
}

impl Track {
    fn new(packager: Packager, configuration: &Configuration) -> Result<Self, Unsupported> {
        let codec = configuration.codec;
        let unsupported = |why| Unsupported {
            packager,
            codec,
            why,
        };
        let record = &configuration.record;
        let mut packaging = resolve(packager, codec)?;
        if let Some(why) = lengths_are_wrong(configuration) {
            return Err(unsupported(why));
        }
        let mut sound = None;
        if codec == Codec::Aac && packaging != Packager::Loc {
            match aac(record) {
                Ok(aac) => sound = Some(aac),
                Err(_) if packager == Packager::Dual => packaging = Packager::Loc,
                Err(why) => return Err(unsupported(why)),
            }
        }
        if codec == Codec::Opus && packaging != Packager::Loc {
            let head = OpusHead::parse(record).map_err(|malformed| unsupported(malformed.0))?;
            match opus(&head) {
                Ok(opus) => sound = Some(opus),
                Err(_) if packager == Packager::Dual => packaging = Packager::Loc,
                Err(why) => return Err(unsupported(why)),
            }
        }
        let audio_config = match packaging {
            Packager::Dual => padded(record),
            Packager::MoqMi | Packager::Loc => record.clone(),
        };
        Ok(Self {
            configuration: configuration.clone(),
            packaging,
            codec_string: configuration.codec_string(),
            sound,
            audio_config,
        })
    }

    /// How long the frame lasts by what the codec tells, in ticks of its timescale.
    fn duration(&self, frame: &Frame) -> Option<u64> {
        let sound = self.sound?;
        let (samples, rate) = match sound.codec {
            moqmi::AudioCodec::Aac => (u32::from(sound.samples), sound.sample_rate),
            moqmi::AudioCodec::Opus => (opus::packet_duration(&frame.payload)?, opus::SAMPLE_RATE),
        };
        let doubled = u64::from(samples) * u64::from(frame.timescale) * 2;
        let rounded = doubled.checked_div(u64::from(rate))?.div_ceil(2);
        Some(rounded.max(1))
    }

    fn loc(&self, frame: &Frame, pts: u64, configured: bool) -> loc::Header {
        let present = |record: &Bytes| (!record.is_empty()).then(|| record.clone());
        let mut header = loc::Header {
            timestamp: pts,
            timescale: Some(frame.timescale),
            codec_string: Some(self.codec_string.clone()),
            ..loc::Header::default()
        };
        match self.configuration.codec.kind() {
            Kind::Video => {
                header.marking = Some(if frame.is_key {
                    loc::FrameMarking::KEY
                } else {
                    loc::FrameMarking::DELTA
                });
                if configured {
                    header.video_config = present(&self.configuration.record);
                }
            }
            Kind::Audio => header.audio_config = present(&self.audio_config),
        }
        header
    }

    fn moqmi(&self, times: MoqMiTimes, configured: bool) -> moqmi::Header {
        let MoqMiTimes {
            sequence,
            timebase,
            wallclock,
            sent,
        } = times;
        match self.sound {
            None => moqmi::Header::Video(moqmi::Video {
                sequence,
                pts: sent.pts,
                dts: sent.dts,
                timebase,
                duration: sent.duration,
                wallclock,
                extradata: configured.then(|| self.configuration.record.clone()),
            }),
            Some(sound) => moqmi::Header::Audio(moqmi::Audio {
                codec: sound.codec,
                sequence,
                pts: sent.pts,
                timebase,
                sample_rate: u64::from(sound.sample_rate),
                channels: u64::from(sound.channels),
                duration: sent.duration,
                wallclock,
            }),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct MoqMiTimes {
    sequence: u64,
    timebase: u64,
    wallclock: u64,
    sent: Sent,
}

/// Whether frames have other lengths in front of their NAL units than those of 4 bytes that all frames have here.
fn lengths_are_wrong(configuration: &Configuration) -> Option<&'static str> {
    let record = &configuration.record[..];
    let lengths = match configuration.codec {
        Codec::H264 => record.get(4),
        Codec::H265 => record.get(21),
        Codec::Av1
        | Codec::Vp8
        | Codec::Vp9
        | Codec::Aac
        | Codec::Opus
        | Codec::Flac
        | Codec::Mp3
        | Codec::Ac3
        | Codec::Eac3 => return None,
    };
    match lengths {
        Some(byte) if byte & 3 == 3 => None,
        Some(_) => Some("lengths of NAL units are not of 4 bytes"),
        None => Some("a configuration that is cut off"),
    }
}

/// What MoqMi tells of an AAC-LC track. Extensions (SBR, PS) are lost: decoders find them in the frames, or not at all.
fn aac(record: &[u8]) -> Result<Sound, &'static str> {
    let config = AudioSpecificConfig::parse(record).map_err(|malformed| malformed.0)?;
    if config.object_type != 2 {
        return Err("it is not AAC-LC");
    }
    // The receiver makes a configuration of these two numbers.
    if let Err(malformed) =
        AudioSpecificConfig::aac_lc(config.sample_rate, config.channels).encode()
    {
        return Err(malformed.0);
    }
    Ok(Sound {
        codec: moqmi::AudioCodec::Aac,
        sample_rate: config.sample_rate,
        channels: config.channels,
        samples: config.samples_per_frame,
    })
}

/// What MoqMi tells of an Opus track. It has no place for the order of more channels than two.
const fn opus(head: &OpusHead) -> Result<Sound, &'static str> {
    if head.channels > 2 {
        return Err("it has more than two channels");
    }
    Ok(Sound {
        codec: moqmi::AudioCodec::Opus,
        sample_rate: head.input_sample_rate,
        channels: if head.channels == 1 { 1 } else { 2 },
        samples: 0,
    })
}

/// The record with zeros behind it until seven integers of QUIC can be read from it.
fn padded(record: &Bytes) -> Bytes {
    const INTEGERS: usize = 7;
    let mut padded = BytesMut::from(&record[..]);
    let mut at = 0;
    for _ in 0..INTEGERS {
        let first = padded.get(at).copied().unwrap_or(0);
        at += 1 << (first >> 6);
        padded.put_bytes(0, at.saturating_sub(padded.len()));
    }
    padded.freeze()
}

/// Times as they are sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    dts: u64,
    pts: u64,
    duration: u64,
}

/// Makes times fit: see [`Packer`].
#[derive(Clone, Debug, Default)]
struct Times {
    /// How much earlier frames are decoded than they say.
    shift: i64,
    /// DTS of the frame before: as it was, and as it was sent.
    last: Option<(i64, i64)>,
    duration: u64,
    timescale: u32,
}

impl Times {
    /// `usual`: the duration that the codec tells.
    fn fit(&mut self, frame: &Frame, usual: Option<u64>) -> Sent {
        const MAX: i64 = varint::MAX_QUIC.cast_signed();
        if self.timescale != frame.timescale {
            *self = Self {
                timescale: frame.timescale,
                ..Self::default()
            };
        }
        let before = self.last.filter(|(dts, _)| *dts <= frame.dts);
        let pts = frame.pts.clamp(0, MAX);
        self.shift = self.shift.max(frame.dts.saturating_sub(pts));
        let earlier = frame.dts.saturating_sub(self.shift);
        let floor = before.map_or(0, |(_, sent)| sent);
        let dts = earlier.max(floor).clamp(0, pts);
        let elapsed = before
            .and_then(|(dts, _)| u64::try_from(frame.dts.saturating_sub(dts)).ok())
            .filter(|ticks| (1..=u64::from(frame.timescale)).contains(ticks));
        let fallback = match self.duration {
            0 => u64::from(frame.timescale / 30).max(1),
            known => known,
        };
        self.duration = match frame.duration {
            0 => usual.or(elapsed).unwrap_or(fallback),
            told => told.min(varint::MAX_QUIC),
        };
        self.last = Some((frame.dts, dts));
        Sent {
            dts: u64::try_from(dts).unwrap_or(0),
            pts: u64::try_from(pts).unwrap_or(0),
            duration: self.duration,
        }
    }
}
