//! Reads FLV as it arrives.

use std::collections::{BTreeSet, VecDeque};

use bytes::{BufMut as _, Bytes, BytesMut};

use super::body::{self, Packet};
use super::clock::Clock;
use super::metadata::whole;
use super::tags::{Piece, Tag, Tags};
use super::{Fault, Item, Limits, Metadata, Warning, tag_type};
use crate::media::aac::AudioSpecificConfig;
use crate::media::nal::{self, LengthSize};
use crate::media::opus::{self, OpusHead};
use crate::media::{Codec, Configuration, Frame, Kind, Malformed, avc, hevc};

/// Ticks per second of what is read.
const TIMESCALE: u32 = 1000;

/// Reads FLV as it arrives: bytes in with [`push`](Self::push), items out with [`poll`](Self::poll), and
/// [`finish`](Self::finish) once there are no more. What comes out does not depend on how the bytes were cut.
///
/// The [module](super) tells what a damaged file gives, and how times are read. Whoever polls until nothing comes, before
/// the next bytes are pushed, has it keep no more than those bytes and one tag that is not whole
/// ([`Limits::max_tag`] and a few bytes).
///
/// ```
/// use oxymoq_core::media::flv::{Demuxer, Item, Metadata, Muxer};
///
/// let mut demuxer = Demuxer::new();
/// demuxer.push(&Muxer::new(Metadata::default()).start());
/// demuxer.finish();
/// while let Some(item) = demuxer.poll() {
///     match item {
///         Item::Metadata(metadata) => assert_eq!(metadata, Metadata::default()),
///         other => panic!("a file that just begins holds no {other:?}"),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Demuxer {
    limits: Limits,
    tags: Tags,
    clock: Clock,
    video: Stream,
    audio: Stream,
    /// From the metadata: how long a frame lasts.
    frame_duration: u64,
    items: VecDeque<Item>,
    said: BTreeSet<Fault>,
}

/// What is known of a kind.
#[derive(Debug, Default)]
struct Stream {
    configuration: Option<Configuration>,
    /// How frames have their NAL units.
    length_size: LengthSize,
    /// How long a frame lasts if the codec tells, or how long the first one may last.
    duration: u64,
}

impl Default for Demuxer {
    fn default() -> Self {
        Self::new()
    }
}

impl Demuxer {
    /// With the default [`Limits`].
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// With other bounds.
    pub fn with_limits(limits: Limits) -> Self {
        Self {
            limits,
            tags: Tags::new(&limits),
            clock: Clock::new(&limits),
            video: Stream::default(),
            audio: Stream::default(),
            frame_duration: 0,
            items: VecDeque::new(),
            said: BTreeSet::new(),
        }
    }

    /// The next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.tags.push(bytes);
    }

    /// There are no more bytes; what is still whole can be polled.
    pub const fn finish(&mut self) {
        self.tags.finish();
    }

    /// How many bytes were pushed and not yet read.
    pub const fn buffered(&self) -> usize {
        self.tags.buffered()
    }

    /// The next item; `None` until more bytes are pushed.
    pub fn poll(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Some(item);
            }
            match self.tags.poll()? {
                Piece::Tag(tag) => self.read(tag),
                Piece::Warning(warning) => {
                    if warning.what == Fault::Restarted {
                        self.clock.restart();
                    }
                    self.warn(warning.offset, warning.what);
                }
            }
        }
    }

    fn warn(&mut self, offset: u64, what: Fault) {
        if what.once().is_none_or(|fault| self.said.insert(fault)) {
            self.items
                .push_back(Item::Warning(Warning { offset, what }));
        }
    }

    fn read(&mut self, tag: Tag) {
        let offset = tag.offset;
        if !tag.size_is_right {
            self.warn(offset, Fault::PreviousTagSize);
        }
        let read = match tag.kind {
            _ if tag.encrypted => Err(Fault::Encrypted),
            tag_type::AUDIO => body::audio(tag.body)
                .and_then(|packet| self.packet(offset, Kind::Audio, tag.timestamp, packet)),
            tag_type::VIDEO => body::video(tag.body)
                .and_then(|packet| self.packet(offset, Kind::Video, tag.timestamp, packet)),
            tag_type::SCRIPT => self.script(tag.body),
            other => Err(Fault::UnknownTag(other)),
        };
        if let Err(fault) = read {
            self.warn(offset, fault);
        }
    }

    fn script(&mut self, body: Bytes) -> Result<(), Fault> {
        if body.is_empty() {
            return Ok(());
        }
        let (metadata, fault) = Metadata::read(body, &self.limits);
        if let Some(metadata) = metadata {
            self.frame_duration = metadata.frame_rate.map_or(0, duration_at);
            self.items.push_back(Item::Metadata(metadata));
        }
        fault.map_or(Ok(()), Err)
    }

    fn packet(
        &mut self,
        offset: u64,
        kind: Kind,
        timestamp: u32,
        packet: Packet,
    ) -> Result<(), Fault> {
        match packet {
            Packet::Nothing => Ok(()),
            Packet::End => {
                self.items.push_back(Item::EndOfSequence(kind));
                Ok(())
            }
            Packet::Configuration(codec, record) => self.configure(codec, record),
            Packet::Coded { payload, .. } if payload.is_empty() => Ok(()),
            Packet::Coded {
                codec,
                is_key,
                composition,
                payload,
            } => {
                self.expect(codec)?;
                let payload = self.with_wide_lengths(offset, codec, payload)?;
                let is_key = match codec {
                    Codec::H264 => avc::is_idr(&payload),
                    Codec::H265 => hevc::is_random_access(&payload),
                    Codec::Av1 | Codec::Vp8 | Codec::Vp9 => is_key,
                    Codec::Aac
                    | Codec::Opus
                    | Codec::Flac
                    | Codec::Mp3
                    | Codec::Ac3
                    | Codec::Eac3 => true,
                };
                let reading = self.clock.read(kind, timestamp);
                if let Some(by) = reading.set_by {
                    self.warn(offset, Fault::ClockReset(by));
                }
                let duration = self.duration(codec, &payload, reading.duration);
                self.items.push_back(Item::Frame(Frame {
                    kind,
                    is_key,
                    dts: reading.dts,
                    pts: reading.base + i64::from(composition),
                    duration,
                    timescale: TIMESCALE,
                    wall: None,
                    payload,
                }));
                Ok(())
            }
        }
    }

    const fn stream(&mut self, kind: Kind) -> &mut Stream {
        match kind {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
        }
    }

    /// Takes a record as the file has it.
    fn configure(&mut self, codec: Codec, record: Bytes) -> Result<(), Fault> {
        let (record, length_size) = normal(codec, record)?;
        let duration = duration_of(codec, &record);
        let stream = self.stream(codec.kind());
        // a record for shorter lengths may describe the same otherwise
        stream.length_size = length_size;
        let configuration = Configuration { codec, record };
        if stream.configuration.as_ref() != Some(&configuration) {
            stream.configuration = Some(configuration.clone());
            stream.duration = duration;
            self.items.push_back(Item::Configuration(configuration));
        }
        Ok(())
    }

    /// Makes sure that a frame of this codec has its configuration.
    fn expect(&mut self, codec: Codec) -> Result<(), Fault> {
        let stream = self.stream(codec.kind());
        let configured = stream.configuration.as_ref();
        if configured.is_some_and(|configuration| configuration.codec == codec) {
            return Ok(());
        }
        if body::codec_is_self_contained(codec) {
            return self.configure(codec, Bytes::new());
        }
        Err(Fault::NoConfiguration(codec.kind()))
    }

    /// The frame with lengths of 4 bytes. What is wrong within it is told, and left to decoders.
    fn with_wide_lengths(
        &mut self,
        offset: u64,
        codec: Codec,
        payload: Bytes,
    ) -> Result<Bytes, Fault> {
        if !matches!(codec, Codec::H264 | Codec::H265) {
            return Ok(payload);
        }
        match self.video.length_size {
            LengthSize::Four => {
                let wrong = nal::units(&payload, LengthSize::Four).find_map(Result::err);
                if let Some(wrong) = wrong {
                    self.warn(offset, wrong.into());
                }
                Ok(payload)
            }
            short @ (LengthSize::One | LengthSize::Two | LengthSize::Three) => {
                Ok(nal::widen(&payload, short)?)
            }
        }
    }

    /// How long a frame lasts: as its codec tells, or as long as the one before it, or as metadata and configuration tell.
    fn duration(&self, codec: Codec, payload: &[u8], before: u64) -> u64 {
        match codec {
            Codec::Aac => self.audio.duration,
            Codec::Opus => opus::packet_duration(payload).map_or(before, |samples| {
                let per_tick = opus::SAMPLE_RATE / TIMESCALE;
                u64::from((samples + per_tick / 2) / per_tick)
            }),
            Codec::Flac | Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => before,
            _ if before > 0 => before,
            Codec::H264 | Codec::H265 | Codec::Av1 | Codec::Vp8 | Codec::Vp9 => {
                match self.frame_duration {
                    0 => self.video.duration,
                    told => told,
                }
            }
        }
    }
}

/// The record as [`Configuration`] has it, and how the frames have their NAL units.
fn normal(codec: Codec, record: Bytes) -> Result<(Bytes, LengthSize), Malformed> {
    let mut length_size = LengthSize::Four;
    let record = match codec {
        Codec::H264 => {
            length_size = avc::DecoderConfiguration::parse(&record)?.length_size;
            avc::widen_record(&record)
        }
        Codec::H265 => {
            const SHORTEST: usize = 23;
            if record.len() < SHORTEST {
                return Err(Malformed(
                    "an HEVCDecoderConfigurationRecord that ends too early",
                ));
            }
            length_size = hevc::length_size(&record);
            hevc::widen_record(&record)
        }
        Codec::Av1 => {
            const MARKER_AND_VERSION: u8 = 0x81;
            if record.len() < 4 || record.first() != Some(&MARKER_AND_VERSION) {
                return Err(Malformed("no AV1CodecConfigurationRecord"));
            }
            record
        }
        Codec::Aac => {
            AudioSpecificConfig::parse(&record)?;
            record
        }
        Codec::Opus => {
            OpusHead::parse(&record)?;
            record
        }
        Codec::Flac => flac(record)?,
        Codec::Vp8 | Codec::Vp9 | Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => record,
    };
    Ok((record, length_size))
}

/// With the marker and the header of the block in front, which some writers leave out.
fn flac(record: Bytes) -> Result<Bytes, Malformed> {
    const STREAM_INFO: usize = 34;
    /// The marker, and the header of a last block of this size (RFC 9639 § 8.1).
    const FRONT: &[u8] = b"fLaC\x80\x00\x00\x22";
    if record.starts_with(b"fLaC") && record.len() >= FRONT.len() + STREAM_INFO {
        return Ok(record);
    }
    if record.len() != STREAM_INFO {
        return Err(Malformed("no STREAMINFO block of FLAC"));
    }
    let mut whole = BytesMut::with_capacity(FRONT.len() + STREAM_INFO);
    whole.put_slice(FRONT);
    whole.put_slice(&record);
    Ok(whole.freeze())
}

/// How long a frame lasts as a record tells, in milliseconds; 0 if it does not.
fn duration_of(codec: Codec, record: &Bytes) -> u64 {
    let (numerator, denominator) = match codec {
        Codec::Aac => match AudioSpecificConfig::parse(record) {
            Ok(config) => (config.samples_per_frame.into(), config.sample_rate.into()),
            Err(_) => return 0,
        },
        Codec::H264 => {
            let record = avc::DecoderConfiguration::parse(record).ok();
            match record.and_then(|record| record.sequence()?.frame_rate) {
                Some((frames, seconds)) => (seconds, frames),
                None => return 0,
            }
        }
        Codec::H265 | Codec::Av1 | Codec::Vp8 | Codec::Vp9 | Codec::Opus => return 0,
        Codec::Flac | Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => return 0,
    };
    let ticks = numerator * u64::from(TIMESCALE);
    (ticks + denominator / 2)
        .checked_div(denominator)
        .unwrap_or(0)
}

/// How long a frame lasts at so many per second, in milliseconds; 0 if that makes no sense.
fn duration_at(frame_rate: f64) -> u64 {
    const LONGEST: u32 = 10_000;
    let duration = whole((f64::from(TIMESCALE) / frame_rate).round());
    duration
        .filter(|duration| *duration <= LONGEST)
        .map_or(0, u64::from)
}
