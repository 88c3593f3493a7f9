//! Connections that come and go, that say nothing, or only the half of what they should.

use std::collections::BTreeSet;

use bytes::Bytes;
use oxymoq_core::code::SessionCode;
use oxymoq_core::draft::Draft;
use oxymoq_core::transport::{ConnectionId, Dir, StreamId};
use oxymoq_core::wire::message::{Channel, Message, Setup};

use crate::case::Case;
use crate::cases;
use crate::dialect::{POISON, Talk};
use crate::wire::{Attack, News, Over, Wire};

cases! {
    connections_that_come_and_go
    half_a_setup
}

/// Connections, so many in all and so many at once, that end as soon as they are there.
struct Churn {
    left: u64,
    at_once: usize,
}

impl Churn {
    fn fill(&mut self, wire: &mut Wire) {
        while self.left > 0 && wire.open_connections() < self.at_once {
            let draft = if self.left.is_multiple_of(2) {
                Draft::D18
            } else {
                Draft::D16
            };
            // Every third is on HTTP/3 and says nothing at all.
            if self.left.is_multiple_of(3) {
                wire.connect("h3");
            } else {
                let connection = wire.connect(draft.profile().alpn);
                Talk::begin(wire, connection, draft);
            }
            self.left -= 1;
        }
    }
}

impl Attack for Churn {
    fn begin(&mut self, wire: &mut Wire) {
        self.fill(wire);
    }

    fn hear(&mut self, wire: &mut Wire, connection: ConnectionId, news: &News) {
        match news {
            News::Connected => wire.close(connection, 0x1_0000),
            News::Closed => self.fill(wire),
            News::Settled | News::Bytes(..) => {}
        }
    }

    fn state(&self) -> String {
        format!("{} to come", self.left)
    }

    fn is_over(&self, wire: &Wire) -> bool {
        self.left == 0 && wire.open_connections() == 0
    }
}

fn connections_that_come_and_go(runtime: &str, over: Over, scale: u64) {
    let case = Case {
        name: "connection churn",
        runtime,
        over,
        flags: "--max_connections 40",
        tables: 0,
    };
    let churn = Churn {
        left: 80 * scale,
        at_once: 20,
    };
    let (_, seen) = case.withstand(churn);
    assert_eq!(seen.connected + seen.refused, 80 * scale, "{seen:?}");
    assert!(seen.connected > 10, "{seen:?}");
}

/// Connections that never complete a SETUP: without a byte, with half of it, and with a byte now and then.
#[derive(Default)]
struct Halves {
    connections: u64,
    dripping: Vec<(ConnectionId, StreamId, Bytes)>,
    silent: BTreeSet<ConnectionId>,
}

impl Attack for Halves {
    fn begin(&mut self, wire: &mut Wire) {
        for turn in 0..self.connections {
            let draft = if turn.is_multiple_of(2) {
                Draft::D18
            } else {
                Draft::D16
            };
            let connection = wire.connect(draft.profile().alpn);
            self.silent.insert(connection);
            if turn % 3 == 0 {
                continue;
            }
            // A message that is as long as messages may be, and is never complete.
            let dir = if draft == Draft::D18 {
                Dir::Uni
            } else {
                Dir::Bi
            };
            let stream = wire.open(connection, dir);
            let setup = setup(draft);
            if turn % 3 == 1 {
                wire.write(connection, stream, setup.slice(..setup.len() / 2));
            } else {
                self.dripping.push((connection, stream, setup));
            }
        }
    }

    fn hear(&mut self, _wire: &mut Wire, connection: ConnectionId, news: &News) {
        if matches!(news, News::Closed) {
            self.silent.remove(&connection);
            self.dripping
                .retain(|(dripping, ..)| *dripping != connection);
        }
    }

    fn tick(&mut self, wire: &mut Wire) {
        for (connection, stream, rest) in &mut self.dripping {
            if rest.len() > 1 && wire.waiting(*connection) == 0 {
                let byte = rest.split_to(1);
                wire.write(*connection, *stream, byte);
            }
        }
    }

    fn state(&self) -> String {
        format!("{:?} are open", self.silent)
    }

    fn is_over(&self, _wire: &Wire) -> bool {
        self.silent.is_empty()
    }
}

/// A long SETUP.
fn setup(draft: Draft) -> Bytes {
    let mut wire = Wire::default();
    let connection = wire.connect(draft.profile().alpn);
    let talk = Talk::begin(&mut wire, connection, draft);
    let setup = Setup {
        implementation: Some(Bytes::from(POISON.repeat(2000))),
        ..Setup::default()
    };
    talk.encode(Channel::Control, &Message::Setup(setup))
}

fn half_a_setup(runtime: &str, over: Over, scale: u64) {
    let connections = 30 * scale.min(3);
    let case = Case {
        name: "half a SETUP",
        runtime,
        over,
        flags: "--setup_timeout 1s",
        tables: 0,
    };
    let halves = Halves {
        connections,
        ..Halves::default()
    };
    let (_, seen) = case.withstand(halves);
    let code = SessionCode::ControlMessageTimeout.to_wire(Draft::D18);
    let closed = seen.closed.get(&code).copied().unwrap_or(0);
    assert!(closed > 0, "{seen:?}");
    assert_eq!(closed + seen.refused, connections, "{seen:?}");
}
