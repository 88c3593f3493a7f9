//! FETCHes as far ends ask for them, answer them and get them answered.

use super::*;
use crate::session::FetchItem;
use crate::wire::message::{Fetch, FetchOk, FetchRange};
use crate::wire::object::{FetchEncoder, FetchEntry, FetchObject};
use crate::wire::param::GroupOrder;

pub(super) const UP: GroupOrder = GroupOrder::Ascending;
pub(super) const DOWN: GroupOrder = GroupOrder::Descending;

/// The stream on which a far end answers a FETCH of the relay's.
pub(super) struct Supply {
    pub(super) connection: ConnectionId,
    stream: StreamId,
    encoder: FetchEncoder,
}

impl Rig {
    pub(super) fn fetch_with(
        &mut self,
        connection: ConnectionId,
        range: FetchRange,
        parameters: Parameters,
    ) -> RequestId {
        let request = Request::Fetch(Fetch {
            request_id: RequestId(0),
            range,
            parameters,
        });
        self.request(connection, request)
    }

    /// A FETCH of the track `v`, from one location to another as they are written.
    pub(super) fn fetch(
        &mut self,
        connection: ConnectionId,
        start: Location,
        end: Location,
        order: GroupOrder,
    ) -> RequestId {
        let parameters = Parameters {
            group_order: Some(order),
            ..Parameters::default()
        };
        self.fetch_with(connection, range(start, end), parameters)
    }

    /// The FETCHes that a far end got from the relay: id, start, end and order.
    pub(super) fn fetches_asked(
        &self,
        connection: ConnectionId,
    ) -> Vec<(RequestId, Location, Location, GroupOrder)> {
        let events = self.far[&connection].events.iter();
        events
            .filter_map(|event| match event {
                Event::Request {
                    id,
                    request: Request::Fetch(fetch),
                } => match &fetch.range {
                    FetchRange::Standalone { start, end, .. } => {
                        let order = fetch.parameters.group_order.unwrap();
                        Some((*id, *start, *end, order))
                    }
                    other => panic!("{other:?}"),
                },
                _ => None,
            })
            .collect()
    }

    /// The ranges of the FETCHes that a far end got, as `start end`.
    pub(super) fn ranges_asked(&self, connection: ConnectionId) -> Vec<String> {
        let asked = self.fetches_asked(connection).into_iter();
        asked
            .map(|(_, start, end, order)| {
                let order = if order == DOWN { " down" } else { "" };
                format!("{start} {end}{order}")
            })
            .collect()
    }

    /// The FETCH that a far end got last.
    #[track_caller]
    pub(super) fn last_fetch(&self, connection: ConnectionId) -> RequestId {
        self.fetches_asked(connection).last().expect("a FETCH").0
    }

    pub(super) fn grant(&mut self, connection: ConnectionId, id: RequestId, end: Location) {
        self.grant_with(connection, id, end, false, Properties::default());
    }

    pub(super) fn grant_with(
        &mut self,
        connection: ConnectionId,
        id: RequestId,
        end: Location,
        end_of_track: bool,
        properties: Properties,
    ) {
        let ok = FetchOk {
            request_id: None,
            end_of_track,
            end,
            parameters: Parameters::default(),
            properties,
        };
        self.respond(connection, id, Response::FetchOk(ok));
    }

    /// Begins to answer a FETCH of the relay's.
    pub(super) fn supply(&mut self, connection: ConnectionId, id: RequestId) -> Supply {
        let asked = self.fetches_asked(connection);
        let order = asked.iter().find(|asked| asked.0 == id).unwrap().3;
        let profile = self.far[&connection].draft.profile();
        let mut bytes = BytesMut::new();
        let encoder = FetchEncoder::new(profile, id, order, &mut bytes).unwrap();
        let stream = self.act(connection, |session, now| session.open_fetch(now, id));
        let supply = Supply {
            connection,
            stream: stream.unwrap(),
            encoder,
        };
        self.send_supply(&supply, &bytes);
        supply
    }

    pub(super) fn send_supply(&mut self, supply: &Supply, bytes: &[u8]) {
        let far = self.far_mut(supply.connection);
        let bytes = Bytes::copy_from_slice(bytes);
        far.outbox.push(supply.stream, bytes).unwrap();
        let stream = supply.stream;
        self.act(supply.connection, |session, _| session.stream_ready(stream));
    }

    pub(super) fn supply_entry(&mut self, supply: &mut Supply, entry: &FetchEntry) {
        let mut bytes = BytesMut::new();
        supply.encoder.entry(entry, &mut bytes).unwrap();
        self.send_supply(supply, &bytes);
    }

    pub(super) fn supply_object(&mut self, supply: &mut Supply, at: Location, payload: &[u8]) {
        self.supply_entry(supply, &entry(at, payload.len(), Properties::default()));
        if !payload.is_empty() {
            self.send_supply(supply, payload);
        }
    }

    pub(super) fn end_supply(&mut self, supply: &Supply) {
        self.far_mut(supply.connection).outbox.finish(supply.stream);
        let stream = supply.stream;
        self.act(supply.connection, |session, _| session.stream_ready(stream));
    }

    /// Whether the relay stopped reading the answer to a FETCH of its own.
    pub(super) fn stopped(&self, supply: &Supply) -> bool {
        let stream = supply.stream;
        let is_stop = |event: &Event| matches!(event, Event::StreamStopped { stream: of, .. } if *of == stream);
        self.far[&supply.connection].events.iter().any(is_stop)
    }

    /// How the relay broke off a far end's FETCH: by its stream, or by that and the request's.
    pub(super) fn broken_off(&self, connection: ConnectionId, id: RequestId) -> Option<ResetCode> {
        let mut events = self.far[&connection].events.iter();
        events.find_map(|event| match event {
            Event::Fetched {
                id: of,
                item: FetchItem::End(StreamEnd::Reset(code)),
            } if *of == id => Some(*code),
            Event::Cancelled { id: of, code } if *of == id => *code,
            _ => None,
        })
    }

    pub(super) fn reset_supply(&mut self, supply: &Supply, code: ResetCode) {
        let stream = supply.stream;
        self.far_mut(supply.connection).outbox.remove(stream);
        self.act(supply.connection, |session, now| {
            session.reset_stream(now, stream, code);
        });
    }

    /// Answers a FETCH of the relay's with these objects, all of it.
    pub(super) fn answer_fetch(
        &mut self,
        connection: ConnectionId,
        id: RequestId,
        end: Location,
        objects: &[(u64, u64)],
    ) {
        self.grant(connection, id, end);
        let mut supply = self.supply(connection, id);
        for (group, object) in objects {
            let payload = payload(at(*group, *object));
            self.supply_object(&mut supply, at(*group, *object), &payload);
        }
        self.end_supply(&supply);
    }

    /// What a far end's FETCH brought so far, an entry each.
    pub(super) fn got(&self, connection: ConnectionId, id: RequestId) -> Vec<String> {
        let mut got: Vec<String> = Vec::new();
        for event in &self.far[&connection].events {
            let Event::Fetched { id: of, item } = event else {
                continue;
            };
            if *of != id {
                continue;
            }
            match item {
                FetchItem::Object { location, .. } => got.push(format!("{location} ")),
                FetchItem::Payload(bytes) => {
                    let last = got.last_mut().unwrap();
                    last.push_str(&bytes.escape_ascii().to_string());
                }
                FetchItem::NonExistent(at) => got.push(format!("none to {at}")),
                FetchItem::Unknown(at) => got.push(format!("unknown to {at}")),
                FetchItem::End(StreamEnd::Fin) => got.push("end".to_owned()),
                FetchItem::End(StreamEnd::Reset(code)) => got.push(format!("reset {code}")),
                FetchItem::End(StreamEnd::Stopped) => got.push("stopped".to_owned()),
            }
        }
        got
    }

    #[track_caller]
    pub(super) fn fetch_ok(&self, connection: ConnectionId, id: RequestId) -> FetchOk {
        match self.answer(connection, id) {
            Some(Response::FetchOk(ok)) => ok,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Asserts that a FETCH was answered with this end and brought exactly these entries.
    #[track_caller]
    pub(super) fn assert_fetched(
        &self,
        connection: ConnectionId,
        id: RequestId,
        end: Location,
        entries: &[&str],
    ) {
        assert_eq!(self.fetch_ok(connection, id).end, end);
        assert_eq!(self.got(connection, id), entries);
    }

    /// A track on its way of which groups with so many objects were published.
    pub(super) fn with_groups(drafts: (Draft, Draft), groups: &[(u64, u64)]) -> (Self, Running) {
        let mut rig = Self::new();
        let running = rig.running(drafts);
        for (group, objects) in groups {
            rig.ended_group(running, *group, *objects);
        }
        (rig, running)
    }

    /// A group whose end is told.
    pub(super) fn ended_group(&mut self, running: Running, group: u64, objects: u64) {
        let header = SubgroupHeader {
            end_of_group: true,
            ..header(group, 0)
        };
        let mut feed = self.open(running.publisher, running.up, header);
        for object in 0..objects {
            self.object(&mut feed, object, &payload(at(group, object)));
        }
        self.fin(&feed);
    }
}

pub(super) fn range(start: Location, end: Location) -> FetchRange {
    FetchRange::Standalone {
        track: track("v"),
        start,
        end,
    }
}

pub(super) fn payload(at: Location) -> Vec<u8> {
    format!("{}.{}", at.group.0, at.object.0).into_bytes()
}

pub(super) fn entry(at: Location, length: usize, properties: Properties) -> FetchEntry {
    FetchEntry::Object(FetchObject {
        location: at,
        subgroup: Some(SubgroupId(0)),
        priority: 128,
        properties,
        payload_length: u64::try_from(length).unwrap(),
    })
}

/// A FETCH of the track `v` that waits for publishers only so long.
pub(super) fn patient(millis: u64) -> Parameters {
    Parameters {
        fill_timeout: Some(crate::wire::id::Millis(millis)),
        ..Parameters::default()
    }
}
