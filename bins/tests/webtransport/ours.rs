//! Our WebTransport as a script sees it, and the application that runs a script.

use std::cell::{RefCell, RefMut};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use oxymoq_core::h3::{Client, Request, Server, Translated, WebTransport};
use oxymoq_core::time::Time;
use oxymoq_core::transport::{
    Admission, Answer, Application, Closed, ConnectionId, Dir, Exit, Incoming, Input, Output,
    StreamId, Target,
};

use crate::machine::Machine;
use crate::session::{Ended, Part, Receiver, Sender, Session};

/// The only connection.
const CONNECTION: ConnectionId = ConnectionId(1);

/// A script's end of the machine. Whatever changes there, the script is polled: nobody needs to be woken.
#[derive(Clone, Default)]
pub(crate) struct Ours(Rc<RefCell<Machine>>);

impl Ours {
    fn machine(&self) -> RefMut<'_, Machine> {
        self.0.borrow_mut()
    }

    /// Waits until the machine has what the script wants. Fails once the session is over without it.
    async fn until<T>(&self, mut ready: impl FnMut(&mut Machine) -> Option<T>) -> T {
        poll_fn(|_| {
            let mut machine = self.machine();
            match (ready(&mut machine), &machine.closed) {
                (Some(found), _) => Poll::Ready(found),
                (None, Some(closed)) => panic!("the session ended too early: {closed}"),
                (None, None) => Poll::Pending,
            }
        })
        .await
    }

    /// Waits for the session, or for why there is none.
    pub(crate) async fn established(&self) -> Result<(), Closed> {
        self.until(|machine| match &machine.closed {
            Some(closed) if machine.protocol.is_none() => Some(Err(closed.clone())),
            _ => machine.protocol.as_ref().map(|_| Ok(())),
        })
        .await
    }

    fn stream(&self, id: StreamId) -> OurStream {
        OurStream {
            session: self.clone(),
            id,
        }
    }

    async fn open(&self, dir: Dir) -> OurStream {
        let id = self.machine().open(dir);
        self.until(|machine| machine.is_open(id).then_some(()))
            .await;
        self.stream(id)
    }

    async fn accept(&self, dir: Dir) -> OurStream {
        let accept = |machine: &mut Machine| machine.accepted.get_mut(&dir)?.pop_front();
        let id = self.until(accept).await;
        self.stream(id)
    }
}

impl Session for Ours {
    type Sender = OurStream;
    type Receiver = OurStream;

    fn protocol(&self) -> Option<String> {
        let protocol = self.machine().protocol.clone()?;
        Some(String::from_utf8(protocol.to_vec()).unwrap())
    }

    async fn open_bi(&self) -> (OurStream, OurStream) {
        let stream = self.open(Dir::Bi).await;
        (stream.clone(), stream)
    }

    async fn open_uni(&self) -> OurStream {
        self.open(Dir::Uni).await
    }

    async fn accept_bi(&self) -> (OurStream, OurStream) {
        let stream = self.accept(Dir::Bi).await;
        (stream.clone(), stream)
    }

    async fn accept_uni(&self) -> OurStream {
        self.accept(Dir::Uni).await
    }

    fn send_datagram(&self, bytes: &[u8]) {
        let output = Output::Datagram(Bytes::copy_from_slice(bytes));
        self.machine().output(output);
    }

    async fn receive_datagram(&self) -> Vec<u8> {
        self.until(|machine| machine.datagrams.pop_front())
            .await
            .to_vec()
    }

    fn close(&self, code: u32, reason: &str) {
        self.machine().output(Output::Close {
            code: code.into(),
            reason: Bytes::copy_from_slice(reason.as_bytes()),
        });
    }

    async fn ended(&self) -> Ended {
        match self.until(|machine| machine.closed.clone()).await {
            Closed::ByUs => Ended::ByUs,
            Closed::ByPeer { code, reason } => {
                let reason = String::from_utf8(reason.to_vec()).unwrap();
                Ended::ByPeer(u32::try_from(code).unwrap(), reason)
            }
            closed @ (Closed::TimedOut | Closed::Failed(_) | Closed::Lost(_)) => panic!("{closed}"),
        }
    }
}

/// Either direction of one of our streams.
#[derive(Clone)]
pub(crate) struct OurStream {
    session: Ours,
    id: StreamId,
}

impl OurStream {
    async fn write(&self, bytes: &[u8], fin: bool) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.session.machine().write(self.id, bytes, fin);
        let written = |machine: &mut Machine| machine.is_written(self.id).then_some(());
        self.session.until(written).await;
    }
}

impl Sender for OurStream {
    async fn write_all(&mut self, bytes: &[u8]) {
        self.write(bytes, false).await;
    }

    async fn finish(&mut self) {
        self.write(&[], true).await;
    }

    fn reset(&mut self, code: u32) {
        self.session.machine().output(Output::Reset {
            stream: self.id,
            code: code.into(),
        });
    }

    async fn stopped(&mut self) -> u32 {
        let code = self
            .session
            .until(|machine| machine.stop_code(self.id))
            .await;
        u32::try_from(code).unwrap()
    }
}

impl Receiver for OurStream {
    async fn read(&mut self) -> Part {
        match self.session.until(|machine| machine.read(self.id)).await {
            Answer::Data(bytes) => Part::Bytes(bytes.to_vec()),
            Answer::Fin => Part::End,
            Answer::Reset(code) => Part::Reset(u32::try_from(code).unwrap()),
            answer @ (Answer::Done
            | Answer::Blocked
            | Answer::Wrote { .. }
            | Answer::TooLarge
            | Answer::Gone) => panic!("{answer:?} to a read"),
        }
    }

    fn stop(self, code: u32) {
        self.session.machine().output(Output::Stop {
            stream: self.id,
            code: code.into(),
        });
    }
}

/// An application with one connection that runs one script on it, and exits when both are over.
pub(crate) struct App<T> {
    layer: WebTransport,
    session: Ours,
    script: Option<Pin<Box<dyn Future<Output = T>>>>,
    told: Option<T>,
    connect: Option<Target>,
    dirty: bool,
    interrupted: bool,
}

impl<T> App<T> {
    pub(crate) fn server<F>(server: Server, script: impl FnOnce(Ours) -> F) -> Self
    where
        F: Future<Output = T> + 'static,
    {
        Self::new(WebTransport::server(server), None, script)
    }

    pub(crate) fn client<F>(client: Client, port: u16, script: impl FnOnce(Ours) -> F) -> Self
    where
        F: Future<Output = T> + 'static,
    {
        let target = Target {
            host: "127.0.0.1".to_owned(),
            port,
            alpns: vec!["h3".into()],
        };
        Self::new(WebTransport::client(client), Some(target), script)
    }

    fn new<F>(layer: WebTransport, connect: Option<Target>, script: impl FnOnce(Ours) -> F) -> Self
    where
        F: Future<Output = T> + 'static,
    {
        let session = Ours::default();
        Self {
            layer,
            script: Some(Box::pin(script(session.clone()))),
            session,
            told: None,
            connect,
            dirty: false,
            interrupted: false,
        }
    }

    /// What the script returned, and what the session was asked for with.
    pub(crate) fn told(self) -> (T, Option<Request>) {
        let request = self.layer.established().cloned();
        (self.told.expect("the script ended"), request)
    }

    /// Hands on what the layer has for the session, and lets the script go on.
    fn go_on(&mut self) {
        while let Some(input) = self.layer.poll_input() {
            self.session.machine().handle_input(input);
        }
        let Some(script) = &mut self.script else {
            return;
        };
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(told) = script.as_mut().poll(&mut context) {
            self.told = Some(told);
            self.script = None;
        }
    }
}

impl<T> Application for App<T> {
    fn handle_incoming(&mut self, _: Time, _: &Incoming) -> Admission {
        Admission::Accept(CONNECTION)
    }

    fn handle_input(&mut self, now: Time, _: ConnectionId, input: Input) {
        self.layer.handle_input(now, input);
        self.go_on();
        self.dirty = true;
    }

    fn handle_answer(&mut self, now: Time, _: ConnectionId, answer: Answer) {
        if let Some(answer) = self.layer.handle_answer(now, answer) {
            self.session.machine().handle_answer(answer);
        }
        self.go_on();
    }

    fn handle_timeout(&mut self, now: Time) {
        self.layer.handle_timeout(now);
        self.go_on();
        self.dirty = true;
    }

    fn handle_shutdown(&mut self, _: Time) {
        self.interrupted = true;
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        std::mem::take(&mut self.dirty).then_some(CONNECTION)
    }

    fn poll_output(&mut self, now: Time, _: ConnectionId) -> Option<Output> {
        loop {
            if let Some(output) = self.layer.poll_output() {
                return Some(output);
            }
            let output = self.session.machine().poll_output()?;
            match self.layer.translate(now, output) {
                Translated::Ask(output) => return Some(output),
                Translated::Answered(answer) => self.session.machine().handle_answer(answer),
                Translated::Done => {}
            }
            self.go_on();
        }
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        Some((CONNECTION, self.connect.take()?))
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.layer.poll_timeout()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        if self.interrupted {
            return Some(Exit::Failure("interrupted".to_owned()));
        }
        (self.told.is_some() && self.layer.is_over()).then_some(Exit::Success)
    }
}
