//! One track of media: objects in any order in, frames that a decoder can take out.

use bytes::Bytes;
use oxymoq_core::media::interleave::{Timing, TrackIndex};
use oxymoq_core::media::jitter::{self, Arrival, Jitter};
use oxymoq_core::media::moqmi;
use oxymoq_core::media::packaging::Unpacker;
use oxymoq_core::media::{Configuration, Frame, Kind};
use oxymoq_core::time::Time;
use oxymoq_core::wire::id::{GroupId, Location, ObjectId};
use oxymoq_core::wire::property::Properties;

use super::arrive::Object;

/// What each object costs besides its payload and properties.
const OVERHEAD: usize = 256;
/// Ticks per second of what is given out.
const MICROSECONDS: u32 = 1_000_000;

/// A frame that a decoder can take, in ticks of a microsecond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) frame: Frame,
    /// What the decoder must know first, if that is not what it was.
    pub(super) configuration: Option<Configuration>,
    /// Whether it came as it was published, rather than by a FETCH.
    pub(super) is_live: bool,
}

/// What became of a track's objects beyond what [`jitter::Counts`] has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Objects that cannot be understood.
    pub(super) malformed: u64,
    /// Frames that cannot be decoded: before the first key frame, or after a gap.
    pub(super) undecodable: u64,
    /// Frames for a decoder.
    pub(super) frames: u64,
}

/// The way of a track's objects to the decoder.
#[derive(Debug)]
pub(super) struct Track {
    kind: Kind,
    index: TrackIndex,
    jitter: Jitter<Waiting>,
    unpacker: Unpacker,
    /// What the decoder was told.
    configuration: Option<Configuration>,
    /// Whether it has to be told again.
    is_new: bool,
    /// Whether only a key frame can follow.
    needs_key: bool,
    counts: Counts,
}

#[derive(Debug)]
struct Waiting {
    properties: Properties,
    payload: Bytes,
    is_live: bool,
}

impl Track {
    pub(super) fn new(
        kind: Kind,
        index: TrackIndex,
        unpacker: Unpacker,
        limits: jitter::Limits,
    ) -> Self {
        Self {
            kind,
            index,
            jitter: Jitter::new(limits),
            unpacker,
            configuration: None,
            is_new: false,
            needs_key: kind == Kind::Video,
            counts: Counts::default(),
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its place among the tracks that are interleaved.
    pub(super) const fn index(&self) -> TrackIndex {
        self.index
    }

    /// What its decoder must know, as far as that has come.
    pub(super) const fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }

    pub(super) const fn counts(&self) -> (Counts, jitter::Counts) {
        (self.counts, self.jitter.counts())
    }

    /// What the publisher says of the track as a whole.
    pub(super) fn take_properties(&mut self, properties: &Properties) {
        if let Err(malformed) = self.unpacker.handle_track_properties(properties) {
            let kind = word(self.kind);
            log::warn!("properties of the {kind} cannot be understood: {malformed}");
        }
    }

    /// Whether a decoder can begin only where a group does.
    pub(super) const fn is_grouped(&self) -> bool {
        matches!(self.kind, Kind::Video)
    }

    /// Objects after this one are to come; by a FETCH those before as well, if `is_joining`.
    pub(super) fn subscribed(&mut self, largest: Option<Location>, is_joining: bool) {
        if is_joining {
            self.jitter.joining(largest);
        } else {
            self.jitter.subscribed(largest);
        }
    }

    /// The FETCH is over.
    pub(super) fn fetched(&mut self, now: Time) {
        self.jitter.fetched(now);
    }

    /// An object arrived. `is_start`: nothing before it will.
    pub(super) fn push(&mut self, now: Time, object: Object, is_live: bool, is_start: bool) {
        let Object {
            location,
            properties,
            payload,
        } = object;
        let arrival = Arrival {
            location,
            sequence: sequence(&properties),
            is_start,
            bytes: payload.len() + properties.bytes().len() + OVERHEAD,
        };
        let waiting = Waiting {
            properties,
            payload,
            is_live,
        };
        if let Err(unwanted) = self.jitter.push(now, arrival, waiting) {
            log::debug!("object {location} of the {}: {unwanted:?}", word(self.kind));
        }
    }

    pub(super) fn end_of_group(&mut self, group: GroupId, end: ObjectId) {
        self.jitter.end_of_group(group, end);
    }

    /// Nothing more will come, for now: what waits may leave.
    pub(super) const fn flush(&mut self) {
        self.jitter.flush();
    }

    /// The next frame that a decoder can take.
    pub(super) fn poll(&mut self, now: Time) -> Option<Ready> {
        loop {
            let released = self.jitter.poll(now)?;
            if released.after_gap && self.kind == Kind::Video {
                self.needs_key = true;
            }
            let Waiting {
                properties,
                payload,
                is_live,
            } = released.item;
            let unpacked = match self.unpacker.unpack(&properties, payload) {
                Ok(unpacked) => unpacked,
                Err(malformed) => {
                    self.malformed(released.location, &malformed);
                    continue;
                }
            };
            if let Some(configuration) = unpacked.configuration
                && self.configuration.as_ref() != Some(&configuration)
            {
                self.configuration = Some(configuration);
                self.is_new = true;
            }
            if self.may_be_decoded(&unpacked.frame) {
                self.counts.frames += 1;
                let is_new = std::mem::take(&mut self.is_new);
                return Some(Ready {
                    frame: in_microseconds(unpacked.frame),
                    configuration: self.configuration.clone().filter(|_| is_new),
                    is_live,
                });
            }
            self.counts.undecodable += 1;
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.jitter.poll_timeout()
    }

    fn may_be_decoded(&mut self, frame: &Frame) -> bool {
        if self.configuration.is_none() {
            return false;
        }
        if frame.is_key {
            self.needs_key = false;
        }
        !self.needs_key
    }

    fn malformed(&mut self, location: Location, malformed: &dyn std::fmt::Display) {
        let kind = word(self.kind);
        if self.counts.malformed == 0 {
            log::warn!("object {location} of the {kind} cannot be understood: {malformed}");
        } else {
            log::debug!("object {location} of the {kind} cannot be understood: {malformed}");
        }
        self.counts.malformed += 1;
        self.needs_key |= self.kind == Kind::Video;
    }
}

impl Ready {
    /// For its place among the frames of all tracks.
    pub(super) fn timing(&self) -> Timing {
        Timing {
            dts: self.frame.dts,
            duration: self.frame.duration,
            bytes: self.frame.payload.len() + OVERHEAD,
        }
    }
}

pub(super) const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Video => "video",
        Kind::Audio => "audio",
    }
}

/// The number of an object in its track, where its format has one.
fn sequence(properties: &Properties) -> Option<u64> {
    properties.integer(moqmi::MEDIA_TYPE)?;
    match moqmi::Header::read(properties).ok()? {
        moqmi::Header::Video(video) => Some(video.sequence),
        moqmi::Header::Audio(audio) => Some(audio.sequence),
        moqmi::Header::Text(text) => Some(text.sequence),
    }
}

fn in_microseconds(frame: Frame) -> Frame {
    let convert = |ticks: i128| {
        let micros = ticks.saturating_mul(i128::from(MICROSECONDS));
        micros.div_euclid(i128::from(frame.timescale.max(1)))
    };
    let time = |ticks: i64| i64::try_from(convert(i128::from(ticks))).unwrap_or(i64::MAX);
    Frame {
        dts: time(frame.dts),
        pts: time(frame.pts),
        duration: u64::try_from(convert(i128::from(frame.duration))).unwrap_or(u64::MAX),
        timescale: MICROSECONDS,
        ..frame
    }
}
