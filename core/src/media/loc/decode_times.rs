//! When frames are decoded, told from their order and when they are shown.

/// The deepest reordering that a codec allows: as many frames as a decoded picture buffer holds (H.264 § A.3.1).
pub const MAX_DEPTH: usize = 16;

/// The depth that is assumed until a stream has shown its own: enough for pyramids of B-frames of the usual heights.
const ASSUMED_DEPTH: usize = 4;

/// Frames after which the depth that a stream has shown is believed, if no key frame comes before.
const ENOUGH_FRAMES: usize = 64;

/// Gives every frame a decoding time (DTS), for packagings that only tell when a frame is shown (PTS).
///
/// # The rule
///
/// Let the *depth* of a stream be the most frames that are decoded before a frame but shown after it: 0 without B-frames. The
/// times of presentation are passed through a sorted store of that many; what falls out when one is put in is the DTS. So the
/// n-th frame is decoded when the frame `depth` places before the n-th in order of presentation is shown. That never
/// descends, and is never after the frame is shown. The first `depth` frames, for which nothing falls out yet, come one
/// millisecond apart before the first that is shown.
///
/// No frame is held back: each has its DTS at once, so the delay is 0 for every stream. Without B-frames the DTS is the PTS.
///
/// # Where the depth comes from
///
/// From the decoder configuration (`max_num_reorder_frames`, `sps_max_num_reorder_pics`), if it tells: [`set_depth`]. If not,
/// 4 is assumed up to the second key frame or the 64th frame, and from then on the deepest reordering seen. A stream without
/// B-frames whose configuration does not say so thus has a DTS four frames early at first.
///
/// A frame that is reordered more deeply than was known makes the depth grow. It is shown when the frame before it is
/// decoded, if it would be earlier: its PTS is raised. This is the only case in which a PTS changes.
///
/// # Breaks
///
/// A key frame that is shown before the DTS of the frame before it begins a new time line: the DTS descends there. One that is
/// shown more than a second after every other (groups are missing) empties the store, so that its DTS is near it.
///
/// [`set_depth`]: Self::set_depth
#[derive(Clone, Debug)]
pub struct DecodeTimes {
    depth: usize,
    /// Frames until the depth seen is taken for that of the stream. `None`: it is known.
    undecided: Option<usize>,
    /// The deepest reordering seen.
    seen: usize,
    /// PTS that have not become a DTS, ascending; at most `depth`.
    held: Vec<i64>,
    /// The latest PTS in the order of decoding, newest last; at most [`MAX_DEPTH`].
    recent: Vec<i64>,
    last: Option<i64>,
    timescale: u32,
}

impl Default for DecodeTimes {
    fn default() -> Self {
        Self::new(None)
    }
}

impl DecodeTimes {
    /// For a stream of this depth; `None` if the configuration does not tell. Depths are held to [`MAX_DEPTH`].
    pub fn new(depth: Option<usize>) -> Self {
        Self {
            depth: depth.unwrap_or(ASSUMED_DEPTH).min(MAX_DEPTH),
            undecided: depth.is_none().then_some(ENOUGH_FRAMES),
            seen: 0,
            held: Vec::new(),
            recent: Vec::new(),
            last: None,
            timescale: 0,
        }
    }

    /// What a new configuration says about the depth.
    pub fn set_depth(&mut self, depth: Option<usize>) {
        let fresh = Self::new(depth);
        self.depth = fresh.depth;
        self.undecided = fresh.undecided;
        self.seen = 0;
    }

    /// The DTS of the next frame in the order of decoding, and its PTS, both in ticks of `timescale`. The DTS is not after
    /// the PTS, and not before the DTS of the frame before, but at a break.
    pub fn next(&mut self, pts: i64, is_key: bool, timescale: u32) -> (i64, i64) {
        self.look_for_breaks(pts, is_key, timescale);
        self.learn(pts, is_key);
        let at = self.held.partition_point(|held| *held <= pts);
        self.held.insert(at, pts);
        let step = self.step();
        let due = match self.held.len().checked_sub(self.depth) {
            Some(surplus @ 1..) => self.held.drain(..surplus).next_back(),
            Some(0) | None => {
                let to_come = self.depth + 1 - self.held.len();
                let to_come = i64::try_from(to_come).unwrap_or(0);
                let first = self.held.first().copied();
                first.map(|first| first.saturating_sub(to_come.saturating_mul(step)))
            }
        };
        let floor = self.last.map(|last| last.saturating_add(step));
        let dts = due.unwrap_or(pts).max(floor.unwrap_or(i64::MIN)).min(pts);
        let dts = dts.max(self.last.unwrap_or(i64::MIN));
        self.last = Some(dts);
        (dts, pts.max(dts))
    }

    /// Takes note of a frame whose DTS came with it, so that what follows fits.
    pub fn follow(&mut self, dts: i64, pts: i64, timescale: u32) {
        if self.timescale != timescale {
            self.restart(timescale);
        }
        self.last = Some(dts);
        self.held.clear();
        self.remember(pts);
    }

    fn look_for_breaks(&mut self, pts: i64, is_key: bool, timescale: u32) {
        if self.timescale != timescale {
            self.restart(timescale);
        }
        if !is_key {
            return;
        }
        let newest = self.recent.iter().max().copied();
        let second = i64::from(timescale);
        if self.last.is_some_and(|last| pts < last) {
            self.restart(timescale);
        } else if newest.is_some_and(|newest| pts > newest.saturating_add(second)) {
            self.held.clear();
            self.recent.clear();
        }
    }

    fn restart(&mut self, timescale: u32) {
        self.timescale = timescale;
        self.last = None;
        self.held.clear();
        self.recent.clear();
    }

    /// Sees how deeply the frame is reordered.
    fn learn(&mut self, pts: i64, is_key: bool) {
        let later = self.recent.iter().filter(|recent| **recent > pts).count();
        self.seen = self.seen.max(later);
        match self.undecided {
            Some(left) if left == 0 || is_key && left < ENOUGH_FRAMES => {
                self.undecided = None;
                self.depth = self.seen;
            }
            Some(left) => self.undecided = Some(left - 1),
            None => {}
        }
        self.depth = self.depth.max(later);
        self.remember(pts);
    }

    fn remember(&mut self, pts: i64) {
        if self.recent.len() == MAX_DEPTH {
            self.recent.remove(0);
        }
        self.recent.push(pts);
    }

    /// What lies between the DTS of frames for which no better is known: a millisecond.
    fn step(&self) -> i64 {
        i64::from(self.timescale / 1000).max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The PTS of frames in the order of decoding, from those of a pattern such as "I P B B", repeated: a group of it
    /// begins with a key frame.
    fn stamp(times: &mut DecodeTimes, pts: &[i64], group: usize) -> Vec<(i64, i64)> {
        pts.iter()
            .enumerate()
            .map(|(at, pts)| times.next(*pts, at % group == 0, 1000))
            .collect()
    }

    fn dts(times: &mut DecodeTimes, pts: &[i64], group: usize) -> Vec<i64> {
        let stamped = stamp(times, pts, group);
        assert!(
            stamped.iter().map(|(_, shown)| shown).eq(pts),
            "PTS changed: {stamped:?}"
        );
        stamped.into_iter().map(|(dts, _)| dts).collect()
    }

    #[test]
    fn without_b_frames_both_times_are_the_same() {
        let pts = [0, 33, 67, 100, 133];
        assert_eq!(dts(&mut DecodeTimes::new(Some(0)), &pts, 3), pts);
    }

    #[test]
    fn with_b_frames_every_frame_is_decoded_when_one_before_it_is_shown() {
        // I P B B P B B, and again
        let pts = [80, 200, 120, 160, 320, 240, 280, 360, 480, 400, 440];
        let expected = [79, 80, 120, 160, 200, 240, 280, 320, 360, 400, 440];
        assert_eq!(dts(&mut DecodeTimes::new(Some(1)), &pts, 7), expected);
    }

    #[test]
    fn a_pyramid_is_deeper() {
        // I P B b b
        let pts = [0, 160, 80, 40, 120, 320, 240, 200, 280];
        let expected = [-2, -1, 0, 40, 80, 120, 160, 200, 240];
        assert_eq!(dts(&mut DecodeTimes::new(Some(2)), &pts, 9), expected);
    }

    #[test]
    fn an_unknown_depth_is_learned_by_the_second_key_frame() {
        let mut times = DecodeTimes::new(None);
        // no B-frames: early at first, then equal
        let pts: Vec<_> = (0..8).map(|frame| frame * 40).collect();
        let expected = [-4, -3, -2, -1, 0, 200, 240, 280];
        assert_eq!(dts(&mut times, &pts, 5), expected);
        // B-frames from the start
        let mut times = DecodeTimes::new(None);
        let pts = [0, 120, 40, 80, 160, 280, 200, 240, 320, 440, 360, 400];
        let expected = [-4, -3, -2, -1, 120, 160, 200, 240, 280, 320, 360, 400];
        assert_eq!(dts(&mut times, &pts, 4), expected);
    }

    #[test]
    fn an_unknown_depth_is_learned_in_a_long_group_too() {
        let mut times = DecodeTimes::new(None);
        let pts: Vec<_> = (0..80).map(|frame| frame * 40).collect();
        let learned = dts(&mut times, &pts, 1000);
        assert_eq!(learned[60], 56 * 40);
        assert_eq!(learned[70], pts[70]);
    }

    #[test]
    fn deeper_reordering_than_known_raises_one_frame_and_is_then_known() {
        let mut times = DecodeTimes::new(Some(0));
        let pts = [0, 120, 40, 80, 240, 160, 200, 360, 280, 320];
        let stamped = stamp(&mut times, &pts, 100);
        let raised: Vec<_> = (0..pts.len())
            .filter(|at| stamped[*at].1 != pts[*at])
            .collect();
        assert_eq!(raised, [2, 3], "{stamped:?}");
        assert!(stamped.is_sorted_by_key(|(dts, _)| *dts), "{stamped:?}");
        assert_eq!(stamped[8..], [(280, 280), (320, 320)]);
    }

    #[test]
    fn a_key_frame_before_its_time_begins_a_new_time_line() {
        let mut times = DecodeTimes::new(Some(1));
        stamp(&mut times, &[90_000, 90_120, 90_040], 3);
        assert_eq!(times.next(0, true, 1000), (-1, 0));
    }

    #[test]
    fn after_missing_groups_decoding_is_near_again() {
        let mut times = DecodeTimes::new(Some(2));
        stamp(&mut times, &[0, 120, 40, 80], 4);
        assert_eq!(times.next(5000, true, 1000), (4998, 5000));
        // another timescale is another time line
        assert_eq!(times.next(5_040, true, 1_000_000), (3_040, 5_040));
    }

    #[test]
    fn times_that_came_along_are_continued() {
        let mut times = DecodeTimes::new(Some(1));
        times.follow(40, 80, 1000);
        times.follow(80, 200, 1000);
        let (dts, pts) = times.next(120, false, 1000);
        assert_eq!((dts > 80, dts <= pts, pts), (true, true, 120));
    }

    /// The PTS of a stream in the order of decoding: a frame that is shown first, and then others, of which some wait for up
    /// to `depth` that are shown after them.
    fn reordered(depth: usize, choices: &[usize]) -> Vec<i64> {
        let mut decoded = vec![0];
        let mut waiting: Vec<usize> = Vec::new();
        let mut next = 1;
        for choice in choices {
            while waiting.len() <= choice % (depth + 1) {
                waiting.push(next);
                next += 1;
            }
            decoded.extend(waiting.pop());
            if choice % 3 == 0 {
                waiting.reverse();
                decoded.append(&mut waiting);
            }
        }
        decoded
            .iter()
            .map(|at| i64::try_from(*at).unwrap() * 40)
            .collect()
    }

    fn depth_of(pts: &[i64]) -> usize {
        (0..pts.len())
            .map(|at| {
                pts[..at]
                    .iter()
                    .filter(|earlier| **earlier > pts[at])
                    .count()
            })
            .max()
            .unwrap_or(0)
    }

    proptest! {
        #[test]
        fn with_the_depth_known_decoding_times_ascend_and_no_frame_changes(
            overtaking in 0_usize..5,
            choices in vec(0_usize..60, 0..80),
        ) {
            let pts = reordered(overtaking, &choices);
            let depth = depth_of(&pts);
            prop_assume!(depth <= MAX_DEPTH);
            let dts = dts(&mut DecodeTimes::new(Some(depth)), &pts, 1000);
            prop_assert!(dts.is_sorted_by(|a, b| a < b), "{:?} {:?}", pts, dts);
            prop_assert!(dts.iter().zip(&pts).all(|(dts, pts)| dts <= pts));
            if depth <= ASSUMED_DEPTH {
                let unknown = stamp(&mut DecodeTimes::new(None), &pts, 1000);
                prop_assert!(unknown.is_sorted_by(|a, b| a.0 < b.0) || pts.len() > ENOUGH_FRAMES);
            }
        }

        #[test]
        fn any_times_are_ordered(
            depth in proptest::option::of(0_usize..40),
            frames in vec((any::<i64>(), any::<bool>(), prop_oneof![Just(1_u32), Just(1000), any::<u32>()]), 0..60),
        ) {
            let mut times = DecodeTimes::new(depth);
            let mut before: Option<(i64, u32)> = None;
            for (pts, is_key, timescale) in frames {
                let (dts, shown) = times.next(pts, is_key, timescale);
                prop_assert!(dts <= shown && shown >= pts);
                prop_assert!(times.held.len() <= MAX_DEPTH && times.recent.len() <= MAX_DEPTH);
                match before {
                    Some((last, scale)) if scale == timescale && !is_key => prop_assert!(dts >= last),
                    Some(_) | None => {}
                }
                before = Some((dts, timescale));
            }
        }
    }
}
