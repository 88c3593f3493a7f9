//! Asks the application before any work is spent on a client, and tells it of handshakes that fail.
//!
//! s2n-quic hands over connections when their handshake is done, and the first thing that it does for a new one is to make a
//! TLS session. So the question is asked there: a session does nothing until the application has decided. That also lets
//! a failure reach the client: s2n-quic would answer nothing to a first packet that is in error.

use std::any::Any;
use std::collections::VecDeque;
use std::error::Error;
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use oxymoq_core::transport::{Admission, ConnectionId};
use oxymoq_tls::{Handshake, Handshakes};
use s2n_quic::provider::tls::Provider;
use s2n_quic_core::application::ServerName;
use s2n_quic_core::crypto::CryptoSuite;
use s2n_quic_core::crypto::tls::{
    ApplicationParameters, ConnectionInfo, Context, Endpoint, NamedGroup, Session, TlsSession,
};
use s2n_quic_core::transport;

use crate::ready::lock;

/// Where clients wait for the application's decision. As many as there may be handshakes.
#[derive(Debug)]
pub(crate) struct Door {
    waker: Waker,
    queue: Mutex<Queue>,
    handshakes: Handshakes,
}

#[derive(Debug, Default)]
struct Queue {
    visitors: VecDeque<Weak<Visitor>>,
    failed: Vec<(ConnectionId, Ended)>,
}

impl Door {
    /// A door that wakes the application's task for each visitor, and counts them until their handshake is over.
    pub(crate) fn new(waker: Waker, handshakes: Handshakes) -> Self {
        Self {
            waker,
            queue: Mutex::default(),
            handshakes,
        }
    }

    /// Those under way, with those of other doors that count the same.
    pub(crate) const fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// Clients to be decided on, at most so many; if there are others, the task is woken for them.
    pub(crate) fn visitors(&self, most: usize) -> Vec<Arc<Visitor>> {
        let mut queue = lock(&self.queue);
        let mut visitors = Vec::new();
        while visitors.len() < most
            && let Some(visitor) = queue.visitors.pop_front()
        {
            // The others have left already.
            visitors.extend(visitor.upgrade());
        }
        let are_more = !queue.visitors.is_empty();
        drop(queue);
        if are_more {
            self.waker.wake_by_ref();
        }
        visitors
    }

    /// Accepted clients whose handshake came to nothing, and why.
    pub(crate) fn failed(&self) -> Vec<(ConnectionId, Ended)> {
        mem::take(&mut lock(&self.queue).failed)
    }
}

/// How a handshake ended that was not finished.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What this side found wrong, if it did.
    pub(crate) cause: Option<transport::Error>,
    /// How long the client had had.
    pub(crate) after: Duration,
}

/// A client that waits for the application's decision.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// Where it comes from.
    pub(crate) remote: SocketAddr,
    decision: Mutex<Decision>,
}

#[derive(Debug, Default)]
struct Decision {
    admission: Option<Admission>,
    waker: Option<Waker>,
}

impl Visitor {
    /// Tells the client's session, which goes on or ends.
    pub(crate) fn decide(&self, admission: Admission) {
        let waker = {
            let mut decision = lock(&self.decision);
            decision.admission = Some(admission);
            decision.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A server's TLS whose sessions wait at a door.
#[derive(Debug)]
pub(crate) struct DoorTls<E> {
    pub(crate) tls: E,
    pub(crate) door: Arc<Door>,
}

impl<E: Endpoint> Provider for DoorTls<E> {
    type Server = Self;
    type Client = Self;
    type Error = std::convert::Infallible;

    fn start_server(self) -> Result<Self, Self::Error> {
        Ok(self)
    }

    fn start_client(self) -> Result<Self, Self::Error> {
        Ok(self)
    }
}

impl<E: Endpoint> Endpoint for DoorTls<E> {
    type Session = DoorSession<E::Session>;

    fn new_server_session<P: s2n_codec::EncoderValue>(
        &mut self,
        transport_parameters: &P,
        connection_info: ConnectionInfo,
    ) -> Self::Session {
        let remote = connection_info.remote_address;
        let visitor = Arc::new(Visitor {
            remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
            decision: Mutex::default(),
        });
        lock(&self.door.queue)
            .visitors
            .push_back(Arc::downgrade(&visitor));
        self.door.waker.wake_by_ref();
        DoorSession {
            inner: self
                .tls
                .new_server_session(transport_parameters, connection_info),
            door: Arc::clone(&self.door),
            visitor: Some(visitor),
            admitted: None,
            handshake: Some(self.door.handshakes.begin()),
            failure: None,
            started: Instant::now(),
        }
    }

    fn new_client_session<P: s2n_codec::EncoderValue>(
        &mut self,
        transport_parameters: &P,
        server_name: ServerName,
    ) -> Self::Session {
        DoorSession {
            inner: self
                .tls
                .new_client_session(transport_parameters, server_name),
            door: Arc::clone(&self.door),
            visitor: None,
            admitted: None,
            handshake: None,
            failure: None,
            started: Instant::now(),
        }
    }

    fn max_tag_length(&self) -> usize {
        self.tls.max_tag_length()
    }
}

/// A session that begins once the application has let its client in, and tells if it ends before its handshake does.
#[derive(Debug)]
pub(crate) struct DoorSession<S> {
    inner: S,
    door: Arc<Door>,
    /// Until the decision.
    visitor: Option<Arc<Visitor>>,
    /// Until the handshake is done.
    admitted: Option<ConnectionId>,
    /// Likewise.
    handshake: Option<Handshake>,
    failure: Option<transport::Error>,
    started: Instant,
}

impl<S: Session> Session for DoorSession<S> {
    fn poll<C: Context<Self>>(&mut self, context: &mut C) -> Poll<Result<(), transport::Error>> {
        if let Some(visitor) = self.visitor.take() {
            let mut decision = lock(&visitor.decision);
            match decision.admission {
                None => {
                    decision.waker = Some(context.waker().clone());
                    drop(decision);
                    self.visitor = Some(visitor);
                    return Poll::Pending;
                }
                Some(Admission::Retry | Admission::Refuse) => {
                    self.failure = Some(transport::Error::CONNECTION_REFUSED);
                }
                Some(Admission::Accept(id)) => {
                    self.admitted = Some(id);
                    context.on_tls_context(Box::new(id));
                }
            }
        }
        if let Some(failure) = self.failure {
            return Poll::Ready(Err(failure));
        }
        let result = self.inner.poll(&mut Inner(context));
        match result {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                self.admitted = None;
                self.handshake = None;
            }
            Poll::Ready(Err(failure)) => self.failure = Some(failure),
        }
        result
    }

    fn process_post_handshake_message<C: Context<Self>>(
        &mut self,
        context: &mut C,
    ) -> Result<(), transport::Error> {
        self.inner
            .process_post_handshake_message(&mut Inner(context))
    }

    fn should_discard_session(&self) -> bool {
        self.inner.should_discard_session()
    }
}

impl<S> Drop for DoorSession<S> {
    fn drop(&mut self) {
        // Between the decision and the next poll the visitor knows it alone.
        let decided = self.visitor.take().and_then(|visitor| {
            let admission = lock(&visitor.decision).admission;
            if let Some(Admission::Accept(id)) = admission {
                Some(id)
            } else {
                None
            }
        });
        if let Some(id) = self.admitted.or(decided) {
            let ended = Ended {
                cause: self.failure,
                after: self.started.elapsed(),
            };
            lock(&self.door.queue).failed.push((id, ended));
            self.door.waker.wake_by_ref();
        }
    }
}

impl<S: CryptoSuite> CryptoSuite for DoorSession<S> {
    type HandshakeKey = S::HandshakeKey;
    type HandshakeHeaderKey = S::HandshakeHeaderKey;
    type InitialKey = S::InitialKey;
    type InitialHeaderKey = S::InitialHeaderKey;
    type OneRttKey = S::OneRttKey;
    type OneRttHeaderKey = S::OneRttHeaderKey;
    type ZeroRttKey = S::ZeroRttKey;
    type ZeroRttHeaderKey = S::ZeroRttHeaderKey;
    type RetryKey = S::RetryKey;
}

/// What the inner session sees of the outer one's context: all of it.
struct Inner<'a, C>(&'a mut C);

type Done = Result<(), transport::Error>;

impl<S: Session, C: Context<DoorSession<S>>> Context<S> for Inner<'_, C> {
    fn on_client_application_params(
        &mut self,
        client: ApplicationParameters<'_>,
        server: &mut Vec<u8>,
    ) -> Done {
        self.0.on_client_application_params(client, server)
    }

    fn on_handshake_keys(&mut self, key: S::HandshakeKey, header: S::HandshakeHeaderKey) -> Done {
        self.0.on_handshake_keys(key, header)
    }

    fn on_zero_rtt_keys(
        &mut self,
        key: S::ZeroRttKey,
        header: S::ZeroRttHeaderKey,
        parameters: ApplicationParameters<'_>,
    ) -> Done {
        self.0.on_zero_rtt_keys(key, header, parameters)
    }

    fn on_one_rtt_keys(
        &mut self,
        key: S::OneRttKey,
        header: S::OneRttHeaderKey,
        parameters: ApplicationParameters<'_>,
    ) -> Done {
        self.0.on_one_rtt_keys(key, header, parameters)
    }

    fn on_server_name(&mut self, name: ServerName) -> Done {
        self.0.on_server_name(name)
    }

    fn on_application_protocol(&mut self, protocol: Bytes) -> Done {
        self.0.on_application_protocol(protocol)
    }

    fn on_key_exchange_group(&mut self, group: NamedGroup) -> Done {
        self.0.on_key_exchange_group(group)
    }

    fn on_handshake_complete(&mut self) -> Done {
        self.0.on_handshake_complete()
    }

    fn on_tls_exporter_ready(&mut self, session: &impl TlsSession) -> Done {
        self.0.on_tls_exporter_ready(session)
    }

    fn on_tls_handshake_failed(
        &mut self,
        session: &impl TlsSession,
        error: Box<dyn Error + Send + Sync>,
    ) -> Done {
        self.0.on_tls_handshake_failed(session, error)
    }

    fn on_tls_context(&mut self, context: Box<dyn Any + Send>) {
        self.0.on_tls_context(context);
    }

    fn receive_initial(&mut self, max: Option<usize>) -> Option<Bytes> {
        self.0.receive_initial(max)
    }

    fn receive_handshake(&mut self, max: Option<usize>) -> Option<Bytes> {
        self.0.receive_handshake(max)
    }

    fn receive_application(&mut self, max: Option<usize>) -> Option<Bytes> {
        self.0.receive_application(max)
    }

    fn can_send_initial(&self) -> bool {
        self.0.can_send_initial()
    }

    fn send_initial(&mut self, bytes: Bytes) {
        self.0.send_initial(bytes);
    }

    fn can_send_handshake(&self) -> bool {
        self.0.can_send_handshake()
    }

    fn send_handshake(&mut self, bytes: Bytes) {
        self.0.send_handshake(bytes);
    }

    fn can_send_application(&self) -> bool {
        self.0.can_send_application()
    }

    fn send_application(&mut self, bytes: Bytes) {
        self.0.send_application(bytes);
    }

    fn waker(&self) -> &Waker {
        self.0.waker()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn visitors_are_decided_on_a_few_at_a_time_in_the_order_in_which_they_came() {
        let bell = Arc::new(Bell::default());
        let door = Door::new(Arc::clone(&bell).into(), Handshakes::default());
        let mut visitors: Vec<_> = (1..=6_u16)
            .map(|port| {
                let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let decision = Mutex::default();
                Arc::new(Visitor { remote, decision })
            })
            .collect();
        let queue = visitors.iter().map(Arc::downgrade);
        lock(&door.queue).visitors.extend(queue);
        // One that has left takes nobody's place.
        visitors.remove(1);
        let ports = || -> Vec<u16> {
            let some = door.visitors(2);
            some.iter().map(|visitor| visitor.remote.port()).collect()
        };
        let rung = || bell.0.load(Ordering::Relaxed);
        assert_eq!((ports(), rung()), (vec![1, 3], 1));
        assert_eq!((ports(), rung()), (vec![4, 5], 2));
        assert_eq!((ports(), rung()), (vec![6], 2));
        assert_eq!((ports(), rung()), (vec![], 2));
    }
}
