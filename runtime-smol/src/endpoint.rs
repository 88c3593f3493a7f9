//! One endpoint: a socket, its connections and the application that they serve, all in one task.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use async_io::Timer;
use bytes::Bytes;
use oxymoq_core::runtime::{Settings, TransportSettings};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{Application, ConnectionId, Exit};
use oxymoq_tls::sockets::Group;
use oxymoq_tls::{Clock, Handshakes, Shard};
use s2n_quic::{Server, application};
use smol::Executor;

use crate::dial::Connector;
use crate::door::Door;
use crate::ready::{Event, Ready};
use crate::slot::Slot;
use crate::socket::{self, Outage, SmolIo};
use crate::{Error, config};

/// How often the sockets' tasks may run so that the last packets leave.
const FAREWELL: usize = 64;

/// A UDP socket with QUIC on it: a server, or a client, or both.
///
/// A server and outgoing connections have separate sockets, as s2n-quic's servers cannot connect.
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) server: Option<Server>,
    /// The sockets of this shard and the others, which stay open until this has ended.
    group: Group,
    pub(crate) door: Arc<Door>,
    pub(crate) outage: Arc<Outage>,
    pub(crate) incoming: Waker,
    pub(crate) bell: Waker,
    pub(crate) alpns: Vec<Bytes>,
    pub(crate) connector: Arc<Connector>,
    pub(crate) local: SocketAddr,
    pub(crate) fingerprint: Option<[u8; 32]>,
    pub(crate) transport: TransportSettings,
    pub(crate) ready: Arc<Ready>,
    pub(crate) clock: Clock,
    pub(crate) executor: Arc<Executor<'static>>,
}

impl Endpoint {
    /// Reads the certificates and opens the server's socket. Nothing moves before [`Endpoint::run`].
    ///
    /// # Errors
    /// If the address cannot be had or a certificate cannot be used.
    pub fn bind(settings: Settings) -> Result<Self, Error> {
        let Some(server) = &settings.server else {
            return Self::new(&settings);
        };
        let address = server.listen;
        let alone = Self::bind_shards(settings, 1)?.pop();
        alone.ok_or_else(|| Error::Bind {
            address,
            cause: io::Error::other("there is no socket"),
        })
    }

    /// Reads a server's certificates and opens its sockets: an endpoint for each of so many shards, each to be run on a thread
    /// of its own, which share the port and whatever proves to a client that it speaks to the same server. Without a server
    /// in the settings there is one.
    ///
    /// Every connection stays with one of them, also when the client's address changes. There are at most [`Shard::MAX`], and
    /// only one where the system cannot divide packets among sockets so, which is logged.
    ///
    /// # Errors
    /// If the address cannot be had or a certificate cannot be used.
    pub fn bind_shards(settings: Settings, shards: u8) -> Result<Vec<Self>, Error> {
        let Some(server) = &settings.server else {
            return Ok(vec![Self::new(&settings)?]);
        };
        let transport = &settings.transport;
        let (tls, sha256) = oxymoq_tls::server(server)?;
        let address = server.listen;
        let failed = |cause| Error::Bind { address, cause };
        let (sockets, group) =
            socket::bind(address, shards, transport.socket_buffer).map_err(failed)?;
        let all = Shard::all(u8::try_from(sockets.len()).unwrap_or(u8::MAX));
        let handshakes = Handshakes::default();
        sockets
            .into_iter()
            .zip(all)
            .map(|(socket, shard)| {
                let mut endpoint = Self::new(&settings)?;
                if let Some(address) = socket.local_addr().map_err(failed)?.as_socket() {
                    endpoint.local = address;
                }
                let io = SmolIo {
                    socket,
                    gso: transport.gso,
                    executor: Arc::clone(&endpoint.executor),
                    outage: Arc::clone(&endpoint.outage),
                };
                let door = Arc::new(Door::new(endpoint.incoming.clone(), handshakes.clone()));
                endpoint.door = Arc::clone(&door);
                let started = config::server(io, Arc::clone(&tls), door, shard, transport);
                endpoint.server = Some(started.map_err(|cause| Error::System {
                    what: "starting the QUIC server",
                    cause: io::Error::other(cause.to_string()),
                })?);
                endpoint.group = group.clone();
                endpoint.fingerprint = Some(sha256);
                endpoint.alpns.clone_from(&server.alpns);
                Ok(endpoint)
            })
            .collect()
    }

    /// One that can only connect.
    fn new(settings: &Settings) -> Result<Self, Error> {
        let executor = Arc::new(Executor::new());
        let ready = Arc::new(Ready::default());
        let incoming = ready.waker(Event::Incoming);
        incoming.wake_by_ref();
        let outage = Arc::new(Outage::new(incoming.clone()));
        let transport = settings.transport.clone();
        let connector = Connector::new(&settings.client, &transport, &executor, &outage)?;
        Ok(Self {
            server: None,
            group: Group::default(),
            door: Arc::new(Door::new(incoming.clone(), Handshakes::default())),
            outage,
            incoming,
            bell: ready.waker(Event::Rung),
            alpns: Vec::new(),
            connector: Arc::new(connector),
            local: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            fingerprint: None,
            transport,
            ready,
            clock: Clock::start(),
            executor,
        })
    }

    /// Rings this endpoint's bell, from any thread: soon after, [`Application::handle_wake`] is called once.
    pub fn waker(&self) -> Waker {
        self.bell.clone()
    }

    /// The UDP address that the server has, with the port that the system picked if it was left open; `[::]:0` without a
    /// server, as outgoing connections get their sockets when they are made.
    pub const fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// SHA-256 of the server's certificate in DER form, by which browsers can be told to accept it.
    pub const fn fingerprint(&self) -> Option<[u8; 32]> {
        self.fingerprint
    }

    /// Drives `app` until it exits. When `shutdown` resolves, the application is told once to come to an end.
    ///
    /// Any executor may poll this: s2n-quic's own tasks run inside of it, on the same thread.
    ///
    /// # Errors
    /// If a socket fails.
    pub async fn run<A: Application>(
        mut self,
        app: &mut A,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Exit, Error> {
        let executor = Arc::clone(&self.executor);
        executor.run(self.drive(app, shutdown)).await
    }

    async fn drive<A: Application>(
        &mut self,
        app: &mut A,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Exit, Error> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut asked = false;
        let mut driver = Driver {
            endpoint: self,
            app,
            slots: BTreeMap::new(),
            unfinished: VecDeque::new(),
            ending: Vec::new(),
            timer: Timer::never(),
            deadline: None,
        };
        let exit = poll_fn(|cx| {
            if !asked && shutdown.as_mut().poll(cx).is_ready() {
                asked = true;
                let now = driver.endpoint.now();
                driver.app.handle_shutdown(now);
            }
            driver.poll(cx)
        })
        .await;
        drop(driver);
        // The last packets are queued; a few rounds of the sockets' tasks send them.
        for _ in 0..FAREWELL {
            self.send_away();
            smol::future::yield_now().await;
        }
        exit
    }

    /// Closes connections whose handshake ends now that nobody wants them any more.
    fn send_away(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        if let Some(server) = &mut self.server {
            while let Poll::Ready(Some(connection)) = server.poll_accept(&mut cx) {
                connection.close(application::Error::UNKNOWN);
            }
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.time(Instant::now())
    }
}

/// A run of an endpoint with an application.
pub(crate) struct Driver<'a, A> {
    pub(crate) endpoint: &'a mut Endpoint,
    pub(crate) app: &'a mut A,
    pub(crate) slots: BTreeMap<ConnectionId, Slot>,
    /// Connections whose turn was cut short.
    pub(crate) unfinished: VecDeque<ConnectionId>,
    /// Connections that are over, which the application has not been told yet.
    pub(crate) ending: Vec<ConnectionId>,
    pub(crate) timer: Timer,
    pub(crate) deadline: Option<Time>,
}

impl<A: Application> Driver<'_, A> {
    /// One round: all inputs first, then one turn for each connection that has something to do.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Exit, Error>> {
        self.endpoint.ready.listen(cx.waker());
        if let Some(error) = self.endpoint.outage.cause() {
            return Poll::Ready(Err(error));
        }
        let now = self.endpoint.now();
        self.app.handle_wall_clock(now, Clock::wall());
        if self.app.poll_timeout().is_some_and(|(at, _why)| at <= now) {
            self.app.handle_timeout(now);
        }
        for event in self.endpoint.ready.take() {
            self.look(now, event);
        }
        self.start_dials();
        self.pump(now);
        self.end(now);
        self.start_dials();
        if let Some(exit) = self.app.poll_exit() {
            return Poll::Ready(Ok(exit));
        }
        let due = self.arm(now, cx);
        if due || !self.unfinished.is_empty() || !self.endpoint.ready.is_empty() {
            // The sockets' tasks run before the next round.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Sets the timer for the application's deadline; true if that has passed.
    fn arm(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        let deadline = self.app.poll_timeout().map(|(at, _why)| at);
        if deadline != self.deadline {
            self.deadline = deadline;
            match deadline.and_then(|at| self.endpoint.clock.instant(at)) {
                Some(at) => self.timer.set_at(at),
                None => self.timer = Timer::never(),
            }
        }
        if deadline.is_some_and(|at| at <= now) {
            return true;
        }
        deadline.is_some() && Pin::new(&mut self.timer).poll(cx).is_ready()
    }
}
