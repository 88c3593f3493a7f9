//! Attacks that do not listen.

use std::collections::{BTreeMap, BTreeSet};

use oxymoq_core::transport::ConnectionId;

use super::{Attack, News, Wire};

/// An attack without ears: on each connection one turn after the other, each begun when the one before is done.
pub(crate) struct Turns<F, O> {
    alpns: Vec<&'static str>,
    /// Takes a turn; false: that was the last one.
    act: F,
    /// Whether what was to be seen of the relay was seen, once the last turn was taken.
    over: O,
    turns: BTreeMap<ConnectionId, u64>,
    acting: BTreeSet<ConnectionId>,
}

impl<F, O> Turns<F, O>
where
    F: FnMut(&mut Wire, ConnectionId, &'static str, u64) -> bool,
    O: Fn(&Wire) -> bool,
{
    pub(crate) fn new(alpns: &[&'static str], act: F, over: O) -> Self {
        Self {
            alpns: alpns.to_vec(),
            act,
            over,
            turns: BTreeMap::new(),
            acting: BTreeSet::new(),
        }
    }
}

impl<F, O> Attack for Turns<F, O>
where
    F: FnMut(&mut Wire, ConnectionId, &'static str, u64) -> bool,
    O: Fn(&Wire) -> bool,
{
    fn begin(&mut self, wire: &mut Wire) {
        for alpn in &self.alpns {
            let connection = wire.connect(alpn);
            self.turns.insert(connection, 0);
            self.acting.insert(connection);
        }
    }

    fn hear(&mut self, wire: &mut Wire, connection: ConnectionId, news: &News) {
        match news {
            News::Settled if self.acting.contains(&connection) => {
                let at = usize::try_from(connection.0).unwrap();
                let alpn = self.alpns.get(at).unwrap();
                let turn = self.turns.get_mut(&connection).unwrap();
                if !(self.act)(wire, connection, alpn, *turn) {
                    self.acting.remove(&connection);
                }
                *turn += 1;
            }
            News::Closed => {
                self.acting.remove(&connection);
            }
            News::Connected | News::Settled | News::Bytes(..) => {}
        }
    }

    fn state(&self) -> String {
        format!("turns {:?}, of which go on {:?}", self.turns, self.acting)
    }

    fn is_over(&self, wire: &Wire) -> bool {
        self.acting.is_empty() && (self.over)(wire)
    }
}
