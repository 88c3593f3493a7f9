//! The socket loop: receive a batch, feed it all, pump each dirty connection, send, sleep until the next deadline.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use log::{debug, error};
use oxymoq_core::runtime::{ClientSettings, Settings, TransportSettings};
use oxymoq_core::time::{Time, WallTime};
use oxymoq_core::transport::{
    Admission, Answer, Application, Closed, ConnectionId, Exit, Incoming, Input, Output,
};
use quinn_proto::{
    ConnectionError, ConnectionHandle, DatagramEvent, EndpointEvent, Transmit, TransportConfig,
    VarInt,
};

use crate::connection::{Change, Connection, Outcome};
use crate::dial::{Dial, Lookups};
use crate::reason;
use crate::socket::{Bound, Packet, Socket};
use crate::timer::{Entry, Timers};
use crate::{Error, config, tls};

/// Batches received before connections are served.
const MAX_BATCHES: usize = 4;
/// Connections served before the socket is read again, so that acknowledgements do not pile up in it.
const MAX_SERVED: usize = 32;
/// Outputs carried out for a connection before others have their turn.
const MAX_OUTPUTS: usize = 256;
/// Calls of the socket for a connection before others have their turn.
const MAX_TRANSMITS: usize = 2;
/// At the end, how long closed connections may take to make sure that their peers know.
const LINGER: Duration = Duration::from_secs(1);

/// A bound UDP socket with everything set up to serve and to connect.
///
/// [`Endpoint::run`] does the work; nothing is received before.
pub struct Endpoint {
    bound: Bound,
    quic: quinn_proto::Endpoint,
    tls: tls::Client,
    alpns: Vec<Bytes>,
    fingerprint: Option<[u8; 32]>,
    client: ClientSettings,
    transport: TransportSettings,
}

impl Endpoint {
    /// Binds the socket and reads the certificates.
    ///
    /// # Errors
    /// If the address cannot be had or a certificate cannot be used.
    pub fn bind(settings: Settings) -> Result<Self, Error> {
        let Settings {
            server,
            client,
            transport,
        } = settings;
        let tls = tls::Client::new(&client.trust)?;
        let mut fingerprint = None;
        let mut quic_server = None;
        if let Some(server) = &server {
            let (config, own) = tls::server(server)?;
            fingerprint = Some(own);
            quic_server = Some(Arc::new(config::server(config, &transport)?));
        }
        let listen = server.as_ref().map_or_else(
            || SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            |server| server.listen,
        );
        let bound = Bound::new(listen, transport.socket_buffer, transport.gso)?;
        let quic =
            quinn_proto::Endpoint::new(Arc::default(), quic_server, !bound.may_fragment(), None);
        Ok(Self {
            bound,
            quic,
            tls,
            alpns: server.map(|server| server.alpns).unwrap_or_default(),
            fingerprint,
            client,
            transport,
        })
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
    socket: Socket,
    pub(crate) quic: quinn_proto::Endpoint,
    pub(crate) tls: tls::Client,
    alpns: Vec<Bytes>,
    pub(crate) client: ClientSettings,
    transport: TransportSettings,
    pub(crate) client_transport: Arc<TransportConfig>,
    epoch: Instant,
    pub(crate) now: Instant,
    /// By [`ConnectionHandle`], whose numbers are small and reused.
    slots: Vec<Option<Box<Slot>>>,
    /// Connections that the application knows.
    ids: HashMap<ConnectionId, ConnectionHandle>,
    pub(crate) dials: BTreeMap<ConnectionId, Dial>,
    pub(crate) lookups: Lookups,
    pub(crate) timers: Timers<Key>,
    /// Connections on which something came in.
    touched: VecDeque<ConnectionHandle>,
    /// Connections to pump and to ask for packets.
    work: VecDeque<ConnectionHandle>,
    /// Accepted connections whose handshake is under way.
    handshakes: usize,
    /// A packet, and its bytes, for which the socket had no room. It goes first.
    unsent: Option<(Transmit, Vec<u8>)>,
    /// Where packets are made.
    out: Vec<u8>,
    exit: Option<(Exit, Instant)>,
}

/// What a deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Connection(ConnectionHandle),
    Dial(ConnectionId),
}

/// A connection and where it stands with the application.
struct Slot {
    connection: Connection,
    owner: Owner,
    /// Accepted, and not yet through the handshake: when to give up.
    handshake_until: Option<Instant>,
    timer: Entry,
    touched: bool,
    working: bool,
    /// The application has outputs for it.
    dirty: bool,
    /// It is over; the application is told once it has read what had arrived before.
    ending: Option<Closed>,
    /// This side closed it, and its peer may need to be told again.
    goodbye: bool,
    /// The last word of quinn-proto, kept until the slot may go.
    drained: Option<EndpointEvent>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The application knows it by this id.
    App(ConnectionId),
    /// One of the attempts to connect for this id.
    Dial(ConnectionId),
    /// Closed: only kept until the peer had time to notice.
    Nobody,
}

impl<'a, A: Application> Driver<'a, A> {
    fn new(endpoint: Endpoint, app: &'a mut A) -> Result<Self, Error> {
        let now = Instant::now();
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
            epoch: now,
            now,
            slots: Vec::new(),
            ids: HashMap::new(),
            dials: BTreeMap::new(),
            lookups: Lookups::default(),
            timers: Timers::new(),
            touched: VecDeque::new(),
            work: VecDeque::new(),
            handshakes: 0,
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
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall = WallTime(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX));
        let now = self.time();
        self.app.handle_wall_clock(now, wall);
    }

    pub(crate) fn time(&self) -> Time {
        Time::ZERO + self.now.duration_since(self.epoch)
    }

    fn shut_down(&mut self) {
        let now = self.time();
        self.app.handle_shutdown(now);
    }

    /// The result, once the application has exited and its peers know, or had their time.
    fn ended(&mut self) -> Option<Exit> {
        let (_, until) = self.exit.as_ref()?;
        let goodbye = self.slots.iter().flatten().any(|slot| slot.goodbye);
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
                    .epoch
                    .checked_add(at.since(Time::ZERO))
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
                if let Some(slot) = slot(&mut self.slots, handle) {
                    slot.connection.quic().handle_event(event);
                    self.touch(handle);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.admit(incoming),
            Some(DatagramEvent::Response(transmit)) => self.respond(&transmit),
            None => {}
        }
    }

    /// A client wants in: let it prove its address first, ask the application, or turn it away.
    fn admit(&mut self, incoming: quinn_proto::Incoming) {
        self.out.clear();
        let many = self.handshakes >= self.transport.retry_above;
        if many && !incoming.remote_address_validated() && incoming.may_retry() {
            match self.quic.retry(incoming, &mut self.out) {
                Ok(transmit) => self.respond(&transmit),
                Err(refused) => self.quic.ignore(refused.into_incoming()),
            }
            return;
        }
        let remote = incoming.remote_address();
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let full = self.exit.is_some() || self.handshakes >= self.transport.max_handshakes;
        let admission = if full {
            Admission::Refuse
        } else {
            let now = self.time();
            self.app.handle_incoming(now, &Incoming { remote })
        };
        let id = match admission {
            Admission::Accept(id) if !self.known(id) => id,
            Admission::Accept(id) => {
                error!("the application gave a new connection the id of {id}; {remote} is refused");
                return self.refuse(incoming);
            }
            Admission::Refuse => {
                debug!("{remote} is refused: no room");
                return self.refuse(incoming);
            }
        };
        match self.quic.accept(incoming, self.now, &mut self.out, None) {
            Ok((handle, quic)) => {
                let until = self.now + self.transport.handshake_timeout;
                self.handshakes += 1;
                self.ids.insert(id, handle);
                self.insert(handle, quic, Owner::App(id), Some(until));
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

    fn refuse(&mut self, incoming: quinn_proto::Incoming) {
        let transmit = self.quic.refuse(incoming, &mut self.out);
        self.respond(&transmit);
    }

    /// Sends what the endpoint itself answered. It is lost if there is no room, as on the network.
    fn respond(&self, transmit: &Transmit) {
        self.socket.send(transmit, &self.out);
    }

    fn known(&self, id: ConnectionId) -> bool {
        self.ids.contains_key(&id) || self.dials.contains_key(&id)
    }

    fn insert(
        &mut self,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        owner: Owner,
        handshake_until: Option<Instant>,
    ) {
        let incoming = handshake_until.is_some();
        let slot = Slot {
            connection: Connection::new(quic, &self.transport, incoming),
            owner,
            handshake_until,
            timer: Entry::default(),
            touched: false,
            working: false,
            dirty: false,
            ending: None,
            goodbye: false,
            drained: None,
        };
        if self.slots.len() <= handle.0 {
            self.slots.resize_with(handle.0 + 1, || None);
        }
        if let Some(place) = self.slots.get_mut(handle.0) {
            *place = Some(Box::new(slot));
        }
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
        if let Some(slot) = slot(&mut self.slots, handle) {
            slot.owner = Owner::Nobody;
            slot.connection
                .quic()
                .close(now, VarInt::from_u32(0), Bytes::new());
            self.touch(handle);
        }
    }

    pub(crate) fn tell(&mut self, id: ConnectionId, input: Input) {
        let now = self.time();
        self.app.handle_input(now, id, input);
    }

    /// Something came in on this connection.
    fn touch(&mut self, handle: ConnectionHandle) {
        if let Some(slot) = slot(&mut self.slots, handle)
            && !slot.touched
        {
            slot.touched = true;
            self.touched.push_back(handle);
        }
    }

    fn enqueue(&mut self, handle: ConnectionHandle) {
        if let Some(slot) = slot(&mut self.slots, handle)
            && !slot.working
        {
            slot.working = true;
            self.work.push_back(handle);
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
        let Some(slot) = slot(&mut self.slots, handle) else {
            return;
        };
        slot.timer.fired();
        if slot.handshake_until.is_some_and(|until| until <= now) {
            slot.handshake_until = None;
            self.handshakes -= 1;
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

    /// Lets quinn-proto's halves talk to each other, and tells the application what happened.
    fn take_events(&mut self, handle: ConnectionHandle) {
        if let Some(slot) = slot(&mut self.slots, handle) {
            slot.touched = false;
        }
        loop {
            let now = self.time();
            let Some(slot) = slot(&mut self.slots, handle) else {
                return;
            };
            let mut again = false;
            while let Some(event) = slot.connection.quic().poll_endpoint_events() {
                if event.is_drained() {
                    slot.drained = Some(event);
                } else if let Some(reply) = self.quic.handle_event(handle, event) {
                    slot.connection.quic().handle_event(reply);
                    again = true;
                }
            }
            let (app, owner) = (&mut *self.app, slot.owner);
            let change = slot.connection.poll(&mut |input| {
                if let Owner::App(id) = owner {
                    app.handle_input(now, id, input);
                }
            });
            match change {
                Some(Change::Connected) => self.established(handle),
                Some(Change::Lost(cause)) => self.lost(handle, &cause),
                None if again => {}
                None => break,
            }
        }
        if let Some(slot) = slot(&mut self.slots, handle)
            && let Owner::App(id) = slot.owner
            && slot.handshake_until.is_none()
            && slot.ending.is_none()
            && let Some(input) = slot.connection.path_change()
        {
            self.tell(id, input);
        }
    }

    fn established(&mut self, handle: ConnectionHandle) {
        let Some(slot) = slot(&mut self.slots, handle) else {
            return;
        };
        if slot.handshake_until.take().is_some() {
            self.handshakes -= 1;
        }
        let input = slot.connection.connected();
        let id = match slot.owner {
            Owner::Nobody => return,
            Owner::App(id) => id,
            Owner::Dial(id) => {
                slot.owner = Owner::App(id);
                self.ids.insert(id, handle);
                self.end_dial(id, Some(handle));
                id
            }
        };
        self.tell(id, input);
    }

    fn lost(&mut self, handle: ConnectionHandle, cause: &ConnectionError) {
        let Some(slot) = slot(&mut self.slots, handle) else {
            return;
        };
        let handshaking = slot.handshake_until.take().is_some();
        if handshaking {
            self.handshakes -= 1;
        }
        match slot.owner {
            Owner::Nobody => {}
            Owner::App(_) => {
                let closed = if handshaking {
                    Closed::Failed(reason::of_server(cause, &self.alpns))
                } else {
                    reason::closed(cause)
                };
                slot.ending.get_or_insert(closed);
            }
            Owner::Dial(id) => {
                slot.owner = Owner::Nobody;
                self.attempt_failed(id, handle, cause);
            }
        }
    }

    /// Serves connections until none wants anything or others must be heard. Returns whether there is more to do.
    fn serve_some(&mut self) -> bool {
        for _ in 0..MAX_SERVED {
            self.collect_dirty();
            if self.unsent.is_some() {
                // The socket has no room: what is made now would only wait for it.
                return false;
            }
            let Some(handle) = self.work.pop_front() else {
                return false;
            };
            self.serve(handle);
        }
        true
    }

    fn collect_dirty(&mut self) {
        if self.exit.is_some() {
            return;
        }
        loop {
            // First, so that a connection just asked for is known when it is dirty.
            self.start_dials();
            let Some(id) = self.app.poll_dirty() else {
                return;
            };
            if let Some(&handle) = self.ids.get(&id) {
                if let Some(slot) = slot(&mut self.slots, handle) {
                    slot.dirty = true;
                }
                self.enqueue(handle);
            } else if self.dials.contains_key(&id) {
                self.pump_dial(id);
            }
        }
    }

    /// An application that does not want to wait for a connection any more may close it.
    fn pump_dial(&mut self, id: ConnectionId) {
        let now = self.time();
        for _ in 0..MAX_OUTPUTS {
            match self.app.poll_output(now, id) {
                None => return,
                Some(Output::Close { .. }) => {
                    self.end_dial(id, None);
                    return self.tell(id, Input::Closed(Closed::ByUs));
                }
                Some(
                    Output::Open { .. }
                    | Output::Write { .. }
                    | Output::Read { .. }
                    | Output::Datagram(_),
                ) => self.app.handle_answer(now, id, Answer::Gone),
                Some(
                    Output::Reset { .. }
                    | Output::Stop { .. }
                    | Output::Priority { .. }
                    | Output::AllowStreams { .. },
                ) => {}
            }
        }
    }

    /// A connection's turn: outputs, packets, and its next deadline.
    fn serve(&mut self, handle: ConnectionHandle) {
        if let Some(slot) = slot(&mut self.slots, handle) {
            slot.working = false;
        }
        self.pump(handle);
        let more_to_send = self.transmit(handle);
        // Sending may have made room for datagrams, and outputs may have freed stream ids.
        self.take_events(handle);
        let Some(slot) = slot(&mut self.slots, handle) else {
            return;
        };
        if !slot.dirty
            && let Some(closed) = slot.ending.take()
            && let Owner::App(id) = slot.owner
        {
            slot.owner = Owner::Nobody;
            self.ids.remove(&id);
            self.tell(id, Input::Closed(closed));
        }
        self.settle(handle, more_to_send);
    }

    /// After a turn: forget a connection that is over, queue one that has more to do, and set the timer.
    fn settle(&mut self, handle: ConnectionHandle, more_to_send: bool) {
        let Some(slot) = slot(&mut self.slots, handle) else {
            return;
        };
        let key = Key::Connection(handle);
        if slot.owner == Owner::Nobody
            && let Some(event) = slot.drained.take()
        {
            self.timers.disarm(key, &mut slot.timer);
            if slot.handshake_until.is_some() {
                // Closed by the application before the handshake was through.
                self.handshakes -= 1;
            }
            self.quic.handle_event(handle, event);
            if let Some(place) = self.slots.get_mut(handle.0) {
                *place = None;
            }
            return;
        }
        let deadline = slot.connection.quic().poll_timeout();
        if let Some(at) = deadline.into_iter().chain(slot.handshake_until).min() {
            self.timers.arm(key, &mut slot.timer, at);
        }
        if slot.dirty || more_to_send {
            self.enqueue(handle);
        }
    }

    /// Carries out what the application wants done on this connection, one output at a time.
    fn pump(&mut self, handle: ConnectionHandle) {
        let now = self.time();
        let Some(slot) = slot(&mut self.slots, handle) else {
            return;
        };
        let Owner::App(id) = slot.owner else {
            slot.dirty = false;
            return;
        };
        if !slot.dirty {
            return;
        }
        slot.connection.start_pump();
        for _ in 0..MAX_OUTPUTS {
            let Some(output) = self.app.poll_output(now, id) else {
                slot.dirty = false;
                return;
            };
            match slot.connection.carry_out(self.now, output) {
                Outcome::Silent => {}
                Outcome::Answer(answer) => self.app.handle_answer(now, id, answer),
                Outcome::Closed => {
                    slot.goodbye = slot.ending.is_none();
                    slot.ending.get_or_insert(Closed::ByUs);
                    slot.dirty = false;
                    return;
                }
            }
        }
    }

    /// Sends what is due on this connection. Returns whether there may be more.
    fn transmit(&mut self, handle: ConnectionHandle) -> bool {
        let segments = self.socket.max_segments();
        let Some(slot) = slot(&mut self.slots, handle) else {
            return false;
        };
        for _ in 0..MAX_TRANSMITS {
            self.out.clear();
            let quic = slot.connection.quic();
            let Some(transmit) = quic.poll_transmit(self.now, segments, &mut self.out) else {
                return false;
            };
            if !self.socket.send(&transmit, &self.out) {
                self.unsent = Some((transmit, std::mem::take(&mut self.out)));
                return true;
            }
        }
        true
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
        for index in 0..self.slots.len() {
            let handle = ConnectionHandle(index);
            if let Some(slot) = slot(&mut self.slots, handle) {
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

fn slot(slots: &mut [Option<Box<Slot>>], handle: ConnectionHandle) -> Option<&mut Slot> {
    slots.get_mut(handle.0)?.as_deref_mut()
}
