//! One endpoint: a socket, its connections and the application that they serve, all in one task.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_io::Timer;
use bytes::Bytes;
use oxymoq_core::runtime::{Settings, TransportSettings};
use oxymoq_core::time::{Time, WallTime};
use oxymoq_core::transport::{
    Admission, Answer, Application, Closed, ConnectionId, Exit, Incoming, Input, Output,
};
use s2n_quic::{Server, application};
use smol::{Executor, Task};

use crate::admission::Door;
use crate::connection::Connection;
use crate::dial::Connector;
use crate::io::{self, Outage, SmolIo};
use crate::ready::{Event, Ready};
use crate::{Error, reason, stack};

/// Outputs of one connection that are carried out before others have their turn.
const TURN: usize = 512;
/// Connections that have their turn before the sockets are looked at again.
const TURNS: usize = 256;
/// How often the sockets' tasks may run so that the last packets leave.
const FAREWELL: usize = 64;

/// A UDP socket with QUIC on it: a server, or a client, or both.
///
/// A server and outgoing connections have separate sockets, as s2n-quic's servers cannot connect.
#[derive(Debug)]
pub struct Endpoint {
    server: Option<Server>,
    door: Arc<Door>,
    outage: Arc<Outage>,
    incoming: Waker,
    bell: Waker,
    alpns: Vec<Bytes>,
    connector: Arc<Connector>,
    local: SocketAddr,
    fingerprint: Option<[u8; 32]>,
    transport: TransportSettings,
    ready: Arc<Ready>,
    epoch: Instant,
    executor: Arc<Executor<'static>>,
}

impl Endpoint {
    /// Reads the certificates and opens the server's socket. Nothing moves before [`Endpoint::run`].
    ///
    /// # Errors
    /// If the address cannot be had or a certificate cannot be used.
    pub fn bind(settings: Settings) -> Result<Self, Error> {
        let executor = Arc::new(Executor::new());
        let ready = Arc::new(Ready::default());
        let incoming = ready.waker(Event::Incoming);
        incoming.wake_by_ref();
        let bell = ready.waker(Event::Rung);
        let door = Arc::new(Door::new(incoming.clone()));
        let outage = Arc::new(Outage::new(incoming.clone()));
        let transport = settings.transport;
        let connector = Connector::new(&settings.client, &transport, &executor, &outage)?;
        let (mut server, mut fingerprint) = (None, None);
        let mut alpns = Vec::new();
        let mut local = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        if let Some(wanted) = &settings.server {
            let (tls, sha256) = oxymoq_tls::server(wanted)?;
            let address = wanted.listen;
            let failed = |cause| Error::Bind { address, cause };
            let socket = io::bind(address, transport.socket_buffer).map_err(failed)?;
            if let Some(address) = socket.local_addr().map_err(failed)?.as_socket() {
                local = address;
            }
            let io = SmolIo {
                socket,
                gso: transport.gso,
                executor: Arc::clone(&executor),
                outage: Arc::clone(&outage),
            };
            let started =
                stack::server(io, tls, Arc::clone(&door), &transport).map_err(|cause| {
                    Error::System {
                        what: "starting the QUIC server",
                        cause: std::io::Error::other(cause.to_string()),
                    }
                })?;
            server = Some(started);
            fingerprint = Some(sha256);
            alpns.clone_from(&wanted.alpns);
        }
        Ok(Self {
            server,
            door,
            outage,
            incoming,
            bell,
            alpns,
            connector: Arc::new(connector),
            local,
            fingerprint,
            transport,
            ready,
            epoch: Instant::now(),
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
            smol::future::yield_now().await;
        }
        exit
    }

    fn now(&self) -> Time {
        let micros = self.epoch.elapsed().as_micros();
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// What an id of the application stands for.
#[derive(Debug)]
enum Slot {
    /// A client was let in; its handshake is under way.
    Arriving,
    /// On its way; the waker belongs to the task.
    Connecting(Task<Result<s2n_quic::Connection, String>>, Waker),
    /// Established.
    Open(Box<Connection>),
}

/// A run of an endpoint with an application.
struct Driver<'a, A> {
    endpoint: &'a mut Endpoint,
    app: &'a mut A,
    slots: BTreeMap<ConnectionId, Slot>,
    /// Connections whose turn was cut short.
    unfinished: VecDeque<ConnectionId>,
    timer: Timer,
    deadline: Option<Time>,
}

impl<A: Application> Driver<'_, A> {
    /// One round: all inputs first, then one turn for each connection that has something to do.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Exit, Error>> {
        self.endpoint.ready.listen(cx.waker());
        if let Some(error) = self.endpoint.outage.cause() {
            return Poll::Ready(Err(error));
        }
        let now = self.endpoint.now();
        self.app.handle_wall_clock(now, wall_clock());
        if self.app.poll_timeout().is_some_and(|(at, _why)| at <= now) {
            self.app.handle_timeout(now);
        }
        for event in self.endpoint.ready.take() {
            self.look(now, event);
        }
        self.connect(now);
        self.pump(now);
        self.connect(now);
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

    fn look(&mut self, now: Time, event: Event) {
        match event {
            Event::Incoming => self.accept(now),
            Event::Rung => self.app.handle_wake(now),
            Event::Connecting(id) => self.connecting(now, id),
            Event::Connection(id) => self.on_connection(now, id, Connection::news),
            Event::Opening(id, dir) => {
                self.on_connection(now, id, |_, inputs| inputs.push(Input::CanOpen(dir)));
            }
            Event::Readable(id, stream) => {
                self.on_connection(now, id, |open, inputs| open.readable(stream, inputs));
            }
            Event::Writable(id, stream) => {
                self.on_connection(now, id, |open, inputs| open.writable(stream, inputs));
            }
        }
    }

    /// Tells the application what a connection has to say, and forgets the connection with [`Input::Closed`].
    fn on_connection(
        &mut self,
        now: Time,
        id: ConnectionId,
        ask: impl FnOnce(&mut Connection, &mut Vec<Input>),
    ) {
        let Some(Slot::Open(open)) = self.slots.get_mut(&id) else {
            return;
        };
        let mut inputs = Vec::new();
        ask(open, &mut inputs);
        for input in inputs {
            if matches!(input, Input::Closed(_)) {
                self.slots.remove(&id);
            }
            self.app.handle_input(now, id, input);
        }
    }

    fn accept(&mut self, now: Time) {
        for visitor in self.endpoint.door.visitors() {
            let remote = visitor.remote;
            let incoming = Incoming {
                remote,
                // The time for a Retry is over once there is a TLS session to wait here.
                is_validated: true,
            };
            let admission = self.app.handle_incoming(now, &incoming);
            if let Admission::Accept(id) = admission {
                self.slots.insert(id, Slot::Arriving);
            }
            visitor.decide(admission);
        }
        let mut cx = Context::from_waker(&self.endpoint.incoming);
        let mut accepted = Vec::new();
        if let Some(server) = &mut self.endpoint.server {
            while let Poll::Ready(Some(connection)) = server.poll_accept(&mut cx) {
                accepted.push(connection);
            }
        }
        for mut connection in accepted {
            let admitted = connection
                .take_tls_context()
                .and_then(|id| id.downcast().ok());
            match admitted.map(|id: Box<ConnectionId>| *id) {
                Some(id) if self.is_arriving(id) => self.established(now, id, connection),
                // The application has closed it in the meantime.
                _ => connection.close(application::Error::UNKNOWN),
            }
        }
        for (id, ended) in self.endpoint.door.failed() {
            if self.is_arriving(id) {
                self.slots.remove(&id);
                let timeout = self.endpoint.transport.handshake_timeout;
                let why = reason::of_server(&ended, timeout, &self.endpoint.alpns);
                self.app
                    .handle_input(now, id, Input::Closed(Closed::Failed(why)));
            }
        }
    }

    fn is_arriving(&self, id: ConnectionId) -> bool {
        matches!(self.slots.get(&id), Some(Slot::Arriving))
    }

    fn established(&mut self, now: Time, id: ConnectionId, connection: s2n_quic::Connection) {
        let endpoint = &*self.endpoint;
        let max_unacked = endpoint.transport.max_unacked;
        match Connection::new(id, connection, &endpoint.ready, max_unacked) {
            Ok(mut open) => {
                let input = open.start(!endpoint.transport.keep_alive.is_zero());
                self.slots.insert(id, Slot::Open(Box::new(open)));
                self.app.handle_input(now, id, input);
            }
            Err(error) => {
                self.slots.remove(&id);
                let why = Closed::Failed(format!("the QUIC stack lost it at once: {error}"));
                self.app.handle_input(now, id, Input::Closed(why));
            }
        }
    }

    /// Starts what the application wants opened.
    fn connect(&mut self, _now: Time) {
        while let Some((id, target)) = self.app.poll_connect() {
            let connector = Arc::clone(&self.endpoint.connector);
            let task = self.endpoint.executor.spawn(connector.connect(target));
            let waker = self.endpoint.ready.waker(Event::Connecting(id));
            waker.wake_by_ref();
            self.slots.insert(id, Slot::Connecting(task, waker));
        }
    }

    fn connecting(&mut self, now: Time, id: ConnectionId) {
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

    fn pump(&mut self, now: Time) {
        for _ in 0..self.unfinished.len() {
            if let Some(id) = self.unfinished.pop_front() {
                self.turn(now, id);
            }
        }
        for _ in 0..TURNS {
            let Some(id) = self.app.poll_dirty() else {
                return;
            };
            self.turn(now, id);
        }
        // There may be more: come back after the sockets.
        self.endpoint.incoming.wake_by_ref();
    }

    /// Carries out a connection's outputs, each answered before the next is asked for.
    fn turn(&mut self, now: Time, id: ConnectionId) {
        for _ in 0..TURN {
            let Some(output) = self.app.poll_output(now, id) else {
                return;
            };
            if let Some(answer) = self.perform(now, id, output) {
                self.app.handle_answer(now, id, answer);
            }
        }
        if !self.unfinished.contains(&id) {
            self.unfinished.push_back(id);
        }
    }

    fn perform(&mut self, now: Time, id: ConnectionId, output: Output) -> Option<Answer> {
        if let Some(Slot::Open(open)) = self.slots.get_mut(&id) {
            return open.perform(output);
        }
        match output {
            Output::Open { .. }
            | Output::Write { .. }
            | Output::Read { .. }
            | Output::Datagram(_) => Some(Answer::Gone),
            Output::Close { .. } => {
                // Not established yet: dropping the task gives the attempt up.
                if self.slots.remove(&id).is_some() {
                    self.app.handle_input(now, id, Input::Closed(Closed::ByUs));
                }
                None
            }
            Output::Reset { .. }
            | Output::Stop { .. }
            | Output::Priority { .. }
            | Output::AllowStreams { .. }
            | Output::ReceiveWindow(_) => None,
        }
    }

    /// Sets the timer for the application's deadline; true if that has passed.
    fn arm(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        let deadline = self.app.poll_timeout().map(|(at, _why)| at);
        if deadline != self.deadline {
            self.deadline = deadline;
            let wait = deadline.map(|at| at.since(Time::ZERO));
            match wait.and_then(|wait| self.endpoint.epoch.checked_add(wait)) {
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

fn wall_clock() -> WallTime {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    WallTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
