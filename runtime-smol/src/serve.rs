//! A connection's turn: what happened goes to the application, what the application wants is carried out.

use oxymoq_core::time::Time;
use oxymoq_core::transport::{Answer, Application, Closed, ConnectionId, Input, Output};

use crate::connection::Connection;
use crate::endpoint::Driver;
use crate::ready::Event;
use crate::slot::Slot;

/// Connections served before the sockets are looked at again, so that acknowledgements do not pile up in them.
const MAX_SERVED: usize = 256;
/// Outputs carried out for a connection before others have their turn.
const MAX_OUTPUTS: usize = 512;

impl<A: Application> Driver<'_, A> {
    /// Tells the application of something that a waker was registered for.
    pub(crate) fn look(&mut self, now: Time, event: Event) {
        match event {
            Event::Incoming => self.accept(now),
            Event::Rung => self.app.handle_wake(now),
            Event::Connecting(id) => self.connecting(now, id),
            Event::Connection(id) => self.on_connection(now, id, Connection::news),
            Event::Opening(id, dir) => {
                self.on_connection(now, id, |_, inputs| inputs.push(Input::CanOpen(dir)));
            }
            Event::Readable(id, stream) => {
                self.on_connection(now, id, |open, inputs| open.readable(stream, inputs));
            }
            Event::Writable(id, stream) => {
                self.on_connection(now, id, |open, inputs| open.writable(stream, inputs));
            }
        }
    }

    /// Tells the application what a connection has to say, but for its end.
    fn on_connection(
        &mut self,
        now: Time,
        id: ConnectionId,
        ask: impl FnOnce(&mut Connection, &mut Vec<Input>),
    ) {
        let Some(Slot::Open(open)) = self.slots.get_mut(&id) else {
            return;
        };
        let mut inputs = Vec::new();
        let was_over = open.is_over();
        ask(open, &mut inputs);
        if open.is_over() && !was_over {
            self.ending.push(id);
        }
        for input in inputs {
            self.app.handle_input(now, id, input);
        }
    }

    /// Has connections that are over read to their end, and tells the application that they are.
    pub(crate) fn end(&mut self, now: Time) {
        for id in std::mem::take(&mut self.ending) {
            if !self.turn(now, id) {
                self.ending.push(id);
            } else if let Some(Slot::Open(open)) = self.slots.remove(&id)
                && let Some(why) = open.into_closed()
            {
                self.app.handle_input(now, id, Input::Closed(why));
            }
        }
    }

    /// Gives those a turn that the application has outputs for.
    pub(crate) fn pump(&mut self, now: Time) {
        for _ in 0..self.unfinished.len() {
            if let Some(id) = self.unfinished.pop_front() {
                self.turn(now, id);
            }
        }
        for _ in 0..MAX_SERVED {
            let Some(id) = self.app.poll_dirty() else {
                return;
            };
            self.turn(now, id);
        }
        // There may be more: come back after the sockets.
        self.endpoint.incoming.wake_by_ref();
    }

    /// Carries out a connection's outputs, each answered before the next is asked for. False: there may be more.
    fn turn(&mut self, now: Time, id: ConnectionId) -> bool {
        for _ in 0..MAX_OUTPUTS {
            let Some(output) = self.app.poll_output(now, id) else {
                return true;
            };
            if let Some(answer) = self.perform(now, id, output) {
                self.app.handle_answer(now, id, answer);
            }
        }
        if !self.unfinished.contains(&id) {
            self.unfinished.push_back(id);
        }
        false
    }

    fn perform(&mut self, now: Time, id: ConnectionId, output: Output) -> Option<Answer> {
        if let Some(Slot::Open(open)) = self.slots.get_mut(&id) {
            return open.perform(output);
        }
        if let Output::Close { code, .. } = output {
            self.give_up(now, id, code);
        }
        output.wants_answer().then_some(Answer::Gone)
    }

    /// Ends what is not established yet.
    fn give_up(&mut self, now: Time, id: ConnectionId, code: u64) {
        match self.slots.remove(&id) {
            // The client hears of it when its handshake is done.
            Some(Slot::Arriving) => {
                self.slots.insert(id, Slot::Leaving(code));
            }
            // Dropping the task gives the attempt up.
            Some(Slot::Connecting(..)) => {}
            Some(other @ (Slot::Leaving(_) | Slot::Open(_))) => {
                self.slots.insert(id, other);
                return;
            }
            None => return,
        }
        self.app.handle_input(now, id, Input::Closed(Closed::ByUs));
    }
}
