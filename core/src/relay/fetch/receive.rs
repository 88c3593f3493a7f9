//! What fills bring: objects for the cache, where there are none, and where nobody knows.

use super::super::Relay;
use super::super::routes::Origin;
use super::Bringer;
use super::fill::{FillId, Partial};
use super::upstream::Failure;
use crate::cache::{Contradiction, Evidence};
use crate::code::ResetCode;
use crate::ledger::{MAX_CHUNK, Payload};
use crate::session::{FetchItem, StreamEnd};
use crate::span::{Position, Span};
use crate::time::Time;
use crate::wire::id::{Location, SubgroupId};
use crate::wire::param::GroupOrder;
use crate::wire::property::Properties;

impl Relay {
    /// Something arrived for a fill.
    pub(in crate::relay) fn fetched(&mut self, now: Time, at: Origin, item: FetchItem) {
        let Some(&id) = self.fetching.asked.get(&at) else {
            return;
        };
        // Payload of another shard is in memory that is charged already.
        let is_charged = self.is_link(at.connection);
        let Some(fill) = self.fetching.fills.get_mut(&id) else {
            return;
        };
        fill.heard = now;
        let most = self.settings.limits.max_fill_spans;
        self.fetching.touched.insert(id);
        match item {
            FetchItem::Object {
                location,
                subgroup,
                priority,
                properties,
                payload_length,
            } => {
                let place = (location, subgroup);
                self.begin_filling(now, id, place, priority, &properties, payload_length);
            }
            FetchItem::Payload(bytes) if is_charged => {
                if let Some(partial) = &mut fill.partial {
                    partial.payload.adopt(bytes);
                    self.complete_object(now, id);
                }
            }
            FetchItem::Payload(bytes) => self.fill_payload(now, id, &bytes),
            FetchItem::NonExistent(location) => {
                let passed = fill.rest.go_behind(location);
                self.passed(now, id, passed);
                self.wake_waiters(id);
            }
            FetchItem::Unknown(location) => {
                let Some(passed) = fill.rest.go_behind(location) else {
                    return self.out_of_range(now, id);
                };
                let publisher = fill.at.connection;
                for origin in fill.waiters.clone() {
                    if let Some(fetch) = self.fetching.fetches.get_mut(&origin) {
                        let each = passed.iter();
                        each.for_each(|span| fetch.fail(publisher, *span, most));
                    }
                }
                self.wake_waiters(id);
            }
            FetchItem::End(StreamEnd::Fin) if fill.partial.is_none() => {
                fill.ended = true;
                if fill.end.is_some() {
                    self.fill_complete(now, id);
                }
            }
            // While it was paused it was stopped for want of room: it may be asked for again.
            FetchItem::End(StreamEnd::Stopped) if fill.paused => {
                let failure = Failure {
                    is_blamed: false,
                    ..Failure::BROKEN
                };
                self.fill_failed(now, id, failure);
            }
            FetchItem::End(_) => self.fill_failed(now, id, Failure::BROKEN),
        }
    }

    fn begin_filling(
        &mut self,
        now: Time,
        id: FillId,
        (location, subgroup): (Location, Option<SubgroupId>),
        priority: u8,
        properties: &Properties,
        length: u64,
    ) {
        let Some(fill) = self.fetching.fills.get_mut(&id) else {
            return;
        };
        let Some(passed) = fill.rest.go_to(Position::of(location)) else {
            return self.out_of_range(now, id);
        };
        let ledger = self.publisher.fanout.ledger();
        let Some(bytes) = ledger.copy(properties.bytes()) else {
            return self.fill_failed(now, id, Failure::cancel(ResetCode::ExcessiveLoad));
        };
        let properties = Properties::from_bytes(bytes, properties.integers());
        fill.partial = Some(Partial {
            location,
            subgroup,
            priority,
            properties,
            length,
            payload: Payload::default(),
            arrived: now,
        });
        let (track, cache) = (fill.track, &mut self.fetching.cache);
        let (left, is_new) = fill.ahead.begin(location.group);
        if is_new {
            cache.pin(track, location.group);
        }
        if let Some(left) = left {
            cache.unpin(track, left);
        }
        self.passed(now, id, Some(passed));
        if length == 0 {
            self.complete_object(now, id);
        }
    }

    fn fill_payload(&mut self, now: Time, id: FillId, bytes: &[u8]) {
        let mut taken = 0;
        for attempt in 0..2 {
            let ledger = self.publisher.fanout.ledger();
            let fill = self.fetching.fills.get_mut(&id);
            let Some(partial) = fill.and_then(|fill| fill.partial.as_mut()) else {
                return;
            };
            if partial.append(ledger, bytes, &mut taken) {
                return self.complete_object(now, id);
            }
            if attempt == 0 {
                let wanted = u64::try_from(2 * MAX_CHUNK).unwrap_or(u64::MAX);
                self.fetching.cache.relieve(wanted);
            }
        }
        self.fill_failed(now, id, Failure::cancel(ResetCode::ExcessiveLoad));
    }

    /// The object that a fill brings may be complete: then it is in the cache for those who wait.
    fn complete_object(&mut self, now: Time, id: FillId) {
        let Some(fill) = self.fetching.fills.get_mut(&id) else {
            return;
        };
        let Some(object) = fill.partial.as_mut().and_then(Partial::complete) else {
            return;
        };
        let Some(partial) = fill.partial.take() else {
            return;
        };
        let location = partial.location;
        // It cannot fail: it is the first of what is left.
        let _passed = fill.rest.go_behind(location);
        fill.ahead.push(location, object.cost());
        let (track, at) = (fill.track, fill.at);
        self.note_bringer(id);
        let inserted = self
            .fetching
            .cache
            .insert(now, track, location, object.clone());
        if let Err(contradiction) = inserted {
            if !self.contradicted(now, at, id, contradiction) {
                return;
            }
            // What it contradicted is forgotten.
            let again = self.fetching.cache.insert(now, track, location, object);
            debug_assert!(again.is_ok(), "{again:?}");
        }
        for gap in super::live::gaps(location, &partial.properties) {
            self.mark_absent(now, id, gap, Evidence::Stated);
        }
        self.wake_waiters(id);
    }

    fn note_bringer(&mut self, id: FillId) {
        if let Some(fill) = self.fetching.fills.get(&id)
            && let Some(past) = self.fetching.tracks.get_mut(&fill.name)
        {
            past.bringer.note(fill.at.connection);
        }
    }

    /// A fill contradicts what is cached. Within one source the track is malformed; else what is cached is of an older
    /// one, or of an older epoch, and forgotten. Whether the fill goes on.
    fn contradicted(
        &mut self,
        now: Time,
        at: Origin,
        id: FillId,
        contradiction: Contradiction,
    ) -> bool {
        let Some(fill) = self.fetching.fills.get(&id) else {
            return false;
        };
        let name = fill.name.clone();
        let bringer = self.fetching.tracks.get(&name).map(|past| past.bringer);
        let rule = contradiction.conflict.rule();
        if bringer == Some(Bringer::One(at.connection)) {
            self.end_malformed(now, at.connection, &name, rule);
            return false;
        }
        self.journal.info(
            now,
            Some(at.connection),
            format_args!(
                "{}: contradicts what is cached of {name}: {contradiction}",
                at.connection
            ),
        );
        self.renew_past(now, &name, Some(id));
        self.note_bringer(id);
        true
    }

    /// A publisher left out spans that it was asked for: nothing exists there, if the range reaches over them.
    fn passed(&mut self, now: Time, id: FillId, passed: Option<Vec<Span>>) {
        let Some(passed) = passed else {
            return self.out_of_range(now, id);
        };
        let most = self.settings.limits.max_fill_spans;
        for span in passed {
            let Some(fill) = self.fetching.fills.get_mut(&id) else {
                return;
            };
            // In descending order what comes first may be beyond what was published.
            if fill.end.is_none() && fill.order == GroupOrder::Descending {
                if fill.presumed.len() < most {
                    fill.presumed.push(span);
                }
            } else {
                self.mark_absent(now, id, span, Evidence::Inferred);
            }
        }
    }

    pub(super) fn mark_absent(&mut self, now: Time, id: FillId, span: Span, evidence: Evidence) {
        let Some(fill) = self.fetching.fills.get(&id).filter(|_| !span.is_empty()) else {
            return;
        };
        let (track, at) = (fill.track, fill.at);
        let marked = self.fetching.cache.mark_absent(track, span, evidence);
        if let Err(contradiction) = marked
            && self.contradicted(now, at, id, contradiction)
        {
            let again = self.fetching.cache.mark_absent(track, span, evidence);
            debug_assert!(again.is_ok(), "{again:?}");
        }
    }

    fn out_of_range(&mut self, now: Time, id: FillId) {
        if let Some(fill) = self.fetching.fills.get(&id) {
            let publisher = fill.at.connection;
            self.journal.info(
                now,
                Some(publisher),
                format_args!("{publisher}: answers a FETCH with what it was not asked for"),
            );
        }
        self.fill_failed(now, id, Failure::cancel(ResetCode::Cancelled));
    }

    /// Everything that a publisher has was received.
    pub(super) fn fill_complete(&mut self, now: Time, id: FillId) {
        let Some(fill) = self.fetching.fills.get_mut(&id) else {
            return;
        };
        let left = fill.rest.finish();
        for span in left {
            self.mark_absent(now, id, span, Evidence::Inferred);
        }
        self.settle_fill(id);
    }
}
