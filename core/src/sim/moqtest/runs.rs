//! One request's objects on their way: live ones by SUBSCRIBE, those of the past by FETCH.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::stage::{FetchStream, Stage, Subgroup};
use super::track::{Forwarding, TestTrack};
use crate::code::{DoneCode, ResetCode};
use crate::draft::IntegerKind;
use crate::session::Misuse;
use crate::transport::{ConnectionId, StreamId};
use crate::wire::id::{GroupId, Location, RequestId, SubgroupId, TrackAlias};
use crate::wire::message::FetchOk;
use crate::wire::object::{
    DatagramObject, FetchEntry, FetchObject, ObjectHeader, ObjectStatus, SubgroupHeader,
};
use crate::wire::param::{Filter, GroupOrder, Parameters};
use crate::wire::property::{OBJECT_DELIVERY_TIMEOUT, Properties, Value};

/// The publisher's priority of everything.
pub(super) const PRIORITY: u8 = 128;

/// Who asked.
pub(super) type To = (ConnectionId, RequestId);

/// Whether there is more to come.
pub(super) enum Step {
    More,
    Over,
}

/// A track that is published for one subscription.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) alias: TrackAlias,
    pub(super) forward: bool,
    next: Option<Location>,
    /// The last group that was asked for.
    end_group: Option<GroupId>,
    /// Streams of the current group; `None`: the subscriber does not want that subgroup.
    open: BTreeMap<SubgroupId, Option<Subgroup>>,
}

impl Live {
    /// One that begins now. Nothing was published before, so that only an absolute start leaves anything out.
    pub(super) fn new(track: &TestTrack, alias: TrackAlias, parameters: &Parameters) -> Self {
        let (start, end_group) = match parameters.filter {
            None | Some(Filter::NextGroupStart | Filter::LargestObject) => {
                (Location::default(), None)
            }
            Some(Filter::AbsoluteStart(start)) => (start, None),
            Some(Filter::AbsoluteRange { start, end_group }) => (start, Some(end_group)),
        };
        Self {
            alias,
            forward: parameters.forward != Some(false),
            next: track.at_or_after(start),
            end_group,
            open: BTreeMap::new(),
        }
    }

    /// Publishes the next object, or the end.
    pub(super) fn step(
        &mut self,
        stage: &mut Stage<'_>,
        to: To,
        track: &TestTrack,
    ) -> Result<Step, Misuse> {
        let past_end = |at: &Location| self.end_group.is_some_and(|end| at.group > end);
        let Some(at) = self.next.filter(|at| !past_end(at)) else {
            let code = if self.next.is_some() {
                DoneCode::SubscriptionEnded
            } else {
                DoneCode::TrackEnded
            };
            let now = stage.now();
            let session = stage.session(to.0).map_err(|_| Misuse::Closed)?;
            session.done(now, to.1, code, "Testing")?;
            return Ok(Step::Over);
        };
        if self.forward {
            self.publish(stage, to, track, at)?;
        }
        self.next = track.after(at);
        if self.next.is_none_or(|next| next.group != at.group) {
            self.finish_group(stage);
        }
        Ok(Step::More)
    }

    fn publish(
        &mut self,
        stage: &mut Stage<'_>,
        to: To,
        track: &TestTrack,
        at: Location,
    ) -> Result<(), Misuse> {
        let properties = properties(stage, to.0, track.extensions(at))?;
        let (status, payload) = (track.status(at), track.payload(at));
        if track.forwarding == Forwarding::Datagram {
            let object = DatagramObject {
                location: at,
                priority: Some(PRIORITY),
                properties,
                status,
                end_of_group: false,
                payload,
            };
            return stage.write_datagram(to.0, to.1, self.alias, &object);
        }
        let id = track.subgroup(at);
        let subgroup = match self.open.get_mut(&id) {
            Some(subgroup) => subgroup,
            None => {
                let opened = self.open_subgroup(stage, to, track, at)?;
                self.open.entry(id).or_insert(Some(opened))
            }
        };
        let Some(subgroup) = subgroup else {
            return Ok(());
        };
        let header = ObjectHeader {
            id: at.object,
            properties,
            status,
            payload_length: track.length(at),
        };
        stage.write_object(subgroup, &header, payload)?;
        if track.next_of_subgroup(at).is_none() {
            stage.finish(*subgroup);
            self.open.insert(id, None);
        }
        Ok(())
    }

    fn open_subgroup(
        &self,
        stage: &mut Stage<'_>,
        to: To,
        track: &TestTrack,
        at: Location,
    ) -> Result<Subgroup, Misuse> {
        let subgroup = track.subgroup(at);
        let header = SubgroupHeader {
            group: at.group,
            subgroup,
            priority: Some(PRIORITY),
            end_of_group: false,
            first_object: track.first_of_subgroup(at.group, subgroup) == Some(at),
        };
        stage.open_subgroup_stream(to.0, to.1, self.alias, &header, track.has_extensions())
    }

    fn finish_group(&mut self, stage: &mut Stage<'_>) {
        for subgroup in std::mem::take(&mut self.open).into_values().flatten() {
            stage.finish(subgroup);
        }
    }

    /// Turns delivery on or off. What is cut off in the middle is reset.
    pub(super) fn set_forward(&mut self, stage: &mut Stage<'_>, to: To, forward: bool) {
        self.forward = forward;
        if forward {
            return;
        }
        let now = stage.now();
        for subgroup in std::mem::take(&mut self.open).into_values().flatten() {
            if let Ok(session) = stage.session(to.0) {
                session.reset_stream(now, subgroup.stream(), ResetCode::Cancelled);
            }
        }
    }

    /// The subscriber does not want a stream any more.
    pub(super) fn stopped(&mut self, stream: StreamId) {
        for open in self.open.values_mut() {
            *open = open.filter(|subgroup| subgroup.stream() != stream);
        }
    }
}

/// A range of a track on its way for a FETCH.
#[derive(Debug)]
pub(super) struct Past {
    start: Location,
    /// The first location behind the range.
    end: Location,
    order: GroupOrder,
    next: Option<Location>,
    stream: Option<FetchStream>,
}

impl Past {
    /// The range of a FETCH, `end` as on the wire; `None` if it starts behind all of the track.
    pub(super) fn new(
        track: &TestTrack,
        start: Location,
        end: Location,
        order: GroupOrder,
    ) -> Option<Self> {
        if start > track.last() {
            return None;
        }
        let end = if end.object.0 == 0 {
            Location::new(end.group.0.saturating_add(1), 0)
        } else {
            end
        };
        let mut past = Self {
            start,
            end,
            order,
            next: None,
            stream: None,
        };
        let first = past.first_of_groups(track, start.group);
        past.next = match order {
            GroupOrder::Ascending => first,
            GroupOrder::Descending => first.and_then(|first| {
                let last = track.group_at_or_before(end.group);
                let last_but_one = last.and_then(|group| track.group_before(group));
                let groups = [last, last_but_one].into_iter().flatten();
                let mut groups = groups.filter(|group| *group >= first.group);
                groups.find_map(|group| past.first_of_group(track, group))
            }),
        };
        Some(past)
    }

    /// The answer to such a FETCH.
    pub(super) fn ok(&self, track: &TestTrack, properties: Properties) -> FetchOk {
        let last = track.last();
        let behind = Location::new(last.group.0, last.object.0 + 1);
        FetchOk {
            request_id: None,
            end_of_track: self.end >= behind,
            end: if self.end >= behind {
                behind
            } else if self.end.object.0 == 0 {
                Location::new(self.end.group.0 - 1, 0)
            } else {
                self.end
            },
            parameters: Parameters::default(),
            properties,
        }
    }

    /// Sends the next object, or the end.
    pub(super) fn step(
        &mut self,
        stage: &mut Stage<'_>,
        to: To,
        track: &TestTrack,
    ) -> Result<Step, Misuse> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = stage.open_fetch(to.0, to.1, self.order)?;
                self.stream.insert(stream)
            }
        };
        let Some(at) = self.next else {
            stage.finish_stream(to.0, stream.stream());
            return Ok(Step::Over);
        };
        let (entry, payload) = match track.status(at) {
            ObjectStatus::Normal => {
                let object = FetchObject {
                    location: at,
                    subgroup: Some(track.subgroup(at)),
                    priority: PRIORITY,
                    properties: properties(stage, to.0, track.extensions(at))?,
                    payload_length: track.length(at),
                };
                (FetchEntry::Object(object), track.payload(at))
            }
            ObjectStatus::EndOfGroup | ObjectStatus::EndOfTrack => {
                (FetchEntry::NonExistent(at), Bytes::new())
            }
        };
        stage.fetched(stream, &entry, payload)?;
        self.next = self.after(track, at);
        Ok(Step::More)
    }

    fn after(&self, track: &TestTrack, at: Location) -> Option<Location> {
        let next = track.after(at).filter(|next| *next < self.end);
        match self.order {
            GroupOrder::Ascending => next,
            GroupOrder::Descending => next
                .filter(|next| next.group == at.group)
                .or_else(|| self.first_of_group(track, track.group_before(at.group)?)),
        }
    }

    /// The first of this group in the range, or of a later group.
    fn first_of_groups(&self, track: &TestTrack, group: GroupId) -> Option<Location> {
        let first = Location {
            group,
            ..Location::default()
        };
        let first = track.at_or_after(first.max(self.start))?;
        (first < self.end).then_some(first)
    }

    fn first_of_group(&self, track: &TestTrack, group: GroupId) -> Option<Location> {
        self.first_of_groups(track, group)
            .filter(|at| at.group == group)
    }
}

/// The properties of a track that is published.
pub(super) fn track_properties(
    stage: &mut Stage<'_>,
    connection: ConnectionId,
    track: &TestTrack,
) -> Result<Properties, Misuse> {
    let timeout = (track.delivery_timeout.0 > 0).then_some((
        OBJECT_DELIVERY_TIMEOUT,
        Value::Integer(track.delivery_timeout.0),
    ));
    properties(stage, connection, timeout)
}

fn properties(
    stage: &mut Stage<'_>,
    connection: ConnectionId,
    list: impl IntoIterator<Item = (u64, Value)>,
) -> Result<Properties, Misuse> {
    let session = stage.session(connection).map_err(|_| Misuse::Closed)?;
    let integers: IntegerKind = session.profile().ok_or(Misuse::NotEstablished)?.integers;
    Ok(Properties::from_list(integers, list)?)
}
