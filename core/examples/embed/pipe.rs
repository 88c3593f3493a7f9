//! Connections of pipes in memory, with streams and their flow control: what a QUIC stack does elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::Sender;

use bytes::Bytes;
use oxymoq_core::time::Time;
use oxymoq_core::transport::{
    Admission, Answer, Application, Closed, ConnectionId, Dir, Incoming, Input, Output, Room,
    StreamId,
};

/// The protocol that TLS would have agreed on.
pub(crate) const ALPN: Bytes = Bytes::from_static(b"moqt-18");

/// Bytes that may be under way or unread on a stream: less than an object of this example, so that writes are cut short.
const WINDOW: usize = 1500;

/// What threads send each other. Connections and streams have the receiver's names for them.
pub(crate) enum Mail {
    /// A client wants a connection, for which it has this name.
    Knock(Sender<Self>, ConnectionId),
    /// The server lets a client in, and has this name for the connection.
    Welcome(ConnectionId, ConnectionId),
    /// Bytes on a stream, and its end if this is the last of it.
    Bytes(ConnectionId, StreamId, Bytes, Option<Answer>),
    /// So many bytes of a stream were read: there is room for as many more.
    Credit(ConnectionId, StreamId, usize),
    /// Anything else that is to be told to the application.
    Tell(ConnectionId, Input),
    /// The program is to end.
    Shutdown,
}

/// One thread's ends of all its connections.
pub(crate) struct Pipes {
    own: Sender<Mail>,
    server: Sender<Mail>,
    connections: BTreeMap<ConnectionId, Pipe>,
}

/// One end of a connection.
struct Pipe {
    to: Sender<Mail>,
    /// The other side's name for it, which a client learns when it is let in.
    name: ConnectionId,
    /// The room on each stream that this side writes to.
    room: BTreeMap<StreamId, usize>,
    /// What was not read of each stream that the other side writes to, and its end, if that is here.
    unread: BTreeMap<StreamId, (VecDeque<Bytes>, Option<Answer>)>,
}

/// The other side's name for a stream.
const fn theirs(stream: StreamId) -> StreamId {
    match stream.is_local() {
        true => StreamId::peer(stream.index()),
        false => StreamId::local(stream.index()),
    }
}

impl Pipes {
    /// For a thread that is reached, and reaches its server, in these ways.
    pub(crate) const fn new(own: Sender<Mail>, server: Sender<Mail>) -> Self {
        let connections = BTreeMap::new();
        Self {
            own,
            server,
            connections,
        }
    }

    /// Begins to connect to the server.
    pub(crate) fn connect(&mut self, connection: ConnectionId) {
        let pipe = Pipe::new(self.server.clone(), connection);
        pipe.send(Mail::Knock(self.own.clone(), connection));
        self.connections.insert(connection, pipe);
    }

    /// Does what the application wants. Never waits: what cannot be done now stays with the application.
    pub(crate) fn carry_out(&mut self, connection: ConnectionId, output: Output) -> Option<Answer> {
        let wants_answer = output.wants_answer();
        let Some(pipe) = self.connections.get_mut(&connection) else {
            return wants_answer.then_some(Answer::Gone);
        };
        let to = pipe.name;
        match output {
            // A stack answers `Blocked` if the other side allows no more streams. Here it always does.
            Output::Open { stream, dir } => {
                pipe.add(stream, true, dir == Dir::Bi);
                let stream = theirs(stream);
                pipe.send(Mail::Tell(to, Input::Opened { stream, dir }));
            }
            Output::Write {
                stream, bytes, fin, ..
            } => return Some(pipe.write(stream, bytes, fin)),
            Output::Read { stream, max } => return Some(pipe.read(stream, max)),
            Output::Datagram(bytes) => pipe.send(Mail::Tell(to, Input::Datagram(bytes))),
            Output::Reset { stream, code } => {
                pipe.room.remove(&stream);
                let end = Some(Answer::Reset(code));
                pipe.send(Mail::Bytes(to, theirs(stream), Bytes::new(), end));
            }
            Output::Stop { stream, code } => {
                pipe.unread.remove(&stream);
                let stream = theirs(stream);
                pipe.send(Mail::Tell(to, Input::Stopped { stream, code }));
            }
            Output::Close { code, reason } => {
                let closed = Closed::ByPeer { code, reason };
                pipe.send(Mail::Tell(to, Input::Closed(closed)));
                let own = Pipe::new(self.own.clone(), connection);
                own.send(Mail::Tell(connection, Input::Closed(Closed::ByUs)));
            }
            // All streams are equal here, and as many as wanted.
            Output::Priority { .. } | Output::AllowStreams { .. } | Output::ReceiveWindow(_) => {}
        }
        wants_answer.then_some(Answer::Done)
    }

    /// Takes in what another thread sent, and tells the application what it should know of it.
    pub(crate) fn receive(&mut self, app: &mut impl Application, now: Time, mail: Mail) {
        let (connection, input) = match mail {
            Mail::Shutdown => return app.handle_shutdown(now),
            Mail::Knock(to, name) => {
                let pipe = Pipe::new(to, name);
                let incoming = Incoming {
                    remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), // for log lines
                    is_validated: true,
                };
                let Admission::Accept(connection) = app.handle_incoming(now, &incoming) else {
                    let closed = Closed::Failed("there is no room".to_owned());
                    return pipe.send(Mail::Tell(name, Input::Closed(closed)));
                };
                pipe.send(Mail::Welcome(name, connection));
                self.connections.insert(connection, pipe);
                (connection, Some(connected()))
            }
            Mail::Welcome(connection, name) => {
                let pipe = self.connections.get_mut(&connection);
                (connection, pipe.map(|pipe| pipe.welcome(name)))
            }
            Mail::Bytes(connection, stream, bytes, end) => {
                let pipe = self.connections.get_mut(&connection);
                (
                    connection,
                    pipe.and_then(|pipe| pipe.arrived(stream, bytes, end)),
                )
            }
            Mail::Credit(connection, stream, bytes) => {
                let pipe = self.connections.get_mut(&connection);
                (
                    connection,
                    pipe.and_then(|pipe| pipe.credited(stream, bytes)),
                )
            }
            Mail::Tell(connection, input) => {
                if let Input::Closed(_) = input {
                    self.connections.remove(&connection);
                } else if let Some(pipe) = self.connections.get_mut(&connection)
                    && let Input::Opened { stream, dir } = input
                {
                    pipe.add(stream, dir == Dir::Bi, true);
                }
                (connection, Some(input))
            }
        };
        if let Some(input) = input {
            app.handle_input(now, connection, input);
        }
    }
}

const fn connected() -> Input {
    Input::Connected {
        alpn: ALPN,
        max_datagram: 1200,
    }
}

impl Pipe {
    const fn new(to: Sender<Mail>, name: ConnectionId) -> Self {
        Self {
            to,
            name,
            room: BTreeMap::new(),
            unread: BTreeMap::new(),
        }
    }

    fn send(&self, mail: Mail) {
        // Whoever ended has closed the connection before.
        let _is_there = self.to.send(mail).is_ok();
    }

    fn welcome(&mut self, name: ConnectionId) -> Input {
        self.name = name;
        connected()
    }

    fn add(&mut self, stream: StreamId, is_written: bool, is_read: bool) {
        if is_written {
            self.room.insert(stream, WINDOW);
        }
        if is_read {
            self.unread.insert(stream, Default::default());
        }
    }

    /// Takes as much as there is room for. The core keeps the rest, and offers it again after [`Input::Writable`].
    fn write(&mut self, stream: StreamId, mut bytes: Bytes, fin: bool) -> Answer {
        let Some(room) = self.room.get_mut(&stream) else {
            return Answer::Gone;
        };
        let (offered, taken) = (bytes.len(), bytes.len().min(*room));
        *room -= taken;
        let full = *room == 0;
        let end = (fin && taken == offered).then_some(Answer::Fin);
        if end.is_some() {
            self.room.remove(&stream);
        }
        let bytes = bytes.split_to(taken);
        self.send(Mail::Bytes(self.name, theirs(stream), bytes, end));
        let room = if full { Room::StreamFull } else { Room::More };
        Answer::Wrote { taken, room }
    }

    fn credited(&mut self, stream: StreamId, bytes: usize) -> Option<Input> {
        let room = self.room.get_mut(&stream)?;
        let was_full = *room == 0;
        *room += bytes;
        was_full.then_some(Input::Writable(stream))
    }

    fn arrived(&mut self, stream: StreamId, bytes: Bytes, end: Option<Answer>) -> Option<Input> {
        // Nothing of a stream that was stopped is wanted.
        let (unread, its_end) = self.unread.get_mut(&stream)?;
        if !bytes.is_empty() {
            unread.push_back(bytes);
        }
        *its_end = end;
        Some(Input::Readable(stream))
    }

    fn read(&mut self, stream: StreamId, max: usize) -> Answer {
        let Some((unread, end)) = self.unread.get_mut(&stream) else {
            return Answer::Gone;
        };
        if let Some(mut bytes) = unread.pop_front() {
            if bytes.len() > max {
                unread.push_front(bytes.split_off(max));
            }
            self.send(Mail::Credit(self.name, theirs(stream), bytes.len()));
            return Answer::Data(bytes);
        }
        let Some(end) = end.take() else {
            return Answer::Blocked;
        };
        self.unread.remove(&stream);
        if end == Answer::Fin {
            self.send(Mail::Tell(self.name, Input::Acked(theirs(stream))));
        }
        end
    }
}
