//! Every count that is kept along the way, taken anew.

use std::collections::BTreeMap;

use super::subgroup::OBJECT_OVERHEAD;
use super::track::Key;
use super::{Fanout, TrackId};
use crate::recount::Recount;

impl Fanout {
    /// Adds what tracks hold, and compares every count with what it counts.
    pub(crate) fn recount(&self, held: &mut Recount) -> Result<(), String> {
        let overhead = usize::try_from(OBJECT_OVERHEAD).unwrap_or(usize::MAX);
        for track in self.tracks.values() {
            let groups = track.groups.values();
            let subgroups = groups.flat_map(|group| group.subgroups.values());
            for object in subgroups.flat_map(|subgroup| &subgroup.objects) {
                held.charge(overhead);
                held.properties(&object.properties);
                held.payload(&object.payload, object.is_complete());
                object.openings.recount(held);
                object.continuations.recount(held);
            }
            for datagram in &track.datagrams {
                held.charge(overhead);
                held.properties(&datagram.object.properties);
                held.piece(&datagram.object.payload);
                datagram.images.recount(held);
            }
        }
        self.recount_subscriptions()
    }

    fn recount_subscriptions(&self) -> Result<(), String> {
        let mut cursors: BTreeMap<(TrackId, Key, u64), BTreeMap<u64, u32>> = BTreeMap::new();
        let mut forwarding: BTreeMap<TrackId, usize> = BTreeMap::new();
        let (mut subscriptions, mut unsettled) = (0, 0);
        for (connection, peer) in &self.connections {
            unsettled += usize::from(peer.unsettled);
            for (request, subscription) in &peer.subscriptions {
                let id = subscription.track;
                subscriptions += 1;
                *forwarding.entry(id).or_default() += usize::from(subscription.forward);
                let track = self.tracks.get(&id).ok_or("a subscription to no track")?;
                if !track.subscribers.contains(&(*connection, *request)) {
                    return Err(format!("{id:?} does not know of {connection} {request:?}"));
                }
                let mut lag = 0;
                for (key, lane) in subscription.lanes.iter().filter(|(_, lane)| lane.is_live()) {
                    lag += lane.lag;
                    let place = (id, *key, lane.birth);
                    *cursors
                        .entry(place)
                        .or_default()
                        .entry(lane.next)
                        .or_default() += 1;
                }
                compare("bytes behind", subscription.lag, lag)?;
            }
        }
        compare("subscriptions", self.subscriptions, subscriptions)?;
        compare("connections to pump", self.unsettled, unsettled)?;
        let listed = self.tracks.values().map(|track| track.subscribers.len());
        compare("subscribers of tracks", listed.sum(), subscriptions)?;
        for (id, track) in &self.tracks {
            let counted = forwarding.get(id).copied().unwrap_or_default();
            compare("subscribers that want objects", track.forwarding, counted)?;
            for (group, in_group) in &track.groups {
                for (subgroup, known) in &in_group.subgroups {
                    let key = (*group, *subgroup);
                    let counted = cursors.remove(&(*id, key, known.birth));
                    known
                        .recount(&counted.unwrap_or_default())
                        .map_err(|why| format!("{id:?} {key:?}: {why}"))?;
                }
            }
        }
        match cursors.pop_first() {
            Some((place, _)) => Err(format!("a cursor in a subgroup that is gone: {place:?}")),
            None => Ok(()),
        }
    }
}

/// Compares what was kept with what was counted.
pub(super) fn compare<T: PartialEq + std::fmt::Debug>(
    what: &str,
    kept: T,
    counted: T,
) -> Result<(), String> {
    if kept == counted {
        return Ok(());
    }
    Err(format!(
        "{what}: {kept:?} by the books, in truth {counted:?}"
    ))
}
