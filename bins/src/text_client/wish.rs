//! What the text client is to do.

use std::time::Duration;

use oxymoq_core::wire::id::{GroupId, Location, ObjectId, RequestId};
use oxymoq_core::wire::message::FetchRange;
use oxymoq_core::wire::name::FullTrackName;
use oxymoq_core::wire::param::{Filter, Parameters};

/// The last group that every draft can write: a FETCH without an end goes up to there, and gets what there is.
const LAST_GROUP: GroupId = GroupId((1 << 62) - 1);

/// What to ask for, and for how long.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The track. For [`Job::Publish`] its namespace is the prefix, and an empty name stands for every track.
    pub track: FullTrackName,
    /// Of the subscription: filter, priority, timeouts.
    pub parameters: Parameters,
    /// How to get it.
    pub job: Job,
    /// Unsubscribe this long after the server agreed; `None`: when the track ends.
    pub unsubscribe_after: Option<Duration>,
    /// How long the server may take to answer, or pause while it sends what was fetched.
    pub transaction_timeout: Duration,
}

/// How to get objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// SUBSCRIBE; what is past of the range that the filter asks for comes by a FETCH.
    Subscribe,
    /// A FETCH from this object to the end of a group; `None`: up to what there is.
    Fetch {
        /// The first object.
        start: Location,
        /// The last group.
        end_group: Option<GroupId>,
    },
    /// SUBSCRIBE, with a FETCH from so many groups before the current one.
    JoinBack(u64),
    /// SUBSCRIBE, with a FETCH from this group on.
    JoinAt(u64),
    /// SUBSCRIBE_TRACKS: take what the server publishes.
    Publish,
}

impl Wish {
    /// The range of the past that the filter asks for, if it asks for any: `None` without a start. `largest` is the
    /// largest location of the track.
    pub(super) fn past(&self, largest: Location) -> Option<Past> {
        let (start, end_group) = self.range()?;
        if start > largest {
            return None;
        }
        let is_all = end_group.is_some_and(|end| end < largest.group);
        let end = match end_group {
            Some(group) if is_all => whole(group),
            _ => after(largest),
        };
        Some(Past { start, end, is_all })
    }

    /// All that the filter asks for, as a FETCH's range: for a server that refuses to subscribe to what is past.
    pub(super) fn everything(&self) -> Option<Past> {
        let (start, end_group) = self.range()?;
        let end = whole(end_group.unwrap_or(LAST_GROUP));
        Some(Past {
            start,
            end,
            is_all: true,
        })
    }

    const fn range(&self) -> Option<(Location, Option<GroupId>)> {
        match self.parameters.filter {
            Some(Filter::AbsoluteStart(start)) => Some((start, None)),
            Some(Filter::AbsoluteRange { start, end_group }) => Some((start, Some(end_group))),
            Some(Filter::LargestObject | Filter::NextGroupStart) | None => None,
        }
    }

    /// The range of a FETCH of the past.
    pub(super) fn standalone(&self, past: Past) -> FetchRange {
        FetchRange::Standalone {
            track: self.track.clone(),
            start: past.start,
            end: past.end,
        }
    }
}

impl Job {
    /// The range of the FETCH that the job begins with; `subscription` is its SUBSCRIBE.
    pub(super) fn first_fetch(self, wish: &Wish, subscription: RequestId) -> Option<FetchRange> {
        match self {
            Self::Subscribe | Self::Publish => None,
            Self::Fetch { start, end_group } => Some(wish.standalone(Past {
                start,
                end: whole(end_group.unwrap_or(LAST_GROUP)),
                is_all: true,
            })),
            Self::JoinBack(groups) => Some(FetchRange::RelativeJoining {
                joining_request_id: subscription,
                joining_start: groups,
            }),
            Self::JoinAt(group) => Some(FetchRange::AbsoluteJoining {
                joining_request_id: subscription,
                joining_start: group,
            }),
        }
    }

    /// Whether it is a subscription with a FETCH that joins it.
    pub(super) const fn joins(self) -> bool {
        matches!(self, Self::JoinBack(_) | Self::JoinAt(_))
    }
}

/// The past of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Past {
    start: Location,
    /// As FETCH writes it.
    end: Location,
    /// Whether nothing of the range is still to come.
    pub(super) is_all: bool,
}

/// A FETCH's end, as it is written, for all of a group.
const fn whole(group: GroupId) -> Location {
    Location {
        group,
        object: ObjectId(0),
    }
}

/// A FETCH's end, as it is written, for a range that ends with this object.
const fn after(last: Location) -> Location {
    match last.object.0.checked_add(1) {
        Some(next) => Location {
            group: last.group,
            object: ObjectId(next),
        },
        None => whole(last.group),
    }
}

#[cfg(test)]
mod tests {
    use oxymoq_core::wire::name::{TrackName, TrackNamespace};

    use super::*;

    fn wish(filter: Filter) -> Wish {
        let namespace = TrackNamespace::new(["moq-date"]).unwrap();
        let name = TrackName::new("date").unwrap();
        Wish {
            track: FullTrackName::new(namespace, name).unwrap(),
            parameters: Parameters {
                filter: Some(filter),
                ..Parameters::default()
            },
            job: Job::Subscribe,
            unsubscribe_after: None,
            transaction_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_past_of_a_range_ends_where_the_range_or_the_track_does() {
        let (start, largest) = (Location::new(3, 2), Location::new(5, 7));
        let range = |end_group| {
            wish(Filter::AbsoluteRange {
                start,
                end_group: GroupId(end_group),
            })
        };
        let past = |end, is_all| Some(Past { start, end, is_all });
        let open = wish(Filter::AbsoluteStart(start));
        assert_eq!(open.past(largest), past(Location::new(5, 8), false));
        assert_eq!(range(9).past(largest), past(Location::new(5, 8), false));
        // The group of the largest object may still grow.
        assert_eq!(range(5).past(largest), past(Location::new(5, 8), false));
        assert_eq!(range(4).past(largest), past(Location::new(4, 0), true));
        assert_eq!(range(4).everything(), past(Location::new(4, 0), true));
        assert_eq!(open.past(Location::new(3, 1)), None);
        assert_eq!(
            open.past(start),
            past(Location::new(3, 3), false),
            "the largest object itself is past"
        );
        assert_eq!(wish(Filter::LargestObject).past(largest), None);
        assert_eq!(wish(Filter::LargestObject).everything(), None);
    }
}
