//! What is published now goes into the cache as it becomes complete.

use super::super::Relay;
use super::super::routes::Origin;
use super::Bringer;
use crate::cache::{Cache, Contradiction, Evidence, Inserted, Object, TrackId};
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
            let from = self.origins.get(&complete.source).copied();
            let Err(contradiction) = self.note_live(now, from, &complete) else {
                continue;
            };
            let Some(name) = self.names.get(&complete.track).cloned() else {
                continue;
            };
            if self.live_contradicted(now, &name, from, contradiction) {
                let again = self.note_live(now, from, &complete);
                debug_assert!(again.is_ok(), "{again:?}");
            }
        }
    }

    fn note_live(
        &mut self,
        now: Time,
        from: Option<Origin>,
        complete: &Complete,
    ) -> Result<(), Contradiction> {
        let Some(name) = self.names.get(&complete.track) else {
            return Ok(());
        };
        let fetching = &mut self.fetching;
        if !fetching.tracks.contains_key(name) {
            // Without objects or readers nothing is kept of a track, so that there is no end of tracks with gaps.
            let is_object = matches!(complete.fact, Fact::Object { .. });
            if !is_object || fetching.cache.limits().max_tracks == 0 {
                return Ok(());
            }
            fetching.open(name);
        }
        let Some(past) = fetching.tracks.get_mut(name) else {
            return Ok(());
        };
        fetching.ready.append(&mut past.arrivals);
        let is_other = past.live.replace(complete.track) != Some(complete.track);
        let fanout = &self.publisher.fanout;
        if (is_other || !std::mem::replace(&mut past.is_described, true))
            && let Some(properties) = fanout.properties(complete.track)
            && let Some(draft) = fanout.draft(complete.track)
        {
            let cache = &mut fetching.cache;
            cache.describe(past.id, properties.clone(), draft);
        }
        if let (Some(from), Fact::Object { .. }) = (from, &complete.fact) {
            past.bringer.note(from.connection);
        }
        let is_read = !past.fetches.is_empty() || !past.fills.is_empty();
        let is_kept = add(&mut fetching.cache, now, past.id, &complete.fact)?;
        if !is_kept && !is_read {
            past.live = None;
            let name = name.clone();
            fetching.close_if_idle(&name);
        }
        Ok(())
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
        self.journal.info(
            now,
            from.map(|from| from.connection),
            format_args!("what is cached of {name} is contradicted: {contradiction}"),
        );
        self.renew_past(now, name, None);
        true
    }

    /// A track is not published any more.
    pub(in crate::relay) fn live_ended(&mut self, name: &FullTrackName) {
        if let Some(past) = self.fetching.tracks.get_mut(name) {
            self.fetching.ready.append(&mut past.arrivals);
            if past.live.take().is_some() {
                self.fetching.cache.set_live(past.id, None);
            }
            self.fetching.close_if_idle(name);
        }
    }
}

/// Adds what became known of a live track to the cache. Whether the cache keeps the track.
fn add(cache: &mut Cache, now: Time, id: TrackId, fact: &Fact) -> Result<bool, Contradiction> {
    let gap = match fact {
        Fact::Broken => return Ok(true),
        Fact::GroupEnd(at) => Span::rest_of_group(*at),
        Fact::TrackEnd(at) => Span::rest_of_track(*at),
        Fact::Absent { from, to } => Span::new(Position::of(*from), Position::of(*to)),
        Fact::Object {
            location,
            subgroup,
            priority,
            properties,
            payload,
            arrived,
        } => {
            if cache.largest(id).is_none_or(|largest| largest <= *location) {
                cache.set_live(id, Some(location.group));
            }
            let object = Object {
                subgroup: *subgroup,
                priority: *priority,
                properties: properties.clone(),
                payload: payload.clone(),
                arrived: *arrived,
            };
            let inserted = cache.insert(now, id, *location, object)?;
            return Ok(inserted != Inserted::NotKept);
        }
    };
    cache.mark_absent(id, gap, Evidence::Stated)?;
    Ok(true)
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
