//! What comes in: streams and datagrams of a track's sources, merged so that each object is there once.

use bytes::Bytes;

use super::admit::{Arrival, Known};
use super::feed::Stray;
use super::subgroup::{End, Images, OBJECT_OVERHEAD};
use super::track::{Datagram, Group, Key};
use super::{Fanout, Fault, IngestId, Notice, SourceId, TrackId};
use crate::code::ResetCode;
use crate::ledger::{Charge, Ledger, Payload};
use crate::session::StreamEnd;
use crate::time::Time;
use crate::wire::id::{Location, ObjectId};
use crate::wire::object::{DatagramObject, ObjectHeader, ObjectStatus, SubgroupHeader};
use crate::wire::property::Properties;

/// A stream that brings a subgroup, or a part of one.
#[derive(Debug)]
pub(super) struct Ingest {
    pub(super) track: TrackId,
    pub(super) source: SourceId,
    pub(super) key: Key,
    pub(super) end_of_group: bool,
    /// Whether its first object is the subgroup's.
    first_object: bool,
    /// The object begun last.
    pub(super) last: Option<ObjectId>,
    pub(super) current: Option<Current>,
}

/// The object that a stream is bringing.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) id: ObjectId,
    pub(super) length: u64,
    /// How much of the payload this stream brought.
    offset: u64,
    /// Not wanted by subscribers.
    pub(super) ignored: bool,
    /// Kept for a cache although it is ignored.
    pub(super) stray: Option<Box<Stray>>,
}

impl Current {
    pub(super) fn is_complete(&self) -> bool {
        self.offset == self.length
    }
}

impl Ingest {
    /// The object of which it has not brought everything.
    pub(super) fn cut(&self) -> Option<ObjectId> {
        let current = self.current.as_ref()?;
        (!current.is_complete()).then_some(current.id)
    }
}

impl Fanout {
    /// Adds a source to a track: an upstream subscription, or a local producer. A source that was not added before it
    /// brings something is added then. False if the track has as many as it may have, or is gone.
    pub fn add_source(&mut self, track: TrackId, source: SourceId) -> bool {
        let most = self.limits.max_sources_per_track;
        let Some(track) = self.open_mut(track) else {
            return false;
        };
        if track.sources.contains(&source) {
            return true;
        }
        if track.sources.len() >= most {
            return false;
        }
        track.sources.push(source);
        track.had_several |= track.sources.len() > 1 || track.gone.is_some();
        true
    }

    /// Removes a source from a track. What it was bringing comes from another source, or subscribers see it reset with
    /// this code.
    pub fn remove_source(&mut self, now: Time, track: TrackId, source: SourceId, code: ResetCode) {
        for stream in self.streams_of(track, source) {
            // A reset cannot contradict anything.
            let _no_fault = self.end_subgroup(now, stream, StreamEnd::Reset(code));
        }
        self.forget_source(track, source);
    }

    /// A source begins to bring a subgroup, or goes on with one on a new stream.
    ///
    /// # Errors
    /// A [`Fault`] tells what to do with the stream or the source.
    pub fn open_subgroup(
        &mut self,
        now: Time,
        track: TrackId,
        source: SourceId,
        header: SubgroupHeader,
    ) -> Result<IngestId, Fault> {
        self.open_mut(track).ok_or(Fault::Gone)?;
        if !self.add_source(track, source) {
            return Err(Fault::Stop(ResetCode::ExcessiveLoad));
        }
        let stream = IngestId(self.next_ingest);
        self.make_room_for_group(now, track, &header);
        let state = self.tracks.get_mut(&track).ok_or(Fault::Gone)?;
        state.attach(source, header, stream, &self.limits)?;
        self.next_ingest += 1;
        self.ingests.insert(
            stream,
            Ingest {
                track,
                source,
                key: (header.group, header.subgroup),
                end_of_group: header.end_of_group,
                first_object: header.first_object,
                last: None,
                current: None,
            },
        );
        self.changed(track, (header.group, header.subgroup));
        Ok(stream)
    }

    /// The next object on a stream begins. Its payload follows in pieces, if it has any.
    ///
    /// # Errors
    /// A [`Fault`] tells what to do with the source. The stream's handle means nothing from then on: stop the stream.
    pub fn begin_object(
        &mut self,
        now: Time,
        stream: IngestId,
        header: ObjectHeader,
    ) -> Result<(), Fault> {
        let begun = self.admit_object(now, stream, header);
        begun.map_err(|fault| self.cut_off(now, stream, fault))
    }

    fn admit_object(
        &mut self,
        now: Time,
        stream: IngestId,
        header: ObjectHeader,
    ) -> Result<(), Fault> {
        let ingest = self.ingests.get_mut(&stream).ok_or(Fault::Gone)?;
        if ingest.current.as_ref().is_some_and(|c| !c.is_complete()) {
            return Err(Fault::Misuse("the object before is not complete"));
        }
        if ingest.last.is_some_and(|last| last >= header.id) {
            return Err(Fault::Misuse("object ids ascend within a subgroup"));
        }
        let before = ingest.last.replace(header.id);
        ingest.current = Some(Current {
            id: header.id,
            length: header.payload_length,
            offset: 0,
            ignored: true,
            stray: None,
        });
        let (id, key, source) = (ingest.track, ingest.key, ingest.source);
        let first_object = ingest.first_object;
        let track = self.tracks.get_mut(&id).ok_or(Fault::Gone)?;
        let location = Location {
            group: key.0,
            object: header.id,
        };
        track.check_ends(location, header.status, source)?;
        track.check_finale(key, header.id, source)?;
        track.check_properties(&header.properties)?;
        let known = track.known(key, &header, source)?;
        let stray = match known {
            Known::Late => self.stray(now, &header),
            Known::New | Known::Received => None,
        };
        self.tell_gaps(id, source, location, header.status, &header.properties);
        if known == Known::New {
            let first = first_object && before.is_none() || header.id.0 == 0;
            let arrival = Arrival {
                now,
                stream,
                key,
                source,
                before,
                first,
            };
            self.store(id, arrival, header)?;
        }
        if let Some(current) = self
            .ingests
            .get_mut(&stream)
            .and_then(|ingest| ingest.current.as_mut())
        {
            current.ignored = known == Known::Late;
            current.stray = stray;
        }
        self.tell_stray(stream);
        Ok(())
    }

    /// Passes over the next object on a stream, since it is known not to exist: nobody gets it, and what follows is as if
    /// it were not there (§ Caching Relays). False if there is a part of it already, or it is none that can be passed over:
    /// then it is to be [begun](Fanout::begin_object).
    pub fn pass_over(&mut self, stream: IngestId, header: &ObjectHeader) -> bool {
        let Some(ingest) = self.ingests.get(&stream) else {
            return false;
        };
        let location = Location {
            group: ingest.key.0,
            object: header.id,
        };
        let is_next = ingest.last.is_none_or(|last| last < header.id)
            && ingest.current.as_ref().is_none_or(Current::is_complete);
        if !is_next
            || header.status != ObjectStatus::Normal
            || self.has_received(ingest.track, location)
        {
            return false;
        }
        if let Some(ingest) = self.ingests.get_mut(&stream) {
            ingest.current = Some(Current {
                id: header.id,
                length: header.payload_length,
                offset: 0,
                ignored: true,
                stray: None,
            });
        }
        true
    }

    /// Whether an object, or a part of it, was received and is remembered.
    pub fn has_received(&self, track: TrackId, location: Location) -> bool {
        let group = self
            .tracks
            .get(&track)
            .and_then(|track| track.groups.get(&location.group));
        group.is_some_and(|group| {
            let object = location.object.0;
            group.received.contains(object) || group.datagrams.contains(object)
        })
    }

    /// A piece of the payload of the object begun last on this stream.
    ///
    /// # Errors
    /// As [`Fanout::begin_object`].
    pub fn payload(&mut self, now: Time, stream: IngestId, bytes: &[u8]) -> Result<(), Fault> {
        let taken = self.append(now, stream, Fresh::Copied(bytes));
        taken.map_err(|fault| self.cut_off(now, stream, fault))
    }

    /// As [`Fanout::payload`], of bytes that are charged to the ledger already: they are not copied.
    ///
    /// # Errors
    /// As [`Fanout::begin_object`].
    pub fn adopt(&mut self, now: Time, stream: IngestId, bytes: &Bytes) -> Result<(), Fault> {
        let taken = self.append(now, stream, Fresh::Shared(bytes));
        taken.map_err(|fault| self.cut_off(now, stream, fault))
    }

    fn append(&mut self, now: Time, stream: IngestId, fresh: Fresh<'_>) -> Result<(), Fault> {
        let bytes = fresh.bytes();
        let ingest = self.ingests.get_mut(&stream).ok_or(Fault::Gone)?;
        let Some(current) = ingest.current.as_mut() else {
            return Err(Fault::Misuse("payload without an object"));
        };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let offset = current.offset;
        if length > current.length.saturating_sub(offset) {
            return Err(Fault::Misuse("more payload than the object has"));
        }
        current.offset += length;
        let (id, key, source) = (ingest.track, ingest.key, ingest.source);
        let Some(track) = self.tracks.get_mut(&id) else {
            return Err(Fault::Gone);
        };
        if current.ignored || bytes.is_empty() {
            self.append_stray(stream, offset, fresh);
            return Ok(());
        }
        let object_id = current.id;
        let Some(subgroup) = track.subgroup_mut(key) else {
            return Ok(());
        };
        let Some(object) = subgroup.find_mut(current.id) else {
            return Ok(()); // Everybody has it already.
        };
        if !object.payload.agrees(offset, bytes) {
            current.ignored = true;
            let other = object.source;
            return Err(track.judge(other, source, "an object with two payloads"));
        }
        let have = object.payload.length();
        let known = have.checked_sub(offset);
        let known = known.and_then(|known| usize::try_from(known).ok());
        let Some(fresh) = known.and_then(|known| fresh.after(known)) else {
            return Ok(());
        };
        if have == 0 {
            object.arrived = now;
        }
        let left = object.length - have;
        let appended = fresh.append_to(&mut object.payload, &self.ledger, left);
        let grown = object.payload.length() - have;
        subgroup.total = subgroup.total.saturating_add(grown);
        track.unseen = track.unseen.saturating_add(grown);
        if !appended {
            self.relieve(now);
            self.overloaded(now, id, key, Some(stream));
            return Err(Fault::Stop(ResetCode::ExcessiveLoad));
        }
        self.tell_object(id, key, object_id);
        self.changed(id, key);
        Ok(())
    }

    /// Ends a stream that brought something which was not taken.
    fn cut_off(&mut self, now: Time, stream: IngestId, fault: Fault) -> Fault {
        let code = match fault {
            Fault::Stop(code) => code,
            Fault::Malformed(_) => ResetCode::MalformedTrack,
            Fault::Gone | Fault::Contradiction { .. } | Fault::Misuse(_) => {
                ResetCode::InternalError
            }
        };
        // A reset cannot contradict anything, and the stream may be gone already.
        let _no_fault = self.end_subgroup(now, stream, StreamEnd::Reset(code));
        fault
    }

    /// A whole object of a local producer.
    ///
    /// # Errors
    /// As [`Fanout::begin_object`].
    pub fn write_object(
        &mut self,
        now: Time,
        stream: IngestId,
        id: ObjectId,
        properties: Properties,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let header = ObjectHeader {
            id,
            properties,
            status: ObjectStatus::Normal,
            payload_length: u64::try_from(payload.len()).unwrap_or(u64::MAX),
        };
        self.begin_object(now, stream, header)?;
        self.payload(now, stream, payload)
    }

    /// A stream that brought a subgroup is over; its handle means nothing from here on.
    ///
    /// # Errors
    /// A [`Fault`] tells what to do with the source.
    pub fn end_subgroup(
        &mut self,
        now: Time,
        stream: IngestId,
        end: StreamEnd,
    ) -> Result<(), Fault> {
        let ingest = self.ingests.remove(&stream).ok_or(Fault::Gone)?;
        let (id, key) = (ingest.track, ingest.key);
        let Some(track) = self.tracks.get_mut(&id) else {
            return Err(Fault::Gone);
        };
        let Some(subgroup) = track.subgroup_mut(key) else {
            return Ok(());
        };
        subgroup.feeds.retain(|feed| *feed != stream);
        let cut = ingest.cut();
        let code = match end {
            StreamEnd::Fin if cut.is_none() => None,
            StreamEnd::Fin => Some(ResetCode::InternalError),
            StreamEnd::Reset(code) => Some(passed_on(code)),
            StreamEnd::Stopped => Some(ResetCode::Cancelled),
        };
        let outcome = match code {
            None => track.conclude(now, &ingest),
            Some(code) if subgroup.feeds.is_empty() && subgroup.end.is_none() => {
                subgroup.finish(now, End::Reset(code));
                Ok(())
            }
            Some(_) => {
                if let Some(cut) = cut {
                    self.give_up_object(id, key, cut);
                }
                Ok(())
            }
        };
        self.changed(id, key);
        let is_whole = code.is_none() && outcome.is_ok();
        match ingest.last {
            _ if !is_whole => self.tell_broken(&ingest),
            Some(object) if ingest.end_of_group => {
                let last = Location {
                    group: key.0,
                    object,
                };
                self.tell_group_end(id, ingest.source, last);
            }
            Some(_) | None => {}
        }
        outcome
    }

    /// An object arrived in a datagram.
    ///
    /// # Errors
    /// A [`Fault`] tells what to do with the source; with [`Fault::Stop`] only this datagram is lost.
    pub fn datagram(
        &mut self,
        now: Time,
        track: TrackId,
        source: SourceId,
        object: DatagramObject,
    ) -> Result<(), Fault> {
        self.take_datagram(now, track, source, object, false)
    }

    /// As [`Fanout::datagram`], of an object whose payload is charged to the ledger already: it is not copied.
    ///
    /// # Errors
    /// As [`Fanout::datagram`].
    pub fn adopt_datagram(
        &mut self,
        now: Time,
        track: TrackId,
        source: SourceId,
        object: DatagramObject,
    ) -> Result<(), Fault> {
        self.take_datagram(now, track, source, object, true)
    }

    fn take_datagram(
        &mut self,
        now: Time,
        track: TrackId,
        source: SourceId,
        object: DatagramObject,
        is_charged: bool,
    ) -> Result<(), Fault> {
        self.open_mut(track).ok_or(Fault::Gone)?;
        if !self.add_source(track, source) {
            return Err(Fault::Stop(ResetCode::ExcessiveLoad));
        }
        let limits = &self.limits;
        let state = self.tracks.get_mut(&track).ok_or(Fault::Gone)?;
        state.check_ends(object.location, object.status, source)?;
        state.check_properties(&object.properties)?;
        if !state.admit_datagram(&object, source, limits)? {
            return Ok(());
        }
        let Some((properties, charge)) = keep_properties(&self.ledger, &object.properties) else {
            return Err(Fault::Stop(ResetCode::ExcessiveLoad));
        };
        let payload = if is_charged {
            Some(object.payload.clone())
        } else {
            self.ledger.copy(&object.payload)
        };
        let Some(payload) = payload else {
            return Err(Fault::Stop(ResetCode::ExcessiveLoad));
        };
        let object = DatagramObject {
            properties,
            payload,
            ..object
        };
        let default_priority = state.defaults.priority;
        state.sequence += 1;
        state.datagrams.push_back(Datagram {
            sequence: state.sequence,
            arrived: now,
            object: object.clone(),
            images: Images::default(),
            _charge: charge,
        });
        if state.datagrams.len() > limits.max_datagrams_per_track {
            state.datagrams.pop_front();
        }
        self.tell_datagram((now, track, source), default_priority, &object);
        self.with_datagrams.insert(track);
        self.mark_track(track);
        Ok(())
    }

    /// Keeps an object that just began.
    fn store(&mut self, id: TrackId, arrival: Arrival, header: ObjectHeader) -> Result<(), Fault> {
        let kept = keep_properties(&self.ledger, &header.properties);
        let most = self.limits.max_objects_per_subgroup;
        let Some(track) = self.tracks.get_mut(&id) else {
            return Err(Fault::Gone);
        };
        let key = arrival.key;
        let full = track
            .subgroup(key)
            .is_none_or(|subgroup| subgroup.objects.len() >= most);
        let (Some((properties, charge)), false) = (kept, full) else {
            if !full {
                self.relieve(arrival.now);
            }
            self.overloaded(arrival.now, id, key, Some(arrival.stream));
            return Err(Fault::Stop(ResetCode::ExcessiveLoad));
        };
        let (object, now) = (header.id, arrival.now);
        track.enter(arrival, header, properties, charge, &self.limits);
        self.tell_object(id, key, object);
        self.changed(id, key);
        self.relieve_subgroup(now, id, key);
        Ok(())
    }

    /// A subgroup changed: whoever reads it must look, and something of it may be forgotten.
    pub(super) fn changed(&mut self, id: TrackId, key: Key) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.record(key);
        }
        self.touched.insert((id, key));
        self.mark_track(id);
    }

    /// Gives a subgroup up, since there is no room for it. `stream` is stopped by the caller, the others by notice.
    fn overloaded(&mut self, now: Time, id: TrackId, key: Key, stream: Option<IngestId>) {
        let Some(subgroup) = self
            .tracks
            .get_mut(&id)
            .and_then(|track| track.subgroup_mut(key))
        else {
            return;
        };
        let feeds = std::mem::take(&mut subgroup.feeds);
        subgroup.finish(now, End::Reset(ResetCode::ExcessiveLoad));
        for feed in feeds {
            if let Some(broken) = self.ingests.remove(&feed) {
                self.tell_broken(&broken);
            }
            if Some(feed) != stream {
                self.notify(Notice::Stop {
                    stream: feed,
                    code: ResetCode::ExcessiveLoad,
                });
            }
        }
        self.changed(id, key);
    }

    /// If this header begins one live group too many, gives up the live group that began first.
    fn make_room_for_group(&mut self, now: Time, id: TrackId, header: &SubgroupHeader) {
        let most = self.limits.max_live_groups;
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let is_live = |group: &Group| !group.subgroups.is_empty() && !group.given_up;
        if track.groups.get(&header.group).is_some_and(is_live) {
            return;
        }
        let live = track.groups.values().filter(|group| is_live(group)).count();
        if live < most {
            return;
        }
        let Some((oldest, group)) = track
            .groups
            .iter_mut()
            .filter(|(_, group)| is_live(group))
            .min_by_key(|(_, group)| group.began)
        else {
            return;
        };
        group.given_up = true;
        let keys: Vec<Key> = group
            .subgroups
            .keys()
            .map(|subgroup| (*oldest, *subgroup))
            .collect();
        for key in keys {
            self.overloaded(now, id, key, None);
        }
    }
}

/// Payload that came.
#[derive(Clone)]
pub(super) enum Fresh<'a> {
    /// In memory that is not kept.
    Copied(&'a [u8]),
    /// In memory that is charged already.
    Shared(&'a Bytes),
    /// The end of such.
    Rest(Bytes),
}

impl Fresh<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Rest(bytes) => bytes,
        }
    }

    /// What comes after so many bytes; `None` if that is nothing.
    fn after(&self, known: usize) -> Option<Fresh<'_>> {
        let rest = self.bytes().get(known..).filter(|rest| !rest.is_empty())?;
        Some(match self {
            Self::Copied(_) => Fresh::Copied(rest),
            Self::Shared(bytes) => Fresh::Rest(bytes.slice(known..)),
            Self::Rest(bytes) => Fresh::Rest(bytes.slice(known..)),
        })
    }

    /// False if the ledger has no room for it.
    pub(super) fn append_to(self, payload: &mut Payload, ledger: &Ledger, left: u64) -> bool {
        match self {
            Self::Copied(bytes) => return payload.append(ledger, left, bytes),
            Self::Shared(bytes) => payload.adopt(bytes.clone()),
            Self::Rest(bytes) => payload.adopt(bytes),
        }
        true
    }
}

/// Copies properties, so that they do not hold what they arrived in, and charges them.
pub(super) fn keep_properties(
    ledger: &Ledger,
    properties: &Properties,
) -> Option<(Properties, Charge)> {
    let overhead = usize::try_from(OBJECT_OVERHEAD).unwrap_or(usize::MAX);
    let charge = ledger.charge(overhead)?;
    let bytes = ledger.copy(properties.bytes())?;
    Some((Properties::from_bytes(bytes, properties.integers()), charge))
}

/// The code for subscribers when the stream that brought a subgroup was reset with another.
fn passed_on(code: ResetCode) -> ResetCode {
    match code {
        // About the track or its delivery: true downstream as well.
        ResetCode::DeliveryTimeout
        | ResetCode::Cancelled
        | ResetCode::UnknownObjectStatus
        | ResetCode::MalformedTrack
        | ResetCode::ExcessiveLoad
        | ResetCode::TooFarBehind => code,
        // About the upstream session or request only.
        ResetCode::InternalError
        | ResetCode::SessionClosed
        | ResetCode::GoingAway
        | ResetCode::ExpiredAuthToken
        | ResetCode::Unknown(_) => ResetCode::InternalError,
    }
}
