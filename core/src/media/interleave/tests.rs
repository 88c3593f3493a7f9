use super::*;

const VIDEO: TrackIndex = TrackIndex(0);
const AUDIO: TrackIndex = TrackIndex(1);

/// A point in time, in milliseconds.
fn at(milliseconds: u64) -> Time {
    Time::from_micros(1000 * milliseconds)
}

fn interleave(limits: Limits) -> Interleave<()> {
    let mut interleave = Interleave::new(limits);
    assert_eq!(interleave.add(at(0), true), VIDEO);
    assert_eq!(interleave.add(at(0), false), AUDIO);
    interleave
}

/// Of a frame at so many milliseconds.
fn timing(dts: i64) -> Timing {
    Timing {
        dts: 1000 * dts,
        duration: 0,
        bytes: 100,
    }
}

fn push(interleave: &mut Interleave<()>, now: u64, track: TrackIndex, dts: &[i64]) {
    for dts in dts {
        interleave.push(at(now), track, timing(*dts), ());
    }
}

/// What leaves now: track and decoding time in milliseconds.
fn leaving(interleave: &mut Interleave<()>, now: u64) -> Vec<(usize, i64)> {
    let all = std::iter::from_fn(|| interleave.poll(at(now)));
    let all = all
        .map(|placed| (placed.track.0, placed.dts / 1000))
        .collect();
    let next = interleave.poll_timeout();
    assert!(next.is_none_or(|next| next > at(now)), "{next:?}");
    all
}

#[test]
fn frames_leave_in_order_once_no_earlier_one_can_come() {
    let mut interleave = interleave(Limits::default());
    push(&mut interleave, 0, AUDIO, &[5, 26, 47]);
    assert_eq!(leaving(&mut interleave, 0), []);
    push(&mut interleave, 1, VIDEO, &[5]);
    assert_eq!(leaving(&mut interleave, 1), [(0, 0), (1, 0)]);
    push(&mut interleave, 2, VIDEO, &[38]);
    assert_eq!(leaving(&mut interleave, 2), [(1, 21), (0, 33)]);
    push(&mut interleave, 3, VIDEO, &[71]);
    assert_eq!(leaving(&mut interleave, 3), [(1, 42)]);
}

#[test]
fn a_silent_track_is_not_waited_for_and_one_that_ended_neither() {
    let mut interleave = interleave(Limits::default());
    push(&mut interleave, 0, AUDIO, &[5, 26]);
    assert_eq!(interleave.poll_timeout(), Some(at(2000)));
    assert_eq!(leaving(&mut interleave, 1999), []);
    assert_eq!(leaving(&mut interleave, 2000), [(1, 0), (1, 21)]);
    push(&mut interleave, 2000, VIDEO, &[47]);
    push(&mut interleave, 2000, AUDIO, &[50, 70]);
    assert_eq!(leaving(&mut interleave, 2000), [(0, 42)]);
    push(&mut interleave, 2100, AUDIO, &[90]);
    assert_eq!(leaving(&mut interleave, 2299), []);
    assert_eq!(interleave.poll_timeout(), Some(at(2300)));
    interleave.heard(at(2299), VIDEO);
    assert_eq!(leaving(&mut interleave, 2300), []);
    interleave.end(VIDEO);
    let rest = [(1, 45), (1, 65), (1, 85)];
    assert_eq!(leaving(&mut interleave, 2300), rest);
    interleave.end(AUDIO);
    assert!(interleave.is_empty());
    assert_eq!(interleave.poll_timeout(), None);
}

#[test]
fn a_track_that_is_slow_is_waited_for_as_long_as_something_comes_of_it() {
    let mut interleave = interleave(Limits::default());
    push(&mut interleave, 0, AUDIO, &[0, 20, 40, 60, 80]);
    for (now, dts) in [(200, 0), (400, 30), (600, 60)] {
        push(&mut interleave, now, VIDEO, &[dts]);
        assert!(leaving(&mut interleave, now).is_sorted_by_key(|(_, dts)| *dts));
    }
    assert_eq!(interleave.counts().unsorted, 0);
    assert_eq!(leaving(&mut interleave, 900), [(1, 80)]);
    // What comes after that cannot be in order any more, but it is not lost.
    push(&mut interleave, 901, VIDEO, &[70]);
    push(&mut interleave, 901, AUDIO, &[100]);
    assert_eq!(leaving(&mut interleave, 901), [(0, 70)]);
    assert_eq!(interleave.counts().unsorted, 1);
}

#[test]
fn sound_from_long_before_the_first_picture_is_dropped() {
    let mut interleave = interleave(Limits::default());
    for dts in 0..100 {
        push(&mut interleave, 0, AUDIO, &[20 * dts]);
        // Pictures come, but none to begin with.
        interleave.heard(at(0), VIDEO);
    }
    push(&mut interleave, 2100, VIDEO, &[1800, 1840]);
    let all = leaving(&mut interleave, 2100);
    assert_eq!(all[..2], [(1, 0), (1, 20)], "half a second may remain");
    assert_eq!(interleave.counts().before_start, 65);
    assert_eq!(all.iter().find(|(track, _)| *track == 0), Some(&(0, 500)));
}

#[test]
fn times_that_start_over_go_on_where_the_old_ones_stopped_in_step() {
    let mut interleave = interleave(Limits::default());
    push(&mut interleave, 0, VIDEO, &[9000, 9040]);
    push(&mut interleave, 0, AUDIO, &[9000, 9020, 9040]);
    // The sound of the new run is there before the picture, and earlier by 10 ms.
    push(&mut interleave, 100, AUDIO, &[30, 50, 70]);
    let all = leaving(&mut interleave, 100);
    let old = [(0, 0), (1, 0), (1, 20), (0, 40), (1, 40)];
    assert_eq!(all, old);
    push(&mut interleave, 200, VIDEO, &[40, 80]);
    let new = [(1, 80), (0, 90), (1, 100), (1, 120)];
    assert_eq!(leaving(&mut interleave, 200), new);
    assert_eq!(interleave.counts().restarts, 2);
    assert_eq!(interleave.clocks.len(), 1, "the old one is forgotten");
}

#[test]
fn a_track_that_alone_starts_over_waits_for_the_other_one_in_vain() {
    let mut interleave = interleave(Limits::default());
    push(&mut interleave, 0, VIDEO, &[5000]);
    push(&mut interleave, 0, AUDIO, &[5000]);
    assert_eq!(leaving(&mut interleave, 0).len(), 2);
    push(&mut interleave, 0, VIDEO, &[0]);
    for step in 1..50 {
        push(
            &mut interleave,
            20 * step,
            AUDIO,
            &[5000 + 20 * i64::try_from(step).unwrap()],
        );
        assert_eq!(leaving(&mut interleave, 20 * step).len(), 1);
    }
    assert_eq!(leaving(&mut interleave, 1000), []);
    assert_eq!(interleave.clocks.len(), 2, "each has its own from now on");
    push(&mut interleave, 1001, VIDEO, &[40]);
    push(&mut interleave, 1001, AUDIO, &[6020, 6060]);
    let both = [(0, 1000), (1, 1020), (0, 1040)];
    assert_eq!(leaving(&mut interleave, 1001), both);
}

#[test]
fn a_silent_track_follows_to_the_new_clock_later() {
    let mut interleave = interleave(Limits::default());
    push(&mut interleave, 0, VIDEO, &[5000]);
    push(&mut interleave, 0, AUDIO, &[5000]);
    assert_eq!(leaving(&mut interleave, 0).len(), 2);
    push(&mut interleave, 400, AUDIO, &[0, 20]);
    assert_eq!(leaving(&mut interleave, 400), [(1, 1), (1, 21)]);
    // The picture is as late as it was: its place is with the sound of that time.
    push(&mut interleave, 500, VIDEO, &[10, 50]);
    push(&mut interleave, 500, AUDIO, &[40]);
    assert_eq!(leaving(&mut interleave, 500), [(0, 11), (1, 41)]);
}

#[test]
fn tracks_whose_times_have_nothing_in_common_are_put_side_by_side() {
    let mut interleave = interleave(Limits::default());
    let days = 20_000 * 86_400_000;
    push(&mut interleave, 0, VIDEO, &[0, 40]);
    push(&mut interleave, 0, AUDIO, &[days, days + 20]);
    assert_eq!(leaving(&mut interleave, 0), [(0, 0), (0, 40)]);
    push(&mut interleave, 1000, VIDEO, &[80]);
    assert_eq!(leaving(&mut interleave, 1000), [(0, 80)]);
    push(&mut interleave, 1001, VIDEO, &[120, 160]);
    let side_by_side = [(0, 120), (1, 120), (1, 140), (0, 160)];
    assert_eq!(leaving(&mut interleave, 1301)[..4], side_by_side);
}

#[test]
fn times_run_backwards_nowhere() {
    let mut interleave = interleave(Limits::default());
    interleave.end(AUDIO);
    push(&mut interleave, 0, VIDEO, &[-40, 0, 30, 10, 50, -2000, 1]);
    let all = leaving(&mut interleave, 5000);
    let times = [0, 40, 70, 70, 90, 110, 2111];
    assert_eq!(all.iter().map(|(_, dts)| *dts).collect::<Vec<_>>(), times);
}

#[test]
fn extreme_times_are_no_trouble() {
    let mut interleave = interleave(Limits::default());
    for (now, dts) in (0..).zip([i64::MIN, i64::MAX, 0, i64::MAX, i64::MIN, -1]) {
        for track in [VIDEO, AUDIO] {
            let timing = Timing {
                dts,
                duration: u64::MAX,
                bytes: usize::MAX,
            };
            interleave.push(at(now), track, timing, ());
        }
    }
    interleave.end(VIDEO);
    interleave.end(AUDIO);
    let all: Vec<_> = std::iter::from_fn(|| interleave.poll(at(100_000))).collect();
    assert_eq!(all.len(), 12);
    assert!(all.iter().all(|placed| placed.dts >= 0));
}

#[test]
fn more_frames_or_bytes_than_may_wait_leave_without_the_other_track() {
    let limits = Limits {
        max_frames: 4,
        max_bytes: 1000,
        ..Limits::default()
    };
    let mut interleave = interleave(limits);
    push(&mut interleave, 0, AUDIO, &[0, 20]);
    push(&mut interleave, 0, AUDIO, &[40, 60]);
    assert_eq!(leaving(&mut interleave, 0), []);
    push(&mut interleave, 0, AUDIO, &[80]);
    assert_eq!(leaving(&mut interleave, 0), [(1, 0)]);
    let large = Timing {
        bytes: 601,
        ..timing(100)
    };
    interleave.poll(at(2000));
    interleave.push(at(2000), AUDIO, large, ());
    interleave.heard(at(2000), VIDEO);
    assert_eq!(interleave.bytes(), 901);
    push(&mut interleave, 2000, AUDIO, &[120]);
    assert_eq!(leaving(&mut interleave, 2000), [(1, 40)]);
    assert_eq!(interleave.bytes(), 901);
}

/// Numbers that look random, the same ones every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn whatever_the_delays_within_the_wait_all_leave_sorted_and_in_step() {
    let mut random = Random(3);
    for _ in 0..200 {
        let mut interleave = interleave(Limits::default());
        let start = i64::try_from(random.below(1 << 40)).unwrap();
        // When each frame arrives: later than it was made, and not before the one ahead of it in its track.
        let mut arrivals = Vec::new();
        for (track, step) in [(VIDEO, 40), (AUDIO, 21)] {
            let mut arrival = 0;
            for frame in 0..100 {
                arrival = arrival.max(step * frame + random.below(250));
                let dts = start + i64::try_from(step * frame).unwrap();
                arrivals.push((arrival, track, dts));
            }
        }
        arrivals.sort();
        let last = arrivals.last().unwrap().0;
        let mut left = Vec::new();
        for (now, track, dts) in arrivals {
            push(&mut interleave, now, track, &[dts]);
            left.extend(leaving(&mut interleave, now));
        }
        left.extend(leaving(&mut interleave, last + 300));
        assert_eq!(left.len(), 200);
        assert!(left.is_sorted_by_key(|(_, dts)| *dts));
        for (track, step) in [(0, 40), (1, 21)] {
            let own = left.iter().filter(|(index, _)| *index == track);
            let times = own.map(|(_, dts)| *dts);
            assert!(times.eq((0..100).map(|frame| frame * step)));
        }
    }
}
