//! Asks for a track of `moq-test-00` and checks all of what arrives.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whoever only subscribes has no use for the other events"
)]

use std::collections::{BTreeMap, BTreeSet};

use super::super::program::{Failure, Part};
use super::super::stage::Stage;
use super::runs::PRIORITY;
use super::track::{Forwarding, TestTrack};
use crate::code::{DoneCode, RequestCode};
use crate::session::{Event, FetchItem, Refusal, Request, Response, StreamEnd};
use crate::transport::{ConnectionId, Exit, StreamId};
use crate::wire::id::{GroupId, Location, Millis, ObjectId, RequestId, SubgroupId};
use crate::wire::message::{Fetch, FetchOk, FetchRange, Subscribe, SubscribeOk};
use crate::wire::object::{DatagramObject, ObjectHeader, ObjectStatus, SubgroupHeader};
use crate::wire::param::{Filter, GroupOrder, Parameters};
use crate::wire::property::{OBJECT_DELIVERY_TIMEOUT, Properties};

/// How a [`TestSubscriber`] asks for its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// By SUBSCRIBE from the next group on, which is all that will be published.
    Subscribe {
        /// The delivery timeout that it wants; zero: none.
        delivery_timeout: Millis,
    },
    /// By a standalone FETCH of everything.
    Fetch(GroupOrder),
}

/// What a [`TestSubscriber`] lets pass. By default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// Groups may overtake one another, since the path changes the order of streams.
    pub reordering: bool,
    /// How many datagrams in a hundred may be lost, and one at least if any may.
    pub lost_datagrams: usize,
}

/// Asks whomever it connects to for one track. Its program succeeds when everything has arrived and the end was told, and
/// fails with the first thing that is wrong.
#[derive(Debug)]
pub struct TestSubscriber {
    track: TestTrack,
    ask: Ask,
    tolerance: Tolerance,
    request: Option<RequestId>,
    granted: bool,
    ended: bool,
    last_group: Option<GroupId>,
    opened: BTreeSet<(GroupId, SubgroupId)>,
    streams: BTreeMap<StreamId, Incoming>,
    fetched: Incoming,
    received: BTreeSet<Location>,
}

/// A stream that brings objects.
#[derive(Debug, Default)]
struct Incoming {
    /// What must come next.
    next: Option<Location>,
    /// The object that is coming, and how many bytes of it are missing.
    arriving: Option<(Location, u64)>,
}

impl TestSubscriber {
    /// One that asks for this track.
    pub fn new(track: TestTrack, ask: Ask) -> Self {
        let first = match ask {
            Ask::Subscribe { .. } | Ask::Fetch(GroupOrder::Ascending) => {
                Location::new(track.start_group, track.start_object)
            }
            Ask::Fetch(GroupOrder::Descending) => {
                Location::new(track.last().group.0, track.start_object)
            }
        };
        Self {
            track,
            ask,
            tolerance: Tolerance::default(),
            request: None,
            granted: false,
            ended: false,
            last_group: None,
            opened: BTreeSet::new(),
            streams: BTreeMap::new(),
            fetched: Incoming {
                next: Some(first),
                arriving: None,
            },
            received: BTreeSet::new(),
        }
    }

    /// One that lets pass what its path may do.
    #[must_use]
    pub const fn tolerating(mut self, tolerance: Tolerance) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Everything that arrived as a whole, markers of groups' ends included.
    pub const fn received(&self) -> &BTreeSet<Location> {
        &self.received
    }

    fn request(&self) -> Result<Request, Failure> {
        let track = self.track.full_name().map_err(|error| error.to_string())?;
        let request_id = RequestId(0);
        Ok(match self.ask {
            Ask::Subscribe { delivery_timeout } => Request::Subscribe(Subscribe {
                request_id,
                track,
                parameters: Parameters {
                    filter: Some(Filter::NextGroupStart),
                    object_delivery_timeout: (delivery_timeout.0 > 0).then_some(delivery_timeout),
                    ..Parameters::default()
                },
            }),
            Ask::Fetch(order) => Request::Fetch(Fetch {
                request_id,
                range: FetchRange::Standalone {
                    track,
                    start: Location::new(self.track.start_group, self.track.start_object),
                    end: behind(self.track.last()),
                },
                parameters: Parameters {
                    group_order: (order != GroupOrder::default()).then_some(order),
                    ..Parameters::default()
                },
            }),
        })
    }

    fn subscribed(&mut self, ok: &SubscribeOk) -> Result<(), Failure> {
        self.granted = true;
        if let Some(largest) = ok.parameters.largest_object {
            return Err(format!("{largest} was published before anybody asked"));
        }
        self.check_track(&ok.properties)
    }

    fn fetch_granted(&mut self, ok: &FetchOk) -> Result<(), Failure> {
        self.granted = true;
        let last = self.track.last();
        // The marker of a group's end is no object of the past, so the range may end before it.
        let least = match self.track.status(last) {
            ObjectStatus::Normal => behind(last),
            ObjectStatus::EndOfGroup | ObjectStatus::EndOfTrack => Location {
                object: ObjectId(last.object.0.saturating_sub(self.track.object_increment) + 1),
                ..last
            },
        };
        if ok.end < least || ok.end > behind(last) {
            return Err(format!(
                "FETCH_OK ends at {} instead of behind {last}",
                ok.end
            ));
        }
        self.check_track(&ok.properties)
    }

    fn check_track(&self, properties: &Properties) -> Result<(), Failure> {
        let timeout = properties.integer(OBJECT_DELIVERY_TIMEOUT).unwrap_or(0);
        if timeout != self.track.delivery_timeout.0 {
            return Err(format!("the track has a delivery timeout of {timeout} ms"));
        }
        Ok(())
    }

    fn opened(&mut self, stream: StreamId, header: &SubgroupHeader) -> Result<(), Failure> {
        let SubgroupHeader {
            group, subgroup, ..
        } = *header;
        if self.track.forwarding == Forwarding::Datagram {
            return Err("a stream instead of datagrams".to_owned());
        }
        let first = self.track.first_of_subgroup(group, subgroup);
        let next = first.ok_or_else(|| format!("there is no subgroup {header:?}"))?;
        check_priority(header.priority.unwrap_or(PRIORITY))?;
        if !self.opened.insert((group, subgroup)) {
            return Err(format!(
                "subgroup {} of group {} came twice",
                subgroup.0, group.0
            ));
        }
        self.in_order(group)?;
        let incoming = Incoming {
            next: Some(next),
            arriving: None,
        };
        self.streams.insert(stream, incoming);
        Ok(())
    }

    /// Groups come in ascending order, unless the path may change that.
    fn in_order(&mut self, group: GroupId) -> Result<(), Failure> {
        if !self.tolerance.reordering && self.last_group.is_some_and(|last| group < last) {
            return Err(format!("group {} after {:?}", group.0, self.last_group));
        }
        self.last_group = self.last_group.max(Some(group));
        Ok(())
    }

    fn object(&mut self, stream: StreamId, object: &ObjectHeader) -> Result<(), Failure> {
        let incoming = self.streams.get_mut(&stream);
        let incoming = incoming.ok_or("an object before its stream")?;
        let at = incoming.expect(|next| next.object == object.id, object.id)?;
        check_object(
            &self.track,
            at,
            object.status,
            &object.properties,
            object.payload_length,
        )?;
        incoming.next = self.track.next_of_subgroup(at);
        incoming.arriving = Some((at, object.payload_length));
        self.payload(Some(stream), &[])
    }

    /// A piece of the payload on a stream; `None`: of the FETCH.
    fn payload(&mut self, stream: Option<StreamId>, bytes: &[u8]) -> Result<(), Failure> {
        let incoming = match stream {
            Some(stream) => self.streams.get_mut(&stream),
            None => Some(&mut self.fetched),
        };
        let incoming = incoming.ok_or("a payload before its stream")?;
        let (at, missing) = incoming.arriving.as_mut().ok_or("a payload too much")?;
        check_payload(*at, bytes)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        *missing = missing
            .checked_sub(length)
            .ok_or_else(|| format!("{at} is too long"))?;
        if *missing == 0 {
            let at = *at;
            incoming.arriving = None;
            self.arrived(at)?;
        }
        Ok(())
    }

    fn arrived(&mut self, at: Location) -> Result<(), Failure> {
        if self.received.insert(at) {
            return Ok(());
        }
        Err(format!("{at} came twice"))
    }

    fn subgroup_ended(&mut self, stream: StreamId, end: StreamEnd) -> Result<(), Failure> {
        let incoming = self.streams.remove(&stream).ok_or("the end of no stream")?;
        incoming.check_end(end)
    }

    fn datagram(&mut self, object: &DatagramObject) -> Result<(), Failure> {
        let at = object.location;
        if self.track.forwarding != Forwarding::Datagram || !self.track.has(at) {
            return Err(format!("nobody published {at} in a datagram"));
        }
        check_priority(object.priority.unwrap_or(PRIORITY))?;
        let length = u64::try_from(object.payload.len()).unwrap_or(u64::MAX);
        check_object(&self.track, at, object.status, &object.properties, length)?;
        check_payload(at, &object.payload)?;
        self.in_order(at.group)?;
        self.arrived(at)
    }

    fn item(&mut self, item: FetchItem) -> Result<(), Failure> {
        match item {
            FetchItem::Object {
                location,
                subgroup,
                priority,
                properties,
                payload_length,
            } => {
                check_priority(priority)?;
                self.pass_marker();
                let at = self.fetched.expect(|next| next == location, location)?;
                // Whoever saw it live knows that it came in a datagram; the publisher's FETCH does not tell.
                let came_so = subgroup.is_none() && self.track.forwarding == Forwarding::Datagram;
                if subgroup != Some(self.track.subgroup(at)) && !came_so {
                    return Err(format!("{at} is in {subgroup:?}"));
                }
                let normal = ObjectStatus::Normal;
                check_object(&self.track, at, normal, &properties, payload_length)?;
                self.fetched.next = self.after_in_fetch(at);
                self.fetched.arriving = Some((at, payload_length));
                self.payload(None, &[])
            }
            FetchItem::Payload(bytes) => self.payload(None, &bytes),
            FetchItem::NonExistent(last) => {
                self.pass_marker();
                match self.fetched.next {
                    Some(next) if self.is_up_to(next, last) => {
                        Err(format!("{next} is said not to exist"))
                    }
                    Some(_) | None => Ok(()),
                }
            }
            FetchItem::Unknown(last) => Err(format!("nothing is known up to {last}")),
            FetchItem::End(end) => {
                self.pass_marker();
                self.fetched.check_end(end)?;
                self.ended = true;
                Ok(())
            }
        }
    }

    /// In a FETCH, the marker of a group's end is no object: what is not there says enough.
    fn pass_marker(&mut self) {
        if let Some(next) = self.fetched.next
            && self.track.status(next) == ObjectStatus::EndOfGroup
        {
            self.received.insert(next);
            self.fetched.next = self.after_in_fetch(next);
        }
    }

    /// What comes after this in the order of the FETCH.
    fn after_in_fetch(&self, at: Location) -> Option<Location> {
        let next = self.track.after(at);
        match self.ask {
            Ask::Subscribe { .. } | Ask::Fetch(GroupOrder::Ascending) => next,
            Ask::Fetch(GroupOrder::Descending) => {
                next.filter(|next| next.group == at.group).or_else(|| {
                    let group = self.track.group_before(at.group)?;
                    Some(Location::new(group.0, self.track.start_object))
                })
            }
        }
    }

    /// Whether a location is not behind another in the order of the FETCH.
    fn is_up_to(&self, at: Location, last: Location) -> bool {
        match self.ask {
            Ask::Subscribe { .. } | Ask::Fetch(GroupOrder::Ascending) => at <= last,
            Ask::Fetch(GroupOrder::Descending) => {
                at.group > last.group || at.group == last.group && at.object <= last.object
            }
        }
    }

    /// Whether everything arrived.
    fn check_complete(&self) -> Result<(), Failure> {
        let all: BTreeSet<Location> = self.track.locations().collect();
        let missing: Vec<&Location> = all.difference(&self.received).collect();
        let is_datagram = self.track.forwarding == Forwarding::Datagram;
        let most = match self.tolerance.lost_datagrams {
            lost if lost > 0 && is_datagram => (all.len() * lost / 100).max(1),
            _ => 0,
        };
        if missing.len() > most {
            return Err(format!(
                "{} of {} never came: {missing:?}",
                missing.len(),
                all.len()
            ));
        }
        Ok(())
    }
}

impl Incoming {
    /// What must come next, if that is what came.
    fn expect<T: std::fmt::Debug>(
        &self,
        is_it: impl FnOnce(Location) -> bool,
        came: T,
    ) -> Result<Location, Failure> {
        if let Some((cut, _)) = self.arriving {
            return Err(format!("{cut} was never finished"));
        }
        match self.next {
            Some(next) if is_it(next) => Ok(next),
            next => Err(format!("{came:?} instead of {next:?}")),
        }
    }

    fn check_end(&self, end: StreamEnd) -> Result<(), Failure> {
        if end != StreamEnd::Fin || self.next.is_some() || self.arriving.is_some() {
            return Err(format!(
                "a stream ended with {end:?} before {:?}",
                self.next
            ));
        }
        Ok(())
    }
}

const fn behind(location: Location) -> Location {
    Location {
        group: location.group,
        object: ObjectId(location.object.0.saturating_add(1)),
    }
}

fn check_priority(priority: u8) -> Result<(), Failure> {
    if priority == PRIORITY {
        return Ok(());
    }
    Err(format!("priority {priority}"))
}

fn check_payload(at: Location, bytes: &[u8]) -> Result<(), Failure> {
    if bytes.iter().all(|byte| *byte == b't') {
        return Ok(());
    }
    Err(format!("{at} is not what was published"))
}

fn check_object(
    track: &TestTrack,
    at: Location,
    status: ObjectStatus,
    properties: &Properties,
    length: u64,
) -> Result<(), Failure> {
    if status != track.status(at) {
        return Err(format!("{at} has the status {status:?}"));
    }
    if length != track.length(at) {
        return Err(format!("{at} has {length} bytes"));
    }
    let extensions = properties.iter().collect::<Result<Vec<_>, _>>();
    if extensions.as_ref().ok() != Some(&track.extensions(at)) {
        return Err(format!("{at} has the properties {extensions:?}"));
    }
    Ok(())
}

impl Part for TestSubscriber {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let now = stage.now();
        match event {
            Event::Established { .. } => {
                let asked = stage.session(connection)?.request(now, self.request()?);
                self.request = Some(asked.map_err(|misuse| misuse.to_string())?);
            }
            Event::Request { id, .. } => {
                let refusal = Refusal::new(RequestCode::NotSupported, "a mere subscriber");
                let session = stage.session(connection)?;
                let answered = session.respond(now, id, Response::Error(refusal));
                answered.map_err(|misuse| misuse.to_string())?;
            }
            Event::Response { response, .. } => match response {
                Response::SubscribeOk(ok) => self.subscribed(&ok)?,
                Response::FetchOk(ok) => self.fetch_granted(&ok)?,
                Response::Ok(_) => return Err("the wrong answer".to_owned()),
                Response::Error(Refusal { code, reason, .. }) => {
                    return Err(format!("refused: {code}, {}", reason.escape_ascii()));
                }
            },
            Event::SubgroupOpened { stream, header, .. } => self.opened(stream, &header)?,
            Event::Object { stream, object } => self.object(stream, &object)?,
            Event::Payload { stream, bytes } => self.payload(Some(stream), &bytes)?,
            Event::SubgroupEnded { stream, end } => self.subgroup_ended(stream, end)?,
            Event::Datagram { object, .. } => self.datagram(&object)?,
            Event::Fetched { item, .. } => self.item(item)?,
            Event::Done { done, .. } if done.code != DoneCode::TrackEnded => {
                return Err(format!("the track ended with {}", done.code));
            }
            Event::Settled { .. } => self.ended = true,
            Event::Cancelled { .. } => return Err("the request was cut off".to_owned()),
            Event::MalformedTrack { rule, .. } => return Err(format!("malformed: {rule}")),
            Event::Closed(closed) => return Err(closed.to_string()),
            _ => {}
        }
        if self.granted && self.ended {
            self.check_complete()?;
            stage.exit(Exit::Success);
        }
        Ok(())
    }

    fn waits_for(&self) -> String {
        let next = self
            .track
            .locations()
            .find(|at| !self.received.contains(at));
        next.map_or_else(|| "the end".to_owned(), |next| next.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::IntegerKind;

    const STREAM: StreamId = StreamId::peer(0);

    fn subscriber(forwarding: Forwarding) -> TestSubscriber {
        let track = TestTrack {
            forwarding,
            last_group: 1,
            last_object: 2,
            first_length: 4,
            other_length: 2,
            integer_extension: Some(3),
            end_of_group_markers: true,
            ..TestTrack::default()
        };
        let delivery_timeout = Millis(0);
        TestSubscriber::new(track, Ask::Subscribe { delivery_timeout })
    }

    fn header(group: u64, subgroup: u64) -> SubgroupHeader {
        crate::sim::subgroup_header(group, subgroup)
    }

    fn extensions(track: &TestTrack, at: Location) -> Properties {
        Properties::from_list(IntegerKind::Vi64, track.extensions(at)).unwrap()
    }

    /// What is right at this place of group 0.
    fn right(subscriber: &TestSubscriber, id: u64) -> ObjectHeader {
        let (track, at) = (&subscriber.track, Location::new(0, id));
        ObjectHeader {
            id: ObjectId(id),
            properties: extensions(track, at),
            status: track.status(at),
            payload_length: track.length(at),
        }
    }

    fn bring(
        subscriber: &mut TestSubscriber,
        object: &ObjectHeader,
        payload: &[u8],
    ) -> Result<(), Failure> {
        subscriber.object(STREAM, object)?;
        if !payload.is_empty() {
            subscriber.payload(Some(STREAM), payload)?;
        }
        Ok(())
    }

    fn begun() -> TestSubscriber {
        let mut subscriber = subscriber(Forwarding::SubgroupPerGroup);
        subscriber.opened(STREAM, &header(0, 0)).unwrap();
        subscriber
    }

    #[test]
    fn what_is_right_passes_and_what_is_missing_at_the_end_does_not() {
        let mut subscriber = begun();
        for (id, payload) in [(0, &b"tttt"[..]), (1, b"tt"), (2, b"")] {
            let object = right(&subscriber, id);
            bring(&mut subscriber, &object, payload).unwrap();
        }
        subscriber.subgroup_ended(STREAM, StreamEnd::Fin).unwrap();
        let missing = subscriber.check_complete().unwrap_err();
        assert!(missing.starts_with("3 of 6 never came"), "{missing}");
        // Loss of datagrams is no excuse here.
        subscriber.tolerance.lost_datagrams = 100;
        subscriber.check_complete().unwrap_err();
    }

    #[test]
    fn wrong_objects_fail() {
        let first = right(&begun(), 0);
        let wrong = [
            ObjectHeader {
                id: ObjectId(1),
                ..first.clone()
            },
            ObjectHeader {
                properties: Properties::default(),
                ..first.clone()
            },
            ObjectHeader {
                properties: extensions(&begun().track, Location::new(0, 1)),
                ..first.clone()
            },
            ObjectHeader {
                payload_length: 5,
                ..first.clone()
            },
            ObjectHeader {
                status: ObjectStatus::EndOfGroup,
                payload_length: 0,
                ..first.clone()
            },
        ];
        for object in wrong {
            bring(&mut begun(), &object, b"tttt").unwrap_err();
        }
        for payload in [&b"tttx"[..], b"ttttt"] {
            bring(&mut begun(), &first, payload).unwrap_err();
        }
        bring(&mut begun(), &first, b"tttt").unwrap();
    }

    #[test]
    fn wrong_streams_fail() {
        let mut subscriber = begun();
        let again = subscriber.opened(StreamId::peer(1), &header(0, 0));
        assert_eq!(again, Err("subgroup 0 of group 0 came twice".to_owned()));
        for (group, id) in [(0, 1), (2, 0)] {
            begun().opened(STREAM, &header(group, id)).unwrap_err();
        }
        let urgent = SubgroupHeader {
            priority: Some(1),
            ..header(1, 0)
        };
        begun().opened(STREAM, &urgent).unwrap_err();
        begun().subgroup_ended(STREAM, StreamEnd::Fin).unwrap_err();
        let object = right(&subscriber, 0);
        subscriber.object(STREAM, &object).unwrap();
        // A second object in the middle of the first.
        let object = right(&subscriber, 1);
        subscriber.object(STREAM, &object).unwrap_err();
    }

    #[test]
    fn groups_are_in_order_unless_the_path_changes_it() {
        let mut strict = subscriber(Forwarding::SubgroupPerGroup);
        strict.opened(STREAM, &header(1, 0)).unwrap();
        strict.opened(StreamId::peer(1), &header(0, 0)).unwrap_err();
        let mut loose = subscriber(Forwarding::SubgroupPerGroup).tolerating(Tolerance {
            reordering: true,
            lost_datagrams: 0,
        });
        loose.opened(STREAM, &header(1, 0)).unwrap();
        loose.opened(StreamId::peer(1), &header(0, 0)).unwrap();
    }

    #[test]
    fn datagrams_come_once_and_may_be_lost_within_limits() {
        let mut subscriber = subscriber(Forwarding::Datagram);
        let datagram = DatagramObject {
            location: Location::new(0, 0),
            priority: Some(PRIORITY),
            properties: extensions(&subscriber.track, Location::new(0, 0)),
            status: ObjectStatus::Normal,
            end_of_group: false,
            payload: "tttt".into(),
        };
        subscriber.datagram(&datagram).unwrap();
        let again = subscriber.datagram(&datagram);
        assert_eq!(again, Err("{0, 0} came twice".to_owned()));
        subscriber.opened(STREAM, &header(0, 0)).unwrap_err();
        subscriber.check_complete().unwrap_err();
        subscriber.tolerance.lost_datagrams = 84;
        subscriber.check_complete().unwrap();
    }

    #[test]
    fn fetch_brings_everything_in_order_and_nothing_unknown() {
        let fetch = || subscriber(Forwarding::SubgroupPerGroup);
        let item = |subscriber: &TestSubscriber, at: Location| FetchItem::Object {
            location: at,
            subgroup: Some(SubgroupId(0)),
            priority: PRIORITY,
            properties: extensions(&subscriber.track, at),
            payload_length: subscriber.track.length(at),
        };
        let mut good = fetch();
        for at in [
            Location::new(0, 0),
            Location::new(0, 1),
            Location::new(1, 0),
        ] {
            good.item(item(&good, at)).unwrap();
            good.item(FetchItem::Payload(good.track.payload(at)))
                .unwrap();
        }
        good.item(FetchItem::End(StreamEnd::Fin)).unwrap_err();
        let at = Location::new(1, 1);
        good.item(item(&good, at)).unwrap();
        good.item(FetchItem::Payload(good.track.payload(at)))
            .unwrap();
        good.item(FetchItem::NonExistent(Location::new(1, 2)))
            .unwrap();
        good.item(FetchItem::End(StreamEnd::Fin)).unwrap();
        good.check_complete().unwrap();

        let mut bad = fetch();
        bad.item(item(&bad, Location::new(0, 1))).unwrap_err();
        bad.item(FetchItem::NonExistent(Location::new(0, 0)))
            .unwrap_err();
        bad.item(FetchItem::Unknown(Location::new(0, 0)))
            .unwrap_err();
        bad.item(FetchItem::End(StreamEnd::Reset(
            crate::code::ResetCode::Cancelled,
        )))
        .unwrap_err();
    }
}
