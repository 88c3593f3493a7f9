//! What is published now goes into the cache as it becomes complete.

use super::super::Relay;
use super::super::routes::Origin;
use super::{Bringer, Past};
use crate::cache::{Contradiction, Evidence, Object};
use crate::fanout::{Complete, Fact};
use crate::span::{Position, Span};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::Location;
use crate::wire::name::FullTrackName;
use crate::wire::property::Properties;

impl Bringer {
    pub(super) fn note(&mut self, connection: ConnectionId) {
        *self = match *self {
            Self::Nobody => Self::One(connection),
            Self::One(one) if one == connection => Self::One(one),
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

impl Relay {
    /// Takes note of everything that became known of live tracks.
    pub(in crate::relay) fn cache_live(&mut self, now: Time) {
        while let Some(complete) = self.publisher.fanout.poll_complete() {
            let Some(name) = self.names.get(&complete.track) else {
                continue;
            };
            let is_kept = self.fetching.cache.limits().max_tracks > 0;
            if !is_kept && !self.fetching.tracks.contains_key(name) {
                continue;
            }
            let name = name.clone();
            self.note_live(now, &name, complete);
        }
    }

    fn note_live(&mut self, now: Time, name: &FullTrackName, complete: Complete) {
        let past = self.fetching.open(name);
        let id = past.id;
        let waiting = std::mem::take(&mut past.arrivals);
        let is_other = past.live.replace(complete.track) != Some(complete.track);
        let is_new = is_other || !past.is_described;
        past.is_described = true;
        self.fetching.ready.extend(waiting);
        let fanout = &self.publisher.fanout;
        if is_new
            && let Some(properties) = fanout.properties(complete.track)
            && let Some(draft) = fanout.draft(complete.track)
        {
            self.fetching.cache.describe(id, properties.clone(), draft);
        }
        let from = self.origins.get(&complete.source).copied();
        let outcome = self.insert_live(now, name, from, complete.fact.clone());
        if let Err(contradiction) = outcome
            && self.live_contradicted(now, name, from, contradiction)
        {
            let again = self.insert_live(now, name, from, complete.fact);
            debug_assert!(again.is_ok(), "{again:?}");
        }
    }

    fn insert_live(
        &mut self,
        now: Time,
        name: &FullTrackName,
        from: Option<Origin>,
        fact: Fact,
    ) -> Result<(), Contradiction> {
        let Past { id, bringer, .. } = self.fetching.open(name);
        let id = *id;
        let stated = Evidence::Stated;
        match fact {
            Fact::Broken => Ok(()),
            Fact::GroupEnd(at) => {
                let rest = Span::rest_of_group(at);
                self.fetching.cache.mark_absent(id, rest, stated)
            }
            Fact::TrackEnd(at) => {
                let rest = Span::rest_of_track(at);
                self.fetching.cache.mark_absent(id, rest, stated)
            }
            Fact::Absent { from, to } => {
                let gap = Span::new(Position::of(from), Position::of(to));
                self.fetching.cache.mark_absent(id, gap, stated)
            }
            Fact::Object {
                location,
                subgroup,
                priority,
                properties,
                payload,
                arrived,
            } => {
                if let Some(from) = from {
                    bringer.note(from.connection);
                }
                let cache = &mut self.fetching.cache;
                if cache.largest(id).is_none_or(|largest| largest <= location) {
                    cache.set_live(id, Some(location.group));
                }
                let object = Object {
                    subgroup,
                    priority,
                    properties,
                    payload,
                    arrived,
                };
                cache.insert(now, id, location, object).map(drop)
            }
        }
    }

    /// What is published contradicts what is cached. Whether to try again, since what is cached was forgotten.
    fn live_contradicted(
        &mut self,
        now: Time,
        name: &FullTrackName,
        from: Option<Origin>,
        contradiction: Contradiction,
    ) -> bool {
        let bringer = self.fetching.tracks.get(name).map(|past| past.bringer);
        let rule = contradiction.conflict.rule();
        if let Some(from) = from
            && bringer == Some(Bringer::One(from.connection))
        {
            self.end_malformed(now, from.connection, name, rule);
            return false;
        }
        log::info!("what is cached of {name} is contradicted: {contradiction}");
        self.renew_past(now, name, None);
        true
    }

    /// A track is not published any more.
    pub(in crate::relay) fn live_ended(&mut self, name: &FullTrackName) {
        if let Some(past) = self.fetching.tracks.get_mut(name)
            && past.live.take().is_some()
        {
            let id = past.id;
            let waiting = std::mem::take(&mut past.arrivals);
            self.fetching.ready.extend(waiting);
            self.fetching.cache.set_live(id, None);
            self.fetching.close_if_idle(name);
        }
    }
}

/// What the properties of an object say does not exist.
pub(super) fn gaps(at: Location, properties: &Properties) -> Vec<Span> {
    let groups = properties
        .prior_group_id_gap()
        .and_then(|gap| Span::prior_groups(at, gap));
    let objects = properties
        .prior_object_id_gap()
        .and_then(|gap| Span::prior_objects(at, gap));
    let gaps = groups.into_iter().chain(objects);
    gaps.filter(|gap| !gap.is_empty()).collect()
}
