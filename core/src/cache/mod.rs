//! What was published before: objects, and where none exist, of tracks that somebody may yet FETCH (§ Caching Relays).
//!
//! Of each location of a track the cache knows one of three things: there is an object, and here it is; there is none;
//! or it does not know. What it once knew it may not know later, but it never says something wrong: what is dropped is
//! unknown from then on. Locations without objects are few intervals and outlive the objects around them.
//!
//! # What stays
//!
//! Objects go by whole groups, those used least recently first, when a [limit](Limits) is passed. A group is spared
//!
//! * while a fill [pins](Cache::pin) it: objects asked for upstream are put there for the FETCHes that wait for them, so
//!   they stay until these have passed, whatever the limits say; the owner bounds how many fills there are;
//! * while it is the [live](Cache::set_live) one of its track. If nothing else is left to go, it loses objects from its
//!   beginning on.
//!
//! Of the tracks beyond `max_tracks`, and of every track if that is zero, nothing stays but what fills pin and, while it
//! is open, what is known of gaps: a FETCH is answered all the same, with everything asked for upstream.
//!
//! Readers hold clones that share payloads, so dropping an object never takes it away from one of them.

mod books;
mod limits;
mod look;
mod object;
mod track;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use limits::{Limits, OBJECT_OVERHEAD};
pub use look::{Look, LookBack};
pub use object::{Conflict, Contradiction, Object};

use self::books::Books;
use self::track::Track;
use crate::draft::Draft;
use crate::span::{Position, Span, Spans};
use crate::time::Time;
use crate::wire::id::{GroupId, Location};
use crate::wire::name::FullTrackName;
use crate::wire::property::Properties;

/// A track that was opened. Means nothing in another cache; calls with one that is not open any more do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(u64);

/// What became of an object that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is cached, unless the limits left no room for it.
    New,
    /// It was cached already; of its properties the mutable ones are now these (§ Properties).
    Known,
    /// It is known not to exist, though the publisher did not say so in so many words: it is neither to be cached nor to
    /// be forwarded, and nobody did wrong (§ Caching Relays).
    Absent,
    /// It was not cached: its track is beyond `max_tracks` and no fill pins its group.
    NotKept,
}

/// How it is known that objects do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The publisher told: by END_OF_GROUP, END_OF_TRACK or a gap property. Objects there contradict it.
    Stated,
    /// The answer to a FETCH left them out. Objects that arrived before stay, ones that arrive later are
    /// [ignored](Inserted::Absent).
    Inferred,
}

/// Objects and gaps of tracks, within [limits](Limits). See the [module](self) for what stays.
///
/// Changing it takes time in the logarithm of what it holds. Calls that take the time first drop what is too old by
/// then, so [`handle_timeout`](Self::handle_timeout) only makes sure that memory is freed when nothing else happens.
#[derive(Debug)]
pub struct Cache {
    limits: Limits,
    names: BTreeMap<FullTrackName, TrackId>,
    tracks: BTreeMap<TrackId, Track>,
    books: Books,
    next: u64,
}

impl Cache {
    /// An empty cache.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            names: BTreeMap::new(),
            tracks: BTreeMap::new(),
            books: Books::default(),
            next: 0,
        }
    }

    /// The limits it was made with.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Bytes of all objects; see [`Limits::max_bytes`].
    pub const fn used(&self) -> u64 {
        self.books.used
    }

    /// Adds what is cached, and compares the books with it.
    #[cfg(feature = "sim")]
    pub(crate) fn recount(&self, held: &mut crate::recount::Recount) -> Result<(), String> {
        let mut used = 0;
        let groups = self.tracks.values().flat_map(|track| track.groups.values());
        for object in groups.flat_map(|group| group.objects.values()) {
            used += object.cost();
            held.properties(&object.properties);
            object.payload.iter().for_each(|piece| held.piece(piece));
        }
        if used == self.books.used {
            return Ok(());
        }
        let kept = self.books.used;
        Err(format!(
            "cached bytes: {kept} by the books, in truth {used}"
        ))
    }

    /// Of these, the bytes in groups that fills pin: what only the owner of the fills can bound.
    pub const fn filled(&self) -> u64 {
        self.books.filled
    }

    /// Tracks of which something is kept, or that are open.
    pub fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Whether there is no track.
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    // Tracks.

    /// Opens a track, to put objects in or to take them out. Its id is good until it was closed as often as it was
    /// opened; meanwhile it may lose objects, but nothing else that is known of it. How many tracks are open at once is
    /// bounded by what they are opened for: live tracks and FETCHes.
    pub fn open(&mut self, name: &FullTrackName) -> TrackId {
        let id = self.names.get(name).copied().unwrap_or_else(|| {
            let id = TrackId(self.next);
            self.next += 1;
            self.names.insert(name.clone(), id);
            let track = Track::new(id, name.clone(), &self.limits);
            self.tracks.insert(id, track);
            id
        });
        if let Some(track) = self.tracks.get_mut(&id) {
            track.opened += 1;
        }
        id
    }

    /// The track of this name, if it is open or something of it is kept.
    pub fn find(&self, name: &FullTrackName) -> Option<TrackId> {
        self.names.get(name).copied()
    }

    /// Undoes an [`open`](Self::open). The last one also ends all pins of the track, and it is not live any more.
    pub fn close(&mut self, id: TrackId) {
        let Some(track) = self.tracks.get_mut(&id).filter(|track| track.opened > 0) else {
            return;
        };
        track.opened -= 1;
        if track.opened > 0 {
            return;
        }
        let (limits, books) = (&self.limits, &mut self.books);
        while let Some((group, _)) = track.pins.first_key_value() {
            track.unpin(*group, true, limits, books);
        }
        track.set_live(None, limits, books);
        track.drop_surplus(limits, books);
        self.settle(id);
        self.shrink(self.limits.max_bytes);
    }

    /// Says what a track's properties are and by which draft they are to be understood. MAX_CACHE_DURATION is taken from
    /// them.
    pub fn describe(&mut self, id: TrackId, properties: Properties, draft: Draft) {
        let duration = properties.max_cache_duration();
        self.set_max_duration(id, duration.map(|millis| Duration::from_millis(millis.0)));
        if let Some(track) = self.tracks.get_mut(&id) {
            track.told = Some((properties, draft));
        }
    }

    /// A track's properties, as [told](Self::describe).
    pub fn description(&self, id: TrackId) -> Option<(&Properties, Draft)> {
        let (properties, draft) = self.tracks.get(&id)?.told.as_ref()?;
        Some((properties, *draft))
    }

    /// Sets how long after its arrival an object of a track may be served (§ MAX CACHE DURATION); `None`: as long as it
    /// is there. What a fill brought is given to those who wait for it however late, as it is not served from the cache
    /// to them: for such objects it holds from the moment that no fill pins their group any more.
    pub fn set_max_duration(&mut self, id: TrackId, duration: Option<Duration>) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.set_max_duration(duration, &self.limits, &mut self.books);
        }
    }

    /// Says which group of a track is being published, if any. It is spared as long as there are others that can go.
    pub fn set_live(&mut self, id: TrackId, group: Option<GroupId>) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        if track.live == group {
            return;
        }
        track.set_live(group, &self.limits, &mut self.books);
        track.drop_surplus(&self.limits, &mut self.books);
        self.settle(id);
        self.shrink(self.limits.max_bytes);
    }

    /// A fill is going to bring objects of a group, or somebody is to read some that it brought: the group stays. Pins
    /// are counted.
    pub fn pin(&mut self, id: TrackId, group: GroupId) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.pin(group, &mut self.books);
            self.settle(id);
        }
    }

    /// Undoes a [`pin`](Self::pin).
    pub fn unpin(&mut self, id: TrackId, group: GroupId) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.unpin(group, false, &self.limits, &mut self.books);
            track.drop_surplus(&self.limits, &mut self.books);
            self.settle(id);
            self.shrink(self.limits.max_bytes);
        }
    }

    /// Forgets everything that is known of a track, because it is malformed or begins anew. If it is open its id stays
    /// good, and so do its pins.
    pub fn forget(&mut self, name: &FullTrackName) {
        let Some(id) = self.find(name) else {
            return;
        };
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        self.books.drop_groups(track, true);
        track.live = None;
        (track.absent, track.stated) = (
            Spans::new(self.limits.max_gaps_per_track),
            Spans::new(self.limits.max_gaps_per_track),
        );
        (track.largest, track.max_duration, track.told) = (None, None, None);
        self.settle(id);
    }

    /// The largest location of which an object was ever offered, or that [was told](Self::reach); kept or not.
    pub fn largest(&self, id: TrackId) -> Option<Location> {
        self.tracks.get(&id)?.largest
    }

    /// An object at this location is known to exist.
    pub fn reach(&mut self, id: TrackId, location: Location) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.largest = track.largest.max(Some(location));
        }
    }

    /// The location from which on the publisher said that there are no objects.
    pub fn end_of_track(&self, id: TrackId) -> Option<Location> {
        let last = self.tracks.get(&id)?.stated.before(Position::END)?;
        (last.to == Position::END).then(|| last.from.location())
    }

    // Content.

    /// Puts an object in.
    ///
    /// # Errors
    /// If it contradicts what is known; the cache is unchanged then.
    pub fn insert(
        &mut self,
        now: Time,
        id: TrackId,
        location: Location,
        object: Object,
    ) -> Result<Inserted, Contradiction> {
        self.handle_timeout(now);
        let at = Position::of(location);
        let Some(track) = self.tracks.get_mut(&id) else {
            return Ok(Inserted::NotKept);
        };
        if track.stated.contains(at) {
            let conflict = Conflict::KnownGap;
            return Err(Contradiction { location, conflict });
        }
        if track.absent.contains(at) {
            return Ok(Inserted::Absent);
        }
        if let Some(before) = track.object(location) {
            if let Some(conflict) = object.conflict(before) {
                return Err(Contradiction { location, conflict });
            }
            if object.properties != before.properties {
                track.renew(location, object.properties, &mut self.books);
            }
            track.touch(location.group, &mut self.books);
            self.shrink(self.limits.max_bytes);
            return Ok(Inserted::Known);
        }
        track.largest = track.largest.max(Some(location));
        let needed = track.pins.contains_key(&location.group);
        if at == Position::END || !(self.admit(id) || needed) {
            return Ok(Inserted::NotKept);
        }
        if let Some(track) = self.tracks.get_mut(&id) {
            track.store(now, location, object, &self.limits, &mut self.books);
            track.drop_surplus(&self.limits, &mut self.books);
        }
        self.settle(id);
        self.shrink(self.limits.max_bytes);
        Ok(Inserted::New)
    }

    /// Whether the answer to a FETCH left an object out, so that it does not exist for good.
    pub fn is_left_out(&self, id: TrackId, location: Location) -> bool {
        let at = Position::of(location);
        self.tracks
            .get(&id)
            .is_some_and(|track| track.absent.contains(at) && !track.stated.contains(at))
    }

    /// Notes that in a span no objects exist. If that is only [inferred](Evidence::Inferred), those that are in the cache
    /// stay.
    ///
    /// # Errors
    /// If the publisher said so and yet there are objects in the cache; nothing is noted then.
    pub fn mark_absent(
        &mut self,
        id: TrackId,
        span: Span,
        evidence: Evidence,
    ) -> Result<(), Contradiction> {
        let Some(track) = self.tracks.get_mut(&id) else {
            return Ok(());
        };
        let object = |track: &Track, from: Position| {
            track.object_after(from).filter(|at| span.contains(*at))
        };
        match evidence {
            Evidence::Stated => {
                if let Some(at) = object(track, span.from) {
                    return Err(Contradiction {
                        location: at.location(),
                        conflict: Conflict::KnownObject,
                    });
                }
                track.stated.insert(span);
                track.absent.insert(span);
            }
            Evidence::Inferred => {
                let mut from = span.from;
                while let Some(at) = object(track, from) {
                    track.absent.insert(Span::new(from, at));
                    from = at.next();
                }
                track.absent.insert(Span::new(from, span.to));
            }
        }
        Ok(())
    }

    // Room.

    /// Frees at least so many bytes, if it has them beyond what fills pin. How many it freed.
    pub fn relieve(&mut self, bytes: u64) -> u64 {
        let before = self.books.used;
        self.shrink(before.saturating_sub(bytes));
        before - self.books.used
    }

    /// When something becomes too old, or before: call [`handle_timeout`](Self::handle_timeout) then.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let (due, ..) = self.books.deadlines.first()?;
        Some((*due, "cached objects expire"))
    }

    /// Drops what is too old.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(&(due, id, group)) = self.books.deadlines.first()
            && due <= now
        {
            self.books.deadlines.pop_first();
            if let Some(track) = self.tracks.get_mut(&id) {
                track.expire(now, group, &self.limits, &mut self.books);
            }
            self.settle(id);
        }
    }

    /// Counts a track among those that are kept, at the cost of the one used least recently if need be. Whether it is.
    fn admit(&mut self, id: TrackId) -> bool {
        if self.tracks.get(&id).is_none_or(|track| track.kept) {
            return true;
        }
        if self.limits.max_tracks == 0 {
            return false;
        }
        while self.books.kept >= self.limits.max_tracks {
            let Some((_, &oldest)) = self.books.idle.first_key_value() else {
                return false;
            };
            if let Some(track) = self.tracks.get_mut(&oldest) {
                self.books.drop_groups(track, false);
            }
            self.settle(oldest);
        }
        if let Some(track) = self.tracks.get_mut(&id) {
            track.kept = true;
            self.books.kept += 1;
            track.rest(&mut self.books);
        }
        true
    }

    /// Stops counting a track that has nothing left, and forgets it if nobody has it open.
    fn settle(&mut self, id: TrackId) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        if track.kept && track.groups.is_empty() && track.live.is_none() {
            track.kept = false;
            self.books.kept -= 1;
        }
        track.rest(&mut self.books);
        if track.opened == 0 && !track.kept {
            self.names.remove(&track.name);
            self.tracks.remove(&id);
        }
    }

    /// Drops groups, and then objects of live groups, until no more than so many bytes are used.
    fn shrink(&mut self, to: u64) {
        while self.books.used > to {
            let groups = self.books.groups.first_key_value();
            let live = || self.books.live.last().map(|(_, id)| (*id, None));
            let next = groups
                .map(|(_, (id, group))| (*id, Some(*group)))
                .or_else(live);
            let Some((id, group)) = next else {
                return;
            };
            let Some(track) = self.tracks.get_mut(&id) else {
                return;
            };
            let freed = match group {
                Some(group) => track.drop_group(group, &mut self.books),
                None => track.trim_live(&mut self.books),
            };
            self.settle(id);
            if freed == 0 {
                return; // Cannot be: what is in the books has objects, and every object costs something.
            }
        }
    }
}
