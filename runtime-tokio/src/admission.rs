//! Clients that want in: prove their address, ask the application, or turn them away.

use std::net::SocketAddr;

use log::{debug, error};
use oxymoq_core::transport::{Admission, Application, Closed, Incoming, Input};
use quinn_proto::Transmit;

use crate::endpoint::Driver;
use crate::reason;
use crate::slot::{Arrival, Owner};

impl<A: Application> Driver<'_, A> {
    /// A client wants in: let it prove its address first, ask the application, or turn it away.
    pub(crate) fn admit(&mut self, incoming: quinn_proto::Incoming) {
        self.out.clear();
        let many = self.handshakes.under_way() >= self.transport.retry_above;
        if many && !incoming.remote_address_validated() && incoming.may_retry() {
            return self.retry(incoming);
        }
        let remote = incoming.remote_address();
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let is_validated = incoming.remote_address_validated() || !incoming.may_retry();
        let full =
            self.exit.is_some() || self.handshakes.under_way() >= self.transport.max_handshakes;
        let admission = if full {
            Admission::Refuse
        } else {
            let now = self.time();
            self.app.handle_incoming(
                now,
                &Incoming {
                    remote,
                    is_validated,
                },
            )
        };
        let id = match admission {
            Admission::Accept(id) if !self.known(id) => id,
            Admission::Accept(id) => {
                error!("the application gave a new connection the id of {id}; {remote} is refused");
                return self.refuse(incoming);
            }
            Admission::Retry if !is_validated => return self.retry(incoming),
            Admission::Retry | Admission::Refuse => {
                debug!("{remote} is refused: no room");
                return self.refuse(incoming);
            }
        };
        match self.quic.accept(incoming, self.now, &mut self.out, None) {
            Ok((handle, quic)) => {
                let arrival = Arrival {
                    until: self.now + self.transport.handshake_timeout,
                    _one: self.handshakes.begin(),
                };
                self.ids.insert(id, handle);
                self.insert(handle, quic, Owner::App(id), Some(arrival));
            }
            Err(failure) => {
                if let Some(transmit) = failure.response {
                    self.respond(&transmit);
                }
                let why = reason::of_server(&failure.cause, &self.alpns);
                self.tell(id, Input::Closed(Closed::Failed(why)));
            }
        }
    }

    /// Has the client prove its address and come again; until then it takes no memory here.
    fn retry(&mut self, incoming: quinn_proto::Incoming) {
        match self.quic.retry(incoming, &mut self.out) {
            Ok(transmit) => self.respond(&transmit),
            Err(refused) => self.quic.ignore(refused.into_incoming()),
        }
    }

    fn refuse(&mut self, incoming: quinn_proto::Incoming) {
        let transmit = self.quic.refuse(incoming, &mut self.out);
        self.respond(&transmit);
    }

    /// Sends what the endpoint itself answered. It is lost if there is no room, as on the network.
    pub(crate) fn respond(&self, transmit: &Transmit) {
        self.socket.send(transmit, &self.out);
    }
}
