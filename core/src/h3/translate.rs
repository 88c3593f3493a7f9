//! What the inner machine wants done, in terms of HTTP/3, and the answers back.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::time::Time;
use crate::transport::{Answer, Dir, Output, Room, StreamId};

use super::error::{stream_code_from_h3, stream_code_to_h3};
use super::{Asked, Phase, WebTransport};

/// Streams that a peer needs for HTTP/3 itself: control, QPACK encoder and decoder; and the request, if it is a client.
const H3_UNI_STREAMS: u64 = 3;
const H3_BIDI_STREAMS: u64 = 1;

/// What becomes of an output of the inner machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an output that is not carried out is lost"]
pub enum Translated {
    /// The adapter is to be asked this.
    Ask(Output),
    /// It is answered already; the inner machine must be told before anything else is polled.
    Answered(Answer),
    /// It is done, and needs no answer.
    Done,
}

impl WebTransport {
    /// Translates one output of the inner machine. Only to be called when [`poll_output`](Self::poll_output) is `None`.
    pub fn translate(&mut self, now: Time, output: Output) -> Translated {
        if let Output::AllowStreams { dir, count } = output {
            let own = match dir {
                Dir::Uni => H3_UNI_STREAMS,
                Dir::Bi => H3_BIDI_STREAMS,
            };
            let count = count.saturating_add(own);
            return Translated::Ask(Output::AllowStreams { dir, count });
        }
        if let Output::ReceiveWindow(_) = output {
            return Translated::Ask(output);
        }
        if let Output::Close { code, reason } = output {
            self.close(code, reason);
            self.set_close_deadline(now);
            return Translated::Done;
        }
        if self.phase != Phase::Established {
            return match output {
                Output::Open { .. }
                | Output::Write { .. }
                | Output::Read { .. }
                | Output::Datagram(_) => Translated::Answered(Answer::Gone),
                Output::Reset { .. }
                | Output::Stop { .. }
                | Output::Priority { .. }
                | Output::AllowStreams { .. }
                | Output::ReceiveWindow(_)
                | Output::Close { .. } => Translated::Done,
            };
        }
        match output {
            // It was reset before the inner machine knew of the stream; its own reset follows.
            Output::Write { stream, .. } if self.halted.contains_key(&stream) => {
                Translated::Answered(Answer::Gone)
            }
            Output::Open { stream, dir } => {
                self.asked = Some(Asked::InnerOpen(stream, dir));
                Translated::Ask(Output::Open { stream, dir })
            }
            Output::Write {
                stream,
                bytes,
                fin,
                urgent,
            } => self.translate_write(stream, bytes, fin, urgent),
            Output::Read { .. } | Output::Priority { .. } => Translated::Ask(output),
            Output::Datagram(payload) => self.translate_datagram(&payload),
            // That was done before the inner machine knew of the stream.
            Output::Reset { stream, .. } if self.halted.remove(&stream).is_some() => {
                Translated::Done
            }
            Output::Reset { stream, code } => {
                // If the prefix did not leave yet, the peer will not know whose stream it was, which does no harm.
                self.writes.remove(&stream);
                let code = stream_code_to_h3(code);
                Translated::Ask(Output::Reset { stream, code })
            }
            Output::Stop { stream, code } => {
                let code = stream_code_to_h3(code);
                Translated::Ask(Output::Stop { stream, code })
            }
            Output::AllowStreams { .. } | Output::ReceiveWindow(_) | Output::Close { .. } => {
                Translated::Done
            }
        }
    }

    fn translate_write(
        &mut self,
        stream: StreamId,
        bytes: Bytes,
        fin: bool,
        urgent: bool,
    ) -> Translated {
        let Some(prefix) = self.writes.get_mut(&stream) else {
            return Translated::Ask(Output::Write {
                stream,
                bytes,
                fin,
                urgent,
            });
        };
        // Nothing may overtake the prefix.
        if bytes.is_empty() && fin {
            prefix.fin = true;
            return Translated::Answered(Answer::Wrote {
                taken: 0,
                room: Room::More,
            });
        }
        prefix.inner = Some(true);
        let room = if self.full {
            Room::ConnectionFull
        } else {
            Room::StreamFull
        };
        Translated::Answered(Answer::Wrote { taken: 0, room })
    }

    fn translate_datagram(&self, payload: &[u8]) -> Translated {
        let Some(session) = &self.session else {
            return Translated::Answered(Answer::Gone);
        };
        if payload.len() > self.inner_max_datagram() {
            return Translated::Answered(Answer::TooLarge);
        }
        let prefix = &session.prefix_datagram;
        let mut bytes = BytesMut::with_capacity(prefix.len() + payload.len());
        bytes.put_slice(prefix);
        bytes.put_slice(payload);
        Translated::Ask(Output::Datagram(bytes.freeze()))
    }

    /// The adapter's answer to the last output asked of it. `Some`: this is what the inner machine must be answered.
    #[must_use = "the inner machine waits for its answer"]
    pub fn handle_answer(&mut self, now: Time, answer: Answer) -> Option<Answer> {
        let inner = match self.asked.take() {
            None => Some(match answer {
                // Only streams of the inner machine give this without being asked for.
                Answer::Reset(code) => Answer::Reset(stream_code_from_h3(code)),
                other @ (Answer::Done
                | Answer::Blocked
                | Answer::Wrote { .. }
                | Answer::Data(_)
                | Answer::Fin
                | Answer::TooLarge
                | Answer::Gone) => other,
            }),
            Some(Asked::InnerOpen(stream, dir)) => {
                if answer == Answer::Done {
                    self.prefix(stream, dir);
                }
                Some(answer)
            }
            Some(Asked::Open) => {
                self.own_opened(&answer);
                None
            }
            Some(Asked::Write(stream)) => {
                self.own_wrote(stream, &answer);
                None
            }
            Some(Asked::Read(stream)) => {
                let result = self.read(stream, answer);
                self.absorb(result);
                None
            }
        };
        self.set_close_deadline(now);
        inner
    }
}
