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
use oxymoq_core::time::Time;
use oxymoq_core::transport::{Application, Closed, ConnectionId, Input, Target};
use oxymoq_tls::words;
use s2n_quic::client::Connect;
use s2n_quic::{Client, Connection};
use smol::Executor;
use smol::future::FutureExt as _;

use crate::endpoint::Driver;
use crate::ready::{Event, lock};
use crate::slot::Slot;
use crate::socket::{self, Outage, SmolIo};
use crate::{Error, config, reason};

/// How long the host's next address waits for an answer from the last one (RFC 8305 § 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// How much longer than the connect timeout s2n-quic tries, so that it is not the one to say why it failed.
const GRACE: Duration = Duration::from_secs(1);

/// Makes outgoing connections.
///
/// An s2n-quic client has one socket and one list of protocols to offer, so there is one client per list and address
/// family, made when first needed. An application has one or two lists.
#[derive(Debug)]
pub(crate) struct Connector {
    tls: Mutex<oxymoq_tls::Client>,
    clients: Mutex<BTreeMap<(bool, Vec<Bytes>), Client>>,
    transport: TransportSettings,
    timeout: Duration,
    // Weak, because the executor holds the tasks that hold this.
    executor: Weak<Executor<'static>>,
    outage: Arc<Outage>,
}

type Attempt = Pin<Box<dyn Future<Output = Option<Connection>> + Send>>;

impl Connector {
    pub(crate) fn new(
        client: &ClientSettings,
        transport: &TransportSettings,
        executor: &Arc<Executor<'static>>,
        outage: &Arc<Outage>,
    ) -> Result<Self, Error> {
        Ok(Self {
            tls: Mutex::new(oxymoq_tls::Client::new(&client.trust)?),
            clients: Mutex::default(),
            transport: transport.clone(),
            timeout: client.connect_timeout,
            executor: Arc::downgrade(executor),
            outage: Arc::clone(outage),
        })
    }

    /// Connects, or says why not.
    pub(crate) async fn connect(self: Arc<Self>, target: Target) -> Result<Connection, String> {
        let timeout = self.timeout;
        let dial = Arc::new(Dial {
            connector: self,
            target,
            progress: Mutex::default(),
        });
        let late = async {
            Timer::after(timeout).await;
            Err(dial.no_answer(timeout))
        };
        Arc::clone(&dial).try_addresses().or(late).await
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
        let (mut alone, _) = socket::bind(SocketAddr::new(any, 0), 1, self.transport.socket_buffer)
            .map_err(|error| format!("no UDP socket can be opened: {error}"))?;
        let socket = alone.pop().ok_or("no UDP socket can be opened")?;
        let executor = self.executor.upgrade().ok_or("the endpoint is gone")?;
        let io = SmolIo {
            socket,
            gso: self.transport.gso,
            executor,
            outage: Arc::clone(&self.outage),
        };
        let client = config::client(io, tls, &self.transport, self.timeout + GRACE)
            .map_err(|error| format!("the QUIC client cannot be started: {error}"))?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

impl<A: Application> Driver<'_, A> {
    /// Starts what the application wants opened.
    pub(crate) fn start_dials(&mut self) {
        while let Some((id, target)) = self.app.poll_connect() {
            let connector = Arc::clone(&self.endpoint.connector);
            let task = self.endpoint.executor.spawn(connector.connect(target));
            let waker = self.endpoint.ready.waker(Event::Connecting(id));
            waker.wake_by_ref();
            self.slots.insert(id, Slot::Connecting(task, waker));
        }
    }

    /// An attempt got somewhere.
    pub(crate) fn connecting(&mut self, now: Time, id: ConnectionId) {
        let Some(Slot::Connecting(task, waker)) = self.slots.get_mut(&id) else {
            return;
        };
        let mut cx = Context::from_waker(waker);
        let Poll::Ready(result) = Pin::new(task).poll(&mut cx) else {
            return;
        };
        self.slots.remove(&id);
        match result {
            Ok(connection) => self.established(now, id, connection),
            Err(why) => self
                .app
                .handle_input(now, id, Input::Closed(Closed::Failed(why))),
        }
    }
}

/// One connection on its way.
#[derive(Debug)]
struct Dial {
    connector: Arc<Connector>,
    target: Target,
    progress: Mutex<Progress>,
}

/// What there is to say if time runs out.
#[derive(Debug, Default)]
struct Progress {
    resolved: bool,
    tried: Vec<SocketAddr>,
    /// The last thing that a server or this side had against an attempt.
    failure: Option<String>,
}

impl Dial {
    async fn try_addresses(self: Arc<Self>) -> Result<Connection, String> {
        let host = &self.target.host;
        if !oxymoq_tls::is_host_name(host) {
            return Err(words::no_host_name(host));
        }
        let addresses = resolve(host, self.target.port)
            .await
            .map_err(|cause| words::unresolved(host, cause))?;
        lock(&self.progress).resolved = true;
        let start = |address| -> Attempt {
            let dial = Arc::clone(&self);
            Box::pin(async move { dial.attempt(address).await })
        };
        race(addresses, start).await.ok_or_else(|| {
            let failure = lock(&self.progress).failure.take();
            failure.unwrap_or_else(|| {
                if lock(&self.progress).tried.is_empty() {
                    return format!("the name {host} has no address");
                }
                // Everybody was silent, and this thread so busy that s2n-quic gave up first.
                words::no_answer(
                    &self.target,
                    &lock(&self.progress).tried,
                    self.connector.timeout,
                )
            })
        })
    }

    async fn attempt(self: Arc<Self>, address: SocketAddr) -> Option<Connection> {
        let Target { host, alpns, .. } = &self.target;
        lock(&self.progress).tried.push(address);
        let result = match self.connector.client(address.is_ipv6(), alpns) {
            Ok(client) => {
                let connect = Connect::new(address).with_server_name(host.as_str());
                let connected = client.connect(connect).await;
                connected.map_err(|cause| {
                    let refusal = lock(&self.connector.tls).refusal(host);
                    reason::of_client(&cause, &self.target, refusal)
                })
            }
            Err(why) => Err(Some(why)),
        };
        result
            .map_err(|why| {
                if let Some(why) = why {
                    lock(&self.progress).failure = Some(why);
                }
            })
            .ok()
    }

    fn no_answer(&self, timeout: Duration) -> String {
        let mut progress = lock(&self.progress);
        if !progress.resolved {
            return words::unresolved_in_time(&self.target.host, timeout);
        }
        let failure = progress.failure.take();
        failure.unwrap_or_else(|| words::no_answer(&self.target, &progress.tried, timeout))
    }
}

/// A literal costs nothing; a name is looked up by the system's resolver, which blocks a thread of smol's pool.
async fn resolve(host: &str, port: u16) -> io::Result<VecDeque<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(VecDeque::from([SocketAddr::new(ip, port)]));
    }
    smol::net::resolve((host, port)).await.map(VecDeque::from)
}

/// The first connection that succeeds; `None` if none does.
async fn race(
    mut addresses: VecDeque<SocketAddr>,
    start: impl Fn(SocketAddr) -> Attempt,
) -> Option<Connection> {
    let mut running: Vec<Attempt> = Vec::new();
    let mut head_start = Timer::after(HEAD_START);
    poll_fn(|cx: &mut Context<'_>| {
        loop {
            let mut won = None;
            running.retain_mut(|attempt| match attempt.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(connection) => {
                    won = won.take().or(connection);
                    false
                }
            });
            if won.is_some() {
                return Poll::Ready(won);
            }
            if !running.is_empty() && Pin::new(&mut head_start).poll(cx).is_pending() {
                return Poll::Pending;
            }
            match addresses.pop_front() {
                Some(address) => {
                    running.push(start(address));
                    head_start.set_after(HEAD_START);
                }
                None if running.is_empty() => return Poll::Ready(None),
                None => return Poll::Pending,
            }
        }
    })
    .await
}
