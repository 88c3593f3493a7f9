//! Frames on their way from the tracks to the output.

use oxymoq_core::media::interleave::Placed;
use oxymoq_core::media::{Configuration, Frame};
use oxymoq_core::time::Time;

use super::feed::Feed;
use super::outlet::{Outlet, State};
use super::track::{Ready, Track};
use super::{FlvReceiver, Link};

impl<O: Outlet> FlvReceiver<O> {
    /// Moves everything on that can move.
    pub(super) fn advance(&mut self, now: Time) {
        for feed in &mut self.feeds {
            let Some(track) = feed.track_mut() else {
                continue;
            };
            while let Some(ready) = track.poll(now) {
                let timing = ready.timing();
                self.interleave.push(now, track.index(), timing, ready);
                if matches!(self.link, Link::Up(_)) {
                    self.trouble.over();
                }
            }
        }
        self.end_tracks();
        self.writer.flush();
        while !self.writer.is_behind()
            && let Some(placed) = self.interleave.poll(now)
        {
            self.write(now, placed);
        }
        self.pause_or_resume();
        self.finish_output();
        if self.report.poll_timeout().is_some_and(|at| at <= now) {
            let totals = self.totals();
            self.report.progress(now, || totals);
        }
    }

    /// When frames stop waiting for what does not come.
    pub(super) fn next_frame(&self) -> Option<Time> {
        let tracks = self.feeds.iter().filter_map(Feed::track);
        let next = tracks.filter_map(Track::poll_timeout);
        // What the output has no room for waits for the output alone.
        let interleave = self.interleave.poll_timeout();
        let interleave = interleave.filter(|_| !self.writer.is_behind());
        next.chain(interleave).min()
    }

    /// A track that is over, and all of it on its way, is not waited for.
    fn end_tracks(&mut self) {
        let is_ending = self.ending.is_some();
        let over = self.feeds.iter().filter(|feed| is_ending || feed.is_over());
        for track in over.filter_map(Feed::track) {
            self.interleave.end(track.index());
        }
    }

    fn write(&mut self, now: Time, placed: Placed<Ready>) {
        if !self.writer.has_started() {
            let tracks = self.feeds.iter().filter_map(Feed::track);
            let known = tracks.filter_map(Track::configuration);
            let known: Vec<Configuration> = known.cloned().collect();
            self.writer.start(&known);
        }
        let ready = placed.item;
        if ready.is_live {
            self.measure(now, &ready.frame);
        }
        let frame = Frame {
            dts: placed.dts,
            pts: ready.frame.pts.saturating_add(placed.shift),
            ..ready.frame
        };
        self.writer.frame(&frame, ready.configuration.as_ref());
    }

    /// How long a frame took to get here.
    fn measure(&mut self, now: Time, frame: &Frame) {
        if let (Some((told, wall)), Some(sent)) = (self.clock, frame.wall) {
            let since = u64::try_from(now.since(told).as_micros()).unwrap_or(u64::MAX);
            let milliseconds = wall.0.saturating_add(since) / 1000;
            // Clocks of two machines are not that exact.
            self.delays.add(milliseconds.saturating_sub(sent));
        }
    }

    /// Reads nothing more while the output is behind: the network holds the rest back.
    fn pause_or_resume(&mut self) {
        let is_behind = self.writer.is_behind();
        if is_behind == self.is_paused {
            return;
        }
        self.is_paused = is_behind;
        let fetches = self.feeds.iter().filter_map(|feed| feed.fetch.as_ref());
        let fetches: Vec<_> = fetches.map(|fetch| fetch.request).collect();
        let streams: Vec<_> = self.streams.ids().collect();
        let Some(session) = self.session() else {
            return;
        };
        for stream in streams {
            if is_behind {
                session.pause_stream(stream);
            } else {
                session.resume_stream(stream);
            }
        }
        for fetch in fetches {
            if is_behind {
                session.pause_fetch(fetch);
            } else {
                session.resume_fetch(fetch);
            }
        }
    }

    /// At the end, once all frames are written, the output is closed.
    fn finish_output(&mut self) {
        let Some(ending) = &mut self.ending else {
            return;
        };
        if !ending.is_written && self.interleave.is_empty() {
            ending.is_written = true;
            if self.writer.state() == State::Open {
                self.writer.finish();
            }
        }
    }
}
