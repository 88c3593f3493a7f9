//! A connection's turn: what happened goes to the application, what the application wants is carried out and sent.

use oxymoq_core::transport::{Answer, Application, Closed, ConnectionId, Input, Output};
use quinn_proto::{ConnectionError, ConnectionHandle};

use crate::connection::{Change, Outcome};
use crate::endpoint::{Driver, Key};
use crate::reason;
use crate::slot::Owner;

/// Connections served before the socket is read again, so that acknowledgements do not pile up in it.
const MAX_SERVED: usize = 32;
/// Outputs carried out for a connection before others have their turn.
const MAX_OUTPUTS: usize = 256;
/// Calls of the socket for a connection before others have their turn.
const MAX_TRANSMITS: usize = 2;

impl<A: Application> Driver<'_, A> {
    /// Lets quinn-proto's halves talk to each other, and tells the application what happened.
    pub(crate) fn take_events(&mut self, handle: ConnectionHandle) {
        if let Some(slot) = self.slots.get(handle) {
            slot.touched = false;
        }
        loop {
            let now = self.time();
            let Some(slot) = self.slots.get(handle) else {
                return;
            };
            let mut again = false;
            while let Some(event) = slot.connection.quic().poll_endpoint_events() {
                if event.is_drained() {
                    slot.drained = Some(event);
                } else if let Some(reply) = self.quic.handle_event(handle, event) {
                    slot.connection.quic().handle_event(reply);
                    again = true;
                }
            }
            let (app, owner) = (&mut *self.app, slot.owner);
            let change = slot.connection.poll(&mut |input| {
                if let Owner::App(id) = owner {
                    app.handle_input(now, id, input);
                }
            });
            match change {
                Some(Change::Connected) => self.established(handle),
                Some(Change::Lost(cause)) => self.lost(handle, &cause),
                None if again => {}
                None => break,
            }
        }
        if let Some(slot) = self.slots.get(handle)
            && let Owner::App(id) = slot.owner
            && slot.handshake.is_none()
            && slot.ending.is_none()
            && let Some(input) = slot.connection.path_change()
        {
            self.tell(id, input);
        }
    }

    fn established(&mut self, handle: ConnectionHandle) {
        let Some(slot) = self.slots.get(handle) else {
            return;
        };
        slot.handshake = None;
        let input = slot.connection.connected();
        let id = match slot.owner {
            Owner::Nobody => return,
            Owner::App(id) => id,
            Owner::Dial(id) => {
                slot.owner = Owner::App(id);
                self.ids.insert(id, handle);
                self.end_dial(id, Some(handle));
                id
            }
        };
        self.tell(id, input);
    }

    fn lost(&mut self, handle: ConnectionHandle, cause: &ConnectionError) {
        let Some(slot) = self.slots.get(handle) else {
            return;
        };
        let handshaking = slot.handshake.take().is_some();
        match slot.owner {
            Owner::Nobody => {}
            Owner::App(_) => {
                let closed = if handshaking {
                    Closed::Failed(reason::of_server(cause, &self.alpns))
                } else {
                    reason::closed(cause)
                };
                slot.ending.get_or_insert(closed);
                // It may not have read yet what came before.
                slot.dirty = true;
            }
            Owner::Dial(id) => {
                slot.owner = Owner::Nobody;
                self.attempt_failed(id, handle, cause);
            }
        }
    }

    /// Serves connections until none wants anything or others must be heard. Returns whether there is more to do.
    ///
    /// Those that the application has something for and those on which something came in take turns, so that neither has
    /// to wait for ever.
    pub(crate) fn serve_some(&mut self) -> bool {
        for _ in 0..MAX_SERVED {
            let dirty = self.serve_dirty();
            let other = self.serve_next();
            if !dirty && !other {
                return false;
            }
        }
        true
    }

    /// Serves the next connection that the application has outputs for. False: there is none now.
    fn serve_dirty(&mut self) -> bool {
        if self.exit.is_some() || self.unsent.is_some() {
            return false;
        }
        // First, so that a connection just asked for is known when it is dirty.
        self.start_dials();
        let Some(id) = self.app.poll_dirty() else {
            return false;
        };
        if let Some(&handle) = self.ids.get(&id) {
            if let Some(slot) = self.slots.get(handle) {
                slot.dirty = true;
            }
            self.serve(handle);
        } else if self.dials.contains_key(&id) {
            self.pump_dial(id);
        }
        true
    }

    /// Serves the next connection in the queue. False: there is none, or the socket has no room for what it would send.
    fn serve_next(&mut self) -> bool {
        if self.unsent.is_some() {
            return false;
        }
        while let Some(handle) = self.work.pop_front() {
            let Some(slot) = self.slots.get(handle) else {
                continue;
            };
            slot.queued = false;
            // It may have been served since, because it was dirty.
            if slot.due {
                self.serve(handle);
                return true;
            }
        }
        false
    }

    /// An application that does not want to wait for a connection any more may close it.
    fn pump_dial(&mut self, id: ConnectionId) {
        let now = self.time();
        for _ in 0..MAX_OUTPUTS {
            match self.app.poll_output(now, id) {
                None => return,
                Some(Output::Close { .. }) => {
                    self.end_dial(id, None);
                    return self.tell(id, Input::Closed(Closed::ByUs));
                }
                Some(output) if output.wants_answer() => {
                    self.app.handle_answer(now, id, Answer::Gone);
                }
                Some(_) => {}
            }
        }
    }

    /// A connection's turn: outputs, packets, and its next deadline.
    fn serve(&mut self, handle: ConnectionHandle) {
        if let Some(slot) = self.slots.get(handle) {
            slot.due = false;
        }
        self.pump(handle);
        let more_to_send = self.transmit(handle);
        // Sending may have made room for datagrams, and outputs may have freed stream ids.
        self.take_events(handle);
        let Some(slot) = self.slots.get(handle) else {
            return;
        };
        if !slot.dirty
            && let Some(closed) = slot.ending.take()
            && let Owner::App(id) = slot.owner
        {
            slot.owner = Owner::Nobody;
            self.ids.remove(&id);
            self.tell(id, Input::Closed(closed));
        }
        self.settle(handle, more_to_send);
    }

    /// After a turn: forget a connection that is over, queue one that has more to do, and set the timer.
    fn settle(&mut self, handle: ConnectionHandle, more_to_send: bool) {
        let Some(slot) = self.slots.get(handle) else {
            return;
        };
        let key = Key::Connection(handle);
        if slot.owner == Owner::Nobody
            && let Some(event) = slot.drained.take()
        {
            self.timers.disarm(key, &mut slot.timer);
            self.quic.handle_event(handle, event);
            self.slots.remove(handle);
            return;
        }
        let deadline = slot.connection.quic().poll_timeout();
        let give_up = slot.handshake.as_ref().map(|it| it.until);
        if let Some(at) = deadline.into_iter().chain(give_up).min() {
            self.timers.arm(key, &mut slot.timer, at);
        }
        if slot.dirty || more_to_send {
            self.enqueue(handle);
        }
    }

    /// Carries out what the application wants done on this connection, one output at a time.
    fn pump(&mut self, handle: ConnectionHandle) {
        let now = self.time();
        let Some(slot) = self.slots.get(handle) else {
            return;
        };
        let Owner::App(id) = slot.owner else {
            slot.dirty = false;
            return;
        };
        if !slot.dirty {
            return;
        }
        slot.connection.start_pump();
        for _ in 0..MAX_OUTPUTS {
            let Some(output) = self.app.poll_output(now, id) else {
                slot.dirty = false;
                break;
            };
            match slot.connection.carry_out(self.now, output) {
                Outcome::Silent => {}
                Outcome::Answer(answer) => self.app.handle_answer(now, id, answer),
                Outcome::Closed => {
                    slot.goodbye = slot.ending.is_none();
                    slot.ending.get_or_insert(Closed::ByUs);
                    slot.dirty = false;
                    break;
                }
            }
        }
        slot.connection.end_pump();
    }

    /// Sends what is due on this connection. Returns whether there may be more.
    fn transmit(&mut self, handle: ConnectionHandle) -> bool {
        let segments = self.socket.max_segments();
        let Some(slot) = self.slots.get(handle) else {
            return false;
        };
        for _ in 0..MAX_TRANSMITS {
            self.out.clear();
            let quic = slot.connection.quic();
            let Some(transmit) = quic.poll_transmit(self.now, segments, &mut self.out) else {
                return false;
            };
            if !self.socket.send(&transmit, &self.out) {
                self.unsent = Some((transmit, std::mem::take(&mut self.out)));
                return true;
            }
        }
        true
    }
}
