//! The adapter of every node: opens connections, tells what arrives, carries out what applications want.

use std::net::{Ipv6Addr, SocketAddr};

use bytes::Bytes;

use crate::time::Time;
use crate::transport::{
    Admission, Answer, Closed, ConnectionId, Exit, Incoming, Input, Output, Target,
};

use super::super::carry::Surroundings;
use super::super::connection::{Connection, End, Frame, Phase, Side};
use super::super::trace::Summary as _;
use super::{Happening, Node, NodeId, World};

/// Outputs of one connection in one turn after which it is taken to spin.
const MAX_OUTPUTS_PER_TURN: u32 = 1_000_000;

impl World {
    /// Opens the connection that a node asked for: its first packet leaves.
    pub(super) fn connect(&mut self, node: usize, id: ConnectionId, target: Target) {
        let name = self.slot(node).name.clone();
        let (host, port) = (&target.host, target.port);
        self.trace
            .line(self.now, &name, format_args!("{id} to {host}:{port}"));
        let listener = self.listeners.get(&(target.host.clone(), target.port));
        let link =
            listener.map_or_else(|| self.default_link.clone(), |to| self.link(node, to.node));
        let delay = link.delay;
        let settings = self.slot(node).transport.clone();
        let end = End::new(node, id, Side::Client, settings, link);
        let connection = self.connections.len();
        self.connections.push(Connection::new(end));
        let place = (connection, Side::Client);
        if self.slot_mut(node).connections.insert(id, place).is_some() {
            panic!("{name} connects under the {id} twice\n{}", self.trace);
        }
        self.schedule(self.now + delay, Happening::Knock { connection, target });
    }

    /// A client's first packet arrives.
    pub(super) fn knock(&mut self, connection: usize, target: &Target) {
        let Some(client) = self.end((connection, Side::Client)) else {
            return;
        };
        if client.phase != Phase::Handshake || client.mute {
            return;
        }
        let (from, delay, is_validated) = (client.node, client.link.delay, client.is_validated);
        let Some(listener) = self.listeners.get(&(target.host.clone(), target.port)) else {
            return self.refuse(connection, Side::Client, "nobody listens there");
        };
        let to = listener.node;
        let alpn = listener
            .alpns
            .iter()
            .find(|alpn| target.alpns.contains(alpn))
            .cloned();
        let now = self.now;
        let port = 1024 + u16::try_from(connection % 60_000).unwrap_or(0);
        let remote = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let link = self.link(to, from);
        self.touch(to);
        let slot = self.slot_mut(to);
        let (Some(application), None) = (&mut slot.application, &slot.exit) else {
            return;
        };
        let incoming = Incoming {
            remote,
            is_validated,
        };
        let id = match application.handle_incoming(now, &incoming) {
            Admission::Accept(id) => id,
            Admission::Retry if !is_validated => {
                let target = target.clone();
                return self.retry(connection, target);
            }
            Admission::Retry | Admission::Refuse => {
                return self.refuse(connection, Side::Client, "refused by the server");
            }
        };
        let name = slot.name.clone();
        let settings = slot.transport.clone();
        let place = (connection, Side::Server);
        if slot.connections.insert(id, place).is_some() {
            panic!("{name} accepts under the {id} twice\n{}", self.trace);
        }
        self.trace
            .line(now, &name, format_args!("{id} from {remote}"));
        let mut server = End::new(to, id, Side::Server, settings, link);
        let back = server.link.delay;
        server.alpn = alpn.clone().unwrap_or_default();
        server.connected_at = now + back + delay;
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.accept(server);
            if let Some(client) = connection.end_mut(Side::Client) {
                client.alpn = alpn.clone().unwrap_or_default();
                client.connected_at = now + back;
            }
        }
        if alpn.is_none() {
            self.refuse(connection, Side::Client, "no common application protocol");
            return self.refuse(connection, Side::Server, "no common application protocol");
        }
        let mut tell = |to, at, frame| {
            let happening = Happening::Flight {
                connection,
                to,
                frame,
            };
            self.schedule(at, happening);
        };
        tell(Side::Client, now + back, Frame::Connected);
        tell(Side::Client, now + back, Frame::Path);
        tell(Side::Server, now + back + delay, Frame::Connected);
        tell(Side::Server, now + back + delay, Frame::Path);
    }

    /// A client is to show that it receives what is sent to it: it comes again a round trip later.
    fn retry(&mut self, connection: usize, target: Target) {
        let client = self
            .connections
            .get_mut(connection)
            .and_then(|connection| connection.end_mut(Side::Client));
        if let Some(client) = client {
            client.is_validated = true;
            let at = self.now + client.link.delay * 2;
            self.schedule(at, Happening::Knock { connection, target });
        }
    }

    /// Tells one end, as late as the path makes it, that the connection was never established.
    fn refuse(&mut self, connection: usize, side: Side, why: &str) {
        let delay = match side {
            Side::Client => self.end((connection, side)).map(|end| end.link.delay),
            Side::Server => None,
        };
        let happening = Happening::Flight {
            connection,
            to: side,
            frame: Frame::Over(Closed::Failed(why.to_owned())),
        };
        self.schedule(self.now + delay.unwrap_or_default(), happening);
    }

    /// Something arrives at an end.
    pub(super) fn land(&mut self, connection: usize, to: Side, frame: Frame) {
        let now = self.now;
        let mut flights = Vec::new();
        let timed_out = matches!(frame, Frame::Over(Closed::TimedOut));
        let Some(wire) = self.connections.get_mut(connection) else {
            return;
        };
        if frame.travels() && wire.end(to.other()).is_some_and(|end| end.mute) {
            return;
        }
        let inputs = wire.arrive(now, to, frame, &mut flights);
        let Some((node, id)) = wire.end(to).map(|end| (end.node, end.id)) else {
            return;
        };
        self.schedule_flights(connection, flights);
        let over = inputs.iter().any(|input| matches!(input, Input::Closed(_)));
        for input in inputs {
            self.tell(node, id, input);
        }
        if over && timed_out {
            // It is silent from now on, so the other end hears nothing more either.
            self.mute_side(connection, to, now);
        }
    }

    fn tell(&mut self, node: usize, id: ConnectionId, input: Input) {
        let now = self.now;
        self.touch(node);
        let Some(slot) = self.nodes.get_mut(node) else {
            return;
        };
        let (Some(application), None) = (&mut slot.application, &slot.exit) else {
            return;
        };
        let (text, bytes) = input.summary();
        self.trace
            .line(now, &slot.name, format_args!("{id} < {text}"));
        self.trace.absorb(bytes.map_or(&[], |bytes| bytes.as_ref()));
        application.handle_input(now, id, input);
    }

    pub(super) fn mute_side(&mut self, connection: usize, side: Side, now: Time) {
        let Some(wire) = self.connections.get_mut(connection) else {
            return;
        };
        let Some(end) = wire.end_mut(side) else {
            return;
        };
        if end.mute {
            return;
        }
        end.mute = true;
        let idle = wire.end(side.other()).map(|end| end.settings.idle_timeout);
        if let Some(idle) = idle {
            let happening = Happening::Flight {
                connection,
                to: side.other(),
                frame: Frame::Over(Closed::TimedOut),
            };
            self.schedule(now + idle, happening);
        }
    }

    /// Lets a node do all that it wants.
    pub(super) fn pump(&mut self, node: usize) {
        let Some(mut application) = self.slot_mut(node).application.take() else {
            return;
        };
        if self.slot(node).exit.is_none() {
            let mut is_done = false;
            loop {
                // First, so that a connection just asked for is known when it is dirty.
                while let Some((id, target)) = application.poll_connect() {
                    self.connect(node, id, target);
                }
                if self.slot(node).resumes.is_some() {
                    break;
                }
                let Some(id) = application.poll_dirty() else {
                    is_done = true;
                    break;
                };
                self.turn(node, &mut *application, id);
                let resumes = self.turn_cost.map(|cost| self.now + cost);
                self.slot_mut(node).resumes = resumes;
            }
            if is_done && let Some(exit) = application.poll_exit() {
                self.leave(node, exit);
            }
        }
        let slot = self.slot_mut(node);
        slot.deadline = match slot.exit {
            None => application.poll_timeout().map(|(at, _)| at),
            Some(_) => None,
        };
        slot.application = Some(application);
    }

    /// One connection's turn.
    fn turn(&mut self, node: usize, application: &mut dyn Node, id: ConnectionId) {
        let now = self.now;
        let name = self.slot(node).name.clone();
        let place = self.find(NodeId(node), id);
        if let Some((connection, side)) = place
            && let Some(end) = self
                .connections
                .get_mut(connection)
                .and_then(|c| c.end_mut(side))
        {
            end.refused.clear();
        }
        let mut outputs = 0;
        while let Some(output) = application.poll_output(now, id) {
            let (text, bytes) = output.summary();
            self.trace.line(now, &name, format_args!("{id} > {text}"));
            self.trace.absorb(bytes.map_or(&[], |bytes| bytes.as_ref()));
            outputs += 1;
            if outputs > MAX_OUTPUTS_PER_TURN {
                panic!("{name}: {id} never settles\n{}", self.trace);
            }
            let answer = self.carry_out(&name, place, output);
            if let Some(answer) = answer {
                let (text, bytes) = answer.summary();
                self.trace.line(now, &name, format_args!("{id} = {text}"));
                self.trace.absorb(bytes.map_or(&[], |bytes| bytes.as_ref()));
                application.handle_answer(now, id, answer);
            }
        }
        if let Some((connection, side)) = place
            && let Some(violation) = self
                .connections
                .get(connection)
                .and_then(|c| c.unsettled(now, side))
        {
            panic!("{name}: {id} {violation}\n{}", self.trace);
        }
    }

    fn carry_out(
        &mut self,
        name: &str,
        place: Option<(usize, Side)>,
        output: Output,
    ) -> Option<Answer> {
        let mut flights = Vec::new();
        let mut around = Surroundings {
            now: self.now,
            random: &mut self.random,
            flights: &mut flights,
            vague: self.vague,
            lost: false,
        };
        let wire = place.and_then(|(connection, side)| {
            self.connections
                .get_mut(connection)
                .map(|wire| (connection, side, wire))
        });
        let Some((connection, side, wire)) = wire else {
            panic!(
                "{name} wants something on an unknown connection\n{}",
                self.trace
            );
        };
        match wire.carry_out(side, output, &mut around) {
            Ok(answer) => {
                if around.lost {
                    let ends =
                        [side, side.other()].map(|side| wire.end(side).map(|end| NodeId(end.node)));
                    self.losses.push((self.now, ends));
                }
                self.schedule_flights(connection, flights);
                answer
            }
            Err(violation) => panic!("{name} {violation}\n{}", self.trace),
        }
    }

    /// A program ended: its transport closes what it left open.
    fn leave(&mut self, node: usize, exit: Exit) {
        let name = self.slot(node).name.clone();
        self.trace
            .line(self.now, &name, format_args!("exits: {exit:?}"));
        self.listeners.retain(|_, listener| listener.node != node);
        let slot = self.slot_mut(node);
        slot.exit = Some(exit);
        let places: Vec<(usize, Side)> = slot.connections.values().copied().collect();
        for place in places {
            if self
                .end(place)
                .is_some_and(|end| !matches!(end.phase, Phase::Closing | Phase::Closed))
            {
                let output = Output::Close {
                    code: 0,
                    reason: Bytes::new(),
                };
                let _answer = self.carry_out(&name, Some(place), output);
            }
        }
    }
}
