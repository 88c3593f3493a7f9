//! Back-pressure: the publisher offers far more than the reader takes; a request gets through all the same; when the reader
//! goes on, everything arrives.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a scenario names the events that it is about; no other may come"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::runtime::TransportSettings;
use crate::session::{Event, Request, Response, StreamEnd};
use crate::time::Time;
use crate::transport::{ConnectionId, Exit, StreamId};
use crate::wire::id::{ObjectId, RequestId, TrackAlias};
use crate::wire::message::{RequestOk, TrackStatus};
use crate::wire::param::Parameters;

use super::super::program::{Failure, Part};
use super::super::stage::{Stage, subgroup_header};
use super::streams::{end_track, grant, subscribe};
use super::{ended_well, ensure, payload, track};

const ALIAS: TrackAlias = TrackAlias(0);
const STREAMS: usize = 2;
const OBJECTS: u64 = 64;
const OBJECT_LENGTH: usize = 64 << 10;
/// Eight mebibytes are offered; the transport may hold this much of them while nothing is read.
const MOST_HELD: usize = 2 << 20;
/// Nothing was taken for this long: the writer is held up.
const QUIET: Duration = Duration::from_millis(200);

/// Windows of which two streams fill less than half of the connection's.
pub(super) fn transport(defaults: TransportSettings) -> TransportSettings {
    TransportSettings {
        receive_window: 512 << 10,
        publisher_window: 512 << 10,
        stream_window: 64 << 10,
        max_unacked: 256 << 10,
        ..defaults
    }
}

/// What the objects consist of: the same bytes in each, so that sixteen of them cost no more than one.
fn content() -> Bytes {
    payload(1, 2, 3, OBJECT_LENGTH)
}

#[derive(Default)]
pub(super) struct Server {
    subscription: Option<RequestId>,
    connection: Option<ConnectionId>,
    taken: usize,
    check_at: Option<Time>,
    asked: bool,
    resumed: bool,
}

impl Server {
    fn publish(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        id: RequestId,
    ) -> Result<(), Failure> {
        grant(stage, connection, id, ALIAS)?;
        self.subscription = Some(id);
        self.connection = Some(connection);
        let content = content();
        for group in (0..).take(STREAMS) {
            let header = subgroup_header(group, 0);
            let opened = stage.open_subgroup(connection, id, ALIAS, &header);
            let mut subgroup = opened.map_err(|misuse| misuse.to_string())?;
            for object in 0..OBJECTS {
                let sent = stage.object(&mut subgroup, ObjectId(object), content.clone());
                sent.map_err(|misuse| misuse.to_string())?;
            }
            stage.finish(subgroup);
        }
        self.check_at = Some(stage.now() + QUIET);
        end_track(stage, connection, id)
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
            Event::Established { .. } | Event::StreamDelivered { .. } => {}
            Event::Request {
                id,
                request: Request::Subscribe(subscribe),
            } => {
                ensure(subscribe.track == track("pressure"), || {
                    format!("{subscribe:?}")
                })?;
                self.publish(stage, connection, id)?;
            }
            Event::Response {
                response: Response::Ok(_),
                ..
            } => self.resumed = true,
            Event::Closed(closed) => {
                ended_well(&closed)?;
                ensure(self.resumed, || "closed too early".to_owned())?;
                stage.exit(Exit::Success);
            }
            other => return Err(format!("unexpected: {other:?}")),
        }
        Ok(())
    }

    fn handle_timeout(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let Some(connection) = self.connection else {
            return Ok(());
        };
        let taken = stage.taken(connection);
        ensure(taken <= MOST_HELD, || {
            format!("the transport took {taken} unread bytes")
        })?;
        if taken == 0 || taken > self.taken {
            self.taken = taken;
            self.check_at = Some(stage.now() + QUIET);
            return Ok(());
        }
        self.check_at = None;
        self.asked = true;
        let now = stage.now();
        let request = Request::TrackStatus(TrackStatus {
            request_id: RequestId(0),
            track: track("go on"),
            parameters: Parameters::default(),
        });
        let asked = stage.session(connection)?.request(now, request);
        asked.map(drop).map_err(|misuse| misuse.to_string())
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.check_at
    }

    fn waits_for(&self) -> String {
        let (taken, asked, resumed) = (self.taken, self.asked, self.resumed);
        format!("the end; {taken} bytes were taken, asked to go on: {asked}, answered: {resumed}")
    }
}

#[derive(Default)]
pub(super) struct Client {
    content: Bytes,
    /// Bytes of each stream, and whether it ended.
    streams: BTreeMap<StreamId, (usize, bool)>,
    going_on: bool,
    done: bool,
}

impl Client {
    fn payload(&mut self, stream: StreamId, bytes: &Bytes) -> Result<(), Failure> {
        let arrived = self.streams.get_mut(&stream);
        let (so_far, _) = arrived.ok_or("a payload before its stream")?;
        // One read may have brought them together with the stream's header.
        ensure(self.going_on || *so_far < OBJECT_LENGTH, || {
            format!("{stream} was read while it was paused")
        })?;
        let offset = *so_far % OBJECT_LENGTH;
        let expected = self
            .content
            .get(offset..)
            .and_then(|rest| rest.get(..bytes.len()));
        ensure(expected == Some(bytes.as_ref()), || {
            format!("other bytes at {so_far}")
        })?;
        *so_far += bytes.len();
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
        match event {
            Event::Established { .. } => {
                self.content = content();
                subscribe(stage, connection, "pressure")?;
            }
            Event::SubgroupOpened { stream, .. } => {
                self.streams.insert(stream, (0, false));
                if !self.going_on {
                    stage.session(connection)?.pause_stream(stream);
                }
            }
            Event::Request {
                id,
                request: Request::TrackStatus(_),
            } => {
                self.going_on = true;
                let now = stage.now();
                let session = stage.session(connection)?;
                for stream in self.streams.keys() {
                    session.resume_stream(*stream);
                }
                let ok = Response::Ok(RequestOk::default());
                let answered = session.respond(now, id, ok);
                answered.map_err(|misuse| misuse.to_string())?;
            }
            Event::Payload { stream, bytes } => self.payload(stream, &bytes)?,
            Event::Response { .. } | Event::Object { .. } => {}
            Event::SubgroupEnded { stream, end } => {
                ensure(end == StreamEnd::Fin, || {
                    format!("{stream} ended with {end:?}")
                })?;
                if let Some((_, ended)) = self.streams.get_mut(&stream) {
                    *ended = true;
                }
            }
            Event::Done { .. } => self.done = true,
            Event::Settled { .. } => {}
            other => return Err(format!("unexpected: {other:?}")),
        }
        let objects = usize::try_from(OBJECTS).unwrap_or(0);
        let whole = |(bytes, ended): &(usize, bool)| *ended && *bytes == objects * OBJECT_LENGTH;
        if self.done && self.streams.values().filter(|s| whole(s)).count() == STREAMS {
            stage.exit(Exit::Success);
        }
        Ok(())
    }

    fn waits_for(&self) -> String {
        let (streams, done) = (&self.streams, self.done);
        format!(
            "the track; streams: {streams:?}, going on: {}, done: {done}",
            self.going_on
        )
    }
}
