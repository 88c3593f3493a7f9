//! A FETCH of a peer's: what is asked, what was answered, and what is left to serve.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::fill::FillId;
use super::order::{Rest, last_of};
use crate::ledger::Charge;
use crate::session::Refusal;
use crate::span::{Position, Span, Spans};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::{Location, RequestId};
use crate::wire::name::FullTrackName;
use crate::wire::param::GroupOrder;

#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) name: FullTrackName,
    pub(super) order: GroupOrder,
    pub(super) start: Position,
    pub(super) end: Position,
    pub(super) rest: Rest,
    pub(super) phase: Phase,
    /// Whether some of it was sent.
    pub(super) is_begun: bool,
    /// Whether its stream has room.
    pub(super) hungry: bool,
    /// No objects exist between the last entry and this location, included.
    pub(super) skipped: Option<Location>,
    /// What each publisher could not tell.
    pub(super) failed: BTreeMap<ConnectionId, Spans>,
    /// Updates that are answered after the FETCH itself; the session bounds them.
    pub(super) updates: Vec<RequestId>,
    /// Why the publisher asked last refused.
    pub(super) refusal: Option<Refusal>,
    /// What it waits for, or will.
    pub(super) fills: BTreeSet<FillId>,
    pub(super) patience: Patience,
    pub(super) starved: Option<Starved>,
    /// Its deadline as it is kept.
    pub(super) armed: Option<Time>,
    /// What its name takes.
    _room: Charge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not answered: a publisher is to tell where the range ends, which is asked for from here on.
    Asking(Position),
    /// Answered with FETCH_OK.
    Serving,
}

/// How long it waits for publishers (§ FILL TIMEOUT Parameter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// As long as something comes now and then.
    Usual,
    /// So long in all.
    Limited(Duration),
    /// Not any more: what is not there is unknown.
    Over,
}

/// It cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Starved {
    pub(super) since: Time,
    pub(super) at: Option<Position>,
    pub(super) deadline: Time,
}

impl Fetch {
    pub(super) fn new(
        (name, room): (FullTrackName, Charge),
        order: GroupOrder,
        range: Span,
        timeout: Option<Duration>,
    ) -> Self {
        Self {
            name,
            order,
            start: range.from,
            end: range.to,
            rest: Rest::new(range, order),
            phase: Phase::Asking(range.from),
            is_begun: false,
            hungry: false,
            skipped: None,
            failed: BTreeMap::new(),
            updates: Vec::new(),
            refusal: None,
            fills: BTreeSet::new(),
            patience: match timeout {
                None => Patience::Usual,
                Some(Duration::ZERO) => Patience::Over,
                Some(timeout) => Patience::Limited(timeout),
            },
            starved: None,
            armed: None,
            _room: room,
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// What comes next does not exist.
    pub(super) fn skip(&mut self, span: Span) {
        self.rest.pass(span);
        self.skipped = Some(last_of(span, self.order));
    }

    /// A publisher cannot tell of a span. So many are remembered.
    pub(super) fn fail(&mut self, publisher: ConnectionId, span: Span, most: usize) {
        self.failed
            .entry(publisher)
            .or_insert_with(|| Spans::new(most))
            .insert(span);
    }

    /// Whether a publisher could not tell of a position.
    pub(super) fn has_failed(&self, publisher: ConnectionId, at: Position) -> bool {
        self.failed
            .get(&publisher)
            .is_some_and(|spans| spans.contains(at))
    }

    /// It waits no more, or at another position.
    pub(super) fn fed(&mut self, now: Time) {
        let Some(starved) = self.starved.take() else {
            return;
        };
        if let Patience::Limited(left) = self.patience {
            let left = left.saturating_sub(now.since(starved.since));
            self.patience = if left.is_zero() {
                Patience::Over
            } else {
                Patience::Limited(left)
            };
        }
    }
}
