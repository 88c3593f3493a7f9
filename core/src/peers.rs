//! The table of a program's peers: everything an [`Application`] does the same way for each connection.
//!
//! [`Application`]: crate::transport::Application

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::code::SessionCode;
use crate::peer::Peer;
use crate::session::{Direction, Event, MAX_TRACED, Session, Source};
use crate::time::Time;
use crate::transport::{Answer, Closed, ConnectionId, Input, Output, Target};
use crate::wire::message::Message;

/// Many peers, which of them need attention, and when.
///
/// A program built on it forwards the calls of [`Application`](crate::transport::Application) and, after each, handles
/// what [`Peers::poll_event`] has for it.
#[derive(Debug, Default)]
pub struct Peers {
    peers: BTreeMap<ConnectionId, Entry>,
    next: u64,
    dirty: VecDeque<ConnectionId>,
    deadlines: BTreeSet<(Time, ConnectionId)>,
    connects: VecDeque<(ConnectionId, Target)>,
    events: VecDeque<(ConnectionId, Event)>,
    /// Peers whose connection is over, kept until their last events were handled.
    over: Vec<ConnectionId>,
    /// Control messages, if a trace is wanted.
    messages: Option<VecDeque<(ConnectionId, Direction, Message)>>,
}

#[derive(Debug)]
struct Entry {
    /// Apart, since a map of large values is half empty.
    peer: Box<Peer>,
    remote: Option<SocketAddr>,
    is_dirty: bool,
    deadline: Option<Time>,
    deadline_for: &'static str,
}

impl Peers {
    /// Takes in a peer that connected from `remote`.
    pub fn accept(&mut self, peer: Peer, remote: SocketAddr) -> ConnectionId {
        self.insert(peer, Some(remote))
    }

    /// Asks for a connection to `target`.
    pub fn connect(&mut self, peer: Peer, target: Target) -> ConnectionId {
        let connection = self.insert(peer, None);
        self.connects.push_back((connection, target));
        connection
    }

    /// Takes in a peer that is not on a network: an end of a link.
    pub(crate) fn link(&mut self, peer: Peer) -> ConnectionId {
        self.insert(peer, None)
    }

    /// How many peers there are, those that are being connected or closed included.
    pub fn len(&self) -> usize {
        self.peers.len().saturating_sub(self.over.len())
    }

    /// Whether there is no peer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The connections of all peers, in the order in which they came.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.peers.keys().copied()
    }

    /// Where an accepted peer came from.
    pub fn remote(&self, connection: ConnectionId) -> Option<SocketAddr> {
        self.peers.get(&connection)?.remote
    }

    /// A peer, to look at.
    pub fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
        Some(&self.peers.get(&connection)?.peer)
    }

    /// A peer's session, to do something with; its connection is polled afterwards.
    pub fn session(&mut self, connection: ConnectionId) -> Option<&mut Session> {
        self.mark_dirty(connection);
        Some(self.peers.get_mut(&connection)?.peer.session())
    }

    /// A peer's session, to prepare what it is about to be polled for.
    pub fn session_quietly(&mut self, connection: ConnectionId) -> Option<&mut Session> {
        Some(self.peers.get_mut(&connection)?.peer.session())
    }

    /// Begins to keep the control messages of peers for [`Peers::poll_message`]; of those that come, and of those that are
    /// not connected yet.
    pub fn trace_messages(&mut self) {
        self.messages.get_or_insert_default();
        for entry in self.peers.values_mut() {
            entry.peer.session().trace_messages();
        }
    }

    /// The next control message of a peer, if [`Peers::trace_messages`] was called. Unless they are taken after every call,
    /// the oldest of more than [`MAX_TRACED`] are dropped.
    pub fn poll_message(&mut self) -> Option<(ConnectionId, Direction, Message)> {
        self.messages.as_mut()?.pop_front()
    }

    /// Why a peer's session is over, in words: our own reason if we closed it, with the rule that the peer broke.
    pub fn why_closed(&self, connection: ConnectionId, closed: &Closed) -> String {
        let Some(session) = self.peer(connection).map(Peer::session_ref) else {
            return closed.to_string();
        };
        if let Some((code, rule)) = session.failure() {
            return format!("closed by us: {code}, {rule}");
        }
        match (closed, session.draft()) {
            (Closed::ByPeer { code, reason }, Some(draft)) => {
                let code = SessionCode::from_wire(draft, *code);
                // Some stacks pass no reason on.
                match reason.is_empty() {
                    true => format!("closed by the peer: {code}"),
                    false => format!("closed by the peer: {code} ({})", reason.escape_ascii()),
                }
            }
            _ => closed.to_string(),
        }
    }

    /// Lets `connection` be polled.
    pub fn mark_dirty(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.peers.get_mut(&connection)
            && !entry.is_dirty
        {
            entry.is_dirty = true;
            self.dirty.push_back(connection);
        }
    }

    /// Closes the session of every peer.
    pub fn close_all(&mut self, now: Time, code: SessionCode, reason: &str) {
        self.close_all_if(now, code, reason, |_| true);
    }

    /// Closes the sessions of some peers.
    pub(crate) fn close_all_if(
        &mut self,
        now: Time,
        code: SessionCode,
        reason: &str,
        is_meant: impl Fn(ConnectionId) -> bool,
    ) {
        let connections: Vec<ConnectionId> =
            self.connections().filter(|peer| is_meant(*peer)).collect();
        for connection in connections {
            if let Some(session) = self.session(connection) {
                session.close(now, code, reason);
            }
        }
    }

    /// See [`Application::handle_input`](crate::transport::Application::handle_input).
    pub fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.forget_over();
        let is_over = matches!(input, Input::Closed(_));
        let Some(entry) = self.peers.get_mut(&connection) else {
            return;
        };
        entry.peer.handle_input(now, input);
        if is_over {
            self.over.push(connection);
        } else {
            self.mark_dirty(connection);
        }
        self.settle(connection);
    }

    /// See [`Application::handle_answer`](crate::transport::Application::handle_answer).
    pub fn handle_answer(
        &mut self,
        now: Time,
        connection: ConnectionId,
        answer: Answer,
        source: &mut dyn Source,
    ) {
        if let Some(entry) = self.peers.get_mut(&connection) {
            entry.peer.handle_answer(now, answer, source);
            self.tell(connection);
        }
    }

    /// See [`Application::handle_timeout`](crate::transport::Application::handle_timeout).
    pub fn handle_timeout(&mut self, now: Time) {
        self.forget_over();
        while let Some(&(deadline, connection)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            if let Some(entry) = self.peers.get_mut(&connection) {
                entry.deadline = None;
                entry.peer.handle_timeout(now);
                self.mark_dirty(connection);
                self.settle(connection);
            }
        }
    }

    /// See [`Application::poll_dirty`](crate::transport::Application::poll_dirty).
    pub fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.forget_over();
        while let Some(connection) = self.dirty.pop_front() {
            if let Some(entry) = self.peers.get_mut(&connection) {
                entry.is_dirty = false;
                return Some(connection);
            }
        }
        None
    }

    /// See [`Application::poll_output`](crate::transport::Application::poll_output).
    pub fn poll_output(
        &mut self,
        now: Time,
        connection: ConnectionId,
        source: &mut dyn Source,
    ) -> Option<Output> {
        let output = self
            .peers
            .get_mut(&connection)?
            .peer
            .poll_output(now, source);
        // It is polled until there is nothing more: then is the time to see when it wants to be called.
        match output {
            Some(_) => self.tell(connection),
            None => self.settle(connection),
        }
        output
    }

    /// See [`Application::poll_connect`](crate::transport::Application::poll_connect).
    pub fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.connects.pop_front()
    }

    /// See [`Application::poll_timeout`](crate::transport::Application::poll_timeout).
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let &(deadline, connection) = self.deadlines.first()?;
        let reason = self
            .peers
            .get(&connection)
            .map_or("a peer that left", |entry| entry.deadline_for);
        Some((deadline, reason))
    }

    /// Whether [`Peers::poll_event`] has something to tell.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next thing that a peer's session has to tell. After [`Event::Closed`] the peer is of no use any more.
    pub fn poll_event(&mut self) -> Option<(ConnectionId, Event)> {
        self.events.pop_front()
    }

    fn insert(&mut self, mut peer: Peer, remote: Option<SocketAddr>) -> ConnectionId {
        if self.messages.is_some() {
            peer.session().trace_messages();
        }
        let connection = ConnectionId(self.next);
        self.next += 1;
        self.peers.insert(
            connection,
            Entry {
                peer: Box::new(peer),
                remote,
                is_dirty: false,
                deadline: None,
                deadline_for: "",
            },
        );
        connection
    }

    /// Forgets peers whose last events were handled.
    fn forget_over(&mut self) {
        for connection in self.over.drain(..) {
            if let Some(entry) = self.peers.remove(&connection)
                && let Some(deadline) = entry.deadline
            {
                self.deadlines.remove(&(deadline, connection));
            }
        }
    }

    /// Collects what a peer has to tell, and when it wants to be called.
    fn settle(&mut self, connection: ConnectionId) {
        self.tell(connection);
        let Some(entry) = self.peers.get_mut(&connection) else {
            return;
        };
        let timeout = entry.peer.poll_timeout();
        let deadline = timeout.map(|(deadline, _)| deadline);
        if deadline != entry.deadline {
            if let Some(old) = entry.deadline {
                self.deadlines.remove(&(old, connection));
            }
            if let Some((deadline, reason)) = timeout {
                self.deadlines.insert((deadline, connection));
                entry.deadline_for = reason;
            }
            entry.deadline = deadline;
        }
    }

    /// Collects what a peer has to tell.
    fn tell(&mut self, connection: ConnectionId) {
        let Some(entry) = self.peers.get_mut(&connection) else {
            return;
        };
        if let Some(messages) = &mut self.messages {
            while let Some((direction, message)) = entry.peer.session().poll_message() {
                if messages.len() == MAX_TRACED {
                    messages.pop_front();
                }
                messages.push_back((connection, direction, message));
            }
        }
        while let Some(event) = entry.peer.session().poll_event() {
            self.events.push_back((connection, event));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::Bytes;

    use super::*;
    use crate::draft::Draft;
    use crate::session::{Outbox, Role, Settings};
    use crate::transport::Closed;

    const NOW: Time = Time::from_micros(1);

    fn server() -> Peer {
        Peer::server(Settings::new(Role::Server), &Draft::ALL)
    }

    fn remote() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 4433))
    }

    fn connected() -> Input {
        Input::Connected {
            alpn: Bytes::from_static(b"moqt-18"),
            max_datagram: 1200,
        }
    }

    fn settle(peers: &mut Peers) -> Vec<Output> {
        let mut outputs = Vec::new();
        let mut nothing = Outbox::new(0);
        while let Some(connection) = peers.poll_dirty() {
            while let Some(output) = peers.poll_output(NOW, connection, &mut nothing) {
                outputs.push(output);
                peers.handle_answer(NOW, connection, Answer::Blocked, &mut nothing);
            }
        }
        outputs
    }

    #[test]
    fn connections_are_numbered_in_the_order_of_their_coming() {
        let mut peers = Peers::default();
        let target = Target {
            host: "example.org".to_owned(),
            port: 443,
            alpns: vec![Bytes::from_static(b"moqt-18")],
        };
        let accepted = peers.accept(server(), remote());
        let client = Peer::client(Settings::new(Role::Client), &Draft::ALL);
        let asked_for = peers.connect(client, target.clone());
        assert_eq!(
            peers.connections().collect::<Vec<_>>(),
            [accepted, asked_for]
        );
        assert_eq!(peers.remote(accepted), Some(remote()));
        assert_eq!(peers.remote(asked_for), None);
        assert_eq!(peers.poll_connect(), Some((asked_for, target)));
        assert_eq!(peers.poll_connect(), None);
    }

    #[test]
    fn a_peer_whose_connection_is_over_does_not_count_and_is_kept_until_its_events_were_read() {
        let mut peers = Peers::default();
        let connection = peers.accept(server(), remote());
        peers.handle_input(NOW, connection, connected());
        assert!(peers.poll_timeout().is_some(), "the set-up has a deadline");
        peers.handle_input(NOW, connection, Input::Closed(Closed::TimedOut));
        assert!(peers.is_empty());
        let closed = Event::Closed(Closed::TimedOut);
        assert_eq!(peers.poll_event(), Some((connection, closed)));
        assert_eq!(peers.remote(connection), Some(remote()));
        assert_eq!(settle(&mut peers), []);
        assert!(peers.session(connection).is_none());
        assert_eq!(peers.poll_timeout(), None);
        // The transport's last words come too late.
        peers.handle_input(NOW, connection, Input::DatagramRoom);
        assert_eq!(peers.poll_dirty(), None);
    }

    #[test]
    fn a_session_that_is_looked_at_is_polled_once_and_a_quiet_look_is_not() {
        let mut peers = Peers::default();
        let connection = peers.accept(server(), remote());
        peers.handle_input(NOW, connection, connected());
        settle(&mut peers);
        assert!(peers.session_quietly(connection).is_some());
        assert_eq!(peers.poll_dirty(), None);
        assert!(peers.session(connection).is_some());
        assert!(peers.session(connection).is_some());
        assert_eq!(peers.poll_dirty(), Some(connection));
        assert_eq!(peers.poll_dirty(), None);
    }

    #[test]
    fn all_are_closed_and_a_deadline_that_passed_is_told_once() {
        let mut peers = Peers::default();
        let all = [(); 3].map(|()| peers.accept(server(), remote()));
        for connection in all {
            peers.handle_input(NOW, connection, connected());
        }
        settle(&mut peers);
        let (deadline, _) = peers.poll_timeout().unwrap();
        peers.handle_timeout(deadline);
        assert_eq!(peers.poll_timeout(), None);
        let closes = |outputs: Vec<Output>| {
            let is_close = |output: &Output| matches!(output, Output::Close { .. });
            outputs.iter().filter(|output| is_close(output)).count()
        };
        assert_eq!(closes(settle(&mut peers)), 3);
        peers.close_all(deadline, SessionCode::NoError, "again");
        assert_eq!(closes(settle(&mut peers)), 0);
        assert_eq!(peers.len(), 3, "until the transport agrees");
    }
}
