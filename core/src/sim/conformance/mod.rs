//! The conformance list: what every adapter must pass over real sockets, and the simulator in virtual time.
//!
//! Each [`Case`] is a scenario in one draft over QUIC or WebTransport. It is played by two or more applications, its
//! parties: one listens, the others connect to it. The listening one is either an actor with a script, like the others, or
//! a whole [`Relay`](crate::relay::Relay). A harness runs every party with an endpoint of its own until all have exited,
//! and reports how each ended and what it was told. The list then checks that
//!
//! * every program succeeded: scripts wait for what must happen, and fail at what must not;
//! * everybody was told the same, in the same order, as in virtual time: see [`Told`] for what counts.
//!
//! Whoever has an adapter of his own writes a [`Harness`], or a closure that does the same, and has the whole list:
//!
//! ```
//! use oxymoq_core::sim::conformance::{self, Case, Ended};
//! # fn run(case: &Case) -> Vec<Ended> {
//! #     conformance::simulate(case, 1)
//! # }
//!
//! conformance::check_all(&|case: &Case| -> Vec<Ended> {
//!     // Listen with `case.server_alpns()` and `case.transport()` at some port, and run `case.server()` there. Run each of
//!     // `case.clients(host, port)` with an endpoint of its own and `case.transport()`; all at the same time. Give back
//!     // `party.ended(exit)` of each.
//!     run(case)
//! });
//! ```

mod actor;
mod case;
mod content;
mod endings;
mod live;
mod namespaces;
mod party;
mod past;
mod pressure;
mod relays;
mod requests;
mod session;

use std::time::Duration;

use crate::transport::Exit;

pub use case::{Case, Scenario};
pub use party::{Ended, Party, Told};

use super::link::Link;
use super::world::{NodeId, World};

/// How long a case may take; a loaded machine needs a fraction of it.
const LIMIT: Duration = Duration::from_secs(30);

/// What runs the parties of a case: an adapter, or several.
pub trait Harness {
    /// Runs all parties of a case until they have exited, and reports each.
    fn run(&self, case: &Case) -> Vec<Ended>;

    /// Runs several cases, and reports each in the same order. Some of them only wait for a while: a harness that can run
    /// many at the same time needs less time for the list.
    fn run_all(&self, cases: &[Case]) -> Vec<Vec<Ended>> {
        cases.iter().map(|case| self.run(case)).collect()
    }
}

impl<F: Fn(&Case) -> Vec<Ended>> Harness for F {
    fn run(&self, case: &Case) -> Vec<Ended> {
        self(case)
    }
}

/// Runs every case, and panics with what was wrong in all those that fail.
pub fn check_all(harness: &impl Harness) {
    let cases: Vec<Case> = Case::all().collect();
    check(harness, &cases);
}

/// Runs these cases, and panics with what was wrong in all those that fail.
pub fn check(harness: &impl Harness, cases: &[Case]) {
    let mut reports = harness.run_all(cases).into_iter();
    let mut failures = Vec::new();
    for case in cases {
        let report = reports.next().unwrap_or_default();
        failures.extend(judge(case, &report));
    }
    if !failures.is_empty() {
        panic!("{}", failures.join("\n"));
    }
}

/// What was wrong with a run of a case; empty: nothing.
pub fn judge(case: &Case, report: &[Ended]) -> Vec<String> {
    compare(case, report, &simulate(case, 0))
}

fn compare(case: &Case, report: &[Ended], expected: &[Ended]) -> Vec<String> {
    let mut failures = Vec::new();
    for expected in expected {
        let party = expected.party;
        let mut wrong = |what: String| failures.push(format!("{case}: the {party} {what}"));
        if let Exit::Failure(why) = &expected.exit {
            wrong(format!("failed in virtual time: {why}"));
        }
        let Some(ended) = report.iter().find(|ended| ended.party == party) else {
            wrong("was not reported".to_owned());
            continue;
        };
        if let Exit::Failure(why) = &ended.exit {
            wrong(format!("says: {why}"));
        } else if let Some(difference) = ended.told.difference(&expected.told) {
            wrong(format!("was told {difference}"));
        }
    }
    failures
}

/// Runs a case in virtual time: with seed 0 over a path without surprises, otherwise over a rough one.
pub fn simulate(case: &Case, seed: u64) -> Vec<Ended> {
    simulate_sharded(case, seed, 1)
}

/// The same with a relay of so many shards, if there is one.
pub fn simulate_sharded(case: &Case, seed: u64, shards: usize) -> Vec<Ended> {
    let mut world = World::new(seed);
    let plain = Link {
        max_piece: 1 << 16,
        max_datagram: 1200,
        ..Link::default()
    };
    let rough = Link {
        // Tiny pieces would only make a large transfer long.
        max_piece: if case.is_large() { 20_000 } else { 1500 },
        ..Link::rough()
    };
    world.set_default_link(if seed == 0 { plain } else { rough });
    let listening = case.sharded_server(shards, seed);
    let server = world.add("server", listening, case.transport());
    world.listen(server, "localhost", 4433, case.server_alpns());
    let mut nodes = vec![server];
    for client in case.clients("localhost", 4433) {
        let name = client.name();
        nodes.push(world.add(name, client, case.transport()));
    }
    if case.scenario == Scenario::Silence {
        // The simulator's connections die of silence only when they are cut.
        world.run_for(Duration::from_secs(1));
        for node in &nodes {
            for connection in world.connections(*node) {
                world.mute(*node, connection);
            }
        }
    }
    let ended = world.run_until(
        |world| nodes.iter().all(|node| world.exit(*node).is_some()),
        LIMIT * 3,
    );
    let report = |node: &NodeId| {
        let exit = match (world.exit(*node), &ended) {
            (Some(exit), _) => exit.clone(),
            (None, Err(stuck)) => Exit::Failure(stuck.to_string()),
            (None, Ok(())) => Exit::Failure("did not end".to_owned()),
        };
        world.node::<Party>(*node).ended(exit)
    };
    nodes.iter().map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_told_the_same_over_a_rough_path() {
        for seed in 1..3 {
            check_all(&|case: &Case| simulate(case, seed));
        }
    }

    #[test]
    fn everybody_is_told_the_same_by_a_relay_of_several_shards() {
        let with_relay = |case: &Case| format!("{:?}", case.scenario).starts_with("Relayed");
        let cases: Vec<Case> = Case::all().filter(with_relay).collect();
        assert!(!cases.is_empty());
        check(&|case: &Case| simulate_sharded(case, 1, 3), &cases);
    }

    #[test]
    fn failures_are_told_with_the_case_and_the_party() {
        let case = Case {
            scenario: Scenario::SetUp,
            ..Case::all().next().unwrap()
        };
        let mut report = simulate(&case, 1);
        report[1].exit = Exit::Failure("it rains".to_owned());
        let failures = judge(&case, &report);
        let line = "SetUp over QUIC in draft 18: the client says: it rains";
        assert_eq!(failures, [line]);
        report.pop();
        let line = "SetUp over QUIC in draft 18: the client was not reported";
        assert_eq!(judge(&case, &report), [line]);
    }

    #[test]
    fn whoever_was_told_something_else_is_named() {
        let case = Case {
            scenario: Scenario::SetUp,
            ..Case::all().next().unwrap()
        };
        let mut report = simulate(&case, 1);
        report[0].told = Told::default();
        let failures = judge(&case, &report);
        assert_eq!(failures.len(), 1);
        assert!(
            failures[0].contains("the server was told nothing"),
            "{failures:?}"
        );
    }
}
