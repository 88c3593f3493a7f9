//! Makes TLS failures reach the peer, who would otherwise not learn that, for instance, no protocol is in common.
//!
//! s2n-quic answers nothing if the first packet of a connection is in error, so such a client would wait for its timeout:
//! here the failure is told a moment later, when the connection exists and can be closed. And s2n-quic replaces every alert
//! by a general one: here it goes out as it is.

use std::any::Any;
use std::error::Error;
use std::task::{Poll, Waker};

use bytes::Bytes;
use s2n_quic::application;
use s2n_quic::provider::connection_close_formatter::{
    self as close, ConnectionClose, Formatter, Production,
};
use s2n_quic::provider::tls::Provider;
use s2n_quic_core::application::ServerName;
use s2n_quic_core::crypto::CryptoSuite;
use s2n_quic_core::crypto::tls::{
    ApplicationParameters, ConnectionInfo, Context, Endpoint, NamedGroup, Session, TlsSession,
};
use s2n_quic_core::transport;

/// Writes the last frame of a connection: TLS alerts as they are, everything else as s2n-quic does by itself.
#[derive(Debug)]
pub(crate) struct Frank;

impl Formatter for Frank {
    fn format_transport_error(
        &self,
        context: &close::Context<'_>,
        error: transport::Error,
    ) -> ConnectionClose<'_> {
        if error.try_into_tls_error().is_some() {
            return transport::Error::new(error.code.as_varint()).into();
        }
        Production.format_transport_error(context, error)
    }

    fn format_application_error(
        &self,
        context: &close::Context<'_>,
        error: application::Error,
    ) -> ConnectionClose<'_> {
        Production.format_application_error(context, error)
    }

    fn format_early_transport_error(
        &self,
        context: &close::Context<'_>,
        error: transport::Error,
    ) -> ConnectionClose<'_> {
        self.format_transport_error(context, error)
    }

    fn format_early_application_error(
        &self,
        context: &close::Context<'_>,
        error: application::Error,
    ) -> ConnectionClose<'_> {
        Production.format_early_application_error(context, error)
    }
}

/// A TLS endpoint whose sessions are patient.
#[derive(Debug)]
pub(crate) struct Patient<E>(pub(crate) E);

impl<E: Endpoint> Provider for Patient<E> {
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

impl<E: Endpoint> Endpoint for Patient<E> {
    type Session = PatientSession<E::Session>;

    fn new_server_session<P: s2n_codec::EncoderValue>(
        &mut self,
        transport_parameters: &P,
        connection_info: ConnectionInfo,
    ) -> Self::Session {
        PatientSession {
            inner: self
                .0
                .new_server_session(transport_parameters, connection_info),
            failure: None,
        }
    }

    fn new_client_session<P: s2n_codec::EncoderValue>(
        &mut self,
        transport_parameters: &P,
        server_name: ServerName,
    ) -> Self::Session {
        PatientSession {
            inner: self.0.new_client_session(transport_parameters, server_name),
            failure: None,
        }
    }

    fn max_tag_length(&self) -> usize {
        self.0.max_tag_length()
    }
}

/// A session that tells its failure on the call after the one in which it happened.
#[derive(Debug)]
pub(crate) struct PatientSession<S> {
    inner: S,
    failure: Option<transport::Error>,
}

impl<S: Session> Session for PatientSession<S> {
    fn poll<C: Context<Self>>(&mut self, context: &mut C) -> Poll<Result<(), transport::Error>> {
        if let Some(failure) = self.failure {
            return Poll::Ready(Err(failure));
        }
        let result = self.inner.poll(&mut Inner(context));
        if let Poll::Ready(Err(failure)) = result {
            self.failure = Some(failure);
            context.waker().wake_by_ref();
            return Poll::Pending;
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

impl<S: CryptoSuite> CryptoSuite for PatientSession<S> {
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

impl<S: Session, C: Context<PatientSession<S>>> Context<S> for Inner<'_, C> {
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
