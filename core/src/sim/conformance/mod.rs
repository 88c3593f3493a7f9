//! The conformance list: what every adapter must pass over real sockets, and the simulator in virtual time.
//!
//! Each [`Case`] is a server and a client program that carry their own assertions: a harness runs both, each with its own
//! endpoint, until they exit. A runtime's test is this, with its own way to run two applications:
//!
//! ```
//! use oxymoq_core::sim::conformance;
//! # fn run(case: &conformance::Case) -> conformance::Exits {
//! #     conformance::simulate(case, 1)
//! # }
//!
//! conformance::check_all(|case| {
//!     // Listen with `case.server_alpns()` and `case.transport()`, run `case.server()` on it; connect
//!     // `case.client(host, port)` with the same transport settings; give back how both ended.
//!     run(case)
//! });
//! ```

mod datagrams;
mod pressure;
mod reset;
mod setup;
mod streams;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::draft::Draft;
use crate::runtime::TransportSettings;
use crate::session::{Limits, Role, Settings, Underlay};
use crate::transport::{Closed, Exit, Target};
use crate::wire::name::{FullTrackName, TrackName, TrackNamespace};

use super::link::Link;
use super::program::{Failure, Part, Program};
use super::random::Random;
use super::world::World;

/// How long a case may take; a loaded machine needs a fraction of it.
const LIMIT: Duration = Duration::from_secs(20);
/// The path at which the servers serve.
const PATH: Bytes = Bytes::from_static(b"/conformance");
/// What the client calls itself.
const CLIENT: Bytes = Bytes::from_static(b"conformance client");

/// What a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scenario {
    /// Set-up, a request that is refused, and closing.
    SetUp,
    /// A track's subgroups over streams, complete and in order, and the end of the track.
    Streams,
    /// A track's objects in datagrams.
    Datagrams,
    /// Both sides reset a stream, and stop one.
    ResetAndStop,
    /// A reader that pauses holds up its writer, not the session; after it goes on everything arrives.
    BackPressure,
}

/// A scenario over one kind of session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Case {
    /// What happens.
    pub scenario: Scenario,
    /// In which draft.
    pub draft: Draft,
    /// Over WebTransport; otherwise over QUIC itself.
    pub web_transport: bool,
}

/// How the server and the client of a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exits {
    /// The server.
    pub server: Exit,
    /// The client.
    pub client: Exit,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 5] = [
        Self::SetUp,
        Self::Streams,
        Self::Datagrams,
        Self::ResetAndStop,
        Self::BackPressure,
    ];
}

impl Case {
    /// Every scenario over QUIC itself and over WebTransport, in every draft.
    pub fn all() -> impl Iterator<Item = Self> {
        Scenario::ALL.into_iter().flat_map(|scenario| {
            Draft::ALL.into_iter().flat_map(move |draft| {
                [false, true].into_iter().map(move |web_transport| Self {
                    scenario,
                    draft,
                    web_transport,
                })
            })
        })
    }

    /// What the server's endpoint must offer: all that a server speaks, whatever the case is about.
    pub fn server_alpns(&self) -> Vec<Bytes> {
        let drafts = Draft::ALL.map(|draft| Bytes::from_static(draft.profile().alpn.as_bytes()));
        let mut alpns = drafts.to_vec();
        alpns.push(Bytes::from_static(b"h3"));
        alpns
    }

    /// How both endpoints must be set: with windows that the case can fill.
    pub fn transport(&self) -> TransportSettings {
        let defaults = TransportSettings::default();
        match self.scenario {
            Scenario::BackPressure => pressure::transport(defaults),
            Scenario::SetUp | Scenario::Streams | Scenario::Datagrams | Scenario::ResetAndStop => {
                defaults
            }
        }
    }

    /// The program that serves.
    pub fn server(&self) -> Program {
        let settings = self.settings(Role::Server, Bytes::new());
        let part: Box<dyn Part> = match self.scenario {
            Scenario::SetUp => Box::new(setup::Server::new(*self)),
            Scenario::Streams => Box::new(streams::Server::default()),
            Scenario::Datagrams => Box::new(datagrams::Server::default()),
            Scenario::ResetAndStop => Box::new(reset::Both::new(Role::Server)),
            Scenario::BackPressure => Box::new(pressure::Server::default()),
        };
        Program::server(settings, &Draft::ALL, part).with_limit(LIMIT)
    }

    /// The program that connects to the server.
    pub fn client(&self, host: &str, port: u16) -> Program {
        let authority = format!("{host}:{port}");
        let settings = self.settings(Role::Client, Bytes::from(authority));
        let alpn = if self.web_transport {
            "h3"
        } else {
            self.draft.profile().alpn
        };
        let target = Target {
            host: host.to_owned(),
            port,
            alpns: vec![Bytes::from_static(alpn.as_bytes())],
        };
        let part: Box<dyn Part> = match self.scenario {
            Scenario::SetUp => Box::new(setup::Client::default()),
            Scenario::Streams => Box::new(streams::Client::default()),
            Scenario::Datagrams => Box::new(datagrams::Client::default()),
            Scenario::ResetAndStop => Box::new(reset::Both::new(Role::Client)),
            Scenario::BackPressure => Box::new(pressure::Client::default()),
        };
        Program::client(settings, &[self.draft], target, part).with_limit(LIMIT)
    }

    fn settings(&self, role: Role, authority: Bytes) -> Settings {
        let client = role == Role::Client;
        Settings {
            role,
            underlay: if self.web_transport && client {
                Underlay::WebTransport
            } else {
                Underlay::RawQuic
            },
            path: if client { PATH } else { Bytes::new() },
            authority,
            accepted_paths: if client { Vec::new() } else { vec![PATH] },
            implementation: if client { CLIENT } else { Bytes::new() },
            authorization_tokens: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = if self.web_transport {
            "WebTransport"
        } else {
            "QUIC"
        };
        let draft = self.draft.number();
        write!(f, "{:?} over {over} in draft {draft}", self.scenario)
    }
}

/// Runs every case, and panics with all those that fail.
pub fn check_all(mut run: impl FnMut(&Case) -> Exits) {
    let mut failures = Vec::new();
    for case in Case::all() {
        let exits = run(&case);
        for (who, exit) in [("server", exits.server), ("client", exits.client)] {
            if let Exit::Failure(why) = exit {
                failures.push(format!("{case}: the {who} says: {why}"));
            }
        }
    }
    if !failures.is_empty() {
        panic!("{}", failures.join("\n"));
    }
}

/// Runs a case in virtual time over a rough path.
pub fn simulate(case: &Case, seed: u64) -> Exits {
    let mut world = World::new(seed);
    let link = Link {
        // Tiny pieces would only make a large transfer long.
        max_piece: if case.scenario == Scenario::BackPressure {
            20_000
        } else {
            1500
        },
        ..Link::rough()
    };
    world.set_default_link(link);
    let server = world.add("server", case.server(), case.transport());
    world.listen(server, "localhost", 4433, case.server_alpns());
    let client = world.add("client", case.client("localhost", 4433), case.transport());
    let ended = world.run_until(
        |world| world.exit(server).is_some() && world.exit(client).is_some(),
        LIMIT * 2,
    );
    let exit = |node| match (world.exit(node), &ended) {
        (Some(exit), _) => exit.clone(),
        (None, Err(stuck)) => Exit::Failure(stuck.to_string()),
        (None, Ok(())) => Exit::Failure("did not end".to_owned()),
    };
    Exits {
        server: exit(server),
        client: exit(client),
    }
}

/// The track of this name in the conformance namespace.
fn track(name: &'static str) -> FullTrackName {
    FullTrackName {
        namespace: TrackNamespace::new(["conformance"]).unwrap_or_default(),
        name: TrackName::new(name).unwrap_or_default(),
    }
}

/// The payload of an object, different for each.
fn payload(group: u64, subgroup: u64, object: u64, length: usize) -> Bytes {
    let mut random = Random::new(group << 32 | subgroup << 16 | object);
    let numbers = std::iter::repeat_with(|| random.number().to_le_bytes());
    numbers.flatten().take(length).collect()
}

/// Fails with a reason unless the condition holds.
fn ensure(condition: bool, why: impl FnOnce() -> String) -> Result<(), Failure> {
    if condition { Ok(()) } else { Err(why()) }
}

/// Whether a session ended because its peer was done with it.
fn ended_well(closed: &Closed) -> Result<(), Failure> {
    let well = matches!(closed, Closed::ByPeer { code: 0, .. } | Closed::ByUs);
    ensure(well, || format!("the session ended: {closed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cases_pass_in_virtual_time() {
        for seed in 0..2 {
            check_all(|case| simulate(case, seed));
        }
    }

    #[test]
    fn failures_are_told_with_the_case_and_the_side() {
        let failing = |_: &Case| Exits {
            server: Exit::Success,
            client: Exit::Failure("it rains".to_owned()),
        };
        let panic = std::panic::catch_unwind(|| check_all(failing)).unwrap_err();
        let text = panic.downcast::<String>().unwrap();
        let line = "Streams over WebTransport in draft 16: the client says: it rains";
        assert!(text.contains(line), "{text}");
    }
}
