//! What each object begins with: which one it is, and when it should have left.

use crate::clock::Moment;
use crate::schedule::Timetable;

/// Length of a stamp in bytes, and so of the smallest object.
pub const STAMP_BYTES: usize = 40;

/// Tells our objects from others.
const MARK: [u8; 8] = *b"moqbench";

/// What an object says of itself. All processes that take part share the clock, so whoever receives it knows its latency
/// and, from the timetable, which others should have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which object of the track it is, from 0 on.
    pub sequence: u64,
    /// When it should have left.
    pub scheduled: Moment,
    /// When each object of its track leaves.
    pub timetable: Timetable,
}

impl Stamp {
    /// As it stands at the head of a payload: big-endian integers after the mark.
    pub fn encode(&self) -> [u8; STAMP_BYTES] {
        let words = [
            self.sequence,
            self.scheduled.as_micros(),
            self.timetable.epoch.as_micros(),
            self.timetable.interval_nanos,
        ];
        let mut bytes = [0; STAMP_BYTES];
        let (mark, rest) = bytes.split_at_mut(MARK.len());
        mark.copy_from_slice(&MARK);
        for (place, word) in rest.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// Reads what stands at the head of a payload; `None` if it is none of ours.
    pub fn decode(bytes: &[u8; STAMP_BYTES]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MARK)?;
        let mut words = rest
            .chunks_exact(8)
            .filter_map(|word| Some(u64::from_be_bytes(word.try_into().ok()?)));
        Some(Self {
            sequence: words.next()?,
            scheduled: Moment::from_micros(words.next()?),
            timetable: Timetable {
                epoch: Moment::from_micros(words.next()?),
                interval_nanos: words.next()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stamp = Stamp {
            sequence: 1,
            scheduled: Moment::from_micros(u64::MAX),
            timetable: Timetable {
                epoch: Moment::from_micros(0x0102_0304_0506_0708),
                interval_nanos: 33_333_333,
            },
        };
        let bytes = stamp.encode();
        assert_eq!(&bytes[..9], b"moqbench\0");
        assert_eq!(&bytes[24..32], &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Stamp::decode(&bytes), Some(stamp));
    }

    #[test]
    fn another_payload_is_none_of_ours() {
        assert_eq!(Stamp::decode(&[0; STAMP_BYTES]), None);
        let mut bytes = [0xff; STAMP_BYTES];
        bytes[..8].copy_from_slice(b"moqbencH");
        assert_eq!(Stamp::decode(&bytes), None);
    }
}
