//! What people see while media is streamed: a line that is written over and over on a terminal, log lines elsewhere.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use oxymoq_core::time::Time;

use super::tracks::Count;

/// How often a terminal's line is written anew.
const BLINK: Duration = Duration::from_secs(1);
/// How often there is a log line.
const REPORT: Duration = Duration::from_secs(10);
/// The terminal's line is at least this long, so that it covers the one before.
const WIDTH: usize = 100;

/// How it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Of video.
    pub video: Count,
    /// Of audio.
    pub audio: Count,
    /// Subscriptions to any track.
    pub subscriptions: usize,
}

impl Status {
    const fn bytes(&self) -> u64 {
        self.video.bytes + self.audio.bytes
    }
}

/// Tells people how it goes.
pub(super) struct Progress {
    /// A terminal.
    terminal: Option<Box<dyn Write + Send>>,
    began: Option<Time>,
    /// When it was told last, and of how many bytes.
    told: (Time, u64),
    next: Option<Time>,
    has_line: bool,
}

impl Progress {
    pub(super) fn new(terminal: Option<Box<dyn Write + Send>>) -> Self {
        Self {
            terminal,
            began: None,
            told: (Time::ZERO, 0),
            next: None,
            has_line: false,
        }
    }

    /// From now on there is something to tell.
    pub(super) fn begin(&mut self, now: Time) {
        if self.began.is_none() {
            self.began = Some(now);
            self.told = (now, 0);
            self.next = Some(now + self.interval());
        }
    }

    const fn interval(&self) -> Duration {
        match self.terminal {
            Some(_) => BLINK,
            None => REPORT,
        }
    }

    /// When to tell.
    pub(super) fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        Some((self.next?, "the progress line"))
    }

    /// Tells, if it is time to.
    pub(super) fn tell(&mut self, now: Time, status: &Status) {
        let Some(began) = self
            .began
            .filter(|_| self.next.is_some_and(|next| next <= now))
        else {
            return;
        };
        let (then, bytes) = self.told;
        let span = now.since(then);
        let rate = bits_per_second(status.bytes().saturating_sub(bytes), span);
        self.told = (now, status.bytes());
        self.next = Some(now + self.interval());
        let line = Line {
            since: now.since(began),
            rate,
            status,
        };
        match &mut self.terminal {
            Some(terminal) => {
                let text = line.to_string();
                // A terminal that went away is no reason to stop.
                let _seen = write!(terminal, "\r{text:WIDTH$}").and_then(|()| terminal.flush());
                self.has_line = true;
            }
            None => log::info!("{line}"),
        }
    }

    /// Tells for the last time.
    pub(super) fn end(&mut self, now: Time, status: &Status) {
        let Some(began) = self.began.take() else {
            return;
        };
        self.next = None;
        if let Some(terminal) = self.terminal.as_mut().filter(|_| self.has_line) {
            let _seen = writeln!(terminal);
        }
        let since = now.since(began);
        let rate = bits_per_second(status.bytes(), since);
        log::info!(
            "published {}",
            Line {
                since,
                rate,
                status
            }
        );
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// One line for people.
struct Line<'a> {
    since: Duration,
    /// Bits per second.
    rate: u64,
    status: &'a Status,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.since.as_secs();
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let Status {
            video,
            audio,
            subscriptions,
        } = self.status;
        write!(
            f,
            "{hours:02}:{minutes:02}:{seconds:02} {} kbit/s, video {} frames in {} groups, audio {} in {}, \
             {subscriptions} subscriptions, dropped {} groups and the ends of {} ({} frames)",
            self.rate / 1000,
            video.frames,
            video.groups,
            audio.frames,
            audio.groups,
            video.dropped_groups + audio.dropped_groups,
            video.cut_groups + audio.cut_groups,
            video.dropped_frames + audio.dropped_frames,
        )?;
        match video.early_frames + audio.early_frames {
            0 => Ok(()),
            early => write!(f, ", {early} frames before the first key frame"),
        }
    }
}

fn bits_per_second(bytes: u64, span: Duration) -> u64 {
    let micros = span.as_micros().max(1);
    let rate = u128::from(bytes) * 8 * 1_000_000 / micros;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    struct Terminal(Sender<u8>);

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = bytes.iter().all(|byte| self.0.send(*byte).is_ok());
            assert!(sent, "somebody looks");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_terminals_line_is_written_over_each_second_and_left_at_the_end() {
        let (sender, receiver) = channel();
        let mut progress = Progress::new(Some(Box::new(Terminal(sender))));
        let seen = || String::from_utf8(receiver.try_iter().collect()).unwrap();
        assert_eq!(progress.poll_timeout(), None);
        progress.begin(at(1));
        let mut status = Status::default();
        progress.tell(at(1), &status);
        assert_eq!(seen(), "", "not yet");
        assert_eq!(progress.poll_timeout().map(|(at, _)| at), Some(at(2)));
        status.video.bytes = 25_000;
        status.video.groups = 2;
        status.audio.early_frames = 3;
        progress.tell(at(2), &status);
        let line = seen();
        assert!(line.starts_with("\r00:00:01 200 kbit/s, video 0 frames in 2 groups"));
        assert!(
            line.contains("3 frames before the first key frame"),
            "{line}"
        );
        progress.tell(at(3), &status);
        assert!(seen().starts_with("\r00:00:02 0 kbit/s"));
        progress.end(at(3662), &status);
        assert_eq!(seen(), "\n");
        assert_eq!(progress.poll_timeout(), None);
    }
}
