//! Brings the frames of several tracks into one order, by decoding time, on one clock that begins at zero.
//!
//! A frame leaves once every other track has shown that it has nothing earlier: by its own next frame, by its end, or by
//! its silence for [`Limits::wait`]. A track that is slower than another is waited for as long as something comes of it.
//!
//! **Clocks.** Timestamps may start over while a track goes on, since an encoder was restarted. Then the track is on a new
//! clock, whose zero is put where the old one stopped, and so is every other track to which the same happens about then:
//! what was in step stays so. Times given out never run backwards within a track, and none is negative.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::time::Time;

/// The bounds of an [`Interleave`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A track of which nothing came for so long is not waited for. Default: 300 ms, as long as an object may be delayed.
    pub wait: Duration,
    /// The same before a track's first frame. Default: 2 s, since encoders of picture and sound do not begin together.
    pub start_wait: Duration,
    /// What is earlier than the first frame of the leading track by more than this is dropped, so that the picture is there
    /// when the sound begins. Default: 500 ms.
    pub lead_in: Duration,
    /// Frames of a track that wait; beyond it they leave without waiting for other tracks. Default: 4096, of audio more than
    /// a minute.
    pub max_frames: usize,
    /// Bytes of a track that wait; beyond it they leave as well. Default: 16 MiB, four seconds at 32 Mbit/s.
    pub max_bytes: usize,
    /// A timestamp that is earlier than the one before by more than this begins a new clock. Default: 100 ms; less is taken
    /// for careless rounding, and smoothed.
    pub max_step_back: Duration,
    /// One that is so much later as well, and so is one so far from other tracks. Default: 1 h, longer than pauses are.
    pub max_step_ahead: Duration,
    /// How long a track on a new clock waits for the others to follow. Default: 1 s.
    pub clock_wait: Duration,
    /// How long after the first track others count as following it to its new clock. Default: 10 s.
    pub clock_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wait: Duration::from_millis(300),
            start_wait: Duration::from_secs(2),
            lead_in: Duration::from_millis(500),
            max_frames: 4096,
            max_bytes: 16 << 20,
            max_step_back: Duration::from_millis(100),
            max_step_ahead: Duration::from_secs(3600),
            clock_wait: Duration::from_secs(1),
            clock_age: Duration::from_secs(10),
        }
    }
}

/// One of the tracks, in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackIndex(pub usize);

/// When a frame is to be decoded, and what it costs to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Decoding time in microseconds, on whatever clock the track has.
    pub dts: i64,
    /// How long it lasts, in microseconds; 0 if unknown.
    pub duration: u64,
    /// How much of [`Limits::max_bytes`] it takes.
    pub bytes: usize,
}

/// A frame in its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// Its track.
    pub track: TrackIndex,
    /// Decoding time in microseconds on the common clock, which begins at zero.
    pub dts: i64,
    /// What was added to its timestamps.
    pub shift: i64,
    /// What was pushed.
    pub item: T,
}

/// What became of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that left after one of another track that is later.
    pub unsorted: u64,
    /// Frames that were dropped since they are earlier than the first frame of the leading track.
    pub before_start: u64,
    /// How often timestamps started over.
    pub restarts: u64,
}

/// The frames of several tracks that wait for their turn. See the [module](self).
#[derive(Debug)]
pub struct Interleave<T> {
    limits: Limits,
    tracks: Vec<Track<T>>,
    /// The clocks that are running.
    clocks: BTreeMap<u64, Clock>,
    next_clock: u64,
    /// Decoding time of what left last.
    latest: i64,
    counts: Counts,
    now: Time,
}

#[derive(Debug)]
struct Track<T> {
    /// Whether others begin with it.
    leads: bool,
    frames: VecDeque<Frame<T>>,
    bytes: usize,
    /// When something came of it last.
    heard: Time,
    has_ended: bool,
    /// The frame pushed last.
    pushed: Option<Pushed>,
    /// When the frame that left last ends, and when it began.
    left: Option<Left>,
}

#[derive(Debug)]
struct Frame<T> {
    timing: Timing,
    clock: u64,
    arrived: Time,
    item: T,
}

#[derive(Clone, Copy, Debug)]
struct Pushed {
    dts: i64,
    clock: u64,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    dts: i64,
    end: i64,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    /// What is added to timestamps.
    shift: i64,
    since: Time,
}

impl<T> Interleave<T> {
    /// Without tracks.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            tracks: Vec::new(),
            clocks: BTreeMap::new(),
            next_clock: 1,
            latest: 0,
            counts: Counts {
                unsorted: 0,
                before_start: 0,
                restarts: 0,
            },
            now: Time::ZERO,
        }
    }

    /// Adds a track. Others begin with the first frame of one that `leads`.
    pub fn add(&mut self, now: Time, leads: bool) -> TrackIndex {
        let index = TrackIndex(self.tracks.len());
        self.tracks.push(Track {
            leads,
            frames: VecDeque::new(),
            bytes: 0,
            heard: now,
            has_ended: false,
            pushed: None,
            left: None,
        });
        index
    }

    /// Something came of a track, even if it is no frame to be pushed.
    pub fn heard(&mut self, now: Time, track: TrackIndex) {
        if let Some(track) = self.tracks.get_mut(track.0) {
            track.heard = now;
        }
    }

    /// The next frame of a track, in decoding order.
    pub fn push(&mut self, now: Time, track: TrackIndex, timing: Timing, item: T) {
        let clock = self.clock_for(now, track, timing.dts);
        let Some(track) = self.tracks.get_mut(track.0) else {
            return;
        };
        track.heard = now;
        track.has_ended = false;
        track.pushed = Some(Pushed {
            dts: timing.dts,
            clock,
        });
        track.bytes = track.bytes.saturating_add(timing.bytes);
        track.frames.push_back(Frame {
            timing,
            clock,
            arrived: now,
            item,
        });
    }

    /// A track is over, unless something is pushed again: it is not waited for.
    pub fn end(&mut self, track: TrackIndex) {
        if let Some(track) = self.tracks.get_mut(track.0) {
            track.has_ended = true;
        }
    }

    /// The next frame, if it is its turn.
    pub fn poll(&mut self, now: Time) -> Option<Placed<T>> {
        self.now = self.now.max(now);
        self.start_clocks();
        let (dts, next) = self.next()?;
        let may_be_earlier = |track: &Track<T>| {
            let has_come_so_far = self.reached(track).is_some_and(|reached| dts <= reached);
            track.frames.is_empty() && !has_come_so_far && !self.is_silent(track)
        };
        if self.tracks.iter().any(may_be_earlier) && !self.is_over_limits() {
            return None;
        }
        self.place(next)
    }

    /// When to call [`poll`](Self::poll) even if nothing arrives.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.is_empty() {
            return None;
        }
        let silences = self
            .tracks
            .iter()
            .filter(|track| track.frames.is_empty() && !track.has_ended)
            .map(|track| self.silent_from(track));
        let starts = self.tracks.iter().filter_map(|track| {
            let head = track.frames.front()?;
            let is_pending = !self.clocks.contains_key(&head.clock);
            is_pending.then(|| head.arrived + self.patience(head.clock))
        });
        silences
            .chain(starts)
            .filter(|deadline| *deadline > self.now)
            .min()
    }

    /// Whether no frame waits.
    pub fn is_empty(&self) -> bool {
        self.tracks.iter().all(|track| track.frames.is_empty())
    }

    /// How many bytes wait, of all tracks.
    pub fn bytes(&self) -> usize {
        self.tracks.iter().map(|track| track.bytes).sum()
    }

    /// What became of the frames so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    // Clocks.

    /// The clock that a timestamp of a track is on.
    fn clock_for(&mut self, now: Time, index: TrackIndex, dts: i64) -> u64 {
        let Some(track) = self.tracks.get(index.0) else {
            return 0;
        };
        let Some(before) = track.pushed else {
            return self.clock_to_join(now, 0, dts);
        };
        let ahead = dts.saturating_sub(before.dts);
        let is_same = ahead >= -micros(self.limits.max_step_back)
            && ahead <= micros(self.limits.max_step_ahead);
        if is_same {
            return before.clock;
        }
        self.counts.restarts += 1;
        self.clock_to_join(now, before.clock + 1, dts)
    }

    /// The clock to which a track goes over: that of another track that did so just now, or a new one.
    fn clock_to_join(&mut self, now: Time, at_least: u64, dts: i64) -> u64 {
        let newest = self.next_clock - 1;
        let fits = match self.clocks.get(&newest) {
            None => true,
            Some(clock) => {
                let away = dts.saturating_add(clock.shift).abs_diff(self.latest);
                let is_near = away <= micros(self.limits.max_step_ahead).unsigned_abs();
                let is_young = now.since(clock.since) <= self.limits.clock_age;
                is_near && (is_young || at_least == 0)
            }
        };
        if newest >= at_least && fits {
            return newest;
        }
        self.next_clock += 1;
        newest + 1
    }

    /// Starts the clocks of frames whose turn it is.
    fn start_clocks(&mut self) {
        let pending = self.tracks.iter().filter_map(|track| {
            let head = track.frames.front()?;
            (!self.clocks.contains_key(&head.clock)).then_some((head.clock, head.arrived))
        });
        let Some((clock, arrived)) = pending.min() else {
            return;
        };
        let is_awaited = self.now < arrived + self.patience(clock) && !self.is_over_limits();
        let is_ready = |track: &Track<T>| match track.frames.front() {
            Some(head) => head.clock >= clock,
            None => self.is_silent(track),
        };
        let ready = self.tracks.iter().all(is_ready);
        // Frames on older clocks leave first, however long it takes.
        let has_older = self.tracks.iter().any(|track| {
            let head = track.frames.front();
            head.is_some_and(|head| head.clock < clock)
        });
        if ready || !is_awaited && !has_older {
            self.start_clock(clock);
        }
    }

    fn start_clock(&mut self, clock: u64) {
        let is_first = self.clocks.is_empty();
        let heads = |track: &Track<T>| {
            let head = track.frames.front().filter(|head| head.clock == clock)?;
            Some(head.timing.dts)
        };
        if is_first {
            self.drop_lead_in(clock);
        }
        let Some(base) = self.tracks.iter().filter_map(heads).min() else {
            return;
        };
        let resume = self.tracks.iter().filter_map(|track| Some(track.left?.end));
        let shift = resume.max().unwrap_or(0).saturating_sub(base);
        let since = self.now;
        self.clocks.insert(clock, Clock { shift, since });
        self.part_strangers(clock, base);
        let in_use = self.tracks.iter().filter_map(|track| {
            let head = track.frames.front().map(|head| head.clock);
            head.or_else(|| track.pushed.map(|pushed| pushed.clock))
        });
        if let Some(oldest) = in_use.min() {
            self.clocks.retain(|clock, _| *clock >= oldest);
        }
    }

    /// Drops what is earlier than the first frame of the track that leads.
    fn drop_lead_in(&mut self, clock: u64) {
        let leader = self.tracks.iter().filter(|track| track.leads);
        let starts = leader.filter_map(|track| {
            let head = track.frames.front().filter(|head| head.clock == clock)?;
            Some(head.timing.dts)
        });
        let Some(start) = starts.min() else {
            return;
        };
        let earliest = start.saturating_sub(micros(self.limits.lead_in));
        let strange = micros(self.limits.max_step_ahead).unsigned_abs();
        for track in self.tracks.iter_mut().filter(|track| !track.leads) {
            let is_early = |frame: &mut Frame<T>| {
                frame.clock == clock
                    && frame.timing.dts < earliest
                    && frame.timing.dts.abs_diff(start) <= strange
            };
            while let Some(frame) = track.frames.pop_front_if(is_early) {
                track.bytes = track.bytes.saturating_sub(frame.timing.bytes);
                self.counts.before_start += 1;
            }
        }
    }

    /// A track whose timestamps have nothing to do with those of the others gets a clock of its own.
    fn part_strangers(&mut self, clock: u64, base: i64) {
        let limit = base.saturating_add(micros(self.limits.max_step_ahead));
        for track in &mut self.tracks {
            let head = track.frames.front();
            let is_stranger =
                head.is_some_and(|head| head.clock == clock && head.timing.dts > limit);
            if !is_stranger {
                continue;
            }
            let own = self.next_clock;
            self.next_clock += 1;
            for frame in track.frames.iter_mut().filter(|frame| frame.clock == clock) {
                frame.clock = own;
            }
            if let Some(pushed) = track.pushed.as_mut().filter(|pushed| pushed.clock == clock) {
                pushed.clock = own;
            }
        }
    }

    // Turns.

    /// The earliest frame of those whose clock runs: its time, and its track.
    fn next(&self) -> Option<(i64, usize)> {
        let heads = (0..).zip(&self.tracks).filter_map(|(index, track)| {
            let head = track.frames.front()?;
            let clock = self.clocks.get(&head.clock)?;
            Some((head.timing.dts.saturating_add(clock.shift), index))
        });
        heads.min()
    }

    /// The time of the last frame of a track, before which no further one will come.
    fn reached(&self, track: &Track<T>) -> Option<i64> {
        let pushed = track.pushed?;
        let clock = self.clocks.get(&pushed.clock)?;
        Some(pushed.dts.saturating_add(clock.shift))
    }

    fn place(&mut self, index: usize) -> Option<Placed<T>> {
        let track = self.tracks.get_mut(index)?;
        let frame = track.frames.pop_front()?;
        let clock = self.clocks.get(&frame.clock)?;
        let Timing {
            dts: original,
            duration,
            bytes,
        } = frame.timing;
        track.bytes = track.bytes.saturating_sub(bytes);
        let before = track.left.map_or(0, |left| left.dts);
        let dts = original.saturating_add(clock.shift).max(before);
        let lasts = match i64::try_from(duration) {
            Ok(0) | Err(_) => dts.saturating_sub(before),
            Ok(duration) => duration,
        };
        let end = dts.saturating_add(lasts.clamp(1000, 1_000_000));
        track.left = Some(Left { dts, end });
        if dts < self.latest {
            self.counts.unsorted += 1;
        }
        self.latest = self.latest.max(dts);
        Some(Placed {
            track: TrackIndex(index),
            dts,
            shift: dts.saturating_sub(original),
            item: frame.item,
        })
    }

    fn is_over_limits(&self) -> bool {
        self.tracks.iter().any(|track| {
            track.frames.len() > self.limits.max_frames || track.bytes > self.limits.max_bytes
        })
    }

    /// Whether a track without frames is not waited for.
    fn is_silent(&self, track: &Track<T>) -> bool {
        track.has_ended || self.silent_from(track) <= self.now
    }

    fn silent_from(&self, track: &Track<T>) -> Time {
        let is_new = track.pushed.is_none();
        track.heard
            + if is_new {
                self.limits.start_wait
            } else {
                self.limits.wait
            }
    }

    /// How long the first frame on a clock waits for other tracks.
    fn patience(&self, _clock: u64) -> Duration {
        if self.clocks.is_empty() {
            // A track that is heard of is waited for until it has a frame.
            return Duration::MAX;
        }
        self.limits.clock_wait
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
