//! Two applications over real sockets of this machine, and a small scripted application to be one of them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::runtime::{ClientSettings, Pem, ServerSettings, Settings, Trust};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{
    Admission, Answer, Application, Closed, ConnectionId, Dir, Exit, Incoming, Input, Output, Room,
    StreamId, Target,
};
use oxymoq_tokio::Endpoint;
use tokio::sync::watch;

/// Longer than any test takes: only a hang reaches it.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// A server on a free port of the loopback interface.
pub(crate) fn server_settings() -> Settings {
    let mut server = ServerSettings::new(0, vec!["test-2".into(), "test-1".into()]);
    server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Settings {
        server: Some(server),
        ..Settings::default()
    }
}

/// A client that believes the server's certificate, whatever it is.
pub(crate) fn client_settings() -> Settings {
    Settings {
        client: ClientSettings {
            trust: Trust::Anyone,
            ..ClientSettings::default()
        },
        ..Settings::default()
    }
}

/// Where the server listens.
pub(crate) fn target(server: SocketAddr) -> Target {
    Target {
        host: server.ip().to_string(),
        port: server.port(),
        alpns: vec!["test-1".into(), "test-2".into()],
    }
}

/// Runs both applications in one thread until both exit, and returns how they did.
pub(crate) fn run_bound(
    server: (Endpoint, &mut impl Application),
    client: (Settings, &mut impl Application),
) -> (Exit, Exit) {
    let client_endpoint = Endpoint::bind(client.0).unwrap();
    block_on(async {
        let (server, client) = tokio::join!(
            server.0.run(server.1, pending()),
            client_endpoint.run(client.1, pending())
        );
        (server.unwrap(), client.unwrap())
    })
}

/// Runs a client alone until it exits.
pub(crate) fn run_client(settings: Settings, client: &mut impl Application) -> Exit {
    let endpoint = Endpoint::bind(settings).unwrap();
    block_on(endpoint.run(client, pending())).unwrap()
}

/// A certificate and its key in PEM form, for these names.
pub(crate) fn certificate(names: &[&str], authority: bool) -> (Pem, Pem) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.is_ca = if authority {
        rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained)
    } else {
        rcgen::IsCa::ExplicitNoCa
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let chain = params.self_signed(&key).unwrap();
    (
        pem("test.pem", &chain.pem()),
        pem("test.key", &key.serialize_pem()),
    )
}

pub(crate) fn pem(origin: &str, content: &str) -> Pem {
    Pem {
        origin: origin.to_owned(),
        content: content.as_bytes().to_vec(),
    }
}

/// Passes packets on between clients and a server, as long as it is let.
pub(crate) struct Proxy {
    socket: tokio::net::UdpSocket,
    pub(crate) address: SocketAddr,
    server: SocketAddr,
    /// Loses every `n`th packet; 1 loses all, 0 none.
    pub(crate) lose_every: Rc<Cell<u32>>,
    /// Loses what the server sends.
    pub(crate) lose_answers: bool,
    /// Packets wait while this is set, and then all arrive at once.
    pub(crate) held: watch::Receiver<bool>,
    /// How many Retry packets (RFC 9000, section 17.2.5) the server sent.
    pub(crate) retries: Rc<Cell<u32>>,
}

impl Proxy {
    /// Must be called within a runtime.
    pub(crate) async fn new(server: SocketAddr) -> Self {
        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            socket,
            server,
            lose_every: Rc::default(),
            lose_answers: false,
            held: watch::channel(false).1,
            retries: Rc::default(),
        }
    }

    /// Serves one client, for ever.
    pub(crate) async fn run(mut self) {
        let mut client = None;
        let mut packet = vec![0; 65_536];
        let mut count = 0_u32;
        let mut waiting = Vec::new();
        loop {
            if !*self.held.borrow_and_update() {
                for (packet, to) in waiting.drain(..) {
                    self.send(packet, to).await;
                }
            }
            let (size, from) = tokio::select! {
                Ok(()) = self.held.changed() => continue,
                received = self.socket.recv_from(&mut packet) => received.unwrap(),
            };
            let packet = packet.get(..size).unwrap().to_vec();
            let to = if from == self.server {
                if packet.first().is_some_and(|byte| byte & 0xb0 == 0xb0) {
                    self.retries.set(self.retries.get() + 1);
                }
                client.filter(|_| !self.lose_answers)
            } else {
                client = Some(from);
                Some(self.server)
            };
            count += 1;
            let lost = count.checked_rem(self.lose_every.get()) == Some(0);
            if let Some(to) = to.filter(|_| !lost) {
                waiting.push((packet, to));
            }
        }
    }

    async fn send(&self, packet: Vec<u8>, to: SocketAddr) {
        self.socket.send_to(&packet, to).await.unwrap();
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(HANG, future).await.expect("hung") })
}

/// What a [`Script`] is told. Reading happens by itself, unless a stream is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    Started,
    Connected(Bytes, usize),
    Opened(StreamId, Dir),
    Data(StreamId, Bytes),
    Fin(StreamId),
    Reset(StreamId, u64),
    Stopped(StreamId, u64),
    /// A write was short.
    Full(StreamId, Room),
    Acked(StreamId),
    Datagram(Bytes),
    TooLarge,
    Closed(Closed),
    Timeout,
    Shutdown,
}

/// What a script wants done.
#[derive(Default)]
pub(crate) struct Wishes {
    next_connection: u64,
    connect: VecDeque<(ConnectionId, Target)>,
    connections: BTreeMap<ConnectionId, Wanted>,
    pub(crate) refuse: bool,
    pub(crate) exit: Option<Exit>,
    pub(crate) timeout: Option<Duration>,
    /// Whether writes are from now on.
    pub(crate) urgent: bool,
    /// Bytes that were written and not taken by the transport.
    pub(crate) unsent: usize,
    /// What time the adapter says it is.
    pub(crate) now: Time,
}

#[derive(Default)]
struct Wanted {
    opened: u64,
    outputs: VecDeque<Output>,
    writes: BTreeMap<StreamId, VecDeque<(Bytes, bool)>>,
    /// Opened by this side, and not yet done.
    unopened: BTreeSet<StreamId>,
    blocked: BTreeSet<StreamId>,
    reads: BTreeSet<StreamId>,
    paused: BTreeSet<StreamId>,
    streams_blocked: bool,
    datagrams_blocked: bool,
    last: Option<Output>,
}

impl Wishes {
    pub(crate) fn connect(&mut self, target: Target) -> ConnectionId {
        let id = self.next();
        self.connect.push_back((id, target));
        id
    }

    fn next(&mut self) -> ConnectionId {
        self.next_connection += 1;
        let id = ConnectionId(self.next_connection);
        self.connections.insert(id, Wanted::default());
        id
    }

    pub(crate) fn open(&mut self, id: ConnectionId, dir: Dir) -> StreamId {
        let wanted = self.connections.get_mut(&id).unwrap();
        let stream = StreamId::local(wanted.opened);
        wanted.opened += 1;
        wanted.outputs.push_back(Output::Open { stream, dir });
        wanted.unopened.insert(stream);
        if dir == Dir::Bi {
            wanted.reads.insert(stream);
        }
        stream
    }

    pub(crate) fn write(&mut self, id: ConnectionId, stream: StreamId, bytes: Bytes, fin: bool) {
        self.unsent += bytes.len();
        let wanted = self.connections.get_mut(&id).unwrap();
        let queue = wanted.writes.entry(stream).or_default();
        queue.push_back((bytes, fin));
    }

    pub(crate) fn output(&mut self, id: ConnectionId, output: Output) {
        self.connections
            .get_mut(&id)
            .unwrap()
            .outputs
            .push_back(output);
    }

    pub(crate) fn close(&mut self, id: ConnectionId, code: u64, reason: &'static str) {
        let reason = reason.into();
        self.output(id, Output::Close { code, reason });
    }

    pub(crate) fn pause(&mut self, id: ConnectionId, stream: StreamId) {
        self.connections.get_mut(&id).unwrap().paused.insert(stream);
    }

    pub(crate) fn resume(&mut self, id: ConnectionId, stream: StreamId) {
        let wanted = self.connections.get_mut(&id).unwrap();
        wanted.paused.remove(&stream);
        wanted.reads.insert(stream);
    }

    /// Says that the job is done.
    pub(crate) fn succeed(&mut self) {
        self.exit = Some(Exit::Success);
    }
}

/// An application that does what a closure says.
pub(crate) struct Script<F> {
    pub(crate) wishes: Wishes,
    dirty: BTreeSet<ConnectionId>,
    deadline: Option<Time>,
    started: bool,
    react: F,
}

impl<F: FnMut(&mut Wishes, ConnectionId, Happening)> Script<F> {
    pub(crate) fn new(react: F) -> Self {
        Self {
            wishes: Wishes::default(),
            dirty: BTreeSet::new(),
            deadline: None,
            started: false,
            react,
        }
    }

    fn happen(&mut self, now: Time, id: ConnectionId, happening: Happening) {
        self.wishes.now = now;
        (self.react)(&mut self.wishes, id, happening);
        self.dirty.extend(self.wishes.connections.keys());
        if let Some(span) = self.wishes.timeout.take() {
            self.deadline = Some(now + span);
        }
    }
}

const NOBODY: ConnectionId = ConnectionId(u64::MAX);

impl<F: FnMut(&mut Wishes, ConnectionId, Happening)> Application for Script<F> {
    fn handle_wall_clock(&mut self, now: Time, _wall: oxymoq_core::time::WallTime) {
        if !self.started {
            self.started = true;
            self.happen(now, NOBODY, Happening::Started);
        }
    }

    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        if self.wishes.refuse {
            return Admission::Refuse;
        }
        Admission::Accept(self.wishes.next())
    }

    fn handle_input(&mut self, now: Time, id: ConnectionId, input: Input) {
        self.dirty.insert(id);
        let wanted = self.wishes.connections.get_mut(&id).expect("unknown id");
        let happening = match input {
            Input::Connected { alpn, max_datagram } => Happening::Connected(alpn, max_datagram),
            Input::Opened { stream, dir } => {
                wanted.reads.insert(stream);
                Happening::Opened(stream, dir)
            }
            Input::Readable(stream) => {
                wanted.reads.insert(stream);
                return;
            }
            Input::Writable(stream) => {
                wanted.blocked.remove(&stream);
                return;
            }
            Input::Stopped { stream, code } => Happening::Stopped(stream, code),
            Input::Acked(stream) => Happening::Acked(stream),
            Input::CanOpen(_) => {
                wanted.streams_blocked = false;
                return;
            }
            Input::Datagram(bytes) => Happening::Datagram(bytes),
            Input::DatagramRoom => {
                wanted.datagrams_blocked = false;
                return;
            }
            Input::Path { .. } => return,
            Input::Closed(closed) => {
                self.wishes.connections.remove(&id);
                Happening::Closed(closed)
            }
        };
        self.happen(now, id, happening);
    }

    fn handle_answer(&mut self, now: Time, id: ConnectionId, answer: Answer) {
        let wanted = self.wishes.connections.get_mut(&id).unwrap();
        let asked = wanted.last.take().expect("an answer to nothing");
        let happening = match (asked, answer) {
            (Output::Open { stream, .. }, Answer::Done) => {
                wanted.unopened.remove(&stream);
                return;
            }
            (asked @ Output::Open { .. }, Answer::Blocked) => {
                wanted.outputs.push_front(asked);
                wanted.streams_blocked = true;
                return;
            }
            (Output::Write { stream, bytes, .. }, Answer::Wrote { taken, room }) => {
                self.wishes.unsent -= taken;
                if taken == bytes.len() {
                    wanted.writes.get_mut(&stream).unwrap().pop_front();
                    return;
                }
                let queue = wanted.writes.get_mut(&stream).unwrap();
                queue.front_mut().unwrap().0 = bytes.slice(taken..);
                if room == Room::ConnectionFull {
                    wanted.blocked.extend(wanted.writes.keys());
                }
                wanted.blocked.insert(stream);
                Happening::Full(stream, room)
            }
            (Output::Write { stream, .. }, Answer::Gone) => {
                wanted.writes.remove(&stream);
                return;
            }
            (Output::Read { stream, .. }, Answer::Data(bytes)) => {
                wanted.reads.insert(stream);
                Happening::Data(stream, bytes)
            }
            (Output::Read { .. }, Answer::Blocked | Answer::Gone) => return,
            (Output::Read { stream, .. }, Answer::Fin) => Happening::Fin(stream),
            (Output::Read { stream, .. }, Answer::Reset(code)) => Happening::Reset(stream, code),
            (Output::Datagram(_), Answer::Done) => return,
            (asked @ Output::Datagram(_), Answer::Blocked) => {
                wanted.outputs.push_front(asked);
                wanted.datagrams_blocked = true;
                return;
            }
            (Output::Datagram(_), Answer::TooLarge) => Happening::TooLarge,
            (asked, answer) => panic!("{answer:?} to {asked:?}"),
        };
        self.happen(now, id, happening);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.deadline = None;
        self.happen(now, NOBODY, Happening::Timeout);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.happen(now, NOBODY, Happening::Shutdown);
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.dirty.pop_first()
    }

    fn poll_output(&mut self, _now: Time, id: ConnectionId) -> Option<Output> {
        let wanted = self.wishes.connections.get_mut(&id)?;
        let waits = match wanted.outputs.front() {
            Some(Output::Open { .. }) => wanted.streams_blocked,
            Some(Output::Datagram(_)) => wanted.datagrams_blocked,
            Some(_) => false,
            None => true,
        };
        if !waits {
            wanted.last = wanted.outputs.pop_front();
            return wanted.last.clone();
        }
        let waits: BTreeSet<_> = wanted.paused.union(&wanted.unopened).copied().collect();
        let readable = wanted.reads.difference(&waits).next().copied();
        if let Some(stream) = readable {
            wanted.reads.remove(&stream);
            let max = 10_000;
            wanted.last = Some(Output::Read { stream, max });
            return wanted.last.clone();
        }
        let (stream, (bytes, fin)) = wanted.writes.iter().find_map(|(stream, queue)| {
            let waits = wanted.blocked.contains(stream) || wanted.unopened.contains(stream);
            let first = queue.front().filter(|_| !waits);
            Some((*stream, first?.clone()))
        })?;
        wanted.last = Some(Output::Write {
            stream,
            bytes,
            fin,
            urgent: self.wishes.urgent,
        });
        wanted.last.clone()
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.wishes.connect.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.deadline.map(|at| (at, "script"))
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        self.wishes.exit.take()
    }
}
