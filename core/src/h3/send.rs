//! What this layer itself sends: its streams, and the prefixes of the inner machine's.

use bytes::{Buf as _, Bytes};

use crate::transport::{Answer, Dir, Input, Output, Room, StreamId};

use super::error::{self, H3_REQUEST_CANCELLED, Violation, WT_SESSION_GONE};
use super::{
    Asked, Asking, CONNECT_STREAM, CONTROL_STREAM, Own, Pending, Phase, Role, WebTransport,
};

impl WebTransport {
    pub(super) fn next_write(&mut self) -> Option<Output> {
        if self.full {
            return None;
        }
        loop {
            let &stream = self.writable.front()?;
            let Some(pending) = self.writes.get(&stream) else {
                self.writable.pop_front();
                continue;
            };
            self.asked = Some(Asked::Write(stream));
            return Some(Output::Write {
                stream,
                bytes: pending.bytes.clone(),
                fin: pending.fin,
                // A few bytes that everything else waits for.
                urgent: true,
            });
        }
    }

    /// Adds to what is to be written on an own stream.
    pub(super) fn write(&mut self, stream: StreamId, bytes: Vec<u8>, fin: bool) {
        let pending = self.writes.entry(stream).or_insert(Pending {
            bytes: Bytes::new(),
            fin: false,
            inner: None,
        });
        pending.bytes = if pending.bytes.is_empty() {
            bytes.into()
        } else {
            [&pending.bytes[..], &bytes].concat().into()
        };
        pending.fin |= fin;
        self.writable.push_back(stream);
    }

    /// What became of the write at the head of the queue.
    fn wrote(&mut self, stream: StreamId, taken: usize, room: Room) {
        let Some(pending) = self.writes.get_mut(&stream) else {
            return;
        };
        pending.bytes.advance(taken.min(pending.bytes.len()));
        if !pending.bytes.is_empty() {
            match room {
                Room::StreamFull => drop(self.writable.pop_front()),
                Room::More | Room::ConnectionFull => self.full = true,
            }
            return;
        }
        self.writable.pop_front();
        if let Some(pending) = self.writes.remove(&stream)
            && pending.inner == Some(true)
        {
            self.tell(Input::Writable(stream));
        }
        if matches!(self.own.get(&stream), Some(Own::Refused)) {
            self.own.remove(&stream);
        }
    }

    pub(super) fn acked(&mut self, stream: StreamId) {
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.connect == stream)
        {
            self.finish_closing();
        } else if stream != CONTROL_STREAM && !self.is_own(stream) {
            self.tell(Input::Acked(stream));
        }
    }

    pub(super) fn stopped(&mut self, stream: StreamId, code: u64) -> Result<(), Violation> {
        if stream == CONTROL_STREAM {
            return self.critical_gone("peer stopped the control stream");
        }
        match self.own.get(&stream) {
            Some(Own::Exchange(_)) => self.request_stopped(stream),
            Some(Own::Refused) => {
                self.own.remove(&stream);
                self.writes.remove(&stream);
                self.commands.push_back(Output::Reset {
                    stream,
                    code: H3_REQUEST_CANCELLED,
                });
            }
            Some(Own::Control(_) | Own::QpackEncoder | Own::QpackDecoder(_)) => {}
            None if self.beginning.contains_key(&stream) || self.waiting.contains_key(&stream) => {
                self.refuse_sending(stream);
                self.halted.insert(stream, code);
            }
            None => self.tell(Input::Stopped {
                stream,
                code: error::stream_code_from_h3(code),
            }),
        }
        Ok(())
    }

    /// The peer reads no more of a request, or of the session's CONNECT stream. What it says there itself still counts: a
    /// refusal, or the capsule that ends the session.
    fn request_stopped(&mut self, stream: StreamId) {
        let mut code = H3_REQUEST_CANCELLED;
        match (&mut self.session, self.own.get_mut(&stream)) {
            (Some(session), _) if session.connect == stream => {
                if let Phase::Closing { .. } = self.phase {
                    self.finish_closing();
                    return;
                }
                session.stopped = true;
                code = WT_SESSION_GONE;
            }
            (_, Some(Own::Exchange(asking))) if !matches!(self.role, Role::Server(_)) => {
                asking.stopped = true;
            }
            _ => {
                self.abandon(stream, code);
                return;
            }
        }
        self.writes.remove(&stream);
        self.commands.push_back(Output::Reset { stream, code });
    }

    /// A stream of the inner machine is open: its prefix comes before all else.
    pub(super) fn prefix(&mut self, stream: StreamId, dir: Dir) {
        let Some(session) = &self.session else { return };
        let bytes = match dir {
            Dir::Uni => session.prefix_uni.clone(),
            Dir::Bi => session.prefix_bi.clone(),
        };
        self.writes.insert(
            stream,
            Pending {
                bytes,
                fin: false,
                inner: Some(false),
            },
        );
        self.writable.push_back(stream);
    }

    /// What became of opening one of this layer's streams.
    pub(super) fn own_opened(&mut self, answer: &Answer) {
        let Some(&(stream, dir, _)) = self.opens.front() else {
            return;
        };
        if *answer == Answer::Blocked {
            self.set_credit(dir, false);
            return;
        }
        let Some((_, _, bytes)) = self.opens.pop_front() else {
            return;
        };
        if *answer != Answer::Done {
            // The connection is gone; its end is on the way.
            return;
        }
        self.write(stream, bytes.into(), false);
        if stream == CONNECT_STREAM {
            // The first bidirectional stream of a client has the QUIC stream id 0.
            self.own
                .insert(stream, Own::Exchange(Box::new(Asking::new(0))));
            self.readable.push_back(stream);
        }
    }

    pub(super) fn own_wrote(&mut self, stream: StreamId, answer: &Answer) {
        match answer {
            Answer::Wrote { taken, room } => self.wrote(stream, *taken, *room),
            Answer::Blocked => self.full = true,
            // The stream is gone, which its reader or an input tells too.
            Answer::Done
            | Answer::Data(_)
            | Answer::Fin
            | Answer::Reset(_)
            | Answer::TooLarge
            | Answer::Gone => {
                self.writable.pop_front();
                self.writes.remove(&stream);
                let closing = matches!(self.phase, Phase::Closing { .. });
                if closing
                    && self
                        .session
                        .as_ref()
                        .is_some_and(|session| session.connect == stream)
                {
                    self.finish_closing();
                }
            }
        }
    }
}
