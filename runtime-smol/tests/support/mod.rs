//! A scripted application, and two endpoints of this runtime that talk over loopback.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::runtime::{ClientSettings, ServerSettings, Settings, Trust};
use oxymoq_core::time::{Time, WallTime};
use oxymoq_core::transport::{
    Admission, Answer, Application, ConnectionId, Dir, Exit, Incoming, Input, Output, StreamId,
    Target,
};
use oxymoq_smol::Endpoint;

/// What a script is told.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The run began.
    Started,
    /// Something happened.
    Input(Input),
    /// The answer to an output; of a write, `bytes` is all that was offered.
    Answer(Output, Answer),
    /// The time of [`Hands::wake_after`] has come.
    Woken,
    /// The operator wants an end.
    Shutdown,
}

/// What a script can do.
#[derive(Default)]
pub(crate) struct Hands {
    outputs: BTreeMap<ConnectionId, VecDeque<Output>>,
    dirty: VecDeque<ConnectionId>,
    connects: VecDeque<(ConnectionId, Target)>,
    asked: Option<Output>,
    next: u64,
    exit: Option<Exit>,
    pub(crate) refuse: bool,
    pub(crate) closed: u64,
    opened: u64,
    wake: Option<(ConnectionId, Duration)>,
}

impl Hands {
    /// Asks the adapter for something.
    pub(crate) fn push(&mut self, id: ConnectionId, output: Output) {
        self.outputs.entry(id).or_default().push_back(output);
        if !self.dirty.contains(&id) {
            self.dirty.push_back(id);
        }
    }

    pub(crate) fn open(&mut self, id: ConnectionId, dir: Dir) -> StreamId {
        let stream = StreamId::local(self.opened);
        self.opened += 1;
        self.push(id, Output::Open { stream, dir });
        stream
    }

    pub(crate) fn write(
        &mut self,
        id: ConnectionId,
        stream: StreamId,
        bytes: impl Into<Bytes>,
        fin: bool,
    ) {
        let bytes = bytes.into();
        self.push(
            id,
            Output::Write {
                stream,
                bytes,
                fin,
                urgent: false,
            },
        );
    }

    pub(crate) fn read(&mut self, id: ConnectionId, stream: StreamId) {
        self.push(id, Output::Read { stream, max: 65536 });
    }

    pub(crate) fn close(&mut self, id: ConnectionId, code: u64) {
        let reason = Bytes::from_static(b"done");
        self.push(id, Output::Close { code, reason });
    }

    pub(crate) fn connect(
        &mut self,
        host: &str,
        port: u16,
        alpns: &[&'static str],
    ) -> ConnectionId {
        let id = ConnectionId(self.next);
        self.next += 1;
        let target = Target {
            host: host.to_owned(),
            port,
            alpns: protocols(alpns),
        };
        self.connects.push_back((id, target));
        id
    }

    /// Once.
    pub(crate) fn wake_after(&mut self, id: ConnectionId, wait: Duration) {
        self.wake = Some((id, wait));
    }

    pub(crate) fn exit(&mut self) {
        self.exit = Some(Exit::Success);
    }
}

/// An application that does what a closure says.
pub(crate) struct Scripted<F> {
    pub(crate) hands: Hands,
    started: bool,
    deadline: Option<Time>,
    script: F,
}

impl<F: FnMut(&mut Hands, ConnectionId, Event)> Scripted<F> {
    pub(crate) fn new(script: F) -> Self {
        Self {
            hands: Hands::default(),
            started: false,
            deadline: None,
            script,
        }
    }
}

impl<F: FnMut(&mut Hands, ConnectionId, Event)> Application for Scripted<F> {
    fn handle_wall_clock(&mut self, _now: Time, _wall: WallTime) {
        if !self.started {
            self.started = true;
            (self.script)(&mut self.hands, ConnectionId(0), Event::Started);
        }
    }

    fn handle_incoming(&mut self, _now: Time, incoming: &Incoming) -> Admission {
        assert!(incoming.remote.ip().is_loopback(), "{incoming:?}");
        if self.hands.refuse {
            return Admission::Refuse;
        }
        let id = ConnectionId(self.hands.next);
        self.hands.next += 1;
        Admission::Accept(id)
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        if matches!(input, Input::Closed(_)) {
            self.hands.closed += 1;
        }
        (self.script)(&mut self.hands, connection, Event::Input(input));
        if let (None, Some((_, wait))) = (self.deadline, self.hands.wake) {
            self.deadline = Some(now + wait);
        }
    }

    fn handle_answer(&mut self, _now: Time, connection: ConnectionId, answer: Answer) {
        let asked = self.hands.asked.take().expect("an answer to nothing");
        (self.script)(&mut self.hands, connection, Event::Answer(asked, answer));
    }

    fn handle_timeout(&mut self, _now: Time) {
        self.deadline = None;
        if let Some((id, _)) = self.hands.wake.take() {
            (self.script)(&mut self.hands, id, Event::Woken);
        }
    }

    fn handle_shutdown(&mut self, _now: Time) {
        (self.script)(&mut self.hands, ConnectionId(0), Event::Shutdown);
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.hands.dirty.pop_front()
    }

    fn poll_output(&mut self, _now: Time, connection: ConnectionId) -> Option<Output> {
        assert!(self.hands.asked.is_none(), "an output without an answer");
        let output = self.hands.outputs.get_mut(&connection)?.pop_front()?;
        self.hands.asked = match output {
            Output::Open { .. }
            | Output::Write { .. }
            | Output::Read { .. }
            | Output::Datagram(_) => Some(output.clone()),
            Output::Reset { .. }
            | Output::Stop { .. }
            | Output::Priority { .. }
            | Output::AllowStreams { .. }
            | Output::ReceiveWindow(_)
            | Output::Close { .. } => None,
        };
        Some(output)
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.hands.connects.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.deadline.map(|at| (at, "script"))
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        self.hands.exit.take()
    }
}

pub(crate) fn protocols(names: &[&'static str]) -> Vec<Bytes> {
    names
        .iter()
        .map(|name| Bytes::from_static(name.as_bytes()))
        .collect()
}

/// A server on a port that the system picks, with a certificate made in memory.
pub(crate) fn server_settings() -> Settings {
    let mut server = ServerSettings::new(0, protocols(&["moqt-18", "moqt-16"]));
    server.listen = "127.0.0.1:0".parse().unwrap();
    Settings {
        server: Some(server),
        ..Settings::default()
    }
}

pub(crate) fn client_settings() -> Settings {
    Settings {
        client: ClientSettings {
            trust: Trust::Anyone,
            ..ClientSettings::default()
        },
        ..Settings::default()
    }
}

/// Completes with the future, or panics when a test hangs.
pub(crate) fn within_a_minute<T>(future: impl Future<Output = T>) -> T {
    let hang = async {
        async_io::Timer::after(Duration::from_secs(60)).await;
        panic!("the test hangs");
    };
    async_io::block_on(smol::future::or(future, hang))
}

pub(crate) async fn never() {
    std::future::pending::<()>().await;
}

/// An endpoint that these settings describe.
pub(crate) fn bind(settings: Settings) -> Endpoint {
    Endpoint::bind(settings).unwrap()
}

/// Runs both endpoints on this thread until the client's script exits; the server's never needs to.
pub(crate) fn run_pair<S, C>(server: Endpoint, serve: S, client: Endpoint, call: C)
where
    S: FnMut(&mut Hands, ConnectionId, Event),
    C: FnMut(&mut Hands, ConnectionId, Event),
{
    let port = server.local_address().port();
    let mut serving = Scripted::new(serve);
    let mut calling = Scripted::new(call);
    calling.hands.connect("localhost", port, &["moqt-18"]);
    within_a_minute(smol::future::or(
        async {
            server.run(&mut serving, never()).await.unwrap();
            panic!("the server ended first");
        },
        async {
            client.run(&mut calling, never()).await.unwrap();
        },
    ));
}

/// [`run_pair`] with default endpoints.
pub(crate) fn run<S, C>(serve: S, call: C)
where
    S: FnMut(&mut Hands, ConnectionId, Event),
    C: FnMut(&mut Hands, ConnectionId, Event),
{
    run_pair(
        bind(server_settings()),
        serve,
        bind(client_settings()),
        call,
    );
}

/// A list that both scripts of a test can write to.
pub(crate) type Log<T> = Rc<RefCell<Vec<T>>>;

pub(crate) fn log<T>() -> Log<T> {
    Rc::new(RefCell::new(Vec::new()))
}

/// Bytes of which each tells its place.
pub(crate) fn pattern(len: usize) -> Bytes {
    (0..len)
        .map(|n| u8::try_from(n * 7 % 251).unwrap())
        .collect()
}

/// Passes packets on between one client and a server, as long as it is let.
pub(crate) struct Proxy {
    socket: smol::net::UdpSocket,
    server: SocketAddr,
    /// Loses every `n`th packet; 1 loses all, 0 none.
    pub(crate) lose_every: Rc<Cell<u32>>,
    /// Loses what the server sends.
    pub(crate) lose_answers: bool,
    /// Retry packets that the server sent.
    pub(crate) retries: Rc<Cell<u32>>,
}

impl Proxy {
    pub(crate) async fn new(server: SocketAddr) -> Self {
        Self {
            socket: smol::net::UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            server,
            lose_every: Rc::default(),
            lose_answers: false,
            retries: Rc::default(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// Works for ever.
    pub(crate) async fn run(self) {
        let mut client = None;
        let mut packet = vec![0; 65_536];
        let mut count = 0_u32;
        loop {
            let (size, from) = self.socket.recv_from(&mut packet).await.unwrap();
            let answer = from == self.server;
            // A long header of type Retry (RFC 9000 § 17.2.5).
            if answer && packet.first().unwrap() & 0xf0 == 0xf0 {
                self.retries.set(self.retries.get() + 1);
            }
            let to = if answer { client } else { Some(self.server) };
            if !answer {
                client = Some(from);
            }
            count += 1;
            let lost = count.checked_rem(self.lose_every.get()) == Some(0)
                || (answer && self.lose_answers);
            if let Some(to) = to.filter(|_| !lost) {
                let packet = packet.get(..size).unwrap();
                self.socket.send_to(packet, to).await.unwrap();
            }
        }
    }
}
