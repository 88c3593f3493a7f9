//! What people are told: a line that is kept up to date on a terminal, and a summary at the end.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use oxymoq_core::media::{Kind, interleave, jitter};
use oxymoq_core::time::Time;

use super::track::{self, word};
use super::write;

/// How often the line on a terminal changes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Delays are told apart up to this many milliseconds.
const LONGEST_DELAY: usize = 10_000;

/// Where people read, and what for.
pub struct Report {
    out: Box<dyn Write>,
    /// Whether a line can be written over.
    is_terminal: bool,
    next: Option<Time>,
    /// What was told last, to tell how much it is in a second.
    last: (Time, u64),
}

impl Report {
    /// Tells a summary at the end; before, if `is_terminal`, a line that changes every second.
    pub fn new(out: Box<dyn Write>, is_terminal: bool) -> Self {
        Self {
            out,
            is_terminal,
            next: None,
            last: (Time::ZERO, 0),
        }
    }

    /// When to [`progress`](Self::progress) next.
    pub(super) const fn poll_timeout(&self) -> Option<Time> {
        self.next
    }

    /// Receiving begins.
    pub(super) fn start(&mut self, now: Time) {
        if self.is_terminal {
            self.next = Some(now + INTERVAL);
            self.last = (now, 0);
        }
    }

    /// Tells how it goes, if it is time to.
    pub(super) fn progress(&mut self, now: Time, totals: impl FnOnce() -> Totals) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        self.next = Some(now + INTERVAL);
        let totals = totals();
        let (since, bytes) = std::mem::replace(&mut self.last, (now, totals.written.bytes));
        let micros = now.since(since).as_micros().max(1);
        let new = u128::from(totals.written.bytes.saturating_sub(bytes));
        let rate = new * 8000 / micros;
        let line = format!("{}  {rate} kbit/s", totals.line());
        // Nobody is told then.
        let _told = write!(self.out, "\r{line}\x1b[K").and_then(|()| self.out.flush());
    }

    /// Tells how it went.
    pub(super) fn finish(&mut self, totals: &Totals) {
        let over = if self.next.take().is_some() {
            "\r\x1b[K"
        } else {
            ""
        };
        let _told = writeln!(self.out, "{over}{totals}").and_then(|()| self.out.flush());
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("is_terminal", &self.is_terminal)
            .finish_non_exhaustive()
    }
}

/// Everything that was counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) written: write::Counts,
    pub(super) tracks: Vec<(Kind, track::Counts, jitter::Counts)>,
    pub(super) interleave: interleave::Counts,
    /// Objects that were too large, or more than could be kept.
    pub(super) too_much: u64,
    pub(super) reconnects: u64,
    /// Delay of half and of 99 of 100 live frames, in milliseconds.
    pub(super) delays: Option<(u64, u64)>,
}

impl Totals {
    /// Frames that were not written although they were published.
    fn lost(&self) -> u64 {
        let of_track = |(_, track, jitter): &(Kind, track::Counts, jitter::Counts)| {
            track.malformed + track.undecodable + jitter.late
        };
        let tracks: u64 = self.tracks.iter().map(of_track).sum();
        tracks + self.too_much + self.interleave.before_start + self.written.unwritable
    }

    fn line(&self) -> String {
        let delay = self
            .delays
            .map_or_else(String::new, |(half, _)| format!("  delay {half} ms"));
        format!(
            "{}  video {}  audio {}  dropped {}{delay}",
            Clock(self.written.dts),
            self.written.video,
            self.written.audio,
            self.lost(),
        )
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = &self.written;
        write!(
            f,
            "wrote {} of media in {} bytes: {} video and {} audio frames",
            Clock(written.dts),
            written.bytes,
            written.video,
            written.audio
        )?;
        for (kind, track, jitter) in &self.tracks {
            write!(
                f,
                "; {}: {} gaps, {} late, {} twice, {} malformed, {} not decodable",
                word(*kind),
                jitter.gaps,
                jitter.late,
                jitter.duplicates,
                track.malformed,
                track.undecodable
            )?;
        }
        write!(
            f,
            "; {} before the picture, {} too much, {} out of order, {} restarts, {} reconnects",
            self.interleave.before_start,
            self.too_much + written.unwritable,
            self.interleave.unsorted,
            self.interleave.restarts,
            self.reconnects
        )?;
        match self.delays {
            Some((half, most)) => write!(f, "; delay p50 {half} ms, p99 {most} ms"),
            None => f.write_str("; delay unknown"),
        }
    }
}

/// Microseconds as hours, minutes, seconds and thousandths.
struct Clock(i64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0 / 1000;
        let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
        let (minutes, second) = (seconds / 60, seconds % 60);
        let (hours, minute) = (minutes / 60, minutes % 60);
        write!(f, "{hours:02}:{minute:02}:{second:02}.{rest:03}")
    }
}

/// How long frames took from where they were captured, counted in milliseconds.
#[derive(Debug)]
pub(super) struct Delays {
    /// How many frames took so many milliseconds; the last entry counts all that took longer.
    counts: Vec<u64>,
    total: u64,
}

impl Delays {
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; LONGEST_DELAY + 1],
            total: 0,
        }
    }

    /// A frame took so long.
    pub(super) fn add(&mut self, milliseconds: u64) {
        let index = usize::try_from(milliseconds).unwrap_or(LONGEST_DELAY);
        if let Some(count) = self.counts.get_mut(index.min(LONGEST_DELAY)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// What so many of 100 frames took at most.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        if self.total == 0 {
            return None;
        }
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        (0..).zip(&self.counts).find_map(|(delay, count)| {
            seen += count;
            (seen >= rank).then_some(delay)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Rc<RefCell<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.0.borrow().clone()).unwrap()
        }
    }

    fn totals() -> Totals {
        Totals {
            written: write::Counts {
                video: 25,
                audio: 47,
                bytes: 125_000,
                unwritable: 0,
                dts: 3_723_004_999,
            },
            delays: Some((12, 34)),
            ..Totals::default()
        }
    }

    #[test]
    fn delays_are_ranked() {
        let mut delays = Delays::new();
        assert_eq!(delays.percentile(50), None);
        for delay in 1..=100 {
            delays.add(delay);
        }
        assert_eq!(delays.percentile(50), Some(50));
        assert_eq!(delays.percentile(99), Some(99));
        for _ in 0..300 {
            delays.add(u64::MAX);
        }
        assert_eq!(delays.percentile(50), Some(10_000));
        assert_eq!(delays.counts.len(), 10_001);
    }

    #[test]
    fn a_line_on_a_terminal_changes_every_second_and_the_summary_replaces_it() {
        let screen = Screen::default();
        let mut report = Report::new(Box::new(screen.clone()), true);
        report.start(Time::ZERO);
        let second = Time::ZERO + INTERVAL;
        assert_eq!(report.poll_timeout(), Some(second));
        report.progress(Time::from_micros(999_999), totals);
        assert_eq!(screen.text(), "");
        report.progress(second, totals);
        let line = "\r01:02:03.004  video 25  audio 47  dropped 0  delay 12 ms  1000 kbit/s\x1b[K";
        assert_eq!(screen.text(), line);
        report.finish(&totals());
        let text = screen.text();
        assert!(text.ends_with("delay p50 12 ms, p99 34 ms\n"), "{text}");
    }

    #[test]
    fn where_there_is_no_terminal_only_the_summary_is_told() {
        let screen = Screen::default();
        let mut report = Report::new(Box::new(screen.clone()), false);
        report.start(Time::ZERO);
        assert_eq!(report.poll_timeout(), None);
        report.finish(&Totals::default());
        let text = screen.text();
        assert!(text.starts_with("wrote 00:00:00.000"), "{text}");
        assert!(text.ends_with("delay unknown\n"), "{text}");
    }
}
