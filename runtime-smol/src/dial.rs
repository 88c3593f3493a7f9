//! Outgoing connections: resolves the host's name and tries its addresses, the next one while the last is still silent.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::Timer;
use bytes::Bytes;
use oxymoq_core::runtime::{ClientSettings, TransportSettings};
use oxymoq_core::transport::Target;
use rustls::pki_types::ServerName;
use s2n_quic::client::Connect;
use s2n_quic::{Client, Connection};
use smol::Executor;
use smol::future::FutureExt as _;

use crate::error::Error;
use crate::io::{self as udp, SmolIo};
use crate::ready::lock;
use crate::{reason, stack, tls};

/// How long the host's next address waits for an answer from the last one (RFC 8305 § 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Makes outgoing connections.
///
/// An s2n-quic client has one socket and one list of protocols to offer, so there is one client per list and address
/// family, made when first needed. An application has one or two lists.
#[derive(Debug)]
pub(crate) struct Connector {
    tls: Mutex<tls::Client>,
    clients: Mutex<BTreeMap<(bool, Vec<Bytes>), Client>>,
    transport: TransportSettings,
    timeout: Duration,
    // Weak, because the executor holds the tasks that hold this.
    executor: Weak<Executor<'static>>,
}

type Attempt = Pin<Box<dyn Future<Output = Result<Connection, String>> + Send>>;

impl Connector {
    pub(crate) fn new(
        client: &ClientSettings,
        transport: &TransportSettings,
        executor: &Arc<Executor<'static>>,
    ) -> Result<Self, Error> {
        Ok(Self {
            tls: Mutex::new(tls::Client::new(&client.trust)?),
            clients: Mutex::default(),
            transport: transport.clone(),
            timeout: client.connect_timeout,
            executor: Arc::downgrade(executor),
        })
    }

    /// Connects, or says why not.
    pub(crate) async fn connect(self: Arc<Self>, target: Target) -> Result<Connection, String> {
        let timeout = self.timeout;
        let (host, port) = (target.host.clone(), target.port);
        let late = async move {
            Timer::after(timeout).await;
            Err(format!(
                "no answer from {host}, port {port}, within {timeout:?}; check that a server listens there and that UDP \
                 gets through"
            ))
        };
        self.try_addresses(target).or(late).await
    }

    async fn try_addresses(self: Arc<Self>, target: Target) -> Result<Connection, String> {
        if ServerName::try_from(target.host.as_str()).is_err() {
            return Err(format!(
                "{:?} is neither a host name nor an address",
                target.host
            ));
        }
        let addresses = resolve(&target.host, target.port).await.map_err(|error| {
            format!(
                "the name {} cannot be resolved ({error}); check its spelling and the network",
                target.host
            )
        })?;
        if addresses.is_empty() {
            return Err(format!("the name {} has no address", target.host));
        }
        let target = Arc::new(target);
        let start = |address| -> Attempt {
            let (connector, target) = (Arc::clone(&self), Arc::clone(&target));
            Box::pin(async move { connector.attempt(address, &target).await })
        };
        race(addresses, start).await
    }

    async fn attempt(&self, address: SocketAddr, target: &Target) -> Result<Connection, String> {
        let client = self.client(address.is_ipv6(), &target.alpns)?;
        let connect = Connect::new(address).with_server_name(target.host.as_str());
        client
            .connect(connect)
            .await
            .map_err(|error| reason::of_client(&error, target))
    }

    /// The client for this family and offer, made if needed.
    fn client(&self, ipv6: bool, alpns: &[Bytes]) -> Result<Client, String> {
        let key = (ipv6, alpns.to_vec());
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let tls = lock(&self.tls).offering(alpns)?;
        let any = if ipv6 {
            IpAddr::from(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::from(Ipv4Addr::UNSPECIFIED)
        };
        let socket = udp::bind(SocketAddr::new(any, 0), self.transport.socket_buffer)
            .map_err(|error| format!("no UDP socket can be opened: {error}"))?;
        let executor = self.executor.upgrade().ok_or("the endpoint is gone")?;
        let io = SmolIo {
            socket,
            gso: self.transport.gso,
            executor,
        };
        let client = stack::client(io, tls, &self.transport, self.timeout)
            .map_err(|error| format!("the QUIC client cannot be started: {error}"))?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// A literal costs nothing; a name is looked up by the system's resolver, which blocks a thread of smol's pool.
async fn resolve(host: &str, port: u16) -> io::Result<VecDeque<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(VecDeque::from([SocketAddr::new(ip, port)]));
    }
    smol::net::resolve((host, port)).await.map(VecDeque::from)
}

/// The first connection that succeeds, or why the last one failed.
async fn race(
    mut addresses: VecDeque<SocketAddr>,
    start: impl Fn(SocketAddr) -> Attempt,
) -> Result<Connection, String> {
    let mut running: Vec<Attempt> = addresses.pop_front().into_iter().map(&start).collect();
    let mut head_start = Timer::after(HEAD_START);
    let mut last = String::new();
    poll_fn(|cx: &mut Context<'_>| {
        loop {
            let mut won = None;
            running.retain_mut(|attempt| match attempt.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(connection)) => {
                    won = Some(connection);
                    false
                }
                Poll::Ready(Err(why)) => {
                    last = why;
                    false
                }
            });
            if let Some(connection) = won {
                return Poll::Ready(Ok(connection));
            }
            let next_turn = running.is_empty() || Pin::new(&mut head_start).poll(cx).is_ready();
            match addresses.pop_front() {
                Some(address) if next_turn => {
                    running.push(start(address));
                    head_start.set_after(HEAD_START);
                }
                Some(address) => {
                    addresses.push_front(address);
                    return Poll::Pending;
                }
                None if running.is_empty() => return Poll::Ready(Err(std::mem::take(&mut last))),
                None => return Poll::Pending,
            }
        }
    })
    .await
}
