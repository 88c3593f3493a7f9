//! The lists of integers: several of them in one property, one behind the other.

use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};

use super::{
    AAC_METADATA, Audio, AudioCodec, OPUS_METADATA, TEXT_METADATA, Text, VIDEO_EXTRADATA,
    VIDEO_METADATA, Video,
};
use crate::draft::IntegerKind;
use crate::media::fields::{Fields, Malformed};
use crate::wire::{NotExpressible, varint};

const UNREADABLE: &str = "a list that neither kind of integer takes up exactly";
const TIMEBASE_OF_ZERO: &str = "a timebase of 0";

/// Units per second that somebody might use: up to nanoseconds.
const TIMEBASES: RangeInclusive<u64> = 1..=1_000_000_000;
/// Units per second that most use: those of clocks, of MPEG, of samples.
const USUAL_TIMEBASES: [u64; 6] = [1_000, 1_000_000, 1_000_000_000, 90_000, 44_100, 48_000];
/// Milliseconds since the Unix epoch, from 2001 to 2100; and 0, which stands for none.
const WALLCLOCKS: RangeInclusive<u64> = 1_000_000_000_000..=4_102_444_800_000;
/// Samples per second.
const SAMPLE_RATES: RangeInclusive<u64> = 1_000..=768_000;
/// Samples per second that the configuration of AAC has room for.
const AAC_RATES: RangeInclusive<u64> = 1..=0xff_ffff;

impl Video {
    pub(super) fn read(fields: &Fields) -> Result<Self, Malformed> {
        let list = list(fields, VIDEO_METADATA, "numbers and times of a frame")?;
        let [sequence, pts, dts, timebase, duration, wallclock] =
            integers(list, |[_, pts, dts, timebase, _, wallclock]| {
                let usable = is_usable(*timebase, &[*pts, *dts]);
                plausibility(
                    *timebase,
                    usable,
                    [
                        TIMEBASES.contains(timebase),
                        USUAL_TIMEBASES.contains(timebase),
                        is_wallclock(*wallclock),
                        dts <= pts,
                    ],
                )
            })
            .ok_or(Malformed::Property(VIDEO_METADATA, UNREADABLE))?;
        if timebase == 0 {
            return Err(Malformed::Property(VIDEO_METADATA, TIMEBASE_OF_ZERO));
        }
        let extradata = fields.bytes(VIDEO_EXTRADATA).cloned();
        match extradata.as_deref() {
            None => {}
            Some([1, _, _, _, lengths, _, ..]) if lengths & 3 == 3 => {}
            Some([1, _, _, _, _, _, ..]) => {
                let rule = "lengths of NAL units are not of 4 bytes";
                return Err(Malformed::Property(VIDEO_EXTRADATA, rule));
            }
            Some(_) => {
                let rule = "not an AVCDecoderConfigurationRecord";
                return Err(Malformed::Property(VIDEO_EXTRADATA, rule));
            }
        }
        Ok(Self {
            sequence,
            pts,
            dts,
            timebase,
            duration,
            wallclock,
            extradata,
        })
    }

    pub(super) fn metadata(&self, integers: IntegerKind) -> Result<Bytes, NotExpressible> {
        let list = [
            self.sequence,
            self.pts,
            self.dts,
            self.timebase,
            self.duration,
            self.wallclock,
        ];
        write(integers, &list)
    }
}

impl Audio {
    pub(super) fn read(codec: AudioCodec, fields: &Fields) -> Result<Self, Malformed> {
        let number = match codec {
            AudioCodec::Opus => OPUS_METADATA,
            AudioCodec::Aac => AAC_METADATA,
        };
        let list = list(fields, number, "numbers and times of a frame")?;
        let [
            sequence,
            pts,
            timebase,
            sample_rate,
            channels,
            duration,
            wallclock,
        ] = integers(list, |[_, pts, timebase, rate, channels, _, wallclock]| {
            let usable = is_usable(*timebase, &[*pts]) && codec.can_have(*rate, *channels);
            plausibility(
                *timebase,
                usable,
                [
                    TIMEBASES.contains(timebase),
                    USUAL_TIMEBASES.contains(timebase),
                    SAMPLE_RATES.contains(rate),
                    is_wallclock(*wallclock),
                ],
            )
        })
        .ok_or(Malformed::Property(number, UNREADABLE))?;
        if timebase == 0 {
            return Err(Malformed::Property(number, TIMEBASE_OF_ZERO));
        }
        Ok(Self {
            codec,
            sequence,
            pts,
            timebase,
            sample_rate,
            channels,
            duration,
            wallclock,
        })
    }

    pub(super) fn metadata(&self, integers: IntegerKind) -> Result<Bytes, NotExpressible> {
        let list = [
            self.sequence,
            self.pts,
            self.timebase,
            self.sample_rate,
            self.channels,
            self.duration,
            self.wallclock,
        ];
        write(integers, &list)
    }
}

impl Text {
    pub(super) fn read(fields: &Fields) -> Result<Self, Malformed> {
        let list = list(fields, TEXT_METADATA, "number of a text")?;
        let [sequence] = integers(list, |_| (true, true, 0))
            .ok_or(Malformed::Property(TEXT_METADATA, UNREADABLE))?;
        Ok(Self { sequence })
    }

    pub(super) fn metadata(self, integers: IntegerKind) -> Result<Bytes, NotExpressible> {
        write(integers, &[self.sequence])
    }
}

fn list<'a>(fields: &'a Fields, number: u64, what: &'static str) -> Result<&'a [u8], Malformed> {
    fields
        .bytes(number)
        .map(AsRef::as_ref)
        .ok_or(Malformed::Missing(number, what))
}

const fn is_wallclock(value: u64) -> bool {
    value == 0 || *WALLCLOCKS.start() <= value && value <= *WALLCLOCKS.end()
}

/// Whether a frame can have these times.
fn is_usable(timebase: u64, times: &[u64]) -> bool {
    (1..=u64::from(u32::MAX)).contains(&timebase)
        && times.iter().all(|time| i64::try_from(*time).is_ok())
}

impl AudioCodec {
    /// Whether a configuration can be made of what MoqMi tells.
    fn can_have(self, rate: u64, channels: u64) -> bool {
        match self {
            Self::Opus => matches!(channels, 1 | 2),
            Self::Aac => matches!(channels, 1..=8 | 24) && AAC_RATES.contains(&rate),
        }
    }
}

/// What speaks for values, to be compared: first whether they can be read at all, then whether a frame can be made of them,
/// then how much else holds.
type Plausibility = (bool, bool, usize);

fn plausibility<const N: usize>(timebase: u64, usable: bool, holding: [bool; N]) -> Plausibility {
    let count = holding.into_iter().filter(|holds| *holds).count();
    (timebase != 0, usable, count)
}

/// The list as `N` integers of one kind and nothing else; if it is that of either kind, the more plausible one.
fn integers<const N: usize>(
    list: &[u8],
    plausibility: impl Fn(&[u64; N]) -> Plausibility,
) -> Option<[u64; N]> {
    let quic = integers_of(IntegerKind::Quic, list);
    let vi64 = integers_of(IntegerKind::Vi64, list);
    match (quic, vi64) {
        (Some(quic), Some(vi64)) if plausibility(&vi64) > plausibility(&quic) => Some(vi64),
        (quic, vi64) => quic.or(vi64),
    }
}

fn integers_of<const N: usize>(kind: IntegerKind, mut list: &[u8]) -> Option<[u64; N]> {
    let mut values = [0; N];
    for value in &mut values {
        let (read, length) = varint::decode(kind, list)?;
        *value = read;
        list = list.get(length..)?;
    }
    list.is_empty().then_some(values)
}

fn write(kind: IntegerKind, list: &[u64]) -> Result<Bytes, NotExpressible> {
    let mut bytes = BytesMut::new();
    for value in list {
        varint::encode(kind, *value, &mut bytes)?;
    }
    Ok(bytes.freeze())
}

/// How many integers of this kind a list is, if it is nothing else.
#[cfg(test)]
pub(super) fn count(kind: IntegerKind, mut list: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !list.is_empty() {
        let (_, length) = varint::decode(kind, list)?;
        list = list.get(length..)?;
        count += 1;
    }
    Some(count)
}
