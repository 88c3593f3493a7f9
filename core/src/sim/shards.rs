//! A relay of several shards as one application: what a runtime does with threads, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::link::{FRAME_COST, Frame, Link, MAX_IN_FLIGHT, Shard};
use crate::relay::{Relay, Settings, Shared};
use crate::time::{Time, WallTime};
use crate::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, Target,
};

use super::random::Random;

/// Frames that end a stream or give credit may exceed what is under way; there are no more of them than that here.
const EXCESS: usize = 1 << 20;

/// Several [`Relay`]s, linked with one another, that look like one.
///
/// The seed decides to which shard a client comes, in which order the links carry frames and how many at a time, and how
/// late. With one shard it does what the [`Relay`] does.
#[derive(Debug)]
pub struct Shards {
    now: Time,
    random: Random,
    relays: Vec<Relay>,
    links: BTreeMap<(usize, usize), Link>,
    ways: BTreeMap<(usize, usize), Way>,
    /// How late a frame may be.
    lateness: Duration,
    /// The most that was ever under way in one direction of a link.
    fullest: usize,
    has_links: bool,
}

/// What is on its way over one direction of a link.
#[derive(Debug, Default)]
struct Way {
    frames: VecDeque<(Time, Frame)>,
    bytes: usize,
}

impl Shards {
    /// So many shards, at least one, of a relay that is set up like this; frames may be so late.
    pub fn new(seed: u64, shards: usize, settings: &Settings, lateness: Duration) -> Self {
        let shared = Shared::new(settings, shards).into_iter();
        let relays = shared.map(|shared| Relay::sharded(settings.clone(), shared));
        Self {
            now: Time::ZERO,
            random: Random::new(seed),
            relays: relays.collect(),
            links: BTreeMap::new(),
            ways: BTreeMap::new(),
            lateness,
            fullest: 0,
            has_links: false,
        }
    }

    /// A relay as it is.
    pub fn single(relay: Relay) -> Self {
        Self {
            now: Time::ZERO,
            random: Random::new(0),
            relays: vec![relay],
            links: BTreeMap::new(),
            ways: BTreeMap::new(),
            lateness: Duration::ZERO,
            fullest: 0,
            has_links: false,
        }
    }

    /// The shards.
    pub fn relays(&self) -> &[Relay] {
        &self.relays
    }

    /// The most bytes that were ever on their way in one direction of a link, with [`FRAME_COST`] for each frame.
    pub const fn fullest(&self) -> usize {
        self.fullest
    }

    /// See [`Relay::connect`]; from any shard.
    pub fn connect(
        &mut self,
        now: Time,
        target: Target,
        authority: bytes::Bytes,
        path: bytes::Bytes,
    ) -> Option<ConnectionId> {
        self.begin(now);
        let shard = self.random.length(self.relays.len()) - 1;
        let relay = self.relays.get_mut(shard)?;
        let inner = relay.connect(target, authority, path)?;
        Some(self.outer(shard, inner))
    }

    /// See [`Relay::is_connected`].
    pub fn is_connected(&self, connection: ConnectionId) -> bool {
        let (shard, inner) = self.inner(connection);
        let relay = self.relays.get(shard);
        relay.is_some_and(|relay| relay.is_connected(inner))
    }

    /// See [`Relay::left_over`].
    pub fn left_over(&self) -> Vec<(&'static str, usize)> {
        let relays = self.relays.iter();
        let on_links = self.ways.values().map(|way| way.frames.len()).sum();
        let on_links = Some(("frames on links", on_links)).filter(|(_, frames)| *frames > 0);
        relays.flat_map(Relay::left_over).chain(on_links).collect()
    }

    /// See [`Relay::recount`]; `is_calm` says nothing of the links between the shards.
    ///
    /// # Errors
    /// What differs.
    pub fn recount(&self, is_calm: bool) -> Result<(), String> {
        let on_links = self.ways.values().any(|way| !way.frames.is_empty());
        let unread = self.links.values().any(Link::has_unread);
        Relay::recount(&self.relays, is_calm && !on_links && !unread)
    }

    /// Links the shards before anything else happens.
    fn begin(&mut self, now: Time) {
        self.now = now;
        if std::mem::replace(&mut self.has_links, true) {
            return;
        }
        let number = |shard| Shard(u16::try_from(shard).unwrap_or(u16::MAX));
        let count = self.relays.len();
        for (here, relay) in self.relays.iter_mut().enumerate() {
            for there in (0..count).filter(|there| *there != here) {
                let link = Link::new(relay, now, number(here), number(there));
                self.links.insert((here, there), link);
                self.ways.insert((here, there), Way::default());
            }
        }
    }

    fn outer(&self, shard: usize, inner: ConnectionId) -> ConnectionId {
        let count = u64::try_from(self.relays.len()).unwrap_or(1);
        let shard = u64::try_from(shard).unwrap_or(0);
        ConnectionId(inner.0 * count + shard)
    }

    fn inner(&self, outer: ConnectionId) -> (usize, ConnectionId) {
        let count = u64::try_from(self.relays.len()).unwrap_or(1);
        let shard = usize::try_from(outer.0 % count).unwrap_or(0);
        (shard, ConnectionId(outer.0 / count))
    }

    fn at(&mut self, outer: ConnectionId) -> Option<(&mut Relay, ConnectionId)> {
        let (shard, inner) = self.inner(outer);
        Some((self.relays.get_mut(shard)?, inner))
    }

    /// Takes what the end of a link has, if the connection is one.
    fn pump_link(&mut self, shard: usize, connection: ConnectionId) -> bool {
        let is_it = |link: &Link| link.connection() == connection;
        let mut links = self.links.range_mut((shard, 0)..(shard + 1, 0));
        let Some((ends, link)) = links.find(|(_, link)| is_it(link)) else {
            return false;
        };
        let (Some(relay), Some(way)) = (self.relays.get_mut(shard), self.ways.get_mut(ends)) else {
            return false;
        };
        while let Some(frame) = link.poll_frame(relay, self.now) {
            let due = self.now + self.random.span(self.lateness);
            let due = way.frames.back().map_or(due, |(last, _)| due.max(*last));
            way.bytes += cost(&frame);
            way.frames.push_back((due, frame));
        }
        self.fullest = self.fullest.max(way.bytes);
        assert!(
            way.bytes <= MAX_IN_FLIGHT + EXCESS,
            "too much is under way: {} bytes",
            way.bytes
        );
        assert_eq!(link.failure(), None, "a link ended");
        true
    }

    /// Delivers some frames of one direction of one link. False if none is due.
    fn deliver(&mut self) -> bool {
        let now = self.now;
        let is_due = |way: &Way| way.frames.front().is_some_and(|(due, _)| *due <= now);
        let due: Vec<(usize, usize)> = self
            .ways
            .iter()
            .filter(|(_, way)| is_due(way))
            .map(|(ends, _)| *ends)
            .collect();
        if due.is_empty() {
            return false;
        }
        let Some(&(from, to)) = due.get(self.random.length(due.len()) - 1) else {
            return false;
        };
        let most = self.random.length(20);
        let (Some(way), Some(link), Some(relay)) = (
            self.ways.get_mut(&(from, to)),
            self.links.get_mut(&(to, from)),
            self.relays.get_mut(to),
        ) else {
            return false;
        };
        for _ in 0..most {
            let Some((_, frame)) = way.frames.pop_front_if(|(due, _)| *due <= now) else {
                break;
            };
            way.bytes -= cost(&frame);
            link.handle_frame(relay, now, frame);
        }
        true
    }
}

fn cost(frame: &Frame) -> usize {
    let bytes = match frame {
        Frame::Data { bytes, .. } | Frame::Datagram(bytes) => bytes.len(),
        Frame::Open { .. }
        | Frame::Reset { .. }
        | Frame::Stop { .. }
        | Frame::Credit(_)
        | Frame::StreamCredit { .. }
        | Frame::Close { .. } => 0,
    };
    bytes + FRAME_COST
}

impl Application for Shards {
    fn handle_wall_clock(&mut self, now: Time, wall: WallTime) {
        self.begin(now);
        for relay in &mut self.relays {
            relay.handle_wall_clock(now, wall);
        }
    }

    fn handle_incoming(&mut self, now: Time, incoming: &Incoming) -> Admission {
        self.begin(now);
        let shard = self.random.length(self.relays.len()) - 1;
        let admission = self.relays.get_mut(shard);
        let admission = admission.map_or(Admission::Refuse, |relay| {
            relay.handle_incoming(now, incoming)
        });
        match admission {
            Admission::Accept(inner) => Admission::Accept(self.outer(shard, inner)),
            Admission::Retry | Admission::Refuse => admission,
        }
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.begin(now);
        if let Some((relay, inner)) = self.at(connection) {
            relay.handle_input(now, inner, input);
        }
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        self.now = now;
        if let Some((relay, inner)) = self.at(connection) {
            relay.handle_answer(now, inner, answer);
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        self.begin(now);
        for relay in &mut self.relays {
            let deadline = relay.poll_timeout();
            if deadline.is_some_and(|(deadline, _)| deadline <= now) {
                relay.handle_timeout(now);
            }
        }
    }

    fn handle_wake(&mut self, now: Time) {
        self.begin(now);
        for relay in &mut self.relays {
            relay.handle_wake(now);
        }
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.begin(now);
        for relay in &mut self.relays {
            relay.handle_shutdown(now);
        }
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        loop {
            for shard in 0..self.relays.len() {
                while let Some(inner) = self.relays.get_mut(shard).and_then(Relay::poll_dirty) {
                    if !self.pump_link(shard, inner) {
                        return Some(self.outer(shard, inner));
                    }
                }
            }
            if !self.deliver() {
                return None;
            }
        }
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        self.now = now;
        let (relay, inner) = self.at(connection)?;
        relay.poll_output(now, inner)
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        let count = self.relays.len();
        let mut wanted = (0..count).filter_map(|shard| {
            let connect = self.relays.get_mut(shard)?.poll_connect();
            connect.map(|(inner, target)| (shard, inner, target))
        });
        let (shard, inner, target) = wanted.next()?;
        Some((self.outer(shard, inner), target))
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let of_relays = self.relays.iter().filter_map(Relay::poll_timeout);
        let of_links = self.ways.values().filter_map(|way| way.frames.front());
        let of_links = of_links.map(|(due, _)| (*due, "a frame on a link"));
        of_relays.chain(of_links).min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        let mut exit = None;
        for relay in &mut self.relays {
            exit = Some(relay.poll_exit()?);
        }
        exit
    }
}
