//! Request ids (§ Request ID): ours in sequence, the peer's checked; and the credit that limits them.

use std::collections::{BTreeMap, BTreeSet};

use super::close::Close;
use super::settings::Role;
use crate::code::SessionCode;
use crate::wire::id::RequestId;

const fn first(role: Role) -> u64 {
    match role {
        Role::Client => 0,
        Role::Server => 1,
    }
}

/// Our own ids, and how far the peer lets them go.
#[derive(Debug)]
pub(super) struct OwnIds {
    next: u64,
    /// Ids below this are allowed; `None`: the draft limits streams, not ids.
    limit: Option<u64>,
    /// The limit at which we told the peer that we are blocked.
    told_blocked: Option<u64>,
}

impl OwnIds {
    pub(super) const fn new(role: Role, limit: Option<u64>) -> Self {
        Self {
            next: first(role),
            limit,
            told_blocked: None,
        }
    }

    /// The id that the next request will have, if the peer allows it.
    pub(super) fn peek(&self) -> Option<RequestId> {
        let allowed = self.limit.is_none_or(|limit| self.next < limit);
        allowed.then_some(RequestId(self.next))
    }

    /// How many ids are left; `None`: the draft does not limit them.
    pub(super) fn credit(&self) -> Option<u64> {
        Some(self.limit?.saturating_sub(self.next).div_ceil(2))
    }

    /// Uses up the id of [`OwnIds::peek`].
    pub(super) const fn advance(&mut self) {
        self.next = self.next.saturating_add(2);
    }

    /// Whether we ever used this id.
    pub(super) const fn was_used(&self, id: RequestId) -> bool {
        id.0 & 1 == self.next & 1 && id.0 < self.next
    }

    /// Whether an id has our parity.
    pub(super) const fn is_ours(&self, id: RequestId) -> bool {
        id.0 & 1 == self.next & 1
    }

    /// The limit that the peer's SETUP told.
    pub(super) const fn start(&mut self, limit: u64) {
        if self.limit.is_some() {
            self.limit = Some(limit);
        }
    }

    /// The peer raises the limit.
    pub(super) fn raise(&mut self, limit: u64) -> Result<(), Close> {
        if self.limit.is_some_and(|old| limit <= old) {
            return Err(Close::violation("V31: MAX_REQUEST_ID does not increase"));
        }
        self.limit = Some(limit);
        Ok(())
    }

    /// The limit to complain about, at most once for each value.
    pub(super) fn blocked(&mut self) -> Option<u64> {
        let limit = self.limit?;
        if self.told_blocked == Some(limit) {
            return None;
        }
        self.told_blocked = Some(limit);
        Some(limit)
    }
}

/// What a new id of the peer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// No earlier id is missing.
    Complete,
    /// An earlier id has not arrived yet.
    Gap,
}

/// Ids of the peer that were used: ranges, so that a peer that counts properly costs one entry.
#[derive(Debug)]
pub(super) struct PeerIds {
    parity: u64,
    /// Start and end (exclusive) of ranges of indexes, `id / 2`.
    ranges: BTreeMap<u64, u64>,
    max_ranges: usize,
    /// Indexes below this get the benefit of the doubt, since gaps among them were forgotten.
    forgotten_below: u64,
    credit: Option<Credit>,
}

/// How many ids the peer may use (drafts up to 16).
#[derive(Debug)]
struct Credit {
    /// How many requests may be open at once.
    window: u64,
    /// Told to the peer, in indexes.
    granted: u64,
    /// How many requests are over, and so replaced.
    finished: u64,
}

impl PeerIds {
    /// `window`: how many requests the peer may have open, where the draft limits them by id.
    pub(super) fn new(role_of_peer: Role, window: Option<u64>, max_ranges: usize) -> Self {
        Self {
            parity: first(role_of_peer),
            ranges: BTreeMap::new(),
            max_ranges: max_ranges.max(1),
            forgotten_below: 0,
            credit: window.map(|window| Credit {
                window,
                granted: window,
                finished: 0,
            }),
        }
    }

    /// The limit to tell in SETUP: ids below it are allowed.
    pub(super) fn initial_limit(&self) -> Option<u64> {
        let credit = self.credit.as_ref()?;
        Some(credit.granted.saturating_mul(2))
    }

    /// Checks and notes the id of a new request or update. `is_open`: a request has it now.
    pub(super) fn arrive(&mut self, id: RequestId, is_open: bool) -> Result<Arrival, Close> {
        if id.0 & 1 != self.parity {
            return Err(Close::new(
                SessionCode::InvalidRequestId,
                "V27: a request id of wrong parity",
            ));
        }
        let index = id.0 >> 1;
        let is_known = self.contains(index);
        if is_open || is_known && index >= self.forgotten_below {
            return Err(Close::new(
                SessionCode::InvalidRequestId,
                "V28: a request id is used twice",
            ));
        }
        if self
            .credit
            .as_ref()
            .is_some_and(|credit| index >= credit.granted)
        {
            return Err(Close::new(
                SessionCode::TooManyRequests,
                "V30: a request id beyond the allowed maximum",
            ));
        }
        if !is_known {
            self.insert(index);
        }
        Ok(if self.missing() == 0 {
            Arrival::Complete
        } else {
            Arrival::Gap
        })
    }

    /// Whether the peer ever used this id.
    pub(super) fn was_used(&self, id: RequestId) -> bool {
        id.0 & 1 == self.parity && self.contains(id.0 >> 1)
    }

    /// The smallest id of the peer that is larger than all it used (§ GOAWAY, Request ID).
    pub(super) fn next_unseen(&self) -> RequestId {
        let index = self.ranges.last_key_value().map_or(0, |(_, end)| *end);
        RequestId(index.saturating_mul(2).saturating_add(self.parity))
    }

    /// How many ids before the largest are missing.
    pub(super) fn missing(&self) -> u64 {
        let mut missing = 0_u64;
        let mut from = 0;
        for (start, end) in &self.ranges {
            missing = missing.saturating_add(start.saturating_sub(from));
            from = *end;
        }
        missing
    }

    /// Gives up on the missing ids: they count as used.
    pub(super) fn forgive(&mut self) {
        if let Some((_, end)) = self.ranges.pop_last() {
            self.ranges.clear();
            self.ranges.insert(0, end);
            self.forgotten_below = end;
        }
    }

    /// A request of the peer, or an update, is over. Returns the new limit when it is time to tell one.
    pub(super) fn finished(&mut self) -> Option<u64> {
        let credit = self.credit.as_mut()?;
        credit.finished = credit.finished.saturating_add(1);
        let possible = credit.finished.saturating_add(credit.window);
        let gain = possible.saturating_sub(credit.granted);
        if gain < credit.window.div_ceil(2) {
            return None;
        }
        credit.granted = possible;
        Some(credit.granted.saturating_mul(2))
    }

    fn contains(&self, index: u64) -> bool {
        self.ranges
            .range(..=index)
            .next_back()
            .is_some_and(|(_, end)| index < *end)
    }

    fn insert(&mut self, index: u64) {
        let mut start = index;
        let mut end = index.saturating_add(1);
        if let Some((before, before_end)) = self.ranges.range(..index).next_back()
            && *before_end == index
        {
            start = *before;
        }
        if let Some(after_end) = self.ranges.remove(&end) {
            end = after_end;
        }
        self.ranges.insert(start, end);
        // A peer that leaves ever more gaps has the oldest forgotten.
        if self.ranges.len() > self.max_ranges
            && let Some((first, _)) = self.ranges.pop_first()
            && let Some((_, second_end)) = self.ranges.pop_first()
        {
            self.ranges.insert(first, second_end);
            self.forgotten_below = second_end;
        }
    }
}

/// Requests that are over on our side while messages about them may still be on their way (drafts up to 16, where
/// nothing but the id tells what a message belongs to).
#[derive(Debug)]
pub(super) struct Tombstones {
    ids: BTreeSet<RequestId>,
    /// Ids below this were forgotten, and get the benefit of the doubt.
    forgotten_below: RequestId,
    limit: usize,
}

impl Tombstones {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            ids: BTreeSet::new(),
            forgotten_below: RequestId(0),
            limit,
        }
    }

    pub(super) fn insert(&mut self, id: RequestId) {
        self.ids.insert(id);
        while self.ids.len() > self.limit {
            if let Some(oldest) = self.ids.pop_first() {
                self.forgotten_below =
                    RequestId(oldest.0.saturating_add(1)).max(self.forgotten_below);
            }
        }
    }

    /// Nothing about it can be on its way any more.
    pub(super) fn remove(&mut self, id: RequestId) {
        self.ids.remove(&id);
    }

    pub(super) fn contains(&self, id: RequestId) -> bool {
        id < self.forgotten_below || self.ids.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrival, OwnIds, PeerIds, Tombstones};
    use crate::code::SessionCode;
    use crate::session::settings::Role;
    use crate::wire::id::RequestId;

    #[test]
    fn ids_of_the_peer_may_arrive_in_any_order_but_once() {
        let mut ids = PeerIds::new(Role::Client, None, 8);
        assert_eq!(ids.arrive(RequestId(4), false), Ok(Arrival::Gap));
        assert_eq!(ids.arrive(RequestId(0), false), Ok(Arrival::Gap));
        assert_eq!(ids.missing(), 1);
        assert_eq!(ids.arrive(RequestId(2), false), Ok(Arrival::Complete));
        assert_eq!(ids.ranges.len(), 1);
        assert_eq!(
            ids.arrive(RequestId(2), false).unwrap_err().code,
            SessionCode::InvalidRequestId
        );
        assert_eq!(
            ids.arrive(RequestId(3), false).unwrap_err().code,
            SessionCode::InvalidRequestId
        );
        assert_eq!(ids.next_unseen(), RequestId(6));
    }

    #[test]
    fn ranges_stay_within_their_limit() {
        let mut ids = PeerIds::new(Role::Client, None, 4);
        for index in 0..100 {
            assert!(ids.arrive(RequestId(index * 4), false).is_ok());
            assert!(ids.ranges.len() <= 4);
        }
        // forgotten: a late one is not accused, unless it is plainly used twice
        assert!(ids.arrive(RequestId(2), false).is_ok());
        assert!(ids.arrive(RequestId(2), true).is_err());
        assert!(ids.arrive(RequestId(394), false).is_ok());
        assert!(ids.arrive(RequestId(394), false).is_err());
        assert!(ids.ranges.len() <= 4);
    }

    #[test]
    fn credit_is_renewed_by_half_windows() {
        let mut ids = PeerIds::new(Role::Server, Some(4), 8);
        assert_eq!(ids.initial_limit(), Some(8));
        for id in [1, 3, 5, 7] {
            assert_eq!(ids.arrive(RequestId(id), false), Ok(Arrival::Complete));
        }
        assert_eq!(
            ids.arrive(RequestId(9), false).unwrap_err().code,
            SessionCode::TooManyRequests
        );
        assert_eq!(ids.finished(), None);
        assert_eq!(ids.finished(), Some(12));
        assert!(ids.arrive(RequestId(9), false).is_ok());
    }

    #[test]
    fn own_ids_stop_at_the_peers_limit_and_complain_once() {
        let mut ids = OwnIds::new(Role::Client, Some(0));
        assert_eq!(ids.peek(), None);
        assert_eq!(ids.blocked(), Some(0));
        assert_eq!(ids.blocked(), None);
        assert!(ids.raise(4).is_ok());
        assert!(ids.raise(4).is_err());
        assert_eq!(ids.peek(), Some(RequestId(0)));
        ids.advance();
        ids.advance();
        assert_eq!(ids.peek(), None);
        assert_eq!(ids.blocked(), Some(4));
        assert!(
            ids.was_used(RequestId(2))
                && !ids.was_used(RequestId(4))
                && !ids.was_used(RequestId(1))
        );
    }

    #[test]
    fn forgotten_tombstones_get_the_benefit_of_the_doubt() {
        let mut stones = Tombstones::new(2);
        for id in [0, 2, 4] {
            stones.insert(RequestId(id));
        }
        assert!(stones.contains(RequestId(0)) && stones.contains(RequestId(4)));
        assert!(!stones.contains(RequestId(6)));
        assert_eq!(stones.ids.len(), 2);
    }
}
