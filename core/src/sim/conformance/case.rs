//! The cases of the list, and who takes part in each.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "few scenarios need a transport that is set differently"
)]

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::draft::Draft;
use crate::relay;
use crate::runtime::TransportSettings;
use crate::session::{Limits, Role, Settings, Underlay};
use crate::transport::Target;

use super::super::network::Access;
use super::super::program::Program;
use super::super::shards::Shards;
use super::actor::Actor;
use super::party::Party;
use super::{endings, live, namespaces, past, pressure, relays, session};

/// The path at which the servers serve.
/// How late a frame between shards may be: a turn of a busy thread.
const LATENESS: Duration = Duration::from_micros(500);

const PATH: Bytes = Bytes::from_static(b"/conformance");

/// Makes the enum, and the list of all its variants.
macro_rules! scenarios {
    ($($(#[$doc:meta])* $variant:ident => $cast:path,)*) => {
        /// What a case is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Scenario {
            $($(#[$doc])* $variant,)*
        }

        impl Scenario {
            /// Every scenario.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            fn cast(self, case: &Case) -> Cast {
                match self {
                    $(Self::$variant => $cast(case),)*
                }
            }
        }
    };
}

scenarios! {
    /// Both sides learn draft, path and name; a request is refused; the client closes.
    SetUp => session::set_up,
    /// Requests of every kind are refused, in both directions, each with another code.
    Refusals => session::refusals,
    /// The client ends the session with a code.
    ClientCloses => session::client_closes,
    /// The server ends the session with a code.
    ServerCloses => session::server_closes,
    /// Both sides ask the other to leave; what is open goes on.
    GoAway => session::go_away,
    /// Nobody says anything until the idle timeout.
    Silence => session::silence,
    /// More requests than the other side allows at once.
    RequestCredit => session::request_credit,
    /// SUBSCRIBE with every filter and parameter, updates of it that are granted and refused.
    Subscribe => live::wishes_and_updates,
    /// A track's subgroups over streams, complete and in order, and the end of the track.
    Streams => live::streams,
    /// PUBLISH in both directions, with objects, updates and both kinds of end.
    Publish => live::publish,
    /// Thousands of small objects on a few streams.
    ManyObjects => live::many_objects,
    /// An object of several mebibytes.
    LargeObject => live::large_object,
    /// More streams than may be open at once.
    ManyStreams => live::many_streams,
    /// Objects in datagrams, one of which is too large for any.
    Datagrams => live::datagrams,
    /// More datagrams at once than may wait.
    DatagramFlood => live::datagram_flood,
    /// FETCH of ranges in both orders, with gaps; one that is refused, one that is cut off, one that is withdrawn.
    Fetch => past::ranges,
    /// FETCH that joins a subscription, relatively and absolutely, in both orders.
    JoiningFetch => past::joining,
    /// TRACK_STATUS in both directions.
    TrackStatus => past::track_status,
    /// PUBLISH_NAMESPACE, withdrawn by its sender and by its receiver.
    PublishNamespace => namespaces::publish_namespace,
    /// SUBSCRIBE_NAMESPACE: namespaces come and go.
    SubscribeNamespace => namespaces::subscribe_namespace,
    /// SUBSCRIBE_TRACKS: tracks are offered.
    SubscribeTracks => namespaces::subscribe_tracks,
    /// Streams are reset and stopped with every kind of code, in both directions.
    ResetAndStop => endings::reset_and_stop,
    /// Subscriptions end before their streams do, by either side.
    Unsubscribe => endings::unsubscribe,
    /// The publisher's program ends within an object: that must not look like the end of the stream.
    CutOff => endings::cut_off,
    /// A reader that pauses holds up its writer, not the session; after it goes on everything arrives.
    BackPressure => pressure::back_pressure,
    /// Both sides send much through small windows at the same time.
    SmallWindows => pressure::small_windows,
    /// A relay: a track with every kind of object reaches two subscribers, in both drafts.
    RelayedTrack => relays::live::track,
    /// A relay: every filter, and what is not forwarded.
    RelayedFilters => relays::live::filters,
    /// A relay: a PUBLISH is offered to those who want tracks.
    RelayedPublish => relays::live::publish,
    /// A relay: datagrams.
    RelayedDatagrams => relays::live::datagrams,
    /// A relay: large objects and many streams.
    RelayedBulk => relays::live::bulk,
    /// A relay: FETCH of what it has, and of what only the publisher has.
    RelayedFetch => relays::past::fetch,
    /// A relay: a later subscriber gets the past by joining FETCHes.
    RelayedJoin => relays::past::join,
    /// A relay: announcements, requests for them, TRACK_STATUS, and requests for what is not there.
    RelayedNamespaces => relays::past::namespaces,
    /// A relay: streams are reset and subscriptions withdrawn on either side.
    RelayedEndings => relays::endings::streams,
    /// A relay: the publisher's program ends within an object.
    RelayedCutOff => relays::endings::cut_off,
    /// A relay shuts down.
    RelayedGoAway => relays::endings::shutdown,
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

/// Who takes part in a case.
pub(super) struct Cast {
    pub(super) server: Listener,
    pub(super) clients: Vec<Member>,
}

/// Who listens.
pub(super) enum Listener {
    Actor(Actor),
    /// A relay, which is told to shut down when so many clients have left.
    Relay(usize),
}

/// Who connects.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) access: Access,
    pub(super) actor: Actor,
}

impl Cast {
    /// A server and a client.
    pub(super) fn pair(case: &Case, server: Actor, client: Actor) -> Self {
        let client = Member {
            name: "client",
            access: case.access(),
            actor: client,
        };
        Self {
            server: Listener::Actor(server),
            clients: vec![client],
        }
    }
}

impl Case {
    /// Every scenario over QUIC itself and over WebTransport, in every draft; but those that move much only in one draft
    /// over each: what they are about is the transport.
    pub fn all() -> impl Iterator<Item = Self> {
        let cases = Scenario::ALL.iter().flat_map(|scenario| {
            Access::all().into_iter().map(|access| Self {
                scenario: *scenario,
                draft: access.draft,
                web_transport: access.web_transport,
            })
        });
        cases.filter(|case| !case.is_large() || (case.draft == Draft::D16) == case.web_transport)
    }

    /// What the server's endpoint must offer: all that a server speaks, whatever the case is about.
    pub fn server_alpns(&self) -> Vec<Bytes> {
        let drafts = Draft::ALL.map(|draft| Bytes::from_static(draft.profile().alpn.as_bytes()));
        let mut alpns = drafts.to_vec();
        alpns.push(Bytes::from_static(b"h3"));
        alpns
    }

    /// How all endpoints must be set: with windows that the case can fill.
    pub fn transport(&self) -> TransportSettings {
        let defaults = TransportSettings::default();
        match self.scenario {
            Scenario::BackPressure => pressure::narrow(defaults),
            Scenario::SmallWindows => pressure::small(defaults),
            Scenario::Silence => TransportSettings {
                // Longer than a set-up may stutter on a loaded machine.
                idle_timeout: Duration::from_millis(1500),
                keep_alive: Duration::ZERO,
                ..defaults
            },
            _ => defaults,
        }
    }

    /// The application that listens.
    pub fn server(&self) -> Party {
        self.sharded_server(1, 0)
    }

    /// The same, of so many shards if it is a relay. The seed is for what happens between them.
    pub(super) fn sharded_server(&self, shards: usize, seed: u64) -> Party {
        let Cast { server, clients } = self.scenario.cast(self);
        match server {
            Listener::Actor(actor) => {
                let settings = Self::settings(Role::Server, self.access(), Bytes::new(), "");
                let program = Program::server(settings, &Draft::ALL, Box::new(actor));
                Party::actor("server", program)
            }
            Listener::Relay(leaves_after) => {
                let settings = relay::Settings {
                    paths: vec![PATH],
                    limits: relay::Limits {
                        // Nobody comes in place of the publisher that went.
                        publisher_grace: Duration::from_millis(50),
                        ..relay::Limits::default()
                    },
                    transport: self.transport(),
                    ..relay::Settings::default()
                };
                let relay = Shards::new(seed, shards, &settings, LATENESS);
                Party::relay(relay, leaves_after.min(clients.len()))
            }
        }
    }

    /// The applications that connect to the server, at most three. They may start in any order.
    pub fn clients(&self, host: &str, port: u16) -> Vec<Party> {
        let clients = self.scenario.cast(self).clients.into_iter();
        let party = |member: Member| {
            let access = member.access;
            let authority = Bytes::from(format!("{host}:{port}"));
            let settings = Self::settings(Role::Client, access, authority, member.name);
            let alpn = if access.web_transport {
                "h3"
            } else {
                access.draft.profile().alpn
            };
            let target = Target {
                host: host.to_owned(),
                port,
                alpns: vec![Bytes::from_static(alpn.as_bytes())],
            };
            let actor = Box::new(member.actor);
            let program = Program::client(settings, &[access.draft], target, actor);
            Party::actor(member.name, program)
        };
        clients.map(party).collect()
    }

    /// How its clients, or the first of them, talk to the server.
    pub(super) const fn access(&self) -> Access {
        Access {
            draft: self.draft,
            web_transport: self.web_transport,
        }
    }

    /// Whether it moves so much that the simulator should not tear it into tiny pieces.
    pub(super) const fn is_large(&self) -> bool {
        matches!(
            self.scenario,
            Scenario::BackPressure
                | Scenario::SmallWindows
                | Scenario::LargeObject
                | Scenario::ManyObjects
                | Scenario::ManyStreams
                | Scenario::RelayedBulk
        )
    }

    fn settings(role: Role, access: Access, authority: Bytes, name: &'static str) -> Settings {
        let client = role == Role::Client;
        Settings {
            role,
            underlay: if access.web_transport && client {
                Underlay::WebTransport
            } else {
                Underlay::RawQuic
            },
            path: if client { PATH } else { Bytes::new() },
            authority,
            accepted_paths: if client { Vec::new() } else { vec![PATH] },
            implementation: Bytes::from_static(name.as_bytes()),
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
