//! Reset and stop in both directions: each side subscribes to a track of the other, stops one of its streams, and sees
//! another one reset.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a scenario names the events that it is about; no other may come"
)]

use crate::code::{DoneCode, ResetCode};
use crate::session::{Event, Request, Response, Role, StreamEnd};
use crate::transport::{ConnectionId, Exit, StreamId};
use crate::wire::id::{GroupId, ObjectId, RequestId, TrackAlias};

use super::super::program::{Failure, Part};
use super::super::stage::{Stage, subgroup_header};
use super::streams::{end_track, grant, subscribe};
use super::{ended_well, ensure, payload, track};

const ALIAS: TrackAlias = TrackAlias(3);
/// The group whose stream the publisher resets.
const RESET: GroupId = GroupId(0);
/// The group whose stream the subscriber stops.
const STOPPED: GroupId = GroupId(1);

/// What one side knows of its own track.
#[derive(Default)]
struct Publishing {
    request: Option<RequestId>,
    to_reset: Option<StreamId>,
    to_be_stopped: Option<StreamId>,
    finished: bool,
}

/// What one side knows of the other's track.
#[derive(Default)]
struct Subscribing {
    request: Option<RequestId>,
    to_be_reset: Option<StreamId>,
    to_stop: Option<StreamId>,
    objects: u32,
    saw_reset: bool,
    done: bool,
}

pub(super) struct Both {
    role: Role,
    publishing: Publishing,
    subscribing: Subscribing,
    ended: bool,
}

impl Both {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            publishing: Publishing::default(),
            subscribing: Subscribing::default(),
            ended: false,
        }
    }

    const fn track_of(role: Role) -> &'static str {
        match role {
            Role::Client => "client's",
            Role::Server => "server's",
        }
    }

    /// Opens two streams with an object each, which do not end.
    fn publish(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        id: RequestId,
    ) -> Result<(), Failure> {
        grant(stage, connection, id, ALIAS)?;
        self.publishing.request = Some(id);
        for group in [RESET, STOPPED] {
            let header = subgroup_header(group.0, 0);
            let opened = stage.open_subgroup(connection, id, ALIAS, &header);
            let mut subgroup = opened.map_err(|misuse| misuse.to_string())?;
            let payload = payload(group.0, 0, 0, 100);
            let sent = stage.object(&mut subgroup, ObjectId(0), payload);
            sent.map_err(|misuse| misuse.to_string())?;
            let stream = Some(subgroup.stream());
            if group == RESET {
                self.publishing.to_reset = stream;
            } else {
                self.publishing.to_be_stopped = stream;
            }
        }
        Ok(())
    }

    /// Our stream was stopped, which says that the objects on both streams arrived: reset the other one.
    fn stopped(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        stream: StreamId,
        code: ResetCode,
    ) -> Result<(), Failure> {
        let publishing = &mut self.publishing;
        ensure(publishing.to_be_stopped == Some(stream), || {
            format!("{stream} was stopped")
        })?;
        ensure(code == ResetCode::Cancelled, || {
            format!("stopped with {code}")
        })?;
        let now = stage.now();
        if let Some(stream) = publishing.to_reset {
            let session = stage.session(connection)?;
            session.reset_stream(now, stream, ResetCode::DeliveryTimeout);
        }
        publishing.finished = true;
        if self.role == Role::Client {
            self.end(stage, connection)?;
        }
        Ok(())
    }

    /// Ends our track. The server does so last, which lets the client close.
    fn end(&mut self, stage: &mut Stage<'_>, connection: ConnectionId) -> Result<(), Failure> {
        let request = self.publishing.request;
        let id = request.ok_or("stopped before it was asked")?;
        self.ended = true;
        end_track(stage, connection, id)
    }

    fn received(&mut self, stage: &mut Stage<'_>, connection: ConnectionId) -> Result<(), Failure> {
        self.subscribing.objects += 1;
        if self.subscribing.objects == 2
            && let Some(stream) = self.subscribing.to_stop
        {
            let now = stage.now();
            let session = stage.session(connection)?;
            session.stop_stream(now, stream, ResetCode::Cancelled);
        }
        Ok(())
    }

    const fn is_complete(&self) -> bool {
        self.publishing.finished && self.subscribing.saw_reset && self.subscribing.done
    }
}

impl Part for Both {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let subscribing = &mut self.subscribing;
        match event {
            Event::Established { .. } => {
                let theirs = Self::track_of(self.role.peer());
                subscribing.request = Some(subscribe(stage, connection, theirs)?);
            }
            Event::Request {
                id,
                request: Request::Subscribe(subscribe),
            } => {
                let ours = track(Self::track_of(self.role));
                ensure(subscribe.track == ours, || format!("{subscribe:?}"))?;
                self.publish(stage, connection, id)?;
            }
            Event::Response {
                id,
                response: Response::SubscribeOk(_),
            } => ensure(subscribing.request == Some(id), || {
                format!("an answer to {id:?}")
            })?,
            Event::SubgroupOpened { stream, header, .. } => match header.group {
                RESET => subscribing.to_be_reset = Some(stream),
                STOPPED => subscribing.to_stop = Some(stream),
                other => return Err(format!("unexpected: {other:?}")),
            },
            Event::Object { .. } => self.received(stage, connection)?,
            Event::Payload { .. } => {}
            Event::StreamStopped { stream, code } => {
                self.stopped(stage, connection, stream, code)?;
            }
            Event::SubgroupEnded { stream, end } => {
                if subscribing.to_be_reset == Some(stream) {
                    let expected = StreamEnd::Reset(ResetCode::DeliveryTimeout);
                    ensure(end == expected, || format!("the stream ended with {end:?}"))?;
                    subscribing.saw_reset = true;
                } else {
                    ensure(end == StreamEnd::Stopped, || format!("{stream}: {end:?}"))?;
                }
            }
            Event::Done { id, done } => {
                ensure(subscribing.request == Some(id), || {
                    format!("the end of {id:?}")
                })?;
                ensure(done.code == DoneCode::TrackEnded, || format!("{done:?}"))?;
                subscribing.done = true;
            }
            Event::Settled { id } => ensure(subscribing.done, || format!("{id:?} settled first"))?,
            Event::Closed(closed) => {
                ended_well(&closed)?;
                ensure(self.is_complete(), || "closed too early".to_owned())?;
                stage.exit(Exit::Success);
            }
            other => return Err(format!("unexpected: {other:?}")),
        }
        if self.is_complete() {
            if !self.ended {
                self.end(stage, connection)?;
            } else if self.role == Role::Client {
                stage.exit(Exit::Success);
            }
        }
        Ok(())
    }

    fn waits_for(&self) -> String {
        let (finished, reset) = (self.publishing.finished, self.subscribing.saw_reset);
        let (objects, done) = (self.subscribing.objects, self.subscribing.done);
        format!("stop ({finished}), reset ({reset}) and end ({done}); {objects} objects came")
    }
}
