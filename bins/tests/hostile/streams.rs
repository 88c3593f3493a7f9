//! Streams that say nothing, or nothing of use, or never enough; and datagrams.

use std::collections::BTreeSet;

use bytes::{BufMut as _, Bytes, BytesMut};
use oxymoq_core::code::{RequestCode, ResetCode, SessionCode};
use oxymoq_core::draft::Draft;
use oxymoq_core::transport::{ConnectionId, Dir};
use oxymoq_core::wire::id::{GroupId, SubgroupId, TrackAlias};
use oxymoq_core::wire::object::{SubgroupHeader, encode_subgroup_header};
use oxymoq_core::wire::property::Properties;
use oxymoq_core::wire::varint;

use crate::case::Case;
use crate::dialect::{self, Talk, long_namespace, long_track};
use crate::wire::{Attack, News, Over, Turns, Wire};
use crate::{cases, cases_in_webtransport};

cases! {
    streams_that_say_nothing
    data_of_unknown_tracks
    messages_that_never_end
    objects_that_never_end
    one_byte_at_a_time
    datagrams_without_end
}

cases_in_webtransport! {
    streams_that_say_nothing
    data_of_unknown_tracks
    messages_that_never_end
    one_byte_at_a_time
    datagrams_without_end
}

pub(crate) const BOTH: [&str; 2] = ["moqt-18", "moqt-16"];

pub(crate) fn draft(alpn: &str) -> Draft {
    Draft::from_alpn(alpn.as_bytes()).unwrap()
}

/// EXCESSIVE_LOAD on a stream; in draft 16 CANCELLED.
fn load(alpn: &str) -> u64 {
    ResetCode::ExcessiveLoad.to_wire(draft(alpn))
}

/// Streams of both kinds with the first byte of an integer that has eight or nine.
fn streams_that_say_nothing(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "silent streams",
        runtime,
        over,
        flags: "--max_silent_streams 16",
        tables: 0,
    };
    let silence = Bytes::from_static(b"\xff");
    let turns = Turns::new(
        &BOTH,
        |wire: &mut Wire, connection, alpn, turn| {
            if turn == 0 {
                Talk::begin(wire, connection, draft(alpn));
            }
            for dir in [Dir::Bi, Dir::Uni] {
                let stream = wire.open(connection, dir);
                wire.write(connection, stream, silence.clone());
            }
            turn < 200 * scale
        },
        |wire: &Wire| {
            BOTH.iter()
                .all(|alpn| wire.seen.stops.contains_key(&load(alpn)))
        },
    );
    let (_, seen) = case.withstand(turns);
    assert_eq!(seen.connected, 2, "{seen:?}");
    assert!(seen.closed.is_empty() && seen.lost == 0, "{seen:?}");
}

/// Objects of tracks that were never agreed on, on streams and in datagrams.
fn data_of_unknown_tracks(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "unknown aliases",
        runtime,
        over,
        flags: "--max_early_streams 8 --max_early_datagrams 8 --early_data_timeout 500ms",
        tables: 0,
    };
    let turns = Turns::new(
        &BOTH,
        |wire: &mut Wire, connection, alpn, turn| {
            let draft = draft(alpn);
            if turn == 0 {
                Talk::begin(wire, connection, draft);
            }
            let stream = wire.open(connection, Dir::Uni);
            let mut bytes = header(draft, 1000 + turn, 1);
            bytes.put_bytes(7, 3000);
            wire.write(connection, stream, bytes.freeze());
            for _ in 0..20 {
                wire.datagram(connection, datagram(1000 + turn));
            }
            turn < 60 * scale
        },
        |wire: &Wire| {
            BOTH.iter()
                .all(|alpn| wire.seen.stops.contains_key(&load(alpn)))
        },
    );
    let (_, seen) = case.withstand(turns);
    assert!(seen.closed.is_empty() && seen.lost == 0, "{seen:?}");
}

/// The beginning of a subgroup's stream.
pub(crate) fn header(draft: Draft, alias: u64, group: u64) -> BytesMut {
    let mut bytes = BytesMut::new();
    let header = SubgroupHeader {
        group: GroupId(group),
        subgroup: SubgroupId(0),
        priority: None,
        end_of_group: false,
        first_object: false,
    };
    let alias = TrackAlias(alias);
    encode_subgroup_header(draft.profile(), alias, &header, true, &mut bytes).unwrap();
    bytes
}

/// An object in a datagram: type, alias, group, object, priority, payload; in the integers that both drafts write alike.
fn datagram(alias: u64) -> Bytes {
    datagram_of(alias % 60, 1, 1)
}

fn datagram_of(alias: u64, group: u64, object: u64) -> Bytes {
    let mut bytes = BytesMut::from(&b"\x00"[..]);
    for number in [alias, group, object] {
        assert!(number < 64, "{number}");
        bytes.put_u8(u8::try_from(number).unwrap());
    }
    bytes.put_u8(0x80);
    bytes.put_bytes(3, 1000);
    bytes.freeze()
}

/// Requests as long as messages may be, without their last byte, on one stream after the other.
fn messages_that_never_end(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "unfinished messages",
        runtime,
        over,
        flags: "--max_unfinished_messages 256K",
        tables: 0,
    };
    // SUBSCRIBE in both drafts, or, where that belongs on the control stream, SUBSCRIBE_NAMESPACE.
    let turns = Turns::new(
        &BOTH,
        |wire: &mut Wire, connection, alpn, turn| {
            let draft = draft(alpn);
            if turn == 0 {
                Talk::begin(wire, connection, draft);
            }
            let kind = if draft == Draft::D18 { 0x3 } else { 0x11 };
            let mut bytes = BytesMut::from(&[kind, 0xff, 0xff][..]);
            bytes.put_bytes(1, 65_000);
            let stream = wire.open(connection, Dir::Bi);
            wire.write(connection, stream, bytes.freeze());
            turn < 20 * scale
        },
        |wire: &Wire| wire.open_connections() == 0,
    );
    let (_, seen) = case.withstand(turns);
    let code = SessionCode::InternalError.to_wire(Draft::D18);
    assert_eq!(seen.closed.get(&code), Some(&2), "{seen:?}");
}

/// A published track with objects whose lengths are as large as numbers get: of the payload, and of the properties.
struct Giants {
    talks: Vec<Talk>,
    bytes: u64,
}

impl Attack for Giants {
    fn begin(&mut self, wire: &mut Wire) {
        for (alpn, turn) in BOTH.into_iter().zip(0..) {
            let connection = wire.connect(alpn);
            let mut talk = Talk::begin(wire, connection, draft(alpn));
            // The credit of draft 16 is not known yet, but there is some.
            talk.ask(wire, |id| {
                let name = long_track(b"giant", turn);
                dialect::publish(id, name, 5, Properties::default())
            });
            self.talks.push(talk);
        }
    }

    fn hear(&mut self, wire: &mut Wire, connection: ConnectionId, news: &News) {
        let Some(talk) = self
            .talks
            .iter_mut()
            .find(|talk| talk.connection == connection)
        else {
            return;
        };
        let granted = talk.answers.granted;
        talk.hear(news);
        if granted == 0 && talk.answers.granted == 1 {
            let integers = talk.draft.profile().integers;
            for (properties, payload) in [(0, (1 << 62) - 1), ((1 << 62) - 1, 0)] {
                let stream = wire.open(connection, Dir::Uni);
                let mut bytes = header(talk.draft, 5, 1);
                for number in [0, properties, payload] {
                    varint::encode(integers, number, &mut bytes).unwrap();
                }
                wire.write(connection, stream, bytes.freeze());
                for _ in 0..self.bytes >> 16 {
                    wire.write(connection, stream, Bytes::from_static(&[9; 1 << 16]));
                }
            }
        }
    }

    fn state(&self) -> String {
        format!("{:?}", self.talks)
    }

    /// The streams with the giant properties are stopped: nothing may be as long as that. The others go on, since of an
    /// object no more is kept than what arrived and is wanted.
    fn is_over(&self, wire: &Wire) -> bool {
        let is_done = |talk: &Talk| wire.waiting(talk.connection) == 0;
        let mut alpns = BOTH.iter();
        self.talks.iter().all(is_done)
            && alpns.all(|alpn| wire.seen.stops.contains_key(&load(alpn)))
    }
}

fn objects_that_never_end(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "objects and properties without end",
        runtime,
        over,
        flags: "",
        tables: 0,
    };
    let giants = Giants {
        talks: Vec::new(),
        bytes: (4 << 20) * scale,
    };
    let (giants, seen) = case.withstand(giants);
    assert!(giants.talks.iter().all(|talk| talk.answers.granted == 1));
    assert!(seen.closed.is_empty() && seen.lost == 0, "{seen:?}");
}

/// Requests of several kilobytes, a byte at a time: slow, but nothing is wrong with them.
struct Loris {
    talks: Vec<Talk>,
    requests: u64,
}

impl Attack for Loris {
    fn begin(&mut self, wire: &mut Wire) {
        for alpn in BOTH {
            let connection = wire.connect(alpn);
            wire.write_in_pieces(connection, 1);
            let talk = Talk::begin(wire, connection, draft(alpn));
            self.talks.push(talk);
        }
    }

    fn hear(&mut self, wire: &mut Wire, connection: ConnectionId, news: &News) {
        let Some(talk) = self
            .talks
            .iter_mut()
            .find(|talk| talk.connection == connection)
        else {
            return;
        };
        talk.hear(news);
        while talk.may_ask() && talk.asked() < self.requests {
            let turn = talk.asked();
            talk.ask(wire, |id| match turn % 2 {
                0 => dialect::subscribe(id, long_track(b"nobody", turn)),
                _ => dialect::publish_namespace(id, long_namespace(b"slow", turn)),
            });
        }
    }

    fn state(&self) -> String {
        format!("{:?}", self.talks)
    }

    fn is_over(&self, _wire: &Wire) -> bool {
        self.talks
            .iter()
            .all(|talk| talk.answers.total() == self.requests)
    }
}

fn one_byte_at_a_time(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "one byte at a time",
        runtime,
        over,
        flags: "",
        tables: 0,
    };
    let loris = Loris {
        talks: Vec::new(),
        requests: 2 * scale,
    };
    let (loris, seen) = case.withstand(loris);
    assert!(seen.closed.is_empty(), "{seen:?}");
    for talk in &loris.talks {
        assert_eq!(talk.answers.granted, scale, "{talk:?}");
        let unknown = talk.answers.refused_with(RequestCode::DoesNotExist);
        assert_eq!(unknown, scale, "{talk:?}");
    }
}

/// Datagrams of a track that is published, faster than they can be passed on, and datagrams that are none.
struct Gusts {
    publishers: Vec<Talk>,
    subscribers: Vec<Talk>,
    /// How many gusts each publisher has sent, and how many are wanted.
    blown: Vec<u64>,
    wanted: u64,
    /// Those who send what is no datagram.
    babblers: BTreeSet<ConnectionId>,
}

/// Datagrams that are sent at once.
const GUST: u64 = 100;

impl Attack for Gusts {
    fn begin(&mut self, wire: &mut Wire) {
        for (alpn, turn) in BOTH.into_iter().zip(0..) {
            let connection = wire.connect(alpn);
            let mut talk = Talk::begin(wire, connection, draft(alpn));
            talk.ask(wire, |id| {
                let name = long_track(b"gusts", turn);
                dialect::publish(id, name, 5, Properties::default())
            });
            self.publishers.push(talk);
            let connection = wire.connect(alpn);
            Talk::begin(wire, connection, draft(alpn));
            self.babblers.insert(connection);
        }
    }

    fn hear(&mut self, wire: &mut Wire, connection: ConnectionId, news: &News) {
        if self.babblers.contains(&connection) && wire.waiting(connection) == 0 {
            // The first byte is of a type that there is not.
            wire.datagram(connection, Bytes::from_static(&[0x3f; 1000]));
        }
        let is_it = |talk: &&mut Talk| talk.connection == connection;
        let mut at = None;
        if let Some(talk) = self.subscribers.iter_mut().find(is_it) {
            talk.hear(news);
            let is_of = |other: &Talk| other.draft == talk.draft;
            at = self.publishers.iter().position(is_of);
        }
        let is_it = |talk: &Talk| talk.connection == connection;
        let Some(at) = at.or_else(|| self.publishers.iter().position(is_it)) else {
            return;
        };
        let talk = self.publishers.get_mut(at).unwrap();
        if is_it(talk) {
            let granted = talk.answers.granted;
            talk.hear(news);
            if granted == 0 && talk.answers.granted == 1 {
                let alpn = BOTH.get(at).unwrap();
                let connection = wire.connect(alpn);
                let mut subscriber = Talk::begin(wire, connection, draft(alpn));
                let name = long_track(b"gusts", u64::try_from(at).unwrap());
                subscriber.ask(wire, |id| dialect::subscribe(id, name));
                self.subscribers.push(subscriber);
            }
        }
        let mut subscribers = self.subscribers.iter();
        let is_wanted = subscribers.any(|it| it.draft == talk.draft && it.answers.granted == 1);
        let blown = self.blown.get_mut(at).unwrap();
        // More than are wanted until something has come through: nothing promises that of any one datagram.
        let is_enough = *blown >= self.wanted && wire.seen.datagrams > 0;
        if is_wanted && !is_enough && wire.waiting(talk.connection) == 0 {
            let group = *blown % 60;
            *blown += 1;
            for number in 0..GUST {
                let bytes = datagram_of(5, group, number % 60);
                wire.datagram(talk.connection, bytes);
            }
        }
    }

    fn state(&self) -> String {
        format!("{:?}, {:?}", self.blown, self.publishers)
    }

    fn is_over(&self, wire: &Wire) -> bool {
        let is_done = |talk: &Talk| wire.waiting(talk.connection) == 0;
        let is_violation = |draft| SessionCode::ProtocolViolation.to_wire(draft);
        self.blown.iter().all(|blown| *blown >= self.wanted)
            && wire.seen.datagrams > 0
            && self.publishers.iter().all(is_done)
            && self.subscribers.len() == 2
            && self
                .subscribers
                .iter()
                .all(|talk| talk.answers.granted == 1)
            && wire.seen.closed.get(&is_violation(Draft::D18)) == Some(&2)
    }
}

fn datagrams_without_end(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "datagram flood",
        runtime,
        over,
        flags: "--max_datagrams_per_track 16 --max_datagram_backlog 16",
        tables: 0,
    };
    let gusts = Gusts {
        publishers: Vec::new(),
        subscribers: Vec::new(),
        blown: vec![0; 2],
        wanted: 10 * scale,
        babblers: BTreeSet::new(),
    };
    let (_, seen) = case.withstand(gusts);
    assert_eq!(seen.connected, 6, "{seen:?}");
    assert!(seen.datagrams > 0, "{seen:?}");
    assert_eq!(seen.closed.values().sum::<u64>(), 2, "{seen:?}");
    assert_eq!(seen.lost, 0, "{seen:?}");
}
