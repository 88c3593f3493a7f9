//! Clients that want in: ask the application, or turn them away; and what comes of their handshakes.

use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use log::error;
use oxymoq_core::time::Time;
use oxymoq_core::transport::{Admission, Application, Closed, ConnectionId, Incoming, Input};
use s2n_quic::application;

use crate::connection::{Connection, application_error};
use crate::endpoint::Driver;
use crate::reason;
use crate::slot::Slot;

/// Clients that are decided on before others have their turn: s2n-quic begins the handshakes of all of them in one go, and each
/// takes nearly a millisecond.
const MAX_DECIDED: usize = 8;

impl<A: Application> Driver<'_, A> {
    /// Decides on those at the door, and takes over those whose handshake is done.
    pub(crate) fn accept(&mut self, now: Time) {
        for visitor in self.endpoint.door.visitors(MAX_DECIDED) {
            let remote = visitor.remote;
            let incoming = Incoming {
                remote,
                // The time for a Retry is over once there is a TLS session to wait here.
                is_validated: true,
            };
            let admission = match self.app.handle_incoming(now, &incoming) {
                Admission::Accept(id) => self.let_in(id, remote),
                turned_away @ (Admission::Retry | Admission::Refuse) => turned_away,
            };
            visitor.decide(admission);
        }
        let mut cx = Context::from_waker(&self.endpoint.incoming);
        let mut accepted = Vec::new();
        if let Some(server) = &mut self.endpoint.server {
            while let Poll::Ready(Some(connection)) = server.poll_accept(&mut cx) {
                accepted.push(connection);
            }
        }
        for mut connection in accepted {
            let admitted = connection
                .take_tls_context()
                .and_then(|id| id.downcast().ok());
            match admitted.map(|id: Box<ConnectionId>| *id) {
                Some(id) if self.is_arriving(id) => self.established(now, id, connection),
                // The application has closed it in the meantime.
                Some(id) => {
                    let code = match self.slots.remove(&id) {
                        Some(Slot::Leaving(code)) => application_error(code),
                        _ => application::Error::UNKNOWN,
                    };
                    connection.close(code);
                }
                None => connection.close(application::Error::UNKNOWN),
            }
        }
        for (id, ended) in self.endpoint.door.failed() {
            if let Some(Slot::Arriving) = self.slots.remove(&id) {
                let timeout = self.endpoint.transport.handshake_timeout;
                let why = reason::of_server(&ended, timeout, &self.endpoint.alpns);
                self.app
                    .handle_input(now, id, Input::Closed(Closed::Failed(why)));
            }
        }
    }

    fn let_in(&mut self, id: ConnectionId, remote: SocketAddr) -> Admission {
        match self.slots.entry(id) {
            Entry::Vacant(place) => {
                place.insert(Slot::Arriving);
                Admission::Accept(id)
            }
            Entry::Occupied(_) => {
                error!("the application gave a new connection the id of {id}; {remote} is refused");
                Admission::Refuse
            }
        }
    }

    fn is_arriving(&self, id: ConnectionId) -> bool {
        matches!(self.slots.get(&id), Some(Slot::Arriving))
    }

    pub(crate) fn established(
        &mut self,
        now: Time,
        id: ConnectionId,
        connection: s2n_quic::Connection,
    ) {
        let endpoint = &*self.endpoint;
        match Connection::new(id, connection, &endpoint.ready, &endpoint.transport) {
            Ok(mut open) => {
                let input = open.start(!endpoint.transport.keep_alive.is_zero());
                self.slots.insert(id, Slot::Open(Box::new(open)));
                self.app.handle_input(now, id, input);
            }
            Err(error) => {
                self.slots.remove(&id);
                let why = Closed::Failed(format!("the QUIC stack lost it at once: {error}"));
                self.app.handle_input(now, id, Input::Closed(why));
            }
        }
    }
}
