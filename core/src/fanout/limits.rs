//! The bounds of a fan-out's tables and queues.

use std::time::Duration;

/// What happens to a subscription that lags too far behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LagPolicy {
    /// It ends with TOO_FAR_BEHIND: the drafts promise every object to who stays subscribed.
    #[default]
    End,
    /// Whole groups of which nothing was sent yet are left out, oldest first; only if that does not help it ends.
    Skip,
}

/// The bounds of a [`Fanout`](super::Fanout).
///
/// Units, defaults and the reason for each: [`limits`](crate::limits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tracks open at once. A relay's own tables are bounded too; this keeps a local producer honest.
    pub max_tracks: usize,
    /// Sources that one track may have at once: redundancy needs two, the rest is room for takeovers.
    pub max_sources_per_track: usize,
    /// Groups of one track that have open or unsent subgroups. Beyond it the one that began first is given up, which
    /// also frees what a publisher that never ends its streams holds.
    pub max_live_groups: usize,
    /// Groups of one track without anything left to send whose object ids are remembered, so that a slower source's
    /// copies are recognised.
    pub remembered_groups: usize,
    /// Subgroups of one group that ended and are not in memory any more, whose final objects are remembered, so that nobody
    /// adds to them; beyond it that of the lowest is forgotten.
    pub remembered_finales: usize,
    /// Subgroups of one group in memory; beyond it a new one is refused.
    pub max_subgroups_per_group: usize,
    /// Streams that bring the same subgroup at once; beyond it a new one is refused. Sources and takeovers need a few.
    pub max_streams_per_subgroup: usize,
    /// Objects of one subgroup in memory; beyond it the subgroup is given up.
    pub max_objects_per_subgroup: usize,
    /// Intervals in which the object ids received of one group are kept; beyond it the lowest gap counts as received.
    pub max_ranges_per_group: usize,
    /// Objects of one track that arrived in datagrams and were not offered to every subscriber's session yet; beyond it
    /// the oldest is dropped, as datagrams may be.
    pub max_datagrams_per_track: usize,
    /// Subscriptions of all tracks and connections together.
    pub max_subscriptions: usize,
    /// Bytes that a subscriber may be behind, over all subgroups that it still has to be sent; each object counts
    /// [`OBJECT_OVERHEAD`](super::OBJECT_OVERHEAD) more. The default is two seconds of 64 Mbit/s.
    pub max_subscriber_lag: u64,
    /// Bytes that all subscribers of a track may be behind before its sources are to wait, see [`Fanout::must_wait`];
    /// never more than half of `max_subscriber_lag`.
    ///
    /// [`Fanout::must_wait`]: super::Fanout::must_wait
    pub max_backlog: u64,
    /// The same while more than seven eighths of the ledger are used.
    pub max_backlog_under_pressure: u64,
    /// What happens to a subscription beyond `max_subscriber_lag`.
    pub lag_policy: LagPolicy,
    /// How long a subscription waits for stragglers after an object beyond its last group appeared: streams may overtake
    /// one another by about a round trip.
    pub range_end_linger: Duration,
    /// How long subscribers may take to fetch what is left of a track that ended.
    pub drain_timeout: Duration,
    /// Notices that wait for the owner; beyond it the oldest is dropped.
    pub max_notices: usize,
    /// Complete objects, gaps and ends that wait for the owner, if it wants to be told of them; beyond it the oldest is
    /// dropped, and a cache has a hole.
    pub max_facts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_tracks: 65_536,
            max_sources_per_track: 4,
            max_live_groups: 1024,
            remembered_groups: 8,
            remembered_finales: 64,
            max_subgroups_per_group: 4096,
            max_streams_per_subgroup: 16,
            max_objects_per_subgroup: 16_384,
            max_ranges_per_group: 256,
            max_datagrams_per_track: 256,
            max_subscriptions: 1 << 20,
            max_subscriber_lag: 16 << 20,
            max_backlog: 8 << 20,
            max_backlog_under_pressure: 256 << 10,
            lag_policy: LagPolicy::End,
            range_end_linger: Duration::from_millis(500),
            drain_timeout: Duration::from_secs(10),
            max_notices: 65_536,
            max_facts: 65_536,
        }
    }
}
