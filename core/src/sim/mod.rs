//! A deterministic simulator: any number of [`Application`]s and the network between them, in virtual time.
//!
//! [`World`] plays the adapter of every node: it carries out outputs, delivers inputs, and panics when an application does
//! what the contract in [`transport`] forbids, so it is for tests. Time jumps from one happening to the next; all chance
//! comes from a seed; equal seeds give equal [`Trace`]s.
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use oxymoq_core::runtime::TransportSettings;
//! use oxymoq_core::sim::{Link, Script, World};
//! use oxymoq_core::transport::{ConnectionId, Dir, StreamId};
//!
//! let seed = 7;
//! let mut world = World::new(seed);
//! world.set_default_link(Link::rough());
//! let alpns = vec![Bytes::from_static(b"moqt-18")];
//! let server = world.add("server", Script::new(), TransportSettings::default());
//! world.listen(server, "example.org", 443, alpns.clone());
//! let client = Script::connecting("example.org", 443, alpns);
//! let hello = Bytes::from_static(b"hello");
//! let client = world.add("client", client, TransportSettings::default());
//! world.run_for(Duration::from_secs(1));
//! world.with(client, |client: &mut Script, _now| {
//!     client.send(ConnectionId(0), StreamId::local(0), Dir::Uni, hello.clone());
//! });
//! world.run_until(
//!     |world| {
//!         let mut received = world.node::<Script>(server).received().values();
//!         received.any(|stream| stream.bytes == hello)
//!     },
//!     Duration::from_secs(1),
//! )?;
//! # Ok::<(), oxymoq_core::sim::Stuck>(())
//! ```
//!
//! [`Application`]: crate::transport::Application
//! [`transport`]: crate::transport
#![expect(
    clippy::panic,
    reason = "a broken contract must fail the test that runs it"
)]

mod carry;
pub mod conformance;
mod connection;
pub mod contract;
mod link;
pub mod load;
pub mod moqtest;
mod network;
pub mod networks;
mod neutral;
pub mod node;
mod pair;
mod program;

mod random;
mod script;
mod shards;
mod stage;
mod stream;
mod trace;
mod world;

#[cfg(test)]
mod tests;

pub use link::Link;
pub use network::{Access, Network};
pub use pair::{Pair, Recorder};
pub use program::{Failure, Part, Program};
pub use random::Random;
pub use script::{Received, Script};
pub use shards::Shards;
pub use stage::{FetchStream, Stage, Subgroup, subgroup_header};
pub use trace::Trace;
pub use world::{Loss, Node, NodeId, Stuck, World};
