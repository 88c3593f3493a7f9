//! A client: sessions that it asked for, what it publishes on them, and a function that is told the rest.

use std::error::Error;

use log::debug;

use crate::code::{RequestCode, SessionCode};
use crate::publisher::Publisher;
use crate::session::{Event, Refusal, Response};
use crate::time::Time;
use crate::transport::{
    Admission, Answer, Application, Closed, ConnectionId, Exit, Incoming, Input, Output, Target,
};

/// Why a client failed, in words.
pub type Failure = Box<dyn Error + Send + Sync>;

/// An [`Application`] for programs that connect to servers: it forwards all calls to a [`Publisher`] and hands every event
/// that is not dealt with there to a function.
///
/// The function may change what it likes in the publisher: ask with a session's verbs, answer, publish. To end with
/// success it closes the sessions, [`Client::leave`]; an error that it returns closes them too, and ends with failure. So
/// does a session that ends in another way. [`Event::Closed`] is not handed on.
///
/// A request of the server's that the function does not care for is to be [refused](Client::refuse).
#[derive(Debug)]
pub struct Client<F> {
    publisher: Publisher,
    handle_event: F,
    exit: Option<Exit>,
}

impl Client<()> {
    /// Closes all sessions: the client has got what it wanted.
    pub fn leave(publisher: &mut Publisher) {
        let now = publisher.now;
        publisher.peers.close_all(now, SessionCode::NoError, "");
    }

    /// Answers an event that is a request with NOT_SUPPORTED. Every request wants an answer: a relay, for one, asks its
    /// clients for their namespaces.
    pub fn refuse(publisher: &mut Publisher, connection: ConnectionId, event: &Event) {
        if let Event::Request { id, .. } = event {
            let refusal = Refusal::new(RequestCode::NotSupported, "not supported here");
            let now = publisher.now;
            publisher.respond(now, connection, *id, Response::Error(refusal));
        }
    }
}

impl<F> Client<F>
where
    F: FnMut(&mut Publisher, ConnectionId, Event) -> Result<(), Failure>,
{
    /// A client whose peers were asked for with [`Peers::connect`](crate::peers::Peers::connect).
    pub const fn new(publisher: Publisher, handle_event: F) -> Self {
        Self {
            publisher,
            handle_event,
            exit: None,
        }
    }

    /// Takes what there is to tell: to be called after everything that may have changed something.
    fn drain(&mut self) {
        while let Some((connection, event)) = self.publisher.poll_event() {
            if let Event::Closed(closed) = &event {
                self.closed(connection, closed);
            } else if self.exit.is_none()
                && let Err(failure) = (self.handle_event)(&mut self.publisher, connection, event)
            {
                self.exit = Some(Exit::Failure(failure.to_string()));
                Client::leave(&mut self.publisher);
            }
        }
        while let Some(notice) = self.publisher.poll_notice() {
            debug!("{notice:?}");
        }
    }

    fn closed(&mut self, connection: ConnectionId, closed: &Closed) {
        let peers = &self.publisher.peers;
        self.exit.get_or_insert_with(|| {
            let failed = peers
                .peer(connection)
                .and_then(|peer| peer.session_ref().failure());
            if *closed == Closed::ByUs && failed.is_none() {
                return Exit::Success;
            }
            Exit::Failure(peers.why_closed(connection, closed))
        });
        Client::leave(&mut self.publisher);
    }
}

impl<F> Application for Client<F>
where
    F: FnMut(&mut Publisher, ConnectionId, Event) -> Result<(), Failure>,
{
    fn handle_incoming(&mut self, _now: Time, _incoming: &Incoming) -> Admission {
        Admission::Refuse
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.publisher.handle_input(now, connection, input);
        self.drain();
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.publisher.handle_answer(now, connection, answer);
        self.drain();
    }

    fn handle_timeout(&mut self, now: Time) {
        self.publisher.handle_timeout(now);
        self.drain();
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.publisher.now = now;
        Client::leave(&mut self.publisher);
        self.drain();
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        let dirty = self.publisher.poll_dirty();
        self.drain();
        dirty
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        let output = self.publisher.poll_output(now, connection);
        self.drain();
        output
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.publisher.peers.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.publisher.poll_timeout()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        let exit = self.exit.as_ref();
        exit.filter(|_| self.publisher.peers.is_empty()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::draft::Draft;
    use crate::fanout::{Fanout, Limits};
    use crate::ledger::Ledger;
    use crate::peer::Peer;
    use crate::peers::Peers;
    use crate::session::{Role, Settings};

    const NOW: Time = Time::from_micros(1);
    const SERVER: ConnectionId = ConnectionId(0);

    /// A client that is connected and said its SETUP.
    fn client<F>(handle_event: F) -> Client<F>
    where
        F: FnMut(&mut Publisher, ConnectionId, Event) -> Result<(), Failure>,
    {
        let mut peers = Peers::default();
        let alpn = Bytes::from_static(b"moqt-18");
        let target = Target {
            host: "example.org".to_owned(),
            port: 443,
            alpns: vec![alpn.clone()],
        };
        let peer = Peer::client(Settings::new(Role::Client), &[Draft::D18]);
        peers.connect(peer, target);
        let fanout = Fanout::new(Limits::default(), Ledger::new(0));
        let mut client = Client::new(Publisher::new(peers, fanout), handle_event);
        assert_eq!(client.poll_connect().map(|(name, _)| name), Some(SERVER));
        let connected = Input::Connected {
            alpn,
            max_datagram: 0,
        };
        client.handle_input(NOW, SERVER, connected);
        settle(&mut client);
        client
    }

    /// Carries out what the client wants; whether it closed the connection.
    fn settle<F>(client: &mut Client<F>) -> bool
    where
        F: FnMut(&mut Publisher, ConnectionId, Event) -> Result<(), Failure>,
    {
        let mut closed = false;
        while let Some(connection) = client.poll_dirty() {
            while let Some(output) = client.poll_output(NOW, connection) {
                closed |= matches!(output, Output::Close { .. });
                if output.wants_answer() {
                    client.handle_answer(NOW, connection, Answer::Blocked);
                }
            }
        }
        closed
    }

    #[test]
    fn one_that_is_interrupted_ends_with_success_once_its_connection_is_over() {
        let mut client = client(|_, _, _| Ok(()));
        assert_eq!(client.poll_exit(), None);
        client.handle_shutdown(NOW);
        assert!(settle(&mut client));
        assert_eq!(client.poll_exit(), None);
        client.handle_input(NOW, SERVER, Input::Closed(Closed::ByUs));
        assert_eq!(client.poll_exit(), Some(Exit::Success));
    }

    #[test]
    fn one_that_loses_its_server_fails() {
        let mut client = client(|_, _, _| Ok(()));
        client.handle_input(NOW, SERVER, Input::Closed(Closed::TimedOut));
        let why = Closed::TimedOut.to_string();
        assert_eq!(client.poll_exit(), Some(Exit::Failure(why)));
    }

    #[test]
    fn one_whose_server_says_nothing_fails_with_the_rule_that_it_broke() {
        let mut client = client(|_, _, _| Ok(()));
        let (deadline, _) = client.poll_timeout().unwrap();
        client.handle_timeout(deadline);
        assert!(settle(&mut client));
        client.handle_input(deadline, SERVER, Input::Closed(Closed::ByUs));
        let Some(Exit::Failure(why)) = client.poll_exit() else {
            panic!("no failure");
        };
        assert!(why.starts_with("closed by us: "), "{why}");
    }

    #[test]
    fn an_error_of_its_own_closes_the_sessions_and_is_what_it_ends_with() {
        let mut client = client(|_, _, _| Err("this is not what was wanted".into()));
        let stream = crate::transport::StreamId::peer(0);
        let opened = Input::Opened {
            stream,
            dir: crate::transport::Dir::Uni,
        };
        client.handle_input(NOW, SERVER, opened);
        while let Some(connection) = client.poll_dirty() {
            while let Some(output) = client.poll_output(NOW, connection) {
                // SETUP without options.
                let answer = if matches!(output, Output::Read { .. }) {
                    Answer::Data(Bytes::from_static(&[0xaf, 0x00, 0x00, 0x00]))
                } else {
                    Answer::Blocked
                };
                client.handle_answer(NOW, connection, answer);
            }
        }
        client.handle_input(NOW, SERVER, Input::Closed(Closed::ByUs));
        let why = "this is not what was wanted".to_owned();
        assert_eq!(client.poll_exit(), Some(Exit::Failure(why)));
    }
}
