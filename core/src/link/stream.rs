//! One stream of a link, as one end knows it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::FRAME_COST;
use crate::transport::Dir;

/// A stream: the directions of it that are not over.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) sending: Option<Sending>,
    pub(super) receiving: Option<Receiving>,
}

/// The direction in which this end writes.
#[derive(Debug)]
pub(super) struct Sending {
    /// How many bytes the other end takes now.
    pub(super) credit: usize,
    /// Whether a write waits for that.
    pub(super) is_full: bool,
}

/// The direction in which the other end writes.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    unread: VecDeque<Bytes>,
    /// What comes after that.
    pub(super) ending: Option<Ending>,
    /// Whether there was nothing when it was read last.
    pub(super) is_awaited: bool,
    /// Bytes that were read and not told.
    pub(super) unpaid: usize,
    /// Whether that is going to be told.
    pub(super) is_due: bool,
}

/// How the other end ended its direction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Fin,
    Reset(u64),
}

impl Stream {
    pub(super) fn opened_here(dir: Dir, window: usize) -> Self {
        Self {
            sending: Some(Sending::new(window)),
            receiving: (dir == Dir::Bi).then(Receiving::default),
        }
    }

    pub(super) fn opened_there(dir: Dir, window: usize) -> Self {
        Self {
            sending: (dir == Dir::Bi).then(|| Sending::new(window)),
            receiving: Some(Receiving::default()),
        }
    }
}

impl Sending {
    const fn new(window: usize) -> Self {
        Self {
            credit: window,
            is_full: false,
        }
    }
}

impl Receiving {
    /// Takes in what came. Returns what need not be held for it any more.
    pub(super) fn push(&mut self, bytes: Bytes, fin: bool) -> usize {
        let is_empty = bytes.is_empty();
        if !is_empty {
            self.unread.push_back(bytes);
        }
        if fin {
            self.ending = Some(Ending::Fin);
        }
        if is_empty { FRAME_COST } else { 0 }
    }

    /// The next bytes, at most `max`, and what else is not held any more.
    pub(super) fn pop(&mut self, max: usize) -> Option<(Bytes, usize)> {
        let first = self.unread.front_mut()?;
        if first.len() > max {
            return Some((first.split_to(max), 0));
        }
        Some((self.unread.pop_front()?, FRAME_COST))
    }

    /// Whether the reader is to be told that there is something.
    pub(super) const fn wake(&mut self) -> bool {
        std::mem::replace(&mut self.is_awaited, false)
    }

    /// What is held for it.
    pub(super) fn unread(&self) -> usize {
        self.unread
            .iter()
            .map(|bytes| bytes.len() + FRAME_COST)
            .sum()
    }
}
