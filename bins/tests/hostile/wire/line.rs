//! One connection of the attacker's: what is to be done on it, in which order, and what came of that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use oxymoq_core::h3::WebTransport;
use oxymoq_core::transport::{Answer, Dir, Output, Room, StreamId};

/// Bytes that are read at once.
const READ: usize = 16 << 10;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Between the attacker and the transport, if it does not speak HTTP/3 by itself.
    pub(super) layer: Option<Box<WebTransport>>,
    pub(super) is_connected: bool,
    /// Streams of this direction are never read.
    pub(super) deaf: Option<Dir>,
    pub(super) opened: u64,
    pub(super) opens: VecDeque<(StreamId, Dir)>,
    pub(super) no_credit: BTreeSet<Dir>,
    pub(super) commands: VecDeque<Output>,
    pub(super) sending: BTreeMap<StreamId, Sending>,
    pub(super) ready: VecDeque<StreamId>,
    pub(super) full: bool,
    pub(super) reads: VecDeque<StreamId>,
    /// Those that are never read.
    pub(super) unheard: BTreeSet<StreamId>,
    pub(super) datagrams: VecDeque<Bytes>,
    pub(super) no_datagrams: bool,
    /// Bytes of a write at most; 0: as many as there are.
    pub(super) piece: usize,
    pub(super) asked: Option<Output>,
    pub(super) told_settled: bool,
}

#[derive(Debug, Default)]
pub(super) struct Sending {
    pub(super) queue: VecDeque<Bytes>,
    pub(super) fin: bool,
    pub(super) is_open: bool,
    pub(super) is_ready: bool,
    /// What is to be done once everything was written.
    pub(super) after: Option<Output>,
}

impl Line {
    /// There may be something to read on a stream.
    pub(super) fn hear_of(&mut self, stream: StreamId, dir: Dir) {
        if self.deaf == Some(dir) {
            self.unheard.insert(stream);
        } else {
            self.reads.push_back(stream);
        }
    }

    pub(super) fn rouse(&mut self, stream: StreamId) {
        if let Some(sending) = self.sending.get_mut(&stream)
            && sending.is_open
            && !sending.is_ready
        {
            sending.is_ready = true;
            self.ready.push_back(stream);
        }
    }

    pub(super) fn next(&mut self) -> Option<Output> {
        if let Some(command) = self.commands.pop_front() {
            return Some(command);
        }
        if let Some(at) = self
            .opens
            .iter()
            .position(|(_, dir)| !self.no_credit.contains(dir))
        {
            let (stream, dir) = self.opens.remove(at)?;
            return Some(Output::Open { stream, dir });
        }
        while !self.full
            && let Some(stream) = self.ready.pop_front()
        {
            let Some(sending) = self.sending.get_mut(&stream) else {
                continue;
            };
            sending.is_ready = false;
            let next = sending.queue.pop_front();
            if next.is_none() && !sending.fin {
                if let Some(after) = sending.after.take() {
                    self.sending.remove(&stream);
                    return Some(after);
                }
                continue;
            }
            let mut bytes = next.unwrap_or_default();
            if self.piece > 0 && bytes.len() > self.piece {
                let rest = bytes.split_off(self.piece);
                sending.queue.push_front(rest);
            }
            let fin = sending.fin && sending.queue.is_empty();
            return Some(Output::Write {
                stream,
                bytes,
                fin,
                urgent: false,
            });
        }
        if !self.no_datagrams
            && let Some(bytes) = self.datagrams.pop_front()
        {
            return Some(Output::Datagram(bytes));
        }
        let stream = self.reads.pop_front()?;
        Some(Output::Read { stream, max: READ })
    }

    /// What was asked cannot be done now, or is done.
    pub(super) fn answered(&mut self, asked: Output, answer: Answer) -> Option<(StreamId, Answer)> {
        match (asked, answer) {
            (Output::Open { stream, dir }, Answer::Blocked) => {
                self.no_credit.insert(dir);
                self.opens.push_front((stream, dir));
            }
            (Output::Open { stream, dir }, Answer::Done) => {
                if let Some(sending) = self.sending.get_mut(&stream) {
                    sending.is_open = true;
                }
                if dir == Dir::Bi {
                    self.hear_of(stream, dir);
                }
                self.rouse(stream);
            }
            (
                Output::Write {
                    stream, bytes, fin, ..
                },
                Answer::Wrote { taken, room },
            ) => {
                self.full |= room == Room::ConnectionFull;
                let is_done = taken == bytes.len();
                if let Some(sending) = self.sending.get_mut(&stream) {
                    if !is_done {
                        sending.queue.push_front(bytes.slice(taken..));
                    } else if fin {
                        self.sending.remove(&stream);
                    }
                }
                if is_done {
                    self.rouse(stream);
                }
            }
            (Output::Datagram(bytes), Answer::Blocked) => {
                self.no_datagrams = true;
                self.datagrams.push_front(bytes);
            }
            (Output::Read { stream, .. }, answer) => return Some((stream, answer)),
            (_, _) => {}
        }
        None
    }
}
