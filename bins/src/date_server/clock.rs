//! The live side of the date server: every second an object, every minute a group.

use std::time::Duration;

use bytes::Bytes;
use oxymoq_core::fanout::{Fanout, Fault, IngestId, SourceId, TrackId};
use oxymoq_core::session::StreamEnd;
use oxymoq_core::time::{Time, WallTime};
use oxymoq_core::wire::id::{Location, SubgroupId};
use oxymoq_core::wire::object::{DatagramObject, ObjectHeader, ObjectStatus, SubgroupHeader};

use super::{Mode, PRIORITY, properties};
use crate::date::{self, END_OF_MINUTE, Second};

/// The only producer of the track.
const CLOCK: SourceId = SourceId(0);
/// A clock that jumps ahead by more than this has been set: what lies between is not made up for.
const JUMP: Duration = Duration::from_secs(120);

/// Publishes what it is time for.
#[derive(Debug)]
pub(super) struct Clock {
    mode: Mode,
    track: TrackId,
    /// What time it was when.
    told: Option<(Time, WallTime)>,
    /// The second to publish next.
    next: Option<Second>,
    /// The subgroup of the minute, in mode `spg`.
    minute: Option<IngestId>,
}

impl Clock {
    pub(super) const fn new(mode: Mode, track: TrackId) -> Self {
        Self {
            mode,
            track,
            told: None,
            next: None,
            minute: None,
        }
    }

    /// What time it is. At first the track ends with the current second: it can be fetched, the next one is live.
    pub(super) fn set(&mut self, now: Time, wall: WallTime, fanout: &mut Fanout) {
        self.told = Some((now, wall));
        if self.next.is_none() {
            let current = Second::at(wall);
            self.next = Some(current.next());
            fanout.raise_largest(self.track, current.location());
        }
    }

    /// When the next second begins.
    pub(super) fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let ((then, wall), next) = self.told.zip(self.next)?;
        let ahead = Duration::from_micros(next.begins().0.saturating_sub(wall.0));
        Some((then + ahead, "the next second"))
    }

    /// Publishes what the clock has reached.
    pub(super) fn tick(&mut self, now: Time, fanout: &mut Fanout) {
        let Some(((then, wall), next)) = self.told.zip(self.next) else {
            return;
        };
        let passed = u64::try_from(now.since(then).as_micros()).unwrap_or(0);
        let wall = WallTime(wall.0.saturating_add(passed));
        let current = Second::at(wall);
        let behind = Duration::from_micros(wall.0.saturating_sub(next.begins().0));
        let mut second = next;
        if behind > JUMP {
            log::warn!("the clock was set ahead by {behind:?}: starting again from there");
            self.end_minute(now, fanout);
            second = current;
        }
        while second <= current {
            self.publish(now, second, fanout);
            second = second.next();
        }
        self.next = Some(second);
    }

    /// Ends the subgroup of the minute.
    pub(super) fn end_minute(&mut self, now: Time, fanout: &mut Fanout) {
        if let Some(stream) = self.minute.take()
            && let Err(fault) = fanout.end_subgroup(now, stream, StreamEnd::Fin)
        {
            log::error!("the minute could not be ended: {fault:?}");
        }
    }

    fn publish(&mut self, now: Time, second: Second, fanout: &mut Fanout) {
        let location = second.location();
        if second.begins_minute() {
            self.end_minute(now, fanout);
            let head = Location::new(location.group.0, 0);
            self.publish_object(now, head, ObjectStatus::Normal, fanout);
        }
        self.publish_object(now, location, ObjectStatus::Normal, fanout);
        if second.ends_minute() {
            let end = Location {
                object: END_OF_MINUTE,
                ..location
            };
            self.publish_object(now, end, ObjectStatus::EndOfGroup, fanout);
            self.end_minute(now, fanout);
        }
    }

    fn publish_object(
        &mut self,
        now: Time,
        location: Location,
        status: ObjectStatus,
        fanout: &mut Fanout,
    ) {
        let result = match self.mode {
            Mode::Spg => self.write_to_minute(now, location, status, fanout),
            Mode::Spo => self.write_alone(now, location, status, fanout),
            Mode::Datagram => {
                let object = DatagramObject {
                    location,
                    priority: Some(PRIORITY),
                    properties: properties(location),
                    status,
                    end_of_group: false,
                    payload: payload(location, status),
                };
                fanout.datagram(now, self.track, CLOCK, object)
            }
        };
        if let Err(fault) = result {
            log::error!("object {location} could not be published: {fault:?}");
        }
    }

    /// Mode `spg`: the next object of the minute's subgroup.
    fn write_to_minute(
        &mut self,
        now: Time,
        location: Location,
        status: ObjectStatus,
        fanout: &mut Fanout,
    ) -> Result<(), Fault> {
        let stream = match self.minute {
            Some(stream) => stream,
            None => {
                let header = header(location, SubgroupId(0), location.object.0 == 0);
                let stream = fanout.open_subgroup(now, self.track, CLOCK, header)?;
                *self.minute.insert(stream)
            }
        };
        write(now, stream, location, status, fanout)
    }

    /// Mode `spo`: an object on a subgroup of its own.
    fn write_alone(
        &self,
        now: Time,
        location: Location,
        status: ObjectStatus,
        fanout: &mut Fanout,
    ) -> Result<(), Fault> {
        let header = header(location, SubgroupId(location.object.0), true);
        let stream = fanout.open_subgroup(now, self.track, CLOCK, header)?;
        write(now, stream, location, status, fanout)?;
        fanout.end_subgroup(now, stream, StreamEnd::Fin)
    }
}

fn write(
    now: Time,
    stream: IngestId,
    location: Location,
    status: ObjectStatus,
    fanout: &mut Fanout,
) -> Result<(), Fault> {
    let payload = payload(location, status);
    let header = ObjectHeader {
        id: location.object,
        properties: properties(location),
        status,
        payload_length: u64::try_from(payload.len()).unwrap_or(0),
    };
    fanout.begin_object(now, stream, header)?;
    if payload.is_empty() {
        return Ok(());
    }
    fanout.payload(now, stream, &payload)
}

const fn header(location: Location, subgroup: SubgroupId, first_object: bool) -> SubgroupHeader {
    SubgroupHeader {
        group: location.group,
        subgroup,
        priority: Some(PRIORITY),
        end_of_group: false,
        first_object,
    }
}

fn payload(location: Location, status: ObjectStatus) -> Bytes {
    match status {
        ObjectStatus::Normal => date::payload(location).unwrap_or_default(),
        ObjectStatus::EndOfGroup | ObjectStatus::EndOfTrack => Bytes::new(),
    }
}
