//! A relay with several peers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::code::SessionCode;
use oxymoq_core::relay::{Limits, Relay, Settings};
use oxymoq_core::session::Role;
use oxymoq_core::time::Time;
use oxymoq_core::transport::{
    Admission, Application as _, Closed, ConnectionId, Incoming, Input, Output,
};

use crate::app::App;
use crate::choices::{Budget, Choices, draft};
use crate::script::{Script, some_knobs};
use crate::session::{connected, peer, pump, settings, small, some_span};
use crate::wire::{Cable, EASY, Told};

/// The first byte chooses: bit 0 whether every peer is a correct session, so that what arrives can be checked; bit 1 small
/// limits; bit 2 whether publishers are asked for their namespaces; bit 3 Forward State upstream without delay. What follows
/// are choices: peers that connect (with a draft each, as a session or as raw bytes), what they do, what arrives of it, and how
/// time passes.
///
/// # Panics
/// If the relay breaks the transport's contract, accuses or misleads a correct session, holds more memory than its limit,
/// takes more steps than so many for each byte, or keeps something of peers that are gone.
pub fn relay(input: &[u8]) {
    let mut choices = Choices::new(input);
    let first = choices.byte();
    let mut rig = Rig {
        relay: Relay::new(relay_settings(first)),
        peers: BTreeMap::new(),
        connected: 0,
        now: Time::from_micros(1),
        budget: Budget::new(20_000, 2000, input),
        is_checking: first & 1 == 0,
    };
    while !choices.is_over() {
        rig.step(&mut choices);
        rig.assert_bounded();
    }
    rig.end();
}

fn relay_settings(first: u8) -> Settings {
    let mut settings = Settings {
        discover: first & 4 == 0,
        ..Settings::default()
    };
    if first & 2 != 0 {
        settings.session = small();
        settings.limits = Limits {
            max_object_bytes: 8 << 10,
            max_announcements: 2,
            max_learned: 2,
            max_watches: 2,
            max_track_watches: 2,
            max_offers_per_watch: 1,
            max_statuses: 1,
            max_tracks: 2,
            max_publishers_per_track: 2,
            max_waiting: 2,
            max_rendezvous: 1,
            max_fetches: 2,
            max_fills: 2,
            max_fills_per_track: 1,
            max_fills_ahead: 1,
            max_fill_spans: 1,
            max_fetch_ahead: 400,
            ..Limits::default()
        };
    }
    if first & 8 != 0 {
        settings.limits.forward_linger = Duration::ZERO;
    }
    settings
}

/// Connections in all, and at once.
const MAX_CONNECTIONS: usize = 12;
const MAX_PEERS: usize = 6;
/// What the ledger may hold beyond its limit: small things that other limits bound.
const SMALL_THINGS: usize = 64 << 10;
/// How long the cache keeps objects at most.
const CACHE_AGE: Duration = Duration::from_secs(3601);
/// The relay's end of a cable.
const NEAR: usize = 0;
const FAR: usize = 1;

struct Rig {
    relay: Relay,
    peers: BTreeMap<ConnectionId, Peer>,
    connected: usize,
    now: Time,
    budget: Budget,
    is_checking: bool,
}

struct Peer {
    cable: Cable,
    far: Far,
}

enum Far {
    Session(Box<App>),
    Raw(Script),
}

impl Rig {
    fn step(&mut self, choices: &mut Choices<'_>) {
        let connections: Vec<ConnectionId> = self.peers.keys().copied().collect();
        let some = connections.get(choices.below(connections.len())).copied();
        let Some(connection) = some else {
            return self.connect(choices);
        };
        match choices.below(16) {
            0..9 => self.act(connection, choices),
            9 => {
                for _ in 0..=choices.below(8) {
                    self.deliver(connection, choices);
                }
            }
            10 => {
                let Some(peer) = self.peers.get_mut(&connection) else {
                    return;
                };
                let knobs = some_knobs(choices);
                let side = choices.below(2);
                let inputs = peer.cable.end(side).set(knobs);
                self.tell(connection, on(side, inputs));
                self.pump();
            }
            11 => {
                let Some(peer) = self.peers.get_mut(&connection) else {
                    return;
                };
                let inputs = peer.cable.end(NEAR).wake();
                self.tell(connection, on(NEAR, inputs));
                self.pump();
            }
            12 => self.connect(choices),
            13 => self.lose_or_leave(connection, choices),
            14 => {
                self.settle();
                self.pass(some_span(choices));
            }
            _ => {
                if choices.byte() == 0xff {
                    self.relay.handle_shutdown(self.now);
                }
                self.settle();
            }
        }
    }

    /// A client comes and is set up.
    fn connect(&mut self, choices: &mut Choices<'_>) {
        let which = choices.byte();
        let draft = draft(which & 1);
        if self.connected >= MAX_CONNECTIONS || self.peers.len() >= MAX_PEERS {
            return;
        }
        self.connected += 1;
        let incoming = Incoming {
            remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4433),
            is_validated: true,
        };
        let Admission::Accept(connection) = self.relay.handle_incoming(self.now, &incoming) else {
            return;
        };
        let is_raw = !self.is_checking && which & 2 != 0;
        let far = if is_raw {
            Far::Raw(Script::new(draft, Role::Client))
        } else {
            let settings = settings(Role::Client, which & 4 != 0);
            let app = App::new(peer(settings), self.is_checking);
            Far::Session(Box::new(app))
        };
        let cable = Cable::new();
        self.peers.insert(connection, Peer { cable, far });
        let mut told = vec![(NEAR, connected(draft)), (FAR, connected(draft))];
        if is_raw && which & 8 != 0 {
            let alpn = Bytes::from_static(b"h3");
            told = vec![(
                NEAR,
                Input::Connected {
                    alpn,
                    max_datagram: 1200,
                },
            )];
        }
        self.tell(connection, told);
        if let Some(Peer {
            cable,
            far: Far::Raw(script),
        }) = self.peers.get_mut(&connection)
            && which & 16 == 0
        {
            let inputs = script.set_up(cable.end(NEAR));
            self.tell(connection, on(NEAR, inputs));
        }
        self.settle();
    }

    fn act(&mut self, connection: ConnectionId, choices: &mut Choices<'_>) {
        let is_patient = choices.chance(4);
        let Some(peer) = self.peers.get_mut(&connection) else {
            return;
        };
        match &mut peer.far {
            Far::Session(app) => {
                app.act(self.now, choices);
                self.pump_far(connection);
            }
            Far::Raw(script) => {
                let end = peer.cable.end(NEAR);
                if end.is_over() {
                    return;
                }
                let inputs = script.act(end, choices);
                self.tell(connection, on(NEAR, inputs));
            }
        }
        if is_patient {
            self.pump();
        } else {
            self.settle_as_it_is();
        }
    }

    fn deliver(&mut self, connection: ConnectionId, choices: &mut Choices<'_>) {
        let Some(peer) = self.peers.get_mut(&connection) else {
            return;
        };
        let from = choices.below(2);
        let at = choices.below(peer.cable.under_way(from));
        let told = peer.cable.deliver(from, at);
        self.tell(connection, told);
        self.pump();
    }

    fn lose_or_leave(&mut self, connection: ConnectionId, choices: &mut Choices<'_>) {
        if !choices.chance(3) {
            return;
        }
        if choices.chance(2) {
            self.lose(connection);
        } else {
            self.leave(connection);
        }
    }

    /// The connection breaks.
    fn lose(&mut self, connection: ConnectionId) {
        if self.peers.remove(&connection).is_some() {
            let lost = Input::Closed(Closed::TimedOut);
            self.relay.handle_input(self.now, connection, lost);
            self.pump();
        }
    }

    /// The far end closes its session.
    fn leave(&mut self, connection: ConnectionId) {
        let now = self.now;
        let peer = self.peers.get_mut(&connection);
        if let Some(Peer {
            far: Far::Session(app),
            ..
        }) = peer
        {
            app.session().close(now, SessionCode::NoError, "bye");
            self.pump_far(connection);
            self.settle();
        }
        self.lose(connection);
    }

    // What moves.

    fn tell(&mut self, connection: ConnectionId, told: Vec<Told>) {
        for (side, input) in told {
            if side == NEAR {
                self.relay.handle_input(self.now, connection, input);
                continue;
            }
            if let Input::Closed(Closed::ByPeer { code, reason }) = &input {
                self.assert_fair(connection, *code, reason);
            }
            let peer = self.peers.get_mut(&connection);
            if let Some(Peer {
                far: Far::Session(app),
                ..
            }) = peer
            {
                app.peer.handle_input(self.now, input);
                self.pump_far(connection);
            }
        }
    }

    fn pump_far(&mut self, connection: ConnectionId) {
        let Some(peer) = self.peers.get_mut(&connection) else {
            return;
        };
        let Far::Session(app) = &mut peer.far else {
            return;
        };
        let end = peer.cable.end(FAR);
        pump(app, end, self.now, &mut self.budget);
        while app.hear() {
            self.budget.step();
            pump(app, end, self.now, &mut self.budget);
        }
        let failure = app.session().failure();
        let failure = failure.filter(|(code, _)| *code != SessionCode::GoAwayTimeout);
        assert_eq!(failure, None, "the relay is accused");
    }

    /// Carries out all that the relay wants.
    fn pump(&mut self) {
        while let Some(connection) = self.relay.poll_dirty() {
            self.budget.step();
            while let Some(output) = self.relay.poll_output(self.now, connection) {
                self.budget.step();
                let is_close = matches!(output, Output::Close { .. });
                let Some(peer) = self.peers.get_mut(&connection) else {
                    continue;
                };
                if let Some(answer) = peer.cable.end(NEAR).carry_out(output) {
                    self.relay.handle_answer(self.now, connection, answer);
                }
                if is_close {
                    let closed = Input::Closed(Closed::ByUs);
                    self.relay.handle_input(self.now, connection, closed);
                }
            }
            if let Some(Peer {
                cable,
                far: Far::Raw(_),
            }) = self.peers.get_mut(&connection)
            {
                let inputs = cable.end(NEAR).ignore();
                self.tell(connection, on(NEAR, inputs));
            }
        }
    }

    /// Everything that may arrive does, until nothing moves.
    fn settle_as_it_is(&mut self) {
        loop {
            self.pump();
            let under_way = |(connection, peer): (&ConnectionId, &mut Peer)| {
                let from = [FAR, NEAR]
                    .into_iter()
                    .find(|from| peer.cable.under_way(*from) > 0)?;
                Some((*connection, from))
            };
            let Some((connection, from)) = self.peers.iter_mut().find_map(under_way) else {
                return;
            };
            while let Some(peer) = self.peers.get_mut(&connection)
                && peer.cable.under_way(from) > 0
            {
                self.budget.step();
                let told = peer.cable.deliver(from, 0);
                self.tell(connection, told);
            }
        }
    }

    /// The transports take everything, and all of it arrives.
    fn settle(&mut self) {
        let connections: Vec<ConnectionId> = self.peers.keys().copied().collect();
        for connection in connections {
            for side in [NEAR, FAR] {
                let Some(peer) = self.peers.get_mut(&connection) else {
                    continue;
                };
                if !peer.cable.end(side).is_over() {
                    let inputs = peer.cable.end(side).set(EASY);
                    self.tell(connection, on(side, inputs));
                }
            }
        }
        self.settle_as_it_is();
    }

    /// Time passes while nothing is under way, with deadlines kept.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let sessions = self.peers.values().filter_map(|peer| match &peer.far {
                Far::Session(app) => app.peer.poll_timeout(),
                Far::Raw(_) => None,
            });
            let next = self.relay.poll_timeout().into_iter().chain(sessions).min();
            let Some((at, _)) = next.filter(|(at, _)| *at <= end) else {
                break;
            };
            self.budget.step();
            self.now = self.now.max(at);
            self.relay.handle_timeout(self.now);
            let connections: Vec<ConnectionId> = self.peers.keys().copied().collect();
            for connection in connections {
                if let Some(Peer {
                    far: Far::Session(app),
                    ..
                }) = self.peers.get_mut(&connection)
                {
                    app.peer.handle_timeout(self.now);
                }
                self.pump_far(connection);
            }
            self.settle();
        }
        self.now = end;
    }

    // What must be so.

    /// A correct session is closed only for what it may be closed for.
    fn assert_fair(&self, connection: ConnectionId, code: u64, reason: &[u8]) {
        let Some(Peer {
            far: Far::Session(app),
            ..
        }) = self.peers.get(&connection)
        else {
            return;
        };
        let Some(draft) = app.peer.session_ref().draft() else {
            return;
        };
        let code = SessionCode::from_wire(draft, code);
        assert!(
            matches!(code, SessionCode::NoError | SessionCode::GoAwayTimeout),
            "a correct session is closed: {code}, {}",
            reason.escape_ascii()
        );
    }

    fn assert_bounded(&self) {
        let ledger = self.relay.ledger();
        assert!(ledger.used() <= ledger.limit() + SMALL_THINGS, "{ledger:?}");
        let reservations = self.relay.reservations();
        assert!(reservations.reserved() <= reservations.limit());
    }

    /// Everybody leaves, and nothing is left.
    fn end(mut self) {
        let connections: Vec<ConnectionId> = self.peers.keys().copied().collect();
        for (index, connection) in connections.into_iter().enumerate() {
            if index % 2 == 0 {
                self.leave(connection);
            } else {
                self.lose(connection);
            }
        }
        self.peers.clear();
        self.pump();
        // What is cached is forgotten too, in time.
        self.pass(CACHE_AGE);
        assert_eq!(self.relay.ledger().used(), 0);
        assert_eq!(self.relay.reservations().reserved(), 0);
        assert_eq!(self.relay.poll_timeout(), None);
    }
}

fn on(side: usize, inputs: Vec<Input>) -> Vec<Told> {
    inputs.into_iter().map(|input| (side, input)).collect()
}
