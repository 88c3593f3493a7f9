//! A network and what happens in it, as a plain value.

use std::fmt;
use std::time::Duration;

use crate::draft::Draft;
use crate::wire::id::{GroupId, Location, Millis};
use crate::wire::param::{Filter, GroupOrder};

use super::super::link::Link;
use super::super::network::Access;

/// A network of relays, publishers and subscribers, and what they do.
///
/// Every number that names something is taken modulo how many there are, so that any part of a plan can be left out and
/// what remains is still a plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of the simulated world.
    pub seed: u64,
    /// The relays; all but the first are clients of an earlier one.
    pub relays: Vec<RelayPlan>,
    /// How the relays' transports are set.
    pub transport: TransportPlan,
    /// Bytes of objects that each relay may have in memory; `None`: the usual limit.
    pub memory: Option<usize>,
    /// What else the relays have little of.
    pub limits: LimitsPlan,
    /// What the tracks are like; those without a plan are as [`ShowPlan::default`].
    pub shows: Vec<ShowPlan>,
    /// Who publishes. Those with the same track publish the same objects.
    pub studios: Vec<StudioPlan>,
    /// Who subscribes.
    pub viewers: Vec<ViewerPlan>,
    /// What happens, each so many milliseconds after the one before.
    pub operations: Vec<(u16, Operation)>,
}

impl fmt::Display for Plan {
    /// One line for each part.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, memory) = (self.seed, self.memory);
        writeln!(f, "seed {seed}, memory {memory:?}, {:?}", self.transport)?;
        writeln!(f, "{:?}", self.limits)?;
        for (number, show) in self.shows.iter().enumerate() {
            writeln!(f, "track {number}: {show:?}")?;
        }
        for (number, relay) in self.relays.iter().enumerate() {
            writeln!(f, "relay {number}: {relay:?}")?;
        }
        for (number, studio) in self.studios.iter().enumerate() {
            writeln!(f, "publisher {number}: {studio:?}")?;
        }
        for (number, viewer) in self.viewers.iter().enumerate() {
            writeln!(f, "subscriber {number}: {viewer:?}")?;
        }
        for (after, operation) in &self.operations {
            writeln!(f, "{after:>5} ms: {operation:?}")?;
        }
        Ok(())
    }
}

/// A relay.
#[derive(Clone, Debug)]
pub struct RelayPlan {
    /// The relay that it connects to, of those before it.
    pub parent: u8,
    /// How it talks to that relay.
    pub draft: Draft,
    /// The path there.
    pub path: Path,
}

/// What a track's properties say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShowPlan {
    /// The publisher's delivery timeout in milliseconds; 0: none.
    pub timeout: u16,
    /// Subscribers may ask for a new group.
    pub dynamic: bool,
}

/// What relays have little of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsPlan {
    /// A few FETCHes at once, and one at each publisher.
    pub few_fetches: bool,
    /// What is cached is forgotten after a second.
    pub short_cache: bool,
    /// Of groups that are over, only the last is remembered.
    pub short_past: bool,
}

/// A publisher of one track.
#[derive(Clone, Debug)]
pub struct StudioPlan {
    /// Where it connects to.
    pub relay: u8,
    /// How it talks to that relay.
    pub access: Access,
    /// The path there.
    pub path: Path,
    /// The track.
    pub track: u8,
    /// Besides announcing the namespace it PUBLISHes its track.
    pub pushes: bool,
}

/// A subscriber.
#[derive(Clone, Debug)]
pub struct ViewerPlan {
    /// Where it connects to.
    pub relay: u8,
    /// How it talks to that relay.
    pub access: Access,
    /// The path there.
    pub path: Path,
}

/// A path between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// One way, in milliseconds.
    pub delay: u8,
    /// The most that a piece may be late, in milliseconds.
    pub jitter: u8,
    /// Largest piece in bytes.
    pub piece: u16,
    /// Whether pieces are cut at random.
    pub split: bool,
    /// Whether streams overtake one another.
    pub reorder: bool,
    /// Losses in a thousand.
    pub loss: u8,
    /// Kilobytes a second; 0: no limit.
    pub rate: u8,
}

/// What is unusual about the transports of relays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportPlan {
    /// Windows of a few kilobytes.
    pub small_windows: bool,
    /// A few streams at once.
    pub few_streams: bool,
    /// No more than a few kilobytes on their way to each peer.
    pub small_unacked: bool,
    /// Transports do not tell which of stream and connection is full.
    pub vague: bool,
    /// Nodes hear what arrives between the turns of any two connections, not only once all had theirs.
    pub slow_turns: bool,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The next object of a subgroup of the current group of a track.
    Object {
        /// The track.
        track: u8,
        /// The subgroup; from [`LANES`] on: a datagram.
        lane: u8,
        /// Length in bytes.
        length: u16,
        /// Ids left out before it.
        gap: u8,
        /// Whether it has properties.
        properties: bool,
    },
    /// The current group ends with a marker.
    EndGroup {
        /// The track.
        track: u8,
    },
    /// A subgroup of the current group is complete.
    Finish {
        /// The track.
        track: u8,
        /// The subgroup.
        lane: u8,
    },
    /// A subgroup of the current group is given up.
    Reset {
        /// The track.
        track: u8,
        /// The subgroup.
        lane: u8,
    },
    /// A new group begins.
    NextGroup {
        /// The track.
        track: u8,
        /// Whether open subgroups of the old one are completed first.
        finish: bool,
        /// Group ids left out.
        gap: u8,
    },
    /// The publishers of a track end without a word and begin again, with group 0.
    Restart {
        /// The track.
        track: u8,
        /// Milliseconds until they are back.
        after: u16,
    },
    /// A track is over.
    EndTrack {
        /// The track.
        track: u8,
    },
    /// SUBSCRIBE.
    Subscribe {
        /// Who.
        viewer: u16,
        /// To what.
        track: u8,
        /// How.
        how: Wish,
    },
    /// A request is withdrawn.
    Cancel {
        /// Whose.
        viewer: u16,
        /// Which of its open requests.
        nth: u8,
    },
    /// REQUEST_UPDATE of a subscription.
    Update {
        /// Whose.
        viewer: u16,
        /// Which of its subscriptions.
        nth: u8,
        /// The new Forward State.
        forward: Option<bool>,
        /// The new priority.
        priority: Option<u8>,
        /// Whether a new group is asked for.
        new_group: bool,
    },
    /// FETCH.
    Fetch {
        /// Who.
        viewer: u16,
        /// What.
        track: u8,
        /// How many groups before the current one it starts.
        back: u8,
        /// With which object.
        from: u8,
        /// Of how many groups it wants everything; 0: only up to `to`.
        groups: u8,
        /// The object after the last one, in the group where it starts.
        to: u8,
        /// In descending order.
        descending: bool,
    },
    /// A FETCH that joins a subscription.
    Join {
        /// Who.
        viewer: u16,
        /// Which of its subscriptions.
        nth: u8,
        /// How many groups before the subscription, or the first group.
        groups: u8,
        /// Whether it is counted from the subscription.
        relative: bool,
    },
    /// TRACK_STATUS.
    Status {
        /// Who.
        viewer: u16,
        /// What.
        track: u8,
    },
    /// SUBSCRIBE_NAMESPACE or SUBSCRIBE_TRACKS.
    Watch {
        /// Who.
        viewer: u16,
        /// Whether tracks are to be offered.
        tracks: bool,
    },
    /// Nothing gets through on a connection for a while.
    Stall {
        /// Whose.
        who: Who,
        /// Milliseconds.
        millis: u16,
    },
    /// What a node sends does not arrive any more: a half-open death.
    Mute {
        /// Whose.
        who: Who,
    },
    /// A node ends without a word.
    Crash {
        /// Who.
        who: Who,
    },
    /// A relay shuts down as it should: it asks everybody to leave.
    Retire {
        /// The relay.
        relay: u8,
    },
    /// A client closes its session.
    Leave {
        /// Who.
        who: Who,
    },
    /// Whoever is gone comes back.
    Return {
        /// Who.
        who: Who,
    },
}

/// How many subgroups a group has at most.
pub const LANES: u8 = 3;

/// A node, and its connection towards the first relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A relay.
    Relay(u8),
    /// A publisher.
    Studio(u8),
    /// A subscriber.
    Viewer(u16),
}

/// How somebody subscribes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Which objects.
    pub filter: Which,
    /// Not yet: Forward State 0.
    pub paused: bool,
    /// Subscriber Priority.
    pub priority: Option<u8>,
    /// Newest group first.
    pub descending: bool,
    /// Delivery timeout in milliseconds; 0: none.
    pub timeout: u16,
    /// Wait for a publisher.
    pub rendezvous: bool,
    /// Ask for a new group.
    pub new_group: bool,
}

/// A subscription's filter, relative to the group that is being published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// No filter.
    #[default]
    All,
    /// From the next group on.
    NextGroup,
    /// From the largest object on.
    Largest,
    /// From an object of a group so many after the current one.
    From(u8, u8),
    /// The same up to so many groups later.
    Range(u8, u8, u8),
}

impl Which {
    pub(super) const fn filter(self, group: u64) -> Option<Filter> {
        match self {
            Self::All => None,
            Self::NextGroup => Some(Filter::NextGroupStart),
            Self::Largest => Some(Filter::LargestObject),
            Self::From(groups, object) => Some(Filter::AbsoluteStart(at(group, groups, object))),
            Self::Range(groups, object, more) => {
                let start = at(group, groups, object);
                Some(Filter::AbsoluteRange {
                    start,
                    end_group: GroupId(start.group.0 + widen(more)),
                })
            }
        }
    }
}

const fn at(group: u64, groups: u8, object: u8) -> Location {
    Location::new(group + widen(groups), widen(object))
}

#[expect(clippy::as_conversions, reason = "nothing else widens in a constant")]
const fn widen(number: u8) -> u64 {
    number as u64
}

impl Wish {
    pub(super) fn timeout(&self) -> Option<Millis> {
        (self.timeout > 0).then(|| Millis(u64::from(self.timeout)))
    }

    pub(super) fn order(&self) -> Option<GroupOrder> {
        self.descending.then_some(GroupOrder::Descending)
    }
}

impl Default for Path {
    /// A good one.
    fn default() -> Self {
        Self {
            delay: 5,
            jitter: 0,
            piece: 1200,
            split: false,
            reorder: false,
            loss: 0,
            rate: 0,
        }
    }
}

impl Path {
    /// As the world knows it.
    pub fn link(&self) -> Link {
        Link {
            delay: Duration::from_millis(u64::from(self.delay)),
            jitter: Duration::from_millis(u64::from(self.jitter)),
            rate: (self.rate > 0).then(|| u64::from(self.rate) * 1000),
            max_piece: usize::from(self.piece),
            split: self.split,
            reorder: self.reorder,
            loss: u32::from(self.loss),
            max_datagram: 1200,
        }
    }
}

impl TransportPlan {
    /// Whether it may hold up what is published.
    pub(super) const fn is_small(&self) -> bool {
        self.small_windows || self.few_streams || self.small_unacked
    }
}
