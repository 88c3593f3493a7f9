//! The simulated world: nodes, the paths between them, one clock for all.

mod adapter;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::runtime::TransportSettings;
use crate::time::{Time, WallTime};
use crate::transport::{Application, ConnectionId, Exit, Target};

use super::connection::{Connection, End, Flight, Frame, Phase, Side};
use super::link::Link;
use super::random::Random;
use super::trace::Trace;

/// The clock's start. Not zero, so that mixing up a point and a span shows.
const START: Time = Time::from_micros(1_000_000);
/// The wall clock at [`START`]: 2026-01-01 00:00:00 UTC.
const WALL_START: u64 = 1_767_225_600_000_000;
/// Steps at one point in time after which the world is taken to spin.
const MAX_STEPS_AT_ONCE: u32 = 10_000;
/// How often one node may ask to be called back at once.
const MAX_TIMEOUTS_AT_ONCE: u32 = 100;

/// A node of the world, in order of [`World::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

/// An [`Application`] that a [`World`] can give back as what it is. Every `'static` application is one.
pub trait Node: Application + Any {}

impl<T: Application + Any> Node for T {}

struct Slot {
    name: String,
    /// `None` after a crash, and while it is being called.
    application: Option<Box<dyn Node>>,
    transport: TransportSettings,
    connections: BTreeMap<ConnectionId, (usize, Side)>,
    exit: Option<Exit>,
    started: bool,
    /// Something was told to it in this step.
    touched: bool,
    /// What it asked for when it was polled last.
    deadline: Option<Time>,
    /// When it has time for the next connection's turn, if it is [busy](World::slow_down).
    resumes: Option<Time>,
    timeouts_at_once: u32,
}

impl Slot {
    /// When it acts next by itself.
    fn next_time(&self, now: Time) -> Option<Time> {
        match (self.started || self.application.is_none(), self.resumes) {
            (false, _) => Some(now),
            (true, Some(at)) => Some(at),
            (true, None) => self.deadline,
        }
    }
}

struct Listener {
    node: usize,
    alpns: Vec<Bytes>,
}

enum Happening {
    /// A client's first packet reaches where the target says.
    Knock { connection: usize, target: Target },
    /// Something reaches an end of a connection.
    Flight {
        connection: usize,
        to: Side,
        frame: Frame,
    },
}

/// Any number of [`Application`]s and the network between them, in virtual time.
///
/// Everything is drawn from the seed: the same applications, calls and seed give the same run, byte for byte, which
/// [`Trace::hash`] shows. A breach of the contract in [`transport`](crate::transport) panics, naming the node and showing
/// the last lines of the trace.
pub struct World {
    now: Time,
    random: Random,
    sequence: u64,
    queue: BTreeMap<(Time, u64), Happening>,
    nodes: Vec<Slot>,
    listeners: BTreeMap<(String, u16), Listener>,
    connections: Vec<Connection>,
    default_link: Link,
    links: BTreeMap<(usize, usize), Link>,
    trace: Trace,
    steps_at_once: u32,
    vague: bool,
    turn_cost: Option<Duration>,
    losses: Vec<Loss>,
}

/// When a datagram was lost, and between whom: the sender first.
pub type Loss = (Time, [Option<NodeId>; 2]);

impl World {
    /// An empty world with a plain network; all chance comes from the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            now: START,
            random: Random::new(seed),
            sequence: 0,
            queue: BTreeMap::new(),
            nodes: Vec::new(),
            listeners: BTreeMap::new(),
            connections: Vec::new(),
            default_link: Link::default(),
            links: BTreeMap::new(),
            trace: Trace::new(),
            steps_at_once: 0,
            vague: false,
            turn_cost: None,
            losses: Vec::new(),
        }
    }

    /// The path between nodes that have none of their own, for connections made from now on.
    pub fn set_default_link(&mut self, link: Link) {
        self.default_link = link;
    }

    /// The path between two nodes, both ways, for connections made from now on.
    pub fn set_link(&mut self, a: NodeId, b: NodeId, link: Link) {
        self.links.insert((a.0, b.0), link.clone());
        self.links.insert((b.0, a.0), link);
    }

    /// Makes every transport answer [`StreamFull`] where the connection is full, like a stack that does not tell which.
    ///
    /// [`StreamFull`]: crate::transport::Room::StreamFull
    pub const fn hide_full_connections(&mut self) {
        self.vague = true;
    }

    /// Makes every connection's turn take so long: a node learns what arrives meanwhile before the next one's.
    pub const fn slow_down(&mut self, turn_cost: Duration) {
        self.turn_cost = Some(turn_cost);
    }

    /// Adds a node. Of the settings, the timeouts, limits and windows count.
    pub fn add(
        &mut self,
        name: &str,
        application: impl Node,
        transport: TransportSettings,
    ) -> NodeId {
        self.add_boxed(name, Box::new(application), transport)
    }

    /// Adds a node that is boxed already.
    pub fn add_boxed(
        &mut self,
        name: &str,
        application: Box<dyn Node>,
        transport: TransportSettings,
    ) -> NodeId {
        self.nodes.push(Slot {
            name: name.to_owned(),
            application: Some(application),
            transport,
            connections: BTreeMap::new(),
            exit: None,
            started: false,
            touched: false,
            deadline: None,
            resumes: None,
            timeouts_at_once: 0,
        });
        NodeId(self.nodes.len() - 1)
    }

    /// Lets a node accept connections at this address; its order of application protocols decides.
    pub fn listen(&mut self, node: NodeId, host: &str, port: u16, alpns: Vec<Bytes>) {
        let listener = Listener {
            node: node.0,
            alpns,
        };
        self.listeners.insert((host.to_owned(), port), listener);
    }

    /// The time now.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// What happened so far.
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What happened so far, to change how much of it is kept.
    pub const fn trace_mut(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// A node's application. Panics if it is of another type or crashed.
    pub fn node<T: Node>(&self, node: NodeId) -> &T {
        let application = self.slot(node.0).application.as_deref();
        let any: Option<&dyn Any> = application.map(|node| -> &dyn Any { node });
        any.and_then(<dyn Any>::downcast_ref)
            .unwrap_or_else(|| panic!("node {} is not a {}", node.0, std::any::type_name::<T>()))
    }

    /// Lets `act` do something with a node's application now, and carries out what follows from it.
    pub fn with<T: Node, R>(&mut self, node: NodeId, act: impl FnOnce(&mut T, Time) -> R) -> R {
        let now = self.now;
        self.start(node.0);
        let application = self.slot_mut(node.0).application.as_deref_mut();
        let any: Option<&mut dyn Any> = application.map(|node| -> &mut dyn Any { node });
        let Some(application) = any.and_then(<dyn Any>::downcast_mut) else {
            panic!("node {} is not a {}", node.0, std::any::type_name::<T>());
        };
        let result = act(application, now);
        self.pump(node.0);
        result
    }

    /// How the node's program ended, if it did.
    pub fn exit(&self, node: NodeId) -> Option<&Exit> {
        self.slot(node.0).exit.as_ref()
    }

    /// The node's connections that are not over, in order of their ids.
    pub fn connections(&self, node: NodeId) -> Vec<ConnectionId> {
        let slot = self.slot(node.0);
        slot.connections
            .iter()
            .filter(|(_, place)| {
                self.end(**place)
                    .is_some_and(|end| end.phase != Phase::Closed)
            })
            .map(|(id, _)| *id)
            .collect()
    }

    /// Bytes that the node handed to the transport and the peer did not acknowledge yet.
    pub fn unacked(&self, node: NodeId, connection: ConnectionId) -> usize {
        self.find(node, connection)
            .and_then(|place| self.end(place))
            .map_or(0, |end| end.unacked)
    }

    /// Bytes that arrived for the node and that it did not read yet.
    pub fn unread(&self, node: NodeId, connection: ConnectionId) -> usize {
        let end = self
            .find(node, connection)
            .and_then(|place| self.end(place));
        let streams = end.into_iter().flat_map(|end| end.streams.values());
        streams
            .filter_map(|stream| stream.receiving.as_ref())
            .map(super::stream::Receiving::buffered)
            .sum()
    }

    /// The datagrams that were lost so far.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Whether no transport holds anything that was sent, and nothing is on its way or waits to leave.
    pub fn is_calm(&self) -> bool {
        let is_quiet = |happening: &Happening| match happening {
            Happening::Flight { frame, .. } => !matches!(
                frame,
                Frame::Data { .. } | Frame::Datagram(_) | Frame::DatagramRoom
            ),
            Happening::Knock { .. } => true,
        };
        let is_empty = |end: &End| {
            let mut streams = end.streams.values();
            end.unacked == 0
                && streams.all(|stream| {
                    let receiving = stream.receiving.as_ref();
                    receiving.is_none_or(|receiving| receiving.buffered() == 0)
                })
        };
        let sides = [Side::Client, Side::Server];
        let mut ends = self.connections.iter();
        ends.all(|wire| {
            sides
                .iter()
                .filter_map(|side| wire.end(*side))
                .all(is_empty)
        }) && self.queue.values().all(is_quiet)
            && self.nodes.iter().all(|slot| slot.resumes.is_none())
    }

    /// Lets nothing through on a connection, either way, for a while.
    pub fn stall(&mut self, node: NodeId, connection: ConnectionId, span: Duration) {
        let Some((stalled, _)) = self.find(node, connection) else {
            return;
        };
        let until = self.now + span;
        if let Some(connection) = self.connections.get_mut(stalled) {
            connection.stalled_until = connection.stalled_until.max(until);
        }
        let held: Vec<(Time, u64)> = self
            .queue
            .range(..(until, 0))
            .filter(|(_, happening)| match happening {
                Happening::Flight {
                    connection, frame, ..
                } => *connection == stalled && frame.travels(),
                Happening::Knock { .. } => false,
            })
            .map(|(key, _)| *key)
            .collect();
        for key in held {
            if let Some(happening) = self.queue.remove(&key) {
                self.queue.insert((until, key.1), happening);
            }
        }
    }

    /// From now on nothing arrives that the node sends on this connection: a half-open death.
    ///
    /// The other end notices after its idle timeout, and this one a further idle timeout later.
    pub fn mute(&mut self, node: NodeId, connection: ConnectionId) {
        if let Some((connection, side)) = self.find(node, connection) {
            self.mute_side(connection, side, self.now);
        }
    }

    /// Ends a node without a word on any of its connections, like a power cut. Its peers notice by their idle timeouts.
    pub fn crash(&mut self, node: NodeId) {
        let now = self.now;
        let slot = self.slot_mut(node.0);
        slot.application = None;
        slot.deadline = None;
        slot.resumes = None;
        let places: Vec<(usize, Side)> = slot.connections.values().copied().collect();
        self.listeners.retain(|_, listener| listener.node != node.0);
        for (connection, side) in places {
            self.mute_side(connection, side, now);
            if let Some(wire) = self.connections.get_mut(connection)
                && let Some(end) = wire.end_mut(side)
            {
                end.close();
            }
        }
        let name = self.slot(node.0).name.clone();
        self.trace.line(now, &name, format_args!("crashed"));
    }

    /// Asks a node's program to end.
    pub fn shut_down(&mut self, node: NodeId) {
        let now = self.now;
        self.start(node.0);
        if let Some(application) = &mut self.slot_mut(node.0).application {
            application.handle_shutdown(now);
        }
        self.pump(node.0);
    }

    /// Goes to the next thing that happens and lets every node do what follows. False: nothing will ever happen again.
    pub fn step(&mut self) -> bool {
        let Some(next) = self.next_time() else {
            return false;
        };
        if next > self.now {
            self.now = next;
            self.steps_at_once = 0;
            for slot in &mut self.nodes {
                slot.timeouts_at_once = 0;
            }
        }
        self.steps_at_once += 1;
        if self.steps_at_once > MAX_STEPS_AT_ONCE {
            panic!("time stands still at {:?}\n{}", self.now, self.trace);
        }
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            match entry.remove() {
                Happening::Knock { connection, target } => self.knock(connection, &target),
                Happening::Flight {
                    connection,
                    to,
                    frame,
                } => self.land(connection, to, frame),
            }
        }
        for node in 0..self.nodes.len() {
            let now = self.now;
            let slot = self.slot_mut(node);
            if slot.resumes.is_some_and(|at| at > now) {
                slot.touched = false;
                continue;
            }
            let resumes = slot.resumes.take().is_some();
            self.time_out(node);
            if std::mem::take(&mut self.slot_mut(node).touched) || resumes {
                self.pump(node);
            }
        }
        true
    }

    /// Goes to the next thing that happens, as [`World::step`], unless that is after `deadline`. False: it is, and it is
    /// `deadline` now.
    pub fn step_until(&mut self, deadline: Time) -> bool {
        if self.next_time().is_some_and(|next| next <= deadline) {
            return self.step();
        }
        self.now = self.now.max(deadline);
        self.steps_at_once = 0;
        false
    }

    /// Goes on until the condition holds.
    ///
    /// # Errors
    ///
    /// It did not hold after `max`, or nothing happens any more.
    pub fn run_until(
        &mut self,
        mut condition: impl FnMut(&Self) -> bool,
        max: Duration,
    ) -> Result<(), Stuck> {
        let deadline = self.now + max;
        loop {
            if condition(self) {
                return Ok(());
            }
            let why = if self.now >= deadline {
                "took too long"
            } else if self.step() {
                continue;
            } else {
                "nothing happens any more"
            };
            return Err(Stuck(format!(
                "{why}; the last steps were:\n{}",
                self.trace
            )));
        }
    }

    /// Lets this much time pass.
    pub fn run_for(&mut self, span: Duration) {
        let deadline = self.now + span;
        while self.next_time().is_some_and(|next| next <= deadline) {
            self.step();
        }
        self.now = deadline;
        self.steps_at_once = 0;
    }

    fn next_time(&self) -> Option<Time> {
        let queued = self.queue.keys().next().map(|key| key.0);
        let deadlines = self.nodes.iter();
        let deadlines = deadlines.filter_map(|slot| slot.next_time(self.now));
        deadlines.chain(queued).filter(|at| *at < Time::MAX).min()
    }

    fn slot(&self, node: usize) -> &Slot {
        self.nodes
            .get(node)
            .unwrap_or_else(|| panic!("no node {node} in this world"))
    }

    fn slot_mut(&mut self, node: usize) -> &mut Slot {
        self.nodes
            .get_mut(node)
            .unwrap_or_else(|| panic!("no node {node} in this world"))
    }

    fn find(&self, node: NodeId, connection: ConnectionId) -> Option<(usize, Side)> {
        self.slot(node.0).connections.get(&connection).copied()
    }

    fn end(&self, (connection, side): (usize, Side)) -> Option<&End> {
        self.connections.get(connection)?.end(side)
    }

    fn link(&self, from: usize, to: usize) -> Link {
        self.links
            .get(&(from, to))
            .unwrap_or(&self.default_link)
            .clone()
    }

    fn schedule(&mut self, at: Time, happening: Happening) {
        self.sequence += 1;
        self.queue
            .insert((at.max(self.now), self.sequence), happening);
    }

    fn schedule_flights(&mut self, connection: usize, flights: Vec<Flight>) {
        for Flight { at, to, frame } in flights {
            let happening = Happening::Flight {
                connection,
                to,
                frame,
            };
            self.schedule(at, happening);
        }
    }

    fn start(&mut self, node: usize) {
        if !self.slot(node).started {
            self.slot_mut(node).started = true;
            self.touch(node);
            self.pump(node);
        }
    }

    /// Something is about to be told to a node: first of all, what time it is.
    fn touch(&mut self, node: usize) {
        if !std::mem::replace(&mut self.slot_mut(node).touched, true) {
            self.tell_wall_clock(node);
        }
    }

    fn tell_wall_clock(&mut self, node: usize) {
        let now = self.now;
        let wall = WallTime(WALL_START + now.as_micros() - START.as_micros());
        let slot = self.slot_mut(node);
        if let (Some(application), None) = (&mut slot.application, &slot.exit) {
            application.handle_wall_clock(now, wall);
        }
    }

    fn time_out(&mut self, node: usize) {
        let now = self.now;
        if self.slot(node).deadline.is_none_or(|at| at > now) {
            return;
        }
        self.touch(node);
        let slot = self.slot_mut(node);
        let (Some(application), None) = (&mut slot.application, &slot.exit) else {
            return;
        };
        let Some((_, why)) = application.poll_timeout().filter(|(at, _)| *at <= now) else {
            return;
        };
        slot.timeouts_at_once += 1;
        let spins = slot.timeouts_at_once > MAX_TIMEOUTS_AT_ONCE;
        application.handle_timeout(now);
        let name = slot.name.clone();
        self.trace.line(now, &name, format_args!("timeout: {why}"));
        if spins {
            panic!("{name} asks for {why:?} at once for ever\n{}", self.trace);
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now", &self.now)
            .field("nodes", &self.nodes.len())
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}

/// Why [`World::run_until`] gave up, with the last lines of the trace.
#[derive(Clone, PartialEq, Eq)]
pub struct Stuck(String);

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Stuck {}
