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

    /// Tells the application what a connection has to say, and forgets the connection with [`Input::Closed`].
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
        ask(open, &mut inputs);
        for input in inputs {
            if matches!(input, Input::Closed(_)) {
                self.slots.remove(&id);
            }
            self.app.handle_input(now, id, input);
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

    /// Carries out a connection's outputs, each answered before the next is asked for.
    fn turn(&mut self, now: Time, id: ConnectionId) {
        for _ in 0..MAX_OUTPUTS {
            let Some(output) = self.app.poll_output(now, id) else {
                return;
            };
            if let Some(answer) = self.perform(now, id, output) {
                self.app.handle_answer(now, id, answer);
            }
        }
        if !self.unfinished.contains(&id) {
            self.unfinished.push_back(id);
        }
    }

    fn perform(&mut self, now: Time, id: ConnectionId, output: Output) -> Option<Answer> {
        if let Some(Slot::Open(open)) = self.slots.get_mut(&id) {
            return open.perform(output);
        }
        if matches!(output, Output::Close { .. }) && self.slots.remove(&id).is_some() {
            // Not established yet: dropping the task gives the attempt up.
            self.app.handle_input(now, id, Input::Closed(Closed::ByUs));
        }
        output.wants_answer().then_some(Answer::Gone)
    }
}
