//! Subscribe and deliver in datagrams, of which some may be lost.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a scenario names the events that it is about; no other may come"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use crate::session::{Event, Request, Response};
use crate::time::Time;
use crate::transport::{ConnectionId, Exit};
use crate::wire::id::{GroupId, Location, ObjectId, RequestId, TrackAlias};

use super::super::program::{Failure, Part};
use super::super::stage::Stage;
use super::streams::{grant, subscribe};
use super::{ended_well, ensure, payload, track};

const ALIAS: TrackAlias = TrackAlias(1 << 20);
/// How many different objects the client wants to see.
const ENOUGH: usize = 30;
const INTERVAL: Duration = Duration::from_millis(5);
/// This object fits into no datagram; it is dropped, and nothing else suffers.
const TOO_LARGE: u64 = 3;

const fn length(object: u64) -> usize {
    match object {
        TOO_LARGE => 70_000,
        object if object % 2 == 0 => 1_000,
        _ => 9,
    }
}

#[derive(Default)]
pub(super) struct Server {
    to: Option<(ConnectionId, RequestId)>,
    next: u64,
    next_at: Option<Time>,
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
                ensure(subscribe.track == track("datagrams"), || {
                    format!("{subscribe:?}")
                })?;
                grant(stage, connection, id, ALIAS)?;
                self.to = Some((connection, id));
                self.next_at = Some(stage.now());
            }
            Event::Cancelled { .. } => self.next_at = None,
            Event::Closed(closed) => {
                ended_well(&closed)?;
                ensure(self.next > 0, || "closed too early".to_owned())?;
                stage.exit(Exit::Success);
            }
            other => return Err(format!("unexpected: {other:?}")),
        }
        Ok(())
    }

    fn handle_timeout(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let Some((connection, request)) = self.to else {
            return Ok(());
        };
        let location = Location {
            group: GroupId(self.next / 8),
            object: ObjectId(self.next % 8),
        };
        let payload = payload(0, 0, self.next, length(self.next));
        let sent = stage.datagram(connection, request, ALIAS, location, payload);
        sent.map_err(|misuse| misuse.to_string())?;
        self.next += 1;
        self.next_at = Some(stage.now() + INTERVAL);
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.next_at
    }

    fn waits_for(&self) -> String {
        format!("the client to close; {} datagrams were sent", self.next)
    }
}

#[derive(Default)]
pub(super) struct Client {
    request: Option<RequestId>,
    seen: BTreeSet<u64>,
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
                self.request = Some(subscribe(stage, connection, "datagrams")?);
            }
            Event::Response {
                id,
                response: Response::SubscribeOk(_),
            } => ensure(self.request == Some(id), || format!("an answer to {id:?}"))?,
            Event::Datagram { id, object } => {
                ensure(self.request == Some(id), || format!("an object for {id:?}"))?;
                let number = object.location.group.0 * 8 + object.location.object.0;
                ensure(number != TOO_LARGE, || "an impossible datagram".to_owned())?;
                ensure(object.priority == Some(128), || format!("{object:?}"))?;
                let same = object.payload == payload(0, 0, number, length(number));
                ensure(same, || format!("object {number} has another payload"))?;
                ensure(self.seen.insert(number), || {
                    format!("object {number} came twice")
                })?;
                if self.seen.len() >= ENOUGH {
                    stage.exit(Exit::Success);
                }
            }
            other => return Err(format!("unexpected: {other:?}")),
        }
        Ok(())
    }

    fn waits_for(&self) -> String {
        format!("{ENOUGH} objects; there were {}", self.seen.len())
    }
}
