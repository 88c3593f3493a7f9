//! A whole program around one part that a test writes: an application with peers, sessions and outgoing streams.

use std::fmt;
use std::time::Duration;

use crate::draft::Draft;
use crate::peer::Peer;
use crate::peers::Peers;
use crate::session::{Event, Settings};
use crate::time::{Time, WallTime};
use crate::transport::{
    Admission, Answer, Application, ConnectionId, Exit, Incoming, Input, Output, Target,
};

use super::stage::{Scene, Stage};

/// Why a part fails, in words.
pub type Failure = String;

/// What a [`Program`] does with its peers.
pub trait Part: Send {
    /// A session tells something.
    ///
    /// # Errors
    ///
    /// What is wrong with it: the program ends with this.
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure>;

    /// The time of [`Part::poll_timeout`] came.
    ///
    /// # Errors
    ///
    /// As for [`Part::handle_event`].
    fn handle_timeout(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let _stage = stage;
        Ok(())
    }

    /// When to call [`Part::handle_timeout`].
    fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// What it waits for, to be told if that never comes.
    fn waits_for(&self) -> String {
        "the end".to_owned()
    }
}

/// An application that lets a [`Part`] act on its peers.
pub struct Program<P: ?Sized + Part = dyn Part> {
    world: Scene,
    settings: Settings,
    drafts: Vec<Draft>,
    serves: bool,
    /// Counts from the first call that tells the time.
    limit: Option<Duration>,
    part: Box<P>,
}

impl<P: ?Sized + Part> Program<P> {
    /// A program that serves whoever comes.
    pub fn server(settings: Settings, drafts: &[Draft], part: Box<P>) -> Self {
        Self {
            world: Scene::default(),
            settings,
            drafts: drafts.to_vec(),
            serves: true,
            limit: None,
            part,
        }
    }

    /// A program that connects to a target.
    pub fn client(settings: Settings, drafts: &[Draft], target: Target, part: Box<P>) -> Self {
        let mut program = Self::server(settings, drafts, part);
        program.serves = false;
        program.connect(target);
        program
    }

    /// Makes the program fail if it has not ended after this time.
    #[must_use]
    pub const fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Opens one more connection.
    pub fn connect(&mut self, target: Target) -> ConnectionId {
        let peer = Peer::client(self.settings.clone(), &self.drafts);
        self.world.peers.connect(peer, target)
    }

    /// The part, to look at.
    pub const fn part(&self) -> &P {
        &self.part
    }

    /// Lets `act` do something with the part on its stage.
    pub fn act<R>(&mut self, now: Time, act: impl FnOnce(&mut P, &mut Stage<'_>) -> R) -> R {
        let mut stage = Stage {
            now,
            world: &mut self.world,
        };
        let result = act(&mut self.part, &mut stage);
        self.drain(now);
        result
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.world.peers.len()
    }

    /// Lets the part handle what the sessions tell.
    fn drain(&mut self, now: Time) {
        while let Some((connection, event)) = self.world.peers.poll_event() {
            let closed = matches!(event, Event::Closed(_));
            let mut stage = Stage {
                now,
                world: &mut self.world,
            };
            if !stage.is_exiting()
                && let Err(why) = self.part.handle_event(&mut stage, connection, event)
            {
                stage.exit(Exit::Failure(why));
            }
            if closed {
                self.world.trays.remove(&connection);
            }
        }
    }
}

impl<P: ?Sized + Part> Application for Program<P> {
    fn handle_wall_clock(&mut self, now: Time, _wall: WallTime) {
        if let Some(limit) = self.limit.take() {
            self.world.deadline = Some(now + limit);
        }
    }

    fn handle_incoming(&mut self, _now: Time, incoming: &Incoming) -> Admission {
        if !self.serves || self.world.exit.is_some() {
            return Admission::Refuse;
        }
        let peer = Peer::server(self.settings.clone(), &self.drafts);
        Admission::Accept(self.world.peers.accept(peer, incoming.remote))
    }

    fn handle_input(&mut self, now: Time, connection: ConnectionId, input: Input) {
        self.world.peers.handle_input(now, connection, input);
        self.drain(now);
    }

    fn handle_answer(&mut self, now: Time, connection: ConnectionId, answer: Answer) {
        let tray = self.world.trays.entry(connection).or_default();
        self.world
            .peers
            .handle_answer(now, connection, answer, tray);
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.world.peers.handle_timeout(now);
        self.drain(now);
        let ends = self.world.exit.is_some();
        if !ends && self.part.poll_timeout().is_some_and(|at| at <= now) {
            let mut stage = Stage {
                now,
                world: &mut self.world,
            };
            if let Err(why) = self.part.handle_timeout(&mut stage) {
                stage.exit(Exit::Failure(why));
            }
            self.drain(now);
        }
        if self.world.deadline.is_some_and(|at| at <= now) {
            self.world.deadline = None;
            let why = format!("waited in vain for {}", self.part.waits_for());
            self.act(now, |_, stage| stage.exit(Exit::Failure(why)));
        }
        // Whoever does not answer the close need not be waited for.
        if self.world.closing_until.is_some_and(|at| at <= now) {
            self.world.peers = Peers::default();
        }
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.act(now, |_, stage| stage.exit(Exit::Success));
    }

    fn poll_dirty(&mut self) -> Option<ConnectionId> {
        self.world.peers.poll_dirty()
    }

    fn poll_output(&mut self, now: Time, connection: ConnectionId) -> Option<Output> {
        let tray = self.world.trays.entry(connection).or_default();
        let output = self.world.peers.poll_output(now, connection, tray);
        self.drain(now);
        output
    }

    fn poll_connect(&mut self) -> Option<(ConnectionId, Target)> {
        self.world.peers.poll_connect()
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let peers = self.world.peers.poll_timeout();
        let mine = if self.world.exit.is_some() {
            let closing = self.world.closing_until;
            [
                closing.map(|at| (at, "waiting for the end of connections")),
                None,
            ]
        } else {
            let part = self.part.poll_timeout();
            let limit = self.world.deadline;
            [
                part.map(|at| (at, "the part")),
                limit.map(|at| (at, "the limit of the program")),
            ]
        };
        mine.into_iter().flatten().chain(peers).min()
    }

    fn poll_exit(&mut self) -> Option<Exit> {
        if self.world.peers.is_empty() {
            return self.world.exit.take();
        }
        None
    }
}

impl<P: ?Sized + Part> fmt::Debug for Program<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("peers", &self.world.peers.len())
            .finish_non_exhaustive()
    }
}
