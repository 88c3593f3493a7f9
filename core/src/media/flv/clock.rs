//! Turns the timestamps of tags, 32 bits of milliseconds that wrap and may be set, into times that go on.

use super::Limits;
use crate::media::Kind;

/// Some writers leave the highest bit of the 32 out.
const HALF: i64 = 1 << 31;

/// The longest that a frame is believed to last, in milliseconds.
const MAX_DURATION: i64 = 10_000;

/// The state of one file's clock, which audio and video share.
#[derive(Debug)]
pub(super) struct Clock {
    max_backstep: i64,
    max_gap: i64,
    /// The last timestamp, as it was and without wrapping.
    last: Option<(u32, i64)>,
    /// To add to what is without wrapping.
    shift: i64,
    /// Whether the next timestamp is of another clock.
    was_set: bool,
    video: Hand,
    audio: Hand,
}

/// What is known of a kind.
#[derive(Clone, Copy, Debug, Default)]
struct Hand {
    /// The last time without wrapping, since the clock was set.
    seen: Option<i64>,
    /// The last time that was given.
    given: Option<i64>,
    /// How long the last frame lasted that lasted at all.
    duration: i64,
}

/// The time of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// When it is decoded.
    pub(super) dts: i64,
    /// What a composition time is to be added to: as `dts`, unless that had to be raised.
    pub(super) base: i64,
    /// How long the frame before lasted, or the last one that lasted at all; 0 if there was none.
    pub(super) duration: u64,
    /// By how much the clock was set, unless it is another one.
    pub(super) set_by: Option<i64>,
}

impl Clock {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max_backstep: limits.max_backstep.into(),
            max_gap: limits.max_gap.into(),
            last: None,
            shift: 0,
            was_set: false,
            video: Hand::default(),
            audio: Hand::default(),
        }
    }

    /// What follows is of another file.
    pub(super) const fn restart(&mut self) {
        self.was_set = self.last.is_some();
    }

    /// The time of the next frame.
    pub(super) fn read(&mut self, kind: Kind, timestamp: u32) -> Reading {
        let before = self.last.map(|(_, time)| time);
        let time = self.without_wrapping(timestamp);
        self.last = Some((timestamp, time));
        let hand = self.hand(kind);
        let back = hand
            .seen
            .is_some_and(|seen| time < seen - self.max_backstep);
        let ahead = before.is_some_and(|before| time > before + self.max_gap);
        let restarted = self.was_set;
        let set_by = (restarted || back || ahead).then(|| self.set(kind, time));
        let (base, given) = (time + self.shift, self.hand(kind).given);
        let dts = given.map_or(base, |given| base.max(given));
        let hand = self.hand_mut(kind);
        let lasted = given.map_or(0, |given| dts - given);
        if (1..=MAX_DURATION).contains(&lasted) {
            hand.duration = lasted;
        }
        hand.seen = Some(time);
        hand.given = Some(dts);
        Reading {
            dts,
            base,
            duration: hand.duration.try_into().unwrap_or(0),
            set_by: set_by.filter(|_| !restarted),
        }
    }

    /// By the shortest way from the last timestamp, in 32 bits, or in 31 where that is much shorter.
    fn without_wrapping(&self, timestamp: u32) -> i64 {
        let Some((last, time)) = self.last else {
            return timestamp.into();
        };
        let by = i64::from(timestamp.wrapping_sub(last).cast_signed());
        let other = if by < 0 { by + HALF } else { by - HALF };
        let is_near = (-self.max_backstep..=self.max_gap).contains(&other);
        let is_far = !(-HALF / 2..=HALF / 2).contains(&by);
        time + if is_far && is_near { other } else { by }
    }

    /// The clock was set to `time`: goes on one frame after the latest. By how much it was set.
    fn set(&mut self, kind: Kind, time: i64) -> i64 {
        let latest = self.video.given.max(self.audio.given).unwrap_or(time);
        let next = latest + self.hand(kind).duration.max(1);
        let expected = time + self.shift;
        self.shift = next - time;
        self.was_set = false;
        self.video.seen = None;
        self.audio.seen = None;
        expected - latest
    }

    const fn hand(&self, kind: Kind) -> Hand {
        match kind {
            Kind::Video => self.video,
            Kind::Audio => self.audio,
        }
    }

    const fn hand_mut(&mut self, kind: Kind) -> &mut Hand {
        match kind {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(timestamps: &[u32]) -> Vec<i64> {
        let mut clock = Clock::new(&Limits::default());
        let times = timestamps.iter();
        times
            .map(|time| clock.read(Kind::Video, *time).dts)
            .collect()
    }

    #[test]
    fn time_goes_on_where_timestamps_wrap() {
        let (half, whole) = (1_i64 << 31, 1_i64 << 32);
        assert_eq!(times(&[0xff_fff0, 0x100_0010]), [0xff_fff0, 0x100_0010]);
        assert_eq!(times(&[0x7fff_fff0, 0x8000_0010]), [half - 16, half + 16]);
        assert_eq!(times(&[0xffff_fff0, 0x10]), [whole - 16, whole + 16]);
        // with 31 bits, and with another frame from before
        let shorter = times(&[0x7fff_fff0, 0x10, 0x7fff_fff8, 0x20]);
        assert_eq!(shorter, [half - 16, half + 16, half + 16, half + 32]);
    }

    #[test]
    fn a_small_step_back_is_none() {
        assert_eq!(times(&[100, 140, 120, 160]), [100, 140, 140, 160]);
        let mut clock = Clock::new(&Limits::default());
        clock.read(Kind::Video, 140);
        let late = clock.read(Kind::Video, 120);
        assert_eq!((late.dts, late.base, late.set_by), (140, 120, None));
        // audio and video do not wait for one another
        assert_eq!(clock.read(Kind::Audio, 90).dts, 90);
    }

    #[test]
    fn a_clock_that_was_set_goes_on() {
        let mut clock = Clock::new(&Limits::default());
        for time in [5000, 5040] {
            clock.read(Kind::Video, time);
            clock.read(Kind::Audio, time + 10);
        }
        let set = clock.read(Kind::Video, 0);
        assert_eq!((set.dts, set.set_by), (5090, Some(-5050)));
        let audio = clock.read(Kind::Audio, 10);
        assert_eq!((audio.dts, audio.set_by), (5100, None));
        assert_eq!(clock.read(Kind::Video, 40).dts, 5130);
        // far ahead
        let gap = Limits::default().max_gap;
        assert_eq!(clock.read(Kind::Video, 40 + gap).set_by, None);
        let ahead = clock.read(Kind::Video, 41 + 2 * gap);
        assert_eq!((ahead.set_by.is_some(), ahead.duration), (true, 40));
    }

    #[test]
    fn another_file_goes_on() {
        let mut clock = Clock::new(&Limits::default());
        clock.restart();
        assert_eq!(clock.read(Kind::Audio, 7).dts, 7, "nothing was before");
        clock.restart();
        assert_eq!(clock.read(Kind::Audio, 9).dts, 8);
    }
}
