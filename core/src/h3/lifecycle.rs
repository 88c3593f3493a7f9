//! How a session begins and ends, and what becomes of the connection then.

use std::mem;

use bytes::Bytes;

use crate::time::Time;
use crate::transport::{Closed, Dir, Input, Output, StreamId};

use super::capsule::{self, Capsules};
use super::error::{self, Code, H3_NO_ERROR, Violation};
use super::{
    CONTROL_STREAM, Phase, QuicId, Request, Session, WebTransport, settings, stream, varint,
};

impl WebTransport {
    pub(super) fn connected(&mut self, now: Time, max_datagram: usize) {
        self.max_datagram = max_datagram;
        self.deadline = Some((
            now + self.limits.handshake_timeout,
            "WebTransport handshake",
        ));
        let mut bytes = Vec::new();
        varint::put(&mut bytes, stream::CONTROL);
        bytes.extend(settings::encode(self.is_server()));
        // Without a dynamic table QPACK needs no streams (RFC 9204 § Encoder and Decoder Streams).
        self.opens
            .push_back((CONTROL_STREAM, Dir::Uni, bytes.into()));
    }

    /// The session exists: the inner machine starts, and what waited for the session is let in.
    pub(super) fn establish(
        &mut self,
        request: Request,
        protocol: Bytes,
        connect: StreamId,
        id: QuicId,
    ) {
        let mut prefix_datagram = Vec::new();
        varint::put(&mut prefix_datagram, id / 4);
        self.session = Some(Session {
            request,
            connect,
            id,
            capsules: Capsules::default(),
            stopped: false,
            prefix_uni: stream::prefix(Dir::Uni, id),
            prefix_bi: stream::prefix(Dir::Bi, id),
            prefix_datagram: prefix_datagram.into(),
        });
        self.phase = Phase::Established;
        self.deadline = None;
        self.inputs.push_back(Input::Connected {
            alpn: protocol,
            max_datagram: self.inner_max_datagram(),
        });
        for (stream, (dir, session)) in mem::take(&mut self.waiting) {
            self.attach(stream, dir, session);
        }
        for (session, bytes) in mem::take(&mut self.datagrams) {
            if session == id {
                self.tell(Input::Datagram(bytes));
            }
        }
    }

    /// The inner machine ends the session.
    pub(super) fn close(&mut self, code: u64, reason: Bytes) {
        let connect = match (&self.phase, &self.session) {
            (Phase::Established, Some(session)) if !session.stopped => session.connect,
            (Phase::Established | Phase::Handshake, _) => {
                self.end(H3_NO_ERROR, reason);
                return;
            }
            _ => return,
        };
        self.write(connect, capsule::close_frame(code, &reason), true);
        self.start_closing(true, reason);
    }

    /// The peer ended the session: its CONNECT stream is answered with its end.
    pub(super) fn closed_by_peer(&mut self, code: u64, reason: Bytes) {
        let Some(session) = &self.session else { return };
        let (connect, stopped) = (session.connect, session.stopped);
        self.tell_closed(Closed::ByPeer {
            code,
            reason: reason.clone(),
        });
        if stopped {
            self.end(H3_NO_ERROR, reason);
        } else {
            self.write(connect, Vec::new(), true);
            self.start_closing(false, reason);
        }
    }

    fn start_closing(&mut self, by_us: bool, reason: Bytes) {
        self.phase = Phase::Closing { by_us, reason };
        // Prefixes and streams of the session do not matter any more.
        self.writes.retain(|_, pending| pending.inner.is_none());
        self.opens.clear();
    }

    /// The deadline of closing starts with the first call that knows the time.
    pub(super) fn set_close_deadline(&mut self, now: Time) {
        let closing = match self.phase {
            Phase::Closing { .. } => true,
            Phase::Established => self.session.as_ref().is_some_and(|session| session.stopped),
            Phase::Handshake | Phase::Ended | Phase::Over => false,
        };
        if closing && self.deadline.is_none() {
            self.deadline = Some((now + self.limits.close_timeout, "WebTransport session end"));
        }
    }

    /// The peer knows of the session's end, or had time to.
    pub(super) fn finish_closing(&mut self) {
        if let Phase::Closing { reason, .. } = &mut self.phase {
            let reason = mem::take(reason);
            self.end(H3_NO_ERROR, reason);
        }
    }

    /// The session ended without the words for it.
    pub(super) fn lose(&mut self, code: u64, why: String) {
        if let (Phase::Closing { .. }, _) | (_, None) = (&self.phase, &self.session) {
            self.finish_closing();
            return;
        }
        self.end(code, Bytes::from(why.clone()));
        self.tell_closed(Closed::Lost(why));
    }

    /// Ends the connection if HTTP/3 was broken.
    pub(super) fn absorb(&mut self, result: Result<(), Violation>) {
        let Err(violation) = result else { return };
        let why = format!("the peer broke HTTP/3: {violation}");
        let established = self.session.is_some();
        self.end(violation.code, violation.rule);
        self.tell_closed(if established {
            Closed::Lost(why)
        } else {
            Closed::Failed(why)
        });
    }

    /// Asks the transport to close, and forgets everything else.
    pub(super) fn end(&mut self, code: u64, reason: impl Into<Bytes>) {
        if let Phase::Ended | Phase::Over = self.phase {
            return;
        }
        self.forget();
        self.phase = Phase::Ended;
        self.commands.push_back(Output::Close {
            code,
            reason: reason.into(),
        });
    }

    fn forget(&mut self) {
        self.asked = None;
        self.commands.clear();
        self.opens.clear();
        self.writes.clear();
        self.writable.clear();
        self.beginning.clear();
        self.halted.clear();
        self.waiting.clear();
        self.datagrams.clear();
        self.own.clear();
        self.readable.clear();
        self.deadline = None;
    }

    pub(super) fn transport_closed(&mut self, closed: Closed) {
        let established = self.session.is_some();
        let closed = match closed {
            // What this side ended, the peer may be faster to close.
            Closed::ByPeer { .. }
                if matches!(
                    self.phase,
                    Phase::Closing { by_us: true, .. } | Phase::Ended
                ) =>
            {
                Closed::ByUs
            }
            Closed::ByPeer { code, reason } if established => match error::code_from_h3(code) {
                // Some peers close the connection instead of the session, with a code from the session's range.
                Some(code) => Closed::ByPeer { code, reason },
                None if code == H3_NO_ERROR => Closed::ByPeer { code: 0, reason },
                None => Closed::Lost(format!("the peer closed HTTP/3: {}", words(code, &reason))),
            },
            Closed::ByPeer { code, reason } => Closed::Failed(format!(
                "the peer closed HTTP/3 before a WebTransport session was established: {}",
                words(code, &reason)
            )),
            other @ (Closed::ByUs | Closed::TimedOut | Closed::Failed(_) | Closed::Lost(_)) => {
                other
            }
        };
        self.forget();
        self.phase = Phase::Over;
        self.tell_closed(closed);
    }
}

/// A peer's code and reason in words.
fn words(code: u64, reason: &[u8]) -> String {
    let code = Code(code);
    if reason.is_empty() {
        code.to_string()
    } else {
        format!("{code}, {:?}", reason.escape_ascii().to_string())
    }
}
