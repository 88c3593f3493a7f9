//! When a frame is due, if frames are to leave as fast as they are to be shown.

use std::time::Duration;

use oxymoq_core::media::Frame;
use oxymoq_core::time::Time;

use super::limits::Limits;

/// Frames may be before others by this much without a jump of the clock: tracks are interleaved loosely.
const BACK: Duration = Duration::from_secs(1);

/// Ties the clock of the frames to that of the machine.
#[derive(Debug)]
pub(super) struct Pace {
    max_jump: Duration,
    max_late: Duration,
    /// A frame's time, in microseconds, and when it was due.
    anchor: Option<(i128, Time)>,
    /// The time of the last frame.
    last: i128,
}

impl Pace {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self {
            max_jump: limits.max_jump,
            max_late: limits.max_late,
            anchor: None,
            last: 0,
        }
    }

    /// When the next frame is due. Asked again for the same frame, it may be due later.
    pub(super) fn due(&mut self, now: Time, frame: &Frame) -> Time {
        let at = i128::from(frame.dts) * 1_000_000 / i128::from(frame.timescale);
        let due = self.anchor.and_then(|(begin, then)| {
            let ahead = micros(self.max_jump) >= at - self.last;
            let behind = at - self.last >= -micros(BACK);
            // Frames before the first one are due with it.
            let passed = u64::try_from((at - begin).max(0)).unwrap_or(u64::MAX);
            let due = then + Duration::from_micros(passed);
            (ahead && behind && now.since(due) <= self.max_late).then_some(due)
        });
        self.last = at;
        due.unwrap_or_else(|| {
            self.anchor = Some((at, now));
            now
        })
    }
}

fn micros(span: Duration) -> i128 {
    i128::try_from(span.as_micros()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use oxymoq_core::media::Kind;

    use super::*;

    const fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    fn frame(dts: i64) -> Frame {
        Frame {
            kind: Kind::Video,
            is_key: true,
            dts,
            pts: dts,
            duration: 0,
            timescale: 1000,
            wall: None,
            payload: Bytes::new(),
        }
    }

    fn pace() -> Pace {
        Pace::new(&Limits::default())
    }

    #[test]
    fn the_first_frame_is_due_at_once_and_the_others_relative_to_it() {
        let mut pace = pace();
        assert_eq!(pace.due(at(700), &frame(55_000)), at(700));
        assert_eq!(pace.due(at(700), &frame(55_040)), at(740));
        assert_eq!(pace.due(at(740), &frame(55_023)), at(723));
        assert_eq!(pace.due(at(740), &frame(64_000)), at(9_700));
        let ticks = Frame {
            timescale: 90_000,
            ..frame(90_000 * 65)
        };
        assert_eq!(pace.due(at(9_700), &ticks), at(10_700));
    }

    #[test]
    fn jumps_of_the_clock_are_not_waited_for() {
        for jump in [55_000 + 3_600_000, 0, i64::MAX, i64::MIN] {
            let mut pace = pace();
            pace.due(at(0), &frame(55_000));
            assert_eq!(pace.due(at(10), &frame(jump)), at(10), "{jump}");
            let next = jump.saturating_add(40);
            let late = u64::try_from(next - jump).unwrap();
            assert_eq!(pace.due(at(10), &frame(next)), at(10 + late), "{jump}");
        }
    }

    #[test]
    fn a_short_delay_is_made_up_for_and_a_long_one_is_not() {
        let mut pace = pace();
        pace.due(at(0), &frame(0));
        assert_eq!(pace.due(at(900), &frame(40)), at(40), "late, so at once");
        assert_eq!(pace.due(at(900), &frame(940)), at(940));
        assert_eq!(pace.due(at(5_000), &frame(980)), at(5_000), "lost");
        assert_eq!(pace.due(at(5_000), &frame(1_020)), at(5_040));
    }
}
