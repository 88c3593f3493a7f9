//! The crate `wtransport`.
//!
//! It leaves it to its user how application codes travel: most send them as they are. Here, those that could be taken for
//! HTTP/3's own are mapped into WebTransport's range, and the others are not, so that both ways are tested.

use std::net::{Ipv4Addr, SocketAddr};

use wtransport::endpoint::ConnectOptions;
use wtransport::endpoint::endpoint_side;
use wtransport::error::{ConnectingError, ConnectionError, StreamReadError, StreamWriteError};
use wtransport::tls::{Certificate, CertificateChain, PrivateKey, Sha256Digest};
use wtransport::{
    ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig, VarInt,
};

use crate::scenario::Identity;
use crate::session::{
    Asked, Ended, Library, Part, Receiver, Refused, Sender, Server, Session, Verdict,
};

pub(crate) struct WTransport;

impl Library for WTransport {
    type Session = Connection;
    type Server = Endpoint<endpoint_side::Server>;

    const TELLS_STATUS: bool = false;

    async fn connect(
        port: u16,
        certificate: [u8; 32],
        path: &str,
        protocols: &[&str],
    ) -> Result<Self::Session, Refused> {
        let config = ClientConfig::builder()
            .with_bind_address(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .with_server_certificate_hashes([Sha256Digest::new(certificate)])
            .build();
        let mut request = ConnectOptions::builder(format!("https://127.0.0.1:{port}{path}"));
        if !protocols.is_empty() {
            let offer: Vec<_> = protocols.iter().map(|name| format!("\"{name}\"")).collect();
            request = request.add_header("wt-available-protocols", offer.join(", "));
        }
        let endpoint = Endpoint::client(config).unwrap();
        let connected = endpoint.connect(request.build()).await;
        connected.map_err(|error| match error {
            ConnectingError::SessionRejected => Refused::SomeStatus,
            error => Refused::Words(error.to_string()),
        })
    }

    fn listen() -> Self::Server {
        let Identity { certificate, key } = Identity::new();
        let chain = CertificateChain::single(Certificate::from_der(certificate).unwrap());
        let identity = wtransport::Identity::new(chain, PrivateKey::from_der_pkcs8(key));
        let config = ServerConfig::builder()
            .with_bind_address(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .with_identity(identity)
            .build();
        Endpoint::server(config).unwrap()
    }
}

impl Server for Endpoint<endpoint_side::Server> {
    type Session = Connection;

    fn port(&self) -> u16 {
        self.local_addr().unwrap().port()
    }

    async fn answer(&mut self, verdict: Verdict) -> (Asked, Option<Connection>) {
        let request = self.accept().await.await.unwrap();
        let offer = request.headers().get("wt-available-protocols").unwrap();
        let protocols = offer
            .split(", ")
            .map(|name| name.trim_matches('"').to_owned());
        let asked = Asked {
            path: request.path().to_owned(),
            protocols: protocols.collect(),
        };
        let session = match verdict {
            Verdict::Accept(protocol) => {
                let header = ("wt-protocol", format!("\"{protocol}\""));
                request.accept_with_headers([header]).await.unwrap()
            }
            Verdict::AcceptSilently => request.accept().await.unwrap(),
            Verdict::NotFound => {
                request.not_found().await;
                return (asked, None);
            }
        };
        (asked, Some(session))
    }
}

impl Session for Connection {
    type Sender = SendStream;
    type Receiver = RecvStream;

    fn protocol(&self) -> Option<String> {
        None
    }

    async fn open_bi(&self) -> (SendStream, RecvStream) {
        self.open_bi().await.unwrap().await.unwrap()
    }

    async fn open_uni(&self) -> SendStream {
        self.open_uni().await.unwrap().await.unwrap()
    }

    async fn accept_bi(&self) -> (SendStream, RecvStream) {
        self.accept_bi().await.unwrap()
    }

    async fn accept_uni(&self) -> RecvStream {
        self.accept_uni().await.unwrap()
    }

    fn send_datagram(&self, bytes: &[u8]) {
        self.send_datagram(bytes).unwrap();
    }

    async fn receive_datagram(&self) -> Vec<u8> {
        self.receive_datagram().await.unwrap().to_vec()
    }

    fn close(&self, code: u32, reason: &str) {
        self.close(VarInt::from_u32(code), reason.as_bytes());
    }

    async fn ended(&self) -> Ended {
        // `closed` knows of the connection only; this one also of the session.
        match self.receive_datagram().await.unwrap_err() {
            ConnectionError::ApplicationClosed(close) => {
                let reason = String::from_utf8(close.reason().to_vec()).unwrap();
                Ended::ByPeer(application_code(close.code()), reason)
            }
            ConnectionError::LocallyClosed => Ended::ByUs,
            error => panic!("{error}"),
        }
    }
}

impl Sender for SendStream {
    async fn write_all(&mut self, bytes: &[u8]) {
        self.write_all(bytes).await.unwrap();
    }

    async fn finish(&mut self) {
        self.finish().await.unwrap();
    }

    fn reset(&mut self, code: u32) {
        self.reset(http3_code(code)).unwrap();
    }

    async fn stopped(&mut self) -> u32 {
        match Self::stopped(self).await {
            StreamWriteError::Stopped(code) => application_code(code),
            error => panic!("{error}"),
        }
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
            Err(StreamReadError::Reset(code)) => Part::Reset(application_code(code)),
            Err(error) => panic!("{error}"),
        }
    }

    fn stop(self, code: u32) {
        self.stop(http3_code(code));
    }
}

/// Where the range of application codes begins (WebTransport over HTTP/3 § Resetting Data Streams).
const FIRST: u64 = 0x52e4_a40f_a8db;
/// The least code that HTTP/3 reserves.
const FIRST_OF_HTTP3: u64 = 0x21;

fn http3_code(code: u32) -> VarInt {
    let code = match u64::from(code) {
        code if code < FIRST_OF_HTTP3 => code,
        code => FIRST + code + code / 0x1e,
    };
    VarInt::try_from_u64(code).unwrap()
}

fn application_code(code: VarInt) -> u32 {
    let code = code.into_inner();
    let code = match code.checked_sub(FIRST) {
        Some(offset) => offset - offset / 0x1f,
        None => code,
    };
    u32::try_from(code).unwrap()
}
