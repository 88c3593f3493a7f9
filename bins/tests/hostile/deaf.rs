//! Peers that want everything and take nothing: they do not read, or do not even acknowledge.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use oxymoq_core::code::{DoneCode, SessionCode};
use oxymoq_core::draft::Draft;
use oxymoq_core::runtime::TransportSettings;
use oxymoq_core::transport::{ConnectionId, Dir, StreamId};
use oxymoq_core::wire::name::TrackNamespace;
use oxymoq_core::wire::property::Properties;
use oxymoq_core::wire::varint;

use crate::bystander;
use crate::case::Case;
use crate::dialect::{self, Talk, long_namespace, long_track};
use crate::proxy::{Link, Proxy};
use crate::streams::{BOTH, draft, header};
use crate::wire::{Attack, News, Over, Wire};
use crate::{cases, cases_in_webtransport};

cases! {
    answers_that_nobody_reads
    data_that_nobody_reads
    acknowledgements_that_end
}

cases_in_webtransport! {
    answers_that_nobody_reads
    data_that_nobody_reads
}

/// Little fits into the windows of who does not read.
fn small_windows() -> TransportSettings {
    TransportSettings {
        receive_window: 64 << 10,
        publisher_window: 64 << 10,
        stream_window: 16 << 10,
        ..TransportSettings::default()
    }
}

/// Who wants to be told of every namespace and never reads of any, and somebody who makes ever more of them.
struct DeafToAnswers {
    deaf: Vec<ConnectionId>,
    talker: Option<Talk>,
}

/// Requests under way at once.
const AT_ONCE: usize = 16;

impl Attack for DeafToAnswers {
    fn begin(&mut self, wire: &mut Wire) {
        for alpn in BOTH {
            let connection = wire.connect(alpn);
            wire.go_deaf(connection, Dir::Bi);
            let mut talk = Talk::begin(wire, connection, draft(alpn));
            // The credit of draft 16 is not known yet, but there is some.
            talk.ask(wire, |id| {
                dialect::subscribe_namespace(id, TrackNamespace::default())
            });
            self.deaf.push(connection);
        }
        let connection = wire.connect(Draft::D18.profile().alpn);
        self.talker = Some(Talk::begin(wire, connection, Draft::D18));
    }

    fn hear(&mut self, wire: &mut Wire, connection: ConnectionId, news: &News) {
        let Some(talk) = self.talker.as_mut() else {
            return;
        };
        if talk.connection != connection {
            return;
        }
        talk.hear(news);
        while wire.is_open(connection) && wire.waiting(connection) < AT_ONCE {
            let turn = talk.asked();
            talk.ask(wire, |id| {
                dialect::publish_namespace(id, long_namespace(b"deaf", turn))
            });
        }
    }

    fn transport(&self) -> TransportSettings {
        small_windows()
    }

    fn state(&self) -> String {
        format!("{:?}", self.talker)
    }

    fn is_over(&self, wire: &Wire) -> bool {
        self.deaf
            .iter()
            .all(|connection| !wire.is_open(*connection))
    }
}

fn answers_that_nobody_reads(runtime: &str, over: Over, _scale: u64) {
    let case = Case {
        name: "answers that nobody reads",
        runtime,
        over,
        flags: "--max_control_backlog 64K",
        tables: 0,
    };
    let deaf = DeafToAnswers {
        deaf: Vec::new(),
        talker: None,
    };
    let (_, seen) = case.withstand(deaf);
    let code = SessionCode::ControlMessageTimeout.to_wire(Draft::D18);
    assert_eq!(seen.closed.get(&code), Some(&2), "{seen:?}");
    assert_eq!(seen.lost, 0, "{seen:?}");
}

/// Who subscribes to a loud track and never reads an object of it: one of each draft.
struct DeafToData {
    speakers: Vec<Talk>,
    deaf: Vec<Talk>,
    /// Bytes that each speaker sends.
    bytes: usize,
}

/// Of an object of a loud track.
const LOUD: usize = 16 << 10;

impl DeafToData {
    /// Objects one after the other, on a stream for each group of some.
    fn speak(&self, wire: &mut Wire, speaker: ConnectionId, draft: Draft) {
        let integers = draft.profile().integers;
        let mut stream: Option<StreamId> = None;
        for number in 0..self.bytes / LOUD {
            if number % 16 == 0 {
                if let Some(stream) = stream {
                    wire.finish(speaker, stream);
                }
                let next = wire.open(speaker, Dir::Uni);
                let group = u64::try_from(number / 16).unwrap();
                wire.write(speaker, next, header(draft, 5, group).freeze());
                stream = Some(next);
            }
            // The distance from the object before, no properties, the length.
            let mut object = bytes::BytesMut::new();
            for number in [0, 0, u64::try_from(LOUD).unwrap()] {
                varint::encode(integers, number, &mut object).unwrap();
            }
            let stream = stream.unwrap();
            wire.write(speaker, stream, object.freeze());
            wire.write(speaker, stream, Bytes::from_static(&[9; LOUD]));
        }
    }
}

impl Attack for DeafToData {
    fn begin(&mut self, wire: &mut Wire) {
        for (alpn, turn) in BOTH.into_iter().zip(0..) {
            let connection = wire.connect(alpn);
            let mut talk = Talk::begin(wire, connection, draft(alpn));
            talk.ask(wire, |id| {
                let name = long_track(b"loud", turn);
                dialect::publish(id, name, 5, Properties::default())
            });
            self.speakers.push(talk);
        }
    }

    fn hear(&mut self, wire: &mut Wire, connection: ConnectionId, news: &News) {
        let is_it = |talk: &Talk| talk.connection == connection;
        if let Some(at) = self.speakers.iter().position(is_it) {
            let talk = self.speakers.get_mut(at).unwrap();
            let granted = talk.answers.granted;
            talk.hear(news);
            if granted == 0 && talk.answers.granted == 1 {
                let alpn = BOTH.get(at).unwrap();
                let connection = wire.connect(alpn);
                wire.go_deaf(connection, Dir::Uni);
                let mut talk = Talk::begin(wire, connection, draft(alpn));
                talk.ask(wire, |id| {
                    dialect::subscribe(id, long_track(b"loud", u64::try_from(at).unwrap()))
                });
                self.deaf.push(talk);
            }
        }
        if let Some(at) = self.deaf.iter().position(is_it) {
            let talk = self.deaf.get_mut(at).unwrap();
            let granted = talk.answers.granted;
            talk.hear(news);
            let draft = talk.draft;
            if granted == 0 && talk.answers.granted == 1 {
                let speaker = self.speakers.iter().find(|talk| talk.draft == draft);
                let speaker = speaker.unwrap().connection;
                self.speak(wire, speaker, draft);
            }
        }
    }

    fn transport(&self) -> TransportSettings {
        small_windows()
    }

    fn state(&self) -> String {
        format!("{:?} {:?}", self.speakers, self.deaf)
    }

    fn is_over(&self, _wire: &Wire) -> bool {
        let is_done = |talk: &Talk| !talk.answers.done.is_empty();
        self.deaf.len() == BOTH.len() && self.deaf.iter().all(is_done)
    }
}

fn data_that_nobody_reads(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "data that nobody reads",
        runtime,
        over,
        flags: "--max_subscriber_lag 1M --max_backlog 512K --max_pause 500ms",
        tables: 0,
    };
    let deaf = DeafToData {
        speakers: Vec::new(),
        deaf: Vec::new(),
        bytes: (4 << 20) * usize::try_from(scale).unwrap(),
    };
    let (attack, seen) = case.withstand(deaf);
    for talk in &attack.deaf {
        let behind = talk.answers.done.get(&DoneCode::TooFarBehind);
        assert_eq!(behind, Some(&1), "{talk:?}");
    }
    assert!(seen.closed.is_empty() && seen.lost == 0, "{seen:?}");
}

/// Subscribers of the bystanders' track behind a path that ends: the relay goes on sending, and nothing comes back.
struct Vanished {
    proxy: Option<Proxy>,
    talks: Vec<Talk>,
    connections: u64,
}

impl Attack for Vanished {
    fn route(&mut self, relay: u16) -> u16 {
        let relay = SocketAddr::from((Ipv4Addr::LOCALHOST, relay));
        let proxy = Proxy::start(relay, Link::default(), Link::default(), 1);
        self.proxy.insert(proxy).address().port()
    }

    fn begin(&mut self, wire: &mut Wire) {
        for (alpn, _) in BOTH.into_iter().cycle().zip(0..self.connections) {
            let connection = wire.connect(alpn);
            let mut talk = Talk::begin(wire, connection, draft(alpn));
            talk.ask(wire, |id| dialect::subscribe(id, bystander::track()));
            self.talks.push(talk);
        }
    }

    fn hear(&mut self, _wire: &mut Wire, connection: ConnectionId, news: &News) {
        let is_it = |talk: &&mut Talk| talk.connection == connection;
        if let Some(talk) = self.talks.iter_mut().find(is_it) {
            talk.hear(news);
        }
        let is_served = |talk: &Talk| talk.answers.granted == 1;
        if self.talks.iter().all(is_served)
            && let Some(proxy) = &self.proxy
        {
            proxy.silence(true);
        }
    }

    fn state(&self) -> String {
        format!("{:?}", self.talks)
    }

    fn is_over(&self, wire: &Wire) -> bool {
        wire.open_connections() == 0
    }
}

fn acknowledgements_that_end(runtime: &str, over: Over, scale: u64) {
    let connections = 8 * scale.min(3);
    let case = Case {
        name: "acknowledgements that end",
        runtime,
        over,
        flags: "--idle_timeout 3s --keep_alive 1s --max_unacked 64K",
        tables: 0,
    };
    let vanished = Vanished {
        proxy: None,
        talks: Vec::new(),
        connections,
    };
    let (_, seen) = case.withstand(vanished);
    assert_eq!(seen.connected, connections, "{seen:?}");
    assert_eq!(seen.lost, connections, "{seen:?}");
}
