//! The adapter's half of the contract: carries out one output of an application, and notices when the application breaks
//! its own half.

use std::time::Duration;

use bytes::Bytes;

use crate::time::Time;
use crate::transport::{Answer, Closed, Dir, Output, Room, StreamId};

use super::connection::{Connection, End, Flight, Frame, Phase, Refused, Side, length};
use super::random::Random;
use super::stream::{Ending, Progress, Receiving, Sending, Stream, WireId};

/// How long an application may take to reset a stream that the peer stopped. Usually it does at once, but one that is about
/// to close the connection need not.
const RESET_TIMEOUT: Duration = Duration::from_secs(1);

/// What an application did that [`transport`](crate::transport) does not allow.
pub(super) type Violation = String;

/// What is needed besides the connection.
pub(super) struct Surroundings<'a> {
    pub(super) now: Time,
    pub(super) random: &'a mut Random,
    pub(super) flights: &'a mut Vec<Flight>,
    /// Like a stack that does not tell whether the stream or the connection is full.
    pub(super) vague: bool,
    /// Whether a datagram was lost.
    pub(super) lost: bool,
}

impl Connection {
    /// Carries out what the application at `side` wants.
    pub(super) fn carry_out(
        &mut self,
        side: Side,
        output: Output,
        around: &mut Surroundings<'_>,
    ) -> Result<Option<Answer>, Violation> {
        let closes = matches!(output, Output::Close { .. });
        match self.end(side).map(|end| end.phase) {
            None => {
                return Err("asks for something on a connection that it did not accept".to_owned());
            }
            Some(Phase::Handshake) if !closes => {
                return Err("asks for something before Connected".to_owned());
            }
            Some(Phase::Closing) => return Err("asks for something after Close".to_owned()),
            Some(Phase::Closed) => return Err("asks for something after Closed".to_owned()),
            Some(Phase::Handshake | Phase::Open) => {}
        }
        match output {
            Output::Open { stream, dir } => self.open(side, stream, dir).map(Some),
            Output::Write {
                stream,
                bytes,
                fin,
                urgent,
            } => self
                .write(side, stream, bytes, fin, urgent, around)
                .map(Some),
            Output::Read { stream, max } => self.read(side, stream, max, around).map(Some),
            Output::Datagram(bytes) => self.datagram(side, bytes, around).map(Some),
            Output::Reset { stream, code } => self.reset(side, stream, code, around).map(|()| None),
            Output::Stop { stream, code } => self.stop(side, stream, code, around).map(|()| None),
            Output::Priority { stream, .. } => self.sending(side, stream).map(|_| None),
            Output::AllowStreams { dir, count } => {
                self.allow(side, dir, count, around);
                Ok(None)
            }
            Output::ReceiveWindow(window) => {
                self.widen(side, window, around);
                Ok(None)
            }
            Output::Close { code, reason } => {
                self.close(side, code, reason, around);
                Ok(None)
            }
        }
    }

    /// What the application still owes when it says that it is settled.
    pub(super) fn unsettled(&self, now: Time, side: Side) -> Option<Violation> {
        let end = self.end(side)?;
        if end.phase != Phase::Open {
            return None;
        }
        let late = |since: &Time| now.since(*since) > RESET_TIMEOUT;
        let (wire, _) = end.stopped.iter().find(|(_, since)| late(since))?;
        let name = end.streams.get(wire)?.name;
        Some(format!(
            "did not reset {name}, which the peer stopped long ago"
        ))
    }

    fn open(&mut self, side: Side, name: StreamId, dir: Dir) -> Result<Answer, Violation> {
        let peer_window = self.stream_window(side.other());
        let end = self.known(side)?;
        if !name.is_local() {
            return Err(format!("opens {name}, which is the peer's to open"));
        }
        if end.names.contains_key(&name) {
            return Err(format!("opens {name} twice"));
        }
        refuse_again(end, Refused::Open(name))?;
        let index = end.opened.get(&dir).copied().unwrap_or(0);
        if index >= end.may_open.get(&dir).copied().unwrap_or(0) {
            end.waits_to_open.insert(dir);
            end.refused.insert(Refused::Open(name));
            return Ok(Answer::Blocked);
        }
        end.opened.insert(dir, index + 1);
        let wire = WireId {
            opener: side,
            dir,
            index,
        };
        end.names.insert(name, wire);
        let stream = Stream {
            name,
            sending: Some(Sending::new(peer_window)),
            receiving: (dir == Dir::Bi).then(Receiving::new),
            replaced: false,
        };
        end.streams.insert(wire, stream);
        Ok(Answer::Done)
    }

    fn write(
        &mut self,
        side: Side,
        name: StreamId,
        bytes: Bytes,
        fin: bool,
        urgent: bool,
        around: &mut Surroundings<'_>,
    ) -> Result<Answer, Violation> {
        if bytes.is_empty() && !fin {
            return Err(format!("writes nothing to {name}"));
        }
        let (wire, sending) = self.sending(side, name)?;
        match sending.ending {
            Some(Ending::Fin | Ending::Acked) => {
                return Err(format!("writes to {name} after its fin"));
            }
            Some(Ending::Reset) => return Err(format!("writes to {name} after its reset")),
            None => {}
        }
        if sending.stopped {
            return Ok(Answer::Gone);
        }
        let stream_room = sending.credit;
        let end = self.known(side)?;
        refuse_again(end, Refused::Write(name, urgent))?;
        if !urgent {
            refuse_again(end, Refused::Writes)?;
        }
        let room = end.room(urgent);
        let taken = bytes.len().min(room).min(stream_room);
        let all = taken == bytes.len();
        let fin = fin && all;
        end.credit -= taken;
        end.unacked += taken;
        let answer_room = if all {
            Room::More
        } else if room <= stream_room && !around.vague {
            end.refused.insert(Refused::Writes);
            Room::ConnectionFull
        } else {
            Room::StreamFull
        };
        if !all {
            end.refused.insert(Refused::Write(name, urgent));
        }
        let (_, sending) = self.sending(side, name)?;
        sending.credit -= taken;
        sending.sent += taken;
        sending.blocked = (!all).then_some(urgent);
        if fin {
            sending.ending = Some(Ending::Fin);
        }
        if !all {
            self.known(side)?.blocked.insert(wire);
        }
        if taken > 0 || fin {
            self.send_pieces(side, wire, name, bytes.slice(..taken), fin, around)?;
        }
        Ok(Answer::Wrote {
            taken,
            room: answer_room,
        })
    }

    /// Puts bytes on their way, in pieces.
    fn send_pieces(
        &mut self,
        side: Side,
        stream: WireId,
        name: StreamId,
        mut bytes: Bytes,
        fin: bool,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Violation> {
        let link = self.known(side)?.link.clone();
        loop {
            let max = link.max_piece.max(1).min(bytes.len());
            let cut = if link.split {
                around.random.length(max)
            } else {
                max
            };
            let piece = bytes.split_to(cut.min(bytes.len()));
            let lone_fin = fin && !piece.is_empty() && link.split && around.random.chance(500);
            let last = bytes.is_empty() && !lone_fin;
            let (mut at, _) = self.arrival(around.now, side, piece.len(), around.random);
            if around.random.chance(link.loss) {
                at = at + link.delay * 2;
            }
            let (_, sending) = self.sending(side, name)?;
            sending.last_arrival = sending.last_arrival.max(at);
            around.flights.push(Flight {
                at: sending.last_arrival,
                to: side.other(),
                frame: Frame::Data {
                    stream,
                    bytes: piece,
                    fin: fin && last,
                },
            });
            if last || (bytes.is_empty() && !fin) {
                return Ok(());
            }
        }
    }

    fn read(
        &mut self,
        side: Side,
        name: StreamId,
        max: usize,
        around: &mut Surroundings<'_>,
    ) -> Result<Answer, Violation> {
        if max == 0 {
            return Err(format!("reads zero bytes from {name}"));
        }
        let back_at = self.control_arrival(around.now, side);
        let end = self.known(side)?;
        refuse_again(end, Refused::Read(name))?;
        let (stream, half) = receiving(end, name)?;
        let mut answer = half.read(max);
        if let Answer::Data(bytes) = &mut answer {
            // On a network the reader has memory of its own, and the writer's is free.
            *bytes = Bytes::copy_from_slice(bytes);
            around.flights.push(Flight {
                at: back_at,
                to: side.other(),
                frame: Frame::Credit {
                    stream: Some(stream),
                    bytes: bytes.len(),
                },
            });
        }
        if answer == Answer::Blocked {
            end.refused.insert(Refused::Read(name));
        }
        self.replace_stream(side, stream, back_at, around.flights);
        Ok(answer)
    }

    fn datagram(
        &mut self,
        side: Side,
        bytes: Bytes,
        around: &mut Surroundings<'_>,
    ) -> Result<Answer, Violation> {
        let end = self.known(side)?;
        if bytes.len() > end.link.max_datagram {
            return Ok(Answer::TooLarge);
        }
        refuse_again(end, Refused::Datagram)?;
        let queue = end.link.occupation(end.settings.datagram_send_buffer);
        if end.link.rate.is_some() && end.busy_until.since(around.now) > queue {
            end.refused.insert(Refused::Datagram);
            end.waits_for_datagrams = true;
            around.flights.push(Flight {
                at: end.busy_until,
                to: side,
                frame: Frame::DatagramRoom,
            });
            return Ok(Answer::Blocked);
        }
        let loss = end.link.loss;
        let (at, _) = self.arrival(around.now, side, bytes.len(), around.random);
        around.lost = around.random.chance(loss);
        if !around.lost {
            around.flights.push(Flight {
                at,
                to: side.other(),
                // As with what is read of streams.
                frame: Frame::Datagram(Bytes::copy_from_slice(&bytes)),
            });
        }
        Ok(Answer::Done)
    }

    fn reset(
        &mut self,
        side: Side,
        name: StreamId,
        code: u64,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Violation> {
        let (stream, sending) = self.sending(side, name)?;
        match sending.ending {
            Some(Ending::Reset) => return Err(format!("resets {name} twice")),
            Some(Ending::Acked) => return Err(format!("resets {name} after it was acknowledged")),
            Some(Ending::Fin) | None => {}
        }
        sending.ending = Some(Ending::Reset);
        sending.blocked = None;
        let size = sending.sent;
        self.known(side)?.stopped.remove(&stream);
        let (at, _) = self.arrival(around.now, side, 0, around.random);
        around.flights.push(Flight {
            at,
            to: side.other(),
            frame: Frame::Reset { stream, code, size },
        });
        let back_at = self.control_arrival(around.now, side);
        self.replace_stream(side, stream, back_at, around.flights);
        Ok(())
    }

    fn stop(
        &mut self,
        side: Side,
        name: StreamId,
        code: u64,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Violation> {
        let back_at = self.control_arrival(around.now, side);
        let end = self.known(side)?;
        let (stream, half) = receiving(end, name)?;
        let unread = half.stop();
        let ended = half.is_over();
        let mut send = |frame| {
            around.flights.push(Flight {
                at: back_at,
                to: side.other(),
                frame,
            });
        };
        if unread > 0 {
            send(Frame::Credit {
                stream: None,
                bytes: unread,
            });
        }
        if !ended {
            send(Frame::Stop { stream, code });
        }
        self.replace_stream(side, stream, back_at, around.flights);
        Ok(())
    }

    fn allow(&mut self, side: Side, dir: Dir, count: u64, around: &mut Surroundings<'_>) {
        let at = self.control_arrival(around.now, side);
        let Some(end) = self.end_mut(side) else {
            return;
        };
        let allowed = end.allowed.entry(dir).or_default();
        let more = count.saturating_sub(*allowed);
        *allowed = count.max(*allowed);
        if more > 0 {
            around.flights.push(Flight {
                at,
                to: side.other(),
                frame: Frame::Streams { dir, more },
            });
        }
    }

    fn widen(&mut self, side: Side, window: u64, around: &mut Surroundings<'_>) {
        let at = self.control_arrival(around.now, side);
        let Some(end) = self.end_mut(side) else {
            return;
        };
        let window = length(window);
        if window > end.window {
            around.flights.push(Flight {
                at,
                to: side.other(),
                frame: Frame::Credit {
                    stream: None,
                    bytes: window - end.window,
                },
            });
            end.window = window;
        }
    }

    fn close(&mut self, side: Side, code: u64, reason: Bytes, around: &mut Surroundings<'_>) {
        let (at, _) = self.arrival(around.now, side, 0, around.random);
        if let Some(end) = self.end_mut(side) {
            end.phase = Phase::Closing;
        }
        around.flights.push(Flight {
            at: around.now,
            to: side,
            frame: Frame::Over(Closed::ByUs),
        });
        around.flights.push(Flight {
            at,
            to: side.other(),
            frame: Frame::Close { code, reason },
        });
    }

    fn stream_window(&self, side: Side) -> usize {
        self.end(side)
            .map_or(0, |end| length(end.settings.stream_window))
    }

    fn known(&mut self, side: Side) -> Result<&mut End, Violation> {
        self.end_mut(side)
            .ok_or_else(|| "asks for something on an unknown connection".to_owned())
    }

    /// The sending direction of a stream.
    fn sending(&mut self, side: Side, name: StreamId) -> Result<(WireId, &mut Sending), Violation> {
        let end = self.known(side)?;
        let wire = wire(end, name)?;
        end.streams
            .get_mut(&wire)
            .and_then(|stream| stream.sending.as_mut())
            .map(|sending| (wire, sending))
            .ok_or_else(|| format!("writes to {name}, on which only the peer may write"))
    }
}

fn wire(end: &End, name: StreamId) -> Result<WireId, Violation> {
    end.names
        .get(&name)
        .copied()
        .ok_or_else(|| format!("uses {name}, which is not open"))
}

/// The receiving direction of a stream, which must be open.
fn receiving(end: &mut End, name: StreamId) -> Result<(WireId, &mut Receiving), Violation> {
    let wire = wire(end, name)?;
    let half = end
        .streams
        .get_mut(&wire)
        .and_then(|stream| stream.receiving.as_mut())
        .ok_or_else(|| format!("reads {name}, on which only it may write"))?;
    match half.progress {
        Progress::Open | Progress::FinArrived | Progress::ResetArrived(_) => Ok((wire, half)),
        Progress::Told => Err(format!("reads or stops {name} after its end")),
        Progress::Stopped | Progress::StoppedAndEnded => {
            Err(format!("reads or stops {name} after having stopped it"))
        }
    }
}

/// Within one turn nothing changes, so asking again what was refused would go on for ever.
fn refuse_again(end: &End, what: Refused) -> Result<(), Violation> {
    if end.refused.contains(&what) {
        return Err(format!(
            "asks again for what was refused in the same turn ({what:?})"
        ));
    }
    Ok(())
}
