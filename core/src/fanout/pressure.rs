//! Back-pressure: when sources must wait because nobody keeps up with them, and who goes because others do.

use super::subgroup::OBJECT_OVERHEAD;
use super::track::{Group, Key, Track};
use super::{Fanout, IngestId, TrackId};
use crate::code::DoneCode;
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::RequestId;

/// Of memory that is short, so many parts of eight are taken: a cache that shares it has given way by then.
const PRESSED: usize = 7;
/// Of other limits that are nearly reached, so many parts of four are taken.
const NEARLY: usize = 3;

/// How far the subscribers of a track are behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Bytes that even the one who is furthest ahead still has to be sent, with
    /// [`OBJECT_OVERHEAD`](super::OBJECT_OVERHEAD) for each object; 0 if nobody wants objects.
    pub least: u64,
    /// The same for all of them together: falls as soon as anybody takes anything.
    pub total: u64,
}

impl Fanout {
    /// How far the subscribers of a track are behind it.
    pub fn backlog(&self, track: TrackId) -> Backlog {
        let Some(track) = self.tracks.get(&track) else {
            return Backlog::default();
        };
        Backlog {
            least: self.lags(track).map(|(_, lag)| lag).min().unwrap_or(0),
            total: self
                .lags(track)
                .fold(0, |sum, (_, lag)| sum.saturating_add(lag)),
        }
    }

    /// Whether a stream should not be read on, since no subscriber keeps up with its track. Its source is to be told by
    /// flow control, rather than all of them to lose what does not fit; once [`Fanout::may_go_on`] the stream is read
    /// again.
    ///
    /// A subscriber who is slower than another does not count: it costs its subscription once it is too far behind.
    pub fn must_wait(&self, stream: IngestId) -> bool {
        let Some(ingest) = self.ingests.get(&stream) else {
            return false;
        };
        self.tracks.get(&ingest.track).is_some_and(|track| {
            let is_crowded = self.is_crowded(track, ingest.key);
            let most = self.max_backlog(is_crowded);
            let unseen = if is_crowded { 0 } else { track.unseen };
            self.is_behind(track, most, unseen)
        })
    }

    /// Whether the streams of a track may be read on that had to wait.
    pub fn may_go_on(&self, track: TrackId) -> bool {
        self.tracks.get(&track).is_none_or(|track| {
            let most = self.max_backlog(self.is_still_crowded(track)) / 2;
            !self.is_behind(track, most, 0)
        })
    }

    /// Memory is short: the subscription that is furthest behind a track with which others keep up ends with
    /// TOO_FAR_BEHIND, one at a time. Where nobody keeps up, sources [have to wait](Fanout::must_wait).
    pub fn relieve_pressure(&mut self, now: Time) {
        if !self.is_pressed() || self.shedding.is_some() || self.relieved_at == Some(now) {
            return;
        }
        self.relieved_at = Some(now);
        let most = self.limits.max_backlog_under_pressure;
        let slowest = self
            .tracks
            .values()
            .filter(|track| !self.is_behind(track, most, 0))
            .filter_map(|track| self.lags(track).max_by_key(|(_, lag)| *lag))
            .filter(|(_, lag)| *lag > most)
            .max_by_key(|(_, lag)| *lag);
        if let Some(((connection, request), lag)) = slowest {
            self.shortages.warn(
                now,
                module_path!(),
                format_args!(
                    "memory for objects is short ({:?}): {connection}, which is {lag} bytes behind, goes",
                    self.ledger
                ),
            );
            self.shedding = Some((connection, request));
            let reason = "memory is short, and this subscriber is furthest behind";
            self.end_subscription(now, connection, request, DoneCode::TooFarBehind, reason);
        }
    }

    /// Ends every subscription of a track that is behind, since none of them takes anything, with TOO_FAR_BEHIND.
    pub fn end_stalled(&mut self, now: Time, track: TrackId) {
        let Some(state) = self.tracks.get(&track) else {
            return;
        };
        let stalled: Vec<(ConnectionId, RequestId)> = self
            .lags(state)
            .filter(|(_, lag)| *lag > 0)
            .map(|(subscriber, _)| subscriber)
            .collect();
        for (connection, request) in stalled {
            let reason = "nothing was taken for too long";
            self.end_subscription(now, connection, request, DoneCode::TooFarBehind, reason);
        }
    }

    /// Whether memory for objects is nearly used up.
    pub fn is_pressed(&self) -> bool {
        let most = self.ledger.limit();
        self.ledger.is_above((most / 8).saturating_mul(PRESSED))
    }

    /// Ends the subscriptions that hold the first half of a subgroup with nearly as many objects as it may have, if
    /// others are past that.
    pub(super) fn relieve_subgroup(&mut self, now: Time, id: TrackId, key: Key) {
        let most = self.limits.max_objects_per_subgroup;
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let Some(subgroup) = track.subgroup(key) else {
            return;
        };
        if subgroup.objects.len() < nearly(most) {
            return;
        }
        let half = u64::try_from(most / 2).unwrap_or(u64::MAX);
        let middle = subgroup.first_index().saturating_add(half);
        let mut slow = Vec::new();
        let mut is_anybody_past = false;
        for subscriber in &track.subscribers {
            let lane = self
                .connections
                .get(&subscriber.0)
                .and_then(|peer| peer.subscriptions.get(&subscriber.1)?.lanes.get(&key))
                .filter(|lane| lane.is_live());
            match lane {
                Some(lane) if lane.next < middle => slow.push(*subscriber),
                Some(_) => is_anybody_past = true,
                None => {}
            }
        }
        if is_anybody_past {
            for (connection, request) in slow {
                let reason = "too many objects behind";
                self.end_subscription(now, connection, request, DoneCode::TooFarBehind, reason);
            }
        }
    }

    /// Bytes that the subscribers of a track may all be behind.
    fn max_backlog(&self, is_crowded: bool) -> u64 {
        let limits = &self.limits;
        // Sources wait before subscribers are ended for what is none of their fault.
        let most = limits.max_backlog.min(limits.max_subscriber_lag / 2);
        if is_crowded {
            // What a limit's worth of empty groups, or of empty objects, counts for.
            let few = limits.max_live_groups.min(limits.max_objects_per_subgroup);
            let few = u64::try_from(nearly(few)).unwrap_or(u64::MAX);
            most.min(few.saturating_mul(u64::from(OBJECT_OVERHEAD)) / 2)
        } else if self.is_pressed() {
            most.min(limits.max_backlog_under_pressure)
        } else {
            most
        }
    }

    /// Whether a track has so many objects in a subgroup, or so many groups, that little is missing to the limit.
    fn is_crowded(&self, track: &Track, key: Key) -> bool {
        let most = nearly(self.limits.max_live_groups);
        let objects = track.subgroup(key).map_or(0, |s| s.objects.len());
        objects >= nearly(self.limits.max_objects_per_subgroup)
            || track.groups.len() >= most && live_groups(track) >= most
    }

    /// Whether there is little more room than when it was crowded.
    fn is_still_crowded(&self, track: &Track) -> bool {
        let objects = self.limits.max_objects_per_subgroup / 2;
        live_groups(track) >= self.limits.max_live_groups / 2
            || track
                .groups
                .values()
                .flat_map(|group| group.subgroups.values())
                .any(|subgroup| subgroup.objects.len() >= objects)
    }

    /// Whether somebody wants objects of a track, and everybody who does is more than this behind, `unseen` bytes included
    /// that are in nobody's lag yet.
    fn is_behind(&self, track: &Track, most: u64, unseen: u64) -> bool {
        track.forwarding > 0
            && self.lags(track).next().is_some()
            && self
                .lags(track)
                .all(|(_, lag)| lag.saturating_add(unseen) > most)
    }

    /// How far each subscriber is behind who wants objects of a track.
    fn lags<'a>(
        &'a self,
        track: &'a Track,
    ) -> impl Iterator<Item = ((ConnectionId, RequestId), u64)> + 'a {
        track.subscribers.iter().filter_map(|subscriber| {
            let peer = self.connections.get(&subscriber.0)?;
            let subscription = peer.subscriptions.get(&subscriber.1)?;
            let wants = subscription.forward && subscription.ending.is_none();
            wants.then_some((*subscriber, subscription.lag))
        })
    }
}

fn live_groups(track: &Track) -> usize {
    let is_live = |group: &&Group| !group.subgroups.is_empty() && !group.given_up;
    track.groups.values().filter(is_live).count()
}

/// So much of a limit that something must be done before it is reached.
const fn nearly(limit: usize) -> usize {
    (limit / 4).saturating_mul(NEARLY)
}
