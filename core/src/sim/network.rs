//! A network around one node that everybody connects to, such as a relay with publishers and subscribers.

use std::time::Duration;

use bytes::Bytes;

use crate::draft::Draft;
use crate::runtime::TransportSettings;
use crate::session::{Limits, Role, Settings, Underlay};
use crate::transport::{Exit, Target};

use super::link::Link;
use super::node::{Publisher, Subscriber};
use super::program::{Part, Program};
use super::world::{Node, NodeId, Stuck, World};

const HOST: &str = "relay";
const PORT: u16 = 4433;

/// How a node talks to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access {
    /// In which draft.
    pub draft: Draft,
    /// Over WebTransport; otherwise over QUIC itself.
    pub web_transport: bool,
}

impl Access {
    /// Every way to talk to a relay.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for draft in Draft::ALL {
            for web_transport in [false, true] {
                all.push(Self {
                    draft,
                    web_transport,
                });
            }
        }
        all
    }
}

/// A relay and its clients.
#[derive(Debug)]
pub struct Network {
    /// The world in which they live.
    pub world: World,
    /// The node of the relay.
    pub relay: NodeId,
}

impl Network {
    /// A network of a relay alone. Its server speaks all drafts over QUIC itself and over WebTransport, at `/`.
    pub fn new(seed: u64, link: Link, relay: impl Node) -> Self {
        // What a relay is run with: publishers may fill larger windows, subscribers are to be slowed down early.
        Self::with_transport(seed, link, relay, TransportSettings::default())
    }

    /// The same with a transport of the relay's that is set differently.
    pub fn with_transport(
        seed: u64,
        link: Link,
        relay: impl Node,
        transport: TransportSettings,
    ) -> Self {
        let mut world = World::new(seed);
        world.set_default_link(link);
        let relay = world.add("relay", relay, transport);
        let drafts = Draft::ALL.map(|draft| Bytes::from_static(draft.profile().alpn.as_bytes()));
        let mut alpns = drafts.to_vec();
        alpns.push(Bytes::from_static(b"h3"));
        world.listen(relay, HOST, PORT, alpns);
        Self { world, relay }
    }

    /// Adds a client with this part.
    pub fn client<P: Part + 'static>(&mut self, name: &str, access: Access, part: P) -> NodeId {
        self.client_with(name, access, part, TransportSettings::default())
    }

    /// Adds a client whose transport is set differently.
    pub fn client_with<P: Part + 'static>(
        &mut self,
        name: &str,
        access: Access,
        part: P,
        transport: TransportSettings,
    ) -> NodeId {
        let settings = Settings {
            role: Role::Client,
            underlay: if access.web_transport {
                Underlay::WebTransport
            } else {
                Underlay::RawQuic
            },
            path: Bytes::from_static(b"/"),
            authority: Bytes::from_static(b"relay:4433"),
            accepted_paths: Vec::new(),
            implementation: Bytes::from(name.to_owned()),
            authorization_tokens: Vec::new(),
            limits: Limits::default(),
        };
        let alpn = if access.web_transport {
            "h3"
        } else {
            access.draft.profile().alpn
        };
        let target = Target {
            host: HOST.to_owned(),
            port: PORT,
            alpns: vec![Bytes::from_static(alpn.as_bytes())],
        };
        let program = Program::client(settings, &[access.draft], target, Box::new(part));
        self.world.add(name, program, transport)
    }

    /// A publisher's part.
    pub fn publisher(&self, node: NodeId) -> &Publisher {
        self.world.node::<Program<Publisher>>(node).part()
    }

    /// A subscriber's part.
    pub fn subscriber(&self, node: NodeId) -> &Subscriber {
        self.world.node::<Program<Subscriber>>(node).part()
    }

    /// Goes on until the condition holds.
    ///
    /// # Errors
    ///
    /// It does not in this time.
    pub fn until(
        &mut self,
        max: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<(), Stuck> {
        let deadline = self.world.now() + max;
        while !condition(self) {
            if self.world.now() >= deadline || !self.world.step() {
                return self.world.run_until(|_| false, Duration::ZERO);
            }
        }
        Ok(())
    }

    /// Panics if a client ended, which its part does when it saw something wrong.
    pub fn check(&self, clients: &[NodeId]) {
        for client in clients {
            if let Some(Exit::Failure(why)) = self.world.exit(*client) {
                panic!("client {client:?}: {why}\n{}", self.world.trace());
            }
        }
    }
}
