//! Subscribe and deliver over streams: three groups of two subgroups, objects from nothing to many packets.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a scenario names the events that it is about; no other may come"
)]

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::code::DoneCode;
use crate::session::{Event, Misuse, Request, Response, StreamEnd};
use crate::time::Time;
use crate::transport::{ConnectionId, Exit, StreamId};
use crate::wire::id::{ObjectId, RequestId, TrackAlias};
use crate::wire::message::{Subscribe, SubscribeOk};
use crate::wire::object::{ObjectStatus, SubgroupHeader};
use crate::wire::param::Parameters;
use crate::wire::property::Properties;

use super::super::program::{Failure, Part};
use super::super::stage::{Stage, subgroup_header};
use super::{ended_well, ensure, payload, track};

const ALIAS: TrackAlias = TrackAlias(7);
const LENGTHS: [usize; 4] = [1, 0, 1_000, 70_000];

/// Group and subgroup of every stream, in the order in which they are opened.
const SUBGROUPS: [(u64, u64); 6] = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)];

/// Subscribes to a track of the conformance namespace.
pub(super) fn subscribe(
    stage: &mut Stage<'_>,
    connection: ConnectionId,
    name: &'static str,
) -> Result<RequestId, Failure> {
    let now = stage.now();
    let request = Request::Subscribe(Subscribe {
        request_id: RequestId(0),
        track: track(name),
        parameters: Parameters::default(),
    });
    let asked = stage.session(connection)?.request(now, request);
    asked.map_err(|misuse| misuse.to_string())
}

/// Grants a subscription under this alias.
pub(super) fn grant(
    stage: &mut Stage<'_>,
    connection: ConnectionId,
    id: RequestId,
    alias: TrackAlias,
) -> Result<(), Failure> {
    let now = stage.now();
    let ok = SubscribeOk {
        request_id: None,
        track_alias: alias,
        parameters: Parameters::default(),
        properties: Properties::default(),
    };
    let session = stage.session(connection)?;
    let granted = session.respond(now, id, Response::SubscribeOk(ok));
    granted.map_err(|misuse| misuse.to_string())
}

/// Ends a subscription with its track.
pub(super) fn end_track(
    stage: &mut Stage<'_>,
    connection: ConnectionId,
    id: RequestId,
) -> Result<(), Failure> {
    let now = stage.now();
    let session = stage.session(connection)?;
    let ended = session.done(now, id, DoneCode::TrackEnded, "that is all");
    ended.map_err(|misuse| misuse.to_string())
}

#[derive(Default)]
pub(super) struct Server {
    asked: bool,
    delivered: usize,
}

impl Server {
    fn publish(
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        id: RequestId,
    ) -> Result<(), Misuse> {
        for (group, number) in SUBGROUPS {
            let header = subgroup_header(group, number);
            let mut subgroup = stage.open_subgroup(connection, id, ALIAS, &header)?;
            // Ids with gaps, which are not the places on the stream.
            for (object, length) in (0..).step_by(3).zip(LENGTHS) {
                let payload = payload(group, number, object, length);
                stage.object(&mut subgroup, ObjectId(object), payload)?;
            }
            stage.finish(subgroup);
        }
        Ok(())
    }
}

impl Part for Server {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        match event {
            Event::Established { .. } => {}
            Event::Request {
                id,
                request: Request::Subscribe(subscribe),
            } => {
                ensure(subscribe.track == track("streams"), || {
                    format!("{subscribe:?}")
                })?;
                self.asked = true;
                grant(stage, connection, id, ALIAS)?;
                let published = Self::publish(stage, connection, id);
                published.map_err(|misuse| misuse.to_string())?;
                end_track(stage, connection, id)?;
            }
            Event::StreamDelivered { .. } => self.delivered += 1,
            Event::Closed(closed) => {
                ended_well(&closed)?;
                ensure(self.asked, || "closed too early".to_owned())?;
                stage.exit(Exit::Success);
            }
            other => return Err(format!("unexpected: {other:?}")),
        }
        Ok(())
    }

    fn waits_for(&self) -> String {
        format!(
            "the client to close; {} streams were acknowledged",
            self.delivered
        )
    }
}

/// What arrived on a stream.
struct Arrived {
    header: SubgroupHeader,
    objects: Vec<(ObjectId, u64, BytesMut)>,
    ended: bool,
}

#[derive(Default)]
pub(super) struct Client {
    request: Option<RequestId>,
    granted: bool,
    streams: BTreeMap<StreamId, Arrived>,
    done: bool,
    last: Option<Time>,
}

impl Client {
    fn stream(&mut self, stream: StreamId) -> Result<&mut Arrived, Failure> {
        let arrived = self.streams.get_mut(&stream);
        arrived.ok_or_else(|| format!("objects on {stream}, which did not begin"))
    }

    fn check(&self) -> Result<(), Failure> {
        let count = self.streams.len();
        ensure(count == SUBGROUPS.len(), || {
            format!("{count} streams arrived")
        })?;
        for (group, number) in SUBGROUPS {
            let expected = subgroup_header(group, number);
            let mut streams = self.streams.values();
            let Some(arrived) = streams.find(|arrived| {
                (arrived.header.group, arrived.header.subgroup)
                    == (expected.group, expected.subgroup)
            }) else {
                return Err(format!("group {group} subgroup {number} is missing"));
            };
            ensure(arrived.header.priority == expected.priority, || {
                format!("the priority is {:?}", arrived.header.priority)
            })?;
            let objects: Vec<(ObjectId, Bytes)> = (0..)
                .step_by(3)
                .zip(LENGTHS)
                .map(|(object, length)| (ObjectId(object), payload(group, number, object, length)))
                .collect();
            let same = arrived.objects.len() == objects.len()
                && arrived.objects.iter().zip(&objects).all(|(got, sent)| {
                    got.0 == sent.0
                        && got.2 == sent.1
                        && got.1 == u64::try_from(sent.1.len()).unwrap_or(0)
                });
            ensure(same, || {
                format!("group {group} subgroup {number} has other objects")
            })?;
        }
        Ok(())
    }
}

impl Part for Client {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        self.last = Some(stage.now());
        match event {
            Event::Established { .. } => {
                self.request = Some(subscribe(stage, connection, "streams")?);
            }
            Event::Response {
                id,
                response: Response::SubscribeOk(ok),
            } => {
                ensure(self.request == Some(id), || format!("an answer to {id:?}"))?;
                ensure(ok.track_alias == ALIAS, || format!("{ok:?}"))?;
                self.granted = true;
            }
            Event::SubgroupOpened { stream, id, header } => {
                ensure(self.request == Some(id), || format!("a stream for {id:?}"))?;
                let arrived = Arrived {
                    header,
                    objects: Vec::new(),
                    ended: false,
                };
                self.streams.insert(stream, arrived);
            }
            Event::Object { stream, object } => {
                ensure(object.status == ObjectStatus::Normal, || {
                    format!("{object:?}")
                })?;
                let objects = &mut self.stream(stream)?.objects;
                objects.push((object.id, object.payload_length, BytesMut::new()));
            }
            Event::Payload { stream, bytes } => {
                ensure(!bytes.is_empty(), || "an empty piece of payload".to_owned())?;
                let last = self.stream(stream)?.objects.last_mut();
                let (_, _, payload) = last.ok_or("a payload before its object")?;
                payload.extend_from_slice(&bytes);
            }
            Event::SubgroupEnded { stream, end } => {
                ensure(end == StreamEnd::Fin, || {
                    format!("{stream} ended with {end:?}")
                })?;
                self.stream(stream)?.ended = true;
            }
            Event::Settled { .. } => {}
            Event::Done { id, done } => {
                ensure(self.request == Some(id), || format!("the end of {id:?}"))?;
                ensure(done.code == DoneCode::TrackEnded, || format!("{done:?}"))?;
                let count = u64::try_from(SUBGROUPS.len()).ok();
                ensure(done.stream_count == count, || format!("{done:?}"))?;
                self.done = true;
            }
            other => return Err(format!("unexpected: {other:?}")),
        }
        if self.done && self.streams.values().filter(|s| s.ended).count() == SUBGROUPS.len() {
            ensure(self.granted, || {
                "the subscription was never granted".to_owned()
            })?;
            self.check()?;
            stage.exit(Exit::Success);
        }
        Ok(())
    }

    fn waits_for(&self) -> String {
        let ended = self.streams.values().filter(|stream| stream.ended).count();
        let (streams, done) = (self.streams.len(), self.done);
        format!("the track; {streams} streams began, {ended} ended, done: {done}")
    }
}
