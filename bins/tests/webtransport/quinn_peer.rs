//! The crate `web-transport-quinn`.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use url::Url;
use web_transport_quinn::http::StatusCode;
use web_transport_quinn::proto::{ConnectError as NoConnect, ConnectRequest, ConnectResponse};
use web_transport_quinn::{
    ClientBuilder, ClientError, ConnectError, ReadError, RecvStream, SendStream, ServerBuilder,
    SessionError, WebTransportError,
};

use crate::scenario::Identity;
use crate::session::{
    Asked, Ended, Library, Part, Receiver, Refused, Sender, Server, Session, Verdict,
};

pub(crate) struct WebTransportQuinn;

impl Library for WebTransportQuinn {
    type Session = web_transport_quinn::Session;
    type Server = web_transport_quinn::Server;

    const TELLS_STATUS: bool = true;

    async fn connect(
        port: u16,
        certificate: [u8; 32],
        path: &str,
        protocols: &[&str],
    ) -> Result<Self::Session, Refused> {
        let client = ClientBuilder::new()
            .with_server_certificate_hashes(vec![certificate.to_vec()])
            .unwrap();
        let url = Url::parse(&format!("https://127.0.0.1:{port}{path}")).unwrap();
        let protocols = protocols.iter().map(|&protocol| protocol.to_owned());
        let request = ConnectRequest::new(url).with_protocols(protocols);
        client.connect(request).await.map_err(|error| match error {
            ClientError::HttpError(ConnectError::ProtoError(NoConnect::WrongStatus(Some(
                status,
            )))) => Refused::Status(status.as_u16()),
            error => Refused::Words(error.to_string()),
        })
    }

    fn listen() -> Self::Server {
        let Identity { certificate, key } = Identity::new();
        ServerBuilder::new()
            .with_addr(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .with_certificate(vec![certificate.into()], key.try_into().unwrap())
            .unwrap()
    }
}

impl Server for web_transport_quinn::Server {
    type Session = web_transport_quinn::Session;

    fn port(&self) -> u16 {
        self.local_addr().unwrap().port()
    }

    async fn answer(&mut self, verdict: Verdict) -> (Asked, Option<Self::Session>) {
        let request = self.accept().await.unwrap();
        let asked = Asked {
            path: request.url.path().to_owned(),
            protocols: request.protocols.clone(),
        };
        let response = match verdict {
            Verdict::Accept(protocol) => ConnectResponse::OK.with_protocol(protocol),
            Verdict::AcceptSilently => ConnectResponse::OK,
            Verdict::NotFound => {
                let connection = request.conn().clone();
                request.reject(StatusCode::NOT_FOUND).await.unwrap();
                connection.closed().await;
                return (asked, None);
            }
        };
        (asked, Some(request.respond(response).await.unwrap()))
    }
}

impl Session for web_transport_quinn::Session {
    type Sender = SendStream;
    type Receiver = RecvStream;

    fn protocol(&self) -> Option<String> {
        self.protocol().map(str::to_owned)
    }

    async fn open_bi(&self) -> (SendStream, RecvStream) {
        self.open_bi().await.unwrap()
    }

    async fn open_uni(&self) -> SendStream {
        self.open_uni().await.unwrap()
    }

    async fn accept_bi(&self) -> (SendStream, RecvStream) {
        self.accept_bi().await.unwrap()
    }

    async fn accept_uni(&self) -> RecvStream {
        self.accept_uni().await.unwrap()
    }

    fn send_datagram(&self, bytes: &[u8]) {
        self.send_datagram(Bytes::copy_from_slice(bytes)).unwrap();
    }

    async fn receive_datagram(&self) -> Vec<u8> {
        self.read_datagram().await.unwrap().to_vec()
    }

    fn close(&self, code: u32, reason: &str) {
        self.close(code, reason.as_bytes());
    }

    async fn ended(&self) -> Ended {
        match self.closed().await {
            SessionError::WebTransportError(WebTransportError::Closed(code, reason)) => {
                Ended::ByPeer(code, reason)
            }
            SessionError::ConnectionError(
                web_transport_quinn::quinn::ConnectionError::LocallyClosed,
            ) => Ended::ByUs,
            error => panic!("{error}"),
        }
    }
}

impl Sender for SendStream {
    async fn write_all(&mut self, bytes: &[u8]) {
        self.write_all(bytes).await.unwrap();
    }

    async fn finish(&mut self) {
        self.finish().unwrap();
    }

    fn reset(&mut self, code: u32) {
        self.reset(code).unwrap();
    }

    async fn stopped(&mut self) -> u32 {
        Self::stopped(self).await.unwrap().unwrap()
    }
}

impl Receiver for RecvStream {
    async fn read(&mut self) -> Part {
        let mut bytes = vec![0; 10_000];
        match self.read(&mut bytes).await {
            Ok(Some(size)) => {
                bytes.truncate(size);
                Part::Bytes(bytes)
            }
            Ok(None) => Part::End,
            Err(ReadError::Reset(code)) => Part::Reset(code),
            Err(error) => panic!("{error}"),
        }
    }

    fn stop(mut self, code: u32) {
        Self::stop(&mut self, code).unwrap();
    }
}
