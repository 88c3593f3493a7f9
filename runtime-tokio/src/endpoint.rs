//! The socket loop: receive a batch, feed it all, pump each dirty connection, send, sleep until the next deadline.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use oxymoq_core::runtime::{ClientSettings, Settings, TransportSettings};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{Application, Closed, ConnectionId, Exit, Input};
use oxymoq_tls::sockets::{self, Group};
use oxymoq_tls::{Clock, Handshakes, Shard};
use quinn_proto::{ConnectionHandle, DatagramEvent, Transmit, TransportConfig, VarInt};

use crate::bell::Bell;
use crate::connection::Connection;
use crate::dial::{Dial, Lookups};
use crate::slot::{Arrival, Owner, Slot, Slots};
use crate::socket::{Bound, Packet, Socket};
use crate::timer::Timers;
use crate::{Error, config};

/// Batches received before connections are served.
const MAX_BATCHES: usize = 4;
/// At the end, how long closed connections may take to make sure that their peers know.
const LINGER: Duration = Duration::from_secs(1);

/// A bound UDP socket with everything set up to serve and to connect.
///
/// [`Endpoint::run`] does the work; nothing is received before.
pub struct Endpoint {
    bound: Bound,
    /// The sockets of the other shards as well.
    group: Group,
    quic: quinn_proto::Endpoint,
    tls: oxymoq_tls::Client,
    alpns: Vec<Bytes>,
    fingerprint: Option<[u8; 32]>,
    client: ClientSettings,
    transport: TransportSettings,
    handshakes: Handshakes,
    bell: Arc<Bell>,
}

impl Endpoint {
    /// Binds the socket and reads the certificates.
    ///
    /// # Errors
    /// If the address cannot be had or a certificate cannot be used.
    pub fn bind(settings: Settings) -> Result<Self, Error> {
        let socket = |cause| Error::System {
            what: "opening a socket",
            cause,
        };
        let alone = Self::bind_shards(settings, 1)?.pop();
        alone.ok_or_else(|| socket(std::io::Error::other("there is none")))
    }

    /// Binds a server's sockets and reads its certificates: an endpoint for each of so many shards, each to be run on a thread
    /// of its own, which share the port and whatever proves to a client that it speaks to the same server.
    ///
    /// Every connection stays with one of them, also when the client's address changes. There are at most [`Shard::MAX`], and
    /// only one where the system cannot divide packets among sockets so, which is logged.
    ///
    /// # Errors
    /// If the address cannot be had or a certificate cannot be used.
    pub fn bind_shards(settings: Settings, shards: u8) -> Result<Vec<Self>, Error> {
        let Settings {
            server,
            client,
            transport,
        } = settings;
        let mut fingerprint = None;
        let mut quic_server = None;
        if let Some(server) = &server {
            let (config, own) = oxymoq_tls::server(server)?;
            fingerprint = Some(own);
            quic_server = Some(Arc::new(config::server(config, &transport)?));
        }
        let listen = server.as_ref().map_or_else(
            || SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            |server| server.listen,
        );
        let failed = |cause| Error::Bind {
            address: listen,
            cause,
        };
        let alpns = server.map(|server| server.alpns).unwrap_or_default();
        let (sockets, group) = sockets::bind(listen, shards).map_err(failed)?;
        let all = Shard::all(u8::try_from(sockets.len()).unwrap_or(u8::MAX));
        let (handshakes, endpoints) = (Handshakes::default(), config::endpoints());
        sockets
            .into_iter()
            .zip(all)
            .map(|(socket, shard)| {
                let bound = Bound::new(socket.into(), transport.socket_buffer, transport.gso)
                    .map_err(failed)?;
                let quic = quinn_proto::Endpoint::new(
                    endpoints(shard),
                    quic_server.clone(),
                    !bound.may_fragment(),
                    None,
                );
                Ok(Self {
                    bound,
                    group: group.clone(),
                    quic,
                    tls: oxymoq_tls::Client::new(&client.trust)?,
                    alpns: alpns.clone(),
                    fingerprint,
                    client: client.clone(),
                    transport: transport.clone(),
                    handshakes: handshakes.clone(),
                    bell: Arc::default(),
                })
            })
            .collect()
    }

    /// Rings this endpoint's bell, from any thread: soon after, [`Application::handle_wake`] is called once.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.bell))
    }

    /// The UDP address in use, with the port that the system picked if it was left open.
    pub const fn local_address(&self) -> SocketAddr {
        self.bound.address()
    }

    /// SHA-256 of the server's certificate in DER form, by which browsers can be told to accept it.
    pub const fn fingerprint(&self) -> Option<[u8; 32]> {
        self.fingerprint
    }

    /// Drives `app` until it exits. When `shutdown` resolves, the application is told once to come to an end.
    ///
    /// Must be called within a tokio runtime with I/O and time enabled. Everything happens in the calling task.
    ///
    /// # Errors
    /// If the socket or the runtime fails.
    pub async fn run<A: Application>(
        self,
        app: &mut A,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Exit, Error> {
        let bell = Arc::clone(&self.bell);
        let _group = self.group.clone();
        let mut driver = Driver::new(self, app)?;
        let mut shutdown = pin!(shutdown);
        let mut told = false;
        let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            let busy = driver.turn()?;
            if let Some(exit) = driver.ended() {
                return Ok(exit);
            }
            if !busy {
                sleep.as_mut().reset(driver.next_deadline().into());
            }
            let blocked = driver.unsent.is_some();
            tokio::select! {
                biased;
                () = &mut shutdown, if !told => {
                    told = true;
                    driver.shut_down();
                }
                () = bell.rung() => driver.wake(),
                Some((id, found)) = driver.lookups.next() => driver.handle_lookup(id, found),
                // Lets the runtime look at the socket, signals and timers.
                () = tokio::task::yield_now(), if busy => {}
                ready = driver.socket.ready(blocked), if !busy => {
                    ready.map_err(|cause| Error::System { what: "waiting for the socket", cause })?;
                }
                () = &mut sleep, if !busy => {}
            }
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("local_address", &self.local_address())
            .field("alpns", &self.alpns)
            .finish_non_exhaustive()
    }
}

/// A running endpoint.
pub(crate) struct Driver<'a, A> {
    pub(crate) app: &'a mut A,
    pub(crate) socket: Socket,
    pub(crate) quic: quinn_proto::Endpoint,
    pub(crate) tls: oxymoq_tls::Client,
    pub(crate) alpns: Vec<Bytes>,
    pub(crate) client: ClientSettings,
    pub(crate) transport: TransportSettings,
    pub(crate) client_transport: Arc<TransportConfig>,
    pub(crate) clock: Clock,
    pub(crate) now: Instant,
    pub(crate) slots: Slots,
    /// Connections that the application knows.
    pub(crate) ids: HashMap<ConnectionId, ConnectionHandle>,
    pub(crate) dials: BTreeMap<ConnectionId, Dial>,
    pub(crate) lookups: Lookups,
    pub(crate) timers: Timers<Key>,
    /// Connections on which something came in.
    pub(crate) touched: VecDeque<ConnectionHandle>,
    /// Connections to pump and to ask for packets.
    pub(crate) work: VecDeque<ConnectionHandle>,
    /// Accepted connections whose handshake is under way, those of other shards included.
    pub(crate) handshakes: Handshakes,
    /// A packet, and its bytes, for which the socket had no room. It goes first.
    pub(crate) unsent: Option<(Transmit, Vec<u8>)>,
    /// Where packets are made.
    pub(crate) out: Vec<u8>,
    pub(crate) exit: Option<(Exit, Instant)>,
}

/// What a deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Connection(ConnectionHandle),
    Dial(ConnectionId),
}

impl<'a, A: Application> Driver<'a, A> {
    fn new(endpoint: Endpoint, app: &'a mut A) -> Result<Self, Error> {
        let clock = Clock::start();
        let socket = endpoint.bound.watch().map_err(|cause| Error::System {
            what: "watching the socket",
            cause,
        })?;
        let window = endpoint.transport.publisher_window;
        Ok(Self {
            app,
            socket,
            quic: endpoint.quic,
            tls: endpoint.tls,
            alpns: endpoint.alpns,
            client: endpoint.client,
            client_transport: Arc::new(config::transport(&endpoint.transport, window)),
            transport: endpoint.transport,
            clock,
            now: Instant::now(),
            slots: Slots::default(),
            ids: HashMap::new(),
            dials: BTreeMap::new(),
            lookups: Lookups::default(),
            timers: Timers::new(),
            touched: VecDeque::new(),
            work: VecDeque::new(),
            handshakes: endpoint.handshakes,
            unsent: None,
            out: Vec::new(),
            exit: None,
        })
    }

    /// One round: everything that can be done without waiting, within bounds. Returns whether more can be done at once.
    fn turn(&mut self) -> Result<bool, Error> {
        self.read_clocks();
        let more_to_receive = self.receive()?;
        self.expire();
        self.send_unsent();
        let now = self.time();
        if self.exit.is_none() && self.app.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.app.handle_timeout(now);
        }
        while let Some(handle) = self.touched.pop_front() {
            self.take_events(handle);
            self.enqueue(handle);
        }
        let more_to_serve = self.serve_some();
        if self.exit.is_none()
            && let Some(exit) = self.app.poll_exit()
        {
            self.close_all();
            self.exit = Some((exit, self.now + LINGER));
        }
        Ok(more_to_receive || more_to_serve || !self.touched.is_empty())
    }

    fn read_clocks(&mut self) {
        self.now = Instant::now();
        let now = self.time();
        self.app.handle_wall_clock(now, Clock::wall());
    }

    pub(crate) fn time(&self) -> Time {
        self.clock.time(self.now)
    }

    fn shut_down(&mut self) {
        // The last round may be long ago.
        self.now = Instant::now();
        let now = self.time();
        self.app.handle_shutdown(now);
    }

    fn wake(&mut self) {
        // The last round may be long ago.
        self.now = Instant::now();
        if self.exit.is_none() {
            let now = self.time();
            self.app.handle_wake(now);
        }
    }

    /// The result, once the application has exited and its peers know, or had their time.
    fn ended(&mut self) -> Option<Exit> {
        let (_, until) = self.exit.as_ref()?;
        let goodbye = self.slots.iter().any(|slot| slot.goodbye);
        let settled = !goodbye && self.touched.is_empty() && self.unsent.is_none();
        if settled || *until <= self.now {
            self.exit.take().map(|(exit, _)| exit)
        } else {
            None
        }
    }

    fn next_deadline(&self) -> Instant {
        // An hour stands for "never".
        let mut deadline = self.now + Duration::from_secs(3600);
        if let Some(at) = self.timers.next() {
            deadline = deadline.min(at);
        }
        match &self.exit {
            Some((_, until)) => deadline.min(*until),
            None => match self.app.poll_timeout() {
                // A core's time that overflows the clock is far away, too.
                Some((at, _)) => self
                    .clock
                    .instant(at)
                    .map_or(deadline, |at| deadline.min(at)),
                None => deadline,
            },
        }
    }

    fn receive(&mut self) -> Result<bool, Error> {
        for _ in 0..MAX_BATCHES {
            let received = self.socket.receive().map_err(|cause| Error::System {
                what: "receiving from the socket",
                cause,
            })?;
            if !received {
                return Ok(false);
            }
            while let Some(packet) = self.socket.next_packet() {
                self.handle_packet(packet);
            }
        }
        Ok(true)
    }

    fn handle_packet(&mut self, packet: Packet) {
        let Packet {
            remote,
            local,
            ecn,
            bytes,
        } = packet;
        self.out.clear();
        match self
            .quic
            .handle(self.now, remote, local, ecn, bytes, &mut self.out)
        {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(slot) = self.slots.get(handle) {
                    slot.connection.quic().handle_event(event);
                    self.touch(handle);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.admit(incoming),
            Some(DatagramEvent::Response(transmit)) => self.respond(&transmit),
            None => {}
        }
    }

    pub(crate) fn insert(
        &mut self,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        owner: Owner,
        handshake: Option<Arrival>,
    ) {
        let connection = Connection::new(quic, &self.transport, handshake.is_some());
        let slot = Slot::new(connection, owner, handshake);
        self.slots.insert(handle, slot);
        self.touch(handle);
    }

    /// Adds one attempt to connect.
    pub(crate) fn insert_attempt(
        &mut self,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        id: ConnectionId,
    ) {
        self.insert(handle, quic, Owner::Dial(id), None);
    }

    /// The form in which the socket takes this address, or `None` if it cannot reach it.
    pub(crate) fn reach(&self, address: SocketAddr) -> Option<SocketAddr> {
        self.socket.reach(address)
    }

    /// Gives up an attempt to connect.
    pub(crate) fn abandon(&mut self, handle: ConnectionHandle) {
        let now = self.now;
        if let Some(slot) = self.slots.get(handle) {
            slot.owner = Owner::Nobody;
            slot.connection
                .quic()
                .close(now, VarInt::from_u32(0), Bytes::new());
            self.touch(handle);
        }
    }

    pub(crate) fn known(&self, id: ConnectionId) -> bool {
        self.ids.contains_key(&id) || self.dials.contains_key(&id)
    }

    pub(crate) fn tell(&mut self, id: ConnectionId, input: Input) {
        let now = self.time();
        self.app.handle_input(now, id, input);
    }

    /// Something came in on this connection.
    fn touch(&mut self, handle: ConnectionHandle) {
        if let Some(slot) = self.slots.get(handle)
            && !slot.touched
        {
            slot.touched = true;
            self.touched.push_back(handle);
        }
    }

    /// It wants to be served: pumped if it is dirty, and asked for packets.
    pub(crate) fn enqueue(&mut self, handle: ConnectionHandle) {
        if let Some(slot) = self.slots.get(handle) {
            slot.due = true;
            if !slot.queued {
                slot.queued = true;
                self.work.push_back(handle);
            }
        }
    }

    fn expire(&mut self) {
        while let Some(key) = self.timers.pop_due(self.now) {
            match key {
                Key::Dial(id) => self.expire_dial(id),
                Key::Connection(handle) => self.expire_connection(handle),
            }
        }
    }

    fn expire_connection(&mut self, handle: ConnectionHandle) {
        let now = self.now;
        let Some(slot) = self.slots.get(handle) else {
            return;
        };
        slot.timer.fired();
        if slot.handshake.as_ref().is_some_and(|it| it.until <= now) {
            slot.handshake = None;
            let why = "the client did not finish its handshake in time".to_owned();
            slot.ending.get_or_insert(Closed::Failed(why));
            slot.connection
                .quic()
                .close(now, VarInt::from_u32(0), Bytes::new());
        }
        let quic = slot.connection.quic();
        if quic.poll_timeout().is_some_and(|at| at <= now) {
            quic.handle_timeout(now);
        }
        // If nothing was due after all, serving it sets the timer anew.
        self.touch(handle);
    }

    fn send_unsent(&mut self) {
        if let Some((transmit, bytes)) = self.unsent.take() {
            if self.socket.send(&transmit, &bytes) {
                self.out = bytes;
            } else {
                self.unsent = Some((transmit, bytes));
            }
        }
    }

    /// The application is done: say goodbye on whatever it left open.
    fn close_all(&mut self) {
        for handle in self.slots.handles() {
            if let Some(slot) = self.slots.get(handle) {
                slot.dirty = false;
                slot.goodbye |= matches!(slot.owner, Owner::App(_)) && slot.ending.is_none();
                slot.ending = None;
            }
            self.abandon(handle);
        }
        self.ids.clear();
        self.dials.clear();
    }
}
