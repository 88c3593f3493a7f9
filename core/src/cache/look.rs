//! Walking over what is known of a track, in both group orders.

use super::object::Object;
use super::track::Track;
use super::{Cache, TrackId};
use crate::span::{Position, Span};
use crate::time::Time;
use crate::wire::id::{GroupId, Location};

/// What is at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// An object.
    Object(Location, Object),
    /// No object exists from here up to, but without, this position.
    Absent(Position),
    /// Nothing is known from here up to, but without, this position.
    Missing(Position),
}

/// What is before a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookBack {
    /// Something is known of this group, and it is not the same for all of it: to be walked through from its beginning,
    /// since objects ascend within a group in either order.
    Group(GroupId),
    /// No object exists from this position on, up to the one looked from. It is where a group begins, or where the walk
    /// is to end.
    Absent(Position),
    /// Nothing is known from this position on, up to the one looked from; as above.
    Missing(Position),
}

impl Cache {
    /// What is at `from`; it ends before `to`. `None` once `from` has come to `to`. Looking at an object is a use of its
    /// group.
    ///
    /// To walk through a span in ascending order of groups, look from its beginning, then from after the object or
    /// from the end of the run that was there, and so on. A walk may be resumed at any time: it finds what is known then.
    pub fn look(&mut self, now: Time, id: TrackId, from: Position, to: Position) -> Option<Look> {
        self.handle_timeout(now);
        if from >= to {
            return None;
        }
        let Some(track) = self.tracks.get_mut(&id) else {
            return Some(Look::Missing(to));
        };
        let at = from.location();
        if let Some(object) = track.object(at).cloned() {
            track.touch(at.group, &mut self.books);
            return Some(Look::Object(at, object));
        }
        if let Some(run) = track.absent.around(from) {
            return Some(Look::Absent(run.to.min(to)));
        }
        let object = track.object_after(from).unwrap_or(to);
        let gap = track.absent.after(from).map_or(to, |run| run.from);
        Some(Look::Missing(to.min(object).min(gap)))
    }

    /// What is before `to`, back to `from` at most; `None` once `to` has come to `from`.
    ///
    /// To walk through a span in descending order of groups, look back from its end. A group is to be walked through with
    /// [`look`](Self::look), from its beginning or the span's to its end or where this looked back from. After that, or at
    /// the beginning of a run, look back again. Runs reach over whole groups however many they are; only the first of
    /// them may begin within a group, if the span ends there.
    pub fn look_back(
        &mut self,
        now: Time,
        id: TrackId,
        from: Position,
        to: Position,
    ) -> Option<LookBack> {
        self.handle_timeout(now);
        let last = to.previous().filter(|_| from < to)?;
        let Some(track) = self.tracks.get(&id) else {
            return Some(LookBack::Missing(from));
        };
        let run = track.run_before(last);
        let begin = run.from.max(from);
        // A run that begins within a group ends the walk there, or the group has something else as well.
        let begin = if begin == from {
            begin
        } else {
            begin.next_group_start()
        };
        Some(if begin >= to {
            LookBack::Group(last.group())
        } else if track.absent.contains(last) {
            LookBack::Absent(begin)
        } else {
            LookBack::Missing(begin)
        })
    }
}

impl Track {
    /// The run of locations of one kind that ends with this one; empty if there is an object.
    fn run_before(&self, last: Position) -> Span {
        if let Some(run) = self.absent.around(last) {
            return run;
        }
        let end = last.next();
        let object = self.object_before(end).map(Position::next);
        let gap = self.absent.before(end).map(|run| run.to);
        let from = object.max(gap).unwrap_or(Position::START);
        Span::new(from, end)
    }
}
