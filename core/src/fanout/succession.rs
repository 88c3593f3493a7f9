//! One source of a track after another: what one left unfinished waits for the next.

use super::ingest::Ingest;
use super::subgroup::{End, Subgroup};
use super::track::Key;
use super::{Fanout, IngestId, SourceId, TrackId};
use crate::code::ResetCode;
use crate::time::Time;
use crate::wire::id::{Location, ObjectId};

impl Fanout {
    /// Removes a source that may come back, or be followed by another. What it was bringing is not given up: whoever brings
    /// the same subgroup goes on at the same byte, until [`Fanout::end_suspended`] is called.
    pub fn suspend_source(&mut self, track: TrackId, source: SourceId) {
        for stream in self.streams_of(track, source) {
            let Some(ingest) = self.ingests.remove(&stream) else {
                continue;
            };
            let key = ingest.key;
            if let Some(subgroup) = self
                .tracks
                .get_mut(&track)
                .and_then(|track| track.subgroup_mut(key))
            {
                subgroup.feeds.retain(|feed| *feed != stream);
                if !subgroup.feeds.is_empty()
                    && let Some(cut) = ingest.cut()
                {
                    self.give_up_object(track, key, cut);
                }
            }
            self.changed(track, key);
            self.tell_broken(&ingest);
        }
        self.forget_source(track, source);
    }

    /// Resets the subgroups that a source left unfinished and no other has taken up.
    pub fn end_suspended(&mut self, now: Time, track: TrackId, code: ResetCode) {
        let Some(state) = self.open_mut(track) else {
            return;
        };
        let is_suspended =
            |subgroup: &Subgroup| subgroup.feeds.is_empty() && subgroup.end.is_none();
        let mut keys: Vec<Key> = Vec::new();
        for (group, content) in &mut state.groups {
            for (id, subgroup) in &mut content.subgroups {
                if is_suspended(subgroup) {
                    subgroup.finish(now, End::Reset(code));
                    keys.push((*group, *id));
                }
            }
        }
        for key in keys {
            self.changed(track, key);
        }
    }

    /// Whether the rest of this object is missing and nobody brings it.
    pub fn is_cut(&self, track: TrackId, at: Location) -> bool {
        let Some(group) = self
            .tracks
            .get(&track)
            .and_then(|track| track.groups.get(&at.group))
        else {
            return false;
        };
        let orphans = group
            .subgroups
            .values()
            .filter(|subgroup| subgroup.feeds.is_empty());
        orphans
            .flat_map(|subgroup| &subgroup.objects)
            .any(|object| object.id == at.object && !object.is_complete())
    }

    pub(super) fn streams_of(&self, track: TrackId, source: SourceId) -> Vec<IngestId> {
        self.ingests
            .iter()
            .filter(|(_, ingest)| ingest.track == track && ingest.source == source)
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn forget_source(&mut self, track: TrackId, source: SourceId) {
        if let Some(track) = self.tracks.get_mut(&track) {
            let before = track.sources.len();
            track.sources.retain(|known| *known != source);
            if track.sources.len() < before {
                track.gone = Some(source);
            }
        }
    }

    /// The stream that brought an object broke off: unless another may still bring the rest, it will not come.
    pub(super) fn give_up_object(&mut self, track: TrackId, key: Key, id: ObjectId) {
        let ingests = &self.ingests;
        let follows = |feed| {
            ingests
                .get(feed)
                .is_some_and(|other: &Ingest| other.last.is_none_or(|last| last <= id))
        };
        if let Some(subgroup) = self
            .tracks
            .get_mut(&track)
            .and_then(|track| track.subgroup_mut(key))
            && !subgroup.feeds.iter().any(follows)
            && let Some(object) = subgroup.find_mut(id)
        {
            object.abandoned = true;
        }
    }
}
