//! FETCH of the date: every past minute is known, so objects are made as they are asked for, never kept.

use std::collections::BTreeMap;

use oxymoq_core::fetches::{Fed, Over, Why};
use oxymoq_core::ledger::Pieces;
use oxymoq_core::publisher::Publisher;
use oxymoq_core::time::Time;
use oxymoq_core::transport::ConnectionId;
use oxymoq_core::wire::id::{GroupId, Location, ObjectId, RequestId, SubgroupId};
use oxymoq_core::wire::object::{FetchEntry, FetchObject};
use oxymoq_core::wire::param::GroupOrder;

use super::{Mode, PRIORITY, properties};
use crate::date::{self, END_OF_MINUTE};

/// The object that ends a group that has all of them.
const WHOLE_GROUP: ObjectId = ObjectId(u64::MAX);

/// What a FETCH of a range comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    first: Location,
    /// The last object, itself included.
    last: Location,
    /// The end as FETCH_OK tells it: the last object plus one, or object 0 for all of a group.
    pub(super) end: Location,
}

impl Range {
    /// The range between two locations as FETCH writes them, of a track whose largest location is this one.
    ///
    /// # Errors
    /// Why there is nothing to be had: the refusal's words.
    pub(super) fn new(
        start: Location,
        end: Location,
        largest: Option<Location>,
    ) -> Result<Self, &'static str> {
        let largest = largest.ok_or("nothing was published yet")?;
        if start > largest {
            return Err("fetch starts in future");
        }
        let asked = match end.object.0.checked_sub(1) {
            Some(last) => Location::new(end.group.0, last),
            None => Location {
                object: WHOLE_GROUP,
                ..end
            },
        };
        if asked < start {
            return Err("No objects");
        }
        if asked <= largest {
            return Ok(Self {
                first: start,
                last: asked,
                end,
            });
        }
        Ok(Self {
            first: start,
            last: largest,
            end: Location::new(largest.group.0, largest.object.0 + 1),
        })
    }
}

/// Where a FETCH is. It yields locations in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    range: Range,
    order: GroupOrder,
    next: Option<Location>,
}

impl Cursor {
    pub(super) fn new(range: Range, order: GroupOrder) -> Self {
        let mut cursor = Self {
            range,
            order,
            next: None,
        };
        let group = match order {
            GroupOrder::Ascending => range.first.group,
            GroupOrder::Descending => range.last.group,
        };
        cursor.next = cursor.first_of(group);
        cursor
    }

    /// The first object of a group that lies in the range and exists; of the next one if it has none.
    fn first_of(&self, group: GroupId) -> Option<Location> {
        let Range { first, last, .. } = self.range;
        let mut group = group;
        while first.group <= group && group <= last.group {
            let at = Location::new(group.0, 0).max(first);
            if at.object < END_OF_MINUTE && at <= last {
                return Some(at);
            }
            group = self.group_after(group)?;
        }
        None
    }

    fn group_after(&self, group: GroupId) -> Option<GroupId> {
        match self.order {
            GroupOrder::Ascending => group.0.checked_add(1),
            GroupOrder::Descending => group.0.checked_sub(1),
        }
        .map(GroupId)
    }
}

impl Iterator for Cursor {
    type Item = Location;

    fn next(&mut self) -> Option<Location> {
        let at = self.next?;
        let following = Location::new(at.group.0, at.object.0 + 1);
        self.next = if following.object < END_OF_MINUTE && following <= self.range.last {
            Some(following)
        } else {
            self.group_after(at.group)
                .and_then(|group| self.first_of(group))
        };
        Some(at)
    }
}

/// The FETCHes that are being answered.
#[derive(Debug, Default)]
pub(super) struct Past {
    cursors: BTreeMap<(ConnectionId, RequestId), Feeding>,
}

#[derive(Debug)]
struct Feeding {
    cursor: Cursor,
    /// What the FETCH had no room for.
    waiting: Option<Location>,
}

impl Past {
    /// A FETCH was accepted.
    pub(super) fn begin(&mut self, connection: ConnectionId, request: RequestId, cursor: Cursor) {
        let feeding = Feeding {
            cursor,
            waiting: None,
        };
        self.cursors.insert((connection, request), feeding);
    }

    /// Gives FETCHes what they have room for, and forgets those that are over.
    pub(super) fn serve(&mut self, now: Time, mode: Mode, publisher: &mut Publisher) {
        while let Some(over) = publisher.poll_fetch_over() {
            self.forget(over);
        }
        while let Some((connection, request)) = publisher.poll_hungry() {
            let Some(feeding) = self.cursors.get_mut(&(connection, request)) else {
                continue;
            };
            if feeding.feed(now, mode, connection, request, publisher) {
                self.cursors.remove(&(connection, request));
            }
        }
    }

    fn forget(&mut self, over: Over) {
        let Over {
            connection,
            request,
            why,
        } = over;
        if let Why::Inexpressible(what) = why {
            log::warn!("{connection}: FETCH {} was broken off: {what}", request.0);
        }
        self.cursors.remove(&(connection, request));
    }
}

impl Feeding {
    /// Feeds as much as is taken. True if that was all.
    fn feed(
        &mut self,
        now: Time,
        mode: Mode,
        connection: ConnectionId,
        request: RequestId,
        publisher: &mut Publisher,
    ) -> bool {
        while let Some(location) = self.waiting.take().or_else(|| self.cursor.next()) {
            let Some(payload) = date::payload(location) else {
                continue; // no calendar goes that far
            };
            let entry = FetchEntry::Object(object(location, mode));
            match publisher.feed_fetch(now, connection, request, entry, &Pieces::from(payload)) {
                Fed::More => {}
                Fed::Enough => return false,
                Fed::Full => {
                    self.waiting = Some(location);
                    return false;
                }
                Fed::Gone => return true,
            }
        }
        publisher.end_fetch(now, connection, request);
        true
    }
}

/// An object as FETCH tells of it: the same as it was, or would have been, when it was live.
fn object(location: Location, mode: Mode) -> FetchObject {
    FetchObject {
        location,
        subgroup: match mode {
            Mode::Spg => Some(SubgroupId(0)),
            Mode::Spo => Some(SubgroupId(location.object.0)),
            Mode::Datagram => None,
        },
        priority: PRIORITY,
        properties: properties(location),
        payload_length: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(group: u64, object: u64) -> Location {
        Location::new(group, object)
    }

    fn walk(start: Location, end: Location, order: GroupOrder) -> Vec<(u64, u64)> {
        let range = Range::new(start, end, Some(at(100, 7))).unwrap();
        Cursor::new(range, order)
            .map(|at| (at.group.0, at.object.0))
            .collect()
    }

    #[test]
    fn a_range_is_cut_at_the_largest_object() {
        let largest = Some(at(100, 7));
        let end = |end| Range::new(at(9, 0), end, largest).unwrap().end;
        assert_eq!(end(at(99, 0)), at(99, 0), "all of a group");
        assert_eq!(end(at(100, 8)), at(100, 8));
        assert_eq!(end(at(100, 9)), at(100, 8));
        assert_eq!(end(at(100, 0)), at(100, 8), "all of the current one");
        assert_eq!(end(at(u64::MAX, 5)), at(100, 8));
    }

    #[test]
    fn ranges_with_nothing_in_them_are_refused() {
        let largest = Some(at(100, 7));
        let refused = |start, end| Range::new(start, end, largest).unwrap_err();
        assert_eq!(refused(at(100, 8), at(100, 9)), "fetch starts in future");
        assert_eq!(refused(at(200, 0), at(300, 0)), "fetch starts in future");
        assert_eq!(refused(at(50, 3), at(50, 3)), "No objects");
        assert!(Range::new(at(0, 0), at(1, 0), None).is_err());
    }

    #[test]
    fn groups_come_in_either_order_and_objects_always_ascend() {
        let ascending = walk(at(5, 59), at(7, 2), GroupOrder::Ascending);
        assert_eq!(ascending.len(), 2 + 61 + 2);
        assert_eq!(ascending[..3], [(5, 59), (5, 60), (6, 0)]);
        assert_eq!(ascending[62..], [(6, 60), (7, 0), (7, 1)]);
        let descending = walk(at(5, 59), at(7, 2), GroupOrder::Descending);
        assert_eq!(descending[..3], [(7, 0), (7, 1), (6, 0)]);
        assert_eq!(descending[62..], [(6, 60), (5, 59), (5, 60)]);
    }

    #[test]
    fn the_end_of_a_group_is_no_object() {
        assert_eq!(walk(at(5, 61), at(5, 0), GroupOrder::Ascending), []);
        assert_eq!(
            walk(at(5, 61), at(6, 1), GroupOrder::Ascending),
            [(6, 0)],
            "of the next group there is one"
        );
        assert_eq!(walk(at(5, 61), at(6, 1), GroupOrder::Descending), [(6, 0)]);
        assert_eq!(walk(at(4, 70), at(5, 0), GroupOrder::Ascending).len(), 61);
    }

    #[test]
    fn all_minutes_since_the_epoch_take_no_memory() {
        let range = Range::new(at(0, 0), at(u64::MAX, 0), Some(at(29_000_000, 30))).unwrap();
        let mut cursor = Cursor::new(range, GroupOrder::Descending);
        assert_eq!(cursor.next(), Some(at(29_000_000, 0)));
        let mut cursor = Cursor::new(range, GroupOrder::Ascending);
        assert_eq!(cursor.nth(61), Some(at(1, 0)));
    }
}
