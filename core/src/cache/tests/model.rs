//! A cache that keeps no indexes and looks at everything each time, over a few groups of a few objects.

use std::collections::BTreeSet;

use super::*;

pub(super) const TRACKS: usize = 3;
pub(super) const GROUPS: u64 = 4;
/// Ids of objects that are put in. The one above stands for the rest of a group, as no span ends beyond it.
pub(super) const OBJECTS: u64 = 4;

/// A group and an object.
pub(super) type Place = (u64, u64);

/// An object in the model.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) filling: u8,
    pub(super) arrived: u64,
    pub(super) awaited: bool,
}

impl Held {
    pub(super) fn cost(&self) -> u64 {
        cost(self.filling)
    }
}

pub(super) fn cost(filling: u8) -> u64 {
    COST + u64::from(filling)
}

#[derive(Clone, Debug, Default)]
pub(super) struct ModelTrack {
    /// Tracks opened later have larger ones.
    pub(super) age: u64,
    pub(super) opened: u64,
    pub(super) kept: bool,
    pub(super) idle: Option<u64>,
    pub(super) live: Option<u64>,
    pub(super) pins: BTreeMap<u64, u64>,
    pub(super) objects: BTreeMap<Place, Held>,
    pub(super) used: BTreeMap<u64, u64>,
    pub(super) inserted: BTreeMap<u64, u64>,
    pub(super) absent: BTreeSet<Place>,
    pub(super) stated: BTreeSet<Place>,
    pub(super) largest: Option<Place>,
    pub(super) duration: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Object(u8),
    Absent,
    Missing,
}

impl ModelTrack {
    pub(super) fn is_there(&self) -> bool {
        self.opened > 0 || self.kept
    }

    pub(super) fn is_pinned(&self, group: u64) -> bool {
        self.pins.contains_key(&group) || self.kept && self.live == Some(group)
    }

    pub(super) fn groups(&self) -> BTreeSet<u64> {
        self.objects.keys().map(|(group, _)| *group).collect()
    }

    pub(super) fn bytes(&self, group: u64) -> u64 {
        let held = self.objects.iter().filter(|((of, _), _)| *of == group);
        held.map(|(_, held)| held.cost()).sum()
    }

    pub(super) fn drop_group(&mut self, group: u64) {
        self.objects.retain(|(of, _), _| *of != group);
        self.clean();
    }

    pub(super) fn clean(&mut self) {
        let groups = self.groups();
        self.used.retain(|group, _| groups.contains(group));
        self.inserted.retain(|group, _| groups.contains(group));
    }

    pub(super) fn class(&self, place: Place) -> Class {
        match self.objects.get(&place) {
            Some(held) => Class::Object(held.filling),
            None if self.absent.contains(&place) => Class::Absent,
            None => Class::Missing,
        }
    }
}

/// All places from one up to, but without, another.
pub(super) fn places(from: Place, to: Place) -> impl Iterator<Item = Place> {
    (0..GROUPS)
        .flat_map(|group| (0..=OBJECTS).map(move |object| (group, object)))
        .filter(move |place| (from..to).contains(place))
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) limits: Limits,
    pub(super) clock: u64,
    pub(super) now: u64,
    pub(super) tracks: Vec<ModelTrack>,
}

impl Model {
    pub(super) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(super) fn used(&self) -> u64 {
        let all = self.tracks.iter().flat_map(|track| track.objects.values());
        all.map(Held::cost).sum()
    }

    pub(super) fn filled(&self) -> u64 {
        let pinned = self.tracks.iter().map(|track| {
            let groups = track.pins.keys();
            groups.map(|group| track.bytes(*group)).sum::<u64>()
        });
        pinned.sum()
    }

    pub(super) fn open(&mut self, track: usize) {
        if !self.tracks[track].is_there() {
            self.tracks[track].age = self.tick();
        }
        self.tracks[track].opened += 1;
    }

    pub(super) fn close(&mut self, track: usize) {
        if self.tracks[track].opened == 0 {
            return;
        }
        self.tracks[track].opened -= 1;
        if self.tracks[track].opened > 0 {
            return;
        }
        while let Some((group, _)) = self.tracks[track].pins.pop_first() {
            self.release(track, group);
            self.settle_group(track, group);
        }
        if let Some(group) = self.tracks[track].live.take() {
            self.settle_group(track, group);
        }
        self.settle_all(track);
    }

    pub(super) fn release(&mut self, track: usize, group: u64) {
        let objects = &mut self.tracks[track].objects;
        for (_, held) in objects.iter_mut().filter(|((of, _), _)| *of == group) {
            held.awaited = false;
        }
    }

    pub(super) fn settle_group(&mut self, track: usize, group: u64) {
        let fresh = self.tick();
        let track = &mut self.tracks[track];
        if track.is_pinned(group) {
            track.used.remove(&group);
        } else if !track.kept {
            track.drop_group(group);
        } else if track.groups().contains(&group) {
            track.used.entry(group).or_insert(fresh);
        }
    }

    pub(super) fn settle_track(&mut self, track: usize) {
        let fresh = self.tick();
        let track = &mut self.tracks[track];
        track.kept &= !track.objects.is_empty() || track.live.is_some();
        let idle = track.kept && track.live.is_none() && track.pins.is_empty();
        track.idle = idle.then(|| track.idle.unwrap_or(fresh));
        if !track.is_there() {
            *track = ModelTrack::default();
        }
    }

    pub(super) fn settle_all(&mut self, track: usize) {
        self.drop_surplus(track);
        self.settle_track(track);
        self.shrink(self.limits.max_bytes);
    }

    pub(super) fn touch(&mut self, track: usize, group: u64) {
        let fresh = self.tick();
        let track = &mut self.tracks[track];
        if let Some(used) = track.used.get_mut(&group) {
            *used = fresh;
        }
        if let Some(idle) = &mut track.idle {
            *idle = fresh;
        }
    }

    pub(super) fn drop_surplus(&mut self, track: usize) {
        let track = &mut self.tracks[track];
        while track.groups().len() > self.limits.max_groups_per_track {
            let oldest = track.used.iter().min_by_key(|(_, used)| **used);
            let Some(group) = oldest.map(|(group, _)| *group) else {
                return;
            };
            track.drop_group(group);
        }
    }

    pub(super) fn shrink(&mut self, to: u64) {
        while self.used() > to {
            let groups = (0..TRACKS).flat_map(|track| {
                let used = self.tracks[track].used.iter();
                used.map(move |(group, used)| (*used, track, *group))
            });
            let live = (0..TRACKS).filter_map(|track| {
                let state = &self.tracks[track];
                let group = state.live.filter(|_| state.kept)?;
                let free = !state.pins.contains_key(&group) && state.bytes(group) > 0;
                free.then(|| (state.bytes(group), state.age, track, group))
            });
            let track = if let Some((_, track, group)) = groups.min() {
                self.tracks[track].drop_group(group);
                track
            } else if let Some((_, _, track, group)) = live.max() {
                let state = &mut self.tracks[track];
                let lowest = state.objects.keys().find(|(of, _)| *of == group);
                let lowest = *lowest.unwrap();
                state.objects.remove(&lowest);
                state.clean();
                track
            } else {
                return;
            };
            self.settle_track(track);
        }
    }

    pub(super) fn admit(&mut self, track: usize) -> bool {
        if self.tracks[track].kept {
            return true;
        }
        if self.limits.max_tracks == 0 {
            return false;
        }
        while self.tracks.iter().filter(|track| track.kept).count() >= self.limits.max_tracks {
            let idle = (0..TRACKS).filter_map(|track| Some((self.tracks[track].idle?, track)));
            let Some((_, oldest)) = idle.min() else {
                return false;
            };
            self.tracks[oldest].objects.clear();
            self.tracks[oldest].clean();
            self.settle_track(oldest);
        }
        self.tracks[track].kept = true;
        true
    }

    pub(super) fn expire(&mut self) {
        let (now, age) = (self.now, self.limits.max_age.as_secs());
        for track in 0..TRACKS {
            let state = &mut self.tracks[track];
            for group in state.groups() {
                if !state.is_pinned(group) && state.inserted[&group] + age <= now {
                    state.drop_group(group);
                }
            }
            if let Some(duration) = state.duration {
                let stays =
                    |held: &Held| held.awaited || now.saturating_sub(held.arrived) <= duration;
                state.objects.retain(|_, held| stays(held));
                state.clean();
            }
            if state.is_there() {
                self.settle_track(track);
            }
        }
    }

    pub(super) fn insert(&mut self, track: usize, at: Place, held: Held) -> Option<Inserted> {
        self.expire();
        let state = &mut self.tracks[track];
        if !state.is_there() {
            return Some(Inserted::NotKept);
        }
        if state.stated.contains(&at) {
            return None;
        }
        if state.absent.contains(&at) {
            return Some(Inserted::Absent);
        }
        if let Some(before) = state.objects.get(&at) {
            if before.filling != held.filling {
                return None;
            }
            self.touch(track, at.0);
            return Some(Inserted::Known);
        }
        state.largest = state.largest.max(Some(at));
        let needed = state.pins.contains_key(&at.0);
        if !self.admit(track) && !needed {
            return Some(Inserted::NotKept);
        }
        let awaited = needed && self.tracks[track].duration.is_some();
        let state = &mut self.tracks[track];
        state.objects.insert(at, Held { awaited, ..held });
        state.inserted.insert(at.0, self.now);
        self.settle_group(track, at.0);
        self.touch(track, at.0);
        self.settle_all(track);
        Some(Inserted::New)
    }

    pub(super) fn mark_absent(
        &mut self,
        track: usize,
        from: Place,
        to: Place,
        evidence: Evidence,
    ) -> bool {
        let state = &mut self.tracks[track];
        if !state.is_there() {
            return true;
        }
        for place in places(from, to) {
            let known = state.objects.contains_key(&place);
            match evidence {
                Evidence::Stated if known => return false,
                Evidence::Stated | Evidence::Inferred => {}
            }
        }
        for place in places(from, to) {
            if !state.objects.contains_key(&place) {
                state.absent.insert(place);
                if evidence == Evidence::Stated {
                    state.stated.insert(place);
                }
            }
        }
        true
    }

    pub(super) fn set_duration(&mut self, track: usize, duration: Option<u64>) {
        let state = &mut self.tracks[track];
        if !state.is_there() {
            return;
        }
        let began = state.duration.is_none() && duration.is_some();
        for ((group, _), held) in &mut state.objects {
            held.awaited &= duration.is_some();
            held.awaited |= began && state.pins.contains_key(group);
        }
        state.duration = duration;
    }

    pub(super) fn unpin(&mut self, track: usize, group: u64) {
        let Some(count) = self.tracks[track].pins.get_mut(&group) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.tracks[track].pins.remove(&group);
            self.release(track, group);
            self.settle_group(track, group);
        }
        self.settle_all(track);
    }

    pub(super) fn set_live(&mut self, track: usize, live: Option<u64>) {
        let before = self.tracks[track].live;
        if before == live || !self.tracks[track].is_there() {
            return;
        }
        self.tracks[track].live = live;
        for group in before.into_iter().chain(live) {
            self.settle_group(track, group);
        }
        self.settle_all(track);
    }

    /// When something is due at the latest.
    pub(super) fn due(&self) -> Option<u64> {
        let groups = self.tracks.iter().flat_map(|track| {
            let free = |group: &u64| !track.is_pinned(*group);
            let ages = track.inserted.iter().filter(move |(group, _)| free(group));
            let ages = ages.map(|(_, inserted)| *inserted + self.limits.max_age.as_secs());
            let subject = track.objects.values().filter(|held| !held.awaited);
            let durations = subject.filter_map(|held| Some(held.arrived + track.duration? + 1));
            ages.chain(durations)
        });
        groups.min()
    }
}
