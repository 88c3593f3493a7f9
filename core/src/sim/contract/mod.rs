//! The contract list: what an adapter owes every application, whatever protocol that speaks.
//!
//! Where [`conformance`](super::conformance) has whole sessions, a case here is two [`Actor`]s that look at single bytes,
//! codes and limits of [`transport`](crate::transport). A harness is a [`Bench`]; [`contract_tests!`] makes a test of each
//! case. The simulator runs those that need no socket.
//!
//! [`contract_tests!`]: crate::contract_tests
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an actor names what it reacts to"
)]

mod actor;
pub mod datagrams;
pub mod endings;
pub mod limits;
pub mod setup;
pub mod streams;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use crate::runtime::{ClientSettings, Pem, ServerSettings, Settings, Trust};
use crate::transport::{Closed, ConnectionId, Exit, Input, Output};

pub use actor::{Actor, Told};

use super::script::Script;

/// The only connection of most actors.
const C0: ConnectionId = ConnectionId(0);
/// What servers speak, most wanted first.
const SPOKEN: [&str; 2] = ["test-2", "test-1"];
/// What clients offer.
const OFFERED: [&str; 2] = ["test-1", "test-2"];
/// How long actors wait before they look again, and what lets an endpoint finish what it has under way.
const MOMENT: Duration = Duration::from_millis(1);

/// One side of a case: an actor, and the endpoint that it is to run on.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Who acts.
    pub actor: Actor,
    /// How its endpoint is set.
    pub settings: Settings,
}

/// What a stack does differently although the contract allows either.
#[derive(Clone, Copy, Debug, Default)]
pub struct Differences {
    /// The server lets its peers open so many streams at once even if the settings allow fewer.
    pub least_streams: u64,
    /// The server cannot raise limits of streams and windows of a connection.
    pub fixed_limits: bool,
    /// The client hands its transport data that the window of the connection does not allow yet, if nothing else forbids it.
    pub overruns_windows: bool,
}

/// Runs two actors against each other.
pub trait Bench {
    /// Runs both until both have exited, and says how.
    ///
    /// The server's shutdown is asked for when the client exits, and that of either when [it says so](Actor::is_to_end). While one [is held](Actor::is_held) its endpoint is not
    /// polled; when the other exits it is [released](Actor::release).
    fn run(&mut self, server: &Seat, client: &Seat) -> (Exit, Exit);

    /// In what the stacks differ.
    fn differences(&self) -> Differences;
}

/// A [`Bench`] with real sockets.
pub trait Sockets: Bench {
    /// Binds an endpoint, which stays bound until the value is dropped; the error is for the operator.
    ///
    /// # Errors
    ///
    /// What the adapter says.
    fn bind(&mut self, settings: Settings) -> Result<(SocketAddr, Box<dyn Any>), String>;

    /// A self-signed certificate for this name, valid now, and its key.
    fn certificate(&mut self, name: &str) -> (Pem, Pem);
}

/// A server on a free port of the loopback interface.
fn server(actor: &Actor) -> Seat {
    let mut server = ServerSettings::new(0, protocols(&SPOKEN));
    server.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Seat {
        actor: actor.clone(),
        settings: Settings {
            server: Some(server),
            ..Settings::default()
        },
    }
}

/// A client that believes the server's certificate, whatever it is.
fn client(actor: &Actor) -> Seat {
    Seat {
        actor: actor.clone(),
        settings: Settings {
            client: ClientSettings {
                trust: Trust::Anyone,
                ..ClientSettings::default()
            },
            ..Settings::default()
        },
    }
}

/// Runs both, which must succeed.
fn run(bench: &mut dyn Bench, server: &Seat, client: &Seat) {
    let exits = bench.run(server, client);
    assert_eq!(exits, (Exit::Success, Exit::Success));
}

/// The same with default settings.
fn run_plain(bench: &mut dyn Bench, serving: &Actor, calling: &Actor) {
    run(bench, &server(serving), &client(calling));
}

/// An actor that ends its program when its connection is over, and reacts like this to everything else.
fn caller(mut react: impl FnMut(&mut Script, ConnectionId, Told<'_>) + 'static) -> Actor {
    let actor = Actor::new(move |script, id, told| {
        react(script, id, told);
        if let Told::Input(Input::Closed(_)) = told {
            script.exit(Exit::Success);
        }
    });
    actor.dialling(&OFFERED)
}

/// A server that says something to whoever connects: by then both sides know that the handshake is done.
fn greeter() -> Actor {
    Actor::new(|script, id, told| {
        if let Told::Input(Input::Connected { .. }) = told {
            script.push(id, Output::Datagram(pattern(1)));
        }
    })
}

/// How the actor's only connection ended.
fn closing(actor: &Actor) -> Closed {
    let script = actor.script();
    let mut closings = script.closings();
    let closed = closings.next().cloned();
    assert_eq!(closings.next(), None, "each connection ends once");
    closed.unwrap_or_else(|| panic!("nobody said that the connection is over"))
}

/// The sentence of a connection that was never established.
fn failed(closed: &Closed) -> &str {
    match closed {
        Closed::Failed(why) => why,
        other => panic!("{other:?}"),
    }
}

fn protocols(names: &[&'static str]) -> Vec<Bytes> {
    let names = names.iter();
    names
        .map(|name| Bytes::from_static(name.as_bytes()))
        .collect()
}

/// Bytes of which each tells its place.
fn pattern(length: usize) -> Bytes {
    let bytes = (0..length).map(|n| {
        let [low, high, higher, ..] = n.to_le_bytes();
        low ^ high ^ higher
    });
    bytes.collect()
}

/// Makes a test of each case, run on the [`Bench`] that the expression is.
///
/// `contract_tests!(simulated: …)` leaves out those that need [`Sockets`].
#[macro_export]
macro_rules! contract_tests {
    (simulated: $bench:expr) => {
        $crate::contract_tests! { @each $bench;
            streams: [
                megabyte_comes_back_over_a_bidirectional_stream
                streams_beyond_what_is_allowed_at_once_all_arrive_each_way
                small_reads_lose_nothing
                reset_and_stop_carry_their_codes_both_ways
                stream_that_is_given_up_never_looks_finished
                reader_that_stops_reading_stops_its_stream_only
            ]
            datagrams: [
                datagrams_cross_both_ways_and_a_large_one_is_refused
            ]
            limits: [
                unacknowledged_data_is_bounded_and_urgent_data_may_use_twice_that
                streams_beyond_the_limit_open_when_others_end
                limits_are_raised_and_never_lowered
            ]
            setup: [
                servers_order_decides_on_the_protocol
                refused_client_hears_of_it
                fifty_connections_live_side_by_side
            ]
            endings: [
                close_reaches_the_peer_and_each_side_hears_once
                abandoned_connection_never_looks_like_finished_streams
                closed_connection_never_looks_like_ended_streams
                shutdown_is_told_once_and_peers_hear_the_goodbye
                exit_closes_what_is_open
                quiet_connection_is_kept_alive
            ]
        }
    };
    (sockets: $bench:expr) => {
        $crate::contract_tests! { simulated: $bench }
        $crate::contract_tests! { @each $bench;
            streams: [
                other_congestion_control_and_no_segmentation_carry_data_as_well
            ]
            datagrams: [
                full_datagram_queue_blocks_until_there_is_room
            ]
            setup: [
                both_address_families_are_served_on_one_port
                name_with_two_addresses_leads_to_the_one_that_answers
                silent_server_fails_within_the_connect_timeout
                attempt_can_be_given_up
                unknown_host_is_named
                no_common_protocol_names_what_was_offered
                untrusted_server_says_what_to_do
                trusted_certificate_counts_for_its_own_name
                nothing_to_trust_is_said_when_connecting
                taken_port_foreign_address_and_bad_certificate_are_one_sentence_each
                handshakes_beyond_the_limit_are_refused
            ]
            endings: [
                what_arrives_together_with_the_close_is_read_first
                silent_peer_times_out
                shutdown_comes_with_the_time_of_its_own_moment
            ]
        }
    };
    (@each $bench:expr; $($part:ident: [$($case:ident)*])*) => {
        $($(
            #[test]
            fn $case() {
                $crate::sim::contract::$part::$case(&mut $bench);
            }
        )*)*
    };
}
