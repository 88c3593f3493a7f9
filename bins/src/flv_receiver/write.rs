//! Frames in their turn in, FLV out: the file's order of tags, and what waits for the output.

use bytes::{Bytes, BytesMut};
use oxymoq_core::media::flv::{Metadata, Muxer};
use oxymoq_core::media::{Configuration, Frame, Kind};

use super::limits::Limits;
use super::outlet::{Outlet, State};

/// Writes FLV to an outlet.
#[derive(Debug)]
pub(super) struct Writer<O> {
    outlet: O,
    muxer: Option<Muxer>,
    unwritten: BytesMut,
    max_unwritten: usize,
    /// Set from when too much is unwritten until everything is.
    is_behind: bool,
    is_finished: bool,
    counts: Counts,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) video: u64,
    pub(super) audio: u64,
    pub(super) bytes: u64,
    /// Frames that FLV cannot carry.
    pub(super) unwritable: u64,
    /// Decoding time of the last frame, in microseconds.
    pub(super) dts: i64,
}

impl<O: Outlet> Writer<O> {
    pub(super) fn new(outlet: O, limits: &Limits) -> Self {
        Self {
            outlet,
            muxer: None,
            unwritten: BytesMut::new(),
            max_unwritten: limits.max_unwritten_bytes,
            is_behind: false,
            is_finished: false,
            counts: Counts::default(),
        }
    }

    pub(super) fn state(&mut self) -> State {
        self.outlet.state()
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether the output should catch up before it is given more.
    pub(super) const fn is_behind(&self) -> bool {
        self.is_behind
    }

    pub(super) const fn has_started(&self) -> bool {
        self.muxer.is_some()
    }

    /// Begins the file with what is known of its tracks.
    pub(super) fn start(&mut self, known: &[Configuration]) {
        let of = |kind| {
            let mut known = known.iter();
            known.find(|configuration| configuration.codec.kind() == kind)
        };
        let muxer = Muxer::new(Metadata::of(of(Kind::Video), of(Kind::Audio)));
        let start = muxer.start();
        self.muxer = Some(muxer);
        self.append(&start);
        for configuration in known {
            self.configure(0, configuration);
        }
    }

    /// A frame, on the file's clock in microseconds, and what its decoder must know first if that has changed.
    pub(super) fn frame(&mut self, frame: &Frame, configuration: Option<&Configuration>) {
        if let Some(configuration) = configuration {
            self.configure(frame.dts, configuration);
        }
        let Some(muxer) = &mut self.muxer else {
            return;
        };
        match muxer.frame(frame) {
            Ok(tag) => {
                self.append(&tag);
                self.counts.dts = self.counts.dts.max(frame.dts);
                match frame.kind {
                    Kind::Video => self.counts.video += 1,
                    Kind::Audio => self.counts.audio += 1,
                }
            }
            Err(unwritable) => {
                if self.counts.unwritable == 0 {
                    log::warn!("a frame is left out: {unwritable}");
                }
                self.counts.unwritable += 1;
            }
        }
        self.flush();
    }

    /// Nothing follows.
    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        if let Some(muxer) = &self.muxer {
            let end = muxer.finish();
            self.append(&end);
        }
        self.flush();
    }

    /// Gives the outlet what it takes.
    pub(super) fn flush(&mut self) {
        if !self.unwritten.is_empty() && self.outlet.state() == State::Open {
            let all = self.unwritten.split().freeze();
            if let Err(back) = self.outlet.offer(all) {
                self.unwritten = BytesMut::from(back);
            }
        }
        if self.unwritten.is_empty() {
            self.is_behind = false;
            if self.is_finished {
                self.outlet.finish();
            }
        } else if self.unwritten.len() > self.max_unwritten {
            self.is_behind = true;
        }
    }

    /// At so many microseconds; one that is in force already changes nothing.
    fn configure(&mut self, dts: i64, configuration: &Configuration) {
        let Some(muxer) = &mut self.muxer else {
            return;
        };
        match muxer.configuration(dts / 1000, configuration) {
            Ok(tag) => self.append(&tag),
            Err(unwritable) => log::warn!(
                "a configuration of {} is left out: {unwritable}",
                configuration.codec_string()
            ),
        }
    }

    fn append(&mut self, bytes: &Bytes) {
        self.counts.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.unwritten.extend_from_slice(bytes);
    }

    #[cfg(test)]
    pub(super) const fn outlet(&self) -> &O {
        &self.outlet
    }

    #[cfg(test)]
    pub(super) const fn outlet_mut(&mut self) -> &mut O {
        &mut self.outlet
    }

    /// Bytes that wait for the outlet.
    #[cfg(test)]
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten.len()
    }
}
