//! One stream as one end of a simulated connection sees it: what it may send, and what it received and did not read yet.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::time::Time;
use crate::transport::{Answer, Dir, StreamId};

use super::connection::Side;

/// A stream in the simulator's own numbering: the `index`th of this direction that `opener` opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WireId {
    pub(super) opener: Side,
    pub(super) dir: Dir,
    pub(super) index: u64,
}

/// Both directions of a stream at one end; `None` where there is no such direction.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: StreamId,
    pub(super) sending: Option<Sending>,
    pub(super) receiving: Option<Receiving>,
    /// Whether the peer was given a new stream in place of this one.
    pub(super) replaced: bool,
}

impl Stream {
    /// Whether both directions are over, so that the peer may open another stream.
    pub(super) fn is_over(&self) -> bool {
        self.sending.as_ref().is_none_or(Sending::is_over)
            && self.receiving.as_ref().is_none_or(Receiving::is_over)
    }
}

/// How an end stopped sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With a fin that the peer has not acknowledged yet.
    Fin,
    /// With a fin, and the peer has everything.
    Acked,
    /// With a reset.
    Reset,
}

/// The sending direction.
#[derive(Debug)]
pub(super) struct Sending {
    /// Bytes that the peer's stream window still allows.
    pub(super) credit: usize,
    /// Bytes taken from the application so far.
    pub(super) sent: usize,
    pub(super) ending: Option<Ending>,
    /// Set while a [`Writable`](crate::transport::Input::Writable) is owed: whether the short write was urgent.
    pub(super) blocked: Option<bool>,
    /// The peer's STOP_SENDING was told; the application owes a reset.
    pub(super) stopped: bool,
    /// When the last piece arrives: later ones must not overtake it.
    pub(super) last_arrival: Time,
}

impl Sending {
    pub(super) const fn new(window: usize) -> Self {
        Self {
            credit: window,
            sent: 0,
            ending: None,
            blocked: None,
            stopped: false,
            last_arrival: Time::ZERO,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.ending, Some(Ending::Acked | Ending::Reset))
    }
}

/// What the receiving direction has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More may come.
    Open,
    /// The fin arrived; it is told after the buffered bytes.
    FinArrived,
    /// A reset arrived and is not told yet.
    ResetArrived(u64),
    /// The end was told to the application.
    Told,
    /// The application does not want the rest, which may still come.
    Stopped,
    /// The application did not want the rest, and nothing can come any more.
    StoppedAndEnded,
}

/// The receiving direction.
#[derive(Debug)]
pub(super) struct Receiving {
    buffer: VecDeque<Bytes>,
    pub(super) progress: Progress,
    /// The application read until nothing was left (or never read), so it must be told when something arrives.
    pub(super) hungry: bool,
    /// Bytes given back to the sender's connection window.
    pub(super) returned: usize,
}

impl Receiving {
    pub(super) const fn new() -> Self {
        Self {
            buffer: VecDeque::new(),
            progress: Progress::Open,
            hungry: true,
            returned: 0,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.progress, Progress::Told | Progress::StoppedAndEnded)
    }

    /// Bytes that arrived and were not read.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.iter().map(Bytes::len).sum()
    }

    /// Takes in a piece; returns how many bytes of it nobody will read.
    pub(super) fn arrive(&mut self, bytes: Bytes, fin: bool) -> usize {
        match self.progress {
            Progress::Open => {
                if !bytes.is_empty() {
                    self.buffer.push_back(bytes);
                }
                if fin {
                    self.progress = Progress::FinArrived;
                }
                0
            }
            Progress::Stopped => {
                if fin {
                    self.progress = Progress::StoppedAndEnded;
                }
                self.returned += bytes.len();
                bytes.len()
            }
            // What a reset overtook was already given back with it.
            Progress::FinArrived
            | Progress::ResetArrived(_)
            | Progress::Told
            | Progress::StoppedAndEnded => 0,
        }
    }

    /// Takes in a reset after `size` bytes in all; returns how many bytes nobody will read.
    pub(super) fn reset(&mut self, code: u64, size: usize) -> usize {
        let unread = size.saturating_sub(self.returned);
        match self.progress {
            Progress::Open | Progress::FinArrived => {
                self.buffer.clear();
                self.progress = Progress::ResetArrived(code);
            }
            Progress::Stopped => self.progress = Progress::StoppedAndEnded,
            Progress::ResetArrived(_) | Progress::Told | Progress::StoppedAndEnded => return 0,
        }
        self.returned = size;
        unread
    }

    /// Forgets the direction; returns how many bytes nobody will read.
    pub(super) fn stop(&mut self) -> usize {
        let unread = self.buffered();
        self.buffer.clear();
        self.returned += unread;
        self.progress = match self.progress {
            Progress::Open | Progress::Stopped => Progress::Stopped,
            Progress::FinArrived
            | Progress::ResetArrived(_)
            | Progress::Told
            | Progress::StoppedAndEnded => Progress::StoppedAndEnded,
        };
        unread
    }

    /// Answers a read of at most `max` bytes.
    pub(super) fn read(&mut self, max: usize) -> Answer {
        if let Progress::ResetArrived(code) = self.progress {
            self.progress = Progress::Told;
            return Answer::Reset(code);
        }
        if let Some(mut piece) = self.buffer.pop_front() {
            if piece.len() > max {
                self.buffer.push_front(piece.split_off(max));
            }
            self.returned += piece.len();
            return Answer::Data(piece);
        }
        if self.progress == Progress::FinArrived {
            self.progress = Progress::Told;
            return Answer::Fin;
        }
        self.hungry = true;
        Answer::Blocked
    }

    /// Whether a read would be answered with anything but [`Answer::Blocked`].
    pub(super) fn has_news(&self) -> bool {
        matches!(
            self.progress,
            Progress::FinArrived | Progress::ResetArrived(_)
        ) || !self.buffer.is_empty()
    }
}
