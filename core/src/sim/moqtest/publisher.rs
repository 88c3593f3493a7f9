//! Publishes whatever track of `moq-test-00` is asked for.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whoever only publishes has no use for the other events"
)]

use std::collections::BTreeMap;

use super::super::program::{Failure, Part};
use super::super::stage::Stage;
use super::runs::{Live, Past, Step, To, track_properties};
use super::track::{PROTOCOL, TestTrack};
use crate::code::RequestCode;
use crate::session::{Event, Misuse, Refusal, Request, Response};
use crate::time::Time;
use crate::transport::ConnectionId;
use crate::wire::id::{RequestId, TrackAlias};
use crate::wire::message::{
    Fetch, FetchRange, PublishNamespace, RequestOk, Subscribe, SubscribeOk,
};
use crate::wire::name::TrackNamespace;
use crate::wire::param::Parameters;

/// Announces [`PROTOCOL`] and publishes, at the pace that the namespace asks for, every track that a SUBSCRIBE or FETCH
/// names. Each request has a run of its own, which begins with it. What cannot be is refused with NOT_SUPPORTED.
#[derive(Debug, Default)]
pub struct TestPublisher {
    runs: BTreeMap<To, Run>,
    next_alias: u64,
    subscriptions: usize,
    fetches: usize,
}

#[derive(Debug)]
struct Run {
    track: TestTrack,
    kind: Kind,
    /// When it goes on; `None`: when there is room for a stream.
    at: Option<Time>,
}

#[derive(Debug)]
enum Kind {
    Live(Live),
    Past(Past),
}

impl TestPublisher {
    /// One that serves nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many subscriptions it granted.
    pub const fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// How many FETCHes it granted.
    pub const fn fetches(&self) -> usize {
        self.fetches
    }

    fn subscribe(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        subscribe: &Subscribe,
    ) -> Result<Response, Misuse> {
        let Ok(track) = TestTrack::parse(&subscribe.track.namespace) else {
            return Ok(invalid_parameters());
        };
        let track_alias = TrackAlias(self.next_alias);
        self.next_alias += 1;
        let properties = track_properties(stage, connection, &track)?;
        let run = Run {
            kind: Kind::Live(Live::new(&track, track_alias, &subscribe.parameters)),
            track,
            at: Some(stage.now()),
        };
        self.runs.insert((connection, subscribe.request_id), run);
        self.subscriptions += 1;
        Ok(Response::SubscribeOk(SubscribeOk {
            request_id: None,
            track_alias,
            parameters: Parameters::default(),
            properties,
        }))
    }

    fn fetch(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        fetch: &Fetch,
    ) -> Result<Response, Misuse> {
        let FetchRange::Standalone { track, start, end } = &fetch.range else {
            let refusal = Refusal::new(RequestCode::NotSupported, "only standalone FETCHes");
            return Ok(Response::Error(refusal));
        };
        let Ok(track) = TestTrack::parse(&track.namespace) else {
            return Ok(invalid_parameters());
        };
        let order = fetch.parameters.group_order.unwrap_or_default();
        let Some(past) = Past::new(&track, *start, *end, order) else {
            let refusal = Refusal::new(RequestCode::InvalidRange, "it starts behind the track");
            return Ok(Response::Error(refusal));
        };
        let properties = track_properties(stage, connection, &track)?;
        let ok = past.ok(&track, properties);
        let run = Run {
            kind: Kind::Past(past),
            track,
            at: Some(stage.now()),
        };
        self.runs.insert((connection, fetch.request_id), run);
        self.fetches += 1;
        Ok(Response::FetchOk(ok))
    }

    fn respond(
        stage: &mut Stage<'_>,
        (connection, id): To,
        response: Result<Response, Misuse>,
    ) -> Result<(), Failure> {
        let response = response.map_err(|misuse| misuse.to_string())?;
        let now = stage.now();
        let answered = stage.session(connection)?.respond(now, id, response);
        answered.map_err(|misuse| misuse.to_string())
    }

    fn update(
        &mut self,
        stage: &mut Stage<'_>,
        to: To,
        update: RequestId,
        parameters: &Parameters,
    ) -> Result<(), Failure> {
        if let Some(forward) = parameters.forward
            && let Some(Run {
                kind: Kind::Live(live),
                ..
            }) = self.runs.get_mut(&to)
        {
            live.set_forward(stage, to, forward);
        }
        let now = stage.now();
        let session = stage.session(to.0)?;
        let answered = session.respond_to_update(now, to.1, update, Ok(RequestOk::default()));
        answered.map_err(|misuse| misuse.to_string())
    }
}

/// The answer to whoever asks for a track that cannot be.
fn invalid_parameters() -> Response {
    Response::Error(Refusal::new(
        RequestCode::NotSupported,
        "Invalid Parameters",
    ))
}

impl Run {
    /// Sends the next object. False: it was the last, and the end was told.
    fn go_on(&mut self, stage: &mut Stage<'_>, to: To) -> Result<bool, Failure> {
        let step = match &mut self.kind {
            Kind::Live(live) => live.step(stage, to, &self.track),
            Kind::Past(past) => past.step(stage, to, &self.track),
        };
        match step {
            Ok(Step::More) => {
                self.at = self.at.map(|at| at + self.track.pace());
                Ok(true)
            }
            Ok(Step::Over) | Err(Misuse::Closed) => Ok(false),
            Err(Misuse::Blocked) => {
                self.at = None;
                Ok(true)
            }
            Err(misuse) => Err(format!("{to:?}: {misuse}")),
        }
    }
}

impl Part for TestPublisher {
    fn handle_event(
        &mut self,
        stage: &mut Stage<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Failure> {
        let now = stage.now();
        match event {
            Event::Established { .. } => {
                let namespace =
                    TrackNamespace::new([PROTOCOL]).map_err(|error| error.to_string())?;
                let request = Request::PublishNamespace(PublishNamespace {
                    request_id: RequestId(0),
                    namespace,
                    parameters: Parameters::default(),
                });
                let asked = stage.session(connection)?.request(now, request);
                asked.map_err(|misuse| misuse.to_string())?;
            }
            Event::Request { id, request } => {
                let response = match request {
                    Request::Subscribe(subscribe) => self.subscribe(stage, connection, &subscribe),
                    Request::Fetch(fetch) => self.fetch(stage, connection, &fetch),
                    _ => Ok(Response::Error(Refusal::new(
                        RequestCode::NotSupported,
                        "only SUBSCRIBE and FETCH",
                    ))),
                };
                Self::respond(stage, (connection, id), response)?;
            }
            Event::Update {
                id,
                update,
                parameters,
            } => self.update(stage, (connection, id), update, &parameters)?,
            Event::Cancelled { id, .. } => {
                self.runs.remove(&(connection, id));
            }
            Event::StreamStopped { stream, .. } | Event::StreamExpired { stream } => {
                for (to, run) in &mut self.runs {
                    if to.0 == connection
                        && let Kind::Live(live) = &mut run.kind
                    {
                        live.stopped(stream);
                    }
                }
            }
            Event::CanOpenStream => {
                for (to, run) in &mut self.runs {
                    if to.0 == connection && run.at.is_none() {
                        run.at = Some(now);
                    }
                }
            }
            Event::Closed(_) => self.runs.retain(|to, _| to.0 != connection),
            // A refused announcement too: whoever connects only to ask has no use for it.
            _ => {}
        }
        Ok(())
    }

    fn handle_timeout(&mut self, stage: &mut Stage<'_>) -> Result<(), Failure> {
        let now = stage.now();
        let mut over = Vec::new();
        for (to, run) in &mut self.runs {
            if run.at.is_some_and(|at| at <= now) && !run.go_on(stage, *to)? {
                over.push(*to);
            }
        }
        for to in over {
            self.runs.remove(&to);
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.runs.values().filter_map(|run| run.at).min()
    }
}
