//! Two sessions with a simulated path between them, for tests that act on both ends.

use std::time::Duration;

use bytes::Bytes;

use crate::draft::Draft;
use crate::runtime::TransportSettings;
use crate::session::{Event, Limits, Role, Session, Settings, Underlay};
use crate::time::Time;
use crate::transport::{ConnectionId, Target};

use super::link::Link;
use super::program::{Failure, Part, Program};
use super::stage::Stage;
use super::world::{NodeId, Stuck, World};

const PATIENCE: Duration = Duration::from_secs(120);

/// A part that does nothing and remembers every event.
#[derive(Debug, Default)]
pub struct Recorder {
    events: Vec<(ConnectionId, Event)>,
}

impl Recorder {
    /// Everything told so far.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter().map(|(_, event)| event)
    }
}

impl Part for Recorder {
    fn handle_event(
        &mut self,
        _stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        self.events.push((connection, event));
        Ok(())
    }
}

/// A client's and a server's session, both recorded.
#[derive(Debug)]
pub struct Pair {
    /// The world in which they live.
    pub world: World,
    /// The node of the client.
    pub client: NodeId,
    /// The node of the server.
    pub server: NodeId,
}

impl Pair {
    /// Two sessions that are set up in this draft, over a link and with transports of these settings on both sides.
    ///
    /// # Errors
    ///
    /// They were not set up in time.
    pub fn new(
        seed: u64,
        draft: Draft,
        link: Link,
        transport: &TransportSettings,
        limits: &Limits,
    ) -> Result<Self, Stuck> {
        let settings = |role| Settings {
            role,
            underlay: Underlay::RawQuic,
            path: Bytes::new(),
            authority: Bytes::new(),
            accepted_paths: Vec::new(),
            implementation: Bytes::new(),
            authorization_tokens: Vec::new(),
            limits: limits.clone(),
        };
        let alpns = vec![Bytes::from_static(draft.profile().alpn.as_bytes())];
        let mut world = World::new(seed);
        world.set_default_link(link);
        let serving = Program::server(settings(Role::Server), &[draft], Box::<Recorder>::default());
        let server = world.add("server", serving, transport.clone());
        world.listen(server, "server", 4433, alpns.clone());
        let target = Target {
            host: "server".to_owned(),
            port: 4433,
            alpns,
        };
        let part = Box::<Recorder>::default();
        let connecting = Program::client(settings(Role::Client), &[draft], target, part);
        let client = world.add("client", connecting, transport.clone());
        let mut pair = Self {
            world,
            client,
            server,
        };
        pair.until(|pair| {
            let established = |event: &Event| matches!(event, Event::Established { .. });
            [Role::Client, Role::Server]
                .into_iter()
                .all(|side| pair.events(side).any(established))
        })?;
        Ok(pair)
    }

    /// What a side was told so far.
    pub fn events(&self, side: Role) -> impl DoubleEndedIterator<Item = &Event> {
        let program: &Program<Recorder> = self.world.node(self.node(side));
        program.part().events()
    }

    /// Whether a side was told this.
    pub fn was_told(&self, side: Role, event: impl FnMut(&Event) -> bool) -> bool {
        self.events(side).any(event)
    }

    /// Does something with a side's session, now.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub fn session<R>(
        &mut self,
        side: Role,
        act: impl FnOnce(&mut Session, Time) -> R,
    ) -> Result<R, Failure> {
        self.stage(side, |stage, connection| {
            let now = stage.now();
            Ok(act(stage.session(connection)?, now))
        })
    }

    /// Does something on a side's stage, now.
    pub fn stage<R>(
        &mut self,
        side: Role,
        act: impl FnOnce(&mut Stage<'_>, ConnectionId) -> R,
    ) -> R {
        let node = self.node(side);
        self.world
            .with(node, |program: &mut Program<Recorder>, now| {
                program.act(now, |_, stage| {
                    let connection = stage
                        .connections()
                        .first()
                        .copied()
                        .unwrap_or(ConnectionId(0));
                    act(stage, connection)
                })
            })
    }

    /// Goes on until the condition holds.
    ///
    /// # Errors
    ///
    /// It never does.
    pub fn until(&mut self, mut condition: impl FnMut(&Self) -> bool) -> Result<(), Stuck> {
        let deadline = self.world.now() + PATIENCE;
        while !condition(self) {
            if self.world.now() >= deadline || !self.world.step() {
                return self.world.run_until(|_| false, Duration::ZERO);
            }
        }
        Ok(())
    }

    const fn node(&self, side: Role) -> NodeId {
        match side {
            Role::Client => self.client,
            Role::Server => self.server,
        }
    }
}
