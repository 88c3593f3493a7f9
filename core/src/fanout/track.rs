//! A track in memory while it is live: what was received and is still to be sent, shared by all who read it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::ranges::Ranges;
use super::subgroup::{Images, Subgroup};
use super::{Limits, SourceId};
use crate::code::DoneCode;
use crate::draft::{Draft, Profile};
use crate::ledger::Charge;
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::{GroupId, Location, Millis, ObjectId, RequestId, SubgroupId, TrackAlias};
use crate::wire::object::DatagramObject;
use crate::wire::param::GroupOrder;
use crate::wire::property::Properties;

/// A subgroup of a track.
pub(super) type Key = (GroupId, SubgroupId);

/// Why and since when a track takes no more objects.
#[derive(Clone, Debug)]
pub(super) struct Closing {
    pub(super) code: DoneCode,
    pub(super) reason: Arc<str>,
    pub(super) since: Time,
}

/// A group with something in memory, or remembered.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) subgroups: BTreeMap<SubgroupId, Subgroup>,
    /// The objects that were received or are being received.
    pub(super) received: Ranges,
    /// The markers that were received.
    pub(super) markers: Ranges,
    /// Those of them that came in datagrams.
    pub(super) datagrams: Ranges,
    /// From this id on there are no objects; and who said so.
    pub(super) end: Option<(ObjectId, SourceId)>,
    /// The final objects of subgroups that are not in memory any more, as told by a FIN, and by whom.
    pub(super) finales: BTreeMap<SubgroupId, (ObjectId, SourceId)>,
    /// When it began, as the number of objects of the track before it.
    pub(super) began: u64,
    /// Given up for lack of room: who has not read it will not.
    pub(super) given_up: bool,
}

impl Group {
    /// Whether all of it was received.
    pub(super) fn is_complete(&self) -> bool {
        let Some((end, _)) = self.end else {
            return false;
        };
        end.0
            .checked_sub(1)
            .is_none_or(|last| self.received.covers_up_to(last))
            && self
                .subgroups
                .values()
                .all(|subgroup| subgroup.end.is_some())
    }
}

/// An object that came in a datagram.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) sequence: u64,
    pub(super) arrived: Time,
    pub(super) object: DatagramObject,
    pub(super) images: Images,
    /// For itself and its properties.
    pub(super) _charge: Charge,
}

/// What a track's properties say about its delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub(super) priority: u8,
    pub(super) group_order: GroupOrder,
    pub(super) object_timeout: Option<Millis>,
    pub(super) subgroup_timeout: Option<Millis>,
    pub(super) max_cache_duration: Option<Millis>,
}

impl Defaults {
    fn of(properties: &Properties, profile: &Profile) -> Self {
        Self {
            priority: properties.default_publisher_priority(),
            group_order: properties.default_publisher_group_order(),
            object_timeout: properties.object_delivery_timeout(),
            subgroup_timeout: properties.subgroup_delivery_timeout(profile),
            max_cache_duration: properties.max_cache_duration(),
        }
    }
}

/// A live track.
#[derive(Debug)]
pub(super) struct Track {
    /// The same towards every subscriber.
    pub(super) alias: TrackAlias,
    /// What properties are to be understood by.
    pub(super) profile: &'static Profile,
    pub(super) properties: Properties,
    /// What the properties say of priority, order and time.
    pub(super) defaults: Defaults,
    pub(super) largest: Option<Location>,
    /// From this location on there are no objects; and who said so.
    pub(super) end: Option<(Location, SourceId)>,
    pub(super) closing: Option<Closing>,
    /// Oldest first.
    pub(super) sources: Vec<SourceId>,
    /// The source that was removed last.
    pub(super) gone: Option<SourceId>,
    /// Whether there ever were several sources.
    pub(super) had_several: bool,
    pub(super) groups: BTreeMap<GroupId, Group>,
    /// With several sources: what arrives for this group or an earlier one is a straggler, unless the group is known.
    pub(super) floor: Option<GroupId>,
    /// Objects that began, datagrams included.
    pub(super) sequence: u64,
    /// Subgroups that were begun.
    pub(super) births: u64,
    /// Every subgroup in memory by its latest change, so that a subscription finds what changed since it last looked.
    pub(super) journal: BTreeMap<u64, Key>,
    /// The latest change.
    pub(super) change: u64,
    /// The latest change that subscriptions may have seen.
    pub(super) shown: u64,
    pub(super) datagrams: VecDeque<Datagram>,
    pub(super) subscribers: BTreeSet<(ConnectionId, RequestId)>,
    /// How many of them want objects.
    pub(super) forwarding: usize,
    /// How often a subgroup was forgotten.
    pub(super) forgotten: u64,
    /// Bytes of payload that came since its subscribers were marked: their lag does not know of them yet.
    pub(super) unseen: u64,
    /// Whether its subscribers must be marked.
    pub(super) dirty: bool,
}

impl Track {
    pub(super) fn new(
        alias: TrackAlias,
        draft: Draft,
        properties: Properties,
        largest: Option<Location>,
    ) -> Self {
        Self {
            alias,
            profile: draft.profile(),
            defaults: Defaults::of(&properties, draft.profile()),
            properties,
            largest,
            end: None,
            closing: None,
            sources: Vec::new(),
            gone: None,
            had_several: false,
            groups: BTreeMap::new(),
            floor: None,
            sequence: 0,
            births: 0,
            journal: BTreeMap::new(),
            change: 0,
            shown: 0,
            datagrams: VecDeque::new(),
            subscribers: BTreeSet::new(),
            forwarding: 0,
            forgotten: 0,
            unseen: 0,
            dirty: false,
        }
    }

    pub(super) fn subgroup(&self, key: Key) -> Option<&Subgroup> {
        self.groups.get(&key.0)?.subgroups.get(&key.1)
    }

    pub(super) fn subgroup_mut(&mut self, key: Key) -> Option<&mut Subgroup> {
        self.groups.get_mut(&key.0)?.subgroups.get_mut(&key.1)
    }

    /// Enters a change of a subgroup in the journal.
    pub(super) fn record(&mut self, key: Key) {
        let Some(subgroup) = self
            .groups
            .get_mut(&key.0)
            .and_then(|group| group.subgroups.get_mut(&key.1))
        else {
            return;
        };
        if subgroup.changed > self.shown {
            return; // Nobody looked since the change before.
        }
        self.journal.remove(&subgroup.changed);
        self.change += 1;
        subgroup.changed = self.change;
        self.journal.insert(self.change, key);
    }

    /// The first change after `seen`.
    pub(super) fn next_change(&self, seen: u64) -> Option<(u64, Key)> {
        self.journal
            .range(seen.saturating_add(1)..)
            .next()
            .map(|(change, key)| (*change, *key))
    }

    /// Raises the largest location.
    pub(super) fn reach(&mut self, location: Location) {
        self.largest = self.largest.max(Some(location));
    }

    /// How much older than another source one is: its place in the order of their appearance.
    pub(super) fn older(&self, one: SourceId, other: SourceId) -> SourceId {
        // A source that is gone is older than all that are there.
        let age = |source| self.sources.iter().position(|known| *known == source);
        if age(other) < age(one) { other } else { one }
    }

    /// Forgets a subgroup's objects, the subgroup and its group, as far as nobody needs them. To be called only while
    /// every subscription has seen the latest change.
    pub(super) fn sweep(&mut self, key: Key, limits: &Limits) {
        let Some(group) = self.groups.get_mut(&key.0) else {
            return;
        };
        let Some(subgroup) = group.subgroups.get_mut(&key.1) else {
            return;
        };
        let received = &mut group.received;
        subgroup.trim(|id| received.remove(id.0));
        if !subgroup.is_spent() {
            return;
        }
        self.journal.remove(&subgroup.changed);
        if let Some(finale) = subgroup.finale {
            group.finales.insert(key.1, finale);
            if group.finales.len() > limits.remembered_finales {
                group.finales.pop_first();
            }
        }
        group.subgroups.remove(&key.1);
        self.forgotten += 1;
        self.forget_groups(limits.remembered_groups);
    }

    /// Forgets the lowest groups without subgroups, but for so many.
    pub(super) fn forget_groups(&mut self, remembered: usize) {
        let mut idle = self
            .groups
            .values()
            .filter(|group| group.subgroups.is_empty())
            .count();
        while idle > remembered {
            let Some(lowest) = self
                .groups
                .iter()
                .find(|(_, group)| group.subgroups.is_empty())
                .map(|(id, _)| *id)
            else {
                return;
            };
            self.groups.remove(&lowest);
            self.floor = self.floor.max(Some(lowest));
            idle -= 1;
        }
    }
}
